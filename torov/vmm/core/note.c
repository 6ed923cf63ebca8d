/* What a user hears of a guest: the lines of one that has no Python above it (forked, or started by exec), what the policy
 * refused, and the audit log. */
#include "text.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>


#define NOTES_PER_CALL 8

void note_write(const struct tv_vm *vm, const struct tv_stop *s) {
    struct line l = {.n = 0};
    const char *call = s->text[0] ? s->text : call_name(s->nr), *why = s->label[0] ? s->label : "the policy";
    if (vm->flags & TV_F_QUIET) return;
    add(&l, "torov: ");
    if (s->kind == TV_NOTICE && s->note == TV_NOTE_DENIED) {
        add(&l, "denied "), add(&l, call), add(&l, " = "), add(&l, error_name(s->err));
        add(&l, s->label[0] ? ": " : ": not allowed by "), add(&l, why);
    } else if (s->kind == TV_NOTICE && s->note == TV_NOTE_LOGGED) {
        add(&l, "log "), add(&l, call), add(&l, ": "), add(&l, why);
    } else if (s->kind == TV_NOTICE && s->note == TV_NOTE_UNSERVED) {
        add(&l, call_name(s->nr)), add(&l, " = "), add(&l, error_name(s->err)), add(&l, ": "), add(&l, call_why(s->nr));
    } else if (s->kind == TV_NOTICE && s->note == TV_NOTE_GADGET) {
        add(&l, "a syscall was made from "), add_hex(&l, s->addr), add(&l, ", which is no instruction of the program ("), add(&l, call_name(s->nr)), add(&l, ")");
    } else if (s->kind == TV_NOTICE) {
        add(&l, "the host's vDSO cannot be used: reading the time costs an exit");
    } else if (s->kind == TV_KILLED) {
        add(&l, "killed "), add(&l, vm->exe), add(&l, ": "), add(&l, call);
        add(&l, s->label[0] ? ": " : ": not allowed by "), add(&l, why);
    } else if (s->kind == TV_SIGNALLED) { /* of a process that leaves a core file */
        add(&l, vm->exe), add(&l, " ("), add_number(&l, tv_me->proc->pid), add(&l, "): "), add(&l, s->text);
    } else {
        add(&l, s->what), add(&l, ": "), add(&l, error_name(s->err));
    }
    if (s->core[0]) add(&l, "; core dumped to "), add(&l, s->core);
    else if (s->core_err) add(&l, "; no core file: "), add(&l, error_name(s->core_err));
    add(&l, "\n");
    if (write(2, l.text, l.n) < 0) return;
}

static uint64_t hash_of(const char *s, size_t n, uint64_t h) {
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3ull; /* FNV-1a */
    return h | 1;
}

/* Is it the first time? Nothing is told twice, and a call that varies without end not for ever. Under vm->lock. */
static bool first_time(struct tv_vm *vm, uint64_t key) {
    if (vm->nseen * 2 >= vm->seen_room) {
        size_t room = vm->seen_room ? vm->seen_room * 2 : 256;
        uint64_t *more = room > 1 << 20 ? NULL : calloc(room, sizeof *more);
        if (!more) return false;
        for (size_t i = 0; i < vm->seen_room; i++)
            if (vm->seen[i])
                for (size_t k = vm->seen[i] & (room - 1);; k = (k + 1) & (room - 1))
                    if (!more[k]) { more[k] = vm->seen[i]; break; }
        free(vm->seen);
        vm->seen = more;
        vm->seen_room = room;
    }
    for (size_t i = key & (vm->seen_room - 1);; i = (i + 1) & (vm->seen_room - 1)) {
        if (vm->seen[i] == key) return false;
        if (vm->seen[i]) continue;
        vm->seen[i] = key;
        vm->nseen++;
        return true;
    }
}

static const char *const actions[] = {"allow", "errno", "kill", "log", "ask", "delegate", "learn"};

/* One line of JSON to the audit log, whose reader is another process. path: the one that was asked about, or NULL: those of the call. */
static void audit(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site, const struct decision *d, const char *text, const char *label, const char *path) {
    struct line l = {.n = 0};
    struct timespec now;
    const struct held *held = path ? NULL : tv_me->held;
    clock_gettime(CLOCK_REALTIME, &now);
    add(&l, "{\"time\": "), add_number(&l, now.tv_sec), add(&l, ".");
    for (long unit = 100000000; unit >= 1000; unit /= 10) add_number(&l, now.tv_nsec / unit % 10);
    add(&l, ", \"pid\": "), add_number(&l, getpid()), add(&l, ", \"tid\": "), add_number(&l, gettid());
    add(&l, ", \"call\": "), add_quoted(&l, call_name(nr), strlen(call_name(nr)), 64), add(&l, ", \"nr\": "), add_number(&l, nr);
    add(&l, ", \"site\": \""), add_hex(&l, site), add(&l, "\", \"args\": [");
    for (int i = 0; i < c->nargs; i++) {
        if (i) add(&l, ", ");
        add_number(&l, (int64_t)a[i]);
    }
    add(&l, "], \"text\": "), add_quoted(&l, text, strlen(text), 400);
    if (path) add(&l, ", \"paths\": ["), add_quoted(&l, path, strlen(path), 700), add(&l, "]");
    if (held && held->active && held->npaths) {
        add(&l, ", \"paths\": [");
        for (int i = 0; i < held->npaths; i++) {
            if (i) add(&l, ", ");
            add_quoted(&l, held->path[i].name, strlen(held->path[i].name), 700);
        }
        add(&l, "]");
    }
    if (held && held->active && held->has_addr && held->addrlen) {
        add(&l, ", \"address\": ");
        if (held->socket_held && held->addr.any.sa_family == AF_UNIX) {
            add(&l, "{\"family\": \"unix\", \"path\": "), add_quoted(&l, held->socket.name, strlen(held->socket.name), 200), add(&l, "}");
        } else {
            add_address(&l, &held->addr.any, held->addrlen, true);
        }
    }
    add(&l, ", \"action\": \""), add(&l, actions[d->action]), add(&l, "\"");
    if (d->action == POL_ERRNO) add(&l, ", \"errno\": \""), add(&l, error_name(d->err)), add(&l, "\"");
    add(&l, ", \"rule\": "), add_number(&l, d->rule);
    if (label) add(&l, ", \"label\": "), add_quoted(&l, label, strlen(label), 200);
    add(&l, "}\n");
    audit_send(vm, l.text, l.n);
}

