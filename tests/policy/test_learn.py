"""Learned policies: from the lines of an audit log to rules and back, and real programs under what they taught."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, Ran, run, torov
from support import Compiler

from torov import policy
from torov.corpus import Offline, fetch, read_binaries
from torov.errors import PolicyError
from torov.learned import dump
from torov.policy import learn
from torov.policy.facts import Facts
from torov.syscalls import by_name

AT_FDCWD = 4294967196


def line(call: str, *args: int, **more: Any) -> dict[str, Any]:
    """A line of the audit log, as docs/policy.md has it."""
    row = by_name(call)
    assert row is not None
    return {"time": 1.5, "pid": 1, "tid": 1, "call": call, "nr": row.nr, "site": "0x1", "args": list(args), "text": "",
            "action": "learn", "rule": -1, **more}  # fmt: skip


LINES = [
    line("brk", 0),
    line("getdents64", 3, 0, 0),
    line("mmap", 0, 4096, 3, 0x22, -1, 0),
    line("ioctl", 1, 0x5401, 0),
    line("ioctl", 1, 0x5451, 0),
    line("prctl", 15, 0, 0, 0, 0),
    line("openat", AT_FDCWD, 1, 0x80000, 0, paths=["/etc/hostname"]),
    line("openat", AT_FDCWD, 1, 0x241, 0o644, paths=["/srv/out"]),
    line("newfstatat", 3, 1, 2, 0x1000),
    line("newfstatat", AT_FDCWD, 1, 2, 0, paths=["/srv"]),
    line("utimensat", 4, 0, 0, 0),
    line("rename", 1, 2, paths=["/srv/out", "/srv/in"]),
    line("execve", 1, 2, 3, paths=["/bin/true"]),
    line("socket", 2, 0x80001, 6),
    line("connect", 3, 1, 16, address={"family": "inet", "ip": "127.0.0.1", "port": 5432}),
    line("connect", 3, 1, 16, address={"family": "inet", "ip": "93.184.216.34", "port": 443}),
    line("connect", 3, 1, 110, address={"family": "unix", "path": "/run/db.sock"}),
    line("sendto", 3, 1, 1, 0, 0, 0),
    line("setsockopt", 3, 1, 2, 1, 4),
    line("clone", 0x1200011, 0, 0, 0, 0),
    line("kill", 12, 15),
]


def learned(*runs: list[dict[str, Any]]) -> Facts:
    found = Facts()
    for lines in runs:
        found.add_run(lines)
    return found


def rule(document: dict[str, Any], kind: str) -> dict[str, Any]:
    (made,) = [rule for rule in document["rules"] if rule["comment"].split(": ")[1] == kind]
    return dict(made)


EXPECTED: dict[str, list[dict[str, Any]]] = {
    "read": [
        {"arg": "flags", "is": "O_RDONLY", "mask": "O_ACCMODE|O_CREAT|O_TRUNC"},
        {"path": ["/etc/hostname"]},
    ],
    "write": [{"path": ["/srv/out"]}],
    "look": [{"path": ["/srv"]}],
    "change": [{"path": ["/srv/in", "/srv/out"]}],
    "change without path": [{"arg": "path", "is": 0}],
    "execute": [{"path": ["/bin/true"]}],
    "ioctl": [{"arg": "request", "is": ["FIOCLEX"]}],
    "prctl": [{"arg": "option", "is": ["PR_SET_NAME"]}],
    "kill": [{"arg": "sig", "is": ["SIGTERM"]}],
    "clone": [{"arg": "flags", "is": ["CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"]}],
    "socket 2": [{"arg": "domain", "is": "AF_INET"}, {"arg": "type", "is": ["SOCK_STREAM"], "mask": 15}],
    "setsockopt 1": [{"arg": "level", "is": "SOL_SOCKET"}, {"arg": "optname", "is": ["SO_REUSEADDR"]}],
    "connect to": [
        {
            "address": [
                {"family": "inet", "port": 443},
                {"family": "inet", "network": ["127.0.0.0/8"], "port": 5432},
                {"family": "unix", "path": ["/run/db.sock"]},
            ]
        }
    ],
    "sendto to": [{"address": [{"family": "unspec"}]}],
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_rules(kind: str) -> None:
    assert rule(learn.document(learned(LINES), "prog"), kind)["where"] == EXPECTED[kind]


def test_the_policy_holds_its_form() -> None:
    document = learn.document(learned(LINES), "prog")
    made = policy.parse("p.json", dump(document).encode())
    for name in ("getdents64", "brk", "exit_group"):
        assert made.action(getattr(by_name(name), "nr")) == 0  # noqa: B009
    for name in ("bpf", "socketpair", "unlink", "setuid", "bind"):
        assert made.action(getattr(by_name(name), "nr")) > 0  # noqa: B009
    assert json.loads(dump(document)) == document


def test_a_policy_is_read_back_as_it_was_written() -> None:
    found = learned(LINES)
    document = learn.document(found, "prog")
    again = learn.read("p.json", document)
    assert learn.document(again, "prog", document) == document
    assert (again.runs, again.lines) == (1, len(LINES))


@pytest.mark.parametrize("cut", range(0, len(LINES), 3))
def test_two_runs_make_what_one_long_run_makes(cut: int) -> None:
    first = learn.document(learned(LINES[:cut]), "prog")
    found = learn.read("p.json", first)
    found.add_run(LINES[cut:])
    assert learn.document(found, "prog", first) == learn.document(learned(LINES[:cut], LINES[cut:]), "prog")


def test_a_fourth_file_opens_the_directory_and_a_pattern_stays() -> None:
    def opens(*names: str) -> list[dict[str, Any]]:
        return [line("openat", AT_FDCWD, 1, 0, 0, paths=[f"/srv/data/{name}"]) for name in names]

    first = learn.document(learned(opens("a", "b", "c")), "prog")
    assert rule(first, "read")["where"][1] == {"path": ["/srv/data/a", "/srv/data/b", "/srv/data/c"]}
    found = learn.read("p.json", first)
    found.add_run(opens("d"))
    second = learn.document(found, "prog", first)
    assert rule(second, "read")["where"][1] == {"path": ["/srv/data/*"]}
    found = learn.read("p.json", second)
    found.add_run(opens("e"))
    assert rule(learn.document(found, "prog", second), "read")["where"][1] == {"path": ["/srv/data/*"]}


def test_executable_memory_is_learned_only_as_it_was_used() -> None:
    def code(*lines: dict[str, Any]) -> dict[str, Any]:
        return learn.document(learned(list(lines)), "prog")

    assert "learned: code by mmap" not in dump(code(line("mmap", 0, 1, 3, 0x22, -1, 0)))
    no_write, no_anonymous = {"arg": "prot", "is": 0, "mask": "PROT_WRITE"}, {"arg": "flags", "is": 0, "mask": "MAP_ANONYMOUS"}
    library = code(line("mmap", 0, 1, 5, 2, 3, 0))
    assert rule(library, "code by mmap")["where"] == [no_write, no_anonymous]
    assert rule(code(line("mmap", 0, 1, 5, 0x22, -1, 0)), "code by mmap")["where"] == [no_write]
    assert "where" not in rule(code(line("mmap", 0, 1, 7, 0x22, -1, 0)), "code by mmap")
    merged = learn.read("p.json", library)
    merged.add_run([line("mprotect", 0, 1, 7)])
    document = learn.document(merged, "prog", library)
    assert rule(document, "code by mmap") == rule(library, "code by mmap")
    assert "where" not in rule(document, "code by mprotect")


def test_a_path_that_was_cut_opens_its_directory() -> None:
    found = learned([line("openat", AT_FDCWD, 1, 0, 0, paths=["/srv/a" + "/deep" * 139 + "..."])])
    made = rule(learn.document(found, "prog"), "read")["where"][1]["path"]
    assert made == ["/srv/a" + "/deep" * 138 + "/**"]


@pytest.mark.kvm
@pytest.mark.parametrize("name", [b"\xc3\xa9t\xc3\xa9", b"\xff\xfe.x", b"a*b[1]{2}\\", b"two words\n"])
def test_names_of_all_kinds(cc: Compiler, tmp_path: Path, name: bytes) -> None:
    text = "#include <fcntl.h>\nint main(int n, char **a) { (void)n; return open(a[1], O_RDONLY) < 0; }\n"
    program, out, other = cc(text), tmp_path / "p.json", tmp_path / "other"
    path = os.fsencode(tmp_path) + b"/" + name
    for made in (path, bytes(other)):
        with open(made, "wb"):
            pass
    learning(out, program, os.fsdecode(path))
    assert (under(out, program, os.fsdecode(path)).status, under(out, program, str(other)).status) == (0, 1)


def test_rules_of_ones_own_come_first_and_stay() -> None:
    document = learn.document(learned(LINES), "prog")
    own = {"calls": ["unlink"], "action": "log", "comment": "mine"}
    document |= {"rules": [*document["rules"], own], "limits": {"wall": "10s"}}
    found = learn.read("p.json", document)
    found.add_run(LINES)
    again = learn.document(found, "prog", document)
    assert again["rules"][0] == own and again["limits"] == {"wall": "10s"}
    assert again["comment"].startswith("learned by torov policy learn from 2 runs")


@pytest.mark.parametrize("text", ["{}", '{"torov": 1, "default": "deny"}', '{"comment": "mine"}', "[]"])
def test_another_policy_is_not_written_over(text: str) -> None:
    with pytest.raises(PolicyError, match="learned by torov"):
        learn.read("p.json", json.loads(text))


def test_a_changed_rule_says_what_to_do() -> None:
    document = learn.document(learned(LINES), "prog")
    del rule(document, "read")["where"][1]["path"]
    with pytest.raises(PolicyError, match="take 'learned:' out"):
        learn.read("p.json", document)


# --- programs -------------------------------------------------------------------------------------------------------------


def learning(out: Path, *command: str | Path, cwd: Path | None = None, status: int = 0) -> Ran:
    script = "import sys; from torov.learned import learn; made = learn(sys.argv[1], sys.argv[2], sys.argv[3:]); "
    script += "print(made.text(), file=sys.stderr); sys.exit(made.exit_status)"
    ran = run([sys.executable, "-c", script, out, *command], cwd=cwd)
    assert ran.status == status, ran.err
    return ran


def under(out: Path, program: str | Path, *args: str, cwd: Path | None = None) -> Ran:
    return run(torov(program, *args, options=("--policy", out)), cwd=cwd)


def natively(scratch: Path, *command: str | Path) -> set[str]:
    """The calls that a native run makes, as strace(1) names them."""
    out = scratch / "strace"
    subprocess.run(["strace", "-f", "-qq", "-o", out, *command], cwd=scratch, capture_output=True, check=False)
    return set(re.findall(r"^\d+ +(\w+)\(", out.read_text(errors="replace"), re.MULTILINE))


def allowed(out: Path) -> set[str]:
    rules = json.loads(out.read_text())["rules"]
    return {call for rule in rules for call in rule["calls"]}


STARTS = "#include <unistd.h>\nint main(int n, char **v) { return n < 2 || execv(v[1], v + 1); }"
SHELL = "ls /etc >/dev/null; cat /etc/hostname; echo x >out.txt; mv out.txt in.txt; rm in.txt; (exit 3) || id -u"


@pytest.mark.kvm
@pytest.mark.parametrize("name", ["HelloWorld", "WriteFile"])
@pytest.mark.parametrize("kind", ["glibc", "musl", "fpc", "pie"])
def test_samples_run_under_what_they_taught(name: str, kind: str, tmp_path: Path) -> None:
    program, out = ROOT / "samples" / "bin" / f"{name}_{kind}", tmp_path / "p.json"
    first = learning(out, program, "one", "two", cwd=tmp_path)
    again = under(out, program, "one", "two", cwd=tmp_path)
    assert (again.status, again.out) == (first.status, first.out)
    assert again.err == ""  # nothing was denied
    made = natively(tmp_path, program, "one", "two")
    assert made - {"execve"} <= allowed(out) | {"rseq"}


@pytest.mark.kvm
def test_what_a_script_names_is_learned(cc: Compiler, tmp_path: Path) -> None:
    start, out, script = cc(STARTS, "glibc"), tmp_path / "p.json", tmp_path / "script"
    script.write_text("#!/bin/cat\nread by cat\n")
    script.chmod(0o755)
    first, again = learning(out, start, str(script), cwd=tmp_path), under(out, start, str(script), cwd=tmp_path)
    assert (again.status, again.out, again.err) == (first.status, first.out, "") == (0, script.read_text(), "")
    script.write_text("#!/bin/head\n")
    assert 'denied execve("#!" -> "/usr/bin/head")' in under(out, start, str(script), cwd=tmp_path).err


@pytest.fixture(scope="module")
def busybox() -> Path:
    entries = read_binaries()
    try:
        return fetch(entries["busybox"], entries.values())
    except Offline as err:
        pytest.skip(str(err))


@pytest.mark.kvm
@pytest.mark.corpus
def test_a_shell_may_do_that_again_and_nothing_else(busybox: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    first = learning(out, busybox, "sh", "-c", SHELL, cwd=tmp_path)
    again = under(out, busybox, "sh", "-c", SHELL, cwd=tmp_path)
    assert (again.status, again.out, again.err) == (first.status, first.out, "")
    others = {
        "cat /etc/shells": "openat",
        "echo x >other.txt": "openat",
        "nc 127.0.0.1 1": "socket",
        "rm /etc/hostname": "unlink",
    }
    for other, call in {**others, "mkdir d": "mkdir", "chmod 777 .": "chmod"}.items():
        ran = under(out, busybox, "sh", "-c", other, cwd=tmp_path)
        assert f"denied {call}(" in ran.err, ran.err
        assert ran.status != 0
    assert Path("/etc/hostname").exists()


@pytest.mark.kvm
@pytest.mark.corpus
def test_another_run_is_merged(busybox: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    learning(out, busybox, "cat", "/etc/hostname")
    assert under(out, busybox, "cat", "/etc/passwd").status == 1
    ran = learning(out, busybox, "cat", "/etc/passwd")
    assert "merged" in ran.err and "2 runs" in ran.err
    for path in ("/etc/hostname", "/etc/passwd"):
        assert under(out, busybox, "cat", path).out == Path(path).read_text()
    assert under(out, busybox, "cat", "/etc/group").status == 1


@pytest.mark.kvm
@pytest.mark.corpus
def test_the_status_is_the_programs_own(busybox: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    learning(out, busybox, "sh", "-c", "exit 7", status=7)
    learning(out, busybox, "sh", "-c", "kill -TERM $$", status=143)
    assert "2 runs" in out.read_text()


SCRIPT = """
import json, os, socket, subprocess, tempfile, threading
with tempfile.NamedTemporaryFile("w") as file:
    file.write(json.dumps({"a": 1}))
