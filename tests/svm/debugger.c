/* The core under a debugger, by its own messages (debug.h): a breakpoint, steps, a system call as one step, a watchpoint, a pause, a signal. */
#include "debug.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct packet { struct debug_msg m; uint8_t data[DEBUG_DATA]; };
static struct packet got;
static int sock = -1, tid, pid;
static uint32_t seq;
static char why[200];

static bool fail(const char *what, uint64_t value, uint64_t expected) {
    if (!*why) snprintf(why, sizeof why, "%s: %lx, expected %lx", what, value, expected);
    return false;
}

static struct packet early; /* an event that came before the answer to what let it happen; op 0: none */

static bool receive(int from, bool answer) { /* an answer, or an event */
    if (!answer && early.m.op) { got = early; early.m.op = 0; return true; }
    for (;;) {
        if (recv(from, &got, sizeof got, 0) < (ssize_t)sizeof got.m) {
            got.m.a = 0;
            return (answer && early.m.op == DEBUG_END) || fail("end of the socket", got.m.op, 0); /* see debug.h */
        }
        if ((got.m.op >= DEBUG_READ) == answer) return true;
        early = got;
    }
}

static bool ask(uint32_t op, uint64_t a, uint64_t b, uint64_t c, const void *data, size_t size) {
    struct packet out = {.m = {.op = op, .seq = ++seq, .pid = pid, .tid = tid, .a = a, .b = b, .c = c}};
    if (size) memcpy(out.data, data, size);
    if (send(sock, &out, sizeof out.m + size, MSG_NOSIGNAL) < 0) return fail("send", (uint64_t)errno, 0);
    return receive(sock, true);
}

static bool go(uint32_t step, int signal) {
    struct debug_go how = {.pid = -1, .tid = -1, .step = step, .signal = signal};
    return ask(DEBUG_RESUME, 0, 0, 0, &how, sizeof how);
}

static bool stops(uint32_t step, int signal, uint64_t cause, uint64_t rip) {
    struct debug_regs r;
    if (!go(step, signal) || !receive(sock, false)) return false;
    if (got.m.op != DEBUG_STOP || got.m.a != cause) return fail("event", (uint64_t)got.m.op << 32 | got.m.a, cause);
    if (!rip) return true;
    if (!ask(DEBUG_PAUSE, 0, 0, 0, NULL, 0) || !ask(DEBUG_GETREGS, 0, 0, 0, NULL, 0)) return false; /* it was told on the way to a stop */
    if (got.m.a) return fail("registers", got.m.a, 0);
    memcpy(&r, got.data, sizeof r);
    return r.regs.rip == rip || fail("rip", r.regs.rip, rip);
}

static bool shows_syscall(uint64_t at) {
    if (!ask(DEBUG_READ, at, 2, 0, NULL, 0)) return false;
    return (got.data[0] == 0x0f && got.data[1] == 0x05) || fail("bytes", (uint64_t)got.data[0] << 8 | got.data[1], 0x0f05);
}

/* hello.S: instructions of 5, 5, 7, 5, 2, 5, 5 and 2 bytes; the fifth and the last are system calls. */
static bool walk(uint64_t at, uint64_t sp) {
    bool ok = ask(DEBUG_BREAK, at + 5, 1, 0, NULL, 0) && stops(DEBUG_RUN, 0, DEBUG_TRAP, at + 5) && ask(DEBUG_BREAK, at + 5, 0, 0, NULL, 0) &&
        stops(DEBUG_STEP, 0, DEBUG_STEPPED, at + 10) && stops(DEBUG_STEP, 0, DEBUG_STEPPED, at + 17) &&
        stops(DEBUG_STEP, 0, DEBUG_STEPPED, at + 22) && shows_syscall(at + 22) && stops(DEBUG_STEP, 0, DEBUG_STEPPED, at + 24);
    struct debug_regs r;
    memcpy(&r, got.data, sizeof r);
    if (ok && r.regs.rax != 6) return fail("rax", r.regs.rax, 6);
    return ok && stops(DEBUG_STEP, 0, DEBUG_STEPPED, at + 29) && ask(DEBUG_BREAK, at + 34, 1, 0, NULL, 0) &&
        stops(DEBUG_RUN, 0, DEBUG_TRAP, at + 34) && shows_syscall(at + 34) && ask(DEBUG_BREAK, at + 34, 0, 0, NULL, 0) && go(DEBUG_RUN, 0);
}

