/* Where an address is, in words: `main+0x1c`. From the program's own file, and for what is linked to it at run time from the dynamic
 * linker's list in guest memory (r_debug; elf(5), link.h). It is the end of a program that says this: nothing costs at the start, and
 * where the files are out of reach by then (a jail, a filter) they were mapped when they were loaded. All of it is hostile. */
#include "text.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OBJECTS 512      /* of the list */
#define SYMBOLS (1u << 22)

struct best { uint64_t value; bool whole; char name[96]; }; /* whole: its size says that it holds the address */

/* A function that may hold at, better than what is known? */
static bool better(const Elf64_Sym *s, uint64_t at, const struct best *b) {
    int type = ELF64_ST_TYPE(s->st_info);
    if (!s->st_shndx || s->st_value > at || (type != STT_FUNC && type != STT_NOTYPE && type != STT_GNU_IFUNC) || !s->st_value) return false;
    if (s->st_size && at - s->st_value >= s->st_size) return false;
    if (type == STT_NOTYPE && (b->whole || at - s->st_value >= 1 << 20)) return false;
    if (b->name[0] && b->whole > (s->st_size != 0)) return false;
    return !b->name[0] || s->st_value > b->value || (s->st_value == b->value && ELF64_ST_BIND(s->st_info) == STB_GLOBAL) || (s->st_size && !b->whole);
}

static void take(struct best *b, const Elf64_Sym *s, const char *name) {
    if (!name[0] || name[0] == '$') return;
    b->value = s->st_value;
    b->whole = s->st_size != 0;
    snprintf(b->name, sizeof b->name, "%s", name);
}

/* The files as they were loaded; index 1: the interpreter. */
void symbol_file(struct tv_vm *vm, bool loader, int fd, uint64_t size, uint64_t body, uint64_t length) {
    struct tv_file *f = &vm->file[loader];
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p != MAP_FAILED) *f = (struct tv_file){p, size, body, length};
}

void symbol_close(struct tv_vm *vm) {
    for (int i = 0; i < 2; i++)
        if (vm->file[i].map) munmap(vm->file[i].map, vm->file[i].size);
    memset(vm->file, 0, sizeof vm->file);
}

static void open_file(struct tv_vm *vm, bool loader) {
    const char *path = loader ? vm->interp : vm->exe;
    struct stat st;
    if (vm->file[loader].map || vm->flags & TV_F_SEALED || !path) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0) symbol_file(vm, loader, fd, (uint64_t)st.st_size, 0, (uint64_t)st.st_size);
    close(fd);
}

/* The file can be cut short while it is read. */
static bool file_at(const struct tv_file *f, uint64_t off, void *out, uint64_t n) {
    return f->map && off <= f->length && n <= f->length - off && f->body <= f->size && f->body + off + n <= f->size && !tv_copy_host(out, (const char *)f->map + f->body + off, n);
}

/* at: as the file counts addresses. */
static void in_file(const struct tv_file *f, uint64_t at, struct best *b) {
    Elf64_Ehdr e;
    Elf64_Shdr table, names;
    Elf64_Sym some[128];
    if (!file_at(f, 0, &e, sizeof e) || e.e_shentsize != sizeof table) return;
    for (unsigned want = SHT_SYMTAB;; want = SHT_DYNSYM) {
        for (unsigned i = 0; i < e.e_shnum; i++) {
            if (!file_at(f, e.e_shoff + i * sizeof table, &table, sizeof table)) return;
            if (table.sh_type != want || !file_at(f, e.e_shoff + table.sh_link * sizeof names, &names, sizeof names)) continue;
            uint64_t n = table.sh_size / sizeof *some;
            for (uint64_t k = 0, part; k < n && k < SYMBOLS; k += part) {
                part = n - k < 128 ? n - k : 128;
                if (!file_at(f, table.sh_offset + k * sizeof *some, some, part * sizeof *some)) break;
                for (uint64_t s = 0; s < part; s++) {
                    char name[sizeof b->name] = "";
                    if (!better(&some[s], at, b)) continue;
                    for (size_t c = 0; c + 1 < sizeof name && file_at(f, names.sh_offset + some[s].st_name + c, name + c, 1) && name[c]; c++) { }
                    name[sizeof name - 1] = 0;
                    take(b, &some[s], name);
                }
            }
        }
        if (b->name[0] || want == SHT_DYNSYM) return;
    }
}

