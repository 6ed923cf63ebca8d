/* What a program leaves that a signal ends: core(5), elf(5), fs/binfmt_elf.c of Linux. Each thread says what its registers are as it
 * leaves; the last to go writes the file. In it stands the guest and nothing of the monitor; patched sites are `syscall` again. */
#include "coredump.h"
#include "proc.h"
#include "text.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <unistd.h>

struct tv_left { /* a thread that has left */
    struct tv_left *next;
    pid_t tid;
    struct tv_regs regs;
    uint64_t fs, gs, call, sigmask;
    uint8_t fpu[CPU_XSAVE];
};

static const struct { int sig; const char *name; } dumps[] = { /* signal(7): the actions "Core" */
    {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"}, {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"},
    {SIGSEGV, "SIGSEGV"}, {SIGSYS, "SIGSYS"}, {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"}};

const char *dump_signal(int sig) {
    for (size_t i = 0; i < sizeof dumps / sizeof *dumps; i++)
        if (dumps[i].sig == sig) return dumps[i].name;
    return NULL;
}

/* Is a core file wanted? A resource limit asks for one where the monitor may write files, and the program may be looked into (prctl(2)). */
bool dump_wanted(const struct tv_vm *vm) {
    if (vm->keep[KEEP_CORE] >= 0) return true;
    return !(vm->flags & TV_F_SEALED) && vm->rlim_own & 1u << RLIMIT_CORE && vm->rlim[RLIMIT_CORE].cur && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1;
}

static int signal_of(const struct tv_stop *end) { return end->kind == TV_SIGNALLED ? end->status : end->kind == TV_KILLED ? SIGSYS : 0; }

/* By each thread when its process has ended. */
void dump_leave(struct tv_vm *vm) {
    struct tv_thread *t = tv_me;
    struct tv_proc *p = t->proc;
    if (!dump_wanted(vm) || !dump_signal(signal_of(&p->end))) return;
    pthread_mutex_lock(&vm->lock);
    struct tv_left *l = p->left;
    while (l && l->tid != t->tid) l = l->next;
    pthread_mutex_unlock(&vm->lock);
    if (l || !(l = calloc(1, sizeof *l))) return;
    l->tid = t->tid;
    l->regs = *t->cpu->regs;
    l->sigmask = t->sigmask;
    l->call = ~0ull;
    if (t->restart) { /* in a call, as Linux shows it: entry_64.S and ERESTARTSYS */
        l->call = l->regs.rax;
        l->regs.rax = (uint64_t)-(int64_t)(t->restart == RESTART_EINTR ? RESTART_SYS : t->restart);
    }
    if (cpu_get_fpu(t->cpu, l->fpu) || cpu_get_base(t->cpu, false, &l->fs) || cpu_get_base(t->cpu, true, &l->gs)) memset(l->fpu, 0, sizeof l->fpu);
    pthread_mutex_lock(&vm->lock);
    l->next = p->left;
    p->left = l;
    pthread_mutex_unlock(&vm->lock);
}

/* The notes, collected before the file is begun: the header says how long they are. */
static void note(struct proc_text *t, const char *owner, uint32_t type, const void *data, size_t n) {
    static const char zero[4];
    Elf64_Nhdr h = {(uint32_t)strlen(owner) + 1, (uint32_t)n, type};
    proc_add(t, &h, sizeof h);
    proc_add(t, owner, h.n_namesz);
    proc_add(t, zero, -h.n_namesz & 3);
    proc_add(t, data, n);
    proc_add(t, zero, -n & 3);
}

/* NT_FILE: count, page size, start end offset of each, then their names. */
struct files { uint64_t count; struct proc_text rows, names; };

static void add_file(struct files *f, uint64_t lo, uint64_t hi, uint64_t offset, const char *path) {
    uint64_t row[3] = {lo, hi, offset / PG};
    proc_add(&f->rows, row, sizeof row);
    proc_add(&f->names, path, strlen(path) + 1);
    f->count++;
}

/* From the guest's own /proc/self/maps. */
static void files_of_maps(struct tv_vm *vm, struct files *f) {
    struct proc_text maps = {0};
    uint64_t lo, hi, offset, inode;
    int host = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (host < 0) return;
    proc_files[0].write(vm, &maps, host, tv_me);
    close(host);
    proc_add(&maps, "", 1);
    for (char *p = maps.p, *eol; !maps.failed && *p && (eol = strchr(p, '\n')); p = eol + 1) {
        int skip = 0;
        *eol = 0;
        if (sscanf(p, "%lx-%lx %*4s %lx %*x:%*x %lu %n", &lo, &hi, &offset, &inode, &skip) == 4 && skip && p[skip] == '/') add_file(f, lo, hi, offset, p + skip);
    }
    free(maps.p);
}

/* Where that cannot be asked: from the headers of the objects that the dynamic linker knows. */
static void files_of_objects(struct tv_vm *vm, struct files *f) {
    enum { ROOM = 64 << 10 };
    char *text = calloc(1, ROOM);
    Elf64_Ehdr e;
    Elf64_Phdr p;
    uint64_t base, lo, end;
    if (!text) return;
    text[symbol_objects(vm, text, ROOM - 1)] = 0;
    for (char *at = text, *eol; *at && (eol = strchr(at, '\n')); at = eol + 1) {
        int skip = 0;
        *eol = 0;
        if (sscanf(at, "%lx %lx %lx %n", &base, &lo, &end, &skip) < 3 || !skip || at[skip] != '/' || tv_copy_in(vm, &e, lo, sizeof e)) continue;
        for (unsigned i = 0; i < e.e_phnum && i < 64 && !tv_copy_in(vm, &p, lo + e.e_phoff + i * sizeof p, sizeof p); i++)
            if (p.p_type == PT_LOAD && p.p_filesz) add_file(f, PG_DOWN(base + p.p_vaddr), PG_UP(base + p.p_vaddr + p.p_filesz), PG_DOWN(p.p_offset), at + skip);
    }
    free(text);
}

static void file_note(struct tv_vm *vm, struct proc_text *t) {
    struct files f = {0};
    struct proc_text all = {0};
    if (vm->flags & TV_F_SEALED) files_of_objects(vm, &f);
    else files_of_maps(vm, &f);
    uint64_t head[2] = {f.count, PG};
    proc_add(&all, head, sizeof head);
    if (f.count) proc_add(&all, f.rows.p, f.rows.n), proc_add(&all, f.names.p, f.names.n);
    if (f.count && !all.failed && !f.rows.failed && !f.names.failed && all.n < 4 << 20) note(t, "CORE", NT_FILE, all.p, all.n);
    free(f.rows.p), free(f.names.p), free(all.p);
}

static void thread_notes(struct tv_vm *vm, struct proc_text *t, const struct tv_left *l, bool first) {
    const struct tv_proc *p = tv_me->proc;
    const struct tv_regs *r = &l->regs;
    struct elf_prstatus s = {0};
    uint64_t features;
    unsigned size = cpu_xsave_size(&features);
    uint8_t fpu[CPU_XSAVE];
    const uint64_t regs[27] = {r->r15, r->r14, r->r13, r->r12, r->rbp, r->rbx, r->r11, r->r10, r->r9, r->r8, r->rax, r->rcx, r->rdx, r->rsi, r->rdi,
        l->call, r->rip, 0x33, r->rflags, r->rsp, 0x2b, l->fs, l->gs};
    s.pr_info.si_signo = s.pr_cursig = (short)signal_of(&p->end);
    s.pr_info.si_code = p->died.si_code;
    s.pr_sighold = l->sigmask;
    s.pr_pid = l->tid;
    if (!(vm->flags & TV_F_SEALED)) s.pr_ppid = getppid(), s.pr_pgrp = getpgrp(), s.pr_sid = getsid(0);
    _Static_assert(sizeof s.pr_reg == sizeof regs, "user_regs_struct");
    memcpy(&s.pr_reg, regs, sizeof regs);
    s.pr_fpvalid = 1;
    note(t, "CORE", NT_PRSTATUS, &s, sizeof s);
    if (first) { /* the kernel's order */
        struct elf_prpsinfo i = {.pr_sname = 'R', .pr_uid = getuid(), .pr_pid = p->pid, .pr_ppid = s.pr_ppid, .pr_pgrp = s.pr_pgrp, .pr_sid = s.pr_sid};
        const char *name = strrchr(vm->exe, '/');
        uint64_t n = vm->arg_end - vm->arg_start;
        snprintf(i.pr_fname, sizeof i.pr_fname, "%s", name ? name + 1 : vm->exe);
        if (tv_copy_in(vm, i.pr_psargs, vm->arg_start, n < sizeof i.pr_psargs ? n : sizeof i.pr_psargs - 1)) i.pr_psargs[0] = 0;
        for (size_t k = 0; n && k + 1 < n && k + 1 < sizeof i.pr_psargs; k++)
            if (!i.pr_psargs[k]) i.pr_psargs[k] = ' ';
        note(t, "CORE", NT_PRPSINFO, &i, sizeof i);
        note(t, "CORE", NT_SIGINFO, &p->died, sizeof p->died);
        uint64_t aux[64];
        uint64_t bytes = vm->auxv_size < sizeof aux ? vm->auxv_size : sizeof aux;
        if (!tv_copy_in(vm, aux, vm->auxv, bytes)) note(t, "CORE", NT_AUXV, aux, bytes);
        file_note(vm, t);
    }
    memcpy(fpu, l->fpu, sizeof fpu);
    memset(fpu + 464, 0, 48);
    note(t, "CORE", NT_PRFPREG, fpu, 512);
    memcpy(fpu + 464, &features, sizeof features); /* XCR0: where gdb looks for it */
    note(t, "LINUX", NT_X86_XSTATE, fpu, size);
}

/* Bits of /proc/self/coredump_filter: anonymous private 1, shared 2; of files private 4, shared 8; ELF headers 16; huge pages 32. */
static unsigned filter_of(const struct tv_vm *vm) {
    char text[32] = "";
    int fd = vm->flags & TV_F_SEALED ? -1 : open("/proc/self/coredump_filter", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    return n > 0 ? (unsigned)strtoul(text, NULL, 16) : 0x33;
}

/* vma_dump_size() of Linux: how much of a mapping is in the file. */
static uint64_t part_of(struct tv_vm *vm, const struct tv_vma *v, unsigned filter) {
    char magic[4];
    uint64_t len = v->end - v->start;
    bool file = v->flags & VMA_FILE, written = !file || v->prot & PROT_WRITE || v->flags & VMA_WRITTEN;
    if (v->flags & (VMA_NODUMP | VMA_VDSO)) return 0; /* vvar */
    if (v->flags & VMA_SHARED) return filter & (file ? 8 : 2) ? len : 0;
    if (written && filter & 1) return v->prot || v->flags & VMA_WRITTEN ? len : 0;
    if (file && filter & 4) return len;
    return file && filter & 16 && !tv_copy_in(vm, magic, v->start, 4) && !memcmp(magic, ELFMAG, 4) ? PG : 0;
}

/* Which pages of the host has it touched? One byte each; pages that were swapped out count where the host tells. */
static void touched(struct tv_vm *vm, int pagemap, gva at, uint64_t pages, uint8_t *out) {
    uint64_t entry[CORE_PIECE / PG * 8], base = (uintptr_t)vm->mem.base + at;
    if (pagemap >= 0 && pread(pagemap, entry, pages * 8, (off_t)(base / PG * 8)) == (ssize_t)(pages * 8)) {
        for (uint64_t i = 0; i < pages; i++) out[i] = entry[i] >> 62 != 0;
    } else if (sys6(27, base, pages * PG, (uintptr_t)out, 0, 0, 0)) { /* mincore(2) */
        memset(out, 1, pages);
    }
}

static int by_address(const void *a, const void *b) { return *(const uint64_t *)a < *(const uint64_t *)b ? -1 : *(const uint64_t *)a > *(const uint64_t *)b; }

struct sites { uint64_t *at; size_t n; };

static struct sites patched_sites(const struct tv_vm *vm) {
    const struct site_table *t = vm->sites.now;
    struct sites s = {t ? calloc(t->n + 1, sizeof *s.at) : NULL, 0};
    for (size_t i = 0; s.at && i <= t->mask && s.n < t->n; i++)
        if (t->key[i] && t->val[i] == SITE_PATCHED) s.at[s.n++] = t->key[i];
    if (s.n) qsort(s.at, s.n, sizeof *s.at, by_address);
    return s;
}

/* The program's own two bytes, where one of ours are in [at, at + n). */
static void unpatch(const struct sites *s, gva at, uint8_t *data, uint64_t n) {
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->at[mid] + 1 < at) lo = mid + 1;
        else hi = mid;
    }
    for (; lo < s->n && s->at[lo] < at + n; lo++) {
        uint64_t site = s->at[lo];
        if (site >= at && data[site - at] == 0xe7) data[site - at] = 0x0f;
        if (site + 1 >= at && site + 1 < at + n && data[site + 1 - at] == TV_PORT_CALL) data[site + 1 - at] = 0x05;
    }
}

static bool zero(const uint8_t *p) {
    const uint64_t *w = (const void *)p;
    for (size_t i = 0; i < PG / 8; i++)
        if (w[i]) return false;
    return true;
}

static void memory(struct tv_vm *vm, struct core_file *f, const struct tv_vma *v, uint64_t len, const struct sites *sites, int pagemap) {
    uint8_t *data = malloc(CORE_PIECE);
    bool hidden = !v->prot && !tv_me->proc->shares;
    if (!data) f->err = ENOMEM;
    if (hidden) mprotect(vm->mem.base + v->start, len, PROT_READ); /* nobody runs here any more */
    for (uint64_t done = 0; done < len && !f->err; done += CORE_PIECE) {
        uint64_t n = len - done < CORE_PIECE ? len - done : CORE_PIECE;
        uint8_t there[CORE_PIECE / PG];
        if (v->flags & VMA_FILE) memset(there, 1, sizeof there); /* the file's contents, touched or not */
        else touched(vm, pagemap, v->start + done, n / PG, there);
        for (uint64_t at = 0; at < n; at += PG)
            if (!there[at / PG] || tv_copy_in(vm, data + at, v->start + done + at, PG)) memset(data + at, 0, PG);
        if (v->prot & PROT_EXEC || v->flags & VMA_TEXT) unpatch(sites, v->start + done, data, n);
        for (uint64_t at = 0, to; at < n; at = to) { /* runs of zero pages are holes */
            bool hole = zero(data + at);
            for (to = at + PG; to < n && zero(data + to) == hole; to += PG) { }
            if (hole) dump_skip(f, to - at);
            else dump_put(f, data + at, to - at);
        }
    }
    if (hidden) mprotect(vm->mem.base + v->start, len, PROT_NONE);
    free(data);
}

static int write_core(struct tv_vm *vm, struct core_file *f) {
    struct tv_mem *m = &vm->mem;
    struct proc_text notes = {0};
    struct tv_proc *p = tv_me->proc;
    unsigned filter = filter_of(vm);
    uint64_t *part = calloc(m->nvma + 1, sizeof *part);
    struct sites sites = patched_sites(vm);
    if (!part) return -ENOMEM;
    for (struct tv_left **l = &p->left; *l; l = &(*l)->next) /* the one that died comes first */
        if ((*l)->tid == p->culprit) {
            struct tv_left *one = *l;
            *l = one->next;
            one->next = p->left;
            p->left = one;
            break;
        }
    for (const struct tv_left *l = p->left; l; l = l->next) thread_notes(vm, &notes, l, l == p->left);
    uint64_t nph = m->nvma + 1, offset;
    bool many = nph >= PN_XNUM;
    Elf64_Ehdr e = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT}, .e_type = ET_CORE, .e_machine = EM_X86_64,
        .e_version = EV_CURRENT, .e_phoff = sizeof e, .e_ehsize = sizeof e, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = many ? PN_XNUM : (uint16_t)nph};
    uint64_t head = sizeof e + nph * sizeof(Elf64_Phdr);
    if (many) e.e_shoff = head, e.e_shentsize = sizeof(Elf64_Shdr), e.e_shnum = 1;
    Elf64_Shdr extra = {.sh_size = 1, .sh_info = (uint32_t)nph};
    if (many) head += sizeof extra;
    int r = notes.failed ? -ENOMEM : dump_open(vm, f, p->pid);
    if (!r) {
        dump_put(f, &e, sizeof e);
        Elf64_Phdr ph = {.p_type = PT_NOTE, .p_offset = head, .p_filesz = notes.n};
        dump_put(f, &ph, sizeof ph);
        offset = PG_UP(head + notes.n);
        for (size_t i = 0; i < m->nvma; i++) {
            const struct tv_vma *v = &m->vma[i];
            part[i] = part_of(vm, v, filter);
            ph = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = (v->prot & 1 ? PF_R : 0) | (v->prot & 2 ? PF_W : 0) | (v->prot & 4 ? PF_X : 0), .p_offset = offset,
                              .p_vaddr = v->start, .p_filesz = part[i], .p_memsz = v->end - v->start, .p_align = PG};
            dump_put(f, &ph, sizeof ph);
            offset += part[i];
        }
        if (many) dump_put(f, &extra, sizeof extra);
        dump_put(f, notes.p, notes.n);
        dump_skip(f, PG_UP(f->at) - f->at);
        int pagemap = vm->flags & TV_F_SEALED ? -1 : open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        for (size_t i = 0; i < m->nvma && !f->err && f->at < f->most; i++)
            if (part[i]) memory(vm, f, &m->vma[i], part[i], &sites, pagemap);
        if (pagemap >= 0) close(pagemap);
        r = -dump_close(f);
    }
    free(notes.p), free(part), free(sites.at);
    return r;
}

