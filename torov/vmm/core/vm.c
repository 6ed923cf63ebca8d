/* A guest from creation to its end: tv_create(), tv_run(), tv_destroy(). */
#include "text.h"
#include "trace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

void notice_queue(struct tv_vm *vm, const struct tv_stop *s) {
    pthread_mutex_lock(&vm->lock);
    if (vm->notices < (int)(sizeof vm->notice / sizeof *vm->notice)) {
        vm->notice[vm->notices] = *s;
        __atomic_store_n(&vm->notices, vm->notices + 1, __ATOMIC_RELAXED); /* thread_loop() looks without the lock */
        pthread_cond_broadcast(&vm->changed);
        if (tv_me && tv_me != tv_me->proc->threads) sig_kick(tv_me->proc->threads);
    }
    pthread_mutex_unlock(&vm->lock);
}

void tv_notice(struct tv_vm *vm, int note, int nr, gva addr, int err) {
    unsigned i = nr >= 0 && nr < 512 ? (unsigned)nr : 511;
    pthread_mutex_lock(&vm->lock);
    bool first = !(vm->noted[i] & 1u << note);
    vm->noted[i] |= (uint8_t)(1u << note);
    pthread_mutex_unlock(&vm->lock);
    if (!first) return;
    struct tv_stop s = {.kind = TV_NOTICE, .note = note, .nr = nr, .addr = addr, .err = err};
    strncpy(s.text, call_name(nr), sizeof s.text - 1);
    if (note == TV_NOTE_UNSERVED) strncpy(s.label, call_why(nr), sizeof s.label - 1);
    notice_queue(vm, &s);
}

bool vm_take_notice(struct tv_vm *vm, struct tv_stop *out) {
    pthread_mutex_lock(&vm->lock);
    bool any = vm->notices;
    if (any) {
        *out = vm->notice[0];
        __atomic_store_n(&vm->notices, vm->notices - 1, __ATOMIC_RELAXED);
        memmove(vm->notice, vm->notice + 1, (size_t)vm->notices * sizeof *vm->notice);
    }
    pthread_mutex_unlock(&vm->lock);
    return any;
}

/* The monitor's descriptors go to numbers that the guest's own never reach: just above the soft limit, which is lowered
 * again afterwards, or as high as a small table allows. A guest that has filled its table leaves room for them. */
static pthread_mutex_t fd_limit = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
void vm_more_fds(struct rlimit *old) {
    pthread_mutex_lock(&fd_limit);
    struct rlimit high;
    if (getrlimit(RLIMIT_NOFILE, old)) old->rlim_cur = old->rlim_max = 0;
    high = (struct rlimit){old->rlim_max, old->rlim_max};
    if (high.rlim_cur > old->rlim_cur) setrlimit(RLIMIT_NOFILE, &high);
}
void vm_less_fds(const struct rlimit *old) {
    if (old->rlim_max > old->rlim_cur) setrlimit(RLIMIT_NOFILE, old);
    pthread_mutex_unlock(&fd_limit);
}

/* Around a fork, and where the guest asks for the limit: it is not raised meanwhile. */
void vm_hold_fds(void) { pthread_mutex_lock(&fd_limit); }
void vm_free_fds(void) { pthread_mutex_unlock(&fd_limit); }
void vm_forked_fds(void) {
    static const pthread_mutex_t fresh = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    pthread_mutex_unlock(&fd_limit);         /* refused, since its owner was the parent's thread; but ThreadSanitizer hears of it */
    memcpy(&fd_limit, &fresh, sizeof fresh);
}

/* Where the monitor's descriptors end. Processes made with CLONE_FILES put theirs into one table. */
int *vm_fd_page(int hi) {
    int *p = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    *p = hi;
    return p;
}

int vm_hide_fd(struct tv_vm *vm, int *fd) {
    struct rlimit old;
    vm_more_fds(&old);
    int n = fcntl(*fd, F_DUPFD_CLOEXEC, vm->fd_lo), r = n < 0 ? -errno : 0;
    for (int hi = *vm->fd_hi; n >= hi && !__atomic_compare_exchange_n(vm->fd_hi, &hi, n + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);) { } /* no lock is shared between processes */
    vm_less_fds(&old);
    if (r) return r;
    close(*fd);
    *fd = n;
    return 0;
}

