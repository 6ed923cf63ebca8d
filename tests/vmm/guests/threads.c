/* Threads: a line for each fact that Linux and POSIX promise, one case a run. */
#include "guest.h"
#include "cases.h"
#include <dirent.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MAX 1024
static pthread_t threads[MAX];
static void start(pthread_t *t, void *(*f)(void *), void *arg, size_t stack) {
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, stack ? stack : 65536);
    errno = pthread_create(t, &a, f, arg);
    need(!errno, "pthread_create");
    pthread_attr_destroy(&a);
}
static void start_all(int n, void *(*f)(void *)) { for (long i = 0; i < n; i++) start(&threads[i], f, (void *)i, 0); }
static long join_all(int n) {
    long total = 0;
    for (int i = 0; i < n; i++) { void *v; need(!pthread_join(threads[i], &v), "join"); total += (long)v; }
    return total;
}
static int tasks(void) {
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    need(d, "task");
    for (struct dirent *e; (e = readdir(d)); ) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}
static long rss_pages(void) {
    long size, rss;
    FILE *f = fopen("/proc/self/statm", "r");
    need(f && fscanf(f, "%ld %ld", &size, &rss) == 2, "statm");
    fclose(f);
    return rss;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter;
static int gate;
static _Thread_local long own = 41;

static void *wait_gate(void *arg) {
    pthread_mutex_lock(&lock);
    own += (long)arg;
    counter++;
    pthread_cond_broadcast(&cond);
    while (!gate) pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    return (void *)(own == 41 + (long)arg ? (long)arg : -1000000);
}
static void open_gate(int n) {
    pthread_mutex_lock(&lock);
    while (counter < n) pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
}
static void thousand(void) {
    int before = tasks();
    start_all(1000, wait_gate);
    open_gate(1000);
    printf("tasks %d\n", tasks() - before);
    pthread_mutex_lock(&lock);
    gate = 1;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
    printf("sum %ld\n", join_all(1000));
    for (int i = 0; i < 200 && tasks() > before; i++) rest_ms(10);
    printf("tasks %d\n", tasks() - before);
}

static void *give_back(void *arg) { own++; return (void *)((long)arg + own - 42); }
static void in_turn(void) {
    long total = 0, before = 0;
    for (long i = 0; i < 10000; i++) {
        void *v;
        start(&threads[0], give_back, (void *)i, 0);
        need(!pthread_join(threads[0], &v), "join");
        total += (long)v;
        if (i == 1000) before = rss_pages();
    }
    printf("sum %ld grown %d\n", total, rss_pages() - before > 512);
}
static void *leave(void *arg) { __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST); return arg; }
static void detached(void) {
    int before = tasks();
    for (int i = 0; i < 3000; i++) {
        while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < i - 50) sched_yield();
        start(&threads[0], leave, NULL, 0);
        pthread_detach(threads[0]);
    }
    while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < 3000) sched_yield();
    for (int i = 0; i < 200 && tasks() > before; i++) rest_ms(10);
    printf("tasks %d\n", tasks() - before);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static sem_t sem;
static long a_value, b_value, torn, spun, through, serials;
static void *lock_user(void *arg) {
    for (int i = 0; i < 3000; i++) {
        pthread_mutex_lock(&lock); counter++; pthread_mutex_unlock(&lock);
        if ((i + (long)arg) % 4 == 0) { pthread_rwlock_wrlock(&rw); a_value++; b_value++; pthread_rwlock_unlock(&rw); }
        else { pthread_rwlock_rdlock(&rw); if (a_value != b_value) torn++; pthread_rwlock_unlock(&rw); }
        sem_wait(&sem);
        __atomic_fetch_add(&through, 1, __ATOMIC_RELAXED);
        sem_post(&sem);
        if (i % 300 == 0 && pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) __atomic_fetch_add(&serials, 1, __ATOMIC_RELAXED);
        if (i % 16 == 0) { pthread_spin_lock(&spin); spun++; pthread_spin_unlock(&spin); }
    }
    return NULL;
}
static void locks(void) {
    pthread_barrier_init(&barrier, NULL, 8);
    pthread_spin_init(&spin, 0);
    sem_init(&sem, 0, 2);
    start_all(8, lock_user);
    join_all(8);
    printf("%ld %ld %ld torn %ld spin %ld sem %ld serial %ld\n", counter, a_value, b_value, torn, spun, through, serials);
}
static int ring[16], head_at, tail_at, filled;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER;
static void *producer(void *arg) {
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&lock);
        while (filled == 16) pthread_cond_wait(&room, &lock);
        ring[head_at++ & 15] = (int)(long)arg * 5000 + i; filled++;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}
