/* The action "ask": a person at the terminal decides. */
#include "text.h"

#include <stdlib.h>
#include <unistd.h>


static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* The action that the answer stands for. Without a terminal it is EPERM. */
int ask(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], struct decision *d) {
    struct line l = {.n = 0};
    char answer[64] = "";
    int tty = vm->keep[KEEP_TTY], action = -1;
    d->err = EPERM;
    if (tty < 0) return POL_ERRNO;
    if (__atomic_load_n(&vm->always[nr], __ATOMIC_RELAXED)) return POL_ALLOW;
    add(&l, "torov: allow ");
    add_call(&l, vm, c, nr, a);
    add(&l, "? [y]es, [n]o, [a]lways, [k]ill: ");
    pthread_mutex_lock(&one_at_a_time);
    while (action < 0) {
        if (sys6(1, (uint64_t)tty, (uintptr_t)l.text, l.n, 0, 0, 0) < 0) action = POL_ERRNO;
        long n = action < 0 ? host6(0, (uint64_t)tty, (uintptr_t)answer, sizeof answer, 0, 0, 0) : 0;
        if (n <= 0) action = POL_ERRNO; /* the end of the file; a signal: the call is interrupted */
        if (n < 0 && n != -EIO) d->err = EINTR;
        if (n <= 0) break;
        if (answer[0] == 'y') action = POL_ALLOW;
        else if (answer[0] == 'n') action = POL_ERRNO;
        else if (answer[0] == 'k') action = POL_KILL;
        else if (answer[0] == 'a') { action = POL_ALLOW; __atomic_store_n(&vm->always[nr], true, __ATOMIC_RELAXED); }
    }
    pthread_mutex_unlock(&one_at_a_time);
    return action;
}
