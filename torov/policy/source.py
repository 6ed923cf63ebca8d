"""A policy file with all that it extends: which form each file has, and their rules in order of precedence.

Own rules come first, then those of the files in "extends", in order, each with what it extends in turn. The default is
that of the file itself; other settings that it does not have come from the files that it extends.
"""

from __future__ import annotations

import os

from torov.policy import form, settings, torov_form
from torov.policy.compile import MAX_RULES
from torov.policy.jsonfile import Place, contents, parse
from torov.policy.lines import item_lines
from torov.policy.model import Action, Rule

MOST_FILES = 64


class Source:
    """What files say, before it is compiled.

    Fields:
        file: the first file, as errors call it.
        form: "torov", "oci" or "configuration".
        rules: in order of precedence.
        default: for calls that no rule decides; None for what the table says.
        name_of_default: as the file names it.
        settings: what it says besides.
        files: absolute path and contents of every file that was read.
    """

    __slots__ = ("default", "file", "files", "form", "name_of_default", "rules", "settings")

    def __init__(self, file: str) -> None:
        self.file, self.form = file, "torov"
        self.rules: list[Rule] = []
        self.default: Action | None = None
        self.name_of_default = "builtin"
        self.settings = settings.Settings()
        self.files: dict[str, bytes] = {}


def read(file: str, data: bytes, capabilities: frozenset[str] | None = None) -> Source:
    """Read a policy and what it extends.

    Args:
        file: what errors call it; files that it extends are relative to its directory.
        data: its contents.
        capabilities: names that OCI profiles are read with; None for those of the files, or Docker's default.

    Raises:
        PolicyError: a file cannot be read or breaks its form, or files extend each other in a circle.
    """
    source = Source(file)
    path = os.path.abspath(file)
    source.files[path] = data
    _read(source, parse(file, data), data, (path,), capabilities, capabilities is not None)
    if len(source.rules) > MAX_RULES:
        raise parse(file, data).error(f"at most {MAX_RULES} rules", f"{len(source.rules)}")
    return source


def _read(
    source: Source, top: Place, data: bytes, stack: tuple[str, ...], capabilities: frozenset[str] | None, fixed: bool
) -> None:
    """Read one file into a source, then those that it extends."""
    if not isinstance(top.value, dict):
        raise top.error("an object")
    names = {str(name).casefold() for name in top.value}
    text = data.decode("utf-8")
    if "torov" in names:
        _ours(source, top, text, stack, capabilities, fixed)
    elif "defaultaction" in names:
        from torov.policy import oci

        source.form = "oci"
        source.rules, source.default = oci.read(top, item_lines(text, "syscalls"), capabilities)
        source.name_of_default = str(source.default)
    elif names.intersection(torov_form.KEYS.casefold().split()):
        source.form = "configuration"
        source.rules, source.default, source.settings = torov_form.read(top, item_lines(text, "Hypercalls"))
        source.name_of_default = "deny"
    else:
        raise top.error('"torov": 1, "Hypercalls" as ToroV has it, or "defaultAction" as a seccomp profile has it', "neither")


def _ours(
    source: Source, top: Place, text: str, stack: tuple[str, ...], capabilities: frozenset[str] | None, fixed: bool
) -> None:
    members = top.members("torov default", f"extends rules {settings.KEYS}")
    own = settings.read(members)
    if own.capabilities is not None and not fixed:
        capabilities = own.capabilities
    bases = [_base(source, place, stack, capabilities, fixed) for place in _extends(members)]
    for base in bases:
        if base:
            own.inherit(base.settings)
    rules, source.default, source.name_of_default = form.read(top, members, item_lines(text, "rules"), set(own.delegates or {}))
    source.rules = rules + [rule for base in bases if base for rule in base.rules]
    source.settings = own


def _extends(members: dict[str, Place]) -> list[Place]:
    if "extends" not in members:
        return []
    place = members["extends"]
    return place.items() if isinstance(place.value, list) else [place]


def _base(
    source: Source, place: Place, stack: tuple[str, ...], capabilities: frozenset[str] | None, fixed: bool
) -> Source | None:
    """Read a file that another extends; None if its rules are there already, further up."""
    name = place.text("the path of a policy, or an array of them")
    if not name or "\0" in name:
        raise place.error("the path of a policy, or an array of them")
    file = os.path.join(os.path.dirname(place.file), name)
    path = os.path.abspath(file)
    if path in stack:
        raise place.error("a policy that does not extend this one", name)
    if path in source.files:
        return None
    if len(source.files) >= MOST_FILES:
        raise place.error(f"at most {MOST_FILES} files", "more")
    base = Source(file)
    base.files = source.files  # one set for all
    base.files[path] = data = contents(file)
    _read(base, parse(file, data), data, (*stack, path), capabilities, fixed)
    return base
