/* Everything at once for a while: threads that come and go, signals, timers, processes, exec, pipes, futexes and mappings, each
 * job checking what it did. stress SECONDS [SEED [JOB...]] runs for so much CPU time of itself and its children. */
#include "guest.h"
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#define WORKERS 6
#define HUNG_S 90
extern char **environ;
static const char *self;
static uint64_t seed;

struct worker { pthread_t thread; uint64_t random; volatile long done; const char *volatile job; long sent, sent_sum; };
static struct worker workers[WORKERS];
static volatile int stop;
static _Thread_local struct worker *me;
static _Thread_local volatile int blocked, faulty;
static _Thread_local sigjmp_buf back;
static long got, got_sum, alarms, bad_handler;

static void fail(const char *what, long a, long b) {
    char text[300];
    int n = snprintf(text, sizeof text, "stress: seed %lu worker %ld job %s after %ld: %s: %ld %ld, errno %d\n", seed, me ? me - workers : -1L,
                     me ? me->job : "-", me ? me->done : 0L, what, a, b, errno);
    if (write(2, text, (size_t)n)) { }
    if (getenv("STRESS_HOLD")) for (;;) pause();
    _exit(99);
}
#define CHECK(good, what, a, b) do { if (!(good)) fail(what, (long)(a), (long)(b)); } while (0)

static uint64_t rnd(void) { /* xorshift64* */
    uint64_t x = me->random;
    x ^= x >> 12; x ^= x << 25; x ^= x >> 27;
    return (me->random = x) * 0x2545f4914f6cdd1dull >> 16;
}
static long below(long n) { return (long)(rnd() % (uint64_t)n); }
static double seconds(clockid_t clock) { struct timespec t; clock_gettime(clock, &t); return (double)t.tv_sec + (double)t.tv_nsec / 1e9; }

