"""Many runs of a program and what they come to: how long each took, from the start of its process to its end.

A run is a process of its own, as a user starts it. Where torov runs the program, the time until the guest's first instruction
(boot) and from there to its end (run) are told apart; times are CLOCK_MONOTONIC. Subjects take turns, so that a machine that
becomes slower or faster does so for all of them.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import struct
import sys
import time

from torov.errors import NotFound, TorovError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PERCENTILES = (50, 90, 99)
MOST_BINS = 60
_TIMES = struct.Struct("<QQ")  # cli_exec.py: first instruction and end, CLOCK_MONOTONIC in ns; 0: not known


class FailedRun(TorovError):
    """A run that ended with another status than 0.

    Args:
        subject: name of what ran.
        number: of the run, from 1.
        status: as a shell shows it: 128 + n after signal n.
        said: what it left on standard error.
    """

    def __init__(self, subject: str, number: int, status: int, said: str) -> None:
        how = f"ended by signal {status - 128}" if status > 128 else f"ended with exit status {status}"
        last = f": {said.strip().splitlines()[-1]}" if said.strip() else ""
        super().__init__(f"{subject}: run {number} {how}{last} (--ignore-failure goes on)")
        self.subject, self.number, self.status, self.said, self.exit_status = subject, number, status, said, status


class Subject:
    """What is measured.

    Args:
        name: for people.
        command: its words; the first is a path.
        timed: it is ``torov exec``, and can say when the guest began and ended.

    Fields:
        total, boot, run: nanoseconds of each measured run; boot and run are empty where they are not known.
        failed: how many of them ended with another status than 0.
    """

    __slots__ = ("boot", "command", "failed", "name", "run", "timed", "total")

    def __init__(self, name: str, command: Sequence[str], timed: bool) -> None:
        self.name, self.command, self.timed = name, [*command], timed
        self.total: list[int] = []
        self.boot: list[int] = []
        self.run: list[int] = []
        self.failed = 0


def torov_command() -> list[str]:
    """The command that runs torov, as this process was started."""
    own = os.path.abspath(sys.argv[0])
    if os.path.basename(own) == "torov" and os.access(own, os.X_OK):
        return [own]
    return [sys.executable, "-m", "torov"]


def measure(
    subjects: Sequence[Subject], count: int, warm_up: int, ignore: bool = False, done: Callable[[], None] | None = None
) -> None:
    """Run them in turn, and note how long it took.

    Args:
        subjects: are filled in.
        count, warm_up: runs of each that are measured, and that come before.
        ignore: a run that fails counts like any other.
        done: called after each run.

    Raises:
        FailedRun: a run failed.
        NotFound: a command is not there.
    """
    with os.fdopen(os.memfd_create("torov-times"), "r+b", 0) as times, os.fdopen(os.memfd_create("torov-said"), "r+b", 0) as said:
        for number in range(1 - warm_up, count + 1):
            for subject in subjects:
                status = _once(subject, times.fileno(), said.fileno(), number > 0)
                if status and not ignore:
                    said.seek(0)
                    raise FailedRun(subject.name, number + warm_up, status, said.read(1 << 16).decode(errors="replace"))
                if done is not None:
                    done()


def _once(subject: Subject, times: int, said: int, counts: bool) -> int:
    os.pwrite(times, bytes(_TIMES.size), 0)
    os.ftruncate(said, 0)
    command = subject.command
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
               (os.POSIX_SPAWN_DUP2, said, 2)]  # fmt: skip
    if subject.timed:
        actions.append((os.POSIX_SPAWN_DUP2, times, 3))
    os.lseek(said, 0, 0)
    began = time.monotonic_ns()
    try:
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    except OSError as error:
        raise NotFound(command[0], os.strerror(error.errno or 0)) from None
    try:
        status = os.waitpid(pid, 0)[1]
    except KeyboardInterrupt:  # the terminal has told it, too
        os.waitpid(pid, 0)
        raise
    ended = time.monotonic_ns()
    code = os.waitstatus_to_exitcode(status)
    code = 128 - code if code < 0 else code
    if counts:
        first, last = _TIMES.unpack(os.pread(times, _TIMES.size, 0))
        subject.total.append(ended - began)
        subject.failed += code != 0
        if began <= first <= last <= ended:
            subject.boot.append(first - began)
            subject.run.append(last - first)
    return code


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile, between two neighbours by the straight line (method 7 of Hyndman and Fan, as numpy's).

    Args:
        values: sorted, not empty.
        percent: 0 to 100.
    """
    at = (len(values) - 1) * percent / 100
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def summary(values: Sequence[int]) -> dict[str, float]:
    """What a list of times comes to: count, mean, median, deviation (of a sample), min, max, p50, p90, p99; in its unit."""
    ordered = sorted(values)
    found: dict[str, float] = {
        "count": len(ordered),
        "mean": statistics.fmean(ordered),
        "median": statistics.median(ordered),
        "deviation": statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        "min": ordered[0],
        "max": ordered[-1],
    }
    found.update({f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES})
    return found


