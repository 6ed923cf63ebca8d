/* Time, identity, limits, signals' bookkeeping, prctl, and numbers that are no calls. */
#include "guest.h"
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/socket.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#define ERR(e) ({ long r_ = (e); r_ < 0 ? -errno : r_; })

static void clocks(void) {
    struct timespec a, b, short_time = {0, 20000000}, bad_time = {0, 1000000000};
    static const int ids[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99, -1, -6};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) { say(SC(SYS_clock_gettime, ids[i], &a), "clock %d", ids[i]);
    say(SC(SYS_clock_getres, ids[i], &b), "resolution"); if (ids[i] < 12 && ids[i] != 10) printf("%ld\n", b.tv_nsec); }
    time_t now = time(NULL); clock_gettime(CLOCK_REALTIME, &a); struct timeval tv; gettimeofday(&tv, NULL);
    printf("agree %d %d\n", a.tv_sec - now <= 1, tv.tv_sec - a.tv_sec <= 1);
    int back = 0; for (int i = 0; i < 20000; i++) { clock_gettime(CLOCK_MONOTONIC, &b); struct timespec c;
    clock_gettime(CLOCK_MONOTONIC, &c); back += c.tv_sec < b.tv_sec || (c.tv_sec == b.tv_sec && c.tv_nsec < b.tv_nsec);
    } printf("backwards %d\n", back);
    clock_gettime(CLOCK_MONOTONIC, &a); say(SC(SYS_nanosleep, &short_time, NULL), "nanosleep");
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("slept %d\n", (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 20000000);
    SC(SYS_clock_gettime, CLOCK_MONOTONIC, &a); clock_gettime(CLOCK_MONOTONIC, &b);
    printf("call and vDSO agree %d\n", b.tv_sec - a.tv_sec <= 1 && (b.tv_sec > a.tv_sec || b.tv_nsec >= a.tv_nsec));
    say(SC(SYS_nanosleep, &bad_time, NULL), "bad nanosleep");
    say(SC(SYS_clock_nanosleep, 1, TIMER_ABSTIME, &a, NULL), "absolute");
    say(SC(SYS_clock_nanosleep, 99, 0, &a, NULL), "no clock");
    say(SC(SYS_clock_nanosleep, 3, 0, &a, NULL), "thread clock");
    struct tms t; say(some(times(&t)), "times"); struct itimerval it = {{0, 0}, {1000, 0}}, old;
    say(setitimer(ITIMER_REAL, &it, NULL), "setitimer"); say(alarm(0) > 990, "alarm");
    say(getitimer(ITIMER_REAL, &old), "getitimer"); printf("%ld\n", old.it_value.tv_sec);
    say(ERR(setitimer(9, &it, NULL)), "no timer");
    struct timex x = {0}; say(SC(SYS_adjtimex, &x), "adjtimex"); say(SC(SYS_clock_adjtime, 0, &x), "clock_adjtime"); say(x.tick, "tick");
    say(SC(SYS_clock_adjtime, 99, &x), "no clock"); say(SC(SYS_adjtimex, 8), "nowhere");
}

