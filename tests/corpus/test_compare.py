"""What counts as a difference, and what is taken out before."""

from __future__ import annotations

import time
from typing import Any

import pytest

from torov.corpus.compare import NORMALISERS, differences, normal, outcome
from torov.corpus.form import ASPECTS, Case


def run(**words: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "ended": "status 0",
        "stdout": "",
        "stderr": "",
        "files": {},
        "clients": [],
        "left": [],
        "gadgets": [],
    }
    return {**base, "values": {"here": "/tmp/torov-corpus-x/w", "web": "34567"}, **words}


def whats(case: Case, native: dict[str, Any], guest: dict[str, Any]) -> list[str]:
    return [one["what"] for one in differences(case, native, guest)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("pids", "pid 12, PID=34; tid:5 [678] process 9 pidgin 10", "pid PID, PID=PID; tid:PID [PID] process PID pidgin 10"),
        ("times", "at 12:30:59.25 or 9:05, not 1:2", "at TIME or TIME, not 1:2"),
        ("durations", "took 1.5s, 20 ms, 3µs; v1.5 s0", "took DURATION, DURATION, DURATION; v1.5 s0"),
        ("dates", "2024-01-31T10:00:00Z and Mon Jan  2 10:00:00 2006.", "DATE and DATE."),
        ("dates", "8 Nov 22 17:59 a, Jan  3  2025 b, Sep  1 07:00:01 c, May 15 men", "8 DATE a, DATE b, DATE c, May 15 men"),
        ("addresses", "0x7fff12345678 0x10 deadbeef0123", "ADDRESS 0x10 ADDRESS"),
        ("numbers", "1 a2 3.5", "N aN N"),
        ("sorted", "b\na\nc\n", "a\nb\nc\n"),
        ("tmpnames", "/tmp/tmpab12cd34 tmp.XyZ123 template", "/tmp/tmpNAME tmp.NAME template"),
        ("uuids", "id 5a527ba4-acc1-4b01-9dc8-bf000b57eac9", "id UUID"),
        ("spaces", "a  \t b", "a b"),
        ("inodes", "Inode: 1234 ino=5", "Inode: INODE ino= INODE"),
    ],
)
def test_normalisers(name: str, text: str, expected: str) -> None:
    assert NORMALISERS[name](text) == expected


def test_all_normalisers_of_the_form_are_there() -> None:
    import json
    from pathlib import Path

    from torov.corpus import form

    schema = json.loads((Path(form.__file__).parent / "schema.json").read_text())
    assert {*schema["$defs"]["normaliser"]["oneOf"][0]["enum"]} == {*NORMALISERS}


def test_what_is_taken_out() -> None:
    case = Case("a", "f", ports=["web"], normalise=["numbers", {"match": "^x", "replace": "y", "in": ["files"]}, {"match": "z$"}])
    values = run()["values"]
    assert normal(case, "/tmp/torov-corpus-x/w/a:34567 345678\nxz\n", values, "stdout") == "HERE/a:WEB N\nx\n"
    assert normal(case, "1\nxz\n", values, "files") == "1\nyz\n"


def test_each_aspect() -> None:
    case, good = Case("a", "f", ports=["web"]), run()
    client = {"ended": "status 0", "stdout": "a", "stderr": ""}
    file = {"kind": "file", "mode": "0644", "size": 1, "sha256": "s", "text": "x"}
    for what, words in (
        ("status", {"ended": "status 1"}),
        ("stdout", {"stdout": "x"}),
        ("stderr", {"stderr": "x"}),
        ("files", {"files": {"a": file}}),
        ("clients", {"clients": [[client]]}),
        ("processes", {"left": ["sleep"]}),
    ):
        assert whats(case, good, run(**words)) == [what]
        assert whats(case, run(**words), good) == [what]
        assert whats(Case("a", "f", compare=[one for one in ASPECTS if one != what], ports=["web"]), good, run(**words)) == []
    for other in ({"mode": "0600"}, {"text": "y"}, {"kind": "link", "target": "b"}):
        assert whats(case, run(files={"a": file}), run(files={"a": {**file, **other}})) == ["files"]


