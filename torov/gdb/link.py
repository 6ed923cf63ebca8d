"""The core's side of a debugged guest, over a socket: the messages of torov/vmm/core/debug.h.

A Link leads to one VM: a process of the guest, and those that share its memory.
"""

from __future__ import annotations

import select
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = struct.Struct("<IIiiQQQ")
DATA = 32 << 10
"""DEBUG_DATA: bytes behind a message."""

HELLO, STOP, END, GONE = 1, 2, 3, 4
READ, WRITE, GETREGS, SETREGS, BREAK, WATCH, PAUSE, RESUME = range(16, 24)
THREADS, CATCH, PASS, KILL, DETACH, RELEASE, ENGAGE, INFO, SIGINFO, MAPS = range(24, 34)
STARTED, FORKED, EXECED, ATTACHED = range(4)
SIGNAL, TRAP, STEPPED, WATCHED, ENTRY, RETURN, FORK, VFORK, VFORK_DONE = range(1, 10)
STAY, RUN, STEP = range(3)
EXITED = 1
PATIENCE = 15
"""Seconds that the core has for an answer."""

_GO = struct.Struct("<iiIiQQ")
_THREAD = struct.Struct("<iiII")


class Event:
    """What the core told of its own accord.

    Fields:
        op: HELLO, STOP, END or GONE.
        pid, tid: whose.
        a, b, c: see debug.h.
        data: what followed.
    """

    __slots__ = ("a", "b", "c", "data", "op", "pid", "tid")

    def __init__(self, raw: bytes) -> None:
        self.op, _, self.pid, self.tid, self.a, self.b, self.c = HEAD.unpack_from(raw)
        self.data = raw[HEAD.size :]


class Go:
    """How threads go on: STAY, RUN or STEP, with a signal, inside of [lo, hi). -1 stands for any pid or tid."""

    __slots__ = ("hi", "lo", "pid", "signal", "step", "tid")

    def __init__(self, pid: int, tid: int, step: int, signal: int = 0, lo: int = 0, hi: int = 0) -> None:
        self.pid, self.tid, self.step, self.signal, self.lo, self.hi = pid, tid, step, signal, lo, hi


class LinkError(Exception):
    """The process is gone, or does not answer."""


class Link:
    """One VM.

    Args:
        sock: of its DEBUG_HELLO.

    Fields:
        events: told while an answer was waited for, in order.
        dead: nothing comes any more.
    """

    __slots__ = ("_seq", "dead", "events", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.dead, self._seq = sock, False, 0
        self.events: list[Event] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def take(self) -> list[Event]:
        """The events so far; one is read if there is one. At the end of the process, dead is set."""
        if not self.dead and select.select([self.sock], [], [], 0)[0]:
            raw = self._receive()
            if raw is not None:
                self.events.append(Event(raw))
        events, self.events = self.events, []
        return events

    def ask(
        self, op: int, a: int = 0, b: int = 0, c: int = 0, *, pid: int = 0, tid: int = 0, data: bytes = b""
    ) -> tuple[Event, int]:
        """Make a request.

        Returns:
            The answer, and its ``a`` as a signed number.

        Raises:
            LinkError: there is no answer.
        """
        self._seq += 1
        try:
            self.sock.send(HEAD.pack(op, self._seq, pid, tid, a, b, c) + data)
        except OSError:
            self.dead = True
        while not self.dead:
            if not select.select([self.sock], [], [], PATIENCE)[0]:
                self.dead = True
                break
            raw = self._receive()
            if raw is None:
                break
            answer = Event(raw)
            if answer.op < READ:
                self.events.append(answer)
            elif HEAD.unpack_from(raw)[1] == self._seq:
                return answer, answer.a - (1 << 64) if answer.a >> 63 else answer.a
        raise LinkError

    def read(self, at: int, length: int) -> bytes:
        """Memory, as far as it can be read from there on."""
        found = b""
        while length > 0:
            answer, got = self.ask(READ, at, min(length, DATA))
            found += answer.data
            if got <= 0 or got < min(length, DATA):
                break
            at, length = at + got, length - got
        return found

    def write(self, at: int, data: bytes) -> bool:
        """Change memory; False if it cannot be, or only in part."""
        return all(self.ask(WRITE, at + i, data=data[i : i + DATA])[1] == 0 for i in range(0, len(data), DATA))

    def threads(self) -> list[tuple[int, int]]:
        """pid and tid of each thread."""
        data = self.ask(THREADS)[0].data
        return [row[:2] for row in _THREAD.iter_unpack(data[: len(data) // _THREAD.size * _THREAD.size])]

    def maps(self, detailed: bool) -> bytes:
        """/proc/PID/maps of the guest, or smaps."""
        found = b""
        while part := self.ask(MAPS, len(found), int(detailed))[0].data:
            found += part
        return found

    def resume(self, goes: Iterable[Go], hold: bool) -> None:
        """Let threads go on; hold: new threads wait until the next time."""
        rows = [_GO.pack(go.pid, go.tid, go.step, go.signal, go.lo, go.hi) for go in goes]
        self.ask(RESUME, int(hold), data=b"".join(rows)[:DATA])

    def _receive(self) -> bytes | None:
        try:
            raw = self.sock.recv(HEAD.size + DATA)
        except OSError:
            raw = b""
        if len(raw) < HEAD.size:
            self.dead = True
            return None
        return raw
