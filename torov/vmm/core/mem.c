/* Guest memory: the reservation, its memslots, page-table pages, and page faults. */
#include "tv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define EAGER (64ull << 20) /* a mapping up to this size gets its entries at once */
#define CHUNK (32ull << 20) /* a larger one gets them as it is touched */
#define FILE_CHUNK (64ull << 10)

bool mem_host_huge(void) {
    static int known = -1; /* asked once: in a jail /sys is not there */
    char b[64] = "";
    if (known >= 0) return known;
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return (known = 0);
    ssize_t n = read(fd, b, sizeof b - 1);
    close(fd);
    return (known = n > 0 && !strstr(b, "[never]"));
}

/* Where the host never looks for a place of its own accord: it searches from the top down, or from 42 TiB up. mremap(2) leaves a
 * hole in the reservation for a moment, and what another thread of the monitor maps then (a stack, an arena of malloc) must not
 * come to lie in what the guest reaches. */
#define PLACE (32ull << 40)

static int reserve(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    int bits = vm->hw->maxphyaddr;
    m->limit = bits >= 39 ? 512 * GIB : 1ull << bits;
    m->top = m->limit - TV_POOL;
    m->reserve_len = m->limit + TV_GUARD;
    uint16_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random = 0;
    m->reserve = mmap((void *)(PLACE + random % 8192 * GIB), m->reserve_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->reserve == MAP_FAILED) { m->reserve = NULL; return -errno; }
    m->base = (uint8_t *)(((uintptr_t)m->reserve + GIB - 1) & ~(uintptr_t)(GIB - 1));
    madvise(m->reserve, m->reserve_len, MADV_DONTDUMP);
    m->pt_of = mmap(NULL, (m->limit >> 21) * sizeof *m->pt_of, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->pt_of == MAP_FAILED) { m->pt_of = NULL; return -errno; }
    m->huge = vm->flags & TV_F_HUGE || mem_host_huge();
    if (m->huge) vm->flags |= TV_F_HUGE;
    return 0;
}