static void *consumer(void *arg) {
    long total = 0;
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&lock);
        while (!filled) pthread_cond_wait(&cond, &lock);
        total += ring[tail_at++ & 15]; filled--;
        pthread_cond_signal(&room);
        pthread_mutex_unlock(&lock);
    }
    return (void *)total;
}
static void queue(void) {
    for (long i = 0; i < 4; i++) { start(&threads[i], producer, (void *)i, 0); start(&threads[4 + i], consumer, NULL, 0); }
    printf("sum %ld\n", join_all(8));
    printf("left %d\n", filled);
}
static void timed(void) {
    struct timespec t;
    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 30000000; if (t.tv_nsec >= 1000000000) { t.tv_nsec -= 1000000000; t.tv_sec++; }
    long from = now_ms();
    printf("cond %d\n", pthread_cond_timedwait(&cond, &lock, &t));
    printf("late %d\n", now_ms() - from >= 29);
    sem_init(&sem, 0, 0);
    printf("sem %d\n", sem_timedwait(&sem, &t));
    printf("%d\n", errno);
    printf("busy %d\n", pthread_mutex_trylock(&lock));
}

static void cleaner(void *arg) { printf("cleanup %s\n", (char *)arg); }
static pthread_key_t key;
static void key_gone(void *v) { printf("key %s\n", (char *)v); }
static int pipes[2];
static void unlock(void *m) { pthread_mutex_unlock(m); }
static void *cancelled(void *arg) {
    char c;
    pthread_setspecific(key, "value");
    pthread_cleanup_push(cleaner, "outer");
    pthread_cleanup_push(cleaner, "inner");
    __atomic_store_n(&gate, 1, __ATOMIC_SEQ_CST);
    switch ((long)arg) {
    case 0: if (read(pipes[0], &c, 1)) { } break;
    case 1: pause(); break;
    case 2: pthread_mutex_lock(&lock); pthread_cleanup_push(unlock, &lock);
            for (;;) pthread_cond_wait(&cond, &lock);
            pthread_cleanup_pop(1); break;
    case 3: pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL); for (;;) { } break;
    case 4: sleep(30); break;
    }
    pthread_cleanup_pop(1);
    pthread_cleanup_pop(1);
    return arg;
}
static void cancel(void) {
    need(!pipe(pipes), "pipe");
    pthread_key_create(&key, key_gone);
    for (long i = 0; i < 5; i++) {
        void *v;
        gate = 0;
        start(&threads[0], cancelled, (void *)i, 0);
        while (!__atomic_load_n(&gate, __ATOMIC_SEQ_CST)) sched_yield();
        rest_ms(i % 2 ? 20 : 0);
        int r = pthread_cancel(threads[0]);
        pthread_join(threads[0], &v);
        printf("%ld cancel %d\n", i, r);
        printf("%d\n", v == PTHREAD_CANCELED);
    }
    printf("lock %d\n", pthread_mutex_trylock(&lock));
}

