/* A struct tv_spec as bytes in a memfd, for the runner that goes on after exec(2). */
#include "trace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x31767274u
#define STACK_MOST (64ull << 20) /* of a stack without a limit, as in place_stack() */
struct blob { /* strings follow: exe, execfn, cache, version, python, runner, core_name, then the three lists */
    uint32_t magic, flags;
    int32_t image, loader, kvm;
    uint32_t cpuid; /* bytes behind this */
    uint32_t nhelper, nargv, nenvp, rlim_own, limited, most_threads;
    uint32_t perf_hz;
    uint64_t most_memory;
    int32_t keep[KEEP_COUNT];
    uint32_t program; /* bytes, behind cpuid */
    int32_t strict;   /* descriptor of the table; -1: none */
    int16_t actions[512];
    uint64_t rlim[16][2];
    uint64_t sigmask;
};

static char *put(char *at, const void *data, size_t n) {
    if (n) memcpy(at, data, n); /* an empty list has no memory */
    return at + n;
}

/* The bytes, in one piece of memory. */
int spec_pack(struct tv_vm *vm, struct tv_packed *out, int image, int loader, int strict, const char *exe, const char *execfn, const char *argv,
              size_t argv_bytes, size_t nargv, const char *envp, size_t envp_bytes, size_t nenvp) {
    const struct tv_helper *h = &vm->helper;
    struct blob b = {.magic = MAGIC, .flags = vm->flags & 0xffff, .image = image, .loader = loader, .strict = strict, .kvm = vm->hw->kvm, .nargv = (uint32_t)nargv, .nenvp = (uint32_t)nenvp};
    const char *strings[] = {exe, execfn, h->cache, h->version, h->python, h->runner, vm->core_name};
    const void *cpuid = cpu_known(&b.cpuid);
    memcpy(b.actions, vm->actions, sizeof b.actions);
    memcpy(b.rlim, vm->rlim, sizeof b.rlim);
    memcpy(b.keep, vm->keep, sizeof b.keep);
    if (tv_me->untraced) b.keep[KEEP_TRACE] = -1;
    if (tv_me->proc->let_go) b.keep[KEEP_DEBUG] = -1;
    b.perf_hz = vm->perf_hz;
    b.program = vm->program_size;
    b.rlim_own = vm->rlim_own;
    b.limited = vm->limited, b.most_threads = vm->most_threads, b.most_memory = vm->most_memory;
    b.sigmask = tv_me->sigmask;
    size_t n = sizeof b + b.cpuid + b.program + argv_bytes + envp_bytes;
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) n += strlen(strings[i]) + 1;
    for (; h->envp && h->envp[b.nhelper]; b.nhelper++) n += strlen(h->envp[b.nhelper]) + 1;
    char *at = out->data = malloc(n);
    if (!at) return -ENOMEM;
    out->size = n;
    at = put(at, &b, sizeof b);
    at = put(at, cpuid, b.cpuid);
    if (b.program) at = put(at, vm->program, b.program);
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) at = put(at, strings[i], strlen(strings[i]) + 1);
    for (uint32_t i = 0; i < b.nhelper; i++) at = put(at, h->envp[i], strlen(h->envp[i]) + 1);
    if (argv_bytes) at = put(at, argv, argv_bytes);
    if (envp_bytes) put(at, envp, envp_bytes);
    return 0;
}

/* The memfd. The caller sees to it that nothing of the guest shares the table of descriptors any more: what is in it decides
 * about the policy. */
int spec_file(const struct tv_packed *p) {
    int fd = memfd_create("torov-exec", MFD_ALLOW_SEALING);
    struct rlimit size, most;
    getrlimit(RLIMIT_FSIZE, &size); /* the guest's own, and not about this */
    most = (struct rlimit){size.rlim_max, size.rlim_max};
    setrlimit(RLIMIT_FSIZE, &most);
    for (size_t done = 0; fd >= 0 && done < p->size;) {
        ssize_t w = write(fd, (char *)p->data + done, p->size - done);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) { close(fd); fd = -1; errno = EIO; break; }
        done += (size_t)w;
    }
    int err = errno;
    setrlimit(RLIMIT_FSIZE, &size);
    if (fd < 0) return -err;
    /* another process of the guest can open it by /proc/PID/fd: what it holds is looked at once nothing can be written any more */
    const void *now = MAP_FAILED;
    if (!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) now = mmap(NULL, p->size, PROT_READ, MAP_PRIVATE, fd, 0);
    bool same = now != MAP_FAILED && !memcmp(now, p->data, p->size);
    if (now != MAP_FAILED) munmap((void *)(uintptr_t)now, p->size);
    if (same) return fd;
    close(fd);
    return -EPERM;
}

