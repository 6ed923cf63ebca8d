/* The action "delegate": another component serves the call. One request, one answer, over a socket; docs/delegation.md is the
 * protocol. The request takes a socket of its own along for the answer, so that the guest's processes and threads need no lock
 * between them, and hears of nobody else's. */
#include "text.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC 0x31445654u       /* "TVD1" */
#define DATA_MOST (64u << 10)   /* of one request or answer */
#define GO_ON 1u                /* answer: make the call on the host */
#define PASSED 2u               /* answer: the result is the descriptor that comes with it */

struct request {
    uint32_t magic, size;       /* of all that follows, this included */
    int32_t nr, pid, tid;
    uint32_t nitems;
    uint64_t token;             /* the answer repeats it: another thread of the guest may get at the socket, but not at this */
    uint64_t args[6];
    int8_t fds[8];              /* by descriptor that comes along, after the answer's socket: its argument; -1: none */
};
struct item { uint32_t arg, len; }; /* the bytes follow, padded to 8. OUT: room for so many */
#define ITEM_OUT 0x80000000u
struct answer { uint32_t magic, flags; uint64_t token; int64_t result; uint32_t nitems, pad; };

struct parcel { struct request r; char data[DATA_MOST + 16 * sizeof(struct item)]; size_t n; };

static bool put(struct tv_vm *vm, struct parcel *p, uint32_t arg, gva at, uint64_t len) {
    struct item *i = (struct item *)(p->data + p->n);
    size_t padded = (len + 7) & ~7ull;
    if (p->n + sizeof *i + padded > sizeof p->data || len > DATA_MOST) return false;
    if (tv_arg_in(vm, (int)arg, i + 1, at, len)) return false;
    *i = (struct item){arg, (uint32_t)len};
    p->n += sizeof *i + padded;
    p->r.nitems++;
    return true;
}

static bool put_out(struct parcel *p, uint32_t arg, uint64_t len) {
    struct item *i = (struct item *)(p->data + p->n);
    if (p->n + sizeof *i > sizeof p->data) return false;
    *i = (struct item){arg | ITEM_OUT, len > DATA_MOST ? DATA_MOST : (uint32_t)len};
    p->n += sizeof *i;
    p->r.nitems++;
    return true;
}

/* How many bytes a pointer argument is about, as its row says; no more than one request holds where it counts bytes. */
static uint64_t length_of(struct tv_vm *vm, const struct tv_call *c, const struct tv_argspec *s, const uint64_t a[6]) {
    uint32_t n;
    if (s->ref == REF_CONST) return s->size;
    if (s->ref & REF_DEREF) return tv_copy_in(vm, &n, a[s->ref & ~REF_DEREF], 4) ? 0 : n;
    uint64_t count = c->arg[s->ref].size == 4 ? (uint32_t)a[s->ref] : a[s->ref];
    if (count > DATA_MOST) count = DATA_MOST;
    return count * s->size;
}

/* false: it cannot be read */
static bool pack(struct tv_vm *vm, struct parcel *p, const struct tv_call *c, const uint64_t a[6]) {
    char text[PATH_MAX];
    for (int i = 0; i < c->nargs; i++) {
        const struct tv_argspec *s = &c->arg[i];
        const struct held_path *h = held_path(i);
        bool out = s->kind == A_OUT || s->kind == A_IO, in = s->kind == A_IN || s->kind == A_IO || s->kind == A_SOCKADDR || s->kind == A_SIGSET;
        uint64_t len = in || out ? length_of(vm, c, s, a) : 0;
        if (!a[i]) continue;
        if (s->kind == A_PATH || s->kind == A_LOOK || s->kind == A_STR) {
            long n = tv_copy_str(vm, text, a[i], sizeof text);
            if (n < 0 || !put(vm, p, (uint32_t)i, a[i], (uint64_t)n)) return false;
            if (h && h->name[0]) { /* what it was resolved to */
                struct item *last = (struct item *)(p->data + p->n);
                size_t size = strlen(h->name), padded = (size + 7) & ~7ull;
                if (p->n + sizeof *last + padded > sizeof p->data) return false;
                *last = (struct item){(uint32_t)i | 0x40000000u, (uint32_t)size};
                memcpy(last + 1, h->name, size);
                p->n += sizeof *last + padded;
                p->r.nitems++;
            }
        } else if (s->kind == A_IOVIN || s->kind == A_IOVOUT) {
            struct iovec iov;
            uint64_t most = DATA_MOST;
            for (uint64_t k = 0; k < (uint32_t)a[s->ref] && k < 16 && most; k++) { /* the first; the rest is a short transfer */
                if (tv_copy_in(vm, &iov, a[i] + k * sizeof iov, sizeof iov)) return false;
                uint64_t part = iov.iov_len < most ? iov.iov_len : most;
                if (s->kind == A_IOVIN ? !put(vm, p, (uint32_t)i, (uintptr_t)iov.iov_base, part) : !put_out(p, (uint32_t)i, part)) break;
                most -= part;
            }
        } else {
            if (in && !put(vm, p, (uint32_t)i, a[i], len)) return false;
            if (out && !put_out(p, (uint32_t)i, len)) return false;
        }
    }
    return true;
}

