/* The conditions of a compiled policy: whether a step holds for a call. Nothing here reads the guest. */
#include "policy.h"

const char pol_every[] = "";

static const void *at(const uint8_t *p, uint32_t off) { return p + off; }

/* One class of a pattern, from behind its '['. NULL: there is no end, so the '[' is itself. */
static const char *class_end(const char *p) {
    if (*p == '!' || *p == '^') p++;
    if (*p == ']') p++;
    while (*p && *p != ']') p += *p == '\\' && p[1] ? 2 : 1;
    return *p ? p : NULL;
}
static bool in_class(const char *p, const char *end, unsigned char c) {
    bool inverse = *p == '!' || *p == '^', found = false;
    if (inverse) p++;
    while (p < end) {
        if (*p == '\\' && p + 1 < end) p++;
        unsigned char lo = (unsigned char)*p++, hi = lo;
        if (*p == '-' && p + 1 < end) {
            p++;
            if (*p == '\\' && p + 1 < end) p++;
            hi = (unsigned char)*p++;
        }
        found |= lo <= c && c <= hi;
    }
    return found != inverse;
}

/* One step of a pattern that is no star: its length, 0 if it does not match c. */
static int one(const char *p, unsigned char c) {
    const char *end;
    if (!c) return 0;
    if (*p == '?') return c != '/';
    if (*p == '[' && (end = class_end(p + 1))) return c != '/' && in_class(p + 1, end, c) ? (int)(end + 1 - p) : 0;
    if (*p == '\\' && p[1]) return (unsigned char)p[1] == c ? 2 : 0;
    return (unsigned char)*p == c;
}

/* Glob with "*" (not over "/") and "**" (over everything). A later star makes the earlier ones of its kind final, and a "**" all,
 * so two places to go back to are enough, and the time is bounded by the product of the lengths. */
bool pol_matches(const char *p, const char *s) {
    const char *star = NULL, *star_s = NULL, *deep = NULL, *deep_s = NULL;
    for (;;) {
        int n;
        if (*p == '*' && p[1] == '*') {
            while (*p == '*') p++;
            deep = p, deep_s = s, star = NULL;
        } else if (*p == '*') {
            star = ++p, star_s = s;
        } else if (!*p && !*s) {
            return true;
        } else if (*p && (n = one(p, (unsigned char)*s))) {
            p += n, s++;
        } else if (!*s && !strcmp(p, "/**")) {
            return true; // "/dir/**" is the directory, too
        } else if (star && *star_s && *star_s != '/') {
            p = star, s = ++star_s;
        } else if (deep && *deep_s) {
            p = deep, s = ++deep_s, star = NULL;
        } else {
            return false;
        }
    }
}

static bool any_matches(const uint8_t *p, uint32_t off, unsigned n, const char *path) {
    const uint32_t *patterns = at(p, off);
    for (unsigned i = 0; i < n; i++)
        if (pol_matches(at(p, patterns[i]), path)) return true;
    return false;
}

static bool in_network(const struct pol_addr *want, const uint8_t *addr, int kind) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (kind == 6 && want->kind == 4 && !memcmp(addr, mapped, sizeof mapped)) addr += sizeof mapped, kind = 4;
    if (kind != want->kind) return false;
    unsigned whole = want->prefix / 8, bits = want->prefix % 8;
    if (memcmp(addr, want->addr, whole)) return false;
    return !bits || !((addr[whole] ^ want->addr[whole]) >> (8 - bits));
}

/* ip(7), ipv6(7), unix(7) */
static bool addr_holds(const uint8_t *p, const struct pol_addr *want, struct subject *s, const struct sockaddr *addr, uint32_t len) {
    int family = len >= sizeof addr->sa_family ? addr->sa_family : AF_UNSPEC, kind = 0;
    const struct sockaddr_in *in = (const void *)addr;
    const struct sockaddr_in6 *in6 = (const void *)addr;
    const uint8_t *bytes = NULL;
    unsigned port = 0;
    if (want->family != POL_ANY_FAMILY && want->family != family) return false;
    if (family == AF_INET && len >= sizeof *in) kind = 4, bytes = (const uint8_t *)&in->sin_addr, port = ntohs(in->sin_port);
    if (family == AF_INET6 && len >= 24) kind = 6, bytes = (const uint8_t *)&in6->sin6_addr, port = ntohs(in6->sin6_port); /* SIN6_LEN_RFC2133 */
    if ((want->port_lo || want->port_hi != 0xffff) && (!kind || port < want->port_lo || port > want->port_hi)) return false;
    if (want->kind && (!kind || !in_network(want, bytes, kind))) return false;
    if (!want->npaths) return true;
    if (family != AF_UNIX) return false;
    const char *path = s->socket(s->of);
    return path && any_matches(p, want->paths, want->npaths, path);
}

