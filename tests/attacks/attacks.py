"""Runs one attack by torov, in a monitor that is looked at afterwards, and natively, where the same guest must find its way.

A guest tries one way out by every variant that its author could think of, prints a line for each, and ends with 66 if one went
through (guests/attack.h). What it is after is put into its environment:

    TARGET   host address of a secret in the monitor's own memory; natively it is unset, and the guest attacks itself
    VICTIM   a process that is not the guest's
    OUTSIDE  a directory that is not the guest's to enter, where a test says so

The monitor (MONITOR below) is one process, as `torov exec` is: afterwards its secret must be as it was, its descriptors where the
guest cannot name them, and the next guest must run in it. Nothing may be left of the guest (tests/vmm/left.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support import Compiler

from torov.syscalls import DENY, by_number

ROOT = Path(os.path.abspath(__file__)).parents[2]
GUESTS = ROOT / "tests" / "attacks" / "guests"
SHARED = ROOT / "tests" / "vmm" / "guests"
ESCAPED = 66
FLAGS = ("-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-clobbered", "-Wno-unused-parameter",
         "-Wno-infinite-recursion")  # fmt: skip
SOFT_LIMIT = 1000
"""RLIMIT_NOFILE of every run: the monitor's descriptors begin there."""

MONITOR = """
import ctypes, json, os, sys
from torov import cli
secret = ctypes.create_string_buffer(b"the monitor's own secret 0123456789 " * 100, 8192)
was = secret.raw
os.environ["TARGET"] = hex(ctypes.addressof(secret))
alive, *words = sys.argv[1:]
status = cli.main(["exec", *words])
again, ours = 0, []
if alive:
    for n in os.listdir("/proc/self/fd"):
        if int(n) < 1000 and os.path.lexists("/proc/self/fd/" + n) and "anon_inode:kvm" in os.readlink("/proc/self/fd/" + n):
            ours.append(n)
    again = cli.main(["exec", "--quiet", alive])
said = {"status": status, "secret": secret.raw == was, "next": again, "descriptors": ours}
os.write(1, f"MONITOR {json.dumps(said)}\\n".encode())  # at once: in a jail there are two
os._exit(status)
"""


class Ran:
    """What came of a guest: its lines, the lines of standard error, the status that a shell would show, what the monitor says."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.err = done.stderr.decode(errors="replace")
        self.lines = done.stdout.decode(errors="replace").splitlines()
        self.status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        said = [line[line.index("MONITOR {") :] for line in self.lines if "MONITOR {" in line]  # behind output that was cut
        self.monitor: dict[str, object] = json.loads(said[-1][8:]) if said else {}
        self.monitors: list[dict[str, object]] = [json.loads(line[8:]) for line in said]  # in a jail: its own, and the supervisor
        self.escapes = [line for line in self.lines if line.startswith("ESCAPED")]

    def __repr__(self) -> str:
        return "\n".join((f"status {self.status}", *self.lines[-60:], self.err[-3000:]))


def build(cc: Compiler, name: str, kind: str = "glibc") -> Path:
    """Compile guests/NAME.c. The headers are part of the compiler's key."""
    headers = b"".join(path.read_bytes() for path in (GUESTS / "attack.h", SHARED / "guest.h"))
    key = hashlib.sha256(headers).hexdigest()[:8]
    return cc(GUESTS / f"{name}.c", kind, f"-DHEADERS=0x{key}", f"-I{SHARED}", f"-I{GUESTS}", *FLAGS)


def limited(numbers: Sequence[int] = (), file: int = -1) -> Callable[[], None]:
    """What a child does before it runs: the soft limit of descriptors, and `file` under the monitor's numbers."""

    def child() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for number in numbers:
            os.dup2(file, number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT_LIMIT, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    return child


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    full = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    for name in ("PYTHONDONTWRITEBYTECODE", "TARGET"):
        full.pop(name, None)
    return full


def by_torov(
    program: Path,
    *args: str,
    where: Path,
    alive: Path | str = "",
    options: Sequence[str | Path] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 90,
    prefix: Sequence[str] = (),
) -> Ran:
    """Run a guest in a monitor.

    Args:
        program, args: the guest.
        where: its working directory.
        alive: a guest that the monitor runs afterwards; none under a policy, whose filter the monitor keeps.
        options: of torov exec.
        env: added to the environment.
        timeout: seconds.
        prefix: a command in front of the monitor's, such as unshare(1).
    """
    command = [*prefix, sys.executable, "-c", MONITOR, str(alive), *map(str, options), str(program), "--", *args]
    full = _environment(env or {})
    return Ran(subprocess.run(command, cwd=where, env=full, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=timeout, preexec_fn=limited()))  # fmt: skip


def natively(program: Path, *args: str, where: Path, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> Ran:
    """Run a guest without torov, with a file of its own under the numbers that the monitor would use."""
    file = os.memfd_create("hidden")
    try:
        os.write(file, b"x" * 4096)
        done = subprocess.run([*prefix, program, *args], cwd=where, env=_environment(env or {}), stdin=subprocess.DEVNULL,
                              capture_output=True, check=False, timeout=60, close_fds=False,
                              preexec_fn=limited([SOFT_LIMIT, SOFT_LIMIT + 1, SOFT_LIMIT + 2], file))  # fmt: skip
    finally:
        os.close(file)
    return Ran(done)


def prepared(where: Path, program: Path, port: int, policy: str) -> list[str | Path]:
    """Files that a guest may use (ok) and may not (secret), and the options for a policy that says so.

    Args:
        where: the guest's directory, which is made.
        program: what becomes secret/program.
        port: in place of @PORT.
        policy: the text (table.py), or "".
    """
    for name in ("ok", "secret", "secret/empty"):
        (where / name).mkdir(parents=True)
    for name in ("dev", "proc", "tmp"):
        (where / "ok" / name).mkdir()
    (where / "ok").chmod(0o777)
    (where / "ok" / "benign").write_text("benign\n")
    (where / "secret" / "file").write_text("TOP SECRET\n")
    (where / "secret" / "link0").symlink_to("file")
    shutil.copy(program, where / "secret" / "program")
    if not policy:
        return []
    rows = (by_number(nr) for nr in range(512))
    paths = ", ".join(
        f'"{row.name}"' for row in rows if row and row.serve != DENY and any(arg.kind in ("path", "look") for arg in row.args)
    )
    file = where.with_suffix(".json")
    file.write_text(policy.replace("@PATHS", paths).replace("@W", str(where)).replace("@PORT", str(port)))
    return ["--policy", file]


def withstood(ran: Ran, status: int = 0) -> None:
    """Assert that an attack failed and that its monitor went on."""
    assert not ran.escapes, ran
    assert "Traceback" not in ran.err, ran
    assert not re.search("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e]", ran.err), f"control characters in {ran.err!r}"
    known = r"torov: (denied|killed|\S+ = E)|torov: .*(SIG|vDSO|made from|limit of|expected|image file: ENOEXEC)"
    foreign = [line for line in ran.err.splitlines() if not re.match(known, line)]
    assert not foreign, f"lines that are not torov's: {foreign}"
    assert ran.monitor, f"the monitor did not come to its end\n{ran}"
    assert all(one["secret"] for one in ran.monitors), f"the monitor's memory was written\n{ran}"
    assert not ran.monitor["next"], f"no guest runs in this monitor any more\n{ran}"
    assert ran.monitor["status"] == status, ran
    assert not ran.monitor["descriptors"], f"the monitor's descriptors are where the guest can reach them\n{ran}"
