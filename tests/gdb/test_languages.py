"""gdb over programs in Go and Pascal, and over dynamic ones in C."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from debugging import GUESTS, built, compare, debugged
from support import Compiler

pytestmark = pytest.mark.kvm


def compiled(cc: Compiler, name: str, *command: str) -> Path:
    """tests/gdb/guests/NAME by another compiler, kept beside the C guests."""
    source = GUESTS / name
    made = cc.directory / f"gdb-{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not made.exists():
        scratch = cc.directory / f"{made.name}.{os.getpid()}"
        scratch.mkdir()
        words = [word.format(out=scratch / "program", dir=scratch) for word in command]
        env = {**os.environ, "GOFLAGS": "-mod=mod", "GOCACHE": str(scratch / "cache"), "CGO_ENABLED": "0", "GO111MODULE": "off"}
        done = subprocess.run([*words, source], capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        os.replace(scratch / "program", made)
        subprocess.run(["rm", "-rf", scratch], check=True)
    return made


def test_pascal(cc: Compiler, tmp_path: Path) -> None:
    program = compiled(cc, "work.pas", "fpc", "-g", "-O-", "-v0", "-FE{dir}", "-o{out}")
    commands = [
        "break TWICE",
        "continue",
        "backtrace",
        "info args",
        "print TOTAL",
        "continue",
        "finish",
        "print TOTAL",
        "next",
        "delete",
        "continue",
    ]
    ran = compare(tmp_path, program, commands)
    assert (ran.out, ran.status) == ("total 10 8\n", 0) and "TOTAL" not in ran.out


def test_go(cc: Compiler, tmp_path: Path) -> None:
    """Its runtime interrupts threads by signals all the while."""
    program = compiled(cc, "work.go", "go", "build", "-gcflags=all=-N -l", "-o", "{out}")
    commands = ["break main.work if n == 5", "continue", "backtrace", "info args", "print *p", "finish", "delete", "continue"]
    ran = debugged(tmp_path, program, commands)
    assert "main.work (n=5" in ran.said and "main.main ()" in ran.said and "{X = 1, Y = 2}" in ran.said, ran.whole
    assert (ran.out, ran.status) == ("total 12 30\n", 0)


def test_a_dynamic_program(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "break main",
        "continue",
        "break inner",
        "continue",
        "backtrace",
        "finish",
        "break puts",
        "continue",
        "finish",
        "print $_exitcode",
        "continue",
    ]
    program = built(cc, "library", "dynamic")
    ran = debugged(tmp_path, program, [*commands[:-1], "info sharedlibrary", "delete", "continue"])
    assert "inner (n=2)" in ran.said and "inner (n=5)" in ran.said
    assert "libc.so.6" in ran.said and (ran.out, ran.status) == ("done\n", 6)


def test_thread_local_variables_of_a_dynamic_program(cc: Compiler, tmp_path: Path) -> None:
    commands = ["break inner", *("continue", "print mine", "finish", "print mine", "print errno") * 2, "thread 1", "print mine"]
    commands += ["delete", "continue"]
    ran = debugged(tmp_path, built(cc, "library", "dynamic"), commands)
    values = re.findall(r"^\$\d+ = (\d+)$", ran.said, re.M)
    assert values == ["11", "13", "2", "11", "16", "5", "13"], ran.whole
    assert (ran.out, ran.status) == ("done\n", 6)