class Histogram:
    """Times in bins of one width; the last has all that is above, too, where a few runs took very much longer.

    Args:
        values: times, not empty.

    Fields:
        edges: one more than bins, in the unit of the times.
        counts: a number for each bin.
        open: there are times above the last edge.
    """

    __slots__ = ("counts", "edges", "open")

    def __init__(self, values: Sequence[int]) -> None:
        ordered = sorted(values)
        low, high = ordered[0], ordered[-1]
        cut = high if high - low <= 3 * (percentile(ordered, 95) - low) else percentile(ordered, 99)
        spread = percentile(ordered, 75) - percentile(ordered, 25)  # Freedman and Diaconis
        width = 2 * spread / len(ordered) ** (1 / 3) or (cut - low) / 10 or 1.0
        bins = max(1, min(MOST_BINS, math.ceil((cut - low) / width)))
        width = (cut - low) / bins or 1.0
        self.edges = [low + width * index for index in range(bins + 1)]
        self.open = high > max(cut, self.edges[-1])
        self.counts = [0] * bins
        for value in ordered:
            self.counts[min(bins - 1, int((value - low) / width))] += 1


class Ratio:
    """How the medians of two subjects compare.

    Fields:
        ratio: median of the first over median of the second.
        low, high: its confidence interval of 95% (percentile bootstrap, 2000 samples of fixed seed).
    """

    __slots__ = ("high", "low", "ratio")

    def __init__(self, first: Sequence[int], second: Sequence[int], samples: int = 2000) -> None:
        draw = random.Random(1)
        self.ratio = statistics.median(first) / statistics.median(second)
        found = sorted(
            statistics.median(draw.choices(first, k=len(first))) / statistics.median(draw.choices(second, k=len(second)))
            for _ in range(samples)
        )
        self.low, self.high = percentile(found, 2.5), percentile(found, 97.5)

    def says(self) -> str:
        """``1.52 times as long (95% confidence: 1.48 to 1.57)``."""
        return f"{self.ratio:.3g} times as long (95% confidence: {self.low:.3g} to {self.high:.3g})"


def document(
    subjects: Sequence[Subject], warm_up: int, histograms: Sequence[Histogram], ratio: Ratio | None
) -> dict[str, object]:
    """All of it as plain values for JSON; times in nanoseconds.

    Args:
        subjects: measured ones.
        warm_up: runs that were left out.
        histograms, ratio: of their totals; None where there is nothing to compare.
    """
    found: list[dict[str, object]] = []
    for subject, histogram in zip(subjects, histograms, strict=True):
        phases = {"total": subject.total, "boot": subject.boot, "run": subject.run}
        found.append(
            {
                "name": subject.name,
                "command": subject.command,
                "failed": subject.failed,
                "times": {name: values for name, values in phases.items() if values},
                "summary": {name: summary(values) for name, values in phases.items() if values},
                "histogram": {"edges": histogram.edges, "counts": histogram.counts, "open": histogram.open},
            }
        )
    made: dict[str, object] = {
        "unit": "ns",
        "warm_up": warm_up,
        "edges": histogram.edges,
        "open": histogram.open,
        "subjects": found,
    }
    if ratio is not None:
        made["ratio"] = {"median": ratio.ratio, "low": ratio.low, "high": ratio.high}
    return made
