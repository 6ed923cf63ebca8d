/* Inside the core. All state of a guest hangs from struct tv_vm. */
#ifndef TV_H
#define TV_H

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "core.h"
#include "cpu.h"

#define PG 4096ull
#define PG_MASK (PG - 1)
#define HUGE (2ull << 20)
#define GIB (1ull << 30)
#define PG_DOWN(x) ((x) & ~PG_MASK)
#define PG_UP(x) (((x) + PG_MASK) & ~PG_MASK)

/* Guest virtual = guest physical = offset into one host reservation.
 *   [0x1000, 0x10000)        ring 0 only: GDT, IDT, TSS, stubs, first page tables, ring-0 stack
 *   [TV_MIN, vm->top)        the program
 *   [vm->top, vm->limit)     page tables and vvar, guest physical only, mapped nowhere
 *   [vm->limit, + TV_GUARD)  PROT_NONE for ever: a length that runs past the end faults there */
#define TV_MIN 0x10000ull
#define TV_POOL (4ull * GIB)
#define TV_GUARD (8ull * GIB)
#define TV_SYS_GDT 0x1000ull
#define TV_SYS_TSS 0x1100ull
#define TV_SYS_IDT 0x1200ull
#define TV_SYS_STUBS 0x1400ull
#define TV_SYS_TABLES 0x2000ull
#define TV_SYS_TABLES_END 0xe000ull
#define TV_SYS_LSTAR 0xe000ull  /* a page of its own: ring 3 executes it on PVM */
#define TV_SYS_STACK 0x10000ull /* top of the ring-0 stack page */

#define TV_PORT_CALL 0x10 /* ToroV's port: a patched syscall */
#define TV_PORT_EXC 0x21  /* an exception stub: ring 0 only */
#define TV_STUB_STEP 8
#define TV_VECTORS 32

/* A guest virtual address. Never dereferenced: tv_ptr() and the copies of copy.c are the only gates. */
typedef uint64_t gva;

struct tv_vma {
    gva start, end;
    uint16_t prot;  /* PROT_* as the guest asked */
    uint16_t flags; /* VMA_* */
};
enum {
    VMA_SHARED = 1,
    VMA_FILE = 2,
    VMA_STACK = 4,
    VMA_HEAP = 8,
    VMA_TEXT = 16,    /* image text, never writable so far: may be patched late */
    VMA_VDSO = 32,
    VMA_WRITTEN = 64, /* was writable at some time */
    VMA_IMAGE = 128,
    VMA_NOFORK = 256, /* MADV_DONTFORK */
    VMA_NODUMP = 512  /* MADV_DONTDUMP */
};

struct tv_mem {
    uint8_t *base;          /* host address of guest 0 */
    void *reserve;          /* what was mmapped, for munmap */
    size_t reserve_len;
    uint64_t limit, top;    /* see above */
    struct tv_vma *vma;     /* sorted, disjoint */
    size_t nvma, cap;
    gva brk_start, brk, brk_max;
    gva mmap_base;          /* where the search for a free place starts */
    gva mmap_next;
    uint32_t *pt_of;        /* by 2 MiB block: page-table page (gpa >> 12) bound to it for good */
    uint8_t slot_mask[512]; /* by GiB: which of its memslots exist */
    uint64_t low_next;      /* next free table page below TV_SYS_TABLES_END */
    uint64_t pool_next, pool_end;
    uint32_t next_slot;
    uint64_t slot0;         /* size of memslot 0 */
    bool huge;              /* the host offers transparent huge pages */
};

struct tv_sites { /* open addressing; a key is never 0. Readers take no lock: a table that grew stays until the end. */
    struct site_table *now;
};
struct site_table {
    struct site_table *older;
    size_t mask, n;
    uint8_t *val;
    uint64_t key[];
};
enum { SITE_PATCHED = 1, SITE_AMBIGUOUS = 2, SITE_GADGET = 3, SITE_KEEP = 4 };
#define TV_F_EXEC_STACK 0x10000u /* from the image */

