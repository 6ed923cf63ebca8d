/* Deaths by signals that a program earns without a fault. */
#include "guest.h"
#include <sys/resource.h>
#include <sys/time.h>

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    int pp[2], fd = open("file", O_RDWR | O_CREAT, 0600);
    need(pipe(pp) == 0 && fd >= 0, "setup");
    printf("before %s\n", how);
    fflush(stdout);
    struct rlimit none = {0, 0};
    if (!strcmp(how, "pipe")) { close(pp[0]); if (write(pp[1], "x", 1)) {} }
    if (!strcmp(how, "pipe_blocked")) { /* held back, then let through */
        uint64_t set = 1ull << (SIGPIPE - 1);
        SC(SYS_rt_sigprocmask, SIG_BLOCK, &set, 0, 8);
        close(pp[0]);
        say(write(pp[1], "x", 1) < 0 ? -errno : 0, "write");
        fflush(stdout);
        SC(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
    }
    if (!strcmp(how, "size")) { setrlimit(RLIMIT_FSIZE, &none); if (write(fd, "x", 1)) {} }
    if (!strcmp(how, "size_truncate")) { setrlimit(RLIMIT_FSIZE, &none); if (ftruncate(fd, 10)) {} }
    if (!strcmp(how, "alarm")) { struct { long s, n; } t = {5, 0}; setitimer(0, (void *)(long[]){0, 0, 0, 10000}, NULL);
    SC(SYS_nanosleep, &t, 0); }
    if (!strcmp(how, "alarm_loop")) { setitimer(0, (void *)(long[]){0, 0, 0, 10000}, NULL);
    for (volatile long i = 0; ; i++) { } }
    if (!strcmp(how, "self")) kill(getpid(), SIGQUIT);
    if (!strcmp(how, "thread")) SC(SYS_tgkill, getpid(), gettid(), SIGHUP);
    if (!strcmp(how, "exit_300")) _exit(300);
    if (!strcmp(how, "exit_minus")) _exit(-1);
    if (!strcmp(how, "abort")) abort();
    puts("survived");
    return 0;
}
