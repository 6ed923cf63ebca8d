"""What a program was seen to do: read from the lines of an audit log, and from a policy that was learned before.

Only what a policy can ask for is kept: the numbers of arguments that have names, resolved paths, socket addresses.
"""

from __future__ import annotations

import re

from torov.callshape import Call
from torov.policy import args
from torov.policy.general import literal, quote
from torov.syscalls import by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MARK = "learned by torov policy learn"
RULE = "learned: "
_COUNT = re.compile(r"from (\d+) runs?.*?: (\d+) calls")

ARGUMENTS = {
    "arch_prctl": "code", "clone": "flags", "fcntl": "cmd", "ioctl": "request", "kill": "sig", "personality": "persona",
    "prctl": "option", "sched_setscheduler": "policy", "tgkill": "sig", "tkill": "sig",
}  # fmt: skip
"""Calls of which one argument says what they do."""
SOCKETS = ("socket", "socketpair")
OPTIONS = ("getsockopt", "setsockopt")
MEMORY = ("mmap", "mprotect")
OPENS = ("open", "openat", "creat")
_LOOKS = (
    "stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getxattr lgetxattr listxattr llistxattr statfs "
    "chdir inotify_add_watch"
)
LOOKS = frozenset(_LOOKS.split())
KINDS = ("read", "write", "execute", "look", "change", "open with openat2")
"""What is done with a path; a rule each."""

PROT_WRITE, PROT_EXEC, MAP_ANONYMOUS = 2, 4, 0x20
_NO_READ = 0o3 | 0o100 | 0o1000  # O_ACCMODE | O_CREAT | O_TRUNC
SOCK_TYPE = 0xF
_AT_EMPTY_PATH = 0x1000
_O_EXCL = 0o300  # O_CREAT | O_EXCL
_LONGEST = 600  # bytes; the core cuts a path after 700, and shows that by three dots

Peer = tuple[str, str, int]
"""Family; IP address, network, or pattern of a socket's path; port, -1 for all."""


class Paths:
    """What was done with paths in one way.

    Fields:
        calls: names.
        exact: paths.
        wide: patterns of a policy that match more than one path.
        nulls: call and argument where NULL stood for the path.
    """

    __slots__ = ("calls", "exact", "nulls", "wide")

    def __init__(self) -> None:
        self.calls: set[str] = set()
        self.exact: set[str] = set()
        self.wide: set[str] = set()
        self.nulls: set[tuple[str, str]] = set()


