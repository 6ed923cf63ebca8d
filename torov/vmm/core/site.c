/* Which addresses are syscall sites: a hash set, filled at load, looked up at every exit. */
#include "tv.h"

#include <stdlib.h>

static void place(struct tv_sites *s, uint64_t addr, uint8_t val) {
    size_t i = (addr * 0x9e3779b97f4a7c15ull >> 32) & s->mask;
    while (s->key[i] && s->key[i] != addr) i = (i + 1) & s->mask;
    if (!s->key[i]) s->n++;
    s->key[i] = addr;
    s->val[i] = val;
}

int site_put(struct tv_sites *s, uint64_t addr, int val) {
    if (!addr) return -EINVAL;
    if (!s->key || s->n * 2 > s->mask) {
        struct tv_sites old = *s;
        size_t cap = s->key ? (s->mask + 1) * 4 : 1024;
        uint64_t *key = calloc(cap, sizeof *key);
        uint8_t *v = calloc(cap, 1);
        if (!key || !v) { free(key); free(v); return -ENOMEM; }
        *s = (struct tv_sites){.key = key, .val = v, .mask = cap - 1};
        for (size_t i = 0; old.key && i <= old.mask; i++)
            if (old.key[i]) place(s, old.key[i], old.val[i]);
        free(old.key);
        free(old.val);
    }
    place(s, addr, (uint8_t)val);
    return 0;
}
