/* All threads of a guest stand still: for a debugger, a core dump. A thread is kicked out of KVM_RUN or out of a blocking call of
 * the host, which goes back to its instruction as after any kick, and waits where it would enter the guest again. */
#include "tv.h"

#include <stdlib.h>
#include <time.h>

#define PATIENCE 3000000000ull /* ns: then what is left stands still enough, in a call that no signal interrupts */

/* Of all processes that run in this VM; NULL: the first, and no more. Under vm->lock. */
struct tv_thread *thread_after(struct tv_vm *vm, const struct tv_thread *t) {
    if (t && t->next) return t->next;
    struct tv_proc *p = t ? t->proc->next : vm->proc;
    while (p && !p->threads) p = p->next;
    return p ? p->threads : NULL;
}

/* What the CPU keeps besides registers; in the thread itself, outside of cpu_run(). */
static void save(struct tv_thread *t) {
    if (!t->saved && !(t->saved = calloc(1, sizeof *t->saved))) return;
    struct tv_saved *s = t->saved;
    cpu_settle(t->cpu);
    s->whole = !cpu_get_fpu(t->cpu, s->fpu) && !cpu_get_base(t->cpu, false, &s->fs) && !cpu_get_base(t->cpu, true, &s->gs);
    s->changed = false;
}

static void restore(struct tv_thread *t) {
    struct tv_saved *s = t->saved;
    if (!s || !s->changed) return;
    cpu_set_fpu(t->cpu, s->fpu); /* what the CPU does not take is not changed */
    cpu_set_base(t->cpu, false, s->fs);
    cpu_set_base(t->cpu, true, s->gs);
    s->changed = false;
}

/* A wait that no kick ends, for another process (vfork): the thread counts as one that stands still. */
void thread_held(struct tv_vm *vm, bool held) {
    struct tv_thread *t = tv_me;
    if (held) save(t);
    else restore(t);
    pthread_mutex_lock(&vm->lock);
    t->parked = held ? THREAD_HELD : 0;
    if (t->stop) t->attention = 1; /* nobody has kicked it */
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

void thread_park(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    save(t);
    pthread_mutex_lock(&vm->lock);
    t->parked = THREAD_PARKED;
    if (vm->debug) debug_yield(vm);
    pthread_cond_broadcast(&vm->changed);
    while (t->stop && !t->proc->end.kind) pthread_cond_wait(&vm->changed, &vm->lock);
    t->parked = 0;
    pthread_mutex_unlock(&vm->lock);
    restore(t);
}

bool thread_runs(const struct tv_thread *t) { return t != tv_me && t->tid && !t->gone && !t->parked && !t->proc->end.kind; }

/* Something changes, or 20 ms. Under vm->lock. */
void thread_await(struct tv_vm *vm) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += 20000000;
    if (at.tv_nsec >= 1000000000) { at.tv_nsec -= 1000000000; at.tv_sec++; }
    pthread_cond_timedwait(&vm->changed, &vm->lock, &at);
}

int vm_pause(struct tv_vm *vm) {
    uint64_t until = tv_now() + PATIENCE;
    int left;
    pthread_mutex_lock(&vm->lock);
    vm->hold = vm->attend = true;
    for (;;) { /* a thread that another one is making appears meanwhile; a kick that came too early is repeated */
        left = 0;
        for (struct tv_thread *t = thread_after(vm, NULL); t; t = thread_after(vm, t)) {
            t->stop = true;
            if (thread_runs(t) || t->parked == THREAD_ASIDE) left++, sig_kick(t);
        }
        if (!left || tv_now() > until) break;
        thread_await(vm);
    }
    pthread_mutex_unlock(&vm->lock);
    return left;
}

void vm_resume(struct tv_vm *vm) {
    pthread_mutex_lock(&vm->lock);
    vm->hold = false;
    for (struct tv_thread *t = thread_after(vm, NULL); t; t = thread_after(vm, t)) t->stop = false;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}
