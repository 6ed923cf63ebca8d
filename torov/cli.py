"""The command line: thin verbs over the stages. The only module that prints or exits.

``torov exec`` is on the path of every start, so its options are read here, without argparse (7 ms); the other verbs
have argparse. OPTIONS is the one table that exec's parser, its help and its messages come from.
"""

from __future__ import annotations

import os
import sys

from torov.errors import LoadError, TorovError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from torov.policy import Policy
    from torov.vmm.machine import Machine, Stop

OPTIONS = (
    ("--policy", "FILE", "the policy: JSON in our form or ToroV's (docs/policy.md); default: the built-in policy"),
    ("--jail", "", "confine the monitor: no network, the host's files read-only, own processes (docs/isolation.md)"),
    ("--no-seccomp", "", "with --policy or --jail: do not filter the monitor's own system calls"),
    ("--stats", "", "after the end, print exits, syscalls by name, patched and trapped hits and times to stderr"),
    ("--layout", "", "before the start, print the guest's memory layout to stderr"),
    ("--json", "", "print --stats and --layout as one JSON document a line"),
    ("--quiet", "", "do not report denied and unserved calls"),
    ("--strict", "", "patch only what is proven: leave CLEAN_GAP sites to the trap net (docs/rewriting.md)"),
    ("--no-vdso", "", "do not offer a vDSO: reading the time costs an exit"),
    ("--stack", "SIZE", "size of the stack, as 8M; default: ulimit -s"),
    ("--help", "", "show this and exit"),
)
"""Long name, the name of its value or "", and what it does."""

VERBS = (
    ("exec", "run a program as a virtual machine under a policy"),
    ("patch", "show what would be changed in a program and why; write or undo a patched copy"),
    ("doctor", "look whether and how this machine can run guests"),
)

