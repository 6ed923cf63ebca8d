"""Other forms into ours: seccomp profiles of OCI runtimes, and ToroV's configuration. What is written decides the same."""

from __future__ import annotations

import errno
import os

from torov.policy.compile import reaches
from torov.policy.model import ANY, DELEGATE, ERRNO, FULL, KINDS, RANGE, Action, Cond, Rule
from torov.policy.settings import Settings
from torov.syscalls import CALLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.policy.source import Source


def document(source: Source, beside: str = ".") -> dict[str, object]:
    """A policy in our form.

    Args:
        source: a profile or a configuration that was read.
        beside: the directory in which it will stand; paths are written relative to it.

    Returns:
        What to write as JSON.
    """
    made: dict[str, object] = {"torov": 1, "comment": _comment(source)}
    made["default"] = "builtin" if source.default is None else _action(source.default)
    made["rules"] = [rule for one in source.rules for rule in [_rule(one)] if rule]
    made.update(_settings(source.settings, beside))
    return made


def _comment(source: Source) -> str:
    text = f"converted from {os.path.basename(source.file)}"
    settings = source.settings
    if settings.binary is not None:
        text += f"; Binary {settings.binary}"
    if settings.startaddr is not None:
        text += f"; Startaddr {settings.startaddr:x}"
    return text


def _action(action: Action) -> object:
    if action.kind == ERRNO:
        name = errno.errorcode.get(action.errno)
        return "deny" if action.errno == errno.EPERM else {"errno": name or action.errno}
    return {"delegate": action.delegate} if action.kind == DELEGATE else KINDS[action.kind]


def _rule(rule: Rule) -> dict[str, object] | None:
    names = sorted(rule.names)
    made: dict[str, object] = {"calls": names, "action": _action(rule.action)}
    if rule.where:
        call = next(call for call in CALLS if reaches(rule, call))
        bound = [test.bind(call, True, False) for test in rule.where]
        conds = [cond for alternatives in bound if alternatives for cond in alternatives[0]]
        where = [_cond(cond) for cond in conds]
        if None in where:
            return None  # a condition that can never hold
        made["where"] = where
    comment = rule.label.partition(" (")[2].removesuffix(")") or ("the program's own memory" if rule.literal else "")
    if comment:
        made["comment"] = comment
    return made


def _cond(cond: Cond) -> dict[str, object] | None:
    """A comparison of a whole register in our form."""
    name = f"args[{cond.arg}]"
    if cond.op == ANY:
        return {"arg": name, "is": list(cond.values)}
    assert cond.op == RANGE
    if cond.lo > cond.hi:
        return None
    if cond.lo != cond.hi:
        return {"arg": name, "range": [_hex(cond.lo), _hex(cond.hi)]}
    made: dict[str, object] = {"arg": name, "not" if cond.negate else "is": _hex(cond.lo)}
    if cond.mask != FULL:
        made["mask"] = _hex(cond.mask)
    return made


def _hex(value: int) -> object:
    return value if value < 10 else hex(value)


def _settings(settings: Settings, beside: str) -> dict[str, object]:
    made: dict[str, object] = {}
    if settings.root is not None:
        made["root"] = os.path.relpath(settings.root, beside)
    if settings.namespaces:
        made["namespaces"] = settings.namespaces
    debug = {"allowed": settings.debug_allowed, "port": settings.debug_port}
    if settings.debug_allowed is not None:
        made["debug"] = {name: value for name, value in debug.items() if value is not None}
    return made
