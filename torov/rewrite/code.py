"""The code of a program as a graph: which instructions can run just before a given one.

A *unit* is a stretch that is decoded as a whole: a function of one of the tables, or, in code that no table
describes, what lies between two targets of calls. A jump may lead from any unit into any other. Jump tables are read where a
unit has an indirect jump. Units are decoded when somebody asks for them.
"""

from __future__ import annotations

import bisect
import struct

from torov.rewrite import pclntab
from torov.rewrite.decode import BudgetSpent, Decoder, falls_through
from torov.rewrite.refs import CALL_REF, JUMP_REF, OTHER_REF, Refs
from torov.rewrite.regions import regions
from torov.rewrite.scan import tables
from torov.rewrite.semantics import Memory, name_of, operand, stored
from torov.rewrite.uses import Returns, branches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image
    from torov.rewrite.regions import Region

FLOW, JUMP, CALL = 0, 1, 2
"""How control comes from an instruction: it goes on behind it, it jumps, it calls."""
_BUDGET = 128 << 20  # bytes that may be decoded of one file
STEPS = 5_000_000  # of all searches in one file; of 38 programs the one with the most needs 520,000
_SHORT = 130  # bytes that a short jump reaches
_TABLE_MAX = 4096
_PF_W = 2
_NEAR = 8  # bytes; the linker sorts variables by size, so that the neighbours of a number are numbers
_SENSE = 3  # instructions
_ZEROS = "byte ptr [rax], al"

_WAITS_FOR = {"runtime.runPerThreadSyscall": "syscall.runtime_doAllThreadsSyscall"}
"""It is in every program and makes the call that syscall.AllThreadsSyscall left for it: Go's src/runtime/os_linux.go."""

Line = tuple[int, int, str, str]
Edge = tuple[int, int]
"""(FLOW, JUMP or CALL; address of the instruction)."""


class Unit:
    """A stretch of decoded code.

    Attributes:
        start, end: link-time addresses.
        known: a function table says that a function starts at start.
        lines: (address, size, mnemonic, operands) of each instruction.
        index: address to its place in lines.
        jumps: target to the places in lines of the jumps of this unit that go there.
        indirect: places in lines of the jumps whose target is computed.
    """

    __slots__ = ("_tables", "end", "index", "indirect", "jumps", "known", "lines", "outside", "start")

    def __init__(self, start: int, end: int, known: bool, lines: list[Line]) -> None:
        self.start, self.end, self.known, self.lines = start, end, known, lines
        self.index = {line[0]: i for i, line in enumerate(lines)}
        self.jumps: dict[int, list[int]] = {}
        self.indirect: list[int] = []
        self.outside: dict[int, list[tuple[int, int]]] | None = None
        self._tables: set[int] | None = None
        for i, (_, _, mnemonic, operands) in enumerate(lines):
            name = name_of(mnemonic)
            if name[0] == "j" or name.startswith("loop"):
                target = operand(operands)
                if isinstance(target, int):
                    self.jumps.setdefault(target, []).append(i)
                elif name == "jmp":
                    self.indirect.append(i)


