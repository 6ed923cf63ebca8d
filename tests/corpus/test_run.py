"""Cases: what differs is found, what hangs is ended, what is left behind does not stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from guests import ran

from torov.corpus import attempt

pytestmark = pytest.mark.kvm


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOROV_CORPUS", str(tmp_path_factory.getbasetemp() / "corpus"))


def whats(result: dict[str, Any]) -> list[str]:
    return [one["what"] for one in result["differs"]]


def test_what_is_the_same(tmp_path: Path) -> None:
    result = ran(tmp_path, {"name": "a", "args": ["nothing"], "files": {"x": "1\n"}})
    assert (result["outcome"], result["differs"], result["error"], result["attempts"]) == ("same", [], "", 1)
    assert result["native"]["stdout"] == result["torov"]["stdout"] == "native\n"
    assert result["native"]["ended"] == result["torov"]["ended"] == "status 0"
    assert result["ratio"] > 0 and result["torov"]["guest"] < result["torov"]["seconds"]


def test_the_time_of_a_program_that_becomes_another(tmp_path: Path) -> None:
    result = ran(tmp_path, {"name": "a", "shell": "sleep 0.3; exec sleep 0.2"})
    assert result["outcome"] == "same" and result["torov"]["boot"] > 0
    assert 0.5 <= result["torov"]["guest"] <= result["torov"]["seconds"] - result["torov"]["boot"] + 0.001


def test_a_policy_inline_can_name_the_directory(tmp_path: Path) -> None:
    for path, outcome in (("@here@/x", "different"), ("@here@/y", "same")):
        rule = {"calls": ["openat"], "where": [{"path": [path]}], "action": {"errno": "EACCES"}}
        policy = {"torov": 1, "default": "allow", "rules": [rule]}
        result = ran(tmp_path, {"name": "a", "shell": "cat x", "files": {"x": "1\n"}, "policy": policy})
        assert result["outcome"] == outcome, result


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("stdout", "stdout"),
        ("stderr", "stderr"),
        ("file", "files"),
        ("child", "processes"),
        ("status", "status"),
        ("crash", "status"),
    ],
)
def test_what_differs_is_found(word: str, what: str, tmp_path: Path) -> None:
    result = ran(tmp_path, {"name": "a", "args": [word]})
    assert (result["outcome"], whats(result)) == ("different", [what])
    assert "+" in result["differs"][0]["diff"]


def test_a_difference_that_is_expected(tmp_path: Path) -> None:
    expected = {"what": "stdout", "reason": "it looks where it is", "matches": r"^\+guest$"}
    result = ran(tmp_path, {"name": "a", "args": ["stdout"], "expected": [expected]})
    assert result["outcome"] == "expected" and result["differs"][0]["reason"] == "it looks where it is"
    result = ran(tmp_path, {"name": "a", "args": ["stdout"], "expected": [{**expected, "matches": "else"}]})
    assert result["outcome"] == "different"
    result = ran(tmp_path, {"name": "a", "args": ["nothing"], "expected": [expected]})
    assert result["outcome"] == "fixed" and whats(result) == ["stdout"]
    result = ran(tmp_path, {"name": "a", "args": ["nothing"], "expected": [{**expected, "sometimes": True}]})
    assert result["outcome"] == "same"
    result = ran(tmp_path, {"name": "a", "args": ["status"], "expected": [expected]})
    assert result["outcome"] == "different" and whats(result) == ["status"]


def test_a_guest_without_end_is_ended_at_its_limit(tmp_path: Path) -> None:
    began = time.monotonic()
    result = ran(tmp_path, {"name": "a", "args": ["hang"], "limit": 1})
    assert result["outcome"] == "different" and result["torov"]["ended"] == "no end within 1 s"
    assert time.monotonic() - began < 30
    result = ran(tmp_path, {"name": "a", "shell": "sleep 1000"}, limit=0.5)
    assert (result["outcome"], result["error"]) == ("error", "natively: no end within 0.5 s")


def marked(mark: str) -> list[str]:
    """The command lines that have a mark."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in words and int(pid) != os.getpid():
            found.append(words.replace(b"\0", b" ").decode())
    return found


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """Children in sessions of their own, whose parents have ended."""
    mark = f"10{os.getpid()}.25"
    result = ran(tmp_path, {"name": "a", "shell": f"setsid sleep {mark} & (setsid setsid sleep {mark} &) ; echo done"})
    assert (result["outcome"], result["torov"]["left"]) == ("same", ["sleep", "sleep"])
    assert marked(mark) == []


