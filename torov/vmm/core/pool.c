/* A VM is used again within a process: creating and closing one is most of a short guest's time. What is kept is the shell
 * (VM, vCPU, memslots, the reservation's place); memory, page tables, registers and FPU of the old guest are gone. */
#include "tv.h"

#include <sys/mman.h>
#include <unistd.h>

static struct {
    struct tv_cpu_vm *hw;
    struct tv_cpu *cpu;
    struct tv_mem mem;
    bool vvar;
    int fd_lo, *fd_hi;
    pid_t owner; /* KVM refuses the VM to another mm: a fork of this process makes its own */
} shell;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Takes the shell, if there is one. The caller goes on as with a new VM whose memory is empty. */
bool pool_take(struct tv_vm *vm) {
    pthread_mutex_lock(&lock);
    bool ours = shell.hw && shell.owner == getpid() && !(vm->flags & TV_F_IOPL);
    if (ours) {
        vm->hw = shell.hw;
        tv_me->cpu = shell.cpu;
        vm->mem = shell.mem;
        vm->vvar_slot = shell.vvar;
        vm->fd_lo = shell.fd_lo;
        vm->fd_hi = shell.fd_hi;
        shell.hw = NULL;
    }
    pthread_mutex_unlock(&lock);
    return ours;
}

/* Gives a guest's VM to the next one. false: it cannot be kept, destroy it. */
bool pool_give(struct tv_vm *vm) {
    struct tv_mem *m = &vm->mem;
    if (!vm->proc || vm->proc->child || vm->next_cpu != 1 || !vm->hw || !vm->proc->threads || !vm->proc->threads->cpu || vm->flags & TV_F_IOPL || vm->proc->end.kind == TV_FAILED)
        return false;
    pthread_mutex_lock(&lock);
    bool keep = !shell.hw || shell.owner != getpid();
    pthread_mutex_unlock(&lock);
    if (!keep) return false;
    /* the old memory goes; deleting a slot makes KVM forget every shadow of the old page tables */
    if (mmap(m->reserve, m->reserve_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED ||
        madvise(m->pt_of, (m->limit >> 21) * sizeof *m->pt_of, MADV_DONTNEED) || cpu_vm_memory(vm->hw, 0, 0, 0, m->base, false) ||
        cpu_vm_memory(vm->hw, 0, 0, m->slot0, m->base, false)) return false;
    madvise(m->reserve, m->reserve_len, MADV_DONTDUMP);
    pthread_mutex_lock(&lock);
    keep = !shell.hw || shell.owner != getpid();
    if (keep) {
        shell.hw = vm->hw;
        shell.cpu = vm->proc->threads->cpu;
        shell.mem = *m;
        shell.vvar = vm->vvar_slot;
        shell.fd_lo = vm->fd_lo;
        shell.fd_hi = vm->fd_hi;
        vm->fd_hi = NULL;
        shell.owner = getpid();
        shell.mem.vma = NULL;
        shell.mem.nvma = shell.mem.cap = 0;
        m->reserve = NULL;
        m->pt_of = NULL;
        vm->hw = NULL;
        vm->proc->threads->cpu = NULL;
    }
    pthread_mutex_unlock(&lock);
    return keep;
}
