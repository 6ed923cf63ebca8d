"""A policy at work: allow, errno, kill, what is reported; and that the monitor's descriptors are nobody's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import Ran, build, compare, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

GUEST = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    for (int i = 0; i < 3; i++) {
        long r = syscall(SYS_getppid);
        printf("getppid %s\n", r > 0 ? "fine" : strerrorname_np(errno));
    }
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    printf("socket %s\n", s >= 0 ? "fine" : strerrorname_np(errno));
    fflush(stdout);
    printf("chdir %s\n", chdir("/") == 0 ? "fine" : strerrorname_np(errno));
    printf("mount %s\n", syscall(SYS_mount, 0, 0, 0, 0, 0) == 0 ? "fine" : strerrorname_np(errno));
    printf("number 400 %s\n", syscall(400) == 0 ? "fine" : strerrorname_np(errno));
    return 7;
}
"""


@pytest.fixture(scope="module")
def program(cc: Compiler) -> Path:
    return cc(GUEST)


def under(
    program: Path, where: Path, *rules: tuple[list[str], object], default: object = "builtin", options: tuple[str, ...] = ()
) -> Ran:
    """Run the guest under a policy of these rules."""
    policy = where / "p.json"
    policy.write_text(
        json.dumps({"torov": 1, "default": default, "rules": [{"calls": calls, "action": action} for calls, action in rules]})
    )
    return run(torov(program, options=("--policy", policy, *options)))


def test_allowed(program: Path, tmp_path: Path) -> None:
    done = under(program, tmp_path)
    assert done.status == 7
    assert done.out.splitlines() == ["getppid fine"] * 3 + ["socket fine", "chdir fine", "mount EPERM", "number 400 ENOSYS"]


def test_denied_with_the_errno_of_the_rule_and_reported_once(program: Path, tmp_path: Path) -> None:
    rules = ((["getppid"], "deny"), (["socket"], {"errno": "EAFNOSUPPORT"}), (["chdir"], {"errno": "ENOTDIR"}))
    done = under(program, tmp_path, *rules)
    assert done.status == 7
    assert done.out.splitlines()[:5] == ["getppid EPERM"] * 3 + ["socket EAFNOSUPPORT", "chdir ENOTDIR"]
    lines = done.err.splitlines()
    for name, error in (("getppid", "EPERM"), ("socket", "EAFNOSUPPORT"), ("chdir", "ENOTDIR")):
        assert [line for line in lines if f"denied {name}(" in line and f") = {error}: " in line and "p.json" in line], name
        assert sum(name in line for line in lines) == 1
    quiet = under(program, tmp_path, *rules, options=("--quiet",))
    assert (quiet.status, quiet.out, quiet.err) == (7, done.out, "")


def test_the_first_rule_decides(program: Path, tmp_path: Path) -> None:
    done = under(program, tmp_path, (["getppid"], "allow"), (["getppid", "chdir"], "deny"), default="allow")
    assert "getppid fine" in done.out and "chdir EPERM" in done.out


@pytest.mark.parametrize(("call", "lines"), [("getppid", 0), ("chdir", 4)])
def test_killed(program: Path, tmp_path: Path, call: str, lines: int) -> None:
    done = under(program, tmp_path, ([call], "kill"))
    assert done.status == 128 + 31
    assert len(done.out.splitlines()) == lines
    assert [line for line in done.err.splitlines() if "killed" in line and call in line]


def test_a_call_that_is_not_served_can_kill_but_not_be_allowed(program: Path, tmp_path: Path) -> None:
    assert "mount EPERM" in under(program, tmp_path, (["mount"], "allow"), default="allow").out
    assert under(program, tmp_path, (["mount"], "kill")).status == 128 + 31


def test_deny_all_but_what_it_takes_to_write(program: Path, tmp_path: Path) -> None:
    done = under(
        program,
        tmp_path,
        (["@default", "@memory", "@signal", "write", "writev", "fstat", "newfstatat"], "allow"),
        default={"errno": "EACCES"},
    )
    assert done.status == 7
    assert done.out.splitlines()[3:5] == ["socket EACCES", "chdir EACCES"]


def test_python_gets_the_same(program: Path, tmp_path: Path) -> None:
    policy = tmp_path / "p.json"
    policy.write_text('{"torov": 1, "default": "builtin", "rules": [{"calls": ["getppid", "chdir"], "action": "deny"}]}')
    script = (
        "import sys, torov\n"
        "r = torov.run(sys.argv[1], policy=sys.argv[2])\n"
        "print(r.exit_status, r.denied, r.stats['denied'], r.calls['getppid'])\n"
    )
    done = run([sys.executable, "-c", script, program, policy])
    assert done.out.splitlines()[-1] == "7 ('getppid', 'chdir') 4 3"


def test_descriptors_of_the_monitor_are_nobodys(cc: Compiler, tmp_path: Path) -> None:
    native = compare(build(cc, "hidden"), where=tmp_path)
    assert native.out.splitlines()[-1] == "found 0"


@pytest.mark.parametrize("limit", ["64", "1024"])
def test_descriptors_under_a_limit(cc: Compiler, limit: str) -> None:
    program = build(cc, "hidden")
    command = ["bash", "-c", f'ulimit -n {limit} && exec "$@"', "bash"]
    native, guest = run([*command, program]), run([*command, *torov(program)])
    assert (guest.out, guest.status) == (native.out, native.status)
    assert guest.out.splitlines()[-1] == "found 0"


def test_close_range_leaves_the_machine_running(cc: Compiler) -> None:
    program = cc(
        "#define _GNU_SOURCE\n#include <stdio.h>\n#include <unistd.h>\n"
        'int main(void) { closefrom(3); for (int i = 3; i < 70000; i++) close(i); return puts("on") < 0; }\n'
    )
    done = subprocess.run([program], capture_output=True, check=False)
    guest = run(torov(program))
    assert (guest.out, guest.status) == (done.stdout.decode(), done.returncode)
