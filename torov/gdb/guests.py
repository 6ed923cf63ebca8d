"""The processes of a debugged guest: which there are, and what happened that the client has not heard of.

All stop together and nothing is told while they stand, as gdb's all-stop mode wants it: what comes meanwhile waits in
``pending``.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import time

from torov.gdb import link as core
from torov.gdb.link import Event, Go, Link, LinkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ORPHAN = 5.0
"""Seconds after which a forked process that no parent tells of goes on undebugged."""


class Process:
    """One process of the guest.

    Fields:
        pid: as the guest sees it; host: as this process does, 0 if that is not known.
        link: where it is served; others may share it.
        exe: path of the program, in the guest's root.
        attached: it ran before the debugger came.
        threads: tids when it was last asked.
    """

    __slots__ = ("attached", "born", "exe", "host", "link", "pid", "threads")

    def __init__(self, pid: int, host: int, link: Link, exe: str, attached: bool = False) -> None:
        self.pid, self.host, self.link, self.exe, self.attached = pid, host, link, exe, attached
        self.born = time.monotonic()
        self.threads: list[int] = [pid]

    def name(self, tid: int) -> str:
        """What a thread calls itself; empty where the guest's ids are not those of this process."""
        try:
            with open(f"/proc/{self.pid}/task/{tid}/comm") as file:
                return file.read().strip() if self.host == self.pid else ""
        except (OSError, ValueError):
            return ""

    def path(self, path: str) -> str:
        """A file of the process's own root, as this process reaches it."""
        root = f"/proc/{self.host}/root"
        if path.startswith("/") and self.host and os.path.lexists(root + path):
            return root + path
        return path


