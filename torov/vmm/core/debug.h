/* A debugger's hold on a guest: what debug.c (events of threads), watch.c (breakpoints, watchpoints, memory) and control.c (requests)
 * share. The debugger itself, torov/gdb, is another process: fixed-size binary messages go over a hidden socket. */
#ifndef TV_DEBUG_H
#define TV_DEBUG_H
#include "tv.h"

#include <sys/resource.h>

/* One message. Answers carry the number of the request; events have none. A process that ends may leave a request without its answer.
 * torov/gdb/link.py has the same table. */
struct debug_msg {
    uint32_t op, seq;
    int32_t pid, tid;
    uint64_t a, b, c;
};
#define DEBUG_DATA (32u << 10) /* at most, behind a message */

enum debug_op {
    /* events: to the debugger */
    DEBUG_HELLO = 1, /* a process: a: enum debug_birth, b: its parent's pid; its path follows; with the socket for all that comes */
    DEBUG_STOP,      /* tid stands still: a: enum debug_cause, b, c: of that; a siginfo_t follows */
    DEBUG_END,       /* pid has ended: a: TV_EXITED or TV_SIGNALLED, b: status or signal */
    DEBUG_GONE,      /* tid, which was to make a step, has ended */
    /* requests: a is the result of the answer, 0 or -errno unless it says more */
    DEBUG_READ = 16, /* a: address, b: length -> a: length; the bytes as the program's file has them */
    DEBUG_WRITE,     /* a: address; the bytes */
    DEBUG_GETREGS,   /* tid -> struct debug_regs and the XSAVE area */
    DEBUG_SETREGS,   /* tid, the same */
    DEBUG_BREAK,     /* a: address, b: 1 set, 0 take away */
    DEBUG_WATCH,     /* a: address, b: length, c: enum debug_watch; + 8: take away */
    DEBUG_PAUSE,     /* -> a: how many threads could not be stopped */
    DEBUG_RESUME,    /* a: new threads wait; struct debug_go[] */
    DEBUG_THREADS,   /* -> struct debug_thread[] */
    DEBUG_CATCH,     /* a: 1: tell of the calls whose bits are set in the 64 bytes that follow; 0: of none */
    DEBUG_PASS,      /* a: signals (bit n - 1) that go to the program untold */
    DEBUG_KILL,      /* pid */
    DEBUG_DETACH,    /* pid: goes on undebugged, for good */
    DEBUG_RELEASE,   /* all of it goes on, until the next DEBUG_ENGAGE */
    DEBUG_ENGAGE,
    DEBUG_INFO,      /* -> b: address, c: size of the auxiliary vector; the path of the program */
    DEBUG_SIGINFO,   /* tid -> the siginfo_t of its last event; with one behind it: that is what its signal brings */
    DEBUG_MAPS       /* a: offset, b: 1: smaps -> /proc/PID/maps of the guest, from there on */
};
enum debug_cause {
    DEBUG_SIGNAL = 1, /* b: signal */
    DEBUG_TRAP,       /* a breakpoint */
    DEBUG_STEPPED,
    DEBUG_WATCHED,    /* b: enum debug_watch, c: its address */
    DEBUG_ENTRY,      /* b: number of the call */
    DEBUG_RETURN,
    DEBUG_FORK,       /* b: the child */
    DEBUG_VFORK,
    DEBUG_VFORK_DONE
};
enum debug_watch { DEBUG_WATCH_WRITE, DEBUG_WATCH_READ, DEBUG_WATCH_ACCESS };
enum debug_step { DEBUG_STAY, DEBUG_RUN, DEBUG_STEP };

struct debug_regs { struct tv_regs regs; uint64_t fs, gs, orig_rax, size; }; /* size: of the XSAVE area that follows */
struct debug_go { int32_t pid, tid; uint32_t step; int32_t signal; uint64_t lo, hi; }; /* -1: any; the first that fits holds */
struct debug_thread { int32_t pid, tid; uint32_t parked, pad; };

struct breakpoint { gva at; uint8_t byte; };
struct watchpoint { gva at; uint32_t len; int kind; uint8_t *was; };
#define WATCHES 64
#define WATCH_MOST 4096u /* bytes */

struct tv_debug {
    int sock;
    pthread_t thread;
    bool running;         /* the thread of control.c */
    bool engaged;         /* events are told, and waited for */
    bool over;            /* the debugger has gone */
    uint64_t pass;
    uint8_t caught[64];
    bool catches;
    struct breakpoint *bp;
    size_t nbp, bp_room;
    struct watchpoint watch[WATCHES];
    int nwatch;
    int lifted;           /* how deep `alone` is in an access to a watched page */
    struct tv_thread *alone; /* while no other thread runs in the guest; under vm->lock */
};

/* watch.c; what changes memory takes vm->mm itself */
long memory_view(struct tv_vm *vm, void *dst, gva at, uint64_t len); /* bytes read, from the start */
int memory_poke(struct tv_vm *vm, gva at, const void *src, uint64_t len);
int break_set(struct tv_vm *vm, gva at, bool set);
bool break_at(const struct tv_vm *vm, gva at);
void break_lift(struct tv_vm *vm, gva at, bool lift); /* for a step of a thread that nobody debugs */
int watch_set(struct tv_vm *vm, gva at, uint64_t len, int kind, bool set);
void debug_clear(struct tv_vm *vm); /* all of both */

/* debug.c */
bool debug_on(const struct tv_vm *vm, const struct tv_proc *p);
bool debug_tell(struct tv_vm *vm, int cause, uint64_t b, uint64_t c, const siginfo_t *info); /* tv_me stands still until it may go on; false: nobody hears */
bool debug_one(struct tv_vm *vm); /* one instruction of tv_me; false: it was not made */

/* control.c */
void debug_event(struct tv_vm *vm, const struct debug_msg *m, const void *data, size_t size);
#endif
