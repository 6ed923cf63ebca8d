"""The jail: what a guest sees in it, that nothing of it is left, and that whoever waits for torov sees what he saw without.

bubblewrap, which makes the same kind of place for native programs, is the second source of what a guest sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from left import Watch
from running import ROOT, Ran, build, run, torov
from support import Compiler
from test_terminal import GUEST as TYPIST
from test_terminal import Session, jobs

from torov.vmm.confine import landlock_abi

pytestmark = pytest.mark.kvm

JAIL: tuple[str, ...] = ("--quiet", "--jail")
NOBODY = 65534


@pytest.fixture(scope="module")
def look(cc: Compiler) -> Path:
    return build(cc, "jailed", "glibc", "-Wno-deprecated-declarations")


def policy(where: Path, **settings: object) -> tuple[str, str, str]:
    """Options of torov exec for a policy that allows what the built-in one does, in a jail."""
    path = where / "p.json"
    path.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": [], **settings}))
    return ("--quiet", "--policy", str(path))


def answers(done: Ran) -> dict[str, str]:
    """What the guest was asked, and what it said: the rest of the line, or the lines behind it."""
    assert done.status == 0, done.err
    found: dict[str, str] = {}
    for line in done.out.splitlines():
        if line.startswith("? "):
            last, _, answer = line[2:].partition(" ")
            found[last] = answer
        else:
            found[last] += line + "\n"
    return found


def ask(look: Path, *questions: str, options: Sequence[str] = JAIL, cwd: Path | None = None) -> dict[str, str]:
    return answers(run(torov(look, *questions, options=options), cwd=cwd))


@pytest.fixture(params=["root", "user"])
def someone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sequence[str]]:
    """A prefix of commands: as root, or as a user without rights who may open /dev/kvm and read this tree."""
    if request.param == "root":
        yield ()
        return
    yield rootless(tmp_path)


def rootless(where: Path) -> Sequence[str]:
    """As user 1000, in a mount namespace where /dev/kvm is that user's and this tree and its interpreter can be read."""
    kvm = where / "kvm"
    os.mknod(kvm, 0o20600, os.stat("/dev/kvm").st_rdev)
    os.chown(kvm, 1000, 1000)
    home = where / "home"
    home.mkdir()
    os.chown(home, 1000, 1000)
    where.chmod(0o755)
    paths = [path for path in (ROOT, Path(sys.base_prefix), Path(sys.prefix), where) if closed(path)]
    binds = "".join(f"mkdir -p /mnt{path} && mount --rbind {path} /mnt{path} && " for path in paths)
    shown = "".join(f"mount --rbind /mnt{place} {place} && " for place in sorted({closed(path)[0] for path in paths}))
    script = (
        f"mount -t tmpfs none /mnt && {binds}{shown}mount --bind {kvm} /dev/kvm && "
        f'exec setpriv --reuid 1000 --regid 1000 --clear-groups env HOME={home} TOROV_CACHE={home}/cache "$@"'
    )
    return ["unshare", "-m", "sh", "-c", script, "sh"]


def closed(path: Path) -> list[Path]:
    """The directories on the way to a path that others may not pass, from the top."""
    return [place for place in (*reversed(path.parents), path) if not place.stat().st_mode & 1]


def bubblewrap(look: Path, *questions: str) -> dict[str, str]:
    user = ["--uid", str(NOBODY), "--gid", str(NOBODY)]
    around = [
        "--unshare-all",
        *user,
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/run",
    ]
    inside = ["--ro-bind", str(look), "/run/look", "--cap-drop", "ALL"]
    return answers(run(["bwrap", *around, *inside, "/run/look", *questions]))


