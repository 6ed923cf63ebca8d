/* The jail: namespaces, a tree of files, an identity without privileges, and a supervisor outside.
 *
 *     supervisor   the process that the shell knows; signals, job control, limits of time; outside of the jail
 *      |- (maker)  shares the supervisor's memory for the moment in which namespaces and mounts are made
 *      |- init     pid 1 of the pid namespace: torov-runner, which reaps and waits for the supervisor's end
 *      `- main     goes on to tv_create(): the supervisor's child by CLONE_PARENT, so that it is waited for directly
 *
 * namespaces(7), user_namespaces(7), pid_namespaces(7), capabilities(7), PR_SET_PDEATHSIG(2const). */
#include "jail.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAKER_STACK (256u << 10)
#define AHEAD_STACK (16u << 10)

struct birth {
    const struct tv_jail *j;
    int leash[2]; /* a pipe whose other end only the supervisor has: its end is the end of init, and of a main that came late */
    pid_t init, main;
    int *tid;     /* where the C library keeps the thread's id */
    const char *what;
    int err;
    uid_t uid;    /* of the caller */
    gid_t gid;
    char *stack;
    int net;       /* a network namespace that was made ahead; -1: none */
    bool rootless; /* the user namespace comes first, and gives the rights to all else */
    uint64_t back[8];
};

static int host_proc = -1; /* /proc as it was: the new root need not have one */

int jail_write(const char *path, const char *text) {
    int fd = !strncmp(path, "/proc/", 6) && host_proc >= 0 ? openat(host_proc, path + 6, O_WRONLY | O_CLOEXEC) : open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

/* One line each: our own ids under the ids that the program is to see. */
static int map_ids(uid_t uid_in, uid_t uid, gid_t gid_in, gid_t gid) {
    char line[64];
    int r = jail_write("/proc/self/setgroups", "deny");
    if (r && r != -ENOENT) return r;
    snprintf(line, sizeof line, "%u %u 1\n", uid_in, uid);
    if ((r = jail_write("/proc/self/uid_map", line))) return r;
    snprintf(line, sizeof line, "%u %u 1\n", gid_in, gid);
    return jail_write("/proc/self/gid_map", line);
}

static int loopback_up(void) {
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
    if (s < 0 || ioctl(s, SIOCSIFFLAGS, &r) < 0) err = -errno;
    if (s >= 0) close(s);
    return err;
}

static void no_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    const unsigned long bits = SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_CAP_AMBIENT_RAISE;
    for (int c = 0; c <= CAP_LAST_CAP || prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++) prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
    prctl(PR_SET_SECUREBITS, bits | bits << 1 | SECBIT_KEEP_CAPS_LOCKED, 0, 0, 0); /* locked; refused without CAP_SETPCAP: then there is nothing to lock */
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    sys6(126, (uintptr_t)&head, (uintptr_t)none, 0, 0, 0, 0); /* capset(2) */
}

static bool may_mount(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2] = {{0}};
    return !sys6(125, (uintptr_t)&head, (uintptr_t)now, 0, 0, 0, 0) && now[0].effective & 1u << CAP_SYS_ADMIN; /* capget(2) */
}

/* No supplementary groups but those given; where a user namespace has given the right up for good, they stay. */
static int set_groups(size_t n, const gid_t *list) {
    char word[8] = "";
    if (!setgroups(n, list)) return 0;
    int err = errno, fd = openat(host_proc, "self/setgroups", O_RDONLY | O_CLOEXEC);
    bool denied = fd >= 0 && read(fd, word, 4) == 4 && !strcmp(word, "deny");
    if (fd >= 0) close(fd);
    return denied ? 0 : -err;
}

