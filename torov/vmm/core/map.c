/* Mappings as the host sees them, and the memory syscalls: brk(2), mmap(2), munmap(2), mprotect(2), mremap(2),
 * madvise(2), msync(2), mlock(2), mincore(2). Every protection stands twice: in the guest's page tables, so that a
 * fault has an address, and in the host mapping, so that the host kernel itself answers EFAULT. */
#include "tv.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#ifndef MAP_32BIT
#define MAP_32BIT 0x40
#endif
#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)

int host_prot(int prot) { return !(prot & PROT_ALL) ? PROT_NONE : prot & PROT_WRITE ? PROT_READ | PROT_WRITE : PROT_READ; }

static void *host(struct tv_vm *vm, gva a) { return vm->mem.base + a; }

static void advise_huge(struct tv_vm *vm, gva start, gva end) {
    if (vm->mem.huge && end - start >= HUGE) madvise(host(vm, start), end - start, MADV_HUGEPAGE);
}

int map_anon(struct tv_vm *vm, gva start, gva end, int prot, int flags) {
    if (mmap(host(vm, start), end - start, host_prot(prot), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)
            == MAP_FAILED) return -errno;
    if (!(flags & VMA_STACK)) advise_huge(vm, start, end);
    return map_enter(vm, start, end, prot, flags);
}

/* Gives the memory back and keeps the place reserved. */
int map_none(struct tv_vm *vm, gva start, gva end) {
    int r = vma_clear(&vm->mem, start, end);
    if (r) return r;
    pt_protect(vm, start, end, 0);
    if (mmap(host(vm, start), end - start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)
            == MAP_FAILED) return -errno;
    if (start < vm->mem.mmap_next && start >= vm->mem.mmap_base) vm->mem.mmap_next = start;
    return 0;
}

/* Linux may have taken away what was there before it finds that it cannot map what is asked for (a socket, say): then it is gone
 * for the guest, too, and the place stays reserved. -errno. */
