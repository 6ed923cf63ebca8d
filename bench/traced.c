/* What a trace costs a call, with no guest around it: core/trace.c and the printer in a loop, the writer beside them.
 *
 *     traced FILE CALL COUNT     prints the nanoseconds of one call's two halves, before and after; the text goes to FILE
 *
 * CALL is getppid, or files: openat, read and close in turn. The time is that of the block of BLOCK calls in the middle, so that what
 * else the machine does falls out. */
#include "trace.h"

#include <fcntl.h>
#include <unistd.h>

#include "clock.h"

#define BLOCK 300

static _Alignas(4096) uint8_t memory[1 << 20];
static double block[100000];

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void call(struct tv_vm *vm, uint64_t nr, const uint64_t a[6], int64_t ret) {
    if (trace_before(vm, nr, a)) trace_after(vm, nr, ret);
}

int main(int argc, char **argv) {
    static struct tv_vm vm;
    static struct tv_proc proc;
    static struct tv_thread me;
    struct tv_trace options = {.string_size = 32, .column = 40, .follow = 1, .pid_prefix = 1};
    long count = argc == 4 ? atol(argv[3]) / BLOCK : 0;
    int file = count > 0 && count <= 100000 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    bool files = argc == 4 && !strcmp(argv[2], "files");
    if (file < 0) {
        fprintf(stderr, "usage: traced FILE getppid|files COUNT\n");
        return 2;
    }
    memset(options.calls, 255, sizeof options.calls);
    memset(vm.keep, 255, sizeof vm.keep);
    proc.pid = me.tid = getpid();
    me.vm = &vm, me.proc = &proc, proc.threads = &me;
    tv_me = &me;
    vm.mem.base = memory, vm.mem.top = sizeof memory;
    vm.fd_hi = &vm.fd_lo;
    strcpy((char *)memory + TV_MIN, "/etc/hostname");
    strcpy((char *)memory + TV_MIN + 100, "name-of-the-host\n");
    vm.keep[KEEP_TRACE] = tv_trace_start(&options, file, NULL);
    if (vm.keep[KEEP_TRACE] < 0 || tv_copy_setup() || trace_join(&vm)) die("trace");
    const uint64_t none[6] = {0}, open_[6] = {(uint64_t)AT_FDCWD, TV_MIN, O_RDONLY}, read_[6] = {3, TV_MIN + 100, 64}, close_[6] = {3};
    for (long b = 0; b < count; b++) {
        uint64_t t = now();
        for (int i = 0; i < BLOCK; i += files ? 3 : 1) {
            if (!files) { call(&vm, 110, none, 4711); continue; }
            call(&vm, 257, open_, 3);
            call(&vm, 0, read_, 17);
            call(&vm, 3, close_, 0);
        }
        block[b] = (double)(now() - t) / BLOCK;
        usleep(300); /* a guest does something, too: its exits alone take longer */
    }
    int failed = tv_trace_end(&vm);
    if (failed) { fprintf(stderr, "traced: %s\n", strerror(failed)); return 1; }
    qsort(block, (size_t)count, sizeof *block, by_value);
    printf("%.1f\n", block[count / 2]);
}
