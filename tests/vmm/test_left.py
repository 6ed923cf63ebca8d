"""Nothing is left behind, however a guest ends: no process, no VM, no mount, no temporary file; and a monitor that runs
guest after guest does not grow."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from left import PROC, Watch, open_kvm
from running import ROOT, Ran, build, run, torov
from support import HELLO_C, Compiler

pytestmark = pytest.mark.kvm

POLICY = '{"torov": 1, "default": "allow", "rules": [{"calls": ["mkdir"], "action": "kill"}]}'
ENDS = {"exit": 3, "crash": 139, "kill": 137, "term": 143}


def places(tmp_path: Path) -> dict[str, str]:
    """An environment whose cache and temporary files are this test's."""
    (tmp_path / "tmp").mkdir()
    return {"TMPDIR": str(tmp_path / "tmp"), "TOROV_CACHE": str(tmp_path / "cache")}


def files_left(tmp_path: Path) -> list[str]:
    """Temporary files; in the cache everything but images, links to them, and compiled policies."""
    cache = [path.name for path in (tmp_path / "cache").rglob("*") if not path.is_dir()]
    strange = [name for name in cache if not re.fullmatch(r"[0-9a-f-]+-v[0-9.s]+(\.img)?|[0-9a-f]{16}\.pol", name)]
    return sorted([*os.listdir(tmp_path / "tmp"), *strange])


@pytest.mark.parametrize("how", [*ENDS, "denied", "children exit", "children crash", "children kill", "children denied"])
def test_an_end_of_its_own(cc: Compiler, tmp_path: Path, how: str) -> None:
    """Children go on to their own end, as natively; the threads end with the program."""
    program = build(cc, "left", "glibc", "-pthread")
    env = places(tmp_path)
    options: list[str | Path] = ["--quiet"]
    end = how.split()[-1]
    if end == "denied":
        (tmp_path / "p.json").write_text(POLICY)
        options += ["--policy", tmp_path / "p.json"]
    else:
        assert run([program, how]).status == ENDS[end]
    with Watch() as watch:
        done = run(torov(program, how, options=options), env=env)
        assert done.status == ENDS.get(end, 128 + signal.SIGSYS), done.err
        watch.empty()
    assert files_left(tmp_path) == []


def start(program: Path, how: str, env: dict[str, str], *more: Path) -> subprocess.Popen[bytes]:
    command = torov(program, how, *map(str, more))
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, stdout=subprocess.PIPE)


@pytest.mark.parametrize("how", ["threads", "children"])
def test_killed_from_outside(cc: Compiler, tmp_path: Path, how: str) -> None:
    """SIGKILL of the monitor: its guest is gone at once; what it had started ends as it would have, or is killed as well."""
    env = places(tmp_path)
    with start(build(cc, "left", "glibc", "-pthread"), how, env) as monitor, Watch(monitor.pid) as watch:
        assert monitor.stdout and monitor.stdout.readline() == b"ready\n"
        others = watch.alive() - {monitor.pid}
        # /dev/kvm, the VM, a vCPU for each thread and for the child that shares its memory
        assert len(open_kvm({monitor.pid})) == 2 + 5 + 2 * (how == "children")
        assert len(open_kvm(others)) >= (10 if how == "children" else 0)
        monitor.kill()
        assert monitor.wait() == -signal.SIGKILL
        assert (how == "children") == bool(others & watch.alive())
        watch.empty()
    assert files_left(tmp_path) == []


def test_every_process_killed_from_outside(cc: Compiler, tmp_path: Path) -> None:
    env = places(tmp_path)
    with start(build(cc, "left", "glibc", "-pthread"), "children", env) as monitor, Watch(monitor.pid) as watch:
        assert monitor.stdout and monitor.stdout.readline() == b"ready\n"
        for pid in watch.alive():
            os.kill(pid, signal.SIGKILL)
        watch.empty()
        assert monitor.wait() == -signal.SIGKILL
    assert files_left(tmp_path) == []


