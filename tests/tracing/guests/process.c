#include "calls.h"
static void on(int sig) {}
static void info(int sig, siginfo_t *i, void *u) {}
int main(void) {
    char buf[256];
    int st;
    struct rusage ru;
    struct utsname un;
    struct sysinfo si;
    struct tms tms;
    S(getpid), S(getppid), S(gettid), S(getpgrp), S(getpgid, 0), S(getsid, 0), S(getuid), S(geteuid), S(getgid), S(getegid);
    int ids[3], groups[64];
    S(getresuid, ids, ids + 1, ids + 2), S(getresgid, ids, ids + 1, ids + 2), S(getgroups, 64, groups), S(getgroups, 0, NULL);
    S(setuid, getuid()), S(setgid, getgid()), S(setreuid, -1, -1), S(setregid, -1, -1), S(setresuid, -1, -1, -1), S(setresgid, -1, -1, -1);
    S(setfsuid, getuid()), S(setfsgid, getgid()), S(setpgid, 0, 0), S(setgroups, 0, BAD);
    S(uname, &un), S(sysinfo, &si), S(times, &tms), S(getrusage, RUSAGE_SELF, &ru), S(getcpu, ids, NULL, NULL);
    struct rlimit rl;
    S(getrlimit, RLIMIT_CORE, &rl), S(prlimit64, 0, RLIMIT_NOFILE, NULL, &rl), S(setrlimit, RLIMIT_CORE, &(struct rlimit){0, 0});
    S(prlimit64, 0, RLIMIT_CPU, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}, NULL), S(getrlimit, 99, &rl);
    S(getpriority, PRIO_PROCESS, 0), S(setpriority, PRIO_PROCESS, 0, 1);
    struct sched_param sp = {0};
    S(sched_getparam, 0, &sp), S(sched_setparam, 0, &sp), S(sched_getscheduler, 0), S(sched_setscheduler, 0, SCHED_BATCH, &sp);
    S(sched_get_priority_max, SCHED_FIFO), S(sched_get_priority_min, SCHED_RR), S(sched_yield);
    struct timespec ts, left;
    S(sched_rr_get_interval, 0, &ts);
    unsigned long cpus[16] = {1};
    S(sched_getaffinity, 0, sizeof cpus, cpus), S(sched_setaffinity, 0, 8, cpus);
    char attr[48] = {48};
    S(sched_getattr, 0, attr, sizeof attr, 0), S(sched_setattr, 0, attr, 0);
    struct __user_cap_header_struct ch = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct cd[2];
    S(capget, &ch, cd);
    S(personality, 0xffffffff), S(prctl, PR_SET_NAME, "name"), S(prctl, PR_GET_NAME, buf), S(prctl, PR_GET_DUMPABLE), S(prctl, PR_SET_PDEATHSIG, SIGTERM);
    S(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), S(prctl, PR_CAPBSET_READ, CAP_SYS_ADMIN), S(prctl, PR_GET_PDEATHSIG, ids), S(prctl, PR_SET_CHILD_SUBREAPER, 0), S(prctl, 9999, 1, 2, 3, 4);
    unsigned long base;
    S(arch_prctl, 0x1003, &base);
    S(getrandom, buf, 8, 1);
    /* time */
    struct timeval tv;
    struct timezone tz;
    S(gettimeofday, &tv, &tz), S(gettimeofday, &tv, NULL), S(time, NULL), S(time, &base), S(clock_gettime, CLOCK_MONOTONIC, &ts), S(clock_getres, CLOCK_REALTIME, &ts), S(clock_gettime, -6, &ts), S(clock_gettime, 77, &ts);
    S(nanosleep, &soon, &left), S(clock_nanosleep, CLOCK_MONOTONIC, 0, &soon, NULL), S(clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &never, NULL), S(nanosleep, BAD, NULL);
    struct itimerval it = {{0, 0}, {100, 0}};
    S(setitimer, ITIMER_REAL, &it, NULL), S(getitimer, ITIMER_REAL, &it), S(setitimer, ITIMER_VIRTUAL, &(struct itimerval){{1, 0}, {0, 0}}, &it), S(alarm, 0);
    struct sigevent se = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value = {.sival_int = 3}};
    int tid = 0;
    struct itimerspec its = {{0, 0}, {1000, 5}};
    S(timer_create, CLOCK_MONOTONIC, &se, &tid), S(timer_settime, tid, 0, &its, NULL), S(timer_gettime, tid, &its), S(timer_getoverrun, tid), S(timer_delete, tid);
    se.sigev_notify = SIGEV_NONE;
    S(timer_create, CLOCK_REALTIME, &se, &tid), S(timer_settime, tid, TIMER_ABSTIME, &its, &its);
    int tfd = S(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    S(timerfd_settime, tfd, 0, &its, NULL), S(timerfd_gettime, tfd, &its), S(eventfd2, 3, EFD_SEMAPHORE | EFD_CLOEXEC), S(eventfd, 0);
    struct timex tx = {0};
    S(adjtimex, &tx), S(clock_adjtime, CLOCK_REALTIME, &tx);
    S(settimeofday, NULL, BAD), S(clock_settime, CLOCK_MONOTONIC, &never);
    /* signals */
    unsigned long set = 1ul << (SIGUSR1 - 1), old, big = ~0ul, rt = 1ul << 33 | 1ul << (SIGHUP - 1);
    struct ksigaction sa = {on, SA_RESTART | 0x04000000, (void *)0, set}, prev;
    sigaction(SIGUSR2, &(struct sigaction){.sa_handler = on, .sa_flags = SA_NODEFER}, NULL);
    sigaction(SIGHUP, &(struct sigaction){.sa_sigaction = info, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND}, NULL);
    S(rt_sigaction, SIGUSR2, NULL, &prev, 8), S(rt_sigaction, SIGTERM, &(struct ksigaction){SIG_IGN, 0, 0, 0}, &prev, 8), S(rt_sigaction, SIGKILL, &sa, NULL, 8), S(rt_sigaction, 64, NULL, BAD, 8);
    S(rt_sigprocmask, SIG_BLOCK, &set, &old, 8), S(rt_sigprocmask, SIG_SETMASK, &big, &old, 8), S(rt_sigprocmask, SIG_SETMASK, &rt, NULL, 8), S(rt_sigprocmask, SIG_UNBLOCK, NULL, &old, 8), S(rt_sigprocmask, SIG_UNBLOCK, &big, NULL, 8), S(rt_sigprocmask, SIG_BLOCK, &set, NULL, 8), S(rt_sigprocmask, 9, &set, NULL, 8);
    S(kill, getpid(), SIGUSR1), S(rt_sigpending, &old, 8);
    siginfo_t got;
    S(rt_sigtimedwait, &set, &got, &never, 8), S(rt_sigtimedwait, &set, &got, &never, 8);
    siginfo_t q = {.si_signo = SIGUSR2, .si_code = SI_QUEUE};
    q.si_pid = getpid(), q.si_uid = getuid(), q.si_value.sival_int = 7;
    S(rt_sigqueueinfo, getpid(), SIGUSR2, &q), S(rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR2, &q), S(tgkill, getpid(), gettid(), SIGUSR2), S(tkill, gettid(), SIGHUP), S(kill, getpid(), 0), S(kill, 0x7ffffff0, SIGTERM), S(tgkill, getpid(), gettid(), 40 + 100);
    static char stack[16384];
    S(sigaltstack, &(stack_t){stack, 0, sizeof stack}, NULL), S(sigaltstack, NULL, &(stack_t){0}), S(sigaltstack, &(stack_t){0, SS_DISABLE, 0}, NULL);
    S(signalfd4, -1, &set, 8, SFD_NONBLOCK), S(signalfd, -1, &rt, 8);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on}, NULL);
    S(setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL), S(pause);
    S(setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL), S(rt_sigsuspend, &set, 8);
    S(setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL), S(nanosleep, &(struct timespec){5, 0}, &left);
    int pp[2];
    S(pipe, pp);
    S(setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL), S(read, pp[0], buf, 1);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on, .sa_flags = SA_RESTART}, NULL);
    S(setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL), S(poll, NULL, 0, 5000);
    S(setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL), S(futex, &(int){1}, FUTEX_WAIT_PRIVATE, 1, &(struct timespec){5, 0});
    /* wait */
    S(wait4, -1, &st, WNOHANG, NULL), S(waitid, P_ALL, 0, &got, WEXITED | WNOHANG | WNOWAIT, NULL);
    /* futex */
    int word = 1;
    S(futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL), S(futex, &word, FUTEX_WAIT, 1, &soon), S(futex, &word, FUTEX_WAKE_PRIVATE, 1), S(futex, &word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &soon, NULL, FUTEX_BITSET_MATCH_ANY), S(futex, &word, FUTEX_REQUEUE, 1, 2, &word), S(futex, &word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &word, 1), S(futex, &word, FUTEX_WAKE_OP_PRIVATE, 1, 1, &word, 0x4000001), S(futex, &word, FUTEX_UNLOCK_PI), S(futex, &word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 5);
    S(set_tid_address, &word), S(set_robust_list, buf, 24), S(get_robust_list, 0, &base, &base), S(set_robust_list, buf, 5);
    S(membarrier, 0, 0, 0), S(membarrier, 8, 0, 0), S(ioprio_get, 1, 0), S(ioprio_set, 1, 0, 0x4005), S(pidfd_open, getpid(), 0);
    S(pidfd_open, 0, 5), S(unshare, 0), S(acct, "none/none"), S(swapon, "none", 0), S(mount, "a", "/nonexistent", "tmpfs", MS_RDONLY | MS_NOSUID, "size=1"), S(umount2, "/nonexistent", 2);
    return 7;
}
