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
        errno: the error that was answered for DENIED, the host's for NO_TIME, the error code of a page fault.
        text: for DENIED, LOGGED and KILLED the call with its arguments, as strace(1) writes it; for a signal what happened where.
        core, core_error: name of the core file that a signal left; why it left none, though it was asked for.
        label: the rule that decided, as ``p.json:12 rule 4 (comment)``; empty if none did.
    """

    __slots__ = ("address", "code", "core", "core_error", "errno", "kind", "label", "note", "nr", "rip", "status", "text")

    def __init__(self, raw: Any, text: str = "", label: str = "", core: str = "") -> None:
        notice = raw.kind == NOTICE
        self.kind = 0 if notice else int(raw.kind)
        self.status, self.code, self.note = int(raw.status), int(raw.code), int(raw.note)
        self.nr, self.address, self.rip, self.errno = int(raw.nr), int(raw.addr), int(raw.rip), int(raw.err)
        self.text, self.label = text, label
        self.core, self.core_error = core, int(raw.core_err)

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

    def dumped(self, directory: str = "") -> str:
        """What became of its core file: the end of a line for the user, or an empty string.

        Args:
            directory: where core files go, as the user wrote it.
        """
        import os

        if self.core:
            return f"; core dumped to {os.path.join(directory, self.core)}"
        return f"; no core file: {os.strerror(self.core_error)}" if self.core_error else ""

    @property
    def exit_status(self) -> int:
        """What a shell would show: the guest's own status, or 128 + n after signal n (SIGSYS for KILLED)."""
        if self.kind == EXITED:
            return self.status
        return 128 + (self.status if self.kind == SIGNALLED else 31)
