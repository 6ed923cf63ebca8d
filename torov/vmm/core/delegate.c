#include "policy.h"

int64_t delegate(struct tv_vm *vm, const struct tv_call *c, int nr, uint64_t a[6], int to, bool *go_on) { return -ENOSYS; }
