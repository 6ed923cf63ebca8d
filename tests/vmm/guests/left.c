/* Guests that end, or are ended, in the middle of things. The first argument says how. */
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;
static int never[2];
static const char *self;
static void nap(long ms) { struct timespec t = {ms / 1000, ms % 1000 * 1000000}; while (nanosleep(&t, &t) && errno == EINTR) { } }
static void *spin(void *arg) { for (;;) { } return arg; }
static void *reads(void *arg) { char c; for (;;) if (read(never[0], &c, 1) == 77) break; return arg; }
static void *waits(void *arg) { static int word; for (;;) SC(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0); return arg; }
static void *sleeps(void *arg) { for (;;) nap(1000); return arg; }
static void threads(void) {
    void *(*all[])(void *) = {spin, reads, waits, sleeps};
    pthread_t t;
    need(!pipe(never), "pipe");
    for (int i = 0; i < 4; i++) need(!pthread_create(&t, NULL, all[i], NULL), "pthread_create");
    nap(30);
}
static void be_nap(void) { execle(self, self, "nap", NULL, environ); _exit(9); }
static void *vforks(void *arg) { pid_t p = vfork(); if (!p) { nap(300); be_nap(); } return arg; }
/* A child with threads, one that became another program, one that another thread waits for, and its child. */
static void children(void) {
    pthread_t t;
    if (!fork()) { threads(); nap(300); _exit(0); }
    if (!fork()) be_nap();
    if (!fork()) { if (!fork()) { nap(400); _exit(0); } waitpid(-1, NULL, 0); _exit(0); }
    need(!pthread_create(&t, NULL, vforks, NULL), "pthread_create");
    nap(30);
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    self = argv[0];
    if (!strcmp(how, "nap")) { nap(300); return 0; }
    if (!strcmp(how, "exec")) { execl(argv[2], argv[2], (char *)NULL); return 9; }
    if (strstr(how, "children")) children();
    threads();
    if (strstr(how, "exit")) { close(never[0]); close(never[1]); _exit(3); }
    if (strstr(how, "crash")) *(volatile int *)16 = 0;
    if (strstr(how, "kill")) kill(getpid(), SIGKILL);
    if (strstr(how, "term")) SC(SYS_tgkill, getpid(), SC(SYS_gettid), SIGTERM);
    if (strstr(how, "denied")) SC(SYS_mkdir, "/nonexistent/x", 0700);
    if (write(1, "ready\n", 6) < 0) return 8;
    for (;;) pause();
}
