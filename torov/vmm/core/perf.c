/* Where a guest spends its time (torov exec --perf): a timer on the CPU time of each thread stops it now and then, and what its registers
 * and the top of its stack are goes to the process that started torov, which unwinds them (torov/perf). It hears of the program's
 * objects before the samples that are in them, and of the time of calls and exits when a thread ends. */
#include "tv.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STACK_MOST (16u << 10)
#define OBJECTS_MOST (60u << 10)

enum { PERF_OBJECTS = 1, PERF_SAMPLE, PERF_SUMS }; /* torov/perf/record.py has the same */
struct message { uint32_t kind; int32_t pid, tid; uint32_t lost; };
struct sample {
    struct message m;
    uint32_t weight; /* ticks: what came while another one waited counts, too */
    int32_t nr;      /* the call that was served, or -1 */
    struct tv_regs regs;
    uint8_t stack[STACK_MOST];
};
struct sum { uint32_t kind; int32_t nr; uint64_t count, ns; }; /* nr: of a call, or -1 */
enum { SUM_GUEST, SUM_CALL, SUM_TRAP, SUM_FAULT, SUM_KICK, SUM_OTHER, SUM_KINDS };

struct tv_perf {
    timer_t timer;
    bool timed;
    volatile uint32_t due;
    volatile int serving, hit; /* the call that is served now; when the tick came */
    uint32_t lost;
    uint64_t objects;          /* hash of what was said of them */
    uint64_t n[SUM_KINDS], ns[SUM_KINDS], call_n[512], call_ns[512];
    struct sample sample;
};

static void tell(struct tv_vm *vm, struct tv_perf *p, struct message *m, size_t size) {
    m->pid = tv_me->proc->pid;
    m->tid = tv_me->tid;
    m->lost = p->lost;
    long r;
    while ((r = sys6(44, (uint64_t)vm->keep[KEEP_PERF], (uintptr_t)m, size, MSG_NOSIGNAL, 0, 0)) == -EINTR) { }
    if (r < 0 && m->kind == PERF_SAMPLE) p->lost += p->sample.weight;
    else if (r >= 0) p->lost = 0;
}

/* A line each: base end path. */
static void tell_objects(struct tv_vm *vm, struct tv_perf *p) {
    struct { struct message m; char text[OBJECTS_MOST]; } *out = malloc(sizeof *out);
    if (!out) return;
    out->m.kind = PERF_OBJECTS;
    size_t n = symbol_objects(vm, out->text, sizeof out->text);
    tell(vm, p, &out->m, sizeof out->m + n);
    free(out);
}

void perf_begin(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    struct tv_perf *p = calloc(1, sizeof *p);
    if (!p) return;
    struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGBUS};
    e.sigev_value.sival_ptr = TICK_VALUE;
    e._sigev_un._tid = t->tid;
    int id = 0;
    p->serving = p->hit = -1;
    t->perf = p;
    if (sys6(222, CLOCK_THREAD_CPUTIME_ID, (uintptr_t)&e, (uintptr_t)&id, 0, 0, 0)) return;
    p->timer = (timer_t)(intptr_t)id;
    p->timed = true;
    long ns = 1000000000l / (long)(vm->perf_hz ? vm->perf_hz : 999);
    struct itimerspec every = {{ns / 1000000000, ns % 1000000000}, {ns / 1000000000, ns % 1000000000}};
    sys6(223, (uint64_t)id, 0, (uintptr_t)&every, 0, 0, 0);
}

/* In the handler of the signal. */
void perf_tick(struct tv_thread *t, int overrun) {
    struct tv_perf *p = t->perf;
    if (!p) return;
    p->due += 1 + (uint32_t)(overrun > 0 ? overrun : 0);
    p->hit = p->serving;
}

static void take(struct tv_vm *vm, struct tv_perf *p) {
    struct sample *s = &p->sample;
    uint64_t objects = symbol_hash(vm), n = 0;
    gva sp = tv_me->cpu->regs->rsp;
    if (objects != p->objects) tell_objects(vm, p);
    p->objects = objects;
    s->m.kind = PERF_SAMPLE;
    s->weight = p->due;
    s->nr = p->hit;
    p->due = 0;
    p->hit = -1;
    s->regs = *tv_me->cpu->regs;
    while (n < STACK_MOST) { /* page by page: the stack may end */
        uint64_t part = PG - ((sp + n) & PG_MASK);
        if (part > STACK_MOST - n) part = STACK_MOST - n;
        if (tv_copy_in(vm, s->stack + n, sp + n, part)) break;
        n += part;
    }
    tell(vm, p, &s->m, offsetof(struct sample, stack) + n);
}

void perf_attend(struct tv_vm *vm) {
    if (tv_me->perf->due) take(vm, tv_me->perf);
}

/* One turn of a thread: into the guest, and what its exit asks for. */
void perf_turn(struct tv_vm *vm, struct tv_exit *x) {
    static const uint8_t kinds[] = {[CPU_CALL] = SUM_CALL, [CPU_PORT] = SUM_OTHER, [CPU_TRAP] = SUM_TRAP, [CPU_EXCEPTION] = SUM_FAULT,
        [CPU_KICKED] = SUM_KICK, [CPU_VANISHED] = SUM_FAULT, [CPU_SHUTDOWN] = SUM_OTHER, [CPU_ERROR] = SUM_OTHER};
    struct tv_perf *p = tv_me->perf;
    uint64_t began = tv_now();
    cpu_run(tv_me->cpu, x);
    uint64_t left = tv_now();
    bool call = x->kind == CPU_CALL || x->kind == CPU_TRAP;
    uint64_t nr = tv_me->cpu->regs->rax & 0xffffffff;
    if (nr >= 512) nr = 511;
    tv_me->stats.exits++;
    if (call) p->serving = (int)nr;
    vm_exit(vm, x);
    if (tv_me->perf != p) return; /* an exec that came too late to fail */
    p->serving = -1;
    uint64_t took = tv_now() - left;
    p->n[SUM_GUEST]++, p->ns[SUM_GUEST] += left - began;
    p->n[kinds[x->kind]]++, p->ns[kinds[x->kind]] += took;
    if (call) p->call_n[nr] += !tv_me->restart, p->call_ns[nr] += took; /* one that begins again is one call */
}

void perf_leave(struct tv_vm *vm) {
    struct tv_perf *p = tv_me->perf;
    struct { struct message m; struct sum sum[SUM_KINDS + 512]; } *out;
    if (!p) return;
    if (p->timed) sys6(226, (uint64_t)(intptr_t)p->timer, 0, 0, 0, 0, 0); /* what it has sent comes before this returns */
    if (p->due) take(vm, p);
    tv_me->perf = NULL;
    size_t n = 0;
    if ((out = calloc(1, sizeof *out))) {
        for (uint32_t i = 0; i < SUM_KINDS; i++)
            if (p->n[i]) out->sum[n++] = (struct sum){i, -1, p->n[i], p->ns[i]};
        for (int i = 0; i < 512; i++)
            if (p->call_n[i]) out->sum[n++] = (struct sum){SUM_CALL, i, p->call_n[i], p->call_ns[i]};
        out->m.kind = PERF_SUMS;
        tell(vm, p, &out->m, sizeof out->m + n * sizeof *out->sum);
        free(out);
    }
    free(p);
}
