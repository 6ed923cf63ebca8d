/* Processes: fork(2), vfork(2), clone(2) without CLONE_THREAD. A forked guest is the host's fork() with a new VM over the
 * memory it inherits, copy-on-write. One that shares its parent's memory (vfork, posix_spawn) is a host process that shares
 * the monitor's memory, and runs a vCPU of the same VM. Both stay in C until they end. */
#include "policy.h"
#include "trace.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPACE_FLAGS (CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_IO | CLONE_PARENT) /* the host does what they say */
#define OK_FLAGS (0xffull | CLONE_VM | CLONE_VFORK | CLONE_SIGHAND | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | \
                  CLONE_SETTLS | CLONE_DETACHED | CLONE_UNTRACED | CLONE_PTRACE | CLONE_CLEAR_SIGHAND | CLONE_PIDFD | SPACE_FLAGS)
#define SHARER_STACK (256u << 10)

static void forget_cpu(struct tv_cpu *cpu) { /* its descriptor is closed with the others, or another process's */
    if (cpu) cpu->fd = -1;
    cpu_destroy(cpu);
}

static void forget_cpus(struct tv_proc *p) {
    struct tv_cpu *next;
    while (p->nidle) forget_cpu(p->idle[--p->nidle]);
    for (; p->spare; p->spare = next) { next = p->spare->next; forget_cpu(p->spare); }
}

static bool kept(const struct tv_vm *vm, int fd) {
    for (int i = 0; i < KEEP_COUNT; i++)
        if (vm->keep[i] == fd) return true;
    return false;
}

/* The VM of the parent is useless to the child: KVM looks at the mm. */
static int rebuild(struct tv_vm *vm, bool shared_fds) {
    struct tv_thread *t = tv_me;
    struct tv_proc *p = t->proc;
    const char *what;
    uint64_t tss = t->cpu->tss, stack = t->cpu->sys_stack;
    struct tv_thread *next;
    for (struct tv_thread *o = p->threads; o; o = next) {
        next = o->next;
        forget_cpu(o->cpu);
        if (o != t) { free(o->start); free(o->held); free(o->saved); free(o->trace); free(o->perf); free(o); }
    }
    forget_cpus(p);
    int kvm = vm->hw->kvm; /* kept: the guest may have dropped the right to open it */
    int hi = *vm->fd_hi;
    if (!shared_fds && !(vm->fd_hi = vm_fd_page(hi))) return -ENOMEM;
    for (int fd = vm->fd_lo; fd < hi && !shared_fds; fd++)
        if (fd != kvm && !kept(vm, fd)) close(fd);
    if (shared_fds && (kvm = dup(kvm)) >= 0) vm_hide_fd(vm, &kvm);
    vm->hw->fd = vm->hw->kvm = -1;
    cpu_vm_close(vm->hw);
    t->cpu = NULL;
    t->next = NULL;
    t->keepers = NULL;
    t->start = NULL;
    free(t->perf); /* the timer is the parent's */
    t->perf = NULL;
    if (t->held) t->held->active = false; /* its descriptors are closed with the others below */
    vm->nkeepers = 0;
    vm->hw = NULL;
    vm->proc = p;
    p->next = NULL;
    p->pid = getpid();
    p->threads = t;
    p->child = true;
    p->shares = false;
    p->shared_fds = shared_fds;
    p->pthreads = 0;
    p->alive = vm->next_cpu = 1;
    p->end.kind = 0;
    p->left = NULL;
    if (p->sig->refs > 1) { /* CLONE_SIGHAND was between others */
        struct tv_sighand *own = malloc(sizeof *own);
        if (!own) return -ENOMEM;
        *own = *p->sig;
        p->sig = own;
    }
    p->sig->refs = 1;
    vm->notices = vm->sharers = 0;
    vm->ntimers = 0; /* timers are not inherited */
    vm->vvar_slot = false;
    pthread_cond_init(&vm->changed, NULL);
    pthread_cond_init(&vm->keepers, NULL);
    memset(&vm->stats, 0, sizeof vm->stats);
    memset(&t->stats, 0, sizeof t->stats);
    struct rlimit limit;
    vm_more_fds(&limit);
    int r = cpu_vm_open(&vm->hw, vm->flags & TV_F_IOPL, kvm, &what);
    if (!r) r = mem_slots_again(vm);
    if (!r) r = cpu_create(&t->cpu, vm->hw, 0, vm->mem.base, tss, stack, vm, &what);
    vm_less_fds(&limit);
    if (!r) r = vm_hide_fd(vm, &vm->hw->fd);
    return r;
}

