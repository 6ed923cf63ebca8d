/* Threads: clone(2), clone3(2), exit(2). A guest thread is a host thread with a vCPU; vCPUs are used again. */
#include "trace.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREAD_STACK (256u << 10)

struct tv_thread *thread_new(struct tv_vm *vm, struct tv_proc *proc) {
    struct tv_thread *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->vm = vm;
    t->proc = proc;
    t->stop = vm->hold;
    t->attention = vm->attend; /* it looks at once */
    return t;
}

struct tv_proc *proc_new(struct tv_sighand *shared) {
    struct tv_proc *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->pid = getpid();
    p->sig = shared ? shared : calloc(1, sizeof *p->sig);
    if (!p->sig) { free(p); return NULL; }
    p->sig->refs++;
    return p;
}

/* Without its threads. */
void proc_free(struct tv_proc *p) {
    if (!p) return;
    for (int i = 0; i < p->nidle; i++) cpu_destroy(p->idle[i]);
    for (struct tv_cpu *c = p->spare, *next; c; c = next) { next = c->next; cpu_destroy(c); }
    if (--p->sig->refs == 0) free(p->sig);
    free(p);
}

/* Under vm->lock. What is not counted by thread is zero in from, and is left alone in to: others write it, under vm->mm. */
static void add_stats(struct tv_stats *to, struct tv_stats *from) {
    uint64_t *a = (uint64_t *)to, *b = (uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++)
        if (b[i]) a[i] += b[i];
    memset(from, 0, sizeof *from);
}

void thread_merge(struct tv_thread *t) { add_stats(&t->vm->stats, &t->stats); }