static pthread_mutex_t strong;
static void *die_holding(void *arg) { pthread_mutex_lock(&strong); rest_ms((long)arg); return NULL; }
static void robust(void) {
    pthread_mutexattr_t a;
    for (int kind = 0; kind < 4; kind++) {
        pthread_mutexattr_init(&a);
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_setpshared(&a, kind & 1);
        if (kind & 2) pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
        printf("init %d\n", pthread_mutex_init(&strong, &a));
        start(&threads[0], die_holding, 0, 0);
        pthread_join(threads[0], NULL);
        printf("dead %d\n", pthread_mutex_lock(&strong));
        printf("consistent %d\n", pthread_mutex_consistent(&strong));
        printf("unlock %d\n", pthread_mutex_unlock(&strong));
        start(&threads[0], die_holding, (void *)30, 0); /* while we wait for it */
        rest_ms(10);
        printf("waited %d\n", pthread_mutex_lock(&strong));
        pthread_mutex_unlock(&strong);
        printf("lost %d\n", pthread_mutex_lock(&strong));
        pthread_join(threads[0], NULL);
    }
}
static void robust_processes(void) {
    pthread_mutexattr_t a;
    pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(m, &a);
    static const char *ends[] = {"_exit", "kill", "exit of a process that waits"};
    for (int i = 0; i < 3; i++) {
        pid_t p = fork();
        if (!p) {
            pthread_mutex_lock(m);
            if (i == 2) rest_ms(500);
            if (i == 1) raise(SIGKILL);
            _exit(0);
        }
        if (i == 2) rest_ms(250); /* a busy machine may take its time to start the child */
        else waitpid(p, NULL, 0);
        printf("%s: %d\n", ends[i], pthread_mutex_lock(m));
        printf("consistent %d\n", pthread_mutex_consistent(m));
        printf("unlock %d\n", pthread_mutex_unlock(m));
        if (i == 2) waitpid(p, NULL, 0);
    }
}
static void inherit(void) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    printf("%d\n", pthread_mutex_init(&lock, &a));
    pthread_barrier_init(&barrier, NULL, 8);
    pthread_spin_init(&spin, 0);
    sem_init(&sem, 0, 2);
    start_all(8, lock_user);
    join_all(8);
    printf("%ld\n", counter);
}

static void *say_late(void *arg) { rest_ms(30); puts("still here"); return arg; }
static void main_leaves(void) { start(&threads[0], say_late, NULL, 0); pthread_exit(NULL); }
static void *call_exit(void *arg) { (void)arg; exit(7); }
static void exit_elsewhere(void) { start(&threads[0], call_exit, NULL, 0); for (;;) pause(); }
static void *block(void *arg) {
    char c;
    struct timespec t = {100, 0};
    __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    switch ((long)arg % 6) {
    case 0: if (read(pipes[0], &c, 1)) { } break;
    case 1: SC(SYS_futex, &gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); break;
    case 2: nanosleep(&t, NULL); break;
    case 3: for (;;) { } break;
    case 4: waitpid(-1, NULL, 0); break;
    case 5: { sigset_t s; sigfillset(&s); pthread_sigmask(SIG_BLOCK, &s, NULL); for (;;) sched_yield(); }
    }
    return NULL;
}
static void exit_all(void) {
    need(!pipe(pipes), "pipe");
    if (!fork()) { rest_ms(300); _exit(0); }
    start_all(12, block);
    while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < 12) sched_yield();
    rest_ms(30);
    exit(5);
}
static void kill_all(void) {
    need(!pipe(pipes), "pipe");
    start_all(12, block);
    while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < 12) sched_yield();
    rest_ms(30);
    *(volatile int *)8 = 1;
}

