"""``torov policy``: what each verb prints, in both forms, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import HELLO_S, Compiler

ROOT = Path(__file__).resolve().parents[2]


def policy(*words: object) -> tuple[int, str, str]:
    """Run the verb: status, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "torov", "policy", *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.returncode, done.stdout, done.stderr


def words(text: str) -> str:
    """A table without its spaces and folds."""
    return " ".join(text.split())


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "p.json"
    rules = [
        {"calls": ["openat", "open"], "where": [{"path": "/etc/shadow"}], "action": {"errno": "EACCES"}, "comment": "no shadow"},
        {"calls": ["write"], "where": [{"arg": "fd", "range": [1, 2]}], "action": "allow"},
        {"calls": ["connect"], "where": [{"address": {"network": "10.0.0.0/8", "port": 443}}], "action": "allow"},
        {"calls": ["@file-system", "exit_group"], "action": "allow"},
    ]
    file.write_text(json.dumps({"torov": 1, "default": "deny", "rules": rules}, indent=1))
    return file


def test_check_says_that_a_policy_is_sound(good: Path) -> None:
    assert policy("check", good) == (0, f"{good}: 4 rules, none without effect\n", "")


def test_check_says_what_is_wrong(good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"torov": 1, "default": "deny", "rules": [{"calls": ["opnat"], "action": "allow"}]}')
    message = f'{bad}: rules[0].calls[0]: expected an x86-64 system call, got "opnat" (did you mean openat?)'
    assert policy("check", bad) == (1, message + "\n", "")
    status, out, _ = policy("check", bad, "--json")
    assert (status, json.loads(out)) == (1, {"file": str(bad), "errors": [message], "findings": []})


def test_check_names_rules_without_effect(tmp_path: Path) -> None:
    file = tmp_path / "dead.json"
    file.write_text('{"torov": 1, "default": "deny", "rules": [{"calls": ["@known"], "action": "kill"},\n'
                    '{"calls": ["read"], "action": "allow"}]}')  # fmt: skip
    status, out, _ = policy("check", file)
    assert status == 1
    assert f"dead {file}:2 rule 2 its calls are decided before, by {file}:1 rule 1" in words(out)
    document = json.loads(policy("check", file, "--json")[1])
    assert [(one["kind"], one["rule"]) for one in document["findings"]] == [("dead", f"{file}:2 rule 2")]


def test_check_compares_with_a_binary(good: Path, cc: Compiler, tmp_path: Path) -> None:
    binary = cc(HELLO_S, "bare")
    assert policy("check", good, binary)[0] == 0
    strict = tmp_path / "strict.json"
    strict.write_text('{"torov": 1, "default": {"errno": "EIO"}}')
    status, out, _ = policy("check", strict, binary)
    assert (status, "write EIO the default of" in words(out)) == (0, True)
    document = json.loads(policy("check", strict, binary, "--json")[1])
    assert [(one["call"], one["action"]) for one in document["refused"]] == [("write", "EIO")]


@pytest.mark.parametrize(
    ("args", "answers"),
    [
        ([], ["may decide", "may decide"]),
        (["path=/etc/shadow"], ["decides", "not reached"]),
        (["path=/etc/passwd"], ["no", "decides"]),
        (["flags=O_RDONLY|O_CLOEXEC"], ["may decide", "may decide"]),
    ],
)
def test_explain_says_which_rule_decides(good: Path, args: list[str], answers: list[str]) -> None:
    status, out, _ = policy("explain", good, "openat", *args, "--json")
    steps = json.loads(out)["steps"]
    assert (status, [step["answer"] for step in steps]) == (0, answers)
    assert (steps[0]["action"], steps[0]["rule"]) == ("EACCES", f"{good}:5 rule 1 (no shadow)")
    assert (steps[0]["conditions"], steps[1]["conditions"]) == ("path is /etc/shadow", "")
    table = policy("explain", good, "257", *args)[1]
    assert table.startswith("openat(dirfd, path, flags, mode)\n") and answers[0] in table


