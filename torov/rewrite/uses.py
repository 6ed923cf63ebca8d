"""What becomes of the address of a function that an instruction puts into a register, and which functions return."""

from __future__ import annotations

import re

from torov.rewrite.decode import falls_through
from torov.rewrite.semantics import CALL_CLOBBERS, REGISTERS, Part, name_of, operand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.rewrite.code import Code, Unit

_ARGUMENTS = frozenset(("rdi", "rsi", "rdx", "rcx", "r8", "r9"))
_STEPS = 4096
_DEEP = 2
_GO_ENDS = (
    *("runtime.gopanic", "runtime.throw", "runtime.fatal", "runtime.goPanic", "runtime.panicIndex", "runtime.panicSlice"),
    *("runtime.panicdivide", "runtime.panicshift", "runtime.panicmakeslice", "runtime.panicdottype", "runtime.panicwrap"),
    *("runtime.panicnildottype", "runtime.panicoverflow", "runtime.panicfloat", "runtime.panicmem", "runtime.panicunsafe"),
)
"""Functions of Go's runtime that do not return, although their code has a way out."""
_WORD = re.compile(r"[a-z][a-z0-9]+")


def branches(code: Code, unit: Unit, i: int, go: bool) -> list[tuple[bool, int]] | None:
    """Find the calls and jumps through the register that instruction i loads with an address.

    Args:
        code, unit, i: the place.
        go: in Go a function keeps no register, and any can be an argument.
    Returns:
        (is a call, address) of each; None if the address may go anywhere else.
    """
    first = operand(unit.lines[i][3].partition(", ")[0])
    if not isinstance(first, Part) or first.bits < 32:
        return None
    family, found = first.family, list[tuple[bool, int]]()
    work, seen = [i + 1], set[int]()
    while work:
        j = work.pop()
        if j in seen:
            continue
        seen.add(j)
        if j >= len(unit.lines):
            if unit.known and name_of(unit.lines[-1][2]) == "call":
                continue  # a function that ends with a call: it does not return
            return None
        code.spend(1)
        if len(seen) > _STEPS:
            return None
        address, _, mnemonic, operands = unit.lines[j]
        name = name_of(mnemonic)
        mentioned = any(REGISTERS[word].family == family for word in _WORD.findall(operands) if word in REGISTERS)
        only = operand(operands)
        if name in ("call", "syscall"):
            if mentioned and not (isinstance(only, Part) and only.bits == 64):
                return None
            if mentioned:
                found.append((True, address))
            if go or family in _ARGUMENTS:
                return None
            if family in CALL_CLOBBERS or (name == "call" and not code.returns.after(unit, j)):
                continue
        elif name in ("ret", "retf"):
            if family in ("rax", "rdx") or go:
                return None
            continue
        elif name[0] == "j":
            targets = [only] if isinstance(only, int) else [] if mentioned else sorted(code.table(unit))
            if mentioned:
                if not isinstance(only, Part):
                    return None
                found.append((False, address))
            elif not targets or any(target not in unit.index for target in targets):
                return None
            work += [unit.index[target] for target in targets]
        elif mentioned and name not in ("cmp", "test"):
            if not _overwrites(name, operands.split(", "), family):
                return None
            continue
        if falls_through(mnemonic):
            work.append(j + 1)
    return found


def _overwrites(name: str, words: list[str], family: str) -> bool:
    """Whether an instruction that mentions a register puts something else into it, and does not read it."""
    own = operand(words[0])
    if not isinstance(own, Part) or own.family != family:
        return False
    if name == "pop" or name.startswith("set") or (name == "xor" and words[0] == words[-1]):
        return True
    reads = any(REGISTERS[word].family == family for word in _WORD.findall(words[-1]) if word in REGISTERS)
    return name in ("mov", "lea", "movabs", "movzx", "movsxd") and not reads


class Returns:
    """Which functions come back to their callers.

    Args:
        code: the program's code.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._known: dict[int, bool] = {}

    def after(self, unit: Unit, i: int) -> bool:
        """Whether control can go on behind the call that is instruction i of a unit."""
        target = operand(unit.lines[i][3])
        return not isinstance(target, int) or self.returns(target)

    def returns(self, target: int, deep: int = 0) -> bool:
        """Whether the function at an address may return: false only if every way in it is seen not to."""
        known = self._known.get(target)
        if known is None and self._code.go is not None and (self._code.go.name(target) or "").startswith(_GO_ENDS):
            known = self._known[target] = False
        if known is None:
            self._known[target] = True  # while it is not known: recursion
            known = self._known[target] = self._walk(target, deep)
        return known

    def _walk(self, target: int, deep: int) -> bool:
        unit = self._code.unit(target)
        if unit is None or target not in unit.index:
            return True
        work, seen, last = [unit.index[target]], set[int](), len(unit.lines) - 1
        while work:
            i = work.pop()
            if i in seen:
                continue
            seen.add(i)
            self._code.spend(1)
            _, _, mnemonic, operands = unit.lines[i]
            name, to = name_of(mnemonic), operand(operands)
            if name in ("ret", "retf", "iretq") or len(seen) > _STEPS:
                return True
            if name[0] == "j":
                if isinstance(to, int) and to not in unit.index:
                    if deep >= _DEEP or self.returns(to, deep + 1):
                        return True
                elif isinstance(to, int):
                    work.append(unit.index[to])
                else:
                    return True  # a table of jumps may lead elsewhere, too
            elif name == "call":
                ends = i == last and unit.known
                if ends or (deep < _DEEP and isinstance(to, int) and not self.returns(to, deep + 1)):
                    continue
            if falls_through(mnemonic):
                if i == last:
                    return True
                work.append(i + 1)
        return False
