/* clone(2) with flags that no libc uses for fork() or threads, pidfds, unshare(2), futex_waitv(2). */
#define _GNU_SOURCE
#include "guest.h"
#include "cases.h"
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <grp.h>
#include <sys/wait.h>
#include <linux/futex.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define P_PIDFD_ 3
static char stacks[4][64 << 10] __attribute__((aligned(16)));
static volatile int shared;
static int pipes[2];
static void note(const char *what, long v) { printf("%s: %ld\n", what, v); fflush(stdout); }
static void status(const char *what, pid_t pid, int flags) {
    int st = 0;
    pid_t got = waitpid(pid, &st, flags);
    printf("%s: %s, exited %d %d, signal %d\n", what, got == pid ? "waited" : strerror(errno), WIFEXITED(st), WEXITSTATUS(st), WIFSIGNALED(st) ? WTERMSIG(st) : 0);
    fflush(stdout);
}
static int start(int (*fn)(void *), long flags, void *arg) { return clone(fn, stacks[0] + sizeof stacks[0], (int)flags, arg); }

static int touch(void *arg) {
    shared += (int)(long)arg;
    rest_ms(20);
    return 7;
}
static void memory(void) {
    pid_t p = start(touch, CLONE_VM | SIGCHLD, (void *)5L);
    note("it is another process", p > 0 && p != getpid());
    status("shared memory", p, 0);
    note("seen", shared);
    status("private memory", start(touch, SIGCHLD, (void *)5L), 0);
    note("not seen", shared);
    status("vfork of clone", start(touch, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)5L), 0);
    note("seen", shared);
}

static int is_open(void *arg) { (void)arg; close(pipes[0]); if (chdir("/")) return 9; umask(077); return open("/dev/null", O_RDONLY); }
static void tables(void) { /* CLONE_FILES and CLONE_FS, with and without CLONE_VM */
    char where[100];
    long flags[] = {0, CLONE_FILES, CLONE_FS, CLONE_FILES | CLONE_FS, CLONE_VM, CLONE_VM | CLONE_FILES, CLONE_VM | CLONE_FS};
    int dir = open(".", O_RDONLY);
    for (int i = 0; i < 7; i++) {
        umask(022);
        if (pipe(pipes) || fchdir(dir)) return;
        int fd = pipes[0], st;
        pid_t p = start(is_open, flags[i] | SIGCHLD, NULL);
        waitpid(p, &st, 0);
        int opened = WEXITSTATUS(st), left = fcntl(opened, F_GETFD) >= 0;
        struct stat fds;
        printf("%d: a pipe %d, opened stays %d, root %d, umask %o\n", i, !fstat(fd, &fds) && S_ISFIFO(fds.st_mode), left, !strcmp(getcwd(where, sizeof where), "/"), umask(022));
        close(fd);
        close(pipes[1]);
        if (opened != fd && left && opened != pipes[1]) close(opened);
    }
    if (fchdir(dir)) return;
    int before = dup(1);
    close(before);
    for (int i = 0; i < 5; i++) status("again", start(touch, CLONE_FILES | SIGCHLD, (void *)1L), 0);
    int after = dup(1);
    note("no descriptor is left", before == after);
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d)) n++;
    note("nor listed", n < 12);
}

static volatile int hits;
static void hit(int s) { (void)s; hits++; }
static int other_handler(void *arg) { (void)arg; signal(SIGUSR1, SIG_IGN); signal(SIGTERM, hit); return 0; }
static void handlers(void) { /* CLONE_SIGHAND */
    struct sigaction a;
    for (int i = 0; i < 2; i++) {
        signal(SIGUSR1, hit);
        signal(SIGTERM, SIG_DFL);
        status("changed", start(other_handler, CLONE_VM | (i ? CLONE_SIGHAND : 0) | SIGCHLD, NULL), 0);
        sigaction(SIGUSR1, NULL, &a);
        printf("usr1 is ignored %d, ", a.sa_handler == SIG_IGN);
        sigaction(SIGTERM, NULL, &a);
        printf("term has a handler %d\n", a.sa_handler == hit);
        raise(SIGUSR1);
        if (a.sa_handler == hit) raise(SIGTERM);
        note("hits", hits);
    }
}