static void self(void) {
    struct utsname u; say(uname(&u), "uname"); puts(u.sysname); puts(u.release); puts(u.machine); puts(u.nodename);
    struct sysinfo si; say(sysinfo(&si), "sysinfo"); printf("%lu %u\n", si.totalram, si.mem_unit);
    printf("%d %d %d %d %d %d\n", getuid(), geteuid(), getgid(), getegid(), getppid() > 0, getpid() == gettid());
    uid_t r, e, s; getresuid(&r, &e, &s); printf("%d %d %d %d\n", r, e, s, getgroups(0, NULL));
    printf("%d %d\n", getpgrp() > 0, getsid(0) == getsid(getpid())); say(ERR(getpgid(99999999)), "getpgid");
    say(getpriority(PRIO_PROCESS, 0), "priority"); say(SC(SYS_sched_getscheduler, 0), "scheduler");
    say(sched_get_priority_max(SCHED_FIFO), "max"); cpu_set_t set;
    say(SC(SYS_sched_getaffinity, 0, sizeof set, &set), "affinity"); printf("%d\n", CPU_COUNT(&set) > 0);
    for (int i = 0; i < RLIM_NLIMITS; i++) { struct rlimit l; say(getrlimit(i, &l), "limit %d", i);
    printf("%lx %lx\n", l.rlim_cur, l.rlim_max); } struct rlimit l = {64, 128};
    say(setrlimit(RLIMIT_NOFILE, &l), "setrlimit"); int n = 0; while (dup(0) >= 0) n++;
    printf("%d %s\n", n, answer(-errno)); closefrom(3); say(SC(SYS_fcntl, 0, F_DUPFD, 64), "dup to the limit");
    say(SC(SYS_fcntl, 0, F_DUPFD, 63), "dup below"); l.rlim_cur = 200;
    say(ERR(setrlimit(RLIMIT_NOFILE, &l)), "above the hard limit"); l = (struct rlimit){1 << 20, 1 << 20};
    say(setrlimit(RLIMIT_STACK, &l), "stack"); getrlimit(RLIMIT_STACK, &l); printf("%lx\n", l.rlim_cur);
    say(ERR(getrlimit(99, &l)), "no limit");
    char b[64] = {0}; say(prctl(PR_SET_NAME, "a name that is too long"), "name"); prctl(PR_GET_NAME, b); puts(b);
    say(prctl(PR_GET_DUMPABLE), "dumpable"); say(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "nnp");
    say(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), "nnp"); say(ERR(prctl(9999)), "unknown");
    say(prctl(PR_CAPBSET_READ, 0), "cap"); say(prctl(PR_GET_TIMERSLACK), "slack"); int x = 9;
    say(prctl(PR_GET_PDEATHSIG, &x), "pdeathsig"); printf("%d\n", x);
    uint64_t base = 0, gs = 0x123456789000; say(SC(SYS_arch_prctl, 0x1001, gs), "set gs");
    say(SC(SYS_arch_prctl, 0x1004, &base), "get gs"); printf("%lx\n", base);
    __asm__ volatile("mov %%fs:0, %0" : "=r"(base)); uint64_t fs; SC(SYS_arch_prctl, 0x1003, &fs);
    printf("fs %d\n", fs == base); say(SC(SYS_arch_prctl, 0x1001, 0x800000000000), "gs too high");
    say(SC(SYS_arch_prctl, 0x1001, -1), "gs in the kernel"); say(SC(SYS_arch_prctl, 0x9999, 0), "unknown");
    say(readlink("/proc/self/exe", b, 1), "exe"); int f = open("/proc/self/exe", O_RDONLY); memset(b, 0, sizeof b);
    say(read(f, b, 4), "exe"); puts(b + 1); char path[4096] = {0}, real[4096] = {0};
    say(readlink("/proc/self/exe", path, 4095) > 0, "exe"); snprintf(b, sizeof b, "/proc/%d/exe", getpid());
    say(readlink(b, real, 4095) > 0, "by number"); say(strcmp(path, real), "same"); puts(strrchr(path, '/'));
    unsigned char rnd[32] = {0}; say(getrandom(rnd, 32, 0), "random");
    say(SC(SYS_getrandom, rnd, 32, 99), "random flags");
    say(ERR(wait4(-1, &x, WNOHANG, NULL)), "no child"); say(ERR(waitid(P_ALL, 0, NULL, WEXITED)), "waitid");
    say(SC(SYS_kill, getpid(), 0), "kill 0"); say(SC(SYS_kill, getpid(), 99), "kill 99");
    say(SC(SYS_kill, 99999999, 0), "nobody"); say(SC(SYS_tgkill, getpid(), 99999999, 0), "no thread");
    say(SC(SYS_personality, 0xffffffff), "personality"); say(SC(SYS_umask, 077), "umask");
    say(SC(SYS_umask, 022), "umask");
}

