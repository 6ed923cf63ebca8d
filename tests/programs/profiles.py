"""Real seccomp profiles, and programs under them: natively by libseccomp's filter, and by torov."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import libseccomp
from running import ROOT, Ran

from torov.corpus import PROFILES as PROFILES_FILE
from torov.corpus import fetch, read_binaries
from torov.loader.cachedir import location
from torov.policy.oci import DOCKER_CAPABILITIES
from torov.seccomp import _SPACES
from torov.syscalls import DENY, by_name

PROFILES = read_binaries(PROFILES_FILE)
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else os.path.realpath(sys.executable)
"""An interpreter that is linked dynamically: the distribution's, or this one's."""

Word = int | str
ALL = 0xFFFFFFFFFFFFFFFF  # -1
CWD = ALL - 99  # AT_FDCWD


class Case:
    """A profile and the capabilities that its includes and excludes are read with.

    Args:
        name: file name of the profile, without its suffix.
        capabilities: None for Docker's default.
        socket: conditions on socket(2) that stand instead of the profile's own rule, as "args" of a rule.
    """

    def __init__(
        self, name: str, capabilities: frozenset[str] | None = None, socket: tuple[tuple[int, int, str], ...] = ()
    ) -> None:
        self.name, self.capabilities, self.socket = name, capabilities, socket

    @property
    def profile(self) -> Path:
        """The profile, fetched by its package manager if it is not there."""
        return fetch(PROFILES[f"{self.name}.json"], PROFILES.values())

    @cached_property
    def document(self) -> dict[str, Any]:
        """What the profile says."""
        found: dict[str, Any] = json.loads(self.profile.read_text())
        if self.socket:
            args = [{"index": index, "value": value, "op": f"SCMP_CMP_{op}"} for index, value, op in self.socket]
            for rule in found["syscalls"]:
                rule["names"] = [name for name in rule["names"] if name != "socket"]
            found["syscalls"].append({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args})
        return found

    @cached_property
    def filter(self) -> libseccomp.Filter:
        """What libseccomp makes of it."""
        return libseccomp.reference(self.document, DOCKER_CAPABILITIES if self.capabilities is None else self.capabilities)

    def policy(self, where: Path) -> Path:
        """What torov is given: the profile as it is, or a policy that extends it by other capabilities."""
        path = where / "policy.json"
        if self.socket:
            path.write_text(json.dumps(self.document))
            return path
        if self.capabilities is None:
            return self.profile
        made = {
            "torov": 1,
            "default": {"errno": name_of_error(self.document.get("defaultErrnoRet", 1))},
            "extends": str(self.profile),
        }
        path.write_text(json.dumps({**made, "capabilities": [cap.removeprefix("CAP_").lower() for cap in self.capabilities]}))
        return path

    def __str__(self) -> str:
        more = "+socket" if self.socket else "" if self.capabilities is None else f"+{len(self.capabilities)}"
        return self.name + more


def name_of_error(number: int) -> str:
    """errno(3)'s name of a number, one of them where it has two."""
    return errno.errorcode[number]


def command(case: Case, native: bool, where: Path, program: str | Path, *args: str | Path) -> list[str | Path]:
    """The words that run a program; natively it takes confined() besides."""
    if native:
        return [program, *args]
    return [sys.executable, "-m", "torov", "exec", "--quiet", program, "--policy", case.policy(where), "--", *args]


def confined(case: Case, native: bool) -> Callable[[], None] | None:
    """What a child does before exec: libseccomp loads the filter, and no_new_privs with it, as runc does."""
    return case.filter.rules.load if native else None


