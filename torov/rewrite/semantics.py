"""What one instruction does to one register, as far as the number of a system call can depend on it.

The kernel takes a system call's number from eax (entry_64.S passes it on as an int), so a *value* here is the low 32 bits
of a register or of a stack slot. That is enough for mov, add, and, or, xor, shifts to the left and their kin; what depends on the
upper half of a 64-bit register is unknown. The texts are capstone's, in Intel syntax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MASK = 0xFFFFFFFF

Value = frozenset[int]


class Memory(NamedTuple):
    """A memory operand: ``segment:[base + indexed * scale + disp]`` of ``size`` bytes."""

    size: int
    segment: str
    base: str
    indexed: str
    scale: int
    disp: int


class Part(NamedTuple):
    """A register operand: bits of a register family, from a shift on."""

    family: str
    bits: int
    shift: int


class Const(NamedTuple):
    """The register holds this number."""

    value: int


class Copy(NamedTuple):
    """The register holds what a place held before the instruction: ``rax``, or 16, 8 or the second 8 bits of it:
    ``rax/16``, ``rax/8``, ``rax/h``."""

    place: str


class Load(NamedTuple):
    """The register holds what is in memory."""

    memory: Memory


class Apply(NamedTuple):
    """The register holds a function of other values; each of them is a Const, Copy, Load or Apply."""

    function: Callable[..., tuple[int, ...]]
    sources: tuple[Const | Copy | Load | Apply, ...]


class Top(NamedTuple):
    """The register holds something that is not known, for a reason."""

    reason: str


Effect = Const | Copy | Load | Apply | Top


def words_of(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


def _families() -> dict[str, Part]:
    found: dict[str, Part] = {}
    for letter in "abcd":
        family = f"r{letter}x"
        found |= {family: Part(family, 64, 0), f"e{letter}x": Part(family, 32, 0), f"{letter}x": Part(family, 16, 0)}
        found |= {f"{letter}l": Part(family, 8, 0), f"{letter}h": Part(family, 8, 8)}
    for name in ("si", "di", "bp", "sp"):
        family = f"r{name}"
        found |= {family: Part(family, 64, 0), f"e{name}": Part(family, 32, 0), name: Part(family, 16, 0)}
        found[f"{name}l"] = Part(family, 8, 0)
    for number in range(8, 16):
        family = f"r{number}"
        found |= {family + tail: Part(family, bits, 0) for tail, bits in (("", 64), ("d", 32), ("w", 16), ("b", 8))}
    return found


REGISTERS = _families()
CALL_CLOBBERS = words_of("rax rcx rdx rsi rdi r8 r9 r10 r11")
"""System V ABI for AMD64, 3.2.1: a function need not keep these."""
_SIZES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xmmword": 16, "ymmword": 32, "zmmword": 64, "tbyte": 10, "xword": 10}
_NOTHING = words_of(
    "cmp test bt nop push jmp endbr64 endbr32 ret retf pause lfence mfence sfence ud2 hlt int3 clc stc cld std fnop wait "
    "prefetchnta prefetcht0 prefetcht1 prefetcht2 prefetchw ucomiss ucomisd comiss comisd vzeroupper vzeroall emms "
    "clflush clflushopt clwb ldmxcsr stmxcsr fldcw fnstcw out ptest cli sti rdsspq incsspq"
)
_FIRST = words_of(
    "mov movabs movzx movsx movsxd lea xor sub and or add inc dec neg not shl sal shr sar rol ror rcl rcr sbb adc bswap "
    "pop movd movq movmskps movmskpd pmovmskb pextrb pextrw pextrd pextrq cvttsd2si cvtsd2si cvttss2si cvtss2si popcnt "
    "lzcnt tzcnt bsf bsr shld shrd bts btr btc andn bextr blsr blsi blsmsk rorx sarx shlx shrx pdep pext rdrand rdseed "
    "vmovd vmovq vpmovmskb vmovmskps vmovmskpd crc32 movbe lar lsl"
)
_IMPLICIT = {
    "mul": "rax rdx", "div": "rax rdx", "idiv": "rax rdx", "cqo": "rdx", "cdq": "rdx", "cwd": "rdx", "cbw": "rax",
    "cwde": "rax", "cdqe": "rax", "cpuid": "rax rbx rcx rdx", "rdtsc": "rax rdx", "rdtscp": "rax rcx rdx",
    "xgetbv": "rax rdx", "cmpxchg": "rax", "cmpxchg8b": "rax rdx", "cmpxchg16b": "rax rdx", "syscall": "rax rcx r11",
    "leave": "rbp", "lahf": "rax", "xlatb": "rax", "loop": "rcx", "loope": "rcx", "loopne": "rcx", "int": "rax",
}  # fmt: skip
_STRINGS = {"lods": "rax rsi rcx", "stos": "rdi rcx", "movs": "rsi rdi rcx", "scas": "rdi rcx", "cmps": "rsi rdi rcx"}
_IMPLICIT_SETS = {name: words_of(text) for name, text in _IMPLICIT.items()}
_IMPLICIT_SETS |= {base + tail: words_of(text) for base, text in _STRINGS.items() for tail in "bwdq" if base + tail != "cmpsd"}
_READS = words_of("cmp test bt push call jmp nop prefetcht0 prefetchnta prefetcht1 prefetcht2 prefetchw")
_EMPTY: frozenset[str] = frozenset()
_operands: dict[str, Part | int | Memory | None] = {}


def operand(text: str) -> Part | int | Memory | None:
    """Read one operand as capstone prints it; None for what is none of these (xmm0, st(1), k1)."""
    try:
        return _operands[text]
    except KeyError:
        made = _operands[text] = _operand(text)
        return made


def _operand(text: str) -> Part | int | Memory | None:
    if text in REGISTERS:
        return REGISTERS[text]
    head, bracket, inside = text.partition("[")
    if not bracket:
        try:
            return int(text, 0)
        except ValueError:
            return None
    words = head.split()
    segment = words.pop().rstrip(":") if words and words[-1].endswith(":") else ""
    size = _SIZES.get(words[0], 0) if words else 0
    base, index, scale, disp, sign = "", "", 1, 0, 1
    for word in inside.partition("]")[0].split():
        if word in "+-":
            sign = -1 if word == "-" else 1
        elif "*" in word:
            index, _, times = word.partition("*")
            scale = int(times)
        elif word[0].isdigit():
            disp += sign * int(word, 0)
        elif base:
            index = word
        else:
            base = word
    return Memory(size, segment, base, index, scale, disp)


def name_of(mnemonic: str) -> str:
    """The instruction's own name, without prefixes (``lock cmpxchg``)."""
    return mnemonic.rpartition(" ")[2]


