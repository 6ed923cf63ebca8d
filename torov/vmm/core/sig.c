/* Signals (signal(7)). The host kernel is the queue: dispositions and masks are mirrored to the host's threads, signals
 * between guest threads go through the host, so that pending sets, order, queueing and the choice of a thread are Linux's
 * own. The host's handler only notes one signal, blocks all others and stops the vCPU; the frame is built before the
 * guest goes on. */
#include "trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(s) (1ull << ((s) - 1))
#define UNBLOCKABLE (BIT(SIGKILL) | BIT(SIGSTOP))
#define FAULTS (BIT(SIGSEGV) | BIT(SIGBUS)) /* the monitor's copies need them, and a kick is a SIGBUS */
#define NOTED_DEFAULT (BIT(SIGPIPE) | BIT(SIGXFSZ)) /* what the guest's own calls raise: ended by us, with a report */
#define IGNORED (BIT(SIGCHLD) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGCONT))
#define STOPPING (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))
#define SYNCHRONOUS (FAULTS | BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGFPE) | BIT(SIGSYS))
#define SA_RESTORER_ 0x04000000
#define KICK_VALUE ((void *)0x746f726f765f6b63ull)

__thread struct tv_thread *tv_me __attribute__((tls_model("initial-exec")));

struct host_act { void *handler; uint64_t flags; void *restorer; uint64_t mask; };
static struct host_act saved[65];
static uint64_t saved_mask;
static bool active;

__attribute__((naked, no_sanitize("thread"))) static void host_restorer(void) { __asm__("mov $15, %eax\n syscall"); }

/* rcx tells whether the instruction ran: the kernel leaves the address behind it there, also when it steps back to
 * restart the call. */
__attribute__((noinline, noclone, no_sanitize("thread"))) long tv_cp(volatile int *attention, long nr, const uint64_t a[6]) {
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    long ret;
    __asm__ volatile(
        ".globl tv_cp_begin, tv_cp_insn, tv_cp_end\n.hidden tv_cp_begin, tv_cp_insn, tv_cp_end\n"
        "tv_cp_begin: xor %%ecx, %%ecx\n"
        "cmpl $0, (%[att])\n"
        "jne 1f\n"
        "tv_cp_insn: syscall\n"
        "jmp tv_cp_end\n"
        "1: mov $-513, %%rax\n"
        "tv_cp_end:\n"
        : "=a"(ret) : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9), [att] "r"(attention)
        : "rcx", "r11", "memory", "cc");
    return ret;
}

uint64_t sig_waiting(uint64_t mask) { return mask & ~(UNBLOCKABLE | FAULTS); }

int host_mask(uint64_t mask) {
    uint64_t m = sig_waiting(mask);
    return (int)sys6(14, SIG_SETMASK, (uintptr_t)&m, 0, 8, 0, 0);
}

/* The mask of a call that has not begun if a signal was noted: that signal came first, and a mask set now would let another one
 * take its place. */
int mask_unless_noted(uint64_t mask) {
    uint64_t m = sig_waiting(mask);
    return (int)host6(14, SIG_SETMASK, (uintptr_t)&m, 0, 8, 0, 0);
}

/* Blocks what can be blocked, so that nothing is noted any more; -RESTART_NOINTR, and nothing done, if something was. */
int sig_hold(void) { return mask_unless_noted(~0ull); }

/* A sent SIGSEGV or SIGBUS that the guest blocks cannot wait on the host, where they are never blocked: it is held here. */
static void hold(struct tv_thread *t) {
    t->kept_info[t->noted == SIGBUS] = t->incoming;
    t->deferred |= BIT(t->noted);
}

/* true: a held signal that mask lets through is noted now. */
bool sig_release(struct tv_thread *t, uint64_t mask) {
    uint64_t ready = t->deferred & ~mask;
    if (!ready) return false;
    host_mask(~0ull);
    if (t->noted) return false; /* that one first */
    int sig = ready & BIT(SIGBUS) ? SIGBUS : SIGSEGV;
    t->deferred &= ~BIT(sig);
    t->incoming = t->kept_info[sig == SIGBUS];
    t->noted = sig;
    t->attention = 1;
    return true;
}

/* A mask for the time that a call waits. true: a held signal passes it, and the call is interrupted at once. */
bool sig_wait(struct tv_thread *t, uint64_t mask) {
    t->wait_mask = mask & ~UNBLOCKABLE;
    t->waiting = true;
    return sig_release(t, mask);
}

