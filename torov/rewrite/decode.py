"""Decodes x86-64 instructions; the only importer of capstone."""

from __future__ import annotations

import bisect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

INSTRUCTION_MAX = 15  # bytes; Intel SDM volume 2A, 2.3.11
_CHUNK = 4096
_CALL_COST = 48  # bytes that could be decoded in the time that one more call takes
BUDGET = 16 << 20  # bytes a file; a 97 MB program needs 2 MB, and 3 MB take a second
WINDOW = 64


class BudgetSpent(Exception):
    """More was decoded than any real program needs."""


class Decoder:
    """Decodes one file.

    Args:
        data: the whole file.
        budget: bytes that may be decoded before :class:`BudgetSpent` is raised.
    """

    def __init__(self, data: bytes, budget: int = BUDGET) -> None:
        import capstone  # late: 80 ms, and a cached program does not need it

        self._data = data
        self._lite = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite
        self._full: Any = None
        self._left = budget
        self._sizes: dict[int, int] = {}

    def stream(self, at: int, stop: int, limit: int) -> Iterator[tuple[int, int, str]]:
        """Decode one instruction after the other.

        Args:
            at: file offset of the first one.
            stop: decode while an instruction starts below this offset.
            limit: no instruction ends after this offset.
        Yields:
            file offset, size in bytes, and mnemonic with its prefixes. Ends early at bytes that are no
            instruction: the last one then ends before stop.
        Raises:
            BudgetSpent: the budget of this file is used up.
        """
        while at < stop:
            end = min(at + _CHUNK, stop + INSTRUCTION_MAX, limit)
            self._pay(end - at)
            before = at
            for offset, size, mnemonic, _ in self._lite(self._data[at:end], at):
                if offset >= stop:
                    return
                at = offset + size
                yield offset, size, mnemonic
            if at == before or (end - at >= INSTRUCTION_MAX):
                return

    def consensus(self, at: int, start: int, limit: int) -> float:
        """Measure how many of the decodings that start shortly before an offset come to land on it.

        Wrong decodings of x86 code soon fall into step with the right one, so most of those that reach a
        true boundary at all agree on it. One that meets bytes that are no instruction says nothing.

        Args:
            at: file offset.
            start, limit: offsets between which code is; starting points are the WINDOW bytes before at.
        Returns:
            the share of those that reach at, 0 to 1; 1 at start itself, 0 if none reaches it.
        Raises:
            BudgetSpent: the budget of this file is used up.
        """
        first = max(start, at - WINDOW)
        if first >= at:
            return 1.0
        lands, passes = {at}, set(range(at + 1, at + INSTRUCTION_MAX))
        for offset in range(at - 1, first - 1, -1):
            after = offset + self._size(offset, limit)
            if after in lands:
                lands.add(offset)
            elif after in passes:
                passes.add(offset)
        good, bad = len(lands) - 1, len(passes) - (INSTRUCTION_MAX - 1)
        return good / (good + bad) if good else 0.0

    def landing(self, at: int, start: int, limit: int) -> int:
        """Return the lowest offset from start on whose decoding lands on at; at itself if none does."""
        lands = {at}
        for offset in range(at - 1, start - 1, -1):
            if offset + self._size(offset, limit) in lands:
                lands.add(offset)
        return min(lands)

    def text(self, at: int, stop: int, limit: int, bias: int,
             count: int = 0) -> list[tuple[int, int, str]]:
        """Disassemble a few instructions.

        Args:
            at: file offset of the first one.
            stop: the last one starts below this offset.
            limit: no instruction ends after this offset.
            bias: link-time address minus file offset, for the targets of jumps.
            count: how many at most, 0 for all.
        Returns:
            link-time address, size in bytes, and text of each, up to the first bytes that are no instruction.
        """
        end = min(stop + INSTRUCTION_MAX, limit, at + _CHUNK)
        lines = self._lite(self._data[at:end], at + bias, count)
        return [(address, size, f"{mnemonic} {operands}".rstrip())
                for address, size, mnemonic, operands in lines if address - bias < stop]

    def listing(self, at: int, stop: int, limit: int, bias: int) -> list[tuple[int, int, str, str]]:
        """Disassemble a whole function.

        Args:
            at: file offset of the first instruction.
            stop: the last one starts below this offset.
            limit: no instruction ends after this offset.
            bias: link-time address minus file offset.
        Returns:
            link-time address, size in bytes, mnemonic and operands of each, up to the first bytes that are no
            instruction.
        Raises:
            BudgetSpent: the budget of this file is used up.
        """
        lines: list[tuple[int, int, str, str]] = []
        while at < stop:
            end = min(at + 4 * _CHUNK, stop + INSTRUCTION_MAX, limit)
            self._pay(end - at)
            before = at
            for line in self._lite(self._data[at:end], at + bias):
                if line[0] - bias >= stop:
                    return lines
                lines.append(line)
                at = line[0] + line[1] - bias
            if at == before or end - at >= INSTRUCTION_MAX:
                break
        return lines

    def written(self, at: int, size: int) -> tuple[str, ...]:
        """Return the names of all registers that one instruction writes, also those its text does not show.

        Args:
            at, size: file offset and bytes of the instruction.
        """
        if self._full is None:
            import capstone

            self._full = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
            self._full.detail = True
        for made in self._full.disasm(self._data[at:at + size], at, 1):
            return tuple(made.reg_name(number) for number in made.regs_access()[1])
        return ()

    def _size(self, at: int, limit: int) -> int:
        """Return the size of the instruction at a file offset, 0 if there is none."""
        size = self._sizes.get(at)
        if size is None:
            self._pay(INSTRUCTION_MAX)
            code = self._data[at:min(at + INSTRUCTION_MAX, limit)]
            found = next(iter(self._lite(code, at, 1)), None)
            size = self._sizes[at] = found[1] if found else 0
        return size

    def _pay(self, size: int) -> None:
        self._left -= size + _CALL_COST
        if self._left < 0:
            raise BudgetSpent


def is_instruction(mnemonic: str, name: str) -> bool:
    """Tell whether a mnemonic with prefixes (``rep syscall``, ``bnd jmp``) is a given instruction."""
    return mnemonic == name or mnemonic.endswith(" " + name)


_NO_FALL_THROUGH = frozenset(
    ("jmp", "ljmp", "ret", "retf", "retfq", "iret", "iretd", "iretq", "ud0", "ud1", "ud2", "hlt", "int3",
     "sysret", "sysretq", "sysexit", "sysexitq"))


def falls_through(mnemonic: str) -> bool:
    """Tell whether the next instruction can run after this one."""
    return mnemonic.rpartition(" ")[2] not in _NO_FALL_THROUGH


def containing(starts: list[int], at: int) -> int:
    """Return the index of the last of some sorted offsets that is not above at; -1 if there is none."""
    return bisect.bisect_right(starts, at) - 1
