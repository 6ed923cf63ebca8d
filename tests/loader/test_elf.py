"""Good files load as lief and readelf see them, each bad one gives its one line. Offsets are from elf(5)."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lief
import pytest
from support import HELLO_C, HELLO_S, Compiler, patched, program_headers

from torov.errors import LoadError, NotFound
from torov.loader.elf import load, parse
from torov.loader.image import PF_R, PF_W, PF_X, Image

E_TYPE, E_MACHINE, E_ENTRY, E_PHOFF, E_SHOFF, E_PHENTSIZE, E_PHNUM, E_SHNUM = 16, 18, 24, 32, 40, 54, 56, 60
P_FLAGS, P_OFFSET, P_VADDR, P_FILESZ, P_MEMSZ, P_ALIGN = 4, 8, 16, 32, 40, 48
PT_LOAD, PT_INTERP, PT_NOTE, PT_GNU_STACK = 1, 3, 4, 0x6474E551
KINDS = ("glibc", "pie", "musl", "bare")


def build(cc: Compiler, kind: str) -> Path:
    return cc(HELLO_S if kind == "bare" else HELLO_C, kind)


@pytest.fixture(scope="session")
def hello(cc: Compiler) -> bytes:
    return build(cc, "glibc").read_bytes()


@pytest.fixture(scope="session")
def pie(cc: Compiler) -> bytes:
    return build(cc, "pie").read_bytes()


def loads(data: bytes) -> list[int]:
    """File offsets of the PT_LOAD headers."""
    return [at for at, kind in program_headers(data) if kind == PT_LOAD]


def header(data: bytes, wanted: int) -> int:
    """File offset of the first program header of a type."""
    return next(at for at, kind in program_headers(data) if kind == wanted)


def refused(data: bytes, field: str) -> str:
    """The message for a file, which must be one line that begins with the file's name and the field."""
    with pytest.raises(LoadError) as caught:
        parse("prog", data)
    message = str(caught.value)
    assert message.startswith(f"prog: {field}: expected ")
    assert "\n" not in message
    assert (caught.value.file, caught.value.field, caught.value.exit_status) == ("prog", field, 126)
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_matches_what_lief_and_readelf_read(cc: Compiler, kind: str) -> None:
    path = build(cc, kind)
    image = load(str(path))
    binary = lief.ELF.parse(str(path))
    assert isinstance(binary, lief.ELF.Binary)
    theirs = [s for s in binary.segments if int(s.type) == PT_LOAD]
    assert [(s.vaddr, s.memsz, s.offset, s.filesz, s.flags) for s in image.segments] == [
        (s.virtual_address, s.virtual_size, s.file_offset, s.physical_size, int(s.flags)) for s in theirs
    ]
    assert (image.entry, image.phnum) == (binary.header.entrypoint, binary.header.numberof_segments)
    assert image.pie == (kind == "pie")
    out = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
    rows = [line.split("]", 1)[1].split() for line in out.splitlines() if line.lstrip().startswith("[")][2:]
    names = {1: "PROGBITS", 2: "SYMTAB", 3: "STRTAB", 4: "RELA", 7: "NOTE", 8: "NOBITS"}
    known = list(image.sections[1:])
    assert len(known) == len(rows)
    for mine, row in zip(known, rows, strict=True):
        assert (mine.name, mine.vaddr, mine.offset, mine.size) == (row[0], *(int(x, 16) for x in row[2:5]))
        assert names.get(mine.type, row[1]) == row[1]
    assert image.data == path.read_bytes()
    assert (image.exec_stack, image.interp, image.phentsize) == (False, None, 56)


@pytest.mark.parametrize("kind", KINDS)
def test_phdr_is_the_address_of_the_program_headers(cc: Compiler, kind: str) -> None:
    image = load(str(build(cc, kind)))
    first = image.segments[0]
    assert image.phdr == first.vaddr + 64 - first.offset  # these linkers write them behind the ELF header
    headers = image.data[64 : 64 + 56 * image.phnum]
    at = image.phdr - first.vaddr + first.offset
    assert image.data[at : at + len(headers)] == headers


def test_phdr_is_zero_when_no_segment_holds_them(hello: bytes) -> None:
    count = struct.unpack_from("<H", hello, E_PHNUM)[0]
    moved = patched(hello + hello[64 : 64 + 56 * count], E_PHOFF, "Q", len(hello))
    assert parse("prog", moved).phdr == 0


