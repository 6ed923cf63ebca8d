"""A guest as Python sees it: create, run to its end, read what was counted. The only importer of the compiled core.

On the path of every start: no import here that is not needed for it.
"""

from __future__ import annotations

import os
import sys

from torov.errors import LoadError, MachineError, NoKVM
from torov.vmm._core import ffi as _ffi
from torov.vmm._core import lib as _lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from torov.jail import Plan

EXITED: int = _lib.TV_EXITED
SIGNALLED: int = _lib.TV_SIGNALLED
KILLED: int = _lib.TV_KILLED
FAILED: int = _lib.TV_FAILED
"""How a guest can end: by exit(2), by a signal, by its policy, because the monitor could not go on."""
DENIED, UNSERVED, GADGET, NO_TIME = _lib.TV_NOTE_DENIED, _lib.TV_NOTE_UNSERVED, _lib.TV_NOTE_GADGET, _lib.TV_NOTE_TIME
LOGGED = _lib.TV_NOTE_LOGGED
"""What a notice reports."""

_ACCESS_ERRORS = (2, 6, 13, 19)  # ENOENT, ENXIO, EACCES, ENODEV


RUNNER = os.path.join(os.path.dirname(__file__), "torov-runner")
"""The program that goes on after a guest's exec(2), and that is pid 1 of a jail."""
SEALED: int = _lib.TV_F_SEALED


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

    def __init__(self, raw: Any) -> None:
        notice = raw.kind == _lib.TV_NOTICE
        self.kind = 0 if notice else int(raw.kind)
        self.status, self.code, self.note = int(raw.status), int(raw.code), int(raw.note)
        self.nr, self.address, self.rip, self.errno = int(raw.nr), int(raw.addr), int(raw.rip), int(raw.err)
        self.text, self.label = _text(raw.text), _text(raw.label)

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


def _text(raw: Any) -> str:
    return bytes(_ffi.string(raw)).decode(errors="replace")


def _check(stop: Any) -> None:
    """The funnel of the core's own failures.

    Raises:
        NoKVM: /dev/kvm is missing or not for us.
        MachineError: anything else that the host refused.
    """
    if stop.kind != FAILED:
        return
    what, err = _text(stop.what), int(stop.err)
    if what == "/dev/kvm" and err in _ACCESS_ERRORS:
        raise NoKVM(what, err, "run `torov doctor` to see what is missing")
    if err == 7:  # E2BIG
        raise MachineError("arguments and environment", err)
    where = f"{what} (rip {stop.rip:#x}, address {stop.addr:#x})" if stop.rip or stop.addr else what
    raise MachineError(where, err)


