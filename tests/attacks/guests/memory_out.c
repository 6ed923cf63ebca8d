/* The program's memory against the monitor's: text rewritten after it was checked, mappings over tables, stubs, vvar and vDSO. */
#include "attack.h"
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/shm.h>

static unsigned long vdso, vvar;
static void find(void) {
    char line[256];
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned long a, b;
    while (fgets(line, sizeof line, f)) {
        if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &a, &b) == 2) vdso = a;
        if (strstr(line, "[vvar]") && sscanf(line, "%lx-%lx", &a, &b) == 2) vvar = a;
    }
    fclose(f);
    if (!vdso) vdso = getauxval(AT_SYSINFO_EHDR);
}
static long text(long nr, void *code) {
    long r;
    __asm__ volatile("call *%1" : "=a"(r) : "r"(code), "a"(nr), "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
    return r;
}
#define WRITES(p, n) (memcpy(p, "\x0f\x05\xc3", n), __sync_synchronize())
/* New system calls in memory that was text: they may trap, and the policy decides; getuid is denied by it. */
static void rewritten_text(void) {
    extern char __executable_start, etext;
    catch_faults();
    unsigned char *page = (unsigned char *)(((unsigned long)&etext - 4096) & ~4095ul);
    (void)&__executable_start;
    need(!mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect");
    unsigned char old[3];
    memcpy(old, page + 64, 3);
    WRITES(page + 64, 3);
    MUST(EACCES, text(SYS_getuid, page + 64), "syscall written over text");
    memcpy(page + 64, "\xe7\x10\xc3", 3);
    DIES("out written over text", text(SYS_getuid, page + 64));
    memcpy(page + 64, old, 3);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
}
__attribute__((naked, noinline)) static void site(void) { __asm__ volatile("syscall; ret; .balign 16"); }
static void rewritten_site(void) { /* a site that is known as patched: its bytes are now others */
    catch_faults();
    unsigned char *page = (unsigned char *)((unsigned long)(void *)site & ~4095ul);
    MUST(EACCES, text(SYS_getuid, (void *)site), "the site itself");
    need(!mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect");
    memcpy((void *)site, "\x0f\x05\xc3", 3);
    MUST(EACCES, text(SYS_getuid, (void *)site), "syscall at a patched site");
    memcpy((void *)site, "\xef\x90\xc3", 3); /* out dx, eax */
    DIES("out dx, eax at a patched site", text(SYS_getuid, (void *)site));
    memcpy((void *)site, "\x90\x0f\x05\xc3", 4);
    MUST(EACCES, text(SYS_getuid, (void *)site), "syscall one byte on");
    memcpy((void *)site, "\xe7\x10\xc3", 3);
    got = 0;
    volatile long r = -EFAULT;
    if (!sigsetjmp(back, 1)) r = text(SYS_getuid, (void *)site);
    holds(got || r == -EACCES, "out 0x10 there again: %s", answer(r));
}
static void second_mapping(void) {
    catch_faults();
    int fd = memfd_create("code", 0);
    need(fd >= 0 && !ftruncate(fd, 4096), "memfd");
    unsigned char *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *x = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0),
                  *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    WRITES(w, 3);
    for (int i = 0; i < 3; i++) MUST(EACCES, text(SYS_getuid, x), "syscall through a shared mapping");
    for (int i = 0; i < 3; i++) MUST(EACCES, text(SYS_getuid, p), "syscall through a private mapping of it");
    memcpy(w, "\xe7\x10\xc3", 3);
    DIES("out 0x10 through a shared mapping", text(SYS_getuid, x));
    pwrite(fd, "\x0f\x05\xc3", 3, 0);
    MUST(EACCES, text(SYS_getuid, x), "syscall by pwrite");
    char back_[3] = {0};
    pread(fd, back_, 3, 0);
    holds(!memcmp(back_, "\x0f\x05\xc3", 3), "the file is not patched");
}
/* A private file mapping is patched late: never in the file, and not where it was written. */
static void file_text(void) {
    catch_faults();
    int fd = open("text", O_RDWR | O_CREAT | O_TRUNC, 0700);
    need(fd >= 0 && pwrite(fd, "\x90\x0f\x05\xc3", 4, 100) == 4 && !ftruncate(fd, 4096), "file");
    unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    for (int i = 0; i < 3; i++) MUST(EACCES, text(SYS_getuid, p + 100), "syscall of a file");
    char now[4];
    pread(fd, now, 4, 100);
    holds(!memcmp(now, "\x90\x0f\x05\xc3", 4), "the file is not patched");
    need(!mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect");
    memcpy(p + 200, "\xe7\x10\xc3", 3);
    DIES("out beside it", text(SYS_getuid, p + 200));
    ftruncate(fd, 0);
    DIES("cut off", text(SYS_getuid, p + 100));
}
static void over_tables(void) {
    static const unsigned long all[] = {0, 0x1000, 0x2000, 0x3000, 0xd000, 0xe000, 0xf000, 0x7f00000000, 0x7f80000000, 0x7fbffff000, 0x7fc0000000, 0x8000000000, 0x81fffff000};
    int shm = shmget(IPC_PRIVATE, 4096, 0600);
    void *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        void *p = (void *)all[i];
        FAILS(SC(SYS_mmap, p, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), "mmap at %p", p);
        FAILS(SC(SYS_mmap, p, 4096, 7, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), "mmap at %p, not replacing", p);
        FAILS(SC(SYS_mremap, own, 4096, 4096, 3, p), "mremap to %p", p);
        FAILS(SC(SYS_mremap, p, 4096, 8192, 1), "mremap from %p", p);
        FAILS(SC(SYS_mprotect, p, 4096, 7), "mprotect of %p", p);
        FAILS(SC(SYS_madvise, p, 4096, MADV_DONTNEED), "madvise of %p", p);
        if (p) FAILS(SC(SYS_shmat, shm, p, SHM_REMAP), "shmat at %p", p);
        SC(SYS_munmap, p, 4096);
    }
    FAILS(SC(SYS_mmap, 0x7effffe000, 0x4000, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), "mmap that runs on past the top");
    FAILS(SC(SYS_mmap, 0xf000, 0x2000, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), "mmap that begins below");
    FAILS(SC(SYS_mremap, own, 4096, 0x8000000000, 1), "mremap that grows past the top");
    FAILS(SC(SYS_munmap, 0, ~4095ul), "munmap of everything and more");
    if (!SC(SYS_munmap, 0, 0x10000) || 1) holds(getppid() > 0, "munmap below the program: system calls still work");
    long b = SC(SYS_brk, 0);
    holds(SC(SYS_brk, 0x2000) == b && SC(SYS_brk, 0x7f80000000) == b && SC(SYS_brk, ~0ul) == b, "brk into them");
    shmctl(shm, IPC_RMID, NULL);
}
/* As buffers of the host's kernel: the pages of ring 0, by their own address and by that of the host. */
static void tables_as_buffers(void) {
    int zero = open("/dev/zero", O_RDONLY), flow[2];
    need(!pipe(flow), "pipe");
    for (unsigned long at = 0x1000; at < 0x10000; at += 0x1000) {
        MUST(EFAULT, SC(SYS_read, zero, at, 8), "read into %lx", at);
        MUST(EFAULT, SC(SYS_write, flow[1], at, 8), "write from %lx", at);
    }
    for (unsigned long at = 0x7f00000000; at < 0x8200000000; at += 0x10000000) /* more tables, vvar, the guard behind them */
        if (SC(SYS_read, zero, at, 8) != -EFAULT || SC(SYS_write, flow[1], at, 8) != -EFAULT) holds(false, "%lx", at);
    long reached = 0;
    for (unsigned long i = 0; i < 8192; i++) { /* where the host may have put them: mem.c, PLACE */
        unsigned long host = (32ul << 40) + (i << 30) + 0x2000;
        reached += SC(SYS_write, flow[1], host, 8) != -EFAULT;
    }
    holds(!reached, "8192 places of the host: %ld reached", reached);
}
static void fixed_pages(void) { /* vvar and vDSO */
    catch_faults();
    find();
    need(vdso, "no vDSO");
    if (vvar) {
        long r = SC(SYS_mprotect, vvar, 4096, PROT_READ | PROT_WRITE);
        holds(r < 0, "mprotect of vvar to be written: %s", answer(r));
        DIES("a write to vvar", *(volatile char *)vvar = 1);
        int zero = open("/dev/zero", O_RDONLY);
        MUST(EFAULT, SC(SYS_read, zero, vvar, 8), "read into vvar");
        FAILS(SC(SYS_mremap, vvar, 4096, 4096, 3, 0x700000000), "mremap of vvar");
        r = SC(SYS_madvise, vvar, 4096, MADV_DONTNEED);
        holds(true, "madvise of vvar: %s", answer(r));
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    time_t host = t.tv_sec;
    need(!mprotect((void *)vdso, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect of the vDSO");
    memset((void *)(vdso + 0x400), 0xcc, 64); /* it is a copy */
    void *over = mmap((void *)vdso, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    holds(over == (void *)vdso, "mmap over the vDSO, which is the program's own copy");
    if (vvar) {
        over = mmap((void *)vvar, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (over == (void *)vvar) *(volatile char *)vvar = 1;
    }
    holds(SC(SYS_clock_gettime, CLOCK_REALTIME, &t) == 0 && t.tv_sec - host < 100, "the host's time stays");
}
/* The mapping goes while a call uses it; the stack goes from under a signal. */
static volatile bool stop;
static char *shaky;
static void *shake(void *arg) {
    int mode = 0;
    (void)arg;
    while (!stop) {
        switch (mode++ % 4) {
        case 0: munmap(shaky, 65536); break;
        case 1: mmap(shaky, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
        case 2: mprotect(shaky, 65536, PROT_NONE); break;
        case 3: mprotect(shaky, 65536, PROT_READ | PROT_WRITE); break;
        }
    }
    return NULL;
}
static void under_calls(void) {
    pthread_t t;
    shaky = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(!pthread_create(&t, NULL, shake, NULL), "thread");
    int zero = open("/dev/zero", O_RDONLY), flow[2];
    need(!pipe(flow), "pipe");
    struct { void *b; long n; } v = {shaky, 65536};
    for (long end = now_ms() + 700; now_ms() < end;) {
        SC(SYS_read, zero, shaky, 65536);
        SC(SYS_readv, zero, &v, 1);
        SC(SYS_uname, shaky + 4090);
        SC(SYS_execve, shaky, shaky + 8, shaky + 16);
        SC(SYS_readlink, "/proc/self/exe", shaky, 100);
        SC(SYS_rt_sigaction, SIGUSR1, shaky, shaky + 100, 8);
        SC(SYS_sendmsg, zero, shaky, 0);
        SC(SYS_poll, shaky, 64, 0);
        SC(SYS_futex, shaky, 1, 1);
        SC(SYS_open, shaky, O_RDONLY);
    }
    stop = true;
    pthread_join(t, NULL);
    holds(getppid() > 0, "calls on memory that comes and goes");
}
static void deep(volatile char *from) {
    volatile char room[4096];
    room[0] = *from;
    if (room[0] != 77) deep(room); /* always */
    room[1] = 0;
}
static void recursion_child(void) { char c = 0; deep(&c); }
static void recursion(void) {
    int status = apart(recursion_child);
    holds(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "recursion without an end: status %x", status);
}
/* A signal for which there is no stack any more. */
static void no_stack_child(void) {
    signal(SIGUSR1, SIG_DFL);
    struct sigaction act = {.sa_handler = (void (*)(int))(void *)site};
    sigaction(SIGUSR1, &act, NULL);
    __asm__ volatile("mov $0x20000, %%esp; syscall" : : "a"(SYS_tgkill), "D"(getpid()), "S"(getpid()), "d"(SIGUSR1) : "rcx", "r11", "memory");
}
static void no_stack(void) {
    int status = apart(no_stack_child);
    holds(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a signal without a stack: status %x", status);
}

MAIN(ATTACK(rewritten_text), ATTACK(rewritten_site), ATTACK(second_mapping), ATTACK(file_text), ATTACK(over_tables), ATTACK(tables_as_buffers),
     ATTACK(fixed_pages), ATTACK(under_calls), ATTACK(recursion), ATTACK(no_stack))
