"""Components that serve calls for a guest: a policy's action ``{"delegate": NAME}``. docs/delegation.md is the protocol.

A component is a process that listens on a Unix socket (``serve_socket``), or a Python function (``torov.run(delegates=...)``).
It gets a Request for each call and returns what the call answers: a number, Bytes for the guest's buffers, a Descriptor that
becomes the result, or GO_ON: the call is made on the host as if the policy allowed it.
"""

from __future__ import annotations

import array
import os
import socket
import struct

from torov.errors import DelegateError
from torov.syscalls import by_number, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Handler = Callable[["Request"], "int | Bytes | Descriptor | GoOn"]

MAGIC = 0x31445654  # "TVD1"
MOST = 64 << 10
"""Bytes of a guest's buffers that one request or answer carries."""
DELEGATES = 8
"""Components that one policy can have."""

_REQUEST = struct.Struct("<IIiiiIQ6Q8b")
_ITEM = struct.Struct("<II")
_ANSWER = struct.Struct("<IIQqII")
_OUT, _NAME = 0x80000000, 0x40000000
_GO_ON, _PASSED = 1, 2
_FDS = 7  # the answer's socket, and one for each argument


class GoOn:
    """The call is made on the host, as if the policy allowed it."""


GO_ON = GoOn()


class Bytes:
    """A result together with what the guest finds in its buffers.

    Args:
        result: what the call answers, or a negative error.
        buffers: by argument 0-5 the bytes to write there, no more than Request.room says.
    """

    __slots__ = ("buffers", "result")

    def __init__(self, result: int, buffers: Mapping[int, bytes]) -> None:
        self.result, self.buffers = result, buffers


