/* A guest from creation to its end: tv_create(), tv_run(), tv_destroy(). */
#include "tv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t tv_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void tv_fail(struct tv_stop *s, const char *what, int err) {
    *s = (struct tv_stop){.kind = TV_FAILED, .err = err < 0 ? -err : err};
    strncpy(s->what, what ? what : "", sizeof s->what - 1);
}

void tv_notice(struct tv_vm *vm, int note, int nr, gva addr, int err) {
    unsigned i = nr >= 0 && nr < 512 ? (unsigned)nr : 511;
    if (vm->noted[i] & 1u << note) return;
    vm->noted[i] |= (uint8_t)(1u << note);
    vm->notice = (struct tv_stop){.kind = TV_NOTICE, .note = note, .nr = nr, .addr = addr, .err = err};
}

/* The monitor's descriptors go to numbers that the guest's own never reach: just above the soft limit, which is lowered
 * again afterwards, or as high as a small table allows. */
static int hide(int *fd, int at, int *next) {
    int n = fcntl(*fd, F_DUPFD_CLOEXEC, at);
    if (n < 0) return -errno;
    close(*fd);
    *fd = n;
    if (n >= *next) *next = n + 1;
    return 0;
}

static int hide_fds(struct tv_vm *vm) {
    struct rlimit old, high;
    int r = 0, next;
    if (getrlimit(RLIMIT_NOFILE, &old)) return -errno;
    int at = old.rlim_cur > 8192 ? 8192 - 64 : (int)old.rlim_cur;
    bool raise = old.rlim_cur <= 8192 && old.rlim_max >= old.rlim_cur + 64;
    if (raise) {
        high = old;
        high.rlim_cur = old.rlim_cur + 64;
        if (setrlimit(RLIMIT_NOFILE, &high)) raise = false;
    }
    if (!raise && old.rlim_cur <= 8192) at = old.rlim_cur > 64 ? (int)old.rlim_cur - 32 : 8;
    vm->fd_lo = next = at;
    r = hide(&vm->hw->kvm, at, &next);
    if (!r) r = hide(&vm->hw->fd, at, &next);
    if (!r) r = hide(&vm->cpu->fd, at, &next);
    vm->fd_hi = next;
    if (raise) setrlimit(RLIMIT_NOFILE, &old);
    return r;
}

struct tv_vm *tv_create(const struct tv_spec *spec, struct tv_stop *why) {
    uint64_t t0 = tv_now();
    const char *what = "memory";
    int r = -ENOMEM;
    memset(why, 0, sizeof *why);
    struct tv_vm *vm = calloc(1, sizeof *vm);
    if (!vm) goto fail;
    vm->flags = spec->flags;
    vm->tid = gettid();
    vm->exe = strdup(spec->exe);
    if (!vm->exe) goto fail;
    for (int i = 0; i < 512; i++) vm->actions[i] = spec->actions ? spec->actions[i] : tv_calls[i].action;
    if ((r = tv_copy_setup())) goto fail;
    if ((r = cpu_vm_open(&vm->hw, spec->flags & TV_F_IOPL, &what))) goto fail;
    what = "guest memory";
    if ((r = mem_create(vm))) goto fail;
    if ((r = cpu_create(&vm->cpu, vm->hw, 0, vm->mem.base, TV_SYS_STACK, &what))) goto fail;
    vm->stats.kvm_ns = tv_now() - t0;
    if ((r = load_image(vm, spec->image_fd, &what))) goto fail;
    what = "descriptors above the limit (ulimit -n)";
    if ((r = hide_fds(vm))) goto fail;
    what = "stack";
    place_stack(vm, spec->stack_size);
    gva vdso_at = vm->stack_hi + 16 * PG;
    if (!(spec->flags & TV_F_NO_VDSO)) {
        r = vdso_map(vm, vdso_at);
        if (r) { tv_notice(vm, TV_NOTE_TIME, -1, 0, -r); vm->vdso = 0; }
    }
    if ((r = build_stack(vm, spec))) goto fail;
    vm->mem.mmap_base = vm->mem.mmap_next = PG_UP(vm->vdso ? vm->vdso_end : vdso_at) + 16 * PG;
    if ((r = cpu_start(vm->cpu, vm->entry, vm->stack_ptr, &what))) goto fail;
    const char *name = strrchr(spec->execfn, '/');
    prctl(PR_SET_NAME, name ? name + 1 : spec->execfn);
    vm->stats.create_ns = tv_now() - t0;
    return vm;
fail:
    tv_fail(why, what, r);
    tv_destroy(vm);
    return NULL;
}

