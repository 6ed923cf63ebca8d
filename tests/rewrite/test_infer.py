"""Which numbers reach a site: small programs whose numbers their text says, and real ones against strace -i."""

from __future__ import annotations

import json
from pathlib import Path

import observed
import pytest
from support import HELLO_C, Compiler
from test_golden import ENTRIES, binary

from torov.loader.elf import load
from torov.rewrite import code
from torov.rewrite.infer import Inferred, infer

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "inferred.json").read_text())
START = "        .globl _start\n_start:\n"
NOTE = '        .section .note.GNU-stack,"",@progbits\n'

KNOWN: dict[str, tuple[str, set[int]]] = {
    "mov": ("mov $39, %eax\n syscall\n", {39}),
    "xor": ("xor %eax, %eax\n syscall\n", {0}),
    "mov of a register": ("mov $57, %ebx\n mov %ebx, %eax\n syscall\n", {57}),
    "a register kept over a call": ("mov $57, %ebx\n call f\n mov %ebx, %eax\n syscall\n hlt\nf: ret\n", {57}),
    "push and pop": ("push $12\n pop %rax\n syscall\n", {12}),
    "a slot of the stack": ("sub $24, %rsp\n movl $9, 8(%rsp)\n xor %eax, %eax\n mov 8(%rsp), %eax\n syscall\n", {9}),
    "a slot by rbp": ("push %rbp\n mov %rsp, %rbp\n movl $9, -4(%rbp)\n mov -4(%rbp), %eax\n syscall\n", {9}),
    "lea": ("mov $10, %edx\n lea 5(%rdx), %eax\n syscall\n", {15}),
    "cmov": ("mov $1, %eax\n mov $2, %edx\n test %edi, %edi\n cmovne %edx, %eax\n syscall\n", {1, 2}),
    "setcc": ("xor %eax, %eax\n test %edi, %edi\n sete %al\n add $16, %eax\n syscall\n", {16, 17}),
    "sbb": ("cmp $1, %rdi\n sbb %eax, %eax\n and $2, %eax\n add $5, %eax\n syscall\n", {5, 7}),
    "movzx of a byte": ("mov $0x7702, %edx\n movzx %dl, %eax\n syscall\n", {2}),
    "mov to al and ah": ("mov $60, %al\n mov $0, %ah\n movzx %ax, %eax\n syscall\n", {60}),
    "two ways": ("test %edi, %edi\n je 1f\n mov $3, %eax\n jmp 2f\n1: mov $4, %eax\n2: syscall\n", {3, 4}),
    "a comparison": ("mov %rdi, %rax\n cmp $7, %eax\n jne 1f\n syscall\n1: hlt\n", {7}),
    "a constant in memory": ("mov number(%rip), %eax\n syscall\n hlt\n .section .rodata\nnumber: .long 61\n .text\n", {61}),
    "callers of a wrapper": ("mov $1, %edi\n call f\n mov $2, %edi\n call f\n hlt\nf: mov %edi, %eax\n syscall\n ret\n", {1, 2}),
    "callers twice removed": ("mov $8, %edi\n call g\n hlt\ng: jmp f\nf: mov %edi, %eax\n syscall\n ret\n", {8}),
    "callers by the stack": ("push $21\n call f\n hlt\nf: mov 8(%rsp), %eax\n syscall\n ret\n", {21}),
    "callers by a register": ("lea f(%rip), %rbx\n mov $6, %edi\n call *%rbx\n hlt\nf: mov %edi, %eax\n syscall\n ret\n", {6}),
    "a function that ends the program": ("mov $5, %eax\n test %edi, %edi\n je 1f\n call f\n1: syscall\n hlt\nf: hlt\n", {5}),
    "a table of jumps": (
        "mov $9, %eax\n and $1, %edi\n lea t(%rip), %rdx\n movslq (%rdx,%rdi,4), %rcx\n add %rdx, %rcx\n jmp *%rcx\n"
        "1: mov $7, %eax\n2: syscall\n hlt\n .section .rodata\nt: .long 1b-t, 2b-t\n .text\n",
        {7, 9},
    ),
    "no number of Linux": ("mov $0x40000001, %eax\n syscall\n", {0x40000001}),
}
UNKNOWN: dict[str, tuple[str, str]] = {
    "memory": ("mov (%rdi), %eax\n syscall\n", "read from memory"),
    "a result": ("call f\n syscall\n hlt\nf: ret\n", "a result of the call"),
    "a call itself": ("mov $39, %eax\n syscall\n syscall\n", "computed by syscall"),
    "a register that a call may change": ("mov $1, %esi\n call f\n mov %esi, %eax\n syscall\n hlt\nf: ret\n", "not kept"),
    "the entry": ("syscall\n", "entry point"),
    "a function whose address is in the data": (
        "call *p(%rip)\n hlt\nf: mov %edi, %eax\n syscall\n ret\n .data\n .balign 8\np: .quad f\n .text\n",
        "pointer",
    ),
    "a function whose address is stored": (
        "lea f(%rip), %rbx\n mov %rbx, (%rsp)\n hlt\nf: mov %edi, %eax\n syscall\n ret\n",
        "taken",
    ),
    "a loop that counts": ("xor %eax, %eax\n1: inc %eax\n cmp %ecx, %eax\n jne 1b\n syscall\n", "computed in a loop"),
    "a slot whose address is known": (
        "sub $24, %rsp\n movl $9, 8(%rsp)\n lea 8(%rsp), %rdi\n call f\n mov 8(%rsp), %eax\n syscall\n hlt\nf: ret\n",
        "known elsewhere",
    ),
    "a part of 64 bits": ("movabs $0x3900000000, %rax\n shr $32, %rax\n syscall\n", "computed by shr"),
}