static void signals(void) {
    sigset_t s, o; sigemptyset(&s); sigaddset(&s, SIGUSR1); sigaddset(&s, SIGKILL);
    say(sigprocmask(SIG_BLOCK, &s, NULL), "block"); say(sigprocmask(SIG_BLOCK, NULL, &o), "ask");
    printf("%d %d\n", sigismember(&o, SIGUSR1), sigismember(&o, SIGKILL)); say(raise(SIGUSR1), "raise"); sigpending(&o);
    printf("%d\n", sigismember(&o, SIGUSR1)); siginfo_t i; say(sigtimedwait(&s, &i, &(struct timespec){0, 0}), "wait");
    printf("%d %d %d\n", i.si_signo, i.si_code, i.si_pid == getpid()); struct timespec soon = {0, 1000};
    say(ERR(sigtimedwait(&s, &i, &soon)), "again");
    struct sigaction a = {.sa_handler = SIG_IGN, .sa_flags = SA_RESTART}, b;
    say(sigaction(SIGUSR2, &a, NULL), "ignore"); say(sigaction(SIGUSR2, NULL, &b), "ask");
    printf("%d %x\n", b.sa_handler == SIG_IGN, b.sa_flags); say(raise(SIGUSR2), "raise ignored");
    say(ERR(sigaction(SIGKILL, &a, NULL)), "SIGKILL"); say(ERR(sigaction(99, &a, NULL)), "99");
    say(SC(SYS_rt_sigprocmask, 9, &s, 0, 8), "how"); say(raise(SIGCHLD), "SIGCHLD"); say(raise(SIGURG), "SIGURG");
    say(raise(SIGWINCH), "SIGWINCH");
    static char stack[16384]; stack_t st = {.ss_sp = stack, .ss_size = sizeof stack}, old;
    say(sigaltstack(NULL, &old), "altstack"); printf("%d %zu\n", old.ss_flags, old.ss_size);
    say(sigaltstack(&st, NULL), "set"); say(sigaltstack(NULL, &old), "ask");
    printf("%d %d %zu\n", old.ss_sp == stack, old.ss_flags, old.ss_size); st.ss_size = 100;
    say(ERR(sigaltstack(&st, NULL)), "small"); st.ss_flags = 77; say(ERR(sigaltstack(&st, NULL)), "flags");
    st.ss_flags = SS_DISABLE; say(sigaltstack(&st, NULL), "disable"); signal(SIGPIPE, SIG_IGN); int pp[2];
    need(pipe(pp) == 0, "pipe"); close(pp[0]); say(ERR(write(pp[1], "x", 1)), "EPIPE");
}