class Facts:
    """All that is known of a program.

    Fields:
        runs, lines: how many runs, and how many calls with different arguments they made.
        calls: names of those that no condition is kept for.
        numbers: call to the values of its argument of ARGUMENTS.
        sockets: (call, family) to types.
        options: (call, level) to options.
        code: call to what was seen with PROT_EXEC: "write" where PROT_WRITE stood with it, "anonymous" without a file.
        paths: by kind.
        peers: call to addresses.
        drawn: paths that were created as no file before was (O_EXCL).
    """

    def __init__(self) -> None:
        self.runs, self.lines = 0, 0
        self.calls: set[str] = set()
        self.numbers: dict[str, set[int]] = {}
        self.sockets: dict[tuple[str, int], set[int]] = {}
        self.options: dict[tuple[str, int], set[int]] = {}
        self.code: dict[str, set[str]] = {}
        self.paths = {kind: Paths() for kind in KINDS}
        self.peers: dict[str, set[Peer]] = {}
        self.drawn: set[str] = set()

    def add_run(self, lines: Iterable[dict[str, Any]]) -> None:
        """Add what one run did.

        Args:
            lines: of its audit log (docs/policy.md); those of other actions than ``learn`` are left out.
        """
        self.runs += 1
        for line in lines:
            call = by_name(str(line.get("call", "")))
            values = line.get("args")
            if line.get("action") == "learn" and call is not None and isinstance(values, list):
                self.lines += 1
                self._add(call, [int(value) for value in values], line)

    def _add(self, call: Call, values: list[int], line: dict[str, Any]) -> None:
        def value(name: str) -> int:
            at = next(at for at, arg in enumerate(call.args) if arg.name == name)
            return values[at] & 0xFFFFFFFF if at < len(values) else 0

        name = call.name
        if name in MEMORY:
            self._memory(name, value("prot"), value("flags") if name == "mmap" else MAP_ANONYMOUS)
        elif name in ARGUMENTS:
            self.numbers.setdefault(name, set()).add(value(ARGUMENTS[name]))
        elif name in SOCKETS:
            self.sockets.setdefault((name, value("domain")), set()).add(value("type") & SOCK_TYPE)
        elif name in OPTIONS:
            self.options.setdefault((name, value("level")), set()).add(value("optname"))
        elif name in args.ADDRESSES:
            self.peers.setdefault(name, set()).add(peer(line.get("address")))
        elif args.paths(call):
            self._path(call, values, [_text(str(path)) for path in line.get("paths", ())])
        else:
            self.calls.add(name)

    def _memory(self, name: str, prot: int, flags: int) -> None:
        if prot & PROT_EXEC:
            seen = self.code.setdefault(name, set())
            seen |= {"write"} if prot & PROT_WRITE else set()
            seen |= {"anonymous"} if name == "mmap" and flags & MAP_ANONYMOUS else set()

    def _path(self, call: Call, values: list[int], paths: list[str]) -> None:
        kept = self.paths[kind_of(call, values)]
        exact = {path for path in paths if path.startswith("/")}
        registers = args.paths(call)
        if not exact and len(registers) == 1 and registers[0] < len(values) and not values[registers[0]]:
            by_fd = any(arg.name == "flags" and values[at] & _AT_EMPTY_PATH for at, arg in enumerate(call.args[: len(values)]))
            if not by_fd:
                kept.nulls.add((call.name, call.args[registers[0]].name))
                return
        kept.calls.add(call.name)
        cut = {path for path in exact if len(path) > _LONGEST and path.endswith("...")}
        kept.exact |= exact - cut
        if call.name in OPENS and any(
            arg.name == "flags" and values[at] & _O_EXCL == _O_EXCL for at, arg in enumerate(call.args)
        ):
            self.drawn |= exact
        kept.wide |= {f"{quote(path.rpartition('/')[0])}/**" for path in cut}


def kind_of(call: Call, values: list[int]) -> str:
    """What a call does with its paths: one of KINDS."""
    if call.name in OPENS:
        at = next((at for at, arg in enumerate(call.args) if arg.name == "flags"), None)
        return "read" if at is not None and at < len(values) and not values[at] & _NO_READ else "write"
    if call.name in ("execve", "execveat"):
        return "execute"
    if call.name == "openat2":
        return "open with openat2"
    return "look" if call.name in LOOKS else "change"


def peer(address: object) -> Peer:
    """The address of an audit line; ``unspec`` where the call gave none."""
    if not isinstance(address, dict):
        return ("unspec", "", -1)
    family = str(address.get("family", "unspec"))
    if family in ("inet", "inet6"):
        return (family, str(address.get("ip", "")), int(address.get("port", -1)))
    return (family, quote(_text(str(address.get("path", "")))), -1)


def _text(logged: str) -> str:
    """A path of an audit line, whose characters are bytes, as Python and policies have it."""
    try:
        return logged.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return logged


def merge(facts: Facts, patterns: list[str], kind: str, calls: Iterable[str]) -> None:
    """Add the paths of a rule that was learned before.

    Args:
        facts: to add to.
        patterns: the rule's.
        kind: of KINDS.
        calls: the rule's calls.
    """
    kept = facts.paths[kind]
    kept.calls.update(calls)
    for pattern in patterns:
        exact = literal(pattern)
        if exact is None:
            kept.wide.add(pattern)
        else:
            kept.exact.add(exact)


def counts(comment: object) -> tuple[int, int] | None:
    """Runs and calls that the comment of a learned policy tells; None if the policy was not learned."""
    if not isinstance(comment, str) or not comment.startswith(MARK):
        return None
    made = _COUNT.search(comment)
    return (int(made[1]), int(made[2])) if made else (0, 0)