def environment(where: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The same for both, but for what the command torov needs itself."""
    base = {"PATH": "/usr/bin:/bin", "HOME": str(where), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    kept = {name: os.environ[name] for name in ("XDG_CACHE_HOME", "TOROV_CACHE") if name in os.environ}
    kept.setdefault("TOROV_CACHE", str(location()))
    return {**base, **kept, **(env or {})}


def both(
    case: Case,
    where: Path,
    program: str | Path,
    *args: str | Path,
    prepare: Callable[[Path], None] | None = None,
    timeout: float = 60,
) -> tuple[Ran, Ran]:
    """Run a program natively under libseccomp and by torov under the same profile, each in a directory of its own.

    Returns:
        Both runs, with that directory's name taken out of what they wrote.
    """
    found = []
    for side in ("native", "torov"):
        top = where / side
        cwd = top / "dir"
        cwd.mkdir(parents=True)
        if prepare:
            prepare(cwd)
        words = command(case, side == "native", where, program, *args)
        done = subprocess.run(
            words, cwd=cwd, env=environment(cwd), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=timeout,
            start_new_session=True, preexec_fn=confined(case, side == "native"),
        )  # fmt: skip
        ran = Ran(done)
        ran.out, ran.err = (text.replace(str(top), "HERE") for text in (ran.out, ran.err))
        found.append(ran)
    return found[0], found[1]


def start(case: Case, native: bool, where: Path, log: Path, program: str | Path, *args: str | Path) -> subprocess.Popen[bytes]:
    """Start a server; its output goes to a file."""
    with log.open("wb") as out:
        return subprocess.Popen(
            command(case, native, where, program, *args), cwd=where, env=environment(where), stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, start_new_session=True, preexec_fn=confined(case, native),
        )  # fmt: skip


def text_of(name: str, args: Sequence[Word]) -> str:
    """A call as a line names it."""
    words = [arg if isinstance(arg, str) else "-1" if arg == ALL else "AT_FDCWD" if arg == CWD else f"{arg:#x}" for arg in args]
    return f"{name}({', '.join(words)})"


def decided(case: Case, name: str, args: Sequence[Word]) -> tuple[str, int]:
    """libseccomp's decision about a call; what is behind pointers no filter sees."""
    call = by_name(name)
    assert call is not None, name
    registers = [arg if isinstance(arg, int) else 1 << 40 for arg in args]
    return case.filter.decide(call.nr, registers + [0] * (6 - len(registers)))


def never(name: str, args: Sequence[Word]) -> str:
    """The errno that torov answers a call with whatever a policy says, by its own table; "" where the policy decides.

    Besides the rows that are not served, namespaces are never made (docs/policy.md).
    """
    call = by_name(name)
    assert call is not None, name
    if call.serve == DENY:
        return name_of_error(getattr(errno, call.errno))
    return "EPERM" if name in ("clone", "unshare") and isinstance(args[0], int) and args[0] & _SPACES else ""


PROBES: tuple[tuple[str, tuple[Word, ...]], ...] = (
    # conditions on arguments, in one profile or another
    *(("personality", (value,)) for value in (8, 0x20000, 0x20008, 0x40000, 0x1234, 0x100000008, 0xFFFFFFFF, 0)),
    *(("socket", words) for words in ((1, 1, 0), (2, 1, 0), (10, 2, 0), (16, 3, 0), (16, 3, 9), (16, 3, 15), (17, 3, 0),
                                      (38, 5, 0), (40, 1, 0), (1 << 32 | 40, 1, 0), (2, 1, 0xF00), (1, 1, 0x100), (99, 1, 0),
                                      (2, 1, 9))),
    *(("clone", (flags | 17, 0, 0, 0, 0)) for flags in (0, 0x10000000, 0x20000, 0x40000000, 0x02000000, 0x20000000, 0x100000000)),
    *(("dup3", (old, 60 + old, 0o2000000)) for old in (0, 1, 2, 3)),
    ("dup3", (1, 1, 0)),
    ("clone3", ("args", 88)),
    ("clone3", ("buf", 8)),
    ("kcmp", (0, 1337, 9, 0, 0)),
    ("kcmp", (1, 1337, 9, 0, 0)),
    ("process_vm_readv", (100, 0, 0, 0, 0, 1)),
    ("process_vm_readv", (9001, 0, 0, 0, 0, 1)),
    ("process_vm_writev", (1337, 0, 0, 0, 0, 1)),
    ("unshare", (0,)),
    ("unshare", (0x400,)),
    # what containers are refused, with arguments that do nothing where it is allowed
    ("acct", ("text:/nonexistent/acct",)),
    ("add_key", (0, 0, 0, 0, 0)),
    ("adjtimex", ("buf",)),
    ("bpf", (ALL, 0, 0)),
    ("chroot", ("text:/nonexistent",)),
    ("clock_adjtime", (0, "buf")),
    ("clock_settime", (ALL, "buf")),
    ("create_module", (0, 0)),
    ("delete_module", ("text:", 0)),
    ("fanotify_init", (ALL, 0)),
    ("fanotify_mark", (ALL, 0, 0, ALL, 0)),
    ("finit_module", (ALL, 0, 0)),
    ("fsconfig", (ALL, 0, 0, 0, 0)),
    ("fsmount", (ALL, 0, 0)),
    ("fsopen", (0, ALL)),
    ("fspick", (ALL, 0, 0)),
    ("get_mempolicy", (0, 0, 0, 0, ALL)),
    ("init_module", (0, 0, 0)),
    ("io_setup", (0, 0)),
    ("io_destroy", (0,)),
    ("io_pgetevents", (0, 1, 1, 0, 0, 0)),
    ("io_uring_setup", (0, 0)),
    ("io_uring_enter", (ALL, 0, 0, 0, 0, 0)),
    ("ioperm", (0, 0, 0)),
    ("iopl", (0,)),
    ("kexec_file_load", (ALL, ALL, 0, 0, ALL)),
    ("kexec_load", (0, 0, 0, ALL)),
    ("keyctl", (ALL, 0, 0, 0, 0)),
    ("landlock_create_ruleset", (0, 0, 1)),
    ("lookup_dcookie", (0, 0, 0)),
    ("mbind", (1, 0, 0, 0, 0, ALL)),
    ("memfd_secret", (0x7FFF,)),
    ("migrate_pages", (ALL, 0, 0, 0)),
    ("modify_ldt", (0, "buf", 0)),
    ("mount", (0, "text:/nonexistent", 0, 0, 0)),
    ("mount_setattr", (ALL, 0, 0, 0, 0)),
    ("move_mount", (ALL, 0, ALL, 0, 0)),
    ("move_pages", (ALL, 0, 0, 0, 0, ALL)),
    ("name_to_handle_at", (ALL, "text:x", "buf", "buf", 0)),
    ("nfsservctl", (0, 0, 0)),
    ("open_by_handle_at", (ALL, "buf", 0)),
    ("open_tree", (ALL, "text:x", ALL)),
    ("perf_event_open", (0, 0, ALL, ALL, 0)),
    ("pidfd_getfd", (ALL, 0, 0)),
    ("pivot_root", ("text:/nonexistent", "text:/nonexistent")),
    ("pkey_mprotect", (0, 0, 0, 99)),
    ("process_madvise", (ALL, 0, 0, 0, 0)),
    ("process_mrelease", (ALL, 0)),
    ("ptrace", (0x4200, ALL, 0, 0)),
    ("query_module", (0, 0, 0, 0, 0)),
    ("quotactl", (ALL, 0, 0, 0)),
    ("quotactl_fd", (ALL, ALL, 0, 0)),
    ("reboot", (0, 0, 0, 0)),
    ("remap_file_pages", (1, 0, 0, 0, 0)),
    ("request_key", (0, 0, 0, 0)),
    ("seccomp", (2, 0, "buf")),
    ("set_mempolicy", (ALL, 0, 0)),
    ("setdomainname", (0, ALL)),
    ("sethostname", (0, ALL)),
    ("setns", (ALL, 0)),
    ("settimeofday", (0, 0)),
    ("swapoff", ("text:/nonexistent",)),
    ("swapon", ("text:/nonexistent", 0)),
    ("sysfs", (3,)),
    ("syslog", (10, 0, 0)),
    ("umount2", ("text:/nonexistent", 0)),
    ("uselib", ("text:/nonexistent",)),
    ("userfaultfd", (ALL,)),
    ("ustat", (0, "buf")),
    ("vhangup", ()),
    # what the profiles let through, or differ about
    ("arch_prctl", (0x1003, "buf")),
    ("cachestat", (ALL, 0, 0, 0)),
    ("capget", (0, 0)),
    ("capset", (0, 0)),
    ("chmod", ("text:/nonexistent/x", 0)),
    ("chown", ("text:/nonexistent/x", ALL, ALL)),
    ("clock_getres", (1, "buf")),
    ("clock_nanosleep", (ALL, 0, 0, 0)),
    ("close_range", (900, 999, 0)),
    ("copy_file_range", (ALL, 0, ALL, 0, 1, 0)),
    ("epoll_create1", (0,)),
    ("epoll_pwait2", (ALL, "buf", 1, 0, 0, 8)),
    ("eventfd2", (0, 0)),
    ("faccessat2", (CWD, "text:.", 0, 0)),
    ("fadvise64", (ALL, 0, 0, 0)),
    ("fallocate", (ALL, 0, 0, 1)),
    ("fchmodat2", (CWD, "text:/nonexistent/x", 0, 0)),
    ("fgetxattr", (ALL, "text:user.x", 0, 0)),
    ("flock", (ALL, 8)),
    ("fsync", (ALL,)),
    ("futex", ("buf", 1, 1, 0, 0, 0)),
    ("futex_waitv", (0, 0, 0, 0, 0)),
    ("get_robust_list", (0, "buf", "buf")),
    ("getcpu", ("buf", 0, 0)),
    ("getpgid", (0,)),
    ("getpid", ()),
    ("getrandom", ("buf", 8, 0)),
    ("getresuid", ("buf", "buf", "buf")),
    ("getsid", (0,)),
    ("getxattr", ("text:.", "text:user.none", 0, 0)),
    ("inotify_init1", (0,)),
    ("ioctl", (0, 0x5401, "buf")),
    ("ioprio_get", (1, 0)),
    ("kill", ("pid", 0)),
    ("link", ("text:/nonexistent/x", "text:/nonexistent/y")),
    ("listen", (ALL, 1)),
    ("madvise", (0, 0, 4)),
    ("membarrier", (0, 0, 0)),
    ("memfd_create", ("text:x", 0)),
    ("mincore", (0, 0, 0)),
    ("mknod", ("text:/nonexistent/x", 0o010600, 0)),
    ("mlock2", (0, 0, 0)),
    ("mlockall", (0,)),
    ("mq_open", ("text:/nonexistent-queue", 0, 0, 0)),
    ("msgctl", (ALL, 0, 0)),
    ("munlockall", ()),
    ("openat2", (CWD, "text:.", "how", 24)),
    ("pidfd_open", ("pid", 0)),
    ("pidfd_send_signal", (ALL, 0, 0, 0)),
    ("pkey_alloc", (ALL, 0)),
    ("pkey_free", (99,)),
    ("ppoll", (0, 0, "buf", 0, 8)),
    ("prctl", (3, 0, 0, 0, 0)),
    ("preadv2", (ALL, 0, 0, 0, 0, 0)),
    ("prlimit64", (0, 7, 0, "buf")),
    ("pwritev2", (ALL, 0, 0, 0, 0, 0)),
    ("readahead", (ALL, 0, 0)),
    ("renameat2", (CWD, "text:/nonexistent/x", CWD, "text:/nonexistent/y", 0)),
    ("restart_syscall", ()),
    ("rseq", (0, 0, 0, 0)),
    ("rt_sigqueueinfo", ("pid", 99, "buf")),
    ("sched_getattr", (0, "buf", 48, 0)),
    ("sched_setscheduler", (0, 99, "buf")),
    ("semctl", (ALL, 0, 0, 0)),
    ("setgroups", (ALL, 0)),
    ("setpriority", (99, 0, 0)),
    ("setresuid", (ALL, ALL, ALL)),
    ("shmctl", (ALL, 2, "buf")),
    ("signalfd4", (ALL, "buf", 8, 0)),
    ("splice", (ALL, 0, ALL, 0, 0, 0)),
    ("statx", (CWD, "text:.", 0, 0x7FF, "buf")),
    ("symlink", ("text:x", "text:/nonexistent/y")),
    ("sync_file_range", (ALL, 0, 0, 0)),
    ("syncfs", (ALL,)),
    ("sysinfo", ("buf",)),
    ("tee", (ALL, ALL, 0, 0)),
    ("tgkill", ("pid", "pid", 0)),
    ("timer_delete", (99,)),
    ("timerfd_create", (1, 0)),
    ("times", ("buf",)),
    ("uname", ("buf",)),
    ("utimensat", (CWD, "text:/nonexistent/x", 0, 0)),
    ("vmsplice", (ALL, 0, 0, 0)),
    ("waitid", (0, 0, "buf", 4, 0)),
    ("unshare", (0x10000000,)),  # last: in a user namespace of its own a process has other rights
)  # fmt: skip
"""Calls of every kind that a profile may refuse, with arguments that change nothing even where nothing refuses them."""
