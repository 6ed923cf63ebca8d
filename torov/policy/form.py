"""The policy form of this project: a default and ordered rules, the first that matches decides.

    { "torov": 1, "default": "deny",
      "rules": [ { "calls": ["read", "write", "@network-io"], "action": "allow" },
                 { "calls": ["socket"], "action": { "errno": "EACCES" }, "comment": "..." } ] }

docs/policy.md is its reference.
"""

from __future__ import annotations

import errno

from torov.policy.jsonfile import Place, show
from torov.syscalls import CALLS, DENY, GROUPS, HOST, LIMIT, Call, by_name, nearest, nearest_group

ALLOW = 0
KILL = -1

ALWAYS = ("exit", "exit_group", "rt_sigreturn")
"""A program must be able to end, and to come back from a signal: no policy takes these away."""

NEEDED = "which a program needs to end or to go on"

_ACTIONS = {"allow": ALLOW, "deny": errno.EPERM, "kill": KILL}


class Rule:
    """One rule.

    Fields:
        names: calls that it names.
        grouped: calls that it reaches through a group.
        action: ALLOW, KILL, or the positive number of the error to answer.
    """

    __slots__ = ("action", "grouped", "names")

    def __init__(self, names: frozenset[str], grouped: frozenset[str], action: int) -> None:
        self.names, self.grouped, self.action = names, grouped, action

    def decides(self, call: Call) -> bool:
        """Whether the rule holds for a call.

        A call that is served but refused by default is dangerous to allow by accident: that takes its name.
        """
        if call.name in self.names:
            return True
        guarded = call.serve == HOST and call.default != "allow"
        return call.name in self.grouped and not (guarded and self.action == ALLOW)


def own(call: Call) -> int:
    """What the table itself answers: ALLOW, or the positive number of the row's error."""
    return ALLOW if call.default == "allow" else error_number(call.default)


def error_number(name: str) -> int:
    """The number of an error, as EPERM; 0 for a name that Linux does not have."""
    number = vars(errno).get(name)
    return number if isinstance(number, int) else 0


def table(rules: list[Rule], default: int | None) -> bytes:
    """What to do with each call.

    Args:
        rules: in order of precedence.
        default: action for calls that no rule decides; None for what the table says.

    Returns:
        LIMIT signed little-endian 16-bit numbers, by system call number: ALLOW, KILL, or the error to answer.
    """
    actions = [errno.ENOSYS] * LIMIT
    for call in CALLS:
        actions[call.nr] = _action(call, rules, default)
    return b"".join(action.to_bytes(2, "little", signed=True) for action in actions)


def _action(call: Call, rules: list[Rule], default: int | None) -> int:
    if call.name in ALWAYS:
        return ALLOW
    action = next((rule.action for rule in rules if rule.decides(call)), None)
    if action is None:
        action = own(call) if default is None or (default == ALLOW and call.default != "allow") else default
    return own(call) if call.serve == DENY and action != KILL else action


def read(top: Place) -> tuple[bytes, str]:
    """Read a policy in our form.

    Args:
        top: the whole document.

    Returns:
        The table, and the default as the file names it.

    Raises:
        PolicyError: the document breaks the form.
    """
    members = top.members("torov default", "rules")
    version = members["torov"]
    if version.value != 1 or isinstance(version.value, bool | float):
        raise version.error("1, the version of the form")
    place = members["default"]
    default = None if place.value == "builtin" else _read_action(place, '"builtin", ')
    rules = [_read_rule(item) for item in members["rules"].items()] if "rules" in members else []
    name = place.value if isinstance(place.value, str) else errno.errorcode[default or 0]
    return table(rules, default), name


def _read_rule(place: Place) -> Rule:
    members = place.members("calls action")
    action = _read_action(members["action"])
    items = members["calls"].items()
    if not items:
        raise members["calls"].error("at least one call or @group", "an empty array")
    names: set[str] = set()
    grouped: set[str] = set()
    for item in items:
        name = item.text('the name of a call, or "@" and a group')
        if name.startswith("@"):
            if name[1:] not in GROUPS:
                near = nearest_group(name[1:])
                raise item.error("a group of calls", hint=f"@{near}" if near else "")
            grouped.update(call.name for call in GROUPS[name[1:]])
        elif by_name(name) is None:
            raise item.error("an x86-64 system call", hint=nearest(name))
        elif name in ALWAYS and action != ALLOW:
            raise item.error("a call that can be taken away", f"{name}, {NEEDED}")
        else:
            names.add(name)
    return Rule(frozenset(names), frozenset(grouped), action)


def _read_action(place: Place, more: str = "") -> int:
    expected = f'{more}"allow", "deny", "kill" or {{"errno": name}}'
    if isinstance(place.value, dict):
        inside = place.members("errno")["errno"]
        number = error_number(inside.text("the name of an error, as EACCES"))
        if number <= 0:
            raise inside.error("the name of an error, as EACCES", hint=_nearest_error(str(inside.value)))
        return number
    action = _ACTIONS.get(place.value) if isinstance(place.value, str) else None
    if action is None:
        raise place.error(expected, show(place.value), _nearest_action(place.value))
    return action


def _nearest_error(name: str) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(name[:64].upper(), errno.errorcode.values(), 1)), "")


def _nearest_action(value: object) -> str:
    import difflib

    name = value[:64].lower() if isinstance(value, str) else ""
    return next(iter(difflib.get_close_matches(name, [*_ACTIONS], 1)), "")
