/* Arguments that tables do not describe: files, memory, System V IPC, waiting. */
#include "show.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>

#define ARG(s) ((s)->a[arg])

bool show_open_mode(struct show *s, int arg, const void *data) {
    if (!(s->a[arg - 1] & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))) return false;
    put_value(s, K_OCT, 0, ARG(s));
    return true;
}
bool show_openmode(struct show *s, int arg, const void *data) { /* of struct open_how */
    uint64_t flags, mode;
    memcpy(&flags, data, 8), memcpy(&mode, (const char *)data + 8, 8);
    if (!mode && !(flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))) return false;
    put(s, "mode="), put_value(s, K_OCT, 0, mode);
    return true;
}
bool show_mq_attr(struct show *s, int arg, const void *data) {
    if (!(s->a[1] & O_CREAT)) return false;
    put_struct(s, ST_mq_attr, ARG(s));
    return true;
}
bool show_mknod_mode(struct show *s, int arg, const void *data) {
    put_set(s, SET_mode, (uint16_t)ARG(s));
    return true;
}
bool show_mknod_dev(struct show *s, int arg, const void *data) {
    unsigned type = s->a[arg - 1] & S_IFMT;
    if (type != S_IFCHR && type != S_IFBLK) return false;
    put_value(s, K_DEV, 0, (uint32_t)ARG(s));
    return true;
}

bool show_stat(struct show *s, int arg, const void *data) {
    const struct stat *st = data;
    bool device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
    if (s->o->verbose) put_inner(s, ST_stat_all, data), put(s, ", ");
    else put(s, "st_mode="), put_set(s, SET_mode, st->st_mode), put(s, ", ");
    if (device) put(s, "st_rdev="), put_value(s, K_DEV, 0, st->st_rdev);
    else put(s, "st_size="), put_d(s, st->st_size);
    put(s, ", ");
    if (s->o->verbose) put_inner(s, ST_stat_times, data);
    else put(s, "...");
    return true;
}

/* iovecs: of what is written all, of what was read as much as was */
void put_iov(struct show *s, gva at, uint64_t n, uint64_t left) {
    struct iovec v;
    if (!at) { put(s, "NULL"); return; }
    if (n && !get(s, &v, at, sizeof v)) { put_x(s, at); return; }
    put_c(s, '[');
    for (uint64_t i = 0; i < n; i++) {
        if (i) put(s, ", ");
        if (i >= s->o->string_size) { put(s, "..."); break; }
        if (!get(s, &v, at + i * sizeof v, sizeof v)) { put(s, "... /* "), put_x(s, at + i * sizeof v), put(s, " */"); break; }
        uint64_t len = v.iov_len < left ? v.iov_len : left;
        put(s, "{iov_base="), put_data(s, (uintptr_t)v.iov_base, len);
        put(s, ", iov_len="), put_u(s, v.iov_len), put_c(s, '}');
        left -= len;
    }
    put_c(s, ']');
}
bool show_iovin(struct show *s, int arg, const void *data) {
    put_iov(s, ARG(s), s->a[arg + 1], ~0ull);
    return true;
}
bool show_iovout(struct show *s, int arg, const void *data) {
    if (s->failed) put_ptr(s, ARG(s));
    else put_iov(s, ARG(s), s->a[arg + 1], (uint64_t)s->ret);
    return true;
}

bool show_xattr(struct show *s, int arg, const void *data) {
    if (s->failed || !s->a[arg + 1]) put_ptr(s, ARG(s));
    else put_data(s, ARG(s), (uint64_t)s->ret);
    return true;
}
bool show_getcwd(struct show *s, int arg, const void *data) {
    if (s->failed) put_ptr(s, ARG(s));
    else put_path(s, ARG(s), 0);
    return true;
}
bool show_random(struct show *s, int arg, const void *data) {
    char bytes[256];
    size_t n = s->ret > 0 ? (size_t)s->ret : 0, most = s->o->string_size < sizeof bytes ? s->o->string_size : sizeof bytes;
    if (s->failed || !get(s, bytes, ARG(s), n < most ? n : most)) put_ptr(s, ARG(s));
    else put_string(s, bytes, n < most ? n : most, n > most, true);
    return true;
}

