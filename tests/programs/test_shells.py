"""Shells, an init, an emulator and a build tool: processes upon processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from real import guest, program, same, start, stop
from running import ROOT, run

pytestmark = [pytest.mark.kvm, pytest.mark.corpus, pytest.mark.xdist_group("programs")]

SCRIPT = r"""
echo start; set -u
trap 'echo leaving $?' EXIT
f() { local x=$1; echo "f $x $#"; return 4; }
f a b || echo status $?
seq 1 500 | while read n; do echo $((n * n)); done | grep 7 | sort -rn | head -n 12 | tr '\n' ' '; echo
cat <<END | sed 's/^/> /'
here $((6 * 7)) $(echo nested $(echo deeper | tr a-z A-Z))
END
cat <<'END'
no $expansion
END
(sleep 0.3; echo late) & first=$!
(exit 9) & second=$!
wait $second; echo second $?
wait $first; echo first $?
i=0; while [ $i -lt 5 ]; do (echo child $i; exit $i) > out.$i & i=$((i + 1)); done; wait; cat out.0 out.1 out.2 out.3 out.4
trap 'echo got usr1' USR1; kill -USR1 $$; echo after the trap
(trap 'echo inner term; exit 3' TERM; kill -TERM $(sh -c 'echo $PPID'); sleep 5); echo subshell $?
sh -c 'kill -KILL $$'; echo killed $?
x=$(yes | head -n 2000 | wc -l); echo $x
exec 3> three; echo three >&3; exec 3>&-; cat three
for f in out.*; do [ -s "$f" ] && printf '%s ' "${f##*.}"; done; echo
case abc in a*c) echo matched;; esac
echo $(( (1 << 20) % 1000 )) "$(printf '%05d|%-4s|%x' 42 ab 255)"
umask 027; : > masked; ls -l masked | cut -c1-10
cd / && pwd; (cd /usr && pwd); pwd
! false; echo $?
exit 5
"""
# each shell has its own words for jobs that were killed, and names itself and line numbers
SHELLS = {"busybox": ("sh",), "mksh": (), "mksh-3": (), "lksh": (), "zsh-static": ("-f", "-o", "SH_WORD_SPLIT")}


@pytest.mark.parametrize("name", SHELLS)
def test_scripts(name: str, tmp_path: Path) -> None:
    def write(top: Path) -> None:
        (top / "script").write_text(SCRIPT)

    native = same(
        program(name),
        *SHELLS[name],
        "script",
        where=tmp_path,
        prepare=write,
        tidy=lambda text: re.sub(r"\b\d{3,}( Killed)", r"PID\1", text),
    )
    assert native.status == 5 and "leaving 5" in native.out and "got usr1" in native.out and "subshell" in native.out


ZSH = r"""
setopt no_monitor; zmodload zsh/datetime 2>/dev/null
typeset -A h; h=(one 1 two 2); for k in ${(ok)h}; do print $k=$h[$k]; done
print ${(j:,:)${(s: :)$(echo c b a)}} $(( 2 ** 40 )) ${$(echo path/to/file.txt):t:r}
{ for i in {1..5}; do { sleep 0.$((2 * i - 1)); print $i } & done; wait; print all } | sort
diff =(print a) =(print b); print $?
TRAPUSR1() { print trapped; }; kill -USR1 $$; print after
(( RANDOM >= 0 )) && [[ abc == (a|x)b? ]] && print pattern
"""


def test_zsh_has_its_own_words(tmp_path: Path) -> None:
    def write(top: Path) -> None:
        (top / "script").write_text(ZSH)

    native = same(
        program("zsh-static"), "-f", "script", where=tmp_path, prepare=write, tidy=lambda t: re.sub(r"/tmp/zsh\w+", "TMP", t)
    )
    assert "trapped\nafter" in native.out


TRAP = "trap 'echo passed on; exit 7' TERM; echo up; while :; do sleep 0.05; done"


def test_tini_reaps(tmp_path: Path) -> None:
    """tini as a subreaper: orphans are its children, it reaps them and passes on signals and the status."""
    orphan = (
        "(sleep 0.2; exit 3) & (sh -c '(sleep 0.4; echo orphan) & exit 0'); echo main; sleep 0.8; "
        "ps -o stat= --ppid $PPID | grep -c Z; exit 6"
    )
    native = same(
        program("tini-static"),
        "-s",
        "-v",
        "--",
        "sh",
        "-c",
        orphan,
        where=tmp_path,
        tidy=lambda t: re.sub(r"(\(|pid[=: ']*)\d+", r"\1PID", t),
    )
    assert native.status == 6 and "orphan" in native.out
    for name, native_too in (("native", True), ("guest", False)):
        log = tmp_path / f"{name}.log"
        process = start(program("tini-static"), "-s", "--", "sh", "-c", TRAP, cwd=tmp_path, log=log, native=native_too)
        for _ in range(600):
            if "up" in log.read_text():
                break
            time.sleep(0.05)
        assert stop(process, with_signal=signal.SIGTERM) == 7, log.read_text()
        assert log.read_text() == "up\npassed on\n"


INSIDE = (
    "echo in qemu; seq 1 50 | sort -rn | head -n 3; (exit 3); echo $?; uname -s; trap 'echo usr1' USR1; kill -USR1 $$; exit 4"
)


def test_an_emulator_inside(tmp_path: Path) -> None:
    """qemu-x86_64, which makes code at run time and counts on its own signals, runs busybox inside torov."""
    busybox = program("busybox")
    native = same(program("qemu-x86_64-static"), busybox, "sh", "-c", INSIDE, where=tmp_path)
    assert native.status == 4 and native.out.endswith("Linux\nusr1\n")


def test_ninja_builds_the_samples(tmp_path: Path) -> None:
    rules = "rule cc\n  command = gcc -O1 -static $in -o $out\n  description = CC $out\n"
    sources = sorted((ROOT / "samples").glob("*/*.c"))
    assert len(sources) >= 3

    def write(top: Path) -> None:
        text = rules
        for source in sources:
            shutil.copy(source, top)
            for n in range(3):
                text += f"build {source.stem}{n}: cc {source.name}\n"
        (top / "build.ninja").write_text(text)

    def order(text: str) -> str:  # four at once: they end in any order
        return "\n".join(sorted(re.sub(r"\[\d+/", "[N/", line) for line in text.splitlines()))

    native = same(program("ninja.exe"), "-j4", where=tmp_path, prepare=write, tidy=order, files=False)
    assert native.status == 0, native.out
    for source in sources:
        for n in range(3):
            pair = [(tmp_path / side / "dir" / f"{source.stem}{n}").read_bytes() for side in ("native", "torov")]
            assert pair[0] == pair[1]
    again = run(guest(program("ninja.exe"), "-j4"), cwd=tmp_path / "torov/dir")
    assert again.status == 0 and "CC" not in again.out  # nothing is left to do


def test_gcc_compiles_and_links(tmp_path: Path) -> None:
    def write(top: Path) -> None:
        main = 'int twice(int x);\n#include <stdio.h>\nint main(void) { printf("%d\\n", twice(21)); return 0; }\n'
        for name, text in (("a.c", main), ("b.c", "int twice(int x) { return 2 * x; }\n")):
            (top / name).write_text(text)

    native = same("gcc", "-O2", "-Wall", "-g", "-pipe", "a.c", "b.c", "-o", "program", where=tmp_path, prepare=write, files=False)
    assert native.status == 0
    done = run([tmp_path / "torov/dir/program"])
    assert done.out == "42\n"

    def wrong(top: Path) -> None:
        (top / "bad.c").write_text("int main(void) { return x; }\n")

    bad = same("gcc", "-c", "bad.c", where=tmp_path / "bad", prepare=wrong)
    assert bad.status == 1 and "undeclared" in bad.err


def test_git_clones_a_repository(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    who |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    env = {**os.environ, **who}
    subprocess.run(["git", "init", "-q", "-b", "main", origin], check=True, env=env)
    for n in range(20):
        (origin / f"file{n}").write_text(f"{n}\n" * 100)
        subprocess.run(["git", "-C", origin, "add", "."], check=True, env=env)
        subprocess.run(["git", "-C", origin, "commit", "-q", "-m", f"commit {n}"], check=True, env=env)
    native = same("git", "clone", "-q", "--no-local", str(origin), "copy", where=tmp_path, env=who, files=False)
    assert native.status == 0
    for side in ("native", "torov"):
        copy = tmp_path / side / "dir/copy"
        subprocess.run(["git", "-C", copy, "fsck", "--strict", "--no-progress"], check=True, env=env)
        log = subprocess.run(["git", "-C", copy, "log", "--format=%H %T"], check=True, env=env, capture_output=True)
        assert log.stdout.count(b"\n") == 20
    logged = same("git", "-C", tmp_path / "torov/dir/copy", "log", "--stat", "--oneline", where=tmp_path / "log", env=who)
    assert logged.status == 0