static bool watch(uint64_t at, uint64_t sp) {
    if (!ask(DEBUG_WATCH, sp - 8, 8, DEBUG_WATCH_WRITE, NULL, 0) || got.m.a) return fail("watch", got.m.a, 0);
    if (!stops(DEBUG_RUN, 0, DEBUG_WATCHED, 0)) return false;
    if (got.m.c != sp - 8) return fail("watched", got.m.c, sp - 8);
    return ask(DEBUG_PAUSE, 0, 0, 0, NULL, 0) &&
        ask(DEBUG_WATCH, sp - 8, 8, DEBUG_WATCH_WRITE + 8, NULL, 0) && go(DEBUG_RUN, 0);
}

static bool interrupt(uint64_t at, uint64_t sp) { /* a loop, until SIGALRM */
    if (!go(DEBUG_RUN, 0)) return false;
    usleep(20000);
    if (!ask(DEBUG_PAUSE, 0, 0, 0, NULL, 0) || got.m.a) return fail("pause", got.m.a, 0);
    if (!ask(DEBUG_GETREGS, 0, 0, 0, NULL, 0) || got.m.a) return fail("registers", got.m.a, 0);
    return stops(DEBUG_RUN, 0, DEBUG_SIGNAL, 0) && ask(DEBUG_PAUSE, 0, 0, 0, NULL, 0) && go(DEBUG_RUN, SIGALRM);
}

static const struct { const char *name, *program, *arg; bool (*debug)(uint64_t at, uint64_t sp); uint64_t kind, status; } cases[] = {
    {"debugger: steps, patched", "hello-asm", NULL, walk, TV_EXITED, 7},
    {"debugger: steps, not patched", "hello-late", NULL, walk, TV_EXITED, 7},
    {"debugger: watchpoint", "hello-musl", NULL, watch, TV_EXITED, 3},
    {"debugger: pause and signal", "cases", "alarm", interrupt, TV_SIGNALLED, SIGALRM},
};

static void guest(const char *directory, const char *program, const char *arg, unsigned flags, int debug) {
    char path[400], image[420];
    struct tv_stop stop;
    const char *argv[] = {program, arg, NULL}, *envp[] = {NULL};
    snprintf(path, sizeof path, "%s/%s", directory, program);
    snprintf(image, sizeof image, "%s.img", path);
    struct tv_spec spec = {.image_fd = open(image, O_RDONLY | O_CLOEXEC), .exe = path, .execfn = path, .argv = argv, .envp = envp, .flags = flags,
                           .debug_fd = debug};
    struct tv_vm *vm = tv_create(&spec, &stop);
    while (vm && tv_run(vm, &stop) == TV_NOTICE) { }
    _exit(vm ? 0 : 1);
}

static bool one(size_t i, const char *directory, unsigned flags) {
    int pair[2];
    struct debug_regs r;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&got, sizeof got};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) return fail("socketpair", (uint64_t)errno, 0);
    pid_t child = fork();
    if (!child) {
        alarm(20);
        close(pair[0]);
        dup2(open("/dev/null", O_WRONLY), 1);
        guest(directory, cases[i].program, cases[i].arg, flags, pair[1]);
    }
    close(pair[1]);
    bool ok = recvmsg(pair[0], &m, 0) > 0 && CMSG_FIRSTHDR(&m) && got.m.op == DEBUG_HELLO;
    if (!ok) fail("hello", got.m.op, DEBUG_HELLO);
    if (ok) memcpy(&sock, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof sock);
    pid = got.m.pid, tid = got.m.tid;
    ok = ok && ask(DEBUG_ENGAGE, 0, 0, 0, NULL, 0) && ask(DEBUG_PAUSE, 0, 0, 0, NULL, 0) && ask(DEBUG_GETREGS, 0, 0, 0, NULL, 0);
    memcpy(&r, got.data, sizeof r);
    ok = ok && cases[i].debug(r.regs.rip, r.regs.rsp) && receive(sock, false);
    if (ok && (got.m.op != DEBUG_END || got.m.a != cases[i].kind || got.m.b != cases[i].status)) ok = fail("end", got.m.a << 32 | got.m.b, cases[i].status);
    if (!ok) kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) { }
    close(pair[0]);
    if (sock >= 0) close(sock);
    sock = -1;
    return ok;
}

void debugger(const char *directory, unsigned flags, int *passed, int *failed) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        *why = 0;
        early.m.op = 0;
        bool ok = one(i, directory, flags);
        if (ok) ++*passed, printf("ok %s\n", cases[i].name);
        else ++*failed, printf("not ok %s: %s\n", cases[i].name, why);
        fflush(stdout);
    }
}
