/* The printer: a call's arguments by the tables of shapes.h, numbers, strings and structures. */
#include "show.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "shapes.h" /* generated from torov/tracing */

void put_c(struct show *s, char c) {
    if (s->n < s->room) s->text[s->n++] = c;
}
void put(struct show *s, const char *text) {
    size_t n = strlen(text);
    size_t left = s->n < s->room ? s->room - s->n : 0;
    if (n > left) n = left;
    memcpy(s->text + s->n, text, n);
    s->n += n;
}
void put_sep(struct show *s) { put_c(s, SHOW_SEP); }

static void number(struct show *s, uint64_t v, unsigned base, int least) {
    char digits[24], *p = digits + sizeof digits;
    *--p = 0;
    do *--p = "0123456789abcdef"[v % base], least--;
    while ((v /= base) || least > 0);
    put(s, p);
}
void put_u(struct show *s, uint64_t v) { number(s, v, 10, 1); }
void put_pad(struct show *s, uint64_t v, int digits) { number(s, v, 10, digits); }
void put_d(struct show *s, int64_t v) {
    if (v < 0) put_c(s, '-');
    number(s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, 1);
}
void put_x(struct show *s, uint64_t v) {
    put(s, v ? "0x" : "");
    number(s, v, 16, 1);
}
void put_ptr(struct show *s, uint64_t v) {
    if (v) put_x(s, v);
    else put(s, "NULL");
}

void put_set(struct show *s, int set, uint64_t v) {
    const struct tv_constant *k = set_rows(set);
    uint64_t left = v;
    bool any = false, octal = set_octal(set);
    for (; k && k->name; k++) {
        if (k->mask == ~0ull ? v != k->value : (left & k->mask) != k->value) continue;
        if (any) put_c(s, '|');
        put(s, k->name);
        any = true;
        if (k->mask == ~0ull) return;
        left &= ~k->mask;
    }
    if (octal && (left || !any)) {
        put(s, any ? "|0" : "0");
        number(s, left, 8, 2);
    } else if (left) {
        if (any) put_c(s, '|');
        put_x(s, left);
        if (!any && *set_unknown(set)) put(s, " /* "), put(s, set_unknown(set)), put(s, " */");
    } else if (!any) {
        bool one = set_rows(set) && set_rows(set)->mask == ~0ull && set_rows(set)->value; /* one of them, and 0 is none */
        put(s, "0");
        if (one && *set_unknown(set)) put(s, " /* "), put(s, set_unknown(set)), put(s, " */");
    }
}
void put_set32(struct show *s, int set, uint64_t v) { put_set(s, set, (uint32_t)v); }

static const char *const sig_words[] = {
    "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
    "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"};
const char *sig_word(int sig) { return sig > 0 && sig < 32 ? sig_words[sig] : NULL; }
void put_sig(struct show *s, int sig) {
    if (sig_word(sig)) put(s, "SIG"), put(s, sig_word(sig));
    else if (sig >= 32 && sig <= 64) put(s, "SIGRT"), sig > 32 ? (put(s, "_"), put_d(s, sig - 32)) : put(s, "MIN");
    else put_d(s, sig);
}

void put_sets(struct show *s, const uint64_t *set, int limit) {
    bool any = false;
    put_c(s, '[');
    for (int i = 0; i < limit; i++) {
        if (!(set[i / 64] >> i % 64 & 1)) continue;
        if (any) put_c(s, ' ');
        put_d(s, i);
        any = true;
    }
    put_c(s, ']');
}

static void put_sigset(struct show *s, uint64_t set) {
    bool any = false, not = __builtin_popcountll(set) >= 42; /* more than two thirds of them */
    put(s, not ? "~[" : "[");
    if (not) set = ~set;
    for (int i = 1; i <= 64; i++) {
        if (!(set >> (i - 1) & 1)) continue;
        if (any) put_c(s, ' ');
        if (sig_word(i)) put(s, sig_word(i));
        else put(s, i == 32 ? "RTMIN" : "RT_"), i > 32 ? put_d(s, i - 32) : (void)0;
        any = true;
    }
    put_c(s, ']');
}