# What Linux does not look at must not stop us: each of these files is run here as well.
LENIENT: dict[str, Callable[[bytes], bytes]] = {
    "EI_CLASS 7": lambda d: patched(d, 4, "B", 7),
    "EI_DATA 9": lambda d: patched(d, 5, "B", 9),
    "EI_VERSION": lambda d: patched(d, 6, "B", 9),
    "e_version": lambda d: patched(d, 20, "I", 77),
    "e_flags": lambda d: patched(d, 48, "I", 0xFFFFFFFF),
    "e_ehsize": lambda d: patched(d, 52, "H", 3),
    "no section table": lambda d: patched(d, E_SHOFF, "Q", 0),
    "section table far beyond the end": lambda d: patched(d, E_SHOFF, "Q", 1 << 60),
    "section table cut off": lambda d: d[: struct.unpack_from("<Q", d, E_SHOFF)[0] + 100],
    "more sections than there are": lambda d: patched(d, E_SHNUM, "H", 0xFEFF),
    "p_align 3": lambda d: patched(d, loads(d)[0] + P_ALIGN, "Q", 3),
    "p_align 2^63": lambda d: patched(d, loads(d)[1] + P_ALIGN, "Q", 1 << 63),
    "unknown header type": lambda d: patched(d, header(d, PT_NOTE), "I", 0x7ABC),
}


@pytest.mark.parametrize("what", LENIENT)
@pytest.mark.parametrize("kind", ["glibc", "pie"])
def test_runs_what_linux_runs(cc: Compiler, kind: str, what: str, tmp_path: Path) -> None:
    original = build(cc, kind)
    data = LENIENT[what](original.read_bytes())
    program = tmp_path / "prog"
    program.write_bytes(data)
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"hello\n", 0)
    image = parse("prog", data)
    assert image.segments == load(str(original)).segments
    if "section" in what:
        assert image.sections == ()


HEADER_FAULTS = {
    "32-bit": (4, "B", 1, "EI_CLASS", "expected ELFCLASS64 (2), got ELFCLASS32 (1), a 32-bit program"),
    "arm64": (E_MACHINE, "H", 183, "e_machine", "expected EM_X86_64 (62), got EM_AARCH64 (183)"),
    "odd machine": (E_MACHINE, "H", 0x7777, "e_machine", "got unknown machine 30583"),
    "object": (E_TYPE, "H", 1, "e_type", "got ET_REL (an object file: link it first)"),
    "core": (E_TYPE, "H", 4, "e_type", "got ET_CORE (a core dump)"),
    "odd type": (E_TYPE, "H", 0xFE00, "e_type", "expected ET_EXEC (2) or ET_DYN (3), got 0xfe00"),
    "phentsize": (E_PHENTSIZE, "H", 32, "e_phentsize", "expected 56, got 32"),
    "no headers": (E_PHNUM, "H", 0, "e_phnum", "expected 1 to 1170 program headers, got 0"),
    "too many headers": (E_PHNUM, "H", 0xFFFF, "e_phnum", "got 65535"),
    "phoff": (E_PHOFF, "Q", (1 << 64) - 1, "e_phoff", "program headers within the file's"),
    "entry 0": (E_ENTRY, "Q", 0, "e_entry", "expected an address in an executable PT_LOAD, got 0x0"),
}


@pytest.mark.parametrize("what", HEADER_FAULTS)
def test_header_faults(hello: bytes, what: str) -> None:
    offset, form, value, field, words = HEADER_FAULTS[what]
    assert words in refused(patched(hello, offset, form, value), field)


def test_big_endian_names_the_machine(hello: bytes) -> None:
    data = patched(hello, 5, "B", 2)
    data = data[:18] + (22).to_bytes(2, "big") + data[20:]
    assert "got ELFDATA2MSB (2), a big-endian program for EM_S390 (22)" in refused(data, "EI_DATA")


@pytest.mark.parametrize("length", [4, 5, 6, 16, 63])
def test_truncated_header(hello: bytes, length: int) -> None:
    assert f"a file truncated to {length}" in refused(hello[:length], "ELF header")


def test_truncated_program_headers(hello: bytes) -> None:
    refused(hello[:100], "e_phoff")


def test_truncated_segment(hello: bytes) -> None:
    offset, filesz = (
        struct.unpack_from("<Q", hello, loads(hello)[-1] + at)[0] for at in (P_OFFSET, P_FILESZ)
    )
    assert parse("prog", hello[: offset + filesz]).sections == ()
    assert "a truncated file" in refused(hello[: offset + filesz - 1], "PT_LOAD[3] end")


