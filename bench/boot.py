"""Boots a program again and again inside one process: prints the median nanoseconds of create + run + close.

    python -I bench/boot.py PROGRAM COUNT      -I: the installed torov, not the tree
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
        Nanoseconds of each, from Machine() to the end of close().
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
    return took[1:]  # the first one also loads what the process needs


def main() -> None:
    program, count = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    out = os.dup(1)  # what the program writes is not the figure
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    figure = statistics.median(boots(program, count))
    os.write(out, f"{figure:.0f}\n".encode())


if __name__ == "__main__":
    main()
