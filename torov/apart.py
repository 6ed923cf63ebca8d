"""A guest in a process of its own, for ``torov.run``: where Python functions serve its calls, it must not hold their descriptors.

The child runs the guest and leaves what came of it in memory that both share, where no descriptor of the guest leads to; this
process serves the delegates meanwhile.
"""

from __future__ import annotations

import json
import mmap
import os
import socket

from torov.errors import MachineError, TorovError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from torov.delegate import Handler

ROOM = 4 << 20
"""Bytes for the result and the notices of one run."""


def run(
    handlers: Mapping[str, Handler], names: list[str], sockets: Mapping[str, str], guest: Callable[[list[int]], dict[str, Any]]
) -> dict[str, Any]:
    """Run a guest in a child of this process.

    Args:
        handlers: by name of the delegate, the function that serves it.
        names: the policy's delegates, in its order.
        sockets: by name, the path of a component's socket.
        guest: called in the child with the delegates' descriptors; returns what JSON can hold.

    Returns:
        What ``guest`` returned.

    Raises:
        DelegateError: a component cannot be reached.
        TorovError: as the guest's process raised it, as text.
        MachineError: the child ended without a word.
    """
    from torov.delegate import connect

    pairs = {name: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for name in names if name in handlers}
    ours = {name: pair[0] for name, pair in pairs.items()}
    theirs = {name: pair[1] for name, pair in pairs.items()}
    with mmap.mmap(-1, ROOM) as memory:
        pid = os.fork()
        if pid == 0:
            for end in ours.values():
                end.close()
            _child(memory, lambda: guest(connect(names, sockets, theirs)))
        for end in theirs.values():
            end.close()
        threads = _serve(ours, handlers)
        os.waitpid(pid, 0)
        for thread in threads:
            thread.join(1)  # a process that the guest left behind may still ask; the thread ends with it
        size = int.from_bytes(memory[:8], "little")
        if not 0 < size <= ROOM - 8:
            raise MachineError("the guest's process", 5)
        answer: dict[str, Any] = json.loads(memory[8 : 8 + size])
    if "error" in answer:
        raise TorovError(str(answer["error"]))
    return answer


def _serve(ends: Mapping[str, socket.socket], handlers: Mapping[str, Handler]) -> list[Any]:
    import threading

    from torov.delegate import serve

    def one(connection: socket.socket, handler: Handler) -> None:
        with connection:
            serve(connection, handler)

    threads = [threading.Thread(target=one, args=(end, handlers[name]), daemon=True) for name, end in ends.items()]
    for thread in threads:
        thread.start()
    return threads


def _child(memory: mmap.mmap, guest: Callable[[], dict[str, Any]]) -> None:
    """Does not return."""
    try:
        answer = guest()
    except TorovError as error:
        answer = {"error": str(error)}
    except BaseException as error:  # to the parent, whatever it is
        answer = {"error": f"{type(error).__name__}: {error}"}
    data = json.dumps(answer).encode()
    if len(data) <= ROOM - 8:
        memory[8 : 8 + len(data)] = data
        memory[:8] = len(data).to_bytes(8, "little")
    os._exit(0)
