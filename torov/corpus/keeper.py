"""The process that has the processes of one case below it: ``python -m torov.corpus.keeper`` reads a job, writes what came of it.

Standard input stays open as long as somebody wants the result. When it closes (who asked was interrupted, or died), everything
below is killed and nothing is written.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from torov.corpus import processes, run
from torov.corpus.form import Case
from torov.corpus.place import Place
from torov.errors import TorovError


def keep(job: dict[str, Any], watch: int) -> dict[str, Any]:
    """Make the runs of a job.

    Args:
        job: ``case``, ``paths`` of binaries, ``sides``: a list of {``torov``: command or [], ``policy``: path}.
        watch: as run.run().

    Returns:
        ``runs``, one for each side, up to a native one that has no end of its own; or ``error``.
    """
    where = Place()
    try:
        case = Case(**job["case"])
        runs: list[dict[str, Any]] = []
        for side in job["sides"]:
            runs.append(run.run(case, job["paths"], where, side["torov"], side["policy"], watch))
            if not side["torov"] and not run.ended(runs[-1]):
                break  # there is nothing to compare with
        return {"runs": runs}
    except (TorovError, OSError, ValueError) as error:
        return {"error": str(error)}
    finally:
        processes.sweep(0)
        where.remove()


def main() -> int:
    """Serve one job."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the end of standard input says it, and leaves time to tidy up
    processes.adopt()
    job = json.loads(sys.stdin.buffer.readline())
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        result = keep(job, 0)
    except processes.Interrupted:
        return 130
    with os.fdopen(out, "w") as stream:
        stream.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
