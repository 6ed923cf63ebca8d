"""Clients that lie, break off or talk nonsense: the guest ends as it would have, and the server serves the next one."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from debugging import ROOT, built
from support import Compiler

from torov.gdb.packet import Reader, escape, frame

pytestmark = pytest.mark.kvm


class Guest:
    """A guest that waits for a client, and a way to talk to its server."""

    def __init__(self, where: Path, program: Path, *args: str, options: tuple[str, ...] = ()) -> None:
        self.log, self.place = where / "server.log", where / "gdb.sock"
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TOROV_GDB_LOG": str(self.log)}
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "torov",
            "exec",
            "--gdb",
            f"unix:{self.place}",
            *options,
            program,
            "--",
            *args,
        ]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stderr is not None and b"waiting for gdb" in self.process.stderr.readline()

    def client(self) -> Client:
        return Client(self.place)

    def ends(self, out: bytes, status: int) -> None:
        said, err = self.process.communicate(timeout=40)
        assert (said, self.process.returncode) == (out, status), err
        assert not self.log.exists(), self.log.read_text()


class Client:
    """A connection that can be used rightly and wrongly."""

    def __init__(self, place: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(place))
        self.reader = Reader()
        self.waiting: list[bytes | str] = []

    def ask(self, data: bytes) -> bytes:
        """One packet, right; its answer."""
        self.sock.sendall(frame(data))
        return self.answer()

    def answer(self) -> bytes:
        while True:
            while self.waiting:
                item = self.waiting.pop(0)
                if isinstance(item, bytes):
                    return item
            data = self.sock.recv(65536)
            assert data, "the server has closed the connection"
            self.waiting = self.reader.feed(data)


@pytest.fixture
def plain(cc: Compiler, tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(tmp_path, built(cc, "plain"))
    yield guest
    guest.process.kill()
    guest.process.communicate()


@pytest.mark.parametrize(
    "lie",
    [
        b"", b"$", b"$qSupported:multi", b"$" + b"x" * 200000, b"$qC#00", b"#" * 5000, b"\x03" * 100, bytes(range(256)) * 20,
        b"GET / HTTP/1.1\r\n\r\n", b"$m0,ffffffffffffffff#6b", b"-" * 1000,
        b"+$qXfer:features:read:target.xml:ffffffffffffffff,fff#00", b"$g#67$g#67$g#67",
    ],
    ids=range(13),
)  # fmt: skip
def test_a_client_that_breaks_off(plain: Guest, lie: bytes) -> None:
    client = plain.client()
    client.sock.sendall(lie)
    time.sleep(0.1)
    client.sock.close()
    plain.ends(b"out\n", 3)


def test_memory_that_is_not_there(plain: Guest) -> None:
    """All over the guest's addresses and beyond: reads, writes, breakpoints, watchpoints."""
    client = plain.client()
    for at in (
        0,
        0x1000,
        0xE000,
        *range(0x10000, 0x1000000, 0x70000),
        *range(0x3FFFF000, 1 << 39, 1 << 30),
        1 << 47,
        (1 << 64) - 4,
    ):
        for packet in (b"m%x,8", b"M%x,1:00", b"Z0,%x,1", b"Z2,%x,8", b"z0,%x,1", b"z2,%x,8"):
            if 0x400000 <= at < 0x800000 and packet[:1] in b"MZz":
                continue
            assert client.ask(packet % at) is not None
    client.sock.close()
    plain.ends(b"out\n", 3)


@pytest.mark.parametrize(
    "after", [b"vCont;c", b"vCont;s", b"Z0,401000,1", b"Z2,4a6000,8", b"?", b"D", b"QCatchSyscalls:1", b"vCont;t"]
)
def test_a_client_that_closes_in_the_middle(cc: Compiler, tmp_path: Path, after: bytes) -> None:
    """Breakpoints, watchpoints and catches go with it."""
    guest = Guest(tmp_path, built(cc, "plain"))
    symbols = subprocess.run(["nm", built(cc, "plain")], capture_output=True, text=True, check=True).stdout
    leaf = int(next(line.split()[0] for line in symbols.splitlines() if line.endswith(" leaf")), 16)
    client = guest.client()
    assert client.ask(b"Z0,%x,1" % leaf) == b"OK"
    client.sock.sendall(frame(b"vCont;c"))
    assert client.answer().startswith(b"T05")
    client.sock.sendall(frame(after))
    client.sock.close()
    guest.ends(b"out\n", 3)


def test_the_next_client_finds_it_where_it_was(cc: Compiler, tmp_path: Path) -> None:
    guest = Guest(tmp_path, built(cc, "spin"), "wait")
    for _ in range(5):
        client = guest.client()
        assert client.ask(b"?").startswith(b"T05")
        client.sock.sendall(frame(b"vCont;c"))
        time.sleep(0.1)
        client.sock.sendall(b"\x03")
        assert client.answer().startswith(b"T02")
        client.sock.close()
    client = guest.client()
    client.sock.sendall(frame(b"k"))
    guest.process.communicate(timeout=20)
    assert guest.process.returncode == -9 and not guest.log.exists()


