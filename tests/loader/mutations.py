"""Mutated copies of programs, from a seed. Run as a program: loads and plans a batch of them."""

from __future__ import annotations

import random
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PER_FILE = 5  # seconds of wall time after which a copy counts as a hang
_WIDTHS = {2: "H", 4: "I", 8: "Q"}
# (offset, width) of the fields that are worth breaking, after elf(5)
_EHDR = ((4, 2), (16, 2), (18, 2), (24, 8), (32, 8), (40, 8), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2))
_PHDR = ((0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8), (48, 8))
_SHDR = ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (56, 8))


def _tables(data: bytes | bytearray) -> tuple[int, int, int, int]:
    """e_phoff, e_phnum, e_shoff, e_shnum of a good file."""
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    return phoff, struct.unpack_from("<H", data, 56)[0], shoff, struct.unpack_from("<H", data, 60)[0]


def _set_field(rng: random.Random, data: bytearray, at: int, width: int) -> None:
    top = 1 << 8 * width
    old = int.from_bytes(data[at : at + width], "little")
    near = (old + 1, old - 1, old + 4096, old ^ 1 << rng.randrange(8 * width))
    edges = (0, 1, top - 1, top >> 1, len(data), len(data) - 1)
    value = rng.choice((*near, *edges, rng.randrange(top), rng.randrange(len(data))))
    struct.pack_into("<" + _WIDTHS[width], data, at, value % top)


def flip_bits(rng: random.Random, data: bytearray, _: bytes) -> None:
    """Bits anywhere."""
    for _n in range(rng.choice((1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def truncate(rng: random.Random, data: bytearray, _: bytes) -> None:
    """The end is missing, in a third of the cases within the headers."""
    phoff, phnum, shoff, _shnum = _tables(data)
    del data[
        rng.choice(
            (rng.randrange(phoff + 56 * phnum), rng.randrange(len(data)), shoff + rng.randrange(200))
        ) :
    ]


def elf_header(rng: random.Random, data: bytearray, _: bytes) -> None:
    """Fields of the ELF header."""
    for _n in range(rng.choice((1, 1, 2, 4))):
        _set_field(rng, data, *rng.choice(_EHDR))


def program_headers(rng: random.Random, data: bytearray, _: bytes) -> None:
    """Fields of the program headers."""
    phoff, phnum, _shoff, _shnum = _tables(data)
    for _n in range(rng.choice((1, 1, 2, 8))):
        offset, width = rng.choice(_PHDR)
        _set_field(rng, data, phoff + 56 * rng.randrange(phnum) + offset, width)


def section_headers(rng: random.Random, data: bytearray, _: bytes) -> None:
    """Fields of the section table."""
    _phoff, _phnum, shoff, shnum = _tables(data)
    for _n in range(rng.choice((1, 2, 8, 32))):
        offset, width = rng.choice(_SHDR)
        _set_field(rng, data, shoff + 64 * rng.randrange(shnum) + offset, width)


def section_contents(rng: random.Random, data: bytearray, _: bytes) -> None:
    """Bytes of one section, which may be a table that the rewriter reads."""
    _phoff, _phnum, shoff, shnum = _tables(data)
    offset, size = struct.unpack_from("<QQ", data, shoff + 64 * rng.randrange(shnum) + 24)
    if size >= 8 and offset + size <= len(data):
        for _n in range(rng.choice((1, 4, 32))):
            _set_field(rng, data, offset + rng.randrange(size - 7), rng.choice((2, 4, 8)))


def splice_headers(rng: random.Random, data: bytearray, other: bytes) -> None:
    """Headers of another program over these."""
    phoff, phnum, shoff, shnum = _tables(other)
    start, size = rng.choice(((0, 64), (0, phoff + 56 * phnum), (phoff, 56 * phnum), (shoff, 64 * shnum)))
    target = start if start < 4096 else _tables(data)[2]
    data[target : target + size] = other[start : start + size]


def splice_bodies(rng: random.Random, data: bytearray, other: bytes) -> None:
    """A block of another program, or of the same one, somewhere in it."""
    source = rng.choice((other, bytes(data)))
    size = rng.choice((16, 64, 4096))
    start, target = rng.randrange(len(source)), rng.randrange(len(data))
    data[target : target + size] = source[start : start + size]


MUTATORS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    flip_bits, truncate, elf_header, program_headers, section_headers, section_contents, splice_headers,
    splice_bodies,
)  # fmt: skip


def mutate(seed: int, sources: list[bytes]) -> bytes:
    """One mutated copy; the same one for the same seed and sources."""
    rng = random.Random(seed)
    data, other = bytearray(sources[seed % len(sources)]), rng.choice(sources)
    MUTATORS[seed // len(sources) % len(MUTATORS)](rng, data, other)
    return bytes(data)


def main(first: int, last: int, paths: list[str]) -> None:
    """Load and plan the copies of seeds first to last - 1, with a line on standard output for each.

    A line is begun before the work and ended behind it, which tells what copy killed this process.
    """
    from torov.errors import TorovError
    from torov.loader.elf import load
    from torov.rewrite.plan import plan

    sources = [Path(path).read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "prog"
        for seed in range(first, last):
            file.write_bytes(mutate(seed, sources))
            print(seed, end=" ", flush=True)
            signal.alarm(PER_FILE)  # its default action ends the process also where C code hangs
            stage = "loader"
            try:
                image = load(str(file))
                stage = "rewriter"
                made = plan(image)
                patched = made.patched_bytes(image.data)
                assert len(patched) == len(image.data)
                assert sum(a != b for a, b in zip(patched, image.data, strict=True)) <= 2 * len(made.sites)
                print("ok")
            except TorovError as error:
                text = str(error)
                assert text.isprintable(), text
                assert text.startswith(str(file) + ": "), text
                print(stage, text.removeprefix(str(file)))
            finally:
                signal.alarm(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
