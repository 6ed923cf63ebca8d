#include "text.h"

#include <arpa/inet.h>
#include <fcntl.h>

#include "sets.h"
#include "constants.h" /* generated: tv_sets[], tv_set_of[] */
#include "names.h"     /* generated: tv_names[], tv_errnos[] */

void add(struct line *l, const char *s) {
    while (*s && l->n < sizeof l->text - 2) l->text[l->n++] = *s++;
    l->text[l->n] = 0;
}
void add_hex(struct line *l, uint64_t v) {
    char digits[19] = "0x", *p = digits + 2;
    int shift = 60;
    while (shift && !(v >> shift & 15)) shift -= 4;
    for (; shift >= 0; shift -= 4) *p++ = "0123456789abcdef"[v >> shift & 15];
    *p = 0;
    add(l, digits);
}
void add_number(struct line *l, int64_t v) {
    char digits[24], *p = digits + sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    *--p = 0;
    do *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0) *--p = '-';
    add(l, p);
}
void add_quoted(struct line *l, const char *s, size_t len, size_t most) {
    add(l, "\"");
    for (size_t i = 0; i < len && i < most; i++) {
        unsigned char c = (unsigned char)s[i];
        char one[7] = {(char)c};
        if (c == '"' || c == '\\') one[0] = '\\', one[1] = (char)c;
        else if (c < 32 || c > 126) {
            memcpy(one, "\\u00", 4);
            one[4] = "0123456789abcdef"[c >> 4], one[5] = "0123456789abcdef"[c & 15];
        }
        add(l, one);
    }
    add(l, len > most ? "...\"" : "\"");
}

const char *call_name(int nr) { return nr >= 0 && nr < 512 && tv_names[nr] ? tv_names[nr] : "a call that Linux does not have"; }
const char *call_why(int nr) { return nr >= 0 && nr < 512 && tv_whys[nr] ? tv_whys[nr] : "not served"; }
const char *error_name(int e) { return e > 0 && e < 134 && tv_errnos[e] ? tv_errnos[e] : "an error"; }

/* sockaddr as strace shows it, or as an object of JSON. */
void add_address(struct line *l, const struct sockaddr *addr, uint32_t len, bool json) {
    char text[INET6_ADDRSTRLEN];
    const struct sockaddr_in *in = (const void *)addr;
    const struct sockaddr_in6 *in6 = (const void *)addr;
    int family = len >= sizeof addr->sa_family ? addr->sa_family : 0;
    bool v4 = family == AF_INET && len >= sizeof *in, v6 = family == AF_INET6 && len >= 24;
    if (v4 || v6) {
        inet_ntop(family, v4 ? (const void *)&in->sin_addr : (const void *)&in6->sin6_addr, text, sizeof text);
        add(l, json ? v4 ? "{\"family\": \"inet\", \"ip\": \"" : "{\"family\": \"inet6\", \"ip\": \"" : v6 ? "[" : "");
        add(l, text);
        add(l, json ? "\", \"port\": " : v6 ? "]:" : ":");
        add_number(l, ntohs(v4 ? in->sin_port : in6->sin6_port));
    } else if (family == AF_UNIX) {
        const struct sockaddr_un *un = (const void *)addr;
        size_t n = len - sizeof un->sun_family;
        if (n > sizeof un->sun_path) n = sizeof un->sun_path;
        if (n && un->sun_path[0]) n = strnlen(un->sun_path, n);
        add(l, json ? "{\"family\": \"unix\", \"path\": " : "unix:");
        char name[sizeof un->sun_path];
        memcpy(name, un->sun_path, n);
        for (size_t i = 0; i < n; i++)
            if (!name[i]) name[i] = '@';
        add_quoted(l, name, n, sizeof name);
    } else {
        add(l, json ? "{\"family\": " : "family ");
        add_number(l, family);
    }
    if (json) add(l, "}");
}