int mem_create(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    int r = m->reserve ? 0 : reserve(vm);
    if (r) return r;
    if (mmap(m->base + TV_SYS_GDT, TV_MIN - TV_SYS_GDT, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return -errno;
    m->low_next = TV_SYS_TABLES + 2 * PG;
    vm->next_sys = m->top + 3 * GIB;
    m->pool_next = m->pool_end = m->top + 2 * GIB; /* well above top: see tv_room() */
    vm->stats.tables = 2;
    vm->stats.slots = m->next_slot;
    r = mem_slot(vm, 0, TV_MIN);
    return r ? r : pt_system(vm);
}

void mem_destroy(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    if (m->reserve) munmap(m->reserve, m->reserve_len);
    if (m->pt_of) munmap(m->pt_of, (m->limit >> 21) * sizeof *m->pt_of);
    free(m->vma);
    memset(m, 0, sizeof *m);
}

/* Memslots of a GiB: 16, 16, 32, 64, 128, 256, 512 MiB. A small program takes small ones, which cost less time
 * and kernel memory; a large one at most seven a GiB. */
#define SLOTS 7
#define SLOT_FIRST (16ull << 20)
int mem_slot(struct tv_vm *vm, uint64_t start, uint64_t end) {
    struct tv_mem *m = &vm->mem;
    for (uint64_t g = start >> 30; g <= (end - 1) >> 30; g++) {
        if (m->slot_mask[g] == (1u << SLOTS) - 1) continue;
        uint64_t lo = g << 30, size = SLOT_FIRST;
        for (int c = 0; c < SLOTS; c++) {
            uint64_t s = c ? lo + size : lo, e = s + size;
            if (c) size *= 2;
            if (e <= start || s >= end || (m->slot_mask[g] & 1u << c)) continue;
            int r = cpu_vm_memory(vm->hw, m->next_slot, s, e - s, m->base + s, false);
            if (r) return r;
            if (!m->next_slot++) m->slot0 = e - s;
            vm->stats.slots++;
            m->slot_mask[g] |= (uint8_t)(1u << c);
        }
    }
    return 0;
}

/* A new VM over memory that is there: the same slots again. */
int mem_slots_again(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    uint8_t had[sizeof m->slot_mask];
    memcpy(had, m->slot_mask, sizeof had);
    memset(m->slot_mask, 0, sizeof m->slot_mask);
    m->next_slot = 0;
    for (uint64_t g = 0; g < sizeof had; g++) {
        for (int c = 0; c < SLOTS; c++) {
            uint64_t at = (g << 30) + (c ? SLOT_FIRST << (c - 1) : 0);
            int r = had[g] & 1u << c ? mem_slot(vm, at, at + PG) : 0;
            if (r) return r;
        }
    }
    return vdso_slots(vm);
}

uint64_t mem_table(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    vm->stats.tables++;
    if (m->low_next < TV_SYS_TABLES_END) {
        m->low_next += PG;
        return m->low_next - PG;
    }
    if (m->pool_next == m->pool_end) {
        if (m->pool_end + HUGE > m->top + 3 * GIB) return 0; /* a GiB of tables maps the whole window */
        if (mmap(m->base + m->pool_end, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
                == MAP_FAILED || mem_slot(vm, m->pool_end, m->pool_end + HUGE)) return 0;
        m->pool_end += HUGE;
    }
    m->pool_next += PG;
    return m->pool_next - PG;
}

static bool is_large(const struct tv_vm *vm, int flags) {
    return vm->mem.huge && !(flags & (VMA_SHARED | VMA_FILE | VMA_STACK | VMA_VDSO));
}

/* How far from addr (inside a file mapping) the file reaches, in whole pages: probing, since no length lasts. */
static gva file_end(struct tv_vm *vm, gva start, gva end) {
    if (!tv_touch(vm, end - PG)) return end;
    while (start < end) {
        gva mid = PG_DOWN(start + (end - start) / 2);
        if (tv_touch(vm, mid)) end = mid;
        else start = mid + PG;
    }
    return start;
}

/* Enters a mapping whose host side stands already. */
int map_enter(struct tv_vm *vm, gva start, gva end, int prot, int flags) {
    int r = vma_set(&vm->mem, start, end, prot, flags);
    if (r) return r;
    if (!prot || end - start > EAGER || (flags & VMA_STACK)) {
        pt_protect(vm, start, end, 0);
        return 0;
    }
    gva stop = end;
    if (flags & VMA_FILE) {
        pt_protect(vm, start, end, 0);
        stop = file_end(vm, start, end);
        if (stop == start) return 0;
    }
    return pt_map(vm, start, stop, prot, is_large(vm, flags));
}

enum fault mem_fault(struct tv_vm *vm, gva addr, uint64_t error) {
    struct tv_vma *v = vma_find(&vm->mem, addr);
    if (!v || addr >= vm->mem.top) return FAULT_MAPERR;
    int need = error & 16 ? 4 : error & 2 ? 2 : 7;
    if (!(v->prot & need)) return FAULT_ACCERR;
    gva page = PG_DOWN(addr), start, end;
    if (v->flags & VMA_FILE) {
        if (tv_touch(vm, page)) return FAULT_BUS;
        start = page;
        for (end = page + PG; end < v->end && end - start < FILE_CHUNK && !tv_touch(vm, end); end += PG) { }
    } else {
        uint64_t chunk = v->flags & VMA_STACK ? 256ull << 10 : CHUNK;
        start = addr & ~(chunk - 1);
        end = start + chunk;
        if (start < v->start) start = v->start;
        if (end > v->end) end = v->end;
    }
    tv_me->stats.faults++;
    return pt_map(vm, start, end, v->prot, is_large(vm, v->flags)) ? FAULT_NOMEM : FAULT_RETRY;
}

/* KVM_RUN said EFAULT: an entry promises memory that the host no longer has, a file that was cut short. Take such
 * entries away; the access then faults with its address. Returns how many mappings were cut. */
int mem_vanished(struct tv_vm *vm) {
    int cut = 0;
    for (size_t i = 0; i < vm->mem.nvma; i++) {
        struct tv_vma *v = &vm->mem.vma[i];
        if (!(v->flags & VMA_FILE) || !v->prot) continue;
        gva stop = file_end(vm, v->start, v->end);
        if (stop < v->end) { pt_protect(vm, stop, v->end, 0); cut++; }
    }
    return cut;
}
