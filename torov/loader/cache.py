"""The cache of image files, so that a program is parsed and rewritten once.

    $TOROV_CACHE, else $XDG_CACHE_HOME/torov, else ~/.cache/torov      mode 0700
        <sha256>-v<format>.<version>.img      image of the file with these contents (loader.image)
        by-stat/<dev>-<ino>-...-v<version>    symbolic link to the name of the image of that very file

A hit is one readlink(2) and a look at the image's header: no hash and no import. A file that changed less
than two seconds before it was read gets no by-stat entry, since it could change again within the resolution
of its time stamps (as in git's index); it is found by its contents. Only a directory that belongs to the user
and that nobody else can write is used: whoever can write an image decides what a program does.
"""

from __future__ import annotations

import os

from torov.loader import cachedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torov.loader.image import Image
    from torov.loader.source import Identity

FORMAT = 1  # version of the image file
MAGIC = b"TOROVIM1"
_HEADER_SIZE, _TRAP_SIZE = 160, 16
_TOUCH_AFTER = 3600  # seconds: how exact the time of last use is


def lookup(path: str, version: int | str) -> str | None:
    """Find the image file of a program.

    Args:
        path: the program.
        version: version of the rewriter, with whatever else of its settings changes an image.
    Returns:
        The path of its image, or None: then load, plan and store() it. Open the image at once: a process that
        stores another one may remove it (if it is gone, start again from the program).
    """
    base = cachedir.location()
    if base is None or cachedir.problem(base) is not None:
        return None
    try:
        status = os.stat(path)
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        image = f"{base}/{os.readlink(_link(base, key, version))}"
    except (OSError, ValueError):
        return _lookup_contents(base, path, version)
    return image if _usable(image) else _lookup_contents(base, path, version)


def store(
    image: Image, body: bytes, sites: Sequence[int], traps: Iterable[tuple[int, int]], version: int | str
) -> str:
    """Write the image file of a program, and remove the least recently used ones above the cache's limit.

    Args:
        image, body, sites, traps: as in write_image().
        version: as in lookup().
    Returns:
        The path of the image file. Where no cache directory can be used it lies in a temporary directory of
        this process, removed at exit.
    Raises:
        UsageError: TOROV_CACHE_MAX is not a size.
        MachineError: the image can be written nowhere.
    """
    import hashlib

    from torov.errors import MachineError
    from torov.loader.image import write_image

    limit = cachedir.limit()
    sha256 = hashlib.sha256(image.data).digest()
    name = _name(sha256.hex(), version)
    base = cachedir.prepare()
    if base is not None:
        try:
            write_image(f"{base}/{name}", image, body, sites, traps, sha256)
            _remember(base, image.identity, name, version)
            cachedir.sweep(base, name, limit)
            return f"{base}/{name}"
        except OSError:
            pass  # read-only or full: the program can still run
    try:
        path = f"{cachedir.temporary()}/{name}"
        write_image(path, image, body, sites, traps, sha256)
    except OSError as error:
        raise MachineError("write the image file", error.errno or 0, "set TOROV_CACHE or TMPDIR") from None
    return path


def _name(sha256: str, version: int | str) -> str:
    return f"{sha256}-v{FORMAT}.{version}.img"


def _link(base: str, key: Identity, version: int | str) -> str:
    return f"{base}/by-stat/{key[0]:x}-{key[1]:x}-{key[2]:x}-{key[3]:x}-{key[4]:x}-v{FORMAT}.{version}"


def _lookup_contents(base: str, path: str, version: int | str) -> str | None:
    from torov.errors import LoadError
    from torov.loader.source import read_program

    try:
        data, identity = read_program(path)
    except LoadError:
        return None  # loader.elf.load() says what is wrong with it
    import hashlib

    name = _name(hashlib.sha256(data).hexdigest(), version)
    if not _usable(f"{base}/{name}"):
        return None
    _remember(base, identity, name, version)
    return f"{base}/{name}"


def _remember(base: str, identity: Identity | None, name: str, version: int | str) -> None:
    if identity is None:
        return
    link = _link(base, identity, version)
    temporary = f"{link}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        os.makedirs(f"{base}/by-stat", 0o700, exist_ok=True)
        os.symlink(name, temporary)
        os.replace(temporary, link)
    except OSError:
        pass  # the image is found by its contents


def _usable(image: str) -> bool:
    """Whether a file is a whole image file of this format that belongs to the user; mark it as used."""
    try:
        fd = os.open(image, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        header = os.read(fd, _HEADER_SIZE)
        count = int.from_bytes(header[28:32], "little")
        offset = int.from_bytes(header[72:80], "little")
        good = (
            header[:8] == MAGIC
            and header[8:16] == FORMAT.to_bytes(4, "little") + _HEADER_SIZE.to_bytes(4, "little")
            and status.st_size == offset + count * _TRAP_SIZE  # the table of traps comes last
            and status.st_uid == os.geteuid()
            and status.st_mode & 0o170022 == 0o100000  # a regular file that only its owner can write
        )
        if good:
            import time

            if status.st_mtime + _TOUCH_AFTER < time.time():
                os.utime(fd)
        return good
    except OSError:
        return False
    finally:
        os.close(fd)
