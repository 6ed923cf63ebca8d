"""Landlock around a monitor that runs: what a guest may do goes on, and a monitor that was taken over reaches no further."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ROOT, build, run, torov
from support import Compiler
from test_filter import inject, monitors
from test_jail import answers

from torov.vmm.confine import landlock_abi

pytestmark = [pytest.mark.kvm, pytest.mark.skipif(landlock_abi() < 3, reason="this kernel has no Landlock of version 3")]


@pytest.fixture(scope="module")
def look(cc: Compiler) -> Path:
    return build(cc, "jailed", "glibc", "-Wno-deprecated-declarations", "-pthread")


def rules(where: Path) -> Path:
    """Reads below in, everything below out, all calls that need no path, connections to port 1."""
    files = [
        "open",
        "openat",
        "openat2",
        "mkdir",
        "mkdirat",
        "stat",
        "newfstatat",
        "statx",
        "lstat",
        "readlink",
        "readlinkat",
        "access",
    ]
    path = where / "p.json"
    allowed = [
        {"calls": files, "where": [{"path": [f"{where}/out", f"{where}/out/**"]}], "action": "allow"},
        {
            "calls": ["open", "openat"],
            "where": [{"path": [f"{where}/in/**", "/proc/**"]}, {"arg": "flags", "is": "O_RDONLY", "mask": 3}],
            "action": "allow",
        },
        {"calls": ["connect"], "where": [{"address": {"family": "inet", "port": 1}}], "action": "allow"},
        # message queues have no place in the tree: where they are allowed, Landlock cannot say who reads and writes
        {
            "calls": [*files, "@file-system", "connect", "bind", "execve", "execveat", "mq_open", "mq_unlink"],
            "action": {"errno": "EPERM"},
        },
    ]
    path.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": allowed}))
    for name in ("in", "out", "other"):
        (where / name).mkdir()
        (where / name / "file").write_text(f"of {name}\n")
    return path


def test_a_guest_does_what_the_policy_allows(look: Path, tmp_path: Path) -> None:
    """No less by Landlock: the same answers as without."""
    policy = rules(tmp_path)
    here = str(tmp_path)
    questions = [f"read:{here}/in/file", f"read:{here}/out/file", f"write:{here}/out/new", f"mkdir:{here}/out/dir"]
    questions += [
        f"write:{here}/in/file",
        f"read:{here}/other/file",
        f"write:{here}/other/new",
        "read:/etc/hostname",
        "tcp:1",
        "tcp:2",
    ]
    done = answers(run(torov(look, *questions, options=("--quiet", "--policy", str(policy)))))
    said = [answer.strip() for answer in done.values()]
    assert said == ["fine of in", "fine of out", "fine", "fine", "EPERM", "EPERM", "EPERM", "EPERM", "ECONNREFUSED", "EPERM"]


class Taken:
    """A monitor into which calls are put; strings are written into its memory."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.page = inject(pid, 9, (0, 4096, 3, 0x22, 2**64 - 1, 0))
        assert self.page > 0

    def call(self, nr: int, *args: int | bytes) -> int:
        numbers: list[int] = []
        at = self.page
        with open(f"/proc/{self.pid}/mem", "r+b", 0) as memory:
            for arg in args:
                if isinstance(arg, bytes):
                    memory.seek(at)
                    memory.write(arg + b"\0")
                    numbers.append(at)
                    at += len(arg) + 1
                else:
                    numbers.append(arg)
        return inject(self.pid, nr, tuple(numbers))


@pytest.fixture
def taken(look: Path, tmp_path: Path) -> Iterator[Taken]:
    """Without seccomp: what is refused is refused by Landlock."""
    command = torov(look, "sleep:60", options=("--quiet", "--no-seccomp", "--policy", str(rules(tmp_path))))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield Taken(process.pid)
        process.kill()


def test_a_taken_monitor_opens_no_other_file(taken: Taken, tmp_path: Path) -> None:
    here = -100
    where = str(tmp_path).encode()
    assert taken.call(257, here, where + b"/in/file", os.O_RDONLY) > 2
    assert taken.call(257, here, where + b"/out/made", os.O_RDWR | os.O_CREAT, 0o600) > 2
    assert taken.call(257, here, where + b"/in/file", os.O_RDWR) == -errno.EACCES
    assert taken.call(257, here, where + b"/other/file", os.O_RDONLY) == -errno.EACCES
    assert taken.call(257, here, b"/etc/shadow", os.O_RDONLY) == -errno.EACCES
    assert taken.call(257, here, where + b"/in/new", os.O_WRONLY | os.O_CREAT, 0o600) == -errno.EACCES
    assert taken.call(87, where + b"/other/file") == -errno.EACCES  # unlink
    assert taken.call(82, where + b"/out/file", where + b"/other/moved") in (-errno.EACCES, -errno.EXDEV)
    assert (tmp_path / "other" / "file").read_text() == "of other\n"


def test_a_taken_monitor_executes_nothing(taken: Taken) -> None:
    assert taken.call(59, b"/bin/true", 0, 0) == -errno.EACCES


@pytest.mark.skipif(landlock_abi() < 4, reason="Landlock knows ports since version 4")
def test_a_taken_monitor_connects_nowhere_else(taken: Taken) -> None:
    """Port 1 refuses the connection; port 2 is Landlock's."""
    fd = taken.call(41, 2, 1, 0)
    address = (2).to_bytes(2, "little") + b"\0%c\x7f\0\0\1" + bytes(8)
    assert taken.call(42, fd, address.replace(b"%c", b"\1"), 16) == -errno.ECONNREFUSED
    assert taken.call(42, fd, address.replace(b"%c", b"\2"), 16) == -errno.EACCES
    assert taken.call(49, fd, address.replace(b"%c", b"\0"), 16) == -errno.EACCES


def test_children_and_programs_inherit_it(look: Path, tmp_path: Path) -> None:
    """In a jail, read-only mounts stay so for what is executed, too; signals stay inside."""
    done = answers(
        run(torov(look, "ids", f"exec:{look}", "write:/usr/x", "write:/dev/null", "write:/tmp/x", options=("--quiet", "--jail")))
    )
    assert (done["write:/usr/x"], done["write:/dev/null"], done["write:/tmp/x"]) == ("EROFS", "fine", "fine")


def test_a_taken_monitor_in_a_jail_executes_nothing(look: Path) -> None:
    """Without a policy, too."""
    command = torov(look, "sleep:60", options=("--quiet", "--no-seccomp", "--jail"))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (inside,) = monitors(process.pid)
        script = (
            "import os, test_filter, test_landlock_run\n"
            f"print(test_landlock_run.Taken({inside}).call(59, b'/usr/bin/true', 0, 0))\n"
        )
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "vmm")])
        done = run([sys.executable, "-c", script], env={"PYTHONPATH": path})
        process.kill()
    assert done.out == f"{-errno.EACCES}\n", done.err