#ifdef __SANITIZE_ADDRESS__ /* make test-asan */
int __lsan_do_recoverable_leak_check(void);
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

/* The end of such a guest is the end of its process, by the same signal, so that wait(2) tells it. */
static void __attribute__((noreturn)) finish(struct tv_vm *vm) {
    struct tv_proc *p = tv_me->proc;
    struct tv_stop *e = &p->end;
    limit_give(vm, p->slot);
    if (vm->trace) trace_end(vm);
    int status = e->kind == TV_EXITED ? e->status : 127, sig = e->kind == TV_SIGNALLED ? e->status : e->kind == TV_KILLED ? SIGSYS : 0;
    if (!p->shares && !p->shared_fds && __lsan_do_recoverable_leak_check()) status = 66, sig = 0;
    if (p->shares) {
        thread_leave(vm, tv_me);
        pthread_mutex_lock(&vm->lock);
        thread_merge(tv_me);
        pthread_mutex_unlock(&vm->lock);
        tv_me->start->clean = true;
    } else if (p->shared_fds) {
        close(tv_me->cpu->fd);
        close(vm->hw->fd);
        close(vm->hw->kvm);
    }
    if (sig) {
        struct { void *handler; uint64_t flags; void *restorer; uint64_t mask; } h = {0};
        uint64_t none = 0;
        sys6(13, (uint64_t)sig, (uintptr_t)&h, 0, 8, 0, 0);
        sys6(14, SIG_SETMASK, (uintptr_t)&none, 0, 8, 0, 0);
        sys6(62, (uint64_t)getpid(), (uint64_t)sig, 0, 0, 0, 0);
        status = 128 + sig;
    }
    for (;;) sys6(231, (uint64_t)status, 0, 0, 0, 0, 0);
}

static void write_notices(struct tv_vm *vm) {
    struct tv_stop n;
    while (vm_take_notice(vm, &n)) note_write(vm, &n);
}

void vm_run_to_end(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    struct tv_proc *p = t->proc;
    while (!proc_ended(p)) {
        write_notices(vm);
        thread_loop(vm);
        pthread_mutex_lock(&vm->lock);
        while (t->gone && !p->end.kind && !vm->notices) pthread_cond_wait(&vm->changed, &vm->lock);
        pthread_mutex_unlock(&vm->lock);
    }
    if (vm->debug) debug_end(vm, p);
    thread_end_all(vm);
    dump_end(vm);
    if (!p->shares || p->end.kind == TV_KILLED) write_notices(vm);
    if (p->end.kind == TV_FAILED || p->end.kind == TV_KILLED || (p->end.kind == TV_SIGNALLED && (p->end.core[0] || p->end.core_err))) note_write(vm, &p->end);
    finish(vm);
}

/* The host's fork() leaves malloc usable in the child; flags that it cannot express go to the system call itself. */
static pid_t host_fork(uint64_t flags) {
    if ((flags & (0xff | SPACE_FLAGS)) == SIGCHLD) return fork();
    int *tid = NULL; /* where the C library keeps the thread's id */
    prctl(PR_GET_TID_ADDRESS, &tid);
    return (pid_t)sys6(SYS_clone, (flags & (0xff | SPACE_FLAGS)) | (tid ? CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID : 0), 0, 0, (uintptr_t)tid, 0, 0);
}

