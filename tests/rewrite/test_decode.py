"""The decoder: streams, their ends, and backward consensus, on bytes whose sizes the SDM gives."""

from __future__ import annotations

import pytest

from torov.rewrite.decode import BudgetSpent, Decoder, falls_through, is_instruction


def sizes(code: bytes, at: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    stop = len(code) if stop is None else stop
    return [(offset, size) for offset, size, _ in Decoder(code).stream(at, stop, len(code))]


def test_stream() -> None:
    code = bytes.fromhex("90 b8 01 00 00 00 0f 05 c3")
    assert sizes(code) == [(0, 1), (1, 5), (6, 2), (8, 1)]
    assert sizes(code, 1, 6) == [(1, 5)]
    assert sizes(code, 1, 7) == [(1, 5), (6, 2)]


def test_stream_ends_at_bytes_that_are_no_instruction() -> None:
    assert sizes(bytes.fromhex("90 06 90 90")) == [(0, 1)]
    assert sizes(bytes.fromhex("90 b8 01 00")) == [(0, 1)]  # cut off
    assert sizes(bytes.fromhex("06") + b"\x90" * 40) == []
    assert sizes(b"\x90" * 3 + bytes.fromhex("06") + b"\x90" * 40) == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("lead", range(12))
def test_stream_is_the_same_across_its_chunks(lead: int) -> None:
    code = b"\x90" * lead + bytes.fromhex("48b80f050f050f050f05") * 2000  # 10 bytes each
    assert sizes(code) == [(i, 1) for i in range(lead)] + [(lead + 10 * i, 10) for i in range(2000)]


def test_budget() -> None:
    decoder = Decoder(b"\x90" * 100_000, budget=50_000)
    with pytest.raises(BudgetSpent):
        list(decoder.stream(0, 100_000, 100_000))


def test_consensus() -> None:
    nops = b"\x90" * 80
    assert Decoder(nops).consensus(70, 0, 80) == 1.0
    assert Decoder(nops).consensus(0, 0, 80) == 1.0
    # b8 takes the four bytes behind it, so the streams from 0 on pass 3; those from 1 and 2 land on it
    code = bytes.fromhex("b8 90 90 90 90 90")
    assert Decoder(code).consensus(3, 0, 6) == pytest.approx(2 / 3)
    assert Decoder(code).landing(3, 0, 6) == 1
    # 06 is no instruction: a stream that starts there says nothing
    assert Decoder(bytes.fromhex("06 06 90 90")).consensus(3, 0, 4) == 1.0
    assert Decoder(bytes.fromhex("06 06 06 90")).consensus(3, 0, 4) == 0.0


def test_text_has_link_time_addresses() -> None:
    code = bytes.fromhex("eb 02 90 90 c3")
    assert Decoder(code).text(0, 5, 5, 0x401000) == [
        (0x401000, 2, "jmp 0x401004"), (0x401002, 1, "nop"), (0x401003, 1, "nop"), (0x401004, 1, "ret")]
    assert len(Decoder(code).text(0, 5, 5, 0, 2)) == 2


def test_mnemonics_with_prefixes() -> None:
    assert is_instruction("rep syscall", "syscall")
    assert is_instruction("syscall", "syscall")
    assert not is_instruction("insyscall", "syscall")
    assert not falls_through("bnd jmp")
    assert not falls_through("ret")
    assert falls_through("jne")
    assert falls_through("call")
