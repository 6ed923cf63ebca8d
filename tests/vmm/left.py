"""What a guest could leave behind: processes, VMs, vCPUs, mounts, shared memory, temporary files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")


def _parents() -> Iterator[tuple[int, int, str]]:
    """(pid, parent's pid, state) of every process; proc(5)."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(fields[1]), fields[0]


def descendants() -> set[int]:
    """Pids of all processes below this one that have not ended."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _parents():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        new = [pid for pid in children.get(todo.pop(), []) if pid not in found]
        found.update(new)
        todo += new
    return found


def open_kvm(pids: set[int]) -> list[str]:
    """Open VMs and vCPUs of some processes, as the kernel names them: anon_inode:kvm-vm, anon_inode:kvm-vcpu:0."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in (PROC / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    link = os.readlink(fd)
                    if "kvm" in link:
                        found.append(link)
    return found


def _mounts() -> str:
    return (PROC / "self" / "mountinfo").read_text()


class Watch:
    """Everything that is started below this process within ``with`` and loses its parent becomes a child of this process.

    It looks at what is shared before and after: mounts and /dev/shm.

    Args:
        started: pids that were started just before and count as started within.
    """

    def __init__(self, *started: int) -> None:
        self.started = started

    def __enter__(self) -> Watch:
        self._subreaper(1)
        self.before = descendants() - set(self.started)
        self.mounts = _mounts()
        self.shm = set(os.listdir("/dev/shm"))
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.alive():  # of a test that failed
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        self._subreaper(0)

    @staticmethod
    def _subreaper(on: int) -> None:
        assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) == 0

    def alive(self) -> set[int]:
        """Pids of what was started and has not ended."""
        return descendants() - self.before

    def empty(self, within: float = 5) -> None:
        """Assert that nothing is left, now or in some seconds."""
        deadline = time.monotonic() + within
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.02)
        what = {pid: (PROC / str(pid) / "cmdline").read_bytes() for pid in left if (PROC / str(pid)).exists()}
        assert not left, f"processes: {what}, {open_kvm(left)}"
        assert _mounts() == self.mounts
        while (there := set(os.listdir("/dev/shm")) - self.shm) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not there, f"/dev/shm: {there}"
