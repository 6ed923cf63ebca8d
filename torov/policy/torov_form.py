"""ToroV's own configuration file, as its samples have it.

    { "Binary": "HelloWorld.bin", "MountPoint": "./mountpoint", "Newpid": "False", "Startaddr": "400200",
      "Debug": { "Allowed": "False", "Port": "1234" },
      "Hypercalls": [ { "Name": "Write", "Allowed": "True" } ] }

Hypercalls is a list of what is allowed; docs/policy.md says what that means for a program that was not linked
with ToroV's run-time library.
"""

from __future__ import annotations

import errno

from torov.policy.jsonfile import Place
from torov.policy.form import ALLOW, ALWAYS, NEEDED, Rule, table
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


class Settings:
    """What the file says besides its calls; None for what it leaves out.

    Fields:
        binary: the program's file.
        mount_point: directory that becomes the root.
        newpid: run in a PID namespace of its own.
        startaddr: guest virtual address of the first instruction.
        debug_allowed: wait for gdb.
        debug_port: TCP port to wait on.
    """

    __slots__ = ("binary", "debug_allowed", "debug_port", "mount_point", "newpid", "startaddr")

    def __init__(self) -> None:
        self.binary: str | None = None
        self.mount_point: str | None = None
        self.newpid: bool | None = None
        self.startaddr: int | None = None
        self.debug_allowed: bool | None = None
        self.debug_port: int | None = None


def read(top: Place) -> tuple[bytes, Settings]:
    """Read a configuration of ToroV.

    Args:
        top: the whole document.

    Returns:
        The table (see policy_rules.table), and the settings.

    Raises:
        PolicyError: the document breaks the form.
    """
    members = top.members("Hypercalls", KEYS, fold=True)
    settings = Settings()
    if "Binary" in members:
        settings.binary = _file(members["Binary"])
    if "MountPoint" in members:
        settings.mount_point = _file(members["MountPoint"])
    if "Newpid" in members:
        settings.newpid = _truth(members["Newpid"])
    if "Startaddr" in members:
        settings.startaddr = _address(members["Startaddr"])
    if "Debug" in members:
        debug = members["Debug"].members("Allowed", "Port", fold=True)
        settings.debug_allowed = _truth(debug["Allowed"])
        settings.debug_port = _port(debug["Port"]) if "Port" in debug else None
    allowed, refused = _hypercalls(members["Hypercalls"])
    # ToroV answers -1 for a call that is not allowed, and that is -EPERM.
    rules = [
        Rule(frozenset(refused), frozenset(), errno.EPERM),
        Rule(frozenset(allowed | INSIDE), frozenset(), ALLOW),
    ]
    return table(rules, errno.EPERM), settings


def _hypercalls(place: Place) -> tuple[set[str], set[str]]:
    """Names of the calls that the list allows, and of those that it refuses."""
    sets: dict[bool, set[str]] = {True: set(), False: set()}
    for item in place.items():
        members = item.members("Name Allowed", fold=True)
        name = members["Name"].text("the name of a call").lower()
        allowed = _truth(members["Allowed"])
        if by_name(name) is None:
            raise members["Name"].error("an x86-64 system call", hint=nearest(name))
        if name in sets[True] | sets[False]:
            raise members["Name"].error("each call once", f"{name} twice")
        if name in ALWAYS and not allowed:
            raise members["Name"].error("a call that can be taken away", f"{name}, {NEEDED}")
        sets[allowed].add(name)
    return sets[True], sets[False]


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
