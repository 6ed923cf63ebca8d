/* The tree of files of a jail. Every source is cloned as a detached mount before pivot_root(2), and every target is looked up after
 * it, in the new root: no link in that root leads out of it. mount_namespaces(7), open_tree(2), mount_setattr(2), pivot_root(2). */
#include "jail.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define RECURSIVE 0x8000 /* AT_RECURSIVE */

static int old_root = -1;      /* the host's tree, below ours until jail_proc() has made its mount */
static char cwd[PATH_MAX];
static char failed[64];        /* which step, with its path */

static const char *step(const char *what, const char *path) {
    snprintf(failed, sizeof failed, "%s %s", what, path);
    return failed;
}

static int attributes(int fd, const char *path, uint64_t set, int flags) {
    struct mount_attr a = {.attr_set = set};
    return (int)sys6(442, (uint64_t)fd, (uintptr_t)path, (uint64_t)flags, (uintptr_t)&a, sizeof a, 0);
}

static int clone_of(const char *path, uint64_t set) {
    int fd = (int)sys6(428, (uint64_t)AT_FDCWD, (uintptr_t)path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | RECURSIVE, 0, 0, 0);
    int r = fd < 0 ? fd : attributes(fd, "", set, AT_EMPTY_PATH | RECURSIVE);
    if (fd >= 0 && r) close(fd);
    return r ? r : fd;
}

/* A new file system, mounted nowhere yet. options: pairs, NULL at the end. */
static int fresh(const char *type, const char *const *options, uint64_t set) {
    int fs = (int)sys6(430, (uintptr_t)type, FSOPEN_CLOEXEC, 0, 0, 0, 0), r = fs < 0 ? fs : 0;
    for (; !r && *options; options += 2) {
        bool flag = !options[1];
        r = (int)sys6(431, (uint64_t)fs, flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, (uintptr_t)options[0], (uintptr_t)options[1], 0, 0);
    }
    if (!r) r = (int)sys6(431, (uint64_t)fs, FSCONFIG_CMD_CREATE, 0, 0, 0, 0);
    if (!r) r = (int)sys6(432, (uint64_t)fs, FSMOUNT_CLOEXEC, set, 0, 0, 0);
    if (fs >= 0) close(fs);
    return r;
}

static int tmpfs(const struct tv_jail *j, const char *to, uint64_t size, uint64_t set) {
    char bytes[32], uid[16], gid[16];
    const char *last = strrchr(to, '/');
    bool open_to_all = last && (!strcmp(last, "/tmp") || !strcmp(last, "/shm"));
    snprintf(bytes, sizeof bytes, "%lu", (unsigned long)(size ? size : 64ull << 20));
    snprintf(uid, sizeof uid, "%d", j->uid >= 0 ? j->uid : (int)geteuid());
    snprintf(gid, sizeof gid, "%d", j->gid >= 0 ? j->gid : (int)getegid());
    const char *options[] = {"size", bytes, "mode", open_to_all ? "1777" : "0755", "uid", uid, "gid", gid, NULL};
    return fresh("tmpfs", options, SAFE | set);
}

static int attach(int fd, const char *to) {
    int r = (int)sys6(429, (uint64_t)fd, (uintptr_t)"", (uint64_t)AT_FDCWD, (uintptr_t)to, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS, 0);
    close(fd);
    return r;
}

/* In a root that is ours alone the places are made; in a directory of the host they must be there. */
static void place(const char *to, bool directory) {
    char path[PATH_MAX];
    for (const char *p = strchr(to + 1, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(path, sizeof path, "%.*s", (int)(p - to), to);
        mkdir(path, 0755);
    }
    if (directory) mkdir(to, 0755);
    else if (mknod(to, S_IFREG | 0644, 0)) return;
}

static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
enum { NODES = sizeof nodes / sizeof *nodes };
static int node_fd[NODES];

static void clone_nodes(void) {
    for (int i = 0; i < NODES; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/%s", nodes[i]);
        node_fd[i] = clone_of(path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    }
}

/* A /dev with harmless devices only, and a devpts whose terminals are the jail's own. */
static int devices(const struct tv_jail *j, const char *to) {
    static const char *const links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
                                           {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}};
    const char *pts[] = {"newinstance", NULL, "ptmxmode", "0666", "mode", "0620", NULL};
    char path[PATH_MAX];
    int fd = tmpfs(j, to, 1 << 20, MOUNT_ATTR_NOEXEC), r = fd < 0 ? fd : attach(fd, to);
    for (int i = 0; !r && i < NODES; i++) {
        if (node_fd[i] < 0) continue;
        snprintf(path, sizeof path, "%s/%s", to, nodes[i]);
        place(path, false);
        r = attach(node_fd[i], path);
    }
    for (size_t i = 0; !r && i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "%s/%s", to, links[i][1]);
        if (symlink(links[i][0], path)) r = -errno;
    }
    snprintf(path, sizeof path, "%s/pts", to);
    if (!r) {
        place(path, true);
        fd = fresh("devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        if (fd >= 0) attach(fd, path); /* without: no terminals */
    }
    snprintf(path, sizeof path, "%s/shm", to);
    if (!r) {
        place(path, true);
        r = fd = tmpfs(j, path, 0, MOUNT_ATTR_NOEXEC);
        if (fd >= 0) r = attach(fd, path);
    }
    return r ? r : attributes(AT_FDCWD, to, MOUNT_ATTR_RDONLY, 0);
}

static int new_root(const struct tv_jail *j, const char **what) {
    int fd = j->fresh_root ? tmpfs(j, "/", 1 << 20, 0) : clone_of(j->root, SAFE | (j->root_writable ? 0 : MOUNT_ATTR_RDONLY));
    *what = step("root", j->root ? j->root : "tmpfs");
    if (fd < 0) return fd;
    int dir = dup(fd), r = dir < 0 ? -errno : 0;
    old_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!r) r = attach(fd, "/");
    if (!r && fchdir(dir)) r = -errno;
    if (!r) r = (int)sys6(155, (uintptr_t)".", (uintptr_t)".", 0, 0, 0, 0); /* pivot_root(2): the old root stays, above ours */
    if (!r && (chroot(".") || chdir("/"))) r = -errno;
    close(dir);
    return r;
}

