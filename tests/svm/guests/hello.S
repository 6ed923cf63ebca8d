# The smallest program: write(1, ...) and exit(7).
        .globl _start
_start: mov $1, %eax
        mov $1, %edi
        lea text(%rip), %rsi
        mov $6, %edx
        syscall
        mov $60, %eax
        mov $7, %edi
        syscall
        .section .rodata
text:   .ascii "hello\n"
        .section .note.GNU-stack,"",@progbits