def test_what_a_guest_sees(look: Path) -> None:
    """No capabilities, no network, own processes, nothing to write: as bubblewrap has it."""
    seen = ask(
        look,
        "status",
        "ids",
        "pids",
        "procs",
        "net",
        "dumpable",
        "write:/etc/x",
        "write:/tmp/x",
        "stat:/dev/kvm",
        "write:/dev/null",
    )
    other = bubblewrap(look, "status", "ids", "write:/etc/x", "write:/tmp/x", "stat:/dev/kvm", "write:/dev/null", "procs")
    lines = dict(line.split(":\t") for line in seen["status"].splitlines())
    theirs = dict(line.split(":\t") for line in other["status"].splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert lines[name] == theirs[name] == "0" * 16
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == (theirs["NoNewPrivs"], "2")
    assert lines["Uid"] == theirs["Uid"]
    assert seen["ids"].split()[:4] == other["ids"].split()[:4]
    for question in ("write:/etc/x", "write:/tmp/x", "stat:/dev/kvm", "write:/dev/null"):
        assert seen[question] == other[question], question
    assert (seen["pids"], seen["procs"]) == ("2 0", "1 2") and other["procs"] == "1 2"
    assert (seen["net"], seen["dumpable"]) == ("lo down\n", "0")


def test_nothing_of_the_caller_comes_along(look: Path, tmp_path: Path) -> None:
    """Descriptors above 2 are closed; sockets of others, abstract ones too, and their processes are out of reach."""
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract, socket.socket() as tcp:
        named.bind(str(tmp_path / "s"))
        abstract.bind(f"\0torov-{os.getpid()}")
        tcp.bind(("127.0.0.1", 0))
        for server in (named, abstract, tcp):
            server.listen()
        questions = (
            f"unix:{tmp_path}/s",
            f"unix:@torov-{os.getpid()}",
            f"tcp:{tcp.getsockname()[1]}",
            f"kill:{os.getpid()}",
            "fds",
        )
        native = answers(run([look, *questions]))
        assert [native[question] for question in questions[:4]] == ["fine"] * 4
        held = os.open("/etc/hostname", os.O_RDONLY)
        try:
            command = torov(look, *questions, options=JAIL)
            done = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, pass_fds=(held,), timeout=60
            )
        finally:
            os.close(held)
        assert list(answers(Ran(done)).values()) == ["ENOENT", "ECONNREFUSED", "ENETUNREACH", "ESRCH", "0 1 2"]


def test_rootless_and_root(look: Path, tmp_path: Path, someone: Sequence[str]) -> None:
    """The same jail with user namespaces only, and with root's rights."""
    done = run([*someone, *torov(look, "status", "ids", "pids", "procs", "net", "write:/etc/x", "write:/tmp/x", options=JAIL)])
    seen = answers(done)
    who = NOBODY if not someone else 1000
    assert seen["ids"].split()[:4] == [str(who)] * 4
    assert re.findall(r"Cap\w+:\t(\w+)", seen["status"]) == ["0" * 16] * 5
    assert "NoNewPrivs:\t1" in seen["status"] and "Seccomp:\t2" in seen["status"]
    assert (seen["pids"], seen["procs"], seen["net"]) == ("2 0", "1 2", "lo down\n")
    assert (seen["write:/etc/x"], seen["write:/tmp/x"]) == ("EROFS", "fine")


def test_a_root_directory(look: Path, tmp_path: Path, someone: Sequence[str]) -> None:
    """Mounts lie where the root says; links and .. lead nowhere else; what is read-only stays so."""
    root, data = tmp_path / "root", tmp_path / "data"
    for place in ("dev", "proc", "etc", "data", "private", "real"):
        (root / place).mkdir(parents=True)
    data.mkdir()
    data.chmod(0o777)
    (data / "file").write_text("from outside\n")
    (root / "etc" / "hostname").write_text("of the root\n")
    (root / "out").symlink_to("/etc/hostname")
    (root / "up").symlink_to("../../../../../etc/hostname")
    (root / "via").symlink_to("/real")
    mounts = [
        {"bind": str(root), "to": "/", "mode": "ro"},
        {"bind": str(data), "to": "/data", "mode": "ro"},
        {"bind": str(data), "to": "/via", "mode": "rw"},
        {"tmpfs": "/private", "size": "1M"},
    ]
    options = policy(
        tmp_path, mounts=mounts, network="loopback", hostname="box", namespaces=["user", "mount", "pid", "net", "ipc", "uts"]
    )
    questions = (
        "read:/out",
        "read:/up",
        "read:/../../etc/hostname",
        "read:/data/file",
        "write:/data/new",
        "write:/real/new",
        "write:/private/x",
        "write:/x",
        "entries:/",
        "cwd",
        "hostname",
        "net",
        "listen:8080",
        "chroot:/data",
        "mknod:/private/null",
        "stat:/usr",
    )
    seen = answers(run([*someone, *torov(look, *questions, options=options)], cwd=tmp_path))
    assert seen["read:/out"] == seen["read:/up"] == seen["read:/../../etc/hostname"] == "fine of the root"
    assert seen["read:/data/file"] == "fine from outside"
    assert (seen["write:/data/new"], seen["write:/x"]) == ("EROFS", "EROFS")
    assert (seen["write:/real/new"], seen["write:/private/x"]) == ("fine", "fine")
    assert (data / "new").read_text() == "x" and not (root / "real" / "new").exists()
    assert (seen["cwd"], seen["hostname"], seen["net"], seen["listen:8080"]) == ("/", "box", "lo up\n", "fine")
    assert (seen["chroot:/data"], seen["mknod:/private/null"], seen["stat:/usr"]) == ("EPERM", "EPERM", "ENOENT")
    assert seen["entries:/"] == "9"


