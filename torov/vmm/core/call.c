/* The table interpreter: one row a syscall (calls.h, generated from torov/syscalls.py).
 *
 * Bulk data is used in place: the host kernel copies it and answers EFAULT by the host mapping's own protection, in
 * its own order of checks. Everything with an inner pointer or count is copied once, translated, then used. */
#include "trace.h"
#include "policy.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "calls.h"

#define IOV_CAP 1024 /* UIO_MAXIOV */

/* Linux refuses a buffer that reaches past the user half before it looks at any page (access_ok() in asm/uaccess_64.h),
 * and caps a transfer at MAX_RW_COUNT. The first the host finds by itself, its addresses are higher; of the second
 * only what lies past the window must not be touched. */
static bool too_long(gva addr, uint64_t len) {
    return len > 0x7ffffffff000ull || addr + len > 0x7ffffffff000ull;
}

static uint64_t buffer(struct tv_vm *vm, uint64_t a[6], gva addr, const struct tv_argspec *s, const struct tv_call *c) {
    uint64_t p = tv_ptr(vm, addr); /* never what the policy has read there: that is shorter than a buffer may be */
    if (!addr || s->ref == REF_CONST || s->ref & REF_DEREF) return p;
    uint64_t room = tv_room(vm, addr), n = a[s->ref];
    if (c->arg[s->ref].size == 4 && s->size == 1) return p; /* an int: the kernel sees its low half, at most 4 GiB */
    if (s->size == 1 && room && n > room) {
        if (!too_long(addr, n)) a[s->ref] = room;
    } else if (s->size > 1 && (uint32_t)n * (uint64_t)s->size > room) {
        return tv_ptr(vm, 1);
    }
    return p;
}

/* Copies an iovec array and turns its bases into host addresses. The copy's address, or one that faults: the host
 * kernel then finds EINVAL (too many, negative length) and EFAULT itself, in Linux's order. It looks at the low half of a count,
 * import_iovec() in lib/iov_iter.c: so do we, or an array with its guest addresses would be what it uses. */
static uint64_t iovec(struct tv_vm *vm, gva addr, uint32_t count, struct iovec *out) {
    if (count > IOV_CAP || !count) return tv_ptr(vm, 1);
    if (tv_copy_in(vm, out, addr, count * sizeof *out)) return tv_ptr(vm, 1);
    for (uint64_t i = 0; i < count; i++) {
        gva base = (uintptr_t)out[i].iov_base;
        uint64_t room = tv_room(vm, base);
        out[i].iov_base = (void *)(uintptr_t)tv_ptr(vm, base);
        if (room && out[i].iov_len > room && !too_long(base, out[i].iov_len)) out[i].iov_len = room;
    }
    if (tv_me->budget) limit_iov(out, count);
    return (uintptr_t)out;
}

struct message {
    struct msghdr h;
    gva guest;
    gva control;
    void *ctl;         /* our copy of the control data to send */
};

/* A message to send may hand descriptors over: ours are not the guest's to give. */
static int control_in(struct tv_vm *vm, struct message *m) {
    size_t n = m->h.msg_controllen;
    if (!m->control || !n) return 0;
    if (n > 1 << 20) return -ENOBUFS; /* beyond any net.core.optmem_max */
    m->ctl = malloc(n);
    if (!m->ctl) return -ENOBUFS;
    if (tv_copy_in(vm, m->ctl, m->control, n)) return -EFAULT;
    m->h.msg_control = m->ctl;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->h); c; c = CMSG_NXTHDR(&m->h, c)) {
        if (c->cmsg_len < sizeof *c || c->cmsg_len > n - (size_t)((char *)c - (char *)m->ctl)) break; /* the kernel says EINVAL */
        if (c->cmsg_level == SOL_RDS) return -EINVAL; /* its RDMA requests hold addresses */
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        int *fd = (int *)CMSG_DATA(c);
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof *fd; i++)
            if (fd_hidden(vm, (unsigned)fd[i])) return -EBADF;
    }
    return 0;
}

