"""A VM is used again within a process: the next guest finds nothing of the one before."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running import ROOT
from support import Compiler

pytestmark = pytest.mark.kvm

# Leaves patterns everywhere it can: mappings at fixed places, heap, stack, vector and x87 registers, fs base.
DIRTY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
int main(void) {
    for (unsigned long at = 0x300000000; at < 0x320000000; at += 0x4000000) {
        char *p = mmap((void *)at, 4 << 20, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        memset(p, 0xa5, 4 << 20);
    }
    for (int i = 0; i < 64; i++) memset(malloc(100000), 0x5a, 100000);
    mprotect((void *)0x300001000, 4096, PROT_NONE);
    unsigned mxcsr = 0x1fc0;
    unsigned short fcw = 0x27f;
    __asm__ volatile("ldmxcsr %0; fldcw %1; pcmpeqd %%xmm7, %%xmm7; fldpi" : : "m"(mxcsr), "m"(fcw) : "xmm7");
    return 3;
}
"""

# Looks at the same places; says what is not as a new process has it.
CLEAN = r"""
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
int main(void) {
    static char zero[4096];
    unsigned mxcsr;
    unsigned short fcw;
    unsigned long x[2];
    __asm__ volatile("stmxcsr %0; fnstcw %1; movdqu %%xmm7, %2" : "=m"(mxcsr), "=m"(fcw), "=m"(x));
    int bad = 0;
    for (unsigned long at = 0x300000000; at < 0x320000000; at += 0x4000000) {
        unsigned char v[1024];
        if (!mincore((void *)at, 4 << 20, v)) bad |= 1;
        char *p = mmap((void *)at, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        for (int i = 0; i < 4 << 20; i += 4096) if (memcmp(p + i, zero, 4096)) bad |= 2;
    }
    printf("bad %d mxcsr %x fcw %x\n", bad, mxcsr, fcw);
    return 4;
}
"""

SCRIPT = """
import sys, torov
for word in sys.argv[1:]:
    result = torov.run(word)
    print(result.exit_status, result.stats["lost"], flush=True)
"""


def in_turn(*words: object) -> str:
    """What the programs print, run one after the other in one process."""
    command = [sys.executable, "-c", SCRIPT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True).stdout


@pytest.mark.parametrize("kind", ["glibc", "pie", "musl"])
def test_nothing_of_the_last_guest_is_left(cc: Compiler, kind: str) -> None:
    dirty, clean = cc(DIRTY, kind), cc(CLEAN, kind)
    native = subprocess.run([clean], capture_output=True, text=True, check=False)
    assert (native.returncode, native.stdout) == (4, "bad 0 mxcsr 1f80 fcw 37f\n")
    assert in_turn(*[dirty, clean] * 4) == ("3 0\n" + native.stdout + "4 0\n") * 4


def test_programs_of_all_kinds_take_turns(cc: Compiler) -> None:
    programs = [cc(CLEAN, kind) for kind in ("glibc", "pie", "musl")]
    assert in_turn(*programs * 10) == "bad 0 mxcsr 1f80 fcw 37f\n4 0\n" * 30


def test_a_guest_that_died_leaves_a_usable_vm(cc: Compiler) -> None:
    fault = cc("int main(void) { return *(volatile int *)8; }", "glibc")
    clean = cc(CLEAN, "glibc")
    assert in_turn(*[fault, clean] * 5) == "139 0\nbad 0 mxcsr 1f80 fcw 37f\n4 0\n" * 5


TWO = """
import sys, threading, torov
from torov.errors import MachineError
for word in sys.argv[1:]:
    torov.image_of(word)
first = threading.Thread(target=lambda: torov.run(sys.argv[1], ["10"]))
first.start()
import time; time.sleep(0.5)
try:
    torov.run(sys.argv[2])
except MachineError as error:
    print(error)
first.join()
print(torov.run(sys.argv[2]).exit_status)
"""


def test_one_guest_at_a_time(cc: Compiler) -> None:
    """Signals and limits belong to the process; a second guest is refused, and the first is not harmed."""
    sleeper = cc("#include <unistd.h>\nint main(void) { usleep(1500000); return 0; }", "glibc")
    clean = cc(CLEAN, "glibc")
    done = subprocess.run([sys.executable, "-c", TWO, sleeper, clean], capture_output=True, text=True, cwd=ROOT, timeout=60,
                          check=False)  # fmt: skip
    assert done.stderr == ""
    refusal = "another guest runs in this process: Device or resource busy\n"
    assert done.stdout == refusal + "bad 0 mxcsr 1f80 fcw 37f\n4\n"
