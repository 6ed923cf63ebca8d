/* What becomes of a call that its policy does not simply allow: the conditions are asked, the answer is reported, and what was
 * looked at is kept for the call to use. */
#include "policy.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct live {
    struct tv_vm *vm;
    const struct tv_call *c;
    long nr;
    uint64_t *a;
    struct held *held;
    bool plain; /* a path may be decided upon as it is written: open(2) will refuse it if that is not what it is */
};

/* No descriptor of the guest is in this call, and none comes of it: a held one may have any number. */
static bool may_be_low(const struct live *l) {
    if (l->c->serve != SERVE_HOST || tv_watched(l->vm)) return false;
    for (int i = 0; i < l->c->nargs; i++) {
        unsigned kind = l->c->arg[i].kind;
        if (kind == A_ATFD ? (int)l->a[i] != AT_FDCWD : kind != A_NUM && kind != A_PATH && kind != A_LOOK && kind != A_OUT) return false;
    }
    return true;
}

static struct held *held_new(const struct live *l) {
    struct held *h = tv_me->held;
    if (!h && !(h = tv_me->held = malloc(sizeof *h))) return NULL;
    h->npaths = 0;
    h->has_addr = false;
    h->socket.fd = -1;
    h->socket_held = false;
    memset(h->path_of, 0, sizeof h->path_of);
    memset(h->pin, 0, sizeof h->pin);
    h->low = may_be_low(l);
    h->active = true;
    return h;
}

int tv_arg_in(struct tv_vm *vm, int arg, void *dst, gva src, uint64_t len) {
    const struct held *h = tv_me->held;
    const struct tv_pin *p = h && h->active && h->pin[arg].read ? &h->pin[arg] : NULL;
    uint64_t n = !p ? 0 : p->len < len ? p->len : len;
    if (p && p->bad) return -EFAULT;
    if (n) memcpy(dst, p->data, n);
    return tv_copy_in(vm, (char *)dst + n, src + n, len - n);
}

uint64_t tv_addr_ptr(struct tv_vm *vm, gva addr) {
    struct held *h = tv_me->held;
    if (!h || !h->active || !h->has_addr || !addr) return tv_ptr(vm, addr);
    return h->addr_bad ? tv_ptr(vm, 1) : (uintptr_t)&h->addr;
}

struct held_path *held_path(int arg) {
    struct held *h = tv_me->held;
    return h && h->active && h->path_of[arg] ? &h->path[h->path_of[arg] - 1] : NULL;
}

/* What cannot be read now must not be there when the call is made. */
static bool live_structure(void *of, int arg, unsigned size, const void **data) {
    struct live *l = of;
    struct tv_pin *p = &l->held->pin[arg];
    uint64_t len = l->c->arg[arg].ref < 6 && l->c->arg[arg].kind == A_IN ? l->a[l->c->arg[arg].ref] : arg < 5 ? l->a[arg + 1] : 0;
    if (!p->read) {
        if (len > sizeof l->held->structure) len = sizeof l->held->structure;
        memset(l->held->structure, 0, sizeof l->held->structure);
        bool bad = tv_copy_in(l->vm, l->held->structure, l->a[arg], len);
        *p = (struct tv_pin){true, bad, bad ? 0 : (uint32_t)len, l->held->structure};
    }
    *data = p->data;
    return !p->bad && size <= p->len;
}

static bool is_open(long nr) { return nr == 2 || nr == 85 || nr == 257 || nr == 437; }

/* How the call follows links, and how far it may go (openat2). */
static enum hold manner(struct live *l, int arg, uint64_t *beneath) {
    const struct tv_argspec *s = &l->c->arg[arg];
    uint64_t flags = s->ref < 6 ? l->a[s->ref] : 0;
    const void *how;
    *beneath = 0;
    if (is_open(l->nr)) {
        flags = l->nr == 85 ? O_CREAT | O_TRUNC : l->a[arg + 1];
        if (l->nr == 437) {
            if (!live_structure(l, 2, 24, &how)) return HOLD_FOLLOW;
            memcpy(&flags, how, 8);
            memcpy(beneath, (const char *)how + 16, 8);
        }
        return flags & O_NOFOLLOW || (flags & O_CREAT && flags & O_EXCL) ? HOLD_NOFOLLOW : HOLD_FOLLOW;
    }
    if (l->nr == 322) return flags & AT_SYMLINK_NOFOLLOW ? HOLD_NOFOLLOW : HOLD_FOLLOW;        /* execveat */
    if (l->nr == 254) return flags & 0x02000000 ? HOLD_ENTRY : HOLD_FOLLOW;                    /* inotify_add_watch, IN_DONT_FOLLOW */
    return path_is_entry(s, l->a) ? HOLD_ENTRY : HOLD_FOLLOW;
}