/* ---- signals: each queued one arrives once, with its value; none while it is blocked; registers and errno survive */
static void on_queued(int sig, siginfo_t *info, void *context) {
    (void)sig; (void)context;
    int kept = errno;
    if (blocked) __atomic_add_fetch(&bad_handler, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&got_sum, info->si_value.sival_int, __ATOMIC_RELAXED);
    __atomic_add_fetch(&got, 1, __ATOMIC_RELEASE);
    double x = info->si_value.sival_int; /* spoils vector registers */
    __asm__ volatile("pxor %%xmm8, %%xmm8\n pcmpeqd %%xmm15, %%xmm15\n divsd %0, %0" : "+x"(x) : : "xmm8", "xmm15");
    errno = kept;
}
static void on_alarm(int sig) { (void)sig; if (blocked) __atomic_add_fetch(&bad_handler, 1, __ATOMIC_RELAXED); __atomic_add_fetch(&alarms, 1, __ATOMIC_RELAXED); }
static void on_fault(int sig) { (void)sig; if (!faulty) fail("fault", sig, 0); siglongjmp(back, 1); }
static bool faults(volatile char *p, bool write_it) {
    faulty = 1;
    bool f = sigsetjmp(back, 1);
    if (!f) { if (write_it) *p = 1; else (void)*p; }
    faulty = 0;
    return f;
}
static void handle(int sig, void *f, int flags) {
    struct sigaction a = {.sa_flags = flags};
    a.sa_sigaction = (void (*)(int, siginfo_t *, void *))f;
    need(!sigaction(sig, &a, NULL), "sigaction");
}
static void sent(int r, int value) {
    if (r) { CHECK(r == EAGAIN, "sigqueue", r, 0); return; }
    me->sent++;
    me->sent_sum += value;
}
static void job_queue(void) {
    union sigval v = {.sival_int = (int)below(1000)};
    for (long n = 1 + below(8); n; n--) {
        if (below(2)) sent(sigqueue(getpid(), SIGRTMIN + (int)below(3), v) ? errno : 0, v.sival_int);
        else sent(pthread_sigqueue(workers[below(WORKERS)].thread, SIGRTMIN + (int)below(3), v), v.sival_int);
    }
}
static void job_mask(void) { /* also what sigtimedwait(2) takes from a blocked set */
    sigset_t set, old;
    sigfillset(&set);
    sigdelset(&set, SIGSEGV); sigdelset(&set, SIGBUS);
    for (long n = 1 + below(20); n; n--) {
        pthread_sigmask(SIG_BLOCK, &set, &old);
        blocked = 1;
        if (!below(3)) job_queue();
        if (!below(4)) sched_yield();
        if (!below(3)) {
            struct timespec t = {0, below(2000) * 1000};
            siginfo_t info;
            sigset_t some;
            sigemptyset(&some);
            for (int i = 0; i < 3; i++) sigaddset(&some, SIGRTMIN + i);
            int sig = sigtimedwait(&some, &info, &t);
            if (sig > 0) {
                CHECK(info.si_code == SI_QUEUE && info.si_pid == getpid() && sig == info.si_signo, "sigtimedwait", info.si_code, info.si_pid);
                __atomic_add_fetch(&got_sum, info.si_value.sival_int, __ATOMIC_RELAXED);
                __atomic_add_fetch(&got, 1, __ATOMIC_RELEASE);
            } else {
                CHECK(errno == EAGAIN || errno == EINTR, "sigtimedwait", sig, 0);
            }
        }
        blocked = 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
}
static void job_float(void) { /* signals come between: every register must be as it was */
    double a = 1 + (double)below(1000), sum = 0, want = 0;
    volatile double one = 1;
    for (int i = 0; i < 20000; i++) sum += a * one;
    for (int i = 0; i < 20000; i++) want += a;
    CHECK(sum == want, "float", sum, want);
    uint64_t x = rnd(), r[4];
    for (int i = 0; i < 200; i++) {
        __asm__ volatile("movq %4, %%xmm8\n movq %4, %%xmm15\n mov %4, %%r12\n mov $3000, %%ecx\n1: dec %%ecx\n jnz 1b\n"
                         "movq %%xmm8, %0\n movq %%xmm15, %1\n mov %%r12, %2\n mov %%rcx, %3"
                         : "=&r"(r[0]), "=&r"(r[1]), "=&r"(r[2]), "=&r"(r[3]) : "r"(x) : "xmm8", "xmm15", "r12", "rcx", "cc");
        CHECK(r[0] == x && r[1] == x && r[2] == x && !r[3], "registers", r[0], x);
    }
}
static void job_sleep(void) {
    struct timespec t = {0, below(3000000)}, left = t;
    double from = seconds(CLOCK_MONOTONIC), want = (double)t.tv_nsec / 1e9;
    while (nanosleep(&left, &left)) CHECK(errno == EINTR, "nanosleep", 0, 0);
    double took = seconds(CLOCK_MONOTONIC) - from;
    CHECK(took >= want - 1e-6, "slept ns", took * 1e9, t.tv_nsec);
}
static void job_timer(void) { /* a timer of this thread's own, waited for while blocked */
    timer_t id;
    struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 8, .sigev_value.sival_int = 7};
    e._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 8);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK(!timer_create(CLOCK_MONOTONIC, &e, &id), "timer_create", 0, 0);
    struct itimerspec when = {.it_value = {0, 1 + below(2000000)}};
    CHECK(!timer_settime(id, 0, &when, NULL), "timer_settime", 0, 0);
    siginfo_t info;
    int sig;
    struct timespec limit = {HUNG_S, 0};
    while ((sig = sigtimedwait(&set, &info, &limit)) < 0 && errno == EINTR) { }
    CHECK(sig == SIGRTMIN + 8 && info.si_code == SI_TIMER && info.si_value.sival_int == 7, "timer's signal", sig, info.si_code);
    timer_delete(id);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- memory */