/* proleptic Gregorian calendar from days since 1970 */
static void put_day(struct show *s, int64_t days) {
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097), yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned month = mp < 10 ? mp + 3 : mp - 9;
    put_pad(s, (uint64_t)((int64_t)yoe + era * 400 + (month <= 2)), 4);
    put_c(s, '-'), put_pad(s, month, 2), put_c(s, '-'), put_pad(s, doy - (153 * mp + 2) / 5 + 1, 2);
}
void put_when(struct show *s, int64_t sec, int64_t part, int digits) {
    if (sec < -62135596800 || sec > 253402300799) return;
    int offset = s->o->utc_offset;
    int64_t local = sec + offset, days = local / 86400 - (local % 86400 < 0), rest = local - days * 86400;
    put_day(s, days);
    put_c(s, 'T'), put_pad(s, (uint64_t)rest / 3600, 2), put_c(s, ':'), put_pad(s, (uint64_t)rest / 60 % 60, 2), put_c(s, ':'), put_pad(s, (uint64_t)rest % 60, 2);
    if (digits && part) put_c(s, '.'), put_pad(s, (uint64_t)part, digits);
    put_c(s, offset < 0 ? '-' : '+');
    if (offset < 0) offset = -offset;
    put_pad(s, (uint64_t)offset / 3600, 2), put_pad(s, (uint64_t)offset / 60 % 60, 2);
}

/* What a link in /proc says, as a path in quotes is, without them. */
static void put_link(struct show *s, const char *link) {
    char path[PATH_MAX];
    long n = sys6(89, (uintptr_t)link, (uintptr_t)path, sizeof path, 0, 0, 0);
    if (n <= 0) return;
    bool deleted = n > 10 && !memcmp(path + n - 10, " (deleted)", 10);
    if (deleted) n -= 10;
    put_c(s, '<');
    for (long i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c == '<' || c == '>' || c < 32 || c > 126) put_c(s, '\\'), number(s, c, 8, i + 1 < n && path[i + 1] >= '0' && path[i + 1] <= '7' ? 3 : 1);
        else put_c(s, (char)c);
    }
    put(s, deleted ? ">(deleted)" : ">");
}

static void put_fd(struct show *s, int fd) {
    char link[32] = "/proc/self/fd/", digits[12], *d = digits + sizeof digits;
    put_d(s, fd);
    if (!s->o->paths || fd < 0 || fd_hidden(s->vm, (uint64_t)fd)) return;
    *--d = 0;
    for (unsigned v = (unsigned)fd; v || !*d; v /= 10) *--d = (char)('0' + v % 10);
    strcat(link, d);
    put_link(s, link);
}

