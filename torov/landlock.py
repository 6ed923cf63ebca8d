"""Rules of Landlock for the monitor: what a policy's rules about paths and ports, and the mounts of a jail, allow at most.

Landlock knows directories and rights, rules of a policy know patterns, arguments and order. So what is derived here is never less
than the policy allows: the directory that stands before the first wildcard, for all that any rule allows there; a right that some
rule allows without a path is not restricted at all. What is left is held by the kernel even if the monitor is taken over.
One thing is less: a directory that a pattern names cannot itself be removed or renamed by ``DIR/**``.

``derived()`` is made once for a policy, and its bytes are kept with it.
"""

from __future__ import annotations

from torov.kept import (
    ALL,
    BIND_TCP,
    CACHE,
    CONNECT_TCP,
    EXECUTE,
    INTERP,
    MAKE,
    MAKE_DIR,
    MAKE_REG,
    MAKE_SOCK,
    MAKE_SYM,
    ON_FILES,
    PROC,
    READ_DIR,
    READ_FILE,
    REFER,
    REMOVE_DIR,
    REMOVE_FILE,
    RUNNER,
    TRUNCATE,
    WRITE_FILE,
    Rules,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from torov.callshape import Call
    from torov.policy.model import Step

_OPENING = READ_FILE | READ_DIR | WRITE_FILE | MAKE_REG | TRUNCATE
GRANTS: dict[str, int] = {
    "open": _OPENING, "openat": _OPENING, "openat2": _OPENING, "creat": WRITE_FILE | MAKE_REG | TRUNCATE, "truncate": TRUNCATE,
    "execve": READ_FILE, "execveat": READ_FILE,
    "mkdir": MAKE_DIR, "mkdirat": MAKE_DIR, "rmdir": REMOVE_DIR, "unlink": REMOVE_FILE,
    "unlinkat": REMOVE_FILE | REMOVE_DIR, "symlink": MAKE_SYM, "symlinkat": MAKE_SYM, "bind": MAKE_SOCK,
    "mknod": MAKE & ~(MAKE_DIR | MAKE_SYM), "mknodat": MAKE & ~(MAKE_DIR | MAKE_SYM), "link": MAKE & ~MAKE_DIR | REFER,
    "linkat": MAKE & ~MAKE_DIR | REFER, "rename": MAKE | REMOVE_DIR | REMOVE_FILE | REFER,
    "mq_open": READ_FILE | WRITE_FILE | MAKE_REG, "mq_unlink": REMOVE_FILE,  # in a file system without a place in the tree
    "renameat": MAKE | REMOVE_DIR | REMOVE_FILE | REFER, "renameat2": MAKE | REMOVE_DIR | REMOVE_FILE | REFER,
}  # fmt: skip
"""The rights that a call takes. EXECUTE is nobody's: the monitor executes its own runner only."""

_FLAGS = {"open": (1, 0), "openat": (2, 0), "openat2": (2, 8)}
"""Where open's flags are: register, and the width behind it if it is a pointer."""
MOST_PORTS = 256
_RANGE, _ANY, _PATH, _ADDR = 1, 2, 3, 4


def derived(actions: bytes, program: bytes) -> Rules:
    """The rules that a policy comes to.

    Args:
        actions, program: of a Policy.
    """
    from torov.policy.evaluate import Program
    from torov.syscalls import DENY, by_number

    asked = Program(actions, program)
    where: dict[int, set[bytes] | None] = {}
    ports: dict[int, set[int] | None] = {}
    executes = False
    for nr in range(512):
        call = by_number(nr)
        if call is None or call.serve == DENY:
            continue
        steps = [step for step in asked.steps(nr) if step.action.kind not in (1, 2)]
        executes |= call.name in ("execve", "execveat") and bool(steps)
        for step in steps:
            rights = GRANTS.get(call.name, 0) & _by_flags(call.name, step)
            patterns = _patterns(call, step)
            for bit in _bits(rights):
                _merge(where, bit, patterns)
            if call.name in ("bind", "connect"):
                _merge(ports, BIND_TCP if call.name == "bind" else CONNECT_TCP, _ports(step))
    made = Rules()
    _paths(made, where)
    for right in (BIND_TCP, CONNECT_TCP):
        open_ports = ports.get(right, set())
        if open_ports is not None and len(open_ports) <= MOST_PORTS:
            made.net |= right
            made.ports += [(port, right) for port in sorted(open_ports)]
    made.own = [(PROC, READ_FILE | READ_DIR)]
    if executes:
        made.own += [(CACHE, READ_FILE | READ_DIR), (INTERP, READ_FILE), (RUNNER, EXECUTE | READ_FILE)]
    return made


def _bits(rights: int) -> Iterable[int]:
    return (1 << bit for bit in range(15) if rights & 1 << bit)


def _merge(known: dict[int, set[Any] | None], right: int, more: set[Any] | None) -> None:
    have = known.get(right, set())
    known[right] = None if have is None or more is None else have | more


def _by_flags(name: str, step: Step) -> int:
    """What is left of open's rights by the conditions on its flags."""
    if name not in _FLAGS:
        return ALL
    register, width = _FLAGS[name]
    rights = ALL
    for cond in step.conds:
        if cond.arg != register or cond.width != width or cond.field or cond.negate:
            continue
        if cond.op == _RANGE and cond.lo == cond.hi:
            values = [cond.lo]
        elif cond.op == _ANY:
            values = [value for value in cond.values if isinstance(value, int)]
        else:
            continue
        if cond.mask & 3 == 3:
            modes = {value & 3 for value in values}
            if modes == {0}:
                rights &= ~WRITE_FILE
            if modes == {1}:
                rights &= ~(READ_FILE | READ_DIR)
        if cond.mask & 0o100 and not any(value & 0o100 for value in values) and cond.mask & 0o20200000 == 0o20200000:
            rights &= ~MAKE_REG
        if cond.mask & 0o1000 and not any(value & 0o1000 for value in values) and not rights & WRITE_FILE:
            rights &= ~TRUNCATE
    return rights


def _patterns(call: Call, step: Step) -> set[bytes] | None:
    """The patterns that all paths of a call must match one of; None if one may be any."""
    arguments = {index for index, arg in enumerate(call.args) if arg.kind in ("path", "look")}
    found: set[bytes] = set()
    for cond in step.conds:
        if cond.op == _PATH and not cond.negate:
            arguments.discard(cond.arg)
            found |= {value for value in cond.values if isinstance(value, bytes)}
    return None if arguments or call.name in ("bind", "mq_open", "mq_unlink") else found


def _ports(step: Step) -> set[int] | None:
    """The TCP ports of a step; None if they may be any."""
    from torov.policy.model import Address

    for cond in step.conds:
        if cond.op != _ADDR or cond.negate:
            continue
        found: set[int] = set()
        for address in cond.values:
            if not isinstance(address, Address):
                return None
            if address.family in (2, 10, 0xFFFF):
                low, high = address.ports
                if high - low >= MOST_PORTS:
                    return None
                found |= set(range(low, high + 1))
        return found
    return None


def prefix(pattern: bytes) -> tuple[bytes, bool]:
    """The path that stands before the first wildcard of a pattern, and whether that is all of it."""
    plain = b""
    index = 0
    while index < len(pattern):
        byte = pattern[index : index + 1]
        if byte in (b"*", b"?", b"["):
            return plain[: plain.rindex(b"/")] if b"/" in plain else b"", False
        if byte == b"\\":
            index += 1
            byte = pattern[index : index + 1]
        plain += byte
        index += 1
    return plain, True


def _paths(made: Rules, where: dict[int, set[bytes] | None]) -> None:
    rights: dict[bytes, int] = {}
    for bit in _bits(ALL):
        patterns = where.get(bit, set())
        if patterns is None:
            if bit == REFER:  # denied by every ruleset that does not grant it
                rights[b"/"] = rights.get(b"/", 0) | REFER
                made.fs |= REFER
            continue
        made.fs |= bit
        for pattern in patterns:
            place, whole = prefix(pattern)
            if not place.startswith(b"/") and place:
                continue  # abstract sockets, pipes: not in the tree
            if whole and not bit & ON_FILES:
                place = place.rpartition(b"/")[0]  # an entry is made and removed in its directory
            place = place or b"/"
            rights[place] = rights.get(place, 0) | bit
    made.paths = sorted(rights.items())