@pytest.mark.parametrize(
    ("address", "answers"),
    [
        ("10.1.2.3:443", ["decides", "not reached"]),
        ("10.1.2.3:80", ["no", "decides"]),
        ("[::ffff:10.1.2.3]:443", ["decides", "not reached"]),
        ("[::1]:443", ["no", "decides"]),
        ("unix:@name", ["no", "decides"]),
        ("none", ["no", "decides"]),
    ],
)
def test_explain_knows_socket_addresses(good: Path, address: str, answers: list[str]) -> None:
    steps = json.loads(policy("explain", good, "connect", f"address={address}", "--json")[1])["steps"]
    assert [step["answer"] for step in steps] == answers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opnat"], "opnat: no system call of x86-64 (did you mean openat?)"),
        (["openat", "flgas=1"], "flgas: openat has no such argument (did you mean flags?)"),
        (["openat", "flags=O_CRAET"], "O_CRAET: expected a number or a constant of openat (did you mean O_CREAT?)"),
        (["openat", "x"], "x: expected NAME=VALUE, as path=/etc/passwd"),
        (
            ["connect", "address=here"],
            "here: expected an address as 10.0.0.1:443, [::1]:443, unix:/run/x.sock, unix:@name or none",
        ),
    ],
)
def test_explain_refuses_what_it_cannot_understand(good: Path, arguments: list[str], message: str) -> None:
    assert policy("explain", good, *arguments) == (125, "", f"torov: {message}\n")


def test_diff_shows_calls_and_settings(good: Path, tmp_path: Path) -> None:
    other = tmp_path / "q.json"
    document: dict[str, Any] = json.loads(good.read_text())
    other.write_text(json.dumps(document))
    assert policy("diff", good, other) == (0, f"{good} and {other} decide the same about every call\n", "")
    document["rules"][1]["where"][0]["range"] = [1, 3]
    document["limits"] = {"wall": "1s"}
    other.write_text(json.dumps(document))
    status, out, _ = policy("diff", good, other, "--json")
    assert (status, json.loads(out)["calls"]) == (
        1, [{"calls": ["write"], "before": ["allow if 1 <= fd <= 2", "EPERM"], "after": ["allow if 1 <= fd <= 3", "EPERM"]}],
    )  # fmt: skip
    assert json.loads(out)["settings"] == [{"name": "limits", "before": None, "after": {"wall": 1000}}]
    status, out, _ = policy("diff", good, other)
    assert (status, "write allow if 1 <= fd <= 2 allow if 1 <= fd <= 3" in words(out)) == (1, True)


def test_convert_writes_our_form(good: Path, tmp_path: Path) -> None:
    profile, out = tmp_path / "oci.json", tmp_path / "out.json"
    entry = {"names": ["sethostname"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [entry]}))
    assert policy("convert", profile, "-o", out, "--capabilities", "sys_admin") == (0, "", "")
    assert json.loads(out.read_text())["rules"] == [{"calls": ["sethostname"], "action": "allow"}]
    assert json.loads(policy("convert", profile)[1])["rules"] == []
    assert policy("convert", good) == (125, "", f"torov: {good} is in torov's own form already\n")
    assert policy("convert", profile, "--capabilities", "sys_amdin")[2] == (
        'torov: --capabilities: "sys_amdin" is no capability (did you mean CAP_SYS_ADMIN?)\n'
    )


def test_schema_prints_the_schema(good: Path) -> None:
    status, out, _ = policy("schema")
    assert status == 0
    jsonschema.validate(json.loads(good.read_text()), json.loads(out))


@pytest.mark.parametrize("verb", ["check", "explain", "diff", "convert", "schema", "infer", "learn"])
def test_every_verb_has_help(verb: str) -> None:
    status, out, _ = policy(verb, "--help")
    assert (status, f"torov policy {verb}" in out) == (0, True)


def test_without_a_verb_it_says_which_there_are() -> None:
    status, _, error = policy()
    assert status == 125 and all(verb in error for verb in ("check", "explain", "diff", "convert", "schema", "Examples:"))