#define PAGES 24
static void *mapper(void *arg) {
    unsigned seed = (unsigned)(long)arg * 2654435761u + 1;
    long bad = 0;
    for (int i = 0; i < 400; i++) {
        unsigned pages = 1 + (seed = seed * 1103515245 + 12345) / 65536 % PAGES;
        uint32_t *p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return (void *)1000000;
        for (unsigned k = 0; k < pages; k++) { bad += p[k * 1024] != 0; p[k * 1024 + 7] = (uint32_t)((long)arg << 16 | k); }
        mprotect(p, pages * 4096, PROT_READ);
        for (unsigned k = 0; k < pages; k++) bad += p[k * 1024 + 7] != (uint32_t)((long)arg << 16 | k);
        if (i % 3 == 0) {
            mprotect(p, 4096, PROT_READ | PROT_WRITE); p[3] = 5; bad += p[3] != 5;
            madvise(p, 4096, MADV_DONTNEED); bad += p[7] != 0;
        }
        if (i % 5 == 0 && pages > 2) { munmap(p + 1024, 4096); munmap(p, 4096); munmap(p + 2048, (pages - 2) * 4096); continue; }
        if (i % 7 == 0 && i % 3) {
            uint32_t *q = mremap(p, pages * 4096, (pages + 3) * 4096, MREMAP_MAYMOVE);
            bad += q == MAP_FAILED || q[(pages - 1) * 1024 + 7] != (uint32_t)((long)arg << 16 | (pages - 1));
            p = q; pages += 3;
        }
        munmap(p, pages * 4096);
    }
    return (void *)bad;
}
static void maps(void) { start_all(8, mapper); printf("bad %ld\n", join_all(8)); }
static uint8_t *shared_pages;
static void *toucher(void *arg) {
    for (long i = 0; i < 2048; i++) __atomic_fetch_add(&shared_pages[(i * 37 % 2048) * 4096], 1, __ATOMIC_RELAXED);
    return arg;
}
static void same_faults(void) { /* all threads fault on the same pages at once */
    long wrong = 0;
    for (int round = 0; round < 3; round++) {
        shared_pages = mmap(NULL, 2048 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        start_all(8, toucher);
        join_all(8);
        for (long i = 0; i < 2048; i++) wrong += shared_pages[i * 4096] != 8;
        munmap(shared_pages, 2048 * 4096);
    }
    printf("wrong %ld\n", wrong);
}
static _Thread_local sigjmp_buf *back;
static void segv(int sig) { (void)sig; siglongjmp(*back, 1); }
static void *protector(void *arg) {
    sigjmp_buf here;
    volatile long caught = 0, written = 0;
    back = &here;
    uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)arg;
    for (volatile int i = 0; i < 300; i++) {
        mprotect(p, 4096, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE);
        if (sigsetjmp(here, 1)) caught++;
        else { *(volatile uint8_t *)p = 1; written++; }
    }
    return (void *)(caught * 1000 + written);
}
static void own_faults(void) {
    struct sigaction a = {.sa_handler = segv, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &a, NULL);
    start_all(4, protector);
    printf("%ld\n", join_all(4));
}

