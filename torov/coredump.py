"""Core files of guests (``--core``): where they go. The core writes them."""

from __future__ import annotations

import os

from torov.errors import UsageError

DEFAULT = "core.%p"


class Cores:
    """Where core files go.

    Args:
        pattern: path, with %p for the process; empty for DEFAULT. core(5).
        closed: the monitor will not be able to write files: a process of its own does it.

    Fields:
        descriptor, name: for Machine(core=...).
        directory: as the user wrote it.

    Raises:
        UsageError: there is no such directory.
        MachineError: the host refused the process.
    """

    __slots__ = ("descriptor", "directory", "name")

    def __init__(self, pattern: str, closed: bool) -> None:
        self.directory, self.name = os.path.split(pattern or DEFAULT)
        if not self.name or len(os.fsencode(self.name)) > 200:
            raise UsageError(f"--core {pattern}: expected a file, as --core=crash/core.%p")
        try:
            place = os.open(self.directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"--core {pattern}: {self.directory}: {os.strerror(error.errno or 0)}") from None
        self.descriptor = place
        if closed:
            from torov.vmm.machine import core_start

            self.descriptor = core_start(place, self.name)
            os.close(place)
            self.name = ""

    @property
    def target(self) -> tuple[int, str]:
        """For Machine(core=...)."""
        return self.descriptor, self.name
