"""What a program has loaded, as the server reads it of the guest's memory: a guest that lies, and gdb's own list beside ours."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from debugging import debugged, native
from support import Compiler

from torov.gdb import modules

HEADERS, DYNAMIC, DEBUG, MAPS = 0x1000, 0x2000, 0x3000, 0x4000


def memory(**parts: bytes) -> Callable[[int, int], bytes]:
    """What reads the parts, each at the address that its name says in hex behind a letter; short at its end."""
    pieces = {int(name[1:], 16): data for name, data in parts.items()}

    def read(at: int, length: int) -> bytes:
        for start, data in pieces.items():
            if start <= at < start + len(data):
                return data[at - start :][:length]
        return b""

    return read


def link_map(load: int, name: int, following: int) -> bytes:
    return struct.pack("<5Q", load, name, 0x77, following, 0)


AUXV = struct.pack("<6Q", 3, HEADERS, 5, 2, 0, 0)
PROGRAM = {
    "a1000": struct.pack("<IIQQQQQQ", 6, 0, 0, HEADERS, 0, 0, 0, 0) + struct.pack("<IIQQQQQQ", 2, 0, 0, DYNAMIC, 0, 0, 32, 8),
    "a2000": struct.pack("<4Q", 21, DEBUG, 0, 0),
    "a3000": struct.pack("<QQ", 1, MAPS),
}


def listed(**parts: bytes) -> list[tuple[str, int, int]]:
    root = ElementTree.fromstring(modules.document(memory(**PROGRAM, **parts), AUXV))
    assert (root.tag, root.get("version")) == ("library-list-svr4", "1.0")
    return [(one.get("name", ""), int(one.get("lm", ""), 16), int(one.get("l_addr", ""), 16)) for one in root]


def test_the_list() -> None:
    first, second = link_map(0, 0, 0x4100), link_map(0x7000, 0x5000, 0)
    assert listed(a4000=first, a4100=second, a5000=b"/lib/a&b<\"'.so\0rest") == [("/lib/a&b<\"'.so", 0x4100, 0x7000)]
    text = modules.document(memory(**PROGRAM, a4000=first, a4100=second), AUXV)
    assert b'main-lm="0x4000"' in text and b"<library " not in text  # a name that cannot be read is none


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"a4000": b"\1" * 20},
        {"a4000": link_map(0, 0, 0x4000)},
        {"a4000": link_map(0, 0, 0x9000)},
        {"a4000": link_map(0, 0, (1 << 64) - 1)},
        {"a4000": link_map(0, 0, 0x4100), "a4100": link_map(1, 0x5000, 0x4100), "a5000": b"\x01\x1b[31m\xff\0"},
    ],
    ids=["nothing there", "cut", "a ring", "leads nowhere", "leads beyond", "control characters in a ring"],
)
def test_lies(parts: dict[str, bytes]) -> None:
    assert listed(**parts) == []


def test_an_auxv_that_lies() -> None:
    for count in (1 << 40, 513):
        assert b"<library " not in modules.document(memory(**PROGRAM), struct.pack("<4Q", 3, HEADERS, 5, count))


OPENS = """
#include <dlfcn.h>
static void here(void) { }
int main(void) { here(); void *m = dlopen("libm.so.6", RTLD_NOW); here(); if (m) dlclose(m); here(); return !m; }
"""


@pytest.mark.kvm
def test_libraries_that_come_and_go(cc: Compiler, tmp_path: Path) -> None:
    program = cc(OPENS, "dynamic", "-g", "-O0")
    commands = ["break here", *("continue", "info sharedlibrary") * 3, "delete", "continue"]
    ran = debugged(tmp_path, program, [*commands, "show remote library-info-svr4-packet"])

    def libraries(said: str) -> list[str]:
        return [
            re.sub(r"^0x\w+ +0x\w+ +Yes +(target:)?", "", line) for line in said.splitlines() if re.search(r"^0x.*\.so", line)
        ]

    assert libraries(ran.said) == libraries(native(program, commands)) and "libm.so.6" in ran.said, ran.whole
    assert re.search(r"qXfer:libraries-svr4:read.*currently enabled", ran.said), ran.whole
    assert ran.status == 0