/* si_code of sigaction(2): why the CPU said so. */
static const struct { int sig, code; const char *text; } reasons[] = {
    {SIGFPE, FPE_INTDIV, "integer division by zero"}, {SIGFPE, FPE_INTOVF, "integer overflow"}, {SIGFPE, FPE_FLTDIV, "division by zero"},
    {SIGFPE, FPE_FLTOVF, "overflow"}, {SIGFPE, FPE_FLTUND, "underflow"}, {SIGFPE, FPE_FLTRES, "inexact result"}, {SIGFPE, FPE_FLTINV, "invalid operation"},
    {SIGILL, ILL_ILLOPN, "no such instruction"}, {SIGBUS, BUS_ADRALN, "not aligned"}, {SIGTRAP, SI_KERNEL, "int3"}, {SIGTRAP, TRAP_TRACE, "single step"},
    {SIGSEGV, SI_KERNEL, "general protection"}, {SIGKILL, SI_KERNEL, "the host has no memory"}};

/* The end in words: `SIGSEGV (address 0x10 is not mapped) at main+0x1c`. */
static void tell(struct tv_vm *vm, struct tv_proc *p) {
    struct tv_stop *e = &p->end;
    struct line l = {.n = 0};
    char where[160] = "";
    int sig = e->status, code = e->code;
    const char *name = dump_signal(sig);
    bool access = (sig == SIGSEGV && (code == SEGV_MAPERR || code == SEGV_ACCERR)) || (sig == SIGBUS && code == BUS_ADRERR);
    add(&l, name ? name : "SIGKILL");
    if (access) {
        add(&l, " (address "), add_hex(&l, e->addr);
        if (sig == SIGBUS) add(&l, " is behind the end of its file)");
        else if (code == SEGV_MAPERR) add(&l, " is not mapped)");
        else add(&l, e->err & 16 ? " may not be executed)" : e->err & 2 ? " may not be written)" : " may not be read)");
    } else if (code <= 0) {
        if (p->died.si_pid == p->pid) add(&l, " (sent by itself)");
        else if (p->died.si_pid > 0) add(&l, " (sent by "), add_number(&l, p->died.si_pid), add(&l, ")");
    }
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].sig == sig && reasons[i].code == code) add(&l, " ("), add(&l, reasons[i].text), add(&l, ")");
    symbol_where(vm, where, sizeof where, e->rip, p->died_sp);
    if (where[0]) add(&l, " at "), add(&l, where);
    l.text[sizeof e->text - 1] = 0;
    strcpy(e->text, l.text);
}

