"""What is said about each pair ``0F 05`` of a program: its verdict, and whether it is patched."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

SYSCALL = b"\x0f\x05"  # Intel SDM volume 2B, SYSCALL
OUT = b"\xe7\x10"  # OUT imm8, EAX with port 0x10: as long as SYSCALL, and an exit to the monitor


class Verdict(IntEnum):
    """What the bytes are. The numbers stand in the trap table of image files: never reuse one."""

    CONFIRMED = 1
    """A syscall instruction, reached by decoding from the start of a known function."""
    CLEAN_GAP = 2
    """A syscall instruction in code that no table describes, which decodes as a whole without a flaw."""
    EMBEDDED = 3
    """Part of another instruction, as decoding from the start of a known function shows."""
    AMBIGUOUS = 4
    """In an executable region, and neither proven nor refuted."""
    DATA = 5
    """Outside the executable regions."""


KEEP = 6
"""Number in the trap table of a real syscall that must stay as it is: see :class:`Kept`."""


class Kept(Enum):
    """Why the bytes stay as they are."""

    VERDICT = "verdict"
    """The verdict is not one that may be patched."""
    SWITCHED_OFF = "switched off"
    """CLEAN_GAP, and the caller asked for CONFIRMED only."""
    RESTORER = "signal restorer"
    """libgcc's unwinder and gdb know a signal frame by exactly these bytes."""
    PREFIXED = "prefixed"
    """The instruction has a prefix, which would change what OUT does."""
    WRITABLE = "writable"
    """The bytes are in a segment that the program can write."""
    SHARED = "mapped twice"
    """More than one segment maps the bytes, so they have two addresses."""


class Site(NamedTuple):
    """One pair ``0F 05`` of a file.

    Attributes:
        vaddr: link-time virtual address, or None if the pair is in no loaded segment.
        offset: place in the file.
        verdict: what it is.
        reason: one short clause.
        kept: why it is not patched, or None if it is.
        old, new: its bytes, and what they become; new is None if it is not patched.
        function: link-time start address of the function around it, or None if no table knows one.
        section: name of the code section that holds it, or an empty string.
        executable: an executable segment maps it.
    """

    vaddr: int | None
    offset: int
    verdict: Verdict
    reason: str
    kept: Kept | None
    old: bytes
    new: bytes | None
    function: int | None
    section: str
    executable: bool
