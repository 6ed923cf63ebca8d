"""The plan: a verdict for every ``0F 05`` of a program, and which of them become ``OUT``."""

from __future__ import annotations

from torov.errors import RewriteError
from torov.rewrite import REWRITER_VERSION
from torov.rewrite.decode import containing
from torov.rewrite.regions import Mapping, candidates, regions
from torov.rewrite.scan import Finding, scan
from torov.rewrite.sites import KEEP, OUT, SYSCALL, Kept, Site, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.loader.image import Image
    from torov.rewrite.regions import Place

__all__ = ["KEEP", "OUT", "REWRITER_VERSION", "SYSCALL", "Kept", "Plan", "Site", "Verdict", "plan"]

# mov rax, 15 (rt_sigreturn) before the syscall: what libgcc (config/i386/linux-unwind.h) and gdb look for.
_RESTORER = bytes.fromhex("48c7c00f000000")
_NEVER = (Kept.RESTORER, Kept.PREFIXED, Kept.WRITABLE, Kept.SHARED)
_DATA = Finding(Verdict.DATA, "outside the code regions")


class Plan:
    """What will be patched in one program, and why.

    Attributes:
        path: the file as the user gave it.
        sites: every pair ``0F 05`` of the file, by file offset.
    """

    __slots__ = ("path", "sites")

    def __init__(self, path: str, sites: tuple[Site, ...]) -> None:
        self.path, self.sites = path, sites

    def patched_bytes(self, data: bytes) -> bytes:
        """Return the patched copy of a file.

        Args:
            data: the whole file that the plan was made for.
        Raises:
            RewriteError: data has other bytes at a patched place, so it is another file.
        """
        body = bytearray(data)
        for site in self.sites:
            if site.new is not None:
                if body[site.offset:site.offset + 2] != site.old:
                    raise RewriteError(self.path, site.vaddr, f"the plan is for another file: expected "
                                       f"{site.old.hex(' ')} at file offset {site.offset:#x}")
                body[site.offset:site.offset + 2] = site.new
        return bytes(body)

    def patched(self) -> list[int]:
        """Return the link-time addresses of the patched sites, ascending."""
        return sorted(s.vaddr for s in self.sites if s.new is not None and s.vaddr is not None)

    def traps(self) -> list[tuple[int, int]]:
        """Return (link-time address, verdict number) of every unpatched pair that can execute, ascending.

        The number is that of :class:`Verdict`, or KEEP for a syscall that must never be patched, also not
        when it is hit at run time.
        """
        return sorted((s.vaddr, KEEP if s.kept in _NEVER else int(s.verdict)) for s in self.sites
                      if s.new is None and s.vaddr is not None and s.executable)

    def counts(self) -> dict[Verdict, int]:
        """Return the number of sites of each verdict, zero included."""
        result = dict.fromkeys(Verdict, 0)
        for site in self.sites:
            result[site.verdict] += 1
        return result


def plan(image: Image, clean_gap: bool = True) -> Plan:
    """Make the plan of a program.

    Args:
        image: the program.
        clean_gap: patch the sites with the verdict CLEAN_GAP too.
    Returns:
        the plan; the same image gives the same plan.
    Raises:
        RewriteError: the file holds more pairs than any program.
    """
    found = regions(image)
    pairs = candidates(image, SYSCALL)
    findings = scan(image, found, pairs)
    mapping, starts = Mapping(image), [r.start for r in found]
    sites = []
    for at in pairs:
        finding = findings.get(at, _DATA)
        place = mapping.find(at)
        kept = _kept(image.data, at, finding, place, clean_gap)
        section = found[containing(starts, at)].section if finding is not _DATA else ""
        sites.append(Site(place.vaddr, at, finding.verdict, finding.reason, kept, SYSCALL,
                          OUT if kept is None else None, finding.function, section, place.executable))
    return Plan(image.path, tuple(sites))


def _kept(data: bytes, at: int, finding: Finding, place: Place, clean_gap: bool) -> Kept | None:
    """Return why a pair is not patched, or None if it is."""
    if finding.verdict in (Verdict.EMBEDDED, Verdict.DATA) or not place.executable:
        return Kept.VERDICT
    # An AMBIGUOUS site is not patched here, but may be at run time: so the causes below hold for it too.
    if place.writable:
        return Kept.WRITABLE
    if place.shared:
        return Kept.SHARED
    if finding.prefixed:
        return Kept.PREFIXED
    if data.startswith(_RESTORER, max(at - len(_RESTORER), 0)):
        return Kept.RESTORER
    if finding.verdict is Verdict.AMBIGUOUS:
        return Kept.VERDICT
    if finding.verdict is Verdict.CLEAN_GAP and not clean_gap:
        return Kept.SWITCHED_OFF
    return None