static const char *live_path(void *of, int arg) {
    struct live *l = of;
    struct held *held = l->held;
    const struct tv_argspec *s = &l->c->arg[arg];
    if (held->path_of[arg]) return held->path[held->path_of[arg] - 1].name;
    if ((s->kind != A_PATH && s->kind != A_LOOK) || held->npaths >= 2) return NULL;
    struct held_path *h = &held->path[held->npaths];
    char text[PATH_MAX];
    int dir = arg && l->c->arg[arg - 1].kind == A_ATFD ? (int)l->a[arg - 1] : AT_FDCWD;
    bool by_fd = s->ref < 6 && l->a[s->ref] & AT_EMPTY_PATH;
    long n = by_fd && !l->a[arg] ? 0 : tv_copy_str(l->vm, text, l->a[arg], sizeof text);
    if (n == 0 && by_fd && (l->nr == 262 || l->nr == 332)) return pol_every; /* fstat(2) by another name: it is about the descriptor */
    held->path_of[arg] = ++held->npaths;
    if (n < 0) {
        memset(h, 0, offsetof(struct held_path, name));
        h->fd = -1;
        h->err = (int)-n;
        h->name[0] = 0;
        return NULL;
    }
    uint64_t beneath;
    enum hold how = manner(l, arg, &beneath);
    h->plain = l->plain && is_open(l->nr) && !beneath && n && path_spelled(l->vm, dir, text, h->name, &h->tail);
    if (h->plain) { h->fd = -1; h->err = 0; h->entry = h->missing = h->slash = h->empty = false; return h->name; }
    if (n == 0 && by_fd) path_hold_fd(l->vm, dir, h);
    else path_hold(l->vm, dir, text, how, beneath, h);
    return h->name[0] ? h->name : NULL;
}

static int live_addr(void *of, int arg, const struct sockaddr **addr, uint32_t *len) {
    struct live *l = of;
    struct held *h = l->held;
    if (!h->has_addr) {
        gva from = l->a[arg];
        uint64_t n = arg < 5 ? (uint32_t)l->a[arg + 1] : 0;
        h->has_addr = true;
        h->addrlen = 0;
        h->addr_bad = false;
        h->name_arg = arg;
        if (l->nr == 46 || l->nr == 307) { /* sendmsg, sendmmsg */
            bool bad = tv_copy_in(l->vm, &h->header, from, sizeof h->header);
            h->pin[arg] = (struct tv_pin){true, bad, bad ? 0 : sizeof h->header, &h->header};
            if (bad) { h->addr_bad = true; return -1; }
            from = (uintptr_t)h->header.msg_name;
            n = h->header.msg_namelen;
            if (n > sizeof h->addr && n <= INT_MAX) h->header.msg_namelen = (uint32_t)(n = sizeof h->addr); /* __copy_msghdr() in net/socket.c */
        }
        memset(&h->addr, 0, sizeof h->addr);
        if (from && n) {
            h->addr_bad = n > sizeof h->addr || tv_copy_in(l->vm, &h->addr, from, n);
            if (!h->addr_bad) h->addrlen = (uint32_t)n;
            if (l->nr != 46 && l->nr != 307) h->pin[arg] = (struct tv_pin){true, h->addr_bad, h->addrlen, &h->addr};
        }
    }
    *addr = &h->addr.any;
    *len = h->addrlen;
    return h->addr_bad ? -1 : h->addrlen > 0;
}

