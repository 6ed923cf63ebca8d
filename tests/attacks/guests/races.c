/* What is looked at, and what is used: a second thread changes it in between, for RACE_MS milliseconds. */
#include "attack.h"
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <ucontext.h>

static long until, tries;
static volatile bool over;
static volatile long hits; /* of any thread */
static bool going(void) {
    tries++;
    return now_ms() < until && (getenv("TARGET") || !hits); /* natively one is enough */
}
static void begin(void *(*other)(void *)) {
    pthread_t t;
    until = now_ms() + (number("RACE_MS") > 0 ? number("RACE_MS") : 1000);
    need(!pthread_create(&t, NULL, other, NULL), "thread");
}
/* Each store is made: the compiler would keep the last only. */
#define NOW __asm__ volatile("" ::: "memory")
static char buf[8192];
static void end(const char *what) {
    over = true;
    holds(!hits, "%s: %ld tries, %ld went through", what, tries, hits);
}
static int flow[2];
static void open_flow(void) {
    need(!pipe(flow), "pipe");
    fcntl(flow[0], F_SETFL, O_NONBLOCK);
    fcntl(flow[1], F_SETFL, O_NONBLOCK);
}
static void look(void) { /* what came out of the pipe */
    ssize_t n = read(flow[0], buf, sizeof buf);
    if (n > 0 && is_secret(buf, (size_t)n)) hits++;
}

