"""What strict mode needs: which numbers each system call instruction of a program may make, as the core reads it.

The bytes are little-endian, every offset counts from their start. Addresses are link-time addresses of the bytes ``0F 05``,
as the sites and traps of an image file (loader.image) are; for a PIE the core adds the base it chose:

    char magic[8] = "TOROVST1"
    u32 size, nsites, nsets, sites, index, sets     size in bytes, counts, then the offsets of
    u64 address[nsites]     ascending; every one in the file's code, patched or not: a call from elsewhere is not the file's
    u16 set[nsites]         number of its set; ANY: it cannot be known which calls it makes
    u8  bits[nsets][64]     bit nr & 7 of byte nr >> 3: call nr may be made there

Numbers from 512 on have no bit: no policy allows them, and they are answered with ENOSYS. A table lies beside the program's
image file, and is made once, at the first strict start.
"""

from __future__ import annotations

import contextlib
import os
import struct

from torov.prepare import image_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.rewrite.infer import Inferred

VERSION = 1
"""Goes up when other numbers can be found for a site; tables of another version are not used."""
MAGIC = b"TOROVST1"
HEADER = struct.Struct("<8s6I")
ANY = 0xFFFF
SET_SIZE = 64


def strict_table(path: str, *, clean_gap: bool = True) -> bytes:
    """The table of a program, from the cache or made now (0.05 s to some seconds, as docs/rewriting.md says).

    Args:
        path: the program, or a program interpreter.
        clean_gap: as in prepare.image_of(), whose image file the table lies beside.

    Returns:
        the table.

    Raises:
        LoadError, NotFound: the file is not a program that can be loaded.
        MachineError: its image can be written nowhere.
    """
    place = f"{image_of(path, clean_gap=clean_gap).removesuffix('.img')}.{VERSION}.sites"
    kept = _read(place)
    if kept is not None:
        return kept
    from torov.loader.files import replace_file
    from torov.rewrite.infer import infer

    made = pack(infer(path))
    with contextlib.suppress(OSError):  # read-only or full: it is made again the next time
        replace_file(place, (made,))
    return made


def pack(found: Inferred) -> bytes:
    """Write what was inferred as a table."""
    sets: dict[bytes, int] = {}
    numbers = []
    addresses = sorted(found.sites)
    for address in addresses:
        known = found.sites[address]
        if known is None:
            numbers.append(ANY)
            continue
        bits = bytearray(SET_SIZE)
        for nr in known:
            if nr < 8 * SET_SIZE:
                bits[nr >> 3] |= 1 << (nr & 7)
        numbers.append(sets.setdefault(bytes(bits), len(sets)))
    index_at = HEADER.size + 8 * len(addresses)
    sets_at = index_at + 2 * len(addresses) + 7 & -8
    body = b"".join((
        struct.pack(f"<{len(addresses)}Q", *addresses), struct.pack(f"<{len(numbers)}H", *numbers),
        bytes(sets_at - index_at - 2 * len(addresses)), *sets,
    ))  # fmt: skip
    size = HEADER.size + len(body)
    return HEADER.pack(MAGIC, size, len(addresses), len(sets), HEADER.size, index_at, sets_at) + body


def unpack(table: bytes) -> dict[int, frozenset[int] | None]:
    """Read a table back, for tests and tools: address to its numbers below 512, None for any."""
    _, _, count, _, sites, index, sets = HEADER.unpack_from(table)
    addresses = struct.unpack_from(f"<{count}Q", table, sites)
    found: dict[int, frozenset[int] | None] = {}
    for address, number in zip(addresses, struct.unpack_from(f"<{count}H", table, index), strict=True):
        bits = table[sets + SET_SIZE * number : sets + SET_SIZE * (number + 1)]
        some = frozenset(nr for nr in range(8 * SET_SIZE) if number != ANY and bits[nr >> 3] >> (nr & 7) & 1)
        found[address] = None if number == ANY else some
    return found


def _read(place: str) -> bytes | None:
    """A table that the user wrote, whole and of this form; None if there is none."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o170022 != 0o100000:
            return None
        table = file.read()
    if len(table) < HEADER.size or table[:8] != MAGIC:
        return None
    return table if HEADER.unpack_from(table)[1] == len(table) else None
