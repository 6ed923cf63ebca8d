"""A guest run natively and by torov, and what came of it side by side. Linux is the second source of every test here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from pathlib import Path

from support import Compiler

ROOT = Path(__file__).resolve().parents[2]
GUESTS = Path(__file__).resolve().parent / "guests"


class Ran:
    """What a program left behind: standard output, standard error, and the status that a shell would show."""

    __slots__ = ("err", "out", "status")

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.out, self.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        self.status = done.returncode if done.returncode >= 0 else 128 - done.returncode


def build(cc: Compiler, name: str, kind: str = "glibc", *flags: str) -> Path:
    """Compile tests/vmm/guests/NAME.c, its own headers written out, since the compiler is called on one text."""
    lines = [f'#line 1 "{name}.c"']
    for number, line in enumerate((GUESTS / f"{name}.c").read_text().splitlines(), 2):
        if line.startswith('#include "'):
            header = line.split('"')[1]
            line = f'#line 1 "{header}"\n{(GUESTS / header).read_text()}\n#line {number} "{name}.c"'
        lines.append(line)
    return cc("\n".join(lines) + "\n", kind, "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", *flags)


def run(
    command: Sequence[str | Path | bytes], cwd: Path | None = None, timeout: float = 60, env: Mapping[str, str] | None = None
) -> Ran:
    """One process; env is added to its environment."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    full.pop("PYTHONDONTWRITEBYTECODE", None)
    return Ran(subprocess.run(command, cwd=cwd, env=full, capture_output=True, check=False, timeout=timeout))


def torov(program: str | Path, *args: str | bytes, options: Sequence[str | Path] = ("--quiet",)) -> list[str | Path | bytes]:
    """The command that runs a program by torov."""
    return [sys.executable, "-m", "torov", "exec", *options, program, "--", *args]


def compare(
    program: Path,
    *args: str | bytes,
    where: Path,
    env: Mapping[str, str] | None = None,
    options: Sequence[str | Path] = ("--quiet",),
) -> Ran:
    """Run natively and by torov, each in an empty directory of its own, and hold one against the other.

    Args:
        program: the guest.
        args: its arguments.
        where: a directory for the two.
        env: added to the environment of both.
        options: of torov exec.
    Returns:
        The native run, for what a test has to say beyond "the same".
    """
    both = []
    for name, command in (("native", [program, *args]), ("guest", torov(program, *args, options=options))):
        cwd = where / name
        cwd.mkdir(parents=True)
        both.append(run(command, cwd=cwd, env=env))
    native, guest = both
    difference = [*unified_diff(native.out.splitlines(), guest.out.splitlines(), "native", "torov", n=0, lineterm="")]
    assert not difference, "\n".join(difference[:40])
    assert guest.err == native.err, f"standard error: {guest.err!r}, natively {native.err!r}"
    assert guest.status == native.status, f"status {guest.status}, natively {native.status}"
    return native
