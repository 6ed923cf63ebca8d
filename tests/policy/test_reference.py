"""Every decision, by the evaluator and by the core, is that of a plain reading of the policy's JSON: 10,000 random cases."""

from __future__ import annotations

import collections
import errno
import functools
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reference import Call, Json, decide, reads, regex
from torov.vmm._core import ffi, lib

from torov.constants import names_of
from torov.policy import Policy, args, parse
from torov.policy.evaluate import Program, Subject
from torov.policy.model import KINDS, Action
from torov.policy.pattern import expand, matches
from torov.syscalls import GROUPS, by_name

CASES, CALLS_EACH = 1000, 10

_NAMED = """
    openat open creat openat2 rename renameat2 linkat symlink symlinkat unlink mkdir mkdirat lstat chmod umask mknod truncate
    execve execveat mmap mprotect madvise clone clone3 fork vfork ioctl fcntl socket connect bind sendto sendmsg sendmmsg
    setsockopt kill prctl lseek read write dup3 setuid futex ptrace mount io_setup chroot settimeofday exit rt_sigreturn
    personality
"""
NAMED = _NAMED.split()
GROUPED = ("@file-system", "@network-io", "@process", "@memory", "@known", "@default", "@clock", "@mount", "@system-service")
NUMBERS = (0, 1, 2, 3, 5, 7, 0o100, 0o101, 0o644, 0x241, 0x10000, 0x22, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) | 1,
           (1 << 63) | 2, (1 << 64) - 1, (1 << 64) - 100, 0x5401, 17, 0x4111)  # fmt: skip
PATTERNS = ("/etc/**", "/etc/*", "/etc/shadow", "/home/*/a.???", "**", "/**", "/tmp/[!b]", "/{etc,tmp}/**", "/home/me", "/[e-h]*",
            "/tmp/\\[a\\]", "/**/a.txt", "**.txt", "/tmp/é*")  # fmt: skip
FILES = (None, b"/", b"/etc", b"/etc/shadow", b"/etc/x/y", b"/home/me", b"/home/me/a.txt", b"/tmp/a", b"/tmp/b", b"/tmp/[a]",
         b"/tmp/\xc3\xa9t\xc3\xa9", b"/tmp/\xff")  # fmt: skip
HOSTS = ("10.1.2.3", "10.255.0.1", "127.0.0.1", "192.168.1.7", "::1", "fd00::5", "::ffff:10.1.2.3", "2001:db8::1")
NETWORKS = ("10.0.0.0/8", "127.0.0.1", "192.168.1.0/25", "::1", "fd00::/8", "::/0", "0.0.0.0/0", "10.1.2.0/31")
SOCKETS = ("/run/a.sock", "/run/b/c.sock", "@name", "@other", "")
SOCKET_PATTERNS = ("/run/*.sock", "/run/**", "@*", "@name", "{/run/a.sock,@other}")

number = st.sampled_from(NUMBERS)
action = st.sampled_from(["allow", "deny", "kill", "log", "ask", {"errno": "EACCES"}, {"errno": "ENOENT"}, {"delegate": "files"}])


@st.composite
def value_cond(draw: st.DrawFn, call: str, name: str) -> Json | None:
    row = by_name(call)
    assert row is not None
    where = args.find(row, name)
    if where is None:
        return None
    mask = (1 << where.width) - 1
    names = sorted(word for word, value in names_of(where.constants).items() if value <= mask)

    def value() -> Any:
        if draw(st.booleans()) and names:
            words: list[str] = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))
            return "|".join(words)
        plain = draw(number) & mask
        if where.signed and plain >> (where.width - 1) and draw(st.booleans()):
            return plain - (1 << where.width)
        return draw(st.sampled_from([plain, hex(plain)]))

    if draw(st.integers(0, 3)) == 0:
        least, most = (-(1 << where.width - 1), (1 << where.width - 1) - 1) if where.signed else (0, mask)
        ends = sorted(min(max(draw(number) - draw(st.sampled_from([0, 5, 200])), least), most) for _ in range(2))
        return {"arg": name, "range": ends}
    kind = draw(st.sampled_from(["is", "is", "not"]))
    if draw(st.integers(0, 2)) == 0:
        wide = draw(number) & mask
        return {"arg": name, kind: draw(number) & wide, "mask": wide}
    return {"arg": name, kind: (draw(st.one_of(st.just(None), st.integers(2, 3))) and [value(), value()]) or value()}


