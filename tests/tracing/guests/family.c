/* Processes and threads: one at a time, so that lines come in one order. */
#include "calls.h"
#include <pthread.h>
static void on(int sig) {}
static void *run(void *arg) {
    S(getpid), S(sched_yield);
    S(nanosleep, &(struct timespec){0, 300000000}, NULL, 0l, 0l); /* until it is waited for */
    return NULL;
}
int main(int argc, char **argv) {
    static int st, pid; /* not on the stack, which a process with CLONE_VM would use, too */
    static siginfo_t si;
    if (argc > 1) {
        S(write, 1, "executed\n", 9);
        return 4;
    }
    pid = S(fork);
    if (!pid) S(getppid), S(exit_group, 5);
    S(wait4, pid, &st, 0, NULL);
    pid = S(fork);
    if (!pid) S(kill, getpid(), SIGTERM), S(exit_group, 0);
    S(waitid, P_PID, pid, &si, WEXITED, NULL);
    pid = S(fork);
    if (!pid) *(volatile int *)8 = 1;
    S(wait4, -1, &st, __WALL, NULL);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = on, .sa_flags = SA_RESTART}, NULL);
    pid = S(fork);
    if (!pid) S(execve, argv[0], (char *[]){argv[0], "again", NULL}, (char *[]){"A=1", NULL});
    struct rusage ru;
    S(wait4, pid, &st, 0, &ru);
    S(execve, "/none/there", argv, (char *[]){NULL});
    unsigned long child = 1ul << (SIGCHLD - 1);
    S(rt_sigprocmask, SIG_BLOCK, &child, NULL, 8l);
    if (!(pid = S(clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0))) S(exit_group, 1);
    S(wait4, -1, &st, 0, NULL);
    S(rt_sigprocmask, SIG_UNBLOCK, &child, NULL, 8l);
    pthread_t t;
    pthread_create(&t, NULL, run, NULL);
    pthread_join(t, NULL);
    S(tgkill, getpid(), gettid(), SIGSEGV);
    return 0;
}