int jail_tree(const struct tv_jail *j, const char **what) {
    int fd[TV_MOUNTS], r = 0;
    bool own = j->root || j->fresh_root, dev = false;
    if (!getcwd(cwd, sizeof cwd)) cwd[0] = 0;
    *what = "private mounts";
    if ((r = (int)sys6(165, 0, (uintptr_t)"/", 0, MS_REC | MS_PRIVATE, 0, 0))) return r; /* mount(2) */
    for (int i = 0; i < j->nmounts; i++) {
        const struct tv_mount *m = &j->mounts[i];
        fd[i] = -1;
        dev |= m->kind == TV_MOUNT_DEV;
        if (m->kind != TV_MOUNT_BIND) continue;
        *what = step("bind", m->from);
        if ((fd[i] = clone_of(m->from, SAFE | (m->writable ? 0 : MOUNT_ATTR_RDONLY))) < 0) return fd[i];
    }
    if (dev) clone_nodes();
    if (own && (r = new_root(j, what))) return r;
    *what = "the host's tree, read-only";
    if (!own && j->host_readonly && (r = attributes(AT_FDCWD, "/", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, RECURSIVE))) return r;
    for (int i = 0; !r && i < j->nmounts; i++) {
        const struct tv_mount *m = &j->mounts[i];
        struct stat st;
        if (j->fresh_root) place(m->to, m->kind != TV_MOUNT_BIND || fstat(fd[i], &st) || S_ISDIR(st.st_mode));
        if (m->kind == TV_MOUNT_PROC) continue;
        *what = step("mount on", m->to);
        if (m->kind == TV_MOUNT_DEV) { r = devices(j, m->to); continue; }
        if (m->kind == TV_MOUNT_TMPFS) r = fd[i] = tmpfs(j, m->to, m->size, m->writable ? 0 : MOUNT_ATTR_RDONLY);
        if (fd[i] >= 0) r = attach(fd[i], m->to);
    }
    if (!r && j->fresh_root && !j->root_writable) {
        for (int i = 0; i < j->nmounts; i++)
            if (j->mounts[i].kind == TV_MOUNT_PROC) place(j->mounts[i].to, true);
        *what = "root, read-only";
        r = attributes(AT_FDCWD, "/", MOUNT_ATTR_RDONLY, 0);
    }
    return r;
}

/* What is about the machine and not about the jail's processes: hidden, or only to be read, whatever the ids are. */
static void cover(const char *proc, const char *name, bool hide) {
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", proc, name);
    if (stat(path, &st)) return;
    int fd = -1;
    const char *none[] = {NULL};
    if (!hide) fd = clone_of(path, MOUNT_ATTR_RDONLY | SAFE | MOUNT_ATTR_NOEXEC);
    else if (S_ISDIR(st.st_mode)) fd = fresh("tmpfs", none, MOUNT_ATTR_RDONLY | SAFE);
    else fd = clone_of("/dev/null", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (fd >= 0) attach(fd, path);
}

static int one_proc(const char *to) {
    static const char *const hidden[] = {"kcore", "keys", "key-users", "kmsg", "latency_stats", "sched_debug", "timer_list", "acpi", "asound", "scsi"};
    static const char *const fixed[] = {"sys", "sysrq-trigger", "irq", "bus", "fs"};
    const char *none[] = {NULL};
    int fd = fresh("proc", none, SAFE | MOUNT_ATTR_NOEXEC), r = fd < 0 ? fd : attach(fd, to);
    for (size_t i = 0; !r && i < sizeof hidden / sizeof *hidden; i++) cover(to, hidden[i], true);
    for (size_t i = 0; !r && i < sizeof fixed / sizeof *fixed; i++) cover(to, fixed[i], false);
    return r;
}

int jail_proc(const struct tv_jail *j, const char **what) {
    int r = 0;
    for (int i = 0; !r && i < j->nmounts; i++) {
        if (j->mounts[i].kind != TV_MOUNT_PROC) continue;
        *what = step("proc on", j->mounts[i].to);
        r = one_proc(j->mounts[i].to);
    }
    if (old_root >= 0) {
        *what = "old root";
        if (!r && (fchdir(old_root) || sys6(166, (uintptr_t)".", 2 /* MNT_DETACH */, 0, 0, 0, 0))) r = -errno;
        close(old_root);
        old_root = -1;
        if (!r && chdir("/")) r = -errno;
    }
    if (!r && (!*cwd || chdir(cwd)) && chdir("/")) r = -errno;
    return r;
}
