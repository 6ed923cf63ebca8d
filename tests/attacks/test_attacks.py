"""Ways out of the virtual machine, and past its policy. Each must fail, visibly, and its monitor must go on.

One row of table.py is one test. The guest prints the error or the signal that stopped it, torov's own line is on standard error,
and without torov the same guest succeeds where it can, so that the test can fail. Attacks that need time stand in test_races.py.
"""

from __future__ import annotations

import ctypes
import json
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
from attacks import ESCAPED, GUESTS, ROOT, build, by_torov, natively, prepared, withstood
from left import Watch
from support import HELLO_C, Compiler
from table import ATTACKS, CHROOT, RACES, Attack

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


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda row: row.name)
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


API = """
import sys, torov
print(torov.run(sys.argv[1], ["helper_root"], policy=sys.argv[2]).exit_status)
"""


def test_a_changed_root_without_filters(cc: Compiler, tmp_path: Path) -> None:
    """torov.run() has a helper for exec, and takes policies that allow chroot: the helper must not be the guest's own."""
    if os.geteuid() != 0:
        return  # chroot(2) is root's
    program, where = build(cc, "escapes"), tmp_path / "guest"
    options = prepared(where, program, 1, CHROOT)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "TARGET": "7f0000000000"}
    words = [sys.executable, "-c", API, str(program), str(options[1])]
    done = subprocess.run(words, cwd=where, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["0"], done.stdout + done.stderr
    assert "the copy ran" in done.stdout and "ESCAPED" not in done.stdout
    assert not (where / "jail" / "went-out").exists()


def test_no_line_of_the_audit_log_is_forged(cc: Compiler, tmp_path: Path) -> None:
    """Whatever bytes a path has, the log has one JSON object a line, and none says what did not happen."""
    program, log = build(cc, "policy_out"), tmp_path / "log"
    policy = next(row.policy for row in ATTACKS if row.name == "forged_lines")
    options = [*prepared(tmp_path / "guest", program, 1, policy), "--audit", log]
    withstood(by_torov(program, "forged_lines", where=tmp_path / "guest", options=options))
    lines = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
    tried = [line for line in lines if line["call"] in ("open", "mkdir", "unlink", "chmod")]
    assert [line["call"] for line in tried] == ["open", "mkdir", "unlink", "chmod"]
    assert all((line["action"], line["errno"], line["rule"]) == ("errno", "EACCES", 1) for line in tried)  # from 0
    assert all("\n" not in line["text"] and "\x1b" not in line["text"] for line in tried)


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
    assert len({(row.source, row.name, row.options) for row in ATTACKS}) == len(ATTACKS) >= 80
