/* The guest's side of a trace. Each call is formatted where it is served and appended to a ring in shared memory, so that nothing is
 * lost when a guest or its monitor is killed; the writer (trace_out.c) is outside of the jail. What the guest's processes hold is a
 * socket, which no name in /proc opens. */
#include "show.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHILD (1ull << (SIGCHLD - 1))

struct trace_thread {
    bool held_child;
    bool in_call, ended, held_back; /* held_back: -z and -Z show a call only when its end is known */
    uint64_t before, when;
    size_t shown;            /* bytes of the text that were appended */
    bool signalled;
    siginfo_t signal;        /* came while a call was served: told after it */
    uint64_t a[6];
    struct show s;
};

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* The ring, from the writer. Whoever asks gets the same one, so an answer to another is as good. */
int trace_join(struct tv_vm *vm) {
    int fd = -1;
    if (side_ask(vm->keep[KEEP_TRACE], 'm', &fd) < 0 || fd < 0) return -EPIPE;
    void *ring = mmap(NULL, sizeof *vm->trace, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int r = ring == MAP_FAILED ? -errno : 0;
    close(fd);
    if (!r) vm->trace = ring;
    return r;
}

void trace_leave(struct tv_vm *vm) {
    if (vm->trace) munmap(vm->trace, sizeof *vm->trace);
    vm->trace = NULL;
}

static void poke(struct tv_vm *vm) {
    if (sys6(44, (uint64_t)vm->keep[KEEP_TRACE], (uintptr_t)"w", 1, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0) == -EPIPE) vm->trace->gone = 1;
}

/* Until the writer has taken everything up to here, or 2 s of no progress. */
static void wait_drained(struct tv_vm *vm, uint64_t upto) {
    struct trace_ring *r = vm->trace;
    uint64_t last = 0;
    for (int idle = 0; __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) < upto && !r->gone && idle < 200;) {
        uint32_t seen = __atomic_load_n(&r->drained, __ATOMIC_ACQUIRE);
        struct timespec soon = {0, 10000000};
        __atomic_add_fetch(&r->waiting, 1, __ATOMIC_SEQ_CST);
        poke(vm);
        if (__atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) < upto) sys6(202, (uintptr_t)&r->drained, FUTEX_WAIT, seen, (uintptr_t)&soon, 0, 0);
        __atomic_sub_fetch(&r->waiting, 1, __ATOMIC_SEQ_CST);
        uint64_t now = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
        idle = now == last ? idle + 1 : 0;
        last = now;
    }
}

/* Held for the time of a copy. A process can be killed meanwhile: who waits longer than that takes it over, and what was not
 * published yet is written over. */
