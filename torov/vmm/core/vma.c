/* The guest's mappings: a sorted array. A lookup is a bisection; an insertion moves at most 65,530 short rows. */
#include "tv.h"

#include <stdlib.h>

#define VMA_MAX 65530 /* vm.max_map_count */

size_t vma_lower(const struct tv_mem *m, gva addr) {
    size_t lo = 0, hi = m->nvma;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (m->vma[mid].end <= addr) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

struct tv_vma *vma_find(struct tv_mem *m, gva addr) {
    size_t i = vma_lower(m, addr);
    return i < m->nvma && m->vma[i].start <= addr ? &m->vma[i] : NULL;
}

bool vma_free(const struct tv_mem *m, gva start, gva end) {
    size_t i = vma_lower(m, start);
    return i == m->nvma || m->vma[i].start >= end;
}

static int room(struct tv_mem *m, size_t more) {
    if (m->nvma + more <= m->cap) return 0;
    if (m->nvma + more > VMA_MAX) return -ENOMEM;
    size_t cap = m->cap ? m->cap * 2 : 64;
    struct tv_vma *v = realloc(m->vma, cap * sizeof *v);
    if (!v) return -ENOMEM;
    m->vma = v;
    m->cap = cap;
    return 0;
}

int vma_split(struct tv_mem *m, gva at) {
    size_t i = vma_lower(m, at);
    if (i == m->nvma || m->vma[i].start >= at) return 0;
    int r = room(m, 1);
    if (r) return r;
    memmove(&m->vma[i + 1], &m->vma[i], (m->nvma - i) * sizeof *m->vma);
    m->nvma++;
    m->vma[i].end = m->vma[i + 1].start = at;
    return 0;
}

int vma_clear(struct tv_mem *m, gva start, gva end) {
    int r = vma_split(m, start);
    if (!r) r = vma_split(m, end);
    if (r) return r;
    size_t from = vma_lower(m, start), to = from;
    while (to < m->nvma && m->vma[to].start < end) to++;
    memmove(&m->vma[from], &m->vma[to], (m->nvma - to) * sizeof *m->vma);
    m->nvma -= to - from;
    return 0;
}

/* Joins equal neighbours among the rows from..to. File mappings stay apart: their offsets would have to match. */
void vma_merge(struct tv_mem *m, size_t from, size_t to) {
    if (from) from--;
    size_t out = from;
    if (m->nvma == 0) return;
    if (to >= m->nvma) to = m->nvma - 1;
    for (size_t i = from + 1; i <= to; i++) {
        struct tv_vma *a = &m->vma[out], *b = &m->vma[i];
        if (a->end == b->start && a->prot == b->prot && a->flags == b->flags && !(a->flags & (VMA_FILE | VMA_SHARED)))
            a->end = b->end;
        else
            m->vma[++out] = *b;
    }
    if (out < to) {
        memmove(&m->vma[out + 1], &m->vma[to + 1], (m->nvma - to - 1) * sizeof *m->vma);
        m->nvma -= to - out;
    }
}

int vma_set(struct tv_mem *m, gva start, gva end, int prot, int flags) {
    int r = room(m, 3); /* two splits and the row itself: nothing below can fail */
    if (!r) r = vma_clear(m, start, end);
    if (r) return r;
    size_t i = vma_lower(m, start);
    memmove(&m->vma[i + 1], &m->vma[i], (m->nvma - i) * sizeof *m->vma);
    m->nvma++;
    if (prot & 2) flags |= VMA_WRITTEN;
    m->vma[i] = (struct tv_vma){start, end, (uint16_t)prot, (uint16_t)flags};
    vma_merge(m, i, i + 1);
    return 0;
}

gva vma_place(struct tv_mem *m, uint64_t len, uint64_t align, gva lo, gva hi) {
    gva at = (lo + align - 1) & ~(align - 1);
    for (size_t i = vma_lower(m, lo); ; i++) {
        gva limit = i < m->nvma ? m->vma[i].start : hi;
        if (limit > hi) limit = hi;
        if (at < limit && limit - at >= len) return at;
        if (i >= m->nvma || m->vma[i].end >= hi) return 0;
        gva next = (m->vma[i].end + align - 1) & ~(align - 1);
        if (next > at) at = next;
    }
}
