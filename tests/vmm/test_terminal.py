"""A terminal above the guest: Ctrl-C, Ctrl-Z, window sizes, job control of a shell inside, and of a shell outside.

Each session is typed twice, natively and by torov, and the two transcripts are compared.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from running import ROOT, torov
from support import Compiler

pytestmark = pytest.mark.kvm

GUEST = r"""
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
static void on(int s) {
    char text[64];
    struct winsize w;
    int n = s == SIGWINCH && !ioctl(0, TIOCGWINSZ, &w) ? snprintf(text, sizeof text, "size %dx%d\n", w.ws_col, w.ws_row)
                                                      : snprintf(text, sizeof text, "signal %d\n", s);
    if (write(1, text, (size_t)n) < 0) _exit(1);
}
int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    int caught = argc > 1 && strchr(argv[1], 'c');
    int list[] = {SIGWINCH, SIGINT, SIGQUIT, SIGTSTP, SIGCONT};
    for (int i = 0; i < (caught ? 5 : 1); i++) {
        struct sigaction a = {.sa_handler = on};
        sigaction(list[i], &a, NULL);
    }
    printf("ready %d\n", isatty(0) && tcgetpgrp(0) == getpgrp());
    char line[64];
    for (;;) {
        ssize_t n = read(0, line, sizeof line);
        if (n == 0) return 3;
        if (n > 0) printf("line %.*s", (int)n, line);
        else if (argc > 2) printf("interrupted\n");
    }
}
"""


class Session:
    """A program on a terminal of its own."""

    def __init__(self, command: Sequence[str | Path | bytes], cwd: Path) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.environ.update(PYTHONPATH=str(ROOT), TERM="dumb", PS1="$ ", HISTFILE="/dev/null", INPUTRC="/dev/null")
                os.execvp(os.fsdecode(command[0]), [os.fsdecode(word) for word in command])
            finally:
                os._exit(127)
        self.text = ""
        self.mark = 0

    def see(self, wanted: str, within: float = 60) -> None:
        """Read until a pattern has come since the last one that was seen."""
        end = time.monotonic() + within
        while not (found := re.search(wanted, self.text[self.mark :])):
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            try:
                data = os.read(self.master, 4096) if ready else b""
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"{wanted!r} did not come: {self.text!r}")
            self.text += data.decode(errors="replace").replace("\r", "")
        self.mark += found.end()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def end(self) -> str:
        """Wait for the end; how it ended is the transcript's last line."""
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                break
            if not data:
                break
            self.text += data.decode(errors="replace").replace("\r", "")
        _, status = os.waitpid(self.pid, 0)
        os.close(self.master)
        return f"{self.text}\n[{os.waitstatus_to_exitcode(status)}]"

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.end()


def both(program: str | Path, *args: str, where: Path, play: object) -> str:
    """Play a session natively and by torov; the transcripts must be the same. Returns one.

    The echo of a key that makes a signal is flushed with the rest of the output, unless it was read before (termios(3), NOFLSH).
    """
    texts = []
    for command in ([program, *args], torov(program, *args)):
        session = Session(command, where)
        try:
            play(session)  # type: ignore[operator]
        except BaseException:
            session.kill()
            raise
        text = re.sub(r"(?<=\] )\d+|\b\d{4,}\b", "PID", session.end())
        texts.append(re.sub(r"\^[CZ\\]", "", text))
    assert texts[1] == texts[0]
    return texts[0]


def test_keys_that_are_caught(cc: Compiler, tmp_path: Path) -> None:
    def play(s: Session) -> None:
        s.see("ready 1")
        for key, text in (("\x03", "signal 2"), ("\x1c", "signal 3"), ("\x1a", "signal 20")):
            s.type(key)
            s.see(text)
        s.resize(100, 30)
        s.see("size 100x30")
        s.type("hello\n")
        s.see("line hello")
        s.type("\x04")

    assert both(cc(GUEST), "c", where=tmp_path, play=play).endswith("[3]")


@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_keys_that_end(cc: Compiler, tmp_path: Path, key: str, number: int) -> None:
    def play(s: Session) -> None:
        s.see("ready 1")
        s.type(key)

    text = both(cc(GUEST), "d", where=tmp_path, play=play)
    assert text.endswith(f"[{-number}]")


def test_a_terminal_that_goes_away(cc: Compiler, tmp_path: Path) -> None:
    native: list[str | Path | bytes] = [cc(GUEST), "d"]
    for command in (native, torov(cc(GUEST), "d")):
        s = Session(command, tmp_path)
        s.see("ready 1")
        os.close(s.master)
        end = time.monotonic() + 20
        while (found := os.waitpid(s.pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.02)
        if found[0] == 0:
            os.kill(s.pid, signal.SIGKILL)
            os.waitpid(s.pid, 0)
        assert found[0] and os.WTERMSIG(found[1]) == signal.SIGHUP, found


def jobs(s: Session, job: str, first: str, ready: str) -> None:
    """What one types to a shell that controls jobs. The job begins with FIRST, for which what is typed waits: its echo would come
    before or after it. It answers a line with READY: then it runs, and is in the foreground."""
    s.type(f"{job}\n")
    s.see(re.escape(f"{job}\n{first}"))
    s.type("hello\n")
    s.see(ready)
    s.type("\x1a")
    s.see(r"Stopped[^\n]*\n\$ $")
    s.type("jobs\n")
    s.see(r"jobs\n\[1\]\+\s+Stopped[^\n]*\n\$ $")
    s.type("fg\n")
    s.see(r"fg\n" + re.escape(job) + r"\n")
    time.sleep(0.3)
    s.type("\x03")
    s.see(r"\^C\n\$ $")
    s.type("echo status $?\n")
    s.see(r"status \d+\n\$ $")
    s.type("sleep 0.3 &\n")
    s.see(r"\[1\] \d+\n\$ $")
    s.type("wait; echo waited\n")
    s.see(r"\nwaited\n\$ $")
    s.type("sleep 30 &\n")
    s.see(r"\[1\] \d+\n\$ $")
    s.type("kill %1; wait %1; echo killed $?\n")
    s.see(r"killed \d+\n\$ $")
    s.type("exit 4\n")


def test_a_shell_inside_controls_jobs(tmp_path: Path) -> None:
    def play(s: Session) -> None:
        s.see(r"\$ $")
        jobs(s, "cat", "", "hello\nhello\n")

    text = both("/bin/bash", "--norc", "--noediting", "-i", where=tmp_path, play=play)
    assert "status 130" in text and "killed 143" in text and text.endswith("[4]")


def test_a_shell_outside_controls_the_guest(cc: Compiler, tmp_path: Path) -> None:
    """Ctrl-Z stops torov, fg lets it go on, Ctrl-C ends it, as the shell says of the program natively."""
    program, texts = cc(GUEST), []
    for name, command in (("native", f"{program} d"), ("torov", f"{sys.executable} -m torov exec -q {program} -- d")):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o755)
        s = Session(["/bin/bash", "--norc", "--noediting", "-i"], tmp_path)
        try:
            s.see(r"\$ $")
            jobs(s, f"./{name}", "ready 1\n", "line hello\n")
        except BaseException:
            s.kill()
            raise
        texts.append(re.sub(r"(?<=\] )\d+|\b\d{4,}\b", "PID", s.end()).replace(f"./{name}", "./PROGRAM"))
    assert texts[0] == texts[1]
    assert "status 130" in texts[0]
