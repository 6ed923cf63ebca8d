/* Arguments that tables do not describe: processes, signals, time. */
#include "show.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define ARG(s) ((s)->a[arg])

/* exec(2) */
bool show_argv(struct show *s, int arg, const void *data) {
    gva at = ARG(s), one;
    if (!at || !get(s, &one, at, 8)) { put_ptr(s, at); return true; }
    put_c(s, '[');
    for (unsigned i = 0; get(s, &one, at + 8ull * i, 8) && one; i++) {
        if (i) put(s, ", ");
        if (i >= s->o->string_size) { put(s, "..."); break; }
        put_path(s, one, s->o->string_size);
    }
    put_c(s, ']');
    return true;
}
bool show_envp(struct show *s, int arg, const void *data) {
    gva at = ARG(s), one;
    unsigned n = 0;
    if (s->o->verbose) return show_argv(s, arg, data);
    put_ptr(s, at);
    if (!at || !get(s, &one, at, 8)) return true;
    while (n < 1u << 20 && get(s, &one, at + 8ull * n, 8) && one) n++;
    put(s, " /* "), put_u(s, n), put(s, n == 1 ? " var */" : " vars */");
    return true;
}

bool show_clone(struct show *s, int arg, const void *data) {
    uint64_t flags = s->a[0] & ~0xffull, sig = s->a[0] & 0xff;
    put(s, "child_stack="), put_ptr(s, s->a[1]);
    put_sep(s), put(s, "flags=");
    if (flags || !sig) put_set(s, SET_clone3, (uint32_t)flags);
    if (sig) put(s, flags ? "|" : ""), put_sig(s, (int)sig);
    return true;
}
static void put_int_at(struct show *s, gva at) {
    int v;
    if (s->failed || !at || !get(s, &v, at, 4)) { put_ptr(s, at); return; }
    put_c(s, '['), put_d(s, v), put_c(s, ']');
}
/* What was written of the new thread, which may have ended and cleared its id already. */
static void put_new(struct show *s, bool pidfd, gva at) {
    if (pidfd || s->failed || !at) put_int_at(s, at);
    else put_c(s, '['), put_d(s, s->ret), put_c(s, ']');
}
bool show_clone_rest(struct show *s, int arg, const void *data) {
    uint64_t flags = s->a[0];
    bool any = false;
    if (flags & (CLONE_PARENT_SETTID | CLONE_PIDFD)) put(s, flags & CLONE_PIDFD ? "pidfd=" : "parent_tid="), put_new(s, flags & CLONE_PIDFD, s->a[2]), any = true;
    if (flags & CLONE_SETTLS) any ? put_sep(s) : (void)0, put(s, "tls="), put_ptr(s, s->a[4]), any = true;
    if (flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)) any ? put_sep(s) : (void)0, put(s, "child_tidptr="), put_ptr(s, s->a[3]), any = true;
    return any;
}
bool clone3_tells(struct show *s) {
    uint64_t flags;
    return get(s, &flags, s->a[0], 8) && flags & (CLONE_PIDFD | CLONE_PARENT_SETTID);
}
bool show_clone3_out(struct show *s, int arg, const void *data) {
    uint64_t v[11] = {0}, flags;
    if (s->n && s->text[s->n - 1] == SHOW_SEP) s->n--; /* it belongs to the argument before */
    if (s->failed || !get(s, v, s->a[0], 64) || !((flags = v[0]) & (CLONE_PIDFD | CLONE_PARENT_SETTID))) return true;
    put(s, " => {");
    if (flags & CLONE_PIDFD) put(s, "pidfd="), put_int_at(s, v[1]);
    if (flags & CLONE_PARENT_SETTID) put(s, flags & CLONE_PIDFD ? ", parent_tid=" : "parent_tid="), put_new(s, false, v[3]);
    put_c(s, '}');
    return true;
}
bool show_clone_args(struct show *s, int arg, const void *data) { /* flags pidfd child_tid parent_tid exit_signal stack stack_size tls */
    uint64_t v[11];
    memcpy(v, data, sizeof v);
    put(s, "flags="), put_set(s, SET_clone3, v[0]);
    if (v[0] & CLONE_PIDFD) put(s, ", pidfd="), put_ptr(s, v[1]);
    if (v[0] & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)) put(s, ", child_tid="), put_ptr(s, v[2]);
    if (v[0] & CLONE_PARENT_SETTID) put(s, ", parent_tid="), put_ptr(s, v[3]);
    put(s, ", exit_signal="), put_sig(s, (int)v[4]);
    put(s, ", stack="), put_ptr(s, v[5]), put(s, ", stack_size="), put_x(s, v[6]);
    if (v[0] & CLONE_SETTLS) put(s, ", tls="), put_ptr(s, v[7]);
    return true;
}

