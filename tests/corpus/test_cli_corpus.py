"""``torov corpus``: its words, what it prints, its exit status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from guests import write

from torov import cli

ROOT = Path(__file__).resolve().parents[2]


def test_list(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["corpus", "list", "caddy/files", "cat"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["cat/no-such-file", "cat/policy", "caddy/files"]
    assert cli.main(["corpus", "list", "--json", "cat/policy"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["expected"][0]["what"] == "stdout"
    assert cli.main(["corpus", "list", "zzzzzz"]) == 125
    assert "torov corpus list shows all" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["--times", "0"], ["-j", "-1"], ["--json", "/no/such/x"], ["--baseline", "/no/such/x"]])
def test_wrong_words(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["corpus", "run", *words]) == 125
    assert capfd.readouterr().err.startswith("torov: ")


@pytest.mark.kvm
def test_run(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = {"name": "x/good", "shell": "echo good; exit 3"}
    bad = {"name": "x/bad", "shell": r"(: </proc/self/mem) 2>/dev/null && echo native || printf '\033[31mtorov\n'"}
    case = ["--cases", str(write(tmp_path, good))]
    files = ["--json", "r.json", "--html", "r.html", "--junit", "r.xml", "--markdown", "r.md"]
    assert cli.main(["corpus", "run", *case, *files, "--times", "2"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[1].split()[:2] == ["/bin/sh", "1"] and out[-1].endswith("1 same")
    assert [name for name in ("r.json", "r.html", "r.xml", "r.md") if not (tmp_path / name).stat().st_size] == []
    write(tmp_path, good, bad)
    assert cli.main(["corpus", "run", *case, "--baseline", "r.json", "--trace", "all", "--json", "s.json"]) == 1
    said = capfd.readouterr()
    assert "different: x/bad" in said.err and r"+\x1b[31mtorov" in said.err and "\x1b" not in said.err
    assert [line.split() for line in said.out.splitlines()[-1:]] == [["x/bad", "new", "different"]]
    rows = {row["name"]: row for row in json.loads((tmp_path / "s.json").read_text())["cases"]}
    assert "exit_group(3)" in rows["x/good"]["trace"]
    assert rows["x/bad"]["torov"]["stdout"] == "\x1b[31mtorov\n"


@pytest.mark.kvm
def test_a_report_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = ["--cases", str(write(tmp_path, {"name": "x/good", "shell": "exit 3"}))]
    where, page, table = (str(path) for path in (tmp_path, tmp_path / "r.html", tmp_path / "r.md"))
    files = ["--json", where, "--html", page, "--junit", where, "--markdown", table]
    assert cli.main(["corpus", "run", *case, *files]) == 125
    said = capfd.readouterr()
    assert said.err.splitlines() == [f"torov: {tmp_path}: Is a directory"] * 2
    assert said.out.endswith("1 same\n")
    assert (tmp_path / "r.html").stat().st_size and (tmp_path / "r.md").stat().st_size


@pytest.mark.kvm
def test_a_terminal_gets_no_control_characters(tmp_path: Path) -> None:
    bad = {"name": "x/bad", "shell": r"(: </proc/self/mem) 2>/dev/null && echo native || printf '\033]0;title\007\n'"}
    path = write(tmp_path, bad)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "torov", "corpus", "run", "--cases", str(path), "--trace", "none"]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as runner:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not part:
                break
            said += part
    os.close(ours)
    assert runner.returncode == 1
    assert rb"+\x1b]0;title\x07" in said and b"\x1b]0;" not in said and b"\x07" not in said


def test_exec_imports_nothing_of_it() -> None:
    script = "import sys; import torov.cli; print([m for m in sys.modules if 'corpus' in m or m in NAMES])"
    script = f"NAMES = ('jinja2', 'junitparser', 'distributed', 'jsonschema', 'rich'); {script}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
