/* execve(2), execveat(2). The new program runs in a runner: the host's own execve() keeps pid, descriptors, masks and limits
 * and gives up everything else, as Linux does. Its image comes from the cache, or a helper makes it first, so that
 * whatever is wrong with the file is this call's error. */
#include "policy.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRINGS_MAX (6u << 20) /* Linux: 3/4 of _STK_LIM */
#define STRING_MAX (128u << 10)
#define SCRIPT_DEPTH 5
#define HEAD 256 /* BINPRM_BUF_SIZE */

struct words { char *text; size_t bytes, cap; size_t *at; size_t n, room; };

static int push(struct words *w, const char *s, size_t len) {
    if (w->bytes + len + 1 > STRINGS_MAX) return -E2BIG;
    if (w->bytes + len + 1 > w->cap) {
        size_t cap = (w->bytes + len + 1) * 2 + 4096;
        char *p = realloc(w->text, cap);
        if (!p) return -ENOMEM;
        w->text = p;
        w->cap = cap;
    }
    if (w->n == w->room) {
        size_t room = w->room * 2 + 64;
        size_t *p = realloc(w->at, room * sizeof *p);
        if (!p) return -ENOMEM;
        w->at = p;
        w->room = room;
    }
    w->at[w->n++] = w->bytes;
    memcpy(w->text + w->bytes, s, len);
    w->text[w->bytes + len] = 0;
    w->bytes += len + 1;
    return 0;
}

static int words_in(struct tv_vm *vm, struct words *w, gva list) {
    char *buf = malloc(STRING_MAX + 1);
    int r = buf ? 0 : -ENOMEM;
    for (uint64_t i = 0; !r && list; i++) {
        gva s;
        if (i * 8 > STRINGS_MAX) { r = -E2BIG; break; }
        if (tv_copy_in(vm, &s, list + i * 8, 8)) { r = -EFAULT; break; }
        if (!s) break;
        long n = tv_copy_str(vm, buf, s, STRING_MAX);
        r = n < 0 ? (n == -ENAMETOOLONG ? -E2BIG : (int)n) : push(w, buf, (size_t)n);
    }
    free(buf);
    return r;
}

/* bprm_stack_limits() of fs/exec.c: a quarter of the stack for strings and pointers, within bounds. */
static bool too_long(const struct tv_vm *vm, const struct words *argv, const struct words *envp, const char *shown) {
    struct rlimit host = {RLIM_INFINITY, RLIM_INFINITY};
    getrlimit(RLIMIT_STACK, &host);
    uint64_t most = (vm->rlim_own & 1u << RLIMIT_STACK ? vm->rlim[RLIMIT_STACK].cur : host.rlim_cur) / 4;
    most = most > STRINGS_MAX ? STRINGS_MAX : most < STRING_MAX ? STRING_MAX : most;
    return 8 * (argv->n + envp->n) + argv->bytes + envp->bytes + strlen(shown) + 1 > most;
}

static void words_free(struct words *w) { free(w->text); free(w->at); }

/* What the kernel looks at before it commits: a regular file that may be executed. */
static int head_of(const char *path, uint8_t head[HEAD + 1]) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENXIO) errno = EACCES; /* a socket */
    if (fd < 0) {
        if (errno != EACCES || access(path, X_OK)) return -errno;
        return -EACCES; /* executable but not readable: nothing can be proven about it */
    }
    int r = fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) ? -EACCES : 0;
    if (!r) {
        memset(head, 0, HEAD + 1);
        ssize_t n = pread(fd, head, HEAD, 0);
        if (n < 0) r = -errno;
    }
    close(fd);
    return r;
}

