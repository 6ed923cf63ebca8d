"""What stands around the machine: the processes of a jail, the filters on the monitor, what processes share about limits."""

from __future__ import annotations

import os

from torov.errors import MachineError, NoKVM
from torov.vmm._core import ffi as _ffi
from torov.vmm._core import lib as _lib
from torov.vmm.machine import _check
from torov.vmm.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torov.jail import Plan


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
    low = []
    try:
        while (fd := os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)) <= 2:  # above standard error, which may be closed
            low.append(fd)
    except OSError as error:
        raise NoKVM("/dev/kvm", error.errno or 0, "run `torov doctor` to see what is missing") from None
    finally:
        for unwanted in low:
            os.close(unwanted)
    return fd


def seccomp(filter: bytes, machine: Any = None) -> None:
    """Restrict this process, and what it starts, to the calls of a filter.

    Args:
        filter: an array of struct sock_filter.
        machine: the core's struct tv_vm that is about to run, if any: what it takes to show itself in /proc is done before.

    Raises:
        MachineError: the kernel refuses it.
    """
    error = -int(_lib.tv_seccomp(_ffi.NULL if machine is None else machine, _ffi.from_buffer(filter), len(filter)))
    if error:
        raise MachineError("the filter on the monitor (seccomp)", error, "--no-seccomp goes without")


def shared_make(output: int, processes: int) -> int:
    """A descriptor for what the processes of a guest share about their limits.

    Args:
        output: bytes that they may write; 0 for any.
        processes: how many may live at once; 0 for any.

    Raises:
        MachineError: the kernel refuses it.
    """
    fd = int(_lib.tv_shared_make(output, processes))
    if fd < 0:
        raise MachineError("memfd_create for limits", -fd)
    return fd


def landlock(
    fs: int, paths: Sequence[tuple[str | bytes | int, int]], net: int, ports: Sequence[tuple[int, int]], scoped: int
) -> int:
    """Restrict this process, and what it starts, by a ruleset of Landlock; arguments as in torov.kept.Rules.

    Args:
        paths: paths, or descriptors, with rights; text: links are followed, and where nothing is there nothing is asked for.

    Returns:
        The version of the kernel's Landlock; 0 if it has none.

    Raises:
        MachineError: the kernel refuses it.
    """
    alive: list[Any] = []
    spec = _ffi.new("struct tv_landlock *")
    beneath, open_ports = _ffi.new("struct tv_beneath[]", len(paths) or 1), _ffi.new("struct tv_port[]", len(ports) or 1)
    for raw, (place, rights) in zip(beneath, paths, strict=False):
        raw.access = rights
        if isinstance(place, int):
            raw.fd = place
        else:
            alive.append(_ffi.new("char[]", os.fsencode(place)))
            raw.path, raw.follow = alive[-1], isinstance(place, str)
    for raw, (port, rights) in zip(open_ports, ports, strict=False):
        raw.port, raw.access = port, rights
    spec.fs, spec.net, spec.scoped = fs, net, scoped
    spec.paths, spec.npaths, spec.ports, spec.nports = beneath, len(paths), open_ports, len(ports)
    abi = int(_lib.tv_landlock(spec))
    if abi < 0:
        raise MachineError("the rules of Landlock", -abi)
    return abi


def landlock_abi() -> int:
    """The version of the kernel's Landlock; 0 if it has none."""
    return int(_lib.tv_landlock_abi())
