"""``torov policy``: look at a policy, convert one, and the verbs of cli_learn.py that make one."""

from __future__ import annotations

import os
import sys

from torov.errors import PolicyError, TorovError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torov.callshape import Call
    from torov.policy.inspect import Known
    from torov.policy.model import Step
    from torov.policy.source import Source

_EPILOG = """\
Examples:
  torov policy check p.json ./busybox
  torov policy explain p.json openat path=/etc/shadow flags=O_RDONLY
  torov policy explain p.json connect address=10.0.0.1:443
  torov policy diff old.json new.json
  torov policy convert docker-default.json -o p.json
  torov policy schema > policy.schema.json
  torov policy infer ./busybox -o p.json
  torov policy learn -o p.json -- ./server --port 8080
"""
_VERBS = (
    ("check", "say what is wrong with a policy: errors, rules without effect, calls of a binary that it refuses",
     "Exit status: 0 if the policy is sound, 1 if it has an error or a rule without effect. Calls of the binary that the policy "
     "refuses are listed and do not count: a binary contains more than it does."),
    ("explain", "show which rules a call meets, in order, and which of them decides",
     "Arguments that are not given are not known: then all rules that may decide are shown. A path is given as what it "
     "resolves to, a socket address as address=HOST:PORT, address=[HOST]:PORT, address=unix:PATH or address=none."),
    ("diff", "show for which calls two policies decide differently", "Exit status: 0 if for none, 1 if for some."),
    ("convert", "write a seccomp profile or ToroV's configuration in torov's own form", "What is written decides the same."),
    ("schema", "print the JSON Schema of torov's own form", "Draft 2020-12; the same file is torov/policy/schema.json."),
)  # fmt: skip


def add(parser: Any) -> Callable[[Any], int]:
    """Add the verbs of ``torov policy``.

    Args:
        parser: the ArgumentParser of ``torov policy``.

    Returns:
        What is called with the options that were read; it returns the exit status.
    """
    import textwrap

    from torov import cli_learn

    parser.epilog = _EPILOG
    verbs = parser.add_subparsers(metavar="VERB", dest="policy_verb")
    made = {}
    for name, text, rest in _VERBS:
        examples = [line for line in _EPILOG.splitlines() if line.startswith(f"  torov policy {name}")]
        whole = textwrap.fill(f"{text[0].upper()}{text[1:]}. {rest}", 79)
        form, epilog = parser.formatter_class, "\n".join(["Examples:", *examples])
        made[name] = verbs.add_parser(name, help=text, description=whole, epilog=epilog, formatter_class=form)
        if name != "schema":
            made[name].add_argument("file", metavar="POLICY", help="a policy in any form that torov exec --policy takes")
            more = "what seccomp profiles are read with, as CAP_KILL,CAP_CHOWN; default: the policy's own, else Docker's"
            made[name].add_argument("--capabilities", metavar="LIST", help=more)
        if name not in ("schema", "convert"):
            made[name].add_argument("--json", action="store_true", help="print the result as JSON")
    made["check"].add_argument("binary", metavar="BINARY", nargs="?", help="a program: which of its calls are refused")
    made["explain"].add_argument("call", metavar="CALL", help="name or number of a system call")
    made["explain"].add_argument("args", metavar="ARG=VALUE", nargs="*", help="its arguments, as flags=O_RDONLY path=/etc/passwd")
    made["diff"].add_argument("other", metavar="OTHER", help="the policy to compare with")
    made["convert"].add_argument("-o", metavar="OUT", dest="out", help="write it there; default: standard output")
    handlers: dict[str, Callable[[Any], int]] = {
        "check": _check, "explain": _explain, "diff": _diff, "convert": _convert, "schema": _schema, **cli_learn.add(verbs),
    }  # fmt: skip

    def run(options: Any) -> int:
        if options.policy_verb is None:
            parser.print_help(sys.stderr)
            return 125
        return handlers[options.policy_verb](options)

    return run


