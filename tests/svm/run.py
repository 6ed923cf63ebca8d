"""The portability lane: the core under a real kvm_amd, in QEMU without acceleration (``make test-svm``).

    python -m tests.svm.run             boot and judge
    python -m tests.svm.run --here      the same cases on this machine's own /dev/kvm

Exit status 0 only if every case passed and the closing line was printed. The console goes to standard output
and to build/svm/console.log.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from svm import build  # noqa: E402

WORK = ROOT / "build" / "svm"
LIMIT_S = 120
TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "cpio": "cpio", "xz": "xz-utils", "gcc": "gcc",
         "musl-gcc": "musl-tools", "dpkg-deb": "dpkg", "apt-get": "apt"}  # fmt: skip
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed\r?$", re.MULTILINE)


def provide_tools() -> None:
    """Install by apt-get what is missing, if we may.

    Raises:
        BuildError: we may not, or it failed; says what to install.
    """
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if not missing:
        return
    hint = f"missing: install with `apt-get install {' '.join(missing)}`"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise build.BuildError(hint)
    command = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing)
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise build.BuildError(hint)


def stream(command: Sequence[str | Path], log: Path, limit: float) -> tuple[str, str | None]:
    """Run a command, copying what it writes to standard output and to a log.

    Args:
        command: program and arguments.
        log: file for all of its output.
        limit: seconds until it is killed.

    Returns:
        Its output, and why it is no good (None if it ended with status 0 in time).
    """
    seen, end = bytearray(), time.monotonic() + limit
    with log.open("wb") as file, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process, selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            while True:
                if not selector.select(max(end - time.monotonic(), 0)):
                    return seen.decode(errors="replace"), f"not done after {limit:.0f} s"
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                seen += data
                file.write(data)
                file.flush()
                sys.stdout.write(data.decode(errors="replace"))
                sys.stdout.flush()
            status = process.wait(max(end - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            return seen.decode(errors="replace"), "output closed, but not ended"
        finally:
            process.kill()
    return seen.decode(errors="replace"), f"{command[0]}: status {status}" if status else None


def verdict(output: str) -> str | None:
    """Why a console is no success, or None if it is one."""
    closing = CLOSING.search(output)
    if closing is None:
        return "the closing line is missing: the lane did not get to its end"
    passed, failed = int(closing[1]), int(closing[2])
    lines = len(re.findall(r"^ok ", output, re.MULTILINE))
    if failed or re.search(r"^not ok ", output, re.MULTILINE):
        return f"{failed} of {passed + failed} cases failed"
    if not passed or lines != passed:
        return f"{passed} passed, but {lines} lines say ok"
    return None


def qemu(kernel: Path, initramfs: Path) -> list[str | Path]:
    """The command that boots the lane: two CPUs with SVM, all emulated, no network.

    One thread for both CPUs: with a thread each, QEMU 7.2 stopped for good in three boots of three, within
    three passes over the cases, the whole kernel with it; why is not known. With one it has not been seen.
    """
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "2G",
        "-no-reboot", "-nodefaults", "-display", "none", "-serial", "stdio", "-nic", "none",
        "-kernel", kernel, "-initrd", initramfs,
        "-append", "console=ttyS0 quiet panic=-1 tsc=reliable clocksource=tsc",
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Build, boot, judge.

    Args:
        arguments: the command line without the program; None for sys.argv.

    Returns:
        0 if every case passed, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.svm.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--here", action="store_true", help="use this machine's /dev/kvm, not QEMU")
    here = parser.parse_args(arguments).here
    guests, program = WORK / "guests", WORK / "smoke"
    try:
        provide_tools()
        WORK.mkdir(parents=True, exist_ok=True)
        build.guests(guests)
        build.smoke(program, WORK / "core")
        if here:
            output, problem = stream([program, guests], WORK / "here.log", LIMIT_S)
        else:
            kernel, modules = build.kernel(WORK / "packages")
            build.initramfs(WORK / "initramfs.cpio", guests, program, modules, WORK / "packages")
            command = qemu(kernel, WORK / "initramfs.cpio")
            output, problem = stream(command, WORK / "console.log", LIMIT_S)
    except build.BuildError as error:
        print(f"test-svm: {error}", file=sys.stderr)
        return 1
    problem = verdict(output) or problem
    if problem:
        print(f"test-svm: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