static void lock(struct trace_ring *r, uint32_t me) {
    for (unsigned tries = 0;; tries++) {
        uint32_t holder = 0;
        if (__atomic_compare_exchange_n(&r->lock, &holder, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
        if (tries < 200) { __builtin_ia32_pause(); continue; }
        struct timespec soon = {0, 1000000};
        sys6(202, (uintptr_t)&r->lock, FUTEX_WAIT, holder, (uintptr_t)&soon, 0, 0);
        if (tries > 700 && __atomic_compare_exchange_n(&r->lock, &holder, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    }
}
static void unlock(struct trace_ring *r, uint32_t me) {
    __atomic_compare_exchange_n(&r->lock, &me, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static void ring_copy(struct trace_ring *r, uint64_t at, const void *data, size_t n) {
    size_t pos = at & (TRACE_RING - 1), first = TRACE_RING - pos < n ? TRACE_RING - pos : n;
    memcpy(r->data + pos, data, first);
    if (n > first) memcpy(r->data, (const char *)data + first, n - first);
}

static void append(struct tv_vm *vm, struct trace_record *h, const char *text, size_t n) {
    struct trace_ring *r = vm->trace;
    uint32_t me = (uint32_t)tv_me->tid;
    h->pid = tv_me->proc->pid, h->tid = tv_me->tid;
    h->text = (uint32_t)n;
    h->size = (uint32_t)((sizeof *h + n + 7) & ~7ull);
    lock(r, me);
    uint64_t head = r->head;
    while (head + h->size - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) > TRACE_RING && !r->gone) {
        unlock(r, me);
        wait_drained(vm, head + h->size - TRACE_RING);
        if (head + h->size - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) > TRACE_RING) poke(vm); /* tells whether it is still there */
        lock(r, me);
        head = r->head;
    }
    if (!r->gone) {
        ring_copy(r, head, h, sizeof *h);
        ring_copy(r, head + sizeof *h, text, n);
        __atomic_store_n(&r->head, head + h->size, __ATOMIC_SEQ_CST);
    }
    unlock(r, me);
    if (__atomic_load_n(&r->asleep, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&r->asleep, 0, __ATOMIC_SEQ_CST)) poke(vm);
    else if (head + h->size - __atomic_load_n(&r->tail, __ATOMIC_RELAXED) > TRACE_RING / 2 && (head & 0xffff) + h->size > 0xffff) poke(vm);
}

static struct trace_thread *mine(struct tv_vm *vm) {
    struct trace_thread *t = tv_me->trace;
    if (!t && (t = tv_me->trace = malloc(sizeof *t))) {
        t->in_call = t->signalled = t->ended = t->held_child = false;
        t->s.room = sizeof t->s.text;
        t->s.vm = vm, t->s.o = &vm->trace->o, t->s.a = t->a;
    }
    return t;
}

static bool wanted(const struct tv_vm *vm, uint64_t nr) { return vm->trace->o.calls[nr < 512 ? nr >> 6 : 7] >> (nr < 512 ? nr & 63 : 63) & 1; }
static bool clocked(const struct trace_options *o) { return o->times || o->relative || o->format != TV_TRACE_TEXT; }

/* What the guest writes goes where the trace goes, perhaps: the line is there first, as with strace(1). */
static bool visible(uint64_t nr) {
    return nr < 512 && (tv_calls[nr].arg[0].kind == A_FD && (tv_calls[nr].arg[1].kind == A_IN || tv_calls[nr].arg[1].kind == A_IOVIN)) ? true :
           nr == 59 || nr == 322 || nr == 231 || nr == 60 || nr == 46 || nr == 40 || nr == 275;
}

/* A SIGCHLD that nobody handles is noted only for the trace. It must not interrupt a call that begins its time again. */
static bool timed(uint64_t nr, const uint64_t a[6]) {
    switch (nr) {
    case 7: case 23: case 35: case 128: case 220: case 230: case 232: case 242: case 243: case 270: case 271: case 281: case 299: case 441: case 449: return true;
    case 202: return a[3] && ((a[1] & 127) == 0 || (a[1] & 127) == 9); /* FUTEX_WAIT, FUTEX_WAIT_BITSET */
    default: return false;
    }
}
static void hold_child(struct trace_thread *t) {
    if (tv_me->proc->sig->act[SIGCHLD].handler == 0 && !(tv_me->sigmask & CHILD)) t->held_child = !mask_unless_noted(tv_me->sigmask | CHILD);
}

bool trace_before(struct tv_vm *vm, uint64_t nr, const uint64_t a[6]) {
    const struct trace_options *o = &vm->trace->o;
    struct trace_thread *t;
    if (tv_me->untraced || !wanted(vm, nr) || !(t = mine(vm))) return false;
    memcpy(t->a, a, sizeof t->a);
    t->in_call = true;
    t->shown = 0;
    if (timed(nr, a)) hold_child(t);
    if (o->counts != 1) {
        struct trace_record h = {.kind = TRACE_BEFORE, .nr = nr < 512 ? (int16_t)nr : 511, .number = nr};
        t->s.nr = nr < 512 ? (int)nr : 0x7fff & (int)nr;
        t->s.n = 0;
        show_before(&t->s);
        t->held_back = o->status;
        t->when = h.when = clocked(o) ? clock_ns(CLOCK_REALTIME) : 0;
        if (!t->held_back) {
            append(vm, &h, t->s.text, t->s.n);
            t->shown = t->s.n;
            if (o->ordered && visible(nr)) wait_drained(vm, vm->trace->head);
        }
    }
    t->before = o->durations || o->counts || o->format != TV_TRACE_TEXT ? clock_ns(CLOCK_MONOTONIC) : 0;
    if (nr == 60 || nr == 231) { trace_after(vm, nr, 0); return false; } /* before what it wakes */
    return true;
}

/* What the kernel itself answers where a signal interrupts: strace(1) sees that, a program does not. */
static const char *interrupted(uint64_t nr, const uint64_t a[6]) {
    static const char no_hand[] = "? ERESTARTNOHAND (To be restarted if no handler)", block[] = "? ERESTART_RESTARTBLOCK (Interrupted by signal)";
    switch (nr) {
    case 7: case 35: return block;
    case 230: return a[1] & 1 ? no_hand : block;
    case 202: return a[3] && !(a[1] & 127) ? block : NULL;
    case 23: case 34: case 130: case 270: case 271: return no_hand;
    default: return NULL;
    }
}

static void result(struct tv_vm *vm, struct trace_thread *t, uint64_t nr, int64_t ret) {
    const char *text = NULL;
    if (nr == 60 || nr == 231) text = "?";
    else if (ret == -RESTART_SYS) text = proc_ended(tv_me->proc) ? "?" : "? ERESTARTSYS (To be restarted if SA_RESTART is set)";
    else if (ret == -RESTART_NOINTR) text = proc_ended(tv_me->proc) ? "?" : "? ERESTARTNOINTR (To be restarted)";
    else if (ret == -EINTR && tv_me->attention) text = proc_ended(tv_me->proc) ? "?" : interrupted(nr, t->a);
    if (text) put(&t->s, text);
    else show_result(&t->s);
}

void trace_after(struct tv_vm *vm, uint64_t nr, int64_t ret) {
    struct trace_ring *r = vm->trace;
    struct trace_thread *t = tv_me->trace;
    uint64_t took = t->before ? clock_ns(CLOCK_MONOTONIC) - t->before : 0;
    unsigned i = nr < 512 ? (unsigned)nr : 511;
    if (t->held_child) mask_unless_noted(tv_me->sigmask), t->held_child = false;
    if (nr == 15) ret = (int64_t)tv_me->cpu->regs->rax;
    bool error = ret < 0 && ret >= -4095, begun = ret != -RESTART_NOINTR && nr != 60 && nr != 231;
    if (r->o.counts && begun) {
        __atomic_add_fetch(&r->count[i].ns, took, __ATOMIC_RELAXED);
        __atomic_add_fetch(&r->count[i].calls, 1, __ATOMIC_RELAXED);
        if (error) __atomic_add_fetch(&r->count[i].errors, 1, __ATOMIC_RELAXED);
    }
    if (r->o.counts != 1 && (!t->held_back || (r->o.status == 1 ? !error : error))) {
        struct trace_record h = {.kind = TRACE_AFTER, .nr = (int16_t)i, .number = nr, .ret = ret, .took = took, .when = t->when, .marks = ret == -RESTART_NOINTR ? TRACE_DROP : 0};
        if (t->held_back) {
            struct trace_record b = {.kind = TRACE_BEFORE, .nr = h.nr, .number = nr, .when = t->when};
            append(vm, &b, t->s.text, t->s.n);
            t->shown = t->s.n;
        }
        t->s.ret = ret;
        show_after(&t->s);
        t->s.room = sizeof t->s.text;
        put_c(&t->s, SHOW_RESULT);
        result(vm, t, nr, ret);
        if (tv_me->refused) put(&t->s, *tv_me->refused ? " (DENIED: " : " (DENIED"), put(&t->s, tv_me->refused), put_c(&t->s, ')');
        append(vm, &h, t->s.text + t->shown, t->s.n - t->shown);
    }
    tv_me->refused = NULL;
    t->in_call = false;
    if (t->signalled) {
        t->signalled = false;
        trace_signal(vm, &t->signal);
    }
}

/* The writer looks when this process ends, of which a signal that cannot be caught tells nobody else. */
static void process_is(struct tv_vm *vm) {
    int pid = tv_me->proc->pid, fd = (int)sys6(434, (uint64_t)pid, 0, 0, 0, 0, 0); /* pidfd_open(2) */
    char word[8] = "p", control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {word, 5};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (fd < 0) return;
    memcpy(word + 1, &pid, 4);
    *c = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    sys6(46, (uint64_t)vm->keep[KEEP_TRACE], (uintptr_t)&m, MSG_NOSIGNAL, 0, 0, 0);
    close(fd);
}

static void line(struct tv_vm *vm, int kind, struct show *s, int64_t ret) {
    struct trace_record h = {.kind = (uint8_t)kind, .nr = -1, .ret = ret, .when = clocked(&vm->trace->o) ? clock_ns(CLOCK_REALTIME) : 0};
    append(vm, &h, s->text, s->n);
}

void trace_signal(struct tv_vm *vm, const siginfo_t *info) {
    int sig = info->si_signo;
    struct trace_thread *t = tv_me->untraced ? NULL : mine(vm);
    if (!t || vm->trace->o.counts == 1 || sig == SIGKILL || sig < 1 || sig > 64 || !(vm->trace->o.signals >> (sig - 1) & 1)) return;
    if (t->in_call) { t->signal = *info, t->signalled = true; return; }
    t->s.n = 0;
    put(&t->s, "--- "), put_sig(&t->s, sig), put_c(&t->s, ' ');
    put_fields(&t->s, ST_siginfo, info);
    put(&t->s, " ---");
    line(vm, TRACE_LINE, &t->s, sig);
}

void trace_first(struct tv_vm *vm) {
    struct trace_thread *t = mine(vm);
    uint64_t argc = 0, aux[2], a[6] = {0};
    if (!t) return;
    process_is(vm);
    if (!wanted(vm, 59)) return;
    for (gva at = vm->auxv; get(&t->s, aux, at, sizeof aux) && aux[0]; at += sizeof aux)
        if (aux[0] == 31) a[0] = aux[1]; /* AT_EXECFN */
    get(&t->s, &argc, vm->stack_ptr, 8);
    a[1] = vm->stack_ptr + 8;
    a[2] = a[1] + 8 * (argc + 1);
    if (trace_before(vm, 59, a)) trace_after(vm, 59, 0);
}

void trace_begin(struct tv_vm *vm, bool executed) {
    struct trace_thread *t;
    if (!vm->trace->o.follow && !executed) { /* only the first thread is shown */
        if (tv_me->proc->child && !tv_me->proc->shares) {
            trace_leave(vm);
            close(vm->keep[KEEP_TRACE]);
            vm->keep[KEEP_TRACE] = -1;
        } else {
            tv_me->untraced = true;
        }
        return;
    }
    if (!(t = mine(vm))) return;
    if (tv_me == tv_me->proc->threads && !executed) process_is(vm);
    t->in_call = t->signalled = t->ended = false;
    t->s.n = 0;
    if (executed) { /* the end of execve(2) */
        if (!wanted(vm, 59) || vm->trace->o.counts == 1) return;
        struct trace_record h = {.kind = TRACE_AFTER, .nr = 59, .number = 59, .when = clocked(&vm->trace->o) ? clock_ns(CLOCK_REALTIME) : 0};
        put_c(&t->s, SHOW_RESULT), put_c(&t->s, '0');
        append(vm, &h, t->s.text, t->s.n);
        return;
    }
    line(vm, TRACE_NEW, &t->s, 0);
}

void trace_end(struct tv_vm *vm) {
    struct trace_thread *t = tv_me->untraced ? NULL : mine(vm);
    const struct tv_stop *e = &tv_me->proc->end;
    if (!t || t->ended) return;
    t->ended = true;
    int sig = e->kind == TV_SIGNALLED ? e->status : e->kind == TV_KILLED ? SIGSYS : 0;
    if (sig == SIGKILL && tv_me != tv_me->proc->threads) sig = 0; /* exec(2) has ended it */
    int status = e->kind == TV_EXITED ? e->status : !e->kind ? (int)(tv_me->cpu->regs->rdi & 0xff) : 0; /* exit(2) of one thread */
    if (vm->trace->o.counts == 1) return;
    t->s.n = 0;
    if (sig) put(&t->s, "+++ killed by "), put_sig(&t->s, sig), put(&t->s, " +++");
    else put(&t->s, "+++ exited with "), put_d(&t->s, status), put(&t->s, " +++");
    line(vm, TRACE_GONE, &t->s, sig ? -sig : status);
}

/* The guest has ended: waits until all is written. 0, or the errno of the first write that failed. */
int tv_trace_end(struct tv_vm *vm) {
    if (!vm->trace) return 0;
    wait_drained(vm, vm->trace->head);
    int answer = side_ask(vm->keep[KEEP_TRACE], 'e', NULL);
    return answer < 0 ? EPIPE : answer;
}