static void put_dents(struct show *s, gva at, bool wide) {
    struct { uint64_t ino; int64_t off; uint16_t len; uint8_t type; char name[257]; } d;
    put_c(s, '[');
    for (int64_t pos = 0; pos + 19 < s->ret; pos += d.len) {
        memset(&d, 0, sizeof d);
        size_t most = (size_t)(s->ret - pos) < sizeof d - 1 ? (size_t)(s->ret - pos) : sizeof d - 1;
        if (!get(s, &d, at + (uint64_t)pos, most) || d.len < 19) break;
        const char *name = wide ? d.name : (char *)&d + 18;
        uint8_t type = d.type;
        if (!wide) get(s, &type, at + (uint64_t)pos + d.len - 1, 1);
        if (pos) put(s, ", ");
        put(s, "{d_ino="), put_u(s, d.ino), put(s, ", d_off="), put_d(s, d.off), put(s, ", d_reclen="), put_u(s, d.len);
        if (wide) put(s, ", d_type="), put_set(s, SET_dtype, type);
        put(s, ", d_name="), put_string(s, name, strnlen(name, 255), false, false);
        if (!wide) put(s, ", d_type="), put_set(s, SET_dtype, type);
        put_c(s, '}');
    }
    put_c(s, ']');
}
bool show_dents(struct show *s, int arg, const void *data) {
    bool wide = s->nr == 217;
    int entries = 0;
    uint16_t len;
    if (s->o->verbose && !s->failed) { put_dents(s, ARG(s), wide); return true; }
    put_ptr(s, ARG(s));
    if (s->failed) return true;
    for (int64_t at = 0; at + 18 < s->ret && get(s, &len, ARG(s) + (uint64_t)at + 16, 2) && len >= (wide ? 19 : 18); at += len) entries++;
    put(s, " /* "), put_d(s, entries), put(s, " entries */");
    return true;
}

bool show_offset(struct show *s, int arg, const void *data) {
    int64_t at;
    if (!ARG(s) || !get(s, &at, ARG(s), 8)) { put_ptr(s, ARG(s)); return true; }
    put_c(s, '['), put_d(s, at), put_c(s, ']');
    return true;
}
bool show_offset_moves(struct show *s, int arg, const void *data) {
    int64_t at;
    if (!ARG(s) || !get(s, &at, ARG(s), 8)) { put_ptr(s, ARG(s)); return true; }
    put_c(s, '['), put_d(s, (int64_t)s->kept);
    if (!s->failed && s->ret > 0) put(s, "] => ["), put_d(s, at);
    put_c(s, ']');
    return true;
}

bool show_utimes(struct show *s, int arg, const void *data) {
    int64_t t[4];
    bool nano = s->nr == 280;
    if (!ARG(s) || !get(s, t, ARG(s), sizeof t)) { put_ptr(s, ARG(s)); return true; }
    put_c(s, '[');
    for (int i = 0; i < 2; i++) {
        int64_t sec = t[2 * i], part = t[2 * i + 1];
        if (i) put(s, ", ");
        if (nano && part == UTIME_NOW) { put(s, "UTIME_NOW"); continue; }
        if (nano && part == UTIME_OMIT) { put(s, "UTIME_OMIT"); continue; }
        put_fields(s, nano ? ST_timespec : ST_timeval, t + 2 * i);
        put(s, " /* "), put_when(s, sec, part, nano ? 9 : 6), put(s, " */");
    }
    put_c(s, ']');
    return true;
}
bool show_utimens(struct show *s, int arg, const void *data) { return show_utimes(s, arg, data); }
bool show_mount_data(struct show *s, int arg, const void *data) {
    put_path(s, ARG(s), s->o->string_size);
    return true;
}

