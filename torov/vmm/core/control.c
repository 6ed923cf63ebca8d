/* The debugger's requests: a thread of the monitor serves them, one at a time, as long as the debugger is there. What is asked for is
 * checked as if a guest asked: the debugger reads packets of who knows whom. */
#include "debug.h"
#include "proc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_STACK (256u << 10)
#define FIX_FLAGS 0x50cd5ull /* what a debugger may set: as in frame.c, without TF */
#define USER_TOP 0x7ffffffff000ull

struct message { struct debug_msg m; uint8_t data[DEBUG_DATA]; };

static void put(int sock, const void *data, size_t size) {
    while (sys6(44, (uint64_t)sock, (uintptr_t)data, size, MSG_NOSIGNAL, 0, 0) == -EINTR) { }
}

void debug_event(struct tv_vm *vm, const struct debug_msg *m, const void *data, size_t size) {
    uint8_t all[sizeof *m + 256];
    memcpy(all, m, sizeof *m);
    if (size) memcpy(all + sizeof *m, data, size);
    put(vm->debug->sock, all, sizeof *m + size);
}

static struct tv_thread *thread_of(struct tv_vm *vm, int tid) {
    struct tv_thread *t = thread_after(vm, NULL);
    while (t && (t->tid != tid || t->gone)) t = thread_after(vm, t);
    return t;
}

static struct tv_proc *proc_of(struct tv_vm *vm, int pid) {
    struct tv_proc *p = vm->proc;
    while (p && p->pid != pid) p = p->next;
    return p;
}

static int64_t get_regs(struct tv_thread *t, uint8_t *data, size_t *size) {
    uint64_t features;
    if (!t || !t->parked || t->parked == THREAD_ASIDE || !t->saved) return t ? -EBUSY : -ESRCH;
    struct debug_regs r = {.regs = *t->cpu->regs, .fs = t->saved->fs, .gs = t->saved->gs, .orig_rax = t->saved->orig_rax, .size = cpu_xsave_size(&features)};
    r.regs.rflags &= ~0x3000ull; /* of the SVM lane */
    memcpy(data, &r, sizeof r);
    memcpy(data + sizeof r, t->saved->fpu, r.size);
    *size = sizeof r + r.size;
    return 0;
}

static int64_t set_regs(struct tv_thread *t, const uint8_t *data, size_t size) {
    struct debug_regs r;
    uint64_t features, have;
    unsigned area = cpu_xsave_size(&features);
    uint32_t mxcsr;
    if (!t || t->parked != THREAD_PARKED || !t->saved) return t ? -EBUSY : -ESRCH;
    if (size != sizeof r + area) return -EINVAL;
    memcpy(&r, data, sizeof r);
    if (r.regs.rip >= USER_TOP || r.fs >= USER_TOP || r.gs >= USER_TOP) return -EINVAL;
    uint64_t flags = t->cpu->regs->rflags;
    *t->cpu->regs = r.regs;
    t->cpu->regs->rflags = (flags & ~FIX_FLAGS) | (r.regs.rflags & FIX_FLAGS);
    struct tv_saved *s = t->saved;
    s->fs = r.fs;
    s->orig_rax = r.orig_rax;
    s->gs = r.gs;
    if (s->whole) {
        memcpy(s->fpu, data + sizeof r, area);
        memcpy(&have, s->fpu + 512, 8);
        memset(s->fpu + 520, 0, 56);
        have &= features;
        memcpy(s->fpu + 512, &have, 8);
        memcpy(&mxcsr, s->fpu + 24, 4);
        mxcsr &= 0xffff;
        memcpy(s->fpu + 24, &mxcsr, 4);
        s->changed = true;
    }
    return 0;
}

static int64_t siginfo(struct tv_thread *t, const uint8_t *in, size_t n, uint8_t *out, size_t *size) {
    if (!t || !t->parked || t->parked == THREAD_ASIDE || !t->saved) return t ? -EBUSY : -ESRCH;
    if (n >= sizeof t->saved->info) memcpy(&t->saved->info, in, sizeof t->saved->info);
    memcpy(out, &t->saved->info, *size = sizeof t->saved->info);
    return 0;
}

