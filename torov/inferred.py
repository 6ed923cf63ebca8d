"""``torov policy infer``: a policy from the binary alone, which allows the calls that it contains."""

from __future__ import annotations

import os
from typing import NamedTuple

from torov.callshape import DENY, HOST
from torov.loader import elf
from torov.rewrite import pclntab, symtab
from torov.rewrite.infer import Inferred, infer
from torov.syscalls import by_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from torov.loader.image import Image

_REASONS = 8


class Contents(NamedTuple):
    """What a binary contains.

    Attributes:
        file: as the user gave it.
        found: the numbers of each site.
        names: start address of a function to its name, where the file has names.
        calls: names of the calls that torov serves, ascending.
        guarded: names of those that change the host, so that no policy should allow them unasked.
        unserved: names of those that torov does not serve.
        dynamic: it loads libraries, whose calls are not in it.
    """

    file: str
    found: Inferred
    names: dict[int, str]
    calls: tuple[str, ...]
    guarded: tuple[str, ...]
    unserved: tuple[str, ...]
    dynamic: bool


def contents(file: str) -> Contents:
    """Read a binary.

    Args:
        file: path of the program.

    Returns:
        what it contains.

    Raises:
        LoadError, NotFound: the file is not a program that can be loaded.
        RewriteError: the file holds more pairs than any program.
    """
    image = elf.load(file)
    found = infer(image)
    rows = sorted((row for nr in found.calls if (row := by_number(nr)) is not None), key=lambda row: row.name)
    guarded = [row.name for row in rows if row.serve == HOST and row.default != "allow"]
    unserved = [row.name for row in rows if row.serve == DENY]
    calls = [row.name for row in rows if row.name not in guarded and row.name not in unserved]
    names = _names(image, found)
    return Contents(file, found, names, tuple(calls), tuple(guarded), tuple(unserved), image.interp is not None)


def policy(made: Contents) -> dict[str, Any]:
    """Write the policy of what a binary contains.

    Returns:
        a document in our form: its calls are allowed by groups, everything else is denied.
    """
    groups: dict[str, list[str]] = {}
    for name in made.calls:
        row = next(row for nr in made.found.calls if (row := by_number(nr)) is not None and row.name == name)
        group = next((group for group in row.groups if group != "default"), "default")
        groups.setdefault(group, []).append(name)
    rules = [
        {"calls": calls, "action": "allow", "comment": f"inferred: {group}"} for group, calls in sorted(groups.items())
    ]  # fmt: skip
    comment = ". ".join((f"inferred by torov policy infer from {os.path.basename(made.file)}", *notes(made)))
    return {"torov": 1, "comment": comment, "default": "deny", "rules": rules}


def notes(made: Contents) -> list[str]:
    """What a user has to know of the policy, a sentence each, without full stops."""
    found = made.found
    lines = [f"{len(found.sites)} system call instructions, {len(found.sites) - found.unknown} known"]
    for address in sorted(found.reasons)[:_REASONS]:
        some = sorted(nr for nr in found.partial[address] if by_number(nr))
        more = f", besides {_listed(some)}" if some else ""
        lines.append(f"Unknown which calls {where(made, address)} makes{more}: {found.reasons[address]}")
    if found.unknown > _REASONS:
        lines.append(f"Unknown too: {found.unknown - _REASONS} more")
    if made.guarded:
        lines.append(f"Contained and not allowed, since they change the host: {', '.join(made.guarded)}")
    if made.unserved:
        lines.append(f"Contained and not served: {', '.join(made.unserved)}")
    if made.dynamic:
        lines.append("It is dynamic: the calls of its libraries are not in it, so this policy is not enough for it to run")
    return lines


def where(made: Contents, address: int) -> str:
    """A site as a person reads it: with its function, where there is a name."""
    start = made.found.functions.get(address)
    name = made.names.get(start) if start is not None else None
    return f"{address:#x} ({name})" if name else f"{address:#x}"


def document(made: Contents) -> dict[str, object]:
    """All that was found, as plain values: addresses are numbers, calls are names, ``null`` is unknown."""
    found = made.found

    def named(numbers: frozenset[int] | None) -> list[str] | None:
        return None if numbers is None else [row.name if (row := by_number(nr)) else f"{nr:#x}" for nr in sorted(numbers)]

    sites = [{
        "address": address,
        "function": found.functions.get(address),
        "function_name": made.names.get(found.functions.get(address, -1)),
        "calls": named(numbers),
        "partial": named(found.partial.get(address)),
        "reason": found.reasons.get(address),
    } for address, numbers in sorted(found.sites.items())]  # fmt: skip
    return {
        "file": made.file, "calls": list(made.calls), "guarded": list(made.guarded), "unserved": list(made.unserved),
        "dynamic": made.dynamic, "unknown": found.unknown, "sites": sites,
    }  # fmt: skip


def _listed(numbers: list[int]) -> str:
    names = [row.name for nr in numbers if (row := by_number(nr)) is not None]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _names(image: Image, found: Inferred) -> dict[int, str]:
    wanted = set(found.functions.values())
    names = symtab.names(image, wanted)
    go = pclntab.find(image) if len(names) < len(wanted) else None
    if go is not None:
        names |= {start: name for start in wanted - names.keys() if (name := go.name(start)) is not None}
    return names
