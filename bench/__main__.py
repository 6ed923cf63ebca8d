"""python -m bench: the table of docs/benchmarks.md.

Exit status 0 whatever the figures say, 1 with --check if a target is missed, 2 if a benchmark cannot be run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.grid import Grid
from bench.measure import BenchError, Row, output
from bench.rows import build, rows
from bench.supervisors import comparison, decisions, filtered, jails, policies, starts

ROOT = Path(__file__).resolve().parent.parent


def span(ns: float) -> str:
    """Nanoseconds for people: three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def more(ns: float) -> str:
    """A difference."""
    return f"{'+' if ns >= 0 else ''}{span(ns)}"


def sheet(grid: Grid) -> Table:
    """The report of a grid: medians; where it is about differences, what each line needs more than the first."""
    first, title = next(iter(grid.lines)), f"{grid.title}: medians"
    view = Table(title=title + (", and what is more than in the first line" if grid.differences else ""))
    view.add_column("", no_wrap=True)
    for column in grid.columns:
        view.add_column(column, justify="right", no_wrap=True)
    for name in grid.lines:
        cells = []
        for column in grid.columns:
            value, extra = grid.median(name, column), grid.more(name, column)
            shown = more(extra) if grid.differences and extra is not None and name != first else span(value or 0)
            cells.append(shown if value is not None else "")
        view.add_row(name, *cells)
    return view


def table(done: list[Row]) -> Table:
    """The report."""
    view = Table(title="medians")
    for name in ("what", "against", "baseline", "torov", "ratio", "target", "met"):
        view.add_column(name, no_wrap=True, justify="left" if name in ("what", "against") else "right")
    for row in done:
        base, ours = row.medians()
        ratio, target = f"{row.median_ratio():.2f}", ""
        if row.ratio is not None:
            target = f"<= {row.ratio:.2f}"
        elif row.extra is not None:
            ratio, target = more(row.median_extra()), f"<= +{span(row.extra)}"
        elif row.added:
            ratio = more(row.median_extra())
        met = {True: "yes", False: "no", None: ""}[row.met()]
        view.add_row(row.name, row.against, span(base), span(ours), ratio, target, met)
    return view


def record(done: list[Row], grids: list[Grid]) -> dict[str, object]:
    """The report for programs, times in nanoseconds."""
    found = []
    for row in done:
        base, ours = row.medians()
        found.append({
            "name": row.name, "against": row.against, "baseline_ns": base, "torov_ns": ours,
            "ratio": row.median_ratio(), "extra_ns": row.median_extra(), "target_ratio": row.ratio,
            "target_extra_ns": row.extra, "met": row.met(), "rounds": row.rounds,
        })  # fmt: skip
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    host = {"kernel": platform.release(), "cpu": cpu, "cpus": os.cpu_count()}
    sheets = [
        {
            "name": grid.title, "columns": grid.columns,
            "lines": {name: {column: {"ns": grid.median(name, column), "more_ns": grid.more(name, column)}
                             for column in grid.columns} for name in grid.lines},
            "rounds": [{f"{name}: {column}": cell for (name, column), cell in found.items()} for found in grid.done],
        }
        for grid in grids
    ]  # fmt: skip
    return {"host": host, "python": platform.python_version(), "rows": found, "grids": sheets}


def installed(given: str | None) -> tuple[str, str]:
    """The torov command and the interpreter of its first line.

    Raises:
        BenchError: there is no such command, or it is not a script of an interpreter.
    """
    beside = Path(sys.executable).parent / "torov"
    torov = given or (str(beside) if beside.exists() else shutil.which("torov"))
    if torov is None or not Path(torov).is_file():
        raise BenchError("no installed torov: `make bench` installs it, or give --torov PATH")
    with open(torov, "rb") as file:
        first = file.readline().decode(errors="replace")
    python = first[2:].split()[0] if first.startswith("#!") and first[2:].split() else ""
    if not os.access(python, os.X_OK):
        raise BenchError(f"{torov}: expected an interpreter in its first line, got {first.strip()!r}")
    return os.path.abspath(torov), python


def main() -> int:
    """Run the benchmarks; see the module's text for the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of torov.")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each side of each row (default 9)")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name contains TEXT")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE too")
    parser.add_argument("--check", action="store_true", help="exit status 1 if a target is missed")
    parser.add_argument("--torov", metavar="PATH", help="the installed command (default: beside python)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: expected at least 1")
    console, programs, samples = Console(), ROOT / "build" / "bench", ROOT / "samples" / "bin"
    if not console.is_terminal:
        console.width = 120  # a log or a pipe has no width of its own
    try:
        torov, python = installed(options.torov)
        for hello in (samples / "HelloWorld_glibc", samples / "HelloWorld_musl"):
            if not hello.is_file():
                raise BenchError(f"{hello}: not there; `make samples` builds it")
            output([torov, "exec", str(hello)])  # its image is in the cache from here on
        build(programs)
        every = rows(programs, torov, python, samples) + filtered(programs, torov) + decisions(programs)
        every += starts(torov, str(programs / "work"))
        done = [row for row in every if (options.only or "") in row.name]
        whole = [comparison(programs, torov), policies(programs, torov), jails(python)]
        grids = [kept for grid in whole if (kept := grid.only(options.only or ""))]
        if not done and not grids:
            raise BenchError(f"no row has {options.only!r} in its name")
        with console.status("") as status:
            for count in range(options.rounds):
                for row in done:
                    status.update(f"round {count + 1} of {options.rounds}: {row.name}")
                    row.round(swap=count % 2 == 1)
                for grid in grids:
                    status.update(f"round {count + 1} of {options.rounds}: {grid.title}")
                    grid.round(count)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if done:
        console.print(table(done))
    for grid in grids:
        console.print(sheet(grid))
    if options.json:
        scratch = options.json.with_name(f".{options.json.name}.{os.getpid()}")
        scratch.write_text(json.dumps(record(done, grids), indent=1) + "\n")
        os.replace(scratch, options.json)
    return 1 if options.check and any(row.met() is False for row in done) else 0


if __name__ == "__main__":
    sys.exit(main())
