"""The registers of x86-64 as gdb's target descriptions name and order them (gdb's manual, G.5.5), over what the core keeps.

A Registers is ``struct debug_regs`` with the XSAVE area (Intel SDM vol. 1, 13.4) behind it.
"""

from __future__ import annotations

import struct

_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{i}" for i in range(8, 16)), "rip")
_KVM = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", *(f"r{i}" for i in range(8, 16)), "rip", "eflags")
_BASES = ("fs_base", "gs_base", "orig_rax")
_SEGMENTS = {"cs": 0x33, "ss": 0x2B, "ds": 0, "es": 0, "fs": 0, "gs": 0}
_CONTROL = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
_X87, _SSE, _AVX = 1, 2, 4
_HEAD = 22 * 8
_AREA = {"fctrl": (0, 2), "fstat": (2, 2), "fop": (6, 2), "fioff": (8, 4), "fiseg": (12, 2), "fooff": (16, 4), "foseg": (20, 2)}
_YMM = 576
"""Where the upper halves of YMM are: standard form, component 2 comes first behind the header."""

CORE = (
    *((name, 64, "code_ptr" if name == "rip" else "data_ptr" if name in ("rbp", "rsp") else "int64") for name in _GENERAL),
    ("eflags", 32, "i386_eflags"),
    *((name, 32, "int32") for name in _SEGMENTS),
    *((f"st{i}", 80, "i387_ext") for i in range(8)),
    *((name, 32, "int") for name in _CONTROL),
)
SSE = (*((f"xmm{i}", 128, "vec128") for i in range(16)), ("mxcsr", 32, "i386_mxcsr"))
LINUX = (("orig_rax", 64, "int"),)
SEGMENTS = (("fs_base", 64, "int"), ("gs_base", 64, "int"))
AVX = tuple((f"ymm{i}h", 128, "uint128") for i in range(16))

_FLAGS = (("", 0), ("CF", 0), ("", 1), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9), ("DF", 10), ("OF", 11),
          ("NT", 14), ("RF", 16), ("VM", 17), ("AC", 18), ("VIF", 19), ("VIP", 20), ("ID", 21))  # fmt: skip
_MXCSR = ("IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM")
_VECTOR = (("v8_bfloat16", "bfloat16", 8), ("v4_float", "ieee_single", 4), ("v2_double", "ieee_double", 2),
           ("v16_int8", "int8", 16), ("v8_int16", "int16", 8), ("v4_int32", "int32", 4), ("v2_int64", "int64", 2))  # fmt: skip


def _flag_type(name: str, fields: list[tuple[str, int]]) -> str:
    rows = "".join(f'<field name="{field}" start="{bit}" end="{bit}"/>' for field, bit in fields)
    return f'<flags id="{name}" size="4">{rows}</flags>'


def _feature(name: str, rows: tuple[tuple[str, int, str], ...], types: str = "") -> str:
    regs = "".join(f'<reg name="{reg}" bitsize="{bits}" type="{kind}"/>' for reg, bits, kind in rows)
    return f'<feature name="org.gnu.gdb.i386.{name}">{types}{regs}</feature>'


def description(avx: bool) -> str:
    """The target description as XML; with or without the upper halves of the YMM registers."""
    vectors = "".join(f'<vector id="{name}" type="{kind}" count="{count}"/>' for name, kind, count in _VECTOR)
    union = "".join(f'<field name="{name}" type="{name}"/>' for name, _, _ in _VECTOR)
    sse = f'{vectors}<union id="vec128">{union}<field name="uint128" type="uint128"/></union>'
    sse += _flag_type("i386_mxcsr", [*zip(_MXCSR, range(13), strict=True), ("FZ", 15)])
    parts = [
        _feature("core", CORE, _flag_type("i386_eflags", list(_FLAGS[1:]))),
        _feature("sse", SSE, sse),
        _feature("linux", LINUX),
        _feature("segments", SEGMENTS),
        *([_feature("avx", AVX)] if avx else []),
    ]
    head = '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
    return f"{head}<architecture>i386:x86-64</architecture><osabi>GNU/Linux</osabi>{''.join(parts)}</target>"