def test_a_root_of_nothing_but_mounts(look: Path, tmp_path: Path, someone: Sequence[str]) -> None:
    """A tmpfs as root: the places of its mounts are made."""
    mounts = [
        {"tmpfs": "/"},
        {"bind": "/usr", "to": "/deep/below/usr"},
        {"tmpfs": "/tmp"},
        {"bind": "/etc/hostname", "to": "/name"},
    ]
    seen = answers(
        run(
            [
                *someone,
                *torov(
                    look,
                    "entries:/",
                    "stat:/deep/below/usr/bin/env",
                    "write:/deep/x",
                    "write:/tmp/x",
                    "read:/name",
                    "stat:/etc",
                    options=policy(tmp_path, mounts=mounts),
                ),
            ]
        )
    )
    name = Path("/etc/hostname").read_text().split("\n")[0]
    assert list(seen.values()) == ["5", "fine", "fine", "fine", f"fine {name}", "ENOENT"]


def test_single_namespaces(look: Path, tmp_path: Path) -> None:
    """Each is there without the others; the user asked for is the one the program runs as."""
    only = policy(tmp_path, namespaces=["uts"], hostname="alone", network="host")
    seen = ask(look, "hostname", "ids", f"kill:{os.getpid()}", options=only)
    assert (seen["hostname"], seen["ids"].split()[0], seen[f"kill:{os.getpid()}"]) == (
        "alone",
        "0",
        "EPERM" if landlock_abi() >= 6 else "fine",
    )
    only = policy(tmp_path, namespaces=["pid"], network="host", user={"uid": 1234, "gid": 4321})
    seen = ask(look, "ids", "pids", options=only)
    assert (seen["ids"].split()[:4], seen["pids"]) == (["1234", "1234", "4321", "4321"], "2 0")


ENDS = ["status-of-exit:0", "status-of-exit:7", *(f"raise-signal:{number}" for number in (1, 2, 6, 9, 11, 15, 31, 34))]


@pytest.mark.parametrize("end", ENDS)
def test_ends_look_as_without(look: Path, end: str) -> None:
    native, jailed = run([look, end]), run(torov(look, end, options=JAIL))
    assert (jailed.status, jailed.out) == (native.status, native.out)


def status_of(look: Path, number: int, *options: str) -> int:
    """Start, send a signal to torov's process once the guest runs, and tell wait(2)'s answer."""
    command = torov(look, "pids", "sleep:30", options=("--quiet", *options))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as monitor:
        assert monitor.stdout
        monitor.stdout.readline()
        monitor.send_signal(number)
        return monitor.wait(timeout=20)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGRTMIN]
)
def test_signals_go_on_to_the_guest(look: Path, number: int) -> None:
    """kill(1) of torov is kill(1) of the program: its parent hears of the signal."""
    assert status_of(look, number, "--jail") == status_of(look, number) == -number


@pytest.mark.parametrize("who", ["supervisor", "init", "main"])
def test_killed_from_outside(look: Path, who: str) -> None:
    """Whichever process is killed, nothing stays."""
    command = torov(look, "sleep:60", options=JAIL)
    with (
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as monitor,
        Watch(monitor.pid) as watch,
    ):
        assert monitor.stdout
        monitor.stdout.readline()
        deadline, names = time.monotonic() + 10, {}
        while "torov-init" not in names and time.monotonic() < deadline:  # it names itself
            pids = watch.alive() - {monitor.pid}
            names = {(Path("/proc") / str(pid) / "comm").read_text().strip(): pid for pid in pids}
        init = names.pop("torov-init")
        (main,) = names.values()
        os.kill({"supervisor": monitor.pid, "init": init, "main": main}[who], signal.SIGKILL)
        assert monitor.wait(timeout=20) == -signal.SIGKILL
        deadline = time.monotonic() + 5
        while watch.alive() and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):  # orphans are ours: see Watch
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.01)
        watch.empty()


def test_children_end_with_the_program(look: Path, cc: Compiler) -> None:
    program = build(cc, "left", "glibc", "-pthread")
    for how, status in (("children exit", 3), ("children kill", 137)):
        with Watch() as watch:
            assert run(torov(program, how, options=JAIL)).status == status
            watch.empty(within=1)


