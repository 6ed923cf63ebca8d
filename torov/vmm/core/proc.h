/* /proc/PID of the guest itself: proc.c finds out that it is asked for, proc_text.c says what is in it. */
#ifndef TV_PROC_H
#define TV_PROC_H
#include "tv.h"

struct proc_text { char *p; size_t n, cap; bool failed; };
typedef void (*proc_write)(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of);
struct proc_file { const char *name; proc_write write; bool others; }; /* write NULL: refused; others: of every process */
extern const struct proc_file proc_files[]; /* the first: maps */
void proc_add(struct proc_text *t, const void *p, size_t n);
#endif
