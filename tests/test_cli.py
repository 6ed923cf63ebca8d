"""The command line as a user types it: places of options, messages, exit statuses, what is printed and where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support import HELLO_C, HELLO_S, Compiler

from torov import __version__

ROOT = Path(__file__).parents[1]
ARGS_C = r"""
#include <stdio.h>
int main(int argc, char **argv) { for (int i = 1; i < argc; i++) printf("[%s]", argv[i]); puts(""); return argc; }
"""


def cli(*words: str | Path | bytes, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run torov with these words."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, "-m", "torov", *words],
        cwd=cwd,
        env=full,
        text=True,
        errors="replace",
        capture_output=True,
        check=False,
        timeout=60,
    )


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of an error; nothing else was printed."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(r"torov: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def hello(cc: Compiler) -> Path:
    return cc(HELLO_C)


@pytest.fixture(scope="module")
def args(cc: Compiler) -> Path:
    return cc(ARGS_C)


@pytest.mark.kvm
@pytest.mark.parametrize(
    "words",
    [
        ["exec", "FILE", "--", "-a", "--quiet", "x"],
        ["exec", "--quiet", "FILE", "--", "-a", "--quiet", "x"],
        ["exec", "FILE", "--quiet", "--no-vdso", "--", "-a", "--quiet", "x"],
        ["exec", "--stack=2M", "FILE", "-q", "--", "-a", "--quiet", "x"],
        ["exec", "--stack", "2m", "--quiet", "--", "FILE", "-a", "--quiet", "x"],
        ["exec", "FILE", "--strict", "--", "-a", "--quiet", "x"],
    ],
)
def test_options_stand_before_or_behind_the_file(args: Path, words: list[str]) -> None:
    done = cli(*(str(args) if word == "FILE" else word for word in words))
    assert (done.returncode, done.stdout, done.stderr) == (4, "[-a][--quiet][x]\n", "")


@pytest.mark.kvm
def test_what_is_behind_the_dashes_is_the_programs_own(args: Path) -> None:
    assert cli("exec", args, "--", "--", "").stdout == "[--][]\n"
    assert cli("exec", args, "--").stdout == "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FILE", "-la"], "is no option of torov exec; what is the program's comes after --, as: torov exec FILE -- -la"),
        (
            ["FILE", "word", "b c"],
            "word belongs to the program; what is the program's comes after --, as: torov exec FILE -- word 'b c'",
        ),
        (["--polcy", "p", "FILE"], "did you mean --policy?"),
        (["--frobnicate", "FILE"], "no such option"),
        (["--policy"], "--policy needs a value"),
        (["--quiet=1", "FILE"], "--quiet takes no value"),
        (["FILE", "--stack", "much"], "expected a size such as 8M"),
        (["--trace-format=xml", "FILE"], "expected text, json, perfetto"),
        (["--trace-opts=-e nosuch", "FILE"], "no system call is called nosuch"),
        (["--gdb", "place", "FILE"], "expected [HOST:]PORT or unix:PATH"),
        (["--perf-hz", "often", "FILE"], "--perf-hz"),
        (["--core=/nonexistent/core", "FILE"], "/nonexistent: No such file or directory"),
        ([], "no program given"),
        (["--quiet"], "no program given"),
        (["--"], "no program given"),
    ],
)
def test_a_wrong_line_says_what_to_write(hello: Path, words: list[str], message: str) -> None:
    done = cli("exec", *(str(hello) if word == "FILE" else word for word in words))
    assert message.replace("FILE", str(hello)) in refused(done, 125)


def test_files_that_cannot_be_run(hello: Path, cc: Compiler, tmp_path: Path) -> None:
    assert "no-such" in refused(cli("exec", tmp_path / "no-such"), 127)
    text = tmp_path / "text"
    text.write_text("hello\n")
    assert "no execute permission" in refused(cli("exec", text), 126)
    text.chmod(0o755)
    assert str(text) in refused(cli("exec", text), 126)
    refused(cli("exec", tmp_path), 126)
    refused(cli("exec", tmp_path / "a" / "b"), 127)
    cut = tmp_path / "cut"
    cut.write_bytes(hello.read_bytes()[:3000])
    cut.chmod(0o755)
    assert "cut" in refused(cli("exec", cut), 126)
    refused(cli("exec", ""), 127)  # execve(2) of an empty path is ENOENT; env(1) says 127
    refused(cli("exec", b"\xff\xfe"), 127)


def test_policies_that_cannot_be_used(hello: Path, tmp_path: Path) -> None:
    policy = tmp_path / "p.json"
    for text, message in (
        ('{"torov": 1, "default": "deny", "rules": [{"calls": ["opennat"], "action": "allow"}]}', "did you mean openat?"),
        ("{", "p.json"),
        ("", "p.json"),
        ("[" * 10_000, "p.json"),
    ):
        policy.write_text(text)
        assert message in refused(cli("exec", hello, "--policy", policy), 125)
    assert "no-such" in refused(cli("exec", hello, "--policy", tmp_path / "no-such"), 125)
    refused(cli("exec", hello, "--policy", tmp_path), 125)


@pytest.mark.kvm
def test_stats_as_json_add_up(hello: Path) -> None:
    done = cli("exec", hello, "--stats", "--json")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    stats = json.loads(done.stderr)
    assert stats["exit_status"] == stats["signal"] == stats["lost"] == stats["denied"] == stats["gadgets"] == 0
    assert stats["syscalls"]["write"] == stats["syscalls"]["exit_group"] == 1
    assert sum(stats["syscalls"].values()) == stats["hypercalls"] + stats["trapped"] > 2
    assert stats["exits"] >= stats["hypercalls"] + stats["trapped"] + stats["kicks"]
    assert 0 < stats["kvm_ns"] < stats["create_ns"]
    assert 0 < stats["first_ns"] <= stats["run_ns"]


@pytest.mark.kvm
def test_stats_and_layout_for_people(hello: Path) -> None:
    done = cli("exec", "--stats", "--layout", hello)
    assert done.stdout == "hello\n"
    assert "0 lost syscalls" in done.stderr
    assert re.search(r"^ *1 +write *$", done.stderr, re.MULTILINE)
    rows = re.findall(r"^0x([0-9a-f]{12})-0x([0-9a-f]{12}) ([r-][w-][x-]) (.+)$", done.stderr, re.MULTILINE)
    assert {"image", "stack", "LSTAR stub"} <= {name for _, _, _, name in rows}
    ends = [(int(start, 16), int(end, 16)) for start, end, _, _ in rows]
    assert all(start <= end for start, end in ends)
    assert all(one[1] <= two[0] for one, two in pairwise(ends))


@pytest.mark.kvm
def test_layout_as_json_agrees_with_the_program(hello: Path) -> None:
    done = cli("exec", hello, "--layout", "--json")
    layout = json.loads(done.stderr)["layout"]
    image = [row for row in layout if row["name"] == "image"]
    headers = subprocess.run(["readelf", "-lW", hello], capture_output=True, text=True, check=True).stdout
    loads = re.findall(r"^ +LOAD +\S+ 0x0*([0-9a-f]+) \S+ \S+ \S+ ([R ][W ][E ])", headers, re.MULTILINE)
    for address, flags in loads:
        start, prot = int(address, 16), flags.lower().replace("e", "x").replace(" ", "-")
        assert [row for row in image if row["start"] <= start < row["end"] and row["prot"] == prot], (address, flags)


def test_help_and_version() -> None:
    for words in (["exec", "--help"], ["exec", "-h"], ["--help"], ["patch", "--help"], ["doctor", "--help"]):
        done = cli(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout.lower().startswith("usage: torov")
    text = cli("exec", "--help").stdout
    assert all(word in text for word in ("--policy", "--stats", "125", "126", "127", "Examples:"))
    assert max(map(len, text.splitlines())) <= 120
    assert cli("--version").stdout == f"torov {__version__}\n"
    assert cli().returncode == 125
    done = cli("frobnicate")
    assert done.returncode == 125
    assert "Traceback" not in done.stderr


@pytest.mark.kvm
def test_doctor() -> None:
    done = cli("doctor")
    assert done.returncode == 0
    assert "/dev/kvm" in done.stdout
    findings = json.loads(cli("doctor", "--json").stdout)
    assert findings
    assert all(finding["good"] for finding in findings if finding["needed"])
    around = {finding["what"]: finding["found"] for finding in findings[-4:]}
    assert list(around) == ["jail", "seccomp", "Landlock", "cgroups"]
    assert "mount uts ipc user pid" in around["jail"] and "instructions" in around["seccomp"]


def test_patch_shows_the_plan(cc: Compiler) -> None:
    program = cc(HELLO_S, "bare")
    listing = subprocess.run(["objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    sites = [f"0x{address}" for address in re.findall(r"^ +([0-9a-f]+):\t0f 05 .*syscall", listing, re.MULTILINE)]
    assert len(sites) == 2
    plan = json.loads(cli("patch", program, "--json").stdout)
    assert [f"{site['address']:#x}" for site in plan["plan"]] == [f"0x{site.removeprefix('0x')}" for site in sites]
    assert {(site["old"], site["new"]) for site in plan["plan"]} == {("0f 05", "e7 10")}
    text = cli("patch", program).stdout
    diff = cli("patch", program, "--diff").stdout
    for site in sites:
        assert site in text
        assert site.removeprefix("0x") in diff
    assert "syscall" in diff
    assert "out" in diff


def test_patch_writes_and_undoes(hello: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    done = cli("patch", hello, "-o", out)
    assert done.returncode == 0, done.stderr
    before, after = hello.read_bytes(), out.read_bytes()
    assert len(before) == len(after)
    changed = [i for i, (one, two) in enumerate(zip(before, after, strict=True)) if one != two]
    assert len(changed) > 20
    assert {before[i] for i in changed} == {0x0F, 0x05}
    assert {after[i] for i in changed} == {0xE7, 0x10}
    done = cli("patch", "--undo", out, "-o", back)
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == before
    refused(cli("patch", "--undo", hello, "-o", tmp_path / "none"), 125)
    assert not (tmp_path / "none").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "out"]


@pytest.mark.parametrize(
    "words",
    [
        ["patch"],
        ["patch", "--undo", "x"],
        ["patch", "no-such"],
        ["patch", "/"],
        ["patch", "/dev/null"],
        ["patch", "FILE", "-o", "/no/such/place"],
    ],
)
def test_patch_refuses_in_one_line(hello: Path, words: list[str]) -> None:
    done = cli(*(str(hello) if word == "FILE" else word for word in words))
    refused(done, done.returncode)
    assert done.returncode in (125, 126, 127)


def test_a_broken_pipe_is_no_traceback(hello: Path) -> None:
    line = f"{sys.executable} -m torov patch {hello} --diff | head -1"
    done = subprocess.run(
        ["sh", "-c", line], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.kvm
def test_a_warm_start_imports_little(hello: Path, tmp_path: Path) -> None:
    """The second start finds its image in the cache: what reads, proves and assembles code stays out."""
    script = "import sys\nfrom torov import cli\nstatus = cli.main(sys.argv[1:])\nprint(sorted(sys.modules))\nsys.exit(status)\n"

    def modules(*words: str | Path) -> set[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TOROV_CACHE": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{script}", *words],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(re.findall(r"'([\w.]+)'", done.stdout.splitlines()[-1]))

    heavy = {
        "lief",
        "capstone",
        "keystone",
        "json",
        "re",
        "dataclasses",
        "typing",
        "argparse",
        "rich",
        "hashlib",
        "subprocess",
        "difflib",
    }
    assert "lief" in modules("exec", hello)
    assert modules("exec", hello) & heavy == set()
    policy = tmp_path / "p.json"
    policy.write_text('{"torov": 1, "default": "allow", "rules": [{"calls": ["socket"], "action": "deny"}]}')
    assert modules("exec", hello, "--policy", policy) & {"lief", "capstone", "keystone", "json"} == set()


def test_patch_works_without_the_compiled_core(cc: Compiler, tmp_path: Path) -> None:
    """A study of a binary needs neither KVM nor a compiler."""
    program, out = str(cc(HELLO_C)), str(tmp_path / "out")
    code = "import sys; sys.modules['torov.vmm._core'] = None; from torov.cli import main; sys.exit(main(sys.argv[1:]))"
    for words in (["patch", program], ["patch", program, "--json"], ["patch", program, "--diff"], ["patch", program, "-o", out],
                  ["patch", "--undo", out, "-o", out + ".back"]):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False)
        assert (done.returncode, done.stderr) == (0, "")