def writes(mnemonic: str, operands: str) -> frozenset[str] | None:
    """The register families that an instruction writes.

    Args:
        mnemonic, operands: its text.
    Returns:
        Families (``rax``); None if this table does not know the instruction, so that capstone is asked in full. A call
        is not answered here: what it changes is a matter of the ABI.
    """
    name = name_of(mnemonic)
    if name in _NOTHING or name[0] == "j":
        return _EMPTY
    first, _, rest = operands.partition(", ")
    part = operand(first)
    own = frozenset((part.family,)) if isinstance(part, Part) else _EMPTY
    if name in _FIRST or name.startswith(("cmov", "set")):
        return own
    if name in _IMPLICIT_SETS:
        # movsd is a string instruction without, and one of SSE with an xmm operand
        return _EMPTY if name == "movsd" and "xmm" in operands else own | _IMPLICIT_SETS[name]
    if name in ("xchg", "xadd"):
        second = operand(rest)
        return own | ({second.family} if isinstance(second, Part) else _EMPTY)
    if name == "imul":
        return own if rest else frozenset(("rax", "rdx"))
    if isinstance(part, Part) or not operands or name.startswith(("pcmp", "vpcmp", "f")):
        return None
    return _EMPTY if first.startswith(("xmm", "ymm", "zmm", "mm", "st(", "xmmword", "ymmword")) else None