static int map_failed(struct tv_vm *vm, gva start, gva end) {
    int err = errno;
    if (mmap(host(vm, start), end - start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == host(vm, start))
        map_none(vm, start, end);
    return -err;
}

static bool is_data(int prot, int flags) { return prot & PROT_WRITE && !(flags & (VMA_SHARED | VMA_STACK)); }

/* RLIMIT_AS and RLIMIT_DATA, as far as the guest set them itself: may such a mapping take the place [start, end)? */
bool map_room(const struct tv_vm *vm, gva start, gva end, int prot, int flags) {
    uint64_t all = 0, data = 0;
    if (!limit_memory(vm, start, end, prot, flags)) return false;
    if (!(vm->rlim_own & (1u << RLIMIT_AS | 1u << RLIMIT_DATA))) return true;
    for (size_t i = 0; i < vm->mem.nvma; i++) { /* what stays, of what there is; the stack grows only as it is used */
        const struct tv_vma *v = &vm->mem.vma[i];
        gva lo = v->start > start ? v->start : start, hi = v->end < end ? v->end : end;
        uint64_t len = v->end - v->start - (lo < hi ? hi - lo : 0);
        if (!(v->flags & VMA_STACK)) all += len;
        if (is_data(v->prot, v->flags)) data += len;
    }
    if (vm->rlim_own & 1u << RLIMIT_AS && all + (end - start) > vm->rlim[RLIMIT_AS].cur) return false;
    return !(vm->rlim_own & 1u << RLIMIT_DATA && is_data(prot, flags) && data + (end - start) > vm->rlim[RLIMIT_DATA].cur);
}

static bool in_window(const struct tv_vm *vm, gva start, uint64_t len) {
    return start >= TV_MIN && start < vm->mem.top && len <= vm->mem.top - start;
}

static gva place(struct tv_vm *vm, uint64_t len, uint64_t align, bool low) {
    struct tv_mem *m = &vm->mem;
    if (low) return vma_place(m, len, align, GIB, 2 * GIB);
    gva at = vma_place(m, len, align, m->mmap_next, m->top - PG);
    if (!at && m->mmap_next > m->mmap_base) at = vma_place(m, len, align, m->mmap_base, m->top - PG);
    if (!at) at = vma_place(m, len, align, TV_MIN, m->top - PG);
    else if (at >= m->mmap_base && align == PG) m->mmap_next = at + len;
    return at;
}

int64_t core_brk(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_mem *m = &vm->mem;
    gva want = a[0], old = PG_UP(m->brk), new = PG_UP(want);
    if (want < m->brk_start || want > m->brk_max) return (int64_t)m->brk;
    if (new > old) {
        if (!map_room(vm, old, new, PROT_READ | PROT_WRITE, VMA_HEAP)) return (int64_t)m->brk;
        if (!vma_free(m, old, new) || map_anon(vm, old, new, PROT_READ | PROT_WRITE, VMA_HEAP)) return (int64_t)m->brk;
        /* pages that are there when the guest comes are many times cheaper than pages it faults in one by one */
        if (new - old <= HUGE) madvise(host(vm, old), new - old, MADV_POPULATE_WRITE);
    } else if (new < old && map_none(vm, new, old)) {
        return (int64_t)m->brk;
    }
    return (int64_t)(m->brk = want);
}

int64_t core_mmap(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    gva addr = a[0];
    uint64_t len = PG_UP(a[1]);
    int prot = (int)a[2] & PROT_ALL, flags = (int)a[3], fd = (int)a[4];
    bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE), anon = flags & MAP_ANONYMOUS, huge = flags & MAP_HUGETLB;
    struct stat st = {0};
    if (a[5] & PG_MASK) return -EINVAL;
    if (!anon && (fd_hidden(vm, a[4]) || fstat(fd, &st))) return -EBADF;
    if (!anon && !(st.st_mode & S_IFMT)) return -ENODEV; /* an anonymous inode: KVM's, on its way to a hidden number */
    if (!a[1]) return -EINVAL;
    if (!len || len > vm->mem.top) return -ENOMEM;
    if (flags & MAP_FIXED_NOREPLACE) flags |= MAP_FIXED;
    uint64_t align = PG;
    if (huge) align = flags >> 26 & 63 ? 1ull << (flags >> 26 & 63) : HUGE;
    else if (anon && len >= HUGE) align = HUGE;
    if (align > GIB) return -EINVAL;
    if (huge) len = (len + align - 1) & ~(align - 1);
    if (fixed) {
        if (addr & PG_MASK) return -EINVAL;
        if (addr < TV_MIN && len <= vm->mem.top) return -EPERM; /* below vm.mmap_min_addr */
        if (!in_window(vm, addr, len)) return -ENOMEM;
        if ((flags & MAP_FIXED_NOREPLACE) && !vma_free(&vm->mem, addr, addr + len)) return -EEXIST;
    } else {
        addr = PG_DOWN(addr); /* a hint is rounded down: round_hint_to_min() in mm/mmap.c */
        if (!addr || !in_window(vm, addr, len) || (addr & (align - 1) && huge) || !vma_free(&vm->mem, addr, addr + len))
            addr = place(vm, len, align, flags & MAP_32BIT);
        if (!addr) return -ENOMEM;
    }
    if (!anon && (prot & PROT_EXEC)) {
        struct statvfs fs;
        if (!fstatvfs(fd, &fs) && (fs.f_flag & ST_NOEXEC)) return -EPERM;
    }
    int vflags = (flags & MAP_TYPE) == MAP_PRIVATE ? 0 : VMA_SHARED;
    if (!map_room(vm, addr, addr + len, prot, vflags)) return -ENOMEM;
    int hflags = (flags & ~(MAP_FIXED_NOREPLACE | MAP_32BIT | MAP_GROWSDOWN)) | MAP_FIXED;
    if (anon && !huge) hflags |= MAP_NORESERVE; /* huge pages that nobody has are refused here, not at the first touch */
    if (mmap(host(vm, addr), len, host_prot(prot), hflags, anon ? -1 : fd, (off_t)a[5]) == MAP_FAILED) return map_failed(vm, addr, addr + len);
    /* a device such as /dev/zero has no end; a regular file has, and it moves */
    if (!anon) vflags |= VMA_FILE;
    /* a library's text, as ld.so maps it: the CPU proves its sites at their first trap */
    if (!anon && vflags == VMA_FILE && prot & PROT_EXEC && !(prot & PROT_WRITE)) vflags |= VMA_TEXT;
    if (anon && !vflags && !(flags & (MAP_STACK | MAP_HUGETLB))) advise_huge(vm, addr, addr + len);
    if (huge) vflags |= VMA_SHARED; /* keeps 4 KiB guest entries and no merging */
    int r = map_enter(vm, addr, addr + len, prot, vflags);
    if (r) { map_none(vm, addr, addr + len); return r; }
    if (anon && prot & PROT_WRITE && len <= 256 << 10) madvise(host(vm, addr), len, MADV_POPULATE_WRITE);
    return (int64_t)addr;
}

