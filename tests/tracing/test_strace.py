"""torov strace against strace(1): the same program, the same lines. Only what must differ is taken out (traced.py says what)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Compiler
from traced import build, compare

ONE_PROCESS = ["files", "sockets", "process", "memory"]


@pytest.mark.parametrize("name", ONE_PROCESS)
def test_calls_are_decoded_as_strace_decodes_them(cc: Compiler, tmp_path: Path, name: str) -> None:
    assert len(compare(build(cc, name), tmp_path)) > 60
