"""System calls by families, the way a program starts, and the ways it can end: as natively."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from running import build, compare, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize(("guest", "lines"), [("calls_files", 190), ("calls_net", 100), ("calls_process", 190)])
def test_calls(cc: Compiler, tmp_path: Path, guest: str, lines: int) -> None:
    native = compare(build(cc, guest), where=tmp_path)
    assert native.status == 0
    assert len(native.out.splitlines()) >= lines


@pytest.mark.parametrize("kind", ["glibc", "pie"])
def test_start(cc: Compiler, tmp_path: Path, kind: str) -> None:
    odd: list[bytes] = [b"", b" ", b"\xff\xfe\x80", bytes(range(1, 256)), b"--", b"--policy", b"x" * 100_000, "ü\n".encode()]
    env = {"T_EMPTY": "", "T_EQUALS": "a=b=c", "T_LONG": "y" * 10_000}
    native = compare(build(cc, "start", kind, "-Wl,-e,first"), *odd, where=tmp_path, env=env)
    assert native.status == 0
    assert "argc 9 1" in native.out
    assert "T_EQUALS=a=b=c" in native.out


DEATHS = (
    "pipe",
    "pipe_blocked",
    "size",
    "size_truncate",
    "alarm",
    "alarm_loop",
    "self",
    "thread",
    "exit_300",
    "exit_minus",
    "abort",
    "none",
)


@pytest.mark.parametrize("how", DEATHS)
def test_deaths(cc: Compiler, tmp_path: Path, how: str) -> None:
    native = compare(build(cc, "deaths"), how, where=tmp_path)
    assert (native.status == 0) == (how == "none")


def test_too_many_arguments(cc: Compiler) -> None:
    """Arguments that fit torov's own start but not a quarter of a small stack: E2BIG, as execve(2) has it."""
    program = build(cc, "deaths")
    words = ["x" * 60_000] * 20
    done = run(torov(program, *words, options=("--stack", "1M")))
    assert (done.status, done.out) == (125, "")
    assert done.err.count("\n") == 1
    assert "Argument list too long" in done.err
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(7)):
            run([program, *words])
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def test_closed_standard_descriptors(cc: Compiler, tmp_path: Path) -> None:
    """The guest's first descriptor is the lowest free one, as if nothing else were open."""
    program = cc('#include <fcntl.h>\nint main(void) { return open("/dev/null", 0); }\n')
    for closed in ("", "0<&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"):
        native = run(["sh", "-c", f'exec "$@" {closed}', "sh", program])
        guest = run(["sh", "-c", f'exec "$@" {closed}', "sh", *torov(program)])
        assert guest.status == native.status, closed
