"""The filters on the monitor's own system calls: what the policy lets the program ask for, and what the monitor needs besides.

A guest that took the monitor over could still make only these. Two filters, stacked: ``start`` holds from the end of the jail's
making until the guest runs, ``run`` from then on, for the monitor, for the processes that it forks, and for the runners that
exec(2) starts. What is not listed kills the process in ``run``, and is EPERM in ``start``. x32 and i386 are refused.

libseccomp makes the filters (through pyseccomp), once: the bytes are kept with the compiled policy.
"""

from __future__ import annotations

import os

from torov.errors import MachineError
from torov.syscalls import CORE, DENY, Call, by_name, by_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torov.policy import Policy

    Test = tuple[int, str, int, int]

EQ, NE, MASKED = "=", "!", "&"
_FD2 = (0, EQ, 2, 0)
_FULL, _LOW = (1 << 64) - 1, (1 << 32) - 1

KVM = {
    "KVM_GET_API_VERSION": 0xAE00, "KVM_CREATE_VM": 0xAE01, "KVM_CHECK_EXTENSION": 0xAE03, "KVM_GET_VCPU_MMAP_SIZE": 0xAE04,
    "KVM_GET_SUPPORTED_CPUID": 0xC008AE05, "KVM_CREATE_VCPU": 0xAE41, "KVM_SET_USER_MEMORY_REGION": 0x4020AE46, "KVM_RUN": 0xAE80,
    "KVM_GET_SREGS": 0x8138AE83, "KVM_SET_SREGS": 0x4138AE84, "KVM_GET_MSRS": 0xC008AE88, "KVM_SET_MSRS": 0x4008AE89,
    "KVM_SET_CPUID2": 0x4008AE90, "KVM_GET_VCPU_EVENTS": 0x8040AE9F, "KVM_SET_VCPU_EVENTS": 0x4040AEA0,
    "KVM_GET_XSAVE": 0x9000AEA4, "KVM_SET_XSAVE": 0x5000AEA5, "KVM_SET_XCRS": 0x4188AEA7, "KVM_SET_DEVICE_ATTR": 0x4018AEE1,
}  # fmt: skip
"""linux/kvm.h, as far as core/kvm.c uses it."""

IOCTLS = (
    0x07B9, *range(0x5401, 0x540C), 0x5425, *range(0x540C, 0x5412), *range(0x5413, 0x541C), 0x5420, 0x5421, 0x5422,
    0x5424, 0x5427, 0x5428, 0x5429, 0x5441, 0x5450, 0x5451, 0x5452, 0x5460, 0x802C542A, 0x402C542B, 0x402C542C,
    0x402C542D, 0x5456, 0x5457, 0x545D, 0x80045432, 0x40045436, *range(0x8901, 0x8908), 0x80108906, 0x80108907, 0x8910,
    0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942, 0x8970, 0x40088A01,
    0x80088A02, 0x40085400, 0x40044900, 0x80086601, 0x40086602, 0x80087601, 0x801C581F, 0x401C5820, 0x40049409, 0x1260,
    0x1268, 0x127B, 0x80081272, 0x125E, 2, 0x80045430, 0x40045431, 0x80045438, 0x80045439, 0x80045440,
)  # fmt: skip
"""Requests that core_fd.c serves."""

PRCTLS = (1, 2, 3, 4, 7, 8, 15, 16, 13, 14, 21, 23, 24, 27, 28, 29, 30, 36, 37, 38, 39, 41, 42, 47, 25, 34)
"""Options that core_proc.c serves."""

PERSONAS = (0, 0x8, 0x20000, 0x20008, _LOW)
"""PER_LINUX, PER_LINUX32, UNAME26 and both, and to ask: none changes the monitor's memory (core_proc.c)."""

