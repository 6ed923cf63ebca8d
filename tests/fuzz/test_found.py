"""What the fuzzers in C have found, and their seeds, once more: nothing may be found in them any more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fuzz.build import HERE, build
from fuzz.run import OPTIONS, inputs, libfuzzer, sandbox


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    return build()


@pytest.mark.xdist_group("fuzzers")  # built once
@pytest.mark.parametrize("name", OPTIONS)
def test_nothing_is_found_any_more(programs: dict[str, Path], name: str) -> None:
    assert name in programs
    files = inputs(name, kept=False)
    assert files
    status, text, place = libfuzzer(name, [f"/tmp/out/corpus/{path.name}" for path in files], files)
    shutil.rmtree(place)
    assert status == 0, text[-6000:]
    assert text.count("Executed /tmp/out/corpus/") == len(files)


@pytest.mark.xdist_group("fuzzers")
def test_the_guest_is_held_in_a_sandbox(programs: dict[str, Path]) -> None:
    """What the fuzzer of calls cannot do, whatever an input asks for: openat(2) of a file of the host to write, a host name."""
    place = HERE / "found"
    words = "cat /proc/self/status; touch /etc/x 2>&1; hostname x 2>&1; ls /dev; rm /dev/null 2>&1"
    command = [part if part != str(place / "out") else "/tmp" for part in sandbox(place)]
    done = subprocess.run([*command, "sh", "-c", words], capture_output=True, text=True, check=False)
    assert "CapEff:\t0000000000000000" in done.stdout, done.stderr
    assert "NoNewPrivs:\t1" in done.stdout
    assert done.stdout.count("Read-only file system") >= 2
    assert "kvm" not in done.stdout.split()
    assert "hostname: " in done.stdout
