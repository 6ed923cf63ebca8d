/* Threads, processes and signals, timed by themselves, the same natively and as a guest: many NAME COUNT prints the nanoseconds
 * of one round. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

extern char **environ;
static char *self;

static void reap(pid_t pid) {
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) die("child");
}

static void *nothing(void *arg) { return arg; }
static void thread(void) {
    pthread_t t;
    if (pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL)) die("thread");
}

static _Atomic uint32_t turn;
static long rounds;
static void pass(uint32_t from, uint32_t to) {
    while (turn != from) syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, to, NULL, NULL, 0);
    turn = to;
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static void *other_side(void *arg) {
    for (long i = 0; i < rounds; i++) pass(1, 0);
    return arg;
}
static void futexes(long n) {
    pthread_t t;
    rounds = n;
    if (pthread_create(&t, NULL, other_side, NULL)) die("thread");
    for (long i = 0; i < n; i++) pass(0, 1);
    pthread_join(t, NULL);
}

static int there[2], back[2];
static void *echo(void *arg) {
    char c;
    for (long i = 0; i < rounds; i++)
        if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1) die("pipe");
    return arg;
}
static void pipes(long n) {
    pthread_t t;
    char c = 'x';
    rounds = n;
    if (pipe(there) || pipe(back) || pthread_create(&t, NULL, echo, NULL)) die("pipe");
    for (long i = 0; i < n; i++)
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) die("pipe");
    pthread_join(t, NULL);
}

static void forks(void) {
    pid_t p = fork();
    if (!p) _exit(0);
    reap(p);
}
static void vforks(void) {
    pid_t p = vfork();
    if (!p) _exit(0);
    reap(p);
}
static void execs(void) {
    char *argv[] = {self, NULL};
    pid_t p = fork();
    if (!p) { execve(self, argv, environ); _exit(1); }
    reap(p);
}
static void spawns(void) {
    char *argv[] = {self, NULL};
    pid_t p;
    if (posix_spawn(&p, self, NULL, NULL, argv, environ)) die("posix_spawn");
    reap(p);
}

static volatile long hits;
static void hit(int s) { (void)s; hits++; }

int main(int argc, char **argv) {
    static const struct { const char *name; void (*one)(void); void (*all)(long); } work[] = {
        {"thread", thread, NULL}, {"futex", NULL, futexes}, {"pipe", NULL, pipes}, {"fork", forks, NULL}, {"vfork", vforks, NULL},
        {"exec", execs, NULL}, {"spawn", spawns, NULL}};
    if (argc == 1) return 0; /* what exec and spawn run */
    if (argc != 3) return 2;
    self = argv[0];
    long n = atol(argv[2]);
    if (!strcmp(argv[1], "signal")) {
        signal(SIGUSR1, hit);
        uint64_t start = now();
        for (long i = 0; i < n; i++) raise(SIGUSR1);
        if (hits != n) die("signal");
        printf("%.0f\n", (double)(now() - start) / (double)n);
        return 0;
    }
    for (size_t i = 0; i < sizeof work / sizeof *work; i++) {
        if (strcmp(work[i].name, argv[1])) continue;
        if (work[i].one) work[i].one(); /* the first makes what the others use again */
        uint64_t start = now();
        if (work[i].all) work[i].all(n);
        else for (long k = 0; k < n; k++) work[i].one();
        printf("%.0f\n", (double)(now() - start) / (double)n);
        return 0;
    }
    return 2;
}
