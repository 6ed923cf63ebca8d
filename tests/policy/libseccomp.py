"""libseccomp as a second source: profiles are compiled by it, and its filter is run here by the rules of bpf(4)."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

import pyseccomp

AUDIT_ARCH_X86_64 = 0xC000003E
ACTIONS = {
    0x80000000: "kill", 0x00000000: "kill", 0x00030000: "trap", 0x00050000: "errno", 0x7FC00000: "notify",
    0x7FF00000: "trace", 0x7FFC0000: "log", 0x7FFF0000: "allow",
}  # fmt: skip
"""SECCOMP_RET_* of linux/seccomp.h."""
OPERATORS = {"EQ": pyseccomp.EQ, "NE": pyseccomp.NE, "LT": pyseccomp.LT, "LE": pyseccomp.LE, "GT": pyseccomp.GT,
             "GE": pyseccomp.GE, "MASKED_EQ": pyseccomp.MASKED_EQ}  # fmt: skip


def number(name: str) -> int | None:
    """The number of a call; negative for one of another processor; None for one that this libseccomp does not know."""
    found = pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)
    return None if found == -1 else int(found)


class Filter:
    """A filter that libseccomp made.

    Args:
        default: of pyseccomp's actions.
    """

    def __init__(self, default: int) -> None:
        self.rules = pyseccomp.SyscallFilter(default)
        self.default = default
        self._code: list[tuple[int, int, int, int]] | None = None

    def add(self, action: int, name: str, *args: pyseccomp.Arg) -> None:
        """Add a rule as runc does: the default's own action and unknown names are passed over."""
        if action == self.default:
            return
        if number(name) is not None:
            self.rules.add_rule(action, name, *args)

    def decide(self, nr: int, args: Sequence[int]) -> tuple[str, int]:
        """What the filter says about a call: one of ACTIONS, and the data with it."""
        if self._code is None:
            with tempfile.TemporaryFile() as file:
                self.rules.export_bpf(file)
                file.seek(0)
                self._code = list(struct.iter_unpack("<HBBI", file.read()))
        value = run(self._code, struct.pack("<IIQ6Q", nr, AUDIT_ARCH_X86_64, 0, *args))
        return ACTIONS[value & 0xFFFF0000], value & 0xFFFF


def _action(word: str, number: Any) -> int:
    name = word.removeprefix("SCMP_ACT_")
    if name == "ERRNO":
        return int(pyseccomp.ERRNO(1 if number is None else number))
    if name == "TRACE":
        return int(pyseccomp.TRACE(0))
    return int(getattr(pyseccomp, {"KILL": "KILL_THREAD"}.get(name, name)))


def reference(profile: dict[str, Any], capabilities: frozenset[str]) -> Filter:
    """The filter that Docker's daemon and runc make of a profile, by libseccomp.

    As daemon/seccomp_linux.go filters (includes, excludes) and as runc's seccomp_linux.go adds rules.
    """
    made = Filter(_action(profile["defaultAction"], profile.get("defaultErrnoRet")))
    release = tuple(int(word) for word in os.uname().release.split(".")[:2])
    for entry in profile.get("syscalls") or []:
        includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
        newer = [release >= tuple(map(int, part["minKernel"].split("."))) for part in (includes, excludes) if "minKernel" in part]
        if "amd64" in excludes.get("arches", []) or capabilities & set(excludes.get("caps", [])):
            continue
        if "amd64" not in (includes.get("arches") or ["amd64"]) or not capabilities >= set(includes.get("caps", [])):
            continue
        if ("minKernel" in includes and not newer[0]) or ("minKernel" in excludes and newer[-1]):
            continue
        args = [_arg(arg) for arg in entry.get("args") or []]
        single = len({arg["index"] for arg in entry.get("args") or []}) != len(args)
        for name in entry.get("names") or [entry["name"]]:
            for each in [[arg] for arg in args] if single else [args]:
                made.add(_action(entry["action"], entry.get("errnoRet")), name, *each)
    return made


def _arg(arg: dict[str, Any]) -> pyseccomp.Arg:
    op = arg["op"].removeprefix("SCMP_CMP_")
    more = (arg.get("valueTwo", 0),) if op == "MASKED_EQ" else ()
    return pyseccomp.Arg(arg["index"], OPERATORS[op], arg["value"], *more)


def run(code: list[tuple[int, int, int, int]], data: bytes) -> int:
    """Interpret a classic BPF program over struct seccomp_data; the instructions that seccomp(2) permits and libseccomp uses."""
    accumulator = at = 0
    while True:
        op, true, false, k = code[at]
        at += 1
        if op == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif op == 0x06:  # BPF_RET | BPF_K
            return k
        elif op == 0x05:  # BPF_JMP | BPF_JA
            at += k
        elif op == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        elif op & 0x07 == 0x05:
            test = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[op]
            at += true if test else false
        else:
            raise AssertionError(f"instruction {op:#x}")
