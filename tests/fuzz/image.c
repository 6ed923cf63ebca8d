/* Image files and ELF files as the core reads them (load.c, symbol.c), under libFuzzer: an input is a byte of options and a file. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image.h"

static struct shared place;
struct shared *shared = &place;
struct tv_vm *fuzz_vm;
const struct input *fuzz_input;
bool fuzz_serving;

void fuzz_fail(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    abort();
}
void tell(const char *format, ...) { }
void calls_before(long nr) { }
void calls_after(long nr, int64_t result) { }
uint64_t resolve(uint8_t cls, uint64_t v, int nr, int arg) { return v; }
void remember(uint64_t result) { }
bool rules_refuse(long nr, const uint64_t a[6]) { return false; }

static int file(const char *name, const void *data, size_t size) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) { perror("memfd"); _exit(2); }
    return fd;
}

static unsigned descriptors(void) {
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Most changes are to fields: of the headers, and of what they point to. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull | 1, v, old;
#define ANY() (state ^= state << 13, state ^= state >> 7, state ^= state << 17)
    ANY();
    if (size < 200 || ANY() % 8 == 0) return LLVMFuzzerMutate(data, size, most);
    for (int times = 1 + (int)(ANY() % 3); times--;) {
        uint64_t table, width = 1ull << (1 + ANY() % 3), at = 1 + ANY() % 160;
        uint64_t where = ANY() % 4;
        memcpy(&table, data + 1 + (where == 1 ? 56 : where == 2 ? 32 : 40), 8); /* segments of an image file; e_phoff, e_shoff */
        if (where && table < size - 80) at = 1 + table + ANY() % 256;
        at -= (at - 1) % width;
        if (at + 8 > size) continue;
        memcpy(&old, data + at, 8);
        switch (ANY() % 6) {
        case 0: v = ANY(); break;
        case 1: v = old + ANY() % 33 - 16; break;
        case 2: v = 1ull << ANY() % 64; break;
        case 3: v = ANY() % size; break;
        case 4: v = old ^ 1ull << ANY() % 64; break;
        default: v = ANY() & 1 ? 0 : old + PG;
        }
        memcpy(data + at, &v, width);
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *argv[] = {"prog", NULL}, *envp[] = {NULL};
    struct tv_stop stop;
    static struct tv_region regions[64];
    if (!size) return -1;
    unsigned before = descriptors();
    int given = file("given", data + 1, size - 1), own = data[0] & 1 ? file("own", guest_image, sizeof guest_image) : -1;
    struct tv_spec spec = {.exe = "/bin/true", .execfn = "/bin/true", .argv = argv, .envp = envp, .stack_size = 1 << 20,
                           .flags = TV_F_IOPL | TV_F_NO_VDSO | (data[0] & 2 ? TV_F_SEALED : 0), .image_fd = own >= 0 ? own : given, .loader_fd = own >= 0 ? given : 0};
    struct tv_vm *vm = fuzz_vm = tv_create(&spec, &stop);
    if (vm) {
        char text[300];
        cpu_tables(vm);
        for (size_t i = 0; i < vm->mem.nvma; i++) {
            const struct tv_vma *v = &vm->mem.vma[i];
            if (v->start >= v->end || v->start < TV_MIN || v->end > vm->mem.top || (i && v[-1].end > v->start)) fuzz_fail("mapping %lx-%lx", v->start, v->end);
        }
        tv_layout(vm, regions, 64);
        symbol_where(vm, text, sizeof text, vm->entry, vm->stack_ptr);
        symbol_where(vm, text, sizeof text, vm->loader_entry, vm->stack_ptr);
        symbol_where(vm, text, sizeof text, vm->image_lo + 64, vm->stack_ptr);
        if (memchr(text, 0, sizeof text) == NULL) fuzz_fail("a name without an end");
        symbol_objects(vm, text, sizeof text);
        symbol_hash(vm);
        tv_destroy(vm);
    } else if (!stop.what[0]) {
        fuzz_fail("an error without a name");
    }
    fuzz_vm = NULL;
    close(given);
    if (own >= 0) close(own);
    cpu_forget();
    if (descriptors() != before) fuzz_fail("descriptors: %u, now %u", before, descriptors());
    return 0;
}

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=1:handle_segv=1:handle_sigbus=1:allow_user_segv_handler=1:allocator_may_return_null=1:quarantine_size_mb=4"; }