static void add_path(struct line *l, struct tv_vm *vm, gva at, int arg) {
    char text[PATH_MAX];
    const struct held_path *h = held_path(arg);
    long n = tv_copy_str(vm, text, at, sizeof text);
    if (n < 0) { add_hex(l, at); return; }
    add_quoted(l, text, (size_t)n, 96);
    if (h && h->name[0] && strcmp(h->name, text)) { /* what it came to */
        add(l, " -> ");
        add_quoted(l, h->name, strlen(h->name), 96);
    }
}

const struct tv_constant *set_rows(int set) { return set > 0 && set < SET_COUNT ? tv_sets[set] : NULL; }
const char *set_unknown(int set) { return tv_unknown[set]; }
bool set_octal(int set) { return tv_octal[set]; }

/* A number by the names of its constants. false: they say nothing. */
static bool add_value(struct line *l, int nr, int arg, uint32_t v) {
    int set = tv_set_of[nr][arg];
    uint32_t left = v;
    bool any = false;
    for (const struct tv_constant *k = tv_sets[set]; k && k->name; k++) {
        if ((left & k->mask) != k->value || (!k->value && any && k->mask != ~0ull)) continue;
        if (any) add(l, "|");
        add(l, k->name);
        any = true;
        left &= (uint32_t)~k->mask;
        if (k->mask == ~0ull) return true;
    }
    if (!set || (!any && !tv_octal[set])) return false;
    if (tv_octal[set]) {
        if (any && !left) return true;
        char digits[5] = {'0', (char)('0' + (left >> 6 & 7)), (char)('0' + (left >> 3 & 7)), (char)('0' + (left & 7)), 0};
        add(l, any ? "|" : ""), add(l, left >> 9 ? "" : digits);
        if (left >> 9) add_hex(l, left);
        return true;
    }
    if (left) add(l, "|"), add_hex(l, left);
    return true;
}

static bool absolute(struct tv_vm *vm, gva at) {
    char c;
    return !tv_copy_in(vm, &c, at, 1) && c == '/';
}

void add_call(struct line *l, struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6]) {
    add(l, call_name(nr));
    add(l, "(");
    bool first = true;
    for (int i = 0; i < c->nargs; i++) {
        const struct tv_argspec *s = &c->arg[i];
        uint64_t v = a[i];
        if (i && (nr == 2 || nr == 257) && tv_set_of[nr][i - 1] && i + 1 == c->nargs && !(a[i - 1] & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))) continue; /* no mode */
        if (s->kind == A_ATFD && i + 1 < c->nargs && (c->arg[i + 1].kind == A_PATH || c->arg[i + 1].kind == A_LOOK) && absolute(vm, a[i + 1])) continue;
        if (!first) add(l, ", ");
        first = false;
        switch (s->kind) {
        case A_FD: case A_ATFD:
            if (s->kind == A_ATFD && (int)v == AT_FDCWD) add(l, "AT_FDCWD");
            else add_number(l, (int)v);
            break;
        case A_PATH: case A_LOOK: case A_STR:
            add_path(l, vm, v, i);
            break;
        case A_SOCKADDR: {
            struct sockaddr_storage addr;
            uint64_t len = i + 1 < c->nargs ? (uint32_t)a[i + 1] : 0;
            if (v && len && len <= sizeof addr && !tv_arg_in(vm, i, &addr, v, len)) add_address(l, (void *)&addr, (uint32_t)len, false);
            else if (v) add_hex(l, v);
            else add(l, "NULL");
            break;
        }
        case A_NUM:
            if (!add_value(l, nr, i, (uint32_t)v)) {
                int64_t n = s->size == 4 ? (int32_t)v : (int64_t)v;
                if (n > -4096 && n < 1 << 20) add_number(l, n);
                else add_hex(l, s->size == 4 ? (uint32_t)v : v);
            }
            break;
        default:
            if (v) add_hex(l, v);
            else add(l, "NULL");
        }
    }
    add(l, ")");
}
