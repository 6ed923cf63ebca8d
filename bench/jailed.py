"""How long the parts of a jail take: prints the median nanoseconds of one.

    python -I bench/jailed.py WHAT COUNT PART...     -I: the installed torov, not the tree

PART is the name of a namespace (torov.jail.SPACES), or "jail": all that --jail makes; without one there is only the supervisor.
WHAT is "make" (until the process in the jail goes on), "landlock" (there, the rules that its mounts come to), "filters" (both
filters of the built-in policy are installed) or "end" (from the last of that process until the supervisor goes on).
"""

from __future__ import annotations

import os
import statistics
import struct
import sys
import time

from torov import jail, kept, seccomp
from torov.vmm import confine, machine

FIGURES = ("make", "landlock", "filters", "end")


def once(plan: jail.Plan, filters: dict[str, bytes]) -> tuple[int, ...]:
    """The nanoseconds of FIGURES of one jail."""
    there, back = os.pipe()
    runner, start = os.open(machine.RUNNER, os.O_PATH | os.O_CLOEXEC), time.perf_counter_ns()
    end = confine.jail(plan, sorted([back, runner]), runner)
    inside = time.perf_counter_ns()
    if end is None:
        mounted = kept.of_mounts(plan) or kept.Rules()
        confine.landlock(mounted.fs, mounted.paths, 0, [], kept.SCOPED)
        held = time.perf_counter_ns()
        for name in ("start", "run"):
            confine.seccomp(filters[name])
        done = time.perf_counter_ns()
        os.write(back, struct.pack("4q", inside - start, held - inside, done - held, time.perf_counter_ns()))
        os._exit(0)
    for fd in (back, runner):
        os.close(fd)
    *took, last = struct.unpack("4q", os.read(there, 32))
    os.close(there)
    return (*took, inside - last)


def main() -> None:
    what, count, parts = FIGURES.index(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    plan = jail.plan(None, {"wall": 600_000}, parts == ["jail"])
    if plan is None:
        raise SystemExit("jailed.py: there is nothing to make")
    if parts != ["jail"]:
        plan.spaces = tuple(parts)
    filters = seccomp.load(seccomp.builtin())
    print(f"{statistics.median([once(plan, filters)[what] for _ in range(count + 1)][1:]):.0f}")


if __name__ == "__main__":
    main()
