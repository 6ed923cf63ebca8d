"""What a policy means, read straight from its JSON: no compiling, no order of steps, no numbers of the core.

Written from docs/policy.md for the tests to compare with; slow and plain. It knows our form only.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import re
from typing import Any

from torov.constants import names_of, set_of
from torov.syscalls import CALLS, GROUPS, by_name

Json = dict[str, Any]

ALWAYS = {"exit", "exit_group", "rt_sigreturn"}
GUARDED = {"chroot", "clock_settime", "setdomainname", "sethostname", "settimeofday", "syslog", "vhangup"}
BITS_32 = {"int", "uint", "pid", "uid", "gid", "sig", "clock", "flags", "fd", "atfd", "dev", "key", "id"}
NEGATIVE = {"int", "pid", "sig", "clock", "fd", "atfd", "key", "id", "long", "off"}
PATHS = {"path", "look"}
SENDS = {"connect": 1, "bind": 1, "sendto": 4, "sendmsg": 1, "sendmmsg": 1}
STRUCTURES = {
    "openat2": {"flags": (0, "open"), "mode": (8, "mode"), "resolve": (16, "resolve")},
    "clone3": {
        "flags": (0, "clone"),
        "pidfd": (8, ""),
        "child_tid": (16, ""),
        "parent_tid": (24, ""),
        "exit_signal": (32, "sig"),
        "stack": (40, ""),
        "stack_size": (48, ""),
        "tls": (56, ""),
        "set_tid": (64, ""),
        "set_tid_size": (72, ""),
        "cgroup": (80, ""),
    },
}
AS_IF = {("creat", "flags"): 0o1101, ("fork", "flags"): 17, ("vfork", "flags"): 0x4111}

UNREADABLE = None


class Call:
    """One call of a guest: name, six registers, and what its pointers point to."""

    def __init__(
        self,
        name: str,
        registers: tuple[int, ...],
        structure: bytes | None,
        paths: tuple[bytes | None, bytes | None],
        address: Json | None,
    ) -> None:
        self.name, self.registers, self.structure, self.paths, self.address = name, registers, structure, paths, address
        row = by_name(name)
        assert row is not None
        self.row = row

    @property
    def path_names(self) -> list[str]:
        """Names of the arguments that are files' paths."""
        return [arg.name for arg in self.row.args if arg.kind in PATHS]

    def path(self, name: str) -> bytes | None:
        """What one of them resolves to."""
        every = [arg.name for arg in self.row.args if arg.kind in PATHS]
        return self.paths[0 if every[0] == name else 1]

    def value(self, name: str) -> tuple[int, int, bool, str] | None:
        """Value, bits, sign and constants of an argument; the value -1 << 99 for one that cannot be read."""
        for at, arg in enumerate(self.row.args):
            if arg.name == name:
                bits = 16 if arg.kind == "mode" and self.name != "umask" else 32 if arg.kind in BITS_32 | {"mode"} else 64
                if (self.name, name) == ("personality", "persona"):
                    bits = 32
                return self.registers[at] % 2**bits, bits, arg.kind in NEGATIVE, set_of(self.row, arg)
        fields = STRUCTURES.get(self.name, {})
        short = name.split(".")[-1]
        if short in fields and name in (short, f"how.{short}", f"cl_args.{short}"):
            at, constants = fields[short]
            data = self.structure
            readable = data is not None and len(data) >= at + 8
            return (int.from_bytes(data[at : at + 8], "little") if data and readable else -1 << 99), 64, False, constants
        if (self.name, name) in AS_IF:
            return AS_IF[self.name, name], 32, False, "open" if self.name == "creat" else "clone"
        return None


def number(value: Any, constants: str) -> int:
    """A value of the form as a number."""
    if isinstance(value, int):
        return value
    total = 0
    for word in value.split("|"):
        known = names_of(constants).get(word.strip())
        total |= known if known is not None else int(word.strip(), 0)
    return total


