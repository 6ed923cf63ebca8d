"""Servers: every byte that they send, under load, and how they end."""

from __future__ import annotations

import hashlib
import http.client
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real import free_port, program, same, start, stop, until_open
from running import run

pytestmark = [pytest.mark.kvm, pytest.mark.corpus, pytest.mark.xdist_group("programs")]


SECONDS = 30
CONNECTIONS = 200


def test_caddy_under_two_hundred_connections(tmp_path: Path) -> None:
    """200 keep-alive connections for 30 s: not one wrong byte, reset or short answer; then a clean end by SIGTERM."""
    site, port = tmp_path / "site", free_port()
    site.mkdir()
    rng = random.Random(1)
    digests = {}
    for n, size in enumerate((0, 1, 100, 4096, 65536, 300_000, 1_000_000)):
        body = rng.randbytes(size)
        (site / f"f{n}").write_bytes(body)
        digests[f"/f{n}"] = hashlib.sha256(body).digest()
    log = tmp_path / "log"
    server = start(program("caddy"), "file-server", "--root", site, "--listen", f"127.0.0.1:{port}", cwd=tmp_path, log=log)
    wrong: list[str] = []
    served = [0] * CONNECTIONS
    try:
        until_open(port, server, log)
        end = time.monotonic() + SECONDS

        def client(me: int) -> None:
            mine = random.Random(me)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while time.monotonic() < end and not wrong:
                name = mine.choice([*digests])
                try:
                    connection.request("GET", name)
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException) as err:
                    wrong.append(f"{name} on connection {me} after {served[me]}: {err!r}")
                    return
                if answer.status != 200 or hashlib.sha256(body).digest() != digests[name]:
                    wrong.append(f"{name}: status {answer.status}, {len(body)} bytes")
                served[me] += 1
            connection.close()

        threads = [threading.Thread(target=client, args=(n,)) for n in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[:5]
        assert all(served), f"{served.count(0)} connections got nothing"
        assert sum(served) > 2000, sum(served)
    finally:
        status = stop(server, with_signal=signal.SIGTERM)
    assert status == 0, log.read_text()
    assert "panic" not in log.read_text()


@contextmanager
def redis(where: Path, native: bool) -> Iterator[int]:
    where.mkdir()
    port, log = free_port(), where / "log"
    server = start(
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        where,
        "--save",
        "",
        "--io-threads",
        "2",
        cwd=where,
        log=log,
        native=native,
    )
    try:
        until_open(port, server, log)
        yield port
    finally:
        status = stop(server, with_signal=signal.SIGTERM)
    assert status == 0, log.read_text()


SESSION = """\
SET greeting hello
APPEND greeting " world"
GET greeting
INCRBYFLOAT pi 3.14
RPUSH list a b c d
LRANGE list 0 -1
SADD set 1 2 3
SORT set DESC
HSET hash f1 v1 f2 v2
HGETALL hash
ZADD z 3 c 1 a 2 b
ZRANGE z 0 -1 WITHSCORES
EVAL "local s = 0 for i = 1, 1000 do s = s + i end return s" 0
SETBIT bits 100 1
BITCOUNT bits
PFADD hll a b c
PFCOUNT hll
XADD stream 1-1 field value
XRANGE stream - +
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
GEODIST geo Palermo Catania km
WRONGCOMMAND
INCR greeting
SAVE
DBSIZE
"""


def test_redis(tmp_path: Path) -> None:
    """A session with the same answers, its own benchmark, a snapshot by a forked child that the native server reads back."""
    answers = []
    for name in ("native", "torov"):
        with redis(tmp_path / name, name == "native") as port:
            cli = ["redis-cli", "-p", str(port)]
            answers.append(subprocess.run(cli, input=SESSION, capture_output=True, text=True, check=True, timeout=60).stdout)
            if name == "native":
                continue
            bench = run(
                ["redis-benchmark", "-p", str(port), "-n", "3000", "-c", "20", "-q", "-t", "ping,set,get,incr,lpush,mset"],
                timeout=120,
            )
            assert bench.status == 0 and bench.out.count("requests per second") >= 6, bench.out + bench.err
            before = subprocess.run([*cli, "DBSIZE"], capture_output=True, text=True, check=True).stdout
            assert "started" in subprocess.run([*cli, "BGSAVE"], capture_output=True, text=True, check=True).stdout
            for _ in range(200):
                info = subprocess.run([*cli, "INFO", "persistence"], capture_output=True, text=True, check=True).stdout
                if "rdb_bgsave_in_progress:0" in info:
                    break
                time.sleep(0.1)
            assert "rdb_last_bgsave_status:ok" in info
    assert answers[0] == answers[1]
    where = tmp_path / "again"
    shutil.copytree(tmp_path / "torov", where / "data", ignore=shutil.ignore_patterns("log"))
    port, log = free_port(), where / "log"
    server = start(
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", where / "data", cwd=where, log=log, native=True
    )
    try:
        until_open(port, server, log)
        after = subprocess.run(["redis-cli", "-p", str(port), "DBSIZE"], capture_output=True, text=True, check=True).stdout
    finally:
        stop(server, with_signal=signal.SIGKILL)
    assert after == before


SQL = """\
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
INSERT INTO t SELECT x, 'name' || (x * 7919 % 1000), x / 7.0 FROM c;
CREATE INDEX i ON t(name, value);
SELECT count(*), round(sum(value), 3), max(name) FROM t WHERE name LIKE 'name1%';
SELECT name, count(*) FROM t GROUP BY name ORDER BY 2 DESC, 1 LIMIT 5;
BEGIN; DELETE FROM t WHERE id % 3 = 0; ROLLBACK;
UPDATE t SET value = -value WHERE id % 5 = 0;
PRAGMA journal_mode=WAL;
INSERT INTO t SELECT id + 100000, name, value FROM t;
PRAGMA wal_checkpoint(TRUNCATE);
VACUUM;
PRAGMA integrity_check;
.selftest --init
.selftest -v
SELECT count(*) FROM t;
"""


def test_sqlite(tmp_path: Path) -> None:
    """The shell over a database file: journal, WAL with shared memory, VACUUM, and the shell's own self-test."""

    def write(top: Path) -> None:
        (top / "in.sql").write_text(SQL)

    native = same("sqlite3", "-batch", "-init", "in.sql", "file.db", ".exit", where=tmp_path, prepare=write, files=False)
    assert "ok" in native.out
    dumps = [
        subprocess.run(["sqlite3", tmp_path / side / "dir/file.db", ".dump"], capture_output=True, check=True).stdout
        for side in ("native", "torov")
    ]
    assert dumps[0] == dumps[1] and dumps[0].count(b"INSERT") == 40004
