"""What a policy says besides its rules: limits, environment, arguments, the jail, delegates, debugging and tracing."""

from __future__ import annotations

import os

from torov.policy.jsonfile import Place, show

KEYS = "strict limits environment arguments root mounts network namespaces hostname user delegates debug trace capabilities"
_SIZES, _COUNTS, _TIMES = ("memory", "file-size", "output"), ("processes", "threads", "descriptors"), ("cpu", "wall")
NETWORKS = ("none", "loopback", "host")
NAMESPACES = ("user", "mount", "pid", "net", "ipc", "uts")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_MOST = (1 << 31) - 1
MOST_DELEGATES = 8


class Settings:
    """What a file says; None where it says nothing.

    Fields:
        strict: a site may make only the calls that the binary shows for it.
        limits: memory, file-size, output in bytes; cpu, wall in milliseconds; processes, threads, descriptors.
        environment: "pass", patterns of names, and "set", name to value.
        arguments: "allow", patterns, and "most", a number; either may be missing.
        root, hostname, network, namespaces, mounts, user: of the jail; user is (uid, gid); paths are absolute.
        delegates: name to {"socket": path}, or to {} for a callable of the Python API.
        debug, trace: as the file has them.
        capabilities: names that profiles are read with.
        binary, mount_point, newpid, startaddr, debug_allowed, debug_port: of ToroV's configuration.
    """

    __slots__ = ("arguments", "binary", "capabilities", "debug", "debug_allowed", "debug_port", "delegates", "environment",
                 "hostname", "limits", "mount_point", "mounts", "namespaces", "network", "newpid", "root", "startaddr", "strict",
                 "trace", "user")  # fmt: skip

    def __init__(self) -> None:
        self.strict: bool | None = None
        self.limits: dict[str, int] | None = None
        self.environment: dict[str, object] | None = None
        self.arguments: dict[str, object] | None = None
        self.root: str | None = None
        self.mounts: list[dict[str, object]] | None = None
        self.network: str | None = None
        self.namespaces: list[str] | None = None
        self.hostname: str | None = None
        self.user: tuple[int, int] | None = None
        self.delegates: dict[str, dict[str, str]] | None = None
        self.debug: dict[str, object] | None = None
        self.trace: dict[str, object] | None = None
        self.capabilities: frozenset[str] | None = None
        self.binary: str | None = None
        self.mount_point: str | None = None
        self.newpid: bool | None = None
        self.startaddr: int | None = None
        self.debug_allowed: bool | None = None
        self.debug_port: int | None = None

    def inherit(self, other: Settings) -> None:
        """Take what this file does not say from one that it extends; objects name by name, lists as a whole."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None:
                setattr(self, name, theirs)
            elif isinstance(mine, dict) and isinstance(theirs, dict):
                setattr(self, name, {**theirs, **mine})

    def jail(self) -> dict[str, object] | None:
        """The jail as one object; None if nothing asks for one."""
        given = (self.root, self.mounts, self.network, self.namespaces, self.hostname, self.user)
        if all(value is None for value in given):
            return None
        uid, gid = self.user or (None, None)
        return {
            "root": self.root, "mounts": self.mounts or [], "network": self.network or "host",
            "namespaces": self.namespaces or [], "hostname": self.hostname, "uid": uid, "gid": gid,
        }  # fmt: skip


def read(members: dict[str, Place]) -> Settings:
    """Read the settings of our form.

    Args:
        members: of the whole document, by name.

    Raises:
        PolicyError: one breaks the form.
    """
    made = Settings()
    readers = {
        "strict": _bool, "limits": _limits, "environment": _environment, "arguments": _arguments, "root": _path,
        "mounts": _mounts, "network": _network, "namespaces": _namespaces, "hostname": _hostname, "user": _user,
        "delegates": _delegates, "debug": _debug, "trace": _trace, "capabilities": capabilities,
    }  # fmt: skip
    for name, reader in readers.items():
        if name in members:
            setattr(made, name, reader(members[name]))
    return made


def _bool(place: Place) -> bool:
    if not isinstance(place.value, bool):
        raise place.error("true or false")
    return place.value


def _text(place: Place, expected: str, most: int = 4096) -> str:
    text = place.text(expected)
    if not text or "\0" in text or len(text) > most:
        raise place.error(expected)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise place.error(expected) from None
    return text


def _path(place: Place) -> str:
    """A path of the host, relative to the file's directory."""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(place.file)), _text(place, "a path")))