_SPACES = 0x7E020080  # CLONE_NEW*: never, by clone(2) or unshare(2)
_CREATING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # O_WRONLY O_RDWR O_CREAT O_TRUNC O_APPEND, O_TMPFILE's own bit
_READING: Test = (2, MASKED, _CREATING, 0)
_NO_EXEC: Test = (2, MASKED, 4, 0)  # PROT_EXEC: guest memory is never executable on the host


class Need:
    """Calls that the monitor makes whatever the policy says of them.

    Fields:
        when: "run": always; "start": until the guest runs; else a feature that the policy allows: "files" (a call with a path),
            "open", "fd" (lists of descriptors), "threads", "processes", "exec", "ask", "delegates"; or what the run has:
            "audit" (a log), "core" (core files), "debug" (a debugger), "trace", "perf" (samples), "loader" (torov-runner is not
            static, and the policy allows exec).
        names: the calls.
        tests: conditions on arguments, all of which hold.
        why: the reason.
    """

    __slots__ = ("names", "tests", "when", "why")

    def __init__(self, when: str, names: str, why: str, *tests: Test) -> None:
        self.when, self.names, self.why, self.tests = when, tuple(names.split()), why, tests


def _kvm(when: str, names: str, why: str) -> tuple[Need, ...]:
    return tuple(Need(when, "ioctl", f"{name}: {why}", (1, MASKED, _LOW, KVM[name])) for name in names.split())


