"""Function tables: where functions start and end, as each source tells it.

A table answers one question: which function starts at or before this address, and where does the next
one start? Tables read hostile bytes: what does not hold is left out, and nothing here raises.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Table(Protocol):
        """Functions in ascending order of their start."""

        def around(self, addr: int) -> tuple[tuple[int, int] | None, int | None]:
            """Find the neighbours of an address.

            Args:
                addr: link-time virtual address.
            Returns:
                (start, end) of the last function that starts at or before addr, or None; the start of
                the first function that starts after addr, or None. end is exclusive and may be below addr.
            """


class SortedTable:
    """A table over two lists.

    Args:
        functions: (start, end) pairs in any order; of two with one start the longer one is kept.
    """

    def __init__(self, functions: list[tuple[int, int]]) -> None:
        functions.sort()
        self._starts = [start for start, _ in functions]
        self._ends = [end for _, end in functions]

    def around(self, addr: int) -> tuple[tuple[int, int] | None, int | None]:
        """See :class:`Table`."""
        i = bisect.bisect_right(self._starts, addr)
        here = (self._starts[i - 1], self._ends[i - 1]) if i else None
        return here, self._starts[i] if i < len(self._starts) else None


class LazyTable:
    """A table that is searched where it lies, without reading all of it.

    Args:
        count: number of entries.
        start: reads the start address of entry i.
        end: reads the end of entry i, or None if the entry does not hold.
    """

    def __init__(self, count: int, start: Callable[[int], int], end: Callable[[int], int | None]) -> None:
        self._index: Sequence[int] = range(count)
        self._start, self._end = start, end

    def around(self, addr: int) -> tuple[tuple[int, int] | None, int | None]:
        """See :class:`Table`."""
        i = bisect.bisect_right(self._index, addr, key=self._start)
        here = None
        # An unsorted table makes the search land anywhere: believe only what still holds at its end.
        if i and (start := self._start(i - 1)) <= addr and (end := self._end(i - 1)) is not None:
            here = (start, end)
        after = self._start(i) if i < len(self._index) else None
        return here, after if after is not None and after > addr else None