def stored(mnemonic: str, operands: str) -> Memory | None:
    """The memory operand that an instruction writes; None if it writes none."""
    if "[" not in operands:
        return None
    name = name_of(mnemonic)
    if name in _READS:
        return None
    words = operands.split(", ")
    first = operand(words[0])
    if isinstance(first, Memory):
        return first
    if name in ("xchg", "xadd") and len(words) == 2:
        second = operand(words[1])
        return second if isinstance(second, Memory) else None
    return None


def _low(value: int) -> tuple[int, ...]:
    return (value & MASK,)


def _signed(value: int, bits: int) -> int:
    return (value & (1 << bits) - 1) - ((value >> bits - 1 & 1) << bits)


_BINARY: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    "add": lambda a, b: _low(a + b),
    "sub": lambda a, b: _low(a - b),
    "and": lambda a, b: (a & b,),
    "or": lambda a, b: (a | b,),
    "xor": lambda a, b: (a ^ b,),
    "adc": lambda a, b: ((a + b) & MASK, (a + b + 1) & MASK),
    "sbb": lambda a, b: ((a - b) & MASK, (a - b - 1) & MASK),
    "imul": lambda a, b: _low(a * b),
    "shl": lambda a, b: _low(a << (b & 63)),
    "shr": lambda a, b: (a >> (b & 31),),
    "sar": lambda a, b: _low(_signed(a, 32) >> (b & 31)),
}
_UNARY: dict[str, Callable[[int], tuple[int, ...]]] = {
    "inc": lambda a: _low(a + 1),
    "dec": lambda a: _low(a - 1),
    "neg": lambda a: _low(-a),
    "not": lambda a: _low(~a),
}


def effects(mnemonic: str, operands: str, place: str) -> tuple[Effect, ...]:
    """What a register that an instruction writes (see writes()) holds after it.

    Args:
        mnemonic, operands: its text.
        place: the register, or a part of it (see Copy).
    Returns:
        Each of the possibilities: more than one after cmov.
    """
    name = name_of(mnemonic)
    family, _, wanted = place.partition("/")
    unknown = (Top(f"computed by {name}"),)
    words = operands.split(", ")
    first = operand(words[0])
    if name == "xchg" and len(words) == 2:
        other = words[1] if isinstance(first, Part) and first.family == family else words[0]
        own = first if other == words[1] else operand(words[1])
        if words[0] == words[1]:
            return (Copy(place),)
        source = _source(other)
        return (_merged(own, source, wanted),) if isinstance(own, Part) and source is not None else unknown
    if name in ("cdqe", "cwde"):
        extended = Copy("rax") if name == "cdqe" else Apply(lambda a: _low(_signed(a, 16)), (Copy("rax/16"),))
        return (_merged(REGISTERS["eax"], extended, wanted),)
    if not isinstance(first, Part) or first.family != family or mnemonic != name:
        return unknown
    made: Effect | None = None
    if name in ("mov", "movabs", "movsxd", "pop"):
        made = Load(Memory(8, "", "rsp", "", 1, 0)) if name == "pop" else _source(words[1])
    elif name in ("movzx", "movsx") and (inner := _source(words[1])) is not None:
        bits = _width(words[1])
        made = inner if name == "movzx" else Apply(lambda a, bits=bits: _low(_signed(a, bits)), (inner,))
    elif name == "lea" and isinstance(memory := operand(words[1]), Memory):
        made = _address(memory)
    elif name.startswith("cmov") and (inner := _source(words[1])) is not None:
        return (inner, Copy(family)) if first.bits >= 32 and not wanted else unknown
    elif name.startswith("set"):
        made = Apply(lambda: (0, 1), ())
    elif name in ("xor", "sub") and len(words) == 2 and words[0] == words[1]:
        made = Const(0)
    elif name == "sbb" and words[0] == words[1]:
        made = Apply(lambda: (0, MASK), ())
    elif name == "and" and operand(words[1]) == 0:
        made = Const(0)
    elif name == "or" and words[1] in ("0xffffffff", "0xffffffffffffffff", "-1"):
        made = Const(MASK)
    else:
        made = _arithmetic(name, words, first)
    if made is None:
        return unknown
    return (_merged(first, made, wanted),)


