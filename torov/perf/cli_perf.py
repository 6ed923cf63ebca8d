"""``torov exec --perf``: the process that starts torov once more, collects the samples of its guest, and says what they come to.

It is outside of any jail, so files can be read and modules imported when the guest has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import time

from torov import report
from torov.errors import UsageError
from torov.loader.files import write_output
from torov.perf import flame, record
from torov.perf.unwind import Unwinder, clean
from torov.profile import torov_command
from torov.syscalls import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

DEFAULT, HERTZ = "perf", 999
MOST = 4 << 30
"""Bytes of samples that are kept."""
_MESSAGE = 1 << 17
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run(given: Mapping[str, str], file: str | None, args: list[str]) -> int:
    """Run the command without its --perf.

    Args:
        given: the options of torov exec.
        file, args: the program, None with --config; and its arguments.

    Returns:
        The exit status of the guest.

    Raises:
        UsageError: the frequency is none, or the results cannot be written.
    """
    base = given.get("--perf") or DEFAULT
    base = base.removesuffix(".svg").removesuffix(".folded")
    hertz = given.get("--perf-hz", str(HERTZ))
    if not hertz.isdecimal() or not 1 <= int(hertz) <= 10000:
        raise UsageError(f"--perf-hz {hertz}: expected a number from 1 to 10000")
    if not os.path.isdir(os.path.dirname(base) or "."):
        raise UsageError(f"--perf={base}: no such directory")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [f"{name}={value}" if value else name for name, value in given.items() if name not in ("--perf", "--perf-hz")]
    command = [*torov_command(), "exec", *words, f"--sample={theirs.fileno()}:{hertz}", *([file] if file else []), "--", *args]
    with tempfile.TemporaryFile() as kept:
        with _between(), theirs:
            began = time.monotonic()
            guest = subprocess.Popen(command, pass_fds=[theirs.fileno()])
            _forward(guest)
        with ours:
            _collect(ours, guest, kept)
        took = time.monotonic() - began
        status = 128 - guest.returncode if guest.returncode < 0 else guest.returncode
        if kept.tell():
            sums = record.Sums()
            _conclude(kept, sums, base, os.path.basename(file or given.get("--config", "")), took, "--quiet" in given)
        return status


@contextlib.contextmanager
def _between() -> Iterator[None]:
    """The keys of a terminal are for the guest: a handler of ours, which exec(2) takes away, and not SIG_IGN, which it keeps."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    yield


def _forward(guest: subprocess.Popen[bytes]) -> None:
    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda sent, _: guest.send_signal(sent))


def _collect(ours: socket.socket, guest: subprocess.Popen[bytes], kept: IO[bytes]) -> None:
    """Everything that is sent until the guest has ended; what it leaves behind runs on without us."""
    ended = os.pidfd_open(guest.pid)
    wait = select.poll()
    wait.register(ours, select.POLLIN)
    wait.register(ended, select.POLLIN)
    size = 0
    while True:
        ready = {fd for fd, _ in wait.poll()}
        if ours.fileno() in ready:
            data = ours.recv(_MESSAGE)
            if data and size < MOST:
                kept.write(len(data).to_bytes(4, "little") + data)
                size += len(data)
            elif not data:
                wait.unregister(ours)
        elif ended in ready:
            break
    os.close(ended)
    guest.wait()


def _messages(kept: IO[bytes]) -> Iterator[bytes]:
    kept.seek(0)
    while head := kept.read(4):
        yield kept.read(int.from_bytes(head, "little"))


def _conclude(kept: IO[bytes], sums: record.Sums, base: str, program: str, took: float, quiet: bool) -> None:
    by = Unwinder()
    own: dict[str, int] = {}

    def stacks() -> Iterator[tuple[list[str], int]]:
        for sample in record.read(_messages(kept), sums):
            names = by.stack(sample)
            if sample.nr >= 0:
                names.append(f"[{name_of(sample.nr)}]")
            own[names[-1]] = own.get(names[-1], 0) + sample.weight
            name = os.path.basename(sample.objects[0].path) if sample.objects else program
            yield [clean(name), *names], sample.weight

    folded = flame.fold(stacks())
    total = sum(folded.values())
    try:
        write_output(f"{base}.folded", flame.text(folded).encode(errors="surrogateescape"))
        write_output(f"{base}.svg", flame.svg(folded, f"{program}: {total} samples").encode(errors="replace"))
    except OSError as error:
        raise UsageError(f"--perf={base}: {error.strerror}") from None
    if quiet:
        return
    lost = f", {sums.lost} lost" if sums.lost else ""
    report.print_table(
        ("samples", "share", "function"),
        [(str(count), f"{100 * count / total:.1f}%", name) for name, count in sorted(own.items(), key=lambda one: -one[1])[:10]],
        f"torov: {total} samples{lost} in {base}.folded and {base}.svg; the functions with most of their own:",
        stderr=True,
    )
    rows = [(record.KINDS[kind], *_time(*value)) for kind, value in sorted(sums.kinds.items())]
    report.print_table(("where", "times", "ms", "us each"), rows, f"torov: {took:.3f} s; of all threads together:", stderr=True)
    calls = sorted(sums.calls.items(), key=lambda one: -one[1][1])
    rows = [(name_of(nr), *_time(*value)) for nr, value in calls]
    report.print_table(("syscall", "times", "ms", "us each"), rows, stderr=True)


def _time(count: int, nanoseconds: int) -> tuple[str, str, str]:
    return str(count), f"{nanoseconds / 1e6:.3f}", f"{nanoseconds / 1e3 / max(1, count):.1f}"