@st.composite
def address(draw: st.DrawFn) -> Json:
    kind = draw(st.sampled_from(["family", "port", "network", "path"]))
    if kind == "family":
        return {"family": draw(st.sampled_from(["inet", "inet6", "unix", "unspec", "netlink"]))}
    if kind == "path":
        return {"path": draw(st.lists(st.sampled_from(SOCKET_PATTERNS), min_size=1, max_size=2))}
    made: Json = {"port": draw(st.sampled_from([443, [1, 1023], [0, 65535], [53, 53]]))} if draw(st.booleans()) else {}
    if kind == "network":
        made["network"] = draw(st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=2))
    return made or {"port": 53}


@st.composite
def cond(draw: st.DrawFn, call: str | None) -> Json | None:
    kind = draw(st.sampled_from(["value", "value", "path", "address"]))
    if call is not None:
        row = by_name(call)
        assert row is not None
        if kind == "path" and args.paths(row):
            made: Json = {
                draw(st.sampled_from(["path", "path", "not-path"])): draw(
                    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2)
                )
            }
            if draw(st.booleans()):
                made["arg"] = row.args[draw(st.sampled_from(args.paths(row)))].name
            return made
        if kind == "address" and args.address(row) is not None:
            wanted = draw(st.one_of(address(), st.lists(address(), min_size=1, max_size=2)))
            return {draw(st.sampled_from(["address", "not-address"])): wanted}
        names = args.names(row)
        return draw(value_cond(call, draw(st.sampled_from(names)))) if names else None
    if kind == "path":
        return {draw(st.sampled_from(["path", "not-path"])): draw(st.sampled_from(PATTERNS))}
    if kind == "address":
        return {"address": draw(address())}
    return {"arg": draw(st.sampled_from(["flags", "mode", "fd", "prot", "sockfd"])), "is": draw(number) & 0xFFFF,
            "mask": 0xFFFF}  # fmt: skip


@st.composite
def rule(draw: st.DrawFn) -> Json:
    act = draw(action)
    if draw(st.integers(0, 2)):
        name = draw(st.sampled_from([n for n in NAMED if act in ("allow", "log") or n not in ("exit", "rt_sigreturn")]))
        calls = [name] + ([name] if draw(st.booleans()) else [])
        found = [draw(cond(name)) for _ in range(draw(st.integers(0, 3)))]
    else:
        calls = draw(st.lists(st.sampled_from(GROUPED), min_size=1, max_size=2))
        found = [draw(cond(None)) for _ in range(draw(st.integers(0, 2)))]
    made: Json = {"calls": calls, "action": act}
    if any(found):
        made["where"] = [one for one in found if one is not None]
        if calls[0].startswith("@") and not reaches_any(calls, made["where"]):  # refused: tests/policy/test_where.py
            del made["where"]
    return made


def reaches_any(calls: list[str], where: list[Json]) -> bool:
    """Whether some call of the groups has all that the conditions ask for."""
    rows = {call for group in calls for call in GROUPS[group[1:]]}
    empty = (None, None)
    return any(reads(Call(row.name, (0,) * 6, None, empty, None), {"where": where}) is not None for row in rows)


@st.composite
def policy(draw: st.DrawFn) -> Json:
    return {"torov": 1, "default": draw(st.one_of(st.just("builtin"), action)), "rules": draw(st.lists(rule(), max_size=6)),
            "delegates": {"files": {}}}  # fmt: skip


