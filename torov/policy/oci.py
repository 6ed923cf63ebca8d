"""Seccomp profiles of OCI runtimes: Docker's, Podman's, containerd's, as files.

    { "defaultAction": "SCMP_ACT_ERRNO",
      "syscalls": [ { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                      "args": [ { "index": 0, "value": 8, "op": "SCMP_CMP_EQ" } ] } ] }

Meanings are those of the OCI runtime specification, Docker's daemon (includes, excludes), runc and libseccomp: rules whose
action is the default's and names that x86-64 does not have are passed over; a rule without arguments decides before all that
have some; two conditions on one argument make each condition of the rule an alternative; a masked value is masked, too.
Values are compared with the whole register. Where several rules of different actions match, the first decides; libseccomp
says nothing about these. docs/policy.md says what becomes of each action.
"""

from __future__ import annotations

import errno
import os

from torov.policy.form import label, read_errno
from torov.policy.jsonfile import Place, show
from torov.policy.model import ALLOWED, ASK, ERRNO, FULL, KILLED, LOG, Action, Rule
from torov.policy.where import Compared
from torov.syscalls import by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.policy.model import Test

_DOCKER = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
DOCKER_CAPABILITIES = frozenset(f"CAP_{name}" for name in _DOCKER.split())
"""What Docker leaves to a container unless it is told otherwise."""

_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOWED,
    "SCMP_ACT_LOG": Action(LOG),
    "SCMP_ACT_NOTIFY": Action(ASK),
    "SCMP_ACT_KILL": KILLED,
    "SCMP_ACT_KILL_THREAD": KILLED,
    "SCMP_ACT_KILL_PROCESS": KILLED,
    "SCMP_ACT_TRAP": KILLED,
    "SCMP_ACT_TRACE": Action(ERRNO, errno.ENOSYS),  # what seccomp answers where no tracer is
    "SCMP_ACT_ERRNO": Action(ERRNO, errno.EPERM),
}
_OPERATORS = ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ")
_ARCH = "amd64"


def read(top: Place, lines: list[int], capabilities: frozenset[str] | None) -> tuple[list[Rule], Action]:
    """Read a profile.

    Args:
        top: the whole document.
        lines: the line of each item of "syscalls".
        capabilities: what includes and excludes are read with; None for Docker's default.

    Returns:
        The rules in order of precedence, and the default.

    Raises:
        PolicyError: the document breaks the form.
    """
    members = _members(top, "defaultAction")
    default = _action(members["defaultAction"], members.get("defaultErrnoRet"), members.get("defaultErrno"))
    if "architectures" in members and "archMap" in members:
        raise members["archMap"].error('"architectures" or "archMap"', "both")
    caps = DOCKER_CAPABILITIES if capabilities is None else capabilities
    plain: list[Rule] = []
    conditional: list[Rule] = []
    for number, item in enumerate(members["syscalls"].items() if "syscalls" in members else []):
        for rule in _rules(item, number, lines, caps):
            if rule.action != default:
                (conditional if rule.where else plain).append(rule)
    return plain + conditional, default


def _members(place: Place, required: str = "") -> dict[str, Place]:
    """The members of an object that are not null; other programs' own are passed over."""
    found = {name: inside for name, inside in place.entries().items() if inside.value is not None}
    for inside in found.values():
        inside.path = inside.path.removeprefix(".")
    for name in required.split():
        if name not in found:
            raise place.error(f'"{name}"', "an object without it")
    return found


def _rules(place: Place, number: int, lines: list[int], capabilities: frozenset[str]) -> list[Rule]:
    members = _members(place, "action")
    action = _action(members["action"], members.get("errnoRet"), members.get("errno"))
    if "name" in members and "names" in members and members["names"].value and members["name"].value:
        raise members["names"].error('"name" or "names"', "both")
    listed = members["names"].items() if "names" in members else [members["name"]] if "name" in members else []
    names = [item.text("the name of a call") for item in listed]
    tests = _tests(members["args"]) if "args" in members else [()]
    if not _applies(members, capabilities):
        return []
    known = frozenset(name for name in names if by_name(name) is not None)
    comment = members["comment"].value if "comment" in members else None
    text = label(place.file, lines, number, comment)
    return [Rule(known, frozenset(), action, where, text, place.path) for where in tests] if known else []


