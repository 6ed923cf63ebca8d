"""The conditions of a rule: ``where`` in our form, read once and bound to each call on its own."""

from __future__ import annotations

from torov.callshape import Call
from torov.policy import args
from torov.policy.jsonfile import Place, show
from torov.policy.model import ADDR, ANY, FULL, PATH, RANGE, Address, Cond
from torov.policy.pattern import BadPattern, expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.policy.model import Test

KEYS = "arg is not mask range path not-path address not-address"
_VALUE = 'a number, as 3 or "0x1b6", or names of constants, as "O_CREAT|O_EXCL"'


def read(place: Place) -> Test:
    """Read one condition.

    Raises:
        PolicyError: it breaks the form.
    """
    members = place.members("", KEYS)
    kinds = [key for key in members if key not in ("arg", "mask")]
    if len(kinds) != 1:
        got = " and ".join(kinds) if kinds else "none"
        raise place.error('one of "is", "not", "range", "path", "not-path", "address", "not-address"', got)
    kind = kinds[0]
    if "mask" in members and kind not in ("is", "not"):
        raise members["mask"].error('"mask" with "is" or "not" only', f"it with {show(kind)}")
    if kind.endswith("address"):
        if "arg" in members:
            raise members["arg"].error('no "arg" with an address', show(members["arg"].value))
        from torov.policy.addresses import read_addresses

        return _Address(place, read_addresses(members[kind]), kind.startswith("not"))
    if kind.endswith("path"):
        return _Path(place, members.get("arg"), members[kind], kind.startswith("not"))
    if "arg" not in members:
        raise place.error(f'"arg", the argument that "{kind}" is about', "a condition without it")
    return _Value(members, kind)


def _list(place: Place) -> list[Place]:
    items = place.items() if isinstance(place.value, list) else [place]
    if not items:
        raise place.error("at least one value", "an empty array")
    return items


def _no_argument(place: Place, call: Call, expected: str, known: list[str]) -> Exception:
    import difflib

    near = difflib.get_close_matches(str(place.value)[:64], known, 1)
    return place.error(expected, f"{show(place.value)}, which {call.name} has not", near[0] if near else "")


class _Value:
    """``is``, ``not`` and ``range``: numbers."""

    def __init__(self, members: dict[str, Place], kind: str) -> None:
        self.arg, self.kind, self.negate = members["arg"], kind, kind == "not"
        self.arg.text("the name of an argument, as flags")
        self.mask = members.get("mask")
        self.values = members[kind].items() if kind == "range" else _list(members[kind])
        if kind == "range" and len(self.values) != 2:
            raise members[kind].error("an array of the lowest and the highest value", f"an array of {len(self.values)}")
        for value in self.values + ([self.mask] if self.mask else []):
            if isinstance(value.value, bool) or not isinstance(value.value, int | str):
                raise value.error(_VALUE)

    def bind(self, call: Call, named: bool, strictly: bool) -> list[tuple[Cond, ...]] | None:
        where = args.find(call, str(self.arg.value))
        if where is None:
            if named:
                raise _no_argument(self.arg, call, f"an argument of {call.name}", args.names(call))
            return None
        numbers = [_number(value, call, where, named) for value in self.values]
        mask = _number(self.mask, call, where, named) if self.mask else None
        if (self.mask and mask is None) or any(number is None for number in numbers):
            return None
        return self._conds(where, [number for number in numbers if number is not None], mask)

    def _conds(self, where: args.Where, numbers: list[int], mask: int | None) -> list[tuple[Cond, ...]]:
        full = (1 << where.width) - 1
        mask = full if mask is None else mask & full
        text = self._text()
        if self.kind == "range":
            lo, hi = self._range(where, *numbers)
            wraps = lo < 0 <= hi
            lo, hi = (hi + 1, (lo & full) - 1) if wraps else (lo & full, hi & full)
            conds = [Cond(RANGE, 0, mask=mask, lo=lo, hi=hi, negate=wraps, text=text)] if lo <= hi else []
            if not conds:  # from the lowest to the highest value there is
                return [()]
        else:
            wanted = sorted({number & full for number in numbers})
            for number, place in zip(numbers, self.values, strict=True):
                if number & full & ~mask:
                    raise place.error("a value within the mask", f"{show(place.value)} with mask {mask:#x}")
            if len(wanted) == 1:
                conds = [Cond(RANGE, 0, mask=mask, lo=wanted[0], hi=wanted[0], negate=self.negate, text=text)]
            else:
                conds = [Cond(ANY, 0, values=wanted, mask=mask, negate=self.negate, text=text)]
        cond = conds[0]
        if where.register < 0:
            value = where.value & cond.mask
            inside = value in cond.values if cond.op == ANY else cond.lo <= value <= cond.hi
            return [()] if inside != cond.negate else []
        cond.arg = where.register
        if where.field >= 0:
            cond.field, cond.width = where.field, 8
        return [(cond,)]

    def _range(self, where: args.Where, lo: int, hi: int) -> tuple[int, int]:
        least = -(1 << where.width - 1) if where.signed else 0
        most = (1 << where.width - where.signed) - 1
        for number, place in zip((lo, hi), self.values, strict=True):
            if not least <= number <= most:
                raise place.error(f"a number from {least} to {most}")
        if lo > hi:
            raise self.values[0].error(
                "the lowest value first", f"{show(self.values[0].value)} above {show(self.values[1].value)}"
            )
        return lo, hi

    def _text(self) -> str:
        values = [str(place.value) if isinstance(place.value, int) else place.value for place in self.values]
        name = f"{self.arg.value} & {self.mask.value}" if self.mask else str(self.arg.value)
        if self.kind == "range":
            return f"{values[0]} <= {name} <= {values[1]}"
        if len(values) == 1:
            return f"{name} {'!=' if self.negate else '=='} {values[0]}"
        return f"{name} {'not in' if self.negate else 'in'} {', '.join(map(str, values))}"


