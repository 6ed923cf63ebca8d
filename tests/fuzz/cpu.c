/* The CPU of the fuzzers, in place of kvm.c: what it runs is the input, record by record. It obeys the guest's page tables as a CPU
 * does, so a store can fault, and at the end it looks whether the tables promise more than they may. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image.h" /* generated: SITE, WINDOW */

enum { SLOTS_MOST = 4096 };
static struct slot { uint64_t gpa, size; bool readonly; } slots[SLOTS_MOST];
static int peer_fd[64], nown;

/* Descriptors that nobody but the CPU may use: sockets, whose other ends would hear of it. */
static int own_make(void) {
    int pair[2];
    if (nown == 64 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair)) return -1;
    peer_fd[nown++] = fcntl(pair[1], F_DUPFD_CLOEXEC, 300); /* out of the guest's reach, and of the monitor's */
    close(pair[1]);
    return pair[0];
}
void cpu_forget(void) {
    while (nown) close(peer_fd[--nown]);
}
static struct tv_cpu *cpus;

bool cpu_own(int fd) {
    const struct tv_vm *vm = fuzz_vm;
    if (!vm || !vm->hw || fd < 0) return false;
    for (int i = 0; i < KEEP_COUNT; i++)
        if (vm->keep[i] == fd) return true;
    for (const struct tv_cpu *c = cpus; c; c = c->run)
        if (c->fd == fd) return true;
    return fd == vm->hw->kvm || fd == vm->hw->fd;
}

