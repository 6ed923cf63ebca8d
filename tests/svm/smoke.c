/* The core against Linux itself: each case runs natively under ptrace(2) and as a guest, and both must write the same
 * and end the same, with the same si_code and si_addr. One line for each case, `ok NAME` or `not ok NAME why`, then
 * `N passed, N failed`.
 *
 *     smoke [-i] DIRECTORY        DIRECTORY holds each program P and its image file P.img; -i: IOPL=3, for QEMU TCG
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

void debugger(const char *directory, unsigned flags, int *passed, int *failed); /* debugger.c */

#define REPORT_FD 700 /* out of the way of the descriptors that a program gets */
#define LIMIT_S 20

enum {
    ANY_ADDR = 1,  /* the address depends on where things lie */
    NO_IOPL = 2,   /* IOPL=3 lets the program do it */
    MAY_TRAP = 4,  /* a syscall instruction that was not patched may run */
    CLOCKS = 8,    /* the output is three struct timespec */
    OWN = 16,      /* differs from Linux on purpose: ends by SIGSEGV as if the instruction were not there */
    LATE = 32,     /* sites that are patched when they are first hit */
    CPU_OWN = 64   /* SIGSEGV or SIGILL, as the CPU's maker chose */
};
struct test {
    const char *name, *program, *arg, *in;
    unsigned flags, trapped, gadgets, lost;
};
static const struct test tests[] = {
    {"hello in assembly", "hello-asm", NULL, "", 0, 0, 0, 0},
    {"hello, glibc", "hello-glibc", "x", "", 0, 0, 0, 0},
    {"hello, static-pie", "hello-pie", "x", "", 0, 0, 0, 0},
    {"hello, musl", "hello-musl", "x", "", 0, 0, 0, 0},
    {"late patching", "hello-late", NULL, "", LATE | MAY_TRAP, 1, 0, 0},
    {"adjacent sites, first exit at the first", "adjacent", NULL, "x", 0, 0, 0, 0},
    {"adjacent sites, first exit at the second", "adjacent", "1", "x", 0, 0, 0, 0},
    {"file calls and errors", "cases", "calls", "", 0, 0, 0, 0},
    {"heap", "cases", "heap", "", 0, 0, 0, 0},
    {"3 GiB mapping", "cases", "huge", "", 0, 0, 0, 0},
    {"mremap munmap mprotect", "cases", "remap", "", 0, 0, 0, 0},
    {"file mappings", "cases", "file", "", 0, 0, 0, 0},
    {"truncated file mapping", "cases", "bus", "", 0, 0, 0, 0},
    {"syscall in generated code", "cases", "net", "", MAY_TRAP, 100, 0, 0},
    {"syscall inside an instruction", "cases", "gadget", "", MAY_TRAP, 1, 1, 0},
    {"registers across a syscall", "cases", "registers", "", 0, 0, 0, 0},
    {"fs and gs base", "cases", "bases", "", 0, 0, 0, 0},
    {"clocks by the vDSO", "cases", "clocks", "", CLOCKS, 0, 0, 0},
    {"SIGALRM in a loop", "cases", "alarm", "", ANY_ADDR, 0, 0, 0},
    {"write to NULL", "cases", "null", "", 0, 0, 0, 0},
    {"write to a read-only page", "cases", "read-only", "", 0, 0, 0, 0},
    {"read of a PROT_NONE page", "cases", "none", "", 0, 0, 0, 0},
    {"write behind munmap", "cases", "unmapped", "", 0, 0, 0, 0},
    {"jump to data", "cases", "no-exec", "", 0, 0, 0, 0},
    {"write to the kernel half", "cases", "kernel-half", "", 0, 0, 0, 0},
    {"write to a non-canonical address", "cases", "non-canonical", "", 0, 0, 0, 0},
    {"division by zero", "cases", "divide", "", 0, 0, 0, 0},
    {"ud2", "cases", "ud2", "", 0, 0, 0, 0},
    {"int3", "cases", "int3", "", 0, 0, 0, 0},
    {"hlt", "cases", "hlt", "", 0, 0, 0, 0},
    {"forged out 0x10, eax", "cases", "out", "", 0, 0, 0, 1},
    {"forged out 0x10, al", "cases", "out-byte", "", 0, 0, 0, 1},
    {"forged out 0x21, al", "cases", "out-stub", "", NO_IOPL, 0, 0, 0},
    {"int 0x80", "cases", "int80", "", OWN, 0, 0, 1},
    {"int 0x81", "cases", "int81", "", 0, 0, 0, 0},
    {"int 0x0d", "cases", "int13", "", 0, 0, 0, 0},
    {"sysenter", "cases", "sysenter", "", CPU_OWN, 0, 0, 1},
    {"jump to an exception stub", "cases", "stub", "", 0, 0, 0, 0},
    {"jump to the LSTAR stub", "cases", "lstar", "", 0, 0, 0, 1},
    {"stack overflow", "cases", "overflow", "", ANY_ADDR, 0, 0, 0},
    {"abort", "cases", "abort", "", ANY_ADDR, 0, 0, 0},
};

