"""Every way to die: the signal, its si_code, its address and the instruction, held against a native run's handler."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import GUESTS, build, compare, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

CASES = re.findall(r"\bCASE\((\w+)\)", (GUESTS / "faults.c").read_text().replace("define CASE(name)", ""))

# Where the stack is, is not the same; the kernel has the sender's pid where si_addr would be.
NO_ADDRESS = {
    "stack_overflow": (0, 1),
    "exec_stack": (0, 1),
    "abort": (0, 1, 3),
    "raise_term": (0, 1, 3),
    "raise_usr1": (0, 1, 3),
}
UNCAUGHT = ("raise_kill", "raise_rt")  # no handler of the guest's sees these

# All in one process: no end of a guest may harm the monitor. First the handler's line, then the end's own.
DRIVER = """
import sys
from torov import api
program, *cases = sys.argv[1:]
for case in cases:
    print("=", case, flush=True)
    api.run(program, [case, "report"])
    stop = api.run(program, [case]).stop
    print(stop.kind, stop.status, stop.code, f"{stop.address:x} {stop.rip:x}", flush=True)
last = api.run(program)
print("=", "alive")
print(last.exit_status)
"""


@pytest.fixture(scope="module")
def program(cc: Compiler) -> Path:
    """The guest: at a fixed address and unoptimised, so that each fault is where the source has it."""
    return build(cc, "faults", "glibc", "-O0", "-fno-pie", "-no-pie")


@pytest.fixture(scope="module")
def ends(program: Path) -> dict[str, list[str]]:
    """By case: what the guest's handler printed, and how it ended without one."""
    done = run([sys.executable, "-c", DRIVER, program, *CASES], timeout=120)
    assert done.status == 0, done.err
    parts = [part.splitlines() for part in done.out.split("= ")[1:]]
    return {lines[0]: lines[1:] for lines in parts}


def test_the_table_is_whole(ends: dict[str, list[str]]) -> None:
    assert len(CASES) > 90
    assert set(ends) == {*CASES, "alive"}
    assert ends["alive"] == ["0"]


@pytest.mark.parametrize("case", [case for case in CASES if case not in UNCAUGHT])
def test_end(program: Path, ends: dict[str, list[str]], case: str) -> None:
    native = subprocess.run([program, case, "report"], capture_output=True, text=True, check=False, timeout=20)
    assert native.returncode == 100, native.stderr
    wanted = native.stdout.split()
    handled, ended = ends[case][0].split(), ends[case][1].split()
    which = NO_ADDRESS.get(case, range(4))
    assert [handled[i] for i in which] == [wanted[i] for i in which]
    assert ended[0] == "2"  # by a signal
    assert [ended[1 + i] for i in which] == [wanted[i] for i in which]


@pytest.mark.parametrize("case", ["null_read", "bus_shared", "div_zero", "ud2", "int3", "hlt", "out_10", "abort", *UNCAUGHT])
def test_exit_status(program: Path, case: str, tmp_path: Path) -> None:
    assert compare(program, case, where=tmp_path).status > 128


@pytest.mark.parametrize(("code", "ends"), [("int $0x80", (11,)), ("sysenter", (11, 4))])
def test_calls_of_32_bit_programs_are_not_served(cc: Compiler, code: str, ends: tuple[int, ...]) -> None:
    """They are refused and counted. AMD's processors have no sysenter in 64-bit mode: SIGILL, as natively."""
    guest = cc(f".globl _start\n_start: mov $1, %eax\n xor %ebx, %ebx\n {code}\n", "bare")
    done = run(torov(guest, options=("--stats", "--json")))
    assert done.status - 128 in ends
    assert '"lost": 1' in done.err


def test_flags_and_stack_at_a_call(cc: Compiler, tmp_path: Path) -> None:
    assert compare(build(cc, "flags"), where=tmp_path).status == 0
