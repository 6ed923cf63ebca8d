"""Policies: what a program may do. A file in one of two forms, or the built-in policy, becomes one table.

docs/policy.md is the reference of both forms.
"""

from __future__ import annotations

from torov.policy import form as policy_rules, jsonfile as policy_json, torov_form as policy_torov
from torov.syscalls import LIMIT

BUILTIN = "built-in"


class Policy:
    """A policy that can be used.

    Fields:
        actions: LIMIT signed little-endian 16-bit numbers, by system call number: 0 the call is made, a
            positive number is the error to answer, -1 the program is killed.
        source: the file, or "built-in".
        name_of_default: what the policy says about calls that no rule names: "builtin", "allow", "deny",
            "kill" or the name of an error.
        binary, mount_point, newpid, startaddr, debug_allowed, debug_port: settings of ToroV's configuration,
            None where the policy does not say (policy_torov.Settings).
    """

    __slots__ = (
        "actions",
        "binary",
        "debug_allowed",
        "debug_port",
        "mount_point",
        "name_of_default",
        "newpid",
        "source",
        "startaddr",
    )

    def __init__(
        self, actions: bytes, source: str, name_of_default: str, settings: policy_torov.Settings | None = None
    ) -> None:
        settings = settings or policy_torov.Settings()
        self.actions, self.source, self.name_of_default = actions, source, name_of_default
        self.binary, self.mount_point, self.newpid = settings.binary, settings.mount_point, settings.newpid
        self.startaddr = settings.startaddr
        self.debug_allowed, self.debug_port = settings.debug_allowed, settings.debug_port

    def action(self, nr: int) -> int:
        """What is done with a call: 0, the number of an error, or -1; a number out of range is ENOSYS."""
        if not 0 <= nr < LIMIT:
            return policy_rules.error_number("ENOSYS")
        return int.from_bytes(self.actions[2 * nr : 2 * nr + 2], "little", signed=True)


def builtin() -> Policy:
    """The policy that holds without a file: what each row of the table says in ``default``."""
    return Policy(policy_rules.table([], None), BUILTIN, "builtin")


def load(path: str) -> Policy:
    """Read a policy file, in our form or ToroV's.

    Args:
        path: the file.

    Returns:
        The policy.

    Raises:
        PolicyError: the file cannot be read or breaks its form; one line that says where, what was expected,
            what is there, and the nearest right name.
    """
    return _policy(policy_json.read(path))


def parse(file: str, data: bytes) -> Policy:
    """Make a policy of bytes that were read elsewhere.

    Args:
        file: what errors and ``source`` call it.
        data: the contents of a policy file.

    Returns:
        The policy.

    Raises:
        PolicyError: as load.
    """
    return _policy(policy_json.parse(file, data))


def _policy(top: policy_json.Place) -> Policy:
    if not isinstance(top.value, dict):
        raise top.error("an object")
    names = {str(name).casefold() for name in top.value}
    if "torov" in names:
        actions, default = policy_rules.read(top)
        return Policy(actions, top.file, default)
    if names.intersection(policy_torov.KEYS.casefold().split()):
        actions, settings = policy_torov.read(top)
        return Policy(actions, top.file, "deny", settings)
    got = "an OCI seccomp profile, which is not read yet" if "defaultaction" in names else "neither"
    raise top.error('"torov": 1, or "Hypercalls" as ToroV has it', got)