struct tv_sigaction { uint64_t handler, flags, restorer, mask; }; /* struct kernel_sigaction of x86-64 */

struct tv_altstack { uint64_t sp; int32_t flags; uint32_t pad; uint64_t size; }; /* stack_t */

/* One thread of the guest: a host thread with a vCPU of its own. */
struct tv_thread {
    struct tv_vm *vm;
    struct tv_proc *proc;
    struct tv_thread *next;
    struct tv_cpu *cpu;
    pthread_t pthread;
    pid_t tid;
    gva clear_tid, robust_list;
    uint64_t robust_len;
    uint64_t sigmask;
    struct tv_altstack altstack;
    volatile int attention;     /* a signal was noted, or the thread was kicked: look before the guest goes on */
    volatile int noted;         /* incoming is valid; all further signals are blocked until it is delivered */
    siginfo_t incoming;
    uint64_t deferred;          /* SIGSEGV and SIGBUS that were sent while the guest blocks them: in kept_info */
    siginfo_t kept_info[2];
    uint64_t wait_mask;         /* if waiting: what sigsuspend(2), ppoll(2) and the like block while they wait */
    bool waiting;
    int restart;                /* how the call that was interrupted goes on: RESTART_* */
    bool raw_regs;              /* the call set the registers itself (rt_sigreturn) */
    bool gone;                  /* exit(2) of this thread only */
    struct tv_keeper *keepers;  /* fork.c */
    bool left;                  /* its clear_tid is done */
    uint64_t fault_error, fault_vector, fault_cr2; /* for the next signal frame */
    gva fault_addr; uint64_t fault_rip, fault_rcx; unsigned fault_again, vanish_again;
    struct tv_stats stats;
    struct tv_clone *start;     /* until the thread runs */
    uint64_t budget;            /* bytes that a call may write, plus 1; 0: any */
    struct trace_thread *trace; /* trace.c; or NULL */
    bool untraced;              /* -f was not given, and it is not the first thread */
    const char *refused;        /* the policy has answered the call that is traced: its rule, or "" */
    struct tv_perf *perf;       /* perf.c; or NULL */
    struct held *held;          /* policy.h: what a rule with conditions has read of the call that is served; or NULL */
    bool stop;                  /* stands still as soon as it can: pause.c */
    int parked;                 /* THREAD_*, or 0: it runs, or is on its way */
    bool in_call;               /* where somebody debugs: not in the guest, and it looks before it goes there (debug_aside()) */
    struct tv_saved *saved;     /* once it has stood still */
};
enum { THREAD_PARKED = 1, THREAD_ASIDE = 3, THREAD_HELD = 2 /* waits for the end of a vfork: comes to a stop behind the call */ };

/* What a thread that stands still has besides *cpu->regs, and what a debugger wants of it. */
struct tv_saved {
    bool whole;                 /* fs, gs and fpu are valid */
    bool changed;               /* and go back into the CPU before the thread goes on */
    uint64_t fs, gs;
    uint8_t fpu[CPU_XSAVE];
    uint64_t orig_rax;          /* debug.c, from here on: the number of the call at whose beginning or end it stands; or -1 */
    int step, signal;           /* once it goes on: DEBUG_STEP, and the signal that it gets */
    gva lo, hi;                 /* the step goes on while rip is in there */
    bool stepped;               /* the instruction is done */
    siginfo_t info;             /* of the last event that was told */
    int told;                   /* the signal before which it stands; or 0 */
};