/* A vCPU that is not in use, or a new one. Its ring-0 page holds its TSS and its stack. */
int thread_cpu(struct tv_vm *vm, struct tv_cpu **out) {
    const char *what;
    int r = 0;
    struct tv_proc *p = tv_me->proc;
    pthread_mutex_lock(&vm->lock);
    if (p->nidle) {
        *out = p->idle[--p->nidle];
        pthread_mutex_unlock(&vm->lock);
        return 0;
    }
    int id = vm->next_cpu++;
    uint64_t page = vm->next_sys;
    vm->next_sys += PG;
    pthread_mutex_unlock(&vm->lock);
    pthread_mutex_lock(&vm->mm);
    if (mmap(vm->mem.base + page, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) r = -errno;
    if (!r) r = pt_system_page(vm, page);
    pthread_mutex_unlock(&vm->mm);
    struct rlimit limit;
    vm_more_fds(&limit);
    if (!r) r = cpu_create(out, vm->hw, id, vm->mem.base, page, page + PG, vm, &what);
    vm_less_fds(&limit);
    return r;
}

void thread_give_cpu(struct tv_vm *vm, struct tv_proc *p, struct tv_cpu *cpu) {
    pthread_mutex_lock(&vm->lock);
    bool kept = p->nidle < (int)(sizeof p->idle / sizeof *p->idle);
    if (kept) p->idle[p->nidle++] = cpu;
    else cpu->next = p->spare, p->spare = cpu; /* KVM never forgets a vCPU: neither do we */
    pthread_mutex_unlock(&vm->lock);
}

bool vm_end(struct tv_vm *vm, struct tv_stop end) {
    struct tv_proc *p = tv_me->proc;
    pthread_mutex_lock(&vm->lock);
    bool first = !p->end.kind;
    if (first) { /* kind last: proc_ended() looks without the lock */
        p->culprit = tv_me->tid;
        memcpy((char *)&p->end + sizeof end.kind, (char *)&end + sizeof end.kind, sizeof end - sizeof end.kind);
        __atomic_store_n(&p->end.kind, end.kind, __ATOMIC_RELEASE);
    }
    pthread_cond_broadcast(&vm->changed);
    if (first)
        for (struct tv_thread *t = p->threads; t; t = t->next)
            if (t != tv_me && t->tid && !t->gone) sig_kick(t);
    pthread_mutex_unlock(&vm->lock);
    return first;
}

/* The others see tv_me->proc->end before they enter the guest again; a kick that came too early is repeated. */
static void end_others(struct tv_vm *vm, int left) {
    struct timespec t;
    pthread_mutex_lock(&vm->lock);
    while (tv_me->proc->pthreads > left) {
        for (struct tv_thread *o = tv_me->proc->threads; o; o = o->next)
            if (o != tv_me && o->tid && !o->gone) sig_kick(o);
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 20000000;
        if (t.tv_nsec >= 1000000000) { t.tv_nsec -= 1000000000; t.tv_sec++; }
        pthread_cond_timedwait(&vm->changed, &vm->lock, &t);
    }
    pthread_mutex_unlock(&vm->lock);
}

void thread_end_all(struct tv_vm *vm) { end_others(vm, 0); }

/* robust_list of get_robust_list(2): what futex_cleanup of the kernel does, on guest memory. */
static void robust_one(struct tv_vm *vm, gva entry, int64_t offset, bool pending) {
    uint32_t word;
    gva at = entry + (uint64_t)offset;
    if (at & 3 || tv_copy_in(vm, &word, at, 4)) return;
    if (pending && !word) { sys6(202, tv_ptr(vm, at), FUTEX_WAKE, 1, 0, 0, 0); return; }
    if ((word & FUTEX_TID_MASK) != (uint32_t)tv_me->tid) return;
    uint32_t dead = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
    if (tv_copy_out(vm, at, &dead, 4)) return;
    if (word & FUTEX_WAITERS) sys6(202, tv_ptr(vm, at), FUTEX_WAKE, 1, 0, 0, 0);
}

static void robust(struct tv_vm *vm) {
    struct { gva next; int64_t offset; gva pending; } head;
    gva list = tv_me->robust_list;
    tv_me->robust_list = 0; /* once */
    if (!list || tv_copy_in(vm, &head, list, sizeof head)) return;
    gva entry = head.next;
    for (int i = 0; i < 2048 && (entry & ~1ull) != list; i++) {
        gva next;
        bool bad = tv_copy_in(vm, &next, entry & ~1ull, 8);
        if ((entry & ~1ull) != (head.pending & ~1ull)) robust_one(vm, entry & ~1ull, head.offset, false);
        if (bad) break;
        entry = next;
    }
    if (head.pending & ~1ull) robust_one(vm, head.pending & ~1ull, head.offset, true);
}

void thread_loop(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    struct tv_exit x;
    if (vm->keep[KEEP_PERF] >= 0 && !t->perf) perf_begin(vm);
    while (!proc_ended(t->proc) && !t->gone) {
        if (t->attention || t->restart) {
            if (t->perf) perf_attend(vm);
            sig_attend(vm);
            if (vm->attend) debug_attend(vm);
            continue;
        }
        if (t->perf) {
            perf_turn(vm, &x);
        } else {
            cpu_run(t->cpu, &x);
            if (!t->stats.exits++ && !vm->stats.first_ns) vm->stats.first_ns = tv_now() - vm->began;
            vm_exit(vm, &x);
        }
        if (t == t->proc->threads && __atomic_load_n(&vm->notices, __ATOMIC_RELAXED)) return;
    }
    perf_leave(vm);
    if (t->gone && vm->debug) debug_gone(vm);
    if (t->gone) return;
    dump_leave(vm);
    robust(vm); /* exit_group(2) or a signal: every thread leaves its locks */
}

/* The kernel's part of a thread's end: its clear_tid. */
void thread_leave(struct tv_vm *vm, struct tv_thread *t) {
    if (t->clear_tid && !t->left) {
        uint32_t zero = 0;
        if (!tv_copy_out(vm, t->clear_tid, &zero, 4)) sys6(202, tv_ptr(vm, t->clear_tid), FUTEX_WAKE, 1, 0, 0, 0);
    }
    t->left = true;
}

int64_t core_exit(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_thread *t = tv_me;
    int again = sig_hold(); /* what comes now is for another thread; what was noted runs its handler here first */
    if (again) return again;
    pthread_mutex_lock(&vm->lock);
    bool last = --t->proc->alive == 0;
    if (!last) t->gone = true; /* no kick from here on */
    pthread_mutex_unlock(&vm->lock);
    if (last) { vm_end(vm, (struct tv_stop){.kind = TV_EXITED, .status = (int)(a[0] & 0xff)}); return 0; }
    t->raw_regs = true;
    if (vm->trace) trace_end(vm);
    robust(vm);
    thread_leave(vm, t);
    return 0;
}

int64_t core_exit_group(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    vm_end(vm, (struct tv_stop){.kind = TV_EXITED, .status = (int)(a[0] & 0xff)});
    return 0;
}

static void unlink_thread(struct tv_thread *t) {
    struct tv_thread **p = &t->proc->threads;
    while (*p && *p != t) p = &(*p)->next;
    if (*p) *p = t->next;
}

static void *thread_main(void *arg) {
    struct tv_thread *t = arg;
    struct tv_vm *vm = t->vm;
    struct tv_proc *p = t->proc;
    struct tv_clone *s = t->start;
    tv_me = t;
    pthread_mutex_lock(&vm->lock);
    t->tid = gettid();
    s->state = 1;
    pthread_cond_broadcast(&s->go);
    while (s->state == 1) pthread_cond_wait(&s->go, &vm->lock);
    bool run = s->state == 2;
    pthread_mutex_unlock(&vm->lock);
    pthread_cond_destroy(&s->go);
    if (run) {
        host_mask(t->sigmask);
        t->start = NULL;
        free(s);
        if (vm->trace) trace_begin(vm, false);
        thread_loop(vm);
        if (vm->trace) trace_end(vm);
    }
    uint64_t all = ~0ull;
    sys6(14, SIG_SETMASK, (uintptr_t)&all, 0, 8, 0, 0); /* nothing finds this thread any more */
    pthread_mutex_lock(&vm->lock);
    t->gone = true;
    keepers_quit(vm, t);
    unlink_thread(t);
    thread_merge(t);
    pthread_mutex_unlock(&vm->lock);
    if (t->cpu) thread_give_cpu(vm, p, t->cpu);
    if (!run) free(s);
    tv_me = NULL;
    free(t->held);
    free(t->saved);
    free(t->trace);
    free(t);
    pthread_mutex_lock(&vm->lock);
    p->pthreads--;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
    return NULL;
}

#define THREAD_FLAGS (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)
#define KNOWN_FLAGS (THREAD_FLAGS | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | \
                     CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | CLONE_DETACHED | CLONE_IO | CLONE_PTRACE | CLONE_PIDFD | \
                     CLONE_UNTRACED)

