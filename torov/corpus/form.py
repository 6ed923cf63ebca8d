"""Cases as they are written (TOML, docs/corpus.md), read into values that can be run. schema.json is the form."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torov.corpus.binaries import CorpusError, Entry, entry_of, packaged

CASES = Path(__file__).resolve().parent / "cases"
ASPECTS = ("status", "stdout", "stderr", "files", "clients", "processes")
_PLACE = re.compile(r"@([a-z][a-z0-9_]*|bin:[^@\s]+)@")


class CaseError(CorpusError):
    """A case that is not in the form.

    Args:
        file: where it stands.
        case: its name, or ``case N`` where it has none.
        key: the member that is wrong, as ``files.a/b.mode``; may be empty.
        problem: what is wrong with it.
    """

    def __init__(self, file: str, case: str, key: str, problem: str) -> None:
        super().__init__(file, f"{case}: {f'{key}: ' if key else ''}{problem}")
        self.file, self.case, self.key, self.problem = file, case, key, problem

    def __reduce__(self) -> tuple[Any, ...]:
        """It crosses to other processes."""
        return type(self), (self.file, self.case, self.key, self.problem)


@dataclass(slots=True)
class Case:
    """One program run with one set of words: what it needs, and what of it must be as natively.

    The members are those of the form (docs/corpus.md); all are plain values, so that a case can be sent to another machine.

    Attributes:
        file: the case file; policies and copies are relative to its directory.
        sources: by name, the binaries that it needs and that torov's own tables do not have.
    """

    name: str
    file: str
    about: str = ""
    binary: str = ""
    args: list[str] = field(default_factory=list)
    shell: str = ""
    stdin: Any = ""
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    policy: Any = ""
    torov: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    helpers: list[dict[str, Any]] = field(default_factory=list)
    ready: dict[str, Any] = field(default_factory=dict)
    clients: list[dict[str, Any]] = field(default_factory=list)
    stop: str = "TERM"
    compare: list[str] = field(default_factory=lambda: [*ASPECTS])
    ignore_files: list[str] = field(default_factory=list)
    normalise: list[Any] = field(default_factory=list)
    limit: float = 60
    alone: bool = False
    tags: list[str] = field(default_factory=list)
    expected: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As plain values; Case(**document) reads them."""
        return asdict(self)

    def binaries(self) -> dict[str, Entry]:
        """Every binary that it names, by name.

        Raises:
            CaseError: there is none of that name.
        """
        known = {**packaged(), **{name: Entry(**row) for name, row in self.sources.items()}}
        found = {}
        for name in self.needs():
            if name not in known:
                raise CaseError(self.file, self.name, "binary", f"there is no binary {name!r}: add [binary.{name}]")
            found[name] = known[name]
        return found

    def needs(self) -> list[str]:
        """The names of the binaries that it uses, its own first."""
        names = [self.binary] if self.binary else []
        names += [part["binary"] for part in (*self.helpers, *self.clients) if part.get("binary")]
        names += [item["binary"] for item in self.files.values() if isinstance(item, dict) and item.get("binary")]
        names += [word[4:] for word in _placeholders({**asdict(self), "about": ""}) if word.startswith("bin:")]
        if isinstance(self.policy, str) and self.policy in packaged():
            names.append(self.policy)
        return list(dict.fromkeys(names))


def read_cases(paths: Iterable[Path] = ()) -> list[Case]:
    """Read case files.

    Args:
        paths: files, or directories whose ``*.toml`` are read; none: the cases that torov comes with.

    Returns:
        The cases in the order of the files and of their texts.

    Raises:
        CaseError: one is not in the form, or two have one name.
    """
    found: dict[str, Case] = {}
    tables: dict[str, Entry] = dict(packaged())
    files = [file for path in ([*paths] or [CASES]) for file in (sorted(path.glob("*.toml")) if path.is_dir() else [path])]
    read = [(file, _parsed(file)) for file in files]
    for file, said in read:
        for name, row in said.get("binary", {}).items():
            if name in tables:
                raise CaseError(file.name, f"binary {name}", "", "another binary has this name")
            tables[name] = entry_of(name, row, file.parent)
    for file, said in read:
        for index, row in enumerate(said.get("case", []), 1):
            for case in _expanded(file, row, said.get("default", {}), index):
                if case.name in found:
                    raise CaseError(
                        file.name, case.name, "name", f"there is another such case, in {Path(found[case.name].file).name}"
                    )
                for need in case.needs():
                    if need not in tables:
                        raise CaseError(file.name, case.name, "binary", f"there is no binary {need!r}: add [binary.{need}]")
                    if need not in packaged():
                        case.sources[need] = {**asdict(tables[need]), "flags": [*tables[need].flags]}
                found[case.name] = case
    return [*found.values()]


