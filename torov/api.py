"""The Python interface: ``torov.run`` for the whole way, the stages one by one for more.

    image_of(path) -> image file        torov.prepare
    load(path) -> Policy                torov.policy
    Machine(...).run() -> Stop          torov.vmm.machine
"""

from __future__ import annotations

import os

from torov.policy import Policy
from torov.policy import load as load_policy
from torov.prepare import cache_of, image_of, images_of
from torov.syscalls import name_of
from torov.vmm.machine import EXITED, KILLED, SIGNALLED, Machine, Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    def __repr__(self) -> str:
        return f"Result(exit_status={self.exit_status}, signal={self.signal}, exits={self.stats['exits']})"


def run(
    file: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    policy: Policy | str | None = None,
    env: Mapping[str, str] | None = None,
    on_notice: Callable[[Stop], None] | None = None,
) -> Result:
    """Run a static program as a virtual machine, in this process, and wait for its end.

    The guest uses the descriptors and the working directory of this process (what it leaves open stays open), and there
    can be one at a time.

    Args:
        file: the program.
        args: its arguments, without argv[0].
        policy: a Policy, the path of a policy file, or None for the built-in policy.
        env: its environment; None for that of this process.
        on_notice: called for what a user should hear of, while the guest waits (Stop.note says what).

    Returns:
        How it ended and what was counted.

    Raises:
        LoadError, NotFound: the file cannot be run.
        PolicyError: the policy cannot be used.
        NoKVM, MachineError: the host refused something.
    """
    path = os.fspath(file)
    chosen = load_policy(policy) if isinstance(policy, str) else policy
    denied: list[str] = []

    def notice(stop: Stop) -> None:
        from torov.vmm.machine import DENIED

        if stop.note == DENIED:
            denied.append(name_of(stop.nr))
        if on_notice is not None:
            on_notice(stop)

    image, loader = images_of(path)
    cache, version = cache_of(True)
    actions = chosen.actions if chosen else None
    exe = os.path.realpath(path)
    with Machine(image, exe, [path, *args], env, actions, loader=loader, cache=cache, cache_version=version) as machine:
        stop = machine.run(notice)
        if stop.kind == KILLED:
            denied.append(name_of(stop.nr))
        calls = {name_of(nr): count for nr, count in machine.calls().items()}
        return Result(stop, machine.stats(), calls, tuple(denied))
