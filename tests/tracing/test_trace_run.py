"""A trace where things go wrong or are confined: jails, policies, signals that kill, files that cannot be written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import Compiler, until_in_call
from traced import ROOT, build, run, torov

EXEC = [sys.executable, "-m", "torov", "exec", "--quiet"]


@pytest.mark.parametrize("more", [["--jail"], ["--policy", "p.json"], ["--policy", "p.json", "--jail"]], ids=" ".join)
def test_a_confined_family_is_traced(cc: Compiler, tmp_path: Path, more: list[str]) -> None:
    """Forks, execs and threads, under the monitor's own filters."""
    (tmp_path / "p.json").write_text(json.dumps({"torov": 1, "default": "allow"}))
    program = cc(
        "#include <stdio.h>\n#include <sys/wait.h>\n#include <unistd.h>\n#include <pthread.h>\n"
        "static void *run(void *a) { getppid(); return a; }\n"
        "int main(void) { pthread_t t; int s; pthread_create(&t, 0, run, 0); pthread_join(t, 0);\n"
        'if (!fork()) { execl("/bin/sh", "sh", "-c", "echo again; exit 3", (char *)0); _exit(9); } wait(&s); return s >> 8; }',
        "dynamic",
    )
    done = run([*EXEC, *more, "--trace", "--trace-opts", "-y", "--trace-out", tmp_path / "out", program], tmp_path)
    text = (tmp_path / "out").read_text()
    assert (done.returncode, done.stdout) == (3, "again\n"), done.stderr
    assert text.count("+++ exited with") == 3, text
    assert re.search(r"^\d+ +execve\(.*; exit 3\"\], 0x\w+ /\* \d+ vars \*/( <unfinished|\) += 0$)", text, re.MULTILINE)
    assert re.search(r"write\(1<[^>]+>, \"again\\n\", 6\) += 6", text)
    assert len(set(re.findall(r"^\d+", text, re.MULTILINE))) == 3


def test_a_policy_can_ask_for_a_trace(cc: Compiler, tmp_path: Path) -> None:
    wanted = {"calls": ["openat", "@process"], "file": str(tmp_path / "out"), "format": "json"}
    (tmp_path / "p.json").write_text(json.dumps({"torov": 1, "default": "allow", "trace": wanted}))
    assert run([*EXEC, "--policy", "p.json", build(cc, "files")], tmp_path).returncode == 3
    calls = {json.loads(line).get("call") for line in (tmp_path / "out").read_text().splitlines()}
    assert {"openat", "execve"} <= calls
    assert not calls & {"open", "read", "mkdir"}


def test_a_policy_of_the_python_interface_can_too(cc: Compiler, tmp_path: Path) -> None:
    """In a process of its own: what other tests have left running would end as a child of the guest's process."""
    (tmp_path / "p.json").write_text(json.dumps({"torov": 1, "default": "allow", "trace": {"calls": ["mkdir"], "file": "out"}}))
    script = "import sys, torov\nfor _ in range(2):\n    print(torov.run(sys.argv[1], policy='p.json').exit_status)\n"
    script += "    print(open('out').read(), end='')"
    done = run([sys.executable, "-c", script, build(cc, "files")], tmp_path)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) == 6
    for status, call, end in (rows[:3], rows[3:]):  # the second guest has the first one's VM
        assert status == "3" and end.endswith("+++ exited with 3 +++")
        assert re.search(r'mkdir\("d", 0755\) += (0|-1 EEXIST \(File exists\))$', call)


def test_what_a_policy_refuses_is_marked(cc: Compiler, tmp_path: Path) -> None:
    rules = [{"calls": ["mkdir"], "action": {"errno": "EACCES"}, "comment": "no new places"}]
    (tmp_path / "p.json").write_text(json.dumps({"torov": 1, "default": "allow", "rules": rules}))
    run([*torov("-o", tmp_path / "out", "-e", "mkdir,mkdirat", "--policy", "p.json"), build(cc, "files")], tmp_path)
    why = "(DENIED: p.json:1 rule 1 (no new places))"
    assert f'mkdir("d", 0755)                        = -1 EACCES (Permission denied) {why}' in (tmp_path / "out").read_text()


def test_a_killed_guest_loses_no_line(cc: Compiler, tmp_path: Path) -> None:
    """SIGKILL of the monitor: what was done is in the file, and how it ended."""
    program = cc(
        "#include <sys/syscall.h>\n#include <unistd.h>\nint main(void) { for (int i = 0; i < 3000; i++) syscall(SYS_getppid);\n"
        'write(1, "x", 1); pause(); return 0; }'
    )
    out = tmp_path / "out"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*map(str, torov("-f", "-o", out)), program], stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.kill()
    for _ in range(100):
        if "+++" in out.read_text():
            break
        time.sleep(0.05)
    rows = [line.split(None, 1)[1] for line in out.read_text().splitlines()]
    assert sum(row.startswith("getppid(") for row in rows) == 3000
    assert rows[-1] == "+++ killed by SIGKILL +++"
    assert re.fullmatch(r"(pause\(|write\(1, \"x\", 1) <unfinished \.\.\.>", rows[-2]), rows[-3:]