static void queues(void) { /* mq_notify(3): a signal, or a cookie through a netlink socket, which is how libc starts its thread */
    char name[64], cookie[32] = "the cookie", got[64]; snprintf(name, sizeof name, "torov-%d", getpid());
    int q = (int)SC(SYS_mq_open, name, O_RDWR | O_CREAT | O_NONBLOCK, 0600, NULL); need(q >= 0, "mq_open");
    say(SC(SYS_mq_unlink, name), "unlink"); /* now: a run that is killed leaves none, of which a user may have ten */
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 44}; sigset_t s; siginfo_t i;
    sigemptyset(&s); sigaddset(&s, SIGRTMIN); sigprocmask(SIG_BLOCK, &s, NULL);
    say(SC(SYS_mq_notify, q, &e), "signal"); say(SC(SYS_mq_notify, q, &e), "taken"); say(SC(SYS_mq_timedsend, q, "x", 1, 0, NULL), "send");
    say(sigwaitinfo(&s, &i) == SIGRTMIN, "came"); printf("%d %d %d\n", i.si_code, i.si_value.sival_int, i.si_pid == getpid());
    say(SC(SYS_mq_timedreceive, q, got, 10, NULL, NULL), "short"); static char big[8192];
    say(SC(SYS_mq_timedreceive, q, big, sizeof big, NULL, NULL), "receive");
    int n = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0); need(n >= 0, "netlink"); e.sigev_notify = SIGEV_THREAD; e.sigev_signo = n;
    e.sigev_value.sival_ptr = cookie; say(SC(SYS_mq_notify, q, &e), "thread"); SC(SYS_mq_timedsend, q, "y", 1, 0, NULL);
    say(recv(n, got, sizeof got, 0), "cookie"); printf("%s %d\n", got, got[31]);
    e.sigev_value.sival_ptr = (void *)8; say(SC(SYS_mq_notify, q, &e), "no cookie"); e.sigev_value.sival_ptr = cookie;
    e.sigev_signo = 0; say(SC(SYS_mq_notify, q, &e), "no socket"); e.sigev_signo = 999; say(SC(SYS_mq_notify, q, &e), "closed");
    e.sigev_notify = SIGEV_SIGNAL; say(SC(SYS_mq_notify, q, &e), "no signal"); e.sigev_notify = 9; say(SC(SYS_mq_notify, q, &e), "no way");
    say(SC(SYS_mq_notify, q, 8), "fault"); say(SC(SYS_mq_notify, 0, &e), "no queue"); say(SC(SYS_mq_notify, q, NULL), "none");
    close(q); close(n);
}

static void room(const char *what, size_t mb, int prot) {
    void *p = mmap(NULL, mb << 20, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    say(p == MAP_FAILED ? -errno : 0, "%s", what); if (p != MAP_FAILED) munmap(p, mb << 20);
}
static void limits(void) { /* of memory: RLIMIT_AS, RLIMIT_DATA */
    struct rlimit l, was; getrlimit(RLIMIT_AS, &was); l = was; l.rlim_cur = 512 << 20; say(setrlimit(RLIMIT_AS, &l), "AS");
    room("400", 400, 3); room("700", 700, 3); room("700 of nothing", 700, 0);
    char *p = mmap(NULL, 300 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); room("300 more", 300, 3);
    say(mmap(p, 300 << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p, "in place of it");
    void *m = mremap(p, 300 << 20, 600 << 20, MREMAP_MAYMOVE); say(m == MAP_FAILED ? -errno : 0, "grow");
    say((long)sbrk(400 << 20) == -1, "sbrk"); munmap(p, 300 << 20); say((long)sbrk(400 << 20) != -1, "sbrk"); sbrk(-(400 << 20));
    say(setrlimit(RLIMIT_AS, &was), "back"); room("700", 700, 3); getrlimit(RLIMIT_DATA, &was); l = was; l.rlim_cur = 256 << 20;
    say(setrlimit(RLIMIT_DATA, &l), "DATA"); room("300", 300, 3); room("300 to read", 300, 1); room("100", 100, 3);
    say((long)sbrk(300 << 20) == -1, "sbrk"); setrlimit(RLIMIT_DATA, &was);
}

int main(void) {
    clocks(); signals(); queues(); limits(); self();
    for (long nr = 337; nr < 424; nr++) if (SC(nr, 0, 0, 0, 0, 0, 0) != -ENOSYS) printf("%ld is not ENOSYS\n", nr);
    static const uint64_t odd[] = {470, 511, 512, 1023, 1024, 0x7fffffff, 0x80000000, 0xffffffff, ~0ul, 0x100000000 | SYS_getppid, 0xdeadbeef00000000 | SYS_getuid, 0x40000000, 0x40000000 | SYS_getuid, 134, 174, 177, 180, 183, 211, 214, 236};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) { long r = SC((long)odd[i], 0, 0, 0, 0, 0, 0);
    say(r > 0 ? 1 : r, "number %lx", odd[i]); }
    return 0;
}
