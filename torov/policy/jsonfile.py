"""Reading policy files: strict JSON, and a cursor that turns every surprise into one PolicyError.

Strict means RFC 8259 in UTF-8 with unique names in each object, no NaN, at most 1 MiB. A Place is a value
together with where it stands, so that an error can name it: ``rules[3].calls[0]``.
"""

from __future__ import annotations

from torov.errors import PolicyError

MAX_SIZE = 1 << 20
TOP = "top level"


class _Object(dict[str, object]):
    """A JSON object that remembers the name it has twice, if any."""

    twice: str | None = None


def read(file: str) -> Place:
    """Read a policy file.

    Args:
        file: path; a pipe will do.

    Returns:
        The Place of the whole document.

    Raises:
        PolicyError: it cannot be read, is not UTF-8, or is not JSON; says where.
    """
    return parse(file, contents(file))


def contents(file: str) -> bytes:
    """The bytes of a policy file.

    Args:
        file: path; a pipe will do.

    Raises:
        PolicyError: it cannot be read, or is too large.
    """
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PolicyError(file, "file", "a policy that can be read", why[:1].lower() + why[1:]) from None
    if len(data) > MAX_SIZE:
        raise PolicyError(file, "file", f"at most {MAX_SIZE} bytes", "more")
    return data


def parse(file: str, data: bytes) -> Place:
    """Parse the contents of a policy file.

    Args:
        file: what errors call it.
        data: the bytes.

    Returns:
        The Place of the whole document.

    Raises:
        PolicyError: it is not UTF-8 or not JSON; says where.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(file, f"line {line}", "UTF-8", f"byte {data[error.start]:#04x}") from None
    try:
        value = _quick(text)
    except (ImportError, AttributeError, TypeError, ValueError, StopIteration, RecursionError, SystemError):
        value = _careful(file, text)  # says what is wrong
    return Place(file, "", value)


class _Context:
    """What the scanner of the json package takes its settings from."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def object_pairs_hook(pairs: list[tuple[str, object]]) -> _Object:
        return _object(pairs)

    @staticmethod
    def parse_constant(name: str) -> object:
        raise ValueError(name)


def _quick(text: str) -> object:
    """Parse a right policy without the json package: it imports re, which takes longer than all else here.

    The scanner is json's own, and private: whatever it raises, _careful decides.
    """
    from _json import make_scanner

    blank = " \t\n\r"
    scan = make_scanner(_Context)  # type: ignore[arg-type]  # typeshed names the class itself
    value, end = scan(text, len(text) - len(text.lstrip(blank)))
    if text[end:].strip(blank):
        raise ValueError("more behind the value")
    return value


def _careful(file: str, text: str) -> object:
    """Parse with the json package; raises PolicyError as parse does."""
    import json

    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_Context.parse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        got = show(text[error.pos]) if error.pos < len(text) else "the end of the file"
        expected = error.msg.removeprefix("Expecting ")
        if expected == "Extra data":
            expected = "the end of the file"
        elif expected == error.msg:
            expected, got = "JSON", f"{error.msg[:1].lower()}{error.msg[1:]}".removesuffix(" at")
        raise PolicyError(file, where, expected, got) from None
    except RecursionError:
        raise PolicyError(file, TOP, "a policy", "objects or arrays nested too deep") from None
    except ValueError as error:  # a constant below, or a number of thousands of digits
        got = str(error) if str(error) in _CONSTANTS else "a number with too many digits"
        raise PolicyError(file, TOP, "JSON", got) from None


_CONSTANTS = ("NaN", "Infinity", "-Infinity")


def _object(pairs: list[tuple[str, object]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        found.twice = next(name for index, name in enumerate(names) if name in names[:index])
    return found


def show(value: object) -> str:
    """A value as an error message shows it: JSON's own words, in ASCII, short, on one line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value)[:40]
    quote = "'" if '"' in value[:40] else '"'
    more = "..." if len(value) > 40 else ""
    return f"{quote}{ascii(value[:40])[1:-1]}{more}{quote}"


class Place:
    """A value in a policy file and where it stands.

    Fields:
        file: the file's name.
        path: as ``rules[3].calls``; empty for the whole document.
        value: what json makes of it.
    """

    __slots__ = ("file", "path", "value")

    def __init__(self, file: str, path: str, value: object) -> None:
        self.file, self.path, self.value = file, path, value

    def error(self, expected: str, got: str = "", hint: str = "") -> PolicyError:
        """The error for this place, to raise; ``got`` defaults to the value."""
        return PolicyError(self.file, self.path or TOP, expected, got or show(self.value), hint)

    def members(self, required: str, optional: str = "", *, fold: bool = False) -> dict[str, Place]:
        """The members of an object.

        Args:
            required: names that must be there, separated by blanks.
            optional: names that may; ``comment``, a string, always may.
            fold: names may be written in any case.

        Returns:
            Name as written in ``required`` or ``optional`` to its Place; without the comment.

        Raises:
            PolicyError: not an object, or a name that is unknown, missing or there twice.
        """
        value = self.value
        if not isinstance(value, _Object):
            raise self.error("an object")
        if value.twice is not None:
            raise self.error("each name once", f"{show(value.twice)} twice")
        known = {_fold(name, fold): name for name in f"{required} {optional} comment".split()}
        found: dict[str, Place] = {}
        for written, inside in value.items():
            name = known.get(_fold(written, fold))
            if name is None:
                wanted = f"one of {', '.join(known.values())}" if len(known) < 12 else "a member that docs/policy.md lists"
                raise self.error(wanted, show(written), _nearest(written, list(known.values())))
            if name in found:
                raise self.error("each name once", f"{show(written)} twice")
            found[name] = Place(self.file, f"{self.path}.{name}" if self.path else name, inside)
        for name in required.split():
            if name not in found:
                raise self.error(f'"{name}"', "an object without it")
        if "comment" in found:
            found.pop("comment").text()
        return found

    def entries(self) -> dict[str, Place]:
        """The members of an object whose names the file chooses.

        Raises:
            PolicyError: not an object, or a name is there twice.
        """
        if not isinstance(self.value, _Object):
            raise self.error("an object")
        if self.value.twice is not None:
            raise self.error("each name once", f"{show(self.value.twice)} twice")
        return {name: Place(self.file, f"{self.path}.{name}", inside) for name, inside in self.value.items()}

    def items(self) -> list[Place]:
        """The items of an array.

        Raises:
            PolicyError: not an array.
        """
        if not isinstance(self.value, list):
            raise self.error("an array")
        return [Place(self.file, f"{self.path}[{index}]", item) for index, item in enumerate(self.value)]

    def text(self, expected: str = "a string") -> str:
        """The string that stands here.

        Raises:
            PolicyError: not a string.
        """
        if not isinstance(self.value, str):
            raise self.error(expected)
        return self.value


def _fold(name: str, fold: bool) -> str:
    return name.casefold() if fold else name


def _nearest(name: str, names: list[str]) -> str:
    import difflib

    low = {known.casefold(): known for known in names}
    return next((low[near] for near in difflib.get_close_matches(name[:64].casefold(), low, 1)), "")
