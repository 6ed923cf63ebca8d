"""From a policy's words to the plan of a jail."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from torov import jail
from torov.errors import UsageError
from torov.jail import BIND, DEV, PROC, SPACES, TMPFS


def made(**words: object) -> jail.Plan:
    plan = jail.plan({"root": None, "mounts": [], "network": "host", "namespaces": [], **words}, {})
    assert plan is not None
    return plan


def keys(plan: jail.Plan) -> list[tuple[int, str, str, bool, int]]:
    return [mount.key() for mount in plan.mounts]


def test_numbers_are_those_of_the_header() -> None:
    """linux/sched.h, read as text."""
    text = Path("/usr/include/linux/sched.h").read_text()
    numbers = {name: int(value, 16) for name, value in re.findall(r"#define CLONE_NEW(\w+)\s+(0x[0-9a-f]+)", text)}
    ours = {"mount": "NS", "uts": "UTS", "ipc": "IPC", "user": "USER", "pid": "PID", "net": "NET"}
    assert {name: numbers[ours[name]] for name in SPACES} == SPACES


def test_nothing_asked_for_is_no_plan() -> None:
    assert jail.plan(None, None) is None
    assert jail.plan(None, {}) is None


def test_limits_alone() -> None:
    """Some need a process beside the guest's, some do not; none needs a namespace."""
    for limits, supervised in (
        ({"memory": 1}, False),
        ({"threads": 1, "descriptors": 9}, False),
        ({"wall": 5}, True),
        ({"output": 1}, True),
    ):
        plan = jail.plan(None, limits)
        assert plan and plan.supervised == supervised and plan.spaces == () and plan.namespaces == 0


def test_the_flag_alone() -> None:
    plan = jail.plan(None, None, wanted=True)
    assert plan and plan.spaces == tuple(SPACES) and plan.host_readonly and not plan.loopback
    assert {mount.to for mount in plan.mounts} >= {"/dev", "/proc", "/tmp"}
    assert plan.uid == (jail.NOBODY if os.geteuid() == 0 else -1)


def test_the_flag_adds_to_a_policys_jail(tmp_path: Path) -> None:
    """What the policy says holds; what it does not say is as with the flag alone, and never less."""
    words: dict[str, object] = {"namespaces": ["uts"], "network": "host", "hostname": "box", "mounts": [{"tmpfs": "/srv"}]}
    alone, added = jail.plan(None, None, wanted=True), jail.plan(words, {}, wanted=True)
    assert alone and added and added.spaces == alone.spaces and added.host_readonly
    assert added.hostname == "box" and keys(added) == [*keys(alone), (TMPFS, "/srv", "", True, 0)]
    named = jail.plan({"root": str(tmp_path), "uid": 7, "gid": 8, "network": "loopback"}, {}, wanted=True)
    assert named and (named.root, named.uid, named.gid, named.loopback) == (str(tmp_path), 7, 8, True) and not named.host_readonly


def test_the_network_decides_about_its_namespace() -> None:
    assert "net" not in made(network="host").spaces
    assert "net" in made(network="none").spaces and not made(network="none").loopback
    plan = made(network="loopback", namespaces=["uts"])
    assert "net" in plan.spaces and plan.loopback
    assert "net" in made(network="host", namespaces=["net", "uts"]).spaces
    assert "net" not in made(network="host", namespaces=["uts"]).spaces


def test_what_brings_what_along(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "proc").mkdir()
    plan = made(root=str(tmp_path), namespaces=["uts"])
    assert {"mount", "pid", "uts"} <= set(plan.spaces) and plan.root_writable
    assert keys(plan) == [(PROC, "/proc", "", False, 0), (DEV, "/dev", "", False, 0)]
    assert "mount" in made(mounts=[{"tmpfs": "/tmp"}], namespaces=["uts"]).spaces
    assert "uts" in made(hostname="x", namespaces=["pid"]).spaces


def test_mounts() -> None:
    plan = made(
        mounts=[{"bind": "/usr", "to": "/usr/", "mode": "ro"}, {"bind": "/srv", "mode": "rw"}, {"tmpfs": "/a//b", "size": 5}]
    )
    assert keys(plan)[-3:] == [(BIND, "/usr", "/usr", False, 0), (BIND, "/srv", "/srv", True, 0), (TMPFS, "/a/b", "", True, 5)]


def test_a_mount_on_the_root_is_the_root() -> None:
    plan = made(mounts=[{"bind": "/srv", "to": "/", "mode": "ro"}, {"tmpfs": "/tmp"}])
    assert (plan.root, plan.fresh_root, plan.root_writable) == ("/srv", False, False)
    plan = made(mounts=[{"tmpfs": "/"}, {"bind": "/usr"}])
    assert (plan.root, plan.fresh_root) == (None, True)
    assert [mount.to for mount in plan.mounts] == ["/proc", "/dev", "/usr"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"mounts": [{"tmpfs": "tmp"}]}, "absolute path"),
        ({"mounts": [{"tmpfs": "/tmp"}, {"tmpfs": "/"}]}, "is the root"),
        ({"root": "/srv", "mounts": [{"tmpfs": "/"}]}, "is the root"),
        ({"mounts": [{"proc": "/"}]}, "is the root"),
        ({"mounts": [{"proc": "/proc"}], "namespaces": ["mount"]}, "needs the pid namespace"),
    ],
)
def test_contradictions(words: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(**words)


def test_what_a_user_reads_of_a_limit() -> None:
    plan = jail.Plan()
    plan.limits = {"wall": 2000, "cpu": 1500, "output": 10}
    lines = [jail.limit_line(plan, note) for note in (jail.WALL, jail.CPU, jail.OUTPUT)]
    assert lines == ["wall time limit of 2s", "CPU time limit of 1.5s", "output limit of 10 bytes"]
