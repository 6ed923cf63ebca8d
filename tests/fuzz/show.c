/* The printer of traces (show*.c) under libFuzzer, with calls and memory that no program would make. An input is options, a number, six
 * arguments, a result, and the memory. */
#include "show.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TOP = 0x20000, PLACE_BITS = 0xa5 };

static uint64_t number(const uint8_t **p, const uint8_t *end, unsigned n) {
    uint64_t v = 0;
    if ((size_t)(end - *p) < n) n = (unsigned)(end - *p);
    memcpy(&v, *p, n);
    *p += n;
    return v;
}

/* A word whose top byte is 0xa5 stands for an address of the memory that can be read, or near its end. */
static uint64_t pointer(uint64_t v, uint64_t from) {
    if (v >> 56 != PLACE_BITS) return v;
    return v >> 55 & 1 ? TOP - (v & 0xff) : from + (v & 0xffff) % (TOP - from);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t *memory;
    static struct tv_vm vm;
    static struct tv_proc proc;
    static struct tv_thread me;
    static struct tv_cpu cpu;
    static struct tv_regs regs;
    static struct tv_sighand hand;
    static struct show s;
    struct trace_options o = {.column = 40, .follow = 1};
    const uint8_t *p = data, *end = data + size;
    if (!memory) {
        memory = mmap(NULL, TOP + PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory + TOP, PG, PROT_NONE) || tv_copy_setup()) abort();
        memset(vm.keep, 255, sizeof vm.keep);
        vm.fd_hi = &vm.fd_lo;
        proc.pid = me.tid = getpid(), proc.sig = &hand, proc.threads = &me;
        me.vm = &vm, me.proc = &proc, me.cpu = &cpu, cpu.regs = &regs;
        vm.mem.base = memory, vm.mem.top = TOP;
    }
    tv_me = &me;
    uint64_t bits = number(&p, end, 4), nr = number(&p, end, 2), a[6];
    o.string_size = bits & 0xff, o.verbose = bits >> 8 & 1, o.hex_strings = bits >> 9 & 3, o.paths = bits >> 11 & 1, o.status = bits >> 12 & 3, o.format = (int)(bits >> 14 & 3) % 3;
    uint64_t from = TV_MIN;
    for (int i = 0; i < 6; i++) a[i] = number(&p, end, 8);
    int64_t ret = (int64_t)number(&p, end, 8);
    size_t n = (size_t)(end - p) & ~7ull;
    if (n > TOP - TV_MIN) n = TOP - TV_MIN;
    from = TOP - (n ? n : 8); /* it ends where memory does */
    memset(memory + TV_MIN, 0, 4096);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        v = pointer(v, from);
        memcpy(memory + from + i, &v, 8);
    }
    for (int i = 0; i < 6; i++) a[i] = pointer(a[i], from);
    s.vm = &vm, s.o = &o, s.a = a, s.nr = (int)(nr % 512), s.n = 0, s.room = sizeof s.text, s.ret = 0;
    show_before(&s);
    s.ret = ret;
    show_after(&s);
    s.room = sizeof s.text;
    put_c(&s, SHOW_RESULT);
    show_result(&s);
    if (s.n > sizeof s.text) abort();
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.text[i] < ' ' && s.text[i] != SHOW_SEP && s.text[i] != SHOW_RESULT) {
            fprintf(stderr, "call %d: a byte %x at %zu: %.*s\n", s.nr, s.text[i], i, (int)s.n, s.text);
            abort();
        }
    return 0;
}

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0:handle_segv=1:handle_sigbus=1:allow_user_segv_handler=1"; }