def chosen(cases: Sequence[Case], words: Sequence[str]) -> list[Case]:
    """The cases that words name: a case, the beginning of names that ends before a ``/``, a tag, a binary; ``-word`` leaves out.

    Raises:
        CorpusError: a word names none.
    """

    def named(word: str) -> set[str]:
        hits = {case.name for case in cases if word == case.name or case.name.startswith(f"{word.rstrip('/')}/")
                or word in case.tags or word == case.binary}  # fmt: skip
        if not hits:
            import difflib

            every = [*{name for case in cases for name in (case.name, *case.tags)}]
            near = difflib.get_close_matches(word, every, 1)
            hint = f"; did you mean {near[0]}?" if near else "; torov corpus list shows all"
            raise CorpusError(word, f"no case, tag or binary has this name{hint}")
        return hits

    wanted = set().union(*(named(word) for word in words if not word.startswith("-")))
    unwanted = set().union(*(named(word[1:]) for word in words if word.startswith("-")))
    if all(word.startswith("-") for word in words):
        wanted = {case.name for case in cases}
    return [case for case in cases if case.name in wanted - unwanted]


def _parsed(file: Path) -> dict[str, Any]:
    """One file, as its schema has it."""
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(str(file), f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CorpusError(str(file), f"is not TOML: {error}") from None
    try:
        import jsonschema
    except ImportError:
        raise CorpusError(file.name, "cases are checked with jsonschema: pip install 'torov[corpus]'") from None

    schema = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker(["regex"]))
    for wrong in sorted(checker.iter_errors(said), key=lambda wrong: [str(part) for part in wrong.absolute_path]):
        raise _of_schema(file, said, wrong)
    return said


def _of_schema(file: Path, said: Mapping[str, Any], error: Any) -> CaseError:
    """What jsonschema found, with the case and the member by name."""
    while error.context:  # of alternatives the one that came furthest says most
        error = max(error.context, key=lambda one: (len(one.absolute_path), one.validator != "type"))
    path = [*error.absolute_path]
    what = error.message if len(error.message) < 300 else error.message[:140] + " ... " + error.message[-140:]
    if path[:1] == ["case"] and len(path) > 1:
        row = said["case"][path[1]]
        name = row.get("name") if isinstance(row, dict) else None
        return CaseError(file.name, name if isinstance(name, str) else f"case {int(path[1]) + 1}", _key(path[2:]), what)
    return CaseError(file.name, str(path[0]) if path else "the file", _key(path[1:]), what)


def _key(path: Sequence[object]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _expanded(file: Path, row: Mapping[str, Any], default: Mapping[str, Any], index: int) -> Iterator[Case]:
    """A row and its file's defaults as cases: one, or one for each set of values of ``each``."""
    both = {**default, **row}
    for key in ("tags", "normalise", "ignore_files", "torov"):  # these add up
        both[key] = [*default.get(key, []), *row.get(key, [])]
    for key in ("env", "files"):
        both[key] = {**default.get(key, {}), **row.get(key, {})}
    name = str(row["name"])
    if "expected" in row and not row["expected"]:
        raise CaseError(file.name, name, "expected", "an empty list expects nothing: leave it out")
    each = both.pop("each", None)
    sets: list[dict[str, Any]] = [{}]
    if isinstance(each, dict):
        sets = [dict(zip(each, values, strict=True)) for values in itertools.product(*each.values())]
    elif each is not None:
        sets = each
    for values in sets:
        mine = _filled(both, values)
        used = set(_PLACE.findall(name))
        if each is not None and not used & set(values):
            mine["name"] = "-".join([name, *(re.sub(r"[^\w.+-]+", "_", str(value)) for value in values.values())])
        if not mine.get("binary") and not mine.get("shell"):
            raise CaseError(file.name, name, "binary", "a case needs a binary, or a shell's text")
        if mine.get("ready") is None and mine.get("clients"):
            raise CaseError(file.name, name, "clients", "clients need ready: what tells that the server can be asked")
        for word in _placeholders({**mine, "about": ""}):
            if not word.startswith("bin:") and word not in ("here", "bin", *mine.get("ports", ())):
                known = ", ".join(["here", "bin", "bin:NAME", *mine.get("ports", ()), *values])
                raise CaseError(file.name, name, "", f"@{word}@ stands for nothing here: there are {known}")
        for other in mine.get("expected", ()):
            if other["what"] not in mine.get("compare", ASPECTS):
                raise CaseError(file.name, name, "expected", f"{other['what']} is not compared")
        yield Case(**{**mine, "file": str(file)})


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A value with ``@word@`` in all its texts replaced; an element of a list that is a list's name becomes its elements."""
    if isinstance(value, str):
        return _PLACE.sub(lambda match: _plain(values[match[1]]) if match[1] in values else match[0], value)
    if isinstance(value, dict):
        return {_filled(key, values): _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        filled: list[Any] = []
        for item in value:
            whole = _PLACE.fullmatch(item) if isinstance(item, str) else None
            if whole and isinstance(values.get(whole[1]), list):
                filled += [str(one) for one in values[whole[1]]]
            else:
                filled.append(_filled(item, values))
        return filled
    return value


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """A value of a case with what is known only when it runs: ``@here@``, ``@bin@``, ``@bin:NAME@``, ports.

    Args:
        value: plain values; every text in it is filled in.
        values: by the word between the ``@``.
    """
    return _filled(value, values)


def _placeholders(value: Any) -> list[str]:
    return _PLACE.findall(json.dumps(value))