static int send_request(struct tv_vm *vm, struct parcel *p, const struct tv_call *c, const uint64_t a[6], int to, int back) {
    int fds[7] = {back}, n = 1;
    memset(p->r.fds, -1, sizeof p->r.fds);
    for (int i = 0; i < c->nargs; i++)
        if ((c->arg[i].kind == A_FD || (c->arg[i].kind == A_ATFD && (int)a[i] != AT_FDCWD)) && !fd_hidden(vm, a[i]) && fcntl((int)a[i], F_GETFD) >= 0) {
            p->r.fds[n - 1] = (int8_t)i;
            fds[n++] = (int)a[i];
        }
    char control[CMSG_SPACE(sizeof fds)] = {0};
    p->r.size = (uint32_t)(sizeof p->r + p->n);
    struct iovec iov[2] = {{&p->r, sizeof p->r}, {p->data, p->n}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control, .msg_controllen = CMSG_SPACE((unsigned)n * sizeof *fds)};
    struct cmsghdr *k = CMSG_FIRSTHDR(&m);
    *k = (struct cmsghdr){CMSG_LEN((unsigned)n * sizeof *fds), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(k), fds, (unsigned)n * sizeof *fds);
    return (int)sys6(46, (uint64_t)to, (uintptr_t)&m, MSG_NOSIGNAL, 0, 0, 0);
}

/* Writes what came back into the guest's buffers, each no longer than its room. */
static int64_t unpack(struct tv_vm *vm, const struct tv_call *c, const uint64_t a[6], const char *data, size_t n, uint32_t nitems) {
    size_t at = 0, iov_at[6] = {0};
    for (uint32_t i = 0; i < nitems && at <= n && n - at >= sizeof(struct item); i++) { /* the last may be short of its padding */
        struct item item;
        memcpy(&item, data + at, sizeof item);
        at += sizeof item;
        if (item.arg > 5 || item.len > n - at) return -EIO;
        const struct tv_argspec *s = &c->arg[item.arg];
        gva to = a[item.arg];
        uint64_t room = s->kind == A_OUT || s->kind == A_IO ? length_of(vm, c, s, a) : 0;
        if (s->kind == A_IOVOUT) {
            struct iovec iov;
            if (iov_at[item.arg] >= 16 || tv_copy_in(vm, &iov, to + iov_at[item.arg]++ * sizeof iov, sizeof iov)) return -EFAULT;
            to = (uintptr_t)iov.iov_base, room = iov.iov_len;
        }
        if (item.len > room) return -EIO;
        if (tv_copy_out(vm, to, data + at, item.len)) return -EFAULT;
        at += ((size_t)item.len + 7) & ~7ull;
    }
    return 0;
}

static int64_t receive(struct tv_vm *vm, const struct tv_call *c, const uint64_t a[6], int back, uint64_t token, char *data, bool cloexec, bool *go_on) {
    struct answer answer;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov[2] = {{&answer, sizeof answer}, {data, DATA_MOST}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control};
    int64_t n = host6(47, (uint64_t)back, (uintptr_t)&m, cloexec ? MSG_CMSG_CLOEXEC : 0, 0, 0, 0);
    if (n == -RESTART_SYS || n == -RESTART_NOINTR) return -EINTR; /* the request was made: it is not made again */
    int fd = -1;
    struct cmsghdr *k = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (k && k->cmsg_level == SOL_SOCKET && k->cmsg_type == SCM_RIGHTS && k->cmsg_len == CMSG_LEN(sizeof fd)) memcpy(&fd, CMSG_DATA(k), sizeof fd);
    bool good = n >= (int64_t)sizeof answer && answer.magic == MAGIC && answer.token == token && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    if (good && answer.flags & PASSED && fd >= 0) return fd;
    if (fd >= 0) close(fd);
    if (!good || answer.flags & PASSED) return -EIO; /* it went away, or does not speak our language */
    if (answer.flags & GO_ON) { *go_on = true; return 0; }
    int64_t r = answer.result >= -4095 ? unpack(vm, c, a, data, (size_t)n - sizeof answer, answer.nitems) : -EIO;
    return r ? r : answer.result;
}

int64_t delegate(struct tv_vm *vm, const struct tv_call *c, int nr, uint64_t a[6], int to, bool *go_on) {
    struct parcel *p;
    struct rlimit limit;
    int pair[2], sock = to < DELEGATES ? vm->keep[KEEP_DELEGATE + to] : -1;
    if (sock < 0) return -EIO;
    if (!(p = malloc(sizeof *p))) return -ENOMEM;
    p->r = (struct request){.magic = MAGIC, .nr = nr, .pid = getpid(), .tid = gettid()};
    p->n = 0;
    if (getrandom(&p->r.token, sizeof p->r.token, 0) != sizeof p->r.token) { free(p); return -EAGAIN; }
    memcpy(p->r.args, a, sizeof p->r.args);
    if (!pack(vm, p, c, a)) { free(p); return -EFAULT; }
    vm_more_fds(&limit);
    int64_t r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
    vm_less_fds(&limit);
    if (r) { free(p); return r; }
    if (!(r = vm_hide_fd(vm, &pair[0]))) {
        r = send_request(vm, p, c, a, sock, pair[1]);
        close(pair[1]);
        bool cloexec = (nr == 257 && a[2] & O_CLOEXEC) || (nr == 2 && a[1] & O_CLOEXEC) || ((nr == 41 || nr == 53) && a[1] & SOCK_CLOEXEC) || (nr == 288 && a[3] & SOCK_CLOEXEC);
        r = r < 0 ? -EIO : receive(vm, c, a, pair[0], p->r.token, p->data, cloexec, go_on);
    } else {
        close(pair[1]);
    }
    close(pair[0]);
    free(p);
    return r;
}
