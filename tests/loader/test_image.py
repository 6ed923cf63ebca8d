"""Image files against the written layout (offsets as plain numbers), and how the values behave."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from pathlib import Path

import pytest
from support import HELLO_C, Compiler, patched

from torov.errors import LoadError
from torov.loader import files
from torov.loader.elf import load
from torov.loader.image import Image, Section, Segment, read_image, write_image

TEXT = Segment(vaddr=0x401234, memsz=0x800, offset=0x234, filesz=0x700, flags=5)
BSS = Segment(vaddr=0x403000, memsz=0x2001, offset=0xFFFF0001, filesz=0, flags=6)
DATA = bytes(range(256)) * 10
DIGEST = hashlib.sha256(DATA).digest()


def image(**changes: object) -> Image:
    fields: dict[str, object] = {
        "pie": False, "entry": 0x401240, "phdr": 0x400040, "phentsize": 56, "phnum": 7,
        "segments": (TEXT, BSS),
    }  # fmt: skip
    return Image("prog", DATA, **{**fields, **changes})  # type: ignore[arg-type]


def u32(raw: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", raw, at)[0])


def u64(raw: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", raw, at)[0])


def test_layout(tmp_path: Path) -> None:
    path = tmp_path / "image"
    body = DATA[:-1] + b"!"
    write_image(str(path), image(), body, [0x401300, 0x401250], [(0x401400, 4), (0x401380, 2)], DIGEST)
    raw = path.read_bytes()
    assert raw[:8] == b"TOROVIM1"
    assert [u32(raw, at) for at in (8, 12, 16, 20, 24, 28)] == [1, 160, 0, 2, 2, 2]
    assert [u64(raw, at) for at in (32, 40)] == [0x401240, 0x400040]
    assert [u32(raw, at) for at in (48, 52)] == [56, 7]
    segments, sites, traps = (u64(raw, at) for at in (56, 64, 72))
    assert [u64(raw, at) for at in (80, 88)] == [0x401000, 0x406000]
    body_at, body_size = u64(raw, 96), u64(raw, 104)
    assert body_at % 4096 == 0
    assert raw[body_at : body_at + body_size] == body
    assert raw[112:144] == DIGEST
    assert raw[144:160] == bytes(16)
    assert segments % 8 == 0
    assert segments >= body_at + body_size
    row = [u64(raw, segments + 8 * i) for i in range(4)]
    assert row == [0x401234, 0x800, 0x700, body_at + 0x234]
    assert u32(raw, segments + 32) == 5
    assert u64(raw, segments + 40) == 0x403000
    assert u64(raw, segments + 40 + 24) == body_at  # no bytes in the file: p_offset does not matter
    assert [u64(raw, sites + 8 * i) for i in range(2)] == [0x401250, 0x401300]
    assert [(u64(raw, traps + 16 * i), u32(raw, traps + 16 * i + 8)) for i in range(2)] == [
        (0x401380, 2),
        (0x401400, 4),
    ]
    assert len(raw) == traps + 32


@pytest.mark.parametrize(
    ("pie", "exec_stack", "flags"), [(False, False, 0), (True, False, 1), (False, True, 2)]
)
def test_flags(tmp_path: Path, pie: bool, exec_stack: bool, flags: int) -> None:
    write_image(str(tmp_path / "i"), image(pie=pie, exec_stack=exec_stack), DATA, [], [], DIGEST)
    assert u32((tmp_path / "i").read_bytes(), 16) == flags


def test_a_program_survives_the_way_through_its_image_file(cc: Compiler, tmp_path: Path) -> None:
    program = load(str(cc(HELLO_C, "pie")))
    digest = hashlib.sha256(program.data).digest()
    path = str(tmp_path / "image")
    write_image(path, program, program.data, [3, 1, 2], [(9, 5)], digest)
    back = read_image(path)
    assert (back.entry, back.phdr, back.phentsize, back.phnum) == (
        program.entry, program.phdr, program.phentsize, program.phnum
    )  # fmt: skip
    assert [(s.vaddr, s.memsz, s.filesz, s.flags) for s in back.segments] == [
        (s.vaddr, s.memsz, s.filesz, s.flags) for s in program.segments
    ]
    raw = Path(path).read_bytes()
    for mine, theirs in zip(back.segments, program.segments, strict=True):
        bytes_in_image = raw[mine.offset : mine.offset + mine.filesz]
        assert bytes_in_image == program.data[theirs.offset : theirs.offset + theirs.filesz]
        assert (mine.vaddr - mine.offset) % 4096 == 0
    assert (back.sites, back.traps, back.body, back.sha256) == ((1, 2, 3), ((9, 5),), program.data, digest)
    assert back.span == program.span


def test_span_is_in_whole_pages_and_leaves_empty_segments_out() -> None:
    empty = Segment(vaddr=0x10, memsz=0, offset=0, filesz=0, flags=4)
    assert image(segments=(empty, BSS, TEXT)).span == (0x401000, 0x406000)
    assert image(segments=(Segment(0x401000, 0x1000, 0, 0, 4),)).span == (0x401000, 0x402000)


@pytest.mark.parametrize(
    ("at", "form", "value", "field"),
    [(0, "B", 0x20, "magic"), (8, "I", 2, "version"), (12, "I", 152, "version"), (28, "I", 3, "size")],
)
def test_other_versions_are_refused(tmp_path: Path, at: int, form: str, value: int, field: str) -> None:
    path = tmp_path / "image"
    write_image(str(path), image(), DATA, [1], [(2, 3)], DIGEST)
    path.write_bytes(patched(path.read_bytes(), at, form, value))
    with pytest.raises(LoadError, match=f"image file: {field}: expected"):
        read_image(str(path))


@pytest.mark.parametrize("length", [0, 7, 159, 160, 4096, -1])
def test_truncated_images_are_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "image"
    write_image(str(path), image(), DATA, [1], [(2, 3)], DIGEST)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(LoadError, match=r"image file: (magic|size): expected"):
        read_image(str(path))


@pytest.mark.parametrize(
    ("body", "sites", "digest"), [(DATA[:-1], [], DIGEST), (DATA, [1, 1], DIGEST), (DATA, [], DIGEST[:-1])]
)
def test_what_does_not_belong_together_is_not_written(
    tmp_path: Path, body: bytes, sites: list[int], digest: bytes
) -> None:
    with pytest.raises(ValueError, match="do not belong to this image"):
        write_image(str(tmp_path / "image"), image(), body, sites, [], digest)
    assert list(tmp_path.iterdir()) == []


def test_values_are_compared_and_never_change() -> None:
    assert Segment(0x401234, 0x800, 0x234, 0x700, 5) == TEXT
    assert len({TEXT, Segment(0x401234, 0x800, 0x234, 0x700, 5), BSS}) == 2
    assert Section("x", 0x401234, 0x234, 0x700, 5, 0x800) != TEXT
    assert image() == image()
    assert image() != image(entry=1)
    with pytest.raises(AttributeError, match=r"Segment\.vaddr is read-only"):
        TEXT.vaddr = 1
    with pytest.raises(AttributeError, match=r"Image\.entry is read-only"):
        del image().entry
    assert "vaddr=0x401234" in repr(TEXT)
    assert "data=<2560 bytes>" in repr(image())


def test_replace_file_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.replace_file(str(path), [b"one", bytearray(b" two")])
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o7777 == 0o600

    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EIO, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="refused"):
            files.replace_file(str(path), [b"new"])
    assert path.read_bytes() == b"one two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
