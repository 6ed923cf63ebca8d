"""The Python interface: ``torov.run`` for the whole way, the stages one by one for more.

image_of(path) -> image file        torov.prepare
load(path) -> Policy                torov.policy
Machine(...).run() -> Stop          torov.vmm.machine
"""

from __future__ import annotations

import os

from torov.errors import LoadError, UsageError
from torov.policy import Policy
from torov.policy import load as load_policy
from torov.prepare import cache_of, image_of, images_of
from torov.syscalls import name_of
from torov.vmm.machine import EXITED, KILLED, SIGNALLED, Machine, Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from torov.delegate import Handler

__all__ = ["EXITED", "KILLED", "SIGNALLED", "Machine", "Result", "Stop", "image_of", "load_policy", "run"]


class Result:
    """What became of a program.

    Fields:
        exit_status: its exit status, or 128 + n after signal n.
        signal: number of the signal that ended it, or 0.
        stop: the end in full.
        stats: what was counted (torov.vmm.machine.Machine.stats).
        calls: syscall name to how often it was made.
        denied: names of the calls that the policy refused, in the order of their first refusal.
    """

    __slots__ = ("calls", "denied", "exit_status", "signal", "stats", "stop")

    def __init__(self, stop: Stop, stats: dict[str, int], calls: dict[str, int], denied: tuple[str, ...]) -> None:
        self.stop, self.stats, self.calls, self.denied = stop, stats, calls, denied
        self.exit_status = stop.exit_status
        self.signal = stop.signal

    def document(self, notices: Sequence[Stop]) -> dict[str, Any]:
        """As plain values, for another process; of() reads them."""
        return {
            "stop": self.stop.document(),
            "stats": self.stats,
            "calls": self.calls,
            "denied": self.denied,
            "notices": [notice.document() for notice in notices],
        }

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Result:
        """What document() wrote."""
        return cls(Stop.of(said["stop"]), said["stats"], said["calls"], tuple(said["denied"]))

    def __repr__(self) -> str:
        return f"Result(exit_status={self.exit_status}, signal={self.signal}, exits={self.stats['exits']})"


def run(
    file: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    policy: Policy | str | None = None,
    env: Mapping[str, str] | None = None,
    on_notice: Callable[[Stop], None] | None = None,
    delegates: Mapping[str, Handler] | None = None,
) -> Result:
    """Run a program as a virtual machine and wait for its end.

    The guest runs in this process: it uses its descriptors and its working directory (what it leaves open stays open), and there
    can be one at a time. With a policy that delegates calls it runs in a child of this process.

    Args:
        file: the program.
        args: its arguments, without argv[0].
        policy: a Policy, the path of a policy file, or None for the built-in policy. Its calls, environment, arguments, strict
            mode, trace and delegates hold; one with a jail or limits is refused: that takes ``torov exec``.
        env: its environment; None for that of this process, as the policy lets it pass.
        on_notice: called for what a user should hear of, while the guest waits (Stop.note says what); with delegates, at its end.
        delegates: by name in the policy, the function that serves its calls (torov.delegate); docs/delegation.md.

    Returns:
        How it ended and what was counted.

    Raises:
        LoadError, NotFound: the file cannot be run.
        PolicyError, UsageError: the policy cannot be used, or not here.
        DelegateError: a component that the policy names cannot be reached.
        NoKVM, MachineError: the host refused something.
    """
    path = os.fspath(file)
    chosen = load_policy(policy) if isinstance(policy, str) else policy
    if chosen is not None:
        if chosen.jail or chosen.limits:
            raise UsageError(f"{chosen.source}: a jail or limits take a process of their own: run torov exec")
        if chosen.environment or chosen.arguments:
            from torov import passing

            passing.check_arguments(chosen, args)
            env = passing.environment(chosen, os.environ if env is None else env)
    if chosen is None or not chosen.delegates:
        return _run(path, args, chosen, env, on_notice, [])
    from torov import apart

    notices: list[Stop] = []
    said = apart.run(
        delegates or {},
        list(chosen.delegates),
        {name: words.get("socket", "") for name, words in chosen.delegates.items()},
        lambda sockets: _run(path, args, chosen, env, notices.append, sockets).document(notices),
    )
    result = Result.of(said)
    if on_notice is not None:
        for one in said["notices"]:
            on_notice(Stop.of(one))
    return result


def _run(
    path: str,
    args: Sequence[str],
    policy: Policy | None,
    env: Mapping[str, str] | None,
    on_notice: Callable[[Stop], None] | None,
    delegates: Sequence[int],
) -> Result:
    denied: list[str] = []

    def notice(stop: Stop) -> None:
        from torov.vmm.machine import DENIED

        if stop.note == DENIED:
            denied.append(name_of(stop.nr))
        if on_notice is not None:
            on_notice(stop)

    image, loader = images_of(path)
    cache, version = cache_of(True)
    actions, program, strict = (policy.actions, policy.program, b"") if policy else (None, b"", b"")
    if policy and policy.strict:
        from torov.strict import strict_table

        if loader is not None:
            raise LoadError(path, "PT_INTERP", "a static program, since the policy is strict", "one that is linked dynamically")
        strict = strict_table(path)
    trace = None
    if policy and policy.trace is not None:
        from torov.tracing.options import of_options

        trace = of_options({}, policy.trace)
    with Machine(
        image,
        os.path.realpath(path),
        [path, *args],
        env,
        actions,
        loader=loader,
        cache=cache,
        cache_version=version,
        program=program,
        strict=strict,
        delegates=delegates,
        trace=trace.start() if trace else 0,
    ) as machine:
        stop = machine.run(notice)
        if trace:
            trace.finish(machine)
        if stop.kind == KILLED:
            denied.append(name_of(stop.nr))
        calls = {name_of(nr): count for nr, count in machine.calls().items()}
        return Result(stop, machine.stats(), calls, tuple(denied))
