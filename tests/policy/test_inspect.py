"""Looking at policies: what is said to be without effect never decides, what is said to be equal decides alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Call, Json, decide
from test_reference import NAMED, guest_call, policy

from torov.policy.inspect import differences, findings
from torov.policy.source import Source, read


def _source(document: Json, file: str = "p.json") -> Source:
    return read(file, json.dumps(document).encode())


_CALLS = st.lists(guest_call(), min_size=20, max_size=20)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=policy(), calls=_CALLS)
def test_a_dead_rule_never_decides(document: Json, calls: list[tuple[Call, bytes | None]]) -> None:
    dead = {one.rule.place for one in findings(_source(document)) if one.kind == "dead"}
    for call, _ in calls:
        _, index = decide([document], call)
        assert f"rules[{index}]" not in dead, call.name


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=policy(), other=policy(), same=st.booleans(), calls=_CALLS)
def test_calls_without_a_difference_are_decided_alike(
    one: Json, other: Json, same: bool, calls: list[tuple[Call, bytes | None]]
) -> None:
    if same:  # the same rules with one more that is dead, or other rules for one call
        other = {**one, "rules": [*one["rules"], {"calls": ["@known"], "action": "kill", "where": [{"arg": "prot", "is": 1}]}]}
    changed = {name for change in differences(_source(one), _source(other)) for name in change.calls}
    for call, _ in calls:
        if call.name not in changed:
            assert decide([one], call)[0] == decide([other], call)[0], call.name


@given(document=policy())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_policy_does_not_differ_from_itself(document: Json) -> None:
    assert differences(_source(document), _source(document, "q.json")) == []


def _found(*rules: Json, default: Any = "deny") -> list[tuple[str, str, str]]:
    source = _source({"torov": 1, "default": default, "rules": list(rules)})
    return [(one.kind, one.rule.place, one.text) for one in findings(source)]


def _rule(*calls: str, action: Any = "allow", where: Any = None) -> Json:
    return {"calls": list(calls), "action": action} | ({"where": where} if where else {})


_PATH = {"path": "/etc/**"}


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([_rule("@basic-io"), _rule("read", "write")],
         [("dead", "rules[1]", "its calls are decided before, by p.json:1 rule 1")]),
        ([_rule("read"), _rule("read", "write")], [("part dead", "rules[1]", "read: decided before, by p.json:1 rule 1")]),
        ([_rule("open", where=[_PATH]), _rule("open", where=[_PATH, {"arg": "flags", "is": 0}])],
         [("dead", "rules[1]", "its calls are decided before, by p.json:1 rule 1")]),
        ([_rule("open", where=[_PATH]), _rule("open", where=[{"path": "/etc/passwd"}], action="kill")],
         [("dead", "rules[1]", "its calls are decided before, by p.json:1 rule 1")]),
        ([_rule("open", where=[{"path": "/etc/passwd"}]), _rule("open", where=[_PATH], action="kill")], []),
        ([_rule("open", where=[{"arg": "flags", "range": [0, 9]}]), _rule("open", where=[{"arg": "flags", "is": [3, 4]}])],
         [("dead", "rules[1]", "its calls are decided before, by p.json:1 rule 1")]),
        ([_rule("open", where=[{"arg": "flags", "is": 1}, {"arg": "flags", "is": 2}])],
         [("dead", "rules[0]", "its conditions can never hold")]),
        ([_rule("mount", "ptrace")],
         [("allows nothing", "rules[0]", "torov serves none of its calls, and no policy can allow them")]),
        ([_rule("mount", action="kill")], []),
        ([_rule("exit")], [("dead", "rules[0]", "its calls are always allowed")]),
        ([_rule("@clock", where=[{"arg": "clockid", "is": "CLOCK_TAI"}])], []),
    ],
)  # fmt: skip
def test_rules_without_effect_are_named(rules: list[Json], found: list[tuple[str, str, str]]) -> None:
    assert _found(*rules) == found


def test_the_calls_of_the_random_cases_exist() -> None:
    assert len(set(NAMED)) == len(NAMED)