void note_audit(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site, const struct decision *d, const char *label) {
    struct line l = {.n = 0};
    if (vm->keep[KEEP_AUDIT] < 0) return;
    add_call(&l, vm, c, nr, a);
    audit(vm, c, nr, a, site, d, l.text, label, NULL);
}

void note_decision(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site, const struct decision *d) {
    struct line l = {.n = 0};
    const char *label = pol_label(vm->program, d->rule);
    bool logs = vm->keep[KEEP_AUDIT] >= 0, fresh = true, told = d->action == POL_ERRNO || d->action == POL_LOG;
    if (d->action == POL_ERRNO && !logs && vm->told[nr] >= NOTES_PER_CALL) return; /* a busy guest that is refused all the time */
    add_call(&l, vm, c, nr, a);
    size_t whole = l.n;
    if (d->action == POL_LEARN || told) { /* descriptors, buffers and sizes make no news */
        struct line key = {.n = 0};
        add_hex(&key, (uint64_t)nr << 16 | (uint16_t)d->rule);
        for (int i = 0; i < c->nargs; i++) {
            const struct held_path *p = held_path(i);
            if (c->arg[i].kind == A_NUM && c->arg[i].named) add(&key, ","), add_hex(&key, a[i]);
            if (p) add(&key, p->name);
        }
        if (tv_me->held && tv_me->held->active && tv_me->held->has_addr) add_address(&key, &tv_me->held->addr.any, tv_me->held->addrlen, true);
        pthread_mutex_lock(&vm->lock);
        fresh = first_time(vm, hash_of(key.text, key.n, 0xcbf29ce484222325ull ^ (unsigned)d->action));
        if (fresh && told) fresh = vm->told[nr]++ < NOTES_PER_CALL;
        pthread_mutex_unlock(&vm->lock);
    }
    if (logs && (fresh || d->action != POL_LEARN)) audit(vm, c, nr, a, site, d, l.text, label, NULL);
    struct tv_stop s = {.kind = d->action == POL_KILL ? TV_KILLED : TV_NOTICE, .note = d->action == POL_LOG ? TV_NOTE_LOGGED : TV_NOTE_DENIED,
                        .nr = nr, .addr = site, .rip = site, .err = d->err};
    if (whole >= sizeof s.text) whole = sizeof s.text - 1;
    memcpy(s.text, l.text, whole);
    if (label) strncpy(s.label, label, sizeof s.label - 1);
    if (d->action == POL_KILL) { s.note = 0; vm_end(vm, s); }
    else if (told && fresh) notice_queue(vm, &s);
}

/* A syscall ran at a place that is no instruction of the file: one line for each such place. */
void note_gadget(struct tv_vm *vm, int nr, gva site) {
    struct line l = {.n = 0};
    if (vm->keep[KEEP_AUDIT] < 0) return;
    pthread_mutex_lock(&vm->lock);
    bool fresh = first_time(vm, hash_of((const char *)&site, sizeof site, 0x84222325cbf29ce4ull));
    pthread_mutex_unlock(&vm->lock);
    if (!fresh) return;
    add(&l, "{\"pid\": "), add_number(&l, getpid()), add(&l, ", \"tid\": "), add_number(&l, gettid());
    add(&l, ", \"call\": "), add_quoted(&l, call_name(nr), strlen(call_name(nr)), 64), add(&l, ", \"nr\": "), add_number(&l, nr);
    add(&l, ", \"site\": \""), add_hex(&l, site), add(&l, "\", \"program\": "), add_quoted(&l, vm->exe, strlen(vm->exe), 400);
    add(&l, ", \"action\": \"gadget\", \"label\": \"no instruction of the program\"}\n");
    audit_send(vm, l.text, l.n);
}

/* Of what a script or a program names as its interpreter, that exec(2) is to start: how names it. */
void note_interpreter(struct tv_vm *vm, int nr, const char *how, const char *path, const struct decision *d) {
    struct line l = {.n = 0};
    struct tv_stop s = {.kind = TV_NOTICE, .note = d->action == POL_LOG ? TV_NOTE_LOGGED : TV_NOTE_DENIED, .nr = nr, .err = d->err};
    const char *label = pol_label(vm->program, d->rule);
    uint64_t a[6] = {0};
    add(&l, call_name(nr)), add(&l, "(\""), add(&l, how), add(&l, "\" -> "), add_quoted(&l, path, strlen(path), 96), add(&l, ")");
    if (vm->keep[KEEP_AUDIT] >= 0) audit(vm, &tv_calls[nr], nr, a, 0, d, l.text, label, path);
    if (d->action == POL_LEARN || vm->told[nr] >= NOTES_PER_CALL) return;
    memcpy(s.text, l.text, l.n < sizeof s.text ? l.n : sizeof s.text - 1);
    if (label) strncpy(s.label, label, sizeof s.label - 1);
    pthread_mutex_lock(&vm->lock);
    vm->told[nr]++;
    pthread_mutex_unlock(&vm->lock);
    notice_queue(vm, &s);
}
