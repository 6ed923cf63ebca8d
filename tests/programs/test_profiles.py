"""Seccomp profiles that others ship: busybox, caddy and python3 run under them by torov as natively under libseccomp's filter.

The profiles are those of torov/corpus/profiles.toml: Docker's default and its first form, Podman's (containers-common), Flatpak's
for a Docker container, and two that runc tests with. They are read by libseccomp as Docker's daemon and runc do.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path

import pytest
from profiles import PROBES, PYTHON, Case, Word, both, decided, name_of_error, never, start, text_of
from real import free_port, program, stop, tree, until_open
from running import Ran
from test_cpython import RUN, ends, python

from torov.syscalls import DENY, by_name

pytestmark = [pytest.mark.kvm, pytest.mark.corpus]

HERE = Path(__file__).parent
ADMIN = frozenset("CAP_" + name for name in ("SYS_ADMIN", "SYS_TIME", "SYS_PTRACE", "SYS_NICE", "SYSLOG", "NET_ADMIN"))
DOCKER, CONTAINERS = Case("docker-default"), Case("containers")
CASES = (DOCKER, Case("docker-old"), CONTAINERS, Case("flatpak"), Case("runc-1"), Case("runc-2"))
NEWER = Case("docker-default", socket=((0, 40, "NE"),))
"""Docker's default since 23.0, which Debian 12 does not ship, refuses AF_VSOCK: its rule in the older profile."""
OTHERS = (Case("docker-default", ADMIN), Case("containers", ADMIN), Case("containers", frozenset()), NEWER)
"""What a profile says to a container that is given more, or nothing: by policies of ours that extend it."""

cases = pytest.mark.parametrize("case", CASES, ids=str)


def same(native: Sequence[str], ours: Sequence[str], what: str) -> None:
    difference = [*unified_diff(native, ours, "native", "torov", n=0, lineterm="")]
    assert not difference, f"{what}:\n" + "\n".join(difference[:60])