static const char *live_socket(void *of) {
    struct live *l = of;
    struct held *h = l->held;
    char path[sizeof h->addr.un.sun_path + 1];
    if (h->socket_held) return h->socket.name;
    size_t n = h->addrlen > 2 ? h->addrlen - 2 : 0;
    h->socket_held = true;
    h->socket.fd = -1;
    h->socket.err = 0;
    if (n > sizeof path - 1) n = sizeof path - 1;
    memcpy(path, h->addr.un.sun_path, n);
    path[n] = 0;
    if (!n || !path[0]) { /* unnamed; abstract, shown as in /proc/net/unix */
        for (size_t i = 0; i < n; i++)
            if (!path[i]) path[i] = '@';
        memcpy(h->socket.name, path, n + 1);
        return h->socket.name;
    }
    path_hold(l->vm, AT_FDCWD, path, l->nr == 49 ? HOLD_ENTRY : HOLD_FOLLOW, 0, &h->socket);
    return h->socket.name[0] ? h->socket.name : NULL;
}

/* The address that the host is given names the socket that was decided upon. 0 or -errno. */
static int use_socket(struct live *l) {
    struct held *h = l->held;
    if (!h->socket_held || (h->socket.fd < 0 && !h->socket.err)) return 0;
    if (h->socket.err) return -h->socket.err;
    size_t n = strlen(h->socket.sub);
    if (n >= sizeof h->addr.un.sun_path) return -ENAMETOOLONG;
    memcpy(h->addr.un.sun_path, h->socket.sub, n + 1);
    h->addrlen = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    if (l->nr == 46 || l->nr == 307) h->header.msg_namelen = h->addrlen;
    else l->a[h->name_arg + 1] = h->addrlen;
    return 0;
}

void decide_done(void) {
    struct held *h = tv_me->held;
    if (!h || !h->active) return;
    h->active = false;
    for (int i = 0; i < h->npaths; i++) path_drop(&h->path[i]);
    if (h->socket_held) path_drop(&h->socket);
}

static struct decision ask_policy(struct live *l) {
    int action = l->vm->actions[l->nr];
    const struct pol_head *p = (const void *)l->vm->program;
    struct decision d = {action < 0 ? POL_KILL : POL_ERRNO, action < 0 ? EPERM : action, -1, 0};
    const uint32_t *index = p ? (const void *)(l->vm->program + p->index) : NULL;
    if (action != POL_CONDITIONAL) {
        const struct pol_step *s = index && index[l->nr] ? (const void *)(l->vm->program + index[l->nr]) : NULL;
        if (s && s->rule != POL_DEFAULT) d.rule = s->rule;
        return d;
    }
    if (!l->held) l->held = held_new(l);
    if (!l->held || !index || !index[l->nr]) return (struct decision){POL_ERRNO, l->held ? EPERM : ENOMEM, -1, 0};
    struct subject s = {(int)l->nr, l->a, l, live_structure, live_path, live_addr, live_socket};
    return pol_decide(l->vm->program, &s);
}

/* The paths and the address of a call that is only written down. */
static void look_at_all(struct live *l) {
    const struct sockaddr *addr;
    uint32_t len;
    for (int i = 0; i < l->c->nargs; i++) {
        if (l->c->arg[i].kind == A_PATH || l->c->arg[i].kind == A_LOOK) live_path(l, i);
        if (l->c->arg[i].kind == A_SOCKADDR || (l->c->arg[i].kind == A_MSGIN && l->nr == 46))
            if (live_addr(l, i, &addr, &len) > 0 && addr->sa_family == AF_UNIX) live_socket(l);
    }
}

/* A path that no file can have is an error of its own, whatever the policy; it tells nothing about files. */
static int senseless(const struct live *l) {
    const struct held *h = l->held;
    for (int i = 0; h && i < h->npaths; i++) {
        int e = h->path[i].err;
        if (!h->path[i].name[0] && (e == EFAULT || e == EBADF || e == ENAMETOOLONG || e == ENOTDIR || e == EXDEV || (e == ENOENT && h->path[i].empty))) return e;
    }
    return 0;
}

static bool by_spelling(const struct held *h) { return h && h->npaths && h->path[0].plain; }

