/* The files of /proc/PID that would show the monitor: maps and its kin from the guest's own list of mappings, the others
 * as the host says them, with the guest's numbers in place. proc(5); fs/proc/task_mmu.c and array.c of Linux. */
#include "proc.h"

#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MOST (256ull << 20)

static bool fit(struct proc_text *t, size_t more) {
    if (t->failed || t->n + more > MOST) return !(t->failed = true);
    if (t->n + more <= t->cap) return true;
    size_t cap = (t->n + more) * 2 + 4096;
    char *p = realloc(t->p, cap);
    if (!p) return !(t->failed = true);
    t->p = p;
    t->cap = cap;
    return true;
}
static void add(struct proc_text *t, const void *p, size_t n) {
    if (!fit(t, n)) return;
    memcpy(t->p + t->n, p, n);
    t->n += n;
}
void proc_add(struct proc_text *t, const void *p, size_t n) { add(t, p, n); }
__attribute__((format(printf, 2, 3))) static void say(struct proc_text *t, const char *format, ...) {
    char line[8192];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (n > 0) add(t, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}
static void pad(struct proc_text *t, size_t from, size_t width) {
    while (t->n < from + width && !t->failed) add(t, " ", 1);
}

/* All of a file, with a NUL behind it. */
static void read_all(struct proc_text *t, int fd) {
    for (ssize_t n = 1; n > 0;) {
        if (!fit(t, 65536)) return;
        n = pread(fd, t->p + t->n, 65535, (off_t)t->n);
        if (n > 0) t->n += (size_t)n;
    }
    if (fit(t, 1)) t->p[t->n] = 0;
}
static void read_own(struct proc_text *t, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { t->failed = true; return; }
    read_all(t, fd);
    close(fd);
}

/* One mapping of the host inside the window, in guest addresses. */
struct seen { gva start, end; char shared; uint64_t offset; unsigned major, minor; uint64_t inode; const char *path, *fields; int path_len; };

/* The next mapping at *at of maps or smaps; false at the end. fields: where the lines of smaps begin. */
static bool next_seen(const struct tv_vm *vm, const char **at, struct seen *s) {
    uint64_t base = (uintptr_t)vm->mem.base, lo, hi;
    char prot[5];
    int skip = 0;
    for (const char *p = *at; p && *p;) {
        const char *eol = strchrnul(p, '\n');
        bool head = sscanf(p, "%lx-%lx %4s %lx %x:%x %lu%n", &lo, &hi, prot, &s->offset, &s->major, &s->minor, &s->inode, &skip) == 7;
        const char *line = p;
        p = *eol ? eol + 1 : eol;
        if (!head || hi <= base || lo >= base + vm->mem.top) continue;
        s->start = lo < base ? 0 : lo - base;
        if (lo < base) s->offset += base - lo;
        s->end = hi - base;
        s->shared = prot[3];
        s->path = line + skip;
        while (*s->path == ' ') s->path++;
        s->path_len = (int)(eol - s->path);
        s->fields = *at = p;
        return true;
    }
    return false;
}

static const char *special_name(const struct tv_vm *vm, const struct tv_vma *v) {
    if (v->flags & VMA_STACK) return "[stack]";
    if (v->flags & VMA_HEAP) return "[heap]";
    if (v->flags & VMA_VDSO) return "[vvar]";
    return vm->vdso && v->start >= vm->vdso && v->end <= vm->vdso_end ? "[vdso]" : NULL;
}

static void map_line(struct tv_vm *vm, struct proc_text *t, const struct tv_vma *v, gva start, gva end, const struct seen *s) {
    size_t from = t->n;
    const char *name = special_name(vm, v);
    char shared = s ? s->shared : 'p';
    struct stat st = {0};
    bool image = v->flags & VMA_IMAGE && v->flags & VMA_FILE && !name && s;
    const char *file = image ? start >= vm->image_lo && start < vm->image_hi ? vm->exe : vm->interp : NULL;
    if (file && stat(file, &st)) st.st_dev = st.st_ino = 0;
    /* a program begins at the second page of its image file, and at the first of its own */
    uint64_t offset = !s ? 0 : s->offset + (start - s->start) - (image && s->inode != st.st_ino ? PG : 0);
    say(t, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", start, end, v->prot & 1 ? 'r' : '-', v->prot & 2 ? 'w' : '-', v->prot & 4 ? 'x' : '-',
        shared, offset, file ? major(st.st_dev) : s ? s->major : 0, file ? minor(st.st_dev) : s ? s->minor : 0, file ? st.st_ino : s ? s->inode : 0);
    if (name || file || (s && s->path_len)) {
        pad(t, from, 73);
        if (name || file) say(t, "%s", name ? name : file);
        else add(t, s->path, (size_t)s->path_len);
    }
    add(t, "\n", 1);
}

/* The value of a field of smaps in kB; the fields end where the next mapping begins. */
static uint64_t field(const char *fields, const char *name) {
    size_t n = strlen(name);
    for (const char *p = fields; *p >= 'A' && *p <= 'Z'; p = strchrnul(p, '\n'), p += *p == '\n')
        if (!strncmp(p, name, n) && p[n] == ':') return strtoul(p + n + 1, NULL, 10);
    return 0;
}

/* Lines of smaps for a piece: the host's, if the piece is the host's mapping; else only the first piece has its pages. */
static void fields_of(struct proc_text *t, const struct seen *s, gva start, gva end) {
    bool first = start == s->start;
    for (const char *p = s->fields; *p >= 'A' && *p <= 'Z'; p = strchrnul(p, '\n'), p += *p == '\n') {
        size_t n = (size_t)(strchrnul(p, '\n') - p);
        const char *unit = memmem(p, n, " kB", 3);
        if (!strncmp(p, "Size:", 5)) say(t, "Size:           %8lu kB\n", (end - start) >> 10);
        else if (unit && !first && !memmem(p, n, "PageSize:", 9)) say(t, "%-15.*s %8u kB\n", (int)((const char *)memchr(p, ':', n) + 1 - p), p, 0u);
        else add(t, p, n), add(t, "\n", 1);
    }
}

/* The guest's list of mappings is the truth about addresses and rights; the host's about files, and about pages. A mapping of
 * the guest may be several of the host's (late patches), and the other way round. */
static void write_maps(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) {
    struct proc_text all = {0};
    read_all(&all, host);
    if (all.failed) { t->failed = true; free(all.p); return; }
    const char *at = all.p;
    struct seen s = {0};
    bool have = next_seen(vm, &at, &s);
    bool detailed = have && s.fields[0] == 'S';
    for (size_t i = 0; i < vm->mem.nvma && !t->failed; i++) {
        const struct tv_vma *v = &vm->mem.vma[i];
        bool by_file = v->flags & (VMA_FILE | VMA_SHARED);
        while (have && s.end <= v->start) have = next_seen(vm, &at, &s);
        if (v->flags & VMA_VDSO) { map_line(vm, t, v, v->start, v->end, NULL); continue; }
        if (!by_file && !detailed) { map_line(vm, t, v, v->start, v->end, NULL); continue; }
        gva from = v->start;
        while (have && s.start < v->end && from < v->end) {
            struct seen now = s;
            gva end = s.end < v->end ? s.end : v->end;
            if (!detailed) { /* neighbours of the same file are one line, as long as they follow each other in it */
                while (end < v->end && have && (have = next_seen(vm, &at, &s)) && s.start == end && s.inode == now.inode &&
                       s.offset == now.offset + (s.start - now.start)) end = s.end < v->end ? s.end : v->end;
            }
            map_line(vm, t, v, from, end, by_file ? &now : NULL);
            if (detailed) fields_of(t, &now, from, end);
            from = end;
            if (have && s.end <= from && from < v->end) have = next_seen(vm, &at, &s);
        }
        if (from < v->end) map_line(vm, t, v, from, v->end, NULL);
    }
    free(all.p);
}

static bool is_shmem(const struct seen *s) {
    static const char *const names[] = {"/dev/zero", "/SYSV", "/memfd:", "/dev/shm/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(s->path, names[i], strlen(names[i]))) return true;
    return false;
}

struct use { uint64_t bytes, data, stack, text, lib, rss, anon, shmem; }; /* bytes; rss and what follows in kB */

static struct use use_of(struct tv_vm *vm) {
    struct use u = {0};
    struct proc_text all = {0};
    struct seen s;
    for (size_t i = 0; i < vm->mem.nvma; i++) {
        const struct tv_vma *v = &vm->mem.vma[i];
        uint64_t len = v->end - v->start;
        u.bytes += len;
        if (v->flags & VMA_STACK) u.stack += len;
        else if (v->prot & 2 && !(v->flags & VMA_SHARED)) u.data += len;
        else if (v->prot & 4 && v->start >= vm->image_lo && v->start < vm->image_hi) u.text += len;
        else if (v->prot & 4) u.lib += len;
    }
    read_own(&all, "/proc/self/smaps");
    for (const char *at = all.p; !all.failed && next_seen(vm, &at, &s);) {
        uint64_t rss = field(s.fields, "Rss"), anon = field(s.fields, "Anonymous");
        u.rss += rss;
        u.anon += anon;
        if (is_shmem(&s)) u.shmem += rss - anon;
    }
    free(all.p);
    if (u.bytes > vm->peak) vm->peak = u.bytes;
    return u;
}

static uint64_t mask_of(const struct tv_vm *vm, bool ignored) {
    uint64_t m = 0;
    for (int s = 1; s <= 64; s++)
        if (ignored ? tv_me->proc->sig->act[s].handler == 1 : tv_me->proc->sig->act[s].handler > 1) m |= 1ull << (s - 1);
    return m;
}

static void write_status(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) {
    struct proc_text all = {0};
    struct use u = use_of(vm);
    read_all(&all, host);
    if (all.failed) { t->failed = true; free(all.p); return; }
    const struct { const char *name; uint64_t value; int hex; } lines[] = {
        {"VmPeak", vm->peak >> 10, 0}, {"VmSize", u.bytes >> 10, 0}, {"VmHWM", u.rss, 0}, {"VmRSS", u.rss, 0}, {"RssAnon", u.anon, 0},
        {"RssFile", u.rss - u.anon - u.shmem, 0}, {"RssShmem", u.shmem, 0}, {"VmData", u.data >> 10, 0}, {"VmStk", u.stack >> 10, 0},
        {"VmExe", u.text >> 10, 0}, {"VmLib", u.lib >> 10, 0}, {"Threads", (uint64_t)tv_me->proc->alive, 2}, {"SigBlk", of->sigmask, 1},
        {"SigIgn", mask_of(vm, true), 1}, {"SigCgt", mask_of(vm, false), 1}};
    for (char *p = all.p, *eol; *p; p = *eol ? eol + 1 : eol) {
        eol = strchrnul(p, '\n');
        size_t i = 0, n = (size_t)(eol - p);
        for (; i < sizeof lines / sizeof *lines; i++) {
            size_t len = strlen(lines[i].name);
            if (n > len && !memcmp(p, lines[i].name, len) && p[len] == ':') break;
        }
        if (i == sizeof lines / sizeof *lines) add(t, p, n), add(t, "\n", 1);
        else if (lines[i].hex == 1) say(t, "%s:\t%016lx\n", lines[i].name, lines[i].value);
        else if (lines[i].hex == 2) say(t, "%s:\t%lu\n", lines[i].name, lines[i].value);
        else say(t, "%s:\t%8lu kB\n", lines[i].name, lines[i].value);
    }
    free(all.p);
}

/* Fields as proc_pid_stat(5) counts them, from 1. */
static void write_stat(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) {
    struct proc_text all = {0};
    struct use u = use_of(vm);
    read_all(&all, host);
    char *p = all.failed ? NULL : strrchr(all.p, ')');
    if (!p || !p[1]) { t->failed = true; free(all.p); return; }
    const struct { int nr; uint64_t value; } ours[] = {
        {20, (uint64_t)tv_me->proc->alive}, {23, u.bytes}, {24, u.rss / 4}, {26, vm->image_lo}, {27, vm->image_hi}, {28, vm->stack_ptr}, {29, 0}, {30, 0},
        {32, of->sigmask & 0x7fffffff}, {33, mask_of(vm, true) & 0x7fffffff}, {34, mask_of(vm, false) & 0x7fffffff},
        {45, vm->image_lo}, {46, vm->image_hi}, {47, vm->mem.brk_start}, {48, vm->arg_start}, {49, vm->arg_end}, {50, vm->arg_end}, {51, vm->env_end}};
    p += 2;
    add(t, all.p, (size_t)(p - all.p));
    for (int nr = 3; *p && *p != '\n'; nr++) {
        size_t i = 0, n = strcspn(p, " \n");
        while (i < sizeof ours / sizeof *ours && ours[i].nr != nr) i++;
        if (i == sizeof ours / sizeof *ours) add(t, p, n);
        else say(t, "%lu", ours[i].value);
        p += n;
        if (*p == ' ') add(t, p++, 1);
    }
    add(t, "\n", 1);
    free(all.p);
}

static void write_statm(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) {
    struct use u = use_of(vm);
    say(t, "%lu %lu %lu %lu 0 %lu 0\n", u.bytes >> 12, u.rss / 4, (u.rss - u.anon) / 4, u.text >> 12, (u.data + u.stack) >> 12);
}

static void write_range(struct tv_vm *vm, struct proc_text *t, gva start, gva end) {
    if (end <= start || end - start > 8ull << 20 || !fit(t, end - start)) return;
    for (gva at = start; at < end;) { /* what the guest has unmapped is missing, as in Linux */
        uint64_t n = PG - (at & PG_MASK);
        if (n > end - at) n = end - at;
        if (tv_copy_in(vm, t->p + t->n, at, n)) return;
        t->n += n;
        at += n;
    }
}
static void write_cmdline(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) { write_range(vm, t, vm->arg_start, vm->arg_end); }
static void write_environ(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) { write_range(vm, t, vm->arg_end, vm->env_end); }
static void write_auxv(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) { write_range(vm, t, vm->auxv, vm->auxv + vm->auxv_size); }

/* Limits that are the guest's own numbers: core_proc.c. */
static void write_limits(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) {
    static const struct { int nr; const char *name; } own[] = {
        {RLIMIT_CPU, "Max cpu time"}, {RLIMIT_FSIZE, "Max file size"}, {RLIMIT_NOFILE, "Max open files"}, {RLIMIT_DATA, "Max data size"}, {RLIMIT_STACK, "Max stack size"}, {RLIMIT_RSS, "Max resident set"}, {RLIMIT_AS, "Max address space"},
        {RLIMIT_CORE, "Max core file size"}};
    const size_t many = sizeof own / sizeof *own;
    struct proc_text all = {0};
    read_all(&all, host);
    for (char *p = all.p, *eol; !all.failed && *p; p = *eol ? eol + 1 : eol) {
        eol = strchrnul(p, '\n');
        size_t i = 0;
        while (i < many && (strncmp(p, own[i].name, strlen(own[i].name)) || !(vm->rlim_own & 1u << own[i].nr))) i++;
        if (i == many) { add(t, p, (size_t)(eol - p)), add(t, "\n", 1); continue; }
        say(t, "%-25s ", own[i].name);
        const uint64_t v[] = {vm->rlim[own[i].nr].cur, vm->rlim[own[i].nr].max};
        for (int k = 0; k < 2; k++) {
            if (v[k] == RLIM_INFINITY) say(t, "%-20s ", "unlimited");
            else say(t, "%-20lu ", v[k]);
        }
        say(t, "%-10s\n", own[i].nr == RLIMIT_NOFILE ? "files" : own[i].nr == RLIMIT_CPU ? "seconds" : "bytes");
    }
    free(all.p);
}

static void write_rollup(struct tv_vm *vm, struct proc_text *t, int host, const struct tv_thread *of) {
    struct proc_text head = {0}, all = {0};
    struct seen s;
    read_all(&head, host);
    read_own(&all, "/proc/self/smaps");
    if (head.failed || all.failed || !vm->mem.nvma) { t->failed = true; free(head.p); free(all.p); return; }
    say(t, "%08lx-%08lx ---p 00000000 00:00 0 ", vm->mem.vma[0].start, vm->mem.vma[vm->mem.nvma - 1].end);
    pad(t, 0, 73);
    say(t, "[rollup]\n");
    for (char *p = strchrnul(head.p, '\n'), *eol; *p && p[1]; p = eol) {
        p++;
        eol = strchrnul(p, '\n');
        char name[40];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, ":\n"), p);
        uint64_t sum = 0;
        for (const char *at = all.p; next_seen(vm, &at, &s);) {
            uint64_t pss = field(s.fields, "Pss"), anon = field(s.fields, "Anonymous");
            bool shmem = field(s.fields, "ShmemPmdMapped") || is_shmem(&s);
            if (anon > pss) anon = pss;
            sum += !strcmp(name, "Pss_Anon") ? anon : !strcmp(name, "Pss_Shmem") ? shmem * (pss - anon) :
                   !strcmp(name, "Pss_File") ? !shmem * (pss - anon) : field(s.fields, name);
        }
        strncat(name, ":", sizeof name - strlen(name) - 1);
        say(t, "%-15s %8lu kB\n", name, sum);
    }
    free(head.p);
    free(all.p);
}