static int64_t maps(struct tv_vm *vm, const struct debug_msg *m, uint8_t *data, size_t *size) {
    struct proc_text t = {0};
    struct rlimit limit;
    vm_more_fds(&limit);
    int host = open(m->b ? "/proc/self/smaps" : "/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (host >= 0) vm_hide_fd(vm, &host); /* the guest must not find it */
    vm_less_fds(&limit);
    pthread_mutex_lock(&vm->mm);
    proc_files[0].write(vm, &t, host, NULL); /* where the host's cannot be read: without names */
    pthread_mutex_unlock(&vm->mm);
    if (host >= 0) close(host);
    *size = m->a < t.n ? t.n - m->a : 0;
    if (*size > DEBUG_DATA) *size = DEBUG_DATA;
    if (*size) memcpy(data, t.p + m->a, *size);
    free(t.p);
    return t.failed ? -ENOMEM : 0;
}

static int64_t resume(struct tv_vm *vm, const struct debug_go *go, size_t n, bool hold) {
    vm->hold = hold;
    for (struct tv_thread *t = thread_after(vm, NULL); t; t = thread_after(vm, t)) {
        size_t i = 0;
        while (i < n && ((go[i].pid != -1 && go[i].pid != t->proc->pid) || (go[i].tid != -1 && go[i].tid != t->tid))) i++;
        if (i == n || go[i].step == DEBUG_STAY) continue;
        if (t->saved) {
            t->saved->step = go[i].step == DEBUG_STEP;
            t->saved->signal = go[i].signal > 0 && go[i].signal <= 64 ? go[i].signal : 0;
            t->saved->lo = go[i].lo;
            t->saved->hi = go[i].hi;
            t->saved->stepped = false;
        }
        t->stop = false;
    }
    pthread_cond_broadcast(&vm->changed);
    return 0;
}

/* Threads go on as they would have; who stands before a signal gets it. p: of one process, or NULL. */
static void let_go(struct tv_vm *vm, const struct tv_proc *p) {
    if (!p) vm->hold = false;
    for (struct tv_thread *t = thread_after(vm, NULL); t; t = thread_after(vm, t)) {
        if (p && t->proc != p) continue;
        if (t->saved) t->saved->step = t->saved->stepped = 0, t->saved->signal = t->saved->told;
        t->stop = false;
    }
    pthread_cond_broadcast(&vm->changed);
}

static void release(struct tv_vm *vm, bool over) {
    struct tv_debug *d = vm->debug;
    debug_clear(vm);
    pthread_mutex_lock(&vm->lock);
    d->engaged = d->catches = false;
    if (over) {
        d->over = true;
        if (vm->keep[KEEP_DEBUG] >= 0) close(vm->keep[KEEP_DEBUG]);
        vm->keep[KEEP_DEBUG] = -1;
    }
    let_go(vm, NULL);
    pthread_mutex_unlock(&vm->lock);
}

static int64_t locked(struct tv_vm *vm, const struct message *in, size_t n, struct message *out, size_t *size) {
    struct tv_debug *d = vm->debug;
    struct tv_proc *p;
    switch (in->m.op) {
    case DEBUG_GETREGS: return get_regs(thread_of(vm, in->m.tid), out->data, size);
    case DEBUG_SETREGS: return set_regs(thread_of(vm, in->m.tid), in->data, n);
    case DEBUG_SIGINFO: return siginfo(thread_of(vm, in->m.tid), in->data, n, out->data, size);
    case DEBUG_RESUME: return resume(vm, (const struct debug_go *)in->data, n / sizeof(struct debug_go), in->m.a);
    case DEBUG_THREADS:
        for (struct tv_thread *t = thread_after(vm, NULL); t && *size < DEBUG_DATA; t = thread_after(vm, t)) {
            if (!t->tid || t->gone || t->proc->let_go) continue;
            struct debug_thread row = {t->proc->pid, t->tid, (uint32_t)t->parked, 0};
            memcpy(out->data + *size, &row, sizeof row);
            *size += sizeof row;
        }
        return 0;
    case DEBUG_CATCH:
        if (n < sizeof d->caught) return -EINVAL;
        memcpy(d->caught, in->data, sizeof d->caught);
        d->catches = in->m.a;
        return 0;
    case DEBUG_PASS: d->pass = in->m.a; return 0;
    case DEBUG_ENGAGE:
        d->engaged = true;
        sig_debug(vm);
        return 0;
    case DEBUG_KILL: return proc_of(vm, in->m.pid) ? sys6(62, (uint64_t)in->m.pid, SIGKILL, 0, 0, 0, 0) : -ESRCH;
    case DEBUG_DETACH: /* of a process that shares the memory; else see serve() */
        if (!(p = proc_of(vm, in->m.pid))) return -ESRCH;
        p->let_go = true;
        let_go(vm, p);
        return 0;
    case DEBUG_INFO:
        out->m.b = vm->auxv;
        out->m.c = vm->auxv_size;
        *size = strlen(vm->exe);
        if (*size > DEBUG_DATA) *size = DEBUG_DATA;
        memcpy(out->data, vm->exe, *size);
        return 0;
    }
    return -EINVAL;
}

/* false: the debugger does not want the process any more. */
static bool serve(struct tv_vm *vm, const struct message *in, size_t n, struct message *out, size_t *size) {
    const struct debug_msg *m = &in->m;
    int64_t r;
    *size = 0;
    out->m = (struct debug_msg){.op = m->op, .seq = m->seq};
    switch (m->op) {
    case DEBUG_READ:
        r = m->b > DEBUG_DATA ? -EINVAL : memory_view(vm, out->data, m->a, m->b);
        if (r > 0) *size = (size_t)r;
        break;
    case DEBUG_WRITE: r = memory_poke(vm, m->a, in->data, n); break;
    case DEBUG_BREAK: r = break_set(vm, m->a, m->b); break;
    case DEBUG_WATCH: r = watch_set(vm, m->a, m->b, (int)(m->c & 7), !(m->c & 8)); break;
    case DEBUG_PAUSE: r = vm_pause(vm); break;
    case DEBUG_MAPS: r = maps(vm, m, out->data, size); break;
    case DEBUG_RELEASE: release(vm, false); r = 0; break;
    case DEBUG_DETACH:
        if (m->pid == vm->proc->pid) { out->m.a = 0; return false; }
        /* fall through */
    default:
        pthread_mutex_lock(&vm->lock);
        r = locked(vm, in, n, out, size);
        pthread_mutex_unlock(&vm->lock);
    }
    out->m.a = (uint64_t)r;
    return true;
}

static void *control(void *arg) {
    struct tv_vm *vm = arg;
    struct message in, out;
    bool more = true;
    size_t size = 0;
    while (more) {
        long n = sys6(45, (uint64_t)vm->debug->sock, (uintptr_t)&in, sizeof in, 0, 0, 0);
        if (n == -EINTR) continue;
        if (n < (long)sizeof in.m) break;
        more = serve(vm, &in, (size_t)n - sizeof in.m, &out, &size);
        if (!more) release(vm, true);
        put(vm->debug->sock, &out, sizeof out.m + size);
    }
    if (more) release(vm, true);
    return NULL;
}

/* Tells the debugger of this process, with a socket of its own: processes share the one that leads to it. */
static int hello(struct tv_vm *vm, int birth, pid_t parent) {
    int pair[2];
    struct { struct debug_msg m; char path[4096]; } hi = {{.op = DEBUG_HELLO, .pid = getpid(), .tid = tv_me->tid, .a = (uint64_t)birth, .b = (uint64_t)parent}, ""};
    size_t n = strlen(vm->exe) < sizeof hi.path ? strlen(vm->exe) : sizeof hi.path;
    memcpy(hi.path, vm->exe, n);
    struct rlimit limit;
    vm_more_fds(&limit);
    int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
    vm_less_fds(&limit);
    if (r) return r;
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&hi, sizeof hi.m + n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &pair[1], sizeof(int));
    r = sendmsg(vm->keep[KEEP_DEBUG], &m, MSG_NOSIGNAL) < 0 ? -errno : vm_hide_fd(vm, &pair[0]);
    close(pair[1]);
    if (r) close(pair[0]);
    else vm->debug->sock = pair[0];
    return r;
}

