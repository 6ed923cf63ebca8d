"""Many cases at once: on this machine, or on a Dask cluster, each by a concurrent.futures executor."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torov.corpus import attempt
from torov.corpus.form import Case
from torov.errors import TorovError, UsageError


@contextlib.contextmanager
def executor(jobs: int, on: str) -> Iterator[concurrent.futures.Executor]:
    """Where cases run.

    Args:
        jobs: how many at once, on this machine.
        on: empty, or ``dask://HOST:PORT``: the scheduler of a cluster, each of whose workers has torov and its extra ``dask``.

    Returns:
        A context; at its end nothing of it is left running.

    Raises:
        UsageError: not an address of a scheduler.
        TorovError: Dask is not installed, or the scheduler does not answer.
    """
    if not on:
        # threads: each has a keeper, a process of its own
        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            attempt.stop_all()
            pool.shutdown(wait=True)
            attempt.again()
        return
    host, _, port = on.removeprefix("dask://").rpartition(":")
    if not on.startswith("dask://") or not host or not port.isdecimal():
        raise UsageError(f"--on {on}: expected dask://HOST:PORT")
    try:
        from distributed import Client
    except ImportError:
        raise TorovError("--on takes Dask: pip install 'torov[dask]'") from None
    try:
        socket.create_connection((host.strip("[]"), int(port)), 10).close()  # Dask would try for long
        client = Client(f"tcp://{host}:{port}", timeout="20s")
    except (OSError, OverflowError) as error:
        raise TorovError(f"--on {on}: the scheduler does not answer: {str(error) or type(error).__name__}") from None
    with client, client.get_executor(pure=False, retries=3) as far:
        yield far


def run(
    cases: Sequence[Case],
    *,
    jobs: int,
    on: str = "",
    done: Callable[[dict[str, Any]], None] | None = None,
    **words: Any,
) -> list[dict[str, Any]]:
    """Run cases.

    Args:
        cases: what runs; those that must be alone run after all others, one by one.
        jobs, on: as executor().
        done: called with each result as it comes.
        words: of attempt.attempt().

    Returns:
        One result for each case, in the order of the cases.
    """
    results: dict[str, dict[str, Any]] = {}
    together, alone = ([case for case in cases if case.alone == flag] for flag in (False, True))
    with executor(jobs, on) as pool:
        for batch in (together, *([case] for case in alone)):
            waiting = {pool.submit(attempt.attempt, case.document(), **words): case for case in batch}
            for future in concurrent.futures.as_completed(waiting):
                case = waiting[future]
                try:
                    result = future.result()
                except Exception as error:  # of the cluster: a worker that died too often, or has no torov
                    result = attempt.nothing(case, f"{type(error).__name__}: {error}")
                results[case.name] = result
                if done is not None:
                    done(result)
    return [results[case.name] for case in cases]
