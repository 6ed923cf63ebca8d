"""A guest as Python sees it: create, run to its end, read what was counted. The only importer of the compiled core.

On the path of every start: no import here that is not needed for it.
"""

from __future__ import annotations

import os
import sys

from torov.errors import LoadError, MachineError, NoKVM
from torov.vmm._core import ffi as _ffi
from torov.vmm._core import lib as _lib
from torov.vmm.stop import EXITED as EXITED
from torov.vmm.stop import KILLED as KILLED
from torov.vmm.stop import SIGNALLED as SIGNALLED
from torov.vmm.stop import Stop as Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

FAILED: int = _lib.TV_FAILED
assert (EXITED, SIGNALLED, KILLED) == (_lib.TV_EXITED, _lib.TV_SIGNALLED, _lib.TV_KILLED)
"""How a guest can end: by exit(2), by a signal, by its policy, because the monitor could not go on."""
DENIED, UNSERVED, GADGET, NO_TIME = _lib.TV_NOTE_DENIED, _lib.TV_NOTE_UNSERVED, _lib.TV_NOTE_GADGET, _lib.TV_NOTE_TIME
LOGGED = _lib.TV_NOTE_LOGGED
"""What a notice reports."""

_ACCESS_ERRORS = (2, 6, 13, 19)  # ENOENT, ENXIO, EACCES, ENODEV


RUNNER = os.path.join(os.path.dirname(__file__), "torov-runner")
"""The program that goes on after a guest's exec(2), and that is pid 1 of a jail."""
CORE = str(sys.modules["torov.vmm._core"].__file__)
"""The compiled core, as every process that runs a guest has it mapped."""
SEALED: int = _lib.TV_F_SEALED
WATCHED: int = _lib.TV_F_WATCHED


def _text(raw: Any) -> str:
    return bytes(_ffi.string(raw)).decode(errors="replace")


def _stop(raw: Any) -> Stop:
    return Stop(raw, _text(raw.text), _text(raw.label), os.fsdecode(_ffi.string(raw.core)))


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


def _helper_environment() -> list[bytes]:
    """This environment without Python's relative places: the helper of exec(2) runs in the guest's working directory."""
    pairs = []
    for name, value in os.environb.items():
        if name == b"PYTHONPATH":
            value = b":".join(place for place in value.split(b":") if place.startswith(b"/"))
        if not name.startswith(b"PYTHON") or name == b"PYTHONPATH":
            pairs.append(name + b"=" + value)
    return pairs


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
        trace: socket of trace_start(); it is taken over. 0 for none.
        shared, limits: descriptor of shared_make(), taken over, 0 for none; and Policy.limits.
        kvm, runner: descriptors of /dev/kvm and torov-runner, for a jail in which they have no path; taken over. 0 for none.
        debug: socket that leads to a debugger (torov.gdb); it is taken over. 0 for none.
        tty: descriptor of the terminal for the action "ask"; it is taken over. 0 for none.
        start: link-time address of the first instruction, in place of the program's entry; 0: the entry.
        core: directory of core files (O_PATH) and the name in it, with %p for the process; or the socket of core_start() and an
            empty name. The descriptor is taken over; 0 for none.
        perf: socket for samples, which is taken over, and how many of a second of CPU time; 0 for none. torov/perf.
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
        trace: int = 0,
        tty: int = 0,
        start: int = 0,
        strict: bytes = b"",
        delegates: Sequence[int] = (),
        kvm: int = 0,
        runner: int = 0,
        shared: int = 0,
        core: tuple[int, str] = (0, ""),
        perf: tuple[int, int] = (0, 0),
        limits: Mapping[str, int] | None = None,
        debug: int = 0,
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
        spec.start, spec.trace_fd = start, trace
        spec.strict, spec.strict_size = (_ffi.from_buffer(strict) if strict else _ffi.NULL), len(strict)
        spec.delegate_fd = [*delegates]
        spec.cache, spec.cache_version, spec.python = text(cache), text(cache_version), text(sys.executable)
        spec.runner = text(RUNNER)
        spec.helper_env = vector(_helper_environment())
        self._stop = _ffi.new("struct tv_stop *")
        spec.kvm_fd, spec.runner_fd, spec.shared_fd, spec.debug_fd = kvm, runner, shared, debug
        spec.core_fd, spec.core_name = core[0], text(core[1])
        spec.perf_fd, spec.perf_hz = perf
        most = limits or {}
        spec.most_memory, spec.most_threads = most.get("memory", 0), most.get("threads", 0)
        spec.file_size, spec.descriptors = most.get("file-size", 0), most.get("descriptors", 0)
        spec.cpu_seconds = (most["cpu"] + 999) // 1000 + 1 if "cpu" in most else 0  # the supervisor comes first
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
                return _stop(self._stop)
            if on_notice is not None:
                on_notice(_stop(self._stop))

    def confine(self, filter: bytes) -> None:
        """Restrict this process to the calls of a filter, now that the guest is about to run; errors as seccomp()."""
        from torov.vmm import confine

        confine.seccomp(filter, self._vm)

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

    def trace_end(self) -> int:
        """Wait until the trace is written. The errno of the first write that failed, or 0."""
        return int(_lib.tv_trace_end(self._vm))

    def close(self) -> None:
        """Give the VM and its memory back. More than once is fine."""
        if self._vm:
            _lib.tv_destroy(self._vm)
            self._vm = _ffi.NULL

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def ahead() -> None:
    """Begin with what takes longest in a jail, its network namespace, beside all else; torov.vmm.confine.jail() then takes it."""
    _lib.tv_jail_ahead()


