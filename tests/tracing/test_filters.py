"""What ``-e trace=`` selects, against strace(1)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from torov.errors import UsageError
from torov.syscalls import CALLS, by_number
from torov.tracing.classes import CLASSES
from torov.tracing.options import Tracing, selected

_CALL_ALL = """
static void call(long nr)
{
    register long four asm("r10") = 4, five asm("r8") = 5, six asm("r9") = 6;
    asm volatile("syscall" : "+a"(nr) : "D"(1L), "S"(2L), "d"(3L), "r"(four), "r"(five), "r"(six) : "rcx", "r11", "memory");
}
void _start(void)
{
    for (long nr = 0; nr <= 450; nr++)
        if (nr < 335 || nr > 423)
            call(nr);
    __builtin_trap();
}
"""


def names(numbers: set[int]) -> set[str]:
    return {call.name for nr in numbers if (call := by_number(nr))}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_classes_are_those_of_strace(tmp_path: Path, name: str) -> None:
    """strace answers every call itself, those of the class with another error; none is made."""
    source, program, log = tmp_path / "all.c", tmp_path / "all", tmp_path / "log"
    source.write_text(_CALL_ALL)
    options = ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
    subprocess.run(["gcc", *options, "-o", program, source], check=True)
    inject = ["-e", "inject=all:error=ENOSYS", "-e", f"inject=%{name}:error=EPERM"]
    subprocess.run(["strace", "-qq", "-o", log, *inject, program], check=False, capture_output=True)  # ends by the trap
    theirs = set(re.findall(r"^(\w+)\(.*= -1 EPERM .*\(INJECTED\)$", log.read_text(), re.MULTILINE))
    newer = {call.name for call in CALLS if call.nr > 450}
    assert theirs
    assert names(selected(f"%{name}")) - newer == theirs


def test_filters_name_calls_classes_groups_and_what_is_left_out() -> None:
    assert names(selected("openat,read")) == {"openat", "read"}
    assert names(selected("%stat,!statx")) == {"stat"}
    assert names(selected("!read,write")) == {call.name for call in CALLS} - {"read", "write"}
    assert "clone" in names(selected("process")) and "open" in names(selected("file"))
    assert names(selected("/^open")) == {"open", "openat", "openat2", "open_by_handle_at", "open_tree", "open_tree_attr"}
    assert {"mmap", "brk"} <= names(selected("@memory"))
    assert len(selected("all")) == 512
    assert not selected("none")
    assert names(selected("?nosuchcall,close")) == {"close"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-e", "trace=opne"], "did you mean open"), (["-e", "@nothing"], "no group"), (["-e", "signal=SIGFOO"], "SIGFOO"),
        (["-p", "1"], "cannot be joined"), (["-o", "|cat"], "-o /dev/stdout"), (["-s", "x"], "expected a number"),
        (["-J"], "no such option"), (["-ff", "-c", "-o", "x"], "write -f"), (["-e", "inject=all:error=EIO"], "torov has trace="),
        (["-k"], "gdb"), (["-e"], "needs a value"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        Tracing(words)


def test_letters_may_stand_together() -> None:
    made = Tracing(["-fyTs", "100", "-o/dev/null", "-e", "read", "prog", "-x"])
    assert made.rest == ["prog", "-x"]
    assert made.out == "/dev/null"
    assert made.calls == (1).to_bytes(64, "little")
