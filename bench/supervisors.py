"""torov beside the other ways to see and refuse system calls, and what a policy, a filter and a jail cost.

Every measurement of a supervised program also shows that it was supervised: what must be refused was, or it is an error.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.filters import filter_of
from bench.grid import Grid, Measure
from bench.measure import BenchError, Row, Sample, output, printed, reached, timed
from torov import corpus
from torov.jail import SPACES
from torov.policy import Policy, load
from torov.syscalls import by_name

POLICIES = Path(__file__).resolve().parent / "policies"
NOBODY, EVERY, ARGUMENT, PLACE = "0,0,0", "EXDEV,0,0", "EXDEV,EACCES,0", "EXDEV,0,EACCES"
"""What becomes of the three calls that calls.c asks about: nobody refuses; the first, under any rules; those with conditions."""
CALLS = ("getppid", "read", "open", "stat")
HEADS = ("getppid", "read 1 byte", "open + close", "stat")


@dataclass(frozen=True)
class Contender:
    """A way to run a program.

    Fields:
        name: of its line.
        before: words of the command before the program and its arguments.
        sees: what becomes of the three calls that calls.c asks about.
        count: how many calls to time.
    """

    name: str
    before: tuple[str, ...]
    sees: str
    count: int


def calls(program: str, before: Sequence[str], call: str, count: int, expect: str) -> Measure:
    """A measurement by calls.c.

    Args:
        program: the compiled calls.c.
        before: words before the program.
        call: which one to time; count: how often.
        expect: what must become of the three calls that may be refused.

    Returns:
        The measurement; it raises BenchError if anything else becomes of them: nobody supervised, or too much.
    """
    command = (*before, program, *(("--",) if "exec" in before else ()), call, str(count))

    def measure() -> tuple[float, float]:
        words = output(command).split()
        if len(words) != 3 or words[2] != expect:
            raise BenchError(f"{' '.join(command)}: expected {expect} behind the times, got {' '.join(words)!r}")
        return float(words[0]), float(words[1])

    return measure


def whole(before: Sequence[str], program: str, arguments: Sequence[str], expect: int) -> Measure:
    """A measurement of a whole run, whose output must have that many words."""
    command = (*before, program, *(("--",) if "exec" in before else ()), *arguments)

    def measure() -> tuple[float, float]:
        start = time.perf_counter_ns()
        words = output(command).split()
        took = time.perf_counter_ns() - start
        if len(words) != expect:
            raise BenchError(f"{' '.join(command)}: expected {expect} words, got {len(words)}")
        return took, took

    return measure


def busybox() -> str | None:
    """A static busybox: that of the corpus, or the machine's."""
    known = corpus.cache_dir() / "busybox"
    return str(known) if known.is_file() else shutil.which("busybox")


def tree(directory: Path, files: int = 500) -> str:
    """Files to search through, 8 KiB each; the word stands in one of ten. The path of the tree."""
    root = directory / "tree"
    for number in range(files):
        path = root / f"{number % 20:02}" / f"{number:04}.txt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"line {line} of file {number}" for line in range(400)]
            lines[200] = "the needle" if number % 10 == 0 else lines[200]
            path.write_text("\n".join(lines)[:8192])
    return str(root)


def comparison(directory: Path, torov: str, share: float = 1) -> Grid:
    """The same program under each supervisor, by the same rules where it knows rules (policies/one.json).

    Args:
        directory: of the compiled programs.
        torov: the installed command.
        share: of the usual number of calls.
    """
    program, supervise, policy = str(directory / "calls"), str(directory / "supervise"), str(POLICIES / "one.json")
    rules = directory / "one.filter"
    rules.write_bytes(filter_of(POLICIES / "one.json"))
    exec_ = (torov, "exec", "--quiet")
    found = [
        Contender("native", (supervise, "plain"), NOBODY, 50_000),
        Contender("native, seccomp filter", (supervise, "filter", str(rules)), ARGUMENT, 50_000),
        Contender("native, user notification", (supervise, "notify"), EVERY, 3_000),
        Contender("native, ptrace", (supervise, "ptrace"), EVERY, 1_500),
    ]
    strace = shutil.which("strace")
    if strace:
        quiet = (supervise, "plain", strace, "-f", "-qq", "-o", "/dev/null", "-e", "inject=sched_yield:error=EXDEV")
        found.append(Contender("native, strace -f", quiet, EVERY, 1_000))
    found += [
        Contender("torov, built-in policy", exec_, NOBODY, 1_500),
        Contender("torov, the rules", (*exec_, "--policy", policy), ARGUMENT, 1_500),
        Contender("torov, rules, --no-seccomp", (*exec_, "--policy", policy, "--no-seccomp"), ARGUMENT, 1_500),
    ]
    search = busybox()
    root = tree(directory) if search else ""
    lines: dict[str, tuple[Measure | None, ...]] = {}
    for way in found:
        plain = EVERY if way.sees == ARGUMENT else way.sees  # getppid has no arguments
        count = max(1, int(way.count * share))
        line = [calls(program, way.before, call, count, plain if call == "getppid" else way.sees) for call in CALLS]
        line.append(whole(way.before, str(directory / "work"), ("sha256", "20"), 2))
        if search:
            line.append(whole(way.before, search, ("grep", "-rl", "needle", root), 50))
        lines[way.name] = tuple(line)
    return Grid("supervisors", (*HEADS, "sha256", *(("grep -r",) if search else ())), lines)