def probed(case: Case, where: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What came of each call of PROBES, natively and by torov."""
    table = where / "table.json"
    table.write_text(json.dumps([[text_of(name, args), call.nr, *args] for name, args in PROBES if (call := by_name(name))]))
    native, ours = both(case, where, PYTHON, "-I", "-B", HERE / "probe.py", table)
    assert (native.status, native.err, ours.status, ours.err) == (0, "", 0, "")
    found = [dict(line.rpartition(": ")[::2] for line in ran.out.splitlines()) for ran in (native, ours)]
    assert [*found[0]] == [*found[1]] == [text_of(*probe) for probe in PROBES]
    return found[0], found[1]


@pytest.mark.parametrize("case", CASES + OTHERS, ids=str)
def test_each_call_ends_as_natively(case: Case, tmp_path: Path) -> None:
    """The same result or errno for each call, but for the calls that torov's own table answers under any policy."""
    native, ours = probed(case, tmp_path)
    wrong, refused = [], 0
    for name, args in PROBES:
        text = text_of(name, args)
        action, number = decided(case, name, args)
        assert action in ("allow", "errno")
        expected = native[text]
        if action == "errno":  # the filter is there: what libseccomp decided is what the call came to
            refused += 1
            assert expected == name_of_error(number), text
        call = by_name(name)
        if never(name, args) and (action == "allow" or (call and call.serve == DENY)):
            expected = never(name, args)
        if ours[text] != expected:
            wrong.append(f"{text}: {ours[text]}, natively {native[text]}, by libseccomp {action} {number}")
    assert not wrong, "\n".join(wrong)
    assert refused >= 20 and len(PROBES) - refused >= 60, refused


CONDITIONS: dict[str, dict[tuple[str, tuple[Word, ...]], str]] = {
    "docker-default": {
        ("personality", (0x20008,)): "positive", ("personality", (0x40000,)): "EPERM", ("personality", (0x1234,)): "EPERM",
        ("personality", (0x100000008,)): "EPERM",
        ("clone", (17, 0, 0, 0, 0)): "positive", ("clone", (0x10000011, 0, 0, 0, 0)): "EPERM",
        ("clone", (0x2000011, 0, 0, 0, 0)): "EPERM", ("clone3", ("args", 88)): "ENOSYS", ("clone3", ("buf", 8)): "ENOSYS",
        ("unshare", (0,)): "EPERM", ("keyctl", (-1 & (1 << 64) - 1, 0, 0, 0, 0)): "EPERM",
    },
    "docker-default+socket": {("socket", (40, 1, 0)): "EPERM", ("socket", (1, 1, 0)): "positive"},
    "docker-old": {
        ("personality", (0x20000,)): "EPERM", ("personality", (8,)): "0", ("clone3", ("args", 88)): "EPERM",
        ("clone", (0x40000011, 0, 0, 0, 0)): "EPERM",
    },
    "containers": {
        ("personality", (0x40000,)): "ENOSYS", ("clone3", ("args", 88)): "positive", ("socket", (16, 3, 9)): "positive",
        ("chroot", ("text:/nonexistent",)): "ENOENT", ("vhangup", ()): "EPERM",
    },
    "containers+0": {
        ("socket", (16, 3, 9)): "EINVAL", ("socket", (16, 3, 0)): "positive", ("socket", (2, 1, 9)): "EPROTONOSUPPORT",
        ("chroot", ("text:/nonexistent",)): "EPERM", ("settimeofday", (0, 0)): "EPERM",
    },
    "runc-1": {
        ("dup3", (0, 60, 0o2000000)): "EPERM", ("dup3", (1, 61, 0o2000000)): "positive", ("dup3", (2, 62, 0o2000000)): "EPERM",
        ("socket", (1, 1, 0)): "positive", ("socket", (1, 1, 0x100)): "EPERM",
    },
    "runc-2": {("clone", (17, 0, 0, 0, 0)): "ENXIO", ("chroot", ("text:/nonexistent",)): "ENXIO"},
}  # fmt: skip
"""What the profiles' own text says of a call, read by eye; a kernel with all families of sockets is not needed for these."""


@pytest.mark.parametrize("case", [case for case in CASES + OTHERS if str(case) in CONDITIONS], ids=str)
def test_conditions_on_arguments(case: Case, tmp_path: Path) -> None:
    native, ours = probed(case, tmp_path)
    for (name, args), expected in CONDITIONS[str(case)].items():
        assert (native[text_of(name, args)], ours[text_of(name, args)]) == (expected, expected), text_of(name, args)


REFUSED: tuple[tuple[str, tuple[Word, ...], str], ...] = (
    ("mount", ("text:none",), "mount -t nosuch none /nonexistent"),
    ("umount2", ("text:none",), "umount /nonexistent"),
    ("pivot_root", ("text:a",), "pivot_root /nonexistent /nonexistent"),
    ("chroot", ("text:a",), "chroot /nonexistent true"),
    ("unshare", (0x10000000,), "unshare -U true"),
    ("unshare", (0x20000,), "unshare -m true"),
    ("setns", (3, 0x40000000), "nsenter -n -t $$ true"),
    ("sethostname", ("text:a",), 'hostname "$(hostname)"'),
    ("delete_module", ("text:a",), "rmmod nosuchmodule"),
    ("syslog", (3,), "dmesg > /dev/null"),
    ("personality", (8,), "linux32 uname -m"),
    ("adjtimex", ("buf",), "adjtimex -q"),
    ("sched_setaffinity", (0,), "taskset 1 true"),
)
"""Calls that profiles refuse, as an applet makes each; those that may be allowed change nothing."""
SAYS = {"EPERM": ("not permitted", "ermission denied"), "ENOSYS": ("not implemented",), "ENXIO": ("No such device or address",)}


@cases
def test_busybox(case: Case, tmp_path: Path) -> None:
    """A script of some hundred processes; then what the profile refuses, with the applet's own message."""
    busybox = program("busybox")
    script = tmp_path / "script"
    parts = [f'part {n} {name}; ("$b" {applet}) 2>&1; echo $?' for n, (name, _, applet) in enumerate(REFUSED)]
    script.write_text("\n".join([(HERE / "applets.sh").read_text(), *parts]) + "\n")
    native, ours = both(case, tmp_path, busybox, "sh", script, busybox)
    assert native.status == ours.status
    same(native.err.splitlines(), ours.err.splitlines(), "standard error")
    (theirs, *their_parts), (mine, *my_parts) = (split(ran.out, len(REFUSED)) for ran in (native, ours))
    same(theirs.splitlines(), mine.splitlines(), "standard output")
    assert tree(tmp_path / "native") == tree(tmp_path / "torov")
    if decided(case, "clone", (17,))[0] != "allow":  # a shell that cannot fork ends at once
        assert native.status == 2 and "can't fork" in native.err and not their_parts
        return
    assert native.status == 0 and "-- machine" in theirs and len(tree(tmp_path / "native")) > 12
    for (name, args, applet), expected, got in zip(REFUSED, their_parts, my_parts, strict=True):
        action, number = decided(case, name, args)
        if action == "errno":
            assert any(word in expected for word in SAYS[name_of_error(number)]), (applet, expected)
        if never(name, args) and got != expected:
            assert any(word in got for word in SAYS[never(name, args)]), (applet, got)
        else:
            assert got == expected, applet


def split(text: str, last: int) -> list[str]:
    """The output before the first of the numbered parts, and each of these without its number."""
    parts = text.split("\n-- ")
    at = next((i for i, part in enumerate(parts) if part.startswith("0 ")), len(parts))
    assert len(parts) - at in (0, last), text
    return ["\n-- ".join(parts[:at]), *parts[at:]]


@cases
def test_python(case: Case, tmp_path: Path) -> None:
    """os, tempfile, subprocess, threading, socket, asyncio: what fails under a profile fails in the same way."""
    native, ours = both(case, tmp_path, PYTHON, "-I", "-B", HERE / "workload.py")
    same(native.out.splitlines(), ours.out.splitlines(), "standard output")
    same(without_places(native), without_places(ours), "standard error")
    assert native.status == ours.status == 0
    lines = native.out.splitlines()
    assert len(lines) == (HERE / "workload.py").read_text().count("\n@step\n")
    failed = {line.partition(":")[0] for line in lines if "Error" in line}
    threads = {"threads", "pool", "asyncio_processes", "asyncio_threads_and_times"}
    if decided(case, "clone", (17,))[0] != "allow":
        assert failed > threads and "os_processes" in failed
    elif decided(case, "clone3", ()) == ("errno", 1):  # the C library goes on with clone(2) only after ENOSYS
        assert failed == threads
    else:
        assert not failed


OWN = """
    test_asyncio.test_unix_events test_asyncio.test_streams test_fcntl test_socket.BasicTCPTest test_socket.SendmsgTCPTest
    test_socket.RecvmsgSCMRightsStreamTest test_os.FileTests test_os.PidTests test_tempfile.TestNamedTemporaryFile
    test_tempfile.TestTemporaryDirectory
"""


def test_cpythons_own_tests(tmp_path: Path) -> None:
    """Some of CPython's tests under Docker's default; all modules of test_cpython.py would take minutes."""
    names = [f"test.{name}" for name in OWN.split()]
    native, ours = both(DOCKER, tmp_path, python(), "-c", RUN, "-", *names, timeout=120)
    theirs, mine = ends(native.err), ends(ours.err)
    assert mine == theirs and ours.status == native.status == 0, ours.err[-4000:]
    assert len(theirs) > 250 and [*theirs.values()].count("ok") > 200


def without_places(ran: Ran) -> list[str]:
    """Standard error without addresses of objects."""
    return [line for line in ran.err.splitlines() if " at 0x" not in line]


FILES = {f"f{n}": random.Random(n).randbytes(size) for n, size in enumerate((0, 1, 5000, 70_000, 400_000))}
Answer = tuple[int, str | None, str | None, int, str]


def ask(connection: http.client.HTTPConnection, method: str, path: str, **headers: str) -> Answer:
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, answer.getheader("Content-Type"), answer.getheader("ETag"), len(body), hashlib.sha256(body).hexdigest()


def session(port: int) -> list[list[Answer]]:
    """Six connections at a time, each kept alive over all requests."""
    answers: list[list[Answer]] = [[] for _ in range(6)]

    def client(mine: list[Answer]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for name in [*FILES, *FILES]:
            mine.append(ask(connection, "GET", f"/{name}"))
        mine.append(ask(connection, "GET", "/f4", Range="bytes=1000-1999"))
        mine.append(ask(connection, "HEAD", "/f3"))
        mine.append(ask(connection, "GET", "/missing"))
        mine.append(ask(connection, "POST", "/f1"))
        connection.close()

    threads = [threading.Thread(target=client, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@cases
def test_caddy(case: Case, tmp_path: Path) -> None:
    """The same answers over connections that are kept alive, the same words in its log, a clean end by SIGTERM."""
    site = tmp_path / "site"
    site.mkdir()
    for name, body in FILES.items():
        (site / name).write_bytes(body)
        os.utime(site / name, (1_000_000_000, 1_000_000_000))
    found = []
    for side in ("native", "torov"):
        where, port = tmp_path / side, free_port()
        where.mkdir()
        log = where / "log"
        words = ("file-server", "--root", site, "--listen", f"127.0.0.1:{port}")
        server = start(case, side == "native", where, log, program("caddy"), *words)
        answers: list[list[Answer]] = []
        if decided(case, "clone", (17,))[0] == "allow":
            try:
                until_open(port, server, log)
                answers = session(port)
            finally:
                status = stop(server, with_signal=signal.SIGTERM)
        else:
            status = ended(server)
        found.append((status, answers, said(log, port)))
    assert found[0] == found[1]
    status, answers, lines = found[0]
    if not answers:  # Go's first thread
        assert status == 2 and any("failed to create new OS thread" in line for line in lines), lines
        return
    assert status == 0 and all(len(mine) == 14 and mine == answers[0] for mine in answers)
    codes = [answer[0] for answer in answers[0]]
    assert codes == [200] * 10 + [206, 200, 404, 405]
    digests = [hashlib.sha256(body).hexdigest() for body in FILES.values()]
    assert [answer[4] for answer in answers[0][:10]] == digests * 2
    assert answers[0][10][4] == hashlib.sha256(FILES["f4"][1000:2000]).hexdigest()
    assert "shutdown complete" in lines


def ended(server: subprocess.Popen[bytes]) -> int:
    try:
        return server.wait(30)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def said(log: Path, port: int) -> list[str]:
    """What caddy wrote, without what differs from run to run: the messages; of a crash, what Go says first."""
    found = set()
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            found.add(str(json.loads(line)["msg"]).replace(str(port), "PORT"))
        elif line.startswith(("runtime:", "fatal error:")):
            found.add(line)
    return sorted(found)
