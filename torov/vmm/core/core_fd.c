/* Descriptors whose rows need more than shapes: ioctl(2), fcntl(2), dup2(2), close_range(2), setsockopt(2), getsockopt(2),
 * semctl(2). */
#include "tv.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* An argument is a pointer (P), a number (N) or absent (N with 0). What is not listed is ENOTTY. */
enum { N = 1, P = 2 };
static const struct { uint32_t request; uint8_t arg; } ioctls[] = {
    {0x07b9, P},                                                    /* IOCTL_VM_SOCKETS_GET_LOCAL_CID */
    {0x5401, P}, {0x5402, P}, {0x5403, P}, {0x5404, P},             /* TCGETS TCSETS TCSETSW TCSETSF */
    {0x5405, P}, {0x5406, P}, {0x5407, P}, {0x5408, P},             /* TCGETA TCSETA TCSETAW TCSETAF */
    {0x5409, N}, {0x540a, N}, {0x540b, N}, {0x5425, N},             /* TCSBRK TCXONC TCFLSH TCSBRKP */
    {0x540c, N}, {0x540d, N}, {0x540e, N}, {0x540f, P}, {0x5410, P}, /* TIOCEXCL TIOCNXCL TIOCSCTTY TIOCGPGRP TIOCSPGRP */
    {0x5411, P}, {0x5413, P}, {0x5414, P}, {0x5415, P}, {0x541b, P}, /* TIOCOUTQ TIOCGWINSZ TIOCSWINSZ TIOCMGET FIONREAD */
    {0x5420, P}, {0x5421, P}, {0x5422, N}, {0x5424, P}, {0x5429, P}, /* TIOCPKT FIONBIO TIOCNOTTY TIOCGETD TIOCGSID */
    {0x5427, N}, {0x5428, N}, {0x5441, N},                           /* TIOCSBRK TIOCCBRK TIOCGPTPEER */
    {0x5450, N}, {0x5451, N}, {0x5452, P}, {0x5460, P},             /* FIONCLEX FIOCLEX FIOASYNC FIOQSIZE */
    {0x802c542a, P}, {0x402c542b, P}, {0x402c542c, P}, {0x402c542d, P}, /* TCGETS2 TCSETS2 TCSETSW2 TCSETSF2 */
    {0x5416, P}, {0x5417, P}, {0x5418, P}, {0x5419, P}, {0x541a, P}, /* TIOCMBIS TIOCMBIC TIOCMSET TIOCGSOFTCAR TIOCSSOFTCAR */
    {0x5456, P}, {0x5457, P}, {0x545d, P}, {0x80045432, P}, {0x40045436, N},                  /* TIOCGLCKTRMIOS TIOCSLCKTRMIOS TIOCGICOUNT TIOCGDEV TIOCSIG */
    {0x8901, P}, {0x8902, P}, {0x8903, P}, {0x8904, P}, {0x8905, P}, /* FIOSETOWN SIOCSPGRP FIOGETOWN SIOCGPGRP SIOCATMARK */
    {0x8906, P}, {0x8907, P}, {0x80108906, P}, {0x80108907, P},     /* SIOCGSTAMP SIOCGSTAMPNS, old and new */
    {0x8910, P}, {0x8913, P}, {0x8915, P}, {0x8917, P}, {0x8919, P}, {0x891b, P}, /* SIOCGIF: NAME FLAGS ADDR DSTADDR BRDADDR NETMASK */
    {0x891d, P}, {0x8921, P}, {0x8927, P}, {0x8933, P}, {0x8942, P}, {0x8970, P}, /* SIOCGIF: METRIC MTU HWADDR INDEX TXQLEN MAP */
    {0x40088a01, P}, {0x80088a02, P}, {0x40085400, P}, {0x40044900, N}, /* EPIOCSPARAMS EPIOCGPARAMS TFD_IOC_SET_TICKS INOTIFY_IOC_SETNEXTWD */
    {0x80086601, P}, {0x40086602, P}, {0x80087601, P}, {0x801c581f, P}, {0x401c5820, P}, /* FS_IOC_: GETFLAGS SETFLAGS GETVERSION FS[GS]ETXATTR */
    {0x1260, P}, {0x1268, P}, {0x127b, P}, {0x80081272, P}, {0x125e, P}, {2, P}, /* BLK: GETSIZE SSZGET PBSZGET GETSIZE64 ROGET; FIGETBSZ */
    {0x80045430, P}, {0x40045431, P}, {0x80045438, P}, {0x80045439, P}, {0x80045440, P}, /* TIOCGPTN TIOCSPTLCK TIOCGPKT TIOCGPTLCK TIOCGEXCL */
};

