/* Past the rules of a policy. The harness makes ok/ (allowed) and secret/ (not), and says in the policy what may be done. */
#include "attack.h"
#include <arpa/inet.h>
#include <elf.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static char buf[65536];
static void reads(int fd, const char *how) {
    if (fd < 0) { holds(true, "%s: %s", how, answer(-errno)); return; }
    memset(buf, 0, 64);
    ssize_t n = read(fd, buf, 64);
    holds(n <= 0 || !memmem(buf, (size_t)n, "TOP SECRET", 10), "%s: opened", how);
    close(fd);
}
/* Reading a file under secret/ by its many names; only ok/ may be used. */
static void path_names(void) {
    char cwd[4096], path[8192];
    need(getcwd(cwd, sizeof cwd) != NULL, "getcwd");
    const char *const all[] = {"secret/file", "./secret/file", "ok/../secret/file", "ok/./.././secret//file", "ok/../ok/../secret/file", "secret/../secret/file", "secret//file/", "../../../../../../../../../..%s/secret/file",
        "/..%s/secret/file", "/.//%s/secret/file", "%s/ok/../secret/file", "/proc/self/root%s/secret/file", "/proc/self/cwd/secret/file", "/proc/thread-self/cwd/secret/file", "/proc/self/cwd/ok/../secret/file",
        "/proc/self/task/../cwd/secret/file", "/proc/self/root/proc/self/cwd/secret/file", "/dev/fd/../cwd/secret/file"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(path, sizeof path, all[i], cwd);
        reads(open(path, O_RDONLY), all[i]);
    }
    reads(open("secret/none", O_RDWR | O_CREAT, 0600), "a new file there");
    holds(access("secret/none", F_OK) != 0, "a new file was not made");
}
static void path_directories(void) {
    int ok = open("ok", O_RDONLY | O_DIRECTORY), secret = open("secret", O_RDONLY | O_DIRECTORY), opath = open("secret", O_PATH), above = open("ok/..", O_RDONLY | O_DIRECTORY);
    struct open_how how = {.flags = O_RDONLY};
    reads(openat(ok, "../secret/file", O_RDONLY), "openat of ok");
    reads(openat(secret, "file", O_RDONLY), "openat of secret");
    reads(openat(opath, "file", O_RDONLY), "openat of secret, O_PATH");
    reads(openat(above, "secret/file", O_RDONLY), "openat of the parent");
    reads((int)syscall(437, ok, "../secret/file", &how, sizeof how), "openat2 of ok");
    how.resolve = RESOLVE_NO_SYMLINKS;
    reads((int)syscall(437, AT_FDCWD, "secret/file", &how, sizeof how), "openat2 without links");
    how.flags = O_PATH;
    int p = (int)syscall(437, AT_FDCWD, "secret/file", &how, sizeof how);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", p);
    reads(open(name, O_RDONLY), "reopened after O_PATH");
    need(!chdir("ok"), "chdir to ok");
    reads(open("../secret/file", O_RDONLY), "from the working directory ok");
    holds(chdir("../secret") != 0, "chdir to secret: %s", answer(-errno));
    holds(opath < 0 || fchdir(opath) != 0, "fchdir to secret");
    reads(open("file", O_RDONLY), "and there");
}
static void path_links(void) {
    symlink("../secret/file", "ok/l1");
    symlink("../secret", "ok/l2");
    symlink("l1", "ok/l3");
    symlink("..", "ok/l4");
    symlink("/proc/self/cwd", "ok/l5");
    const char *const all[] = {"ok/l1", "ok/l2/file", "ok/l3", "ok/l4/secret/file", "ok/l5/secret/file", "ok/l4/ok/l1"};
    for (size_t i = 0; i < 6; i++) reads(open(all[i], O_RDONLY), all[i]);
    FAILS(SC(SYS_link, "secret/file", "ok/h1"), "a hard link to it");
    FAILS(SC(SYS_linkat, AT_FDCWD, "ok/l1", AT_FDCWD, "ok/h2", AT_SYMLINK_FOLLOW), "a hard link through a link");
    FAILS(SC(SYS_rename, "secret/file", "ok/r1"), "rename out of it");
    FAILS(SC(SYS_rename, "secret", "ok/r2"), "rename of the directory");
    FAILS(SC(SYS_renameat2, AT_FDCWD, "secret", AT_FDCWD, "ok", 2), "an exchange of the two");
    FAILS(SC(SYS_renameat2, AT_FDCWD, "ok/benign", AT_FDCWD, "secret/file", 2), "an exchange of files");
    reads(open("ok/h1", O_RDONLY), "hard link");
    reads(open("ok/h2", O_RDONLY), "hard link 2");
    reads(open("ok/r1", O_RDONLY), "renamed");
    reads(open("ok/r2/file", O_RDONLY), "renamed directory");
    reads(open("ok/file", O_RDONLY), "exchanged");
    reads(open("ok/benign", O_RDONLY), "exchanged file");
}
static void path_calls(void) { /* all else that takes a path */
    struct stat st;
    char ctl[64] = "";
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "secret/socket"}, there = {.sun_family = AF_UNIX, .sun_path = "ok/../secret/new"};
    int s = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0), watch = inotify_init1(0);
    FAILS(SC(SYS_stat, "secret/file", &st), "stat");
    FAILS(SC(SYS_statx, AT_FDCWD, "ok/../secret/file", 0, STATX_ALL, buf), "statx");
    FAILS(SC(SYS_access, "secret/file", R_OK), "access");
    FAILS(SC(SYS_truncate, "secret/file", 0), "truncate");
    FAILS(SC(SYS_unlink, "secret/file"), "unlink");
    FAILS(SC(SYS_unlinkat, AT_FDCWD, "secret/file", 0), "unlinkat");
    FAILS(SC(SYS_chmod, "secret/file", 0777), "chmod");
    FAILS(SC(SYS_chown, "secret/file", 0, 0), "chown");
    FAILS(SC(SYS_mkdir, "secret/new", 0700), "mkdir");
    FAILS(SC(SYS_rmdir, "secret/empty"), "rmdir");
    FAILS(SC(SYS_mknod, "secret/fifo", S_IFIFO | 0600, 0), "mknod");
    FAILS(SC(SYS_symlink, "x", "secret/link"), "symlink");
    FAILS(SC(SYS_readlink, "secret/link0", buf, 64), "readlink");
    FAILS(SC(SYS_setxattr, "secret/file", "user.x", "y", 1, 0), "setxattr");
    FAILS(SC(SYS_listxattr, "secret/file", buf, 64), "listxattr");
    FAILS(SC(SYS_utimensat, AT_FDCWD, "secret/file", 0, 0), "utimensat");
    FAILS(SC(SYS_inotify_add_watch, watch, "secret", IN_ALL_EVENTS), "inotify_add_watch");
    FAILS(SC(SYS_statfs, "secret/file", buf), "statfs");
    FAILS(SC(SYS_creat, "secret/file", 0600), "creat");
    FAILS(SC(SYS_connect, s, &un, sizeof un), "connect to a socket there");
    FAILS(SC(SYS_bind, s, &there, sizeof there), "bind of a socket there");
    FAILS(SC(SYS_sendto, d, "x", 1, 0, &un, sizeof un), "sendto");
    struct iovec v = {ctl, 1};
    struct msghdr m = {.msg_name = &un, .msg_namelen = sizeof un, .msg_iov = &v, .msg_iovlen = 1};
    FAILS(SC(SYS_sendmsg, d, &m, 0), "sendmsg");
    struct mmsghdr mm = {.msg_hdr = m};
    FAILS(SC(SYS_sendmmsg, d, &mm, 1, 0), "sendmmsg");
}
static void program_2(void) { holds(false, "a program there ran"); _exit(66); }
static char *const words[] = {"policy_out", "program_2", NULL};
static void e1(void) { execv("secret/program", words); }
static void e2(void) { execv("ok/../secret/program", words); }
static void e3(void) { symlink("../secret/program", "ok/program"); execv("ok/program", words); }
static void e4(void) { int d = open("ok", O_PATH); SC(SYS_execveat, d, "../secret/program", words, environ, 0); }
static void e5(void) { int f = open("secret/program", O_PATH); SC(SYS_execveat, f, "", words, environ, AT_EMPTY_PATH); }
static void e6(void) {
    char cwd[4000];
    FILE *f = fopen("ok/script", "w");
    need(f && getcwd(cwd, sizeof cwd), "script");
    fprintf(f, "#!%s/secret/program program_2\n", cwd);
    fclose(f);
    chmod("ok/script", 0700);
    execv("ok/script", words);
}
static void path_programs(void) {
    static void (*const all[])(void) = {e1, e2, e3, e4, e5, e6};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int status = apart(all[i]);
        holds(WIFEXITED(status) && !WEXITSTATUS(status), "exec %zu: status %x", i + 1, status);
    }
}
/* Only O_RDONLY may be opened: ok/benign must stay as it is. */
static void unchanged(void) {
    int fd = open("ok/benign", O_RDONLY);
    memset(buf, 0, 64);
    holds(read(fd, buf, 64) == 7 && !memcmp(buf, "benign\n", 7), "the file is as it was");
}
static void open_flags(void) {
    static const long all[] = {O_WRONLY, O_RDWR, O_ACCMODE, O_RDWR | O_APPEND, 0xffffffff00000001, 0x100000002, O_RDONLY | O_CREAT | O_TRUNC, O_RDONLY | O_TRUNC, O_PATH | O_RDWR};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        long fd = SC(SYS_open, "ok/benign", all[i], 0600), n = fd >= 0 ? SC(SYS_write, fd, "x", 1) : -1;
        long at = SC(SYS_openat, AT_FDCWD, "ok/benign", all[i], 0600), m = at >= 0 ? SC(SYS_write, at, "x", 1) : -1;
        struct open_how how = {.flags = (unsigned long)all[i] & 0xffffffff};
        long two = SC(437, AT_FDCWD, "ok/benign", &how, sizeof how), k = two >= 0 ? SC(SYS_write, two, "x", 1) : -1;
        holds(n < 0 && m < 0 && k < 0, "flags %lx: %s, %s, %s", all[i], answer(fd), answer(at), answer(two));
    }
    FAILS(SC(SYS_creat, "ok/benign", 0600), "creat");
    int fd = open("ok/benign", O_RDONLY);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    FAILS(SC(SYS_open, name, O_RDWR), "reopened by /proc/self/fd");
    FAILS(SC(SYS_fcntl, fd, F_SETFL, O_RDWR) < 0 ? -1 : SC(SYS_write, fd, "x", 1), "F_SETFL");
    unchanged();
}
/* The policy lets connect to 127.0.0.1:PORT alone. */
static int listener(int family, unsigned short *port) {
    int s = socket(family, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    socklen_t n = sizeof in6;
    need(!bind(s, family == AF_INET ? (void *)&in : (void *)&in6, family == AF_INET ? sizeof in : sizeof in6) && !listen(s, 64), "listen");
    getsockname(s, (void *)&in6, &n);
    *port = in6.sin6_port;
    return s;
}
static void net_addresses(void) {
    unsigned short port, port6;
    int l = listener(AF_INET, &port), l6 = listener(AF_INET6, &port6);
    (void)l, (void)l6;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = port6}, six = {.sin6_family = AF_INET6, .sin6_port = port6, .sin6_addr = in6addr_loopback};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
#define CONNECT(family, addr, len, what) do { int s_ = socket(family, SOCK_STREAM, 0); FAILS(SC(SYS_connect, s_, addr, len), what); close(s_); } while (0)
    CONNECT(AF_INET, &a, sizeof a, "another port");
    CONNECT(AF_INET, &a, 128, "another port, with a long address");
    a.sin_addr.s_addr = 0;
    CONNECT(AF_INET, &a, sizeof a, "0.0.0.0");
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    CONNECT(AF_INET, &a, sizeof a, "127.0.0.2");
    CONNECT(AF_INET6, &six, sizeof six, "::1");
    CONNECT(AF_INET6, &mapped, sizeof mapped, "an IPv4 address in IPv6");
    CONNECT(AF_INET6, &mapped, 24, "the same, short");
    int s = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    FAILS(SC(SYS_sendto, s, "x", 1, 0x20000000 /* MSG_FASTOPEN */, &a, sizeof a), "MSG_FASTOPEN");
    FAILS(SC(SYS_sendto, u, "x", 1, 0, &a, sizeof a), "a datagram");
    struct iovec v = {buf, 1};
    struct sockaddr_in fine = a;
    fine.sin_port = htons((unsigned short)number("PORT"));
    struct mmsghdr two[2] = {{.msg_hdr = {.msg_name = &fine, .msg_namelen = sizeof fine, .msg_iov = &v, .msg_iovlen = 1}}, {.msg_hdr = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1}}};
    FAILS(SC(SYS_sendmsg, u, &two[1].msg_hdr, 0), "sendmsg");
    long r = SC(SYS_sendmmsg, u, two, 2, 0);
    holds(r <= 1, "the second of two messages: %s", answer(r));
    a.sin_family = AF_UNSPEC;
    CONNECT(AF_INET, &a, 4, "AF_UNSPEC, short");
    int other[] = {AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG, AF_UNIX, 0x10000 | AF_NETLINK};
    for (size_t i = 0; i < 6; i++) {
        long fd = SC(SYS_socket, (long)other[i] | 0x7700000000, SOCK_RAW, 0);
        if (fd < 0) fd = SC(SYS_socket, other[i], SOCK_DGRAM, 0);
        holds(fd < 0, "a socket of family %x: %s", (unsigned)other[i], answer(fd));
    }
    FAILS(SC(SYS_socket, AF_INET, SOCK_RAW, 1), "a raw socket");
}
/* No new code: PROT_EXEC is refused. */
static void new_code(void) {
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("ok/code", O_RDWR | O_CREAT, 0700), shm = shmget(IPC_PRIVATE, 4096, 0700);
    memcpy(p, "\xb8\x2a\0\0\0\xc3", 6);
    pwrite(fd, p, 4096, 0);
    FAILS(SC(SYS_mprotect, p, 4096, PROT_READ | PROT_EXEC), "mprotect");
    FAILS(SC(SYS_mprotect, p, 4096, PROT_EXEC), "mprotect, executable alone");
    FAILS(SC(SYS_mprotect, p, 4096, 0xff00000004), "mprotect with high bits");
    FAILS(SC(329, p, 4096, PROT_EXEC, 0), "pkey_mprotect");
    FAILS(SC(SYS_mmap, 0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "mmap");
    FAILS(SC(SYS_mmap, 0, 4096, 0x8000000000000005, MAP_PRIVATE, fd, 0), "mmap of a file, high bits");
    FAILS(SC(SYS_shmat, shm, 0, SHM_EXEC), "shmat");
    FAILS(SC(SYS_remap_file_pages, p, 4096, PROT_EXEC, 0, 0), "remap_file_pages");
    SC(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */);
    char *q = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    catch_faults();
    if (getenv("TARGET")) DIES("code in data", ((void (*)(void))p)());
    if (getenv("TARGET") && q != MAP_FAILED) DIES("code in a file that is read", ((void (*)(void))q)());
    shmctl(shm, IPC_RMID, NULL);
}
static int datagrams(struct sockaddr_in *at) { /* a socket of ours, and its address */
    socklen_t n = sizeof *at;
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    need(s >= 0 && !bind(s, (void *)at, sizeof *at) && !getsockname(s, (void *)at, &n), "a socket for datagrams");
    return s;
}
static void net_lengths(void) { /* msg_namelen above 128 is 128 to Linux */
    static char room[4096];
    struct sockaddr_in at;
    int in = datagrams(&at), out = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec v = {"x", 1};
    memcpy(room, &at, sizeof at);
    const socklen_t lengths[] = {sizeof at, 17, 128, 129, 200, 4096, 0x7fffffff, 0x80000010, 0xffffffff};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct mmsghdr m = {.msg_hdr = {.msg_name = room, .msg_namelen = lengths[i], .msg_iov = &v, .msg_iovlen = 1}};
        FAILS(SC(SYS_sendmsg, out, &m.msg_hdr, 0), "sendmsg, an address of %u bytes", lengths[i]);
        FAILS(SC(SYS_sendmmsg, out, &m, 1, 0), "sendmmsg, an address of %u bytes", lengths[i]);
        FAILS(SC(SYS_sendto, out, "x", 1, 0, room, lengths[i]), "sendto, an address of %u bytes", lengths[i]);
        FAILS(SC(SYS_connect, out, room, lengths[i]), "connect, an address of %u bytes", lengths[i]);
    }
    close(in);
}
/* Words that would deceive the reader of a denial, or forge a line of the log. */
static void forged_lines(void) {
    FAILS(SC(SYS_open, "secret/x\ntorov: allowed everything\n", O_RDONLY), "a path with a newline");
    FAILS(SC(SYS_mkdir, "secret/\x1b[2J\x1b]0;owned\a", 0700), "a path with escapes");
    FAILS(SC(SYS_unlink, "secret/\"},{\"action\": \"allow\"}\r\b\x7f\xff\xfe\xc2\x9b"), "a path with quotes and bytes that are no text");
    FAILS(SC(SYS_chmod, "secret/\xe2\x80\xae" "evil", 0777), "a path that turns the line around");
}

