"""What a policy lets pass to a program besides its calls: environment, arguments, and ToroV's start address."""

from __future__ import annotations

from torov.errors import LoadError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torov.policy import Policy


def _some(words: object) -> list[str]:
    return [str(word) for word in words] if isinstance(words, list | tuple) else []


def _matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is the text, or matches it as fnmatch(3) does."""
    for pattern in patterns:
        if pattern == text or pattern == "*":
            return True
        if any(special in pattern for special in "*?["):
            import fnmatch

            if fnmatch.fnmatchcase(text, pattern):
                return True
    return False


def environment(policy: Policy, host: Mapping[str, str]) -> dict[str, str] | None:
    """The environment that a program gets.

    Args:
        policy: its ``environment`` has "pass", patterns of names, and "set", name to value.
        host: that of this process.

    Returns:
        Name to value; None: the policy says nothing, all of it passes.
    """
    rules = policy.environment
    if rules is None:
        return None
    patterns = _some(rules.get("pass"))
    made = {name: value for name, value in host.items() if _matches(name, patterns)}
    fixed = rules.get("set")
    if isinstance(fixed, dict):
        made.update({str(name): str(value) for name, value in fixed.items()})
    return made


def check_arguments(policy: Policy, args: Sequence[str]) -> None:
    """Hold the arguments against the policy.

    Args:
        policy: its ``arguments`` has "allow", patterns of which each argument matches one, and "most".
        args: without argv[0].

    Raises:
        UsageError: there are too many, or one is not allowed; says which.
    """
    rules = policy.arguments
    if rules is None:
        return
    most = rules.get("most")
    if isinstance(most, int) and len(args) > most:
        raise UsageError(f"{len(args)} arguments; {policy.source} allows {most} (arguments.most)")
    if "allow" not in rules or rules["allow"] is None:
        return
    patterns = _some(rules["allow"])
    for arg in args:
        if not _matches(arg, patterns):
            raise UsageError(f"the argument {arg!r} is not allowed by {policy.source} (arguments.allow)")


def start_address(file: str, wanted: int, source: str) -> int:
    """Where a program starts, if its configuration says so.

    Args:
        file: the program.
        wanted: link-time address, ToroV's Startaddr.
        source: the configuration.

    Returns:
        0 for the program's own entry, else the address.

    Raises:
        LoadError: the address is not in bytes that may be executed.
    """
    from torov.loader.headers import Headers

    with open(file, "rb") as stream:
        head = stream.read(64)
        if int.from_bytes(head[24:32], "little") == wanted:
            return 0
        made = Headers(file, head + stream.read())
    if any(segment.flags & 1 and segment.vaddr <= wanted < segment.vaddr + segment.filesz for segment in made.segments):
        return wanted
    raise LoadError(file, "Startaddr", f"an address in executable bytes, as the entry {made.entry:x}", f"{wanted:x} ({source})")