static void patch_late(struct tv_vm *vm, gva site) {
    static const uint8_t restorer[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0}, out[] = {0xe7, TV_PORT_CALL};
    uint8_t before[7], now[2];
    struct tv_vma *v = vma_find(&vm->mem, site);
    if (vm->flags & TV_F_NO_LATE || !v || !(v->flags & VMA_TEXT) || v->flags & VMA_WRITTEN || v->end - site < 2) return;
    if (tv_copy_in(vm, now, site, 2) || now[0] != 0x0f || now[1] != 0x05) return;
    /* libgcc's unwinder and gdb know the signal restorer by its bytes */
    if (tv_copy_in(vm, before, site - 7, 7) || !memcmp(before, restorer, 7)) return;
    /* with an operand-size prefix it would be another out; the byte may belong to the instruction before, so what */
    if (before[6] == 0x66 || before[6] == 0x67 || (before[6] | 1) == 0xf3 || before[6] == 0xf0) return;
    gva page = PG_DOWN(site), end = PG_UP(site + 2);
    uint8_t *p = vm->mem.base + page;
    if (mprotect(p, end - page, PROT_READ | PROT_WRITE)) return;
    memcpy(vm->mem.base + site, out, 2);
    mprotect(p, end - page, PROT_READ);
    if (!site_put(&vm->sites, site, SITE_PATCHED)) vm->stats.late++;
}

static void on_trap(struct tv_vm *vm, bool maybe_forged) {
    gva site = vm->cpu->regs->rip - 2;
    uint8_t code[2];
    if (maybe_forged && (tv_copy_in(vm, code, site, 2) || code[0] != 0x0f || code[1] != 0x05)) {
        vm->stats.lost++;
        vm->cpu->regs->rip = TV_SYS_LSTAR;
        sig_end(vm, SIGSEGV, SEGV_MAPERR, TV_SYS_LSTAR);
        return;
    }
    int known = site_get(&vm->sites, site);
    vm->stats.trapped++;
    if (known == SITE_GADGET) {
        vm->stats.gadgets++;
        tv_notice(vm, TV_NOTE_GADGET, (int)(vm->cpu->regs->rax & 511), site, 0);
    } else if (known != SITE_KEEP) {
        patch_late(vm, site);
    }
    tv_dispatch(vm, site);
}

/* RIP at the exit is on the instruction (VMX, SVM) or past it (PVM). Both neighbours can be sites. */
static void on_call(struct tv_vm *vm) {
    struct tv_regs *r = vm->cpu->regs;
    int past = cpu_rip_past();
    if (past < 0) {
        bool on = site_get(&vm->sites, r->rip) == SITE_PATCHED, behind = site_get(&vm->sites, r->rip - 2) == SITE_PATCHED;
        if (on && behind) {
            uint64_t rip = r->rip;
            if (cpu_complete(vm->cpu)) { tv_fail(&vm->end, "KVM_RUN with immediate_exit", EIO); return; }
            past = r->rip == rip;
            r->rip = rip;
        } else {
            past = behind;
        }
        if (on || behind) cpu_set_rip_past(past);
    }
    gva site = past ? r->rip - 2 : r->rip;
    if (site_get(&vm->sites, site) != SITE_PATCHED) { /* natively out in ring 3 is #GP */
        vm->stats.lost++;
        r->rip = site;
        sig_end(vm, SIGSEGV, SI_KERNEL, 0);
        return;
    }
    r->rip = site + 2;
    vm->stats.hypercalls++;
    tv_dispatch(vm, site);
}

static void on_page_fault(struct tv_vm *vm, const struct tv_exit *x) {
    struct tv_regs *r = vm->cpu->regs;
    enum fault f = x->error & 8 ? FAULT_MAPERR : mem_fault(vm, x->addr, x->error);
    if (f == FAULT_RETRY) { /* the same access again and again would be a fault of ours: end, do not hang */
        if (x->addr == vm->fault_addr && r->rip == vm->fault_rip && r->rcx == vm->fault_rcx) vm->fault_again++;
        else vm->fault_again = 0;
        vm->fault_addr = x->addr;
        vm->fault_rip = r->rip;
        vm->fault_rcx = r->rcx;
        if (vm->fault_again < 100) return;
        tv_fail(&vm->end, "page fault that does not go away", EFAULT);
        vm->end.addr = x->addr;
        vm->end.rip = r->rip;
        return;
    }
    if (f == FAULT_BUS) sig_end(vm, SIGBUS, BUS_ADRERR, x->addr);
    else if (f == FAULT_NOMEM) sig_end(vm, SIGKILL, SI_KERNEL, x->addr);
    else sig_end(vm, SIGSEGV, f == FAULT_MAPERR ? SEGV_MAPERR : SEGV_ACCERR, x->addr);
}

/* int n through a gate that is missing or not the program's: #GP on the CPU, #UD on PVM. Is it one? int 0x80 and
 * sysenter are attempts at a call that are not served. What sysenter raises is the CPU's own choice. */
static bool refused_call(struct tv_vm *vm, gva rip) {
    uint8_t code[2];
    if (tv_copy_in(vm, code, rip, 2)) return false;
    if ((code[0] == 0xcd && code[1] == 0x80) || (code[0] == 0x0f && code[1] == 0x34)) vm->stats.lost++;
    return code[0] == 0xcd;
}

