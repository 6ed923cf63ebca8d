"""Processes of a case: started, waited for, ended; and everything that they leave behind.

A keeper (keeper.py) calls this in a process that is nothing else: whatever a program leaves behind becomes its child
(PR_SET_CHILD_SUBREAPER, prctl(2)), is found as such and is killed by its pid.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEPT = 4 << 20
"""Bytes of an output that are kept; of longer ones the beginning."""
MOST = 256 << 20
"""Bytes of an output at which a program is ended."""
SPARE = 1 << 30
"""Bytes that stay free on the disk: a program that fills it is ended."""
GRACE = 1.0
"""Seconds in which what a program has left behind may end by itself."""
_KILL_SECONDS = 30  # one that hangs in the kernel cannot be killed, and is in the result by its name
_SUBREAPER = 36


class Interrupted(Exception):
    """Who wanted the result is gone."""


def adopt() -> None:
    """Make this process the parent of all orphans among its descendants."""
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


class Running:
    """A process of a case and where its output goes."""

    def __init__(
        self,
        words: Sequence[str],
        files: Path,
        name: str,
        stdin: bytes,
        cwd: Path,
        env: Mapping[str, str],
        fds: Sequence[int] = (),
    ) -> None:
        self.out, self.err = files / f"{name}.out", files / f"{name}.err"
        (files / f"{name}.in").write_bytes(stdin)
        self.began = time.monotonic()
        with open(files / f"{name}.in", "rb") as given, open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.process = subprocess.Popen([*words], stdin=given, stdout=out, stderr=err, cwd=cwd, env=dict(env), pass_fds=fds,
                                            start_new_session=True, umask=0o022)  # fmt: skip
        self.ended = ""
        self.seconds = self.cpu = 0.0

    def wait(self, until: float, watch: int) -> bool:
        """Wait for its end.

        Args:
            until: CLOCK_MONOTONIC.
            watch: a descriptor that becomes readable when nobody wants the result any more; -1 for none.

        Returns:
            Whether it ended; ``ended``, ``seconds`` and ``cpu`` then say how.

        Raises:
            Interrupted: watch became readable.
        """
        if self.ended:
            return True
        pidfd = os.pidfd_open(self.process.pid)
        try:
            while True:
                left = until - time.monotonic()
                ready, _, _ = select.select([fd for fd in (pidfd, watch) if fd >= 0], [], [], max(0, min(left, 0.25)))
                if watch in ready:
                    raise Interrupted
                if pidfd in ready:
                    break
                if max(self.out.stat().st_size, self.err.stat().st_size) > MOST:
                    self.kill(f"more than {MOST >> 20} MiB of output")
                    return True
                disk = os.statvfs(self.out)
                if disk.f_bavail * disk.f_frsize < SPARE:
                    self.kill(f"less than {SPARE >> 20} MiB are left on the disk")
                    return True
                if left <= 0:
                    return False
        finally:
            os.close(pidfd)
        self._reap()
        return True

    def kill(self, why: str) -> None:
        """End it."""
        if not self.ended:
            self.process.kill()
            self._reap()
            self.ended = why

    def _reap(self) -> None:
        self.seconds = time.monotonic() - self.began
        _, status, usage = os.wait4(self.process.pid, 0)
        self.cpu = usage.ru_utime + usage.ru_stime
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self.ended = f"status {code}" if code >= 0 else f"signal {_signal_name(-code)}"

    def document(self) -> dict[str, Any]:
        """What came of it, as plain values."""
        return {
            "ended": self.ended,
            "seconds": self.seconds,
            "cpu": self.cpu,
            "stdout": _kept(self.out),
            "stderr": _kept(self.err),
        }


def descendants() -> list[int]:
    """The pids of everything below this process, the youngest generation last; proc_pid_task_children(5)."""
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        pid = todo.pop(0)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                children = [int(word) for word in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
                found += children
                todo += children
    return found


def sweep(grace: float) -> list[str]:
    """End everything that is still running below this process.

    Args:
        grace: seconds that it has to end by itself.

    Returns:
        The names of what had to be killed; torov's own helpers are not among them.
    """
    until = time.monotonic() + grace
    last = until + 30 * grace
    while _reap() and (now := time.monotonic()) < last and (now < until or _preparing()):
        time.sleep(0.01)
    names: dict[int, str] = {}
    last = time.monotonic() + _KILL_SECONDS
    while (pids := descendants()) and time.monotonic() < last:
        for pid in pids:
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
                name, state = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2]
                if state != "Z" and not name.startswith("torov-"):
                    names.setdefault(pid, name)
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.002)
    return sorted(names.values())


def _preparing() -> bool:
    """Whether torov makes the image of a program that a guest has started, for the first time on this machine."""
    for pid in descendants():
        with contextlib.suppress(OSError):
            if b"torov.prepare" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def _reap() -> bool:
    """Take the status of those that ended; whether there are others."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def _kept(file: Path) -> str:
    with open(file, "rb") as stream:
        body = stream.read(KEPT)
        size = os.fstat(stream.fileno()).st_size
    text = body.decode(errors="surrogateescape")
    if size > KEPT:
        text += f"\n[{size} bytes in all]\n"
    return text


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