/* What clone(2) asks for. */
struct tv_clone {
    uint64_t flags, stack, tls; /* flags: with the exit signal in the low byte */
    gva parent_tid, child_tid, pidfd;
    struct tv_regs regs;
    uint64_t fs, gs;
    uint8_t fpu[CPU_XSAVE];
    pthread_cond_t go;
    int state; /* 0: starting, 1: has a tid, 2: may run, 3: must not, 4: could not be made, 5: has ended or called exec */
    int fd;    /* of CLONE_PIDFD, or the errno of state 4 */
    struct tv_proc *creator;
    bool clean; /* the process ended by itself: its vCPU can be used again */
};
extern __thread struct tv_thread *tv_me __attribute__((tls_model("initial-exec")));
enum { RESTART_NONE = 0, RESTART_SYS = 512, RESTART_NOINTR = 513, RESTART_EINTR = 514 };

/* One process of the guest. A forked one has a VM of its own; one made with CLONE_VM (vfork, posix_spawn) shares its
 * parent's: a host process that shares the monitor's memory, too. */
struct tv_sighand { int refs; struct tv_sigaction act[65]; };
struct tv_proc {
    pid_t pid;
    struct tv_sighand *sig;
    struct tv_stop end;        /* kind != 0: ended */
    pid_t culprit;             /* the thread that ended it */
    siginfo_t died;            /* of the signal that did */
    gva died_sp;
    struct tv_left *left;      /* coredump.c */
    struct tv_thread *threads; /* the first is the leader */
    int alive, pthreads;
    struct tv_cpu *idle[64];   /* a vCPU is used by the process that made it: descriptors are a process's */
    int nidle;
    struct tv_cpu *spare;      /* more of them */
    bool child;                /* there is no Python above it */
    bool shares;               /* the VM of its parent */
    bool shared_fds;           /* CLONE_FILES: with its parent */
    int slot;                  /* limit.c: its place among the processes of the tree */
    struct tv_proc *next;      /* another one in the same VM, under vm->lock */
    bool let_go;               /* the debugger does not want it */
};

/* What hidden descriptors may be, since a link in /proc that the guest makes a path of can lead to them: sockets and KVM's,
 * which cannot be opened again, and O_PATH ones that show nothing which the guest must not read. */
#define DELEGATES TV_DELEGATES
enum { KEEP_RUNNER, KEEP_AUDIT, KEEP_TTY, KEEP_SHARED, KEEP_TRACE, KEEP_DEBUG, KEEP_CORE, KEEP_PERF, KEEP_DELEGATE, KEEP_COUNT = KEEP_DELEGATE + DELEGATES };

struct tv_file { void *map; uint64_t size, body, length; }; /* symbol.c: body: where the ELF file begins */

struct tv_helper { char *cache, *version, *python, *runner; char **envp; }; /* see struct tv_spec */

