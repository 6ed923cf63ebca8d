/* The dispatcher of system calls under libFuzzer, without a virtual machine: the core as it is, but for kvm.c, in whose place cpu.c
 * plays the input. Each input runs in a process of its own, since a guest may close, kill and limit itself as it likes; what must hold
 * for the monitor whatever it does is looked at after each call and at the end. docs/fuzzing.md says what. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/lsan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

#include "image.h" /* generated: the guest */
#include "words.h" /* generated: numbers that calls take, and a policy */

#define LOW 64          /* descriptors of the guest */
#define HIGH 96         /* and of the monitor: as far as is looked */
#define HANG_MS 20000
#define STILL_MS 2

struct shared *shared;
struct tv_vm *fuzz_vm;
const struct input *fuzz_input;
uint8_t *canary;
bool fuzz_serving;
static const char *work = "/tmp/work", *logs = "/tmp/log";
static struct input input;
static uint64_t results[8];
static unsigned nresults;

void fuzz_fail(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    int n = snprintf(shared->why, sizeof shared->why, "call %u: ", shared->nr);
    vsnprintf(shared->why + n, sizeof shared->why - (size_t)n, format, ap);
    va_end(ap);
    syscall(SYS_exit_group, 99);
    __builtin_unreachable();
}

static bool show;
void tell(const char *format, ...) {
    va_list ap;
    if (!show || shared->told >= sizeof shared->log - 1) return;
    va_start(ap, format);
    int n = vsnprintf(shared->log + shared->told, sizeof shared->log - shared->told, format, ap);
    va_end(ap);
    if (n > 0) shared->told += (uint32_t)n;
}

/* Inputs: a mode, then records. What does not fit ends the input. */
static bool take(const uint8_t **p, const uint8_t *end, void *to, size_t n) {
    if ((size_t)(end - *p) < n) return false;
    memcpy(to, *p, n);
    *p += n;
    return true;
}

static void parse(struct input *in, const uint8_t *p, size_t size) {
    const uint8_t *end = p + size;
    uint8_t mode = 0;
    memset(in, 0, sizeof *in);
    take(&p, end, &mode, 1);
    in->mode = mode % MODES;
    while (in->n < RECORDS) {
        struct record *r = &in->r[in->n];
        if (!take(&p, end, &r->tag, 1)) return;
        bool ok = false;
        switch (r->tag) {
        case 'C': ok = take(&p, end, &r->flags, 1) && take(&p, end, &r->nr, 2) && take(&p, end, r->cls, 6) && take(&p, end, r->v, 48); break;
        case 'X': ok = take(&p, end, &r->flags, 1) && take(&p, end, &r->nr, 2) && take(&p, end, r->cls, 4) && take(&p, end, r->v, 32); break;
        case 'R': ok = take(&p, end, r->cls, 1) && take(&p, end, r->v, 8); break;
        case 'W': case 'B':
            ok = take(&p, end, &r->n, 1) && take(&p, end, r->cls, 1) && take(&p, end, r->v, 8);
            if (r->tag == 'W' && r->n > PAYLOAD / 9) r->n = PAYLOAD / 9;
            if (r->n > PAYLOAD) r->n = PAYLOAD;
            ok = ok && take(&p, end, r->data, r->tag == 'W' ? r->n * 9u : r->n);
            break;
        }
        if (!ok) return;
        in->n++;
    }
}

static void put(uint8_t **p, const void *from, size_t n) {
    memcpy(*p, from, n);
    *p += n;
}

static size_t unparse(const struct input *in, uint8_t *to, size_t most) {
    uint8_t *p = to, mode = (uint8_t)in->mode;
    if (most < 1) return 0;
    put(&p, &mode, 1);
    for (int i = 0; i < in->n; i++) {
        const struct record *r = &in->r[i];
        if ((size_t)(p - to) + sizeof *r > most) break;
        put(&p, &r->tag, 1);
        switch (r->tag) {
        case 'C': put(&p, &r->flags, 1), put(&p, &r->nr, 2), put(&p, r->cls, 6), put(&p, r->v, 48); break;
        case 'X': put(&p, &r->flags, 1), put(&p, &r->nr, 2), put(&p, r->cls, 4), put(&p, r->v, 32); break;
        case 'R': put(&p, r->cls, 1), put(&p, r->v, 8); break;
        default: put(&p, &r->n, 1), put(&p, r->cls, 1), put(&p, r->v, 8), put(&p, r->data, r->tag == 'W' ? r->n * 9u : r->n);
        }
    }
    return (size_t)(p - to);
}

void remember(uint64_t result) { results[nresults++ % 8] = result; }

