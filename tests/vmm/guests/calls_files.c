/* Files, directories, descriptors, and what waits on them: each call's answer and effect. */
#include "guest.h"
#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>

static int file(const char *name, const char *text) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), name);
    return fd;
}
static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void names(void) {
    struct stat st;
    char b[4096];
    umask(022);
    say(mkdirat(AT_FDCWD, "d", 0755) ? -errno : 0, "mkdirat");
    int d = open("d", O_RDONLY | O_DIRECTORY), f = openat(d, "a", O_RDWR | O_CREAT | O_EXCL, 0640);
    need(d >= 0 && f >= 0, "openat");
    say(openat(d, "a", O_RDWR | O_CREAT | O_EXCL, 0640) < 0 ? -errno : 0, "exclusive");
    say(SC(SYS_openat, 999, "a", O_RDONLY), "bad dirfd"); say(SC(SYS_openat, f, "a", O_RDONLY), "file as dirfd");
    say(SC(SYS_openat, d, "no", O_RDONLY), "no file");
    say(SC(SYS_open, "", O_RDONLY), "empty path"); say(SC(SYS_open, "d", O_WRONLY), "directory for writing");
    say(SC(SYS_open, "d/a/b", O_RDONLY), "not a directory");
    memset(b, 'n', 300); b[300] = 0; say(SC(SYS_open, b, O_RDONLY), "long name"); memset(b, '/', 4095); b[4095] = 0;
    say(some(SC(SYS_open, b, O_PATH)), "4095 slashes");
    static char big[5000]; memset(big, '/', 4999); say(SC(SYS_open, big, O_PATH), "4999 slashes");
    say(symlinkat("a", d, "s") ? -errno : 0, "symlinkat");
    say(SC(SYS_openat, d, "s", O_RDONLY | O_NOFOLLOW), "no follow");
    say(linkat(d, "a", d, "h", 0) ? -errno : 0, "linkat");
    say(mkfifoat(d, "p", 0600) ? -errno : 0, "mkfifo");
    say(renameat2(d, "h", d, "s", RENAME_NOREPLACE) ? -errno : 0, "no replace");
    say(renameat(d, "h", d, "r") ? -errno : 0, "renameat");
    say(renameat2(d, "r", d, "s", RENAME_EXCHANGE) ? -errno : 0, "exchange");
    say(rename("d", "d/x") ? -errno : 0, "into itself");
    fstatat(d, "s", &st, AT_SYMLINK_NOFOLLOW); printf("mode %o links %lu\n", st.st_mode, (long)st.st_nlink);
    memset(b, 0, sizeof b); say(readlinkat(d, "r", b, 100), "readlinkat"); puts(b);
    say(fchmodat(d, "a", 0600, 0) ? -errno : 0, "fchmodat"); say(SC(452, d, "a", 04755, 0), "fchmodat2"); fstat(f, &st);
    printf("mode %o\n", st.st_mode);
    say(faccessat(d, "a", R_OK | W_OK, 0) ? -errno : 0, "faccessat");
    say(fchownat(d, "a", getuid(), getgid(), 0) ? -errno : 0, "fchownat");
    struct timespec t[2] = {{1000000000, 1}, {1200000000, 999999999}};
    say(utimensat(d, "a", t, 0) ? -errno : 0, "utimensat"); fstat(f, &st);
    printf("%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    struct statx x; say(statx(d, "a", 0, STATX_BASIC_STATS, &x), "statx");
    printf("%o %llu %u %lld\n", x.stx_mode, x.stx_size, x.stx_nlink, x.stx_mtime.tv_sec);
    struct statfs sf; say(fstatfs(f, &sf), "fstatfs"); struct statvfs sv; say(statvfs(".", &sv), "statvfs");
    for (int i = 0; i < 300; i++) { snprintf(b, sizeof b, "entry%03d", i);
    close(openat(d, b, O_CREAT | O_WRONLY, 0600)); }
    DIR *dir = fdopendir(dup(d));
    char *list[400]; size_t n = 0;
    for (struct dirent *e; (e = readdir(dir)) && n < 400;) { char *c = malloc(300);
    snprintf(c, 300, "%s %d", e->d_name, e->d_type); list[n++] = c; }
    qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i += i < 8 ? 1 : 50) puts(list[i]);
    printf("%zu entries\n", n);
    say(SC(SYS_getdents64, d, b, 5), "getdents64 too small");
    say(SC(SYS_getdents64, f, b, 500), "getdents64 of a file");
    say(unlinkat(d, "a", AT_REMOVEDIR) ? -errno : 0, "not a directory"); say(rmdir("d") ? -errno : 0, "not empty");
    say(unlinkat(d, "p", 0) ? -errno : 0, "unlinkat");
    say(fsetxattr(f, "user.k", "value", 5, 0) ? -errno : 0, "fsetxattr");
    say(fsetxattr(f, "user.k", "v", 1, XATTR_CREATE) ? -errno : 0, "create again");
    say(fgetxattr(f, "user.k", b, 2), "too small");
    say(fgetxattr(f, "user.k", NULL, 0), "size");
    say(getxattr("d/a", "user.none", b, 9) < 0 ? -errno : 0, "no such name"); say(fremovexattr(f, "user.k"), "remove");
    say(fremovexattr(f, "user.k") ? -errno : 0, "again");
    say(chdir("d") ? -errno : 0, "chdir"); memset(b, 0, 100); say(some(SC(SYS_getcwd, b, 4096)), "getcwd");
    puts(strrchr(b, '/')); say(fchdir(f) ? -errno : 0, "fchdir to a file"); need(chdir("..") == 0, "chdir");
    struct { uint64_t flags, mode, resolve; } how = {O_RDONLY, 0, 8};
    say(SC(437, d, "../x", &how, 24), "openat2 beneath"); how.flags = ~0ul;
    say(SC(437, d, "a", &how, 24), "openat2 flags");
    say(mknod("node", S_IFREG | 0600, 0) ? -errno : 0, "mknod"); say(truncate("node", 70000) ? -errno : 0, "truncate");
    say(truncate("node", -1) ? -errno : 0, "truncate -1");
    int p = open("d", O_PATH); say(SC(SYS_read, p, b, 1), "read of O_PATH");
    say(fstatat(p, "", &st, AT_EMPTY_PATH), "empty path"); say(SC(SYS_fchmod, p, 0700), "fchmod of O_PATH");
    int tmp = open(".", O_TMPFILE | O_RDWR, 0600); snprintf(b, sizeof b, "/proc/self/fd/%d", tmp);
    say(linkat(AT_FDCWD, b, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW) ? -errno : 0, "linkat of a descriptor");
    close(d); close(f); close(p); close(tmp);
}

