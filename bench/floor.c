/* What this machine's KVM costs with nothing around it: the floor of every comparison. A guest of four bytes,
 * `out 0x10, eax; jmp`, in ring 3 behind a TSS with an I/O bitmap; no register crosses.
 *
 *     floor exits N     ns of one exit to user space, mean over N
 *     floor create N    ns from open of /dev/kvm over the first exit to the last close, median over N
 *
 * Sources: Linux Documentation/virt/kvm/api.rst; AMD64 APM vol. 2, 4.8 (descriptors), 5.3 (paging), 12.2.5 (TSS). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SIZE (4ul << 20)
#define GDT 0x1000
#define TSS 0x1100
#define TABLES 0x2000
#define CODE 0x200000

struct machine {
    int kvm, vm, cpu;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
};
static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entry[256]; } cpuid;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int need(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static void registers(struct machine *m) {
    struct kvm_sregs s;
    need(ioctl(m->cpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    struct kvm_segment user = {.limit = ~0u, .present = 1, .dpl = 3, .s = 1, .g = 1};
    s.cs = s.ss = s.ds = s.es = s.fs = s.gs = user;
    s.cs.selector = 0x33, s.cs.type = 11, s.cs.l = 1;
    s.ss.selector = s.ds.selector = s.es.selector = s.fs.selector = s.gs.selector = 0x2b;
    s.ss.type = s.ds.type = s.es.type = s.fs.type = s.gs.type = 3;
    s.ss.db = s.ds.db = s.es.db = s.fs.db = s.gs.db = 1;
    s.tr = (struct kvm_segment){.base = TSS, .limit = 0x6b, .selector = 0x40, .type = 11, .present = 1};
    s.gdt.base = GDT;
    s.gdt.limit = 0x4f;
    s.cr0 = 0x80050033; /* PG AM WP NE ET MP PE */
    s.cr3 = TABLES;
    s.cr4 = 0x620; /* PAE OSFXSR OSXMMEXCPT */
    s.efer = 0xd00; /* NXE LMA LME */
    need(ioctl(m->cpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    struct kvm_regs r = {.rip = CODE, .rsp = CODE + 0x1000, .rflags = 2};
    need(ioctl(m->cpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
}

static void contents(uint8_t *memory) {
    uint64_t *gdt = (uint64_t *)(memory + GDT), *table = (uint64_t *)(memory + TABLES);
    gdt[8] = (uint64_t)TSS << 16 | 0x8bull << 40 | 0x6b;
    memory[TSS + 0x66] = 0x68;             /* where the bitmap begins */
    memset(memory + TSS + 0x68, 0xff, 4);
    memory[TSS + 0x6a] = 0xf0;             /* ports 0x10 to 0x13 */
    table[0] = (TABLES + 0x1000) | 7;      /* user, writable, present */
    table[512] = (TABLES + 0x2000) | 7;
    for (uint64_t i = 0; i < SIZE >> 21; i++) table[1024 + i] = i << 21 | 0x87; /* 2 MiB pages */
    memcpy(memory + CODE, "\xe7\x10\xeb\xfc", 4);
}

static void leave(struct machine *m) { /* one exit */
    need(ioctl(m->cpu, KVM_RUN, 0), "KVM_RUN");
    if (m->run->exit_reason != KVM_EXIT_IO) {
        fprintf(stderr, "floor: KVM exit %u in place of out\n", m->run->exit_reason);
        exit(1);
    }
}

static void build(struct machine *m) {
    m->kvm = need(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    if (!cpuid.head.nent) { /* the same for all: once per process, as a monitor would */
        cpuid.head.nent = 256;
        need(ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    }
    m->vm = need(ioctl(m->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    m->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->memory == MAP_FAILED) need(-1, "mmap");
    contents(m->memory);
    struct kvm_userspace_memory_region slot = {.memory_size = SIZE, .userspace_addr = (uintptr_t)m->memory};
    need(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    m->cpu = need(ioctl(m->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    m->run_size = (size_t)need(ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    m->run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->cpu, 0);
    if (m->run == MAP_FAILED) need(-1, "mmap of struct kvm_run");
    need(ioctl(m->cpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
    registers(m);
    leave(m);
}

static void destroy(struct machine *m) {
    munmap(m->run, m->run_size);
    close(m->cpu);
    close(m->vm);
    munmap(m->memory, SIZE);
    close(m->kvm);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    long n = argc == 3 ? atol(argv[2]) : 0;
    struct machine m;
    if (n < 1) {
        fprintf(stderr, "usage: floor exits|create N\n");
        return 2;
    }
    build(&m); /* also a warm-up: the first VM of a machine loads and allocates more */
    if (!strcmp(argv[1], "exits")) {
        uint64_t start = now();
        for (long i = 0; i < n; i++) leave(&m);
        printf("%.0f\n", (double)(now() - start) / (double)n);
        destroy(&m);
        return 0;
    }
    destroy(&m);
    uint64_t *took = calloc((size_t)n, sizeof *took);
    if (!took) return 1;
    for (long i = 0; i < n; i++) {
        uint64_t start = now();
        build(&m);
        destroy(&m);
        took[i] = now() - start;
    }
    qsort(took, (size_t)n, sizeof *took, by_value);
    printf("%lu\n", took[n / 2]);
    return 0;
}
