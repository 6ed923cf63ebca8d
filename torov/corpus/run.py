"""One run of a case, natively or by torov: its processes from their start to their end. What is started here is ended here.

A keeper (keeper.py) calls this in a process that is nothing else: whatever a program leaves behind becomes its child
(PR_SET_CHILD_SUBREAPER, prctl(2)), is found as such and is killed by its pid.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torov.corpus import place
from torov.corpus.form import Case, filled

READY_SECONDS = 60
KEPT = 4 << 20
"""Bytes of an output that are kept; of longer ones the beginning."""
MOST = 256 << 20
"""Bytes of an output at which a program is ended."""
_GRACE = 1.0  # seconds in which what the program has left behind may end by itself
_KILL_SECONDS = 30  # one that hangs in the kernel cannot be killed, and is in the result by its name
_SUBREAPER = 36


class Interrupted(Exception):
    """Who wanted the result is gone."""


def adopt() -> None:
    """Make this process the parent of all orphans among its descendants."""
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


class Running:
    """A process of a case and where its output goes."""

    def __init__(
        self,
        words: Sequence[str],
        files: Path,
        name: str,
        stdin: bytes,
        cwd: Path,
        env: Mapping[str, str],
        fds: Sequence[int] = (),
    ) -> None:
        self.out, self.err = files / f"{name}.out", files / f"{name}.err"
        (files / f"{name}.in").write_bytes(stdin)
        self.began = time.monotonic()
        with open(files / f"{name}.in", "rb") as given, open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.process = subprocess.Popen([*words], stdin=given, stdout=out, stderr=err, cwd=cwd, env=dict(env), pass_fds=fds,
                                            start_new_session=True, umask=0o022)  # fmt: skip
        self.ended = ""
        self.seconds = self.cpu = 0.0

    def wait(self, until: float, watch: int) -> bool:
        """Wait for its end.

        Args:
            until: CLOCK_MONOTONIC.
            watch: a descriptor that becomes readable when nobody wants the result any more; -1 for none.

        Returns:
            Whether it ended; ``ended``, ``seconds`` and ``cpu`` then say how.

        Raises:
            Interrupted: watch became readable.
        """
        if self.ended:
            return True
        pidfd = os.pidfd_open(self.process.pid)
        try:
            while True:
                left = until - time.monotonic()
                ready, _, _ = select.select([fd for fd in (pidfd, watch) if fd >= 0], [], [], max(0, min(left, 0.25)))
                if watch in ready:
                    raise Interrupted
                if pidfd in ready:
                    break
                if max(self.out.stat().st_size, self.err.stat().st_size) > MOST:
                    self.kill(f"more than {MOST >> 20} MiB of output")
                    return True
                if left <= 0:
                    return False
        finally:
            os.close(pidfd)
        self._reap()
        return True

    def kill(self, why: str) -> None:
        """End it."""
        if not self.ended:
            self.process.kill()
            self._reap()
            self.ended = why

    def _reap(self) -> None:
        self.seconds = time.monotonic() - self.began
        _, status, usage = os.wait4(self.process.pid, 0)
        self.cpu = usage.ru_utime + usage.ru_stime
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self.ended = f"status {code}" if code >= 0 else f"signal {_signal_name(-code)}"

    def document(self) -> dict[str, Any]:
        """What came of it, as plain values."""
        return {
            "ended": self.ended,
            "seconds": self.seconds,
            "cpu": self.cpu,
            "stdout": _kept(self.out),
            "stderr": _kept(self.err),
        }


def run(
    case: Case, paths: Mapping[str, str], where: place.Place, torov: Sequence[str] = (), policy: str = "", watch: int = -1
) -> dict[str, Any]:
    """Run a case once.

    Args:
        case: what is run.
        paths: of the binaries, by name.
        where: is emptied and filled.
        torov: the command of torov with its options, up to the program; empty to run it natively.
        policy: path of the policy file, if torov is to have one.
        watch: as Running.wait().

    Returns:
        Plain values: how it ended, its output, files, clients, what it left running, seconds.

    Raises:
        CorpusError: its files cannot be made.
        Interrupted: nobody wants the result; nothing is left running.
    """
    where.clear()
    values = {"here": str(where.work), "bin": paths.get(case.binary, ""), **{f"bin:{name}": path for name, path in paths.items()}}
    values |= dict(zip(case.ports, map(str, _free_ports(len(case.ports))), strict=True))
    beside = Path(case.file).parent
    place.fill(where.work, filled(case.files, values), beside, paths)
    env = {**_environment(where), **filled(case.env, values)}
    attempt = _Attempt(case, values, where, env, [*torov], policy, paths, watch)
    result: dict[str, Any] = {}
    try:
        attempt.run()
    finally:
        for helper in attempt.helpers:
            helper.kill("")
        left = sweep(0 if attempt.broken else _GRACE)
    result = attempt.document()
    result["left"] = left
    result["files"] = place.snapshot(where.work, case.ignore_files)
    result["values"] = values
    return result


class _Attempt:
    def __init__(self, case: Case, values: Mapping[str, str], where: place.Place, env: Mapping[str, str], torov: list[str],
                 policy: str, paths: Mapping[str, str], watch: int) -> None:  # fmt: skip
        self.case, self.values, self.where, self.env, self.torov = case, values, where, env, torov
        self.policy, self.paths, self.watch = policy, paths, watch
        self.helpers: list[Running] = []
        self.clients: list[list[Running]] = []
        self.main: Running | None = None
        self.broken, self.said, self.times = True, "", b""
        self.until = time.monotonic() + case.limit

    def run(self) -> None:
        case = self.case
        for number, helper in enumerate(case.helpers, 1):
            started = self.start(helper, f"helper{number}", guest=bool(helper.get("torov")))
            self.helpers.append(started)
            if why := self.await_ready(started, helper.get("ready", {})):
                self.said = f"helper {number}: {why}"
                return
        times = os.memfd_create("torov-times") if self.torov else -1
        try:
            if times >= 0:
                os.ftruncate(times, 16)
            self.main = self.start(self.case_process(), "main", guest=bool(self.torov), times=times)
            self.follow(self.main)
            if times >= 0:
                self.times = os.pread(times, 16, 0)
        finally:
            if times >= 0:
                os.close(times)
        self.broken = False

    def case_process(self) -> dict[str, Any]:
        return {"binary": self.case.binary, "args": self.case.args, "shell": self.case.shell, "stdin": self.case.stdin}

    def follow(self, main: Running) -> None:
        """From the program's start to its end."""
        case = self.case
        if case.ready:
            if why := self.await_ready(main, case.ready):
                main.kill(why)
                return
            for number, client in enumerate(case.clients, 1):
                guest = bool(self.torov and client.get("torov"))
                copies = [self.start(client, f"client{number}-{copy}", guest=guest) for copy in range(client.get("copies", 1))]
                self.clients.append(copies)
                for running in copies:
                    if not running.wait(self.until, self.watch):
                        running.kill(f"no end within {case.limit:g} s")
            if case.stop != "none" and not main.ended:
                with contextlib.suppress(ProcessLookupError):
                    main.process.send_signal(getattr(signal, f"SIG{case.stop}"))
        if not main.wait(self.until, self.watch):
            main.kill(f"no end within {case.limit:g} s")

    def start(self, part: Mapping[str, Any], name: str, *, guest: bool, times: int = -1) -> Running:
        part = filled(dict(part), self.values)
        shell = ["/bin/sh", "-c", part.get("shell", "")]
        words = shell if shell[2] else [self.paths[part["binary"]], *part.get("args", [])]
        stdin = place.contents(part.get("stdin", ""), Path(self.case.file).parent, self.paths)
        fds: tuple[int, ...] = ()
        if guest and self.torov:
            options = [*filled(self.case.torov, self.values)] if times >= 0 else []
            if times >= 0:
                options += ["--times", str(times), "--audit", str(self.where.out / "audit")]
                options += ["--policy", self.policy] if self.policy else []
                fds = (times,)
            words = [*self.torov, *options, words[0], "--", *words[1:]]
        return Running(words, self.where.out, name, stdin, self.where.work, self.env, fds)

    def await_ready(self, running: Running, ready: Mapping[str, Any]) -> str:
        """Wait until a server can be asked; an empty string, or what did not come."""
        if not ready:
            return ""
        seconds = float(ready.get("within", READY_SECONDS))
        until = min(self.until, time.monotonic() + seconds)
        while not self._is_ready(running, ready):
            if running.wait(time.monotonic() + 0.02, self.watch):
                return f"ended before it was ready: {running.ended}"
            if time.monotonic() > until:
                return f"not ready within {seconds:g} s"
        return ""

    def _is_ready(self, running: Running, ready: Mapping[str, Any]) -> bool:
        if "port" in ready:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", int(filled(ready["port"], self.values)))):
                    return False
        if "file" in ready and not os.path.lexists(self.where.work / filled(ready["file"], self.values)):
            return False
        if "output" in ready:
            said = running.out.read_bytes() + running.err.read_bytes()
            return re.search(filled(ready["output"], self.values), said.decode(errors="replace"), re.MULTILINE) is not None
        return True

    def document(self) -> dict[str, Any]:
        if self.main is None:
            return {
                "ended": self.said,
                "seconds": 0.0,
                "cpu": 0.0,
                "stdout": "",
                "stderr": "",
                "clients": [],
                "boot": None,
                "guest": None,
                "gadgets": [],
            }
        made = self.main.document()
        made["clients"] = [[running.document() for running in copies] for copies in self.clients]
        first, last = (int.from_bytes(self.times[at : at + 8], "little") / 1e9 for at in (0, 8))
        known = self.main.began <= first <= last
        made["boot"], made["guest"] = (first - self.main.began, last - first) if known else (None, None)
        made["gadgets"] = _gadgets(self.where.out / "audit")
        return made