def test_killed_while_exec_prepares_a_program(cc: Compiler, tmp_path: Path) -> None:
    """The helper of exec(2) comes to its end alone, and what it made is whole."""
    env = places(tmp_path)
    large = tmp_path / "large"
    shutil.copy(cc(HELLO_C, "glibc"), large)
    program = build(cc, "left", "glibc", "-pthread")
    assert run(torov(program, "nap"), env=env).status == 0  # the guest itself is prepared
    with start(program, "exec", env, large) as monitor, Watch(monitor.pid) as watch:

        def helpers() -> list[int]:
            alive = {pid: PROC / str(pid) / "cmdline" for pid in watch.alive()}
            return [pid for pid, path in alive.items() if path.exists() and b"torov.prepare" in path.read_bytes()]

        deadline = time.monotonic() + 30
        while not (found := helpers()) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert found, "no helper was seen"
        monitor.kill()
        monitor.wait()
        watch.empty(within=30)
    assert files_left(tmp_path) == []
    assert run(torov(large), env=env).out == "hello\n"


GROWTH = """
import os, sys, time
from torov import api

def now():
    for _ in range(100):  # a thread of the host is seen for a moment after its last act
        if len(os.listdir("/proc/self/task")) > 1:
            time.sleep(0.01)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    with open("/proc/self/maps") as maps:
        lines = len(maps.readlines())
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), lines, int(status["VmRSS"].split()[0])

rows = []
for i in range(200):
    for program in sys.argv[1:]:
        api.run(program, ["exit"])
    if i in (20, 199):
        rows.append(now())
for what, before, after in zip(("descriptors", "threads", "mappings", "KiB"), *rows):
    print(what, after - before)
"""


def grown(done: Ran) -> dict[str, int]:
    assert done.status == 0, done.err
    return {name: int(count) for name, count in (line.split() for line in done.out.splitlines())}


def test_run_after_run_in_one_process(cc: Compiler) -> None:
    """200 guests without threads, which use one VM, and 200 with four threads, each with a VM of its own."""
    with Watch() as watch:
        programs = cc(HELLO_C.replace('puts("hello");', ""), "musl"), build(cc, "left", "glibc", "-pthread")
        counts = grown(run([sys.executable, "-c", GROWTH, *programs], timeout=200))
        watch.empty()
    assert (counts["descriptors"], counts["threads"]) == (0, 0)
    assert counts["mappings"] < 40, counts  # one a guest would be 179; malloc has some of its own
    assert counts["KiB"] < 2048, counts


ALARMED = r"""
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static int hits;
static void hit(int sig) { (void)sig; hits++; }
int main(void) {
    sigset_t s;
    struct itimerval often = {{0, 2000}, {0, 2000}};
    struct itimerspec too = {{0, 2000000}, {0, 2000000}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, NULL, &timer)) return 1;
    sigemptyset(&s);
    sigaddset(&s, SIGTERM);
    signal(SIGTERM, hit);
    sigprocmask(SIG_BLOCK, &s, NULL);
    kill(getpid(), SIGTERM);
    mkdir("/nonexistent/x", 0700);
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    printf("%d\n", hits);
    fflush(stdout);
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&s);
    sigaddset(&s, SIGALRM);
    sigprocmask(SIG_BLOCK, &s, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    timer_settime(timer, 0, &too, NULL);
    usleep(10000);
    return 6;
}
"""
AFTER = """
import sys, time
import torov
result = torov.run(sys.argv[1], policy=sys.argv[2])
time.sleep(0.1)
print(result.exit_status, result.denied)
"""


def test_a_guest_ends_with_its_timer_and_keeps_its_signals_over_a_notice(cc: Compiler, tmp_path: Path) -> None:
    """A signal that is pending while the policy's refusal is reported is delivered; no alarm comes after the end."""
    program = cc(ALARMED)
    native = run([program])
    assert (native.out, native.status) == ("1\n", 6)
    (tmp_path / "p.json").write_text(POLICY.replace('"kill"', '{"errno": "EPERM"}'))
    done = run([sys.executable, "-c", AFTER, program, tmp_path / "p.json"])
    assert (done.status, done.out) == (0, native.out + "6 ('mkdir',)\n"), done.err


def test_looking_at_the_machine_closes_nothing() -> None:
    script = "import os\nfrom torov.vmm.machine import probe\nbefore = os.listdir('/proc/self/fd')\nprobe()\n"
    done = run([sys.executable, "-c", script + "print(os.listdir('/proc/self/fd') == before)"])
    assert (done.status, done.out) == (0, "True\n"), done.err
