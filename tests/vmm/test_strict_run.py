"""Strict mode: a call is made only where the program has it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from running import Ran, run, torov
from support import Compiler

pytestmark = pytest.mark.kvm

PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
__asm__(".text\n.globl id\n.type id, @function\nid: mov $39, %eax\nsyscall\nret\n.size id, . - id");
long id(void); /* a site that shows one number */
int main(int argc, char **argv) {
    struct timespec t;
    const char *what = argc > 1 ? argv[1] : "";
    int times = clock_gettime(CLOCK_MONOTONIC, &t) == 0 && clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0;
    printf("id %d, time %d\n", id() == getpid(), times);
    fflush(stdout);
    if (!strcmp(what, "other number")) { /* the same instruction, entered behind the mov */
        const char *site = (char *)((long)main & ~4095l); /* not named, or nothing would be known of it */
        while (memcmp(site, "\xb8\x27\0\0\0\x0f\5\xc3", 8)) site++;
        long r = 102;
        __asm__ volatile("call *%1" : "+a"(r) : "r"(site + 5) : "rcx", "r11", "memory");
        puts("made another call");
    } else if (!strcmp(what, "own code")) {
        unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(p, code, sizeof code);
        mprotect(p, 4096, PROT_READ | PROT_EXEC);
        printf("own code: %d\n", ((int (*)(void))p)() == getpid());
    } else if (!strcmp(what, "exec")) {
        execl(argv[2], argv[2], NULL);
        perror("exec");
    } else if (!strcmp(what, "fork")) {
        if (!fork()) { printf("child %d\n", id() == getpid()); fflush(stdout); _exit(0); }
        wait(NULL);
    }
    fflush(stdout);
    return 3;
}
"""


@pytest.fixture(scope="module")
def program(cc: Compiler) -> Path:
    return cc(PROGRAM, "glibc", "-Wall", "-fno-pie", "-no-pie")


def strictly(program: Path, where: Path, *args: str, strict: bool = True) -> Ran:
    policy = where / "p.json"
    policy.write_text(json.dumps({"torov": 1, "default": "builtin", "strict": strict}))
    return run(torov(program, *args, options=("--policy", policy)), cwd=where)


@pytest.mark.parametrize("kind", ["glibc", "musl", "pie"])
def test_a_program_that_makes_its_own_calls_runs_as_ever(cc: Compiler, tmp_path: Path, kind: str) -> None:
    program = cc(PROGRAM, kind, "-Wall", *(() if kind == "pie" else ("-fno-pie", "-no-pie")))
    native = run([program, "fork"])
    done = strictly(program, tmp_path, "fork")
    assert (native.status, native.out) == (3, "id 1, time 1\nchild 1\n")
    assert (done.status, done.out, done.err) == (native.status, native.out, "")


def test_another_number_at_a_known_site_is_killed(program: Path, tmp_path: Path) -> None:
    assert strictly(program, tmp_path, "other number", strict=False).status != 128 + 31
    done = strictly(program, tmp_path, "other number")
    assert done.status == 128 + 31 and "made another" not in done.out
    assert "getuid(): strict: the program has no such call at 0x" in done.err


def test_a_call_from_code_of_its_own_is_killed(program: Path, tmp_path: Path) -> None:
    assert strictly(program, tmp_path, "own code", strict=False).out.endswith("own code: 1\n")
    done = strictly(program, tmp_path, "own code")
    assert done.status == 128 + 31 and "own code" not in done.out
    assert "getpid(): strict: the program has no such call at 0x" in done.err


def test_exec_of_a_program_whose_sites_are_known(cc: Compiler, program: Path, tmp_path: Path) -> None:
    other = cc(PROGRAM.replace("child", "other"), "glibc", "-Wall", "-fno-pie", "-no-pie")
    unknown = cc(PROGRAM.replace("child", f"{time.time_ns()}"), "glibc", "-Wall", "-fno-pie", "-no-pie")
    time.sleep(max(0.0, other.stat().st_ctime + 2.1 - time.time()))  # what is newer than two seconds is not found by its times
    assert strictly(other, tmp_path).status == 3  # its table is made
    done = strictly(program, tmp_path, "exec", str(other))
    assert (done.status, done.out) == (3, "id 1, time 1\nid 1, time 1\n"), done.err
    refused = strictly(program, tmp_path, "exec", str(unknown))
    assert refused.status == 3 and "exec: Permission denied" in refused.err


def test_a_dynamic_program_is_refused_at_the_start(cc: Compiler, tmp_path: Path) -> None:
    dynamic = cc(PROGRAM, "dynamic", "-Wall")
    done = strictly(dynamic, tmp_path)
    assert done.status == 126 and "static program" in done.err and len(done.err.splitlines()) == 1
