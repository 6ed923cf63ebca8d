"""The ELF header and the program headers, checked field by field.

Read by hand, since every field must be seen as the file has it. A file is refused when Linux would refuse it
or kill it at its start (fs/binfmt_elf.c), and for what we promise to refuse beyond that: 32-bit and
big-endian marks, overlapping or truncated segments, addresses outside the guest's window. What Linux does not
look at is not looked at: EI_VERSION, e_version, e_flags, e_ehsize, p_paddr, p_align, the section table.
"""

from __future__ import annotations

import os
import struct
from itertools import pairwise

from torov.errors import LoadError
from torov.loader.image import PAGE, PF_X, Segment
from torov.loader.source import describe, printable

WINDOW_LOW, WINDOW_HIGH = 0x10000, 508 << 30  # addresses an ET_EXEC file may use
TASK_SIZE = (1 << 47) - PAGE

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
PHENTSIZE = _PHDR.size
_SHDR = struct.Struct("<IIQQQQIIQQ")
MAX_SHNUM = 8192
MAX_COVER = 8  # how often, on average, headers may cover a byte of the file; linkers stay below 3
MAX_PHNUM = 65536 // PHENTSIZE  # load_elf_phdrs() reads no more than 64 KiB

_PT_LOAD, _PT_INTERP, _PT_GNU_STACK = 1, 3, 0x6474E551
_ET_EXEC, _ET_DYN, _EM_X86_64 = 2, 3, 62
_SHT_NULL, _SHT_NOBITS = 0, 8
_TYPES = {0: "ET_NONE", 1: "ET_REL (an object file: link it first)", 4: "ET_CORE (a core dump)"}
_MACHINES = {
    0: "EM_NONE", 2: "EM_SPARC", 3: "EM_386", 4: "EM_68K", 8: "EM_MIPS", 15: "EM_PARISC", 20: "EM_PPC",
    21: "EM_PPC64", 22: "EM_S390", 40: "EM_ARM", 42: "EM_SH", 43: "EM_SPARCV9", 50: "EM_IA_64",
    183: "EM_AARCH64", 189: "EM_MICROBLAZE", 243: "EM_RISCV", 247: "EM_BPF", 258: "EM_LOONGARCH",
    0x9026: "EM_ALPHA",
}  # fmt: skip


class Headers:
    """What the headers say, after all checks; the fields mean what they mean in Image."""

    __slots__ = ("entry", "exec_stack", "interp", "phdr", "phnum", "pie", "segments")

    def __init__(self, path: str, data: bytes) -> None:
        """Check the headers of a file.

        Args:
            path: the file's name for messages.
            data: the whole file.
        Raises:
            LoadError: one field is not what it must be; the first one in the order of the file is named.
        """
        kind, self.entry, phoff, self.phnum = _elf_header(path, data)
        self.pie = kind == _ET_DYN
        self.exec_stack = False
        self.interp: str | None = None
        self.phdr = 0
        segments: list[Segment] = []
        for index in range(self.phnum):
            ptype, flags, offset, vaddr, _, filesz, memsz, _ = _PHDR.unpack_from(
                data, phoff + index * PHENTSIZE
            )
            if ptype == _PT_LOAD:
                segment = Segment(vaddr, memsz, offset, filesz, flags & 7)
                _check_segment(path, f"PT_LOAD[{len(segments)}]", segment, self.pie, len(data))
                segments.append(segment)
                if offset <= phoff < offset + filesz:
                    self.phdr = phoff - offset + vaddr
            elif ptype == _PT_INTERP:
                name = data[offset : offset + filesz]
                if not 1 < filesz <= 4096 or len(name) != filesz or name[-1]:
                    raise LoadError(path, "PT_INTERP", "a path that ends with NUL", printable(name[:64]))
                self.interp = os.fsdecode(name.split(b"\0", 1)[0])
            elif ptype == _PT_GNU_STACK:
                self.exec_stack = bool(flags & PF_X)
        self.segments = tuple(segments)
        _check_layout(path, self.segments, self.pie, self.entry)


