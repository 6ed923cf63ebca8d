"""C tables of what traces print, for core/show*.c: which set of constants, which structure, which function for each argument.

Only at installation: torov/vmm/build_core.py writes what headers() gives.
"""

from __future__ import annotations

import os

from torov.callshape import SCALARS, Arg, Call
from torov.constants import TABLES, Table, set_of
from torov.syscalls import CALLS, LIMIT
from torov.tracing.rows import ROWS
from torov.tracing.sets import SETS
from torov.tracing.structs import STRUCTS

ALL: dict[str, Table] = {**TABLES, **SETS}
NAMES = sorted(ALL)
"""Every set; its number in C is its place here plus one."""

_BASES = {"i8": (1, 1), "u8": (1, 0), "i16": (2, 1), "u16": (2, 0), "i32": (4, 1), "u32": (4, 0), "i64": (8, 1), "u64": (8, 0)}
_WORDS = {
    "int": "i32", "uint": "u32", "long": "i64", "ulong": "u64", "size": "u64", "hex": "u32/x", "hex64": "u64/x", "ptr": "u64/ptr",
    "oct": "u16/oct", "fd": "i32/fd", "dirfd": "i32/dirfd", "sig": "i32/sig", "uid": "u32/uid", "dev": "u32/dev",
    "key": "u32/key", "clock": "i32=clock",
}  # fmt: skip
_SCALAR = {
    "int": "int", "uint": "uint", "long": "long", "ulong": "ulong", "size": "ulong", "off": "long", "mode": "oct", "pid": "int",
    "uid": "uid", "gid": "uid", "sig": "sig", "clock": "clock", "flags": "hex", "dev": "dev", "key": "key", "id": "int",
}  # fmt: skip


def mangled(name: str) -> str:
    """The name of a set in C."""
    return "SET_" + name.replace(".", "_")


class Value:
    """A type word, read.

    Fields:
        kind: K_* of show.h, without the prefix.
        of: what it is about, as C: a set, a structure, a function; "0".
        size: bytes of one; signed: 0 or 1.
        count: how many; 0: one, which is no array.
    """

    __slots__ = ("count", "kind", "of", "signed", "size")

    def __init__(self, word: str) -> None:
        word, bracket, inside = word.partition("[")
        self.count = int(inside[:-1]) if bracket else 0
        self.kind, self.of, self.signed = "D", "0", 0
        if word.startswith("@"):
            self.kind, self.of, self.size = "STRUCT", f"ST_{word[1:]}", size_of(word[1:])[0]
        elif word in ("str", "bytes"):
            self.kind, self.size = word.upper(), 1
        else:
            base, equals, name = word.partition("=")
            base, slash, how = base.partition("/")
            self.size, self.signed = _BASES[base]
            self.kind = how.upper() if slash else "D" if self.signed else "U"
            if equals:
                self.kind, self.of = "SET", mangled(name)
                if name not in ALL:
                    raise ValueError(f"{word}: no such set")


def fields(name: str) -> tuple[list[tuple[str, int, str, Value | None]], int, int]:
    """The fields of a structure as (name, offset, mark, value); a value of None is a function. With size and alignment."""
    found: list[tuple[str, int, str, Value | None]] = []
    at = end = 0
    alignment = 1
    words = STRUCTS[name].split()
    if words[0].startswith("!") and len(words) == 2 and words[1].isdigit():
        return [(words[0][1:], 0, "!", None)], int(words[1]), 8
    for word in words:
        if word.startswith("!"):
            found.append((word[1:], at, "!", None))
            continue
        label, _, kind = word.partition(":")
        mark = label[0] if label[0] in "-?~" else ""
        label, place, offset = label[len(mark) :].partition(">")
        value = Value(kind)
        align = size_of(kind.partition("[")[0][1:])[1] if value.kind == "STRUCT" else value.size
        at = int(offset) if place else at + -at % align
        if not place:
            alignment = max(alignment, align)
        if label != "_":
            found.append((label, at, mark, value))
        at += value.size * (value.count or 1)
        end = max(end, at)
    return found, end + -end % alignment, alignment


def size_of(name: str) -> tuple[int, int]:
    """Bytes and alignment of a structure."""
    _, size, alignment = fields(name)
    return size, alignment


def _field(label: str, offset: int, mark: str, value: Value | None) -> str:
    if value is None:
        return f'{{"{label}", {offset}, 0, 0, K_FN, 0, 0, 0, show_{label}}}'
    marks = {"": "0", "-": "F_LONG", "?": "F_NONZERO", "~": "F_LONG | F_NONZERO"}[mark]
    return f'{{"{label}", {offset}, {value.size}, {value.signed}, K_{value.kind}, {marks}, {value.of}, {value.count}, 0}}'