void put_value(struct show *s, int kind, int of, uint64_t v) {
    char text[INET_ADDRSTRLEN];
    switch (kind) {
    case K_D: put_d(s, (int64_t)v); break;
    case K_U: put_u(s, v); break;
    case K_X: put_x(s, v); break;
    case K_PTR: put_ptr(s, v); break;
    case K_OCT: put_c(s, '0'), number(s, (uint16_t)v, 8, 2); break;
    case K_MODE: put_set(s, SET_mode, (uint32_t)v); break;
    case K_FD: put_fd(s, (int)v); break;
    case K_DIRFD:
        if ((int)v != AT_FDCWD) { put_fd(s, (int)v); break; }
        put(s, "AT_FDCWD");
        if (s->o->paths) put_link(s, "/proc/self/cwd");
        break;
    case K_SIG: put_sig(s, (int)v); break;
    case K_UID:
        if ((uint32_t)v == ~0u) put(s, "-1");
        else put_u(s, (uint32_t)v);
        break;
    case K_DEV:
        put(s, "makedev("), put_x(s, (v >> 8 & 0xfff) | (v >> 32 & ~0xfffull));
        put(s, ", "), put_x(s, (v & 0xff) | (v >> 12 & ~0xffull)), put(s, ")");
        break;
    case K_KEY:
        if ((uint32_t)v) put_x(s, (uint32_t)v);
        else put(s, "IPC_PRIVATE");
        break;
    case K_TIME:
        put_d(s, (int64_t)v);
        if (v) put(s, " /* "), put_when(s, (int64_t)v, 0, 0), put(s, " */");
        break;
    case K_RLIM:
        if (v == ~0ull) put(s, "RLIM64_INFINITY");
        else if (v > 1024 && v % 1024 == 0) put_u(s, v / 1024), put(s, "*1024");
        else put_u(s, v);
        break;
    case K_SIGSET: put_sigset(s, v); break;
    case K_INET:
        put(s, "inet_addr(");
        inet_ntop(AF_INET, &v, text, sizeof text);
        put_string(s, text, strlen(text), false, false);
        put_c(s, ')');
        break;
    case K_HANDLER:
        if (v == 0) put(s, "SIG_DFL");
        else if (v == 1) put(s, "SIG_IGN");
        else put_x(s, v);
        break;
    case K_SET: put_set(s, of, v); break;
    }
}

bool get(struct show *s, void *to, gva at, size_t n) { return !tv_copy_in(s->vm, to, at, n); }

void put_string(struct show *s, const void *data, size_t len, bool more, bool hex) {
    const unsigned char *p = data;
    if (s->o->hex_strings == 1)
        for (size_t i = 0; i < len && !hex; i++) hex = p[i] > 126 || (p[i] < 32 && !(p[i] >= 9 && p[i] <= 13));
    hex |= s->o->hex_strings > 1;
    put_c(s, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = p[i];
        char escape = c == '"' || c == '\\' ? (char)c : c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c == '\v' ? 'v' : c == '\f' ? 'f' : 0;
        if (hex) put(s, "\\x"), put_c(s, "0123456789abcdef"[c >> 4]), put_c(s, "0123456789abcdef"[c & 15]);
        else if (escape) put_c(s, '\\'), put_c(s, escape);
        else if (c >= 32 && c < 127) put_c(s, (char)c);
        else put_c(s, '\\'), number(s, c, 8, i + 1 < len && p[i + 1] >= '0' && p[i + 1] <= '7' ? 3 : 1);
    }
    put(s, more ? "\"..." : "\"");
}

void put_data(struct show *s, gva at, uint64_t len) {
    char data[1024];
    size_t most = s->o->string_size, n = len < most ? len : most;
    if (!at) { put(s, "NULL"); return; }
    if (n > SHOW_MOST / 8) n = SHOW_MOST / 8;
    if (n <= sizeof data) {
        if (get(s, data, at, n)) put_string(s, data, n, len > n, false);
        else put_x(s, at);
        return;
    }
    char *big = malloc(n);
    if (big && get(s, big, at, n)) put_string(s, big, n, len > n, false);
    else put_x(s, at);
    free(big);
}

void put_path(struct show *s, gva at, size_t most) {
    char text[PATH_MAX];
    if (!at) { put(s, "NULL"); return; }
    long n = tv_copy_str(s->vm, text, at, sizeof text);
    size_t len = n >= 0 ? (size_t)n : sizeof text - 1;
    if (n == -EFAULT) put_x(s, at);
    else put_string(s, text, most && len > most ? most : len, n < 0 || (most && len > most), false);
}

static uint64_t load(const void *at, unsigned size, bool sign) {
    uint64_t v = 0;
    memcpy(&v, at, size < sizeof v ? size : sizeof v);
    if (sign && size < 8) v = (uint64_t)((int64_t)(v << (64 - 8 * size)) >> (64 - 8 * size));
    return v;
}