static bool is_tick(int sig, const siginfo_t *info) { return sig == SIGBUS && info->si_code == SI_TIMER && info->si_value.sival_ptr == TICK_VALUE; }
bool sig_is_kick(int sig, const siginfo_t *info) {
    if (is_tick(sig, info)) return true;
    return sig == SIGBUS && info->si_code == SI_QUEUE && (info->si_value.sival_ptr == KICK_VALUE || info->si_value.sival_ptr == DEBUG_ASK_VALUE);
}
bool sig_is_ask(int sig, const siginfo_t *info) { return sig_is_kick(sig, info) && info->si_value.sival_ptr == DEBUG_ASK_VALUE; }

/* The host's handler, in the context of a guest thread. */
void sig_note(int sig, siginfo_t *info, void *context) {
    struct tv_thread *t = tv_me;
    ucontext_t *u = context;
    if (!t) return;
    if (!sig_is_kick(sig, info)) {
        t->incoming = *info;
        t->noted = sig;
        uint64_t all = ~(UNBLOCKABLE | FAULTS);
        memcpy(&u->uc_sigmask, &all, sizeof all);
    }
    if (is_tick(sig, info)) perf_tick(t, info->si_overrun);
    t->attention = 1;
    if (t->cpu) cpu_kick(t->cpu);
    uintptr_t rip = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
    if (rip >= (uintptr_t)tv_cp_begin && rip <= (uintptr_t)tv_cp_insn) {
        bool ran = rip == (uintptr_t)tv_cp_insn && u->uc_mcontext.gregs[REG_RCX] != 0;
        u->uc_mcontext.gregs[REG_RAX] = ran ? -RESTART_SYS : -RESTART_NOINTR;
        u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)tv_cp_end;
    }
}

