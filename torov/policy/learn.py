"""Policies that are learned: from facts to rules, and from the rules of a learned policy back to facts.

Each rule carries a comment that starts with ``learned:``. Where a policy is learned again, these rules are made anew from what
is known of both; everything else in the file, rules of one's own too, stays as it is.
"""

from __future__ import annotations

import json

from torov import constants
from torov.errors import PolicyError
from torov.policy import facts as seen
from torov.policy import general
from torov.policy.facts import Facts, Peer
from torov.syscalls import by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rule = dict[str, Any]

_ALWAYS = (
    "brk clock_getres clock_gettime clock_nanosleep close dup dup2 dup3 exit exit_group fstat futex getcpu getegid geteuid "
    "getgid getpid getppid getrandom gettid gettimeofday getuid lseek madvise membarrier mremap munmap nanosleep poll ppoll "
    "read readv restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "sched_getaffinity sched_yield set_robust_list set_tid_address sigaltstack time write writev"
)
"""What concerns a program's own memory, signals, time, and descriptors that it has: one run needs more of these than another."""
_TERMINAL = ("FIONREAD", "TCGETS", "TIOCGWINSZ")
_DESCRIPTORS = ("F_DUPFD", "F_DUPFD_CLOEXEC", "F_GETFD", "F_GETFL", "F_SETFD", "F_SETFL")
_NOT_EXEC = {"arg": "prot", "is": 0, "mask": "PROT_EXEC"}
_READING = {"arg": "flags", "is": "O_RDONLY", "mask": "O_ACCMODE|O_CREAT|O_TRUNC"}


