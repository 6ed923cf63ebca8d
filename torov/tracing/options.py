"""What a user wants to see of a run: strace's options and expressions, read into the numbers that the core takes."""

from __future__ import annotations

import errno
import os

from torov.errors import TraceError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torov.vmm.machine import Machine

FORMATS = ("text", "json", "perfetto")
_FLAGS = {"f": ("follow", 1), "r": ("relative", 1), "T": ("durations", 1), "v": ("verbose", 1), "c": ("counts", 1),
          "C": ("counts", 2), "z": ("status", 1), "Z": ("status", 2)}  # fmt: skip
_COUNTED = {"t": ("times", 3), "q": ("quiet", 3), "y": ("paths", 2), "x": ("hex_strings", 2)}
_VALUED = "oesa"
_LONG = {"--follow-forks": "-f", "--summary-only": "-c", "--summary": "-C", "--syscall-times": "-T", "--decode-fds": "-y",
         "--relative-timestamps": "-r", "--no-abbrev": "-v", "--successful-only": "-z", "--failed-only": "-Z", "--output": "-o",
         "--trace": "-e", "--expr": "-e", "--string-limit": "-s", "--columns": "-a", "--quiet": "-q"}  # fmt: skip
_ELSEWHERE = {
    "p": "torov traces what it starts; a running guest cannot be joined",
    "b": "torov does not let go of a guest",
    "D": "the writer of a trace is no parent of the program already",
    "k": "stacks are not shown: torov exec --gdb shows them",
    "i": "the instruction pointer is not shown",
    "n": "numbers of calls are not shown: --trace-format json has them by name",
    "u": "run torov as that user",
    "E": "set it before torov: env VAR=value torov strace ...",
    "S": "the table of -c is sorted by time",
    "O": "nothing is taken off: no tracer stands between two calls",
    "I": "signals of the terminal are the program's",
    "P": "filter by paths with a policy",
    "w": "the table of -c has the time on the clock already",
    "U": "the table of -c has these columns: time, seconds, usecs/call, calls, errors, syscall",
    "X": "names of constants are always shown as names",
}


