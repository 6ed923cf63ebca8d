"""What a program has loaded, by the dynamic linker's own list: struct r_debug and struct link_map of <link.h>.

Nothing of it is trusted: a program can write there what it likes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]

_PT_DYNAMIC, _PT_PHDR = 2, 6
_DT_DEBUG = 21
_AT_PHDR, _AT_PHNUM = 3, 5
_MOST = 1024
_PATH = 4096
_MAP = struct.Struct("<QQQQQ")
"""struct link_map: l_addr, l_name, l_ld, l_next, l_prev."""


class Module(NamedTuple):
    """One of the list.

    Fields:
        at: address of its link_map.
        load: what is added to its file's addresses.
        name: address of its path.
        dynamic: address of its dynamic section.
    """

    at: int
    load: int
    name: int
    dynamic: int


def word(read: Read, at: int) -> int:
    """A number of 8 bytes.

    Raises:
        ValueError: it cannot be read.
    """
    data = read(at, 8)
    if len(data) < 8:
        raise ValueError(at)
    return int.from_bytes(data, "little")


def headers(read: Read, at: int, count: int) -> list[tuple[int, ...]]:
    """Program headers: type, flags, offset, vaddr, paddr, filesz, memsz, align."""
    if count > 512:
        raise ValueError(count)
    data = read(at, count * 56)
    return list(struct.iter_unpack("<IIQQQQQQ", data[: len(data) // 56 * 56]))


def program(read: Read, auxv: bytes) -> tuple[list[tuple[int, ...]], int]:
    """The program's own headers, and what is added to their addresses."""
    known = dict(struct.iter_unpack("<QQ", auxv[: len(auxv) // 16 * 16]))
    rows = headers(read, known.get(_AT_PHDR, 0), known.get(_AT_PHNUM, 0))
    return rows, next((known[_AT_PHDR] - row[3] for row in rows if row[0] == _PT_PHDR), 0)


def maps(read: Read, rows: list[tuple[int, ...]], bias: int) -> list[Module]:
    """The list, the program first; empty for a static one, and as long as the dynamic linker has not begun it.

    Raises:
        ValueError: it leads to what cannot be read.
    """
    found: list[Module] = []
    for row in rows:
        if row[0] != _PT_DYNAMIC:
            continue
        data = read(bias + row[3], min(row[6], 1 << 16))
        entries = dict(struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]))
        at = word(read, entries[_DT_DEBUG] + 8) if entries.get(_DT_DEBUG) else 0
        while at and len(found) < _MOST:
            raw = read(at, _MAP.size)
            if len(raw) < _MAP.size:
                raise ValueError(at)
            load, name, dynamic, following, _ = _MAP.unpack(raw)
            found.append(Module(at, load, name, dynamic))
            at = following
    return found


def document(read: Read, auxv: bytes) -> bytes:
    """qXfer:libraries-svr4: the libraries as XML. gdb's manual, G.4 (Library List Format for SVR4 Targets)."""
    try:
        found = maps(read, *program(read, auxv))
    except ValueError:
        found = []  # in the middle of being made; gdb asks again
    rows = []
    for one in found[1:]:
        path = read(one.name, _PATH).partition(b"\0")[0].decode(errors="replace") if one.name else ""
        if path and path.isprintable():  # XML has no place for control characters
            where = f'lm="0x{one.at:x}" l_addr="0x{one.load:x}" l_ld="0x{one.dynamic:x}" lmid="0x0"'
            rows.append(f"<library name={quoteattr(path)} {where}/>")
    main = f' main-lm="0x{found[0].at:x}"' if found else ""
    return f'<library-list-svr4 version="1.0"{main}>{"".join(rows)}</library-list-svr4>'.encode()