static const char **list(char **at, char *end, uint32_t n) {
    const char **v = calloc(n + 1u, sizeof *v);
    for (uint32_t i = 0; v && i < n; i++) {
        if (*at >= end) return NULL;
        v[i] = *at;
        *at += strlen(*at) + 1;
    }
    return v;
}

/* The runner: reads what spec_write() wrote, runs the guest to its end. Does not return unless it cannot start. */
int tv_runner(int fd) {
    struct stat st;
    struct tv_spec s = {0};
    struct tv_stop why;
    if (fstat(fd, &st) || (size_t)st.st_size < sizeof(struct blob)) return 125;
    struct blob *b = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (b == MAP_FAILED || b->magic != MAGIC) return 125;
    if (b->cpuid > (size_t)st.st_size - sizeof *b || b->program > (size_t)st.st_size - sizeof *b - b->cpuid) return 125;
    cpu_know(b + 1, b->cpuid);
    char *at = (char *)(b + 1) + b->cpuid + b->program, *end = (char *)b + st.st_size;
    const char **fixed = list(&at, end, 7);
    s.helper_env = list(&at, end, b->nhelper);
    s.argv = list(&at, end, b->nargv);
    s.envp = list(&at, end, b->nenvp);
    if (!fixed || !s.helper_env || !s.argv || !s.envp || end[-1]) return 125;
    s.exe = fixed[0], s.execfn = fixed[1], s.cache = fixed[2], s.cache_version = fixed[3], s.python = fixed[4], s.runner = fixed[5], s.core_name = fixed[6];
    s.image_fd = b->image;
    s.loader_fd = b->loader;
    s.kvm_fd = b->kvm;
    s.actions = b->actions;
    s.program = b->program ? (char *)(b + 1) + b->cpuid : NULL;
    s.program_size = b->program;
    s.shared_fd = b->keep[KEEP_SHARED];
    s.debug_fd = b->keep[KEEP_DEBUG];
    s.core_fd = b->keep[KEEP_CORE];
    s.perf_fd = b->keep[KEEP_PERF], s.perf_hz = b->perf_hz;
    s.runner_fd = b->flags & TV_F_SEALED ? b->keep[KEEP_RUNNER] : 0;
    s.trace_fd = b->keep[KEEP_TRACE], s.audit_fd = b->keep[KEEP_AUDIT], s.tty_fd = b->keep[KEEP_TTY];
    memcpy(s.delegate_fd, b->keep + KEEP_DELEGATE, sizeof s.delegate_fd);
    s.flags = b->flags | TV_F_RUNNER | TV_F_OWN;
    if (b->rlim_own & 1u << RLIMIT_STACK) s.stack_size = b->rlim[RLIMIT_STACK][0] < STACK_MOST ? b->rlim[RLIMIT_STACK][0] | 1 : STACK_MOST;
    close(fd);
    if (b->strict >= 0) {
        struct stat t;
        if (fstat(b->strict, &t) || t.st_size > 1 << 28) return 125;
        s.strict = mmap(NULL, (size_t)t.st_size, PROT_READ, MAP_PRIVATE, b->strict, 0);
        s.strict_size = (uint32_t)t.st_size;
        if (s.strict == MAP_FAILED) return 125;
        close(b->strict);
    }
    struct tv_vm *vm = tv_create(&s, &why);
    if (s.strict) munmap((void *)s.strict, s.strict_size);
    free((void *)s.helper_env);
    free((void *)s.argv);
    free((void *)s.envp);
    free((void *)fixed);
    close(s.image_fd);
    if (s.loader_fd > 0) close(s.loader_fd);
    if (!vm) {
        struct tv_vm none = {.flags = s.flags, .exe = (char *)s.exe};
        note_write(&none, &why);
        return 125;
    }
    vm->proc->child = true;
    memcpy(vm->rlim, b->rlim, sizeof b->rlim);
    vm->rlim_own = b->rlim_own;
    vm->limited = b->limited, vm->most_threads = b->most_threads, vm->most_memory = b->most_memory;
    tv_me = vm->proc->threads;
    tv_me->sigmask = b->sigmask;
    sig_start(vm);
    proc_show(vm);
    if (vm->keep[KEEP_DEBUG] >= 0) debug_start(vm, DEBUG_EXECED, getppid());
    if (vm->trace) trace_begin(vm, true);
    vm_run_to_end(vm);
    return 125;
}