int64_t core_munmap(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t len = PG_UP(a[1]);
    if (a[0] & PG_MASK || !len || a[0] >= vm->mem.top || len > vm->mem.top - a[0]) return -EINVAL;
    gva start = a[0] < TV_MIN ? TV_MIN : a[0], end = a[0] + len;
    if (start >= end) return 0;
    return vma_free(&vm->mem, start, end) ? 0 : map_none(vm, start, end);
}

/* Calls fn for each mapped piece of the range in order. -ENOMEM if there is a hole, after the rest was done. */
typedef int (*range_fn)(struct tv_vm *vm, gva start, gva end, uint64_t arg);
static int64_t over_range(struct tv_vm *vm, gva start, uint64_t len, uint64_t arg, range_fn fn, bool stop_at_hole) {
    gva end = start + len, at = start < TV_MIN ? TV_MIN : start;
    if (end < start || (stop_at_hole && start < TV_MIN)) return -ENOMEM;
    bool hole = start < TV_MIN || end > vm->mem.top;
    if (end > vm->mem.top) end = vm->mem.top;
    while (at < end) {
        size_t i = vma_lower(&vm->mem, at);
        if (i == vm->mem.nvma || vm->mem.vma[i].start >= end) { hole = true; break; }
        struct tv_vma v = vm->mem.vma[i];
        if (v.start > at) {
            if (stop_at_hole) return -ENOMEM;
            hole = true;
            at = v.start;
        }
        gva stop = v.end < end ? v.end : end;
        int r = fn(vm, at, stop, arg);
        if (r) return r;
        at = stop;
    }
    return hole ? -ENOMEM : 0;
}

static int protect_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    struct tv_mem *m = &vm->mem;
    size_t i = vma_lower(m, start);
    int prot = (int)arg, old = m->vma[i].prot;
    if (old == prot) return 0;
    if (prot & PROT_WRITE && !limit_memory(vm, start, end, prot, m->vma[i].flags)) return -ENOMEM;
    if (m->vma[i].flags & VMA_VDSO && prot & ~PROT_READ) return -EACCES; /* vvar: Linux has no VM_MAYWRITE there */
    int r = vma_split(m, start);
    if (!r) r = vma_split(m, end);
    if (r) return r;
    /* KVM drops what it knows of the range only if the host mapping changes: see pt.c */
    if (host_prot(old) == host_prot(prot) && (old & ~prot) && mprotect(host(vm, start), end - start, PROT_NONE)) return -errno;
    bool grow = !old && prot; /* entries of a PROT_NONE area were never made */
    if (prot & ~old) { /* more rights: the host first; fewer: the entries first */
        if (mprotect(host(vm, start), end - start, host_prot(prot))) return -errno;
        pt_protect(vm, start, end, prot);
    } else {
        pt_protect(vm, start, end, prot);
        if (mprotect(host(vm, start), end - start, host_prot(prot))) return -errno;
    }
    i = vma_lower(m, start);
    m->vma[i].prot = (uint16_t)prot;
    if (prot & PROT_WRITE) m->vma[i].flags |= VMA_WRITTEN;
    int flags = m->vma[i].flags;
    vma_merge(m, i, i + 1);
    if (grow) {
        if (!(flags & (VMA_SHARED | VMA_FILE | VMA_STACK))) advise_huge(vm, start, end);
        return map_enter(vm, start, end, prot, flags);
    }
    return 0;
}

int64_t core_mprotect(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t len = PG_UP(a[1]);
    if (a[0] & PG_MASK) return -EINVAL;
    if (!a[1]) return 0;
    if (!len || a[0] + len < a[0]) return -ENOMEM;
    if (a[2] & ~(uint64_t)(PROT_ALL | 8)) return -EINVAL; /* 8: PROT_SEM; PROT_GROWSDOWN needs a growing mapping */
    return over_range(vm, a[0], len, a[2] & PROT_ALL, protect_piece, true);
}

