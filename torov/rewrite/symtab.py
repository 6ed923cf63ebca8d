"""Functions and names from .symtab (System V gABI, chapter 4, "Symbol Table")."""

from __future__ import annotations

import struct

from torov.rewrite.tables import SortedTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from torov.loader.image import Image

_SHT_SYMTAB, _STT_FUNC, _STT_GNU_IFUNC, _SYM_SIZE = 2, 2, 10, 24
_NAME_MAX = 512


def find(image: Image) -> SortedTable:
    """Return the functions that have a size; empty if the program is stripped."""
    return SortedTable([(start, start + size) for _, start, size in _functions(image) if size])


def names(image: Image, wanted: set[int]) -> dict[int, str]:
    """Return the names of functions that start at given addresses.

    Args:
        image: the program.
        wanted: link-time virtual addresses.
    Returns:
        address to name, for those that have one; of several names the first in the table.
    """
    strings = next((s for s in image.sections if s.name == ".strtab"), None)
    found: dict[int, str] = {}
    if strings is None or not wanted:
        return found
    stop = min(strings.offset + strings.size, len(image.data))
    for name, start, _ in _functions(image):
        if start in wanted and start not in found and strings.offset + name < stop:
            at = strings.offset + name
            end = image.data.find(b"\0", at, min(at + _NAME_MAX, stop))
            if end > at:
                found[start] = image.data[at:end].decode("utf-8", "replace")
    return found


def _functions(image: Image) -> Iterator[tuple[int, int, int]]:
    """Yield (offset of the name, st_value, st_size) of every function defined in the program."""
    for section in image.sections:
        if section.type != _SHT_SYMTAB or section.offset >= len(image.data):
            continue
        size = min(section.size, len(image.data) - section.offset) // _SYM_SIZE * _SYM_SIZE
        table = memoryview(image.data)[section.offset:section.offset + size]
        for name, info, _, shndx, value, length in struct.iter_unpack("<IBBHQQ", table):
            if info & 0xF in (_STT_FUNC, _STT_GNU_IFUNC) and shndx:
                yield name, value, length
