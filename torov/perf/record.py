"""The messages of vmm/core/perf.c, read: samples, objects of a process, and time by call and kind of exit."""

from __future__ import annotations

import re
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OBJECTS, SAMPLE, SUMS = 1, 2, 3
KINDS = ("guest", "calls of patched sites", "calls by the trap", "faults", "kicks", "others")
"""What time is counted for: in the guest, and in the monitor by kind of exit (enum of SUM_*)."""
CALLS = (1, 2)

_LINE = re.compile(r"^([0-9a-f]{1,16}) ([0-9a-f]{1,16}) ([0-9a-f]{1,16}) (.+)$", re.MULTILINE)
_HEAD = struct.Struct("<IiiI")
_SAMPLE = struct.Struct("<Ii18Q")
_SUM = struct.Struct("<IiQQ")
_DWARF = (0, 3, 2, 1, 4, 5, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16)
"""Place in struct tv_regs of each register, as DWARF numbers them (System V ABI, 3.6.2); 16: the instruction."""


class Mapped:
    """One object of a process.

    Fields:
        base: what is added to its link-time addresses.
        low, high: where it is.
        path: its file.
    """

    __slots__ = ("base", "high", "low", "path")

    def __init__(self, words: Sequence[str]) -> None:
        self.base, self.low, self.high = (int(word, 16) for word in words[:3])
        self.path = words[3]


class Sample:
    """One sample.

    Fields:
        pid, tid: of the thread.
        weight: ticks of its timer that it stands for.
        nr: the call that was served, or -1.
        registers: by DWARF number.
        stack: bytes from the stack pointer up.
        objects: of its process at that time.
    """

    __slots__ = ("nr", "objects", "pid", "registers", "stack", "tid", "weight")

    def __init__(self, pid: int, tid: int, data: bytes, objects: tuple[Mapped, ...]) -> None:
        self.pid, self.tid, self.objects = pid, tid, objects
        self.weight, self.nr, *registers = _SAMPLE.unpack_from(data, _HEAD.size)
        self.registers = tuple(registers[place] for place in _DWARF)
        self.stack = data[_HEAD.size + _SAMPLE.size :]

    def mapped(self, address: int) -> Mapped | None:
        """The object that holds an address."""
        return next((one for one in self.objects if one.low <= address < one.high), None)


class Sums:
    """Time by kind of exit and by call, of all threads together.

    Fields:
        kinds: by index of KINDS, how often and ns.
        calls: by number, how often and ns.
        lost: ticks whose samples did not arrive.
    """

    __slots__ = ("calls", "kinds", "lost")

    def __init__(self) -> None:
        self.kinds: dict[int, tuple[int, int]] = {}
        self.calls: dict[int, tuple[int, int]] = {}
        self.lost = 0

    def add(self, data: bytes) -> None:
        """What a thread said as it ended."""
        for kind, nr, count, took in _SUM.iter_unpack(data[_HEAD.size :]):
            if kind >= len(KINDS) or not count + took:
                continue
            table, key = (self.calls, nr) if nr >= 0 else (self.kinds, kind)
            before = table.get(key, (0, 0))
            table[key] = before[0] + count, before[1] + took


def read(messages: Iterable[bytes], sums: Sums) -> Iterator[Sample]:
    """The samples of a run, in the order in which they came.

    Args:
        messages: as the core sent them; what is no message of it is left out.
        sums: is filled in on the way.
    """
    objects: dict[int, tuple[Mapped, ...]] = {}
    for data in messages:
        if len(data) < _HEAD.size:
            continue
        kind, pid, tid, lost = _HEAD.unpack_from(data)
        sums.lost += lost
        if kind == OBJECTS:
            text = data[_HEAD.size :].decode(errors="surrogateescape")
            objects[pid] = tuple(Mapped(found.groups()) for found in _LINE.finditer(text))
        elif kind == SAMPLE and len(data) >= _HEAD.size + _SAMPLE.size:
            yield Sample(pid, tid, data, objects.get(pid, ()))
        elif kind == SUMS and (len(data) - _HEAD.size) % _SUM.size == 0:
            sums.add(data)
