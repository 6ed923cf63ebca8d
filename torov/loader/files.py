"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def replace_file(path: str, parts: Iterable[bytes | bytearray | memoryview], mode: int = 0o600) -> None:
    """Write a file under a temporary name in the same directory and rename it into place.

    Args:
        path: where; a file that is there is replaced atomically (rename(2)).
        parts: the contents, one part behind the other.
        mode: permission bits, before the umask.
    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb", buffering=0) as file:
            for part in parts:
                view = memoryview(part)
                while view:  # write(2) may write less than asked, and at most 2 GiB
                    view = view[file.write(view) :]
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_output(path: str, data: bytes, mode: int | None = None) -> None:
    """Write what a user has asked for: whole or not at all, unless something else than a file is there (a terminal, a pipe).

    Args:
        path: where; a link is followed.
        data: the contents.
        mode: permission bits of the file, whatever the umask; None: those of an older file, or what the umask leaves.
    Raises:
        OSError: it cannot be written; an older file stays as it was.
    """
    try:
        before = os.stat(path).st_mode
    except FileNotFoundError:
        before = stat.S_IFREG | 0o666
    if not stat.S_ISREG(before):
        with open(path, "wb") as file:
            file.write(data)
        return
    place = os.path.realpath(path)
    replace_file(place, [data], stat.S_IMODE(before if mode is None else mode))
    if mode is not None:
        os.chmod(place, mode)
