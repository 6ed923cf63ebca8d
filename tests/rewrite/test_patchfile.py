"""Patched files on disk: what differs, what is kept, and that the undo is exact or refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from torov.errors import RewriteError
from torov.loader.elf import load
from torov.rewrite.patchfile import undo, write_patched
from torov.rewrite.plan import Verdict, plan

# gas puts a label before each real syscall, so the assembler says where they are.
SOURCE = """
    .globl _start
    .type _start, @function
_start:
    .cfi_startproc
    movl $0x0000050f, %ebx
    movl $39, %eax
site_1: syscall
    movl $60, %eax
    movl $0x000010e7, %ebx
site_2: syscall
    ret
    .cfi_endproc
    .size _start, . - _start
    .type restorer, @function
restorer:
    .cfi_startproc
    movq $15, %rax
site_3: syscall
    .cfi_endproc
    .size restorer, . - restorer
    .type rest, @function
rest:
"""


def build(directory: Path, source: str, name: str = "program") -> Path:
    path = directory / name
    argv = ["gcc", "-nostdlib", "-static", "-x", "assembler", "-o", str(path), "-"]
    subprocess.run(argv, input=source.encode(), check=True)
    return path


def labels(path: Path) -> dict[str, int]:
    lines = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: int(addr, 16) for addr, _, name in map(str.split, lines) if name.startswith("site_")}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return build(tmp_path, SOURCE)


@pytest.mark.parametrize("clean_gap", [True, False])
def test_patch_and_undo(program: Path, tmp_path: Path, clean_gap: bool) -> None:
    # code without a table of any kind, after the functions
    path = build(tmp_path, SOURCE + "nop; movl $1, %eax; site_4: syscall; ret\n", "more")
    path.chmod(0o750)
    at = labels(path)
    image = load(str(path))
    made = plan(image, clean_gap)
    confirmed = {s.vaddr for s in made.sites if s.verdict is Verdict.CONFIRMED}
    assert confirmed == {at["site_1"], at["site_2"], at["site_3"]}
    assert made.patched() == sorted([at["site_1"], at["site_2"]] + [at["site_4"]] * clean_gap)
    out, back = tmp_path / "out", tmp_path / "back"
    write_patched(image, made, str(out))
    before, after = path.read_bytes(), out.read_bytes()
    assert len(before) == len(after)
    places = {s.offset for s in made.sites if s.new}
    assert {i for i in range(len(before)) if before[i] != after[i]} == places | {p + 1 for p in places}
    assert out.stat().st_mode & 0o7777 == 0o750
    assert undo(str(out), str(back)).patched() == made.patched()
    assert back.read_bytes() == before
    assert back.stat().st_mode & 0o7777 == 0o750
    assert sorted(os.listdir(tmp_path)) == ["back", "more", "out", "program"]


def test_program_with_an_out_of_its_own_is_not_written(tmp_path: Path) -> None:
    image = load(str(build(tmp_path, SOURCE.replace("    ret\n", "    outl %eax, $0x10\n    ret\n"))))
    with pytest.raises(RewriteError, match="holds an out 0x10, eax of its own"):
        write_patched(image, plan(image), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_undo_of_a_file_that_was_never_patched(program: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="is not as this version of torov patch wrote it"):
        undo(str(program), str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_undo_of_a_file_with_one_patch_taken_back(program: Path, tmp_path: Path) -> None:
    image = load(str(program))
    write_patched(image, plan(image), str(tmp_path / "out"))
    body = bytearray((tmp_path / "out").read_bytes())
    at = next(s.offset for s in plan(image).sites if s.new)
    body[at:at + 2] = b"\x0f\x05"
    (tmp_path / "changed").write_bytes(body)
    with pytest.raises(RewriteError, match="its original cannot be known"):
        undo(str(tmp_path / "changed"), str(tmp_path / "back"))


def test_out_is_the_program_itself(program: Path, tmp_path: Path) -> None:
    image = load(str(program))
    (tmp_path / "link").symlink_to(program)
    before = program.read_bytes()
    with pytest.raises(RewriteError, match="is the input file itself"):
        write_patched(image, plan(image), str(tmp_path / "link"))
    assert program.read_bytes() == before


def test_out_cannot_be_written(program: Path, tmp_path: Path) -> None:
    image = load(str(program))
    with pytest.raises(RewriteError, match="cannot be written: No such file or directory"):
        write_patched(image, plan(image), str(tmp_path / "absent" / "out"))
