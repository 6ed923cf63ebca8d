/* Limits of a policy. What each process keeps for itself: memory, threads, and resource limits that it cannot raise. What its whole
 * tree shares lies in a memfd that every process of it maps: how much may still be written, and which processes live. */
#include "jail.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SLOTS_MOST 65536u

struct tv_shared {
    uint32_t over;    /* enum tv_limit */
    uint32_t slots;   /* 0: processes are not counted */
    uint32_t counts;  /* output is counted */
    uint32_t pad;
    uint64_t left;    /* bytes of output */
    int32_t slot[];   /* the pid of a process; 0: free; below 0: of a thread that is about to make one */
};

/* The memfd; without rights, so that no name in /proc opens it again. -errno if there is none. */
int tv_shared_make(uint64_t output, uint32_t processes) {
    uint32_t n = processes < SLOTS_MOST ? processes : SLOTS_MOST;
    int fd = memfd_create("torov-limits", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct tv_shared s = {.slots = n, .counts = output != 0, .left = output};
    if (fd < 0) return -errno;
    if (ftruncate(fd, (off_t)(sizeof s + n * sizeof *s.slot)) || pwrite(fd, &s, sizeof s, 0) != sizeof s || fchmod(fd, 0) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) { /* cut off, it would be a SIGBUS of the supervisor's */
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

static struct tv_shared *map(int fd) {
    struct stat st;
    if (fstat(fd, &st) || (size_t)st.st_size < sizeof(struct tv_shared)) return NULL;
    struct tv_shared *s = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return s == MAP_FAILED ? NULL : s;
}

static struct tv_shared *watched; /* by the supervisor */
static bool watches_output;       /* as it was before anyone else had it */

void limit_watch(int fd) {
    watched = fd > 0 ? map(fd) : NULL;
    watches_output = watched && watched->counts;
}

int limit_over(void) { return watches_output && __atomic_load_n(&watched->over, __ATOMIC_RELAXED) ? TV_LIMIT_OUTPUT : 0; }

static void set_soft(int resource, uint64_t value, bool hard) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)resource, &r)) return;
    if (r.rlim_max < value) value = r.rlim_max;
    r.rlim_cur = value;
    if (hard) r.rlim_max = value;
    setrlimit((__rlimit_resource_t)resource, &r);
}

/* The guest sees these as its hard limits; on the host they are soft, since the monitor needs room above. CPU time is hard. */
static void own(struct tv_vm *vm, int resource, uint64_t value) {
    if (!value) return;
    set_soft(resource, value, resource == RLIMIT_CPU);
    vm->rlim[resource].cur = vm->rlim[resource].max = value;
    vm->rlim_own |= 1u << resource;
    vm->limited |= 1u << resource;
}

/* Before the monitor looks where its descriptors can lie. */
void limit_start(struct tv_vm *vm, const struct tv_spec *spec) {
    vm->most_memory = spec->most_memory;
    vm->most_threads = spec->most_threads;
    own(vm, RLIMIT_NOFILE, spec->descriptors);
    own(vm, RLIMIT_FSIZE, spec->file_size);
    own(vm, RLIMIT_CPU, spec->cpu_seconds);
}

/* With the memfd: the first process of the tree, or one that exec(2) has given a new program. */
int limit_join(struct tv_vm *vm, int fd) {
    if (!(vm->shared = map(fd))) return -ENOMEM;
    int32_t me = getpid();
    for (uint32_t i = 0; i < vm->shared->slots; i++)
        if (__atomic_load_n(&vm->shared->slot[i], __ATOMIC_RELAXED) == me) { vm->proc->slot = (int)i + 1; return 0; }
    if (!vm->shared->slots) return 0;
    int slot = limit_take(vm);
    if (slot < 0) return slot;
    limit_mine(vm, vm->proc, slot);
    return 0;
}

void limit_leave(struct tv_vm *vm) {
    struct stat st;
    if (vm->shared && !fstat(vm->keep[KEEP_SHARED], &st)) munmap(vm->shared, (size_t)st.st_size); /* sealed: it is as long as it was */
    vm->shared = NULL;
}

/* A place for one more process: its number from 1, 0 where processes are not counted, or -EAGAIN. What a process that was killed
 * has left is found when there is no other. */
int limit_take(struct tv_vm *vm) {
    struct tv_shared *s = vm->shared;
    if (!s || !s->slots) return 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < s->slots; i++) {
            int32_t was = __atomic_load_n(&s->slot[i], __ATOMIC_RELAXED);
            if (was && !(pass && kill(was < 0 ? -was : was, 0) < 0 && errno == ESRCH)) continue;
            if (__atomic_compare_exchange_n(&s->slot[i], &was, -gettid(), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return (int)i + 1;
        }
    }
    return -EAGAIN;
}

void limit_give(struct tv_vm *vm, int slot) {
    if (slot > 0) __atomic_store_n(&vm->shared->slot[slot - 1], 0, __ATOMIC_RELEASE);
}

