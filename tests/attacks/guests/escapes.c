/* Ways out by files: /proc, links, what exec starts, a changed root. */
#include "attack.h"
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

static char buf[65536];
/* Is this the monitor's memory? It may be opened; the secret may be neither read nor written. */
static void memory_of(int fd, const char *how) {
    if (fd < 0) { holds(true, "%s: %s", how, answer(-errno)); return; }
    memset(buf, 0, 64);
    ssize_t n = pread(fd, buf, 64, (off_t)target());
    holds(n <= 0 || !is_secret(buf, 64), "%s: opened, read %s", how, answer(n < 0 ? -errno : n));
    n = pwrite(fd, "overwritten", 11, (off_t)target() + 1024);
    holds(n <= 0 || target() == own_secret, "%s: opened, written %s", how, answer(n < 0 ? -errno : n));
    if (target() == own_secret) holds(false, "%s: natively it is the program's own", how);
    close(fd);
}
static void names(const char *const *all, size_t n) {
    for (size_t i = 0; i < n; i++) {
        memory_of(open(all[i], O_RDWR), all[i]);
        memory_of(open(all[i], O_RDONLY | O_NOFOLLOW), all[i]);
    }
}
static void mem_by_name(void) {
    static char pid[64], task[64], tid[64];
    snprintf(pid, sizeof pid, "/proc/%d/mem", getpid());
    snprintf(task, sizeof task, "/proc/%d/task/%d/mem", getpid(), getpid());
    snprintf(tid, sizeof tid, "/proc/self/task/%ld/mem", SC(SYS_gettid));
    const char *const all[] = {"/proc/self/mem", "/proc/thread-self/mem", pid, task, tid, "/proc/self/../self/mem", "/proc//self//mem", "/proc/self/task/../mem",
        "/proc/self/cwd/../../../../../../../proc/self/mem", "/proc/self/root/proc/self/mem", "/proc/self/root/proc/thread-self/mem", "/dev/fd/../mem", "/proc/self/fd/../mem", "/./proc/./self/./mem"};
    names(all, sizeof all / sizeof *all);
}
static void mem_by_directory(void) {
    int proc = open("/proc", O_RDONLY | O_DIRECTORY), self = open("/proc/self", O_RDONLY | O_DIRECTORY), fds = open("/proc/self/fd", O_PATH | O_DIRECTORY);
    struct open_how how = {.flags = O_RDWR}, beneath = {.flags = O_RDWR, .resolve = RESOLVE_BENEATH}, root = {.flags = O_RDWR, .resolve = RESOLVE_IN_ROOT};
    memory_of(openat(proc, "self/mem", O_RDWR), "openat of /proc");
    memory_of(openat(self, "mem", O_RDWR), "openat of /proc/self");
    memory_of(openat(fds, "../mem", O_RDWR), "openat of /proc/self/fd");
    memory_of((int)syscall(437, self, "mem", &how, sizeof how), "openat2");
    memory_of((int)syscall(437, self, "mem", &beneath, sizeof how), "openat2 beneath");
    memory_of((int)syscall(437, proc, "/self/mem", &root, sizeof how), "openat2 in the root");
    need(!chdir("/proc/self"), "chdir");
    memory_of(open("mem", O_RDWR), "the working directory");
    need(!chdir("task"), "chdir");
    memory_of(open("../mem", O_RDWR), "above the working directory");
    need(!fchdir(self), "fchdir");
    memory_of(open("./mem", O_WRONLY), "fchdir");
    SC(SYS_creat, "mem", 0600);
    truncate("mem", 0);
}
static void mem_by_link(void) {
    symlink("/proc/self/mem", "l1");
    symlink("l1", "l2");
    symlink("/proc/self", "l3");
    symlink("/proc", "l4");
    const char *const all[] = {"l1", "l2", "l3/mem", "l4/self/mem", "l4/thread-self/mem", "/proc/self/cwd/l2"};
    names(all, 6);
    FAILS(SC(SYS_link, "/proc/self/mem", "hard"), "a hard link");
    FAILS(SC(SYS_rename, "/proc/self/mem", "moved"), "rename");
}
static void mem_by_reopening(void) {
    char name[64];
    int path = open("/proc/self/mem", O_PATH);
    if (path < 0) { holds(true, "O_PATH: %s", answer(-errno)); return; }
    const char *const form[] = {"/proc/self/fd/%d", "/dev/fd/%d", "/proc/thread-self/fd/%d"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, form[i], path);
        memory_of(open(name, O_RDWR), form[i]);
    }
    snprintf(name, sizeof name, "%d", path);
    int fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    memory_of(openat(fds, name, O_RDWR), "openat of /proc/self/fd");
    struct open_how how = {.flags = O_RDWR};
    memory_of((int)syscall(437, fds, name, &how, sizeof how), "openat2 of it");
    memory_of((int)SC(SYS_openat, path, "", O_RDWR), "an empty path");
    memory_of((int)SC(SYS_fcntl, path, F_DUPFD, 0), "a duplicate"); /* O_PATH cannot be read */
}
static void *by_thread(void *arg) { rest_ms(300); return arg; }
static void mem_of_thread(void) {
    pthread_t t;
    pthread_create(&t, NULL, by_thread, NULL);
    int dir = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
    for (long n, all = 0; (n = SC(SYS_getdents64, dir, buf, 4096)) > 0 && all < 8; all++) {
        char list[4096];
        memcpy(list, buf, (size_t)n);
        for (long i = 0; i < n; i += *(unsigned short *)(list + i + 16)) {
            char path[320];
            if (list[i + 19] == '.') continue;
            snprintf(path, sizeof path, "/proc/self/task/%s/mem", list + i + 19);
            memory_of(open(path, O_RDWR), "a thread's");
            snprintf(path, sizeof path, "/proc/%s/mem", list + i + 19);
            memory_of(open(path, O_RDWR), "a thread's, as a process");
        }
    }
    pthread_join(t, NULL);
    if (target() == own_secret) holds(false, "natively it is the program's own");
}
/* Other processes: a child of the guest's own has a monitor too; the victim has none. */
static void mem_of_others(void) {
    pid_t child = fork(), parent = getppid();
    if (!child) { pause(); _exit(0); }
    const pid_t all[] = {child, parent, (pid_t)number("VICTIM")};
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/mem", (int)all[i]);
        int fd = open(path, O_RDWR);
        if (fd >= 0) holds(false, "%s", path);
        else holds(true, "%s: %s", i == 0 ? "a child" : i == 1 ? "the parent" : "another process", answer(fd < 0 ? -errno : 0));
    }
    kill(child, SIGKILL);
}
/* What tells about the monitor's memory: natively it is the program's own. */
static void mem_maps(void) {
    char line[512];
    const char *const all[] = {"/proc/self/maps", "/proc/self/smaps", "/proc/thread-self/maps", "/proc/self/task/self/maps", "/proc/self/numa_maps", "/proc/self/smaps_rollup"};
    long high = 0, names_ = 0;
    for (size_t i = 0; i < 6; i++) {
        FILE *f = fopen(all[i], "r");
        while (f && fgets(line, sizeof line, f)) {
            unsigned long a = strtoul(line, NULL, 16);
            if (a > 0x8200000000 && a < 0xffff800000000000) high++;
            if (strstr(line, "python") || strstr(line, "kvm")) names_++;
        }
        if (f) fclose(f);
    }
    holds(!high && !names_, "maps: %ld addresses and %ld names of the monitor's", high, names_);
    FAILS(SC(SYS_open, "/proc/self/pagemap", O_RDONLY), "pagemap");
    FAILS(SC(SYS_open, "/proc/self/syscall", O_RDONLY), "syscall");
    int dir = open("/proc/self/map_files", O_RDONLY | O_DIRECTORY);
    long listed = 0;
    for (long n; dir >= 0 && (n = SC(SYS_getdents64, dir, buf, 4096)) > 0;)
        for (long i = 0; i < n; i += *(unsigned short *)(buf + i + 16)) listed += buf[i + 19] != '.' && strtoul(buf + i + 19, NULL, 16) > 0x8200000000;
    holds(!listed, "map_files: %ld of the monitor's", listed);
}
static void environment(void) { /* of the monitor: its secrets may be there */
    const char *const all[] = {"/proc/self/environ", "/proc/self/cmdline", "/proc/self/auxv", "/proc/self/stat", "/proc/self/status"};
    long seen = 0;
    for (size_t i = 0; i < 5; i++) {
        int fd = open(all[i], O_RDONLY);
        ssize_t n = read(fd, buf, sizeof buf);
        if (n > 0 && memmem(buf, (size_t)n, "from torov import cli", 21)) seen++;
        if (n > 0 && memmem(buf, (size_t)n, "MONITOR_SECRET", 14)) seen++;
        close(fd);
    }
    if (!getenv("TARGET")) { holds(false, "natively it is the program's own"); return; }
    holds(!seen, "the monitor's words and environment: %ld", seen);
}
/* The programs behind the guest: Python, torov-runner. A guest's /proc/PID/exe must not be a way to write them. */
static void program_file(void) {
    struct stat own, st;
    stat("/proc/self/exe", &own);
    int fd = open("/proc/self/exe", O_RDONLY);
    holds(fd >= 0 && !fstat(fd, &st) && st.st_ino == own.st_ino, "exe is the guest's");
    const char *const form[] = {"/proc/self/exe", "/proc/thread-self/exe", "/proc/%d/exe", "/proc/self/task/%d/exe"};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, form[i], getpid());
        fd = open(path, O_PATH);
        holds(fd >= 0 && !fstat(fd, &st) && st.st_ino == own.st_ino, "%s is the guest's", form[i]);
        ssize_t n = readlink(path, buf, sizeof buf - 1);
        buf[n > 0 ? n : 0] = 0;
        holds(!strstr(buf, "python") && !strstr(buf, "runner"), "%s: %s", form[i], "a link to the guest's");
        close(fd);
    }
}
static void runner_2(void) { rest_ms(60000); }
static void runner_file(void) { /* CVE-2019-5736: the program of another monitor, opened while it runs, written later */
    char path[64], name[64];
    pid_t child = fork();
    if (!child) { execl("/proc/self/exe", "escapes", "runner_2", NULL); _exit(1); }
    rest_ms(400);
    snprintf(path, sizeof path, "/proc/%d/exe", (int)child);
    ssize_t n = readlink(path, buf, sizeof buf - 1);
    buf[n > 0 ? n : 0] = 0;
    bool runner = strstr(buf, "runner") || strstr(buf, "python");
    int fd = open(path, O_RDONLY);
    if (fd < 0) { holds(true, "the program of the other monitor: %s", answer(-errno)); kill(child, SIGKILL); return; }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    rest_ms(50);
    int w = runner ? open(name, O_WRONLY) : -1;
    if (!getenv("TARGET")) { holds(false, "natively it is the program itself"); return; }
    holds(w < 0, "the program of the other monitor (%s), to be written: %s", runner ? "named" : "the guest's", answer(w < 0 ? -errno : 0));
    if (w >= 0) close(w);
}
/* exec(2) has a helper, which is Python, in the guest's working directory. */
static void copy_self(const char *to) {
    int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0;) need(write(out, buf, (size_t)n) == n, "write");
    need(write(out, &(long[]){now_ms(), getpid()}, 16) == 16 && !close(out), "write");
}
static void run_copy(void) { execl("./copy", "escapes", "quiet_2", NULL); }
static void quiet_2(void) { holds(true, "the copy ran"); }
static void write_text(const char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && !close(fd), name);
}
static void helper_module(void) {
    static const char evil[] = "import os\nfd = os.open('went-out', os.O_CREAT | os.O_WRONLY)\nos.write(fd, b'x')\n";
    static const char *const all[] = {"torov/__init__.py", "torov/prepare.py", "lief.py", "capstone.py", "sitecustomize.py", "usercustomize.py", "os.py", "site.py", "encodings.py", "re.py", "json.py", "python3", "posix.py"};
    mkdir("torov", 0700);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) write_text(all[i], evil);
    setenv("PYTHONPATH", ".", 1);
    setenv("PYTHONSTARTUP", "os.py", 1);
    setenv("LD_PRELOAD", "./evil.so", 1);
    copy_self("copy");
    int status = apart(run_copy);
    holds(WIFEXITED(status) && !WEXITSTATUS(status), "a program without an image starts: status %x", status);
    holds(access("went-out", F_OK) != 0, "Python of the guest's in the helper");
    if (!getenv("TARGET")) holds(false, "natively a program is out already");
}
/* A changed root, where a policy allows it: programs and /proc of the guest's own making in it. */
static void chroot_child(void) {
    static const char *const python[] = {"usr", "usr/bin", "usr/local", "usr/local/bin"};
    mkdir("jail", 0755);
    need(!chdir("jail"), "chdir");
    for (size_t i = 0; i < 4; i++) mkdir(python[i], 0755);
    int self = open("/proc/self", O_RDONLY | O_DIRECTORY), out = open("/", O_RDONLY | O_DIRECTORY);
    need(!chroot("."), "chroot");
    memory_of(openat(self, "mem", O_RDWR), "openat of /proc/self from outside");
    need(!fchdir(self), "fchdir");
    memory_of(open("mem", O_RDWR), "the working directory outside");
    memory_of(open("task/../mem", O_RDWR), "and a path from it");
    int path = open("mem", O_PATH);
    char name[32];
    snprintf(name, sizeof name, "fd/%d", path);
    memory_of(open(name, O_RDWR), "reopened");
    long seen = 0;
    struct stat st;
    for (int fd = hidden_first(); fd < hidden_first() + HIDDEN_MANY; fd++) {
        snprintf(name, sizeof name, "fd/%d", fd);
        int o = open(name, O_RDWR);
        seen += !stat(name, &st) + (o >= 0);
    }
    holds(!seen, "descriptors of the monitor: %ld", seen);
    close(out);
}
static void changed_root(void) { apart(chroot_child); int status = apart(chroot_child); holds(WIFEXITED(status) && !WEXITSTATUS(status), "status %x", status); }
static void helper_child(void) { /* the helper's Python is looked for in the new root */
    char path[512] = "", *python = getenv("PYTHON");
    mkdir("jail", 0755);
    need(!chdir("jail") && python, "chdir");
    for (char *p = python + 1; (p = strchr(p, '/')); p++) {
        snprintf(path, sizeof path, ".%.*s", (int)(p - python), python);
        mkdir(path, 0755);
    }
    snprintf(path, sizeof path, ".%s", python);
    copy_self("program");
    int in = open("/proc/self/exe", O_RDONLY), o = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755); /* the attacker, as "python" */
    for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0;) need(write(o, buf, (size_t)n) == n, "write");
    close(o);
    need(!chroot("."), "chroot");
    execl("/program", "escapes", "quiet_2", NULL);
    dprintf(1, "exec in the new root: %s\n", answer(-errno));
}
static void helper_root(void) {
    int status = apart(helper_child);
    holds(WIFEXITED(status), "status %x", status);
    holds(access("jail/went-out", F_OK) != 0, "the guest's own \"python\" in the helper's place");
    if (!getenv("TARGET")) holds(false, "natively a program is out already");
}
/* The monitor has threads that are not the guest's: vfork leaves one. By its number it would tell about the monitor's memory. */
static void hidden_threads(void) {
    static const char *const names[] = {"maps", "smaps", "numa_maps", "pagemap", "syscall", "status", "environ", "auxv", "stat", "mem"};
    char path[64];
    long seen = 0, told = 0;
    pid_t pid = vfork(), me = getpid();
    if (!pid) _exit(0);
    waitpid(pid, NULL, 0);
    for (pid_t tid = me + 1; tid < me + 40; tid++) {
        snprintf(path, sizeof path, "/proc/self/task/%d", tid);
        seen += access(path, F_OK) == 0;
        for (size_t i = 0; i < 20; i++) {
            snprintf(path, sizeof path, i < 10 ? "/proc/self/task/%d/%s" : "/proc/%d/%s", tid, names[i % 10]);
            int status = open("/dev/null", O_RDONLY);
            close(status);
            int fd = open(path, O_RDONLY);
            if (fd < 0) continue;
            if (i >= 10) { /* another process may have that number: is it a thread of this one? */
                snprintf(path, sizeof path, "/proc/self/task/%d", tid);
                if (access(path, F_OK)) { close(fd); continue; }
            }
            if (read(fd, buf, 4096) >= 0) told++;
            close(fd);
        }
    }
    holds(!told, "threads of the monitor: %ld, files that they told: %ld", seen, told);
}
/* A core file of a monitor is its memory; one of the guest is the guest's. */
static void die(void) { raise(SIGSEGV); }
static long secrets_in(const char *name) {
    char twice[64]; /* put together now: what is in this program is in its own core file */
    snprintf(twice, sizeof twice, "%s %s", "0123456789", "the monitor's own");
    int fd = open(name, O_RDONLY);
    off_t n = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    char *core = n > 0 ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (core == MAP_FAILED) return 0;
    return memmem(core, (size_t)n, twice, strlen(twice)) != NULL;
}
static void core_dump(void) {
    struct rlimit top = {RLIM_INFINITY, RLIM_INFINITY};
    char name[64];
    SC(SYS_prlimit64, getpid(), RLIMIT_CORE, &top, 0);
    SC(SYS_prlimit64, SC(SYS_gettid), RLIMIT_CORE, &top, 0);
    setrlimit(RLIMIT_CORE, &top);
    int fd = open("/proc/self/coredump_filter", O_WRONLY);
    if (fd >= 0) SC(SYS_write, fd, "0xff\n", 5);
    if (target() == own_secret) strcpy(own_secret + 36, SECRET);
    int status = apart(die);
    pid_t parent = getpid(), pid = fork();
    if (!pid) { /* limits of the parent, and its own by the parent's hand */
        SC(SYS_prlimit64, parent, RLIMIT_CORE, &top, 0);
        rest_ms(100);
        raise(SIGSEGV);
    }
    SC(SYS_prlimit64, pid, RLIMIT_CORE, &top, 0);
    waitpid(pid, NULL, 0);
    long found = secrets_in("core");
    for (int p = parent; p < parent + 16; p++) {
        snprintf(name, sizeof name, "core.%d", p);
        found += secrets_in(name);
    }
    holds(!found, "a core file with the secret (status %x)", status);
}
__attribute__((constructor)) static void as_python(int argc, char **argv) { /* whoever runs this as "python -P ..." or "torov-runner N" */
    if (argc < 2 || (strcmp(argv[1], "-P") && strcmp(argv[1], "-m") && strspn(argv[1], "0123456789") != strlen(argv[1]))) return;
    int fd = open("/went-out", O_CREAT | O_WRONLY, 0600);
    _exit(fd < 0);
}
MAIN(ATTACK(mem_by_name), ATTACK(mem_by_directory), ATTACK(mem_by_link), ATTACK(mem_by_reopening), ATTACK(mem_of_thread), ATTACK(mem_of_others), ATTACK(mem_maps),
     ATTACK(environment), ATTACK(program_file), ATTACK(runner_file), ATTACK(runner_2), ATTACK(helper_module), ATTACK(quiet_2), ATTACK(changed_root), ATTACK(helper_root), ATTACK(core_dump), ATTACK(hidden_threads))
