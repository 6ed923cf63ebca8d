"""The form of cases: what is read, and what is said of a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from torov.corpus import form
from torov.corpus.binaries import CorpusError
from torov.corpus.form import Case, CaseError, chosen, read_cases


def read(where: Path, text: str) -> list[Case]:
    path = where / "c.toml"
    path.write_text(text)
    return read_cases([path])


def test_the_schema_is_one() -> None:
    schema = json.loads((Path(form.__file__).parent / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    members = set(schema["$defs"]["members"]["properties"])
    assert members - {"each"} == set(Case.__dataclass_fields__) - {"file", "sources"}
    assert schema["$defs"]["what"]["enum"] == [*form.ASPECTS]


def test_the_cases_of_torov() -> None:
    cases = read_cases()
    assert {"busybox/digest-md5sum", "cat/policy", "caddy/files"} <= {case.name for case in cases}
    assert all(case.binaries() is not None for case in cases)
    assert sum("quick" in case.tags for case in cases) >= 10
    assert all(Case(**json.loads(json.dumps(case.document()))) == case for case in cases)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[case]]\n", "c.toml: case 1: 'name' is a required property"),
        ("[[case]]\nname = 'a'\n", "c.toml: a: binary: a case needs a binary, or a shell's text"),
        ("[[case]]\nname = 'a b'\nbinary = 'rg'\n", "c.toml: a b: name: 'a b' does not match"),
        ("[[case]]\nname = 'a'\nbinary = 'nope'\n", "c.toml: a: binary: there is no binary 'nope': add [binary.nope]"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nargs = ['@bin:x@']\n", "c.toml: a: binary: there is no binary 'x'"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nargs = [1]\n", "c.toml: a: args[0]: 1 is not of type 'string'"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\ncolour = 1\n", "c.toml: a: Additional properties are not allowed ('col"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nfiles = { x = { mode = 9999 } }\n", "c.toml: a: files.x.mode: 9999"),
        (
            "[[case]]\nname = 'a'\nbinary = 'rg'\nnormalise = [{ match = '(' }]\n",
            "c.toml: a: normalise[0].match: '(' is not a",
        ),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nnormalise = ['pid']\n", "c.toml: a: normalise[0]: 'pid' is not one of"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nlimit = 0\n", "c.toml: a: limit: 0 is less than or equal to the minimum of 0"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nargs = ['@x@']\n", "c.toml: a: @x@ stands for nothing here: there are here, bin"),
        (
            "[[case]]\nname = 'a'\nbinary = 'rg'\nexpected = [{ what = 'stdout' }]\n",
            "c.toml: a: expected[0]: 'reason' is",
        ),
        (
            "[[case]]\nname = 'a'\nbinary = 'rg'\ncompare = ['status']\nexpected = [{ what = 'files', reason = 'it is so..' }]\n",
            "c.toml: a: expected: files is not compared",
        ),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\nclients = [{ shell = 'true' }]\n", "c.toml: a: clients: clients need ready"),
        ("[[case]]\nname = 'a'\nbinary = 'rg'\n" * 2, "c.toml: a: name: there is another such case, in c.toml"),
        ("[binary.rg]\nsource = 'path'\npath = 'rg'\n", "c.toml: binary rg: another binary has this name"),
        ("[binary.x]\nsource = 'cargo'\n", "c.toml: binary: x.source: 'cargo' is not one of"),
        ("[[cases]]\n", "c.toml: the file: Additional properties are not allowed ('cases' was unexpected)"),
        ("[[case]\n", "is not TOML"),
    ],
)
def test_mistakes(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        read_cases([tmp_path / "none.toml"])


def test_defaults_add_up(tmp_path: Path) -> None:
    text = """\
[default]
tags = ["one"]
limit = 5
env = { A = "1" }
binary = "rg"
[[case]]
name = "a"
tags = ["two"]
env = { B = "2" }
[[case]]
name = "b"
limit = 7
"""
    a, b = read(tmp_path, text)
    assert (a.tags, a.limit, a.env, a.binary) == (["one", "two"], 5, {"A": "1", "B": "2"}, "rg")
    assert (b.tags, b.limit, b.env) == (["one"], 7, {"A": "1"})


def test_each(tmp_path: Path) -> None:
    text = """\
[[case]]
name = "x/@n@-@w@"
binary = "rg"
args = ["-@n@", "@more@", "@port@"]
ports = ["port"]
each = { n = [1, 2], w = ["a", "b"], more = [["p", "q"]] }
[[case]]
name = "y"
binary = "rg"
files = { "@name@" = { text = "@text@" } }
each = [{ name = "f", text = "one" }, { name = "a b/c", text = "two" }]
"""
    cases = read(tmp_path, text)
    assert [case.name for case in cases] == ["x/1-a", "x/1-b", "x/2-a", "x/2-b", "y-f-one", "y-a_b_c-two"]
    assert cases[2].args == ["-2", "p", "q", "@port@"]
    assert cases[5].files == {"a b/c": {"text": "two"}}
    assert form.filled(cases[2].args, {"port": "80"})[-1] == "80"


def test_which_are_chosen(tmp_path: Path) -> None:
    text = "".join(
        f"[[case]]\nname = '{name}'\nbinary = '{binary}'\ntags = ['{tag}']\n"
        for name, binary, tag in (("a/one", "rg", "quick"), ("a/two", "rg", "slow"), ("ab/x", "jaq", "quick"))
    )
    cases = read(tmp_path, text)

    def names(*words: str) -> list[str]:
        return [case.name for case in chosen(cases, words)]

    assert names() == ["a/one", "a/two", "ab/x"]
    assert names("a") == names("a/") == ["a/one", "a/two"]
    assert names("quick") == ["a/one", "ab/x"]
    assert names("rg", "-slow") == ["a/one"]
    assert names("-a") == ["ab/x"]
    assert names("a/two", "jaq") == ["a/two", "ab/x"]
    with pytest.raises(CorpusError, match="quik: no case, tag or binary has this name; did you mean quick"):
        names("quik")


def test_an_error_crosses_to_other_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(CaseError("f", "c", "k", "p")))
    assert (str(error), error.key) == ("corpus: f: c: k: p", "k")
