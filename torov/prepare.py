"""From a program to its image file: out of the cache, or by loader and rewriter once."""

from __future__ import annotations

import os

from torov.loader import cache
from torov.rewrite import REWRITER_VERSION


def version_of(clean_gap: bool) -> str:
    """The version of images: the rewriter's, and what changes its plans."""
    return str(REWRITER_VERSION) + ("" if clean_gap else "s")


def interpreter_of(path: str) -> str | None:
    """The program interpreter (PT_INTERP) of a dynamic executable, None for a static one; elf(5).

    Only the headers are read, and nothing is said about a file that is none: image_of() does that.
    """
    with open(path, "rb", 0) as file:
        head = file.read(64)
        if len(head) < 64:
            return None
        phoff, phentsize, phnum = (int.from_bytes(head[at : at + size], "little") for at, size in ((32, 8), (54, 2), (56, 2)))
        file.seek(phoff)
        table = file.read(phentsize * phnum)
        for at in range(0, len(table) - 55, phentsize or 56):
            if table[at : at + 4] == b"\3\0\0\0":
                file.seek(int.from_bytes(table[at + 8 : at + 16], "little"))
                return os.fsdecode(file.read(min(int.from_bytes(table[at + 32 : at + 40], "little"), 4096)).rstrip(b"\0"))
    return None


def image_of(path: str, *, clean_gap: bool = True) -> str:
    """Make sure that a program has an image file.

    Args:
        path: the program.
        clean_gap: also patch what decodes cleanly but lies in no known function (docs/rewriting.md).

    Returns:
        The path of its image file; lief and capstone were imported only if it had to be made.

    Raises:
        LoadError, NotFound: the file is not a program that can be loaded.
        MachineError: the image can be written nowhere.
    """
    version = version_of(clean_gap)
    found = cache.lookup(path, version)
    if found is not None:
        return found
    from torov.loader import elf
    from torov.rewrite.plan import plan

    image = elf.load(path)
    made = plan(image, clean_gap=clean_gap)
    return cache.store(image, made.patched_bytes(image.data), made.patched(), made.traps(), version)


def images_of(path: str, *, clean_gap: bool = True) -> tuple[str, str | None]:
    """The image file of a program, and that of its program interpreter if it is dynamic; errors as image_of()."""
    image = image_of(path, clean_gap=clean_gap)
    interpreter = interpreter_of(path)
    return image, image_of(interpreter, clean_gap=clean_gap) if interpreter else None


def cache_of(clean_gap: bool) -> tuple[str, str]:
    """Directory of image files ("" if there is none that can be trusted) and the version in their names."""
    from torov.loader import cachedir

    base = cachedir.location()
    usable = base is not None and cachedir.problem(base) is None
    return (base or "") if usable else "", f"{cache.FORMAT}.{version_of(clean_gap)}"


def main(argv: list[str]) -> int:
    """``python -m torov.prepare PROGRAM``: print the path of its image file. The core's exec(2) calls it."""
    import sys

    from torov.errors import TorovError

    try:
        sys.stdout.write(image_of(argv[1]) + "\n")
    except (TorovError, IndexError) as error:
        sys.stderr.write(f"torov: {error}\n")
        return 126
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv))
