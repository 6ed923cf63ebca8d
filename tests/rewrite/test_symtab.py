"""Functions of .symtab, against nm on a program that the test compiles."""

from __future__ import annotations

import subprocess
from pathlib import Path

from synthetic import TEXT, make_image

from torov.loader.elf import load
from torov.rewrite import symtab


def test_finds_what_nm_finds(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    source = b"int main(void) { return 0; }\n"
    subprocess.run(["gcc", "-static", "-x", "c", "-o", str(path), "-"], input=source, check=True)
    argv = ["nm", "-S", "--defined-only", str(path)]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    expected: dict[int, tuple[int, set[str]]] = {}
    for fields in (line.split() for line in lines.splitlines()):
        if len(fields) == 4 and fields[2] in "tTiIwW":
            start, size = int(fields[0], 16), int(fields[1], 16)
            longest, names = expected.get(start, (0, set()))
            expected[start] = max(longest, size), names | {fields[3]}
    image = load(str(path))
    table, named = symtab.find(image), symtab.names(image, set(expected))
    assert len(expected) > 500
    for start, (size, names) in expected.items():
        assert table.around(start)[0] == (start, start + size)
        assert named[start] in names


def test_names_that_are_asked_for_only() -> None:
    image = make_image(b"\x90" * 32, [(0, 8), (8, 16)], ".symtab")
    assert symtab.names(image, {TEXT + 8, TEXT + 9}) == {TEXT + 8: "f1"}
    assert symtab.names(image, set()) == {}


def test_stripped_program() -> None:
    assert symtab.find(make_image(b"\x90")).around(TEXT) == (None, None)
