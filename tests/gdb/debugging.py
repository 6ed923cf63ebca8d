"""Guests under gdb, by torov and natively: the same commands, and what gdb said of them side by side."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from difflib import unified_diff
from pathlib import Path

from support import Compiler, until_in_call

ROOT = Path(__file__).resolve().parents[2]
GUESTS = Path(__file__).resolve().parent / "guests"
QUIET = ("set pagination off", "set confirm off", "set width 0", "set debuginfod enabled off", "set startup-with-shell off")
MARK = "@@@"
_ENV = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}


def built(cc: Compiler, name: str, kind: str = "glibc", *flags: str) -> Path:
    """tests/gdb/guests/NAME.c with debug information."""
    return cc((GUESTS / f"{name}.c").read_text(), kind, "-g", "-O0", "-pthread", *flags)


class Session:
    """One run of gdb over a guest.

    Fields:
        said: what gdb printed for the commands; whole: all of it.
        out, err: of the guest (and torov); status: as a shell shows it.
    """

    def __init__(self, said: str, out: str, err: str, status: int) -> None:
        self.whole, self.out, self.err, self.status = said, out, err, status
        self.said = said.partition(MARK)[2].strip()


def native(program: Path, commands: Sequence[str], *args: str) -> str:
    """What gdb says of a native run, from its first instruction on."""
    done = subprocess.run(
        [*_gdb(), "-ex", "set inferior-tty /dev/null", "-ex", "starti", *_words(commands), "--args", program, *args],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_ENV, timeout=100, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.decode(errors="replace").partition(MARK)[2].strip()


def debugged(
    where: Path,
    program: Path,
    commands: Sequence[str],
    *args: str,
    options: Sequence[str] = (),
    when: Callable[[int, subprocess.Popen[bytes]], None] | None = None,
    address: str = "",
) -> Session:
    """The same of a guest.

    Args:
        where: an empty directory.
        program, commands, args: as native().
        options: more of torov exec's.
        when: called with gdb's pid and the guest's process, in a thread of its own.
        address: for --gdb; default: a Unix socket.
    """
    place = address or f"unix:{where}/gdb.sock"
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--gdb", place, *options, program, "--", *args]
    guest = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENV, stdin=subprocess.DEVNULL)
    assert guest.stderr is not None
    line = guest.stderr.readline().decode()
    found = re.search(r"target remote (\S+)'", line)
    assert found, line + guest.stderr.read().decode()
    start = f"target remote {found[1]}"
    gdb = subprocess.Popen([*_gdb(), "-ex", start, *_words(commands)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           env=_ENV, stdin=subprocess.DEVNULL)  # fmt: skip
    if when is not None:
        threading.Thread(target=when, args=(gdb.pid, guest), daemon=True).start()
    try:
        said = gdb.communicate(timeout=100)[0].decode(errors="replace")
        out, err = (stream.decode(errors="replace") for stream in guest.communicate(timeout=30))
    finally:
        for process in (gdb, guest):
            if process.poll() is None:
                process.kill()
                process.wait()
    return Session(said, out, err, guest.returncode if guest.returncode >= 0 else 128 - guest.returncode)


def same(text: str) -> list[str]:
    """Lines without what differs from run to run: ids of processes and threads, addresses of stacks, gdb's news."""
    text = re.sub(r"0x[0-9a-f]{9,16}\b", "STACK", text)
    text = re.sub(r"Thread (0x\w+|STACK) \(LWP \d+\)|Thread \d+\.\d+", "THREAD", text)
    text = re.sub(r"\b(process|pid|LWP) \d+", r"\1 N", text)
    lines = [line.rstrip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("[", "warning:", "Reading ")) and "warning: " not in line]


def compare(where: Path, program: Path, commands: Sequence[str], *args: str, options: Sequence[str] = ()) -> Session:
    """Hold a guest's run against the native one."""
    ran = debugged(where, program, commands, *args, options=options)
    difference = [*unified_diff(same(native(program, commands, *args)), same(ran.said), "native", "torov", n=1, lineterm="")]
    assert not difference, "\n".join(difference)
    return ran


def interrupted(call: str | None = None) -> Callable[[int, subprocess.Popen[bytes]], None]:
    """Types Ctrl-C into gdb half a second after the guest has written something, and is in a call if one is named."""

    def press(gdb: int, guest: subprocess.Popen[bytes]) -> None:
        assert guest.stdout is not None
        select.select([guest.stdout], [], [], 60)
        if call:
            until_in_call(guest.pid, call)
        time.sleep(0.5)
        os.kill(gdb, signal.SIGINT)

    return press


def _gdb() -> list[str]:
    return ["gdb", "-nx", "-nh", "-batch", *(word for text in QUIET for word in ("-ex", text))]


def _words(commands: Sequence[str]) -> list[str]:
    return [word for text in (f"echo {MARK}\\n", *commands) for word in ("-ex", text)]