def _inner(place: Place) -> str:
    """A path in the jail."""
    text = _text(place, "an absolute path")
    if not text.startswith("/") or ".." in text.split("/"):
        raise place.error('an absolute path without ".."')
    return os.path.normpath(text)


def _count(place: Place, expected: str = "a number of at least 1", least: int = 1, most: int = _MOST) -> int:
    if not isinstance(place.value, int) or isinstance(place.value, bool) or not least <= place.value <= most:
        raise place.error(expected)
    return place.value


def _size(place: Place) -> int:
    expected = 'a number of bytes, or as "512M"'
    if isinstance(place.value, int):
        return _count(place, expected, most=(1 << 62))
    text = place.text(expected)
    shift = {"K": 10, "M": 20, "G": 30, "T": 40}.get(text[-1:], 0)
    digits = text[:-1] if shift else text
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16 and 0 < int(digits) << shift <= 1 << 62):
        raise place.error(expected)
    return int(digits) << shift


def _time(place: Place) -> int:
    expected = 'a time, as "500ms", "10s", "2m" or "1h"'
    text = place.text(expected)
    unit = text.lstrip("0123456789")
    digits = text[: len(text) - len(unit)]
    if unit not in _UNITS or not digits or len(digits) > 12 or not int(digits):
        raise place.error(expected, hint=f"{digits}s" if digits and not unit else "")
    return int(digits) * _UNITS[unit]


def _limits(place: Place) -> dict[str, int]:
    found = place.members("", " ".join((*_SIZES, *_TIMES, *_COUNTS)))
    return {
        name: _size(inside) if name in _SIZES else _time(inside) if name in _TIMES else _count(inside)
        for name, inside in found.items()
    }


def _texts(place: Place, expected: str) -> list[str]:
    return [_text(item, expected) for item in place.items()]


def _environment(place: Place) -> dict[str, object]:
    found = place.members("", "pass set")
    made: dict[str, object] = {"pass": [], "set": {}}
    if "pass" in found:
        made["pass"] = _texts(found["pass"], "the name of a variable, or a pattern, as LC_*")
    if "set" in found:
        made["set"] = {name: _variable(inside, name) for name, inside in found["set"].entries().items()}
    return made