uint64_t resolve(uint8_t cls, uint64_t v, int nr, int arg) {
    const struct tv_vm *vm = fuzz_vm;
    uint64_t base = (uintptr_t)vm->mem.base, top = vm->mem.top;
    switch (cls % CLASSES) {
    case CLS_WINDOW: return WINDOW + v % WINDOW_SIZE;
    case CLS_SLOT: return WINDOW + v % SLOTS * (WINDOW_SIZE / SLOTS);
    case CLS_FD: return v % 20;
    case CLS_HIDDEN: return (uint64_t)(vm->fd_lo + (int)(v % 6)); /* half of them are there */
    case CLS_CANARY: return (uintptr_t)canary + v % 8192;
    case CLS_CANARY_AS_GVA: return (uintptr_t)canary - base + v % 8192;
    case CLS_EDGE: {
        uint64_t edges[] = {0, 1, TV_MIN - 1, TV_MIN, top - 1, top, top - 8, top - PG, vm->mem.limit, vm->mem.limit + TV_GUARD, WINDOW + WINDOW_SIZE - 1,
            WINDOW + WINDOW_SIZE - 8, SITE, SITE & ~PG_MASK, vm->stack_ptr, vm->stack_lo, vm->stack_hi, vm->mem.brk, vm->mem.brk_start, vm->mem.mmap_base,
            vm->vdso, 0x7ffffffff000ull, 0x7fffffffffffull, ~0ull, 1ull << 63, base, base + WINDOW, TV_SYS_GDT, TV_SYS_LSTAR, TV_SYS_IDT,
            1ull << 32, 1ull << 31, (1ull << 31) - 1, (1ull << 32) - 1, 0xffffffffffff0000ull, (uint64_t)-100};
        return edges[v % (sizeof edges / sizeof *edges)];
    }
    case CLS_RESULT: return results[v % 8];
    case CLS_ID: return v % 6 == 0 ? (uint64_t)getpid() : v % 6 == 1 ? (uint64_t)gettid() : v % 6 == 2 ? 0 : v % 6 == 3 ? ~0ull : v % 6 == 4 ? (uint64_t)getppid() : results[nresults % 8];
    case CLS_SMALL: return v % 300;
    case CLS_NEGATIVE: return -(v % 4096);
    case CLS_POWER: return (1ull << (v % 64)) + (v >> 8) % 3 - 1;
    case CLS_WORD: {
        uint32_t first = word_at[nr % ROWS][arg], n = word_n[nr % ROWS][arg];
        if (!n) return v;
        uint64_t word = words[first + v % n];
        return v >> 60 & 1 ? word | words[first + (v >> 20) % n] : word;
    }
    case CLS_END: return WINDOW + WINDOW_SIZE - v % 80;
    default: return v;
    }
}

/* A generator of inputs that make sense more often than bytes do. */
static uint64_t state = 88172645463325252ull;
static uint64_t any(void) { return state ^= state << 13, state ^= state >> 7, state ^= state << 17; }
static uint64_t below(uint64_t n) { return any() % n; }
static bool one_in(uint64_t n) { return !below(n); }

static struct record *add(struct input *in) {
    static struct record spare;
    struct record *r = in->n < RECORDS ? &in->r[in->n++] : &spare;
    memset(r, 0, sizeof *r);
    return r;
}

static const char *const paths[] = {"file", "dir", "dir/inner", "link", "loop", "dangling", "fifo", "new", "dir/new", "secret/key", "secret", "../work/secret/key",
    "to-secret", ".", "..", "/", "", "/proc/self/mem", "/proc/self/fd/5", "/proc/self/fd/64", "/proc/self/fd/65", "/proc/self/fd/66", "/proc/self/exe", "/proc/self/maps",
    "/proc/self/status", "/proc/self/stat", "/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv", "/proc/self/cwd", "/proc/self/root", "/proc/self/task",
    "/proc/self/fd", "/proc/self/limits", "/proc/self/smaps", "/proc/self/statm", "/proc/self/pagemap", "/proc/thread-self/mem", "/proc/self/map_files", "/dev/null", "/dev/zero",
    "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/fd/3", "/dev/stdin", "/bin/true", "script", "prog", "/proc/1/mem", "/proc/self/syscall", "/proc/self/io", "/proc/self/comm",
    "/proc/self/ns/net", "/proc/self/../self/mem", "file/", "dir/../file", "/tmp/work/file", "/tmp/work/secret/key", "/proc/self/cwd/file", "/proc/self/root/tmp/work/file",
    "/proc/self/oom_score_adj", "/proc/sys/kernel/hostname", "/proc/meminfo", "unix", "name"};

static unsigned slot; /* of the call that is made up: its arguments lie side by side */

static void point(struct record *c, int arg, struct record *poke) {
    uint64_t at = slot++ % SLOTS;
    poke->cls[0] = CLS_SLOT, poke->v[0] = at;
    c->cls[arg] = CLS_SLOT, c->v[arg] = at;
    if (one_in(12)) { /* at the end of what is mapped, or cut off by it */
        poke->cls[0] = c->cls[arg] = CLS_END;
        poke->v[0] = c->v[arg] = below(80);
    }
}

static void word(struct record *r, uint8_t cls, uint64_t v) {
    if ((r->n + 1) * 9u > PAYLOAD) return;
    r->data[r->n * 9] = cls;
    memcpy(r->data + r->n * 9 + 1, &v, 8);
    r->n++;
}

static void some_word(struct record *r) {
    static const uint8_t cls[] = {CLS_SMALL, CLS_SMALL, CLS_SMALL, CLS_LITERAL, CLS_SLOT, CLS_SLOT, CLS_EDGE, CLS_POWER, CLS_CANARY, CLS_CANARY_AS_GVA, CLS_FD, CLS_HIDDEN, CLS_ID, CLS_NEGATIVE};
    word(r, cls[below(sizeof cls)], one_in(4) ? 0 : any());
}

static void bytes(struct record *r, const void *from, size_t n) {
    r->tag = 'B';
    r->n = (uint8_t)(n > PAYLOAD ? PAYLOAD : n);
    memcpy(r->data, from, r->n);
}

static size_t path(struct record *r) {
    char text[PAYLOAD];
    const char *p = paths[below(sizeof paths / sizeof *paths)];
    int n = one_in(12) ? snprintf(text, sizeof text, "/proc/self/fd/%d", (int)below(one_in(2) ? 20 : 90)) : snprintf(text, sizeof text, one_in(10) ? "%s/%s" : "%s", p, paths[below(sizeof paths / sizeof *paths)]);
    if (n >= (int)sizeof text) n = sizeof text - 1;
    bytes(r, text, (size_t)n + !one_in(40));
    return (size_t)n;
}