static int hide_fds(struct tv_vm *vm, struct rlimit lim) {
    bool above = lim.rlim_max >= lim.rlim_cur + 64;
    if (lim.rlim_cur > 16384) vm->fd_lo = 16384 - 6000;
    else if (above) vm->fd_lo = (int)lim.rlim_cur;
    else vm->fd_lo = lim.rlim_cur > 64 ? (int)lim.rlim_cur - 32 : 8;
    if (!(vm->fd_hi = vm_fd_page(vm->fd_lo))) return -ENOMEM;
    int r = vm_hide_fd(vm, &vm->hw->kvm);
    if (!r) r = vm_hide_fd(vm, &vm->hw->fd);
    if (!r) r = vm_hide_fd(vm, &tv_me->cpu->fd);
    if (r || geteuid() || !*vm->helper.runner || vm->flags & TV_F_SEALED) return r;
    vm->keep[KEEP_RUNNER] = open(vm->helper.runner, O_PATH | O_CLOEXEC);
    return vm->keep[KEEP_RUNNER] < 0 ? 0 : vm_hide_fd(vm, &vm->keep[KEEP_RUNNER]);
}

/* 1 is no core file, and none for a program behind core_pattern either: core(5), fs/coredump.c. What the guest sets is its own number. */
static void core_off(struct tv_vm *vm) {
    struct rlimit l;
    if (getrlimit(RLIMIT_CORE, &l)) return;
    vm->rlim[RLIMIT_CORE].cur = vm->core = l.rlim_cur;
    vm->rlim[RLIMIT_CORE].max = l.rlim_max;
    vm->rlim_own |= 1u << RLIMIT_CORE;
    l.rlim_cur = l.rlim_max ? 1 : 0;
    setrlimit(RLIMIT_CORE, &l);
}
static void core_back(const struct tv_vm *vm) {
    struct rlimit l;
    if (!(vm->rlim_own & 1u << RLIMIT_CORE) || getrlimit(RLIMIT_CORE, &l)) return;
    l.rlim_cur = vm->core < l.rlim_max ? vm->core : l.rlim_max;
    setrlimit(RLIMIT_CORE, &l);
}

