/* Runs until somebody says stop: in the guest, or in a call that waits. */
#include <poll.h>
#include <unistd.h>
static volatile int stop;
int main(int argc, char **argv) {
    alarm(60);
    if (write(1, "go\n", 3) != 3) return 1;
    while (!stop)
        if (argc > 1) poll(0, 0, 3000);
    if (write(1, "left\n", 5) != 5) return 1;
    return 2;
}
