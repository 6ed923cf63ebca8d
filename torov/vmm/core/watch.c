/* A debugger's view of guest memory: breakpoints, watchpoints, the program's own bytes.
 *
 * A breakpoint is 0xCC, written through the host mapping. A watchpoint takes the right away from its page in the guest's page tables
 * only (the host's calls go on writing there); who faults makes the one instruction with the right given back. Debug registers would
 * not do: they fire on VMX and SVM, not on every KVM. */
#include "debug.h"

#include <stdlib.h>
#include <sys/mman.h>

static struct breakpoint *find(const struct tv_debug *d, gva at) {
    for (size_t i = 0; i < d->nbp; i++)
        if (d->bp[i].at == at) return &d->bp[i];
    return NULL;
}

bool break_at(const struct tv_vm *vm, gva at) { return find(vm->debug, at); }

/* The bytes as the program's file has them: without breakpoints, and `syscall` where it was patched. */
long memory_view(struct tv_vm *vm, void *dst, gva at, uint64_t len) {
    uint8_t *b = dst, next;
    uint64_t n = 0;
    while (n < len) { /* page by page: it may end just before one that cannot be read */
        uint64_t part = PG - ((at + n) & PG_MASK);
        if (part > len - n) part = len - n;
        if (tv_copy_in(vm, b + n, at + n, part)) break;
        n += part;
    }
    for (size_t i = 0; i < vm->debug->nbp; i++)
        if (vm->debug->bp[i].at - at < n) b[vm->debug->bp[i].at - at] = vm->debug->bp[i].byte;
    for (uint64_t i = 0; i < n; i++) {
        if (b[i] == 0xe7 && site_get(&vm->sites, at + i) == SITE_PATCHED) {
            if ((i + 1 < n ? b[i + 1] : !tv_copy_in(vm, &next, at + i + 1, 1) ? next : 0) != TV_PORT_CALL) continue;
            b[i] = 0x0f;
            if (++i < n) b[i] = 0x05;
        } else if (!i && b[0] == TV_PORT_CALL && site_get(&vm->sites, at - 1) == SITE_PATCHED) {
            b[0] = 0x05;
        }
    }
    return (long)n;
}

/* Memory that the guest itself may not write is written for the moment, as a debugger does by ptrace(2). Under vm->mm. */
static int poke(struct tv_vm *vm, gva at, const uint8_t *src, uint64_t len) {
    while (len) {
        gva page = PG_DOWN(at);
        uint64_t part = page + PG - at < len ? page + PG - at : len;
        struct tv_vma *v = vma_find(&vm->mem, at);
        if (!v || v->flags & VMA_VDSO) return -EFAULT;
        uint8_t *p = vm->mem.base + page;
        bool closed = host_prot(v->prot) != (PROT_READ | PROT_WRITE);
        if (closed && mprotect(p, PG, PROT_READ | PROT_WRITE)) return -errno;
        int r = tv_copy_out(vm, at, src, part);
        if (closed) mprotect(p, PG, host_prot(v->prot)); /* which makes KVM look again, too */
        if (r) return r;
        at += part, src += part, len -= part;
    }
    return 0;
}

int memory_poke(struct tv_vm *vm, gva at, const void *src, uint64_t len) {
    struct tv_debug *d = vm->debug;
    pthread_mutex_lock(&vm->mm);
    int r = poke(vm, at, src, len);
    for (size_t i = 0; !r && i < d->nbp; i++) { /* a breakpoint stays, over the new byte */
        struct breakpoint *b = &d->bp[i];
        if (b->at - at >= len) continue;
        b->byte = ((const uint8_t *)src)[b->at - at];
        r = poke(vm, b->at, (const uint8_t[]){0xcc}, 1);
    }
    pthread_mutex_unlock(&vm->mm);
    return r;
}

static int insert(struct tv_vm *vm, struct breakpoint *b) { /* the byte is read each time: a site may have been patched meanwhile */
    uint8_t byte;
    if (tv_copy_in(vm, &byte, b->at, 1)) return -EFAULT;
    int r = poke(vm, b->at, (const uint8_t[]){0xcc}, 1);
    if (!r) b->byte = byte;
    return r;
}

