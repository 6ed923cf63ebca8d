"""torov profile: statistics against numpy, the picture against its numbers, and what a user is told."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image
from running import ROOT, run
from support import HELLO_C, Compiler

from torov import figure, profile

SLEEPER = (
    "#include <unistd.h>\n#include <stdlib.h>\nint main(int n, char **v) { usleep(n > 1 ? atoi(v[1]) : 0); return n > 2; }\n"
)


def torov(*words: str | Path) -> list[str | Path | bytes]:
    return [sys.executable, "-m", "torov", "profile", *words]


@pytest.mark.parametrize("seed", range(20))
def test_statistics_are_numpy_s(seed: int) -> None:
    draw = random.Random(seed)
    values = [int(draw.lognormvariate(15, draw.random())) for _ in range(draw.choice((1, 2, 3, 10, 99, 1000)))]
    found = profile.summary(values)
    assert found["mean"] == pytest.approx(numpy.mean(values)) and found["median"] == pytest.approx(numpy.median(values))
    assert found["deviation"] == pytest.approx(numpy.std(values, ddof=1) if len(values) > 1 else 0)
    assert (found["min"], found["max"], found["count"]) == (min(values), max(values), len(values))
    for percent in profile.PERCENTILES:
        assert found[f"p{percent}"] == pytest.approx(numpy.percentile(values, percent))
    made = profile.Histogram(values)
    edges = numpy.array(made.edges)
    inside = [value for value in values if value <= edges[-1]]
    expected = numpy.histogram(inside, edges)[0]
    expected[-1] += len(values) - len(inside)
    assert sum(made.counts) == len(values) and made.open == (len(inside) < len(values))
    assert sum(abs(int(ours) - int(theirs)) for ours, theirs in zip(made.counts, expected, strict=True)) <= 2  # on an edge


def test_histogram_of_equal_times() -> None:
    made = profile.Histogram([5, 5, 5])
    assert sum(made.counts) == 3 and not made.open


def test_ratio() -> None:
    """The interval of 95% holds the true ratio in about 95 of 100 experiments."""
    draw = random.Random(1)
    held = 0
    for _ in range(100):
        slow, fast = ([int(draw.gauss(mean, 1000)) for _ in range(40)] for mean in (15000, 10000))
        made = profile.Ratio(slow, fast, samples=200)
        assert made.low <= made.ratio <= made.high and made.ratio == statistics.median(slow) / statistics.median(fast)
        held += made.low <= 1.5 <= made.high
    assert 88 <= held <= 100


def test_the_picture_has_the_numbers(tmp_path: Path) -> None:
    draw = random.Random(2)
    subjects = [profile.Subject(name, [], False) for name in ("one", "other")]
    for subject in subjects:
        subject.total = [int(draw.gauss(30e6, 2e6)) for _ in range(300)]
    made = [profile.Histogram(subject.total) for subject in subjects]
    drawn = figure.histograms(subjects, made, str(tmp_path / "p.png"))
    for axes, one in zip(drawn.axes, made, strict=True):
        assert [bar.get_height() for bar in axes.patches] == one.counts
        assert [bar.get_x() for bar in axes.patches] == pytest.approx([edge / 1e6 for edge in one.edges[:-1]])
    with Image.open(tmp_path / "p.png") as image:
        image.load()
        assert image.format == "PNG" and image.size == (1080, 1020)
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 10


@pytest.mark.kvm
def test_runs_and_json(cc: Compiler, tmp_path: Path) -> None:
    program = cc(SLEEPER)
    ran = run(torov("-n", "12", "-w", "2", "--json", "--png", tmp_path / "p.png", "--native", program, "--", "20000"))
    assert ran.status == 0, ran.err
    made = json.loads(ran.out)
    ours, theirs = made["subjects"]
    assert [len(times) for times in ours["times"].values()] == [12, 12, 12] and list(theirs["times"]) == ["total"]
    for total, boot, ran_for in zip(*(ours["times"][name] for name in ("total", "boot", "run")), strict=True):
        assert 20e6 < ran_for < total - boot < 10e9
    assert 20e6 < min(theirs["times"]["total"]) < 100e6
    for subject in (ours, theirs):
        assert subject["summary"]["total"]["median"] == numpy.median(subject["times"]["total"])
        assert sum(subject["histogram"]["counts"]) == 12
    ratio = made["ratio"]
    assert ratio["low"] <= ratio["median"] <= ratio["high"] and ratio["median"] > 1.2
    with Image.open(tmp_path / "p.png") as image:
        assert image.format == "PNG"


@pytest.mark.kvm
def test_what_a_person_sees(cc: Compiler, tmp_path: Path) -> None:
    hello, sleeper = cc(HELLO_C), cc(SLEEPER)
    ran = run(torov("-n", "8", sleeper, "--compare", hello, "--", "50000"))
    assert ran.status == 0 and ran.err == "", ran.err
    assert "8 runs" in ran.out and "median" in ran.out and "█" in ran.out and "95% confidence" in ran.out
    config = json.loads((ROOT / "samples/HelloWorld/helloworld.json").read_text())
    del config["Startaddr"]  # of another program
    (tmp_path / config["Binary"]).symlink_to(hello)
    (tmp_path / config["MountPoint"]).mkdir()
    (tmp_path / "hello.json").write_text(json.dumps(config))
    ran = run(torov("-n", "3", "hello.json", "--native"), cwd=tmp_path)
    assert ran.status == 0 and "hello.json (native)" in ran.out, ran.err


@pytest.mark.kvm
def test_a_bar_on_a_terminal_only(cc: Compiler) -> None:
    ours, theirs = os.openpty()
    words = torov("-n", "20", cc(HELLO_C))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as started:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 4096):
                seen += part
    os.close(ours)
    assert started.returncode == 0 and b"20 runs" in seen and b"100%" in seen


@pytest.mark.kvm
def test_a_program_that_fails(cc: Compiler) -> None:
    program = cc(SLEEPER)
    ran = run(torov("-n", "5", program, "--", "0", "fail"))
    assert ran.status == 1 and ran.err == f"torov: {program}: run 1 ended with exit status 1 (--ignore-failure goes on)\n"
    assert run(torov("-n", "2", "-i", program, "--", "0", "fail")).status == 0
    assert run(torov("-n", "2", "no/such/file")).status == 127
    for words in (("-n", "0", program), ("--native", "--compare", program, program), ("--png", "no/where/p.png", program)):
        ran = run(torov(*words))
        assert ran.status == 125 and ran.err.count("\n") == 1, ran.err


@pytest.mark.kvm
def test_options_of_its_own_are_not_the_guest_s(cc: Compiler) -> None:
    """The descriptor that torov profile passes along is closed when the guest runs."""
    program = cc("#include <fcntl.h>\nint main(void) { return fcntl(3, F_GETFD) != -1; }\n")
    assert run(torov("-n", "1", program)).status == 0
    assert run(torov("-n", "1", "--policy", ROOT / "samples/HelloWorld/policy.json", cc(HELLO_C))).status == 0