class World:
    """All of them.

    Fields:
        processes: by pid, those that the client knows or is about to hear of.
        births: by pid, forked ones whose parent has not told of them yet.
        pending: events that were not told, in order.
        goes, hold: how threads were told to go on the last time.
        engaged: whether a client is there, or the guest waits for one.
    """

    def __init__(self, engaged: bool = True) -> None:
        self.processes: dict[int, Process] = {}
        self.births: dict[int, Process] = {}
        self.pending: list[Event] = []
        self.goes: Sequence[Go] = ()
        self.hold = False
        self.engaged = engaged
        self._vanished: list[Process] = []

    def links(self) -> list[Link]:
        """Each once."""
        found: dict[int, Link] = {}
        for process in (*self.processes.values(), *self.births.values()):
            found[id(process.link)] = process.link
        return list(found.values())

    def hello(self, raw: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        """A process tells of itself."""
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) // fds.itemsize * fds.itemsize])
        if len(raw) < core.HEAD.size or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            return
        event, sock = Event(raw), socket.socket(fileno=fds[0])
        host = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        process = Process(event.pid, host, Link(sock), os.fsdecode(event.data), event.a == core.ATTACHED)
        if event.a == core.FORKED:
            self.births[event.pid] = process
            if not self.engaged:
                self.detach(process)
            return
        known = self.processes.get(event.pid)
        if known is not None:
            process.attached = known.attached
        self._vanished = [gone for gone in self._vanished if gone.pid != event.pid]
        self.processes[event.pid] = process
        if not self.engaged:
            self._try(process.link, core.RELEASE)
        elif event.a == core.EXECED:
            self.pending.append(event)

    def poll(self) -> None:
        """Read what there is to read."""
        for link in self.links():
            events = link.take()
            while events:
                self._arrived(events)
                events = [] if link.dead else link.take()
            if link.dead:
                self._lost(link)
        for process in list(self._vanished):
            if not _alive(process.host):
                self._vanished.remove(process)
                self.processes.pop(process.pid, None)
                self._killed(process)
        for process in list(self.births.values()):
            if time.monotonic() - process.born > ORPHAN:
                self.detach(process)

    def _arrived(self, events: list[Event]) -> None:
        for event in events:
            if self.engaged:
                self.pending.append(event)
            elif event.op == core.END:
                self.processes.pop(event.pid, None)

    def _killed(self, process: Process) -> None:
        if self.engaged:
            self.pending.append(Event(core.HEAD.pack(core.END, 0, process.pid, 0, 0, 9, 0)))

    def _lost(self, link: Link) -> None:
        """Its socket is at its end: the process ended, or it is in the middle of exec(2) and will say hello again."""
        self._arrived(link.events)
        link.sock.close()
        ended = {event.pid for event in self.pending if event.op == core.END}
        for process in [one for one in self.processes.values() if one.link is link]:
            if process.pid in ended or process in self._vanished:
                continue
            if _alive(process.host):
                self._vanished.append(process)
            else:
                del self.processes[process.pid]
                self._killed(process)
        self.births = {pid: one for pid, one in self.births.items() if one.link is not link}

    def _try(self, link: Link, op: int, pid: int = 0) -> None:
        with contextlib.suppress(LinkError):
            link.ask(op, pid=pid)

    def each(self, op: int, a: int = 0, data: bytes = b"") -> None:
        """One request to each VM."""
        for link in self.links():
            with contextlib.suppress(LinkError):
                link.ask(op, a, data=data)

    def stop(self) -> None:
        """Bring everything to a stop."""
        self.each(core.PAUSE)
        self.poll()

    def resume(self, goes: Sequence[Go]) -> None:
        """Let threads go on, each by the first row that fits."""
        self.goes = goes
        self.hold = not any(go.tid == -1 and go.step == core.RUN for go in goes)
        for link in {id(one.link): one.link for one in self.processes.values()}.values():
            with contextlib.suppress(LinkError):
                link.resume(goes, self.hold)

    def again(self, event: Event) -> None:
        """A thread that stands for what the client does not want to hear of goes on as it was."""
        process, go = self.processes.get(event.pid), self.go_of(event.pid, event.tid)
        if process is not None and go is not None:
            with contextlib.suppress(LinkError):
                process.link.resume([Go(event.pid, event.tid, go.step, 0, go.lo, go.hi)], self.hold)

    def go_of(self, pid: int, tid: int) -> Go | None:
        """How a thread was told to go on; None: it was not."""
        for go in self.goes:
            if go.pid in (-1, pid) and go.tid in (-1, tid):
                return go if go.step != core.STAY else None
        return None

    def adopt(self, pid: int, parent: Process) -> Process:
        """The child of a vfork: it shares its parent's memory, and so its link."""
        host = pid if parent.host == parent.pid else 0
        child = self.processes[pid] = Process(pid, host, parent.link, parent.exe)
        return child

    def detach(self, process: Process) -> None:
        """It goes on undebugged, for good."""
        self.processes.pop(process.pid, None)
        self.births.pop(process.pid, None)
        self.pending = [event for event in self.pending if event.pid != process.pid]
        self._try(process.link, core.DETACH, process.pid)
        if all(process.link is not link for link in self.links()):
            process.link.sock.close()

    def release(self) -> None:
        """All of it goes on; a client may come again."""
        self.engaged = False
        self.pending.clear()
        for process in list(self.births.values()):
            self.detach(process)
        self.each(core.RELEASE)
        self.poll()

    def engage(self) -> None:
        """A client has come: all of it stops."""
        self.engaged = True
        self.each(core.ENGAGE)
        self.stop()

    def threads(self) -> Iterator[tuple[Process, int]]:
        """All threads, the first of each process first."""
        seen: set[int] = set()
        for process in list(self.processes.values()):
            if id(process.link) in seen:
                continue
            seen.add(id(process.link))
            try:
                rows = process.link.threads()
            except LinkError:
                continue
            for pid in {pid for pid, _ in rows}:
                mine = self.processes.get(pid)
                if mine is not None:
                    mine.threads = sorted((tid for one, tid in rows if one == pid), key=lambda tid: (tid != pid, tid))
        for process in list(self.processes.values()):
            for tid in process.threads:
                yield process, tid

    @property
    def waits(self) -> bool:
        """Whether something is bound to happen without a word of the core."""
        return bool(self._vanished or self.births)


def _alive(host: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{host}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False