NEEDS: tuple[Need, ...] = (
    *_kvm("run", "KVM_RUN", "the guest"),
    *_kvm("run", "KVM_GET_SREGS KVM_GET_VCPU_EVENTS KVM_SET_VCPU_EVENTS", "why it stopped"),
    *_kvm("run", "KVM_GET_XSAVE KVM_SET_XSAVE KVM_GET_MSRS KVM_SET_MSRS", "frames of signals, FS and GS of threads"),
    *_kvm("run", "KVM_SET_USER_MEMORY_REGION", "memory grows by memslots"),
    *_kvm("start threads processes exec", "KVM_CREATE_VCPU KVM_SET_CPUID2 KVM_SET_DEVICE_ATTR", "a vCPU each"),
    *_kvm("start threads processes exec", "KVM_SET_SREGS KVM_SET_XCRS", "its registers"),
    *_kvm("start processes exec", "KVM_CREATE_VM KVM_CHECK_EXTENSION KVM_GET_VCPU_MMAP_SIZE", "a process is a VM of its own"),
    *_kvm("start", "KVM_GET_API_VERSION KVM_GET_SUPPORTED_CPUID", "asked once"),
    Need("run", "mmap mprotect", "guest memory, page tables, malloc; nothing is ever executable", _NO_EXEC),
    Need("run", "munmap mremap madvise brk", "guest memory and malloc"),
    Need("run", "futex", "locks of the monitor"),
    Need("run", "rt_sigprocmask rt_sigaction rt_sigreturn rt_sigpending", "signals are mirrored to the host"),
    Need("run", "tgkill rt_tgsigqueueinfo", "one thread kicks another"),
    Need("run", "getpid gettid geteuid getuid", "whose thread it is; which rules of limits hold"),
    Need("run", "exit exit_group", "the end"),
    Need("run", "restart_syscall", "a wait goes on after a stop"),
    Need("run", "close", "descriptors of vCPUs and VMs"),
    Need("run", "fcntl", "hidden descriptors: F_DUPFD_CLOEXEC", (1, MASKED, _LOW, 1030)),
    Need("run", "fcntl", "F_GETFD", (1, MASKED, _LOW, 1)),
    Need("run", "fcntl", "F_SETFD, before exec", (1, MASKED, _LOW, 2)),
    Need("run", "prlimit64", "room above the guest's own limit of descriptors; its other limits", (0, MASKED, _LOW, 0)),
    Need("run", "clock_gettime", "times where the vDSO cannot tell; deadlines"),
    Need("run", "write", "messages to standard error", _FD2),
    Need("run", "ioctl", "TCGETS: is standard error a terminal", (1, MASKED, _LOW, 0x5401)),
    Need("run", "ioctl", "TIOCGWINSZ: how wide is it", (1, MASKED, _LOW, 0x5413)),
    Need("run", "setitimer timer_delete", "a guest's timers end with it"),
    Need("run", "sigaltstack", "the end of Python's main thread"),
    Need("threads processes exec debug", "clone", "threads and processes; never with namespaces", (0, MASKED, _SPACES, 0)),
    Need("threads processes exec debug", "set_robust_list rseq", "the C library's start of a thread"),
    Need("threads processes exec debug", "prctl", "PR_GET_TID_ADDRESS: the C library's idea of who it is", (0, MASKED, _LOW, 40)),
    Need("threads processes debug", "sched_getaffinity sched_yield", "the C library's threads"),
    Need("processes", "pidfd_open", "CLONE_PIDFD", ),
    Need("processes", "sched_getattr", "what a process inherits from the thread that makes it", (0, MASKED, _LOW, 0)),
    Need("processes", "ioprio_get", "the same", (0, MASKED, _LOW, 1), (1, MASKED, _LOW, 0)),
    Need("processes", "pipe2 poll dup wait4", "a parent that waits for its child's exec"),
    Need("processes", "kill", "a forked guest ends by the signal that ended it"),
    Need("exec", "execveat", "torov-runner, by its descriptor", (4, MASKED, _LOW, 0x1000)),
    Need("exec", "memfd_create write", "what the runner is told"),
    Need("exec", "fcntl", "F_ADD_SEALS: and nobody else tells it", (1, MASKED, _LOW, 1033)),
    Need("exec", "unshare", "CLONE_FILES: no other shares the descriptor of that", (0, EQ, 0x400, 0)),
    Need("exec", "openat", "the program, its interpreter, its image: to be read", _READING),
    Need("exec", "read pread64 newfstatat fstat faccessat faccessat2 access", "what the program is"),
    Need("exec", "readlink readlinkat statfs fstatfs getcwd", "its path"),
    Need("exec", "arch_prctl set_tid_address getgid getegid getrandom", "the C library's start in the runner"),
    Need("exec", "prctl", "PR_SET_NAME", (0, MASKED, _LOW, 15)),
    Need("loader", "mmap mprotect read pread64 fstat newfstatat access", "a runner that is not static maps its libraries"),
    Need("loader", "openat", "and opens them", _READING),
    Need("start exec", "prctl", "PR_GET_AUXV: what the kernel tells of the CPU", (0, MASKED, _LOW, 0x41555856)),
    Need("start exec", "prctl", "PR_SET_MM: ps(1) shows the guest's arguments", (0, MASKED, _LOW, 35)),
    Need("exec", "prctl", "PR_SET_NO_NEW_PRIVS", (0, MASKED, _LOW, 38)),
    Need("exec", "prctl", "PR_SET_DUMPABLE: a new program is not to be looked into", (0, MASKED, _LOW, 4)),
    Need("files", "openat2 fstat newfstatat fstatfs readlink readlinkat getcwd", "what a path leads to, held by a descriptor"),
    Need("files", "openat", "O_PATH: is it a link of /proc", (2, MASKED, 0x200000, 0x200000)),
    Need("open", "openat", "texts of /proc/self are made of the host's", _READING),
    Need("open", "open", "a file that was decided upon, by its descriptor"),
    Need("open", "read pread64 memfd_create write fchmod dup3", "texts of /proc/self are files in memory"),
    Need("fd", "newfstatat fstat fstatfs readlink", "which descriptor is a list of descriptors"),
    Need("audit", "sendto", "lines of the audit log", (3, EQ, 0x4000, 0), (4, EQ, 0, 0), (5, EQ, 0, 0)),
    Need("audit", "poll recvmsg read lseek newfstatat fstat", "the log is read again at the end, for --explain"),
    Need("perf", "timer_create timer_settime timer_delete", "the timer of each thread that takes samples"),
    Need("perf", "sendto", "samples", (3, EQ, 0x4000, 0), (4, EQ, 0, 0), (5, EQ, 0, 0)),
    Need("core", "socketpair", "a core file goes to the process that writes it, by a socket of its own", (0, EQ, 1, 0)),
    Need("core", "sendmsg recvmsg", "that socket's other end, and the answer"),
    Need("core", "sendto", "the core file", (3, EQ, 0x4000, 0), (4, EQ, 0, 0), (5, EQ, 0, 0)),
    Need("core", "mincore", "which memory was touched"),
    Need("trace", "sendto", "the writer of the trace is woken", (4, EQ, 0, 0), (5, EQ, 0, 0)),
    Need("trace", "poll recvmsg recvfrom", "what is shared with it; the trace is written to its end"),
    Need("trace", "readlink", "what descriptors stand for"),
    Need("trace", "pidfd_open sendmsg", "it hears of the end of each process"),
    Need("delegates", "getrandom sendmsg recvmsg", "a request to a delegate, and its answer"),
    Need("delegates", "socketpair", "the answer's own way", (0, EQ, 1, 0)),
    Need("ask", "read write", "the question and its answer"),
    Need("debug", "socketpair", "each process of the guest has a socket to the debugger", (0, EQ, 1, 0)),
    Need("debug", "sendmsg", "that socket's other end"),
    Need("debug", "sendto", "what happened", (4, EQ, 0, 0), (5, EQ, 0, 0)),
    Need("debug", "recvfrom", "what the debugger wants"),
    Need("debug", "getppid kill", "whose child it is; the debugger ends the guest"),
    Need("debug", "openat", "/proc/self/maps", _READING),
    Need("debug", "read pread64", "it"),
    Need("debug", "mprotect", "watchpoints: read and execute, for a moment", (2, EQ, 5, 0)),
    Need("debug", "mprotect", "watchpoints: read, write and execute, for a moment", (2, EQ, 7, 0)),
    Need("start", "openat", "files of the machine, to be read", _READING),
    Need("start", "read pread64 lseek newfstatat fstat readlink getdents64 poll ppoll", "the image file; Python"),
    Need("start", "getrandom sysinfo getgid getegid uname getcwd sched_getaffinity", "the auxiliary vector; Python"),
    Need("start", "prctl", "names, dumpable", ),
    Need("start", "seccomp", "the second filter"),
)  # fmt: skip