static void descriptors(void) {
    char b[256] = {0};
    int f = file("f", "0123456789"), g = dup(f), pp[2];
    say(lseek(f, 3, SEEK_SET), "lseek"); say(read(g, b, 4), "shared offset"); puts(b);
    say(lseek(f, -100, SEEK_CUR) < 0 ? -errno : 0, "before the start"); say(SC(SYS_lseek, f, 0, 99), "whence");
    say(lseek(f, 0, SEEK_HOLE), "hole");
    say(dup2(f, 50), "dup2"); say(SC(SYS_dup2, f, 1 << 30), "dup2 too high");
    say(SC(SYS_dup2, 999, 51), "dup2 of nothing"); say(SC(SYS_dup3, f, f, 0), "dup3 same");
    say(SC(SYS_dup3, f, 52, 1), "dup3 flags"); say(dup3(f, 52, O_CLOEXEC), "dup3");
    say(fcntl(52, F_GETFD), "cloexec"); say(fcntl(f, F_DUPFD, 60), "F_DUPFD");
    say(fcntl(f, F_DUPFD_CLOEXEC, 60), "F_DUPFD_CLOEXEC"); say(SC(SYS_fcntl, f, F_DUPFD, 1 << 30), "F_DUPFD too high");
    say(fcntl(f, F_GETFL) & (O_ACCMODE | O_APPEND), "F_GETFL"); say(fcntl(f, F_SETFL, O_APPEND), "F_SETFL");
    say(fcntl(g, F_GETFL) & O_APPEND, "shared flags"); say(SC(SYS_fcntl, f, 12345, 0), "unknown fcntl");
    say(SC(SYS_fcntl, 999, F_GETFL), "fcntl of nothing");
    say(close_range(60, 61, 0), "close_range"); say(SC(SYS_close, 60), "closed");
    say(SC(436, 61, 60, 0), "close_range backwards"); say(SC(436, 60, 61, 99), "close_range flags");
    say(close_range(50, 50, CLOSE_RANGE_CLOEXEC), "cloexec range"); say(fcntl(50, F_GETFD), "flag");
    struct flock l = {.l_type = F_WRLCK, .l_start = 2, .l_len = 3}; say(fcntl(f, F_SETLK, &l), "lock");
    l.l_type = F_RDLCK; say(fcntl(g, F_OFD_SETLK, &l) ? -errno : 0, "other owner"); l.l_type = F_WRLCK; l.l_pid = 0;
    say(fcntl(g, F_OFD_GETLK, &l), "who"); printf("%d %ld %ld\n", l.l_type, l.l_start, l.l_len);
    say(flock(f, LOCK_EX), "flock"); int h = open("f", O_RDONLY);
    say(flock(h, LOCK_EX | LOCK_NB) ? -errno : 0, "flock again"); say(pwrite(f, "AB", 2, 1), "pwrite appends");
    say(ftruncate(f, 5), "ftruncate"); say(pread(f, b, 20, 0), "pread"); say(SC(SYS_pread64, f, b, 1, -1), "pread -1");
    say(posix_fadvise(f, 0, 0, POSIX_FADV_WILLNEED), "fadvise");
    say(fallocate(f, 0, 0, 5000) ? -errno : 0, "fallocate"); say(fsync(f), "fsync"); say(fdatasync(f), "fdatasync");
    say(syncfs(f), "syncfs");
    struct iovec v[] = {{"one", 3}, {NULL, 0}, {"three", 5}}; int o = file("o", ""); say(writev(o, v, 3), "writev");
    say(pwritev(o, v, 3, 1), "pwritev"); say(pwritev2(o, v, 1, -1, RWF_APPEND), "append");
    say(pwritev2(o, v, 1, 0, 0x4000) < 0 ? -errno : 0, "flags"); say(lseek(o, 0, SEEK_END), "size");
    need(pipe2(pp, O_NONBLOCK) == 0, "pipe"); say(read(pp[0], b, 1) < 0 ? -errno : 0, "empty pipe");
    say(fcntl(pp[0], F_GETPIPE_SZ), "pipe size"); say(fcntl(pp[0], F_SETPIPE_SZ, 8000), "set pipe size");
    say(SC(SYS_pipe2, pp, 0x1000000), "pipe2 flags");
    off_t at = 1; say(sendfile(pp[1], o, &at, 4), "sendfile"); say(at, "offset"); int q[2]; need(pipe(q) == 0, "pipe");
    say(tee(pp[0], q[1], 2, 0), "tee"); loff_t in = 0, out = 2; say(splice(o, &in, pp[1], NULL, 5, 0), "splice");
    say(splice(pp[0], NULL, f, &out, 9, 0) < 0 ? -errno : 0, "splice to append"); fcntl(f, F_SETFL, 0);
    say(splice(pp[0], NULL, f, &out, 9, 0), "splice"); say(out, "offset");
    in = 0; out = 0; say(copy_file_range(o, &in, f, &out, 6, 0), "copy_file_range");
    say(SC(SYS_copy_file_range, o, 0, f, 0, 6, 1), "flags"); memset(b, 0, 100); pread(f, b, 30, 0); puts(b);
    struct iovec vm = {"vmsplice", 8}; say(vmsplice(q[1], &vm, 1, 0), "vmsplice"); memset(b, 0, 100);
    say(read(q[0], b, 20), "read"); puts(b);
    int n = -1; say(ioctl(q[0], FIONREAD, &n), "FIONREAD"); say(n, "n");
    say(ioctl(q[0], FIONBIO, &(int){1}), "FIONBIO"); say(read(q[0], b, 1) < 0 ? -errno : 0, "nonblocking");
    struct termios tt; struct winsize w; say(ioctl(f, TCGETS, &tt) < 0 ? -errno : 0, "TCGETS");
    say(ioctl(q[0], TIOCGWINSZ, &w) < 0 ? -errno : 0, "TIOCGWINSZ");
    say(SC(SYS_ioctl, f, 0x12345678, 0), "unknown ioctl"); say(SC(SYS_ioctl, 999, FIONREAD, 0), "ioctl of nothing");
    say(ioctl(f, FIOCLEX), "FIOCLEX"); say(fcntl(f, F_GETFD), "flag");
    int pt = posix_openpt(O_RDWR | O_NOCTTY); need(pt >= 0 && grantpt(pt) == 0 && unlockpt(pt) == 0, "pty");
    w = (struct winsize){24, 80, 0, 0}; say(ioctl(pt, TIOCSWINSZ, &w), "TIOCSWINSZ"); w.ws_row = 0;
    say(ioctl(pt, TIOCGWINSZ, &w), "TIOCGWINSZ"); say(w.ws_row * 1000 + w.ws_col, "size");
    say(ioctl(pt, TCGETS, &tt), "TCGETS"); printf("%o %o\n", tt.c_iflag, tt.c_lflag);
}

