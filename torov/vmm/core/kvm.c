/* The CPU by /dev/kvm: ring 3 for the program, stubs of two instructions in ring 0.
 * Sources: Linux Documentation/virt/kvm/api.rst; AMD64 APM vol. 2, 4.8 (descriptors), 8 (exceptions), 12.2.5 (TSS). */
#include "tv.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stubs.h" /* generated: assembled by keystone */

#define SEL_KCS 0x10
#define SEL_UDS 0x2b
#define SEL_UCS 0x33
#define SEL_TSS 0x40
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MAX_CPUID 256

struct cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[MAX_CPUID];
};
/* What the host's KVM supports does not change while we live: asked once per process. */
static struct cpuid_table cpuid;
static int rip_past = -1; /* every thread sees it at its exits and finds the same */

int cpu_rip_past(void) { return __atomic_load_n(&rip_past, __ATOMIC_RELAXED); }
void cpu_set_rip_past(int past) {
    if (cpu_rip_past() != past) __atomic_store_n(&rip_past, past, __ATOMIC_RELAXED); /* its cache line stays shared */
}

/* The guest sees the CPU without nested virtualisation, enclaves, AMX state and KVM's own leaves. */
static void cpuid_filter(struct cpuid_table *t) {
    unsigned out = 0;
    for (unsigned i = 0; i < t->head.nent; i++) {
        struct kvm_cpuid_entry2 e = t->entry[i];
        if (e.function >= 0x40000000 && e.function < 0x50000000) continue;
        switch (e.function) {
        case 1: e.ecx &= ~(1u << 3 | 1u << 5 | 1u << 6); break;            /* MONITOR VMX SMX */
        case 7: if (e.index == 0) { e.ebx &= ~(1u << 2); e.edx &= ~(1u << 22 | 1u << 24 | 1u << 25); } break; /* SGX AMX */
        case 0xd: if (e.index == 0) e.eax &= ~(3u << 17); else if (e.index == 17 || e.index == 18) continue; break;
        case 0x12: case 0x1d: case 0x1e: continue;
        case 0x80000001: e.ecx &= ~(1u << 2); break;                       /* SVM */
        case 0x8000000a: continue;
        }
        t->entry[out++] = e;
    }
    t->head.nent = out;
}

static const struct kvm_cpuid_entry2 *cpuid_find(uint32_t function, uint32_t index) {
    for (unsigned i = 0; i < cpuid.head.nent; i++)
        if (cpuid.entry[i].function == function && cpuid.entry[i].index == index) return &cpuid.entry[i];
    return NULL;
}

const void *cpu_known(uint32_t *size) {
    *size = (uint32_t)(sizeof cpuid.head + cpuid.head.nent * sizeof *cpuid.entry);
    return &cpuid;
}
void cpu_know(const void *table, uint32_t size) {
    if (size > sizeof cpuid.head && size <= sizeof cpuid) memcpy(&cpuid, table, size);
}

int cpu_vm_open(struct tv_cpu_vm **out, bool iopl, int kvm, const char **what) {
    struct tv_cpu_vm *vm = calloc(1, sizeof *vm);
    if (!vm) return -ENOMEM;
    vm->fd = -1;
    vm->iopl = iopl;
    *what = "/dev/kvm";
    vm->kvm = kvm >= 0 ? kvm : open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0) goto fail;
    if (!cpuid.head.nent) {
        struct cpuid_table *t = &cpuid;
        *what = "KVM_GET_API_VERSION (12 is needed)";
        int api = ioctl(vm->kvm, KVM_GET_API_VERSION, 0);
        if (api != 12) { if (api >= 0) errno = ENOTSUP; goto fail; }
        *what = "KVM_GET_SUPPORTED_CPUID";
        t->head.nent = MAX_CPUID;
        if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, t) < 0) { t->head.nent = 0; goto fail; }
        cpuid_filter(t);
    }
    vm->maxphyaddr = 36;
    const struct kvm_cpuid_entry2 *e = cpuid_find(0x80000008, 0);
    if (e) vm->maxphyaddr = e->eax & 0xff;
    e = cpuid_find(7, 0);
    if (e && (e->ebx & 1)) vm->features |= CPUF_FSGSBASE;
    *what = "KVM_CREATE_VM";
    do vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0); while (vm->fd < 0 && errno == EINTR);
    if (vm->fd < 0) goto fail;
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0) vm->features |= CPUF_READONLY;
    vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    *what = "KVM_CAP_SYNC_REGS";
    if (!(ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS)) { errno = ENOTSUP; goto fail; }
    *out = vm;
    return 0;
