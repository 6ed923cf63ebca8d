/* A program with shared libraries: PIE, libc, a thread-local variable of its own, errno of libc. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static __thread int mine = 11;
static int inner(int n) {
    mine += n;
    errno = n;
    return mine;
}
static void *other(void *arg) {
    inner(5);
    return arg;
}
int main(void) {
    pthread_t t;
    inner(2);
    pthread_create(&t, 0, other, 0);
    pthread_join(t, 0);
    puts("done");
    return atoi("6");
}