static int64_t decide(struct live *l, gva site, bool *go_on) {
    struct tv_vm *vm = l->vm;
    const struct tv_call *c = l->c;
    uint64_t *a = l->a;
    int nr = (int)l->nr;
    struct decision d = ask_policy(l);
    int64_t r = 0;
    *go_on = false;
    if (by_spelling(l->held) && d.action != POL_ALLOW) { /* whatever is not simply allowed is told with what it leads to */
        l->plain = false;
        l->held->npaths = 0;
        memset(l->held->path_of, 0, sizeof l->held->path_of);
        d = ask_policy(l);
    }
    if (d.action == POL_LEARN) look_at_all(l);
    if ((d.action == POL_ERRNO || d.action == POL_KILL) && (r = senseless(l))) { decide_done(); return -r; }
    if (d.action == POL_ASK) d.action = ask(vm, c, nr, a, &d);
    if (d.action != POL_ALLOW) note_decision(vm, c, nr, a, site, &d);
    if ((d.action == POL_KILL || d.action == POL_ERRNO) && vm->trace && !(tv_me->refused = pol_label(vm->program, d.rule))) tv_me->refused = "";
    switch (d.action) {
    case POL_KILL:
        tv_me->stats.denied++;
        r = -EPERM;
        break;
    case POL_ERRNO:
        tv_me->stats.denied++;
        r = -d.err;
        break;
    case POL_DELEGATE:
        r = delegate(vm, c, nr, a, d.delegate, go_on);
        break;
    default:
        *go_on = true;
    }
    if (*go_on && l->held && (r = use_socket(l))) *go_on = false;
    if (!*go_on) decide_done();
    return r;
}

int64_t decide_call(struct tv_vm *vm, const struct tv_call *c, uint64_t nr, uint64_t a[6], gva site, bool *go_on) {
    struct live l = {vm, c, (long)nr, a, NULL, true};
    int64_t r = decide(&l, site, go_on);
    if (*go_on && by_spelling(l.held)) {
        l.held->nr = (long)nr;
        l.held->site = site;
        memcpy(l.held->args, a, sizeof l.held->args);
    }
    return r;
}

/* A path that was decided upon as it is written has links: what it leads to is decided upon. What else was read stays. */
int64_t decide_again(struct tv_vm *vm, bool *go_on) {
    struct held *h = tv_me->held;
    struct live l = {vm, &tv_calls[h->nr], h->nr, h->args, h, false};
    h->npaths = 0;
    memset(h->path_of, 0, sizeof h->path_of);
    return decide(&l, h->site, go_on);
}

/* sendmmsg(2): each message has an address of its own. 0, or what the call answers. */
int64_t decide_next(struct tv_vm *vm, uint64_t nr, gva at) {
    bool go_on;
    uint64_t a[6] = {0, at};
    decide_done();
    int64_t r = decide_call(vm, &tv_calls[nr], nr, a, 0, &go_on);
    return go_on ? 0 : r;
}

static const char *other_path(void *of, int arg) {
    const struct held_path *h = of;
    return h->name[0] ? h->name : NULL;
}
static bool no_structure(void *of, int arg, unsigned size, const void **data) { return false; }
static int no_addr(void *of, int arg, const struct sockaddr **addr, uint32_t *len) { return -1; }
static const char *no_socket(void *of) { return NULL; }

/* The interpreter that a script names (#!), or a program (PT_INTERP): the rules about the paths of exec hold for it, too. 0 or -errno. */
int decide_interpreter(struct tv_vm *vm, int nr, const char *how, const char *path, struct held_path *h) {
    uint64_t a[6] = {0};
    path_hold(vm, AT_FDCWD, path, HOLD_FOLLOW, 0, h);
    if (h->err) return -h->err;
    struct subject s = {nr, a, h, no_structure, other_path, no_addr, no_socket};
    struct decision d = pol_decide(vm->program, &s);
    bool refused = d.action == POL_ERRNO || d.action == POL_KILL;
    if (d.action == POL_KILL) d.err = EACCES;
    if (refused) tv_me->stats.denied++;
    if (refused || d.action == POL_LOG || d.action == POL_LEARN) note_interpreter(vm, nr, how, h->name, &d);
    return refused ? -d.err : 0;
}