fail:;
    int err = errno;
    cpu_vm_close(vm);
    return -err;
}

int cpu_vm_memory(struct tv_cpu_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host, bool readonly) {
    struct kvm_userspace_memory_region r = {.slot = slot, .flags = readonly ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)host};
    return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

int cpu_vm_slots(struct tv_cpu_vm *vm) {
    int n = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    return n > 0 ? n : 32;
}

void cpu_vm_close(struct tv_cpu_vm *vm) {
    if (!vm) return;
    if (vm->fd >= 0) close(vm->fd);
    if (vm->kvm >= 0) close(vm->kvm);
    free(vm);
}

static uint64_t host_xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static uint64_t descriptor(unsigned type, unsigned s, unsigned dpl, unsigned l, unsigned db, unsigned g,
                           uint32_t base, uint32_t limit) {
    return (uint64_t)(limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
           (uint64_t)s << 44 | (uint64_t)dpl << 45 | 1ull << 47 | (uint64_t)(limit >> 16 & 0xf) << 48 |
           (uint64_t)l << 53 | (uint64_t)db << 54 | (uint64_t)g << 55 | (uint64_t)(base >> 24) << 56;
}

/* GDT with Linux's selectors, TSS with the I/O bitmap, IDT, stubs: one supervisor page, written once. */
static void system_page(uint8_t *sys) {
    uint64_t *gdt = (uint64_t *)(sys + TV_SYS_GDT);
    gdt[2] = descriptor(11, 1, 0, 1, 0, 1, 0, 0xfffff);       /* 0x10 kernel code */
    gdt[3] = descriptor(3, 1, 0, 0, 1, 1, 0, 0xfffff);        /* 0x18 kernel data */
    gdt[4] = descriptor(11, 1, 3, 0, 1, 1, 0, 0xfffff);       /* 0x23 user code, 32 bit */
    gdt[5] = descriptor(3, 1, 3, 0, 1, 1, 0, 0xfffff);        /* 0x2b user data */
    gdt[6] = descriptor(11, 1, 3, 1, 0, 1, 0, 0xfffff);       /* 0x33 user code */
    gdt[8] = descriptor(11, 0, 0, 0, 0, 0, (uint32_t)TV_SYS_TSS, 0x68 + 4 - 1);
    gdt[15] = descriptor(5, 1, 3, 0, 1, 0, 0, 0);             /* 0x7b: CPU and node number for lsl: CPU 0 */
    uint64_t *idt = (uint64_t *)(sys + TV_SYS_IDT);
    for (unsigned v = 0; v < TV_VECTORS; v++) {
        uint64_t stub = TV_SYS_STUBS + (uint64_t)v * TV_STUB_STEP, dpl = v == 3 || v == 4 ? 3 : 0;
        idt[2 * v] = (stub & 0xffff) | SEL_KCS << 16 | (0x8e00ull | dpl << 13) << 32 | (stub >> 16 & 0xffff) << 48;
        idt[2 * v + 1] = stub >> 32;
    }
    memcpy(sys + TV_SYS_LSTAR, stub_trap, sizeof stub_trap);
    for (unsigned v = 0; v < TV_VECTORS; v++)
        memcpy(sys + TV_SYS_STUBS + (uint64_t)v * TV_STUB_STEP, stub_exception, sizeof stub_exception);
}

static void task_segment(uint8_t *tss, uint64_t sys_stack) {
    memcpy(tss + 4, &sys_stack, 8);                           /* RSP0 */
    *(uint16_t *)(tss + 0x66) = 0x68;
    memset(tss + 0x68, 0xff, 4);
    tss[0x68 + 2] = 0xf0;                                     /* ports 0x10..0x13: the four that out 0x10, eax covers */
}

int cpu_create(struct tv_cpu **out, struct tv_cpu_vm *vm, int id, uint8_t *sys, uint64_t tss, uint64_t sys_stack, struct tv_vm *among, const char **what) {
    struct tv_cpu *cpu = calloc(1, sizeof *cpu);
    if (!cpu) return -ENOMEM;
    cpu->vm = vm;
    cpu->sys = sys;
    cpu->sys_stack = sys_stack;
    cpu->tss = tss;
    cpu->run = MAP_FAILED;
    *what = "KVM_CREATE_VCPU";
    cpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
    if (cpu->fd < 0) goto fail;
    /* Where threads of the guest run, one of them may put a file of its own in the place of this descriptor: it is out of reach,
     * and KVM has taken it for a vCPU, before it is mapped. */
    if (among && (errno = -vm_hide_fd(among, &cpu->fd))) goto fail;
    *what = "KVM_SET_CPUID2";
    if (ioctl(cpu->fd, KVM_SET_CPUID2, &cpuid) < 0) goto fail;
    *what = "mmap of struct kvm_run";
    struct kvm_run *run = cpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED) goto fail;
    run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    _Static_assert(sizeof(struct tv_regs) == sizeof(struct kvm_regs), "tv_regs follows kvm_regs");
    cpu->regs = (struct tv_regs *)&run->s.regs.regs;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};
    uint64_t zero = 0;
    attr.addr = (uintptr_t)&zero;
    if (ioctl(cpu->fd, KVM_SET_DEVICE_ATTR, &attr) == 0) __atomic_fetch_or(&vm->features, CPUF_TSC_ZERO, __ATOMIC_RELAXED);
    *out = cpu;
    return 0;
