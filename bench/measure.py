"""Samples: two commands by turns, so that a machine that slows down slows down both."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Sample = Callable[[], float]
"""One measurement, in nanoseconds."""


class BenchError(Exception):
    """A command of a benchmark failed; the text is for the user."""


@dataclass
class Row:
    """One comparison.

    Fields:
        name: what is measured.
        against: what the baseline is.
        baseline, torov: one sample of each; a round takes both.
        ratio: highest torov / baseline that meets the target, or None.
        extra: highest torov - baseline in nanoseconds that meets the target, or None.
        added: without a target, the difference is what to show, not the ratio.
        rounds: the samples so far, as (baseline, torov).
    """

    name: str
    against: str
    baseline: Sample
    torov: Sample
    ratio: float | None = None
    extra: float | None = None
    added: bool = False
    rounds: list[tuple[float, float]] = field(default_factory=list)

    def round(self, swap: bool) -> None:
        """Take both samples; swap: torov's first."""
        if swap:
            second, first = self.torov(), self.baseline()
        else:
            first, second = self.baseline(), self.torov()
        self.rounds.append((first, second))

    def medians(self) -> tuple[float, float]:
        """Median of the baseline and of torov, ns."""
        return statistics.median(a for a, _ in self.rounds), statistics.median(b for _, b in self.rounds)

    def median_ratio(self) -> float:
        """Median over the rounds of torov / baseline: what both saw of the machine's mood cancels out."""
        return statistics.median(b / a for a, b in self.rounds)

    def median_extra(self) -> float:
        """Median over the rounds of torov - baseline, ns."""
        return statistics.median(b - a for a, b in self.rounds)

    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.ratio is not None:
            return self.median_ratio() <= self.ratio
        if self.extra is not None:
            return self.median_extra() <= self.extra
        return None


def output(command: Sequence[str]) -> str:
    """Run a command and return what it wrote.

    Raises:
        BenchError: it failed.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def printed(*command: str, expect: str | None = None, scale: float = 1) -> Sample:
    """A sample that a command prints itself.

    Args:
        command: prints a number of nanoseconds first.
        expect: what it must print behind the number, or None.
        scale: factor for the number.
    """

    def sample() -> float:
        words = output(command).split()
        if not words or (expect is not None and words[1:] != [expect]):
            raise BenchError(f"{' '.join(command)}: printed {' '.join(words)!r}")
        return float(words[0]) * scale

    return sample


def reached(*command: str, times: int = 1) -> Sample:
    """A sample from a command's start until its program begins, which prints CLOCK_MONOTONIC then; of several, the median."""

    def once() -> float:
        start = time.perf_counter_ns()
        return float(output(command)) - start

    return lambda: statistics.median(once() for _ in range(times))


def timed(*command: str, times: int = 1) -> Sample:
    """A sample of a command from its start to its end; of several, the median."""

    def once() -> float:
        start = time.perf_counter_ns()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        took = time.perf_counter_ns() - start
        if done.returncode:
            raise BenchError(f"{' '.join(command)}: status {done.returncode}")
        return took

    return lambda: statistics.median(once() for _ in range(times))
