"""Decides what each pair of bytes in the code regions is, by decoding from where code is known to start."""

from __future__ import annotations

from typing import NamedTuple

from torov.rewrite import ehframe, pclntab, symtab
from torov.rewrite.decode import BUDGET, BudgetSpent, Decoder, containing, falls_through, is_instruction
from torov.rewrite.sites import OUT, SYSCALL, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torov.loader.image import Image
    from torov.rewrite.regions import Region
    from torov.rewrite.tables import Table

CONSENSUS = 0.66
_MNEMONICS = {SYSCALL: "syscall", OUT: "out"}


class Finding(NamedTuple):
    """What a scan says about one pair of bytes.

    Attributes:
        verdict, reason: what it is and why.
        function: link-time start address of the function around it, or None.
        prefixed: the instruction begins before the pair, with a prefix.
    """

    verdict: Verdict
    reason: str
    function: int | None = None
    prefixed: bool = False


class Scan:
    """One scan of one file.

    Args:
        image: the program.
        pair: the bytes that are looked for: SYSCALL, or OUT in a patched file.
        consensus: least backward consensus, 0 to 1, for CLEAN_GAP.
        budget: bytes that may be decoded; what is left undecided then is AMBIGUOUS.
    """

    def __init__(self, image: Image, pair: bytes, consensus: float, budget: int) -> None:
        self._consensus = consensus
        self._mnemonic = _MNEMONICS[pair]
        self._decoder = Decoder(image.data, budget)
        self._tables: list[Table] = []
        self._findings: dict[int, Finding] = {}

    def run(self, region: Region, pairs: list[int],
            tables: Iterable[tuple[str, Table]]) -> dict[int, Finding]:
        """Judge the pairs of one region.

        Args:
            region: the code around them.
            pairs: their file offsets, ascending, each with both bytes in the region.
            tables: function tables with their names, read only as far as pairs are left undecided.
        Returns:
            a finding for each pair.
        """
        self._findings, self._tables = {}, []
        left = pairs
        try:
            for name, table in tables:
                self._tables.append(table)
                left = self._by_functions(region, left, name, table)
                if not left:
                    break
            self._by_gaps(region, left)
        except BudgetSpent:
            pass
        spent = Finding(Verdict.AMBIGUOUS, "file too large to decode in bounded time")
        return {pair: self._findings.get(pair, spent) for pair in pairs}

    def _by_functions(self, region: Region, pairs: list[int], name: str, table: Table) -> list[int]:
        """Judge the pairs that lie in functions of a table; return the others."""
        groups: dict[tuple[int, int], list[int]] = {}
        left = []
        for pair in pairs:
            here, _ = table.around(pair + region.bias)
            if here is None or here[0] < region.start + region.bias or here[1] < pair + region.bias:
                left.append(pair)
            else:
                groups.setdefault(here, []).append(pair)
        for (start, end), group in groups.items():
            left += self._function(region, start - region.bias, end - region.bias, group, name)
        left.sort()
        return left

    def _function(self, region: Region, start: int, end: int, pairs: list[int], name: str) -> list[int]:
        """Judge the pairs of one function by one decode; return those behind its end that nothing leads to.

        Args:
            start, end: file offsets of the function.
            pairs: ascending, from start to end; the last one may be at end itself.
        """
        entry, at, i, mnemonic = start + region.bias, start, 0, ""
        for offset, size, mnemonic in self._decoder.stream(start, min(pairs[-1] + 2, end), region.stop):
            at = offset + size
            if at > end:
                break
            while i < len(pairs) and pairs[i] < at:
                self._findings[pairs[i]] = self._decoded(
                    pairs[i], offset, size, mnemonic, entry, region.bias, name)
                i += 1
            if i == len(pairs):
                return []
        if pairs[i:] == [end] == [at]:
            # glibc's clone: its unwind information ends at the syscall, since the child has no caller.
            if not falls_through(mnemonic):
                return [end]
            self._findings[end] = Finding(Verdict.CONFIRMED, f"at the end of a function of {name}", entry)
        else:
            why = "an instruction crosses the function's end" if at > end else "bad instruction before it"
            for pair in pairs[i:]:
                self._findings[pair] = Finding(Verdict.AMBIGUOUS, f"{why}, function of {name}", entry)
        return []

    def _decoded(self, pair: int, offset: int, size: int, mnemonic: str, entry: int, bias: int,
                 name: str) -> Finding:
        """Judge one pair by the instruction that holds its first byte."""
        if offset == pair and size == 2:
            return Finding(Verdict.CONFIRMED, f"decoded from a function of {name}", entry)
        if is_instruction(mnemonic, self._mnemonic) and offset + size == pair + 2:
            why = f"with a prefix, decoded from a function of {name}"
            return Finding(Verdict.CONFIRMED, why, entry, True)
        why = f"in {mnemonic} at {offset + bias:#x}, function of {name}"
        return Finding(Verdict.EMBEDDED, why, entry)

    def _by_gaps(self, region: Region, pairs: list[int]) -> None:
        """Judge the pairs that no function holds."""
        groups: dict[tuple[int, int], list[int]] = {}
        for pair in pairs:
            groups.setdefault(self._gap(region, pair), []).append(pair)
        judged = region.start
        for (start, end), group in sorted(groups.items()):
            if start < judged:  # only tables that contradict themselves give gaps that overlap
                why = Finding(Verdict.AMBIGUOUS, "the function tables contradict each other here")
                self._findings.update(dict.fromkeys(group, why))
                continue
            judged = end
            self._findings.update(self._judge_gap(region, start, end, group))

    def _gap(self, region: Region, pair: int) -> tuple[int, int]:
        """Return the file offsets between which no table of those read knows a function."""
        start, end = region.start, region.stop
        for table in self._tables:
            here, after = table.around(pair + region.bias)
            if here is not None and here[1] - region.bias <= pair:
                start = max(start, here[1] - region.bias)
            if after is not None and after - region.bias > pair:
                end = min(end, after - region.bias)
        return start, end

    def _judge_gap(self, region: Region, start: int, end: int,
                   pairs: list[int]) -> Iterator[tuple[int, Finding]]:
        """Judge the pairs of one gap: it must decode without a flaw from its start to its end."""
        at, i, found = start, 0, dict.fromkeys(pairs, "not at an instruction boundary of unanchored code")
        prefixed = set()
        for offset, size, mnemonic in self._decoder.stream(start, end, region.stop):
            at = offset + size
            while i < len(pairs) and pairs[i] < at:
                if is_instruction(mnemonic, self._mnemonic) and at == pairs[i] + 2:
                    found[pairs[i]] = ""
                    if size > 2:
                        prefixed.add(pairs[i])
                i += 1
        where = f"{start + region.bias:#x} to {end + region.bias:#x}"
        for pair, flaw in found.items():
            verdict = Verdict.AMBIGUOUS
            if at != end:
                why = f"no function known, and {where} does not decode as a whole"
            elif flaw:
                why = flaw
            elif (share := self._decoder.consensus(pair, region.start, region.stop)) < self._consensus:
                why = f"unanchored code, backward consensus only {share:.2f}"
            else:
                verdict, why = Verdict.CLEAN_GAP, f"clean code {where}, backward consensus {share:.2f}"
            yield pair, Finding(verdict, why, None, pair in prefixed)


