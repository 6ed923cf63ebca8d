"""Where code can be in a file, and where the bytes that look like system calls are."""

from __future__ import annotations

import bisect
from typing import NamedTuple

from torov.errors import RewriteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image, Segment

PF_X, PF_W = 1, 2  # elf(5), p_flags
_SHT_PROGBITS, _SHF_EXECINSTR = 1, 4
CANDIDATES_MAX = 200_000  # the program with the most, of 38, has 5,791


class Region(NamedTuple):
    """A part of the file that is executed as code.

    Attributes:
        start, stop: file offsets.
        bias: link-time address minus file offset.
        section: name of the section, or an empty string if the file has no section table.
    """

    start: int
    stop: int
    bias: int
    section: str


class Place(NamedTuple):
    """Where a pair of bytes of the file is in memory.

    Attributes:
        vaddr: link-time address, in an executable segment if there is one; None if it is not loaded.
        executable, writable: whether any segment that maps it is so.
        shared: more than one segment maps it.
    """

    vaddr: int | None
    executable: bool
    writable: bool
    shared: bool


def regions(image: Image) -> list[Region]:
    """Return the code regions in file order, without overlaps.

    Args:
        image: the program.
    Returns:
        the executable PROGBITS sections, cut to the executable segments that map them; if there is none,
        the executable segments themselves.
    """
    code = [s for s in image.segments if s.flags & PF_X and s.filesz]
    found = []
    for section in image.sections:
        if section.type != _SHT_PROGBITS or not section.flags & _SHF_EXECINSTR:
            continue
        bias = section.vaddr - section.offset
        for segment in code:
            if segment.vaddr - segment.offset == bias:
                found.append(_cut(section.offset, section.size, bias, section.name, segment))
    if not any(r.start < r.stop for r in found):
        found = [_cut(s.offset, s.filesz, s.vaddr - s.offset, "", s) for s in code]
    result: list[Region] = []
    for region in sorted(found):
        if result and region.start < result[-1].stop:
            region = region._replace(start=result[-1].stop)
        region = region._replace(stop=min(region.stop, len(image.data)))
        if region.start < region.stop:
            result.append(region)
    return result


def _cut(offset: int, size: int, bias: int, name: str, segment: Segment) -> Region:
    stop = min(offset + size, segment.offset + segment.filesz)
    return Region(max(offset, segment.offset), stop, bias, name)


def candidates(image: Image, pair: bytes) -> list[int]:
    """Return the file offsets of every place where two bytes stand.

    Args:
        image: the program.
        pair: the two bytes; they differ, so that no two places overlap.
    Raises:
        RewriteError: there are more than CANDIDATES_MAX, which no program has.
    """
    found = []
    at = image.data.find(pair)
    while at >= 0:
        found.append(at)
        if len(found) > CANDIDATES_MAX:
            raise RewriteError(image.path, None, f"more than {CANDIDATES_MAX} pairs {pair.hex(' ')}: "
                                                 f"this is not a program that can be patched")
        at = image.data.find(pair, at + 2)
    return found


class Mapping:
    """Answers where bytes of the file are in memory.

    Args:
        image: the program.
    """

    def __init__(self, image: Image) -> None:
        # Segments can overlap in the file. Between two neighbouring bounds the set of segments is the same.
        segments = [s for s in image.segments if s.filesz]
        self._bounds = sorted({b for s in segments for b in (s.offset, s.offset + s.filesz)})
        self._sets: list[list[Segment]] = [[] for _ in self._bounds]
        for segment in segments:
            first = bisect.bisect_left(self._bounds, segment.offset)
            last = bisect.bisect_left(self._bounds, segment.offset + segment.filesz)
            for covering in self._sets[first:last]:
                if len(covering) < 3:  # two already say that the bytes are shared
                    covering.append(segment)

    def find(self, offset: int) -> Place:
        """Return the place of the two bytes at a file offset."""
        first, second = self._covering(offset), self._covering(offset + 1)
        both = [s for s in first if s in second]
        if not both:
            return Place(None, False, False, False)
        main = next((s for s in both if s.flags & PF_X), both[0])
        return Place(main.vaddr + offset - main.offset, bool(main.flags & PF_X),
                     any(s.flags & PF_W for s in first + second), len(first) > 1 or len(second) > 1)

    def _covering(self, offset: int) -> list[Segment]:
        i = bisect.bisect_right(self._bounds, offset) - 1
        return self._sets[i] if i >= 0 else []
