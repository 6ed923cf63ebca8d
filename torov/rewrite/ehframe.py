"""Function ranges from .eh_frame and .eh_frame_hdr.

Layout: Linux Standard Base Core 5.0, "Exception Frames"; DWARF 5 section 7.6 (LEB128). The bytes are not
trusted: each read is checked against its section, each LEB128 ends within ten bytes, each record is read
once, and a record that does not hold is left out.
"""

from __future__ import annotations

import struct

from torov.rewrite.tables import LazyTable, SortedTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image, Section
    from torov.rewrite.tables import Table

_FORMATS = {0x0: "<Q", 0x2: "<H", 0x3: "<I", 0x4: "<Q", 0xA: "<h", 0xB: "<i", 0xC: "<q"}  # DW_EH_PE_*
_PCREL, _DATAREL = 0x10, 0x30
_AUGMENTATION_MAX = 16
_SHT_NOBITS = 8
_MASK = (1 << 64) - 1


def find(image: Image) -> tuple[Table | None, Frames | None]:
    """Find the tables of a program.

    Args:
        image: the program.
    Returns:
        the search table of .eh_frame_hdr, or None; the frames of .eh_frame, or None. The frames are read
        by :meth:`Frames.walk`, which costs more, and are needed only where there is no search table.
    """
    named = {s.name: s for s in image.sections if s.type != _SHT_NOBITS and s.offset < len(image.data)}
    if ".eh_frame" not in named:
        return None, None
    frames = Frames(image.data, named[".eh_frame"])
    hdr = named.get(".eh_frame_hdr")
    return (_search_table(image.data, hdr, frames) if hdr else None), frames


class Frames:
    """The records of one .eh_frame section.

    Args:
        data: the whole file.
        section: the section in it.
    """

    def __init__(self, data: bytes, section: Section) -> None:
        self.data = data
        self.start = section.offset
        self.stop = min(section.offset + section.size, len(data))
        self.bias = section.vaddr - section.offset
        self._encodings: dict[int, int | None] = {}

    def walk(self) -> SortedTable:
        """Read every record in order and return the functions found."""
        functions: list[tuple[int, int]] = []
        at = self.start
        while at + 4 <= self.stop:
            record = self._record(at)
            if record is None:
                break
            body, at_next, id_ = record
            if id_:
                function = self._function(body, at_next, id_)
                if function is not None:
                    functions.append(function)
            at = at_next
        return SortedTable(functions)

    def function_at(self, vaddr: int) -> tuple[int, int] | None:
        """Return (start, end) of the FDE at a virtual address, or None."""
        at = vaddr - self.bias
        if not self.start <= at <= self.stop - 4:
            return None
        record = self._record(at)
        return self._function(*record) if record and record[2] else None

    def _record(self, at: int) -> tuple[int, int, int] | None:
        """Return (offset of the CIE pointer, offset of the next record, CIE pointer); pointer 0 is a CIE."""
        length = struct.unpack_from("<I", self.data, at)[0]
        body = at + 4
        if length == 0xFFFFFFFF:
            if at + 12 > self.stop:
                return None
            length, body = struct.unpack_from("<Q", self.data, body)[0], at + 12
        if length == 0:  # a terminator; a section joined from several parts goes on after it
            return body, body, 0
        if length < 4 or body + length > self.stop:
            return None
        return body, body + length, struct.unpack_from("<I", self.data, body)[0]

    def _function(self, body: int, end: int, pointer: int) -> tuple[int, int] | None:
        """Read pc_begin and pc_range of an FDE."""
        cie = body - pointer
        if cie not in self._encodings:
            self._encodings[cie] = self._encoding(cie)
        encoding = self._encodings[cie]
        if encoding is None:
            return None
        at = body + 4
        form = _FORMATS[encoding & 0xF]
        size = struct.calcsize(form)
        if at + 2 * size > end:
            return None
        start = struct.unpack_from(form, self.data, at)[0]
        if encoding & 0x70 == _PCREL:
            start += at + self.bias
        start &= _MASK
        # pc_range has the format of pc_begin without its sign and its base.
        length = struct.unpack_from(form.upper(), self.data, at + size)[0]
        return (start, start + length) if length else None

    def _encoding(self, cie: int) -> int | None:
        """Return the DW_EH_PE_* encoding that the CIE at a file offset gives its FDEs, or None."""
        if not self.start <= cie <= self.stop - 4:
            return None
        record = self._record(cie)
        if record is None or record[2] != 0 or record[0] == record[1]:
            return None
        data, at, end = self.data, record[0] + 4, record[1]
        if at >= end or data[at] not in (1, 3):
            return None
        version = data[at]
        nul = data.find(b"\0", at + 1, min(at + 2 + _AUGMENTATION_MAX, end))
        if nul < 0:
            return None
        augmentation = data[at + 1:nul]
        if not augmentation.startswith(b"z"):
            return 0 if not augmentation else None
        position: int | None = nul + 1
        for _ in range(2):  # code and data alignment
            position = self._skip_leb128(position, end)
        position = self._skip_leb128(position, end) if version == 3 else position and position + 1
        position = self._skip_leb128(position, end)  # length of the augmentation data
        for letter in augmentation[1:]:
            if position is None or position >= end:
                return None
            if letter == ord("R"):
                encoding = data[position]
                ok = encoding & 0xF in _FORMATS and encoding & 0xF0 in (0, _PCREL)
                return encoding if ok else None
            if letter == ord("L"):
                position += 1
            elif letter == ord("P"):
                form = _FORMATS.get(data[position] & 0xF)
                if form is None or data[position] & 0x70 == 0x50:  # DW_EH_PE_aligned
                    return None
                position += 1 + struct.calcsize(form)
            elif letter not in b"SB":
                return None
        return 0

    def _skip_leb128(self, at: int | None, end: int) -> int | None:
        """Return the offset after a LEB128 number, or None if it does not end in time."""
        if at is None:
            return None
        for i in range(at, min(at + 10, end)):
            if self.data[i] < 0x80:
                return i + 1
        return None


def _search_table(data: bytes, hdr: Section, frames: Frames) -> LazyTable | None:
    """Return the binary search table of .eh_frame_hdr, if it is of the one kind that linkers write."""
    stop = min(hdr.offset + hdr.size, len(data))
    if stop - hdr.offset < 12:
        return None
    version, pointer, count_form, table_form = data[hdr.offset:hdr.offset + 4]
    if (version, pointer & 0xF, count_form, table_form) != (1, 0xB, 0x03, _DATAREL | 0xB):
        return None
    count = struct.unpack_from("<I", data, hdr.offset + 8)[0]
    first = hdr.offset + 12
    if not count or first + 8 * count > stop:
        return None

    def start(i: int) -> int:
        value: int = struct.unpack_from("<i", data, first + 8 * i)[0]
        return hdr.vaddr + value

    def end(i: int) -> int | None:
        function = frames.function_at(hdr.vaddr + struct.unpack_from("<i", data, first + 8 * i + 4)[0])
        return function[1] if function and function[0] == start(i) else None

    return LazyTable(count, start, end)