/* memory */
bool show_mremap_new(struct show *s, int arg, const void *data) {
    if (!(s->a[3] & 6)) return false;
    put_ptr(s, ARG(s));
    return true;
}
bool show_mincore(struct show *s, int arg, const void *data) {
    uint64_t pages = (s->a[1] + PG - 1) / PG;
    uint8_t one;
    if (s->failed || !get(s, &one, ARG(s), 1)) { put_ptr(s, ARG(s)); return true; }
    put_c(s, '[');
    for (uint64_t i = 0; i < pages && get(s, &one, ARG(s) + i, 1); i++) {
        if (i) put(s, ", ");
        if (i >= s->o->string_size) { put(s, "..."); break; }
        put_d(s, one & 1);
    }
    put_c(s, ']');
    return true;
}

/* System V IPC */
static bool ipc_buf(struct show *s, int arg, int id) {
    int cmd = (int)s->a[1] & 0xff;
    if (s->failed || !(cmd == 2 || cmd == 13 || cmd == 15 || cmd == 11)) put_ptr(s, ARG(s));
    else put_struct(s, id, ARG(s));
    return true;
}
bool show_shm_buf(struct show *s, int arg, const void *data) { return ipc_buf(s, arg, ST_shmid_ds); }
bool show_msg_buf(struct show *s, int arg, const void *data) { return ipc_buf(s, arg, ST_msqid_ds); }
bool show_semarg(struct show *s, int arg, const void *data) {
    put_ptr(s, ARG(s));
    return true;
}
bool show_msgbuf(struct show *s, int arg, const void *data) {
    int64_t type;
    if (s->failed || !get(s, &type, ARG(s), 8)) { put_ptr(s, ARG(s)); return true; }
    put(s, "{mtype="), put_d(s, type), put(s, ", mtext="), put_data(s, ARG(s) + 8, s->after ? (uint64_t)s->ret : s->a[2]), put_c(s, '}');
    return true;
}

/* waiting */
bool show_pollfd(struct show *s, int arg, const void *data) {
    const struct pollfd *p = data;
    put(s, "fd="), put_value(s, K_FD, 0, (uint64_t)p->fd);
    if (p->fd >= 0) put(s, ", events="), put_set(s, SET_poll, (uint16_t)p->events);
    return true;
}
bool show_pollfds(struct show *s, int arg, const void *data) {
    struct pollfd p;
    unsigned n = (unsigned)s->a[1];
    if (!ARG(s) || (n && !get(s, &p, ARG(s), sizeof p))) { put_ptr(s, ARG(s)); return true; }
    put_c(s, '[');
    for (unsigned i = 0; i < n; i++) {
        if (i) put(s, ", ");
        if (i >= s->o->string_size) { put(s, "..."); break; }
        if (!get(s, &p, ARG(s) + i * sizeof p, sizeof p)) { put(s, "... /* "), put_x(s, ARG(s) + i * sizeof p), put(s, " */"); break; }
        put_fields(s, ST_pollfd, &p);
    }
    put_c(s, ']');
    return true;
}
bool show_poll_left(struct show *s, int arg, const void *data) {
    struct pollfd p;
    struct { int64_t sec, nsec; } left;
    if (!s->ret) { put(s, "0 (Timeout)"); return true; }
    put_d(s, s->ret), put(s, " ([");
    unsigned shown = 0;
    for (unsigned i = 0; i < (unsigned)s->a[1] && shown < s->ret; i++) {
        if (!get(s, &p, s->a[0] + i * sizeof p, sizeof p)) break; /* the guest has taken it away meanwhile */
        if (!p.revents) continue;
        if (shown++) put(s, ", ");
        if (shown > s->o->string_size) { put(s, "..."); break; }
        put(s, "{fd="), put_value(s, K_FD, 0, (uint64_t)p.fd), put(s, ", revents="), put_set(s, SET_poll, (uint16_t)p.revents), put_c(s, '}');
    }
    put_c(s, ']');
    if (s->nr == 271 && s->a[2] && get(s, &left, s->a[2], sizeof left)) put(s, ", left "), put_fields(s, ST_timespec, &left);
    put_c(s, ')');
    return true;
}