/* The value of a tag of a dynamic section in guest memory. */
static uint64_t dynamic(struct tv_vm *vm, gva at, int64_t tag) {
    Elf64_Dyn d;
    for (int i = 0; i < 512 && !tv_copy_in(vm, &d, at + (uint64_t)i * sizeof d, sizeof d) && d.d_tag != DT_NULL; i++)
        if (d.d_tag == tag) return d.d_un.d_val;
    return 0;
}

/* What a shared object exports. Its string table lies behind its symbols, as linkers put it; or DT_HASH tells how many there are. */
static void in_object(struct tv_vm *vm, gva base, gva section, uint64_t at, struct best *b) {
    Elf64_Sym s;
    uint32_t hash[2] = {0};
    uint64_t symbols = dynamic(vm, section, DT_SYMTAB), names = dynamic(vm, section, DT_STRTAB), table = dynamic(vm, section, DT_HASH);
    if (symbols < base) symbols += base; /* musl leaves them as they are in the file */
    if (names < base) names += base;
    if (table && table < base) table += base;
    uint64_t n = names > symbols ? (names - symbols) / sizeof s : 0;
    if (table && !tv_copy_in(vm, hash, table, sizeof hash)) n = hash[1];
    for (uint64_t i = 0; i < n && i < SYMBOLS && !tv_copy_in(vm, &s, symbols + i * sizeof s, sizeof s); i++) {
        char name[sizeof b->name];
        if (!better(&s, at, b)) continue;
        if (tv_copy_str(vm, name, names + s.st_name, sizeof name) == -EFAULT) continue;
        name[sizeof name - 1] = 0;
        take(b, &s, name);
    }
}

static uint64_t end_of(struct tv_vm *vm, gva base) { /* of a shared object whose header is in memory */
    Elf64_Ehdr e;
    Elf64_Phdr p;
    uint64_t end = 0;
    if (tv_copy_in(vm, &e, base, sizeof e) || memcmp(e.e_ident, ELFMAG, SELFMAG)) return 0;
    for (unsigned i = 0; i < e.e_phnum && i < 64 && !tv_copy_in(vm, &p, base + e.e_phoff + i * sizeof p, sizeof p); i++)
        if (p.p_type == PT_LOAD && p.p_vaddr + p.p_memsz > end) end = p.p_vaddr + p.p_memsz;
    return end;
}

struct object { uint64_t addr, name, ld, next; }; /* struct link_map */

/* The dynamic linker's list: its first entry, or 0. */
static gva objects(struct tv_vm *vm) {
    Elf64_Phdr p;
    gva list = 0;
    for (uint64_t i = 0; i < vm->phnum && i < 128 && !list; i++)
        if (!tv_copy_in(vm, &p, vm->phdr + i * sizeof p, sizeof p) && p.p_type == PT_DYNAMIC) list = dynamic(vm, p.p_vaddr + vm->image_bias, DT_DEBUG);
    return list && !tv_copy_in(vm, &list, list + 8, sizeof list) ? list : 0; /* struct r_debug */
}

static void name_of(struct tv_vm *vm, const struct object *o, char *name, size_t size) {
    if (tv_copy_str(vm, name, o->name, size) < 0) name[0] = 0;
    name[size - 1] = 0;
}

/* The object that holds at. */
static bool find_object(struct tv_vm *vm, gva at, gva *base, gva *section, char *name, size_t size) {
    struct object o;
    gva next = objects(vm);
    for (int i = 0; i < OBJECTS && next && !tv_copy_in(vm, &o, next, sizeof o); i++, next = o.next) {
        if (!o.addr || at < o.addr || at - o.addr >= end_of(vm, o.addr)) continue;
        *base = o.addr;
        *section = o.ld;
        name_of(vm, &o, name, size);
        return true;
    }
    return false;
}