struct result { /* what became of a program */
    int sig, status, code;  /* sig 0: status */
    uint64_t addr;
    char out[8192];
    size_t len;
    bool ran;               /* the guest's own part below is there */
    struct tv_stop stop;
    struct tv_stats stats;
    int notes;              /* bits by TV_NOTE_* */
    struct timespec before[2], after[2];
};

static const char *directory;
static unsigned core_flags;

static void now(struct timespec t[2]) {
    clock_gettime(CLOCK_MONOTONIC, &t[0]);
    clock_gettime(CLOCK_REALTIME, &t[1]);
}

/* Child: run natively, stopped at every signal. Environment empty: the auxiliary vector is not compared here. */
static void native(const struct test *t, const char *path) {
    char *argv[] = {(char *)t->program, (char *)t->arg, NULL}, *envp[] = {NULL};
    personality(ADDR_NO_RANDOMIZE);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    execve(path, argv, envp);
    _exit(111);
}

/* Child: run as a guest, and tell how it went. */
static void guest(const struct test *t, const char *path) {
    char image[512];
    struct result r = {.ran = true};
    const char *argv[] = {t->program, t->arg, NULL}, *envp[] = {NULL};
    snprintf(image, sizeof image, "%s.img", path);
    struct tv_spec spec = {.image_fd = open(image, O_RDONLY | O_CLOEXEC), .exe = path, .execfn = path, .argv = argv,
                           .envp = envp, .flags = core_flags};
    now(r.before);
    struct tv_vm *vm = tv_create(&spec, &r.stop);
    close(spec.image_fd);
    if (vm) {
        while (tv_run(vm, &r.stop) == TV_NOTICE) r.notes |= 1 << r.stop.note;
        r.stats = *tv_stats(vm);
        tv_destroy(vm);
    }
    now(r.after);
    if (write(REPORT_FD, &r, sizeof r) != sizeof r) _exit(112);
    _exit(0);
}

static void start(const struct test *t, bool as_guest, const int in[2], const int out[2], const int report[2]) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", directory, t->program);
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(report[1], REPORT_FD);
    fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
    for (int fd = 3; fd < 64; fd++) close(fd);
    if (as_guest) guest(t, path);
    else native(t, path);
}

/* Parent: follow a traced child to its end. The last signal that it stops at is the one that ends it. */
static int follow(pid_t pid, bool traced, struct result *r) {
    int status;
    bool entered = false;
    for (;;) {
        if (waitpid(pid, &status, 0) != pid) return -1;
        if (!WIFSTOPPED(status)) return status;
        int sig = WSTOPSIG(status);
        siginfo_t info;
        if (traced && !entered && sig == SIGTRAP) { entered = true; sig = 0; } /* execve(2) */
        else if (!ptrace(PTRACE_GETSIGINFO, pid, 0, &info)) {
            r->code = info.si_code;
            r->addr = info.si_code > 0 ? (uint64_t)(uintptr_t)info.si_addr : 0;
        }
        ptrace(PTRACE_CONT, pid, 0, sig);
    }
}