/* 1: it holds, 0: not, -1: it could not be looked at. */
static int cond_holds(const uint8_t *p, const struct pol_cond *c, struct subject *s, bool refuses) {
    uint64_t v = s->a[c->arg];
    const void *data;
    if (c->op == POL_PATH) {
        const char *path = s->path(s->of, c->arg);
        if (path == pol_every) return refuses ? -1 : !c->negate; /* what is open may be asked about, whatever is refused by name */
        return !path ? -1 : any_matches(p, c->off, c->n, path);
    }
    if (c->op == POL_ADDR) {
        const struct pol_addr *want = at(p, c->off);
        const struct sockaddr *addr;
        uint32_t len;
        int given = s->addr(s->of, c->arg, &addr, &len);
        if (given < 0) return -1;
        for (unsigned i = 0; i < c->n; i++)
            if (given ? addr_holds(p, &want[i], s, addr, len) : want[i].family == AF_UNSPEC) return 1;
        return 0;
    }
    if (c->width) {
        if (!s->structure(s->of, c->arg, c->field + c->width, &data)) return -1;
        v = 0;
        memcpy(&v, (const char *)data + c->field, c->width);
    }
    v &= c->mask;
    if (c->op == POL_RANGE) return c->lo <= v && v <= c->hi;
    const uint64_t *list = at(p, c->off);
    for (unsigned i = 0; i < c->n; i++)
        if (list[i] == v) return 1;
    return 0;
}

static const struct pol_step *next_step(const struct pol_step *step) { return (const void *)&step->cond[step->nconds]; }

struct decision pol_decide(const uint8_t *p, struct subject *s) {
    const struct pol_head *h = (const void *)p;
    const uint32_t *index = at(p, h->index);
    const struct pol_step *step = at(p, index[s->nr]);
    for (;; step = next_step(step)) {
        unsigned i = 0;
        bool refuses = step->action != POL_ALLOW && step->action != POL_LOG && step->action != POL_LEARN;
        while (i < step->nconds && cond_holds(p, &step->cond[i], s, refuses) == !step->cond[i].negate) i++;
        if (i == step->nconds) return (struct decision){step->action, step->err, step->rule == POL_DEFAULT ? -1 : step->rule, step->delegate};
    }
}

const char *pol_label(const uint8_t *p, int rule) {
    const struct pol_head *h = (const void *)p;
    if (!p || rule < 0 || (unsigned)rule >= h->nrules) return NULL;
    const uint32_t *labels = at(p, h->rules);
    return at(p, labels[rule]);
}

/* n items of size bytes at off lie inside */
static bool fits(const struct pol_head *h, uint64_t off, uint64_t n, uint64_t size, unsigned align) {
    return off >= sizeof *h && off % align == 0 && off + n * size <= h->size;
}
static bool texts(const uint8_t *p, uint32_t off, unsigned n) {
    const struct pol_head *h = (const void *)p;
    if (!fits(h, off, n, 4, 4)) return false;
    const uint32_t *offs = at(p, off);
    for (unsigned i = 0; i < n; i++)
        if (offs[i] < sizeof *h || offs[i] >= h->size || !memchr(p + offs[i], 0, h->size - offs[i])) return false;
    return true;
}
static bool cond_fits(const uint8_t *p, const struct pol_cond *c) {
    const struct pol_head *h = (const void *)p;
    if (c->arg > 5 || c->negate > 1 || (c->width && c->width != 4 && c->width != 8) || c->field + c->width > 128) return false;
    if (c->op == POL_RANGE) return true;
    if (c->op == POL_ANY) return fits(h, c->off, c->n, 8, 8);
    if (c->op == POL_PATH) return texts(p, c->off, c->n);
    if (c->op != POL_ADDR || !fits(h, c->off, c->n, sizeof(struct pol_addr), 4)) return false;
    const struct pol_addr *a = at(p, c->off);
    for (unsigned i = 0; i < c->n; i++)
        if ((a[i].kind && a[i].kind != 4 && a[i].kind != 6) || a[i].prefix > (a[i].kind == 4 ? 32 : 128) || (a[i].npaths && !texts(p, a[i].paths, a[i].npaths))) return false;
    return true;
}
static bool list_fits(const uint8_t *p, uint32_t off) {
    const struct pol_head *h = (const void *)p;
    for (;;) {
        if (!fits(h, off, 1, sizeof(struct pol_step), 8)) return false;
        const struct pol_step *s = at(p, off);
        off += (uint32_t)sizeof *s;
        if (!fits(h, off, s->nconds, sizeof *s->cond, 8) && s->nconds) return false;
        if (s->action >= POL_ACTIONS || (s->rule != POL_DEFAULT && s->rule >= h->nrules) || s->err > 4095) return false;
        if (s->action == POL_DELEGATE && s->delegate >= h->ndelegates) return false;
        for (unsigned i = 0; i < s->nconds; i++)
            if (!cond_fits(p, &s->cond[i])) return false;
        if (!s->nconds) return true;
        off += s->nconds * (uint32_t)sizeof *s->cond;
    }
}

