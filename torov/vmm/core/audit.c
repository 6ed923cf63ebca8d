/* The audit log: a process of its own writes the file, so that what the guest's processes hold is a socket, which no name in
 * /proc opens. Lines come whole, in order of arrival, and the file stops growing at a limit. */
#include "text.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>


#define AUDIT_MOST (256ull << 20)

static void writer(int sock, int file) {
    static const char full[] = "{\"action\": \"truncated\", \"text\": \"the audit log has reached its limit of 256 MiB\"}\n";
    char line[sizeof(struct line)], answer = 0;
    uint64_t size = 0;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL); /* a terminal's signals are for the guest */
    sys6(436, (unsigned)(sock > file ? sock : file) + 1, ~0u, 0, 0, 0, 0);
    for (int fd = 0; fd < (sock > file ? sock : file); fd++)
        if (fd != sock && fd != file) close(fd);
    prctl(PR_SET_NAME, "torov-audit");
    for (;;) {
        ssize_t n = recv(sock, line, sizeof line, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) sys6(231, 0, 0, 0, 0, 0, 0);
        if (n == 1) { /* the end of a run: all that came before is in the file */
            char control[CMSG_SPACE(sizeof file)] = {0};
            struct iovec iov = {&answer, 1};
            struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            *c = (struct cmsghdr){CMSG_LEN(sizeof file), SOL_SOCKET, SCM_RIGHTS};
            memcpy(CMSG_DATA(c), &file, sizeof file);
            if (sendmsg(sock, &m, MSG_NOSIGNAL) < 0) sys6(231, 0, 0, 0, 0, 0, 0);
            continue;
        }
        if (size > AUDIT_MOST) continue;
        if (size + (uint64_t)n > AUDIT_MOST) memcpy(line, full, sizeof full), n = sizeof full - 1;
        size += (uint64_t)n;
        for (ssize_t done = 0; done < n && !answer;) {
            ssize_t w = write(file, line + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR) answer = (char)errno, size = AUDIT_MOST + 1;
            if (w > 0) done += w;
        }
    }
}

int tv_audit_start(int file) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) return -errno;
    pid_t first = fork();
    if (first < 0) { int e = errno; close(pair[0]); close(pair[1]); return -e; }
    if (!first) { /* twice, so that it is nobody's child: the guest may wait for any of its own */
        pid_t second = fork();
        if (second) sys6(231, second < 0, 0, 0, 0, 0, 0);
        writer(pair[1], file);
    }
    close(pair[1]);
    int status = 0;
    while (waitpid(first, &status, 0) < 0 && errno == EINTR) { }
    if (status) { close(pair[0]); return -EAGAIN; }
    return pair[0];
}

/* Waits until the file has everything. The file, for who made it, or -1; err: of the first write that failed, or 0. */
int tv_audit_flush(struct tv_vm *vm, int *err) {
    int sock = vm->keep[KEEP_AUDIT], n, file = -1;
    char answer = 0, control[CMSG_SPACE(sizeof file)];
    struct iovec iov = {&answer, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct pollfd p = {sock, POLLIN, 0};
    *err = EPIPE;
    if (sock < 0 || send(sock, "", 1, MSG_NOSIGNAL) != 1) return -1;
    while ((n = poll(&p, 1, 10000)) < 0 && errno == EINTR) { }
    if (n != 1 || recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m)) return -1;
    memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof file);
    *err = (unsigned char)answer;
    return file;
}

void audit_send(struct tv_vm *vm, const char *text, size_t n) { sys6(44, (uint64_t)vm->keep[KEEP_AUDIT], (uintptr_t)text, n, MSG_NOSIGNAL, 0, 0); }