void *tv_map_shared(int fd, uint64_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static char *copy(const char *s) { return strdup(s ? s : ""); }

static int helper_copy(struct tv_helper *h, const struct tv_spec *s) {
    size_t n = 0;
    while (s->helper_env && s->helper_env[n]) n++;
    h->cache = copy(s->cache);
    h->version = copy(s->cache_version);
    h->python = copy(s->python);
    h->runner = copy(s->runner);
    h->envp = calloc(n + 1, sizeof *h->envp);
    if (!h->cache || !h->version || !h->python || !h->runner || !h->envp) return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (!(h->envp[i] = copy(s->helper_env[i]))) return -ENOMEM;
    return 0;
}

static void helper_free(struct tv_helper *h) {
    free(h->cache);
    free(h->version);
    free(h->python);
    free(h->runner);
    for (size_t i = 0; h->envp && h->envp[i]; i++) free(h->envp[i]);
    free(h->envp);
}

struct tv_vm *tv_create(const struct tv_spec *spec, struct tv_stop *why) {
    uint64_t t0 = tv_now();
    const char *what = "memory";
    struct rlimit limit;
    bool raised = false;
    int r = -ENOMEM;
    memset(why, 0, sizeof *why);
    struct tv_vm *vm = calloc(1, sizeof *vm);
    if (!vm) goto fail;
    vm->flags = spec->flags;
    core_off(vm);
    struct stat root;
    if (!stat("/", &root)) vm->root_dev = root.st_dev, vm->root_ino = root.st_ino;
    memset(vm->keep, -1, sizeof vm->keep);
    pthread_mutex_init(&vm->mm, NULL);
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->changed, NULL);
    pthread_cond_init(&vm->keepers, NULL);
    if (!(vm->proc = proc_new(NULL))) goto fail;
    vm->proc->threads = tv_me = thread_new(vm, vm->proc);
    if (!tv_me) goto fail;
    tv_me->tid = gettid();
    vm->proc->alive = vm->next_cpu = 1;
    sig_first(vm);
    vm->exe = strdup(spec->exe);
    if (!vm->exe || helper_copy(&vm->helper, spec)) goto fail;
    for (int i = 0; i < 512; i++) vm->actions[i] = spec->actions ? spec->actions[i] : tv_calls[i].action;
    what = "policy";
    if (spec->program && (!(vm->program = malloc(spec->program_size + 1)) || !memcpy(vm->program, spec->program, vm->program_size = spec->program_size) ||
        (r = pol_check(vm->program, vm->program_size)))) goto fail;
    what = "strict mode's table";
    if (spec->strict && (r = strict_set(vm, spec->strict, spec->strict_size))) goto fail;
    if ((r = tv_copy_setup())) goto fail;
    limit_start(vm, spec);
    vm_more_fds(&limit);
    raised = true;
    bool again = pool_take(vm);
    if (!again && (r = cpu_vm_open(&vm->hw, spec->flags & TV_F_IOPL, spec->kvm_fd > 0 ? spec->kvm_fd : -1, &what))) goto fail;
    what = "guest memory";
    if ((r = mem_create(vm))) goto fail;
    if (!again && (r = cpu_create(&tv_me->cpu, vm->hw, 0, vm->mem.base, TV_SYS_TSS, TV_SYS_STACK, NULL, &what))) goto fail;
    vm->stats.kvm_ns = tv_now() - t0;
    if ((r = load_image(vm, spec->image_fd, false, &what))) goto fail;
    if (spec->start) vm->entry = spec->start + vm->image_bias;
    if (spec->loader_fd > 0 && (r = load_image(vm, spec->loader_fd, true, &what))) goto fail;
    what = "descriptors above the limit (ulimit -n)";
    if (!again && (r = hide_fds(vm, limit))) goto fail;
    what = "descriptors";
    int given[KEEP_COUNT] = {[KEEP_RUNNER] = spec->runner_fd, [KEEP_AUDIT] = spec->audit_fd, [KEEP_TTY] = spec->tty_fd, [KEEP_SHARED] = spec->shared_fd, [KEEP_DEBUG] = spec->debug_fd,
                             [KEEP_CORE] = spec->core_fd, [KEEP_TRACE] = spec->trace_fd, [KEEP_PERF] = spec->perf_fd};
    memcpy(given + KEEP_DELEGATE, spec->delegate_fd, sizeof spec->delegate_fd);
    for (int i = 0; i < KEEP_COUNT; i++) {
        if (given[i] <= 0) continue;
        vm->keep[i] = given[i];
        if ((r = vm_hide_fd(vm, &vm->keep[i]))) goto fail;
    }
    vm->perf_hz = spec->perf_hz;
    if (spec->core_name) strncpy(vm->core_name, spec->core_name, sizeof vm->core_name - 1);
    what = "trace";
    if (vm->keep[KEEP_TRACE] >= 0 && (r = trace_join(vm))) goto fail;
    what = "limits";
    if (vm->keep[KEEP_SHARED] >= 0 && (r = limit_join(vm, vm->keep[KEEP_SHARED]))) goto fail;
    what = "stack";
    place_stack(vm, spec->stack_size);
    gva vdso_at = vm->stack_hi + 16 * PG;
    if (!(spec->flags & TV_F_NO_VDSO)) {
        r = vdso_map(vm, vdso_at);
        if (r) { tv_notice(vm, TV_NOTE_TIME, -1, 0, -r); vm->vdso = 0; }
    }
    if ((r = build_stack(vm, spec))) goto fail;
    proc_first(vm);
    vm->mem.mmap_base = vm->mem.mmap_next = PG_UP(vm->vdso ? vm->vdso_end : vdso_at) + 16 * PG;
    if ((r = cpu_start(tv_me->cpu, vm->loader_entry ? vm->loader_entry : vm->entry, vm->stack_ptr, &what))) goto fail;
    const char *name = strrchr(spec->execfn, '/');
    prctl(PR_SET_NAME, name ? name + 1 : spec->execfn);
    vm_less_fds(&limit);
    vm->stats.create_ns = tv_now() - t0;
    thread_merge(tv_me);
    tv_me = NULL;
    return vm;
fail:
    if (raised) vm_less_fds(&limit);
    tv_fail(why, what, r);
    tv_destroy(vm);
    return NULL;
}

