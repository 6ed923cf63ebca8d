/* What a program can do to its monitor, one thing for each first argument. Run natively and as a guest: all that it
 * writes and how it ends must be the same. Addresses are fixed, so that a fault's address can be compared too. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define AT ((uint8_t *)0x7a0000000)
#define PAGE 4096ul

static uint8_t *map_at(void *at, size_t len, int prot, int flags, int fd) {
    uint8_t *p = mmap(at, len, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);
    if (p != at) {
        perror("mmap");
        exit(99);
    }
    return p;
}
static uint8_t *anon(size_t pages, int prot) { return map_at(AT, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1); }

static int scratch(size_t len) { /* an unlinked file of 'a', 'b', ... per page */
    char name[] = "/tmp/casesXXXXXX";
    int fd = mkstemp(name);
    if (fd < 0) exit(98);
    unlink(name);
    for (size_t at = 0; at < len; at += PAGE) {
        char page[PAGE];
        memset(page, 'a' + (int)(at / PAGE % 26), sizeof page);
        if (write(fd, page, sizeof page) != (ssize_t)sizeof page) exit(97);
    }
    return fd;
}

static void calls(void) {
    char buf[64], big[] = "one ", more[] = "two\n";
    int fd = scratch(2 * PAGE);
    struct stat st;
    printf("fstat %d %ld\n", fstat(fd, &st), (long)st.st_size);
    printf("pread %zd %c\n", pread(fd, buf, 8, 4100), buf[0]);
    printf("bad fd %ld %d\n", (long)write(77, "x", 1), errno);
    printf("bad pointer %ld %d\n", syscall(SYS_write, 1, 0x10, 4), errno);
    printf("bad number %ld %d\n", syscall(999), errno);
    printf("no file %d %d\n", open("/nowhere/at/all", O_RDONLY), errno);
    int p[2];
    printf("pipe %d %zd %zd", pipe(p), write(p[1], "through", 7), read(p[0], buf, sizeof buf));
    printf(" %.7s\n", buf);
    fflush(stdout);
    struct iovec v[2] = {{big, 4}, {more, 4}};
    printf("writev %zd\n", writev(1, v, 2));
    printf("umask %o %o\n", umask(027), umask(022));
}

static void heap(void) {
    char *p[64];
    unsigned long sum = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 64; i++) {
            size_t n = 1000 + (size_t)i * 5000;
            p[i] = malloc(n);
            memset(p[i], i, n);
        }
        for (int i = 0; i < 64; i++) {
            sum += (unsigned char)p[i][999 + i * 5000];
            free(p[i]);
        }
    }
    printf("sum %lu\n", sum);
}

static void huge(void) { /* more than one 2 MiB page and more than one GiB of addresses */
    uint8_t *p = mmap(NULL, 3ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) exit(96);
    for (size_t i = 0; i < 3ul << 30; i += 128ul << 20) p[i] = (uint8_t)(i >> 27);
    unsigned sum = 0;
    for (size_t i = 0; i < 3ul << 30; i += 128ul << 20) sum += p[i] + p[i + PAGE];
    for (size_t i = 0; i < 8ul << 20; i += PAGE) p[i] = 1;
    printf("sum %u\n", sum);
}

