/* Rules about files and ports that need no privilege and cannot be taken back: landlock(7), Documentation/userspace-api/landlock.rst. */
#include "tv.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_ONLY 0x3ff8ull /* READ_DIR, REMOVE_*, MAKE_*, REFER: what a rule on a file may not have */

struct ruleset { uint64_t fs, net, scoped; };
struct beneath { uint64_t access; int32_t fd; } __attribute__((packed));
struct port { uint64_t access, port; };

/* Version of the kernel's Landlock; 0: it has none, or it is switched off. */
int tv_landlock_abi(void) {
    long n = sys6(444, 0, 0, 1, 0, 0, 0);
    return n > 0 ? (int)n : 0;
}

/* What is asked for as a path; where there is nothing, or a link, the directory above: never less than asked for. */
static int open_place(const char *path) {
    char at[PATH_MAX];
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    if (strlen(path) >= sizeof at) return -ENAMETOOLONG;
    strcpy(at, path);
    for (;;) {
        int fd = (int)sys6(437, (uint64_t)AT_FDCWD, (uintptr_t)(*at ? at : "/"), (uintptr_t)&how, sizeof how, 0, 0);
        if (fd >= 0 || !*at) return fd;
        char *slash = strrchr(at, '/');
        if (slash) *slash = 0;
        else *at = 0;
    }
}

static int add(int set, const struct tv_beneath *p, uint64_t known) {
    struct stat st;
    int fd = p->follow ? open(p->path, O_PATH | O_CLOEXEC) : p->path ? open_place(p->path) : p->fd;
    if (fd < 0) return p->follow ? 0 : fd;
    uint64_t access = p->access & known;
    if (!fstat(fd, &st) && !S_ISDIR(st.st_mode)) access &= ~DIRECTORY_ONLY;
    struct beneath rule = {access, fd};
    int r = access ? (int)sys6(445, (uint64_t)set, 1, (uintptr_t)&rule, 0, 0, 0) : 0;
    if (p->path) close(fd);
    return r;
}

/* For this process and what it starts. The version that was applied, 0 where the kernel has none, or -errno. */
int tv_landlock(const struct tv_landlock *l) {
    static const uint64_t by_abi[] = {0, 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff, 0xffff};
    int abi = tv_landlock_abi(), r = 0;
    mem_host_huge(); /* asks /sys once */
    if (!abi) return 0;
    struct ruleset s = {.fs = l->fs & by_abi[abi < 6 ? abi : 6], .net = abi >= 4 ? l->net : 0, .scoped = abi >= 6 ? l->scoped : 0};
    if (!s.fs && !s.net && !s.scoped) return abi;
    int set = (int)sys6(444, (uintptr_t)&s, abi >= 6 ? 24 : abi >= 4 ? 16 : 8, 0, 0, 0, 0);
    if (set < 0) return set;
    for (int i = 0; !r && i < l->npaths; i++) r = add(set, &l->paths[i], s.fs);
    for (int i = 0; !r && i < l->nports; i++) {
        struct port rule = {l->ports[i].access & s.net, l->ports[i].port};
        if (rule.access) r = (int)sys6(445, (uint64_t)set, 2, (uintptr_t)&rule, 0, 0, 0);
    }
    if (!r && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) r = -errno;
    if (!r) r = (int)sys6(446, (uint64_t)set, 0, 0, 0, 0, 0);
    close(set);
    return r ? r : abi;
}