static void put_status(struct show *s, int st) {
    if (WIFSTOPPED(st)) {
        put(s, "{WIFSTOPPED(s) && WSTOPSIG(s) == "), put_sig(s, WSTOPSIG(st)), put_c(s, '}');
    } else if (WIFSIGNALED(st)) {
        put(s, "{WIFSIGNALED(s) && WTERMSIG(s) == "), put_sig(s, WTERMSIG(st)), put(s, WCOREDUMP(st) ? " && WCOREDUMP(s)}" : "}");
    } else if (WIFEXITED(st)) {
        put(s, "{WIFEXITED(s) && WEXITSTATUS(s) == "), put_d(s, WEXITSTATUS(st)), put_c(s, '}');
    } else if (WIFCONTINUED(st)) {
        put(s, "{WIFCONTINUED(s)}");
    } else {
        put_c(s, '['), put_x(s, (unsigned)st), put_c(s, ']');
    }
}
bool show_wait_status(struct show *s, int arg, const void *data) {
    int st;
    if (s->ret <= 0 || !ARG(s) || !get(s, &st, ARG(s), 4)) put_ptr(s, ARG(s));
    else put_c(s, '['), put_status(s, st), put_c(s, ']');
    return true;
}
bool show_rusage(struct show *s, int arg, const void *data) {
    if (s->failed || (s->nr == 61 && s->ret <= 0)) put_ptr(s, ARG(s));
    else put_struct(s, ST_rusage, ARG(s));
    return true;
}
bool show_waitid_info(struct show *s, int arg, const void *data) {
    if (s->failed) put_ptr(s, ARG(s));
    else put_struct(s, ST_siginfo, ARG(s));
    return true;
}

/* signals */
static void put_sigset_at(struct show *s, gva at, uint64_t size) {
    uint64_t set = 0;
    if (!at || size > 8 || !get(s, &set, at, size)) put_ptr(s, at);
    else put_value(s, K_SIGSET, 0, set);
}
bool show_sigset(struct show *s, int arg, const void *data) {
    static const uint8_t size_of[] = {[14] = 3, [127] = 1, [128] = 3}; /* rt_sigprocmask, rt_sigpending, rt_sigtimedwait */
    int size = s->nr == 282 || s->nr == 289 ? 2 : s->nr == 130 ? 1 : size_of[s->nr];
    if (s->failed && s->after) put_ptr(s, ARG(s));
    else put_sigset_at(s, ARG(s), s->a[size]);
    return true;
}
bool show_sigset4(struct show *s, int arg, const void *data) {
    put_sigset_at(s, ARG(s), s->a[4]);
    return true;
}
bool show_sigset5(struct show *s, int arg, const void *data) {
    put_sigset_at(s, ARG(s), s->a[5]);
    return true;
}
bool show_sigset_pair(struct show *s, int arg, const void *data) {
    uint64_t pair[2];
    if (!ARG(s) || !get(s, pair, ARG(s), sizeof pair)) { put_ptr(s, ARG(s)); return true; }
    put(s, "{sigmask="), put_sigset_at(s, pair[0], pair[1]), put(s, ", sigsetsize="), put_u(s, pair[1]), put_c(s, '}');
    return true;
}
bool show_sigaction_old(struct show *s, int arg, const void *data) {
    if (s->failed) put_ptr(s, ARG(s));
    else put_struct(s, ST_sigaction, ARG(s));
    return true;
}
bool show_restorer(struct show *s, int arg, const void *data) {
    uint64_t v[4];
    memcpy(v, data, sizeof v);
    if (!(v[1] & 0x4000000)) return false;
    put(s, "sa_restorer="), put_ptr(s, v[2]);
    return true;
}
bool show_sig_name(struct show *s, int arg, const void *data) {
    put_d(s, s->ret), put(s, " ("), put_sig(s, (int)s->ret), put(s, ")");
    return true;
}
bool show_sigframe(struct show *s, int arg, const void *data) {
    uint64_t set; /* struct rt_sigframe: behind pretcode, uc_sigmask of ucontext */
    gva frame = tv_me->cpu->regs->rsp - 8;
    if (!get(s, &set, frame + 8 + offsetof(ucontext_t, uc_sigmask), 8)) return false;
    put(s, "{mask="), put_value(s, K_SIGSET, 0, set), put_c(s, '}');
    return true;
}
bool show_sigevent(struct show *s, int arg, const void *data) {
    struct { uint64_t value; int32_t sig, notify; int32_t tid; } e;
    memcpy(&e, data, sizeof e);
    put(s, "sigev_value={sival_int="), put_d(s, (int)e.value), put(s, ", sival_ptr="), put_ptr(s, e.value);
    put(s, "}, sigev_signo=");
    if (e.notify == 0 || e.notify == 2 || e.notify == 4) put_sig(s, e.sig);
    else put_d(s, e.sig);
    put(s, ", sigev_notify="), put_set32(s, SET_sigev, (uint64_t)e.notify);
    if (e.notify == 4) put(s, ", sigev_notify_thread_id="), put_d(s, e.tid);
    return true;
}

