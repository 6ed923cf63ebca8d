"""The constants: every number against the C headers, and how a value is printed against strace."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest
from support import Compiler

from torov.constants import NEWER, TABLES, names_of, number, set_of, show, show_sockopt
from torov.syscalls import CALLS, by_name

HEADERS = {
    "fcntl.h sys/stat.h unistd.h sys/file.h sys/inotify.h sys/xattr.h linux/falloc.h linux/close_range.h linux/fanotify.h "
    "linux/openat2.h sys/mount.h": "open resolve access mode seek flock fallocate fadvise fcntl inotify inotify_init1 umount "
    "splice sync_file_range xattr close_range fanotify_init fanotify_mark",
    "linux/fcntl.h": "at atfd",
    "linux/mount.h linux/fs.h linux/stat.h": "mount rename rwf statx",
    "sys/mman.h linux/mman.h linux/memfd.h linux/mempolicy.h sys/ipc.h sys/shm.h sys/msg.h sys/sem.h linux/membarrier.h":
        "prot map mremap msync mlock2 mlockall madvise memfd mempolicy pkey shm msgget sem shmctl msgctl semctl membarrier",
    "sched.h linux/sched.h signal.h sys/wait.h sys/signalfd.h sys/eventfd.h sys/epoll.h sys/timerfd.h sys/time.h time.h "
    "linux/futex.h linux/prctl.h asm/prctl.h sys/resource.h sys/random.h linux/reboot.h linux/perf_event.h linux/bpf.h "
    "sys/personality.h": "sig clone wait idtype sigmask signalfd eventfd epoll_create1 epoll_ctl timerfd timer clock itimer "
    "futex prctl arch_prctl rlimit rusage priority sched random reboot perf bpf personality",
    "linux/ptrace.h asm/ptrace-abi.h": "ptrace",
    "sys/socket.h netinet/in.h netinet/udp.h netinet/tcp.h": "family socktype sock shutdown msg protocol level sockopt",
    "linux/in.h linux/in6.h linux/tcp.h linux/udp.h linux/netlink.h linux/if_packet.h":
        "sockopt.ip sockopt.ipv6 sockopt.tcp sockopt.udp sockopt.netlink sockopt.packet",
    "asm/ioctls.h asm/termbits.h linux/serial.h linux/ioctl.h linux/sockios.h linux/fiemap.h linux/blktrace_api.h linux/fs.h "
    "linux/fsverity.h linux/fscrypt.h linux/nsfs.h linux/msdos_fs.h linux/kd.h linux/vt.h linux/random.h linux/loop.h "
    "linux/if_tun.h linux/rtc.h linux/hdreg.h linux/watchdog.h": "ioctl",
}  # fmt: skip
"""Headers that go together, to the sets whose names they define."""

KERNEL_ONLY = {
    "O_LARGEFILE": 0x8000, "F_GETOWNER_UIDS": 17, "F_CANCELLK": 1029, "PROT_SEM": 8, "SHM_RDONLY": 0o10000, "MSG_COPY": 0o40000,
    "RUSAGE_BOTH": -2, "SCHED_ISO": 4, "FUTEX_CMD_MASK": 0xFFFFFE7F, "SOCK_TYPE_MASK": 15, "CSIGNAL": 255, "SOL_SCTP": 132,
    "SOL_UDPLITE": 136, "SOL_IPX": 256, "SOL_AX25": 257, "SOL_ATALK": 258, "SOL_NETROM": 259, "SOL_ROSE": 260, "IPPROTO_SMC": 256,
    "MSG_PROBE": 16, "PER_MASK": 255, "IPPROTO_SCTP": 132, "SCHED_RESET_ON_FORK": 0x40000000,
}  # fmt: skip
"""What glibc spells otherwise or only headers of the kernel's own source have (include/linux, fs/fcntl.c)."""


def test_every_set_is_compared() -> None:
    assert sorted(" ".join(HEADERS.values()).split()) == sorted(TABLES)


@pytest.mark.parametrize("headers", HEADERS, ids=lambda text: text.split()[0])
def test_numbers_are_those_of_the_headers(headers: str, cc: Compiler) -> None:
    tables = HEADERS[headers].split()
    words = {name: value for table in tables for name, value in TABLES[table].names.items()}
    compared = {name: value for name, value in words.items() if name not in NEWER and name not in KERNEL_ONLY}
    lines = "\n".join(f'    printf("%s %llu\\n", "{name}", (unsigned long long)({name}));' for name in compared)
    includes = "\n".join(f"#include <{header}>" for header in ["stdio.h", *headers.split()])
    source = f"#define _GNU_SOURCE\n{includes}\nint main(void) {{\n{lines}\n    return 0;\n}}\n"
    shown = subprocess.run([cc(source, "dynamic", "-w")], check=True, capture_output=True, text=True).stdout
    found = {name: int(value) for name, value in (line.split() for line in shown.splitlines())}
    wrong = {
        name: (value, found[name])
        for name, value in compared.items()
        if value % 2**32 != found[name] % 2**32 or (value >= 2**32 and value != found[name])
    }
    assert wrong == {}
    assert {name: words[name] for name in words if name in KERNEL_ONLY} == {
        name: value for name, value in KERNEL_ONLY.items() if name in words
    }


