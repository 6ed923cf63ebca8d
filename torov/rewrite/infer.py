"""Which system calls each site of a program can make, from the binary alone.

The number is looked for backwards, from eax at a site along every way that leads there (torov.rewrite.code), through
registers and stack slots, and at the entry of a function in all its callers. What is found is the union of what stands
at the ends of these ways. One way whose number cannot be known makes the site unknown, with a reason: memory, a result,
a function whose address is taken.

What is taken for granted: functions keep the registers that the System V ABI has them keep (in Go they keep none), a
function gets at the locals of another one only if it was given their address, and control comes to an address only by what
names it in the file (a branch, a lea, a table of jumps, a pointer in the data).
"""

from __future__ import annotations

from typing import NamedTuple

from torov.loader import elf
from torov.loader.image import Image
from torov.rewrite import dynsym
from torov.rewrite.code import CALL, FLOW, JUMP, Code
from torov.rewrite.decode import BudgetSpent
from torov.rewrite.flags import equal, keeps_flags
from torov.rewrite.frames import Frames
from torov.rewrite.plan import Plan, plan
from torov.rewrite.semantics import (
    CALL_CLOBBERS,
    MASK,
    REGISTERS,
    Apply,
    Const,
    Copy,
    Effect,
    Load,
    Memory,
    Part,
    Top,
    effects,
    name_of,
    operand,
    stored,
    writes,
)
from torov.rewrite.sites import Kept, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from torov.rewrite.code import Line, Unit

LIMIT = 512
"""Numbers from here on are none of x86-64's, and are answered with ENOSYS."""
_VALUES_MAX = 512
_NODES_MAX = 20_000
_DEEP = 12
_STRINGS = ("stos", "movs", "ins")

Found = tuple[frozenset[int], str]
_RESTORER = frozenset((15,))  # rt_sigreturn: the bytes of the mov are what makes it the restorer (torov.rewrite.plan)
Where = str | int
"""A register or a part of one (semantics.Copy), or the offset of a stack slot (torov.rewrite.frames)."""


class Inferred(NamedTuple):
    """What a program can ask for.

    Attributes:
        sites: link-time address of each system call instruction to the numbers that can reach it, None: any.
        reasons: why, for those that are None.
        partial: the numbers of those that are None as far as they are known.
        functions: start address of the function around a site, where one is known.
        calls: the union of the sets, of what is known of the unknown ones too; numbers of x86-64 only.
        unknown: how many sites are None.
    """

    sites: dict[int, frozenset[int] | None]
    reasons: dict[int, str]
    partial: dict[int, frozenset[int]]
    functions: dict[int, int]
    calls: frozenset[int]
    unknown: int


def infer(program: Image | str, made: Plan | None = None) -> Inferred:
    """Find the numbers that reach each site of a program.

    Args:
        program: its image, or the path of its file.
        made: its plan, if there is one already.
    Returns:
        what was found. A site that the rewriter left AMBIGUOUS is a site too.
    Raises:
        LoadError, NotFound: the file is not a program that can be loaded.
        RewriteError: the file holds more pairs than any program.
    """
    image = elf.load(program) if isinstance(program, str) else program
    made = plan(image) if made is None else made
    search = Search(image)
    sites: dict[int, frozenset[int] | None] = {}
    reasons: dict[int, str] = {}
    partial: dict[int, frozenset[int]] = {}
    functions: dict[int, int] = {}
    for site in made.sites:
        if site.vaddr is None or not site.executable or site.verdict in (Verdict.EMBEDDED, Verdict.DATA):
            continue
        try:
            if site.verdict is Verdict.AMBIGUOUS and search.hidden(site.vaddr):
                continue
            numbers, why = search.numbers(site.vaddr) if site.kept is not Kept.RESTORER else (_RESTORER, "")
        except BudgetSpent:
            numbers, why = frozenset(), "file too large to search in bounded time"
        if site.function is not None:
            functions[site.vaddr] = site.function
        sites[site.vaddr] = numbers if not why else None
        if why:
            reasons[site.vaddr], partial[site.vaddr] = why, numbers
    sets = [*partial.values(), *(numbers for numbers in sites.values() if numbers is not None)]
    calls = frozenset(nr for numbers in sets for nr in numbers if nr < LIMIT)
    return Inferred(sites, reasons, partial, functions, calls, len(reasons))