def _number(place: Place, call: Call, where: args.Where, named: bool) -> int | None:
    """A value as a number; None for a constant that the argument of a call in a group does not have."""
    value = place.value
    number = value if isinstance(value, int) else _names(place, call, where, named)
    if number is not None and not -(1 << where.width - 1) <= number < 1 << where.width:
        raise place.error(f"a number of {where.width} bits, which {call.name} looks at")
    return number


def _names(place: Place, call: Call, where: args.Where, named: bool) -> int | None:
    total = 0
    for word in str(place.value).split("|"):
        name = word.strip()
        number = where.names.get(name)
        if number is None and name[:1].isdigit():
            try:
                number = int(name if "_" not in name else "", 0)
            except ValueError:
                hint = f"0o{name.lstrip('0')}" if name.isdecimal() else ""
                raise place.error(_VALUE, hint=hint) from None
        if number is None:
            if not named and (name in _every_name() or name.isupper()):
                return None
            import difflib

            near = difflib.get_close_matches(name[:64].upper(), where.names, 1)
            what = f"a number or a constant of {call.name}'s argument" if where.names else "a number"
            raise place.error(what, show(name), near[0] if near else "")
        total |= number
    return total


def _every_name() -> set[str]:
    from torov.constants import TABLES

    return {name for table in TABLES.values() for name in table.names}


class _Path:
    """``path`` and ``not-path``: patterns on what a path resolves to."""

    def __init__(self, place: Place, arg: Place | None, value: Place, negate: bool) -> None:
        self.place, self.arg, self.negate = place, arg, negate
        if arg:
            arg.text("the name of an argument, as oldpath")
        self.patterns: list[bytes] = []
        texts = []
        for item in _list(value):
            text = item.text("a path pattern, as /usr/**")
            try:
                self.patterns += expand(text)
            except BadPattern as error:
                raise item.error("a path pattern, as /usr/**", str(error)) from None
            texts.append(text)
        self.text = f"{'is not' if negate else 'is'} {', '.join(texts)}"

    def bind(self, call: Call, named: bool, strictly: bool) -> list[tuple[Cond, ...]] | None:
        registers = args.paths(call)
        if self.arg:
            registers = [at for at in registers if call.args[at].name == self.arg.value]
        if not registers:
            if named and self.arg:
                raise _no_argument(self.arg, call, f"a path of {call.name}", [call.args[at].name for at in args.paths(call)])
            if named:
                raise self.place.error("calls with a path", f"{call.name}, which has none")
            return None
        conds = [
            Cond(PATH, at, values=self.patterns, negate=self.negate, text=f"{call.args[at].name} {self.text}") for at in registers
        ]
        # a rule that refuses must not be passed by with one harmless path; one that allows must not let one slip through
        return [(cond,) for cond in conds] if strictly else [tuple(conds)]


class _Address:
    """``address`` and ``not-address``: whom a socket is connected, bound or sent to."""

    def __init__(self, place: Place, found: tuple[list[Address], str], negate: bool) -> None:
        self.place, self.negate = place, negate
        self.addresses, text = found
        self.text = f"address {'is not' if negate else 'is'} {text}"

    def bind(self, call: Call, named: bool, strictly: bool) -> list[tuple[Cond, ...]] | None:
        register = args.address(call)
        if register is None:
            if named:
                raise self.place.error("calls with a socket address", f"{call.name}, which has none")
            return None
        return [(Cond(ADDR, register, values=self.addresses, negate=self.negate, text=self.text),)]


class Compared:
    """A comparison of a whole register, as seccomp makes it.

    Args:
        register: 0 to 5.
        mask, lo, hi: lo <= (value & mask) <= hi.
        negate: or not.
        text: as a person reads it.
    """

    def __init__(self, register: int, *, lo: int, hi: int, mask: int = FULL, negate: bool = False, text: str = "") -> None:
        self.cond = Cond(RANGE, register, mask=mask, lo=lo, hi=hi, negate=negate, text=text)

    def bind(self, call: Call, named: bool, strictly: bool) -> list[tuple[Cond, ...]] | None:
        return [(self.cond,)]
