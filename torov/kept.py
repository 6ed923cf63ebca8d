"""What is made from a policy once and kept with it: found without importing what makes it (2 ms of each start)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.policy import Policy

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
