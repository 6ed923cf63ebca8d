/* Signals: a line for each fact of signal(7) and sigaction(2), one case a run. */
#include "guest.h"
#include "cases.h"
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <termios.h>

static volatile sig_atomic_t hits, last_sig, last_code, last_value, depth, deepest, pid_right;
static volatile int order[64], n_order;
static uint64_t mask_bits(void) { uint64_t m = 0; SC(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &m, 8); return m; }
static void note(int sig, siginfo_t *info, void *uc) {
    (void)uc;
    hits++; last_sig = sig; last_code = info->si_code; last_value = info->si_value.sival_int; pid_right = info->si_pid == getpid();
    if (n_order < 64) order[n_order++] = sig * 1000 + (sig >= SIGRTMIN ? info->si_value.sival_int : 0);
}
static void on(int sig, void (*f)(int, siginfo_t *, void *), int flags) {
    struct sigaction a = {.sa_sigaction = f, .sa_flags = flags | SA_SIGINFO};
    need(!sigaction(sig, &a, NULL), "sigaction");
}
static void block(int how, int sig) { sigset_t s; sigemptyset(&s); sigaddset(&s, sig); sigprocmask(how, &s, NULL); }
static void after(long ms, int sig, pid_t tid) { /* a child sends it */
    pid_t to = getpid();
    if (!fork()) { rest_ms(ms); if (tid) SC(SYS_tgkill, to, tid, sig); else kill(to, sig); _exit(0); }
}
static void reap(void) { while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) { } }

