"""Where gdb comes: addresses, a jail, filters, ToroV's configuration, a guest that runs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from debugging import ROOT, built, debugged
from support import Compiler

from torov.errors import DebugError
from torov.gdb.start import Place

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
BREAK = ("break leaf", "continue", "backtrace 1", "print counter", "delete", "continue")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("1234", "gdb -ex 'target remote 127.0.0.1:1234'"),
        ("0.0.0.0:99", "gdb -ex 'target remote 0.0.0.0:99'"),
        ("[::1]:5", "gdb -ex 'target remote [::1]:5'"),
        ("unix:/tmp/x", "gdb -ex 'target remote /tmp/x'"),
    ],
)
def test_addresses(text: str, command: str) -> None:
    assert Place(text).command == command


@pytest.mark.parametrize("text", ["", "x", "127.0.0.1:", "70000", "unix:", "unix:/" + "x" * 120, "1.2.3.4:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(DebugError):
        Place(text)


def test_a_port_that_is_taken_is_said(tmp_path: Path, cc: Compiler) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "torov",
            "exec",
            "--gdb",
            str(taken.getsockname()[1]),
            built(cc, "plain"),
        ]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 125
    assert re.fullmatch(r"torov: gdb 127\.0\.0\.1:\d+: cannot listen: Address already in use\n", done.stderr)


@pytest.mark.kvm
def test_a_tcp_port(cc: Compiler, tmp_path: Path) -> None:
    ran = debugged(tmp_path, built(cc, "plain"), BREAK, address="0")
    assert "leaf (x=0)" in ran.said and (ran.out, ran.status) == ("out\n", 3)


@pytest.mark.kvm
@pytest.mark.parametrize("options", [("--jail",), ("--jail", "--no-seccomp")])
def test_in_a_jail(cc: Compiler, tmp_path: Path, options: tuple[str, ...]) -> None:
    ran = debugged(
        tmp_path,
        built(cc, "plain"),
        [*BREAK[:5], "watch counter", "continue", "delete", "info proc mappings", "continue"],
        options=options,
    )
    assert "leaf (x=0)" in ran.said and "New value = 1" in ran.said and "r-xp" in ran.said
    assert (ran.out, ran.status) == ("out\n", 3)


@pytest.mark.kvm
def test_under_a_policy_that_allows_little(cc: Compiler, tmp_path: Path) -> None:
    """The monitor's own filter knows what a debugger takes, and not more than before for the program."""
    policy = tmp_path / "p.json"
    names = "write exit_group brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom"
    calls = [*names.split(), "mprotect", "getppid", "newfstatat", "fstat"]
    rules = [{"calls": calls, "action": "allow"}]
    policy.write_text(json.dumps({"torov": 1, "default": "deny", "rules": rules}))
    ran = debugged(
        tmp_path,
        built(cc, "plain"),
        [*BREAK[:5], "watch counter", "continue", "delete", "continue"],
        options=("--policy", str(policy)),
    )
    assert "leaf (x=0)" in ran.said and (ran.out, ran.status) == ("out\n", 3), ran.err


