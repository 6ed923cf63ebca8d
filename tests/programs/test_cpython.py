"""CPython's own tests, by a python3 inside torov: each test of each module ends as it does natively."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from real import guest
from running import Ran, run

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(600)]

MODULES = (
    "threading", "subprocess", "signal", "socket", "asyncio", "mmap", "os", "time", "select", "thread", "threadsignals",
    "threading_local", "queue", "sched", "selectors", "poll", "epoll", "fork1", "wait3", "wait4", "posix", "popen", "pty",
    "fcntl", "tempfile", "pathlib", "shutil", "fileio", "largefile", "memoryio", "resource", "pwd", "uuid", "struct", "hashlib",
    "gzip", "sqlite3", "json", "float",
)  # fmt: skip
ASYNCIO = ("subprocess", "unix_events", "streams", "sock_lowlevel", "futures", "server", "runners")
SLOW = {"asyncio": " ".join(f"test_asyncio.test_{name}" for name in ASYNCIO)}
"""What is run of a module that takes minutes natively."""
LEFT_OUT = {"socket": "test.test_socket.ThreadedVSOCKSocketStreamTest"}
"""Hangs natively on a machine that is itself a guest with vsock."""
WAIT = ("subprocess", "signal", "socket", "asyncio")
"""Wait for most of their time, so that both sides run at once."""
KNOWN = {
    "test_monotonic_settime (test.test_time.TimeTestCase.test_monotonic_settime)": ("ok", "skipped"),
    "test_sethostname (test.test_socket.GeneralModuleTests.test_sethostname)": ("ok", "skipped"),
}
"""(natively, by torov): the built-in policy refuses to set the host's clock and name, which root may do natively."""
RUN = """
import importlib, sys, unittest
module, _, name = sys.argv[1].rpartition(".")
if module: delattr(importlib.import_module(module), name)
unittest.main(module=None, argv=["unittest", "-v", *sys.argv[2:]])
"""


@cache
def python() -> str:
    """An interpreter that has the module test: this one's, or the distribution's."""
    for path in (os.path.join(sys.base_prefix, "bin", "python3"), "/usr/bin/python3"):
        if os.path.exists(path) and not subprocess.run([path, "-c", "import test.test_os"], capture_output=True).returncode:
            return os.path.realpath(path)
    raise AssertionError("no python3 with its own tests: apt-get install libpython3-testsuite")


def ends(text: str) -> dict[str, str]:
    """How each test ended, of what `-m unittest -v` writes; what a test writes itself may stand in between."""
    found = {}
    for part in re.split(r"^(?=\w+ \([\w.]+\))", text, flags=re.M):
        name = re.match(r"\w+ \([\w.]+\)", part)
        rest = part[name.end() :] if name else ""
        end = re.search(r"(?:^|\.\.\. )[^\n]*?\b(ok|FAIL|ERROR|skipped|expected failure)\b", rest, re.M)
        if name and end:
            found[name[0]] = end[1]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module(module: str, tmp_path: Path) -> None:
    names = SLOW.get(module, f"test_{module}").split()
    command = ["-c", RUN, LEFT_OUT.get(module, "-"), *(f"test.{name}" for name in names)]

    def side(name: str) -> Ran:
        cwd = tmp_path / name
        cwd.mkdir()
        return run([*([python()] if name == "native" else guest(python())), *command], cwd=cwd, timeout=280)

    with ThreadPoolExecutor(2 if module in WAIT else 1) as pool:
        done = list(pool.map(side, ("native", "torov")))
    native, ours = (ends(ran.err) for ran in done)
    assert len(native) > 0, done[0].err[-2000:]
    pairs = {name: (native.get(name), ours.get(name)) for name in native.keys() | ours.keys()}
    strange = {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and pair != KNOWN.get(name)}
    assert not strange, f"{strange}\n{done[1].err[-6000:]}"
    assert done[1].status == done[0].status
