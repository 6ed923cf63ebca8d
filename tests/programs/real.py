"""Real programs, natively and by torov: fetched by name, each run in a directory of its own, what they left side by side."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path

from running import ROOT, Ran, run

from torov.corpus import fetch, read_binaries

ENTRIES = read_binaries()


def program(name: str) -> Path:
    """A binary of the corpus, fetched by its package manager if it is not there."""
    return fetch(ENTRIES[name], ENTRIES.values())


def guest(file: str | Path, *args: str | Path) -> list[str | Path | bytes]:
    """The command that runs a program by torov."""
    found = shutil.which(file)
    assert found is not None, f"{file} is not installed"
    return [sys.executable, "-m", "torov", "exec", "--quiet", found, "--", *args]


def tree(top: Path) -> dict[str, str]:
    """What a program left behind: digest of each file, or target of each link, by name."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def same(
    file: str | Path,
    *args: str | Path,
    where: Path,
    prepare: Callable[[Path], None] | None = None,
    tidy: Callable[[str], str] = lambda text: text,
    env: Mapping[str, str] | None = None,
    timeout: float = 240,
    files: bool = True,
) -> Ran:
    """Run a program both ways and compare standard output, standard error, status and the files it left.

    Args:
        file: the program, a path or a name in PATH.
        args: its arguments.
        where: a directory; each run gets one below it, and PREPARE fills it first.
        prepare: called with that directory.
        tidy: takes out of a text what differs from run to run (times, temporary names).
        env: added to the environment.
        timeout: seconds for each of the two.
        files: compare the files, too.
    Returns:
        the native run.
    """
    native_command: Sequence[str | Path | bytes] = [str(shutil.which(file)), *args]
    seen = []
    for name, command in (("native", native_command), ("torov", guest(file, *args))):
        cwd = where / name / "dir"
        cwd.mkdir(parents=True)
        if prepare:
            prepare(cwd)
        ran = run(command, cwd=cwd, env=env, timeout=timeout)
        seen.append((ran, tree(cwd) if files else {}))
        clean = tidy(ran.out).replace(str(where / name), "HERE"), tidy(ran.err).replace(str(where / name), "HERE")
        ran.out, ran.err = clean
    (native, native_files), (ours, our_files) = seen
    for what in ("out", "err"):
        theirs, mine = (getattr(r, what).splitlines() for r in (native, ours))
        difference = [*unified_diff(theirs, mine, "native", "torov", n=0, lineterm="")]
        assert not difference, f"std{what}, status {native.status} and {ours.status}:\n" + "\n".join(difference[:60])
    assert ours.status == native.status
    strange = sorted(name for name in our_files.keys() | native_files.keys() if our_files.get(name) != native_files.get(name))
    assert not strange, f"files that differ: {strange[:20]}"
    return native


def stop(process: subprocess.Popen[bytes], *, with_signal: int, within: float = 20) -> int:
    """End a server by the process it was started as, and wait for it.

    Returns:
        its exit status, as subprocess gives it.
    """
    try:
        process.send_signal(with_signal)
        return process.wait(within)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def start(file: str | Path, *args: str | Path, cwd: Path, log: Path, native: bool = False) -> subprocess.Popen[bytes]:
    """Start a server by torov (or natively); its output goes to a file."""
    command: list[str | Path | bytes] = [str(shutil.which(file)), *args] if native else guest(file, *args)
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=cwd, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)})


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when something listens; fail with the log when the server ends first."""
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens: {log.read_text()}")