ASKED = ("read", "open", "stat", "connect")
RULES: tuple[tuple[str, str, tuple[str, ...], dict[str, str]], ...] = (
    ("unconditional rules", "unconditional", (), dict.fromkeys(ASKED, EVERY)),
    ("one rule with a condition", "one", (), {"read": ARGUMENT, "open": ARGUMENT, "stat": ARGUMENT}),
    ("ten rules with conditions", "ten", (), {"read": ARGUMENT}),
    ("a path condition", "path", (), {"open": PLACE, "stat": PLACE}),
    ("an address condition", "address", (), {"connect": PLACE}),
    ("logged (--audit)", "log", ("--audit", "/dev/null"), {"read": EVERY}),
)
"""Lines of the policy grid: name, policy, options, and by call what becomes of the three that calls.c asks about."""


def policies(directory: Path, torov: str, count: int = 4_000) -> Grid:
    """The same calls under several policies, by what each needs more than under the built-in one.

    What all calls of a run need more, calls.c takes for the machine's mood; filtered() is about that.

    Args:
        directory, torov: as comparison().
        count: calls a measurement.
    """
    program, exec_ = str(directory / "calls"), (torov, "exec", "--quiet", "--no-seccomp")
    lines: dict[str, tuple[Measure | None, ...]] = {
        "built-in policy": tuple(calls(program, exec_, call, count, NOBODY) for call in ASKED)
    }
    for name, policy, options, expect in RULES:
        before = (*exec_, "--policy", str(POLICIES / f"{policy}.json"), *options)
        lines[name] = tuple(calls(program, before, call, count, expect[call]) if call in expect else None for call in ASKED)
    return Grid("policies", (*HEADS[1:], "connect"), lines, differences=True)


def filtered(directory: Path, torov: str, count: int = 20_000) -> list[Row]:
    """What the filter on the monitor's own calls adds to each of the program's: arguments as policies()."""
    program, exec_ = str(directory / "calls"), (torov, "exec", "--quiet", "--policy", str(POLICIES / "unconditional.json"))

    def getppid(before: Sequence[str]) -> Sample:
        measure = calls(program, before, "getppid", count, EVERY)
        return lambda: measure()[0]

    base, ours = getppid((*exec_, "--no-seccomp")), getppid(exec_)
    return [Row("getppid, the monitor's filter", "--no-seccomp", base, ours, added=True)]


def _compiled(directory: Path, name: str) -> tuple[Policy, str]:
    policy = load(str(POLICIES / f"{name}.json"))
    path = directory / f"{name}.policy"
    path.write_bytes(policy.actions + policy.program)
    return policy, str(path)


DECISIONS = (
    ("one condition", "one", "read", "0 0 1"),
    ("ten conditions", "ten", "read", "0 0 1"),
    ("three path patterns, resolved", "path", "openat", "0 0 0"),
    ("an address", "address", "connect", "0 0 16"),
)
"""Rows of decisions: name, policy, call, and its arguments while it is timed; all are allowed."""


def decisions(directory: Path, count: int = 2_000_000) -> list[Row]:
    """What the core needs to decide, alone (decide.c): at most 0.2 us more than a call without conditions.

    Args:
        directory: of the compiled programs; compiled policies go there, too.
        count: decisions a measurement.
    """
    decide = str(directory / "decide")
    _, plain = _compiled(directory, "unconditional")
    found = []
    for name, policy, call, arguments in DECISIONS:
        row, (_, file) = by_name(call), _compiled(directory, policy)
        if row is None:
            raise BenchError(f"{call}: no such call")
        words = (str(row.nr), str(count), *arguments.split())
        base, ours = printed(decide, plain, *words, expect="0"), printed(decide, file, *words, expect="0")
        found.append(Row(f"decision: {name}", "an unconditional rule", base, ours, extra=200))
    return found


STARTS: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("a policy", ("--no-seccomp", "--policy", "one"), None),
    ("a policy, the monitor's filter", ("--policy", "one"), None),
    ("--jail", ("--jail", "--no-seccomp"), None),
    ("--jail, the monitor's filter", ("--jail",), 5e6),
    ("a policy with jail and limits, the filter", ("--policy", "jail"), 5e6),
)
"""Rows of starts: name, options of torov exec, and the target, ns."""


def starts(torov: str, work: str, times: int = 5) -> list[Row]:
    """What the isolation adds to ``torov exec``, until the program begins, and to a whole run of one that does nothing else.

    Args:
        torov: the installed command.
        work: the program (work.c).
        times: runs a measurement.
    """
    found, does = [], (work, "--", "began", "1")
    for name, words, extra in STARTS:
        options = [str(POLICIES / f"{word}.json") if not word.startswith("-") else word for word in words]
        output([torov, "exec", *options, *does])  # from here on the compiled policy and its filters are in the cache
        base, ours = reached(torov, "exec", *does, times=times), reached(torov, "exec", *options, *does, times=times)
        found.append(Row(f"start: {name}", "torov exec", base, ours, extra=extra, added=True))
        base, ours = timed(torov, "exec", *does, times=times), timed(torov, "exec", *options, *does, times=times)
        found.append(Row(f"whole run: {name}", "torov exec", base, ours, added=True))
    return found


def jails(python: str, times: int = 15) -> Grid:
    """How long the parts of a jail take, each namespace alone and all of --jail.

    Args:
        python: the interpreter that runs torov.
        times: jails a measurement.
    """
    script, columns = str(Path(__file__).resolve().parent / "jailed.py"), ("make", "landlock", "filters", "end")

    def part(what: str, words: Sequence[str]) -> Measure:
        sample = printed(python, "-I", script, what, str(times), *words)

        def measure() -> tuple[float, float]:
            took = sample()
            return took, took

        return measure

    parts = {"supervisor alone": (), **{f"and a {name} namespace": (name,) for name in SPACES}, "all of --jail": ("jail",)}
    return Grid("parts of a jail", columns, {name: tuple(part(what, words) for what in columns) for name, words in parts.items()})
