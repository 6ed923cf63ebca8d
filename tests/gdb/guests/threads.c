#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static __thread int mine = 5;
static volatile int go, sum;
static pthread_barrier_t bar;
static void reached(int id) { mine += id; __sync_fetch_and_add(&sum, mine); }
static void *worker(void *arg) { int id = (int)(long)arg; for (int i = 0; i < 50; i++) reached(id); pthread_barrier_wait(&bar); while (!go) usleep(1000); return arg; }
static void all_here(void) { }
int main(void) {
    pthread_t t[4];
    pthread_barrier_init(&bar, 0, 5);
    for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, worker, (void *)(i + 1));
    pthread_barrier_wait(&bar);
    all_here();
    go = 1;
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    printf("sum %d\n", sum);
    return 0;
}
