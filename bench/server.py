"""Requests a second of a server: caddy's file-server, natively and as a guest, asked by wrk over loopback."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from bench.measure import BenchError, Sample


def requests(*server: str, connections: int = 32, seconds: int = 3) -> Sample:
    """A sample of nanoseconds per request.

    Args:
        server: the command, a caddy or torov with one behind it; the arguments of its file-server are added.
        connections: kept open by wrk.
        seconds: of load.
    """

    def sample() -> float:
        wrk = shutil.which("wrk")
        if wrk is None:
            raise BenchError("wrk is not installed: apt-get install wrk")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with tempfile.TemporaryDirectory() as site:
            Path(site, "file").write_bytes(b"x" * 1024)
            command = [*server, "file-server", "--root", site, "--listen", f"127.0.0.1:{port}"]
            null = subprocess.DEVNULL
            with subprocess.Popen(command, stdin=null, stdout=null, stderr=null) as running:
                try:
                    _until_open(running, port)
                    done = subprocess.run([wrk, "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/file"],
                                          capture_output=True, text=True, check=False)
                finally:
                    running.send_signal(signal.SIGTERM)
                    try:
                        running.wait(20)
                    except subprocess.TimeoutExpired:
                        running.kill()
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if not rate or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise BenchError(f"wrk: {done.stdout.strip()} {done.stderr.strip()}")
        return 1e9 / float(rate[1])

    return sample


def _until_open(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise BenchError(f"the server does not listen; status {server.poll()}")
