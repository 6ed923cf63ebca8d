/* What the core needs to decide a call by its policy, with no guest around it: core/policy.c in a loop.
 *
 *     decide FILE NR COUNT [ARG0 ... ARG5]     prints the nanoseconds of one decision
 *
 * FILE holds 512 actions (int16) and the program behind them, as torov/policy compiles them (bench/supervisors.py). Calls that no
 * condition looks at are decided by their action alone, as in core/call.c. Paths and addresses are given, not looked up. */
#include "policy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

#include "clock.h"

const struct tv_call tv_calls[512]; /* only tests of policy.c look at it */

static struct sockaddr_in to;
static bool structure(void *of, int arg, unsigned size, const void **data) {
    (void)of, (void)arg, (void)size, (void)data;
    return false;
}
static const char *path(void *of, int arg) {
    (void)of, (void)arg;
    return "/usr/share/zoneinfo/Europe/Berlin";
}
static int address(void *of, int arg, const struct sockaddr **addr, uint32_t *len) {
    (void)of, (void)arg;
    *addr = (const struct sockaddr *)&to;
    *len = sizeof to;
    return 1;
}
static const char *sock(void *of) {
    (void)of;
    return NULL;
}

static _Alignas(8) uint8_t file[sizeof(int16_t) * 512 + (1 << 20)];

__attribute__((noinline)) static int decide(const int16_t *actions, const uint8_t *program, int nr, const uint64_t *a) {
    if (actions[nr] != POL_CONDITIONAL) return actions[nr];
    struct subject s = {nr, a, NULL, structure, path, address, sock};
    struct decision d = pol_decide(program, &s);
    return d.action == POL_ERRNO ? d.err : d.action;
}

int main(int argc, char **argv) {
    int nr = argc > 3 ? atoi(argv[2]) : -1, fd = argc > 3 ? open(argv[1], O_RDONLY) : -1;
    long count = argc > 3 ? atol(argv[3]) : 0;
    if (nr < 0 || nr > 511 || count < 1 || fd < 0) {
        fprintf(stderr, "usage: decide FILE NR COUNT [ARG0 ... ARG5]\n");
        return 2;
    }
    ssize_t size = read(fd, file, sizeof file) - (ssize_t)sizeof(int16_t) * 512;
    const int16_t *actions = (const void *)file;
    const uint8_t *program = file + sizeof(int16_t) * 512;
    uint64_t a[6] = {0};
    for (int i = 0; i < 6 && i + 4 < argc; i++) a[i] = strtoull(argv[i + 4], NULL, 0);
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (size < 0 || (size && pol_check(program, (uint32_t)size))) {
        fprintf(stderr, "decide: %s is no compiled policy\n", argv[1]);
        return 2;
    }
    int answer = decide(actions, program, nr, a);
    uint64_t start = now();
    for (long i = 0; i < count; i++)
        if (decide(actions, program, nr, a) != answer) return 1;
    printf("%.2f %d\n", (double)(now() - start) / (double)count, answer);
    return 0;
}
