"""The table of strict mode: what was inferred, in bytes, made once."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import HELLO_C, HELLO_S, Compiler

from torov import strict
from torov.loader import cachedir
from torov.prepare import image_of
from torov.rewrite.infer import infer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOROV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", ["glibc", "pie", "musl"])
def test_the_table_says_what_was_inferred(cc: Compiler, kind: str) -> None:
    path = str(cc(HELLO_C, kind))
    assert strict.unpack(strict.strict_table(path)) == infer(path).sites


def test_the_layout_to_the_byte(cc: Compiler) -> None:
    path = cc(HELLO_S, "bare")  # mov $1, %eax; ...; syscall; mov $60, %eax; ...; syscall
    table = strict.strict_table(str(path))
    code = path.read_bytes()
    first = 0x401000 + code[0x1000:].index(b"\x0f\x05")
    second = 0x401000 + code[0x1000:].rindex(b"\x0f\x05", 0, 64)
    sets = [bytearray(64), bytearray(64)]
    sets[0][0], sets[1][7] = 2, 16
    head = struct.pack("<8s6I", b"TOROVST1", 32 + 16 + 8 + 128, 2, 2, 32, 48, 56)
    assert table == head + struct.pack("<QQHH4x", first, second, 0, 1) + sets[0] + sets[1]


def test_it_is_made_once(cc: Compiler, cache: Path) -> None:
    path = str(cc(HELLO_C))
    made = strict.strict_table(path)
    assert [name.name for name in cache.glob("*.sites")] == [Path(image_of(path)).stem + ".1.sites"]
    program = (
        f"import sys, torov.strict as s; t = s.strict_table({path!r}); "
        f"sys.exit('capstone' in sys.modules or len(t) != {len(made)})"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("damage", [b"", b"TOROVST1", b"x" * 100])
def test_a_damaged_table_is_made_again(cc: Compiler, cache: Path, damage: bytes) -> None:
    path = str(cc(HELLO_C))
    made = strict.strict_table(path)
    place = next(cache.glob("*.sites"))
    place.write_bytes(damage)
    assert strict.strict_table(path) == made == place.read_bytes()


def test_a_table_that_others_can_write_is_not_used(cc: Compiler, cache: Path) -> None:
    path = str(cc(HELLO_C))
    made = strict.strict_table(path)
    place = next(cache.glob("*.sites"))
    place.write_bytes(made[:-1] + b"\xff")
    place.chmod(0o666)
    assert strict.strict_table(path) == made


def test_a_table_goes_with_its_image(cc: Compiler, cache: Path) -> None:
    strict.strict_table(str(cc(HELLO_C)))
    place = next(cache.glob("*.sites"))
    old = time.time() - 7200
    os.utime(place, (old, old))
    cachedir.sweep(str(cache), "", 1 << 40)
    assert place.exists()
    next(cache.glob("*.img")).unlink()
    cachedir.sweep(str(cache), "", 1 << 40)
    assert not place.exists()
