/* What threads of a debugged guest do: they tell an event and stand still, make a step, get the signal that the debugger chose. Steps
 * are made by TF and the guest's own IDT: KVM_SET_GUEST_DEBUG does not work on every KVM. A call is one step. */
#include "debug.h"

#include <stdlib.h>

#define TF 0x100u

bool debug_on(const struct tv_vm *vm, const struct tv_proc *p) {
    const struct tv_debug *d = vm->debug;
    return d && d->engaged && !d->over && !p->let_go;
}

static struct tv_saved *own(struct tv_thread *t) { return t->saved ? t->saved : (t->saved = calloc(1, sizeof *t->saved)); }

static bool tell(struct tv_vm *vm, int cause, uint64_t b, uint64_t c, const siginfo_t *info) {
    struct tv_thread *t = tv_me;
    struct tv_saved *s = own(t);
    siginfo_t trap = {.si_signo = SIGTRAP, .si_code = cause == DEBUG_STEPPED ? TRAP_TRACE : SI_KERNEL};
    if (!info) info = &trap;
    pthread_mutex_lock(&vm->lock); /* the debugger may go at any time: release() */
    bool on = s && debug_on(vm, t->proc) && !t->proc->end.kind && !t->gone;
    if (on) {
        s->info = *info;
        s->orig_rax = cause == DEBUG_ENTRY || cause == DEBUG_RETURN ? b : ~0ull;
        s->step = s->signal = 0;
        s->stepped = false;
        s->told = cause == DEBUG_SIGNAL ? (int)b : 0;
        t->stop = true; /* before it is told: the answer may let us go at once */
    }
    pthread_mutex_unlock(&vm->lock);
    if (!on) return false;
    struct debug_msg m = {.op = DEBUG_STOP, .pid = t->proc->pid, .tid = t->tid, .a = (uint64_t)cause, .b = b, .c = c};
    debug_event(vm, &m, info, sizeof *info);
    return true;
}

bool debug_tell(struct tv_vm *vm, int cause, uint64_t b, uint64_t c, const siginfo_t *info) {
    if (!tell(vm, cause, b, c, info)) return false;
    thread_park(vm);
    tv_me->saved->told = 0;
    tv_me->attention = 1; /* what comes now: debug_attend() */
    return true;
}

/* What comes with the signal that the debugger chose: what it wrote, or what was told; else it is one of kill(2). */
static void chosen(const struct tv_saved *s, siginfo_t *info) {
    *info = (siginfo_t){.si_signo = s->signal};
    if (s->info.si_signo == s->signal) *info = s->info;
}

/* A signal that the program is about to get: the one that it does get, or 0. */
int debug_signal(struct tv_vm *vm, siginfo_t *info) {
    struct tv_thread *t = tv_me;
    struct tv_saved *s = own(t);
    int sig = info->si_signo;
    bool untold = vm->debug->pass & 1ull << (sig - 1) && !(s && s->step); /* a step that ends in a handler must be no surprise */
    if (!s || !debug_on(vm, t->proc) || untold) return sig;
    if (!debug_tell(vm, DEBUG_SIGNAL, (uint64_t)sig, 0, info)) return sig;
    chosen(s, info);
    sig = s->signal;
    s->signal = 0;
    if (sig && s->step) s->stepped = true; /* at the first instruction of its handler */
    return sig;
}

static bool caught(const struct tv_debug *d, uint64_t nr) { return d && d->catches && nr < 512 && d->caught[nr / 8] & 1u << nr % 8; }

/* A call begins; registers look as under ptrace(2). false: it is not to be made, and the registers are what the debugger made of them. */
bool debug_call(struct tv_vm *vm) {
    struct tv_regs *r = tv_me->cpu->regs;
    uint64_t nr = (uint32_t)r->rax, rip = r->rip;
    tv_me->in_call = true;
    if (!caught(vm->debug, nr) || !own(tv_me)) return true;
    r->rax = (uint64_t)-ENOSYS;
    tv_me->saved->orig_rax = nr; /* the debugger may go at any time */
    debug_tell(vm, DEBUG_ENTRY, nr, 0, NULL);
    tv_me->attention = 0; /* or the call would not begin */
    if (tv_me->stop || tv_me->noted) tv_me->attention = 1;
    if (r->rip != rip || (uint32_t)tv_me->saved->orig_rax == ~0u) return tv_me->in_call = false;
    r->rax = tv_me->saved->orig_rax;
    return true;
}

void debug_returned(struct tv_vm *vm, uint64_t nr) {
    struct tv_saved *s = tv_me->saved;
    if (vm->debug) debug_aside(vm);
    if (tv_me->restart) return;
    if (caught(vm->debug, nr)) debug_tell(vm, DEBUG_RETURN, nr, 0, NULL);
    if (s && (s->step || s->signal)) tv_me->attention = 1;
}