def _arithmetic(name: str, words: list[str], first: Part) -> Effect | None:
    own = _source(words[0])
    if own is None or (first.bits == 64 and name in ("shr", "sar")):
        return None
    if name in ("shl", "sal"):  # a count is taken modulo the register's width, and 32 of them leave nothing
        count = operand(words[1]) if len(words) == 2 else 1
        if not isinstance(count, int):
            return None
        return Apply(_BINARY["shl"], (own, Const(count & (63 if first.bits == 64 else 31))))
    if name == "sar" and first.bits < 32:
        count, bits = operand(words[1]) if len(words) == 2 else 1, first.bits
        return Apply(lambda a: _low(_signed(a, bits) >> (count & 31)), (own,)) if isinstance(count, int) else None
    if name in _UNARY and len(words) == 1:
        return Apply(_UNARY[name], (own,))
    if name in _BINARY and len(words) in (2, 3):
        left, right = (own, _source(words[1])) if len(words) == 2 else (_source(words[1]), _source(words[2]))
        if left is not None and right is not None:
            return Apply(_BINARY[name], (left, right))
    return None


def _width(text: str) -> int:
    made = operand(text)
    return made.bits if isinstance(made, Part) else made.size * 8 if isinstance(made, Memory) else 32


def _source(text: str) -> Const | Copy | Load | Apply | None:
    """The value of an operand that is read, zero-extended."""
    made = operand(text)
    if isinstance(made, int):
        return Const(made & MASK)
    if isinstance(made, Memory):
        return Load(made) if made.size else None
    if made is None:
        return None
    if made.bits >= 32:
        return Copy(made.family)
    return Copy(f"{made.family}/{'h' if made.shift else made.bits}")


_BITS = {"": (0, 32), "16": (0, 16), "8": (0, 8), "h": (8, 8)}


def _merged(part: Part, new: Effect, wanted: str) -> Effect:
    """What a place of a register holds after 8 or 16 bits of it, or all of it, were written.

    Args:
        part: what was written.
        new: its value.
        wanted: the place, as behind the slash in Copy.
    """
    if isinstance(new, Top):
        return new
    shift, bits = _BITS[wanted]
    mask, low, width = (1 << bits) - 1, part.shift, (1 << min(part.bits, 32)) - 1
    if part.bits >= 32:
        return Apply(lambda a: (a >> shift & mask,), (new,)) if wanted else new
    if (shift, bits) == (low, part.bits) or (not shift and bits == 8 and not low):
        return Apply(lambda a: (a & mask,), (new,))
    if shift and part.bits == 8:  # al was written, and ah is wanted
        return Copy(f"{part.family}/h")
    if shift:
        return Apply(lambda a: (a >> 8 & 0xFF,), (new,))
    if bits == 8:  # ah was written, and al is wanted
        return Copy(f"{part.family}/8")
    if bits == 16 and part.bits == 8:
        other = Copy(f"{part.family}/{'8' if low else 'h'}")
        return Apply(lambda old, a: (old << 8 - low | (a & 0xFF) << low,), (other, new))
    old_all = Copy(part.family)
    return Apply(lambda old, a: (old & ~(width << low) & MASK | (a & width) << low,), (old_all, new))


def _address(memory: Memory) -> Effect | None:
    """What lea computes, if it is arithmetic on registers."""
    if memory.base in ("rip", "rsp") or memory.segment:
        return Top("an address")
    disp, scale = memory.disp, memory.scale
    sources: list[Copy] = []
    for name in filter(None, (memory.base, memory.indexed)):
        if name not in REGISTERS:
            return Const(disp & MASK) if name in ("riz", "eiz") and not memory.base else None
        sources.append(Copy(REGISTERS[name].family))
    if not sources:
        return Const(disp & MASK)
    if memory.base and not memory.indexed:
        return sources[0] if not disp else Apply(lambda a: _low(a + disp), tuple(sources))
    if not memory.base:
        return Apply(lambda a: _low(a * scale + disp), tuple(sources))
    return Apply(lambda a, b: _low(a + b * scale + disp), tuple(sources))
