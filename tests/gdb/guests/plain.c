/* Functions, loops, strings, a thread-local variable, system calls. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int counter, other, table[4];
static char text[64];
static __thread int mine = 7;
static int leaf(int x) {
    counter += x;
    return x * 2;
}
static int middle(int x) {
    int twice = leaf(x);
    return twice + 1;
}
static long ask(void) {
    long pid;
    __asm__ volatile("ask_here: syscall" : "=a"(pid) : "a"(110) : "rcx", "r11", "memory");
    return pid;
}
int main(int argc, char **argv) {
    double d = 1.5;
    for (int i = 0; i < 5; i++) {
        int r = middle(i);
        d *= r;
    }
    mine++;
    memset(text, 'x', sizeof text - 1);
    other = table[2];
    counter = 100;
    other = ask() >= 0;
    if (write(1, "out\n", 4) != 4) return 1;
    return counter == 100 && other == 1 && d > 1 ? argc + 2 : 1;
}
