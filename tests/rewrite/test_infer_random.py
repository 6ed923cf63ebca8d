"""Random code: what the processor leaves in eax must be in the set that was inferred from the same instructions."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
from pathlib import Path

import pytest
from support import Compiler

from torov.loader.elf import load
from torov.rewrite.infer import infer

FAMILIES = {
    "a": ("%rax", "%eax", "%ax", "%al"), "c": ("%rcx", "%ecx", "%cx", "%cl"), "d": ("%rdx", "%edx", "%dx", "%dl"),
    "si": ("%rsi", "%esi", "%si", "%sil"), "8": ("%r8", "%r8d", "%r8w", "%r8b"), "9": ("%r9", "%r9d", "%r9w", "%r9b"),
}  # fmt: skip
CONDITIONS = ("e", "ne", "l", "g", "b", "a", "s")
COUNT = 300
FIRST = 4 * int(os.environ.get("TOROV_FUZZ_SEED", "0"))  # make fuzz says others
INPUTS = (0, 1, -1, 7, 1 << 31, 12345)


class Writer:
    """Writes one function: registers and stack slots get numbers, and are mixed. %edi is the argument, and is unknown."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines = [f"mov ${self.random.getrandbits(32):#x}, {names[1]}" for names in FAMILIES.values()]
        self.labels = 0
        self.pushed = 0
        for slot in (-8, -16, -24):
            self.lines.append(f"movl ${self.random.getrandbits(31):#x}, {slot}(%rsp)")

    def register(self, size: int) -> str:
        return self.random.choice(list(FAMILIES.values()))[size]

    def number(self, bits: int) -> str:
        return f"${self.random.choice((0, 1, 2, 60, self.random.getrandbits(bits - 1))):#x}"

    def step(self) -> list[str]:
        pick, size = self.random.choice, self.random.choice((0, 1, 1, 1, 2, 3))
        bits = (64, 32, 16, 8)[size]
        one, other = self.register(size), self.register(size)
        slot = f"{pick((-8, -16, -24)) + 8 * self.pushed}(%rsp)"
        immediate = self.number(min(bits, 32) if bits != 64 else 31)
        kinds = {
            "binary": [f"{pick(('add', 'sub', 'and', 'or', 'xor', 'mov', 'adc', 'sbb'))} {pick((other, immediate))}, {one}"],
            "unary": [f"{pick(('inc', 'dec', 'neg', 'not'))} {one}"],
            "shift": [f"{pick(('shl', 'shr', 'sar', 'rol'))} ${self.random.randrange(40)}, {one}"],
            "extend": [f"{pick(('movzb', 'movsb'))}l {self.register(3)}, {self.register(1)}"],
            "extend16": [f"{pick(('movzw', 'movsw'))}l {self.register(2)}, {self.register(1)}"],
            "sign": [f"movslq {self.register(1)}, {self.register(0)}"],
            "high": ["mov %ch, %dl", "mov %al, %ah"],
            "lea": [f"lea {self.random.randrange(-99, 99)}({self.register(0)},{self.register(0)},{pick((1, 2, 4, 8))}), "
                    f"{self.register(1)}"],
            "imul": [f"imul ${self.random.randrange(99)}, {self.register(1)}, {self.register(1)}"],
            "xchg": [f"xchg {one}, {other}"],
            "store": [f"mov {self.register(1)}, {slot}"],
            "load": [f"mov {slot}, {self.register(1)}"],
            "compare": [f"cmp ${self.random.randrange(-3, 9)}, %edi",
                        f"cmov{pick(CONDITIONS)} {self.register(1)}, {self.register(1)}"],
            "set": ["test %edi, %edi", f"set{pick(CONDITIONS)} {self.register(3)}"],
            "cdqe": ["cltq"],
            "convert": ["cwtl"],
        }  # fmt: skip
        return kinds[pick(list(kinds))]

    def body(self) -> str:
        for _ in range(self.random.randrange(3, 9)):
            choice = self.random.random()
            if choice < 0.15:
                self.labels += 1
                inner = [line for _ in range(2) for line in self.step()]
                self.lines += [f"cmp ${self.random.randrange(9)}, %edi", f"j{self.random.choice(CONDITIONS)} {self.labels}f"]
                self.lines += [*inner, f"{self.labels}:"]
            elif choice < 0.25:
                self.lines += [f"push {self.register(0)}", f"pop {self.register(0)}"]
            else:
                self.lines += self.step()
        if self.random.random() < 0.3:  # what a comparison says of the value itself
            self.lines += ["mov %edi, %eax", f"cmp ${self.random.randrange(9)}, %eax", "jne 99f"]
        return "\n ".join(self.lines)


def texts(seed: int, end: str) -> str:
    bodies = [Writer(seed * COUNT + n).body() for n in range(COUNT)]
    functions = [f" .globl f{n}\n .type f{n}, @function\nf{n}:\n {body}\n{end}\n99: mov $60, %eax\n {end}\n .size f{n}, .-f{n}\n"
                 for n, body in enumerate(bodies)]  # fmt: skip
    calls = "".join(f" mov (%rsp), %edi\n call f{n}\n" for n in range(COUNT))
    start = f" .globl _start\n .type _start, @function\n_start:\n{calls} hlt\n .size _start, .-_start\n"
    return start + "".join(functions) + ' .section .note.GNU-stack,"",@progbits\n'


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 4))
def test_the_processor_agrees(cc: Compiler, tmp_path: Path, seed: int) -> None:
    program = cc(texts(seed, " syscall\n ret"), "bare")
    source, library = tmp_path / "f.S", tmp_path / "f.so"
    source.write_text(texts(seed, " ret"))
    subprocess.run(["gcc", "-shared", "-nostdlib", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    found = infer(str(program))
    names = symbols(program)
    by_function: dict[int, set[int] | None] = {}
    for site, numbers in found.sites.items():
        start = found.functions[site]
        have = by_function.get(start, set())
        by_function[start] = None if numbers is None or have is None else have | numbers
    known = 0
    for n in range(COUNT):
        function = getattr(loaded, f"f{n}")
        function.restype, function.argtypes = ctypes.c_uint32, [ctypes.c_int32]
        got = {function(value) for value in INPUTS}
        have = by_function[names[f"f{n}"]]
        if have is not None:
            known += 1
            assert got <= have, (n, Writer(seed * COUNT + n).body(), load(str(program)).path)
    assert known > COUNT // 2


def symbols(program: Path) -> dict[str, int]:
    out = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    return {name: int(value, 16) for value, _, name in (line.split() for line in out.splitlines())}
