"""Writes a patched file, and makes the original of one again.

A patched file carries no record of its patches: it has the size of the original and differs in the patched
bytes only. The original is found by taking back every OUT that decodes as an instruction of its own, and
proven by patching the result again: it must give the patched file to the byte. That would go wrong only for
an original with an ``out 0x10, eax`` of its own, so a file is written only after its own undo has given the
original back.
"""

from __future__ import annotations

import os

from torov.errors import RewriteError
from torov.loader import elf
from torov.loader.files import write_output
from torov.rewrite.plan import Plan, plan
from torov.rewrite.regions import candidates, regions
from torov.rewrite.scan import scan
from torov.rewrite.sites import OUT, SYSCALL, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image


def write_patched(image: Image, made: Plan, out: str) -> None:
    """Write the patched copy of a program.

    Args:
        image: the program.
        made: its plan.
        out: path of the copy; it gets the permission bits of the original, and appears whole or not at all.
    Raises:
        RewriteError: out is the program itself or cannot be written, or the copy could not be undone.
    """
    body = made.patched_bytes(image.data)
    try:
        original = _restore(elf.parse(out, body))[0]
    except RewriteError:
        original = b""
    if original != image.data:
        raise RewriteError(image.path, None, "holds an out 0x10, eax of its own, so a patched copy could not "
                                             "be undone; nothing was written")
    _write(image.path, out, body)


def undo(patched: str, out: str) -> Plan:
    """Write the original of a patched file.

    Args:
        patched: a file that :func:`write_patched` wrote.
        out: path of the original; it gets the permission bits of the patched file.
    Returns:
        the plan of the original; patching it gives the patched file again.
    Raises:
        LoadError: patched is not a program.
        RewriteError: it was not written by :func:`write_patched` or was changed since, out is the same file,
            or out cannot be written.
    """
    body, made = _restore(elf.load(patched))
    _write(patched, out, body)
    return made


def _restore(image: Image) -> tuple[bytes, Plan]:
    """Return the original of a patched program, and its plan."""
    # Boundaries are the same in both files, but the streams that measure consensus are not: leave it out.
    pairs = candidates(image, OUT)
    found = scan(image, regions(image), pairs, OUT, consensus=0.0)
    taken = [at for at, finding in found.items()
             if finding.verdict in (Verdict.CONFIRMED, Verdict.CLEAN_GAP) and not finding.prefixed]
    first = elf.parse(image.path, _replaced(image.data, taken))
    for clean_gap in (True, False):
        made = plan(first, clean_gap)
        kept = {site.offset for site in made.sites if site.new is not None}.intersection(taken)
        body = first.data
        if len(kept) < len(taken):
            body = _replaced(image.data, sorted(kept))
            made = plan(elf.parse(image.path, body), clean_gap)
        if made.patched_bytes(body) == image.data:
            return body, made
    raise RewriteError(image.path, None, "is not as this version of torov patch wrote it, so its original "
                                         "cannot be known: undo the unchanged copy, or patch again")


def _replaced(data: bytes, offsets: list[int]) -> bytes:
    body = bytearray(data)
    for at in offsets:
        body[at:at + 2] = SYSCALL
    return bytes(body)


def _write(source: str, out: str, body: bytes) -> None:
    """Write a file with the permission bits of another one."""
    try:
        if os.path.exists(out) and os.path.samefile(source, out):
            raise RewriteError(out, None, "is the input file itself: choose another name")
        write_output(out, body, os.stat(source).st_mode & 0o777)
    except OSError as err:
        raise RewriteError(out, None, f"cannot be written: {err.strerror}") from None