/* pushf would show the program our flag. */
static bool pushes_flags(struct tv_vm *vm, gva rip) {
    uint8_t b[2] = {0};
    tv_copy_in(vm, b, rip, 2);
    return b[0] == 0x9c || ((b[0] == 0x66 || (b[0] & 0xf0) == 0x40) && b[1] == 0x9c);
}

bool debug_one(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    struct tv_regs *r = t->cpu->regs;
    struct tv_exit x;
    bool traced = r->rflags & TF, pushes = !traced && pushes_flags(vm, r->rip);
    gva rip = r->rip;
    r->rflags |= TF;
    cpu_run(t->cpu, &x);
    if (!traced) r->rflags &= ~(uint64_t)TF;
    t->stats.exits++;
    if (x.kind == CPU_EXCEPTION && x.vector == 1) {
        uint16_t flags;
        if (pushes && !tv_copy_in(vm, &flags, r->rsp, 2)) {
            flags &= (uint16_t)~TF;
            tv_copy_out(vm, r->rsp, &flags, 2);
        }
        return PG_DOWN(r->rip) != TV_SYS_LSTAR; /* the second half of a `syscall` that is not patched */
    }
    vm_exit(vm, &x);
    if (x.kind == CPU_CALL || x.kind == CPU_TRAP) return !t->restart;
    return r->rip != rip; /* a handler */
}

/* tv_me ran into 0xCC: is it ours? */
bool debug_trap(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    gva at = t->cpu->regs->rip - 1;
    pthread_mutex_lock(&vm->mm);
    bool ours = break_at(vm, at);
    pthread_mutex_unlock(&vm->mm);
    if (!ours) return false;
    t->cpu->regs->rip = at;
    if (debug_on(vm, t->proc)) {
        debug_tell(vm, DEBUG_TRAP, 0, 0, NULL);
        return true;
    }
    break_lift(vm, at, true); /* a process that shares the memory, and that nobody debugs */
    while (!debug_one(vm) && !t->attention && !proc_ended(t->proc)) { }
    break_lift(vm, at, false);
    return true;
}

static void step(struct tv_vm *vm, struct tv_saved *s) {
    s->stepped |= debug_one(vm);
    gva rip = tv_me->cpu->regs->rip;
    if (s->stepped && rip >= s->lo && rip < s->hi && !break_at(vm, rip)) s->stepped = false;
}

void debug_attend(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    debug_asked(vm);
    if (vm->debug) debug_aside(vm);
    if (t->stop) thread_park(vm);
    struct tv_saved *s = t->saved;
    while (vm->debug && s && !proc_ended(t->proc) && !t->gone) {
        if (s->signal) {
            siginfo_t info;
            chosen(s, &info);
            s->signal = 0;
            if (s->step) s->stepped = true;
            sig_give(vm, &info);
        }
        if (!s->step) return;
        if (s->stepped) {
            debug_tell(vm, DEBUG_STEPPED, 0, 0, NULL);
            if (!debug_on(vm, t->proc)) s->step = 0;
            return;
        }
        if (t->attention || t->restart || t->stop) { t->attention = 1; return; }
        step(vm, s);
    }
}

/* tv_me has ended by itself: if no other runs, the debugger would wait for ever. */
void debug_gone(struct tv_vm *vm) {
    struct debug_msg m = {.op = DEBUG_GONE, .pid = tv_me->proc->pid, .tid = tv_me->tid};
    if (debug_on(vm, tv_me->proc)) debug_event(vm, &m, NULL, 0);
}

/* The thread waits for the process that shares its memory, which waits for the debugger. */
void debug_vfork(struct tv_vm *vm, pid_t pid, bool done) {
    if (done) {
        thread_held(vm, false);
        debug_tell(vm, DEBUG_VFORK_DONE, (uint64_t)pid, 0, NULL);
    } else {
        tell(vm, DEBUG_VFORK, (uint64_t)pid, 0, NULL);
        thread_held(vm, true);
    }
}

void debug_fork(struct tv_vm *vm, pid_t pid) { debug_tell(vm, DEBUG_FORK, (uint64_t)pid, 0, NULL); }

/* How the process ends, before it does. */
void debug_end(struct tv_vm *vm, const struct tv_proc *p) {
    const struct tv_stop *e = &p->end;
    struct debug_msg m = {.op = DEBUG_END, .pid = p->pid, .a = e->kind == TV_EXITED ? TV_EXITED : TV_SIGNALLED, .b = (uint64_t)e->status};
    if (e->kind == TV_KILLED) m.b = SIGSYS;
    else if (e->kind == TV_FAILED) m.b = SIGKILL;
    if (!vm->debug->over && !p->let_go) debug_event(vm, &m, NULL, 0);
}
