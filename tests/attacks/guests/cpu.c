/* The CPU against the monitor: ports, gates, rings, selectors, forged system calls, forged frames. */
#include "attack.h"
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/ucontext.h>
#include <ucontext.h>

static unsigned char *code_page(void) {
    unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED, "mmap of code");
    return p;
}
/* rax after a call of code, which ends in ret; the arguments of a system call are set */
static long run(void *code, long nr, long a, long b, long c) {
    long ret;
    register long r10 __asm__("r10") = 0;
    __asm__ volatile("call *%1" : "=a"(ret) : "r"(code), "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return ret;
}
#define FORGED(what, code) do { \
    volatile long r_ = -1; \
    got = 0; \
    if (!sigsetjmp(back, 1)) r_ = run(code, SYS_getppid, 0, 0, 0); \
    holds(got != 0 && r_ == -1, "%s: %s", what, got ? strsignal(got) : "went through"); \
} while (0)
static void natively(void) { /* out is an error of the program natively, too: the way out is syscall itself */
    unsigned char *p = code_page();
    if (getenv("TARGET")) return;
    memcpy(p, "\x0f\x05\xc3", 3);
    holds(run(p, SYS_getppid, 0, 0, 0) != getppid(), "a system call from code that no one has checked");
}
static void forged_jit(void) {
    catch_faults();
    unsigned char *p = code_page();
    memcpy(p, "\xe7\x10\xc3", 3);
    FORGED("out 0x10, eax in memory that was written", p);
    memcpy(p + 16, "\xba\x10\x00\x00\x00\xef\xc3", 7);
    FORGED("out dx, eax", p + 16);
    memcpy(p + 32, "\x66\xe7\x10\xc3", 4);
    FORGED("out 0x10, ax", p + 32);
    memcpy(p + 48, "\xe6\x10\xc3", 3);
    FORGED("out 0x10, al", p + 48);
    memcpy(p + 64, "\x48\xe7\x10\xc3", 4);
    FORGED("out with REX", p + 64);
    memcpy(p + 80, "\xf3\xe7\x10\xc3", 4);
    FORGED("out with rep", p + 80);
    memcpy(p + 96, "\xe5\x10\xc3", 3);
    FORGED("in eax, 0x10", p + 96);
}
__attribute__((naked)) static void own_out(void) { __asm__ volatile("out %eax, $0x10; ret"); }
static void forged_text(void) {
    catch_faults();
    FORGED("out 0x10, eax in the program's text", (void *)own_out);
}
/* Around each patched site: the second byte, and an instruction that the site's bytes are the end of. */
extern char site_of_ours[];
__attribute__((naked, noinline)) static void a_site(void) { __asm__ volatile(".globl site_of_ours\nsite_of_ours: syscall; ret"); }
static void second_byte(void) {
    catch_faults();
    need(run((void *)a_site, SYS_getppid, 0, 0, 0) == getppid(), "the site itself");
    const unsigned char *s = (unsigned char *)site_of_ours;
    dprintf(1, "the site reads %02x %02x\n", s[0], s[1]);
    got = 0;
    volatile long r = -1;
    if (!sigsetjmp(back, 1)) r = run(site_of_ours + 1, SYS_getppid, 0, 0, 0); /* 10 c3: adc %al, %bl; or 05 ...: add */
    holds(r != getppid(), "a jump to the second byte: %s", got ? strsignal(got) : "no call was made");
}
static void out_loop(int from, int to, bool in) {
    unsigned char *p = code_page();
    int through = 0, n = 0;
    for (int port = from; port < to; port++) {
        for (int kind = 0; kind < 6; kind++) {
            static const unsigned char op[6] = {0xee, 0xef, 0xec, 0xed, 0x6e, 0x6c}; /* out al, eax; in al, eax; outsb; insb */
            if (in != (kind == 2 || kind == 3 || kind == 5)) continue;
            unsigned char c[] = {0xba, (unsigned char)port, (unsigned char)(port >> 8), 0, 0, op[kind], 0xc3};
            memcpy(p, c, sizeof c);
            n++;
            got = 0;
            static char data[16];
            if (!sigsetjmp(back, 1)) run(p, 1, (long)data, (long)data, 0);
            if (got != SIGSEGV) through++;
        }
    }
    holds(!through, "ports %x to %x, %d instructions: %d went through", from, to, n, through);
}
static void ports_out(void) {
    catch_faults();
    out_loop(0, 0x40, false);
    out_loop(0x60, 0x62, false);
    out_loop(0x3f8, 0x3fa, false);
    out_loop(0xcf8, 0xcfa, false);
    out_loop(0xfffe, 0x10000, false);
}
static void ports_in(void) {
    catch_faults();
    out_loop(0, 0x40, true);
    out_loop(0x60, 0x62, true);
    out_loop(0xcf8, 0xcfa, true);
    out_loop(0xfffe, 0x10000, true);
}
static void port_strings(void) {
    catch_faults();
    unsigned char *p = code_page();
    static char data[64];
    memcpy(p, "\xb9\x04\x00\x00\x00\xba\x10\x00\x00\x00\xf3\x6f\xc3", 13);
    FORGED("rep outsl to 0x10", p);
    p[11] = 0x6d;
    FORGED("rep insl from 0x10", p);
    memcpy(p + 32, "\xb9\x01\x00\x00\x00\xba\x10\x00\x00\x00\xf3\x6f\xc3", 13);
    got = 0;
    if (!sigsetjmp(back, 1)) run(p + 32, SYS_getppid, (long)data, (long)data, 0);
    holds(got == SIGSEGV, "rep outsl of one");
}
static void interrupts(void) {
    catch_faults();
    unsigned char *p = code_page();
    int through = 0;
    for (int n = 0; n < 256; n++) {
        if (n == 3 || n == 4 || n == 0x1a) continue; /* int3 and into are the program's; PVM answers 0x1a as cpuid */
        unsigned char c[] = {0xcd, (unsigned char)n, 0xc3};
        memcpy(p, c, 3);
        got = 0;
        if (!sigsetjmp(back, 1)) run(p, SYS_getppid, 0, 0, 0);
        if (!got) through++, dprintf(1, "int %d went through\n", n);
    }
    holds(!through, "int 0 to 255: %d went through", through);
}
static void int80(void) {
    catch_faults();
    volatile long r = -1;
    got = 0;
    if (!sigsetjmp(back, 1)) { long x = 64; /* getppid of i386 */ __asm__ volatile("int $0x80" : "+a"(x) : : "memory"); r = x; }
    holds(got == SIGSEGV && r == -1, "int 0x80: %s", got ? strsignal(got) : answer(r));
}
static void sysenter(void) {
    catch_faults();
    DIES("sysenter", __asm__ volatile("mov %%rsp, %%rbp; mov $64, %%eax; sysenter" : : : "rax", "memory"));
}
static void vsyscall(void) {
    catch_faults();
    volatile long r = 0;
    got = 0;
    if (!sigsetjmp(back, 1)) r = ((long (*)(long *))0xffffffffff600400)(NULL);
    holds(got == SIGSEGV, "time of the vsyscall page: %s", got ? strsignal(got) : r > 1000000000 ? "went through" : "?");
    DIES("a read of it", (void)*(volatile char *)0xffffffffff600000);
}
static char table[16];
static unsigned short selector;
static void privileged(void) {
    catch_faults();
    unsigned long x = 0;
    (void)x;
    DIES("lgdt", __asm__ volatile("lgdt %0" : : "m"(table)));
    DIES("lidt", __asm__ volatile("lidt %0" : : "m"(table)));
    DIES("lldt", __asm__ volatile("lldt %0" : : "m"(selector)));
    DIES("ltr", __asm__ volatile("ltr %0" : : "m"(selector)));
    DIES("lmsw", __asm__ volatile("lmsw %0" : : "m"(selector)));
    DIES("mov to cr0", __asm__ volatile("mov %0, %%cr0" : : "r"(x)));
    DIES("mov from cr0", __asm__ volatile("mov %%cr0, %0" : "=r"(x)));
    DIES("mov to cr3", __asm__ volatile("mov %0, %%cr3" : : "r"(0x2000ul)));
    DIES("mov from cr3", __asm__ volatile("mov %%cr3, %0" : "=r"(x)));
    DIES("mov to cr4", __asm__ volatile("mov %0, %%cr4" : : "r"(x)));
    DIES("mov to cr8", __asm__ volatile("mov %0, %%cr8" : : "r"(x)));
    DIES("mov to dr7", __asm__ volatile("mov %0, %%dr7" : : "r"(x)));
    DIES("mov from dr0", __asm__ volatile("mov %%dr0, %0" : "=r"(x)));
    DIES("wrmsr", __asm__ volatile("wrmsr" : : "c"(0xc0000082), "a"(0), "d"(0)));
    DIES("rdmsr", __asm__ volatile("rdmsr" : : "c"(0xc0000080) : "rax", "rdx"));
    DIES("hlt", __asm__ volatile("hlt"));
    DIES("cli", __asm__ volatile("cli"));
    DIES("sti", __asm__ volatile("sti"));
    DIES("swapgs", __asm__ volatile("swapgs"));
    DIES("sysretq", __asm__ volatile("sysretq"));
    DIES("sysexit", __asm__ volatile("sysexitl"));
    DIES("clts", __asm__ volatile("clts"));
    DIES("invd", __asm__ volatile("invd"));
    DIES("wbinvd", __asm__ volatile("wbinvd"));
    DIES("invlpg", __asm__ volatile("invlpg %0" : : "m"(table)));
    DIES("invpcid", __asm__ volatile("invpcid %0, %1" : : "m"(table), "r"(0ul)));
    DIES("xsetbv", __asm__ volatile("xsetbv" : : "c"(0), "a"(1), "d"(0)));
    DIES("monitor", __asm__ volatile("monitor" : : "a"(table), "c"(0), "d"(0)));
    DIES("rdpmc", __asm__ volatile("rdpmc" : : "c"(0) : "rax", "rdx"));
}
static void virtual_machines(void) { /* instructions of hypervisors: some are calls of the host's hypervisor */
    catch_faults();
    DIES("vmxon", __asm__ volatile("vmxon %0" : : "m"(*(long *)table)));
    DIES("vmrun", __asm__ volatile("vmrun %%rax" : : "a"(0)));
    DIES("vmload", __asm__ volatile("vmload %%rax" : : "a"(0)));
    DIES("stgi", __asm__ volatile("stgi"));
    DIES("skinit", __asm__ volatile("skinit %%eax" : : "a"(0)));
    DIES("vmlaunch", __asm__ volatile("vmlaunch"));
    DIES("vmread", __asm__ volatile("vmread %%rax, %%rbx" : : "a"(0) : "rbx"));
    got = 0;
    volatile long r = 77;
    if (!sigsetjmp(back, 1)) { long x = 77; __asm__ volatile("vmcall" : "+a"(x) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory"); r = x; }
    holds(got || r < 0 || r == 77, "vmcall: %s", got ? strsignal(got) : answer(r));
    got = 0;
    if (!sigsetjmp(back, 1)) { long x = 5; __asm__ volatile("vmmcall" : "+a"(x) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory"); r = x; }
    holds(got || r < 0 || r == 77, "vmmcall: %s", got ? strsignal(got) : answer(r));
}
struct far { unsigned off; unsigned short sel; } __attribute__((packed));
static void far_jumps(void) {
    catch_faults();
    int inwards = 0, n = 0;
    for (int sel = 0; sel < 0x100; sel++) {
        if ((sel & ~3) == 0x20) continue; /* 32-bit code: compatible() */
        struct far f = {(unsigned)(unsigned long)(void *)&&there, (unsigned short)sel};
        unsigned short cs = 3;
        n++;
        got = 0;
        if (!sigsetjmp(back, 1)) {
            __asm__ goto volatile("ljmp *%0" : : "m"(f) : "memory" : there);
        there:
            __asm__ volatile("mov %%cs, %0" : "=r"(cs));
        }
        if ((cs & 3) != 3) inwards++;
    }
    holds(!inwards, "far jumps to %d selectors: %d led inwards", n, inwards);
    struct far gate = {0, 0x40};
    DIES("a far call through the task segment", __asm__ volatile("lcall *%0" : : "m"(gate) : "memory"));
    gate.sel = 0x10;
    DIES("a far call to ring 0", __asm__ volatile("lcall *%0" : : "m"(gate) : "memory"));
}
static void data_selectors(void) {
    catch_faults();
    int through = 0;
    for (int sel = 4; sel < 0x100; sel++) {
        if (sel == 0x2b || sel == 0x33 || sel == 0x23) continue;
        got = 0;
        if (!sigsetjmp(back, 1)) __asm__ volatile("mov %0, %%ss" : : "r"(sel));
        if (!got) through++;
    }
    holds(!through, "mov to ss: %d went through", through);
    through = 0;
    for (int sel = 4; sel < 0x100; sel++) { /* ring-0 data, TSS, gates */
        if ((sel & 3) == 3 && (sel == 0x2b || sel == 0x33 || sel == 0x23 || sel == 0x7b || sel == 0x63 || sel == 0x53)) continue;
        if (sel == (0x2b & ~3) || sel == 0x29 || sel == 0x2a || sel == 0x30 || sel == 0x31 || sel == 0x32 || sel == 0x20 || sel == 0x21 || sel == 0x22) continue;
        if ((sel & ~3) == 0x78) continue;
        got = 0;
        if (!sigsetjmp(back, 1)) __asm__ volatile("mov %0, %%ds" : : "r"(sel));
        if (!got) through++;
    }
    __asm__ volatile("mov %0, %%ds" : : "r"(0));
    holds(!through, "mov to ds: %d went through", through);
}
static void iret(unsigned long cs, unsigned long ss, unsigned long flags, unsigned long to) {
    __asm__ volatile("mov %%rsp, %%rax; push %1; push %%rax; push %2; push %0; push %3; iretq" : : "r"(cs), "r"(ss), "r"(flags), "r"(to) : "rax", "memory");
}
static void iret_inwards(void) {
    catch_faults();
    static const unsigned short all[] = {0x10, 0x11, 0x12, 0x13, 0x08, 0x40, 0x43, 0, 0x18, 0x1b};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[64];
        snprintf(text, sizeof text, "iretq to selector %x", all[i]);
        DIES(text, iret(all[i], all[i] + 8u, 0x3202, (unsigned long)site_of_ours));
    }
    DIES("iretq to an address that is none", iret(0x33, 0x2b, 0x202, 0x8000000000000000));
}
static void flags(void) {
    unsigned long now;
    catch_faults();
    __asm__ volatile("pushf; orl $0x3000, (%%rsp); popf; pushf; pop %0" : "=r"(now));
    holds(!(now & 0x3000), "popf of IOPL 3: flags %lx", now);
    DIES("cli after it", __asm__ volatile("cli"));
    __asm__ volatile("pushf; orl $0x4000, (%%rsp); popf" ::: "cc"); /* NT */
    DIES("iretq with NT", iret(0x33, 0x2b, 0x202, 0x8000000000000000));
    __asm__ volatile("pushf; andl $~0x4000, (%%rsp); popf" ::: "cc");
}
/* The stubs: ring 0's pages may not be reached, LSTAR's page may be entered and gives nothing. */
static void stubs(void) {
    catch_faults();
    static const unsigned long all[] = {0x1000, 0x1200, 0x1400, 0x1402, 0x1470, 0x2000, 0x3000, 0xf000, 0xffff, 0xe002, 0xe004, 0xe800};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[64];
        snprintf(text, sizeof text, "a jump to %lx", all[i]);
        FORGED(text, (void *)all[i]);
        snprintf(text, sizeof text, "a write to %lx", all[i]);
        DIES(text, *(volatile char *)all[i] = 1);
        if (all[i] >> 12 == 0xe) continue; /* LSTAR's page may be read where it may be entered */
        snprintf(text, sizeof text, "a read of %lx", all[i]);
        DIES(text, (void)*(volatile char *)all[i]);
    }
}
static long to_lstar(unsigned long rcx, unsigned long r11, long nr) {
    long r;
    register unsigned long r11_ __asm__("r11") = r11;
    __asm__ volatile("lea 1f(%%rip), %%rdx; push %%rdx; jmp *%4; 1:" : "=a"(r) : "a"(nr), "c"(rcx), "r"(r11_), "r"(0xe000ul), "D"(0), "S"(0) : "rdx", "memory");
    return r;
}
/* LSTAR's stub from the program: without a syscall instruction behind rcx it is a fault. */
static void lstar(void) {
    catch_faults();
    static const unsigned long rcx[] = {0, 1, 0x1002, 0xe002, 0xe000, 0x8000000000000000, 0xffffffffff600000, ~0ul};
    for (size_t i = 0; i < sizeof rcx / sizeof *rcx; i++) {
        char text[64];
        snprintf(text, sizeof text, "the stub, rcx %lx", rcx[i]);
        DIES(text, to_lstar(rcx[i], 0x202, SYS_getppid));
    }
    DIES("the stub, rcx at data", to_lstar((unsigned long)own_secret + 2, 0x202, SYS_getppid));
}
/* With a syscall instruction behind rcx the stub is as good as that instruction; but the flags are those of r11. */
static volatile unsigned long seen_flags;
__attribute__((naked, noinline)) static unsigned long flags_by_lstar(unsigned long r11) {
    __asm__ volatile("push %rbx; mov %rdi, %r11; lea 2f(%rip), %rcx; mov $39, %eax; mov $0xe000, %ebx; jmp *%rbx; 1: syscall; 2: pushf; pop %rax; push $0x202; popf; pop %rbx; ret");
}
static void lstar_flags(void) {
    catch_faults();
    static const unsigned long r11[] = {0x3202, 0x2, 0x20202, 0x4202, 0x203202, 0x180202, 0x10202, 0x7fffffffffff0202 & ~0x40000ul, ~0ul & ~0x40500ul}; /* not TF, DF and AC, which are the program's own trouble */
    for (size_t i = 0; i < sizeof r11 / sizeof *r11; i++) {
        got = 0;
        unsigned long f = 0;
        if (!sigsetjmp(back, 1)) f = flags_by_lstar(r11[i]);
        holds(!(f & 0x23000) && (got || f & 0x200), "the stub, r11 %lx: %s, flags %lx", r11[i], got ? strsignal(got) : "back", f);
        if (!(f & 0x3000)) continue;
        DIES("cli after that", __asm__ volatile("cli"));
        DIES("out 0x21 after that", __asm__ volatile("out %%eax, $0x21" : : "a"(0)));
    }
}
/* Code of 32 bits: its own ways into a kernel. */
static void compatible(void) {
    catch_faults();
    unsigned char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    need(low != MAP_FAILED && (unsigned long)low < 1ul << 32, "low memory");
    static const struct { const char *name, *code; size_t n; } all[] = {
        {"syscall of 32 bits", "\xb8\x40\x00\x00\x00\x0f\x05\xcb", 8}, {"sysenter of 32 bits", "\xb8\x40\x00\x00\x00\x89\xe5\x0f\x34\xcb", 10},
        {"int 0x80 of 32 bits", "\xb8\x40\x00\x00\x00\xcd\x80\xcb", 8}, {"out of 32 bits", "\xb8\x40\x00\x00\x00\xe7\x10\xcb", 8},
        {"out 0x21 of 32 bits", "\xb8\x40\x00\x00\x00\xe7\x21\xcb", 8}, {"bound", "\x62\x05\x00\x00\x00\x00\xcb", 7}, {"into", "\xb8\x00\x00\x00\x80\x01\xc0\xce\xf4\xcb", 10}};
    struct far f = {(unsigned)(unsigned long)low, 0x23};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        memcpy(low, all[i].code, all[i].n);
        volatile long r = -1;
        got = 0;
        if (!sigsetjmp(back, 1)) { long x; __asm__ volatile("lcall *%1" : "=a"(x) : "m"(f) : "rcx", "rdx", "rbp", "r11", "memory"); r = x; }
        holds(got, "%s: %s", all[i].name, got ? strsignal(got) : answer(r));
    }
}
/* A frame that sigreturn(2) loads, with what no program may have. */
static volatile unsigned long back_flags;
static void forge(void (*edit)(mcontext_t *)) {
    static char area[65536] __attribute__((aligned(64)));
    ucontext_t now;
    getcontext(&now);
    memset(area, 0, sizeof area);
    char *sp = area + 32768;
    memcpy(sp, &now, 304);
    mcontext_t *m = &((ucontext_t *)sp)->uc_mcontext;
    m->gregs[REG_CSGSFS] = 0x002b000000000033;
    m->gregs[REG_EFL] = 0x202;
    m->gregs[REG_RIP] = (long)&&out;
    m->gregs[REG_RSP] = (long)(area + 60000);
    m->fpregs = NULL;
    edit(m);
    if (!m) goto *&&out;
    __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(sp) : "memory");
out:
    __asm__ volatile("pushf; pop %0; push $0x202; popf" : "=r"(back_flags));
    siglongjmp(back, 2);
}
static void e_cs0(mcontext_t *m) { m->gregs[REG_CSGSFS] = 0x0018000000000010; }
static void e_cs32(mcontext_t *m) { m->gregs[REG_CSGSFS] = 0x002b000000000023; }
static void e_ss(mcontext_t *m) { m->gregs[REG_CSGSFS] = 0x0000000000000033; }
static void e_iopl(mcontext_t *m) { m->gregs[REG_EFL] = 0x23202; }
static void e_flags(mcontext_t *m) { m->gregs[REG_EFL] = (long)(~0ul & ~0x40500ul); }
static void e_stub(mcontext_t *m) { m->gregs[REG_RIP] = 0x1402; }
static void e_rip(mcontext_t *m) { m->gregs[REG_RIP] = (long)0x8000000000000000; }
static void e_kernel(mcontext_t *m) { m->gregs[REG_RIP] = (long)0xffffffff81000000; }
static void e_fpu_host(mcontext_t *m) { m->fpregs = (void *)target(); }
static char junk[8192] __attribute__((aligned(64)));
static void e_fpu_junk(mcontext_t *m) {
    memset(junk, 0xff, sizeof junk);
    m->fpregs = (void *)junk;
}
static void e_fpu_magic(mcontext_t *m) { /* sw_reserved: magic1, sizes and features that lie */
    memset(junk, 0xff, sizeof junk);
    memcpy(junk + 464, (unsigned[]){0x46505853, 0xffffffff, 0xffffffff, 0xffffffff, 0xfffffffb, 0}, 24);
    m->fpregs = (void *)junk;
}
static void forged_frames(void) {
    catch_faults();
    static const struct { const char *name; void (*edit)(mcontext_t *); } all[] = {{"cs of ring 0", e_cs0}, {"cs of 32 bits", e_cs32}, {"ss 0", e_ss},
        {"IOPL and VM", e_iopl}, {"all flags", e_flags}, {"rip in a ring-0 stub", e_stub}, {"rip that is no address", e_rip}, {"rip in the kernel", e_kernel},
        {"FPU state in the monitor", e_fpu_host}, {"FPU state of garbage", e_fpu_junk}, {"FPU sizes that lie", e_fpu_magic}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        got = 0;
        back_flags = 0;
        int how = sigsetjmp(back, 1);
        if (!how) forge(all[i].edit);
        unsigned short cs;
        __asm__ volatile("mov %%cs, %0" : "=r"(cs));
        holds((cs & 3) == 3 && !(back_flags & 0x23000), "a frame with %s: %s, flags %lx", all[i].name, got ? strsignal(got) : "back in ring 3", back_flags);
    }
}
/* A handler, or an entry of a thread, at what is no address. */
static void bad_handler_child(void) {
    struct sigaction act = {.sa_handler = (void (*)(int))0x8000000000000000};
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
}
static void bad_handler_kernel(void) {
    struct sigaction act = {.sa_handler = (void (*)(int))0xffffffff81000000};
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
}
static void bad_handler_stub(void) {
    struct sigaction act = {.sa_handler = (void (*)(int))0x1402};
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
}
static void odd_handlers(void) {
    static void (*const all[])(void) = {bad_handler_child, bad_handler_kernel, bad_handler_stub};
    for (size_t i = 0; i < 3; i++) {
        int status = apart(all[i]);
        holds(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "handler %zu: status %x", i, status);
    }
}
static void thread_pointers(void) {
    FAILS(SC(SYS_arch_prctl, ARCH_SET_GS, 0xffff888000000000), "ARCH_SET_GS in the kernel's half");
    FAILS(SC(SYS_arch_prctl, ARCH_SET_FS, 0x8000000000000000), "ARCH_SET_FS at what is no address");
    FAILS(SC(SYS_arch_prctl, ARCH_SET_GS, -1l), "ARCH_SET_GS of -1");
    FAILS(SC(SYS_clone, 0x10f00 | CLONE_SETTLS, own_secret + 2048, 0, 0, 0x8000000000000000), "CLONE_SETTLS at what is no address");
    FAILS(SC(SYS_arch_prctl, 0x2001, 0, 0), "ARCH_MAP_VDSO_X32");
    FAILS(SC(SYS_arch_prctl, 0x5001, 1), "ARCH_SHSTK_ENABLE");
    FAILS(SC(SYS_arch_prctl, 0x1012, 0), "ARCH_SET_CPUID");
}
/* What the host sends itself: a fault that never was. */
static volatile int faults;
static void on_fault(int sig, siginfo_t *i, void *c) { (void)sig; (void)i; (void)c; faults++; }
static void sent_faults(void) {
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    siginfo_t info;
    char path[64];
    const int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS};
    for (size_t i = 0; i < 6; i++) {
        sigaction(all[i], &act, NULL);
        memset(&info, 0, sizeof info);
        info.si_signo = all[i];
        info.si_code = 1;
        info.si_addr = target();
        faults = 0;
        long r = SC(SYS_rt_sigqueueinfo, getpid(), all[i], &info), q = SC(SYS_rt_tgsigqueueinfo, getpid(), getpid(), all[i], &info);
        holds(faults == (r == 0) + (q == 0), "signal %d with the code of a fault: %s, %s, handled %d times", all[i], answer(r), answer(q), faults);
    }
    snprintf(path, sizeof path, "%p", (void *)target());
    holds(SC(SYS_open, (long)0x700000000000, O_RDONLY) == -EFAULT, "and the monitor still tells a bad pointer from a good one");
    int p[2];
    need(!pipe(p), "pipe");
    struct timespec t;
    holds(SC(SYS_nanosleep, 0x30000, &t) == -EFAULT && SC(SYS_execve, 0x30000, 0, 0) == -EFAULT, "by its own copies as well");
}

static void jit_out(void) { natively(); forged_jit(); }
MAIN(ATTACK(jit_out), ATTACK(forged_text), ATTACK(second_byte), ATTACK(ports_out), ATTACK(ports_in), ATTACK(port_strings), ATTACK(interrupts), ATTACK(int80),
     ATTACK(sysenter), ATTACK(vsyscall), ATTACK(privileged), ATTACK(virtual_machines), ATTACK(far_jumps), ATTACK(data_selectors), ATTACK(iret_inwards),
     ATTACK(flags), ATTACK(stubs), ATTACK(lstar), ATTACK(lstar_flags), ATTACK(compatible), ATTACK(forged_frames), ATTACK(odd_handlers),
     ATTACK(thread_pointers), ATTACK(sent_faults))
