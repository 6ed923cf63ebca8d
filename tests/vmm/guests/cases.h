/* A guest of many cases: its first argument says which one runs. guest.h comes first. */
#include <time.h>

struct a_case { const char *name; void (*run)(void); };
#define CASE(name) {#name, name}

static inline int one_case(const struct a_case *cases, size_t n, int argc, char **argv) {
    for (size_t i = 0; i < n; i++)
        if (argc > 1 && !strcmp(cases[i].name, argv[1])) {
            setvbuf(stdout, NULL, _IOLBF, 0);
            alarm(40); /* a case that hangs ends by itself */
            cases[i].run();
            return 0;
        }
    return 98;
}
static inline void rest_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) && errno == EINTR) { }
}
static inline long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
