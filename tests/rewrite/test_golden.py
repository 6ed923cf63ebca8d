"""Verdicts on the real programs of the corpus.

Three sources: golden counts of our own (a change must be meant), an independent survey of the same files (the
manifest's columns), and objdump's disassembly of each program.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

import torov.corpus
from torov.corpus import Entry, Offline, fetch, read_binaries
from torov.loader.elf import load
from torov.loader.image import Image
from torov.rewrite.patchfile import undo, write_patched
from torov.rewrite.plan import Kept, Plan, Verdict, plan

pytestmark = pytest.mark.corpus

GOLDEN = json.loads((Path(torov.corpus.__file__).parent / "golden.json").read_text())
ENTRIES = read_binaries()
SMALL = [i for i, e in ENTRIES.items() if e.size < 30_000_000]
LARGE = [i for i in ENTRIES if i not in SMALL]
# Free Pascal's code has no function table and holds data: its system calls stay AMBIGUOUS.
PASCAL = ("x86_64-linux-gnu-fpc-3.2.2", "x86_64-linux-gnu-fpcres-3.2.2", "ppcx64")


def binary(entry: Entry) -> Path:
    try:
        return fetch(entry, ENTRIES.values())
    except Offline as err:
        pytest.skip(str(err))


@lru_cache(maxsize=2)
def planned(id: str) -> tuple[Image, Plan]:
    image = load(str(binary(ENTRIES[id])))
    return image, plan(image)


def function_ends(made: Plan) -> list[tuple[int, int]]:
    """Return (function, address) of the syscalls that stand exactly at the end of their FDE."""
    found = [(s.function, s.vaddr) for s in made.sites if s.reason.startswith("at the end of a function")]
    return [(function, vaddr) for function, vaddr in found if function is not None and vaddr is not None]


def objdump(path: str, *window: str) -> set[int]:
    """Return the addresses of the two bytes 0F 05 of each syscall instruction that objdump shows."""
    line_form = re.compile(rb" *([0-9a-f]+):\t([0-9a-f ]+?) *\t(?:rex\.\w+ |repn?z |data16 )*syscall\s*")
    with subprocess.Popen(["objdump", "-d", "-w", *window, path], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [line_form.fullmatch(line) for line in child.stdout if b"syscall" in line]
    return {int(m[1], 16) + len(m[2].split()) - 2 for m in lines if m}


def test_the_golden_file_has_every_program_of_the_manifest() -> None:
    assert list(GOLDEN) == list(ENTRIES)
    assert len(ENTRIES) == 38


@pytest.mark.parametrize("id", ENTRIES)
def test_counts(id: str) -> None:
    entry, (_, made) = ENTRIES[id], planned(id)
    ends = len(function_ends(made))
    found = {v.name: n for v, n in made.counts().items()}
    found |= {
        "executable": sum(s.executable for s in made.sites),
        "patched": len(made.patched()),
        "restorers": sum(s.kept is Kept.RESTORER for s in made.sites),
        "function_end": ends,
    }
    assert found == GOLDEN[id]
    # The survey leaves out the syscalls at the end of an FDE, as in glibc's clone and clone3.
    assert (found["executable"], found["CONFIRMED"] - ends, found["EMBEDDED"], found["CLEAN_GAP"]) == (
        entry.raw, entry.syscalls, entry.embedded, entry.clean_gap)


@pytest.mark.parametrize("id", SMALL)
def test_objdump_agrees_on_every_site(id: str) -> None:
    image, made = planned(id)
    shown = objdump(image.path)
    judged = {verdict: {s.vaddr for s in made.sites if s.verdict is verdict} for verdict in Verdict}
    real = judged[Verdict.CONFIRMED] | judged[Verdict.CLEAN_GAP]
    assert real <= shown
    assert not shown & judged[Verdict.EMBEDDED]
    assert set(made.patched()) <= real
    if id in PASCAL:
        assert not real
        assert shown <= judged[Verdict.AMBIGUOUS]
        assert len(shown) == 9
    else:
        assert shown == real  # and none was missed


@pytest.mark.parametrize("id", LARGE)
def test_objdump_agrees_on_function_ends_of_large_programs(id: str) -> None:
    image, made = planned(id)
    for function, address in function_ends(made):
        assert address in objdump(image.path, f"--start-address={function}", f"--stop-address={address + 2}")


@pytest.mark.parametrize(
    ("id", "address"),
    [("rg", 0x39DBD7), ("ffmpeg", 0x399C4AD)],  # two values of eax reach it; between hand-written functions
)
def test_regression_addresses(id: str, address: int) -> None:
    image, made = planned(id)
    (site,) = (s for s in made.sites if s.vaddr == address)
    assert (site.verdict, site.kept) == (Verdict.CONFIRMED, None)
    assert site.function is not None
    assert address in objdump(image.path, f"--start-address={site.function}", f"--stop-address={address + 2}")


@pytest.mark.parametrize("id", SMALL)
def test_undo_gives_the_original_back(id: str, tmp_path: Path) -> None:
    image, made = planned(id)
    out, back = tmp_path / "out", tmp_path / "back"
    write_patched(image, made, str(out))
    body = out.read_bytes()
    assert len(body) == len(image.data)
    changed = {s.offset for s in made.sites if s.new}
    assert body.count(b"\x0f\x05") == len(made.sites) - len(changed)
    undo(str(out), str(back))
    assert back.read_bytes() == image.data
