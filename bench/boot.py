"""Boots a program again and again inside one process: prints the median nanoseconds of create + run + close.

    python -I bench/boot.py PROGRAM COUNT [fresh]      -I: the installed torov, not the tree

A process uses its VM again for the next guest; ``fresh`` times the first guest of this process only.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from torov.prepare import image_of
from torov.vmm.machine import EXITED, Machine


def boots(program: str, count: int) -> list[int]:
    """Boot a program that exits with status 0.

    Args:
        program: its path; its image is made before the first boot.
        count: how often.

    Returns:
        Nanoseconds of each, from Machine() to the end of close(); one more than count, and the first has no VM to use again.
    """
    image, took = image_of(program), []
    for _ in range(count + 1):
        start = time.perf_counter_ns()
        machine = Machine(image, program, [program])
        stop = machine.run()
        machine.close()
        took.append(time.perf_counter_ns() - start)
        if stop.kind != EXITED or stop.status:
            raise SystemExit(f"{program}: ended with status {stop.exit_status}")
    return took


def main() -> None:
    program, count = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    out = os.dup(1)  # what the program writes is not the figure
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    took = boots(program, count)
    figure = took[0] if sys.argv[3:] == ["fresh"] else statistics.median(took[1:])
    os.write(out, f"{figure:.0f}\n".encode())


if __name__ == "__main__":
    main()
