"""Binaries from their packages into a cache, by the package managers themselves, verified at every use.

The cache is $TOROV_CORPUS, else $XDG_CACHE_HOME/torov/corpus. A package is fetched once for all binaries that it has.

Sources: apt-get(8) ``download``, dpkg-deb(1) ``--fsys-tarfile``, npm-pack(1), ``pip download``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal

from torov.corpus.binaries import CorpusError, Entry, Offline
from torov.corpus.compiled import compiled, installed

_FETCH_SECONDS = 600
_apt_updated = False


def cache_dir() -> Path:
    """Return the directory that holds the binaries; it need not exist yet."""
    if own := os.environ.get("TOROV_CORPUS"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "torov" / "corpus"


def fetch(entry: Entry, siblings: Iterable[Entry] = (), cache: Path | None = None) -> Path:
    """Return the verified file of an entry, fetching its package if it is not in the cache.

    Args:
        entry: what is wanted.
        siblings: other entries; those of the same package are put into the cache by the same download.
        cache: directory of the binaries; default :func:`cache_dir`.
    Returns:
        path of the executable file, mode 0755.
    Raises:
        Offline: it must be fetched and TOROV_NO_NETWORK=1 is set.
        CorpusError: a package manager is missing, the version is gone, or the file is not the one named.
    """
    cache = cache or cache_dir()
    if entry.source == "path":
        return installed(entry)
    if entry.source == "compile":
        return compiled(entry, cache / "compiled")
    path = cache / entry.id
    if _verified(path, entry):
        return path
    if os.environ.get("TOROV_NO_NETWORK") == "1":
        raise Offline(entry.id, f"is not in {cache} and TOROV_NO_NETWORK=1 forbids to fetch it")
    key = (entry.source, entry.package, entry.version)
    wanted = {e.id: e for e in siblings if (e.source, e.package, e.version) == key} | {entry.id: entry}
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "w") as lock, tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as tmp:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes side by side would fetch the same package
        if _verified(path, entry):
            return path
        _fetch_package(entry, {e.member: e for e in wanted.values()}, Path(tmp), cache)
    return path


def _verified(path: Path, entry: Entry) -> bool:
    """Tell whether path holds exactly the bytes that the table names."""
    try:
        with open(path, "rb") as file:
            return (
                os.fstat(file.fileno()).st_size == entry.size and hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
            )
    except OSError:
        return False


def _fetch_package(entry: Entry, members: dict[str, Entry], tmp: Path, cache: Path) -> None:
    """Download the package of an entry and move the wanted members into the cache."""
    if entry.source not in _DOWNLOAD:
        raise CorpusError(entry.id, f"unknown source {entry.source}: expected {', '.join((*_DOWNLOAD, 'path', 'compile'))}")
    _DOWNLOAD[entry.source](entry, tmp)
    packages = [p for p in tmp.iterdir() if p.suffix in (".deb", ".tgz", ".whl")]
    if len(packages) != 1:
        raise CorpusError(entry.id, f"{entry.package} {entry.version}: no package file was downloaded")
    missing = dict(members)
    for name, stream in _members(packages[0]):
        if (want := missing.pop(name, None)) is None:
            continue
        part = tmp / f"member-{want.id}"
        with open(part, "wb") as out:
            shutil.copyfileobj(stream, out)
        part.chmod(0o755)
        if not _verified(part, want):
            raise CorpusError(
                want.id, f"{name} in {entry.package} {entry.version} is not the file of the table: its SHA-256 or size differs"
            )
        os.replace(part, cache / want.id)
        if not missing:
            return
    raise CorpusError(entry.id, f"{entry.package} {entry.version} has no member {', '.join(missing)}")


def _members(package: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and contents of each regular file in a .deb, .tgz or .whl."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            for name in wheel.namelist():
                with wheel.open(name) as stream:
                    yield name, stream
        return
    with contextlib.ExitStack() as stack:
        source: IO[bytes] = stack.enter_context(open(package, "rb"))
        if package.suffix == ".deb":
            child = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            stack.enter_context(child)
            stack.callback(child.kill)
            assert child.stdout is not None
            source = child.stdout
        mode: Literal["r|", "r|gz"] = "r|" if package.suffix == ".deb" else "r|gz"
        tar = stack.enter_context(tarfile.open(fileobj=source, mode=mode))
        for member in tar:
            if member.isreg() and (contents := tar.extractfile(member)) is not None:
                yield member.name.removeprefix("./"), contents


def _run(entry: Entry, argv: list[str], cwd: Path) -> None:
    """Run a package manager to its end, or say in one line what it said."""
    if shutil.which(argv[0]) is None:
        raise CorpusError(entry.id, f"{argv[0]} is not installed; it is needed to fetch {entry.package}")
    try:
        done = subprocess.run(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CorpusError(entry.id, f"{argv[0]} did not end within {_FETCH_SECONDS} s") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.lower().lstrip("npm ").startswith(("e:", "err"))] or said
        raise CorpusError(
            entry.id,
            f"{entry.package} {entry.version} cannot be fetched: {argv[0]} "
            f"ended with status {done.returncode}: {' '.join(errors[:2])[:300]}",
        )


def _download_debian(entry: Entry, tmp: Path) -> None:
    global _apt_updated
    argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{entry.package}={entry.version}"]
    try:
        _run(entry, argv, tmp)
    except CorpusError:
        if _apt_updated or os.geteuid() != 0:
            raise
        _apt_updated = True  # the package lists may be older than the archive: refresh them, once
        _run(entry, ["apt-get", "-q", "update"], tmp)
        _run(entry, argv, tmp)


def _download_npm(entry: Entry, tmp: Path) -> None:
    _run(entry, ["npm", "pack", "--silent", f"{entry.package}@{entry.version}"], tmp)


def _download_pypi(entry: Entry, tmp: Path) -> None:
    # PEP 427: a wheel's name ends with a dot-separated set of platform tags; one of them is enough.
    platform = entry.wheel.removesuffix(".whl").rpartition("-")[2].partition(".")[0]
    _run(
        entry,
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--platform",
            platform,
            f"{entry.package}=={entry.version}",
        ],
        tmp,
    )


_DOWNLOAD = {"debian": _download_debian, "npm": _download_npm, "pypi": _download_pypi}


def install(entries: Iterable[Entry]) -> None:
    """Install the distribution's packages of programs that are not there, by apt-get.

    Args:
        entries: of source ``path``.

    Raises:
        CorpusError: apt-get is missing or fails.
    """
    missing = []
    for entry in entries:
        try:
            installed(entry)
        except CorpusError:
            if entry.package:
                missing.append(entry)
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command = [*root, "apt-get", "-q", "install", "-y", "--no-install-recommends", *sorted({entry.package for entry in missing})]
    try:
        _run(missing[0], command, Path.cwd())
    except CorpusError:  # the package lists may be older than the archive
        _run(missing[0], [*root, "apt-get", "-q", "update"], Path.cwd())
        _run(missing[0], command, Path.cwd())
