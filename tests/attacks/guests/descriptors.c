/* The monitor's descriptors, by every call that takes one: /dev/kvm, the VM, its vCPUs. Each must be as one that is not open. */
#include "attack.h"
#include <linux/close_range.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

static char buf[4096];
#define EACH(fd) for (int fd = hidden_first(), last_ = fd + HIDDEN_MANY; fd < last_; fd++)
/* One line for all numbers: the first that is not refused as it should be, or the refusal. */
#define ALL(want, what, call) do { \
    long r_ = 0; \
    int at_ = -1; \
    EACH(fd) { \
        long one_ = (call); \
        if (one_ != -(want)) { at_ = fd; r_ = one_; break; } \
        r_ = one_; \
    } \
    holds(at_ < 0, "%s%s: %s", what, at_ < 0 ? "" : " of one", answer(r_)); \
} while (0)

static void transfer(void) {
    struct iovec v = {buf, 1};
    int flow[2];
    need(!pipe(flow), "pipe");
    fcntl(flow[0], F_SETFL, O_NONBLOCK);
    ALL(EBADF, "read", SC(SYS_read, fd, buf, 1));
    ALL(EBADF, "write", SC(SYS_write, fd, buf, 1));
    ALL(EBADF, "readv", SC(SYS_readv, fd, &v, 1));
    ALL(EBADF, "writev", SC(SYS_writev, fd, &v, 1));
    ALL(EBADF, "pread64", SC(SYS_pread64, fd, buf, 1, 0));
    ALL(EBADF, "pwritev2", SC(SYS_pwritev2, fd, &v, 1, 0, 0, 0));
    ALL(EBADF, "lseek", SC(SYS_lseek, fd, 0, SEEK_CUR));
    ALL(EBADF, "getdents64", SC(SYS_getdents64, fd, buf, 512));
    ALL(EBADF, "sendfile", SC(SYS_sendfile, flow[1], fd, 0, 1));
    ALL(EBADF, "splice", SC(SYS_splice, fd, 0, flow[1], 0, 1, 0));
    ALL(EBADF, "splice into it", SC(SYS_splice, flow[0], 0, fd, 0, 1, 2));
    ALL(EBADF, "tee", SC(SYS_tee, fd, flow[1], 1, 0));
    ALL(EBADF, "vmsplice", SC(SYS_vmsplice, fd, &v, 1, 0));
    ALL(EBADF, "copy_file_range", SC(SYS_copy_file_range, fd, 0, flow[1], 0, 1, 0));
}
static void about(void) {
    struct stat st;
    ALL(EBADF, "fstat", SC(SYS_fstat, fd, &st));
    ALL(EBADF, "newfstatat", SC(SYS_newfstatat, fd, "", &st, 0x1000));
    ALL(EBADF, "statx", SC(SYS_statx, fd, "", 0x1000, STATX_ALL, buf));
    ALL(EBADF, "fstatfs", SC(SYS_fstatfs, fd, buf));
    ALL(EBADF, "fchmod", SC(SYS_fchmod, fd, 0777));
    ALL(EBADF, "fchown", SC(SYS_fchown, fd, 0, 0));
    ALL(EBADF, "ftruncate", SC(SYS_ftruncate, fd, 0));
    ALL(EBADF, "fsync", SC(SYS_fsync, fd));
    ALL(EBADF, "flock", SC(SYS_flock, fd, 2));
    ALL(EBADF, "fgetxattr", SC(SYS_fgetxattr, fd, "user.x", buf, 16));
    ALL(EBADF, "utimensat", SC(SYS_utimensat, fd, 0, 0, 0));
    ALL(EBADF, "readahead", SC(SYS_readahead, fd, 0, 1));
    ALL(EBADF, "fadvise64", SC(SYS_fadvise64, fd, 0, 1, 0));
    ALL(EBADF, "syncfs", SC(SYS_syncfs, fd));
}
static void directories(void) {
    ALL(EBADF, "fchdir", SC(SYS_fchdir, fd));
    ALL(EBADF, "openat", SC(SYS_openat, fd, "x", O_RDONLY));
    struct { uint64_t flags, mode, resolve; } how = {0};
    ALL(EBADF, "openat2", SC(437, fd, "x", &how, sizeof how));
    ALL(EBADF, "mkdirat", SC(SYS_mkdirat, fd, "x", 0700));
    ALL(EBADF, "unlinkat", SC(SYS_unlinkat, fd, "x", 0));
    ALL(EBADF, "linkat", SC(SYS_linkat, fd, "x", AT_FDCWD, "y", 0));
    ALL(EBADF, "renameat2", SC(SYS_renameat2, fd, "x", AT_FDCWD, "y", 0));
    ALL(EBADF, "readlinkat", SC(SYS_readlinkat, fd, "x", buf, 16));
    ALL(EBADF, "fchownat", SC(SYS_fchownat, fd, "", 0, 0, 0x1000));
    char *words[] = {"x", NULL};
    ALL(EBADF, "execveat", SC(SYS_execveat, fd, "", words, 0, 0x1000));
}
static void requests(void) {
    int zero = 0;
    (void)zero;
    ALL(EBADF, "KVM_GET_API_VERSION", SC(SYS_ioctl, fd, KVM_GET_API_VERSION, 0));
    ALL(EBADF, "KVM_CREATE_VM", SC(SYS_ioctl, fd, KVM_CREATE_VM, 0));
    ALL(EBADF, "KVM_CREATE_VCPU", SC(SYS_ioctl, fd, KVM_CREATE_VCPU, 9));
    ALL(EBADF, "KVM_GET_SREGS", SC(SYS_ioctl, fd, KVM_GET_SREGS, buf));
    ALL(EBADF, "KVM_SET_USER_MEMORY_REGION", SC(SYS_ioctl, fd, KVM_SET_USER_MEMORY_REGION, buf));
    ALL(EBADF, "KVM_RUN", SC(SYS_ioctl, fd, KVM_RUN, 0));
    ALL(EBADF, "FIONREAD", SC(SYS_ioctl, fd, FIONREAD, buf));
    ALL(EBADF, "FIOCLEX", SC(SYS_ioctl, fd, FIOCLEX, 0));
    ALL(EBADF, "FIOASYNC", SC(SYS_ioctl, fd, FIOASYNC, &(int){1}));
}
/* /dev/kvm of its own: it may be opened as natively, and is of no use. */
static void own_kvm(void) {
    int kvm = open("/dev/kvm", O_RDWR);
    if (kvm < 0) { holds(true, "open of /dev/kvm: %s", answer(-errno)); return; }
    MUST(ENOTTY, SC(SYS_ioctl, kvm, KVM_GET_API_VERSION, 0), "KVM_GET_API_VERSION");
    MUST(ENOTTY, SC(SYS_ioctl, kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    MUST(ENOTTY, SC(SYS_ioctl, kvm, KVM_CREATE_VM | 0xffffffff00000000, 0), "KVM_CREATE_VM with high bits");
    FAILS(SC(SYS_mmap, 0, 4096, 3, MAP_SHARED, kvm, 0), "mmap");
}
static void duplicates(void) {
    int nul = open("/dev/null", O_RDWR);
    ALL(EBADF, "dup", SC(SYS_dup, fd));
    ALL(EBADF, "dup2 from it", SC(SYS_dup2, fd, 200));
    ALL(EBADF, "dup3 from it", SC(SYS_dup3, fd, 200, 0));
    ALL(EBADF, "F_DUPFD", SC(SYS_fcntl, fd, F_DUPFD, 0));
    ALL(EBADF, "F_DUPFD_CLOEXEC", SC(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0));
    ALL(EBADF, "F_GETFD", SC(SYS_fcntl, fd, F_GETFD));
    ALL(EBADF, "F_SETFD", SC(SYS_fcntl, fd, F_SETFD, 0));
    ALL(EBADF, "F_GETFL", SC(SYS_fcntl, fd, F_GETFL));
    ALL(EBADF, "F_SETFL", SC(SYS_fcntl, fd, F_SETFL, O_NONBLOCK));
    ALL(EBADF, "F_SETOWN", SC(SYS_fcntl, fd, F_SETOWN, getpid()));
    ALL(EBADF, "F_DUPFD_QUERY", SC(SYS_fcntl, nul, 1027, fd) == -EINVAL ? -EBADF : SC(SYS_fcntl, nul, 1027, fd));
}
static void replaced(void) { /* something of the guest's in their place */
    int nul = open("/dev/null", O_RDWR);
    struct rlimit lim;
    getrlimit(RLIMIT_NOFILE, &lim);
    bool raised = lim.rlim_max > lim.rlim_cur;
    int first = hidden_first();
    for (int again = 0; again < 2; again++) {
        long r = 0;
        int done = -1;
        for (int fd = first; fd < first + 3; fd++) /* /dev/kvm, the VM, a vCPU */
            if ((r = SC(SYS_dup2, nul, fd)) != -EBADF || (r = SC(SYS_dup3, nul, fd, O_CLOEXEC)) != -EBADF) { done = fd; break; }
        holds(done < 0, "dup2 onto %s%s", done < 0 ? "them: EBADF" : "one: ", done < 0 ? "" : answer(r));
        if (!raised) break;
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    long low = SC(SYS_fcntl, nul, F_DUPFD, first);
    holds(low < 0 || low >= first + 3, "F_DUPFD from there on: %s", answer(low));
}
static void closed(void) {
    ALL(EBADF, "close", SC(SYS_close, fd));
    int first = hidden_first();
    SC(436, first, first + HIDDEN_MANY, 0);
    SC(436, 3, ~0u, 0);
    SC(436, 3, ~0u, CLOSE_RANGE_CLOEXEC);
    SC(436, first + 1, first + 1, 0);
    pid_t pid = fork(); /* needs /dev/kvm; a thread needs the VM */
    if (!pid) _exit(3);
    int status = 0;
    holds(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3, "close_range: a new process still starts");
    if (!getenv("TARGET")) holds(fcntl(first, F_GETFD) >= 0, "natively it is closed now");
}
static void waited_for(void) {
    struct timespec none = {0};
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    static char set[4096];
    long bad = 0, r;
    EACH(fd) {
        struct pollfd one = {fd, POLLIN | POLLOUT, 0};
        if ((r = SC(SYS_poll, &one, 1, 0)) != 1 || one.revents != POLLNVAL) bad++;
        one.revents = 0;
        if ((r = SC(SYS_ppoll, &one, 1, &none, 0, 8)) != 1 || one.revents != POLLNVAL) bad++;
    }
    holds(!bad, "poll and ppoll: POLLNVAL");
    bad = 0;
    EACH(fd) {
        if (fd / 8 >= (int)sizeof set) break;
        set[fd / 8] = (char)(1 << fd % 8);
        r = SC(SYS_select, fd + 1, 0, set, 0, &none); /* beyond what the table has grown to, Linux looks at nothing */
        if (r != -EBADF && r != 0) bad++;
        memset(set, 0, sizeof set);
    }
    holds(!bad, "select: EBADF");
    ALL(EBADF, "epoll_ctl", SC(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &e));
    ALL(EBADF, "epoll_ctl of it", SC(SYS_epoll_ctl, fd, EPOLL_CTL_ADD, 0, &e));
    ALL(EBADF, "epoll_wait", SC(SYS_epoll_wait, fd, &e, 1, 0));
    ALL(EBADF, "timerfd_settime", SC(SYS_timerfd_settime, fd, 0, buf, 0));
    ALL(EBADF, "signalfd4", SC(SYS_signalfd4, fd, buf, 8, 0));
    ALL(EBADF, "inotify_add_watch", SC(SYS_inotify_add_watch, fd, "/", 1));
    ALL(EBADF, "mq_timedsend", SC(SYS_mq_timedsend, fd, buf, 1, 0, 0));
    ALL(EBADF, "pidfd_send_signal", SC(424, fd, 0, 0, 0));
}
static void socket_calls(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    ALL(EBADF, "bind", SC(SYS_bind, fd, &un, 2));
    ALL(EBADF, "connect", SC(SYS_connect, fd, &un, 2));
    ALL(EBADF, "listen", SC(SYS_listen, fd, 1));
    ALL(EBADF, "accept4", SC(SYS_accept4, fd, 0, 0, 0));
    ALL(EBADF, "sendto", SC(SYS_sendto, fd, buf, 1, 0, 0, 0));
    ALL(EBADF, "recvfrom", SC(SYS_recvfrom, fd, buf, 1, MSG_DONTWAIT, 0, 0));
    ALL(EBADF, "setsockopt", SC(SYS_setsockopt, fd, 1, 2, buf, 4));
    ALL(EBADF, "shutdown", SC(SYS_shutdown, fd, 2));
}
/* Descriptors that are handed over: by sendmsg, sendmmsg, in the second of two headers, behind one that is the guest's. */
static void handed_over(void) {
    int p[2], nul = open("/dev/null", O_RDWR);
    need(!socketpair(AF_UNIX, SOCK_DGRAM, 0, p), "socketpair");
    struct iovec v = {buf, 1};
    long bad = 0, r;
    EACH(fd) {
        char ctl[CMSG_SPACE(8) + CMSG_SPACE(4)] = {0};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_SPACE(4)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, 4);
        if ((r = SC(SYS_sendmsg, p[0], &m, 0)) != -EBADF) bad++;
        struct mmsghdr mm = {.msg_hdr = m};
        if ((r = SC(SYS_sendmmsg, p[0], &mm, 1, 0)) != -EBADF) bad++;
        m.msg_controllen = CMSG_SPACE(8);
        c->cmsg_len = CMSG_LEN(8);
        memcpy(CMSG_DATA(c), (int[]){nul, fd}, 8);
        if ((r = SC(SYS_sendmsg, p[0], &m, 0)) != -EBADF) bad++;
        m.msg_controllen = CMSG_SPACE(8) + CMSG_SPACE(4);
        memcpy(CMSG_DATA(c), (int[]){nul, nul}, 8);
        c = (struct cmsghdr *)(ctl + CMSG_SPACE(8));
        *c = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, 4);
        if ((r = SC(SYS_sendmsg, p[0], &m, 0)) != -EBADF) bad++;
    }
    holds(!bad, "SCM_RIGHTS: EBADF");
    char got_ctl[CMSG_SPACE(4)];
    struct msghdr in = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = got_ctl, .msg_controllen = sizeof got_ctl};
    holds(SC(SYS_recvmsg, p[1], &in, MSG_DONTWAIT) == -EAGAIN, "nothing was received");
}
/* Control data whose second header says that it is longer than what there is. */
static void control_length(void) {
    int p[2];
    need(!socketpair(AF_UNIX, SOCK_DGRAM, 0, p), "socketpair");
    size_t n = 1 << 20;
    char *ctl = calloc(1, n);
    struct iovec v = {buf, 1};
    for (size_t at = 16; at < n - 32; at += at < 4096 ? 16 : 65536) {
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = n};
        *(struct cmsghdr *)ctl = (struct cmsghdr){at, 77, 1};
        *(struct cmsghdr *)(ctl + at) = (struct cmsghdr){n, SOL_SOCKET, SCM_RIGHTS};
        long r = SC(SYS_sendmsg, p[0], &m, 0);
        if (r >= 0) { holds(false, "sendmsg: %s", answer(r)); return; }
    }
    holds(true, "sendmsg: refused each time");
    free(ctl);
}
static void mapped(void) {
    ALL(EBADF, "mmap", SC(SYS_mmap, 0, 4096, 3, MAP_SHARED, fd, 0));
    ALL(EBADF, "mmap, private", SC(SYS_mmap, 0, 4096, 1, MAP_PRIVATE, fd, 0));
    ALL(EBADF, "mmap of three pages", SC(SYS_mmap, 0, 12288, 3, MAP_SHARED, fd, 0));
}
static void stolen(void) {
    int self = (int)SC(434, getpid(), 0);
    need(self >= 0, "pidfd_open");
    EACH(fd) {
        long r = SC(438, self, fd, 0), q = SC(SYS_kcmp, getpid(), getpid(), 0, fd, 0);
        if (r != -EPERM || q != -EPERM) { holds(false, "pidfd_getfd %s, kcmp %s", answer(r), answer(q)); return; }
    }
    holds(true, "pidfd_getfd and kcmp: EPERM");
}
static void by_name(void) {
    char name[64];
    long opened = 0, looked = 0, listed = 0;
    const char *const form[] = {"/proc/self/fd/%d", "/dev/fd/%d", "/proc/thread-self/fd/%d", "/proc/self/fd/../fd/%d", "/proc/self/task/../fd/%d", "/proc/self/fdinfo/%d"};
    struct stat st;
    EACH(fd)
        for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
            snprintf(name, sizeof name, form[i], fd);
            for (int flags = 0; flags < 2; flags++) {
                int f = open(name, flags ? O_RDWR : O_PATH | O_NOFOLLOW);
                if (f >= 0) opened++;
            }
            looked += !lstat(name, &st) + !stat(name, &st) + !access(name, F_OK) + (readlink(name, buf, sizeof buf) > 0);
        }
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    for (long n; (n = SC(SYS_getdents64, dir, buf, sizeof buf)) > 0;)
        for (long i = 0; i < n; i += *(unsigned short *)(buf + i + 16)) listed += atoi(buf + i + 19) >= hidden_first();
    holds(!opened, "open by /proc/self/fd and its other names: %ld", opened);
    holds(!looked, "stat, access and readlink: %ld", looked);
    holds(!listed, "listed in /proc/self/fd: %ld", listed);
}
/* The limit is raised: their numbers are now below it. */
static void limit_raised(void) {
    int first = hidden_first();
    struct rlimit lim;
    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max = lim.rlim_max > (rlim_t)first + 64 ? lim.rlim_max : (rlim_t)first + 64;
    long r = SC(SYS_setrlimit, RLIMIT_NOFILE, &lim);
    long bad = 0;
    for (int fd = first; fd < first + HIDDEN_MANY; fd++) bad += SC(SYS_fcntl, fd, F_GETFD) != -EBADF;
    holds(!bad, "after setrlimit (%s): %ld seen", answer(r), bad);
}
/* After exec the descriptors are others; what exec hands over is not there either. */
static void run_again(void) {
    execl("/proc/self/exe", "descriptors", "after_exec_2", NULL);
}
static void after_exec(void) {
    int status = apart(run_again);
    holds(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the program after exec: status %x", status);
}
static void after_exec_2(void) {
    long bad = 0;
    for (int fd = 3; fd < 64; fd++) bad += fcntl(fd, F_GETFD) >= 0;
    EACH(fd) bad += SC(SYS_fcntl, fd, F_GETFD) != -EBADF;
    if (!getenv("TARGET")) bad++;
    holds(!bad, "descriptors that exec left: %ld", bad);
}
/* A process that shares the table has a VM and a vCPU of its own in it. */
static int done[2];
static void table_shared(void) {
    need(!pipe(done), "pipe");
    pid_t pid = (pid_t)SC(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (!pid) {
        for (;;) pause();
    }
    need(pid > 0, "clone");
    rest_ms(300);
    long seen = 0, mapped_one = 0;
    for (int fd = 3; fd < hidden_first() + 3 * HIDDEN_MANY; fd++) {
        if (fd == done[0] || fd == done[1] || SC(SYS_fcntl, fd, F_GETFD) < 0) continue;
        seen++;
        long r = SC(SYS_mmap, 0, 4096, 3, MAP_SHARED, fd, 0);
        if (r > 0) mapped_one++;
    }
    if (!getenv("TARGET")) seen++;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    holds(!seen, "descriptors of the other process's VM: %ld, of which %ld can be mapped", seen, mapped_one);
}
static void *nothing(void *arg) { (void)arg; pause(); return NULL; }
static void *unshared(void *arg) {
    (void)arg;
    long r = SC(436, 900, 1000, CLOSE_RANGE_UNSHARE);
    rest_ms(200);
    pthread_t t[8];
    for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, nothing, NULL);
    rest_ms(200);
    return (void *)r;
}
static void *brief(void *arg) { return arg; }
/* A thread with a table of its own takes up a vCPU whose descriptor is in another. */
static void table_apart(void) {
    pthread_t t, more[8];
    void *r;
    pthread_create(&t, NULL, unshared, NULL);
    rest_ms(100);
    for (int i = 0; i < 8; i++) pthread_create(&more[i], NULL, brief, NULL);
    for (int i = 0; i < 8; i++) pthread_join(more[i], NULL);
    pthread_join(t, &r);
    holds(true, "CLOSE_RANGE_UNSHARE: %s, and threads go on", answer((long)r));
}

MAIN(ATTACK(transfer), ATTACK(about), ATTACK(directories), ATTACK(requests), ATTACK(own_kvm), ATTACK(duplicates), ATTACK(replaced), ATTACK(closed),
     ATTACK(waited_for), ATTACK(socket_calls), ATTACK(handed_over), ATTACK(control_length), ATTACK(mapped), ATTACK(stolen), ATTACK(by_name),
     ATTACK(limit_raised), ATTACK(after_exec), ATTACK(after_exec_2), ATTACK(table_shared), ATTACK(table_apart))