static int die(void *arg) { raise((int)(long)arg); return 1; }
static int fault(void *arg) { *(volatile int *)arg = 1; return 1; }
static void deaths(void) {
    long vm[] = {CLONE_VM, CLONE_VM | CLONE_VFORK, CLONE_VM | CLONE_SIGHAND, 0};
    for (int i = 0; i < 4; i++) {
        status("term", start(die, vm[i] | SIGCHLD, (void *)(long)SIGTERM), 0);
        status("kill", start(die, vm[i] | SIGCHLD, (void *)(long)SIGKILL), 0);
        status("segv", start(fault, vm[i] | SIGCHLD, (void *)8), 0);
        status("pipe", start(die, vm[i] | SIGCHLD, (void *)(long)SIGPIPE), 0);
    }
    signal(SIGTERM, hit);
    raise(SIGTERM);
    note("handlers work after that", hits);
}

static void exit_signals(void) {
    signal(SIGCHLD, hit);
    signal(SIGUSR1, hit);
    int sigs[] = {0, SIGCHLD, SIGUSR1};
    for (int i = 0; i < 6; i++) {
        hits = 0;
        pid_t p = start(touch, sigs[i % 3] | (i < 3 ? 0 : CLONE_VM), (void *)1L);
        rest_ms(200);
        printf("%d: hits %d, ", sigs[i % 3] == SIGUSR1 ? 2 : sigs[i % 3] == SIGCHLD, hits);
        status("plain wait", p, WNOHANG);
        if (sigs[i % 3] != SIGCHLD) status("__WCLONE", p, __WCLONE);
    }
}

static int parent_of(void *arg) { (void)arg; return getppid() == getpid() - 0 ? 1 : getppid() == shared ? 2 : 3; }
static void parents(void) { /* CLONE_PARENT: a brother */
    shared = getppid();
    pid_t p = start(parent_of, CLONE_PARENT | SIGCHLD, NULL);
    note("made", p > 0);
    status("not ours", p, 0);
    int fd[2];
    if (pipe(fd)) return;
    p = fork();
    if (!p) { /* the brother is a child of main */
        pid_t b = start(touch, CLONE_PARENT | CLONE_VM | SIGCHLD, (void *)1L);
        if (write(fd[1], &b, sizeof b) < 0) _exit(9);
        rest_ms(100);
        _exit(0);
    }
    pid_t b = 0;
    if (read(fd[0], &b, sizeof b) < 0) return;
    status("a brother of the child", b, 0);
    status("the child", p, 0);
}

