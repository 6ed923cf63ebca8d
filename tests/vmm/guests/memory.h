/* Looks at memory as the program sees it and as the kernel sees it. */
#include <setjmp.h>
#define PAGE 4096ul
static sigjmp_buf back;
static int fell;
static void fall(int sig, siginfo_t *info, void *ctx) {
    (void)ctx;
    fell = sig * 100 + info->si_code;
    siglongjmp(back, 1);
}
static void catch(void) {
    struct sigaction sa = {.sa_sigaction = fall, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
}
/* 0, or signal * 100 + si_code */
static int reads(const volatile void *p) {
    if (sigsetjmp(back, 0)) return fell;
    (void)*(const volatile char *)p;
    return 0;
}
static int writes(volatile void *p) {
    if (sigsetjmp(back, 0)) return fell;
    *(volatile char *)p = *(volatile char *)p;
    return 0;
}
static int runs(void *p) {
    if (sigsetjmp(back, 0)) return fell;
    ((void (*)(void))p)();
    return 0;
}
static int sink = -1, source = -1;
static long sys_reads(const void *p) {
    if (sink < 0) { int fd[2]; need(pipe(fd) == 0, "pipe"); sink = fd[1]; source = fd[0]; }
    char c;
    long r = SC(SYS_write, sink, p, 1);
    if (r == 1) need(read(source, &c, 1) == 1, "pipe");
    return r;
}
static long sys_writes(void *p) {
    char c = 0;
    if (sys_reads(&c) != 1 || write(sink, &c, 1) != 1) exit(98);
    long r = SC(SYS_read, source, p, 1);
    if (r != 1) need(read(source, &c, 1) == 1, "pipe");
    return r;
}
static void look(const char *what, void *p) {
    char *c = p;
    int r = reads(c);
    char was = r ? 0 : *c;
    printf("%s: read %d write %d kernel reads %s", what, r, writes(c), answer(sys_reads(c)));
    printf(" writes %s\n", answer(sys_writes(c)));
    if (!r && !writes(c)) *c = was;
}
static void *get(size_t n, int prot, int flags, int fd, off_t at) {
    void *p = mmap(NULL, n, prot, flags, fd, at);
    need(p != MAP_FAILED, "mmap");
    return p;
}
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