class Registers:
    """The registers of one thread.

    Args:
        raw: what the core's DEBUG_GETREGS answers.

    Fields:
        raw: the same, as changed by set(): what DEBUG_SETREGS takes.
        rows: name and width in bits of each register, by gdb's number.
    """

    __slots__ = ("raw", "rows")

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)
        avx = len(raw) >= _HEAD + _YMM + 256
        self.rows = (*CORE, *SSE, *LINUX, *SEGMENTS, *(AVX if avx else ()))

    def general(self, name: str) -> int:
        """A general register, rip, eflags, fs_base, gs_base or orig_rax."""
        return int(struct.unpack_from("<Q", self.raw, self._at(name))[0])

    def get(self, number: int) -> bytes:
        """The bytes of a register, in the target's order."""
        name, bits, _ = self.rows[number]
        return self._get(name, bits // 8)

    def set(self, number: int, value: bytes) -> None:
        """Change a register.

        Raises:
            ValueError: value has another width.
        """
        name, bits, _ = self.rows[number]
        if len(value) != bits // 8:
            raise ValueError(name)
        self._set(name, value)

    def all(self) -> bytes:
        """The packet ``g``, as bytes."""
        return b"".join(self.get(number) for number in range(len(self.rows)))

    def set_all(self, data: bytes) -> None:
        """The packet ``G``.

        Raises:
            ValueError: data has another length.
        """
        if len(data) != sum(bits // 8 for _, bits, _ in self.rows):
            raise ValueError(len(data))
        at = 0
        for number, (_, bits, _) in enumerate(self.rows):
            part = data[at : at + bits // 8]
            if part != self.get(number):  # what is not changed stays in its initial state
                self.set(number, part)
            at += bits // 8

    def _at(self, name: str) -> int:
        return 8 * (_KVM.index(name) if name in _KVM else 18 + _BASES.index(name))

    def _have(self, part: int) -> bool:
        return bool(self.raw[_HEAD + 512] & part)

    def _get(self, name: str, width: int) -> bytes:
        if name in _KVM or name in _BASES:
            return bytes(self.raw[self._at(name) : self._at(name) + width])
        if name in _SEGMENTS:
            return _SEGMENTS[name].to_bytes(4, "little")
        at, size, part = self._area(name)
        if name == "mxcsr":
            return bytes(self.raw[at : at + 4])
        if not self._have(part):
            initial = {"fctrl": 0x37F, "ftag": 0xFFFF}.get(name, 0)
            return initial.to_bytes(width, "little")
        if name == "ftag":
            return self._tags().to_bytes(4, "little")
        return bytes(self.raw[at : at + size]).ljust(width, b"\0")

    def _set(self, name: str, value: bytes) -> None:
        if name in _KVM or name in _BASES:
            self.raw[self._at(name) : self._at(name) + len(value)] = value
            return
        if name in _SEGMENTS:
            return  # they are the same in every program
        at, size, part = self._area(name)
        if name != "mxcsr" and not self._have(part):
            self._initial(part)
        if name == "ftag":
            tags = int.from_bytes(value, "little")
            value = bytes([sum(1 << i for i in range(8) if tags >> 2 * i & 3 != 3)])
        self.raw[at : at + size] = value[:size]

    def _initial(self, part: int) -> None:
        where = {_X87: (0, 24), _SSE: (160, 256), _AVX: (_YMM, 256)}[part]
        self.raw[_HEAD + where[0] : _HEAD + sum(where)] = bytes(where[1])
        if part == _X87:
            self.raw[_HEAD + 32 : _HEAD + 160] = bytes(128)
            self.raw[_HEAD : _HEAD + 2] = b"\x7f\x03"
        self.raw[_HEAD + 512] |= part

    def _area(self, name: str) -> tuple[int, int, int]:
        """Place, size and component of what the XSAVE area holds."""
        if name == "mxcsr":
            return _HEAD + 24, 4, _SSE
        if name == "ftag":
            return _HEAD + 4, 1, _X87
        if name in _AREA:
            return _HEAD + _AREA[name][0], _AREA[name][1], _X87
        digits = int("".join(letter for letter in name if letter.isdigit()))
        if name.startswith("st"):
            return _HEAD + 32 + 16 * digits, 10, _X87
        return (_HEAD + 160 + 16 * digits, 16, _SSE) if name.startswith("xmm") else (_HEAD + _YMM + 16 * digits, 16, _AVX)

    def _tags(self) -> int:
        """The tag word of the x87, of which the area keeps one bit a register (Intel SDM vol. 1, 10.5.1.1)."""
        short, top = self.raw[_HEAD + 4], int.from_bytes(self.raw[_HEAD + 2 : _HEAD + 4], "little") >> 11 & 7
        tags = 0
        for i in range(8):
            at = _HEAD + 32 + 16 * ((i - top) & 7)
            mantissa, exponent = struct.unpack_from("<QH", self.raw, at)
            exponent &= 0x7FFF
            tag = 1 if not exponent and not mantissa else 2 if exponent in (0, 0x7FFF) or not mantissa >> 63 else 0
            tags |= (tag if short >> i & 1 else 3) << 2 * i
        return tags
