/* Processes: fork(2), vfork(2), clone(2) without CLONE_THREAD. A forked guest is the host's fork() with a new VM over the
 * memory it inherits, copy-on-write; it stays in C until it ends. vfork and posix_spawn share memory with their parent: the
 * parent waits as it would, and when a child ends without exec, what it wrote into the parent's stack frame is fetched. */
#include "tv.h"

#include <linux/sched.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAME_BYTES (16u << 10) /* of the caller's stack: posix_spawn() keeps its error there */

/* The VM of the parent is useless to the child: KVM looks at the mm. */
static int rebuild(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    const char *what;
    uint64_t tss = t->cpu->tss, stack = t->cpu->sys_stack;
    struct tv_thread *next;
    for (struct tv_thread *o = vm->threads; o; o = next) {
        next = o->next;
        cpu_destroy(o->cpu);
        if (o != t) { free(o->start); free(o); }
    }
    for (int i = 0; i < vm->nidle; i++) cpu_destroy(vm->idle[i]);
    for (struct tv_cpu *c = vm->spare, *n; c; c = n) { n = c->next; cpu_destroy(c); }
    cpu_vm_close(vm->hw);
    t->cpu = NULL;
    t->next = NULL;
    vm->hw = NULL;
    vm->threads = t;
    vm->spare = NULL;
    vm->nidle = vm->pthreads = vm->notices = 0;
    vm->alive = vm->next_cpu = 1;
    vm->vvar_slot = false;
    pthread_mutex_init(&vm->mm, NULL);
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->changed, NULL);
    memset(&vm->stats, 0, sizeof vm->stats);
    memset(&t->stats, 0, sizeof t->stats);
    int r = cpu_vm_open(&vm->hw, vm->flags & TV_F_IOPL, &what);
    if (!r) r = mem_slots_again(vm);
    if (!r) r = cpu_create(&t->cpu, vm->hw, 0, vm->mem.base, tss, stack, &what);
    vm->fd_hi = vm->fd_lo;
    if (!r) r = vm_hide_fd(vm, &vm->hw->kvm);
    if (!r) r = vm_hide_fd(vm, &vm->hw->fd);
    return r ? r : vm_hide_fd(vm, &t->cpu->fd);
}