static size_t address(struct record *r) {
    union { struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un; uint8_t raw[112]; } a = {0};
    size_t n = 16;
    switch (below(5)) {
    case 0: a.in.sin_family = AF_INET, a.in.sin_port = htons((uint16_t)(1000 + below(3))), a.in.sin_addr.s_addr = htonl(one_in(3) ? (uint32_t)any() : 0x7f000001); break;
    case 1: a.in6.sin6_family = AF_INET6, a.in6.sin6_port = htons(1000), a.in6.sin6_addr.s6_addr[15] = 1, n = 28; break;
    case 2: a.un.sun_family = AF_UNIX, strcpy(a.un.sun_path, one_in(3) ? "secret/sock" : "unix"), n = 2 + strlen(a.un.sun_path) + below(2); break;
    case 3: a.un.sun_family = AF_UNIX, a.un.sun_path[1] = 'x', n = 2 + below(8); break;
    default: a.in.sin_family = (uint16_t)below(46), n = below(112);
    }
    bytes(r, &a, n);
    return n;
}

static void buffers(struct input *in, struct record *c, int arg, unsigned n) { /* struct iovec */
    struct record *r = add(in);
    r->tag = 'W';
    for (unsigned i = 0; i < n; i++) {
        word(r, one_in(8) ? CLS_EDGE : one_in(8) ? CLS_CANARY_AS_GVA : one_in(8) ? CLS_END : CLS_SLOT, any());
        word(r, one_in(8) ? CLS_POWER : CLS_SMALL, any());
    }
    point(c, arg, r);
}

static void header(struct input *in, struct record *c, int arg, int count) { /* struct msghdr, mmsghdr */
    struct record *a = add(in), *v = add(in), *m = add(in), *h = add(in), at = {0};
    size_t n = address(a);
    point(&at, 0, a);
    v->tag = 'W';
    word(v, CLS_SLOT, any()), word(v, CLS_SMALL, any());
    point(&at, 1, v);
    m->tag = 'W'; /* struct cmsghdr: SCM_RIGHTS, credentials, or anything */
    uint64_t length = one_in(4) ? below(80) : 16 + 4 * below(5);
    word(m, CLS_LITERAL, length), word(m, CLS_LITERAL, one_in(6) ? below(300) : 1 | (one_in(4) ? 2 : 1ull) << 32);
    for (int i = 0; i < 3; i++) word(m, one_in(2) ? CLS_HIDDEN : CLS_FD, any());
    point(&at, 2, m);
    h->tag = 'W';
    for (int i = 0; i < count; i++) {
        word(h, one_in(4) ? CLS_LITERAL : at.cls[0], one_in(4) ? 0 : at.v[0]), word(h, CLS_LITERAL, n);
        word(h, at.cls[1], at.v[1]), word(h, CLS_LITERAL, one_in(6) ? below(1030) : below(3));
        word(h, one_in(3) ? CLS_LITERAL : at.cls[2], one_in(3) ? 0 : at.v[2]), word(h, CLS_LITERAL, one_in(6) ? any() : length);
        word(h, CLS_LITERAL, 0);
        if (count > 1) word(h, CLS_LITERAL, 0);
    }
    point(c, arg, h);
}

static void structure(struct input *in, struct record *c, int arg, unsigned size) {
    struct record *r = add(in);
    unsigned n = size ? (size + 7) / 8 : 1 + (unsigned)below(12);
    r->tag = 'W';
    bool time = (size == 16 || size == 32) && !one_in(4);
    for (unsigned i = 0; i < n && i < PAYLOAD / 9; i++) {
        if (time) word(r, CLS_LITERAL, i & 1 ? below(3000000) : 0); /* soon over */
        else some_word(r);
    }
    point(c, arg, r);
}

static uint64_t a_size(void) { return one_in(6) ? 1ull << below(64) : one_in(3) ? below(5000) : one_in(2) ? 8 : below(64); }