/* Refused: what would read or write the monitor's memory, or tell where it is. A kernel may refuse them too (ptrace(2), "Ptrace
 * access mode checking"; CONFIG_PROC_MEM_NO_FORCE). */
const struct proc_file proc_files[] = {
    {"maps", write_maps, false}, {"smaps", write_maps, false}, {"smaps_rollup", write_rollup, false}, {"status", write_status, false},
    {"stat", write_stat, false}, {"statm", write_statm, false}, {"cmdline", write_cmdline, false}, {"environ", write_environ, false},
    {"auxv", write_auxv, false}, {"limits", write_limits, false}, {"mem", NULL, true}, {"pagemap", NULL, false}, {"numa_maps", NULL, false},
    {"syscall", NULL, false}, {NULL, NULL, false}};

/* The path of the program interpreter, while its table is still as the file has it. */
void proc_first(struct tv_vm *vm) {
    Elf64_Phdr p;
    char path[4096];
    uint64_t bias = vm->phdr; /* less p_vaddr of PT_PHDR */
    for (uint64_t i = 0; i < vm->phnum && vm->loader_base; i++) {
        if (tv_copy_in(vm, &p, vm->phdr + i * sizeof p, sizeof p)) return;
        if (p.p_type == PT_PHDR) bias = vm->phdr - p.p_vaddr;
        if (p.p_type == PT_INTERP && tv_copy_str(vm, path, bias + p.p_vaddr, sizeof path) > 0) vm->interp = strdup(path);
    }
}