_EPILOG = """\
Exit status: the program's own; 128+n after signal n; 125 if torov itself fails, 126 if the file cannot be run,
127 if it is not found.

Examples:
  torov exec ./hello
  torov exec ./busybox --policy p.json -- ls -la /tmp
  torov patch ./busybox --diff
  torov doctor
"""


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
            return _exec(words[1:])
        return _other(words)
    except TorovError as error:
        _say(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # of our own output: torov patch | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _say(text: str) -> None:
    """One line to standard error, in one write, so that it does not mix with the guest's."""
    os.write(2, f"torov: {text}\n".encode(errors="replace"))


def _out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _exec_help() -> str:
    width = max(len(f"{name} {value}") for name, value, _ in OPTIONS)
    rows = "\n".join(f"  {f'{name} {value}':<{width}}  {text}" for name, value, text in OPTIONS)
    return (
        "Usage: torov exec [OPTION...] FILE [OPTION...] [-- ARG...]\n\n"
        "Run the executable FILE as a virtual machine; everything after -- is its own.\n\n"
        f"Options:\n{rows}\n\n{_EPILOG}"
    )


class _ExecWords:
    """The words of ``torov exec``, read."""

    __slots__ = ("args", "file", "given")

    def __init__(self, words: list[str]) -> None:
        self.file: str | None = None
        self.args: list[str] = []
        self.given: dict[str, str] = {}
        valued = {name: value for name, value, _ in OPTIONS}
        rest = iter(words)
        for word in rest:
            if word == "--":
                self.args = list(rest)
                if self.file is None and self.args:
                    self.file = self.args.pop(0)
                break
            name, equals, value = word.partition("=")
            name = {"-h": "--help", "-q": "--quiet", "-p": "--policy"}.get(name, name)
            if name in valued:
                if valued[name] and not equals:
                    value = next(rest, "")
                    if not value:
                        raise UsageError(f"{name} needs a value: {name} {valued[name]}")
                elif equals and not valued[name]:
                    raise UsageError(f"{name} takes no value")
                self.given[name] = value
            elif self.file is None and not (word.startswith("-") and len(word) > 1):
                self.file = word
            else:
                raise self._stray(word, list(rest))

    def _stray(self, word: str, rest: list[str]) -> UsageError:
        if self.file is None:
            import difflib

            near = difflib.get_close_matches(word, [name for name, _, _ in OPTIONS], 1)
            hint = f"did you mean {near[0]}?" if near else "see torov exec --help"
            return UsageError(f"{word}: no such option of torov exec; {hint}")
        import shlex

        line = shlex.join(["torov", "exec", self.file, "--", word, *(w for w in rest if w != "--")])
        kind = "is no option of torov exec" if word.startswith("-") else "belongs to the program"
        return UsageError(f"{word} {kind}; what is the program's comes after --, as: {line}")


def _exec(words: list[str]) -> int:
    line = _ExecWords(words)
    given = line.given
    if "--help" in given:
        _out(_exec_help())
        return 0
    policy: Policy | None = None
    if "--policy" in given:
        from torov.policy import load

        policy = load(given["--policy"])
    if line.file is None:
        raise UsageError("no program given; write: torov exec FILE [-- ARG...]")
    from torov.prepare import cache_of, images_of
    from torov.vmm.machine import KILLED, SIGNALLED, Machine

    if os.path.isfile(line.file) and not os.access(line.file, os.X_OK):
        raise LoadError(line.file, "mode", "an executable file", f"no execute permission; chmod +x {line.file}")
    flags = 32 | (2 if "--no-vdso" in given else 0)  # TV_F_OWN: ps(1) shows the program's arguments
    stack = _size(given["--stack"]) if "--stack" in given else 0
    clean_gap = "--strict" not in given
    image: str | int
    loader: str | int | None
    image, loader = images_of(line.file, clean_gap=clean_gap)
    cache, version = cache_of(clean_gap)
    actions, program = (policy.actions, getattr(policy, "program", b"")) if policy else (None, b"")
    exe = os.path.realpath(line.file)
    if "--quiet" in given:
        flags |= 8
    source = policy.source if policy else "the built-in policy"
    held: dict[str, int] = {}
    around = None
    if policy or "--jail" in given:
        from torov.jail import Around

        around = Around(policy, "--jail" in given, "--no-seccomp" not in given)
        if around.closed and "--stats" in given:
            _warm()
        ended = around.enter(image, loader)
        if ended is not None:  # this is the supervisor
            if ended[0]:
                _say(f"{line.file}: {ended[0]}")
            return ended[1]
        image, loader, held = around.image or image, around.loader or loader, around.held
        flags |= around.flags
    machine = Machine(
        image,
        exe,
        [line.file, *line.args],
        None,
        actions,
        loader=loader,
        cache=cache,
        cache_version=version,
        stack_size=stack,
        flags=flags,
        program=program,
        kvm=held.get("kvm", 0),
        runner=held.get("runner", 0),
    )
    # not closed: the end of this process, which is next, takes the VM and its memory in one go
    if "--layout" in given:
        _print_layout(machine, "--json" in given)
    if around:
        around.seal(machine)
    stop = machine.run(None if "--quiet" in given else lambda notice: _notice(notice, source))
    if stop.kind == KILLED:
        _say(f"killed {line.file}: {stop.text}: {stop.label or f'not allowed by {source}'}")
    elif stop.kind == SIGNALLED and stop.code > 0 and "--quiet" not in given:
        _fault(line.file, stop)
    if "--stats" in given:
        _print_stats(machine, stop, "--json" in given)
    return stop.exit_status


def _size(text: str) -> int:
    """Bytes of ``8M``, ``512k``, ``1G`` or a plain number."""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    shift = {"": 0, "k": 10, "m": 20, "g": 30}.get(unit)
    if shift is None or not digits.isdecimal():
        raise UsageError(f"--stack {text}: expected a size such as 8M")
    return int(digits) << shift


def _errno_name(number: int) -> str:
    import errno

    return errno.errorcode.get(number, str(number))


def _notice(notice: Stop, source: str) -> None:
    from torov.syscalls import name_of
    from torov.vmm import machine

    name = name_of(notice.nr)
    if notice.note == machine.DENIED:
        why = notice.label or f"not allowed by {source}"
        _say(f"denied {notice.text} = {_errno_name(notice.errno)}: {why}")
    elif notice.note == machine.LOGGED:
        _say(f"log {notice.text}: {notice.label or source}")
    elif notice.note == machine.UNSERVED:
        from torov.syscalls import by_number

        row = by_number(notice.nr)
        _say(f"{name} = {_errno_name(notice.errno)}: {row.why if row else 'not served'}")
    elif notice.note == machine.GADGET:
        _say(f"a syscall was made from {notice.address:#x}, which is no instruction of the program ({name})")
    else:
        _say(f"the host's vDSO cannot be used ({_errno_name(notice.errno)}): reading the time costs an exit")


def _fault(file: str, stop: Stop) -> None:
    import _signal  # type: ignore[import-not-found]  # built in: in a jail there is no file to import

    names = {value: name for name, value in vars(_signal).items() if name.startswith("SIG") and not name.startswith("SIG_")}
    name = names.get(stop.status, f"signal {stop.status}")
    _say(f"{file}: {name} at {stop.rip:#x}, address {stop.address:#x}")


def _print_layout(machine: Machine, as_json: bool) -> None:
    rows = machine.layout()
    if as_json:
        import json

        keys = ("start", "end", "prot", "name")
        text = json.dumps({"layout": [dict(zip(keys, row, strict=True)) for row in rows]})
    else:
        text = "\n".join(f"{start:#014x}-{end:#014x} {prot} {name}" for start, end, prot, name in rows)
    os.write(2, f"{text}\n".encode())


def _warm() -> None:
    """Import now what printing tables takes: in a jail it is not there."""
    from torov import report

    report.warm()


def _print_stats(machine: Machine, stop: Stop, as_json: bool) -> None:
    from torov import report

    calls, stats = machine.calls(), machine.stats()
    if as_json:
        import json

        os.write(2, (json.dumps(report.stats_document(stop, stats, calls)) + "\n").encode())
    else:
        report.print_stats(stop, stats, calls)


def _other(words: list[str]) -> int:
    import argparse

    from torov import __version__

    parser = argparse.ArgumentParser(
        prog="torov",
        description="Run unmodified Linux executables as virtual machines, every syscall under a policy.",
        epilog=_EPILOG,
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
    made["doctor"].add_argument("--json", action="store_true", help="print the findings as JSON")
    if not words:
        parser.print_help(sys.stderr)
        return 125
    try:
        options = parser.parse_args(words)
    except SystemExit as stop:  # argparse has printed; its 2 is our 125
        return 125 if stop.code else 0
    handlers: dict[str, Callable[[argparse.Namespace], int]] = {"patch": _patch, "doctor": _doctor}
    return handlers[options.verb](options)


def _patch(options: object) -> int:
    get = vars(options)
    file, out, undo = get["file"], get["out"], get["undo"]
    from torov.rewrite import patchfile, report

    if undo:
        if not out or file:
            raise UsageError("--undo needs a place for the original: torov patch --undo PATCHED -o ORIGINAL")
        made = patchfile.undo(undo, out)
        _out(f"{out}: original of {undo}, {len(made.patched())} sites restored\n")
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

        _out(json.dumps(report.document(image, made), indent=2) + "\n")
    elif get["diff"]:
        for text in report.diff(image, made):
            sys.stdout.write(text + "\n")
        sys.stdout.flush()
    else:
        from torov.report import print_plan

        print_plan(report.summary(image, made), report.rows(image, made, data=get["all"]))
    if out and not get["json"]:
        _out(f"{out}: {len(made.patched())} sites patched\n")
    return 0


def _doctor(options: object) -> int:
    from torov import doctor

    findings = doctor.examine()
    if vars(options)["json"]:
        import json

        _out(json.dumps([finding.document() for finding in findings], indent=2) + "\n")
    else:
        from torov.report import print_findings

        print_findings(findings)
    return 0 if all(finding.good for finding in findings if finding.needed) else 125
