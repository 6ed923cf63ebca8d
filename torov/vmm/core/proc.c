/* /proc/self and its other names show the guest, not the monitor, in whatever way they are reached: what the host's kernel
 * has opened is asked for its name, so links, directory descriptors, thread ids and the working directory make no
 * difference. What Linux writes at each read is written once, at open. proc(5). */
#include "policy.h"
#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define COPY_NAME "torov:" /* of the memfd that stands for a file of /proc; its link says "/memfd:torov:/proc/..." */
#define COPY_LINK "/memfd:" COPY_NAME
#define COPY_END " (deleted)"

bool proc_is(int fd) {
    struct statfs fs;
    return !fstatfs(fd, &fs) && fs.f_type == PROC_SUPER_MAGIC;
}

static bool name_of(int fd, char name[PATH_MAX]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, PATH_MAX - 1);
    if (n <= 0) return false;
    name[n] = 0;
    return true;
}

/* ".../PID/FILE" or ".../PID/task/TID/FILE": the number before FILE, and FILE. -1: neither. */
static long split(char *name, char **file) {
    char *slash = strrchr(name, '/'), *end;
    if (!slash || slash == name) return -1;
    *slash = 0;
    *file = slash + 1;
    char *up = strrchr(name, '/');
    long id = up ? strtol(up + 1, &end, 10) : -1;
    return !up || end == up + 1 || *end ? -1 : id;
}

/* The thread of that id, of which the process's own id names the first. NULL: not ours. Under vm->lock. */
static struct tv_thread *thread_of(struct tv_vm *vm, long id) {
    for (struct tv_thread *t = tv_me->proc->threads; t; t = t->next)
        if (t->tid == id && !(t->gone && t != tv_me->proc->threads)) return t;
    return id == getpid() ? tv_me->proc->threads : NULL;
}
/* A thread of the guest. */
static bool is_ours(struct tv_vm *vm, long id) {
    pthread_mutex_lock(&vm->lock);
    bool ours = id > 0 && thread_of(vm, id);
    pthread_mutex_unlock(&vm->lock);
    return ours;
}
/* Or one of the monitor's, which has the same memory and descriptors to show. */
static bool is_host(struct tv_vm *vm, long id) { return is_ours(vm, id) || (id > 0 && !sys6(234, (uint64_t)getpid(), (uint64_t)id, 0, 0, 0, 0)); }

/* A descriptor for the text, opened as the guest has opened the file: for reading, at its start. */
static int copy_of(const struct proc_text *t, const char *name, bool cloexec) {
    char full[PATH_MAX + sizeof COPY_NAME], link[32];
    if (t->failed) return -ENOMEM;
    snprintf(full, sizeof full, COPY_NAME "%s", name);
    int fd = memfd_create(strlen(full) < 250 ? full : COPY_NAME, MFD_CLOEXEC);
    if (fd < 0) return -errno;
    for (size_t done = 0; done < t->n;) {
        ssize_t n = write(fd, t->p + done, t->n - done);
        if (n <= 0) { close(fd); return -ENOMEM; }
        done += (size_t)n;
    }
    fchmod(fd, 0444);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int out = open(link, O_RDONLY | (cloexec ? O_CLOEXEC : 0)), err = errno;
    close(fd);
    return out < 0 ? -err : out;
}

/* For reading what is open by O_PATH, or from its start. */
static int open_again(struct tv_vm *vm, int fd) {
    char link[32];
    struct rlimit limit;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    vm_more_fds(&limit);
    int n = open(link, O_RDONLY | O_CLOEXEC);
    vm_less_fds(&limit);
    if (n >= 0) vm_hide_fd(vm, &n);
    return n;
}

/* A file of our own /proc/PID: the text that the guest gets in its place, as a descriptor, -errno, or 0: what it is. fd may
 * be O_PATH. */