/* CLONE_VFORK without CLONE_VM: until the child has gone, or called exec. */
static void wait_fork(struct tv_proc *p, int fd) {
    struct pollfd w = {fd, POLLIN, 0}; /* poll(2) is never restarted: a kick ends it */
    int n;
    do n = poll(&w, 1, -1); while (n < 0 && errno == EINTR && !proc_ended(p));
    close(fd);
}

static int vfork_pipe(struct tv_vm *vm, int pair[2]) {
    if (pipe2(pair, O_CLOEXEC)) return -errno;
    if (!vm_hide_fd(vm, &pair[0]) && !vm_hide_fd(vm, &pair[1])) return 0;
    close(pair[0]);
    close(pair[1]);
    return -EAGAIN;
}

int64_t do_fork(struct tv_vm *vm, struct tv_clone *s) {
    struct tv_thread *t = tv_me;
    uint64_t fs, gs, all = ~0ull, old, flags = s->flags;
    int pair[2] = {-1, -1};
    if (flags & ~OK_FLAGS) return -EINVAL;
    struct tv_regs regs = *t->cpu->regs;
    int r;
    if ((r = cpu_get_fpu(t->cpu, s->fpu)) || (r = cpu_get_base(t->cpu, false, &fs)) || (r = cpu_get_base(t->cpu, true, &gs))) return r;
    if (flags & CLONE_VFORK && (r = vfork_pipe(vm, pair))) return r;
    int slot = limit_take(vm);
    if (slot < 0) { close(pair[0]), close(pair[1]); return slot; }
    sys6(14, SIG_SETMASK, (uintptr_t)&all, (uintptr_t)&old, 8, 0, 0);
    vm_hold_fds();
    pthread_mutex_lock(&vm->mm);
    pthread_mutex_lock(&vm->lock);
    pid_t pid = host_fork(flags);
    if (!pid) { /* held by the thread that is all of the child */
        vm_forked_fds();
        pthread_mutex_unlock(&vm->lock);
        pthread_mutex_unlock(&vm->mm);
    }
    if (pid) {
        r = pid < 0 ? (pid == -1 ? -errno : pid) : pid;
        pthread_mutex_unlock(&vm->lock);
        pthread_mutex_unlock(&vm->mm);
        vm_free_fds();
        if (pid > 0) limit_made(vm, slot, pid);
        else limit_give(vm, slot);
        sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
        if (pid > 0 && flags & CLONE_PIDFD) {
            int fd = (int)sys6(SYS_pidfd_open, (uint64_t)pid, 0, 0, 0, 0, 0);
            tv_copy_out(vm, s->pidfd, &fd, 4);
        }
        if (pid > 0 && flags & CLONE_PARENT_SETTID) tv_copy_out(vm, s->parent_tid, &pid, 4);
        if (pair[1] >= 0 && !(flags & CLONE_FILES)) close(pair[1]);
        if (pid > 0 && vm->attend) debug_fork(vm, pid);
        if (pair[0] >= 0 && pid > 0 && !(flags & CLONE_FILES)) wait_fork(t->proc, pair[0]);
        else if (pair[0] >= 0) close(pair[0]);
        return r;
    }
    const char *what;
    limit_mine(vm, t->proc, slot);
    t->tid = gettid();
    t->clear_tid = flags & CLONE_CHILD_CLEARTID ? s->child_tid : 0;
    t->left = false;
    t->robust_list = 0;
    int end = -1;
    if (pair[1] >= 0 && !(flags & CLONE_FILES)) end = dup(pair[1]); /* outside of what rebuild() closes */
    r = rebuild(vm, flags & CLONE_FILES);
    for (size_t i = vm->mem.nvma; !r && i-- > 0;)
        if (vm->mem.vma[i].flags & VMA_NOFORK) r = map_none(vm, vm->mem.vma[i].start, vm->mem.vma[i].end);
    if (!r && end >= 0) r = vm_hide_fd(vm, &end); /* open until the child ends or calls exec: wait_fork() */
    if (r || (r = cpu_start(t->cpu, regs.rip, regs.rsp, &what)) || (r = cpu_set_fpu(t->cpu, s->fpu)) ||
        (r = cpu_set_base(t->cpu, false, flags & CLONE_SETTLS ? s->tls : fs)) || (r = cpu_set_base(t->cpu, true, gs))) {
        tv_fail(&t->proc->end, "the VM of a forked guest", r);
        note_write(vm, &t->proc->end);
        finish(vm);
    }
    uint64_t keep = t->cpu->regs->rflags & 0x3000;
    *t->cpu->regs = regs;
    t->cpu->regs->rflags = (regs.rflags & ~0x3000ull) | keep;
    t->cpu->regs->rax = 0;
    t->cpu->regs->rcx = regs.rip;
    t->cpu->regs->r11 = regs.rflags;
    if (s->stack) t->cpu->regs->rsp = s->stack;
    if (flags & CLONE_CHILD_SETTID) tv_copy_out(vm, s->child_tid, &t->tid, 4);
    if (flags & CLONE_CLEAR_SIGHAND) sig_clear(vm);
    t->noted = t->attention = t->restart = 0;
    t->deferred = 0;
    if (vm->trace) trace_begin(vm, false);
    host_mask(t->sigmask);
    if (vm->debug) debug_forked(vm);
    vm_run_to_end(vm); /* does not return */
}