static int message_in(struct tv_vm *vm, gva addr, struct message *m, struct iovec *iov, bool send) {
    m->guest = addr;
    m->ctl = NULL;
    if (tv_arg_in(vm, 1, &m->h, addr, sizeof m->h)) return -EFAULT;
    m->control = (uintptr_t)m->h.msg_control;
    m->h.msg_name = (void *)(uintptr_t)(send ? tv_addr_ptr(vm, (uintptr_t)m->h.msg_name) : tv_ptr(vm, (uintptr_t)m->h.msg_name));
    m->h.msg_iov = (void *)(uintptr_t)iovec(vm, (uintptr_t)m->h.msg_iov, m->h.msg_iovlen, iov);
    m->h.msg_control = (void *)(uintptr_t)tv_ptr(vm, m->control);
    return send ? control_in(vm, m) : 0;
}

/* After recvmsg: what the kernel wrote into the header belongs into the guest's. */
static int message_out(struct tv_vm *vm, struct message *m) {
    uint32_t namelen = m->h.msg_namelen;
    uint64_t controllen = m->h.msg_controllen;
    uint32_t flags = (uint32_t)m->h.msg_flags;
    if (tv_copy_out(vm, m->guest + offsetof(struct msghdr, msg_namelen), &namelen, 4) ||
        tv_copy_out(vm, m->guest + offsetof(struct msghdr, msg_controllen), &controllen, 8) ||
        tv_copy_out(vm, m->guest + offsetof(struct msghdr, msg_flags), &flags, 4)) return -EFAULT;
    return 0;
}

static int64_t one_message(struct tv_vm *vm, long nr, uint64_t a[6], bool send) {
    struct iovec iov[IOV_CAP];
    struct message m;
    int r = message_in(vm, a[1], &m, iov, send);
    int64_t n;
    if (r == -EFAULT) n = sys6(nr, a[0], tv_ptr(vm, 1), a[2], 0, 0, 0); /* EBADF and ENOTSOCK come before EFAULT */
    else n = r ? r : host6(nr, a[0], (uintptr_t)&m.h, a[2], 0, 0, 0);
    free(m.ctl);
    if (n >= 0 && !send && message_out(vm, &m)) n = -EFAULT;
    return n;
}

/* sendmmsg(2), recvmmsg(2): as the kernel does them, one message after the other, the first error kept for the next
 * call if something was done. */
static int64_t many_messages(struct tv_vm *vm, long nr, uint64_t a[6], bool send) {
    long one = send ? 46 : 47;
    unsigned vlen = (unsigned)a[2], done = 0;
    struct { int64_t sec, nsec; } limit = {0};
    uint64_t end = 0;
    if (vlen > 1024) vlen = 1024;
    if (!send && a[4]) {
        if (tv_copy_in(vm, &limit, a[4], sizeof limit)) return -EFAULT;
        if (limit.sec < 0 || (uint64_t)limit.nsec >= 1000000000) return -EINVAL;
        end = tv_now() + (limit.sec > 1000000 ? 1000000 : (uint64_t)limit.sec) * 1000000000 + (uint64_t)limit.nsec;
    }
    int64_t r = vlen ? 0 : sys6(nr, a[0], tv_ptr(vm, a[1]), 0, a[3] & ~0x10000ull, 0, 0);
    while (done < vlen) {
        gva at = a[1] + (uint64_t)done * 64; /* sizeof(struct mmsghdr) */
        uint64_t b[6] = {a[0], at, a[3] & ~0x10000ull};
        if (send && done && vm->actions[nr] == POL_CONDITIONAL && (r = decide_next(vm, nr, at))) break;
        if (!send && (a[3] & 0x10000) && done) b[2] |= MSG_DONTWAIT; /* MSG_WAITFORONE */
        r = one_message(vm, one, b, send);
        if (r < 0) break;
        uint32_t len = (uint32_t)r;
        if (tv_copy_out(vm, at + 56, &len, 4)) { r = -EFAULT; break; }
        done++;
        if (end && tv_now() >= end) break;
    }
    if (!send && a[4] && done) { /* the time that is left goes back */
        uint64_t now = tv_now(), left = now < end ? end - now : 0;
        limit.sec = (int64_t)(left / 1000000000);
        limit.nsec = (int64_t)(left % 1000000000);
        if (tv_copy_out(vm, a[4], &limit, sizeof limit)) return -EFAULT;
    }
    return done ? (int64_t)done : r;
}

