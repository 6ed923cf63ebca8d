"""Programs with an interpreter and libraries, as they are on this system: the same output and status as natively."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from running import compare, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

PYTHON = """
import ctypes, hashlib, json, os, re, signal, socket, struct, subprocess, sys, threading, time
print(sys.version, os.path.realpath(sys.executable))
total = []
threads = [threading.Thread(target=lambda n=n: total.append(sum(range(n)))) for n in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(total))
print(subprocess.run(["sh", "-c", "cat; exit 5"], input=b"through a pipe", capture_output=True))
a, b = socket.socketpair(); a.sendall(b"hello"); print(b.recv(10))
signal.signal(signal.SIGALRM, lambda *_: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.02); signal.pause()
print(hashlib.sha256(b"abc").hexdigest(), json.dumps({"a": [1, 2.5]}), ctypes.CDLL(None).abs(-3))
pid = os.fork()
if not pid: os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.exit(3)
"""
PERL = """
$| = 1; my %h = map { $_ => $_ ** 2 } 1..20; print join(",", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\\n";
print scalar(reverse("perl")), " ", `echo from a shell`; my $p = fork; exit 4 unless $p; waitpid $p, 0; print $? >> 8, "\\n";
$SIG{USR1} = sub { print "usr1\\n" }; kill USR1 => $$; local $_ = "aXbXc"; print join("|", split /X/), "\\n"; exit 6;
"""
BASH = """
set -e -o pipefail; trap 'echo trapped $?' EXIT
for i in 1 2 3; do echo $i; done | while read n; do echo $((n * n)); done | sort -r
x=$(printf '%s\\n' a b c | tr a-c A-C | paste -sd,); echo $x; cat <<END
here $x
END
(sleep 0.05; echo background) & wait $!; diff <(echo one) <(echo two) || echo differ
trap 'echo usr1' USR1; kill -USR1 $$ & wait || true; false
"""


def found(name: str) -> Path:
    path = shutil.which(name)
    assert path, f"{name} is needed: install it"
    return Path(path)


@pytest.mark.parametrize(
    ("program", "text", "status"),
    [(Path(getattr(sys, "_base_executable", sys.executable)), PYTHON, 3), ("perl", PERL, 6), ("bash", BASH, 1)],
    ids=["python", "perl", "bash"],
)
def test_interpreter(program: str | Path, text: str, status: int, tmp_path: Path) -> None:
    flag = "-e" if program == "perl" else "-c"
    path = program if isinstance(program, Path) else found(program)
    assert compare(path, flag, text, where=tmp_path).status == status


def test_compile_and_run(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text('#include <stdio.h>\n#include <math.h>\nint main(void) { printf("%f\\n", sqrt(2)); return 4; }\n')
    program = tmp_path / "a"
    done = run(torov(found("gcc"), "-O2", "-o", str(program), str(source), "-lm"), cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert compare(program, where=tmp_path / "runs").status == 4


def test_repository(tmp_path: Path) -> None:
    """git makes one by torov; git says natively that it is whole, and both tell the same history."""
    git, work = found("git"), tmp_path / "work"
    config = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")
    assert run(torov(git, *config, "init", "-q", str(work))).status == 0
    for number in range(3):
        (work / f"file{number}").write_text("line\n" * (number + 1) * 100)
        for command in (("add", "."), ("commit", "-q", "-m", f"change {number}")):
            done = run(torov(git, *config, *command), cwd=work)
            assert (done.status, done.err) == (0, "")
    assert run([git, "fsck", "--strict"], cwd=work).status == 0
    native = compare(git, "-C", str(work), "--no-pager", "log", "--stat", "-p", where=tmp_path / "runs")
    assert native.out.count("commit ") == 3
    done = run(torov(git, "clone", "-q", f"file://{work}", str(tmp_path / "clone")))
    assert (done.status, done.err) == (0, "")
    assert run([git, "log", "--format=%H"], cwd=work).out == run([git, "log", "--format=%H"], cwd=tmp_path / "clone").out


FIRST_CALLS = """
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>
static char space[256];
static struct utsname name; static struct rusage usage; static struct sysinfo info;
static int calls(int n) {
    switch (n) {
    case 0: return getppid() > 0; case 1: return getuid() == geteuid();
    case 2: return getgid() == getegid(); case 3: return sched_yield();
    case 4: return getpgrp() > 0; case 5: return getsid(0) > 0; case 6: return chdir(".");
    case 7: return access(".", 0); case 8: return uname(&name);
    case 9: return getrusage(0, &usage); case 10: return sysinfo(&info);
    case 11: return getpriority(0, 0) < 40; case 12: return close(-1);
    case 13: return getcwd(space, sizeof space) != NULL; case 14: return lseek(-1, 0, 0) < 0;
    case 15: return dup(-1); case 16: return fsync(-1);
    case 17: return unlink("none"); case 18: return rmdir("none");
    case 19: return link("none", "none"); case 20: return truncate("none", 0);
    case 21: return chmod("none", 0); case 22: return sched_getscheduler(0);
    case 23: return getgroups(0, NULL) >= 0;
    default: return munlock(space, 1) <= 0;
    }
}
static pthread_barrier_t together;
static void *run(void *arg) {
    long total = 0;
    for (int n = 0; n < 25; n++) { pthread_barrier_wait(&together); total += calls(n); }
    return (void *)total;
}
int main(void) {
    pthread_t t[8]; long total = 0; void *one;
    pthread_barrier_init(&together, NULL, 8);
    for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, run, NULL);
    for (int i = 0; i < 8; i++) { pthread_join(t[i], &one); total += (long)one; }
    printf("%ld\\n", total);
    return 0;
}
"""


def test_threads_that_reach_an_unpatched_call_together(cc: Compiler, tmp_path: Path) -> None:
    """Each call of the library is patched at its first use, while other threads are on their way through the same one."""
    program = cc(FIRST_CALLS, "dynamic", "-pthread")
    for number in range(15):
        assert compare(program, where=tmp_path / str(number)).status == 0
