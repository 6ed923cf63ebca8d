"""What a run leaves: JSON and its comparison with an earlier one, JUnit XML, one HTML page. Outputs of programs are hostile."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from torov.corpus import junit, page, results
from torov.corpus.attempt import nothing
from torov.corpus.binaries import CorpusError
from torov.corpus.form import Case

HOSTILE = "\x1b[31m\x00\udcff\x9b\u202e </pre></script><script>alert(1)</script> ]]> &amp; {{ 7 * 7 }} \x07\n"


def row(name: str, outcome: str = "same", ratio: float = 2.0, **words: Any) -> dict[str, Any]:
    run = {"ended": "status 0", "seconds": 1.0, "cpu": 0.5, "boot": None, "guest": None, "left": [], "stdout": "", "stderr": "",
           "clients": [], "files": 0}  # fmt: skip
    made = nothing(Case(name, "f", binary="tool"))
    return {
        **made,
        "outcome": outcome,
        "ratio": ratio,
        "native": dict(run),
        "torov": {**run, "seconds": ratio},
        "seconds": 3.0,
        **words,
    }


def hostile() -> list[dict[str, Any]]:
    bad = row("bad" + HOSTILE.strip(), "different", about=HOSTILE, command=HOSTILE, error=HOSTILE, trace=HOSTILE, attempts=2,
              differs=[{"what": "stdout", "diff": f"+{HOSTILE}", "reason": HOSTILE}], binary=HOSTILE, tags=[HOSTILE],
              before=[{"what": "stderr", "diff": f"-{HOSTILE}", "reason": "", "attempt": 1}])  # fmt: skip
    for run in (bad["native"], bad["torov"]):
        run |= {"ended": HOSTILE, "stdout": HOSTILE, "stderr": HOSTILE, "left": [HOSTILE],
                "clients": [[{"ended": HOSTILE, "stdout": HOSTILE}]]}  # fmt: skip
    return [bad, row("a/good"), nothing(Case("a/none", "f", binary="tool"), HOSTILE)]


def test_printable() -> None:
    assert results.printable("a\tb\n", "\t\n") == "a\tb\n"
    assert results.printable(HOSTILE)[:26] == r"\x1b[31m\x00\xff\x9b" + "\\u202e"
    assert results.printable("\ud800") == "\\ud800"
    assert results.printable("é中😀") == "é中😀"


def test_against_an_earlier_run() -> None:
    before = results.document(
        [row("a"), row("b", "different"), row("c"), row("d"), row("e", "different", differs=[{"what": "files"}])], 1
    )
    rows = [row("a", "different"), row("b"), row("c", ratio=4.0), row("e", "different", differs=[{"what": "status"}]), row("f")]
    found = results.against(results.document(rows, 1), before)
    assert [(one["name"], one["change"]) for one in found] == [
        ("a", "broken"), ("b", "fixed"), ("c", "slower"), ("e", "changed"), ("f", "new"), ("d", "gone"),
    ]  # fmt: skip
    assert found[2]["text"] == "2.00 times native, now 4.00"
    assert results.against(before, before) == []


def test_a_little_slower_is_nothing() -> None:
    quick = row("a", ratio=0.1)
    assert results.against(results.document([row("a", ratio=0.3)], 1), results.document([quick], 1)) == []
    assert results.against(results.document([row("a", ratio=2.8)], 1), results.document([row("a")], 1)) == []


def test_which_runs_pass() -> None:
    assert results.passed([row("a"), row("b", "expected"), row("c", "flaky")])
    for outcome in ("different", "fixed", "unstable", "error"):
        assert not results.passed([row("a"), row("b", outcome)])


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is not JSON"), ("[]", "is not what torov corpus run"), ('{"format": 9}', "is not what")]
)
def test_a_baseline_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        results.read(str(path))
    path.write_text(text)
    with pytest.raises(CorpusError, match=said):
        results.read(str(path))


def test_the_table() -> None:
    rows = [row("a", ratio=1.0), row("b", "expected", ratio=3.0), row("c", "flaky", ratio=5.0)]
    assert results.markdown(rows).splitlines()[2] == "| tool | 3 | 2 | 1 | 3.00 |"


def test_junit(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    junit.write(str(path), [*hostile(), row("x/fixed", "fixed", differs=[{"what": "stdout", "diff": "", "reason": "r"}])], 9.5)
    (suite,) = ET.parse(path).getroot()  # a parser refuses control characters
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "1")
    cases = {case.get("name"): case for case in suite}
    assert cases["good"].get("classname") == "a" and cases["good"].find("failure") is None
    failure = cases["fixed"].find("failure")
    assert failure is not None and failure.get("message") == "fixed: stdout"
    bad = next(case for name, case in cases.items() if (name and name.startswith("script>")) or (name and "alert" in name))
    said = bad.find("failure")
    out = bad.find("system-out")
    assert out is not None and out.text is not None and "attempt 1: stderr differed\n-" in out.text
    assert said is not None and said.text is not None and "\\x1b[31m\\x00\\xff" in said.text and "</script>" in said.text


class Reader(HTMLParser):
    """What of a page a browser would act upon."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_safe_and_whole() -> None:
    document = results.document(
        hostile(), 1, [{"binary": HOSTILE, "size": 1, "seconds": 0.1, "counts": {}, "differs": [], "error": HOSTILE}]
    )
    text = page.page({**document, "changes": [{"name": HOSTILE, "change": "new", "text": HOSTILE}]})
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e]", text)
    reader = Reader()
    reader.feed(text)
    assert reader.tags.count("script") == 1 and "alert(1)" in reader.text and "attempt 1: stderr differed" in reader.text
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert {"img", "iframe", "link", "a", "form"}.isdisjoint(reader.tags)
    assert not [name for name, _ in reader.attributes if name in ("src", "href", "action")]  # it needs nothing else
    assert "{{ 7 * 7 }}" in reader.text and reader.tags.count("details") == 4
    (policy,) = [value for name, value in reader.attributes if name == "content" and value and value.startswith("default-src")]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_the_plot() -> None:
    rows = [row("a", ratio=0.5), row("b", ratio=2.0), row("c", ratio=50.0), nothing(Case("d", "f", binary="tool"))]
    text = page.page({**results.document(rows, 1), "changes": None})
    places = [float(at) for at in re.findall(r'circle class="same" cx="([\d.]+)%"', text)]
    assert places == sorted(places) and len(places) == 3 and places[0] == 2 and places[2] == 98
    assert (places[1] - places[0]) / (places[2] - places[1]) == pytest.approx(0.4307, abs=0.001)  # log 4 / log 25
    assert "Since the baseline" not in text
    assert "<circle" not in page.page({**results.document(rows[3:], 1), "changes": None})


def test_the_document_is_json() -> None:
    document = results.document(hostile(), 1)
    assert json.loads(json.dumps(document))["counts"] == {"different": 1, "same": 1, "error": 1}
