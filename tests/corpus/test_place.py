"""The directory of a case: what is put there, and what is found there."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from torov.corpus.binaries import CorpusError
from torov.corpus.place import Place, contents, fill, remove, snapshot


def test_contents(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"d\n")
    expected: list[tuple[Any, bytes]] = [
        ("text\n", b"text\n"),
        ({"text": "ab", "times": 3}, b"ababab"),
        ({"base64": "AP8="}, b"\0\xff"),
        ({"copy": "data"}, b"d\n"),
        ({"binary": "x"}, b"d\n"),
        ({"mode": 0o600}, b""),
    ]
    for item, body in expected:
        assert contents(item, tmp_path, {"x": str(tmp_path / "data")}) == body
    one, two, other = (contents({"random": 1000, "seed": seed}, tmp_path, {}) for seed in (1, 1, 2))
    assert one == two != other and len(other) == 1000
    with pytest.raises(CorpusError, match=r"none: cannot be copied: No such file"):
        contents({"copy": "none"}, tmp_path, {})


def test_what_is_filled_in_is_found(tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    (beside / "tree" / "sub").mkdir(parents=True)
    (beside / "tree" / "sub" / "f").write_text("1")
    top = tmp_path / "top"
    top.mkdir()
    files = {
        "a": "x",
        "b/c": {"text": "y", "mode": 0o4711},
        "l": {"link": "/nowhere"},
        "d": {"directory": True},
        "t": {"copy": "tree"},
    }
    fill(top, files, beside, {})
    os.mkfifo(top / "p")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "s"))
    (top / "big").write_bytes(b"\0" * 100_000)
    (top / "hostile\n\udcff").write_bytes(b"\xfe")
    found = snapshot(top, ["t/*", "nothing"])
    assert list(found) == ["a", "b", "b/c", "big", "d", "hostile\n\udcff", "l", "p", "s", "t"]
    assert [row["kind"] for row in found.values()] == [
        *("file", "directory", "file", "file", "directory", "file", "link", "pipe", "socket", "directory")
    ]
    assert (found["b/c"]["mode"], found["b/c"]["text"], found["l"]["target"]) == ("4711", "y", "/nowhere")
    assert "text" not in found["big"] and found["big"]["size"] == 100_000
    assert found["hostile\n\udcff"]["text"] == "\udcfe"
    assert os.stat(top / "a").st_mtime == os.lstat(top / "l").st_mtime == 1_700_000_000


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_no_file_is_written_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="would not lie in the directory"):
        fill(tmp_path, {name: ""}, tmp_path, {})
    with pytest.raises(CorpusError, match="would not lie in the directory"):
        fill(tmp_path, {"l": {"link": "/"}, "l/etc/x": ""}, tmp_path, {})


def test_everything_is_removed() -> None:
    place = Place()
    place.clear()
    (place.work / "d" / "e").mkdir(parents=True)
    (place.work / "d" / "l").symlink_to("/")
    os.chmod(place.work / "d" / "e", 0)
    os.chmod(place.work / "d", 0)
    place.clear()
    assert list(place.work.iterdir()) == []
    place.remove()
    assert not place.top.exists()
    remove(place.top)


def test_a_sparse_file_takes_no_time(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.truncate(1 << 42)
        file.seek((1 << 42) - 1)
        file.write(b"x")
    one = snapshot(tmp_path, [])["f"]
    with open(tmp_path / "f", "r+b") as file:
        file.seek((1 << 42) - 1)
        file.write(b"y")
    assert one["size"] == 1 << 42 and snapshot(tmp_path, [])["f"] != one