int sig_kick(const struct tv_thread *t) {
    siginfo_t info = {.si_signo = SIGBUS, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = KICK_VALUE;
    return (int)sys6(297, (uint64_t)t->proc->pid, (uint64_t)t->tid, SIGBUS, (uintptr_t)&info, 0, 0);
}

static bool noting; /* every signal, for a debugger */
static uint64_t dumped; /* signals whose core file is the monitor's to write */
static bool traced;      /* the end of the process is told, whatever the signal */
static uint64_t shown;   /* signals that are noted only for a trace */
static uint64_t changed; /* dispositions of the host process that are not as we found them */

/* A process that shares its parent's memory must not die anywhere: it might hold a lock of ours. */
static void mirror(const struct tv_proc *p, int sig) {
    const struct tv_sigaction *act = &p->sig->act[sig];
    uint64_t handler = act->handler, noted = p->shares || noting || traced ? ~(IGNORED | STOPPING) : NOTED_DEFAULT | dumped;
    noted |= shown;
    if (BIT(sig) & (FAULTS | UNBLOCKABLE)) return;
    changed |= BIT(sig);
    struct host_act h = {.handler = handler == 1 ? SIG_IGN : SIG_DFL};
    if (handler > 1 || (handler == 0 && BIT(sig) & noted))
        h = (struct host_act){(void *)sig_note, SA_SIGINFO | SA_RESTART | SA_RESTORER_, (void *)host_restorer, ~(UNBLOCKABLE | FAULTS)};
    h.flags |= act->flags & (SA_NOCLDSTOP | SA_NOCLDWAIT); /* about the children, who are the host's */
    sys6(13, (uint64_t)sig, (uintptr_t)&h, 0, 8, 0, 0);
}

/* The C library takes two signals for itself when it makes its first thread; they are the guest's library's. vm->lock is held. */
void sig_libc(const struct tv_proc *p) {
    static bool done;
    for (int s = 32; s <= 33 && !done; s++) {
        sys6(13, (uint64_t)s, 0, (uintptr_t)&saved[s], 8, 0, 0); /* what sig_stop() gives back */
        mirror(p, s);
    }
    done = true;
}

/* Python ignores SIGPIPE and SIGXFSZ and catches SIGINT for itself: the program starts with the defaults. What else
 * is ignored was inherited, and the program inherits it (nohup(1)). */
void sig_first(struct tv_vm *vm) {
    for (int s = 1; s <= 64; s++) {
        struct host_act h = {0};
        if (BIT(s) & UNBLOCKABLE) continue;
        sys6(13, (uint64_t)s, 0, (uintptr_t)&h, 8, 0, 0);
        tv_me->proc->sig->act[s].handler = h.handler == SIG_IGN && (vm->flags & TV_F_RUNNER || (s != SIGPIPE && s != SIGXFSZ));
    }
    sys6(14, SIG_SETMASK, 0, (uintptr_t)&tv_me->sigmask, 8, 0, 0);
}

/* A core file can be asked for at any time: setrlimit(2). */
void sig_core(struct tv_vm *vm) {
    uint64_t now = 0;
    for (int s = 1; s < 32 && dump_wanted(vm); s++)
        if (dump_signal(s) && !(BIT(s) & FAULTS)) now |= BIT(s);
    uint64_t other = now ^ dumped;
    dumped = now;
    for (int s = 1; s < 32 && other && active; s++)
        if (other & BIT(s)) mirror(tv_me->proc, s);
}

/* Only what differs is set, and given back: a start should not cost 200 system calls. */
void sig_start(struct tv_vm *vm) {
    if (active) { /* it goes on after a notice */
        if (!tv_me->noted) host_mask(tv_me->sigmask);
        return;
    }
    sig_core(vm);
    active = true;
    traced = vm->trace;
    shown = traced ? vm->trace->o.signals & BIT(SIGCHLD) : 0;
    sys6(14, SIG_SETMASK, 0, (uintptr_t)&saved_mask, 8, 0, 0);
    for (int s = 1; s <= 64; s++) {
        if (BIT(s) & (UNBLOCKABLE | FAULTS)) continue;
        uint64_t want = tv_me->proc->sig->act[s].handler;
        if (!(changed & BIT(s))) sys6(13, (uint64_t)s, 0, (uintptr_t)&saved[s], 8, 0, 0);
        if (want > 1 || BIT(s) & (NOTED_DEFAULT | dumped) || traced || saved[s].handler != (void *)want) mirror(tv_me->proc, s);
    }
    host_mask(tv_me->sigmask);
}

void sig_stop(struct tv_vm *vm) {
    struct host_act ignore = {.handler = SIG_IGN};
    uint64_t left = 0;
    if (!active) return;
    active = false;
    struct itimerval never = {0};
    pthread_mutex_lock(&vm->lock);
    bool timed = vm->stats.calls[37] || vm->stats.calls[38];
    pthread_mutex_unlock(&vm->lock);
    if (timed) /* alarm, setitimer: the process goes on without the guest */
        for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) setitimer(which, &never, NULL);
    while (vm->ntimers) sys6(226, (uint64_t)vm->timers[--vm->ntimers], 0, 0, 0, 0, 0);
    sys6(127, (uintptr_t)&left, 8, 0, 0, 0, 0);
    for (int s = 1; s <= 64; s++) {
        if (left & BIT(s)) { /* still pending: it was the guest's, and ends with it */
            if (!(changed & BIT(s))) sys6(13, (uint64_t)s, 0, (uintptr_t)&saved[s], 8, 0, 0);
            sys6(13, (uint64_t)s, (uintptr_t)&ignore, 0, 8, 0, 0);
        }
        if ((changed | left) & BIT(s)) sys6(13, (uint64_t)s, (uintptr_t)&saved[s], 0, 8, 0, 0);
    }
    changed = 0;
    sys6(14, SIG_SETMASK, (uintptr_t)&saved_mask, 0, 8, 0, 0);
}

static void end_by(struct tv_vm *vm, const siginfo_t *info, gva addr) {
    struct tv_stop end = {.kind = TV_SIGNALLED, .status = info->si_signo, .code = info->si_code, .addr = addr, .rip = tv_me->cpu->regs->rip,
                          .nr = (int)tv_me->fault_vector, .err = (int)tv_me->fault_error};
    if (!vm_end(vm, end)) return;
    tv_me->proc->died = *info;
    tv_me->proc->died_sp = tv_me->cpu->regs->rsp;
}

void sig_end(struct tv_vm *vm, int sig, int code, gva addr) {
    siginfo_t info = {.si_signo = sig, .si_code = code};
    if (code > 0) info.si_addr = (void *)(uintptr_t)addr;
    else info.si_pid = getpid(), info.si_uid = getuid();
    end_by(vm, &info, addr);
}

static struct tv_sigaction action(struct tv_vm *vm, int sig) { /* whole: another thread may be at sigaction(2) */
    pthread_mutex_lock(&vm->lock);
    struct tv_sigaction act = tv_me->proc->sig->act[sig];
    pthread_mutex_unlock(&vm->lock);
    return act;
}