/* When all threads have left: what happened where, and the file. */
void dump_end(struct tv_vm *vm) {
    struct tv_proc *p = tv_me->proc;
    struct core_file f;
    struct rlimit descriptors, size;
    struct tv_left *next;
    bool wanted = dump_wanted(vm) && dump_signal(signal_of(&p->end));
    if (tv_me->held) decide_done();
    if (p->end.kind == TV_SIGNALLED && (p->end.code > 0 || dump_signal(p->end.status)) && !(vm->flags & TV_F_QUIET) && (wanted || !p->child)) tell(vm, p);
    if (!wanted) return;
    if (!tv_me->gone) dump_leave(vm);
    if (p->end.kind == TV_KILLED) p->died = (siginfo_t){.si_signo = SIGSYS, .si_code = 1 /* SYS_SECCOMP */};
    host_mask(~0ull);
    getrlimit(RLIMIT_FSIZE, &size); /* the guest's own, and not about this */
    struct rlimit most = {size.rlim_max, size.rlim_max};
    setrlimit(RLIMIT_FSIZE, &most);
    vm_more_fds(&descriptors);
    int r = write_core(vm, &f);
    vm_less_fds(&descriptors);
    setrlimit(RLIMIT_FSIZE, &size);
    p->end.core_err = -r;
    if (!r) memcpy(p->end.core, f.name, sizeof p->end.core), p->end.core_size = f.at;
    for (struct tv_left *l = p->left; l; l = next) next = l->next, free(l);
    p->left = NULL;
}
