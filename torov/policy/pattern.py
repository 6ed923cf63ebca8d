"""Path patterns: ``*`` any bytes but "/", ``**`` any bytes, ``?`` one byte but "/", ``[abc]`` ``[a-z]`` ``[!a]`` one byte of
(not of) these and never "/", ``\\`` quotes the next byte; ``/dir/**`` also matches ``/dir``. ``{a,b}`` is expanded here, so
that the core knows the rest only. Bytes, no case folding.
"""

from __future__ import annotations

import os

MOST = 1024  # patterns that one text may expand to
LONGEST = 4096


class BadPattern(ValueError):
    """A pattern that cannot be meant; the message says what is wrong with it."""


def expand(text: str, *, anywhere: bool = False) -> list[bytes]:
    """The patterns of one text, checked.

    Args:
        text: as a policy has it.
        anywhere: it may also start otherwise than "/" or "**", for names of Unix sockets.

    Returns:
        Patterns for the core, without braces.

    Raises:
        BadPattern: it is none, or can match nothing.
    """
    found = []
    for word in _braces(text):
        try:
            data = os.fsencode(word)
        except UnicodeEncodeError:
            raise BadPattern("a character that no file name has") from None
        _check(data, anywhere)
        if data not in found:
            found.append(data)
    return found


def _braces(text: str) -> list[str]:
    """Expand ``{a,b}``, nested or not."""
    start = _find(text, "{", 0)
    stray = _find(text, "}", 0)
    if start < 0:
        if stray >= 0:
            raise BadPattern('a "}" without "{"; write "\\}" for the character')
        return [text]
    if 0 <= stray < start:
        raise BadPattern('a "}" without "{"; write "\\}" for the character')
    depth, parts, begin, index = 0, [], start + 1, start
    while index < len(text):
        char = text[index]
        if char == "\\":
            index += 1
        elif char == "{":
            depth += 1
        elif char == "," and depth == 1:
            parts.append(text[begin:index])
            begin = index + 1
        elif char == "}":
            depth -= 1
            if not depth:
                break
        index += 1
    else:
        raise BadPattern('a "{" without "}"; write "\\{" for the character')
    parts.append(text[begin:index])
    found = []
    for part in parts:
        found += _braces(text[:start] + part + text[index + 1 :])
        if len(found) > MOST:
            raise BadPattern(f"more than {MOST} patterns in one")
    return found


def _find(text: str, char: str, index: int) -> int:
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == char:
            return index
        index += 1
    return -1


def _check(data: bytes, anywhere: bool) -> None:
    if not anywhere and not data.startswith((b"/", b"**")):
        raise BadPattern('not absolute: paths are resolved first, so a pattern starts with "/" or "**"')
    if len(data) > LONGEST:
        raise BadPattern(f"longer than {LONGEST} bytes")
    if b"\0" in data:
        raise BadPattern("a NUL")
    if not anywhere or data.startswith(b"/"):
        if len(data) > 1 and data.endswith(b"/"):
            raise BadPattern('a "/" at its end, which a resolved path has not; write /dir, or /dir/** for what is in it too')
        if {b".", b".."} & set(data.split(b"/")) or b"//" in data:
            raise BadPattern('"//", "." or "..", which a resolved path has not')
    index = 0
    while index < len(data):
        if data[index : index + 1] == b"\\":
            if index + 1 == len(data):
                raise BadPattern('a "\\" that quotes nothing')
            index += 1
        elif data[index : index + 1] == b"[":
            index = _class(data, index + 1)
        index += 1


def _class(data: bytes, start: int) -> int:
    """Check what stands in brackets; return where they close."""
    end = data.find(b"]", start)
    inside = data[start:end].removeprefix(b"!")
    if end < 0 or not inside:
        raise BadPattern('a "[" without its "]" or with nothing in it; write "\\[" for the character')
    if not inside.isascii() or b"/" in inside or b"[" in inside or b"\\" in inside or b"{" in inside:
        raise BadPattern('brackets with something else than ASCII characters but "/", "[" and "\\"')
    if inside.startswith(b"^"):
        raise BadPattern('"[^", which is written "[!"')
    for index in range(1, len(inside) - 1):
        if inside[index] == ord("-") and inside[index - 1] > inside[index + 1]:
            raise BadPattern(f"the range {inside[index - 1 : index + 2].decode()}, which is empty")
    return end


def matches(pattern: bytes, path: bytes) -> bool:
    """Whether a path matches a pattern that expand() made, as the core decides it."""
    p, s = 0, 0
    star = deep = (-1, 0)
    while True:
        step = _one(pattern, p, path[s]) if p < len(pattern) and s < len(path) else 0
        if pattern[p : p + 2] == b"**":
            p += 2
            deep, star = (p, s), (-1, 0)
        elif pattern[p : p + 1] == b"*":
            p += 1
            star = (p, s)
        elif p == len(pattern) and s == len(path):
            return True
        elif step:
            p, s = p + step, s + 1
        elif s == len(path) and pattern[p:] == b"/**":
            return True
        elif star[0] >= 0 and star[1] < len(path) and path[star[1]] != 0x2F:
            star = (star[0], star[1] + 1)
            p, s = star
        elif deep[0] >= 0 and deep[1] < len(path):
            deep, star = (deep[0], deep[1] + 1), (-1, 0)
            p, s = deep
        else:
            return False


def _one(pattern: bytes, p: int, byte: int) -> int:
    """How many bytes of the pattern match one byte; 0: they do not."""
    char = pattern[p : p + 1]
    if char == b"?":
        return int(byte != 0x2F)
    if char == b"[":
        end = pattern.index(b"]", p)
        inside = pattern[p + 1 : end]
        found = _in_class(inside.removeprefix(b"!"), byte) != inside.startswith(b"!")
        return end + 1 - p if found and byte != 0x2F else 0
    if char == b"\\":
        return 2 if pattern[p + 1] == byte else 0
    return int(pattern[p] == byte)


def _in_class(inside: bytes, byte: int) -> bool:
    index = 0
    while index < len(inside):
        low = high = inside[index]
        if inside[index + 1 : index + 2] == b"-" and index + 2 < len(inside):
            high = inside[index + 2]
            index += 2
        index += 1
        if low <= byte <= high:
            return True
    return False


def covers(wide: bytes, narrow: bytes) -> bool:
    """Whether everything that one pattern matches surely matches another; False if in doubt."""
    if wide == narrow or wide == b"**":
        return True
    if not set(narrow) & set(b"*?[\\"):
        return matches(wide, narrow)
    if wide == b"/**":
        return narrow.startswith(b"/")
    head = wide.removesuffix(b"**")
    return head != wide and head.endswith(b"/") and not set(head) & set(b"*?[\\") and narrow.startswith(head)
