/* Runs each row of a table with each kind of bad, good and half good pointer, and prints what Linux answers. */
#define PAGE 4096l
#define PAGES 10

/* An arena of pages with these protections; u is not mapped at all. */
static const char layout[PAGES + 1] = "nrrurvnrwu"; /* n none, r read and write, v read only, w write only, u unmapped */
static char *arena;

struct row {
    const char *name;
    size_t size;              /* bytes behind the pointer */
    void (*fill)(char *p);    /* what stands there before the call; p is writable for size bytes */
    long (*call)(char *p);
    bool same;                /* what the call writes is the same in each run */
};

static int protection(char kind) {
    return kind == 'n' ? PROT_NONE : kind == 'v' ? PROT_READ : kind == 'w' ? PROT_WRITE : PROT_READ | PROT_WRITE;
}

static void open_arena(void) {
    for (int i = 0; i < PAGES; i++)
        if (layout[i] != 'u' && mprotect(arena + i * PAGE, PAGE, PROT_READ | PROT_WRITE)) need(false, "mprotect");
}

static void close_arena(void) {
    for (int i = 0; i < PAGES; i++)
        if (layout[i] != 'u' && layout[i] != 'r' && mprotect(arena + i * PAGE, PAGE, protection(layout[i]))) need(false, "mprotect");
}

static void make_arena(void) {
    arena = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(arena != MAP_FAILED, "mmap");
    for (int i = 0; i < PAGES; i++)
        if (layout[i] == 'u') need(munmap(arena + i * PAGE, PAGE) == 0, "munmap");
}

/* The bytes of [p, p + n) that are mapped in the arena. */
static void put(char *p, const char *from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        long page = (p + i - arena) / PAGE;
        if (p + i >= arena && page < PAGES && layout[page] != 'u') p[i] = from[i];
    }
}

static void one(const struct row *r, char *p, const char *kind) {
    static char content[16384];
    bool near = p + r->size > arena && p <= arena + PAGES * PAGE;
    need(r->size <= sizeof content, "size of a row");
    if (near) {
        open_arena();
        for (int i = 0; i < PAGES; i++)
            if (layout[i] != 'u') memset(arena + i * PAGE, 0x5a, PAGE);
        memset(content, 0, r->size);
        if (r->fill) r->fill(content);
        put(p, content, r->size);
        close_arena();
    }
    long got = r->call(p);
    printf("%s %s: %s", r->name, kind, answer(got));
    if (near && r->same) {
        uint64_t h = 0;
        open_arena();
        for (int i = 0; i < PAGES; i++)
            if (layout[i] != 'u') h = h * 31 + sum(arena + i * PAGE, PAGE);
        close_arena();
        printf(" %016lx", h);
    }
    putchar('\n');
}

static const uint64_t far_away[] = {
    0, 1, 0x1000, 0x2000, 0x3000, 0xe000, 0xf000, 0xffff, 0x10000, 0x600000000000, 0x7efffffff8, 0x7f00000000,
    0x7f80000000, 0x7ffffffff8, 0x8000000000, 0x81ffffffff, 0xa000000000, 0x7fffffffeff8, 0x7ffffffff000, 0x7fffffffffff,
    0x800000000000, 0xffff7fffffffffff, 0xffff800000000000, 0xffff888000000000, 0xffffffff80000000, 0xffffffffff600000,
    0xffffffffffff0000, 0xfffffffffffff000, 0xfffffffffffffff8, 0xffffffffffffffff};

static void all(const struct row *rows, size_t n) {
    char text[64];
    make_arena();
    for (const struct row *r = rows; r < rows + n; r++) {
        long s = (long)r->size, half = s / 2 ? s / 2 : 1;
        for (size_t i = 0; i < sizeof far_away / sizeof *far_away; i++) {
            snprintf(text, sizeof text, "at %lx", far_away[i]);
            one(r, (char *)far_away[i], text);
        }
        const struct { const char *kind; long at; } near[] = {
            {"good", 1 * PAGE + 64}, {"odd", 1 * PAGE + 65}, {"odd by 3", 1 * PAGE + 67}, {"over two pages", 2 * PAGE - half},
            {"ends before a hole", 3 * PAGE - s}, {"one byte into a hole", 3 * PAGE - s + 1}, {"half in a hole", 3 * PAGE - s + half},
            {"last byte before a hole", 3 * PAGE - 1}, {"hole", 3 * PAGE}, {"hole, then good", 4 * PAGE - half},
            {"good, then read only", 5 * PAGE - half}, {"last byte before read only", 5 * PAGE - 1}, {"read only", 5 * PAGE + 64},
            {"read only ends before none", 6 * PAGE - s}, {"read only, then none", 6 * PAGE - half}, {"none", 6 * PAGE + 64},
            {"none, then good", 7 * PAGE - half}, {"none at the start", PAGE - half}, {"good, then write only", 8 * PAGE - half},
            {"write only", 8 * PAGE + 64}, {"write only ends before a hole", 9 * PAGE - s}, {"write only, then a hole", 9 * PAGE - half}};
        for (size_t i = 0; i < sizeof near / sizeof *near; i++) one(r, arena + near[i].at, near[i].kind);
    }
}
