/* The jail around the monitor: jail.c makes its processes, jail_fs.c its tree of files. */
#ifndef TV_JAIL_H
#define TV_JAIL_H
#include "tv.h"

/* 0, or -errno with *what saying which step failed. */
int jail_tree(const struct tv_jail *j, const char **what); /* in the new mount namespace, before the pid namespace has a process */
int jail_proc(const struct tv_jail *j, const char **what); /* in the pid namespace */
void supervise(const struct tv_jail *j, pid_t init, pid_t main, struct tv_stop *end); /* supervise.c */
void limit_watch(int fd); /* limit.c: before anyone else has it */
int limit_over(void);     /* which limit was reached, or 0 */
int jail_write(const char *path, const char *text);
#endif