static void execute(const struct test *t, bool as_guest, struct result *r) {
    int in[2], out[2], report[2];
    memset(r, 0, sizeof *r);
    if (pipe(in) || pipe(out) || pipe(report)) { perror("pipe"); exit(2); }
    pid_t pid = fork();
    if (!pid) {
        alarm(LIMIT_S);
        start(t, as_guest, in, out, report);
    }
    close(in[0]), close(out[1]), close(report[1]);
    if (write(in[1], t->in, strlen(t->in)) < 0) perror("write");
    close(in[1]);
    int status = follow(pid, !as_guest, r); /* what it writes and reports fits into the pipes */
    struct result told;
    if (as_guest && read(report[0], &told, sizeof told) == sizeof told) {
        *r = told;
        r->sig = told.stop.kind == TV_SIGNALLED ? told.stop.status : told.stop.kind == TV_KILLED ? SIGSYS : 0;
        r->status = told.stop.kind == TV_EXITED ? told.stop.status : -1;
        r->code = told.stop.code;
        r->addr = told.stop.addr;
    } else {
        r->sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        r->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    ssize_t n;
    while (r->len < sizeof r->out && (n = read(out[0], r->out + r->len, sizeof r->out - r->len)) > 0) r->len += (size_t)n;
    close(out[0]), close(report[0]);
}

static bool later(const struct timespec *a, const struct timespec *b) { /* or at once */
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec >= b->tv_nsec;
}

static const char *clocks_differ(const struct result *g) {
    struct timespec t[3];
    if (g->len != sizeof t) return "no clocks in the output";
    memcpy(t, g->out, sizeof t);
    if (!later(&t[0], &g->before[0]) || !later(&t[2], &t[0]) || !later(&g->after[0], &t[2]))
        return "CLOCK_MONOTONIC is not the host's";
    if (!later(&t[1], &g->before[1]) || !later(&g->after[1], &t[1])) return "CLOCK_REALTIME is not the host's";
    if (g->notes & 1 << TV_NOTE_TIME) return "the host's vDSO cannot be used";
    if (g->stats.calls[228] >= 1000) return "each clock_gettime is a hypercall";
    return NULL;
}

static const char *judge(const struct test *t, const struct result *n, const struct result *g) {
    static char why[256];
    const struct tv_stats *s = &g->stats;
    if (g->ran && g->stop.kind == TV_FAILED) {
        snprintf(why, sizeof why, "monitor: %s: %s, rip %lx, address %lx", g->stop.what, strerror(g->stop.err),
                 g->stop.rip, g->stop.addr);
        return why;
    }
    int sig = t->flags & OWN ? SIGSEGV : n->sig, code = t->flags & OWN ? SI_KERNEL : n->code;
    uint64_t addr = t->flags & OWN ? 0 : n->addr;
    if (t->flags & CPU_OWN && g->sig == SIGILL) sig = SIGILL, code = ILL_ILLOPN, addr = g->stop.rip;
    else if (t->flags & CPU_OWN) sig = SIGSEGV, code = SI_KERNEL, addr = 0;
    if (g->sig != sig || (!sig && g->status != n->status)) {
        snprintf(why, sizeof why, "signal %d status %d, expected %d %d", g->sig, g->status, sig, n->status);
        return why;
    }
    if (sig && g->ran && (g->code != code || (!(t->flags & ANY_ADDR) && g->addr != addr))) {
        snprintf(why, sizeof why, "si_code %d si_addr %lx, expected %d %lx", g->code, g->addr, code, addr);
        return why;
    }
    if (t->flags & CLOCKS) {
        const char *differ = clocks_differ(g);
        if (differ) return differ;
    } else if (!(t->flags & (OWN | CPU_OWN)) && (g->len != n->len || memcmp(g->out, n->out, n->len))) {
        snprintf(why, sizeof why, "output \"%.60s\", expected \"%.60s\"", g->out, n->out);
        for (char *p = why; *p; p++) if (*p == '\n') *p = '|';
        return why;
    }
    if (!g->ran) return NULL; /* a signal of the host ended the monitor with its guest */
    bool trap_ok = t->flags & (MAY_TRAP | CLOCKS) ? s->trapped >= t->trapped : s->trapped == 0;
    if (!trap_ok || s->gadgets != t->gadgets || s->lost != t->lost || !s->late != !(t->flags & LATE)) {
        snprintf(why, sizeof why, "trapped %lu gadgets %lu lost %lu late %lu", s->trapped, s->gadgets, s->lost, s->late);
        return why;
    }
    return NULL;
}

/* What QEMU's TSS check does without IOPL: for the record, no case. */
static void note_without_iopl(void) {
    static struct result g;
    core_flags &= ~(unsigned)TV_F_IOPL;
    execute(&tests[0], true, &g);
    core_flags |= TV_F_IOPL;
    if (g.stop.kind == TV_EXITED) printf("note: without IOPL=3 it runs too\n");
    else printf("note: without IOPL=3 it ends by signal %d, si_code %d, vector %d %s\n", g.sig, g.code, g.stop.nr, g.stop.what);
}

int main(int argc, char **argv) {
    static struct result n, g;
    int passed = 0, failed = 0;
    if (argc > 1 && !strcmp(argv[1], "-i")) { core_flags = TV_F_IOPL; argv++; argc--; }
    if (argc != 2) { fprintf(stderr, "usage: smoke [-i] DIRECTORY\n"); return 2; }
    directory = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        const struct test *t = &tests[i];
        if (t->flags & NO_IOPL && core_flags & TV_F_IOPL) { printf("note: not with IOPL=3: %s\n", t->name); continue; }
        fflush(stdout);
        execute(t, false, &n);
        execute(t, true, &g);
        const char *why = judge(t, &n, &g);
        if (why) failed++, printf("not ok %s: %s\n", t->name, why);
        else passed++, printf("ok %s\n", t->name);
    }
    debugger(directory, core_flags, &passed, &failed);
    if (core_flags & TV_F_IOPL) note_without_iopl();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