int break_set(struct tv_vm *vm, gva at, bool set) {
    struct tv_debug *d = vm->debug;
    int r = 0;
    pthread_mutex_lock(&vm->mm);
    struct breakpoint *b = find(d, at);
    if (set && !b) {
        if (d->nbp == d->bp_room) {
            struct breakpoint *more = d->nbp < 65536 ? realloc(d->bp, (d->nbp * 2 + 16) * sizeof *more) : NULL;
            if (!more) r = -ENOMEM;
            else d->bp = more, d->bp_room = d->nbp * 2 + 16;
        }
        if (!r) {
            b = &d->bp[d->nbp];
            b->at = at;
            if (!(r = insert(vm, b))) d->nbp++;
        }
    } else if (!set && b) {
        poke(vm, at, &b->byte, 1); /* it may have been unmapped */
        *b = d->bp[--d->nbp];
    }
    pthread_mutex_unlock(&vm->mm);
    return r;
}

void break_lift(struct tv_vm *vm, gva at, bool lift) {
    pthread_mutex_lock(&vm->mm);
    struct breakpoint *b = find(vm->debug, at);
    if (b && lift) poke(vm, at, &b->byte, 1);
    else if (b) insert(vm, b);
    pthread_mutex_unlock(&vm->mm);
}

static int without(int prot, int kind) { return kind == DEBUG_WATCH_WRITE ? prot & ~2 : 0; }

/* KVM forgets what it knew of a page when the host's mapping of it changes. The host's own rights must not lack meanwhile: another
 * thread may be in read(2). Where the host lets no page be executable, they do, for as long as the call takes. */
static void forget(struct tv_vm *vm, gva page, int prot) {
    uint8_t *p = vm->mem.base + page;
    if (!host_prot(prot)) return;
    if (mprotect(p, PG, host_prot(prot) | PROT_EXEC)) mprotect(p, PG, PROT_NONE);
    mprotect(p, PG, host_prot(prot));
}

/* The rights that watched pages in [start, end) have for the guest. Under vm->mm. */
static void restrict_pages(struct tv_vm *vm, gva start, gva end) {
    struct tv_debug *d = vm->debug;
    for (int i = 0; i < d->nwatch; i++) {
        const struct watchpoint *w = &d->watch[i];
        for (gva page = PG_DOWN(w->at); page < w->at + w->len; page += PG) {
            struct tv_vma *v = page >= PG_DOWN(start) && page < end ? vma_find(&vm->mem, page) : NULL;
            if (!v) continue;
            int prot = v->prot;
            for (int k = 0; k < d->nwatch; k++)
                if (PG_DOWN(d->watch[k].at) <= page && page < d->watch[k].at + d->watch[k].len) prot = without(prot, d->watch[k].kind);
            pt_protect(vm, page, page + PG, prot);
            forget(vm, page, v->prot);
        }
    }
}

static void enforce(struct tv_vm *vm) { restrict_pages(vm, 0, ~0ull); }

/* Rights were given to the pages: not to those, unless it is for the one access. */
void debug_pages(struct tv_vm *vm, gva start, gva end) {
    if (!vm->debug->lifted) restrict_pages(vm, start, end);
}

static void give_back(struct tv_vm *vm, const struct watchpoint *w) {
    for (gva page = PG_DOWN(w->at); page < w->at + w->len; page += PG) {
        struct tv_vma *v = vma_find(&vm->mem, page);
        if (v && v->prot && !(v->flags & VMA_FILE && tv_touch(vm, page))) pt_map(vm, page, page + PG, v->prot, false);
    }
}

int watch_set(struct tv_vm *vm, gva at, uint64_t len, int kind, bool set) {
    struct tv_debug *d = vm->debug;
    int r = 0, i = 0;
    if (!len || len > WATCH_MOST || kind < 0 || kind > DEBUG_WATCH_ACCESS) return -EINVAL;
    pthread_mutex_lock(&vm->mm);
    while (i < d->nwatch && (d->watch[i].at != at || d->watch[i].len != len || d->watch[i].kind != kind)) i++;
    struct watchpoint *w = &d->watch[i];
    if (set && i == d->nwatch) {
        if (i == WATCHES) r = -ENOSPC;
        else if (!(w->was = malloc(len))) r = -ENOMEM;
        else if (tv_copy_in(vm, w->was, at, len)) r = -EFAULT, free(w->was);
        else w->at = at, w->len = (uint32_t)len, w->kind = kind, d->nwatch++, enforce(vm);
    } else if (!set && i < d->nwatch) {
        struct watchpoint gone = *w;
        *w = d->watch[--d->nwatch];
        give_back(vm, &gone);
        enforce(vm);
        free(gone.was);
    }
    pthread_mutex_unlock(&vm->mm);
    return r;
}