static void put_ticks(struct show *s, const char *name, int64_t ticks) {
    put(s, name), put_d(s, ticks);
    if (ticks) put(s, " /* "), put_d(s, ticks / 100), put_c(s, '.'), put_pad(s, (ticks < 0 ? 0 - (uint64_t)ticks : (uint64_t)ticks) % 100, 2), put(s, " s */");
}
bool show_siginfo(struct show *s, int arg, const void *data) {
    static const uint8_t codes[32] = {[SIGCHLD] = SET_si_chld, [SIGSEGV] = SET_si_segv, [SIGBUS] = SET_si_bus, [SIGFPE] = SET_si_fpe,
                                      [SIGILL] = SET_si_ill, [SIGTRAP] = SET_si_trap, [SIGIO] = SET_si_poll, [SIGSYS] = SET_si_sys};
    siginfo_t i;
    memcpy(&i, data, sizeof i);
    if (!i.si_signo && !i.si_errno && !i.si_code) { s->n -= s->text[s->n - 1] == '{'; put_c(s, '{'); return true; }
    put(s, "si_signo="), put_sig(s, i.si_signo), put(s, ", si_code=");
    int set = i.si_code > 0 && i.si_code < 0x80 && i.si_signo > 0 && i.si_signo < 32 && codes[i.si_signo] ? codes[i.si_signo] : SET_si_code;
    put_set32(s, set, (uint32_t)i.si_code);
    if (i.si_errno) put(s, ", si_errno="), i.si_errno > 0 && i.si_errno < 134 ? put(s, error_name(i.si_errno)) : put_d(s, i.si_errno);
    if (i.si_code == SI_TIMER) {
        put(s, ", si_timerid="), put_x(s, (unsigned)i.si_timerid), put(s, ", si_overrun="), put_d(s, i.si_overrun);
        put(s, ", si_int="), put_d(s, i.si_int), put(s, ", si_ptr="), put_ptr(s, (uintptr_t)i.si_ptr);
    } else if (i.si_code <= 0 && i.si_code != SI_SIGIO) {
        if (i.si_code == SI_USER || i.si_code == SI_TKILL || i.si_pid || i.si_uid) {
            put(s, ", si_pid="), put_d(s, i.si_pid), put(s, ", si_uid="), put_u(s, i.si_uid);
        }
        if (i.si_code != SI_USER && (i.si_code != SI_TKILL || i.si_ptr)) put(s, ", si_int="), put_d(s, i.si_int), put(s, ", si_ptr="), put_ptr(s, (uintptr_t)i.si_ptr);
    } else if (i.si_signo == SIGCHLD && i.si_code < 0x80) {
        put(s, ", si_pid="), put_d(s, i.si_pid), put(s, ", si_uid="), put_u(s, i.si_uid), put(s, ", si_status=");
        if (i.si_code == CLD_EXITED) put_d(s, i.si_status);
        else put_sig(s, i.si_status);
        put_ticks(s, ", si_utime=", i.si_utime), put_ticks(s, ", si_stime=", i.si_stime);
    } else if (set != SET_si_code && (i.si_signo == SIGSEGV || i.si_signo == SIGBUS || i.si_signo == SIGFPE || i.si_signo == SIGILL || i.si_signo == SIGTRAP)) {
        put(s, ", si_addr="), put_ptr(s, (uintptr_t)i.si_addr);
    } else if (i.si_code == SI_KERNEL && (i.si_signo == SIGSEGV || i.si_signo == SIGBUS || i.si_signo == SIGTRAP)) {
        put(s, ", si_addr="), put_ptr(s, (uintptr_t)i.si_addr);
    } else if (i.si_signo == SIGIO) {
        put(s, ", si_band="), put_d(s, i.si_band), put(s, ", si_fd="), put_d(s, i.si_fd);
    }
    return true;
}