SERVED: dict[str, str] = {
    "open": "openat2 open fcntl", "creat": "openat2 open fcntl", "openat": "openat2 open fcntl",
    "openat2": "openat2 open fcntl", "readlink": "readlinkat", "mlock": "mlock mlock2", "mlock2": "mlock mlock2",
    "mlockall": "mlock mlock2", "munlockall": "munlock", "mmap": "mmap fstat newfstatat fstatfs",
    "shmat": "shmat shmctl mmap", "shmdt": "shmdt mmap", "getrlimit": "prlimit64", "setrlimit": "prlimit64",
    "sendmmsg": "sendmmsg sendmsg", "recvmmsg": "recvmmsg recvmsg", "get_robust_list": "kill", "clone": "", "clone3": "",
    "fork": "", "vfork": "", "execve": "", "execveat": "", "brk": "", "mprotect": "", "munmap": "",
    "mremap": "", "madvise": "", "exit": "", "exit_group": "", "rt_sigreturn": "", "rt_sigaction": "", "rt_sigprocmask": "",
    "sigaltstack": "", "arch_prctl": "", "set_tid_address": "", "set_robust_list": "", "ioctl": "", "fcntl": "fcntl",
    "prctl": "", "unshare": "",
}  # fmt: skip
"""Calls that the core serves by others than themselves; the host's calls that it makes for them (core/*.c)."""

_LIBRARY = "needs libseccomp: apt-get install libseccomp2 (Debian, Ubuntu), and pip install pyseccomp; --no-seccomp goes without"


