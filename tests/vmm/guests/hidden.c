/* Looks for descriptors that are not its own, by every call that takes one. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>

static int found;
static void expect(long got, long want, const char *what, int fd) {
    if (got == want) return;
    if (found++ < 20) printf("%s of %d: %s\n", what, fd, answer(got));
}

int main(void) {
    struct rlimit lim;
    need(getrlimit(RLIMIT_NOFILE, &lim) == 0, "getrlimit");
    enum { MANY = 20000 };
    int ep = epoll_create1(0), p[2];
    need(ep >= 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, p) == 0, "setup");
    SC(436, p[1] + 1, ~0u, 0); /* ours end here */
    static struct pollfd all[MANY];
    static char set[MANY / 8 + 8], c[1];
    struct epoll_event e = {.events = EPOLLIN};
    struct { long s, n; } zero = {0, 0};
    for (int fd = p[1] + 1; fd < MANY; fd++) {
        struct stat st;
        all[fd].fd = fd;
        expect(SC(SYS_fcntl, fd, F_GETFD), -EBADF, "fcntl", fd);
        expect(SC(SYS_dup, fd), -EBADF, "dup", fd);
        bool near = (fd > 10000 && fd < 11000) || labs((long)lim.rlim_cur - fd) < 200; /* where a monitor would hide */
        if (fd % 64 && !near) continue;
        expect(SC(SYS_read, fd, c, 1), -EBADF, "read", fd);
        expect(SC(SYS_write, fd, c, 1), -EBADF, "write", fd);
        expect(SC(SYS_fstat, fd, &st), -EBADF, "fstat", fd);
        expect(SC(SYS_ioctl, fd, 0x541b, c), -EBADF, "ioctl", fd);
        expect(SC(SYS_close, fd), -EBADF, "close", fd);
        expect(SC(SYS_mmap, 0, 4096, 1, MAP_SHARED, fd, 0), -EBADF, "mmap", fd);
        expect(SC(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &e), -EBADF, "epoll_ctl", fd);
        expect(SC(SYS_openat, fd, "x", O_RDONLY), -EBADF, "openat", fd);
        expect(SC(SYS_fchdir, fd), -EBADF, "fchdir", fd);
        expect(SC(SYS_sendfile, p[0], fd, 0, 1), -EBADF, "sendfile", fd);
        expect(SC(SYS_copy_file_range, fd, 0, p[0], 0, 1, 0), -EBADF, "copy_file_range", fd);
        expect(SC(SYS_dup3, fd, p[0], 0), -EBADF, "dup3", fd);
        struct pollfd one = {fd, POLLIN | POLLOUT, 0};
        expect(SC(SYS_poll, &one, 1, 0), 1, "poll", fd);
        expect(one.revents, POLLNVAL, "revents", fd);
        one.revents = 0;
        expect(SC(SYS_ppoll, &one, 1, &zero, 0, 8), 1, "ppoll", fd);
        expect(one.revents, POLLNVAL, "revents", fd);
        expect(one.fd, fd, "fd", fd);
        char ctl[CMSG_SPACE(4)] = {0};
        struct iovec v = {c, 1};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, 4);
        expect(SC(SYS_sendmsg, p[0], &m, 0), -EBADF, "SCM_RIGHTS", fd);
        struct mmsghdr mm = {.msg_hdr = m};
        expect(SC(SYS_sendmmsg, p[0], &mm, 1, 0), -EBADF, "SCM_RIGHTS by sendmmsg", fd);
    }
    int n = lim.rlim_cur < MANY ? (int)lim.rlim_cur : MANY;
    memset(all, 0xff, sizeof *all * (size_t)(p[1] + 1));
    expect(SC(SYS_poll, all, n, 0), n - p[1] - 1, "poll of all", n);
    for (int fd = p[1] + 1; fd < n; fd++) expect(all[fd].revents, POLLNVAL, "revents", fd);
    for (int fd = 8000; fd < n; fd += fd > 10000 && fd < 11000 ? 1 : 8) { /* lower ones depend on how large the kernel's own table has grown */
        set[fd / 8] = (char)(1 << fd % 8);
        long r = SC(SYS_select, fd + 1, set, 0, 0, &zero), q = SC(SYS_pselect6, fd + 1, 0, set, 0, &zero, 0);
        if (r != -EBADF && r != 0) expect(r, 0, "select", fd);
        if (q != -EBADF && q != 0) expect(q, 0, "pselect6", fd);
        set[fd / 8] = 0;
    }
    for (int fd = 8000; fd < n; fd++) { /* a place that one of the monitor's would take */
        long r = SC(SYS_dup2, p[0], fd);
        if (r == fd) SC(SYS_close, fd);
        else expect(r, -EBADF, "dup2", fd);
    }
    say(SC(436, p[1] + 1, ~0u, 0), "close_range");
    say(SC(436, 0, ~0u, CLOSE_RANGE_CLOEXEC), "close_range");
    printf("found %d\n", found);
    return 0;
}
