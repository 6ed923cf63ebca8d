"""Threads of a guest, each fact as natively."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from running import GUESTS, build, compare, run
from support import Compiler

pytestmark = pytest.mark.kvm

CASES = re.findall(r"\bCASE\((\w+)\)", (GUESTS / "threads.c").read_text())
STATUS = {"exit_elsewhere": 7, "exit_all": 5, "kill_all": 139}


@pytest.mark.parametrize("case", CASES)
def test_threads(cc: Compiler, tmp_path: Path, case: str) -> None:
    native = compare(build(cc, "threads", "glibc", "-pthread"), case, where=tmp_path)
    assert native.status == STATUS.get(case, 0)


MONITOR = """
import os, sys, time
from torov import api
def count(name):
    return len(os.listdir("/proc/self/" + name))
program, case = sys.argv[1:]
api.run(program, ["onces"])
before = count("fd"), count("task")
for _ in range(3):
    assert api.run(program, [case]).exit_status == 0
for _ in range(300):  # a thread of the host is seen for a moment after its last act
    if count("task") > before[1]:
        time.sleep(0.01)
print("leaked", [now - then for now, then in zip((count("fd"), count("task")), before)])
"""


@pytest.mark.parametrize("case", ["thousand", "detached", "stacks"])
def test_the_monitor_keeps_nothing(cc: Compiler, case: str) -> None:
    """Descriptors (each vCPU is one) and threads of the monitor, after three guests with many threads."""
    done = run([sys.executable, "-c", MONITOR, build(cc, "threads", "glibc", "-pthread"), case])
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "leaked [0, 0]"
