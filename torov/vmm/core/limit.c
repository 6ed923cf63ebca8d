/* Limits that the whole tree of a guest shares: a memfd that every process of it maps. */
#include "tv.h"

int limit_over(int fd) { (void)fd; return 0; }