/* who and how much */
static bool ids(struct show *s, gva at, int64_t n) {
    uint32_t id;
    if (!at || (n > 0 && !get(s, &id, at, 4))) { put_ptr(s, at); return true; }
    put_c(s, '[');
    for (int64_t i = 0; i < n && get(s, &id, at + 4ull * (uint64_t)i, 4); i++) {
        if (i) put(s, ", ");
        if ((uint64_t)i >= s->o->string_size) { put(s, "..."); break; }
        put_u(s, id);
    }
    put_c(s, ']');
    return true;
}
bool show_groups(struct show *s, int arg, const void *data) {
    if (s->after && (s->failed || (!s->a[0] && s->ret))) { put_ptr(s, ARG(s)); return true; }
    return ids(s, ARG(s), s->after ? s->ret : (int)s->a[0]);
}
bool show_cpuset(struct show *s, int arg, const void *data) {
    uint64_t set[128] = {0};
    uint64_t len = s->after ? (uint64_t)s->ret : s->a[1];
    if (len > sizeof set) len = sizeof set;
    if (s->failed || !ARG(s) || !get(s, set, ARG(s), len)) put_ptr(s, ARG(s));
    else put_sets(s, set, (int)len * 8);
    return true;
}
bool show_caps(struct show *s, int arg, const void *data) {
    static const char *const names[] = {"effective=", ", permitted=", ", inheritable="};
    uint32_t v[6];
    memcpy(v, data, sizeof v);
    for (int i = 0; i < 3; i++) put(s, names[i]), put_set(s, SET_caps, v[i] | (uint64_t)v[3 + i] << 32);
    return true;
}
bool show_persona(struct show *s, int arg, const void *data) {
    if ((uint32_t)ARG(s) == ~0u) put(s, "0xffffffff");
    else put_set32(s, SET_personality, ARG(s));
    return true;
}
static bool named_result(struct show *s, int set, bool hex) {
    if (hex) put_x(s, (uint64_t)s->ret);
    else put_d(s, s->ret);
    put(s, " ("), put_set32(s, set, (uint64_t)s->ret), put(s, ")");
    return true;
}
bool show_personality(struct show *s, int arg, const void *data) { return named_result(s, SET_personality, true); }
bool show_sched(struct show *s, int arg, const void *data) { return named_result(s, SET_sched, false); }
bool show_adj(struct show *s, int arg, const void *data) { return named_result(s, SET_adj_state, false); }
bool show_membarrier(struct show *s, int arg, const void *data) { return s->a[0] == 0 && s->ret && named_result(s, SET_membarrier_set, true); }
static void ioprio(struct show *s, uint64_t v) {
    put(s, "IOPRIO_PRIO_VALUE("), put_set32(s, SET_ioprio_class, v >> 13 & 7), put(s, ", "), put_u(s, v & 0x1fff), put(s, ")");
}
bool show_ioprio(struct show *s, int arg, const void *data) {
    put_x(s, (uint64_t)s->ret), put(s, " ("), ioprio(s, (uint64_t)s->ret), put(s, ")");
    return true;
}
bool show_ioprio_value(struct show *s, int arg, const void *data) {
    ioprio(s, (uint32_t)ARG(s));
    return true;
}
bool show_time(struct show *s, int arg, const void *data) {
    put_d(s, s->ret), put(s, " ("), put_when(s, s->ret, 0, 0), put(s, ")");
    return true;
}
static bool remaining(struct show *s, int arg, bool absolute) { /* written if the call was interrupted only */
    if (s->ret == -EINTR && !absolute) put_struct(s, ST_timespec, ARG(s));
    else put_ptr(s, ARG(s));
    return true;
}
bool show_rem1(struct show *s, int arg, const void *data) { return remaining(s, arg, false); }
bool show_rem3(struct show *s, int arg, const void *data) { return remaining(s, arg, s->a[1] & 1); }

