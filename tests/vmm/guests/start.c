/* What a program finds when it starts: registers, stack, auxiliary vector, arguments, environment. Linked with -e first. */
#include "guest.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

__asm__(".globl first\nfirst:\n"
        "mov %rax, saved(%rip); mov %rbx, saved+8(%rip); mov %rcx, saved+16(%rip); mov %rdx, saved+24(%rip)\n"
        "mov %rsi, saved+32(%rip); mov %rdi, saved+40(%rip); mov %rbp, saved+48(%rip); mov %rsp, saved+56(%rip)\n"
        "mov %r8, saved+64(%rip); mov %r9, saved+72(%rip); mov %r10, saved+80(%rip); mov %r11, saved+88(%rip)\n"
        "mov %r12, saved+96(%rip); mov %r13, saved+104(%rip); mov %r14, saved+112(%rip); mov %r15, saved+120(%rip)\n"
        "pushf; popq saved+128(%rip); fnstcw saved+136(%rip); stmxcsr saved+144(%rip); fnstsw saved+152(%rip)\n"
        "mov %cs, saved+160(%rip); mov %ss, saved+168(%rip); mov %ds, saved+176(%rip); mov %es, saved+184(%rip)\n"
        "mov %fs, saved+192(%rip); mov %gs, saved+200(%rip); movdqu %xmm7, saved+208(%rip)\n"
        "jmp _start\n");
uint64_t saved[32];
extern char **environ;
extern const char __ehdr_start[];
extern char first[];

int main(int argc, char **argv) {
    static const char *names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp mod 16", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        "rflags", "fcw", "mxcsr", "fsw", "cs", "ss", "ds", "es", "fs", "gs", "xmm7", "xmm7"};
    saved[16] &= ~0x202000ul;
    for (int i = 0; i < 28; i++) printf("%s %lx\n", names[i], i == 7 ? saved[i] & 15 : saved[i]);
    uint64_t *sp = (uint64_t *)saved[7];
    printf("argc %d %d\n", argc, sp[0] == (uint64_t)argc && sp[argc + 1] == 0 && (char **)(sp + 1) == argv && environ == argv + argc + 1);
    for (int i = 0; i < argc; i++) if (i != 0) printf("%zu %016lx\n", strlen(argv[i]), sum(argv[i], strlen(argv[i])));
    int n = 0;
    for (; environ[n]; n++) if (strncmp(environ[n], "T_", 2) == 0) printf("%s\n", environ[n]);
    Elf64_auxv_t *a = (Elf64_auxv_t *)(environ + n + 1);
    const Elf64_Ehdr *e = (const void *)__ehdr_start;
    for (; a->a_type; a++) {
        uint64_t v = a->a_un.a_val;
        switch (a->a_type) {
        case 27: case 28: case 29: continue; /* AT_RSEQ_*: rseq is not offered */
        case AT_PHDR: printf("AT_PHDR %d\n", v == (uint64_t)__ehdr_start + e->e_phoff); break;
        case AT_PHNUM: printf("AT_PHNUM %d\n", v == e->e_phnum); break;
        case AT_ENTRY: printf("AT_ENTRY %d\n", v == (uint64_t)first); break;
        case AT_SYSINFO_EHDR: printf("AT_SYSINFO_EHDR %d\n", memcmp((void *)v, ELFMAG, SELFMAG) == 0); break;
        case AT_RANDOM: { uint64_t z[2] = {0}; printf("AT_RANDOM %d\n", memcmp((void *)v, z, 16) != 0); break; }
        case AT_EXECFN: printf("AT_EXECFN %d\n", strcmp((char *)v, argv[0]) == 0); break;
        case AT_PLATFORM: printf("AT_PLATFORM %s\n", (char *)v); break;
        case AT_HWCAP2: printf("AT_HWCAP2 %lx\n", v & ~2ul); break; /* FSGSBASE: only where KVM offers it */
        default: printf("AT %lu %lx\n", a->a_type, v);
        }
    }
    char top = 0;
    printf("arguments above the stack pointer: %d\n", (uint64_t)argv[0] > saved[7] && (uint64_t)&top < saved[7]);
    return 0;
}
