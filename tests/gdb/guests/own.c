/* Connects to its own debugger, by itself and by what it starts, at each address it is given, and says who was answered. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char stack[65536];

static int ask(void *address) {
    struct sockaddr_un path = {AF_UNIX, ""};
    struct sockaddr_in inet = {AF_INET, htons(atoi(address)), {htonl(INADDR_LOOPBACK)}, ""};
    strcpy(path.sun_path, address);
    int local = *(char *)address == '/', fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    if (connect(fd, local ? (void *)&path : (void *)&inet, local ? sizeof path : sizeof inet)) return 2;
    char text[400] = "$qSupported#37";
    struct pollfd wait = {fd, POLLIN, 0};
    send(fd, text, strlen(text), MSG_NOSIGNAL);
    return poll(&wait, 1, 10000) == 1 && recv(fd, text, sizeof text, 0) > 0;
}

static void say(const char *who, int pid) {
    int status = -1;
    waitpid(pid, &status, __WALL);
    printf("%s %s\n", who, status == 0 ? "refused" : status == 256 ? "answered" : "failed");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc == 3) return ask(argv[2]); /* what was executed */
    int pid = fork();
    char *address = argv[1];
    if (!pid) _exit(ask(address));
    say("fork", pid);
    pid = fork();
    if (!pid) {
        execl("/proc/self/exe", argv[0], "x", address, (char *)0);
        _exit(3);
    }
    say("exec", pid);
    say("vfork", clone(ask, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, address));
    say("clone", clone(ask, stack + sizeof stack, CLONE_VM | SIGCHLD, address));
    printf("itself %s\n", ask(address) ? "answered" : "refused");
    fflush(stdout);
    if (!fork()) { /* nobody's child */
        setsid();
        if (!fork()) _exit(printf("orphan %s\n", ask(address) ? "answered" : "refused") < 0 || fflush(stdout));
        _exit(0);
    }
    wait(0);
    pause();
}
