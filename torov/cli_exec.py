"""``torov exec``: its options, and the way from a command line to the end of a guest. On the path of every start.

OPTIONS is the one table that the parser, the help and the messages come from.
"""

from __future__ import annotations

import os
import sys
from time import monotonic_ns

from torov.errors import LoadError, UsageError
from torov.exec_words import ExecWords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from torov.coredump import Cores
    from torov.policy import Policy
    from torov.tracing.options import Tracing
    from torov.vmm.machine import Machine, Stop

OPTIONS = (
    ("--policy", "FILE", "the policy: JSON in our form or ToroV's (docs/policy.md); default: the built-in policy"),
    (
        "--config",
        "FILE",
        "ToroV's configuration, which names the program: torov exec --config FILE [-- ARG...]",
    ),
    ("--capabilities", "LIST", "what seccomp profiles are read with, as CAP_KILL,CAP_CHOWN; default: Docker's"),
    ("--jail", "", "confine the monitor: no network, read-only files, own processes (docs/isolation.md)"),
    ("--no-seccomp", "", "with --policy or --jail: do not filter the monitor's own system calls"),
    ("--audit", "FILE", "append what the policy refused, logged, asked or delegated to FILE, one JSON object a line"),
    ("--core", "[=FILE]", "if a signal ends it, leave a core file; default: core.%p (docs/core-dumps.md)"),
    ("--trace", "[=FILTER]", "show system calls as strace does: --trace=%file,openat (docs/tracing.md)"),
    ("--trace-out", "FILE", "where the trace goes; default: standard error"),
    ("--trace-format", "FORMAT", "text, json (an object a line), perfetto (for ui.perfetto.dev)"),
    ("--trace-opts", "WORDS", "options of strace, as --trace-opts '-y -T -s 200'"),
    ("--explain", "", "after the end, print which rules decided what, and how often, to stderr"),
    ("--stats", "", "after the end, print exits, syscalls by name, patched and trapped hits and times to stderr"),
    ("--gdb", "ADDRESS", "wait for gdb at [HOST:]PORT or unix:PATH; ADDRESS,nowait: do not wait (docs/debugging.md)"),
    ("--layout", "", "before the start, print the guest's memory layout to stderr"),
    ("--json", "", "print --stats, --explain and --layout as one JSON document a line"),
    ("--quiet", "", "do not report denied and unserved calls"),
    ("--strict", "", "patch only what is proven: leave CLEAN_GAP sites to the trap net (docs/rewriting.md)"),
    ("--no-vdso", "", "do not offer a vDSO: reading the time costs an exit"),
    ("--stack", "SIZE", "size of the stack, as 8M; default: ulimit -s"),
    ("--perf", "[=FILE]", "sample its stacks: FILE.folded and FILE.svg; time of calls to stderr (docs/profiling.md)"),
    ("--perf-hz", "N", "samples of a second of CPU time of each thread; default: 999"),
    ("--sample", "FD:HZ", ""),
    ("--times", "FD", ""),
    ("--help", "", "show this and exit"),
)
"""Long name; the name of its value or "", in brackets and with its = if it may be left out; what it does, or "": torov's own."""

EPILOG = """\
Exit status: the program's own; 128+n after signal n; 125 if torov itself fails, 126 if the file cannot be run,
127 if it is not found.

Examples:
  torov exec ./hello
  torov exec ./busybox --policy p.json -- ls -la /tmp
  torov patch ./busybox --diff
  torov doctor
"""


def say(text: str) -> None:
    """One line to standard error, in one write, so that it does not mix with the guest's."""
    os.write(2, f"torov: {text}\n".encode(errors="replace"))


def show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _exec_help() -> str:
    words = [(f"{name}{value}" if value.startswith("[") else f"{name} {value}", text) for name, value, text in OPTIONS if text]
    width = max(len(word) for word, _ in words)
    rows = "\n".join(f"  {word:<{width}}  {text}" for word, text in words)
    return (
        "Usage: torov exec [OPTION...] FILE [OPTION...] [-- ARG...]\n\n"
        "Run the executable FILE as a virtual machine; everything after -- is its own.\n\n"
        f"Options:\n{rows}\n\n{EPILOG}"
    )


def run_exec(words: list[str]) -> int:
    """The verb: from its words to the exit status; raises TorovError for what cannot be done."""
    return run_line(ExecWords(words, OPTIONS))


