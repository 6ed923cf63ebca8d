"""What several tests need: compilers for tiny guests, and edits of ELF headers."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torov.syscalls import by_name

KINDS: dict[str, tuple[str, ...]] = {
    "glibc": ("gcc", "-O1", "-static"),
    "pie": ("gcc", "-O1", "-static-pie"),
    "musl": ("musl-gcc", "-O1", "-static"),
    "dynamic": ("gcc", "-O1"),
    "bare": ("gcc", "-O1", "-static", "-nostdlib"),
}
"""The ways to build a guest: compiler and flags."""

HELLO_C = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
HELLO_S = """\
        .globl _start
_start: mov $1, %eax
        mov $1, %edi
        lea text(%rip), %rsi
        mov $6, %edx
        syscall
        mov $60, %eax
        xor %edi, %edi
        syscall
        .section .rodata
text:   .ascii "hello\\n"
        .section .note.GNU-stack,"",@progbits
"""


class Compiler:
    """Compiles guests into one directory, each once.

    Args:
        directory: where the results are kept; several processes may share it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, source: str | Path, kind: str = "glibc", *flags: str) -> Path:
        """Compile one C or assembly file.

        Args:
            source: a path, or the text itself; a text without ``;`` is assembly.
            kind: one of KINDS.
            flags: more flags for the compiler, behind the source.
        Returns:
            The executable. It is made once for the same text, kind and flags.
        """
        if isinstance(source, Path):
            suffix, text = source.suffix, source.read_text()
        else:
            suffix, text = (".c" if ";" in source else ".S"), source
        key = hashlib.sha256("\0".join((text, suffix, *KINDS[kind], *flags)).encode()).hexdigest()[:24]
        target = self.directory / f"{kind}-{key}"
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
                file = Path(scratch) / f"guest{suffix}"
                file.write_text(text)
                out = Path(scratch) / "guest"
                done = subprocess.run(
                    [*KINDS[kind], "-o", out, file, *flags], capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stderr
                os.replace(out, target)
        return target


def until_in_call(pid: int, *names: str) -> None:
    """Wait until a thread of a process, or of its children, is in one of these system calls, for 30 s at most.

    Args:
        pid: the process; what it executes keeps the number.
        names: of calls, such as "pause".
    Raises:
        AssertionError: it is in none of them.
    """
    numbers = {str(by_name(name).nr) for name in names}  # type: ignore[union-attr]
    deadline = time.monotonic() + 30
    while not numbers & set(_calls(pid)):
        assert time.monotonic() < deadline, f"process {pid} is not in {' or '.join(names)}"
        time.sleep(0.01)


def _calls(pid: int) -> Iterator[str]:
    """Numbers of the calls that threads of a process and of its children wait in (proc_pid_syscall(5))."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            yield (task / "syscall").read_text().split()[0]
            for child in (task / "children").read_text().split():
                yield from _calls(int(child))


def patched(data: bytes, offset: int, form: str, *values: int) -> bytes:
    """A copy of data with values packed at offset (struct's form, little-endian)."""
    copy = bytearray(data)
    struct.pack_into("<" + form, copy, offset, *values)
    return bytes(copy)


def program_headers(data: bytes) -> list[tuple[int, int]]:
    """(file offset, p_type) of each program header of a well-formed ELF file."""
    start, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    return [(start + 56 * i, struct.unpack_from("<I", data, start + 56 * i)[0]) for i in range(count)]
