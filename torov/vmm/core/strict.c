/* Strict mode: a call is made only where the program has it. The table comes from torov/strict.py: for each syscall instruction of
 * the file the numbers that can reach it. */
#include <stdlib.h>

#include "text.h"

struct strict_head { char magic[8]; uint32_t size, nsites, nsets, sites, index, sets; };
#define ANY 0xffff

static bool fits(uint32_t size, uint32_t off, uint64_t n, uint64_t each, unsigned align) {
    return off >= sizeof(struct strict_head) && off % align == 0 && off + n * each <= size;
}

/* Copies a table and looks at it once. */
int strict_set(struct tv_vm *vm, const void *table, uint32_t size) {
    const struct strict_head *h = table;
    if (size < sizeof *h || memcmp(h->magic, "TOROVST1", 8) || h->size != size || !fits(size, h->sites, h->nsites, 8, 8) ||
        !fits(size, h->index, h->nsites, 2, 2) || !fits(size, h->sets, h->nsets, 64, 1)) return -EINVAL;
    if (!(vm->strict = malloc(size))) return -ENOMEM;
    memcpy(vm->strict, table, size);
    return 0;
}

/* What the vDSO itself asks the kernel for: vdso(7). */
static bool of_vdso(long nr) { return nr == 228 || nr == 229 || nr == 96 || nr == 201 || nr == 309 || nr == 318; }

bool strict_allows(const struct tv_vm *vm, gva site, long nr) {
    const struct strict_head *h = (const void *)vm->strict;
    if (vm->vdso && site >= vm->vdso && site < vm->vdso_end) return of_vdso(nr);
    const uint64_t *at = (const void *)(vm->strict + h->sites);
    const uint16_t *index = (const void *)(vm->strict + h->index);
    uint64_t lo = 0, hi = h->nsites, want = site - vm->image_bias;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        if (at[mid] < want) lo = mid + 1;
        else hi = mid;
    }
    if (lo == h->nsites || at[lo] != want) return false;
    if (index[lo] == ANY) return true;
    return index[lo] < h->nsets && nr < 512 && vm->strict[h->sets + 64u * index[lo] + (unsigned)nr / 8] >> (nr & 7) & 1;
}

void strict_kill(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site) {
    struct line l = {.n = 0};
    struct tv_stop s = {.kind = TV_KILLED, .nr = nr, .rip = site, .addr = site};
    struct decision d = {POL_KILL, EPERM, -1, 0};
    add_call(&l, vm, c, nr, a);
    memcpy(s.text, l.text, l.n < sizeof s.text ? l.n : sizeof s.text - 1);
    l.n = 0;
    add(&l, "strict: the program has no such call at "), add_hex(&l, site);
    memcpy(s.label, l.text, l.n < sizeof s.label ? l.n : sizeof s.label - 1);
    note_audit(vm, c, nr, a, site, &d, s.label);
    vm_end(vm, s);
}
