/* The image file (loader/image.py) into guest memory, as fs/binfmt_elf.c maps an ELF file. */
#include "tv.h"

#include <elf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIE_BASE (4ull * GIB) /* above 4 GiB as natively, and 0x400000 stays free for what the program loads itself */
#define LOADER_BASE (8ull * GIB)
#define MAX_SEGS 4096
#define MAX_SITES (1u << 22)

struct header {
    char magic[8];
    uint32_t version, size, flags, nseg, nsite, ntrap;
    uint64_t entry, phdr;
    uint32_t phent, phnum;
    uint64_t seg_off, site_off, trap_off, lo, hi, body_off, body_size;
    uint8_t sha256[32], reserved[16];
};
_Static_assert(sizeof(struct header) == 160, "image header");
struct seg { uint64_t vaddr, memsz, filesz, off; uint32_t flags, pad; };
struct trap { uint64_t vaddr; uint32_t verdict, pad; };

static int read_at(int fd, void *buf, uint64_t len, uint64_t off) {
    char *p = buf;
    while (len) {
        ssize_t n = pread(fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? -errno : -ENOEXEC;
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

static int segment(struct tv_vm *vm, int fd, const struct seg *s, uint64_t bias) {
    struct tv_mem *m = &vm->mem;
    int prot = (s->flags & 4 ? PROT_READ : 0) | (s->flags & 2 ? PROT_WRITE : 0) | (s->flags & 1 ? PROT_EXEC : 0);
    uint64_t start = PG_DOWN(s->vaddr + bias), data_end = s->vaddr + bias + s->filesz, end = PG_UP(s->vaddr + bias + s->memsz);
    uint64_t file_end = s->filesz ? PG_UP(data_end) : start;
    if (start < TV_MIN || end > m->top || end < start || file_end > end) return -ENOEXEC;
    int flags = VMA_IMAGE | (s->flags & 1 && !(s->flags & 2) ? VMA_TEXT : 0);
    if (s->filesz) {
        if (mmap(m->base + start, file_end - start, prot & PROT_WRITE ? PROT_READ | PROT_WRITE : PROT_READ,
                 MAP_PRIVATE | MAP_FIXED, fd, (off_t)PG_DOWN(s->off)) == MAP_FAILED) return -errno;
        if (s->memsz > s->filesz && prot & PROT_WRITE && data_end < file_end) memset(m->base + data_end, 0, file_end - data_end);
        if (!prot) mprotect(m->base + start, file_end - start, PROT_NONE);
        int r = map_enter(vm, start, file_end, prot, flags | VMA_FILE);
        if (r) return r;
    }
    if (end > file_end) {
        int r = map_anon(vm, file_end, end, prot, flags);
        if (r) return r;
        if (prot & PROT_WRITE && end - file_end <= 256 << 10) madvise(m->base + file_end, end - file_end, MADV_POPULATE_WRITE);
    }
    return 0;
}

/* A program without an image file: what loader/headers.py would find in it. The net and late patches do the rest. */
static int elf_header(int fd, struct header *h, struct seg **out) {
    Elf64_Ehdr e;
    Elf64_Phdr p;
    int r = read_at(fd, &e, sizeof e, 0);
    if (r) return r;
    if (e.e_phentsize != sizeof p || !e.e_phnum || e.e_phnum > MAX_SEGS) return -ENOEXEC;
    struct seg *segs = calloc(e.e_phnum, sizeof *segs);
    if (!segs) return -ENOMEM;
    *h = (struct header){.flags = e.e_type == ET_DYN, .entry = e.e_entry, .phent = sizeof p, .phnum = e.e_phnum, .lo = ~0ull};
    for (unsigned i = 0; !r && i < e.e_phnum; i++) {
        if ((r = read_at(fd, &p, sizeof p, e.e_phoff + i * sizeof p))) break;
        if (p.p_type == PT_GNU_STACK && p.p_flags & PF_X) h->flags |= 2;
        if (p.p_type != PT_LOAD || !p.p_memsz) continue;
        if (p.p_memsz > 1ull << 40 || p.p_vaddr > 1ull << 40) { r = -ENOEXEC; break; }
        if (p.p_offset <= e.e_phoff && e.e_phoff < p.p_offset + p.p_filesz) h->phdr = e.e_phoff - p.p_offset + p.p_vaddr;
        if (PG_DOWN(p.p_vaddr) < h->lo) h->lo = PG_DOWN(p.p_vaddr);
        if (PG_UP(p.p_vaddr + p.p_memsz) > h->hi) h->hi = PG_UP(p.p_vaddr + p.p_memsz);
        segs[h->nseg++] = (struct seg){p.p_vaddr, p.p_memsz, p.p_filesz, p.p_filesz ? p.p_offset : p.p_vaddr & PG_MASK, p.p_flags & 7, 0};
    }
    if (!r && !h->nseg) r = -ENOEXEC;
    if (r) free(segs);
    else *out = segs;
    return r;
}

/* loader: the program interpreter (PT_INTERP), beside a program that is there already. */
int load_image(struct tv_vm *vm, int fd, bool loader, const char **what) {
    struct header h;
    struct stat st;
    struct seg *segs = NULL;
    uint64_t *sites = NULL;
    struct trap *traps = NULL;
    struct tv_mem *m = &vm->mem;
    *what = "image file";
    int r = fstat(fd, &st) < 0 ? -errno : read_at(fd, &h, sizeof h, 0);
    if (r) return r;
    uint64_t size = (uint64_t)st.st_size;
    bool plain = !memcmp(h.magic, ELFMAG, SELFMAG);
    if (plain && (r = elf_header(fd, &h, &segs))) return r;
    if (plain) h.size = sizeof h, h.version = 1;
    if ((!plain && memcmp(h.magic, "TOROVIM1", 8)) || h.version != 1 || h.size != sizeof h || !h.nseg || h.nseg > MAX_SEGS ||
        h.nsite > MAX_SITES || h.ntrap > MAX_SITES || h.seg_off > size || h.site_off > size || h.trap_off > size ||
        h.body_off > size || h.body_size > size - h.body_off || h.lo >= h.hi || h.hi > m->top || h.phnum > 0xffff) { free(segs); return -ENOEXEC; }
    r = -ENOMEM;
    if (!plain) segs = calloc(h.nseg, sizeof *segs);
    sites = calloc(h.nsite + 1, sizeof *sites);
    traps = calloc(h.ntrap + 1, sizeof *traps);
    if (!segs || !sites || !traps) goto out;
    if ((!plain && (r = read_at(fd, segs, h.nseg * sizeof *segs, h.seg_off))) || (r = read_at(fd, sites, h.nsite * sizeof *sites, h.site_off)) ||
        (r = read_at(fd, traps, h.ntrap * sizeof *traps, h.trap_off))) goto out;
    uint64_t bias = !(h.flags & 1) ? 0 : loader ? LOADER_BASE : PIE_BASE;
    if (bias && h.hi > m->top - bias - 64 * GIB) { r = -ENOEXEC; goto out; }
    for (uint32_t i = 0; i < h.nseg; i++) {
        const struct seg *s = &segs[i];
        r = -ENOEXEC;
        if (s->filesz > s->memsz || s->off < h.body_off || s->off > size || s->filesz > size - s->off ||
            (s->vaddr ^ s->off) & PG_MASK || s->vaddr < h.lo || s->vaddr > h.hi || s->memsz > h.hi - s->vaddr) goto out;
        if (s->memsz && (r = segment(vm, fd, s, bias))) goto out;
    }
    for (uint32_t i = 0; i < h.nsite; i++)
        if ((r = site_put(&vm->sites, sites[i] + bias, SITE_PATCHED))) goto out;
    for (uint32_t i = 0; i < h.ntrap; i++) { /* verdicts: rewrite/sites.py; EMBEDDED 3, DATA 5, KEEP 6 */
        int v = traps[i].verdict == 3 || traps[i].verdict == 5 ? SITE_GADGET : traps[i].verdict == 6 ? SITE_KEEP : SITE_AMBIGUOUS;
        if ((r = site_put(&vm->sites, traps[i].vaddr + bias, v))) goto out;
    }
    r = 0;
    if (vm->flags & TV_F_SEALED) symbol_file(vm, loader, fd, size, plain ? 0 : h.body_off, plain ? size : h.body_size);
    if (loader) {
        vm->loader_base = bias;
        vm->loader_entry = h.entry + bias;
        goto out;
    }
    vm->image_bias = bias;
    vm->image_lo = h.lo + bias;
    vm->image_hi = h.hi + bias;
    vm->entry = h.entry + bias;
    vm->phdr = h.phdr ? h.phdr + bias : 0;
    vm->phent = h.phent;
    vm->phnum = h.phnum;
    /* [image][heap ...][stack][vdso, mappings ...]: ToroV's order. The stack begins a GiB, so that its memslot is small. */
    m->brk_start = m->brk = (vm->image_hi + HUGE - 1) & ~(HUGE - 1);
    gva stack_at = (vm->image_hi + 16 * GIB) & ~(GIB - 1);
    if (stack_at > m->top - 32 * GIB) stack_at = vm->image_lo > 24 * GIB ? 16 * GIB : m->top - 32 * GIB;
    vm->stack_lo = stack_at;
    m->brk_max = stack_at > m->brk ? stack_at - GIB : m->top - GIB;
    if (h.flags & 2) vm->flags |= TV_F_EXEC_STACK;
    r = 0;
out:
    free(segs);
    free(sites);
    free(traps);
    return r;
}