static void add_call(struct input *in, unsigned nr) {
    const struct tv_call *t = &tv_calls[nr % ROWS];
    struct record c = {.tag = 'C', .nr = (uint16_t)nr, .flags = (uint8_t)one_in(50)};
    for (int i = 0; i < 6; i++) { /* numbers first: pointers may set the lengths among them */
        uint8_t hint = i < t->nargs ? word_hint[nr % ROWS][i] : 0;
        if (hint == HINT_PID) c.cls[i] = CLS_ID, c.v[i] = any();
        else if (hint == HINT_SIZE) c.cls[i] = CLS_LITERAL, c.v[i] = a_size();
        else if (hint == HINT_FD) c.cls[i] = one_in(7) ? CLS_HIDDEN : one_in(12) ? CLS_RESULT : CLS_FD, c.v[i] = any();
        else if (hint == HINT_DIR) c.cls[i] = one_in(3) ? CLS_FD : CLS_LITERAL, c.v[i] = c.cls[i] == CLS_FD ? (one_in(2) ? 8 : any()) : (uint64_t)-100;
        else if (i < t->nargs && word_n[nr % ROWS][i] && !one_in(8)) c.cls[i] = CLS_WORD, c.v[i] = any();
        else c.cls[i] = (uint8_t)(one_in(6) ? below(CLASSES) : CLS_SMALL), c.v[i] = one_in(3) ? 0 : any();
    }
    for (int i = 0; i < t->nargs; i++) {
        const struct tv_argspec *s = &t->arg[i];
        uint8_t ref = s->ref & 0x7f;
        if (s->kind == A_NUM || s->kind == A_FD || s->kind == A_ATFD) continue;
        if (one_in(14)) { c.cls[i] = (uint8_t)below(CLASSES), c.v[i] = any(); continue; }
        if (one_in(14)) { c.cls[i] = CLS_LITERAL, c.v[i] = 0; continue; }
        switch (s->kind) {
        case A_PATH: case A_LOOK: case A_STR: {
            struct record *r = add(in);
            path(r);
            point(&c, i, r);
            break;
        }
        case A_SOCKADDR: {
            struct record *r = add(in);
            size_t n = address(r);
            point(&c, i, r);
            if (ref < 6) c.cls[ref] = CLS_LITERAL, c.v[ref] = n;
            break;
        }
        case A_IOVIN: case A_IOVOUT:
            buffers(in, &c, i, 1 + (unsigned)below(4));
            if (ref < 6) c.cls[ref] = CLS_LITERAL, c.v[ref] = one_in(8) ? below(1100) : below(4);
            break;
        case A_MSGIN: case A_MSGOUT: header(in, &c, i, 1); break;
        case A_MMSGIN: case A_MMSGOUT:
            header(in, &c, i, 2);
            if (ref < 6) c.cls[ref] = CLS_LITERAL, c.v[ref] = one_in(6) ? any() : below(3);
            break;
        case A_SIGSET:
            structure(in, &c, i, 8);
            if (ref < 6) c.cls[ref] = CLS_LITERAL, c.v[ref] = one_in(8) ? below(20) : 8;
            break;
        case A_SIGSETARG: {
            struct record *r = add(in);
            r->tag = 'W';
            word(r, CLS_SLOT, any()), word(r, CLS_LITERAL, 8);
            point(&c, i, r);
            break;
        }
        case A_ADDR: /* an address or anything */
            if (word_hint[nr % ROWS][i] == HINT_ADDR) {
                c.cls[i] = one_in(3) ? CLS_RESULT : one_in(2) ? CLS_LITERAL : one_in(2) ? CLS_EDGE : CLS_SLOT;
                c.v[i] = c.cls[i] == CLS_LITERAL ? (one_in(2) ? 0 : WINDOW + below(80) * PG) : any();
            } else if (!one_in(4)) {
                structure(in, &c, i, 0);
            } else {
                c.cls[i] = (uint8_t)(one_in(3) ? below(CLASSES) : CLS_SMALL), c.v[i] = any();
            }
            break;
        default:
            structure(in, &c, i, s->ref == REF_CONST ? s->size : 0);
            if (ref < 6 && !(s->ref & REF_DEREF) && s->size > 1) c.cls[ref] = CLS_LITERAL, c.v[ref] = one_in(6) ? 1ull << below(40) : below(5);
        }
    }
    if ((nr == 59 || nr == 322) && !one_in(6)) { /* argv and envp: short lists of short strings */
        for (int k = 0; k < 2; k++) {
            struct record *s = add(in), *l = add(in), at = {0};
            bytes(s, "word\0more", 10);
            point(&at, 0, s);
            l->tag = 'W';
            word(l, at.cls[0], at.v[0]), word(l, at.cls[0], at.v[0]), word(l, CLS_LITERAL, 0);
            point(&c, (nr == 322) + 1 + k, l);
        }
    }
    *add(in) = c;
}

static unsigned some_nr(void) {
    static unsigned known[ROWS], n;
    for (unsigned i = 0; !n || (i && i < ROWS); i++)
        if (tv_calls[i].serve != SERVE_NONE) known[n++] = i;
    if (one_in(60)) return (unsigned)below(70000);
    unsigned nr = known[below(n)];
    if (tv_calls[nr].serve != SERVE_DENY || one_in(4)) return nr; /* rows that are served more often than others */
    return known[below(n)];
}

static void add_exit(struct input *in) {
    struct record *r = add(in);
    static const uint8_t where[] = {CLS_WINDOW, CLS_EDGE, CLS_SLOT, CLS_CANARY_AS_GVA, CLS_LITERAL, CLS_RESULT, CLS_END};
    r->tag = 'X', r->flags = (uint8_t)any(), r->nr = (uint16_t)(one_in(2) ? 14 : below(32));
    r->cls[0] = CLS_LITERAL, r->v[0] = below(32);
    for (int i = 1; i < 3; i++) r->cls[i] = where[below(sizeof where)], r->v[i] = any();
    r->cls[3] = CLS_LITERAL, r->v[3] = some_nr();
}

