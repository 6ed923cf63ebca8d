"""The rows of the table: what is compared with what, and the targets."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.measure import BenchError, Row, Sample, printed, timed
from bench.server import requests
from torov import corpus

HERE = Path(__file__).resolve().parent
MB = 200  # of the sha256 row
CORE = HERE.parent / "torov" / "vmm" / "core"
PROGRAMS = {
    "floor": ("gcc", "-O2"), "work": ("gcc", "-O2", "-static"), "many": ("gcc", "-O2", "-static", "-pthread"),
    "calls": ("gcc", "-O2", "-static"), "supervise": ("gcc", "-O2"),
    "decide": ("gcc", "-O2", "-fno-strict-aliasing", "-fstack-protector-strong", "-Wno-unused-parameter", "-I", str(CORE), "-I",
               str(HERE), str(CORE / "policy.c")),
    "traced": ("gcc", "-O2", "-fno-strict-aliasing", "-fstack-protector-strong", "-Wno-unused-parameter", "-I", str(CORE), "-I",
               str(HERE), "-I", "core", *map(str, sorted(CORE.glob("*.c"))), "-pthread"),
}  # fmt: skip
"""Programs and how they are compiled; decide and traced with the part of the core that they time, as setup.py does."""
MANY = (
    ("thread create and join", "thread", 300),
    ("futex ping-pong", "futex", 2000),
    ("pipe ping-pong", "pipe", 2000),
    ("fork, exit, wait", "fork", 50),
    ("vfork, exit, wait", "vfork", 200),
    ("fork, exec, wait", "exec", 30),
    ("posix_spawn, wait", "spawn", 30),
    ("signal to itself", "signal", 3000),
)
"""Rows of bench/many.c: name, its argument, how often."""


def build(directory: Path) -> None:
    """Compile the programs of the benchmarks.

    Args:
        directory: where they go; made if it is not there.

    Raises:
        BenchError: the compiler refused.
    """
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run((sys.executable, "-m", "torov.vmm.build_core", str(directory / "core")), cwd=HERE.parent, check=True)
    for name, command in PROGRAMS.items():
        words = (str(directory / word) if word == "core" else word for word in command)
        full = (*words, "-Wall", "-Wextra", "-o", str(directory / name), str(HERE / f"{name}.c"))
        done = subprocess.run(full, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(full)}: {done.stderr.strip()}")


def digest(mb: int) -> str:
    """SHA-256 of what `work sha256` hashes, by Python: byte i is 7 i + i // 256, modulo 256."""
    lines = [bytes((7 * low + high) & 255 for low in range(256)) for high in range(256)]
    block, state, size = b"".join(lines), hashlib.sha256(), mb * 1_000_000
    for _ in range(size // len(block)):
        state.update(block)
    state.update(block[: size % len(block)])
    return state.hexdigest()


def rows(directory: Path, torov: str, python: str, samples: Path) -> list[Row]:
    """Make the rows.

    Args:
        directory: what build() filled.
        torov: the installed command.
        python: the interpreter that runs it.
        samples: directory of the built samples.

    Returns:
        Rows without samples.
    """
    floor, work, many = (str(directory / name) for name in ("floor", "work", "many"))

    def native(name: str, count: int, expect: str | None = None) -> Sample:
        return printed(work, name, str(count), expect=expect)

    def guest(name: str, count: int, expect: str | None = None) -> Sample:
        return printed(torov, "exec", work, "--", name, str(count), expect=expect)

    def exits(count: int, scale: float = 1) -> Sample:
        return printed(floor, "exits", str(count), scale=scale)

    hello, bare_boot = str(samples / "HelloWorld_glibc"), printed(floor, "create", "40")

    def boot(libc: str, *mode: str) -> Sample:
        return printed(python, "-I", str(HERE / "boot.py"), str(samples / f"HelloWorld_{libc}"), "40", *mode)

    start, run_hello = timed(python, "-c", "pass"), timed(torov, "exec", hello)
    found = [
        Row("hypercall (getppid)", "bare out loop", exits(20000), guest("getppid", 20000), ratio=1.10),
        Row("boot of HelloWorld, glibc", "bare create, exit, close", bare_boot, boot("glibc"), ratio=2.0),
        Row("boot of HelloWorld, musl", "bare create, exit, close", bare_boot, boot("musl"), ratio=2.0),
        Row("the first boot of a process, glibc", "bare create, exit, close", bare_boot, boot("glibc", "fresh")),
        Row("the first boot of a process, musl", "bare create, exit, close", bare_boot, boot("musl", "fresh")),
        Row("CPU-bound loop", "native", native("cpu", 300_000_000), guest("cpu", 300_000_000), ratio=1.03),
        Row(f"sha256 of {MB} MB", "native", native("sha256", MB, digest(MB)), guest("sha256", MB, digest(MB)),
            ratio=1.03),
        Row("touch 256 MiB of new memory", "native", native("touch", 256), guest("touch", 256), ratio=1.0),
        Row("torov exec HelloWorld", "python -c pass", start, run_hello, extra=10e6),
        Row("write to /dev/null", "bare out loop", exits(10000), guest("write", 10000)),
        Row("open and close", "two bare exits", exits(10000, 2), guest("open", 10000)),
        Row("mmap 4 KiB and touch it", "native", native("map", 4000), guest("map", 4000)),
        Row("clock_gettime", "native, vDSO", native("clock", 2_000_000), guest("clock", 2_000_000)),
        Row("getppid", "native", native("getppid", 20000), guest("getppid", 20000)),
    ]  # fmt: skip
    found += [
        Row(name, "native", printed(many, what, str(count)), printed(torov, "exec", many, "--", what, str(count)))
        for name, what, count in MANY
    ]

    traced, out = str(directory / "traced"), str(directory / "trace")
    found += [
        Row("what the trace of getppid takes", "native getppid", native("getppid", 20000),
            printed(traced, out, "getppid", "60000"), extra=2000),
        Row("what the trace of open, read, close takes, each", "native open", native("open", 20000),
            printed(traced, out, "files", "60000"), extra=2000),
    ]  # fmt: skip
    caddy = corpus.cache_dir() / "caddy"
    if caddy.is_file() and shutil.which("wrk"):
        guest_caddy = requests(torov, "exec", "--quiet", str(caddy), "--")
        found.append(Row("HTTP request to caddy", "native", requests(str(caddy)), guest_caddy))
    strace = shutil.which("strace")
    if strace:
        slow = printed(strace, "-f", "-c", "-o", "/dev/null", work, "getppid", "5000")
        found.append(Row("getppid", "under strace -c", slow, guest("getppid", 5000)))
    return found