static void fill(uint64_t *p, size_t words, uint64_t x) { for (size_t i = 0; i < words; i += 64) p[i] = x + i; }
static void same(const uint64_t *p, size_t words, uint64_t x, const char *what) {
    for (size_t i = 0; i < words; i += 64) CHECK(p[i] == x + i, what, p + i, p[i] - x - i);
}
static void job_memory(void) {
    size_t pages = 3 + (size_t)below(below(10) ? 40 : 1500), len = pages * 4096;
    uint64_t x = rnd();
    char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED, "mmap", len, 0);
    CHECK(!p[0] && !p[len - 1], "new memory", p[0], p[len - 1]);
    fill((uint64_t *)p, len / 8, x);
    char *cut = p + 4096 * (1 + below((long)pages - 1));
    CHECK(!mprotect(cut, (size_t)(p + len - cut), PROT_READ), "mprotect", 0, 0);
    same((uint64_t *)p, len / 8, x, "read only");
    CHECK(faults(cut, true), "write to read only", 0, 0);
    CHECK(!mprotect(cut, 4096, PROT_NONE), "mprotect", 0, 0);
    CHECK(faults(cut, false), "read of none", 0, 0);
    errno = 0;
    CHECK(write(-1, cut, 1) < 0 && errno == EBADF, "write to no descriptor", 0, 0);
    CHECK(!mprotect(p, len, PROT_READ | PROT_WRITE), "mprotect", 0, 0);
    same((uint64_t *)p, len / 8, x, "writable again");
    char *q = mremap(p, len, len * 2, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED, "mremap", len, 0);
    same((uint64_t *)q, len / 8, x, "moved");
    CHECK(!q[len] && !q[2 * len - 1], "grown", q[len], 0);
    CHECK(!madvise(q, 4096, MADV_DONTNEED) && !*(volatile uint64_t *)q, "given back", *q, 0);
    CHECK(!munmap(q + len, len) && !munmap(q, len), "munmap", 0, 0);
}
static void job_file(void) { /* a file that is cut short below its mapping */
    int fd = memfd_create("stress", MFD_CLOEXEC);
    CHECK(fd >= 0 && !ftruncate(fd, 3 * 4096), "memfd", fd, 0);
    char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c;
    CHECK(p != MAP_FAILED, "mmap", 0, 0);
    p[4096] = 'x';
    CHECK(pread(fd, &c, 1, 4096) == 1 && c == 'x', "shared", c, 0);
    CHECK(!ftruncate(fd, 4096), "ftruncate", 0, 0);
    CHECK(faults(p + 2 * 4096, below(2)), "behind the end of the file", 0, 0);
    CHECK(pwrite(fd, "y", 1, 7) == 1 && p[7] == 'y', "shared", p[7], 0);
    munmap(p, 3 * 4096);
    close(fd);
}

