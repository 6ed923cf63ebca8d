"""What a policy says besides its rules, and what it takes from those that it extends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from torov.errors import PolicyError
from torov.policy import Policy, load, parse


def _policy(**more: Any) -> Policy:
    return parse("/srv/p.json", json.dumps({"torov": 1, "default": "deny", **more}).encode())


def test_limits_are_bytes_milliseconds_and_numbers() -> None:
    given = {"memory": "512M", "cpu": "10s", "wall": "500ms", "processes": 16, "threads": 64, "descriptors": 256,
             "file-size": 4096, "output": "1G", "comment": "x"}  # fmt: skip
    assert _policy(limits=given).limits == {
        "memory": 512 << 20, "cpu": 10_000, "wall": 500, "processes": 16, "threads": 64, "descriptors": 256, "file-size": 4096,
        "output": 1 << 30,
    }  # fmt: skip
    assert _policy(limits={"wall": "2m", "cpu": "1h"}).limits == {"wall": 120_000, "cpu": 3_600_000}
    assert _policy().limits == {}


def test_the_jail_is_one_object_with_absolute_paths() -> None:
    assert _policy().jail is None
    made = _policy(root="root", mounts=[{"bind": "/usr"}, {"bind": "data", "to": "/data", "mode": "rw"},
                   {"tmpfs": "/tmp", "size": "64M"}, {"proc": "/proc"}], network="none", namespaces=["user", "pid"],
                   hostname="box", user={"uid": 1000, "gid": 100})  # fmt: skip
    assert made.jail == {
        "root": "/srv/root",
        "mounts": [
            {"bind": "/usr", "to": "/usr", "mode": "ro"}, {"bind": "/srv/data", "to": "/data", "mode": "rw"},
            {"tmpfs": "/tmp", "size": 64 << 20}, {"proc": "/proc"},
        ],
        "network": "none", "namespaces": ["user", "pid"], "hostname": "box", "uid": 1000, "gid": 100,
    }  # fmt: skip
    jail = _policy(user="nobody").jail
    assert jail is not None and (jail["uid"], jail["gid"]) == (65534, 65534)  # passwd(5) of Debian


def test_the_rest_is_there_as_written() -> None:
    made = _policy(strict=True, environment={"pass": ["LANG", "LC_*"], "set": {"HOME": "/", "comment": "kept"}},
                   arguments={"allow": ["-*"], "most": 3}, delegates={"files": {"socket": "f.sock"}, "net": {}},
                   debug={"allowed": True, "port": 1234}, trace={"calls": ["@aio", "read"], "format": "json"})  # fmt: skip
    assert made.strict is True
    assert made.environment == {"pass": ["LANG", "LC_*"], "set": {"HOME": "/", "comment": "kept"}}
    assert made.arguments == {"allow": ["-*"], "most": 3}
    assert made.delegates == {"files": {"socket": "/srv/f.sock"}, "net": {}}
    assert made.debug == {"allowed": True, "port": 1234}
    assert made.trace is not None and made.trace["format"] == "json"
    assert set(made.trace["calls"]) >= {"read", "io_setup"}  # type: ignore[call-overload]


def _write(where: Path, **files: dict[str, Any]) -> str:
    for name, document in files.items():
        (where / f"{name}.json").write_text(json.dumps({"torov": 1, "default": "deny", **document}))
    return str(where / "p.json")


def test_own_rules_come_first_and_the_default_is_the_files_own(tmp_path: Path) -> None:
    file = _write(tmp_path, p={"extends": ["a.json", "b.json"], "rules": [{"calls": ["read"], "action": "kill"}]},
                  a={"default": "allow", "rules": [{"calls": ["read", "write"], "action": {"errno": "EIO"}}]},
                  b={"rules": [{"calls": ["write", "open"], "action": "allow"}]})  # fmt: skip
    made = load(file)
    assert [made.action(nr) for nr in (0, 1, 2, 3)] == [-1, 5, 0, 1]


def test_what_a_file_does_not_say_comes_from_those_it_extends(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = _write(tmp_path, p={"extends": ["sub/a.json"], "limits": {"wall": "1s"}, "hostname": "mine"})
    rules = [{"calls": ["read"], "action": {"delegate": "files"}}]
    _write(tmp_path / "sub", a={"limits": {"wall": "9s", "cpu": "9s"}, "hostname": "theirs", "root": "r", "strict": True,
                                "delegates": {"files": {}}, "rules": rules})  # fmt: skip
    made = load(file)
    assert made.limits == {"wall": 1000, "cpu": 9000}
    assert made.jail is not None
    assert (made.jail["hostname"], made.jail["root"], made.strict) == ("mine", str(tmp_path / "sub" / "r"), True)
    assert made.action(0) == -2


def test_a_diamond_is_read_once_and_a_circle_is_an_error(tmp_path: Path) -> None:
    file = _write(tmp_path, p={"extends": ["a.json", "b.json"]}, a={"extends": "c.json"}, b={"extends": "c.json"},
                  c={"rules": [{"calls": ["read"], "action": "allow"}]})  # fmt: skip
    assert load(file).action(0) == 0
    _write(tmp_path, c={"extends": ["p.json"]})
    with pytest.raises(PolicyError) as caught:
        load(file)
    assert str(caught.value).endswith("c.json: extends[0]: expected a policy that does not extend this one, got p.json")
    os.unlink(tmp_path / "c.json")
    with pytest.raises(PolicyError, match=r"c\.json: file: expected a policy that can be read, got no such file"):
        load(file)


def test_other_forms_can_be_extended(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"Hypercalls": [{"Name": "Read", "Allowed": true}], "MountPoint": "m"}')
    made = load(_write(tmp_path, p={"extends": "t.json"}))
    assert (made.action(0), made.action(1), made.action(12)) == (0, 1, 0)
    assert made.jail is not None and made.jail["root"] == str(tmp_path / "m")


_BAD: list[tuple[dict[str, Any], str]] = [
    ({"limits": {"memroy": 1}}, 'limits: expected one of memory, file-size, output, cpu, wall, processes, threads, descriptors, '
     'comment, got "memroy" (did you mean memory?)'),
    ({"limits": {"memory": "12X"}}, 'limits.memory: expected a number of bytes, or as "512M", got "12X"'),
    ({"limits": {"memory": 0}}, 'limits.memory: expected a number of bytes, or as "512M", got 0'),
    ({"limits": {"wall": "10"}}, 'limits.wall: expected a time, as "500ms", "10s", "2m" or "1h", got "10" (did you mean 10s?)'),
    ({"limits": {"threads": True}}, "limits.threads: expected a number of at least 1, got true"),
    ({"mounts": [{"bind": "/a", "tmpfs": "/b"}]}, 'mounts[0]: expected one of "bind", "tmpfs", "proc", got bind and tmpfs'),
    ({"mounts": [{"tmpfs": "/a", "mode": "ro"}]}, 'mounts[0].mode: expected "mode" with "bind" only, got it with "tmpfs"'),
    ({"mounts": [{"bind": "/a", "to": "b"}]}, 'mounts[0].to: expected an absolute path without "..", got "b"'),
    ({"network": "loop"}, 'network: expected one of none, loopback, host, got "loop" (did you mean loopback?)'),
    ({"namespaces": ["mnt"]}, 'namespaces[0]: expected one of user, mount, pid, net, ipc, uts, got "mnt" (did you mean mount?)'),
    ({"user": "no-such-user"}, 'user: expected a user of this machine, or {"uid": 1000, "gid": 1000}, got "no-such-user"'),
    ({"capabilities": ["CAP_SYS_AMDIN"]}, 'capabilities[0]: expected a capability, as CAP_NET_RAW, got "CAP_SYS_AMDIN" '
     "(did you mean CAP_SYS_ADMIN?)"),
    ({"environment": {"set": {"A=B": "c"}}}, 'environment.set.A=B: expected the name of a variable, without "=", got "A=B"'),
    ({"strict": 1}, "strict: expected true or false, got 1"),
    ({"delegates": {"f": {}}, "rules": [{"calls": ["read"], "action": {"delegate": "g"}}]},
     'rules[0].action.delegate: expected a name in "delegates", got "g"'),
    ({"extends": [1]}, "extends[0]: expected the path of a policy, or an array of them, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), _BAD, ids=range(len(_BAD)))
def test_an_error_names_its_place(more: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        _policy(**more)
    assert str(caught.value) == f"/srv/p.json: {message}"