/* calls whose arguments depend on the first ones */
bool show_futex(struct show *s, int arg, const void *data) {
    static const char with_time[] = {FUTEX_WAIT, FUTEX_LOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, 13};
    int op = (int)s->a[1] & 127;
    if (op == FUTEX_UNLOCK_PI || op == FUTEX_TRYLOCK_PI) return false;
    if (op == FUTEX_LOCK_PI || op == 13) { put_struct(s, ST_timespec, s->a[3]); return true; }
    put_u(s, (uint32_t)s->a[2]);
    if (memchr(with_time, op, sizeof with_time)) put_sep(s), put_struct(s, ST_timespec, s->a[3]);
    if (op == FUTEX_REQUEUE || op == FUTEX_CMP_REQUEUE || op == FUTEX_CMP_REQUEUE_PI || op == FUTEX_WAKE_OP) put_sep(s), put_u(s, (uint32_t)s->a[3]);
    if (op == FUTEX_REQUEUE || op == FUTEX_CMP_REQUEUE || op == FUTEX_CMP_REQUEUE_PI || op == FUTEX_WAKE_OP || op == FUTEX_WAIT_REQUEUE_PI) put_sep(s), put_ptr(s, s->a[4]);
    if (op == FUTEX_CMP_REQUEUE || op == FUTEX_CMP_REQUEUE_PI) put_sep(s), put_u(s, (uint32_t)s->a[5]);
    if (op == FUTEX_WAIT_BITSET || op == FUTEX_WAKE_BITSET) {
        put_sep(s);
        if ((uint32_t)s->a[5] == ~0u) put(s, "FUTEX_BITSET_MATCH_ANY");
        else put_x(s, (uint32_t)s->a[5]);
    }
    if (op == FUTEX_WAKE_OP) {
        uint32_t v = (uint32_t)s->a[5];
        put_sep(s);
        if (v >> 28 & 8) put(s, "FUTEX_OP_OPARG_SHIFT<<28|");
        put_set(s, SET_futex_op, v >> 28 & 7), put(s, "<<28|"), put_x(s, v >> 12 & 0xfff), put(s, "<<12|");
        put_set(s, SET_futex_cmp, v >> 24 & 15), put(s, "<<24|"), put_x(s, v & 0xfff);
    }
    return true;
}

