"""A compiled policy, decided in Python as the core decides it: for `torov policy explain`, and to test the core against.

Reads the bytes that compile.py wrote and nothing else of the policy.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, AF_UNIX

from torov.policy import args
from torov.policy.compile import DEFAULT, HEAD, LISTED
from torov.policy.model import ADDR, ALLOW, ANY, ANY_FAMILY, ERRNO, KILL, PATH, RANGE, Action, Address, Cond, Step
from torov.policy.pattern import matches
from torov.syscalls import by_number

_V4_MAPPED = bytes(10) + b"\xff\xff"


class Subject:
    """A call as the conditions see it.

    Fields:
        nr: its number.
        registers: six numbers.
        structure: what the pointer points to, None if it cannot be read.
        paths: the resolved paths, in the order of the call's path arguments; None for one that cannot be resolved.
        address: the socket address, None for NULL.
    """

    __slots__ = ("address", "nr", "paths", "registers", "structure")

    def __init__(
        self,
        nr: int,
        registers: tuple[int, ...] = (),
        structure: bytes | None = None,
        paths: tuple[bytes | None, ...] = (),
        address: bytes | None = None,
    ) -> None:
        self.nr, self.structure, self.paths, self.address = nr, structure, paths, address
        self.registers = tuple(value & (1 << 64) - 1 for value in registers) + (0,) * (6 - len(registers))


class Program:
    """A compiled policy that can be asked.

    Args:
        actions, program, delegates: of a torov.policy.Policy.
    """

    def __init__(self, actions: bytes, program: bytes, delegates: tuple[str, ...] = ()) -> None:
        self.actions = struct.unpack("<512h", actions)
        self.program, self.delegates = program, delegates
        self.labels = self._strings(*struct.unpack_from("<II", program, 8)[::-1]) if program else []

    def label(self, rule: int | None) -> str:
        """What a denial shows for a rule; an empty string for the default."""
        return self.labels[rule].decode("utf-8", "replace") if rule is not None and rule < len(self.labels) else ""

    def steps(self, nr: int) -> list[Step]:
        """The steps of a call; one without conditions where its action says it all."""
        offset = struct.unpack_from("<I", self.program, HEAD + 4 * nr)[0] if self.program else 0
        if self.actions[nr] != LISTED and not offset:
            number = self.actions[nr]
            return [Step(None, (), Action(ERRNO, number) if number > 0 else Action(ALLOW if number == 0 else KILL))]
        found: list[Step] = []
        while not found or found[-1].conds:
            rule, count, kind, errno, delegate = struct.unpack_from("<HBBHH", self.program, offset)
            conds = tuple(self._cond(offset + 8 + 40 * index) for index in range(count))
            name = self.delegates[delegate] if kind == 5 and delegate < len(self.delegates) else ""
            found.append(Step(None if rule == DEFAULT else rule, conds, Action(kind, errno, name)))
            offset += 8 + 40 * count
        return found

    def decide(self, subject: Subject) -> Step:
        """The step that decides about a call."""
        return next(step for step in self.steps(subject.nr) if all(holds(cond, subject) for cond in step.conds))

    def _cond(self, offset: int) -> Cond:
        op, arg, negate, width, field, count, off, _, mask, lo, hi = struct.unpack_from("<BBBBHHIIQQQ", self.program, offset)
        cond = Cond(op, arg, mask=mask, lo=lo, hi=hi, negate=bool(negate), width=width, field=field)
        if op == ANY:
            cond.values = struct.unpack_from(f"<{count}Q", self.program, off)
        elif op == PATH:
            cond.values = tuple(self._strings(off, count))
        elif op == ADDR:
            cond.values = tuple(self._address(off + 32 * index) for index in range(count))
        return cond

    def _address(self, offset: int) -> Address:
        family, low, high, prefix, kind, network, count, paths = struct.unpack_from("<HHHBB16sII", self.program, offset)
        data = network[: {4: 4, 6: 16}.get(kind, 0)]
        return Address(family, (low, high), kind, prefix, data, tuple(self._strings(paths, count)) if count else ())

    def _strings(self, offset: int, count: int) -> list[bytes]:
        offsets = struct.unpack_from(f"<{count}I", self.program, offset)
        return [self.program[at : self.program.index(b"\0", at)] for at in offsets]


def holds(cond: Cond, subject: Subject) -> bool:
    """Whether a condition holds; one that looks at what cannot be read does not, negated or not."""
    found = _holds(cond, subject)
    return found is not None and found != cond.negate


def _holds(cond: Cond, subject: Subject) -> bool | None:
    if cond.op == PATH:
        call = by_number(subject.nr)
        index = args.path_index(call, cond.arg) if call else 0
        path = subject.paths[index] if index < len(subject.paths) else None
        return None if path is None else any(matches(value, path) for value in cond.values if isinstance(value, bytes))
    if cond.op == ADDR:
        return any(_matches(value, subject.address) for value in cond.values if isinstance(value, Address))
    value = subject.registers[cond.arg]
    if cond.width:
        data = subject.structure
        if data is None or len(data) < cond.field + cond.width:
            return None
        value = int.from_bytes(data[cond.field : cond.field + cond.width], "little")
    value &= cond.mask
    return cond.lo <= value <= cond.hi if cond.op == RANGE else value in cond.values


def _matches(want: Address, data: bytes | None) -> bool:
    if data is None:
        return want.family == 0
    family = int.from_bytes(data[:2], "little") if len(data) >= 2 else 0
    if want.family not in (ANY_FAMILY, family):
        return False
    network = b""
    if family == AF_INET and len(data) >= 16:
        network = data[4:8]
    elif family == AF_INET6 and len(data) >= 24:
        network = data[8:24]
    if want.ports != (0, 65535) and (not network or not want.ports[0] <= int.from_bytes(data[2:4], "big") <= want.ports[1]):
        return False
    if want.kind and not _inside(want, network):
        return False
    if want.paths:
        name = socket_name(data) if family == AF_UNIX else None
        return name is not None and any(matches(pattern, name) for pattern in want.paths)
    return True


def _inside(want: Address, network: bytes) -> bool:
    if want.kind == 4 and network.startswith(_V4_MAPPED):
        network = network[12:]
    if len(network) != len(want.network):
        return False
    away = 8 * len(network) - want.prefix
    return int.from_bytes(network, "big") >> away == int.from_bytes(want.network, "big") >> away


def socket_name(data: bytes) -> bytes:
    """The path of a struct sockaddr_un as rules see it: unix(7); an abstract name starts with "@", and so do its NULs."""
    name = data[2:110]
    if not name.startswith(b"\0"):
        return name.partition(b"\0")[0]
    return name.replace(b"\0", b"@")