static int64_t move(struct tv_vm *vm, gva old, uint64_t old_len, gva new, uint64_t new_len, struct tv_vma v, bool keep) {
    if (mremap(host(vm, old), old_len, new_len, MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0), host(vm, new))
            == MAP_FAILED) return map_failed(vm, new, new + new_len);
    if (!keep) { /* the place we left is a hole in the reservation: fill it, or fail rather than lose it */
        pt_protect(vm, old, old + old_len, 0);
        if (mmap(host(vm, old), old_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0)
                != host(vm, old)) { struct tv_stop e; tv_fail(&e, "mremap: reservation lost", errno); vm_end(vm, e); return -ENOMEM; }
        int r = vma_clear(&vm->mem, old, old + old_len);
        if (r) return r;
        if (old < vm->mem.mmap_next && old >= vm->mem.mmap_base) vm->mem.mmap_next = old;
    }
    int r = map_enter(vm, new, new + new_len, v.prot, v.flags & ~(VMA_HEAP | VMA_STACK | VMA_TEXT));
    return r ? r : (int64_t)new;
}

/* In place, so that what madvise(2) and mlock(2) said holds for the new part too, and the host keeps one mapping. It grows only
 * into nothing. */
static int grow(struct tv_vm *vm, gva old, uint64_t old_len, uint64_t new_len) {
    munmap(host(vm, old + old_len), new_len - old_len);
    if (mremap(host(vm, old), old_len, new_len, 0) != MAP_FAILED) return 0;
    int err = errno;
    mmap(host(vm, old + old_len), new_len - old_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return -err;
}

int64_t core_mremap(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_mem *m = &vm->mem;
    gva old = a[0], new = a[4];
    uint64_t old_len = PG_UP(a[1]), new_len = PG_UP(a[2]), flags = a[3];
    if (flags & ~(uint64_t)7 || (flags & 6 && !(flags & 1))) return -EINVAL;
    if (flags & 4 && old_len != new_len) return -EINVAL;
    if (old & PG_MASK || !new_len || !old_len) return -EINVAL;
    if (!in_window(vm, old, old_len)) return -EFAULT;
    if (new_len > 0x7ffffffff000ull) return -EINVAL; /* TASK_SIZE */
    if (new_len > m->top) return -ENOMEM;
    struct tv_vma *p = vma_find(m, old);
    if (!p || p->end - old < old_len) return -EFAULT;
    struct tv_vma v = *p;
    if (v.flags & VMA_VDSO) return -EINVAL;
    if (flags & 2) {
        if (new & PG_MASK) return -EINVAL;
        if (!in_window(vm, new, new_len)) return new < TV_MIN ? -EPERM : -EINVAL;
        if (new < old + old_len && old < new + new_len) return -EINVAL;
        if (new_len > old_len && !limit_memory(vm, new, new + new_len - old_len, v.prot, v.flags)) return -ENOMEM;
        if (!vma_free(m, new, new + new_len)) { int r = map_none(vm, new, new + new_len); if (r) return r; }
        if (new_len < old_len) {
            int r = map_none(vm, old + new_len, old + old_len);
            if (r) return r;
            old_len = new_len;
        }
        return move(vm, old, old_len, new, new_len, v, flags & 4);
    }
    if (flags & 4) {
        gva at = place(vm, new_len, PG, false);
        return at ? move(vm, old, old_len, at, new_len, v, true) : -ENOMEM;
    }
    if (new_len == old_len) return (int64_t)old;
    if (new_len < old_len) {
        int r = map_none(vm, old + new_len, old + old_len);
        return r ? r : (int64_t)old;
    }
    if (!map_room(vm, old + old_len, old + new_len, v.prot, v.flags)) return -ENOMEM;
    bool fits = v.end == old + old_len && in_window(vm, old, new_len) && vma_free(m, old + old_len, old + new_len);
    if (fits) {
        bool anon = !(v.flags & (VMA_FILE | VMA_SHARED));
        int r = grow(vm, old, old_len, new_len);
        if (!r) r = map_enter(vm, anon ? old + old_len : old, old + new_len, v.prot, v.flags);
        else if (r == -EFAULT && anon) r = map_anon(vm, old + old_len, old + new_len, v.prot, v.flags); /* it is several to the host */
        return r ? r : (int64_t)old;
    }
    if (!(flags & 1)) return -ENOMEM;
    gva at = place(vm, new_len, new_len >= HUGE && !(v.flags & (VMA_FILE | VMA_SHARED)) ? HUGE : PG, false);
    return at ? move(vm, old, old_len, at, new_len, v, false) : -ENOMEM;
}

/* Advice that changes what a host process may rely on is not passed on: 2 is noted (fork.c takes the memory away, coredump.c leaves it out); poisoned pages would take memory from under the page tables. */
static const uint8_t advice_ok[26] = {[0] = 1, [1] = 1, [2] = 1, [3] = 1, [4] = 1, [8] = 1, [9] = 1, [10] = 2, [11] = 2,
    [12] = 1, [13] = 1, [14] = 1, [15] = 1, [16] = 2, [17] = 2, [18] = 1, [19] = 1, [20] = 1, [21] = 1, [22] = 1, [23] = 1,
    [24] = 1, [25] = 1};

static int advise_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    return madvise(host(vm, start), end - start, (int)arg) ? -errno : 0;
}