static void fail(struct tv_vm *vm, const char *what, int err, gva addr) {
    struct tv_stop end;
    tv_fail(&end, what, err);
    end.addr = addr;
    end.rip = tv_me->cpu->regs->rip;
    vm_end(vm, end);
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
    if (site_put(&vm->sites, site, SITE_PATCHED)) return; /* first: another thread may be there at once */
    if (mprotect(p, end - page, PROT_READ | PROT_WRITE)) return;
    uint16_t word;
    memcpy(&word, out, 2);
    int r = tv_store16(vm, site, word); /* the file may be cut short at any time */
    mprotect(p, end - page, PROT_READ);
    if (r) return;
    tv_me->stats.late++;
}

static void on_trap(struct tv_vm *vm, bool maybe_forged) {
    gva site = tv_me->cpu->regs->rip - 2;
    uint8_t code[2];
    int known = site_get(&vm->sites, site);
    if (maybe_forged && known != SITE_PATCHED && (tv_copy_in(vm, code, site, 2) || code[0] != 0x0f || code[1] != 0x05) &&
        (known = site_get(&vm->sites, site)) != SITE_PATCHED) { /* another thread may have patched it since it trapped */
        tv_me->stats.lost++;
        tv_me->cpu->regs->rip = TV_SYS_LSTAR;
        sig_fault(vm, SIGSEGV, SEGV_MAPERR, TV_SYS_LSTAR);
        return;
    }
    tv_me->stats.trapped++;
    if (known == SITE_GADGET) {
        tv_me->stats.gadgets++;
        int nr = (int)(tv_me->cpu->regs->rax & 511);
        tv_notice(vm, TV_NOTE_GADGET, nr, site, 0);
        note_gadget(vm, nr, site);
    } else if (known != SITE_KEEP) {
        pthread_mutex_lock(&vm->mm);
        patch_late(vm, site);
        pthread_mutex_unlock(&vm->mm);
    }
    tv_dispatch(vm, site);
}

/* Natively a #GP on the instruction. Where RIP is past it, it is found again by its bytes: a port in the instruction
 * (E4..E7) or in DX (EC..EF, 6C..6F), with any prefixes. */
static void on_port(struct tv_vm *vm, bool past) {
    struct tv_regs r = *tv_me->cpu->regs;
    gva rip = r.rip;
    uint8_t b[2] = {0}, p;
    if (past && !tv_copy_in(vm, b, rip - 2, 2)) {
        gva at = (b[0] & 0xfc) == 0xe4 && b[1] >= 0x10 && b[1] <= 0x13 ? rip - 2 :
            (b[1] & 0xfc) == 0xec || (b[1] & 0xfc) == 0x6c ? rip - 1 : rip; /* rep outs: on it */
        while (at < rip && !tv_copy_in(vm, &p, at - 1, 1) && ((p & 0xf0) == 0x40 || p == 0x66 || p == 0x67 || (p & 0xfe) == 0xf2)) at--;
        rip = at;
    }
    tv_me->stats.lost++;
    cpu_complete(tv_me->cpu); /* an `in` would write rax and rip at the next entry */
    r.rip = rip;
    *tv_me->cpu->regs = r;
    sig_fault(vm, SIGSEGV, SI_KERNEL, 0);
}

/* RIP at the exit is on the instruction (VMX, SVM) or past it (PVM). Both neighbours can be sites. */
static void on_call(struct tv_vm *vm) {
    struct tv_regs *r = tv_me->cpu->regs;
    int past = cpu_rip_past();
    if (past < 0) {
        bool on = site_get(&vm->sites, r->rip) == SITE_PATCHED, behind = site_get(&vm->sites, r->rip - 2) == SITE_PATCHED;
        if (on && behind) {
            uint64_t rip = r->rip;
            if (cpu_complete(tv_me->cpu)) { fail(vm, "KVM_RUN with immediate_exit", EIO, 0); return; }
            past = r->rip == rip;
            r->rip = rip;
        } else {
            past = behind;
        }
        if (on || behind) cpu_set_rip_past(past);
    }
    gva site = past ? r->rip - 2 : r->rip;
    if (site_get(&vm->sites, site) != SITE_PATCHED) return on_port(vm, past);
    r->rip = site + 2;
    tv_me->stats.hypercalls++;
    tv_dispatch(vm, site);
}

/* arch/x86/kernel/fpu/core.c, fpu__exception_code() */
static int float_code(unsigned faults) {
    if (faults & 1) return FPE_FLTINV;
    if (faults & 4) return FPE_FLTDIV;
    if (faults & 8) return FPE_FLTOVF;
    if (faults & 0x12) return FPE_FLTUND;
    return faults & 0x20 ? FPE_FLTRES : 0;
}

