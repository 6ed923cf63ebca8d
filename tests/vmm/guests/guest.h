/* What the guests share: raw system calls, names of errors, one line of output a result. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The kernel's own answer: libc neither checks nor changes anything. */
static inline long raw(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#define RAW_PICK(_1, _2, _3, _4, _5, _6, _7, name, ...) name
#define R0(n) raw(n, 0, 0, 0, 0, 0, 0)
#define R1(n, a) raw(n, (long)(a), 0, 0, 0, 0, 0)
#define R2(n, a, b) raw(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define R3(n, a, b, c) raw(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define R4(n, a, b, c, d) raw(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define R5(n, a, b, c, d, e) raw(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define R6(n, a, b, c, d, e, f) raw(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SC(...) RAW_PICK(__VA_ARGS__, R6, R5, R4, R3, R2, R1, R0)(__VA_ARGS__)

static inline const char *answer(long r) {
    static char text[4][32];
    static int turn;
    char *t = text[turn++ & 3];
    if (r < 0 && r >= -4095) {
        const char *name = strerrorname_np((int)-r);
        snprintf(t, 32, "%s", name ? name : "unnamed error");
    } else {
        snprintf(t, 32, "%ld", r);
    }
    return t;
}
static inline __attribute__((format(printf, 2, 3))) void say(long r, const char *what, ...) {
    va_list list;
    va_start(list, what);
    vprintf(what, list);
    va_end(list);
    printf(": %s\n", answer(r));
}
/* An address is another in each run: only whether there is one. */
static inline long some(long r) { return r < 0 && r >= -4095 ? r : 0; }
static inline void need(bool good, const char *what) {
    if (good) return;
    fflush(stdout);
    fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
    exit(99);
}
static inline uint64_t sum(const void *data, size_t n) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3ull;
    return h;
}
