"""Is a run by torov what the native run was? What is taken out before, what differs then, and whether that was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import unified_diff
from typing import Any
from zlib import crc32

from torov.corpus.form import Case

SHOWN_LINES, SHOWN_LINE = 200, 500
"""Lines of a diff, and characters of each."""
COMPARED_LINES = 1000
"""Lines of both sides that are compared, from the first that differs on."""

NORMALISERS: dict[str, Callable[[str], str]] = {
    "pids": lambda text: re.sub(r"(?i)\b(p?pid|tid|process|child|pgrp|sid)\b([ =:#(\[]*)\d+", r"\1\2PID",
                                re.sub(r"\[\d{2,7}\]", "[PID]", text)),
    "times": lambda text: re.sub(r"\b\d{1,2}:\d\d(:\d\d)?([.,]\d+)?\b", "TIME", text),
    "durations": lambda text: re.sub(
        r"(?<![\w.])\d+([.,]\d+)?(e-?\d+)?\s?(ns|us|µs|μs|ms|s|sec|secs|seconds?|msecs?|minutes?|m|h)\b", "DURATION", text),
    "dates": lambda text: re.sub(
        r"\b\d{4}[-/]\d\d[-/]\d\d([T ]\d\d:\d\d(:\d\d)?([.,]\d+)?(Z| ?[+-]\d\d:?\d\d)?)?|"
        r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +(\d+ )?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b[ \d:]*|"
        r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2} +(\d\d:\d\d(:\d\d)?|\d{4})\b", "DATE", text),
    "addresses": lambda text: re.sub(r"\b0x[0-9a-fA-F]{4,16}\b|\b[0-9a-f]{12,16}\b", "ADDRESS", text),
    "numbers": lambda text: re.sub(r"\d+(\.\d+)?", "N", text),
    "sorted": lambda text: "".join(sorted(text.splitlines(keepends=True))),
    "tmpnames": lambda text: re.sub(r"\b(tmp|temp|TMP)([._-]?)[A-Za-z0-9_]{6,}", r"\1\2NAME", text),
    "uuids": lambda text: re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID", text),
    "spaces": lambda text: re.sub(r"[ \t]+", " ", text),
    "inodes": lambda text: re.sub(r"(?i)\b(inode:?|ino[=:]?) *\d+", r"\1 INODE", text),
}  # fmt: skip
"""What takes out of a text what differs from run to run, by its name in the form (docs/corpus.md)."""


def normal(case: Case, text: str, values: Mapping[str, str], what: str) -> str:
    """A text without what may differ.

    Args:
        case: says which normalisers hold.
        text: an output, or the contents of a file.
        values: of the run: its directory becomes HERE, its ports their names.
        what: ``stdout``, ``stderr``, ``clients`` or ``files``.
    """
    text = text.replace(values["here"], "HERE")
    for name in case.ports:
        text = re.sub(rf"(?<!\d){values[name]}(?!\d)", name.upper(), text)
    for one in case.normalise:
        if isinstance(one, str):
            if what != "files":
                text = NORMALISERS[one](text)
        elif what in one.get("in", ("stdout", "stderr", "clients")):
            text = re.sub(one["match"], one.get("replace", ""), text, flags=re.MULTILINE)
    return text


def differences(case: Case, native: Mapping[str, Any], guest: Mapping[str, Any]) -> list[dict[str, str]]:
    """Where two runs differ.

    Args:
        case: what is compared, and what is taken out before.
        native, guest: the runs, as run.run() gave them.

    Returns:
        ``what`` (one of form.ASPECTS, or ``sites``) and ``diff``, a text for people, of each aspect that differs.
    """
    found = []
    for what in case.compare:
        theirs, mine = (_shown(case, run, what) for run in (native, guest))
        if what == "status" and (signalled := re.match(r"signal (\d+)", theirs)) and mine == f"status {128 + int(signalled[1])}":
            continue  # as a shell shows it; after exec(2) torov itself ends by the signal
        if theirs != mine:
            found.append({"what": what, "diff": _diff(theirs, mine)})
    if guest["gadgets"]:
        found.append({"what": "sites", "diff": "\n".join(_site(json.loads(line)) for line in guest["gadgets"])})
    return found


def _site(line: Mapping[str, Any]) -> str:
    return f"error of the scanner: {line['call']} at {line['site']} of {line['program']}, which it judged EMBEDDED or DATA"


def _shown(case: Case, run: Mapping[str, Any], what: str) -> str:
    """One aspect of a run as a text."""
    values = run["values"]
    if what == "status":
        return str(run["ended"])
    if what == "processes":
        return "\n".join(run["left"])
    if what == "clients":
        parts = []
        for number, copies in enumerate(run["clients"], 1):
            # copies run side by side: which of them got which answer is chance
            parts += sorted(f"client {number}: {one['ended']}\n{normal(case, one['stdout'], values, what)}"
                            f"{normal(case, one['stderr'], values, what)}" for one in copies)  # fmt: skip
        return "\n".join(parts)
    if what == "files":
        return "\n".join(_file(case, name, row, values) for name, row in run["files"].items())
    return normal(case, run[what], values, what)


def _file(case: Case, name: str, row: Mapping[str, Any], values: Mapping[str, str]) -> str:
    head = f"{name}: {row['kind']} {row['mode']}"
    if row["kind"] == "link":
        return f"{head} -> {row['target'].replace(values['here'], 'HERE')}"
    if row["kind"] != "file":
        return head
    if "text" in row:
        text = normal(case, row["text"], values, "files")
        return f"{head}\n" + "".join(f"  {line}\n" for line in text.split("\n")).rstrip("\n")
    return f"{head} {row['size']} bytes, sha256 {row['sha256']}"


def _cut(line: str) -> str:
    if len(line) <= SHOWN_LINE:
        return line
    return f"{line[:SHOWN_LINE]}... ({len(line)} characters, CRC {crc32(line.encode(errors='surrogatepass')):08x})"


def _diff(theirs: str, mine: str) -> str:
    """From the first line that differs on: comparing all of a long output would take minutes."""
    old, new = theirs.splitlines(), mine.splitlines()
    same = next((i for i, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))
    start = max(0, same - 2)
    old, new = ([_cut(line) for line in lines[start : start + COMPARED_LINES]] for lines in (old, new))
    lines = [*unified_diff(old, new, "native", "torov", n=2, lineterm="")]
    if not lines:
        return "the ends of the lines or the end of the last line differ"
    more = [f"... {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
    if start:
        lines.insert(2, f"@@ numbers of lines are from line {start + 1} on @@")
    return "\n".join([*lines[:SHOWN_LINES], *more])


def outcome(case: Case, found: Sequence[dict[str, str]]) -> tuple[str, list[dict[str, str]]]:
    """What the differences of a case come to.

    Args:
        case: what was expected.
        found: from differences().

    Returns:
        ``same``; ``expected``: it differs exactly where the case says; ``fixed``: an expected difference is not there any more;
        ``different``. And the differences, each with the ``reason`` for which it was expected, or an empty one.
    """
    rows = []
    for one in found:
        reasons = [other["reason"] for other in case.expected if other["what"] == one["what"]
                   and re.search(other.get("matches", ""), one["diff"], re.MULTILINE)]  # fmt: skip
        rows.append({**one, "reason": reasons[0] if reasons else ""})
    seen = {one["what"] for one in found}
    gone = [other for other in case.expected if other["what"] not in seen]
    if any(not row["reason"] for row in rows):
        return "different", rows
    missing = [other for other in gone if not other.get("sometimes")]
    rows += [{"what": other["what"], "diff": "", "reason": other["reason"]} for other in missing]
    if missing:
        return "fixed", rows
    return ("expected" if rows else "same"), rows