static void change(struct input *in) {
    struct record *r = &in->r[below((uint64_t)in->n)];
    int i = (int)below(r->tag == 'C' ? 6 : r->tag == 'X' ? 4 : 1);
    switch (below(r->tag == 'W' || r->tag == 'B' ? 6 : 4)) {
    case 0: r->v[i] ^= 1ull << below(64); break;
    case 1: r->v[i] += below(16) - 8; break;
    case 2: r->cls[i] = (uint8_t)below(CLASSES); break;
    case 3:
        if (r->tag == 'C' && one_in(4)) r->nr = (uint16_t)some_nr();
        else r->v[i] = any();
        break;
    default:
        if (r->n) r->data[below(r->tag == 'W' ? r->n * 9u : r->n)] = (uint8_t)any();
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    static struct input in, next;
    state = seed * 0x9e3779b97f4a7c15ull | 1;
    for (int i = 0; i < 4; i++) any();
    parse(&in, data, size);
    slot = (unsigned)below(SLOTS);
    if (one_in(12)) in.mode = (int)below(MODES);
    for (uint64_t times = 1 + below(3); times--;) {
        switch (in.n ? below(8) : 0) {
        case 0: case 1: case 2: { /* a call somewhere */
            next = in;
            next.n = (int)below((uint64_t)in.n + 1);
            int from = next.n;
            if (one_in(10)) add_exit(&next);
            else add_call(&next, some_nr());
            for (int i = from; i < in.n; i++) *add(&next) = in.r[i];
            in = next;
            break;
        }
        case 3: { /* away with some */
            int at = (int)below((uint64_t)in.n), n = 1 + (int)below(4);
            if (n > in.n - at) n = in.n - at;
            memmove(&in.r[at], &in.r[at + n], (size_t)(in.n - at - n) * sizeof *in.r);
            in.n -= n;
            break;
        }
        case 4: { /* the same again */
            struct record r = in.r[below((uint64_t)in.n)];
            *add(&in) = r;
            break;
        }
        default: change(&in);
        }
    }
    return unparse(&in, data, most);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out, size_t most, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out, size_t most, unsigned seed) {
    static struct input one, two, next;
    state = seed * 0x9e3779b97f4a7c15ull | 1;
    any();
    parse(&one, a, na), parse(&two, b, nb);
    next.n = 0, next.mode = one.mode;
    int cut = (int)below((uint64_t)one.n + 1), from = (int)below((uint64_t)two.n + 1);
    for (int i = 0; i < cut; i++) *add(&next) = one.r[i];
    for (int i = from; i < two.n; i++) *add(&next) = two.r[i];
    return unparse(&next, out, most);
}

/* What is looked at around each call. */
static uint64_t low_fds, high_fds;
static bool forked, shared_table;

static uint64_t open_fds(int from, int to) {
    uint64_t set = 0;
    for (int fd = from; fd < to; fd++)
        if (fcntl(fd, F_GETFD) >= 0) set |= 1ull << (fd - from);
    return set;
}

static bool makes_fds(unsigned nr) {
    static const uint16_t makers[] = {2, 85, 257, 437, 22, 293, 32, 33, 292, 72, 41, 53, 43, 288, 213, 291, 284, 290, 282, 289, 283, 253, 294, 319, 434, 56, 435, 240, 47, 299, 16};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        if (makers[i] == nr) return true;
    return false;
}

void calls_before(long nr) {
    if (nr == 56 || nr == 435) shared->signals = 1; /* the end of a child is told by any signal */
    low_fds = open_fds(0, LOW);
    high_fds = open_fds(LOW, HIGH);
}

void calls_after(long nr, int64_t result) {
    struct tv_vm *vm = fuzz_vm;
    unsigned char in[2] = {0};
    tell(" = %ld\n", result);
    uint64_t more = open_fds(0, LOW) & ~low_fds;
    bool makes = nr >= 0 && makes_fds((unsigned)nr), fork = nr == 56 || nr == 57 || nr == 58 || nr == 435;
    forked |= fork;
    shared_table |= (nr == 56 || nr == 435) && result > 0; /* CLONE_FILES: another process opens and closes what it likes */
    if (shared_table) more = 0;
    if (more && !makes) fuzz_fail("descriptors %lx are open after it, answer %ld", more, result);
    if (more && result < 0 && nr != 47 && nr != 299) fuzz_fail("descriptors %lx are open after it failed with %ld", more, result);
    if (!forked && vm->fd_lo == LOW && open_fds(LOW, HIGH) != high_fds) fuzz_fail("descriptors of the monitor: %lx, now %lx", high_fds, open_fds(LOW, HIGH));
    if (mincore(canary, 8192, in) || in[0] & 1 || in[1] & 1) fuzz_fail("memory of the monitor was touched, answer %ld", result);
    if (fuzz_input->mode == MODE_DENY && nr >= 0 && nr < ROWS && tv_calls[nr].serve > SERVE_NONE && tv_calls[nr].serve != SERVE_DENY && result != -EACCES && result != -EINTR && nr != 60 && nr != 231 && nr != 15)
        fuzz_fail("a denied call answered %ld", result);
}

bool rules_refuse(long nr, const uint64_t a[6]) {
    if (nr == 1 && (uint32_t)a[0] == 2) return true;
    if ((nr == 41 || nr == 53) && (uint32_t)a[0] != AF_UNIX && (uint32_t)a[0] != AF_INET) return true;
    if (nr == 42 || nr == 49) { /* connect, bind: whatever the family, but of the internet only 127.0.0.1 */
        struct sockaddr_in s;
        if ((uint32_t)a[2] < sizeof s || tv_copy_host(&s, (const void *)(uintptr_t)a[1], sizeof s)) return false;
        return s.sin_family == AF_INET && s.sin_addr.s_addr != htonl(0x7f000001);
    }
    return nr == 319 || nr == 82; /* refused whatever the arguments */
}

/* At the end, while the guest's memory is still there. */
static void look_at_mappings(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    for (size_t i = 0; i < m->nvma; i++) {
        const struct tv_vma *v = &m->vma[i];
        if (v->start >= v->end || (v->start | v->end) & PG_MASK || v->start < TV_MIN || v->end > m->top || (i && v[-1].end > v->start))
            fuzz_fail("mapping %lx-%lx is out of order", v->start, v->end);
        if (fuzz_input->mode == MODE_RULES && v->prot & 4 && v->prot & 2) fuzz_fail("a writable mapping that may be executed at %lx, against the rules", v->start);
    }
    char line[600];
    uint64_t lo, hi, from = (uintptr_t)m->base, at = (uintptr_t)m->reserve, end = at + m->reserve_len;
    FILE *f = fopen("/proc/self/maps", "re");
    if (!f) return; /* the guest may have seen to that: RLIMIT_NOFILE, chroot */
    while (fgets(line, sizeof line, f)) {
        char r, w;
        if (sscanf(line, "%lx-%lx %c%c", &lo, &hi, &r, &w) != 4 || hi <= at || lo >= end) continue;
        if (lo > at) fuzz_fail("a hole in the reservation at %lx", at - from);
        at = hi;
        if (hi <= from + TV_MIN || lo >= from + m->top || (r != 'r' && w != 'w')) continue;
        gva start = lo < from + TV_MIN ? TV_MIN : lo - from, stop = hi > from + m->top ? m->top : hi - from;
        while (start < stop) {
            const struct tv_vma *v = vma_find(m, start);
            if (!v) fuzz_fail("the host has memory at %lx, where nothing is mapped", start);
            if (!(v->flags & VMA_VDSO) && (!v->prot || (w == 'w' && !(v->prot & 2)))) fuzz_fail("the host has %c%c at %lx, the mapping %d", r, w, start, v->prot);
            start = v->end;
        }
    }
    fclose(f);
    if (at < end) fuzz_fail("the reservation ends at %lx", at - from);
}

static void look_at_descriptors(struct tv_vm *vm) {
    char name[40], link[300];
    for (int fd = 0; fd < LOW; fd++) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, link, sizeof link - 1);
        if (n < 0 || fcntl(fd, F_GETFL) & O_PATH) continue; /* O_PATH shows nothing */
        link[n] = 0;
        if (!strncmp(link, "/proc/", 6) && (strstr(link, "/mem") || strstr(link, "/pagemap") || strstr(link, "/syscall")) && !strstr(link, "/meminfo"))
            fuzz_fail("the guest has %s", link);
        if (fuzz_input->mode == MODE_RULES && !strncmp(link, "/tmp/work/secret", 16)) fuzz_fail("the guest has %s, against the rules", link);
    }
}

