"""The fuzzers (``make fuzz``).

    python -m tests.fuzz.run [SECONDS] [TARGET...]     each target, or those named, for so much CPU time; 60 if not said
    python -m tests.fuzz.run --case TARGET FILE        one input of calls, image or show, with what it does

Exit status 1 if something was found: inputs are then in build/fuzz/crashes. docs/fuzzing.md says what is looked at.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.build import HERE, ROOT, TARGET, BuildError, build
from support import HELLO_C, HELLO_S, Compiler

NOBODY = "65534"
SLICE = 180  # seconds of wall time of one process of libFuzzer
OPTIONS = {
    "calls": ("-max_len=8192", "-print_funcs=0"),  # names of functions would take a child, and all are ended after an input
    "image": ("-max_len=20000",),
    "show": ("-max_len=2048",),
}
PYTEST = {
    "policy": (
        "tests/policy",
        "-k",
        "reference or random or form or schema or convert or oci or inspect or learn_decided or general",
    ),
    "rewriter": ("tests/rewrite/test_plan.py", "tests/rewrite/test_infer_random.py"),
    "gdb": ("tests/gdb/test_packets.py",),
    "forms": ("tests/fuzz/test_forms.py",),
}
"""Tests that make their inputs up, run again and again with other seeds."""


_boxed = 0.0  # CPU seconds that were used in sandboxes: bwrap does not wait for what it runs


def used() -> float:
    """CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime + _boxed


def sandbox(place: Path) -> list[str]:
    """The command that runs another one where a guest can harm nothing: as nobody, in namespaces of its own, the host's files
    read-only, no devices, no network, no capabilities.

    Args:
        place: a directory that is /tmp/fuzz there, and its subdirectory out /tmp/out, which alone can be written.
    """
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"] if os.geteuid() == 0 else []
    words = "--unshare-all --die-with-parent --new-session --cap-drop ALL --ro-bind / / --dev /dev --remount-ro /dev --proc /proc"
    words += " --tmpfs /tmp --tmpfs /run --tmpfs /var/tmp"
    binds = ["--ro-bind", str(place), "/tmp/fuzz", "--bind", str(place / "out"), "/tmp/out"]
    symbols = next((path for path in sorted(Path("/usr/bin").glob("llvm-symbolizer*"))), None)
    extra = ["--setenv", "LLVM_SYMBOLIZER_PATH", str(symbols)] if symbols else []
    return [*drop, "bwrap", *words.split(), *binds, *extra, "--chdir", "/tmp"]