def test_copies_of_a_client_may_end_in_any_order() -> None:
    case = Case("a", "f")
    one, two = ({"ended": "status 0", "stdout": text, "stderr": ""} for text in "ab")
    assert whats(case, run(clients=[[one, two]]), run(clients=[[two, one]])) == []
    assert whats(case, run(clients=[[one, two]]), run(clients=[[two, two]])) == ["clients"]


@pytest.mark.parametrize(
    ("native", "guest", "same"),
    [
        ("signal 11 (SIGSEGV)", "status 139", True),
        ("signal 15 (SIGTERM)", "signal 15 (SIGTERM)", True),
        ("status 139", "signal 11 (SIGSEGV)", False),  # the monitor itself
        ("signal 11 (SIGSEGV)", "status 134", False),
        ("status 0", "no end within 5 s", False),
    ],
)
def test_status(native: str, guest: str, same: bool) -> None:
    assert (whats(Case("a", "f"), run(ended=native), run(ended=guest)) == []) is same


def test_a_site_that_is_no_instruction_is_always_a_difference() -> None:
    line = '{"call": "getpid", "site": "0x401628", "program": "/x", "action": "gadget"}'
    case = Case("a", "f", expected=[{"what": "stdout", "reason": "anything"}])
    found = differences(case, run(), run(gadgets=[line], stdout="x"))
    assert [one["what"] for one in found] == ["stdout", "sites"]
    assert "error of the scanner: getpid at 0x401628 of /x" in found[1]["diff"]
    assert outcome(case, found)[0] == "different"


def test_outcomes() -> None:
    out = {"what": "stdout", "reason": "the reason", "matches": r"^\+x"}
    found = [{"what": "stdout", "diff": "-y\n+x"}]
    case = Case("a", "f", expected=[out])
    assert outcome(Case("a", "f"), [])[0] == "same"
    assert outcome(Case("a", "f"), found)[0] == "different"
    assert outcome(case, found) == ("expected", [{**found[0], "reason": "the reason"}])
    assert outcome(case, []) == ("fixed", [{"what": "stdout", "diff": "", "reason": "the reason"}])
    assert outcome(case, [{"what": "stdout", "diff": "+z"}])[0] == "different"
    assert outcome(case, [*found, {"what": "files", "diff": ""}])[0] == "different"
    assert outcome(Case("a", "f", expected=[{**out, "sometimes": True}]), [])[0] == "same"


def test_a_difference_that_no_line_shows() -> None:
    assert "ends of the lines" in differences(Case("a", "f"), run(stdout="a\n"), run(stdout="a"))[0]["diff"]
    assert whats(Case("a", "f"), run(stdout="\udcff"), run(stdout="\ufffd")) == ["stdout"]


def test_long_outputs_are_compared_in_no_time() -> None:
    """difflib takes minutes for what has no line in common."""
    before = time.monotonic()
    theirs, mine = "".join(f"native {i}\n" for i in range(300_000)), "".join(f"torov {i}\n" for i in range(300_000))
    (found,) = differences(Case("a", "f"), run(stdout="same\n" * 10 + theirs), run(stdout="same\n" * 10 + mine))
    assert time.monotonic() - before < 10
    rows = found["diff"].splitlines()
    assert rows[2:4] == ["@@ numbers of lines are from line 9 on @@", "@@ -1,1000 +1,1000 @@"]
    assert rows[4:7] == [" same", " same", "-native 0"] and rows[-1].endswith("more lines")


def test_long_lines_are_cut_and_still_differ() -> None:
    (found,) = differences(Case("a", "f"), run(stdout="x" * 1_000_000 + "a"), run(stdout="x" * 1_000_000 + "b"))
    assert len(found["diff"]) < 2000 and found["diff"].count("1000001 characters") == 2
