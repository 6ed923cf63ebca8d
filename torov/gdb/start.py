"""Where a server listens, and the process that it runs in."""

from __future__ import annotations

import os
import socket

from torov.errors import DebugError

PORT = 1234
"""ToroV's own."""


class Place:
    """An address for clients.

    Args:
        text: ``[HOST:]PORT`` or ``unix:PATH``, with ``,nowait`` behind it where the guest does not wait for gdb.

    Fields:
        host, port: for TCP; path: for a Unix socket, or an empty string.
        wait: whether the guest stands until gdb comes.
        command: what a user types into gdb.

    Raises:
        DebugError: it is neither.
    """

    __slots__ = ("host", "path", "port", "wait")

    def __init__(self, text: str) -> None:
        self.host, self.port, self.path = "127.0.0.1", 0, ""
        self.wait = not text.endswith(",nowait")
        text = text.removesuffix(",nowait")
        if text.startswith("unix:"):
            self.path = os.path.abspath(text[5:])
            if not text[5:] or len(os.fsencode(self.path)) > 107:
                raise DebugError(text, "a path of 1 to 107 bytes comes after unix:")
            return
        host, colon, port = text.rpartition(":")
        if colon and host:
            self.host = host.strip("[]")
        if not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise DebugError(text, f"expected [HOST:]PORT or unix:PATH, as {PORT} or unix:/tmp/gdb.sock; ,nowait may follow")
        self.port = int(port)

    @property
    def command(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"gdb -ex 'target remote {self.path or f'{host}:{self.port}'}'"

    def listen(self) -> socket.socket:
        """A socket that listens there; with port 0, port is the one that was chosen.

        Raises:
            DebugError: the kernel refuses it.
        """
        made = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        try:
            if self.path:
                old = os.umask(0o177)
                try:
                    made.bind(self.path)
                finally:
                    os.umask(old)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((self.host, self.port))
                self.port = made.getsockname()[1]
            made.listen(4)
        except OSError as error:
            made.close()
            where = self.path or f"{self.host}:{self.port}"
            raise DebugError(where, f"cannot listen: {error.strerror or error}") from None
        return made


def start(listener: socket.socket, place: Place) -> socket.socket:
    """Start the server in a process of its own, nobody's child, outside of what the guest is put into later.

    Args:
        listener: Place.listen(); it is closed here.
        place: its address.

    Returns:
        The socket for Machine(debug=...).

    Raises:
        DebugError: the host refused a process.
    """
    from torov.gdb import clients, server

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        first = os.fork()
    except OSError as error:
        raise DebugError("the server's process", error.strerror or "") from None
    if first == 0:
        try:
            if os.fork():
                os._exit(0)
            ours.close()
            _alone([listener.fileno(), theirs.fileno()])
            server.serve(listener, theirs, clients.may, place)
        except BaseException:
            _log()
        finally:
            os._exit(0)
    os.waitpid(first, 0)
    theirs.close()
    listener.close()
    return ours


def _log() -> None:
    """A fault of the server's own goes to the file that TOROV_GDB_LOG names; the guest goes on without it."""
    if os.environ.get("TOROV_GDB_LOG"):
        import traceback

        with open(os.environ["TOROV_GDB_LOG"], "a") as file:
            traceback.print_exc(file=file)


def launch(where: str) -> tuple[int, Place]:
    """Listen and start the server.

    Args:
        where: as Place takes it.

    Returns:
        The descriptor for Machine(debug=...), and the address with the port that was chosen.

    Raises:
        DebugError: the address cannot be used.
    """
    place = Place(where)
    return start(place.listen(), place).detach(), place


def _alone(keep: list[int]) -> None:
    """Neither the terminal's signals, nor descriptors that others wait for the end of."""
    import signal

    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    low = 3
    for fd in [*sorted(keep), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(low, fd)
        low = fd + 1
