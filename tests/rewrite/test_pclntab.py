"""Go's function table: every header version, and (with the corpus) against the symbols of a Go program."""

from __future__ import annotations

import struct
import subprocess

import pytest
from synthetic import TABLES, TEXT, make_image, pclntab

from torov.corpus import fetch, read_binaries
from torov.loader.elf import load
from torov.loader.image import PF_R, PF_W, Image, Section, Segment
from torov.rewrite import pclntab as reader

FUNCTIONS = [(TEXT, TEXT + 8), (TEXT + 8, TEXT + 24), (TEXT + 24, TEXT + 32)]
CODE = b"\x90" * 32


def wide(version: int) -> bytes:
    """Write the table of Go 1.2 or 1.16: entries are pairs of 64-bit words (runtime/symtab.go of these)."""
    pairs = b"".join(struct.pack("<QQ", start, 0) for start, _ in FUNCTIONS)
    pairs += struct.pack("<Q", FUNCTIONS[-1][1])
    if version == 2:
        return struct.pack("<IHBBQ", 0xFFFFFFFB, 0, 1, 8, len(FUNCTIONS)) + pairs + bytes(16)
    return struct.pack("<IHBBQQQQQQQ", 0xFFFFFFFA, 0, 1, 8, len(FUNCTIONS), 1, 64, 0, 0, 0, 64) + pairs


@pytest.mark.parametrize(
    "table",
    [pclntab(FUNCTIONS), pclntab(FUNCTIONS, 0xFFFFFFF0), wide(16), wide(2)],
    ids=["1.20", "1.18", "1.16", "1.2"],
)
def test_functions(table: bytes) -> None:
    found = reader.find(make_image(CODE, tables={".gopclntab": table}))
    assert found is not None
    for start, end in FUNCTIONS:
        assert found.around(start)[0] == found.around(end - 1)[0] == (start, end)
    assert found.around(TEXT + 9)[1] == TEXT + 24
    assert found.around(TEXT - 1) == (None, TEXT)
    assert found.around(TEXT + 99) == ((TEXT + 24, TEXT + 32), None)


def test_names() -> None:
    found = reader.find(make_image(CODE, tables={".gopclntab": pclntab(FUNCTIONS)}))
    assert found is not None
    assert [found.name(TEXT + d) for d in (0, 8, 24, 9, 99)] == ["main.f0", "main.f1", "main.f2", None, None]


def with_moduledata(words: list[int]) -> Image:
    """A program of Go 1.26: textStart is 0, and moduledata is in a writable section."""
    base = make_image(CODE, tables={".gopclntab": pclntab(FUNCTIONS, text=0)})
    raw = struct.pack(f"<{len(words)}Q", *words)
    place = len(base.data)
    return Image(base.path, base.data + raw, pie=False, entry=TEXT, phdr=0, phentsize=56, phnum=3,
                 segments=(*base.segments, Segment(0x700000, len(raw), place, len(raw), PF_R | PF_W)),
                 sections=(*base.sections, Section(".data", 0x700000, place, len(raw), 3, 1)))


def test_text_start_from_moduledata() -> None:
    decoy = [TABLES, 1, 2, 3]
    found = reader.find(with_moduledata([*decoy, TABLES, *range(19), TEXT, TEXT + 32, TEXT, TEXT + 32]))
    assert found is not None
    assert found.around(TEXT + 9) == ((TEXT + 8, TEXT + 24), TEXT + 24)


@pytest.mark.parametrize(
    "words",
    [[], [TABLES], [TABLES, TEXT, TEXT + 31], [TABLES, 0x900000, 0x900020], [TABLES + 8, TEXT, TEXT + 32]],
)
def test_no_text_start_no_table(words: list[int]) -> None:
    assert reader.find(with_moduledata(words)) is None


@pytest.mark.parametrize(
    ("at", "raw"), [(0, b"\xfe"), (4, b"\1"), (7, b"\4"), (8, bytes(8)), (8, b"\xff" * 8), (64, b"\xff" * 8)],
    ids=["magic", "pad", "32-bit", "no functions", "too many functions", "table outside"])
def test_a_table_that_does_not_hold(at: int, raw: bytes) -> None:
    table = pclntab(FUNCTIONS)
    table = table[:at] + raw + table[at + len(raw):]
    assert reader.find(make_image(CODE, tables={".gopclntab": table})) is None


@pytest.mark.corpus
def test_go_1_27_program_agrees_with_its_symbols() -> None:
    path = fetch(read_binaries()["gofmt-2"])
    found = reader.find(load(str(path)))
    assert found is not None
    lines = subprocess.run(["nm", "-S", path], check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [line.split(maxsplit=3) for line in lines]
    symbols = {int(f[0], 16): f[3].removesuffix(".abi0") for f in fields if len(f) == 4 and f[2] in "tT"}
    assert len(symbols) > 3000
    assert {start: found.name(start) for start in symbols} == symbols