class Tracing:
    """One trace of one run.

    Args:
        words: options of strace(1), as ``["-f", "-e", "trace=%file"]``.

    Fields:
        out: the file, or None for standard error; append: it is not emptied first.
        format: one of FORMATS.
        rest: words behind the options: the program and its arguments.
        socket: for Machine(trace=...), after start().

    Raises:
        UsageError: an option that is not there, or a filter that names what does not exist.
    """

    __slots__ = ("_calls", "_options", "_signals", "_twice", "append", "format", "out", "rest", "socket")

    def __init__(self, words: Sequence[str] = (), *, follow: bool = False) -> None:
        self.out: str | None = None
        self.append, self.format, self.socket = False, "text", 0
        self.rest: list[str] = []
        self._options: dict[str, int] = {"string_size": 32, "column": 40, "follow": int(follow)}
        self._twice = False
        self._calls: set[int] | None = None
        self._signals = (1 << 64) - 1
        waiting = list(words)
        while waiting and waiting[0].startswith("-") and waiting[0] != "-":
            word = waiting.pop(0)
            if word == "--":
                break
            self._word(word, waiting)
        self.rest = waiting
        self._checked()

    def _word(self, word: str, waiting: list[str]) -> None:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            if name not in _LONG:
                raise UsageError(f"{word}: no such option of torov strace; see torov strace --help")
            if name == "--trace":
                value = f"trace={value}" if equals else f"trace={_next(name, waiting)}"
                equals = "="
            word = _LONG[name]
            if equals:
                waiting.insert(0, value)
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _FLAGS:
                name, number = _FLAGS[letter]
                self._twice |= letter == "f" and letters[:1] == "f"
                self._options[name] = number
            elif letter in _COUNTED:
                name, most = _COUNTED[letter]
                self._options[name] = min(self._options.get(name, 0) + 1, most)
            elif letter == "A":
                self.append = True
            elif letter in _VALUED:
                self._valued(letter, letters or _next(f"-{letter}", waiting))
                break
            elif letter in _ELSEWHERE:
                raise UsageError(f"-{letter}: {_ELSEWHERE[letter]}")
            else:
                raise UsageError(f"-{letter}: no such option of torov strace; see torov strace --help")

    def _checked(self) -> None:
        if self._twice and self._options.get("counts"):
            raise UsageError("-ff: the table of -c and -C is of all threads; write -f")

    def _valued(self, letter: str, value: str) -> None:
        if letter == "o":
            if value.startswith(("|", "!")):
                raise UsageError(
                    f"-o {value}: write to a file; a command can read it: -o /dev/stdout | {value[1:].strip() or 'cat'}"
                )
            self.out = value
        elif letter == "e":
            self.expression(value)
        elif not value.isdecimal():
            raise UsageError(f"-{letter} {value}: expected a number")
        elif letter == "s":
            self._options["string_size"] = min(int(value), 5120)
        else:
            self._options["column"] = min(int(value), 200)

    def expression(self, text: str) -> None:
        """Read what stands behind ``-e``: ``trace=%file,!read``, ``signal=none``, ``status=failed``, or calls alone.

        Raises:
            UsageError: it names what does not exist.
        """
        name, equals, value = text.partition("=")
        if not equals:
            name, value = "trace", text
        if name in ("trace", "t"):
            self.filter(value)
        elif name in ("signal", "signals", "s"):
            self._signals = _signals(value)
        elif name == "status":
            self._options["status"] = {"successful": 1, "failed": 2, "all": 0}.get(value, -1)
            if self._options["status"] < 0:
                raise UsageError(f"-e status={value}: expected successful, failed or all")
        elif name in ("abbrev", "a", "verbose", "v"):
            self._options["verbose"] = int((value == "none") == (name[0] == "a"))
        elif name in ("quiet", "silent", "silence", "q"):
            self._options["quiet"] = 2 if value == "all" or "exit" in value else 1
        elif name == "decode-fds":
            self._options["paths"] = int(value not in ("none", "!all"))
        else:
            raise UsageError(f"-e {text}: torov has trace=, signal=, status=, abbrev=, quiet= and decode-fds=")

    def filter(self, text: str) -> None:
        """Which calls are shown: names, ``%classes`` as strace has them, ``@groups`` of torov, ``/regex``, ``!`` in front for all
        but these, and in front of one of several to leave it out of them.

        Raises:
            UsageError: a name does not exist.
        """
        self._calls = selected(text)

    @property
    def calls(self) -> bytes:
        """A bit for each call that is shown."""
        found = set(range(512)) if self._calls is None else self._calls
        return sum(1 << nr for nr in found).to_bytes(64, "little")

    def only(self, numbers: Iterable[int]) -> None:
        """Show these calls only, by their numbers."""
        self._calls = set(numbers)

    def start(self) -> int:
        """Open the file and start what writes it.

        Returns:
            The socket for Machine(trace=...), which takes it over.

        Raises:
            TraceError: the file cannot be opened.
        """
        import time

        from torov.vmm.machine import trace_start

        each = (self.out or "") if self._twice else ""
        if each and self.format != "text":
            raise UsageError(f"-ff: --trace-format {self.format} is one file, which has the thread of each line; write -f")
        options = {
            **self._options,
            "append": int(self.append),
            "signals": self._signals,
            "format": FORMATS.index(self.format),
            "utc_offset": time.localtime().tm_gmtoff,
        }
        options["pid_prefix"] = int(self.out is not None and bool(options["follow"]) and not each)
        options["ordered"] = int(self.out is None or self.out.startswith("/dev/"))
        if self.out is not None and options.get("quiet", 0) == 0:
            options["quiet"] = 1
        try:
            if self.out is None:
                file = os.dup(2)
            elif each:
                file = os.open(os.path.dirname(each) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                if not os.access(os.path.dirname(each) or ".", os.W_OK | os.X_OK):
                    os.close(file)
                    raise PermissionError(errno.EACCES, "")
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | (os.O_APPEND if self.append else os.O_TRUNC)
                file = os.open(self.out, flags, 0o666)
        except OSError as error:
            raise TraceError(self.out or "standard error", error.errno or 0) from None
        try:
            self.socket = trace_start(options, self.calls, -1 if each else file, each)
        finally:
            os.close(file)
        return self.socket

    def finish(self, machine: Machine) -> None:
        """Wait until everything is written.

        Raises:
            TraceError: a line could not be written.
        """
        error = machine.trace_end()
        if error:
            raise TraceError(self.out or "standard error", error)


def _next(name: str, waiting: list[str]) -> str:
    if not waiting:
        raise UsageError(f"{name} needs a value")
    return waiting.pop(0)


def _signals(text: str) -> int:
    from torov.constants import TABLES

    names = TABLES["sig"].names
    inverted = text.startswith("!")
    found = 0
    for word in text.removeprefix("!").replace("%", "").split(","):
        if word in ("all", "none"):
            found |= (1 << 64) - 1 if word == "all" else 0
            continue
        name = word.upper() if word.upper().startswith("SIG") else f"SIG{word.upper()}"
        if name not in names and not word.isdecimal():
            raise UsageError(f"-e signal={text}: no signal is called {word}")
        found |= 1 << (int(word) if word.isdecimal() else names[name]) - 1
    return found ^ ((1 << 64) - 1) if inverted else found


def selected(text: str) -> set[int]:
    """The numbers of the calls that a filter names; arguments and errors as Tracing.filter()."""
    words = [word for word in text.split(",") if word]
    everything = set(range(512))
    if not words:
        return everything
    inverted = words[0].startswith("!")
    found: set[int] = set()
    out: set[int] = set()
    for i, word in enumerate(words):
        bare = word.removeprefix("!")
        (out if word.startswith("!") and i and not inverted else found).update(_named(bare, text))
    return (everything - found if inverted else found) - out


def _named(word: str, text: str) -> set[int]:
    from torov.syscalls import CALLS, GROUPS, by_name, nearest
    from torov.tracing.classes import ALIASES, CLASSES

    optional = word.startswith("?")
    word = word.removeprefix("?")
    if word in ("all", "none"):
        return set(range(512)) if word == "all" else set()
    if word.startswith("/"):
        import re

        return {call.nr for call in CALLS if re.search(word[1:], call.name)}
    if word.startswith("@"):
        if word[1:] not in GROUPS:
            raise UsageError(f"trace={text}: no group is called {word}")
        return {call.nr for call in GROUPS[word[1:]]}
    name = ALIASES.get(word.removeprefix("%"), word.removeprefix("%"))
    if name in CLASSES and (word.startswith("%") or by_name(name) is None):
        return {call.nr for call in CALLS if call.name in CLASSES[name].split()}
    call = by_name(word)
    if call is None and not optional:
        near = nearest(word)
        raise UsageError(f"trace={text}: no system call is called {word}{f'; did you mean {near}?' if near else ''}")
    return {call.nr} if call else set()


def known_format(text: str) -> str:
    """One of FORMATS.

    Raises:
        UsageError: it is none.
    """
    if text not in FORMATS:
        raise UsageError(f"--trace-format {text}: expected {', '.join(FORMATS)}")
    return text


def of_options(given: Mapping[str, str], policy: Mapping[str, object] | None) -> Tracing:
    """The trace that options of ``torov exec`` and a policy ask for.

    Args:
        given: options by their names; what they say comes before the policy.
        policy: Policy.trace, or None.

    Raises:
        UsageError: as Tracing.
    """
    import shlex

    made = Tracing(shlex.split(given.get("--trace-opts", "")), follow=True)
    if made.rest:
        raise UsageError(f"--trace-opts: {made.rest[0]} is no option of strace")
    words = policy or {}
    if given.get("--trace"):
        made.filter(given["--trace"])
    elif isinstance(words.get("calls"), list):
        from torov.syscalls import by_name

        names = words["calls"]
        calls = [by_name(str(name)) for name in (names if isinstance(names, list) else ())]
        made.only(call.nr for call in calls if call is not None)
    made.format = known_format(given.get("--trace-format") or str(words.get("format") or "text"))
    made.out = given.get("--trace-out") or made.out or (str(words["file"]) if words.get("file") else None)
    return made