def of(cc: Compiler, text: str, kind: str = "bare") -> Inferred:
    return infer(str(cc(START + text + NOTE, kind)))


@pytest.mark.parametrize("name", KNOWN)
def test_numbers_that_the_text_says(cc: Compiler, name: str) -> None:
    text, numbers = KNOWN[name]
    found = of(cc, text)
    assert [numbers] == [set(some or ()) for some in found.sites.values()], found.reasons
    assert found.unknown == 0 and found.calls == {nr for nr in numbers if nr < 512}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_known_says_why(cc: Compiler, name: str) -> None:
    text, reason = UNKNOWN[name]
    found = of(cc, text)
    unknown = [at for at, numbers in found.sites.items() if numbers is None]
    assert len(unknown) == found.unknown == 1
    assert reason in found.reasons[unknown[0]]


def test_an_unknown_site_says_what_is_known_of_it(cc: Compiler) -> None:
    found = of(cc, "test %edi, %edi\n mov (%rsi), %eax\n je 1f\n mov $60, %eax\n1: syscall\n")
    assert found.unknown == 1 and list(found.partial.values()) == [{60}] and found.calls == {60}


def test_a_search_ends_in_bounded_time(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "STEPS", 50_000)
    ways = "".join(f" cmp ${n}, %edi\n je 1f\n syscall\n 1: mov %esi, %eax\n" for n in range(300))
    found = of(cc, f"mov $1, %esi\n{ways} syscall\n")
    assert "bounded time" in list(found.reasons.values())[-1]
    monkeypatch.setattr(code, "STEPS", 5_000_000)
    assert of(cc, f"mov $1, %esi\n{ways} syscall\n").unknown == 1  # the first: eax at the entry


WRAPPER = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#include <stdio.h>
#include <time.h>
int main(int argc, char **argv) {
    long n = argc > 1 ? SYS_getppid : SYS_getpid;
    syscall(n);
    syscall(SYS_getrandom, argv, 0, 0);
    struct timespec t = {0, 1000};
    nanosleep(&t, 0);
    FILE *f = fopen("/etc/hostname", "r");
    if (f) { char line[99]; fgets(line, 99, f); fclose(f); puts(line); }
    return 0;
}
"""


@pytest.mark.parametrize("flags", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("kind", ["glibc", "pie", "musl"])
def test_a_c_program_makes_no_other_calls(cc: Compiler, tmp_path: Path, kind: str, flags: str) -> None:
    path = cc(WRAPPER, kind, flags)
    found, seen = infer(str(path)), observed.pairs(load(str(path)), [str(path)], tmp_path)
    assert {39, 318} <= {nr for _, nr in seen}  # strace saw the calls of main
    assert not outside(found, seen)
    # of syscall(2) all numbers are known: those of its callers, argc or not
    assert {39, 110, 318} <= found.calls
    assert found.unknown <= 3


def outside(found: Inferred, seen: set[tuple[int, int]]) -> list[tuple[str, int]]:
    """The pairs that a run showed and the program should not have."""
    known = {at: numbers for at, numbers in found.sites.items() if numbers is not None}
    return [(hex(at), nr) for at, nr in seen if at not in found.sites or nr not in known.get(at, {nr})]


def test_hello_has_every_site_known(cc: Compiler) -> None:
    found = infer(str(cc(HELLO_C, "glibc")))
    assert found.unknown == 0 and {1, 231} <= found.calls


RUNS: dict[str, list[str]] = {
    "busybox": [
        "sh",
        "-c",
        "ls / | wc; id; ps; date; find /etc -name host*; touch a; mv a b; ln -s b c; rm b c; sleep 0.1 & wait",
    ],
    "mksh-3": ["-c", "ls /; x=$(id); cat </etc/passwd | wc; ulimit -a; umask; sleep 0.1 & wait"],
    "lksh": ["-c", "ls /; (sleep 0.1) & wait; kill -0 $$"],
    "elftrunc": ["/bin/ls", "x"],
    "zsh-static": ["-c", "ls; print -l /etc/*; sleep 0.1 & wait; ulimit -a; umask"],
    "ppcx64": ["-i"],
    "x86_64-linux-gnu-fpcres-3.2.2": ["/etc/passwd", "-o", "x.o"],
    "ldconfig": ["-p"],
    "shfmt": ["-l", "/etc/init.d"],
    "gofmt-2": ["-l", "/usr/lib"],
    "moonx": ["--help"],
    "rg": ["-j4", "root", "/etc"],
    "jaq": [".", "/etc/hostname"],
    "caddy": ["list-modules"],
    "none-amd64-linux": ["/bin/true"],
}


@pytest.mark.corpus
@pytest.mark.parametrize("name", RUNS)
def test_real_programs_make_no_other_calls(name: str, tmp_path: Path) -> None:
    path = str(binary(ENTRIES[name]))
    seen = observed.pairs(load(path), [path, *RUNS[name]], tmp_path)
    assert len(seen) > 4
    found = infer(path)
    assert not outside(found, seen)
    # what is unknown does not hide the rest: the calls that were seen are among those it names
    hidden = {nr for at, nr in seen if found.sites[at] is None}
    assert {nr for _, nr in seen} - hidden <= found.calls


@pytest.mark.corpus
@pytest.mark.parametrize("name", ENTRIES)
def test_almost_all_sites_are_known(name: str) -> None:
    found = infer(str(binary(ENTRIES[name])))
    # a change must be meant: more calls or fewer known sites make a policy worse, fewer calls could make it wrong
    assert {"sites": len(found.sites), "unknown": found.unknown, "calls": len(found.calls)} == GOLDEN[name]