struct tv_vm {
    struct tv_cpu_vm *hw;
    struct tv_mem mem;
    struct tv_sites sites;
    int16_t actions[512];
    uint8_t noted[512];
    struct tv_stats stats;     /* of what is not a thread's, and of threads that ended */
    struct tv_stop notice[16]; /* to be reported before the next entry */
    int notices;
    uint32_t flags;
    char *exe;
    int keep[KEEP_COUNT];      /* hidden descriptors that the guest's processes and programs inherit; -1: none */
    uint8_t *program;          /* the policy's rules with conditions: policy.h; or NULL */
    uint32_t program_size;
    uint8_t *strict;           /* strict.c: what each site may make; NULL: anything */
    uint64_t image_bias;
    uint8_t told[512];         /* refusals of a call that were told */
    bool always[512];          /* "ask" was answered with "always" */
    uint64_t *seen;            /* hashes of what was told: a set */
    size_t nseen, seen_room;
    int fd_lo, *fd_hi;         /* [lo, *hi): the monitor's descriptors, invisible to the guest; *hi is shared with processes that share the table */
    pthread_mutex_t mm;        /* mem, and writing sites */
    pthread_mutex_t lock;      /* processes, threads, ends, notices, dispositions, free CPUs */
    pthread_cond_t changed;    /* a thread ended, or there is a notice */
    pthread_cond_t keepers;    /* there is something to do for them */
    int nkeepers;
    struct tv_proc *proc;      /* the process that tv_run() runs */
    int next_cpu;
    int sharers;               /* other processes that run in this VM */
    uint64_t next_sys;         /* ring-0 page of the next vCPU */
    struct { uint64_t cur, max; } rlim[16];  /* guest's view of the limits that would hit the monitor */
    uint32_t rlim_own;         /* bits: which of them the guest set */
    uint64_t core;             /* the host's soft RLIMIT_CORE as it was: a core file of the monitor would be the guest's to read */
    uint64_t root_dev, root_ino; /* "/" when it was created: chroot(2) changes what paths of ours lead to */
    uint32_t limited;          /* bits: which of them the policy set, and nobody raises */
    uint32_t most_threads;
    uint64_t most_memory;
    struct tv_shared *shared;  /* limit.c, or NULL */
    gva entry, loader_entry, loader_base, phdr, stack_lo, stack_hi, stack_ptr, image_lo, image_hi, vdso, vdso_end;
    uint64_t phent, phnum;
    gva arg_start, arg_end, env_end, auxv; /* env_start is arg_end */
    uint64_t auxv_size;
    bool shown;                /* proc_show() was called */
    char *interp;              /* path of PT_INTERP, or NULL */
    struct tv_file file[2];    /* program and interpreter, where they are out of reach later */
    uint32_t perf_hz;          /* samples of a second of CPU time */
    char core_name[256];       /* what a core file is called in the directory KEEP_CORE; empty: it is a socket */
    uint64_t peak;             /* most bytes mapped that /proc has shown */
    uint64_t began;            /* tv_run(), for first_ns */
    struct tv_helper helper;
    int *timers;               /* of timer_create(2) */
    unsigned ntimers, timer_room;
    struct trace_ring *trace;  /* trace.h; NULL: nothing is traced */
    bool vvar_slot;            /* the memslot of the vvar pages exists */
    bool hold;                 /* new threads stand still at once */
    bool attend;               /* threads that were kicked look whether they are to stand still, or are debugged */
    struct tv_debug *debug;    /* debug.c; or NULL */
};

/* copy.c: the only places that read or write guest memory by pointer. 0 or -EFAULT. */
int tv_copy_in(struct tv_vm *vm, void *dst, gva src, uint64_t len);
int tv_copy_out(struct tv_vm *vm, gva dst, const void *src, uint64_t len);
int tv_store16(struct tv_vm *vm, gva dst, uint16_t value); /* one store, if dst is even */
long tv_copy_str(struct tv_vm *vm, char *dst, gva src, size_t cap); /* length without NUL, -EFAULT, -ENAMETOOLONG */
int tv_copy_host(void *dst, const void *src, uint64_t len); /* from a file that is mapped and may be cut short */
int tv_touch(struct tv_vm *vm, gva addr); /* can the host read this byte now? */
uint64_t tv_ptr(const struct tv_vm *vm, gva addr); /* host address for the host kernel, or one that it refuses */
uint64_t tv_room(const struct tv_vm *vm, gva addr); /* bytes from addr to the end of the guard */
int tv_copy_setup(void);
int tv_arg_in(struct tv_vm *vm, int arg, void *dst, gva src, uint64_t len); /* decide.c: of a structure that the policy may have read: what it has read */
uint64_t tv_addr_ptr(struct tv_vm *vm, gva addr); /* tv_ptr() of the socket address of a call, or what the policy has read */
bool tv_watched(struct tv_vm *vm); /* is there another that could use a descriptor before it is known what it is? */