def test_newer_names_say_where_they_come_from() -> None:
    every = {name for table in TABLES.values() for name in table.names}
    assert set(NEWER) <= every
    assert all(re.fullmatch(r"Linux 6\.\d+, [\w/.-]+\.h", text) for text in NEWER.values())


def test_every_detail_of_the_table_has_a_set() -> None:
    assert {arg.detail for call in CALLS for arg in call.args if arg.kind != "path"} - set(TABLES) == {""}


def test_arguments_without_a_detail_have_sets_too() -> None:
    def of(call: str, name: str) -> str:
        row = by_name(call)
        assert row is not None
        return set_of(row, next(arg for arg in row.args if arg.name == name))

    assert (of("kill", "sig"), of("clock_gettime", "clockid"), of("openat", "mode")) == ("sig", "clock", "mode")
    assert (of("openat", "dirfd"), of("socket", "protocol"), of("read", "count")) == ("atfd", "protocol", "")


def test_names_are_found() -> None:
    assert (number("open", "O_CREAT"), number("open", "O_ACCMODE"), number("open", "O_NONE")) == (0o100, 3, None)
    assert names_of("sockopt")["TCP_NODELAY"] == 1
    assert (show_sockopt(6, 1), show_sockopt(1, 2), show_sockopt(999, 2)) == ("TCP_NODELAY", "SO_REUSEADDR", "0x2")


SHOWN = """
    openat:2:open mmap:2:prot mmap:3:map mprotect:2:prot lseek:2:seek access:1:access fcntl:1:fcntl flock:1:flock
    madvise:2:madvise memfd_create:1:memfd msync:2:msync mremap:3:mremap socket:0:family socket:1:socktype
    accept4:3:sock shutdown:1:shutdown sendto:3:msg renameat2:4:rename linkat:4:at unlinkat:2:at fallocate:1:fallocate
    fadvise64:3:fadvise eventfd2:1:eventfd epoll_create1:0:epoll_create1 timerfd_create:1:timerfd signalfd4:3:signalfd
    getrandom:2:random splice:5:splice sync_file_range:3:sync_file_range inotify_add_watch:2:inotify
    inotify_init1:0:inotify_init1 waitid:0:idtype getrlimit:0:rlimit getrusage:0:rusage getpriority:0:priority
    futex:1:futex epoll_ctl:1:epoll_ctl rt_sigprocmask:0:sigmask close_range:2:close_range setxattr:4:xattr ioctl:1:ioctl
"""
"""Calls whose other arguments are made bad, the number of the argument that is looked at, and its set."""

TRACED = r"""
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int argc, char **argv) {
    for (int i = 1; i + 2 < argc; i += 3) {
        long a[6] = {-1, -1, -1, -1, -1, -1};
        a[atoi(argv[i + 1])] = strtol(argv[i + 2], 0, 0);
        syscall(atoi(argv[i]), a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    return 0;
}
"""


def _samples(name: str, rng: random.Random) -> list[int]:
    """Values of a set: single names, unions, and what has no name."""
    table = TABLES[name]
    known = {word for word in table.names if word not in NEWER and not word.startswith(("AT_STATX", "FUTEX_CLOCK"))}
    if table.enumerated:
        numbers = [value for word, value in table.values if word in known]
        return [rng.choice(numbers) for _ in range(6)] + [numbers[0], 99] * (name != "ioctl")
    bits = [value for word, value in table.bits if word in known]
    found = [0]
    for _ in range(8):
        value = sum({bit for bit in rng.sample(bits, min(len(bits), rng.randint(0, 4))) if bit.bit_count() == 1})
        for mask, names in (*table.first, *table.last):
            value = value & ~mask | rng.choice(names)[1]
        found.append(value)
    return found


def test_values_are_printed_as_strace_prints_them(cc: Compiler, tmp_path: Path) -> None:
    rng = random.Random(4)
    asked = []
    for word in SHOWN.split():
        call, index, name = word.split(":")
        row = by_name(call)
        assert row is not None
        asked += [(row.nr, int(index), value, call, name) for value in _samples(name, rng)]
    words = [str(number) for nr, index, value, _, _ in asked for number in (nr, index, value)]
    out = tmp_path / "trace"
    subprocess.run(["strace", "-o", out, cc(TRACED, "dynamic", "-w"), *words], check=True)
    lines = out.read_text().splitlines()[-len(asked) - 2 : -2]  # the last two are the end
    wrong = []
    for (_, place, value, call, name), line in zip(asked, lines, strict=True):
        match = re.fullmatch(rf"{call}\((.*)\) += .*", line)
        assert match, (call, line)
        printed: list[str] = re.split(r", (?![^{]*})", str(match[1]))
        text = printed[place].replace("FASYNC", "O_ASYNC")  # two names of the same bit
        if show(name, value) != text and show(name, value) not in text.split(" or "):
            wrong.append((call, value, show(name, value), text))
    assert wrong == []