static int word_a, word_b = 1;
static void *requeued(void *arg) {
    __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    long r = SC(SYS_futex, &word_a, FUTEX_WAIT, 0, NULL, NULL, 0);
    (void)arg;
    return (void *)r;
}
static void *bit_waiter(void *arg) {
    __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    SC(SYS_futex, &word_a, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1 << (long)arg);
    return arg;
}
static void futexes(void) {
    struct timespec t = {0, 20000000};
    say(SC(SYS_futex, &word_a, FUTEX_WAIT, 1, NULL, NULL, 0), "other value");
    say(SC(SYS_futex, &word_a, FUTEX_WAIT, 0, &t, NULL, 0), "timeout");
    say(SC(SYS_futex, &word_a, FUTEX_WAKE, 9, NULL, NULL, 0), "nobody");
    say(SC(SYS_futex, (char *)&word_a + 1, FUTEX_WAKE, 9, NULL, NULL, 0), "unaligned");
    say(SC(SYS_futex, 8, FUTEX_WAIT, 0, NULL, NULL, 0), "no memory");
    say(SC(SYS_futex, &word_a, 77, 0, NULL, NULL, 0), "no operation");
    t.tv_nsec = -1;
    say(SC(SYS_futex, &word_a, FUTEX_WAIT, 0, &t, NULL, 0), "bad time");
    start_all(6, requeued);
    while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < 6) sched_yield();
    rest_ms(50);
    say(SC(SYS_futex, &word_a, FUTEX_CMP_REQUEUE, 1, 4, &word_b, 7), "cmp requeue, other value");
    say(SC(SYS_futex, &word_a, FUTEX_CMP_REQUEUE, 1, 4, &word_b, 0), "cmp requeue");
    say(SC(SYS_futex, &word_b, FUTEX_WAKE, 100, NULL, NULL, 0), "wake b");
    say(SC(SYS_futex, &word_a, FUTEX_REQUEUE, 0, 4, &word_b, 0), "requeue");
    say(SC(SYS_futex, &word_a, FUTEX_WAKE, 100, NULL, NULL, 0), "wake a");
    word_b = 3; /* OP_ADD 2, compare the old value with 3 */
    say(SC(SYS_futex, &word_a, FUTEX_WAKE_OP, 1, 9, &word_b, FUTEX_OP(FUTEX_OP_ADD, 2, FUTEX_OP_CMP_EQ, 3)), "wake op");
    printf("sum %ld\n", join_all(6));
    printf("%d\n", word_b);
    counter = 0;
    start_all(3, bit_waiter);
    while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < 3) sched_yield();
    rest_ms(50);
    say(SC(SYS_futex, &word_a, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 8), "no bit");
    say(SC(SYS_futex, &word_a, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 5), "two bits");
    say(SC(SYS_futex, &word_a, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 0), "no bitset");
    say(SC(SYS_futex, &word_a, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0), "the third");
    join_all(3);
    int pi = 0;
    say(SC(SYS_futex, &pi, FUTEX_LOCK_PI, 0, NULL, NULL, 0), "lock pi");
    printf("%d\n", pi == gettid());
    say(SC(SYS_futex, &pi, FUTEX_LOCK_PI, 0, NULL, NULL, 0), "again");
    say(SC(SYS_futex, &pi, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), "unlock pi");
    say(SC(SYS_futex, &pi, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), "not ours");
    say(SC(SYS_futex, &pi, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0), "try");
}