/* Enters the guest's handler, or takes the default action. regs: what the handler returns to; blocked: what was blocked
 * when the signal came, which is not what the handler returns to if it came in sigsuspend(2) or ppoll(2). */
static void deliver(struct tv_vm *vm, const siginfo_t *info, const struct tv_regs *regs, uint64_t blocked, bool forced) {
    int sig = info->si_signo;
    if (vm->trace) trace_signal(vm, info);
    pthread_mutex_lock(&vm->lock);
    struct tv_sigaction act = tv_me->proc->sig->act[sig];
    if (act.handler > 1 && act.flags & SA_RESETHAND) {
        tv_me->proc->sig->act[sig].handler = 0;
        mirror(tv_me->proc, sig);
    }
    pthread_mutex_unlock(&vm->lock);
    if (act.handler <= 1) {
        if (!forced && (act.handler == 1 || BIT(sig) & IGNORED)) return;
        if (!forced && BIT(sig) & STOPPING) { kill(getpid(), SIGSTOP); return; }
        end_by(vm, info, forced ? (uintptr_t)info->si_addr : 0);
        return;
    }
    if (frame_push(vm, &act, info, tv_me->sigmask, regs)) {
        tv_me->proc->sig->act[SIGSEGV].handler = sig == SIGSEGV ? 0 : tv_me->proc->sig->act[SIGSEGV].handler;
        sig_end(vm, SIGSEGV, SI_KERNEL, 0); /* no place for the frame: force_sigsegv() */
        return;
    }
    tv_me->sigmask = (blocked | act.mask | (act.flags & SA_NODEFER ? 0 : BIT(sig))) & ~UNBLOCKABLE;
}

void sig_fault(struct tv_vm *vm, int sig, int code, gva addr) {
    siginfo_t info = {.si_signo = sig, .si_code = code};
    info.si_addr = (void *)(uintptr_t)addr;
    if (vm->debug) {
        int was = sig;
        if (!(sig = debug_signal(vm, &info))) { tv_me->raw_regs = true; return; } /* the instruction is tried again */
        if (sig != was) { tv_me->raw_regs = true; sig_give(vm, &info); return; }
    }
    bool able = action(vm, sig).handler > 1 && !(tv_me->sigmask & BIT(sig));
    if (!able && vm->trace) trace_signal(vm, &info);
    if (!able) { sig_end(vm, sig, code, addr); return; }
    struct tv_thread *t = tv_me;
    struct tv_regs regs = *t->cpu->regs;
    host_mask(~0ull);
    deliver(vm, &info, &regs, t->sigmask, true);
    if (t->noted && t->sigmask & BIT(t->noted)) { /* the fault's handler blocks it: back to the host's queue */
        if (BIT(t->noted) & FAULTS) hold(t);
        else sys6(297, (uint64_t)getpid(), (uint64_t)t->tid, (uint64_t)t->noted, (uintptr_t)&t->incoming, 0, 0);
        t->noted = 0;
    }
    if (!t->noted) host_mask(t->sigmask);
    t->raw_regs = true;
}

/* A signal of a debugger's. */
void sig_give(struct tv_vm *vm, siginfo_t *info) {
    struct tv_thread *t = tv_me;
    if (t->sigmask & BIT(info->si_signo)) { /* ptrace_signal() in kernel/signal.c: it waits */
        info->si_code = info->si_code < 0 ? info->si_code : SI_QUEUE; /* the kernel takes no other from us */
        sys6(297, (uint64_t)getpid(), (uint64_t)t->tid, (uint64_t)info->si_signo, (uintptr_t)info, 0, 0);
        return;
    }
    struct tv_regs regs = *t->cpu->regs;
    cpu_settle(t->cpu);
    host_mask(~0ull);
    deliver(vm, info, &regs, t->sigmask, false);
    if (!t->noted) host_mask(t->sigmask);
}

/* Before the guest goes on: what was noted, and how an interrupted call goes on. Linux's rules: a call that was not begun
 * runs after the handler; one that the host would restart does so if the handler has SA_RESTART; without a handler
 * every call goes on. */
