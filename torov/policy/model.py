"""What a policy is made of, whatever form it was written in: actions, conditions, rules.

A rule says which calls it reaches, under which conditions, and what is done then. Its conditions are bound to each call
on its own, since an argument's register, width and constants are the call's.
"""

from __future__ import annotations

import errno as _errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from torov.callshape import Call

    class Test(Protocol):
        """One condition of a rule, before it is bound to a call."""

        def bind(self, call: Call, named: bool, strictly: bool) -> list[tuple[Cond, ...]] | None:
            """The condition for one call.

            Args:
                call: a row of the table.
                named: the rule names the call, rather than reaching it through a group.
                strictly: the rule refuses: where a call has several paths, one that matches is enough.

            Returns:
                Alternatives, each a conjunction; none if it can never hold; None if the call has no such argument.

            Raises:
                PolicyError: ``named``, and the call has no such argument or constant.
            """


ALLOW, ERRNO, KILL, LOG, ASK, DELEGATE, LEARN = range(7)
"""Kinds of action, as struct pol_step of the core numbers them."""
KINDS = ("allow", "errno", "kill", "log", "ask", "delegate", "learn")
REFUSING = (ERRNO, KILL)

RANGE, ANY, PATH, ADDR = 1, 2, 3, 4
"""Kinds of condition, as struct pol_cond of the core numbers them."""

FULL = (1 << 64) - 1
ANY_FAMILY = 0xFFFF


class Action:
    """What is done with a call.

    Fields:
        kind: ALLOW ... LEARN.
        errno: for ERRNO, the positive number to answer; 0 (a call that is not made and returns 0) only from OCI profiles.
        delegate: for DELEGATE, a name in "delegates".
    """

    __slots__ = ("delegate", "errno", "kind")

    def __init__(self, kind: int, errno: int = 0, delegate: str = "") -> None:
        self.kind, self.errno, self.delegate = kind, errno, delegate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Action) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> tuple[int, int, str]:
        """What two equal actions have in common."""
        return self.kind, self.errno, self.delegate

    @property
    def number(self) -> int | None:
        """The action as one number of ``actions``: 0, the error, or -1; None if only a step can say it."""
        if self.kind == ERRNO and self.errno:
            return self.errno
        return {ALLOW: 0, KILL: -1}.get(self.kind)

    def __str__(self) -> str:
        if self.kind == ERRNO:
            return _errno.errorcode.get(self.errno, str(self.errno)) if self.errno else "0 without being made"
        return f"delegate {self.delegate}" if self.kind == DELEGATE else KINDS[self.kind]


ALLOWED, DENIED, KILLED = Action(ALLOW), Action(ERRNO, _errno.EPERM), Action(KILL)


class Address:
    """What a socket address may be (struct pol_addr).

    Fields:
        family: AF_*, or ANY_FAMILY.
        ports: lowest and highest, for AF_INET and AF_INET6.
        kind: 4 or 6 where a network is asked for, else 0.
        prefix: its bits.
        network: its address, 4 or 16 bytes.
        paths: patterns of a Unix socket's path, or none.
    """

    __slots__ = ("family", "kind", "network", "paths", "ports", "prefix")

    def __init__(
        self,
        family: int,
        ports: tuple[int, int] = (0, 65535),
        kind: int = 0,
        prefix: int = 0,
        network: bytes = b"",
        paths: tuple[bytes, ...] = (),
    ) -> None:
        self.family, self.ports, self.kind, self.prefix = family, ports, kind, prefix
        self.network, self.paths = network, paths

    def key(self) -> tuple[object, ...]:
        """What two equal addresses have in common."""
        return self.family, self.ports, self.kind, self.prefix, self.network, self.paths


class Cond:
    """A condition bound to a call (struct pol_cond).

    Fields:
        op: RANGE, ANY, PATH or ADDR.
        arg: register 0 to 5.
        width, field: 0, or bytes and offset of a field in the structure that the register points to.
        mask, lo, hi: of RANGE: lo <= (value & mask) <= hi; mask of ANY.
        values: numbers of ANY, patterns of PATH, addresses of ADDR.
        negate: the condition holds where it would not.
        text: as a person reads it.
    """

    __slots__ = ("arg", "field", "hi", "lo", "mask", "negate", "op", "text", "values", "width")

    def __init__(
        self,
        op: int,
        arg: int,
        *,
        values: Sequence[int] | Sequence[bytes] | Sequence[Address] = (),
        mask: int = FULL,
        lo: int = 0,
        hi: int = 0,
        negate: bool = False,
        width: int = 0,
        field: int = 0,
        text: str = "",
    ) -> None:
        self.op, self.arg, self.values, self.mask, self.lo, self.hi = op, arg, tuple(values), mask, lo, hi
        self.negate, self.width, self.field, self.text = negate, width, field, text

    def target(self) -> tuple[int, ...]:
        """What is looked at: two conditions with the same target look at the same thing."""
        return self.op if self.op >= PATH else 0, self.arg, self.width, self.field

    def key(self) -> tuple[object, ...]:
        """What two equal conditions have in common."""
        values = tuple(value.key() if isinstance(value, Address) else value for value in self.values)
        return self.op, self.arg, self.width, self.field, self.mask, self.lo, self.hi, values, self.negate


class Rule:
    """One rule.

    Fields:
        names: calls that it names.
        grouped: calls that it reaches through a group.
        action: what is done.
        where: conditions, all of which must hold.
        label: file, line and number, with its comment; what a denial shows.
        place: as ``rules[3]``, for messages about the file.
        literal: it stands in no file: not counted, and never reported as dead.
    """

    __slots__ = ("action", "grouped", "label", "literal", "names", "place", "where")

    def __init__(
        self,
        names: frozenset[str],
        grouped: frozenset[str],
        action: Action,
        where: tuple[Test, ...] = (),
        label: str = "",
        place: str = "",
        literal: bool = False,
    ) -> None:
        self.names, self.grouped, self.action, self.where = names, grouped, action, where
        self.label, self.place, self.literal = label, place, literal


class Step:
    """A rule as one call sees it: if all conditions hold, this is done.

    Fields:
        rule: index into the rules, or None for the default.
        conds: bound conditions; none: it always holds.
        action: what is done.
    """

    __slots__ = ("action", "conds", "rule")

    def __init__(self, rule: int | None, conds: tuple[Cond, ...], action: Action) -> None:
        self.rule, self.conds, self.action = rule, conds, action


def error_number(name: str) -> int:
    """The number of an error, as EPERM; 0 for a name that Linux does not have."""
    number = vars(_errno).get(name)
    return number if isinstance(number, int) else 0
