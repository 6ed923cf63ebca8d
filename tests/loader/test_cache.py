"""The image cache: what is a hit, what is a miss, who may write it, and how big it gets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import HELLO_C, Compiler

from torov.errors import MachineError, UsageError
from torov.loader import cache, cachedir, image
from torov.loader.elf import load

OLD = 1_600_000_000


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory of this test."""
    path = tmp_path / "cache"
    monkeypatch.setenv("TOROV_CACHE", str(path))
    monkeypatch.delenv("TOROV_CACHE_MAX", raising=False)
    return path


@pytest.fixture(scope="session")
def program(cc: Compiler) -> Path:
    """A program that did not change for two seconds."""
    path = cc(HELLO_C, "musl")
    time.sleep(max(0.0, path.stat().st_ctime + 2.1 - time.time()))
    return path


def store(path: Path, version: int | str = 1) -> str:
    loaded = load(str(path))
    return cache.store(loaded, loaded.data, [], [], version)


def links(base: Path) -> list[str]:
    return sorted(os.listdir(base / "by-stat")) if (base / "by-stat").exists() else []


def test_miss_then_hit(base: Path, program: Path) -> None:
    assert cache.lookup(str(program), 1) is None
    stored = store(program)
    assert Path(stored).parent == base
    assert image.read_image(stored).body == program.read_bytes()
    assert cache.lookup(str(program), 1) == stored
    assert base.stat().st_mode & 0o7777 == 0o700
    assert Path(stored).stat().st_mode & 0o7777 == 0o600


def test_another_version_is_a_miss(base: Path, program: Path) -> None:
    one, two = store(program, 1), store(program, "1s")
    assert one != two
    assert (cache.lookup(str(program), 1), cache.lookup(str(program), "1s")) == (one, two)
    assert cache.lookup(str(program), 2) is None


