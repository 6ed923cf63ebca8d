"""torov strace against strace(1): the same program, the same lines. Only what must differ is taken out (traced.py says what)."""

from __future__ import annotations

import re
import shutil
from difflib import unified_diff
from pathlib import Path

import pytest
from support import Compiler
from traced import build, compare, joined, lines, run, torov, traces

ONE_PROCESS = ["files", "sockets", "process", "memory", "terminal"]


@pytest.mark.parametrize("name", ONE_PROCESS)
def test_calls_are_decoded_as_strace_decodes_them(cc: Compiler, tmp_path: Path, name: str) -> None:
    assert len(compare(build(cc, name), tmp_path)) > 40


def test_more_than_200_calls_are_compared(cc: Compiler, tmp_path: Path) -> None:
    found = set()
    for name in [*ONE_PROCESS, "family"]:
        run(["strace", "-f", "-o", tmp_path / "out", build(cc, name)], tmp_path / name)
        found |= set(re.findall(r"^\d+ +(\w+)\(", (tmp_path / "out").read_text(), re.MULTILINE))
    assert len(found) >= 250


@pytest.mark.parametrize("options", [("-v",), ("-s", "5"), ("-x",), ("-xx", "-s", "12"), ("-y",)], ids=" ".join)
def test_options_change_what_is_shown_as_strace_does(cc: Compiler, tmp_path: Path, options: tuple[str, ...]) -> None:
    for name in ("files", "sockets") if options != ("-y",) else ("files",):
        both = traces(build(cc, name), tmp_path / name, *options)
        theirs, ours = ([_moment(row) for row in one if "execve(" not in row and "getcwd(" not in row] for one in both)
        difference = [*unified_diff(theirs, ours, "strace", "torov", n=0, lineterm="")]
        assert not difference, "\n".join(difference)


def _moment(line: str) -> str:
    line = re.sub(r"\b((st|stx|f|d)_\w+|tv_n?sec)=[^,}]*", r"\1=N", re.sub(r"/\* \d{4}-.*? \*/", "DATE", line))
    return re.sub(r"(socket|pipe):[^>]*>", r"\1>", line)


def test_processes_and_threads_are_followed(cc: Compiler, tmp_path: Path) -> None:
    """Each thread's lines are the same; how the threads' lines mix, and whether a child ends before it is waited for, is the
    scheduler's."""
    theirs, ours = (joined(one) for one in traces(build(cc, "family"), tmp_path))
    assert len(theirs) == len(ours) == 7
    for who in theirs:
        mine, other = ([row for row in one[who] if not re.match(r"rseq\(|--- SIGCHLD", row)] for one in (ours, theirs))
        difference = [*unified_diff(other, mine, "strace", "torov", n=0, lineterm="")]
        assert not difference, f"thread {who}\n" + "\n".join(difference)
        ends = [sorted(line for line in one[who] if "SIGCHLD" in line) for one in (theirs, ours)]
        assert ends[0] == ends[1]


PROGRAMS = """\
true; false; echo hello world; ls -la /etc/alternatives; cat /etc/passwd; head -c 5 /etc/passwd; wc /etc/passwd; sort /etc/passwd
uniq /etc/passwd; cut -d: -f1 /etc/passwd; tr a b; uname -a; id; whoami; pwd; printenv HOME; basename /a/b; dirname /a/b
stat /etc/passwd; readlink -f /bin/sh; sha256sum /etc/passwd; md5sum /etc/passwd; base64 /etc/passwd; od /etc/hostname; seq 5
expr 1 + 2; test -f /etc/passwd; touch new; mkdir dir; cp /etc/passwd copy; ln -s a b; sleep 0.01; tee out; nl /etc/passwd
tac /etc/passwd; truncate -s 9 cut; comm /etc/passwd /etc/passwd; fold -w 5 /etc/passwd; paste /etc/passwd /etc/group
expand /etc/passwd; sed s/root/toor/ /etc/passwd; gzip -c /etc/passwd; tar cf t.tar -C /etc passwd; join /etc/passwd /etc/group"""
_SKIP = re.compile(
    r"(execve|brk|mmap|munmap|mprotect|arch_prctl|set_tid_address|set_robust_list|rseq|prlimit64|getrandom|sysinfo)\("
)


@pytest.mark.parametrize("line", re.split("; |\n", PROGRAMS), ids=lambda line: line.split()[0])
def test_programs_of_the_system_are_traced_as_strace_traces_them(tmp_path: Path, line: str) -> None:
    """Dynamic programs: what differs is where memory is, and how the loader asks for it."""
    words = line.split()
    program = shutil.which(words[0])
    assert program is not None
    both = traces(Path(program), tmp_path, args=words[1:])
    theirs, ours = ([re.sub(r"st_size=\d+", "N", row) for row in one if not _SKIP.match(row[2:])] for one in both)
    difference = [*unified_diff(theirs, ours, "strace", "torov", n=0, lineterm="")]
    assert not difference, "\n".join(difference)


def test_times_have_the_forms_of_strace(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "memory")
    forms = {
        ("-t",): r"\d\d:\d\d:\d\d [\w+]", ("-tt",): r"\d\d:\d\d:\d\d\.\d{6} [\w+]", ("-ttt",): r"\d{10}\.\d{6} [\w+]",
        ("-r",): r" {5}\d\.\d{6} [\w+]", ("-T",): r".*<\d\.\d{6}>$|.*= \?$|\+\+\+.*",
    }  # fmt: skip
    for options, form in forms.items():
        for command in (["strace"], torov()):
            done = run([*command, "-o", tmp_path / "out", "-e", "trace=madvise,exit_group,mlock", *options, program], tmp_path)
            rows = (tmp_path / "out").read_text().splitlines()
            assert done.returncode == 0
            assert len(rows) >= 5
            assert all(re.match(form, row) for row in rows), (command, rows)


