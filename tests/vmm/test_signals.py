"""Signals of a guest, each fact as natively."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from running import GUESTS, build, compare, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

CASES = re.findall(r"\bCASE\((\w+)\)", (GUESTS / "signals.c").read_text())
STATUS = {"no_stack": 139, "blocked_fault": 139, "ignored_fault": 139, "double_fault": 139}


@pytest.mark.parametrize("case", CASES)
def test_signals(cc: Compiler, tmp_path: Path, case: str) -> None:
    native = compare(build(cc, "signals", "glibc", "-pthread", "-lm"), case, where=tmp_path)
    assert native.status == STATUS.get(case, 0)


def test_codes_of_faults(cc: Compiler, tmp_path: Path) -> None:
    """A signal to oneself by pidfd is as natively; what would be a fault of the monitor's is refused, and the guest goes on."""
    program = build(cc, "codes")
    assert compare(program, where=tmp_path).status == 0
    done = run(torov(program, "refused"), cwd=tmp_path)
    assert done.status == 0, done.err
    assert re.findall(r"F_SETSIG (\d+) clone (\d+)", done.out) == [("22", "22"), ("22", "22"), ("0", "0")]
