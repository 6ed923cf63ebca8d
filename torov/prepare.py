"""From a program to its image file: out of the cache, or by loader and rewriter once."""

from __future__ import annotations

from torov.loader import cache
from torov.rewrite import REWRITER_VERSION


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
    version = str(REWRITER_VERSION) + ("" if clean_gap else "s")
    found = cache.lookup(path, version)
    if found is not None:
        return found
    from torov.loader import elf
    from torov.rewrite.plan import plan

    image = elf.load(path)
    made = plan(image, clean_gap=clean_gap)
    return cache.store(image, made.patched_bytes(image.data), made.patched(), made.traps(), version)
