"""Everything at once for a while: tests/vmm/guests/stress.c checks itself; here what must not be left behind.

STRESS_SECONDS says how much CPU time the guest gets (``make stress SECONDS=600``).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from left import Watch
from running import build, run, torov
from support import Compiler

SECONDS = float(os.environ.get("STRESS_SECONDS", "4"))

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(int(200 + 30 * SECONDS))]


@pytest.mark.parametrize("where", ["native", "torov"])
def test_stress(cc: Compiler, tmp_path: Path, where: str) -> None:
    program = build(cc, "stress", "glibc", "-pthread")
    seconds = SECONDS if where == "torov" else min(SECONDS, 4)
    word = f"{seconds:g}"
    command: list[str | Path | bytes] = [program, word] if where == "native" else torov(program, word)
    with Watch() as watch:
        done = run(command, cwd=tmp_path, timeout=150 + 30 * SECONDS)
        print(done.out, done.err)
        assert (done.status, done.err, done.out.splitlines()[-1]) == (0, "", "good")
        watch.empty()
