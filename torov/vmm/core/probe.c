/* What this machine's KVM can do, and what an exit costs: for torov doctor and the benchmarks. */
#include "tv.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A guest of its own: `out 0x10, eax; jmp` in ring 3, with nothing of the syscall path around it. */
int tv_probe(struct tv_host_info *info, struct tv_stop *why, int loops) {
    static const uint8_t loop[] = {0xe7, TV_PORT_CALL, 0xeb, 0xfc};
    const char *what = "memory";
    struct tv_exit x;
    int r = -ENOMEM;
    memset(info, 0, sizeof *info);
    memset(why, 0, sizeof *why);
    info->rip_past = -1;
    struct tv_vm *vm = calloc(1, sizeof *vm);
    if (vm) memset(vm->keep, -1, sizeof vm->keep);
    if (!vm || !(vm->proc = proc_new(NULL)) || !(vm->proc->threads = tv_me = thread_new(vm, vm->proc))) goto out;
    uint64_t t0 = tv_now();
    if ((r = tv_copy_setup()) || (r = cpu_vm_open(&vm->hw, false, -1, &what))) goto out;
    info->api = ioctl(vm->hw->kvm, KVM_GET_API_VERSION, 0);
    info->sync_regs = (ioctl(vm->hw->fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS) != 0;
    info->immediate_exit = ioctl(vm->hw->fd, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) > 0;
    info->readonly_mem = (vm->hw->features & CPUF_READONLY) != 0;
    info->nr_memslots = cpu_vm_slots(vm->hw);
    info->maxphyaddr = vm->hw->maxphyaddr;
    info->fsgsbase = (vm->hw->features & CPUF_FSGSBASE) != 0;
    what = "guest memory";
    if ((r = mem_create(vm))) goto out;
    if ((r = cpu_create(&tv_me->cpu, vm->hw, 0, vm->mem.base, TV_SYS_TSS, TV_SYS_STACK, NULL, &what))) goto out;
    what = "guest memory";
    if ((r = map_anon(vm, 0x400000, 0x401000, 3, 0))) goto out;
    memcpy(vm->mem.base + 0x400000, loop, sizeof loop);
    if ((r = map_enter(vm, 0x400000, 0x401000, 5, 0))) goto out;
    if ((r = cpu_start(tv_me->cpu, 0x400000, 0x400ff8, &what))) goto out;
    info->tsc_offset = (vm->hw->features & CPUF_TSC_ZERO) != 0;
    what = "the first exit";
    uint64_t best = ~0ull;
    for (int i = 0; i <= loops; i++) {
        uint64_t t = tv_now();
        do cpu_run(tv_me->cpu, &x); while (x.kind == CPU_KICKED);
        uint64_t now = tv_now();
        if (x.kind != CPU_CALL) { what = x.what ? x.what : "another exit than out"; r = x.err ? -x.err : -EIO; goto out; }
        if (!i) {
            info->create_ns = now - t0;
            info->rip_past = tv_me->cpu->regs->rip == 0x400002;
        } else if (now - t < best) {
            best = now - t;
        }
        tv_me->cpu->regs->rip = 0x400002;
    }
    info->floor_ns = loops > 0 ? best : 0;
out:
    if (r) tv_fail(why, what, r);
    if (vm) tv_destroy(vm);
    return r;
}
