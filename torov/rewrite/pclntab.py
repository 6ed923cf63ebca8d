"""Go's function table, the pclntab.

Layout: Go's ``src/internal/abi/symtab.go`` and ``src/runtime/symtab.go`` (pcHeader, functab, moduledata).
Magic fb is Go 1.2, fa 1.16, f0 1.18 and f1 1.20; since 1.18 entries are 32-bit offsets from the start of
the text, and since 1.26 the header no longer says where that is (its textStart is 0).
"""

from __future__ import annotations

import itertools
import struct

from torov.rewrite.tables import LazyTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image, Section

_MAGICS = {0xFFFFFFFB: 2, 0xFFFFFFFA: 16, 0xFFFFFFF0: 18, 0xFFFFFFF1: 18}
_NAMES = (".gopclntab", ".data.rel.ro.gopclntab")
_SHF_WRITE, _SHT_NOBITS = 1, 8
_MODULEDATA_WORDS = 64


class Pclntab(LazyTable):
    """A parsed pclntab; see :func:`find`.

    Args:
        data: the whole file.
        base, limit: file offsets of the section's start and end.
        functab: file offset of the first functab entry.
        count: functions in it.
        wide: entries are pairs of 64-bit words (before Go 1.18), else of 32-bit words.
        text: value that is added to each entry.
        names: file offset of the function name table.
    """

    def __init__(self, data: bytes, base: int, limit: int, functab: int, count: int, wide: bool, text: int,
                 names: int) -> None:
        self.data, self.base, self.limit, self.functab = data, base, limit, functab
        self._pair = struct.Struct("<QQ" if wide else "<II")
        self._word = struct.Struct("<Q" if wide else "<I")
        self.text, self._names = text, names
        super().__init__(count, self.start_of, lambda i: self.start_of(i + 1))

    def start_of(self, i: int) -> int:
        """Return the address of function i; entry ``count`` is the end of the last one."""
        value: int = self._word.unpack_from(self.data, self.functab + i * self._pair.size)[0]
        return self.text + value

    def name(self, addr: int) -> str | None:
        """Return the name of the function that starts at an address, or None."""
        at = self._func(addr)
        if at is None:
            return None
        start = self._names + struct.unpack_from("<I", self.data, at)[0]
        end = self.data.find(b"\0", start, min(start + 512, self.limit))
        return self.data[start:end].decode("utf-8", "replace") if end > start else None

    def mentions(self, name: str) -> bool:
        """Return whether the table holds a name; if not, there is no such function."""
        return self.data.find(b"\0" + name.encode() + b"\0", self.base, self.limit) >= 0

    def arguments(self, addr: int) -> int | None:
        """Return the bytes of its caller's frame that a function may write: arguments, results, spilled registers.

        Args:
            addr: where the function starts.
        Returns:
            bytes from the stack pointer at the call on; None if no function starts there or it does not say.
        """
        at = self._func(addr)
        if at is None or at + 8 > self.limit:
            return None
        size: int = struct.unpack_from("<i", self.data, at + 4)[0]
        return size if size >= 0 else None  # ArgsSizeUnknown is -0x80000000

    def _func(self, addr: int) -> int | None:
        """Return the file offset behind the entry field of the _func record of the function at an address."""
        low, high = 0, len(self._index)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.start_of(middle) < addr else (low, middle)
        if low == len(self._index) or self.start_of(low) != addr:
            return None
        func = self._pair.unpack_from(self.data, self.functab + low * self._pair.size)[1]
        # _func: the entry (a word of functab's own width), then int32 nameoff. Before 1.18 functab's
        # second half counts from the table's start, since then from functab itself; so does 1.16.
        origin = self.base if self._names == self.base else self.functab
        at = origin + func + self._word.size
        return at if at + 4 <= self.limit else None


def find(image: Image) -> Pclntab | None:
    """Find the pclntab of a Go program.

    Args:
        image: the program.
    Returns:
        its function table, or None if there is none or it does not hold together.
    """
    section = next((s for s in image.sections if s.name in _NAMES and s.type != _SHT_NOBITS), None)
    if section is None:
        return None
    data, base = image.data, section.offset
    limit = min(base + section.size, len(data))
    if limit - base < 72:
        return None
    magic, pad, _, pointer_size = struct.unpack_from("<IHBB", data, base)
    version = _MAGICS.get(magic)
    if version is None or pad or pointer_size != 8:
        return None
    count: int = struct.unpack_from("<Q", data, base + 8)[0]
    if version == 2:
        functab, names, text = base + 16, base, 0
    elif version == 16:
        names, functab = (base + w for w in (struct.unpack_from("<Q", data, base + at)[0] for at in (24, 56)))
        text = 0
    else:
        text, names, functab = struct.unpack_from("<QQ24xQ", data, base + 24)
        names, functab = base + names, base + functab
    wide = version < 18
    table = Pclntab(data, base, limit, functab, count, wide, text, names)
    if not count or functab + count * (16 if wide else 8) + (8 if wide else 4) > limit:
        return None
    if not wide and not text:
        found = _text_start(image, section, table.start_of(0), table.start_of(count))
        if found is None:
            return None
        table.text = found
    return table


def _text_start(image: Image, section: Section, first: int, end: int) -> int | None:
    """Find the start of the text by moduledata, whose first word points to the pclntab.

    Args:
        image, section: the program and its pclntab.
        first, end: offsets of the first function and of the end of the last one.
    Returns:
        the address that the offsets count from, or None.
    """
    # moduledata holds minpc and maxpc side by side. Their distance is known from the table, so the pair is
    # found by its value, whatever fields a Go version puts before it.
    data = image.data
    pointer = struct.pack("<Q", section.vaddr)
    for home in image.sections:
        if not home.flags & _SHF_WRITE or home.type == _SHT_NOBITS:
            continue
        stop = min(home.offset + home.size, len(data))
        at = data.find(pointer, home.offset, stop)
        for _ in range(64):  # other tables hold this pointer too, but few
            if at < 0:
                break
            words = struct.unpack_from(f"<{min(_MODULEDATA_WORDS, (stop - at) // 8)}Q", data, at)
            for low, high in itertools.pairwise(words):
                if high - low == end - first and low >= first and any(
                        s.flags & 1 and s.vaddr <= low < s.vaddr + s.memsz for s in image.segments):
                    start: int = low - first
                    return start
            at = data.find(pointer, at + 8, stop)
    return None