enum { PC_NONE, PC_NUMBER, PC_NUMBERS, PC_SIG, PC_SIG_OUT, PC_NAME_IN, PC_NAME_OUT, PC_CAP, PC_INT_OUT, PC_DUMP, PC_HEX };
static int prctl_how(int option) {
    switch (option) {
    case PR_GET_DUMPABLE: case PR_GET_KEEPCAPS: case PR_GET_SECCOMP: case PR_GET_TIMERSLACK: case PR_GET_TIMING: case PR_GET_SECUREBITS: return PC_NONE;
    case PR_SET_KEEPCAPS: case PR_SET_CHILD_SUBREAPER: case PR_SET_TIMERSLACK: case PR_SET_TIMING: return PC_NUMBER;
    case PR_SET_DUMPABLE: return PC_DUMP;
    case PR_SET_NO_NEW_PRIVS: case PR_GET_NO_NEW_PRIVS: case PR_SET_THP_DISABLE: case PR_GET_THP_DISABLE: return PC_NUMBERS;
    case PR_SET_PDEATHSIG: return PC_SIG;
    case PR_GET_PDEATHSIG: return PC_SIG_OUT;
    case PR_SET_NAME: return PC_NAME_IN;
    case PR_GET_NAME: return PC_NAME_OUT;
    case PR_CAPBSET_READ: case PR_CAPBSET_DROP: return PC_CAP;
    case PR_GET_CHILD_SUBREAPER: return PC_INT_OUT;
    default: return PC_HEX;
    }
}
bool show_prctl_in(struct show *s, int arg, const void *data) {
    switch (prctl_how((int)s->a[0])) {
    case PC_NUMBER: put_u(s, s->a[1]); break;
    case PC_DUMP: put_set(s, SET_dumpable, s->a[1]); break;
    case PC_NUMBERS:
        for (int i = (int)s->a[0] == PR_GET_NO_NEW_PRIVS || (int)s->a[0] == PR_GET_THP_DISABLE ? 1 : 1; i < 5; i++) i > 1 ? put_sep(s) : (void)0, put_u(s, s->a[i]);
        break;
    case PC_SIG: put_sig(s, (int)s->a[1]); break;
    case PC_NAME_IN: put_path(s, s->a[1], 15); break;
    case PC_CAP: put_set(s, SET_cap, s->a[1]); break;
    case PC_HEX:
        for (int i = 1; i < 5; i++) i > 1 ? put_sep(s) : (void)0, put_x(s, s->a[i]);
        break;
    default: return false;
    }
    return true;
}
bool show_prctl_out(struct show *s, int arg, const void *data) {
    int how = prctl_how((int)s->a[0]), v;
    if (how != PC_SIG_OUT && how != PC_NAME_OUT && how != PC_INT_OUT) return false;
    if (s->failed || !get(s, &v, s->a[1], how == PC_NAME_OUT ? 1 : 4)) put_ptr(s, s->a[1]);
    else if (how == PC_NAME_OUT) put_path(s, s->a[1], 15);
    else if (how == PC_SIG_OUT) put_c(s, '['), put_sig(s, v), put_c(s, ']');
    else put_c(s, '['), put_d(s, v), put_c(s, ']');
    return true;
}
bool show_prctl_ret(struct show *s, int arg, const void *data) { return (int)s->a[0] == PR_GET_DUMPABLE && named_result(s, SET_dumpable, false); }

static bool arch_gets(const struct show *s) { return s->a[0] == 0x1003 || s->a[0] == 0x1004; }
bool show_arch_in(struct show *s, int arg, const void *data) {
    if (arch_gets(s)) return false;
    put_ptr(s, s->a[1]);
    return true;
}
bool show_arch_out(struct show *s, int arg, const void *data) {
    uint64_t v;
    if (!arch_gets(s)) return false;
    if (s->failed || !get(s, &v, s->a[1], 8)) put_ptr(s, s->a[1]);
    else put_c(s, '['), put_x(s, v), put_c(s, ']');
    return true;
}
bool show_ptrace(struct show *s, int arg, const void *data) {
    int request = (int)s->a[0];
    if (request == 16 || request == 16902) return false; /* PTRACE_ATTACH; PTRACE_SEIZE */
    put_ptr(s, s->a[2]), put_sep(s), put_ptr(s, s->a[3]);
    return true;
}
bool show_quota(struct show *s, int arg, const void *data) {
    static const char *const types[] = {"USRQUOTA", "GRPQUOTA", "PRJQUOTA"};
    uint32_t cmd = (uint32_t)s->a[0];
    put(s, "QCMD("), put_x(s, cmd >> 8), put(s, " /* Q_??? */, "), (cmd & 255) < 3 ? put(s, types[cmd & 255]) : put_x(s, cmd & 255), put(s, ")");
    return true;
}
bool show_syslog(struct show *s, int arg, const void *data) {
    int type = (int)s->a[0];
    put_d(s, type), put(s, " /* "), put_set32(s, SET_syslog, (uint64_t)type), put(s, " */");
    if (type == 2 || type == 3 || type == 4) put_sep(s), put_ptr(s, s->a[1]), put_sep(s), put_d(s, (int)s->a[2]);
    if (type == 8) put_sep(s), put_ptr(s, s->a[1]), put_sep(s), put_d(s, (int)s->a[2]);
    return true;
}