/* What the instruction did: the watchpoint that it hit, or NULL. */
static struct watchpoint *hit(struct tv_vm *vm, gva addr, bool write) {
    struct tv_debug *d = vm->debug;
    struct watchpoint *found = NULL;
    uint8_t now[WATCH_MOST];
    for (int i = 0; i < d->nwatch; i++) {
        struct watchpoint *w = &d->watch[i];
        bool same = tv_copy_in(vm, now, w->at, w->len) || !memcmp(now, w->was, w->len), touched = addr - w->at < w->len;
        if (!same) memcpy(w->was, now, w->len);
        if (w->kind == DEBUG_WATCH_WRITE ? !same : w->kind == DEBUG_WATCH_READ ? touched && !write : touched || !same) found = w;
    }
    return found;
}

/* While one thread makes an access with the right given back, no other is in the guest: what it did there would not be seen. Threads
 * in a call are left in it, and look when they come back. */
static void alone(struct tv_vm *vm) {
    struct tv_debug *d = vm->debug;
    uint64_t until = tv_now() + 3000000000ull;
    for (bool mine = false; !mine;) {
        debug_aside(vm);
        pthread_mutex_lock(&vm->lock);
        mine = !d->alone || d->alone == tv_me || tv_me->proc->end.kind; /* or it was taken in between */
        if (!mine) pthread_mutex_unlock(&vm->lock);
    }
    d->alone = tv_me;
    d->lifted++;
    for (int left = 1; left && tv_now() < until;) {
        left = 0;
        for (struct tv_thread *t = thread_after(vm, NULL); t; t = thread_after(vm, t))
            if (thread_runs(t) && !t->in_call) left++, sig_kick(t);
        if (left) thread_await(vm);
    }
    pthread_mutex_unlock(&vm->lock);
}

void debug_yield(struct tv_vm *vm) {
    if (vm->debug->alone == tv_me) vm->debug->alone = NULL;
}

static void together(struct tv_vm *vm) {
    pthread_mutex_lock(&vm->lock);
    vm->debug->lifted--;
    if (!vm->debug->lifted) debug_yield(vm);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

void debug_aside(struct tv_vm *vm) {
    struct tv_debug *d = vm->debug;
    struct tv_thread *t = tv_me;
    pthread_mutex_lock(&vm->lock);
    while (d->alone && d->alone != t && !t->proc->end.kind) {
        t->parked = THREAD_ASIDE;
        pthread_cond_broadcast(&vm->changed);
        pthread_cond_wait(&vm->changed, &vm->lock);
    }
    t->parked = 0;
    t->in_call = false;
    pthread_mutex_unlock(&vm->lock);
}

/* A fault of tv_me: is it a watchpoint's? Then its instruction is made, and the fault is over. */
bool debug_fault(struct tv_vm *vm, gva addr, uint64_t error) {
    struct tv_debug *d = vm->debug;
    struct tv_thread *t = tv_me;
    bool watched = false, made = false;
    pthread_mutex_lock(&vm->mm);
    for (int i = 0; i < d->nwatch; i++) watched |= PG_DOWN(addr) >= PG_DOWN(d->watch[i].at) && addr < PG_UP(d->watch[i].at + d->watch[i].len);
    pthread_mutex_unlock(&vm->mm);
    if (!watched) return false;
    alone(vm);
    pthread_mutex_lock(&vm->mm);
    bool ours = mem_fault(vm, addr, error) == FAULT_RETRY; /* else it is the guest's own fault */
    pthread_mutex_unlock(&vm->mm);
    for (int i = 0; ours && !made && i < 64 && !t->attention; i++) made = debug_one(vm); /* it may touch other pages for the first time */
    if (made && t->saved) t->saved->stepped = true;
    pthread_mutex_lock(&vm->mm);
    struct watchpoint *found = made ? hit(vm, addr, error & 2) : NULL, it = found ? *found : (struct watchpoint){0};
    if (d->lifted == 1) enforce(vm);
    pthread_mutex_unlock(&vm->mm);
    together(vm);
    if (found) debug_tell(vm, DEBUG_WATCHED, (uint64_t)it.kind, it.at, NULL);
    return ours;
}

void debug_clear(struct tv_vm *vm) {
    struct tv_debug *d = vm->debug;
    while (d->nbp) break_set(vm, d->bp[d->nbp - 1].at, false);
    while (d->nwatch) {
        struct watchpoint w = d->watch[d->nwatch - 1];
        watch_set(vm, w.at, w.len, w.kind, false);
    }
}
