#include "tv.h"
int64_t do_fork(struct tv_vm *vm, uint64_t flags, gva stack, uint64_t tls, gva parent_tid, gva child_tid) {
    (void)stack; (void)tls; (void)parent_tid; (void)child_tid;
    tv_notice(vm, TV_NOTE_UNSERVED, flags & 0x4000 ? 58 : 57, 0, ENOSYS);
    return -ENOSYS;
}
