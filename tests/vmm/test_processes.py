"""Processes of a guest, each fact as natively; the policy in all of them; nothing is left behind."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from pathlib import Path

import pytest
from running import GUESTS, build, compare, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

CASES = [
    (name, case)
    for name in ("processes", "clones")
    for case in re.findall(r"\bCASE\((\w+)\)", (GUESTS / f"{name}.c").read_text())
]


@pytest.mark.parametrize(("guest", "case"), CASES)
def test_processes(cc: Compiler, tmp_path: Path, guest: str, case: str) -> None:
    assert compare(build(cc, guest, "glibc", "-pthread"), case, where=tmp_path).status == 0


def test_the_policy_holds_in_children_and_after_exec(tmp_path: Path) -> None:
    """A shell's child, and the program that it becomes, are refused what the shell is refused."""
    policy = tmp_path / "p.json"
    policy.write_text('{"torov": 1, "default": "builtin", "rules": [{"calls": ["mkdir"], "action": {"errno": "EPERM"}}]}')
    made = tmp_path / "made"
    script = f"mkdir {made}; (mkdir {made}); sh -c 'mkdir {made}'; echo end"
    done = run(torov("/bin/sh", "-c", script, options=("--policy", policy)))
    assert done.out == "end\n"
    assert not made.exists()
    assert done.err.count("Operation not permitted") == 3
    assert done.err.count("torov: denied mkdir(") >= 3


@pytest.mark.parametrize("policy", [False, True])
def test_a_child_by_vfork_inherits_what_its_parent_was_given(tmp_path: Path, policy: bool) -> None:
    """Nice, policy and class of I/O of the thread as they are now, not as they were at its first vfork(2)."""
    script = "nice; renice -n 7 -p $$ >&2; nice; chrt -b -p 0 $$; chrt -p $$ | grep -c BATCH; "
    script += "ionice -c 3 -p $$; ionice; taskset -cp 0 $$ >&2; nproc"
    native = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert native.stdout.split()[1:] == ["7", "1", "idle", "1"]
    (tmp_path / "p.json").write_text('{"torov": 1, "default": "builtin", "rules": []}')
    options = ("--policy", tmp_path / "p.json") if policy else ()
    assert run(torov("/bin/sh", "-c", script, options=options)).out == native.stdout


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """A child that outlives its parent goes on, as natively; when it is over too, nothing of torov is left."""
    done = run(torov("/bin/sh", "-c", f"(sleep 0.3; echo late > {tmp_path}/late; exit 0) & echo $$ $!"))
    pids = done.out.split()
    assert done.status == 0
    assert (tmp_path / "late").read_text() == "late\n"  # run() reads to the end of the child's output
    deadline = time.monotonic() + 5
    while any(Path("/proc", pid).exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in pids if Path("/proc", pid).exists()]


DROPS = """
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (geteuid() ? chmod(argv[1], 0500) : chown(argv[1], 65534, 65534)) return 9;
    for (int left = atoi(argv[2]), st; left--;) {
        if (!fork()) { execl("/bin/sh", "sh", "-c", "exit 4", (char *)0); _exit(9); }
        if (wait(&st) < 0 || st != 4 << 8) return 8;
    }
    return 0;
}
"""


def test_no_image_is_made_that_cannot_be_kept(cc: Compiler, tmp_path: Path) -> None:
    """A guest without the right to the cache (it gave up root): each exec would start the rewriter, for 0.3 s of CPU time."""
    program, cache = cc(DROPS), tmp_path / "cache"
    took = []
    for times in ("0", "0", "15"):  # the first makes the program's own image
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = run(torov(program, str(cache), times), env={"TOROV_CACHE": str(cache)})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ran.status == 0, ran.err
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        cache.chmod(0o700)
        os.chown(cache, os.geteuid(), os.getegid())
    assert took[2] - took[1] < 15 * 0.1, took
