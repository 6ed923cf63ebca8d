"""Real programs do under torov what they do natively: the same output, errors and exit status.

The programs are those of the corpus manifest (torov/corpus/binaries.toml), built by nobody here.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from torov.corpus import fetch, read_binaries

ENTRIES = read_binaries()
FPC_UNITS = "/usr/lib/x86_64-linux-gnu/fpc/3.2.2/units/x86_64-linux/rtl"

pytestmark = [pytest.mark.corpus, pytest.mark.kvm]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with something to list, search, sort, pack and check."""
    top = tmp_path_factory.mktemp("work")
    noise = random.Random(1)
    (top / "d" / "sub").mkdir(parents=True)
    (top / "d" / "a.txt").write_text("hello world\nfoo bar\nhello again\n" * 50)
    (top / "d" / "sub" / "b.txt").write_text("3\n1\n2\nhello\n")
    (top / "big").write_bytes(noise.randbytes(1 << 20))
    (top / "o").mkdir()
    (top / "h.pas").write_text("program h;\nvar i: integer;\nbegin\n for i := 1 to 3 do WriteLn(i);\nend.\n")
    with tarfile.open(top / "t.tar", "w") as tar:
        tar.add(top / "d", "d")
    (top / "t.tar.gz").write_bytes(gzip.compress((top / "t.tar").read_bytes(), mtime=0))
    with open(top / "fs.img", "wb") as image:
        image.truncate(8 << 20)
    tools = os.environ["PATH"] + ":/usr/sbin:/sbin"  # not on every user's path
    mkfs = shutil.which("mkfs.ext4", path=tools)
    assert mkfs, "mkfs.ext4 is needed; on Debian: apt-get install e2fsprogs"
    subprocess.run([mkfs, "-q", "-F", "fs.img"], cwd=top, check=True, capture_output=True)
    return top


def run(words: list[str], stdin: str, cwd: Path) -> tuple[int, bytes, bytes]:
    """Exit status as a shell shows it, standard output and standard error."""
    cache = os.environ.get("TOROV_CACHE", os.path.expanduser("~/.cache/torov"))
    fixed = {"LC_ALL": "C", "TZ": "UTC", "HOME": str(cwd), "TOROV_CACHE": cache, "PYTHONPATH": os.getcwd()}
    environment = {**os.environ, **fixed}
    text = stdin.encode()
    done = subprocess.run(words, input=text, capture_output=True, cwd=cwd, env=environment, timeout=120, check=False)
    return (128 - done.returncode if done.returncode < 0 else done.returncode), done.stdout, done.stderr


Outcome = tuple[int, bytes, bytes]


def both(program: str, args: list[str], stdin: str, cwd: Path) -> tuple[Outcome, Outcome]:
    """What a program does natively, and under torov."""
    return run([program, *args], stdin, cwd), run([sys.executable, "-m", "torov", "exec", program, "--", *args], stdin, cwd)


