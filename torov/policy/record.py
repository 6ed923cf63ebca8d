"""Compiled policies that are kept, so that the start of a program whose policy did not change reads no JSON.

    <cache of images>/policy/<hash>.pol      mode 0600 in a directory of mode 0700

A record holds what it was made from: path and contents of the policy file and of what else was read, the version of torov, and
the kernel's (profiles ask for versions of it). It is used only where all of that is the same, byte by byte; the hash in its name
only finds it, so a fast one will do (SHA-256 takes longer to import than all else here). Only a file that belongs to the user
and that nobody else can write is used: whoever can write it decides what a program may do.
"""

from __future__ import annotations

import marshal
import os
import sys
from _imp import source_hash

from torov.loader import cachedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 2
MOST = 256  # records that are kept
_MAGIC = b"TOROVPOL"
_HEAD = len(_MAGIC) + 8
_LIMIT = 64 << 20


def key_of(file: str, data: bytes, capabilities: Iterable[str] | None) -> bytes:
    """What a policy's record is known by.

    Args:
        file: as the user gave it.
        data: its contents.
        capabilities: that the user gave besides, or None.
    """
    from torov import __version__

    given = None if capabilities is None else tuple(sorted(capabilities))
    release = os.uname().release.encode(errors="surrogateescape")
    name, path = os.fsencode(file), os.fsencode(os.path.abspath(file))
    return marshal.dumps((__version__, FORMAT, _own(), sys.version, release, given, name, path, data), 2)


def _hash(data: bytes) -> bytes:
    """64 bits that find a record and show damage; nothing is trusted for them."""
    return bytes(source_hash(FORMAT, data))


def _own() -> int:
    """What changes when torov's own files do: all of them at an installation, one by one in a tree that is being worked on."""
    newest = os.stat(__file__).st_mtime_ns
    root = os.path.dirname(os.path.dirname(here := os.path.dirname(os.path.abspath(__file__))))
    if os.path.exists(f"{root}/pyproject.toml"):
        newest = max(newest, os.stat(f"{root}/torov/calls_x86_64.py").st_mtime_ns)
        with os.scandir(here) as entries:
            newest = max(newest, *(entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py")))
    return newest


def find(key: bytes) -> dict[str, object] | None:
    """Read a record.

    Args:
        key: key_of() its policy.

    Returns:
        What keep() was given; None if there is none that can be trusted, or a file that was read for it has changed.
    """
    base = cachedir.location()
    if base is None or cachedir.problem(base) is not None or cachedir.problem(f"{base}/policy") is not None:
        return None
    body = _read(f"{base}/policy/{_hash(key).hex()}.pol")
    if body is None:
        return None
    known, record = marshal.loads(body)  # written by keep() and not damaged: the hash before it holds
    if known != key:
        return None
    for path, wanted in record["files"]:
        try:
            with open(path, "rb") as stream:
                if stream.read(len(wanted) + 1) != wanted:
                    return None
        except OSError:
            return None
    return dict(record)


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        owned = status.st_uid == os.geteuid() and status.st_mode & 0o170022 == 0o100000
        if not owned or not _HEAD < status.st_size <= _LIMIT:
            return None
        data = os.read(fd, status.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data[_HEAD:] if data[:_HEAD] == _MAGIC + _hash(data[_HEAD:]) else None


def keep(key: bytes, record: dict[str, object]) -> None:
    """Write a record, in one step; where no cache can be used nothing happens.

    Args:
        key: key_of() its policy.
        record: of what marshal takes; "files": pairs of path and contents of what else was read.
    """
    base = cachedir.prepare()
    if base is None:
        return
    directory = f"{base}/policy"
    body, name = marshal.dumps((key, record)), _hash(key).hex()
    temporary = f"{directory}/{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        if cachedir.problem(directory) is not None:
            return
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, _MAGIC + _hash(body) + body)
        finally:
            os.close(fd)
        os.replace(temporary, f"{directory}/{name}.pol")
        _sweep(directory)
    except OSError:
        return  # read-only or full: the policy is compiled each time


def _sweep(directory: str) -> None:
    """Leave the youngest records; and no temporary file that lost its writer."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                found.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
            except OSError:
                continue
    records = sorted(item for item in found if item[1].endswith(".pol"))
    newest = records[-1][0] if records else 0.0
    stale = [item for item in found if item[1].endswith(".tmp") and item[0] < newest - 3600]
    for _, path in records[: max(0, len(records) - MOST)] + stale:
        try:
            os.unlink(path)
        except OSError:
            continue
