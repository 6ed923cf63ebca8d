"""The filters on the monitor: every decision against the tables, and these against kernel headers and the core's sources."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Compiler

from torov import policy, seccomp
from torov.syscalls import CALLS, CORE, DENY, HOST, by_name

ROOT = Path(__file__).resolve().parent.parent
CORE_FILES = ROOT / "torov" / "vmm" / "core"
X86_64, I386, X32 = 0xC000003E, 0x40000003, 0x40000000
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000


def decide(program: bytes, nr: int, args: tuple[int, ...] = (), arch: int = X86_64) -> int:
    """What the kernel would make of a filter: classic BPF over struct seccomp_data (bpf(4), linux/bpf_common.h)."""
    values = [*args, *[0] * (6 - len(args))]
    data = struct.pack("<IIQ6Q", nr, arch, 0, *(value & 2**64 - 1 for value in values))
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at = acc = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:  # ld [k]
            (acc,) = struct.unpack_from("<I", data, k)
        elif op == 0x54:  # and #k
            acc &= k
        elif op == 0x06:  # ret #k
            return int(k)
        elif op == 0x05:  # ja
            at += k
        else:
            taken = {0x15: acc == k, 0x25: acc > k, 0x35: acc >= k, 0x45: bool(acc & k)}[op]
            at += yes if taken else no


def parsed(rules: list[dict[str, object]], default: object) -> policy.Policy:
    import json

    return policy.parse("p.json", json.dumps({"torov": 1, "default": default, "rules": rules}).encode())


def holds(tests: tuple[seccomp.Test, ...], args: tuple[int, ...]) -> bool:
    for arg, kind, first, second in tests:
        value = args[arg]
        good = {"=": value == first, "!": value != first, "&": value & first == second}[kind]
        if not good:
            return False
    return True


def expected(made: policy.Policy, nr: int, args: tuple[int, ...]) -> bool:
    return any(number == nr and holds(tests, args) for number, tests in seccomp.rules(made.actions, made.program, "run"))


FILTERED = [
    "read",
    "write",
    "socket",
    "openat",
    "ioctl",
    "clone",
    "execve",
    "ptrace",
    "mmap",
    "prctl",
    "kill",
    "mount",
    "getrandom",
]
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "calls": st.lists(
                st.sampled_from(["read", "write", "openat", "execve", "clone", "getrandom", "@network-io"]), min_size=1
            ),
            "action": st.sampled_from(["allow", "deny", "kill", "log"]),
        }
    ),
    max_size=4,
)
FAMILY = {"calls": ["socket"], "where": [{"arg": "domain", "is": ["AF_UNIX", "AF_INET"]}], "action": "allow"}
VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 4, 10, 38, 0x5401, 0x5412, 0xAE80, 0xAE01, 0x10000000, 2**32 + 2]), st.integers(0, 2**64 - 1)
)


@settings(max_examples=60, deadline=None)
@given(RULES, st.booleans(), st.lists(st.tuples(st.sampled_from(FILTERED), st.tuples(*[VALUES] * 6)), min_size=20, max_size=40))
def test_a_filter_decides_as_its_table(
    rules: list[dict[str, object]], family: bool, calls: list[tuple[str, tuple[int, ...]]]
) -> None:
    made = parsed([*rules, *([FAMILY] if family else [])], "kill")
    run = seccomp.filters(made.actions, made.program)["run"]
    for name, args in calls:
        call = by_name(name)
        assert call
        assert (decide(run, call.nr, args) == ALLOW) == expected(made, call.nr, args), (name, args)


def test_what_is_not_allowed_kills() -> None:
    """Under a policy that allows nothing: what is left is the monitor's own, each with its reason."""
    made = parsed([], "kill")
    run = seccomp.filters(made.actions, made.program)["run"]
    bare = {call.name for call in CALLS if decide(run, call.nr) == ALLOW}
    own = {name for need in seccomp.NEEDS if "run" in need.when.split() for name in need.names}
    assert bare <= own
    dangerous = "execve execveat openat openat2 open socket connect ptrace process_vm_writev mount clone fork vfork kill bpf"
    for name in [
        *dangerous.split(),
        "read",
        "sendmsg",
        "memfd_create",
        "seccomp",
        "landlock_restrict_self",
        "io_uring_setup",
        "pidfd_getfd",
    ]:
        call = by_name(name)
        assert call and decide(run, call.nr) == KILL, name
    assert decide(run, 9, (0, 4096, 3)) == ALLOW and decide(run, 9, (0, 4096, 7)) == KILL  # PROT_EXEC
    assert decide(run, 10, (0, 4096, 5)) == KILL
    assert decide(run, 1, (2, 0, 1)) == ALLOW and decide(run, 1, (1, 0, 1)) == KILL
    assert decide(run, 16, (5, seccomp.KVM["KVM_RUN"])) == ALLOW
    for request in (seccomp.KVM["KVM_CREATE_VM"], seccomp.KVM["KVM_CREATE_VCPU"], 0x5412):  # TIOCSTI
        assert decide(run, 16, (5, request)) == KILL
    assert all(need.why for need in seccomp.NEEDS)


