"""What attacks are after, on the host: a port, a file, a shared memory, an abstract socket."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator

import pytest

IPC_CREAT, IPC_RMID = 0o1000, 0


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port of 127.0.0.1 where somebody listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def outside() -> Iterator[dict[str, str]]:
    """OUTSIDE: a file that everybody may read; NAME: an abstract socket; KEY: of a System V shared memory."""
    place = tempfile.mkdtemp(prefix="outside-", dir="/var/tmp")
    os.chmod(place, 0o755)
    path = os.path.join(place, "file")
    with open(path, "w") as file:
        file.write("TOP SECRET\n")
    key, name, libc = os.getpid() | 1 << 24, f"torov-attack-{os.getpid()}", ctypes.CDLL(None)
    memory = libc.shmget(key, 4096, IPC_CREAT | 0o666)
    assert memory >= 0
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield {"OUTSIDE": path, "NAME": name, "KEY": str(key)}
    libc.shmctl(memory, IPC_RMID, None)
    shutil.rmtree(place)
