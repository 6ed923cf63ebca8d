"""docs/syscalls.md, written from the table of system calls: ``python -m torov.syscalls_doc [FILE]``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torov.syscalls import CALLS, CORE, DENY, GROUPS, HOST, Call

_HEAD = """\
# System calls

Generated from `torov/calls_x86_64.py` by `python -m torov.syscalls_doc`; change the table, not this file.

Every x86-64 system call of Linux 6.18 has a row, {total} in all. Numbers without a row do not exist, and are
answered with `ENOSYS` as Linux does.

| served | calls | how |
|---|---|---|
| host | {host} | arguments are checked and translated by their shapes, then the host makes the same call |
| core | {core} | a function of the monitor core serves it |
| deny | {deny} | it is not served, and answered with the error shown |

*Default* is what the built-in policy says, which holds when there is no `--policy` (docs/policy.md). A call
whose default is an error although it is served must be named by a policy to be allowed.

## Arguments

One word `name:type` for each register, rdi, rsi, rdx, r10, r8, r9.

| type | crosses as |
|---|---|
| `int` `uint` `long` `ulong` `size` `off` `mode` `pid` `uid` `gid` `sig` `clock` `flags` `dev` `key` `id` \
| the number itself; after a dot, the set of constants |
| `fd` `atfd` | a descriptor; a directory descriptor or `AT_FDCWD` |
| `path` `str` | a NUL-terminated path; another NUL-terminated string |
| `in[N]` `out[N]` `io[N]` | a pointer to N bytes that the kernel reads, writes, reads and writes |
| `fdset[N]` | a pointer to a set of N bits in whole longs |
| `iovin[N]` `iovout[N]` | an array of N `struct iovec` whose buffers are read, written |
| `msgin` `msgout` `mmsgin[N]` `mmsgout[N]` | a `struct msghdr`, N `struct mmsghdr`; sent, received |
| `sigsetarg` | pselect6's pointer to a signal set and its size |
| `addr` | an address of the guest that the kernel does not read or write as a buffer |
| `opaque` | a value with rules of its own |

N is a number of bytes, a structure, another argument (the number of bytes or entries), an argument times or
plus a number or structure, or `*argument`: the 32-bit number that the argument points to.
"""

_TABLE = """
## The table

| nr | call | arguments | served | default | why |
|---:|---|---|---|---|---|
"""

_GROUPS = """
## Groups

A policy may name these with `@` before the name. They follow `SystemCallFilter=` of systemd.exec(5); `known`
is every call, and `system-service` what an ordinary service needs.

| group | calls |
|---|---|
"""


def render() -> str:
    """The whole text of docs/syscalls.md."""
    counts = {serve: sum(call.serve == serve for call in CALLS) for serve in (HOST, CORE, DENY)}
    parts = [_HEAD.format(total=len(CALLS), **counts), _TABLE]
    parts += [_row(call) for call in CALLS]
    parts.append(_GROUPS)
    for name, calls in GROUPS.items():
        members = f"{len(calls)} calls" if name in ("known", "system-service") else _names(calls)
        parts.append(f"| `@{name}` | {members} |\n")
    return "".join(parts)


def _row(call: Call) -> str:
    shape = f"`{call.shape}`" if call.shape else ""
    return f"| {call.nr} | {call.name} | {shape} | {call.serve} | {call.default} | {call.why} |\n"


def _names(calls: tuple[Call, ...]) -> str:
    return " ".join(call.name for call in calls)


def write(path: Path) -> None:
    """Write the page to ``path``, through a temporary name beside it.

    Raises:
        OSError: the directory cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(render(), encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else here / "docs" / "syscalls.md")
