"""Function ranges of .eh_frame, against binutils' reading of programs that the tests compile."""

from __future__ import annotations

import re
import struct
import subprocess
import time
from pathlib import Path

import pytest
from synthetic import TEXT, eh_frame, make_image

from torov.loader.elf import load
from torov.rewrite import ehframe


@pytest.fixture(scope="module", params=[["-static"], ["-static-pie", "-Wl,--eh-frame-hdr"]], ids=str)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static C program, as gcc links it."""
    path = tmp_path_factory.mktemp("program") / "hello"
    source = b'#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
    subprocess.run(["gcc", "-O1", *request.param, "-x", "c", "-o", path, "-"], input=source, check=True)
    return path


def readelf_ranges(path: Path) -> set[tuple[int, int]]:
    """Return the ranges of all FDEs as readelf prints them."""
    text = subprocess.run(["readelf", "--debug-dump=frames", "--wide", path], check=True, capture_output=True,
                          text=True).stdout
    pairs = re.findall(r" FDE cie=\S+ pc=([0-9a-f]+)\.\.([0-9a-f]+)", text)
    return {(int(start, 16), int(end, 16)) for start, end in pairs}


def test_walk_finds_what_readelf_finds(program: Path) -> None:
    _, frames = ehframe.find(load(str(program)))
    assert frames is not None
    table, expected = frames.walk(), readelf_ranges(program)
    assert len(expected) > 1000
    assert {table.around(start)[0] for start, _ in expected} == expected


def test_search_table_finds_what_readelf_finds(program: Path) -> None:
    table, _ = ehframe.find(load(str(program)))
    if table is None:
        assert b".eh_frame_hdr\0" not in program.read_bytes()
        return
    for start, end in readelf_ranges(program):
        assert table.around(start)[0] == (start, end)
        assert table.around(end - 1)[0] == (start, end)


def test_neighbours() -> None:
    section, _ = eh_frame([(TEXT + 4, TEXT + 8), (TEXT + 16, TEXT + 20)], 0x600000)
    _, frames = ehframe.find(make_image(b"\x90" * 32, tables={".eh_frame": section}))
    assert frames is not None
    table = frames.walk()
    assert table.around(TEXT) == (None, TEXT + 4)
    assert table.around(TEXT + 12) == ((TEXT + 4, TEXT + 8), TEXT + 16)
    assert table.around(TEXT + 30) == ((TEXT + 16, TEXT + 20), None)


def walked(section: bytes) -> tuple[tuple[int, int] | None, int | None]:
    _, frames = ehframe.find(make_image(b"\x90" * 32, tables={".eh_frame": section}))
    assert frames is not None
    return frames.walk().around(TEXT)


GOOD = eh_frame([(TEXT, TEXT + 8)], 0x600000)[0]


@pytest.mark.parametrize(
    ("at", "raw"),
    [
        (0, b"\xff\xff\xff\xff"),  # a 64-bit length that is not there
        (0, struct.pack("<I", 0x10000)),  # a CIE longer than the section
        (8, b"\x02"),  # a version that does not exist
        (9, b"zRRRRRRRR"),  # an augmentation without an end
        (9, b"xx\0"),  # an augmentation that nobody knows
        (12, b"\x80" * 12),  # a LEB128 number without an end
        (16, b"\x50"),  # DW_EH_PE_aligned
        (24, struct.pack("<I", 0x7FFF)),  # an FDE whose CIE is outside the section
        (32, bytes(4)),  # an empty range
    ],
)
def test_a_record_that_does_not_hold_is_left_out(at: int, raw: bytes) -> None:
    assert walked(GOOD) == ((TEXT, TEXT + 8), None)
    assert walked(GOOD[:at] + raw + GOOD[at + len(raw):]) == (None, None)


def test_every_truncation_is_read() -> None:
    for size in range(4, len(GOOD) - 4):
        assert walked(GOOD[:size]) == (None, None)


def test_search_table_with_a_wrong_entry_gives_no_function() -> None:
    image = make_image(b"\x90" * 32, [(0, 8), (8, 16)], ".eh_frame_hdr")
    at = image.data.index(b"\x01\x1b\x03\x3b") + 12
    start = struct.unpack_from("<i", image.data, at + 8)[0]
    table, _ = ehframe.find(image)
    assert table is not None
    assert table.around(TEXT + 9) == ((TEXT + 8, TEXT + 16), None)
    broken = bytearray(image.data)
    struct.pack_into("<i", broken, at + 8, start + 1)  # no longer what the FDE says
    sections = {s.name: broken[s.offset:s.offset + s.size] for s in image.sections}
    changed = make_image(b"\x90" * 32, tables={n: bytes(sections[n]) for n in (".eh_frame_hdr", ".eh_frame")})
    table, _ = ehframe.find(changed)
    assert table is not None
    assert table.around(TEXT + 9) == (None, None)


def test_hostile_section_is_read_in_linear_time() -> None:
    # a million FDEs that all ask for a CIE at another place, none of which is one
    section = b"".join(struct.pack("<IIQ", 12, 4 * i, 0) for i in range(200_000))
    start = time.process_time()
    assert walked(section) == (None, None)
    assert time.process_time() - start < 3