/* The first thread of a process that shares its parent's memory, on the stack and in the place of a thread that waits. */
static void __attribute__((noreturn, noinline)) shared_main(struct tv_thread *t) {
    struct tv_vm *vm = t->vm;
    struct tv_clone *s = t->start;
    tv_me = t;
    pthread_mutex_lock(&vm->lock);
    t->tid = t->proc->pid = gettid();
    limit_mine(vm, t->proc, t->proc->slot);
    s->state = 1;
    pthread_cond_broadcast(&s->go);
    while (s->state == 1) pthread_cond_wait(&s->go, &vm->lock);
    bool run = s->state == 2;
    if (run && s->flags & CLONE_CLEAR_SIGHAND) sig_clear(vm);
    if (run) sig_note_all(vm);
    pthread_mutex_unlock(&vm->lock);
    if (!run) for (;;) sys6(231, 0, 0, 0, 0, 0, 0);
    if (vm->trace) trace_begin(vm, false);
    host_mask(t->sigmask);
    vm_run_to_end(vm);
}

/* A host thread that makes such processes for one thread of the guest, and waits while they run: by the host's vfork() the
 * two never run at once. It lives as long as its guest thread, whose death the child may want to hear of (PR_SET_PDEATHSIG). */
struct manner { /* of a thread, what those that it makes inherit and others can change: nice, policy, CPUs */
    uint64_t attr[6]; /* struct sched_attr */
    uint64_t cpus[128];
    long io;
};
struct tv_keeper { struct tv_keeper *next; struct tv_vm *vm; struct tv_thread *job; bool quit; struct manner manner; };

static void own_manner(struct manner *m) {
    memset(m, 0, sizeof *m);
    sys6(SYS_sched_getattr, 0, (uintptr_t)m->attr, sizeof m->attr, 0, 0, 0);
    sys6(SYS_sched_getaffinity, 0, sizeof m->cpus, (uintptr_t)m->cpus, 0, 0, 0);
    m->io = sys6(SYS_ioprio_get, 1, 0, 0, 0, 0, 0); /* IOPRIO_WHO_PROCESS: this thread */
}

/* Back from here the process has ended, or called exec. */
static void make(struct tv_thread *volatile t, struct tv_clone *volatile s) {
    int *volatile tid = NULL;
    prctl(PR_GET_TID_ADDRESS, &tid);
    uint64_t flags = (s->flags & (0xff | SPACE_FLAGS | CLONE_SIGHAND | CLONE_PIDFD)) | CLONE_VM | CLONE_VFORK | (tid ? CLONE_CHILD_SETTID : 0);
    long pid = sys6(SYS_clone, flags, 0, (uintptr_t)&s->fd, (uintptr_t)tid, 0, 0);
    if (pid == 0) shared_main(t);
    if (tid) *tid = gettid();
    if (pid < 0) s->fd = (int)-pid;
}

