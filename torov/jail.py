"""The jail around the monitor, and the limits of a whole run: from a policy's words to what the core does.

``plan()`` reads ``Policy.jail`` and ``Policy.limits``; ``Around.enter()`` splits the process in two: the supervisor, in which it
comes back with the end of the guest, and the process that goes on in the jail, in which it comes back with None.

Imported only where there is a policy or ``--jail``; nothing may be imported after ``enter()``: the files are not there any more.
"""

from __future__ import annotations

import os

from torov.errors import MachineError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torov.policy import Policy
    from torov.vmm.machine import Machine
    from torov.vmm.stop import Stop

SPACES = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
"""Namespaces by name: CLONE_NEW* of clone(2)."""

BIND, TMPFS, PROC, DEV = 1, 2, 3, 4
"""Kinds of mounts, as struct tv_mount numbers them."""

NOBODY = 65534
WALL, CPU, OUTPUT = 1, 2, 3
"""Which limit ended the tree (enum tv_limit)."""

_COVERED = ("/tmp", "/var/tmp", "/run", "/sys")
"""What --jail replaces in the host's tree: other programs' sockets and files, and the machine's own."""
_SUPERVISED = ("wall", "cpu", "processes", "output")
"""Limits that one process cannot keep for the tree."""


class Mount:
    """One mount of a jail.

    Fields:
        kind: BIND, TMPFS, PROC or DEV.
        source: what is bound, a path of the host; else an empty string.
        to: absolute path in the jail.
        writable: it may be written.
        size: bytes of a tmpfs; 0 for 64 MiB.
    """

    __slots__ = ("kind", "size", "source", "to", "writable")

    def __init__(self, kind: int, to: str, source: str = "", writable: bool = False, size: int = 0) -> None:
        self.kind, self.to, self.source, self.writable, self.size = kind, to, source, writable, size

    def key(self) -> tuple[int, str, str, bool, int]:
        """All fields."""
        return self.kind, self.to, self.source, self.writable, self.size


class Plan:
    """What enter() makes.

    Fields:
        spaces: names of namespaces, in the order of SPACES; empty: no jail, only limits.
        root: directory that becomes /, or None; fresh_root: an empty tmpfs does.
        root_writable, host_readonly: of the root; of the host's tree, where it stays.
        mounts: in order.
        loopback: the network namespace has its loopback interface up.
        hostname: or None.
        uid, gid: of the program; -1: as they are.
        limits: as Policy.limits.
    """

    __slots__ = ("fresh_root", "gid", "host_readonly", "hostname", "limits", "loopback", "mounts", "root", "root_writable",
                 "spaces", "uid")  # fmt: skip

    def __init__(self) -> None:
        self.spaces: tuple[str, ...] = ()
        self.root: str | None = None
        self.fresh_root = self.root_writable = self.host_readonly = self.loopback = False
        self.mounts: list[Mount] = []
        self.hostname: str | None = None
        self.uid = self.gid = -1
        self.limits: Mapping[str, int] = {}

    @property
    def supervised(self) -> bool:
        """Whether it takes a process of its own."""
        return bool(self.spaces) or any(name in self.limits for name in _SUPERVISED)

    @property
    def namespaces(self) -> int:
        """The namespaces as one number."""
        return sum(SPACES[name] for name in self.spaces)


def plan(jail: Mapping[str, object] | None, limits: Mapping[str, int] | None, wanted: bool = False) -> Plan | None:
    """What a policy's jail and limits ask for.

    Args:
        jail: Policy.jail; None: no jail, unless wanted.
        limits: Policy.limits.
        wanted: --jail was given: where the policy says no more, the host's tree, read-only; no network, all namespaces, nobody.

    Returns:
        The plan, or None where nothing is asked for.

    Raises:
        UsageError: it contradicts itself.
    """
    made = Plan()
    made.limits = dict(limits or {})
    if jail is None and not wanted:
        return made if made.limits else None
    words: Mapping[str, object] = jail or {}
    listed = set() if wanted else set(_names(words.get("namespaces")))
    spaces = listed or set(SPACES)
    network = words.get("network") or ("none" if "net" in spaces else "host")
    if network == "host" and (wanted or "net" in listed):  # the stricter word holds: without any, a policy has "host"
        network = "none"
    spaces = (spaces - {"net"}) | ({"net"} if network != "host" else set())
    made.loopback = network == "loopback"
    made.root = _text(words.get("root"))
    made.root_writable = made.root is not None
    mounts = _mounts(words.get("mounts"), made)
    if made.root or made.fresh_root or mounts:
        spaces |= {"mount"}
    if made.root or made.fresh_root:
        spaces |= {"pid"}  # or there is no /proc to give it
    made.hostname = _text(words.get("hostname"))
    if made.hostname:
        spaces |= {"uts"}
    if "mount" in spaces:
        made.mounts = [*_given(made, wanted), *mounts]
        if "pid" in spaces:
            _add_proc(made)
        elif any(mount.kind == PROC for mount in made.mounts):
            raise UsageError('a mount of "proc" needs the pid namespace: add "pid" to "namespaces"')
    made.uid, made.gid = _number(words.get("uid")), _number(words.get("gid"))
    if os.geteuid() != 0:
        spaces |= {"user"}
    elif wanted and made.uid < 0 and _mapped(NOBODY):
        made.uid = made.gid = NOBODY
    made.spaces = tuple(name for name in SPACES if name in spaces)
    return made