static void *identity(void *arg) {
    char name[16], path[64], text[32] = {0};
    snprintf(name, sizeof name, "worker-%ld", (long)arg);
    int self = (int)SC(SYS_gettid);
    printf("%d %d\n", getpid() == self, self > 0);
    printf("%d\n", pthread_setname_np(pthread_self(), name));
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", self);
    FILE *f = fopen(path, "r");
    if (f && fgets(text, sizeof text, f)) printf("%s", text);
    if (f) fclose(f);
    prctl(PR_GET_NAME, text);
    puts(text);
    printf("%d\n", pthread_setname_np(pthread_self(), "a name too long for it"));
    say(sched_yield(), "yield");
    int *address = NULL;
    say(prctl(PR_GET_TID_ADDRESS, &address), "tid address");
    printf("%d\n", address && *address == self);
    say(SC(SYS_tgkill, getpid(), self, 0), "exists");
    say(SC(SYS_tgkill, self, self, 0), "not a group");
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    say(pthread_setaffinity_np(pthread_self(), sizeof set, &set), "affinity");
    pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    printf("%d\n", CPU_COUNT(&set));
    return NULL;
}
static void identities(void) {
    printf("%d\n", getpid() == gettid());
    pthread_setname_np(pthread_self(), "the-first");
    for (long i = 0; i < 2; i++) { start(&threads[0], identity, (void *)i, 0); pthread_join(threads[0], NULL); }
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    puts(name);
    say(SC(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0), "register");
    say(SC(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), "membarrier");
}
static void *compute(void *arg) { /* SSE, AVX where there is AVX, and x87, preempted many times */
    long wrong = 0;
    for (int round = 0; round < 200; round++) {
        double x = (double)((long)arg + 1), in[2] = {x, x + 0.5}, out[2];
        long double l = 1.0L / (long double)((long)arg + 3), kept;
        __asm__ volatile("movupd %3, %%xmm13\n fldt %4\n mov $60000, %%ecx\n 1: dec %%ecx\n jnz 1b\n movupd %%xmm13, %0\n fstpt %1\n"
                         : "=m"(out), "=m"(kept), "+r"(wrong) : "m"(in), "m"(l) : "ecx", "xmm13");
        wrong += out[0] != in[0] || out[1] != in[1] || kept != l;
        if (round % 8 == 0) sched_yield();
    }
    return (void *)wrong;
}
static void floats(void) { start_all(16, compute); printf("wrong %ld\n", join_all(16)); }
static void *other_control(void *arg) {
    uint16_t cw = 0; uint32_t mx = 0;
    __asm__ volatile("fnstcw %0\n stmxcsr %1" : "=m"(cw), "=m"(mx));
    printf("%x %x\n", cw, mx & ~0x3fu);
    return arg;
}
static void controls(void) { /* clone() hands its caller's FPU control words on */
    uint16_t cw = 0x077f; uint32_t mx = 0x3f80;
    __asm__ volatile("fldcw %0\n ldmxcsr %1" : : "m"(cw), "m"(mx));
    start(&threads[0], other_control, NULL, 0);
    pthread_join(threads[0], NULL);
}
static void *deep(void *arg) { volatile char big[200000]; memset((void *)big, 1, sizeof big); return (void *)((long)arg + big[199999]); }
static void stacks(void) {
    for (long i = 0; i < 50; i++) start(&threads[i], deep, (void *)i, 512 << 10);
    printf("%ld\n", join_all(50));
}
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void first(void) { counter++; rest_ms(5); }
static void *use_once(void *arg) { pthread_once(&once, first); return (void *)(arg ? counter : counter); }
static void onces(void) { start_all(20, use_once); printf("%ld\n", join_all(20)); }
static void *failing_clone(void *arg) {
    say(SC(SYS_clone, CLONE_THREAD, 0, 0, 0, 0), "thread without sighand");
    say(SC(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0), "without vm");
    say(SC(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0), "sighand without vm");
    say(SC(SYS_clone3, 0, 0), "clone3 without a size");
    say(SC(SYS_clone3, 0, 88), "clone3 of nothing");
    say(SC(SYS_clone3, 0, 100000), "clone3 too large");
    say(SC(SYS_set_robust_list, 0, 1), "robust list of another size");
    return arg;
}
static void clones(void) { start(&threads[0], failing_clone, NULL, 0); pthread_join(threads[0], NULL); }
static sem_t changed;
static void *user(void *arg) { sem_wait(&changed); printf("%ld\n", SC(SYS_getuid)); return arg; }
static void credentials(void) { /* of all threads: the C library asks each by a signal of its own */
    pthread_t t[3]; sem_init(&changed, 0, 0);
    for (int k = 0; k < 3; k++) pthread_create(&t[k], NULL, user, NULL);
    printf("%d\n", geteuid() ? setuid(getuid()) : setresuid(1001, 1002, -1));
    for (int k = 0; k < 3; k++) sem_post(&changed);
    for (int k = 0; k < 3; k++) pthread_join(t[k], NULL);
}

int main(int argc, char **argv) {
    static const struct a_case cases[] = {
        CASE(thousand), CASE(in_turn), CASE(detached), CASE(locks), CASE(queue), CASE(timed), CASE(cancel), CASE(robust),
        CASE(robust_processes), CASE(inherit), CASE(main_leaves), CASE(exit_elsewhere), CASE(exit_all), CASE(kill_all), CASE(maps),
        CASE(same_faults), CASE(own_faults), CASE(futexes), CASE(identities), CASE(floats), CASE(controls), CASE(stacks), CASE(onces),
        CASE(clones), CASE(credentials),
    };
    return one_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
