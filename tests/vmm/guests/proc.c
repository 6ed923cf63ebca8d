/* What /proc says about this very program, held against what the program knows. Every line is the same natively. */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 20];
static size_t length;
static void say(const char *what, long v) { printf("%s: %ld\n", what, v); }

static int slurp_fd(int fd) {
    ssize_t n;
    length = 0;
    if (fd < 0) { text[0] = 0; return -1; }
    while ((n = read(fd, text + length, sizeof text - 1 - length)) > 0) length += (size_t)n;
    text[length] = 0;
    close(fd);
    return 0;
}
static int slurp(const char *path) { return slurp_fd(open(path, O_RDONLY)); }
static unsigned long value(const char *name, int base) {
    char *p = strstr(text, name);
    return p ? strtoul(p + strlen(name), NULL, base) : 123456789;
}

struct line { unsigned long lo, hi, offset, inode; char prot[5], path[PATH_MAX]; };
static int line_of(uintptr_t addr, struct line *l) {
    slurp("/proc/self/maps");
    for (char *p = text; *p; p = strchr(p, '\n') + 1) {
        unsigned ma, mi;
        l->path[0] = 0;
        char copy[PATH_MAX + 100];
        size_t n = (size_t)(strchr(p, '\n') - p);
        memcpy(copy, p, n);
        copy[n] = 0;
        if (sscanf(copy, "%lx-%lx %4s %lx %x:%x %lu %s", &l->lo, &l->hi, l->prot, &l->offset, &ma, &mi, &l->inode, l->path) >= 7 &&
            addr >= l->lo && addr < l->hi) return 0;
    }
    return -1;
}

static void exe(const char *how, int dir, const char *path, const char *want) {
    char link[PATH_MAX] = "";
    struct stat a, b, c;
    ssize_t n = readlinkat(dir, path, link, sizeof link - 1);
    int fd = openat(dir, path, O_RDONLY), same = fd >= 0 && !fstat(fd, &a) && !stat(want, &b) && !fstatat(dir, path, &c, 0) &&
             a.st_ino == b.st_ino && a.st_dev == b.st_dev && c.st_ino == b.st_ino;
    printf("exe by %s: link %d, file %d, access %d\n", how, n > 0 && !strcmp(link, want), same, faccessat(dir, path, X_OK, 0));
    if (fd >= 0) close(fd);
}

static int entries(const char *path, char *list, size_t room, int (*known)(int)) {
    DIR *d = opendir(path);
    int n = 0, strange = 0;
    list[0] = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (*e->d_name == '.') continue;
        n++;
        if (!known(atoi(e->d_name))) strange++;
        snprintf(list + strlen(list), room - strlen(list), " %s", e->d_name);
    }
    if (d) closedir(d);
    return strange ? -strange : n;
}

static int tids[3], ntids = 1;
static pthread_barrier_t ready, done;
static void *thread(void *arg) {
    tids[(long)arg] = (int)syscall(SYS_gettid);
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR2);
    if ((long)arg == 2) pthread_sigmask(SIG_BLOCK, &s, NULL);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&done);
    return NULL;
}
static int is_tid(int id) {
    for (int i = 0; i < ntids; i++) if (tids[i] == id) return 1;
    return 0;
}
static int is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }
static void handler(int s) { (void)s; }

