"""The second source for what reaches a site: strace -i shows where each call of a native run comes from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from torov.loader.image import Image

# [pid 12] [ 231] [0000000000401234] exit_group(0) = ?
_LINE = re.compile(r"(?:\d+ +)?\[ *(\d+)\] \[([0-9a-f]+)\] (\w+)\(")
_NOT_THE_PROGRAMS = (231, 219)
"""exit_group ends threads in the middle of other calls, which strace may then show at their places; restart_syscall is put into
eax by the kernel, which goes on so with a call that a stop interrupted."""


def pairs(image: Image, command: list[str], scratch: Path, seconds: int = 20) -> set[tuple[int, int]]:
    """Run a command natively under strace, where the program is the first word.

    Args:
        image: the program.
        command: its path and arguments.
        scratch: directory to run in.
        seconds: it is ended by then.
    Returns:
        (link-time address of the instruction, number) of each call that was made from the program's own code.
    """
    out = scratch / "strace.out"
    # without address space randomization, a static-PIE has one base for all its threads and processes
    strace = ["strace", "-f", "-i", "-n", "-qq", "-o", str(out), "-E", "HOME=/nowhere"]
    run = ["timeout", str(seconds), "setarch", "-R", *strace, *command]
    subprocess.run(run, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seen: set[tuple[int, int]] = set()
    for line in out.read_text(errors="replace").splitlines()[1:]:  # the first is strace's own execve
        made = _LINE.match(line)
        if made and int(made[1]) not in _NOT_THE_PROGRAMS:
            seen.add((int(made[2], 16) - 2, int(made[1])))
    starts = set(_syscalls(image))
    base = _base(image, seen, starts)
    return {(at - base, nr) for at, nr in seen if at - base in starts}


def _syscalls(image: Image) -> list[int]:
    """Every place of an executable segment with the bytes of a syscall."""
    found = []
    for segment in image.segments:
        if segment.flags & 1:
            at = image.data.find(b"\x0f\x05", segment.offset, segment.offset + segment.filesz)
            while at >= 0:
                found.append(at - segment.offset + segment.vaddr)
                at = image.data.find(b"\x0f\x05", at + 1, segment.offset + segment.filesz)
    return found


def _base(image: Image, seen: set[tuple[int, int]], starts: set[int]) -> int:
    """Where a PIE was loaded: the distance that puts the most of the calls onto syscall instructions."""
    if not image.pie or not seen:
        return 0
    pages: dict[int, list[int]] = {}
    for start in starts:
        pages.setdefault(start % 4096, []).append(start)
    votes: dict[int, int] = {}
    for at, _ in seen:
        for start in pages.get(at % 4096, ()):
            votes[at - start] = votes.get(at - start, 0) + 1
    return max(votes, key=lambda base: votes[base]) if votes else 0
