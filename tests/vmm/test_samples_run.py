"""The samples under torov, each under its own policy: what they do natively, on all three channels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_samples import FLAVOURS, MESSAGES, SAMPLES, echo, samples, served

__all__ = ["samples"]  # the fixture
pytestmark = pytest.mark.kvm

HELLOS = [*(f"HelloWorld_{flavour}" for flavour in FLAVOURS), "hello_asm"]


def under_torov(program: Path) -> list[str]:
    """The command that runs a sample under its policy; the sample's arguments follow."""
    policy = SAMPLES / program.name.removesuffix("_" + program.name.rpartition("_")[2]) / "policy.json"
    if program.name == "hello_asm":
        policy = SAMPLES / "hello_asm" / "policy.json"
    return [sys.executable, "-m", "torov", "exec", str(program), "--policy", str(policy), "--"]


def outcome(command: list[str]) -> tuple[int, bytes, bytes]:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", HELLOS)
def test_hello(samples: Path, name: str) -> None:
    native = outcome([str(samples / name)])
    assert outcome(under_torov(samples / name)) == native == (0, b"Hello World, I am ToroV!\n", b"")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_write_file(samples: Path, flavour: str, tmp_path: Path) -> None:
    program = samples / f"WriteFile_{flavour}"
    for command in ([str(program)], under_torov(program)):
        target = tmp_path / "target"
        target.write_bytes(b"something longer")
        assert outcome([*command, str(target)]) == (0, b"", b"")
        assert target.read_bytes() == b"hola"
    missing = str(tmp_path / "no" / "target")
    assert outcome([*under_torov(program), missing]) == outcome([str(program), missing])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_echo(samples: Path, flavour: str) -> None:
    with served(under_torov(samples / f"Echo_{flavour}"), "0") as (process, port):
        for message in MESSAGES:
            assert echo(port, message) == message
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("name", ["HelloWorld_fpc", "HelloWorld_glibc"])
def test_torovs_own_configuration(samples: Path, name: str, tmp_path: Path) -> None:
    """ToroV's list allows ioctl, write and getrlimit; what the start of a libc asks for besides is refused by name."""
    config = json.loads((SAMPLES / "HelloWorld" / "helloworld.json").read_text())
    with open(samples / name, "rb") as file:
        config["Startaddr"] = f"{int.from_bytes(file.read(32)[24:32], 'little'):x}"
    (tmp_path / config["Binary"]).symlink_to(samples / name)
    (tmp_path / config["MountPoint"]).mkdir()
    (tmp_path / "helloworld.json").write_text(json.dumps(config))
    status, out, err = outcome([sys.executable, "-m", "torov", "exec", "--config", str(tmp_path / "helloworld.json")])
    assert (status, out) == (0, b"Hello World, I am ToroV!\n")
    assert all(line.startswith(b"torov: denied ") for line in err.splitlines())
