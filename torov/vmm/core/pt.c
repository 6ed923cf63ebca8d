/* The guest's page tables (AMD64 APM vol. 2, 5.3). Written by the host only.
 *
 * PVM shadows these tables and does not see our writes. Two rules make that sound: an entry only ever maps an
 * address to itself, so a stale shadow can be wrong in its rights but never in its page; and whoever takes rights
 * away changes the host mapping of the same range, which makes KVM drop its shadow. For the same reason a page
 * table, once bound to a 2 MiB block, serves no other. On VMX and SVM the same host change flushes the TLB. */
#include "tv.h"

#define P_PRESENT 1ull
#define P_WRITE 2ull
#define P_USER 4ull
#define P_AD 0x60ull /* accessed and dirty: set now, so that no walk has to write them */
#define P_LARGE 0x80ull
#define P_NX (1ull << 63)
#define P_ADDR 0x000ffffffffff000ull

static uint64_t *at(struct tv_vm *vm, uint64_t gpa) { return (uint64_t *)(vm->mem.base + gpa); }
static void put(uint64_t *e, uint64_t v) { __atomic_store_n(e, v, __ATOMIC_RELEASE); }

static uint64_t bits(int prot) {
    if (!prot) return 0;
    return P_PRESENT | P_USER | P_AD | (prot & 2 ? P_WRITE : 0) | (prot & 4 ? 0 : P_NX);
}

/* The page directory of a GiB, or NULL if there is none (make: and no memory for one). */
static uint64_t *directory(struct tv_vm *vm, uint64_t addr, bool make) {
    uint64_t *pdpt = at(vm, TV_SYS_TABLES + PG), *e = &pdpt[addr >> 30 & 511];
    if (!*e) {
        uint64_t t = make ? mem_table(vm) : 0;
        if (!t) return NULL;
        put(e, t | P_PRESENT | P_WRITE | P_USER | P_AD);
    }
    return at(vm, *e & P_ADDR);
}

/* The page table bound to the block of addr; a large entry is broken up into it. */
static uint64_t *table(struct tv_vm *vm, uint64_t *pd, uint64_t addr) {
    uint64_t *e = &pd[addr >> 21 & 511];
    uint32_t *bound = &vm->mem.pt_of[addr >> 21];
    if (*e && !(*e & P_LARGE)) return at(vm, *e & P_ADDR);
    if (!*bound) {
        uint64_t t = mem_table(vm);
        if (!t) return NULL;
        *bound = (uint32_t)(t >> 12);
    }
    uint64_t *pt = at(vm, (uint64_t)*bound << 12);
    uint64_t first = *e ? (*e & ~P_LARGE) : 0;
    for (int i = 0; i < 512; i++) put(&pt[i], first ? first + (uint64_t)i * PG : 0);
    put(e, (uint64_t)*bound << 12 | P_PRESENT | P_WRITE | P_USER | P_AD);
    return pt;
}

int pt_map(struct tv_vm *vm, gva start, gva end, int prot, bool large) {
    uint64_t b = bits(prot);
    gva first = start;
    int r = mem_slot(vm, start, end);
    if (r) return r;
    while (start < end) {
        gva stop = (start | (HUGE - 1)) + 1;
        if (stop > end) stop = end;
        uint64_t *pd = directory(vm, start, true);
        if (!pd) return -ENOMEM;
        if (large && stop - start == HUGE) {
            put(&pd[start >> 21 & 511], start | b | P_LARGE);
        } else {
            uint64_t *pt = table(vm, pd, start);
            if (!pt) return -ENOMEM;
            for (gva a = start; a < stop; a += PG) put(&pt[a >> 12 & 511], a | b);
        }
        start = stop;
    }
    if (vm->debug) debug_pages(vm, first, end);
    return 0;
}

void pt_protect(struct tv_vm *vm, gva start, gva end, int prot) {
    uint64_t b = bits(prot);
    while (start < end) {
        uint64_t *pd = directory(vm, start, false);
        if (!pd) {
            start = (start | (GIB - 1)) + 1;
            continue;
        }
        gva stop = (start | (HUGE - 1)) + 1;
        if (stop > end) stop = end;
        uint64_t *e = &pd[start >> 21 & 511];
        if (*e && (*e & P_LARGE) && stop - start == HUGE) {
            put(e, b ? start | b | P_LARGE : 0);
        } else if (*e) {
            uint64_t *pt = table(vm, pd, start);
            for (gva a = start; pt && a < stop; a += PG)
                if (pt[a >> 12 & 511]) put(&pt[a >> 12 & 511], b ? a | b : 0);
        }
        start = stop;
    }
}

int pt_map_phys(struct tv_vm *vm, gva va, uint64_t gpa, int prot) {
    uint64_t *pd = directory(vm, va, true), *pt = pd ? table(vm, pd, va) : NULL;
    if (!pt) return -ENOMEM;
    put(&pt[va >> 12 & 511], gpa | bits(prot));
    return 0;
}

/* The root, and the ring-0 pages: system page read-only executable, stack page writable, both supervisor. */
int pt_system(struct tv_vm *vm) {
    uint64_t *pml4 = at(vm, TV_SYS_TABLES);
    put(pml4, (TV_SYS_TABLES + PG) | P_PRESENT | P_WRITE | P_USER | P_AD);
    uint64_t *pd = directory(vm, 0, true), *pt = pd ? table(vm, pd, 0) : NULL;
    if (!pt) return -ENOMEM;
    put(&pt[TV_SYS_GDT >> 12], TV_SYS_GDT | P_PRESENT | P_AD);
    put(&pt[TV_SYS_LSTAR >> 12], TV_SYS_LSTAR | bits(5));
    put(&pt[(TV_SYS_STACK - PG) >> 12], (TV_SYS_STACK - PG) | P_PRESENT | P_WRITE | P_AD | P_NX);
    return 0;
}

int pt_system_page(struct tv_vm *vm, uint64_t page) {
    int r = mem_slot(vm, page, page + PG);
    uint64_t *pd = r ? NULL : directory(vm, page, true), *pt = pd ? table(vm, pd, page) : NULL;
    if (!pt) return r ? r : -ENOMEM;
    put(&pt[page >> 12 & 511], page | P_PRESENT | P_WRITE | P_AD | P_NX);
    return 0;
}
