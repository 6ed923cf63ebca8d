/* torov-runner FD: what a guest's exec(2) leaves its process to. Not for people. */
#include <stdlib.h>

int tv_runner(int fd);

int main(int argc, char **argv) { return argc == 2 ? tv_runner(atoi(argv[1])) : 125; }