/* poll(2) of a descriptor that is not open answers POLLNVAL. A copy of the array in which the monitor's descriptors are
 * such ones; NULL if none is asked for, or the array cannot be read. */
static struct pollfd *poll_around(struct tv_vm *vm, gva at, unsigned n) {
    struct pollfd part[64], *copy = NULL;
    if (n > 1u << 20) return NULL; /* beyond fs.nr_open: EINVAL */
    for (unsigned i = 0; i < n && !copy; i += 64) {
        unsigned m = n - i < 64 ? n - i : 64;
        if (tv_copy_in(vm, part, at + (uint64_t)i * sizeof *part, m * sizeof *part)) return NULL;
        for (unsigned k = 0; k < m && !copy; k++)
            if (fd_hidden(vm, (unsigned)part[k].fd)) copy = malloc((size_t)n * sizeof *copy);
    }
    if (!copy || tv_copy_in(vm, copy, at, (uint64_t)n * sizeof *copy)) { free(copy); return NULL; }
    for (unsigned i = 0; i < n; i++)
        if (fd_hidden(vm, (unsigned)copy[i].fd)) copy[i].fd = INT_MAX;
    return copy;
}

static int poll_answers(struct tv_vm *vm, gva at, unsigned n, const struct pollfd *from) {
    for (unsigned i = 0; i < n; i++)
        if (tv_copy_out(vm, at + i * sizeof *from + offsetof(struct pollfd, revents), &from[i].revents, 2)) return -EFAULT;
    return 0;
}

/* select(2) of a descriptor that is not open: EBADF. */
static bool selects_hidden(struct tv_vm *vm, gva set, int n) {
    uint8_t byte;
    for (int fd = vm->fd_lo; set && fd < n && fd_hidden(vm, (unsigned)fd); fd++)
        if (!tv_copy_in(vm, &byte, set + (unsigned)fd / 8, 1) && byte & 1u << fd % 8) return true;
    return false;
}

/* A mask that holds while a call waits, or of a signalfd: a copy that lets a kick through, or an address that faults. */
static uint64_t mask_in(struct tv_vm *vm, long nr, gva at, uint64_t size, uint64_t *copy) {
    if (!at || size != sizeof *copy) return tv_ptr(vm, at);
    if (tv_copy_in(vm, copy, at, sizeof *copy)) return tv_ptr(vm, 1);
    if (nr != 282 && nr != 289) sig_wait(tv_me, *copy); /* signalfd */
    *copy = sig_waiting(*copy);
    return (uintptr_t)copy;
}

/* A path that is followed, to a file that the call may change: through a magic link of proc(5) it could be what the monitor has
 * open. The address of the path that the host is given, or -errno. */
static int64_t path_known(struct tv_vm *vm, const struct tv_call *c, int arg, const uint64_t a[6], struct held_path **own) {
    const struct tv_argspec *s = &c->arg[arg];
    int dir = arg && c->arg[arg - 1].kind == A_ATFD ? (int)a[arg - 1] : AT_FDCWD;
    struct held_path *h;
    if (*own || !(h = *own = malloc(sizeof *h + PATH_MAX))) return *own ? -EINVAL : -ENOMEM;
    char *path = (char *)(h + 1);
    h->fd = -1;
    long n = tv_copy_str(vm, path, a[arg], PATH_MAX);
    if (n == -EFAULT || (n == 0 && s->ref < 6 && a[s->ref] & AT_EMPTY_PATH)) return (int64_t)tv_ptr(vm, a[arg]); /* the kernel says it; the descriptor itself */
    if (n < 0) return n;
    if (faccessat(AT_FDCWD, "/proc/self/fd", F_OK, 0)) return (int64_t)(uintptr_t)path; /* no such links here */
    path_hold(vm, dir, path, HOLD_FOLLOW, 0, h);
    return h->err ? -h->err : (int64_t)(uintptr_t)h->sub;
}