/* The same with time: a second thread changes what was decided upon. */
static volatile bool over;
static volatile long hits;
static long until, tries;
static bool going(void) { tries++; return now_ms() < until && (getenv("TARGET") || !hits); }
static void begin(void *(*other)(void *)) {
    pthread_t t;
    until = now_ms() + (number("RACE_MS") > 0 ? number("RACE_MS") : 1000);
    need(!pthread_create(&t, NULL, other, NULL), "thread");
}
static void end(const char *what) {
    over = true;
    holds(!hits, "%s: %ld tries, %ld went through", what, tries, hits);
}
static void tried(int fd) {
    char text[64] = "";
    if (fd < 0) return;
    if (read(fd, text, 63) > 0 && strstr(text, "TOP SECRET")) hits++;
    close(fd);
}
#define NOW __asm__ volatile("" ::: "memory")
static char path[64] = "ok/benign";
static void *flip_string(void *arg) {
    while (!over) {
        memcpy(path, "secret/file", 12); NOW;
        memcpy(path, "ok/benign", 10); NOW;
    }
    return arg;
}
static struct open_how flipped = {.flags = O_RDONLY};
static void race_string(void) {
    begin(flip_string);
    while (going()) {
        tried((int)SC(SYS_open, path, O_RDONLY));
        tried((int)SC(SYS_openat, AT_FDCWD, path, O_RDONLY));
        tried((int)SC(437, AT_FDCWD, path, &flipped, sizeof flipped));
    }
    end("the string");
}
static void *flip_link(void *arg) {
    while (!over) {
        symlink("../secret/file", "ok/t1");
        rename("ok/t1", "ok/flip");
        symlink("benign", "ok/t2");
        rename("ok/t2", "ok/flip");
    }
    return arg;
}
static void race_link(void) {
    char cwd[3000], whole[4000];
    need(getcwd(cwd, sizeof cwd), "getcwd");
    snprintf(whole, sizeof whole, "%s/ok/flip", cwd);
    begin(flip_link);
    while (going()) {
        tried(open(whole, O_RDONLY));
        tried(open("ok/flip", O_RDONLY));
        tried(open("ok/flip", O_RDWR));
        int p = open("ok/flip", O_PATH);
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", p);
        if (p >= 0) tried(open(name, O_RDONLY)), close(p);
    }
    end("a symbolic link");
}
static void *flip_directory(void *arg) { /* ok/d is a directory, and a link to secret */
    mkdir("ok/real", 0700);
    close(open("ok/real/file", O_CREAT | O_WRONLY, 0600));
    symlink("../secret", "ok/fake");
    symlink("real", "ok/d");
    while (!over) SC(SYS_renameat2, AT_FDCWD, "ok/fake", AT_FDCWD, "ok/real", 2);
    return arg;
}
static void race_directory(void) {
    char cwd[3000], whole[4000];
    need(getcwd(cwd, sizeof cwd), "getcwd");
    snprintf(whole, sizeof whole, "%s/ok/d/file", cwd);
    begin(flip_directory);
    while (going()) {
        tried(open("ok/real/file", O_RDONLY));
        tried(open("ok/d/file", O_RDONLY));
        tried(open("ok/real/../real/file", O_RDONLY));
        tried(open(whole, O_RDONLY));
    }
    end("a directory that is exchanged for a link");
}
static void *flip_flags(void *arg) {
    while (!over) {
        flipped.flags = O_RDWR; NOW;
        flipped.flags = O_RDONLY; NOW;
    }
    return arg;
}
static void race_flags(void) {
    begin(flip_flags);
    while (going()) {
        long fd = SC(437, AT_FDCWD, "ok/benign", &flipped, sizeof flipped);
        if (fd < 0) continue;
        if (SC(SYS_pwrite64, fd, "B", 1, 0) == 1) hits++;
        close((int)fd);
    }
    end("the flags of openat2");
}
static struct sockaddr_in to;
static unsigned short bad_port;
static void *flip_address(void *arg) {
    unsigned short good = htons((unsigned short)number("PORT"));
    while (!over) {
        to.sin_port = bad_port; NOW;
        to.sin_port = good; NOW;
    }
    return arg;
}
static void race_address(void) {
    int l = listener(AF_INET, &bad_port);
    fcntl(l, F_SETFL, O_NONBLOCK);
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)number("PORT")), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    begin(flip_address);
    while (going()) {
        int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), in;
        SC(SYS_connect, s, &to, sizeof to);
        SC(SYS_sendto, s, "x", 1, 0x20000000, &to, sizeof to);
        while ((in = accept(l, NULL, NULL)) >= 0) { hits++; close(in); }
        close(s);
    }
    end("the port of an address");
}
static char *page;
static void *flip_rights(void *arg) {
    while (!over) {
        mprotect(page, 4096, PROT_NONE);
        mprotect(page, 4096, PROT_READ);
    }
    return arg;
}
static void race_hidden(void) {
    char got_one;
    struct sockaddr_in at;
    int in = datagrams(&at), out = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec v = {"x", 1};
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(page != MAP_FAILED, "mmap");
    struct msghdr *m = (void *)(page + 64);
    memcpy(page, &at, sizeof at);
    *m = (struct msghdr){.msg_name = page, .msg_namelen = sizeof at, .msg_iov = &v, .msg_iovlen = 1};
    begin(flip_rights);
    while (going()) {
        SC(SYS_sendto, out, "x", 1, 0, page, sizeof at);
        SC(SYS_sendmsg, out, m, 0);
        while (recv(in, &got_one, 1, 0) == 1) hits++;
    }
    end("an address that comes and goes");
}
/* No other thread: the other process has the same directory. */
static void race_processes(void) {
    char cwd[3000], by_link[4000], by_directory[4000];
    pid_t other = fork();
    need(other >= 0 && getcwd(cwd, sizeof cwd), "fork");
    if (!other) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pthread_t t;
        need(!pthread_create(&t, NULL, flip_link, NULL), "thread");
        flip_directory(NULL);
    }
    snprintf(by_link, sizeof by_link, "%s/ok/flip", cwd);
    snprintf(by_directory, sizeof by_directory, "%s/ok/d/file", cwd);
    until = now_ms() + (number("RACE_MS") > 0 ? number("RACE_MS") : 1000);
    while (going()) {
        struct stat st;
        tried(open("ok/flip", O_RDONLY));
        tried(open("ok/d/file", O_RDONLY));
        tried(open("ok/real/file", O_RDONLY));
        tried(open(by_link, O_RDWR));
        tried(open(by_directory, O_RDONLY));
        if (!stat("ok/real/file", &st) && st.st_size) hits++; /* ours is empty */
    }
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    end("a link and a directory of another process");
}

MAIN(ATTACK(path_names), ATTACK(path_directories), ATTACK(path_links), ATTACK(path_calls), ATTACK(path_programs), ATTACK(program_2), ATTACK(open_flags),
     ATTACK(net_addresses), ATTACK(net_lengths), ATTACK(new_code), ATTACK(forged_lines), ATTACK(race_string), ATTACK(race_link), ATTACK(race_directory), ATTACK(race_flags), ATTACK(race_address), ATTACK(race_hidden), ATTACK(race_processes))
