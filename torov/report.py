"""What the verbs show a person: tables, by rich, in colour on a terminal only. Imported late."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from torov.syscalls import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # `torov patch` works without the compiled core
    from torov.audit import Row as Decision
    from torov.doctor import Finding
    from torov.rewrite.report import Row
    from torov.vmm.machine import Stop


def _table(*columns: str, right: int = 0) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index < right else "left", overflow="fold")
    return table


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:  # a file or a pipe has no width: do not fold what a script reads
        console.width = 400
    return console


def warm() -> None:
    """Print a table to nowhere, so that everything it takes is imported."""
    import io

    console, table = Console(file=io.StringIO(), highlight=False), _table("calls", "syscall", right=1)
    table.add_row("0", "read")
    console.print(table)


def stats_document(stop: Stop, stats: Mapping[str, int], calls: Mapping[int, int]) -> dict[str, object]:
    """The counts of one run as plain values.

    Args:
        stop, stats, calls: what Machine.run(), .stats() and .calls() gave.

    Returns:
        ``exit_status``, ``signal``, all counts, and ``syscalls``: name to count.
    """
    return {
        "exit_status": stop.exit_status,
        "signal": stop.signal,
        **stats,
        "syscalls": {name_of(nr): count for nr, count in calls.items()},
    }


def print_stats(stop: Stop, stats: Mapping[str, int], calls: Mapping[int, int]) -> None:
    """Print the counts of one run to standard error. Arguments as stats_document()."""
    console = _console(stderr=True)
    end = f"exit status {stop.status}" if stop.exited else f"ended, status {stop.exit_status}"
    console.print(
        f"torov: {end}; {stats['exits']} exits: {stats['hypercalls']} from patched sites, {stats['trapped']} trapped "
        f"({stats['late']} patched at their first trap, {stats['gadgets']} gadgets), {stats['faults']} page faults, "
        f"{stats['lost']} lost syscalls, {stats['denied']} denied"
    )
    console.print(
        f"torov: boot {stats['create_ns'] / 1e6:.2f} ms (KVM {stats['kvm_ns'] / 1e6:.2f}), first exit after "
        f"{stats['first_ns'] / 1e6:.2f} ms, run {stats['run_ns'] / 1e6:.2f} ms; {stats['slots']} memslots, "
        f"{stats['tables']} page tables"
    )
    table = _table("calls", "syscall", right=1)
    for nr, count in sorted(calls.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(str(count), name_of(nr))
    console.print(table)


_VERDICT_STYLE = {"CONFIRMED": "green", "CLEAN_GAP": "cyan", "EMBEDDED": "yellow", "AMBIGUOUS": "magenta", "DATA": "dim"}


def print_plan(summary: Mapping[str, object], rows: Iterable[Row]) -> None:
    """Print a plan: its summary, then one line for each site."""
    console = _console()
    verdicts, kept = summary["verdicts"], summary["kept"]
    assert isinstance(verdicts, dict) and isinstance(kept, dict)
    counts = ", ".join(f"{count} {name}" for name, count in verdicts.items() if count)
    more = "".join(f", {count} kept: {name}" for name, count in kept.items() if count)
    head = f"{summary['file']}: {summary['sites']} pairs 0F 05, {summary['patched']} to patch"
    console.print(f"{escape(head)}; {counts or 'none'}{more}", soft_wrap=True)
    table = _table("address", "where", "verdict", "action", "reason")
    for row in rows:
        style = _VERDICT_STYLE.get(row.verdict, "")
        verdict = f"[{style}]{row.verdict}[/]" if style else row.verdict
        table.add_row(row.address, escape(row.where), verdict, row.action, escape(row.reason))
    if table.row_count:
        console.print(table)


def print_findings(findings: Iterable[Finding]) -> None:
    """Print what ``torov doctor`` found."""
    console = _console()
    table = _table("", "what", "found", "what to do")
    for finding in findings:
        mark = "[green]ok[/]" if finding.good else "[red]no[/]" if finding.needed else "[yellow]--[/]"
        table.add_row(mark, finding.what, escape(finding.found), "" if finding.good else finding.advice)
    console.print(table)


def print_explain(rows: Iterable[Decision]) -> None:
    """What ``torov exec --explain`` prints at the end: which rule decided what, and how often.

    Args:
        rows: as torov.audit.summary() makes them.
    """
    console, table = _console(stderr=True), _table("count", "decision", "rule", "for example", right=1)
    shown = False
    for row in rows:
        shown = True
        table.add_row(
            str(row.count), escape(row.errno or row.action), escape(row.label or "no rule: the default"), escape(row.example)
        )
    console.print(table if shown else "The policy refused nothing, and nothing was logged.")


def print_text(text: str) -> None:
    """Print a line to standard output, as it is."""
    print(text, flush=True)


_LIVE: list[Console] = []


def print_lines(lines: Iterable[str], stderr: bool = False) -> None:
    """Print lines; a bar stays below them.

    Args:
        lines: texts without line ends, and without bytes that a terminal would obey.
        stderr: to standard error.
    """
    console = _LIVE[-1] if _LIVE and stderr else _console(stderr)
    for line in lines:
        console.print(escape(line), soft_wrap=True)


@contextlib.contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, if that is a terminal.

    Args:
        what: the text before it.
        steps: how many there will be.

    Returns:
        A context; what it gives is called after each step.
    """
    if not _console(stderr=True).is_terminal:
        yield lambda: None
        return
    from rich.progress import Progress

    console = _console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=steps)
        _LIVE.append(console)
        try:
            yield lambda: bar.advance(task)
        finally:
            _LIVE.remove(console)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", stderr: bool = False) -> None:
    """Print a table, to standard output if nothing else is said.

    Args:
        columns: their names.
        rows: as many texts each.
        title: a line above it, or an empty string.
        stderr: to standard error.
    """
    console = _console(stderr)
    if title:
        console.print(escape(title), soft_wrap=True)
    table = _table(*columns)
    for row in rows:
        table.add_row(*(escape(text) for text in row))
    console.print(table)
