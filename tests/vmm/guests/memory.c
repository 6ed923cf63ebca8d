/* mmap(2) and its family: what each call answers, and what the memory is afterwards. */
#include "guest.h"
#include "memory.h"
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>

static char *at(uint64_t a) { return (char *)a; }
#define BASE 0x5000000000ul

static void fixed(void) {
    char *p = mmap(at(BASE), 8 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
    say(p == at(BASE) ? 0 : -1, "fixed");
    for (int i = 0; i < 8; i++) p[i * PAGE] = (char)('a' + i);
    say(some(SC(SYS_mmap, p + PAGE, PAGE, 3, ANON | MAP_FIXED_NOREPLACE, -1, 0)), "no replace, taken");
    say(some(SC(SYS_mmap, p + 7 * PAGE, 2 * PAGE, 3, ANON | MAP_FIXED_NOREPLACE, -1, 0)), "no replace, half taken");
    say(SC(SYS_mmap, p + 8 * PAGE, PAGE, 3, ANON | MAP_FIXED_NOREPLACE, -1, 0) == (long)(p + 8 * PAGE) ? 0 : -1, "no replace, free");
    say(SC(SYS_mmap, p + 2 * PAGE, PAGE, 1, ANON | MAP_FIXED, -1, 0) == (long)(p + 2 * PAGE) ? 0 : -1, "replace");
    printf("contents %d %d %d\n", p[PAGE], p[2 * PAGE], p[3 * PAGE]);
    look("replaced", p + 2 * PAGE);
    say(SC(SYS_mmap, p, PAGE, 3, ANON, -1, 0) == (long)p ? 1 : 0, "hint on a taken place");
    say(SC(SYS_mmap, at(BASE + (1 << 24)), PAGE, 3, ANON, -1, 0) == (long)(BASE + (1 << 24)) ? 1 : 0, "hint on a free place");
    say(SC(SYS_mmap, at(BASE + (1 << 25) + 5), PAGE, 3, ANON, -1, 0) == (long)(BASE + (1 << 25)) ? 1 : 0, "odd hint");
    static const struct { const char *what; uint64_t addr, len; int prot, flags, fd; uint64_t off; } odd[] = {
        {"length 0", 0, 0, 3, ANON, -1, 0}, {"no type", 0, 4096, 3, MAP_ANONYMOUS, -1, 0},
        {"both types 3", 0, 4096, 3, 3 | MAP_ANONYMOUS, -1, 0},
        {"odd fixed", BASE + 1, 4096, 3, ANON | MAP_FIXED, -1, 0}, {"odd offset", 0, 4096, 3, ANON, -1, 1},
        {"bad fd", 0, 4096, 3, MAP_PRIVATE, 999, 0},
        {"fd -1", 0, 4096, 3, MAP_PRIVATE, -1, 0}, {"wraps", 0, -1ul, 3, ANON, -1, 0},
        {"too long", 0, 1ul << 47, 3, ANON, -1, 0},
        {"fixed beyond", 0x800000000000, 4096, 3, ANON | MAP_FIXED, -1, 0},
        {"fixed in the kernel", 0xffff888000000000, 4096, 3, ANON | MAP_FIXED, -1, 0},
        {"directory", 0, 4096, 1, MAP_PRIVATE, -2, 0}, {"written read-only", 0, 4096, 3, MAP_SHARED, -3, 0},
        {"private read-only", 0, 4096, 3, MAP_PRIVATE, -3, 0},
        {"from write-only", 0, 4096, 1, MAP_PRIVATE, -4, 0}, {"pipe", 0, 4096, 1, MAP_PRIVATE, -5, 0},
        {"validate", 0, 4096, 1, MAP_SHARED_VALIDATE | 0x200000, -3, 0}};
    int fds[] = {-1, -1, open(".", O_RDONLY), open("ro", O_RDONLY | O_CREAT, 0600), open("wo", O_WRONLY | O_CREAT, 0600), 0}, pp[2];
    need(pipe(pp) == 0, "pipe");
    fds[5] = pp[0];
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        say(some(SC(SYS_mmap, odd[i].addr, odd[i].len, odd[i].prot, odd[i].flags, odd[i].fd < -1 ? fds[-odd[i].fd] : odd[i].fd, odd[i].off)), "mmap %s", odd[i].what);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0); /* the kernel finds that it cannot be mapped when what was there is gone */
    say(some(SC(SYS_mmap, p + 4 * PAGE, PAGE, 1, MAP_PRIVATE | MAP_FIXED, sock, 0)), "fixed, a socket");
    look("where a socket was to be", p + 4 * PAGE);
    say(some(SC(SYS_mmap, p + 4 * PAGE, PAGE, 3, ANON | MAP_FIXED_NOREPLACE, -1, 0)), "the place again");
    close(sock);
    say(SC(SYS_munmap, p + 1, PAGE), "munmap odd");
    say(SC(SYS_munmap, p, 0), "munmap nothing");
    say(SC(SYS_munmap, p + PAGE, 2 * PAGE), "munmap middle");
    say(SC(SYS_munmap, p + PAGE, 2 * PAGE), "munmap again");
    look("hole", p + PAGE);
    look("left", p);
    look("right", p + 3 * PAGE);
    say(SC(SYS_munmap, p, 64 * PAGE), "munmap over holes");
    look("gone", p);
    look("MAP_32BIT", mmap(NULL, PAGE, RW, ANON | MAP_32BIT, -1, 0));
    say((uint64_t)mmap(NULL, PAGE, RW, ANON | MAP_32BIT, -1, 0) < 1ul << 32, "MAP_32BIT");
}