def run_line(line: ExecWords) -> int:
    """As run_exec(), for words that are read."""
    given = line.given
    if "--help" in given:
        show(_exec_help())
        return 0
    if "--perf" in given or "--perf-hz" in given:
        from torov.perf import cli_perf

        return cli_perf.run(line.given, line.file, line.args)
    from torov.vmm.machine import KILLED, SIGNALLED, Machine, ahead, ask_terminal

    policy, file, args = _policy_of(line)
    if "--jail" in given or (policy and policy.jail and policy.jail.get("network") != "host"):
        ahead()
    if line.trace is None and (any(name.startswith("--trace") for name in given) or (policy and policy.trace is not None)):
        line.trace = _trace(given, policy)
    from torov.prepare import cache_of, images_of

    if os.path.isfile(file) and not os.access(file, os.X_OK):
        raise LoadError(file, "mode", "an executable file", f"no execute permission; chmod +x {file}")
    env = None
    if policy and (policy.environment or policy.arguments):
        from torov import passing

        passing.check_arguments(policy, args)
        env = passing.environment(policy, os.environ)
    flags = 32 | (2 if "--no-vdso" in given else 0)  # TV_F_OWN: ps(1) shows the program's arguments
    stack = _size(given["--stack"]) if "--stack" in given else 0
    clean_gap = "--strict" not in given
    image: str | int
    loader: str | int | None
    image, loader = images_of(file, clean_gap=clean_gap)
    cache, version = cache_of(clean_gap)
    start, strict = 0, b""
    if policy and policy.startaddr is not None and "--config" in given:
        from torov import passing

        start = passing.start_address(file, policy.startaddr, policy.source)
    if policy and policy.strict:
        from torov.strict import strict_table

        if loader is not None:
            raise LoadError(file, "PT_INTERP", "a static program, since the policy is strict", "one that is linked dynamically")
        strict = strict_table(file, clean_gap=clean_gap)
    actions, program = (policy.actions, policy.program) if policy else (None, b"")
    delegates = _delegates(policy) if policy and policy.delegates else []
    tty = ask_terminal(program)
    exe = os.path.realpath(file)
    if "--quiet" in given:
        flags |= 8
    source = policy.source if policy else "the built-in policy"
    log = None
    if "--audit" in given or "--explain" in given:
        from torov.audit import Log

        log = Log(given.get("--audit"))
    times = _times(int(given["--times"])) if "--times" in given else None
    debug = _debugger(given.get("--gdb"), policy)
    trace = line.trace.start() if line.trace else 0
    socket, _, hertz = given.get("--sample", "0:0").partition(":")  # of torov/perf
    sampled = int(socket), int(hertz)
    held: dict[str, int] = {}
    around, cores = None, None
    if policy or "--jail" in given:
        from torov.jail import Around

        had = {"audit": log, "core": "--core" in given, "debug": debug, "trace": trace, "perf": sampled[0]}
        has = tuple(name for name, there in had.items() if there)
        around = Around(policy, "--jail" in given, "--no-seccomp" not in given, has)
        if around.closed and ("--stats" in given or log):
            _warm()
        if "--core" in given:
            cores = _cores(given["--core"], around.closed)
        some = (log.socket if log else 0, tty, cores.descriptor if cores else 0, debug, trace, sampled[0])
        along = [*(fd for fd in some if fd), *delegates]
        ended = around.enter(image, loader, along)
        if ended is not None:  # this is the supervisor
            if ended[0]:
                say(f"{file}: {ended[0]}")
            return ended[1]()
        if around.image is not None:
            image, loader, held = around.image, around.loader, around.held
        flags |= around.flags
    elif "--core" in given:
        cores = _cores(given["--core"], False)
    machine = Machine(
        image,
        exe,
        [line.called or file, *args],
        env,
        actions,
        execfn=file,
        loader=loader,
        cache=cache,
        cache_version=version,
        stack_size=stack,
        flags=flags,
        program=program,
        audit=log.socket if log else 0,
        trace=trace,
        tty=tty,
        delegates=delegates,
        strict=strict,
        start=start,
        kvm=held.get("kvm", 0),
        runner=held.get("runner", 0),
        shared=around.shared if around else 0,
        limits=around.limits if around else None,
        core=cores.target if cores else (0, ""),
        debug=debug,
        perf=sampled,
    )
    # not closed: the end of this process, which is next, takes the VM and its memory in one go
    if "--layout" in given:
        _print_layout(machine, "--json" in given)
    if around:
        around.seal(machine)
    if times:
        times[:8] = monotonic_ns().to_bytes(8, "little")  # now: after execve(2) nobody is there to write it
    stop = machine.run(None if "--quiet" in given else lambda notice: _notice(notice, source))
    if times:
        times[8:16] = monotonic_ns().to_bytes(8, "little")
    dumped = stop.dumped(cores.directory if cores else "")
    if stop.kind == KILLED:
        say(f"killed {file}: {stop.text}: {stop.label or f'not allowed by {source}'}{dumped}")
    elif stop.kind == SIGNALLED and stop.text:
        say(f"{file}: {stop.text}{dumped}")
    if line.trace:
        line.trace.finish(machine)
    if log:
        lines = log.finish(machine, read="--explain" in given)
        if "--explain" in given:
            _explain(lines, "--json" in given)
    if "--stats" in given:
        _print_stats(machine, stop, "--json" in given)
    return stop.exit_status