/* A vCPU for a thread that begins where the caller is. */
int thread_prepare(struct tv_vm *vm, struct tv_thread *t, struct tv_clone *s) {
    const char *what;
    struct tv_thread *me = tv_me;
    int r = thread_cpu(vm, &t->cpu);
    if (r) return r == -EEXIST || r == -EINVAL ? -EAGAIN : r;
    if ((r = cpu_get_fpu(me->cpu, s->fpu)) || (r = cpu_get_base(me->cpu, false, &s->fs)) || (r = cpu_get_base(me->cpu, true, &s->gs))) return r;
    s->regs = *me->cpu->regs;
    s->regs.rax = 0;
    s->regs.rcx = s->regs.rip;
    s->regs.r11 = s->regs.rflags;
    if (s->stack) s->regs.rsp = s->stack;
    if (s->flags & CLONE_SETTLS) s->fs = s->tls;
    if ((r = cpu_start(t->cpu, s->regs.rip, s->regs.rsp, &what)) || (r = cpu_set_fpu(t->cpu, s->fpu)) ||
        (r = cpu_set_base(t->cpu, false, s->fs)) || (r = cpu_set_base(t->cpu, true, s->gs))) return r;
    uint64_t rflags = t->cpu->regs->rflags;
    *t->cpu->regs = s->regs;
    t->cpu->regs->rflags = (s->regs.rflags & ~0x3000ull) | (rflags & 0x3000);
    cpu_attended(t->cpu);
    return 0;
}

static int64_t new_thread(struct tv_vm *vm, struct tv_clone *args) {
    struct tv_proc *p = tv_me->proc;
    struct tv_clone *s = calloc(1, sizeof *s);
    struct tv_thread *t = thread_new(vm, p);
    pthread_attr_t attr;
    int r = -ENOMEM;
    if (!s || !t) goto fail;
    *s = *args;
    pthread_cond_init(&s->go, NULL);
    t->start = s;
    t->sigmask = tv_me->sigmask;
    t->altstack.flags = 2; /* SS_DISABLE; only a process that never had one starts with 0 */
    if (s->flags & CLONE_CHILD_CLEARTID) t->clear_tid = s->child_tid;
    if ((r = thread_prepare(vm, t, s))) goto fail;
    uint64_t all = ~0ull, old;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sys6(14, SIG_SETMASK, (uintptr_t)&all, (uintptr_t)&old, 8, 0, 0); /* inherited, until the thread is known */
    pthread_mutex_lock(&vm->lock);
    p->pthreads++;
    r = vm->most_threads && (uint32_t)p->pthreads >= vm->most_threads ? -EAGAIN : -pthread_create(&t->pthread, &attr, thread_main, t);
    sig_libc(p);
    pthread_attr_destroy(&attr);
    if (r) {
        p->pthreads--;
        pthread_mutex_unlock(&vm->lock);
        sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
        goto fail;
    }
    while (!s->state) pthread_cond_wait(&s->go, &vm->lock);
    pid_t tid = t->tid;
    bool bad = (s->flags & CLONE_PARENT_SETTID && tv_copy_out(vm, s->parent_tid, &tid, 4));
    if (s->flags & CLONE_CHILD_SETTID) tv_copy_out(vm, s->child_tid, &tid, 4);
    (void)bad; /* Linux does not look either: put_user() in kernel_clone() */
    if (s->flags & CLONE_PIDFD) {
        int fd = (int)sys6(434, (uint64_t)tid, 0x80 /* PIDFD_THREAD */, 0, 0, 0, 0);
        tv_copy_out(vm, s->pidfd, &fd, 4);
    }
    t->next = p->threads->next;
    p->threads->next = t;
    p->alive++;
    s->state = p->end.kind ? 3 : 2;
    pthread_cond_broadcast(&s->go);
    pthread_mutex_unlock(&vm->lock);
    sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
    return tid;
fail:
    if (t && t->cpu) thread_give_cpu(vm, p, t->cpu);
    free(t);
    free(s);
    return r == -ENOMEM ? -ENOMEM : -EAGAIN;
}

