"""Functions that other files can call: .dynsym (System V gABI, chapter 4, "Symbol Table")."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image

_SHT_DYNSYM, _SYM_SIZE = 11, 24


def functions(image: Image) -> frozenset[int]:
    """Return the addresses of all symbols that a program defines for others; empty for most static programs."""
    found: set[int] = set()
    for section in image.sections:
        if section.type != _SHT_DYNSYM or section.offset >= len(image.data):
            continue
        size = min(section.size, len(image.data) - section.offset) // _SYM_SIZE * _SYM_SIZE
        table = memoryview(image.data)[section.offset : section.offset + size]
        found.update(value for _, _, _, shndx, value, _ in struct.iter_unpack("<IBBHQQ", table) if shndx and value)
    return frozenset(found)