/* The identity of the program, and no way back. */
static int drop(const struct tv_jail *j, bool rootless, const char **what) {
    *what = "setgroups, setgid, setuid";
    if (!rootless && (j->uid >= 0 || j->gid >= 0)) {
        gid_t gid = j->gid >= 0 ? (gid_t)j->gid : getgid();
        uid_t uid = j->uid >= 0 ? (uid_t)j->uid : getuid();
        if (geteuid() == 0) for (int c = 0; c <= CAP_LAST_CAP; c++) prctl(PR_CAPBSET_DROP, c, 0, 0, 0); /* while we may */
        if ((geteuid() == 0 && set_groups(1, &gid)) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) return -errno;
    } else if (!rootless && geteuid() == 0 && j->namespaces && set_groups(0, NULL)) {
        return -errno;
    }
    *what = "user namespace";
    if (!rootless && j->namespaces & CLONE_NEWUSER) {
        uid_t uid = geteuid();
        gid_t gid = getegid();
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* or the maps are root's */
        int r = unshare(CLONE_NEWUSER) ? -errno : map_ids(uid, uid, gid, gid);
        if (r) return r;
    }
    if (!j->namespaces && !j->drop) return 0;
    *what = "no_new_privs";
    no_capabilities();
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

/* torov-runner init UID GID ROOTLESS: pid 1, with the leash as standard input and nothing else. */
static void on_child(int sig) { (void)sig; }

int tv_init(int uid, int gid, int rootless) {
    struct tv_jail j = {.uid = uid, .gid = gid, .drop = 1};
    struct sigaction act = {.sa_handler = on_child};
    const char *what;
    sigset_t child, none;
    int r = drop(&j, rootless, &what);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, "torov-init", 0, 0, 0);
    sigemptyset(&none);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    sigaction(SIGCHLD, &act, NULL);
    for (struct pollfd leash = {0, 0, 0}; !r;) { /* POLLHUP comes unasked */
        if (ppoll(&leash, 1, NULL, &none) > 0) break;
        while (waitpid(-1, NULL, WNOHANG) > 0) { }
    }
    return 0;
}

/* It shares memory and thread area with the maker, which does not wait for it: so no function of the C library in here. */
struct init_words { char uid[16], gid[16], rootless[2]; const char *argv[6], *envp[1]; };
static struct init_words words;

static void init_prepare(const struct birth *b) {
    words = (struct init_words){.rootless = {b->rootless ? '1' : '0', 0}, .argv = {"torov-init", "init", words.uid, words.gid, words.rootless}};
    snprintf(words.uid, sizeof words.uid, "%d", b->j->uid);
    snprintf(words.gid, sizeof words.gid, "%d", b->j->gid);
}

static int run_init(void *arg) {
    struct birth *b = arg;
    int64_t runner = b->j->runner_fd, r = 0;
    if (runner == 0) r = runner = sys6(32, 0, 0, 0, 0, 0, 0); /* dup(2) */
    if (r >= 0) r = sys6(33, (uint64_t)b->leash[0], 0, 0, 0, 0, 0); /* dup2(2) */
    if (r >= 0) {
        if (runner > 1) sys6(436, 1, (uint64_t)runner - 1, 0, 0, 0, 0);
        sys6(436, (uint64_t)runner + 1, ~0u, 0, 0, 0, 0);
        sys6(72, (uint64_t)runner, F_SETFD, FD_CLOEXEC, 0, 0, 0);
        r = sys6(322, (uint64_t)runner, (uintptr_t)"", (uintptr_t)words.argv, (uintptr_t)words.envp, AT_EMPTY_PATH, 0);
    }
    b->what = "torov-runner init";
    b->err = (int)r;
    return 1;
}

/* The network namespace takes longer than all others, and nothing before the jail needs it: it is made beside what Python does.
 * As run_init(). */
static struct { int pid; int64_t fd; void *stack; } ahead;

static int make_net(void *arg) {
    (void)arg;
    if (!sys6(272, CLONE_NEWNET, 0, 0, 0, 0, 0)) /* unshare(2) */
        ahead.fd = sys6(2, (uintptr_t)"/proc/self/ns/net", O_RDONLY | O_CLOEXEC, 0, 0, 0, 0);
    return 0;
}

