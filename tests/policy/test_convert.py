"""Converted policies decide as what they were converted from."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_oci import PROFILES, VALUES, decided, entries, value

from torov import corpus
from torov.policy import parse
from torov.policy.convert import document
from torov.policy.source import read
from torov.syscalls import CALLS

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def converted(file: str, data: bytes) -> dict[str, Any]:
    """The document, as a file would have it."""
    made: dict[str, Any] = json.loads(json.dumps(document(read(file, data))))
    return made


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(entries(), min_size=1, max_size=3).map(lambda lists: [rule for rules in lists for rule in rules]),
    default=st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY"]),
    number=st.sampled_from([0, 1, 38, 4000]),
    calls=st.lists(st.lists(value, min_size=6, max_size=6), min_size=10, max_size=10),
)
def test_random_profiles_decide_the_same(rules: list[dict[str, Any]], default: str, number: int, calls: list[list[int]]) -> None:
    profile = json.dumps({"defaultAction": default, "defaultErrnoRet": number, "syscalls": rules}).encode()
    one, other = parse("p.json", profile), parse("q.json", json.dumps(converted("p.json", profile)).encode())
    for registers in calls:
        for nr in (0, 1, 39, 60, 101, 161):
            assert decided(one, nr, registers) == decided(other, nr, registers)


@pytest.mark.corpus
@pytest.mark.parametrize("name", PROFILES)
def test_real_profiles_decide_the_same(name: str) -> None:
    data = corpus.fetch(PROFILES[name], PROFILES.values()).read_bytes()
    one, other = parse("p.json", data), parse("q.json", json.dumps(converted("p.json", data)).encode())
    rng = random.Random(1)
    for call in CALLS:
        for _ in range(5):
            registers = [rng.choice([*VALUES, 8, 40, 0x7E020000]) for _ in range(6)]
            assert decided(one, call.nr, registers) == decided(other, call.nr, registers), call


def test_a_configuration_decides_the_same_and_keeps_its_settings() -> None:
    path = SAMPLES / "HelloWorld" / "helloworld.json"
    data = path.read_bytes()
    made = document(read(str(path), data), str(path.parent))
    one, other = parse(str(path), data), parse(str(path.parent / "p.json"), json.dumps(made).encode())
    assert one.actions == other.actions
    assert one.jail == other.jail
    assert "Binary" in str(made["comment"])


def test_comments_stay_with_their_rules() -> None:
    entry = {"names": ["read"], "action": "SCMP_ACT_KILL", "comment": "a (good) reason"}
    made = converted("d.json", json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}).encode())
    assert made["rules"] == [{"calls": ["read"], "action": "kill", "comment": "a (good) reason"}]
    assert made["comment"] == "converted from d.json"