int64_t core_ioctl(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if (fd_hidden(vm, a[0]) || fcntl((int)a[0], F_GETFD) < 0) return -EBADF;
    if ((uint32_t)a[1] == 0x8912) { /* SIOCGIFCONF: the list goes where the structure says */
        struct ifconf f;
        if (tv_copy_in(vm, &f, a[2], sizeof f)) return -EFAULT;
        f.ifc_buf = (char *)(uintptr_t)tv_ptr(vm, (uintptr_t)f.ifc_buf);
        int64_t r = sys6(16, a[0], a[1], (uintptr_t)&f, 0, 0, 0);
        return !r && tv_copy_out(vm, a[2], &f.ifc_len, sizeof f.ifc_len) ? -EFAULT : r;
    }
    if ((uint32_t)a[1] == 0x40049409) return host6(16, a[0], a[1], fd_hidden(vm, a[2]) ? (uint64_t)-1 : a[2], 0, 0, 0); /* FICLONE */
    for (size_t i = 0; i < sizeof ioctls / sizeof *ioctls; i++)
        if (ioctls[i].request == (uint32_t)a[1])
            return host6(16, a[0], a[1], ioctls[i].arg == P ? tv_ptr(vm, a[2]) : a[2], 0, 0, 0);
    return -ENOTTY;
}

static const struct { uint16_t cmd; uint8_t arg; } fcntls[] = {
    {F_DUPFD, N}, {F_GETFD, N}, {F_SETFD, N}, {F_GETFL, N}, {F_SETFL, N}, {F_GETLK, P}, {F_SETLK, P}, {F_SETLKW, P},
    {F_SETOWN, N}, {F_GETOWN, N}, {F_SETSIG, N}, {F_GETSIG, N}, {F_SETOWN_EX, P}, {F_GETOWN_EX, P}, {17, P} /* F_GETOWNER_UIDS */,
    {F_OFD_GETLK, P}, {F_OFD_SETLK, P}, {F_OFD_SETLKW, P}, {F_SETLEASE, N}, {F_GETLEASE, N}, {F_NOTIFY, N},
    {1027, N} /* F_DUPFD_QUERY */, {1028, N} /* F_CREATED_QUERY */, {F_DUPFD_CLOEXEC, N}, {F_SETPIPE_SZ, N},
    {F_GETPIPE_SZ, N}, {F_ADD_SEALS, N}, {F_GET_SEALS, N}, {1035, P}, {1036, P}, {1037, P}, {1038, P} /* F_*_RW_HINT */,
};

int64_t core_fcntl(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    if (fd_hidden(vm, a[0])) return -EBADF;
    if ((uint32_t)a[1] == 1027 && fd_hidden(vm, a[2])) return -EBADF;
    if ((uint32_t)a[1] == F_SETSIG && (a[2] == SIGSEGV || a[2] == SIGBUS)) return -EINVAL; /* its code is above 0, as a fault's of the monitor */
    for (size_t i = 0; i < sizeof fcntls / sizeof *fcntls; i++)
        if (fcntls[i].cmd == (uint32_t)a[1])
            return host6(72, a[0], a[1], fcntls[i].arg == P ? tv_ptr(vm, a[2]) : a[2], 0, 0, 0);
    return fcntl((int)a[0], F_GETFD) < 0 ? -EBADF : -EINVAL;
}

int64_t core_dup2(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return tv_host(vm, 33, a, c); }
int64_t core_dup3(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return tv_host(vm, 292, a, c); }

