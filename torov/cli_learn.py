"""``torov policy infer`` and ``torov policy learn``: their options, and what they print."""

from __future__ import annotations

import os
import sys

from torov.errors import PolicyError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_INFER = "write a policy that allows the calls that a binary contains, found without running it"
_LEARN = "run a program with every call allowed, and write a policy of what it did"
_AGAIN = "Run it several times: a policy that was learned before is merged with. Rules of your own in it are kept."


def add(verbs: Any) -> dict[str, Callable[[Any], int]]:
    """Add both to the verbs of ``torov policy``.

    Args:
        verbs: what ArgumentParser.add_subparsers() gave.

    Returns:
        verb to what is called with the options that were read; it returns the exit status.
    """
    made = verbs.add_parser("infer", help=_INFER, description=_INFER)
    made.add_argument("file", metavar="FILE", help="the program")
    made.add_argument("-o", metavar="OUT", dest="out", help="write the policy there; default: standard output")
    made.add_argument("--json", action="store_true", help="print every site and its calls as JSON instead of the policy")
    made = verbs.add_parser("learn", help=_LEARN, description=f"{_LEARN}. {_AGAIN}")
    made.add_argument("-o", metavar="OUT", dest="out", required=True, help="the policy to write, or to merge with")
    made.add_argument("--fresh", action="store_true", help="forget what OUT knows")
    made.add_argument("--json", action="store_true", help="print what was learned as JSON to standard error")
    made.add_argument("--quiet", action="store_true", help="do not say what was learned")
    made.add_argument("command", nargs="...", metavar="-- FILE [ARG...]", help="the program and its arguments")
    return {"infer": _infer, "learn": _learn}


def _infer(options: Any) -> int:
    from torov import inferred, learned

    found = inferred.contents(options.file)
    policy = learned.dump(inferred.policy(found)) + "\n"
    if options.out:
        _write(options.out, policy)
    for note in inferred.notes(found):
        _say(f"{options.file}: {note}")
    if options.json or not options.out:
        sys.stdout.write(learned.dump(inferred.document(found)) + "\n" if options.json else policy)
        sys.stdout.flush()
    return 0


def _learn(options: Any) -> int:
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        raise UsageError("no program given; write: torov policy learn -o p.json -- FILE [ARG...]")
    from torov.learned import learn

    made = learn(options.out, words[0], words[1:], fresh=options.fresh)
    if options.json:
        import json

        os.write(2, (json.dumps(made.document()) + "\n").encode())
    elif not options.quiet:
        _say(made.text())
    return made.exit_status


def _write(out: str, text: str) -> None:
    from torov.loader.files import write_output

    try:
        write_output(out, text.encode())
    except OSError as error:
        raise PolicyError(out, "file", "a place that can be written", error.strerror or "an error") from None


def _say(text: str) -> None:
    os.write(2, f"torov: {text}\n".encode(errors="replace"))
