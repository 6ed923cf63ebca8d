"""A lane that cannot fail proves nothing: what its console must say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from svm.run import stream, verdict


@pytest.mark.parametrize(
    ("console", "says"),
    [
        ("ok a\r\nok b\r\nnote: c\r\n2 passed, 0 failed\r\n", None),
        ("ok a\r\nnot ok b: why\r\n1 passed, 1 failed\r\n", "1 of 2 cases failed"),
        ("ok a\r\nok b\r\n", "closing line is missing"),
        ("", "closing line is missing"),
        ("ok a\r\nKernel panic: 2 passed, 0 failed\r\n", "closing line is missing"),
        ("ok a\r\n2 passed, 0 failed\r\n", "1 lines say ok"),
        ("0 passed, 0 failed\r\n", "0 passed"),
        ("ok a\r\nnot ok b: why\r\n1 passed, 0 failed\r\n", "cases failed"),
    ],
)
def test_verdict(console: str, says: str | None) -> None:
    found = verdict(console)
    assert found is None if says is None else found is not None and says in found


def test_stream_copies_to_the_log_and_tells_the_status(tmp_path: Path) -> None:
    log = tmp_path / "log"
    output, problem = stream([sys.executable, "-c", "print('ok a'); raise SystemExit(3)"], log, 60)
    assert output == "ok a\n" == log.read_text()
    assert problem is not None and problem.endswith("status 3")


def test_stream_ends_what_does_not_end(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('begun', flush=True); import time; time.sleep(600)"]
    output, problem = stream(command, tmp_path / "log", 2)
    assert output in ("begun\n", "") and problem == "not done after 2 s"
