"""One run of a case, natively or by torov: its files, its program, helpers and clients, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torov.corpus import place
from torov.corpus.form import Case, filled
from torov.corpus.processes import GRACE, Running, sweep

READY_SECONDS = 60


def run(
    case: Case, paths: Mapping[str, str], where: place.Place, torov: Sequence[str] = (), policy: str = "", watch: int = -1
) -> dict[str, Any]:
    """Run a case once.

    Args:
        case: what is run.
        paths: of the binaries, by name.
        where: is emptied and filled.
        torov: the command of torov with its options, up to the program; empty to run it natively.
        policy: path of the policy file, if torov is to have one; a policy inline is in the case.
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
    if torov and isinstance(case.policy, dict):
        policy = str(where.out / "policy.json")
        Path(policy).write_text(json.dumps(filled(case.policy, values)))
    attempt = _Attempt(case, values, where, env, [*torov], policy, paths, watch)
    result: dict[str, Any] = {}
    try:
        attempt.run()
    finally:
        for helper in attempt.helpers:
            helper.kill("")
        left = sweep(0 if attempt.broken else GRACE)
    result = attempt.document()
    result["left"] = left
    result["files"] = place.snapshot(where.work, case.ignore_files)
    result["values"] = values
    return result


def ended(result: Mapping[str, Any]) -> bool:
    """Whether the program of a run ended by itself, and was not killed for its time, its output or what it did not do."""
    return str(result["ended"]).startswith(("status", "signal"))


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
        last = last or self.main.began + self.main.seconds  # it became another program, or was killed: to the end of that
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


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on, five digits each, all different."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found