static void on_page_fault(struct tv_vm *vm, const struct tv_exit *x) {
    struct tv_thread *t = tv_me;
    struct tv_regs *r = t->cpu->regs;
    if (vm->debug && debug_fault(vm, x->addr, x->error)) return;
    pthread_mutex_lock(&vm->mm);
    enum fault f = x->error & 8 ? FAULT_MAPERR : mem_fault(vm, x->addr, x->error);
    pthread_mutex_unlock(&vm->mm);
    if (f == FAULT_RETRY) { /* the same access again and again would be a fault of ours: end, do not hang */
        if (x->addr == t->fault_addr && r->rip == t->fault_rip && r->rcx == t->fault_rcx) t->fault_again++;
        else t->fault_again = 0;
        t->fault_addr = x->addr;
        t->fault_rip = r->rip;
        t->fault_rcx = r->rcx;
        if (t->fault_again >= 100) fail(vm, "page fault that does not go away", EFAULT, x->addr);
        return;
    }
    t->fault_cr2 = x->addr;
    if (f == FAULT_BUS) sig_fault(vm, SIGBUS, BUS_ADRERR, x->addr);
    else if (f == FAULT_NOMEM) sig_end(vm, SIGKILL, SI_KERNEL, x->addr);
    else sig_fault(vm, SIGSEGV, f == FAULT_MAPERR ? SEGV_MAPERR : SEGV_ACCERR, x->addr);
}

/* int n through a gate that is missing or not the program's: #GP on the CPU, #UD on PVM. Is it one? int 0x80 and
 * sysenter are attempts at a call that are not served. What sysenter raises is the CPU's own choice. */
static bool refused_call(struct tv_vm *vm, gva rip) {
    uint8_t code[2];
    if (tv_copy_in(vm, code, rip, 2)) return false;
    if ((code[0] == 0xcd && code[1] == 0x80) || (code[0] == 0x0f && code[1] == 0x34)) tv_me->stats.lost++;
    return code[0] == 0xcd;
}

/* arch/x86/kernel/traps.c: vector to signal. */
static void on_exception(struct tv_vm *vm, const struct tv_exit *x) {
    gva rip = tv_me->cpu->regs->rip;
    tv_me->fault_vector = (uint64_t)x->vector;
    tv_me->fault_error = x->error;
    switch (x->vector) {
    case 0: sig_fault(vm, SIGFPE, FPE_INTDIV, rip); break;
    case 1: sig_fault(vm, SIGTRAP, tv_me->cpu->regs->rflags & 0x100 ? TRAP_TRACE : TRAP_BRKPT, rip); break;
    case 3:
        if (!vm->debug || !debug_trap(vm)) sig_fault(vm, SIGTRAP, SI_KERNEL, 0);
        break;
    case 6:
        if (!refused_call(vm, rip)) sig_fault(vm, SIGILL, ILL_ILLOPN, rip);
        else sig_fault(vm, SIGSEGV, SI_KERNEL, 0);
        break;
    case 13:
        refused_call(vm, rip);
        sig_fault(vm, SIGSEGV, SI_KERNEL, 0);
        break;
    case 14: on_page_fault(vm, x); break;
    case 16: case 19: sig_fault(vm, SIGFPE, float_code(cpu_float_faults(tv_me->cpu, x->vector == 16)), rip); break;
    case 17: sig_fault(vm, SIGBUS, BUS_ADRALN, 0); break;
    case 11: case 12: sig_fault(vm, SIGBUS, SI_KERNEL, 0); break;
    default: sig_fault(vm, SIGSEGV, SI_KERNEL, 0); break;
    }
    tv_me->raw_regs = false;
}

static void on_vanished(struct tv_vm *vm) {
    pthread_mutex_lock(&vm->mm); /* another thread's mprotect may be half done: it is over now */
    int cut = mem_vanished(vm);
    pthread_mutex_unlock(&vm->mm);
    if (cut || ++tv_me->vanish_again < 1000) return;
    fail(vm, "KVM_RUN: guest memory that the host does not have", EFAULT, 0);
}

