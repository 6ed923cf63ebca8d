/* Too much of everything. Limits are in the policy; where there is none, the monitor must at least go on. */
#include "attack.h"
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static void processes(void) { /* limit: 8, itself included */
    int made = 0;
    long r = 0;
    pid_t parent = getpid();
    for (int i = 0; i < 40 && (r = fork()) >= 0; i++) {
        if (!r) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent) pause(); /* it may have ended before */
            _exit(0);
        }
        made++;
    }
    holds(made <= 7 && r == -1 && errno == EAGAIN, "fork: %d children, then %s", made, answer(r < 0 ? -errno : 0));
    r = vfork();
    if (!r) _exit(0);
    holds(r < 0, "vfork: %s", answer(r < 0 ? -errno : 0));
    r = SC(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (!r) _exit(0);
    holds(r < 0, "clone with CLONE_PARENT: %s", answer(r < 0 ? r : 0));
    struct { unsigned long f[11]; } a = {{0}};
    a.f[4] = SIGCHLD;
    r = SC(435, &a, sizeof a);
    if (!r) _exit(0);
    holds(r < 0, "clone3: %s", answer(r < 0 ? r : 0));
}
static void grandchildren(void) { /* each makes more, leaves its parent, and says that it lives: 8 at once */
    int up[2];
    char all[4096];
    pid_t first = getpid();
    need(!pipe(up), "pipe");
    for (int i = 0; i < 6; i++)
        if (!fork()) setsid();
    need(write(up[1], "x", 1) == 1, "write");
    rest_ms(700);
    if (getpid() != first) _exit(0);
    ssize_t n = read(up[0], all, sizeof all);
    holds(n <= 8, "processes that live at once: %zd", n);
}
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *wait_for_ever(void *arg) { pthread_mutex_lock(&lock); pthread_mutex_unlock(&lock); return arg; }
static void threads(void) { /* limit: 8 */
    pthread_t t;
    pthread_attr_t small;
    int made = 0, r = 0;
    pthread_mutex_lock(&lock);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (; made < 40 && !(r = pthread_create(&t, &small, wait_for_ever, NULL)); made++) { }
    holds(made <= 7 && r == EAGAIN, "%d threads, then %s", made, answer(-r));
}
static void memory(void) { /* limit: 64M */
    long kept = 0, r = 0;
    for (; kept < 256 && (r = SC(SYS_mmap, 0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) > 0; kept++) memset((void *)r, 1, 1 << 20);
    holds(kept <= 64, "mmap: %ld MiB, then %s", kept, answer(r < 0 ? r : 0));
    FAILS(SC(SYS_mmap, 0, 1l << 36, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), "64 GiB at once");
    FAILS(SC(SYS_mmap, 0, 1 << 28, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0), "shared memory");
    long b = SC(SYS_brk, 0);
    holds(SC(SYS_brk, b + (1 << 28)) == b, "brk");
    int fd = memfd_create("x", 0);
    long n = ftruncate(fd, 1 << 28) ? -errno : SC(SYS_mmap, 0, 1 << 28, 3, MAP_SHARED, fd, 0);
    holds(n < 0, "a mapped memfd: %s", answer(n < 0 ? n : 0));
}
static void file_size(void) { /* limit: 1M */
    signal(SIGXFSZ, SIG_IGN);
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct rlimit top = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &top);
    FAILS(SC(SYS_ftruncate, fd, 1l << 40), "ftruncate to 1 TiB");
    FAILS(SC(SYS_pwrite64, fd, "x", 1, 1l << 40), "a byte at 1 TiB");
    FAILS(SC(SYS_fallocate, fd, 0, 0, 1l << 30), "fallocate");
    FAILS(SC(SYS_truncate, "file", 1l << 40), "truncate");
    static char part[1 << 16];
    long all = 0, n;
    while (all < 4 << 20 && (n = write(fd, part, sizeof part)) > 0) all += n;
    holds(all <= 1 << 20, "write: %ld bytes", all);
    int m = memfd_create("x", 0), in = open("/dev/zero", O_RDONLY);
    FAILS(SC(SYS_ftruncate, m, 1l << 40), "a memfd");
    lseek(fd, 1 << 20, SEEK_SET);
    n = SC(SYS_sendfile, fd, in, 0, 1 << 20);
    holds(n <= 0, "sendfile: %s", answer(n));
}
static void other_limits(void) { /* limit: files of 1M, raised for each other */
    struct rlimit top = {RLIM_INFINITY, RLIM_INFINITY}, some = {1l << 40, 1l << 40};
    int p[2];
    pid_t parent = getpid();
    pthread_t t;
    need(!pipe(p), "pipe");
    signal(SIGXFSZ, SIG_IGN);
    pid_t pid = fork();
    if (!pid) {
        char c;
        SC(SYS_prlimit64, parent, RLIMIT_FSIZE, &some, 0);
        SC(SYS_prlimit64, parent, RLIMIT_FSIZE, &top, 0);
        need(read(p[0], &c, 1) == 1, "read");
        int fd = open("second", O_RDWR | O_CREAT | O_TRUNC, 0600);
        _exit(ftruncate(fd, 1 << 24) == 0);
    }
    long r = SC(SYS_prlimit64, pid, RLIMIT_FSIZE, &top, 0);
    need(write(p[1], "x", 1) == 1, "write");
    int status = 0;
    waitpid(pid, &status, 0);
    holds(WIFEXITED(status) && !WEXITSTATUS(status), "the limit of a child (%s)", answer(r));
    pthread_mutex_lock(&lock);
    pthread_create(&t, NULL, wait_for_ever, NULL);
    for (pid_t tid = parent; tid < parent + 8; tid++) SC(SYS_prlimit64, tid, RLIMIT_FSIZE, &top, 0);
    int fd = open("first", O_RDWR | O_CREAT | O_TRUNC, 0600);
    FAILS(SC(SYS_ftruncate, fd, 1 << 24), "the limit of a parent, and of a thread");
}
static void output(void) { /* limit: 64K; the tree is killed */
    static char part[4096];
    memset(part, 'x', sizeof part);
    part[80] = '\n';
    for (int i = 0; i < 4096; i++) {
        if (write(1, part, 81) < 0) break;
        if (i % 3 == 0 && fork() == 0) continue; /* whoever else writes counts, too */
    }
    for (;;) pause();
}
static void descriptors(void) { /* limit: 64 */
    int n = 0, fd;
    struct rlimit top = {4096, 4096};
    holds(setrlimit(RLIMIT_NOFILE, &top) != 0 || getenv("TARGET") == NULL, "setrlimit: %s", answer(-errno));
    while (n < 500 && (fd = dup(1)) >= 0) n++;
    holds(n <= 64, "dup: %d, then %s", n, answer(-errno));
    FAILS(SC(SYS_dup2, 1, 300), "dup2 to 300");
    FAILS(SC(SYS_fcntl, 1, F_DUPFD, 200), "F_DUPFD from 200 on");
    pid_t pid = fork();
    if (!pid) {
        for (int i = 3; i < 70; i++) close(i);
        int p[2], k = 0;
        while (k < 500 && !socketpair(AF_UNIX, SOCK_STREAM, 0, p)) k += 2;
        _exit(k > 64);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    holds(WIFEXITED(status) && !WEXITSTATUS(status), "a child: status %x", status);
}
static void spin(void) { /* limit: CPU time of 1 s */
    for (int s = 1; s < 65; s++) signal(s, SIG_IGN);
    if (!getenv("TARGET")) { for (long end = now_ms() + 1500; now_ms() < end;) { } holds(false, "natively it goes on"); return; }
    for (int i = 0; i < 2; i++) fork();
    for (;;) { }
}
static void waits(void) { /* limit: 1 s of wall time */
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (!getenv("TARGET")) { rest_ms(1500); holds(false, "natively it goes on"); return; }
    if (fork() == 0) { setsid(); if (fork() == 0) execl("/proc/self/exe", "bombs", "waits_2", NULL); }
    for (;;) rest_ms(10000);
}
static void waits_2(void) { for (;;) rest_ms(10000); }

/* Without limits. */
static void mappings(void) {
    long n = 0;
    char *at = mmap(NULL, 1l << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (long end = now_ms() + 1500; n < 100000 && now_ms() < end && !mprotect(at + n * 8192, 4096, PROT_READ | PROT_WRITE); n++) { }
    holds(true, "%ld mappings", n);
    munmap(at, 1l << 30);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    holds(p != MAP_FAILED && getppid() > 0, "and the program goes on");
}
static volatile long hits;
static void hit(int sig) { (void)sig; hits++; }
static void *storm(void *arg) {
    for (long end = now_ms() + 1000; now_ms() < end;) {
        kill(getpid(), SIGUSR1);
        sigqueue(getpid(), SIGRTMIN + 2, (union sigval){0});
        SC(SYS_tgkill, getpid(), getpid(), SIGSEGV);
        rest_ms(0);
    }
    return arg;
}
static void signals(void) {
    struct sigaction act = {.sa_handler = hit};
    const int all[] = {SIGUSR1, SIGRTMIN + 2, SIGSEGV, SIGALRM};
    for (int i = 0; i < 4; i++) sigaction(all[i], &act, NULL);
    timer_t timer;
    struct itimerspec often = {{0, 2000000}, {0, 2000000}};
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    need(!timer_create(CLOCK_MONOTONIC, &e, &timer) && !timer_settime(timer, 0, &often, NULL), "timer");
    pthread_t t;
    pthread_create(&t, NULL, storm, NULL);
    for (long end = now_ms() + 1000; now_ms() < end;) getppid();
    pthread_join(t, NULL);
    timer_delete(timer);
    holds(hits > 0, "%s", "a storm of signals");
}
static void timers(void) {
    int n = 0;
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    while (n < 2000 && !timer_create(CLOCK_MONOTONIC, &e, &t)) n++;
    holds(true, "%d timers", n);
}

MAIN(ATTACK(processes), ATTACK(grandchildren), ATTACK(threads), ATTACK(memory), ATTACK(file_size), ATTACK(other_limits), ATTACK(output), ATTACK(descriptors), ATTACK(spin),
     ATTACK(waits), ATTACK(waits_2), ATTACK(mappings), ATTACK(signals), ATTACK(timers))