/* mem.c, pt.c */
int mem_create(struct tv_vm *vm);
void mem_destroy(struct tv_vm *vm);
bool mem_host_huge(void);
int vdso_find(void);
int mem_slot(struct tv_vm *vm, uint64_t start, uint64_t end);
uint64_t mem_table(struct tv_vm *vm); /* a zeroed page-table page: gpa, or 0 */
int pt_map(struct tv_vm *vm, gva start, gva end, int prot, bool large);
void pt_protect(struct tv_vm *vm, gva start, gva end, int prot); /* present entries only; prot 0 removes */
int pt_map_phys(struct tv_vm *vm, gva va, uint64_t gpa, int prot);
int pt_system(struct tv_vm *vm);
int pt_system_page(struct tv_vm *vm, uint64_t page); /* a ring-0 page of a vCPU, above top */
enum fault { FAULT_RETRY, FAULT_MAPERR, FAULT_ACCERR, FAULT_BUS, FAULT_NOMEM };
enum fault mem_fault(struct tv_vm *vm, gva addr, uint64_t error);
int mem_vanished(struct tv_vm *vm);

/* vma.c */
struct tv_vma *vma_find(struct tv_mem *m, gva addr);      /* the one that holds addr, or NULL */
size_t vma_lower(const struct tv_mem *m, gva addr);       /* index of the first with end > addr */
int vma_set(struct tv_mem *m, gva start, gva end, int prot, int flags); /* replaces what was there */
int vma_clear(struct tv_mem *m, gva start, gva end);
int vma_split(struct tv_mem *m, gva at);
void vma_merge(struct tv_mem *m, size_t from, size_t to);
bool vma_free(const struct tv_mem *m, gva start, gva end);
gva vma_place(struct tv_mem *m, uint64_t len, uint64_t align, gva lo, gva hi); /* 0: no room */

/* map.c */
int host_prot(int prot);
int map_anon(struct tv_vm *vm, gva start, gva end, int prot, int flags);
int map_none(struct tv_vm *vm, gva start, gva end);
int map_enter(struct tv_vm *vm, gva start, gva end, int prot, int flags);
bool map_room(const struct tv_vm *vm, gva start, gva end, int prot, int flags);

/* limit.c */
struct tv_call;
struct iovec;
void limit_start(struct tv_vm *vm, const struct tv_spec *spec);
int limit_join(struct tv_vm *vm, int fd);
void limit_leave(struct tv_vm *vm);
int limit_take(struct tv_vm *vm);
void limit_give(struct tv_vm *vm, int slot);
void limit_mine(struct tv_vm *vm, struct tv_proc *p, int slot);
void limit_made(struct tv_vm *vm, int slot, pid_t pid);
bool limit_memory(const struct tv_vm *vm, gva start, gva end, int prot, int flags);
int64_t limit_host(struct tv_vm *vm, long nr, uint64_t a[6], const struct tv_call *c);
void limit_iov(struct iovec *v, uint64_t count);

/* load.c, stack.c, vdso.c */
int load_image(struct tv_vm *vm, int fd, bool loader, const char **what);
void place_stack(struct tv_vm *vm, uint64_t size);
int build_stack(struct tv_vm *vm, const struct tv_spec *spec);
int vdso_map(struct tv_vm *vm, gva at);
int vdso_slots(struct tv_vm *vm);

/* site.c */
int site_put(struct tv_sites *s, uint64_t addr, int val);
static inline int site_get(const struct tv_sites *s, uint64_t addr) {
    const struct site_table *t = __atomic_load_n(&s->now, __ATOMIC_ACQUIRE);
    if (!t) return 0;
    uint64_t key;
    for (size_t i = (addr * 0x9e3779b97f4a7c15ull >> 32) & t->mask; (key = __atomic_load_n(&t->key[i], __ATOMIC_ACQUIRE)); i = (i + 1) & t->mask)
        if (key == addr) return __atomic_load_n(&t->val[i], __ATOMIC_RELAXED);
    return 0;
}
void site_free(struct tv_sites *s);

