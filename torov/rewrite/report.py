"""What ``torov patch`` shows: summary, table rows, JSON document, and disassembly around each patch."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from torov.rewrite import pclntab, symtab
from torov.rewrite.decode import WINDOW, Decoder
from torov.rewrite.plan import REWRITER_VERSION, Plan
from torov.rewrite.regions import regions
from torov.rewrite.sites import Kept, Site, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from torov.loader.image import Image
    from torov.rewrite.regions import Region

FORMAT = "torov-patch-1"
_CONTEXT = 2  # instructions before and after a patch


class Row(NamedTuple):
    """One line of the table: texts, as they are shown.

    Attributes:
        address: ``0x401a2b``, or ``file:0x1a2b`` if the bytes are not loaded.
        where: section, and function with the distance from its start, where known.
        verdict: as ``CONFIRMED``.
        action: ``patch``, or ``keep`` with the cause.
        reason: one short clause.
    """

    address: str
    where: str
    verdict: str
    action: str
    reason: str


def names(image: Image, plan: Plan) -> dict[int, str]:
    """Return the names of the functions around the sites.

    Args:
        image, plan: a program and its plan.
    Returns:
        start address to name, for the functions that have one in Go's table or in .symtab.
    """
    wanted = {site.function for site in plan.sites if site.function is not None}
    found = symtab.names(image, wanted)
    go = pclntab.find(image) if len(found) < len(wanted) else None
    if go is not None:
        for start in wanted - found.keys():
            if (name := go.name(start)) is not None:
                found[start] = name
    return found


def summary(image: Image, plan: Plan) -> dict[str, object]:
    """Return the facts above the table, and the head of the JSON document.

    Args:
        image, plan: a program and its plan.
    Returns:
        file, size, sha256, rewriter (version), sites, patched, verdicts (count of each), kept (count of each
        cause other than the verdict).
    """
    kept = dict.fromkeys((k.value for k in Kept if k is not Kept.VERDICT), 0)
    for site in plan.sites:
        if site.kept is not None and site.kept is not Kept.VERDICT:
            kept[site.kept.value] += 1
    return {
        "file": image.path,
        "size": len(image.data),
        "sha256": hashlib.sha256(image.data).hexdigest(),
        "rewriter": REWRITER_VERSION,
        "sites": len(plan.sites),
        "patched": len(plan.patched()),
        "verdicts": {verdict.name: count for verdict, count in plan.counts().items()},
        "kept": kept,
    }


def rows(image: Image, plan: Plan, data: bool = False) -> Iterator[Row]:
    """Yield the lines of the table, in the order of the file.

    Args:
        image, plan: a program and its plan.
        data: also the sites with the verdict DATA that no executable segment maps.
    """
    known = names(image, plan)
    for site in plan.sites:
        if not (data or site.executable or site.verdict is not Verdict.DATA):
            continue
        yield Row(_address(site), _where(site, known), site.verdict.name, _action(site), site.reason)


def document(image: Image, plan: Plan) -> dict[str, object]:
    """Return the JSON document: the summary, ``format``, and every site.

    Args:
        image, plan: a program and its plan.
    Returns:
        plain values only. Addresses are numbers; what is unknown is null; ``new`` is null for what stays.
    """
    known = names(image, plan)
    sites = [{
        "address": site.vaddr,
        "offset": site.offset,
        "section": site.section or None,
        "function": site.function,
        "function_name": None if site.function is None else known.get(site.function),
        "verdict": site.verdict.name,
        "reason": site.reason,
        "executable": site.executable,
        "kept": None if site.kept is None else site.kept.value,
        "old": site.old.hex(" "),
        "new": None if site.new is None else site.new.hex(" "),
    } for site in plan.sites]
    return {"format": FORMAT, **summary(image, plan), "plan": sites}


def diff(image: Image, plan: Plan) -> Iterator[str]:
    """Yield the lines of a diff in disassembly: what is around each patched site, before and after.

    Args:
        image, plan: a program and its plan.
    Yields:
        ``@@ address where @@``, then lines with address, bytes and instruction after a space, ``-`` or ``+``.
    """
    known = names(image, plan)
    decoder = Decoder(image.data, len(plan.sites) * len(image.data))  # at most a whole function a site
    found = regions(image)
    for site in plan.sites:
        if site.new is None or site.vaddr is None:
            continue
        region = next(r for r in found if r.start <= site.offset < r.stop)
        yield f"@@ {_address(site)} {_where(site, known)} @@"
        before = decoder.text(_before(decoder, region, site), site.offset, site.offset, region.bias)
        after = decoder.text(site.offset + 2, region.stop, region.stop, region.bias, _CONTEXT)
        yield from _lines(image, region, before)
        yield _line("-", site.vaddr, site.old, "syscall")
        yield _line("+", site.vaddr, site.new, "out 0x10, eax")
        yield from _lines(image, region, after)


def _before(decoder: Decoder, region: Region, site: Site) -> int:
    """Return the file offset of the instruction that stands _CONTEXT instructions before a site."""
    if site.function is not None:
        begin = site.function - region.bias
    else:
        # No start is known, but most streams agree here: the longest that lands is in step by now.
        begin = decoder.landing(site.offset, max(region.start, site.offset - WINDOW), region.stop)
    starts = [offset for offset, _, _ in decoder.stream(begin, site.offset, region.stop)][-_CONTEXT:]
    return starts[0] if starts else site.offset


def _lines(image: Image, region: Region, listing: list[tuple[int, int, str]]) -> Iterator[str]:
    for address, size, text in listing:
        at = address - region.bias
        yield _line(" ", address, image.data[at:at + size], text)


def _line(mark: str, address: int, code: bytes, text: str) -> str:
    return f"{mark} {address:#10x}  {code.hex(' '):<32}  {text}"


def _action(site: Site) -> str:
    if site.kept is None:
        return "patch"
    return "keep" if site.kept is Kept.VERDICT else f"keep ({site.kept.value})"


def _address(site: Site) -> str:
    return f"file:{site.offset:#x}" if site.vaddr is None else f"{site.vaddr:#x}"


def _where(site: Site, known: dict[int, str]) -> str:
    if site.function is None or site.vaddr is None:
        return site.section
    name = known.get(site.function, f"{site.function:#x}")
    return f"{site.section} {name}+{site.vaddr - site.function:#x}"
