"""The filters on a monitor that runs: calls are put into it from outside, as a guest that took it over would make them; and
guests that use all kinds of calls run under them as natively."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ROOT, build, compare, run, torov
from support import Compiler

from torov.seccomp import KVM
from torov.syscalls import by_name

pytestmark = pytest.mark.kvm

CALLS = (
    "read write writev exit exit_group brk mmap munmap mprotect madvise mremap rt_sigaction rt_sigprocmask "
    "rt_sigreturn arch_prctl set_tid_address set_robust_list prlimit64 getrandom fstat nanosleep clock_nanosleep "
    "futex uname sigaltstack"
)
_ORDER = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
REGISTERS = _ORDER.split()
ATTACH, DETACH, STEP, GETREGS, SETREGS = 16, 17, 9, 12, 13

NAP = r"""
#include <stdio.h>
#include <time.h>
int main(void) {
    struct timespec t = {60, 0};
    puts("ready");
    fflush(stdout);
    nanosleep(&t, NULL);
    return 0;
}
"""


def ptrace(request: int, pid: int, data: object = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def instruction(pid: int) -> int:
    """Where a system call instruction is in a process: its vdso has some, for what it leaves to the kernel (vdso(7)).

    The place where the process stopped is no answer: one that is about to make its call again stands on the instruction, not
    behind it (signal(7), on calls that are restarted).
    """
    with open(f"/proc/{pid}/maps") as maps:
        (line,) = [line for line in maps if line.rstrip().endswith("[vdso]")]
    start, end = (int(number, 16) for number in line.split()[0].split("-"))
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(start)
        return start + memory.read(end - start).index(b"\x0f\x05")


def begin(pid: int, nr: int, args: tuple[int, ...]) -> ctypes.Array[ctypes.c_uint64]:
    """Attach to a process and make it step into a system call; its registers before."""
    ptrace(ATTACH, pid)
    os.waitpid(pid, 0)
    regs = (ctypes.c_uint64 * len(REGISTERS))()
    ptrace(GETREGS, pid, ctypes.byref(regs))
    saved = (ctypes.c_uint64 * len(REGISTERS))(*regs)
    at = {name: index for index, name in enumerate(REGISTERS)}
    for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), (*args, *[0] * (6 - len(args))), strict=True):
        regs[at[name]] = value & 2**64 - 1
    regs[at["rax"]], regs[at["orig_rax"]] = nr, 2**64 - 1  # no call is to be restarted
    regs[at["rip"]] = instruction(pid)
    ptrace(SETREGS, pid, ctypes.byref(regs))
    ptrace(STEP, pid)
    return saved


def inject(pid: int, nr: int, args: tuple[int, ...]) -> int:
    """Make a process do one system call: its result, or -SIGNAL if that killed it (ptrace(2))."""
    saved = begin(pid, nr, args)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    regs = (ctypes.c_uint64 * len(REGISTERS))()
    ptrace(GETREGS, pid, ctypes.byref(regs))
    result = ctypes.c_int64(regs[REGISTERS.index("rax")]).value
    ptrace(SETREGS, pid, ctypes.byref(saved))
    ptrace(DETACH, pid)
    return result


@pytest.fixture
def monitor(cc: Compiler, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A monitor under a policy without files, network, processes; its guest sleeps."""
    policy = tmp_path / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "deny", "rules": [{"calls": CALLS.split(), "action": "allow"}]}))
    command = torov(cc(NAP, "musl"), options=("--quiet", "--policy", str(policy)))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


FORBIDDEN: dict[str, tuple[int, ...]] = {
    "socket": (2, 1, 0), "connect": (0, 0, 0), "open": (0, 0, 0), "openat": (-100 & 2**64 - 1, 0, 0),
    "openat2": (0, 0, 0, 24), "execve": (0, 0, 0), "execveat": (3, 0, 0, 0, 0x1000), "clone": (17,), "fork": (),
    "vfork": (), "ptrace": (0,), "kill": (1, 0), "mount": (0, 0, 0, 0, 0), "unshare": (0x10000000,), "setns": (0, 0),
    "bpf": (0, 0, 0), "io_uring_setup": (1, 0), "sendto": (1, 0, 0), "process_vm_readv": (1, 0, 0, 0, 0, 0),
    "pidfd_getfd": (0, 0, 0), "memfd_create": (0, 0), "seccomp": (0, 0, 0), "setuid": (0,), "prctl": (4, 1),
    "chroot": (0,), "keyctl": (0,), "landlock_restrict_self": (0, 0), "init_module": (0, 0, 0), "dup": (0,),
}  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_the_policy_denies_kills_the_monitor(monitor: subprocess.Popen[bytes], name: str) -> None:
    call = by_name(name)
    assert call
    assert inject(monitor.pid, call.nr, FORBIDDEN[name]) == -signal.SIGSYS


@pytest.mark.parametrize(
    ("nr", "args"),
    [
        (9, (0, 4096, 5, 0x22, 2**64 - 1, 0)),  # mmap of memory that can be executed
        (10, (0, 4096, 7)),  # mprotect
        (16, (0, KVM["KVM_CREATE_VM"], 0)),
        (16, (0, 0x5412, 0)),  # TIOCSTI
        (72, (0, 4, 0)),  # fcntl, F_SETFL
        (0x40000000 | 39, ()),  # getpid of x32
        (600, ()),  # no call
    ],
)
def test_arguments_are_looked_at(monitor: subprocess.Popen[bytes], nr: int, args: tuple[int, ...]) -> None:
    assert inject(monitor.pid, nr, args) == -signal.SIGSYS