void cpu_check(struct tv_vm *vm) {
    char byte;
    for (int i = 0; i < nown; i++)
        if (peer_fd[i] >= 0 && recv(peer_fd[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0) fuzz_fail("somebody wrote to a descriptor of the monitor");
    if (fcntl(vm->hw->kvm, F_GETFD) < 0 || fcntl(vm->hw->fd, F_GETFD) < 0 || fcntl(vm->proc->threads->cpu->fd, F_GETFD) < 0)
        fuzz_fail("a descriptor of the monitor is closed");
}

int cpu_rip_past(void) { return 1; }
void cpu_set_rip_past(int past) { }
const void *cpu_known(uint32_t *size) { *size = 0; return NULL; }
void cpu_know(const void *table, uint32_t size) { }

int cpu_vm_open(struct tv_cpu_vm **out, bool iopl, int kvm, const char **what) {
    struct tv_cpu_vm *vm = calloc(1, sizeof *vm);
    *what = "the fuzzers' CPU";
    if (!vm) return -ENOMEM;
    vm->kvm = kvm >= 0 ? kvm : own_make();
    vm->fd = own_make();
    vm->iopl = iopl;
    vm->maxphyaddr = 39;
    vm->features = CPUF_READONLY | CPUF_TSC_ZERO | CPUF_FSGSBASE;
    memset(slots, 0, sizeof slots);
    *out = vm;
    return vm->kvm < 0 || vm->fd < 0 ? -EMFILE : 0;
}

int cpu_vm_memory(struct tv_cpu_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host, bool readonly) {
    if (slot >= SLOTS_MOST) return -EINVAL;
    for (unsigned i = 0; size && i < SLOTS_MOST; i++)
        if (i != slot && gpa < slots[i].gpa + slots[i].size && slots[i].gpa < gpa + size) fuzz_fail("memslot %u lies over another", slot);
    slots[slot] = (struct slot){gpa, size, readonly};
    return 0;
}
int cpu_vm_slots(struct tv_cpu_vm *vm) { return SLOTS_MOST; }

void cpu_vm_close(struct tv_cpu_vm *vm) {
    if (!vm) return;
    if (vm->fd >= 0) close(vm->fd);
    if (vm->kvm >= 0) close(vm->kvm);
    free(vm);
}

struct fake { struct tv_cpu cpu; struct tv_regs regs; uint64_t base[2]; uint8_t fpu[CPU_XSAVE]; int at, part, again, rest; bool kicked; };

int cpu_create(struct tv_cpu **out, struct tv_cpu_vm *vm, int id, uint8_t *sys, uint64_t tss, uint64_t sys_stack, struct tv_vm *among, const char **what) {
    struct fake *f = calloc(1, sizeof *f);
    if (!f) return -ENOMEM;
    f->cpu = (struct tv_cpu){.regs = &f->regs, .vm = vm, .fd = own_make(), .sys = sys, .tss = tss, .sys_stack = sys_stack, .run = cpus};
    *what = "the fuzzers' CPU";
    if (f->cpu.fd < 0 || (among && vm_hide_fd(among, &f->cpu.fd))) {
        if (f->cpu.fd >= 0) close(f->cpu.fd);
        free(f);
        return -EMFILE;
    }
    cpus = &f->cpu;
    *out = &f->cpu;
    return 0;
}

int cpu_start(struct tv_cpu *cpu, uint64_t rip, uint64_t rsp, const char **what) {
    memset(cpu->regs, 0, sizeof *cpu->regs);
    cpu->regs->rip = rip;
    cpu->regs->rsp = rsp;
    cpu->regs->rflags = 0x202;
    return 0;
}

void cpu_destroy(struct tv_cpu *cpu) {
    if (!cpu) return;
    for (struct tv_cpu **p = &cpus; *p; p = (struct tv_cpu **)&(*p)->run)
        if (*p == cpu) { *p = cpu->run; break; }
    if (cpu->fd >= 0) close(cpu->fd);
    free(cpu);
}

int cpu_complete(struct tv_cpu *cpu) { return 0; }
void cpu_settle(struct tv_cpu *cpu) { }
void cpu_kick(struct tv_cpu *cpu) { ((struct fake *)cpu)->kicked = true; }
void cpu_attended(struct tv_cpu *cpu) { ((struct fake *)cpu)->kicked = false; }
int cpu_set_base(struct tv_cpu *cpu, bool gs, uint64_t base) { ((struct fake *)cpu)->base[gs] = base; return 0; }
int cpu_get_base(struct tv_cpu *cpu, bool gs, uint64_t *base) { *base = ((struct fake *)cpu)->base[gs]; return 0; }
int cpu_get_fpu(struct tv_cpu *cpu, void *area) { memcpy(area, ((struct fake *)cpu)->fpu, CPU_XSAVE); return 0; }
int cpu_set_fpu(struct tv_cpu *cpu, const void *area) { memcpy(((struct fake *)cpu)->fpu, area, CPU_XSAVE); return 0; }
unsigned cpu_xsave_size(uint64_t *features) { *features = 7; return 832; }
unsigned cpu_float_faults(struct tv_cpu *cpu, bool x87) { return 0; }
int tv_probe(struct tv_host_info *info, struct tv_stop *why, int loops) { return -1; }

/* The entry that maps an address, as the walk of AMD64 APM vol. 2, 5.3 finds it; 0: none. */
static uint64_t walk(struct tv_vm *vm, uint64_t va) {
    uint64_t table = TV_SYS_TABLES, e = 0;
    if (va >> 47) return 0;
    for (int shift = 39; shift >= 12; shift -= 9) {
        memcpy(&e, vm->mem.base + table + (va >> shift & 511) * 8, 8);
        if (!(e & 1)) return 0;
        if (shift == 12) return e;
        if (shift == 21 && e & 0x80) return (e & ~0x1fffffull & ~(1ull << 63)) + (va & 0x1ff000) + (e & 0xfff) + (e & 1ull << 63);
        table = e & 0x000ffffffffff000ull;
        if (table >= vm->mem.limit) fuzz_fail("a page table at %lx", table);
    }
    return e;
}

static bool in_slot(uint64_t gpa) {
    for (int i = 0; i < SLOTS_MOST; i++)
        if (gpa >= slots[i].gpa && gpa - slots[i].gpa < slots[i].size) return true;
    return false;
}

/* A leaf for the program promises a page to itself, or one of vvar; no more rights than the mapping has; and memory that KVM knows. */
static void leaf(struct tv_vm *vm, uint64_t va, uint64_t e, uint64_t size) {
    uint64_t pa = e & 0x000ffffffffff000ull & ~(size - 1);
    if (!(e & 4) || va == TV_SYS_LSTAR) return;
    if (va < TV_MIN || va >= vm->mem.top) fuzz_fail("the program may reach %lx", va);
    if (pa != va && (pa < vm->mem.top || e & 2)) fuzz_fail("%lx is mapped to %lx", va, pa);
    for (uint64_t at = va; at < va + size;) {
        struct tv_vma *v = vma_find(&vm->mem, at);
        if (!v) fuzz_fail("an entry for %lx, where nothing is mapped", at);
        if ((e & 2 && !(v->prot & 2)) || (!(e >> 63) && !(v->prot & 4)) || !v->prot) fuzz_fail("an entry for %lx with more rights than %d", at, v->prot);
        if (pa == va && !in_slot(at)) fuzz_fail("an entry for %lx without a memslot", at);
        at = v->end;
    }
}

static void level(struct tv_vm *vm, uint64_t table, int shift, uint64_t va) {
    for (uint64_t i = 0; i < 512; i++, va += 1ull << shift) {
        uint64_t e;
        memcpy(&e, vm->mem.base + table + i * 8, 8);
        if (!(e & 1)) continue;
        if (shift == 12 || (shift == 21 && e & 0x80)) leaf(vm, va, e, 1ull << shift);
        else level(vm, e & 0x000ffffffffff000ull, shift - 9, va);
    }
}
void cpu_tables(struct tv_vm *vm) { level(vm, TV_SYS_TABLES, 39, 0); }

static bool fault(struct tv_exit *x, uint64_t addr, uint64_t error) {
    x->kind = CPU_EXCEPTION, x->vector = 14, x->error = error, x->addr = addr;
    return false;
}

/* Bytes that the program stores. false: it left the guest on the way. */
static bool store(struct tv_vm *vm, struct fake *f, uint64_t va, const uint8_t *from, uint64_t n, struct tv_exit *x) {
    while (n) {
        uint64_t e = walk(vm, va), part = PG - (va & PG_MASK), pa = (e & 0x000ffffffffff000ull) + (va & PG_MASK);
        if (part > n) part = n;
        if (!(e & 1) || !(e & 4) || !(e & 2)) {
            if (f->again++ > 2) return true; /* it is not to be had: the program goes on */
            return fault(x, va, 6 | (e & 1));
        }
        if (!in_slot(pa)) fuzz_fail("a store to %lx without a memslot", va);
        if (tv_copy_host(vm->mem.base + pa, from, part)) {
            if (f->again++ > 2) return true;
            x->kind = CPU_VANISHED;
            return false;
        }
        va += part, from += part, n -= part;
    }
    return true;
}

static bool poke(struct tv_vm *vm, struct fake *f, const struct record *r, struct tv_exit *x) {
    uint8_t bytes[PAYLOAD];
    unsigned n = r->n;
    if (r->tag == 'W') {
        for (n = 0; n < r->n && (n + 1) * 9 <= PAYLOAD; n++) {
            uint64_t v;
            memcpy(&v, r->data + n * 9 + 1, 8);
            v = resolve(r->data[n * 9], v, 0, 0);
            memcpy(bytes + n * 8, &v, 8);
        }
        n *= 8;
    } else {
        memcpy(bytes, r->data, n);
    }
    uint64_t at = resolve(r->cls[0], r->v[0], 0, 0);
    tell("%lx:", at);
    for (unsigned i = 0; i < n; i += 8) {
        uint64_t v = 0;
        memcpy(&v, bytes + i, n - i < 8 ? n - i : 8);
        tell(" %lx", v);
    }
    if (r->tag == 'B') tell(" \"%.*s\"", (int)n, (const char *)bytes);
    tell("\n");
    return store(vm, f, at, bytes, n, x);
}

static void call(struct tv_cpu *cpu, struct tv_exit *x, uint64_t nr, const uint64_t a[6]) {
    struct tv_regs *r = cpu->regs;
    r->rip = SITE + 2;
    r->rax = nr;
    r->rdi = a[0], r->rsi = a[1], r->rdx = a[2], r->r10 = a[3], r->r8 = a[4], r->r9 = a[5];
    x->kind = CPU_CALL;
    tell("call %lu(%lx, %lx, %lx, %lx, %lx, %lx)", nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (nr < ROWS) shared->served[nr]++;
    shared->calls++;
    shared->turn++;
}

static int cursor; /* of the first thread */

/* What another thread runs: its end. A process of the guest's: one call of those that a child makes, then its end. */
static void other(struct tv_cpu *cpu, struct tv_exit *x) {
    struct fake *f = (struct fake *)cpu;
    const struct input *in = fuzz_input;
    static const uint16_t may[] = {59, 322, 3, 33, 13, 112, 39, 110, 436};
    const uint64_t end[6] = {0};
    bool process = tv_me->proc->child;
    while (process && !f->rest++ && f->at < in->n && in->r[f->at].tag == 'C')
        for (size_t i = 0; i < sizeof may / sizeof *may; i++)
            if (in->r[f->at].nr == may[i]) {
                uint64_t a[6];
                for (int k = 0; k < 6; k++) a[k] = resolve(in->r[f->at].cls[k], in->r[f->at].v[k], in->r[f->at].nr, k);
                return call(cpu, x, in->r[f->at].nr, a);
            }
    call(cpu, x, process ? 231 : 60, end);
}

static void after(struct tv_cpu *cpu) {
    if (!fuzz_serving) return;
    fuzz_serving = false;
    bool again = cpu->regs->rip == SITE;
    if (!again) remember(cpu->regs->rax);
    calls_after(shared->nr, again ? -EINTR : (int64_t)cpu->regs->rax);
}

void cpu_run(struct tv_cpu *cpu, struct tv_exit *x) {
    struct fake *f = (struct fake *)cpu;
    const struct input *in = fuzz_input;
    struct tv_vm *vm = tv_me->vm;
    x->addr = x->error = 0;
    if (f->kicked) { x->kind = CPU_KICKED; return; }
    if (tv_me->proc->child || tv_me != vm->proc->threads) { f->at = f->rest ? f->at : cursor; return other(cpu, x); }
    after(cpu);
    shared->turn++;
    while (cursor < in->n) {
        const struct record *r = &in->r[cursor];
        uint64_t a[6];
        for (int i = 0; i < 6; i++) a[i] = resolve(r->cls[i], r->v[i], r->nr, i);
        switch (r->tag) {
        case 'W': case 'B':
            if (!poke(vm, f, r, x)) return;
            f->again = 0;
            break;
        case 'R': cpu->regs->rsp = a[0]; break;
        case 'C':
            cursor++;
            calls_before(shared->nr = r->nr);
            fuzz_serving = true;
            return call(cpu, x, (r->flags & 1 ? 0xabcdull << 32 : 0) | r->nr, a); /* the kernel looks at the low half */
        case 'X':
            cursor++;
            tell("exit %d vector %d error %lx address %lx rip %lx rax %lx\n", r->flags % 5, r->nr & 31, a[0], a[1], a[2], a[3]);
            x->error = a[0], x->addr = a[1], x->vector = r->nr & 31;
            cpu->regs->rip = a[2];
            cpu->regs->rax = a[3];
            x->kind = r->flags % 5 == 0 ? CPU_EXCEPTION : r->flags % 5 == 1 ? CPU_TRAP : r->flags % 5 == 2 ? CPU_PORT : r->flags % 5 == 3 ? CPU_CALL : CPU_VANISHED;
            if (x->kind == CPU_TRAP && x->error & 1) cpu->regs->rcx = cpu->regs->rip;
            if (x->kind == CPU_TRAP || x->kind == CPU_CALL) {
                calls_before(shared->nr = (uint32_t)a[3]);
                fuzz_serving = true;
            }
            return;
        }
        cursor++;
    }
    uint64_t end[6] = {0};
    shared->nr = 231;
    call(cpu, x, 231, end);
}
