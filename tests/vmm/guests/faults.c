/* One way to die a run: argv[1] says which. With argv[2], handlers print signal, si_code, si_addr and rip first. */
#include "guest.h"
#include <ucontext.h>

#define AREA 0x5000000000ull /* the same place natively and in the virtual machine */
static char *area; /* read-write, read-only, none, read-write, nothing */
static char stack[65536];

static void report(int sig, siginfo_t *info, void *context) {
    __asm__ volatile("pushf; andq $~0x40000, (%%rsp); popf" ::: "cc", "memory");
    char text[128];
    ucontext_t *u = context;
    int n = snprintf(text, sizeof text, "%d %d %lx %llx\n", sig, info->si_code, (unsigned long)info->si_addr, u->uc_mcontext.gregs[REG_RIP]);
    n = (int)write(1, text, (size_t)n);
    _exit(n > 0 ? 100 : 101);
}

static void *code(const void *bytes, size_t n, size_t at) {
    char *p = mmap((void *)(AREA + (1 << 20)), 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    need(p != MAP_FAILED, "mmap");
    memset(p, 0x90, 8192);
    memcpy(p + at, bytes, n);
    need(mprotect(p, 8192, PROT_READ | PROT_EXEC) == 0, "mprotect");
    return p + at;
}
static void run(const void *bytes, size_t n) { ((void (*)(void))code(bytes, n, 0))(); }
#define RUN(...) do { static const unsigned char b[] = {__VA_ARGS__, 0xc3}; run(b, sizeof b); } while (0)
#define JUMP(x) __asm__ volatile("jmp *%0" :: "r"((uint64_t)(x)))
#define READ(x) (void)*(volatile char *)(x)
#define WRITE(x) *(volatile char *)(x) = 1

static int file(off_t size) {
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    need(fd >= 0 && ftruncate(fd, size) == 0, "file");
    return fd;
}
static void behind_end(bool cut, bool write) {
    int fd = file(cut ? 8192 : 100);
    char *p = mmap((void *)(AREA + (1 << 20)), 8192, PROT_READ | PROT_WRITE, (write ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, fd, 0);
    need(p != MAP_FAILED, "mmap");
    p[0] = 1;
    if (cut) {
        p[4096] = 1;
        need(ftruncate(fd, 100) == 0, "ftruncate");
        if (!write) READ(p + 4096); /* a private copy stays */
    }
    p[99] = 2;
    if (write) WRITE(p + 5000); else READ(p + 5000);
}
static int deep(int n) { volatile char b[4096]; b[0] = (char)n; return n < 0 ? 0 : deep(n + 1) + b[0]; }
static volatile double zero_d, huge_d = 1e308;
static volatile int zero, minus = -1, least = INT32_MIN, result;
static void sse(unsigned mask) { unsigned m = 0x1f80 & ~mask; __asm__ volatile("ldmxcsr %0" :: "m"(m)); }
static void x87(unsigned short mask) { unsigned short m = 0x37f & ~mask; __asm__ volatile("fldcw %0" :: "m"(m)); }

static void die(const char *how) {
#define CASE(name) if (!strcmp(how, #name))
    CASE(null_read) READ(0); CASE(null_write) WRITE(8); CASE(wild_read) READ(0x600000000000);
    CASE(kernel_read) READ(0xffff888000001000);
    CASE(kernel_write) WRITE(0xffffffff81000000); CASE(top_read) READ(0xfffffffffffffff0);
    CASE(noncanonical_read) READ(0x8000000000001);
    CASE(window_read) READ(0x7f00000000); CASE(tables_read) READ(0x2000); CASE(tables_write) WRITE(0x3000);
    CASE(gdt_read) READ(0x1000);
    CASE(stub_write) WRITE(0xe000); CASE(stack_page_read) READ(0xf000); CASE(pool_read) READ(0x7f80000000);
    CASE(limit_read) READ(0x8000000000);
    CASE(ro_write) WRITE(area + 4096); CASE(none_read) READ(area + 8192); CASE(none_write) WRITE(area + 8200);
    CASE(hole_read) READ(area + 16384);
    CASE(straddle_read) (void)*(volatile uint64_t *)(area + 16380);
    CASE(straddle_write) *(volatile uint64_t *)(area + 4092) = 1;
    CASE(text_write) WRITE(die); CASE(exec_rw) JUMP(area); CASE(exec_ro) JUMP(area + 4096);
    CASE(exec_none) JUMP(area + 8192); CASE(exec_hole) JUMP(area + 16384);
    CASE(exec_null) JUMP(0); CASE(exec_lstar) JUMP(0xe000); CASE(exec_lstar_2) JUMP(0xe002);
    CASE(exec_stub) JUMP(0x1400); CASE(exec_noncanonical) JUMP(0x8000000000001);
    CASE(exec_kernel) JUMP(0xffffffff81000000); CASE(exec_past_end) { static const unsigned char nop[] = {0x90};
    JUMP(code(nop, 1, 8191)); }
    CASE(ret_noncanonical) __asm__ volatile("push %0; ret" :: "r"(0x8000000000001));
    CASE(bus_private) behind_end(false, false); CASE(bus_shared) behind_end(false, true);
    CASE(bus_cut) behind_end(true, true); CASE(bus_cut_private) behind_end(true, false);
    CASE(bus_aligned) __asm__ volatile("pushf; orq $0x40000, (%%rsp); popf; mov 1(%0), %%rax" :: "r"(area) : "rax");
    CASE(div_zero) result = 7 / zero; CASE(div_overflow) result = least / minus;
    CASE(sse_div) { sse(0x200); zero_d = 1.0 / zero_d; } CASE(sse_invalid) { sse(0x80); zero_d = zero_d / zero_d;
    } CASE(sse_overflow) { sse(0x400); zero_d = huge_d * huge_d; }
    CASE(sse_inexact) { sse(0x1000); zero_d = 1.0 / 3.0 * huge_d; } CASE(x87_div) { x87(4);
    __asm__ volatile("fldz; fld1; fdivp; fwait"); }
    CASE(x87_invalid) { x87(1); __asm__ volatile("fldz; fldz; fdivp; fwait"); }
    CASE(ud2) __builtin_trap(); CASE(lock_prefix) RUN(0xf0, 0x90); CASE(invalid_opcode) RUN(0x06);
    CASE(int3) __asm__ volatile("int3"); CASE(int3_long) RUN(0xcd, 3);
    CASE(icebp) RUN(0xf1); CASE(int4) RUN(0xcd, 4); CASE(int5) RUN(0xcd, 5); CASE(int_ff) RUN(0xcd, 0xff);
    CASE(int_2d) RUN(0xcd, 0x2d);
    CASE(hlt) RUN(0xf4); CASE(cli) RUN(0xfa); CASE(sti) RUN(0xfb); CASE(in_al_dx) RUN(0x31, 0xd2, 0xec);
    CASE(in_10) RUN(0xe5, 0x10); CASE(in_10_byte) RUN(0xe4, 0x10);
    CASE(out_10) RUN(0xe7, 0x10); CASE(out_10_byte) RUN(0xe6, 0x10); CASE(out_11) RUN(0xe7, 0x11);
    CASE(out_12_word) RUN(0x66, 0xe7, 0x12); CASE(out_21) RUN(0xe6, 0x21);
    CASE(out_80) RUN(0xe7, 0x80); CASE(out_dx) RUN(0xba, 0x10, 0, 0, 0, 0xef);
    CASE(out_dx_byte) RUN(0xba, 0x13, 0, 0, 0, 0xee);
    CASE(rep_outs) RUN(0xba, 0x10, 0, 0, 0, 0x48, 0x89, 0xe6, 0xb9, 2, 0, 0, 0, 0xf3, 0x6f);
    CASE(out_prefixed) RUN(0x48, 0xe7, 0x10); CASE(ins) RUN(0xba, 0x10, 0, 0, 0, 0x6c);
    CASE(rdmsr) RUN(0x0f, 0x32); CASE(wrmsr) RUN(0x0f, 0x30); CASE(mov_cr3) RUN(0x0f, 0x20, 0xd8);
    CASE(mov_dr) RUN(0x0f, 0x21, 0xc0); CASE(lgdt) RUN(0x0f, 0x01, 0x10);
    CASE(wbinvd) RUN(0x0f, 0x09); CASE(swapgs) RUN(0x0f, 0x01, 0xf8); CASE(sysret) RUN(0x48, 0x0f, 0x07);
    CASE(bad_ds) RUN(0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8); CASE(bad_ss) RUN(0x31, 0xc0, 0x8e, 0xd0);
    CASE(clts) RUN(0x0f, 0x06); CASE(ltr) RUN(0x31, 0xc0, 0x0f, 0x00, 0xd8); CASE(invlpg) RUN(0x0f, 0x01, 0x38);
    CASE(trap_flag) __asm__ volatile("pushf; orq $0x100, (%%rsp); popf; nop; nop" ::: "memory");
    CASE(stack_null) __asm__ volatile("xor %%esp, %%esp; push %%rax" ::: "memory");
    CASE(stack_noncanonical) __asm__ volatile("mov %0, %%rsp; push %%rax" :: "r"(0x8000000000000) : "memory");
    CASE(stack_noncanonical_fault) __asm__ volatile("mov %0, %%rsp; mov (%1), %%al" :: "r"(0x8000000000000), "r"(0) : "memory");
    CASE(stack_null_call) __asm__ volatile("xor %%esp, %%esp; call *%0" :: "r"(area) : "memory");
    CASE(stack_kernel_div) __asm__ volatile("mov %0, %%rsp; xor %%ecx, %%ecx; div %%ecx" :: "r"(0xffff888000000000) : "memory");
    CASE(stack_overflow) result = deep(0); CASE(exec_stack) JUMP(__builtin_frame_address(0));
    CASE(syscall_at_end) { static const unsigned char b[] = {0xb8, 0x6e, 0, 0, 0, 0x0f, 0x05}; JUMP(code(b, 7, 8185)); }
    CASE(abort) abort(); CASE(raise_term) raise(SIGTERM); CASE(raise_kill) raise(SIGKILL);
    CASE(raise_usr1) raise(SIGUSR1); CASE(raise_rt) raise(SIGRTMIN + 3);
    CASE(sigreturn) { __asm__ volatile("lea %0, %%rsp; mov $15, %%eax; syscall" :: "m"(area[8192]) : "memory"); }
}

int main(int argc, char **argv) {
    area = mmap((void *)AREA, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    need(area != MAP_FAILED && mprotect(area + 4096, 4096, PROT_READ) == 0 && mprotect(area + 8192, 4096, PROT_NONE) == 0, "area");
    if (argc > 2) {
        stack_t s = {.ss_sp = stack, .ss_size = sizeof stack};
        sigaltstack(&s, NULL);
        struct sigaction sa = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        static const int all[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGTERM, SIGUSR1};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) sigaction(all[i], &sa, NULL);
    }
    if (argc > 1) die(argv[1]);
    puts("alive");
    return 0;
}
