"""The directory of the image cache: where it is, whether it can be trusted, and how big it may get."""

from __future__ import annotations

import os

DEFAULT_LIMIT = 4 << 30
MAX_LINKS = 4096
_STALE = 3600  # seconds after which a temporary file has lost its writer
_temporary: str | None = None


def location() -> str | None:
    """Path of the cache directory, whether it exists or not; None where the user has no home.

    TOROV_CACHE, else torov in XDG_CACHE_HOME (XDG Base Directory Specification: a relative path counts as
    none), else in ~/.cache.
    """
    own = os.environ.get("TOROV_CACHE")
    if own:
        return os.path.abspath(own)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not cache.startswith("/"):
        cache = os.path.expanduser("~/.cache")
    return f"{cache}/torov" if cache.startswith("/") else None


def problem(base: str) -> str | None:
    """Why a directory cannot be trusted as the cache, in one clause; None if it can.

    It must exist, belong to the user, and be writable by nobody else.
    """
    try:
        status = os.stat(base)
    except OSError as error:
        return error.strerror or "cannot be read"
    if status.st_mode & 0o170000 != 0o040000:
        return "not a directory"
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & 0o022:
        return f"others can write it (mode {status.st_mode & 0o7777:04o}); chmod go-w makes it usable"
    return None


def prepare() -> str | None:
    """Make the cache directory if it is not there; return it, or None if it cannot be used."""
    base = location()
    if base is None:
        return None
    try:
        if not os.path.isdir(base):
            parent = base
            while not os.path.isdir(parent):
                parent = os.path.dirname(parent)
            # root with another user's HOME (sudo) must not make that user's directories its own
            if os.geteuid() == 0 and os.stat(parent).st_uid != 0:
                return None
            os.makedirs(base, 0o700, exist_ok=True)
    except OSError:
        return None
    return base if problem(base) is None else None


def limit() -> int:
    """The most bytes that images may take: TOROV_CACHE_MAX (a number, with K, M, G or T), else 4 GiB.

    Raises:
        UsageError: the variable is not a size.
    """
    text = os.environ.get("TOROV_CACHE_MAX", "")
    if not text:
        return DEFAULT_LIMIT
    unit = "KMGT".find(text[-1].upper()) + 1
    number = text[:-1] if unit else text
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        from torov.errors import UsageError

        raise UsageError(f"TOROV_CACHE_MAX: expected a number of bytes as 500M or 4G, got {text!r}")
    return int(number) << 10 * unit


def sweep(base: str, keep: str, limit: int) -> None:
    """Bring the cache below its limit: the least recently used images go first, never keep.

    Also removes temporary files that lost their writer and links whose image is gone. What another process
    removes at the same time is no error.

    Args:
        base: the cache directory.
        keep: name of the image that was just written.
        limit: bytes.
    """
    import time

    old = time.time() - _STALE
    images: list[tuple[float, int, str]] = []
    for name, status in _entries(base):
        if name.endswith(".tmp") and status.st_mtime < old:
            _unlink(f"{base}/{name}")
        elif name.endswith(".img"):
            images.append((status.st_mtime, status.st_size, name))
    total = sum(size for _, size, _ in images)
    left = {name for _, _, name in images}
    for _, size, name in sorted(images):
        if total <= limit:
            break
        if name != keep:
            _unlink(f"{base}/{name}")
            left.remove(name)
            total -= size
    for name, status in _entries(base):  # what lies beside an image (torov.strict) goes with it
        if name.endswith(".sites") and f"{name.rsplit('.', 2)[0]}.img" not in left and status.st_mtime < old:
            _unlink(f"{base}/{name}")
    links = sorted((status.st_mtime, name) for name, status in _entries(f"{base}/by-stat"))
    surplus = {name for _, name in links[: max(0, len(links) - MAX_LINKS)]}
    for mtime, name in links:
        path = f"{base}/by-stat/{name}"
        try:
            gone = os.readlink(path) not in left
        except OSError:
            gone = True
        # A young link may belong to an image that came after the list above was made.
        if name in surplus or (gone and mtime < old):
            _unlink(path)


def temporary() -> str:
    """A directory of this process alone, removed at exit.

    Raises:
        OSError: it cannot be made.
    """
    global _temporary
    if _temporary is None:
        import atexit
        import shutil
        import tempfile

        _temporary = tempfile.mkdtemp(prefix="torov-")
        owner = os.getpid()

        def remove(path: str = _temporary) -> None:
            if os.getpid() == owner:  # not in a forked child
                shutil.rmtree(path, ignore_errors=True)

        atexit.register(remove)
    return _temporary


def _entries(directory: str) -> list[tuple[str, os.stat_result]]:
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except OSError:
                    continue
    except OSError:
        return found
    return found


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
