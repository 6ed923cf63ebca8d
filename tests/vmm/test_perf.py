"""torov exec --perf: shares and nesting of known functions, the flame graph against its numbers, times against the clock."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from running import ROOT, Ran, build, compare, run
from support import Compiler

from torov.perf import flame, record
from torov.perf.cli_perf import HERTZ
from torov.perf.objects import ObjectFile
from torov.perf.unwind import Unwinder

pytestmark = pytest.mark.kvm

SVG = "{http://www.w3.org/2000/svg}"
POLICY = '{"torov": 1, "default": "allow", "rules": [{"calls": ["socket"], "action": {"errno": "EPERM"}}]}'
WAYS = {
    "static": ("glibc", "-O1", "-fomit-frame-pointer"),
    "no tables": ("glibc", "-O1", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
    "pie": ("pie", "-O2", "-fomit-frame-pointer"),
    "musl": ("musl", "-O1", "-fasynchronous-unwind-tables"),
    "dynamic": ("dynamic", "-O2"),
}


def sampled(
    program: Path, where: Path, *args: str, options: Sequence[str | Path] = (), alone: bool = False
) -> tuple[Ran, dict[str, int]]:
    """A run under --perf and its folded stacks.

    Timers on CPU time expire at the tick of the kernel. Where programs share a CPU, which of them it finds depends on where they
    call the kernel (natively just so: docs/profiling.md); alone: nothing takes the CPU away, if we may ask for that.
    """
    before = ["chrt", "-f", "20"] if alone and os.geteuid() == 0 else []
    ran = run([*before, sys.executable, "-m", "torov", "exec", "--perf=p", *options, program, "--", *args], cwd=where)
    folded = {}
    assert (where / "p.folded").exists(), ran.err
    for line in (where / "p.folded").read_text().splitlines():
        stack, count = line.rsplit(" ", 1)
        folded[stack] = int(count)
    return ran, folded


def share(folded: dict[str, int], *names: str) -> float:
    """Of all samples, those in whose stacks the names stand one below the other."""
    part = ";" + ";".join(names)
    return sum(count for stack, count in folded.items() if f"{part};" in f"{stack};") / sum(folded.values())


@pytest.mark.parametrize("way", WAYS)
def test_shares_and_nesting(cc: Compiler, tmp_path: Path, way: str) -> None:
    """The shares of three runs: one has an error of 0.03 (standard deviation of 40, beside other work), for it has few ticks."""
    program, errors = build(cc, "busy", *WAYS[way], "-pthread"), []
    for _ in range(3):
        ran, folded = sampled(program, tmp_path, "shares", "1", "tell", alone=True)
        assert ran.status == 0, ran.err
        heavy, light = share(folded, "main", "below", "heavy"), share(folded, "main", "beside", "light")
        assert heavy + light > 0.9, folded
        errors.append(heavy / (heavy + light) - float(ran.out))
        assert 0.55 < float(ran.out) < 0.9, "three times as many rounds; a busy machine does not run all of them as fast"
        assert sum(folded.values()) == pytest.approx(HERTZ, rel=0.25), "a second of CPU time"
        outermost = {stack.split(";")[1] for stack in folded if "heavy" in stack}
        assert outermost == {"_start"} or way in ("no tables", "musl"), outermost
    assert abs(median(errors)) <= 0.08, errors


def test_frequency(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "busy", "glibc", "-pthread")
    _, folded = sampled(program, tmp_path, "shares", "1", options=["--perf-hz", "100"])
    assert 70 < sum(folded.values()) < 130
    for wrong in ("0", "x", "100000"):
        ran = run([sys.executable, "-m", "torov", "exec", "--perf", "--perf-hz", wrong, program], cwd=tmp_path)
        assert ran.status == 125 and f"--perf-hz {wrong}: expected a number" in ran.err


def test_threads(cc: Compiler, tmp_path: Path) -> None:
    for kind in ("glibc", "dynamic"):
        _, folded = sampled(build(cc, "busy", kind, "-pthread"), tmp_path, "threads", "0.5")
        assert share(folded, "thread", "in_thread") > 0.8, folded
        assert sum(folded.values()) == pytest.approx(HERTZ, rel=0.3), "two threads, half a second each"


def test_through_a_signal_handler(cc: Compiler, tmp_path: Path) -> None:
    _, folded = sampled(build(cc, "busy", "glibc", "-pthread"), tmp_path, "handler", "0.3")
    stacks = [stack for stack in folded if stack.endswith("handler;in_handler")]
    assert stacks and all(re.search(r";main;.*raise.*;handler;in_handler$", stack) for stack in stacks), folded


def test_deep_stacks(cc: Compiler, tmp_path: Path) -> None:
    """100 frames of 512 bytes and more do not fit into what is copied: what is missing is said."""
    _, folded = sampled(build(cc, "busy", "glibc", "-pthread"), tmp_path, "deep", "0.3")
    stack = max(folded, key=lambda one: folded[one])
    assert stack.split(";")[1] == "[deeper]" and 20 < stack.count(";deep") < 40 and stack.endswith("deep;heavy"), stack


def test_processes(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "busy", "glibc", "-pthread")
    _, folded = sampled(program, tmp_path, "fork", "0.4")
    assert share(folded, "beside") > 0.25 and share(folded, "main", "below", "heavy") > 0.25, folded
    _, folded = sampled(program, tmp_path, "exec")
    assert share(folded, "main", "below", "heavy") > 0.5, folded


@pytest.mark.parametrize("around", ["--jail", "--policy"])
def test_in_a_jail(cc: Compiler, tmp_path: Path, around: str) -> None:
    (tmp_path / "p.json").write_text(POLICY)
    options = [around, "p.json"] if around == "--policy" else [around]
    for kind in ("glibc", "dynamic"):
        ran, folded = sampled(build(cc, "busy", kind, "-pthread"), tmp_path, "threads", "0.3", options=options)
        assert ran.status == 0 and share(folded, "thread", "in_thread") > 0.7, (ran.err, folded)


def test_go_by_frame_pointers(tmp_path: Path) -> None:
    source = """package main
