/* Linked into the sanitized python and torov-runner: the options of the sanitizers, since exec(2) gives the runner no environment.
 * REPORTS is where they write, a file for each process; tests/sanitized/run.py looks there. */
#include <pthread.h>
#include <unistd.h>

#define COMMON "log_path=" REPORTS ":exitcode=66:print_stacktrace=1:"

/* SIGSEGV and SIGBUS are the core's, and what exec(2) inherits of them is the guest's. Leaks are looked for where a test asks:
 * Python keeps much until its end on purpose. No quarantine: a fork can find its lock held, and nobody to let go of it (the same as
 * below, but out of reach); what is freed is filled instead. */
const char *__asan_default_options(void) {
    return COMMON "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_abort=0:use_sigaltstack=0:"
                  "leak_check_at_exit=0:allocator_may_return_null=1:quarantine_size_mb=0:thread_local_quarantine_size_kb=0:"
                  "max_free_fill_size=65536:free_fill_byte=221";
}
const char *__ubsan_default_options(void) { return COMMON "halt_on_error=1"; }
const char *__lsan_default_options(void) { return "print_suppressions=0"; }

/* A fork of a process with threads keeps what those threads held, and has no stack of theirs in which a pointer to it could be found. */
static pid_t first;

/* What another thread holds of the allocator at a fork would be held in the child for ever. glibc sees to its own malloc; this is
 * what compiler-rt does at a fork since LLVM 17. The names are sanitizer_common's, in the static library only. */
#ifdef __SANITIZE_ADDRESS__
void _ZN6__lsan18LockThreadRegistryEv(void), _ZN6__lsan20UnlockThreadRegistryEv(void), _ZN6__lsan13LockAllocatorEv(void),
    _ZN6__lsan15UnlockAllocatorEv(void);
static void hold(void) { _ZN6__lsan18LockThreadRegistryEv(), _ZN6__lsan13LockAllocatorEv(); }
static void release(void) { _ZN6__lsan15UnlockAllocatorEv(), _ZN6__lsan20UnlockThreadRegistryEv(); }
#endif

__attribute__((constructor)) static void begin(void) {
    first = getpid();
#ifdef __SANITIZE_ADDRESS__
    pthread_atfork(hold, release, release);
#endif
}
int __lsan_is_turned_off(void) { return getpid() != first; }

/* A guest's fork starts threads in a child of a process with threads: it starts from a state in which no lock is held. */
const char *__tsan_default_options(void) {
    return COMMON "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_abort=0:use_sigaltstack=0:"
                  "halt_on_error=1:die_after_fork=0:history_size=4:second_deadlock_stack=1";
}