static void senders(void) {
    on(SIGUSR1, note, 0);
    raise(SIGUSR1); printf("%d %d %d\n", hits, last_code, pid_right);
    kill(getpid(), SIGUSR1); printf("%d %d %d\n", hits, last_code, pid_right);
    SC(SYS_tkill, gettid(), SIGUSR1); printf("%d %d %d\n", hits, last_code, pid_right);
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77}); printf("%d %d %d %d\n", hits, last_code, last_value, pid_right);
    pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){.sival_int = 78}); printf("%d %d %d\n", hits, last_code, last_value);
    say(SC(SYS_kill, getpid(), 0), "0"); say(SC(SYS_kill, getpid(), 65), "65"); say(SC(SYS_kill, 99999999, 0), "nobody");
    say(SC(SYS_tkill, -1, SIGUSR1), "tkill -1"); say(SC(SYS_tgkill, getpid(), 0, SIGUSR1), "tgkill 0");
    say(SC(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, 8), "no memory");
    siginfo_t i = {.si_code = SI_USER};
    say(SC(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &i), "as the kernel");
}
static void nest(int sig, siginfo_t *info, void *uc) {
    (void)info; (void)uc;
    if (++depth > deepest) deepest = depth;
    if (deepest < 5) raise(sig);
    depth--;
    hits++;
}
static void flags(void) {
    on(SIGUSR1, nest, SA_NODEFER); raise(SIGUSR1); printf("nodefer %d %d\n", deepest, hits);
    deepest = hits = 0;
    struct sigaction a = {.sa_sigaction = nest, .sa_flags = SA_SIGINFO}, o;
    sigaction(SIGUSR1, &a, NULL); 
    on(SIGUSR2, note, SA_RESETHAND); raise(SIGUSR2); sigaction(SIGUSR2, NULL, &o);
    printf("resethand %d %d %x\n", hits, o.sa_handler == SIG_DFL, o.sa_flags & ~0x04000000);
    sigfillset(&a.sa_mask); a.sa_sigaction = note; sigaction(SIGRTMIN, &a, NULL); sigaction(SIGRTMIN, NULL, &o);
    uint64_t m; memcpy(&m, &o.sa_mask, 8); printf("mask %lx\n", m);
}
static uint64_t inside;
static void see_mask(int sig, siginfo_t *info, void *uc) { (void)sig; (void)info; inside = mask_bits(); memcpy(&((ucontext_t *)uc)->uc_sigmask, &(uint64_t){1 << (SIGHUP - 1)}, 8); }
static void masks(void) {
    struct sigaction a = {.sa_sigaction = see_mask, .sa_flags = SA_SIGINFO};
    sigaddset(&a.sa_mask, SIGTERM); sigaction(SIGUSR1, &a, NULL);
    block(SIG_BLOCK, SIGINT);
    printf("%lx\n", mask_bits()); raise(SIGUSR1); printf("inside %lx, changed by the handler %lx\n", inside, mask_bits());
    a.sa_flags |= SA_NODEFER; sigaction(SIGUSR1, &a, NULL); raise(SIGUSR1); printf("nodefer %lx\n", inside);
    uint64_t none = 0, all = ~0ul; SC(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
    on(SIGUSR2, note, 0); block(SIG_BLOCK, SIGUSR2); raise(SIGUSR2); raise(SIGUSR2); printf("held %d\n", hits);
    sigset_t p; sigpending(&p); printf("pending %d\n", sigismember(&p, SIGUSR2));
    block(SIG_UNBLOCK, SIGUSR2); printf("then %d\n", hits);
    SC(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8); printf("all %lx\n", mask_bits());
    raise(SIGUSR2); signal(SIGUSR2, SIG_IGN); sigpending(&p); printf("ignored while pending %d\n", sigismember(&p, SIGUSR2));
}
static void queued(void) {
    static const int sigs[] = {3, 1, 0, 2, 1};
    for (int s = 0; s < 4; s++) { on(SIGRTMIN + s, note, 0); block(SIG_BLOCK, SIGRTMIN + s); }
    on(SIGUSR1, note, 0); block(SIG_BLOCK, SIGUSR1);
    for (int i = 0; i < 30; i++) sigqueue(getpid(), SIGRTMIN + sigs[i % 5], (union sigval){.sival_int = i});
    kill(getpid(), SIGUSR1); kill(getpid(), SIGUSR1);
    sigset_t none; sigemptyset(&none); sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < n_order; i++) printf("%d ", order[i]);
    printf("\n%d\n", hits);
}
static void waiting(void) {
    sigset_t s, old; siginfo_t i; struct timespec t = {0, 20000000}, zero = {0, 0}, far = {5, 0}, bad_time = {0, -1};
    sigemptyset(&s); sigaddset(&s, SIGUSR1); sigaddset(&s, SIGRTMIN + 2); sigprocmask(SIG_BLOCK, &s, &old);
    say(SC(SYS_rt_sigtimedwait, &s, &i, &t, 8), "timeout"); say(SC(SYS_rt_sigtimedwait, &s, &i, &zero, 8), "poll");
    sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 5}); sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 6});
    say(sigwaitinfo(&s, &i) == SIGRTMIN + 2, "wait"); printf("%d %d\n", i.si_code, i.si_value.sival_int);
    say(sigtimedwait(&s, &i, &zero) == SIGRTMIN + 2, "wait"); printf("%d %d\n", i.si_code, i.si_value.sival_int);
    after(40, SIGUSR1, 0); say(sigtimedwait(&s, &i, &far), "from a child"); printf("%d %d\n", i.si_code, i.si_pid != getpid()); reap();
    on(SIGALRM, note, SA_RESTART); struct itimerval it = {{0, 0}, {0, 30000}}; setitimer(ITIMER_REAL, &it, NULL);
    say(SC(SYS_rt_sigtimedwait, &s, &i, &far, 8), "interrupted by another"); printf("%d\n", hits);
    on(SIGUSR1, note, 0); after(40, SIGUSR1, 0); say(SC(SYS_rt_sigsuspend, &old, 8), "suspend"); printf("%d %d\n", hits, last_sig); reap();
    sigset_t now; sigprocmask(SIG_BLOCK, NULL, &now); printf("mask back %d\n", sigismember(&now, SIGUSR1));
    raise(SIGUSR1); say(SC(SYS_rt_sigsuspend, &old, 8), "suspend with one pending"); printf("%d\n", hits);
    int got; raise(SIGUSR1); say(sigwait(&s, &got), "sigwait"); printf("%d\n", got);
    say(SC(SYS_rt_sigtimedwait, &s, &i, &bad_time, 8), "bad time");
    alarm(40);
}
static int pipes[2];
static int word;
static struct { const char *name; } calls[] = {{"read"}, {"nanosleep"}, {"clock_nanosleep"}, {"poll"}, {"futex"}, {"accept"}, {"wait4"}, {"pause"}, {"flock"}, {"recv with a timeout"}, {"write"}, {"futex timed"}, {"ppoll"}};
static long blocking(int which) {
    char c; struct timespec t = {0, 150000000}, rem = {9, 9}, soon = {0, 200000000};
    struct pollfd p = {pipes[0], POLLIN, 0};
    switch (which) {
    case 0: return SC(SYS_read, pipes[0], &c, 1);
    case 1: { long r = SC(SYS_nanosleep, &t, &rem); if (r) printf("left %d ", rem.tv_sec == 0 && rem.tv_nsec > 0 && rem.tv_nsec < t.tv_nsec); return r; }
    case 2: return SC(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, &rem);
    case 3: return SC(SYS_poll, &p, 1, 200);
    case 4: return SC(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
    case 5: { int s = socket(AF_UNIX, SOCK_STREAM, 0); struct sockaddr a = {.sa_family = AF_UNIX}; bind(s, &a, 2); listen(s, 1); return SC(SYS_accept, s, NULL, NULL); }
    case 6: return SC(SYS_wait4, -1, NULL, 0, NULL) > 0;
    case 7: return SC(SYS_pause);
    case 8: return 0;
    case 9: { int s[2]; struct timeval tv = {0, 200000}; socketpair(AF_UNIX, SOCK_STREAM, 0, s); setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv); return SC(SYS_recvfrom, s[0], &c, 1, 0, NULL, NULL); }
    case 10: { static char big[1 << 20]; int q[2]; need(!pipe(q), "pipe"); return SC(SYS_write, q[1], big, sizeof big); }
    case 11: return SC(SYS_futex, &word, FUTEX_WAIT, 0, &soon, NULL, 0);
    case 12: return SC(SYS_ppoll, &p, 1, &soon, NULL, 8);
    }
    return 0;
}
static void eintr(void) {
    for (size_t w = 0; w < sizeof calls / sizeof *calls; w++) {
        need(!pipe(pipes), "pipe");
        if (w == 6) after(5, 0, 0); 
        if (w == 6) reap();
        if (w == 8) continue;
        pid_t parent = getpid();
        hits = 0; on(SIGUSR1, note, 0);
        pid_t p = fork();
        if (!p) { rest_ms(60); kill(parent, SIGUSR1); rest_ms(w == 6 ? 60 : 0); _exit(0); }
        say(blocking((int)w), "%s", calls[w].name); printf("%d\n", hits);
        reap(); close(pipes[0]); close(pipes[1]);
    }
}
static void wake(int sig, siginfo_t *info, void *uc) { /* after the restarted call blocks again */
    note(sig, info, uc);
}
static void restart(void) {
    static const int which[] = {0, 1, 3, 5, 6, 9, 11};
    for (size_t k = 0; k < sizeof which / sizeof *which; k++) {
        int w = which[k];
        need(!pipe(pipes), "pipe");
        pid_t parent = getpid();
        hits = 0; on(SIGUSR1, wake, SA_RESTART); on(SIGUSR2, note, 0);
        pid_t p = fork();
        if (!p) {
            rest_ms(50); kill(parent, SIGUSR1); rest_ms(50);
            if (w == 0 && write(pipes[1], "x", 1)) { }
            if (w == 5) kill(parent, SIGUSR2);
            rest_ms(w == 6 ? 20 : 0); _exit(0);
        }
        say(blocking(w), "%s", calls[w].name); printf("%d\n", hits);
        reap(); close(pipes[0]); close(pipes[1]);
    }
    /* a signal that is ignored or has no handler interrupts nothing; a stop and SIGCONT neither */
    signal(SIGUSR1, SIG_IGN); need(!pipe(pipes), "pipe");
    pid_t parent = getpid();
    if (!fork()) { rest_ms(30); kill(parent, SIGUSR1); kill(parent, SIGWINCH); kill(parent, SIGSTOP); rest_ms(30); kill(parent, SIGCONT); rest_ms(30); if (write(pipes[1], "x", 1)) { } _exit(0); }
    say(blocking(0), "through"); reap();
}

