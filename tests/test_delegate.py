"""Calls that another component serves: over a socket, with descriptors both ways, and as a Python function."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Compiler

from torov.delegate import GO_ON, Bytes, Descriptor, GoOn, Request, connect, serve
from torov.errors import DelegateError

pytestmark = pytest.mark.kvm
ROOT = Path(__file__).resolve().parent.parent

PROGRAM = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/utsname.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <unistd.h>
static void text(const char *path) {
    char b[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { printf("%s: %s\n", path, strerror(errno)); return; }
    int flags = fcntl(fd, F_GETFD);
    long n = read(fd, b, sizeof b - 1);
    printf("%s: %ld %s%s\n", path, n, b, flags & FD_CLOEXEC ? " cloexec" : "");
    close(fd);
}
int main(void) {
    char one[4] = "", two[8] = "";
    struct iovec iov[2] = {{one, 3}, {two, 7}};
    struct utsname u = {0};
    setvbuf(stdout, NULL, _IONBF, 0);
    text("/data/motd");
    text("/data/none");
    text("/data/host");
    text("/data/broken");
    printf("uname: %d %s\n", uname(&u), u.nodename);
    long n = preadv(0, iov, 2, 77);
    printf("preadv: %ld [%s][%s]\n", n, one, two);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4242), .sin_addr.s_addr = htonl(0x0a000001)};
    int r = connect(fd, (void *)&in, sizeof in);
    printf("connect: %d %s\n", r, r ? strerror(errno) : "");
    char b[32] = "";
    n = r ? -1 : read(fd, b, sizeof b - 1);
    printf("peer says: %s\n", n > 0 ? b : "nothing");
    if (fork() == 0) { text("/data/motd"); _exit(0); }
    wait(NULL);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(cc: Compiler) -> Path:
    return cc(PROGRAM, "glibc", "-Wall", "-Werror")


def files(request: Request) -> int | Bytes | Descriptor | GoOn:
    """What the program's calls are answered with."""
    if request.call == "openat":
        assert request.text("path") == request.names[1] and request.arg("dirfd") & 0xFFFFFFFF == 0xFFFFFF9C
        name = request.names[1].removeprefix("/data/")
        if name == "motd":
            read, write = os.pipe()
            os.write(write, b"from afar")
            os.close(write)
            return Descriptor(read)
        if name == "host":
            return GO_ON
        if name == "broken":
            return 1 << 40  # no such result of open, but ours to give
        return -errno.ENOENT
    if request.call == "uname":
        data = bytearray(request.room("buf"))
        data[65:72] = b"faraway"
        return request.fill(0, buf=bytes(data))
    if request.call == "preadv":
        assert request.room("iov") == 10 and request.arg("pos_l") == 77
        return request.fill(8, iov=b"abcdefgh")
    if request.call == "connect":
        assert request.data("addr")[:8] == b"\2\0\x10\x92\x0a\0\0\1"  # sockaddr_in of 10.0.0.1:4242
        with socket.socket(fileno=os.dup(request.fds[0])) as guests, socket.socket() as listener:
            assert guests.family == socket.AF_INET
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            guests.connect(listener.getsockname())
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"hello by proxy")
        return 0
    raise AssertionError(request)


def policy(where: Path, path: str = "") -> Path:
    file = where / "p.json"
    rules = [
        {"calls": ["openat"], "where": [{"path": "/data/**"}], "action": {"delegate": "files"}},
        {"calls": ["uname", "preadv", "connect"], "action": {"delegate": "files"}},
    ]
    delegate = {"socket": path} if path else {}
    file.write_text(json.dumps({"torov": 1, "default": "builtin", "delegates": {"files": delegate}, "rules": rules}))
    return file


@contextmanager
def component(path: Path, handler: Callable[[Request], int | Bytes | Descriptor | GoOn]) -> Iterator[None]:
    """A component that serves one guest."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()

        def guest() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection, handler)

        thread = threading.Thread(target=guest, daemon=True)
        thread.start()
        yield
        thread.join(20)
        assert not thread.is_alive()  # it ends with the guest


EXPECTED = [
    "/data/motd: 9 from afar cloexec", "/data/none: No such file or directory", "/data/host: No such file or directory",
    "uname: 0 faraway", "preadv: 8 [abc][defgh]", "connect: 0 ", "peer says: hello by proxy", "/data/motd: 9 from afar cloexec",
]  # fmt: skip


def exec_(program: Path, file: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-m", "torov", "exec", "--policy", file, program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def test_a_process_on_a_socket_serves_files_and_the_network(program: Path, tmp_path: Path) -> None:
    with component(tmp_path / "socket", files):
        done = exec_(program, policy(tmp_path, str(tmp_path / "socket")))
    lines = [line for line in done.stdout.splitlines() if "/data/broken" not in line]
    assert (done.returncode, lines) == (0, EXPECTED), done.stderr


def test_a_component_that_goes_away_or_talks_nonsense_is_an_error_of_the_call(program: Path, tmp_path: Path) -> None:
    def nonsense(request: Request) -> int:
        raise RuntimeError("a bug of the component")

    def guard(request: Request) -> int | Bytes | Descriptor | GoOn:
        return -errno.ENOMEDIUM if request.call != "openat" else request.fds[5]  # KeyError: a bug

    for handler in (nonsense, guard):
        path = tmp_path / f"{handler.__name__}.socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()

            def guest(
                listener: socket.socket = listener, handler: Callable[[Request], int | Bytes | Descriptor | GoOn] = handler
            ) -> None:
                connection, _ = listener.accept()
                with connection, pytest.raises((RuntimeError, KeyError)):
                    serve(connection, handler)

            thread = threading.Thread(target=guest, daemon=True)
            thread.start()
            done = exec_(program, policy(tmp_path, str(path)))
            thread.join(20)
        assert done.returncode == 0 and "Traceback" not in done.stderr
        assert done.stdout.splitlines()[0] == "/data/motd: Input/output error"
        assert done.stdout.splitlines()[-1] == "/data/motd: Input/output error"


def test_a_component_that_is_not_there_is_said_at_the_start(program: Path, tmp_path: Path) -> None:
    done = exec_(program, policy(tmp_path, str(tmp_path / "nobody")))
    assert done.returncode == 125 and "delegate files" in done.stderr and "start it first" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(DelegateError, match="delegates="):
        connect(["files"], {})


def test_python_functions_serve_calls(program: Path, tmp_path: Path) -> None:
    script = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}]
import torov
from test_delegate import files
calls = []
def handler(request):
    calls.append(request.call)
    return files(request)
result = torov.run({str(program)!r}, policy={str(policy(tmp_path))!r}, delegates={{"files": handler}})
print(result.exit_status, len(calls), result.calls["uname"], result.stats["exits"] > 10)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = [line for line in done.stdout.splitlines() if "/data/broken" not in line]
    assert lines == [*EXPECTED, "0 8 1 True"], done.stderr
