"""What is made from a policy once and kept with it: filters (seccomp.py) and rules of Landlock (landlock.py).

On the path of each start with a policy: found here without importing what makes it, which takes 2 ms.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.jail import Plan
    from torov.policy import Policy

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE = (1 << bit for bit in range(6, 15))
"""Rights of Landlock on files: LANDLOCK_ACCESS_FS_*."""
BIND_TCP, CONNECT_TCP = 1, 2
SIGNALS, SCOPED = 2, 3  # LANDLOCK_SCOPE_*: signals; abstract Unix sockets, too

MAKE = MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
WRITING = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE | REFER | TRUNCATE
ALL = EXECUTE | READ_FILE | READ_DIR | WRITING
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE

_INTERPRETERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1")
PROC, CACHE, INTERP, RUNNER = "proc", "cache", "interpreter", "runner"

_HERE = os.path.dirname(os.path.abspath(__file__))


def key(kind: str) -> str:
    """The name under which something is kept; it changes with the module that makes it.

    Args:
        kind: ``seccomp`` or ``landlock``, the module.
    """
    return f"{kind}-{os.stat(f'{_HERE}/{kind}.py').st_mtime_ns:x}"


def builtin() -> Policy:
    """The built-in policy, kept as one from a file is, for the sake of its filters."""
    from torov import policy
    from torov.policy import record

    name = record.key_of(policy.BUILTIN, key("seccomp").encode(), None)
    known = record.find(name)
    if known is not None:
        return policy.Policy(known, name)
    made = policy.builtin()
    made._key = name
    return made


def filters_key(has: tuple[str, ...], dynamic: bool) -> str:
    """The name under which filters are kept; arguments as torov.seccomp.load()."""
    return f"{key('seccomp')}{''.join(f'-{name}' for name in has)}{'-loader' * dynamic}"


def filters(policy: Policy, has: tuple[str, ...], dynamic: bool) -> dict[str, bytes]:
    """The filters on the monitor, "start" and "run"; arguments and errors as torov.seccomp.load()."""
    name = filters_key(has, dynamic)
    start, run = policy.extra.get(f"{name}-start"), policy.extra.get(f"{name}-run")
    if start is not None and run is not None:
        return {"start": start, "run": run}
    from torov import seccomp

    return seccomp.load(policy, has, dynamic)


class Rules:
    """What one ruleset holds.

    Fields:
        fs: rights that it handles: what no path of ``paths`` has is denied.
        paths: paths and their rights.
        net: rights on TCP ports that it handles.
        ports: ports and their rights.
        own: what the monitor needs besides, by name, with rights.
        scoped: scopes.
    """

    __slots__ = ("fs", "net", "own", "paths", "ports", "scoped")

    def __init__(self) -> None:
        self.fs = self.net = self.scoped = 0
        self.paths: list[tuple[bytes, int]] = []
        self.ports: list[tuple[int, int]] = []
        self.own: list[tuple[str, int]] = []

    def packed(self) -> bytes:
        """As bytes, to be kept."""
        return marshal.dumps((self.fs, self.paths, self.net, self.ports, self.own, self.scoped))

    @classmethod
    def of(cls, data: bytes) -> Rules:
        """What packed() gave."""
        made = cls()
        made.fs, made.paths, made.net, made.ports, made.own, made.scoped = marshal.loads(data)
        return made


def rules(policy: Policy) -> Rules:
    """The rules of Landlock of a policy: kept ones, or new ones."""
    name = key("landlock")
    found = policy.extra.get(name)
    if found is None:
        from torov.landlock import derived

        found = derived(policy.actions, policy.program).packed()
        policy.keep(name, found)
    return Rules.of(found)


def of_mounts(plan: Plan) -> Rules | None:
    """The rules that the mounts of a jail come to: what is read-only stays so. None if all may be written."""
    if "mount" not in plan.spaces or plan.root_writable or not (plan.root or plan.fresh_root or plan.host_readonly):
        return None
    made = Rules()
    made.fs = WRITING
    for mount in plan.mounts:
        path = os.fsencode(mount.to)
        if mount.kind == 3:  # proc: names of threads and the like
            made.paths.append((path, WRITE_FILE | TRUNCATE))
        elif mount.kind == 4:
            made.paths += [(path, WRITE_FILE | TRUNCATE), (path + b"/shm", WRITING)]
        elif mount.writable:
            made.paths.append((path, WRITING))
    return made


def places(rules: Rules) -> list[tuple[str, int]]:
    """The paths of the monitor's own needs, which may lead on and need not be there."""
    found: list[tuple[str, int]] = []
    for name, rights in rules.own:
        if name == PROC:
            found.append(("/proc", rights))
        elif name == CACHE:
            from torov.loader import cachedir

            cache = cachedir.location()
            found += [(cache, rights)] if cache else []
        elif name == INTERP:
            found += [(path, rights) for path in _INTERPRETERS]
    return found


def runner_rights(rules: Rules) -> int:
    """What the monitor may do with its runner."""
    return next((rights for name, rights in rules.own if name == RUNNER), 0)