def _policy_of(line: ExecWords) -> tuple[Policy | None, str, list[str]]:
    """The policy, the program and its arguments."""
    given = line.given
    if "--config" in given and "--policy" in given:
        raise UsageError("--config and --policy are both policies: give one of them")
    path = given.get("--config") or given.get("--policy")
    policy: Policy | None = None
    if path is not None:
        from torov.policy import load

        policy = load(path, _capabilities(given["--capabilities"]) if "--capabilities" in given else None)
    if "--config" not in given or policy is None:
        if line.file is None:
            raise UsageError("no program given; write: torov exec FILE [-- ARG...]")
        return policy, line.file, line.args
    args = line.args if line.file is None else [line.file, *line.args]  # the first word after -- is an argument here
    if policy.binary is None:
        raise UsageError(f'{path}: no "Binary"; write: torov exec FILE --policy {path}')
    return policy, os.path.join(os.path.dirname(path or ""), policy.binary), args


def _capabilities(text: str) -> frozenset[str]:
    from torov.policy.settings import capability_list

    return capability_list(text)


def _delegates(policy: Policy) -> list[int]:
    from torov.delegate import connect

    return connect(policy.delegates, {name: words.get("socket", "") for name, words in policy.delegates.items()})


def _times(descriptor: int) -> Any:
    """Memory for torov profile: when the guest began and ended."""
    from torov.vmm.machine import map_shared

    memory = map_shared(descriptor, 16)
    os.close(descriptor)
    return memory


def _cores(pattern: str, closed: bool) -> Cores:
    from torov.coredump import Cores

    return Cores(pattern, closed)


def _debugger(where: str | None, policy: Policy | None) -> int:
    """The socket of a gdb server: of --gdb, or of the policy's word that debugging is allowed; 0: nobody wants one."""
    if where is None and policy is not None:
        debug = policy.debug or {"allowed": policy.debug_allowed, "port": policy.debug_port}
        where = str(debug.get("port") or 1234) if debug.get("allowed") else None
    if where is None:
        return 0
    from torov.gdb.start import launch

    sock, place = launch(where)
    say(f"{'waiting for gdb' if place.wait else 'gdb may come'}: {place.command}")
    return sock


def _explain(lines: list[dict[str, object]], as_json: bool) -> None:
    from torov import audit, report

    rows = audit.summary(lines)
    if as_json:
        import json

        os.write(2, (json.dumps({"explain": [row.document() for row in rows]}) + "\n").encode())
    else:
        report.print_explain(rows)


def _trace(given: dict[str, str], policy: Policy | None) -> Tracing:
    from torov.tracing.options import of_options

    return of_options(given, policy.trace if policy else None)


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
    from torov.vmm import machine

    if notice.note == machine.DENIED:
        why = notice.label or f"not allowed by {source}"
        say(f"denied {notice.text} = {_errno_name(notice.errno)}: {why}")
    elif notice.note == machine.LOGGED:
        say(f"log {notice.text}: {notice.label or source}")
    elif notice.note == machine.UNSERVED:
        say(f"{notice.text} = {_errno_name(notice.errno)}: {notice.label or 'not served'}")
    elif notice.note == machine.GADGET:
        say(f"a syscall was made from {notice.address:#x}, which is no instruction of the program ({notice.text})")
    else:
        say(f"the host's vDSO cannot be used ({_errno_name(notice.errno)}): reading the time costs an exit")


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
