"""Limits of a policy: memory, time, processes, threads, descriptors, sizes of files, output.

Each holds for whoever tries to pass it; what natively has such a limit is the second source.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from left import Watch
from running import ROOT, Ran, build, run, torov
from support import Compiler
from test_jail import answers, rootless

from torov.vmm.confine import landlock_abi

pytestmark = pytest.mark.kvm


@pytest.fixture(scope="module")
def look(cc: Compiler) -> Path:
    return build(cc, "jailed", "glibc", "-Wno-deprecated-declarations", "-pthread")


class Limited:
    """Runs the guest under limits, with or without a jail.

    Args:
        look: the guest.
        where: a directory for the policy.
        jailed: in namespaces of its own.
    """

    def __init__(self, look: Path, where: Path, jailed: bool) -> None:
        self.look, self.where, self.jailed = look, where, jailed
        self.prefix: Sequence[str] = ()

    def run(self, *questions: str, timeout: float = 60, **limits: object) -> Ran:
        named = {name.replace("_", "-"): value for name, value in limits.items()}
        policy: dict[str, object] = {"torov": 1, "default": "builtin", "rules": [], "limits": named}
        if self.jailed:
            policy |= {"namespaces": ["user", "mount", "pid", "ipc", "uts"], "network": "host"}
        self.policy = self.where / "p.json"
        self.policy.write_text(json.dumps(policy))
        return run([*self.prefix, *torov(self.look, *questions, options=("--policy", str(self.policy)))], timeout=timeout)


@pytest.fixture(params=["plain", "jail"])
def limited(request: pytest.FixtureRequest, look: Path, tmp_path: Path) -> Limited:
    return Limited(look, tmp_path, request.param == "jail")


@pytest.mark.parametrize("kind", ["private", "shared", "brk", "protect", "grow"])
def test_memory(limited: Limited, kind: str) -> None:
    """ENOMEM at the limit, whichever call asks; natively RLIMIT_DATA does that for private memory."""
    done = answers(limited.run(f"memory:{kind}", memory="64M"))
    assert 60 <= int(done[f"memory:{kind}"]) <= 64
    assert answers(limited.run("memory:given", memory="64M"))["memory:given"] == "4096"  # what is given back counts no more


def test_memory_of_a_program_that_is_executed(limited: Limited, look: Path) -> None:
    done = limited.run(f"exec:{look}", "memory:private", memory="32M")
    assert 28 <= int(answers(done)["memory:private"]) <= 32


@pytest.mark.parametrize("how", ["sleep:60", "spin", "spins"])
def test_wall_time(limited: Limited, how: str) -> None:
    """The whole tree ends, and a line says why."""
    with Watch() as watch:
        began = time.monotonic()
        done = limited.run(how, "sleep:60", wall="700ms")
        assert 0.7 <= time.monotonic() - began < 8
        assert done.status == 137
        assert done.err == f"torov: {limited.look}: wall time limit of 0.7s ({limited.policy} limits)\n"
        watch.empty(within=2)


@pytest.mark.parametrize("how", ["spin", "spins"])
def test_cpu_time(limited: Limited, how: str) -> None:
    """Of the tree together."""
    with Watch() as watch:
        began = time.monotonic()
        done = limited.run(how, cpu="1s")
        assert time.monotonic() - began < 20
        assert (done.status, done.err) == (137, f"torov: {limited.look}: CPU time limit of 1s ({limited.policy} limits)\n")
        watch.empty(within=2)


@pytest.mark.parametrize("jailed", [False, True], ids=["plain", "jail"])
def test_cpu_time_while_the_supervisor_seldom_runs(look: Path, tmp_path: Path, jailed: bool) -> None:
    """On a busy machine it may be late, and the kernel's RLIMIT_CPU ends the program; the line is the same."""
    policy = {"torov": 1, "default": "builtin", "rules": [], "limits": {"cpu": "500ms"}}
    (tmp_path / "p.json").write_text(json.dumps(policy | ({"namespaces": ["user", "mount", "pid"]} if jailed else {})))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = torov(look, "pids", "spin", options=("--policy", tmp_path / "p.json"))
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline().startswith("? pids ")
        end = time.monotonic() + 4
        while time.monotonic() < end and supervisor.poll() is None:  # also between two of its looks at /proc, and in one
            supervisor.send_signal(signal.SIGSTOP)
            time.sleep(0.15)
            supervisor.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        _, said = supervisor.communicate(timeout=60)
        assert supervisor.returncode == 137
        assert said == f"torov: {look}: CPU time limit of 0.5s ({tmp_path / 'p.json'} limits)\n"


def test_a_daemon_does_not_outlive_limits(limited: Limited) -> None:
    with Watch() as watch:
        assert limited.run("daemon", wall="30s").status == 0
        watch.empty(within=2)


def test_processes(limited: Limited) -> None:
    """The program and what it starts; one that was killed makes room."""
    done = limited.run("children", processes=5)
    assert answers(done)["children"] == "4 EAGAIN"
    assert answers(limited.run("ended:60", "children", processes=3)) == {"ended:60": "60", "children": "2 EAGAIN"}


def test_processes_of_a_user(limited: Limited, tmp_path: Path) -> None:
    limited.prefix = rootless(tmp_path)
    assert answers(limited.run("ended:20", "children", processes=4))["children"] == "3 EAGAIN"


def test_processes_of_a_program_that_is_executed(limited: Limited, look: Path) -> None:
    assert answers(limited.run(f"exec:{look}", "children", processes=5))["children"] == "4 EAGAIN"


def test_threads(limited: Limited) -> None:
    assert answers(limited.run("threads", threads=8))["threads"] == "7 EAGAIN"