/* arch/x86/kernel/traps.c: vector to signal. */
static void on_exception(struct tv_vm *vm, const struct tv_exit *x) {
    gva rip = vm->cpu->regs->rip;
    switch (x->vector) {
    case 0: sig_end(vm, SIGFPE, FPE_INTDIV, rip); break;
    case 1: sig_end(vm, SIGTRAP, TRAP_TRACE, rip); break;
    case 3: sig_end(vm, SIGTRAP, SI_KERNEL, 0); break;
    case 6:
        if (!refused_call(vm, rip)) sig_end(vm, SIGILL, ILL_ILLOPN, rip);
        else sig_end(vm, SIGSEGV, SI_KERNEL, 0);
        break;
    case 13:
        refused_call(vm, rip);
        sig_end(vm, SIGSEGV, SI_KERNEL, 0);
        break;
    case 14: on_page_fault(vm, x); break;
    case 16: sig_end(vm, SIGFPE, FPE_FLTUNK, rip); break;
    case 17: sig_end(vm, SIGBUS, BUS_ADRALN, 0); break;
    case 19: sig_end(vm, SIGFPE, FPE_FLTUNK, rip); break;
    case 11: case 12: sig_end(vm, SIGBUS, SI_KERNEL, 0); break;
    default: sig_end(vm, SIGSEGV, SI_KERNEL, 0); break;
    }
    if (vm->end.kind == TV_SIGNALLED) vm->end.nr = x->vector;
}

static void one_exit(struct tv_vm *vm, struct tv_exit *x) {
    switch (x->kind) {
    case CPU_CALL: on_call(vm); break;
    case CPU_TRAP: on_trap(vm, x->error); break;
    case CPU_EXCEPTION: on_exception(vm, x); break;
    case CPU_KICKED: vm->stats.kicks++; break;
    case CPU_VANISHED:
        if (mem_vanished(vm)) break;
        tv_fail(&vm->end, "KVM_RUN: guest memory that the host does not have", EFAULT);
        vm->end.rip = vm->cpu->regs->rip;
        break;
    case CPU_SHUTDOWN: tv_fail(&vm->end, "triple fault", EFAULT); break;
    default:
        tv_fail(&vm->end, x->what, x->err);
        vm->end.addr = x->addr;
        vm->end.rip = vm->cpu->regs->rip;
    }
}

int tv_run(struct tv_vm *vm, struct tv_stop *stop) {
    struct tv_exit x;
    uint64_t t0 = tv_now();
    sig_start(vm);
    while (!vm->end.kind && !vm->notice.kind) {
        cpu_run(vm->cpu, &x);
        if (!vm->stats.exits++) vm->stats.first_ns = tv_now() - t0;
        one_exit(vm, &x);
    }
    sig_stop(vm);
    vm->stats.run_ns += tv_now() - t0;
    if (vm->notice.kind) {
        *stop = vm->notice;
        vm->notice.kind = 0;
    } else {
        *stop = vm->end;
    }
    return stop->kind;
}

const struct tv_stats *tv_stats(const struct tv_vm *vm) { return &vm->stats; }

static int region(struct tv_region *out, int n, int max, gva start, gva end, int prot, const char *name) {
    if (n < max) {
        out[n] = (struct tv_region){.start = start, .end = end, .prot = prot};
        strncpy(out[n].name, name, sizeof out[n].name - 1);
    }
    return n + 1;
}

int tv_layout(const struct tv_vm *vm, struct tv_region *out, int max) {
    const struct tv_mem *m = &vm->mem;
    int n = region(out, 0, max, TV_SYS_GDT, TV_SYS_TABLES, 5, "ring 0: GDT, IDT, TSS, stubs");
    n = region(out, n, max, TV_SYS_TABLES, TV_SYS_TABLES_END, 3, "ring 0: page tables");
    n = region(out, n, max, TV_SYS_LSTAR, TV_SYS_LSTAR + PG, 5, "LSTAR stub");
    n = region(out, n, max, TV_SYS_STACK - PG, TV_SYS_STACK, 3, "ring 0: stack");
    bool heap = false;
    for (size_t i = 0; i < m->nvma; i++) {
        const struct tv_vma *v = &m->vma[i];
        if (!heap && v->start >= m->brk_start) {
            heap = true;
            if (!(v->flags & VMA_HEAP)) n = region(out, n, max, m->brk_start, m->brk_start, 3, "heap (empty)");
        }
        const char *name = v->flags & VMA_STACK ? "stack" : v->flags & VMA_HEAP ? "heap" : v->flags & VMA_VDSO ? "vvar" :
            vm->vdso && v->start >= vm->vdso && v->end <= vm->vdso_end ? "vdso" : v->flags & VMA_IMAGE ? "image" :
            v->flags & VMA_SHARED ? "shared" : v->flags & VMA_FILE ? "file" : "anonymous";
        n = region(out, n, max, v->start, v->end, v->prot, name);
    }
    n = region(out, n, max, m->mmap_base, m->top, 0, "mappings grow from here to the top");
    return region(out, n, max, m->top, m->limit, 0, "more page tables (guest physical only)");
}

void tv_destroy(struct tv_vm *vm) {
    if (!vm) return;
    cpu_destroy(vm->cpu);
    cpu_vm_close(vm->hw);
    mem_destroy(vm);
    free(vm->sites.key);
    free(vm->sites.val);
    free(vm->exe);
    free(vm);
}