static void put_items(struct show *s, const struct show_field *f, const void *data) {
    if (f->kind == K_STR || f->kind == K_BYTES) {
        size_t len = f->kind == K_STR ? strnlen(data, f->count) : f->count;
        put_string(s, data, len, false, false);
        return;
    }
    if (f->count) put_c(s, '[');
    for (int i = 0; i < (f->count ? f->count : 1); i++) {
        const char *at = (const char *)data + (size_t)i * f->size;
        if (i) put(s, ", ");
        if (f->kind == K_STRUCT) put_fields(s, f->of, at);
        if (f->kind == K_STRUCT && f->of == ST_statx_timestamp) {
            put(s, " /* "), put_when(s, (int64_t)load(at, 8, true), (int64_t)load(at + 8, 4, false), 9), put(s, " */");
        }
        if (f->kind == K_STRUCT) continue;
        put_value(s, f->kind, f->of, load(at, f->size, f->sign && f->kind != K_SET));
    }
    if (f->count) put_c(s, ']');
}

void put_inner(struct show *s, int id, const void *data) {
    const struct show_struct *t = &show_structs[id];
    bool any = false, left = false;
    for (int i = 0; i < t->n; i++) {
        const struct show_field *f = &t->field[i];
        const char *at = (const char *)data + f->off;
        if (f->marks & F_LONG && !s->o->verbose) { left = true; continue; }
        if (f->marks & F_NONZERO && !load(at, f->size, false)) continue;
        size_t before = s->n;
        if (any) put(s, ", ");
        if (f->kind == K_FN) {
            if (!f->fn(s, -1, data)) { s->n = before; continue; }
        } else {
            put(s, f->name), put_c(s, '=');
            put_items(s, f, at);
        }
        any = true;
    }
    if (left) put(s, any ? ", ..." : "...");
}

void put_fields(struct show *s, int id, const void *data) {
    put_c(s, '{');
    put_inner(s, id, data);
    put_c(s, '}');
}

bool put_struct(struct show *s, int id, gva at) {
    char data[512];
    if (!at) { put(s, "NULL"); return false; }
    if (!get(s, data, at, show_structs[id].size)) { put_x(s, at); return false; }
    put_fields(s, id, data);
    return true;
}

static void put_many(struct show *s, const struct show_arg *g, gva at) {
    uint64_t n = g->ref == REF_RET ? (uint64_t)s->ret : g->ref >= REF_FIXED ? (uint64_t)g->ref - REF_FIXED : (uint32_t)s->a[g->ref], i;
    char one[512];
    if (!at) { put(s, "NULL"); return; }
    if (n && !get(s, one, at, g->size)) { put_x(s, at); return; }
    put_c(s, '[');
    for (i = 0; i < n; i++) {
        if (i) put(s, ", ");
        if (i >= s->o->string_size) { put(s, "..."); break; } /* strace(1): -s */
        if (i && !get(s, one, at + i * g->size, g->size)) { put(s, "... /* "), put_x(s, at + i * g->size), put(s, " */"); break; }
        if (g->kind == K_STRUCT) put_fields(s, g->of, one);
        else put_value(s, g->kind, g->of, load(one, g->size, g->sign && g->kind != K_SET));
    }
    put_c(s, ']');
}

static bool put_arg(struct show *s, const struct show_arg *g) {
    uint64_t v = s->a[g->at];
    switch (g->how) {
    case H_NONE: return false;
    case H_FN: return g->fn(s, g->at, NULL);
    case H_PATH: put_path(s, v, 0); break;
    case H_STR: put_path(s, v, s->o->string_size); break;
    case H_TEXT: put_data(s, v, s->a[g->ref]); break;
    case H_DATA:
        if (s->failed) put_ptr(s, v);
        else put_data(s, v, g->ref == REF_RET ? (uint64_t)s->ret : s->a[g->ref]);
        break;
    case H_OUT: case H_IN:
        if (s->failed && g->how == H_OUT) put_ptr(s, v);
        else put_struct(s, g->of, v);
        break;
    case H_OUT_MANY: case H_IN_MANY:
        if (s->failed && g->how == H_OUT_MANY) put_ptr(s, v);
        else put_many(s, g, v);
        break;
    default: put_value(s, g->kind, g->of, load(&v, g->size, g->sign && g->kind != K_SET));
    }
    return true;
}

