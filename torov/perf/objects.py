"""Symbols and unwind tables of ELF files. The only importer of pyelftools."""

from __future__ import annotations

import io
import mmap
import os
import stat
import struct
from bisect import bisect_right

from elftools.dwarf.callframe import FDE, CallFrameInfo
from elftools.dwarf.callframe import RegisterRule as RegisterRule
from elftools.dwarf.structs import DWARFStructs
from elftools.elf.elffile import ELFFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FUNC, _NOTYPE, _IFUNC = 2, 0, 10


VDSO = "[vdso]"
_STRUCTS = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)


def _entries(tables: bytes, address: int) -> list[Any]:
    """What .eh_frame, or a part of it, is made of."""
    return CallFrameInfo(io.BytesIO(tables), len(tables), address, _STRUCTS, for_eh_frame=True).get_entries()


def _contents(path: str) -> mmap.mmap | bytes:
    """A file; or the host's vDSO, which is the guest's, too: from this process."""
    if path != VDSO:
        if not stat.S_ISREG(os.stat(path).st_mode):  # the guest names it
            raise OSError
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        low, high = next(line.split()[0].split("-") for line in maps if line.rstrip().endswith(VDSO))
        return os.pread(memory.fileno(), int(high, 16) - int(low, 16), int(low, 16))


class ObjectFile:
    """One ELF file; addresses are its link-time addresses.

    Args:
        path: of the file, or VDSO; one that cannot be read has no symbols and no tables.
    """

    __slots__ = ("_bytes", "_entries", "_frames", "_index", "_place", "_rows", "_segments", "_starts", "_symbols", "_tables")

    def __init__(self, path: str) -> None:
        self._starts: list[int] = []
        self._symbols: list[tuple[int, str]] = []  # size, name
        self._frames: list[int] = []
        self._entries: dict[int, Any] = {}
        self._index: list[int] = []  # place of each entry in the tables
        self._tables, self._place = b"", 0
        self._bytes: mmap.mmap | bytes = b""
        self._segments: list[tuple[int, int, int]] = []  # address, bytes, place in the file
        self._rows: dict[int, list[dict[Any, Any]]] = {}
        try:
            self._bytes = _contents(path)
            elf = ELFFile(io.BytesIO(self._bytes) if isinstance(self._bytes, bytes) else self._bytes)  # type: ignore[arg-type]
            loads = [part for part in elf.iter_segments() if part["p_type"] == "PT_LOAD"]
            self._segments = [(part["p_vaddr"], part["p_filesz"], part["p_offset"]) for part in loads]
            self._read_symbols(elf)
            self._read_frames(elf)
        except Exception:  # no such file, or one that a guest made: pyelftools raises whatever comes
            return

    def _read_symbols(self, elf: Any) -> None:
        table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        if table is None:
            return
        names = elf.get_section(table["sh_link"]).data()
        code = {index for index, section in enumerate(elf.iter_sections()) if section["sh_flags"] & 4}
        best: dict[int, tuple[tuple[int, int, int], int, str]] = {}
        for name, info, _, place, value, size in struct.iter_unpack("<IBBHQQ", table.data()):
            kind = info & 15
            if kind not in (_FUNC, _NOTYPE, _IFUNC) or place not in code:
                continue
            text = names[name : names.find(b"\0", name)].decode(errors="replace")
            rank = (kind != _NOTYPE, info >> 4 == 1, -len(text))  # a function, global, with the shortest name
            if text and text[0] not in ".$" and (value not in best or rank > best[value][0]):
                best[value] = rank, size, text
        self._starts = sorted(best)
        self._symbols = [best[start][1:] for start in self._starts]

    def _read_frames(self, elf: Any) -> None:
        section = elf.get_section_by_name(".eh_frame")
        if section is None:
            return
        self._tables, self._place = section.data(), section["sh_addr"]
        header = elf.get_section_by_name(".eh_frame_hdr")
        if header is not None and self._read_index(header.data(), header["sh_addr"]):
            return
        found = [entry for entry in _entries(self._tables, self._place) if isinstance(entry, FDE)]
        found.sort(key=lambda entry: int(entry["initial_location"]))
        self._frames = [int(entry["initial_location"]) for entry in found]
        self._entries = dict(enumerate(found))

    def _read_index(self, data: bytes, address: int) -> bool:
        """The linker's index of the tables (LSB, 10.6.2), as all linkers write it: so only what is needed is read."""
        if data[:4] != b"\x01\x1b\x03\x3b":
            return False
        count = struct.unpack_from("<I", data, 8)[0]
        pairs = sorted(struct.iter_unpack("<ii", data[12 : 12 + 8 * count]))
        self._frames = [address + start for start, _ in pairs]
        self._index = [address + place - self._place for _, place in pairs]
        return True

    def _entry(self, index: int) -> Any:
        if index not in self._entries:  # by itself, behind its CIE
            at = self._index[index]
            length, back = struct.unpack_from("<II", self._tables, at)
            start = at + 4 - back
            common = self._tables[start : start + 4 + struct.unpack_from("<I", self._tables, start)[0]]
            own = bytearray(self._tables[at : at + 4 + length])
            struct.pack_into("<I", own, 4, len(common) + 4)
            made = _entries(bytes(common + own + bytes(4)), self._place + at - len(common))
            self._entries[index] = next(entry for entry in made if isinstance(entry, FDE))
        return self._entries[index]

    def symbol(self, address: int) -> str:
        """The function that holds an address, or an empty string."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return ""
        size, name = self._symbols[index]
        return name if not size or address < self._starts[index] + size else ""

    def called(self, address: int, after: int) -> bool:
        """Whether the instruction before ``after`` is a call of the function that holds ``address``."""
        index = bisect_right(self._starts, address) - 1
        for low, size, offset in self._segments:
            if index >= 0 and low <= after - 5 and after <= low + size:
                code = self._bytes[offset + after - 5 - low : offset + after - low]
                return code[:1] == b"\xe8" and after + int.from_bytes(code[1:], "little", signed=True) == self._starts[index]
        return False

    def rules(self, address: int) -> tuple[dict[Any, Any], bool] | None:
        """How the registers of the caller are found.

        Args:
            address: of an instruction.

        Returns:
            The row of the unwind table (pyelftools: ``cfa``, and a rule by number of a register), and whether it is a signal's
            frame; None if no table knows the address.
        """
        index = bisect_right(self._frames, address) - 1
        if index < 0:
            return None
        try:
            entry = self._entry(index)
            if address >= self._frames[index] + int(entry["address_range"]):
                return None
            if index not in self._rows:
                self._rows[index] = list(entry.get_decoded().table)
        except Exception:  # a table that is not well made: pyelftools raises whatever comes
            return None
        rows = self._rows[index]
        place = bisect_right([int(row["pc"]) for row in rows], address) - 1
        augmentation = entry.cie.header.get("augmentation", b"")
        return (rows[place], b"S" in bytes(augmentation)) if place >= 0 else None
