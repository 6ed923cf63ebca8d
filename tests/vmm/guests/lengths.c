/* Lengths, counts and sizes: none, one, huge, negative, for buffers that end before a page that is not there. */
#include "guest.h"
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static char *end; /* the first byte that is not mapped; 8192 are before it */
static int zero, null, file, pair[2], udp, ep, dir;
static char spare[70000];

static const uint64_t sizes[] = {
    0, 1, 7, 8, 16, 24, 64, 128, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 8193, 65536, 0x7ffff000, 0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff,
    0x100000000, 0x7f00000000, 0x8000000000, 0x600000000000, 0x7fffffffffff, 0x800000000000, 0x7ffffffffffff000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff};

static void drain(void) { while (recv(pair[1], spare, sizeof spare, MSG_DONTWAIT) > 0) { } }
static void feed(void) { drain(); need(send(pair[0], "0123456789abcdef", 16, 0) == 16, "send"); }
#define TRY(name, at, expr) do { \
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) { \
            uint64_t n = sizes[i]; char *p = end - (at); (void)p; memset(end - 8192, 0, 8192); \
            say(expr, "%s %lx at -%d", name, n, (int)(at)); } } while (0)

int main(void) {
    char *m = mmap((void *)0x5000000000, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    need(m != MAP_FAILED && munmap(m, 4096) == 0 && munmap(m + 12288, 4096) == 0, "mmap");
    end = m + 12288;
    zero = open("/dev/zero", O_RDONLY);
    null = open("/dev/null", O_WRONLY);
    file = open("file", O_RDWR | O_CREAT, 0600);
    dir = open(".", O_RDONLY | O_DIRECTORY);
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    ep = epoll_create1(0);
    need(zero >= 0 && null >= 0 && file >= 0 && dir >= 0 && udp >= 0 && ep >= 0, "setup");
    need(symlink("somewhere", "link") == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0, "setup");
    fsetxattr(file, "user.torov", "0123456789", 10, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    need(bind(udp, (struct sockaddr *)&a, sizeof a) == 0, "bind");
    for (int k = 0; k < 3; k++) {
        int at = k == 0 ? 8192 : k == 1 ? 100 : 0;
        TRY("read", at, SC(SYS_read, zero, p, n));
        TRY("pread64", at, SC(SYS_pread64, file, p, n, 0));
        TRY("write", at, SC(SYS_write, null, p, n));
        TRY("pwrite64", at, SC(SYS_pwrite64, file, p, n > 65536 ? n : n, 1ull << 62));
        TRY("readv len", at, ({ struct iovec v[] = {{spare, 10}, {p, n}}; SC(SYS_readv, zero, v, 2); }));
        TRY("readv two", at, ({ struct iovec v[] = {{p, n}, {p, n}}; SC(SYS_readv, zero, v, 2); }));
        TRY("writev len", at, ({ struct iovec v[] = {{p, n}, {spare, 10}}; SC(SYS_writev, null, v, 2); }));
        TRY("readv count", at, SC(SYS_readv, zero, p, n));
        TRY("writev count", at, SC(SYS_writev, null, p, n));
        TRY("preadv count", at, SC(SYS_preadv, zero, p, n, 0, 0));
        TRY("getrandom", at, SC(SYS_getrandom, p, n, 0));
        TRY("getcwd", at, some(SC(SYS_getcwd, p, n)));
        TRY("getdents64", at, (lseek(dir, 0, SEEK_SET), some(SC(SYS_getdents64, dir, p, n))));
        TRY("readlink", at, SC(SYS_readlink, "link", p, n));
        TRY("readlink exe", at, some(SC(SYS_readlink, "/proc/self/exe", p, n)));
        TRY("getxattr", at, SC(SYS_fgetxattr, file, "user.torov", p, n));
        TRY("setxattr", at, SC(SYS_fsetxattr, file, "user.other", p, n, 0));
        TRY("listxattr", at, SC(SYS_flistxattr, file, p, n));
        TRY("send", at, ({ long r = SC(SYS_sendto, pair[0], p, n, 0, 0, 0); drain(); r; }));
        TRY("recv", at, (feed(), SC(SYS_recvfrom, pair[1], p, n, MSG_DONTWAIT, 0, 0)));
        TRY("connect", at, SC(SYS_connect, udp, p, n));
        TRY("bind", at, SC(SYS_bind, udp, p, n));
        TRY("sendto addrlen", at, SC(SYS_sendto, udp, "x", 1, 0, p, n));
        TRY("getsockname", at, ({ uint32_t len = (uint32_t)n; long r = SC(SYS_getsockname, udp, p, &len); r ? r : (long)len; }));
        TRY("getsockopt", at, ({ uint32_t len = (uint32_t)n; long r = SC(SYS_getsockopt, udp, SOL_SOCKET, SO_RCVBUF, p, &len); r ? r : (long)len; }));
        TRY("setsockopt", at, SC(SYS_setsockopt, udp, SOL_SOCKET, SO_RCVBUF, p, n));
        TRY("SO_BINDTODEVICE", at, SC(SYS_setsockopt, udp, SOL_SOCKET, SO_BINDTODEVICE, p, n));
        TRY("SO_ATTACH_FILTER", at, SC(SYS_setsockopt, udp, SOL_SOCKET, SO_ATTACH_FILTER, p, n));
        TRY("sendmsg iovlen", at, ({ struct msghdr h = {.msg_iov = (void *)p, .msg_iovlen = n}; long r = SC(SYS_sendmsg, pair[0], &h, 0); drain(); r; }));
        TRY("recvmsg iovlen", at, ({ struct msghdr h = {.msg_iov = (void *)p, .msg_iovlen = n}; feed(); SC(SYS_recvmsg, pair[1], &h, MSG_DONTWAIT); }));
        TRY("recvmsg base len", at, ({ struct iovec v = {p, n}; struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1}; feed(); SC(SYS_recvmsg, pair[1], &h, MSG_DONTWAIT); }));
        TRY("sendmsg namelen", at, ({ struct iovec v = {spare, 1}; struct msghdr h = {.msg_name = p, .msg_namelen = (uint32_t)n, .msg_iov = &v, .msg_iovlen = 1}; SC(SYS_sendmsg, udp, &h, 0); }));
        TRY("sendmsg controllen", at, ({ struct iovec v = {spare, 1}; struct msghdr h = {.msg_control = p, .msg_controllen = n, .msg_iov = &v, .msg_iovlen = 1}; long r = SC(SYS_sendmsg, pair[0], &h, 0); drain(); r; }));
        TRY("recvmsg controllen", at, ({ struct iovec v = {spare, 1}; struct msghdr h = {.msg_control = p, .msg_controllen = n, .msg_iov = &v, .msg_iovlen = 1}; feed(); long r = SC(SYS_recvmsg, pair[1], &h, MSG_DONTWAIT); r < 0 ? r : (long)h.msg_controllen; }));
        TRY("recvmsg namelen", at, ({ struct iovec v = {spare, 1}; struct msghdr h = {.msg_name = p, .msg_namelen = (uint32_t)n, .msg_iov = &v, .msg_iovlen = 1}; feed(); long r = SC(SYS_recvmsg, pair[1], &h, MSG_DONTWAIT); r < 0 ? r : (long)h.msg_namelen; }));
        TRY("sendmmsg", at, ({ long r = SC(SYS_sendmmsg, pair[0], p, n, MSG_DONTWAIT); drain(); r; }));
        TRY("recvmmsg", at, (feed(), SC(SYS_recvmmsg, pair[1], p, n, MSG_DONTWAIT, 0)));
        TRY("poll", at, SC(SYS_poll, p, n, 0));
        TRY("epoll_wait", at, SC(SYS_epoll_wait, ep, p, n, 0));
        TRY("epoll_pwait size", at, SC(SYS_epoll_pwait, ep, spare, 1, 0, p, n));
        TRY("rt_sigprocmask", at, SC(SYS_rt_sigprocmask, SIG_BLOCK, 0, p, n));
        TRY("rt_sigaction", at, SC(SYS_rt_sigaction, SIGUSR1, 0, p, n));
        TRY("rt_sigpending", at, SC(SYS_rt_sigpending, p, n));
        TRY("rt_sigtimedwait", at, ({ uint64_t z[2] = {0}; SC(SYS_rt_sigtimedwait, p, 0, z, n); }));
        TRY("getgroups", at, some(SC(SYS_getgroups, n, p)));
        TRY("sched_getaffinity", at, SC(SYS_sched_getaffinity, 0, n, p));
        TRY("sched_setattr", at, ({ if (at >= 8) *(uint32_t *)p = (uint32_t)n; SC(SYS_sched_setattr, 0, p, 0); }));
        TRY("sched_getattr", at, SC(SYS_sched_getattr, 0, p, n, 0));
        TRY("openat2", at, ({ long r = SC(SYS_openat2, AT_FDCWD, "file", p, n); if (r >= 0) close((int)r); some(r); }));
        TRY("mincore", at, SC(SYS_mincore, end - 8192, n, p));
        TRY("set_robust_list", at, SC(SYS_set_robust_list, p, n));
        TRY("process name", at, SC(SYS_memfd_create, p, n | 0x100));
    }
    TRY("munmap", 8192, n == 0 || n > 1ull << 47 ? SC(SYS_munmap, p, n) : 0);
    TRY("mprotect", 8192, n <= 8192 || n > 1ull << 47 ? SC(SYS_mprotect, p, n, 3) : 0);
    TRY("madvise", 8192, SC(SYS_madvise, p, n, 0));
    TRY("msync", 8192, n <= 8192 || n > 1ull << 47 ? SC(SYS_msync, p, n, MS_ASYNC) : 0);
    TRY("mlock", 8192, n <= 8192 || n > 1ull << 47 ? SC(SYS_mlock, p, n) : 0);
    TRY("mremap", 8192, some(SC(SYS_mremap, p, 8192, n <= 8192 ? 8192 : n < 1ull << 47 ? 0 : n, 0, 0)));
    TRY("mmap", 0, n == 0 || n > 1ull << 47 ? some(SC(SYS_mmap, 0, n, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) : 0);
    return 0;
}