with open("result.txt", "w") as file:
    file.write(str(len(os.listdir("."))))
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print(subprocess.run(["/bin/echo", "child"], capture_output=True).stdout)
if os.environ.get("OTHER"):
    open("/etc/shadow").read()
"""


@pytest.mark.kvm
def test_a_python_script_with_temporary_files_threads_and_ports(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    out = tmp_path / "p.json"
    first = learning(out, "/usr/bin/python3", "script.py", cwd=tmp_path)
    for _ in range(3):
        again = under(out, "/usr/bin/python3", "script.py", cwd=tmp_path)
        assert (again.status, again.out, again.err) == (0, first.out, "")
    os.environ["OTHER"] = "1"
    try:
        ran = under(out, "/usr/bin/python3", "script.py", cwd=tmp_path)
    finally:
        del os.environ["OTHER"]
    assert ran.status == 1 and re.search('denied openat\\(.*"/etc/shadow"', ran.err)
    text = out.read_text()
    assert "/tmp/tmp????????" in text and "[32768, 60999]" in text
    assert '"/**"' not in text and '"/etc/**"' not in text and '"/tmp/*"' not in text


TOOLS = {
    "gcc": "echo 'int main(void) { return 0; }' >h.c; gcc -o h h.c && ./h",
    "git": "git -C repo log --oneline; git -C repo status --short; git -C repo branch",
    "perl": "perl -e 'print `ls /`; open F, \">o\"; print F 1'",
    "bash": "x=$(mktemp); echo $x | wc -c; rm $x; cat <<< here; for i in 1 2; do (exit $i); done; true",
    "sqlite3": 'sqlite3 t.db "create table if not exists a(b); select count(*) from a"',
    "find": "find /etc -maxdepth 1 -name host*",
    "make": "make -s -f Makefile",
}


@pytest.mark.kvm
@pytest.mark.parametrize("name", TOOLS)
def test_tools_run_again(name: str, tmp_path: Path) -> None:
    run(["git", "init", "-q", "repo"], cwd=tmp_path)
    (tmp_path / "Makefile").write_text("all:\n\t@echo made >made\n\t@cat made\n")
    out = tmp_path / "p.json"
    first = learning(out, "/bin/bash", "-c", TOOLS[name], cwd=tmp_path)
    for _ in range(2):
        again = under(out, "/bin/bash", "-c", TOOLS[name], cwd=tmp_path)
        assert (again.status, again.out) == (first.status, first.out), again.err
        assert "denied" not in again.err
    ran = under(out, "/bin/bash", "-c", "cat /etc/shells", cwd=tmp_path)
    assert "denied" in ran.err and ran.status != 0


@pytest.mark.kvm
@pytest.mark.corpus
def test_caddy_serves_under_what_it_taught(tmp_path: Path) -> None:
    entries = read_binaries()
    try:
        caddy = fetch(entries["caddy"], entries.values())
    except Offline as err:
        pytest.skip(str(err))
    out = tmp_path / "p.json"
    for command in ("list-modules", "version", "build-info"):
        learning(out, caddy, command, cwd=tmp_path)
    for command in ("list-modules", "version", "build-info"):
        for _ in range(2):
            ran = under(out, caddy, command, cwd=tmp_path)
            assert ran.status == 0 and ran.err == ""
    ran = under(out, caddy, "file-server", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert ran.status != 0 and "denied" in ran.err
    made = natively(tmp_path, caddy, "version")
    assert made - {"execve"} <= allowed(out) | {"rseq"}


def test_a_dynamic_program_in_c(cc: Compiler, tmp_path: Path) -> None:
    program = cc('#include <stdio.h>\nint main(void) { FILE *f = fopen("/etc/hostname", "r"); return !f; }\n', "dynamic")
    out = tmp_path / "p.json"
    learning(out, program)
    again = under(out, program)
    assert (again.status, again.err) == (0, "")
    assert "MAP_ANONYMOUS" in out.read_text()  # libraries are mapped from files, and nothing else is executed
