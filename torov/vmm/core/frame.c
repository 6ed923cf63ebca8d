/* Signal frames as Linux lays them out: arch/x86/include/uapi/asm/{ucontext,sigcontext}.h, sigaction(2), sigreturn(2). */
#include "tv.h"

#include <stdlib.h>

struct sigctx {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};
struct uctx {
    uint64_t flags, link;
    struct tv_altstack stack;
    struct sigctx mc;
    uint64_t sigmask;
};
struct frame {
    uint64_t pretcode;
    struct uctx uc;
    siginfo_t info;
};
_Static_assert(sizeof(struct sigctx) == 256 && sizeof(struct uctx) == 304 && sizeof(siginfo_t) == 128, "rt_sigframe");

#define UC_FLAGS 7 /* UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u
#define SW_BYTES 464 /* offset of struct _fpx_sw_bytes in the legacy area */
#define FIX_FLAGS 0x50dd5ull /* AC RF OF DF TF SF ZF AF PF CF: what a program may set */
#define USER_TOP 0x7ffffffff000ull
struct sw_bytes { uint32_t magic1, extended_size; uint64_t xfeatures; uint32_t xstate_size, padding[7]; };

static bool on_altstack(const struct tv_altstack *s, uint64_t sp) { return sp > s->sp && sp - s->sp <= s->size; }

/* Builds the frame below the red zone (or on the alternate stack) and enters the handler. -EFAULT: no room for it. */
int frame_push(struct tv_vm *vm, const struct tv_sigaction *act, const siginfo_t *info, uint64_t mask, const struct tv_regs *old) {
    struct tv_thread *t = tv_me;
    struct frame f = {.pretcode = act->restorer};
    uint8_t *fpu = NULL;
    uint64_t features, sp = old->rsp - 128;
    unsigned size = cpu_xsave_size(&features);
    bool alt = act->flags & SA_ONSTACK && t->altstack.size && !(t->altstack.flags & 2) && !on_altstack(&t->altstack, old->rsp);
    if (alt) sp = t->altstack.sp + t->altstack.size;
    sp = (sp - size - 4) & ~63ull;
    gva fp = sp;
    sp = ((sp - sizeof f) & ~15ull) - 8;
    if (t->altstack.size && on_altstack(&t->altstack, fp) && !on_altstack(&t->altstack, sp)) return -EFAULT;
    f.uc.flags = UC_FLAGS;
    f.uc.stack = t->altstack;
    f.uc.mc = (struct sigctx){old->r8, old->r9, old->r10, old->r11, old->r12, old->r13, old->r14, old->r15, old->rdi, old->rsi,
        old->rbp, old->rbx, old->rdx, old->rax, old->rcx, old->rsp, old->rip, old->rflags, .cs = 0x33, .ss = 0x2b,
        .err = t->fault_error, .trapno = t->fault_vector, .oldmask = mask, .cr2 = t->fault_cr2, .fpstate = fp};
    f.uc.sigmask = mask;
    f.info = *info;
    fpu = calloc(1, CPU_XSAVE + 4);
    if (!fpu) return -ENOMEM;
    int r = cpu_get_fpu(t->cpu, fpu);
    if (!r) {
        struct sw_bytes sw = {MAGIC1, size + 4, features, size, {0}};
        uint32_t magic2 = MAGIC2;
        memcpy(fpu + SW_BYTES, &sw, sizeof sw);
        memcpy(fpu + size, &magic2, 4);
        r = tv_copy_out(vm, fp, fpu, size + 4) || tv_copy_out(vm, sp, &f, sizeof f) ? -EFAULT : 0;
    }
    free(fpu);
    if (r) return r;
    if (t->altstack.flags < 0 && alt) t->altstack = (struct tv_altstack){.flags = 2}; /* SS_AUTODISARM */
    cpu_settle(t->cpu);
    struct tv_regs *now = t->cpu->regs;
    *now = *old;
    now->rdi = (uint64_t)info->si_signo;
    now->rsi = sp + offsetof(struct frame, info);
    now->rdx = sp + offsetof(struct frame, uc);
    now->rax = 0;
    now->rsp = sp;
    now->rip = act->handler;
    now->rflags &= ~0x10500ull; /* RF DF TF */
    return 0;
}

static int restore_fpu(struct tv_vm *vm, gva at) {
    uint64_t features;
    unsigned size = cpu_xsave_size(&features);
    struct sw_bytes sw;
    uint32_t magic2 = 0;
    uint8_t *fpu = calloc(1, CPU_XSAVE);
    if (!fpu) return -ENOMEM;
    int r = cpu_get_fpu(tv_me->cpu, fpu);
    if (!r) r = tv_copy_in(vm, fpu, at, 512);
    if (!r) {
        memcpy(&sw, fpu + SW_BYTES, sizeof sw);
        memset(fpu + SW_BYTES, 0, sizeof sw);
        bool whole = sw.magic1 == MAGIC1 && sw.xstate_size >= 576 && sw.xstate_size <= size && sw.extended_size == sw.xstate_size + 4 &&
                     !tv_copy_in(vm, &magic2, at + sw.xstate_size, 4) && magic2 == MAGIC2;
        uint64_t have = 3;
        if (whole) {
            r = tv_copy_in(vm, fpu + 512, at + 512, sw.xstate_size - 512);
            memcpy(&have, fpu + 512, 8);
            have &= features & sw.xfeatures;
        }
        memset(fpu + 520, 0, 56); /* reserved, and no compact form */
        memcpy(fpu + 512, &have, 8);
        uint32_t mxcsr;
        memcpy(&mxcsr, fpu + 24, 4);
        mxcsr &= 0xffff;
        memcpy(fpu + 24, &mxcsr, 4);
        if (!r) r = cpu_set_fpu(tv_me->cpu, fpu);
    }
    free(fpu);
    return r;
}

int64_t core_rt_sigreturn(struct tv_vm *vm, uint64_t a[6], const struct tv_call *c) {
    struct tv_thread *t = tv_me;
    struct tv_regs *r = t->cpu->regs;
    struct uctx uc;
    bool bad = tv_copy_in(vm, &uc, r->rsp, sizeof uc) || uc.mc.rip >= USER_TOP;
    if (!bad) {
        uint64_t mask = uc.sigmask & ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
        int again = mask_unless_noted(mask);
        if (again) return again;
        t->sigmask = mask;
        sig_release(t, mask);
        bad = uc.mc.fpstate && restore_fpu(vm, uc.mc.fpstate);
    }
    if (bad) {
        sig_fault(vm, SIGSEGV, SI_KERNEL, 0);
        return 0;
    }
    t->raw_regs = true;
    int mode = uc.stack.flags & 0x7fffffff;
    if (mode == 2) t->altstack = (struct tv_altstack){.flags = 2};
    else if (mode <= 1 && uc.stack.size >= 2048) { t->altstack = uc.stack; t->altstack.pad = 0; t->altstack.flags &= ~3; }
    cpu_settle(t->cpu);
    const struct sigctx *m = &uc.mc;
    *r = (struct tv_regs){.rax = m->rax, .rbx = m->rbx, .rcx = m->rcx, .rdx = m->rdx, .rsi = m->rsi, .rdi = m->rdi, .rsp = m->rsp,
        .rbp = m->rbp, .r8 = m->r8, .r9 = m->r9, .r10 = m->r10, .r11 = m->r11, .r12 = m->r12, .r13 = m->r13, .r14 = m->r14,
        .r15 = m->r15, .rip = m->rip, .rflags = (r->rflags & ~FIX_FLAGS) | (m->rflags & FIX_FLAGS)};
    return 0;
}
