"""Symbols and unwind tables of ELF files. The only importer of pyelftools."""

from __future__ import annotations

import io
import mmap
import os
import stat
import struct
from bisect import bisect_right

from elftools.dwarf.callframe import FDE
from elftools.dwarf.callframe import RegisterRule as RegisterRule
from elftools.elf.elffile import ELFFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FUNC, _NOTYPE, _IFUNC = 2, 0, 10


VDSO = "[vdso]"


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

    __slots__ = ("_bytes", "_entries", "_frames", "_rows", "_segments", "_starts", "_symbols")

    def __init__(self, path: str) -> None:
        self._starts: list[int] = []
        self._symbols: list[tuple[int, str]] = []  # size, name
        self._frames: list[int] = []
        self._entries: list[Any] = []
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
        if elf.get_section_by_name(".eh_frame") is None:
            return
        tables = elf.get_dwarf_info(relocate_dwarf_sections=False)
        found = [entry for entry in tables.EH_CFI_entries() if isinstance(entry, FDE)]
        found.sort(key=lambda entry: int(entry["initial_location"]))
        self._frames = [int(entry["initial_location"]) for entry in found]
        self._entries = found

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
        entry = self._entries[index]
        if address >= self._frames[index] + int(entry["address_range"]):
            return None
        rows = self._rows.get(index)
        if rows is None:
            try:
                rows = list(entry.get_decoded().table)
            except Exception:  # a table that is not well made: pyelftools raises whatever comes
                rows = []
            self._rows[index] = rows
        place = bisect_right([int(row["pc"]) for row in rows], address) - 1
        augmentation = entry.cie.header.get("augmentation", b"")
        return (rows[place], b"S" in bytes(augmentation)) if place >= 0 else None