static int set_of_fds(struct show *s, gva at, uint64_t set[16]) {
    int n = (int)s->a[0];
    if (n < 0) n = 0;
    if (n > 1024) n = 1024;
    memset(set, 0, 128);
    return !at || !get(s, set, at, (size_t)(n + 63) / 64 * 8) ? -1 : n;
}
bool show_fdset(struct show *s, int arg, const void *data) {
    uint64_t set[16];
    int n = set_of_fds(s, ARG(s), set);
    if (n < 0) put_ptr(s, ARG(s));
    else put_sets(s, set, n);
    return true;
}
bool show_select_left(struct show *s, int arg, const void *data) {
    static const char *const names[] = {"in ", "out ", "except "};
    uint64_t set[16], left[2];
    bool any = false;
    if (!s->ret) { put(s, "0 (Timeout)"); return true; }
    put_d(s, s->ret);
    for (int i = 0; i < 3; i++) {
        int n = set_of_fds(s, s->a[1 + i], set), some = 0;
        for (int k = 0; k < 16; k++) some |= set[k] != 0;
        if (n < 0 || !some) continue;
        put(s, any ? ", " : " ("), put(s, names[i]), put_sets(s, set, n);
        any = true;
    }
    if (s->a[4] && get(s, left, s->a[4], sizeof left)) {
        put(s, any ? ", left " : " (left ");
        put_fields(s, s->nr == 23 ? ST_timeval : ST_timespec, left);
        any = true;
    }
    if (any) put_c(s, ')');
    return true;
}
bool show_epoll_event(struct show *s, int arg, const void *data) {
    if (s->a[1] == 2) put_ptr(s, ARG(s)); /* EPOLL_CTL_DEL */
    else put_struct(s, ST_epoll_event, ARG(s));
    return true;
}

/* fcntl(2) */
enum { FC_NONE, FC_SET, FC_NUMBER, FC_LOCK, FC_OWNER, FC_SIG, FC_HEX };
static int fcntl_how(int cmd, int *set) {
    switch (cmd) {
    case F_GETFD: case F_GETFL: case F_GETOWN: case 11 /* F_GETSIG */: case F_GETLEASE: case F_GETPIPE_SZ: case F_GET_SEALS: return FC_NONE;
    case F_SETFD: *set = SET_fd_flags; return FC_SET;
    case F_SETFL: *set = SET_open; return FC_SET;
    case F_ADD_SEALS: *set = SET_seals; return FC_SET;
    case F_SETLEASE: *set = SET_lock; return FC_SET;
    case F_NOTIFY: *set = SET_notify; return FC_SET;
    case F_DUPFD: case F_DUPFD_CLOEXEC: case F_SETOWN: case F_SETPIPE_SZ: return FC_NUMBER;
    case F_SETLK: case F_SETLKW: case 37: case 38: case F_GETLK: case 36: return FC_LOCK; /* F_OFD_* */
    case 15: case 16: return FC_OWNER; /* F_SETOWN_EX, F_GETOWN_EX */
    case 10: return FC_SIG;
    default: return FC_HEX;
    }
}
static bool fcntl_later(int cmd) { return cmd == F_GETLK || cmd == 36 || cmd == 16; }
static bool fcntl_arg(struct show *s, int arg) {
    int set = 0;
    switch (fcntl_how((int)s->a[1], &set)) {
    case FC_NONE: return false;
    case FC_SET: put_set32(s, set, ARG(s)); break;
    case FC_NUMBER: put_d(s, (int)ARG(s)); break;
    case FC_LOCK: put_struct(s, fcntl_later((int)s->a[1]) ? ST_flock_got : ST_flock, ARG(s)); break;
    case FC_OWNER: put_struct(s, ST_f_owner_ex, ARG(s)); break;
    case FC_SIG: put_sig(s, (int)ARG(s)); break;
    default: put_x(s, ARG(s));
    }
    return true;
}
bool show_fcntl_in(struct show *s, int arg, const void *data) { return !fcntl_later((int)s->a[1]) && fcntl_arg(s, arg); }
bool show_fcntl_out(struct show *s, int arg, const void *data) {
    if (!fcntl_later((int)s->a[1])) return false;
    if (!s->failed) return fcntl_arg(s, arg);
    put_ptr(s, s->a[2]);
    return true;
}
bool show_fcntl_ret(struct show *s, int arg, const void *data) {
    static const struct { int cmd, set; const char *word; } named[] = {
        {F_GETFL, SET_open, "flags "}, {F_GETFD, SET_fd_flags, "flags "}, {F_GET_SEALS, SET_seals, "seals "}, {F_GETLEASE, SET_lock, ""}};
    int cmd = (int)s->a[1];
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (named[i].cmd != cmd) continue;
        put_x(s, (uint64_t)s->ret);
        if (s->ret || cmd == F_GETFL || cmd == F_GETLEASE) put(s, " ("), put(s, named[i].word), put_set32(s, named[i].set, (uint64_t)s->ret), put(s, ")");
        return true;
    }
    if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) { put_value(s, K_FD, 0, (uint64_t)s->ret); return true; }
    if (cmd == 11 && s->ret) { put_d(s, s->ret), put(s, " ("), put_sig(s, (int)s->ret), put(s, ")"); return true; }
    return false;
}

