"""JSON and trace events: what a reader of each may count on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from support import Compiler
from traced import build, lines, run, torov

SCHEMA = {
    "type": "object",
    "required": ["time", "pid", "tid"],
    "properties": {"time": {"type": "number"}, "pid": {"type": "integer"}, "tid": {"type": "integer"}},
    "oneOf": [
        {
            "required": ["call", "args", "result", "return", "duration"],
            "properties": {
                "call": {"type": "string", "pattern": "^[a-z_0-9]+$"},
                "args": {"type": "array", "items": {"type": "string"}},
                "result": {"type": "string"},
                "return": {"type": ["integer", "null"]},
                "errno": {"type": "string", "pattern": "^E[A-Z0-9]+$"},
                "duration": {"type": "number", "minimum": 0},
            },
        },
        {"required": ["signal", "info"], "properties": {"signal": {"pattern": "^SIG"}, "info": {"type": "string"}}},
        {"required": ["exit"], "properties": {"exit": {"type": "integer", "minimum": 0, "maximum": 255}}},
        {"required": ["killed"], "properties": {"killed": {"type": "string", "pattern": "^SIG"}}},
    ],
}
"""docs/tracing.md, in executable form."""


def shown(cc: Compiler, name: str, where: Path, form: str) -> str:
    out = where / "out"
    run([*torov("-f", "-o", out), "--format", form, build(cc, name)], where / "run")
    return out.read_text()


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def text_of(rows: Iterable[dict[str, object]]) -> list[str]:
    made = []
    for row in rows:
        if "call" in row:
            args = row["args"]
            assert isinstance(args, list)
            made.append(f"{row['tid']} {row['call']}({', '.join(args)}) = {row['result']}")
        elif "signal" in row:
            made.append(f"{row['tid']} --- {row['signal']} {row['info']} ---")
        else:
            end = f"exited with {row['exit']}" if "exit" in row else f"killed by {row['killed']}"
            made.append(f"{row['tid']} +++ {end} +++")
    return made


@pytest.mark.parametrize("name", ["files", "process"])
def test_json_says_what_text_says(cc: Compiler, tmp_path: Path, name: str) -> None:
    rows = records(shown(cc, name, tmp_path / "json", "json"))
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    run([*torov("-f", "-o", tmp_path / "out"), build(cc, name)], tmp_path / "text" / "run")
    ours = lines("\n".join(text_of(rows)).replace(str(tmp_path / "json" / "run"), "/cwd"))
    assert ours == lines((tmp_path / "out").read_text().replace(str(tmp_path / "text" / "run"), "/cwd"))


def test_json_of_a_family_has_each_thread_and_its_end(cc: Compiler, tmp_path: Path) -> None:
    rows = records(shown(cc, "family", tmp_path, "json"))
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    ended = {row["tid"]: row.get("killed", row.get("exit")) for row in rows if "exit" in row or "killed" in row}
    assert sorted(map(str, ended.values())) == ["0", "1", "4", "5", "SIGSEGV", "SIGSEGV", "SIGTERM"]
    assert {row["tid"] for row in rows} == set(ended)
    refused = next(row for row in rows if row.get("errno") == "ENOENT")
    assert (refused["call"], refused["return"]) == ("execve", -1)
    executed = [row for row in rows if row.get("call") == "execve" and row["return"] == 0]
    assert len(executed) == 2
    assert "again" in str(executed[1]["args"])


def test_trace_events_are_what_the_format_says(cc: Compiler, tmp_path: Path) -> None:
    """The Trace Event Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU"""
    events = json.loads(shown(cc, "family", tmp_path, "perfetto"))
    assert isinstance(events, list)
    assert len(events) > 80
    for event in events:
        assert event["ph"] in ("X", "i")
        assert isinstance(event["name"], str)
        assert isinstance(event["cat"], str)
        assert isinstance(event["ts"], float)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert event["ph"] != "X" or (isinstance(event["dur"], float) and isinstance(event["args"], dict))
        assert event["ph"] != "i" or event["s"] == "t"
    calls = [event for event in events if event["ph"] == "X"]
    for tid in {event["tid"] for event in calls}:  # no two calls of a thread at once
        own = sorted((event["ts"], event["dur"]) for event in calls if event["tid"] == tid)
        assert all(start + took <= after + 1 for (start, took), (after, _) in pairwise(own))
    waited = next(event for event in calls if event["name"] == "wait4")
    assert waited["args"]["args"].endswith("[{WIFEXITED(s) && WEXITSTATUS(s) == 5}], 0, NULL")


def test_exec_takes_the_same_by_its_own_options(cc: Compiler, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--trace=%file,!openat", "--trace-out", str(out), "--trace-format=json", "--trace-opts", "-s 3"]
    done = run([sys.executable, "-m", "torov", "exec", "--quiet", *options, build(cc, "files")], tmp_path / "run")
    assert done.returncode == 3, done.stderr
    names = {str(row["call"]) for row in records(out.read_text()) if "call" in row}
    assert {"open", "mkdir", "getcwd", "rename"} <= names
    assert not names & {"openat", "close", "write"}
