/* The process itself: exit(2), arch_prctl(2), prctl(2), limits, unshare(2), adjtimex(2), System V shared memory. */
#include "tv.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/timex.h>
#include <unistd.h>

int64_t core_set_tid_address(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    tv_me->clear_tid = a[0];
    return gettid();
}

int64_t core_set_robust_list(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if (a[1] != 24) return -EINVAL; /* sizeof(struct robust_list_head) */
    tv_me->robust_list = a[0];
    tv_me->robust_len = a[1];
    return 0;
}

int64_t core_get_robust_list(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    pid_t pid = (pid_t)a[0];
    if (pid && pid != gettid()) return kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : -EPERM;
    uint64_t len = 24;
    return tv_copy_out(vm, a[2], &len, 8) || tv_copy_out(vm, a[1], &tv_me->robust_list, 8) ? -EFAULT : 0;
}

int64_t core_arch_prctl(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t base;
    switch ((uint32_t)a[0]) {
    case 0x1001: case 0x1002: /* ARCH_SET_GS, ARCH_SET_FS */
        if (a[1] >= 0x7ffffffff000ull) return -EPERM;
        return cpu_set_base(tv_me->cpu, a[0] == 0x1001, a[1]) ? -EINVAL : 0;
    case 0x1003: case 0x1004: /* ARCH_GET_FS, ARCH_GET_GS */
        if (cpu_get_base(tv_me->cpu, a[0] == 0x1004, &base)) return -EINVAL;
        return tv_copy_out(vm, a[1], &base, 8);
    case 0x1011: return 1;        /* ARCH_GET_CPUID: the instruction works */
    case 0x1012: return -ENODEV;  /* ARCH_SET_CPUID */
    default: return -EINVAL;
    }
}

/* The host thread's own, since it is per thread and outlives exec(2). Bits that change a layout would change the monitor's. */
int64_t core_personality(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint32_t to = (uint32_t)a[0];
    if (to != 0xffffffff && to & ~(uint32_t)(PER_LINUX32 | UNAME26 | ADDR_NO_RANDOMIZE)) return -EINVAL;
    return sys6(135, to == 0xffffffff ? to : to & ~(uint32_t)ADDR_NO_RANDOMIZE, 0, 0, 0, 0, 0);
}

enum { P_REFUSE, P_NUM, P_IN, P_OUT };
static const struct { int option; uint8_t arg; int16_t err; } prctls[] = {
    {PR_SET_PDEATHSIG, P_NUM, 0}, {PR_GET_PDEATHSIG, P_OUT, 0}, {PR_GET_DUMPABLE, P_NUM, 0}, {PR_SET_DUMPABLE, P_NUM, 0},
    {PR_GET_KEEPCAPS, P_NUM, 0}, {PR_SET_KEEPCAPS, P_NUM, 0}, {PR_SET_NAME, P_IN, 0}, {PR_GET_NAME, P_OUT, 0},
    {PR_GET_TIMING, P_NUM, 0}, {PR_SET_TIMING, P_NUM, 0}, {PR_GET_SECCOMP, P_NUM, 0}, {PR_CAPBSET_READ, P_NUM, 0},
    {PR_CAPBSET_DROP, P_NUM, 0}, {PR_GET_SECUREBITS, P_NUM, 0}, {PR_SET_SECUREBITS, P_NUM, 0},
    {PR_SET_TIMERSLACK, P_NUM, 0}, {PR_GET_TIMERSLACK, P_NUM, 0}, {PR_SET_CHILD_SUBREAPER, P_NUM, 0},
    {PR_GET_CHILD_SUBREAPER, P_OUT, 0}, {PR_SET_NO_NEW_PRIVS, P_NUM, 0}, {PR_GET_NO_NEW_PRIVS, P_NUM, 0},
    {PR_SET_THP_DISABLE, P_NUM, 0}, {PR_GET_THP_DISABLE, P_NUM, 0}, {PR_CAP_AMBIENT, P_NUM, 0}, {PR_GET_TSC, P_OUT, 0},
    {PR_MCE_KILL_GET, P_NUM, 0}, {PR_SET_MM, P_REFUSE, EPERM},
};