def _mapped(uid: int) -> bool:
    """Whether the user namespace that this process is in already has a user of that number."""
    with open("/proc/self/uid_map") as lines:
        return any(int(first) <= uid < int(first) + int(count) for first, _, count in map(str.split, lines))


def _names(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []


def _text(value: object) -> str | None:
    return str(value) if value is not None else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1


def _mounts(value: object, made: Plan) -> list[Mount]:
    """Policy.jail["mounts"]; one on "/" says what the root is."""
    found: list[Mount] = []
    for item in value if isinstance(value, (list, tuple)) else ():
        if "bind" in item:
            source = os.path.abspath(str(item["bind"]))
            mount = Mount(BIND, str(item.get("to") or source), source, item.get("mode", "ro") == "rw")
        elif "tmpfs" in item:
            mount = Mount(TMPFS, str(item["tmpfs"]), "", item.get("mode", "rw") == "rw", int(item.get("size") or 0))
        else:
            mount = Mount(PROC, str(item["proc"]))
        if not mount.to.startswith("/"):
            raise UsageError(f"mount on {mount.to}: expected an absolute path in the jail")
        mount.to = os.path.normpath(mount.to)
        if mount.to in ("/", "//"):
            if made.root or made.fresh_root or found or mount.kind == PROC:
                raise UsageError('a mount on "/" is the root: it comes first, as "bind" or "tmpfs", and without "root"')
            made.root, made.fresh_root, made.root_writable = mount.source or None, mount.kind == TMPFS, mount.writable
            continue
        found.append(mount)
    return found


def _given(made: Plan, bare: bool) -> list[Mount]:
    """The mounts that nobody has to ask for."""
    if made.fresh_root or (made.root and os.path.isdir(f"{made.root}/dev")):
        return [Mount(DEV, "/dev")]
    if made.root or not bare:
        return []
    made.host_readonly = True
    covered = [path for path in _COVERED if os.path.isdir(path) and not os.path.islink(path)]
    return [Mount(DEV, "/dev"), *(Mount(TMPFS, path, "", path != "/sys", 1 << 16 if path == "/sys" else 0) for path in covered)]


def _add_proc(made: Plan) -> None:
    """The monitor asks /proc/self what a descriptor is; with a pid namespace it shows the jail's processes only."""
    if any(mount.kind == PROC and mount.to == "/proc" for mount in made.mounts):
        return
    if made.fresh_root or os.path.isdir(f"{made.root or ''}/proc"):
        made.mounts.insert(0, Mount(PROC, "/proc"))


_ADVICE = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows it"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000 allows it"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
     "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile of AppArmor with userns, allows it"),
)  # fmt: skip
"""A setting that forbids user namespaces, its value then, and what to do."""


def advice() -> str:
    """What keeps users from namespaces on this machine, as far as the kernel's settings tell; an empty string if nothing does."""
    for path, value, text in _ADVICE:
        try:
            with open(path) as file:
                if file.read().strip() == value:
                    return text
        except OSError:
            continue
    return ""


_STATIC = "a root of its own takes a static torov-runner: install a static C library (libc6-dev, glibc-static), then torov again"


