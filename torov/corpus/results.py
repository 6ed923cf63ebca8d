"""What a run came to, as one JSON document, and how it compares with an earlier one."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torov.corpus.binaries import CorpusError

FORMAT = 1
GOOD = ("same", "expected", "flaky")
"""Outcomes with which a run passes; flaky: it was the same only when it ran again."""
OUTCOMES = ("different", "error", "unstable", "fixed", "flaky", "expected", "same")
SLOWER = 1.5
SLOWER_SECONDS = 0.25
"""A case is slower if its ratio to native has grown by the factor, and its time by torov by the seconds."""


def printable(text: str, keep: str = "\t") -> str:
    """A text that a program has written, for people: what is no printable character, or no UTF-8, is an escape as ``\\x1b``.

    Args:
        text: bytes that are not UTF-8 are surrogates in it.
        keep: characters that stay.
    """
    return "".join(c if c in keep or c.isprintable() else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    code = ord(c)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else c.encode("unicode_escape", "surrogatepass").decode()


def document(results: Sequence[dict[str, Any]], seconds: float, binaries: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A run as plain values.

    Args:
        results: of its cases.
        seconds: how long it took.
        binaries: rows of patch.examined().
    """
    from torov import __version__

    return {
        "format": FORMAT,
        "torov": __version__,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds)),
        "host": {"kernel": platform.release(), "machine": _cpu(), "cpus": len(os.sched_getaffinity(0))},
        "seconds": seconds,
        "counts": dict(Counter(row["outcome"] for row in results)),
        "cases": [*results],
        "binaries": [*binaries],
    }


def passed(results: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nothing differs that was not expected to."""
    return all(row["outcome"] in GOOD for row in results)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def read(path: str) -> dict[str, Any]:
    """A document that an earlier run wrote.

    Raises:
        CorpusError: it cannot be read, or is none.
    """
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise CorpusError(path, "is not JSON") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("cases"), list):
        raise CorpusError(path, "is not what torov corpus run --json writes")
    return said


def against(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What changed since an earlier run.

    Args:
        now, before: documents.

    Returns:
        Rows of ``name``, ``change`` (broken, fixed, slower, new, gone, or changed: it differs elsewhere) and ``text``.
    """
    old = {row["name"]: row for row in before["cases"]}
    new = {row["name"]: row for row in now["cases"]}
    rows = []
    for name, row in new.items():
        was = old.get(name)
        if was is None:
            rows.append({"name": name, "change": "new", "text": row["outcome"]})
            continue
        good, good_before = row["outcome"] in GOOD, was["outcome"] in GOOD
        text = f"{was['outcome']}, now {row['outcome']}"
        if good != good_before:
            rows.append({"name": name, "change": "fixed" if good else "broken", "text": text})
        elif not good and [one["what"] for one in row["differs"]] != [one["what"] for one in was["differs"]]:
            rows.append({"name": name, "change": "changed", "text": text})
        if good and good_before and _slower(row, was):
            text = f"{was['ratio']:.2f} times native, now {row['ratio']:.2f}"
            rows.append({"name": name, "change": "slower", "text": text})
    rows += [{"name": name, "change": "gone", "text": was["outcome"]} for name, was in old.items() if name not in new]
    return rows


def _slower(row: Mapping[str, Any], was: Mapping[str, Any]) -> bool:
    if not row.get("ratio") or not was.get("ratio"):
        return False
    more = row["torov"]["seconds"] - was["torov"]["seconds"]
    return bool(row["ratio"] > SLOWER * was["ratio"] and more > SLOWER_SECONDS)


def by_binary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cases of each binary together.

    Returns:
        Rows of ``binary``, ``cases``, ``outcomes`` (by name, how many), ``ratio`` (median; None if none is known) and ``most``.
    """
    names = list(dict.fromkeys(str(row["binary"]) for row in results))
    rows = []
    for name in sorted(names, key=str.lower):
        mine = [row for row in results if row["binary"] == name]
        ratios = [row["ratio"] for row in mine if row.get("ratio")]
        rows.append({"binary": name, "cases": len(mine), "outcomes": dict(Counter(row["outcome"] for row in mine)),
                     "ratio": statistics.median(ratios) if ratios else None, "most": max(ratios, default=None)})  # fmt: skip
    return rows


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The table of programs and ratios of the README."""
    lines = ["| program | cases | as natively | expected to differ | time, of native |", "|---|---:|---:|---:|---:|"]
    for row in by_binary(results):
        counts = row["outcomes"]
        same = counts.get("same", 0) + counts.get("flaky", 0)
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
        lines.append(f"| {row['binary']} | {row['cases']} | {same} | {counts.get('expected', 0)} | {ratio} |")
    return "\n".join(lines) + "\n"