def builtin() -> Policy:
    """The built-in policy, kept as one from a file is, for the sake of its filters."""
    from torov import kept

    return kept.builtin()


def load(policy: Policy, has: tuple[str, ...] = (), dynamic: bool = False) -> dict[str, bytes]:
    """The filters of a policy: kept ones, or new ones.

    Args:
        policy: of the run.
        has: what the run has besides: "audit", "core", "debug", "perf".
        dynamic: torov-runner is not static.

    Returns:
        "start" and "run" to arrays of struct sock_filter.

    Raises:
        MachineError: libseccomp is missing.
    """
    from torov import kept

    key = kept.filters_key(has, dynamic)
    start, run = policy.extra.get(f"{key}-start"), policy.extra.get(f"{key}-run")
    if start is None or run is None:
        made = filters(policy.actions, policy.program, has, dynamic)
        start, run = made["start"], made["run"]
        policy.extra[f"{key}-start"] = start
        policy.keep(f"{key}-run", run)
    return {"start": start, "run": run}


def _allowed(actions: bytes) -> list[Call]:
    """The calls that a policy allows, if only under conditions."""
    found = []
    for nr in range(512):
        action = int.from_bytes(actions[2 * nr : 2 * nr + 2], "little", signed=True)
        call = by_number(nr)
        if call is not None and call.serve != DENY and action in (0, -2):
            found.append(call)
    return found


def features(calls: Iterable[Call], program: bytes) -> set[str]:
    """What the policy allows, in the words of Need.when."""
    have = {call.name for call in calls}
    found = {"run"}
    if have & {"clone", "clone3"}:
        found |= {"threads", "processes"}
    if have & {"fork", "vfork"}:
        found |= {"processes"}
    if have & {"execve", "execveat"}:
        found |= {"exec", "files"}
    if have & {"open", "openat", "openat2", "creat"}:
        found |= {"open", "files"}
    if have & {"getdents", "getdents64"}:
        found |= {"fd"}
    if program or any(arg.kind in ("path", "look") for call in calls for arg in call.args):
        found |= {"files"}
    if program:
        found |= {"ask"}
    if int.from_bytes(program[20:24], "little"):
        found |= {"delegates"}
    return found


def rules(
    actions: bytes, program: bytes, phase: str, has: tuple[str, ...] = (), dynamic: bool = False
) -> Iterator[tuple[int, tuple[Test, ...]]]:
    """What one phase allows: number of a call and conditions on its arguments; what no pair allows is refused.

    Args:
        actions, program: of a Policy.
        phase: "start" or "run".
        has: what the run has besides: "audit", "core", "debug", "perf".
        dynamic: torov-runner is not static.
    """
    calls = _allowed(actions)
    have = features(calls, program) | set(has)
    if dynamic and "exec" in have:
        have |= {"loader"}
    if phase == "start":
        have |= {"start", "open", "files"}
        yield _number("ioctl"), ()  # nothing of the guest runs yet, and a filter that looks at arguments costs each exit later
    for need in NEEDS:
        if have & set(need.when.split()):
            for name in need.names:
                yield _number(name), need.tests
    for call in calls:
        yield from _served(call, _steps(program, call.nr) if program else None)


def _number(name: str) -> int:
    call = by_name(name)
    if call is None:
        raise KeyError(name)
    return call.nr


def _served(call: Call, steps: list[tuple[Test, ...]] | None) -> Iterator[tuple[int, tuple[Test, ...]]]:
    if call.name == "ioctl":
        for request in IOCTLS:
            yield call.nr, ((1, MASKED, _LOW, request),)
    elif call.name == "prctl":
        for option in PRCTLS:
            yield call.nr, ((0, MASKED, _LOW, option),)
    elif call.name == "personality":
        for persona in PERSONAS:
            yield call.nr, ((0, MASKED, _LOW, persona),)
    elif call.name == "unshare":
        yield call.nr, ((0, MASKED, _SPACES, 0),)
    elif call.serve == CORE:
        for name in SERVED.get(call.name, call.name).split():
            yield _number(name), ((2, MASKED, 4, 0),) if name == "mmap" else ()
    else:
        for tests in steps if steps is not None else [()]:
            yield call.nr, tests
        for name in SERVED.get(call.name, "").split():
            yield _number(name), ()