/* #! : the interpreter, one optional argument, the script, the rest of argv (fs/binfmt_script.c). */
static int script(struct words *argv, char *path, uint8_t *head) {
    char *line = (char *)head + 2, *end = memchr(line, '\n', HEAD - 2), *arg;
    if (!end) end = (char *)head + HEAD;
    *end = 0;
    while (end > line && (end[-1] == ' ' || end[-1] == '\t')) *--end = 0;
    while (*line == ' ' || *line == '\t') line++;
    if (!*line) return -ENOEXEC;
    arg = line + strcspn(line, " \t");
    if (*arg) { *arg++ = 0; while (*arg == ' ' || *arg == '\t') arg++; }
    struct words w = {0};
    int r = push(&w, line, strlen(line));
    if (!r && *arg) r = push(&w, arg, strlen(arg));
    if (!r) r = push(&w, path, strlen(path));
    for (size_t i = 1; !r && i < argv->n; i++) r = push(&w, argv->text + argv->at[i], strlen(argv->text + argv->at[i]));
    if (r) { words_free(&w); return r; }
    words_free(argv);
    *argv = w;
    if (strlen(line) >= PATH_MAX) return -ENAMETOOLONG;
    strcpy(path, line);
    return 0;
}

/* By the cache's index (loader/cache.py): the same key, one readlink(2). */
static int cached(struct tv_vm *vm, const char *path, int *table) {
    struct stat st;
    char link[PATH_MAX], name[PATH_MAX];
    const struct tv_helper *h = &vm->helper;
    if (!h->cache || !*h->cache || stat(path, &st)) return -1;
    uint64_t m = (uint64_t)st.st_mtim.tv_sec * 1000000000ull + (uint64_t)st.st_mtim.tv_nsec;
    uint64_t c = (uint64_t)st.st_ctim.tv_sec * 1000000000ull + (uint64_t)st.st_ctim.tv_nsec;
    int len = snprintf(link, sizeof link, "%s/by-stat/%lx-%lx-%lx-%lx-%lx-v%s", h->cache, st.st_dev, st.st_ino, (uint64_t)st.st_size, m, c, h->version);
    if (len < 0 || (size_t)len >= sizeof link) return -1;
    len = snprintf(name, sizeof name, "%s/", h->cache);
    if (len < 0 || (size_t)len >= sizeof name) return -1;
    ssize_t n = readlink(link, name + len, sizeof name - (size_t)len - 1);
    if (n <= 0) return -1;
    name[len + n] = 0;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && (fstat(fd, &st) || st.st_uid != geteuid() || st.st_mode & 022)) { close(fd); fd = -1; }
    char *end = strrchr(name, '.');
    if (fd >= 0 && table && end && (size_t)(end - name) + sizeof ".1.sites" <= sizeof name) { /* torov/strict.py: beside the image */
        strcpy(end, ".1.sites");
        *table = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (*table >= 0 && (fstat(*table, &st) || st.st_uid != geteuid() || st.st_mode & 022)) { close(*table); *table = -1; }
    }
    return fd;
}

/* `python -m torov.prepare PATH`, which prints the path of the image; but -m looks for torov in the working directory first, and
 * that is the guest's. No wait of the guest comes between. */
