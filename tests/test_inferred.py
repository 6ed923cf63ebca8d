"""torov policy infer: the policy of what a binary contains lets it run, and nothing that it does not contain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import run, torov
from support import HELLO_C, HELLO_S, Compiler

from torov import inferred, policy
from torov.corpus import Offline, fetch, read_binaries
from torov.learned import dump
from torov.syscalls import CALLS

ENTRIES = read_binaries()


def binary(name: str) -> Path:
    try:
        return fetch(ENTRIES[name], ENTRIES.values())
    except Offline as err:
        pytest.skip(str(err))


def test_a_policy_of_two_calls(cc: Compiler) -> None:
    made = inferred.contents(str(cc(HELLO_S, "bare")))
    document = inferred.policy(made)
    assert [rule["calls"] for rule in document["rules"]] == [["write"], ["exit"]]
    assert document["default"] == "deny"
    compiled = policy.parse("p.json", dump(document).encode())
    allowed = {call.name for call in CALLS if compiled.action(call.nr) == 0}
    assert allowed == {"write", "exit", "exit_group", "rt_sigreturn"}  # the last two are always allowed
    assert inferred.notes(made) == ["2 system call instructions, 2 known"]


def test_what_could_not_be_known_stands_in_the_policy(cc: Compiler) -> None:
    text = HELLO_S.replace("mov $60, %eax", "mov (%rsi), %eax")
    document = inferred.policy(inferred.contents(str(cc(text, "bare"))))
    assert "2 system call instructions, 1 known. Unknown which calls 0x" in document["comment"]
    assert "read from memory" in document["comment"]
    assert [rule["calls"] for rule in document["rules"]] == [["write"]]


def test_what_changes_the_host_is_not_allowed_and_said(cc: Compiler) -> None:
    text = HELLO_S.replace("mov $1, %eax", "mov $161, %eax").replace("mov $60, %eax", "mov $165, %eax")  # chroot, mount
    made = inferred.contents(str(cc(text, "bare")))
    assert (made.calls, made.guarded, made.unserved) == ((), ("chroot",), ("mount",))
    assert inferred.policy(made)["rules"] == []
    assert any("chroot" in note for note in inferred.notes(made)) and any("mount" in note for note in inferred.notes(made))


def test_a_dynamic_program_says_that_its_libraries_are_elsewhere(cc: Compiler) -> None:
    made = inferred.contents(str(cc(HELLO_C, "dynamic")))
    assert made.dynamic and "libraries" in inferred.notes(made)[-1]


RUNS = {
    "busybox": ("sh", "-c", "ls / | wc -l; id -u; find /etc -name hostname; (sleep 0.1) & wait"),
    "caddy": ("list-modules",),
    "rg": ("root", "/etc/passwd"),
    "ppcx64": ("-iV",),
    "jaq": ("-n", "1"),
}


@pytest.mark.kvm
@pytest.mark.corpus
@pytest.mark.parametrize("name", RUNS)
def test_programs_run_under_what_they_contain(name: str, tmp_path: Path) -> None:
    program, out = binary(name), tmp_path / "p.json"
    out.write_text(dump(inferred.policy(inferred.contents(str(program)))))
    native = run([program, *RUNS[name]], cwd=tmp_path)
    ran = run(torov(program, *RUNS[name], options=("--policy", out)), cwd=tmp_path)
    assert (ran.status, ran.out) == (native.status, native.out)
    assert [line for line in ran.err.splitlines() if "denied" in line and "rseq" not in line] == []


@pytest.mark.kvm
@pytest.mark.corpus
@pytest.mark.parametrize("name", RUNS)
def test_programs_run_strictly(name: str, tmp_path: Path) -> None:
    program, out = binary(name), tmp_path / "p.json"
    out.write_text('{"torov": 1, "default": "builtin", "strict": true}')
    native = run([program, *RUNS[name]], cwd=tmp_path)
    ran = run(torov(program, *RUNS[name], options=("--policy", out)), cwd=tmp_path)
    assert (ran.status, ran.out, ran.err) == (native.status, native.out, native.err)


def command(*words: str | Path) -> list[str | Path]:
    import sys

    return [sys.executable, "-m", "torov", "policy", *words]


@pytest.mark.corpus
def test_the_command_line(tmp_path: Path) -> None:
    program, out = binary("tini-static"), tmp_path / "p.json"
    ran = run(command("infer", program, "-o", out))
    assert (ran.status, ran.out) == (0, "") and "113 system call instructions, 113 known" in ran.err
    assert policy.load(str(out)).name_of_default == "deny"
    printed = run(command("infer", program))
    assert printed.out == out.read_text()
    sites = json.loads(run(command("infer", "--json", program)).out)
    assert sites["unknown"] == 0 and len(sites["sites"]) == 113
    assert {"execve", "wait4"} <= set(sites["calls"])
    assert run(command("infer", tmp_path / "none")).status == 127
    assert run(command("infer", program, "-o", tmp_path / "no" / "p.json")).status == 125