def _derived(call: Call, arg: Arg) -> str:
    """The word for an argument whose row says enough."""
    length = arg.length
    name = set_of(call, arg)
    if arg.kind == "mode":
        return "oct"
    if name and arg.kind in SCALARS and arg.kind not in ("sig", "clock"):
        return ("==" if arg.kind in ("long", "ulong") else "=") + name
    if arg.kind in SCALARS:
        return _SCALAR[arg.kind]
    if arg.kind in ("fd", "atfd"):
        return "dirfd" if arg.kind == "atfd" else "fd"
    if arg.kind in ("path", "look", "str"):
        return "str" if arg.kind == "str" else "path"
    if length is not None and length.struct in STRUCTS and arg.kind in ("in", "out", "io"):
        many = f"[{length.arg}]" if length.arg is not None else ""
        return f"{'out' if arg.kind == 'out' else 'in'}:{length.struct}{many}"
    if length is not None and length.arg is not None and length.scale == 1 and arg.kind == "in":
        return f"text[{length.arg}]"
    return "ptr"


def _argument(word: str, position: int, late: bool) -> tuple[str, bool]:
    """One argument in C, and whether it is shown after the call."""
    after, kind, fn, ref, how = late, "D", "0", "0", "H_VALUE"
    value = Value("u64")
    if word.startswith("@"):
        after, how, fn = late or word.startswith("@@"), "H_FN", f"show_{word.lstrip('@')}"
    elif word in ("path", "str"):
        how = "H_PATH" if word == "path" else "H_STR"
    elif word == "-":
        how = "H_NONE"
    elif word.startswith(("text[", "data[")):
        inside = word[5:-1]
        how, ref = ("H_TEXT", inside) if word.startswith("text") else ("H_DATA", "REF_RET" if inside == "ret" else inside)
        after = late or word.startswith("data")
    elif word.startswith(("in:", "out:")):
        side, _, kind = word.partition(":")
        after = late or side == "out"
        kind, bracket, inside = kind.partition("[")
        how = "H_OUT" if side == "out" else "H_IN"
        value = Value("@" + kind if kind in STRUCTS else kind)
        if not bracket and value.kind != "STRUCT":
            bracket, inside = "[", "=1]"
        if bracket:
            inside = inside[:-1]
            ref = "REF_RET" if inside == "ret" else f"REF_FIXED + {inside[1:]}" if inside.startswith("=") else inside
            how += "_MANY"
    else:
        if word.startswith("=="):
            word = "u64" + word[1:]
        elif word.startswith("="):
            word = "u32" + word
        value = Value(_WORDS.get(word, word))
    return (
        f"{{{how}, {int(after)}, {value.size}, {value.signed}, K_{value.kind}, {ref}, {position}, {value.of}, {fn}}}",
        after,
    )


def _row(call: Call) -> str:
    words, _, result = ROWS.get(call.name, " ".join(_derived(call, arg) for arg in call.args)).partition("->")
    late, made = False, []
    position = -1
    for word in words.split():
        position += not word.startswith("+")
        text, late = _argument(word.removeprefix("+"), position, late)
        made.append(text)
    result = result.strip()
    way = "DEC" if result in ("", "int") else result.upper()
    back = f".ret_fn = show_{result[1:]}" if result.startswith("@") else f".ret = R_{way}"
    return f"    [{call.nr}] = {{.n = {len(made)}, {back}, .arg = {{{', '.join(made)}}}}}, /* {call.name} */"


def functions() -> list[str]:
    """The functions of the printer that the tables name."""
    found = {word.lstrip("+@") for row in ROWS.values() for word in row.split() if word.startswith(("@", "+@"))}
    found |= {word[1:] for text in STRUCTS.values() for word in text.split() if word.startswith("!")}
    return sorted(found)


def numbers_header() -> str:
    """Numbers of the sets and structures: sets.h."""
    lines = ["/* generated by torov/tracing/tables.py */", "enum {"]
    lines += [f"    {mangled(name)} = {i}," for i, name in enumerate(NAMES, 1)]
    lines += ["    SET_COUNT", "};", "enum {"]
    lines += [f"    ST_{name} = {i}," for i, name in enumerate(STRUCTS, 1)]
    return "\n".join([*lines, "};", ""])


def shapes_header() -> str:
    """How calls and structures are shown: shapes.h, for core/show.c."""
    lines = ["/* generated by torov/tracing/tables.py */"]
    lines += [f"bool show_{name}(struct show *s, int arg, const void *data);" for name in functions()]
    for name in STRUCTS:
        rows = ", ".join(_field(*field) for field in fields(name)[0])
        lines.append(f"static const struct show_field st_{name}[] = {{{rows}}};")
    lines.append("const struct show_struct show_structs[] = {{0, 0, 0},")
    for name in STRUCTS:
        found, size, _ = fields(name)
        lines.append(f"    {{{size}, {len(found)}, st_{name}}}, /* {name} */")
    lines += ["};", f"const struct show_call show_calls[{LIMIT}] = {{", *(_row(call) for call in CALLS), "};"]
    lines.append("static const char *const error_texts[134] = {")
    lines += [f'    [{n}] = "{os.strerror(n)}",' for n in range(1, 134) if not os.strerror(n).startswith("Unknown")]
    return "\n".join([*lines, "};", ""])
