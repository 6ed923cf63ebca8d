/* Threads that write to one page, one of them to the watched word; threads that end while others step; signals meanwhile. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static struct { volatile long watched, other[4]; } page __attribute__((aligned(4096)));
static volatile int ticks;
static void tick(int sig) { ticks++; }
static void mark(int n) { page.watched = n; }
static void *writer(void *arg) {
    long id = (long)arg;
    for (int i = 0; i < 300; i++) {
        page.other[id]++;
        if (id == 2 && i % 100 == 99) mark(i);
    }
    return arg;
}
static void *brief(void *arg) { return arg; }
int main(void) {
    pthread_t t[4], more;
    signal(SIGALRM, tick);
    for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, writer, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    ualarm(2000, 2000);
    for (int i = 0; i < 20; i++) {
        pthread_create(&more, 0, brief, 0);
        pthread_join(more, 0);
    }
    ualarm(0, 0);
    printf("%ld %ld %ld\n", page.watched, page.other[0], page.other[3]);
    return 0;
}
