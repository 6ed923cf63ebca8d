/* Where a core file goes: into a directory that was opened at the start, by the process that dies; or, where that may not write files
 * (a jail, a filter on its calls), to a process that was started before and writes what it is sent. Under a temporary name
 * until it is whole. */
#include "coredump.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct piece { uint64_t offset; uint32_t size, op; int32_t pid; uint32_t pad; };
enum { PIECE_DATA = 1, PIECE_END = 2 };
#define FILES_MOST 64 /* of one run: a guest can make processes that die for ever */
struct answer { int32_t err; uint32_t pad; char name[256]; };

/* core(5): %p the process, %% a percent sign. */
static void expand(char *out, size_t size, const char *pattern, int pid) {
    size_t n = 0;
    for (const char *p = pattern; *p && n + 12 < size; p++) {
        if (*p == '%' && p[1] == 'p') n += (size_t)snprintf(out + n, size - n, "%d", pid), p++;
        else if (*p == '%' && p[1] == '%') out[n++] = *p++;
        else out[n++] = *p;
    }
    out[n] = 0;
}

static int make(struct core_file *f, int dir, const char *pattern, int pid) {
    f->dir = dir;
    expand(f->name, sizeof f->name, pattern, pid);
    snprintf(f->temporary, sizeof f->temporary, ".core.%d.torov", pid);
    for (int i = 0; i < 2; i++) { /* one that was killed while it wrote has left its own */
        f->fd = openat(dir, f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (f->fd >= 0 || errno != EEXIST) break;
        unlinkat(dir, f->temporary, 0);
    }
    return f->fd < 0 ? -errno : 0;
}

static int whole(struct core_file *f, uint64_t length) {
    if (!f->err && ftruncate(f->fd, (off_t)length)) f->err = errno;
    if (close(f->fd) && !f->err) f->err = errno;
    if (!f->err && renameat(f->dir, f->temporary, f->dir, f->name)) f->err = errno;
    if (f->err) unlinkat(f->dir, f->temporary, 0);
    return f->err;
}

static void write_at(struct core_file *f, const char *data, uint64_t n, uint64_t at) {
    while (n && !f->err) {
        ssize_t w = pwrite(f->fd, data, n, (off_t)at);
        if (w < 0 && errno != EINTR) f->err = errno;
        if (w > 0) data += w, n -= (uint64_t)w, at += (uint64_t)w;
    }
}

/* One core file, as one process of the guest sends it. It is as hostile as that: what it decides is the contents. */
static void serve(int sock, int dir, const char *pattern) {
    static struct { struct piece p; char data[CORE_PIECE]; } in;
    static unsigned made;
    struct core_file f = {.fd = -1};
    struct answer a = {.err = EPROTO};
    struct timeval patience = {30, 0};
    bool begun = false;
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (ssize_t n; (n = recv(sock, &in, sizeof in, 0)) >= (ssize_t)sizeof in.p;) {
        if (in.p.size != n - (ssize_t)sizeof in.p || in.p.offset > 1ull << 60) break;
        if (!begun) a.err = made++ < FILES_MOST ? -make(&f, dir, pattern, in.p.pid) : EDQUOT;
        begun = true; /* all of it is read, even if it is refused: an answer before unread data would be lost */
        if (in.p.op == PIECE_DATA) {
            if (f.fd >= 0) write_at(&f, in.data, in.p.size, in.p.offset);
            continue;
        }
        if (f.fd < 0) break;
        a.err = whole(&f, in.p.offset);
        f.fd = -1;
        memcpy(a.name, f.name, sizeof a.name);
        break;
    }
    if (f.fd >= 0) { f.err = EPROTO; whole(&f, 0); }
    send(sock, &a, sizeof a, MSG_NOSIGNAL);
    close(sock);
}

struct place { int dir; const char *pattern; };

static void writer(int sock, void *of) {
    const struct place *to = of;
    for (;;) {
        char byte, control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec v = {&byte, 1};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
        struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
        int own;
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof own)) continue;
        memcpy(&own, CMSG_DATA(c), sizeof own);
        serve(own, to->dir, to->pattern);
    }
}

/* The process, and the socket to it. */
int tv_core_start(int dir, const char *pattern) {
    struct place to = {dir, pattern};
    return side_start("torov-core", &dir, 1, writer, &to);
}

/* A socket of this core's own; its other end goes to the writer. */
static int ask(struct core_file *f, int keep) {
    int pair[2];
    char byte = 0, control[CMSG_SPACE(sizeof *pair)] = {0};
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) return -errno;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){CMSG_LEN(sizeof *pair), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(c), &pair[1], sizeof *pair);
    ssize_t n = sendmsg(keep, &m, MSG_NOSIGNAL);
    int err = n < 0 ? errno : 0;
    close(pair[1]);
    if (err) { close(pair[0]); return -err; }
    f->fd = pair[0];
    f->sent = true;
    f->dir = getpid();
    return 0;
}

int dump_open(struct tv_vm *vm, struct core_file *f, int pid) {
    int keep = vm->keep[KEEP_CORE];
    uint64_t most = vm->rlim[RLIMIT_CORE].cur;
    *f = (struct core_file){.fd = -1, .most = keep >= 0 ? ~0ull : most};
    if (keep >= 0 && !vm->core_name[0]) return ask(f, keep);
    return make(f, keep >= 0 ? keep : AT_FDCWD, keep >= 0 ? vm->core_name : "core", pid);
}

static void send_piece(struct core_file *f, uint32_t op, const void *data, uint64_t n) {
    struct { struct piece p; char data[CORE_PIECE]; } out;
    out.p = (struct piece){.offset = f->at, .size = (uint32_t)n, .op = op, .pid = f->dir};
    if (n) memcpy(out.data, data, n);
    long r;
    while ((r = sys6(44, (uint64_t)f->fd, (uintptr_t)&out, sizeof out.p + n, MSG_NOSIGNAL, 0, 0)) == -EINTR) { }
    if (r < 0 && !f->err) f->err = (int)-r;
}

void dump_put(struct core_file *f, const void *data, uint64_t n) {
    uint64_t room = f->most > f->at ? f->most - f->at : 0, left = n < room ? n : room;
    const char *p = data;
    if (!f->sent) write_at(f, p, left, f->at);
    for (uint64_t part; f->sent && left && !f->err; left -= part, p += part) {
        part = left < CORE_PIECE ? left : CORE_PIECE;
        send_piece(f, PIECE_DATA, p, part);
        f->at += part, n -= part;
    }
    f->at += n;
}

void dump_skip(struct core_file *f, uint64_t n) { f->at += n; }

int dump_close(struct core_file *f) {
    if (f->at > f->most) f->at = f->most;
    if (!f->sent) return whole(f, f->at);
    struct answer a = {.err = EPIPE};
    send_piece(f, PIECE_END, NULL, 0);
    struct iovec v = {&a, sizeof a};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    ssize_t n;
    while ((n = recvmsg(f->fd, &m, 0)) < 0 && errno == EINTR) { }
    close(f->fd);
    if (n != sizeof a) return f->err ? f->err : EPIPE;
    memcpy(f->name, a.name, sizeof f->name);
    f->name[sizeof f->name - 1] = 0;
    return a.err ? a.err : f->err;
}
