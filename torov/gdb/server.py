"""The server's sockets and its loop: one client at a time, any number of processes of the guest."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time

from torov.gdb import packet
from torov.gdb.guests import World
from torov.gdb.link import Link
from torov.gdb.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from torov.gdb.start import Place

    May = Callable[[socket.socket], bool]

TICK = 0.05
"""Seconds between looks at what no socket tells."""
LINGER = 5.0
"""Seconds that a client has to take the last answer."""
QUEUE = 4
"""Clients that may wait for another to leave."""
_SEND = 30.0


class Server:
    """Serves one guest until it is gone.

    Args:
        listener: where clients come.
        announce: the socket over which processes of the guest tell of themselves; or None.
        may: whether a client may debug the guest; called with its connection.
        wait: whether the guest stands until a client comes.
    """

    def __init__(self, listener: socket.socket, announce: socket.socket | None, may: May, wait: bool = True) -> None:
        self.listener, self.announce, self.may = listener, announce, may
        self.world = World(engaged=wait)
        self.client: socket.socket | None = None
        self.queue: list[socket.socket] = []
        self.session: Session | None = None
        self.reader = packet.Reader()
        self._waiting: list[bytes | str] = []
        self._last = b""
        self._ended = 0.0

    def run(self) -> None:
        """Until the guest is gone, and the client."""
        while not self._over():
            self._turn()
        self._close()
        for client in self.queue:
            client.close()

    def _over(self) -> bool:
        if self.announce is not None or self.world.links():
            return False
        self._ended = self._ended or time.monotonic()
        return self.client is None or time.monotonic() - self._ended > LINGER

    def _turn(self) -> None:
        sockets: list[socket.socket | Link] = [self.listener, *([self.client] if self.client else [])]
        sockets += [*([self.announce] if self.announce else []), *(link for link in self.world.links() if not link.dead)]
        wait = TICK if self.world.waits or (self.announce is None and not self.world.links()) else None
        if (self.queue and self.client is None) or any(link.events for link in self.world.links()):
            wait = 0.0  # the last client has gone; or told while an answer was waited for
        ready = select.select(sockets, [], [], wait)[0]
        if self.announce in ready:
            self._hello()
        self.world.poll()
        if self.listener in ready:
            self._accept()
        if self.client is not None and self.client in ready:
            self._read()
        if self.client is None and self.queue:
            self.client, self.reader, self._waiting = self.queue.pop(0), packet.Reader(), []
        if self.session is None and self.client is not None and (self.world.processes or self.announce is None):
            self.world.engage()
            self.session = Session(self.world)
        if self.session is not None:
            self._serve(self.session)

    def _hello(self) -> None:
        assert self.announce is not None
        try:
            raw, ancillary, _, _ = self.announce.recvmsg(8192, socket.CMSG_SPACE(64))
        except OSError:
            raw, ancillary = b"", []
        if raw:
            self.world.hello(raw, ancillary)
        else:
            self.announce.close()
            self.announce = None

    def _accept(self) -> None:
        """At once, also while another is served: who it is can be told only while the process that connected is there."""
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        if len(self.queue) >= QUEUE or not self.may(client):
            client.close()
            return
        client.settimeout(_SEND)
        with contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.queue.append(client)

    def _read(self) -> None:
        assert self.client is not None
        try:
            data = self.client.recv(65536)
        except OSError:
            data = b""
        if data:
            self._waiting += self.reader.feed(data)
        else:
            self._close()

    def _serve(self, session: Session) -> None:
        while self._waiting and self.session is session:
            item = self._waiting.pop(0)
            if item == packet.INTERRUPT:
                self._answer(session.interrupt())
            elif item == packet.NAK:
                self._send(self._last)
            elif item == packet.BAD:
                self._send(b"-" if session.acks else b"")
            elif isinstance(item, bytes):
                if session.acks:
                    self._send(b"+")
                self._answer(session.packet(item))
            if session.done and self.session is session and not self.world.processes:
                break
            if session.done:
                self._close()
        if self.session is session:
            reply = session.stopped()
            if reply is not None:
                self._answer(reply)

    def _answer(self, data: bytes | None) -> None:
        if data is not None:
            self._last = packet.frame(data)
            self._send(self._last)

    def _send(self, data: bytes) -> None:
        if not data or self.client is None:
            return
        try:
            self.client.sendall(data)
        except OSError:
            self._close()

    def _close(self) -> None:
        """The client has gone."""
        if self.session is not None:
            self.session.close()
        if self.client is not None:
            self.client.close()
        self.client = self.session = None


def serve(listener: socket.socket, announce: socket.socket | None, may: May, place: Place) -> None:
    """Run a server for the address that listener has; the file of a Unix socket is removed at the end."""
    try:
        Server(listener, announce, may, place.wait).run()
    finally:
        listener.close()
        if place.path:
            with contextlib.suppress(OSError):
                os.unlink(place.path)
