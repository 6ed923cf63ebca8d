/* Out of a jail: its root directory, its processes, its network. What is outside is in OUTSIDE (a file), PORT, VICTIM, NAME (an abstract socket). */
#include "attack.h"
#include <arpa/inet.h>
#include <linux/openat2.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <linux/capability.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static char buf[65536];
static bool jailed(void) { return getenv("TARGET") != NULL; }
static const char *outside(void) { return getenv("OUTSIDE") ? getenv("OUTSIDE") : "/nothing"; }
static void reads(int fd, const char *how) {
    if (fd < 0) { holds(true, "%s: %s", how, answer(-errno)); return; }
    memset(buf, 0, 64);
    ssize_t n = read(fd, buf, 64);
    holds(n <= 0 || !memmem(buf, (size_t)n, "TOP SECRET", 10), "%s: opened", how);
    close(fd);
}
static void root_paths(void) {
    char path[8192];
    const char *const form[] = {"%s", "/..%s", "/../../../../../../..%s", "/./../.%s", "/proc/1/root%s", "/proc/self/root%s", "/proc/self/root/../..%s", "/proc/2/root%s", "/proc/1/cwd/../../../../../..%s", "/proc/self/cwd/../../../../../../..%s",
        "/proc/thread-self/root%s", "/proc/self/fd/../root%s", "/dev/fd/../root%s", "/tmp/..%s", "/proc/self/task/../root/..%s"};
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        snprintf(path, sizeof path, form[i], outside());
        reads(open(path, O_RDONLY), form[i]);
    }
    for (int i = 0; i < 64; i++) need(!chdir(".."), "chdir");
    snprintf(path, sizeof path, ".%s", outside());
    reads(open(path, O_RDONLY), "64 directories up");
    int top = open("/", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 16; i++) { int up = openat(top, "..", O_PATH | O_DIRECTORY); close(top); top = up; }
    reads(openat(top, path, O_RDONLY), "16 descriptors up");
}
static void root_links(void) {
    char path[8192];
    need(!chdir(jailed() ? "/" : "."), "chdir");
    symlink(outside(), "link");
    symlink("../../../../../../../../..", "up");
    symlink("/proc/1/root", "init");
    symlink("/", "top");
    const char *const form[] = {"link", "./link", "up%s", "init%s", "top%s", "top/..%s", "up/up%s"};
    for (size_t i = 0; i < 7; i++) {
        snprintf(path, sizeof path, form[i], outside());
        reads(open(path, O_RDONLY), form[i]);
        struct open_how how = {.flags = O_RDONLY, .resolve = i % 2 ? 0 : RESOLVE_NO_MAGICLINKS};
        reads((int)syscall(437, AT_FDCWD, path, &how, sizeof how), "by openat2");
    }
    FAILS(SC(SYS_link, outside(), "hard"), "a hard link");
    FAILS(SC(SYS_linkat, AT_FDCWD, outside(), AT_FDCWD, "hard", AT_SYMLINK_FOLLOW), "a hard link, followed");
    reads(open("hard", O_RDONLY), "hard link");
    FAILS(SC(SYS_rename, outside(), "moved"), "rename");
    if (!jailed()) rename("moved", outside());
}
/* What other processes of the jail, and its own monitor, have open. */
static void root_proc(void) {
    char path[512], target_[512];
    long found = 0, seen = 0;
    for (int pid = 1; pid < (jailed() ? 40 : 2); pid++)
        for (int kind = 0; kind < 5; kind++)
            for (int fd = 0; fd < (kind == 0 ? 64 : 1); fd++) {
                static const char *const names[] = {"fd/%d", "exe", "cwd", "root", "map_files"};
                char last[32];
                snprintf(last, sizeof last, names[kind], fd);
                snprintf(path, sizeof path, "/proc/%d/%s", pid, last);
                ssize_t n = readlink(path, target_, sizeof target_ - 1);
                if (n <= 0) continue;
                target_[n] = 0;
                if (kind == 1 && (strstr(target_, "python") || strstr(target_, "torov-runner"))) seen++;
                int d = open(path, O_PATH);
                if (d < 0) continue;
                for (int up = 0; up < 12; up++) { /* from whatever that is, upwards */
                    snprintf(target_, sizeof target_, ".%s", outside());
                    int f = openat(d, target_, O_RDONLY);
                    if (f >= 0 && read(f, buf, 64) > 0 && memmem(buf, 64, "TOP SECRET", 10)) found++;
                    if (f >= 0) close(f);
                    int next = openat(d, "..", O_PATH | O_DIRECTORY);
                    if (next < 0) break;
                    close(d);
                    d = next;
                }
                close(d);
            }
    snprintf(path, sizeof path, "/proc/1/environ");
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, buf, sizeof buf);
    if (n > 0 && memmem(buf, (size_t)n, "OUTSIDE", 7)) found++;
    if (!jailed()) { reads(open(outside(), O_RDONLY), "natively"); return; }
    holds(!found, "ways by the processes of the jail: %ld (programs of the monitor that are named: %ld)", found, seen);
}
static void root_devices(void) {
    static const struct { const char *name; mode_t mode; dev_t dev; } all[] = {{"mem", S_IFCHR, 0}, {"kmsg", S_IFCHR, 0}, {"kvm", S_IFCHR, 0}, {"loop", S_IFBLK, 0}, {"disk", S_IFBLK, 0}, {"fuse", S_IFCHR, 0}};
    const dev_t dev[] = {makedev(1, 1), makedev(1, 11), makedev(10, 232), makedev(7, 0), makedev(254, 0), makedev(10, 229)};
    for (size_t i = 0; i < 6; i++) {
        long r = SC(SYS_mknod, all[i].name, all[i].mode | 0600, dev[i]);
        int fd = r ? -1 : open(all[i].name, O_RDONLY | O_NONBLOCK);
        holds(fd < 0, "%s: mknod %s, open %s", all[i].name, answer(r), answer(fd < 0 ? -errno : 0));
        if (fd >= 0) close(fd);
        unlink(all[i].name);
    }
    if (!jailed()) return;
    const char *const there[] = {"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/fuse", "/dev/vhost-net", "/dev/net/tun", "/dev/userfaultfd", "/proc/kcore", "/proc/kallsyms0", "/sys/kernel/debug/kvm"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        int fd = open(there[i], O_RDWR), only = open(there[i], O_RDONLY);
        char one[64];
        holds(fd < 0 && (only < 0 || read(only, one, 64) <= 0), "%s: %s", there[i], answer(fd < 0 ? -errno : 0));
    }
}
static void machine_files(void) { /* natively root's to write; not tried there */
    const char *const all[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/proc/sys/kernel/hostname",
        "/proc/self/oom_score_adj0", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/power/state", "/proc/self/uid_map", "/proc/self/setgroups", "/proc/1/oom_score_adj", "/proc/self/loginuid", "/proc/sys/fs/binfmt_misc/register", "/proc/irq/0/smp_affinity", "/etc/passwd", "/etc/shadow", "/usr/bin/x", "/root/x"};
    if (!jailed()) { holds(access("/proc/sys/kernel/core_pattern", W_OK) != 0, "core_pattern"); return; }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int fd = open(all[i], O_WRONLY | O_CREAT, 0600);
        long n = fd >= 0 ? SC(SYS_write, fd, "0", 1) : -1;
        holds(fd < 0 || n < 0, "%s: %s, %s", all[i], answer(fd < 0 ? -errno : 0), answer(n));
    }
}
static void network(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)number("PORT")), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x08080808)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int s = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0), x = socket(AF_UNIX, SOCK_STREAM, 0), p = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(s < 0 ? -errno : SC(SYS_connect, s, &a, sizeof a), "a port of the host");
    if (jailed()) FAILS(u < 0 ? -errno : SC(SYS_sendto, u, "x", 1, 0, &far, sizeof far), "an address of the Internet");
    const char *name = getenv("NAME");
    if (!name) name = "none";
    memcpy(un.sun_path + 1, name, strlen(name));
    FAILS(SC(SYS_connect, x, &un, 3 + strlen(name)), "an abstract socket of the host");
    const char *const paths[] = {"/run/dbus/system_bus_socket", "/var/run/docker.sock", "/run/systemd/private", "/dev/log", "/tmp/.X11-unix/X0"};
    for (size_t i = 0; i < 5; i++) {
        strcpy(un.sun_path, paths[i]);
        FAILS(SC(SYS_connect, p, &un, sizeof un), "%s", paths[i]);
    }
    if (!jailed()) return;
    int n = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), icmp = socket(AF_INET, SOCK_RAW, 1), packet = socket(AF_PACKET, SOCK_RAW, 0), v = socket(AF_VSOCK, SOCK_STREAM, 0);
    holds(icmp < 0 && packet < 0, "raw sockets: %s", answer(icmp < 0 ? -errno : 0));
    struct { unsigned short family, zero; unsigned port, cid, more; } vm = {AF_VSOCK, 0, 1, 2, 0};
    FAILS(v < 0 ? -errno : SC(SYS_connect, v, &vm, 16), "the hypervisor by vsock");
    struct { struct nlmsghdr h; unsigned char b[32]; } up = {{sizeof up, 16 /* RTM_NEWLINK */, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, {0}};
    up.b[4] = 1, up.b[8] = 1, up.b[12] = 1; /* lo, IFF_UP */
    struct { struct nlmsghdr h; int error; char more[64]; } re = {{0}, 0, {0}};
    if (n >= 0 && send(n, &up, sizeof up, 0) > 0 && recv(n, &re, sizeof re, 0) > 0) holds(re.error < 0, "netlink brings an interface up: %s", answer(re.error));
}
static void processes(void) {
    pid_t victim = (pid_t)number("VICTIM");
    union sigval v = {0};
    FAILS(SC(SYS_kill, victim, 0), "kill");
    FAILS(SC(SYS_tkill, victim, 0), "tkill");
    FAILS(SC(SYS_tgkill, victim, victim, 0), "tgkill");
    siginfo_t info = {.si_signo = 0, .si_code = SI_QUEUE};
    FAILS(SC(SYS_rt_sigqueueinfo, victim, 0, &info), "rt_sigqueueinfo");
    long fd = SC(434, victim, 0);
    holds(fd < 0, "pidfd_open: %s", answer(fd));
    FAILS(SC(SYS_setpriority, 0, victim, 19), "setpriority");
    FAILS(SC(SYS_sched_setscheduler, victim, 0, &(int){0}), "sched_setscheduler");
    FAILS(SC(SYS_sched_setaffinity, victim, 8, &(long){3}), "sched_setaffinity");
    FAILS(SC(SYS_prlimit64, victim, RLIMIT_CORE, 0, buf), "prlimit64");
    FAILS(SC(SYS_ioprio_set, 1, victim, 0), "ioprio_set");
    FAILS(SC(SYS_getsid, victim), "getsid");
    FAILS(SC(SYS_getpgid, victim), "getpgid");
    int p[2];
    need(!pipe(p), "pipe");
    FAILS(SC(SYS_fcntl, p[0], F_SETOWN, victim), "F_SETOWN");
    (void)v;
    if (!jailed()) return;
    holds(getppid() <= 1 || getppid() == 0, "its parent is %d", getppid());
    FAILS(SC(SYS_kill, 1, SIGKILL) == 0 && !kill(1, 0) ? -1 : -1, "kill of the jail's init");
    if (getpid() == 2) holds(SC(SYS_kill, -1, SIGTERM) <= 0, "kill of everybody: the victim is looked at afterwards");
    SC(SYS_kill, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}
static void shared_objects(void) { /* System V objects and message queues of the host */
    int shm = shmget((key_t)number("KEY"), 0, 0);
    holds(shm < 0, "a shared memory of the host's: %s", answer(shm < 0 ? -errno : 0));
    if (jailed()) holds(access("/dev/mqueue", F_OK) != 0 || open("/dev/mqueue", O_RDONLY) < 0 || true, "message queues");
    long seen = 0;
    for (int id = 0; id < 1 << 16 && jailed(); id += 1) { /* every number that the host's first objects have */
        struct shmid_ds d;
        if (id < 4096 && shmctl(id, IPC_STAT, &d) == 0) seen++;
    }
    holds(!seen, "by its number: %ld", seen);
}
static void privileges(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    FAILS(SC(SYS_setuid, 0) == 0 && jailed() && geteuid() ? -1 : SC(SYS_setuid, 0), "setuid to root");
    FAILS(SC(SYS_setresgid, 0, 0, 0), "setresgid");
    FAILS(SC(SYS_setgroups, 1, &(gid_t){0}), "setgroups");
    if (!jailed()) return;
    FAILS(SC(SYS_capset, &h, d), "capset");
    FAILS(SC(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0), "an ambient capability");
    FAILS(SC(SYS_prctl, PR_SET_SECUREBITS, 0, 0, 0, 0), "securebits");
    FAILS(SC(SYS_prctl, PR_SET_DUMPABLE, 1) == 0 && prctl(PR_GET_DUMPABLE) == 1 ? 0 : -1, "dumpable");
    FAILS(SC(SYS_sethostname, "x", 1), "sethostname");
    FAILS(SC(SYS_setpriority, 0, 0, -20), "a better priority");
    struct rlimit top = {RLIM_INFINITY, RLIM_INFINITY};
    FAILS(SC(SYS_setrlimit, RLIMIT_MEMLOCK, &top), "setrlimit");
    FAILS(SC(SYS_mknod, "device", S_IFCHR | 0600, makedev(1, 1)), "mknod");
    FAILS(SC(SYS_chroot, "/"), "chroot");
    FAILS(SC(SYS_unshare, CLONE_NEWUSER), "a user namespace");
    FAILS(SC(SYS_mount, "none", "/tmp", "tmpfs", 0, 0), "mount");
    holds(geteuid() != 0 || !number("ROOTLESS"), "it is %d", (int)geteuid());
}
/* The program that runs as another process of the guest: by its link in /proc, outside of the root directory. */
static void sleep_2(void) { rest_ms(30000); }
static void runner_link(void) {
    char path[64], name[64];
    pid_t child = fork();
    if (!child) { execl("/proc/self/exe", "jail_out", "sleep_2", NULL); execl("/guest", "jail_out", "sleep_2", NULL); _exit(1); }
    rest_ms(500);
    snprintf(path, sizeof path, "/proc/%d/exe", (int)child);
    int fd = open(path, O_RDONLY), d = open(path, O_PATH);
    ssize_t n = readlink(path, buf, sizeof buf - 1);
    buf[n > 0 ? n : 0] = 0;
    bool monitor = strstr(buf, "runner") || strstr(buf, "python");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd >= 0 ? fd : d);
    rest_ms(50);
    int w = open(name, O_WRONLY);
    if (!jailed()) { holds(w < 0, "natively it is the program itself"); return; }
    holds(w < 0 || !monitor, "%s, to be written: %s", monitor ? "the monitor's program" : "another", answer(w < 0 ? -errno : 0));
}

MAIN(ATTACK(root_paths), ATTACK(root_links), ATTACK(root_proc), ATTACK(root_devices), ATTACK(machine_files), ATTACK(network), ATTACK(processes),
     ATTACK(shared_objects), ATTACK(privileges), ATTACK(runner_link), ATTACK(sleep_2))
