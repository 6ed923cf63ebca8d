/* What the parts of the fuzzer of calls share. */
#ifndef FUZZ_H
#define FUZZ_H
#include "tv.h"

enum { RECORDS = 40, PAYLOAD = 208, ROWS = 512 };
enum { MODE_ALLOW, MODE_DENY, MODE_KILL, MODE_RULES, MODE_LOG, MODE_LIMITS, MODES };

/* One step of the guest. A value is a class and a number; resolve() says what it stands for. */
struct record {
    uint8_t tag, n, flags;
    uint16_t nr;
    uint8_t cls[6];
    uint64_t v[6];
    uint8_t data[PAYLOAD]; /* of W: n times a class and a number; of B: n bytes */
};
struct input { int mode, n; struct record r[RECORDS]; };
enum { CLS_LITERAL, CLS_WINDOW, CLS_SLOT, CLS_FD, CLS_HIDDEN, CLS_CANARY, CLS_CANARY_AS_GVA, CLS_EDGE, CLS_RESULT, CLS_ID, CLS_SMALL,
       CLS_NEGATIVE, CLS_POWER, CLS_WORD, CLS_END, CLASSES };
#define SLOTS 128u

/* Between the process that fuzzes and the one that runs an input. */
struct shared {
    uint64_t served[ROWS], host[ROWS]; /* calls of the core's table; calls that reached the host */
    uint64_t calls, inputs, ended_early;
    volatile uint32_t executes; /* the process may be another program now, which a nudge ends */
    volatile uint32_t turn;   /* counts what the guest does: does it stand still? */
    volatile uint32_t nr;     /* the call that is served */
    volatile uint32_t signals; /* the guest may have made itself a signal */
    volatile uint32_t ready;  /* the core can be kicked */
    char why[400];            /* a check that failed */
    uint32_t told;
    char log[1 << 16];        /* what the guest did, if FUZZ_SHOW asks for it */
    uint8_t cover[];
};
extern struct shared *shared;
extern struct tv_vm *fuzz_vm;
extern const struct input *fuzz_input;
extern uint8_t *canary;       /* two pages that nobody has touched */
extern bool fuzz_serving;     /* a call of the guest is served */
void fuzz_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool cpu_own(int fd);         /* one of the fake CPU's descriptors */
void cpu_check(struct tv_vm *vm); /* that nobody has used them */
void cpu_tables(struct tv_vm *vm);
void cpu_forget(void);
void calls_before(long nr);
void calls_after(long nr, int64_t result);
uint64_t resolve(uint8_t cls, uint64_t v, int nr, int arg);
void remember(uint64_t result);
bool rules_refuse(long nr, const uint64_t a[6]); /* words.h's policy never lets the host hear of this */
#endif
