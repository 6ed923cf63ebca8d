"""The grammar of argument shapes: what each word means, and which words are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from torov.callshape import CORE, DENY, STRUCTS, Call, Length, parse

# What C calls each structure, and where it is declared.
_IN_C = {
    "cachestat": None,
    "cachestat_range": None,
    "cap_data": "struct __user_cap_data_struct[_LINUX_CAPABILITY_U32S_3]",
    "cap_header": "struct __user_cap_header_struct",
    "clone_args": "struct clone_args",
    "epoll_event": "struct epoll_event",
    "int": "int",
    "itimerspec": "struct itimerspec",
    "itimerval": "struct itimerval",
    "loff": "loff_t",
    "mq_attr": "struct mq_attr",
    "msqid_ds": "struct msqid_ds",
    "new_utsname": "struct new_utsname",
    "open_how": "struct open_how",
    "pollfd": "struct pollfd",
    "rlimit": "struct rlimit",
    "rusage": "struct rusage",
    "sembuf": "struct sembuf",
    "shmid_ds": "struct shmid_ds",
    "sigaction": None,
    "sigevent": "struct sigevent",
    "siginfo": "siginfo_t",
    "sigset": None,
    "stack": "stack_t",
    "stat": "struct stat",
    "statfs": "struct statfs",
    "statx": "struct statx",
    "sysinfo": "struct sysinfo",
    "time": "time_t",
    "timespec": "struct timespec",
    "timeval": "struct timeval",
    "timex": "struct timex",
    "timezone": "struct timezone",
    "tms": "struct tms",
    "utimbuf": "struct utimbuf",
}
# Those that the C library hides or changes, or that are newer than the headers at hand: written down again as
# asm-generic/signal.h, arch/x86/include/asm/signal.h and linux/mman.h (Linux 6.5) declare them.
_AGAIN = {
    "cachestat": "struct { unsigned long long a, b, c, d, e; }",
    "cachestat_range": "struct { unsigned long long off, len; }",
    "sigaction": "struct { void (*run)(int); long flags; void (*restorer)(void); unsigned long mask; }",
    "sigset": "struct { unsigned long sig[1]; }",
}
_HEADERS = """
    sys/types.h sys/stat.h sys/statfs.h sys/time.h sys/times.h sys/timex.h sys/resource.h sys/sysinfo.h
    sys/epoll.h sys/ipc.h sys/msg.h sys/sem.h sys/shm.h poll.h mqueue.h signal.h time.h utime.h stdio.h
    linux/capability.h linux/utsname.h linux/openat2.h linux/sched.h
"""


def test_sizes_of_structures_are_those_of_the_c_headers(tmp_path: Path) -> None:
    lines = ["#define _GNU_SOURCE", *(f"#include <{name}>" for name in _HEADERS.split()), "int main(void) {"]
    for name in STRUCTS:
        lines.append(f'    printf("{name} %zu\\n", sizeof({_IN_C[name] or _AGAIN[name]}));')
    source = tmp_path / "sizes.c"
    source.write_text("\n".join([*lines, "    return 0;", "}", ""]))
    subprocess.run(["gcc", "-o", tmp_path / "sizes", source], check=True)
    shown = subprocess.run([tmp_path / "sizes"], check=True, capture_output=True, text=True).stdout
    assert {name: int(size) for name, size in map(str.split, shown.splitlines())} == STRUCTS


def _length(shape: str, index: int = 0) -> Length:
    length = parse(shape)[index].length
    assert length is not None
    return length


def _value(length: Length) -> tuple[int | None, int, int, bool]:
    return length.arg, length.scale, length.plus, length.deref


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("buf:out[16]", (None, 0, 16, False)),
        ("buf:out[stat]", (None, 0, 144, False)),
        ("rusage:out[rusage]", (None, 0, 144, False)),
        ("buf:in[count] count:size", (1, 1, 0, False)),
        ("fds:io[n*pollfd] n:uint", (1, 8, 0, False)),
        ("list:out[n*4] n:int", (1, 4, 0, False)),
        ("msgp:in[n+8] n:size", (1, 1, 8, False)),
        ("addr:out[*len] len:io[int]", (1, 1, 0, True)),
        ("attr:io[*attr]", (0, 1, 0, True)),
    ],
)
def test_length_says_where_the_number_is_and_how_it_counts(
    shape: str, expected: tuple[int | None, int, int, bool]
) -> None:
    assert _value(_length(shape)) == expected


def test_arguments_keep_name_kind_and_detail_in_register_order() -> None:
    args = parse("dirfd:atfd path:path flags:flags.open mode:mode")
    assert [(arg.name, arg.kind, arg.detail) for arg in args] == [
        ("dirfd", "atfd", ""),
        ("path", "path", ""),
        ("flags", "flags", "open"),
        ("mode", "mode", ""),
    ]
    assert all(arg.length is None for arg in args)


@pytest.mark.parametrize(
    "shape",
    [
        "a:int b:int c:int d:int e:int f:int g:int",
        "a:int a:int",
        ":int",
        "a:integer",
        "a:fd.open",
        "a:out",
        "a:out[",
        "a:out[]",
        "a:out[b]",
        "a:out[*b] b:int",
        "a:out[b] b:io[int]",
        "a:out[b] b:fd",
        "a:out[b*c] b:int",
        "a:out[b+c] b:int",
        "a:out[*b*4] b:io[int]",
        "a:out[-1]",
        "a:fd[4]",
        "a:iovin",
    ],
)
def test_a_word_that_breaks_the_grammar_is_refused(shape: str) -> None:
    with pytest.raises(ValueError, match=":"):
        parse(shape)


def test_a_row_gives_its_core_function_and_default() -> None:
    assert Call(9, "mmap", "", "memory", CORE, "why").core == "mmap"
    assert Call(9, "mmap", "", "memory", CORE, "why", core="map").core == "map"
    assert Call(1, "write", "", "basic-io").core == ""
    denied = Call(101, "ptrace", "", "debug", DENY, "why", "EPERM")
    assert (denied.default, denied.core) == ("EPERM", "")