void tv_jail_ahead(void) {
    sigset_t all, before;
    if (ahead.pid || !may_mount()) return; /* without the right the user namespace comes first */
    ahead.fd = -1;
    ahead.stack = mmap(NULL, AHEAD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (ahead.stack == MAP_FAILED) return;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    ahead.pid = clone(make_net, (char *)ahead.stack + AHEAD_STACK, CLONE_VM | CLONE_FILES, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (ahead.pid < 0) munmap(ahead.stack, AHEAD_STACK), ahead.pid = 0;
}

static int net_ahead(void) {
    if (!ahead.pid) return -1;
    while (waitpid(ahead.pid, NULL, __WALL) < 0 && errno == EINTR) { }
    munmap(ahead.stack, AHEAD_STACK);
    ahead.pid = 0;
    return (int)ahead.fd;
}

/* setjmp() and longjmp(), from the maker's stack back to the caller's, which sanitizers take for a mistake. */
__attribute__((naked, noinline, returns_twice, no_sanitize("address", "thread"))) static int mark(uint64_t *at) {
    __asm__("mov %rbx, (%rdi)\n mov %rbp, 8(%rdi)\n mov %r12, 16(%rdi)\n mov %r13, 24(%rdi)\n mov %r14, 32(%rdi)\n mov %r15, 40(%rdi)\n"
            "lea 8(%rsp), %rdx\n mov %rdx, 48(%rdi)\n mov (%rsp), %rdx\n mov %rdx, 56(%rdi)\n xor %eax, %eax\n ret");
}
__attribute__((naked, noinline, no_sanitize("address", "thread"))) static void go_back(const uint64_t *at) {
    __asm__("mov (%rdi), %rbx\n mov 8(%rdi), %rbp\n mov 16(%rdi), %r12\n mov 24(%rdi), %r13\n mov 32(%rdi), %r14\n mov 40(%rdi), %r15\n"
            "mov 48(%rdi), %rsp\n mov $1, %eax\n jmp *56(%rdi)");
}

static int fail(struct birth *b, const char *what, int err) {
    b->what = what;
    b->err = err;
    return 1;
}

/* Runs in the supervisor's memory while that waits, as after vfork(2); namespaces of its own are there. */
static int maker(void *arg) {
    struct birth *b = arg;
    const struct tv_jail *j = b->j;
    const char *what = "mounts";
    int r;
    close(b->leash[1]);
    if (b->rootless && (r = map_ids(j->uid >= 0 ? (uid_t)j->uid : b->uid, b->uid, j->gid >= 0 ? (gid_t)j->gid : b->gid, b->gid)))
        return fail(b, "uid_map of the user namespace", r);
    if (j->namespaces & CLONE_NEWUTS && j->hostname && sethostname(j->hostname, strlen(j->hostname))) return fail(b, "sethostname", -errno);
    if (b->net >= 0 && setns(b->net, CLONE_NEWNET)) return fail(b, "network namespace", -errno);
    if (j->namespaces & CLONE_NEWNET && j->loopback && (r = loopback_up())) return fail(b, "loopback interface", r);
    if (j->namespaces & CLONE_NEWNS && (r = jail_tree(j, &what))) return fail(b, what, r);
    if (j->namespaces & CLONE_NEWPID) {
        if (unshare(CLONE_NEWPID)) return fail(b, "pid namespace", -errno);
        init_prepare(b);
        b->init = clone(run_init, b->stack + MAKER_STACK / 2 /* the lower half of ours */, CLONE_VM | CLONE_PARENT | SIGCHLD, b);
        if (b->init < 0) return fail(b, "init of the pid namespace", -errno);
    }
    uint64_t flags = CLONE_PARENT | SIGCHLD | (b->tid ? CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID : 0);
    long pid = sys6(56, flags, 0, 0, (uintptr_t)b->tid, 0, 0);
    if (!pid) go_back(b->back);
    if (pid < 0) return fail(b, "main process of the jail", (int)pid);
    b->main = (pid_t)pid;
    return 0;
}

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

/* In main: what fork() of the C library would have done, then the rest of the jail. */
static int become_main(struct birth *b, struct tv_stop *why) {
    const struct tv_jail *j = b->j;
    const char *what = "/proc";
    int r = 0;
    struct pollfd leash = {b->leash[0], 0, 0};
    if (&__rseq_size && __rseq_size) /* the maker shared memory, so the kernel forgot it */
        sys6(334, (uintptr_t)__builtin_thread_pointer() + (uintptr_t)__rseq_offset, 32, 0, 0x53053053, 0, 0);
    if (j->namespaces & CLONE_NEWNS) r = jail_proc(j, &what);
    if (!r) r = drop(j, b->rootless, &what);
    if (!r) {
        what = "PR_SET_PDEATHSIG";
        prctl(PR_SET_DUMPABLE, !j->namespaces, 0, 0, 0);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)) r = -errno;
        else if (poll(&leash, 1, 0) > 0) r = -ESRCH; /* too late: the supervisor is gone */
    }
    close(b->leash[0]);
    close(host_proc);
    host_proc = -1;
    if (!r && j->nkeep >= 0) { /* sorted */
        unsigned from = 3;
        for (int i = 0; i < j->nkeep; i++) {
            if ((unsigned)j->keep[i] > from) sys6(436, from, (unsigned)j->keep[i] - 1, 0, 0, 0, 0);
            if ((unsigned)j->keep[i] >= from) from = (unsigned)j->keep[i] + 1;
        }
        sys6(436, from, ~0u, 0, 0, 0, 0);
    }
    if (r) tv_fail(why, what, r);
    return r ? -1 : 0;
}

