"""A guest: makes each call of a table as its numbers say, through syscall(3), and prints what came of it.

    python3 probe.py FILE       FILE: JSON, a list of [text, number, argument...]

An argument is a number, or a word: "buf" zeroed memory, "pid" of this process, "how" struct open_how, "args" struct
clone_args with SIGCHLD, "text:..." a string. One line a call: its text, a colon, and "0", "positive" or an errno's name.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import struct
import sys

STRUCTURES = {
    "how": struct.pack("<3Q", os.O_RDONLY, 0, 0),
    "args": struct.pack("<11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0),
}
FORKS = ("clone(", "clone3(", "fork(")


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    buffer = ctypes.create_string_buffer(4096)
    with open(sys.argv[1], encoding="utf-8") as file:
        table = json.load(file)
    for text, number, *words in table:
        ctypes.memset(buffer, 0, len(buffer))
        keep = []
        args = []
        for word in words:
            if isinstance(word, int):
                args.append(ctypes.c_uint64(word))
                continue
            kind, _, rest = word.partition(":")
            if kind == "pid":
                args.append(ctypes.c_uint64(os.getpid()))
            elif kind == "buf":
                args.append(ctypes.c_uint64(ctypes.addressof(buffer)))
            else:
                keep.append(ctypes.create_string_buffer(rest.encode() if kind == "text" else STRUCTURES[kind]))
                args.append(ctypes.c_uint64(ctypes.addressof(keep[-1])))
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *args)
        if result == 0 and text.startswith(FORKS):
            os._exit(0)
        if result > 0 and text.startswith(FORKS):
            os.waitpid(result, 0)
        failed = ctypes.get_errno()
        said = errno.errorcode.get(failed, str(failed)) if result == -1 and failed else "positive" if result > 0 else str(result)
        os.write(1, f"{text}: {said}\n".encode())


main()