static int wait_for_it(void *arg) { char c; close(pipes[1]); if (read(pipes[0], &c, 1) < 0) return 1; return (int)(long)arg; }
static void pidfds(void) {
    long vm[] = {0, CLONE_VM};
    for (int i = 0; i < 2; i++) {
        int fd = -1, st = 0;
        if (pipe(pipes)) return;
        pid_t p = clone(wait_for_it, stacks[0] + sizeof stacks[0], (int)(CLONE_PIDFD | vm[i] | SIGCHLD), (void *)6L, &fd);
        printf("made %d, descriptor %d, cloexec %d\n", p > 0, fd > 2, fcntl(fd, F_GETFD));
        struct pollfd w = {fd, POLLIN, 0};
        note("poll while it runs", poll(&w, 1, 10));
        note("null signal", syscall(424, fd, 0, NULL, 0));
        close(pipes[1]);
        note("poll at its end", poll(&w, 1, 5000));
        siginfo_t info = {0};
        note("waitid by pidfd", waitid(P_PIDFD_, (id_t)fd, &info, WEXITED));
        printf("code %d status %d pid %d\n", info.si_code, info.si_status, info.si_pid == p);
        note("signal to nobody", syscall(424, fd, SIGTERM, NULL, 0) < 0 ? errno : 0);
        close(fd);
        close(pipes[0]);
        (void)st;
    }
    if (pipe(pipes)) return;
    pid_t p = start(wait_for_it, SIGCHLD, (void *)6L);
    int fd = (int)syscall(434, p, 0);
    note("pidfd_open", fd > 2);
    siginfo_t info = {.si_signo = SIGTERM, .si_code = SI_QUEUE};
    info.si_value.sival_int = 5;
    note("with a siginfo", syscall(424, fd, SIGTERM, &info, 0));
    status("ended", p, 0);
    note("wrong signal number in it", syscall(424, fd, SIGUSR1, &info, 0) < 0 ? errno : 0);
    note("not a pidfd", syscall(424, 1, SIGUSR1, NULL, 0) < 0 ? errno : 0);
    note("not open", syscall(424, 999, SIGUSR1, NULL, 0) < 0 ? errno : 0);
    int own = (int)syscall(434, getpid(), 0);
    signal(SIGUSR1, hit);
    syscall(424, own, SIGUSR1, NULL, 0);
    note("own handler", hits);
    note("pid 0", syscall(434, 0, 0) < 0 ? errno : 0);
}

struct args { unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };
static long clone3_(struct args *a, size_t size) { return syscall(435, a, size); }
static void clone3s(void) {
    int fd = -1;
    pid_t tid = 0;
    struct args a = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .pidfd = (unsigned long)&fd, .parent_tid = (unsigned long)&tid, .exit_signal = SIGCHLD};
    long p = clone3_(&a, sizeof a);
    if (!p) _exit(3);
    printf("clone3: tid %d, pidfd %d\n", p == tid, fd > 2);
    status("clone3", (pid_t)p, 0);
    struct { const char *name; struct args a; size_t size; } bad[] = {
        {"small", {0}, 56}, {"large", {0}, 5000}, {"signal in flags", {.flags = SIGCHLD}, sizeof a}, {"exit signal", {.exit_signal = 65}, sizeof a},
        {"exit signal beyond a byte", {.exit_signal = 256}, sizeof a}, {"thread alone", {.flags = CLONE_THREAD}, sizeof a},
        {"sighand alone", {.flags = CLONE_SIGHAND}, sizeof a}, {"stack without size", {.stack = 4096}, sizeof a},
        {"size without stack", {.stack_size = 4096}, sizeof a}, {"detached", {.flags = CLONE_DETACHED}, sizeof a},
        {"set_tid without size", {.set_tid = 4096}, sizeof a}, {"size of set_tid", {.set_tid_size = 33, .set_tid = 4096}, sizeof a},
        {"thread with a signal", {.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD}, sizeof a},
        {"parent with a signal", {.flags = CLONE_PARENT, .exit_signal = SIGCHLD}, sizeof a},
        {"sighand and clear", {.flags = CLONE_SIGHAND | CLONE_VM | 0x100000000ull, .exit_signal = SIGCHLD}, sizeof a},
        {"newns and fs", {.flags = CLONE_NEWNS | CLONE_FS, .exit_signal = SIGCHLD}, sizeof a},
        {"unknown", {.flags = 0x8000000000ull, .exit_signal = SIGCHLD}, sizeof a}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        p = clone3_(&bad[i].a, bad[i].size);
        if (!p) _exit(0);
        printf("%s: %s\n", bad[i].name, p < 0 ? strerrorname_np(errno) : "made");
        if (p > 0) waitpid((pid_t)p, NULL, __WALL);
    }
    char longer[128] = {0};
    memcpy(longer, &(struct args){.exit_signal = SIGCHLD}, sizeof a);
    p = clone3_((struct args *)longer, sizeof longer);
    if (!p) _exit(4);
    status("zeros behind", (pid_t)p, 0);
    longer[120] = 1;
    p = clone3_((struct args *)longer, sizeof longer);
    printf("something behind: %s\n", p < 0 ? strerrorname_np(errno) : "made");
    printf("nothing there: %s\n", clone3_(NULL, sizeof a) < 0 ? strerrorname_np(errno) : "made");
    signal(SIGUSR1, hit);
    signal(SIGUSR2, SIG_IGN);
    struct args clear = {.flags = 0x100000000ull, .exit_signal = SIGCHLD};
    p = clone3_(&clear, sizeof clear);
    if (!p) { raise(SIGUSR2); raise(SIGUSR1); _exit(0); }
    status("handlers are cleared", (pid_t)p, 0);
}