int proc_known(struct tv_vm *vm, int fd, bool cloexec) {
    struct stat st;
    char name[PATH_MAX], whole[PATH_MAX], *file, *end;
    if (fstat(fd, &st) || major(st.st_dev) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) || !proc_is(fd)) return 0;
    if (!name_of(fd, name)) return -EACCES; /* of /proc, and nobody can say what: the root was changed */
    if (S_ISDIR(st.st_mode)) return (end = strrchr(name, '/')) && !strcmp(end, "/map_files") ? -EACCES : 0; /* the monitor's addresses */
    snprintf(whole, sizeof whole, "%s", name);
    long id = split(name, &file);
    const struct proc_file *f = proc_files;
    while (f->name && strcmp(f->name, file)) f++;
    if (id < 0 && (end = strrchr(name, '/')) && !strcmp(end, "/fdinfo") && isdigit((unsigned char)*file) && fd_hidden(vm, strtoul(file, NULL, 10))) {
        *end = 0;
        end = strrchr(name, '/');
        if (end && is_host(vm, strtol(end + 1, NULL, 10))) return -ENOENT;
    }
    if (id < 0 || !f->name) return 0;
    bool ours = is_host(vm, id);
    if (!ours && !f->others) return 0;
    if (!f->write) return -EACCES;
    struct proc_text t = {0};
    int host = open_again(vm, fd);
    pthread_mutex_lock(&vm->mm);
    pthread_mutex_lock(&vm->lock);
    struct tv_thread *of = thread_of(vm, id);
    if (of) f->write(vm, &t, host < 0 ? fd : host, of);
    pthread_mutex_unlock(&vm->lock);
    pthread_mutex_unlock(&vm->mm);
    if (host >= 0) close(host);
    int copy = of ? copy_of(&t, whole, cloexec) : -ESRCH;
    free(t.p);
    return copy;
}

/* What open(2) of the host answered, when nobody else can have used it yet: the descriptor to give in its place, or -errno. */
static int64_t proc_opened(struct tv_vm *vm, int fd, uint64_t flags) {
    if (flags & O_PATH) return fd;
    int copy = proc_known(vm, fd, flags & O_CLOEXEC);
    if (!copy) return fd;
    if (copy < 0) { close(fd); return copy; }
    int r = dup3(copy, fd, flags & O_CLOEXEC) < 0 ? -errno : fd; /* the number that open(2) gave */
    close(copy);
    return r;
}

/* Does a path name the link to the guest's program, or one of the monitor's descriptors? */
enum proc_link proc_link_of(struct tv_vm *vm, int dir, const char *path) {
    const char *last = strrchr(path, '/');
    char name[PATH_MAX], *file, *end;
    last = last ? last + 1 : path;
    bool exe = !strcmp(last, "exe");
    if (!exe && (!isdigit((unsigned char)*last) || !fd_hidden(vm, strtoul(last, &end, 10)) || *end)) return LINK_OTHER;
    struct rlimit limit;
    vm_more_fds(&limit); /* the guest's table may be full */
    int fd = openat(dir, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    vm_less_fds(&limit);
    if (fd < 0) return LINK_OTHER;
    bool ours = proc_is(fd), named = ours && name_of(fd, name);
    close(fd);
    if (!named) return ours ? LINK_HIDDEN : LINK_OTHER;
    long id = split(name, &file);
    if (exe) return id > 0 && !strcmp(file, "exe") && is_host(vm, id) ? LINK_EXE : LINK_OTHER;
    if (id >= 0 || !(end = strrchr(name, '/')) || (strcmp(end, "/fd") && strcmp(end, "/fdinfo"))) return LINK_OTHER;
    *end = 0;
    end = strrchr(name, '/');
    return end && is_host(vm, strtol(end + 1, NULL, 10)) ? LINK_HIDDEN : LINK_OTHER;
}

/* The path that the host is to use for a guest's path that it will follow: buf, or the guest's own. */
uint64_t proc_look(struct tv_vm *vm, uint64_t dir, gva path, bool follow, char *buf, enum proc_link *found) {
    if (tv_copy_str(vm, buf, path, PATH_MAX) < 0) return tv_ptr(vm, path); /* let the host kernel say it */
    enum proc_link l = proc_link_of(vm, (int)dir, buf);
    if (found) *found = l;
    if (l == LINK_HIDDEN) snprintf(buf, PATH_MAX, "/proc/self/fd/-1"); /* ENOENT */
    if (l == LINK_EXE && follow) snprintf(buf, PATH_MAX, "%s", vm->exe);
    return (uintptr_t)buf;
}

#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_ASYNC | O_DIRECT | O_LARGEFILE | \
                    0100000 | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE) /* VALID_OPEN_FLAGS */