def test_keys_of_a_terminal(cc: Compiler, tmp_path: Path) -> None:
    """Caught keys reach the program once; Ctrl-Z and fg of the shell outside stop it and let it go on."""
    s = Session(torov(cc(TYPIST), "c", options=JAIL), tmp_path)
    s.see("ready 1")
    for key, text in (("\x03", "signal 2"), ("\x1c", "signal 3"), ("\x1a", "signal 20")):
        s.type(key)
        s.see(text)
    s.resize(100, 30)
    s.see("size 100x30")
    s.type("hello\n")
    s.see("line hello")
    s.type("\x04")
    text = s.end()
    assert text.endswith("[3]") and text.count("signal 2\n") == 1 and text.count("signal 20") == 1 and text.count("size 100") == 1


def test_a_shell_outside_controls_the_jail(cc: Compiler, tmp_path: Path) -> None:
    texts = []
    for name, command in (
        ("native", f"{cc(TYPIST)} d"),
        ("torov", f"{sys.executable} -m torov exec -q --jail {cc(TYPIST)} -- d"),
    ):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o755)
        s = Session(["/bin/bash", "--norc", "--noediting", "-i"], tmp_path)
        try:
            s.see(r"\$ $")
            jobs(s, f"./{name}", "ready 1\n", "line hello\n")
        except BaseException:
            s.kill()
            raise
        texts.append(re.sub(r"(?<=\] )\d+|\b\d{4,}\b", "PID", s.end()).replace(f"./{name}", "./PROGRAM"))
    assert texts[0] == texts[1]


def test_a_shell_inside_controls_jobs(tmp_path: Path) -> None:
    s = Session(torov("/bin/bash", "--norc", "--noediting", "-i", options=JAIL), tmp_path)
    try:
        s.see(r"\$ $")
        jobs(s, "cat", "", "hello\nhello\n")
    except BaseException:
        s.kill()
        raise
    assert s.end().endswith("[4]")


def test_what_the_kernel_refuses_is_said(look: Path, tmp_path: Path) -> None:
    """Where users may have no user namespaces: one line, with the setting that forbids them."""
    command = " ".join(map(str, torov(look, "ids", options=("--jail",))))
    done = run(["unshare", "-Ur", "sh", "-c", f"echo 0 > /proc/sys/user/max_user_namespaces && {command}"])
    assert done.status == 125 and done.out == ""
    assert done.err == "torov: jail: user namespace: No space left on device; sysctl user.max_user_namespaces=10000 allows it\n"


def test_a_container_that_forbids_namespaces(look: Path) -> None:
    """As Docker's default profile does: EPERM for clone(2) with their flags. No guest runs, and doctor says so, too."""
    script = (
        "import os, sys, pyseccomp as p\n"
        "f = p.SyscallFilter(p.ALLOW)\n"
        "for flag in (0x20000, 0x10000000): f.add_rule(p.ERRNO(1), 56, p.Arg(0, p.MASKED_EQ, flag, flag))\n"
        "f.add_rule(p.ERRNO(1), 272)\n"
        "f.load()\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    inside = [sys.executable, "-c", script]
    done = run([*inside, *torov(look, "ids", options=("--jail",))])
    assert (done.status, done.out) == (125, "")
    why = "Operation not permitted; namespaces(7): a container or an older kernel may forbid them"
    assert done.err == f"torov: jail: namespaces: {why}\n"
    doctor = run([*inside, sys.executable, "-m", "torov", "doctor", "--json"])
    found = {finding["what"]: finding for finding in json.loads(doctor.out)}
    assert not found["jail"]["good"] and "namespaces" in found["jail"]["found"] and doctor.status == 0


def test_programs_that_it_starts(tmp_path: Path) -> None:
    """Shells, pipes, a dynamic program that has no image: as natively."""
    script = "echo a | /bin/cat; /bin/ls -d /etc/hostname; (exit 3); echo $?; /bin/sh -c 'kill -9 $$'; echo $?"
    native = run(["/bin/bash", "-c", script])
    jailed = run(torov("/bin/bash", "-c", script, options=JAIL))
    assert (jailed.out, jailed.status) == (native.out, native.status)


def test_an_end_comes_soon(look: Path) -> None:
    """The whole jail costs milliseconds: torn down, too."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        run(torov(look, "ids", options=JAIL))
        times.append(time.monotonic() - began)
    assert min(times) < 2
