"""``torov corpus``: real programs natively and by torov, side by side (docs/corpus.md)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from torov.errors import TorovError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torov.corpus.binaries import Entry
    from torov.corpus.form import Case

_EPILOG = """\
WORD: a case, the beginning of names up to a /, a tag or a binary; -WORD leaves out (behind --).

Exit status of run: 0 if nothing differs but what is expected to; 1 if something does; 125 if torov itself fails.

Examples:
  torov corpus list
  torov corpus fetch
  torov corpus run -j 4 --html report.html
  torov corpus run busybox shell --baseline yesterday.json
  torov corpus run --on dask://10.0.0.1:8786
"""


_VERBS = {
    "list": "show the cases",
    "fetch": "get the binaries into the cache, and verify them",
    "patch": "look at every binary with the rewriter: verdicts, times, differences to golden data",
    "run": "run cases natively and by torov, and compare",
}
_COUNT: dict[str, Any] = {"metavar": "N", "type": int}
_FLAG: dict[str, Any] = {"action": "store_true"}
_FILE: dict[str, Any] = {"metavar": "FILE"}
_OPTIONS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    (
        "list fetch patch run",
        "--cases",
        {"metavar": "PATH", "action": "append", "default": []},
        "a case file or directory, not torov's own",
    ),
    ("list patch", "--json", _FLAG, "print JSON"),
    ("fetch", "--install", _FLAG, "install by apt-get what the distribution's own programs take"),
    ("run patch", "-j --jobs", {**_COUNT, "default": 0}, "how many at once; default: all CPUs"),
    ("run", "--on", {"metavar": "dask://HOST:PORT", "default": ""}, "run them on a Dask cluster"),
    ("run", "--time-limit", {"metavar": "SECONDS", "type": float, "default": 0}, "of each run; default: the case's own"),
    ("run", "--retries", {**_COUNT, "default": 0}, "run a case that differs again; it is then called flaky"),
    ("run", "--times", {**_COUNT, "default": 1}, "run each case so often; the shortest times count"),
    (
        "run",
        "--trace",
        {"choices": ("all", "differing", "none"), "default": "differing"},
        "which cases run once more for a trace",
    ),
    ("run", "--html", _FILE, "write one page with all of it"),
    ("run", "--junit", _FILE, "write JUnit XML"),
    ("run", "--json", _FILE, "write everything as JSON, for --baseline and scripts"),
    ("run", "--markdown", _FILE, "write the table of programs and ratios"),
    ("run", "--baseline", _FILE, "compare with the JSON of an earlier run"),
)
"""Verbs, option, what argparse is told, help."""


def add(parser: Any) -> Callable[[Any], int]:
    """Add the options of ``torov corpus``.

    Args:
        parser: its ArgumentParser.

    Returns:
        What is called with the options that were read; it returns the exit status.
    """
    parser.epilog = _EPILOG
    verbs = parser.add_subparsers(metavar="VERB", dest="what", required=True)
    made = {name: verbs.add_parser(name, help=text, description=text) for name, text in _VERBS.items()}
    for one in made.values():
        one.add_argument("words", metavar="WORD", nargs="*", help="which cases (or binaries); default: all")
    for names, option, words, text in _OPTIONS:
        for name in names.split():
            made[name].add_argument(*option.split(), help=text, **words)
    return lambda options: {"list": _list, "fetch": _fetch, "run": _run, "patch": _patch}[options.what](options)


def _cases(options: Any) -> list[Case]:
    from torov.corpus import form

    return form.chosen(form.read_cases([Path(path) for path in options.cases]), options.words)


def _jobs(options: Any) -> int:
    return int(options.jobs) or len(os.sched_getaffinity(0))


def _list(options: Any) -> int:
    from torov import report

    cases = _cases(options)
    if options.json:
        report.print_text(json.dumps([case.document() for case in cases]))
        return 0
    rows = [(case.name, case.binary or "/bin/sh", " ".join(case.tags), _one_line(case.about)) for case in cases]
    report.print_table(("case", "binary", "tags", "about"), rows)
    return 0


def _fetch(options: Any) -> int:
    from torov import report
    from torov.cli_exec import say
    from torov.corpus import packages
    from torov.corpus.binaries import CorpusError, packaged
    from torov.corpus.form import chosen, read_cases

    cases = read_cases([Path(path) for path in options.cases])
    entries = dict(packaged()) if not options.cases else {}
    for case in cases:
        entries |= case.binaries()
    wanted = dict(entries)
    if options.words:
        wanted = {name: entries[name] for name in options.words if name in entries}
        others = [word for word in options.words if word not in entries]
        for case in chosen(cases, others) if others else []:
            wanted |= case.binaries()
    status = 0
    if options.install:
        try:
            packages.install([entry for entry in wanted.values() if entry.source == "path"])
        except CorpusError as error:
            say(str(error))
            status = 1
    with report.progress(f"{len(wanted)} binaries", len(wanted)) as step:
        for name, entry in wanted.items():
            try:
                report.print_text(f"{name}\t{packages.fetch(entry, entries.values())}")
            except CorpusError as error:
                say(str(error))
                status = 1
            step()
    return status


def _run(options: Any) -> int:
    from torov import report
    from torov.cli_exec import say
    from torov.corpus import junit, page, pool, results

    if options.times < 1 or min(options.jobs, options.retries, options.time_limit) < 0:
        raise UsageError("expected at least 1 for --times, and 0 for -j, --retries and --time-limit")
    for name in ("json", "markdown", "html", "junit"):
        path = getattr(options, name)
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise UsageError(f"--{name} {path}: no such directory")
    if options.html:
        page.needed()
    if options.junit:
        junit.needed()
    before = results.read(options.baseline) if options.baseline else None
    cases = _cases(options)
    began = time.monotonic()
    with report.progress(f"{len(cases)} cases", len(cases)) as step:

        def done(row: Mapping[str, Any]) -> None:
            if row["outcome"] not in ("same", "expected"):
                report.print_lines(_said(row), stderr=True)
            step()

        words = {"limit": options.time_limit, "retries": options.retries, "trace": options.trace, "times": options.times}
        rows = pool.run(cases, jobs=_jobs(options), on=options.on, done=done, **words)
    seconds = time.monotonic() - began
    used = {name: entry for case in cases for name, entry in case.binaries().items()} if options.html else {}
    plans = _plans(used, _jobs(options), False) if used else []
    document = results.document(rows, seconds, plans)
    changes = results.against(document, before) if before else []
    document["changes"] = changes if before else None
    _table(rows, document)
    if before:
        title = f"since {before['began']}: " + (f"{len(changes)} changes" if changes else "nothing changed")
        report.print_table(("case", "change", ""), [(row["name"], row["change"], row["text"]) for row in changes], title)
    reports: tuple[tuple[str | None, Callable[[str], None]], ...] = (
        (options.json, lambda path: _write(path, json.dumps(document, indent=1))),
        (options.markdown, lambda path: _write(path, results.markdown(rows))),
        (options.html, lambda path: page.write(path, document)),
        (options.junit, lambda path: junit.write(path, rows, seconds)),
    )
    lost = False
    for path, write in reports:
        try:
            if path:
                write(path)
        except TorovError as error:  # the others are written all the same
            say(str(error))
            lost = True
    if lost:
        return 125
    return 0 if results.passed(rows) else 1


def _plans(entries: Mapping[str, Entry], jobs: int, again: bool, step: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """What the rewriter finds in binaries, in their order; those that cannot be had, and what is no ELF file, are left out."""
    import concurrent.futures
    import multiprocessing

    from torov.cli_exec import say
    from torov.corpus import packages, patch
    from torov.corpus.binaries import CorpusError

    rows: dict[str, dict[str, Any]] = {}
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = {}
        for name, entry in sorted(entries.items(), key=lambda item: -item[1].size):
            try:
                path = packages.fetch(entry, entries.values())
            except CorpusError as error:
                say(str(error))
                continue
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    waiting[pool.submit(patch.examined, entry, str(path), again)] = name
        for future in concurrent.futures.as_completed(waiting):
            rows[waiting[future]] = future.result()
            step()
    return [rows[name] for name in entries if name in rows]


def _patch(options: Any) -> int:
    from torov import report
    from torov.corpus.binaries import packaged
    from torov.corpus.form import read_cases
    from torov.corpus.patch import golden

    entries = {name: entry for name, entry in packaged().items() if name in golden()}
    if options.words or options.cases:
        every = dict(packaged())
        for case in read_cases([Path(path) for path in options.cases]):
            every |= case.binaries()
        if unknown := [word for word in options.words if word not in every]:
            raise UsageError(f"{unknown[0]}: no such binary; torov corpus list shows those of the cases")
        entries = {name: every[name] for name in options.words or every}
    with report.progress(f"{len(entries)} binaries", len(entries)) as step:
        rows = _plans(entries, _jobs(options), True, step)
    if options.json:
        report.print_text(json.dumps(rows, indent=1))
    else:
        shown = ("CONFIRMED", "CLEAN_GAP", "EMBEDDED", "AMBIGUOUS", "DATA", "patched")
        lines = []
        for row in rows:
            said = row["error"] or "; ".join(row["differs"]) or ("as golden" if row["binary"] in golden() else "")
            counts = (str(row["counts"].get(name, "")) for name in shown)
            lines.append((row["binary"], f"{row['size'] / 1e6:.1f}", f"{row['seconds']:.1f}", *counts, said))
        report.print_table(("binary", "MB", "seconds", *(name.lower() for name in shown), ""), lines)
    missing = len(entries) - len(rows)
    return 1 if missing or any(row["differs"] or (row["error"] and row["binary"] in golden()) for row in rows) else 0


def _write(path: str, text: str) -> None:
    from torov.loader.files import write_output

    try:
        write_output(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        raise TorovError(f"{path}: {error.strerror}") from None


def _said(row: Mapping[str, Any]) -> list[str]:
    """A case that is not as natively, for people: its name, then what differs."""
    from torov.corpus import results

    again = f", {row['attempts']} attempts" if row["attempts"] > 1 else ""
    lines = [f"{row['outcome']}{again}: {row['name']}: {row['command']}"]
    if row["error"]:
        lines.append(f"  {row['error']}")
    for one in row["before"] if row["outcome"] == "flaky" else row["differs"]:
        lines.append(f"  {one['what']}" + (f" (expected: {one['reason']})" if one["reason"] else ""))
        lines += [f"    {line}" for line in one["diff"].splitlines()[:12]]
    return [results.printable(line) for line in lines]


def _table(rows: list[dict[str, Any]], document: Mapping[str, Any]) -> None:
    from torov import report
    from torov.corpus import results

    shown = []
    for row in results.by_binary(rows):
        counts = " ".join(f"{row['outcomes'][name]} {name}" for name in results.OUTCOMES if name in row["outcomes"])
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        shown.append((row["binary"], str(row["cases"]), ratio, counts))
    report.print_table(("binary", "cases", "of native", "outcome"), shown)
    counts = ", ".join(f"{document['counts'][name]} {name}" for name in results.OUTCOMES if name in document["counts"])
    report.print_text(f"{len(rows)} cases in {document['seconds']:.0f} s: {counts}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
