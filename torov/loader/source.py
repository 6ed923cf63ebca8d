"""Reads a program file, and says what a file is that is no ELF file."""

from __future__ import annotations

import os
import stat
import time

from torov.errors import LoadError, NotFound

MAX_SIZE = 1 << 32
SETTLED_NS = 2_000_000_000  # a file that changed within this time may change again with the same time stamps

_KINDS = (
    (b"MZ", "a DOS or Windows program"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program (macOS)"),
    (b"\xce\xfa\xed\xfe", "a Mach-O program (macOS)"),
    (b"\xca\xfe\xba\xbe", "a Mach-O program or a Java class"),
    (b"!<arch>\n", "an ar archive (a static library or a Debian package)"),
    (b"\0asm", "a WebAssembly module"),
    (b"BC\xc0\xde", "LLVM bitcode"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"PK\x03\x04", "a zip archive"),
)
_TYPES = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)

Identity = tuple[int, int, int, int, int]


def identity(status: os.stat_result) -> Identity:
    """(st_dev, st_ino, st_size, st_mtime_ns, st_ctime_ns) of a stat(2) result."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_program(path: str) -> tuple[bytes, Identity | None]:
    """Read a whole regular file.

    Args:
        path: the file as the user gave it.
    Returns:
        Its contents, and its identity if a later stat(2) with the same identity proves that the contents are
        still these: it did not change while it was read, nor in the two seconds before.
    Raises:
        NotFound: there is no such file.
        LoadError: it is not a regular file, it cannot be read, it is empty or larger than MAX_SIZE.
    """
    try:
        _check_type(path, os.stat(path))
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # never wait for a FIFO's writer
        with open(fd, "rb", buffering=0) as file:
            before = os.fstat(fd)
            _check_type(path, before)
            if before.st_size > MAX_SIZE:
                raise LoadError(path, "file size", f"at most {MAX_SIZE} bytes", str(before.st_size))
            now = time.time_ns()
            data = file.readall()
            same = identity(before) == identity(os.fstat(fd)) and len(data) == before.st_size
    except FileNotFoundError:
        raise NotFound(path) from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or str(error) or "too large for the memory of this machine"
        raise LoadError(path, "file", "a file that can be read", reason) from None
    if not data:
        raise LoadError(path, "file", "an ELF file", "an empty file")
    settled = same and max(before.st_mtime_ns, before.st_ctime_ns) + SETTLED_NS < now
    return data, identity(before) if settled else None


def _check_type(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _TYPES if test(status.st_mode)), "something else")
        raise LoadError(path, "file", "a regular file", kind)


def describe(data: bytes) -> str:
    """What a file is that does not begin as an ELF file, in a few words; a script's interpreter is named."""
    if data.startswith(b"#!"):
        line = data[2:258].split(b"\n", 1)[0].strip()
        return f"a script for {printable(line)}" if line else "a script without an interpreter"
    for magic, kind in _KINDS:
        if data.startswith(magic):
            return kind
    head = data[:4]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:64]):
        return f"a text that begins with {printable(head)!r}"
    return f"a file that begins with {head.hex(' ')}"


def printable(raw: bytes) -> str:
    """Bytes of a file as text that is safe on a terminal."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
