"""ToroV's own configuration file, as its samples have it.

    { "Binary": "HelloWorld.bin", "MountPoint": "./mountpoint", "Newpid": "False", "Startaddr": "400200",
      "Debug": { "Allowed": "False", "Port": "1234" },
      "Hypercalls": [ { "Name": "Write", "Allowed": "True" } ] }

Hypercalls is a list of what is allowed; docs/policy.md says what that means for a program that was not linked
with ToroV's run-time library.
"""

from __future__ import annotations

import os

from torov.policy.compile import ALWAYS
from torov.policy.form import NEEDED, label
from torov.policy.jsonfile import Place
from torov.policy.model import ALLOWED, DENIED, Action, Rule
from torov.policy.settings import Settings
from torov.syscalls import by_name, nearest

KEYS = "Binary MountPoint Newpid Startaddr Debug Hypercalls"

_INSIDE = """
    arch_prctl brk madvise mmap mprotect mremap munmap rt_sigaction rt_sigprocmask set_robust_list
    set_tid_address sigaltstack
"""
INSIDE = frozenset(_INSIDE.split())
"""Calls about the program's own memory, signals and thread, which are served inside the virtual machine.

ToroV's lists name what goes out to the host and never these, and a C library cannot start without them.
"""


def read(top: Place, lines: list[int]) -> tuple[list[Rule], Action, Settings]:
    """Read a configuration of ToroV.

    Args:
        top: the whole document.
        lines: the line of each item of Hypercalls.

    Returns:
        The rules, the default, and the settings.

    Raises:
        PolicyError: the document breaks the form.
    """
    members = top.members("Hypercalls", KEYS, fold=True)
    settings = Settings()
    if "Binary" in members:
        settings.binary = _file(members["Binary"])
    if "MountPoint" in members:
        settings.mount_point = _file(members["MountPoint"])
        settings.root = beside(top.file, settings.mount_point)
    if "Newpid" in members:
        settings.newpid = _truth(members["Newpid"])
        if settings.newpid:
            settings.namespaces = ["pid"]
    if "Startaddr" in members:
        settings.startaddr = _address(members["Startaddr"])
    if "Debug" in members:
        debug = members["Debug"].members("Allowed", "Port", fold=True)
        settings.debug_allowed = _truth(debug["Allowed"])
        settings.debug_port = _port(debug["Port"]) if "Port" in debug else None
    # ToroV answers -1 for a call that is not allowed, and that is -EPERM.
    rules = _hypercalls(members["Hypercalls"], lines)
    rules.append(
        Rule(INSIDE, frozenset(), ALLOWED, label=f"{top.file}: a program's own memory, signals and thread", literal=True)
    )
    return rules, DENIED, settings


def beside(file: str, path: str) -> str:
    """The absolute path of what a configuration names relative to its own place."""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(file)), path))


def _hypercalls(place: Place, lines: list[int]) -> list[Rule]:
    """A rule for each call in the list."""
    rules: list[Rule] = []
    seen: set[str] = set()
    for number, item in enumerate(place.items()):
        members = item.members("Name Allowed", fold=True)
        name = members["Name"].text("the name of a call").lower()
        allowed = _truth(members["Allowed"])
        if by_name(name) is None:
            raise members["Name"].error("an x86-64 system call", hint=nearest(name))
        if name in seen:
            raise members["Name"].error("each call once", f"{name} twice")
        if name in ALWAYS and not allowed:
            raise members["Name"].error("a call that can be taken away", f"{name}, {NEEDED}")
        seen.add(name)
        comment = item.value.get("comment") if isinstance(item.value, dict) else None
        action = ALLOWED if allowed else DENIED
        rules.append(Rule(frozenset({name}), frozenset(), action, (), label(place.file, lines, number, comment), item.path))
    return rules


def _truth(place: Place) -> bool:
    if isinstance(place.value, bool):
        return place.value
    word = place.value.lower() if isinstance(place.value, str) else ""
    if word not in ("true", "false"):
        raise place.error('"True", "False", true or false')
    return word == "true"


def _file(place: Place) -> str:
    text = place.text("a path")
    if not text or "\0" in text:
        raise place.error("a path")
    return text


def _address(place: Place) -> int:
    digits = place.text('a hexadecimal address, as "400200"').lower().removeprefix("0x")
    if not 0 < len(digits) <= 16 or digits.strip("0123456789abcdef"):
        raise place.error('a hexadecimal address, as "400200"')
    return int(digits, 16)


def _port(place: Place) -> int:
    value = place.value
    if isinstance(value, str) and len(value) <= 5 and value.isascii() and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise place.error("a TCP port, 1 to 65535")
    return value
