"""The command line: thin verbs over the stages. The only module that prints or exits.

``torov exec`` is on the path of every start, so its options are read here, without argparse (7 ms); the other verbs
have argparse. OPTIONS is the one table that exec's parser, its help and its messages come from.
"""

from __future__ import annotations

import os
import sys

from torov.cli_exec import EPILOG, run_exec, say, show
from torov.errors import TorovError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


VERBS = (
    ("exec", "run a program as a virtual machine under a policy"),
    ("strace", "run a program and show its system calls, with the options of strace"),
    ("policy", "look at policies, make and convert them"),
    ("patch", "show what would be changed in a program and why; write or undo a patched copy"),
    ("profile", "run a program many times: how long it takes, and how that compares"),
    ("corpus", "run real programs natively and by torov, and compare"),
    ("attach", "let gdb into a program that runs"),
    ("doctor", "look whether and how this machine can run guests"),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the words after the program's name; None for those of this process.

    Returns:
        The exit status.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        if words and words[0] == "exec":
            return run_exec(words[1:])
        if words and words[0] == "strace":
            from torov.cli_trace import run_strace

            return run_strace(words[1:])
        return _other(words)
    except TorovError as error:
        say(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # of our own output: torov patch | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _other(words: list[str]) -> int:
    import argparse

    from torov import __version__, policy_cli

    parser = argparse.ArgumentParser(
        prog="torov",
        description="Run unmodified Linux executables as virtual machines, every syscall under a policy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"torov {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", dest="verb")
    made = {name: verbs.add_parser(name, help=text, description=text) for name, text in VERBS}
    patch = made["patch"]
    patch.add_argument("file", metavar="FILE", nargs="?", help="the program")
    patch.add_argument("--json", action="store_true", help="print the plan as JSON")
    patch.add_argument("--diff", action="store_true", help="print the disassembly around each patched site")
    patch.add_argument("--all", action="store_true", help="also list bytes that no executable segment maps")
    patch.add_argument("--strict", action="store_true", help="patch only what is proven (leave CLEAN_GAP)")
    patch.add_argument("-o", metavar="OUT", dest="out", help="write the patched copy, or with --undo the original")
    patch.add_argument("--undo", metavar="PATCHED", help="give back the original of a patched copy")
    made["attach"].add_argument("pid", metavar="PID", type=int, help="the program's process")
    where = "where gdb comes; default: a free port of 127.0.0.1"
    made["attach"].add_argument("--gdb", metavar="[HOST:]PORT|unix:PATH", default="0", help=where)
    made["doctor"].add_argument("--json", action="store_true", help="print the findings as JSON")
    made["policy"].formatter_class = argparse.RawDescriptionHelpFormatter
    policy = policy_cli.add(made["policy"]) if words[:1] == ["policy"] else None  # imports more than the other verbs need
    if words[:1] == ["corpus"]:
        from torov import cli_corpus

        made["corpus"].formatter_class = argparse.RawDescriptionHelpFormatter
        corpus = cli_corpus.add(made["corpus"])
    rest: list[str] = []
    if words[:1] == ["profile"]:
        from torov import cli_profile

        made["profile"].formatter_class = argparse.RawDescriptionHelpFormatter
        profile = cli_profile.add(made["profile"])
        if "--" in words:
            words, rest = words[: words.index("--")], words[words.index("--") + 1 :]
    if not words:
        parser.print_help(sys.stderr)
        return 125
    try:
        options = parser.parse_args(words)
    except SystemExit as stop:  # argparse has printed; its 2 is our 125
        return 125 if stop.code else 0
    if options.verb == "corpus":
        return corpus(options)
    if options.verb == "profile":
        return profile(options, rest)
    handlers: dict[str, Callable[[argparse.Namespace], int]] = {"patch": _patch, "doctor": _doctor, "attach": _attach}
    return policy(options) if policy else handlers[options.verb](options)


def _patch(options: object) -> int:
    get = vars(options)
    file, out, undo = get["file"], get["out"], get["undo"]
    from torov.rewrite import patchfile, report

    if undo:
        if not out or file:
            raise UsageError("--undo needs a place for the original: torov patch --undo PATCHED -o ORIGINAL")
        made = patchfile.undo(undo, out)
        show(f"{out}: original of {undo}, {len(made.patched())} sites restored\n")
        return 0
    if not file:
        raise UsageError("no program given; write: torov patch FILE")
    from torov.loader import elf
    from torov.rewrite.plan import plan

    image = elf.load(file)
    made = plan(image, clean_gap=not get["strict"])
    if out:
        patchfile.write_patched(image, made, out)
    if get["json"]:
        import json

        show(json.dumps(report.document(image, made), indent=2) + "\n")
    elif get["diff"]:
        for text in report.diff(image, made):
            sys.stdout.write(text + "\n")
        sys.stdout.flush()
    else:
        from torov.report import print_plan

        print_plan(report.summary(image, made), report.rows(image, made, data=get["all"]))
    if out and not get["json"]:
        show(f"{out}: {len(made.patched())} sites patched\n")
    return 0


def _attach(options: object) -> int:
    from torov.gdb import attach

    get = vars(options)
    attach.attach(get["pid"], get["gdb"], say)
    return 0


def _doctor(options: object) -> int:
    from torov import doctor

    findings = doctor.examine()
    if vars(options)["json"]:
        import json

        show(json.dumps([finding.document() for finding in findings], indent=2) + "\n")
    else:
        from torov.report import print_findings

        print_findings(findings)
    return 0 if all(finding.good for finding in findings if finding.needed) else 125
