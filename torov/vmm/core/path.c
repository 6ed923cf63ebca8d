/* Paths that a policy looks at, and files that must be known before the guest can touch them: resolved once to a descriptor
 * above the guest's reach, decided upon by the name that the host kernel gives it, and used through that descriptor. No name is
 * looked up twice. path_resolution(7), openat2(2), proc(5). */
#include "policy.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* MAXSYMLINKS */

/* A descriptor among the monitor's; of a low number where nobody can see it, which saves six calls. */
static int hidden_open(struct tv_vm *vm, int dir, const char *path, uint64_t flags, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_PATH | O_CLOEXEC, .resolve = resolve};
    struct rlimit limit;
    int fd = (int)sys6(437, (uint64_t)dir, (uintptr_t)path, (uintptr_t)&how, sizeof how, 0, 0);
    if (fd == -EMFILE) { /* the guest's table is full */
        vm_more_fds(&limit);
        fd = (int)sys6(437, (uint64_t)dir, (uintptr_t)path, (uintptr_t)&how, sizeof how, 0, 0);
        vm_less_fds(&limit);
    }
    if (fd < 0 || (tv_me->held && tv_me->held->active && tv_me->held->low)) return fd;
    int r = vm_hide_fd(vm, &fd);
    if (!r) return fd;
    close(fd);
    return r;
}

static int hidden_dup(struct tv_vm *vm, int of) {
    struct rlimit limit;
    if (of == AT_FDCWD) return hidden_open(vm, of, ".", 0, 0);
    vm_more_fds(&limit);
    int fd = fcntl(of, F_DUPFD_CLOEXEC, 0), r = fd < 0 ? -errno : 0;
    vm_less_fds(&limit);
    return r ? r : (r = vm_hide_fd(vm, &fd)) ? (close(fd), r) : fd;
}

static bool is_link(int fd) {
    struct stat st;
    return !fstat(fd, &st) && S_ISLNK(st.st_mode);
}

/* The name that a pattern sees. What has none (a pipe, a memfd) keeps that of the entry that led to it. */
static bool name_fd(int fd, char name[PATH_MAX]) {
    char link[32], own[32], rest[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, PATH_MAX - 1);
    if (n <= 0 || *name != '/' || !strncmp(name, "/memfd:", 7)) return false;
    name[n] = 0;
    size_t len = (size_t)snprintf(own, sizeof own, "/proc/%d", getpid());
    if (strncmp(name, own, len) || (name[len] && name[len] != '/')) return true;
    memcpy(rest, name + len, (size_t)n - len + 1);
    if ((size_t)n - len + sizeof "/proc/self" > PATH_MAX) return false;
    memcpy(name, "/proc/self", 10);
    memcpy(name + 10, rest, (size_t)n - len + 1);
    return true;
}

/* One more part of a path, from cur, which is closed. Magic links of proc(5) are told apart by the kernel: it refuses to follow
 * them if asked to. The monitor's own descriptors are not there, and the link to the program is the guest's. */
static int step(struct tv_vm *vm, int cur, const char *part, const char **target, char text[PATH_MAX]) {
    *target = NULL;
    int fd = hidden_open(vm, cur, part, O_NOFOLLOW, 0);
    if (fd < 0 || !is_link(fd)) goto done;
    int through = proc_is(fd) ? hidden_open(vm, cur, part, 0, RESOLVE_NO_MAGICLINKS) : 0;
    if (through > 0) close(through);
    if (through != -ELOOP) {
        ssize_t n = readlinkat(fd, "", text, PATH_MAX - 1);
        close(fd);
        fd = n < 0 ? -errno : 0;
        if (n >= 0) text[n] = 0, *target = text;
        goto done;
    }
    enum proc_link link = proc_link_of(vm, cur, part);
    char name[PATH_MAX];
    if (link == LINK_OTHER && name_fd(fd, name) && strstr(name, "/map_files/")) link = LINK_HIDDEN; /* addresses of the monitor */
    close(fd);
    if (link == LINK_EXE) *target = vm->exe, fd = 0;
    else if (link != LINK_OTHER) fd = -ENOENT;
    else fd = hidden_open(vm, cur, part, 0, 0);
done:
    if (!*target) close(cur); /* a plain link goes on from where it is */
    else if (**target == '/') { close(cur); fd = hidden_open(vm, AT_FDCWD, "/", O_DIRECTORY, 0); }
    else fd = cur;
    return fd;
}