/* In a thread of the guest, with nothing locked. birth: enum debug_birth. What fails leaves the guest undebugged. */
int debug_start(struct tv_vm *vm, int birth, pid_t parent) {
    struct tv_debug *d = vm->debug ? vm->debug : calloc(1, sizeof *d);
    uint64_t all = sig_waiting(~0ull), old; /* what memory that is not there raises is caught: copy.c */
    if (!d) return -ENOMEM;
    d->running = d->over = false;
    d->alone = NULL;
    d->lifted = 0;
    if (birth != DEBUG_FORKED) d->engaged = birth == DEBUG_EXECED; /* else a client has to come first */
    vm->debug = d;
    vm->hold = false;
    int r = hello(vm, birth, parent);
    if (!r) {
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, CONTROL_STACK);
        sys6(14, SIG_SETMASK, (uintptr_t)&all, (uintptr_t)&old, 8, 0, 0);
        pthread_mutex_lock(&vm->lock);
        tv_me->stop = birth != DEBUG_ATTACHED;
        vm->attend = true;
        if (d->engaged) sig_debug(vm);
        r = -pthread_create(&d->thread, &attr, control, vm);
        d->running = !r;
        sig_libc(tv_me->proc);
        pthread_mutex_unlock(&vm->lock);
        sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
        pthread_attr_destroy(&attr);
        if (tv_me->stop) tv_me->attention = 1;
    }
    if (r) release(vm, true);
    return r;
}