def _elf_header(path: str, data: bytes) -> tuple[int, int, int, int]:
    """Check the ELF header; return e_type, e_entry, e_phoff, e_phnum."""
    if data[:4] != b"\x7fELF":
        raise LoadError(path, "file", "an ELF file", describe(data))
    if data[4:5] == b"\1":
        raise LoadError(path, "EI_CLASS", "ELFCLASS64 (2)", "ELFCLASS32 (1), a 32-bit program")
    if data[5:6] == b"\2":
        machine = _machine(int.from_bytes(data[18:20], "big"))
        raise LoadError(
            path, "EI_DATA", "ELFDATA2LSB (1)", f"ELFDATA2MSB (2), a big-endian program for {machine}"
        )
    if len(data) < _EHDR.size:
        raise LoadError(path, "ELF header", f"{_EHDR.size} bytes", f"a file truncated to {len(data)}")
    _, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = _EHDR.unpack_from(data)
    if machine != _EM_X86_64:
        raise LoadError(path, "e_machine", "EM_X86_64 (62)", _machine(machine))
    if kind not in (_ET_EXEC, _ET_DYN):
        got = _TYPES.get(kind, f"{kind:#x}")
        raise LoadError(path, "e_type", "ET_EXEC (2) or ET_DYN (3)", got)
    if phentsize != PHENTSIZE:
        raise LoadError(path, "e_phentsize", str(PHENTSIZE), str(phentsize))
    if not 0 < phnum <= MAX_PHNUM:
        raise LoadError(path, "e_phnum", f"1 to {MAX_PHNUM} program headers", str(phnum))
    end = phoff + phnum * PHENTSIZE
    if end > len(data):
        raise LoadError(
            path, "e_phoff", f"program headers within the file's {len(data)} bytes", f"end at {end:#x}"
        )
    return kind, entry, phoff, phnum


def sections_readable(data: bytes) -> bool:
    """Whether a file, whose headers are checked, has a section table worth reading.

    No program needs its section table to run, so a broken one counts as none. Nor does a table that no linker
    writes: thousands of headers that each cover the whole file would keep a parser busy for minutes.
    """
    _, _, _, _, _, phoff, shoff, _, _, _, phnum, shentsize, shnum, _ = _EHDR.unpack_from(data)
    size = len(data)
    if (
        shoff == 0
        or shentsize != _SHDR.size
        or not 0 < shnum <= MAX_SHNUM
        or shoff + shnum * _SHDR.size > size
    ):
        return False
    covered = 0
    for _, kind, _, _, offset, length, *_ in _SHDR.iter_unpack(data[shoff : shoff + shnum * _SHDR.size]):
        if kind not in (_SHT_NULL, _SHT_NOBITS):
            if offset + length > size:
                return False
            covered += length
    for _, _, _, _, _, length, _, _ in _PHDR.iter_unpack(data[phoff : phoff + phnum * PHENTSIZE]):
        covered += length
    return covered <= MAX_COVER * size


def _machine(number: int) -> str:
    name = _MACHINES.get(number)
    return f"{name} ({number})" if name else f"unknown machine {number}"


def _check_segment(path: str, name: str, segment: Segment, pie: bool, file_size: int) -> None:
    vaddr, memsz, offset, filesz = segment.vaddr, segment.memsz, segment.offset, segment.filesz
    if filesz > memsz:
        raise LoadError(path, f"{name} p_filesz", f"at most p_memsz ({memsz:#x})", f"{filesz:#x}")
    low, high = (0, TASK_SIZE) if pie or not memsz else (WINDOW_LOW, WINDOW_HIGH)
    if not low <= vaddr < high or memsz > high - vaddr:
        raise LoadError(
            path, f"{name} p_vaddr", f"addresses in {low:#x}-{high:#x}", f"{vaddr:#x}-{vaddr + memsz:#x}"
        )
    end = offset + filesz
    if filesz and end > file_size:
        raise LoadError(
            path, f"{name} end", f"at most the file's {file_size:#x} bytes", f"{end:#x}, a truncated file"
        )
    if filesz and (vaddr - offset) % PAGE:
        raise LoadError(
            path, f"{name} p_offset", f"p_vaddr ({vaddr:#x}) modulo the page size", f"{offset:#x}"
        )


def _check_layout(path: str, segments: tuple[Segment, ...], pie: bool, entry: int) -> None:
    used = sorted((s.vaddr, s.vaddr + s.memsz, i) for i, s in enumerate(segments) if s.memsz)
    if not used:
        got = "only empty ones" if segments else "none"
        raise LoadError(path, "program headers", "at least one PT_LOAD", got)
    for (_, end, first), (start, _, second) in pairwise(used):
        if start < end:
            raise LoadError(
                path,
                f"PT_LOAD[{second}] p_vaddr",
                f"no overlap with PT_LOAD[{first}] (end {end:#x})",
                f"{start:#x}",
            )
    span, limit = used[-1][1] - used[0][0], WINDOW_HIGH - WINDOW_LOW - 2 * PAGE
    if pie and span > limit:
        raise LoadError(path, "PT_LOAD", f"segments that span at most {limit:#x} bytes", f"{span:#x}")
    if not any(s.flags & PF_X and s.vaddr <= entry < s.vaddr + s.memsz for s in segments):
        raise LoadError(path, "e_entry", "an address in an executable PT_LOAD", f"{entry:#x}")
