"""Conditions: what they compile to, and the one line that everything else becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from torov.errors import PolicyError
from torov.policy import Policy, parse
from torov.policy.evaluate import Program, Subject
from torov.syscalls import by_name


def _policy(calls: list[str], *where: object, action: object = "allow", default: object = "deny", **more: object) -> Policy:
    rule = {"calls": calls, "action": action, "where": list(where)}
    return parse("p.json", json.dumps({"torov": 1, "default": default, "rules": [rule], **more}).encode())


def _decides(made: Policy, name: str, *registers: int, **more: Any) -> str:
    call = by_name(name)
    assert call is not None
    return str(Program(made.actions, made.program, tuple(made.delegates)).decide(Subject(call.nr, registers, **more)).action)


@pytest.mark.parametrize(
    ("where", "call", "allowed", "refused"),
    [
        ({"arg": "count", "is": 3}, "read", [(0, 0, 3)], [(0, 0, 4), (0, 0, (1 << 32) + 3)]),
        ({"arg": "fd", "is": [0, 2]}, "read", [(0,), (2,), ((1 << 32) + 2,)], [(1,)]),  # the kernel takes an unsigned int
        ({"arg": "fd", "not": [0, 2]}, "read", [(1,)], [(0,), (2,)]),
        ({"arg": "dirfd", "is": "AT_FDCWD"}, "openat", [((1 << 64) - 100,), ((1 << 32) - 100,)], [(100,)]),
        ({"arg": "flags", "is": "O_WRONLY", "mask": "O_ACCMODE"}, "openat", [(0, 0, 0o2101)], [(0, 0, 0o2102)]),
        ({"arg": "flags", "is": "O_CREAT|O_EXCL", "mask": "O_CREAT|O_EXCL"}, "open", [(0, 0o301)], [(0, 0o101)]),
        ({"arg": "prot", "is": 0, "mask": "PROT_EXEC"}, "mmap", [(0, 0, 3)], [(0, 0, 7)]),
        ({"arg": "offset", "range": [-5, 5]}, "lseek", [(0, 5), (0, (1 << 64) - 5)], [(0, 6), (0, (1 << 64) - 6)]),
        ({"arg": "pid", "range": [-10, -2]}, "kill", [((1 << 32) - 2,)], [((1 << 32) - 1,), (5,)]),
        ({"arg": "whence", "range": ["SEEK_CUR", "SEEK_END"]}, "lseek", [(0, 0, 1)], [(0, 0, 0)]),
        ({"arg": "mode", "is": "0o644"}, "chmod", [(0, 0o644), (0, 0x10000 | 0o644)], [(0, 0o645)]),
        ({"arg": "request", "is": ["TCGETS", "TIOCGWINSZ"]}, "ioctl", [(0, 0x5401), (0, 0x5413)], [(0, 0x5412)]),
        ({"arg": "optname", "is": "TCP_NODELAY"}, "setsockopt", [(0, 6, 1)], [(0, 6, 2)]),
        ({"arg": "args[0]", "is": 3}, "getpid", [(3,)], [((1 << 32) + 3,)]),
        ({"arg": "addr", "is": "0x10"}, "brk", [(16,)], [((1 << 32) + 16,)]),
    ],
)  # fmt: skip
def test_numbers(where: object, call: str, allowed: list[tuple[int, ...]], refused: list[tuple[int, ...]]) -> None:
    made = _policy([call], where)
    assert [_decides(made, call, *registers) for registers in allowed] == ["allow"] * len(allowed)
    assert [_decides(made, call, *registers) for registers in refused] == ["EPERM"] * len(refused)


def test_flags_of_open_are_found_in_every_way_to_open() -> None:
    writes = {"arg": "flags", "not": "O_RDONLY", "mask": "O_ACCMODE"}
    made = _policy(["open", "openat", "openat2", "creat"], writes, action="kill", default="allow")
    assert made.action(85) == -1  # creat(2) writes, whatever it is given
    how = (0).to_bytes(8, "little") + bytes(16)
    assert _decides(made, "openat2", structure=how) == "allow"
    assert _decides(made, "openat2", structure=b"\2" + how[1:]) == "kill"
    assert _decides(made, "openat2", structure=None) == "allow"  # the kernel cannot read it either: EFAULT


def test_flags_of_clone_are_found_in_every_way_to_make_a_process() -> None:
    made = _policy(["@process"], {"arg": "flags", "is": "CLONE_NEWUSER", "mask": "CLONE_NEWUSER"}, action="kill", default="allow")
    assert (made.action(57), made.action(58), made.action(59)) == (0, 0, 0)  # fork, vfork, execve
    assert _decides(made, "clone", 0x10000011) == "kill"
    assert _decides(made, "clone3", structure=(0x10000000).to_bytes(8, "little") + bytes(80)) == "kill"


def test_a_rule_that_refuses_needs_one_path_and_one_that_allows_needs_all() -> None:
    refuses = _policy(["rename"], {"path": "/etc/**"}, action={"errno": "EACCES"}, default="allow")
    allows = _policy(["rename"], {"path": "/etc/**"})
    for paths, both in (((b"/etc/a", b"/tmp/a"), False), ((b"/tmp/a", b"/etc/a"), False), ((b"/etc/a", b"/etc/b"), True)):
        assert _decides(refuses, "rename", paths=paths) == "EACCES"
        assert _decides(allows, "rename", paths=paths) == ("allow" if both else "EPERM")
    assert _decides(refuses, "rename", paths=(b"/tmp/a", b"/tmp/b")) == "allow"


def test_what_a_symbolic_link_will_hold_is_no_path() -> None:
    made = _policy(["symlink"], {"path": "/tmp/**"})
    assert _decides(made, "symlink", paths=(b"/tmp/x",)) == "allow"


def test_a_path_that_cannot_be_resolved_matches_nothing() -> None:
    assert _decides(_policy(["open"], {"path": "**"}), "open", paths=(None, None)) == "EPERM"
    assert _decides(_policy(["open"], {"not-path": "/x"}), "open", paths=(None, None)) == "EPERM"


def test_unconditional_rules_cost_nothing() -> None:
    made = _policy(["read"], default="deny")
    assert (made.action(0), made.action(1), made.program) == (0, 1, b"")
    rules = [{"calls": ["@file-system"], "action": "allow"}, {"calls": ["openat"], "action": "kill", "where": [{"path": "/x"}]}]
    made = parse("p.json", json.dumps({"torov": 1, "default": "deny", "rules": rules}).encode())
    assert (made.action(257), made.program) == (0, b"")


def test_actions_that_a_number_cannot_say_are_steps_of_one() -> None:
    made = _policy(["read"], action="log", default="ask")
    assert (made.action(0), _decides(made, "read"), _decides(made, "write")) == (-2, "log", "ask")
    assert _decides(_policy(["read"], action={"delegate": "f"}, delegates={"f": {}}), "read") == "delegate f"
    assert made.action(60) == 0  # exit


def test_a_denial_knows_file_line_rule_and_comment() -> None:
    lines = [
        '{"torov": 1, "default": "allow", "rules": [', '{"calls": ["read"], "action": "allow"},', "",
        '{"comment": "no\\n shadow", "calls": ["open"], "where": [{"path": "/etc/shadow"}], "action": "deny"},',
        '{"calls": ["write"], "action": "kill"}]}',
    ]  # fmt: skip
    made = parse("dir/p.json", "\n".join(lines).encode())
    program = Program(made.actions, made.program)
    assert program.labels == [b"dir/p.json:2 rule 1", b"dir/p.json:4 rule 2 (no shadow)", b"dir/p.json:5 rule 3"]
    assert program.label(program.steps(1)[0].rule) == "dir/p.json:5 rule 3"  # unconditional: the number decides, this is shown


_BAD: list[tuple[list[str], object, str]] = [
    (["read"], {"arg": "cont", "is": 1},
     '.arg: expected an argument of read, got "cont", which read has not (did you mean count?)'),
    (["openat"], {"arg": "flags", "is": "O_CRAET"},
     '.is: expected a number or a constant of openat\'s argument, got "O_CRAET" (did you mean O_CREAT?)'),
    (["@file-system"], {"arg": "flgas", "is": 1},
     '.arg: expected an argument of access, got "flgas", which access has not'),
    (["read"], {"path": "/x"}, ": expected calls with a path, got read, which has none"),
    (["read"], {"address": {"port": 1}}, ": expected calls with a socket address, got read, which has none"),
    (["open"], {"path": "etc"},
     ".path: expected a path pattern, as /usr/**, got not absolute: paths are resolved first, so a pattern starts with "
     '"/" or "**"'),
    (["open"], {"path": "/etc/"},
     '.path: expected a path pattern, as /usr/**, got a "/" at its end, which a resolved path has not; '
     "write /dir, or /dir/** for what is in it too"),
    (["open"], {"path": "/a/../b"},
     '.path: expected a path pattern, as /usr/**, got "//", "." or "..", which a resolved path has not'),
    (["open"], {"path": ["/a", "/{b"]}, '.path[1]: expected a path pattern, as /usr/**, got a "{" without "}"; '
     'write "\\{" for the character'),
    (["open"], {"path": "/[b"}, '.path: expected a path pattern, as /usr/**, got a "[" without its "]" or with nothing in it; '
     'write "\\[" for the character'),
    (["open"], {"arg": "mode", "path": "/x"}, '.arg: expected a path of open, got "mode", which open has not'),
    (["open"], {"arg": "mode"}, ': expected one of "is", "not", "range", "path", "not-path", "address", "not-address", got none'),
    (["open"], {"is": 1}, ': expected "arg", the argument that "is" is about, got a condition without it'),
    (["open"], {"arg": "mode", "is": 1, "not": 2},
     ': expected one of "is", "not", "range", "path", "not-path", "address", "not-address", got is and not'),
    (["open"], {"arg": "mode", "is": []}, ".is: expected at least one value, got an empty array"),
    (["open"], {"arg": "mode", "is": 1.5},
     '.is: expected a number, as 3 or "0x1b6", or names of constants, as "O_CREAT|O_EXCL", got 1.5'),
    (["open"], {"arg": "mode", "is": "0644"},
     '.is: expected a number, as 3 or "0x1b6", or names of constants, as "O_CREAT|O_EXCL", got "0644" (did you mean 0o644?)'),
    (["open"], {"arg": "mode", "is": 1 << 16}, ".is: expected a number of 16 bits, which open looks at, got 65536"),
    (["open"], {"arg": "flags", "is": 4, "mask": 3}, ".is: expected a value within the mask, got 4 with mask 0x3"),
    (["open"], {"arg": "flags", "range": [1, 2], "mask": 3},
     '.mask: expected "mask" with "is" or "not" only, got it with "range"'),
    (["open"], {"arg": "flags", "range": [2, 1]}, ".range[0]: expected the lowest value first, got 2 above 1"),
    (["read"], {"arg": "count", "range": [-1, 1]}, ".range[0]: expected a number from 0 to 18446744073709551615, got -1"),
    (["open"], {"arg": "flags", "range": [1]},
     ".range: expected an array of the lowest and the highest value, got an array of 1"),
    (["connect"], {"address": {}}, '.address: expected one of "family", "port", "network", "path", got an empty object'),
    (["connect"], {"address": {"family": "int"}},
     '.address.family: expected a family, as "inet" or "AF_UNIX", got "int" (did you mean inet?)'),
    (["connect"], {"address": {"network": "10.1.0.0/8"}},
     '.address.network: expected a network without bits behind its prefix, got "10.1.0.0/8" (did you mean 10.0.0.0/8?)'),
    (["connect"], {"address": {"family": "unix", "port": 1}},
     '.address.port: expected the family inet or inet6 with "port", got "unix"'),
    (["connect"], {"address": {"port": [2, 1]}}, ".address.port: expected the lowest port first, got 2 above 1"),
    (["connect"], {"address": {"family": "inet", "network": "::1"}},
     '.address.network: expected a network of that family, got "::1"'),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "where", "message"), _BAD, ids=range(len(_BAD)))
def test_an_error_names_its_place(calls: list[str], where: object, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        _policy(calls, where)
    assert str(caught.value) == f"p.json: rules[0].where[0]{message}"


def test_a_group_reaches_the_calls_that_have_what_is_asked_for() -> None:
    made = _policy(["@file-system"], {"arg": "flags", "is": "O_RDONLY", "mask": "O_ACCMODE"})
    assert (made.action(2), made.action(257), made.action(4)) == (-2, -2, 1)
    assert (made.action(263), made.action(72)) == (1, 1)  # unlinkat has flags without O_RDONLY, fcntl none
