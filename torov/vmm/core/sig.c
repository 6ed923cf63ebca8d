/* Signals, as far as a program with one thread and no delivery to handlers needs them: dispositions, mask, pending
 * set, alternate stack, and the default actions (signal(7)). Dispositions and mask are mirrored onto the host thread, so
 * that a signal from outside ends, stops or spares the monitor exactly as it would the program. */
#include "tv.h"

#include <pthread.h>
#include <unistd.h>

#define BIT(s) (1ull << ((s) - 1))
#define UNBLOCKABLE (BIT(SIGKILL) | BIT(SIGSTOP))
/* the host raises these for what the guest did; the core turns them into the guest's own */
#define OURS (BIT(SIGPIPE) | BIT(SIGXFSZ))
#define IGNORED (BIT(SIGCHLD) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGCONT))
#define STOPPING (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))

struct host_act { void *handler; uint64_t flags; void *restorer; uint64_t mask; };
static struct host_act saved[65];
static uint64_t saved_mask;
static bool active;

static int host_mask(uint64_t mask) {
    uint64_t m = (mask & ~(UNBLOCKABLE | BIT(SIGSEGV) | BIT(SIGBUS))) | OURS;
    return (int)sys6(14, SIG_SETMASK, (uintptr_t)&m, 0, 8, 0, 0);
}

static void mirror(int sig, uint64_t handler) {
    if (sig == SIGSEGV || sig == SIGBUS || BIT(sig) & UNBLOCKABLE) return;
    struct host_act h = {.handler = handler == 1 ? SIG_IGN : SIG_DFL};
    sys6(13, (uint64_t)sig, (uintptr_t)&h, 0, 8, 0, 0);
}

/* Python ignores SIGPIPE and SIGXFSZ and catches SIGINT for itself: the program starts with the defaults. What else
 * is ignored was inherited, and the program inherits it (nohup(1)). */
void sig_start(struct tv_vm *vm) {
    if (active) return;
    active = true;
    sys6(14, SIG_SETMASK, 0, (uintptr_t)&saved_mask, 8, 0, 0);
    for (int s = 1; s <= 64; s++) {
        if (BIT(s) & UNBLOCKABLE) continue;
        sys6(13, (uint64_t)s, 0, (uintptr_t)&saved[s], 8, 0, 0);
        bool inherited = saved[s].handler == SIG_IGN && s != SIGPIPE && s != SIGXFSZ;
        if (!vm->stats.exits) vm->act[s].handler = inherited ? 1 : 0;
        if (saved[s].handler != (void *)vm->act[s].handler) mirror(s, vm->act[s].handler);
    }
    if (!vm->stats.exits) vm->sigmask = saved_mask;
    host_mask(vm->sigmask);
}

void sig_stop(struct tv_vm *vm) {
    (void)vm;
    if (!active) return;
    active = false;
    for (int s = 1; s <= 64; s++)
        if (!(BIT(s) & UNBLOCKABLE) && s != SIGSEGV && s != SIGBUS) sys6(13, (uint64_t)s, (uintptr_t)&saved[s], 0, 8, 0, 0);
    sys6(14, SIG_SETMASK, (uintptr_t)&saved_mask, 0, 8, 0, 0);
}

void sig_end(struct tv_vm *vm, int sig, int code, gva addr) {
    vm->end = (struct tv_stop){.kind = TV_SIGNALLED, .status = sig, .code = code, .addr = addr, .rip = vm->cpu->regs->rip};
}

/* A signal that the guest sends itself or earns. 0, whatever came of it: the caller's result stands. */
int64_t sig_raise(struct tv_vm *vm, int sig, int code) {
    if (BIT(sig) & OURS) { /* did the host mean it? (MSG_NOSIGNAL, a file limit) */
        uint64_t set = BIT(sig);
        struct { int64_t s, n; } zero = {0, 0};
        if (sys6(128, (uintptr_t)&set, 0, (uintptr_t)&zero, 8, 0, 0) != sig && code == 0) return 0;
    }
    uint64_t h = vm->act[sig].handler;
    if (h == 1 || (h == 0 && BIT(sig) & IGNORED)) return 0;
    if (vm->sigmask & BIT(sig) && !(BIT(sig) & UNBLOCKABLE)) { vm->sigpending |= BIT(sig); return 0; }
    if (BIT(sig) & STOPPING && h == 0) { kill(getpid(), SIGSTOP); return 0; }
    sig_end(vm, sig, code, 0);
    return 0;
}

int64_t core_rt_sigaction(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    struct tv_sigaction new, old;
    int sig = (int)a[0];
    if (a[3] != 8) return -EINVAL;
    if (a[1] && tv_copy_in(vm, &new, a[1], sizeof new)) return -EFAULT;
    if (sig < 1 || sig > 64 || (a[1] && BIT(sig) & UNBLOCKABLE)) return -EINVAL;
    old = vm->act[sig];
    if (a[1]) {
        new.mask &= ~UNBLOCKABLE;
        vm->act[sig] = new;
        mirror(sig, new.handler);
        if (new.handler == 1 || (new.handler == 0 && BIT(sig) & IGNORED)) vm->sigpending &= ~BIT(sig);
    }
    return a[2] && tv_copy_out(vm, a[2], &old, sizeof old) ? -EFAULT : 0;
}

static void deliver_pending(struct tv_vm *vm) {
    uint64_t ready = vm->sigpending & ~vm->sigmask;
    for (int s = 1; ready && s <= 64 && !vm->end.kind; s++)
        if (ready & BIT(s)) {
            vm->sigpending &= ~BIT(s);
            sig_raise(vm, s, -6);
        }
}