def ask_terminal(program: bytes) -> int:
    """The terminal on which a policy's action "ask" puts its questions.

    Args:
        program: of a compiled policy.

    Returns:
        A descriptor for Machine(tty=...); 0 if nothing asks, or there is no terminal: the answer is no then.
    """
    if not program or not _lib.tv_policy_asks(_ffi.from_buffer(program)):
        return 0
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return 0


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


def trace_start(options: Mapping[str, int], calls: bytes, file: int, each: str = "") -> int:
    """Start the process that writes a trace.

    Args:
        options: members of struct tv_trace (core/core.h) but for calls; what is not there is 0.
        calls: 64 bytes, a bit for each system call that is shown.
        file: descriptor to write to; the caller closes it. -1 with each.
        each: what the names of files begin with, one for each thread; a dot and its id follow.

    Returns:
        The socket that a Machine takes.

    Raises:
        MachineError: the host refused it.
    """
    raw = _ffi.new("struct tv_trace *", options)
    _ffi.memmove(raw.calls, calls, 64)
    sock = int(_lib.tv_trace_start(raw, file, os.fsencode(each) if each else _ffi.NULL))
    if sock < 0:
        raise MachineError("trace", -sock)
    return sock


def core_start(directory: int, name: str) -> int:
    """Start the process that writes core files for a monitor that may not.

    Args:
        directory: descriptor of where to write (O_PATH is enough); the caller closes it.
        name: of the files, with %p for the process.

    Returns:
        The socket for Machine(core=...).

    Raises:
        MachineError: the host refused it.
    """
    sock = int(_lib.tv_core_start(directory, os.fsencode(name)))
    if sock < 0:
        raise MachineError("core files", -sock)
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


def map_shared(fd: int, size: int) -> memoryview:
    """Map a file for writing; mmap.mmap() would keep a descriptor, which the guest then has.

    Raises:
        MachineError: it cannot be mapped.
    """
    at = _lib.tv_map_shared(fd, size)
    if at == _ffi.NULL:
        raise MachineError("mapping", int(_ffi.errno))
    return memoryview(_ffi.buffer(at, size))


def debug_ask(pid: int, tid: int) -> int:
    """Ask a guest that runs to come to this process's debugger (torov.gdb.attach).

    Args:
        pid, tid: a process of torov, and one of its threads.

    Returns:
        0, or an errno.
    """
    return -int(_lib.tv_debug_ask(pid, tid))