def _variable(place: Place, name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise place.error('the name of a variable, without "="', show(name))
    text = place.text()
    if "\0" in text:
        raise place.error("a string without NUL")
    return text


def _arguments(place: Place) -> dict[str, object]:
    found = place.members("", "allow most")
    made: dict[str, object] = {}
    if "allow" in found:
        made["allow"] = [item.text("a pattern of arguments, as -*") for item in found["allow"].items()]
    if "most" in found:
        made["most"] = _count(found["most"], "a number of at least 0", 0)
    return made


def _choice(place: Place, choices: tuple[str, ...]) -> str:
    if place.value not in choices or not isinstance(place.value, str):
        import difflib

        near = difflib.get_close_matches(str(place.value)[:64].lower(), choices, 1)
        raise place.error(f"one of {', '.join(choices)}", hint=near[0] if near else "")
    return place.value


def _mounts(place: Place) -> list[dict[str, object]]:
    return [_mount(item) for item in place.items()]


def _mount(place: Place) -> dict[str, object]:
    found = place.members("", "bind to mode tmpfs size proc")
    kinds = [kind for kind in ("bind", "tmpfs", "proc") if kind in found]
    if len(kinds) != 1:
        raise place.error('one of "bind", "tmpfs", "proc"', " and ".join(kinds) or "none")
    kind = kinds[0]
    for name, owner in (("to", "bind"), ("mode", "bind"), ("size", "tmpfs")):
        if name in found and kind != owner:
            raise found[name].error(f'"{name}" with "{owner}" only', f'it with "{kind}"')
    if kind == "bind":
        source = _path(found["bind"])
        mode = _choice(found["mode"], ("ro", "rw")) if "mode" in found else "ro"
        return {"bind": source, "to": _inner(found["to"]) if "to" in found else source, "mode": mode}
    if kind == "tmpfs":
        return {"tmpfs": _inner(found["tmpfs"]), "size": _size(found["size"]) if "size" in found else None}
    return {"proc": _inner(found["proc"])}


def _network(place: Place) -> str:
    return _choice(place, NETWORKS)


def _namespaces(place: Place) -> list[str]:
    return list(dict.fromkeys(_choice(item, NAMESPACES) for item in place.items()))


def _hostname(place: Place) -> str:
    return _text(place, "a name of at most 64 characters", 64)


def _user(place: Place) -> tuple[int, int]:
    if isinstance(place.value, str):
        import pwd

        try:
            entry = pwd.getpwnam(place.value)
        except (KeyError, ValueError):
            if place.value == "nobody":
                return 65534, 65534
            raise place.error('a user of this machine, or {"uid": 1000, "gid": 1000}') from None
        return entry.pw_uid, entry.pw_gid
    found = place.members("uid gid")
    return tuple(_count(found[name], "a number from 0 to 4294967294", 0, 4294967294) for name in ("uid", "gid"))  # type: ignore[return-value]


def _delegates(place: Place) -> dict[str, dict[str, str]]:
    made: dict[str, dict[str, str]] = {}
    if len(place.entries()) > MOST_DELEGATES:
        raise place.error(f"at most {MOST_DELEGATES} delegates", f"{len(place.entries())}")
    for name, inside in place.entries().items():
        if not name or len(name) > 64:
            raise inside.error("a name of at most 64 characters", show(name))
        found = inside.members("", "socket")
        made[name] = {"socket": _path(found["socket"])} if "socket" in found else {}
    return made


def _debug(place: Place) -> dict[str, object]:
    found = place.members("", "allowed port")
    made: dict[str, object] = {}
    if "allowed" in found:
        made["allowed"] = _bool(found["allowed"])
    if "port" in found:
        made["port"] = _count(found["port"], "a TCP port, 1 to 65535", 1, 65535)
    return made


def _trace(place: Place) -> dict[str, object]:
    from torov.policy.form import read_calls

    found = place.members("", "calls file format")
    made: dict[str, object] = {}
    if "calls" in found:
        names, grouped = read_calls(found["calls"])
        made["calls"] = sorted(names | grouped)
    if "file" in found:
        made["file"] = _path(found["file"])
    if "format" in found:
        made["format"] = _choice(found["format"], ("text", "json", "perfetto"))
    return made


def capabilities(place: Place) -> frozenset[str]:
    """Read a list of capabilities, as CAP_NET_RAW.

    Raises:
        PolicyError: one does not exist.
    """
    return frozenset(_capability(item) for item in place.items())


def capability_list(text: str) -> frozenset[str]:
    """Read a list as the command line has it: ``CAP_KILL,chown``.

    Raises:
        UsageError: one does not exist.
    """
    from torov.errors import PolicyError, UsageError

    try:
        return capabilities(Place("--capabilities", "", [word for word in text.split(",") if word]))
    except PolicyError as error:
        hint = f" (did you mean {error.hint}?)" if error.hint else ""
        raise UsageError(f"--capabilities: {error.got} is no capability{hint}") from None


def _capability(place: Place) -> str:
    name = place.text("a capability, as CAP_NET_RAW").upper()
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITIES:
        import difflib

        near = difflib.get_close_matches(name[:64], CAPABILITIES, 1)
        raise place.error("a capability, as CAP_NET_RAW", hint=near[0] if near else "")
    return name


_CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
    NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
    SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
    BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
"""capabilities(7), in the order of their numbers."""
