"""What a user hears of decisions: lines on standard error, the audit log, ``--explain``, the action "ask"."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import Compiler

pytestmark = pytest.mark.kvm
ROOT = Path(__file__).resolve().parent.parent

PROGRAM = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static void opens(const char *path, int flags) {
    int fd = open(path, flags, 0600);
    printf("%s: %s\n", path, fd < 0 ? strerror(errno) : "open");
    if (fd >= 0) close(fd);
}
int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "fork")) { if (fork()) { wait(NULL); return 0; } continue; }
        if (!strcmp(argv[i], "exec")) { execv(argv[0], (char *[]){argv[0], argv[i + 1], NULL}); return 9; }
        for (int k = 0; k < 100 && !strcmp(argv[i], "many"); k++) {
            char p[64];
            snprintf(p, sizeof p, "/etc/none-%d", k);
            opens(p, O_RDONLY);
        }
        if (!strcmp(argv[i], "many")) continue;
        if (!strcmp(argv[i], "connect")) {
            struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x01020304)};
            int r = connect(socket(AF_INET, SOCK_DGRAM, 0), (void *)&in, sizeof in);
            printf("connect: %s\n", r ? strerror(errno) : "done");
            continue;
        }
        opens(argv[i], strstr(argv[i], "write") ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(cc: Compiler) -> Path:
    return cc(PROGRAM, "glibc", "-Wall", "-Werror")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "p.json"
    file.write_text(
        """{ "torov": 1, "default": "builtin",
  "rules": [
    { "calls": ["openat"], "where": [{ "path": "/etc/passwd" }], "action": "log", "comment": "who asks" },
    { "calls": ["openat"], "where": [{ "path": "/etc/**" }],
      "action": { "errno": "EACCES" }, "comment": "no secrets" },
    { "calls": ["openat"], "where": [{ "path": "/dev/full" }], "action": "kill" },
    { "calls": ["connect"], "where": [{ "address": { "port": 80 } }], "action": { "errno": "ENETUNREACH" } }
  ] }
