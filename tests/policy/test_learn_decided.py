"""What a program was seen to do, the core lets it do again under the policy that was learned from it, merged or not."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import ALWAYS, Call
from test_reference import core

from torov import policy
from torov.callshape import DENY
from torov.constants import names_of, set_of
from torov.learned import dump
from torov.policy import learn
from torov.policy.args import ADDRESSES, path_index, paths
from torov.policy.facts import Facts
from torov.syscalls import CALLS

ROWS = [call for call in CALLS if call.serve != DENY and call.default == "allow"]
FILES = (
    *("/", "/etc/passwd", "/etc/ssl/certs/a.pem", "/tmp/tmpk3j9x2a1", "/tmp/o", "/proc/self/fd/7", "/proc/42/stat", "/dev/pts/5"),
    *("/usr/lib/libz.so.1.2", "/home/u/.config/x", "/srv/data/1", "/srv/data/2", "/srv/data/3", "/srv/[a]*{b}\\", "/é"),
)
HOSTS = ("127.0.0.1", "10.1.2.3", "8.8.8.8", "::1", "::ffff:192.168.0.9", "2001:db8::5", "0.0.0.0")

Seen = tuple[dict[str, Any], Call, bytes | None]


@st.composite
def address(draw: st.DrawFn) -> tuple[dict[str, Any] | None, bytes | None, dict[str, Any] | None]:
    """A socket address as the log has it, as bytes, and as the reference takes it."""
    kind = draw(st.sampled_from(["none", "inet", "unix", "netlink"]))
    if kind == "none":
        return None, None, None
    if kind == "netlink":
        return {"family": 16}, struct.pack("<H", 16) + bytes(10), {"family": 16}
    if kind == "unix":
        name = draw(st.sampled_from(["/run/db.sock", "@abstract7", "/tmp/.X11-unix/X0", "/run/a*b"]))
        raw = name.replace("@", "\0").encode()
        return {"family": "unix", "path": name}, struct.pack("<H", 1) + raw, {"family": 1, "path": name.encode()}
    host = draw(st.sampled_from(HOSTS))
    port = draw(st.sampled_from([0, 53, 443, 8080, 40000]))
    six = ":" in host
    number = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, host)
    raw = (
        struct.pack("<H", 10 if six else 2)
        + struct.pack(">H", port)
        + (bytes(4) + number + bytes(4) if six else number + bytes(8))
    )
    return (
        {"family": "inet6" if six else "inet", "ip": host, "port": port},
        raw,
        {"family": 10 if six else 2, "port": port, "host": host},
    )


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    """One call as the log has it, and as the core is asked about it."""
    row = draw(st.sampled_from(ROWS))
    registers = []
    for arg in row.args:
        named = sorted(names_of(set_of(row, arg)).values())
        some = st.sampled_from(named) if named else st.nothing()
        several = st.lists(some, max_size=3).map(lambda values: sum(set(values))) if named else st.nothing()
        registers.append(
            draw(st.one_of(some, several, st.sampled_from([0, 1, 3, 4096])) if named else st.sampled_from([0, 1, 3, 4096]))
        )
    line: dict[str, Any] = {"call": row.name, "nr": row.nr, "action": "learn"}
    files: list[str] = []
    for at in paths(row):
        registers[at] = 4096  # not NULL
        files.append(draw(st.sampled_from(FILES)))
    raw, given_address = None, None
    if files:  # in the log a character is a byte
        line["paths"] = [name.encode().decode("latin-1") for name in files]
    if row.name in ADDRESSES:
        shown, raw, given_address = draw(address())
        line |= {"address": shown} if shown else {}
    line["args"] = [value - (1 << 64) if value >> 63 else value for value in registers]
    full = tuple([value & (1 << 64) - 1 for value in registers] + [0] * (6 - len(registers)))
    both: list[bytes | None] = [None, None]
    for at, name in zip(paths(row), files, strict=True):
        both[path_index(row, at)] = name.encode()
    return line, Call(row.name, full, None, (both[0], both[1]), given_address), raw


def refused(document: dict[str, Any], calls: list[Seen]) -> list[tuple[str, Any]]:
    made = policy.parse("p.json", dump(document).encode())
    return [(call.name, line) for line, call, raw in calls if core(made, call, raw)[0] != "allow"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(seen(), max_size=40), st.lists(seen(), max_size=10))
def test_what_was_learned_is_allowed(first: list[Seen], second: list[Seen]) -> None:
    found = Facts()
    found.add_run([line for line, _, _ in first])
    document = json.loads(dump(learn.document(found, "prog")))
    assert refused(document, first) == []
    again = learn.read("p.json", document)
    again.add_run([line for line, _, _ in second])
    merged = json.loads(dump(learn.document(again, "prog", document)))
    assert refused(merged, first + second) == []
    assert len(refused({"torov": 1, "default": "deny"}, first)) == sum(call.name not in ALWAYS for _, call, _ in first)