fail:;
    int err = errno;
    cpu_destroy(cpu);
    return -err;
}


int cpu_start(struct tv_cpu *cpu, uint64_t rip, uint64_t rsp, const char **what) {
    struct kvm_sregs s;
    if (cpu->tss == TV_SYS_TSS) system_page(cpu->sys);
    task_segment(cpu->sys + cpu->tss, cpu->sys_stack);
    *what = "KVM_GET_SREGS";
    if (ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0) return -errno;
    struct kvm_segment code = {.limit = ~0u, .selector = SEL_UCS, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {.limit = ~0u, .selector = SEL_UDS, .type = 3, .present = 1, .dpl = 3, .s = 1, .db = 1, .g = 1};
    struct kvm_segment null = {.type = 3, .present = 0, .dpl = 3, .s = 1, .unusable = 1};
    s.cs = code;
    s.ss = data;
    s.ds = s.es = s.fs = s.gs = null;
    s.tr = (struct kvm_segment){.base = cpu->tss, .limit = 0x68 + 4 - 1, .selector = SEL_TSS, .type = 11, .present = 1};
    s.ldt = (struct kvm_segment){.unusable = 1, .type = 2};
    s.gdt.base = TV_SYS_GDT;
    s.gdt.limit = 16 * 8 - 1;
    s.idt.base = TV_SYS_IDT;
    s.idt.limit = TV_VECTORS * 16 - 1;
    s.cr0 = 0x80050033; /* PG AM WP NE ET MP PE */
    s.cr3 = TV_SYS_TABLES;
    s.cr4 = 0x620;      /* PAE OSFXSR OSXMMEXCPT */
    const struct kvm_cpuid_entry2 *e = cpuid_find(1, 0);
    bool xsave = e && (e->ecx & 1u << 26);
    if (xsave) s.cr4 |= 1u << 18;
    if (__atomic_load_n(&cpu->vm->features, __ATOMIC_RELAXED) & CPUF_FSGSBASE) s.cr4 |= 1u << 16;
    s.efer = 0xd01;     /* NXE LMA LME SCE */
    *what = "KVM_SET_SREGS";
    if (ioctl(cpu->fd, KVM_SET_SREGS, &s) < 0) return -errno;
    const struct kvm_cpuid_entry2 *d = cpuid_find(0xd, 0);
    if (xsave && d) {
        struct kvm_xcrs x = {.nr_xcrs = 1};
        x.xcrs[0].value = host_xcr0() & ((uint64_t)d->edx << 32 | d->eax);
        *what = "KVM_SET_XCRS";
        if (ioctl(cpu->fd, KVM_SET_XCRS, &x) < 0) return -errno;
    }
    struct { struct kvm_msrs head; struct kvm_msr_entry e[3]; } m = {.head.nmsrs = 3, .e = {
        {.index = MSR_STAR, .data = (uint64_t)0x23 << 48 | (uint64_t)SEL_KCS << 32},
        {.index = MSR_LSTAR, .data = TV_SYS_LSTAR},
        {.index = MSR_SFMASK, .data = 0x257fd5}}}; /* all flags off in the stub, as Linux since 5.19 */
    *what = "KVM_SET_MSRS";
    if (ioctl(cpu->fd, KVM_SET_MSRS, &m) != 3) return errno ? -errno : -EINVAL;
    /* the state that exec(2) gives: FCW 0x37f, MXCSR 0x1f80, everything else in its initial state */
    uint8_t fpu[CPU_XSAVE] = {0x7f, 0x03, [24] = 0x80, 0x1f};
    *what = "KVM_SET_XSAVE";
    if (ioctl(cpu->fd, KVM_SET_XSAVE, fpu) < 0) return -errno;
    cpu->pending_io = false;
    memset(cpu->regs, 0, sizeof *cpu->regs);
    cpu->regs->rip = rip;
    cpu->regs->rsp = rsp;
    cpu->regs->rflags = cpu->vm->iopl ? 0x3202 : 0x202;
    cpu->ring0 = false;
    return 0;
}

static inline bool has_error_code(int v) { return v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30; }

static uint64_t *ring0_frame(struct tv_cpu *cpu, uint64_t rsp) {
    /* the CPU pushes 5 or 6 words at RSP0; anything else means the stub was entered in another way */
    if (rsp > cpu->sys_stack - 40 || rsp < cpu->sys_stack - 64 || (rsp & 7)) return NULL;
    return (uint64_t *)(cpu->sys + rsp);
}

static void fail(struct tv_exit *x, const char *what, int err) {
    x->kind = CPU_ERROR;
    x->what = what;
    x->err = err;
}

/* A syscall instruction went to LSTAR. VMX and SVM are in ring 0 then, PVM is still in ring 3, which is why the stub's
 * page is the user's and its port is in the bitmap. The program can jump there itself; then rcx tells on it, unless it
 * points behind a syscall instruction, and the jump was as good as that instruction. */
static void trap_exit(struct tv_cpu *cpu, struct tv_exit *x) {
    struct tv_regs *r = cpu->regs;
    struct kvm_sregs s;
    if (ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0) return fail(x, "KVM_GET_SREGS", errno);
    cpu_set_rip_past(r->rip == TV_SYS_LSTAR + 2);
    cpu->ring0 = !(s.cs.selector & 3);
    x->kind = CPU_TRAP;
    x->error = !cpu->ring0;
    r->rip = r->rcx;
    r->rflags = r->r11; /* rsp is the program's */
}

static void forget_trap(struct tv_cpu *cpu) {
    struct kvm_vcpu_events e;
    if (ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0) return;
    e.exception.injected = e.exception.pending = e.exception.nr = 0;
    ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &e);
}