int64_t core_close_range(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    unsigned first = (unsigned)a[0], last = (unsigned)a[1], lo = (unsigned)vm->fd_lo, hi = (unsigned)__atomic_load_n(vm->fd_hi, __ATOMIC_RELAXED);
    if (last < lo || first >= hi || first > last) return sys6(436, first, last, a[2], 0, 0, 0);
    int64_t r = 0; /* around the monitor's own */
    if (first < lo) r = sys6(436, first, lo - 1, a[2], 0, 0, 0);
    if (!r && last >= hi) r = sys6(436, hi, last, a[2], 0, 0, 0);
    if (first >= lo && last < hi && a[2] & ~6ull) r = -EINVAL;
    return r;
}

/* Options whose value holds addresses, which the kernel would take for the monitor's: tables of netfilter (of ip from
 * 64, of ip6 64 and 65; the options of IPv6 itself go on above), PACKET_FANOUT_DATA, RDS memory regions, XDP rings. */
static bool holds_pointers(int level, int name) {
    return (level == 0 && name >= 64) || (level == 41 && (name == 64 || name == 65)) ||
        (level == SOL_PACKET && name == 22) || level == SOL_RDS || level == 283 /* SOL_XDP */;
}

int64_t core_setsockopt(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    if (fd_hidden(vm, a[0])) return -EBADF;
    int level = (int)a[1], name = (int)a[2];
    if (level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_ATTACH_REUSEPORT_CBPF)) {
        struct sock_fprog f;
        struct sock_filter code[BPF_MAXINSNS];
        if ((uint32_t)a[4] != sizeof f) return sys6(54, a[0], a[1], a[2], tv_ptr(vm, a[3]), a[4], 0); /* EINVAL, unread */
        if (tv_copy_in(vm, &f, a[3], sizeof f)) return sys6(54, a[0], a[1], a[2], tv_ptr(vm, 1), sizeof f, 0);
        gva at = (uintptr_t)f.filter;
        f.filter = at ? code : NULL;
        if (at && f.len && f.len <= BPF_MAXINSNS && tv_copy_in(vm, code, at, f.len * sizeof *code)) f.filter = (void *)(uintptr_t)tv_ptr(vm, 1);
        return sys6(54, a[0], a[1], a[2], (uintptr_t)&f, sizeof f, 0);
    }
    if (holds_pointers(level, name)) return -ENOPROTOOPT;
    return sys6(54, a[0], a[1], a[2], tv_ptr(vm, a[3]), a[4], 0);
}

int64_t core_getsockopt(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    if (fd_hidden(vm, a[0])) return -EBADF;
    int level = (int)a[1], name = (int)a[2];
    if (level == 6 && name == 35) return -EINVAL; /* TCP_ZEROCOPY_RECEIVE, as before Linux 4.18 */
    if (level == 0 && name >= 128) return -ENOPROTOOPT; /* EBT_SO_GET_*: tables that hold pointers */
    if (level == 284 && name == 4) return -EOPNOTSUPP; /* MPTCP_FULL_INFO writes where its fields say; as before Linux 6.5 */
    if (level == 132 && name == 111) return -EOPNOTSUPP; /* SCTP_SOCKOPT_CONNECTX3 reads addresses from where a field says */
    return sys6(55, a[0], a[1], a[2], tv_ptr(vm, a[3]), tv_ptr(vm, a[4]), 0);
}

/* With SIGEV_THREAD the kernel reads a cookie of 32 bytes behind the value, and the signal's number is a netlink socket. */
int64_t core_mq_notify(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    (void)c;
    struct sigevent e;
    uint64_t fd = fd_hidden(vm, a[0]) ? (uint64_t)-1 : a[0];
    if (!a[1] || tv_copy_in(vm, &e, a[1], sizeof e)) return sys6(244, fd, a[1] ? tv_ptr(vm, 1) : 0, 0, 0, 0, 0);
    if (e.sigev_notify == SIGEV_THREAD) {
        e.sigev_value.sival_ptr = (void *)(uintptr_t)tv_ptr(vm, (uintptr_t)e.sigev_value.sival_ptr);
        if (fd_hidden(vm, (unsigned)e.sigev_signo)) e.sigev_signo = -1;
    }
    return sys6(244, fd, (uintptr_t)&e, 0, 0, 0, 0);
}

int64_t core_semctl(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    bool number = (int)a[2] == 16 || (int)a[2] == 0; /* SETVAL, IPC_RMID */
    return sys6(66, a[0], a[1], a[2], number ? a[3] : tv_ptr(vm, a[3]), 0, 0);
}