def test_a_hit_reads_no_contents_and_imports_nothing(base: Path, program: Path) -> None:
    stored = store(program)
    script = (
        "import sys, json, os\nbefore = set(sys.modules)\n"
        "from torov.loader import cache\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "found = cache.lookup(sys.argv[1], 1)\n"
        "print(json.dumps([found, sorted(set(sys.modules) - before), opened]))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, program],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    ).stdout  # fmt: skip
    found, modules, opened = json.loads(out)
    assert found == stored
    assert opened == [stored]
    ours = {"__future__", "torov", "torov.loader", "torov.loader.cache", "torov.loader.cachedir"}
    assert set(modules) <= ours


def test_a_hit_is_fast(base: Path, program: Path) -> None:
    store(program)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        cache.lookup(str(program), 1)
        times.append(time.perf_counter() - start)
    assert min(times) < 100e-6


def test_a_young_file_is_found_by_its_contents_only(base: Path, program: Path, tmp_path: Path) -> None:
    young = tmp_path / "young"
    shutil.copy(program, young)
    stored = store(young)
    assert links(base) == []
    assert cache.lookup(str(young), 1) == stored
    assert links(base) == []
    time.sleep(2.1)
    assert cache.lookup(str(young), 1) == stored
    assert len(links(base)) == 1


def test_a_change_in_place_is_seen(base: Path, program: Path, tmp_path: Path) -> None:
    """Same size, same inode, modification time set back: the change time still tells."""
    copy = tmp_path / "copy"
    shutil.copy(program, copy)
    os.utime(copy, (OLD, OLD))
    time.sleep(2.1)
    stored = store(copy)
    assert len(links(base)) == 1
    with open(copy, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([copy.read_bytes()[-1] ^ 1]))
    os.utime(copy, (OLD, OLD))
    assert cache.lookup(str(copy), 1) is None
    assert store(copy) != stored


def test_a_copy_of_a_known_program_needs_no_second_image(base: Path, program: Path, tmp_path: Path) -> None:
    stored = store(program)
    copy = tmp_path / "copy"
    shutil.copy(program, copy)
    assert cache.lookup(str(copy), 1) == stored


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def grow(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def break_magic(path: Path) -> None:
    path.write_bytes(b"x" + path.read_bytes()[1:])


def break_version(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:8] + b"\2" + raw[9:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def share(path: Path) -> None:
    path.chmod(0o622)


def link_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "damage", [truncate, grow, break_magic, break_version, empty, share, link_away, make_fifo, Path.unlink]
)
def test_a_damaged_image_is_a_miss_and_is_replaced(base: Path, program: Path, damage: object) -> None:
    stored = store(program)
    assert callable(damage)
    damage(Path(stored))
    assert cache.lookup(str(program), 1) is None
    assert store(program) == stored
    assert cache.lookup(str(program), 1) == stored


def test_what_is_no_program_is_a_miss(base: Path, program: Path, tmp_path: Path) -> None:
    store(program)
    os.mkfifo(tmp_path / "fifo")
    for path in ("/no/such/file", "", "a\0b", str(tmp_path), str(tmp_path / "fifo"), "/dev/null"):
        assert cache.lookup(path, 1) is None


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_directory_that_others_can_write_is_not_used(base: Path, program: Path, mode: int) -> None:
    store(program)
    base.chmod(mode)
    assert cache.lookup(str(program), 1) is None
    reason = cachedir.problem(str(base))
    assert reason == f"others can write it (mode {mode:04o}); chmod go-w makes it usable"
    elsewhere = Path(store(program))
    assert elsewhere.parent != base
    assert elsewhere.parent.stat().st_mode & 0o7777 == 0o700
    assert image.read_image(str(elsewhere)).body == program.read_bytes()


def test_a_directory_of_another_user_is_not_used(
    base: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(program)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert cache.lookup(str(program), 1) is None
    assert cachedir.problem(str(base)) == f"it belongs to user {os.getuid()}"


def test_where_nothing_can_be_made_the_image_is_temporary(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TOROV_CACHE", str(tmp_path / "file" / "cache"))
    assert cache.lookup(str(program), 1) is None
    script = (
        "import sys\nfrom torov.loader import cache\nfrom torov.loader.elf import load\n"
        "image = load(sys.argv[1])\npath = cache.store(image, image.data, [], [], 1)\n"
        "open(path, 'rb').close()\nprint(path)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, program],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    ).stdout.strip()  # fmt: skip
    assert out.endswith(".img")
    assert not os.path.exists(os.path.dirname(out))


def test_no_room_anywhere_is_one_error(base: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    loaded = load(str(program))
    monkeypatch.setattr(image, "replace_file", refuse)
    with pytest.raises(MachineError, match="write the image file: No space left on device; set TOROV_CACHE"):
        cache.store(loaded, loaded.data, [], [], 1)


def test_location(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("TOROV_CACHE", "/t/c")
    assert cachedir.location() == "/t/c"
    monkeypatch.delenv("TOROV_CACHE")
    assert cachedir.location() == "/x/torov"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cachedir.location() == "/home/u/.cache/torov"


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 4 << 30), ("0", 0), ("1000", 1000), ("2k", 2048), ("3M", 3 << 20), ("1T", 1 << 40)],
)
def test_limit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("TOROV_CACHE_MAX", text)
    assert cachedir.limit() == size


@pytest.mark.parametrize("text", ["x", "G", "-1", "1.5G", "4GB", "9" * 5000, "٣"])
def test_bad_limit(base: Path, program: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOROV_CACHE_MAX", text)
    with pytest.raises(UsageError, match="TOROV_CACHE_MAX: expected a number of bytes as 500M or 4G, got"):
        store(program)


def test_the_least_recently_used_go_first(base: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    stored = [store(program, version) for version in range(4)]
    for age, path in zip((4, 3, 2, 1), stored, strict=True):
        os.utime(path, (now - age * 86400,) * 2)
    assert cache.lookup(str(program), 0) == stored[0]  # used: it is young again
    size = os.path.getsize(stored[0])
    monkeypatch.setenv("TOROV_CACHE_MAX", str(3 * size))
    fifth = store(program, 4)
    assert sorted(base.glob("*.img")) == sorted(Path(p) for p in (stored[0], stored[3], fifth))
    monkeypatch.setenv("TOROV_CACHE_MAX", "0")
    sixth = store(program, 5)
    assert list(base.glob("*.img")) == [Path(sixth)]


def test_sweep_removes_what_writers_left(base: Path, program: Path) -> None:
    store(program)
    for name, when in (("dead.tmp", OLD), ("live.tmp", time.time())):
        (base / name).write_bytes(b"")
        os.utime(base / name, (when, when))
    for name, when in (("dead", OLD), ("live", time.time())):
        (base / "by-stat" / name).symlink_to("no-image")
        os.utime(base / "by-stat" / name, (when, when), follow_symlinks=False)
    store(program, 2)
    assert [p.name for p in base.glob("*.tmp")] == ["live.tmp"]
    assert "dead" not in links(base)
    assert "live" in links(base)
    assert len(links(base)) == 3


def test_links_are_bounded(base: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cachedir, "MAX_LINKS", 3)
    for version in range(6):
        store(program, version)
    assert len(links(base)) == 3
    assert cache.lookup(str(program), 5) is not None


def test_many_writers_at_once(base: Path, cc: Compiler, program: Path) -> None:
    other = cc(HELLO_C, "glibc")
    script = (
        "import sys\nfrom torov.loader import cache\nfrom torov.loader.elf import parse\n"
        "for turn in range(40):\n"
        "    for name in sys.argv[1:]:\n"
        "        data = open(name, 'rb').read()\n"
        "        path = cache.store(parse(name, data), data, [], [], turn % 2)\n"
        "        found = cache.lookup(name, turn % 2)\n"
        "        assert found == path, (found, path)\n"
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", script, program, other],
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(4)
    ]
    for job in jobs:
        _, err = job.communicate(timeout=120)
        assert (job.returncode, err) == (0, b"")
    assert len(list(base.glob("*.img"))) == 4
    assert list(base.glob("*.tmp")) == []
    for path in base.glob("*.img"):
        image.read_image(str(path))


def test_the_format_is_that_of_the_image_file() -> None:
    assert (
        image.VERSION, image.MAGIC, image.HEADER.size, image.TRAP.size
    ) == (cache.FORMAT, cache.MAGIC, cache._HEADER_SIZE, cache._TRAP_SIZE)  # fmt: skip