/* A path that is resolved, as the host is given it: by descriptor, since going through /proc takes longer than most calls. The
 * number of the call to make. */
static long use_held(long nr, uint64_t a[6], const struct tv_call *c, int i, const struct held_path *held) {
    const struct tv_argspec *s = &c->arg[i];
    bool at = i && c->arg[i - 1].kind == A_ATFD, whole = held->fd >= 0 && !held->entry && !strchr(held->sub + sizeof "/proc/self/fd", '/');
    if (held->empty && s->ref < 6) a[s->ref] &= ~(uint64_t)AT_SYMLINK_NOFOLLOW;
    a[i] = (uintptr_t)held->sub;
    if (at && held->entry) {
        a[i - 1] = (uint64_t)held->fd;
        a[i] = (uintptr_t)(strchr(held->sub + sizeof "/proc/self/fd", '/') + 1);
    } else if (whole && (nr == 262 || nr == 332)) { /* newfstatat, statx */
        a[i - 1] = (uint64_t)held->fd;
        a[i] = (uintptr_t)"";
        a[s->ref] |= AT_EMPTY_PATH;
    } else if (whole && (nr == 4 || nr == 6)) { /* stat, lstat: fstat */
        a[i] = (uint64_t)held->fd;
        return 5;
    }
    return nr;
}

int64_t tv_host(struct tv_vm *vm, long nr, uint64_t a[6], const struct tv_call *c) {
    if (c->plain) return tv_cp(&tv_me->attention, nr, a);
    struct iovec iov[IOV_CAP];
    struct { uint64_t ptr, len; } set;
    uint64_t mask;
    struct pollfd *polled = NULL;
    const struct held_path *held;
    struct held_path *own = NULL; /* at most one: no call follows two paths */
    char path[PATH_MAX], path2[PATH_MAX];
    bool second = false;
    int64_t r;
    gva first = a[0];
    for (int i = 0; i < c->nargs; i++) {
        const struct tv_argspec *s = &c->arg[i];
        switch (s->kind) {
        case A_FD: case A_ATFD:
            if (fd_hidden(vm, a[i])) a[i] = s->kind == A_ATFD ? (uint64_t)-1 : INT_MAX; /* never open; to signalfd(2), -1 would be a new one */
            break;
        case A_FDSET:
            if (selects_hidden(vm, a[i], (int)a[s->ref])) return -EBADF;
            /* fall through */
        case A_STR:
            a[i] = tv_ptr(vm, a[i]);
            break;
        case A_PATH: case A_LOOK: /* a directory may come before it, the flags are argument ref */
            held = held_path(i);
            if (held && held->err) { free(polled); return -held->err; }
            if (held) {
                nr = use_held(nr, a, c, i, held);
            } else if (s->kind == A_PATH && path_is_entry(s, a)) {
                a[i] = proc_look(vm, i && c->arg[i - 1].kind == A_ATFD ? a[i - 1] : (uint64_t)AT_FDCWD, a[i], false, second ? path2 : path, NULL); /* an entry: no link is followed */
                second = true;
            } else if (s->kind == A_PATH) {
                r = path_known(vm, c, i, a, &own);
                if (r < 0 && r >= -4095) { if (own) path_drop(own); free(own); free(polled); return r; }
                a[i] = (uint64_t)r;
            } else a[i] = proc_look(vm, i ? a[i - 1] : (uint64_t)AT_FDCWD, a[i], s->ref == REF_CONST || !(a[s->ref] & AT_SYMLINK_NOFOLLOW), path, NULL);
            break;
        case A_SOCKADDR:
            a[i] = tv_addr_ptr(vm, a[i]);
            break;
        case A_IN: case A_OUT: case A_IO:
            if (s->size == sizeof(struct pollfd) && c->arg[0].kind == A_IO && !i) polled = poll_around(vm, first, (unsigned)a[1]);
            a[i] = polled && !i ? (uintptr_t)polled : buffer(vm, a, a[i], s, c);
            break;
        case A_IOVIN: case A_IOVOUT:
            a[i] = iovec(vm, a[i], a[s->ref], iov);
            break;
        case A_MSGIN: case A_MSGOUT:
            return one_message(vm, nr, a, s->kind == A_MSGIN);
        case A_MMSGIN: case A_MMSGOUT:
            return many_messages(vm, nr, a, s->kind == A_MMSGIN);
        case A_SIGSET:
            a[i] = mask_in(vm, nr, a[i], a[s->ref], &mask);
            break;
        case A_SIGSETARG:
            if (!a[i]) break;
            if (tv_copy_in(vm, &set, a[i], sizeof set)) { a[i] = tv_ptr(vm, 1); break; }
            set.ptr = mask_in(vm, nr, set.ptr, set.len, &mask);
            a[i] = (uintptr_t)&set;
            break;
        }
    }
    r = tv_me->waiting && (tv_me->noted == SIGSEGV || tv_me->noted == SIGBUS) ? -EINTR : tv_cp(&tv_me->attention, nr, a);
    if (polled && (r >= 0 || r == -EINTR) && poll_answers(vm, first, (unsigned)a[1], polled)) r = -EFAULT;
    free(polled);
    if (own) { path_drop(own); free(own); }
    return r;
}