class Machine:
    """One guest.

    Args:
        image: path of an image file (torov.loader.image), or a descriptor of it; taken over.
        exe: absolute path of the program it was made from.
        argv: the program's arguments, argv[0] included.
        env: its environment.
        actions: 512 little-endian int16 as torov.policy makes them; None for the built-in policy.
        execfn: the path as the user gave it (AT_EXECFN); argv[0] if None.
        loader: image file of the program interpreter, for a dynamic program.
        cache, cache_version: directory of image files and the version in their names, for execve(2).
        stack_size: bytes; 0 for RLIMIT_STACK.
        flags: TV_F_* of core/core.h.
        program: rules with conditions, as torov.policy compiles them, for calls whose action is -2.
        audit: socket of audit_start(); it is taken over. 0 for none.
        kvm, runner: descriptors of /dev/kvm and torov-runner, for a jail in which they have no path; taken over. 0 for none.
        tty: descriptor of the terminal for the action "ask"; it is taken over. 0 for none.
        strict: strict mode's table of the program (torov.strict); empty: not strict.
        delegates: sockets of the components that the policy delegates calls to, in its order; they are taken over.

    Raises:
        NoKVM, MachineError: the host refused something.
        LoadError: the image file is damaged.
    """

    __slots__ = ("_stop", "_vm")

    def __init__(
        self,
        image: str | int,
        exe: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        actions: bytes | None = None,
        *,
        execfn: str | None = None,
        loader: str | int | None = None,
        cache: str = "",
        cache_version: str = "",
        stack_size: int = 0,
        flags: int = 0,
        program: bytes = b"",
        audit: int = 0,
        tty: int = 0,
        strict: bytes = b"",
        delegates: Sequence[int] = (),
        kvm: int = 0,
        runner: int = 0,
    ) -> None:
        keep = []

        def text(value: str) -> Any:
            keep.append(_ffi.new("char[]", os.fsencode(value)))
            return keep[-1]

        def vector(values: list[bytes]) -> Any:
            items = [_ffi.new("char[]", value) for value in values]
            keep.extend(items)
            keep.append(_ffi.new("char *[]", [*items, _ffi.NULL]))
            return _ffi.cast("char const *const *", keep[-1])

        if env is None:
            pairs = [key + b"=" + value for key, value in os.environb.items()]
        else:
            pairs = [os.fsencode(key) + b"=" + os.fsencode(value) for key, value in env.items()]
        spec = _ffi.new("struct tv_spec *")
        spec.exe, spec.execfn = text(exe), text(argv[0] if execfn is None else execfn)
        spec.argv, spec.envp = vector([os.fsencode(arg) for arg in argv]), vector(pairs)
        spec.actions = _ffi.NULL if actions is None else _ffi.cast("int16_t *", _ffi.from_buffer(actions))
        spec.stack_size, spec.flags = stack_size, flags
        spec.program = _ffi.from_buffer(program) if program else _ffi.NULL
        spec.program_size, spec.audit_fd, spec.tty_fd = len(program), audit, tty
        spec.strict, spec.strict_size = (_ffi.from_buffer(strict) if strict else _ffi.NULL), len(strict)
        spec.delegate_fd = [*delegates]
        spec.cache, spec.cache_version, spec.python = text(cache), text(cache_version), text(sys.executable)
        spec.runner = text(RUNNER)
        spec.helper_env = vector([key + b"=" + value for key, value in os.environb.items()])
        self._stop = _ffi.new("struct tv_stop *")
        spec.kvm_fd, spec.runner_fd = kvm, runner
        spec.image_fd = image if isinstance(image, int) else os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        spec.loader_fd = -1
        try:
            if loader is not None:
                spec.loader_fd = loader if isinstance(loader, int) else os.open(loader, os.O_RDONLY | os.O_CLOEXEC)
            self._vm = _lib.tv_create(spec, self._stop)
        finally:
            os.close(spec.image_fd)
            if spec.loader_fd >= 0:
                os.close(spec.loader_fd)
        if not self._vm:
            if _text(self._stop.what) == "image file":
                raise LoadError(exe, "image file", "what the rewriter wrote", f"errno {self._stop.err}")
            _check(self._stop)

    def run(self, on_notice: Callable[[Stop], None] | None = None) -> Stop:
        """Run the guest to its end.

        Args:
            on_notice: called for each notice, in the order of events, while the guest waits.

        Returns:
            How it ended.

        Raises:
            MachineError: the monitor cannot go on.
        """
        while True:
            kind = _lib.tv_run(self._vm, self._stop)
            if kind != _lib.TV_NOTICE:
                _check(self._stop)
                return Stop(self._stop)
            if on_notice is not None:
                on_notice(Stop(self._stop))

    def confine(self, filter: bytes) -> None:
        """Restrict this process to the calls of a filter, now that the guest is about to run; errors as seccomp()."""
        _seccomp(self._vm, filter)

    def stats(self) -> dict[str, int]:
        """What was counted so far: the fields of struct tv_stats (core/core.h) but for the calls."""
        stats = _lib.tv_stats(self._vm)
        names = [name for name, _ in _ffi.typeof("struct tv_stats").fields]
        return {name: int(getattr(stats, name)) for name in names if name != "calls"}

    def calls(self) -> dict[int, int]:
        """Syscall number to how often it was made, for those that were; 511 stands for all above 511."""
        calls = _lib.tv_stats(self._vm).calls
        return {nr: int(calls[nr]) for nr in range(512) if calls[nr]}

    def layout(self) -> list[tuple[int, int, str, str]]:
        """The guest's memory as (start, end, protection as in /proc/PID/maps, name), by address."""
        size = 256
        while True:
            regions = _ffi.new("struct tv_region[]", size)
            count = _lib.tv_layout(self._vm, regions, size)
            if count <= size:
                break
            size = count
        rows = []
        for region in regions[0:count]:
            prot = "".join(letter if region.prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
            rows.append((int(region.start), int(region.end), prot, _text(region.name)))
        return rows

    def audit_flush(self) -> tuple[int, int]:
        """Wait until all that this guest sent to its audit log is in the file.

        Returns:
            The file, open for reading (-1 if there is none), and the errno of the first write that failed, or 0.
        """
        error = _ffi.new("int *")
        file = int(_lib.tv_audit_flush(self._vm, error))
        return file, int(error[0])

    def close(self) -> None:
        """Give the VM and its memory back. More than once is fine."""
        if self._vm:
            _lib.tv_destroy(self._vm)
            self._vm = _ffi.NULL

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def audit_start(file: int) -> int:
    """Start the process that writes an audit log.

    Args:
        file: descriptor to write to; the caller closes it.

    Returns:
        The socket that a Machine takes: lines of JSON go through it.

    Raises:
        MachineError: the host refused it.
    """
    sock = int(_lib.tv_audit_start(file))
    if sock < 0:
        raise MachineError("audit log", -sock)
    return sock


def probe(loops: int = 2000) -> dict[str, int]:
    """Try this machine's KVM with a guest of one loop.

    Args:
        loops: how many exits to time.

    Returns:
        The fields of struct tv_host_info (core/core.h); times in nanoseconds.

    Raises:
        NoKVM, MachineError: what does not work.
    """
    info, why = _ffi.new("struct tv_host_info *"), _ffi.new("struct tv_stop *")
    if _lib.tv_probe(info, why, loops):
        _check(why)
    return {name: int(getattr(info, name)) for name, _ in _ffi.typeof("struct tv_host_info").fields}


def jail(made: Plan, keep: Sequence[int], runner: int, shared: int = 0) -> Stop | None:
    """Split this process in two, of which one goes on in a jail; arguments, result and errors as torov.jail.enter()."""
    alive: list[Any] = []

    def text(value: str | None) -> Any:
        alive.append(_ffi.NULL if value is None else _ffi.new("char[]", os.fsencode(value)))
        return alive[-1]

    spec, end = _ffi.new("struct tv_jail *"), _ffi.new("struct tv_stop *")
    mounts = _ffi.new("struct tv_mount[]", len(made.mounts) or 1)
    for raw, mount in zip(mounts, made.mounts, strict=False):
        raw.kind, raw.writable, raw.to, raw.size = mount.kind, mount.writable, text(mount.to), mount.size
        setattr(raw, "from", text(mount.source))
    spec.namespaces, spec.drop, spec.whole = made.namespaces, bool(made.spaces), True
    spec.root, spec.root_writable, spec.fresh_root = text(made.root), made.root_writable, made.fresh_root
    spec.host_readonly, spec.mounts, spec.nmounts = made.host_readonly, mounts, len(made.mounts)
    spec.loopback, spec.hostname, spec.uid, spec.gid = made.loopback, text(made.hostname), made.uid, made.gid
    kept = _ffi.new("int[]", sorted(fd for fd in keep if fd > 2))
    spec.keep, spec.nkeep, spec.runner_fd, spec.shared_fd = kept, len(kept) if made.spaces else -1, runner, shared
    spec.wall_ns, spec.cpu_ns = made.limits.get("wall", 0) * 1000000, made.limits.get("cpu", 0) * 1000000
    side = _lib.tv_jail(spec, end)
    _check(end)
    return Stop(end) if side else None


def open_kvm() -> int:
    """A descriptor of /dev/kvm.

    Raises:
        NoKVM: it is missing or not for us.
    """
    try:
        return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NoKVM("/dev/kvm", error.errno or 0, "run `torov doctor` to see what is missing") from None


def seccomp(filter: bytes) -> None:
    """Restrict this process, and what it starts, to the calls of a filter.

    Args:
        filter: an array of struct sock_filter.

    Raises:
        MachineError: the kernel refuses it.
    """
    _seccomp(_ffi.NULL, filter)


def _seccomp(vm: Any, filter: bytes) -> None:
    error = -int(_lib.tv_seccomp(vm, _ffi.from_buffer(filter), len(filter)))
    if error:
        raise MachineError("the filter on the monitor (seccomp)", error, "--no-seccomp goes without")