static int shared_maps(void) { /* mappings of files, of shared memory and where guests lie: what a guest may leave behind */
    char line[600];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f)) {
        uint64_t lo, hi;
        char perms[8] = "", file[400] = "";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %399s", &lo, &hi, perms, file) < 3) continue;
        n += perms[3] == 's' || file[0] == '/' || (lo >= 32ull << 40 && lo < 42ull << 40);
    }
    if (!f) return -1;
    fclose(f);
    return n;
}

static void limit(int what, uint64_t soft, uint64_t hard) {
    struct rlimit l = {soft, hard};
    setrlimit((__rlimit_resource_t)what, &l);
}

static void __attribute__((noreturn)) cannot(void) {
    snprintf(shared->why, sizeof shared->why, "%m");
    _exit(98);
}

/* The guest's descriptors, 0 to 18. */
static void descriptors(void) {
    int pair[2];
    for (int fd = 0; fd < 3; fd++) dup2(open("/dev/null", O_RDWR), fd);
    for (int fd = 3; fd < 1024; fd++) close(fd);
    if (pipe2(pair, O_NONBLOCK) || open("file", O_RDWR) != 5 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) || open(".", O_DIRECTORY) != 8) cannot();
    eventfd(0, EFD_NONBLOCK), epoll_create1(0), open("/dev/zero", O_RDWR), socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK) < 0) cannot();
    timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), memfd_create("m", MFD_ALLOW_SEALING);
    socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0), open("/proc/self/status", O_RDONLY);
    if (ftruncate(5, 3 * PG + 100) || ftruncate(15, 2 * PG)) cannot();
}

static int image_of_guest(void) {
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || write(fd, guest_image, sizeof guest_image) != sizeof guest_image) cannot();
    return fd;
}

extern uint8_t __start___sancov_cntrs[], __stop___sancov_cntrs[];
static size_t counters(void) { return (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs); }