/* symbol.c, coredump.c */
void symbol_file(struct tv_vm *vm, bool loader, int fd, uint64_t size, uint64_t body, uint64_t length);
void symbol_close(struct tv_vm *vm);
void symbol_where(struct tv_vm *vm, char *out, size_t size, gva at, gva sp);
uint64_t symbol_hash(struct tv_vm *vm); /* another one: what is linked to the program has changed */
size_t symbol_objects(struct tv_vm *vm, char *out, size_t size); /* a line each: base end path; bytes */
const char *dump_signal(int sig); /* its name, if its default action is a core file; else NULL */
bool dump_wanted(const struct tv_vm *vm);
void dump_leave(struct tv_vm *vm);
void dump_end(struct tv_vm *vm);

/* perf.c */
#define TICK_VALUE ((void *)0x746f726f765f7469ull)
void perf_begin(struct tv_vm *vm);
void perf_tick(struct tv_thread *t, int overrun);
void perf_attend(struct tv_vm *vm);
void perf_turn(struct tv_vm *vm, struct tv_exit *x);
void perf_leave(struct tv_vm *vm);

/* call.c: the table interpreter */
struct tv_argspec { uint8_t kind, ref; uint16_t size; uint8_t named; }; /* named: a number with a meaning of its own: flags, a command */
struct tv_call;
typedef int64_t (*tv_core_fn)(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c);
struct tv_call {
    uint8_t serve, nargs, plain, special, mm; /* mm: changes or reads the list of mappings; plain: all arguments cross unchanged */
    int16_t err;                          /* DENY: the errno, positive */
    int16_t action;                       /* the built-in policy */
    tv_core_fn core;
    struct tv_argspec arg[6];
};
enum { SERVE_NONE, SERVE_HOST, SERVE_CORE, SERVE_DENY };
enum { A_NUM, A_FD, A_ATFD, A_PATH, A_STR, A_IN, A_OUT, A_IO, A_FDSET, A_IOVIN, A_IOVOUT, A_MSGIN, A_MSGOUT,
       A_MMSGIN, A_MMSGOUT, A_SIGSET, A_SIGSETARG, A_LOOK, A_ADDR, A_SOCKADDR };
#define REF_CONST 0xff
#define REF_DEREF 0x80 /* length is the u32 that the argument points to */
extern const struct tv_call tv_calls[512];
void tv_dispatch(struct tv_vm *vm, gva site);
int64_t tv_host(struct tv_vm *vm, long nr, uint64_t a[6], const struct tv_call *c);

