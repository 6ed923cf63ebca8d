"""Where a case runs: a directory of its own, filled from the case, and what was in it afterwards."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from torov.corpus.binaries import CorpusError

KEPT = 65536
"""Bytes of a file that are kept to be compared by normalisers and shown; of longer ones only size and digest."""

WHOLE = 256 << 20
"""Bytes of a file up to which its digest is that of all of it; else of its beginning and its end: a sparse file has no limit."""


class Place:
    """A scratch directory: ``w`` is where the case runs, ``t`` its TMPDIR, ``o`` what it wrote to its descriptors.

    Both runs of a case have the same path, one after the other, so that no path can make them differ.
    """

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="torov-corpus-"))
        self.work, self.temporary, self.out = self.top / "w", self.top / "t", self.top / "o"

    def clear(self) -> None:
        """Make the directories, empty."""
        for path in (self.work, self.temporary, self.out):
            remove(path)
            path.mkdir(mode=0o755)

    def remove(self) -> None:
        """Take everything away."""
        remove(self.top)


def remove(top: Path) -> None:
    """Remove a tree, also where a program has left directories that cannot be searched."""
    if not top.exists():
        return
    for directory, names, _ in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(top, ignore_errors=True)


def contents(item: Any, beside: Path, binaries: Mapping[str, str]) -> bytes:
    """The bytes that a value of the form stands for.

    Args:
        item: a text, or a table with ``text``, ``base64``, ``random``, ``copy`` (of a file) or ``binary``, and ``times``.
        beside: what ``copy`` is relative to.
        binaries: paths by name.

    Raises:
        CorpusError: the file to copy cannot be read.
    """
    if isinstance(item, str):
        return item.encode()
    body = b""
    if "random" in item:
        body = random.Random(item.get("seed", 1)).randbytes(item["random"])
    elif "base64" in item:
        body = base64.b64decode(item["base64"])
    elif "copy" in item or "binary" in item:
        source = Path(binaries[item["binary"]]) if "binary" in item else beside / item["copy"]
        try:
            body = source.read_bytes()
        except OSError as error:
            raise CorpusError(str(source), f"cannot be copied: {error.strerror}") from None
    else:
        body = str(item.get("text", "")).encode()
    return body * int(item.get("times", 1))


def fill(top: Path, files: Mapping[str, Any], beside: Path, binaries: Mapping[str, str]) -> None:
    """Write the files of a case.

    Args:
        top: the directory.
        files: name to contents, as the form has them.
        beside: what ``copy`` is relative to.
        binaries: paths by name.

    Raises:
        CorpusError: a name leads out of the directory, or what is to be copied is not there.
    """
    for name, item in files.items():
        path = top / name
        if os.path.isabs(name) or not path.resolve().is_relative_to(top.resolve()):
            raise CorpusError(name, "this file would not lie in the directory of the case")
        path.parent.mkdir(parents=True, exist_ok=True)
        table = item if isinstance(item, dict) else {}
        if "link" in table:
            path.symlink_to(table["link"])
            continue
        source = beside / table["copy"] if "copy" in table else None
        if source is not None and source.is_dir():
            shutil.copytree(source, path, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        elif table.get("directory"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(contents(item, beside, binaries))
            os.chmod(path, 0o755 if "binary" in table else 0o644)
        if "mode" in table:
            os.chmod(path, table["mode"])
    for path in sorted(top.rglob("*")):  # one time for all, so that `ls -l` shows the same
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    os.utime(top, (1_700_000_000, 1_700_000_000))


def snapshot(top: Path, ignore: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is in a directory.

    Args:
        top: the directory.
        ignore: patterns (fnmatch) of names that are left out, with what is below them.

    Returns:
        By name: ``kind`` (file, directory, link, pipe, socket, other), ``mode``; of a link ``target``, of a file ``size``,
        ``sha256`` and, if it is short, ``text`` (bytes that are not UTF-8 as surrogates).
    """
    found: dict[str, dict[str, Any]] = {}
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted([*names, *files]):
            path = Path(directory) / name
            shown = os.fsencode(path.relative_to(top)).decode(errors="surrogateescape")
            if any(fnmatch.fnmatchcase(shown, pattern) or fnmatch.fnmatchcase(shown, f"{pattern}/*") for pattern in ignore):
                continue
            try:
                found[shown] = _described(path)
            except OSError as error:
                found[shown] = {"kind": "other", "mode": error.strerror or "cannot be read"}
    return dict(sorted(found.items()))


_KINDS = {stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFREG: "file", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


def _described(path: Path) -> dict[str, Any]:
    status = path.lstat()
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
    row: dict[str, Any] = {"kind": kind, "mode": f"{stat.S_IMODE(status.st_mode):04o}"}
    if kind == "link":
        row["target"] = os.readlink(path)
    elif kind == "file":
        with open(path, "rb") as file:
            row |= {"size": status.st_size, "sha256": _digest(file, status.st_size)}
            if status.st_size <= KEPT:
                file.seek(0)
                row["text"] = file.read(KEPT).decode(errors="surrogateescape")
    return row


def _digest(file: BufferedReader, size: int) -> str:
    if size <= WHOLE:
        return hashlib.file_digest(file, "sha256").hexdigest()
    some = hashlib.sha256(file.read(1 << 20))
    file.seek(size - (1 << 20))
    some.update(file.read(1 << 20))
    return f"{some.hexdigest()} (beginning and end)"
