"""LeakSanitizer over guests that end in their monitor's own process; ``make test-asan`` collects this file, no other run does.

Guests that end as processes of their own are looked at in finish() of core/fork.c.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from running import build, run
from support import HELLO_C, Compiler

pytestmark = pytest.mark.kvm

SCRIPT = """
import ctypes, sys
from torov import api
report, *programs = sys.argv[1:]
for line in programs:
    for _ in range(3):
        api.run(*[part for part in (line.split()[0], line.split()[1:])])
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(16):
    libc.malloc(7777)  # that leaks are seen at all
libc.__sanitizer_set_report_path(report.encode())
libc.__lsan_do_recoverable_leak_check()
"""


def test_nothing_of_the_core_leaks(cc: Compiler, tmp_path: Path) -> None:
    threads, processes = (build(cc, name, "glibc", "-pthread") for name in ("threads", "processes"))
    signals = build(cc, "signals", "glibc", "-pthread", "-lm")
    left, calls = build(cc, "left", "glibc", "-pthread"), build(cc, "calls_net", "glibc")
    lines = [f"{cc(HELLO_C, 'musl')}", f"{left} exit", f"{left} crash", f"{left} kill", f"{calls}"]
    lines += [f"{threads} {case}" for case in ("thousand", "cancel", "robust", "exit_all", "main_leaves", "own_faults")]
    lines += [f"{processes} {case}" for case in ("statuses", "spawns", "vforks", "exec_errors", "in_threads", "pipes")]
    lines += [f"{signals} {case}" for case in ("waiting", "jumps", "timers")]
    done = run([sys.executable, "-c", SCRIPT, tmp_path / "report", *lines], cwd=tmp_path, timeout=250)
    assert done.status == 0, done.err
    text = "".join(path.read_text() for path in tmp_path.glob("report.*"))
    leaks = re.split(r"\n(?=(?:Direct|Indirect) leak of )", text)
    assert any("leak of 7777" in leak or "7777 byte" in leak or "124432" in leak for leak in leaks), text[:2000]
    ours = [leak for leak in leaks[1:] if "torov/vmm/core/" in leak]
    assert not ours, "\n".join(ours)