static void run(void) {
    static int16_t actions[ROWS];
    const char *argv[] = {"prog", "a", NULL}, *envp[] = {"A=b", NULL};
    struct tv_spec spec = {.exe = "/tmp/work/prog", .execfn = "/tmp/work/prog", .argv = argv, .envp = envp, .most_memory = 64 << 20, .stack_size = 1 << 20,
                           .flags = TV_F_IOPL | TV_F_QUIET, .cache = "/tmp/cache", .cache_version = "1", .python = "/bin/false", .runner = "/bin/true", .helper_env = envp};
    struct tv_stop stop;
    setsid();
    for (int s = 1; s < 65; s++)
        if (s != SIGSEGV && s != SIGBUS && s != SIGKILL && s != SIGSTOP) signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    limit(RLIMIT_NOFILE, LOW, 512), limit(RLIMIT_FSIZE, 4 << 20, 4 << 20), limit(RLIMIT_CORE, 0, 0), limit(RLIMIT_MEMLOCK, 1 << 16, 1 << 16);
    limit(RLIMIT_MSGQUEUE, 1 << 16, 1 << 16), limit(RLIMIT_SIGPENDING, 200, 200), limit(RLIMIT_RTPRIO, 0, 0);
    descriptors();
    if (fuzz_input->mode == MODE_LIMITS) {
        spec.shared_fd = tv_shared_make(6000, 4);
        spec.most_threads = 3;
        spec.file_size = 1 << 20;
    }
    if (fuzz_input->mode == MODE_DENY || fuzz_input->mode == MODE_KILL) {
        for (int i = 0; i < ROWS; i++) actions[i] = i == 60 || i == 231 || i == 15 ? 0 : fuzz_input->mode == MODE_KILL ? -1 : EACCES;
        spec.actions = actions;
    }
    if (fuzz_input->mode == MODE_RULES || fuzz_input->mode == MODE_LOG) {
        bool log = fuzz_input->mode == MODE_LOG;
        spec.actions = log ? log_actions : rules_actions;
        spec.program = log ? log_program : rules_program;
        spec.program_size = log ? sizeof log_program : sizeof rules_program;
    }
    size_t before = __sanitizer_get_current_allocated_bytes();
    int maps = shared_maps();
    spec.image_fd = image_of_guest();
    struct tv_vm *vm = fuzz_vm = tv_create(&spec, &stop);
    if (!vm) fuzz_fail("tv_create: %s: %s", stop.what, strerror(stop.err));
    close(spec.image_fd);
    cpu_check(vm);
    shared->ready = 1;
    while (tv_run(vm, &stop) == TV_NOTICE) { }
    shared->ready = 0;
    fuzz_serving = false;
    if (stop.kind == TV_FAILED) fuzz_fail("the monitor gave up: %s: %s", stop.what, strerror(stop.err));
    if (fuzz_input->mode != MODE_KILL && stop.kind == TV_KILLED) fuzz_fail("killed by no policy");
    limit(RLIMIT_NOFILE, 512, 512), limit(RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY);
    prctl(PR_SET_DUMPABLE, 1);
    cpu_check(vm);
    cpu_tables(vm);
    look_at_mappings(vm);
    look_at_descriptors(vm);
    bool threads = vm->proc->nidle || vm->stats.calls[58] || vm->stats.calls[56] || vm->stats.calls[435];
    int lo = vm->fd_lo, hi = *vm->fd_hi, sharers = vm->sharers;
    tv_destroy(vm);
    vm = fuzz_vm = NULL;
    for (int fd = lo; fd < hi && lo == LOW && !sharers && !shared_table; fd++)
        if (fcntl(fd, F_GETFD) >= 0 && fd < 300) fuzz_fail("descriptor %d of the monitor is open at the end", fd);
    int now = shared_maps();
    if (maps >= 0 && now > maps && !sharers) fuzz_fail("%d mappings more than before", now - maps);
    size_t left = __sanitizer_get_current_allocated_bytes();
    memcpy(shared->cover, __start___sancov_cntrs, counters());
    if (left != before && !threads) {
        limit(RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY);
        if (__lsan_do_recoverable_leak_check()) _exit(66);
    }
    _exit(0);
}

/* The scratch directory as it was. */
static void clear(int dir) {
    DIR *d = fdopendir(dup(dir));
    struct dirent *e;
    if (!d) return;
    rewinddir(d);
    while ((e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (!unlinkat(dir, e->d_name, 0)) continue;
        int sub = openat(dir, e->d_name, O_DIRECTORY | O_NOFOLLOW);
        if (sub < 0) { fchmodat(dir, e->d_name, 0700, 0); sub = openat(dir, e->d_name, O_DIRECTORY | O_NOFOLLOW); }
        if (sub >= 0) { fchmod(sub, 0700); clear(sub); close(sub); }
        unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
}

static void file(const char *name, const char *text, int mode) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, (mode_t)mode)) perror(name);
    close(fd);
}

static void scratch(void) {
    umask(022);
    mkdir(work, 0755), mkdir(logs, 0755);
    chmod(work, 0755), chmod("/dev/ptmx", 0666); /* what a guest may have changed */
    if (chdir(work)) { perror(work); _exit(2); }
    int dir = open(".", O_DIRECTORY);
    clear(dir);
    close(dir);
    mkdir("dir", 0755), mkdir("secret", 0755);
    file("file", "some text\n", 0644), file("dir/inner", "x", 0600), file("secret/key", "key", 0644), file("script", "#!/bin/true x\n", 0755), file("prog", "\177ELF", 0755);
    if (symlink("dir/inner", "link") || symlink("loop", "loop") || symlink("nowhere", "dangling") || symlink("secret", "to-secret") || mkfifo("fifo", 0600)) perror("scratch");
}

/* Processes that the input left behind; those whose parents ended are ours (PR_SET_CHILD_SUBREAPER). */
static void sweep(void) {
    int status;
    for (int tries = 0; tries < 2000; tries++) {
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid < 0) return;
        if (pid > 0) continue;
        char list[4096] = "";
        int fd = open("/proc/thread-self/children", O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, list, sizeof list - 1);
        if (fd >= 0) close(fd);
        list[n > 0 ? n : 0] = 0;
        for (char *p = list, *next; ; p = next) {
            long child = strtol(p, &next, 10);
            if (next == p) break;
            kill((pid_t)child, SIGKILL);
        }
        usleep(500);
    }
}

static void clear_ipc(void) { /* System V objects live longer than processes */
    struct shmid_ds ds;
    struct shm_info info;
    int most = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
    for (int i = 0; i <= most; i++) {
        int id = shmctl(i, SHM_STAT, &ds);
        if (id >= 0) shmctl(id, IPC_RMID, NULL);
    }
}