import "time"
var sink int
//go:noinline
func leaf(n int) { for i := 0; i < n; i++ { sink += i } }
//go:noinline
func outer(n int) { leaf(n); sink++ }
func main() { for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); { outer(1000000) } }
"""
    (tmp_path / "busy.go").write_text(source)
    env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", "busy", "busy.go"], cwd=tmp_path, env=env, check=True, capture_output=True)
    _, folded = sampled(tmp_path / "busy", tmp_path)
    assert share(folded, "runtime.main", "main.main", "main.outer", "main.leaf") > 0.8, folded


def test_the_flame_graph_has_the_numbers(cc: Compiler, tmp_path: Path) -> None:
    _, folded = sampled(build(cc, "busy", "glibc", "-pthread"), tmp_path, "shares", "0.5")
    root = ET.parse(tmp_path / "p.svg").getroot()
    total = sum(folded.values())
    rows: dict[float, dict[str, int]] = {}
    drawn = root.findall(f"{SVG}g")
    for group in drawn:
        rect, title = group.find(f"{SVG}rect"), group.find(f"{SVG}title")
        assert rect is not None and title is not None and title.text
        width, name = float(rect.attrib["width"]), group.attrib["data-name"]
        count = int(title.text.rsplit(": ", 1)[1].split()[0])
        assert title.text.startswith(f"{name}: {count} samples") and width == pytest.approx(count * 1200 / total, abs=0.01)
        row = rows.setdefault(float(rect.attrib["y"]), {})
        row[name] = row.get(name, 0) + count
    expected: list[dict[str, int]] = [{"all": total}]
    for stack, count in folded.items():
        for depth, name in enumerate(stack.split(";"), 1):
            expected += [{}] if depth == len(expected) else []
            expected[depth][name] = expected[depth].get(name, 0) + count
    assert [rows[y] for y in sorted(rows, reverse=True)] == expected
    for group in drawn:  # each lies on one below it, and within it
        (x, y, width) = (float(group.find(f"{SVG}rect").attrib[name]) for name in ("x", "y", "width"))  # type: ignore[union-attr]
        under = [other.find(f"{SVG}rect").attrib for other in drawn]  # type: ignore[union-attr]
        assert group.attrib["data-name"] == "all" or any(
            float(one["y"]) == y + flame.ROW
            and float(one["x"]) <= x + 0.01
            and x + width <= float(one["x"]) + float(one["width"]) + 0.01
            for one in under
        )


DOCUMENT = """
const frames = JSON.parse(process.argv[1]).map(([name, x, width]) => {
  const at = {x, width}, on = {};
  const rect = {style: {}, getAttribute: key => at[key], setAttribute: (key, value) => { at[key] = value; }};
  const text = {setAttribute() {}, textContent: ''};
  return {dataset: {name}, style: {}, at, on, rect, querySelector: what => what === 'rect' ? rect : text,
          addEventListener: (event, f) => { on[event] = f; }};
});
const search = {addEventListener(event, f) { this.click = f; }};
global.document = {querySelectorAll: () => frames, getElementById: () => search};
global.prompt = () => 'light';
eval(process.argv[2]);
const shown = () => frames.filter(f => f.style.display !== 'none').map(f => [f.dataset.name, +f.at.x, Math.round(f.at.width)]);
frames.find(f => f.dataset.name === 'below').on.click();
const near = shown();
frames[0].on.click();
search.click();
console.log(JSON.stringify([near, shown(), frames.filter(f => f.rect.style.stroke).map(f => f.dataset.name)]));
"""


def test_a_click_enlarges_a_frame() -> None:
    """The script of the SVG, run by node on the frames that it finds there."""
    made = flame.svg({"main;below;heavy": 3, "main;beside;light": 1}, "title")
    root = ET.fromstring(made)
    frames = []
    for group in root.findall(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        frames.append((group.attrib["data-name"], float(rect.attrib["x"]), float(rect.attrib["width"])))
    script = root.find(f"{SVG}script")
    assert script is not None and script.text
    words = ["node", "-e", DOCUMENT, json.dumps(frames), script.text]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    near, far, marked = json.loads(done.stdout)
    assert near == [[name, 0, 1200] for name in ("all", "main", "below", "heavy")]
    assert far == [[name, x, round(width)] for name, x, width in frames] and marked == ["light"]


def test_names_that_mean_something_in_xml() -> None:
    made = flame.svg({'main;operator<<(int&&, "x");a]]>b': 3, "main;other": 1}, "<program> & more")
    names = [group.attrib["data-name"] for group in ET.fromstring(made).findall(f"{SVG}g")]
    assert names == ["all", "main", 'operator<<(int&&, "x")', "a]]>b", "other"]


def test_times_add_up(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "busy", "glibc", "-pthread")
    ran, _ = sampled(program, tmp_path, "sleeps")
    table = {line.rsplit(maxsplit=3)[0]: line.rsplit(maxsplit=3)[1:] for line in ran.err.splitlines() if len(line.split()) >= 4}
    assert 400 <= float(table["clock_nanosleep"][1]) < 600 and table["clock_nanosleep"][0] == "1"
    wall = float(re.search(r"torov: ([\d.]+) s;", ran.err)[1]) * 1000  # type: ignore[index]
    kinds = sum(float(table[kind][1]) for kind in record.KINDS if kind in table)
    assert 400 < kinds < wall
    calls = sum(float(row[1]) for name, row in table.items() if name.isidentifier() and name not in record.KINDS)
    assert calls == pytest.approx(
        float(table["calls of patched sites"][1]) + float(table.get("calls by the trap", (0, "0"))[1]), rel=0.01
    )
    ran, _ = sampled(program, tmp_path, "writes")
    assert re.search(r"^write +2000 ", ran.err, re.MULTILINE), ran.err


def test_what_the_program_sees_is_the_same(cc: Compiler, tmp_path: Path) -> None:
    """However often it is stopped."""
    program = build(cc, "busy", "glibc", "-pthread")
    for how in ("status", "writes", "handler", "fork"):
        ran = compare(program, how, where=tmp_path / how, options=("--quiet", "--perf=p", "--perf-hz=10000"))
        assert ran.status == (7 if how == "status" else 0)


def test_signals_go_to_the_program(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "busy", "glibc", "-pthread")
    words = [sys.executable, "-m", "torov", "exec", "--quiet", "--perf=p", str(program), "--", "says", "60"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for sent, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with subprocess.Popen(words, cwd=tmp_path, env=env, start_new_session=True, stdout=subprocess.PIPE) as started:
            assert started.stdout and started.stdout.readline() == b"ready\n"
            if sent == signal.SIGINT:
                os.killpg(started.pid, sent)  # as a terminal does
            else:
                started.send_signal(sent)
        assert started.returncode == status, sent


def test_refusals(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "busy", "glibc", "-pthread")
    ran = run([sys.executable, "-m", "torov", "exec", "--perf=no/where/p", program], cwd=tmp_path)
    assert ran.status == 125 and ran.err == "torov: --perf=no/where/p: no such directory\n"
    ran = run([sys.executable, "-m", "torov", "exec", "--perf=p", "no/such/program"], cwd=tmp_path)
    assert ran.status == 127 and not list(tmp_path.glob("p.*"))


def test_what_a_guest_makes_up(tmp_path: Path) -> None:
    """Messages come from the guest's monitor, and names from the guest's memory: neither harms who reads them."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "elf").write_bytes(Path(sys.executable).resolve().read_bytes()[:5000])
    lines = "".join(
        f"{n}000 {n}000 {n}fff {path}\n"
        for n, path in enumerate((tmp_path / "fifo", tmp_path / "elf", "/dev/zero", "a\x1b[2Jb"), 1)
    )
    draw, sums, by = random.Random(1), record.Sums(), Unwinder()
    messages = [struct.pack("<IiiI", 1, 7, 7, 0) + lines.encode()]
    for _ in range(20000):
        kind = draw.choice((0, 1, 2, 2, 2, 3, 1 << 31))
        if kind == 2:
            registers = [draw.choice((draw.getrandbits(64), draw.randrange(1 << 15))) for _ in range(18)]
            body = struct.pack("<Ii18Q", draw.getrandbits(31), draw.randrange(-9, 999), *registers) + draw.randbytes(
                draw.randrange(300)
            )
        else:
            body = draw.randbytes(draw.choice((0, 3, 24, 48, 97)))
        messages.append(
            (struct.pack("<IiiI", kind, 7 if kind == 2 else draw.randrange(8, 20), 7, 0) + body)[: draw.choice((9999, 9999, 40))]
        )
    folded = flame.fold((by.stack(sample), 1) for sample in record.read(messages, sums))
    assert len(folded) > 3 and all(name.isprintable() for name in folded)
    ET.fromstring(flame.svg(folded, "made up"))
    assert all(0 <= kind < len(record.KINDS) for kind in sums.kinds)


def test_unwind_tables_by_their_index(cc: Compiler) -> None:
    """What is read of one function is what pyelftools makes of the whole section."""
    for path in (
        Path("/lib/x86_64-linux-gnu/libc.so.6"),
        Path("/usr/bin/python3").resolve(),
        build(cc, "busy", "dynamic", "-pthread"),
    ):
        ours = ObjectFile(str(path))
        with path.open("rb") as file:
            entries = [one for one in ELFFile(file).get_dwarf_info().EH_CFI_entries() if isinstance(one, FDE)]
        assert len(entries) > 3
        for entry in random.Random(1).sample(entries, min(300, len(entries))):
            for row in entry.get_decoded().table:
                found = ours.rules(row["pc"])
                assert found is not None and found[0]["pc"] == row["pc"] and found[0].keys() == row.keys()
                assert str(found[0]) == str(row) or all(vars(found[0][key]) == vars(row[key]) for key in row if key != "pc")
        assert ours.rules(1) is None