static void remap(void) {
    uint8_t *p = anon(4, PROT_READ | PROT_WRITE);
    memset(p, 'x', 4 * PAGE);
    uint8_t *q = mremap(p, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, AT + 0x1000000);
    printf("mremap %ld %c %d\n", (long)(q - AT), q[4 * PAGE - 1], q[4 * PAGE]);
    printf("gone %d %d\n", mprotect(AT, PAGE, PROT_READ), errno);
    printf("munmap %d\n", munmap(q + PAGE, PAGE));
    printf("hole %d %d\n", msync(q, 3 * PAGE, MS_ASYNC), errno);
    map_at(q + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    printf("new page %d, neighbours %c %c\n", q[PAGE], q[PAGE - 1], q[2 * PAGE]);
    printf("mprotect %d\n", mprotect(q, PAGE, PROT_READ));
    fflush(stdout);
    q[2 * PAGE] = 'y';
    q[5] = 'z'; /* SIGSEGV */
}

static void file(void) {
    int fd = scratch(3 * PAGE);
    uint8_t *p = map_at(AT, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
    uint8_t *s = map_at(AT + 0x100000, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    p[PAGE] = 'P';
    s[2 * PAGE] = 'S';
    char c[2] = "";
    printf("pread %zd", pread(fd, c, 1, 2 * PAGE));
    printf(" %c, private %c%c%c shared %c%c%c\n", c[0], p[0], p[PAGE], p[2 * PAGE], s[0], s[PAGE], s[2 * PAGE]);
}

static void bus(void) {
    int fd = scratch(2 * PAGE);
    volatile uint8_t *s = map_at(AT, 2 * PAGE, PROT_READ, MAP_SHARED, fd);
    printf("%c%c\n", s[0], s[PAGE]);
    fflush(stdout);
    if (ftruncate(fd, PAGE)) exit(95);
    printf("%c\n", s[PAGE]);
}

static const uint8_t getpid_code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3}; /* mov eax, 39; syscall; ret */

static void net(void) { /* a syscall instruction that no rewriter has seen */
    uint8_t *p = anon(1, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(p, getpid_code, sizeof getpid_code);
    int ok = 0;
    for (int i = 0; i < 100; i++) ok += ((long (*)(void))p)() == getpid();
    printf("%d of 100, still %02x %02x\n", ok, p[5], p[6]);
}

static void gadget(void) { /* half of an immediate: mov ebx, 0xc3050f */
    long r = 39, pid = getpid();
    __asm__ volatile("push %%rbx\n jmp 2f\n 1: .byte 0xbb, 0x0f, 0x05, 0xc3, 0x00\n 2: lea 1b+1(%%rip), %%rcx\n"
                     "call *%%rcx\n pop %%rbx" : "+a"(r) : : "rcx", "r11", "memory");
    printf("%d\n", r == pid);
}

/* Every register but rax, rcx and r11 lives through a syscall, and the flags do. */
static void registers(void) {
    uint64_t out[18] = {0};
    __asm__ volatile(
        "push %%rbp\n push %%rbx\n mov %0, %%rax\n push %%rax\n"
        "mov $0x1111111111111111, %%rbx\n mov $0x2222222222222222, %%rbp\n mov $0x3333333333333333, %%rdx\n"
        "mov $0x4444444444444444, %%rsi\n mov $0x5555555555555555, %%rdi\n mov $0x6666666666666666, %%r8\n"
        "mov $0x7777777777777777, %%r9\n mov $0x8888888888888888, %%r10\n mov $0x9999999999999999, %%r12\n"
        "mov $0xaaaaaaaaaaaaaaaa, %%r13\n mov $0xbbbbbbbbbbbbbbbb, %%r14\n mov $0xcccccccccccccccc, %%r15\n"
        "movq %%rbx, %%xmm0\n movq %%r15, %%xmm15\n mov $39, %%eax\n std\n stc\n syscall\n 1: pushfq\n cld\n"
        "mov 8(%%rsp), %%rax\n mov %%rbx, (%%rax)\n mov %%rbp, 8(%%rax)\n mov %%rdx, 16(%%rax)\n"
        "mov %%rsi, 24(%%rax)\n mov %%rdi, 32(%%rax)\n mov %%r8, 40(%%rax)\n mov %%r9, 48(%%rax)\n"
        "mov %%r10, 56(%%rax)\n mov %%r12, 64(%%rax)\n mov %%r13, 72(%%rax)\n mov %%r14, 80(%%rax)\n"
        "mov %%r15, 88(%%rax)\n movq %%xmm0, 96(%%rax)\n movq %%xmm15, 104(%%rax)\n"
        "lea 1b(%%rip), %%rdx\n sub %%rcx, %%rdx\n mov %%rdx, 112(%%rax)\n mov %%r11, 120(%%rax)\n"
        "pop %%rdx\n mov %%rdx, 128(%%rax)\n pop %%rax\n pop %%rbx\n pop %%rbp"
        : : "r"(out) : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0",
          "xmm15", "memory");
    for (int i = 0; i < 15; i++) printf("%016lx\n", out[i]);
    /* IOPL is the lane's own under QEMU; natively it is 0 and not the program's business */
    printf("r11 %lx flags %lx\n", out[15] & ~0x3000ul, out[16] & ~0x3000ul);
}

static void bases(void) {
    uint64_t old = 0, now = 0, seen;
    static uint64_t cell = 0x1234;
    printf("get %ld %d\n", syscall(SYS_arch_prctl, 0x1003, &old), old != 0);
    printf("set gs %ld\n", syscall(SYS_arch_prctl, 0x1001, &cell));
    __asm__ volatile("mov %%gs:0, %0" : "=r"(seen));
    printf("gs:0 %lx get %ld", seen, syscall(SYS_arch_prctl, 0x1004, &now));
    printf(" %d\n", now == (uintptr_t)&cell);
}

static void clocks(void) { /* raw, for the comparison with the host's clock */
    struct timespec t[3];
    clock_gettime(CLOCK_MONOTONIC, &t[0]);
    for (int i = 0; i < 1000; i++) clock_gettime(CLOCK_REALTIME, &t[1]);
    clock_gettime(CLOCK_MONOTONIC, &t[2]);
    if (write(1, t, sizeof t) != sizeof t) exit(94);
}

static void alarm_loop(void) {
    alarm(1);
    for (;;) __asm__ volatile("");
}

static int run(const char *what) {
#define IS(name) !strcmp(what, name)
    if (IS("calls")) calls();
    else if (IS("heap")) heap();
    else if (IS("huge")) huge();
    else if (IS("remap")) remap();
    else if (IS("file")) file();
    else if (IS("bus")) bus();
    else if (IS("net")) net();
    else if (IS("gadget")) gadget();
    else if (IS("registers")) registers();
    else if (IS("bases")) bases();
    else if (IS("clocks")) clocks();
    else if (IS("alarm")) alarm_loop();
    else if (IS("null")) *(volatile int *)0x18 = 1;
    else if (IS("read-only")) anon(1, PROT_READ)[5] = 1;
    else if (IS("none")) printf("%d\n", anon(1, PROT_NONE)[7]);
    else if (IS("unmapped")) { munmap(anon(2, PROT_READ | PROT_WRITE) + PAGE, PAGE); AT[PAGE - 1] = 1; AT[PAGE + 3] = 1; }
    else if (IS("no-exec")) { uint8_t *p = anon(1, PROT_READ | PROT_WRITE); *p = 0xc3; ((void (*)(void))p)(); }
    else if (IS("kernel-half")) *(volatile int *)0xffff800000000000 = 1;
    else if (IS("non-canonical")) *(volatile int *)0x1234567800000000 = 1;
    else if (IS("divide")) __asm__ volatile("xor %%ecx, %%ecx\n mov $1, %%eax\n cltd\n idiv %%ecx" : : : "eax", "ecx", "edx");
    else if (IS("ud2")) __asm__ volatile("ud2");
    else if (IS("int3")) __asm__ volatile("int3");
    else if (IS("hlt")) __asm__ volatile("hlt");
    else if (IS("out")) __asm__ volatile("mov $39, %%eax\n out %%eax, $0x10" : : : "eax");
    else if (IS("out-byte")) __asm__ volatile("out %%al, $0x10" : : : "eax");
    else if (IS("out-stub")) __asm__ volatile("out %%al, $0x21" : : : "eax");
    else if (IS("int80")) __asm__ volatile("mov $20, %%eax\n int $0x80" : : : "eax", "memory");
    else if (IS("int81")) __asm__ volatile("int $0x81");
    else if (IS("int13")) __asm__ volatile("int $0x0d");
    else if (IS("sysenter")) __asm__ volatile("mov $20, %%eax\n sysenter" : : : "eax", "memory");
    else if (IS("stub")) ((void (*)(void))0x1400)();
    else if (IS("lstar")) ((void (*)(void))0xe000)();
    else if (IS("overflow")) { volatile char a[PAGE]; a[0] = 1; return run(what) + a[0]; }
    else if (IS("abort")) abort();
    else return 93;
    return 0;
}

int main(int argc, char **argv) { return argc > 1 ? run(argv[1]) : 92; }