def _steps(program: bytes, nr: int) -> list[tuple[Test, ...]] | None:
    """The conditions under which a call of the program's lists is made, as far as a filter can see them: registers only.

    Returns:
        Alternatives; None where the call has no list. Each is at least as wide as the policy's own.
    """
    import struct

    index = struct.unpack_from("<8I", program, 0)[4]
    at = struct.unpack_from("<I", program, index + 4 * nr)[0]
    if not at:
        return None
    found: list[tuple[Test, ...]] = []
    while True:
        _, nconds, action, _, _ = struct.unpack_from("<HBBHH", program, at)
        if action in (0, 3, 4, 5, 6):  # allow, log, ask, delegate (which may say: make it), learn
            found += _alternatives([struct.unpack_from("<BBBBHHIIQQQ", program, at + 8 + 40 * i) for i in range(nconds)], program)
        if not nconds:
            return found
        at += 8 + 40 * nconds


def _alternatives(conds: list[tuple[int, ...]], program: bytes) -> list[tuple[Test, ...]]:
    import struct

    found: list[dict[int, Test]] = [{}]
    for op, arg, negate, width, _, count, off, _, mask, low, high in conds:
        choices: list[Test] = []
        if width or op > 2 or any(arg in tests for tests in found):
            continue  # behind a pointer, a path, an address, or a second look at the same register
        if op == 1 and low == high and not negate:
            choices = [(arg, MASKED, mask, low)]
        elif op == 1 and low == high and mask == _FULL:
            choices = [(arg, NE, low, 0)]
        elif op == 2 and not negate and count * len(found) <= 64:
            choices = [(arg, MASKED, mask, value) for value in struct.unpack_from(f"<{count}Q", program, off)]
        if choices:
            found = [{**tests, arg: choice} for tests in found for choice in choices]
    return [tuple(tests.values()) for tests in found]


def filters(actions: bytes, program: bytes = b"", has: tuple[str, ...] = (), dynamic: bool = False) -> dict[str, bytes]:
    """Make both filters; arguments as rules(), result and errors as load()."""
    phases = {phase: list(rules(actions, program, phase, has, dynamic)) for phase in ("start", "run")}
    return {phase: _compiled(allowed, phase == "run") for phase, allowed in phases.items()}


def _compiled(allowed: list[tuple[int, tuple[Test, ...]]], deadly: bool) -> bytes:
    try:
        import pyseccomp as library
    except (ImportError, RuntimeError, OSError):
        raise MachineError("the filter on the monitor", 0, _LIBRARY) from None
    refused = library.KILL_PROCESS if deadly else library.ERRNO(1)
    made = library.SyscallFilter(refused)
    made.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    made.set_attr(library.Attr.CTL_OPTIMIZE, 2)  # a binary tree
    compare: dict[str, Callable[[Test], object]] = {
        EQ: lambda test: library.Arg(test[0], library.EQ, test[2]),
        NE: lambda test: library.Arg(test[0], library.NE, test[2]),
        MASKED: lambda test: library.Arg(test[0], library.MASKED_EQ, test[2], test[3]),
    }
    always = {nr for nr, tests in allowed if not tests}
    for nr in sorted(always):
        made.add_rule_exactly(library.ALLOW, nr)
    for nr, tests in sorted({item for item in allowed if item[0] not in always}):
        made.add_rule_exactly(library.ALLOW, nr, *(compare[test[1]](test) for test in tests))
    if 435 not in always:  # its flags are in memory: a C library goes on with clone(2)
        made.add_rule_exactly(library.ERRNO(38), 435)
    with os.fdopen(os.memfd_create("torov-filter", os.MFD_CLOEXEC), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
