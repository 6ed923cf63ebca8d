"""qXfer objects: what gdb reads as files. gdb's manual, E.5."""

from __future__ import annotations

from torov.gdb import link as core
from torov.gdb import modules
from torov.gdb.packet import MOST, escape
from torov.gdb.registers import AVX, description

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.gdb.link import Link
    from torov.gdb.session import Session


def auxv(link: Link) -> bytes:
    """The auxiliary vector of a process; empty if it cannot be read."""
    answer, _ = link.ask(core.INFO)
    return link.read(answer.b, min(answer.c, 1 << 16))


def read(session: Session, kind: str, annex: bytes) -> bytes | None:
    """The whole of an object; None: there is no such object."""
    if kind == "features":
        if annex != b"target.xml":
            return None
        names = {name for name, _, _ in session.registers().rows}
        return description(AVX[0][0] in names).encode()
    if kind == "auxv":
        return auxv(session.link())
    if kind == "libraries-svr4":
        return modules.document(session.link().read, auxv(session.link()))
    return session.document(kind, annex) if kind in ("threads", "exec-file", "siginfo") else None


def part(data: bytes, at: int, length: int) -> bytes:
    """A window of an object, as the answer to qXfer."""
    found = data[at : at + min(length, MOST - 8)]
    shown = escape(found)
    while len(shown) > MOST - 8:
        found = found[: len(found) * 3 // 4]
        shown = escape(found)
    return (b"m" if at + len(found) < len(data) else b"l") + shown
