/* The one place where calls that the core makes for a guest reach the host: they are counted and judged here, and what would reach
 * past the guest's own processes is refused, since it could end the fuzzer. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

long __real_tv_cp(volatile int *attention, long nr, const uint64_t a[6]);
long __wrap_tv_cp(volatile int *attention, long nr, const uint64_t a[6]);

/* Which argument is a process. A group or a user stands for others than the guest, too: those are refused. */
static const struct { uint16_t nr; uint8_t arg; } pids[] = {{62, 0}, {129, 0}, {297, 0}, {297, 1}, {200, 0}, {234, 0}, {234, 1}, {434, 0},
    {302, 0}, {203, 0}, {142, 0}, {144, 0}, {314, 0}, {109, 0}};

static bool ours(int64_t pid) {
    char path[48];
    if (pid == 0 || pid == getpid() || pid == gettid()) return true;
    if (pid < 0) return pid == -getpgrp();
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)pid);
    return getpgid((pid_t)pid) == getpgrp() || !access(path, F_OK);
}

static bool elsewhere(long nr, const uint64_t a[6]) {
    for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
        if (pids[i].nr == nr && !ours((int)a[pids[i].arg])) return true;
    if (nr == 141 || nr == 251) return !(a[0] == (nr == 251) && ours((int)a[1]));   /* setpriority, ioprio_set: of one process */
    if (nr == 72 && a[1] == F_SETOWN) return !ours((int)a[2]);
    if (nr == 72 && a[1] == F_SETOWN_EX) return true;                                /* a structure with a process */
    if (nr == 16) return (uint32_t)a[1] == 0x8901 || (uint32_t)a[1] == 0x8902;       /* FIOSETOWN, SIOCSPGRP */
    return false;
}

/* Memory that no limit of the sandbox counts, and that outlives the process. */
static bool too_much(long nr, const uint64_t a[6]) {
    return (nr == 29 && a[1] > 1 << 20) || (nr == 285 && a[3] > 1 << 22) || (nr == 77 && a[1] > 1 << 22);
}

static void may_signal(long nr, const uint64_t a[6]) {
    static const uint16_t makers[] = {62, 200, 234, 129, 297, 424, 222, 244, 72, 16, 157, 37, 38, 160, 302, 1, 20, 18, 296, 328, 44, 46, 307, 40, 275, 76, 77, 285};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        if (makers[i] == nr) shared->signals = 1;
}

/* Calls that the core makes for itself while it serves one that is denied. */
static bool its_own(long nr) { return nr == 14 || nr == 39 || nr == 186 || nr == 13 || nr == 297; }

static bool look(long nr, const uint64_t a[6], long *answer) {
    if (nr < 0 || nr >= ROWS) fuzz_fail("the host is asked for call %ld", nr);
    __atomic_fetch_add(&shared->host[nr], 1, __ATOMIC_RELAXED);
    const struct tv_call *c = &tv_calls[nr];
    bool serving = fuzz_serving && fuzz_vm && tv_me && !proc_ended(tv_me->proc);
    if (serving && c->serve == SERVE_DENY) fuzz_fail("call %ld, which is not served, reached the host", nr);
    if (serving && (fuzz_input->mode == MODE_DENY || fuzz_input->mode == MODE_KILL) && !its_own(nr) && nr != 60 && nr != 231)
        fuzz_fail("call %ld reached the host under a policy that denies all", nr);
    if (serving && fuzz_input->mode == MODE_RULES && rules_refuse(nr, a)) fuzz_fail("call %ld reached the host against the rules", nr);
    for (int i = 0; i < c->nargs; i++) /* 322: exec of the runner */
        if ((c->arg[i].kind == A_FD || c->arg[i].kind == A_ATFD) && cpu_own((int)a[i]) && nr != 322 && nr != 3) fuzz_fail("call %ld on descriptor %d of the monitor", nr, (int)a[i]);
    may_signal(nr, a);
    if (nr == 59 || nr == 322) shared->executes = 1;
    *answer = -EPERM;
    return elsewhere(nr, a) || too_much(nr, a);
}

#undef sys6
#undef host6
long seam_sys6(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    uint64_t a[6] = {a0, a1, a2, a3, a4, a5};
    long r;
    return look(nr, a, &r) ? r : sys6(nr, a0, a1, a2, a3, a4, a5);
}

long seam_host6(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    return __wrap_tv_cp(&tv_me->attention, nr, (uint64_t[6]){a0, a1, a2, a3, a4, a5});
}

long __wrap_tv_cp(volatile int *attention, long nr, const uint64_t a[6]) {
    long r;
    return look(nr, a, &r) ? r : __real_tv_cp(attention, nr, a);
}