@pytest.mark.kvm
def test_torovs_configuration(cc: Compiler, tmp_path: Path) -> None:
    """ToroV's monitor waits for gdb on the port of its file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "c.json"
    (tmp_path / "plain").symlink_to(built(cc, "plain"))
    calls = [{"Name": name, "Allowed": "True"} for name in ("Write", "Getppid", "Brk", "Mprotect", "Readlink", "Prlimit64")]
    config.write_text(json.dumps({"Binary": "plain", "Debug": {"Allowed": "True", "Port": str(port)}, "Hypercalls": calls}))
    guest = subprocess.Popen(
        [sys.executable, "-m", "torov", "exec", "--config", config],
        env=ENV,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert guest.stderr is not None
    assert guest.stderr.readline() == f"torov: waiting for gdb: gdb -ex 'target remote 127.0.0.1:{port}'\n"
    words = [word for text in (f"target remote 127.0.0.1:{port}", *BREAK) for word in ("-ex", text)]
    said = subprocess.run(["gdb", "-nx", "-batch", *words], capture_output=True, text=True, check=False, timeout=60).stdout
    out, err = guest.communicate(timeout=30)
    assert "leaf (x=0)" in said and (out, guest.returncode) == ("out\n", 3), err


@pytest.mark.kvm
@pytest.mark.parametrize("args", [(), ("wait",)], ids=["in the guest", "in a call"])
def test_attach(cc: Compiler, tmp_path: Path, args: tuple[str, ...]) -> None:
    place = tmp_path / "gdb.sock"
    guest = subprocess.Popen(
        [sys.executable, "-m", "torov", "exec", built(cc, "spin"), "--", *args], env=ENV, stdout=subprocess.PIPE, text=True
    )
    assert guest.stdout is not None and guest.stdout.readline() == "go\n"
    server = subprocess.Popen(
        [sys.executable, "-m", "torov", "attach", str(guest.pid), "--gdb", f"unix:{place}"],
        env=ENV,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        assert server.stderr.readline() == f"torov: process {guest.pid} waits for gdb: gdb -ex 'target remote {place}'\n"
        for last in ("detach", "kill"):  # a client can come again
            commands = [f"target remote {place}", "backtrace", "print stop", "info threads", last]
            done = subprocess.run(["gdb", "-nx", "-batch", *(word for text in commands for word in ("-ex", text))],
                                  capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
            assert "main (argc=" in done.stdout and "$1 = 0" in done.stdout, done.stdout + done.stderr
            time.sleep(0.2)
        assert guest.wait(20) == -9 and server.wait(20) == 0
    finally:
        for process in (guest, server):
            process.kill()
            process.communicate()
    assert not place.exists()


@pytest.mark.kvm
def test_attach_says_why_not(cc: Compiler) -> None:
    """To another program the signal that asks would be the end."""
    other = subprocess.Popen(["sleep", "60"])
    guest = subprocess.Popen(
        [sys.executable, "-m", "torov", "exec", "--jail", built(cc, "spin")], env=ENV, stdout=subprocess.PIPE, text=True
    )
    try:
        assert guest.stdout is not None and guest.stdout.readline() == "go\n"
        for pid, why in (
            (other.pid, "is no guest of this torov"),
            (guest.pid, "start it with --gdb"),
            (999999999, "no such process"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "torov", "attach", str(pid)],
                env=ENV,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 125 and why in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert other.poll() is None and guest.poll() is None
    finally:
        for process in (guest, other):
            process.terminate()
            process.communicate(timeout=20)


@pytest.mark.kvm
def test_interrupting_torov_before_gdb_comes_ends_it(cc: Compiler, tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--gdb", f"unix:{tmp_path}/s", built(cc, "plain")]
    guest = subprocess.Popen(command, env=ENV, stderr=subprocess.PIPE, text=True)
    assert guest.stderr is not None and "waiting for gdb" in guest.stderr.readline()
    time.sleep(1)
    guest.send_signal(2)
    assert guest.wait(20) in (-2, 130)
    guest.stderr.close()


@pytest.mark.kvm
@pytest.mark.parametrize("options", [(), ("--jail",), ("--policy",)], ids=["plain", "jail", "policy"])
def test_gdb_may_come_later(cc: Compiler, tmp_path: Path, options: tuple[str, ...]) -> None:
    """The guest does not wait; gdb comes to it, under filters too, and comes again."""
    place, policy = tmp_path / "gdb.sock", tmp_path / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": []}))
    words = [sys.executable, "-m", "torov", "exec", "--gdb", f"unix:{place},nowait", *options]
    guest = subprocess.Popen(
        [*words, *([str(policy)] if options == ("--policy",) else []), str(built(cc, "spin")), "--", "wait"],
        env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert guest.stdout is not None and guest.stderr is not None
    try:
        assert guest.stderr.readline() == f"torov: gdb may come: gdb -ex 'target remote {place}'\n"
        assert guest.stdout.readline() == "go\n"
        for last in (("break poll", "continue", "backtrace", "detach"), ("set var stop = 1", "continue")):
            commands = [f"target remote {place}", "backtrace", "print stop", *last]
            done = subprocess.run(["gdb", "-nx", "-batch", *(word for text in commands for word in ("-ex", text))],
                                  capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
            assert "main (argc=2" in done.stdout and "$1 = 0" in done.stdout, done.stdout + done.stderr
        assert guest.wait(20) == 2 and guest.stdout.read() == "left\n"
    finally:
        guest.kill()
        guest.communicate()


@pytest.mark.kvm
def test_processes_do_not_wait_either(cc: Compiler, tmp_path: Path) -> None:
    """fork and exec go on as without a debugger, and the file of the socket goes with the guest."""
    for args in ((), ("exec",)):
        command = [sys.executable, "-m", "torov", "exec", "--gdb", f"unix:{tmp_path}/s,nowait", built(cc, "forks"), "--", *args]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=60)
        native = subprocess.run([built(cc, "forks"), *args], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (native.returncode, native.stdout)
    deadline = time.monotonic() + 10
    while (tmp_path / "s").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (tmp_path / "s").exists()


@pytest.mark.kvm
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_guest_is_no_client_of_its_own(cc: Compiler, tmp_path: Path, kind: str) -> None:
    """Its debugger reads files of the user's: a way around its policy. gdb is served as before."""
    place = str(tmp_path / "gdb.sock")
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as free:
            place = str(free.getsockname()[1])
    address = f"unix:{place},nowait" if kind == "unix" else f"{place},nowait"
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--gdb", address, built(cc, "own"), "--", place]
    guest = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert guest.stdout is not None
    try:
        told = [guest.stdout.readline() for _ in range(6)]
        assert told == [f"{who} refused\n" for who in ("fork", "exec", "vfork", "clone", "itself", "orphan")]
        words = ["-ex", f"target remote {place if kind == 'unix' else f'127.0.0.1:{place}'}", "-ex", "backtrace", "-ex", "kill"]
        done = subprocess.run(["gdb", "-nx", "-batch", *words], capture_output=True, text=True, check=False, timeout=60)
        assert "main (argc=2" in done.stdout, done.stdout + done.stderr
    finally:
        guest.kill()
        guest.communicate()
