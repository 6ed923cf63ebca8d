/* Runs a program under one of the ways that Linux has to see and to refuse its system calls. Each that decides refuses
 * sched_yield with EXDEV, so that a measurement can tell that it was supervised; the exit status is the program's. All stay on
 * one CPU, the best case of a supervisor in a process of its own: to wake another CPU costs more.
 *
 *     supervise plain PROGRAM ARG...          fork and exec, nothing else
 *     supervise filter FILE PROGRAM ARG...    under the seccomp filter in FILE (struct sock_filter[]; bench/filters.py)
 *     supervise ptrace PROGRAM ARG...         every call stops twice, PTRACE_SYSCALL; a stop is looked at once, as strace(1) does
 *     supervise notify PROGRAM ARG...         every call waits for an answer, SECCOMP_RET_USER_NOTIF: the kernel goes on with it
 *
 * Sources: seccomp(2), seccomp_unotify(2), ptrace(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

#define REFUSED SYS_sched_yield
#define ANSWER EXDEV
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* Linux 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1ul
#endif

static int status_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

static void start(char **argv) {
    execv(argv[0], argv);
    die(argv[0]);
}

static long install(struct sock_filter *code, size_t n, unsigned flags) {
    struct sock_fprog program = {(unsigned short)n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void filtered(const char *file) {
    static struct sock_filter code[BPF_MAXINSNS];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, code, sizeof code);
    if (n <= 0 || n % (ssize_t)sizeof *code) die(file);
    close(fd);
    if (install(code, (size_t)n / sizeof *code, 0)) die("seccomp");
}

/* ---- ptrace ---- */

static uint8_t refused[1 << 22]; /* by thread id, below PID_MAX_LIMIT: it is in the call that was refused */

static void syscall_stop(pid_t tid) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) < 0) return; /* killed meanwhile */
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == REFUSED) {
        refused[tid] = 1;
        ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.orig_rax), -1l);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && refused[tid]) {
        refused[tid] = 0;
        ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, regs.rax), (long)-ANSWER);
    }
}

static int traced(char **argv) {
    int status, result = 125;
    pid_t child = fork(), tid;
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        start(argv);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) die("fork");
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, options) || ptrace(PTRACE_SYSCALL, child, NULL, NULL)) die("ptrace");
    while ((tid = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status)) {
            if (tid == child) result = status_of(status);
            continue;
        }
        long sig = WSTOPSIG(status);
        if (sig == (SIGTRAP | 0x80)) syscall_stop(tid), sig = 0;
        else if (status >> 16 || sig == SIGSTOP) sig = 0; /* fork, exec; a new child's first stop */
        ptrace(PTRACE_SYSCALL, tid, NULL, sig);
    }
    return result;
}

/* ---- user notification ---- */

static void nothing(int sig) { (void)sig; }

static int listener_of(pid_t child, const volatile int *number) {
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0), status;
    while (*number < 0) {
        if (waitpid(child, &status, WNOHANG) == child) exit(status_of(status));
        usleep(50);
    }
    int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, *number, 0);
    if (fd < 0) die("pidfd_getfd");
    close(pidfd);
    return fd;
}

static int notified(char **argv) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    /* The child can make no call any more that nobody answers: it says in shared memory which descriptor listens. */
    volatile int *number = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (number == MAP_FAILED) die("mmap");
    *number = -1;
    pid_t child = fork();
    if (!child) {
        long fd = install(code, sizeof code / sizeof *code, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        if (fd < 0) die("seccomp");
        *number = (int)fd;
        start(argv);
    }
    if (child < 0) die("fork");
    int fd = listener_of(child, number), status;
    ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP); /* the two share a CPU: several us less; older kernels refuse */
    /* The end of the child interrupts the wait; should it come just before the wait, the timer does. */
    struct sigaction act = {.sa_handler = nothing};
    struct itimerval often = {{0, 20000}, {0, 20000}};
    sigaction(SIGCHLD, &act, NULL);
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    struct seccomp_notif_sizes sizes;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes)) die("SECCOMP_GET_NOTIF_SIZES");
    struct seccomp_notif *call = malloc(sizes.seccomp_notif > sizeof *call ? sizes.seccomp_notif : sizeof *call);
    size_t room = sizes.seccomp_notif_resp > sizeof(struct seccomp_notif_resp) ? sizes.seccomp_notif_resp : sizeof(struct seccomp_notif_resp);
    struct seccomp_notif_resp *answer = calloc(1, room);
    if (!call || !answer) die("memory");
    for (;;) {
        memset(call, 0, sizes.seccomp_notif);
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, call)) {
            if (waitpid(child, &status, WNOHANG) == child) return status_of(status);
            continue;
        }
        bool no = call->data.nr == REFUSED;
        *answer = (struct seccomp_notif_resp){.id = call->id, .error = no ? -ANSWER : 0, .flags = no ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, answer); /* ENOENT: it was killed meanwhile */
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[1] : "";
    int status;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one)) die("sched_setaffinity");
    if (!strcmp(mode, "ptrace")) return traced(argv + 2);
    if (!strcmp(mode, "notify")) return notified(argv + 2);
    bool filter = argc > 3 && !strcmp(mode, "filter");
    if (!filter && strcmp(mode, "plain")) {
        fprintf(stderr, "usage: supervise plain|filter FILE|ptrace|notify PROGRAM ARG...\n");
        return 2;
    }
    pid_t child = fork();
    if (!child) {
        if (filter) filtered(argv[2]);
        start(argv + 2 + filter);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) die("fork");
    return status_of(status);
}
