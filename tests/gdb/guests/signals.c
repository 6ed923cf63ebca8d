/* A handler of a signal, one of a fault; the status says whether the fault came with its address. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static volatile int got;
static int *volatile nowhere;
static void leaf(int sig) { got = sig; }
static void handler(int sig) { leaf(sig); }
static void fault(int sig, siginfo_t *info, void *context) { _exit(info->si_addr == (void *)0x10 ? 9 : 8); }
int main(void) {
    struct sigaction sa = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    if (write(1, got == SIGUSR1 ? "got\n" : "not\n", 4) != 4) return 1;
    sigaction(SIGSEGV, &sa, 0);
    nowhere = (int *)0x10;
    *nowhere = 1;
    return 0;
}
