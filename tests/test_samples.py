"""The samples as Linux runs them, and their policies against what strace sees them call."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from torov import policy
from torov.callshape import DENY
from torov.syscalls import by_name

SAMPLES = Path(__file__).parents[1] / "samples"
LINE = b"Hello World, I am ToroV!\n"
FLAVOURS = ("glibc", "pie", "musl", "fpc")
MESSAGES = (b"x", b"", bytes(range(256)) * 300)

# Other releases of the same libraries make these calls in place of one that is seen here.
ALTERNATES = {
    "fstat",
    "newfstatat",
    "readlink",
    "readlinkat",
    "getrlimit",
    "prlimit64",
    "open",
    "openat",
    "getrandom",
}


@pytest.fixture(scope="session")
def samples() -> Path:
    """The directory of the built samples."""
    done = subprocess.run(["make", "-s", "-C", SAMPLES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return SAMPLES / "bin"


@contextlib.contextmanager
def served(command: list[str], port: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An Echo that listens: its process and the port that it printed."""
    with subprocess.Popen([*command, port, str(len(MESSAGES))], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline()
            found = re.fullmatch(rb"listening on 127\.0\.0\.1:(\d+)\n", words)
            assert found, words
            yield process, int(found[1])
        finally:
            process.kill()


def echo(port: int, message: bytes) -> bytes:
    """What the server sends back for one message on one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:

        def send() -> None:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        sender.join()
        return answer


def run(command: list[str], status: int = 0) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [*(f"HelloWorld_{flavour}" for flavour in FLAVOURS), "hello_asm"])
def test_hello(samples: Path, name: str) -> None:
    assert run([str(samples / name)]) == LINE


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_write_file(samples: Path, flavour: str, tmp_path: Path) -> None:
    program = str(samples / f"WriteFile_{flavour}")
    target = tmp_path / "target"
    target.write_bytes(b"something longer")
    assert run([program, str(target)]) == b""
    assert target.read_bytes() == b"hola"
    assert run([program, str(tmp_path / "no" / "target")], status=1) == b""


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_echo(samples: Path, flavour: str) -> None:
    with served([str(samples / f"Echo_{flavour}")], "0") as (process, port):
        for message in MESSAGES:
            assert echo(port, message) == message
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_echo_says_that_its_port_is_taken(samples: Path, flavour: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [samples / f"Echo_{flavour}", port], capture_output=True, check=False, timeout=20
        )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"bind: ")


def traced(command: list[str], log: Path) -> list[str]:
    return ["strace", "-f", "-qq", "-s0", "-o", str(log), *command]


def calls(log: Path) -> set[str]:
    """Names of the calls in a log of strace, without the execve that started the program."""
    return set(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE)) - {"execve"}


def seen(samples: Path, name: str, flavour: str, scratch: Path) -> set[str]:
    """The calls of one sample when all goes well and when it does not."""
    log = scratch / "log"
    program = str(samples / (f"{name}_{flavour}" if flavour else name))
    if name == "Echo":
        with served(traced([program], log), "0") as (process, port):
            for message in MESSAGES:
                assert echo(port, message) == message
            assert process.wait(timeout=60) == 0
        names = calls(log)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            run(traced([program, str(taken.getsockname()[1])], log), status=1)
        return names | calls(log)
    if name == "WriteFile":
        run(traced([program, str(scratch / "target")], log))
        names = calls(log)
        run(traced([program, str(scratch / "no" / "target")], log), status=1)
        return names | calls(log)
    run(traced([program], log))
    return calls(log)


@pytest.mark.parametrize("name", ["HelloWorld", "Echo", "WriteFile", "hello_asm"])
def test_policy_allows_what_the_sample_calls_and_no_more(samples: Path, name: str, tmp_path: Path) -> None:
    rules = policy.load(str(SAMPLES / name / "policy.json"))
    flavours = FLAVOURS if name != "hello_asm" else ("",)
    used = set().union(*(seen(samples, name, flavour, tmp_path) for flavour in flavours))
    assert used
    for call in sorted(used):
        row = by_name(call)
        assert row is not None
        assert rules.action(row.nr) == 0 or row.serve == DENY, f"{call} is not allowed"
    allowed = {item for rule in rules_of(name) for item in rule}
    assert allowed - used - ALTERNATES == set()


def rules_of(name: str) -> list[list[str]]:
    """The names in the rules of a sample's policy."""
    document = json.loads((SAMPLES / name / "policy.json").read_text())
    return [rule["calls"] for rule in document["rules"]]


def test_the_configuration_of_torov_is_read() -> None:
    loaded = policy.load(str(SAMPLES / "HelloWorld" / "helloworld.json"))
    for name, action in (("ioctl", 0), ("write", 0), ("getrlimit", 0), ("openat", 1), ("socket", 1)):
        row = by_name(name)
        assert row is not None
        assert loaded.action(row.nr) == action
