"""Small programs made of bytes: code, and function tables written from their specifications."""

from __future__ import annotations

import struct

from torov.loader.image import PF_R, PF_X, Image, Section, Segment

TEXT = 0x401000
TABLES = 0x600000
_PAGE = 0x1000
_KINDS = {".symtab": 2, ".strtab": 3}  # SHT_SYMTAB, SHT_STRTAB; the others are SHT_PROGBITS
_ALLOC, _EXEC = 2, 4


def make_image(
    text: bytes,
    functions: list[tuple[int, int]] | None = None,
    source: str = ".eh_frame",
    flags: int = PF_R | PF_X,
    sections: bool = True,
    tables: dict[str, bytes] | None = None,
) -> Image:
    """Make a program whose code starts at TEXT.

    Args:
        text: its code.
        functions: (start, end) as distances from TEXT, or None for no table.
        source: the table that knows them: .eh_frame, .eh_frame_hdr, .symtab or .gopclntab.
        flags: PF_* of the code's segment.
        sections: there is a section table.
        tables: contents of the table sections, instead of functions.
    """
    if tables is None:
        ranges = [(TEXT + start, TEXT + end) for start, end in functions or []]
        tables = make_tables(ranges, source) if ranges else {}
    code = bytes(_PAGE) + text
    code += bytes(-len(code) % _PAGE)
    entries = [Section(".text", TEXT, _PAGE, len(text), _ALLOC | _EXEC, 1)]
    segments = [Segment(TEXT, len(text), _PAGE, len(text), flags)]
    rest = b""
    for name, raw in tables.items():
        entries.append(
            Section(name, TABLES + len(rest), len(code) + len(rest), len(raw), _ALLOC, _KINDS.get(name, 1)))
        rest += raw + bytes(-len(raw) % 16)
    if rest:
        segments.append(Segment(TABLES, len(rest), len(code), len(rest), PF_R))
    return Image("synthetic", code + rest, pie=False, entry=TEXT, phdr=0, phentsize=56, phnum=len(segments),
                 segments=tuple(segments), sections=tuple(entries) if sections else ())


def make_tables(functions: list[tuple[int, int]], source: str) -> dict[str, bytes]:
    """Write the function table of one source, placed at TABLES."""
    if source == ".eh_frame":
        return {".eh_frame": eh_frame(functions, TABLES)[0]}
    if source == ".eh_frame_hdr":
        size = 12 + 8 * len(functions)
        frames = TABLES + size + -size % 16
        section, places = eh_frame(functions, frames)
        # LSB 5.0: version 1; pcrel sdata4, udata4, datarel sdata4; the table is sorted
        header = struct.pack("<BBBBiI", 1, 0x1B, 0x03, 0x3B, frames - TABLES - 4, len(functions))
        for (start, _), place in sorted(zip(functions, places, strict=True)):
            header += struct.pack("<ii", start - TABLES, place - TABLES)
        return {".eh_frame_hdr": header, ".eh_frame": section}
    if source == ".symtab":
        names = b"\0" + b"".join(b"f%d\0" % i for i in range(len(functions)))
        symbols = bytes(24)
        for i, (start, end) in enumerate(functions):
            symbols += struct.pack("<IBBHQQ", names.index(b"\0f%d\0" % i) + 1, 0x12, 0, 1, start, end - start)
        return {".symtab": symbols, ".strtab": names}
    return {".gopclntab": pclntab(functions)}


def eh_frame(functions: list[tuple[int, int]], vaddr: int) -> tuple[bytes, list[int]]:
    """Write an .eh_frame section at an address; return it and the address of each FDE."""
    # CIE: version 1, "zR", code alignment 1, data alignment -8, return address in column 16, pcrel sdata4
    body = struct.pack("<IB", 0, 1) + b"zR\0" + bytes((1, 0x78, 16, 1, 0x1B, 0, 0, 0))
    section = struct.pack("<I", len(body)) + body
    places = []
    for start, end in functions:
        at = len(section)
        places.append(vaddr + at)
        section += struct.pack("<IIiIB3x", 16, at + 4, start - (vaddr + at + 8), end - start, 0)
    return section + bytes(4), places


def pclntab(functions: list[tuple[int, int]], magic: int = 0xFFFFFFF1, text: int = TEXT) -> bytes:
    """Write a Go 1.20 pclntab (internal/abi: PCLNTabMagic, runtime/symtab.go: pcHeader and functab)."""
    names = b"".join(b"main.f%d\0" % i for i in range(len(functions)))
    names += bytes(-len(names) % 8)
    table_at = 72 + len(names)
    entries, funcs = b"", b""
    first_func = 8 * len(functions) + 4
    for i, (start, _) in enumerate(functions):
        entries += struct.pack("<II", start - TEXT, first_func + len(funcs))
        funcs += struct.pack("<Ii", start - TEXT, names.index(b"main.f%d\0" % i))
    entries += struct.pack("<I", functions[-1][1] - TEXT)
    head = struct.pack("<IHBBQQQQQQQQ", magic, 0, 1, 8, len(functions), 1, text, 72, 0, 0, 0, table_at)
    return head + names + entries + funcs
