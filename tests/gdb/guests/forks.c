#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <string.h>
static int in_child(int n) { return n + 1; }
static int in_parent(int n) { return n + 2; }
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "again")) { puts("again"); return 4; }
    pid_t pid = argc > 1 && !strcmp(argv[1], "vfork") ? vfork() : fork();
    if (!pid) {
        in_child(1);
        if (argc > 1) { execl(argv[0], argv[0], "again", NULL); _exit(1); }
        _exit(5);
    }
    int status;
    waitpid(pid, &status, 0);
    in_parent(2);
    printf("child %d\n", WEXITSTATUS(status));
    return 0;
}