SEGMENT_FAULTS = {
    "filesz": (P_FILESZ, (1 << 64) - 1, "p_filesz", "expected at most p_memsz"),
    "offset": (P_OFFSET, (1 << 64) - 4096, "end", "a truncated file"),
    "low": (P_VADDR, 0x1000, "p_vaddr", "expected addresses in 0x10000-0x7f00000000"),
    "high": (P_VADDR, 508 << 30, "p_vaddr", "expected addresses in 0x10000-0x7f00000000"),
    "kernel half": (P_VADDR, 0xFFFFFFFF80000000, "p_vaddr", "expected addresses in"),
    "memsz": (P_MEMSZ, (1 << 64) - 1, "p_vaddr", "expected addresses in"),
    "congruence": (P_VADDR, 0x20000001, "p_offset", "expected p_vaddr (0x20000001) modulo the page size"),
}


@pytest.mark.parametrize("what", SEGMENT_FAULTS)
def test_segment_faults(hello: bytes, what: str) -> None:
    field_offset, value, field, words = SEGMENT_FAULTS[what]
    data = patched(hello, loads(hello)[2] + field_offset, "Q", value)
    assert words in refused(data, f"PT_LOAD[2] {field}")


def test_overlap(hello: bytes) -> None:
    first, second = loads(hello)[:2]
    address = struct.unpack_from("<Q", hello, second + P_VADDR)[0]
    touching = patched(hello, first + P_MEMSZ, "Q", address - 0x400000)
    assert parse("prog", touching).segments[0].memsz == 0x1000
    message = refused(patched(hello, first + P_MEMSZ, "Q", address - 0x400000 + 1), "PT_LOAD[1] p_vaddr")
    assert "no overlap with PT_LOAD[0] (end 0x401001), got 0x401000" in message


def test_pie_may_span_no_more_than_the_window(pie: bytes) -> None:
    last = loads(pie)[-1]
    high = patched(pie, last + P_VADDR, "Q", struct.unpack_from("<Q", pie, last + P_VADDR)[0] + (507 << 30))
    assert parse("prog", high).pie
    too_high = patched(high, last + P_MEMSZ, "Q", 1 << 30)
    assert "segments that span at most" in refused(too_high, "PT_LOAD")
    refused(patched(pie, last + P_VADDR, "Q", 1 << 47), "PT_LOAD[3] p_vaddr")


def test_entry_must_be_executable(hello: bytes) -> None:
    text = loads(hello)[1]
    start, size = (struct.unpack_from("<Q", hello, text + at)[0] for at in (P_VADDR, P_MEMSZ))
    assert parse("prog", patched(hello, E_ENTRY, "Q", start + size - 1)).entry == start + size - 1
    refused(patched(hello, E_ENTRY, "Q", start + size), "e_entry")
    refused(patched(hello, text + P_FLAGS, "I", PF_R | PF_W), "e_entry")
    assert parse("prog", patched(hello, text + P_FLAGS, "I", PF_X)).segments[1].flags == PF_X


def test_no_load(hello: bytes) -> None:
    data = hello
    for at in loads(hello):
        data = patched(data, at, "I", PT_NOTE)
    assert refused(data, "program headers").endswith("expected at least one PT_LOAD, got none")
    data = hello
    for at in loads(hello):
        data = patched(patched(data, at + P_MEMSZ, "Q", 0), at + P_FILESZ, "Q", 0)
    assert refused(data, "program headers").endswith("got only empty ones")


def test_interpreter_is_named(cc: Compiler) -> None:
    dynamic = build(cc, "dynamic")
    out = subprocess.run(["readelf", "-lW", dynamic], capture_output=True, text=True, check=True).stdout
    name = out.split("program interpreter: ")[1].split("]")[0]
    assert load(str(dynamic)).interp == name


def test_interpreter_that_is_no_string(cc: Compiler) -> None:
    data = build(cc, "dynamic").read_bytes()
    assert "a path that ends with NUL" in refused(patched(data, header(data, PT_INTERP) + 32, "Q", 3), "PT_INTERP")


@pytest.mark.parametrize("flag", ["noexecstack", "execstack"])
def test_stack_flag(cc: Compiler, flag: str) -> None:
    assert load(str(cc(HELLO_S, "bare", f"-Wl,-z,{flag}"))).exec_stack == (flag == "execstack")