static void run_job(struct tv_vm *vm, struct tv_thread *t) {
    struct tv_clone *s = t->start;
    struct tv_proc *p = t->proc, *creator = s->creator;
    make(t, s);
    bool failed = !t->tid;
    if (!failed) { /* killed, or gone by exec: the kernel clears the id then, too */
        tv_me = t;
        thread_leave(vm, t);
    }
    tv_me = NULL;
    if (failed || s->clean) thread_give_cpu(vm, creator, t->cpu);
    else cpu_destroy(t->cpu); /* it stopped anywhere; the descriptor is ours */
    pthread_mutex_lock(&vm->lock);
    if (!(s->flags & CLONE_FILES)) forget_cpus(p);
    if (p->sig->refs > 1) sig_repair(creator); /* the host's dispositions are one table, too */
    p->threads = NULL;
    for (struct tv_proc *o = vm->proc; o; o = o->next)
        if (o->next == p) o->next = p->next;
    proc_free(p);
    vm->sharers--;
    bool waited_for = failed || s->flags & CLONE_VFORK;
    s->state = failed ? 4 : 5;
    pthread_cond_broadcast(&s->go);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
    free(t->saved);
    free(t->held);
    free(t->trace);
    free(t);
    if (!waited_for) free(s);
}

static void *keeper_main(void *arg) {
    struct tv_keeper *k = arg;
    struct tv_vm *vm = k->vm;
    pthread_mutex_lock(&vm->lock);
    for (;;) {
        while (!k->job && !k->quit) pthread_cond_wait(&vm->keepers, &vm->lock);
        if (!k->job) break;
        pthread_mutex_unlock(&vm->lock);
        run_job(vm, k->job);
        pthread_mutex_lock(&vm->lock);
        k->job = NULL;
    }
    vm->nkeepers--;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
    free(k);
    return NULL;
}

/* Under vm->lock, with all signals blocked. */
static int keeper_give(struct tv_vm *vm, struct tv_thread *me, struct tv_thread *job) {
    struct tv_keeper *k, **link = &me->keepers;
    struct manner now;
    own_manner(&now);
    while ((k = *link) && (k->job || memcmp(&k->manner, &now, sizeof now))) {
        if (k->job) { link = &k->next; continue; }
        *link = k->next; /* its processes would be as the thread was */
        k->quit = true;
        pthread_cond_broadcast(&vm->keepers);
    }
    if (k) {
        k->job = job;
        pthread_cond_broadcast(&vm->keepers);
        return 0;
    }
    if (!(k = calloc(1, sizeof *k))) return -ENOMEM;
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, SHARER_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    k->job = job;
    k->vm = vm;
    k->manner = now;
    int r = -pthread_create(&thread, &attr, keeper_main, k);
    sig_libc(tv_me->proc);
    pthread_attr_destroy(&attr);
    if (r) { free(k); return r; }
    k->next = me->keepers;
    me->keepers = k;
    vm->nkeepers++;
    return 0;
}

/* The thread ends: so do its keepers, each when it is free. Under vm->lock. */
void keepers_quit(struct tv_vm *vm, struct tv_thread *t) {
    struct tv_keeper *next;
    for (struct tv_keeper *k = t->keepers; k; k = next) { next = k->next; k->quit = true; }
    if (t->keepers) pthread_cond_broadcast(&vm->keepers);
    t->keepers = NULL;
}

