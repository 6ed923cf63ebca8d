/* The supervisor of a jail, or of limits that one process cannot keep: it is the process that the shell knows. Signals go on to
 * main, a stop of main is its own stop, and at a limit the whole tree ends. */
#include "jail.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct watch {
    const struct tv_jail *j;
    pid_t init, main;
    bool stopped, over;
    bool spent;      /* main was killed, and had used the CPU time of the limit */
    int status;      /* of wait(2) */
    uint64_t began, looked, pause; /* ns: between two looks at /proc, so that they cost at most 2% */
};

/* A process of /proc: fields 4 (parent) and 14 to 17 (own time and that of waited-for children), proc_pid_stat(5). */
struct seen { pid_t pid, parent; uint64_t ticks; bool ours, stopped; };

static size_t look(struct seen **out) {
    static struct seen *all;
    static size_t room;
    size_t n = 0;
    DIR *dir = opendir("/proc");
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[64], text[512], *p;
        unsigned long t[4];
        int parent;
        char state;
        if (e->d_name[0] < '1' || e->d_name[0] > '9') continue;
        snprintf(path, sizeof path, "/proc/%.20s/stat", e->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        ssize_t len = read(fd, text, sizeof text - 1);
        close(fd);
        text[len > 0 ? len : 0] = 0;
        if (!(p = strrchr(text, ')')) || sscanf(p + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &state, &parent, t, t + 1, t + 2, t + 3) != 6) continue;
        if (n == room) {
            struct seen *more = realloc(all, (room * 2 + 256) * sizeof *all);
            if (!more) break;
            all = more;
            room = room * 2 + 256;
        }
        all[n++] = (struct seen){(pid_t)atoi(e->d_name), parent, t[0] + t[1] + t[2] + t[3], false, strchr("TtZX", state) != NULL};
    }
    closedir(dir);
    *out = all;
    return n;
}

/* All processes below us: marks them, adds up their time. */
static uint64_t tree(struct seen *all, size_t n) {
    uint64_t ticks = 0;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            if (all[i].ours) continue;
            bool ours = all[i].parent == getpid();
            for (size_t k = 0; k < n && !ours; k++) ours = all[k].ours && all[k].pid == all[i].parent;
            if (ours) all[i].ours = more = true, ticks += all[i].ticks;
        }
    }
    return ticks;
}

static void note(struct watch *w, pid_t pid, int status) {
    if (pid != w->main) return;
    if (WIFSTOPPED(status)) { w->stopped = true; w->status = status; }
    else if (WIFCONTINUED(status)) w->stopped = false;
    else { w->over = true; w->status = status; }
}

static void reap(struct watch *w) {
    int status;
    pid_t pid;
    struct rusage used;
    while ((pid = wait4(-1, &status, WNOHANG | WUNTRACED | WCONTINUED, &used)) > 0) {
        note(w, pid, status);
        /* RLIMIT_CPU (limit.c) may come before we have looked */
        uint64_t us = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
        if (pid == w->main && w->over && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && w->j->cpu_ns) w->spent = us * 1000 >= w->j->cpu_ns;
    }
}

/* Everything below us. Init takes its namespace with it; without one, orphans come to us (PR_SET_CHILD_SUBREAPER) until none is left. */
static void end_tree(struct watch *w) {
    if (w->init > 0) {
        kill(w->init, SIGKILL);
        for (int status; !w->over && waitpid(w->main, &status, 0) == w->main;) note(w, w->main, status);
        while (waitpid(w->init, NULL, 0) < 0 && errno == EINTR) { }
        return;
    }
    if (w->over && waitpid(-1, NULL, WNOHANG) < 0) return; /* nobody was left behind */
    for (int i = 0; i < 10000; i++) {
        struct seen *all = NULL;
        size_t n = look(&all);
        tree(all, n);
        for (size_t k = 0; k < n; k++)
            if (all[k].ours) kill(all[k].pid, i & 1 ? SIGKILL : SIGSTOP); /* first stopped: what is killed one by one could be faster than we */
        if (i & 1) reap(w);
        if (i & 1 && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD) return;
        if (i > 2) usleep(1000);
    }
}

static bool limited(const struct tv_jail *j) { return j->wall_ns || j->cpu_ns || j->shared_fd > 0; }

