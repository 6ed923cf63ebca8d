"""Ways out by time: a second thread changes, or uses, what the monitor is looking at.

All of them run at once, for RACE_MS together, each in a monitor of its own; natively each succeeds in a moment, where it can.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from attacks import Ran, build, by_torov, natively, prepared, withstood
from support import HELLO_C, Compiler
from table import RACES, Attack

pytestmark = [pytest.mark.kvm, pytest.mark.xdist_group("races")]

RACE_MS = os.environ.get("TOROV_RACE_MS", "10000")


@pytest.fixture(scope="module")
def races(cc: Compiler, tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[dict[str, Future[Ran]]]:
    """By name: the race, under way."""
    programs, alive = {row.source: build(cc, row.source) for row in RACES}, cc(HELLO_C, "glibc")
    with ThreadPoolExecutor(len(RACES)) as pool:
        running = {}
        for row in RACES:
            where, env = tmp_path_factory.mktemp(row.name) / "guest", {"RACE_MS": RACE_MS, "PORT": str(port)}
            options = prepared(where, programs[row.source], port, row.policy)
            again = "" if options else alive
            running[row.name] = pool.submit(
                by_torov, programs[row.source], row.name, where=where, alive=again, options=options, env=env
            )
        yield running


@pytest.mark.parametrize("race", RACES, ids=lambda row: row.name)
def test_race(cc: Compiler, tmp_path: Path, races: dict[str, Future[Ran]], port: int, race: Attack) -> None:
    ran = races[race.name].result()
    withstood(ran)
    tries = next(int(line.split()[-5]) for line in ran.lines if line.endswith("went through"))
    assert tries > 2, ran
    if race.natively:
        program = build(cc, race.source)
        prepared(tmp_path / "native", program, port, "")
        env = {"RACE_MS": "20000", "PORT": str(port)}
        assert natively(program, race.name, where=tmp_path / "native", env=env).escapes
