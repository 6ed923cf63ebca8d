"""Which real programs there are: tables of where each comes from, and how its bytes are known.

No binary is kept in the repository. A table (TOML; docs/corpus.md) names a package, its version and one member of it with its
SHA-256, a program that the distribution has installed, or a source to compile.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torov.errors import TorovError

HERE = Path(__file__).resolve().parent
BINARIES = HERE / "binaries.toml"
PROFILES = HERE / "profiles.toml"
PACKAGES = ("debian", "npm", "pypi")


class CorpusError(TorovError):
    """A binary or a case of the corpus that cannot be had.

    Args:
        id: its name.
        problem: what is wrong, with what to do next.
    """

    def __init__(self, id: str, problem: str) -> None:
        super().__init__(f"corpus: {id}: {problem}")
        self.id, self.problem = id, problem

    def __reduce__(self) -> tuple[type[CorpusError], tuple[str, str]]:
        """It crosses to other processes."""
        return type(self), (self.id, self.problem)


class Offline(CorpusError):
    """A binary that is not in the cache while TOROV_NO_NETWORK=1 declares that there is no network."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a binary comes from, and what an independent survey counted in it.

    Attributes:
        id: name of the binary, and of its file in the cache.
        source: ``debian``, ``npm``, ``pypi``; ``path``: the distribution's own; ``compile``: from source.
        package, version, member: the package and the path of the binary inside it; for ``path`` the Debian package that has it.
        wheel: file name of the wheel for ``pypi``, else an empty string.
        size, sha256: of the binary; bytes, lower-case hex. 0 and empty where they are not known before.
        raw, syscalls, embedded, clean_gap: pairs 0F 05 in the executable regions; those that are a syscall
            reached from a function start; those inside another instruction; those in clean unanchored code.
        path: of ``path``: a path, or a name in PATH.
        text, compiler, flags: of ``compile``: the source, one of compiled.COMPILERS, and more words for it.
        made_by: language and C library.
    """

    id: str
    source: str
    package: str = ""
    version: str = ""
    member: str = ""
    wheel: str = ""
    size: int = 0
    sha256: str = ""
    raw: int = 0
    syscalls: int = 0
    embedded: int = 0
    clean_gap: int = 0
    path: str = ""
    text: str = ""
    compiler: str = "gcc"
    flags: tuple[str, ...] = ()
    made_by: str = ""


def entry_of(id: str, row: Mapping[str, Any], beside: Path = HERE) -> Entry:
    """One row of a table.

    Args:
        id: its name.
        row: its members.
        beside: the directory that ``file`` is relative to.

    Raises:
        CorpusError: a member is missing, unknown or of another type.
    """
    known = {**row, **row.get("survey", {})}
    known.pop("survey", None)
    try:
        if "file" in known:
            known["text"] = (beside / known.pop("file")).read_text(encoding="utf-8")
        known["flags"] = tuple(known.get("flags", ()))
        made = Entry(id, **known)
    except OSError as error:
        raise CorpusError(id, f"its source {row['file']}: {error.strerror}") from None
    except TypeError as error:
        raise CorpusError(id, f"a binary has not such members: {str(error).partition(') ')[2]}") from None
    needs = {"path": ("path",), "compile": ("text",)}.get(made.source, ("package", "version", "member", "size", "sha256"))
    if missing := [name for name in needs if not getattr(made, name)]:
        raise CorpusError(id, f"a binary of source {made.source!r} needs {', '.join(missing)}")
    return made


def read_binaries(path: Path = BINARIES) -> dict[str, Entry]:
    """Read a table of binaries.

    Args:
        path: a TOML file, one table a binary.

    Returns:
        The entries by id, in the file's order.

    Raises:
        CorpusError: it cannot be read, or a row is not right.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(str(path), f"cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise CorpusError(str(path), f"is not TOML: {error}") from None
    return {id: entry_of(id, row, path.parent) for id, row in rows.items()}


@cache
def packaged() -> dict[str, Entry]:
    """The binaries and the seccomp profiles that torov comes with; not to be changed."""
    return {**read_binaries(BINARIES), **read_binaries(PROFILES)}
