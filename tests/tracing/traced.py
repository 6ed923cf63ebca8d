"""One program under strace(1) and under torov strace, and their lines side by side."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path

from support import Compiler

from torov.syscalls import DENY, by_name

ROOT = Path(__file__).resolve().parents[2]
GUESTS = Path(__file__).resolve().parent / "guests"

_VARY = (
    "brk getppid sysinfo times getrusage gettimeofday time clock_gettime getitimer timer_gettime timer_settime adjtimex "
    "clock_adjtime getrandom get_robust_list getcpu getsid getpgrp getpgid statfs"
)
"""Calls whose numbers are those of a moment: digits are compared as ``N``, text as ``S``."""
_REFUSED = "chroot settimeofday clock_settime syslog rseq sethostname setdomainname vhangup personality getrlimit"
"""Calls that torov answers otherwise: what they return is not compared, nor what they write."""
_PIDS = (
    "getpid gettid getppid getpgrp getpgid getsid set_tid_address fork vfork clone clone3 wait4 waitid kill tkill tgkill futex "
    "rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn pidfd_open"
)
"""Calls that take or return the ids of threads and processes; elsewhere a number that is such an id is one by chance."""
_IDS = "shmget shmctl shmat msgget msgsnd msgrcv msgctl semget semop semctl semtimedop"


def build(cc: Compiler, name: str, kind: str = "glibc") -> Path:
    """Compile tests/tracing/guests/NAME.c with its header written out, since the compiler is called on one text."""
    text = (GUESTS / f"{name}.c").read_text().replace('#include "calls.h"', (GUESTS / "calls.h").read_text())
    return cc(text, kind, "-w")


def run(command: Sequence[str | Path], where: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """One process in a directory of its own, without core files."""
    where.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC", "ABSTRACT": f"{os.getpid():08}"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    words = ["sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *map(str, command)]
    return subprocess.run(
        words, cwd=where, env=env, capture_output=True, text=True, check=False, timeout=timeout, errors="replace"
    )


def torov(*options: str | Path) -> list[str | Path]:
    """The command ``torov strace``."""
    return [sys.executable, "-m", "torov", "strace", "--quiet", *options]


def lines(text: str, *, raw: bool = False) -> list[str]:
    """The lines of a trace with what must differ taken out: ids by their order, addresses, moments."""
    found = [line.split(None, 1) for line in text.splitlines() if line]
    pids = list(dict.fromkeys(pid for pid, *_ in found if pid.isdigit()))
    made = []
    for pid, *rest in found:
        line = rest[0] if rest else ""
        name = re.sub(r"^<\.\.\. (\w+) resumed>.*|^(\w+)\(.*|.*", r"\1\2", line)
        for i, one in enumerate(pids):
            line = re.sub(rf"\b{one}\b" if name in _PIDS.split() else rf"(?<=pid[= ]){one}\b", f"PID{i}", line)
        made.append(f"{pids.index(pid)} {line if raw else _plain(line)}")
    return made


def _plain(line: str) -> str:
    name = re.sub(r"^<\.\.\. (\w+) resumed>.*|^(\w+)\(.*|.*", r"\1\2", line)
    line = re.sub(r"0x[0-9a-f]{5,}", "ADDRESS", line)
    line = re.sub(r" +(= \S.*)$", r" \1", line)
    if name in _VARY.split() or "ru_utime" in line:
        line = re.sub(r'"[^"]*"', "S", re.sub(r"\d+", "N", line))
    line = re.sub(r"(left \{tv_sec=\d+, tv_[nu]sec=)\d+|(htons\()\d{5}\b", r"\1\2N", line)
    line = re.sub(r"si_([us]time)=\d+( /\* [\d.]+ s \*/)?", r"si_\1=N", line)
    line = re.sub(r"ERESTART_RESTARTBLOCK|tv_[nu]sec=\d{8,9}", lambda m: m[0] if m[0][0] == "E" else "tv_part=N", line)
    if name in _IDS.split():
        line = re.sub(r"\b\d{4,}\b", "ID", line)
    call = by_name(name)
    if name in _REFUSED.split() or (call and call.serve == DENY) or name.startswith("syscall_"):
        line = re.sub(r"\) += .*", ") = ...", re.sub(r"resuming interrupted \w+", "resuming", line))
    return line


def joined(made: Sequence[str]) -> dict[str, list[str]]:
    """Lines of lines() by thread, each call in one line again where another thread's came between."""
    found: dict[str, list[str]] = {}
    for line in made:
        who, text = line.split(" ", 1)
        rows = found.setdefault(who, [])
        again = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if again and rows and rows[-1].endswith(" <unfinished ...>"):
            rows[-1] = _plain(rows[-1].removesuffix(" <unfinished ...>") + again[1])
        else:
            rows.append(text)
    return found


def traces(program: Path, where: Path, *options: str, args: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Both traces of a program, with ``-f -o``, as lines() makes them: strace's, torov's."""
    both = []
    for name, command in (("strace", ["strace"]), ("torov", torov())):
        out = where / f"{name}.out"
        run([*command, "-f", "-o", out, *options, program, *args], where / name[0])
        both.append(lines(out.read_text().replace(str(where / name[0]), "/cwd")))
    return both[0], both[1]


def compare(program: Path, where: Path, *options: str, args: Sequence[str] = ()) -> list[str]:
    """Run a program under both, with ``-f -o``, and hold one trace against the other.

    Returns:
        strace's own lines, as lines() makes them.
    """
    theirs, ours = traces(program, where, *options, args=args)
    difference = [*unified_diff(theirs, ours, "strace", "torov", n=0, lineterm="")]
    assert not difference, "\n".join(difference)
    return theirs
