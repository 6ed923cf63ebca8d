"""The table of system calls against the kernel's headers, strace's own table, and its rules."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from torov import syscalls
from torov.callshape import POINTERS, UNSHAPED
from torov.syscalls import CALLS, CORE, DENY, GROUPS, HOST, by_name, by_number
from torov.syscalls_doc import render, write

ROOT = Path(__file__).resolve().parents[1]

# Calls every installed header may be too old for: arch/x86/entry/syscalls/syscall_64.tbl of Linux 6.18.
_RECENT = """
    335 uretprobe 336 uprobe 451 cachestat 452 fchmodat2 453 map_shadow_stack 454 futex_wake 455 futex_wait
    456 futex_requeue 457 statmount 458 listmount 459 lsm_get_self_attr 460 lsm_set_self_attr
    461 lsm_list_modules 462 mseal 463 setxattrat 464 getxattrat 465 listxattrat 466 removexattrat
    467 open_tree_attr 468 file_getattr 469 file_setattr
"""

# Calls every number strace knows, with six numbers no call gives back; strace answers them all, none is made.
_CALL_ALL = """
static void call(long nr)
{
    register long four asm("r10") = 4, five asm("r8") = 5, six asm("r9") = 6;
    asm volatile("syscall" : "+a"(nr) : "D"(1L), "S"(2L), "d"(3L), "r"(four), "r"(five), "r"(six)
                 : "rcx", "r11", "memory");
}
void _start(void)
{
    for (long nr = 0; nr <= 450; nr++)
        if (nr < 335 || nr > 423)
            call(nr);
    __builtin_trap();
}
"""


def test_numbers_and_names_are_those_of_the_kernel_headers() -> None:
    command = ["gcc", "-E", "-dM", "-include", "asm/unistd_64.h", "-"]
    shown = subprocess.run(command, input="", check=True, capture_output=True, text=True).stdout
    headers = {int(nr): name for name, nr in re.findall(r"#define __NR_(\w+) (\d+)$", shown, re.MULTILINE)}
    assert len(headers) >= 340
    words = _RECENT.split()
    recent = dict(zip(map(int, words[::2]), words[1::2], strict=True))
    later = {nr for nr in headers if nr > 469}  # a system newer than the table
    assert {call.nr: call.name for call in CALLS} == {n: headers[n] for n in headers.keys() - later} | recent


def test_arguments_are_as_many_as_strace_shows(tmp_path: Path) -> None:
    source, program, log = tmp_path / "all.c", tmp_path / "all", tmp_path / "log"
    source.write_text(_CALL_ALL)
    options = ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]
    subprocess.run(["gcc", *options, "-o", program, source], check=True)
    answer = ["-e", "raw=all", "-e", "inject=all:error=ENOSYS"]
    subprocess.run(["strace", "-o", log, *answer, program], check=False)  # ends by the trap, on purpose
    shown = re.findall(r"^(\w+)\((.*)\) += -1 ENOSYS .*\(INJECTED\)$", log.read_text(), re.MULTILINE)
    counts = {name: len(args.split(", ")) if args else 0 for name, args in shown}
    assert len(counts) >= 330
    calls = {call.name: call for call in CALLS}
    ours = {name: len(calls[name].args) for name in counts}
    different = {name: ours[name] for name in counts if ours[name] != counts[name]}
    # strace joins the two halves of the offset; preadv(2) tells why the kernel's call has five arguments.
    assert (different.pop("preadv"), different.pop("pwritev")) == (5, 5)
    # What Linux only keeps a number for has no arguments in the table.
    assert dict.fromkeys(different, 0) == different
    assert {calls[name].errno for name in different} == {"ENOSYS"}


def test_numbers_rise_and_names_are_unique() -> None:
    numbers = [call.nr for call in CALLS]
    assert numbers == sorted(set(numbers))
    assert len({call.name for call in CALLS}) == len(CALLS)
    assert max(numbers) < syscalls.LIMIT


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_each_row_obeys_the_rules(call: syscalls.Call) -> None:
    kinds = {arg.kind for arg in call.args}
    assert call.groups
    assert call.default == "allow" or hasattr(errno, call.default)
    if call.serve == HOST:
        assert not kinds.intersection(UNSHAPED)
        assert not call.core
        assert not call.errno
        assert call.why or call.default == "allow"
    elif call.serve == CORE:
        assert call.core.isidentifier()
        assert call.why
        assert call.default == "allow"
    else:
        assert call.serve == DENY
        assert hasattr(errno, call.errno)
        assert call.why
        assert call.default == call.errno
    for arg in call.args:
        assert (arg.length is not None) == (arg.kind in POINTERS)


_REFUSED = """
    ptrace process_vm_readv process_vm_writev bpf perf_event_open add_key keyctl request_key io_uring_setup
    io_uring_enter io_uring_register userfaultfd mount umount2 pivot_root move_mount open_tree fsopen fsmount
    mount_setattr kexec_load kexec_file_load init_module finit_module delete_module setns
    open_by_handle_at pidfd_getfd reboot swapon iopl ioperm
"""


@pytest.mark.parametrize("name", _REFUSED.split())
def test_what_reaches_past_the_guest_is_refused(name: str) -> None:
    call = by_name(name)
    assert call is not None
    assert call.serve == DENY


def test_look_up_by_number_and_name() -> None:
    assert by_number(231) is by_name("exit_group")
    assert by_number(337) is by_number(423) is by_number(-1) is by_number(512) is None
    assert by_name("Write") is by_name("") is None


def test_nearest_names_are_offered_for_slips_only() -> None:
    assert syscalls.nearest("opennat") == "openat"
    assert syscalls.nearest("GetRandom") == "getrandom"
    assert syscalls.nearest("xyzzy") == ""
    assert syscalls.nearest_group("file-sistem") == "file-system"
    assert syscalls.nearest_group("") == ""


def test_groups_hold_what_systemd_exec_says() -> None:
    names = {group: {call.name for call in calls} for group, calls in GROUPS.items()}
    assert names["network-io"] >= {"socket", "connect", "sendmmsg", "recvfrom", "accept4", "getsockopt"}
    assert names["file-system"] >= {"open", "openat", "stat", "unlinkat", "fsetxattr", "inotify_add_watch"}
    assert names["module"] >= {"init_module", "finit_module", "delete_module"}
    assert names["clock"] == {"adjtimex", "clock_adjtime", "clock_settime", "settimeofday"}
    assert names["privileged"] >= names["module"] | names["clock"] | names["reboot"] | names["swap"]
    assert names["known"] == {call.name for call in CALLS}
    assert not names["system-service"].intersection(names["mount"] | names["clock"] | names["module"])
    assert names["system-service"] > names["file-system"] | names["network-io"] | names["default"]


def test_the_page_is_what_the_generator_writes(tmp_path: Path) -> None:
    assert (ROOT / "docs" / "syscalls.md").read_text(encoding="utf-8") == render()
    write(tmp_path / "page.md")
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.md"]
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == render()


def test_the_page_has_a_line_for_each_call() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|(.*)\|$", render(), re.MULTILINE)
    assert [(int(nr), name) for nr, name, _ in rows] == [(call.nr, call.name) for call in CALLS]
    assert all(rest.count("|") == 3 for _, _, rest in rows)


def test_the_table_needs_no_slow_import() -> None:
    program = "import sys; old = set(sys.modules); import torov.syscalls; print(*set(sys.modules) - old)"
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    table = {"__future__", "torov", "torov.callshape", "torov.calls_x86_64", "torov.syscalls"}
    assert set(shown.split()) == table