def test_another_client_waits_for_its_turn(cc: Compiler, tmp_path: Path) -> None:
    guest = Guest(tmp_path, built(cc, "spin"), "wait")
    first = guest.client()
    assert first.ask(b"?").startswith(b"T05")
    others = []
    for _ in range(6):  # two more than may wait
        others.append(guest.client())
        assert first.ask(b"qC").startswith(b"QC")  # so each has been accepted
    others[0].sock.sendall(frame(b"?"))
    assert [other.sock.recv(1) for other in others[4:]] == [b"", b""]
    others[0].sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        others[0].sock.recv(1)
    first.sock.close()
    others[0].sock.settimeout(30)
    assert others[0].answer().startswith(b"T05")
    others[0].sock.sendall(frame(b"k"))
    guest.process.communicate(timeout=20)
    assert guest.process.returncode == -9 and not guest.log.exists()
    for other in others:
        other.sock.close()


WORDS = b"""
qSupported ? g G p P m M x X Z z H T qXfer: vFile: qGetTLSAddr: QPassSignals: QCatchSyscalls: qfThreadInfo qsThreadInfo qC
qAttached vCont? vMustReplyEmpty ! q Q v b
vFile:open: vFile:pread: vFile:close: vFile:fstat: vFile:readlink: vFile:setfs: vFile:pwrite:
qXfer:features:read: qXfer:auxv:read: qXfer:siginfo:write: qXfer:siginfo:read: qXfer:threads:read: qXfer:exec-file:read:
""".split()
PARTS = b"""
0 1 -1 -0 p1.1 p-1.-1 ffffffffffffffff ffffffffffffffffff 401000 4007ff000 400 : , ; ::0,1000 target.xml:0,fff target.xml 9,1,1
2f6574632f706173737764 2f70726f632f73656c662f6d617073 zz = =00000000 :00 g c 4,401000,8 2,4007ff000,8 2,4007ff000,2000
0,401000,1""".split()
PARTS += [b"", b":\xff\x00}", b"\x00", b"\xff" * 9, b"deadbeef" * 40]


def test_fifty_thousand_packets_that_mean_nothing(cc: Compiler, tmp_path: Path) -> None:
    """Each has one answer, and afterwards a right one is answered rightly."""
    guest = Guest(tmp_path, built(cc, "spin"), "wait")
    client = guest.client()
    assert client.ask(b"QStartNoAckMode") == b"OK"
    chance = random.Random(99)
    for _ in range(500):
        sent = [chance.choice(WORDS) + b"".join(chance.choice(PARTS) for _ in range(chance.randrange(4))) for _ in range(100)]
        sent = [data if chance.random() < 0.9 else data[:-1] + chance.randbytes(chance.randrange(6)) for data in sent]
        sent = [data or b"?" for data in sent if not re.match(rb"[cCsSkDRr]|vCont[^?]|vKill|vRun|vAttach", data)]
        client.sock.sendall(b"".join(frame(escape(data)) for data in sent))
        for data in sent:
            assert isinstance(client.answer(), bytes), data
    assert b"target" in client.ask(b"qXfer:features:read:target.xml:0,fff")
    assert not guest.log.exists(), guest.log.read_text()
    client.sock.sendall(frame(b"k"))
    guest.process.communicate(timeout=20)


def test_packets_that_let_it_run(cc: Compiler, tmp_path: Path) -> None:
    """Steps, runs and interrupts in any order: the server is there, and the guest is where it can be."""
    guest = Guest(tmp_path, built(cc, "spin"), "wait")
    client = guest.client()
    assert client.ask(b"QStartNoAckMode") == b"OK"
    chance = random.Random(7)
    lets_go = (
        b"vCont;c",
        b"vCont;s",
        b"vCont;s:p1.1",
        b"vCont;r401000,402000",
        b"c",
        b"s",
        b"vCont;t",
        b"vCont;c:1",
        b"vCont;",
        b"S00",
    )
    for _ in range(300):
        client.sock.sendall(frame(chance.choice(lets_go)) + b"\x03" * chance.randrange(1, 4))
        client.answer()
    client.sock.sendall(b"\x03")
    assert client.ask(b"vMustReplyEmpty") is not None
    assert guest.process.poll() is None or guest.process.returncode in (-14, 142)
    assert not guest.log.exists(), guest.log.read_text()
    guest.process.kill()
    guest.process.communicate()


@pytest.mark.parametrize("moment", ["before a client", "at a breakpoint", "while it runs"])
def test_the_server_dies(cc: Compiler, tmp_path: Path, moment: str) -> None:
    """The guest goes on, without breakpoints."""
    guest = Guest(tmp_path, built(cc, "plain"))
    server = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _serves(entry, guest.place)]
    server.remove(guest.process.pid) if guest.process.pid in server else None
    assert len(server) == 1
    if moment != "before a client":
        client = guest.client()
        symbols = subprocess.run(["nm", built(cc, "plain")], capture_output=True, text=True, check=True).stdout
        leaf = int(next(line.split()[0] for line in symbols.splitlines() if line.endswith(" leaf")), 16)
        assert client.ask(b"Z0,%x,1" % leaf) == b"OK"
        client.sock.sendall(frame(b"vCont;c"))
        assert client.answer().startswith(b"T05")
        if moment == "while it runs":
            client.sock.sendall(frame(b"vCont;s"))
    os.kill(server[0], 9)
    guest.ends(b"out\n", 3)


def _serves(entry: Path, place: Path) -> bool:
    try:
        return str(place).encode() in (entry / "cmdline").read_bytes()
    except OSError:
        return False