CASES: list[tuple[str, list[str], str]] = [
    ("busybox", ["ls", "-la", "d"], ""),
    ("busybox", ["ls", "-la", "/usr/bin"], ""),
    ("busybox", ["sha256sum", "big", "t.tar"], ""),
    ("busybox", ["sort", "d/a.txt"], ""),
    ("busybox", ["sort", "-rn"], "3\n10\n2\n"),
    ("busybox", ["awk", "{s += length($0); n[$1]++} END {print s, NR, n[\"hello\"]}", "d/a.txt"], ""),
    ("busybox", ["sed", "-n", "s/o/0/gp", "d/a.txt"], ""),
    ("busybox", ["grep", "-rn", "hello", "d"], ""),
    ("busybox", ["grep", "-r", "nothing of the kind", "d"], ""),
    ("busybox", ["find", "d", "-type", "f"], ""),
    ("busybox", ["tar", "c", "d"], ""),
    ("busybox", ["tar", "xOf", "t.tar"], ""),
    ("busybox", ["tar", "xf", "t.tar", "-C", "o"], ""),
    ("busybox", ["gzip", "-c", "big"], ""),
    ("busybox", ["gzip", "-dc", "t.tar.gz"], ""),
    ("busybox", ["dd", "if=big", "bs=4k", "count=10", "status=none"], ""),
    ("busybox", ["od", "-c", "d/sub/b.txt"], ""),
    ("busybox", ["bc"], "2^100\nscale=20\n1/3\nsqrt(2)\n"),
    ("busybox", ["stat", "-c", "%s %a %F %n %Y", "d", "big"], ""),
    ("busybox", ["stat", "-f", "-c", "%T", "d"], ""),
    ("busybox", ["date", "-d", "@0"], ""),
    ("busybox", ["date", "+%Y-%m-%d"], ""),
    ("busybox", ["cat", "no-such-file"], ""),
    ("mksh", ["-c", "x=1; while (( x < 50 )); do x=$((x+1)); done; print $x; read a <d/a.txt; print \"$a\"; print *"], ""),
    ("mksh-3", ["-c", "typeset -i i; for ((i=0;i<10;i++)); do print $i; done; exit 3"], ""),
    ("lksh", ["-c", "test -d d && print dir; cd d; print *; [[ -f a.txt ]] && exit 5"], ""),
    ("zsh-static", ["-f", "-c", "typeset -A h; h=(a 1 b 2); print ${(ok)h} ${(ov)h}; print **/*(.N); exit 4"], ""),
    ("sash", ["-c", "-ls"], ""),
    ("ldconfig", ["-p"], ""),
    ("e2fsck.static", ["-fn", "fs.img"], ""),
    ("jaq", [".a | map(. + 1) | add"], '{"a": [1, 2, 3]}'),
    ("rg", ["-j1", "--sort", "path", "-n", "hello", "d"], ""),
    ("gzip", ["-dc", "t.tar.gz"], ""),
    ("gofmt-2", [], "package p\nfunc  f( ) {x:=1;_=x}\n"),
    ("shfmt", [], "if true;then echo  a;fi\n"),
    ("esbuild", ["--minify", "--loader=ts"], "const answer: number = 6 * 7; export default answer\n"),
    ("rg", ["--sort", "path", "-n", "again", "d"], ""),
    ("caddy", ["fmt", "-"], "example.org {\nrespond \"hi\"\n}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "args", "stdin"), CASES, ids=lambda value: value if isinstance(value, str) else None)
def test_same_as_native(program: str, args: list[str], stdin: str, work: Path) -> None:
    native, ours = both(str(fetch(ENTRIES[program])), args, stdin, work)
    assert ours == native


def test_ppcx64_compiles_a_pascal_program(work: Path) -> None:
    """The object file is the same byte for byte; -Cn, since linking starts another process."""
    objects = []
    compiler = str(fetch(ENTRIES["ppcx64"]))
    args = ["-n", "-Cn", f"-Fu{FPC_UNITS}", f"-FE{work / 'o'}", "h.pas"]
    for prefix in ([], [sys.executable, "-m", "torov", "exec"]):
        (work / "o" / "h.o").unlink(missing_ok=True)
        status, out, _ = run([*prefix, compiler, *(["--"] if prefix else []), *args], "", work)
        assert status == 0, out
        objects.append((work / "o" / "h.o").read_bytes())
    assert objects[0] == objects[1]


# What a program says of itself. Go programs, qemu and zizmor start threads first, dar and moonx processes.
SAYS = {
    "elftrunc": ["--help"], "gzip": ["--help"], "mksh": ["-c", "print $KSH_VERSION"], "lksh": ["-c", "print $KSH_VERSION"],
    "mksh-3": ["-c", "print $KSH_VERSION"], "x86_64-linux-gnu-fpc-3.2.2": ["-PB"], "tini-static": ["--version"],
    "ldconfig": ["--version"], "sash": ["-c", "-pwd"], "x86_64-linux-gnu-fpcres-3.2.2": ["--help"],
    "e2fsck.static": ["-V"], "busybox": ["--help"], "none-amd64-linux": ["--version"],
    "zsh-static": ["-f", "-c", "print $ZSH_VERSION"], "ppcx64": ["-iV"], "ninja.exe": ["--version"],
    "rescript.exe": ["--version"], "ffmpeg": ["-version"], "biome": ["--version"], "uvx": ["--version"],
    "nop": ["--help"], "moonx": ["--version"], "dar_cp_static": ["--version"], "pack": ["--help"], "shfmt": ["--version"],
    "qemu-or1k-static": ["--version"],
    "qemu-x86_64-static": ["--version"], "qemu-xtensa-static": ["--help"], "compile": ["-V"], "esbuild": ["--version"],
    "gofmt-2": ["--help"], "zizmor": ["--version"], "caddy": ["version"],
    "jaq": ["--version"], "ruff": ["--version"], "rg": ["--version"],
}  # fmt: skip
FAILS = {"tsgo"}  # panics natively too: the libraries beside it in its package are not fetched
NOT_A_PROGRAM = {"klibc-XX6cASCB7KZyJWpIJW79y94XHBY.so"}


@pytest.mark.parametrize("program", sorted(SAYS))
def test_version_or_help(program: str, work: Path) -> None:
    native, ours = both(str(fetch(ENTRIES[program])), SAYS[program], "", work)
    assert ours == native


def test_every_binary_of_the_manifest_is_accounted_for() -> None:
    assert set(ENTRIES) == set(SAYS) | FAILS | NOT_A_PROGRAM


@pytest.mark.parametrize("program", sorted(FAILS))
def test_the_same_panic(program: str, work: Path) -> None:
    """A Go program's stack trace shows addresses; its first line and its status are the same."""
    native, ours = both(str(fetch(ENTRIES[program])), ["--version"], "", work)
    assert ours[0] == native[0] == 2
    assert ours[1] == native[1]
    assert native[2].splitlines()[0] in ours[2].splitlines()  # after the line on fanotify_init, which is denied


def test_a_library_that_faults_natively_faults_here(work: Path) -> None:
    """klibc's shared library has an entry, and dies there: the same signal."""
    native, ours = both(str(fetch(ENTRIES["klibc-XX6cASCB7KZyJWpIJW79y94XHBY.so"])), [], "", work)
    assert ours[0] == native[0] == 139
    assert b"SIGSEGV (address " in ours[2]