/* As the kernel walks a path, link by link: for those that go through magic links. */
static int walk(struct tv_vm *vm, int dir, const char *path, bool follow) {
    char todo[2 * PATH_MAX], part[NAME_MAX + 1], text[PATH_MAX];
    int links = 0, cur = *path == '/' ? hidden_open(vm, AT_FDCWD, "/", O_DIRECTORY, 0) : hidden_dup(vm, dir);
    if (!*path) { if (cur >= 0) close(cur); return -ENOENT; }
    snprintf(todo, sizeof todo, "%s", path);
    for (char *p = todo; cur >= 0;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (!n) break;
        if (n > NAME_MAX) { close(cur); return -ENAMETOOLONG; }
        memcpy(part, p, n);
        part[n] = 0;
        p += n;
        const char *target;
        if (!*p && !follow) {
            int fd = hidden_open(vm, cur, part, O_NOFOLLOW, 0);
            close(cur);
            return fd;
        }
        cur = step(vm, cur, part, &target, text);
        if (cur < 0 || !target) continue;
        char rest[2 * PATH_MAX];
        int len = snprintf(rest, sizeof rest, "%s%s", target, p);
        if (++links > LINKS_MAX || len >= 2 * PATH_MAX) { close(cur); return links > LINKS_MAX ? -ELOOP : -ENAMETOOLONG; }
        memcpy(todo, rest, (size_t)len + 1);
        p = todo;
    }
    return cur;
}

static int resolve(struct tv_vm *vm, int dir, const char *path, bool follow, uint64_t beneath) {
    int fd = hidden_open(vm, dir, path, follow ? 0 : O_NOFOLLOW, beneath | RESOLVE_NO_MAGICLINKS);
    return fd == -ELOOP && !beneath ? walk(vm, dir, path, follow) : fd;
}

/* Where the last part begins; trailing slashes are not part of it. */
static size_t last_part(const char *path, size_t *end) {
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/') n--;
    *end = n;
    while (n > 0 && path[n - 1] != '/') n--;
    return n;
}
static bool is_dots(const char *s, size_t n) { return !n || (n == 1 && *s == '.') || (n == 2 && s[0] == '.' && s[1] == '.'); }

/* A path whose name can be read off it, if no link is on the way: absolute, or below a working directory that nobody else
 * changes; without "..". Not of /proc, whose names are the guest's own. name: the absolute one, in which what is written begins
 * at tail. */
bool path_spelled(struct tv_vm *vm, int dir, const char *path, char name[PATH_MAX], size_t *tail) {
    size_t n = 0, len;
    *tail = 0;
    if (*path != '/') {
        if (dir != AT_FDCWD || tv_watched(vm)) return false;
        int64_t r = sys6(79, (uintptr_t)name, PATH_MAX, 0, 0, 0, 0); /* getcwd(2) */
        if (r < 2 || *name != '/') return false;
        n = r > 2 ? (size_t)r - 1 : 0;
        *tail = n + 1;
    }
    const char *p = path;
    for (;;) {
        p += strspn(p, "/");
        len = strcspn(p, "/");
        if (len == 1 && *p == '.' && p[1]) { p++; continue; }
        if (is_dots(p, len) || len > NAME_MAX || n + len + 2 > PATH_MAX) return false;
        name[n] = '/';
        memcpy(name + n + 1, p, len);
        n += len + 1;
        p += len;
        if (!*p) break;
    }
    name[n] = 0;
    return strncmp(name, "/proc", 5) || (name[5] && name[5] != '/');
}

