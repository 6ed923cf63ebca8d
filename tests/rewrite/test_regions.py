"""Code regions, pairs of bytes, and where they are in memory."""

from __future__ import annotations

from synthetic import TEXT, make_image

from torov.loader.image import PF_R, PF_W, PF_X, Image, Section, Segment
from torov.rewrite.regions import Mapping, Place, Region, candidates, regions


def image(size: int, segments: list[Segment], sections: list[Section]) -> Image:
    return Image("x", bytes(size), pie=False, entry=0, phdr=0, phentsize=56, phnum=len(segments),
                 segments=tuple(segments), sections=tuple(sections))


def code(name: str, vaddr: int, offset: int, size: int, flags: int = 6, type: int = 1) -> Section:
    return Section(name, vaddr, offset, size, flags, type)


RX = Segment(0x401000, 0x1000, 0x1000, 0x1000, PF_R | PF_X)


def test_executable_sections_only() -> None:
    found = regions(image(0x3000, [RX], [
        code(".text", 0x401000, 0x1000, 0x100),
        code(".rodata", 0x401100, 0x1100, 0x100, flags=2),
        code(".bss", 0x401200, 0x1200, 0x100, type=8),
        code(".fini", 0x401300, 0x1300, 0x10),
    ]))
    assert found == [Region(0x1000, 0x1100, 0x400000, ".text"), Region(0x1300, 0x1310, 0x400000, ".fini")]


def test_sections_are_cut_to_their_segment_and_to_each_other() -> None:
    found = regions(image(0x3000, [RX], [
        code(".a", 0x400F00, 0xF00, 0x200),
        code(".b", 0x401080, 0x1080, 0x100),
        code(".c", 0x401F00, 0x1F00, 0x1000),
    ]))
    assert found == [Region(0x1000, 0x1100, 0x400000, ".a"), Region(0x1100, 0x1180, 0x400000, ".b"),
                     Region(0x1F00, 0x2000, 0x400000, ".c")]


def test_section_at_another_address_than_its_segment_is_no_region() -> None:
    found = regions(image(0x3000, [RX], [code(".text", 0x501000, 0x1000, 0x100)]))
    assert found == [Region(0x1000, 0x2000, 0x400000, "")]


def test_without_sections_the_executable_segments() -> None:
    writable = Segment(0x403000, 0x1000, 0x2000, 0x1000, PF_R | PF_W)
    assert regions(image(0x3000, [RX, writable], [])) == [Region(0x1000, 0x2000, 0x400000, "")]


def test_candidates() -> None:
    assert candidates(make_image(b"\x0f\x05\x0f\x0f\x05\x05"), b"\x0f\x05") == [0x1000, 0x1003]


def test_mapping() -> None:
    data = Segment(0x500800, 0x800, 0x1800, 0x200, PF_R | PF_W)  # inside RX in the file
    mapping = Mapping(image(0x3000, [data, RX], []))
    assert mapping.find(0xFFF) == Place(None, False, False, False)
    assert mapping.find(0x1000) == Place(0x401000, True, False, False)
    assert mapping.find(0x17FE) == Place(0x4017FE, True, False, False)
    assert mapping.find(0x17FF) == Place(0x4017FF, True, True, True)  # its second byte is in data too
    assert mapping.find(0x1800) == Place(0x401800, True, True, True)
    assert mapping.find(0x19FF) == Place(0x4019FF, True, True, True)  # its first byte is
    assert mapping.find(0x1A00) == Place(0x401A00, True, False, False)
    assert mapping.find(0x1FFE) == Place(0x401FFE, True, False, False)
    assert mapping.find(0x1FFF) == Place(None, False, False, False)  # the second byte is not mapped
    assert mapping.find(0x2000) == Place(None, False, False, False)


def test_text_of_the_synthetic_program() -> None:
    assert regions(make_image(b"\x90" * 5)) == [Region(0x1000, 0x1005, TEXT - 0x1000, ".text")]
