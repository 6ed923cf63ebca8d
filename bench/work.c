/* One piece of work, timed by itself, the same natively and as a guest: work NAME prints the nanoseconds of one unit
 * (a call, or the whole), and for sha256 the digest behind them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "sha256.h"

static void *memory(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

static double getppid_loop(long n) {
    uint64_t start = now();
    for (long i = 0; i < n; i++) syscall(SYS_getppid);
    return (double)(now() - start) / (double)n;
}

static double write_null(long n) {
    int fd = open("/dev/null", O_WRONLY);
    if (fd < 0) die("/dev/null");
    uint64_t start = now();
    for (long i = 0; i < n; i++)
        if (write(fd, "x", 1) != 1) die("write");
    return (double)(now() - start) / (double)n;
}

static double open_close(long n) {
    uint64_t start = now();
    for (long i = 0; i < n; i++) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd < 0) die("open");
        close(fd);
    }
    return (double)(now() - start) / (double)n;
}

static double map_touch(long n) {
    uint64_t start = now();
    for (long i = 0; i < n; i++) {
        *(volatile char *)memory(4096) = 1;
    }
    return (double)(now() - start) / (double)n;
}

static double clock_loop(long n) {
    struct timespec t;
    uint64_t start = now();
    for (long i = 0; i < n; i++) clock_gettime(CLOCK_REALTIME, &t);
    return (double)(now() - start) / (double)n;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Several times over, the first not counted: a machine that is itself virtual pays for memory that it has not used for
 * a while, ten times what is to be measured, and whoever comes first pays for both. */
static double touch(long mib) {
    enum { TIMES = 6 };
    double took[TIMES];
    size_t size = (size_t)mib << 20;
    for (int t = 0; t < TIMES; t++) {
        uint64_t start = now();
        volatile char *p = memory(size);
        for (size_t i = 0; i < size; i += 4096) p[i] = 1;
        took[t] = (double)(now() - start);
        munmap((void *)p, size);
    }
    qsort(took + 1, TIMES - 1, sizeof *took, by_value);
    return took[1 + (TIMES - 1) / 2];
}

static double cpu(long n) { /* a chain of multiplications: nothing but the CPU */
    uint64_t x = 1, start = now();
    for (long i = 0; i < n; i++) x = x * 6364136223846793005u + 1442695040888963407u;
    uint64_t took = now() - start;
    if (!x) puts("");
    return (double)took;
}

static double sha256(long mb) {
    size_t size = (size_t)mb * 1000000;
    uint8_t *data = memory(size), digest[32];
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)(i * 7 + (i >> 8));
    uint64_t start = now();
    sha256_of(digest, data, size);
    uint64_t took = now() - start;
    printf("%lu ", took);
    for (int i = 0; i < 32; i++) printf("%02x", digest[i]);
    puts("");
    exit(0);
}

static double began(long n) { /* the clock that the starter reads, too */
    (void)n;
    printf("%lu\n", now());
    exit(0);
}

static const struct { const char *name; double (*run)(long); } works[] = {
    {"getppid", getppid_loop}, {"write", write_null}, {"open", open_close}, {"map", map_touch},
    {"began", began}, {"clock", clock_loop}, {"touch", touch}, {"cpu", cpu}, {"sha256", sha256},
};

int main(int argc, char **argv) {
    long n = argc == 3 ? atol(argv[2]) : 0;
    for (size_t i = 0; n > 0 && i < sizeof works / sizeof *works; i++)
        if (!strcmp(argv[1], works[i].name)) {
            printf("%.1f\n", works[i].run(n));
            return 0;
        }
    fprintf(stderr, "usage: work NAME COUNT\n");
    return 2;
}