static void exception_exit(struct tv_cpu *cpu, struct tv_exit *x) {
    struct tv_regs *r = cpu->regs;
    uint64_t at = r->rip & ~(uint64_t)(TV_STUB_STEP - 1), off = r->rip - at;
    if (at < TV_SYS_STUBS || at >= TV_SYS_STUBS + TV_VECTORS * TV_STUB_STEP || (off != 0 && off != 2))
        return fail(x, "out from ring 0 outside the stubs", EFAULT);
    cpu_set_rip_past(off == 2);
    cpu->ring0 = true;
    x->kind = CPU_EXCEPTION;
    x->vector = (int)((at - TV_SYS_STUBS) / TV_STUB_STEP);
    if (x->vector == 3) forget_trap(cpu); /* see trap_pending() */
    uint64_t *f = ring0_frame(cpu, *(volatile uint64_t *)&r->rsp); /* read once: other threads of the guest may have got at kvm_run */
    if (!f) return fail(x, "exception in ring 0", EFAULT);
    x->error = has_error_code(x->vector) ? *f++ : 0;
    if (x->vector == 14 || x->vector == 1) {
        struct kvm_sregs s;
        if (ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0) return fail(x, "KVM_GET_SREGS", errno);
        x->addr = s.cr2;
    }
    if ((f[1] & 3) != 3) return fail(x, "exception in ring 0", EFAULT);
    r->rip = f[0];
    r->rflags = f[2];
    r->rsp = f[3];
}

