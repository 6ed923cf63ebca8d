"""Core files of guests, opened by gdb and readelf, and held against gdb on the native program."""

from __future__ import annotations

import os
import re
import resource
import signal
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from running import Ran, build, run, torov
from support import Compiler, until_in_call

pytestmark = pytest.mark.kvm

SHARES = "set debuginfod enabled off"
FRAME = re.compile(r"^#(\d+)\s+(?:0x[0-9a-f]+ in )?(\S+) \(([^)]*)\)(?: at (\S+))?", re.MULTILINE)
POLICY = '{"torov": 1, "default": "allow", "rules": [{"calls": ["socket"], "action": {"errno": "EPERM"}}]}'


def gdb(program: Path, core: Path | None, *commands: str) -> str:
    """What gdb prints in batch mode: of a core file, or of the program run natively to its end."""
    words: list[str | Path] = ["gdb", "-nx", "-q", "-batch", "-ex", SHARES]
    if core is None:
        words += ["-ex", "run"]
    for command in commands:
        words += ["-ex", command]
    target: list[str | Path] = [program, core] if core else ["--args", program]
    done = subprocess.run([*words, *target], capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


def native(program: Path, args: Sequence[str], *commands: str) -> str:
    words: list[str | Path] = ["gdb", "-nx", "-q", "-batch", "-ex", SHARES, "-ex", "run"]
    for command in commands:
        words += ["-ex", command]
    return subprocess.run([*words, "--args", program, *args], capture_output=True, text=True, check=False, timeout=120).stdout


def frames(text: str) -> list[tuple[str, ...]]:
    """Function, arguments without addresses, and place of each frame of the last backtrace."""
    found: list[tuple[str, ...]] = []
    for number, name, args, place in FRAME.findall(text):
        if number == "0":
            found = []  # what gdb shows as it stops
        found.append((name, re.sub(r"0x[0-9a-f]{3,}", "ADDRESS", args), place))
    return found


def die(program: Path, cwd: Path, *args: str, options: Sequence[str | Path] = ("--core=core",)) -> Ran:
    return run(torov(program, *args, options=options), cwd=cwd)


@pytest.fixture(scope="module", params=["glibc", "musl", "dynamic", "pie"])
def dying(request: pytest.FixtureRequest, cc: Compiler) -> Path:
    return build(cc, "dying", str(request.param), "-g", "-pthread")


@pytest.mark.parametrize("how", ["crash", "divide", "read-only"])
def test_backtrace_and_registers(dying: Path, tmp_path: Path, how: str) -> None:
    ran = die(dying, tmp_path, how)
    assert ran.status == 128 + (8 if how == "divide" else 11)
    asked = (
        "bt",
        "p global",
        "p $xmm7.v2_double[0]",
        "p $st0",
        "p $r12d",
        "p/x $eflags & 0x40",
        "p $_siginfo.si_signo",
        "p $_siginfo.si_code",
    )
    ours, theirs = gdb(dying, tmp_path / "core", *asked), native(dying, [how], *asked)
    assert frames(ours) == frames(theirs) and "main" in str(frames(theirs))
    values = [re.findall(r"^\$\d = .*", text, re.MULTILINE) for text in (ours, theirs)]
    if how == "divide":  # not set by the program: addresses
        values = [text[:3] + text[4:] for text in values]
    assert values[0] == values[1] and len(values[0]) >= 6


def test_threads_and_memory(dying: Path, tmp_path: Path) -> None:
    ran = die(dying, tmp_path, "threads")
    assert ran.status == 139
    core = tmp_path / "core"
    asked = ("thread apply all bt", "p (char *)kept", "p (char *)far_away", "p (char *)hidden", "info threads")
    ours, theirs = gdb(dying, core, *asked), native(dying, ["threads"], *asked)

    def stacks(text: str) -> list[tuple[tuple[str, ...], ...]]:
        parts = re.split(r"^Thread \d+ ", text, flags=re.MULTILINE)[1:]
        return sorted(tuple(f for f in frames(part) if f[0] in ("waits", "thread", "main", "middle", "crash")) for part in parts)

    assert stacks(ours)[-4:] == stacks(theirs)[-4:]
    assert sum("waits" in str(stack) for stack in stacks(ours)) == (0 if "musl" in dying.name else 3)  # musl: no unwind tables
    for text in ("kept", "far away", "hidden"):
        assert f'"{text}"' in ours, ours
    assert "Cannot access memory" in gdb(dying, core, "p (char *)left_out") or '"left out"' not in gdb(
        dying, core, "p (char *)left_out"
    )
    assert core.stat().st_size > 1 << 35 and core.stat().st_blocks * 512 < 4 << 20, "untouched memory is a hole"
    assert core.stat().st_mode & 0o777 == 0o600


def test_stack_overflow(dying: Path, tmp_path: Path) -> None:
    assert die(dying, tmp_path, "deep").status == 139
    tail = frames(gdb(dying, tmp_path / "core", "bt -3"))
    assert [frame[0] for frame in tail[-2:]] == ["deep", "main"]


def test_abort(dying: Path, tmp_path: Path) -> None:
    ran = die(dying, tmp_path, "abort")
    assert ran.status == 134 and "SIGABRT (sent by itself)" in ran.err
    ours, theirs = (frames(text) for text in (gdb(dying, tmp_path / "core", "bt"), native(dying, ["abort"], "bt")))
    assert [f[0] for f in ours] == [f[0] for f in theirs] and ("aborts" in str(ours) or "musl" in dying.name)


def test_notes(cc: Compiler, tmp_path: Path) -> None:
    """As core(5) and fs/binfmt_elf.c have them, in order; sizes by the headers of Linux."""
    program = build(cc, "dying", "dynamic", "-g", "-pthread")
    die(program, tmp_path, "threads")
    text = subprocess.run(["readelf", "-n", tmp_path / "core"], capture_output=True, text=True, check=True).stdout
    notes = re.findall(r"^\s+(CORE|LINUX)\s+(0x[0-9a-f]+)\s+(NT_\w+)", text, re.MULTILINE)
    first = ["NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE", "NT_FPREGSET", "NT_X86_XSTATE"]
    assert [name for _, _, name in notes] == [*first, *["NT_PRSTATUS", "NT_FPREGSET", "NT_X86_XSTATE"] * 3]
    sizes = {name: int(size, 16) for _, size, name in notes}
    assert (sizes["NT_PRSTATUS"], sizes["NT_PRPSINFO"], sizes["NT_SIGINFO"], sizes["NT_FPREGSET"]) == (336, 136, 128, 512)
    mappings = gdb(program, tmp_path / "core", "info proc mappings", "info auxv")
    assert (
        str(program) in mappings and "libc.so.6" in mappings and re.search(r"AT_ENTRY\s+Entry point of program\s+0x1", mappings)
    )


def notes_of(core: Path) -> list[tuple[int, bytes]]:
    """Type and contents of each note, by elf(5)."""
    with core.open("rb") as file:
        file.seek(64)
        offset, size = struct.unpack_from("<8x Q 16x Q", file.read(56))
        file.seek(offset)
        data, found, at = file.read(size), [], 0
    while at < size:
        name, length, kind = struct.unpack_from("<III", data, at)
        at += 12 + (name + 3 & -4)
        found.append((kind, data[at : at + length]))
        at += length + 3 & -4
    return found


def test_extended_registers_and_calls(cc: Compiler, tmp_path: Path) -> None:
    """AVX in its place of the XSAVE area (Intel SDM 1, 13.4; gdb 13 does not know the layout of AMD), and threads in a call."""
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    die(program, tmp_path, "threads")
    notes = notes_of(tmp_path / "core")
    states = [data for kind, data in notes if kind == 0x202]
    assert len(states) == 4
    if "avx" in Path("/proc/cpuinfo").read_text().split():
        features, present = struct.unpack_from("<Q", states[0], 464)[0], struct.unpack_from("<Q", states[0], 512)[0]
        assert features & 4 and present & 4
        assert struct.unpack_from("<2d", states[0], 576 + 16 * 9) == (4.5, 4.5), "ymm9, its upper half"
        assert struct.unpack_from("<2d", states[0], 160 + 16 * 9) == (4.5, 4.5), "and its lower"
    text = gdb(program, tmp_path / "core", *(word for n in (2, 3, 4) for word in (f"thread {n}", "p $orig_rax", "p $rax < 0")))
    theirs = native(program, ["threads"], "thread 2", "p $orig_rax")
    assert re.findall(r"= (-?\d+)$", text, re.MULTILINE) == ["34", "1"] * 3 and "= 34" in theirs  # pause(2)


def test_sites_are_syscalls_again(cc: Compiler, tmp_path: Path) -> None:
    """With the program's text in the file (coredump_filter, bit 2), what was patched is what was there before."""
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    command = torov(program, options=("--core=core",))
    script = 'echo 0x37 > /proc/self/coredump_filter && exec "$@"'
    run(["sh", "-c", script, "sh", *command], cwd=tmp_path)
    where = subprocess.run(["objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    sites = re.findall(r"^\s+([0-9a-f]+):\s+0f 05 ", where, re.MULTILINE)
    assert len(sites) > 20
    text = gdb(Path("/dev/null"), tmp_path / "core", *(f"x/1hx 0x{site}" for site in sites))
    assert re.findall(r":\s+0x([0-9a-f]{4})\s*$", text, re.MULTILINE) == ["050f"] * len(sites)


@pytest.mark.parametrize("how", ["fork", "vfork", "exec"])
@pytest.mark.parametrize("jail", [(), ("--jail",)])
def test_children(cc: Compiler, tmp_path: Path, how: str, jail: tuple[str, ...]) -> None:
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    if jail and how == "exec":
        jail = ("--policy", "p.json")  # in a jail without the cache, exec finds no image
        (tmp_path / "p.json").write_text(POLICY)
    ran = die(program, tmp_path, how, options=("--core", *jail))
    assert ran.status == 0 and ran.out == ("6\n" if how == "vfork" else "11\n"), ran.err
    (core,) = tmp_path.glob("core.*")
    assert f"core dumped to {core.name}\n" in ran.err
    names = [frame[0] for frame in frames(gdb(program, core, "bt"))]
    assert names[-1] == "main" and ("abort" if how == "vfork" else "crash") in names


@pytest.mark.parametrize("kind", ["glibc", "dynamic"])
@pytest.mark.parametrize("around", ["--jail", "--policy"])
def test_in_a_jail(cc: Compiler, tmp_path: Path, kind: str, around: str) -> None:
    program = build(cc, "dying", kind, "-g", "-pthread")
    (tmp_path / "p.json").write_text(POLICY)
    options = ["--core=crash/%p.core", around, *(["p.json"] if around == "--policy" else [])]
    (tmp_path / "crash").mkdir()
    ran = die(program, tmp_path, "threads", options=options)
    (core,) = (tmp_path / "crash").iterdir()
    said = rf"SIGSEGV \(address 0x10 is not mapped\) at crash\+0x[0-9a-f]+; core dumped to crash/{core.name}\n"
    assert re.search(f"{said}$", ran.err), ran.err
    text = gdb(program, core, "bt", "info threads", "p (char *)far_away")
    assert [frame[0] for frame in frames(text)] == ["crash", "middle", "main"]
    assert len(re.findall(r"\(LWP \d+\)", text.split("Target Id")[1])) == 4 and '"far away"' in text
    assert core.stat().st_blocks * 512 < 4 << 20
    mapped = gdb(program, core, "info proc mappings")
    there = gdb(program, core, "info files")
    (start, offset) = re.findall(rf"0x([0-9a-f]+) +0x[0-9a-f]+ +0x[0-9a-f]+ +0x([0-9a-f]+) {program}$", mapped, re.MULTILINE)[1]
    section = re.search(r"0x([0-9a-f]+) - 0x[0-9a-f]+ is \.text$", there, re.MULTILINE)
    assert section and int(start, 16) <= int(section[1], 16) < int(start, 16) + (1 << 20) and int(offset, 16) == 0x1000
    assert ("libc.so.6" in mapped) == (kind == "dynamic")


def test_what_the_line_says(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    said = {
        "crash": r"SIGSEGV \(address 0x10 is not mapped\) at crash\+0x[0-9a-f]+",
        "read-only": r"SIGSEGV \(address 0x[0-9a-f]+ may not be written\) at crash\+0x[0-9a-f]+",
        "nowhere": r"SIGSEGV \(address 0x0 is not mapped\) at 0x0, called from main\+0x[0-9a-f]+",
        "divide": r"SIGFPE \(integer division by zero\) at main\+0x[0-9a-f]+",
    }
    for how, text in said.items():
        ran = run(torov(program, how, options=()), cwd=tmp_path)
        assert re.fullmatch(f"torov: {program}: {text}\n", ran.err), ran.err
        place = re.search(r"at (\w+)\+0x([0-9a-f]+)", ran.err)
        if place:  # gdb knows the place by the same name
            there = native(program, [how], "info symbol $pc", "x/i $pc")
            assert f"<{place[1]}+{int(place[2], 16)}>" in there, there
    assert not list(tmp_path.iterdir())
    dynamic = build(cc, "dying", "dynamic", "-g", "-pthread")
    ran = run(torov(dynamic, "abort", options=()), cwd=tmp_path)
    assert re.search(r"SIGABRT \(sent by itself\) at .*libc\.so\.6(\+0x[0-9a-f]+)?\n", ran.err), ran.err


def test_resource_limit(cc: Compiler, tmp_path: Path) -> None:
    """RLIMIT_CORE of the guest asks for a file, too, and says how much of it; core(5)."""
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    for size, expected in ((0, None), (8192, 8192), (resource.RLIM_INFINITY, 0)):
        where = tmp_path / str(size)
        where.mkdir()
        ran = run(torov(program, "limit", str(size), options=("--quiet",)), cwd=where)
        assert ran.status == 139 and ran.err == ""
        assert [file.name for file in where.iterdir()] == ([] if expected is None else ["core"])
        if expected:
            assert (where / "core").stat().st_size == expected
        if expected == 0:
            assert "crash" in str(frames(gdb(program, where / "core", "bt")))
    ran = run(torov(program, "limit", str(resource.RLIM_INFINITY), "not dumpable"), cwd=tmp_path)
    assert ran.status == 139 and not (tmp_path / "core").exists()
    shown = run(["sh", "-c", 'ulimit -c 123 && exec "$@"', "sh", *torov("/bin/cat", "/proc/self/limits")])
    assert re.search(rf"Max core file size +(?:{123 * 512}|0) +{123 * 512} ", shown.out), shown.out


@pytest.mark.parametrize("sent", [signal.SIGQUIT, signal.SIGABRT])
def test_a_signal_from_outside(cc: Compiler, tmp_path: Path, sent: signal.Signals) -> None:
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        torov(program, "waits", options=("--core=core",)), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as guest:
        assert guest.stdout and guest.stderr and guest.stdout.readline() == b"ready\n"
        until_in_call(guest.pid, "pause")
        guest.send_signal(sent)
        err = guest.stderr.read().decode()
    assert guest.returncode == 128 + sent and f"{sent.name} (sent by {os.getpid()})" in err
    assert [frame[0] for frame in frames(gdb(program, tmp_path / "core", "bt"))][-2:] == ["pause", "main"]


@pytest.mark.parametrize("around", [(), ("--policy", "p.json")])
def test_a_guest_does_not_see_how(cc: Compiler, tmp_path: Path, around: tuple[str, ...]) -> None:
    """What leads to core files and samples is no descriptor of the guest, nor of what it executes."""
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    (tmp_path / "p.json").write_text(POLICY)
    plain = die(program, tmp_path, "descriptors", options=around)
    assert plain.status == 0 and plain.out.split()[:3] == ["0", "1", "2"], plain.err
    for option in ("--core", "--perf=p"):
        ran = die(program, tmp_path, "descriptors", options=("--quiet", option, *around))
        assert (ran.status, ran.out) == (plain.status, plain.out)


@pytest.mark.parametrize("around", [(), ("--jail",)])
@pytest.mark.parametrize("kind", ["glibc", "dynamic"])
def test_what_is_read_may_lie(cc: Compiler, tmp_path: Path, kind: str, around: tuple[str, ...]) -> None:
    program = build(cc, "dying", kind, "-g", "-pthread")
    for lie in range(16):
        ran = die(program, tmp_path, "lies", str(lie), options=("--core=core", "--perf=p", *around))
        assert ran.status == 132 and "SIGILL (no such instruction)" in ran.err and "core dumped to core\n" in ran.err, (
            lie,
            ran.err,
        )
        assert (
            "Traceback" not in ran.err
            and subprocess.run(["readelf", "-hl", "core"], cwd=tmp_path, capture_output=True, check=False).returncode == 0
        )


def test_not_without_end(cc: Compiler, tmp_path: Path) -> None:
    ran = die(build(cc, "dying", "glibc", "-g", "-pthread"), tmp_path, "many", options=("--core", "--jail"))
    assert ran.status == 0 and ran.err.count("core dumped to") == 64 and ran.err.count("no core file: EDQUOT") == 6
    assert len(list(tmp_path.glob("core.*"))) == 64


def test_no_file(cc: Compiler, tmp_path: Path) -> None:
    program = build(cc, "dying", "glibc", "-g", "-pthread")
    ran = die(program, tmp_path, "crash", options=("--core=no/where/core",))
    assert ran.status == 125 and "no/where: No such file or directory" in ran.err
    (tmp_path / "core").mkdir()
    ran = die(program, tmp_path, "crash")
    assert ran.status == 139 and ran.err.endswith("; no core file: Is a directory\n")
    assert [path.name for path in tmp_path.iterdir()] == ["core"], "nothing is left"
    ran = die(program, tmp_path, "crash", options=("--jail", "--core=core"))
    assert ran.status == 139 and ran.err.endswith("; no core file: Is a directory\n")


GO = """
package main

type point struct{ x, y int }

//go:noinline
func inner(p *point) int { return p.x + p.y }

func main() { println(inner(nil)) }
"""
PASCAL = """
program dies; uses baseunix;
procedure inner(n: longint); begin if n > 0 then fpkill(fpgetpid, SIGABRT); end;
procedure outer(n: longint); begin inner(n + 1); end;
begin outer(3); end.
"""


def test_go(tmp_path: Path) -> None:
    """The runtime of Go dies by SIGABRT if GOTRACEBACK says so."""
    (tmp_path / "dies.go").write_text(GO)
    env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", "dies", "dies.go"], cwd=tmp_path, env=env, check=True, capture_output=True)
    ran = run(torov(tmp_path / "dies", options=("--core=core",)), cwd=tmp_path, env={"GOTRACEBACK": "crash"})
    assert ran.status == 134 and "nil pointer dereference" in ran.err and "at runtime.raise" in ran.err
    names = [frame[0] for frame in frames(gdb(tmp_path / "dies", tmp_path / "core", "bt"))]
    assert names[:2] == ["runtime.raise", "runtime.dieFromSignal"] and "runtime.sigtramp" in names
    assert "runtime.futex" in gdb(tmp_path / "dies", tmp_path / "core", "info threads")
    faulted = gdb(tmp_path / "dies", tmp_path / "core", "set language c", "p $_siginfo.si_code")
    assert "= -6" in faulted, faulted


def test_pascal(tmp_path: Path) -> None:
    (tmp_path / "dies.pas").write_text(PASCAL)
    subprocess.run(["fpc", "-g", "-gw2", "-Xs-", "dies.pas"], cwd=tmp_path, check=True, capture_output=True)
    ran = run(torov(tmp_path / "dies", options=("--core=core",)), cwd=tmp_path)
    assert ran.status == 134, ran.err
    names = [frame[0].lower() for frame in frames(gdb(tmp_path / "dies", tmp_path / "core", "bt"))]
    assert "inner" in names and "outer" in names and "main" in names