/* ioctl(2) */
enum { IO_UNKNOWN, IO_NONE, IO_INT_IN, IO_INT_OUT, IO_WINSIZE_IN, IO_WINSIZE_OUT, IO_TERM_IN, IO_TERM_OUT, IO_IFINDEX, IO_IFFLAGS, IO_FLAGS_OUT,
       IO_FLAGS_IN, IO_NUMBER, IO_FD, IO_TCFLSH, IO_TCXONC };
static int ioctl_how(uint32_t cmd) {
    switch (cmd) {
    case FIOCLEX: case FIONCLEX: case TIOCNOTTY: case TIOCEXCL: case TIOCNXCL: return IO_NONE;
    case FIONBIO: case FIOASYNC: case TIOCSPGRP: case TIOCSPTLCK: case TIOCSETD: case TIOCPKT: return IO_INT_IN;
    case FIONREAD: case TIOCOUTQ: case TIOCGPGRP: case TIOCGSID: case TIOCGPTN: case TIOCGETD: return IO_INT_OUT;
    case TIOCGWINSZ: return IO_WINSIZE_OUT;
    case TIOCSWINSZ: return IO_WINSIZE_IN;
    case TCGETS: return IO_TERM_OUT;
    case TCSETS: case TCSETSW: case TCSETSF: return IO_TERM_IN;
    case 0x8933: return IO_IFINDEX; /* SIOCGIFINDEX */
    case 0x8913: return IO_IFFLAGS; /* SIOCGIFFLAGS */
    case FS_IOC_GETFLAGS: return IO_FLAGS_OUT;
    case FS_IOC_SETFLAGS: return IO_FLAGS_IN;
    case TCFLSH: return IO_TCFLSH;
    case TCXONC: return IO_TCXONC;
    case TCSBRK: case TIOCSCTTY: return IO_NUMBER;
    case FICLONE: return IO_FD;
    default: return IO_UNKNOWN;
    }
}
bool show_ioctl_cmd(struct show *s, int arg, const void *data) {
    static const char *const ways[] = {"_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE"};
    uint32_t cmd = (uint32_t)ARG(s);
    static const struct { uint32_t cmd; const char *names; } shared[] = { /* requests that two drivers have */
        {FICLONE, "BTRFS_IOC_CLONE or FICLONE"}, {TCSETS, "SNDCTL_TMR_START or TCSETS"}, {TCSETSW, "SNDCTL_TMR_STOP or TCSETSW"},
        {TCSETSF, "SNDCTL_TMR_CONTINUE or TCSETSF"}};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if (shared[i].cmd == cmd) { put(s, shared[i].names); return true; }
    for (const struct tv_constant *k = set_rows(SET_ioctl); k->name; k++)
        if (k->value == cmd) { put(s, k->name); return true; }
    put(s, "_IOC("), put(s, ways[cmd >> 30]), put(s, ", "), put_x(s, cmd >> 8 & 0xff), put(s, ", "), put_x(s, cmd & 0xff), put(s, ", "), put_x(s, cmd >> 16 & 0x3fff), put(s, ")");
    return true;
}
static void put_termios(struct show *s, gva at) {
    struct { uint32_t in, out, control, local; uint8_t line, cc[19]; } t;
    static const struct { const char *name; uint8_t shift, mask; } delays[] = {{"NL", 8, 1}, {"CR", 9, 3}, {"TAB", 11, 3}, {"BS", 13, 1}, {"VT", 14, 1}, {"FF", 15, 1}};
    uint32_t left;
    if (!at || !get(s, &t, at, sizeof t)) { put_ptr(s, at); return; }
    put(s, "{c_iflag="), put_set(s, SET_iflag, t.in), put(s, ", c_oflag=");
    left = t.out;
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        put(s, delays[i].name), put_u(s, t.out >> delays[i].shift & delays[i].mask), put_c(s, '|');
        left &= ~((uint32_t)delays[i].mask << delays[i].shift);
    }
    if (left) put_set(s, SET_oflag, left);
    put(s, ", c_cflag="), put_set(s, SET_cflag, t.control), put(s, ", c_lflag="), put_set(s, SET_lflag, t.local);
    if (s->o->verbose) put(s, ", c_line="), put_u(s, t.line), put(s, ", c_cc="), put_string(s, t.cc, sizeof t.cc, false, true);
    else put(s, ", ...");
    put_c(s, '}');
}
static void ioctl_value(struct show *s, int how, gva at) {
    int number;
    struct { char name[16]; int16_t flags; int16_t pad; } ifr;
    switch (how) {
    case IO_WINSIZE_IN: case IO_WINSIZE_OUT: put_struct(s, ST_winsize, at); return;
    case IO_TERM_IN: case IO_TERM_OUT: put_termios(s, at); return;
    case IO_IFINDEX: case IO_IFFLAGS:
        if (!get(s, &ifr, at, sizeof ifr)) { put_ptr(s, at); return; }
        put(s, "{ifr_name="), put_string(s, ifr.name, strnlen(ifr.name, sizeof ifr.name), false, false);
        if (!s->failed && how == IO_IFINDEX) memcpy(&number, &ifr.flags, 4), put(s, ", ifr_ifindex="), put_d(s, number);
        else if (!s->failed) put(s, ", ifr_flags="), put_set(s, SET_ifflags, (uint16_t)ifr.flags);
        put_c(s, '}');
        return;
    default:
        if (!at || !get(s, &number, at, 4)) { put_ptr(s, at); return; }
        put_c(s, '[');
        if (how == IO_FLAGS_OUT || how == IO_FLAGS_IN) put_set32(s, SET_fsflags, (uint64_t)number);
        else put_d(s, number);
        put_c(s, ']');
    }
}
static bool ioctl_later(int how) {
    return how == IO_INT_OUT || how == IO_WINSIZE_OUT || how == IO_TERM_OUT || how == IO_FLAGS_OUT || how == IO_IFINDEX || how == IO_IFFLAGS;
}
bool show_ioctl_in(struct show *s, int arg, const void *data) {
    int how = ioctl_how((uint32_t)s->a[1]);
    if (how == IO_NONE || ioctl_later(how)) return false;
    if (how == IO_UNKNOWN) put_x(s, ARG(s));
    else if (how == IO_TCFLSH || how == IO_TCXONC) put_set32(s, how == IO_TCFLSH ? SET_tcflsh : SET_tcxonc, ARG(s));
    else if (how == IO_FD) put_value(s, K_FD, 0, (uint64_t)(int)ARG(s));
    else if (how == IO_NUMBER) put_d(s, (int)ARG(s));
    else ioctl_value(s, how, ARG(s));
    return true;
}
bool show_ioctl_out(struct show *s, int arg, const void *data) {
    int how = ioctl_how((uint32_t)s->a[1]);
    if (!ioctl_later(how)) return false;
    if (s->failed && how != IO_IFINDEX && how != IO_IFFLAGS) put_ptr(s, s->a[2]);
    else ioctl_value(s, how, s->a[2]);
    return true;
}