def test_what_the_monitor_needs_goes_on(monitor: subprocess.Popen[bytes]) -> None:
    """The same way of putting calls in, with calls that are allowed: it is the filter that kills."""
    assert inject(monitor.pid, 39, ()) == monitor.pid
    assert inject(monitor.pid, 9, (0, 4096, 3, 0x22, 2**64 - 1, 0)) > 0
    assert inject(monitor.pid, 72, (0, 1, 0)) == 0  # F_GETFD of standard input
    assert inject(monitor.pid, 1, (2, 0, 0)) == 0
    assert monitor.poll() is None


def test_the_supervisor_says_so(cc: Compiler, tmp_path: Path) -> None:
    """In a jail there is someone who can tell what happened; the signal is told as well."""
    command = torov(cc(NAP, "musl"), options=("--quiet", "--jail"))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "ready\n"
        inside = monitors(process.pid)
        call = by_name("ptrace")
        assert len(inside) == 1 and call
        put(inside[0], call.nr)
        assert process.wait(timeout=20) == -signal.SIGSYS
        assert process.stderr.read().endswith("killed: the monitor made a system call that its own filter does not allow\n")


def monitors(parent: int) -> list[int]:
    """Children with a VM: the guest has begun, but pid 1 of a jail may still be on its way to its name."""
    return [
        pid for pid in children(parent) if any(os.readlink(fd) == "anon_inode:kvm-vm" for fd in Path(f"/proc/{pid}/fd").iterdir())
    ]


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def put(pid: int, nr: int) -> None:
    """As inject(), for a process that is another one's child: what becomes of it is for that one."""
    script = f"import test_filter; test_filter.begin({pid}, {nr}, ()); import os; os.waitpid({pid}, 0)"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "vmm")])
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, check=True, timeout=30)


def test_without_the_filter_they_are_made(cc: Compiler, tmp_path: Path) -> None:
    """--no-seccomp: the control. socket() gives a descriptor."""
    policy = tmp_path / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "deny", "rules": [{"calls": CALLS.split(), "action": "allow"}]}))
    command = torov(cc(NAP, "musl"), options=("--quiet", "--no-seccomp", "--policy", str(policy)))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert inject(process.pid, 41, (1, 1, 0)) > 2
        process.kill()


GUESTS = ["memory", "calls_files", "calls_net", "calls_process", "proc", "lengths", "flags"]


@pytest.mark.parametrize("guest", GUESTS)
def test_guests_run_as_natively(cc: Compiler, tmp_path: Path, guest: str) -> None:
    """Each of these makes hundreds of different calls: what the monitor needs for them is all in the table."""
    policy = tmp_path / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": []}))
    compare(build(cc, guest), where=tmp_path, options=("--quiet", "--policy", str(policy)))


@pytest.mark.parametrize("guest", [guest for guest in GUESTS if guest != "calls_net"])  # which waits for a network
def test_no_call_is_missing_in_a_jail(cc: Compiler, tmp_path: Path, guest: str) -> None:
    """What they see is another place, so they say other things; but they come to their end."""
    done = run(torov(build(cc, guest), options=("--quiet", "--jail")), cwd=tmp_path)
    assert done.status != 128 + signal.SIGSYS and "filter" not in done.err, done.err


SCRIPT = (
    "echo $((1+1)) | cat; ls / | wc -l; (exit 3); echo $?; sleep 0 & wait; echo a > {0}/f; cat {0}/f; "
    "mkdir {0}/d; rm -r {0}/d; kill -0 $$; ulimit -n"
)


def test_a_shell_runs_as_natively(tmp_path: Path) -> None:
    policy = tmp_path / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": []}))
    script = SCRIPT.format(tmp_path)
    native = run(["/bin/bash", "-c", script])
    done = run(torov("/bin/bash", "-c", script, options=("--quiet", "--policy", str(policy))))
    assert (done.out, done.status, done.err) == (native.out, native.status, native.err)


def test_python_runs_as_natively(tmp_path: Path) -> None:
    """Threads, sockets, subprocesses, signals, timers, mmap of a file, many modules."""
    policy = tmp_path / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "builtin", "rules": []}))
    program = (
        "import asyncio, json, mmap, os, select, signal, socket, sqlite3, ssl, subprocess, tempfile, threading, time, zlib\n"
        "results = []\n"
        "threads = [threading.Thread(target=results.append, args=(n,)) for n in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(sorted(results))\n"
        "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n"
        "print(subprocess.run(['echo', 'hi'], capture_output=True).stdout)\n"
        "signal.signal(signal.SIGALRM, lambda *_: print('alarm')); signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)\n"
        "with tempfile.TemporaryFile() as f:\n"
        "    f.write(b'0' * 8192); f.flush(); m = mmap.mmap(f.fileno(), 8192); print(m[:3])\n"
        "async def main(): await asyncio.sleep(0.01); return 5\n"
        "print(asyncio.run(main()), sqlite3.connect(':memory:').execute('select 1+1').fetchone())\n"
        "pid = os.fork()\n"
        "if not pid: os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    native = run(["/usr/bin/python3", "-c", program])
    done = run(torov("/usr/bin/python3", "-c", program, options=("--quiet", "--policy", str(policy))))
    assert native.status == 0, native.err
    assert (done.out, done.status, done.err) == (native.out, native.status, native.err)