def libfuzzer(name: str, words: Sequence[str], files: Sequence[Path], show: bool = False) -> tuple[int, str, Path]:
    """One process of libFuzzer in the sandbox.

    Args:
        name: the target.
        words: its options.
        files: inputs; the corpus that it keeps and extends.
        show: what an input does is told.

    Returns:
        Exit status, standard error, and the directory that has corpus and what was found; the caller removes it.
    """
    place = Path(tempfile.mkdtemp(prefix="torov-fuzz-"))
    place.chmod(0o755)
    shutil.copy(TARGET / name, place / name)
    out = place / "out"
    (out / "corpus").mkdir(parents=True)
    for directory in (out, out / "corpus"):
        directory.chmod(0o777)
    for file in files:
        shutil.copy(file, out / "corpus" / file.name)
        (out / "corpus" / file.name).chmod(0o644)
    told = ["--setenv", "FUZZ_SHOW", "1"] if show else []
    fixed = ["-detect_leaks=0", "-rss_limit_mb=0", "-timeout=60", "-artifact_prefix=/tmp/out/", *OPTIONS[name]]
    timed = ["sh", "-c", '"$@"; status=$?; times; exit $status', "sh"]
    command = [*sandbox(place), *told, *timed, f"/tmp/fuzz/{name}", *fixed, *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    global _boxed
    _boxed += sum(60 * int(minutes) + float(rest) for minutes, rest in re.findall(r"(\d+)m([\d.]+)s", done.stdout.decode()))
    return done.returncode, done.stderr.decode(errors="replace"), place


def inputs(name: str, kept: bool = True) -> list[Path]:
    """All inputs that are known for a target: seeds, found cases, and what was kept of earlier runs."""
    places = (HERE / "seeds" / name, HERE / "found" / name, *([TARGET / "corpus" / name] if kept else []))
    known = [path for place in places if place.is_dir() for path in sorted(place.iterdir()) if path.is_file()]
    if name == "image":  # the guest itself, as ELF and as image file, as program and as interpreter
        made = TARGET / "seeds"
        made.mkdir(exist_ok=True)
        for option in range(4):
            for source in ("guest", "guest.img"):
                path = made / f"{source}-{option}"
                path.write_bytes(bytes([option]) + (TARGET / source).read_bytes())
                known.append(path)
    return known


def compiled(name: str, seconds: float) -> str | None:
    """Run a fuzzer in C for so much CPU time; None, or what was found."""
    kept = TARGET / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    start, runs, rows = used(), 0, None
    while (left := seconds - (used() - start)) > 1:
        wall, before = max(1, min(SLICE, round(left))), used()
        status, text, place = libfuzzer(name, [f"-max_total_time={wall}", "/tmp/out/corpus"], inputs(name))
        try:
            for path in (place / "out" / "corpus").iterdir():
                if re.fullmatch("[0-9a-f]{40}", path.name):
                    shutil.copy(path, kept / path.name)
            rows = re.search(r"(?m)^\d+ inputs, \d+ calls.*\n(?:  .*\n)*", text)
            runs += int(match[1]) if (match := re.search(r"Done (\d+) runs", text)) else 0
            found = [path for path in (place / "out").iterdir() if path.is_file()]
            if status or found:
                saved = TARGET / "crashes" / name
                saved.mkdir(parents=True, exist_ok=True)
                for path in found:
                    shutil.copy(path, saved / path.name)
                names = "\n".join(str(saved / path.name) for path in found)
                return f"{text[-6000:]}\n{names}\npython -m tests.fuzz.run --case {name} FILE shows what it does"
            if used() - before < wall / 50:
                return f"{text[-6000:]}\nit does not run"
        finally:
            shutil.rmtree(place)
    print(f"{name}: {runs} inputs, {len(list(kept.iterdir()))} kept", flush=True)
    if rows:
        print(f"the last of its processes: {rows[0].strip()}")
    return None


def repeated(name: str, seconds: float) -> str | None:
    """Run tests of PYTEST with ever new seeds for so much CPU time; None, or what was found."""
    start, seed, times = used(), int(time.time()), 0
    while used() - start < seconds:
        env = {**os.environ, "TOROV_FUZZ_SEED": str(seed)}
        words = ["-m", "pytest", "-q", "-x", f"--hypothesis-seed={seed}", *PYTEST[name]]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{done.stdout[-6000:]}{done.stderr[-2000:]}\nTOROV_FUZZ_SEED={seed} python {' '.join(words)}"
        seed, times = seed + 1, times + 1
    print(f"{name}: {times} times with seeds up to {seed - 1}", flush=True)
    return None


def elf(name: str, seconds: float) -> str | None:
    """Mutated programs through loader and rewriter (tests/loader/mutations.py) for so much CPU time; None, or what was found."""
    guests = TARGET / "guests"
    guests.mkdir(parents=True, exist_ok=True)
    cc = Compiler(guests)
    sources = [str(cc(text, kind)) for text, kind in ((HELLO_C, "musl"), (HELLO_S, "bare"), (HELLO_C, "glibc"), (HELLO_C, "pie"))]
    start, first, count = used(), int(time.time()) * 1000, 0
    while used() - start < seconds:
        words = [str(ROOT / "tests" / "loader" / "mutations.py"), str(first), str(first + 200), *sources]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            return f"{done.stdout[-300:]}\n{done.stderr[-3000:]}\nPYTHONPATH=. python {' '.join(words)}: status {done.returncode}"
        first, count = first + 200, count + 200
    print(f"{name}: {count} copies", flush=True)
    return None


FUZZERS: dict[str, Callable[[str, float], str | None]] = {
    **dict.fromkeys(OPTIONS, compiled),
    "elf": elf,
    **dict.fromkeys(PYTEST, repeated),
}


def main(words: list[str]) -> int:
    try:
        programs = build()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    if words[:1] == ["--case"]:
        name, file = words[1:]
        status, text, place = libfuzzer(name, [f"/tmp/out/corpus/{Path(file).name}"], [Path(file)], show=True)
        shutil.rmtree(place)
        print(text)
        return status
    seconds = float(words.pop(0)) if words and words[0].isdecimal() else 60
    bad = 0
    for name in words or FUZZERS:
        start = used()
        found = FUZZERS[name](name, seconds)
        print(f"{name}: {used() - start:.0f} s of CPU time, {'FOUND' if found else 'nothing found'}", flush=True)
        if found:
            print(found, flush=True)
            bad = 1
    return bad if programs else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
