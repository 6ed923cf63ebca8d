"""Ways out of the virtual machine, and past its policy. Each must fail, visibly, and its monitor must go on.

One row of table.py is one test. The guest prints the error or the signal that stopped it, torov's own line is on standard error,
and without torov the same guest succeeds where it can, so that the test can fail. Attacks that need time stand in test_races.py.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from attacks import ESCAPED, GUESTS, build, by_torov, natively, prepared, withstood
from left import Watch
from support import HELLO_C, Compiler
from table import ATTACKS, RACES, Attack

pytestmark = pytest.mark.kvm

IPC_CREAT, IPC_RMID = 0o1000, 0


@pytest.fixture(scope="module")
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that no guest may touch."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def outside() -> Iterator[dict[str, str]]:
    """OUTSIDE: a file that everybody may read; NAME: an abstract socket; KEY: of a System V shared memory."""
    place = Path(tempfile.mkdtemp(prefix="outside-", dir="/var/tmp"))  # in /tmp, a jail has its own
    place.chmod(0o755)
    (place / "file").write_text("TOP SECRET\n")
    key, name, libc = os.getpid() | 1 << 24, f"torov-attack-{os.getpid()}", ctypes.CDLL(None)
    memory = libc.shmget(key, 4096, IPC_CREAT | 0o666)
    assert memory >= 0
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        yield {"OUTSIDE": str(place / "file"), "NAME": name, "KEY": str(key)}
    libc.shmctl(memory, IPC_RMID, None)
    shutil.rmtree(place)


def rows() -> list[ParameterSet]:
    marked = []
    for row in ATTACKS:
        marks = [pytest.mark.xfail(strict=True, reason=f"a hole that is known: {row.hole}")] if row.hole else []
        marked.append(pytest.param(row, id=row.name, marks=marks))
    return marked


@pytest.mark.parametrize("attack", rows())
def test_attack(
    cc: Compiler, tmp_path: Path, victim: subprocess.Popen[bytes], port: int, outside: dict[str, str], attack: Attack
) -> None:
    program, alive = build(cc, attack.source), cc(HELLO_C, "glibc")
    env = {"VICTIM": str(victim.pid), "PYTHON": sys.executable, "PORT": str(port), **outside}
    options = [*prepared(tmp_path / "guest", program, port, attack.policy), *attack.options]
    prepared(tmp_path / "native", program, port, "")
    with Watch() as watch:
        again = "" if options else alive
        ran = by_torov(
            program, attack.name, where=tmp_path / "guest", alive=again, options=options, env=env, prefix=attack.prefix
        )
        withstood(ran, attack.status)
        watch.empty()
    assert attack.status or any(line.startswith("held ") for line in ran.lines), ran
    assert re.search(attack.reason, ran.err), ran
    assert victim.poll() is None
    if attack.natively and (os.geteuid() == 0 or not attack.root):
        native = natively(program, attack.name, where=tmp_path / "native", env=env, prefix=attack.prefix)
        assert native.status == ESCAPED and native.escapes, f"natively it should succeed\n{native}"
    assert victim.poll() is None


def test_the_table_is_whole() -> None:
    """Every case of every guest is a row, none twice."""
    cases = {
        (path.stem, name)
        for path in GUESTS.glob("*.c")
        for name in re.findall(r"\bATTACK\((\w+)\)", path.read_text())
        if not name.endswith("_2")
    }
    table = [(row.source, row.name) for row in (*ATTACKS, *RACES)]
    assert set(table) == cases
    assert len(set(table)) == len(table)
