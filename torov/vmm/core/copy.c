/* Guest memory by pointer: one checked gate. The guest may unmap, truncate or protect a page at any time, so
 * the copies run in one place whose faults the handler turns into -EFAULT, as the kernel's own uaccess does. */
#include "tv.h"

#include <pthread.h>
#include <ucontext.h>

/* rep movsb: rcx is what is left when the fault comes */
extern const char tv_movs_start[], tv_movs_end[];
__attribute__((noinline, noclone)) static uint64_t movs(void *dst, const void *src, uint64_t len) {
    __asm__ volatile(
        ".globl tv_movs_start, tv_movs_end\n.hidden tv_movs_start, tv_movs_end\n"
        "tv_movs_start: rep movsb\n"
        "tv_movs_end:\n"
        : "+D"(dst), "+S"(src), "+c"(len) : : "memory");
    return len;
}

/* Two bytes at once, where another thread may run them. */
extern const char tv_store_start[], tv_store_end[];
__attribute__((noinline, noclone)) static long store(void *dst, uint16_t value) {
    long failed = 1;
    __asm__ volatile(
        ".globl tv_store_start, tv_store_end\n.hidden tv_store_start, tv_store_end\n"
        "tv_store_start: movw %w[value], (%[dst])\n"
        "xorl %k[failed], %k[failed]\n"
        "tv_store_end:\n"
        : [failed] "+r"(failed) : [dst] "r"(dst), [value] "r"(value) : "memory", "cc");
    return failed;
}

static struct sigaction old_segv, old_bus;

static void on_fault(int sig, siginfo_t *info, void *ctx) {
    ucontext_t *u = ctx;
    uintptr_t rip = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
    /* sent, not raised by the CPU; a copy that it interrupts goes on where it was */
    if (sig_is_ask(sig, info)) debug_ask(info);
    if (info->si_code <= 0 && (tv_me || sig_is_kick(sig, info))) { sig_note(sig, info, ctx); return; }
    if (rip >= (uintptr_t)tv_movs_start && rip < (uintptr_t)tv_movs_end) {
        u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)tv_movs_end;
        return;
    }
    if (rip >= (uintptr_t)tv_store_start && rip < (uintptr_t)tv_store_end) {
        u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)tv_store_end;
        return;
    }
    struct sigaction *old = sig == SIGSEGV ? &old_segv : &old_bus;
    if (old->sa_flags & SA_SIGINFO) { old->sa_sigaction(sig, info, ctx); return; }
    if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) { old->sa_handler(sig); return; }
    signal(sig, SIG_DFL); /* a fault of the monitor itself: die of it */
}

static void setup(void) {
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    sigfillset(&sa.sa_mask); /* a signal noted in between would be followed by the old mask, and another one take its place */
    sigdelset(&sa.sa_mask, SIGSEGV);
    sigdelset(&sa.sa_mask, SIGBUS);
    sigaction(SIGSEGV, &sa, &old_segv);
    sigaction(SIGBUS, &sa, &old_bus);
}

int tv_copy_setup(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    return -pthread_once(&once, setup);
}

static inline bool inside(const struct tv_vm *vm, gva addr, uint64_t len) {
    return addr >= TV_MIN && addr < vm->mem.top && len <= vm->mem.top - addr;
}

int tv_copy_in(struct tv_vm *vm, void *dst, gva src, uint64_t len) {
    if (!len) return 0;
    if (!inside(vm, src, len)) return -EFAULT;
    return movs(dst, vm->mem.base + src, len) ? -EFAULT : 0;
}

int tv_copy_out(struct tv_vm *vm, gva dst, const void *src, uint64_t len) {
    if (!len) return 0;
    if (!inside(vm, dst, len)) return -EFAULT;
    return movs(vm->mem.base + dst, src, len) ? -EFAULT : 0;
}

int tv_copy_host(void *dst, const void *src, uint64_t len) { return movs(dst, src, len) ? -EFAULT : 0; }

int tv_store16(struct tv_vm *vm, gva dst, uint16_t value) {
    if (!inside(vm, dst, 2)) return -EFAULT;
    return store(vm->mem.base + dst, value) ? -EFAULT : 0;
}

#define STR_PIECE 256u /* divides a page */

long tv_copy_str(struct tv_vm *vm, char *dst, gva src, size_t cap) {
    size_t n = 0;
    while (n < cap) { /* piece by piece: most strings are short, and one may end just before an unmapped page */
        uint64_t part = STR_PIECE - ((src + n) & (STR_PIECE - 1));
        if (part > cap - n) part = cap - n;
        if (tv_copy_in(vm, dst + n, src + n, part)) return -EFAULT;
        char *nul = memchr(dst + n, 0, part);
        if (nul) return nul - dst;
        n += part;
    }
    return -ENAMETOOLONG;
}

int tv_touch(struct tv_vm *vm, gva addr) {
    char c;
    return tv_copy_in(vm, &c, addr, 1);
}

/* The host kernel refuses this address wherever it refuses a bad one of a native program, so the order in which
 * Linux finds errors (EBADF before EFAULT, say) is kept. */
#define POISON 0xffffffffffff0000ull

uint64_t tv_ptr(const struct tv_vm *vm, gva addr) {
    if (!addr) return 0;
    if (addr < TV_MIN || addr >= vm->mem.top) return POISON | (addr & 7); /* a futex word looks at its alignment first */
    return (uint64_t)(uintptr_t)vm->mem.base + addr;
}

uint64_t tv_room(const struct tv_vm *vm, gva addr) {
    return addr < vm->mem.top ? vm->mem.top + GIB - addr : 0; /* the pool begins 2 GiB above top */
}