static void protections(void) {
    char *p = get(16 * PAGE, RW, ANON, -1, 0);
    static const int prots[] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) {
            say(SC(SYS_mprotect, p + 3 * PAGE, PAGE, prots[i]), "mprotect %d", i);
            say(SC(SYS_mprotect, p + 3 * PAGE, PAGE, prots[j]), "then %d", j);
            if (prots[j] != 4) look("now", p + 3 * PAGE); /* execute-only is up to the CPU's protection keys */
        }
    look("neighbour", p + 2 * PAGE);
    look("neighbour", p + 4 * PAGE);
    say(SC(SYS_mprotect, p + 1, PAGE, 3), "odd"); say(SC(SYS_mprotect, p, 0, 3), "nothing");
    say(SC(SYS_mprotect, p, PAGE, 0x100), "unknown bit");
    say(SC(SYS_mprotect, p, PAGE, 3 | PROT_GROWSDOWN), "grows down"); say(SC(SYS_mprotect, p, -1ul, 3), "wraps");
    munmap(p + 8 * PAGE, PAGE);
    say(SC(SYS_mprotect, p + 6 * PAGE, 6 * PAGE, PROT_READ), "over a hole");
    look("before the hole", p + 7 * PAGE);
    look("behind the hole", p + 9 * PAGE);
    look("hole", p + 8 * PAGE);
    char *huge = get(8ul << 20, RW, ANON, -1, 0), *block = (char *)(((uintptr_t)huge + (2 << 20) - 1) & ~((2ul << 20) - 1));
    for (size_t i = 0; i < 4 << 20; i++) block[i] = (char)(i * 7 >> 5);
    uint64_t before = sum(block, 4 << 20);
    mprotect(block + 5 * PAGE, PAGE, PROT_READ);
    mprotect(block + 100 * PAGE, 20 * PAGE, PROT_NONE);
    look("4 KiB in a block", block + 5 * PAGE); look("its neighbour", block + 6 * PAGE);
    look("none in a block", block + 119 * PAGE); look("behind it", block + 120 * PAGE);
    munmap(block + 300 * PAGE, PAGE);
    look("hole in a block", block + 300 * PAGE);
    mprotect(block, 300 * PAGE, RW);
    need(mmap(block + 300 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) != MAP_FAILED, "mmap");
    for (size_t i = 300 * PAGE; i < 301 * PAGE; i++) block[i] = (char)(i * 7 >> 5);
    mprotect(block, 4 << 20, PROT_READ);
    look("whole block read only", block + 2 * PAGE);
    mprotect(block, 4 << 20, RW);
    printf("contents kept %d\n", before == sum(block, 4 << 20));
}

