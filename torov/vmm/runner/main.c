/* torov-runner FD: what a guest's exec(2) leaves its process to. torov-runner init UID GID ROOTLESS: pid 1 of a jail. Not for people. */
#include <stdlib.h>
#include <string.h>

int tv_runner(int fd);
int tv_init(int uid, int gid, int rootless);

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "init")) return tv_init(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    return argc == 2 ? tv_runner(atoi(argv[1])) : 125;
}
