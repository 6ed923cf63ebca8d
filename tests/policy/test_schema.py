"""The JSON Schema: it takes what the reader takes and refuses what it refuses, as far as structure goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_reference import policy

from torov.errors import PolicyError
from torov.policy import parse, schema

SCHEMA: dict[str, Any] = json.loads((Path(schema.__file__).parent / "schema.json").read_text())
CHECKER = jsonschema.Draft202012Validator(SCHEMA)
ROOT = Path(__file__).resolve().parents[2]

WHOLE: dict[str, Any] = {
    "torov": 1, "comment": "all there is", "extends": [], "default": {"errno": "EACCES"}, "strict": False,
    "capabilities": ["CAP_KILL"],
    "rules": [
        {"calls": ["openat", "@network-io"], "action": "allow", "comment": "x"},
        {"calls": ["openat"], "action": {"errno": 4000}, "where": [
            {"arg": "flags", "is": ["O_RDONLY", 1, "0x2"], "mask": "O_ACCMODE", "comment": "x"}, {"arg": "mode", "not": 0},
            {"arg": "dirfd", "range": [-100, 5]}, {"path": ["/a/**", "/b"]}, {"not-path": "/c"}, {"arg": "path", "path": "/d"},
        ]},
        {"calls": ["connect"], "action": {"delegate": "net"}, "where": [
            {"address": {"family": "inet", "port": [1, 2], "network": ["10.0.0.0/8"], "comment": "x"}},
            {"not-address": [{"path": "@x"}, {"family": 16}]},
        ]},
    ],
    "limits": {"memory": "512M", "cpu": "10s", "wall": "30s", "processes": 16, "threads": 64, "descriptors": 256,
               "file-size": 100, "output": "10M"},
    "environment": {"pass": ["LANG"], "set": {"HOME": "/", "comment": "a variable"}},
    "arguments": {"allow": ["-*"], "most": 0},
    "root": "/srv", "mounts": [{"bind": "/usr", "to": "/usr", "mode": "ro"}, {"tmpfs": "/tmp", "size": "64M"}, {"proc": "/proc"}],
    "network": "none", "namespaces": ["user", "mount"], "hostname": "box", "user": {"uid": 1, "gid": 2},
    "delegates": {"net": {"socket": "/run/n.sock"}, "files": {}}, "debug": {"allowed": True, "port": 1},
    "trace": {"calls": ["@aio"], "file": "t", "format": "json"},
}  # fmt: skip


def _read(document: object) -> bool:
    try:
        parse("p.json", json.dumps(document).encode())
    except PolicyError:
        return False
    return True


def _both(document: object) -> tuple[bool, bool]:
    return CHECKER.is_valid(document), _read(document)


def test_the_file_is_what_the_tables_say() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    path = Path(schema.__file__).parent / "schema.json"
    assert path.read_text() == schema.text(), "python -m torov.policy.schema writes it"


def test_all_that_there_is_and_the_policies_of_the_samples_are_good() -> None:
    assert _both(WHOLE) == (True, True)
    files = list(ROOT.glob("samples/*/policy.json"))
    assert len(files) >= 3
    for path in files:
        assert _both(json.loads(path.read_text())) == (True, True), path


def test_the_example_of_the_documentation_is_good(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "policy.md").read_text()
    start = text.index('    {\n      "torov": 1,')
    document = json.loads(text[start : text.index("\n\n", start)])
    CHECKER.validate(document)
    (tmp_path / "base.json").write_text('{"torov": 1, "default": "allow"}')
    made = parse(str(tmp_path / "p.json"), json.dumps(document).encode())
    assert (made.action(0), made.action(257), made.action(41)) == (0, -2, 0)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    for name, inside in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += _paths(inside, (*path, name))
    return found


def _changed(path: tuple[str | int, ...], value: object, name: str | None = None) -> Any:
    """WHOLE with another value at a place, or with a member of another name there."""
    made = json.loads(json.dumps(WHOLE))
    inside = made
    for step in path[:-1]:
        inside = inside[step]
    if name is not None:
        (inside[path[-1]] if path else made)[name] = value
    else:
        inside[path[-1]] = value
    return made


_ODD: list[Any] = [
    None,
    True,
    3.5,
    -1,
    1 << 70,
    "",
    "no such",
    [],
    {},
    [[]],
    [None],
    {"errno": "ENOSUCH"},
    {"x": 1},
    "a\0b",
    "/..",
]
_FREE = {"comment", "network", "family", "allow", "HOME", "hostname", "pass", "root", "file", "socket", "extends", "arg", "user",
         "path", "not-path", "delegate", "is", "not", "mask", "range"}  # fmt: skip
"""Names whose values only the reader can judge: patterns, networks, arguments, users, files."""


@pytest.mark.parametrize("path", [path for path in _paths(WHOLE) if path], ids=lambda path: ".".join(map(str, path)))
def test_an_odd_value_is_refused_by_both_or_by_none(path: tuple[str | int, ...]) -> None:
    names = {word for word in path if isinstance(word, str)}
    for value in _ODD:
        document = _changed(path, value)
        valid, read = _both(document)
        if path == ("delegates",) and value == {}:
            assert (valid, read) == (True, False)  # the rules name one
        elif names & _FREE and isinstance(value, str | int | list | float) and not isinstance(value, bool):
            assert valid or not read, (value, "the reader takes it, the schema does not")
        else:
            assert valid == read, value


@pytest.mark.parametrize("path", _paths(WHOLE), ids=lambda path: ".".join(map(str, path)) or "top")
def test_an_unknown_member_is_refused_by_both(path: tuple[str | int, ...]) -> None:
    inside: Any = WHOLE
    for step in path:
        inside = inside[step]
    if isinstance(inside, dict):
        expected = path in (("environment", "set"),)
        assert _both(_changed(path, "x", "nosuch")) == (expected, expected)
        assert _both(_changed(path, 7, "comment")) == (False, False)


@pytest.mark.parametrize("name", ["torov", "default"])
def test_what_is_required_is_required_by_both(name: str) -> None:
    assert _both({key: value for key, value in WHOLE.items() if key != name}) == (False, False)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(policy(), st.booleans())
def test_random_policies_are_good(document: dict[str, Any], _: bool) -> None:
    CHECKER.validate(document)
