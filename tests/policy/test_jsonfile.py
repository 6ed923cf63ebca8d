"""Strict JSON with places: what is read, and the one line that everything else becomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torov.errors import PolicyError
from torov.policy import jsonfile as policy_json
from torov.policy.jsonfile import MAX_SIZE, Place, parse, read, show


def _error(data: bytes) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse("p.json", data)
    return caught.value


@pytest.mark.parametrize("text", ["{}", " [1, -2.5, true, null]\n", '\t"\\u00e9\\ud83d"', '{"a": {"b": []}}'])
def test_values_are_those_of_json(text: str) -> None:
    assert parse("p.json", text.encode()).value == json.loads(text)


@pytest.mark.parametrize(
    ("data", "path", "expected", "got"),
    [
        (b"", "line 1 column 1", "value", "the end of the file"),
        (b'{"a": 1', "line 1 column 8", "',' delimiter", "the end of the file"),
        (b'{\n "a" 1}', "line 2 column 6", "':' delimiter", '"1"'),
        (b"{} x", "line 1 column 4", "the end of the file", '"x"'),
        (b'{"a": "b\n"}', "line 1 column 9", "JSON", "invalid control character"),
        (b'{}\n\n"\xff"', "line 3", "UTF-8", "byte 0xff"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1 column 1", "JSON", "unexpected UTF-8 BOM (decode using utf-8-sig)"),
        (b"[NaN]", "top level", "JSON", "NaN"),
        (b"[-Infinity]", "top level", "JSON", "-Infinity"),
        (b"[" + b"1" * 5000 + b"]", "top level", "JSON", "a number with too many digits"),
        (b"[" * 200_000, "top level", "a policy", "objects or arrays nested too deep"),
        (b'{"a":' * 100_000, "top level", "a policy", "objects or arrays nested too deep"),
    ],
    ids=range(12),
)
def test_what_is_not_json_says_where_and_what(data: bytes, path: str, expected: str, got: str) -> None:
    error = _error(data)
    assert (error.file, error.path, error.expected, error.got) == ("p.json", path, expected, got)
    assert "\n" not in str(error)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    big = tmp_path / "big.json"
    big.write_bytes(b" " * (MAX_SIZE + 1))
    whys = {
        str(tmp_path): os.strerror(21).lower(),
        str(tmp_path / "absent"): os.strerror(2).lower(),
        str(big): "more",
        "nul\0": "embedded null byte",
    }
    for file, why in whys.items():
        with pytest.raises(PolicyError) as caught:
            read(file)
        assert (caught.value.path, caught.value.got.lower()) == ("file", why)


def test_a_file_as_large_as_allowed_is_read(tmp_path: Path) -> None:
    whole = tmp_path / "whole.json"
    whole.write_bytes(b"[1]" + b" " * (MAX_SIZE - 3))
    assert read(str(whole)).value == [1]


def test_a_right_policy_is_read_without_the_json_package(tmp_path: Path) -> None:
    policy = tmp_path / "p.json"
    policy.write_text('{"torov": 1, "default": "allow"}')
    program = (
        "import sys; from torov import policy; policy.load(sys.argv[1]); "
        "print({'json', 're', 'dataclasses', 'typing', 'hashlib', 'enum'} & set(sys.modules))"
    )
    command = [sys.executable, "-S", "-c", program, str(policy)]
    root = Path(policy_json.__file__).resolve().parents[2]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(root)})
    assert shown.stdout == "set()\n"


def test_both_parsers_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b' {"a": [1, 2.5, {"b": "\\u00e9"}], "c": null} \n'
    quick = parse("p.json", data).value

    def absent(text: str) -> object:
        raise ImportError("no module named _json")

    monkeypatch.setattr(policy_json, "_quick", absent)
    assert parse("p.json", data).value == quick == json.loads(data)
    with pytest.raises(PolicyError, match=r'top level: expected each name once, got "a" twice'):
        parse("p.json", b'{"a": 1, "a": 2}').members("a")


def test_members_are_named_by_their_place() -> None:
    top = parse("p.json", b'{"comment": "x", "rules": [{"a": [1]}]}')
    inner = top.members("", "rules")["rules"].items()[0].members("a")["a"].items()[0]
    assert (inner.path, inner.value) == ("rules[0].a[0]", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"bcd": 1}', 'top level: expected "a", got an object without it'),
        ('{"a": 1, "bc": 1}', 'top level: expected one of a, bcd, comment, got "bc" (did you mean bcd?)'),
        ('{"a": 1, "a": 2}', 'top level: expected each name once, got "a" twice'),
        ('{"a": 1, "comment": 2}', "comment: expected a string, got 2"),
        ('{"A": 1}', 'top level: expected one of a, bcd, comment, got "A" (did you mean a?)'),
        ("[]", "top level: expected an object, got an array"),
    ],
)
def test_members_refuse_what_is_unknown_missing_or_double(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse("p.json", text.encode()).members("a", "bcd")
    assert str(caught.value) == f"p.json: {message}"


def test_folded_names_are_one_name() -> None:
    found = parse("p.json", b'{"nEWPID": true}').members("", "Newpid", fold=True)
    assert found["Newpid"].value is True
    with pytest.raises(PolicyError, match='each name once, got "NEWPID" twice'):
        parse("p.json", b'{"Newpid": 1, "NEWPID": 2}').members("", "Newpid", fold=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "an object"),
        ([1], "an array"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        ("a\n\u00e9\ud800", '"a\\n\\xe9\\ud800"'),
        ('"', "'\"'"),
        ("x" * 41, '"' + "x" * 40 + '..."'),
    ],
)
def test_values_are_shown_short_and_in_ascii(value: object, text: str) -> None:
    assert show(value) == text
    assert Place("f", "", value).error("x").got == text
