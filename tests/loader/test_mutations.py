"""2,000 mutated programs through loader and rewriter: each loads or gets one line, none hangs or crashes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import mutations
import pytest
from support import HELLO_C, HELLO_S, Compiler

COPIES, BATCH = 2000, 250
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def sources(cc: Compiler) -> list[str]:
    """The programs that are mutated; the small ones more often, for the time it takes."""
    small = [
        cc(HELLO_C, "musl"),
        cc(HELLO_S, "bare"),
        cc(HELLO_C, "musl", "-s"),
        cc(HELLO_S, "bare", "-Wl,-z,noseparate-code"),
    ]
    return [str(path) for path in (*small, cc(HELLO_C, "glibc"), cc(HELLO_C, "pie"))]


def run(first: int, last: int, sources: list[str]) -> list[str]:
    """The lines of a batch, after a check that its process came to its end."""
    done = subprocess.run(
        [sys.executable, mutations.__file__, str(first), str(last), *sources],
        capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=280,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    culprit = f"copy {lines[-1] if lines else first}: status {done.returncode}\n{done.stderr}"
    assert (done.returncode, done.stderr, len(lines)) == (0, "", last - first), culprit
    return lines


@pytest.mark.parametrize("first", range(0, COPIES, BATCH))
def test_each_loads_or_gets_one_line(first: int, sources: list[str]) -> None:
    lines = run(first, first + BATCH, sources)
    outcomes = Counter(line.split(" ", 2)[1] for line in lines)
    assert outcomes.keys() <= {"ok", "loader", "rewriter"}
    # the mutations are neither all fatal nor all harmless
    assert outcomes["ok"] > BATCH // 10
    assert outcomes["loader"] > BATCH // 10


def test_every_mutator_changes_something(sources: list[str]) -> None:
    data = [Path(source).read_bytes() for source in sources]
    changed: Counter[int] = Counter()
    for seed in range(len(data) * len(mutations.MUTATORS) * 3):
        kind = seed // len(data) % len(mutations.MUTATORS)
        changed[kind] += mutations.mutate(seed, data) != data[seed % len(data)]
        assert mutations.mutate(seed, data) == mutations.mutate(seed, data)
    assert changed.keys() == set(range(len(mutations.MUTATORS)))
    assert min(changed.values()) > 0


def test_a_hang_and_a_crash_would_be_seen(sources: list[str], tmp_path: Path) -> None:
    """The harness itself: a loader that never returns, one that dies, and one with a bug."""
    for body, status in (("while True: pass", -14), ("import os; os.abort()", -6), ("raise KeyError(1)", 1)):
        package = tmp_path / body[:5] / "sitecustomize.py"
        package.parent.mkdir()
        package.write_text(
            f"import torov.loader.elf\ndef load(path):\n    {body}\ntorov.loader.elf.load = load\n"
        )
        done = subprocess.run(
            [sys.executable, mutations.__file__, "7", "9", *sources],
            capture_output=True, text=True, check=False, timeout=60,
            env={"PYTHONPATH": f"{package.parent}:{ROOT}"},
        )  # fmt: skip
        assert done.returncode == status
        assert done.stdout == "7 "
