"""The table of system calls: look-up by number and by name, and the groups that policies name.

CALLS has one row for every x86-64 system call (torov/calls_x86_64.py); a number without a row does not
exist, and Linux answers it with ENOSYS. What a row says is described in torov/callshape.py.
"""

from __future__ import annotations

from torov.calls_x86_64 import CALLS
from torov.callshape import CORE, DENY, HOST, Arg, Call

__all__ = ["CALLS", "CORE", "DENY", "GROUPS", "HOST", "LIMIT", "Arg", "Call"]
__all__ += ["by_name", "by_number", "name_of", "nearest", "nearest_group"]

LIMIT = 512
"""Numbers from here on are not looked up: no native x86-64 call is there (512 to 547 belong to x32)."""

_SYSTEM_SERVICE = (
    "aio basic-io chown credentials default file-system io-control io-event ipc keyring memlock memory "
    "network-io numa process resources sandbox setuid signal sync system-info time timer"
)

_BY_NUMBER = {call.nr: call for call in CALLS}
_BY_NAME = {call.name: call for call in CALLS}


def _groups() -> dict[str, tuple[Call, ...]]:
    found: dict[str, list[Call]] = {}
    for call in CALLS:
        for group in call.groups:
            found.setdefault(group, []).append(call)
    groups = {group: tuple(found[group]) for group in sorted(found)}
    wide = set(_SYSTEM_SERVICE.split())
    groups["known"] = CALLS
    groups["system-service"] = tuple(
        call for call in CALLS if wide.intersection(call.groups) and "clock" not in call.groups
    )
    return groups


GROUPS: dict[str, tuple[Call, ...]] = _groups()
"""Name of a group, without the ``@`` that policies write, to its calls."""


def by_number(nr: int) -> Call | None:
    """The row of a number, or None if x86-64 Linux has no such call."""
    return _BY_NUMBER.get(nr)


def by_name(name: str) -> Call | None:
    """The row of a name as asm/unistd_64.h spells it (``newfstatat``, ``pread64``), or None."""
    return _BY_NAME.get(name)


def name_of(nr: int) -> str:
    """The name of a syscall number, or the number itself where Linux has no such call."""
    call = _BY_NUMBER.get(nr)
    return call.name if call else f"syscall {nr}"


def nearest(name: str) -> str:
    """The name in the table most like ``name``, for a hint; an empty string if none is near."""
    return _nearest(name, _BY_NAME)


def nearest_group(name: str) -> str:
    """The name of a group most like ``name``, for a hint; an empty string if none is near."""
    return _nearest(name, GROUPS)


def _nearest(name: str, names: dict[str, Call] | dict[str, tuple[Call, ...]]) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(name[:64].lower(), names, 1)), "")
