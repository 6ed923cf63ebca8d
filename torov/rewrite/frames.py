"""Where the stack pointer is at each instruction of a unit, and what can change a slot of the stack.

Offsets are bytes from where rsp is at the entry of the function: 0 is the return address, 8 the first argument on the stack,
negative ones are the function's own.
"""

from __future__ import annotations

from torov.rewrite.code import FLOW
from torov.rewrite.decode import falls_through
from torov.rewrite.semantics import REGISTERS, Memory, Part, name_of, operand, writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.rewrite.code import Code, Unit

Depth = tuple[int | None, int | None]
"""Offsets that rsp and rbp hold before an instruction, None where they are not known."""

_NEITHER: Depth = (None, None)
NOWHERE = -(1 << 62)


class Frames:
    """The stack frames of one program.

    Args:
        code: its code.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._depths: dict[int, dict[int, Depth]] = {}
        self._escapes: dict[int, int] = {}

    def depth(self, unit: Unit, i: int) -> Depth:
        """The depth before instruction i of a unit."""
        made = self._depths.get(unit.start)
        if made is None:
            made = self._depths[unit.start] = self._walk(unit)
        return made.get(i, _NEITHER)

    def slot(self, unit: Unit, i: int, memory: Memory) -> int | None:
        """The offset of a memory operand of instruction i, or None if it is not known to be on the stack."""
        if memory.indexed or memory.segment or memory.base not in ("rsp", "rbp"):
            return None
        base = self.depth(unit, i)[memory.base == "rbp"]
        return None if base is None else base + memory.disp

    def escape(self, unit: Unit) -> int:
        """The lowest offset whose address the unit puts into a register or memory; a high number if it never does."""
        made = self._escapes.get(unit.start)
        if made is None:
            made = self._escapes[unit.start] = min((self._taken(unit, i) for i in range(len(unit.lines))), default=1 << 62)
        return made

    def _taken(self, unit: Unit, i: int) -> int:
        _, _, mnemonic, operands = unit.lines[i]
        if "sp" not in operands and "bp" not in operands:
            return 1 << 62
        name = name_of(mnemonic)
        words = [operand(word) for word in operands.split(", ")]
        if name == "lea" and isinstance(words[1], Memory) and words[1].base in ("rsp", "rbp"):
            if words[0] in (REGISTERS["rsp"], REGISTERS["rbp"]):
                return 1 << 62
            depth = self.depth(unit, i)[words[1].base == "rbp"]
            if depth is None:  # rbp may hold anything, then; rsp never does
                return NOWHERE if words[1].base == "rsp" else 1 << 62
            return depth + words[1].disp if not words[1].indexed else NOWHERE
        source = words[-1]
        if name in ("mov", "push", "add", "sub", "xchg", "movq", "xadd") and isinstance(source, Part):
            if isinstance(words[0], Part) and words[0].family in ("rsp", "rbp") and len(words) > 1:
                return 1 << 62
            if source.family == "rsp":
                depth = self.depth(unit, i)[0]
                return NOWHERE if depth is None else depth
            if source.family == "rbp" and name != "push":
                depth = self.depth(unit, i)[1]
                return 1 << 62 if depth is None else depth
        return 1 << 62

    def _walk(self, unit: Unit) -> dict[int, Depth]:
        code, found = self._code, dict[int, Depth]()
        code.before(unit.start)  # fills unit.outside
        work: list[tuple[int, Depth]] = [(0, (0, None))] if unit.lines else []
        for target in unit.outside or ():
            if target in unit.index and any(kind != FLOW for kind, _ in code.before(target)[0]):
                fresh = (unit.known and target == unit.start) or code.is_called(target)
                work.append((unit.index[target], (0, None) if fresh else _NEITHER))
        targets = {i: target for target, places in unit.jumps.items() for i in places}
        tables = [unit.index[target] for target in code.table(unit)]
        while work:
            i, depth = work.pop()
            code.spend(1)
            old = found.get(i)
            if old is not None:
                merged = tuple(a if a == b else None for a, b in zip(old, depth, strict=True))
                if merged == old:
                    continue
                depth = (merged[0], merged[1])
            found[i] = depth
            _, _, mnemonic, operands = unit.lines[i]
            after = _after(mnemonic, operands, depth)
            if i in targets and targets[i] in unit.index:
                work.append((unit.index[targets[i]], after))
            if i in unit.indirect:
                work.extend((place, after) for place in tables)
            goes_on = falls_through(mnemonic) and (name_of(mnemonic) != "call" or code.returns.after(unit, i))
            if goes_on and i + 1 < len(unit.lines):
                work.append((i + 1, after))
        return found


def _after(mnemonic: str, operands: str, depth: Depth) -> Depth:
    """Where rsp and rbp are after an instruction."""
    rsp, rbp = depth
    name = name_of(mnemonic)
    words = operands.split(", ")
    if name in ("push", "pushfq"):
        return (None if rsp is None else rsp - 8), rbp
    if name in ("pop", "popfq"):
        rsp = None if rsp is None or operands == "rsp" else rsp + 8
        return rsp, None if operands == "rbp" else rbp
    if name == "leave":
        return (None if rbp is None else rbp + 8), None
    if words[0] in ("rsp", "rbp") and name not in ("cmp", "test"):
        value = _value(name, words, rsp, rbp)
        return (value, rbp) if words[0] == "rsp" else (rsp, value)
    if "bp" in operands and name != "call":
        changed = writes(mnemonic, operands)
        if changed is None or "rbp" in changed:
            return rsp, None
    if name in ("enter", "xchg") and ("sp" in operands or name == "enter"):
        return None, None
    return rsp, rbp


def _value(name: str, words: list[str], rsp: int | None, rbp: int | None) -> int | None:
    own = rsp if words[0] == "rsp" else rbp
    if len(words) != 2:
        return None
    source = operand(words[1])
    if isinstance(source, int) and own is not None and name in ("add", "sub"):
        source = source - (1 << 64) if source >= 1 << 63 else source
        return own + source if name == "add" else own - source
    if name == "mov" and isinstance(source, Part) and source.bits == 64:
        return rsp if source.family == "rsp" else rbp if source.family == "rbp" else None
    if name == "lea" and isinstance(source, Memory) and source.base in ("rsp", "rbp") and not source.indexed:
        base = rsp if source.base == "rsp" else rbp
        return None if base is None else base + source.disp
    return None