static int note_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    struct tv_mem *m = &vm->mem;
    int r = vma_split(m, start);
    if (!r) r = vma_split(m, end);
    if (r) return r;
    size_t i = vma_lower(m, start);
    uint16_t flag = arg == MADV_DONTFORK || arg == MADV_DOFORK ? VMA_NOFORK : VMA_NODUMP;
    if (arg == MADV_DONTFORK || arg == MADV_DONTDUMP) m->vma[i].flags |= flag;
    else m->vma[i].flags &= (uint16_t)~flag;
    vma_merge(m, i, i + 1);
    return 0;
}

int64_t core_madvise(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t len = PG_UP(a[1]), advice = (uint32_t)a[2];
    if (advice == 100 || advice == 101) return -EPERM;
    if (advice >= sizeof advice_ok || !advice_ok[advice]) return -EINVAL;
    if (a[0] & PG_MASK || (a[1] && !len) || a[0] + len < a[0]) return -EINVAL;
    if (!len) return 0;
    return over_range(vm, a[0], len, advice, advice_ok[advice] == 2 ? note_piece : advise_piece, false);
}

static int sync_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    return msync(host(vm, start), end - start, (int)arg) ? -errno : 0;
}
static int lock_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    return mlock2(host(vm, start), end - start, (unsigned)arg) ? -errno : 0;
}
static int unlock_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    (void)arg;
    return munlock(host(vm, start), end - start) ? -errno : 0;
}

int64_t core_msync(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t len = PG_UP(a[1]);
    if (a[2] & ~7ull || a[0] & PG_MASK || (a[2] & 1 && a[2] & 4)) return -EINVAL;
    if (a[0] + len < a[0]) return -ENOMEM;
    return len ? over_range(vm, a[0], len, a[2], sync_piece, false) : 0;
}

int64_t core_mlock(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t start = PG_DOWN(a[0]), len = PG_UP(a[1] + (a[0] & PG_MASK));
    unsigned flags = c->nargs == 3 ? (unsigned)a[2] : 0;
    if (flags & ~1u) return -EINVAL;
    if (!a[1]) return 0;
    if (start + len < start) return -EINVAL;
    return over_range(vm, start, len, flags, lock_piece, true);
}

int64_t core_mlock2(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return core_mlock(vm, a, c); }

int64_t core_munlock(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    uint64_t start = PG_DOWN(a[0]), len = PG_UP(a[1] + (a[0] & PG_MASK));
    if (!a[1]) return 0;
    if (start + len < start) return -EINVAL;
    return over_range(vm, start, len, 0, unlock_piece, true);
}

int64_t core_mlockall(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if (!a[0] || a[0] & ~7ull || a[0] == 4) return -EINVAL;
    for (size_t i = 0; a[0] & 1 && i < vm->mem.nvma; i++) {
        struct tv_vma *v = &vm->mem.vma[i];
        if (v->prot && mlock2(host(vm, v->start), v->end - v->start, a[0] & 4 ? 1 : 0) && errno != EFAULT && errno != ENOMEM) return -errno;
    }
    return 0;
}

int64_t core_munlockall(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    for (size_t i = 0; i < vm->mem.nvma; i++) munlock(host(vm, vm->mem.vma[i].start), vm->mem.vma[i].end - vm->mem.vma[i].start);
    return 0;
}

/* arg: the guest address of the byte for page 0 */
static int mincore_piece(struct tv_vm *vm, gva start, gva end, uint64_t arg) {
    return (int)sys6(27, (uintptr_t)host(vm, start), end - start, tv_ptr(vm, arg + (start >> 12)), 0, 0, 0);
}

int64_t core_mincore(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    uint64_t len = PG_UP(a[1]), vec = a[2];
    if (a[0] & PG_MASK) return -EINVAL;
    if ((a[1] && !len) || a[0] >= vm->mem.top || len > 0x7ffffffff000ull - a[0]) return -ENOMEM;
    if (vec + (len >> 12) > 0x7ffffffff000ull || vec + (len >> 12) < vec) return -EFAULT;
    return len ? over_range(vm, a[0], len, vec - (a[0] >> 12), mincore_piece, true) : 0;
}