/* -1: *end is TV_FAILED. 0: this is main, in the jail. 1: this is the supervisor, and main has ended as *end says. */
int tv_jail(const struct tv_jail *j, struct tv_stop *end) {
    static struct birth b; /* not on the stack: main comes back here */
    static sigset_t before;
    static void (*volatile chld)(int);
    sigset_t all;
    memset(end, 0, sizeof *end);
    b = (struct birth){.j = j, .leash = {-1, -1}, .uid = geteuid(), .gid = getegid(), .stack = NULL, .net = -1, .rootless = j->namespaces & CLONE_NEWUSER && !may_mount()};
    char *stack = b.stack = mmap(NULL, MAKER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED || pipe2(b.leash, O_CLOEXEC)) { tv_fail(end, "jail", errno); return -1; }
    host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    limit_watch(j->shared_fd);
    mem_host_huge(); /* what the monitor asks the host, while it can */
    vdso_find();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    chld = signal(SIGCHLD, SIG_DFL); /* ignored, it would hide how main ends */
    prctl(PR_GET_TID_ADDRESS, &b.tid);
    if (!(j->namespaces & CLONE_NEWPID)) prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (mark(b.back)) {
        int r = become_main(&b, end);
        munmap(stack, MAKER_STACK);
        signal(SIGCHLD, chld);
        sigprocmask(SIG_SETMASK, &before, NULL);
        return r;
    }
    uint64_t flags = j->namespaces & ~(uint64_t)(CLONE_NEWPID | (b.rootless ? 0 : CLONE_NEWUSER));
    if ((b.net = net_ahead()) >= 0) flags &= ~(uint64_t)CLONE_NEWNET;
    int maker_pid = clone(maker, stack + MAKER_STACK, (int)(CLONE_VM | CLONE_VFORK | SIGCHLD | flags), &b), err = errno;
    close(b.leash[0]); /* the stack stays: init may not have gone on to its program */
    if (b.net >= 0) close(b.net);
    if (maker_pid < 0) fail(&b, flags & CLONE_NEWUSER ? "user namespace" : "namespaces", -err);
    else while (waitpid(maker_pid, NULL, 0) < 0 && errno == EINTR) { }
    if (b.err) {
        if (b.init > 0) { kill(b.init, SIGKILL); waitpid(b.init, NULL, 0); }
        tv_fail(end, b.what, b.err);
    } else {
        supervise(j, b.init, b.main, end);
        if (b.err) tv_fail(end, b.what, b.err);
    }
    close(b.leash[1]);
    close(host_proc);
    signal(SIGCHLD, chld);
    struct timespec now = {0};
    while (sigtimedwait(&all, NULL, &now) > 0) { } /* what was forwarded, or came too late */
    sigprocmask(SIG_SETMASK, &before, NULL);
    return b.err ? -1 : 1;
}
