"""Many cases: every one has exactly one result, on this machine and on a Dask cluster that loses a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from guests import cases_of
from test_run import marked

from torov.corpus import pool
from torov.corpus.attempt import attempt
from torov.errors import TorovError, UsageError

pytestmark = pytest.mark.kvm
ROOT = Path(__file__).resolve().parents[2]


def test_every_case_has_a_result_in_the_order_of_the_cases(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, *({"name": f"c{n}", "shell": f"echo {n}", "alone": n == 1} for n in range(5)))
    seen: list[str] = []
    found = pool.run(cases, jobs=3, done=lambda row: seen.append(row["name"]), trace="none")
    assert [row["name"] for row in found] == ["c0", "c1", "c2", "c3", "c4"]
    assert sorted(seen) == ["c0", "c1", "c2", "c3", "c4"] and seen[-1] == "c1"
    assert [row["outcome"] for row in found] == ["same"] * 5
    assert [row["torov"]["stdout"] for row in found] == [f"{n}\n" for n in range(5)]


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    mark = f"30{os.getpid()}.5"
    cases_of(tmp_path, *({"name": f"c{n}", "shell": f"sleep {mark} & sleep {mark}"} for n in range(4)))
    command = [sys.executable, "-m", "torov", "corpus", "run", "-j", "2", "--cases", str(tmp_path / "cases.toml")]
    runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(300):
            if len(marked(f"sleep\0{mark}")) >= 4:
                break
            time.sleep(0.1)
        assert len(marked(f"sleep\0{mark}")) >= 4
        runner.send_signal(signal.SIGINT)
        assert runner.wait(30) == 130
        assert marked(f"sleep\0{mark}") == []
        assert runner.stderr is not None and b"Traceback" not in runner.stderr.read()
    finally:
        runner.kill()
        runner.wait()


def test_addresses_of_clusters() -> None:
    with pytest.raises(UsageError, match="expected dask://HOST:PORT"):
        pool.run([], jobs=1, on="spark://x")
    with pytest.raises(TorovError, match="the scheduler does not answer"), pool.executor(1, "dask://127.0.0.1:1"):
        pass


def test_a_cluster_that_loses_a_worker(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    cases = cases_of(tmp_path, *({"name": f"c{n}", "shell": f"sleep 0.4; echo {n}"} for n in range(12)))
    with LocalCluster(n_workers=3, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None) as cluster:
        with Client(cluster) as client:
            workers = client.run(os.getpid)
        assert len({*workers.values()}) == 3
        seen: list[str] = []
        killer = threading.Timer(1.5, os.kill, (next(iter(workers.values())), signal.SIGKILL))
        killer.start()
        address = cluster.scheduler_address.removeprefix("tcp://")
        found = pool.run(cases, jobs=1, on=f"dask://{address}", done=lambda row: seen.append(row["name"]), trace="none")
        killer.join()
    assert [row["name"] for row in found] == [case.name for case in cases]
    assert sorted(seen) == sorted(case.name for case in cases)
    assert [(row["outcome"], row["error"]) for row in found] == [("same", "")] * 12
    pids = {int(row["worker"].rpartition(":")[2]) for row in found}
    assert len(pids) >= 2 and os.getpid() not in pids


def test_a_case_that_cannot_run_is_a_result(tmp_path: Path) -> None:
    (case,) = cases_of(tmp_path, {"name": "c", "shell": "true", "policy": "none.json"})
    assert attempt(case.document())["error"].endswith("c: no policy none.json: a path beside its file, or one of profiles.toml")
    (case,) = cases_of(tmp_path, {"name": "c", "shell": "true", "files": {"/etc/x": ""}})
    found = pool.run([case], jobs=1)
    assert (found[0]["outcome"], len(found)) == ("error", 1) and "would not lie in the directory" in found[0]["error"]