/* The end of a forked guest is the end of its process, by the same signal, so that wait(2) tells it. */
static void __attribute__((noreturn)) finish(struct tv_vm *vm) {
    struct tv_stop *e = &vm->end;
    int status = e->kind == TV_EXITED ? e->status : 127, sig = e->kind == TV_SIGNALLED ? e->status : e->kind == TV_KILLED ? SIGSYS : 0;
    if (vm->vfork_fd >= 0) { /* the parent fetches what it shares, then lets us go */
        char c = 'x';
        if (write(vm->vfork_fd, &c, 1) == 1) while (read(vm->vfork_fd, &c, 1) < 0 && errno == EINTR) { }
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

void vm_run_to_end(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    while (!vm->end.kind) {
        if (vm->notices) {
            note_write(vm, &vm->notice[0]);
            pthread_mutex_lock(&vm->lock);
            memmove(vm->notice, vm->notice + 1, (size_t)--vm->notices * sizeof *vm->notice);
            pthread_mutex_unlock(&vm->lock);
            continue;
        }
        thread_loop(vm);
        pthread_mutex_lock(&vm->lock);
        while (t->gone && !vm->end.kind && !vm->notices) pthread_cond_wait(&vm->changed, &vm->lock);
        pthread_mutex_unlock(&vm->lock);
    }
    thread_end_all(vm);
    while (vm->notices) {
        note_write(vm, &vm->notice[0]);
        memmove(vm->notice, vm->notice + 1, (size_t)--vm->notices * sizeof *vm->notice);
    }
    if (vm->end.kind == TV_FAILED || vm->end.kind == TV_KILLED) note_write(vm, &vm->end);
    finish(vm);
}

static void wait_vfork(struct tv_vm *vm, int fd, pid_t child) {
    char c;
    ssize_t n;
    struct pollfd p = {fd, POLLIN, 0}; /* poll(2) is never restarted: a kick ends it */
    do n = poll(&p, 1, -1); while (n < 0 && errno == EINTR && !vm->end.kind);
    if (n == 1) n = read(fd, &c, 1);
    if (n == 1) { /* it ends without exec */
        gva sp = tv_me->cpu->regs->rsp & ~7ull;
        pthread_mutex_lock(&vm->mm); /* another thread may move the list */
        struct tv_vma *v = vma_find(&vm->mem, sp);
        uint64_t len = v && v->prot & 2 ? v->end - sp : 0;
        pthread_mutex_unlock(&vm->mm);
        if (len > FRAME_BYTES) len = FRAME_BYTES;
        uint8_t *copy = len ? malloc(len) : NULL;
        struct iovec to = {copy, len}, from = {vm->mem.base + sp, len};
        if (copy && process_vm_readv(child, &to, 1, &from, 1, 0) == (ssize_t)len) tv_copy_out(vm, sp, copy, len);
        free(copy);
    }
    close(fd);
}

#define OK_FLAGS (0xffull | CLONE_VM | CLONE_VFORK | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | CLONE_SETTLS | \
                  CLONE_FS | CLONE_FILES | CLONE_DETACHED | CLONE_UNTRACED | CLONE_CLEAR_SIGHAND)

int64_t do_fork(struct tv_vm *vm, uint64_t flags, gva stack, uint64_t tls, gva parent_tid, gva child_tid) {
    struct tv_thread *t = tv_me;
    uint64_t fs, gs, all = ~0ull, old;
    uint8_t *fpu = NULL;
    int pair[2] = {-1, -1};
    bool vfork = flags & CLONE_VFORK;
    if (flags & ~OK_FLAGS) return flags & (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) ? -EPERM : -EINVAL;
    if (flags & CLONE_VM && !vfork) { tv_notice(vm, TV_NOTE_UNSERVED, 56, 0, EINVAL); return -EINVAL; }
    if ((flags & 0xff) != SIGCHLD && (flags & 0xff)) return -EINVAL;
    struct tv_regs regs = *t->cpu->regs;
    int r = -ENOMEM;
    if (!(fpu = malloc(CPU_XSAVE)) || (r = cpu_get_fpu(t->cpu, fpu)) || (r = cpu_get_base(t->cpu, false, &fs)) || (r = cpu_get_base(t->cpu, true, &gs))) goto out;
    if (vfork && socketpair_hidden(vm, pair)) { r = -EAGAIN; goto out; }
    sys6(14, SIG_SETMASK, (uintptr_t)&all, (uintptr_t)&old, 8, 0, 0);
    pthread_mutex_lock(&vm->mm);
    pthread_mutex_lock(&vm->lock);
    pid_t pid = fork();
    if (pid) {
        r = pid < 0 ? -errno : pid;
        pthread_mutex_unlock(&vm->lock);
        pthread_mutex_unlock(&vm->mm);
        sys6(14, SIG_SETMASK, (uintptr_t)&old, 0, 8, 0, 0);
        if (pair[1] >= 0) close(pair[1]);
        if (pid > 0) {
            if (flags & CLONE_PARENT_SETTID) tv_copy_out(vm, parent_tid, &pid, 4);
            if (vfork) wait_vfork(vm, pair[0], pid);
        } else if (vfork) {
            close(pair[0]);
        }
        goto out;
    }
    const char *what;
    if (pair[0] >= 0) close(pair[0]);
    vm->child = true;
    if (vm->vfork_fd >= 0) close(vm->vfork_fd); /* our parent's, if it is a vfork child itself */
    vm->vfork_fd = pair[1];
    t->tid = gettid();
    t->clear_tid = flags & CLONE_CHILD_CLEARTID ? child_tid : 0;
    t->robust_list = 0;
    if ((r = rebuild(vm)) || (r = cpu_start(t->cpu, regs.rip, regs.rsp, &what)) || (r = cpu_set_fpu(t->cpu, fpu)) ||
        (r = cpu_set_base(t->cpu, false, flags & CLONE_SETTLS ? tls : fs)) || (r = cpu_set_base(t->cpu, true, gs))) {
        tv_fail(&vm->end, "the VM of a forked guest", r);
        note_write(vm, &vm->end);
        finish(vm);
    }
    free(fpu);
    uint64_t keep = t->cpu->regs->rflags & 0x3000;
    *t->cpu->regs = regs;
    t->cpu->regs->rflags = (regs.rflags & ~0x3000ull) | keep;
    t->cpu->regs->rax = 0;
    t->cpu->regs->rcx = regs.rip;
    t->cpu->regs->r11 = regs.rflags;
    if (stack) t->cpu->regs->rsp = stack;
    if (flags & CLONE_CHILD_SETTID) tv_copy_out(vm, child_tid, &t->tid, 4);
    if (flags & CLONE_CLEAR_SIGHAND) sig_clear(vm);
    t->noted = t->attention = t->restart = 0;
    t->deferred = 0;
    host_mask(t->sigmask);
    vm_run_to_end(vm); /* does not return */
out:
    free(fpu);
    return r;
}

int64_t core_fork(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return do_fork(vm, SIGCHLD, 0, 0, 0, 0); }
int64_t core_vfork(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return do_fork(vm, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0); }
