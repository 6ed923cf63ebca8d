"""The policy form of this project: a default and ordered rules, the first that matches decides.

    { "torov": 1, "default": "deny",
      "rules": [ { "calls": ["read", "write", "@network-io"], "action": "allow" },
                 { "calls": ["openat"], "where": [{ "path": "/etc/**" }], "action": { "errno": "EACCES" }, "comment": "..." } ] }

docs/policy.md is its reference.
"""

from __future__ import annotations

import errno

from torov.policy import where
from torov.policy.compile import ALWAYS, MAX_CONDS
from torov.policy.jsonfile import Place, show
from torov.policy.model import ALLOW, ALLOWED, ASK, DELEGATE, DENIED, ERRNO, KILLED, LOG, Action, Rule, error_number
from torov.syscalls import GROUPS, by_name, nearest, nearest_group

NEEDED = "which a program needs to end or to go on"

_ACTIONS = {"allow": ALLOWED, "deny": DENIED, "kill": KILLED, "log": Action(LOG), "ask": Action(ASK)}
_EXPECTED = '"allow", "deny", "kill", "log", "ask", {"errno": name} or {"delegate": name}'


def read(top: Place, members: dict[str, Place], lines: list[int], delegates: set[str]) -> tuple[list[Rule], Action | None, str]:
    """Read the rules of a policy in our form.

    Args:
        top: the whole document.
        members: its members.
        lines: the line of each rule.
        delegates: names that rules may delegate to.

    Returns:
        The rules; the default, None for what the table says; and the default as the file names it.

    Raises:
        PolicyError: the document breaks the form.
    """
    version = members["torov"]
    if version.value != 1 or isinstance(version.value, bool | float):
        raise version.error("1, the version of the form")
    place = members["default"]
    default = None if place.value == "builtin" else read_action(place, delegates, '"builtin", ')
    items = members["rules"].items() if "rules" in members else []
    rules = [_rule(item, number, lines, delegates) for number, item in enumerate(items)]
    return rules, default, "builtin" if default is None else name_of(place, default)


def name_of(place: Place, action: Action) -> str:
    """An action as messages name it: the file's word, or the error's name."""
    return place.value if isinstance(place.value, str) else str(action)


def label(file: str, lines: list[int], number: int, comment: object) -> str:
    """What a denial shows: ``p.json:12 rule 4 (no shadow)``.

    Args:
        file: as errors call it.
        lines: the line of each rule.
        number: of the rule, from 0.
        comment: its comment, if it has one.
    """
    line = f":{lines[number]}" if number < len(lines) else ""
    more = f" ({' '.join(comment.split())})" if isinstance(comment, str) and comment.strip() else ""
    return f"{file}{line} rule {number + 1}{more}".replace("\0", "")


def _rule(place: Place, number: int, lines: list[int], delegates: set[str]) -> Rule:
    members = place.members("calls action", "where")
    action = read_action(members["action"], delegates)
    names, grouped = read_calls(members["calls"], action)
    tests = tuple(where.read(item) for item in members["where"].items()) if "where" in members else ()
    if len(tests) > MAX_CONDS // 2:
        raise members["where"].error(f"at most {MAX_CONDS // 2} conditions", f"{len(tests)}")
    comment = place.value.get("comment") if isinstance(place.value, dict) else None
    rule = Rule(names, grouped, action, tests, label(place.file, lines, number, comment), place.path)
    if tests:
        _bind(rule)
    return rule


def _bind(rule: Rule) -> None:
    """See that each named call has what the conditions ask for, and that some call of the rule has.

    Raises:
        PolicyError: it is not so; for groups, what the nearest call is missing.
    """
    refuses = rule.action.kind not in (ALLOW, LOG)
    bound = [
        all(test.bind(call, name in rule.names, refuses) is not None for test in rule.where)
        for name in sorted(rule.names | rule.grouped)
        if (call := by_name(name)) is not None
    ]
    if not any(bound):  # then ask the calls of the groups as if they were named: one of them says what it is missing
        candidates = [call for name in sorted(rule.grouped) if (call := by_name(name)) is not None]
        met = [sum(test.bind(call, False, refuses) is not None for test in rule.where) for call in candidates]
        call = candidates[met.index(max(met))]
        for test in rule.where:
            test.bind(call, True, refuses)


def read_calls(place: Place, action: Action | None = None) -> tuple[frozenset[str], frozenset[str]]:
    """Read a list of calls and groups.

    Args:
        place: the array.
        action: of the rule: one that refuses may not name what a program needs.

    Returns:
        Names of the calls that are named, and of those in groups.

    Raises:
        PolicyError: a name is unknown.
    """
    items = place.items()
    if not items:
        raise place.error("at least one call or @group", "an empty array")
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
        elif name in ALWAYS and action is not None and action.kind not in (ALLOW, LOG):
            raise item.error("a call that can be taken away", f"{name}, {NEEDED}")
        else:
            names.add(name)
    return frozenset(names), frozenset(grouped)


def read_action(place: Place, delegates: set[str], more: str = "") -> Action:
    """Read an action.

    Args:
        place: where it stands.
        delegates: names that it may delegate to.
        more: what else would have been accepted, for the message.

    Raises:
        PolicyError: it is none.
    """
    if isinstance(place.value, dict):
        found = place.members("", "errno delegate")
        if len(found) != 1:
            raise place.error(f"{more}{_EXPECTED}", " and ".join(found) or "an object without either")
        if "errno" in found:
            return Action(ERRNO, read_errno(found["errno"]))
        name = found["delegate"].text("the name of a delegate")
        if name not in delegates:
            raise found["delegate"].error('a name in "delegates"', hint=_nearest(name, delegates))
        return Action(DELEGATE, delegate=name)
    action = _ACTIONS.get(place.value) if isinstance(place.value, str) else None
    if action is None:
        word = place.value.lower() if isinstance(place.value, str) else ""
        raise place.error(f"{more}{_EXPECTED}", show(place.value), _nearest(word, _ACTIONS))
    return action


def read_errno(place: Place) -> int:
    """Read the name of an error, or its number: 0 answers 0 without making the call, as some seccomp profiles ask.

    Raises:
        PolicyError: Linux has no such error.
    """
    expected = "the name of an error, as EACCES"
    if isinstance(place.value, int) and not isinstance(place.value, bool):
        if not 0 <= place.value <= 4095:
            raise place.error(f"{expected}, or a number from 0 to 4095")
        return place.value
    number = error_number(place.text(expected))
    if number <= 0:
        hint = _nearest(str(place.value).upper(), errno.errorcode.values())
        raise place.error(expected, hint=hint)
    return number


def _nearest(word: str, known: object) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(word[:64], list(known), 1)), "") if word else ""  # type: ignore[call-overload]
