"""/proc/self and its other names: the guest, as Linux shows a program to itself. The second source is the native run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from running import ROOT, build, compare, run, torov
from support import Compiler

NO_MEM = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char path[64];
    const char *names[] = {"/proc/self/mem", "/proc/thread-self/mem", path, "/proc/self/pagemap", "/proc/self/syscall"};
    snprintf(path, sizeof path, "/proc/%d/mem", getppid());
    for (int i = 0; i < 5; i++)
        for (int mode = 0; mode < 3; mode++) {
            int fd = open(names[i], mode);
            if (fd >= 0) printf("%s opened by %d\\n", names[i], mode);
        }
    if (creat("/proc/self/mem", 0600) >= 0) puts("creat");
    if (chdir("/proc/self") || open("mem", O_RDWR) >= 0) puts("working directory");
    if (openat(open("/proc/self/task", O_RDONLY | O_DIRECTORY), "../mem", O_RDWR) >= 0) puts("directory");
    return 0;
}
"""


@pytest.mark.parametrize("kind", ["glibc", "musl", "dynamic"])
def test_the_program_sees_itself(cc: Compiler, tmp_path: Path, kind: str) -> None:
    program = build(cc, "proc", kind, "-pthread")
    native = compare(program, where=tmp_path)
    assert native.status == 0 and "its parent's command line: 1" in native.out


def test_the_monitors_memory_cannot_be_opened(cc: Compiler) -> None:
    done = run(torov(cc(NO_MEM)))
    assert (done.status, done.out) == (0, "")


def test_the_host_sees_the_programs_arguments(cc: Compiler) -> None:
    program = cc("#include <unistd.h>\nint main(void) { write(1, \"x\", 1); pause(); return 0; }\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(torov(program, "one", "two words"), stdout=subprocess.PIPE, env=env) as guest:
        assert guest.stdout is not None
        try:
            assert guest.stdout.read(1) == b"x"
            seen = Path(f"/proc/{guest.pid}/cmdline").read_bytes()
        finally:
            guest.kill()
    assert seen == b"\0".join([os.fsencode(program), b"one", b"two words", b""])