bool tv_watched(struct tv_vm *vm) { return tv_me->proc->alive > 1 || vm->sharers || tv_me->proc->shares || tv_me->proc->shared_fds; }

/* open(2) of a file that is known already: by a descriptor that the guest does not have. */
static int64_t open_held(struct tv_vm *vm, const struct held_path *h, const struct open_how *how) {
    bool creates = how->flags & O_CREAT, made = h->missing && creates;
    uint64_t flags = how->flags & ~(uint64_t)O_NOFOLLOW;
    struct stat st;
    if (creates && h->slash && (!h->err || h->err == ENOTDIR || made)) return -EISDIR;
    if (h->err && !(made && h->err == ENOENT)) return -h->err;
    if (creates && how->flags & O_EXCL && !made) return -EEXIST;
    if (!made && !fstat(h->fd, &st) && S_ISLNK(st.st_mode) && !(how->flags & O_PATH)) return -ELOOP;
    if (how->flags & O_PATH) {
        if (how->flags & O_DIRECTORY && !fstat(h->fd, &st) && !S_ISDIR(st.st_mode)) return -ENOTDIR;
        int fd = fcntl(h->fd, how->flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
        return fd < 0 ? -(errno == EINVAL ? EMFILE : errno) : fd;
    }
    int known = made ? 0 : proc_known(vm, h->fd, how->flags & O_CLOEXEC);
    if (known > 0) { /* the lowest number, as open(2) gives it */
        int low = fcntl(known, how->flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
        if (low < 0 || low > known) { if (low >= 0) close(low); return known; }
        close(known);
        return low;
    }
    if (known) return known;
    if (made) flags |= O_NOFOLLOW; /* a link that is put there now was not decided upon */
    return host6(2, (uintptr_t)h->sub, flags, how->mode, 0, 0, 0);
}

/* open(2) of a path that path_spelled() has taken. -ELOOP: it is not that simple. Where another thread could use the descriptor
 * before it is known what it is, no other file system, of which one is proc(5), is entered. */
static int64_t open_plain(struct tv_vm *vm, const char *path, const struct open_how *how) {
    struct open_how with = *how;
    bool watched = tv_watched(vm);
    with.resolve |= RESOLVE_NO_SYMLINKS | (watched ? RESOLVE_NO_XDEV : 0);
    if (watched && vm->actions[161] <= 0) return -ELOOP; /* chroot(2): the first of them may be proc(5) */
    int64_t fd = host6(437, (uint64_t)AT_FDCWD, (uintptr_t)path, (uintptr_t)&with, sizeof with, 0, 0);
    return fd == -EXDEV && watched ? -ELOOP : fd < 0 ? fd : proc_opened(vm, (int)fd, how->flags);
}

static int64_t open_path(struct tv_vm *vm, int dir, gva at, struct open_how *how, int arg) {
    char path[PATH_MAX];
    struct held_path *h = held_path(arg), *own = NULL;
    bool go_on;
    size_t tail = 0;
    int64_t r;
    if (h && h->plain) {
        if ((r = open_plain(vm, h->name + h->tail, how)) != -ELOOP) return r;
        if ((r = decide_again(vm, &go_on)), !go_on) return r;
        h = held_path(arg);
    }
    if (h) return open_held(vm, h, how);
    long n = tv_copy_str(vm, path, at, sizeof path);
    if (n < 0) return n;
    if (proc_link_of(vm, dir, path) == LINK_HIDDEN) return -ENOENT;
    uint64_t beneath = how->resolve;
    char name[PATH_MAX];
    if (tv_watched(vm) && !beneath && path_spelled(vm, dir, path, name, &tail) && (r = open_plain(vm, name, how)) != -ELOOP) return r;
    if (!tv_watched(vm)) { /* magic links of proc(5) could lead to what is the monitor's */
        how->resolve |= RESOLVE_NO_MAGICLINKS;
        int64_t fd = host6(437, (uint64_t)dir, (uintptr_t)path, (uintptr_t)how, sizeof *how, 0, 0);
        if (fd != -ELOOP || beneath) return fd < 0 ? fd : proc_opened(vm, (int)fd, how->flags);
    }
    if (!(own = malloc(sizeof *own))) return -ENOMEM;
    r = -EAGAIN;
    for (int i = 0; i < 8 && r == -EAGAIN; i++) {
        path_hold(vm, dir, path, how->flags & O_NOFOLLOW || (how->flags & O_CREAT && how->flags & O_EXCL) ? HOLD_NOFOLLOW : HOLD_FOLLOW, beneath, own);
        r = own->err == EAGAIN ? -EAGAIN : open_held(vm, own, how);
        path_drop(own);
    }
    free(own);
    return r;
}

/* What open(2) makes of its flags; openat2(2) is strict about them (build_open_how() in fs/open.c). */
static int64_t open_flags(struct tv_vm *vm, int dir, gva at, uint64_t flags, uint64_t mode, int arg) {
    struct open_how how = {.flags = flags & (OPEN_FLAGS & 0xffffffffull), .mode = mode & 07777};
    if (how.flags & O_PATH) how.flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
    if (!(how.flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))) how.mode = 0;
    return open_path(vm, fd_hidden(vm, (unsigned)dir) ? -1 : dir, at, &how, arg);
}

int64_t core_open(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_flags(vm, AT_FDCWD, a[0], a[1], a[2], 0); }
int64_t core_creat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_flags(vm, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1], 0); }
int64_t core_openat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_flags(vm, (int)a[0], a[1], a[2], a[3], 1); }