int64_t do_share(struct tv_vm *vm, struct tv_clone *args) {
    struct tv_thread *me = tv_me, *t = NULL;
    struct tv_proc *p = NULL;
    struct tv_clone *s = NULL;
    bool vfork = args->flags & CLONE_VFORK, told = false;
    if (args->flags & ~OK_FLAGS) return -EINVAL;
    int r = -ENOMEM, slot = limit_take(vm);
    if (slot < 0) return slot;
    pthread_mutex_lock(&vm->lock);
    p = proc_new(args->flags & CLONE_SIGHAND ? me->proc->sig : NULL);
    if (p && !(args->flags & CLONE_SIGHAND)) memcpy(p->sig->act, me->proc->sig->act, sizeof p->sig->act);
    pthread_mutex_unlock(&vm->lock);
    if (!p || !(s = calloc(1, sizeof *s)) || !(t = thread_new(vm, p))) goto fail;
    *s = *args;
    s->creator = me->proc;
    s->fd = -1;
    pthread_cond_init(&s->go, NULL);
    t->start = s;
    t->sigmask = me->sigmask;
    t->altstack = vfork ? me->altstack : (struct tv_altstack){.flags = 2}; /* copy_process(): CLONE_VM without CLONE_VFORK */
    if (s->flags & CLONE_CHILD_CLEARTID) t->clear_tid = s->child_tid;
    p->child = p->shares = true;
    p->let_go = me->proc->let_go || !vfork;
    p->slot = slot;
    p->threads = t;
    p->alive = 1;
    if ((r = thread_prepare(vm, t, s))) goto fail;
    uint64_t all = ~0ull, old;
    sys6(14, SIG_SETMASK, (uintptr_t)&all, (uintptr_t)&old, 8, 0, 0); /* inherited, until the thread is known */
    vm_hold_fds();
    pthread_mutex_lock(&vm->lock);
    if ((r = keeper_give(vm, me, t))) {
        pthread_mutex_unlock(&vm->lock);
        vm_free_fds();
        sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
        goto fail;
    }
    vm->sharers++;
    p->next = vm->proc->next;
    vm->proc->next = p;
    while (!s->state) pthread_cond_wait(&s->go, &vm->lock);
    vm_free_fds();
    pid_t pid = -1;
    if (s->state != 4) {
        pid = t->tid;
        if (s->flags & CLONE_PARENT_SETTID) tv_copy_out(vm, s->parent_tid, &pid, 4);
        if (s->flags & CLONE_CHILD_SETTID) tv_copy_out(vm, s->child_tid, &pid, 4);
        if (s->flags & CLONE_PIDFD) tv_copy_out(vm, s->pidfd, &s->fd, 4);
        told = vfork && vm->attend && debug_on(vm, me->proc);
        if (told) t->stop = true, t->attention = 1;
        s->state = me->proc->end.kind ? 3 : 2;
        pthread_cond_broadcast(&s->go);
        if (told) {
            pthread_mutex_unlock(&vm->lock);
            debug_vfork(vm, pid, false);
            pthread_mutex_lock(&vm->lock);
        }
        while (vfork && s->state < 5 && !me->proc->end.kind) pthread_cond_wait(&vm->changed, &vm->lock);
    } else {
        pid = -s->fd;
        limit_give(vm, slot);
    }
    bool ours = s->state == 4 || (vfork && s->state == 5);
    pthread_mutex_unlock(&vm->lock);
    sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
    if (ours) free(s);
    if (told) debug_vfork(vm, pid, true);
    return pid;
fail:
    limit_give(vm, slot);
    if (t && t->cpu) thread_give_cpu(vm, me->proc, t->cpu);
    pthread_mutex_lock(&vm->lock);
    if (p) p->threads = NULL;
    proc_free(p);
    pthread_mutex_unlock(&vm->lock);
    free(t);
    free(s);
    return r == -ENOMEM ? -ENOMEM : -EAGAIN;
}

int64_t core_fork(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_clone s = {.flags = SIGCHLD};
    return do_fork(vm, &s);
}
int64_t core_vfork(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_clone s = {.flags = CLONE_VM | CLONE_VFORK | SIGCHLD};
    return do_share(vm, &s);
}
