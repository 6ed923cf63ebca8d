"""One set of constants: names to numbers, and a value printed the way strace(1) prints it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Field = tuple[int, str]


class Table:
    """The constants of one argument.

    Either ``values`` (the argument is one of them), or bits and fields of several bits.

    Args:
        unknown: what stands for a number without a name, as ``O_???``.
        values: words ``NAME=NUMBER`` of an argument that is one of them.
        first, last: fields of several bits (mask, words), printed before and behind the single bits.
        bits: words of bits, in the order of printing; what consists of several bits stands before its parts.
        zero: the name of the value 0.
        more: names that are read but not printed: masks, and second names.
        octal: what is left is printed as file permissions are.
    """

    __slots__ = ("_bits", "_first", "_last", "_more", "_names", "_values", "octal", "unknown", "zero")

    def __init__(
        self,
        unknown: str,
        values: str = "",
        first: tuple[Field, ...] = (),
        bits: str = "",
        last: tuple[Field, ...] = (),
        zero: str = "",
        more: str = "",
        octal: bool = False,
    ) -> None:
        self.unknown, self.zero, self.octal = unknown, zero, octal
        self._values, self._first, self._bits, self._last, self._more = values, first, bits, last, more
        self._names: dict[str, int] | None = None

    @property
    def names(self) -> dict[str, int]:
        """Every name, with its number; negative where the header has it so."""
        if self._names is None:
            texts = [self._values, *(text for _, text in self._first), self._bits, *(text for _, text in self._last), self._more]
            self._names = {self.zero: 0} if self.zero else {}
            for text in texts:
                self._names.update(_words(text))
        return self._names

    @property
    def enumerated(self) -> bool:
        """Whether a value is one of the names, rather than made of them."""
        return bool(self._values)

    @property
    def values(self) -> tuple[tuple[str, int], ...]:
        """The names of an enumerated table, in the order of the table."""
        return tuple(_words(self._values))

    @property
    def first(self) -> tuple[tuple[int, tuple[tuple[str, int], ...]], ...]:
        """The fields that are printed first: mask, names."""
        return tuple((mask, tuple(_words(text))) for mask, text in self._first)

    @property
    def bits(self) -> tuple[tuple[str, int], ...]:
        """The single bits (and unions of bits, before their parts), in the order of printing."""
        return tuple(_words(self._bits))

    @property
    def last(self) -> tuple[tuple[int, tuple[tuple[str, int], ...]], ...]:
        """The fields that are printed last: mask, names."""
        return tuple((mask, tuple(_words(text))) for mask, text in self._last)

    def show(self, value: int, width: int = 32) -> str:
        """Print a value as strace(1) does: ``O_WRONLY|O_CREAT|0x8000000``, ``0x63 /* SEEK_??? */``.

        Args:
            value: the register, or as much of it as counts.
            width: bits that count, 32 or 64.
        """
        value &= (1 << width) - 1
        if self._values:
            for name, number in self.values:
                if number & ((1 << width) - 1) == value:
                    return name
            return f"{value:#x} /* {self.unknown} */"
        if value == 0 and self.zero:
            return self.zero
        return self._show_bits(value)

    def _show_bits(self, value: int) -> str:
        found, left = [], value
        for mask, names in self.first:
            name = next((name for name, number in names if number == left & mask), None)
            if name is not None:
                found.append(name)
                left &= ~mask
        for name, bit in self.bits:
            if bit and left & bit == bit:
                found.append(name)
                left &= ~bit
        tail = []
        for mask, names in self.last:
            name = next((name for name, number in names if number == left & mask), None)
            if name is not None:
                tail.append(name)
                left &= ~mask
        if self.octal and (left or not found):
            found.append(f"{left:#05o}".replace("0o", "0") if left else "000")
        elif left:
            found.append(f"{left:#x}" if found or tail else f"{left:#x} /* {self.unknown} */")
        return "|".join(found + tail) or "0"


def _words(text: str) -> list[tuple[str, int]]:
    return [(name, int(number, 0)) for name, _, number in (word.partition("=") for word in text.split())]
