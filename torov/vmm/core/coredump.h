/* A core file on its way: coredump.c says what is in it, corefile.c where it goes. */
#ifndef TV_COREDUMP_H
#define TV_COREDUMP_H
#include "tv.h"

#define CORE_PIECE (64u << 10)

struct core_file {
    int fd;           /* of the file; or of the socket to the process that writes it */
    bool sent;
    int dir;          /* where it is: a directory, or AT_FDCWD */
    char name[256], temporary[64];
    uint64_t at;      /* offset of what comes next */
    uint64_t most;    /* RLIMIT_CORE: what is above is cut off */
    int err;
};
int dump_open(struct tv_vm *vm, struct core_file *f, int pid);
void dump_put(struct core_file *f, const void *data, uint64_t n);
void dump_skip(struct core_file *f, uint64_t n); /* zeros */
int dump_close(struct core_file *f); /* under its name now; or nothing is left, and why */
#endif
