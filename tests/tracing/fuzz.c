/* The printer and the writer of traces with arguments that no program would make: any number, any memory, any result; and the ring
 * overwritten by a monitor that lies. Under the sanitizers. Prints how many calls were shown.
 *
 *     fuzz FILE FORMAT COUNT SEED [LIES] */
#include "trace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;
static uint64_t any(void) { /* xorshift64* */
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
}
static uint64_t below(uint64_t n) { return any() % n; }

static uint64_t word(uint64_t top) {
    switch (below(7)) {
    case 0: return below(64);
    case 1: return any();
    case 2: return (uint64_t)-(int64_t)below(200);
    case 3: return 0;
    case 4: return top - below(600); /* about the end of what can be read */
    default: return TV_MIN + below(top - TV_MIN);
    }
}

int main(int argc, char **argv) {
    static struct tv_vm vm;
    static struct tv_proc proc;
    static struct tv_thread me;
    static struct tv_cpu cpu;
    static struct tv_regs regs;
    static struct tv_sighand hand;
    if (argc < 5) return 2;
    state = strtoull(argv[4], NULL, 0) | 1;
    size_t size = 1 << 18;
    uint8_t *memory = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + size, 4096, PROT_NONE)) return 2;
    struct tv_trace options = {.column = 40, .follow = 1, .format = atoi(argv[2]), .string_size = (uint32_t)(1 + below(300)), .verbose = (int)below(2),
                               .hex_strings = (int)below(3), .times = (int)below(4), .durations = 1, .counts = 2, .paths = (int)below(2), .status = (int)below(3)};
    memset(options.calls, 255, sizeof options.calls);
    options.signals = ~0ull;
    memset(vm.keep, 255, sizeof vm.keep);
    proc.pid = me.tid = getpid(), proc.sig = &hand;
    hand.act[17].handler = 1;
    me.vm = &vm, me.proc = &proc, me.cpu = &cpu, cpu.regs = &regs, proc.threads = &me;
    tv_me = &me;
    vm.mem.base = memory, vm.mem.top = size;
    vm.fd_hi = &vm.fd_lo;
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    vm.keep[KEEP_TRACE] = file < 0 ? -1 : tv_trace_start(&options, file, NULL);
    if (vm.keep[KEEP_TRACE] < 0 || tv_copy_setup() || trace_join(&vm)) return 2;
    long count = atol(argv[3]), shown = 0;
    for (long i = 0; i < count; i++) {
        for (int k = 0; k < 200; k++) memory[TV_MIN + below(size - TV_MIN)] = (uint8_t)any();
        for (int k = 0; k < 400; k++) { /* pointers and small numbers, where structures look for them */
            uint64_t v = word(size);
            memcpy(memory + ((TV_MIN + below(size - TV_MIN - 8)) & ~7ull), &v, 8);
        }
        uint64_t a[6], nr = below(480);
        for (int k = 0; k < 6; k++) a[k] = word(size);
        regs.rsp = word(size), regs.rax = any();
        int64_t ret = below(3) ? (int64_t)below(300) : below(2) ? -(int64_t)below(4200) : (int64_t)any();
        if (trace_before(&vm, nr, a)) trace_after(&vm, nr, ret), shown++;
        if (!below(20)) {
            siginfo_t info;
            for (size_t k = 0; k < sizeof info; k++) ((uint8_t *)&info)[k] = (uint8_t)(below(3) ? any() : 0);
            info.si_signo = (int)below(66);
            trace_signal(&vm, &info);
        }
        if (argc > 5 && !below(50)) { /* what is not taken yet, and how much there is */
            uint64_t at = vm.trace->head - below(400);
            for (int k = 0; k < 40; k++) vm.trace->data[(at + (uint64_t)k) % TRACE_RING] = (uint8_t)any();
            if (!below(10)) vm.trace->head += any() & 0xffff;
        }
    }
    int err = tv_trace_end(&vm);
    printf("%ld\n", shown);
    trace_leave(&vm);
    free(me.trace);
    return err;
}
