/* Random mmap, munmap, mprotect, mremap, madvise against a model of what each page should be. */
#include "guest.h"
#include "memory.h"

#define PAGES 1536l /* three blocks of 2 MiB */
#define BASE 0x5000000000ul
static struct { signed char prot; uint32_t value; } model[PAGES]; /* prot -1: not mapped */
static char *const area = (char *)BASE;
static uint64_t seed;
static uint32_t next(void) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33);
}
static void wrong(int step, const char *op, long page, const char *what) {
    printf("step %d (%s): page %ld, prot %d: %s\n", step, op, page, model[page].prot, what);
    exit(1);
}
static void check(int step, const char *op, long page) {
    char *p = area + page * (long)PAGE;
    int r = reads(p), w = r || !(model[page].prot & 2) ? -1 : writes(p);
    bool readable = model[page].prot > 0;
    if (!readable && r != SIGSEGV * 100 + (model[page].prot < 0 ? 1 : 2)) wrong(step, op, page, "read of what cannot be read");
    if (readable && r) wrong(step, op, page, "cannot be read");
    if (readable && *(volatile uint32_t *)p != model[page].value) wrong(step, op, page, "contents");
    if (readable && model[page].prot & 2 && w) wrong(step, op, page, "cannot be written");
    if (readable && !(model[page].prot & 2) && writes(p) != SIGSEGV * 100 + 2) wrong(step, op, page, "write of what cannot be written");
    if (sys_reads(p) != (readable ? 1 : -EFAULT)) wrong(step, op, page, "as the kernel reads it");
}

int main(int argc, char **argv) {
    int steps = argc > 1 ? atoi(argv[1]) : 10000, done[6] = {0};
    seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    catch();
    for (long i = 0; i < PAGES; i++) model[i].prot = -1;
    for (int step = 0; step < steps; step++) {
        long n = next() % 8 ? 1 + next() % 24 : 1 + next() % 700, from = next() % (PAGES - n + 1), to = next() % (PAGES - n + 1);
        static const int prots[] = {0, 1, 3, 3, 3};
        int prot = prots[next() % 5], op = next() % 6;
        char *p = area + from * (long)PAGE;
        const char *names[] = {"mmap", "munmap", "mprotect", "write", "mremap", "madvise"};
        bool whole = true, same = true;
        for (long i = from; i < from + n; i++) whole &= model[i].prot >= 0, same &= model[i].prot == model[from].prot;
        switch (op) {
        case 0:
            need(mmap(p, n * PAGE, prot, ANON | MAP_FIXED, -1, 0) == p, "mmap");
            for (long i = from; i < from + n; i++) model[i].prot = (signed char)prot, model[i].value = 0;
            break;
        case 1:
            need(munmap(p, n * PAGE) == 0, "munmap");
            for (long i = from; i < from + n; i++) model[i].prot = -1;
            break;
        case 2:
            if (mprotect(p, n * PAGE, prot) != (whole ? 0 : -1)) wrong(step, "mprotect", from, "answer");
            for (long i = from; i < from + n && model[i].prot >= 0; i++) model[i].prot = (signed char)prot;
            /* up to the hole */
            break;
        case 3:
            for (long i = from; i < from + n; i++)
                if (model[i].prot > 1) *(uint32_t *)(area + i * (long)PAGE) = model[i].value = next();
            break;
        case 4: /* a move is only sure of one mapping: one that was made as one is */
            if (labs(to - from) < n) break;
            if (!same || model[from].prot < 0) break;
            if (mremap(p, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + to * (long)PAGE) == MAP_FAILED) break;
            for (long i = 0; i < n; i++) model[to + i] = model[from + i], model[from + i].prot = -1;
            break;
        case 5:
            if (madvise(p, n * PAGE, MADV_DONTNEED) != (whole ? 0 : -1)) wrong(step, "madvise", from, "answer");
            for (long i = from; i < from + n; i++) model[i].value = 0;
            break;
        }
        done[op]++;
        for (int i = 0; i < 4; i++) check(step, names[op], (from + (long)(next() % (uint32_t)(n + 2)) + PAGES - 1) % PAGES);
        if (step % 1000 == 999)
            for (long i = 0; i < PAGES; i++) check(step, "all", i);
    }
    for (long i = 0; i < PAGES; i++) check(steps, "end", i);
    for (int i = 0; i < 6; i++) need(done[i] > steps / 12, "the mix");
    printf("%d steps\n", steps); /* what mremap refuses depends on which mappings Linux has joined */
    return 0;
}
