"""What a program's bytes say about addresses in its code: calls, jumps, lea, the GOT, pointers in the data.

Calls and their kin are found by their bytes, without decoding: a few are no instructions at all, so who uses them decodes
the place.
"""

from __future__ import annotations

import bisect
import re
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from torov.loader.image import Image, Section
    from torov.rewrite.regions import Region

CALL_REF, JUMP_REF, LEA_REF, LOAD_REF, OTHER_REF = range(5)
"""A call or a jump (direct, or through the GOT), lea of the address, a load of it from the GOT, any other use of the GOT."""
_SHT_RELA, _SHT_NOBITS, _R_RELATIVE = 4, 8, 8
_RIP = b"[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"  # ModRM with RIP + disp32, Intel SDM volume 2A, table 2-7
_GOT = (".got", ".got.plt")


class Refs:
    """The references of one program into its own code.

    Args:
        image: the program.
        regions: its code regions, by address.
    """

    def __init__(self, image: Image, regions: list[Region]) -> None:
        self._image, self._regions = image, regions
        self.low = min((r.start + r.bias for r in regions), default=0)
        self.high = max((r.stop + r.bias for r in regions), default=0)
        self._slots: dict[int, int] = {}
        self._pointers = self._find_pointers()
        self._refs = sorted((*self._find_branches(), *self._find_got(), *self._find_numbers()))
        self._called = sorted({ref >> 80 for ref in self._refs if ref & 7 == CALL_REF})

    def into(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (target, kind, address of the opcode) of what refers to start and up to end."""
        first, last = bisect.bisect_left(self._refs, start << 80), bisect.bisect_left(self._refs, end << 80)
        for ref in self._refs[first:last]:
            yield ref >> 80, ref & 7, ref >> 3 & (1 << 77) - 1

    def is_pointer(self, addr: int) -> bool:
        """Whether the data, or a number in the code, is this address."""
        i = bisect.bisect_left(self._pointers, addr)
        return i < len(self._pointers) and self._pointers[i] == addr

    def in_data(self, addr: int) -> bool:
        """Whether an aligned word in memory is this address."""
        data, word = self._image.data, struct.pack("<Q", addr)
        for segment in self._image.segments:
            at = data.find(word, segment.offset, segment.offset + segment.filesz)
            while at >= 0 and at % 8:
                at = data.find(word, at + 1, segment.offset + segment.filesz)
            if at >= 0:
                return True
        return False

    def data_uses(self, low: int, high: int) -> Iterator[int]:
        """Yield the addresses of the ModRM bytes of what may name an address from low up to high by RIP."""
        pattern = re.compile(b"(?s)" + _RIP + b"(?=..." + self._far() + b")")
        data, unpack = self._image.data, struct.Struct("<i").unpack_from
        for region in self._regions:
            bias = region.bias
            for match in pattern.finditer(data, region.start, region.stop):
                at = match.start()
                if low <= at + bias + 5 + unpack(data, at + 1)[0] < high:
                    yield at + bias

    def not_called(self, addr: int) -> bool:
        """Take an address out of the targets of calls; return whether it was among them."""
        i = bisect.bisect_left(self._called, addr)
        if i == len(self._called) or self._called[i] != addr:
            return False
        del self._called[i]
        return True

    def called_around(self, addr: int) -> tuple[int | None, int | None]:
        """The last target of calls that is not above an address, and the next one above it."""
        i = bisect.bisect_right(self._called, addr)
        return self._called[i - 1] if i else None, self._called[i] if i < len(self._called) else None

    def _far(self) -> bytes:
        """A pattern of the highest byte of a distance within the program."""
        reach = max((s.vaddr + s.memsz for s in self._image.segments), default=0)
        reach -= min((s.vaddr for s in self._image.segments), default=0)
        top = {d >> 24 & 0xFF for d in range(-reach - 16, reach + 16, 1 << 23)} | {0, 0xFF}
        return b"(?:" + b"|".join(re.escape(bytes([byte])) for byte in sorted(top)) + b")"

    def _find_branches(self) -> Iterator[int]:
        """Find call, jmp and jcc with a 32-bit distance, and lea."""
        far = self._far()
        pattern = re.compile(
            b"(?s)[\xe8\xe9](?=..." + far + b")|\x0f(?=[\x80-\x8f]..." + far + b")|\x8d(?=" + _RIP + b"..." + far + b")"
        )
        data, low, high, unpack = self._image.data, self.low, self.high, struct.Struct("<i").unpack_from
        for region in self._regions:
            bias = region.bias
            for match in pattern.finditer(data, region.start, region.stop):
                at = match.start()
                first = data[at]
                size = 5 if first & 0xFE == 0xE8 else 6
                target = at + bias + size + unpack(data, at + size - 4)[0]
                if low <= target < high:
                    kind = CALL_REF if first == 0xE8 else LEA_REF if first == 0x8D else JUMP_REF
                    yield target << 80 | (at + bias) << 3 | kind

    def _find_got(self) -> Iterator[int]:
        """Find what uses the slots of the GOT that hold addresses in the code."""
        slots = self._slots
        if not slots:
            return
        pattern = re.compile(b"(?s)" + _RIP + b"(?=..." + self._far() + b")")
        data, unpack = self._image.data, struct.Struct("<i").unpack_from
        for region in self._regions:
            bias = region.bias
            for match in pattern.finditer(data, region.start + 1, region.stop):
                at = match.start()
                target = slots.get(at + bias + 5 + unpack(data, at + 1)[0])
                if target is not None:
                    opcode, modrm = data[at - 1], data[at]
                    kind = LOAD_REF if opcode == 0x8B else OTHER_REF
                    if opcode == 0xFF and modrm in (0x15, 0x25):
                        kind = CALL_REF if modrm == 0x15 else JUMP_REF
                    yield target << 80 | (at - 1 + bias) << 3 | kind

    def _find_numbers(self) -> Iterator[int]:
        """Find the instructions that hold an address in the code as a 32-bit number (not in PIE)."""
        if self._image.pie:
            return
        # mov r32, imm32; push imm32; mov r/m, imm32; cmp r/m, imm32 compares only
        pattern = re.compile(rb"(?s)[\x68\xb8-\xbf\xc7]")
        data, low, high, unpack = self._image.data, self.low, self.high, struct.Struct("<I").unpack_from
        for region in self._regions:
            bias = region.bias
            for match in pattern.finditer(data, region.start, region.stop - 11):
                at = match.start()
                if data[at] == 0xC7:
                    for skip in (2, 3, 6, 7, 10):  # behind ModRM, SIB and displacement
                        if low <= (word := unpack(data, at + skip)[0]) < high:
                            yield word << 80 | (at + bias) << 3 | OTHER_REF
                elif low <= (word := unpack(data, at + 1)[0]) < high:
                    kind = LEA_REF if data[at] != 0x68 else OTHER_REF
                    yield word << 80 | (at + bias) << 3 | kind

    def _find_pointers(self) -> list[int]:
        """Find the aligned words in memory that are addresses in the code; fills the slots of the GOT on the way."""
        data, low, high = self._image.data, self.low, self.high
        sections = [s for s in self._image.sections if s.type != _SHT_NOBITS and s.offset + s.size <= len(data)]
        got = [s for s in sections if s.name in _GOT and s.vaddr]
        relocations = [s for s in sections if s.type == _SHT_RELA and s.vaddr]
        for section in got:
            words = struct.iter_unpack("<Q", data[section.offset : section.offset + section.size // 8 * 8])
            self._slots.update((section.vaddr + 8 * i, word) for i, (word,) in enumerate(words) if low <= word < high)
        found: set[int] = set()
        for section in relocations:
            found |= self._relocated(section, got)
        skip = [(s.offset, s.offset + s.size) for s in (*got, *relocations)]
        for segment in self._image.segments:
            for start, stop in _without(segment.offset, min(segment.offset + segment.filesz, len(data)), skip):
                first, last = start + 7 & -8, stop & -8
                if first < last:
                    found.update(word for word in memoryview(data)[first:last].cast("Q") if low <= word < high)
        return sorted(found)

    def _relocated(self, section: Section, got: list[Section]) -> set[int]:
        """Read the addresses in the code that a table of relocations puts somewhere; those of the GOT become slots."""
        found = set()
        data = self._image.data[section.offset : section.offset + section.size // 24 * 24]
        for place, info, addend in struct.iter_unpack("<QQQ", data):
            if not self.low <= addend < self.high:
                continue
            if info & 0xFFFFFFFF == _R_RELATIVE and any(s.vaddr <= place < s.vaddr + s.size for s in got):
                self._slots[place] = addend
            else:
                found.add(addend)
        return found


def _without(start: int, stop: int, holes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what is left of a range of the file without some others."""
    for low, high in sorted(holes):
        if low < stop and high > start:
            if low > start:
                yield start, low
            start = max(start, high)
    if start < stop:
        yield start, stop