static const struct show_call none = {.n = 6, .arg = {{H_VALUE, 0, 8, 0, K_X, 0, 0, 0, 0}, {H_VALUE, 0, 8, 0, K_X, 0, 1, 0, 0},
    {H_VALUE, 0, 8, 0, K_X, 0, 2, 0, 0}, {H_VALUE, 0, 8, 0, K_X, 0, 3, 0, 0}, {H_VALUE, 0, 8, 0, K_X, 0, 4, 0, 0}, {H_VALUE, 0, 8, 0, K_X, 0, 5, 0, 0}}};
static const struct show_call *row(const struct show *s) { return s->nr >= 0 && s->nr < 512 && tv_calls[s->nr].serve ? &show_calls[s->nr] : &none; }

/* Arguments that only some commands have. */
static bool optional(const struct show_arg *g) {
    return g->fn == show_fcntl_out || g->fn == show_ioctl_out || g->fn == show_prctl_out || g->fn == show_arch_out ||
           g->fn == show_clone_rest || g->fn == show_clone3_out;
}

/* What is shown before the call ends with a separator if more follows after it. */
static void put_args(struct show *s, bool after) {
    const struct show_call *c = row(s);
    for (int i = 0; i < c->n; i++) {
        size_t before = s->n;
        if (!after && c->arg[i].fn == show_clone3_out && !clone3_tells(s)) { s->early = true; continue; }
        if (c->arg[i].after && !after && !s->early) {
            if (i && (s->open = !optional(&c->arg[i]))) put_sep(s);
            return;
        }
        if (c->arg[i].after != after && !s->early) continue;
        if (i && !s->open) put_sep(s);
        s->open = false;
        if (!put_arg(s, &c->arg[i])) s->n = before;
    }
}

/* A length or an offset that the call changes. */
static uint64_t keep(struct show *s) {
    const struct show_call *c = row(s);
    uint64_t v = 0;
    for (int i = 0; i < c->n; i++) {
        if (c->arg[i].fn == show_socklen) get(s, &v, s->a[c->arg[i].at], 4);
        if (c->arg[i].fn == show_offset_moves) get(s, &v, s->a[c->arg[i].at], 8);
        if (c->arg[i].fn == show_msg_out) get(s, &v, s->a[c->arg[i].at] + 8, 4); /* msg_namelen */
    }
    return v;
}

void show_before(struct show *s) {
    s->after = s->failed = s->open = s->early = false;
    s->room = sizeof s->text - 2048;
    s->kept = keep(s);
    put_args(s, false);
}

void show_after(struct show *s) {
    s->after = true;
    s->failed = s->ret < 0 && s->ret >= -4095;
    if (!s->early) put_args(s, true);
}

void put_error(struct show *s, int e) {
    if (e > 0 && e < 134 && error_texts[e]) put(s, "-1 "), put(s, error_name(e)), put(s, " ("), put(s, error_texts[e]), put(s, ")");
    else put(s, "-1 (errno "), put_d(s, e), put(s, ")");
}

void show_result(struct show *s) {
    const struct show_call *c = row(s);
    if (s->ret < 0 && s->ret >= -4095) { put_error(s, (int)-s->ret); return; }
    if (c->ret_fn && c->ret_fn(s, -1, NULL)) return;
    switch (c->ret) {
    case R_HEX: put_x(s, (uint64_t)s->ret); break;
    case R_FD: put_fd(s, (int)s->ret); break;
    case R_OCT: put_c(s, '0'), number(s, (uint64_t)s->ret, 8, 2); break;
    default: put_d(s, s->ret);
    }
}
