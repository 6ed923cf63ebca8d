"""The audit log of a run, and what ``--explain`` makes of it. Imported only where one of them is asked for.

Lines are written by the core (torov/vmm/core/note.c, audit.c), one JSON object each; docs/policy.md lists their members.
"""

from __future__ import annotations

import errno
import os

from torov.errors import AuditError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from torov.vmm.machine import Machine


class Log:
    """One log: a process of its own writes it, the guest's processes hold a socket.

    Args:
        file: where to append, or None for a file without a name that only finish() reads.

    Fields:
        socket: for Machine(audit=...), which takes it over.

    Raises:
        AuditError: the file cannot be opened.
    """

    __slots__ = ("_start", "file", "socket")

    def __init__(self, file: str | None) -> None:
        import json  # noqa: F401  # in a jail, and behind the monitor's filter, nothing can be imported any more

        from torov.vmm.machine import audit_start

        self.file = file
        try:
            if file is None:
                import tempfile

                stream = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            else:
                stream = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        except OSError as error:
            raise AuditError(file or "temporary file", error.errno or 0) from None
        self._start = os.fstat(stream).st_size
        try:
            self.socket = audit_start(stream)
        finally:
            os.close(stream)

    def finish(self, machine: Machine, *, read: bool) -> list[dict[str, Any]]:
        """Wait until everything is written.

        Args:
            machine: the guest that was given the socket.
            read: whether to read this run's lines.

        Returns:
            The lines, as dicts; none unless read.

        Raises:
            AuditError: a line could not be written.
        """
        stream, error = machine.audit_flush()
        if error:
            raise AuditError(self.file or "temporary file", error)
        if not read:
            if stream >= 0:
                os.close(stream)
            return []
        if stream < 0:
            raise AuditError(self.file or "temporary file", errno.EMFILE)
        with open(stream, "rb") as file:
            file.seek(self._start)
            return lines_of(file)


def lines_of(file: Iterable[bytes]) -> list[dict[str, Any]]:
    """The lines of a log, as dicts; what is not a whole line is left out (a log can be cut off)."""
    import json

    found: list[dict[str, Any]] = []
    for line in file:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


class Row:
    """One line of the summary.

    Fields:
        action: ``errno``, ``kill``, ``log``, ``ask``, ``delegate``.
        errno: name of the error that was answered, or an empty string.
        call: name.
        label: the rule, or an empty string: none decided.
        count: how often.
        example: the first such call with its arguments.
    """

    __slots__ = ("action", "call", "count", "errno", "example", "label")

    def __init__(self, action: str, errno: str, call: str, label: str, example: str) -> None:
        self.action, self.errno, self.call, self.label, self.example, self.count = action, errno, call, label, example, 0

    def document(self) -> dict[str, object]:
        """As plain values."""
        return {name: getattr(self, name) for name in ("action", "errno", "call", "label", "count", "example")}


def summary(lines: Iterable[dict[str, Any]]) -> list[Row]:
    """Decisions by action, call and rule, the most frequent first.

    Args:
        lines: of an audit log.
    """
    rows: dict[tuple[str, str, str, str], Row] = {}
    for line in lines:
        if "call" not in line:
            continue
        key = (str(line["action"]), str(line.get("errno", "")), str(line["call"]), str(line.get("label", "")))
        rows.setdefault(key, Row(*key, str(line.get("text", "")))).count += 1
    return sorted(rows.values(), key=lambda row: (-row.count, row.call, row.label))
