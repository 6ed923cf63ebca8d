"""How a guest ended, or what it did on the way: struct tv_stop of core/core.h as Python sees it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

EXITED, SIGNALLED, KILLED, NOTICE = 1, 2, 3, 4
"""How a guest can end (enum tv_stop_kind): by exit(2), by a signal, by its policy; or a notice."""


class Stop:
    """The end of a guest, or a notice on the way.

    Fields:
        kind: EXITED, SIGNALLED, KILLED; or 0 for a notice.
        status: exit status 0-255, or signal number.
        code, address: si_code and si_addr of a signal; the place of the syscall for a notice.
        rip: guest address of the next instruction, where it is known.
        note: DENIED, LOGGED, UNSERVED, GADGET or NO_TIME for a notice, else 0.
        nr: syscall number for a notice and for KILLED, exception vector for a signal.
        errno: the error that was answered for DENIED, the host's for NO_TIME.
        text: for DENIED, LOGGED and KILLED the call with its arguments, as strace(1) writes it.
        label: the rule that decided, as ``p.json:12 rule 4 (comment)``; empty if none did.
    """

    __slots__ = ("address", "code", "errno", "kind", "label", "note", "nr", "rip", "status", "text")

    def __init__(self, raw: Any, text: str = "", label: str = "") -> None:
        notice = raw.kind == NOTICE
        self.kind = 0 if notice else int(raw.kind)
        self.status, self.code, self.note = int(raw.status), int(raw.code), int(raw.note)
        self.nr, self.address, self.rip, self.errno = int(raw.nr), int(raw.addr), int(raw.rip), int(raw.err)
        self.text, self.label = text, label

    def document(self) -> dict[str, int | str]:
        """Its fields as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Stop:
        """What document() wrote, in another process perhaps."""
        made = cls.__new__(cls)
        for name in cls.__slots__:
            setattr(made, name, fields[name])
        return made

    @property
    def exited(self) -> bool:
        """Whether it ended by exit(2)."""
        return self.kind == EXITED

    @property
    def signal(self) -> int:
        """Number of the signal that ended it, or 0."""
        return self.status if self.kind == SIGNALLED else 0

    @property
    def exit_status(self) -> int:
        """What a shell would show: the guest's own status, or 128 + n after signal n (SIGSYS for KILLED)."""
        if self.kind == EXITED:
            return self.status
        return 128 + (self.status if self.kind == SIGNALLED else 31)