def test_stack_without_the_header_is_not_executable(cc: Compiler) -> None:
    data = cc(HELLO_S, "bare", "-Wl,-z,execstack").read_bytes()
    assert not parse("prog", patched(data, header(data, PT_GNU_STACK), "I", 0)).exec_stack


FOREIGN = {
    b"#!/bin/sh -e\necho": "a script for /bin/sh -e",
    b"#!\n": "a script without an interpreter",
    b"#!/x\x1b[31m\n": r"a script for /x\x1b[31m",
    b"MZ\x90\0": "a DOS or Windows program",
    b"\xcf\xfa\xed\xfe\7": "a Mach-O program (macOS)",
    b"!<arch>\n": "an ar archive (a static library or a Debian package)",
    b"\0asm\1": "a WebAssembly module",
    b"hello\n": "a text that begins with 'hell'",
    b"\x7fELG\0\0": "a file that begins with 7f 45 4c 47",
    b"\x7fEL": "a file that begins with 7f 45 4c",
}


@pytest.mark.parametrize("data", FOREIGN)
def test_says_what_is_no_elf_file(data: bytes) -> None:
    assert refused(data, "file") == f"prog: file: expected an ELF file, got {FOREIGN[data]}"


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "prog").touch()
    with pytest.raises(LoadError, match=r"expected an ELF file, got an empty file$"):
        load(str(tmp_path / "prog"))


def test_not_found() -> None:
    for name in ("/no/such/file", ""):
        with pytest.raises(NotFound) as caught:
            load(name)
        assert caught.value.exit_status == 127


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (tmp_path, "a directory"),
        (tmp_path / "fifo", "a FIFO"),
        ("/dev/null", "a character device"),
    ):
        with pytest.raises(LoadError, match=f"expected a regular file, got {kind}$"):
            load(str(path))


def test_unreadable(tmp_path: Path, hello: bytes) -> None:
    program = tmp_path / "prog"
    program.write_bytes(hello)
    program.chmod(0)
    # root reads it anyway, so the check runs as nobody in a child
    script = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from torov.loader.source import read_program\nfrom torov.errors import LoadError\n"
        "os.geteuid() == 0 and os.setuid(65534)\n"
        "try: read_program(sys.argv[1])\nexcept LoadError as error: print(error)\n"
    )
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, program, root], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{program}: file: expected a file that can be read, got Permission denied\n"


def test_odd_paths(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="embedded null byte"):
        load("a\0b")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(LoadError, match="got Not a directory"):
        load(str(tmp_path / "file" / "prog"))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LoadError, match="file size: expected at most 4294967296 bytes, got 1099511627776"):
        load(str(tmp_path / "huge"))


def test_identity_only_of_settled_files(tmp_path: Path, hello: bytes) -> None:
    program = tmp_path / "prog"
    program.write_bytes(hello)
    assert load(str(program)).identity is None
    time.sleep(2.1)
    status = program.stat()
    assert load(str(program)).identity == (
        status.st_dev, status.st_ino, len(hello), status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip


def test_section_tables_that_no_linker_writes_cost_no_time(hello: bytes) -> None:
    """8,000 sections that each cover a file of 8 MiB: lief would copy 64 GiB."""
    body = hello + bytes(8 << 20)
    header = struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0x400000, 0, len(body), 0, 0, 1, 0)
    data = patched(patched(body + header * 8000, E_SHOFF, "Q", len(body)), E_SHNUM, "H", 8000)
    start = time.process_time()
    image = parse("prog", data)
    assert image.sections == ()
    assert time.process_time() - start < 1


def test_lief_writes_nothing(hello: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """A file whose sections lief complains of."""
    table = struct.unpack_from("<Q", hello, E_SHOFF)[0]
    data = patched(patched(hello, table + 64 * 3 + 4, "I", 0x12345678), 62, "H", 0xFFF0)
    assert isinstance(parse("prog", data), Image)
    assert capfd.readouterr() == ("", "")


def test_machine_bits_of_a_section_type_are_the_files_own(hello: bytes) -> None:
    """SHT_X86_64_UNWIND (0x70000001, psABI) is what clang gives .eh_frame."""
    table = struct.unpack_from("<Q", hello, E_SHOFF)[0]
    assert parse("prog", patched(hello, table + 64 * 3 + 4, "I", 0x70000001)).sections[3].type == 0x70000001
