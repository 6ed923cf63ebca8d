"""``torov attach``: gdb comes to a guest that was started without it.

The guest listens nowhere: a signal with a value of ours asks it (control.c, debug_asked()), and it connects to the socket of the
process that sent it, if that is of the same user.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time

from torov.errors import DebugError
from torov.gdb import clients, server, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 5.0
"""Seconds that a guest has to come."""
_SIGBUS = 7


def attach(pid: int, where: str, say: Callable[[str], None]) -> None:
    """Serve clients until the guest has ended.

    Args:
        pid: the guest's process.
        where: as torov.gdb.start.Place takes it; port 0 for a free one.
        say: tells the user a line.

    Raises:
        DebugError: there is no such guest, or it cannot be debugged; says why.
    """
    pid = guest_of(pid)
    place = start.Place(where)
    listener = place.listen()
    try:
        connection = _asked(pid)
    except BaseException:
        listener.close()
        if place.path:
            os.unlink(place.path)
        raise
    say(f"process {pid} waits for gdb: {place.command}")
    server.serve(listener, connection, clients.may, place)


def guest_of(pid: int) -> int:
    """A guest: the process itself, or the first below it, where that is the supervisor of a jail.

    Raises:
        DebugError: as check().
    """
    try:
        check(pid)
    except DebugError as error:
        for child in _below(pid):
            try:
                check(child)
            except DebugError as other:
                if other.final:
                    raise
                continue
            return child
        raise error
    return pid


def _below(pid: int) -> list[int]:
    """Its children, theirs, and so on."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parents.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
        except (OSError, IndexError):
            continue
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]


def check(pid: int) -> None:
    """Look whether a process is a guest that can be asked: to any other program the signal would be the end.

    Raises:
        DebugError: it is not, or cannot.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        with open(f"/proc/{pid}/maps") as file:
            maps = file.read()
    except FileNotFoundError:
        raise DebugError(str(pid), "no such process") from None
    except OSError as error:
        raise DebugError(str(pid), f"cannot look at that process: {error.strerror}") from None
    from torov.vmm import machine

    cores = [re.escape(path) for path in (machine.RUNNER, machine.CORE)]
    catches = int(status.get("SigCgt", "0"), 16) >> _SIGBUS - 1 & 1
    if not catches or not re.search(rf" (?:{'|'.join(cores)})$", maps, re.MULTILINE):
        raise DebugError(str(pid), "that process is no guest of this torov")
    if status.get("Seccomp", "0").strip() != "0":
        why = "its monitor is under a filter that lets it connect to nobody: start it with --gdb ADDRESS,nowait"
        raise DebugError(str(pid), why, final=True)


def _asked(pid: int) -> socket.socket:
    """The connection that the guest makes."""
    from torov.vmm import machine

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting:
        waiting.bind(f"\0torov-attach-{os.getpid()}")
        waiting.listen(4)
        waiting.settimeout(0.25)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                tids = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
            except OSError:
                raise DebugError(str(pid), "the process has ended") from None
            for tid in tids:  # one of them is in the guest, or in a call of it
                machine.debug_ask(pid, tid)
            try:
                connection, _ = waiting.accept()
            except TimeoutError:
                continue
            if struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == pid:
                return connection  # and not another guest
            connection.close()
    raise DebugError(str(pid), "the guest does not answer: it is debugged already, or in another network namespace")