def test_a_default_action_that_ends_it_is_told(cc: Compiler, tmp_path: Path) -> None:
    program = cc('#include <unistd.h>\nint main(void) { write(1, "x", 1); pause(); return 0; }')
    out = tmp_path / "out"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*map(str, torov("-o", out, "-e", "pause")), program], stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        until_in_call(process.pid, "pause")
        process.send_signal(signal.SIGTERM)
    text = re.sub(r"si_pid=\d+, si_uid=\d+", "FROM", out.read_text())
    assert text.splitlines()[-2:] == ["--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, FROM} ---", "+++ killed by SIGTERM +++"]


def test_a_child_that_ends_does_not_lengthen_a_sleep(cc: Compiler, tmp_path: Path) -> None:
    program = cc(
        "#include <stdio.h>\n#include <time.h>\n#include <unistd.h>\n"
        "int main(void) { struct timespec a, b, t = {0, 500000000};\n"
        "for (int i = 1; i < 5; i++) if (!fork()) { usleep(100000 * i); _exit(0); }\n"
        "clock_gettime(CLOCK_MONOTONIC, &a); nanosleep(&t, 0); clock_gettime(CLOCK_MONOTONIC, &b);\n"
        'printf("%d\\n", (int)((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000)); }'
    )
    done = run([*torov("-f", "-o", tmp_path / "out"), program], tmp_path)
    assert 490 <= int(done.stdout) < 890  # begun again when the last child ends, it would be 900
    assert (tmp_path / "out").read_text().count("--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED") >= 1


FAMILY = """
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static void *run(void *a) { write(1, "thread", 6); sleep(1); return a; }
int main(void) {
    pthread_t t;
    pthread_create(&t, 0, run, 0);
    pthread_join(t, 0);
    if (!fork()) { write(1, "child", 5); _exit(3); }
    wait(0);
    if (!fork()) { execl("/bin/true", "true", (char *)0); _exit(9); }
    wait(0);
    return 0;
}
"""


@pytest.mark.parametrize("more", [["strace", "--quiet"], ["exec", "--quiet", "--jail", "--trace"]], ids=["free", "in a jail"])
def test_a_file_for_each_thread(cc: Compiler, tmp_path: Path, more: list[str]) -> None:
    """strace -ff: as many files, each with the lines of one thread."""
    program, calls = cc(FAMILY, "dynamic", "-pthread"), "trace=write,exit,exit_group,execve,clock_nanosleep"
    (tmp_path / "out").mkdir()
    words: list[str | Path] = ["-ff", "-e", calls, "-o"]
    if more[0] == "exec":
        words = ["--trace-opts", f"-ff -e {calls}", "--trace-out"]
    done = run([sys.executable, "-m", "torov", *more, *words, "out/ours", program], tmp_path)
    assert (done.returncode, done.stdout) == (0, "threadchild"), done.stderr
    run(["strace", "-ff", "-e", calls, "-o", "out/theirs", program], tmp_path)

    def files(name: str) -> list[list[str]]:
        found = list((tmp_path / "out").glob(f"{name}.*"))
        assert len(found) == 4
        return sorted(  # not by their numbers, which begin again at some time
            re.sub(r"0x\w+|/\* \d+ vars \*/| +(?== )|, si_[us]time=\d+|si_pid=\d+", "", path.read_text()).splitlines()
            for path in found
        )

    ours, theirs = files("ours"), files("theirs")
    if more[0] == "exec":  # its processes have a name space of their own, and the numbers of their names
        assert min(int(path.suffix[1:]) for path in (tmp_path / "out").glob("ours.*")) == 2
    assert [[row for row in rows if "SIGCHLD" not in row] for rows in ours] == [
        [row for row in rows if "SIGCHLD" not in row] for rows in theirs
    ]


def test_files_of_threads_are_added_to_and_have_a_place(cc: Compiler, tmp_path: Path) -> None:
    program = cc("#include <unistd.h>\nint main(void) { getppid(); return 0; }")
    base = [*torov("-ff", "-e", "getppid", "-o")]
    assert "no/x: the trace cannot be written: No such file or directory" in run([*base, "no/x", program], tmp_path).stderr
    assert run([*base, "/dev/full/x", program], tmp_path).returncode == 125
    assert run([*base, "x", program], tmp_path).returncode == 0
    (found,) = tmp_path.glob("x.*")
    assert re.fullmatch(r"getppid\(\) += \d+\n\+\+\+ exited with 0 \+\+\+\n", found.read_text())


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_of_a_thread_is_no_link_and_no_pipe(cc: Compiler, tmp_path: Path, kind: str) -> None:
    """The guest may put one there beforehand, and who writes is outside of its jail, where its first thread is 2."""
    program = cc("#include <unistd.h>\nint main(void) { getppid(); return 0; }")
    kept = tmp_path / "kept"
    kept.write_text("kept")
    if kind == "link":
        (tmp_path / "x.2").symlink_to(kept)
    else:
        os.mkfifo(tmp_path / "x.2")
    words = ["exec", "--quiet", "--jail", "--trace", "--trace-opts", "-ff -e getppid", "--trace-out", "x"]
    done = run([sys.executable, "-m", "torov", *words, program], tmp_path)
    why = "Too many levels of symbolic links" if kind == "link" else "No such device or address"
    assert f"x: the trace cannot be written: {why}" in done.stderr
    assert kept.read_text() == "kept"


