"""torov policy learn: a program is run, its end is passed on, and what it did is in the policy."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from running import ROOT, run
from support import HELLO_C, Compiler, until_in_call
from test_inferred import binary, command

from torov.learned import dump

pytestmark = pytest.mark.kvm


def start(*words: str | Path, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_output_status_and_summary_go_where_they_belong(cc: Compiler, tmp_path: Path) -> None:
    out, hello = tmp_path / "p.json", cc(HELLO_C)
    ran = run(command("learn", "-o", out, "--", hello))
    assert (ran.status, ran.out) == (0, "hello\n")
    assert ran.err.startswith(f"torov: {out}: learned ") and ran.err.count("\n") == 1
    ran = run(command("learn", "-o", out, "--quiet", hello))
    assert (ran.out, ran.err) == ("hello\n", "")
    made = json.loads(run(command("learn", "-o", out, "--json", "--", hello)).err)
    assert (made["exit_status"], made["merged"], made["runs"], made["file"]) == (0, True, 3, str(out))
    assert json.loads(run(command("learn", "-o", out, "--fresh", "--json", "--", hello)).err)["runs"] == 1


def test_errors_are_one_line_and_leave_the_file_alone(cc: Compiler, tmp_path: Path) -> None:
    other, hello = tmp_path / "mine.json", cc(HELLO_C)
    other.write_text('{"torov": 1, "default": "deny"}')
    for words, status in (
        (("learn", "-o", other, "--", hello), 125),
        (("learn", "-o", tmp_path / "p.json"), 125),
        (("learn", "--", hello), 125),
        (("learn", "-o", tmp_path / "no" / "p.json", "--", hello), 125),
        (("learn", "-o", tmp_path / "p.json", "--", tmp_path / "none"), 127),
        (("learn", "-o", tmp_path / "p.json", "--", other), 126),
    ):
        ran = run(command(*words))
        assert (ran.status, ran.out) == (status, ""), words
    assert other.read_text() == '{"torov": 1, "default": "deny"}'
    assert list(tmp_path.iterdir()) == [other]


def test_a_program_that_is_interrupted_teaches_what_it_did(cc: Compiler, tmp_path: Path) -> None:
    text = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("up"); fflush(stdout); pause(); return 0; }\n'
    child = start(*command("learn", "-o", tmp_path / "p.json", "--", cc(text)), cwd=tmp_path)
    assert child.stdout is not None and child.stdout.readline() == b"up\n"
    until_in_call(child.pid, "pause")
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 128 + signal.SIGTERM
    assert '"pause"' in (tmp_path / "p.json").read_text()


@pytest.mark.corpus
def test_a_server_serves_again_and_nowhere_else(tmp_path: Path) -> None:
    caddy, out = binary("caddy"), tmp_path / "p.json"
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("it is served")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve: list[str | Path] = [caddy, "file-server", "--root", "www", "--listen", f"127.0.0.1:{port}"]
    first = start(*command("learn", "-o", out, "--", *serve), cwd=tmp_path)
    try:
        assert ask(port) == ask(port) == "it is served"
    finally:
        first.send_signal(signal.SIGTERM)
        first.wait(30)
    assert out.exists(), first.stderr.read() if first.stderr else ""
    again = start(sys.executable, "-m", "torov", "exec", "--policy", out, caddy, "--", *map(str, serve[1:]), cwd=tmp_path)
    try:
        assert ask(port) == "it is served"
    finally:
        again.send_signal(signal.SIGTERM)
        _, err = again.communicate(timeout=30)
    assert b"denied" not in err
    shut = run(
        [sys.executable, "-m", "torov", "exec", "--policy", out, caddy, "--", "validate", "--config", "/etc/shadow"], cwd=tmp_path
    )
    assert shut.status != 0 and re.search(r'denied openat\(.*"/etc/shadow"', shut.err)


def ask(port: int) -> str:
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_a_file_is_written_as_a_person_would() -> None:
    value = {"short": [1, 2], "long": ["word" * 5] * 12, "deep": [{"a": "b" * 80, "c": "d" * 80}], "none": {}}
    text = dump(value)
    assert json.loads(text) == value
    assert max(map(len, text.splitlines())) <= 120
    assert '"short": [1, 2]' in text
