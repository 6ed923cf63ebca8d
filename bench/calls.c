/* One call again and again, timed by itself, the same natively, under a supervisor and as a guest:
 *
 *     calls NAME COUNT [PATH]     prints the nanoseconds of one call, how many of them are more than getppid takes, and what
 *                                 became of three calls that a policy may refuse
 *
 * The times are medians over blocks of BLOCK calls: what else the machine does falls into a few of them. Each block has one of
 * as many getppid beside it (two for an open and a close), so that the second number hardly moves with the machine's mood.
 * The three are sched_yield, the timed call with an argument that it never has while it is timed, and the timed call on
 * another file or port; each is "0" or the name of its error. They show that a supervisor supervises. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

#define BLOCK 50
#define PORT 9  /* where nothing is sent: connect(2) of a datagram socket only looks for a route */
#define OTHER 7

static const char *path;
static int zero, sock;

static long call_getppid(void) { return syscall(SYS_getppid); }
static long call_read(size_t n) {
    char c[2];
    return syscall(SYS_read, zero, c, n);
}
static long call_open(const char *what, int flags) {
    long fd = syscall(SYS_openat, AT_FDCWD, what, flags, 0);
    if (fd >= 0) syscall(SYS_close, fd);
    return fd;
}
static long call_stat(const char *what, int flags) {
    struct stat s;
    return syscall(SYS_newfstatat, AT_FDCWD, what, &s, flags);
}
static long call_connect(unsigned short port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return syscall(SYS_connect, sock, &to, sizeof to);
}

enum which { TIMED, ARGUMENT, PLACE };
static long do_getppid(enum which w) { return w == TIMED ? call_getppid() : 0; }
static long do_read(enum which w) { return w == PLACE ? 0 : call_read(w == TIMED ? 1 : 2); }
static long do_open(enum which w) { return call_open(w == PLACE ? "/" : path, w == ARGUMENT ? O_PATH : O_RDONLY); }
static long do_stat(enum which w) { return call_stat(w == PLACE ? "/" : path, w == ARGUMENT ? AT_NO_AUTOMOUNT : 0); }
static long do_connect(enum which w) { return w == ARGUMENT ? 0 : call_connect(w == PLACE ? OTHER : PORT); }

static const char *outcome(long result) { return result >= 0 ? "0" : strerrorname_np(errno); }

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *of, size_t n) {
    qsort(of, n, sizeof *of, by_value);
    return of[n / 2];
}
static double block(long (*one)(enum which), int times) {
    uint64_t start = now();
    for (int i = 0; i < BLOCK * times; i++) one(TIMED);
    return (double)(now() - start) / BLOCK;
}

int main(int argc, char **argv) {
    static const struct { const char *name; long (*one)(enum which); } calls[] = {
        {"getppid", do_getppid}, {"read", do_read}, {"open", do_open}, {"stat", do_stat}, {"connect", do_connect}};
    long (*one)(enum which) = NULL;
    long count = argc >= 3 ? atol(argv[2]) : 0;
    for (size_t i = 0; argc >= 3 && i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(calls[i].name, argv[1])) one = calls[i].one;
    if (!one || count < 1) {
        fprintf(stderr, "usage: calls getppid|read|open|stat|connect COUNT [PATH]\n");
        return 2;
    }
    size_t n = (size_t)(count + BLOCK - 1) / BLOCK;
    double *took = calloc(n, sizeof *took), *more = calloc(n, sizeof *more);
    path = argc > 3 ? argv[3] : argv[0];
    zero = open("/dev/zero", O_RDONLY);
    sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (zero < 0 || sock < 0 || !took || !more) die("calls");
    const char *yield = outcome(sched_yield()), *argument = outcome(one(ARGUMENT)), *place = outcome(one(PLACE));
    if (one(TIMED) < 0) die(argv[1]);
    for (size_t b = 0; b < n; b++) {
        took[b] = block(one, 1);
        more[b] = took[b] - block(do_getppid, one == do_open ? 2 : 1);
    }
    printf("%.1f %.1f %s,%s,%s\n", median(took, n), median(more, n), yield, argument, place);
    return 0;
}
