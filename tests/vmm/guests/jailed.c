/* Looks around: each argument is a question, each answer a line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *error(int r) { return r < 0 ? strerrorname_np(errno) : "fine"; }

static void numbers(const char *path) {
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && (strcmp(path, "/proc/self/fd") || atoi(e->d_name) != dirfd(d))) printf("%s%s", n++ ? " " : "", e->d_name);
    printf("%s\n", d ? "" : error(-1));
}

static void entries(const char *path) {
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) printf("%d\n", n);
    else puts(error(-1));
}

static void status(void) {
    static const char *const lines[] = {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"};
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
            if (!strncmp(line, lines[i], strlen(lines[i])) && line[strlen(lines[i])] == ':') fputs(line, stdout);
    if (f) fclose(f);
}

static void interfaces(void) {
    char line[256];
    FILE *f = fopen("/proc/net/dev", "r");
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':'), *name = line + strspn(line, " ");
        struct ifreq r = {0};
        if (!colon || strstr(line, "|")) continue;
        *colon = 0;
        snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
        if (ioctl(s, SIOCGIFFLAGS, &r) < 0) printf("%s %s\n", name, error(-1));
        else printf("%s %s\n", name, r.ifr_flags & IFF_UP ? "up" : "down");
    }
    if (f) fclose(f);
    close(s);
}

static void *idle(void *arg) { (void)arg; pause(); return NULL; }

/* How many bytes of a kind can be had, in pieces of 1 MiB? */
static int mebibytes(const char *kind) {
    const size_t piece = 1 << 20;
    int n = 0;
    if (!strcmp(kind, "brk")) {
        while (n < 4096 && sbrk((intptr_t)piece) != (void *)-1) n++;
    } else if (!strcmp(kind, "grow")) {
        char *p = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q = p;
        for (n = 1; n < 4096 && q != MAP_FAILED; n++) if ((q = mremap(p, (size_t)n * piece, (size_t)(n + 1) * piece, MREMAP_MAYMOVE)) != MAP_FAILED) p = q; else break;
    } else if (!strcmp(kind, "protect")) {
        char *p = mmap(NULL, 4096 * piece, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        while (n < 4096 && !mprotect(p + (size_t)n * piece, piece, PROT_READ | PROT_WRITE)) n++;
    } else {
        int flags = !strcmp(kind, "shared") ? MAP_SHARED : MAP_PRIVATE;
        while (n < 4096) {
            char *p = mmap(NULL, piece, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED) break;
            *p = 1;
            if (!strcmp(kind, "given") && munmap(p, piece)) break;
            n++;
        }
    }
    return n;
}

/* Writes for ever, by one of the calls that write. */
static void output(const char *kind, int fd) {
    static char text[5000];
    memset(text, 'x', sizeof text);
    struct iovec v[3] = {{text, 1000}, {text, 0}, {text, 4000}};
    int file = memfd_create("x", 0), pair[2];
    if ((!strcmp(kind, "sendfile") && write(file, text, sizeof text) < 0) || pipe(pair)) return;
    for (;;) {
        ssize_t n = -1;
        if (!strcmp(kind, "write")) n = write(fd, text, sizeof text);
        else if (!strcmp(kind, "writev")) n = writev(fd, v, 3);
        else if (!strcmp(kind, "sendfile")) { off_t at = 0; n = sendfile(fd, file, &at, sizeof text); }
        else if (!strcmp(kind, "vmsplice")) n = vmsplice(fd, v, 3, 0);
        else if (!strcmp(kind, "sendmsg")) { struct msghdr h = {.msg_iov = v, .msg_iovlen = 3}; n = sendmsg(fd, &h, 0); }
        else if (!strcmp(kind, "sendto")) n = send(fd, text, sizeof text, 0);
        if (n < 0) { dprintf(2, "%s\n", error(-1)); return; }
    }
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        char *colon = strchr(argv[i], ':'), text[4096];
        const char *what = argv[i], *path = colon ? colon + 1 : "";
        size_t n = colon ? (size_t)(colon - what) : strlen(what);
        struct stat st;
#define IS(s) (n == sizeof s - 1 && !strncmp(what, s, n))
        printf("? %s ", what);
        if (IS("status")) puts(""), status();
        else if (IS("ids")) printf("%d %d %d %d %d\n", getuid(), geteuid(), getgid(), getegid(), getgroups(0, NULL));
        else if (IS("pids")) printf("%d %d\n", getpid(), getppid());
        else if (IS("hostname")) gethostname(text, sizeof text), puts(text);
        else if (IS("procs")) numbers("/proc");
        else if (IS("fds")) numbers("/proc/self/fd");
        else if (IS("entries")) entries(path);
        else if (IS("net")) puts(""), interfaces();
        else if (IS("cwd")) puts(getcwd(text, sizeof text) ? text : error(-1));
        else if (IS("write")) { int fd = open(path, O_WRONLY | O_CREAT, 0600); puts(error(fd < 0 ? fd : (int)write(fd, "x", 1))); if (fd >= 0) close(fd); }
        else if (IS("read")) { int fd = open(path, O_RDONLY); ssize_t k = fd < 0 ? -1 : read(fd, text, 40); printf("%s %.*s\n", error((int)k), k > 0 ? (int)strcspn(text, "\n") < (int)k ? (int)strcspn(text, "\n") : (int)k : 0, text); if (fd >= 0) close(fd); }
        else if (IS("stat")) puts(error(stat(path, &st)));
        else if (IS("mkdir")) puts(error(mkdir(path, 0700)));
        else if (IS("chdir")) puts(error(chdir(path)));
        else if (IS("chroot")) puts(error(chroot(path)));
        else if (IS("kill")) puts(error(kill(atoi(path), 0)));
        else if (IS("mknod")) puts(error(mknod(path, S_IFCHR | 0600, 1 << 8 | 3)));
        else if (IS("unix")) {
            struct sockaddr_un a = {.sun_family = AF_UNIX};
            int s = socket(AF_UNIX, SOCK_STREAM, 0);
            snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
            size_t len = sizeof a;
            if (*path == '@') a.sun_path[0] = 0, len = offsetof(struct sockaddr_un, sun_path) + strlen(path);
            puts(error(s < 0 ? s : connect(s, (struct sockaddr *)&a, (socklen_t)len)));
            close(s);
        } else if (IS("tcp") || IS("listen")) {
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(path)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            int s = socket(AF_INET, SOCK_STREAM, 0);
            if (s < 0) puts(error(s));
            else if (*what == 't') puts(error(connect(s, (struct sockaddr *)&a, sizeof a)));
            else { int r = bind(s, (struct sockaddr *)&a, sizeof a); puts(error(r < 0 ? r : listen(s, 1))); }
            if (*what == 't') close(s);
        } else if (IS("limit")) {
            struct rlimit r;
            getrlimit(atoi(path), &r);
            printf("%lld %lld\n", (long long)r.rlim_cur, (long long)r.rlim_max);
        } else if (IS("raise")) {
            struct rlimit r;
            getrlimit(atoi(path), &r);
            r.rlim_cur = r.rlim_max = r.rlim_max + 1;
            puts(error(setrlimit(atoi(path), &r)));
        } else if (IS("children")) { /* how many can live at once? */
            static pid_t child[1000];
            int k = 0;
            while (k < 1000 && (child[k] = fork()) > 0) k++;
            if (k < 1000 && child[k] == 0) for (;;) pause();
            printf("%d %s\n", k, k < 1000 ? error(-1) : "all");
            while (k) kill(child[--k], SIGKILL);
        } else if (IS("ended")) { /* and one after the other? */
            int k = 0, end;
            for (pid_t pid; k < atoi(path) && (pid = fork()) >= 0; k++) {
                if (!pid) { if (k & 1) raise(SIGKILL); _exit(0); }
                waitpid(pid, &end, 0);
            }
            printf("%d\n", k);
        } else if (IS("exec")) {
            puts("");
            execv(path, argv + i); /* its argv[0] is ours; the rest goes on */
            puts(error(-1));
        } else if (IS("memory")) printf("%d\n", mebibytes(path));
        else if (IS("output")) fflush(stdout), output(path, 1);
        else if (IS("outputs")) { for (int k = 0; k < 4; k++) if (!fork()) output(path, 1); fflush(stdout); output(path, 1); }
        else if (IS("threads")) {
            pthread_attr_t attr;
            pthread_t t;
            int k = 0, r = 0;
            pthread_attr_init(&attr);
            pthread_attr_setstacksize(&attr, 16 << 10);
            while (k < 500 && !(r = pthread_create(&t, &attr, idle, NULL))) k++;
            printf("%d %s\n", k, strerrorname_np(r));
        } else if (IS("open")) {
            int k = 0, fd;
            while (k < 5000 && (fd = open("/dev/null", O_RDONLY)) >= 0) k++;
            printf("%d %s\n", k, error(-1));
            for (int c = 0; c < k; c++) close(3 + c);
        } else if (IS("fill")) {
            int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
            signal(SIGXFSZ, SIG_IGN);
            ssize_t k, all = 0;
            while (all < 100 << 20 && (k = write(fd, text, sizeof text)) > 0) all += k;
            printf("%zd %s ", all, error(-1));
            printf("%s\n", error(ftruncate(fd, 1 << 30)));
        } else if (IS("daemon")) { if (!fork() && setsid() > 0 && !fork()) { for (;;) { } } puts(""); }
        else if (IS("spins")) { for (int k = 0; k < 3; k++) if (!fork()) for (;;) { } for (;;) pause(); }
        else if (IS("dumpable")) printf("%d\n", prctl(PR_GET_DUMPABLE));
        else if (IS("parent")) { /* the supervisor, where there is one */
            struct rlimit one = {1, 1};
            int killed = kill(getppid(), SIGKILL), e = errno, limited = prlimit(getppid(), RLIMIT_CPU, &one, NULL);
            printf("%s", limited ? error(-1) : "fine");
            errno = e;
            printf(" %s\n", error(killed));
        } else if (IS("sleep")) puts(""), sleep((unsigned)atoi(path));
        else if (IS("spin")) for (;;) { }
        else if (IS("raise-signal")) fflush(stdout), kill(getpid(), atoi(path)), puts("alive");
        else if (IS("status-of-exit")) fflush(stdout), exit(atoi(path));
        else puts("no such question");
    }
    return 0;
}