LENGTHS = """
#include <stdint.h>
#include <sys/socket.h>
int main(void) {
    uint64_t lengths[] = {-1ull, -8ull, -16ull, -31ull, 1ull << 63, 15, 16, 40, 4096};
    for (unsigned i = 0; i < sizeof lengths / 8; i++) {
        struct { uint64_t len; int level, type; uint64_t more; } c[2] = {{24, 1, 99, 7}, {lengths[i], 1, 99, 7}};
        struct msghdr m = {.msg_control = c, .msg_controllen = sizeof c};
        sendmsg(-1, &m, 0);
    }
    return 0;
}
"""


def test_lengths_of_control_messages_that_lead_back_or_nowhere(cc: Compiler, tmp_path: Path) -> None:
    """strace 6.1 itself goes round in circles here, so there is no second source but the program's end."""
    done = run([*EXEC, "--trace=sendmsg", "--trace-out", tmp_path / "out", cc(LENGTHS)], tmp_path)
    rows = [row for row in (tmp_path / "out").read_text().splitlines() if "sendmsg" in row]
    assert done.returncode == 0 and len(rows) == 9
    assert all(row.endswith("= -1 EBADF (Bad file descriptor)") and row.count("cmsg_len") == 2 for row in rows)
    assert [int(number) for row in rows for number in re.findall(r"cmsg_len=(\d+)", row)[1:]] == [
        *(2**64 - n for n in (1, 8, 16, 31)), 2**63, 15, 16, 40, 4096,
    ]  # fmt: skip


def test_a_trace_that_cannot_be_written_is_said(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "files")
    done = run([*torov("-o", tmp_path / "none" / "out"), program], tmp_path)
    assert (done.returncode, done.stdout) == (125, "")
    assert "the trace cannot be written: No such file or directory" in done.stderr
    done = run([*torov("-o", "/dev/full"), program], tmp_path / "full")
    assert done.returncode == 125
    assert "/dev/full: the trace cannot be written: No space left on device" in done.stderr


def test_nothing_of_a_trace_is_left(cc: Compiler, tmp_path: Path) -> None:
    """The writer ends with the run, and the guest sees no descriptor more."""
    program = cc('#include <dirent.h>\n#include <stdio.h>\nint main(void) { DIR *d = opendir("/proc/self/fd"); int n = 0;\n'
                 'while (readdir(d)) n++; printf("%d\\n", n); }')  # fmt: skip
    plain = run([*EXEC, program], tmp_path)
    traced = run([*torov("-o", tmp_path / "out"), program], tmp_path)
    assert traced.stdout == plain.stdout
    for _ in range(100):
        if not any(_writes_for(pid, tmp_path) for pid in os.listdir("/proc") if pid.isdigit()):
            return
        time.sleep(0.05)
    raise AssertionError("a writer is left")


def _writes_for(pid: str, where: Path) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return name == "torov-trace" and os.readlink(f"/proc/{pid}/cwd").startswith(str(where))
    except OSError:  # it has ended meanwhile
        return False


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fuzz.c, with the core's own printer and writer, under the address and undefined-behaviour sanitizers."""
    where = tmp_path_factory.mktemp("fuzz")
    core, program = ROOT / "torov" / "vmm" / "core", where / "fuzz"
    subprocess.run([sys.executable, "-m", "torov.vmm.build_core", where / "headers"], cwd=ROOT, check=True)
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-strict-aliasing", "-pthread"]
    sources = [Path(__file__).with_name("fuzz.c"), *sorted(core.glob("*.c"))]
    subprocess.run(["gcc", *flags, "-I", core, "-I", where / "headers", "-o", program, *sources], check=True, capture_output=True)
    return program


@pytest.mark.xdist_group("fuzzed traces")  # compiled once
@pytest.mark.parametrize("form", ["text", "json", "perfetto"])
@pytest.mark.parametrize("lies", [False, True], ids=["random", "lies"])
def test_neither_random_arguments_nor_a_monitor_that_lies_do_harm(fuzzer: Path, tmp_path: Path, form: str, lies: bool) -> None:
    count = 200 if lies else 1500
    number = str(["text", "json", "perfetto"].index(form))
    words: list[str | Path] = [fuzzer, tmp_path / "out", number, str(count), "20261122", *(["lies"] if lies else [])]
    done = run(words, tmp_path, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > count * 0.9
    if form == "json" and not lies:
        rows = (tmp_path / "out").read_text().splitlines()
        objects = [json.loads(row) for row in rows if row.startswith("{")]
        assert len(objects) >= count * 0.3  # perhaps only those that failed