class Code:
    """The code of one program.

    Args:
        image: the program.
        exported: addresses that other files can call.
    """

    def __init__(self, image: Image, exported: frozenset[int] = frozenset()) -> None:
        self.image, self._exported = image, exported
        self._regions = sorted(regions(image), key=lambda r: r.start + r.bias)
        self._starts = [r.start + r.bias for r in self._regions]
        self._decoder = Decoder(image.data, _BUDGET)
        self._tables = [table for _, table in tables(image)]
        self._left = STEPS
        self._units: dict[int, Unit] = {}
        self._before: dict[int, tuple[tuple[Edge, ...], str]] = {}
        self._refs = Refs(image, self._regions)
        self.go = pclntab.find(image)
        self.returns = Returns(self)

    def region(self, addr: int) -> Region | None:
        """The code region that holds an address, or None."""
        i = bisect.bisect_right(self._starts, addr) - 1
        return self._regions[i] if i >= 0 and addr < self._regions[i].stop + self._regions[i].bias else None

    def unit(self, addr: int) -> Unit | None:
        """The unit that holds an address, decoded; None outside the code.

        Raises:
            BudgetSpent: this file is too large.
        """
        region = self.region(addr)
        if region is None:
            return None
        start, end, known = self._bounds(region, addr)
        made = self._units.get(start)
        if made is None:
            bias = region.bias
            lines = self._decoder.listing(start - bias, end - bias, region.stop, bias)
            whole = bool(lines) and lines[-1][0] + lines[-1][1] >= end
            if not (known or whole) and len(lines) < _SENSE and self._refs.not_called(start):
                return self.unit(addr)  # nothing that could be called is here: bytes that looked like a call
            made = self._units[start] = Unit(start, end, known, lines)
        return made

    def spend(self, steps: int) -> None:
        """Count steps of a search.

        Raises:
            BudgetSpent: no real program needs so many.
        """
        self._left -= steps
        if self._left < 0:
            raise BudgetSpent

    def written(self, line: Line) -> tuple[str, ...]:
        """The names of all registers that an instruction writes, as capstone knows it."""
        region = self.region(line[0])
        return self._decoder.written(line[0] - region.bias, line[1]) if region else ()

    def before(self, addr: int) -> tuple[tuple[Edge, ...], str]:
        """Find what can run just before an instruction.

        Args:
            addr: its address; the start of an instruction of unit(addr).
        Returns:
            the edges that lead to it; and why there may be others that cannot be known, or an empty string.
        Raises:
            BudgetSpent: this file is too large.
        """
        made = self._before.get(addr)
        if made is None:
            made = self._before[addr] = self._find_before(addr)
        return made

    def is_called(self, addr: int) -> bool:
        """Whether a call instruction names an address."""
        return any(kind == CALL for kind, _ in self.before(addr)[0])

    def _find_before(self, addr: int) -> tuple[tuple[Edge, ...], str]:
        unit = self.unit(addr)
        if unit is None or addr not in unit.index:
            return (), f"{addr:#x} is no instruction of code that could be decoded"
        edges = [(JUMP, unit.lines[i][0]) for i in unit.jumps.get(addr, ())]
        why, called = self._from_outside(unit, addr, edges)
        if addr in self.table(unit):
            edges += [(JUMP, unit.lines[i][0]) for i in unit.indirect]
        entry = called or (unit.known and addr == unit.start)
        flow, doubt = self._flow(unit, unit.index[addr], entry)
        if flow is not None:
            edges.append((FLOW, flow))
        if addr == self.image.entry:
            why = "it is the entry point"
        elif not why:
            if addr in self._exported:
                why = "other files can call it"
            elif not edges and addr != unit.start and name_of(unit.lines[unit.index[addr] - 1][2]) == "hlt":
                pass  # dead: compilers do not know that hlt ends a program
            elif not called and (not edges or (unit.known and addr == unit.start and all(kind == FLOW for kind, _ in edges))):
                why = "nothing is seen that leads there"
        return tuple(edges), why or doubt

    def _from_outside(self, unit: Unit, addr: int, edges: list[Edge]) -> tuple[str, bool]:
        """Add the edges that come from other units, and calls; return why others are possible, and whether it is called."""
        if unit.outside is None:
            unit.outside = self._find_outside(unit)
        why, called = "", False
        for kind, source in unit.outside.get(addr, ()):
            other = self.unit(source)
            i = next((other.index[at] for at in (source, source - 1, source - 2) if at in other.index), None) if other else None
            if other is None or i is None or not self._names(other.lines[i], source, addr, kind):
                continue  # bytes inside another instruction that look like a reference
            if kind == CALL_REF:
                called = True
                if self.go is not None and self._never_runs(self.go, other):
                    continue
                edges.append((CALL, other.lines[i][0]))
            elif kind == JUMP_REF:
                if other is not unit:
                    edges.append((JUMP, other.lines[i][0]))
            else:
                found = branches(self, other, i, self.go is not None) if kind != OTHER_REF else None
                if found is None:
                    why = why or f"its address is taken at {other.lines[i][0]:#x}"
                else:
                    called = called or any(is_call for is_call, _ in found)
                    edges += [(CALL if is_call else JUMP, place) for is_call, place in found]
        if not why and self._refs.is_pointer(addr) and addr not in self.table(unit):
            why = "a pointer to it is in the data"
        return why, called

    def _never_runs(self, go: pclntab.Pclntab, unit: Unit) -> bool:
        """Whether a function of Go's runtime waits for another one that the linker has left out."""
        needs = _WAITS_FOR.get(go.name(unit.start) or "")
        return needs is not None and not go.mentions(needs)

    def _names(self, line: Line, opcode: int, addr: int, kind: int) -> bool:
        """Whether an instruction is the reference to an address that its bytes looked like."""
        if line[0] + line[1] <= opcode:
            return False
        direct, name = operand(line[3]), name_of(line[2])
        if kind in (CALL_REF, JUMP_REF):
            return (name == "call" if kind == CALL_REF else name[0] == "j") and (direct == addr or isinstance(direct, Memory))
        if kind == OTHER_REF:
            parts = [operand(word) for word in line[3].split(", ")]
            return addr in parts or any(isinstance(part, Memory) and part.base == "rip" for part in parts)
        return name in ("lea", "mov", "movabs")

    def _flow(self, unit: Unit, i: int, entry: bool) -> tuple[int | None, str]:
        """Find the instruction whose end is at instruction i of a unit, if control goes on there."""
        begins = i == 0 and unit.known  # a call before it ends another function, which it does not return to
        for _ in range(4096):
            if i == 0:
                at, known = unit.start, unit.known
                previous = self.unit(at - 1)
                if previous is None or not previous.lines or previous is unit:
                    return None, ""
                last = previous.lines[-1]
                if last[0] + last[1] != at:
                    # data or an instruction that crosses the border: a table's word counts more than that
                    sure = known or (entry and self._zero(at - 1))
                    return None, "" if sure else f"code before {at:#x} could not be decoded"
                unit, i = previous, len(previous.lines)
            address, _, mnemonic, operands = unit.lines[i - 1]
            name = name_of(mnemonic)
            if not falls_through(mnemonic) or (name == "call" and (begins or not self.returns.after(unit, i - 1))):
                return None, ""
            if not (name in ("nop", "fnop") or operands == _ZEROS) or address in unit.jumps or self._leads_in(unit, address):
                return address, ""
            i -= 1  # padding counts only if something leads to it
        return None, f"too much padding before {unit.lines[i][0]:#x}"

    def _zero(self, addr: int) -> bool:
        """Whether a byte of code is zero: Free Pascal fills up with zeros before a function."""
        region = self.region(addr)
        return region is not None and self.image.data[addr - region.bias] == 0

    def _leads_in(self, unit: Unit, addr: int) -> bool:
        if unit.outside is None:
            unit.outside = self._find_outside(unit)
        return addr in unit.outside or addr in self.table(unit)

    def _bounds(self, region: Region, addr: int) -> tuple[int, int, bool]:
        """Return start and end of the unit around an address, and whether a table knows it."""
        low, high = region.start + region.bias, region.stop + region.bias
        for table in self._tables:
            here = table.around(addr)[0]
            if here is not None and low <= here[0] <= addr < here[1]:
                return here[0], min(here[1], high), True
        for table in self._tables:
            before, after = table.around(addr)
            if before is not None and before[1] <= addr:
                low = max(low, before[1])
            if after is not None and after > addr:
                high = min(high, after)
        called, later = self._refs.called_around(addr)
        return max(low, called or low), min(high, later or high), False

    def _find_outside(self, unit: Unit) -> dict[int, list[tuple[int, int]]]:
        """Find what refers into a unit: target to (kind, source) of calls, of jumps from elsewhere, of lea."""
        found: dict[int, list[tuple[int, int]]] = {}
        for target, kind, source in self._refs.into(unit.start, unit.end):
            if kind != JUMP_REF or not unit.start <= source < unit.end:
                found.setdefault(target, []).append((kind, source))
        region = self.region(unit.start)
        if region is not None:
            data, bias = self.image.data, region.bias
            low, high = max(region.start, unit.start - bias - _SHORT), min(region.stop - 1, unit.end - bias + _SHORT)
            for at in (*range(low, unit.start - bias), *range(unit.end - bias, high)):
                if data[at] == 0xEB or 0x70 <= data[at] < 0x80 or 0xE0 <= data[at] < 0xE4:
                    target = at + bias + 2 + (data[at + 1] ^ 0x80) - 0x80
                    if unit.start <= target < unit.end:
                        found.setdefault(target, []).append((JUMP_REF, at + bias))
        return found

    def table(self, unit: Unit) -> set[int]:
        """Return the addresses to which the jump tables of a unit lead."""
        if unit._tables is None:
            unit._tables = set()
            if unit.indirect:
                for line in unit.lines:
                    if "[" in line[3] or line[2] in ("mov", "movabs"):
                        for base in self._bases(line):
                            unit._tables |= self._entries(unit, base)
        return unit._tables

    def _bases(self, line: Line) -> list[int]:
        """Return the addresses that an instruction names, where a table of jumps may be."""
        found = []
        for text in line[3].split(", "):
            made = operand(text)
            if isinstance(made, Memory):
                if made.base == "rip":
                    found.append(line[0] + line[1] + made.disp)
                elif made.disp > 0xFFF:
                    found.append(made.disp)
            elif isinstance(made, int) and made > 0xFFF and not self.image.pie:
                found.append(made)
        return found

    def _entries(self, unit: Unit, base: int) -> set[int]:
        """Read a table that may be at an address: 64-bit addresses, or 32-bit distances from its start."""
        data, found = self.image.data, set[int]()
        segment = next((s for s in self.image.segments if s.vaddr <= base < s.vaddr + s.filesz), None)
        if segment is None:
            return found
        at, stop = base - segment.vaddr + segment.offset, min(segment.offset + segment.filesz, len(data))
        for form, size, bias in (("<Q", 8, 0), ("<i", 4, base)):
            for place in range(at, min(at + size * _TABLE_MAX, stop - size + 1), size):
                target = bias + struct.unpack_from(form, data, place)[0]
                if not self._refs.low <= target < self._refs.high:
                    break
                self.spend(1)
                if target in unit.index:
                    found.add(target)
        return found

    def reached(self, addr: int) -> bool:
        """Whether a jump or call of decoded code leads to an instruction, or to one from where it goes straight on to it."""
        for _ in range(256):
            edges, _ = self.before(addr)
            if any(kind != FLOW for kind, _ in edges):
                return True
            if not edges:
                return False
            addr = edges[0][1]
        return False

    def constant(self, addr: int, size: int) -> int | None:
        """Read a number of the file that the program does not write.

        Args:
            addr: link-time address.
            size: 1, 2, 4 or 8 bytes.
        Returns:
            the number, or None if it can be written, or is not in the file.
        """
        for segment in self.image.segments:
            if segment.vaddr <= addr < segment.vaddr + segment.memsz:
                at = addr - segment.vaddr + segment.offset
                if size not in (1, 2, 4, 8) or addr + size > segment.vaddr + segment.filesz:
                    return None
                if segment.flags & _PF_W and not (self.go is not None and self._never_written(addr)):
                    return None
                return int.from_bytes(self.image.data[at : at + size], "little")
        return None

    def _never_written(self, addr: int) -> bool:
        """Whether all that a Go program does with a number is to read it: what some systems set (fcntl64Syscall).

        Go names its variables by RIP, and an address that is taken of what is near may be that of a structure around it.
        """
        self.spend((self._refs.high - self._refs.low) // 64 + 1)  # all code is looked through
        if self._refs.in_data(addr):
            return False
        for modrm in self._refs.data_uses(addr - _NEAR, addr + 8):
            unit = self.unit(modrm)
            i = next((unit.index[at] for at in range(modrm, modrm - 6, -1) if at in unit.index), None) if unit else None
            if unit is None or i is None or unit.lines[i][0] + unit.lines[i][1] <= modrm:
                continue
            address, size, mnemonic, operands = unit.lines[i]
            made = next((m for m in map(operand, operands.split(", ")) if isinstance(m, Memory) and m.base == "rip"), None)
            target = address + size + made.disp if made is not None else addr + 8
            reaches = made is not None and target < addr + 8 and target + made.size > addr
            if (name_of(mnemonic) == "lea" and target <= addr) or (reaches and stored(mnemonic, operands) is not None):
                return False
        return True
