/* Traces: what the guest's threads append to a ring of shared memory, and a process of its own writes out. */
#ifndef TV_TRACE_H
#define TV_TRACE_H
#include "tv.h"

#define trace_options tv_trace /* core.h */
#define TRACE_RING (1u << 20)

enum { TRACE_BEFORE = 1, TRACE_AFTER, TRACE_LINE, TRACE_NEW, TRACE_GONE };
enum { TRACE_DROP = 1 /* AFTER: it was not begun */ };
struct trace_record { /* 8-byte aligned; the text follows */
    uint32_t size, text;
    uint8_t kind, marks;
    int16_t nr;
    int32_t pid, tid;
    uint64_t number; /* of the call, if nr does not say it */
    int64_t ret;
    uint64_t when, took; /* ns: since 1970; of the call */
};

struct trace_ring {
    struct trace_options o;
    uint32_t lock;       /* the thread that appends */
    uint32_t asleep;     /* the writer, until it is woken */
    uint32_t drained;    /* a futex: counts when the writer has caught up */
    uint32_t waiting;    /* threads that wait for that */
    uint32_t error;      /* errno of the first write that failed */
    uint32_t gone;       /* the writer has ended */
    uint64_t head, tail; /* bytes that were ever appended, and taken */
    struct { uint64_t ns, calls, errors; } count[512];
    uint8_t data[TRACE_RING] __attribute__((aligned(64)));
};

/* trace.c */
int trace_join(struct tv_vm *vm);
void trace_leave(struct tv_vm *vm);
bool trace_before(struct tv_vm *vm, uint64_t nr, const uint64_t a[6]);
void trace_after(struct tv_vm *vm, uint64_t nr, int64_t ret);
void trace_signal(struct tv_vm *vm, const siginfo_t *info);
void trace_first(struct tv_vm *vm); /* the program, as if exec(2) had started it */
void trace_begin(struct tv_vm *vm, bool executed); /* a thread, a process, or what exec(2) has started */
void trace_end(struct tv_vm *vm);                  /* of a thread */
#endif