#define NEW_SPACES (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWTIME)

/* The checks of copy_process() in kernel/fork.c, in its order. */
static int64_t do_clone(struct tv_vm *vm, struct tv_clone *args) {
    uint64_t f = args->flags;
    if ((f & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS) || (f & (CLONE_NEWUSER | CLONE_FS)) == (CLONE_NEWUSER | CLONE_FS)) return -EINVAL;
    if (f & CLONE_THREAD && !(f & CLONE_SIGHAND)) return -EINVAL;
    if (f & CLONE_SIGHAND && !(f & CLONE_VM)) return -EINVAL;
    if (f & CLONE_SIGHAND && f & CLONE_CLEAR_SIGHAND) return -EINVAL;
    if (f & CLONE_PIDFD && f & CLONE_DETACHED) return -EINVAL;
    if (f & NEW_SPACES & ~0xffull) return -EPERM; /* as for a user without the right to them */
    if ((f & THREAD_FLAGS) == THREAD_FLAGS) {
        if (f & ~0xffull & ~(uint64_t)KNOWN_FLAGS) return -EINVAL;
        return new_thread(vm, args);
    }
    if ((f & 0xff) == SIGSEGV || (f & 0xff) == SIGBUS) return -EINVAL; /* with a code above 0 it would be a fault of the monitor */
    return f & CLONE_VM ? do_share(vm, args) : do_fork(vm, args);
}

int64_t core_clone(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_clone s = {.flags = (uint32_t)a[0], .stack = a[1], .parent_tid = a[2], .child_tid = a[3], .tls = a[4], .pidfd = a[2]};
    if ((s.flags & (CLONE_PIDFD | CLONE_PARENT_SETTID)) == (CLONE_PIDFD | CLONE_PARENT_SETTID)) return -EINVAL;
    return do_clone(vm, &s);
}

int64_t core_clone3(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t v[11] = {0}; /* struct clone_args: flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup */
    uint8_t more[PG];
    if (a[1] > PG) return -E2BIG;
    if (a[1] < 64) return -EINVAL;
    if (tv_arg_in(vm, 0, v, a[0], a[1] < sizeof v ? a[1] : sizeof v)) return -EFAULT;
    if (a[1] > sizeof v) { /* of a later kernel: nothing is asked for if it is zero */
        if (tv_copy_in(vm, more, a[0] + sizeof v, a[1] - sizeof v)) return -EFAULT;
        for (uint64_t i = 0; i < a[1] - sizeof v; i++)
            if (more[i]) return -E2BIG;
    }
    if (v[9] > 32 || !v[8] != !v[9] || v[4] & ~0xffull || v[4] > 64) return -EINVAL;
    if (v[0] & (CLONE_DETACHED | (0xff & ~CLONE_NEWTIME)) || v[0] & ~0x3ffffffffull) return -EINVAL;
    if (v[0] & (CLONE_THREAD | CLONE_PARENT) && v[4]) return -EINVAL;
    if (!v[5] != !v[6]) return -EINVAL;
    if (v[8]) return -EPERM; /* set_tid: for CAP_CHECKPOINT_RESTORE */
    if (v[0] & (CLONE_NEWTIME | CLONE_INTO_CGROUP)) return v[0] & CLONE_NEWTIME ? -EPERM : -EINVAL;
    struct tv_clone s = {.flags = v[0] | v[4], .stack = v[5] + v[6], .parent_tid = v[3], .child_tid = v[2], .tls = v[7], .pidfd = v[1]};
    return do_clone(vm, &s);
}

/* exec(2) ends the other threads; what comes after cannot fail any more, or ends the program as in Linux. The thread that
 * called tv_run() cannot end before us: it waits, and the host's execve() ends it. false: another thread was first. */
bool exec_alone(struct tv_vm *vm) {
    if (!vm_end(vm, (struct tv_stop){.kind = TV_SIGNALLED, .status = SIGKILL})) return false;
    pthread_mutex_lock(&vm->lock);
    tv_me->gone = true; /* no kick from here on: the new program would die of it */
    pthread_mutex_unlock(&vm->lock);
    end_others(vm, tv_me != tv_me->proc->threads);
    robust(vm);
    sys6(39, 0, 0, 0, 0, 0, 0); /* getpid(2): a kick that was sent before has come when it returns */
    return true;
}
