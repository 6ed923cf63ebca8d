"""The Image of a program (what a loader must know of its ELF file) and the image file that the monitor reads.

An image file is little-endian: a header of 160 bytes, the patched copy of the whole ELF file from the next
page on, then the tables of segments, patched sites and unpatched ``0F 05`` pairs (``HEADER`` and the structs
below it give the layout; the core's reader declares the same fields). Addresses are link-time addresses.
"""

from __future__ import annotations

import struct

from torov.loader.files import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE = 4096
PF_X, PF_W, PF_R = 1, 2, 4

MAGIC = b"TOROVIM1"
VERSION = 1
FLAG_PIE, FLAG_EXEC_STACK = 1, 2
# magic; version, header size; flags, segments; sites, traps; entry, phdr; phentsize, phnum;
# offsets of the three tables; lowest and end address; offset and size of the body; SHA-256; reserved
HEADER = struct.Struct("<8s IIIIII QQ II QQQ QQ QQ 32s 16x")
SEGMENT = struct.Struct("<QQQQ I4x")  # vaddr, memsz, filesz, offset in the image file, PF_* flags
SITE = struct.Struct("<Q")  # address of a patched pair
TRAP = struct.Struct("<QI4x")  # address of an unpatched pair, number of its verdict


class _Frozen:
    """A value: compared by its fields, hashable, never changed after __init__."""

    __slots__: tuple[str, ...] = ()

    def _fill(self, **values: object) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is read-only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is read-only")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Frozen) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{n}={_short(v)}" for n, v in zip(self.__slots__, self._values(), strict=True))
        return f"{type(self).__name__}({fields})"


def _short(value: object) -> str:
    if isinstance(value, bytes) and len(value) > 32:
        return f"<{len(value)} bytes>"
    if isinstance(value, tuple) and len(value) > 8:
        return f"<{len(value)} values>"
    return hex(value) if type(value) is int else repr(value)


class Segment(_Frozen):
    """One PT_LOAD program header, with the p_* values of elf(5).

    Args:
        vaddr: link-time address of its first byte.
        memsz: bytes in memory.
        offset: place of its first byte in the file.
        filesz: bytes in the file, not more than memsz; what is left of memsz reads as zero.
        flags: PF_X | PF_W | PF_R.
    """

    __slots__ = ("filesz", "flags", "memsz", "offset", "vaddr")
    vaddr: int
    memsz: int
    offset: int
    filesz: int
    flags: int

    def __init__(self, vaddr: int, memsz: int, offset: int, filesz: int, flags: int) -> None:
        self._fill(vaddr=vaddr, memsz=memsz, offset=offset, filesz=filesz, flags=flags)


class Section(_Frozen):
    """One entry of the section table, with the sh_* values of elf(5).

    Args:
        name: its name; bytes that are not UTF-8 become surrogates.
        vaddr: sh_addr, 0 for what is not loaded.
        offset, size: place and bytes in the file (SHT_NOBITS has a size and no bytes).
        flags: SHF_* bits.
        type: SHT_* number.
    """

    __slots__ = ("flags", "name", "offset", "size", "type", "vaddr")
    name: str
    vaddr: int
    offset: int
    size: int
    flags: int
    type: int

    def __init__(self, name: str, vaddr: int, offset: int, size: int, flags: int, type: int) -> None:
        self._fill(name=name, vaddr=vaddr, offset=offset, size=size, flags=flags, type=type)


class Image(_Frozen):
    """A program as its ELF file describes it.

    Args:
        path: the file as the user gave it.
        data: the whole file.
        pie: ET_DYN, so the addresses are relative to a base that the loader chooses.
        entry: e_entry.
        phdr: address of the program headers in memory, 0 if no segment holds them (AT_PHDR).
        phentsize, phnum: as AT_PHENT and AT_PHNUM need them.
        segments: the PT_LOAD headers in file order (of two that share a page, the later one has it).
        exec_stack: PT_GNU_STACK asks for an executable stack. Without PT_GNU_STACK an x86-64 program has
            none (Linux >= 5.8, arch/x86/include/asm/elf.h).
        interp: the program interpreter that PT_INTERP names, or None.
        sections: the section table in file order, empty if there is none or it is broken.
        identity: (st_dev, st_ino, st_size, st_mtime_ns, st_ctime_ns) of the file that was read, or None if
            these cannot prove that the file still has this contents (see loader.cache).
    """

    __slots__ = (
        "data", "entry", "exec_stack", "identity", "interp", "path", "phdr", "phentsize", "phnum", "pie",
        "sections", "segments",
    )  # fmt: skip
    path: str
    data: bytes
    pie: bool
    entry: int
    phdr: int
    phentsize: int
    phnum: int
    segments: tuple[Segment, ...]
    exec_stack: bool
    interp: str | None
    sections: tuple[Section, ...]
    identity: tuple[int, int, int, int, int] | None

    def __init__(
        self,
        path: str,
        data: bytes,
        *,
        pie: bool,
        entry: int,
        phdr: int,
        phentsize: int,
        phnum: int,
        segments: tuple[Segment, ...],
        exec_stack: bool = False,
        interp: str | None = None,
        sections: tuple[Section, ...] = (),
        identity: tuple[int, int, int, int, int] | None = None,
    ) -> None:
        self._fill(
            path=path, data=data, pie=pie, entry=entry, phdr=phdr, phentsize=phentsize, phnum=phnum,
            segments=segments, exec_stack=exec_stack, interp=interp, sections=sections, identity=identity,
        )  # fmt: skip

    @property
    def span(self) -> tuple[int, int]:
        """(start of the lowest page, end of the highest page) of all segments that occupy memory."""
        used = [s for s in self.segments if s.memsz]
        low, high = min(s.vaddr for s in used), max(s.vaddr + s.memsz for s in used)
        return low & -PAGE, (high + PAGE - 1) & -PAGE