def test_other_architectures_are_refused() -> None:
    made = parsed([], "allow")
    for filter in seccomp.filters(made.actions, made.program).values():
        assert decide(filter, 39) == ALLOW
        assert decide(filter, X32 | 39) == KILL
        assert decide(filter, 20, arch=I386) == KILL


def test_what_no_policy_allows_is_never_there() -> None:
    """DENY rows of the table, under a policy that allows all; namespaces by clone(2); a new filter, a trace."""
    made = parsed([], "allow")
    run = seccomp.filters(made.actions, made.program)["run"]
    needed = {name for need in seccomp.NEEDS for name in need.names}
    for call in CALLS:
        if call.serve == DENY and call.name not in needed:
            assert decide(run, call.nr) == KILL, call.name
    assert decide(run, 56, (0x3D0F00,)) == ALLOW
    for space in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(run, 56, (space | 17,)) == KILL
        assert decide(run, 272, (space,)) == KILL
    assert decide(run, 435) == ERRNO | 38
    assert decide(run, 257, (0, 0, 0x80000)) == ALLOW
    assert {decide(run, nr) for nr in (317, 444, 445, 446, 101, 308, 155, 165)} == {KILL}


def test_conditions_on_registers_reach_the_filter() -> None:
    """A policy that limits the families of sockets and the requests of ioctl limits the monitor to them."""
    made = parsed([FAMILY, {"calls": ["read", "write"], "action": "allow"}], "deny")
    run = seccomp.filters(made.actions, made.program)["run"]
    assert [decide(run, 41, (family, 1, 0)) == ALLOW for family in (1, 2, 10, 16, 17)] == [True, True, False, False, False]


def test_the_first_filter_is_milder() -> None:
    """Until the guest runs nothing kills, and no file is opened for writing."""
    made = parsed([], "kill")
    start, run = (seccomp.filters(made.actions, made.program)[phase] for phase in ("start", "run"))
    for call in CALLS:
        first, second = decide(start, call.nr), decide(run, call.nr)
        assert first in (ALLOW, ERRNO | 1, ERRNO | 38)
        assert second != ALLOW or first == ALLOW, call.name
    assert decide(start, 257, (0, 0, 0o2000000)) == ALLOW
    assert decide(start, 257, (0, 0, 0o1)) == decide(start, 257, (0, 0, 0o102)) == ERRNO | 1


def test_requests_are_those_of_the_core() -> None:
    """The tables of core_fd.c and core_proc.c, read as text."""
    text = (CORE_FILES / "core_fd.c").read_text()
    table = text[text.index("ioctls[] = {") : text.index("};", text.index("ioctls[] = {"))]
    served = {int(number, 0) for number in re.findall(r"\{(0x[0-9a-f]+|\d+), [NP]\}", table)}
    assert set(seccomp.IOCTLS) == served | {0x8912, 0x40049409}  # SIOCGIFCONF and FICLONE have code of their own


def test_numbers_are_those_of_the_headers(cc: Compiler) -> None:
    """linux/kvm.h, asm/ioctls.h, linux/prctl.h, by the C compiler."""
    import subprocess

    prctl = (CORE_FILES / "core_proc.c").read_text()
    table = prctl[prctl.index("prctls[] = {") : prctl.index("};", prctl.index("prctls[] = {"))]
    options = re.findall(r"\{(PR_\w+), P_(?:NUM|IN|OUT)", table)
    lines = [f'printf("%lu\\n", (unsigned long)({name} & 0xffffffff));' for name in [*seccomp.KVM, *options]]
    source = "#include <stdio.h>\n#include <linux/kvm.h>\n#include <sys/ioctl.h>\n#include <sys/prctl.h>\nint main(void) {\n"
    done = subprocess.run([cc(source + "\n".join(lines) + "return 0; }\n")], capture_output=True, text=True, check=True)
    numbers = [int(line) for line in done.stdout.split()]
    assert numbers[: len(seccomp.KVM)] == list(seccomp.KVM.values())
    assert sorted(numbers[len(seccomp.KVM) :]) == sorted(seccomp.PRCTLS)


def test_every_call_of_the_tables_exists() -> None:
    names = {call.name for call in CALLS}
    assert {name for need in seccomp.NEEDS for name in need.names} <= names
    assert set(seccomp.SERVED) <= {call.name for call in CALLS if call.serve in (CORE, HOST)}
    assert {name for served in seccomp.SERVED.values() for name in served.split()} <= names


def test_filters_are_kept_with_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOROV_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "p.json"
    path.write_text('{"torov": 1, "default": "deny", "rules": []}')
    first = seccomp.load(policy.load(str(path)))
    monkeypatch.setattr(seccomp, "filters", lambda *_: pytest.fail("made again"))
    assert seccomp.load(policy.load(str(path))) == first
