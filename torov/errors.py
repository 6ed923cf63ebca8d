"""One tree of errors. Each carries its facts as fields and prints as one clear line.

    TorovError                  anything torov itself reports      exit status 125
    |-- UsageError              the command line is wrong          125
    |-- LoadError               a file that cannot be loaded       126
    |   `-- NotFound            a file that is not there           127
    |-- RewriteError            a plan or patch that does not hold 125
    |-- PolicyError             a policy that cannot be used       125
    |-- AuditError              an audit log that cannot be kept   125
    |-- DelegateError           a component that cannot be had     125
    |-- DebugError              a debugger that cannot come        125
    `-- MachineError            the host refused something         125
        `-- NoKVM               /dev/kvm cannot be used            125

The exit statuses follow env(1), nohup(1) and chroot(1): 125 for the tool's own failure, 126 for a
program that cannot be run, 127 for one that is not found.
"""

from __future__ import annotations


class TorovError(Exception):
    """Base of all errors that torov reports.

    Args:
        message: one line for the user, without the program's name.
    """

    exit_status = 125

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.message = self.args[0]


class UsageError(TorovError):
    """The command line cannot be understood; the message says what to write instead."""


class LoadError(TorovError):
    """A file that cannot be loaded as a program.

    Args:
        file: path as the user gave it.
        field: the part of the file that is wrong, in ELF's own words (``e_machine``, ``PT_LOAD[2]``).
        expected: what would have been accepted.
        got: what is there.
    """

    exit_status = 126

    def __init__(self, file: str, field: str, expected: str, got: str) -> None:
        super().__init__(f"{file}: {field}: expected {expected}, got {got}")
        self.file, self.field, self.expected, self.got = file, field, expected, got


class NotFound(LoadError):
    """A program file that does not exist."""

    exit_status = 127

    def __init__(self, file: str, got: str = "no such file") -> None:
        super().__init__(file, "file", "an executable file", got)


class RewriteError(TorovError):
    """A plan or a patched file that does not hold.

    Args:
        file: path as the user gave it.
        address: guest virtual address or None.
        problem: what is wrong, with what to do next.
    """

    def __init__(self, file: str, address: int | None, problem: str) -> None:
        where = file if address is None else f"{file}: {address:#x}"
        super().__init__(f"{where}: {problem}")
        self.file, self.address, self.problem = file, address, problem


class PolicyError(TorovError):
    """A policy that cannot be used.

    Args:
        file: path of the policy file.
        path: place in the document, as ``syscalls.allow[3]``.
        expected: what would have been accepted.
        got: what is there.
        hint: the nearest right name, or an empty string.
    """

    def __init__(self, file: str, path: str, expected: str, got: str, hint: str = "") -> None:
        more = f" (did you mean {hint}?)" if hint else ""
        super().__init__(f"{file}: {path}: expected {expected}, got {got}{more}")
        self.file, self.path, self.expected, self.got, self.hint = file, path, expected, got, hint


class MachineError(TorovError):
    """The host refused something that the monitor needs.

    Args:
        what: the operation, as ``KVM_CREATE_VM``.
        errno: the host's error number, positive; 0 if there is none.
        advice: what to do next, or an empty string.
    """

    def __init__(self, what: str, errno: int, advice: str = "") -> None:
        import os

        why = f": {os.strerror(errno)}" if errno else ""
        super().__init__(f"{what}{why}{'; ' + advice if advice else ''}")
        self.what, self.errno, self.advice = what, errno, advice


class NoKVM(MachineError):
    """/dev/kvm is absent or cannot be used; ``torov doctor`` says more."""


class AuditError(TorovError):
    """The audit log cannot be written.

    Args:
        file: as the user named it.
        errno: the host's error.
    """

    def __init__(self, file: str, errno: int) -> None:
        import os

        super().__init__(f"{file}: the audit log cannot be written: {os.strerror(errno)}")
        self.file, self.errno = file, errno


class TraceError(TorovError):
    """A trace cannot be written.

    Args:
        file: as the user named it.
        errno: the host's error.
    """

    def __init__(self, file: str, errno: int) -> None:
        import os

        super().__init__(f"{file}: the trace cannot be written: {os.strerror(errno)}")
        self.file, self.errno = file, errno


class DelegateError(TorovError):
    """A component that a policy delegates calls to cannot be reached.

    Args:
        name: its name in the policy.
        socket: path of its socket, or an empty string.
        why: what is wrong, and what to do.
    """

    def __init__(self, name: str, socket: str, why: str) -> None:
        super().__init__(f"delegate {name}{f' ({socket})' if socket else ''}: {why}")
        self.name, self.socket, self.why = name, socket, why


class DebugError(TorovError):
    """The guest cannot be debugged as asked.

    Args:
        where: the address, or the process.
        why: what is wrong, and what to do.
        final: it is the right process, which cannot be debugged.
    """

    def __init__(self, where: str, why: str, final: bool = False) -> None:
        super().__init__(f"{'process' if where.isdecimal() else 'gdb'} {where}: {why}")
        self.where, self.why, self.final = where, why, final