void sig_attend(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    struct tv_regs *r = t->cpu->regs;
    cpu_attended(t->cpu);
    t->attention = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* only a handler in this thread writes both */
    int sig = t->noted, how = t->restart;
    uint64_t blocked = t->waiting && how != RESTART_NOINTR ? t->wait_mask : t->sigmask;
    bool held = sig && BIT(sig) & FAULTS & blocked;
    if (vm->debug && sig && !held) { /* the debugger sees the call begin again, unless the signal's handler comes to run */
        uint64_t rip = r->rip, rax = r->rax;
        if (how) cpu_settle(t->cpu), r->rip -= 2;
        sig = t->noted = debug_signal(vm, &t->incoming);
        if (how && r->rip == rip - 2 && r->rax == rax) r->rip = rip;
        else how = RESTART_NONE;
        if (!sig) host_mask(t->sigmask);
    }
    t->restart = RESTART_NONE;
    t->waiting = false;
    if (held) {
        hold(t);
        t->noted = sig = 0;
    }
    struct tv_sigaction act = sig ? action(vm, sig) : (struct tv_sigaction){0};
    bool handler = act.handler > 1;
    if (how) {
        bool again = !handler || how == RESTART_NOINTR || (how == RESTART_SYS && act.flags & SA_RESTART);
        if (again) {
            cpu_settle(t->cpu);
            r->rip -= 2; /* rax still holds the number */
        } else {
            r->rax = (uint64_t)-EINTR;
        }
    }
    if (held) host_mask(t->sigmask);
    if (!sig) return;
    siginfo_t info = t->incoming;
    info.si_signo = sig;
    t->noted = 0;
    struct tv_regs regs = *r;
    deliver(vm, &info, &regs, blocked, false);
    host_mask(t->sigmask);
    sig_release(t, t->sigmask);
}

int64_t core_rt_sigaction(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_sigaction new, old;
    int sig = (int)a[0];
    if (a[3] != 8) return -EINVAL;
    if (a[1] && tv_copy_in(vm, &new, a[1], sizeof new)) return -EFAULT;
    if (sig < 1 || sig > 64 || (a[1] && BIT(sig) & UNBLOCKABLE)) return -EINVAL;
    pthread_mutex_lock(&vm->lock);
    old = tv_me->proc->sig->act[sig];
    if (a[1]) {
        new.mask &= ~UNBLOCKABLE;
        tv_me->proc->sig->act[sig] = new;
        mirror(tv_me->proc, sig);
    }
    pthread_mutex_unlock(&vm->lock);
    return a[2] && tv_copy_out(vm, a[2], &old, sizeof old) ? -EFAULT : 0;
}

int64_t core_rt_sigprocmask(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_thread *t = tv_me;
    uint64_t old = t->sigmask, set;
    if (a[3] != 8) return -EINVAL;
    if (a[1]) {
        if (tv_copy_in(vm, &set, a[1], 8)) return -EFAULT;
        set &= ~UNBLOCKABLE;
        switch ((int)a[0]) {
        case SIG_BLOCK: set |= old; break;
        case SIG_UNBLOCK: set = old & ~set; break;
        case SIG_SETMASK: break;
        default: return -EINVAL;
        }
        int r = mask_unless_noted(set);
        if (r) return r;
        t->sigmask = set;
        sig_release(t, set);
    }
    return a[2] && tv_copy_out(vm, a[2], &old, 8) ? -EFAULT : 0;
}

int64_t core_rt_sigpending(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if (a[1] > 8) return -EINVAL;
    uint64_t set = 0;
    sys6(127, (uintptr_t)&set, 8, 0, 0, 0, 0);
    set = (set | tv_me->deferred) & tv_me->sigmask;
    return tv_copy_out(vm, a[0], &set, a[1]);
}

int64_t core_rt_sigsuspend(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t set;
    if (a[1] != 8) return -EINVAL;
    if (tv_copy_in(vm, &set, a[0], 8)) return -EFAULT;
    if (sig_wait(tv_me, set)) return -EINTR;
    set = sig_waiting(set);
    return host6(130, (uintptr_t)&set, 8, 0, 0, 0, 0);
}

int64_t core_rt_sigtimedwait(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t set;
    if (a[3] != 8) return -EINVAL;
    if (tv_copy_in(vm, &set, a[0], 8)) return -EFAULT;
    uint64_t held = set & tv_me->deferred;
    if (held) {
        int sig = held & BIT(SIGBUS) ? SIGBUS : SIGSEGV;
        if (a[1] && tv_copy_out(vm, a[1], &tv_me->kept_info[sig == SIGBUS], sizeof(siginfo_t))) return -EFAULT;
        tv_me->deferred &= ~BIT(sig);
        return sig;
    }
    set &= ~FAULTS; /* a kick must not be eaten */
    return host6(128, (uintptr_t)&set, tv_ptr(vm, a[1]), tv_ptr(vm, a[2]), 8, 0, 0);
}