static void registers(void) { /* a handler that spoils all it may; the loop keeps its registers */
    long wrong = 0; int n = 0;
    struct itimerval it = {{0, 500}, {0, 500}};
    on(SIGALRM, note, SA_RESTART); setitimer(ITIMER_REAL, &it, NULL);
    while (hits < 300) {
        uint64_t a = 0x1111, b = 0x2222, c = 0x3333, d = 0x4444, red[4]; uint32_t k = 20000; double x = 1.5 + n++, y;
        __asm__ volatile("movsd %6, %%xmm9\n mov %%rsp, %%r15\n movq $0x77, -8(%%rsp)\n movq $0x88, -120(%%rsp)\n 1: dec %4\n jnz 1b\n movsd %%xmm9, %5\n mov -8(%%rsp), %%r14\n mov -120(%%rsp), %%r13\n sub %%rsp, %%r15\n mov %%r14, %7\n mov %%r13, 8+%7\n mov %%r15, 16+%7\n"
                         : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(k), "=m"(y) : "m"(x), "m"(red) : "xmm9", "r13", "r14", "r15", "memory", "cc");
        wrong += a != 0x1111 || b != 0x2222 || c != 0x3333 || d != 0x4444 || k || x != y || red[0] != 0x77 || red[1] != 0x88 || red[2];
    }
    it = (struct itimerval){0}; setitimer(ITIMER_REAL, &it, NULL);
    printf("wrong %ld\n", wrong);
    alarm(40);
}
#ifdef __x86_64__
static void spoil(int sig, siginfo_t *info, void *uc) {
    note(sig, info, uc);
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n movaps %%xmm0, %%xmm7\n fninit\n fld1\n fldpi\n std\n cld" ::: "xmm0", "xmm7", "memory");
    if (__builtin_cpu_supports("avx")) __asm__ volatile("vpcmpeqd %%xmm1, %%xmm1, %%xmm1\n vinsertf128 $1, %%xmm1, %%ymm1, %%ymm7\n vzeroupper" ::: "xmm1", "xmm7");
}
static void vectors(void) {
    double in[4] = {1, 2, 3, 4}, out[4]; long double l = 3.25L, kept; long pid = getpid(), ret; uint32_t mx = 0x7f80, mxo = 0;
    bool avx = __builtin_cpu_supports("avx");
    on(SIGUSR1, spoil, 0);
    for (int i = 0; i < 3; i++) {
        if (avx) __asm__ volatile("ldmxcsr %8\n fldt %5\n vmovupd %4, %%ymm7\n syscall\n vmovupd %%ymm7, %1\n fstpt %2\n stmxcsr %3\n vzeroupper" : "=a"(ret), "=m"(out), "=m"(kept), "=m"(mxo) : "m"(in), "m"(l), "a"(62), "D"(pid), "m"(mx), "S"((long)SIGUSR1) : "rcx", "r11", "xmm7", "memory");
        else __asm__ volatile("ldmxcsr %8\n fldt %5\n movupd %4, %%xmm7\n syscall\n movupd %%xmm7, %1\n fstpt %2\n stmxcsr %3" : "=a"(ret), "=m"(out), "=m"(kept), "=m"(mxo) : "m"(in), "m"(l), "a"(62), "D"(pid), "m"(mx), "S"((long)SIGUSR1) : "rcx", "r11", "xmm7", "memory");
        printf("%ld %d %g %g %g %g %Lg %x\n", ret, hits, out[0], out[1], avx ? out[2] : 3, avx ? out[3] : 4, kept, mxo);
    }
    __asm__ volatile("ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
}
static ucontext_t seen;
static void edit(int sig, siginfo_t *info, void *p) {
    ucontext_t *u = p;
    (void)sig; (void)info;
    seen = *u;
    u->uc_mcontext.gregs[REG_RIP] += 2; /* past ud2 */
    u->uc_mcontext.gregs[REG_RBX] = 0x1234;
    u->uc_mcontext.gregs[REG_R15] = 0x5678;
    u->uc_mcontext.gregs[REG_EFL] |= 0x41 | 0x3000 | 0x200 | 0x100000; /* CF ZF; IOPL and VIF are not ours */
    uint32_t *xmm = (uint32_t *)u->uc_mcontext.fpregs->_xmm[3].element;
    xmm[0] = 0xabcdef;
}
static void context(void) {
    uint64_t rbx = 7, r15 = 0, fl = 0, rip = 0, rsp = 0; uint32_t x[4] = {0};
    on(SIGILL, edit, 0);
    __asm__ volatile("xor %%r15d, %%r15d\n mov $9, %%r12d\n lea 1f(%%rip), %%r13\n mov %%rsp, %%r14\n 1: ud2\n movups %%xmm3, %5\n pushf\n pop %2\n mov %%r15, %1\n mov %%r13, %3\n mov %%r14, %4" : "+b"(rbx), "=&r"(r15), "=&r"(fl), "=&r"(rip), "=&r"(rsp), "=m"(x) : : "r12", "r13", "r14", "r15", "xmm3", "memory", "cc");
    greg_t *g = seen.uc_mcontext.gregs;
    printf("rip %d rsp %d rbx %lld r12 %lld\n", (uint64_t)g[REG_RIP] == rip, (uint64_t)g[REG_RSP] == rsp, g[REG_RBX], g[REG_R12]);
    printf("trap %lld err %lld cs %llx flags %lx\n", g[REG_TRAPNO], g[REG_ERR], g[REG_CSGSFS], seen.uc_flags);
    printf("rbx %lx r15 %lx flags %lx xmm %x\n", rbx, r15, fl & 0x303041, x[0]);
    printf("link %d fp %d stack %d\n", seen.uc_link == NULL, seen.uc_mcontext.fpregs != NULL, seen.uc_stack.ss_flags);
}
#endif

static sigjmp_buf back;
static void jump(int sig, siginfo_t *i, void *uc) { (void)uc; last_sig = sig; last_code = i->si_code; siglongjmp(back, 1); }
static volatile int zero, one = 1;
static char *volatile addr;
static void show(int sig, siginfo_t *i, void *p) {
    ucontext_t *u = p;
    printf("sig %d code %d addr %s trap %lld err %llx cr2 %d\n", sig, i->si_code, i->si_addr == (void *)addr ? "right" : i->si_addr ? "other" : "none",
           u->uc_mcontext.gregs[REG_TRAPNO], u->uc_mcontext.gregs[REG_ERR] & 0x16, (void *)u->uc_mcontext.gregs[REG_CR2] == (void *)addr);
    siglongjmp(back, 1);
}
static void faults(void) {
    static const int sigs[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP};
    for (size_t k = 0; k < 5; k++) on(sigs[k], show, 0);
    char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *hole = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(hole, 4096);
    for (volatile int round = 0; round < 2; round++) {
        addr = hole; if (!sigsetjmp(back, 1)) one = *addr;
        addr = p + 5000; if (!sigsetjmp(back, 1)) *addr = 1;
        addr = (char *)p; if (!sigsetjmp(back, 1)) ((void (*)(void))p)();
        addr = (char *)0x8000000000000000; if (!sigsetjmp(back, 1)) one = *addr;
        addr = (char *)-4096; if (!sigsetjmp(back, 1)) one = *addr;
        addr = NULL; if (!sigsetjmp(back, 1)) one = *(volatile char *)addr;
        if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
        if (!sigsetjmp(back, 1)) __asm__ volatile("int3");
        if (!sigsetjmp(back, 1)) __asm__ volatile("hlt");
        if (!sigsetjmp(back, 1)) __asm__ volatile("idivl %0" : : "m"(zero), "a"(1), "d"(0));
        int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600); need(!ftruncate(fd, 4096), "ftruncate");
        char *f = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        f[100] = 1; addr = f + 8200; if (!sigsetjmp(back, 1)) *addr = 1;
        need(!ftruncate(fd, 0), "ftruncate"); addr = f + 100; if (!sigsetjmp(back, 1)) *addr = 1;
        munmap(f, 12288); close(fd);
    }
}
static int recurse(int n) { volatile char pad[4096]; pad[0] = (char)n; return n > 1000000 ? pad[0] : recurse(n + 1) + pad[0]; }
static char alt[65536] __attribute__((aligned(16)));
static void overflowed(int sig, siginfo_t *i, void *uc) {
    char here; (void)uc;
    stack_t s; sigaltstack(NULL, &s);
    printf("%d %d on alt %d flags %d\n", sig, i->si_code, &here > alt && &here < alt + sizeof alt, s.ss_flags);
    siglongjmp(back, 1);
}
static void overflow(void) {
    stack_t s = {.ss_sp = alt, .ss_size = sizeof alt};
    sigaltstack(&s, NULL);
    on(SIGSEGV, overflowed, SA_ONSTACK);
    for (volatile int i = 0; i < 3; i++) if (!sigsetjmp(back, 1)) recurse(0);
    on(SIGUSR1, note, SA_ONSTACK);
    raise(SIGUSR1); printf("%d\n", hits);
    s.ss_flags = (int)(1u << 31); sigaltstack(&s, NULL); /* SS_AUTODISARM */
    if (!sigsetjmp(back, 1)) recurse(0);
}
static void no_stack(void) { /* no alternate stack: the frame has no place */
    on(SIGSEGV, overflowed, 0);
    recurse(0);
}
static void blocked_fault(void) { on(SIGSEGV, show, 0); block(SIG_BLOCK, SIGSEGV); addr = NULL; *(volatile char *)addr = 1; }
static void ignored_fault(void) { signal(SIGSEGV, SIG_IGN); raise(SIGSEGV); puts("raised"); addr = NULL; *(volatile char *)addr = 1; }
static void in_handler(int sig, siginfo_t *i, void *uc) { (void)sig; (void)i; (void)uc; *(volatile char *)8 = 1; }
static void double_fault(void) { on(SIGSEGV, in_handler, 0); *(volatile char *)8 = 1; }