void vm_exit(struct tv_vm *vm, struct tv_exit *x) {
    if (x->kind != CPU_VANISHED) tv_me->vanish_again = 0;
    switch (x->kind) {
    case CPU_CALL: on_call(vm); break;
    case CPU_PORT: on_port(vm, x->error); break;
    case CPU_TRAP: on_trap(vm, x->error); break;
    case CPU_EXCEPTION: on_exception(vm, x); break;
    case CPU_KICKED: tv_me->stats.kicks++; tv_me->attention = 1; break;
    case CPU_VANISHED: on_vanished(vm); break;
    case CPU_SHUTDOWN: fail(vm, "triple fault", EFAULT, 0); break;
    default: fail(vm, x->what, x->err, x->addr);
    }
}

/* Signals, their handlers and the descriptors' limit are the process's: one guest at a time. */
static struct tv_vm *running;

int tv_run(struct tv_vm *vm, struct tv_stop *stop) {
    struct tv_vm *none = NULL;
    struct tv_thread *t = vm->proc->threads;
    if (running != vm && !__atomic_compare_exchange_n(&running, &none, vm, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        tv_fail(stop, "another guest runs in this process", EBUSY);
        return stop->kind;
    }
    uint64_t t0 = vm->began = tv_now();
    tv_me = t;
    sig_start(vm);
    if (vm->flags & TV_F_OWN && !vm->shown) proc_show(vm);
    if (vm->keep[KEEP_DEBUG] >= 0 && !vm->debug) debug_start(vm, DEBUG_STARTED, 0);
    if (vm->trace && !t->trace) trace_first(vm);
    if (!proc_ended(t->proc)) thread_loop(vm);
    pthread_mutex_lock(&vm->lock);
    while (t->gone && !vm->proc->end.kind && !vm->notices) pthread_cond_wait(&vm->changed, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
    bool over = proc_ended(t->proc); /* once: another thread may end it now, after a notice */
    if (over && vm->debug) debug_end(vm, t->proc);
    if (over) thread_end_all(vm);
    if (over && vm->trace) trace_end(vm);
    if (over) dump_end(vm);
    if (over) perf_leave(vm);
    pthread_mutex_lock(&vm->lock);
    thread_merge(t);
    pthread_mutex_unlock(&vm->lock);
    if (over) sig_stop(vm);
    else host_mask(~0ull); /* a notice: signals wait */
    tv_me = NULL;
    vm->stats.run_ns += tv_now() - t0;
    if (vm_take_notice(vm, stop)) return stop->kind;
    if (!over) return tv_run(vm, stop); /* a process that shares the VM has written the notice itself */
    *stop = vm->proc->end;
    __atomic_store_n(&running, NULL, __ATOMIC_RELEASE);
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
    if (running == vm) { /* given up at a notice */
        tv_me = vm->proc->threads;
        vm_end(vm, (struct tv_stop){.kind = TV_SIGNALLED, .status = SIGKILL});
        thread_end_all(vm);
        sig_stop(vm);
        __atomic_store_n(&running, NULL, __ATOMIC_RELEASE);
    }
    debug_stop(vm);
    pthread_mutex_lock(&vm->lock);
    if (vm->proc && vm->proc->threads) keepers_quit(vm, vm->proc->threads);
    while (vm->nkeepers && !vm->sharers) pthread_cond_wait(&vm->changed, &vm->lock);
    bool kept = vm->sharers; /* a process that the guest left behind lives in this memory */
    pthread_mutex_unlock(&vm->lock);
    core_back(vm);
    if (kept) return;
    trace_leave(vm);
    if (vm->proc && vm->proc->threads) free(vm->proc->threads->trace);
    pool_give(vm);
    if (vm->proc && vm->proc->threads) cpu_destroy(vm->proc->threads->cpu);
    if (vm->proc && vm->proc->threads) free(vm->proc->threads->held);
    if (vm->proc && vm->proc->threads) free(vm->proc->threads->saved);
    if (vm->proc) free(vm->proc->threads);
    proc_free(vm->proc);
    cpu_vm_close(vm->hw);
    limit_leave(vm);
    for (int i = 0; i < KEEP_COUNT; i++)
        if (vm->keep[i] >= 0) close(vm->keep[i]);
    if (vm->fd_hi) munmap(vm->fd_hi, PG);
    free(vm->program);
    free(vm->strict);
    free(vm->seen);
    tv_me = NULL;
    mem_destroy(vm);
    symbol_close(vm);
    site_free(&vm->sites);
    free(vm->exe);
    free(vm->interp);
    free(vm->timers);
    helper_free(&vm->helper);
    free(vm);
}