int64_t core_pause(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    return host6(34, 0, 0, 0, 0, 0, 0);
}

int64_t core_sigaltstack(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_thread *t = tv_me;
    struct tv_altstack new, old = t->altstack;
    uint64_t sp = t->cpu->regs->rsp;
    bool on = old.size && sp > old.sp && sp - old.sp <= old.size;
    old.flags = !old.size ? 2 : (old.flags & (int)0x80000000) | on;
    if (a[0]) {
        if (tv_copy_in(vm, &new, a[0], sizeof new)) return -EFAULT;
        int mode = new.flags & 0x7fffffff; /* SS_AUTODISARM is the top bit */
        if (on) return -EPERM;
        if (mode && mode != 1 && mode != 2) return -EINVAL;
        if (mode == 2) new.sp = new.size = 0;
        else if (new.size < 2048) return -ENOMEM;
        new.pad = 0;
        new.flags &= (int)0x80000002;
        t->altstack = new;
    }
    return a[1] && tv_copy_out(vm, a[1], &old, sizeof old) ? -EFAULT : 0;
}

/* A signal to the program itself whose default action ends it: ended here, so that it is reported. */
static bool ends_us(struct tv_vm *vm, int sig) {
    return sig > 0 && sig <= 64 && action(vm, sig).handler == 0 && !(BIT(sig) & (IGNORED | STOPPING)) &&
           (!(tv_me->sigmask & BIT(sig)) || sig == SIGKILL) && (sig == SIGKILL || !vm->debug || !debug_on(vm, tv_me->proc));
}

static int64_t to_self(struct tv_vm *vm, int sig, int code) {
    siginfo_t info = {.si_signo = sig, .si_code = code};
    info.si_pid = getpid(), info.si_uid = getuid();
    if (vm->trace) trace_signal(vm, &info);
    sig_end(vm, sig, code, 0);
    return 0;
}

int64_t core_kill(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if ((pid_t)a[0] == getpid() && ends_us(vm, (int)a[1])) return to_self(vm, (int)a[1], SI_USER);
    return sys6(62, a[0], a[1], 0, 0, 0, 0);
}
int64_t core_tkill(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if ((pid_t)a[0] == gettid() && ends_us(vm, (int)a[1])) return to_self(vm, (int)a[1], SI_TKILL);
    return sys6(200, a[0], a[1], 0, 0, 0, 0);
}
int64_t core_tgkill(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if ((pid_t)a[1] == gettid() && (pid_t)a[0] == getpid() && ends_us(vm, (int)a[2])) return to_self(vm, (int)a[2], SI_TKILL);
    return sys6(234, a[0], a[1], a[2], 0, 0, 0);
}
/* A thread may send itself any si_code, as runtimes do that raise a fault again. On the host it would look like a fault of the
 * monitor, so it does not go there. */
static bool sends_fault(int64_t to, const siginfo_t *info) {
    struct tv_thread *t = tv_me;
    if (info->si_code <= 0 || (info->si_signo != SIGSEGV && info->si_signo != SIGBUS) || (pid_t)to != gettid()) return false;
    if (!(t->deferred & BIT(info->si_signo))) t->kept_info[info->si_signo == SIGBUS] = *info;
    t->deferred |= BIT(info->si_signo);
    sig_release(t, t->sigmask);
    return true;
}

int64_t core_rt_sigqueueinfo(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    siginfo_t info;
    if (tv_copy_in(vm, &info, a[2], sizeof info)) return -EFAULT;
    info.si_signo = (int)a[1];
    if (sig_is_kick((int)a[1], &info)) return -EPERM;
    if (sends_fault((int64_t)a[0], &info)) return 0;
    return sys6(129, a[0], a[1], (uintptr_t)&info, 0, 0, 0);
}
int64_t core_rt_tgsigqueueinfo(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    siginfo_t info;
    if (tv_copy_in(vm, &info, a[3], sizeof info)) return -EFAULT;
    info.si_signo = (int)a[2];
    if (sig_is_kick((int)a[2], &info)) return -EPERM;
    if ((pid_t)a[0] == getpid() && sends_fault((int64_t)a[1], &info)) return 0;
    return sys6(297, a[0], a[1], a[2], (uintptr_t)&info, 0, 0);
}