"""
    )
    return file


def torov(policy: Path, program: Path, *args: str, options: tuple[str | Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--policy", policy, *options, program, "--", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def test_a_refusal_says_the_call_the_error_the_rule_and_its_line(program: Path, policy: Path) -> None:
    link = policy.parent / "link"
    link.symlink_to("/etc/shadow")
    done = torov(policy, program, "/etc/shadow", str(link), "/etc/../etc/shadow", "/etc/write", "/etc/passwd", "connect")
    refused = "Permission denied"
    assert done.stdout.splitlines() == [
        f"/etc/shadow: {refused}", f"{link}: {refused}", f"/etc/../etc/shadow: {refused}", f"/etc/write: {refused}",
        "/etc/passwd: open", "connect: Network is unreachable",
    ]  # fmt: skip
    rule = f"{policy}:4 rule 2 (no secrets)"
    assert done.stderr.splitlines() == [
        f'torov: denied openat("/etc/shadow", O_RDONLY) = EACCES: {rule}',
        f'torov: denied openat("/etc/write", O_WRONLY|O_CREAT|O_TRUNC, 0600) = EACCES: {rule}',
        f'torov: log openat("/etc/passwd", O_RDONLY): {policy}:3 rule 1 (who asks)',
        f"torov: denied connect(3, 1.2.3.4:80, 16) = ENETUNREACH: {policy}:7 rule 4",
    ]
    killed = torov(policy, program, "/dev/full")
    assert killed.returncode == 128 + 31
    assert killed.stderr == f'torov: killed {program}: openat("/dev/full", O_RDONLY): {policy}:6 rule 3\n'


def test_bytes_of_the_guest_cannot_reach_the_terminal(program: Path, policy: Path) -> None:
    done = torov(policy, program, '/etc/\x1b[31m"\n\\é')
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
    assert '"/etc/\\u001b[31m\\"\\u000a\\\\\\u00c3\\u00a9"' in done.stderr


def test_a_guest_that_is_refused_all_the_time_does_not_fill_the_terminal(program: Path, policy: Path) -> None:
    done = torov(policy, program, "many")
    assert done.stdout.count("Permission denied") == 100
    assert 1 <= len(done.stderr.splitlines()) <= 10


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_audit_log_has_every_decision_of_every_process(program: Path, policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text('{"from": "before"}\n')
    done = torov(
        policy, program, "/etc/shadow", "many", "fork", "connect", "exec", "/etc/passwd", options=("--audit", log, "--quiet")
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = lines_of(log)
    assert first == {"from": "before"} and len(lines) == 103
    assert [line["call"] for line in lines] == ["openat"] * 101 + ["connect", "openat"]
    assert {line["action"] for line in lines[:101]} == {"errno"} and lines[-1]["action"] == "log"
    shadow, connect, passwd = lines[0], lines[-2], lines[-1]
    assert shadow["paths"] == ["/etc/shadow"] and shadow["errno"] == "EACCES" and shadow["rule"] == 1
    assert shadow["label"] == f"{policy}:4 rule 2 (no secrets)" and abs(shadow["time"] - time.time()) < 60
    assert connect["address"] == {"family": "inet", "ip": "1.2.3.4", "port": 80}
    assert connect["pid"] == passwd["pid"] != shadow["pid"]  # the child, before and after exec
    assert lines[100]["paths"] == ["/etc/none-99"]


def test_an_audit_log_that_cannot_be_written_is_said(program: Path, policy: Path, tmp_path: Path) -> None:
    done = torov(policy, program, "/etc/shadow", options=("--audit", tmp_path / "no" / "where"))
    assert done.returncode == 125 and "audit log" in done.stderr and done.stdout == ""
    full = torov(policy, program, "/etc/shadow", options=("--audit", "/dev/full", "--quiet"))
    assert full.returncode == 125 and "No space left" in full.stderr


FILLS = """
#include <sys/resource.h>
#include <unistd.h>
int main(void) {
    struct rlimit few = {10, 10};
    setrlimit(RLIMIT_NOFILE, &few);
    while (dup(0) >= 0) { }
    return 7;
}
"""


def test_a_guest_that_leaves_no_descriptor_free_has_its_log(cc: Compiler, policy: Path, tmp_path: Path) -> None:
    done = torov(policy, cc(FILLS), options=("--audit", tmp_path / "log"))
    assert (done.returncode, done.stderr) == (7, "")


def test_explain_counts_what_rules_decided(program: Path, policy: Path) -> None:
    done = torov(
        policy, program, "/etc/shadow", "many", "/etc/passwd", "fork", "/etc/passwd", options=("--explain", "--quiet", "--json")
    )
    rows = json.loads(done.stderr)["explain"]
    assert [(row["count"], row["action"], row["errno"]) for row in rows] == [(101, "errno", "EACCES"), (2, "log", "")]
    assert rows[0]["label"] == f"{policy}:4 rule 2 (no secrets)" and rows[0]["example"] == 'openat("/etc/shadow", O_RDONLY)'
    table = torov(policy, program, "/etc/shadow", options=("--explain", "--quiet")).stderr
    assert table.splitlines()[0].split() == ["count", "decision", "rule", "for", "example"]
    assert "no secrets" in table.splitlines()[1]
    nothing = torov(policy, program, options=("--explain", "--quiet")).stderr
    assert "refused nothing" in nothing


ASK = """{ "torov": 1, "default": "builtin",
  "rules": [{ "calls": ["openat"], "where": [{ "path": "/etc/**" }], "action": "ask" }] }"""


def at_a_terminal(command: list[str | Path], answers: list[bytes]) -> tuple[int, str]:
    """Run with a controlling terminal, answering each question."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [os.fsdecode(word) for word in command])
    seen, asked, deadline = b"", 0, time.monotonic() + 40
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            part = os.read(master, 4096)
        except OSError:  # EIO: the last one has closed it
            break
        seen += part
        while seen.count(b"[k]ill: ") > asked and answers:
            asked += 1
            os.write(master, answers.pop(0))
    os.close(master)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), seen.decode()


def test_a_person_decides(program: Path, tmp_path: Path) -> None:
    policy = tmp_path / "ask.json"
    policy.write_text(ASK)
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--policy", policy, program, "--"]
    status, seen = at_a_terminal([*command, "/etc/passwd", "/etc/passwd", "/etc/hostname"], [b"y\n", b"n\n", b"what\n", b"a\n"])
    assert status == 0
    assert 'torov: allow openat("/etc/passwd", O_RDONLY)? [y]es, [n]o, [a]lways, [k]ill: ' in seen
    assert seen.count("/etc/passwd: open") == 1 and seen.count("/etc/passwd: Operation not permitted") == 1
    assert seen.count("/etc/hostname: open") == 1  # asked again after a word that is no answer
    status, seen = at_a_terminal([*command, "/etc/passwd", "/etc/passwd", "fork", "/etc/hostname"], [b"a\n"])
    assert status == 0 and seen.count("[k]ill: ") == 1 and seen.count(": open") == 3
    status, seen = at_a_terminal([*command, "/etc/passwd"], [b"k\n"])
    assert status == 128 + 31 and "killed" in seen


def test_without_a_terminal_the_answer_is_no(program: Path, tmp_path: Path) -> None:
    policy = tmp_path / "ask.json"
    policy.write_text(ASK)
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--policy", policy, program, "--", "/etc/passwd"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert done.stdout == "/etc/passwd: Operation not permitted\n" and "rule 1" in done.stderr
