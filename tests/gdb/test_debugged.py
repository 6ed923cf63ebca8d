"""gdb over guests in C: what it says is what it says natively."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from debugging import built, compare, debugged, interrupted, native, same
from support import Compiler

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize("kind", ["glibc", "musl"])
def test_breakpoints_steps_and_calls(cc: Compiler, tmp_path: Path, kind: str) -> None:
    commands = [
        "break leaf", "continue", "backtrace", "info args", "finish", "next", "up", "print i", "delete", "tbreak middle",
        "continue", "until 15", "step", "stepi", "stepi", "nexti", "print x", "print leaf(21)", "print counter",
        "print middle(3)", "print counter", "set var counter = 5", "print counter", "break 31", "continue", "print other",
        "print text", "info breakpoints", "x/s text", "continue",
    ]  # fmt: skip
    ran = compare(tmp_path, built(cc, "plain", kind), commands)
    assert (ran.out, ran.status) == ("out\n", 3)


def test_a_thread_local_variable_of_a_static_program(cc: Compiler, tmp_path: Path) -> None:
    """gdb alone cannot: it takes a libthread_db, which static programs have no use for."""
    ran = debugged(
        tmp_path,
        built(cc, "plain"),
        ["break 27", "continue", "print mine", "next", "print mine", "print &mine == $fs_base - 4", "kill"],
    )
    assert re.findall(r"^\$\d+ = (\d+)$", ran.said, re.M)[:2] == ["7", "8"], ran.said


def test_a_system_call_is_one_step_and_looks_like_one(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "break *ask_here", "continue", "x/2i $pc", "x/2xb $pc", "stepi", "x/i $pc", "print $rax > 1", "delete", "tbreak ask",
        "disassemble ask", "continue",
    ]  # fmt: skip
    ran = compare(tmp_path, built(cc, "plain"), commands)
    assert "syscall" in ran.said and ran.status == 3


def test_watchpoints(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "break main", "continue", "watch counter", "continue", "continue", "delete 2", "rwatch table[2]", "continue",
        "info watchpoints", "awatch other", "continue", "continue", "delete", "continue",
    ]  # fmt: skip
    ran = compare(tmp_path, built(cc, "plain"), commands)
    assert (ran.out, ran.status) == ("out\n", 3)


def test_registers(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "break loaded", "continue", "print $ymm3.v32_int8", "print $xmm5.uint128", "print $st0", "print $st1",
        "info registers mxcsr fctrl fstat ftag", "print $orig_rax", "print $cs", "print $ss", "print $eflags",
        "set $ymm3.v32_int8[0] = 0x55", "set $ymm3.v32_int8[31] = 0x66", "set $xmm5.v16_int8[3] = 0x77",
        "print $fs_base != 0", "print $gs_base", "continue",
    ]  # fmt: skip
    assert compare(tmp_path, built(cc, "vector"), commands).status == 41


def test_signals(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "break leaf", "continue", "continue", "backtrace", "finish", "continue", "print $_siginfo.si_signo",
        "print $_siginfo._sifields._sigfault.si_addr", "print (int)getpid() > 0", "continue",
    ]  # fmt: skip
    ran = compare(tmp_path, built(cc, "signals"), commands)
    assert (ran.out, ran.status) == ("got\n", 9)


def test_a_signal_can_be_kept_from_the_program(cc: Compiler, tmp_path: Path) -> None:
    ran = compare(tmp_path, built(cc, "signals"), ["handle SIGUSR1 nopass", "continue", "continue", "signal SIGKILL"])
    assert (ran.out, ran.status) == ("not\n", 137)


def test_catch_syscall(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "catch syscall write", "continue", "print $orig_rax", "print $rax", "print $rdi", "continue", "print $rax", "delete",
        "continue",
    ]  # fmt: skip
    assert compare(tmp_path, built(cc, "plain"), commands).status == 3


@pytest.mark.parametrize("mode", ["parent", "child"])
@pytest.mark.parametrize("how", ["fork", "exec", "vfork"])
def test_follow_fork_and_exec(cc: Compiler, tmp_path: Path, mode: str, how: str) -> None:
    commands = [
        f"set follow-fork-mode {mode}", "break in_child", "break in_parent", "catch exec", "continue", "backtrace",
        "continue", "continue",
    ]  # fmt: skip
    args = () if how == "fork" else (how,)
    program = built(cc, "forks")
    ran = debugged(tmp_path, program, commands, *args)
    told = [line for line in same(ran.said) if "exec" not in line or "Catchpoint" in line]
    expected = [line for line in same(native(program, commands, *args)) if "exec" not in line or "Catchpoint" in line]
    assert [re.sub(r"exec'd .*\)", "exec'd", line) for line in told] == [
        re.sub(r"exec'd .*\)", "exec'd", line) for line in expected
    ], ran.whole
    assert (ran.out.splitlines()[-1], ran.status) == (f"child {5 if how == 'fork' else 4}", 0)


def test_both_sides_of_a_fork(cc: Compiler, tmp_path: Path) -> None:
    commands = [
        "set detach-on-fork off", "set schedule-multiple on", "break in_child", "break in_parent", "continue", "backtrace 1",
        "info inferiors", "continue", "inferior 1", "continue", "backtrace 1", "continue",
    ]  # fmt: skip
    ran = debugged(tmp_path, built(cc, "forks"), commands)
    assert "in_child (n=1)" in ran.said and "in_parent (n=2)" in ran.said and "exited with code 05" in ran.said
    assert (ran.out, ran.status) == ("child 5\n", 0)


def test_threads(cc: Compiler, tmp_path: Path) -> None:
    """Four threads run into one breakpoint 200 times: none is lost, none counts twice, and the others never run past it."""
    commands = [
        "break reached", "ignore 1 1000", "break all_here", "continue", "info breakpoints", "info threads",
        "thread apply all -q print mine", "delete", "continue",
    ]  # fmt: skip
    ran = debugged(tmp_path, built(cc, "threads"), commands)
    assert "breakpoint already hit 200 times" in ran.said
    assert sorted(re.findall(r"^\$\d+ = (\d+)$", ran.said, re.M), key=int) == ["5", "55", "105", "155", "205"]
    assert (ran.out, ran.status) == ("sum 13750\n", 0)


@pytest.mark.parametrize("args", [(), ("wait",)], ids=["in the guest", "in a call"])
def test_interrupt(cc: Compiler, tmp_path: Path, args: tuple[str, ...]) -> None:
    commands = ["continue", "print stop", "info threads", "backtrace", "call (int)alarm(50) > 0", "set var stop = 1", "signal 0"]
    ran = debugged(tmp_path, built(cc, "spin"), commands, *args, when=interrupted(*args and ["poll"]))
    assert "Program received signal SIGINT" in ran.said and "$1 = 0" in ran.said and "$2 = 1" in ran.said
    assert (" poll " in ran.said or "poll (" in ran.said) == bool(args)
    assert (ran.out, ran.status) == ("go\nleft\n", 2), ran.whole


def test_detach(cc: Compiler, tmp_path: Path) -> None:
    ran = debugged(tmp_path, built(cc, "plain"), ["break leaf", "continue", "watch counter", "detach"])
    assert (ran.out, ran.status) == ("out\n", 3)


def test_kill(cc: Compiler, tmp_path: Path) -> None:
    ran = debugged(tmp_path, built(cc, "plain"), ["break leaf", "continue", "kill"])
    assert (ran.out, ran.status) == ("", 137)


def test_a_watchpoint_among_threads(cc: Compiler, tmp_path: Path) -> None:
    """Four threads write to the page; the three writes to the word are told, each of them once."""
    commands = ["watch page.watched", *["continue", "print page.watched", "backtrace 1"] * 3, "delete", "continue"]
    ran = debugged(tmp_path, built(cc, "busy"), commands)
    assert re.findall(r"^\$\d+ = (\d+)$", ran.said, re.M) == ["99", "199", "299"], ran.whole
    assert len(re.findall(r"^#0  .*mark \(n=", ran.said, re.M)) == 3
    assert (ran.out, ran.status) == ("299 300 300\n", 0)


def test_stepping_while_threads_come_and_go(cc: Compiler, tmp_path: Path) -> None:
    """Signals arrive all the while; a thread that ends under a step does not leave gdb waiting."""
    commands = ["tbreak brief", "continue", *["step"] * 4, "tbreak brief", "continue", "set scheduler-locking on", *["stepi"] * 5,
                "set scheduler-locking off", "continue"]  # fmt: skip
    ran = debugged(tmp_path, built(cc, "busy"), commands)
    assert "brief (arg=0x0)" in ran.said and (ran.out, ran.status) == ("299 300 300\n", 0), ran.whole


def test_a_thread_that_ends_alone_under_a_step(cc: Compiler, tmp_path: Path) -> None:
    commands = ["break brief", "continue", "delete", "set scheduler-locking on", "continue", "info threads"]
    commands += ["set scheduler-locking off", "thread 1", "continue"]
    ran = debugged(tmp_path, built(cc, "busy"), commands)
    assert "No unwaited-for children left" in ran.said or "thread exited" in ran.said.lower(), ran.whole
    assert (ran.out, ran.status) == ("299 300 300\n", 0), ran.whole


def test_a_core_file_of_gdbs(cc: Compiler, tmp_path: Path) -> None:
    """It reads everything that is mapped, vvar too, which the guest can read and the monitor cannot."""
    program, core = built(cc, "plain", "dynamic"), tmp_path / "core"
    ran = debugged(tmp_path, program, ["break leaf", "continue", f"gcore {core}", "delete", "continue"])
    assert (ran.out, ran.status) == ("out\n", 3), ran.whole
    said = subprocess.run(
        ["gdb", "-nx", "-batch", "-ex", "backtrace", program, core], capture_output=True, text=True, check=False
    ).stdout
    assert re.search(r"#0  leaf \(x=0\).*#1 .* in middle \(x=0\).*#2 .* in main \(argc=1", said, re.S), said