/* A kick can come before the iretq of the entry ran: what it was to load is the program's state. And it can come when KVM has an
 * exception to deliver: the instruction raises it again, but a handler that the registers may be set to must not get it. Behind a trap
 * (#DB; #BP on PVM) there is no instruction that would: the exit is as if it had been delivered. Of #BP, KVM tells only the vector, for
 * ever (arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events()), unless it is made to forget it. */
static bool trap_pending(const struct tv_cpu *cpu, const struct kvm_vcpu_events *e) {
    uint8_t before;
    if (e->exception.nr == 1) return e->exception.injected || e->exception.pending;
    return e->exception.nr == 3 && cpu_rip_past() == 1 && !tv_copy_in(tv_me->vm, &before, cpu->regs->rip - 1, 1) && before == 0xcc;
}

static void not_yet(struct tv_cpu *cpu, bool returns, struct tv_exit *x) {
    struct tv_regs *r = cpu->regs;
    const uint64_t *f = (const uint64_t *)(cpu->sys + cpu->sys_stack - 40);
    struct kvm_vcpu_events e;
    if (ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0) return fail(x, "KVM_GET_VCPU_EVENTS", errno);
    bool trap = trap_pending(cpu, &e);
    if (trap) {
        x->kind = CPU_EXCEPTION;
        x->vector = e.exception.nr;
    }
    if (trap || e.exception.injected || e.exception.pending) { /* KVM hides that a #BP is injected, and keeps it */
        e.exception.injected = e.exception.pending = e.exception.nr = 0;
        if (ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &e) < 0) return fail(x, "KVM_SET_VCPU_EVENTS", errno);
    }
    if (!returns || r->rip != TV_SYS_STUBS + 2 || r->rsp != cpu->sys_stack - 40) return;
    r->rip = f[0];
    r->rflags = f[2];
    r->rsp = f[3];
    cpu->ring0 = true;
}

void cpu_run(struct tv_cpu *cpu, struct tv_exit *x) {
    struct kvm_run *run = cpu->run;
    struct tv_regs *r = cpu->regs;
    bool returns = cpu->ring0;
    if (cpu->ring0) { /* back to ring 3: sysret is unknown to PVM's emulator, iretq is not */
        uint64_t *f = (uint64_t *)(cpu->sys + cpu->sys_stack - 40);
        f[0] = r->rip;
        f[1] = SEL_UCS;
        f[2] = (r->rflags & 0x244dd5) | 0x202 | (cpu->vm->iopl ? 0x3000 : 0);
        f[3] = r->rsp;
        f[4] = SEL_UDS;
        r->rip = TV_SYS_STUBS + 2; /* a stub is out, iretq */
        r->rsp = cpu->sys_stack - 40;
        r->rflags = cpu->vm->iopl ? 0x3002 : 2;
        cpu->ring0 = false;
    }
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    cpu->pending_io = false;
    x->addr = x->error = 0;
    if (ioctl(cpu->fd, KVM_RUN, 0) < 0) {
        x->kind = errno == EFAULT ? CPU_VANISHED : CPU_KICKED;
        if (errno == EINTR || errno == EAGAIN || errno == EFAULT) return not_yet(cpu, returns, x);
        return fail(x, "KVM_RUN", errno);
    }
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        cpu->pending_io = true;
        if (run->io.direction == KVM_EXIT_IO_OUT && run->io.count == 1) {
            if (run->io.port == TV_PORT_CALL && run->io.size == 4) {
                if ((r->rip & ~2ull) == TV_SYS_LSTAR) return trap_exit(cpu, x);
                x->kind = CPU_CALL;
                return;
            }
            if (run->io.port == TV_PORT_EXC) return exception_exit(cpu, x);
        }
        x->kind = CPU_PORT;
        x->error = run->io.direction == KVM_EXIT_IO_OUT && cpu_rip_past() == 1;
        return;
    case KVM_EXIT_INTR:
        x->kind = CPU_KICKED;
        return not_yet(cpu, returns, x);
    case KVM_EXIT_SHUTDOWN: x->kind = CPU_SHUTDOWN; return;
    case KVM_EXIT_MMIO: x->addr = run->mmio.phys_addr; return fail(x, "access outside the memslots", EFAULT);
    case KVM_EXIT_INTERNAL_ERROR: return fail(x, "KVM_EXIT_INTERNAL_ERROR", (int)run->internal.suberror);
    case KVM_EXIT_FAIL_ENTRY: return fail(x, "KVM_EXIT_FAIL_ENTRY", 0);
    default: return fail(x, "unknown KVM exit", (int)run->exit_reason);
    }
}

