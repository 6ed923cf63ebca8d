"""Where the items of an array stand in a JSON text: a denial names the line of its rule."""

from __future__ import annotations


def item_lines(text: str, name: str) -> list[int]:
    """The lines on which the items of an array of the top-level object begin.

    Args:
        text: a JSON document that was parsed already.
        name: the array's name; in any case.

    Returns:
        Line numbers from 1; empty if there is no such array.
    """
    found: list[int] = []
    depth, line, index = 0, 1, 0
    key = last = ""
    inside = False  # in the array, between its items
    size = len(text)
    while index < size:
        char = text[index]
        if char == "\n":
            line += 1
        elif char in " \t\r":
            pass
        elif char == '"':
            end = _string_end(text, index + 1)
            if inside and depth == 2:
                found.append(line)
                inside = False
            last = text[index + 1 : end]
            index = end
        elif char == ":":
            if depth == 1:
                key = last
        elif char in "[{":
            if inside and depth == 2:
                found.append(line)
                inside = False
            depth += 1
            if depth == 2 and char == "[" and key.casefold() == name.casefold():
                inside = True
        elif char in "]}":
            depth -= 1
            if depth == 1:
                key, inside = "", False
        elif char == ",":
            if depth == 2 and key.casefold() == name.casefold():
                inside = True
        elif inside and depth == 2:  # a number, or a word
            found.append(line)
            inside = False
        index += 1
    return found


def _string_end(text: str, index: int) -> int:
    while True:
        end = text.index('"', index)
        back = end
        while text[back - 1] == "\\":
            back -= 1
        if (end - back) % 2 == 0:
            return end
        index = end + 1
