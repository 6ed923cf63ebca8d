/* Time without an exit: the host's own vDSO, copied, beside the host's vvar pages in a read-only memslot. Its code reads
 * the TSC, which is the host's in the guest (always on PVM, by KVM_VCPU_TSC_OFFSET = 0 elsewhere), so a clock is exact
 * and never drifts. What the vDSO hands to a real syscall ends in the LSTAR net. vdso(7). */
#include "tv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_PIECES 4
#define MAX_VVAR (64 * PG)

struct piece { uint64_t start, end; bool code; };
static struct piece host_piece[MAX_PIECES];
static int host_pieces = -1;

/* [vvar], [vvar_vclock] (Linux 6.13) and [vdso], which are neighbours in this order. */
int vdso_find(void) {
    if (host_pieces >= 0) return host_pieces;
    host_pieces = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    if (!f) return 0;
    char line[512];
    int n = 0;
    while (n < MAX_PIECES && fgets(line, sizeof line, f)) {
        uint64_t s, e;
        bool code = strstr(line, "[vdso]");
        if ((code || strstr(line, "[vvar")) && sscanf(line, "%lx-%lx", &s, &e) == 2 && (!n || host_piece[n - 1].end == s))
            host_piece[n++] = (struct piece){s, e, code};
    }
    fclose(f);
    if (n >= 2 && host_piece[n - 1].code && host_piece[n - 1].end - host_piece[0].start <= MAX_VVAR) host_pieces = n;
    return host_pieces;
}

/* The memslot of the vvar pages; its guest-physical place is the end of the window. */
int vdso_slots(struct tv_vm *vm) {
    uint64_t gpa = vm->mem.limit - HUGE;
    if (!vm->vdso || vm->vvar_slot) return 0;
    vm->vvar_slot = true;
    uint64_t start = host_piece[0].start, end = host_piece[host_pieces - 1].start; /* the code comes last */
    vm->stats.slots++;
    return cpu_vm_memory(vm->hw, vm->mem.next_slot++, gpa, end - start, (void *)start, true);
}

int vdso_map(struct tv_vm *vm, gva at) {
    int n = vdso_find(), r = 0;
    if (!n) return -ENOENT;
    if (!(vm->hw->features & CPUF_READONLY) || !(vm->hw->features & CPUF_TSC_ZERO)) return -ENOTSUP;
    uint64_t first = host_piece[0].start, gpa = vm->mem.limit - HUGE;
    for (int i = 0; i < n && !r; i++) {
        struct piece *p = &host_piece[i];
        gva va = at + (p->start - first);
        uint64_t len = p->end - p->start;
        if (!p->code) {
            r = vma_set(&vm->mem, va, va + len, PROT_READ, VMA_VDSO);
            for (uint64_t o = 0; !r && o < len; o += PG) r = pt_map_phys(vm, va + o, gpa + o, PROT_READ);
            gpa += len;
            continue;
        }
        r = map_anon(vm, va, va + len, PROT_READ | PROT_WRITE, VMA_IMAGE);
        if (r) break;
        memcpy(vm->mem.base + va, (void *)p->start, len);
        if (mprotect(vm->mem.base + va, len, PROT_READ)) return -errno;
        r = map_enter(vm, va, va + len, PROT_READ | PROT_EXEC, VMA_IMAGE | VMA_TEXT);
        vm->vdso = va;
        vm->vdso_end = va + len;
    }
    if (!r) r = vdso_slots(vm);
    if (r) vm->vdso = 0;
    return r;
}