@st.composite
def sockaddr(draw: st.DrawFn) -> tuple[bytes | None, Json | None]:
    """The bytes of a socket address, and what a person says of it."""
    kind = draw(st.sampled_from(["none", "inet", "inet6", "unix", "netlink", "unspec", "short", "empty"]))
    port = draw(st.sampled_from([0, 53, 443, 1024, 65535]))
    if kind == "none":
        return None, None
    if kind == "inet":
        host = draw(st.sampled_from([h for h in HOSTS if ":" not in h]))
        return struct.pack("<H", 2) + struct.pack(">H", port) + socket.inet_pton(2, host) + bytes(8), {
            "family": 2,
            "port": port,
            "host": host,
        }
    if kind == "inet6":
        host = draw(st.sampled_from([h for h in HOSTS if ":" in h]))
        size = draw(st.sampled_from([24, 28]))
        data = struct.pack("<H", 10) + struct.pack(">HI", port, 0) + socket.inet_pton(10, host) + bytes(4)
        return data[:size], {"family": 10, "port": port, "host": host}
    if kind == "unix":
        name = draw(st.sampled_from(SOCKETS)).encode()
        raw = b"\0" + name[1:] if name.startswith(b"@") else name + b"\0" * bool(name)
        return struct.pack("<H", 1) + raw, {"family": 1, "path": name}
    if kind == "short":
        return struct.pack("<HH", 2, 443), {"family": 2}
    if kind == "empty":
        return b"\2", {"family": 0}
    family = {"netlink": 16, "unspec": 0}[kind]
    return struct.pack("<H", family) + bytes(10), {"family": family}


@st.composite
def guest_call(draw: st.DrawFn) -> tuple[Call, bytes | None]:
    name = draw(st.sampled_from(NAMED))
    registers = tuple(draw(number) for _ in range(6))
    words = [draw(number) for _ in range(11)]
    structure = draw(st.sampled_from([None, struct.pack("<3Q", *words[:3]), struct.pack("<11Q", *words)]))
    raw, given_address = draw(sockaddr())
    return Call(name, registers, structure, (draw(st.sampled_from(FILES)), draw(st.sampled_from(FILES))), given_address), raw


DECIDED: collections.Counter[str] = collections.Counter()


def shown(action: Action) -> str:
    """An action in the words of the reference."""
    return errno.errorcode[action.errno] if action.kind == 1 else str(action)


def core(made: Policy, call: Call, raw: bytes | None) -> tuple[str, int | None]:
    """What the core decides."""
    decided = ffi.new("int *")
    paths = [ffi.NULL if path is None else ffi.new("char[]", path) for path in call.paths]
    # a copy of exactly that size, so that a sanitizer sees what is read beyond
    structure = ffi.NULL if call.structure is None else ffi.new("char[]", call.structure)
    size = 0 if call.structure is None else len(call.structure)
    address = ffi.NULL if raw is None else ffi.new("char[]", raw + bytes(128))
    program = ffi.from_buffer(made.program) if made.program else ffi.NULL
    actions = ffi.cast("int16_t *", ffi.from_buffer(made.actions))
    value = lib.tv_policy_try(program, len(made.program), actions, call.row.nr, list(call.registers), structure, size, *paths,
                              address, 0 if raw is None else len(raw), decided)  # fmt: skip
    assert value >= 0
    kind = value & 0xFF
    word = errno.errorcode[value >> 8] if kind == 1 else "delegate files" if kind == 5 else KINDS[kind]
    return word, None if decided[0] < 0 else int(decided[0])


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    """At the end: the cases are worth something only if rules and conditions have decided many of them."""
    yield
    if DECIDED:  # in the process that ran them
        assert DECIDED.total() >= 2 * CASES * CALLS_EACH
        assert min(DECIDED.values()) >= CASES


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    first=policy(), base=st.one_of(st.none(), policy()), calls=st.lists(guest_call(), min_size=CALLS_EACH, max_size=CALLS_EACH)
)
def test_every_decision_is_that_of_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory, first: Json, base: Json | None, calls: list[tuple[Call, bytes | None]]
) -> None:
    where = tmp_path_factory.getbasetemp()
    documents = [first]
    if base is not None:
        (where / "base.json").write_text(json.dumps(base))
        first = {**first, "extends": "base.json"}
        documents = [first, base]
    made = parse(str(where / "p.json"), json.dumps(first).encode())
    program = Program(made.actions, made.program, tuple(made.delegates))
    assert not made.program or lib.tv_policy_check(made.program, len(made.program)) == 0
    for call, raw in calls:
        expected, expected_rule = decide(documents, call)
        DECIDED["a rule" if expected_rule is not None else "the default"] += 1
        DECIDED["conditions" if made.action(call.row.nr) == -2 else "a number"] += 1
        step = program.decide(Subject(call.row.nr, call.registers, call.structure, call.paths, raw))
        assert shown(step.action) == expected, call.name
        word, core_rule = core(made, call, raw)
        assert word == expected, call.name
        if expected != "allow" and call.row.serve != "deny":
            assert step.rule == expected_rule
            if made.action(call.row.nr) == -2:  # where no condition stands, the number alone decides
                assert core_rule == expected_rule