int64_t core_rt_sigprocmask(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    uint64_t old = vm->sigmask, set;
    if (a[3] != 8) return -EINVAL;
    if (a[1]) {
        if (tv_copy_in(vm, &set, a[1], 8)) return -EFAULT;
        set &= ~UNBLOCKABLE;
        switch ((int)a[0]) {
        case SIG_BLOCK: vm->sigmask |= set; break;
        case SIG_UNBLOCK: vm->sigmask &= ~set; break;
        case SIG_SETMASK: vm->sigmask = set; break;
        default: return -EINVAL;
        }
        host_mask(vm->sigmask);
        deliver_pending(vm);
    }
    return a[2] && tv_copy_out(vm, a[2], &old, 8) ? -EFAULT : 0;
}

int64_t core_rt_sigpending(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    if (a[1] > 8) return -EINVAL;
    uint64_t set = 0;
    sys6(127, (uintptr_t)&set, 8, 0, 0, 0, 0);
    set = (set & ~OURS & vm->sigmask) | vm->sigpending;
    return tv_copy_out(vm, a[0], &set, a[1]);
}

int64_t core_rt_sigsuspend(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    uint64_t set;
    if (a[1] != 8) return -EINVAL;
    if (tv_copy_in(vm, &set, a[0], 8)) return -EFAULT;
    set = (set & ~(UNBLOCKABLE | BIT(SIGSEGV) | BIT(SIGBUS))) | OURS;
    return sys6(130, (uintptr_t)&set, 8, 0, 0, 0, 0);
}

int64_t core_rt_sigtimedwait(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t set;
    if (a[3] != 8) return -EINVAL;
    if (tv_copy_in(vm, &set, a[0], 8)) return -EFAULT;
    struct { int64_t sec, nsec; } limit; /* looked at before any signal is */
    if (a[2] && tv_copy_in(vm, &limit, a[2], sizeof limit)) return -EFAULT;
    if (a[2] && (limit.sec < 0 || (uint64_t)limit.nsec >= 1000000000)) return -EINVAL;
    uint64_t own = set & vm->sigpending;
    if (own) {
        int sig = __builtin_ctzll(own) + 1;
        vm->sigpending &= ~BIT(sig);
        siginfo_t info = {.si_signo = sig, .si_code = SI_TKILL};
        info.si_pid = getpid();
        info.si_uid = getuid();
        return a[1] && tv_copy_out(vm, a[1], &info, sizeof info) ? -EFAULT : sig;
    }
    return tv_host(vm, 128, a, c);
}

int64_t core_pause(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)vm; (void)a; (void)c;
    return sys6(34, 0, 0, 0, 0, 0, 0);
}

int64_t core_sigaltstack(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    struct { uint64_t sp; int32_t flags; uint32_t pad; uint64_t size; } new, old;
    memcpy(&old, &vm->altstack, sizeof old);
    if (!old.sp && !old.size) old.flags = 2;
    if (a[0]) {
        if (tv_copy_in(vm, &new, a[0], sizeof new)) return -EFAULT;
        int mode = new.flags & 0x7fffffff; /* SS_AUTODISARM is the top bit */
        if (mode && mode != 1 && mode != 2) return -EINVAL;
        if (mode == 2) { new.sp = new.size = 0; new.flags = 2; }
        else if (new.size < 2048) return -ENOMEM;
        new.pad = 0;
        memcpy(&vm->altstack, &new, sizeof new);
    }
    return a[1] && tv_copy_out(vm, a[1], &old, sizeof old) ? -EFAULT : 0;
}

int64_t core_rt_sigreturn(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)a; (void)c;
    sig_end(vm, SIGSEGV, SI_KERNEL, 0); /* no frame is on the stack */
    return 0;
}

static int64_t send_signal(struct tv_vm *vm, int64_t pid, int64_t tid, int sig, bool self) {
    if (sig < 0 || sig > 64) return -EINVAL;
    (void)pid; (void)tid;
    if (self && sig) return sig_raise(vm, sig, tid ? SI_TKILL : SI_USER);
    return 0;
}

int64_t core_kill(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    pid_t pid = (pid_t)a[0];
    if (pid == getpid()) return send_signal(vm, pid, 0, (int)a[1], true);
    return sys6(62, a[0], a[1], 0, 0, 0, 0);
}
int64_t core_tkill(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    if ((pid_t)a[0] <= 0) return -EINVAL;
    if ((pid_t)a[0] == gettid()) return send_signal(vm, 0, gettid(), (int)a[1], true);
    return sys6(200, a[0], a[1], 0, 0, 0, 0);
}
int64_t core_tgkill(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    if ((pid_t)a[0] <= 0 || (pid_t)a[1] <= 0) return -EINVAL;
    if ((pid_t)a[1] == gettid() && (pid_t)a[0] == getpid()) return send_signal(vm, 0, gettid(), (int)a[2], true);
    return sys6(234, a[0], a[1], a[2], 0, 0, 0);
}
int64_t core_rt_sigqueueinfo(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    siginfo_t info;
    if (tv_copy_in(vm, &info, a[2], sizeof info)) return -EFAULT;
    if ((pid_t)a[0] == getpid()) return send_signal(vm, 0, 0, (int)a[1], true);
    return sys6(129, a[0], a[1], (uintptr_t)&info, 0, 0, 0);
}
int64_t core_rt_tgsigqueueinfo(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    siginfo_t info;
    if (tv_copy_in(vm, &info, a[3], sizeof info)) return -EFAULT;
    if ((pid_t)a[0] == getpid() && (pid_t)a[1] == gettid()) return send_signal(vm, 0, 0, (int)a[2], true);
    return sys6(297, a[0], a[1], a[2], (uintptr_t)&info, 0, 0);
}
