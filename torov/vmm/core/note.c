/* The lines of a guest that has no Python above it: a forked one, or one that was started by exec. */
#include "tv.h"

#include <unistd.h>

#include "names.h" /* generated: tv_names[], tv_errnos[] */

struct line { char text[256]; size_t n; };

static void add(struct line *l, const char *s) {
    while (*s && l->n < sizeof l->text - 1) l->text[l->n++] = *s++;
}
static void add_hex(struct line *l, uint64_t v) {
    char digits[19] = "0x", *p = digits + 2;
    int shift = 60;
    while (shift && !(v >> shift & 15)) shift -= 4;
    for (; shift >= 0; shift -= 4) *p++ = "0123456789abcdef"[v >> shift & 15];
    *p = 0;
    add(l, digits);
}
static const char *call_name(int nr) { return nr >= 0 && nr < 512 && tv_names[nr] ? tv_names[nr] : "a call that Linux does not have"; }
static const char *error_name(int e) { return e > 0 && e < 134 && tv_errnos[e] ? tv_errnos[e] : "an error"; }

void note_write(const struct tv_vm *vm, const struct tv_stop *s) {
    struct line l = {.n = 0};
    if (vm->flags & TV_F_QUIET) return;
    add(&l, "torov: ");
    if (s->kind == TV_NOTICE && s->note == TV_NOTE_DENIED) {
        add(&l, "denied "), add(&l, call_name(s->nr)), add(&l, " = "), add(&l, error_name(s->err)), add(&l, ": not allowed by the policy");
    } else if (s->kind == TV_NOTICE && s->note == TV_NOTE_UNSERVED) {
        add(&l, call_name(s->nr)), add(&l, " = "), add(&l, error_name(s->err)), add(&l, ": not served");
    } else if (s->kind == TV_NOTICE && s->note == TV_NOTE_GADGET) {
        add(&l, "a syscall was made from "), add_hex(&l, s->addr), add(&l, ", which is no instruction of the program ("), add(&l, call_name(s->nr)), add(&l, ")");
    } else if (s->kind == TV_NOTICE) {
        add(&l, "the host's vDSO cannot be used: reading the time costs an exit");
    } else if (s->kind == TV_KILLED) {
        add(&l, "killed "), add(&l, vm->exe), add(&l, ": "), add(&l, call_name(s->nr)), add(&l, " is not allowed by the policy");
    } else {
        add(&l, s->what), add(&l, ": "), add(&l, error_name(s->err));
    }
    l.text[l.n++] = '\n';
    if (write(2, l.text, l.n) < 0) return;
}