int pol_check(const void *program, uint32_t size) {
    const struct pol_head *h = program;
    if (size < sizeof *h || (uintptr_t)program % 8 || h->magic != POL_MAGIC || h->size != size || h->nrules >= POL_DEFAULT) return -EINVAL;
    if (!texts(program, h->rules, h->nrules) || !texts(program, h->delegates, h->ndelegates) || !fits(h, h->index, 512, 4, 4)) return -EINVAL;
    const uint32_t *index = at(program, h->index);
    for (int nr = 0; nr < 512; nr++)
        if (index[nr] && !list_fits(program, index[nr])) return -EINVAL;
    return 0;
}

bool pol_asks(const uint8_t *p) {
    const uint32_t *index = at(p, ((const struct pol_head *)p)->index);
    for (int nr = 0; nr < 512; nr++)
        for (const struct pol_step *s = index[nr] ? at(p, index[nr]) : NULL; s; s = s->nconds ? next_step(s) : NULL)
            if (s->action == POL_ASK) return true;
    return false;
}

int tv_policy_asks(const void *program) { return pol_asks(program); }
int tv_policy_check(const void *program, uint32_t size) { return pol_check(program, size); }

/* What the core decides about a call whose paths are resolved and whose structures are given: for tests against a model. */
struct trial { const void *structure, *addr; uint32_t structure_size, addrlen; const char *path[2]; int first; char name[112]; };
static bool trial_structure(void *of, int arg, unsigned size, const void **data) {
    struct trial *t = of;
    *data = t->structure;
    return t->structure && size <= t->structure_size;
}
static const char *trial_path(void *of, int arg) {
    struct trial *t = of;
    return t->path[arg > t->first];
}
static int trial_addr(void *of, int arg, const struct sockaddr **addr, uint32_t *len) {
    struct trial *t = of;
    *addr = t->addr;
    *len = t->addrlen;
    return !!t->addr;
}
static const char *trial_socket(void *of) {
    struct trial *t = of;
    char *name = t->name;
    const struct sockaddr_un *un = t->addr;
    size_t n = t->addrlen > 2 ? t->addrlen - 2 : 0;
    if (n > sizeof un->sun_path) n = sizeof un->sun_path;
    memcpy(name + 1, un->sun_path, n);
    name[1 + n] = 0;
    if (n && !name[1])
        for (size_t i = 1; i <= n; i++)
            if (!name[i]) name[i] = '@';
    return name + 1;
}
int tv_policy_try(const void *program, uint32_t size, const int16_t *actions, int nr, const uint64_t *a, const void *structure,
                  uint32_t structure_size, const char *path0, const char *path1, const void *addr, uint32_t addrlen, int *rule) {
    *rule = -1;
    if (nr < 0 || nr >= 512) return POL_ERRNO | ENOSYS << 8;
    int action = actions[nr];
    if (action != POL_CONDITIONAL) return action < 0 ? POL_KILL : action ? POL_ERRNO | action << 8 : POL_ALLOW;
    const uint32_t *index = (const void *)((const uint8_t *)program + ((const struct pol_head *)program)->index);
    if (pol_check(program, size) || !index[nr]) return -EINVAL;
    struct trial t = {structure, addr, structure_size, addrlen, {path0, path1}, 6, ""};
    for (int i = 0; i < 6 && t.first == 6; i++)
        if (tv_calls[nr].arg[i].kind == A_PATH || tv_calls[nr].arg[i].kind == A_LOOK) t.first = i;
    struct subject s = {nr, a, &t, trial_structure, trial_path, trial_addr, trial_socket};
    struct decision d = pol_decide(program, &s);
    *rule = d.rule;
    return d.action | (d.action == POL_ERRNO ? d.err << 8 : 0);
}
