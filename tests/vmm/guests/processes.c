/* Processes: fork(2), wait(2), execve(2) and what they keep, one case a run. */
#include "guest.h"
#include "cases.h"
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

extern char **environ;
static const char *self;
static int wait_for(pid_t p) {
    int st = -1;
    while (waitpid(p, &st, 0) < 0 && errno == EINTR) { }
    return st;
}
static void status_of(const char *what, pid_t p) {
    int st = wait_for(p);
    printf("%s: exited %d %d signalled %d %d\n", what, WIFEXITED(st), WIFEXITED(st) ? WEXITSTATUS(st) : 0, WIFSIGNALED(st), WIFSIGNALED(st) ? WTERMSIG(st) : 0);
}
static pid_t child(void (*f)(void)) {
    fflush(stdout);
    pid_t p = fork();
    need(p >= 0, "fork");
    if (!p) { f(); fflush(stdout); _exit(0); }
    return p;
}

static long value = 5;
static void change(void) { value = 6; printf("child %ld %d\n", value, getppid() > 1); }
static void nothing(void) { }
static void fail3(void) { _exit(3); }
static void fail256(void) { _exit(256); }
static void crash(void) { *(volatile int *)8 = 0; }
static void killed(void) { raise(SIGKILL); }
static void aborted(void) { abort(); }
static void divided(void) { __asm__ volatile("xor %%ecx, %%ecx\n mov $1, %%eax\n cltd\n idivl %%ecx" ::: "eax", "ecx", "edx"); }
static void statuses(void) {
    status_of("change", child(change)); printf("parent %ld\n", value);
    status_of("3", child(fail3)); status_of("256", child(fail256)); status_of("crash", child(crash)); status_of("killed", child(killed));
    status_of("aborted", child(aborted)); status_of("divided", child(divided));
    say(SC(SYS_wait4, -1, NULL, 0, NULL), "no children"); say(SC(SYS_wait4, getppid(), NULL, 0, NULL), "not ours"); say(SC(SYS_wait4, -1, NULL, 0x40, NULL), "bad options");
    siginfo_t i = {0}; pid_t p = child(fail3); say(SC(SYS_waitid, P_PID, p, &i, WEXITED | WNOWAIT, NULL), "left"); printf("%d %d %d %d\n", i.si_signo, i.si_code, i.si_status, i.si_pid == p);
    struct rusage u = {0}; int st; say(SC(SYS_wait4, p, &st, 0, &u) == p, "now"); printf("%d %d\n", WEXITSTATUS(st), u.ru_maxrss > 0);
    say(SC(SYS_waitid, P_ALL, 0, &i, WEXITED, NULL), "gone");
    p = fork(); if (!p) { rest_ms(50); _exit(0); } say(SC(SYS_wait4, p, NULL, WNOHANG, NULL), "not yet"); status_of("late", p);
    p = child(nothing); rest_ms(30); say(SC(SYS_kill, p, 0), "a zombie"); status_of("zombie", p); say(SC(SYS_kill, p, 0), "reaped");
}
static void many(void) { /* 60 at once, then a chain */
    int total = 0;
    pid_t p[60]; for (int i = 0; i < 60; i++) { p[i] = fork(); if (!p[i]) { rest_ms(5); _exit(i); } }
    for (int i = 0; i < 60; i++) { int st = wait_for(p[i]); total += WEXITSTATUS(st) == i; }
    printf("%d\n", total);
    for (int i = 0; i < 150; i++) { pid_t q = fork(); if (!q) _exit(i); int st = wait_for(q); total += WEXITSTATUS(st) == i; }
    printf("%d\n", total);
    int depth = 0; while (depth < 6) { pid_t q = fork(); if (q) { int st = wait_for(q); _exit(depth ? WEXITSTATUS(st) : (printf("depth %d\n", WEXITSTATUS(st)), fflush(stdout), 0)); } depth++; }
    _exit(depth);
}
static void memory(void) {
    size_t n = 64 << 20; char *priv = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *wiped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(priv, 7, n); wiped[0] = 9; say(madvise(wiped, 4096, MADV_WIPEONFORK), "wipe");
    int heap = 0; char *h = malloc(100000); memset(h, 3, 100000);
    pid_t p = fork();
    if (!p) {
        long bad = 0; for (size_t i = 0; i < n; i += 4096) { bad += priv[i] != 7; priv[i] = 8; }
        for (int i = 0; i < 100000; i++) heap += h[i];
        shared[0] = 42; printf("child bad %ld wiped %d heap %d\n", bad, wiped[0], heap); fflush(stdout);
        shared[1] = getpid(); _exit(0);
    }
    status_of("child", p);
    long bad = 0; for (size_t i = 0; i < n; i += 4096) bad += priv[i] != 7;
    printf("parent bad %ld shared %d %d wiped %d\n", bad, shared[0], shared[1] == p, wiped[0]);
}
static void inherited(void) {
    int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600); if (write(fd, "0123456789", 10)) { } lseek(fd, 2, SEEK_SET);
    umask(027); need(!mkdir("d", 0700) || errno == EEXIST, "mkdir"); need(!chdir("d"), "chdir"); signal(SIGUSR1, SIG_IGN);
    sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigprocmask(SIG_BLOCK, &s, NULL); raise(SIGUSR2); alarm(100); nice(3);
    pid_t p = fork();
    if (!p) {
        char c, cwd[4096]; sigset_t q; sigpending(&q); struct sigaction a; sigaction(SIGUSR1, NULL, &a);
        if (read(fd, &c, 1) == 1) printf("%c %d\n", c, sigismember(&q, SIGUSR2)); printf("%d %u %o\n", a.sa_handler == SIG_IGN, alarm(0), umask(0));
        need(getcwd(cwd, sizeof cwd) != NULL, "cwd"); puts(strrchr(cwd, '/')); printf("%d\n", getpriority(PRIO_PROCESS, 0)); fflush(stdout); _exit(0);
    }
    status_of("child", p); printf("%ld %d\n", (long)lseek(fd, 0, SEEK_CUR), alarm(40) > 90);
    sigprocmask(SIG_BLOCK, NULL, &s); printf("%d\n", sigismember(&s, SIGUSR2));
}
static void in_thread_child(void) { printf("tid %d tasks alone\n", getpid() == gettid()); pthread_t t; pthread_create(&t, NULL, (void *(*)(void *))(void *)nothing, NULL); say(pthread_join(t, NULL), "a thread in it"); }
static void *forker(void *arg) { for (int i = 0; i < 20; i++) { pid_t p = fork(); if (!p) _exit(i); int st = wait_for(p); value += WEXITSTATUS(st) == i; } if (arg) status_of("thread", child(in_thread_child)); return NULL; }
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static void prep(void) { pthread_mutex_lock(&m); puts("prepare"); } static void par(void) { pthread_mutex_unlock(&m); }
static void in_threads(void) {
    pthread_t t[4]; value = 0;
    pthread_create(&t[0], NULL, forker, (void *)1); pthread_join(t[0], NULL); printf("%ld\n", value);
    value = 0; pthread_create(&t[0], NULL, forker, NULL); pthread_join(t[0], NULL); printf("%ld\n", value);
    pthread_atfork(prep, par, par); status_of("atfork", child(nothing));
}
static void *busy(void *arg) { while (!__atomic_load_n(&value, __ATOMIC_SEQ_CST)) { void *p = malloc(5000); memset(p, 1, 5000); free(p); void *q = mmap(NULL, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); *(char *)q = 1; munmap(q, 8192); } return arg; }
static void while_others_run(void) {
    pthread_t t[3]; value = 0; int good = 0;
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, busy, NULL);
    for (int i = 0; i < 60; i++) { pid_t p = fork(); if (!p) { char *q = malloc(100000); memset(q, 2, 100000); _exit(q[99999]); } int st = wait_for(p); good += WIFEXITED(st) && WEXITSTATUS(st) == 2; }
    __atomic_store_n(&value, 1, __ATOMIC_SEQ_CST); for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    printf("%d\n", good);
}
static volatile int shared_local;
static void vforks(void) {
    for (volatile int i = 0; i < 3; i++) { pid_t p = vfork(); if (!p) _exit(i + 10); status_of("vfork", p); }
    pid_t p = vfork(); if (!p) { execl(self, self, "report", "vfork", (char *)NULL); _exit(9); } status_of("vfork exec", p);
    p = vfork(); if (!p) { execl("/nonexistent", "x", (char *)NULL); _exit(errno == ENOENT ? 77 : 1); } status_of("vfork failing exec", p);
    p = vfork(); if (!p) { kill(getpid(), SIGTERM); _exit(0); } status_of("vfork killed", p);
}
static void spawns(void) {
    pid_t p; char *argv[] = {(char *)self, "report", "spawned", NULL}, *env[] = {"A=1", "B=", NULL};
    int r = posix_spawn(&p, self, NULL, NULL, argv, env); status_of("spawn", p); say(-r, "spawn");
    say(-posix_spawn(&p, "/nonexistent", NULL, NULL, argv, env), "not there"); say(-posix_spawn(&p, "/etc/passwd", NULL, NULL, argv, env), "no executable"); say(-posix_spawn(&p, "/tmp", NULL, NULL, argv, env), "a directory");
    say(-posix_spawnp(&p, "true-is-not-there", NULL, NULL, argv, env), "in the path");
    posix_spawn_file_actions_t fa; posix_spawn_file_actions_init(&fa); posix_spawn_file_actions_addopen(&fa, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0600); posix_spawn_file_actions_addclose(&fa, 0);
    posix_spawnattr_t at; posix_spawnattr_init(&at); sigset_t s; sigemptyset(&s); sigaddset(&s, SIGHUP); posix_spawnattr_setsigmask(&at, &s); posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    say(-posix_spawn(&p, self, &fa, &at, argv, env), "with actions"); status_of("spawn", p);
    char text[4096]; int fd = open("out", O_RDONLY); ssize_t n = read(fd, text, sizeof text); if (n > 0 && write(1, text, (size_t)n)) { }
    posix_spawn_file_actions_addopen(&fa, 5, "no/such/place", O_RDONLY, 0); say(-posix_spawn(&p, self, &fa, NULL, argv, env), "failing action");
    say(SC(SYS_wait4, -1, NULL, 0, NULL), "no zombie is left"); printf("system %d\n", WEXITSTATUS(system("exit 4")));
    FILE *f = popen("echo from a pipe; cat /dev/null", "r"); if (f && fgets(text, sizeof text, f)) printf("%s", text); printf("%d\n", pclose(f));
}
static void exec_errors(void) {
    static char big[200000]; char *none[] = {NULL}, *argv[] = {"x", NULL}, *large[] = {big, NULL}; memset(big, 'a', sizeof big - 1);
    char *lots[200]; static char part[100000]; memset(part, 'b', sizeof part - 1); for (int i = 0; i < 199; i++) lots[i] = part; lots[199] = NULL;
    int fd = open("text", O_RDWR | O_CREAT | O_TRUNC, 0700); if (write(fd, "plain text\n", 11)) { } close(fd);
    fd = open("closed", O_RDWR | O_CREAT | O_TRUNC, 0600); if (write(fd, "#!/bin/sh\n", 10)) { } close(fd);
    fd = open("lost", O_RDWR | O_CREAT | O_TRUNC, 0700); if (write(fd, "#!/no/such/interpreter\n", 23)) { } close(fd);
    fd = open("empty", O_RDWR | O_CREAT | O_TRUNC, 0700); close(fd); fd = open("bare", O_RDWR | O_CREAT | O_TRUNC, 0700); if (write(fd, "#! \n", 4)) { } close(fd);
    fd = open("loop", O_RDWR | O_CREAT | O_TRUNC, 0700); if (write(fd, "#!./loop\n", 9)) { } close(fd); need(!symlink("round", "round") || errno == EEXIST, "symlink");
    fd = open("elf", O_RDWR | O_CREAT | O_TRUNC, 0700); if (write(fd, "\177ELF\2\1\1", 7)) { } close(fd);
    static const char *paths[] = {"/nonexistent", "/", "", "text", "closed", "lost", "empty", "bare", "loop", "round", "text/x", "elf", "/proc/self/mem", "socket", "fifo"};
    struct sockaddr_un u = {.sun_family = AF_UNIX, .sun_path = "socket"}; int bound = socket(AF_UNIX, SOCK_STREAM, 0);
    need(!bind(bound, (void *)&u, sizeof u) && !chmod("socket", 0777) && !mkfifo("fifo", 0777), "socket"); close(bound);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) say(SC(SYS_execve, paths[i], argv, none), "%s", paths[i]);
    say(SC(SYS_execve, 8, argv, none), "path"); say(SC(SYS_execve, self, 8, none), "argv"); say(SC(SYS_execve, self, argv, 8), "envp"); say(SC(SYS_execve, self, large, none), "long string"); say(SC(SYS_execve, self, lots, none), "all strings"); say(SC(SYS_execve, self, argv, lots), "environment");
    char *bad[] = {"x", (char *)8, NULL}; say(SC(SYS_execve, self, bad, none), "string"); static char path[5000]; memset(path, 'p', 4999); say(SC(SYS_execve, path, argv, none), "long path"); path[300] = 0; say(SC(SYS_execve, path, argv, none), "long name");
    say(SC(SYS_execveat, 99, "x", argv, none, 0), "no descriptor"); say(SC(SYS_execveat, AT_FDCWD, "text", argv, none, 0xff0000), "flags"); say(SC(SYS_execveat, 99, "", argv, none, 0), "empty");
    symlink("text", "link"); say(SC(SYS_execveat, AT_FDCWD, "link", argv, none, AT_SYMLINK_NOFOLLOW), "nofollow");
}
static void script(const char *name, const char *text) { int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700); need(write(fd, text, strlen(text)) > 0, "write"); close(fd); }
static void try_exec(const char *path, char **argv) { fflush(stdout); pid_t p = fork(); if (!p) { execv(path, argv); printf("%s\n", answer(-errno)); fflush(stdout); _exit(9); } status_of(path, p); }
static void scripts(void) {
    char text[5000], *argv[] = {"zero", "one", "two words", NULL};
    snprintf(text, sizeof text, "#!%s report\nx\n", self); script("s1", text); try_exec("./s1", argv);
    snprintf(text, sizeof text, "#! \t%s  report an argument \t\nx\n", self); script("s2", text); try_exec("./s2", argv);
    script("s3", "#!./s1 nested\n"); try_exec("./s3", argv); script("s4", "#!./s3\n"); try_exec("./s4", argv);
    script("s5", "#!/bin/sh -e\necho $0 $# \"$2\"\nfalse\necho not reached\n"); try_exec("./s5", argv);
    snprintf(text, sizeof text, "#!%s", self); script("s6", text); char *r[] = {"zero", NULL}; try_exec("./s6", r); char *e[] = {NULL}; try_exec("./s1", e);
    int d = open(".", O_RDONLY | O_DIRECTORY), f = open("s5", O_RDONLY), c = open("s5", O_RDONLY | O_CLOEXEC), b = open(self, O_RDONLY | O_CLOEXEC);
    fflush(stdout); pid_t p = fork(); if (!p) { SC(SYS_execveat, d, "s5", argv, environ, 0); _exit(9); } status_of("execveat", p);
    char *again[] = {"zero", "report", NULL};
    p = fork(); if (!p) { SC(SYS_execveat, b, "", again, environ, AT_EMPTY_PATH); _exit(9); } status_of("fexecve", p);
    p = fork(); if (!p) { long x = SC(SYS_execveat, c, "", argv, environ, AT_EMPTY_PATH); _exit(x == -ENOENT ? 44 : 9); } status_of("a script by a descriptor that closes", p); (void)f;
}
static void exec_names(void) { /* by a link of proc(5) the program is called as the link is */
    static char word[100001]; memset(word, 'w', sizeof word - 1); char *argv[32] = {(char *)self, "report", "name"}, *none[] = {NULL};
    fflush(stdout); pid_t p = fork(); if (!p) { SC(SYS_execve, "/proc/self/exe", argv, none); _exit(9); } status_of("/proc/self/exe", p);
    p = fork(); if (!p) { SC(SYS_execveat, AT_FDCWD, "/proc/self/exe", argv, none, 0); _exit(9); } status_of("execveat", p);
    for (int i = 3; i < 26; i++) argv[i] = word; /* more than a quarter of the stack: nothing has happened yet */
    say(SC(SYS_execve, self, argv, none), "2.3 MB"); argv[20] = NULL; p = fork(); if (!p) { SC(SYS_execve, self, argv, none); _exit(9); } status_of("1.7 MB", p);
    struct rlimit small = {1 << 20, 8 << 20}; setrlimit(RLIMIT_STACK, &small); argv[6] = NULL; say(SC(SYS_execve, self, argv, none), "300 kB of a quarter of 1 MB");
}
static void over_exec(void) { /* what exec keeps and what it resets */
    char fds[64]; signal(SIGUSR1, SIG_IGN); signal(SIGTERM, (void (*)(int))(void *)nothing); sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigaddset(&s, SIGSEGV); sigprocmask(SIG_BLOCK, &s, NULL);
    signal(SIGSEGV, SIG_IGN); raise(SIGUSR2); umask(031); alarm(30); need(!mkdir("dir", 0700), "mkdir"); need(!chdir("dir"), "chdir"); struct rlimit l = {100, 200}; setrlimit(RLIMIT_NOFILE, &l); l = (struct rlimit){1 << 20, 2 << 20}; setrlimit(RLIMIT_STACK, &l);
    int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY | O_CLOEXEC); dup2(a, 50); snprintf(fds, sizeof fds, "%d %d", a, b); setpriority(PRIO_PROCESS, 0, 2); prctl(PR_SET_NAME, "another"); setpgid(0, 0);
    snprintf(fds + 32, 32, "%d", getpid()); need(!setenv("MY_PID", fds + 32, 1), "setenv");
    fflush(stdout); execl(self, "zeroth", "report", "state", (char *)NULL); puts("failed");
}
static void *exec_thread(void *arg) { char pid[16]; snprintf(pid, sizeof pid, "%d", getpid()); setenv("MY_PID", pid, 1); rest_ms(20); execl(self, self, "report", "state", (char *)NULL); return arg; }
static void *sleeper(void *arg) { for (;;) pause(); return arg; }
static void *spinner(void *arg) { for (;;) { } return arg; }
static void from_thread(void) { pthread_t t; pthread_create(&t, NULL, sleeper, NULL); pthread_create(&t, NULL, spinner, NULL); pthread_create(&t, NULL, exec_thread, NULL); for (;;) pause(); }
static void report(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[2], "name")) { char name[16]; prctl(PR_GET_NAME, name); printf("%d %s %s\n", argc, name, (char *)getauxval(AT_EXECFN)); return; }
    printf("argc %d", argc); for (int i = 0; i < argc; i++) printf(" [%s]", i ? argv[i] : strrchr(argv[i], '/') ? strrchr(argv[i], '/') : argv[i]); puts("");
    char exe[4096] = {0}; printf("exe %d\n", readlink("/proc/self/exe", exe, sizeof exe - 1) > 0); puts(strrchr(exe, '/') ? strrchr(exe, '/') : exe);
    if (argc < 3 || strcmp(argv[2], "state")) { for (char **e = environ; *e && argc > 2 && !strcmp(argv[2], "spawned"); e++) puts(*e); return; }
    uint64_t mask = 0; SC(SYS_rt_sigprocmask, 0, NULL, &mask, 8); struct sigaction u, t, g; sigaction(SIGUSR1, NULL, &u); sigaction(SIGTERM, NULL, &t); sigaction(SIGSEGV, NULL, &g);
    printf("mask %lx %d %d %d\n", mask, u.sa_handler == SIG_IGN, t.sa_handler == SIG_DFL, g.sa_handler == SIG_IGN); sigset_t p; sigpending(&p); printf("pending %d\n", sigismember(&p, SIGUSR2));
    struct rlimit l; getrlimit(RLIMIT_NOFILE, &l); printf("files %ld %ld\n", (long)l.rlim_cur, (long)l.rlim_max); getrlimit(RLIMIT_STACK, &l); printf("stack %ld %ld\n", (long)l.rlim_cur, (long)l.rlim_max);
    for (int fd = 0; fd < 200; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("fd %d\n", fd);
    printf("umask %o alarm %d nice %d pid %d group %d\n", umask(0), alarm(0) > 0, getpriority(PRIO_PROCESS, 0), getpid() == atoi(getenv("MY_PID")), getpgrp() == getpid());
    char cwd[4096], name[16]; puts(getcwd(cwd, sizeof cwd) && !strcmp(strrchr(cwd, '/'), "/dir") ? "in dir" : "elsewhere"); prctl(PR_GET_NAME, name); puts(name); stack_t st; sigaltstack(NULL, &st); printf("%d\n", st.ss_flags);
}
static void groups(void) {
    int st; pid_t p = fork(); if (!p) { setpgid(0, 0); for (;;) pause(); } setpgid(p, p); say(getpgid(p) == p, "group");
    pid_t q = fork(); if (!q) { setpgid(0, p); for (;;) pause(); } setpgid(q, p);
    say(kill(-p, SIGTERM), "kill the group"); status_of("first", p); status_of("second", q); say(SC(SYS_kill, -p, SIGTERM), "no group");
    p = fork(); if (!p) { say(setsid() == getpid(), "setsid"); say(SC(SYS_setsid), "again"); printf("%d\n", getsid(0) == getpid()); fflush(stdout); _exit(0); } status_of("session", p);
    p = fork(); if (!p) { setpgid(0, 0); for (;;) pause(); } setpgid(p, p); kill(p, SIGSTOP); waitpid(-p, &st, WUNTRACED); printf("%d\n", WIFSTOPPED(st)); kill(-p, SIGCONT); waitpid(-p, &st, WCONTINUED); printf("%d\n", WIFCONTINUED(st)); kill(p, SIGKILL); status_of("killed", p);
    say(SC(SYS_setpgid, getppid(), 0), "not a child"); say(SC(SYS_setpgid, 0, -1), "bad group");
}
static void orphans(void) { /* a subreaper gets the grandchild */
    say(prctl(PR_SET_CHILD_SUBREAPER, 1), "subreaper"); pid_t p = fork(); if (!p) { pid_t q = fork(); if (!q) { rest_ms(50); _exit(getppid() > 1 ? 12 : 13); } _exit(0); } status_of("child", p);
    int st; pid_t q = wait(&st); printf("%d %d\n", q != p && q > 0, WEXITSTATUS(st));
    p = fork(); if (!p) { prctl(PR_SET_PDEATHSIG, SIGKILL); pid_t g = fork(); if (!g) { prctl(PR_SET_PDEATHSIG, SIGTERM); for (;;) pause(); } rest_ms(30); _exit(0); } status_of("parent", p); q = wait(&st); printf("%d %d\n", WIFSIGNALED(st), WTERMSIG(st));
}
static void pipes(void) { /* fork and pipe, both ways, many messages */
    int a[2], b[2]; need(!pipe(a) && !pipe(b), "pipe"); pid_t p = fork(); long n, total = 0;
    if (!p) { close(a[1]); while (read(a[0], &n, 8) == 8) { n *= 2; if (write(b[1], &n, 8) != 8) break; } _exit(0); }
    close(a[0]); for (long i = 0; i < 2000; i++) { if (write(a[1], &i, 8) != 8 || read(b[0], &n, 8) != 8) break; total += n; } close(a[1]); status_of("echo", p); printf("%ld\n", total);
}
static void clone_flags(void) {
    int tid = 0, parent = 0; long p = SC(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &parent, &tid, 0); if (!p) _exit(tid == getpid() ? 21 : 22); printf("%d\n", parent == p); status_of("clone", (pid_t)p);
    static char stack[65536] __attribute__((aligned(16))); p = clone((int (*)(void *))(void *)getppid, stack + sizeof stack, SIGCHLD, NULL); say(p > 0, "with a stack"); int st; waitpid((pid_t)p, &st, 0); printf("%d\n", WIFEXITED(st));
    uint64_t args[11] = {0}; args[4] = SIGCHLD; p = SC(SYS_clone3, args, sizeof args); if (!p) _exit(31); status_of("clone3", (pid_t)p);
}

int main(int argc, char **argv) {
    static const struct a_case cases[] = {
        CASE(statuses), CASE(many), CASE(memory), CASE(inherited), CASE(in_threads), CASE(while_others_run), CASE(vforks), CASE(spawns),
        CASE(exec_errors), CASE(scripts), CASE(over_exec), CASE(exec_names), CASE(from_thread), CASE(groups), CASE(orphans), CASE(pipes), CASE(clone_flags),
    };
    static char where[4096];
    self = realpath(argc ? argv[0] : "/proc/self/exe", where);
    if (argc < 2 || !strcmp(argv[1], "report") || !strncmp(argv[1], "report ", 7) || strstr(argv[1], "./s")) { report(argc, argv); return 0; }
    return one_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
