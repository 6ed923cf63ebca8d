"""Who may debug a guest: a process of the same user, or root's, and no guest.

Whoever debugs can do what the guest's user may, and reads the user's files (vFile), also where the guest is in a jail or under a
policy. A guest that reached a debugger, its own or another's, would be out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_VM = re.compile(r"anon_inode:kvm-v")


def may(client: socket.socket) -> bool:
    """Whether a client is served. To be asked at once: when the process has ended, nobody can tell, and the answer is no."""
    try:
        if client.family == socket.AF_UNIX:  # that it is this user says the mode of the socket's file
            pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return _foreign_root(uid) or (pid > 0 and not _guest(pid))
        return _tcp(client)
    except (OSError, ValueError, IndexError):
        return False


def _tcp(client: socket.socket) -> bool:
    """By the kernel's table of connections. One from another machine came by an address that the user opened to the network."""
    peer, own = client.getpeername(), client.getsockname()
    found = list(_connections(peer[1], own[1]))
    if not found:
        return not _here(client.family, peer[0])
    for uid, inode in found:
        if inode and _foreign_root(uid):  # one that is closed already is nobody's, and shows root's number
            continue
        owners = list(_owners(inode)) if inode and uid == os.geteuid() else []
        if not owners or any(map(_guest, owners)):
            return False
    return True


def _here(family: int, address: str) -> bool:
    """Whether it is an address of this machine: only such a one can be bound to (ip(7))."""
    with socket.socket(family) as made:
        try:
            made.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _foreign_root(uid: int) -> bool:
    """Root, where the guest's user is another: what root's processes have, this one cannot see."""
    return uid == 0 and os.geteuid() != 0


def _guest(pid: int) -> bool:
    """Whether a process runs a guest: it has a VM, or is about to make one (exec(2) closes the old one's descriptor before).

    Raises:
        OSError: it has ended, or is not this user's to look at.
    """
    if any(_VM.match(target) for target in _descriptors(pid)):
        return True
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("torov-runner")


def _connections(port: int, to: int) -> Iterator[tuple[int, int]]:
    """User and inode of sockets of this machine that are connected so, by their ports (proc_pid_net(5))."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{table}") as file:
            for row in file.read().splitlines()[1:]:
                words = row.split()
                if [int(word.rpartition(":")[2], 16) for word in words[1:3]] == [port, to]:
                    yield int(words[7]), int(words[9])


def _owners(inode: int) -> Iterator[int]:
    """Processes that have a socket."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # others' processes, and what has ended
            if f"socket:[{inode}]" in _descriptors(int(name)):
                yield int(name)


def _descriptors(pid: int) -> list[str]:
    """What the descriptors of a process are, as proc_pid_fd(5) shows them."""
    found = []
    where = f"/proc/{pid}/fd"
    for name in os.listdir(where):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"{where}/{name}"))
    return found