int64_t core_openat2(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    union { struct open_how how; char all[PG]; } given = {0};
    int dir = fd_hidden(vm, a[0]) ? -1 : (int)a[0];
    if (a[3] < sizeof given.how) return -EINVAL;
    if (a[3] > sizeof given) return -E2BIG;
    if (tv_arg_in(vm, 2, &given, a[2], a[3])) return -EFAULT;
    for (uint64_t i = sizeof given.how; i < a[3]; i++) /* a newer program's: what is not known must be zero */
        if (given.all[i]) return -E2BIG;
    struct open_how check = given.how; /* the kernel says what is wrong with it, and opens nothing */
    int64_t r = sys6(437, (uint64_t)-1, (uintptr_t)"x", (uintptr_t)&check, sizeof check, 0, 0);
    return r != -EBADF ? r : open_path(vm, dir, a[1], &given.how, 1);
}

static int64_t read_link(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c, long nr, int path_arg) {
    char path[PATH_MAX], text[PATH_MAX];
    const char *out = text;
    uint64_t dir = path_arg ? a[0] : (uint64_t)AT_FDCWD;
    gva buf = a[path_arg + 1];
    int size = (int)a[path_arg + 2];
    if (path_arg && fd_hidden(vm, dir)) dir = (uint64_t)-1;
    const struct held_path *held = held_path(path_arg);
    if (held && held->err) return -held->err;
    if (held) memcpy(path, held->sub, sizeof held->sub);
    else if (tv_copy_str(vm, path, a[path_arg], sizeof path) < 0 || size <= 0) return tv_host(vm, nr, a, c);
    enum proc_link l = proc_link_of(vm, (int)dir, path);
    if (l == LINK_HIDDEN) return -ENOENT;
    long n = l == LINK_EXE ? (long)strlen(out = vm->exe) : host6(267, dir, (uintptr_t)path, (uintptr_t)text, sizeof text, 0, 0);
    if (n < 0) return n;
    if (n > (long)sizeof COPY_LINK && !memcmp(text, COPY_LINK, sizeof COPY_LINK - 1)) { /* a file of /proc that we wrote */
        out += sizeof COPY_LINK - 1;
        n -= (long)(sizeof COPY_LINK - 1 + sizeof COPY_END - 1);
    }
    if (n > size) n = size;
    return tv_copy_out(vm, buf, out, (uint64_t)n) ? -EFAULT : n;
}

