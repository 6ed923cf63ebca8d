/* Which addresses are syscall sites: a hash set, filled at load, looked up at every exit. */
#include "tv.h"

#include <stdlib.h>

static void place(struct site_table *t, uint64_t addr, uint8_t val) {
    size_t i = (addr * 0x9e3779b97f4a7c15ull >> 32) & t->mask;
    while (t->key[i] && t->key[i] != addr) i = (i + 1) & t->mask;
    if (!t->key[i]) t->n++;
    __atomic_store_n(&t->val[i], val, __ATOMIC_RELAXED);
    __atomic_store_n(&t->key[i], addr, __ATOMIC_RELEASE);
}

/* Callers hold vm->mm. */
int site_put(struct tv_sites *s, uint64_t addr, int val) {
    struct site_table *t = s->now;
    if (!addr) return -EINVAL;
    if (!t || t->n * 2 > t->mask) {
        size_t cap = t ? (t->mask + 1) * 4 : 1024;
        struct site_table *big = calloc(1, sizeof *big + cap * (sizeof *big->key + 1));
        if (!big) return -ENOMEM;
        big->mask = cap - 1;
        big->val = (uint8_t *)(big->key + cap);
        big->older = t;
        for (size_t i = 0; t && i <= t->mask; i++)
            if (t->key[i]) place(big, t->key[i], t->val[i]);
        __atomic_store_n(&s->now, big, __ATOMIC_RELEASE);
        t = big;
    }
    place(t, addr, (uint8_t)val);
    return 0;
}

void site_free(struct tv_sites *s) {
    for (struct site_table *t = s->now, *next; t; t = next) {
        next = t->older;
        free(t);
    }
    s->now = NULL;
}