static int to_tid[4];
static volatile int got_by[4];
static void who(int sig, siginfo_t *i, void *uc) { (void)sig; (void)uc; for (int k = 0; k < 4; k++) if (to_tid[k] == gettid()) got_by[k] += i->si_code == SI_TKILL ? 1 : 100; }
static volatile int stop_now;
static void *receiver(void *arg) {
    __atomic_store_n(&to_tid[(long)arg], gettid(), __ATOMIC_SEQ_CST);
    if ((long)arg == 0) while (!stop_now) { }
    else while (!stop_now) { struct timespec t = {0, 2000000}; nanosleep(&t, NULL); }
    return NULL;
}
static void to_threads(void) {
    pthread_t t[4];
    on(SIGUSR1, who, 0);
    for (long k = 0; k < 4; k++) { pthread_create(&t[k], NULL, receiver, (void *)k); while (!__atomic_load_n(&to_tid[k], __ATOMIC_SEQ_CST)) sched_yield(); }
    for (int n = 0; n < 400; n++) { int k = n & 3, before = got_by[k]; pthread_kill(t[k], SIGUSR1); while (got_by[k] == before) sched_yield(); }
    stop_now = 1;
    for (int k = 0; k < 4; k++) { pthread_join(t[k], NULL); printf("%d ", got_by[k]); }
    puts("");
}
static void *blocked_all(void *arg) { sigset_t s; sigfillset(&s); pthread_sigmask(SIG_SETMASK, &s, NULL); __atomic_fetch_add(&stop_now, 1, __ATOMIC_SEQ_CST); while (stop_now < 100) rest_ms(1); return arg; }
static volatile pid_t taker;
static void take(int sig, siginfo_t *i, void *uc) { (void)sig; (void)i; (void)uc; taker = gettid(); }
static void any_thread(void) { /* a signal to the process goes to the one thread that does not block it */
    pthread_t t[3];
    on(SIGUSR1, take, 0);
    for (int k = 0; k < 3; k++) pthread_create(&t[k], NULL, blocked_all, NULL);
    while (stop_now < 3) sched_yield();
    for (int n = 0; n < 50; n++) { taker = 0; kill(getpid(), SIGUSR1); while (!taker) sched_yield(); need(taker == getpid(), "taker"); }
    block(SIG_BLOCK, SIGUSR1); taker = 0; kill(getpid(), SIGUSR1); rest_ms(20); printf("%d\n", taker);
    block(SIG_UNBLOCK, SIGUSR1); printf("%d\n", taker == getpid());
    stop_now = 100;
    for (int k = 0; k < 3; k++) pthread_join(t[k], NULL);
}
static void storm(void) {
    struct itimerval it = {{0, 300}, {0, 300}};
    volatile double x = 0; on(SIGALRM, note, SA_RESTART); setitimer(ITIMER_REAL, &it, NULL);
    long n = 0; while (hits < 1000) { x = x + sqrt((double)(n++ % 1000)); if (n % 64 == 0) (void)getppid(); }
    it = (struct itimerval){0}; setitimer(ITIMER_REAL, &it, NULL); printf("%d\n", hits >= 1000);
    hits = 0; pid_t parent = getpid(); on(SIGRTMIN, note, SA_RESTART); /* none is lost */
    pid_t p = fork();
    if (!p) { for (int i = 0; i < 2000; i++) while (sigqueue(parent, SIGRTMIN, (union sigval){.sival_int = i})) rest_ms(1); _exit(0); }
    while (hits < 2000) { if (n++ % 7 == 0) (void)getppid(); }
    reap(); printf("%d\n", hits); alarm(40);
}
static void *stormed(void *arg) { for (int i = 0; i < 3000; i++) { void *p = mmap(NULL, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); *(char *)p = 1; munmap(p, 8192); } return arg; }
static void threads_and_storm(void) {
    pthread_t t[4]; on(SIGRTMIN, note, SA_RESTART);
    for (int k = 0; k < 4; k++) pthread_create(&t[k], NULL, stormed, NULL);
    static volatile int sent; 
    for (int n = 0; n < 1000; n++) { sent += !pthread_sigqueue(t[n & 3], SIGRTMIN, (union sigval){.sival_int = n}); if (n % 50 == 0) rest_ms(1); }
    for (int k = 0; k < 4; k++) pthread_join(t[k], NULL);
    puts("done");
}
static void children(void) {
    on(SIGCHLD, note, SA_RESTART);
    siginfo_t i;
    pid_t p = fork(); if (!p) _exit(3);
    while (!hits) rest_ms(1);
    printf("%d %d\n", last_code, last_sig); memset(&i, 0, sizeof i); waitid(P_PID, (id_t)p, &i, WEXITED); printf("%d %d %d\n", i.si_code, i.si_status, i.si_pid == p);
    const int sigs[] = {SIGKILL, SIGTERM, SIGUSR1, SIGSEGV, SIGRTMIN + 3};
    for (size_t k = 0; k < sizeof sigs / sizeof *sigs; k++) {
        int st; p = fork(); if (!p) for (;;) pause();
        rest_ms(20); kill(p, sigs[k]); waitpid(p, &st, 0); printf("%d %d\n", WIFSIGNALED(st), WTERMSIG(st));
    }
    int st; p = fork(); if (!p) { for (;;) { } }
    setpgid(p, p); /* SIGTSTP stops nobody in an orphaned process group, which ours may be */
    kill(p, SIGSTOP); waitpid(p, &st, WUNTRACED); printf("stopped %d %d\n", WIFSTOPPED(st), WSTOPSIG(st));
    kill(p, SIGCONT); waitpid(p, &st, WCONTINUED); printf("continued %d\n", WIFCONTINUED(st));
    kill(p, SIGTSTP); waitpid(p, &st, WUNTRACED); printf("stopped %d %d\n", WIFSTOPPED(st), WSTOPSIG(st));
    kill(p, SIGKILL); waitpid(p, &st, 0); printf("%d %d\n", WIFSIGNALED(st), WTERMSIG(st));
    struct sigaction a = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT}; sigaction(SIGCHLD, &a, NULL);
    p = fork(); if (!p) _exit(0);
    say(SC(SYS_wait4, p, NULL, 0, NULL), "no zombie");
}
static void *timer_target(void *arg) { __atomic_store_n((int *)arg, gettid(), __ATOMIC_SEQ_CST); while (!stop_now) rest_ms(1); return NULL; }
static void timers(void) {
    timer_t t; struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 9};
    on(SIGRTMIN, note, SA_RESTART); on(SIGUSR1, take, 0);
    say(timer_create(CLOCK_MONOTONIC, &e, &t), "create"); struct itimerspec it = {{0, 2000000}, {0, 2000000}}, left;
    say(timer_settime(t, 0, &it, NULL), "set"); while (hits < 10) { } timer_gettime(t, &left); printf("%d %d %d\n", last_code, last_value, left.it_interval.tv_nsec == 2000000);
    timer_delete(t); int tid = 0; pthread_t th; pthread_create(&th, NULL, timer_target, &tid); while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST)) sched_yield();
    struct sigevent f = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1}; f._sigev_un._tid = tid;
    say(timer_create(CLOCK_MONOTONIC, &f, &t), "thread"); it = (struct itimerspec){{0, 0}, {0, 5000000}}; timer_settime(t, 0, &it, NULL);
    while (!taker) { } printf("%d\n", taker == tid); stop_now = 1; pthread_join(th, NULL); timer_delete(t);
    struct sigevent n = {.sigev_notify = SIGEV_NONE}; say(timer_create(CLOCK_REALTIME, &n, &t), "none"); timer_settime(t, 0, &it, NULL); rest_ms(20); timer_gettime(t, &left); printf("%ld\n", left.it_value.tv_nsec);
    hits = 0; on(SIGVTALRM, note, 0); struct itimerval v = {{0, 0}, {0, 20000}}; setitimer(ITIMER_VIRTUAL, &v, NULL); 
    long until = now_ms() + 5000; while (!hits && now_ms() < until) { } printf("virtual %d\n", hits);
    hits = 0; on(SIGPROF, note, 0); setitimer(ITIMER_PROF, &v, NULL); while (!hits && now_ms() < until) { } printf("prof %d\n", hits);
    hits = 0; on(SIGALRM, note, 0); alarm(1); long from = now_ms(); pause(); long took = now_ms() - from; printf("alarm %d %d\n", hits, took > 900 && took < 2000); alarm(40);
}
static void signal_fd(void) {
    sigset_t s; struct signalfd_siginfo i; sigemptyset(&s); sigaddset(&s, SIGUSR1); sigaddset(&s, SIGRTMIN); sigprocmask(SIG_BLOCK, &s, NULL);
    int fd = signalfd(-1, &s, SFD_NONBLOCK); say(SC(SYS_read, fd, &i, sizeof i), "nothing");
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 4}); raise(SIGUSR1);
    for (int k = 0; k < 2; k++) { say(SC(SYS_read, fd, &i, sizeof i), "one"); printf("%u %d %d\n", i.ssi_signo, i.ssi_code, i.ssi_int); }
    struct pollfd p = {fd, POLLIN, 0}; after(30, SIGUSR1, 0); say(poll(&p, 1, 2000), "poll"); say(read(fd, &i, sizeof i), "read"); reap();
}
static void races(void) { /* a signal just before or in a blocking call is never lost */
    on(SIGUSR1, note, 0); block(SIG_BLOCK, SIGUSR1); sigset_t none; sigemptyset(&none); pid_t parent = getpid(); need(!pipe(pipes), "pipe");
    pid_t p = fork();
    if (!p) { char c; for (int i = 0; i < 500; i++) { if (read(pipes[0], &c, 1) != 1) break; for (volatile int k = i * 37 % 900; k; k--) { } kill(parent, SIGUSR1); } _exit(0); }
    for (int i = 0; i < 500; i++) { int before = hits; if (write(pipes[1], "x", 1)) { } if (i & 1) { while (hits == before) sigsuspend(&none); } else { struct pollfd f = {-1, 0, 0}; while (hits == before) ppoll(&f, 1, NULL, &none); } }
    reap(); printf("%d\n", hits);
}
static void own_thread_interrupted(void) { /* EINTR of a read in a thread, by pthread_kill, without a lost wakeup */
    need(!pipe(pipes), "pipe"); on(SIGUSR1, note, 0); pid_t me = gettid(); pid_t p = getpid(); long e = 0;
    if (!fork()) { for (int i = 0; i < 200; i++) { rest_ms(1); SC(SYS_tgkill, p, me, SIGUSR1); } rest_ms(20); if (write(pipes[1], "x", 1)) { } _exit(0); }
    char c; while (SC(SYS_read, pipes[0], &c, 1) == -EINTR) e++;
    reap(); printf("%d %d\n", hits > 0, e > 0);
}
static sem_t turns[2];
static void turn_over(int sig) { sem_post(&turns[sig == SIGUSR2]); }
static void *spins(void *arg) { block(SIG_UNBLOCK, SIGUSR1); block(SIG_UNBLOCK, SIGUSR2); while (!stop_now) if (arg) (void)getppid(); return NULL; }
static void *takes_turns(void *arg) { /* the next is sent when the handler has seen the last: none may be lost */
    int i = arg != NULL; long n = 0;
    struct timespec late; clock_gettime(CLOCK_REALTIME, &late); late.tv_sec += 20;
    for (; n < 2000 && !sem_timedwait(&turns[i], &late); n++) kill(getpid(), i ? SIGUSR2 : SIGUSR1);
    return (void *)n;
}
static void pingpong(void) {
    struct sigaction a = {.sa_handler = turn_over}; sigaction(SIGUSR1, &a, NULL); sigaction(SIGUSR2, &a, NULL);
    block(SIG_BLOCK, SIGUSR1); block(SIG_BLOCK, SIGUSR2);
    for (int calls = 0; calls < 2; calls++) {
        pthread_t w, t[2]; void *n[2]; stop_now = 0; sem_init(&turns[0], 0, 1); sem_init(&turns[1], 0, 1);
        pthread_create(&w, NULL, spins, calls ? turns : NULL);
        for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, takes_turns, i ? turns : NULL);
        for (int i = 0; i < 2; i++) pthread_join(t[i], &n[i]);
        stop_now = 1; pthread_join(w, NULL); printf("%ld %ld\n", (long)n[0], (long)n[1]);
    }
}
static void mask_note(int sig) { order[n_order++] = sig; printf("%d in %lx\n", sig, mask_bits()); }
static void wait_masks(void) { /* the handler runs with the mask of the wait, and returns to the old one */
    struct sigaction a = {.sa_handler = mask_note}; sigset_t wait;
    const int sigs[] = {SIGUSR1, SIGUSR2, SIGSEGV, SIGBUS}; for (int k = 0; k < 4; k++) sigaction(sigs[k], &a, NULL);
    for (int k = 0; k < 4; k++)
        for (int way = 0; way < 3; way++) {
            int other = sigs[(k + 1) % 4]; sigemptyset(&wait); sigaddset(&wait, other); sigprocmask(SIG_SETMASK, &(sigset_t){{0}}, NULL);
            block(SIG_BLOCK, sigs[k]); block(SIG_BLOCK, other); raise(other); if (way) raise(sigs[k]); else after(20, sigs[k], 0);
            if (way == 2) say(ppoll(NULL, 0, NULL, &wait), "ppoll"); else say(sigsuspend(&wait), "sigsuspend");
            printf("after %lx\n", mask_bits()); block(SIG_UNBLOCK, other); printf("open %lx\n", mask_bits()); reap();
        }
}
static void sent_faults(void) { /* a SIGSEGV that was sent is a signal like any other */
    const int sigs[] = {SIGSEGV, SIGBUS}; sigset_t s; siginfo_t i; int fds[2]; need(!pipe(fds), "pipe");
    for (int k = 0; k < 2; k++) {
        int sig = sigs[k], st; char c; hits = 0; on(sig, note, SA_RESTART); sigemptyset(&s); sigaddset(&s, sig);
        block(SIG_BLOCK, sig); raise(sig); raise(sig); sigpending(&s); printf("%d %d\n", hits, sigismember(&s, sig));
        block(SIG_UNBLOCK, sig); printf("%d %d\n", hits, last_code); sigpending(&s); printf("%d\n", sigismember(&s, sig));
        block(SIG_BLOCK, sig); sigemptyset(&s); sigaddset(&s, sig); sigqueue(getpid(), sig, (union sigval){.sival_int = 5});
        say(sigwaitinfo(&s, &i), "wait"); printf("%d %d %d\n", i.si_signo, i.si_code, i.si_value.sival_int);
        after(30, sig, 0); say(sigwaitinfo(&s, &i), "later"); printf("%d %d\n", i.si_code, hits); reap();
        raise(sig); pid_t p = fork(); if (!p) { sigpending(&s); _exit(sigismember(&s, sig)); } waitpid(p, &st, 0); printf("child %d\n", WEXITSTATUS(st));
        block(SIG_UNBLOCK, sig); printf("%d\n", hits);
        p = fork(); if (!p) { rest_ms(30); kill(getppid(), sig); rest_ms(30); if (write(fds[1], "x", 1)) { } _exit(0); }
        say(SC(SYS_read, fds[0], &c, 1), "restarted"); printf("%d\n", hits); reap();
        on(sig, note, 0); p = fork(); if (!p) { rest_ms(30); kill(getppid(), sig); rest_ms(30); if (write(fds[1], "x", 1)) { } _exit(0); }
        say(SC(SYS_read, fds[0], &c, 1), "interrupted"); printf("%d\n", hits); say(SC(SYS_read, fds[0], &c, 1), "then"); reap();
    }
}
static void pi_futex(void) { /* not interrupted by a handler without SA_RESTART */
    static uint32_t lock; on(SIGUSR1, note, 0); need(!pipe(pipes), "pipe");
    uint32_t *word = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0); *word = lock;
    pid_t p = fork(), me = getpid();
    if (!p) { SC(SYS_futex, word, FUTEX_LOCK_PI, 0, NULL, NULL, 0); if (write(pipes[1], "x", 1)) { } rest_ms(50); kill(getppid(), SIGUSR1); rest_ms(50); SC(SYS_futex, word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0); _exit(0); }
    char c; need(read(pipes[0], &c, 1) == 1, "read"); say(SC(SYS_futex, word, FUTEX_LOCK_PI, 0, NULL, NULL, 0), "lock");
    printf("%d %d\n", hits, (*word & FUTEX_TID_MASK) == (uint32_t)me); waitpid(p, NULL, 0);
}
static void jumps(void) { on(SIGUSR1, jump, 0); volatile int n = 0; for (volatile int i = 0; i < 1000; i++) if (!sigsetjmp(back, 1)) raise(SIGUSR1); else n++; printf("%d %lx\n", n, mask_bits()); }
static void deaths(void) {
    const int sigs[] = {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGPIPE, SIGTERM, SIGSTKFLT, SIGPWR, SIGSYS, SIGXCPU, SIGIO, SIGBUS, SIGSEGV, SIGRTMAX, SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
    for (size_t k = 0; k < sizeof sigs / sizeof *sigs; k++)
        for (int way = 0; way < 2; way++) {
            int st; fflush(stdout); pid_t p = fork(); if (!p) { if (way) { pthread_kill(pthread_self(), sigs[k]); } else kill(getpid(), sigs[k]); _exit(1); }
            waitpid(p, &st, 0); printf("%d: %d %d\n", sigs[k], WIFSIGNALED(st), WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st));
        }
}

int main(int argc, char **argv) {
    static const struct a_case cases[] = {
        CASE(senders), CASE(flags), CASE(masks), CASE(queued), CASE(waiting), CASE(eintr), CASE(restart), CASE(registers), CASE(vectors),
        CASE(context), CASE(faults), CASE(overflow), CASE(no_stack), CASE(blocked_fault), CASE(ignored_fault), CASE(double_fault),
        CASE(to_threads), CASE(any_thread), CASE(storm), CASE(threads_and_storm), CASE(children), CASE(timers), CASE(signal_fd), CASE(races),
        CASE(own_thread_interrupted), CASE(pingpong), CASE(wait_masks), CASE(sent_faults), CASE(pi_futex), CASE(jumps), CASE(deaths),
    };
    return one_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
