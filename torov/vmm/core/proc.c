/* /proc/self and its other names show the guest, not the monitor, in whatever way they are reached: what the host's kernel
 * has opened is asked for its name, so links, directory descriptors, thread ids and the working directory make no
 * difference. What Linux writes at each read is written once, at open. proc(5). */
#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
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

static bool on_proc(int fd) {
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
static bool is_ours(struct tv_vm *vm, long id) {
    pthread_mutex_lock(&vm->lock);
    bool ours = id > 0 && thread_of(vm, id);
    pthread_mutex_unlock(&vm->lock);
    return ours;
}

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

/* What open(2) of the host answered: the descriptor to give to the guest in its place, or -errno. */
int proc_opened(struct tv_vm *vm, int fd) {
    struct stat st;
    char name[PATH_MAX], whole[PATH_MAX], *file;
    if (fd < 0 || fstat(fd, &st) || major(st.st_dev) || !S_ISREG(st.st_mode) || !on_proc(fd) || !name_of(fd, name)) return fd;
    snprintf(whole, sizeof whole, "%s", name);
    long id = split(name, &file);
    const struct proc_file *f = proc_files;
    while (f->name && strcmp(f->name, file)) f++;
    int flags = fcntl(fd, F_GETFL);
    if (id < 0 || !f->name || flags & O_PATH) return fd;
    bool ours = is_ours(vm, id);
    if (!ours && !f->others) return fd;
    if (!f->write) { /* by another name than its own; a second thread might have used the descriptor already */
        close(fd);
        if (f->others && tv_me->proc->alive > 1) sig_end(vm, SIGKILL, SI_KERNEL, 0);
        return -EACCES;
    }
    struct proc_text t = {0};
    pthread_mutex_lock(&vm->mm);
    pthread_mutex_lock(&vm->lock);
    struct tv_thread *of = thread_of(vm, id);
    if (of) f->write(vm, &t, fd, of);
    pthread_mutex_unlock(&vm->lock);
    pthread_mutex_unlock(&vm->mm);
    int copy = of ? copy_of(&t, whole, fcntl(fd, F_GETFD) & FD_CLOEXEC) : -ESRCH;
    free(t.p);
    if (copy < 0) { close(fd); return copy; }
    int r = dup3(copy, fd, fcntl(copy, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno : fd; /* the number that open(2) gave */
    close(copy);
    return r;
}

/* Does a path name the link to the guest's program, or one of the monitor's descriptors? */
enum proc_link proc_link_of(struct tv_vm *vm, int dir, const char *path) {
    const char *last = strrchr(path, '/');
    char name[PATH_MAX], *file, *end;
    last = last ? last + 1 : path;
    bool exe = !strcmp(last, "exe"), mem = !strcmp(last, "mem");
    if (!exe && !mem && (!isdigit((unsigned char)*last) || !fd_hidden(vm, strtoul(last, &end, 10)) || *end)) return LINK_OTHER;
    struct rlimit limit;
    vm_more_fds(&limit); /* the guest's table may be full */
    int fd = openat(dir, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    vm_less_fds(&limit);
    if (fd < 0) return LINK_OTHER;
    bool ok = on_proc(fd) && name_of(fd, name);
    close(fd);
    if (!ok) return LINK_OTHER;
    long id = split(name, &file);
    if (mem) return id > 0 && !strcmp(file, "mem") ? LINK_REFUSED : LINK_OTHER;
    if (exe) return id > 0 && !strcmp(file, "exe") && is_ours(vm, id) ? LINK_EXE : LINK_OTHER;
    if (id >= 0 || !(end = strrchr(name, '/')) || strcmp(end, "/fd")) return LINK_OTHER;
    *end = 0;
    end = strrchr(name, '/');
    return end && is_ours(vm, strtol(end + 1, NULL, 10)) ? LINK_HIDDEN : LINK_OTHER;
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

static int64_t open_at(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c, long nr, int path_arg) {
    char path[PATH_MAX];
    uint64_t dir = path_arg ? a[0] : (uint64_t)AT_FDCWD, flags = nr == 85 ? O_WRONLY : a[path_arg + 1], b[6];
    memcpy(b, a, sizeof b);
    if (path_arg && fd_hidden(vm, dir)) b[0] = dir = (uint64_t)-1;
    if (nr == 437) {
        if (tv_copy_in(vm, &flags, a[2], 8)) flags = 0; /* struct open_how; the kernel says EFAULT */
        b[2] = tv_ptr(vm, a[2]);
    }
    enum proc_link link = LINK_OTHER;
    b[path_arg] = proc_look(vm, dir, a[path_arg], !(flags & O_NOFOLLOW), path, &link);
    if (link == LINK_REFUSED && !(flags & O_PATH)) return -EACCES;
    return proc_opened(vm, (int)host6(nr, b[0], b[1], b[2], b[3], 0, 0));
}

int64_t core_open(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_at(vm, a, c, 2, 0); }
int64_t core_creat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_at(vm, a, c, 85, 0); }
int64_t core_openat(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_at(vm, a, c, 257, 1); }
int64_t core_openat2(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) { return open_at(vm, a, c, 437, 1); }

static int64_t read_link(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c, long nr, int path_arg) {
    char path[PATH_MAX], text[PATH_MAX];
    const char *out = text;
    uint64_t dir = path_arg ? a[0] : (uint64_t)AT_FDCWD;
    gva buf = a[path_arg + 1];
    int size = (int)a[path_arg + 2];
    if (path_arg && fd_hidden(vm, dir)) dir = (uint64_t)-1;
    if (tv_copy_str(vm, path, a[path_arg], sizeof path) < 0 || size <= 0) return tv_host(vm, nr, a, c);
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
    if (!on_proc(fd) || !name_of(fd, name)) return 0;
    long id = split(name, &file);
    if (id <= 0 || !is_ours(vm, id)) return 0;
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
