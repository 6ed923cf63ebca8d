/* Addresses of the monitor where the guest's own belong: every kind of pointer that a call takes. */
#include "attack.h"
#include <dirent.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>

static char buf[4096];
static int zero, file, pair[2], flow[2];

static void open_all(void) {
    zero = open("/dev/zero", O_RDWR);
    file = open("data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    need(zero >= 0 && file >= 0 && write(file, "0123456789abcdef", 16) == 16 && !lseek(file, 0, SEEK_SET), "files");
    need(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) && !pipe(flow), "socketpair");
    fcntl(flow[0], F_SETFL, O_NONBLOCK);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
}
static void nothing_came(const char *what) {
    memset(buf, 0, sizeof buf);
    long n = read(flow[0], buf, sizeof buf), m = recv(pair[1], buf + 2048, 1024, MSG_DONTWAIT);
    holds(!is_secret(buf, sizeof buf), "%s: the pipe gave %ld, the socket %ld bytes", what, n, m);
}

static void write_from(void) {
    open_all();
    char *t = target();
    MUST(EFAULT, SC(SYS_write, flow[1], t, 32), "write");
    MUST(EFAULT, SC(SYS_pwrite64, file, t, 32, 0), "pwrite64");
    MUST(EFAULT, SC(SYS_sendto, pair[0], t, 32, 0, 0, 0), "sendto");
    MUST(EFAULT, SC(SYS_setxattr, "data", "user.x", t, 32, 0), "setxattr");
    MUST(EFAULT, SC(SYS_memfd_create, t, 0), "memfd_create");
    nothing_came("write and sendto");
}
static void read_into(void) {
    open_all();
    char *t = target();
    MUST(EFAULT, SC(SYS_read, zero, t, 16), "read");
    MUST(EFAULT, SC(SYS_pread64, file, t, 16, 0), "pread64");
    MUST(EFAULT, SC(SYS_getrandom, t, 16, 0), "getrandom");
    MUST(EFAULT, SC(SYS_getcwd, t, 4096), "getcwd");
    MUST(EFAULT, SC(SYS_readlink, "/proc/self/exe", t, 64), "readlink of exe");
    MUST(EFAULT, SC(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", t, 64), "readlinkat");
    int dir = open(".", O_RDONLY | O_DIRECTORY);
    MUST(EFAULT, SC(SYS_getdents64, dir, t, 512), "getdents64");
    MUST(EFAULT, SC(SYS_getdents, dir, t, 512), "getdents");
    send(pair[0], "x", 1, 0);
    MUST(EFAULT, SC(SYS_recvfrom, pair[1], t, 16, MSG_DONTWAIT, 0, 0), "recvfrom");
}
static void structures(void) {
    open_all();
    char *t = target();
    MUST(EFAULT, SC(SYS_uname, t), "uname");
    MUST(EFAULT, SC(SYS_fstat, zero, t), "fstat");
    MUST(EFAULT, SC(SYS_stat, "/", t), "stat");
    MUST(EFAULT, SC(SYS_newfstatat, AT_FDCWD, "/proc/self/exe", t, 0), "newfstatat");
    MUST(EFAULT, SC(SYS_statx, AT_FDCWD, "/", 0, STATX_ALL, t), "statx");
    MUST(EFAULT, SC(SYS_statfs, "/", t), "statfs");
    MUST(EFAULT, SC(SYS_sysinfo, t), "sysinfo");
    MUST(EFAULT, SC(SYS_times, t), "times");
    MUST(EFAULT, SC(SYS_getrusage, 0, t), "getrusage");
    MUST(EFAULT, SC(SYS_getrlimit, RLIMIT_CORE, t), "getrlimit");
    MUST(EFAULT, SC(SYS_prlimit64, 0, RLIMIT_STACK, 0, t), "prlimit64 of the guest's own");
    MUST(EFAULT, SC(SYS_prlimit64, 0, RLIMIT_CORE, t, 0), "prlimit64, new");
    MUST(EFAULT, SC(SYS_gettimeofday, t, 0), "gettimeofday");
    MUST(EFAULT, SC(SYS_clock_gettime, 0, t), "clock_gettime");
    if (t != own_secret) MUST(EFAULT, SC(SYS_nanosleep, t, 0), "nanosleep");
    MUST(EFAULT, SC(SYS_getitimer, 0, t), "getitimer");
    MUST(EFAULT, SC(SYS_pipe2, t, 0), "pipe2");
    MUST(EFAULT, SC(SYS_getresuid, t, t + 4, t + 8), "getresuid");
    MUST(EFAULT, SC(SYS_getgroups, 64, t) >= 0 ? -EFAULT : SC(SYS_getgroups, 64, t), "getgroups");
    MUST(EFAULT, SC(SYS_sched_getparam, 0, t), "sched_getparam");
    MUST(EFAULT, SC(SYS_sched_getaffinity, 0, 128, t), "sched_getaffinity");
    MUST(0, SC(SYS_sched_setattr, 0, t, 0), "sched_setattr");
    MUST(EFAULT, SC(SYS_getcpu, t, 0, 0), "getcpu");
    MUST(EFAULT, SC(SYS_adjtimex, t), "adjtimex");
    MUST(EFAULT, SC(SYS_capget, t, t), "capget");
}
static void iovec_base(void) {
    open_all();
    struct iovec v[2] = {{buf, 4}, {target(), 32}}, only = {target(), 32};
    MUST(EFAULT, SC(SYS_writev, flow[1], &only, 1), "writev");
    long n = SC(SYS_writev, flow[1], v, 2);
    holds(n == 4 || n == -EFAULT, "writev, the second of two: %s", answer(n));
    MUST(EFAULT, SC(SYS_readv, zero, &only, 1), "readv");
    MUST(EFAULT, SC(SYS_preadv, file, &only, 1, 0, 0), "preadv");
    MUST(EFAULT, SC(SYS_pwritev, file, &only, 1, 0, 0), "pwritev");
    MUST(EFAULT, SC(SYS_preadv2, file, &only, 1, 0, 0, 0), "preadv2");
    MUST(EFAULT, SC(SYS_pwritev2, file, &only, 1, 0, 0, 0), "pwritev2");
    MUST(EFAULT, SC(SYS_vmsplice, flow[1], &only, 1, 0), "vmsplice");
    nothing_came("writev and vmsplice");
}
static void iovec_array(void) {
    open_all();
    char *t = target();
    struct iovec *mine = (struct iovec *)own_secret;
    if (t == own_secret) *mine = (struct iovec){buf, 4};
    MUST(EFAULT, SC(SYS_writev, flow[1], t, 1), "writev");
    MUST(EFAULT, SC(SYS_readv, zero, t, 1), "readv");
    MUST(EFAULT, SC(SYS_preadv2, file, t, 1, 0, 0, 0), "preadv2");
    MUST(EFAULT, SC(SYS_vmsplice, flow[1], t, 1, 0), "vmsplice");
}
/* The kernel looks at the low half of a count: import_iovec() takes an unsigned. */
static void iovec_count(void) {
    open_all();
    struct iovec only = {target(), 32};
    const long many = 0x100000001;
    FAILS(SC(SYS_writev, flow[1], &only, many), "writev");
    FAILS(SC(SYS_readv, zero, &only, many), "readv");
    FAILS(SC(SYS_preadv, file, &only, many, 0, 0), "preadv");
    FAILS(SC(SYS_pwritev, file, &only, many, 0, 0), "pwritev");
    FAILS(SC(SYS_preadv2, file, &only, many, 0, 0, 0), "preadv2");
    FAILS(SC(SYS_pwritev2, file, &only, many, 0, 0, 0), "pwritev2");
    FAILS(SC(SYS_vmsplice, flow[1], &only, many, 0), "vmsplice");
    nothing_came("writev and vmsplice");
}
static void message(void) {
    open_all();
    char *t = target(), ctl[256];
    struct iovec bad = {t, 32}, good = {buf, 4};
    struct msghdr m = {.msg_iov = &bad, .msg_iovlen = 1};
    MUST(EFAULT, SC(SYS_sendmsg, pair[0], &m, 0), "sendmsg, base");
    m = (struct msghdr){.msg_iov = (struct iovec *)t, .msg_iovlen = 1};
    if (t != own_secret) MUST(EFAULT, SC(SYS_sendmsg, pair[0], &m, 0), "sendmsg, array");
    m = (struct msghdr){.msg_iov = &good, .msg_iovlen = 1, .msg_name = t, .msg_namelen = 16};
    FAILS(SC(SYS_sendmsg, pair[0], &m, 0), "sendmsg, name");
    m = (struct msghdr){.msg_iov = &good, .msg_iovlen = 1, .msg_control = t, .msg_controllen = 32};
    FAILS(SC(SYS_sendmsg, pair[0], &m, 0), "sendmsg, control");
    if (t != own_secret) MUST(EFAULT, SC(SYS_sendmsg, pair[0], t, 0), "sendmsg, header");
    send(pair[0], "abcd", 4, 0);
    m = (struct msghdr){.msg_iov = &bad, .msg_iovlen = 1};
    MUST(EFAULT, SC(SYS_recvmsg, pair[1], &m, MSG_DONTWAIT), "recvmsg, base");
    if (t != own_secret) MUST(EFAULT, SC(SYS_recvmsg, pair[1], t, MSG_DONTWAIT), "recvmsg, header");
    struct mmsghdr mm = {.msg_hdr = {.msg_iov = &bad, .msg_iovlen = 1}};
    MUST(EFAULT, SC(SYS_sendmmsg, pair[0], &mm, 1, 0), "sendmmsg");
    send(pair[0], "abcd", 4, 0);
    MUST(EFAULT, SC(SYS_recvmmsg, pair[1], &mm, 1, MSG_DONTWAIT, 0), "recvmmsg");
    m = (struct msghdr){.msg_iov = &bad, .msg_iovlen = 0x100000001};
    MUST(EMSGSIZE, SC(SYS_sendmsg, pair[0], &m, 0), "sendmsg, count");
    /* descriptors arrive in a control buffer that is the monitor's */
    struct iovec one = {buf, 1};
    struct msghdr f = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_SPACE(4)};
    *CMSG_FIRSTHDR(&f) = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&f)), &zero, 4);
    need(SC(SYS_sendmsg, pair[0], &f, 0) == 1, "SCM_RIGHTS");
    f.msg_control = t + 256;
    SC(SYS_recvmsg, pair[1], &f, MSG_DONTWAIT);
    nothing_came("sendmsg");
}
static void futex_words(void) {
    char *t = target();
    struct timespec soon = {0, 1000000};
    struct { uint64_t val, uaddr; uint32_t flags, reserved; } w = {0, (uint64_t)t, 2, 0};
    uint32_t mine = 0;
    MUST(EFAULT, SC(SYS_futex, t, FUTEX_WAIT, 0, &soon), "FUTEX_WAIT");
    MUST(EFAULT, SC(SYS_futex, t, FUTEX_WAKE, 1), "FUTEX_WAKE");
    MUST(EFAULT, SC(SYS_futex, &mine, FUTEX_WAKE_OP, 1, 1, t, FUTEX_OP(FUTEX_OP_SET, 0x41414141, FUTEX_OP_CMP_EQ, 0)), "FUTEX_WAKE_OP");
    MUST(EFAULT, SC(SYS_futex, &mine, FUTEX_CMP_REQUEUE, 1, 1, t, 0), "FUTEX_CMP_REQUEUE");
    FAILS(SC(SYS_futex, t, FUTEX_LOCK_PI, 0, &soon), "FUTEX_LOCK_PI");
    FAILS(SC(449, &w, 1, 0, 0, 0), "futex_waitv");
    FAILS(SC(454, t, ~0u, 1, 2), "futex_wake");
    FAILS(SC(455, t, 0, ~0u, 2, 0, 0), "futex_wait");
    if (t != own_secret) MUST(EFAULT, SC(SYS_futex, &mine, FUTEX_WAIT, 0, t), "timeout");
}
static void *leave(void *arg) {
    ((void (*)(void))arg)();
    SC(SYS_exit, 0);
    return NULL;
}
static void in_thread(void (*fn)(void)) {
    pthread_t t;
    need(!pthread_create(&t, NULL, leave, (void *)fn), "thread");
    rest_ms(100); /* its end by exit(2) is not seen by pthread_join() once its clear_child_tid is elsewhere */
}
static struct { void *next; long offset; void *pending; } robust_head;
static void robust_far(void) { SC(SYS_set_robust_list, target(), 24); }
static void robust_entry(void) {
    robust_head.next = target();
    robust_head.offset = 0;
    robust_head.pending = target() + 64;
    SC(SYS_set_robust_list, &robust_head, 24);
}
static void clear_tid(void) { SC(SYS_set_tid_address, target()); }
static void thread_ends(void) {
    uint32_t before = 0, after = 0;
    bool mine = target() == own_secret;
    if (mine) memcpy(&before, own_secret, 4);
    in_thread(clear_tid);
    if (mine) memcpy(&after, own_secret, 4);
    holds(before == after, "clear_child_tid at the end of a thread");
    in_thread(robust_far);
    in_thread(robust_entry);
    holds(true, "robust list and its entries");
}
static void tid_words(void) {
    int32_t here = 0;
    pid_t pid = (pid_t)SC(SYS_clone, CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | SIGCHLD, 0, target() + 512, target() + 516, 0);
    if (!pid) {
        if (target() == own_secret) memcpy(&here, own_secret + 516, 4);
        _exit(here == getpid());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    holds(WIFEXITED(status) && !WEXITSTATUS(status), "CLONE_CHILD_SETTID");
}
static volatile int handled;
static void handler(int sig) { (void)sig; handled = 1; }
static void alt_child(void) {
    stack_t alt = {.ss_sp = target() == own_secret ? (void *)buf : target(), .ss_size = 65536};
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    if (target() == own_secret) alt.ss_sp = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaltstack(&alt, NULL);
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
    _exit(handled ? 7 : 8);
}
static void stack_child(void) { /* the frame goes where rsp points */
    struct sigaction act = {.sa_handler = handler};
    sigaction(SIGUSR1, &act, NULL);
    register long r10 __asm__("r10") = 0;
    long rsp = (long)(target() == own_secret ? (char *)mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 65536 : target() + 4096);
    __asm__ volatile("mov %%rsp, %%r12; mov %0, %%rsp; syscall; mov %%r12, %%rsp"
                     : : "r"(rsp), "a"(SYS_tgkill), "D"(getpid()), "S"(getpid()), "d"(SIGUSR1), "r"(r10) : "r12", "rcx", "r11", "memory");
    _exit(handled ? 7 : 8);
}
static void return_child(void) {
    if (target() == own_secret) _exit(7);
    __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(target()) : "rax", "rcx", "r11", "memory");
    _exit(7);
}
static void signal_frames(void) {
    const struct { const char *name; void (*fn)(void); } all[] = {
        {"frame on an alternate stack", alt_child}, {"frame at rsp", stack_child}, {"rt_sigreturn from there", return_child}};
    for (size_t i = 0; i < 3; i++) {
        int status = apart(all[i].fn);
        holds(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%s: status %x", all[i].name, status);
    }
}
static void paths(void) {
    char *t = target();
    if (t == own_secret) strcpy(own_secret, "made");
    MUST(EFAULT, SC(SYS_mkdir, t, 0700), "mkdir");
    MUST(EFAULT, SC(SYS_open, t, O_RDONLY), "open");
    MUST(EFAULT, SC(SYS_openat, AT_FDCWD, t, O_RDONLY), "openat");
    MUST(EFAULT, SC(SYS_stat, t, buf), "stat");
    MUST(EFAULT, SC(SYS_readlink, t, buf, 10) == -EINVAL ? 0 : SC(SYS_readlink, t, buf, 10), "readlink");
    MUST(EFAULT, SC(SYS_rename, t, "new"), "rename");
    MUST(EFAULT, SC(SYS_symlink, t, "link"), "symlink");
    MUST(EFAULT, SC(SYS_execve, t, 0, 0) == -EACCES ? 0 : SC(SYS_execve, t, 0, 0), "execve");
    struct { uint64_t flags, mode, resolve; } how = {0};
    MUST(EFAULT, SC(437, AT_FDCWD, t, &how, sizeof how) == -ENOENT ? 0 : SC(437, AT_FDCWD, t, &how, sizeof how), "openat2");
    if (t != own_secret) MUST(EFAULT, SC(437, AT_FDCWD, "/", t, sizeof how), "open_how");
}
static void controls(void) { /* ioctl, fcntl, prctl */
    open_all();
    char *t = target();
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), s = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifconf conf = {.ifc_len = 400, .ifc_buf = t};
    MUST(EFAULT, SC(SYS_ioctl, flow[0], FIONREAD, t), "FIONREAD");
    MUST(EFAULT, SC(SYS_ioctl, master, TIOCGWINSZ, t), "TIOCGWINSZ");
    MUST(EFAULT, SC(SYS_ioctl, master, TIOCGPTN, t), "TIOCGPTN");
    MUST(EFAULT, SC(SYS_ioctl, s, SIOCGIFCONF, &conf), "SIOCGIFCONF, the list");
    if (t != own_secret) MUST(EFAULT, SC(SYS_ioctl, s, SIOCGIFCONF, t), "SIOCGIFCONF");
    if (t != own_secret) MUST(EFAULT, SC(SYS_ioctl, s, SIOCGIFFLAGS, t), "SIOCGIFFLAGS");
    FAILS(SC(SYS_fcntl, file, F_GETLK, t), "F_GETLK");
    MUST(EFAULT, SC(SYS_fcntl, file, F_GETOWN_EX, t), "F_GETOWN_EX");
    MUST(EFAULT, SC(SYS_prctl, PR_GET_PDEATHSIG, t), "PR_GET_PDEATHSIG");
    MUST(EFAULT, SC(SYS_prctl, PR_SET_NAME, t), "PR_SET_NAME");
    MUST(EFAULT, SC(SYS_prctl, PR_GET_NAME, t), "PR_GET_NAME");
    MUST(EFAULT, SC(SYS_prctl, PR_GET_CHILD_SUBREAPER, t), "PR_GET_CHILD_SUBREAPER");
    MUST(EFAULT, SC(SYS_arch_prctl, 0x1003, t), "ARCH_GET_FS");
    FAILS(SC(SYS_arch_prctl, 0x1001, 0xffff888000000000), "ARCH_SET_GS to the kernel's half");
}
static void sockets(void) {
    char *t = target();
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sock_fprog f = {1, (struct sock_filter *)t};
    unsigned len = 16;
    if (t != own_secret) MUST(EFAULT, SC(SYS_bind, s, t, 16), "bind");
    need(!bind(s, (void *)&in, sizeof in) && !listen(s, 1), "listen");
    MUST(EFAULT, SC(SYS_getsockname, s, t, &len), "getsockname");
    if (t != own_secret) MUST(EFAULT, SC(SYS_getsockname, s, &in, t), "getsockname, length");
    if (t != own_secret) MUST(EFAULT, SC(SYS_connect, s, t, 16), "connect");
    MUST(EFAULT, SC(SYS_setsockopt, s, SOL_SOCKET, SO_REUSEADDR, t, 4), "setsockopt");
    if (t != own_secret) MUST(EFAULT, SC(SYS_setsockopt, s, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f), "filter");
    len = 4;
    MUST(EFAULT, SC(SYS_getsockopt, s, SOL_SOCKET, SO_TYPE, t, &len), "getsockopt");
    if (t != own_secret) MUST(EFAULT, SC(SYS_getsockopt, s, SOL_SOCKET, SO_TYPE, &one, t), "getsockopt, length");
    MUST(EFAULT, SC(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, t), "socketpair");
    int c = socket(AF_INET, SOCK_STREAM, 0);
    len = sizeof in;
    need(!getsockname(s, (void *)&in, &len) && !connect(c, (void *)&in, sizeof in), "connect");
    len = 16;
    long r = SC(SYS_accept, s, t, &len);
    holds(r == -EFAULT, "accept: %s", answer(r));
}
/* Options of getsockopt(2) that hold pointers themselves. */
static void socket_options(void) {
    struct { uint32_t size_tcp, size_sf; uint32_t tcp_kernel, tcp_user, sf_kernel, sf_user, n_kernel, n_user; uint64_t sf_info, tcp_info; char more[256]; } full = {0};
    struct { int id, n; char *addrs; } x3 = {0, 16, target()};
    char *t = target();
    unsigned len = sizeof full;
    int s = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */), c = socket(AF_INET, SOCK_STREAM, 262);
    if (s >= 0) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof in;
        need(!bind(s, (void *)&in, sizeof in) && !listen(s, 1) && !getsockname(s, (void *)&in, &n) && !connect(c, (void *)&in, n), "mptcp");
        full.size_tcp = 256; /* tcp_info of the monitor's memory; the order of the fields is that of linux/mptcp.h */
        uint32_t *w = (uint32_t *)&full;
        w[0] = 0, w[1] = 64, w[2] = 0, w[3] = 64, w[4] = 0, w[5] = 1;
        memcpy(w + 6, &(uint64_t[]){(uint64_t)t, (uint64_t)t}, 16);
        FAILS(SC(SYS_getsockopt, c, 284, 4, &full, &len), "MPTCP_FULL_INFO");
    }
    len = sizeof x3;
    int sctp = socket(AF_INET, SOCK_STREAM, 132);
    if (sctp >= 0) FAILS(SC(SYS_getsockopt, sctp, 132, 111, &x3, &len), "SCTP_SOCKOPT_CONNECTX3");
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    struct { uint64_t address; uint32_t length, hint; uint64_t copybuf; char more[64]; } z = {(uint64_t)t & ~4095ul, 4096, 0, (uint64_t)t, {0}};
    len = sizeof z;
    FAILS(SC(SYS_getsockopt, tcp, IPPROTO_TCP, 35, &z, &len), "TCP_ZEROCOPY_RECEIVE");
    FAILS(SC(SYS_setsockopt, tcp, 0, 64, &z, 84), "IPT_SO_SET_REPLACE");
    FAILS(SC(SYS_setsockopt, tcp, 0, 128, &z, 84), "EBT_SO_SET_ENTRIES");
    FAILS(SC(SYS_setsockopt, tcp, 283, 1, &z, 32), "XDP");
}
static void waiting(void) {
    open_all();
    char *t = target();
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN};
    struct timespec none = {0};
    MUST(EFAULT, SC(SYS_poll, t, 1, 0), "poll");
    MUST(EFAULT, SC(SYS_select, 8, t, 0, 0, &none), "select");
    MUST(EFAULT, SC(SYS_pselect6, 8, 0, t, 0, &none, 0), "pselect6");
    if (t != own_secret) MUST(EFAULT, SC(SYS_ppoll, 0, 0, t, 0, 8), "ppoll, timeout");
    if (t != own_secret) MUST(EFAULT, SC(SYS_ppoll, 0, 0, &none, t, 8), "ppoll, mask");
    epoll_ctl(ep, EPOLL_CTL_ADD, zero, &e);
    epoll_ctl(ep, EPOLL_CTL_ADD, flow[1], &e);
    e.events = EPOLLOUT;
    epoll_ctl(ep, EPOLL_CTL_MOD, flow[1], &e);
    MUST(EFAULT, SC(SYS_epoll_wait, ep, t, 1, 0), "epoll_wait");
    if (t != own_secret) MUST(EFAULT, SC(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, flow[0], t), "epoll_ctl");
    if (t != own_secret) MUST(EFAULT, SC(SYS_rt_sigsuspend, t, 8), "rt_sigsuspend");
    FAILS(SC(SYS_rt_sigtimedwait, t, 0, &none, 8), "rt_sigtimedwait");
    MUST(EFAULT, SC(SYS_rt_sigaction, SIGUSR1, 0, t, 8), "rt_sigaction");
    MUST(EFAULT, SC(SYS_rt_sigprocmask, 0, 0, t, 8), "rt_sigprocmask");
    MUST(EFAULT, SC(SYS_sigaltstack, 0, t), "sigaltstack");
    MUST(EFAULT, SC(SYS_wait4, -1, t, WNOHANG, 0) == -ECHILD ? -EFAULT : 0, "wait4");
    MUST(EFAULT, SC(SYS_mincore, buf - (long)buf % 4096, 4096, t), "mincore");
}
static void ipc(void) {
    char *t = target();
    int sem = semget(IPC_PRIVATE, 4, 0600), msg = msgget(IPC_PRIVATE, 0600), shm = shmget(IPC_PRIVATE, 4096, 0600);
    need(sem >= 0 && msg >= 0 && shm >= 0, "ipc");
    MUST(EFAULT, SC(SYS_semctl, sem, 0, GETALL, t), "GETALL");
    if (t != own_secret) MUST(EFAULT, SC(SYS_semctl, sem, 0, SETALL, t), "SETALL");
    MUST(EFAULT, SC(SYS_semctl, sem, 0, IPC_STAT, t), "IPC_STAT of semaphores");
    if (t != own_secret) MUST(EFAULT, SC(SYS_semop, sem, t, 1), "semop");
    MUST(EFAULT, SC(SYS_msgctl, msg, IPC_STAT, t), "IPC_STAT of messages");
    FAILS(SC(SYS_msgsnd, msg, t, 16, IPC_NOWAIT), "msgsnd");
    MUST(EFAULT, SC(SYS_shmctl, shm, IPC_STAT, t), "IPC_STAT of memory");
    FAILS(SC(SYS_shmat, shm, (long)t & ~4095, 0), "shmat there");
    if (t != own_secret) FAILS(SC(SYS_shmat, shm, (long)t & ~4095, SHM_REMAP), "shmat over it");
    MUST(EFAULT, SC(SYS_mq_open, t, O_CREAT | O_RDWR, 0600, 0) == -EINVAL ? 0 : SC(SYS_mq_open, t, O_CREAT | O_RDWR, 0600, 0), "mq_open");
    if (t != own_secret) FAILS(SC(SYS_shmdt, (long)t & ~4095), "shmdt");
    semctl(sem, 0, IPC_RMID);
    msgctl(msg, IPC_RMID, NULL);
    shmctl(shm, IPC_RMID, NULL);
}
static void exec_words(void) {
    char *t = target(), *argv[] = {t, NULL}, *own[] = {"/proc/self/exe", "nothing", NULL};
    if (t == own_secret) { holds(false, "natively it is the program's own memory"); return; }
    MUST(EFAULT, SC(SYS_execve, "/proc/self/exe", argv, 0), "a word of argv");
    MUST(EFAULT, SC(SYS_execve, "/proc/self/exe", t, 0), "argv");
    MUST(EFAULT, SC(SYS_execve, "/proc/self/exe", own, argv), "a word of envp");
    MUST(EFAULT, SC(SYS_execve, "/proc/self/exe", own, t), "envp");
    MUST(EFAULT, SC(SYS_clone3, t, 88), "clone3");
}
static void mapped_there(void) {
    char *t = (char *)((long)target() & ~4095);
    if (target() == own_secret) { holds(mprotect(t, 4096, PROT_READ) != 0, "mprotect"); mprotect(t, 4096, PROT_READ | PROT_WRITE); return; }
    FAILS(SC(SYS_mmap, t, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), "mmap over it");
    FAILS(SC(SYS_munmap, t, 4096), "munmap");
    FAILS(SC(SYS_mprotect, t, 4096, PROT_READ), "mprotect");
    FAILS(SC(SYS_mremap, t, 4096, 4096, 3, 0x700000000), "mremap from it");
    FAILS(SC(SYS_madvise, t, 4096, MADV_DONTNEED), "madvise");
    FAILS(SC(SYS_msync, t, 4096, MS_SYNC), "msync");
    FAILS(SC(SYS_mlock, t, 4096), "mlock");
    FAILS(SC(SYS_mincore, t, 4096, buf), "mincore");
    long b = SC(SYS_brk, 0);
    holds(SC(SYS_brk, t) == b, "brk");
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAILS(SC(SYS_mremap, p, 4096, 4096, 3, t), "mremap onto it");
    p = (void *)SC(SYS_mmap, t, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    holds((char *)p != t, "a hint: %p", p);
    catch_faults();
    DIES("load", (void)*(volatile char *)target());
    DIES("store", *(volatile char *)target() = 1);
    DIES("jump", ((void (*)(void))target())());
}
/* Lengths that run from the guest's memory on to what lies behind it, and around. */
static void lengths(void) {
    open_all();
    char *page = mmap((void *)0x7effffe000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page == MAP_FAILED) page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const unsigned long all[] = {4ul << 30, 5ul << 30, 12ul << 30, 1ul << 40, 1ul << 46, 0x7fffffffffffffff, ~0ul, ~0ul - (unsigned long)page + 1, -(unsigned long)page, 1ul << 63};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct iovec v = {page, all[i]};
        long r = SC(SYS_read, zero, page, all[i]), w = SC(SYS_readv, zero, &v, 1);
        holds(r <= 8192, "read of %lx bytes: %s", all[i], answer(r));
        holds(w <= 8192, "readv of %lx bytes: %s", all[i], answer(w));
        r = SC(SYS_write, flow[1], page + 8000, all[i]);
        holds(r <= 192, "write of %lx bytes: %s", all[i], answer(r));
        while (read(flow[0], buf, sizeof buf) > 0) { }
        r = SC(SYS_getrandom, page + 8000, all[i] & 0xfffffff000, 0);
        holds(r <= 192, "getrandom of %lx bytes: %s", all[i], answer(r));
        FAILS(SC(SYS_munmap, page + 4096, all[i] & ~4095ul) == 0 && all[i] & ~4095ul ? 0 : -1, "munmap of %lx bytes", all[i]);
        r = SC(SYS_mincore, page, all[i] & ~4095ul, page);
        holds(r, "mincore of %lx bytes: %s", all[i], answer(r));
    }
}

MAIN(ATTACK(write_from), ATTACK(read_into), ATTACK(structures), ATTACK(iovec_base), ATTACK(iovec_array), ATTACK(iovec_count), ATTACK(message),
     ATTACK(futex_words), ATTACK(thread_ends), ATTACK(tid_words), ATTACK(signal_frames), ATTACK(paths), ATTACK(controls), ATTACK(sockets),
     ATTACK(socket_options), ATTACK(waiting), ATTACK(ipc), ATTACK(exec_words), ATTACK(mapped_there), ATTACK(lengths))