def test_nothing_is_left_running_after_an_interrupt(tmp_path: Path) -> None:
    """The process that runs cases is killed: keeper, guest and its children go with it."""
    from guests import cases_of

    mark = f"20{os.getpid()}.25"
    (case,) = cases_of(tmp_path, {"name": "a", "shell": f"setsid sleep {mark} & sleep {mark}"})
    script = f"from torov.corpus.attempt import attempt; attempt({case.document()!r})"
    runner = subprocess.Popen([sys.executable, "-c", script], cwd=Path(attempt.__file__).parents[2])
    try:
        for _ in range(300):
            if len(marked(f"sleep\0{mark}")) >= 2:
                break
            time.sleep(0.1)
        assert len(marked(f"sleep\0{mark}")) >= 2
    finally:
        runner.kill()
        runner.wait()
    for _ in range(100):
        if not marked(mark):
            break
        time.sleep(0.1)
    assert marked(mark) == []


def test_an_unstable_case(tmp_path: Path) -> None:
    result = ran(tmp_path, {"name": "a", "shell": "echo $$ $(cat /proc/sys/kernel/random/uuid)"})
    assert result["outcome"] == "unstable" and "normaliser" in result["error"]
    result = ran(
        tmp_path, {"name": "a", "shell": "echo pid $$ $(cat /proc/sys/kernel/random/uuid)", "normalise": ["uuids", "pids"]}
    )
    assert result["outcome"] == "same"


def test_a_retry_is_shown(tmp_path: Path) -> None:
    """The first run by torov differs, the next does not: the state is outside of the scratch directory."""
    state = tmp_path / "state"
    text = f"(: < /proc/self/mem) 2>/dev/null || test -e {state} || {{ touch {state}; echo first; }}"
    result = ran(tmp_path, {"name": "a", "shell": text}, retries=2)
    assert (result["outcome"], result["attempts"], result["differs"]) == ("flaky", 2, [])
    (before,) = result["before"]
    assert (before["attempt"], before["what"]) == (1, "stdout") and "+first" in before["diff"]
    state.unlink()
    assert ran(tmp_path, {"name": "a", "shell": text})["outcome"] == "different"


def test_a_server_and_its_clients(tmp_path: Path) -> None:
    case = {
        "name": "a",
        "shell": "exec @bin:busybox@ httpd -f -p 127.0.0.1:@web@ -h .",
        "ports": ["web"],
        "files": {"f": {"random": 5000}},
        "ready": {"port": "@web@"},
        "clients": [{"binary": "busybox", "args": ["wget", "-q", "-O", "-", "http://127.0.0.1:@web@/f"], "copies": 3}],
        "compare": ["status", "clients", "processes"],
    }
    result = ran(tmp_path, case)
    assert result["outcome"] == "same", result
    assert result["native"]["ended"] == "signal 15 (SIGTERM)"
    assert [len(copies) for copies in result["torov"]["clients"]] == [3]
    result = ran(tmp_path, {"name": "a", "shell": "sleep 100", "ready": {"output": "never", "within": 0.5}})
    assert (result["outcome"], result["error"]) == ("error", "natively: not ready within 0.5 s")


def test_hostile_output_is_kept(tmp_path: Path) -> None:
    result = ran(tmp_path, {"name": "a", "shell": r"printf '\033[31m\377\000<script>'"})
    assert result["outcome"] == "same"
    assert result["torov"]["stdout"].encode(errors="surrogateescape") == b"\x1b[31m\xff\0<script>"


def test_output_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = ran(tmp_path, {"name": "a", "shell": "(: < /proc/self/mem) 2>/dev/null || exec cat /dev/zero"})
    assert (result["outcome"], whats(result)[0]) == ("different", "status")
    assert result["torov"]["ended"] == "more than 256 MiB of output"
    assert len(result["torov"]["stdout"]) < 20_000


def test_the_shortest_of_several_runs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    text = f"echo run >> {state}; test $(wc -l < {state}) -gt 2 || sleep 0.5"
    result = ran(tmp_path, {"name": "a", "shell": text}, times=3)
    assert state.read_text() == "run\n" * 6
    assert result["outcome"] == "same" and max(result["native"]["seconds"], result["torov"]["guest"]) < 0.5


def test_a_guest_has_no_other_descriptors_than_natively(tmp_path: Path) -> None:
    result = ran(tmp_path, {"name": "a", "shell": "ls /proc/self/fd; exec 7< /dev/null; ls /proc/self/fd"})
    assert (result["outcome"], result["differs"]) == ("same", [])
    assert result["torov"]["stdout"].split() == ["0", "1", "2", "3", "0", "1", "2", "3", "7"]


def test_a_native_run_without_end_is_an_error_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    result = ran(tmp_path, {"name": "a", "shell": "echo begun; sleep 1000", "limit": 1}, times=3, retries=3)
    assert (result["outcome"], result["native"]["stdout"], result["torov"], result["attempts"]) == ("error", "begun\n", None, 1)
    assert time.monotonic() - began < 5
