"""The rewriter on the binaries, and a site that runs although the rewriter says it is no instruction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from guests import ran, write

from torov import cli
from torov.corpus import fetch, read_binaries
from torov.corpus.patch import differences, examined, golden

ENTRIES = read_binaries()
ROOT = Path(__file__).resolve().parents[2]
HIDDEN = """
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    long result = -1;
    int times = 0;
    if (fork()) { wait(0); return 0; }
    /* the four bytes of the constant are a syscall and two nops; the second time it is jumped into */
    __asm__ volatile("1: .byte 0xbb\\n2: .byte 0x0f, 0x05, 0x90, 0x90\\n"
                     "inc %1\\n cmp $2, %1\\n je 3f\\n mov $39, %%eax\\n jmp 2b\\n3: mov %%rax, %0\\n"
                     : "+r"(result), "+r"(times) : : "rax", "rbx", "rcx", "r11", "memory");
    printf("%d\\n", result == getpid());
    return 0;
}
"""


@pytest.mark.corpus
def test_a_binary_is_as_golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(fetch(ENTRIES["tini-static"], ENTRIES.values()))
    monkeypatch.setenv("TOROV_CORPUS", str(tmp_path))
    row = examined(ENTRIES["tini-static"], path)
    assert (row["counts"], row["differs"], row["error"]) == (golden()["tini-static"], [], "")
    assert row["size"] == ENTRIES["tini-static"].size and row["seconds"] > 0
    (kept,) = (tmp_path / "plans").iterdir()
    kept.write_text('{"counts": {"CONFIRMED": 1}, "seconds": 7}')
    monkeypatch.setattr("torov.corpus.patch.differences", lambda *_: [])
    assert examined(ENTRIES["tini-static"], path, again=False)["seconds"] == 7
    assert examined(ENTRIES["tini-static"], path)["counts"] == golden()["tini-static"]


def test_differences_are_told() -> None:
    entry, known = ENTRIES["rg"], golden()["rg"]
    assert differences(entry, known) == []
    more = {**known, "EMBEDDED": known["EMBEDDED"] + 1}
    assert differences(entry, more) == ["EMBEDDED 7, golden 6", "EMBEDDED 7, survey 6"]
    assert differences(replace(entry, syscalls=1), known) == ["CONFIRMED but at ends 170, survey 1"]
    assert differences(replace(entry, id="other", raw=0), more) == []


def test_what_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF")
    row = examined(replace(ENTRIES["rg"], id="x"), str(tmp_path / "x"))
    assert row["counts"] == {} and "x: " in row["error"]


@pytest.mark.kvm
def test_a_site_that_the_scanner_took_for_data_fails_the_case(tmp_path: Path) -> None:
    """In a child, whose monitor is not the one that was started."""
    (tmp_path / "x").mkdir()
    from torov.corpus import attempt
    from torov.corpus.form import read_cases

    (case,) = read_cases([write(tmp_path, {"name": "a"}, guest=HIDDEN)])
    result = attempt.attempt(case.document(), trace="none")
    assert (result["outcome"], [one["what"] for one in result["differs"]]) == ("different", ["sites"])
    assert "error of the scanner: getpid at 0x" in result["differs"][0]["diff"]
    assert ran(tmp_path, {"name": "b", "args": ["nothing"]})["outcome"] == "same"


@pytest.mark.corpus
def test_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["corpus", "patch", "-j", "1", "mksh", "sash"]) == 0
    out = capfd.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["binary", "mksh", "sash"] and out.count("as golden") == 2
    assert cli.main(["corpus", "patch", "nothing"]) == 125
    # by the installed script, whose name multiprocessing cannot import
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "bin/torov"), "corpus", "patch", "-j", "2", "--json", "mksh", "sash"]
    done = subprocess.run(command, env=env, capture_output=True, check=True, timeout=60)
    assert [row["binary"] for row in json.loads(done.stdout)] == ["mksh", "sash"]
