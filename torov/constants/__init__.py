"""Names of the numbers that system calls take: flags, commands, options, families.

A row of the call table names the set of each argument (``flags.open``); sets() tells it for any argument, as kinds
without a detail have sets too (``sig``, ``clock``, ``mode``). Policies read these names, traces print them, and the
core's tables are made from them. Numbers are the kernel's on x86-64 (uapi headers); tests compare them with gcc.
"""

from __future__ import annotations

from torov.constants import files, ioctl, memory, network, process
from torov.constants.newer import NEWER
from torov.constants.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.callshape import Arg, Call

__all__ = ["NEWER", "TABLES", "Table", "names_of", "number", "set_of", "show", "show_sockopt"]

TABLES: dict[str, Table] = {
    **files.TABLES,
    **memory.TABLES,
    **process.TABLES,
    **network.TABLES,
    **ioctl.TABLES,
    "atfd": Table("AT_???", values="AT_FDCWD=-100"),
}
"""Name of a set, mostly the detail of an argument, to the set."""

_BY_KIND = {"sig": "sig", "clock": "clock", "mode": "mode", "atfd": "atfd"}
_BY_ARGUMENT = {
    ("socket", "protocol"): "protocol",
    ("socketpair", "protocol"): "protocol",
    ("personality", "persona"): "personality",
}
_OPTIONS = {1: "sockopt", 0: "sockopt.ip", 6: "sockopt.tcp", 17: "sockopt.udp", 41: "sockopt.ipv6", 263: "sockopt.packet",
            270: "sockopt.netlink"}  # fmt: skip


def set_of(call: Call, arg: Arg) -> str:
    """The name of the set of constants that an argument takes; an empty string if there is none.

    Args:
        call, arg: a row of the call table, and one of its arguments.
    """
    if arg.detail in TABLES:
        return arg.detail
    return _BY_KIND.get(arg.kind) or _BY_ARGUMENT.get((call.name, arg.name), "")


def names_of(name: str) -> dict[str, int]:
    """All names of a set with their numbers; of ``sockopt``, those of every level."""
    if name == "sockopt":
        return {word: value for option in reversed(_OPTIONS.values()) for word, value in TABLES[option].names.items()}
    return TABLES[name].names if name in TABLES else {}


def number(name: str, word: str) -> int | None:
    """The number of one name of a set, or None: ``number("open", "O_CREAT")`` is 64."""
    return names_of(name).get(word)


def show(name: str, value: int, width: int = 32) -> str:
    """A value as strace(1) prints it; in hexadecimal for a set that does not exist.

    Args:
        name: of the set.
        value: the register.
        width: bits of it that count, 32 or 64.
    """
    table = TABLES.get(name)
    return table.show(value, width) if table else f"{value & ((1 << width) - 1):#x}"


def show_sockopt(level: int, value: int) -> str:
    """The name of a socket option, which its level decides; a number without a set is printed in hexadecimal."""
    return show(_OPTIONS.get(level, ""), value)