def test_descriptors(limited: Limited, look: Path) -> None:
    """As natively under ulimit -n; nobody raises it, root neither."""
    native = answers(run(["sh", "-c", 'ulimit -n 20 && exec "$@"', "sh", look, "open", "limit:7"]))
    done = answers(limited.run("open", "limit:7", "raise:7", descriptors=20))
    assert (done["open"], done["limit:7"]) == (native["open"], native["limit:7"]) == ("17 EMFILE", "20 20")
    assert done["raise:7"] == "EPERM"
    assert answers(limited.run(f"exec:{look}", "raise:7", descriptors=20))["raise:7"] == "EPERM"


def test_sizes_of_files(limited: Limited, look: Path, tmp_path: Path) -> None:
    """As natively under ulimit -f, which counts blocks of 512 bytes."""
    file = f"fill:{tmp_path}/file"
    native = answers(run(["sh", "-c", 'ulimit -f 64 && exec "$@"', "sh", look, file, "limit:1"]))
    done = answers(limited.run(file, "limit:1", "raise:1", file_size=64 * 512))
    assert (done[file], done["limit:1"]) == (native[file], native["limit:1"]) == ("32768 EFBIG EFBIG", "32768 32768")
    assert done["raise:1"] == "EPERM"
    assert answers(limited.run(f"exec:{look}", file, file_size="8K"))[file].startswith("8192 EFBIG")


@pytest.mark.parametrize("kind", ["write", "writev", "sendfile", "vmsplice"])
def test_output(limited: Limited, kind: str) -> None:
    """Not a byte more, by whatever call."""
    done = limited.run(f"output:{kind}", output=100_001)
    assert (len(done.out), done.status) == (100_001 - 5_000 * (kind == "sendfile"), 137)  # it fills a file first
    assert done.err == f"torov: {limited.look}: output limit of 100001 bytes ({limited.policy} limits)\n"


def test_output_of_the_whole_tree(limited: Limited) -> None:
    """Five processes at once, forked and executed, do not write more together."""
    with Watch() as watch:
        done = limited.run("outputs:write", output="1M")
        assert done.status == 137 and (1 << 20) - 25_000 <= len(done.out) <= 1 << 20
        watch.empty(within=2)


def test_output_to_a_socket(limited: Limited) -> None:
    for kind in ("sendmsg", "sendto"):
        limited.run("ids", output=50_000)  # writes the policy
        script = (
            "import socket, subprocess, sys\n"
            "a, b = socket.socketpair()\n"
            "p = subprocess.Popen(sys.argv[1:], stdout=b.fileno())\n"
            "b.close()\n"
            "n = 0\n"
            "while data := a.recv(65536): n += len(data)\n"
            "print(n, p.wait())\n"
        )
        command = torov(limited.look, f"output:{kind}", options=("--policy", str(limited.policy)))
        done = run([sys.executable, "-c", script, *command])
        assert done.out == "50000 137\n", done.err


def test_a_limit_that_is_not_reached_changes_nothing(limited: Limited) -> None:
    done = limited.run(
        "pids", "ids", memory="1G", cpu="1h", wall="1h", processes=100, threads=100, descriptors=500, file_size="1G", output="1G"
    )
    assert done.status == 0 and done.err == ""


def test_limits_leave_the_caller_alone(look: Path, tmp_path: Path) -> None:
    """The supervisor's own limits are as before: what comes after it in a script is not concerned."""
    limited = Limited(look, tmp_path, False)
    limited.run("ids", descriptors=20, wall="10s")
    command = subprocess.list2cmdline([str(word) for word in torov(look, "ids", options=("--policy", str(limited.policy)))])
    done = run(["sh", "-c", f"{command} >/dev/null; ulimit -n"])
    assert done.out == run(["sh", "-c", "ulimit -n"]).out


STOPPER = r"""
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    if (!fork()) {
        setpgid(0, 0);
        for (;;) { usleep(20000); if (write(1, ".", 1) < 0) return 1; }
    }
    usleep(200000);
    if (write(1, "stop\n", 5) < 0) return 1;
    raise(SIGSTOP);
    if (write(1, "on\n", 3) < 0) return 1;
    for (;;) pause();
}
"""


def test_a_program_that_stops_does_not_stop_its_limits(cc: Compiler, tmp_path: Path) -> None:
    """Its supervisor stops with it, for the shell's sake; so does all else of it, and the time goes on."""
    limited = Limited(cc(STOPPER), tmp_path, True)
    limited.run("", wall="100ms")  # writes the policy
    policy = json.loads(limited.policy.read_text())
    policy["limits"]["wall"] = "2s"
    limited.policy.write_text(json.dumps(policy))
    command = torov(limited.look, options=("--policy", str(limited.policy)))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        text = b""
        while b"stop\n" not in text:
            text += os.read(process.stdout.fileno(), 100)
        deadline = time.monotonic() + 10
        while "\nState:\tT" not in Path(f"/proc/{process.pid}/status").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        os.set_blocking(process.stdout.fileno(), False)
        process.stdout.read()
        time.sleep(0.5)
        assert process.stdout.read() is None  # nothing runs
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=20) == 137


@pytest.mark.skipif(landlock_abi() < 6, reason="what signals reach is Landlock's to say since version 6")
def test_the_supervisor_is_not_the_guests_to_end(look: Path, tmp_path: Path) -> None:
    """Without a jail it is seen, and has the same user: neither signals nor limits reach it."""
    limited = Limited(look, tmp_path, False)
    began = time.monotonic()
    done = limited.run("parent", "spins", wall="1s")
    assert done.status == 137 and time.monotonic() - began < 8
    assert "? parent EPERM EPERM\n" in done.out
