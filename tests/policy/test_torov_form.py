"""ToroV's configuration file: what its three samples allow, and what is refused."""

from __future__ import annotations

import errno
import json

import pytest

from torov.errors import PolicyError
from torov.policy import Policy, parse
from torov.syscalls import CALLS

# The files of ToroV's samples, as that project has them.
_HELLO = ["Ioctl", "Write", "Getrlimit"]
_ECHO = ["Ioctl", "Write", "Socket", "Listen", "Accept", "Sendto", "Recvfrom", "Close", "Bind", "Getrlimit"]
_WRITE_FILE = ["Ioctl", "Open", "Close", "Write", "Getrlimit"]
# What docs/policy.md promises besides, and what no policy takes away.
_START = """
    arch_prctl brk madvise mmap mprotect mremap munmap rt_sigaction rt_sigprocmask set_robust_list
    set_tid_address sigaltstack exit exit_group rt_sigreturn
"""


def _file(names: list[str], **more: object) -> bytes:
    calls = [{"Name": name, "Allowed": "True"} for name in names]
    document = {
        "Binary": "HelloWorld.bin",
        "MountPoint": "./mountpoint",
        "Newpid": "False",
        "Startaddr": "400200",
        "Debug": {"Allowed": "False", "Port": "1234"},
        "Hypercalls": calls,
    }
    return json.dumps(document | more).encode()


def _allowed(policy: Policy) -> set[str]:
    return {call.name for call in CALLS if policy.action(call.nr) == 0}


@pytest.mark.parametrize("names", [_HELLO, _ECHO, _WRITE_FILE], ids=["hello", "echo", "writefile"])
def test_a_sample_allows_its_list_and_what_stays_inside(names: list[str]) -> None:
    policy = parse("p.json", _file(names))
    assert _allowed(policy) == {name.lower() for name in names} | set(_START.split())
    refused = {policy.action(call.nr) for call in CALLS if call.serve != "deny"} - {0}
    assert refused == {errno.EPERM}  # ToroV answers -1
    assert policy.name_of_default == "deny"


def test_settings_are_read() -> None:
    policy = parse("p.json", _file(_HELLO))
    assert (policy.binary, policy.mount_point, policy.newpid) == ("HelloWorld.bin", "./mountpoint", False)
    assert (policy.startaddr, policy.debug_allowed, policy.debug_port) == (0x400200, False, 1234)


def test_only_the_list_of_calls_is_required() -> None:
    policy = parse("p.json", b'{"Hypercalls": []}')
    assert _allowed(policy) == set(_START.split())
    assert (policy.binary, policy.mount_point, policy.newpid) == (None, None, None)
    assert (policy.startaddr, policy.debug_allowed, policy.debug_port) == (None, None, None)


def test_names_in_any_case_and_truth_as_string_or_boolean() -> None:
    data = b"""{"HYPERCALLS": [{"name": "WRITE", "ALLOWED": true}, {"Name": "read", "allowed": "TRUE"},
        {"Name": "Open", "Allowed": false}, {"Name": "Brk", "Allowed": "false"}],
        "newpid": true, "startAddr": "0xFF", "debug": {"allowed": "true", "port": 65535}}"""
    policy = parse("p.json", data)
    assert _allowed(policy) == (set(_START.split()) | {"write", "read"}) - {"brk"}
    assert (policy.newpid, policy.startaddr) == (True, 255)
    assert (policy.debug_allowed, policy.debug_port) == (True, 65535)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"Hypercalls": [{"Name": "Wirte", "Allowed": "True"}]},
            'Hypercalls[0].Name: expected an x86-64 system call, got "Wirte" (did you mean write?)',
        ),
        (
            {"Hypercalls": [{"Name": "Write", "Allowed": "True"}, {"Name": "wRITE", "Allowed": "False"}]},
            "Hypercalls[1].Name: expected each call once, got write twice",
        ),
        (
            {"Hypercalls": [{"Name": "Write", "Allowed": 1}]},
            'Hypercalls[0].Allowed: expected "True", "False", true or false, got 1',
        ),
        (
            {"Hypercalls": [{"Name": "Write"}]},
            'Hypercalls[0]: expected "Allowed", got an object without it',
        ),
        (
            {"Hypercalls": [{"Name": "Exit", "Allowed": "False"}]},
            "Hypercalls[0].Name: expected a call that can be taken away, got exit, which a program needs to end or to go on",
        ),
        ({"Newpid": "yes"}, 'Newpid: expected "True", "False", true or false, got "yes"'),
        ({"Binary": ""}, 'Binary: expected a path, got ""'),
        ({"MountPoint": 1}, "MountPoint: expected a path, got 1"),
        ({"Startaddr": 400200}, 'Startaddr: expected a hexadecimal address, as "400200", got 400200'),
        ({"Startaddr": "4002g0"}, 'Startaddr: expected a hexadecimal address, as "400200", got "4002g0"'),
        (
            {"Startaddr": "11112222333344445"},
            'Startaddr: expected a hexadecimal address, as "400200", got "11112222333344445"',
        ),
        ({"Debug": {"Allowed": "no"}}, 'Debug.Allowed: expected "True", "False", true or false, got "no"'),
        ({"Debug": {"Allowed": True, "Port": "0"}}, 'Debug.Port: expected a TCP port, 1 to 65535, got "0"'),
        (
            {"Debug": {"Allowed": True, "Port": 65536}},
            "Debug.Port: expected a TCP port, 1 to 65535, got 65536",
        ),
        ({"Debug": {"Allowed": True, "Port": True}}, "Debug.Port: expected a TCP port, 1 to 65535, got true"),
        (
            {"Hypercall": []},
            "top level: expected one of Hypercalls, Binary, MountPoint, Newpid, Startaddr, Debug, comment, "
            'got "Hypercall" (did you mean Hypercalls?)',
        ),
    ],
)
def test_an_error_names_place_and_what_was_expected(more: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse("p.json", _file(_HELLO, **more))
    assert str(caught.value) == f"p.json: {message}"
