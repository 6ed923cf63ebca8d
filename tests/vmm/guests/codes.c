/* Signals that the kernel sends with the codes of faults: they must not be taken for faults of the monitor. */
#include "guest.h"
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile sig_atomic_t hits, code;
static void hit(int sig, siginfo_t *info, void *context) { (void)sig, (void)context; hits++, code = info->si_code; }

int main(int argc, char **argv) {
    (void)argv;
    struct sigaction act = {.sa_sigaction = hit, .sa_flags = SA_SIGINFO};
    int sigs[] = {SIGSEGV, SIGBUS, SIGUSR1}, fds[2], self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    void *unreadable = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (self < 0 || pipe(fds) || unreadable == MAP_FAILED) return 1;
    for (int i = 0; i < 3; i++) {
        sigaction(sigs[i], &act, NULL);
        siginfo_t info = {.si_signo = sigs[i], .si_code = 1};
        long r = syscall(SYS_pidfd_send_signal, self, sigs[i], &info, 0);
        printf("pidfd %d %ld hits %d code %d\n", sigs[i], r, (int)hits, (int)code);
        if (argc > 1) { /* what torov does not do */
            printf("F_SETSIG %d", fcntl(fds[0], F_SETSIG, sigs[i]) ? errno : 0);
            long pid = syscall(SYS_clone, sigs[i], 0, 0, 0, 0);
            if (!pid) _exit(0);
            printf(" clone %d\n", pid < 0 ? errno : 0);
            if (pid > 0) waitpid((pid_t)pid, NULL, __WALL);
        }
        printf("unreadable %d\n", syscall(SYS_access, unreadable, 0) ? errno : 0); /* the monitor's copies still stand their faults */
    }
    return 0;
}
