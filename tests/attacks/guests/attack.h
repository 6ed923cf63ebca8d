/* What the attacks share. Each attempt is one line: what was tried, and what stopped it. A line that begins with ESCAPED is a way
 * out. The address of the monitor's secret is in TARGET; natively it is the attacker's own memory, and the attack succeeds. */
#include "guest.h"
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

struct attack { const char *name; void (*run)(void); };
#define ATTACK(name) {#name, name}

#define SECRET "the monitor's own secret 0123456789 "
static char own_secret[4096] = SECRET;
static int held, escaped;

static inline __attribute__((format(printf, 2, 3))) void holds(bool good, const char *what, ...) {
    char text[400];
    va_list list;
    va_start(list, what);
    vsnprintf(text, sizeof text, what, list);
    va_end(list);
    if (good) held++;
    else escaped++;
    dprintf(1, "%s%s\n", good ? "" : "ESCAPED ", text);
}

/* The call fails with this error; 0 for want: with any. */
#define MUST(want, call, ...) do { \
    long r_ = (call); \
    char what_[200]; \
    snprintf(what_, sizeof what_, __VA_ARGS__); \
    holds((want) ? r_ == -(want) : r_ < 0 && r_ >= -4095, "%s: %s", what_, answer(r_)); \
} while (0)
#define FAILS(call, ...) MUST(0, call, __VA_ARGS__)

static inline char *target(void) { /* never read by an instruction: there is nothing at this address of the guest */
    const char *text = getenv("TARGET");
    return text ? (char *)strtoul(text, NULL, 16) : own_secret;
}
static inline long number(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 0) : -1;
}
static inline bool is_secret(const void *p, size_t n) {
    return n > 8 && memmem(p, n, "monitor's", 9) != NULL;
}

/* What the CPU says to an instruction. */
static sigjmp_buf back;
static volatile int got, got_code;
static void on_signal(int sig, siginfo_t *info, void *context) {
    (void)context;
    got = sig;
    got_code = info->si_code;
    siglongjmp(back, 1);
}
static inline void catch_faults(void) {
    static char stack[65536];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alt, NULL);
    const int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sigaction(all[i], &act, NULL);
}
#define DIES(what, ...) do { \
    got = 0; \
    if (!sigsetjmp(back, 1)) { __VA_ARGS__; } \
    holds(got != 0, "%s: %s", what, got ? strsignal(got) : "went through"); \
} while (0)

/* fn in a process of its own: its wait status. */
static inline int apart(void (*fn)(void)) {
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) { held = escaped = 0; fn(); _exit(escaped ? 66 : 0); }
    need(pid > 0, "fork");
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) { }
    return status;
}

/* The monitor's descriptors: where they begin (README of the core: above the soft limit), and how many are looked at. */
static inline int hidden_first(void) {
    struct rlimit lim;
    need(getrlimit(RLIMIT_NOFILE, &lim) == 0, "getrlimit");
    return lim.rlim_cur > 16384 ? 16384 - 6000 : (int)lim.rlim_cur;
}
#define HIDDEN_MANY 48

static inline void rest_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) && errno == EINTR) { }
}
static inline long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int attack_main(const struct attack *all, size_t n, int argc, char **argv) {
    for (size_t i = 0; i < n; i++)
        if (argc > 1 && !strcmp(all[i].name, argv[1])) {
            alarm(60); /* an attack that hangs ends by itself */
            all[i].run();
            dprintf(1, "held %d, escaped %d\n", held, escaped);
            return escaped ? 66 : 0;
        }
    return 98;
}
#define MAIN(...) int main(int argc, char **argv) { \
    static const struct attack all[] = {__VA_ARGS__}; \
    return attack_main(all, sizeof all / sizeof *all, argc, argv); \
}
