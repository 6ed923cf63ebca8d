/* futex(2), futex_waitv(2) and their kin: the host's own, on guest memory. */
#include "tv.h"

#include <linux/futex.h>

/* A futex word at NULL is an address like any other: EFAULT. */
static uint64_t word(struct tv_vm *vm, gva addr) { return tv_ptr(vm, addr ? addr : 4 * PG); }

int64_t core_futex(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    int op = (int)a[1] & FUTEX_CMD_MASK;
    bool timed = op == FUTEX_WAIT || op == FUTEX_LOCK_PI || op == FUTEX_WAIT_BITSET || op == FUTEX_WAIT_REQUEUE_PI || op == FUTEX_LOCK_PI2;
    bool two = op == FUTEX_REQUEUE || op == FUTEX_CMP_REQUEUE || op == FUTEX_WAKE_OP || op == FUTEX_WAIT_REQUEUE_PI || op == FUTEX_CMP_REQUEUE_PI;
    int64_t r = host6(202, word(vm, a[0]), a[1], a[2], timed ? tv_ptr(vm, a[3]) : a[3], two ? tv_ptr(vm, a[4]) : a[4], a[5]);
    bool pi = op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2 || op == FUTEX_WAIT_REQUEUE_PI;
    return r == -RESTART_SYS && pi ? -RESTART_NOINTR : r; /* these go on after any handler */
}

struct waiter { uint64_t val, addr; uint32_t flags, reserved; }; /* struct futex_waitv */
#define WAITERS 128 /* FUTEX_WAITV_MAX */

static uint64_t waiters(struct tv_vm *vm, gva at, uint64_t n, struct waiter *w) {
    if (!at) return 0;
    if (!n || n > WAITERS || tv_copy_in(vm, w, at, n * sizeof *w)) return tv_ptr(vm, 1);
    for (uint64_t i = 0; i < n; i++) w[i].addr = word(vm, w[i].addr);
    return (uintptr_t)w;
}

int64_t core_futex_waitv(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct waiter w[WAITERS];
    return host6(449, waiters(vm, a[0], (uint32_t)a[1], w), a[1], a[2], tv_ptr(vm, a[3]), a[4], 0);
}
int64_t core_futex_wake(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return sys6(454, word(vm, a[0]), a[1], a[2], a[3], 0, 0); }
int64_t core_futex_wait(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    return host6(455, word(vm, a[0]), a[1], a[2], a[3], tv_ptr(vm, a[4]), a[5]);
}
int64_t core_futex_requeue(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct waiter w[WAITERS];
    return sys6(456, waiters(vm, a[0], 2, w), a[1], a[2], a[3], 0, 0);
}
