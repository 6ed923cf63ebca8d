/* Ways to die, with threads that wait and registers that are known: what a core file shows. */
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <stdio.h>
#include <unistd.h>

int global = 4711;
double values[4] = {1.5, 2.5, 3.5, 4.5};
char *kept, *left_out, *far_away, *hidden;
static pthread_barrier_t barrier;

__attribute__((noinline)) static void waits(int number) {
    pthread_barrier_wait(&barrier);
    for (;;) pause();
    (void)number;
}
static void *thread(void *arg) {
    waits((int)(long)arg);
    return NULL;
}
__attribute__((noinline)) static int crash(int *where) {
    __asm__ volatile("fninit\n fldpi\n movsd %0, %%xmm7\n movl $0x11223344, %%r12d" :: "m"(values[1]) : "xmm7", "r12");
    __asm__ volatile("movl $1, (%0)" :: "r"(where) : "memory");
    return *where;
}
__attribute__((noinline, target("avx"))) static void wide(const double *v) { __asm__ volatile("vbroadcastsd %0, %%ymm9" :: "m"(*v) : "xmm9"); }
__attribute__((noinline)) static int middle(int *where) { return crash(where) + 1; }
__attribute__((noinline)) static int deep(int n) {
    volatile char room[4096];
    room[0] = (char)n;
    return n < 1 << 20 ? deep(n + 1) + room[0] : 0;
}
__attribute__((noinline)) static void aborts(void) { abort(); }

static char *memory(size_t size, const char *text) {
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    strcpy(p + size / 2, text);
    return p + size / 2;
}

/* What the monitor reads of a program that died is made up. */
static void lies(int kind) {
    extern const char __ehdr_start[];
    struct link_map *m = NULL;
#ifdef __GLIBC__
    m = _r_debug.r_map;
#endif
    volatile unsigned long sum = 0;
    if (m) {
        struct link_map *last = m;
        while (last->l_next) last = last->l_next;
        if (kind & 1) last->l_next = m; /* no end */
        if (kind & 2) for (; m && m != last; m = m->l_next) m->l_name = (char *)-1ul, m->l_ld = (void *)((unsigned long)m + 3);
        if (kind & 4) last->l_addr = 0x1000, last->l_next = (void *)0xfffffffffff8;
    }
    if (kind & 8) {
        unsigned char *page = (unsigned char *)((unsigned long)__ehdr_start & -4096ul);
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
        for (int i = 4; i < 4096; i++) page[i] = (unsigned char)(0x41 + i * 7); /* program headers without number, anywhere */
    }
    for (unsigned long i = 0; i < 30000000; i++) sum += i;
    __asm__ volatile("mov $-16, %rsp\n mov $7, %rbp\n ud2");
}

static int child(const char *how) {
    int status;
    pid_t pid = strcmp(how, "vfork") ? fork() : vfork();
    if (!pid) {
        if (!strcmp(how, "exec")) execl("/proc/self/exe", "dying", "crash", NULL);
        if (!strcmp(how, "fork")) middle((int *)16);
        abort();
    }
    waitpid(pid, &status, 0);
    printf("%d\n", WTERMSIG(status));
    return 0;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "crash";
    pthread_t t;
    if (!strcmp(how, "crash")) return middle((int *)16);
    if (!strcmp(how, "deep")) return deep(0);
    if (!strcmp(how, "abort")) aborts();
    if (!strcmp(how, "nowhere")) return ((int (*)(void))0)();
    if (!strcmp(how, "divide")) { volatile int zero = 0, one = 1; one /= zero; return one; }
    if (!strcmp(how, "read-only")) return middle((int *)"text");
    if (!strcmp(how, "lies")) lies(atoi(argv[2]));
    if (!strcmp(how, "descriptors")) {
        for (int fd = 0; fd < 20000; fd++)
            if (fcntl(fd, F_GETFD) >= 0) printf("%d\n", fd);
        fflush(stdout);
        execl("/bin/ls", "ls", "/proc/self/fd", NULL);
    }
    if (!strcmp(how, "many")) {
        for (int i = 0; i < 70; i++) {
            int status;
            pid_t pid = fork();
            if (!pid) abort();
            waitpid(pid, &status, 0);
        }
        return 0;
    }
    if (!strcmp(how, "waits")) { puts("ready"); fflush(stdout); pause(); }
    if (!strcmp(how, "limit")) {
        struct rlimit l = {strtoul(argv[2], NULL, 0), RLIM_INFINITY};
        setrlimit(RLIMIT_CORE, &l);
        if (argc > 3) prctl(PR_SET_DUMPABLE, 0);
        return middle((int *)16);
    }
    if (!strcmp(how, "fork") || !strcmp(how, "vfork") || !strcmp(how, "exec")) return child(how);
    pthread_barrier_init(&barrier, NULL, 4); /* threads, memory */
    for (long i = 0; i < 3; i++) pthread_create(&t, NULL, thread, (void *)i);
    pthread_barrier_wait(&barrier);
    kept = memory(1 << 20, "kept");
    left_out = memory(1 << 20, "left out");
    far_away = memory(1ul << 35, "far away");
    hidden = memory(1 << 20, "hidden");
    madvise(left_out - (1 << 19), 1 << 20, MADV_DONTDUMP);
    mprotect(hidden - (1 << 19), 1 << 20, PROT_NONE);
    usleep(50000); /* they are in pause(2) */
    if (__builtin_cpu_supports("avx")) wide(&values[3]);
    return middle((int *)16);
}