static void waiting(void) {
    int pp[2], ev = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE), tf = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), ep = epoll_create1(EPOLL_CLOEXEC);
    uint64_t u;
    char b[4096];
    need(pipe(pp) == 0, "pipe");
    for (int i = 0; i < 4; i++) say(read(ev, &u, 8) < 0 ? -errno : (long)u, "semaphore");
    say(write(ev, &(uint64_t){-1}, 8) < 0 ? -errno : 0, "eventfd too much");
    say(read(ev, &u, 4) < 0 ? -errno : 0, "eventfd short");
    struct itimerspec it = {{0, 1000000}, {0, 1}}; say(timerfd_settime(tf, 0, &it, NULL), "timerfd");
    struct pollfd f[] = {{tf, POLLIN, 0}, {-1, POLLIN, 0}, {999, POLLIN, 0}, {pp[0], POLLIN, 0}, {pp[1], POLLOUT, 0}};
    while (poll(f, 1, 1000) == 0) { } say(poll(f, 5, 0), "poll");
    for (int i = 0; i < 5; i++) printf("%d ", f[i].revents); say(read(tf, &u, 8), "timer"); printf("%d\n", u > 0);
    say(timerfd_settime(tf, 0, &(struct itimerspec){{0, 0}, {0, 1000000000}}, NULL) ? -errno : 0, "bad time");
    timerfd_settime(tf, 0, &(struct itimerspec){0}, NULL);
    struct epoll_event e = {EPOLLIN | EPOLLET, {.u64 = 42}}, got[4];
    say(epoll_ctl(ep, EPOLL_CTL_ADD, pp[0], &e), "add");
    say(epoll_ctl(ep, EPOLL_CTL_ADD, pp[0], &e) ? -errno : 0, "add again");
    say(epoll_ctl(ep, EPOLL_CTL_DEL, pp[1], &e) ? -errno : 0, "del of none");
    say(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e) ? -errno : 0, "itself");
    say(epoll_ctl(ep, EPOLL_CTL_ADD, open("f", O_RDONLY), &e) ? -errno : 0, "a file");
    say(epoll_ctl(ep, 9, pp[0], &e) ? -errno : 0, "unknown");
    say(epoll_wait(ep, got, 4, 0), "nothing"); need(write(pp[1], "abc", 3) == 3, "write");
    say(epoll_wait(ep, got, 4, 1000), "one"); printf("%u %lu\n", got[0].events, got[0].data.u64);
    say(epoll_wait(ep, got, 4, 0), "edge"); need(write(pp[1], "d", 1) == 1, "write"); sigset_t none; sigemptyset(&none);
    say(epoll_pwait(ep, got, 4, 0, &none), "new edge"); say(epoll_wait(ep, got, 0, 0) < 0 ? -errno : 0, "no room");
    say(epoll_pwait2(ep, got, 4, &(struct timespec){0, 1}, NULL), "pwait2");
    fd_set r, w; FD_ZERO(&r); FD_ZERO(&w); FD_SET(pp[0], &r); FD_SET(tf, &r); FD_SET(pp[1], &w);
    struct timeval tv = {1, 0}; say(select(20, &r, &w, NULL, &tv), "select");
    printf("%d%d%d\n", !!FD_ISSET(pp[0], &r), !!FD_ISSET(tf, &r), !!FD_ISSET(pp[1], &w)); FD_ZERO(&r); FD_SET(62, &r);
    say(select(63, &r, NULL, NULL, &tv) < 0 ? -errno : 0, "closed"); say(SC(SYS_select, -1, 0, 0, 0, &tv), "negative");
    say(pselect(0, NULL, NULL, NULL, &(struct timespec){0, 1000}, &none), "pselect");
    int in = inotify_init1(IN_NONBLOCK), wd = inotify_add_watch(in, ".", IN_CREATE | IN_DELETE | IN_CLOSE_WRITE);
    close(open("watched", O_CREAT | O_WRONLY, 0600)); unlink("watched"); ssize_t n = read(in, b, sizeof b);
    for (ssize_t i = 0; i < n;) { struct inotify_event *v = (void *)(b + i); printf("%x %s\n", v->mask, v->name);
    i += (ssize_t)(sizeof *v + v->len); } say(inotify_rm_watch(in, wd), "rm_watch");
    say(inotify_rm_watch(in, wd) ? -errno : 0, "again");
    int m = memfd_create("m", MFD_ALLOW_SEALING); need(ftruncate(m, 100) == 0, "ftruncate");
    say(fcntl(m, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE), "seal"); say(fcntl(m, F_GET_SEALS), "seals");
    say(write(m, "x", 1) < 0 ? -errno : 0, "sealed write"); say(ftruncate(m, 200) ? -errno : 0, "sealed growth");
    say(ftruncate(m, 50) ? -errno : 0, "shrink"); say(SC(SYS_memfd_create, "m", 0x1000), "flags");
    struct rlimit lim = {1000, 1000}; signal(SIGXFSZ, SIG_IGN); setrlimit(RLIMIT_FSIZE, &lim);
    int o = file("limited", ""); memset(b, 1, 2000); say(write(o, b, 900), "below the limit");
    say(write(o, b, 900), "up to the limit"); say(write(o, b, 900) < 0 ? -errno : 0, "above the limit");
    say(ftruncate(o, 5000) ? -errno : 0, "truncate above");
}

int main(void) {
    names(); descriptors(); waiting();
    return 0;
}
