"""From registers and the top of a stack to the list of functions: by .eh_frame, and by frame pointers where that says nothing.

DWARF 5, 6.4 (call frame information) and 2.5 (expressions); System V ABI for x86-64, 3.6 and 3.7.
"""

from __future__ import annotations

import os
import struct

from torov.perf.objects import ObjectFile, RegisterRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from torov.perf.record import Mapped, Sample

MOST = 512
"""Frames of one stack."""
DEEPER = "[deeper]"
"""The root of a stack that goes on where the copy ends."""
_RBP, _RSP, _RIP = 6, 7, 16
_WORD = (1 << 64) - 1


class _Unknown(Exception):
    """A value that cannot be had."""


def clean(name: str) -> str:
    """A name of the guest's as it can be shown, and stand between semicolons."""
    return "".join(letter if letter.isprintable() else "?" for letter in name.replace(";", ":"))


class Unwinder:
    """Names of functions for samples. Files are read once."""

    __slots__ = ("_files", "_names")

    def __init__(self) -> None:
        self._files: dict[str, ObjectFile] = {}
        self._names: dict[tuple[str, int], str] = {}

    def stack(self, sample: Sample) -> list[str]:
        """The functions of a sample, the outermost first; DEEPER before them if more of the stack was needed."""
        memory = _Memory(sample)
        registers = dict(enumerate(sample.registers))
        names: list[str] = []
        called = False  # the address is a return address: the call is before it
        while len(names) < MOST:
            address = registers[_RIP]
            mapped = sample.mapped(address - called)
            if mapped is None and names:
                break
            names.append(self._name(mapped, address - called))
            try:
                above, called = self._caller(mapped, registers, address - called, memory)
            except _Unknown:
                break
            if above[_RSP] <= registers[_RSP] or not above[_RIP]:
                break
            registers = above
        if memory.cut:
            names.append(DEEPER)
        return names[::-1]

    def _file(self, path: str) -> ObjectFile:
        if path not in self._files:
            self._files[path] = ObjectFile(path)
        return self._files[path]

    def _name(self, mapped: Mapped | None, address: int) -> str:
        """What a frame is called: its function, or its object in brackets."""
        if mapped is None:
            return "[unknown]"
        key = mapped.path, address - mapped.base
        if key not in self._names:
            plain = os.path.basename(mapped.path).strip("[]")
            self._names[key] = clean(self._file(mapped.path).symbol(key[1]) or f"[{plain}]")
        return self._names[key]

    def _caller(
        self, mapped: Mapped | None, registers: dict[int, int], address: int, memory: _Memory
    ) -> tuple[dict[int, int], bool]:
        """Registers of the caller, and whether its address is one that a call returns to."""
        found = self._file(mapped.path).rules(address - mapped.base) if mapped is not None else None
        if found is None or mapped is None:
            if mapped is not None and address == registers[_RIP]:  # the innermost may have no frame, or none yet
                for pushed in (0, 8):
                    back = memory.word(registers[_RSP] + pushed)
                    if self._file(mapped.path).called(address - mapped.base, back - mapped.base):
                        rbp = memory.word(registers[_RSP]) if pushed else registers[_RBP]
                        return {**registers, _RIP: back, _RBP: rbp, _RSP: registers[_RSP] + pushed + 8}, True
            return _by_frame_pointer(registers, memory), True
        row, signal = found
        cfa = row["cfa"]
        if cfa.expr is not None:
            frame = _evaluate(cfa.expr, registers, memory, mapped.base)
        else:
            frame = (registers[cfa.reg] + cfa.offset) & _WORD
        above = {**registers, _RSP: frame}
        for number, rule in row.items():
            if isinstance(number, int):
                above[number] = _value(rule, number, registers, frame, memory, mapped.base)
        if _RIP not in row:
            raise _Unknown
        return above, not signal


class _Memory:
    """The copy of the stack."""

    __slots__ = ("_bytes", "_low", "cut")

    def __init__(self, sample: Sample) -> None:
        self._bytes, self._low = sample.stack, sample.registers[_RSP]
        self.cut = False

    def word(self, address: int) -> int:
        at = address - self._low
        if 0 <= at <= len(self._bytes) - 8:
            return int(struct.unpack_from("<Q", self._bytes, at)[0])
        self.cut = 0 <= at < 1 << 26 and len(self._bytes) >= 16384  # as much as a sample holds, and no end of the stack
        raise _Unknown


def _by_frame_pointer(registers: dict[int, int], memory: _Memory) -> dict[int, int]:
    frame = registers[_RBP]
    if frame < registers[_RSP] or frame % 8:
        raise _Unknown
    return {**registers, _RIP: memory.word(frame + 8), _RBP: memory.word(frame), _RSP: frame + 16}


def _value(rule: Any, number: int, registers: dict[int, int], frame: int, memory: _Memory, base: int) -> int:
    if rule.type == RegisterRule.OFFSET:
        return memory.word((frame + rule.arg) & _WORD)
    if rule.type == RegisterRule.VAL_OFFSET:
        return int(frame + rule.arg) & _WORD
    if rule.type == RegisterRule.REGISTER:
        return registers[rule.arg]
    if rule.type == RegisterRule.EXPRESSION:
        return memory.word(_evaluate(rule.arg, registers, memory, base, frame))
    if rule.type == RegisterRule.VAL_EXPRESSION:
        return _evaluate(rule.arg, registers, memory, base, frame)
    if rule.type == RegisterRule.SAME_VALUE or number != _RIP:
        return registers[number]
    raise _Unknown  # undefined: the outermost frame


def _leb128(data: list[int], at: int, signed: bool) -> tuple[int, int]:
    """A number of variable length, and where it ends. DWARF 5, 7.6."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return value - (1 << shift if signed and byte & 64 else 0), at


def _evaluate(code: list[int], registers: dict[int, int], memory: _Memory, base: int, first: int | None = None) -> int:
    """The operations that unwind tables of signal frames and of procedure linkage tables are made of."""
    stack = [] if first is None else [first]
    at = 0
    try:
        while at < len(code):
            op = code[at]
            at += 1
            if 0x70 <= op <= 0x8F:  # DW_OP_breg
                value, at = _leb128(code, at, True)
                stack.append((registers[op - 0x70] + value) & _WORD)
            elif 0x30 <= op <= 0x4F:  # DW_OP_lit
                stack.append(op - 0x30)
            elif op == 0x06:  # DW_OP_deref
                stack.append(memory.word(stack.pop()))
            elif op == 0x08:  # DW_OP_const1u
                stack.append(code[at])
                at += 1
            elif op == 0x23:  # DW_OP_plus_uconst
                value, at = _leb128(code, at, False)
                stack.append((stack.pop() + value) & _WORD)
            elif op in (0x1A, 0x1C, 0x22, 0x24, 0x2A):
                right, left = stack.pop(), stack.pop()
                made = {
                    0x1A: left & right,
                    0x1C: left - right,
                    0x22: left + right,
                    0x24: left << min(right, 63),
                    0x2A: left >= right,
                }
                stack.append(int(made[op]) & _WORD)
            else:
                raise _Unknown
        return stack[-1]
    except (IndexError, KeyError):
        raise _Unknown from None
