"""The comparison with other supervisors, in short: each really supervises, or it is an error; the same rules refuse the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.filters import filter_of
from bench.grid import Grid, Measure
from bench.measure import BenchError
from bench.rows import HERE, PROGRAMS, build
from bench.supervisors import (
    ARGUMENT,
    ASKED,
    CALLS,
    DECISIONS,
    EVERY,
    NOBODY,
    PLACE,
    POLICIES,
    RULES,
    STARTS,
    calls,
    comparison,
    decisions,
    filtered,
    jails,
    policies,
    starts,
    whole,
)

pytestmark = pytest.mark.xdist_group("bench")  # compiled once, and not measured by two at once

ROOT = Path(__file__).resolve().parent.parent.parent

@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bench")
    build(directory)
    return directory


@pytest.fixture(scope="module")
def torov(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tree's own torov as one command."""
    script = tmp_path_factory.mktemp("command") / "torov"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m torov "$@"\n')
    script.chmod(0o755)
    return str(script)


def supervised(programs: Path, *mode: str) -> tuple[str, ...]:
    return (str(programs / "supervise"), *mode)


@pytest.mark.parametrize("mode", ["ptrace", "notify"])
@pytest.mark.parametrize("call", [*CALLS, "connect"])
def test_a_supervisor_refuses(programs: Path, mode: str, call: str) -> None:
    ns, _ = calls(str(programs / "calls"), supervised(programs, mode), call, 100, EVERY)()
    assert ns > 0


@pytest.mark.parametrize("mode", ["plain", "ptrace", "notify"])
def test_a_supervisor_has_its_programs_status_and_children(programs: Path, mode: str) -> None:
    def status(script: str) -> int:
        command = (*supervised(programs, mode), "/bin/sh", "-c", script)
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode

    assert status("exit 3") == 3
    assert status("kill -TERM $$") == 128 + 15
    assert status("trap 'exit 4' USR1; kill -USR1 $$") == 4
    assert status('test "$(echo $(cat /etc/hostname) | wc -l)" = 1') == 0
    assert status("(exit 5) & wait $!") == 5


def test_what_is_not_supervised_is_an_error(programs: Path) -> None:
    with pytest.raises(BenchError, match=f"expected {EVERY}"):
        calls(str(programs / "calls"), supervised(programs, "plain"), "read", 100, EVERY)()
    with pytest.raises(BenchError, match="expected 2 words, got 1"):
        whole(supervised(programs, "plain"), "/bin/echo", ("one",), 2)()


def outcomes(program: str, before: tuple[str, ...]) -> dict[str, str]:
    """What becomes of the calls that may be refused, by the timed call."""
    found = {}
    for call in (*CALLS, "connect"):
        command = (*before, program, *(("--",) if "exec" in before else ()), call, "1")
        found[call] = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()[2]
    return found


@pytest.mark.kvm
@pytest.mark.parametrize("name", ["unconditional", "one", "ten"])
def test_the_same_rules_refuse_the_same_by_seccomp_and_by_torov(programs: Path, torov: str, tmp_path: Path, name: str) -> None:
    file = tmp_path / "filter"
    file.write_bytes(filter_of(POLICIES / f"{name}.json"))
    program = str(programs / "calls")
    natively = outcomes(program, supervised(programs, "filter", str(file)))
    assert natively == outcomes(program, (torov, "exec", "--quiet", "--policy", str(POLICIES / f"{name}.json")))
    assert set(natively.values()) == {"unconditional": {EVERY}, "one": {EVERY, ARGUMENT}, "ten": {EVERY, ARGUMENT}}[name]


@pytest.mark.parametrize("name", ["path", "address"])
def test_what_a_filter_cannot_say_is_an_error(name: str) -> None:
    with pytest.raises(BenchError, match="cannot"):
        filter_of(POLICIES / f"{name}.json")


@pytest.mark.kvm
def test_every_cell_of_the_comparison_runs(programs: Path, torov: str) -> None:
    grid = comparison(programs, torov, share=0.02)
    grid.round(0)
    assert {f"native, {way}" for way in ("ptrace", "user notification")} < set(grid.lines)
    assert ("native, strace -f" in grid.lines) == (shutil.which("strace") is not None)
    assert len(grid.done[0]) == len(grid.lines) * len(grid.columns)
    # a filter is cheaper than a second process that is asked, by an order of magnitude
    filtered = grid.median("native, seccomp filter", "getppid")
    asked = grid.median("native, ptrace", "getppid")
    assert filtered is not None and asked is not None and filtered * 3 < asked


@pytest.mark.kvm
def test_every_policy_of_the_grid_refuses_what_it_should(programs: Path, torov: str) -> None:
    grid = policies(programs, torov, count=50)
    grid.round(1)
    assert len(grid.done[0]) == len(ASKED) + sum(len(expect) for _, _, _, expect in RULES)
    assert {word for _, _, _, expect in RULES for word in expect.values()} == {EVERY, ARGUMENT, PLACE} != {NOBODY}


@pytest.mark.kvm
def test_the_filter_on_the_monitor(programs: Path, torov: str) -> None:
    (row,) = filtered(programs, torov, count=100)
    row.round(swap=False)
    assert min(row.medians()) > 0 and row.met() is None


def test_decisions_alone(programs: Path) -> None:
    rows = decisions(programs, count=200_000)
    for row in rows:
        row.round(swap=False)
    assert len(rows) == len(DECISIONS)
    assert all(0 < ours < 20_000 for row in rows for ours in row.medians())  # generous: a busy machine


@pytest.mark.kvm
def test_starts(torov: str, programs: Path) -> None:
    rows = starts(torov, str(programs / "work"), times=1)
    for row in rows:
        row.round(swap=True)
    assert len(rows) == 2 * len(STARTS)
    began = {row.name.partition(": ")[2]: row.medians() for row in rows if row.name.startswith("start")}
    whole = {row.name.partition(": ")[2]: row.medians() for row in rows if row.name.startswith("whole")}
    assert all(0 < began[name][side] < 10e9 > whole[name][side] for name in began for side in (0, 1))


@pytest.mark.kvm
@pytest.mark.parametrize("what", ["make", "landlock", "filters", "end"])
def test_parts_of_a_jail(what: str) -> None:
    command = [sys.executable, "-m", "bench.jailed", what, "1", "jail"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    assert 0 < float(done.stdout) < 10e9
    assert what in jails(sys.executable).columns


def test_a_grid_takes_each_cell_once_a_round_and_compares_with_the_first_line() -> None:
    order: list[str] = []

    def cell(name: str, *values: float) -> Measure:
        source = iter(values)

        def measure() -> tuple[float, float]:
            order.append(name)
            value = next(source)
            return value, value - 1

        return measure

    lines: dict[str, tuple[Measure | None, ...]] = {
        "first": (cell("a", 10, 100, 20),),
        "second": (cell("b", 11, 130, 20),),
        "third": (None,),
    }
    grid = Grid("things", ("time",), lines)
    for count in range(3):
        grid.round(count)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert grid.median("first", "time") == 20 and grid.median("second", "time") == 20
    assert grid.more("second", "time") == 1 and grid.more("first", "time") == 0
    assert grid.median("third", "time") is None and grid.more("third", "time") is None
    chosen = grid.only("second")
    assert chosen is not None and list(chosen.lines) == ["first", "second"]
    assert grid.only("thing") is grid and grid.only("fourth") is None


def test_the_programs_are_all_there() -> None:
    assert all((HERE / f"{name}.c").is_file() for name in PROGRAMS)
