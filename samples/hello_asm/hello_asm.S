# Prints one line with no library at all: two system calls.
        .globl  _start
        .text
_start:
        mov     $1, %eax                # write(1, text, size)
        mov     $1, %edi
        lea     text(%rip), %rsi
        mov     $size, %edx
        syscall
        mov     $60, %eax               # exit(0)
        xor     %edi, %edi
        syscall

        .section .rodata
text:   .ascii  "Hello World, I am ToroV!\n"
        .set    size, . - text

        .section .note.GNU-stack, "", @progbits