def tables(image: Image) -> Iterator[tuple[str, Table]]:
    """Yield the function tables of a program, cheapest first, each read only when asked for."""
    go = pclntab.find(image)
    if go is not None:
        yield "the pclntab", go
    search, frames = ehframe.find(image)
    if search is not None:
        yield ".eh_frame_hdr", search
    elif frames is not None:
        yield ".eh_frame", frames.walk()
    yield ".symtab", symtab.find(image)


class Shared:
    """Lets several regions read one sequence of tables, each table made once.

    Args:
        source: the tables.
    """

    def __init__(self, source: Iterator[tuple[str, Table]]) -> None:
        self._source, self._read = source, list[tuple[str, "Table"]]()

    def __iter__(self) -> Iterator[tuple[str, Table]]:
        yield from self._read
        for item in self._source:
            self._read.append(item)
            yield item


def scan(image: Image, found: list[Region], pairs: list[int], pair: bytes = SYSCALL,
         consensus: float = CONSENSUS, budget: int = BUDGET) -> dict[int, Finding]:
    """Judge every pair of bytes that lies in a region.

    Args:
        image: the program.
        found: its code regions, ascending.
        pairs: file offsets of the pairs, ascending.
        pair: the two bytes, SYSCALL or OUT.
        consensus: least backward consensus, 0 to 1, for CLEAN_GAP.
        budget: bytes that may be decoded; what is left undecided then is AMBIGUOUS.
    Returns:
        offset to finding, for the pairs whose first byte is in a region.
    """
    starts = [r.start for r in found]
    groups: dict[int, list[int]] = {}
    findings: dict[int, Finding] = {}
    for at in pairs:
        i = containing(starts, at)
        if i < 0 or at >= found[i].stop:
            continue
        if at + 2 > found[i].stop:
            findings[at] = Finding(Verdict.AMBIGUOUS, "crosses the end of the code region")
        elif not found[i].section:
            findings[at] = Finding(Verdict.AMBIGUOUS, "no section table tells code from data")
        else:
            groups.setdefault(i, []).append(at)
    job, shared = Scan(image, pair, consensus, budget), Shared(tables(image))
    for i, group in groups.items():
        findings.update(job.run(found[i], group, shared))
    return findings
