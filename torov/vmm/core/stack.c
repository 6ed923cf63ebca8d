/* The initial stack of a program: strings, auxiliary vector, envp, argv, argc (System V ABI AMD64, 3.4.1;
 * Linux fs/exec.c, fs/binfmt_elf.c; getauxval(3)). */
#include "tv.h"

#include <cpuid.h>
#include <elf.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef PR_GET_AUXV
#define PR_GET_AUXV 0x41555856
#endif
#define ARG_MAX_ONE (128u << 10) /* MAX_ARG_STRLEN */

static size_t count(const char *const *v, uint64_t *bytes, bool *big) {
    size_t n = 0;
    for (; v && v[n]; n++) {
        size_t len = strlen(v[n]) + 1;
        if (len > ARG_MAX_ONE) *big = true;
        *bytes += len;
    }
    return n;
}

/* The kernel's AT_HWCAP: CPUID 1 EDX (arch/x86/include/asm/elf.h). glibc's getauxval() answers a number of its own. */
static uint64_t hwcap(void) {
    uint64_t aux[64];
    long n = prctl(PR_GET_AUXV, aux, sizeof aux, 0, 0); /* since Linux 6.4 */
    for (long i = 0; i + 1 < n / 8 && i + 1 < 64 && aux[i]; i += 2)
        if (aux[i] == AT_HWCAP) return aux[i + 1];
    uint32_t a, b, c, d;
    __cpuid(1, a, b, c, d);
    return d;
}

struct builder { uint8_t *base; gva sp; };

static gva push(struct builder *b, const void *data, size_t len) {
    b->sp -= len;
    memcpy(b->base + b->sp, data, len);
    return b->sp;
}

/* From stack_lo up: RLIMIT_STACK, or what the caller asks. All of it is mapped; pages come as they are touched. */
void place_stack(struct tv_vm *vm, uint64_t size) {
    struct rlimit lim;
    if (!size) size = getrlimit(RLIMIT_STACK, &lim) || lim.rlim_cur == RLIM_INFINITY ? 64ull << 20 : lim.rlim_cur;
    if (size < 256 << 10) size = 256 << 10;
    if (size > GIB / 2) size = GIB / 2;
    vm->stack_hi = vm->stack_lo + ((size + HUGE - 1) & ~(HUGE - 1));
}

int build_stack(struct tv_vm *vm, const struct tv_spec *spec) {
    uint64_t size = vm->stack_hi - vm->stack_lo;
    uint64_t bytes = strlen(spec->execfn) + 1;
    bool big = false;
    size_t argc = count(spec->argv, &bytes, &big), envc = count(spec->envp, &bytes, &big);
    if (big || bytes + 8 * (argc + envc) > size / 4) return -E2BIG;
    int r = map_anon(vm, vm->stack_lo, vm->stack_hi, PROT_READ | PROT_WRITE | (vm->flags & TV_F_EXEC_STACK ? PROT_EXEC : 0), VMA_STACK);
    if (r) return r;
    uint64_t *ptr = calloc(argc + envc + 2, sizeof *ptr);
    if (!ptr) return -ENOMEM;
    struct builder b = {vm->mem.base, vm->stack_hi - 8};
    size_t need = PG_UP(bytes + 8 * (argc + envc) + 1024) + 2 * PG; /* and what a libc's start takes */
    madvise(vm->mem.base + vm->stack_hi - need, need, MADV_POPULATE_WRITE);
    gva execfn = push(&b, spec->execfn, strlen(spec->execfn) + 1);
    for (size_t i = envc; i-- > 0;) ptr[argc + 1 + i] = push(&b, spec->envp[i], strlen(spec->envp[i]) + 1);
    for (size_t i = argc; i-- > 0;) ptr[i] = push(&b, spec->argv[i], strlen(spec->argv[i]) + 1);
    vm->env_end = execfn;
    vm->arg_end = envc ? ptr[argc + 1] : execfn;
    vm->arg_start = argc ? ptr[0] : vm->arg_end;
    const char *platform = (const char *)getauxval(AT_PLATFORM);
    if (!platform) platform = "x86_64";
    b.sp &= ~15ull;
    gva plat = push(&b, platform, strlen(platform) + 1);
    uint8_t random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random) { free(ptr); return -EIO; }
    gva rnd = push(&b, random, sizeof random);
    b.sp &= ~15ull;
    uint64_t aux[] = {
        AT_SYSINFO_EHDR, vm->vdso, AT_MINSIGSTKSZ, getauxval(AT_MINSIGSTKSZ), AT_HWCAP, hwcap(), AT_PAGESZ, PG,
        AT_CLKTCK, getauxval(AT_CLKTCK), AT_PHDR, vm->phdr, AT_PHENT, vm->phent, AT_PHNUM, vm->phnum, AT_BASE, vm->loader_base, AT_FLAGS, 0,
        AT_ENTRY, vm->entry, AT_UID, getuid(), AT_EUID, geteuid(), AT_GID, getgid(), AT_EGID, getegid(), AT_SECURE, 0,
        AT_RANDOM, rnd, AT_HWCAP2, getauxval(AT_HWCAP2) & ~(vm->hw->features & CPUF_FSGSBASE ? 0ul : 2ul),
        AT_EXECFN, execfn, AT_PLATFORM, plat, AT_NULL, 0};
    size_t from = vm->vdso ? 0 : 2, naux = sizeof aux / sizeof *aux - from;
    size_t words = 1 + argc + 1 + envc + 1 + naux;
    if ((b.sp - words * 8) & 15) b.sp -= 8;
    vm->auxv = push(&b, aux + from, naux * 8);
    vm->auxv_size = naux * 8;
    push(&b, ptr + argc + 1, (envc + 1) * 8); /* the last is NULL */
    push(&b, ptr, (argc + 1) * 8);
    uint64_t n = argc;
    push(&b, &n, 8);
    vm->stack_ptr = b.sp;
    free(ptr);
    return mem_fault(vm, vm->stack_hi - 8, 2) == FAULT_RETRY && mem_fault(vm, b.sp, 2) == FAULT_RETRY ? 0 : -ENOMEM;
}