int64_t core_readlink(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return read_link(vm, a, c, 89, 0); }
int64_t core_readlinkat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return read_link(vm, a, c, 267, 1); }

/* A directory of ours whose entries are not all the guest's: 'f' fd and fdinfo, 't' task, 0 any other. */
static char list_kind(struct tv_vm *vm, int fd) {
    char name[PATH_MAX], *file;
    if (!proc_is(fd) || !name_of(fd, name)) return 0;
    long id = split(name, &file);
    if (id <= 0 || !is_host(vm, id)) return 0;
    return !strcmp(file, "fd") || !strcmp(file, "fdinfo") ? 'f' : !strcmp(file, "task") ? 't' : 0;
}

/* getdents(2): what is left of n bytes of entries, without those of the monitor. name_at: offset of d_name. */
static int64_t without_ours(struct tv_vm *vm, gva at, int64_t n, char kind, size_t name_at) {
    uint8_t *all = calloc(1, (size_t)n + 1);
    int64_t kept = 0;
    if (!all || tv_copy_in(vm, all, at, (uint64_t)n)) { free(all); return -EFAULT; }
    for (int64_t i = 0, len; i + (int64_t)name_at < n; i += len) {
        uint16_t reclen;
        memcpy(&reclen, all + i + 16, 2);
        len = reclen;
        if (len <= (int64_t)name_at || len > n - i) break; /* the guest writes into its buffer meanwhile */
        const char *name = (const char *)all + i + name_at;
        if (isdigit((unsigned char)*name) && (kind == 'f' ? fd_hidden(vm, strtoul(name, NULL, 10)) : !is_ours(vm, strtol(name, NULL, 10)))) continue;
        memmove(all + kept, all + i, (size_t)len);
        kept += len;
    }
    if (tv_copy_out(vm, at, all, (uint64_t)kept)) kept = -EFAULT;
    free(all);
    return kept;
}

static int64_t entries(struct tv_vm *vm, long nr, uint64_t a[6], const struct tv_call *c, size_t name_at) {
    uint64_t b[6];
    if (fd_hidden(vm, a[0])) return -EBADF;
    char kind = list_kind(vm, (int)a[0]);
    for (;;) {
        memcpy(b, a, sizeof b);
        if (kind && b[2] > 1 << 20) b[2] = 1 << 20;
        int64_t n = tv_host(vm, nr, b, c);
        if (!kind || n <= 0) return n;
        n = without_ours(vm, a[1], n, kind, name_at);
        if (n) return n;
    }
}

int64_t core_getdents(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return entries(vm, 78, a, c, 18); }
int64_t core_getdents64(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return entries(vm, 217, a, c, 19); }

/* ps(1), pgrep(1) and other guests read the command line, environment and auxiliary vector of this process: let them find
 * the guest's. prctl(2), PR_SET_MM_MAP; where the kernel does not have it, they see the monitor's. */
void proc_show(struct tv_vm *vm) {
    char text[1024], *p;
    uint64_t v[52] = {0}, aux[64];
    struct prctl_mm_map m = {.exe_fd = (uint32_t)-1};
    vm->shown = true;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return;
    text[n] = 0;
    if (!(p = strrchr(text, ')')) || !p[1]) return;
    p += 3;
    for (int i = 4; i < 52 && *++p; i++) v[i] = strtoull(p, &p, 10); /* proc_pid_stat(5) */
    m.start_code = v[26], m.end_code = v[27], m.start_stack = v[28], m.start_data = v[45], m.end_data = v[46], m.start_brk = v[47];
    m.brk = (uint64_t)sys6(12, 0, 0, 0, 0, 0, 0);
    uint64_t base = (uintptr_t)vm->mem.base;
    m.arg_start = base + vm->arg_start, m.arg_end = m.env_start = base + vm->arg_end, m.env_end = base + vm->env_end;
    if (vm->auxv_size > sizeof aux || tv_copy_in(vm, aux, vm->auxv, vm->auxv_size)) return;
    m.auxv = (void *)aux;
    m.auxv_size = (uint32_t)vm->auxv_size;
    prctl(PR_SET_MM, PR_SET_MM_MAP, &m, sizeof m, 0);
}
