"""``torov policy learn``: run a program with every call allowed and written down, and make a policy of what it did."""

from __future__ import annotations

import contextlib
import json
import os
import signal

from torov.errors import MachineError, PolicyError, TorovError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

_WIDTH = 120


class Learned:
    """What became of a learning run.

    Fields:
        exit_status: the program's, as a shell shows it.
        file: the policy that was written.
        merged: it was learned before, and knows more now.
        runs, calls, patterns, addresses, rules: what the policy says now; calls are those of the last run, with
            different arguments.
    """

    __slots__ = ("addresses", "calls", "exit_status", "file", "merged", "patterns", "rules", "runs")

    def __init__(self, exit_status: int, file: str, merged: bool, runs: int, calls: int, rules: list[dict[str, Any]]) -> None:
        self.exit_status, self.file, self.merged, self.runs, self.calls = exit_status, file, merged, runs, calls
        conditions = [condition for rule in rules for condition in rule.get("where", [])]
        self.patterns = sum(len(_list(condition.get("path", []))) for condition in conditions)
        self.addresses = sum(len(_list(condition.get("address", []))) for condition in conditions)
        self.rules = len(rules)

    def document(self) -> dict[str, object]:
        """As plain values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def text(self) -> str:
        """One line for a person."""
        runs = f"{self.runs} run{'s' if self.runs != 1 else ''}"
        what = f"{self.rules} rules, {self.patterns} path patterns, {self.addresses} addresses"
        return f"{self.file}: {'merged' if self.merged else 'learned'} {self.calls} calls; {what} from {runs}"


def learn(out: str, file: str, args: Sequence[str] = (), *, fresh: bool = False) -> Learned:
    """Run a program and write the policy that allows what it did.

    Descriptors, directory and environment are those of this process. A policy at out that was learned before is merged with.

    Args:
        out: the policy file.
        file: the program.
        args: its arguments.
        fresh: forget what the policy at out knows.

    Returns:
        how the program ended, and what was learned. What it did until it failed or was interrupted is learned too.

    Raises:
        PolicyError: there is another policy at out, or out cannot be written.
        LoadError, NotFound: the file cannot be run.
        NoKVM, MachineError: the host refused something.
    """
    from torov.policy import facts
    from torov.policy import learn as policy_learn
    from torov.prepare import images_of

    old = None if fresh else _old(out)
    found = policy_learn.read(out, old) if old is not None else facts.Facts()
    images_of(file)  # what is wrong with the file is said here, not by a child
    _writable(out)
    status, lines = run(file, args)
    before = found.lines
    found.add_run(lines)
    made = policy_learn.document(found, os.path.basename(file), old)
    _write(out, made)
    return Learned(status, out, old is not None, found.runs, found.lines - before, made["rules"])


def run(file: str, args: Sequence[str] = ()) -> tuple[int, list[dict[str, Any]]]:
    """Run a program under the policy that allows every call and writes each down once.

    Args:
        file, args: as in learn().

    Returns:
        its exit status, and the lines of its audit log.

    Raises:
        MachineError: the host refused something.
    """
    import fcntl
    import socket
    import tempfile

    from torov import audit
    from torov.vmm.machine import audit_start

    with tempfile.TemporaryFile(buffering=0) as log:
        fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)  # what goes on in the background writes on while we read
        writer = audit_start(log.fileno())
        child = os.fork()
        if not child:  # exec(2) of the program replaces this process, so that another one reads the log
            log.close()
            _child(file, args, writer)
        status = _wait(child)
        with socket.socket(fileno=writer) as sock:
            sock.settimeout(10)
            try:  # all that the program sent came before; what it left in the background is not learned
                sock.send(b"\0")
                answer, passed, _, _ = socket.recv_fds(sock, 1, 1)
            except OSError as error:
                raise MachineError("audit log", error.errno or 0) from None
            for descriptor in passed:
                os.close(descriptor)
        if answer[0:1] != b"\0":
            raise MachineError("write the audit log", answer[0])
        return status, audit.lines_of(_whole(log.fileno()))


def _whole(descriptor: int) -> Iterator[bytes]:
    """The lines of a file, whose offset others move."""
    at, rest = 0, b""
    while data := os.pread(descriptor, 1 << 20, at):
        at += len(data)
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _child(file: str, args: Sequence[str], writer: int) -> None:
    """Be the program, and never return."""
    from torov import policy
    from torov.prepare import cache_of, images_of
    from torov.vmm.machine import Machine

    status = 125
    try:
        image, loader = images_of(file)
        cache, version = cache_of(True)
        made = policy.learning()
        with Machine(
            image, os.path.realpath(file), [file, *args], None, made.actions, program=made.program, loader=loader, cache=cache,
            cache_version=version, flags=32, audit=writer,
        ) as machine:  # fmt: skip
            stop = machine.run()
            status = stop.exit_status
            if stop.signal:
                _die(stop.signal)
    except TorovError as error:
        os.write(2, f"torov: {error}\n".encode(errors="replace"))
        status = error.exit_status
    finally:
        os._exit(status)


def _die(number: int) -> None:
    """End as the program did, so that a shell above sees the signal."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)


def _wait(child: int) -> int:
    """Wait for the program; the terminal's signals are its own, and those that are sent to us are handed on."""
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    handed = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    kept |= {number: signal.signal(number, lambda got, _: os.kill(child, got)) for number in handed}
    try:
        _, status = os.waitpid(child, 0)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _old(out: str) -> dict[str, Any] | None:
    """The policy that is at a place, read; None if there is none."""
    try:
        with open(out, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(out, "file", "a file that can be read", error.strerror or "an error") from None
    if not text.strip():
        return None
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise PolicyError(out, "file", "a policy that was learned", "another file: give -o another name")
    return document


def _writable(out: str) -> None:
    directory = os.path.dirname(out) or "."
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PolicyError(out, "file", "a place that can be written", f"{directory}, which cannot")


def _write(out: str, document: dict[str, Any]) -> None:
    from torov.loader.files import write_output

    try:
        write_output(out, dump(document).encode() + b"\n")
    except OSError as error:
        raise PolicyError(out, "file", "a place that can be written", error.strerror or "an error") from None


def dump(value: object, indent: int = 0, used: int = 0) -> str:
    """JSON as a person writes it: what fits stands on one line.

    Args:
        value: plain values.
        indent: columns before it.
        used: columns before it on its first line.
    """
    line = json.dumps(value)
    if len(line) + max(indent, used) <= _WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + 2
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {dump(item, inner, inner + len(key) + 4)}" for key, item in value.items()]
    elif all(isinstance(item, str | int) for item in value):
        parts = list(_filled(json.dumps(item) for item in value))
    else:
        parts = [dump(item, inner) for item in value]
    brackets = "{}" if isinstance(value, dict) else "[]"
    return f"{brackets[0]}\n{' ' * inner}" + f",\n{' ' * inner}".join(parts) + f"\n{' ' * indent}{brackets[1]}"


def _filled(words: Iterable[str]) -> Iterable[str]:
    """Words in lines that are filled."""
    line = ""
    for word in words:
        if line and len(line) + len(word) > _WIDTH - 16:
            yield line
            line = ""
        line += f"{', ' if line else ''}{word}"
    yield line


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
