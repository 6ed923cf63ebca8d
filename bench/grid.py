"""Comparisons of more than two: contenders by what they do, every cell measured once a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

Measure = Callable[[], tuple[float, float]]
"""One measurement: nanoseconds, and nanoseconds more than a reference measured in the same breath (or the same number)."""


@dataclass
class Grid:
    """A table of contenders.

    Fields:
        title: what is compared.
        columns: what they do.
        lines: contender to one measurement for each column, or None where it has none; all are compared with the first.
        differences: the table shows what each needs more than the first.
        done: the measurements so far, one dict a round.
    """

    title: str
    columns: tuple[str, ...]
    lines: dict[str, tuple[Measure | None, ...]]
    differences: bool = False
    done: list[dict[tuple[str, str], tuple[float, float]]] = field(default_factory=list)

    def only(self, text: str) -> Grid | None:
        """The grid with the contenders that have text in their names, all of them if the title has it; None: there are none."""
        if text in self.title:
            return self
        first = next(iter(self.lines))
        kept = {name: line for name, line in self.lines.items() if text in name}
        return Grid(self.title, self.columns, {first: self.lines[first], **kept}, self.differences) if kept else None

    def round(self, count: int) -> None:
        """Measure each cell once, column by column; who begins changes from round to round."""
        names, found = list(self.lines), {}
        turned = names[count % len(names) :] + names[: count % len(names)]
        for at, column in enumerate(self.columns):
            for name in turned:
                measure = self.lines[name][at]
                if measure is not None:
                    found[name, column] = measure()
        self.done.append(found)

    def median(self, name: str, column: str) -> float | None:
        """Median of a cell, ns."""
        values = [found[name, column][0] for found in self.done if (name, column) in found]
        return statistics.median(values) if values else None

    def more(self, name: str, column: str) -> float | None:
        """Median over the rounds of what a contender needs more than the first, ns."""
        first = next(iter(self.lines))
        values = [
            found[name, column][1] - found[first, column][1]
            for found in self.done
            if (name, column) in found and (first, column) in found
        ]
        return statistics.median(values) if values else None