/* While we are stopped nobody looks at limits: all else that the program has started stops as well. */
static size_t freeze(const struct watch *w, pid_t frozen[], size_t most) {
    size_t n = 0;
    for (bool more = true; more && n < most;) {
        struct seen *all = NULL;
        size_t count = look(&all);
        tree(all, count);
        more = false;
        for (size_t i = 0; i < count && n < most; i++) {
            if (!all[i].ours || all[i].stopped || all[i].pid == w->init || kill(all[i].pid, SIGSTOP)) continue;
            frozen[n++] = all[i].pid;
            more = true;
        }
    }
    return n;
}

/* The shell sees us stop as it would have seen main. */
static void stop_too(struct watch *w) {
    static pid_t frozen[65536];
    size_t n = limited(w->j) ? freeze(w, frozen, sizeof frozen / sizeof *frozen) : 0;
    int sig = WSTOPSIG(w->status), status;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, sig);
    void (*old)(int) = sig == SIGSTOP ? SIG_DFL : signal(sig, SIG_DFL);
    kill(getpid(), sig);
    if (sig != SIGSTOP) sigprocmask(SIG_UNBLOCK, &one, NULL); /* stops here */
    if (sig != SIGSTOP) { sigprocmask(SIG_BLOCK, &one, NULL); signal(sig, old); }
    while (w->stopped) { /* the shell continues the group; a SIGCONT for us alone is for main too */
        pid_t pid = waitpid(w->main, &status, WNOHANG | WCONTINUED);
        if (pid == w->main) note(w, pid, status);
        else { kill(w->main, SIGCONT); w->stopped = false; }
        if (w->over) break;
    }
    while (n) kill(frozen[--n], SIGCONT);
}

static void forward(struct watch *w, const siginfo_t *info) {
    int sig = info->si_signo;
    if (info->si_code > 0) return; /* the kernel's: a key of the terminal goes to main as to us */
    if (sig == SIGCHLD) return;
    if (info->si_code == SI_QUEUE) {
        siginfo_t copy = *info;
        sys6(129, (uint64_t)w->main, (uint64_t)sig, (uintptr_t)&copy, 0, 0, 0); /* with its value */
    } else {
        kill(w->main, sig);
    }
}

static uint64_t own_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int limit_reached(struct watch *w) {
    const struct tv_jail *j = w->j;
    uint64_t now = tv_now();
    if (limit_over()) return limit_over();
    if (j->wall_ns && now - w->began >= j->wall_ns) return TV_LIMIT_WALL;
    if (!j->cpu_ns || now - w->looked < w->pause) return 0;
    struct seen *all = NULL;
    uint64_t before = own_time();
    size_t n = look(&all);
    uint64_t used = tree(all, n) * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
    w->looked = tv_now();
    w->pause = 50 * (own_time() - before); /* what it costs us, and not how long a busy machine has let us wait */
    if (w->pause < 50000000) w->pause = 50000000;
    return used >= j->cpu_ns ? TV_LIMIT_CPU : 0;
}

void supervise(const struct tv_jail *j, pid_t init, pid_t main, struct tv_stop *end) {
    struct watch w = {.j = j, .init = init, .main = main, .began = tv_now()};
    bool looks = j->cpu_ns || j->shared_fd > 0;
    sigset_t all;
    siginfo_t info;
    int limit = 0, tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    bool front = tty >= 0 && tcgetpgrp(tty) == getpgrp();
    sigfillset(&all);
    for (reap(&w); !w.over && !limit; reap(&w)) {
        if (w.stopped) { stop_too(&w); continue; }
        uint64_t wait = looks ? 50000000 : ~0ull, left = j->wall_ns ? w.began + j->wall_ns - tv_now() : ~0ull;
        if ((int64_t)left < 0 && j->wall_ns) left = 0;
        if (left < wait) wait = left;
        struct timespec t = {(time_t)(wait / 1000000000), (long)(wait % 1000000000)};
        if (sigtimedwait(&all, &info, wait == ~0ull ? NULL : &t) > 0) forward(&w, &info);
        limit = limit_reached(&w);
    }
    if (!limit) limit = limit_over();
    if (!limit && w.spent) limit = TV_LIMIT_CPU;
    if (init > 0 || limit || j->whole) end_tree(&w);
    if (front && tcgetpgrp(tty) != getpgrp()) tcsetpgrp(tty, getpgrp()); /* SIGTTOU is blocked; a guest's shell that was killed gives nothing back */
    if (tty >= 0) close(tty);
    *end = (struct tv_stop){.kind = WIFSIGNALED(w.status) ? TV_SIGNALLED : TV_EXITED, .note = limit};
    end->status = limit ? SIGKILL : WIFSIGNALED(w.status) ? WTERMSIG(w.status) : WEXITSTATUS(w.status);
    if (limit) end->kind = TV_SIGNALLED;
}