static void files(void) {
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    need(fd >= 0 && ftruncate(fd, 3 * PAGE + 100) == 0, "file");
    for (int i = 0; i < 4; i++) need(pwrite(fd, "ABCD" + i, 1, i * (off_t)PAGE) == 1, "pwrite");
    char *s = get(6 * PAGE, RW, MAP_SHARED, fd, 0), *p = get(6 * PAGE, RW, MAP_PRIVATE, fd, 0), *q = get(2 * PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    printf("%c%c%c%c %c%c%c%c %c%c\n", s[0], s[PAGE], s[2 * PAGE], s[3 * PAGE], p[0], p[PAGE], p[2 * PAGE], p[3 * PAGE], q[0], q[PAGE]);
    s[1] = 'x'; p[2] = 'y'; s[PAGE + 1] = 'z';
    char b[8] = {0};
    need(pread(fd, b, 3, 0) == 3, "pread");
    printf("file %c %d %d private %d %d other %c\n", b[1], b[2], p[1] == 'x', p[2], s[2], q[1]);
    printf("tail %d %d\n", s[3 * PAGE + 100], s[3 * PAGE + 4095]);
    look("behind the end", s + 4 * PAGE); look("behind the end, private", p + 5 * PAGE);
    look("last page", s + 3 * PAGE + 200);
    need(ftruncate(fd, 6 * PAGE) == 0, "grow");
    look("after growth", s + 4 * PAGE); look("after growth, private", p + 5 * PAGE);
    s[5 * PAGE] = 'q';
    printf("%c\n", p[5 * PAGE]);
    need(ftruncate(fd, PAGE) == 0, "cut");
    look("after the cut", s + PAGE); look("after the cut, private", p + 5 * PAGE); look("kept", s);
    need(ftruncate(fd, 2 * PAGE) == 0, "grow");
    printf("zeros %d\n", s[PAGE] | s[PAGE + 1]);
    need(pwrite(fd, "new", 3, PAGE) == 3, "pwrite");
    printf("%.3s %.3s\n", s + PAGE, q);
    say(SC(SYS_msync, s, 2 * PAGE, MS_SYNC), "msync"); say(SC(SYS_msync, s + 1, PAGE, MS_SYNC), "msync odd");
    say(SC(SYS_msync, s, PAGE, MS_SYNC | MS_ASYNC), "msync both");
    say(SC(SYS_msync, s, PAGE, 8), "msync unknown"); say(SC(SYS_msync, 0x600000000000, PAGE, MS_SYNC), "msync nowhere");
    say(SC(SYS_mprotect, q, PAGE, RW), "mprotect of shared read-write fd");
    int ro = open("file", O_RDONLY);
    char *r = get(PAGE, PROT_READ, MAP_SHARED, ro, 0);
    say(SC(SYS_mprotect, r, PAGE, RW), "mprotect of shared read-only fd");
    say(SC(SYS_madvise, s, PAGE, MADV_DONTNEED), "dontneed shared"); printf("%c\n", s[0]);
    p[3] = 'k'; say(SC(SYS_madvise, p, PAGE, MADV_DONTNEED), "dontneed private"); printf("%c %d\n", p[0], p[3]);
    say(some(SC(SYS_mremap, s, 6 * PAGE, 2 * PAGE, 0)), "shrink"); look("gone", s + 2 * PAGE);
    char *m = mremap(p, 6 * PAGE, 9 * PAGE, MREMAP_MAYMOVE);
    say(m == MAP_FAILED ? -errno : 0, "grow a file mapping"); printf("%c\n", m[0]); look("tail", m + 8 * PAGE);
    close(fd);
    look("after close", s);
    char *z = get(2 * PAGE, RW, MAP_PRIVATE, open("/dev/zero", O_RDWR), 0), *h = get(2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    look("/dev/zero", z + PAGE); look("shared anonymous", h + PAGE);
    h[0] = 5; say(SC(SYS_madvise, h, PAGE, MADV_DONTNEED), "dontneed"); printf("%d\n", h[0]);
    say(SC(SYS_madvise, h, PAGE, MADV_REMOVE), "remove"); printf("%d\n", h[0]);
}

static void moves(void) {
    char *p = get(8 * PAGE, RW, ANON, -1, 0), *hold = get(64 * PAGE, PROT_NONE, ANON, -1, 0);
    for (size_t i = 0; i < 8 * PAGE; i++) p[i] = (char)(i >> 4);
    uint64_t all = sum(p, 4 * PAGE);
    munmap(p + 4 * PAGE, 4 * PAGE);
    char *n = mremap(p, 4 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
    printf("grown %d zero %d\n", sum(n, 4 * PAGE) == all, n[4 * PAGE] | n[39 * PAGE]);
    char *f = mremap(n, 40 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, hold + 8 * PAGE);
    printf("fixed %d %d\n", f == hold + 8 * PAGE, sum(f, 4 * PAGE) == all);
    look("old place", n); look("before", hold + 7 * PAGE); look("last", f + 15 * PAGE); look("behind", f + 16 * PAGE);
    say(some(SC(SYS_mremap, f, 4 * PAGE, 4 * PAGE, MREMAP_FIXED, hold)), "fixed alone");
    say(some(SC(SYS_mremap, f, 4 * PAGE, 4 * PAGE, 8)), "unknown flag");
    say(some(SC(SYS_mremap, f + 1, PAGE, PAGE, 1)), "odd"); say(some(SC(SYS_mremap, f, PAGE, 0, 1)), "to nothing");
    say(some(SC(SYS_mremap, f, 4 * PAGE, 4 * PAGE, 3, f + PAGE)), "overlap");
    say(some(SC(SYS_mremap, f, 4 * PAGE, 4 * PAGE, 3, hold + 1)), "odd target");
    say(some(SC(SYS_mremap, 0x600000000000, PAGE, PAGE * 2, 1)), "nowhere");
    say(some(SC(SYS_mremap, f + 14 * PAGE, 4 * PAGE, 8 * PAGE, 1)), "over two mappings");
    say(some(SC(SYS_mremap, f, 16 * PAGE, 17 * PAGE, 0)), "no room in place");
    char *d = mremap(f, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    say(d == MAP_FAILED ? -errno : 0, "dontunmap"); printf("%d %d\n", sum(d, 4 * PAGE) == all, f[PAGE]);
    look("old place", f);
    p = get(4 * PAGE, RW, ANON, -1, 0);
    memset(p, 'x', 4 * PAGE);
    say(SC(SYS_madvise, p + PAGE, PAGE, MADV_DONTNEED), "dontneed"); printf("%d %d %d\n", p[0], p[PAGE], p[2 * PAGE]);
    static const int advice[] = {0, 1, 2, 3, 4, 8, 9, 12, 13, 14, 15, 18, 19, 20, 21, 22, 23, 26, 30, -1};
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) say(SC(SYS_madvise, p, 4 * PAGE, advice[i]), "madvise %d", advice[i]);
    say(SC(SYS_madvise, p + 1, PAGE, 4), "madvise odd");
    say(SC(SYS_madvise, hold + 63 * PAGE, PAGE, 4), "madvise none"); munmap(p + PAGE, PAGE);
    memset(p + 2 * PAGE, 'y', 2 * PAGE);
    say(SC(SYS_madvise, p, 4 * PAGE, 4), "madvise over a hole"); printf("%d %d\n", p[0], p[2 * PAGE]);
    unsigned char v[4] = {9, 9, 9, 9};
    p = get(4 * PAGE, RW, ANON, -1, 0);
    memset(p, 1, 4 * PAGE);
    say(SC(SYS_mincore, p, 4 * PAGE, v), "mincore"); printf("%d%d%d%d\n", v[0] & 1, v[1] & 1, v[2] & 1, v[3] & 1);
    say(SC(SYS_mlock, p, 2 * PAGE), "mlock"); say(SC(SYS_munlock, p, 2 * PAGE), "munlock");
    say(SC(SYS_mlock2, p, PAGE, 1), "mlock2"); say(SC(SYS_mlock2, p, PAGE, 2), "mlock2 unknown");
    say(SC(SYS_mlock, 0x600000000000, PAGE), "mlock nowhere"); say(SC(SYS_mlockall, 0), "mlockall 0");
    say(SC(SYS_mlockall, 8), "mlockall 8"); say(SC(SYS_munlockall), "munlockall");
}

static void advised(void) { /* a mapping that grew is still one, with the advice it had */
    char *p = mmap(NULL, 64 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q; munmap(p + 4 * PAGE, 60 * PAGE);
    say(madvise(p, 4 * PAGE, MADV_NOHUGEPAGE), "no huge pages"); p[0] = 1; q = mremap(p, 4 * PAGE, 8 * PAGE, 0); say(q == p, "in place");
    q[7 * PAGE] = 2; char *to = mmap(NULL, 32 * PAGE, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    q = mremap(p, 8 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to); say(q == to ? 0 : -errno, "moved and larger");
    if (q == to) printf("%d %d %d\n", q[0], q[7 * PAGE], q[31 * PAGE]);
}
static void heap(void) {
    void *none = mmap(NULL, 1 << 30, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT, -1, 0);
    say(none == MAP_FAILED ? -errno : 0, "a page of 1 GiB"); /* none on most machines: said at once, not at the first touch */
    char *b = sbrk(0), *page = (char *)(((uintptr_t)b + PAGE - 1) & ~(PAGE - 1));
    need(brk(page) == 0, "brk");
    say(SC(SYS_brk, page + 10 * PAGE) == (long)(page + 10 * PAGE), "grow"); look("first", page);
    look("last", page + 10 * PAGE - 1);
    page[0] = 7; page[9 * PAGE] = 8;
    say(SC(SYS_brk, page + 4 * PAGE + 1) == (long)(page + 4 * PAGE + 1), "shrink"); look("kept", page + 4 * PAGE);
    look("gone", page + 9 * PAGE);
    say(SC(SYS_brk, page + 10 * PAGE) == (long)(page + 10 * PAGE), "grow again");
    printf("%d %d\n", page[0], page[9 * PAGE]);
    say(SC(SYS_brk, 0) == (long)(page + 10 * PAGE), "ask");
    say(SC(SYS_brk, 0x600000000000) == (long)(page + 10 * PAGE), "too much");
    say(SC(SYS_brk, 1) == (long)(page + 10 * PAGE), "too low");
    mprotect(page + 2 * PAGE, PAGE, PROT_READ);
    look("protected heap", page + 2 * PAGE);
    say(SC(SYS_brk, page + 64 * PAGE) == (long)(page + 64 * PAGE), "grow behind it"); look("grown", page + 63 * PAGE);
    int id = shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | 0600);
    char *s = shmat(id, NULL, 0), *t = shmat(id, NULL, SHM_RDONLY);
    need(s != (void *)-1 && t != (void *)-1, "shmat");
    s[PAGE] = 'S'; printf("%c\n", t[PAGE]); look("shm", s); look("shm read only", t); look("behind", s + 3 * PAGE - 1);
    say(some(SC(SYS_shmat, id, BASE + 1, 0)), "shmat odd");
    say(some(SC(SYS_shmat, id, BASE + 1, SHM_RND)), "shmat rounded");
    say(some(SC(SYS_shmat, id, BASE, 0)), "shmat taken");
    say(some(SC(SYS_shmat, id, BASE, SHM_REMAP)), "shmat remap");
    say(some(SC(SYS_shmat, 123456789, 0, 0)), "shmat unknown"); say(SC(SYS_shmdt, s + PAGE), "shmdt inside");
    say(SC(SYS_shmdt, s), "shmdt"); look("after shmdt", s); say(SC(SYS_shmdt, s), "shmdt again");
    shmctl(id, IPC_RMID, NULL);
}

static void code(void) {
    unsigned char *p = get(2 * PAGE, RW, ANON, -1, 0);
    for (int round = 0; round < 200; round++) { /* mov eax, round; ret */
        unsigned char b[] = {0xb8, (unsigned char)round, 1, 0, 0, 0xc3};
        memcpy(p + 16 * (round & 7), b, sizeof b);
        need(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0, "mprotect");
        int r = ((int (*)(void))(p + 16 * (round & 7)))();
        if (r != 256 + round) printf("stale code: %d in round %d\n", r, round);
        if (round % 50 == 0) look("code", p);
        need(mprotect(p, PAGE, RW) == 0, "mprotect");
    }
    printf("not executable any more: %d\n", runs(p));
    mprotect(p, PAGE, PROT_READ | PROT_EXEC); printf("%d ", runs(p)); mprotect(p, PAGE, PROT_READ);
    printf("%d ", runs(p)); mprotect(p, PAGE, 7); printf("%d\n", runs(p));
    for (int round = 0; round < 200; round++) { /* in place, writable and executable */
        p[1] = (unsigned char)round;
        p[2] = 2;
        int r = ((int (*)(void))p)();
        if (r != 512 + round) printf("stale code in place: %d in round %d\n", r, round);
    }
    static const unsigned char call[] = {0xb8, SYS_getppid, 0, 0, 0, 0x0f, 0x05, 0xc3};
    /* a system call in generated code */
    memcpy(p, call, sizeof call);
    printf("generated call %d\n", ((int (*)(void))p)() == getppid());
    mprotect(p, PAGE, PROT_READ | PROT_EXEC);
    for (int i = 0; i < 100; i++) need(((int (*)(void))p)() == getppid(), "generated call");
    munmap(p, PAGE); printf("%d\n", runs(p));
    memset(p + PAGE, 0xc3, PAGE); printf("%d\n", runs(p + PAGE));
}

int main(void) {
    catch();
    fixed(); protections(); files(); moves(); advised(); heap(); code();
    return 0;
}