/* The new process says so itself, whatever becomes of its parent. */
void limit_mine(struct tv_vm *vm, struct tv_proc *p, int slot) {
    p->slot = slot;
    if (slot > 0) __atomic_store_n(&vm->shared->slot[slot - 1], getpid(), __ATOMIC_RELEASE);
}

/* The parent knows its child's number even if that was killed before it could say so. */
void limit_made(struct tv_vm *vm, int slot, pid_t pid) {
    int32_t was = -gettid();
    if (slot > 0) __atomic_compare_exchange_n(&vm->shared->slot[slot - 1], &was, pid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Memory that has been writable, or is shared: what can be filled. The stack has a limit of its own. */
static bool counted(int prot, int flags) { return (prot & PROT_WRITE || flags & (VMA_WRITTEN | VMA_SHARED)) && !(flags & (VMA_STACK | VMA_VDSO)); }

/* May [start, end) be such a mapping, in place of what is there? */
bool limit_memory(const struct tv_vm *vm, gva start, gva end, int prot, int flags) {
    uint64_t all = 0;
    if (!vm->most_memory || !counted(prot, flags)) return true;
    for (size_t i = 0; i < vm->mem.nvma; i++) {
        const struct tv_vma *v = &vm->mem.vma[i];
        gva lo = v->start > start ? v->start : start, hi = v->end < end ? v->end : end;
        if (counted(v->prot, v->flags)) all += v->end - v->start - (lo < hi ? hi - lo : 0);
    }
    return all + (end - start) <= vm->most_memory;
}

/* Calls that write, and which argument says how much; 0x10: an array of struct iovec before the count; 0x20: struct msghdr; 0x40: many. */
static const struct { uint16_t nr; uint8_t how; } writers[] = {
    {1, 2}, {18, 2}, {20, 0x12}, {296, 0x12}, {328, 0x12}, {278, 0x12}, {44, 2}, {46, 0x20}, {307, 0x40}, {40, 3}, {275, 4}, {276, 2}, {326, 4},
};

static uint64_t sum_iov(struct tv_vm *vm, gva at, uint64_t count) {
    uint64_t sum = 0;
    struct iovec v;
    for (uint64_t i = 0; i < count && i < 1024 && !tv_copy_in(vm, &v, at + i * sizeof v, sizeof v); i++) sum += v.iov_len < 1ull << 40 ? v.iov_len : 1ull << 40;
    return sum;
}

static uint64_t sum_message(struct tv_vm *vm, gva at) {
    struct msghdr h;
    return tv_copy_in(vm, &h, at, sizeof h) ? 0 : sum_iov(vm, (uintptr_t)h.msg_iov, h.msg_iovlen);
}

static void over(struct tv_vm *vm) {
    uint32_t none = 0;
    __atomic_compare_exchange_n(&vm->shared->over, &none, TV_LIMIT_OUTPUT, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    vm_end(vm, (struct tv_stop){.kind = TV_SIGNALLED, .status = SIGKILL});
}

/* As tv_host(), but no more bytes than are left. What a call may write is taken before it is made, and what it did not write is given
 * back: calls that are made at once do not write more together. Structures in guest memory may change meanwhile: iovec() cuts what it
 * has copied down to tv_me->budget. */
int64_t limit_host(struct tv_vm *vm, long nr, uint64_t a[6], const struct tv_call *c) {
    size_t k = 0;
    while (k < sizeof writers / sizeof *writers && writers[k].nr != nr) k++;
    if (k == sizeof writers / sizeof *writers || !vm->shared->counts) return tv_host(vm, nr, a, c);
    uint8_t how = writers[k].how;
    uint64_t want = 0, take, left = __atomic_load_n(&vm->shared->left, __ATOMIC_RELAXED);
    if (how & 0x10) want = sum_iov(vm, a[1], a[2]);
    else if (how == 0x20) want = sum_message(vm, a[1]);
    else if (how == 0x40) for (uint64_t i = 0; i < (uint32_t)a[2] && i < 1024; i++) want += sum_message(vm, a[1] + i * 64);
    else want = a[how];
    do {
        take = want < left ? want : left;
        if (want && !take) { over(vm); return -EPERM; }
    } while (take && !__atomic_compare_exchange_n(&vm->shared->left, &left, left - take, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    if (how < 0x10) a[how] = take;
    else tv_me->budget = take + 1;
    int64_t r = tv_host(vm, nr, a, c);
    tv_me->budget = 0;
    uint64_t wrote = r <= 0 ? 0 : how == 0x40 || (uint64_t)r > take ? take : (uint64_t)r; /* sendmmsg(2) tells messages, not bytes */
    if (take > wrote) __atomic_fetch_add(&vm->shared->left, take - wrote, __ATOMIC_RELAXED);
    return r;
}

void limit_iov(struct iovec *v, uint64_t count) {
    uint64_t left = tv_me->budget - 1;
    for (uint64_t i = 0; i < count; i++) {
        if (v[i].iov_len > left) v[i].iov_len = left;
        left -= v[i].iov_len;
    }
    tv_me->budget = left + 1;
}