/* ---- threads and futexes */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long shared_a, shared_b;
static _Thread_local long own = 17;
static void *short_thread(void *arg) {
    for (int i = 0; i < 5; i++) {
        pthread_mutex_lock(&lock);
        shared_a++;
        if (i == 2) sched_yield();
        shared_b++;
        CHECK(shared_a == shared_b, "mutex", shared_a, shared_b);
        pthread_mutex_unlock(&lock);
    }
    own += (long)arg;
    return (void *)own;
}
static pthread_t thread(void *(*f)(void *), void *arg) {
    pthread_t t;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 128 << 10);
    int r = pthread_create(&t, &a, f, arg);
    CHECK(!r, "pthread_create", r, 0);
    pthread_attr_destroy(&a);
    return t;
}
static void job_threads(void) {
    pthread_t t[8];
    long n = 1 + below(8);
    for (long i = 0; i < n; i++) t[i] = thread(short_thread, (void *)i);
    for (long i = 0; i < n; i++) {
        void *v;
        pthread_join(t[i], &v);
        CHECK((long)v == 17 + i, "thread's own", v, i);
    }
}
struct pair { int turn, rounds; };
static void futex_turns(struct pair *p, int mine) {
    for (int i = 0; i < p->rounds; i++) {
        int now;
        while ((now = __atomic_load_n(&p->turn, __ATOMIC_ACQUIRE)) != mine) {
            struct timespec limit = {HUNG_S, 0};
            long r = syscall(SYS_futex, &p->turn, FUTEX_WAIT_PRIVATE, now, &limit, NULL, 0);
            CHECK(!r || errno == EAGAIN || errno == EINTR, "futex", r, 0);
        }
        __atomic_store_n(&p->turn, !mine, __ATOMIC_RELEASE);
        syscall(SYS_futex, &p->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}
static void *other_side(void *arg) { futex_turns(arg, 1); return NULL; }
static void job_futex(void) {
    struct pair p = {0, 20 + (int)below(80)};
    pthread_t t = thread(other_side, &p);
    futex_turns(&p, 0);
    pthread_join(t, NULL);
    CHECK(p.turn == 0, "turn", p.turn, 0);
}
static void *sleeper(void *arg) { /* takes no signal: glibc's cancellation would end a handler half way */
    char c;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* not glibc's own */
    while (read(*(int *)arg, &c, 1) < 0 && errno == EINTR) { }
    return NULL;
}
static void job_cancel(void) {
    int fd[2];
    void *v;
    CHECK(!pipe2(fd, O_CLOEXEC), "pipe", 0, 0);
    pthread_t t = thread(sleeper, fd);
    if (below(2)) sched_yield();
    pthread_cancel(t);
    pthread_join(t, &v);
    CHECK(v == PTHREAD_CANCELED, "cancelled", v, 0);
    close(fd[0]);
    close(fd[1]);
}
static void *leave_locked(void *arg) { pthread_mutex_lock(arg); return NULL; }
static void job_robust(void) {
    pthread_mutex_t m;
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&m, &a);
    pthread_t t = thread(leave_locked, &m);
    int r = pthread_mutex_lock(&m);
    if (!r) { /* we were first */
        pthread_mutex_unlock(&m);
        if (below(2)) { pthread_join(t, NULL); t = 0; }
        while (!(r = pthread_mutex_lock(&m))) pthread_mutex_unlock(&m);
    }
    CHECK(r == EOWNERDEAD, "robust", r, 0);
    if (t) pthread_join(t, NULL);
    pthread_mutex_consistent(&m);
    pthread_mutex_unlock(&m);
    pthread_mutex_destroy(&m);
}
static long waiting, posted;
static void job_cond(void) {
    pthread_mutex_lock(&lock);
    if (waiting > posted) { posted++; pthread_cond_broadcast(&cond); }
    else if (!stop) {
        long ticket = ++waiting;
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec += 1;
        int r = 0;
        while (posted < ticket && !r) r = pthread_cond_timedwait(&cond, &lock, &t);
        CHECK(!r || r == ETIMEDOUT, "cond", r, 0);
        if (posted < ticket) posted = ticket;
    }
    pthread_mutex_unlock(&lock);
}

/* ---- processes */
static int status_of(pid_t p) {
    int st = -1;
    pid_t r;
    while ((r = waitpid(p, &st, 0)) < 0 && errno == EINTR) { }
    CHECK(r == p, "waitpid", r, p);
    return st;
}
static pid_t child(void) {
    pid_t p = fork();
    CHECK(p >= 0, "fork", 0, 0);
    return p;
}
static void exact_write(int fd, const void *data, size_t n) {
    for (const char *p = data; n; ) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        CHECK(w > 0, "write", w, n);
        p += w; n -= (size_t)w;
    }
}
static size_t exact_read(int fd, void *data, size_t n) {
    size_t have = 0;
    while (have < n) {
        ssize_t r = read(fd, (char *)data + have, n - have);
        if (r < 0 && errno == EINTR) continue;
        CHECK(r >= 0, "read", r, n);
        if (!r) break;
        have += (size_t)r;
    }
    return have;
}
static void job_fork(void) { /* the memory of the moment of the fork, threads of its own, an end of each kind */
    uint64_t *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), x = rnd();
    CHECK(p != MAP_FAILED, "mmap", 0, 0);
    fill(p, 8192, x);
    long way = below(6);
    pid_t c = child();
    if (!c) {
        same(p, 8192, x, "memory of the parent");
        fill(p, 8192, ~x);
        pthread_mutex_init(&lock, NULL);
        shared_a = shared_b = 0;
        switch (way) {
        case 0: job_threads(); _exit(40);
        case 1: job_memory(); _exit(41);
        case 2: kill(getpid(), SIGKILL); for (;;) pause();
        case 3: signal(SIGSEGV, SIG_DFL); *(volatile int *)16 = 0; _exit(1);
        case 4: for (int i = 0; i < 3; i++) thread(sleeper, (int[]){-1}); _exit(44);
        default: for (;;) pause();
        }
    }
    if (way == 5) {
        if (below(2)) sched_yield();
        CHECK(!kill(c, SIGTERM), "kill", 0, 0);
    }
    same(p, 8192, x, "memory after a fork");
    int st = status_of(c);
    switch (way) {
    case 2: CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL, "killed child", st, 0); break;
    case 3: CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV, "crashed child", st, 0); break;
    case 5: CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM, "ended child", st, 0); break;
    default: CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 40 + way, "child", st, way);
    }
    munmap(p, 65536);
}
static void job_pipe(void) { /* through a child and back */
    int there[2], here[2];
    uint64_t sum = 0, answer = 0, data[1024];
    CHECK(!pipe2(there, O_CLOEXEC) && !pipe2(here, O_CLOEXEC), "pipe", 0, 0);
    long n = 1 + below(30);
    pid_t c = child();
    if (!c) {
        for (long k = 0; k < n; k++) { /* counted: another worker's child may hold the other end open */
            CHECK(exact_read(there[0], data, sizeof data) == sizeof data, "read", k, n);
            for (int i = 0; i < 1024; i++) sum = sum * 31 + data[i];
        }
        exact_write(here[1], &sum, 8);
        _exit(0);
    }
    close(there[0]);
    close(here[1]);
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 1024; i++) { data[i] = rnd(); sum = sum * 31 + data[i]; }
        exact_write(there[1], data, sizeof data);
    }
    struct pollfd f = {here[0], POLLIN, 0};
    int r;
    while ((r = poll(&f, 1, HUNG_S * 1000)) < 0 && errno == EINTR) { }
    CHECK(r == 1, "poll", r, f.revents);
    CHECK(exact_read(here[0], &answer, 8) == 8 && answer == sum, "through the pipe", answer, sum);
    close(here[0]);
    close(there[1]);
    CHECK(status_of(c) == 0, "child", 0, 0);
}
static void *exec_it(void *arg) { execve(self, arg, environ); fail("execve", 0, 0); return NULL; }
static void job_exec(void) {
    char number[24], text[64] = "";
    uint64_t x = rnd();
    long way = below(4);
    int out[2];
    snprintf(number, sizeof number, "%lu", x);
    char *argv[] = {(char *)"stress", (char *)"child", number, NULL};
    CHECK(!pipe2(out, O_CLOEXEC), "pipe", 0, 0);
    pid_t c = 0;
    if (way == 0) {
        posix_spawn_file_actions_t a;
        posix_spawn_file_actions_init(&a);
        posix_spawn_file_actions_adddup2(&a, out[1], 1);
        int r = posix_spawn(&c, self, &a, NULL, argv, environ);
        CHECK(!r, "posix_spawn", r, 0);
        CHECK((r = posix_spawn(&(pid_t){0}, "/nonexistent", NULL, NULL, argv, environ)) == ENOENT, "posix_spawn of nothing", r, 0);
        posix_spawn_file_actions_destroy(&a);
    } else if (!(c = way == 1 ? vfork() : child())) {
        dup2(out[1], 1);
        if (way == 3) { thread(sleeper, (int[]){0}); thread(exec_it, argv); for (;;) pause(); }
        execve(self, argv, environ);
        _exit(98);
    }
    CHECK(c > 0, "child", c, way);
    close(out[1]);
    size_t n = exact_read(out[0], text, sizeof text - 1);
    close(out[0]);
    int st = status_of(c);
    CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 5, "exec'ed child", st, way);
    CHECK(n && strtoul(text, NULL, 10) == x * 3, "answer of the exec'ed child", strtoul(text, NULL, 10), x * 3);
}
static void job_stop(void) {
    int st;
    pid_t c = child(), r;
    if (!c) { raise(SIGSTOP); _exit(9); }
    while ((r = waitpid(c, &st, WUNTRACED)) < 0 && errno == EINTR) { }
    CHECK(r == c && WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP, "stopped", st, 0);
    CHECK(!kill(c, SIGCONT), "kill", 0, 0);
    st = status_of(c);
    CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 9, "continued", st, 0);
}
static void job_socket(void) { /* a descriptor handed over */
    int s[2], fd = memfd_create("x", MFD_CLOEXEC), got_fd = -1;
    char c = 'c', ctl[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) && pwrite(fd, "hand", 4, 0) == 4, "socketpair", 0, 0);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    CHECK(sendmsg(s[0], &m, 0) == 1, "sendmsg", 0, 0);
    ssize_t r;
    while ((r = recvmsg(s[1], &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) { }
    h = CMSG_FIRSTHDR(&m);
    CHECK(r == 1 && h && h->cmsg_type == SCM_RIGHTS, "recvmsg", r, 0);
    memcpy(&got_fd, CMSG_DATA(h), sizeof got_fd);
    char text[4];
    CHECK(pread(got_fd, text, 4, 0) == 4 && !memcmp(text, "hand", 4), "handed over", got_fd, 0);
    close(fd); close(got_fd); close(s[0]); close(s[1]);
}

static struct { const char *name; void (*run)(void); int weight; } jobs[] = {
    {"queue", job_queue, 20}, {"mask", job_mask, 20}, {"float", job_float, 10}, {"sleep", job_sleep, 6}, {"timer", job_timer, 6},
    {"memory", job_memory, 10}, {"file", job_file, 6}, {"threads", job_threads, 10}, {"futex", job_futex, 6}, {"cancel", job_cancel, 5},
    {"robust", job_robust, 5}, {"cond", job_cond, 6}, {"fork", job_fork, 8}, {"pipe", job_pipe, 4}, {"exec", job_exec, 5}, {"stop", job_stop, 2},
    {"socket", job_socket, 5},
};
#define JOBS (sizeof jobs / sizeof *jobs)
static long counts[JOBS];
static int total;
static pthread_barrier_t all_there;

static void *work(void *arg) {
    me = arg;
    pthread_barrier_wait(&all_there); /* each may be sent a signal by the others */
    while (!stop) {
        long pick = below(total);
        size_t i = 0;
        while (pick >= jobs[i].weight) pick -= jobs[i++].weight;
        me->job = jobs[i].name;
        jobs[i].run();
        me->done++;
        __atomic_add_fetch(&counts[i], 1, __ATOMIC_RELAXED);
    }
    me->job = "end";
    pthread_barrier_wait(&all_there); /* a signal to a thread that is gone would be lost */
    return NULL;
}
static double cpu(void) {
    struct rusage a, b;
    getrusage(RUSAGE_SELF, &a);
    getrusage(RUSAGE_CHILDREN, &b);
    return (double)(a.ru_utime.tv_sec + a.ru_stime.tv_sec + b.ru_utime.tv_sec + b.ru_stime.tv_sec) +
           (double)(a.ru_utime.tv_usec + a.ru_stime.tv_usec + b.ru_utime.tv_usec + b.ru_stime.tv_usec) / 1e6;
}
static int open_fds(void) { int n = 0; for (int i = 0; i < 1024; i++) n += fcntl(i, F_GETFD) >= 0; return n; }

/* Waits for the time to be over; a worker whose job does not end is a lost wakeup. */
static void watch(double limit) {
    long last[WORKERS] = {0};
    double since[WORKERS], now = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < WORKERS; i++) since[i] = now;
    for (bool busy = true; busy; ) {
        poll(NULL, 0, 50);
        now = seconds(CLOCK_MONOTONIC);
        if (cpu() >= limit) stop = 1;
        busy = !stop;
        for (int i = 0; i < WORKERS; i++) {
            if (strcmp(workers[i].job, "end")) busy = true; else continue;
            if (workers[i].done != last[i]) { last[i] = workers[i].done; since[i] = now; }
            me = &workers[i];
            CHECK(now - since[i] < HUNG_S, "hangs, seconds", now - since[i], i);
            me = NULL;
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "child")) { printf("%lu\n", strtoul(argv[2], NULL, 10) * 3); return 5; }
    need(argc > 1, "stress SECONDS [SEED]");
    static char path[PATH_MAX];
    need(realpath(argv[0], path), "realpath");
    self = path;
    seed = argc > 2 ? strtoul(argv[2], NULL, 10) : (uint64_t)time(NULL) * 1000003 ^ (uint64_t)getpid();
    for (size_t k = 0; k < JOBS; k++) {
        bool chosen = argc < 4;
        for (int i = 3; i < argc; i++) chosen |= !strcmp(argv[i], jobs[k].name);
        if (!chosen) jobs[k].weight = 0;
        total += jobs[k].weight;
    }
    need(total, "no such job");
    printf("seed %lu\n", seed);
    fflush(stdout);
    for (int i = 0; i < 3; i++) handle(SIGRTMIN + i, (void *)on_queued, SA_SIGINFO | (i ? SA_RESTART : 0));
    handle(SIGALRM, (void *)on_alarm, 0);
    handle(SIGSEGV, (void *)on_fault, 0);
    handle(SIGBUS, (void *)on_fault, 0);
    int fds = open_fds();
    for (uint64_t i = 0; i < WORKERS; i++) { workers[i].random = (seed + 1) * 0x9e3779b97f4a7c15ull ^ (i + 1) * 0xbf58476d1ce4e5b9ull; workers[i].job = "start"; }
    sigset_t all, old; /* the watch has no part in it */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_barrier_init(&all_there, NULL, WORKERS + 1);
    for (int i = 0; i < WORKERS; i++) {
        sigset_t open = old;
        pthread_attr_t a;
        pthread_attr_init(&a);
        pthread_attr_setsigmask_np(&a, &open);
        need(!pthread_create(&workers[i].thread, &a, work, &workers[i]), "pthread_create");
        pthread_attr_destroy(&a);
    }
    pthread_barrier_wait(&all_there);
    struct itimerval every = {{0, 7000}, {0, 7000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &every, NULL);
    watch(strtod(argv[1], NULL));
    setitimer(ITIMER_REAL, &never, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_barrier_wait(&all_there);
    long n = 0, sum = 0;
    for (int i = 0; i < WORKERS; i++) { pthread_join(workers[i].thread, NULL); n += workers[i].sent; sum += workers[i].sent_sum; }
    for (int i = 0; i < 200 && __atomic_load_n(&got, __ATOMIC_ACQUIRE) != n; i++) poll(NULL, 0, 10);
    printf("signals %ld of %ld, sum %ld of %ld, alarms %ld\n", got, n, got_sum, sum, alarms);
    for (size_t i = 0; i < JOBS; i++) printf("%s %ld ", jobs[i].name, counts[i]);
    printf("\n%.1f s of CPU\n", cpu());
    need(!bad_handler, "no handler runs while its signal is blocked");
    need(got == n && got_sum == sum, "every signal arrives once");
    need(alarms > 0, "alarms");
    need(open_fds() == fds, "descriptors");
    need(waitpid(-1, NULL, 0) < 0 && errno == ECHILD, "children");
    puts("good");
    return 0;
}
