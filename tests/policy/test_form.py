"""Our policy form: which rule decides, what no policy can change, and errors that name the place."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torov.errors import PolicyError
from torov.policy import parse
from torov.policy.compile import ALWAYS
from torov.syscalls import CALLS, DENY, GROUPS, by_name

KILL = -1
_NAMES = [call.name for call in CALLS]
_GUARDED = {
    "chroot",
    "clock_settime",
    "setdomainname",
    "sethostname",
    "settimeofday",
    "syslog",
    "vhangup",
}


def _number(name: str) -> int:
    call = by_name(name)
    assert call is not None
    return call.nr


def _actions(default: object, *rules: object) -> dict[str, int]:
    document = {"torov": 1, "default": default, "rules": list(rules)}
    policy = parse("p.json", json.dumps(document).encode())
    return {call.name: policy.action(call.nr) for call in CALLS}


def _rule(action: object, *calls: str) -> dict[str, object]:
    return {"calls": list(calls), "action": action, "comment": "a test"}


def test_the_first_rule_that_matches_decides() -> None:
    done = _actions("deny", _rule("allow", "read", "@basic-io"), _rule("kill", "write", "openat", "read"))
    assert (done["read"], done["write"], done["openat"], done["getpid"]) == (0, 0, KILL, errno.EPERM)
    turned = _actions("deny", _rule("kill", "write", "openat", "read"), _rule("allow", "read", "@basic-io"))
    assert (turned["read"], turned["write"], turned["openat"], turned["pread64"]) == (KILL, KILL, KILL, 0)


@pytest.mark.parametrize(
    ("action", "number"),
    [("allow", 0), ("deny", 1), ("kill", -1), ({"errno": "EACCES"}, 13), ({"errno": "ENOSYS"}, 38)],
    ids=str,
)
def test_actions_and_defaults_mean_the_same(action: object, number: int) -> None:
    assert _actions(action)["socket"] == number
    other = "deny" if number != 1 else "allow"
    assert _actions(other, _rule(action, "socket"))["socket"] == number
    assert _actions(other, _rule(action, "@network-io"))["socket"] == number


def test_without_rules_the_default_holds_for_every_call_that_is_served() -> None:
    served = {call.name for call in CALLS if call.serve != DENY} - set(ALWAYS)
    assert {name for name, action in _actions("deny").items() if action == errno.EPERM} >= served


@pytest.mark.parametrize("default", ["deny", "kill", {"errno": "EIO"}], ids=str)
def test_a_program_can_always_end_and_return_from_a_signal(default: object) -> None:
    done = _actions(default, _rule("kill", "@default", "@signal"))
    assert [done[name] for name in ("exit", "exit_group", "rt_sigreturn")] == [0, 0, 0]


def test_calls_that_change_the_host_are_allowed_by_name_only() -> None:
    wide = _actions("allow", _rule("allow", "@known"))
    assert {name for name in _GUARDED if wide[name] == errno.EPERM} == _GUARDED
    named = _actions("deny", _rule("allow", "@clock", "sethostname"), _rule("allow", "clock_settime"))
    assert (named["sethostname"], named["clock_settime"], named["settimeofday"]) == (0, 0, errno.EPERM)
    assert _actions("allow", _rule("kill", "@clock"))["settimeofday"] == KILL


def test_what_is_not_served_keeps_its_own_answer() -> None:
    done = _actions("allow", _rule("allow", "ptrace", "io_setup"), _rule({"errno": "EACCES"}, "pkey_alloc"))
    assert (done["ptrace"], done["io_setup"], done["pkey_alloc"]) == (errno.EPERM, errno.ENOSYS, errno.ENOSPC)
    assert _actions("allow", _rule("kill", "ptrace"))["ptrace"] == KILL


def test_numbers_without_a_call_do_not_exist_under_any_default() -> None:
    policy = parse("p.json", b'{"torov": 1, "default": "kill"}')
    numbers = set(range(-2, 600)) - {call.nr for call in CALLS}
    assert {policy.action(number) for number in numbers} == {errno.ENOSYS}


_CHOICE = st.sampled_from(["allow", "deny", "kill", "EACCES"])
_WORD = st.sampled_from(_NAMES) | st.sampled_from(sorted(GROUPS)).map("@".__add__)
_ANSWER = {"allow": 0, "deny": errno.EPERM, "kill": -1, "EACCES": errno.EACCES}


_RULES = st.lists(st.tuples(_CHOICE, st.lists(_WORD, min_size=1, max_size=6)), max_size=6)


@settings(max_examples=300)
@given(default=_CHOICE, rules=_RULES)
def test_every_decision_is_that_of_a_plain_reading_of_the_rules(default: str, rules: list[tuple[str, list[str]]]) -> None:
    rules = [(act, [w for w in words if w not in ALWAYS or act == "allow"]) for act, words in rules]
    rules = [(act, words) for act, words in rules if words]
    spelled: dict[str, object] = {act: act for act in _ANSWER} | {"EACCES": {"errno": "EACCES"}}
    done = _actions(spelled[default], *(_rule(spelled[act], *words) for act, words in rules))
    for call in CALLS:
        decision = ""
        for act, words in rules:
            group = any(word[1:] in (*call.groups, "known") for word in words if word.startswith("@"))
            if "@system-service" in words and call in GROUPS["system-service"]:
                group = True
            if call.name in words or (group and not (act == "allow" and call.name in _GUARDED)):
                decision = act
                break
        decision = decision or ("EPERM" if default == "allow" and call.name in _GUARDED else default)
        expected = errno.EPERM if decision == "EPERM" else _ANSWER[decision]
        if call.serve == DENY and decision != "kill":
            expected = int(getattr(errno, call.errno))
        assert done[call.name] == (0 if call.name in ALWAYS else expected), call


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"torov": 2, "default": "deny"}, "torov: expected 1, the version of the form, got 2"),
        ({"torov": True, "default": "deny"}, "torov: expected 1, the version of the form, got true"),
        ({"torov": 1}, 'top level: expected "default", got an object without it'),
        (
            {"torov": 1, "default": "dney"},
            'default: expected "builtin", "allow", "deny", "kill", "log", "ask", {"errno": name} or '
            '{"delegate": name}, got "dney" (did you mean deny?)',
        ),
        ({"torov": 1, "default": "deny", "rules": {}}, "rules: expected an array, got an object"),
        ({"torov": 1, "default": "deny", "rules": [[]]}, "rules[0]: expected an object, got an array"),
        (
            {"torov": 1, "default": "deny", "rules": [{"calls": [], "action": "kill"}]},
            "rules[0].calls: expected at least one call or @group, got an empty array",
        ),
        (
            {"torov": 1, "default": "deny", "rules": [_rule("allow", "read"), _rule("kill", "bpf", "opnat")]},
            'rules[1].calls[1]: expected an x86-64 system call, got "opnat" (did you mean openat?)',
        ),
        (
            {"torov": 1, "default": "deny", "rules": [_rule("allow", "@filesystem")]},
            'rules[0].calls[0]: expected a group of calls, got "@filesystem" (did you mean @file-system?)',
        ),
        (
            {"torov": 1, "default": "deny", "rules": [_rule("kill", "exit_group")]},
            "rules[0].calls[0]: expected a call that can be taken away, got exit_group, which a program needs to end or to go on",
        ),
        (
            {"torov": 1, "default": "deny", "rules": [{"calls": [1], "action": "kill"}]},
            'rules[0].calls[0]: expected the name of a call, or "@" and a group, got 1',
        ),
        (
            {"torov": 1, "default": "deny", "rules": [_rule({"errno": "EACCESS"}, "read")]},
            'rules[0].action.errno: expected the name of an error, as EACCES, got "EACCESS" (did you mean EACCES?)',
        ),
        (
            {"torov": 1, "default": "deny", "rules": [_rule({"errno": "__name__"}, "read")]},
            'rules[0].action.errno: expected the name of an error, as EACCES, got "__name__"',
        ),
        (
            {"torov": 1, "default": "deny", "rules": [_rule("builtin", "read")]},
            'rules[0].action: expected "allow", "deny", "kill", "log", "ask", {"errno": name} or {"delegate": name}, '
            'got "builtin"',
        ),
        (
            {"torov": 1, "default": "deny", "ruels": []},
            'top level: expected a member that docs/policy.md lists, got "ruels" (did you mean rules?)',
        ),
    ],
)
def test_an_error_names_place_expected_got_and_the_nearest_name(document: object, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse("p.json", json.dumps(document).encode())
    assert str(caught.value) == f"p.json: {message}"
    assert caught.value.exit_status == 125
