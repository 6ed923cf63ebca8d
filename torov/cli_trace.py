"""``torov strace``, which takes strace's own options."""

from __future__ import annotations

from torov.cli_exec import OPTIONS, run_line, show
from torov.errors import UsageError
from torov.exec_words import ExecWords
from torov.tracing.options import Tracing, known_format

HELP = """\
Usage: torov strace [OPTION...] [torov exec's long options] PROGRAM [ARG...]

Run PROGRAM as a virtual machine and show its system calls as strace does.

  -e EXPR      trace=openat,%file,!read: names, classes of strace, @groups of torov, /regex; ! in front: all but these
               signal=SIGCHLD,!SIGIO   status=successful|failed   abbrev=none   quiet=exit
  -f           threads and processes that it starts, too
  -o FILE      write to FILE; -A appends. Without it: standard error
  -c, -C       count calls, errors and time, and print a table at the end; -C: besides the trace
  -y           what descriptors stand for
  -s SIZE      bytes of strings that are shown (32)
  -v           whole structures and the environment
  -x, -xx      strings that are no text in hexadecimal; all strings
  -t, -tt, -ttt, -r, -T    time of day, with microseconds, seconds since 1970; since the last line; in the call
  -z, -Z       only calls that succeeded; that failed
  -a COLUMN    where results are aligned (40)
  -q, -qq      no messages about threads and processes; nor about their ends
  --format FORMAT    text, json (an object a line) or perfetto (opens in ui.perfetto.dev)

Options of torov exec stand between: torov strace -f --policy p.json ./program. docs/tracing.md says what differs from strace.
"""
_OURS = ("--policy", "--config", "--capabilities", "--audit", "--stack")
_OURS_BARE = ("--jail", "--no-seccomp", "--explain", "--stats", "--layout", "--json", "--quiet", "--strict", "--no-vdso")


def run_strace(words: list[str]) -> int:
    """The verb: from its words to the exit status.

    Args:
        words: behind ``torov strace``.

    Raises:
        TorovError: what cannot be done.
    """
    ours: list[str] = []
    theirs: list[str] = []
    form = "text"
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            show(HELP)
            return 0
        if not word.startswith("-") or word in ("-", "--"):
            theirs += [*([] if word == "--" else [word]), *rest]
            break
        if name == "--format":
            form = value if equals else next(rest, "")
        elif name in _OURS:
            ours += [name, value if equals else next(rest, "")]
        elif word in _OURS_BARE:
            ours.append(word)
        else:
            theirs.append(word)
            if _takes_next(word):
                theirs.append(next(rest, ""))
    made = Tracing(theirs)
    made.format = known_format(form)
    if not made.rest:
        raise UsageError("no program given; write: torov strace [OPTION...] PROGRAM [ARG...]")
    line = ExecWords([*ours, _found(made.rest[0]), "--", *made.rest[1:]], OPTIONS)
    line.trace, line.called = made, made.rest[0]
    return run_line(line)


def _takes_next(word: str) -> bool:
    """Is the next word the value of this option of strace?"""
    if word.startswith("--"):
        return word in ("--output", "--expr", "--trace", "--string-limit", "--columns")
    return word[-1] in "oesa" and not set(word[1:-1]) & set("oesa")


def _found(program: str) -> str:
    """The program as a shell finds it."""
    if "/" in program:
        return program
    import shutil

    return shutil.which(program) or program
