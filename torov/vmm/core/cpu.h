/* The narrow interface to the CPU. kvm.c implements it; a backend without /dev/kvm may come beside it. */
#ifndef TV_CPU_H
#define TV_CPU_H
#include <stdbool.h>
#include <stdint.h>

/* General registers in the order of struct kvm_regs. Upper layers always see the program's own state:
 * rip is the next instruction, rsp the program's stack, whatever ring the CPU stopped in. */
struct tv_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
};

enum tv_exit_kind {
    CPU_CALL,      /* `out 0x10, eax` in ring 3; rip may be on it or past it: see cpu_settle() */
    CPU_PORT,      /* another access to ports 0x10..0x13; rip is past it if error is 1, on it if 0 */
    CPU_TRAP,      /* a syscall instruction: rip is past it; error: 1 if it came from ring 3, and may be forged */
    CPU_EXCEPTION, /* vector, error, addr (CR2 for #PF) */
    CPU_KICKED,    /* interrupted, nothing happened */
    CPU_VANISHED,  /* guest memory without host memory behind it, no address */
    CPU_SHUTDOWN,  /* triple fault */
    CPU_ERROR      /* what, err */
};
struct tv_exit {
    int kind, vector, err;
    uint64_t error, addr;
    const char *what;
};
struct tv_cpu_vm;
struct tv_cpu {
    struct tv_regs *regs;  /* valid between exits; what is written here is what runs */
    struct tv_cpu_vm *vm;
    int fd;
    void *run;             /* the backend's own */
    uint8_t *sys;          /* host address of guest 0, for the ring-0 stack */
    uint64_t sys_stack;    /* top of the ring-0 stack of this vCPU */
    uint64_t tss;          /* its TSS */
    bool ring0;            /* stopped in a stub: enter by iretq */
    bool pending_io;       /* an out exit is not completed */
    struct tv_cpu *next;
};
struct tv_cpu_vm {
    int kvm, fd;
    unsigned features;
    int run_size;
    int maxphyaddr;
    bool iopl;
};
enum { CPUF_READONLY = 1, CPUF_TSC_ZERO = 2, CPUF_FSGSBASE = 4 };

int cpu_vm_open(struct tv_cpu_vm **out, bool iopl, int kvm, const char **what); /* kvm: an open /dev/kvm, or -1 */
const void *cpu_known(uint32_t *size);           /* what KVM offers, for another process: asking takes longer than a VM */
void cpu_know(const void *table, uint32_t size);
int cpu_vm_memory(struct tv_cpu_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host, bool readonly);
int cpu_vm_slots(struct tv_cpu_vm *vm);
void cpu_vm_close(struct tv_cpu_vm *vm);
struct tv_vm;
int cpu_create(struct tv_cpu **out, struct tv_cpu_vm *vm, int id, uint8_t *sys, uint64_t tss, uint64_t sys_stack, struct tv_vm *among, const char **what);
int cpu_start(struct tv_cpu *cpu, uint64_t rip, uint64_t rsp, const char **what); /* ring 3, registers zero */
void cpu_run(struct tv_cpu *cpu, struct tv_exit *exit);
int cpu_complete(struct tv_cpu *cpu);            /* finish a pending out exit: rip is past it afterwards */
int cpu_rip_past(void);                          /* 1, 0, or -1: not known yet */
void cpu_set_rip_past(int past);
int cpu_set_base(struct tv_cpu *cpu, bool gs, uint64_t base);
int cpu_get_base(struct tv_cpu *cpu, bool gs, uint64_t *base);
unsigned cpu_float_faults(struct tv_cpu *cpu, bool x87); /* unmasked exception bits (IE 1 ZE 4 OE 8 UE 16 PE 32) */
void cpu_settle(struct tv_cpu *cpu);             /* rip may be set to anything afterwards, the out itself included */
void cpu_attended(struct tv_cpu *cpu);           /* takes a kick back */
#define CPU_XSAVE 4096
int cpu_get_fpu(struct tv_cpu *cpu, void *area); /* XSAVE area, standard form, CPU_XSAVE bytes */
int cpu_set_fpu(struct tv_cpu *cpu, const void *area);
unsigned cpu_xsave_size(uint64_t *features);     /* bytes of it that are in use, and XCR0 */
void cpu_kick(struct tv_cpu *cpu);               /* async-signal-safe */
void cpu_destroy(struct tv_cpu *cpu);
#endif
