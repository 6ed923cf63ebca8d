/* Many mappings, and mappings larger than the machine. */
#include "guest.h"
#include "memory.h"

int main(void) {
    enum { MANY = 20000 };
    catch();
    char *reserve = get(300ul << 30, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    printf("reserved: read %d\n", reads(reserve + (150ul << 30)));
    for (int i = 0; i < 300; i += 50) need(mprotect(reserve + ((uint64_t)i << 30) + PAGE, PAGE, RW) == 0, "mprotect");
    for (int i = 0; i < 300; i += 50) {
        char *p = reserve + ((uint64_t)i << 30) + PAGE;
        *p = (char)i;
        need(*p == (char)i && reads(p - 1) == SIGSEGV * 100 + 2 && reads(p + PAGE) == SIGSEGV * 100 + 2, "committed page");
    }
    char *sparse = get(64ul << 30, RW, ANON | MAP_NORESERVE, -1, 0);
    for (uint64_t i = 0; i < 64; i++) *(uint64_t *)(sparse + (i << 30) + i * PAGE) = i;
    uint64_t total = 0;
    for (uint64_t i = 0; i < 64; i++) total += *(uint64_t *)(sparse + (i << 30) + i * PAGE) + *(uint64_t *)(sparse + (i << 30) + (i + 1) * PAGE);
    printf("sparse: %lu\n", total);
    need(munmap(sparse, 64ul << 30) == 0 && munmap(reserve, 300ul << 30) == 0, "munmap");
    printf("gone: %d %d\n", reads(sparse), reads(reserve + PAGE));
    static char *p[MANY];
    for (int i = 0; i < MANY; i++) { /* neighbours differ, so that none merge */
        p[i] = get(PAGE, i & 1 ? RW : PROT_READ, ANON, -1, 0);
        if (i & 1) *p[i] = (char)i;
    }
    int good = 0;
    for (int i = 0; i < MANY; i++) good += *p[i] == (i & 1 ? (char)i : 0);
    printf("many: %d\n", good);
    for (int i = 0; i < MANY; i += 2) need(munmap(p[i], PAGE) == 0, "munmap");
    good = 0;
    for (int i = 1; i < MANY; i += 2) good += *p[i] == (char)i;
    for (int i = 0; i < MANY; i += 1000) good += reads(p[i]) == SIGSEGV * 100 + 1;
    printf("half: %d\n", good);
    return 0;
}
