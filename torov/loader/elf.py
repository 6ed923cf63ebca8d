"""ELF file -> Image. The only importer of lief, which is imported late: it takes a third of a second."""

from __future__ import annotations

from torov.loader.headers import PHENTSIZE, Headers, sections_readable
from torov.loader.image import Image, Section
from torov.loader.source import Identity, read_program

_UNNEEDED = (
    "parse_dyn_symbols",
    "parse_notes",
    "parse_overlay",
    "parse_relocations",
    "parse_static_symbols",  # the name of the last one in lief 0.14
    "parse_symbol_versions",
    "parse_symtab_symbols",
)


def load(path: str) -> Image:
    """Read and check an executable file.

    Args:
        path: the file as the user gave it.
    Returns:
        The Image: a static x86-64 executable, ET_EXEC or static-PIE, that Linux would run.
    Raises:
        NotFound: there is no such file.
        LoadError: it is not such a file; one field of it is named with what was expected.
    """
    data, identity = read_program(path)
    return parse(path, data, identity)


def parse(path: str, data: bytes, identity: Identity | None = None) -> Image:
    """Check the contents of an executable file.

    Args:
        path: the file's name for messages.
        data: the whole file.
        identity: see Image.
    Raises:
        LoadError: as load().
    """
    headers = Headers(path, data)
    return Image(
        path,
        data,
        pie=headers.pie,
        entry=headers.entry,
        phdr=headers.phdr,
        phentsize=PHENTSIZE,
        phnum=headers.phnum,
        segments=headers.segments,
        exec_stack=headers.exec_stack,
        interp=headers.interp,
        sections=_sections(data) if sections_readable(data) else (),
        identity=identity,
    )


def _sections(data: bytes) -> tuple[Section, ...]:
    """The section table as lief reads it, or nothing where lief cannot read all of it."""
    import io
    import warnings

    import lief

    count = int.from_bytes(data[60:62], "little")
    config = lief.ELF.ParserConfig()
    for name in filter(lambda name: hasattr(config, name), _UNNEEDED):
        setattr(config, name, False)
    lief.logging.disable()  # it writes what it thinks of a file to standard error
    with warnings.catch_warnings():  # a warning for each enum value that it does not know
        warnings.simplefilter("ignore")
        binary = lief.ELF.parse(io.BytesIO(data), config)  # three times as fast as from bytes
        if binary is None or len(binary.sections) != count:
            return ()
        return tuple(
            Section(
                name=bytes(section.fullname).decode("utf-8", "surrogateescape"),
                vaddr=section.virtual_address,
                offset=section.offset,
                size=section.size,
                flags=int(section.flags),
                type=int(section.type) & 0xFFFFFFFF,  # above these 32 bits lief marks the machine of a type
            )
            for section in binary.sections
        )
