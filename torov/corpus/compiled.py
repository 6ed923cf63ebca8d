"""Binaries that are not in packages: compiled from a source that a case brings along, or the distribution's own programs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from torov.corpus.binaries import CorpusError, Entry

COMPILERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "gcc": ("gcc", "guest.c", ("gcc", "-O1", "-o", "OUT", "guest.c")),
    "static": ("gcc", "guest.c", ("gcc", "-O1", "-static", "-o", "OUT", "guest.c")),
    "static-pie": ("gcc", "guest.c", ("gcc", "-O1", "-static-pie", "-o", "OUT", "guest.c")),
    "bare": ("gcc", "guest.S", ("gcc", "-static", "-nostdlib", "-o", "OUT", "guest.S")),
    "musl": ("musl-tools", "guest.c", ("musl-gcc", "-O1", "-static", "-o", "OUT", "guest.c")),
    "go": ("golang-go", "guest.go", ("go", "build", "-trimpath", "-o", "OUT", "guest.go")),
    "fpc": ("fp-compiler", "guest.pas", ("fpc", "-v0", "-oOUT", "guest.pas")),
}
"""By the word in a table: the Debian package, the name of the source file, the command."""

_SECONDS = 300


def compiled(entry: Entry, where: Path) -> Path:
    """The executable of an entry of source ``compile``, made once for the same text, flags and version of the compiler.

    Args:
        entry: with text, compiler and flags.
        where: directory of the results.

    Raises:
        CorpusError: there is no such compiler, or it refuses the source.
    """
    if entry.compiler not in COMPILERS:
        raise CorpusError(entry.id, f"unknown compiler {entry.compiler}: expected {', '.join(COMPILERS)}")
    package, name, command = COMPILERS[entry.compiler]
    if shutil.which(command[0]) is None:
        raise CorpusError(entry.id, f"{command[0]} is not installed: apt-get install {package}")
    words = (entry.text, *command, *entry.flags, _version(command[0]))
    target = where / f"{entry.id}-{hashlib.sha256(chr(0).join(words).encode()).hexdigest()[:20]}"
    if target.exists():
        return target
    where.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where, prefix=".compile-") as scratch:
        (Path(scratch) / name).write_text(entry.text, encoding="utf-8")
        full = [word.replace("OUT", f"{scratch}/out") for word in command] + [*entry.flags]
        # a cache of its own: HOME may be another user's, and is not needed
        env = {**os.environ, "GOCACHE": str(where / ".go"), "GO111MODULE": "off", "CGO_ENABLED": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(full, cwd=scratch, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  errors="replace", timeout=_SECONDS, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CorpusError(entry.id, f"{command[0]} did not end within {_SECONDS} s") from None
        if done.returncode:
            raise CorpusError(entry.id, f"{command[0]} refuses its source: {(done.stderr or done.stdout).strip()[:400]}")
        os.replace(f"{scratch}/out", target)
    return target


@cache
def _version(command: str) -> str:
    word = {"go": "version", "fpc": "-iV"}.get(command, "--version")
    return subprocess.run([command, word], capture_output=True, text=True, errors="replace", check=False).stdout


def installed(entry: Entry) -> Path:
    """The program of an entry of source ``path``.

    Raises:
        CorpusError: it is not installed, or is not the one that the table names by its SHA-256.
    """
    found = shutil.which(entry.path, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/usr/games")
    if found is None:
        advice = f": apt-get install {entry.package}" if entry.package else ""
        raise CorpusError(entry.id, f"{entry.path} is not installed{advice}")
    path = Path(found).absolute()
    if entry.sha256:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise CorpusError(entry.id, f"{path} is not the file of the table: its SHA-256 differs")
    return path