def _action(place: Place, number: Place | None, name: Place | None) -> Action:
    action = _ACTIONS.get(place.value) if isinstance(place.value, str) else None
    if action is None:
        import difflib

        near = difflib.get_close_matches(str(place.value)[:64].upper(), _ACTIONS, 1)
        raise place.error("an action, as SCMP_ACT_ERRNO", hint=near[0] if near else "")
    if place.value != "SCMP_ACT_ERRNO":
        return action
    if number is not None:
        value = number.value
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 4095:
            raise number.error("the number of an error, 0 to 4095")
        return Action(ERRNO, value)
    return Action(ERRNO, read_errno(name)) if name is not None and name.value else action


def _tests(place: Place) -> list[tuple[Test, ...]]:
    """Alternatives, each a conjunction of comparisons; one without any for no arguments."""
    compared = [_compared(item) for item in place.items()]
    registers = [register for register, _ in compared]
    if len(set(registers)) != len(registers):  # as runc: each condition is a rule of its own
        return [(test,) for _, test in compared]
    return [tuple(test for _, test in compared)]


def _compared(place: Place) -> tuple[int, Test]:
    members = _members(place, "index value op")
    register = _number(members["index"], 5)
    value = _number(members["value"], FULL)
    two = _number(members["valueTwo"], FULL) if "valueTwo" in members else 0
    op = members["op"]
    if op.value not in _OPERATORS:
        import difflib

        near = difflib.get_close_matches(str(op.value)[:64].upper(), _OPERATORS, 1)
        raise op.error("a comparison, as SCMP_CMP_EQ", hint=near[0] if near else "")
    kind = str(op.value).removeprefix("SCMP_CMP_")
    text = f"args[{register}] {_SIGNS[kind]} {value:#x}"
    if kind == "MASKED_EQ":
        text = f"args[{register}] & {value:#x} == {two & value:#x}"
        return register, Compared(register, mask=value, lo=two & value, hi=two & value, text=text)
    lo, hi = {
        "EQ": (value, value), "NE": (value, value), "LT": (0, value - 1), "LE": (0, value), "GE": (value, FULL),
        "GT": (value + 1, FULL),
    }[kind]  # fmt: skip
    if lo > hi or lo > FULL or hi < 0:
        lo, hi = 1, 0  # nothing is less than 0
    return register, Compared(register, lo=lo, hi=hi, negate=kind == "NE", text=text)


_SIGNS = {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GE": ">=", "GT": ">", "MASKED_EQ": "&"}


def _number(place: Place, most: int) -> int:
    value = place.value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise place.error(f"a number from 0 to {most}")
    return value


def _applies(members: dict[str, Place], capabilities: frozenset[str]) -> bool:
    """Whether "includes" and "excludes" leave the rule in."""
    if "excludes" in members:
        found = _members(members["excludes"])
        if _ARCH in _texts(found, "arches") or capabilities & set(_texts(found, "caps")):
            return False
        if "minKernel" in found and _kernel(found["minKernel"]):
            return False
    if "includes" in members:
        found = _members(members["includes"])
        arches = _texts(found, "arches")
        if (arches and _ARCH not in arches) or not capabilities.issuperset(_texts(found, "caps")):
            return False
        if "minKernel" in found and not _kernel(found["minKernel"]):
            return False
    return True


def _texts(members: dict[str, Place], name: str) -> list[str]:
    return [item.text() for item in members[name].items()] if name in members else []


def _kernel(place: Place) -> bool:
    """Whether this kernel is at least the one that a profile asks for."""
    wanted = _version(place.text('a version of Linux, as "4.8"'))
    if wanted is None:
        raise place.error('a version of Linux, as "4.8"', show(place.value))
    return (_version(os.uname().release) or (0, 0)) >= wanted


def _version(text: str) -> tuple[int, int] | None:
    major, _, rest = text.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