static const char prepare[] = "import sys; sys.path.append(sys.argv[1].rsplit('/', 3)[0]); from torov.prepare import main; raise SystemExit(main(sys.argv[1:]))";
static int made(struct tv_vm *vm, const char *path) {
    int out[2], status = -1;
    char name[PATH_MAX], ours[PATH_MAX + 64];
    size_t n = 0;
    if (!strncmp(path, "/proc/self/", 11)) { /* the helper is another process, and has not what exec closes */
        snprintf(ours, sizeof ours, "/proc/%d/%s", getpid(), path + 11);
        path = ours;
    }
    if (pipe2(out, O_CLOEXEC)) return -EAGAIN;
    long pid = sys6(56, 0, 0, 0, 0, 0, 0); /* clone without an exit signal; exec() would give it one, so it is a child's child that does */
    if (pid == 0 && (pid = sys6(56, 0, 0, 0, 0, 0, 0)) != 0) {
        if (pid > 0) sys6(61, (uint64_t)pid, (uintptr_t)&status, 0x40000000 /* __WALL */, 0, 0, 0);
        for (;;) sys6(231, status != 0, 0, 0, 0, 0, 0);
    }
    if (pid == 0) {
        const char *argv[] = {vm->helper.python, "-P", "-c", prepare, vm->helper.runner, path, NULL};
        uint64_t none = 0;
        sys6(14, SIG_SETMASK, (uintptr_t)&none, 0, 8, 0, 0);
        sys6(33, (uint64_t)out[1], 1, 0, 0, 0, 0);
        sys6(436, 3, ~0u, 0, 0, 0, 0); /* the guest's descriptors are not the helper's */
        if (vm->flags & TV_F_QUIET) {
            long null = sys6(2, (uintptr_t)"/dev/null", O_WRONLY, 0, 0, 0, 0);
            if (null >= 0) sys6(33, (uint64_t)null, 2, 0, 0, 0, 0);
        }
        sys6(59, (uintptr_t)vm->helper.python, (uintptr_t)argv, (uintptr_t)vm->helper.envp, 0, 0, 0);
        sys6(231, 126, 0, 0, 0, 0, 0);
    }
    close(out[1]);
    while (pid > 0 && n < sizeof name - 1) {
        ssize_t got = read(out[0], name + n, sizeof name - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(out[0]);
    if (pid < 0) return (int)pid;
    while (sys6(61, (uint64_t)pid, (uintptr_t)&status, 0x40000000 /* __WALL */, 0, 0, 0) == -EINTR) { }
    if (status || !n) return -ENOEXEC;
    name[n - (name[n - 1] == '\n')] = 0;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -ENOEXEC : fd;
}

/* Where the guest may change its root (chroot), what helper and runner are called there may be files of its own. */
static bool own_root(const struct tv_vm *vm) {
    struct stat st;
    return !stat("/", &st) && st.st_dev == vm->root_dev && st.st_ino == vm->root_ino;
}

/* Whether an image that the helper makes would stay: else it would be made again at each exec, for longer than all traps take. */
static bool can_keep(const struct tv_vm *vm) {
    struct stat st;
    const char *cache = vm->helper.cache;
    return cache && *cache && !stat(cache, &st) && st.st_uid == geteuid() && !faccessat(AT_FDCWD, cache, W_OK | X_OK, AT_EACCESS);
}

/* An image file; or the program itself, if no image can be made of it any more (a guest that has dropped the right to its cache
 * or to Python): then the net serves its calls, and each site is patched at its first trap. */
static int image_of(struct tv_vm *vm, const char *path, const uint8_t *head) {
    Elf64_Ehdr e;
    int fd = cached(vm, path, NULL);
    if (fd < 0) fd = vm->flags & TV_F_SEALED || !can_keep(vm) ? -ENOEXEC : made(vm, path);
    if (fd != -ENOEXEC || !head) return fd;
    memcpy(&e, head, sizeof e);
    if (e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_machine != EM_X86_64 || (e.e_type != ET_EXEC && e.e_type != ET_DYN)) return fd;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -ENOEXEC : fd;
}

/* The path of PT_INTERP, or an empty string. */
static int interpreter(const char *path, const uint8_t *head, char out[PATH_MAX]) {
    Elf64_Ehdr e;
    Elf64_Phdr p;
    out[0] = 0;
    memcpy(&e, head, sizeof e);
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = fd < 0 ? -errno : 0;
    for (unsigned i = 0; !r && i < e.e_phnum && i < 512; i++) {
        if (e.e_phentsize != sizeof p || pread(fd, &p, sizeof p, (off_t)(e.e_phoff + i * sizeof p)) != sizeof p) { r = -ENOEXEC; break; }
        if (p.p_type != PT_INTERP) continue;
        if (p.p_filesz < 2 || p.p_filesz >= PATH_MAX || pread(fd, out, p.p_filesz, (off_t)p.p_offset) != (ssize_t)p.p_filesz || out[p.p_filesz - 1]) r = -ENOEXEC;
        break;
    }
    if (fd >= 0) close(fd);
    return r;
}

/* What every dynamic program names: nobody writes a rule for it, and what runs by it could run by itself. */
static bool usual_loader(const char *path) { return !strcmp(path, "/lib64/ld-linux-x86-64.so.2") || !strcmp(path, "/lib/ld-musl-x86_64.so.1"); }

static int keep_open(int fd) { return fcntl(fd, F_SETFD, 0); }

/* Does not come back if it succeeds. closes: shown is below a descriptor that exec closes, so no interpreter could open it. */
static int64_t do_exec(struct tv_vm *vm, char *path, const char *shown, gva argvp, gva envpp, bool closes) {
    struct words argv = {0}, envp = {0};
    uint8_t head[HEAD + 1];
    char exe[PATH_MAX], use[PATH_MAX], interp[PATH_MAX] = "", real[PATH_MAX];
    struct tv_packed packed = {0};
    int image = -1, loader = -1, table = -1, depth = 0;
    struct held_path *by = held_path(0) || held_path(1) ? calloc(2, sizeof *by) : NULL; /* of the script's interpreter, of the program's */
    if (by) by[0].fd = by[1].fd = -1;
    snprintf(exe, sizeof exe, "%s", path);
    snprintf(use, sizeof use, "%s", path);
    if (!own_root(vm)) { /* the runner by its descriptor, and no helper, for this program and what it executes */
        if (vm->keep[KEEP_RUNNER] < 0) { free(by); return -EPERM; }
        vm->flags |= TV_F_SEALED;
    }
    struct rlimit limit;
    vm_more_fds(&limit); /* Linux needs no descriptor for this */
    int r = head_of(use, head);
    if (!r) r = words_in(vm, &argv, argvp);
    if (!r) r = words_in(vm, &envp, envpp);
    if (!r && !argv.n) r = push(&argv, "", 0); /* Linux 5.18: an empty argv becomes { "" } */
    if (!r && too_long(vm, &argv, &envp, shown)) r = -E2BIG;
    char first[PATH_MAX];
    snprintf(first, sizeof first, "%s", shown);
    while (!r && head[0] == '#' && head[1] == '!') {
        if (depth++ == SCRIPT_DEPTH) { r = -ELOOP; break; }
        if (closes && depth == 1) { r = -ENOENT; break; }
        r = script(&argv, depth == 1 ? first : exe, head);
        if (!r && depth == 1) snprintf(exe, sizeof exe, "%s", first);
        if (!r) snprintf(use, sizeof use, "%s", exe);
        if (!r && by) { /* the rules about paths hold for what the script names */
            path_drop(by);
            if (!(r = decide_interpreter(vm, 59, "#!", exe, by))) snprintf(use, sizeof use, "%s", by->sub);
        }
        if (!r) r = head_of(use, head);
    }
    if (!r && memcmp(head, ELFMAG, SELFMAG)) r = -ENOEXEC;
    if (!r) r = interpreter(use, head, interp);
    if (!r && by && *interp && !usual_loader(interp) && !(r = decide_interpreter(vm, 59, "PT_INTERP", interp, by + 1))) snprintf(interp, sizeof interp, "%s", by[1].sub);
    if (!r && vm->strict && (*interp || (image = cached(vm, use, &table)) < 0 || table < 0)) r = -EACCES; /* which sites it has is not known */
    if (!r && image < 0 && (image = image_of(vm, use, head)) < 0) r = image;
    if (!r && *interp && !(r = head_of(interp, head)) && (loader = image_of(vm, interp, head)) < 0) r = loader;
    if (!r && !realpath(use, real)) r = -errno;
    if (!r) r = spec_pack(vm, &packed, image, loader, table, real, depth ? exe : shown, argv.text, argv.bytes, argv.n, envp.text, envp.bytes, envp.n);
    vm_less_fds(&limit);
    words_free(&argv);
    words_free(&envp);
    if (!r) {
        if (!r) r = sig_hold(); /* a signal that comes now waits for the new program */
        if (!r && !exec_alone(vm)) r = -EINTR; /* another thread ends us */
        if (!r) {
            char number[16];
            const char *name = strrchr(real, '/'), *run[] = {name ? name + 1 : real, number, NULL}, *none[] = {NULL};
            bool by_fd = vm->keep[KEEP_RUNNER] >= 0, kept = true;
            for (int i = 0; i < KEEP_COUNT; i++)
                if (vm->keep[i] >= 0 && !(i == KEEP_DEBUG && tv_me->proc->let_go) && !(i == KEEP_TRACE && tv_me->untraced) && keep_open(vm->keep[i])) kept = false;
            perf_leave(vm);
            sig_for_exec(vm);
            if (tv_me->proc->shares) tv_me->proc->threads->start->clean = true; /* nothing runs on the leader's vCPU any more */
            sys6(272, CLONE_FILES, 0, 0, 0, 0, 0); /* unshare(2): see spec_file() */
            vm_more_fds(&limit);
            int spec = spec_file(&packed);
            vm_less_fds(&limit);
            snprintf(number, sizeof number, "%d", spec);
            if (spec >= 0 && !keep_open(vm->hw->kvm) && !keep_open(image) && (loader < 0 || !keep_open(loader)) && (table < 0 || !keep_open(table)) && kept) {
                if (by_fd) r = (int)sys6(322, (uint64_t)vm->keep[KEEP_RUNNER], (uintptr_t)"", (uintptr_t)run, (uintptr_t)none, AT_EMPTY_PATH, 0);
                else r = (int)sys6(59, (uintptr_t)vm->helper.runner, (uintptr_t)run, (uintptr_t)none, 0, 0, 0);
            }
            vm_end(vm, (struct tv_stop){.kind = TV_SIGNALLED, .status = SIGKILL}); /* past the point of no return, as Linux */
        }
    }
    if (table >= 0) close(table);
    if (image >= 0) close(image);
    if (loader >= 0) close(loader);
    free(packed.data);
    if (by) path_drop(by), path_drop(by + 1);
    free(by);
    return r;
}

int64_t core_execve(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    char path[PATH_MAX];
    struct held_path *held = held_path(0);
    long n = tv_copy_str(vm, path, a[0], sizeof path);
    if (n < 0) return n;
    if (!n) return -ENOENT;
    if (held) return held->err ? -held->err : do_exec(vm, held->sub, path, a[1], a[2], false);
    return do_exec(vm, proc_link_of(vm, AT_FDCWD, path) == LINK_EXE ? vm->exe : path, path, a[1], a[2], false);
}

int64_t core_execveat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    char path[PATH_MAX], full[PATH_MAX + 64];
    long n = tv_copy_str(vm, path, a[1], sizeof path);
    if (n < 0) return n;
    if (a[4] & ~0x1100ull) return -EINVAL; /* AT_SYMLINK_NOFOLLOW AT_EMPTY_PATH */
    if (fd_hidden(vm, a[0])) return -EBADF;
    if (!n && !(a[4] & 0x1000)) return -ENOENT;
    struct held_path *held = held_path(1);
    if (held && held->err) return -held->err;
    struct stat st;
    if (held && !fstat(held->fd, &st) && S_ISLNK(st.st_mode)) return -ELOOP; /* AT_SYMLINK_NOFOLLOW */
    if (held && n && (path[0] == '/' || (int)a[0] == AT_FDCWD)) return do_exec(vm, held->sub, path, a[2], a[3], false);
    if (!held && a[4] & AT_SYMLINK_NOFOLLOW && n && !fstatat((int)a[0], path, &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode)) return -ELOOP;
    bool link = !held && n && proc_link_of(vm, (int)a[0], path) == LINK_EXE, whole = path[0] == '/' || (int)a[0] == AT_FDCWD;
    if (link || whole) return do_exec(vm, link ? vm->exe : path, whole ? path : vm->exe, a[2], a[3], false);
    int kept = fcntl((int)a[0], F_GETFD);
    if (kept < 0) return -EBADF;
    char shown[PATH_MAX + 32];
    snprintf(full, sizeof full, n ? "/proc/self/fd/%d/%s" : "/proc/self/fd/%d", (int)a[0], path);
    snprintf(shown, sizeof shown, n ? "/dev/fd/%d/%s" : "/dev/fd/%d", (int)a[0], path);
    if (held) snprintf(full, sizeof full, "%s", held->sub);
    return do_exec(vm, full, shown, a[2], a[3], kept & FD_CLOEXEC);
}
