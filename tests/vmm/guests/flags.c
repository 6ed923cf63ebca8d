/* What a system call leaves of the program's state: flags, registers, a stack pointer that points nowhere. */
#include "guest.h"

/* getppid with this rsp and these flags; flags and registers afterwards */
static void call(const char *what, uint64_t rsp, uint64_t set, long nr) {
    uint64_t flags, rcx, r11, rax, kept;
    if (rsp == -2ul) __asm__ volatile("mov %%rsp, %0" : "=r"(rsp));
    __asm__ volatile(
        "mov %%rsp, %%r12; mov %%rsp, %%rbp; mov %5, %%rbx\n"
        "pushf; or %6, (%%rsp); popf\n"
        "mov %%rbx, %%rsp; syscall\n"
        "after: mov %%r12, %%rsp\n"
        "pushf; pop %2; push $0x202; popf\n"
        "mov %%rcx, %0; mov %%r11, %1; mov %%rbp, %4; sub %%r12, %4\n"
        : "=&r"(rcx), "=&r"(r11), "=&r"(flags), "=a"(rax), "=&r"(kept)
        : "r"(rsp), "r"(set), "a"(nr)
        : "rbx", "rbp", "r12", "rcx", "r11", "memory", "cc");
    extern char after[];
    printf("%s: rax %s rcx %d r11 %lx flags %lx kept %lx\n", what, answer((long)rax < 0 ? (long)rax : 0), rcx == (uint64_t)after, r11 & ~0x246ul, flags & ~0x246ul, kept);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    call("plain", -2ul, 0, SYS_getppid);
    call("direction", -2ul, 0x400, SYS_getppid);
    call("carry", -2ul, 1, SYS_getppid);
    call("alignment check", -2ul, 0x40000, SYS_getppid);
    call("nested task", -2ul, 0x4000, SYS_getppid);
    call("identification", -2ul, 0x200000, SYS_getppid);
    call("stack at 0", 0, 0, SYS_getppid);
    call("stack out of the window", 0x600000000000, 0, SYS_getppid);
    call("stack in the kernel", 0xffff888000000000, 0, SYS_getppid);
    call("stack not canonical", 0x8000000000000, 0, SYS_getppid);
    call("stack in the tables", 0x3000, 0x400, SYS_getppid);
    call("unknown", -2ul, 0, 400);
    call("minus one", -2ul, 0, -1);
    call("high bits of rax", -2ul, 0, (long)(0xabcdef0000000000ul | SYS_getppid));
    call("high bit of eax", -2ul, 0, (long)(0x80000000ul | SYS_getppid));
    call("x32", -2ul, 0, 0x40000000 | SYS_getppid);
    return 0;
}
