"""Policies as a whole: the built-in one, files, and what becomes of damaged files."""

from __future__ import annotations

import copy
import errno
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from torov.errors import PolicyError
from torov.policy import builtin, load, parse
from torov.syscalls import CALLS, DENY, LIMIT, by_name

_OURS: dict[str, object] = {
    "torov": 1,
    "comment": "reads standard input, writes standard output",
    "default": {"errno": "EACCES"},
    "rules": [
        {"calls": ["@default", "@memory"], "action": "allow"},
        {"calls": ["read", "write", "newfstatat"], "action": "allow", "comment": "files"},
        {"calls": ["socket"], "action": {"errno": "EAFNOSUPPORT"}},
        {"calls": ["@mount", "ptrace"], "action": "kill"},
        {
            "calls": ["open", "openat"],
            "action": "log",
            "where": [{"path": "/etc/**"}, {"arg": "flags", "is": "O_RDONLY", "mask": "O_ACCMODE"}],
        },
        {"calls": ["connect"], "action": "ask", "where": [{"address": {"network": "10.0.0.0/8", "port": [1, 9]}}]},
    ],
    "limits": {"memory": "1M", "cpu": "1s"},
    "mounts": [{"bind": "/usr", "mode": "ro"}],
}
_TOROV: dict[str, object] = {
    "Binary": "Echo.bin",
    "MountPoint": "./mountpoint",
    "Newpid": "False",
    "Startaddr": "400200",
    "Debug": {"Allowed": "False", "Port": "1234"},
    "Hypercalls": [{"Name": "Ioctl", "Allowed": "True"}, {"Name": "Sendto", "Allowed": True}],
}
_OCI: dict[str, object] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "syscalls": [
        {
            "names": ["read", "write", "exit_group"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"caps": ["CAP_KILL"], "minKernel": "4.8"},
        },
        {"name": "personality", "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
    ],
}


def test_the_table_has_one_number_for_each_call() -> None:
    actions = builtin().actions
    assert len(actions) == 2 * LIMIT
    assert actions[2 * 165 : 2 * 165 + 2] == b"\x01\x00"  # mount(2), EPERM
    assert actions[2 * 1 : 2 * 1 + 2] == b"\x00\x00"  # write(2)
    killed = parse("p.json", b'{"torov": 1, "default": "kill"}')
    assert killed.actions[2 * 1 : 2 * 1 + 2] == b"\xff\xff"


def test_the_built_in_policy_is_the_default_column_of_the_table() -> None:
    policy = builtin()
    assert (policy.source, policy.name_of_default) == ("built-in", "builtin")
    for call in CALLS:
        expected = 0 if call.default == "allow" else getattr(errno, call.default)
        assert policy.action(call.nr) == expected, call


@pytest.mark.parametrize("name", ["openat", "socket", "connect", "unlinkat", "setuid", "mmap", "ioctl"])
def test_the_built_in_policy_lets_a_program_use_files_and_the_network(name: str) -> None:
    call = by_name(name)
    assert call is not None
    assert builtin().action(call.nr) == 0


@pytest.mark.parametrize("name", ["mount", "ptrace", "bpf", "settimeofday", "chroot", "reboot", "acct"])
def test_the_built_in_policy_refuses_what_changes_the_host(name: str) -> None:
    call = by_name(name)
    assert call is not None
    assert builtin().action(call.nr) == errno.EPERM


def test_the_default_builtin_is_the_built_in_policy() -> None:
    assert parse("p.json", b'{"torov": 1, "default": "builtin"}').actions == builtin().actions


@pytest.mark.parametrize(
    ("default", "name"),
    [("allow", "allow"), ("kill", "kill"), ({"errno": "EIO"}, "EIO"), ("builtin", "builtin")],
)
def test_the_default_is_named_as_the_file_names_it(default: object, name: str) -> None:
    assert parse("p.json", json.dumps({"torov": 1, "default": default}).encode()).name_of_default == name


def test_a_file_is_loaded_and_named(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps(_OURS))
    policy = load(str(file))
    assert (policy.source, policy.name_of_default, policy.binary) == (str(file), "EACCES", None)
    assert (policy.action(0), policy.action(41), policy.action(165)) == (0, errno.EAFNOSUPPORT, -1)
    assert (policy.action(257), policy.action(82)) == (-2, errno.EACCES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "top level: expected an object, got an array"),
        (
            "{}",
            'top level: expected "torov": 1, "Hypercalls" as ToroV has it, or "defaultAction" as a seccomp profile has it, '
            "got neither",
        ),
    ],
)
def test_another_document_is_told_apart(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse("p.json", text.encode())
    assert str(caught.value) == f"p.json: {message}"


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for name in value:
            yield from _places(value[name], (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*path, index))


def _put(document: object, path: tuple[str | int, ...], value: object) -> object:
    """The document with another value at one place."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    inside = changed
    for step in path[:-1]:
        inside = inside[step]  # type: ignore[index]
    inside[path[-1]] = value  # type: ignore[index]
    return changed


def _renamed(document: dict[str, object], rng: random.Random) -> dict[str, object]:
    """The document with one of its names swapped for another word."""
    old = rng.choice(list(document))
    new = rng.choice([old.upper(), old[:-1], old + "s", "calls", "", "Hypercalls", "torov"])
    return {new if name == old else name: value for name, value in document.items()}


_WRONG: list[object] = [None, True, 0, -1, 1e400, 10**30, [], {}, [[]], {"errno": 1}, [None]]
_VALUES = [*_WRONG, "", "allow", "\ud800", "x" * 5000]


def _mutant(seed: int) -> bytes:
    """A damaged policy: seeds give bit flips, truncations, splices, swapped names and swapped types."""
    rng = random.Random(seed)
    document = copy.deepcopy(rng.choice([_OURS, _TOROV, _OCI]))
    data = bytearray(json.dumps(document, indent=1).encode())
    how = seed % 5
    if how == 0:
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 1:
        del data[rng.randrange(len(data)) :]
    elif how == 2:
        start, end, to = (rng.randrange(len(data)) for _ in range(3))
        data[to:to] = data[min(start, end) : max(start, end)]
    elif how == 3:
        data = bytearray(json.dumps(_renamed(document, rng)).encode())
    else:
        place = rng.choice(list(_places(document)))
        data = bytearray(json.dumps(_put(document, place, rng.choice(_VALUES))).encode())
    return bytes(data)


def test_a_damaged_policy_loads_or_gives_one_line() -> None:
    loaded = refused = 0
    for seed in range(500):
        data = _mutant(seed)
        try:
            policy = parse("p.json", data)
        except PolicyError as error:
            refused += 1
            assert str(error).startswith("p.json: "), seed
            assert str(error).isprintable(), seed
            assert ": expected " in str(error), seed
            assert ", got " in str(error), seed
            assert len(str(error)) < 250, seed
        else:
            loaded += 1
            assert json.loads(data)  # only JSON is a policy
            unserved = {call.nr for call in CALLS if call.serve == DENY}
            assert all(policy.action(number) != 0 for number in unserved), seed
            assert [policy.action(number) for number in (60, 231, 15)] == [0, 0, 0], seed
    assert loaded >= 20
    assert refused >= 350