static void *threads_of_child(void *arg) { shared += (int)(long)arg; return NULL; }
static int with_threads(void *arg) { /* raw threads, since the C library does not know this process */
    (void)arg;
    int tid = 0;
    long t = clone((int (*)(void *))(void *)threads_of_child, stacks[1] + sizeof stacks[1],
                   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID, (void *)3L, &tid, NULL, &tid);
    if (t < 0) return 1;
    for (int i = 0; i < 1000 && __atomic_load_n(&tid, __ATOMIC_SEQ_CST); i++) rest_ms(1);
    pid_t p = (pid_t)syscall(SYS_fork);
    if (!p) syscall(SYS_exit_group, 8);
    int st = 0;
    syscall(SYS_wait4, p, &st, 0, NULL);
    return tid == 0 && WEXITSTATUS(st) == 8 ? 0 : 2;
}
static int outlive(void *arg) { (void)arg; rest_ms(150); shared = 99; char c = 'o'; return write(pipes[1], &c, 1) != 1; }
static void families(void) {
    shared = 0;
    status("threads and a fork inside", start(with_threads, CLONE_VM | SIGCHLD, NULL), 0);
    note("its thread wrote", shared);
    if (pipe(pipes)) return;
    pid_t p = fork();
    if (!p) {
        start(outlive, CLONE_VM | SIGCHLD, NULL);
        _exit(0);
    }
    status("its parent has gone", p, 0);
    close(pipes[1]);
    char c = 0;
    note("it lives on", read(pipes[0], &c, 1));
    char *m = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 40; i++) {
        p = vfork();
        if (!p) { m[i]++; _exit(i); }
        int st;
        if (waitpid(p, &st, 0) != p || WEXITSTATUS(st) != i || !m[i]) note("wrong at", i);
    }
    note("forty in turn", m[39]);
}

static void *spawner(void *arg) {
    char *argv[] = {"/bin/true", NULL}, *none[] = {NULL};
    int bad = 0;
    for (int i = 0; i < 10; i++) {
        pid_t p;
        int st = -1;
        if (posix_spawn(&p, i & 1 ? "/bin/true" : "/nonexistent", NULL, NULL, argv, none) == (i & 1 ? 0 : ENOENT)) { if (i & 1) waitpid(p, &st, 0); else st = 0; }
        bad += st != 0;
    }
    *(int *)arg = bad;
    return NULL;
}
static void spawns(void) {
    pthread_t t[4];
    int bad[4];
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, spawner, &bad[i]);
    for (int i = 0; i < 4; i++) { pthread_join(t[i], NULL); note("spawns that failed", bad[i]); }
    pid_t p = vfork();
    if (!p) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* of the thread that made it, which lives */
        execl("/bin/sleep", "sleep", "0.2", NULL);
        _exit(9);
    }
    status("with a parent-death signal", p, 0);
    p = vfork();
    if (!p) { char *none[] = {NULL}; execve("/nonexistent", none, none); _exit(errno == ENOENT ? 5 : 6); }
    status("exec that fails", p, 0);
}