class Around:
    """All that stands around the monitor of one run: a jail or limits, and the filters on its calls.

    Args:
        policy: of the run, or None for the built-in one.
        wanted: --jail was given.
        filtered: --no-seccomp was not.
        has: what the run has besides, as torov.seccomp.load().

    Fields:
        closed: nothing can be imported once enter() has returned.
        image, loader, held, shared, flags: what Machine takes after enter(); None and nothing where that changes nothing.

    Raises:
        UsageError, MachineError: as plan() and torov.seccomp.load().
    """

    __slots__ = ("_dynamic", "_filters", "_policy", "_rules", "closed", "flags", "held", "image", "loader", "plan", "shared")

    def __init__(self, policy: Policy | None, wanted: bool, filtered: bool, has: tuple[str, ...] = ()) -> None:
        from torov import kept
        from torov.prepare import interpreter_of
        from torov.vmm.machine import RUNNER

        self._policy = policy
        self.plan = plan(policy.jail if policy else None, policy.limits if policy else None, wanted)
        self._filters: dict[str, bytes] = {}
        self._dynamic = interpreter_of(RUNNER) is not None  # there was no static C library to make it with
        if self._dynamic and self.plan is not None and (self.plan.root or self.plan.fresh_root):
            raise MachineError("jail", 0, _STATIC)
        self._rules = kept.rules(policy) if policy else None
        if filtered:
            self._filters = kept.filters(policy or kept.builtin(), has, self._dynamic)
        self.closed = bool(self._filters) or self._rules is not None or (self.plan is not None and self.plan.supervised)
        self.image: int | None = None
        self.loader: int | None = None
        self.held: dict[str, int] = {}
        self.flags = self.shared = 0

    @property
    def limits(self) -> Mapping[str, int]:
        """What each process of the guest keeps for itself."""
        return self.plan.limits if self.plan else {}

    def enter(self, image: str, loader: str | None, more: Sequence[int] = ()) -> tuple[str, Callable[[], int]] | None:
        """Go into the jail, and under the first filter.

        Args:
            image, loader: image files of the program.
            more: descriptors above 2 that go along.

        Returns:
            None in the process that goes on. In its supervisor, when all is over: what to tell the user, or an empty string; and
            what gives the exit status after that, unless it ends this process by the signal that ended the guest's.

        Raises:
            MachineError: the kernel refuses something; says what would allow it. Nothing is left then.
        """
        if not self.closed:
            return None
        import errno  # noqa: F401  # what messages take later

        import torov.loader.cachedir  # noqa: F401
        from torov.vmm import confine, machine

        self.image = _open(image, os.O_RDONLY)
        self.loader = _open(loader, os.O_RDONLY) if loader is not None else None
        limits = self.limits
        if "output" in limits or "processes" in limits:
            self.shared = confine.shared_make(limits.get("output", 0), limits.get("processes", 0))
        self.held = {"kvm": confine.open_kvm(), "runner": _open(machine.RUNNER, os.O_PATH)}
        self.flags = machine.SEALED
        if self.plan is not None and self.plan.supervised:
            keep = [*more, self.image, *self.held.values(), self.shared, *([] if self.loader is None else [self.loader])]
            end = _split(self.plan, keep, self.held["runner"], self.shared)
            self.flags |= machine.WATCHED
            if end is not None:
                return self._told(end), lambda: _end(end)
        self._restrict()
        if self._filters:
            confine.seccomp(self._filters["start"])
        return None

    def _restrict(self) -> None:
        """Landlock, in layers: what the policy comes to, what the mounts come to; a kernel without it is no error."""
        from torov import kept
        from torov.vmm import confine

        runner = self.held["runner"]
        executes = ~kept.EXECUTE if self._dynamic else -1  # its interpreter is executed, too
        if self._rules is not None:
            rules = self._rules
            own: list[tuple[str | bytes | int, int]] = [*rules.paths, *kept.places(rules), (runner, kept.runner_rights(rules))]
            confine.landlock(rules.fs & executes, own, rules.net, rules.ports, 0)
        if self.plan is not None and not self.plan.spaces and self.plan.supervised:
            confine.landlock(0, [], 0, [], kept.SIGNALS)  # its supervisor is not the guest's to end
        elif self.plan is not None and self.plan.spaces:
            mounted = kept.of_mounts(self.plan) or kept.Rules()
            paths: list[tuple[str | bytes | int, int]] = [*mounted.paths, (runner, kept.EXECUTE)]
            confine.landlock((mounted.fs | kept.EXECUTE) & executes, paths, 0, [], kept.SCOPED)

    def seal(self, guest: Machine) -> None:
        """Go under the second filter: the guest is about to run."""
        if self._filters:
            guest.confine(self._filters["run"])

    def _told(self, end: Stop) -> str:
        if end.note and self.plan:
            return f"{limit_line(self.plan, end.note)} ({self._policy.source if self._policy else 'built-in'} limits)"
        if end.signal == 31:  # SIGSYS
            return "killed: the monitor made a system call that its own filter does not allow"
        return ""


def _open(path: str, flags: int) -> int:
    """A descriptor above standard error, which the program may have closed."""
    low = []
    while (fd := os.open(path, flags | os.O_CLOEXEC)) <= 2:
        low.append(fd)
    for unwanted in low:
        os.close(unwanted)
    return fd


def _split(made: Plan, keep: Sequence[int], runner: int, shared: int) -> Stop | None:
    from torov.vmm import confine

    try:
        return confine.jail(made, keep, runner, shared)
    except MachineError as error:
        if error.what.startswith("proc on"):
            why = "this container's own /proc is covered in part, and the kernel gives no other"
        else:
            why = advice() or "namespaces(7): a container or an older kernel may forbid them"
        raise MachineError(f"jail: {error.what}", error.errno, why) from None


def limit_line(made: Plan, note: int) -> str:
    """What a user reads when a limit ended the program: ``wall time limit of 2s``."""
    name, what = {WALL: ("wall", "wall time limit"), CPU: ("cpu", "CPU time limit"), OUTPUT: ("output", "output limit")}[note]
    value = made.limits[name]
    return f"{what} of {value / 1000:g}s" if name != "output" else f"{what} of {value} bytes"


def _end(stop: Stop) -> int:
    """The exit status of a supervisor; a signal that ended the guest's process ends this one, so that wait(2) tells it."""
    if not stop.signal or stop.note:
        return stop.exit_status
    import signal

    if stop.signal not in (signal.SIGKILL, signal.SIGSTOP):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the core is the guest's
        signal.signal(stop.signal, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [stop.signal])
    os.kill(os.getpid(), stop.signal)
    return stop.exit_status