def _gadgets(audit: Path) -> list[str]:
    """The lines of the audit log about syscalls that came from what the rewriter knows as no instruction."""
    try:
        return [
            line for line in audit.read_text(errors="replace").splitlines() if '"action": "gadget"' in line and line[-1] == "}"
        ]
    except OSError:
        return []


def _environment(where: place.Place) -> dict[str, str]:
    """The same for both runs, whoever calls; with what torov needs to find its cache and itself."""
    from torov.loader import cachedir

    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games", "HOME": str(where.work),
           "PWD": str(where.work), "TMPDIR": str(where.temporary), "USER": "corpus", "LOGNAME": "corpus", "SHELL": "/bin/sh",
           "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb"}  # fmt: skip
    root = str(Path(__file__).resolve().parents[2])
    if not root.startswith(sys.prefix):  # not installed: the helper of exec(2) finds the tree by it
        env["PYTHONPATH"] = root
    if at := cachedir.location():
        env["TOROV_CACHE"] = at
    return env


def descendants() -> list[int]:
    """The pids of everything below this process, the youngest generation last; proc_pid_task_children(5)."""
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        pid = todo.pop(0)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                children = [int(word) for word in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
                found += children
                todo += children
    return found


def sweep(grace: float) -> list[str]:
    """End everything that is still running below this process.

    Args:
        grace: seconds that it has to end by itself.

    Returns:
        The names of what had to be killed; torov's own helpers are not among them.
    """
    until = time.monotonic() + grace
    last = until + 30 * grace
    while _reap() and (now := time.monotonic()) < last and (now < until or _preparing()):
        time.sleep(0.01)
    names: dict[int, str] = {}
    last = time.monotonic() + _KILL_SECONDS
    while (pids := descendants()) and time.monotonic() < last:
        for pid in pids:
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
                name, state = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2]
                if state != "Z" and not name.startswith("torov-"):
                    names.setdefault(pid, name)
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.002)
    return sorted(names.values())


def _preparing() -> bool:
    """Whether torov makes the image of a program that a guest has started, for the first time on this machine."""
    for pid in descendants():
        with contextlib.suppress(OSError):
            if b"torov.prepare" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def _reap() -> bool:
    """Take the status of those that ended; whether there are others."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on, five digits each, all different."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


def _kept(file: Path) -> str:
    with open(file, "rb") as stream:
        body = stream.read(KEPT)
        size = os.fstat(stream.fileno()).st_size
    text = body.decode(errors="surrogateescape")
    if size > KEPT:
        text += f"\n[{size} bytes in all]\n"
    return text


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