def test_counts_are_the_table_of_strace(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "files")
    tables: list[dict[str, tuple[int, int]]] = []
    for command in (["strace"], torov()):
        run([*command, "-c", "-o", tmp_path / "out", program], tmp_path / str(len(tables)))
        text = (tmp_path / "out").read_text()
        rows = text.splitlines()
        assert rows[0] == "% time     seconds  usecs/call     calls    errors syscall"
        assert rows[1] == rows[-2] == "------ ----------- ----------- --------- --------- " + "-" * 18
        assert re.fullmatch(r"100\.00 +\d+\.\d{6} +\d+ +\d+ +\d* total", rows[-1]), rows[-1]
        counts = {}
        for row in rows[2:-2]:
            match = re.fullmatch(r" *(\d+\.\d\d) +(\d+\.\d{6}) +(\d+) +(\d+) +(\d+ )?(\w+)", row)
            assert match, row
            counts[match[6]] = (int(match[4]), int(match[5] or 0))
        tables.append(counts)
    for name in ("rseq", "chroot"):  # answered otherwise
        assert tables[0].pop(name)[0] == tables[1].pop(name)[0]
    assert tables[0] == tables[1]


def test_only_calls_that_succeed_or_fail(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "files")
    for option in ("-z", "-Z"):
        both: list[list[str]] = []
        for command in (["strace"], torov()):
            run([*command, option, "-o", tmp_path / "out", "-e", "trace=%file,%desc", program], tmp_path / f"{option}{len(both)}")
            text = "".join(f"1 {row}\n" for row in (tmp_path / "out").read_text().splitlines())
            both.append([line for line in lines(text) if "cwd" not in line and "chroot" not in line and "mmap" not in line])
        assert both[0] == both[1]
        assert len(both[0]) > 10


def test_the_trace_stands_where_strace_puts_it_in_the_output(cc: Compiler, tmp_path: Path) -> None:
    """On one stream with what the program writes: the beginning of write(2), its text, the end."""
    program = cc('#include <unistd.h>\nint main(void) { write(1, "one\\n", 4); write(2, "two\\n", 4); return 0; }', "glibc")
    shown = []
    for command in (["strace"], torov()):
        done = run(["sh", "-c", '"$@" 2>&1', "sh", *command, "-e", "write", program], tmp_path)
        shown.append(done.stdout)
    assert shown[0] == shown[1]
    assert shown[0].startswith('write(1, "one\\n", 4one\n)')


def test_without_f_only_the_first_process_is_shown(cc: Compiler, tmp_path: Path) -> None:
    program, rows = build(cc, "family"), []
    for command in (["strace"], torov()):
        run([*command, "-o", tmp_path / "out", "-e", "trace=fork,getppid,write,exit_group,execve", program], tmp_path)
        rows.append(re.sub(r"0x\w+|\d{3,}|(?<=time=)[^,}]*", "N", (tmp_path / "out").read_text()))
    assert rows[0] == rows[1]


def test_a_thread_that_executes_supersedes_the_others(cc: Compiler, tmp_path: Path) -> None:
    program = cc(
        "#include <pthread.h>\n#include <sys/syscall.h>\n#include <unistd.h>\nstatic void *idle(void *a) { for (;;) pause(); }\n"
        "static void *run(void *a) { usleep(50000);\n"
        'return (void *)syscall(SYS_execve, "/bin/echo", (char *[]){"echo", "hi", 0}, 0L); }\n'
        "int main(void) { pthread_t t; pthread_create(&t, 0, idle, 0); pthread_create(&t, 0, run, 0); pthread_join(t, 0); }",
        "glibc",
        "-w",
    )
    theirs, ours = traces(program, tmp_path, "-e", "trace=execve,write,exit_group")
    assert any("+++ superseded by execve in pid PID" in line for line in theirs)
    assert sorted(line[2:] for line in ours) == sorted(line[2:] for line in theirs)


def test_a_program_is_found_and_called_as_a_shell_does(tmp_path: Path) -> None:
    shown = []
    for command in (["strace"], torov()):
        run([*command, "-o", tmp_path / "out", "-e", "execve", "sh", "-c", "exit 4"], tmp_path)
        shown.append(re.sub(r"0x\w+ /\* \d+", "N", (tmp_path / "out").read_text()))
    assert shown[0] == shown[1]


def test_long_strings_do_not_crowd_out_the_result(cc: Compiler, tmp_path: Path) -> None:
    program = cc(
        "#include <fcntl.h>\n#include <string.h>\n#include <sys/uio.h>\n"
        "int main(void) { static char b[8][5000]; struct iovec v[8]; memset(b, 1, sizeof b);\n"
        'for (int i = 0; i < 8; i++) v[i] = (struct iovec){b[i], 5000}; int fd = open("/dev/null", O_WRONLY);\n'
        "writev(fd, v, 8); writev(fd, v, 1); return 0; }"
    )
    theirs, ours = traces(program, tmp_path, "-s", "5000", "-e", "writev")
    assert theirs[1] == ours[1] and len(ours[1]) > 10000
    assert ours[0].endswith(" = 40000") and ours[0][:20000] == theirs[0][:20000]