/* A timer is the process's, which may go on without the guest: sig_stop() deletes what is left. */
int64_t core_timer_create(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    int id = 0, *more;
    pthread_mutex_lock(&vm->lock);
    bool room = vm->ntimers < vm->timer_room || (more = realloc(vm->timers, (vm->timer_room * 2u + 16) * sizeof *more));
    if (room && vm->ntimers == vm->timer_room) vm->timers = more, vm->timer_room = vm->timer_room * 2 + 16;
    int64_t r = room ? sys6(222, a[0], tv_ptr(vm, a[1]), (uintptr_t)&id, 0, 0, 0) : -EAGAIN;
    if (!r && tv_copy_out(vm, a[2], &id, 4)) {
        sys6(226, (uint64_t)id, 0, 0, 0, 0, 0);
        r = -EFAULT;
    }
    if (!r) vm->timers[vm->ntimers++] = id;
    pthread_mutex_unlock(&vm->lock);
    return r;
}

int64_t core_timer_delete(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    pthread_mutex_lock(&vm->lock);
    int64_t r = sys6(226, a[0], 0, 0, 0, 0, 0);
    for (unsigned i = 0; !r && i < vm->ntimers; i++)
        if (vm->timers[i] == (int)a[0]) vm->timers[i] = vm->timers[--vm->ntimers];
    pthread_mutex_unlock(&vm->lock);
    return r;
}

int64_t core_pidfd_send_signal(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    siginfo_t info;
    if (fd_hidden(vm, a[0])) return -EBADF;
    if (!a[2]) return sys6(424, a[0], a[1], 0, a[3], 0, 0);
    if (tv_copy_in(vm, &info, a[2], sizeof info)) return sys6(424, a[0], a[1], tv_ptr(vm, 1), a[3], 0, 0);
    if (sig_is_kick((int)a[1], &info)) return -EPERM;
    if (info.si_code > 0 && info.si_signo == (int)a[1] && (info.si_signo == SIGSEGV || info.si_signo == SIGBUS)) { /* the kernel takes it for oneself only */
        siginfo_t none = info;
        none.si_signo = 0;
        int64_t r = sys6(424, a[0], 0, (uintptr_t)&none, a[3], 0, 0);
        return r ? r : sends_fault(gettid(), &info) ? 0 : -EPERM;
    }
    return sys6(424, a[0], a[1], (uintptr_t)&info, a[3], 0, 0);
}

/* What exec(2) keeps: what is ignored; the runner sets the mask. The host resets handlers itself, and only then: a kick may still
 * be on its way to the thread that waits. */
void sig_for_exec(struct tv_vm *vm) {
    struct host_act ignore = {.handler = SIG_IGN};
    for (int s = 1; s <= 64 && tv_me->proc->sig->refs == 1; s++)
        if (BIT(s) & FAULTS && tv_me->proc->sig->act[s].handler == 1) sys6(13, (uint64_t)s, (uintptr_t)&ignore, 0, 8, 0, 0);
}

void sig_clear(struct tv_vm *vm) { /* CLONE_CLEAR_SIGHAND */
    for (int s = 1; s <= 64; s++)
        if (tv_me->proc->sig->act[s].handler > 1) {
            tv_me->proc->sig->act[s] = (struct tv_sigaction){0};
            mirror(tv_me->proc, s);
        }
}

void sig_note_all(struct tv_vm *vm) {
    for (int s = 1; s <= 64; s++)
        if (!tv_me->proc->sig->act[s].handler && !(BIT(s) & (UNBLOCKABLE | FAULTS | IGNORED | STOPPING))) mirror(tv_me->proc, s);
}

/* For a debugger every signal is noted, so that it is told. Under vm->lock. */
void sig_debug(struct tv_vm *vm) {
    noting = true;
    for (struct tv_proc *p = vm->proc; p; p = p->next)
        for (int s = 1; s <= 64; s++)
            if (!p->sig->act[s].handler && !(BIT(s) & (UNBLOCKABLE | FAULTS | IGNORED | STOPPING))) mirror(p, s);
}

/* After a process that shared the table has changed the host's for its own end. */
void sig_repair(struct tv_proc *p) {
    for (int s = 1; s <= 64; s++) mirror(p, s);
}