/* Such a path, resolved; false: it is not, or nothing is there. */
static bool hold_spelled(struct tv_vm *vm, int dir, const char *path, enum hold how, struct held_path *h) {
    size_t tail;
    struct stat st;
    if (!path_spelled(vm, dir, path, h->name, &tail)) return false;
    char *at = h->name + tail, *last = strrchr(h->name, '/');
    if (how != HOLD_ENTRY) {
        h->fd = hidden_open(vm, AT_FDCWD, at, how == HOLD_FOLLOW ? 0 : O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
        if (h->fd >= 0) snprintf(h->sub, sizeof h->sub, "/proc/self/fd/%d", h->fd);
        return h->fd >= 0;
    }
    *last = 0;
    h->fd = hidden_open(vm, AT_FDCWD, at < last ? at : tail ? "." : "/", O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    *last = '/';
    if (h->fd < 0) return false;
    h->entry = true;
    h->missing = fstatat(h->fd, last + 1, &st, AT_SYMLINK_NOFOLLOW);
    snprintf(h->sub, sizeof h->sub, "/proc/self/fd/%d/%s", h->fd, last + 1);
    return true;
}

static void whole(struct held_path *h, int fd, const char *fallback) {
    h->fd = fd;
    if (!name_fd(fd, h->name)) snprintf(h->name, sizeof h->name, "%s", fallback);
    snprintf(h->sub, sizeof h->sub, "/proc/self/fd/%d", fd);
}

static bool join(char out[PATH_MAX], const char *dir, const char *part, size_t n) {
    int len = snprintf(out, PATH_MAX, "%s/%.*s", strcmp(dir, "/") ? dir : "", (int)n, part);
    return len > 0 && len < PATH_MAX;
}

/* What cannot be resolved still has a name: its deepest directory that is there, and the rest as it was written; of a rest
 * with ".." only what is missing first, since nobody can say where it leads. */
static void name_missing(struct tv_vm *vm, int dir, const char *path, uint64_t beneath, struct held_path *h) {
    char up[PATH_MAX], top[PATH_MAX];
    size_t n = strlen(path), end;
    h->name[0] = 0;
    memcpy(up, path, n + 1);
    for (;;) {
        size_t at = last_part(up, &end), part = end - at;
        if (!end) return; /* nothing can be said: no pattern matches */
        up[at] = 0;
        int fd = resolve(vm, dir, at ? up : ".", true, beneath);
        if (fd < 0) continue;
        size_t len = n;
        while (len > end && path[len - 1] == '/') len--;
        for (const char *p = path + at, *stop = path + len; p < stop; p += strcspn(p, "/"), p += strspn(p, "/"))
            if (is_dots(p, strcspn(p, "/"))) len = end;
        if (is_dots(path + at, part) || !name_fd(fd, top) || !join(h->name, top, path + at, len - at)) h->name[0] = 0;
        close(fd);
        return;
    }
}

/* The parent's descriptor and the entry's name. 1: the entry is a link to be followed, with target as the path to go on with. */
static int hold_entry(struct tv_vm *vm, int dir, const char *path, bool follow, uint64_t beneath, struct held_path *h, char target[PATH_MAX], int *from) {
    char parent[PATH_MAX], top[PATH_MAX];
    struct stat st;
    size_t end, at = last_part(path, &end), len = end - at;
    memcpy(parent, path, at);
    parent[at] = 0;
    if (len > NAME_MAX) return -ENAMETOOLONG;
    int fd = resolve(vm, dir, at ? parent : ".", true, beneath);
    if (fd < 0) return fd;
    char part[NAME_MAX + 1];
    memcpy(part, path + at, len);
    part[len] = 0;
    bool there = !fstatat(fd, part, &st, AT_SYMLINK_NOFOLLOW), slash = path[end];
    if (there && S_ISLNK(st.st_mode) && (follow || slash)) {
        ssize_t n = readlinkat(fd, part, target, PATH_MAX - 1);
        if (n < 0) { close(fd); return -EAGAIN; }
        target[n] = 0;
        *from = fd;
        return 1;
    }
    if (!name_fd(fd, top) || !join(h->name, top, part, len)) h->name[0] = 0;
    h->fd = fd;
    h->entry = true;
    h->missing = !there;
    if (there && slash && !S_ISDIR(st.st_mode)) h->err = ENOTDIR;
    snprintf(h->sub, sizeof h->sub, "/proc/self/fd/%d/%s%s", fd, part, !there && slash ? "/" : "");
    return 0;
}

/* Resolves a path of the guest. dir: AT_FDCWD or a descriptor of the guest. The result is always filled in: name is empty if
 * nothing can be said about it; err is what the call answers. */
void path_hold(struct tv_vm *vm, int dir, const char *path, enum hold how, uint64_t beneath, struct held_path *h) {
    char now[PATH_MAX], target[PATH_MAX];
    size_t end, at = last_part(path, &end);
    int from = fd_hidden(vm, (unsigned)dir) ? -1 : dir, r = 0;
    h->fd = -1;
    h->err = 0;
    h->entry = h->missing = h->empty = h->plain = false;
    h->slash = *path && path[end] && end;
    h->name[0] = h->sub[0] = 0;
    if (!*path) { h->err = ENOENT; h->empty = true; return; }
    if (!beneath && hold_spelled(vm, from, path, how, h)) return;
    h->fd = -1;
    h->name[0] = 0;
    if (how == HOLD_ENTRY && is_dots(path + at, end - at)) { /* "/", ".", "..": the directory, not to be followed as a link */
        if ((r = resolve(vm, from, path, true, beneath)) < 0) goto none;
        whole(h, r, path);
        strcat(h->sub, "/.");
        return;
    }
    if (how != HOLD_ENTRY && (r = resolve(vm, from, path, how != HOLD_NOFOLLOW, beneath)) >= 0) {
        whole(h, r, "");
        if (!h->name[0]) { /* a pipe, a memfd: by the entry that leads to it */
            struct held_path by = {.fd = -1};
            if (!hold_entry(vm, from, path, false, beneath, &by, target, &from)) memcpy(h->name, by.name, sizeof h->name);
            path_drop(&by);
        }
        return;
    }
    if (how != HOLD_ENTRY && r != -ENOENT) goto none;
    memcpy(now, path, strlen(path) + 1);
    for (int links = 0; links <= LINKS_MAX; links++) {
        int base = from;
        r = hold_entry(vm, from, now, how == HOLD_FOLLOW, beneath, h, target, &from);
        if (r <= 0 && base != dir && base >= 0) close(base);
        if (r == 1 && base != dir && base >= 0 && base != from) close(base);
        if (r == 1) { memcpy(now, target, sizeof now); continue; }
        if (r == 0) {
            if (how != HOLD_ENTRY && !h->err) h->err = h->missing ? ENOENT : EAGAIN; /* it came to be meanwhile: once more */
            return;
        }
        goto none;
    }
    r = -ELOOP;
    if (from != dir && from >= 0) close(from);
none:
    h->err = -r;
    if (strlen(path) < PATH_MAX) name_missing(vm, fd_hidden(vm, (unsigned)dir) ? -1 : dir, path, beneath, h);
}

/* An open descriptor of the guest in place of a path (AT_EMPTY_PATH). */
void path_hold_fd(struct tv_vm *vm, int fd, struct held_path *h) {
    int r = fd_hidden(vm, (unsigned)fd) ? -EBADF : hidden_dup(vm, fd);
    memset(h, 0, offsetof(struct held_path, name));
    h->fd = -1;
    h->name[0] = h->sub[0] = 0;
    if (r < 0) { h->err = -r; return; }
    whole(h, r, "");
    h->empty = true;
}

void path_drop(struct held_path *h) {
    if (h->fd >= 0) close(h->fd);
    h->fd = -1;
}
