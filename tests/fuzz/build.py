"""What the fuzzers in C are built from: the core's own sources with libFuzzer, AddressSanitizer and UBSan, a guest, numbers."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from torov import policy
from torov.constants import names_of, set_of
from torov.loader import elf
from torov.loader.image import write_image
from torov.rewrite.plan import plan
from torov.syscalls import CALLS, LIMIT
from torov.vmm import build_core

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORE = build_core.CORE
TARGET = ROOT / "build" / "fuzz"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
COVER = "-fsanitize-coverage=inline-8bit-counters,pc-table"
WARN = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")
FLAGS = ("-std=gnu11", "-fno-strict-aliasing", "-Wno-unknown-attributes", "-Wno-unused-parameter")

HINTS = ("NONE", "PID", "SIZE", "FD", "DIR", "ADDR")
_HINT_OF = {"pid": "PID", "size": "SIZE", "fd": "FD", "atfd": "DIR", "addr": "ADDR"}

RULES = {
    "torov": 1,
    "default": "allow",
    "rules": [
        {"calls": ["write"], "where": [{"arg": "fd", "is": 2}], "action": "deny"},
        {"calls": ["memfd_create", "rename"], "action": {"errno": "EACCES"}},
        {
            "calls": ["socket", "socketpair"],
            "where": [{"arg": "domain", "not": ["AF_UNIX", "AF_INET"]}],
            "action": {"errno": "EAFNOSUPPORT"},
        },
        {
            "calls": ["connect", "bind", "sendto", "sendmsg", "sendmmsg"],
            "where": [{"address": {"family": "inet"}}, {"not-address": {"family": "inet", "network": "127.0.0.1/32"}}],
            "action": {"errno": "EACCES"},
        },
        {"calls": ["@file-system"], "where": [{"path": ["/tmp/work/secret/**"]}], "action": {"errno": "EACCES"}},
        {"calls": ["openat2"], "where": [{"arg": "how.resolve", "not": 0}], "action": "log"},
        {
            "calls": ["mmap", "mprotect"],
            "where": [{"arg": "prot", "is": "PROT_WRITE|PROT_EXEC", "mask": "PROT_WRITE|PROT_EXEC"}],
            "action": "deny",
        },
        {
            "calls": ["chroot", "clock_settime", "setdomainname", "sethostname", "settimeofday", "syslog", "vhangup"],
            "action": "allow",
            "comment": "the sandbox has no right to any of them",
        },
        {"calls": ["clone3"], "where": [{"arg": "cl_args.exit_signal", "is": 9}], "action": "deny"},
    ],
}
"""What calls.c knows without the core: the host must never hear of what these refuse."""
LOG = {"torov": 1, "default": "log", "rules": [{"calls": ["getpid"], "action": "allow"}]}


class BuildError(Exception):
    """A step that failed; its text is for the user."""


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def clang() -> str:
    """The compiler, which has libFuzzer: as CLANG says, or the first that is there."""
    known = [os.environ.get("CLANG"), *(f"clang-{version}" for version in (19, 20, 21, 22, 18, 17)), "clang"]
    return next((name for name in known if name and shutil.which(name)), "clang")


def _array(name: str, data: bytes) -> str:
    return f"static const uint8_t {name}[] = {{{','.join(map(str, data))}}};"


def _image(target: Path) -> str:
    program = target / "guest"
    _run("gcc", "-static", "-nostdlib", "-no-pie", "-o", program, HERE / "guest.S")
    image = elf.load(str(program))
    made = plan(image)
    write_image(
        f"{program}.img", image, made.patched_bytes(image.data), made.patched(), made.traps(), hashlib.sha256(image.data).digest()
    )
    if len(made.patched()) != 1:
        raise BuildError(f"{program}: one patched site is expected")
    text = subprocess.run(("nm", program), capture_output=True, text=True, check=True).stdout
    symbols = {line.split()[2]: int(line.split()[0], 16) for line in text.splitlines()}
    lines = [
        f"#define SITE {made.patched()[0]:#x}ull",
        f"#define WINDOW {symbols['window']:#x}ull",
        "#define WINDOW_SIZE 262144ull",
    ]
    return "\n".join([*lines, _array("guest_image", Path(f"{program}.img").read_bytes()), ""])


def _policy(name: str, rules: dict[str, object]) -> list[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(rules, file)
        file.flush()
        made = policy.load(file.name)
    numbers = (int.from_bytes(made.actions[i : i + 2], "little", signed=True) for i in range(0, 2 * LIMIT, 2))
    return [
        f"static const int16_t {name}_actions[{LIMIT}] = {{{','.join(map(str, numbers))}}};",
        _array(f"{name}_program", made.program),
    ]


def _words() -> str:
    pool: list[int] = []
    at, count, hints = [[0] * 6 for _ in range(LIMIT)], [[0] * 6 for _ in range(LIMIT)], [[0] * 6 for _ in range(LIMIT)]
    known: dict[str, tuple[int, int]] = {}
    for call in CALLS:
        for i, arg in enumerate(call.args):
            name = set_of(call, arg)
            hints[call.nr][i] = HINTS.index(_HINT_OF.get(arg.kind, "NONE"))
            if not name or arg.kind == "atfd":
                continue
            if name not in known:
                values = sorted(set(names_of(name).values()))
                known[name] = (len(pool), len(values))
                pool += values
            at[call.nr][i], count[call.nr][i] = known[name]

    def table(name: str, kind: str, rows: Iterable[list[int]]) -> str:
        return f"static const {kind} {name}[{LIMIT}][6] = {{{','.join('{' + ','.join(map(str, row)) + '}' for row in rows)}}};"

    lines = [f"enum {{ {', '.join(f'HINT_{word}' for word in HINTS)} }};"]
    lines.append(f"static const uint64_t words[] = {{{','.join(f'{value & (1 << 64) - 1:#x}ull' for value in pool)}}};")
    lines += [table("word_at", "uint32_t", at), table("word_n", "uint32_t", count), table("word_hint", "uint8_t", hints)]
    return "\n".join([*lines, *_policy("rules", RULES), *_policy("log", LOG), ""])


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _newer(target: Path, sources: Iterable[Path]) -> bool:
    return target.exists() and all(source.stat().st_mtime <= target.stat().st_mtime for source in sources)


def objects(compiler: str, generated: Path, seam: bool) -> list[Path]:
    """The core's files, compiled for a fuzzer.

    Args:
        compiler: clang.
        generated: directory of the core's generated headers.
        seam: the calls that it makes of the host go through seam.c, and cpu.c stands for kvm.c.

    Returns:
        The object files.

    Raises:
        BuildError: the compiler refused.
    """
    made = []
    headers = [*CORE.glob("*.h"), *generated.glob("*.h"), HERE / "seam.h"]
    where = TARGET / ("seam" if seam else "plain")
    where.mkdir(parents=True, exist_ok=True)
    for source in sorted(CORE.glob("*.c")):
        if seam and source.stem in ("kvm", "probe"):
            continue
        out = where / f"{source.stem}.o"
        made.append(out)
        if _newer(out, [source, *headers]):
            continue
        through = ("-include", HERE / "seam.h") if seam and source.stem != "fork" else ()
        _run(compiler, *FLAGS, *SANITIZE, COVER, *through, f"-I{CORE}", f"-I{generated}", "-c", "-o", out, source)
    return made


def build() -> dict[str, Path]:
    """Bring build/fuzz up to date.

    Returns:
        Name of each fuzzer to its program.

    Raises:
        BuildError: a step failed.
    """
    generated = TARGET / "core"
    TARGET.mkdir(parents=True, exist_ok=True)
    with open(TARGET / ".lock", "w") as lock:  # tests and `make fuzz` may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(generated)


def _build(generated: Path) -> dict[str, Path]:
    build_core.generate(generated)
    _write(TARGET / "image.h", _image(TARGET))
    _write(TARGET / "words.h", _words())
    compiler, include = clang(), (f"-I{CORE}", f"-I{generated}", f"-I{TARGET}", f"-I{HERE}")
    programs = {
        "calls": (("calls.c", "cpu.c", "seam.c"), True),
        "image": (("image.c", "cpu.c", "seam.c"), True),
        "show": (("show.c",), False),
    }
    result = {}
    for name, (sources, seam) in programs.items():
        core = objects(compiler, generated, seam)
        program = result[name] = TARGET / name
        own = [TARGET / f"{Path(source).stem}.o" for source in sources]
        for source, out in zip(sources, own, strict=True):
            if not _newer(out, [HERE / source, HERE / "fuzz.h", TARGET / "image.h", TARGET / "words.h", *CORE.glob("*.h")]):
                _run(compiler, *FLAGS, *SANITIZE, *WARN, *include, "-c", "-o", out, HERE / source)
        wrap = ("-Wl,--wrap=tv_cp",) if seam else ()
        if not _newer(program, [*core, *own]):
            _run(compiler, *SANITIZE, "-fsanitize=fuzzer", *wrap, "-o", program, *own, *core, "-lpthread")
    return result


if __name__ == "__main__":
    for _name, _program in build().items():
        print(_name, _program)
