"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from torov.loader.files import write_output


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_output(str(tmp_path / "new"), b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"one" and stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_an_older_file_is_replaced_behind_its_link_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("a longer text")
    (tmp_path / "old").chmod(0o600)
    (tmp_path / "link").symlink_to("old")
    write_output(str(tmp_path / "link"), b"two")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "old").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["link", "old"]


def test_a_pipe_is_written_to() -> None:
    script = "from torov.loader.files import write_output; write_output('/dev/stdout', b'three')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"three"


def test_a_device_stays_one(tmp_path: Path) -> None:
    """Root may put a file in the place of /dev/null; nobody wants that."""
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        node = Path("/dev/null")
    mode = node.stat().st_mode
    write_output(str(node), b"five", 0o755)
    assert node.stat().st_mode == mode and node.read_bytes() == b""


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_output(str(tmp_path / "no" / "file"), b"four")
    with pytest.raises(IsADirectoryError):
        write_output(str(tmp_path), b"four")
    assert os.listdir(tmp_path) == []
