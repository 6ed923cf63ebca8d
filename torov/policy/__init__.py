"""Policies: what a program may do. A file in one of three forms, or the built-in policy, becomes one compiled policy.

docs/policy.md is the reference of the forms. A policy that was compiled before is read from the cache (record.py); what
compiles it is imported only where it is not.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from torov.policy.source import Source

BUILTIN = "built-in"
LIMIT = 512
_ENOSYS = 38

_PARTS = (
    "actions", "program", "source", "name_of_default", "limits", "environment", "arguments", "jail", "strict", "delegates",
    "debug", "trace", "binary", "mount_point", "newpid", "startaddr", "debug_allowed", "debug_port",
)  # fmt: skip


class Policy:
    """A policy that can be used.

    Fields:
        actions: 512 signed little-endian 16-bit numbers, by system call number: 0 the call is made, a positive number is
            the error to answer, -1 the program is killed, -2 the call's list in ``program`` decides.
        program: the lists of steps and the labels of rules, as the core reads them; empty if no rule needs it.
        source: the file, or "built-in".
        name_of_default: what the policy says about calls that no rule decides: "builtin", "allow", "deny", "kill", "log",
            "ask", "delegate NAME" or the name of an error.
        limits: memory, file-size, output in bytes; cpu, wall in milliseconds; processes, threads, descriptors; what is not
            limited is not there.
        environment: None, or "pass" (patterns of names) and "set" (name to value).
        arguments: None, or "allow" (patterns) and "most" (a number), each if given.
        jail: None, or root, mounts, network, namespaces, hostname, uid, gid (settings.Settings.jail).
        strict: a site may make only the calls that the binary shows for it.
        delegates: name to {"socket": path}, or to {} for a callable of the Python API; in the order of the program.
        debug, trace: settings as the file has them, or None.
        binary, mount_point, newpid, startaddr, debug_allowed, debug_port: settings of ToroV's configuration, None where
            the policy does not say; binary and mount_point as written there.
        extra: what others keep with the compiled policy: name to bytes; keep() adds to it.
    """

    __slots__ = (*_PARTS, "_files", "_key", "extra")

    actions: bytes
    program: bytes
    source: str
    name_of_default: str
    limits: dict[str, int]
    environment: dict[str, object] | None
    arguments: dict[str, object] | None
    jail: dict[str, object] | None
    strict: bool
    delegates: dict[str, dict[str, str]]
    debug: dict[str, object] | None
    trace: dict[str, object] | None
    binary: str | None
    mount_point: str | None
    newpid: bool | None
    startaddr: int | None
    debug_allowed: bool | None
    debug_port: int | None

    def __init__(self, parts: dict[str, object], key: bytes = b"") -> None:
        for name in _PARTS:
            setattr(self, name, parts[name])
        extra, files = parts.get("extra"), parts.get("files")
        self.extra: dict[str, bytes] = dict(extra) if isinstance(extra, dict) else {}
        self._files, self._key = files or [], key

    def action(self, nr: int) -> int:
        """What is done with a call: a number of ``actions``; one out of range is ENOSYS."""
        if not 0 <= nr < LIMIT:
            return _ENOSYS
        return int.from_bytes(self.actions[2 * nr : 2 * nr + 2], "little", signed=True)

    def keep(self, name: str, data: bytes) -> None:
        """Keep something with the compiled policy for the next start, such as a filter that was made from it.

        Args:
            name: what it is; with whatever it depends on besides the policy.
            data: the bytes; ``extra`` has them from now on. Where no cache can be used they last as long as this object.
        """
        self.extra[name] = data
        if self._key:
            from torov.policy import record

            record.keep(self._key, self._record())

    def _record(self) -> dict[str, object]:
        return {**{name: getattr(self, name) for name in _PARTS}, "extra": self.extra, "files": self._files}


def builtin() -> Policy:
    """The policy that holds without a file: what each row of the table says in ``default``."""
    from torov.policy.source import Source

    return _compile(Source(BUILTIN), b"")


def load(path: str, capabilities: Iterable[str] | None = None) -> Policy:
    """Read a policy file, in our form, ToroV's, or that of OCI seccomp profiles.

    Args:
        path: the file.
        capabilities: names that ``includes`` and ``excludes`` of OCI profiles are read with; None for those that the policy
            names, else Docker's default.

    Returns:
        The policy, from the cache if it was compiled before.

    Raises:
        PolicyError: the file cannot be read or breaks its form; one line that says where, what was expected,
            what is there, and the nearest right name.
    """
    from torov.policy import record

    data = _contents(path)
    key = record.key_of(path, data, capabilities) if data is not None else b""
    known = record.find(key) if key else None
    if known is not None:
        return Policy(known, key)
    from torov.policy import jsonfile, source

    caps = None if capabilities is None else frozenset(capabilities)
    made = _compile(source.read(path, data if data is not None else jsonfile.contents(path), caps), key)
    if key:
        record.keep(key, made._record())
    return made


def _contents(path: str) -> bytes | None:
    """The bytes of a file of a policy's size; None leaves it to jsonfile to say what is wrong."""
    try:
        with open(path, "rb") as stream:
            data = stream.read((1 << 20) + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= 1 << 20 else None


def parse(file: str, data: bytes, capabilities: Iterable[str] | None = None) -> Policy:
    """Make a policy of bytes that were read elsewhere.

    Args:
        file: what errors and ``source`` call it; files that it extends are relative to its directory.
        data: the contents of a policy file.
        capabilities: as load.

    Returns:
        The policy.

    Raises:
        PolicyError: as load.
    """
    from torov.policy import source

    return _compile(source.read(file, data, None if capabilities is None else frozenset(capabilities)), b"")


def learning() -> Policy:
    """A policy under which every call that is served is made and reported once for its arguments, to learn from."""
    from torov.policy.model import LEARN, Action
    from torov.policy.source import Source

    made = Source(BUILTIN)
    made.default = Action(LEARN)
    made.name_of_default = "learn"
    return _compile(made, b"")


def _compile(source: Source, key: bytes) -> Policy:
    from torov.policy.compile import compiled

    settings = source.settings
    delegates = settings.delegates or {}
    actions, program = compiled(source.rules, source.default, bool(settings.strict), tuple(delegates))
    first = next(iter(source.files), "")
    return Policy(
        {
            "actions": actions, "program": program, "source": source.file, "name_of_default": source.name_of_default,
            "limits": settings.limits or {}, "environment": settings.environment, "arguments": settings.arguments,
            "jail": settings.jail(), "strict": bool(settings.strict), "delegates": delegates, "debug": settings.debug,
            "trace": settings.trace, "binary": settings.binary, "mount_point": settings.mount_point,
            "newpid": settings.newpid, "startaddr": settings.startaddr, "debug_allowed": settings.debug_allowed,
            "debug_port": settings.debug_port,
            "files": [(path, data) for path, data in source.files.items() if path != first],
        },
        key,
    )  # fmt: skip
