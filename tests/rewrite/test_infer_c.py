"""Random C with every way to pass a number on: no native run may make a call that was not inferred for its place."""

from __future__ import annotations

import random
from pathlib import Path

import observed
import pytest
from support import Compiler
from test_infer import outside

from torov.loader.elf import load
from torov.rewrite.infer import infer

NUMBERS = (24, 39, 102, 104, 107, 108, 110, 111, 186)  # sched_yield and what asks for an id: harmless, whatever the arguments
HEAD = """
typedef long L;
#define NOINLINE __attribute__((noinline))
#define CALL(n) ({ L r_; __asm__ volatile("syscall" : "=a"(r_) : "0"((L)(n)) : "rcx", "r11", "memory"); r_; })
static NOINLINE L raw(L n) { return CALL(n); }
static NOINLINE L other(L n) { return CALL(n) + 1; }
static NOINLINE L seventh(L a, L b, L c, L d, L e, L f, L n, L g) { return CALL(n) + a + b + c + d + e + f + g; }
static NOINLINE L last(L a, L n) { if (a > 100) return raw(n); return CALL(n); }
static NOINLINE void put(int *where, int n) { *where = n; }
static NOINLINE int same(int n) { __asm__ volatile("" : "+r"(n)); return n; }
struct kept { int more, n; L wide; };
static NOINLINE L stored(struct kept *k) { return CALL(k->n); }
static NOINLINE struct kept made(int n) { struct kept k = {1, n, n}; return k; }
static int variable = 39;
static L (*volatile pointer)(L) = raw;
static const unsigned char bytes[] = {39, 102, 110, 24};
static const int ints[] = {104, 107, 108, 111};
void *memcpy(void *to, const void *from, unsigned long n) {
    char *t = to;
    for (const char *f = from; n; n--) *t++ = *f++;
    return to;
}
"""


class Writer:
    """Writes functions of one int that make calls."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names: list[str] = []

    def number(self) -> int:
        return self.random.choice(NUMBERS)

    def value(self) -> str:
        a, b, c = self.number(), self.number(), self.number()
        bit = 1 << self.random.randrange(4)
        return self.random.choice([
            f"{a}", f"(x & {bit} ? {a} : {b})", f"(x < {self.random.randrange(16)} ? {a} : x == 3 ? {b} : {c})",
            "107 + (x >> 1 & 1)", "102 + 2 * (x & 1)", "ints[x & 3]", "bytes[x & 3]", f"same({a})", "variable",
            f"({{ int v; put(&v, x & 1 ? {a} : {b}); v; }})", f"made({a}).n", f"({{ volatile int v = {a}; v; }})",
            f"(unsigned char)({a} + 256 * x)", f"(x & 1) * {a} + !(x & 1) * {b}", "n",
        ])  # fmt: skip

    def make(self) -> str:
        a = self.value()
        calls = [
            f"s += CALL({a});", f"s += raw({a});", f"s += last(x, {a});", f"s += seventh(1, 2, 3, x, 5, 6, {a}, 8);",
            f"s += pointer({a});", f"{{ L (*p)(L) = x & 1 ? raw : other; s += p({a}); }}",
            f"{{ struct kept k = {{0, {a}, 1}}; s += stored(&k); k.n = {self.number()}; s += stored(&k); }}",
            f"n = {a};", f"variable = {self.number()};", f"put(&n, {self.number()});",
            f"for (int i = 0; i < 3; i++) {{ s += CALL(i == 1 ? {self.number()} : n); n = {self.number()}; }}",
            f"while (x-- > 0 && s < 1L << 40) {{ n = {a}; s += raw(n); if (x == 5) break; }}",
            f"if (x & 2) {{ n = {a}; goto out; }}", self.switch(), self.computed(),
        ]  # fmt: skip
        if self.names:
            calls.append(f"if (x > 0) s += {self.random.choice(self.names)}(x - 1);")
        return self.random.choice(calls)

    def switch(self) -> str:
        cases = "".join(f"case {n}: n = {self.number()}; break; " for n in range(self.random.randrange(3, 8)))
        return f"switch (x & 7) {{ {cases}default: s += raw({self.number()}); }}"

    def computed(self) -> str:
        tag = f"l{self.random.getrandbits(40):x}"
        a, b, c = self.number(), self.number(), self.number()
        return (
            f"{{ static void *const to[] = {{&&{tag}a, &&{tag}b, &&{tag}c}}; n = {a}; goto *to[(unsigned)x % 3]; "
            f"{tag}a: n = {b}; {tag}b: s += raw(n); {tag}c: s += CALL({c}); }}"
        )

    def function(self) -> str:
        name = f"f{len(self.names)}"
        body = "\n    ".join(self.make() for _ in range(self.random.randrange(2, 7)))
        end = self.random.choice(["return s;", "return raw(n);", "return s + CALL(n);"])
        self.names.append(name)
        head = f"static NOINLINE L {name}(int x) {{\n    L s = 0; int n = {self.number()};\n"
        return f"{head}    {body}\nout: __attribute__((unused));\n    {end}\n}}\n"

    def program(self) -> str:
        functions = "".join(self.function() for _ in range(12))
        calls = " ".join(f"s += {name}(x);" for name in self.names)
        return (
            f"{HEAD}{functions}void _start(void) {{ L s = 0; for (int x = 0; x < 16; x++) {{ {calls} }} "
            f'__asm__ volatile("syscall" :: "a"(60L), "D"(s & 0)); __builtin_unreachable(); }}\n'
        )


@pytest.mark.parametrize("flags", ["-O0", "-O1", "-O2", "-O3", "-Os", "-O2 -fno-omit-frame-pointer", "-O2 -fPIC"])
@pytest.mark.parametrize("seed", range(3))
def test_random_c_makes_no_other_calls(cc: Compiler, tmp_path: Path, seed: int, flags: str) -> None:
    extra = ["-fno-stack-protector", "-fno-builtin", *flags.split()]
    path = str(cc(Writer(seed).program(), "bare", *extra))
    found, seen = infer(path), observed.pairs(load(path), [path], tmp_path)
    assert {nr for _, nr in seen} >= {60} and len(seen) > 20
    assert not outside(found, seen)
    known = [numbers for numbers in found.sites.values() if numbers is not None]
    assert len(known) > len(found.sites) // 3
    assert {nr for numbers in known for nr in numbers} <= {*NUMBERS, 60} | set(range(300))