class Descriptor:
    """An open file that becomes the guest's: the call answers its number there.

    Args:
        fd: descriptor of this process; it is closed when it was passed.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd


class Request:
    """One call.

    Fields:
        call: its name; nr: its number.
        args: the six registers, unsigned.
        pid, tid: of the guest's thread.
        fds: by argument, a descriptor of this process for the one that the guest gave; closed after the handler.
        names: by argument, the absolute path that a path was resolved to, where the policy has looked at it.
    """

    __slots__ = ("_data", "_room", "args", "call", "fds", "names", "nr", "pid", "tid")

    def __init__(self, nr: int, args: tuple[int, ...], pid: int, tid: int) -> None:
        self.nr, self.call, self.args, self.pid, self.tid = nr, name_of(nr), args, pid, tid
        self.fds: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self._data: dict[int, list[bytes]] = {}
        self._room: dict[int, list[int]] = {}

    def index(self, name: str) -> int:
        """The number of an argument by its name in the call table; KeyError if the call has none of that name."""
        row = by_number(self.nr)
        for index, arg in enumerate(row.args if row else ()):
            if arg.name == name:
                return index
        raise KeyError(name)

    def arg(self, name: str) -> int:
        """The register of an argument, by name."""
        return self.args[self.index(name)]

    def data(self, name: str) -> bytes:
        """What a pointer argument points to: a string without its NUL, or the bytes that the call reads (at most MOST)."""
        return b"".join(self._data.get(self.index(name), []))

    def text(self, name: str) -> str:
        """The same as a string, decoded as file names are."""
        return os.fsdecode(self.data(name))

    def room(self, name: str) -> int:
        """Bytes that may be written where an argument points to."""
        return sum(self._room.get(self.index(name), []))

    def fill(self, result: int, **buffers: bytes) -> Bytes:
        """An answer with buffers by the names of arguments: ``request.fill(5, buf=b"hello")``."""
        return Bytes(result, {self.index(name): data for name, data in buffers.items()})

    def __repr__(self) -> str:
        return f"Request({self.call}, pid={self.pid})"


def _parse(data: bytes, fds: list[int]) -> tuple[Request, int]:
    magic, size, nr, pid, tid, nitems, token, *rest = _REQUEST.unpack_from(data)
    if magic != MAGIC or size != len(data):
        raise ValueError("not a request of this protocol")
    request = Request(nr, tuple(rest[:6]), pid, tid)
    for place, arg in enumerate(rest[6:]):
        if arg >= 0:
            request.fds[arg] = fds[1 + place]
    at = _REQUEST.size
    for _ in range(nitems):
        word, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        arg = word & 7
        if word & _OUT:
            request._room.setdefault(arg, []).append(length)
            continue
        piece = data[at : at + length]
        at += (length + 7) & ~7
        if word & _NAME:
            request.names[arg] = os.fsdecode(piece)
        else:
            request._data.setdefault(arg, []).append(piece)
    return request, token


def _items(request: Request, buffers: Mapping[int, bytes]) -> tuple[int, bytes]:
    """The buffers of an answer, cut to the pieces of an iovec."""
    packed, count = b"", 0
    for arg, data in buffers.items():
        rooms = request._room.get(arg, [])
        if len(data) > sum(rooms):
            raise ValueError(f"{request.call}: {len(data)} bytes for argument {arg}, which has room for {sum(rooms)}")
        for room in rooms:
            piece, data = data[:room], data[room:]
            packed += _ITEM.pack(arg, len(piece)) + piece.ljust((len(piece) + 7) & ~7, b"\0")
            count += 1
            if not data:
                break
    return count, packed


def _answer(back: socket.socket, request: Request, token: int, result: int | Bytes | Descriptor | GoOn) -> None:
    flags, value, count, packed, pass_on = 0, 0, 0, b"", -1
    if isinstance(result, GoOn):
        flags = _GO_ON
    elif isinstance(result, Descriptor):
        flags, pass_on = _PASSED, result.fd
    elif isinstance(result, Bytes):
        value = result.result
        count, packed = _items(request, result.buffers)
    else:
        value = int(result)
    head = _ANSWER.pack(MAGIC, flags, token, value, count, 0)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pass_on]))] if pass_on >= 0 else []
    try:
        back.sendmsg([head, packed], control, socket.MSG_NOSIGNAL)
    except OSError:  # the guest has gone, or a signal took it away: nobody waits
        pass
    finally:
        if pass_on >= 0:
            os.close(pass_on)


def serve(connection: socket.socket, handler: Handler) -> None:
    """Serve the requests of one guest until all of its processes have ended.

    Args:
        connection: what accept(2) gave, or one end of a pair; SOCK_SEQPACKET.
        handler: called for each request. An OSError that it raises is the call's answer; any other exception is EIO for the
            guest, and goes on from here after the answer.
    """
    room = socket.CMSG_SPACE(_FDS * array.array("i").itemsize)
    while True:
        data, control, _, _ = connection.recvmsg(_REQUEST.size + MOST + 16 * 64 + 4096, room, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return
        fds = array.array("i")
        for level, kind, words in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(words[: len(words) - len(words) % fds.itemsize])
        if not fds:
            continue
        with socket.socket(fileno=fds[0]) as back:
            try:
                _one(back, data, list(fds), handler)
            finally:
                for fd in fds[1:]:
                    os.close(fd)


def _one(back: socket.socket, data: bytes, fds: list[int], handler: Handler) -> None:
    request, token = _parse(data, fds)
    try:
        result = handler(request)
    except OSError as error:
        result = -(error.errno or 5)
    except Exception:
        _answer(back, request, token, -5)
        raise
    _answer(back, request, token, result)


def serve_socket(path: str, handler: Handler) -> None:
    """Listen on a Unix socket and serve each guest that connects, each in a thread of its own. Does not return.

    Args:
        path: of the socket; it must not exist.
        handler: as of serve(); it may be called by several threads at once.
    """
    import threading

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()

            def guest(connection: socket.socket = connection) -> None:
                with connection:
                    serve(connection, handler)

            threading.Thread(target=guest, daemon=True).start()


def connect(names: Iterable[str], sockets: Mapping[str, str], given: Mapping[str, socket.socket] | None = None) -> list[int]:
    """The sockets of a policy's delegates, for Machine(delegates=...).

    Args:
        names: of the delegates, in the order of the compiled policy.
        sockets: by name the path of its socket.
        given: by name a connected socket, in place of a path; it is taken over.

    Returns:
        A descriptor for each name.

    Raises:
        DelegateError: there is no such component, or it does not answer.
    """
    found: list[int] = []
    for name in names:
        if given and name in given:
            found.append(given[name].detach())
            continue
        path = sockets.get(name, "")
        if not path:
            raise DelegateError(name, "", 'the policy names it; give it a "socket", or pass delegates= to torov.run()')
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
            try:
                one.connect(path)
            except OSError as error:
                raise DelegateError(name, path, f"{os.strerror(error.errno or 0)}; start it first (docs/delegation.md)") from None
            found.append(one.detach())
    return found