PIECES = st.sampled_from(
    [
        "/",
        "/",
        "*",
        "**",
        "?",
        "a",
        "b",
        "ab",
        "[ab]",
        "[!a]",
        "[a-c]",
        "[!/]",
        "\\*",
        "\\{",
        "{a,b}",
        "{a*,/b,}",
        "{b/**,a}",
        ".txt",
        "é",
    ]
)
TEXTS = st.sampled_from([b"/", b"/", b"a", b"b", b"c", b"ab", b"*", b"{", b".txt", "é".encode(), b"\xff", b"\n"])


@settings(max_examples=3000, deadline=None)
@given(st.lists(PIECES, max_size=7).map("".join), st.lists(TEXTS, max_size=8).map(b"".join))
@example(tail="a\\***", path=b"a*b/c")
@example(tail="*/***", path=b"")
@example(tail="{a*,b}*", path=b"a/b")
def test_patterns_match_as_regular_expressions_do(tail: str, path: bytes) -> None:
    pattern = "/" + tail
    path = b"/" + path
    try:
        patterns = expand(pattern, anywhere=True)
    except ValueError:
        return
    expected = bool(regex(pattern).fullmatch(path))
    assert any(matches(one, path) for one in patterns) == expected
    assert any(_core_matches(one, path) for one in patterns) == expected


@functools.cache
def _unlink() -> Policy:
    document = {"torov": 1, "default": "kill", "rules": [{"calls": ["unlink"], "action": "allow", "where": [{"path": "/p"}]}]}
    return parse("p.json", json.dumps(document).encode())


def _core_matches(pattern: bytes, path: bytes) -> bool:
    """Ask the core by a policy of one rule, put together here as docs/policy.md says that it is laid out."""
    made = _unlink()
    data = made.program.replace(b"/p\0", b"\0\0\0") + pattern + b"\0"
    data += bytes(-len(data) % 8)
    at = made.program.index(b"/p\0")
    offset = len(made.program)
    data = data.replace(struct.pack("<I", at), struct.pack("<I", offset), 1) if data.count(struct.pack("<I", at)) == 1 else b""
    assert data
    data = data[:4] + struct.pack("<I", len(data)) + data[8:]
    name = ffi.new("char[]", path)
    value = lib.tv_policy_try(ffi.from_buffer(data), len(data), ffi.cast("int16_t *", ffi.from_buffer(made.actions)), 87,
                              [0] * 6, ffi.NULL, 0, name, ffi.NULL, ffi.NULL, 0, ffi.new("int *"))  # fmt: skip
    assert value in (0, 2)
    return bool(value == 0)


def test_the_reference_reads_a_policy_as_written(tmp_path: Path) -> None:
    document = {
        "torov": 1,
        "default": "deny",
        "rules": [{"calls": ["openat"], "where": [{"path": "/etc/**"}], "action": "allow"}],
    }
    call = Call("openat", (0,) * 6, None, (b"/etc/shadow", None), None)
    assert decide([document], call) == ("allow", 0)
    assert decide([document], Call("openat", (0,) * 6, None, (b"/etcetera", None), None)) == ("EPERM", None)