int64_t core_prctl(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if ((int)a[0] == PR_GET_TID_ADDRESS) return tv_copy_out(vm, a[1], &tv_me->clear_tid, 8);
    if ((int)a[0] == PR_SET_DUMPABLE && a[1] == 1 && vm->flags & TV_F_SEALED && !sys6(157, PR_GET_DUMPABLE, 0, 0, 0, 0, 0)) return 0; /* the jail's monitor stays as it is */
    for (size_t i = 0; i < sizeof prctls / sizeof *prctls; i++) {
        if (prctls[i].option != (int)a[0]) continue;
        if (prctls[i].arg == P_REFUSE) return -prctls[i].err;
        return sys6(157, a[0], prctls[i].arg == P_NUM ? a[1] : tv_ptr(vm, a[1]), a[2], a[3], a[4], 0);
    }
    return -EINVAL;
}

/* Limits that the monitor must not feel itself are the guest's own numbers. */
static bool own_limit(unsigned r) { return r == RLIMIT_AS || r == RLIMIT_DATA || r == RLIMIT_STACK || r == RLIMIT_RSS || r == RLIMIT_CORE; }

static int64_t limit(struct tv_vm *vm, unsigned res, gva new, gva old) {
    struct { uint64_t cur, max; } was, want;
    if (new && tv_copy_in(vm, &want, new, sizeof want)) return -EFAULT;
    if (res >= RLIM_NLIMITS) return -EINVAL;
    if (res == RLIMIT_NOFILE || vm->limited & 1u << res) { /* the monitor's descriptors lie above the soft limit: the hard one stays on the host */
        struct { uint64_t cur, max; } host;
        vm_hold_fds();
        int64_t r = sys6(302, 0, res, 0, (uintptr_t)&host, 0, 0);
        if (r < 0) goto unlock;
        was.cur = host.cur;
        was.max = vm->rlim_own & 1u << res ? vm->rlim[res].max : host.max;
        if (new) {
            r = want.cur > want.max ? -EINVAL : want.max > was.max && (geteuid() || vm->limited & 1u << res) ? -EPERM : 0;
            if (want.max > host.max) host.max = want.max;
            host.cur = want.cur;
            if (!r) r = sys6(302, 0, res, (uintptr_t)&host, 0, 0, 0);
            if (r < 0) goto unlock;
            memcpy(&vm->rlim[res], &want, sizeof want);
            vm->rlim_own |= 1u << res;
        }
    unlock:
        vm_free_fds();
        if (r < 0) return r;
    } else if (!own_limit(res)) {
        int64_t r = sys6(302, 0, res, new ? (uintptr_t)&want : 0, (uintptr_t)&was, 0, 0);
        if (r < 0) return r;
    } else {
        if (vm->rlim_own & 1u << res) memcpy(&was, &vm->rlim[res], sizeof was);
        else if (sys6(302, 0, res, 0, (uintptr_t)&was, 0, 0) < 0) return -EINVAL;
        if (new) {
            if (want.cur > want.max) return -EINVAL;
            if (want.max > was.max && geteuid() != 0) return -EPERM;
            memcpy(&vm->rlim[res], &want, sizeof want);
            vm->rlim_own |= 1u << res;
            if (res == RLIMIT_CORE) { pthread_mutex_lock(&vm->lock); sig_core(vm); pthread_mutex_unlock(&vm->lock); }
        }
    }
    return old && tv_copy_out(vm, old, &was, sizeof was) ? -EFAULT : 0;
}

int64_t core_getrlimit(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if ((unsigned)a[0] >= RLIM_NLIMITS) return -EINVAL;
    return a[1] ? limit(vm, (unsigned)a[0], 0, a[1]) : -EFAULT;
}
int64_t core_setrlimit(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    return a[1] ? limit(vm, (unsigned)a[0], a[1], 0) : -EFAULT;
}
int64_t core_prlimit64(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if ((pid_t)a[0] && (pid_t)a[0] != getpid() && a[2] && (vm->flags & TV_F_WATCHED || vm->limited & 1u << (a[1] & 31) || (unsigned)a[1] == RLIMIT_CORE)) return -EPERM;
    if ((pid_t)a[0] && (pid_t)a[0] != getpid()) return sys6(302, a[0], a[1], tv_ptr(vm, a[2]), tv_ptr(vm, a[3]), 0, 0);
    return limit(vm, (unsigned)a[1], a[2], a[3]);
}