static int64_t unserved(struct tv_vm *vm, const struct tv_call *c, uint64_t nr, gva site) {
    if (c->special) tv_notice(vm, TV_NOTE_UNSERVED, (int)nr, site, c->err);
    return -c->err;
}

static int64_t serve(struct tv_vm *vm, uint64_t nr, uint64_t a[6], gva site) {
    if (nr >= 512) {
        tv_me->stats.calls[511]++;
        return -ENOSYS;
    }
    const struct tv_call *c = &tv_calls[nr];
    tv_me->stats.calls[nr]++;
    int64_t r;
    if (vm->strict && !strict_allows(vm, site, (long)nr)) {
        strict_kill(vm, c, (int)nr, a, site);
        return -EPERM;
    }
    if (vm->actions[nr] && (c->serve > SERVE_NONE || vm->actions[nr] < 0)) {
        bool go_on;
        if (c->serve == SERVE_DENY && vm->actions[nr] > 0) return unserved(vm, c, nr, site);
        r = decide_call(vm, c, nr, a, site, &go_on);
        if (!go_on) return r;
    }
    if (c->serve == SERVE_DENY) return unserved(vm, c, nr, site);
    if (c->serve == SERVE_NONE) return -ENOSYS;
    if (c->serve == SERVE_HOST) {
        r = vm->shared ? limit_host(vm, (long)nr, a, c) : tv_host(vm, (long)nr, a, c);
    } else {
        if (c->mm) pthread_mutex_lock(&vm->mm);
        r = c->core(vm, a, c);
        if (c->mm) pthread_mutex_unlock(&vm->mm);
    }
    if (tv_me->held) decide_done();
    return r;
}

/* The Linux x86-64 calling convention (syscall(2)); rcx and r11 as the instruction leaves them. */
static void answer(struct tv_thread *t, int64_t ret) {
    struct tv_regs *r = t->cpu->regs;
    r->rcx = r->rip;
    r->r11 = r->rflags;
    if (ret == -RESTART_SYS || ret == -RESTART_NOINTR) t->restart = (int)-ret; /* rax keeps the number */
    else if (ret == -EINTR && t->attention) t->restart = RESTART_EINTR;
    else r->rax = (uint64_t)ret;
    if (!t->restart) t->waiting = false;
}

void tv_dispatch(struct tv_vm *vm, gva site) {
    struct tv_regs *r = tv_me->cpu->regs;
    if (__builtin_expect(vm->attend, 0) && !debug_call(vm)) return;
    uint64_t a[6] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9}, nr = r->rax & 0xffffffff;
    bool traced = __builtin_expect(vm->trace != NULL, 0) && trace_before(vm, nr, a);
    int64_t ret = serve(vm, nr, a, site);
    struct tv_thread *t = tv_me;
    if (__builtin_expect(traced, 0)) trace_after(vm, nr, ret);
    if (t->raw_regs) t->raw_regs = false;
    else answer(t, ret);
    if (__builtin_expect(vm->attend, 0)) debug_returned(vm, nr);
}
