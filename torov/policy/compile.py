"""Rules to what the core decides by: one number for each call, and a program of steps where conditions stand.

The layout of the program is that of torov/vmm/core/policy.c: a head, the index of first steps by call, labels, steps with
their conditions, and what these point to. All little-endian, offsets from the start, structures at multiples of 8.
"""

from __future__ import annotations

import struct
from errno import ENOSYS

from torov.policy.model import (
    ADDR,
    ALLOW,
    ALLOWED,
    ANY,
    ERRNO,
    KILL,
    PATH,
    REFUSING,
    Action,
    Address,
    Cond,
    Rule,
    Step,
    error_number,
)
from torov.syscalls import CALLS, DENY, HOST, LIMIT, Call

ALWAYS = ("exit", "exit_group", "rt_sigreturn")
"""A program must be able to end, and to come back from a signal: no policy takes these away."""

MAGIC, HEAD, DEFAULT, LISTED = 0x31505654, 32, 0xFFFF, -2
MAX_CONDS, MAX_RULES = 255, 65534
STRICT = 1  # bit of the head's flags


def own(call: Call) -> Action:
    """What the table itself answers."""
    return ALLOWED if call.default == "allow" else Action(ERRNO, error_number(call.default))


def guarded(call: Call) -> bool:
    """Whether a call is served but refused by default: allowing it takes its name."""
    return call.serve == HOST and call.default != "allow"


def reaches(rule: Rule, call: Call) -> bool:
    """Whether a rule speaks of a call, whatever its conditions."""
    if call.name in rule.names:
        return True
    return call.name in rule.grouped and not (guarded(call) and rule.action.kind not in REFUSING)


def steps_of(call: Call, rules: list[Rule], default: Action | None) -> list[Step]:
    """What becomes of a call: steps in order, of which the last has no conditions.

    Args:
        call: a row of the table; not one of ALWAYS.
        rules: in order of precedence.
        default: for calls that no rule decides; None for what the table says.

    Raises:
        PolicyError: a rule names the call and asks for what it does not have.
    """
    steps: list[Step] = []
    for index, rule in enumerate(rules):
        if not reaches(rule, call):
            continue
        for conds in alternatives(rule, call):
            steps.append(Step(index, conds, rule.action))
            if not conds:
                return _final(call, steps)
    action = own(call) if default is None or (default.kind not in REFUSING and call.default != "allow") else default
    steps.append(Step(None, (), action))
    return _final(call, steps)


def alternatives(rule: Rule, call: Call) -> list[tuple[Cond, ...]]:
    """The conditions of a rule for one call it reaches: alternatives, each a conjunction."""
    found: list[tuple[Cond, ...]] = [()]
    for test in rule.where:
        more = test.bind(call, call.name in rule.names, rule.action.kind not in (ALLOW, 3, 6))
        if more is None:
            return []
        found = [have + conds for have in found for conds in more]
    # the cheap ones first: a path is resolved only where all else holds
    return [tuple(sorted(conds, key=lambda cond: (cond.op, cond.width))) for conds in found]


def _final(call: Call, steps: list[Step]) -> list[Step]:
    if call.serve == DENY:  # no policy can allow it
        steps = [step if step.action.kind == KILL else Step(None, step.conds, own(call)) for step in steps]
    while len(steps) > 1:
        before, last = steps[-2], steps[-1]
        if before.action != last.action or (last.action.kind != ALLOW and before.rule is not None and before.rule != last.rule):
            break
        del steps[-2]  # what would be decided anyway, and nobody is told of
    return steps


def compiled(
    rules: list[Rule], default: Action | None, strict: bool = False, delegates: tuple[str, ...] = ()
) -> tuple[bytes, bytes]:
    """Compile rules.

    Args:
        rules: in order of precedence.
        default: action for calls that no rule decides; None for what the table says.
        strict: the flag of the program.
        delegates: their names.

    Returns:
        ``actions``: LIMIT signed 16-bit numbers by system call number (0 made, an error, -1 killed, -2 the list decides);
        and the program, empty if there is nothing for it to say.
    """
    actions = [ENOSYS] * LIMIT
    writer = _Writer(rules, delegates, strict)
    for call in CALLS:
        if call.name in ALWAYS:
            actions[call.nr] = 0
            continue
        steps = steps_of(call, rules, default)
        number = steps[0].action.number if len(steps) == 1 else None
        actions[call.nr] = LISTED if number is None else number
        # a list of one step that refuses decides nothing; it holds the label that a denial shows
        if number is None or (number and steps[0].rule is not None):
            writer.add(call.nr, steps)
    return b"".join(action.to_bytes(2, "little", signed=True) for action in actions), writer.finish()


class _Writer:
    """Lays the program out."""

    def __init__(self, rules: list[Rule], delegates: tuple[str, ...], strict: bool) -> None:
        self.delegates, self.strict = delegates, strict
        self.data = bytearray(HEAD + 4 * LIMIT)
        self.known: dict[tuple[int, bytes], int] = {}
        self.labels = [rule.label for rule in rules]
        self.used = strict

    def add(self, nr: int, steps: list[Step]) -> None:
        """Write the list of one call."""
        self.used = True
        parts = []
        for step in steps:
            action = step.action
            delegate = self.delegates.index(action.delegate) if action.delegate else 0
            rule = DEFAULT if step.rule is None else step.rule
            parts.append(struct.pack("<HBBHH", rule, len(step.conds), action.kind, action.errno, delegate))
            parts += [self._cond(cond) for cond in step.conds]
        struct.pack_into("<I", self.data, HEAD + 4 * nr, self._put(b"".join(parts), 8))

    def _cond(self, cond: Cond) -> bytes:
        off, n = 0, len(cond.values)
        if cond.op == ANY:
            numbers = [value for value in cond.values if isinstance(value, int)]
            off = self._put(struct.pack(f"<{n}Q", *numbers), 8)
        elif cond.op == PATH:
            off = self._strings([value for value in cond.values if isinstance(value, bytes)])
        elif cond.op == ADDR:
            off = self._put(b"".join(self._address(value) for value in cond.values if isinstance(value, Address)), 8)
        head = struct.pack("<BBBBHH", cond.op, cond.arg, cond.negate, cond.width, cond.field, n)
        return head + struct.pack("<IIQQQ", off, 0, cond.mask, cond.lo, cond.hi)

    def _address(self, address: Address) -> bytes:
        paths = self._strings(list(address.paths)) if address.paths else 0
        return struct.pack("<HHHBB16sII", address.family, *address.ports, address.prefix, address.kind, address.network,
                           len(address.paths), paths)  # fmt: skip

    def _strings(self, texts: list[bytes]) -> int:
        return self._put(struct.pack(f"<{len(texts)}I", *(self._put(text + b"\0", 1) for text in texts)), 4)

    def _put(self, data: bytes, align: int) -> int:
        """Append bytes, or find the same ones; return their offset."""
        if (align, data) not in self.known:
            self.data += bytes(-len(self.data) % align)
            self.known[align, data] = len(self.data)
            self.data += data
        return self.known[align, data]

    def finish(self) -> bytes:
        """The whole program, or nothing if no call needs it."""
        if not self.used:
            return b""
        rules = self._strings([label.encode("utf-8", "replace") for label in self.labels])
        delegates = self._strings([name.encode("utf-8", "replace") for name in self.delegates])
        self.data += bytes(-len(self.data) % 8)
        head = (MAGIC, len(self.data), len(self.labels), rules, HEAD, len(self.delegates), delegates, STRICT * self.strict)
        struct.pack_into("<8I", self.data, 0, *head)
        return bytes(self.data)
