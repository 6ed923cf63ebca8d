"""Where a thread's own variables are: qGetTLSAddr. "ELF Handling For Thread-Local Storage" (Drepper), variant II.

gdb asks with the offset inside of a module's block, and the module by its link_map (0: a static program). The program's own block
ends at the thread pointer; those of libraries are found by the thread's dtv, their numbers by the order of the list.
"""

from __future__ import annotations

import struct

from torov.gdb import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.gdb.modules import Read

_PT_INTERP, _PT_TLS = 3, 7


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
    rows, bias = modules.program(read, auxv)
    maps = modules.maps(read, rows, bias)
    if not module or (maps and maps[0].at == module):
        block = next((row for row in rows if row[0] == _PT_TLS), None)
        if block is None:
            raise ValueError("no TLS")
        size, align, start = block[6], max(block[7], 1), block[3]
        # the block is as far below the thread pointer as its size, so that its start is aligned as in the file
        distance = size + (-size - start) % align
        return (base - distance + offset) & (1 << 64) - 1
    number = 0
    for one in maps:
        number += _has_block(read, one.load) if one is not maps[0] else any(row[0] == _PT_TLS for row in rows)
        if one.at == module:
            break
    else:
        raise ValueError("no such module")
    musl = b"musl" in next((read(bias + row[3], min(row[5], 256)) for row in rows if row[0] == _PT_INTERP), b"")
    dtv = modules.word(read, base + 8)
    found = modules.word(read, dtv + (8 * number if musl else 16 * number))
    if not found or found == (1 << 64) - 1:
        raise ValueError("not allocated yet")
    return found + offset


def _has_block(read: Read, load: int) -> bool:
    head = read(load, 64)
    if head[:4] != b"\x7fELF":
        return False
    offset, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    return any(row[0] == _PT_TLS for row in modules.headers(read, load + offset, count))
