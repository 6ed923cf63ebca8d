"""Memory as the program asks for it: each answer, each access and each fault as natively."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import build, compare
from support import Compiler

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize(("guest", "lines"), [("memory", 360), ("memory_large", 5)])
def test_memory(cc: Compiler, tmp_path: Path, guest: str, lines: int) -> None:
    native = compare(build(cc, guest), where=tmp_path)
    assert native.status == 0
    assert len(native.out.splitlines()) >= lines
    assert "stale" not in native.out


@pytest.mark.parametrize("seed", ["1", "2"])
def test_random_operations_against_a_model(cc: Compiler, tmp_path: Path, seed: str) -> None:
    native = compare(build(cc, "memory_random"), "10000", seed, where=tmp_path)
    assert (native.status, native.out) == (0, "10000 steps\n")
