"""Bad, good and half good pointers in every argument that is one: what Linux answers, torov answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import build, compare
from support import Compiler

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize(("guest", "least"), [("pointers", 7000), ("pointers_net", 1900), ("lengths", 5000)])
def test_pointers(cc: Compiler, tmp_path: Path, guest: str, least: int) -> None:
    native = compare(build(cc, guest), where=tmp_path)
    assert native.status == 0
    lines = native.out.splitlines()
    assert len(lines) >= least
    assert sum("EFAULT" in line for line in lines) > least // 8
