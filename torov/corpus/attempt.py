"""One case from its words to its result. This is what a worker does, here or on another machine: plain values in and out."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torov.corpus import compare
from torov.corpus.binaries import CorpusError
from torov.corpus.form import Case
from torov.corpus.packages import fetch
from torov.corpus.results import GOOD
from torov.errors import TorovError

SHOWN = {True: 2048, False: 16384}
"""Characters of each output that stay in a result, whether the case is as natively or not."""
LONG = 4.0
"""Seconds of a run natively and by torov from which it is not run again for its time."""
TRACE_LINES = {True: 80, False: 400}
"""Lines of a trace that stay."""

_keepers: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()
_stopped = threading.Event()


def stop_all() -> None:
    """End the cases that run in this process, with everything below them. Called when the user interrupts a run."""
    _stopped.set()
    with _lock:
        keepers = [*_keepers]
    for keeper in keepers:
        assert keeper.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            keeper.stdin.close()
    for keeper in keepers:
        keeper.wait()


def again() -> None:
    """Allow cases to run after stop_all()."""
    _stopped.clear()


def torov_words(options: list[str]) -> list[str]:
    """The command that runs a guest by the torov that this is, installed or not, whatever lies in the working directory."""
    root = str(Path(__file__).resolve().parents[2])
    script = os.path.join(sys.prefix, "bin", "torov")
    if root.startswith(sys.prefix) and os.access(script, os.X_OK):
        return [script, "exec", *options]
    start = f"import sys; sys.path.insert(0, {root!r}); from torov.cli import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-P", "-c", start, "exec", *options]


def nothing(case: Case, error: str = "") -> dict[str, Any]:
    """The result of a case that did not run, for ``error``."""
    return {
        "name": case.name,
        "about": case.about,
        "tags": case.tags,
        "binary": case.binary or "/bin/sh",
        "command": _command(case),
        "worker": f"{platform.node()}:{os.getpid()}",
        "outcome": "error",
        "error": error,
        "attempts": 1,
        "differs": [],
        "before": [],
        "native": None,
        "torov": None,
        "ratio": None,
        "trace": "",
        "seconds": 0.0,
    }


def attempt(
    document: Mapping[str, Any], *, limit: float = 0, retries: int = 0, trace: str = "differing", times: int = 1
) -> dict[str, Any]:
    """Run a case natively and by torov, and say whether that was the same.

    Args:
        document: Case.document().
        limit: seconds for each run; 0 for the case's own.
        retries: how often a case that differs is run again; that it was, and what differed before, is in the result.
        times: how often it runs on each side, unless it takes long; all runs must be as the first native one, and the shortest
            times count.
        trace: ``all``, ``differing`` or ``none``: which cases are run once more for a trace of their system calls.

    Returns:
        The result, as docs/corpus.md describes it.
    """
    case = Case(**document)
    if limit:
        case.limit = limit
    began = time.monotonic()
    result = nothing(case)
    try:
        paths = {name: str(fetch(entry)) for name, entry in case.binaries().items()}
        _prepare(paths.values())
        with tempfile.TemporaryDirectory(prefix="torov-policy-") as scratch:
            policy = _policy(case, paths)
            sides = [{"torov": [], "policy": ""}, {"torov": torov_words(["--quiet"]), "policy": policy}]
            while True:
                runs = _keep(case, paths, sides)
                if len(runs) < len(sides):
                    result["error"], result["native"] = f"natively: {runs[0]['ended']}", _shown(runs[0], SHOWN[False])
                    return result
                if times > 1 and sum(run["seconds"] for run in runs) < LONG:
                    runs += _keep(case, paths, sides * (times - 1))
                found: list[dict[str, str]] = []
                for run in runs[1::2]:
                    found = found or compare.differences(case, runs[0], run)
                result["outcome"], result["differs"] = compare.outcome(case, found)
                if result["outcome"] not in ("different", "fixed") or result["attempts"] > retries:
                    break
                result["before"] += [{**one, "attempt": result["attempts"]} for one in found]
                result["attempts"] += 1
            if result["attempts"] > 1 and result["outcome"] in ("same", "expected"):
                result["outcome"] = "flaky"
            if result["outcome"] == "different":
                (third,) = _keep(case, paths, sides[:1])
                if compare.differences(case, runs[0], third):
                    result["outcome"], result["error"] = "unstable", "two native runs differ, too: it needs a normaliser"
            if trace == "all" or (trace == "differing" and result["outcome"] not in ("same", "expected")):
                result["trace"] = _trace(case, paths, sides[1], Path(scratch), TRACE_LINES[result["outcome"] == "same"])
    except TorovError as error:
        result["outcome"], result["error"] = "error", str(error)
        return result
    native, guest = (min(runs[side::2], key=_took) for side in (0, 1))
    if result["differs"]:
        native, guest = runs[0], next((run for run in runs[1::2] if compare.differences(case, runs[0], run)), guest)
    most = SHOWN[result["outcome"] == "same"]
    result |= {"native": _shown(native, most), "torov": _shown(guest, most)}
    if result["outcome"] in GOOD and _took(native):  # what else ran is not the same work
        result["ratio"] = _took(guest) / _took(native)
    result["seconds"] = time.monotonic() - began
    return result


def _command(case: Case) -> str:
    import shlex

    if case.shell:
        return case.shell if len(case.shell) < 400 else case.shell[:400] + " ..."
    return shlex.join([case.binary, *case.args])[:1000]


def _took(run: Mapping[str, Any]) -> float:
    """Seconds of a run: of a guest from its first instruction to its end, where that is known."""
    return float(run["guest"] or run["seconds"])


def _shown(run: Mapping[str, Any], most: int) -> dict[str, Any]:
    """What of a run stays in the result."""
    kept = {name: run[name] for name in ("ended", "seconds", "cpu", "boot", "guest", "left")}
    for name in ("stdout", "stderr"):
        text = run[name]
        kept[name] = text if len(text) <= most else f"{text[:most]}\n[{len(text)} characters in all]\n"
    kept["clients"] = [
        [{"ended": one["ended"], "stdout": one["stdout"][:1024]} for one in copies[:3]] for copies in run["clients"]
    ]
    kept["files"] = len(run["files"])
    return kept


def _prepare(paths: Any) -> None:
    """Make the images, so that no run is measured with that."""
    from torov.errors import LoadError
    from torov.prepare import images_of

    for path in (*paths, "/bin/sh"):
        with contextlib.suppress(LoadError):  # a script or a profile
            images_of(path)


def _policy(case: Case, paths: Mapping[str, str]) -> str:
    if not case.policy or isinstance(case.policy, dict):
        return ""
    if case.policy in paths:
        return paths[case.policy]
    path = Path(case.file).parent / case.policy
    if not path.exists():
        raise CorpusError(case.name, f"no policy {case.policy}: a path beside its file, or one of profiles.toml")
    return str(path)


def _keep(case: Case, paths: Mapping[str, str], sides: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Have a keeper make the runs."""
    root = str(Path(__file__).resolve().parents[2])
    start = f"import sys; sys.path.insert(0, {root!r}); from torov.corpus.keeper import main; sys.exit(main())"
    job = json.dumps({"case": case.document(), "paths": paths, "sides": sides}).encode() + b"\n"
    if _stopped.is_set():
        raise CorpusError(case.name, "interrupted")
    command, pipe = [sys.executable, "-P", "-c", start], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe,
                          start_new_session=True) as keeper:  # fmt: skip
        assert keeper.stdin is not None and keeper.stdout is not None and keeper.stderr is not None
        with _lock:
            _keepers.add(keeper)
        try:
            with contextlib.suppress(OSError, ValueError):  # it was closed: see stop_all()
                keeper.stdin.write(job)
                keeper.stdin.flush()
                if _stopped.is_set():
                    keeper.stdin.close()
            said = keeper.stdout.read()
            trouble = keeper.stderr.read()
        finally:
            with _lock:
                _keepers.discard(keeper)
    if _stopped.is_set():
        raise CorpusError(case.name, "interrupted")
    try:
        answer = json.loads(said)
    except ValueError:
        raise CorpusError(case.name, f"its keeper ended: {trouble.decode(errors='replace').strip()[-400:]}") from None
    if "error" in answer:
        raise CorpusError(case.name, answer["error"])
    return list(answer["runs"])


def _trace(case: Case, paths: Mapping[str, str], side: dict[str, Any], scratch: Path, most: int) -> str:
    """The system calls of one more run: the beginning and the end of its trace."""
    file = scratch / "trace"
    options = ["--trace", "--trace-out", str(file)]
    try:
        _keep(case, paths, [{**side, "torov": [*side["torov"], *options]}])
        lines = file.read_text(errors="replace").splitlines()
    except (TorovError, OSError) as error:
        return str(error)
    if len(lines) > most:
        lines = [*lines[: most * 3 // 4], f"... {len(lines) - most} lines ...", *lines[-(most // 4) :]]
    return "\n".join(line[:300] for line in lines)
