/* System calls that reach past the program: each is refused, whatever its arguments. */
#include "attack.h"
#include <grp.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char buf[4096];
static pid_t victim(void) { return (pid_t)number("VICTIM"); }

static void trace_me(void) { _exit(SC(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0) == 0 ? 7 : 8); }
static void ptrace_all(void) {
    MUST(EPERM, SC(SYS_ptrace, PTRACE_SEIZE, victim(), 0, 0), "PTRACE_SEIZE of another process");
    if (getenv("TARGET")) MUST(EPERM, SC(SYS_ptrace, PTRACE_ATTACH, getppid(), 0, 0), "PTRACE_ATTACH of the monitor's parent");
    holds(WEXITSTATUS(apart(trace_me)) == 8, "PTRACE_TRACEME");
    pid_t child = fork();
    if (!child) { pause(); _exit(0); }
    MUST(EPERM, SC(SYS_ptrace, PTRACE_SEIZE, child, 0, 0), "PTRACE_SEIZE of the program's own child, which has a monitor");
    kill(child, SIGKILL);
}
static void process_memory(void) {
    struct iovec mine = {buf, 64}, its = {own_secret, 64};
    pid_t child = fork();
    if (!child) { pause(); _exit(0); }
    MUST(EPERM, SC(SYS_process_vm_readv, child, &mine, 1, &its, 1, 0), "process_vm_readv of a child");
    MUST(EPERM, SC(SYS_process_vm_writev, child, &mine, 1, &its, 1, 0), "process_vm_writev of a child");
    MUST(EPERM, SC(SYS_process_vm_readv, getpid(), &mine, 1, &its, 1, 0), "process_vm_readv of itself, which is the monitor");
    its.iov_base = target();
    MUST(EPERM, SC(SYS_process_vm_readv, getpid(), &mine, 1, &its, 1, 0), "process_vm_readv of the secret");
    holds(!is_secret(buf, 64) || target() == own_secret, "nothing was read");
    kill(child, SIGKILL);
}
static void bpf_programs(void) {
    union bpf_attr a;
    memset(&a, 0, sizeof a);
    a.map_type = BPF_MAP_TYPE_ARRAY, a.key_size = 4, a.value_size = 8, a.max_entries = 1;
    MUST(EPERM, SC(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a), "BPF_MAP_CREATE");
    MUST(EPERM, SC(SYS_bpf, BPF_PROG_GET_NEXT_ID, &a, sizeof a) == -ENOENT ? 0 : -EPERM, "BPF_PROG_GET_NEXT_ID");
}
static void faults_of_others(void) {
    long fd = SC(SYS_userfaultfd, O_CLOEXEC);
    holds(fd == -EPERM, "userfaultfd: %s", answer(fd));
    fd = SC(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
    holds(fd == -EPERM, "userfaultfd of the user's half: %s", answer(fd));
}
static void rings(void) {
    char params[120] = {0};
    MUST(EPERM, SC(425, 8, params), "io_uring_setup");
    MUST(EPERM, SC(426, 0, 1, 0, 0, 0, 0) < 0 ? -EPERM : 0, "io_uring_enter");
    MUST(EPERM, SC(427, 0, 0, 0, 0) < 0 ? -EPERM : 0, "io_uring_register");
    unsigned long ctx = 0;
    MUST(ENOSYS, SC(SYS_io_setup, 8, &ctx), "io_setup");
}
static void performance(void) {
    struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1};
    MUST(EACCES, SC(SYS_perf_event_open, &a, 0, -1, -1, 0), "perf_event_open of itself");
    MUST(EACCES, SC(SYS_perf_event_open, &a, victim(), -1, -1, 0), "perf_event_open of another");
}
static void keys(void) {
    MUST(EPERM, SC(SYS_add_key, "user", "attack", "x", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */), "add_key");
    MUST(EPERM, SC(SYS_request_key, "user", "attack", 0, 0) == -ENOKEY ? 0 : -EPERM, "request_key");
    MUST(EPERM, SC(SYS_keyctl, 0, -3 /* session */, 1), "keyctl");
}
static void handles(void) {
    struct { unsigned bytes; int type; char data[128]; } h = {128, 0, {0}};
    int mount = 0, root = open("/", O_RDONLY | O_DIRECTORY);
    MUST(EOPNOTSUPP, SC(SYS_name_to_handle_at, AT_FDCWD, "/", &h, &mount, 0) == -EOPNOTSUPP ? -EOPNOTSUPP : 0, "name_to_handle_at");
    h.bytes = 8, h.type = 1;
    memset(h.data, 0, 8);
    h.data[0] = 2; /* the root's inode */
    MUST(EPERM, SC(SYS_open_by_handle_at, root, &h, O_RDONLY) == -EPERM ? -EPERM : 0, "open_by_handle_at");
}
static void mounts(void) {
    mkdir("m", 0700);
    MUST(EPERM, SC(SYS_mount, "none", "m", "tmpfs", 0, 0), "mount of tmpfs");
    MUST(EPERM, SC(SYS_mount, "/", "m", 0, MS_BIND, 0), "bind");
    MUST(EPERM, SC(SYS_mount, "none", "m", "proc", 0, 0), "mount of proc");
    MUST(EPERM, SC(SYS_umount2, "m", MNT_DETACH), "umount2");
    MUST(EPERM, SC(SYS_pivot_root, "m", "m") == 0 ? 0 : -EPERM, "pivot_root");
    MUST(EPERM, SC(428, AT_FDCWD, "/", 1), "open_tree");
    MUST(EPERM, SC(430, "tmpfs", 0), "fsopen");
    MUST(EPERM, SC(433, AT_FDCWD, "/", 0), "fspick");
    MUST(EPERM, SC(429, AT_FDCWD, "m", AT_FDCWD, "m", 0) == 0 ? 0 : -EPERM, "move_mount");
    MUST(EPERM, SC(432, 0, 0, 0) == 0 ? 0 : -EPERM, "fsmount");
    struct { uint64_t set, clear, propagation, userns; } a = {0};
    MUST(EPERM, SC(442, AT_FDCWD, "/", 0, &a, sizeof a) == 0 ? 0 : -EPERM, "mount_setattr");
}
static const struct { const char *name; unsigned long flag; } spaces[] = {{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID},
    {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80}};