static inline long sys6(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    register uint64_t r10 __asm__("r10") = a3;
    register uint64_t r8 __asm__("r8") = a4;
    register uint64_t r9 __asm__("r9") = a5;
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
static inline bool fd_hidden(const struct tv_vm *vm, uint64_t fd) {
    int f = (int)fd;
    return f >= vm->fd_lo && f < __atomic_load_n(vm->fd_hi, __ATOMIC_RELAXED);
}

/* A host call that a signal may interrupt: -RESTART_NOINTR if it was not begun, -RESTART_SYS if the host would
 * restart it; see sig.c. */
long tv_cp(volatile int *attention, long nr, const uint64_t a[6]);
extern const char tv_cp_begin[], tv_cp_insn[], tv_cp_end[];
static inline long host6(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    return tv_cp(&tv_me->attention, nr, (uint64_t[6]){a0, a1, a2, a3, a4, a5});
}

/* sig.c, frame.c */
void sig_end(struct tv_vm *vm, int sig, int code, gva addr); /* the default action of sig */
void sig_fault(struct tv_vm *vm, int sig, int code, gva addr); /* what the CPU says: the handler, or the end */
void sig_first(struct tv_vm *vm);
void sig_start(struct tv_vm *vm);
void sig_stop(struct tv_vm *vm);
void sig_core(struct tv_vm *vm);
void sig_libc(const struct tv_proc *p);
void sig_attend(struct tv_vm *vm);                           /* deliver what was noted; restart what was interrupted */
int sig_kick(const struct tv_thread *t);
bool sig_is_kick(int sig, const siginfo_t *info); /* or a request to attach */
bool sig_is_ask(int sig, const siginfo_t *info);
void sig_debug(struct tv_vm *vm);
void sig_give(struct tv_vm *vm, siginfo_t *info);
void sig_note(int sig, siginfo_t *info, void *context);
int host_mask(uint64_t mask);
int mask_unless_noted(uint64_t mask);
int sig_hold(void);
bool sig_release(struct tv_thread *t, uint64_t mask);
bool sig_wait(struct tv_thread *t, uint64_t mask);
uint64_t sig_waiting(uint64_t mask); /* the same mask without what the monitor needs */
int frame_push(struct tv_vm *vm, const struct tv_sigaction *act, const siginfo_t *info, uint64_t mask, const struct tv_regs *regs);

/* pause.c. vm_pause() brings all threads of the VM to a stop but the caller, if it is one of them, and returns how many could not be
 * stopped (they are in a call that no signal ends, and stop behind it). Of one that stands still, t->parked is set, *t->cpu->regs is the program's
 * state (a call that was interrupted is at its instruction again), t->saved holds FPU and segment bases, and all of it may be changed
 * (saved->changed). It goes on with vm_resume(), or if its process ends. Any thread of the monitor may call them, without locks. */
int vm_pause(struct tv_vm *vm);
void vm_resume(struct tv_vm *vm);
struct tv_thread *thread_after(struct tv_vm *vm, const struct tv_thread *t); /* all threads: for (t = thread_after(vm, NULL); t; t = ...) */
bool thread_runs(const struct tv_thread *t); /* another one that does not stand still; under vm->lock */
void thread_await(struct tv_vm *vm);
void thread_park(struct tv_vm *vm); /* tv_me, while its stop is set */
void thread_held(struct tv_vm *vm, bool held);

/* debug.c, watch.c, control.c: what they share is in debug.h. Called only where vm->attend or vm->debug is set, but for the first two. */
enum debug_birth { DEBUG_STARTED, DEBUG_FORKED, DEBUG_EXECED, DEBUG_ATTACHED };
int debug_start(struct tv_vm *vm, int birth, pid_t parent);
void debug_stop(struct tv_vm *vm);
void debug_attend(struct tv_vm *vm); /* tv_me was kicked: before it enters the guest */
bool debug_on(const struct tv_vm *vm, const struct tv_proc *p); /* p is debugged now */
int debug_signal(struct tv_vm *vm, siginfo_t *info);
bool debug_call(struct tv_vm *vm);
void debug_returned(struct tv_vm *vm, uint64_t nr);
bool debug_trap(struct tv_vm *vm);
bool debug_fault(struct tv_vm *vm, gva addr, uint64_t error);
void debug_aside(struct tv_vm *vm); /* tv_me waits while another thread is to run alone */
void debug_yield(struct tv_vm *vm); /* tv_me stands still in the middle of what it does alone; under vm->lock */
void debug_gone(struct tv_vm *vm);
void debug_pages(struct tv_vm *vm, gva start, gva end);
void debug_fork(struct tv_vm *vm, pid_t pid);
void debug_forked(struct tv_vm *vm);
void debug_vfork(struct tv_vm *vm, pid_t pid, bool done);
void debug_end(struct tv_vm *vm, const struct tv_proc *p);
#define DEBUG_ASK_VALUE ((void *)0x746f726f765f6174ull) /* of a SIGBUS: `torov attach` */
void debug_ask(const siginfo_t *info); /* async-signal-safe */
void debug_asked(struct tv_vm *vm);

/* thread.c */
struct tv_thread *thread_new(struct tv_vm *vm, struct tv_proc *proc);
struct tv_proc *proc_new(struct tv_sighand *shared); /* NULL: dispositions of its own */
void proc_free(struct tv_proc *p);
int thread_prepare(struct tv_vm *vm, struct tv_thread *t, struct tv_clone *s);
void thread_give_cpu(struct tv_vm *vm, struct tv_proc *to, struct tv_cpu *cpu);
void thread_leave(struct tv_vm *vm, struct tv_thread *t);
bool vm_take_notice(struct tv_vm *vm, struct tv_stop *out);
void thread_loop(struct tv_vm *vm);
void thread_merge(struct tv_thread *t);    /* under vm->lock, or alone */
void thread_end_all(struct tv_vm *vm);      /* end is set: stop the others and wait for them */
int thread_cpu(struct tv_vm *vm, struct tv_cpu **out);
bool vm_end(struct tv_vm *vm, struct tv_stop end); /* was it the first? */
static inline bool proc_ended(const struct tv_proc *p) { return __atomic_load_n(&p->end.kind, __ATOMIC_ACQUIRE); } /* without vm->lock */
bool pool_take(struct tv_vm *vm);
bool pool_give(struct tv_vm *vm);
void vm_run_to_end(struct tv_vm *vm) __attribute__((noreturn));
void note_write(const struct tv_vm *vm, const struct tv_stop *s);
void note_gadget(struct tv_vm *vm, int nr, gva site);
bool exec_alone(struct tv_vm *vm);
void sig_for_exec(struct tv_vm *vm);
void sig_clear(struct tv_vm *vm);
void sig_note_all(struct tv_vm *vm);
void sig_repair(struct tv_proc *p);
void keepers_quit(struct tv_vm *vm, struct tv_thread *t);
enum proc_link { LINK_OTHER, LINK_EXE, LINK_HIDDEN };
bool proc_is(int fd);
enum proc_link proc_link_of(struct tv_vm *vm, int dir, const char *path); /* proc.c */
uint64_t proc_look(struct tv_vm *vm, uint64_t dir, gva path, bool follow, char *buf, enum proc_link *found); /* buf: PATH_MAX bytes */
void proc_first(struct tv_vm *vm);
void proc_show(struct tv_vm *vm);
int mem_slots_again(struct tv_vm *vm);
struct tv_packed { void *data; size_t size; };
int spec_pack(struct tv_vm *vm, struct tv_packed *out, int image, int loader, int strict, const char *exe, const char *execfn, const char *argv,
              size_t argv_bytes, size_t nargv, const char *envp, size_t envp_bytes, size_t nenvp);
int spec_file(const struct tv_packed *p);
int tv_runner(int fd);
int vm_hide_fd(struct tv_vm *vm, int *fd);
int *vm_fd_page(int hi);
struct rlimit;
void vm_more_fds(struct rlimit *old); /* between the two, descriptors can be made although the guest's table is full */
void vm_less_fds(const struct rlimit *old);
void vm_hold_fds(void);
void vm_free_fds(void);
void vm_forked_fds(void); /* in the child */
int64_t do_fork(struct tv_vm *vm, struct tv_clone *s);
int64_t do_share(struct tv_vm *vm, struct tv_clone *s);
void vm_exit(struct tv_vm *vm, struct tv_exit *x);

int strict_set(struct tv_vm *vm, const void *table, uint32_t size);
bool strict_allows(const struct tv_vm *vm, gva site, long nr);
void strict_kill(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site);
void notice_queue(struct tv_vm *vm, const struct tv_stop *s);
void audit_send(struct tv_vm *vm, const char *text, size_t n);
void tv_notice(struct tv_vm *vm, int note, int nr, gva addr, int err);
uint64_t tv_now(void);
void tv_fail(struct tv_stop *s, const char *what, int err);

/* side.c */
int side_start(const char *name, const int *keep, size_t n, void (*serve)(int sock, void *of), void *of);
int side_ask(int sock, char what, int *fd);
void side_answer(int sock, char what, int fd);

#endif