/* unshare(2): what is a thread's own anyway, or is shared with no one; namespaces are the monitor's. */
int64_t core_unshare(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t f = a[0];
    struct tv_proc *p = tv_me->proc;
    if (f & ~0x7e070f80ull) return -EINVAL; /* what unshare(2) knows */
    if (f & 0x7e020080) { tv_notice(vm, TV_NOTE_UNSERVED, 272, 0, EPERM); return -EPERM; }
    bool alone = vm->sharers == 0 && p->alive == 1 && !p->shares;
    if (f & (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD) && !alone) return -EINVAL;
    if (f & CLONE_FILES && p->alive > 1) return -EPERM; /* descriptors of vCPUs would differ between threads */
    int64_t r = sys6(272, f & (CLONE_FS | CLONE_FILES | CLONE_SYSVSEM), 0, 0, 0, 0, 0);
    if (!r && f & CLONE_FILES) p->shared_fds = false;
    return r;
}

/* The clock may be asked; setting it would set the host's. */
static int64_t clock_ask(struct tv_vm *vm, long nr, uint64_t clock, gva at) {
    struct timex t;
    if (tv_copy_in(vm, &t, at, sizeof t)) return -EFAULT;
    if (t.modes && t.modes != ADJ_OFFSET_SS_READ) return -EPERM;
    int64_t r = nr == 159 ? sys6(nr, (uintptr_t)&t, 0, 0, 0, 0, 0) : sys6(nr, clock, (uintptr_t)&t, 0, 0, 0, 0);
    return r >= 0 && tv_copy_out(vm, at, &t, sizeof t) ? -EFAULT : r;
}
int64_t core_adjtimex(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return clock_ask(vm, 159, 0, a[0]); }
int64_t core_clock_adjtime(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return clock_ask(vm, 305, a[0], a[1]); }

int64_t core_shmat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct shmid_ds ds;
    struct tv_mem *m = &vm->mem;
    if (shmctl((int)a[0], IPC_STAT, &ds) < 0) return errno == EACCES ? -EACCES : -EINVAL;
    uint64_t len = PG_UP(ds.shm_segsz);
    gva at = a[1];
    bool remap = a[2] & SHM_REMAP;
    if (at) {
        if (a[2] & SHM_RND) at = PG_DOWN(at);
        if (at & PG_MASK || at < TV_MIN || at >= m->top || len > m->top - at) return -EINVAL;
        if (!remap && !vma_free(m, at, at + len)) return -EINVAL;
    } else {
        if (remap) return -EINVAL;
        at = vma_place(m, len, PG, m->mmap_base, m->top - PG);
        if (!at) return -ENOMEM;
    }
    if (!map_room(vm, at, at + len, PROT_READ, VMA_SHARED)) return -ENOMEM;
    if (shmat((int)a[0], m->base + at, (int)(a[2] & ~(uint64_t)(SHM_EXEC | SHM_RND)) | SHM_REMAP) == (void *)-1) return -errno;
    int r = map_enter(vm, at, at + len, PROT_READ | (a[2] & SHM_RDONLY ? 0 : PROT_WRITE) | (a[2] & SHM_EXEC ? PROT_EXEC : 0), VMA_SHARED);
    return r ? r : (int64_t)at;
}

int64_t core_shmdt(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_vma *v = vma_find(&vm->mem, a[0]);
    if (!v || v->start != a[0] || !(v->flags & VMA_SHARED) || v->flags & VMA_FILE) return -EINVAL;
    gva start = v->start, end = v->end;
    if (shmdt(vm->mem.base + start) < 0) return -errno;
    pt_protect(vm, start, end, 0);
    vma_clear(&vm->mem, start, end);
    if (mmap(vm->mem.base + start, end - start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0)
            != vm->mem.base + start) { struct tv_stop e; tv_fail(&e, "shmdt: reservation lost", errno); vm_end(vm, e); }
    return 0;
}
