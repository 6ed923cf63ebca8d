"""``torov profile``: run a program many times, and say how long it takes."""

from __future__ import annotations

import os
import shutil

from torov.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torov.profile import Histogram, Ratio, Subject

_EPILOG = """\
Everything after -- is the program's. Exit status: 0; that of the program, if a run failed; 125 if torov itself fails.

Examples:
  torov profile -n 1000 ./hello
  torov profile ./hello --native --png hello.png
  torov profile ./old --compare ./new -- --size 100
  torov profile HelloWorld.json --json > times.json
"""


def add(parser: Any) -> Callable[[Any, list[str]], int]:
    """Add the options of ``torov profile``.

    Args:
        parser: its ArgumentParser.

    Returns:
        What is called with the options that were read and the program's arguments; it returns the exit status.
    """
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="FILE", help="the program, or ToroV's configuration (FILE.json), which names it")
    parser.add_argument("-n", "--runs", metavar="N", type=int, default=100, help="how many runs are measured (100)")
    parser.add_argument("-w", "--warm-up", metavar="N", type=int, default=3, help="how many come before, and do not count (3)")
    parser.add_argument("-p", "--policy", metavar="FILE", help="the policy under which torov runs the program")
    parser.add_argument("--native", action="store_true", help="compare with the program as the host's kernel runs it")
    parser.add_argument("--compare", metavar="OTHER", help="compare with another program, same arguments")
    parser.add_argument("-o", "--png", metavar="FILE", help="draw the histogram (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print all times and what they come to as JSON")
    parser.add_argument("-i", "--ignore-failure", action="store_true", help="go on if a run ends with another status than 0")
    return _profile


def _profile(options: Any, args: list[str]) -> int:
    from torov import profile, report

    if options.runs < 1 or options.warm_up < 0:
        raise UsageError(f"-n {options.runs} -w {options.warm_up}: expected at least one run, and no less than none before")
    if options.native and options.compare:
        raise UsageError("--native and --compare are both comparisons: give one of them")
    if options.png:
        from torov import figure

        figure.needed()
        if not os.path.isdir(os.path.dirname(options.png) or "."):
            raise UsageError(f"--png {options.png}: no such directory")
    subjects = [_guest(options.file, options.policy, args)]
    if options.native:
        program = _native(options.file)
        subjects[0].name += " (torov)"
        subjects.append(profile.Subject(f"{options.file} (native)", [program, *args], False))
    elif options.compare:
        subjects.append(_guest(options.compare, options.policy, args))
    each = (options.runs + options.warm_up) * len(subjects)
    with report.progress(f"{options.runs} runs", each) as step:
        profile.measure(subjects, options.runs, options.warm_up, options.ignore_failure, step)
    made = [profile.Histogram(subject.total) for subject in subjects]
    ratio = profile.Ratio(subjects[0].total, subjects[1].total) if len(subjects) > 1 else None
    if options.png:
        figure.histograms(subjects, made, options.png)
    if options.json:
        import json

        report.print_text(json.dumps(profile.document(subjects, options.warm_up, made, ratio)))
    else:
        _show(subjects, made, ratio)
    return 0


def _guest(file: str, policy: str | None, args: list[str]) -> Subject:
    from torov.profile import Subject, torov_command

    if not os.path.isfile(file):
        raise NotFound(file)
    words = [*torov_command(), "exec", "--quiet", "--times", "3", *(["--policy", policy] if policy else [])]
    if file.endswith(".json"):
        if policy:
            raise UsageError(f"{file} is a policy, too: leave --policy out")
        return Subject(file, [*words, "--config", file, "--", *args], True)
    return Subject(file, [*words, file, "--", *args], True)


def _native(file: str) -> str:
    """The program of FILE, as a path."""
    if not file.endswith(".json"):
        found = os.path.join(".", file) if os.sep not in file else file
    else:
        from torov.policy import load

        binary = load(file).binary
        if binary is None:
            raise UsageError(f'{file}: no "Binary", so there is nothing to run natively')
        found = os.path.join(os.path.dirname(file), binary)
    if not os.access(found, os.X_OK):
        raise NotFound(found, "no file that can be executed")
    return found


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.3f}"


def _show(subjects: list[Subject], made: list[Histogram], ratio: Ratio | None) -> None:
    from torov import profile, report

    rows = []
    for subject in subjects:
        for name, values in (("total", subject.total), ("boot", subject.boot), ("run", subject.run)):
            if values:
                found = profile.summary(values)
                keys = ("median", "mean", "deviation", "min", "p90", "p99", "max")
                rows.append((subject.name if name == "total" else "", name, *(_ms(found[key]) for key in keys)))
    columns = ("program", "ms", "median", "mean", "deviation", "min", "p90", "p99", "max")
    failed = "".join(f"; {subject.failed} of {subject.name} failed" for subject in subjects if subject.failed)
    report.print_table(columns, rows, f"{len(subjects[0].total)} runs{failed}")
    wide = max(20, shutil.get_terminal_size((80, 24)).columns - 30)
    for subject, histogram in zip(subjects, made, strict=True):
        report.print_text(f"\n{subject.name}, ms:" if len(subjects) > 1 else "")
        step = max(1, -(-len(histogram.counts) // 20))  # rows that a screen holds
        sums = [sum(histogram.counts[at : at + step]) for at in range(0, len(histogram.counts), step)]
        for index, count in enumerate(sums):
            above = "+" if histogram.open and index == len(sums) - 1 else " "
            bar = "█" * round(count / max(sums) * wide) or ("▏" if count else "")
            report.print_text(f"{_ms(histogram.edges[index * step]):>12}{above} {bar} {count}")
    if ratio is not None:
        report.print_text(f"\n{subjects[0].name} takes {ratio.says()} as {subjects[1].name}")