def _out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _json(document: object) -> None:
    import json

    _out(json.dumps(document, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _source(file: str, options: Any) -> Source:
    from torov.policy import jsonfile, settings, source

    caps = None if options.capabilities is None else settings.capability_list(options.capabilities)
    return source.read(file, jsonfile.contents(file), caps)


def _check(options: Any) -> int:
    from torov.policy.inspect import findings

    try:
        source = _source(options.file, options)
        from torov.policy import compile as compiler

        compiler.compiled(source.rules, source.default, False, tuple(source.settings.delegates or {}))
    except PolicyError as error:
        if options.json:
            _json({"file": options.file, "errors": [str(error)], "findings": []})
        else:
            _out(f"{error}\n")
        return 1
    found = findings(source)
    bad = [finding for finding in found if finding.kind != "part dead"]
    calls, unknown = _binary(options.binary, source) if options.binary else ([], [])
    if options.json:
        document: dict[str, object] = {"file": options.file, "errors": [], "rules": len(source.rules)}
        document["findings"] = [{"kind": one.kind, "rule": one.rule.label, "text": one.text} for one in found]
        if options.binary:
            document["refused"] = [{"call": name, "action": action, "why": text} for name, action, text in calls]
            document["unknown"] = unknown
        _json(document)
        return 1 if bad else 0
    from torov.report import print_table

    if found:
        print_table(("", "rule", "why"), [(one.kind, one.rule.label, one.text) for one in found], title="")
    if calls:
        rows = [(name, action, text) for name, action, text in calls]
        print_table(("call", "action", "why"), rows, title=f"{options.binary} contains, and the policy refuses:")
    for line in unknown:
        _out(f"{options.binary}: {line}\n")
    count = len([rule for rule in source.rules if not rule.literal])
    _out(f"{options.file}: {count} rules, {len(bad) or 'none'} without effect\n")
    return 1 if bad else 0


def _binary(binary: str, source: Source) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The calls that a program contains and a policy refuses, each with what refuses it; and what is not known."""
    from torov import inferred
    from torov.policy.inspect import conditions, steps, why
    from torov.policy.model import REFUSING
    from torov.syscalls import by_name

    made = inferred.contents(binary)
    rows = []
    for name in sorted((*made.calls, *made.guarded, *made.unserved)):
        call = by_name(name)
        assert call is not None
        for step in steps(source, call):
            if step.action.kind in REFUSING:
                where = f" if {conditions(step)}" if step.conds else ""
                rows.append((name, f"{step.action}{where}", why(source, call, step)))
    return rows, [line for line in inferred.notes(made) if line.startswith(("Unknown", "It is dynamic"))]


def _call(word: str) -> Call:
    from torov.syscalls import by_name, by_number, nearest

    call = by_number(int(word)) if word.isdecimal() and len(word) < 5 else by_name(word)
    if call is None:
        near = nearest(word)
        raise UsageError(f"{word}: no system call of x86-64{f' (did you mean {near}?)' if near else ''}")
    return call


def _explain(options: Any) -> int:
    from torov.policy import given
    from torov.policy.inspect import steps

    source, call = _source(options.file, options), _call(options.call)
    known = given.read(call, options.args)
    found = steps(source, call)
    answers = _answers(found, known)
    rows = [_row(source, call, step, answer) for step, answer in zip(found, answers, strict=True)]
    if options.json:
        keys = ("answer", "action", "conditions", "rule")
        _json({"call": call.name, "steps": [dict(zip(keys, row, strict=True)) for row in rows]})
        return 0
    from torov.report import print_table

    print_table(("", "action", "if", "rule"), rows, title=f"{call.name}({', '.join(arg.name for arg in call.args)})")
    return 0


def _answers(found: list[Step], known: Known) -> list[str]:
    """For each step: "decides", "may decide", "no", or "not reached"."""
    words, over, certain = [], False, True
    for step in found:
        holds = known.holds(step)
        if over:
            words.append("not reached")
        elif holds is False:
            words.append("no")
        elif holds is None:
            words.append("may decide")
            certain = False
        else:
            words.append("decides" if certain else "may decide")
            over = True
    return words


def _row(source: Source, call: Call, step: Step, answer: str) -> tuple[str, str, str, str]:
    from torov.policy.inspect import conditions, why

    return answer, str(step.action), conditions(step), why(source, call, step)


def _diff(options: Any) -> int:
    from torov.policy.inspect import differences, settings_changed

    one, other = _source(options.file, options), _source(options.other, options)
    changes, changed = differences(one, other), settings_changed(one, other)
    if options.json:
        calls = [{"calls": change.calls, "before": change.before, "after": change.after} for change in changes]
        settings = [{"name": name, "before": before, "after": after} for name, before, after in changed]
        _json({"before": options.file, "after": options.other, "calls": calls, "settings": settings})
    elif changes or changed:
        from torov.report import print_table

        rows = [(", ".join(change.calls), "\n".join(change.before), "\n".join(change.after)) for change in changes]
        rows += [(name, str(before or "-"), str(after or "-")) for name, before, after in changed]
        print_table(("what", options.file, options.other), rows)
    else:
        _out(f"{options.file} and {options.other} decide the same about every call\n")
    return 1 if changes or changed else 0


def _convert(options: Any) -> int:
    import json

    from torov.loader.files import write_output
    from torov.policy import convert

    source = _source(options.file, options)
    if source.form == "torov":
        raise UsageError(f"{options.file} is in torov's own form already")
    beside = os.path.dirname(os.path.abspath(options.out)) if options.out else os.getcwd()
    text = json.dumps(convert.document(source, beside), indent=2) + "\n"
    if not options.out:
        _out(text)
        return 0
    try:
        write_output(options.out, text.encode())
    except OSError as error:
        raise TorovError(f"{options.out}: {error.strerror}") from None
    return 0


def _schema(options: Any) -> int:
    with open(os.path.join(os.path.dirname(__file__), "policy", "schema.json"), encoding="utf-8") as stream:
        _out(stream.read())
    return 0
