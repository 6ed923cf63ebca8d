"""The arguments of a call as a person gives them: ``openat flags=O_RDONLY path=/etc/shadow``."""

from __future__ import annotations

import os
import struct

from torov.errors import UsageError
from torov.policy import args
from torov.policy.evaluate import Subject
from torov.policy.inspect import Known, path_registers
from torov.syscalls import Call


def read(call: Call, words: list[str]) -> Known:
    """Read words NAME=VALUE.

    Args:
        call: the call that they are arguments of.
        words: values are numbers or constants; a path stands as what it resolves to; ``address`` is HOST:PORT,
            [HOST]:PORT, unix:PATH, unix:@NAME or none.

    Raises:
        UsageError: a word cannot be understood; says what the call has.
    """
    registers = [0] * 6
    structure = bytearray(128)
    paths: list[bytes | None] = [None, None]
    known = Known(Subject(call.nr))
    address: bytes | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{word}: expected NAME=VALUE, as {_example(call)}")
        if name == "address" and args.address(call) is not None:
            address, known.address = _address(value), True
            continue
        at = path_registers(call).get(name)
        if at is not None:
            paths[args.path_index(call, at)] = os.fsencode(value)
            known.paths.add(at)
            continue
        where = args.find(call, name)
        if where is None or where.register < 0:
            raise UsageError(f"{name}: {call.name} has no such argument{_hint(name, call)}")
        number = _number(value, where, call)
        if where.field >= 0:
            structure[where.field : where.field + 8] = number.to_bytes(8, "little")
            known.fields.add(where.field)
        else:
            registers[where.register] = number
            known.registers.add(where.register)
    known.subject = Subject(call.nr, tuple(registers), bytes(structure), tuple(paths), address)
    return known


def _example(call: Call) -> str:
    names = [*path_registers(call), *args.names(call)]
    return f"{names[0]}={'/etc/passwd' if path_registers(call) else '0'}" if names else f"nothing: {call.name} has no arguments"


def _hint(name: str, call: Call) -> str:
    import difflib

    names = [*args.names(call), *(["address"] if args.address(call) is not None else [])]
    near = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {near[0]}?)" if near else f"; it has {', '.join(names)}" if names else ""


def _number(text: str, where: args.Where, call: Call) -> int:
    total = 0
    for word in text.split("|"):
        name = word.strip()
        number = where.names.get(name)
        if number is None:
            try:
                number = int(name, 0)
            except ValueError:
                import difflib

                near = difflib.get_close_matches(name.upper(), where.names, 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise UsageError(f"{name}: expected a number or a constant of {call.name}{hint}") from None
        total |= number
    return total & (1 << 64) - 1


def _address(text: str) -> bytes | None:
    """struct sockaddr of a text."""
    import socket

    if text == "none":
        return None
    if text.startswith("unix:"):
        name = os.fsencode(text[5:])
        return struct.pack("<H", socket.AF_UNIX) + (b"\0" + name[1:] if name.startswith(b"@") else name + b"\0")
    host, _, port = text.rpartition(":")
    try:
        if host.startswith("["):
            number = socket.inet_pton(socket.AF_INET6, host.strip("[]"))
            return struct.pack("<H", socket.AF_INET6) + struct.pack(">HI", int(port), 0) + number + bytes(4)
        return (
            struct.pack("<H", socket.AF_INET) + struct.pack(">H", int(port)) + socket.inet_pton(socket.AF_INET, host) + bytes(8)
        )
    except (OSError, ValueError, struct.error):
        raise UsageError(
            f"{text}: expected an address as 10.0.0.1:443, [::1]:443, unix:/run/x.sock, unix:@name or none"
        ) from None
