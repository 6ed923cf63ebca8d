/* The audit log: a process of its own writes the file, so that what the guest's processes hold is a socket, which no name in
 * /proc opens. Lines come whole, in order of arrival, and the file stops growing at a limit. */
#include "text.h"

#include <sys/socket.h>
#include <unistd.h>

#define AUDIT_MOST (256ull << 20)

static void writer(int sock, void *of) {
    static const char full[] = "{\"action\": \"truncated\", \"text\": \"the audit log has reached its limit of 256 MiB\"}\n";
    char line[sizeof(struct line)], answer = 0;
    int file = *(int *)of;
    uint64_t size = 0;
    for (;;) {
        ssize_t n = recv(sock, line, sizeof line, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        if (n == 1) { /* the end of a run: all that came before is in the file */
            side_answer(sock, answer, file);
            continue;
        }
        if (size > AUDIT_MOST) continue;
        if (size + (uint64_t)n > AUDIT_MOST) memcpy(line, full, sizeof full), n = sizeof full - 1;
        size += (uint64_t)n;
        for (ssize_t done = 0; done < n && !answer;) {
            ssize_t w = write(file, line + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR) answer = (char)errno, size = AUDIT_MOST + 1;
            if (w > 0) done += w;
        }
    }
}

int tv_audit_start(int file) { return side_start("torov-audit", &file, 1, writer, &file); }

/* Waits until the file has everything. The file, for who made it, or -1; err: of the first write that failed, or 0. */
int tv_audit_flush(struct tv_vm *vm, int *err) {
    int file = -1, answer = side_ask(vm->keep[KEEP_AUDIT], 0, &file);
    *err = answer < 0 ? EPIPE : answer;
    return answer < 0 ? -1 : file;
}

void audit_send(struct tv_vm *vm, const char *text, size_t n) { sys6(44, (uint64_t)vm->keep[KEEP_AUDIT], (uintptr_t)text, n, MSG_NOSIGNAL, 0, 0); }