int main(int argc, char **argv, char **envp) {
    char here[PATH_MAX], path[PATH_MAX], list[4096];
    struct line l, k;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!realpath(argv[0], here)) return 1;
    int self = open("/proc/self", O_RDONLY | O_DIRECTORY), own = getpid();
    tids[0] = own;

    exe("self", AT_FDCWD, "/proc/self/exe", here);
    exe("slashes", AT_FDCWD, "/proc//self/./exe", here);
    exe("thread-self", AT_FDCWD, "/proc/thread-self/exe", here);
    snprintf(path, sizeof path, "/proc/%d/exe", own);
    exe("pid", AT_FDCWD, path, here);
    snprintf(path, sizeof path, "/proc/self/task/%d/exe", own);
    exe("task", AT_FDCWD, path, here);
    exe("directory", self, "exe", here);
    int root = open("/proc", O_RDONLY | O_DIRECTORY);
    exe("two steps", root, "self/exe", here);
    int cwd = open(".", O_RDONLY);
    if (chdir("/proc/self")) return 1;
    exe("working directory", AT_FDCWD, "exe", here);
    slurp("cmdline");
    say("cmdline by the working directory", !strcmp(text, argv[0]));
    if (fchdir(cwd)) return 1;
    struct stat st;
    say("lstat of exe is a link", !lstat("/proc/self/exe", &st) && S_ISLNK(st.st_mode));
    say("exe of init is not ours", readlink("/proc/1/exe", path, sizeof path) > 0 && !strncmp(path, here, strlen(here)));

    slurp("/proc/self/cmdline");
    size_t at = 0;
    for (int i = 0; i < argc; i++) at += strlen(argv[i]) + 1;
    say("cmdline", length == at && !memcmp(text, argv[0], at));
    argv[0][0] ^= 1;
    slurp_fd(openat(self, "cmdline", O_RDONLY));
    say("cmdline is the memory", length == at && !memcmp(text, argv[0], at));
    argv[0][0] ^= 1;
    slurp("/proc/thread-self/environ");
    size_t n = 0;
    for (char **e = envp; *e; e++) n += strlen(*e) + 1;
    say("environ", length == n && (!*envp || !memcmp(text, *envp, n)));
    slurp("/proc/self/auxv");
    Elf64_auxv_t *aux = (void *)text;
    int wrong = 0, seen = 0;
    for (; aux->a_type; aux++, seen++) wrong += getauxval(aux->a_type) != aux->a_un.a_val && aux->a_type != AT_HWCAP;
    say("auxv, wrong", wrong);
    say("auxv, some", seen > 15);

    line_of((uintptr_t)main, &l);
    printf("main: %s, program %d, a file's inode %d\n", l.prot, !strcmp(l.path, here), !stat(here, &st) && l.inode == st.st_ino);
    char bytes[64];
    int fd = open(here, O_RDONLY);
    ssize_t got = pread(fd, bytes, sizeof bytes, (off_t)(l.offset + ((uintptr_t)text - (uintptr_t)text) + ((uintptr_t)handler - l.lo)));
    say("its offset", got == sizeof bytes && !memcmp(bytes, (void *)handler, 4));
    close(fd);
    line_of((uintptr_t)&l, &l);
    printf("stack: %s %s\n", l.prot, l.path);
    char *low = (char *)syscall(SYS_brk, 0);
    syscall(SYS_brk, low + 4096); /* sbrk(3) of musl refuses */
    low = (char *)((uintptr_t)low & ~4095ul) + 4095;
    line_of((uintptr_t)low, &l);
    printf("heap: %s %s\n", l.prot, l.path);
    line_of((uintptr_t)getauxval(AT_SYSINFO_EHDR), &l);
    printf("vdso: %s %s\n", l.prot, l.path);
    fd = open("data", O_RDWR | O_CREAT, 0600);
    if (ftruncate(fd, 5 * 4096)) return 1;
    char *m = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8192), *whole = realpath("data", NULL);
    char *priv = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
    fstat(fd, &st);
    line_of((uintptr_t)m + 4096, &l);
    printf("shared file: %s %lx %d %d size %lx\n", l.prot, l.offset, l.inode == st.st_ino, !strcmp(l.path, whole), l.hi - l.lo);
    mprotect(priv + 4096, 4096, PROT_READ | PROT_EXEC);
    for (int i = 0; i < 3; i++) {
        line_of((uintptr_t)priv + i * 4096, &l);
        printf("private file %d: %s %lx %d size %lx\n", i, l.prot, l.offset, !strcmp(l.path, whole), l.hi - l.lo);
    }
    char *anon = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(anon + 4096, 4096, PROT_NONE);
    mprotect(anon + 8192, 4096, PROT_READ | PROT_EXEC);
    munmap(anon + 3 * 4096, 4096);
    for (int i = 0; i < 5; i++) {
        int r = line_of((uintptr_t)anon + i * 4096, &k);
        printf("anonymous %d: %d %s '%s' %lx\n", i, r, r ? "" : k.prot, r ? "" : k.path, r ? 0 : k.offset);
    }
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    line_of((uintptr_t)shared, &l);
    printf("shared memory: %s %s\n", l.prot, l.path);
    slurp("/proc/self/maps");
    unsigned long total = 0, lo, hi, last = 0, sorted = 1;
    for (char *p = text; *p; p = strchr(p, '\n') + 1) {
        if (sscanf(p, "%lx-%lx", &lo, &hi) == 2 && !strstr(p, "[vsyscall]")) total += (hi - lo) >> 10;
        if (strncmp(strchr(p, '\n') - 10, "[vsyscall]", 10)) sorted &= lo >= last, last = hi;
        else break;
    }
    say("maps are in order", (long)sorted);
    slurp("/proc/self/status");
    unsigned long size = value("VmSize:", 10);
    total = 0;
    slurp("/proc/self/maps");
    for (char *p = text; *p; p = strchr(p, '\n') + 1) {
        char *eol = strchr(p, '\n');
        if (sscanf(p, "%lx-%lx", &lo, &hi) == 2 && memcmp(eol - 10, "[vsyscall]", 10)) total += (hi - lo) >> 10;
    }
    say("VmSize is the sum of maps", size == total);
    slurp("/proc/self/statm");
    say("statm too", strtoul(text, NULL, 10) == total / 4);
    char *big = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    slurp("/proc/self/status");
    unsigned long rss = value("VmRSS:", 10), peak = value("VmPeak:", 10);
    say("VmSize grows", value("VmSize:", 10) - size == 64 << 10);
    memset(big, 1, 32 << 20);
    slurp("/proc/self/status");
    long more = (long)(value("VmRSS:", 10) - rss);
    say("VmRSS grows", more >= 32 << 10 && more < 40 << 10);
    char head[64];
    line_of((uintptr_t)anon, &l);
    slurp("/proc/self/smaps");
    snprintf(head, sizeof head, "%08lx-", l.lo); /* neighbours may be one mapping */
    char *p = strstr(text, head);
    say("smaps has Size", p && (p = strstr(p, "\nSize:")) && strtoul(p + 6, NULL, 10) == (l.hi - l.lo) >> 10);
    munmap(big, 64 << 20);
    slurp("/proc/self/status");
    say("VmPeak stays", value("VmPeak:", 10) >= peak);
    slurp("/proc/self/smaps_rollup");
    say("rollup", strstr(text, "[rollup]") && value("Rss:", 10) > 100);

    struct sigaction sa = {.sa_handler = handler};
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGRTMAX, &sa, NULL);
    signal(SIGHUP, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    slurp("/proc/self/status");
    printf("SigBlk %lx SigIgn %lx SigCgt %lx Threads %lu\n", value("SigBlk:", 16), value("SigIgn:", 16), value("SigCgt:", 16), value("Threads:", 10));
    kill(own, SIGTERM);
    slurp("/proc/self/status");
    printf("ShdPnd %lx\n", value("ShdPnd:", 16));

    dup2(1, 77);
    int strange = entries("/proc/self/fd", list, sizeof list, is_open);
    printf("descriptors:%s (%d)\n", list, strange);
    strange = entries("/proc/thread-self/fdinfo", list, sizeof list, is_open);
    printf("fdinfo: %d\n", strange);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    got = readlink(path, list, sizeof list - 1);
    list[got > 0 ? got : 0] = 0;
    say("link of a descriptor", !strcmp(list, whole));
    int maps = open("/proc/self/maps", O_RDONLY);
    snprintf(path, sizeof path, "/proc/self/fd/%d", maps);
    got = readlink(path, list, sizeof list - 1);
    list[got > 0 ? got : 0] = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", own);
    say("link of maps", !strcmp(list, path));
    printf("maps: flags %x, cloexec %d, mode %o\n", fcntl(maps, F_GETFL) & O_ACCMODE, fcntl(maps, F_GETFD), fstat(maps, &st) ? 0 : st.st_mode);
    close(maps);
    maps = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    say("cloexec is kept", fcntl(maps, F_GETFD));
    char two[2][16] = {"", ""};
    pread(maps, two[0], 5, 0), read(maps, two[1], 5);
    printf("status begins with %s and %s\n", two[0], two[1]);

    pthread_t t[2];
    pthread_barrier_init(&ready, NULL, 3);
    pthread_barrier_init(&done, NULL, 3);
    for (long i = 0; i < 2; i++) pthread_create(&t[i], NULL, thread, (void *)(i + 1));
    pthread_barrier_wait(&ready);
    ntids = 3;
    say("task", entries("/proc/self/task", list, sizeof list, is_tid));
    snprintf(path, sizeof path, "/proc/%d/status", tids[1]);
    slurp(path);
    printf("a thread by its id: tid %d, tgid %d, Threads %lu\n", value("\nPid:", 10) == (unsigned)tids[1], value("Tgid:", 10) == (unsigned)own, value("Threads:", 10));
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tids[2]);
    slurp(path);
    printf("another by task: SigBlk %lx\n", value("SigBlk:", 16));
    snprintf(path, sizeof path, "/proc/%d/exe", tids[2]);
    exe("a thread's id", AT_FDCWD, path, here);
    slurp("/proc/self/stat");
    char *f = strrchr(text, ')') + 2;
    for (int i = 3; i < 20; i++) f = strchr(f, ' ') + 1;
    say("stat: threads", atol(f));
    pthread_barrier_wait(&done);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);

    struct rlimit r = {1 << 20, 1 << 30};
    setrlimit(RLIMIT_STACK, &r);
    slurp("/proc/self/limits");
    f = strstr(text, "Max stack size");
    printf("%.*s\n", (int)strcspn(f, "\n"), f);
    fflush(stdout);
    if (!fork()) { /* a child of its own */
        tids[0] = getpid();
        ntids = 1;
        exe("a child's", AT_FDCWD, "/proc/self/exe", here);
        slurp("/proc/self/cmdline");
        say("its command line", length == at && !memcmp(text, argv[0], at));
        slurp("/proc/self/maps");
        say("its maps", strstr(text, "[stack]") && !strstr(text, "kvm"));
        say("its tasks", entries("/proc/self/task", list, sizeof list, is_tid));
        snprintf(path, sizeof path, "/proc/%d/cmdline", getppid());
        slurp(path);
        say("its parent's command line", length == at && !memcmp(text, argv[0], at));
        _exit(0);
    }
    wait(NULL);
    return 0;
}
