/* Processes beside the guest that write what it must not hold open: the audit log, core files, traces. Each is nobody's child, has
 * no descriptor but those that it needs, and ends with the last process of the guest that holds the other end of its socket. */
#include "tv.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void __attribute__((noreturn)) beside(const char *name, int sock, const int *keep, size_t n, void (*serve)(int sock, void *of), void *of) {
    sigset_t all;
    int most = sock;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL); /* a terminal's signals are for the guest */
    for (size_t i = 0; i < n; i++)
        if (keep[i] > most) most = keep[i];
    sys6(436, (unsigned)most + 1, ~0u, 0, 0, 0, 0); /* close_range(2) */
    for (int fd = 0; fd < most; fd++) {
        bool needed = fd == sock;
        for (size_t i = 0; i < n; i++) needed |= fd == keep[i];
        if (!needed) close(fd);
    }
    prctl(PR_SET_NAME, name);
    serve(sock, of);
    for (;;) sys6(231, 0, 0, 0, 0, 0, 0);
}

/* keep: descriptors that it needs. The socket to it, or -errno. */
int side_start(const char *name, const int *keep, size_t n, void (*serve)(int sock, void *of), void *of) {
    int pair[2], status = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) return -errno;
    pid_t first = fork();
    if (first < 0) { int e = errno; close(pair[0]); close(pair[1]); return -e; }
    if (!first) { /* twice: the guest may wait for any child of its own */
        pid_t second = fork();
        if (second) sys6(231, second < 0, 0, 0, 0, 0, 0);
        beside(name, pair[1], keep, n, serve, of);
    }
    close(pair[1]);
    while (waitpid(first, &status, 0) < 0 && errno == EINTR) { }
    if (status) { close(pair[0]); return -EAGAIN; }
    return pair[0];
}

/* The guest's side asks: one byte, and one for an answer, perhaps with a descriptor. The byte, or -1; fd: NULL if none is wanted. */
int side_ask(int sock, char what, int *fd) {
    int n, none;
    unsigned char answer = 0;
    char control[CMSG_SPACE(sizeof *fd)];
    struct iovec iov = {&answer, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct pollfd p = {sock, POLLIN, 0};
    if (sock < 0 || sys6(44, (uint64_t)sock, (uintptr_t)&what, 1, MSG_NOSIGNAL, 0, 0) != 1) return -1;
    while ((n = poll(&p, 1, 10000)) < 0 && errno == EINTR) { }
    if (n != 1 || recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != 1) return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c) { /* the guest has filled the table of descriptors, to a hard limit of its own */
        if (fd) *fd = -1;
        return answer;
    }
    memcpy(fd ? fd : &none, CMSG_DATA(c), sizeof *fd);
    if (!fd) close(none);
    return answer;
}

/* What side_ask() gets. fd: -1 for none. Nobody is waited for: who asks may be a process that a guest has broken into. */
void side_answer(int sock, char what, int fd) {
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {&what, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control, m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return;
}
