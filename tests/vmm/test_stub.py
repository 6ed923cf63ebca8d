"""The instructions that torov adds to a guest, byte for byte, with GNU as for a second opinion."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from torov.rewrite.sites import OUT
from torov.vmm import stub

GOLDEN = {  # Intel SDM volume 2: OUT imm8, AL = E6 ib; OUT imm8, EAX = E7 ib; IRETQ = REX.W CF
    stub.STUBS["stub_trap"]: bytes.fromhex("e710"),
    stub.STUBS["stub_exception"]: bytes.fromhex("e62148cf"),
    stub.PATCH: bytes.fromhex("e710"),
}


@pytest.mark.parametrize("source", GOLDEN)
def test_keystone_gives_the_golden_bytes(source: str) -> None:
    assert stub.assemble(source) == GOLDEN[source]


@pytest.mark.parametrize("source", GOLDEN)
def test_gnu_as_gives_the_same(source: str, tmp_path: Path) -> None:
    object_file, raw = tmp_path / "o", tmp_path / "raw"
    text = ".intel_syntax noprefix\n" + source.replace(";", "\n") + "\n"
    subprocess.run(["as", "--64", "-o", object_file], input=text, text=True, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", object_file, raw], check=True)
    assert raw.read_bytes() == GOLDEN[source]


def test_every_stub_is_golden() -> None:
    assert set(stub.STUBS.values()) | {stub.PATCH} == set(GOLDEN)


def test_the_rewriter_writes_the_same_instruction() -> None:
    assert stub.assemble(stub.PATCH) == OUT


def test_bad_source_is_one_error() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        stub.assemble("no such thing")
