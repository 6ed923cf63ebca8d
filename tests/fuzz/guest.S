/* The guest of the fuzzer of calls: one site, from which every call is made, and memory to make them with. */
    .globl _start, window
_start:
    syscall
    hlt
    .section .data
    .balign 4096
first: .quad 1
    .bss
    .balign 4096
window: .skip 262144
