"""The reader of packets: 50,000 of them, whole, cut, escaped, damaged, among noise; and the registers' layout."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest
from support import Compiler

from torov.gdb import link
from torov.gdb.packet import ACK, BAD, INTERRUPT, MOST, NAK, Reader, checksum, escape, frame, numbers, unescape
from torov.gdb.registers import Registers, description

HEADER = Path(__file__).resolve().parents[2] / "torov" / "vmm" / "core" / "debug.h"


def reference(stream: bytes) -> list[bytes | str]:
    """The same by a regular expression over all of it: gdb's manual, E.1."""
    found: list[bytes | str] = []
    alone = {b"\x03": INTERRUPT, b"+": ACK, b"-": NAK}
    for match in re.finditer(rb"\$([^#]*)#(..)|[\x03+-]|[^$]", stream, re.DOTALL):
        if match[0] in alone:
            found.append(alone[match[0]])
        elif match[2] is not None:
            body = match[1].rpartition(b"$")[2]
            good = re.fullmatch(rb"[0-9a-fA-F]{2}", match[2]) and int(match[2], 16) == checksum(body)
            found.append(unescape(body) if good else BAD)
    return found


def test_fifty_thousand_packets() -> None:
    chance = random.Random(int(os.environ.get("TOROV_FUZZ_SEED", "1234")))
    seen: dict[str, int] = {}
    count = 0
    while count < 50000:
        stream = b""
        for _ in range(chance.randrange(1, 40)):
            data = chance.randbytes(chance.choice((0, 1, 3, 20, 200)))
            made = frame(escape(data))
            kind = chance.choice(("whole", "whole", "whole", "sum", "noise", "half", "alone", "no hex"))
            if kind == "sum":
                made = made[:-2] + b"%02x" % ((checksum(escape(data)) + chance.randrange(1, 256)) & 0xFF)
            elif kind == "noise":
                made = bytes(byte for byte in chance.randbytes(9) if byte not in b"$#") + made
            elif kind == "half":
                made = made[: chance.randrange(1, len(made))].rstrip(b"#0123456789abcdef") + made
            elif kind == "alone":
                made = chance.choice((b"\x03", b"+", b"-")) + made
            elif kind == "no hex":
                made = made[:-2] + chance.choice((b"+1", b" 1", b"zz", b"\xff\xff", b"1_"))
            seen[kind] = seen.get(kind, 0) + 1
            count += 1
            stream += made
        reader, found, at = Reader(), [], 0
        while at < len(stream):
            size = chance.choice((1, 2, 7, 100, 4000))
            found += reader.feed(stream[at : at + size])
            at += size
        assert found == reference(stream)
        assert len(reader.pending) <= MOST
    assert len(seen) == 6 and min(seen.values()) > 4000


def test_a_packet_without_an_end_is_not_kept() -> None:
    reader = Reader()
    reader.feed(b"$")
    for _ in range(1000):
        assert not reader.feed(b"x" * 1000)
        assert len(reader.pending) <= MOST + 1001
    assert reader.feed(b"#00" + frame(b"qC")) == [BAD, b"qC"]


def test_random_bytes_never_raise() -> None:
    chance = random.Random(5)
    for _ in range(3000):
        reader = Reader()
        for _ in range(5):
            reader.feed(bytes(chance.choice(b"$$##}*+-\x03ab01\xff") for _ in range(chance.randrange(40))))


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)), b"}}}", b"#$*}"])
def test_escaping(data: bytes) -> None:
    assert unescape(escape(data)) == data
    assert not {b"#", b"$"} & set(escape(data))


@pytest.mark.parametrize("text", [b"", b"1,", b"-1", b"0x1", b"1_0", b"g", b" 1", b"1" * 17])
def test_what_is_no_number(text: bytes) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text.rpartition(b",")[2]))):
        numbers(text)


def test_the_messages_are_the_cores(cc: Compiler) -> None:
    """torov/gdb/link.py against debug.h, as the compiler numbers it."""
    source = '#include "debug.h"\n#include <stdio.h>\nint main(void) {\n'
    rows = {"HELLO": link.HELLO, "GONE": link.GONE, "READ": link.READ, "RESUME": link.RESUME, "THREADS": link.THREADS}
    rows |= {"INFO": link.INFO, "SIGINFO": link.SIGINFO, "MAPS": link.MAPS, "ATTACHED": link.ATTACHED, "SIGNAL": link.SIGNAL}
    rows |= {"VFORK_DONE": link.VFORK_DONE, "STEP": link.STEP, "DATA": link.DATA}
    source += "".join(f'printf("%ld\\n", (long)DEBUG_{name});\n' for name in rows)
    source += 'printf("%zu\\n%zu\\n", sizeof(struct debug_msg), sizeof(struct debug_regs)); }\n'
    made = cc(source, "glibc", "-D_GNU_SOURCE", "-I", str(HEADER.parent))
    out = subprocess.run([made], capture_output=True, check=True).stdout
    assert [int(line) for line in out.split()] == [*rows.values(), link.HEAD.size, 22 * 8]


def raw(area: bytes = b"") -> bytes:
    return struct.pack("<22Q", *range(100, 121), 2696) + area.ljust(2696, b"\0")


def test_a_register_file_survives() -> None:
    regs = Registers(raw())
    everything = bytearray(regs.all())
    chance = random.Random(2)
    for number, (name, bits, _) in enumerate(regs.rows):
        if name in ("cs", "ss", "ds", "es", "fs", "gs", "ftag"):
            continue
        regs.set(number, value := chance.randbytes(bits // 8))
        shown = regs.get(number)
        assert shown == value or (name in ("fctrl", "fstat", "fiseg", "foseg", "fop") and shown[:2] == value[:2])
    regs.set_all(bytes(everything))
    assert regs.all()[:140] == bytes(everything)[:140]


def test_the_initial_state_of_the_x87_and_sse() -> None:
    """arch/x86/kernel/fpu/core.c: FCW 0x37f, empty tags, whatever is left in the area."""
    regs = Registers(raw(b"\xaa" * 512))
    names = [name for name, _, _ in regs.rows]
    assert regs.get(names.index("fctrl")) == b"\x7f\x03\0\0" and regs.get(names.index("ftag")) == b"\xff\xff\0\0"
    assert regs.get(names.index("xmm7")) == bytes(16) and regs.get(names.index("ymm7h")) == bytes(16)
    regs.set(names.index("xmm7"), b"\x11" * 16)
    assert regs.get(names.index("xmm6")) == bytes(16)


def test_the_description_is_xml_and_counts_as_the_registers() -> None:
    import xml.etree.ElementTree as tree

    made = tree.fromstring(description(True))
    rows = [(reg.get("name"), int(reg.get("bitsize") or 0)) for reg in made.iter("reg")]
    assert rows == [(name, bits) for name, bits, _ in Registers(raw()).rows]
