"""Who may debug. The processes are real ones; of guests, see test_places.py."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from debugging import ROOT

from torov.gdb.clients import may
from torov.gdb.start import Place

CONNECT = "import socket, sys; s = socket.socket(getattr(socket, sys.argv[1])); s.connect(eval(sys.argv[2])); input()"


@contextlib.contextmanager
def connected(listener: socket.socket, first: str = "") -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """A client in a process of its own, which does something first, and ends when its standard input does."""
    command = [sys.executable, "-c", first + CONNECT, socket.AddressFamily(listener.family).name, repr(listener.getsockname())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        client, _ = listener.accept()
        with client:
            yield client, process
        process.kill()


@pytest.fixture(params=["tcp", "tcp6", "unix"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    family = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}[request.param]
    with socket.socket(family) as made:
        made.settimeout(20)
        made.bind(str(tmp_path / "s") if request.param == "unix" else ("::1" if request.param == "tcp6" else "127.0.0.1", 0))
        made.listen()
        yield made


def test_a_process_of_the_user(listener: socket.socket) -> None:
    with connected(listener) as (client, _):
        assert may(client)


def test_one_that_has_ended(listener: socket.socket) -> None:
    """Nobody can tell any more what it was; a connection that is closed shows the number of root."""
    with connected(listener) as (client, process):
        process.communicate(b"")
        assert not may(client)


def test_one_that_broke_off(listener: socket.socket) -> None:
    """By a reset: no table has it."""
    with socket.socket(listener.family) as own:
        own.connect(listener.getsockname())
        client, _ = listener.accept()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with client:
        assert may(client) == (listener.family == socket.AF_UNIX)  # there the process is known: this one


def test_the_file_of_a_unix_socket_is_the_users_alone(tmp_path: Path) -> None:
    """The kernel lets others connect only if they may write it (unix(7))."""
    old = os.umask(0)
    try:
        with Place(f"unix:{tmp_path}/s").listen():
            assert os.stat(tmp_path / "s").st_mode & 0o777 == 0o600
    finally:
        os.umask(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a process of another user, which only root can make")
@pytest.mark.parametrize("listener", ["tcp", "tcp6"], indirect=True)
def test_another_user(listener: socket.socket) -> None:
    with connected(listener, "import encodings.idna, os, socket; os.setuid(65534); ") as (client, _):
        assert not may(client)


OF_NOBODY = """
import os, socket
from torov.gdb.clients import may
listener = socket.create_server(("127.0.0.1", 0))
clients = [socket.create_connection(listener.getsockname()) for _ in range(2)]
os.setuid(65534)
with listener.accept()[0] as first, listener.accept()[0] as second:
    clients[1].close()
    print(may(first), may(second))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs processes of two users, which only root can make")
def test_root_may_debug_what_another_user_runs() -> None:
    """Its connection, and not one of which nothing is left but the same number."""
    done = subprocess.run([sys.executable, "-c", OF_NOBODY], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "True False\n", done.stderr


@pytest.mark.kvm
def test_a_process_with_a_vm(listener: socket.socket) -> None:
    """Such as one that runs guests by torov.run()."""
    vm = "import fcntl, os; vm = fcntl.ioctl(os.open('/dev/kvm', os.O_RDWR), 0xAE01, 0); "
    with connected(listener, vm) as (client, _):
        assert not may(client)