int cpu_complete(struct tv_cpu *cpu) {
    struct kvm_run *run = cpu->run;
    if (!cpu->pending_io) return 0;
    run->immediate_exit = 1;
    int r = ioctl(cpu->fd, KVM_RUN, 0);
    run->immediate_exit = 0;
    cpu->pending_io = false;
    return r < 0 && errno == EINTR ? 0 : -EIO;
}

void cpu_settle(struct tv_cpu *cpu) {
    if (cpu_rip_past() || cpu->ring0 || !cpu->pending_io) return;
    struct tv_regs keep = *cpu->regs;
    cpu_complete(cpu);
    *cpu->regs = keep;
}

void cpu_attended(struct tv_cpu *cpu) { ((struct kvm_run *)cpu->run)->immediate_exit = 0; }

int cpu_get_fpu(struct tv_cpu *cpu, void *area) { return ioctl(cpu->fd, KVM_GET_XSAVE, area) < 0 ? -errno : 0; }
int cpu_set_fpu(struct tv_cpu *cpu, const void *area) { return ioctl(cpu->fd, KVM_SET_XSAVE, area) < 0 ? -errno : 0; }

unsigned cpu_xsave_size(uint64_t *features) {
    const struct kvm_cpuid_entry2 *d = cpuid_find(0xd, 0);
    unsigned size = 576; /* legacy area and header */
    *features = d ? host_xcr0() & ((uint64_t)d->edx << 32 | d->eax) : 3;
    for (int i = 2; d && i < 63; i++) {
        const struct kvm_cpuid_entry2 *e = *features & 1ull << i ? cpuid_find(0xd, i) : NULL;
        if (e && e->eax + e->ebx > size) size = e->eax + e->ebx;
    }
    return size <= CPU_XSAVE ? size : 576;
}

int cpu_set_base(struct tv_cpu *cpu, bool gs, uint64_t base) {
    struct { struct kvm_msrs head; struct kvm_msr_entry e[1]; } m = {.head.nmsrs = 1,
        .e = {{.index = gs ? MSR_GS_BASE : MSR_FS_BASE, .data = base}}};
    return ioctl(cpu->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -EIO;
}

int cpu_get_base(struct tv_cpu *cpu, bool gs, uint64_t *base) {
    struct { struct kvm_msrs head; struct kvm_msr_entry e[1]; } m = {.head.nmsrs = 1,
        .e = {{.index = gs ? MSR_GS_BASE : MSR_FS_BASE}}};
    if (ioctl(cpu->fd, KVM_GET_MSRS, &m) != 1) return -EIO;
    *base = m.e[0].data;
    return 0;
}

unsigned cpu_float_faults(struct tv_cpu *cpu, bool x87) {
    struct kvm_xsave f; /* KVM_GET_FPU leaves mxcsr out */
    if (ioctl(cpu->fd, KVM_GET_XSAVE, &f) < 0) return 0;
    uint32_t control = f.region[0], mxcsr = f.region[6]; /* FXSAVE area: FCW, FSW at 0, MXCSR at 24 */
    return 0x3f & (x87 ? control >> 16 & ~control : mxcsr & ~(mxcsr >> 7));
}

void cpu_kick(struct tv_cpu *cpu) { ((struct kvm_run *)cpu->run)->immediate_exit = 1; }

void cpu_destroy(struct tv_cpu *cpu) {
    if (!cpu) return;
    if (cpu->run != MAP_FAILED) munmap(cpu->run, cpu->vm->run_size);
    if (cpu->fd >= 0) close(cpu->fd);
    free(cpu);
}
