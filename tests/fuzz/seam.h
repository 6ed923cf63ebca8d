/* Stands before every source of the core in the fuzzers: each call that the core makes of the host for a guest goes through seam.c.
 * (fork.c goes without: a process that shares its parent's stack must not return through another function.) */
#include "tv.h"

long seam_sys6(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
long seam_host6(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
#define sys6 seam_sys6
#define host6 seam_host6