/* iovec: base and length */
static struct iovec vec;
static char mine[64] = "nothing of interest";
static void *flip_base(void *arg) {
    char *t = target();
    while (!over) {
        vec.iov_base = t; NOW;
        vec.iov_base = mine; NOW;
    }
    return arg;
}
static void iovec_base(void) {
    open_flow();
    vec = (struct iovec){mine, 32};
    begin(flip_base);
    while (going()) { SC(SYS_writev, flow[1], &vec, 1); look(); SC(SYS_vmsplice, flow[1], &vec, 1, 0); look(); }
    end("the base of an iovec");
}
/* msghdr: which iovecs, which name, which control data */
static struct msghdr msg;
static struct iovec good = {mine, 32}, bad;
static void *flip_header(void *arg) {
    char *t = target();
    while (!over) {
        msg.msg_iov = &bad; NOW;
        msg.msg_name = t; NOW;
        msg.msg_namelen = 64; NOW;
        msg.msg_name = NULL; NOW;
        msg.msg_namelen = 0; NOW;
        msg.msg_iov = (struct iovec *)t; NOW;
        msg.msg_iov = &good; NOW;
    }
    return arg;
}
static void message_header(void) {
    int p[2];
    need(!socketpair(AF_UNIX, SOCK_DGRAM, 0, p), "socketpair");
    bad = (struct iovec){target(), 32};
    msg = (struct msghdr){.msg_iov = &good, .msg_iovlen = 1};
    begin(flip_header);
    while (going()) {
        SC(SYS_sendmsg, p[0], &msg, MSG_DONTWAIT);
        for (ssize_t n; (n = recv(p[1], buf, sizeof buf, MSG_DONTWAIT)) > 0;) hits += is_secret(buf, (size_t)n);
        send(p[0], "x", 1, MSG_DONTWAIT);
        SC(SYS_recvmsg, p[1], &msg, MSG_DONTWAIT); /* the monitor's secret is looked at afterwards */
    }
    end("the header of a message");
}
/* control data: a descriptor of the guest's, and one that is not */
static union { char all[CMSG_SPACE(8)]; struct cmsghdr h; } control;
static int own_fd, hidden_fd;
static void *flip_control(void *arg) {
    while (!over) {
        memcpy(CMSG_DATA(&control.h), &hidden_fd, 4); NOW;
        control.h.cmsg_len = 1 << 20; NOW;
        memcpy(CMSG_DATA(&control.h), &own_fd, 4); NOW;
        control.h.cmsg_len = CMSG_LEN(4); NOW;
        control.h.cmsg_type = SCM_CREDENTIALS; NOW;
        control.h.cmsg_type = SCM_RIGHTS; NOW;
    }
    return arg;
}
static void control_data(void) {
    int p[2];
    char in[CMSG_SPACE(8)];
    struct stat st, theirs;
    need(!socketpair(AF_UNIX, SOCK_DGRAM, 0, p), "socketpair");
    own_fd = open("/dev/null", O_RDONLY);
    hidden_fd = hidden_first() + 1; /* the VM */
    fstat(own_fd, &st);
    control.h = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.h), &own_fd, 4);
    struct iovec one = {mine, 1};
    begin(flip_control);
    while (going()) {
        struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(4)};
        if (SC(SYS_sendmsg, p[0], &m, MSG_DONTWAIT) < 0) continue;
        m = (struct msghdr){.msg_iov = &one, .msg_iovlen = 1, .msg_control = in, .msg_controllen = sizeof in};
        if (recvmsg(p[1], &m, MSG_DONTWAIT) < 0 || !CMSG_FIRSTHDR(&m) || CMSG_FIRSTHDR(&m)->cmsg_type != SCM_RIGHTS) continue;
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), 4);
        if (!fstat(fd, &theirs) && theirs.st_ino != st.st_ino) hits++;
        close(fd);
    }
    end("a descriptor in control data");
}
/* The monitor's memory by a path that changes: the string, and a symbolic link. */
static char path[4096] = "/dev/null";
static void *flip_string(void *arg) {
    while (!over) {
        memcpy(path, "/proc/self/mem", 15); NOW;
        memcpy(path, "/dev/null\0", 11); NOW;
    }
    return arg;
}
static void tried(int fd) {
    memset(buf, 0, 128);
    if (fd >= 0 && pread(fd, buf, 64, (off_t)target()) > 0) hits += is_secret(buf, 64);
    if (fd >= 0) close(fd);
}
static void path_string(void) {
    begin(flip_string);
    struct open_how how = {.flags = O_RDWR};
    while (going()) {
        tried((int)SC(SYS_open, path, O_RDWR));
        tried((int)SC(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
    }
    end("the string of a path");
}
static void *flip_link(void *arg) {
    symlink("/proc/self/mem", "mem.link");
    symlink("/dev/null", "null.link");
    while (!over) {
        if (!SC(SYS_renameat2, AT_FDCWD, "mem.link", AT_FDCWD, "null.link", 2 /* RENAME_EXCHANGE */)) continue;
        if (!access("mem.link", F_OK)) rename("mem.link", "link");
    }
    return arg;
}
static void path_link(void) {
    begin(flip_link);
    while (going()) tried(open("null.link", O_RDWR));
    end("a symbolic link");
}
/* A third thread uses every number that an open could get, before it is known what was opened. */
static void *use_numbers(void *arg) {
    char here[64];
    while (!over)
        for (int fd = 3; fd < 9; fd++) {
            if (pread(fd, here, 64, (off_t)target()) > 0 && is_secret(here, 64)) hits++;
            int copy = dup(fd);
            if (copy < 0) continue;
            if (pread(copy, here, 64, (off_t)target()) > 0 && is_secret(here, 64)) hits++;
            close(copy);
        }
    return arg;
}
static void open_numbers(void) {
    static const char *const names[] = {"/proc/self/mem", "/proc/thread-self/mem", "mem.link", "/dev/fd/../mem"};
    char by_pid[64];
    symlink("/proc/self/mem", "mem.link");
    snprintf(by_pid, sizeof by_pid, "/proc/%d/task/%d/mem", getpid(), getpid());
    begin(use_numbers);
    pthread_t more;
    pthread_create(&more, NULL, use_numbers, NULL);
    while (going()) {
        for (size_t i = 0; i < 4; i++) tried(open(names[i], O_RDWR));
        tried(open(by_pid, O_RDWR));
    }
    end("the number of an open that is refused");
}
/* The same for a vCPU that is being made: its struct kvm_run, its registers. It can be named for a moment, and a copy of the descriptor be
 * made; what counts is whether that is good for anything: mapping it, asking it, running it. */
static void *idle(void *arg) { while (!over) usleep(100000); return arg; }
static void *take_vcpus(void *arg) {
    char link[64], name[128];
    static char buf[4096];
    while (!over)
        for (int fd = 3; fd < 8; fd++) {
            void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            int copy = (int)SC(SYS_fcntl, fd, F_DUPFD, 100);
            if (copy >= 0) {
                snprintf(link, sizeof link, "/proc/self/fd/%d", copy);
                ssize_t n = readlink(link, name, sizeof name - 1);
                if (n > 0 && memmem(name, (size_t)n, "kvm", 3)) {
                    static const unsigned long requests[] = {0xae80, 0x8090ae81, 0x8004ae98, 0xae03, 0xae41}; /* KVM_RUN GET_REGS GET_MP_STATE CHECK_EXTENSION CREATE_VCPU */
                    void *run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0);
                    if (run != MAP_FAILED) hits++;
                    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) hits += SC(SYS_ioctl, copy, requests[i], buf) >= 0;
                    hits += SC(SYS_read, copy, buf, 8) >= 0;
                }
                close(copy);
            }
            if (p != MAP_FAILED) { if (copy < 0) hits++; munmap(p, 4096); }
        }
    return arg;
}
static void vcpu_numbers(void) {
    static pthread_t all[200];
    int n = 0;
    begin(take_vcpus);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    while (going()) {
        if (n < 200 && !pthread_create(&all[n], &small, idle, NULL)) n++;
        usleep(20000);
    }
    end("the number of a vCPU that is being made");
}
/* Directories that change places under a path of "..". */
static int outside_fd;
static void *flip_directory(void *arg) {
    mkdir("a", 0700);
    mkdir("a/b", 0700);
    mkdir("other", 0700);
    while (!over) {
        rename("a/b", "other/b");
        rename("other/b", "a/b");
        close(outside_fd);
        outside_fd = open("/proc/self", O_RDONLY | O_DIRECTORY);
        int d = open("other", O_RDONLY | O_DIRECTORY);
        dup2(d, outside_fd);
        close(d);
    }
    return arg;
}
static void directory(void) {
    outside_fd = open("/", O_RDONLY | O_DIRECTORY);
    begin(flip_directory);
    while (going()) {
        tried(openat(outside_fd, "mem", O_RDWR));
        tried(openat(outside_fd, "../self/mem", O_RDWR));
    }
    end("the directory of a path");
}
/* A file that is cut short while its text is patched. */
static int code_fd;
static void *cut(void *arg) {
    while (!over) {
        ftruncate(code_fd, 0);
        ftruncate(code_fd, 65536);
        for (int i = 0; i < 16; i++) pwrite(code_fd, "\x90\x0f\x05\xc3", 4, i * 4096 + 100);
    }
    return arg;
}
static void cut_text(void) {
    catch_faults();
    code_fd = open("code", O_RDWR | O_CREAT | O_TRUNC, 0700);
    begin(cut);
    while (going()) {
        unsigned char *p = mmap(NULL, 65536, PROT_READ | PROT_EXEC, MAP_PRIVATE, code_fd, 0);
        if (p == MAP_FAILED) continue;
        for (int i = 0; i < 16; i++) {
            long r;
            got = 0;
            if (!sigsetjmp(back, 1)) __asm__ volatile("call *%1" : "=a"(r) : "r"(p + i * 4096 + 100), "a"(SYS_getppid) : "rcx", "r11", "memory");
        }
        munmap(p, 65536);
    }
    end("text that is cut off while it is patched");
}
/* Rights that come and go while the page is used. */
static volatile char *shared_page;
static void *flip_rights(void *arg) {
    while (!over) {
        mprotect((void *)(uintptr_t)shared_page, 65536, PROT_NONE);
        mprotect((void *)(uintptr_t)shared_page, 65536, PROT_READ | PROT_WRITE);
        madvise((void *)(uintptr_t)shared_page, 65536, MADV_DONTNEED);
    }
    return arg;
}
static void page_rights(void) {
    catch_faults();
    shared_page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    begin(flip_rights);
    while (going())
        for (int i = 0; i < 16; i++) {
            got = 0;
            if (!sigsetjmp(back, 1)) shared_page[i * 4096]++;
        }
    end("a page whose rights change while it is used");
}
/* What exec(2) hands to the next monitor: another process of the guest looks for it among its descriptors, and writes. */
static pid_t volatile child;
static void *rewrite(void *arg) {
    char name[64], link[128];
    static char none[1024];
    while (!over) {
        pid_t pid = child;
        for (int fd = 3; pid > 0 && fd < 12; fd++) {
            snprintf(name, sizeof name, "/proc/%d/fd/%d", pid, fd);
            ssize_t n = readlink(name, link, sizeof link - 1);
            if (n <= 0 || !memmem(link, (size_t)n, "torov-exec", 10)) continue;
            int f = open(name, O_RDWR);
            if (f < 0) continue;
            pwrite(f, none, sizeof none, 40); /* actions: allow all */
            close(f);
        }
    }
    return arg;
}
static void asks_2(void) { _exit(SC(SYS_getuid) == -EACCES ? 0 : 7); }
static void exec_spec(void) {
    begin(rewrite);
    static char *const words[] = {"races", "asks_2", NULL};
    while (going()) {
        int status = 0;
        pid_t pid = fork();
        if (!pid) { execv("/proc/self/exe", words); _exit(9); }
        child = pid;
        waitpid(pid, &status, 0);
        child = 0;
        hits += WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    end("what exec hands over");
}
/* Frames and states that change while the monitor reads them. */
static ucontext_t *volatile frame;
static void *flip_frame(void *arg) {
    while (!over) {
        ucontext_t *u = frame;
        if (!u) continue;
        u->uc_mcontext.gregs[REG_CSGSFS] = 0x0018000000000010; NOW;
        u->uc_mcontext.gregs[REG_EFL] = 0x23202; NOW;
        u->uc_mcontext.gregs[REG_CSGSFS] = 0x002b000000000033; NOW;
        u->uc_mcontext.gregs[REG_EFL] = 0x202; NOW;
        char *fpu = (char *)u->uc_mcontext.fpregs;
        if (!fpu) continue;
        *(volatile unsigned *)(fpu + 464 + 4) ^= 0xffff0000; NOW;
        *(volatile unsigned *)(fpu + 464 + 16) ^= 0xffff0000; NOW;
        *(volatile unsigned *)(fpu + 464 + 4) ^= 0xffff0000; NOW;
        *(volatile unsigned *)(fpu + 464 + 16) ^= 0xffff0000; NOW;
    }
    return arg;
}
static void in_handler(int sig, siginfo_t *info, void *u) { (void)sig; (void)info; frame = u; }
static void frames(void) {
    static char stack[131072];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack}; /* the frame's memory stays */
    struct sigaction act = {.sa_sigaction = in_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alt, NULL);
    sigaction(SIGUSR1, &act, NULL);
    begin(flip_frame);
    while (going()) {
        raise(SIGUSR1);
        unsigned short cs;
        unsigned long flags;
        __asm__ volatile("mov %%cs, %0; pushf; pop %1" : "=r"(cs), "=r"(flags));
        if ((cs & 3) != 3 || flags & 0x3000) hits++;
    }
    end("a signal's frame");
}
/* Sets of descriptors that change while the call looks at them. */
static char set[4096] __attribute__((aligned(8)));
static struct pollfd fds[2];
static void *flip_sets(void *arg) {
    int n = hidden_first() + 1;
    while (!over) {
        set[n / 8] = (char)(1 << n % 8); NOW;
        fds[1].fd = n; NOW;
        set[n / 8] = 0; NOW;
        fds[1].fd = -1; NOW;
    }
    return arg;
}
static void descriptor_sets(void) {
    struct timeval none = {0};
    begin(flip_sets);
    while (going()) {
        SC(SYS_select, hidden_first() + 2, 0, set, 0, &none);
        fds[0].fd = -1;
        SC(SYS_poll, fds, 2, 0);
    }
    end("sets of descriptors, which tell nothing"); /* but the monitor must go on */
}
/* What getdents(2) wrote is read again by the monitor, to leave out its own. */
static char entries[8192];
static void *flip_entries(void *arg) {
    while (!over)
        for (size_t i = 16; i < sizeof entries; i += 8) *(volatile unsigned short *)(entries + i) = (unsigned short)(i * 7919);
    return arg;
}
static void directory_entries(void) {
    int d = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    begin(flip_entries);
    while (going()) {
        lseek(d, 0, SEEK_SET);
        SC(SYS_getdents64, d, entries, sizeof entries);
        SC(SYS_getdents, d, entries, sizeof entries);
    }
    end("entries of a directory");
}
/* Arguments of exec that change: none may be longer than what was measured. */
static char word[4096], *list[64];
static void *flip_words(void *arg) {
    while (!over) {
        memset(word, 'x', sizeof word - 1);
        word[2] = 0; NOW;
        for (int i = 0; i < 63; i++) list[i] = word + i;
        list[1] = NULL; NOW;
        list[5] = target(); NOW;
    }
    return arg;
}
static void exec_words(void) {
    begin(flip_words);
    while (going()) SC(SYS_execve, "/nonexistent", list, list), SC(SYS_execve, "/proc/self/mounts", list, list);
    end("the words of exec");
}

MAIN(ATTACK(iovec_base), ATTACK(message_header), ATTACK(control_data), ATTACK(path_string), ATTACK(path_link), ATTACK(open_numbers), ATTACK(vcpu_numbers),
     ATTACK(directory), ATTACK(cut_text), ATTACK(page_rights), ATTACK(exec_spec), ATTACK(asks_2), ATTACK(frames), ATTACK(descriptor_sets),
     ATTACK(directory_entries), ATTACK(exec_words))