class ImageFile(_Frozen):
    """What an image file holds, as read_image returns it.

    Args:
        flags: FLAG_PIE | FLAG_EXEC_STACK.
        entry, phdr, phentsize, phnum: as in Image.
        span: as Image.span.
        segments: as in Image, but with offsets into the image file.
        sites: sorted addresses of the patched pairs.
        traps: sorted (address, verdict number) of the unpatched pairs in executable segments.
        body: the patched ELF file.
        sha256: digest of the unpatched ELF file, 32 bytes.
    """

    __slots__ = (
        "body", "entry", "flags", "phdr", "phentsize", "phnum", "segments", "sha256", "sites", "span",
        "traps",
    )  # fmt: skip
    flags: int
    entry: int
    phdr: int
    phentsize: int
    phnum: int
    span: tuple[int, int]
    segments: tuple[Segment, ...]
    sites: tuple[int, ...]
    traps: tuple[tuple[int, int], ...]
    body: bytes
    sha256: bytes

    def __init__(self, **fields: object) -> None:
        self._fill(**fields)


def write_image(
    path: str,
    image: Image,
    body: bytes,
    sites: Sequence[int],
    traps: Iterable[tuple[int, int]],
    sha256: bytes,
) -> None:
    """Write an image file under a temporary name and rename it into place.

    Args:
        path: where; an image that is there is replaced atomically.
        image: the program.
        body: the patched contents of its file, as long as image.data.
        sites: link-time addresses of the patched pairs.
        traps: (link-time address, verdict number) of every unpatched ``0F 05`` in an executable segment.
        sha256: digest of the unpatched file, 32 bytes.
    Raises:
        ValueError: the arguments do not fit together.
        OSError: the file cannot be written; nothing is left behind.
    """
    if len(body) != len(image.data) or len(sha256) != 32 or len(set(sites)) != len(sites):
        raise ValueError("body, digest or sites do not belong to this image")
    trap_list = sorted(traps)
    segment_offset = (PAGE + len(body) + 7) & -8
    site_offset = segment_offset + SEGMENT.size * len(image.segments)
    trap_offset = site_offset + SITE.size * len(sites)
    header = HEADER.pack(
        MAGIC, VERSION, HEADER.size, FLAG_PIE * image.pie | FLAG_EXEC_STACK * image.exec_stack,
        len(image.segments), len(sites), len(trap_list),
        image.entry, image.phdr, image.phentsize, image.phnum,
        segment_offset, site_offset, trap_offset, *image.span, PAGE, len(body), sha256,
    )  # fmt: skip
    tables = bytearray(segment_offset - PAGE - len(body))
    for s in image.segments:
        # A segment with no bytes in the file may carry any p_offset: point at the body's start instead.
        tables += SEGMENT.pack(s.vaddr, s.memsz, s.filesz, PAGE + s.offset if s.filesz else PAGE, s.flags)
    for site in sorted(sites):
        tables += SITE.pack(site)
    for address, verdict in trap_list:
        tables += TRAP.pack(address, verdict)
    replace_file(path, (header.ljust(PAGE, b"\0"), body, tables))


def read_image(path: str) -> ImageFile:
    """Read an image file back, for tests and tools (the monitor has its own reader in C).

    Raises:
        LoadError: it is not an image file of this version, or it is truncated.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        raw = file.read()
    if len(raw) < HEADER.size or raw[:8] != MAGIC:
        raise _bad(path, "magic", repr(MAGIC), repr(raw[:8]))
    (_, version, size, flags, nseg, nsite, ntrap, entry, phdr, phentsize, phnum, segment_offset, site_offset,
     trap_offset, low, high, body_offset, body_size, sha256) = HEADER.unpack_from(raw)  # fmt: skip
    if (version, size) != (VERSION, HEADER.size):
        raise _bad(path, "version", f"{VERSION}, header of {HEADER.size} bytes", f"{version}, {size} bytes")
    end = max(
        body_offset + body_size, segment_offset + nseg * SEGMENT.size, site_offset + nsite * SITE.size,
        trap_offset + ntrap * TRAP.size,
    )  # fmt: skip
    if end != len(raw):
        raise _bad(path, "size", f"{end} bytes", f"{len(raw)}")
    segments = []
    table = raw[segment_offset : segment_offset + nseg * SEGMENT.size]  # the tables may lie in any order
    for vaddr, memsz, filesz, offset, segment_flags in SEGMENT.iter_unpack(table):
        segments.append(Segment(vaddr, memsz, offset, filesz, segment_flags))
    return ImageFile(
        flags=flags, entry=entry, phdr=phdr, phentsize=phentsize, phnum=phnum, span=(low, high),
        segments=tuple(segments), sites=tuple(s for (s,) in SITE.iter_unpack(raw[site_offset : site_offset + nsite * SITE.size])),
        traps=tuple(TRAP.iter_unpack(raw[trap_offset : trap_offset + ntrap * TRAP.size])),
        body=raw[body_offset : body_offset + body_size],
        sha256=sha256,
    )  # fmt: skip


def _bad(path: str, field: str, expected: str, got: str) -> Exception:
    from torov.errors import LoadError

    return LoadError(path, f"image file: {field}", expected, got)