static unsigned long space;
static void unshare_one(void) { _exit(SC(SYS_unshare, space) == 0 ? 7 : 8); }
static void unshared(void) {
    for (size_t i = 0; i < 8; i++) {
        space = spaces[i].flag;
        holds(WEXITSTATUS(apart(unshare_one)) == 8, "unshare of %s", spaces[i].name);
    }
    space = CLONE_NEWUSER | CLONE_NEWNS;
    holds(WEXITSTATUS(apart(unshare_one)) == 8, "unshare of user and mount");
}
static void cloned(void) {
    for (size_t i = 0; i < 8; i++) {
        long pid = spaces[i].flag == 0x80 ? -EPERM : SC(SYS_clone, spaces[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (!pid) _exit(0);
        holds(pid == -EPERM, "clone into a new %s namespace: %s", spaces[i].name, answer(pid > 0 ? 0 : pid));
        struct { uint64_t f[11]; } a = {{spaces[i].flag}};
        a.f[4] = SIGCHLD;
        pid = SC(435, &a, sizeof a);
        if (!pid) _exit(0);
        holds(pid < 0, "clone3 into a new %s namespace: %s", spaces[i].name, answer(pid > 0 ? 0 : pid));
    }
    struct { uint64_t f[11]; } a = {{0x200000000ull /* CLONE_INTO_CGROUP */}};
    a.f[4] = SIGCHLD;
    a.f[10] = (uint64_t)open("/sys/fs/cgroup", O_RDONLY);
    long pid = SC(435, &a, sizeof a);
    if (!pid) _exit(0);
    holds(pid < 0, "clone3 into a cgroup: %s", answer(pid > 0 ? 0 : pid));
}
static void joined(void) {
    static const char *const all[] = {"uts", "ipc", "net", "pid", "mnt", "cgroup"};
    char path[64];
    for (size_t i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)victim(), all[i]);
        int fd = open(path, O_RDONLY);
        MUST(EPERM, SC(SYS_setns, fd, 0) == 0 ? 0 : -EPERM, "setns to %s", all[i]);
    }
    int fd = (int)SC(434, victim(), 0);
    MUST(EPERM, SC(SYS_setns, fd, CLONE_NEWUTS) == 0 ? 0 : -EPERM, "setns to a process");
}
static void change_root(void) {
    mkdir("r", 0700);
    MUST(EPERM, SC(SYS_chroot, "r"), "chroot");
    MUST(EPERM, SC(SYS_chroot, "/"), "chroot to the root");
}
static void modules(void) {
    MUST(EPERM, SC(SYS_init_module, buf, 64, ""), "init_module");
    MUST(EPERM, SC(SYS_finit_module, 0, "", 0), "finit_module");
    MUST(EPERM, SC(SYS_delete_module, "nothing", O_NONBLOCK), "delete_module");
    MUST(EPERM, SC(SYS_kexec_load, 0, 0, 0, 0), "kexec_load");
    MUST(EPERM, SC(SYS_kexec_file_load, -1, -1, 0, 0, 0), "kexec_file_load");
}
static void machine(void) {
    if (!getenv("TARGET")) return;
    MUST(EPERM, SC(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef /* CAD_ON */, 0), "reboot");
    MUST(EPERM, SC(SYS_swapon, "x", 0), "swapon");
    MUST(EPERM, SC(SYS_swapoff, "x"), "swapoff");
    MUST(EPERM, SC(SYS_acct, "x"), "acct");
    MUST(EPERM, SC(SYS_quotactl, 0x80000100, "/", 0, buf), "quotactl");
    MUST(EPERM, SC(443, 0, 0, 0, 0), "quotactl_fd");
    MUST(EPERM, SC(SYS_iopl, 3), "iopl");
    MUST(EPERM, SC(SYS_ioperm, 0x10, 4, 1), "ioperm");
    MUST(EPERM, SC(SYS_sethostname, "x", 1), "sethostname");
    MUST(EPERM, SC(SYS_setdomainname, "x", 1), "setdomainname");
    MUST(EPERM, SC(SYS_settimeofday, 0, buf), "settimeofday");
    MUST(EPERM, SC(SYS_clock_settime, 0, buf), "clock_settime");
    MUST(EPERM, SC(SYS_vhangup), "vhangup");
    MUST(EPERM, SC(SYS_syslog, 3, buf, 16), "syslog");
    struct { unsigned modes; char more[204]; } t = {0x4000, {0}}; /* ADJ_TICK */
    MUST(EPERM, SC(SYS_adjtimex, &t), "adjtimex");
    MUST(EPERM, SC(SYS_clock_adjtime, 0, &t), "clock_adjtime");
    MUST(EPERM, SC(SYS_fanotify_init, 0, 0), "fanotify_init");
    MUST(ENOSYS, SC(SYS_lookup_dcookie, 1, buf, 16), "lookup_dcookie");
    MUST(ENOSYS, SC(SYS_uselib, "x"), "uselib");
}
static void host_name(void) {
    MUST(EPERM, SC(SYS_sethostname, "attacked", 8), "sethostname");
    MUST(EPERM, SC(SYS_setdomainname, "attacked", 8), "setdomainname");
}
static void segments(void) {
    struct { unsigned entry; unsigned long base; unsigned limit, bits; } __attribute__((packed)) d = {0, 0, 0xfffff, 0x51};
    unsigned u[4] = {0, 0, 0xfffff, 0x51};
    (void)d;
    MUST(ENOSYS, SC(SYS_modify_ldt, 1, u, sizeof u), "modify_ldt");
    MUST(ENOSYS, SC(SYS_modify_ldt, 0, buf, 64), "modify_ldt, to read");
    FAILS(SC(SYS_set_thread_area, u), "set_thread_area");
}
static void filter_child(void) {
    struct sock_filter all[] = {{BPF_RET | BPF_K, 0, 0, 0x7fff0000}};
    struct sock_fprog f = {1, all};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long r = SC(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f), q = SC(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &f);
    _exit(r == 0 || q == 0 ? 7 : 8);
}
static void strict_child(void) { _exit(SC(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0) == 0 ? 7 : 8); }
static void filters(void) { /* what would filter, or catch, the monitor's own calls */
    holds(WEXITSTATUS(apart(filter_child)) == 8, "a seccomp filter");
    int status = apart(strict_child);
    holds(WIFEXITED(status) && WEXITSTATUS(status) == 8, "strict seccomp: status %x", status);
    FAILS(SC(SYS_prctl, 59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, buf), "PR_SET_SYSCALL_USER_DISPATCH");
    FAILS(SC(444, 0, 0, 1), "landlock_create_ruleset");
    FAILS(SC(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV), "PR_SET_TSC");
}
static void monitor_layout(void) {
    unsigned long map[13] = {0};
    FAILS(SC(SYS_prctl, PR_SET_MM, PR_SET_MM_START_CODE, 0x400000, 0, 0), "PR_SET_MM_START_CODE");
    FAILS(SC(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, map, sizeof map, 0), "PR_SET_MM_MAP");
    FAILS(SC(SYS_prctl, PR_SET_MM, PR_SET_MM_EXE_FILE, 0, 0, 0), "PR_SET_MM_EXE_FILE");
    FAILS(SC(SYS_prctl, 0x53564d41 /* PR_SET_VMA */, 0, own_secret, 4096, "x"), "PR_SET_VMA");
    FAILS(SC(SYS_prctl, 65 /* PR_SET_MDWE */, 1, 0, 0, 0), "PR_SET_MDWE");
    FAILS(SC(SYS_prctl, 0x59616d61 /* PR_SET_PTRACER */, -1l, 0, 0, 0), "PR_SET_PTRACER");
    FAILS(SC(SYS_prctl, 62 /* PR_SCHED_CORE */, 1, 0, 0, 0), "PR_SCHED_CORE");
    FAILS(SC(SYS_personality, READ_IMPLIES_EXEC), "READ_IMPLIES_EXEC");
    FAILS(SC(SYS_personality, 0x0200000 /* MMAP_PAGE_ZERO */), "personality");
    static char area[64] __attribute__((aligned(32)));
    MUST(ENOSYS, SC(334, area, 32, 0, 0x53053053), "rseq");
}
static void others_memory(void) {
    int fd = (int)SC(434, victim(), 0);
    struct iovec v = {own_secret, 4096};
    MUST(EPERM, SC(440, fd, &v, 1, MADV_COLD, 0), "process_madvise");
    MUST(EPERM, SC(448, fd, 0), "process_mrelease");
    MUST(ENOSYS, SC(SYS_move_pages, victim(), 0, 0, 0, 0, 0), "move_pages");
    MUST(ENOSYS, SC(SYS_migrate_pages, victim(), 0, 0, 0), "migrate_pages");
    MUST(ENOSYS, SC(SYS_mbind, own_secret, 4096, 0, 0, 0, 0), "mbind");
    MUST(ENOSYS, SC(447, 0), "memfd_secret");
    MUST(ENOSYS, SC(SYS_remap_file_pages, own_secret, 4096, 0, 0, 0), "remap_file_pages");
    MUST(ENOSYS, SC(462, own_secret, 4096, 0), "mseal");
}
static void terminal(void) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), n = 0;
    need(master >= 0 && !ioctl(master, TIOCSPTLCK, &n) && !ioctl(master, TIOCGPTN, &n), "pty");
    char path[64];
    snprintf(path, sizeof path, "/dev/pts/%d", n);
    int slave = open(path, O_RDWR | O_NOCTTY);
    MUST(ENOTTY, SC(SYS_ioctl, slave, TIOCSTI, "x"), "TIOCSTI");
    MUST(ENOTTY, SC(SYS_ioctl, slave, TIOCLINUX, "\3") == -EINVAL ? 0 : -ENOTTY, "TIOCLINUX");
    MUST(ENOTTY, SC(SYS_ioctl, slave, TIOCSETD, &(int){0}), "TIOCSETD");
    MUST(ENOTTY, SC(SYS_ioctl, slave, 0xffffffff00000000 | TIOCSTI, "x"), "TIOCSTI with high bits");
}
/* A call that the policy refuses, by other numbers. */
static void numbers(void) {
    static const unsigned long all[] = {SYS_getuid, SYS_getuid | 1ul << 32, SYS_getuid | ~0ul << 32, SYS_getuid | 1ul << 63, SYS_getuid | 0x40000000,
        SYS_getuid | 0x80000000, SYS_getuid | 0xc0000000, SYS_getuid + 512, SYS_getuid - 512, SYS_getuid + (1ul << 16), -SYS_getuid, ~(unsigned long)SYS_getuid};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        long r = SC(all[i]);
        holds(r == -EACCES || r == -ENOSYS, "getuid as %lx: %s", all[i], answer(r));
    }
}
/* Programs that are started keep the policy, however they come to be. */
static void and_now(void) { /* in the program that was started */
    MUST(EACCES, SC(SYS_getuid), "getuid in a program that was started");
}
static char *const again[] = {"calls_out", "started_2", NULL};
static void started_2(void) { and_now(); }
static void by_path(void) { execv("/proc/self/exe", again); }
static void by_memfd(void) {
    int in = open("/proc/self/exe", O_RDONLY), fd = memfd_create("program", 0);
    char part[65536];
    for (ssize_t n; (n = read(in, part, sizeof part)) > 0;) need(write(fd, part, (size_t)n) == n, "write");
    SC(SYS_execveat, fd, "", again, environ, AT_EMPTY_PATH);
}
static void by_copy(void) { /* which has no image: one is made, or each site is patched as it comes */
    int in = open("/proc/self/exe", O_RDONLY), fd = open("copy", O_WRONLY | O_CREAT | O_TRUNC, 0700);
    char part[65536];
    for (ssize_t n; (n = read(in, part, sizeof part)) > 0;) need(write(fd, part, (size_t)n) == n, "write");
    need(write(fd, &(long){now_ms()}, 8) == 8 && !close(fd), "write");
    execv("./copy", again);
}
static void by_script(void) {
    char path[4096] = "";
    need(readlink("/proc/self/exe", path, sizeof path - 1) > 0, "readlink");
    FILE *f = fopen("script", "w");
    fprintf(f, "#!%s started_2\n", path);
    fclose(f);
    chmod("script", 0700);
    execv("./script", again);
}
static void by_vfork(void) {
    pid_t pid = vfork();
    if (!pid) { execv("/proc/self/exe", again); _exit(9); }
    int status;
    waitpid(pid, &status, 0);
    _exit(WEXITSTATUS(status));
}
static void started(void) {
    static const struct { const char *name; void (*fn)(void); } all[] = {{"its path", by_path}, {"a memfd", by_memfd}, {"a copy", by_copy}, {"a script", by_script}, {"vfork", by_vfork}, {"fork", and_now}};
    for (size_t i = 0; i < 6; i++) {
        int status = apart(all[i].fn);
        holds(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a program by %s: status %x", all[i].name, status);
    }
}
/* A program that belongs to root and says that it runs as root. */
static void root_2(void) { holds(geteuid() != 0 && getegid() != 0, "a setuid program runs as %d:%d", (int)geteuid(), (int)getegid()); }
static void setuid_child(void) {
    static char *const words[] = {"suid", "root_2", NULL};
    need(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "to be nobody");
    execv("./suid", words);
    dprintf(1, "exec: %s\n", answer(-errno));
    _exit(0);
}
static void setuid_root(void) {
    int in = open("/proc/self/exe", O_RDONLY), fd = open("suid", O_WRONLY | O_CREAT | O_TRUNC, 0700);
    char part[65536];
    for (ssize_t n; (n = read(in, part, sizeof part)) > 0;) need(write(fd, part, (size_t)n) == n, "write");
    need(!close(fd) && !chown("suid", 0, 0) && !chmod("suid", 06755) && !chmod(".", 0755), "suid");
    int status = apart(setuid_child);
    holds(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

MAIN(ATTACK(ptrace_all), ATTACK(process_memory), ATTACK(bpf_programs), ATTACK(faults_of_others), ATTACK(rings), ATTACK(performance), ATTACK(keys),
     ATTACK(handles), ATTACK(mounts), ATTACK(unshared), ATTACK(cloned), ATTACK(joined), ATTACK(change_root), ATTACK(modules), ATTACK(machine),
     ATTACK(host_name), ATTACK(segments), ATTACK(filters), ATTACK(monitor_layout), ATTACK(others_memory), ATTACK(terminal), ATTACK(numbers), ATTACK(started),
     ATTACK(started_2), ATTACK(root_2), ATTACK(setuid_root))