static void show_logs(void) {
    DIR *d = opendir(logs);
    struct dirent *e;
    char name[400], text[4096];
    while (d && (e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", logs, e->d_name);
        int fd = open(name, O_RDONLY);
        ssize_t n;
        while ((n = read(fd, text, sizeof text)) > 0) fwrite(text, 1, (size_t)n, stderr);
        close(fd);
        unlink(name);
    }
    if (d) closedir(d);
}

static uint64_t now_ms(void) { return tv_now() / 1000000; }

/* Nudges a guest whose call blocks, as a signal of the host's that is none of the guest's would; the CPU then leaves the call. */
static void nudge(pid_t pid) {
    siginfo_t info = {.si_signo = SIGBUS, .si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_value.sival_ptr = (void *)0x746f726f765f6b63ull; /* sig.c: KICK_VALUE */
    syscall(SYS_rt_tgsigqueueinfo, pid, pid, SIGBUS, &info);
}

static unsigned nudges; /* sent to the process of this input */

static int follow(pid_t pid) {
    int status = -1, fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {fd, POLLIN, 0};
    uint64_t start = now_ms();
    uint32_t turn = shared->turn;
    nudges = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (fd < 0) usleep(200);
        else poll(&p, 1, STILL_MS);
        if (now_ms() - start > HANG_MS) {
            snprintf(shared->why, sizeof shared->why, "call %u hangs", shared->nr);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        if (shared->turn == turn) { /* a stop is a call that blocks, too: a child may tell its end by SIGSTOP */
            if (shared->ready) nudge(pid), nudges++;
            kill(pid, SIGCONT);
        }
        turn = shared->turn;
    }
    if (fd >= 0) close(fd);
    return status;
}

/* libFuzzer's tables of features, 24 MiB: no process that runs an input looks at them, and copying their pages takes most of a fork. */
static void spare_tables(void) {
    char line[400];
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f)) {
        uint64_t lo, hi, inode;
        char perms[8];
        if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &lo, &hi, perms, &inode) == 4 && !inode && !strcmp(perms, "rw-p") && hi - lo > 20 << 20 && hi - lo < 40 << 20)
            madvise((void *)lo, hi - lo, MADV_DONTFORK);
    }
    if (f) fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return -1;
    parse(&input, data, size);
    fuzz_input = &input;
    shared->why[0] = 0;
    shared->ready = shared->turn = shared->executes = shared->signals = shared->nr = shared->told = 0;
    memset(shared->cover, 0, counters());
    if (!shared->inputs) spare_tables();
    scratch();
    pid_t pid = fork();
    if (!pid) run();
    int status = follow(pid);
    sweep();
    clear_ipc();
    shared->inputs++;
    memcpy(__start___sancov_cntrs, shared->cover, counters());
    if (show) fprintf(stderr, "mode %d\n%.*s\nstatus %x %s\n", input.mode, (int)(shared->told < sizeof shared->log ? shared->told : sizeof shared->log), shared->log, status, shared->why);
    bool killed = WIFSIGNALED(status);
    int sig = killed ? WTERMSIG(status) : 0;
    bool fault = sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGABRT || sig == SIGTRAP || sig == SIGFPE || sig == SIGSYS;
    bool nudged = sig == SIGBUS && shared->executes && nudges;
    bool bad = shared->why[0] || (fault && !shared->signals && !nudged) || (!killed && WEXITSTATUS(status) == 66);
    if (killed) shared->ended_early++;
    if (!killed && WEXITSTATUS(status) == 98) { fprintf(stderr, "cannot make the guest's descriptors: %s\n", shared->why); _exit(2); }
    if (bad) {
        show_logs();
        fprintf(stderr, "mode %d, %s, status %x: %s\n", input.mode, killed ? strsignal(sig) : "exit", status, shared->why);
        abort();
    }
    return 0;
}

static void summary(void) {
    unsigned rows = 0, reached = 0, hosts = 0, at_host = 0;
    static pid_t me;
    if (!me) { me = getpid(); return; }
    if (me != getpid()) return;
    for (int i = 0; i < ROWS; i++) {
        const struct tv_call *c = &tv_calls[i];
        rows += c->serve != SERVE_NONE, reached += c->serve != SERVE_NONE && shared->served[i];
        hosts += c->serve == SERVE_HOST, at_host += c->serve == SERVE_HOST && shared->host[i];
    }
    fprintf(stderr, "%lu inputs, %lu calls, %lu ended by a signal; %u of %u rows reached, %u of %u that the host serves made there\n", shared->inputs, shared->calls, shared->ended_early, reached, rows, at_host, hosts);
    for (int i = 0; i < ROWS; i++)
        if (tv_calls[i].serve != SERVE_NONE && (!shared->served[i] || (tv_calls[i].serve == SERVE_HOST && !shared->host[i])))
            fprintf(stderr, "  %s %d\n", shared->served[i] ? "not made on the host:" : "not reached:", i);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    show = getenv("FUZZ_SHOW") != NULL;
    shared = mmap(NULL, sizeof *shared + counters(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    canary = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || canary == MAP_FAILED || madvise(canary, 8192, MADV_NOHUGEPAGE)) { perror("mmap"); _exit(2); }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (vdso_find() < 0 || tv_copy_setup()) _exit(2); /* once, before the first guest */
    mem_host_huge();
    summary();
    atexit(summary);
    return 0;
}

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "log_path=/tmp/log/report:exitcode=66:detect_leaks=1:leak_check_at_exit=0:handle_segv=1:handle_sigbus=1:allow_user_segv_handler=1:handle_abort=0:use_sigaltstack=0:"
           "allocator_may_return_null=1:quarantine_size_mb=4:print_stacktrace=1";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "halt_on_error=1:print_stacktrace=1:exitcode=66"; }
const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