uint64_t symbol_hash(struct tv_vm *vm) {
    struct object o;
    uint64_t hash = 1; /* of a program that is static */
    gva next = objects(vm);
    for (int i = 0; i < OBJECTS && next && !tv_copy_in(vm, &o, next, sizeof o); i++, next = o.next)
        hash = (hash ^ o.addr ^ o.ld << 1) * 0x100000001b3ull;
    return hash;
}

size_t symbol_objects(struct tv_vm *vm, char *out, size_t size) {
    const struct { gva base, lo, end; const char *name; } own[] = {{vm->image_bias, vm->image_lo, vm->image_hi, vm->exe},
        {vm->loader_base, vm->loader_base, vm->loader_base + end_of(vm, vm->loader_base), vm->interp}, {vm->vdso, vm->vdso, vm->vdso_end, "[vdso]"}};
    struct object o;
    char name[PATH_MAX];
    size_t n = 0;
    gva next = objects(vm);
    for (size_t i = 0; i < 3; i++)
        if (own[i].end > own[i].lo && own[i].name && n + PATH_MAX + 64 < size)
            n += (size_t)snprintf(out + n, size - n, "%lx %lx %lx %s\n", own[i].base, own[i].lo, own[i].end, own[i].name);
    for (int i = 0; i < OBJECTS && next && !tv_copy_in(vm, &o, next, sizeof o); i++, next = o.next) {
        uint64_t end = o.addr && o.addr != vm->image_bias && o.addr != vm->loader_base && o.addr != vm->vdso ? end_of(vm, o.addr) : 0;
        if (!end || n + PATH_MAX + 64 >= size) continue;
        name_of(vm, &o, name, sizeof name);
        for (char *p = name; *p; p++)
            if (*p == '\n') *p = '?';
        n += (size_t)snprintf(out + n, size - n, "%lx %lx %lx %s\n", o.addr, o.addr, o.addr + end, name);
    }
    return n;
}

static void printable(struct line *l, const char *s) {
    char one[2] = "";
    for (; *s; s++) one[0] = *s > 32 && *s < 127 ? *s : '?', add(l, one);
}

static void show(struct line *l, const char *object, const struct best *b, uint64_t at) {
    const char *last = strrchr(object, '/');
    if (b->name[0]) printable(l, b->name), add(l, "+"), add_hex(l, at - b->value);
    if (b->name[0] && *object) add(l, " in ");
    if (*object) printable(l, last ? last + 1 : object);
    if (!b->name[0]) add(l, "+"), add_hex(l, at);
}

/* false: not in what was loaded. */
static bool describe(struct tv_vm *vm, struct line *l, gva at) {
    struct best b = {0};
    char name[PATH_MAX];
    gva base = 0, section = 0;
    bool program = at >= vm->image_lo && at < vm->image_hi;
    const struct tv_vma *v = vma_find(&vm->mem, at);
    bool loader = !program && vm->loader_base && v && v->flags & VMA_IMAGE && at >= vm->loader_base;
    if (program || loader) {
        open_file(vm, loader);
        base = loader ? vm->loader_base : vm->image_bias;
        in_file(&vm->file[loader], at - base, &b);
        show(l, loader ? vm->interp ? vm->interp : "interpreter" : b.name[0] ? "" : vm->exe, &b, at - base);
    } else if (vm->vdso && at >= vm->vdso && at < vm->vdso_end) {
        show(l, "[vdso]", &b, at - vm->vdso);
    } else if (find_object(vm, at, &base, &section, name, sizeof name)) {
        in_object(vm, base, section, at - base, &b);
        show(l, name, &b, at - base);
    } else {
        return false;
    }
    return true;
}

/* What a line about the end says of the place. sp: of a call to nowhere, where the caller is. */
void symbol_where(struct tv_vm *vm, char *out, size_t size, gva at, gva sp) {
    struct line l = {.n = 0};
    gva caller;
    if (!describe(vm, &l, at)) {
        add_hex(&l, at);
        size_t n = l.n;
        if (!vma_find(&vm->mem, at) && !tv_copy_in(vm, &caller, sp, sizeof caller)) {
            add(&l, ", called from ");
            if (!describe(vm, &l, caller)) l.text[l.n = n] = 0;
        }
    }
    l.text[size - 1] = 0;
    strcpy(out, l.text);
}
