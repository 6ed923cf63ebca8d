"""What a policy comes to in Landlock: never less than it allows, and what that is, by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torov import kept, landlock, policy
from torov.kept import (
    BIND_TCP,
    CONNECT_TCP,
    EXECUTE,
    MAKE_DIR,
    MAKE_REG,
    READ_DIR,
    READ_FILE,
    REFER,
    REMOVE_FILE,
    TRUNCATE,
    WRITE_FILE,
)
from torov.policy.pattern import matches


def rules(*written: dict[str, object], default: object = "deny") -> kept.Rules:
    made = policy.parse("p.json", json.dumps({"torov": 1, "default": default, "rules": list(written)}).encode())
    return landlock.derived(made.actions, made.program)


def test_numbers_are_those_of_the_header() -> None:
    """linux/landlock.h, read as text."""
    import re
    from pathlib import Path

    text = Path("/usr/include/linux/landlock.h").read_text()
    numbers = {name: 1 << int(bit) for name, bit in re.findall(r"#define LANDLOCK_ACCESS_FS_(\w+)\s+\(1ULL << (\d+)\)", text)}
    assert len(numbers) >= 14
    for name, number in numbers.items():
        assert getattr(landlock, name, number) == number, name


def test_without_conditions_only_execution_is_handled() -> None:
    """The monitor executes nothing but its runner; all else the policy allows anywhere."""
    made = rules(default="allow")
    assert made.fs == EXECUTE | REFER and made.paths == [(b"/", REFER)]
    assert made.net == 0 and ("runner", EXECUTE | READ_FILE) in made.own


def test_what_no_call_can_do_nobody_can() -> None:
    made = rules({"calls": ["read", "write"], "action": "allow"})
    assert made.fs == kept.ALL and made.paths == []
    assert made.net == BIND_TCP | CONNECT_TCP and made.ports == []
    assert made.own == [("proc", READ_FILE | READ_DIR)]


def test_paths_and_flags() -> None:
    made = rules(
        {
            "calls": ["open", "openat"],
            "where": [{"path": ["/usr/**", "/etc/*.conf"]}, {"arg": "flags", "is": "O_RDONLY", "mask": 3}],
            "action": "allow",
        },
        {"calls": ["open", "openat"], "where": [{"path": "/tmp/out/**"}], "action": "allow"},
        {"calls": ["unlink", "mkdir"], "where": [{"path": "/tmp/out/*"}], "action": "allow"},
        {"calls": ["truncate"], "where": [{"path": "/tmp/one"}], "action": "allow"},
    )
    places = dict(made.paths)
    assert places[b"/tmp/out"] & (WRITE_FILE | READ_FILE | MAKE_REG | MAKE_DIR | REMOVE_FILE | TRUNCATE) == (
        WRITE_FILE | READ_FILE | MAKE_REG | MAKE_DIR | REMOVE_FILE | TRUNCATE
    )
    for place in (b"/usr", b"/etc"):
        assert places[place] & (READ_FILE | READ_DIR) == READ_FILE | READ_DIR and not places[place] & WRITE_FILE
    assert places[b"/tmp/one"] == TRUNCATE
    assert set(places) == {b"/usr", b"/etc", b"/tmp/out", b"/tmp/one"}
    assert made.fs & (READ_FILE | WRITE_FILE | MAKE_REG | REMOVE_FILE) == READ_FILE | WRITE_FILE | MAKE_REG | REMOVE_FILE


def test_a_call_without_a_condition_opens_all() -> None:
    """A refusal before it changes nothing: Landlock cannot say "but not there"."""
    made = rules(
        {"calls": ["openat"], "where": [{"path": "/etc/shadow"}], "action": "deny"},
        {"calls": ["openat"], "action": "allow"},
        {"calls": ["open"], "where": [{"path": "/usr/**"}], "action": "allow"},
    )
    assert made.fs & (READ_FILE | WRITE_FILE | MAKE_REG) == 0


def test_ports() -> None:
    made = rules(
        {"calls": ["connect"], "where": [{"address": {"family": "inet", "port": [443, 444]}}], "action": "allow"},
        {"calls": ["bind"], "where": [{"address": {"family": "inet", "port": [1024, 65535]}}], "action": "allow"},
    )
    assert made.net == CONNECT_TCP and made.ports == [(443, CONNECT_TCP), (444, CONNECT_TCP)]


@pytest.mark.parametrize(
    ("pattern", "place", "whole"),
    [
        (b"/a/b", b"/a/b", True), (b"/a/b/**", b"/a/b", False), (b"/a/b*", b"/a", False), (b"/a/[xy]/c", b"/a", False),
        (b"/a\\*b/c", b"/a*b/c", True), (b"/**", b"", False), (b"/a/?", b"/a", False), (b"**", b"", False),
    ],
)  # fmt: skip
def test_what_stands_before_a_wildcard(pattern: bytes, place: bytes, whole: bool) -> None:
    assert landlock.prefix(pattern) == (place, whole)


PART = st.text(st.sampled_from("ab*?/[]x"), min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(PART, st.text(st.sampled_from("abx/"), min_size=1, max_size=8))
def test_a_path_that_matches_lies_below(part: str, path: str) -> None:
    pattern = f"/{part}".encode()
    try:
        found = matches(pattern, f"/{path}".encode())
    except Exception:  # no pattern
        return
    place, whole = landlock.prefix(pattern)
    if found:
        name = f"/{path}".encode()
        assert name == place or name.startswith(place.rstrip(b"/") + b"/") or (whole and name == place)


def test_they_are_kept_with_the_policy() -> None:
    made = rules({"calls": ["openat"], "where": [{"path": "/usr/**"}], "action": "allow"})
    again = kept.Rules.of(made.packed())
    assert (again.fs, again.paths, again.net, again.ports, again.own) == (made.fs, made.paths, made.net, made.ports, made.own)
