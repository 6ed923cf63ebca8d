"""The rules of a policy as a seccomp filter for the program itself, made by libseccomp: what torov is compared with.

Not the filter that torov puts on its own monitor (torov/seccomp.py). Only what a seccomp filter can say is accepted: calls by
number, and conditions on arguments in registers.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

from bench.measure import BenchError

_STEP, _COND = struct.Struct("<HBBHH"), struct.Struct("<BBBBHHIIQQQ")
_RANGE, _ANY = 1, 2
_ALLOW, _ERRNO, _KILL = 0, 1, 2
_FULL = (1 << 64) - 1


def filter_of(policy: Path) -> bytes:
    """Compile a policy file.

    Args:
        policy: its path.

    Returns:
        An array of struct sock_filter.

    Raises:
        BenchError: libseccomp is missing, or the policy says what a filter cannot.
    """
    try:
        import pyseccomp as library
    except (ImportError, RuntimeError, OSError):
        raise BenchError("no libseccomp: apt-get install libseccomp2 and pip install pyseccomp") from None
    from torov.policy import load
    from torov.syscalls import CALLS

    made, rules = library.SyscallFilter(library.ALLOW), load(str(policy))
    made.set_attr(library.Attr.CTL_OPTIMIZE, 2)  # a binary tree, as good as it gets
    for call in CALLS:
        action = rules.action(call.nr)
        if action > 0:
            made.add_rule_exactly(library.ERRNO(action), call.nr)
        elif action == -1:
            made.add_rule_exactly(library.KILL_PROCESS, call.nr)
        elif action == -2:
            _listed(made, library, policy, rules.program, call.nr)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _listed(made: Any, library: Any, policy: Path, program: bytes, nr: int) -> None:
    """One call whose arguments decide. libseccomp does not know "the first that matches": refusals before an allowed rest are
    the same."""
    index = struct.unpack_from("<8I", program, 0)[4]
    at = struct.unpack_from("<I", program, index + 4 * nr)[0]
    while True:
        _, count, action, error, _ = _STEP.unpack_from(program, at)
        at += _STEP.size
        if not count and action == _ALLOW:
            return
        if not count or action not in (_ERRNO, _KILL):
            raise BenchError(f"{policy}: a filter by libseccomp cannot say the rules of call {nr}")
        tests = [_tests(library, _COND.unpack_from(program, at + i * _COND.size), program) for i in range(count)]
        at += count * _COND.size
        if not all(tests) or any(len(test) > 1 for test in tests[1:]):
            raise BenchError(f"{policy}: a filter cannot look at what a condition on call {nr} is about")
        for first in tests[0]:
            made.add_rule_exactly(
                library.ERRNO(error) if action == _ERRNO else library.KILL_PROCESS, nr, first, *(t[0] for t in tests[1:])
            )


def _tests(library: Any, cond: tuple[int, ...], program: bytes) -> list[Any]:
    """A condition as alternatives of libseccomp's; empty: it has no such."""
    op, arg, negate, width, _, count, off, _, mask, low, high = cond
    if width or negate:
        return []
    if op == _RANGE and low == high:
        return [library.Arg(arg, library.MASKED_EQ, mask, low)]
    if op == _RANGE and mask == _FULL and not low:
        return [library.Arg(arg, library.LE, high)]
    if op == _RANGE and mask == _FULL and high == _FULL:
        return [library.Arg(arg, library.GE, low)]
    if op == _ANY:
        return [library.Arg(arg, library.MASKED_EQ, mask, value) for value in struct.unpack_from(f"<{count}Q", program, off)]
    return []
