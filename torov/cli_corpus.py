"""``torov corpus``: real programs natively and by torov, side by side (docs/corpus.md)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from torov.errors import TorovError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

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


def add(parser: Any) -> Callable[[Any], int]:
    """Add the options of ``torov corpus``.

    Args:
        parser: its ArgumentParser.

    Returns:
        What is called with the options that were read; it returns the exit status.
    """
    parser.epilog = _EPILOG
    verbs = parser.add_subparsers(metavar="VERB", dest="what", required=True)
    made = {
        "list": verbs.add_parser("list", help="show the cases"),
        "fetch": verbs.add_parser("fetch", help="get the binaries into the cache, and verify them"),
        "run": verbs.add_parser("run", help="run cases natively and by torov, and compare"),
    }
    for one in made.values():
        one.add_argument("words", metavar="WORD", nargs="*", help="which cases; default: all")
        one.add_argument(
            "--cases", metavar="PATH", action="append", default=[], help="a case file or a directory of them, not torov's own"
        )
    made["list"].add_argument("--json", action="store_true", help="print the cases as JSON")
    made["fetch"].add_argument(
        "--install", action="store_true", help="install by apt-get what the distribution's own programs take"
    )
    run = made["run"]
    run.add_argument(
        "-j", "--jobs", metavar="N", type=int, default=len(os.sched_getaffinity(0)), help="how many at once; default: all CPUs"
    )
    run.add_argument("--on", metavar="dask://HOST:PORT", default="", help="run them on a Dask cluster")
    run.add_argument("--time-limit", metavar="SECONDS", type=float, default=0, help="of each run; default: the case's own")
    run.add_argument(
        "--retries", metavar="N", type=int, default=0, help="run a case that differs again; such a case is called flaky"
    )
    run.add_argument(
        "--trace", choices=("all", "differing", "none"), default="differing", help="which cases run once more for a trace"
    )
    run.add_argument("--json", metavar="FILE", help="write everything as JSON, for --baseline and scripts")
    run.add_argument("--markdown", metavar="FILE", help="write the table of programs and ratios")
    run.add_argument("--baseline", metavar="FILE", help="compare with the JSON of an earlier run")
    return lambda options: {"list": _list, "fetch": _fetch, "run": _run}[options.what](options)


def _cases(options: Any) -> list[Case]:
    from torov.corpus import form

    return form.chosen(form.read_cases([Path(path) for path in options.cases]), options.words)


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
    if options.install:
        packages.install([entry for entry in wanted.values() if entry.source == "path"])
    status = 0
    with report.progress(f"{len(wanted)} binaries", len(wanted)) as step:
        for name, entry in wanted.items():
            try:
                report.print_text(f"{name}\t{packages.fetch(entry, entries.values())}")
            except CorpusError as error:
                from torov.cli_exec import say

                say(str(error))
                status = 1
            step()
    return status


def _run(options: Any) -> int:
    from torov import report
    from torov.corpus import pool, results

    if options.jobs < 1 or options.retries < 0 or options.time_limit < 0:
        raise UsageError("-j, --retries and --time-limit: expected at least 1, 0 and 0")
    for name in ("json", "markdown"):
        path = getattr(options, name)
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise UsageError(f"--{name} {path}: no such directory")
    before = results.read(options.baseline) if options.baseline else None
    cases = _cases(options)
    began = time.monotonic()
    with report.progress(f"{len(cases)} cases", len(cases)) as step:

        def done(row: Mapping[str, Any]) -> None:
            if row["outcome"] not in ("same", "expected"):
                report.print_lines(_said(row), stderr=True)
            step()

        words = {"limit": options.time_limit, "retries": options.retries, "trace": options.trace}
        rows = pool.run(cases, jobs=options.jobs, on=options.on, done=done, **words)
    document = results.document(rows, time.monotonic() - began)
    changes = results.against(document, before) if before else []
    document["changes"] = changes
    _write(options.json, json.dumps(document, indent=1))
    _write(options.markdown, results.markdown(rows))
    _table(rows, document)
    if before:
        title = f"since {before['began']}: " + (f"{len(changes)} changes" if changes else "nothing changed")
        report.print_table(("case", "change", ""), [(row["name"], row["change"], row["text"]) for row in changes], title)
    return 0 if results.passed(rows) else 1


def _write(path: str | None, text: str) -> None:
    if path:
        try:
            Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise TorovError(f"{path}: {error.strerror}") from None


def _said(row: Mapping[str, Any]) -> list[str]:
    """A case that is not as natively, for people: its name, then what differs."""
    again = f", {row['attempts']} attempts" if row["attempts"] > 1 else ""
    lines = [f"{row['outcome']}{again}: {row['name']}: {row['command']}"]
    if row["error"]:
        lines.append(f"  {row['error']}")
    for one in row["differs"]:
        lines.append(f"  {one['what']}" + (f" (expected: {one['reason']})" if one["reason"] else ""))
        lines += [f"    {line}" for line in one["diff"].splitlines()[:12]]
    return lines


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