class Search:
    """Searches one program.

    Args:
        image: the program.
    """

    def __init__(self, image: Image) -> None:
        self._code = Code(image, dynsym.functions(image))
        self._frames = Frames(self._code)
        self._writes: dict[int, frozenset[str]] = {}
        self._known: dict[tuple[int, Where], Found] = {}

    def hidden(self, addr: int) -> bool:
        """Whether a pair ``0F 05`` is part of another instruction, to which a branch of decoded code leads."""
        unit = self._code.unit(addr)
        if unit is None or addr in unit.index:
            return False
        around = next((at for at in range(addr - 1, addr - 15, -1) if at in unit.index), None)
        if around is None or around + unit.lines[unit.index[around]][1] < addr + 2:
            return False
        return self._code.reached(around)

    def numbers(self, addr: int) -> Found:
        """The numbers that can be in eax at a system call instruction.

        Returns:
            the numbers; and why there may be more, or an empty string.
        Raises:
            BudgetSpent: this file is too large.
        """
        unit = self._code.unit(addr)
        i = unit.index.get(addr) if unit is not None else None
        if unit is None or i is None or name_of(unit.lines[i][2]) != "syscall":
            return frozenset(), "code here cannot be told from data"
        return self._values(addr, "rax", ())

    def _values(self, addr: int, where: Where, active: tuple[tuple[int, Where], ...]) -> Found:
        """The values that a place can have just before an instruction.

        Args:
            addr: the instruction.
            where: the place.
            active: what is being computed: a value that depends on itself cannot be known.
        Returns:
            as numbers().
        """
        key = (addr, where)
        known = self._known.get(key)
        if known is None:
            if key in active:
                known = frozenset(), f"computed in a loop at {addr:#x}"
            elif len(active) > _DEEP:
                known = frozenset(), f"computed in too many steps at {addr:#x}"
            else:
                known = self._search(key, (*active, key))
            self._known[key] = known
        return known

    def _search(self, first: tuple[int, Where], active: tuple[tuple[int, Where], ...]) -> Found:
        found, work, seen, unknown = set[int](), [first], {first}, ""
        while work:
            addr, where = work.pop()
            self._code.spend(1)
            edges, why = self._code.before(addr)
            if why:
                unknown = unknown or self._argument(addr, where, why)
            for kind, source in edges:
                for made in self._across(kind, source, where, addr):
                    if isinstance(made, Const):
                        found.add(made.value)
                    elif isinstance(made, Apply):
                        values, why = self._apply(made, source, active)
                        found |= values
                        unknown = unknown or why
                    elif isinstance(made, Top):
                        unknown = unknown or f"{made.reason} at {source:#x}"
                    elif (source, made) not in seen:
                        seen.add((source, made))
                        work.append((source, made))
            if len(found) > _VALUES_MAX or len(seen) > _NODES_MAX:
                return frozenset(), f"too many ways lead to {first[0]:#x}"
        return frozenset(found), unknown

    def _argument(self, addr: int, where: Where, why: str) -> str:
        unit = self._code.unit(addr)
        place = where if isinstance(where, str) else f"stack slot {where:+#x}"
        if unit is not None and addr == unit.start:
            return f"{place} is an argument of {addr:#x}, and {why}"
        return f"{place} at {addr:#x}: {why}"

    def _across(self, kind: int, source: int, where: Where, addr: int) -> Iterator[Where | Const | Apply | Top]:
        """What a place holds when control has come from an instruction: places before it, or values."""
        unit = self._code.unit(source)
        if unit is None:
            yield Top("code that cannot be decoded")
            return
        i = unit.index[source]
        near = unit.start <= addr < unit.end
        if isinstance(where, str) and kind != CALL and unit.lines[i][2] == ("je" if kind == JUMP else "jne"):
            value = self._if_equal(source, where)
            if value is not None:
                yield Const(value)
                return
        if kind == FLOW:
            if isinstance(where, str):
                yield from self._register(unit, i, where)
            else:
                yield from self._slot(unit, i, where)
        elif isinstance(where, str):
            yield where
        elif kind == CALL:  # from the callee's frame into the caller's: the call has pushed 8 bytes
            depth = self._frames.depth(unit, i)[0]
            yield Top("stack of a caller") if depth is None or where < 8 else where + depth - 8
        elif near or self._frames.depth(unit, i)[0] == 0:  # within the unit, or a tail call
            yield where
        else:
            yield Top("stack of a part elsewhere")

    def _if_equal(self, addr: int, where: str) -> int | None:
        """What a register holds behind a branch that is taken on equality, if the comparison says it."""
        for _ in range(8):
            edges, why = self._code.before(addr)
            if why or len(edges) != 1 or edges[0][0] != FLOW:
                return None
            addr = edges[0][1]
            unit = self._code.unit(addr)
            if unit is None:
                return None
            line = unit.lines[unit.index[addr]]
            if not keeps_flags(line[2]):
                return equal(line[2], line[3], where)
            if where in self._changes(line):
                made = effects(line[2], line[3], where)
                if len(made) != 1 or not isinstance(made[0], Copy):
                    return None
                where = made[0].place
        return None

    def _changes(self, line: Line) -> frozenset[str]:
        made = self._writes.get(line[0])
        if made is None:
            shown = writes(line[2], line[3])
            if shown is None:
                names = self._code.written(line)
                first = operand(line[3].partition(", ")[0])
                shown = frozenset(REGISTERS[name].family for name in names if name in REGISTERS)
                shown |= {first.family} if isinstance(first, Part) else set()
            made = self._writes[line[0]] = shown
        return made

    def _register(self, unit: Unit, i: int, place: str) -> Iterator[Where | Const | Apply | Top]:
        line, family = unit.lines[i], place.partition("/")[0]
        mnemonic, operands = line[2], line[3]
        if name_of(mnemonic) == "call":
            if (self._code.go is not None and family != "rbp") or family in CALL_CLOBBERS:
                yield Top("a result of the call" if family == "rax" else f"{family} is not kept over the call")
            else:
                yield place
            return
        if family not in self._changes(line):
            yield place
            return
        for made in effects(mnemonic, operands, place):
            yield from self._placed(unit, i, made)

    def _placed(self, unit: Unit, i: int, made: Effect) -> Iterator[Where | Const | Apply | Top]:
        """An effect with its memory operand as a stack slot or a constant."""
        if isinstance(made, Copy):
            yield Top("an address") if made.place == "rsp" else made.place
        elif isinstance(made, Load):
            yield self._loaded(unit, i, made.memory)
        else:
            yield made

    def _loaded(self, unit: Unit, i: int, memory: Memory) -> Where | Const | Top:
        line = unit.lines[i]
        at = self._frames.slot(unit, i, memory)
        if at is not None and memory.size >= 4:
            return at
        if not memory.indexed and not memory.segment and memory.base in ("", "rip"):
            place = memory.disp + (line[0] + line[1] if memory.base else 0)
            value = self._code.constant(place, memory.size)
            if value is not None:
                return Const(value & MASK)
        return Top(f"read from memory ({line[2]} {line[3]})")

    def _apply(self, made: Apply, source: int, active: tuple[tuple[int, Where], ...]) -> Found:
        """Compute a function over every combination of what its sources can be before an instruction."""
        unit = self._code.unit(source)
        assert unit is not None
        rows: list[tuple[int, ...]] = [()]
        unknown = ""
        for part in made.sources:
            values = set[int]()
            if isinstance(part, Const):
                values.add(part.value)
            elif isinstance(part, Apply):
                more, why = self._apply(part, source, active)
                values |= more
                unknown = unknown or why
            else:
                for place in self._placed(unit, unit.index[source], part):
                    if isinstance(place, Const):
                        values.add(place.value)
                    elif isinstance(place, Top):
                        unknown = unknown or f"{place.reason} at {source:#x}"
                    elif not isinstance(place, Apply):
                        more, why = self._values(source, place, active)
                        values |= more
                        unknown = unknown or why
            rows = [(*row, value) for row in rows for value in values]
            if len(rows) > _VALUES_MAX:
                return frozenset(), f"computed from too many values at {source:#x}"
        return frozenset(value for row in rows for value in made.function(*row)), unknown

    def _slot(self, unit: Unit, i: int, at: int) -> Iterator[Where | Const | Apply | Top]:
        """What a stack slot of four bytes holds after instruction i."""
        _, _, mnemonic, operands = unit.lines[i]
        name = name_of(mnemonic)
        if name == "push":
            depth = self._frames.depth(unit, i)[0]
            if depth is None:
                yield Top("the stack pointer is not known")
            elif depth - 8 == at:
                yield from self._stored_value(unit, i, operands)
            else:
                yield at if not depth - 12 < at < depth else Top("a part of a slot")
            return
        if name in ("call", "syscall") or name.rstrip("bwdq") in _STRINGS:
            if self._frames.escape(unit) <= at or (name == "call" and self._code.go is not None and self._clobbered(unit, i, at)):
                yield Top("a slot of the stack whose address is known elsewhere")
            else:
                yield at
            return
        memory = stored(mnemonic, operands)
        if memory is None:
            yield at
            return
        place = self._frames.slot(unit, i, memory)
        if place is None:
            hidden = memory.base in ("rsp", "rbp") and (memory.base == "rsp" or self._frames.depth(unit, i)[1] is not None)
            yield Top("a store to an unknown slot") if hidden or self._frames.escape(unit) <= at else at
        elif place >= at + 4 or place + max(memory.size, 1) <= at:
            yield at
        elif place == at and name == "mov" and memory.size >= 4:
            yield from self._stored_value(unit, i, operands.split(", ")[1])
        else:
            yield Top(f"computed by {name} in memory")

    def _stored_value(self, unit: Unit, i: int, text: str) -> Iterator[Where | Const | Apply | Top]:
        made = operand(text)
        if isinstance(made, int):
            yield Const(made & MASK)
        elif isinstance(made, Part) and made.bits >= 32:
            yield made.family
        elif isinstance(made, Memory):
            yield self._loaded(unit, i, made)
        else:
            yield Top("stored from an unknown register")

    def _clobbered(self, unit: Unit, i: int, at: int) -> bool:
        """Whether a call of a Go function may write a slot of its caller: its results and its spilled arguments."""
        depth = self._frames.depth(unit, i)[0]
        target = operand(unit.lines[i][3])
        if depth is None or not isinstance(target, int) or self._code.go is None:
            return True
        size = self._code.go.arguments(target)
        return size is None or depth - 4 < at < depth + size
