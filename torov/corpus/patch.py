"""The rewriter on every binary: its verdicts, how long they took, and what differs from the golden data."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torov.corpus.binaries import Entry
from torov.corpus.packages import cache_dir

GOLDEN = Path(__file__).with_name("golden.json")


def golden() -> dict[str, dict[str, int]]:
    """By id, the counts of verdicts that are known to be right (tests/rewrite checks them against objdump)."""
    found: dict[str, dict[str, int]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def counts(path: str) -> dict[str, int]:
    """What the rewriter finds in a program, in the form of the golden data.

    Args:
        path: the program.

    Returns:
        How many sites have each verdict, lie in executable segments, are patched, are signal restorers, and end a function.

    Raises:
        LoadError: it is no program for torov.
    """
    from torov.loader.elf import load
    from torov.rewrite.plan import Kept, plan

    made = plan(load(path))
    ends = [s for s in made.sites if s.reason.startswith("at the end of a function") and None not in (s.function, s.vaddr)]
    found = {verdict.name: count for verdict, count in made.counts().items()}
    return found | {
        "executable": sum(s.executable for s in made.sites),
        "patched": len(made.patched()),
        "restorers": sum(s.kept is Kept.RESTORER for s in made.sites),
        "function_end": len(ends),
    }


def differences(entry: Entry, found: Mapping[str, int]) -> list[str]:
    """What differs from the golden data and from the independent survey, one text each; none for a binary without them."""
    texts = []
    if (known := golden().get(entry.id)) is not None:
        names = [name for name in {**known, **found} if known.get(name) != found.get(name)]
        texts = [f"{name} {found.get(name)}, golden {known.get(name)}" for name in names]
    if entry.raw:
        survey = {"executable": entry.raw, "EMBEDDED": entry.embedded, "CLEAN_GAP": entry.clean_gap}
        texts += [f"{name} {found[name]}, survey {count}" for name, count in survey.items() if found[name] != count]
        anchored = found["CONFIRMED"] - found["function_end"]  # which the survey leaves out
        if anchored != entry.syscalls:
            texts.append(f"CONFIRMED but at ends {anchored}, survey {entry.syscalls}")
    return texts


def examined(entry: Entry, path: str, again: bool = True) -> dict[str, Any]:
    """One row of ``torov corpus patch``.

    Args:
        entry, path: the binary, and where it is.
        again: look at it now; else what an earlier look at these bytes by this rewriter found will do.

    Returns:
        ``binary``, ``made_by``, ``size``, ``seconds``, ``counts``, ``differs`` (texts), ``error`` ("" if it can be loaded).
    """
    from torov.errors import TorovError
    from torov.rewrite import REWRITER_VERSION

    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    kept = cache_dir() / "plans" / f"{digest}-{REWRITER_VERSION}.json"
    row: dict[str, Any] = {"binary": entry.id, "made_by": entry.made_by, "size": Path(path).stat().st_size, "error": ""}
    try:
        if again:
            raise ValueError
        row |= json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        began = time.monotonic()
        try:
            row["counts"] = counts(path)
        except TorovError as error:
            return {**row, "counts": {}, "seconds": 0.0, "differs": [], "error": str(error)}
        row["seconds"] = time.monotonic() - began
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{time.monotonic_ns()}")
        part.write_text(json.dumps({"counts": row["counts"], "seconds": row["seconds"]}), encoding="utf-8")
        part.replace(kept)
    row["differs"] = differences(entry, row["counts"])
    return row
