"""The cache of compiled policies: used while nothing changed, and only where nobody else could have written it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torov.policy import Policy, load, record


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("TOROV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "policy"


def _write(file: Path, action: str = "kill", **more: object) -> Path:
    rules = [{"calls": ["read"], "action": action}, {"calls": ["open"], "where": [{"path": "/x"}], "action": "deny"}]
    file.write_text(json.dumps({"torov": 1, "default": "allow", "rules": rules, **more}))
    return file


def _parts(made: Policy) -> dict[str, object]:
    return {name: getattr(made, name) for name in Policy.__slots__ if not name.startswith("_")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _write(tmp_path / "p.json", limits={"memory": "1M"}, root="r", strict=True, environment={"pass": ["A"]})


def test_the_second_load_is_read_from_the_record_and_says_the_same(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(str(file))
    assert [entry.stat().st_mode & 0o7777 for entry in cache.iterdir()] == [0o600]
    assert cache.stat().st_mode & 0o7777 == 0o700
    monkeypatch.setattr("torov.policy.source.read", None)  # nothing compiles it again
    assert _parts(load(str(file))) == _parts(first)


def test_the_second_load_imports_none_of_what_compiles(file: Path) -> None:
    load(str(file))
    program = "import sys; from torov import policy; policy.load(sys.argv[1]); print(*sorted(sys.modules))"
    root = Path(record.__file__).resolve().parents[2]
    command = [sys.executable, "-S", "-c", program, str(file)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    modules = set(shown.stdout.split())
    assert {name for name in modules if name.startswith("torov")} == {
        "torov", "torov.policy", "torov.policy.record", "torov.loader", "torov.loader.cachedir",
    }  # fmt: skip
    assert not modules & {"json", "_json", "re", "hashlib", "dataclasses", "typing", "enum", "socket"}


def test_a_change_of_any_file_is_seen(tmp_path: Path) -> None:
    base = _write(tmp_path / "base.json", "log")
    top = tmp_path / "p.json"
    top.write_text('{"torov": 1, "default": "deny", "extends": "base.json"}')
    assert load(str(top)).action(0) == -2
    _write(base, "kill")
    assert load(str(top)).action(0) == -1
    top.write_text('{"torov": 1, "default": "deny"}')
    assert load(str(top)).action(0) == 1
    base.unlink()
    assert load(str(top)).action(0) == 1


def test_the_same_text_elsewhere_is_another_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "p.json", root="r")
    roots = [(load(str(tmp_path / name / "p.json")).jail or {})["root"] for name in ("a", "b")]
    assert roots == [str(tmp_path / "a" / "r"), str(tmp_path / "b" / "r")]
    monkeypatch.chdir(tmp_path / "a")
    assert load("p.json").source == "p.json"
    assert b"\0p.json:1 rule 1" in load("p.json").program.replace(b"p.json:1 rule 2", b"")


def test_capabilities_are_part_of_the_name(tmp_path: Path) -> None:
    entry = {"names": ["read"], "action": "SCMP_ACT_KILL", "includes": {"caps": ["CAP_BPF"]}}
    oci = tmp_path / "oci.json"
    oci.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}))
    assert [load(str(oci), caps).action(0) for caps in (None, {"CAP_BPF"}, set(), None)] == [0, -1, 0, 0]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "group", "link", "directory"])
def test_a_record_that_cannot_be_trusted_is_made_again(file: Path, cache: Path, damage: str, tmp_path: Path) -> None:
    expected, key = _parts(load(str(file))), record.key_of(str(file), file.read_bytes(), None)
    assert record.find(key) is not None
    entry = next(cache.iterdir())
    data = bytearray(entry.read_bytes())
    if damage == "cut":
        entry.write_bytes(data[:-5])
    elif damage == "flip":
        data[60] ^= 1
        entry.write_bytes(data)
    elif damage == "empty":
        entry.write_bytes(b"")
    elif damage == "group":
        entry.chmod(0o620)
    elif damage == "link":
        entry.rename(tmp_path / "moved")
        entry.symlink_to(tmp_path / "moved")
    else:
        cache.chmod(0o770)
    assert record.find(key) is None
    assert _parts(load(str(file))) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_record_of_another_user_is_not_read(file: Path, cache: Path) -> None:
    load(str(file))
    key = record.key_of(str(file), file.read_bytes(), None)
    assert record.find(key) is not None
    entry = next(cache.iterdir())
    os.chown(entry, 12345, 0)
    assert record.find(key) is None


def test_a_policy_works_where_no_cache_can_be(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOROV_CACHE", "/proc/self/none")
    assert load(str(file)).action(0) == -1
    made = load(str(file))
    made.keep("filter", b"x")
    assert made.extra == {"filter": b"x"}


def test_more_is_kept_with_a_policy(file: Path) -> None:
    load(str(file)).keep("filter", bytes(range(256)))
    load(str(file)).keep("other", b"y")
    assert load(str(file)).extra == {"filter": bytes(range(256)), "other": b"y"}
    _write(file, "log")
    assert load(str(file)).extra == {}


def test_a_record_is_not_taken_for_another_of_the_same_hash(file: Path, cache: Path) -> None:
    load(str(file))
    entry = next(cache.iterdir())
    other = record.key_of(str(file), b"another policy", None)
    entry.rename(cache / f"{record._hash(other).hex()}.pol")
    assert record.find(other) is None


def test_old_records_go(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST", 3)
    for index in range(6):
        load(str(_write(tmp_path / f"{index}.json")))
    assert len(list(cache.iterdir())) == 3


def test_a_pipe_is_read_once() -> None:
    reader, writer = os.pipe()
    os.write(writer, b'{"torov": 1, "default": "kill"}')
    os.close(writer)
    assert load(f"/dev/fd/{reader}").action(0) == -1
    os.close(reader)
