"""Files that are no policies and no image files, and some that nearly are: an error of ours with one line, and no other."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from torov import policy
from torov.errors import LoadError, PolicyError
from torov.loader.image import Image, Segment, read_image, write_image

TEXT = """\
    torov default rules calls action where arg is not mask range path not-path address family network port errno delegate
    delegates extends strict limits memory processes environment set pass arguments allow most root mounts hostname user
    debug trace jail comment defaultAction syscalls names args index value valueTwo op SCMP_ACT_ALLOW SCMP_ACT_ERRNO
    SCMP_CMP_MASKED_EQ architectures includes caps deny kill log ask builtin openat write @file-system how.flags
    O_CREAT|O_EXCL AF_INET inet unix 127.0.0.0/8 /tmp/** {a,b}[x-z]? EACCES binary mount_point newpid startaddr
"""
WORDS = st.sampled_from(TEXT.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | WORDS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=6),
    max_leaves=30,
)
NEARLY = st.fixed_dictionaries(
    {"torov": st.just(1), "default": st.sampled_from(["allow", "deny", "log", "kill", "builtin"]) | VALUES},
    optional={
        "rules": st.lists(
            st.fixed_dictionaries(
                {"calls": st.lists(WORDS, min_size=1, max_size=3) | VALUES, "action": WORDS | VALUES},
                optional={"where": st.lists(st.dictionaries(WORDS, VALUES, max_size=3), max_size=3)},
            ),
            max_size=4,
        ),
        **dict.fromkeys(
            ("limits", "environment", "arguments", "root", "mounts", "network", "user", "debug", "trace", "delegates", "strict"),
            VALUES,
        ),
    },
)
OCI = st.fixed_dictionaries(
    {"defaultAction": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG"]) | VALUES},
    optional={
        "syscalls": st.lists(st.dictionaries(WORDS, VALUES, max_size=5), max_size=4),
        "architectures": VALUES,
        "archMap": VALUES,
    },
)
TOROV = st.dictionaries(
    st.sampled_from(["Binary", "MountPoint", "Syscalls", "NewPID", "StartAddr", "Debug"]) | WORDS, VALUES, max_size=8
)


def tried(data: bytes) -> None:
    """A policy, or an error that names the file and is one line."""
    try:
        made = policy.parse("p.json", data)
    except PolicyError as error:
        assert str(error).startswith("p.json"), error
        assert "\n" not in str(error)
    else:
        assert len(made.actions) == 1024


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(NEARLY | OCI | TOROV | VALUES)
def test_any_json_is_a_policy_or_an_error(document: Any) -> None:
    tried(json.dumps(document).encode())


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(NEARLY | OCI, st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=3), st.integers(0, 3)), max_size=4))
def test_damaged_json_is_a_policy_or_an_error(document: Any, damage: list[tuple[int, bytes, int]]) -> None:
    data = json.dumps(document, indent=1).encode()
    for at, put, cut in damage:
        at %= len(data) + 1
        data = data[:at] + put + data[at + cut :]
    tried(data)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_an_error(data: bytes) -> None:
    tried(data)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8400), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1)), max_size=6),
    st.integers(0, 9000),
)
@example(fields=[(50, 8, 0)], size=8001)  # tables that overlap were struct.error
def test_a_damaged_image_file_is_one_or_an_error(fields: list[tuple[int, int, int]], size: int) -> None:
    text = Segment(vaddr=0x401234, memsz=0x800, offset=0x234, filesz=0x700, flags=5)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "image"
        program = Image(
            "prog", bytes(range(256)) * 16, pie=False, entry=0x401240, phdr=0x400040, phentsize=56, phnum=7, segments=(text,)
        )
        write_image(str(path), program, program.data, [0x401300, 0x401310], [(0x401400, 4)], bytes(32))
        raw = bytearray(path.read_bytes())
        for at, width, value in fields:
            at = at % 200 if at & 1 else at % (len(raw) - 8)  # half of them in the header and the tables' first rows
            raw[at : at + width] = struct.pack("<Q", value)[:width]
        path.write_bytes(raw if size > 8000 else raw[: size % len(raw)])
        try:
            got = read_image(str(path))
        except LoadError as error:
            assert "\n" not in str(error)
        else:
            assert len(got.body) <= len(raw)
