/* One side of the system each: the first argument says which. Cases of compiled.toml run it by three C libraries' ways to link. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static void say(const char *name, long r) {
    if (r < 0) printf("%s: %s\n", name, strerror(errno));
    else printf("%s: %ld\n", name, r);
}
static void rest(long ms) { struct timespec t = {ms / 1000, ms % 1000 * 1000000}; while (nanosleep(&t, &t) && errno == EINTR) { } }

static void files(void) {
    int f = open("f", O_RDWR | O_CREAT | O_EXCL, 0640);
    struct iovec v[3] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
    struct stat st;
    char b[100] = {0};
    say("writev", writev(f, v, 3)); say("pwrite", pwrite(f, "TWO", 3, 4)); say("lseek", lseek(f, 0, SEEK_SET)); say("read", read(f, b, 99)); puts(b);
    say("excl", open("f", O_CREAT | O_EXCL, 0600)); say("directory", open(".", O_WRONLY)); say("nofollow", (symlink("f", "l"), open("l", O_RDONLY | O_NOFOLLOW)));
    say("ftruncate", ftruncate(f, 1 << 20)); say("hole", lseek(f, 100, SEEK_HOLE)); say("data", lseek(f, 100000, SEEK_DATA) < 0);
    say("fallocate", fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)); say("fstat", fstat(f, &st)); printf("%ld %o\n", (long)st.st_size, st.st_mode);
    say("link", link("f", "g")); say("rename", rename("g", "h")); say("unlink", unlink("f")); say("unlink again", unlink("f")); say("access", access("h", X_OK));
    say("mkdir", mkdir("d", 0700)); say("renameat2", syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "d", 2 /* RENAME_EXCHANGE */)); say("rmdir", rmdir("h")); say("stat", stat("d", &st)); printf("%o\n", st.st_mode);
    struct timespec t[2] = {{1000, 5}, {2000, 7}}; say("utimensat", utimensat(AT_FDCWD, "d", t, 0)); stat("d", &st); printf("%ld.%09ld\n", st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    say("dup3", dup3(f, 50, O_CLOEXEC)); say("flags", fcntl(50, F_GETFD)); say("append", fcntl(f, F_SETFL, O_APPEND)); say("getfl", fcntl(f, F_GETFL) & O_APPEND);
    say("bad pointer", write(f, (void *)8, 10)); say("bad descriptor", read(99, b, 1)); say("memfd", memfd_create("m", MFD_ALLOW_SEALING) > 0);
    say("copy_file_range", copy_file_range(f, &(off_t){0}, 50, &(off_t){0}, 5, 0)); say("tmpfile", open(".", O_TMPFILE | O_RDWR, 0600) > 0); say("xattr", getxattr("d", "user.none", b, 10)); say("sync", fsync(f));
    char cwd[PATH_MAX]; say("chdir", chdir("..")); say("getcwd", getcwd(cwd, 4) != NULL);
}
static void locks(void) {
    int f = open("lock", O_RDWR | O_CREAT, 0600), p[2], st;
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
    say("setlk", fcntl(f, F_SETLK, &l)); say("flock", flock(f, LOCK_EX)); if (pipe(p)) abort(); fflush(stdout);
    if (!fork()) {
        int g = open("lock", O_RDWR); struct flock m = l;
        say("child getlk", fcntl(g, F_GETLK, &m)); printf("%d %d\n", m.l_type == F_WRLCK, m.l_pid == getppid()); say("child setlk", fcntl(g, F_SETLK, &l)); say("child flock", flock(g, LOCK_EX | LOCK_NB)); fflush(stdout);
        if (write(p[1], "x", 1) != 1) _exit(1);
        say("child waits", fcntl(g, F_SETLKW, &l)); l.l_start = 40; say("child's own", fcntl(g, F_OFD_SETLK, &(struct flock){.l_type = F_RDLCK})); fflush(stdout); _exit(0);
    }
    char c; if (read(p[0], &c, 1) != 1) abort(); rest(50); l.l_type = F_UNLCK; say("unlock", fcntl(f, F_SETLK, &l)); wait(&st); say("child", st);
}
static volatile sig_atomic_t hits; static void hit(int s) { hits++; (void)s; }
static sigjmp_buf back; static void jump(int s) { siglongjmp(back, s); }
static void told(int s, siginfo_t *i, void *u) { printf("%d code %d value %d\n", s, i->si_code, i->si_value.sival_int); (void)u; }
static void signals(void) {
    struct sigaction a = {.sa_handler = hit}, b = {.sa_sigaction = told, .sa_flags = SA_SIGINFO}; sigset_t set, old;
    sigaction(SIGUSR1, &a, NULL); sigaction(SIGRTMIN + 1, &b, NULL); raise(SIGUSR1); kill(getpid(), SIGUSR1); printf("%d\n", hits);
    sigfillset(&set); sigprocmask(SIG_BLOCK, &set, &old); for (int i = 0; i < 3; i++) { kill(getpid(), SIGUSR1); sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i}); }
    sigpending(&set); printf("pending %d %d\n", sigismember(&set, SIGUSR1), sigismember(&set, SIGUSR2)); sigprocmask(SIG_SETMASK, &old, NULL); printf("%d\n", hits);
    for (int i = 0; i < 2; i++) { signal(SIGSEGV, jump); if (!sigsetjmp(back, 1)) *(volatile int *)8 = 1; else puts("SIGSEGV"); }
    signal(SIGFPE, jump); if (!sigsetjmp(back, 1)) { volatile int z = 0; printf("%d\n", 1 / z); } else puts("SIGFPE");
    signal(SIGILL, jump); if (!sigsetjmp(back, 1)) __asm__ volatile("ud2"); else puts("SIGILL");
    int f = open("short", O_RDWR | O_CREAT, 0600); char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, f, 0); signal(SIGBUS, jump); if (!sigsetjmp(back, 1)) printf("%d\n", *(volatile char *)m); else puts("SIGBUS");
    static char other[65536]; stack_t s = {.ss_sp = other, .ss_size = sizeof other}; sigaltstack(&s, NULL); a.sa_flags = SA_ONSTACK; sigaction(SIGUSR2, &a, NULL); raise(SIGUSR2); printf("%d\n", hits);
    sigemptyset(&set); sigaddset(&set, SIGUSR1); sigprocmask(SIG_BLOCK, &set, NULL); raise(SIGUSR1); siginfo_t i; printf("%d\n", sigwaitinfo(&set, &i) == SIGUSR1); struct timespec t = {0, 1000000}; say("sigtimedwait", sigtimedwait(&set, &i, &t));
    int sfd = signalfd(-1, &set, 0); raise(SIGUSR1); struct signalfd_siginfo si; say("signalfd", read(sfd, &si, sizeof si)); printf("%u\n", si.ssi_signo);
    int p[2]; if (pipe(p)) abort(); signal(SIGPIPE, SIG_IGN); close(p[0]); say("EPIPE", write(p[1], "x", 1)); char c; if (pipe(p)) abort(); a.sa_flags = 0; sigaction(SIGALRM, &a, NULL); ualarm(20000, 0); say("EINTR", read(p[0], &c, 1)); say("pause", (ualarm(20000, 0), pause()));
    for (int n = 1; n < 9; n++) { int st; fflush(stdout); if (!fork()) { signal(n, SIG_DFL); raise(n); _exit(0); } wait(&st); printf("%d: %d\n", n, WIFSIGNALED(st) ? WTERMSIG(st) : -1); }
}
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; static pthread_cond_t cond = PTHREAD_COND_INITIALIZER; static long counter, turn; static pthread_barrier_t barrier; static sem_t sem; static __thread int own = 7;
static void *adds(void *arg) { for (int i = 0; i < 20000; i++) { pthread_mutex_lock(&mutex); counter++; pthread_mutex_unlock(&mutex); } own += (int)(long)arg; pthread_barrier_wait(&barrier); return (void *)(long)own; }
static void *turns(void *arg) { for (long i = 0; i < 200; i++) { pthread_mutex_lock(&mutex); while (turn % 3 != (long)arg) pthread_cond_wait(&cond, &mutex); turn++; pthread_cond_broadcast(&cond); pthread_mutex_unlock(&mutex); } sem_post(&sem); return NULL; }
static void tidy(void *arg) { printf("cleaned %s\n", (char *)arg); }
static void *cancelled(void *arg) { pthread_cleanup_push(tidy, "up"); sem_post(&sem); for (;;) pause(); pthread_cleanup_pop(0); return arg; }
static void *ends(void *arg) { rest(30); puts("the last thread"); return arg; }
static void threads(void) {
    pthread_t t[8]; void *r; pthread_barrier_init(&barrier, NULL, 8); sem_init(&sem, 0, 0);
    for (long i = 0; i < 8; i++) pthread_create(t + i, NULL, adds, (void *)i);
    for (int i = 0; i < 8; i++) pthread_join(t[i], &r), printf("%ld ", (long)r);
    printf("%ld\n", counter);
    for (long i = 0; i < 3; i++) pthread_create(t + i, NULL, turns, (void *)i);
    for (int i = 0; i < 3; i++) sem_wait(&sem), pthread_join(t[i], NULL);
    printf("%ld\n", turn); pthread_create(t, NULL, cancelled, NULL); sem_wait(&sem); pthread_cancel(*t); pthread_join(*t, &r); printf("%d\n", r == PTHREAD_CANCELED);
    struct timespec at; clock_gettime(CLOCK_REALTIME, &at); at.tv_nsec += 20000000; at.tv_sec += at.tv_nsec / 1000000000; at.tv_nsec %= 1000000000; pthread_mutex_lock(&mutex); printf("%d\n", pthread_cond_timedwait(&cond, &mutex, &at) == ETIMEDOUT);
    pthread_create(t, NULL, ends, NULL); fflush(stdout); pthread_exit(NULL);
}
static void *maps_and_unmaps(void *arg) { for (int i = 0; i < 400; i++) { char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); memset(p, (int)(long)arg, 65536); if (p[i] != (char)(long)arg) abort(); munmap(p, 65536); } return NULL; }
static void memory(void) {
    char *p = mmap(NULL, 1 << 24, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); memset(p, 1, 1 << 24); long sum = 0; for (int i = 0; i < 1 << 24; i += 4096) sum += p[i]; printf("%ld\n", sum);
    say("mprotect", mprotect(p, 4096, PROT_READ)); signal(SIGSEGV, jump); if (!sigsetjmp(back, 1)) p[0] = 2; else puts("read only"); p[4096] = 3; say("munmap", munmap(p + 8192, 4096)); if (!sigsetjmp(back, 1)) printf("%d\n", ((volatile char *)p)[8192]); else puts("hole");
    say("dontneed", madvise(p, 1 << 20, MADV_DONTNEED)); printf("%d\n", p[4096]); char *q = mremap(p + (1 << 20), 1 << 20, 1 << 22, MREMAP_MAYMOVE); printf("%d %d\n", q != MAP_FAILED, q[5]);
    int f = open("m", O_RDWR | O_CREAT, 0600); if (ftruncate(f, 20000)) abort(); char *s = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0), *c = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0); strcpy(s + 5000, "shared"); strcpy(c, "private"); say("msync", msync(s, 20000, MS_SYNC)); puts(c + 5000); printf("%d\n", s[0]);
    fflush(stdout); int st; if (!fork()) { strcpy(s + 100, "by the child"); strcpy(c, "not seen"); _exit(0); } wait(&st); puts(s + 100); puts(c);
    unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; void *x = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); memcpy(x, code, sizeof code); say("exec", mprotect(x, 4096, PROT_READ | PROT_EXEC)); printf("%d\n", ((int (*)(void))x)()); unsigned char vec[4]; say("mincore", mincore(x, 4096, vec));
    say("bad address", munmap((void *)1, 4096)); say("bad length", (long)mmap(NULL, 0, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); say("no memory", (long)mmap(NULL, 1ul << 48, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); void *fixed = mmap((char *)x, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0); say("noreplace", fixed == MAP_FAILED ? -1 : 0);
    void *b = sbrk(100000); if (b != (void *)-1) memset(b, 7, 100000), brk(b); say("lock", mlock(x, 4096)); pthread_t t[4]; for (long i = 0; i < 4; i++) pthread_create(t + i, NULL, maps_and_unmaps, (void *)(i + 1)); for (int i = 0; i < 4; i++) pthread_join(t[i], NULL); puts("threads");
    for (size_t n = 10; n < 1u << 28; n *= 7) { char *m = malloc(n); m[0] = m[n - 1] = 1; m = realloc(m, n + n / 2); printf("%d", m[n - 1]); free(m); } puts("");
}
static int deep(int n) { volatile char a[2000]; a[n % 2000] = 1; return n ? deep(n - 1) + a[n % 2000] : 0; }
static void stack(void) { printf("%d\n", deep(3500)); struct rlimit l; getrlimit(RLIMIT_STACK, &l); printf("%ld\n", (long)l.rlim_cur); fflush(stdout); int st; if (!fork()) { printf("%d\n", deep(1 << 20)); _exit(0); } wait(&st); printf("%d\n", WTERMSIG(st)); }
static void timers(void) {
    struct timespec a, b; clock_gettime(CLOCK_MONOTONIC, &a); rest(50); clock_gettime(CLOCK_MONOTONIC, &b); printf("%d\n", (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 50000000);
    int f = timerfd_create(CLOCK_MONOTONIC, 0); struct itimerspec i = {{0, 10000000}, {0, 10000000}}; uint64_t n, all = 0; timerfd_settime(f, 0, &i, NULL); while (all < 5) { if (read(f, &n, 8) != 8) abort(); all += n; } puts("timerfd");
    signal(SIGALRM, hit); struct itimerval v = {{0, 5000}, {0, 5000}}; setitimer(ITIMER_REAL, &v, NULL); while (hits < 5) pause(); v = (struct itimerval){0}; setitimer(ITIMER_REAL, &v, NULL); puts("setitimer");
    timer_t t; struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1}; sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR1); sigprocmask(SIG_BLOCK, &s, NULL); timer_create(CLOCK_MONOTONIC, &e, &t); timer_settime(t, 0, &i, NULL); siginfo_t si; sigwaitinfo(&s, &si); printf("%d %d\n", si.si_code == SI_TIMER, si.si_signo == SIGUSR1); timer_delete(t);
    hits = 0; signal(SIGVTALRM, hit); v.it_value.tv_usec = 20000; setitimer(ITIMER_VIRTUAL, &v, NULL); while (!hits) { } puts("virtual"); clock_getres(CLOCK_REALTIME, &a); printf("%ld\n", a.tv_nsec); time_t now = time(NULL); struct timeval tv; gettimeofday(&tv, NULL); printf("%d\n", tv.tv_sec - now < 2);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a); printf("%d\n", a.tv_sec < 60 && a.tv_nsec >= 0); struct timespec abs = b; say("absolute", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, NULL)); say("bad", clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, -1}, NULL)); printf("%u\n", (alarm(100), alarm(0)));
}
static void *serves(void *arg) { int l = *(int *)arg; for (int i = 0; i < 4; i++) { int c = accept(l, NULL, NULL); char b[4096]; ssize_t n; while ((n = read(c, b, sizeof b)) > 0) if (write(c, b, (size_t)n) != n) abort(); close(c); } return NULL; }
static void sockets(void) {
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}; socklen_t len = sizeof a; pthread_t t; say("bind", bind(l, (void *)&a, sizeof a)); say("listen", listen(l, 5)); getsockname(l, (void *)&a, &len); pthread_create(&t, NULL, serves, &l);
    for (int k = 0; k < 4; k++) { int c = socket(AF_INET, SOCK_STREAM, 0), one = 1; say("connect", connect(c, (void *)&a, sizeof a)); setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, 4); char out[3000], in[3000]; memset(out, 'a' + k, sizeof out); long got = 0; if (send(c, out, sizeof out, 0) != sizeof out) abort(); shutdown(c, SHUT_WR); for (ssize_t n; (n = recv(c, in + got, sizeof in - (size_t)got, 0)) > 0;) got += n; printf("%ld %d\n", got, memcmp(in, out, sizeof in)); close(c); } pthread_join(t, NULL); close(l); say("refused", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, sizeof a));
    int u = socket(AF_INET, SOCK_DGRAM, 0), w = socket(AF_INET, SOCK_DGRAM, 0); a.sin_port = 0; bind(u, (void *)&a, sizeof a); getsockname(u, (void *)&a, &len); say("sendto", sendto(w, "datagram", 8, 0, (void *)&a, sizeof a)); char b[100]; say("truncated", recv(u, b, 4, MSG_TRUNC)); say("again", recv(u, b, 4, MSG_DONTWAIT)); struct timeval tv = {0, 20000}; setsockopt(u, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv); say("timeout", recv(u, b, 4, 0));
    int p[2]; say("socketpair", socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p)); struct iovec v = {"fd", 2}; union { char b[CMSG_SPACE(4)]; struct cmsghdr h; } m = {0}; struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = m.b, .msg_controllen = sizeof m.b}; m.h = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}; int f = open("passed", O_RDWR | O_CREAT, 0600); memcpy(CMSG_DATA(&m.h), &f, 4); say("sendmsg", sendmsg(p[0], &h, 0)); char in[10]; v = (struct iovec){in, 10}; memset(&m, 0, sizeof m); say("recvmsg", recvmsg(p[1], &h, 0)); memcpy(&f, CMSG_DATA(&m.h), 4); say("through it", write(f, "passed\n", 7));
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "sock"}; int ul = socket(AF_UNIX, SOCK_STREAM, 0); say("unix bind", bind(ul, (void *)&un, sizeof un)); say("in use", bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&un, sizeof un)); listen(ul, 1); int uc = socket(AF_UNIX, SOCK_STREAM, 0); say("unix connect", connect(uc, (void *)&un, sizeof un)); int ua = accept(ul, NULL, NULL); struct ucred cr; len = sizeof cr; getsockopt(ua, SOL_SOCKET, SO_PEERCRED, &cr, &len); printf("%d\n", cr.pid == getpid()); unlink("sock");
    int six = socket(AF_INET6, SOCK_STREAM, 0); struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}; say("IPv6", bind(six, (void *)&a6, sizeof a6)); len = sizeof a6; getsockname(six, (void *)&a6, &len); listen(six, 1); int c6 = socket(AF_INET6, SOCK_STREAM, 0); say("IPv6 connect", connect(c6, (void *)&a6, sizeof a6)); int type; len = 4; getsockopt(c6, SOL_SOCKET, SO_TYPE, &type, &len); printf("%d\n", type == SOCK_STREAM); say("no family", socket(99, 1, 0)); say("not a socket", getsockname(0, (void *)&a6, &len)); say("abstract", bind(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&(struct sockaddr_un){.sun_family = AF_UNIX}, 2));
    int nb = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); a.sin_port = 0; bind(nb, (void *)&a, sizeof a); listen(nb, 1); say("accept", accept4(nb, NULL, NULL, 0)); int sf = open("big", O_RDWR | O_CREAT, 0600); if (ftruncate(sf, 100000)) abort(); off_t off = 0; int sp[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, sp); say("sendfile", sendfile(sp[0], sf, &off, 50000)); int pp[2]; if (pipe(pp)) abort(); say("splice", splice(sf, &off, pp[1], NULL, 10000, 0)); say("tee", tee(pp[0], p[0], 10, 0)); say("vmsplice", vmsplice(pp[1], &(struct iovec){"abc", 3}, 1, 0));
}
static void polling(void) {
    int p[2], e = epoll_create1(EPOLL_CLOEXEC), v = eventfd(0, EFD_NONBLOCK); if (pipe2(p, O_NONBLOCK)) abort(); struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u32 = 7}, got[4]; uint64_t n = 3; char b[70000];
    say("add", epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev)); ev.data.u32 = 8; say("add", epoll_ctl(e, EPOLL_CTL_ADD, v, &ev)); say("twice", epoll_ctl(e, EPOLL_CTL_ADD, v, &ev)); say("none", epoll_wait(e, got, 4, 10)); say("write", write(v, &n, 8)); say("write", write(p[1], "x", 1)); say("both", epoll_wait(e, got, 4, 100)); say("edge", epoll_wait(e, got, 4, 10)); say("read", read(v, &n, 8)); printf("%lu\n", n); say("empty", read(v, &n, 8)); say("file", epoll_ctl(e, EPOLL_CTL_ADD, open("f", O_CREAT | O_RDWR, 0600), &ev));
    long total = 0, r; while ((r = write(p[1], b, sizeof b)) > 0) total += r; printf("%ld\n", total); say("full", r); struct pollfd f[2] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}}; say("poll", poll(f, 2, 0)); printf("%x %x\n", f[0].revents, f[1].revents); close(p[1]); f[1].fd = -1; while (read(p[0], b, sizeof b) > 0) { } say("hup", poll(f, 2, 10)); printf("%x\n", f[0].revents); f[0].fd = 77; say("nval", poll(f, 1, 0)); printf("%x\n", f[0].revents);
    fd_set s; FD_ZERO(&s); FD_SET(v, &s); struct timeval tv = {0, 10000}; say("select", select(v + 1, &s, NULL, NULL, &tv)); sigset_t m; sigemptyset(&m); signal(SIGALRM, hit); sigset_t al; sigemptyset(&al); sigaddset(&al, SIGALRM); sigprocmask(SIG_BLOCK, &al, NULL); ualarm(5000, 0); rest(10); say("ppoll", ppoll(NULL, 0, NULL, &m)); printf("%d\n", hits);
    int in = inotify_init1(IN_NONBLOCK); say("watch", inotify_add_watch(in, ".", IN_CREATE | IN_DELETE | IN_MOVE)); close(open("made", O_CREAT, 0600)); rename("made", "moved"); unlink("moved"); char buf[1000]; for (long k = 0, got_n = read(in, buf, sizeof buf); k < got_n;) { struct inotify_event *ie = (void *)(buf + k); printf("%x %s\n", ie->mask, ie->name); k += (long)(sizeof *ie + ie->len); } say("watch missing", inotify_add_watch(in, "missing", IN_CREATE));
}
static void ipc(void) {
    int s = shmget(IPC_PRIVATE, 8192, 0600 | IPC_CREAT), q = msgget(IPC_PRIVATE, 0600), m = semget(IPC_PRIVATE, 2, 0600); char *p = shmat(s, NULL, 0); shmctl(s, IPC_RMID, NULL); struct { long type; char text[20]; } msg = {5, "message"}; fflush(stdout); int st;
    if (!fork()) { strcpy(p, "in shared memory"); semop(m, &(struct sembuf){0, 1, 0}, 1); if (msgsnd(q, &msg, 8, 0)) _exit(1); semop(m, &(struct sembuf){1, -1, 0}, 1); _exit(4); } say("semop", semop(m, &(struct sembuf){0, -1, 0}, 1)); puts(p); memset(&msg, 0, sizeof msg); say("msgrcv", msgrcv(q, &msg, 20, 5, 0)); puts(msg.text); say("none", msgrcv(q, &msg, 20, 0, IPC_NOWAIT)); semop(m, &(struct sembuf){1, 1, 0}, 1); wait(&st); printf("%d\n", WEXITSTATUS(st)); say("semtimedop", semtimedop(m, &(struct sembuf){0, -1, 0}, 1, &(struct timespec){0, 1000000})); semctl(m, 0, IPC_RMID); msgctl(q, IPC_RMID, NULL); shmdt(p); say("gone", (long)shmat(s, NULL, 0) == -1 ? -1 : 0);
    int *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); pthread_mutexattr_t ma; pthread_mutexattr_init(&ma); pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED); pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST); pthread_mutex_t *mx = (void *)(a + 10); pthread_mutex_init(mx, &ma); fflush(stdout); for (int i = 0; i < 3; i++) if (!fork()) { for (int k = 0; k < 1000; k++) { pthread_mutex_lock(mx); ++*a; pthread_mutex_unlock(mx); } _exit(0); } while (wait(&st) > 0) { } printf("%d\n", *a); if (!fork()) { pthread_mutex_lock(mx); _exit(0); } wait(&st); printf("%d\n", pthread_mutex_lock(mx) == EOWNERDEAD);
}
static void processes(void) {
    int st, p[2]; struct rusage u; fflush(stdout); pid_t c = fork(); if (!c) { rest(20); _exit(17); } say("nohang", waitpid(c, &st, WNOHANG)); siginfo_t i = {0}; say("waitid", waitid(P_PID, (id_t)c, &i, WEXITED | WNOWAIT)); printf("%d %d\n", i.si_code == CLD_EXITED, i.si_status); printf("%d\n", wait4(c, &st, 0, &u) == c); printf("%d\n", WEXITSTATUS(st)); say("none", wait(&st));
    if (!(c = fork())) { raise(SIGSTOP); _exit(3); } waitpid(c, &st, WUNTRACED); printf("stopped %d\n", WSTOPSIG(st)); kill(c, SIGCONT); waitpid(c, &st, WCONTINUED); printf("%d\n", WIFCONTINUED(st) || WIFEXITED(st)); while (waitpid(c, &st, 0) > 0) { } if (!(c = vfork())) _exit(9); waitpid(c, &st, 0); printf("vfork %d\n", WEXITSTATUS(st)); if (!(c = fork())) { setsid(); printf("%d %d\n", getsid(0) == getpid(), getpgrp() == getpid()); fflush(stdout); _exit(0); } wait(&st); say("setpgid", setpgid(0, 0));
    if (pipe(p)) abort(); if (!(c = fork())) { dup2(p[1], 1); execlp("sh", "sh", "-c", "echo $0 $V; exit 5", "name", (char *)NULL); _exit(9); } close(p[1]); char b[100] = {0}; ssize_t n = 0, r; while ((r = read(p[0], b + n, sizeof b - (size_t)n)) > 0) n += r; wait(&st); printf("%s%d\n", b, WEXITSTATUS(st)); say("exec", execl("/no/such", "x", (char *)NULL)); say("popen", pclose(popen("exit 7", "r"))); say("system", system("kill -9 $$")); prctl(PR_SET_NAME, "renamed"); prctl(PR_GET_NAME, b); puts(b); prctl(PR_SET_CHILD_SUBREAPER, 1); fflush(stdout); if (!fork()) { if (!fork()) { rest(30); _exit(44); } _exit(0); } wait(&st); wait(&st); printf("orphan %d\n", WEXITSTATUS(st)); int pf = (int)syscall(434, c = fork() ?: (rest(10), _exit(21), 0), 0); struct pollfd f = {pf, POLLIN, 0}; printf("%d\n", poll(&f, 1, 2000)); waitpid(c, &st, 0); printf("%d\n", WEXITSTATUS(st)); struct rlimit l = {10, 10}; setrlimit(RLIMIT_NOFILE, &l); int last = 0; for (int k; (k = dup(0)) >= 0;) last = k; printf("%d\n", last); say("dup", dup(0)); say("nice", nice(3)); cpu_set_t set; CPU_ZERO(&set); CPU_SET(0, &set); say("affinity", sched_setaffinity(0, sizeof set, &set)); printf("%d\n", sched_getcpu()); say("kill", kill(1 << 21, 0)); atexit((void (*)(void))hit); _exit(300 & 0xff);
}
static ucontext_t uc[3]; static void co(int n) { for (int i = 0; i < 3; i++) { printf("co %d %d\n", n, i); swapcontext(uc + n, uc + 3 - n); } }
static void contexts(void) { static char s[2][65536]; for (int i = 1; i < 3; i++) { getcontext(uc + i); uc[i].uc_stack = (stack_t){.ss_sp = s[i - 1], .ss_size = sizeof s[0]}; uc[i].uc_link = uc; makecontext(uc + i, (void (*)(void))co, 1, i); } swapcontext(uc, uc + 1); puts("back"); }
static void output(void) { static char line[4096]; memset(line, 'x', sizeof line); for (int i = 0; i < 5000; i++) { line[0] = (char)('a' + i % 26); if (write(1, line, sizeof line) != sizeof line) _exit(3); } }
static void random_bytes(void) { unsigned char a[64] = {0}, b[64] = {0}; say("getrandom", getrandom(a, 64, 0)); say("getrandom", getrandom(b, 64, 1)); printf("%d\n", memcmp(a, b, 64) != 0); int f = open("/dev/urandom", O_RDONLY); say("urandom", read(f, a, 64)); f = open("/dev/zero", O_RDWR); say("zero", read(f, a, 64)); printf("%d\n", a[63]); f = open("/dev/null", O_RDWR); say("null", write(f, a, 64)); say("null", read(f, a, 64)); f = open("/dev/full", O_RDWR); say("full", write(f, a, 1)); say("tty", ioctl(f, TCGETS, a)); say("ptmx", open("/dev/ptmx", O_RDWR | O_NOCTTY) > 0); }
static void coprocessor(void) { double d = 0.1; float f = 0; for (int i = 0; i < 100000; i++) { d = d * 1.0000001 + 1e-9; f += 0.1f; if (i % 1000 == 0) sched_yield(); } printf("%.17g %.9g\n", d, (double)f); long double l = 1; for (int i = 1; i < 25; i++) l *= i; printf("%.20Lg\n", l); unsigned a = 7, b, c, e; __asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(e) : "c"(0)); unsigned lo, hi; __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)); printf("%d\n", (lo | hi) != 0); }



int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } all[] = {{"files", files}, {"locks", locks}, {"signals", signals}, {"threads", threads}, {"memory", memory}, {"stack", stack}, {"timers", timers}, {"sockets", sockets}, {"polling", polling}, {"ipc", ipc}, {"processes", processes}, {"output", output}, {"random", random_bytes}, {"floats", coprocessor},
#ifdef __GLIBC__
        {"contexts", contexts},
#endif
    };
    for (size_t i = 0; argc > 1 && i < sizeof all / sizeof *all; i++)
        if (!strcmp(argv[1], all[i].name)) { all[i].run(); return 0; }
    return 98;
}
