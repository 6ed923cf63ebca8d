"""Where a thread's own variables are: qGetTLSAddr. "ELF Handling For Thread-Local Storage" (Drepper), variant II.

gdb asks with the offset inside of a module's block, and the module by its link_map (0: a static program). The program's own block
ends at the thread pointer; those of libraries are found by the thread's dtv, their numbers by the order of the list.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]

_PT_DYNAMIC, _PT_INTERP, _PT_PHDR, _PT_TLS = 2, 3, 6, 7
_DT_DEBUG = 21
_AT_PHDR, _AT_PHNUM = 3, 5
_MODULES = 1024


def address(read: Read, auxv: bytes, base: int, offset: int, module: int) -> int:
    """Where a variable is.

    Args:
        read: memory, from an address on.
        auxv: the program's auxiliary vector.
        base: the thread's fs_base.
        offset: of the variable in its module's block.
        module: address of the module's link_map; 0: the program itself.

    Raises:
        ValueError: there is no such block, or not yet.
    """
    known = dict(struct.iter_unpack("<QQ", auxv[: len(auxv) // 16 * 16]))
    rows = _headers(read, known.get(_AT_PHDR, 0), known.get(_AT_PHNUM, 0))
    bias = next((known[_AT_PHDR] - row[3] for row in rows if row[0] == _PT_PHDR), 0)
    maps = _maps(read, rows, bias)
    if not module or (maps and maps[0][0] == module):
        block = next((row for row in rows if row[0] == _PT_TLS), None)
        if block is None:
            raise ValueError("no TLS")
        size, align, start = block[6], max(block[7], 1), block[3]
        # the block is as far below the thread pointer as its size, so that its start is aligned as in the file
        distance = size + (-size - start) % align
        return (base - distance + offset) & (1 << 64) - 1
    number = 0
    for at, load in maps:
        number += _has_block(read, load) if at != maps[0][0] else any(row[0] == _PT_TLS for row in rows)
        if at == module:
            break
    else:
        raise ValueError("no such module")
    musl = b"musl" in next((read(bias + row[3], min(row[5], 256)) for row in rows if row[0] == _PT_INTERP), b"")
    dtv = _word(read, base + 8)
    found = _word(read, dtv + (8 * number if musl else 16 * number))
    if not found or found == (1 << 64) - 1:
        raise ValueError("not allocated yet")
    return found + offset


def _word(read: Read, at: int) -> int:
    data = read(at, 8)
    if len(data) < 8:
        raise ValueError(at)
    return int.from_bytes(data, "little")


def _headers(read: Read, at: int, count: int) -> list[tuple[int, ...]]:
    """Program headers: type, flags, offset, vaddr, paddr, filesz, memsz, align."""
    if count > 512:
        raise ValueError(count)
    data = read(at, count * 56)
    return list(struct.iter_unpack("<IIQQQQQQ", data[: len(data) // 56 * 56]))


def _maps(read: Read, rows: list[tuple[int, ...]], bias: int) -> list[tuple[int, int]]:
    """The dynamic linker's list: address of each link_map, and where its module is loaded."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if row[0] != _PT_DYNAMIC:
            continue
        data = read(bias + row[3], min(row[6], 1 << 16))
        entries = dict(struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]))
        at = _word(read, entries[_DT_DEBUG] + 8) if entries.get(_DT_DEBUG) else 0
        while at and len(found) < _MODULES:
            found.append((at, _word(read, at)))
            at = _word(read, at + 24)
    return found


def _has_block(read: Read, load: int) -> bool:
    head = read(load, 64)
    if head[:4] != b"\x7fELF":
        return False
    offset, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    return any(row[0] == _PT_TLS for row in _headers(read, load + offset, count))
