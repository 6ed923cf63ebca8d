# Two syscall instructions with nothing between them, and the first exit of a guest is one of them: the place of an exit
# must not be taken from RIP before it is known whether RIP is on the instruction or past it.
# No argument: the first, alarm(0), returns 0, which is the number of the second, read(0, byte, 1), which returns 1.
# One argument: the first exit is the second instruction.
        .globl _start
_start: cmpq $1, (%rsp)
        je both
        mov $39, %eax                   # getpid
        lea single(%rip), %r12
        jmp second
both:   mov $37, %eax
        xor %edi, %edi
        lea byte(%rip), %rsi
        mov $1, %edx
        lea check(%rip), %r12
        .globl first
        .type first, @function
first:  syscall
second: syscall
        jmp *%r12
        .size first, . - first
single: mov %rax, %rbx
        lea done(%rip), %r12
        mov $39, %eax
        jmp second
done:   cmp %rax, %rbx                  # the same process both times
        sete %dil
        movzbl %dil, %edi
        add $40, %edi                   # 41
        jmp end
check:  movzbl byte(%rip), %edi         # 'x' is 120
        add %eax, %edi                  # 121
end:    mov $60, %eax
        syscall
        .bss
byte:   .skip 1
        .section .note.GNU-stack,"",@progbits