static uint32_t words[3];
static void *waker(void *arg) { rest_ms(50); words[1] = 1; syscall(SYS_futex, &words[1], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0); return arg; }
/* Daemons, su(1), gosu: a program gives up root, and goes on to fork and exec. */
static void drops(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    note("groups", setgroups(0, NULL));
    note("gid", setgid(65534));
    note("uid", setuid(65534));
    pid_t p = fork();
    if (!p) { execl("/bin/sh", "sh", "-c", "id -u; id -g; /bin/true; echo $?; cat /dev/kvm 2>/dev/null; echo $?", NULL); _exit(9); }
    status("a shell", p, 0);
    p = vfork();
    if (!p) { execl("/bin/cat", "cat", "/proc/self/comm", NULL); _exit(9); }
    status("cat", p, 0);
}

static void full(void) { /* no descriptor is left */
    struct rlimit r = {64, 1024};
    setrlimit(RLIMIT_NOFILE, &r);
    while (dup(0) >= 0) { }
    note("full", errno);
    status("fork", start(touch, SIGCHLD, (void *)1L), 0);
    status("shared", start(touch, CLONE_VM | SIGCHLD, (void *)1L), 0);
    pthread_t t;
    note("thread", pthread_create(&t, NULL, waker, NULL) || pthread_join(t, NULL));
    char *argv[] = {"full", NULL}, *none[] = {NULL};
    pid_t p;
    note("spawn", posix_spawn(&p, "/proc/self/exe", NULL, NULL, argv, none));
    status("spawned", p, 0);
}

static void spaces(void) {
    note("nothing", unshare(0));
    note("fs", unshare(CLONE_FS));
    note("files", unshare(CLONE_FILES));
    note("sysvsem", unshare(CLONE_SYSVSEM));
    note("alone", unshare(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD));
    note("unknown", unshare(1 << 3) < 0 ? errno : 0);
}

static void waitv(void) {
    struct { uint64_t val, addr; uint32_t flags, reserved; } w[3];
    for (int i = 0; i < 3; i++) { w[i].val = 0; w[i].addr = (uintptr_t)&words[i]; w[i].flags = 2 | 128; w[i].reserved = 0; }
    pthread_t t;
    pthread_create(&t, NULL, waker, NULL);
    note("which", syscall(449, w, 3, 0, NULL, 0));
    pthread_join(t, NULL);
    note("changed already", syscall(449, w, 3, 0, NULL, 0) < 0 ? errno : 0);
    struct timespec soon;
    clock_gettime(CLOCK_MONOTONIC, &soon);
    words[1] = 0;
    note("timeout", syscall(449, w, 3, 0, &soon, CLOCK_MONOTONIC) < 0 ? errno : 0);
    note("too many", syscall(449, w, 200, 0, NULL, 0) < 0 ? errno : 0);
    note("none", syscall(449, w, 0, 0, NULL, 0) < 0 ? errno : 0);
    note("nowhere", syscall(449, (void *)8, 1, 0, NULL, 0) < 0 ? errno : 0);
    w[1].addr = 16;
    note("a bad word", syscall(449, w, 3, 0, NULL, 0) < 0 ? errno : 0);
}

static void dontfork(void) {
    char *m = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(m, 1, 3 * 4096);
    note("dontfork", madvise(m + 4096, 4096, MADV_DONTFORK));
    pid_t p = fork();
    if (!p) _exit(m[0] + m[8192] == 2 ? m[4096] : 3);
    status("the middle is missing", p, 0);
    note("dofork", madvise(m + 4096, 4096, MADV_DOFORK));
    p = fork();
    if (!p) _exit(m[4096] + 5);
    status("and there again", p, 0);
    note("wipe", madvise(m, 4096, 18));
    p = fork();
    if (!p) _exit(m[0] * 8 + m[4096]);
    status("wiped", p, 0);
}

int main(int argc, char **argv) {
    static const struct a_case cases[] = {CASE(memory), CASE(tables), CASE(handlers), CASE(deaths), CASE(exit_signals), CASE(parents), CASE(pidfds),
        CASE(clone3s), CASE(families), CASE(spawns), CASE(drops), CASE(full), CASE(spaces), CASE(waitv), CASE(dontfork)};
    return one_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