def spread(pattern: str) -> list[str]:
    """A pattern without braces for each way through them, the innermost first."""
    found = re.search(r"(?<!\\)\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    return [one for word in found[1].split(",") for one in spread(pattern[: found.start()] + word + pattern[found.end() :])]


@functools.cache
def regex(pattern: str) -> re.Pattern[bytes]:
    """A path pattern as a regular expression over bytes."""
    return re.compile(b"|".join(_one_regex(one.encode("utf-8", "surrogateescape")) for one in spread(pattern)), re.DOTALL)


def _one_regex(data: bytes) -> bytes:
    def piece(text: bytes) -> bytes:
        out, at = b"", 0
        while at < len(text):
            char = text[at : at + 1]
            if text[at : at + 2] == b"**":
                out, at = out + b".*", at + 1
            elif char == b"*":
                out += b"[^/]*"
            elif char == b"?":
                out += b"[^/]"
            elif char == b"\\":
                at += 1
                out += re.escape(text[at : at + 1])
            elif char == b"[":
                end = text.index(b"]", at)
                inside = text[at + 1 : end]
                inverse = inside.startswith(b"!")
                wanted = re.sub(rb"([\\^\[&|~])", rb"\\\1", inside[inverse:])
                out += b"(?!/)[" + b"^" * inverse + wanted + b"]"
                at = end
            else:
                out += re.escape(char)
            at += 1
        return out

    whole = piece(data)
    if data.endswith(b"/**") and not data.endswith(b"\\/**"):
        whole = piece(data[:-3]) + b"(?:/.*)?"
    return b"(?:" + whole + b")"


def many(value: Any) -> list[Any]:
    """A value, or the values of an array."""
    return value if isinstance(value, list) else [value]


def matches(patterns: Any, path: bytes) -> bool:
    """Whether one of the patterns matches the path."""
    return any(regex(pattern).fullmatch(path) for pattern in many(patterns))


def address_fits(want: Json, given: Json | None) -> bool:
    """Whether a socket address is as one object of the form asks."""
    families = {"unspec": 0, "unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17}
    if given is None:
        return families.get(want.get("family", "")) == 0 and len(want) == 1
    family, port, host, path = given["family"], given.get("port"), given.get("host"), given.get("path")
    if "family" in want and family != families[want["family"]]:
        return False
    if "port" in want:
        low, high = want["port"] if isinstance(want["port"], list) else (want["port"], want["port"])
        if port is None or not low <= port <= high:
            return False
    if "network" in want:
        if host is None:
            return False
        addresses = [ipaddress.ip_address(host)]
        mapped = getattr(addresses[0], "ipv4_mapped", None)
        if mapped is not None:
            addresses.append(mapped)
        if not any(address in ipaddress.ip_network(net) for net in many(want["network"]) for address in addresses):
            return False
    return "path" not in want or (path is not None and matches(want["path"], path))


def reads(call: Call, rule: Json) -> list[list[bool | None]] | None:
    """For each condition what it says about the call: one answer, or one for each path; None if the call has no such thing."""
    answers: list[list[bool | None]] = []
    for cond in rule.get("where", []):
        if "address" in cond or "not-address" in cond:
            if call.name not in SENDS:
                return None
            wanted = cond.get("address", cond.get("not-address"))
            fits = any(address_fits(want, call.address) for want in many(wanted))
            answers.append([fits == ("address" in cond)])
        elif "path" in cond or "not-path" in cond:
            names = [name for name in call.path_names if cond.get("arg", name) == name]
            if not names:
                return None
            found: list[bool | None] = []
            for name in names:
                path = call.path(name)
                inside = path is not None and matches(cond.get("path", cond.get("not-path")), path)
                found.append(UNREADABLE if path is None else inside == ("path" in cond))
            answers.append(found)
        else:
            found_value = call.value(cond["arg"])
            if found_value is None:
                return None
            value, bits, negative, constants = found_value
            try:
                answers.append([_number_fits(cond, value, bits, negative, constants)])
            except ValueError:  # a constant that this call's argument does not have
                return None
    return answers


def _number_fits(cond: Json, value: int, bits: int, negative: bool, constants: str) -> bool | None:
    mask = number(cond.get("mask", -1), constants) % 2**bits
    wanted = [number(item, constants) for item in many(cond.get("is", cond.get("not", cond.get("range"))))]
    if value < 0:
        return UNREADABLE
    if "range" in cond:
        if negative and value >= 2 ** (bits - 1):
            value -= 2**bits
        return wanted[0] <= value <= wanted[1]
    return (value & mask in [item % 2**bits for item in wanted]) == ("is" in cond)


def decide(policies: list[Json], call: Call) -> tuple[str, int | None]:
    """What is done with a call, and the index of the rule that says so (over all files), None for the default.

    Args:
        policies: the file, then those that it extends, each after those before it.
        call: the call.
    """
    if call.name in ALWAYS:
        return "allow", None
    unserved = call.row.serve == "deny"
    refused = str(call.row.errno) if unserved else "EPERM"
    index = -1
    for policy in policies:
        for rule in policy.get("rules", []):
            index += 1
            action = word(rule["action"])
            permits = action in ("allow", "log", "ask") or action.startswith("delegate")
            groups = {name[1:] for name in rule["calls"] if name.startswith("@")}
            grouped = any(call.row in GROUPS[group] for group in groups)
            if call.name not in rule["calls"] and (not grouped or (call.name in GUARDED and permits)):
                continue
            answers = reads(call, rule)
            if answers is None:
                continue
            wide = all if action in ("allow", "log") else any
            if all(wide(answer is True for answer in answer_of) for answer_of in answers):
                return (refused if unserved and action != "kill" else action), index
    action = word(policies[0]["default"])
    permits = action in ("allow", "log", "ask", "builtin") or action.startswith("delegate")
    if unserved and action != "kill":
        return refused, None
    if call.name in GUARDED and permits:
        return "EPERM", None
    return "allow" if action == "builtin" else action, None


def word(action: Any) -> str:
    """An action as one word: the error's name for those that answer one."""
    if isinstance(action, dict):
        return str(action["errno"]) if "errno" in action else f"delegate {action['delegate']}"
    return "EPERM" if action == "deny" else str(action)


NAMES = tuple(call.name for call in CALLS)
ERRORS = errno.errorcode
