/* Functions that take known shares of the CPU time, each with a loop of its own that no compiler folds into another. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long sink;
static double seconds = 0.2;

static double now(void) { /* CPU time of the thread */
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
#define BUSY(name, op) \
    __attribute__((noinline)) void name(unsigned long n) { \
        for (unsigned long i = 0; i < n; i++) sink = sink op i; \
        sink++; \
    }
BUSY(heavy, +)
BUSY(light, ^)
BUSY(in_thread, -)
BUSY(in_handler, *)
__attribute__((noinline)) void below(unsigned long n) { heavy(n); sink += 2; }
__attribute__((noinline)) void beside(unsigned long n) { light(n); sink += 3; }
__attribute__((noinline)) int deep(int n, unsigned long work) {
    char room[512];
    memset(room, n, sizeof room);
    if (n) return deep(n - 1, work) + room[17];
    heavy(work);
    return room[3];
}

static void *thread(void *arg) {
    double end = now() + seconds;
    while (now() < end) in_thread(5000000);
    return arg;
}
static void handler(int sig) {
    double end = now() + seconds;
    while (now() < end) in_handler(5000000);
    (void)sig;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "shares";
    double end = now() + seconds;
    pthread_t t[2];
    if (argc > 2) seconds = atof(argv[2]), end = now() + seconds;
    if (!strcmp(how, "says")) puts("ready"), fflush(stdout), how = "shares";
    double begun = now(), between, part = 0, all = 0;
    while (!strcmp(how, "shares") && begun < end) {
        unsigned long n = 1500000 + (unsigned long)rand() % 3000000; /* not in step with the samples */
        below(3 * n), between = now();
        beside(n);
        part += between - begun, all += -begun, begun = now(), all += begun;
    }
    if (argc > 3) printf("%.3f\n", part / all); /* what heavy() took, by its own clock */
    if (!strcmp(how, "threads")) {
        for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, thread, NULL);
        for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    }
    if (!strcmp(how, "handler")) signal(SIGUSR1, handler), raise(SIGUSR1);
    if (!strcmp(how, "deep")) while (now() < end) deep(100, 5000000);
    if (!strcmp(how, "fork")) {
        if (!fork()) { while (now() < seconds) below(5000000); _exit(0); }
        while (now() < end) beside(5000000);
        wait(NULL);
    }
    if (!strcmp(how, "exec")) {
        if (!fork()) { execl("/proc/self/exe", "busy", "shares", NULL); _exit(1); }
        wait(NULL);
    }
    if (!strcmp(how, "sleeps")) usleep(400000);
    if (!strcmp(how, "writes")) for (int i = 0; i < 2000; i++) if (write(1, "x", 1) != 1) return 1;
    if (!strcmp(how, "status")) return 7;
    return 0;
}
