"""The arguments of a call as a policy names them: registers, fields of structures, and what other calls imply."""

from __future__ import annotations

from torov.callshape import Arg, Call
from torov.constants import names_of, set_of

SIGNED = {"int", "pid", "sig", "clock", "fd", "atfd", "key", "id", "long", "off"}
WIDTHS = {"int": 32, "uint": 32, "mode": 16, "pid": 32, "uid": 32, "gid": 32, "sig": 32, "clock": 32, "flags": 32, "fd": 32,
          "atfd": 32, "dev": 32, "key": 32, "id": 32}  # fmt: skip
"""Bits of a register that the kernel looks at, by kind; 64 for the others (include/linux/syscalls.h)."""
_OTHER_WIDTHS = {("umask", "mask"): 32, ("personality", "persona"): 32}

PATHS = ("path", "look")

ADDRESSES = {"connect": "addr", "bind": "addr", "sendto": "dest_addr", "sendmsg": "msg", "sendmmsg": "msgvec"}
"""Calls that take a socket address, and the argument that holds it or points to what does."""

_CLONE_ARGS = "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup"
FIELDS: dict[str, tuple[str, dict[str, tuple[int, str]]]] = {
    "openat2": ("how", {"flags": (0, "open"), "mode": (8, "mode"), "resolve": (16, "resolve")}),
    "clone3": (
        "cl_args",
        {name: (8 * at, {"flags": "clone", "exit_signal": "sig"}.get(name, "")) for at, name in enumerate(_CLONE_ARGS.split())},
    ),
}
"""Call to the argument that points to a structure, and its fields of 8 bytes: offset and set of constants."""

REGISTERS = tuple(f"args[{at}]" for at in range(6))

IMPLIED: dict[tuple[str, str], tuple[int, str]] = {
    ("creat", "flags"): (0o1101, "open"),  # O_CREAT | O_WRONLY | O_TRUNC
    ("fork", "flags"): (17, "clone"),  # SIGCHLD
    ("vfork", "flags"): (0x4111, "clone"),  # CLONE_VFORK | CLONE_VM | SIGCHLD
}
"""What a call that has no such argument does as if it had: a condition on flags of open(2) holds for creat(2), too."""


class Where:
    """Where a value is found.

    Fields:
        register: 0 to 5; -1 for what is implied.
        width: bits of the value.
        signed: a negative number is meant as such.
        constants: the name of its set, or an empty string.
        field: offset in the structure, or -1.
        value: what is implied.
    """

    __slots__ = ("constants", "field", "register", "signed", "value", "width")

    def __init__(self, register: int, width: int, signed: bool, constants: str, field: int = -1, value: int = 0) -> None:
        self.register, self.width, self.signed, self.constants = register, width, signed, constants
        self.field, self.value = field, value

    @property
    def names(self) -> dict[str, int]:
        """The constants that may be written."""
        return names_of(self.constants)


def find(call: Call, name: str) -> Where | None:
    """The argument of a call by its name.

    Args:
        call: a row of the table.
        name: as in the table (``flags``), or structure and field (``how.resolve``); the field alone will do, where
            the call has no argument of that name. ``args[0]`` to ``args[5]``: a whole register, of any call.
    """
    if name in REGISTERS:
        return Where(REGISTERS.index(name), 64, False, "")
    for register, arg in enumerate(call.args):
        if arg.name == name:
            return Where(register, width_of(call, arg), arg.kind in SIGNED, set_of(call, arg))
    if call.name in FIELDS:
        pointer, fields = FIELDS[call.name]
        found = fields.get(name.removeprefix(f"{pointer}."))
        if found:
            register = next(index for index, arg in enumerate(call.args) if arg.name == pointer)
            return Where(register, 64, False, found[1], found[0])
    if (call.name, name) in IMPLIED:
        value, constants = IMPLIED[call.name, name]
        return Where(-1, 32, False, constants, -1, value)
    return None


def width_of(call: Call, arg: Arg) -> int:
    """Bits of an argument's register that the kernel looks at."""
    return _OTHER_WIDTHS.get((call.name, arg.name)) or WIDTHS.get(arg.kind, 64)


def names(call: Call) -> list[str]:
    """All names that find() knows for a call."""
    found = [arg.name for arg in call.args]
    if call.name in FIELDS:
        pointer, fields = FIELDS[call.name]
        found += [f"{pointer}.{field}" for field in fields]
    return found + [name for row, name in IMPLIED if row == call.name]


def paths(call: Call) -> list[int]:
    """Registers of the paths that a call looks up."""
    return [at for at, arg in enumerate(call.args) if arg.kind in PATHS]


def path_index(call: Call, register: int) -> int:
    """Which of a call's paths a register is, 0 or 1."""
    every = paths(call)
    return int(register > every[0]) if every else 0


def address(call: Call) -> int | None:
    """The register of a call's socket address, or None."""
    name = ADDRESSES.get(call.name)
    return next((at for at, arg in enumerate(call.args) if arg.name == name), None)
