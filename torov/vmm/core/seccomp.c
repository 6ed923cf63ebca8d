/* Filters on the monitor's own system calls: made by torov/seccomp.py, installed here. seccomp(2). */
#include "tv.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

/* For all threads, children, and the runner of exec(2). bytes: struct sock_filter[]. 0 or -errno. */
int tv_seccomp(struct tv_vm *vm, const void *filter, uint32_t bytes) {
    struct sock_fprog p = {.len = (unsigned short)(bytes / sizeof *p.filter), .filter = (struct sock_filter *)(uintptr_t)filter};
    if (!bytes || bytes % sizeof *p.filter || bytes / sizeof *p.filter > BPF_MAXINSNS) return -EINVAL;
    if (vm && vm->flags & TV_F_OWN && !vm->shown) proc_show(vm); /* while it may */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -errno;
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    return 0; /* a sanitizer makes calls of its own */
#endif
    if (vm) vm->flags |= TV_F_FILTERED;
    long r = sys6(317, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, (uintptr_t)&p, 0, 0, 0);
    return r > 0 ? -ESRCH : (int)r; /* the id of a thread that could not follow */
}