def document(found: Facts, program: str, old: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write a policy.

    Args:
        found: what the program did.
        program: its name, for the comment.
        old: the document that was learned before, whose own rules are kept.

    Returns:
        a document in our form that allows what was found, and denies the rest.
    """
    runs = f"{found.runs} run{'s' if found.runs != 1 else ''}"
    comment = f"{seen.MARK} from {runs} of {program}: {found.lines} calls with different arguments"
    own = [rule for rule in (old or {}).get("rules", []) if _kind(rule) is None]
    rules = [
        *own,
        *_fixed(),
        *_errors(found),
        *_code(found),
        *_plain(found),
        *_numbers(found),
        *_sockets(found),
        *_paths(found),
        *_peers(found),
    ]
    more = {key: value for key, value in (old or {}).items() if key not in ("torov", "comment", "rules")}
    return {"torov": 1, "comment": comment, "default": "deny", **more, "rules": rules}


def read(file: str, document: object) -> Facts:
    """Read the facts of a policy that was learned.

    Args:
        file: its name, for errors.
        document: what json.loads() made of it.

    Raises:
        PolicyError: it was not learned, or its learned rules were changed so that they cannot be read.
    """
    kept = seen.counts(document.get("comment")) if isinstance(document, dict) else None
    if not isinstance(document, dict) or kept is None:
        raise PolicyError(file, "comment", f"a policy that starts with {seen.MARK!r}", "another policy: give -o another name")
    found = Facts()
    found.runs, found.lines = kept
    for number, rule in enumerate(document.get("rules", [])):
        kind = _kind(rule)
        if kind is None:
            continue
        try:
            _read_rule(found, kind, rule)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise PolicyError(file, f"rules[{number}]", "a learned rule as it was written",
                              "a changed one: take 'learned:' out of its comment to keep it as your own") from None  # fmt: skip
    return found


def _kind(rule: object) -> str | None:
    """What a learned rule is about; None for a rule that somebody wrote."""
    comment = rule.get("comment") if isinstance(rule, dict) else None
    if not isinstance(comment, str) or not comment.startswith(seen.RULE):
        return None
    return comment[len(seen.RULE) :].partition(":")[0]


def _rule(kind: str, calls: list[str], where: list[dict[str, Any]], more: str = "") -> Rule:
    comment = f"{seen.RULE}{kind}{': ' if more else ''}{more}"
    return {"calls": calls, **({"where": where} if where else {}), "action": "allow", "comment": comment}


def _fixed() -> list[Rule]:
    """What every program may do."""
    return [
        _rule("always", _ALWAYS.split(), [], "its own memory, signals, time and descriptors"),
        _rule("memory", list(seen.MEMORY), [_NOT_EXEC], "that is not executed"),
        _rule("descriptors", ["fcntl"], [{"arg": "cmd", "is": list(_DESCRIPTORS)}], "their copies and flags"),
        _rule("terminal", ["ioctl"], [{"arg": "request", "is": list(_TERMINAL)}], "whether a descriptor is one"),
    ]


_FIXED = ("always", "memory", "descriptors", "terminal", "errors of sockets")


def _errors(found: Facts) -> list[Rule]:
    """How a connection went: a fast host answers before anybody asks."""
    where: list[dict[str, Any]] = [{"arg": "level", "is": "SOL_SOCKET"}, {"arg": "optname", "is": ["SO_ERROR", "SO_TYPE"]}]
    return [_rule("errors of sockets", ["getsockopt"], where)] if found.sockets else []


def _code(found: Facts) -> list[Rule]:
    rules = []
    for call, how in sorted(found.code.items()):
        where: list[dict[str, Any]] = [] if "write" in how else [{"arg": "prot", "is": 0, "mask": "PROT_WRITE"}]
        if call == "mmap" and "anonymous" not in how:
            where.append({"arg": "flags", "is": 0, "mask": "MAP_ANONYMOUS"})
        rules.append(_rule(f"code by {call}", [call], where))
    return rules


def _plain(found: Facts) -> list[Rule]:
    calls = sorted(found.calls - set(_ALWAYS.split()))
    return [_rule("calls", calls, [], str(len(calls)))] if calls else []


def _numbers(found: Facts) -> list[Rule]:
    rules = []
    for call, values in sorted(found.numbers.items()):
        arg = seen.ARGUMENTS[call]
        names = [
            name for name in (_name(call, arg, value) for value in sorted(values)) if name not in (*_TERMINAL, *_DESCRIPTORS)
        ]
        if names:
            rules.append(_rule(call, [call], [{"arg": arg, "is": names}], f"{len(names)} of {arg}"))
    for (call, level), values in sorted(found.options.items()):
        names = [_option(level, value) for value in sorted(values)]
        where: list[dict[str, Any]] = [{"arg": "level", "is": _name(call, "level", level)}, {"arg": "optname", "is": names}]
        rules.append(_rule(f"{call} {level}", [call], where, f"{len(values)} of optname"))
    return rules


def _sockets(found: Facts) -> list[Rule]:
    rules = []
    for (call, family), types in sorted(found.sockets.items()):
        names = [_name(call, "type", value) for value in sorted(types)]
        where: list[dict[str, Any]] = [
            {"arg": "domain", "is": _name(call, "domain", family)},
            {"arg": "type", "is": names, "mask": seen.SOCK_TYPE},
        ]
        rules.append(_rule(f"{call} {family}", [call], where, "its families and types"))
    return rules


def _paths(found: Facts) -> list[Rule]:
    rules = []
    for kind, kept in found.paths.items():
        matched = _unmatched(kept.exact, kept.wide)
        patterns = sorted(
            general.without_covered(set(general.patterns(matched, kind == "look", frozenset(found.drawn))) | kept.wide)
        )
        if kept.calls:  # of a descriptor under an empty path every pattern holds
            where = ([_READING] if kind == "read" else []) + [{"path": patterns or ["/"]}]
            more = f"{len(kept.exact)} paths in {len(patterns)} patterns"
            rules.append(_rule(kind, sorted(kept.calls), where, more))
        for call, arg in sorted(kept.nulls):
            rules.append(_rule(f"{kind} without {arg}", [call], [{"arg": arg, "is": 0}], "of a descriptor"))
    return rules


def _unmatched(paths: set[str], wide: set[str]) -> set[str]:
    from torov.policy.pattern import expand, matches

    made = [pattern for text in wide for pattern in expand(text, anywhere=True)]
    return {path for path in paths if not any(matches(pattern, path.encode("utf-8", "surrogateescape")) for pattern in made)}


def _peers(found: Facts) -> list[Rule]:
    rules = []
    for call, peers in sorted(found.peers.items()):
        addresses = _addresses(peers)
        rules.append(_rule(f"{call} to", [call], [{"address": addresses}], f"{len(peers)} addresses"))
    return rules


def _addresses(peers: set[Peer]) -> list[dict[str, Any]]:
    """Addresses by family: networks that have the same ports together."""
    found: list[dict[str, Any]] = []
    by_network: dict[tuple[str, str], set[int]] = {}
    sockets: set[str] = set()
    for family, where, port in sorted(peers):
        if family in ("inet", "inet6"):
            net = where if "/" in where or not where else general.network(where) or ""
            by_network.setdefault((family, net), set()).add(port)
        elif family == "unix" and where:
            sockets.add(where)
        else:
            found.append({"family": int(family) if family.isdigit() else family})
    together: dict[tuple[str, str], list[str]] = {}
    for (family, net), ports in sorted(by_network.items()):
        chosen = json.dumps([-1] if -1 in ports else general.ports(ports))
        together.setdefault((family, chosen), []).append(net)
    for (family, chosen), nets in together.items():
        for port in json.loads(chosen):
            entry: dict[str, Any] = {"family": family}
            entry |= {"network": nets} if "" not in nets else {}
            entry |= {"port": port} if port != -1 else {}
            found.append(entry)
    if sockets:
        found.append({"family": "unix", "path": sorted(_socket_paths(sockets))})
    return found


def _socket_paths(texts: set[str]) -> set[str]:
    """Patterns for the patterns of sockets' paths: those of single files are widened as other files."""
    files = {path for text in texts if (path := general.literal(text)) is not None and path.startswith("/")}
    return set(general.patterns(files)) | {text for text in texts if general.literal(text) not in files}


def _name(call: str, arg: str, value: int) -> str | int:
    """A value by its name, if the form reads that name back."""
    row = by_name(call)
    assert row is not None
    shape = next(one for one in row.args if one.name == arg)
    kind = constants.set_of(row, shape)
    return _shown(constants.show(kind, value), constants.names_of(kind), value)


def _option(level: int, value: int) -> str | int:
    return _shown(constants.show_sockopt(level, value), constants.names_of("sockopt"), value)


def _shown(text: str, names: dict[str, int], value: int) -> str | int:
    words = text.split("|")
    total = 0
    for word in words:
        total |= names.get(word, -1)
    return text if total & 0xFFFFFFFF == value & 0xFFFFFFFF and total >= 0 else f"{value:#x}" if value > 9 else value


def _read_rule(found: Facts, kind: str, rule: Rule) -> None:
    calls, where = rule["calls"], rule.get("where", [])
    call = calls[0]
    if kind in _FIXED:
        return
    if kind == "calls":
        found.calls.update(calls)
    elif kind.startswith("code by "):
        kept = {condition["mask"] for condition in where}
        lost = {"PROT_WRITE": "write", "MAP_ANONYMOUS": "anonymous"} if call == "mmap" else {"PROT_WRITE": "write"}
        found.code.setdefault(call, set()).update(what for mask, what in lost.items() if mask not in kept)
    elif kind in seen.KINDS:
        none = rule["comment"].startswith(f"{seen.RULE}{kind}: 0 paths")
        seen.merge(found, [] if none else _list(where[-1]["path"]), kind, calls)
    elif " without " in kind:
        found.paths[kind.partition(" without ")[0]].nulls.add((call, where[0]["arg"]))
    elif kind.endswith(" to"):
        for address in _list(where[0]["address"]):
            found.peers.setdefault(call, set()).update(_read_peers(address))
    elif call in seen.SOCKETS:
        found.sockets.setdefault((call, int(kind.split()[1])), set()).update(_values(call, where[1]))
    elif call in seen.OPTIONS:
        found.options.setdefault((call, int(kind.split()[1])), set()).update(_values(call, where[1]))
    elif call in seen.ARGUMENTS and kind == call:
        found.numbers.setdefault(call, set()).update(_values(call, where[0]))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _values(call: str, condition: dict[str, Any]) -> set[int]:
    from torov.policy.args import find

    row = by_name(call)
    where = find(row, condition["arg"]) if row is not None else None
    assert where is not None
    found = set()
    for value in _list(condition["is"]):
        total = 0
        for word in str(value).split("|"):
            total |= where.names[word] if word in where.names else int(word, 0)
        found.add(total & 0xFFFFFFFF)
    return found


def _read_peers(address: dict[str, Any]) -> set[Peer]:
    family = str(address["family"])
    if family == "unix":
        return {(family, path, -1) for path in _list(address["path"])} if "path" in address else {(family, "", -1)}
    ports: list[int] = [-1]
    if "port" in address:
        port = address["port"]
        ports = list(port) if isinstance(port, list) else [port]
        if port == [1024, 65535]:  # a span: as many as make it again
            ports = list(range(1024, 1024 + 2 * general.FEW + 1))
    return {(family, net, port) for net in _list(address.get("network", "")) for port in ports}
