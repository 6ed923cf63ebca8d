"""The arithmetic of the table, and samples that are not numbers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import pytest

from bench.measure import BenchError, Row, Sample, printed, timed
from bench.rows import digest


def samples(*values: float) -> Sample:
    source: Iterator[float] = iter(values)
    return lambda: next(source)


def row(ratio: float | None = None, extra: float | None = None) -> Row:
    made = Row("work", "native", samples(10, 100, 20), samples(11, 130, 20), ratio=ratio, extra=extra)
    for count in range(3):
        made.round(swap=count % 2 == 1)
    return made


def test_ratios_are_taken_within_a_round() -> None:
    made = row()
    assert made.rounds == [(10, 11), (100, 130), (20, 20)]
    assert made.medians() == (20, 20)
    assert made.median_ratio() == pytest.approx(1.1)
    assert made.median_extra() == 1


def test_targets() -> None:
    assert row().met() is None
    assert row(ratio=1.11).met() is True and row(ratio=1.09).met() is False
    assert row(extra=1).met() is True and row(extra=0.5).met() is False


def test_rounds_swap_who_is_first() -> None:
    order: list[str] = []

    def side(name: str) -> Sample:
        def sample() -> float:
            order.append(name)
            return 1

        return sample

    made = Row("work", "native", side("baseline"), side("torov"))
    made.round(swap=False)
    made.round(swap=True)
    assert order == ["baseline", "torov", "torov", "baseline"]


def test_printed_numbers_and_what_must_stand_behind_them() -> None:
    command = (sys.executable, "-c", "print('12.5 abc')")
    assert printed(*command, expect="abc")() == 12.5
    assert printed(*command, scale=2)() == 25
    with pytest.raises(BenchError, match=r"12\.5 abc"):
        printed(*command, expect="abd")()


def test_a_failed_command_is_an_error() -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('broken')")
    with pytest.raises(BenchError, match="broken"):
        printed(*command)()
    with pytest.raises(BenchError, match="status 1"):
        timed(*command)()


def test_digest_is_that_of_the_bytes_that_work_c_makes() -> None:
    data = bytes((i * 7 + (i >> 8)) & 255 for i in range(1_000_000))
    assert digest(1) == hashlib.sha256(data).hexdigest()