static void leave(struct tv_vm *vm) {
    if (!vm->debug || !vm->debug->running) return;
    shutdown(vm->debug->sock, SHUT_RDWR);
    pthread_join(vm->debug->thread, NULL);
    close(vm->debug->sock);
    vm->debug->running = false;
}

void debug_stop(struct tv_vm *vm) {
    leave(vm);
    if (!vm->debug) return;
    free(vm->debug->bp);
    free(vm->debug);
    vm->debug = NULL;
}

/* In the child of a fork: its memory has the breakpoints, too. */
void debug_forked(struct tv_vm *vm) {
    vm->debug->alone = NULL; /* a thread of the parent */
    vm->debug->lifted = 0;
    vm->debug->running = false;
    if (vm->debug->over) return;
    if (tv_me->proc->let_go || !vm->debug->engaged) {
        vm->debug->sock = -1;
        release(vm, true);
    } else {
        debug_start(vm, DEBUG_FORKED, getppid());
    }
}

/* `torov attach` asks a guest that runs: a signal as a kick is, with the process that sent it, which listens. */
static volatile int asked;

void debug_ask(const siginfo_t *info) {
    struct tv_thread *t = tv_me;
    if (!t || t->vm->flags & TV_F_FILTERED) return; /* the monitor may make no connection any more */
    asked = info->si_pid;
    t->vm->attend = true;
}

/* Sends it, from outside. 0 or -errno. */
int tv_debug_ask(int pid, int tid) {
    siginfo_t info = {.si_signo = SIGBUS, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = DEBUG_ASK_VALUE;
    return (int)sys6(297, (uint64_t)pid, (uint64_t)tid, SIGBUS, (uintptr_t)&info, 0, 0);
}

void debug_asked(struct tv_vm *vm) {
    int pid = asked ? __atomic_exchange_n(&asked, 0, __ATOMIC_ACQ_REL) : 0;
    if (!pid || (vm->debug && !vm->debug->over)) return;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct ucred who = {0};
    socklen_t size = sizeof who;
    static const char prefix[] = "torov-attach-";
    char digits[12], *at = digits + sizeof digits;
    do *--at = (char)('0' + pid % 10); while (pid /= 10);
    size_t n = (size_t)(digits + sizeof digits - at);
    memcpy(to.sun_path + 1, prefix, sizeof prefix - 1);
    memcpy(to.sun_path + sizeof prefix, at, n);
    struct rlimit limit;
    vm_more_fds(&limit);
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    vm_less_fds(&limit);
    if (sock < 0) return;
    if (vm_hide_fd(vm, &sock) || connect(sock, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof prefix + n)) ||
        getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &size) || who.uid != geteuid()) {
        close(sock);
        return;
    }
    leave(vm); /* of a debugger before; its memory stays, since threads look at it */
    vm->keep[KEEP_DEBUG] = sock;
    debug_start(vm, DEBUG_ATTACHED, 0);
}
