/* A compiled policy (torov/policy/program.py writes it): for each call that needs it a list of steps, of which the first whose
 * conditions all hold decides. Little-endian, offsets from the start, checked once by policy_check(). */
#ifndef TV_POLICY_H
#define TV_POLICY_H
#include "tv.h" /* first: _GNU_SOURCE */

#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#define POL_MAGIC 0x31505654u /* "TVP1" */
#define POL_DEFAULT 0xffff    /* the rule of a step that stands for the policy's default */
#define POL_CONDITIONAL (-2)  /* in actions[]: the list decides */

struct pol_head { uint32_t magic, size, nrules, rules, index, ndelegates, delegates, flags; };
struct pol_cond {
    uint8_t op, arg, negate, width;
    uint16_t field, n;
    uint32_t off, pad;
    uint64_t mask, lo, hi;
};
struct pol_step { uint16_t rule; uint8_t nconds, action; uint16_t err, delegate; struct pol_cond cond[]; };
struct pol_addr {
    uint16_t family, port_lo, port_hi;
    uint8_t prefix, kind, addr[16];
    uint32_t npaths, paths;
};
enum { POL_RANGE = 1, POL_ANY, POL_PATH, POL_ADDR };
enum pol_action { POL_ALLOW, POL_ERRNO, POL_KILL, POL_LOG, POL_ASK, POL_DELEGATE, POL_LEARN, POL_ACTIONS };
#define POL_ANY_FAMILY 0xffff

/* A path that a rule looks at, resolved once: the descriptor is what the call then uses. */
enum hold { HOLD_FOLLOW, HOLD_NOFOLLOW, HOLD_ENTRY }; /* NOFOLLOW: the file, which may be a link itself; ENTRY: its directory's entry */
struct held_path {
    int fd;              /* of the file, or of its parent directory; hidden; -1: none */
    int err;             /* why it could not be resolved: what the call answers if its policy allows it; or 0 */
    bool entry;          /* fd is the parent's: the name's last part is looked up in it */
    bool missing;        /* there is no such entry */
    bool slash;          /* the path ends with one */
    bool empty;          /* AT_EMPTY_PATH: the descriptor itself */
    bool plain;          /* not resolved: it is what name says unless a link is on the way, and open(2) refuses to follow one */
    size_t tail;         /* of a plain path: what is written begins here in name; what is before is the working directory */
    char name[PATH_MAX]; /* absolute, for the patterns */
    char sub[NAME_MAX + 32]; /* what the host is given: /proc/self/fd/N or /proc/self/fd/N/NAME */
};

/* What the policy has read of a call: the call uses this and does not read it again. */
struct held {
    bool active;
    bool low;               /* descriptors of this call may have low numbers: nobody else sees them, and it makes none */
    struct tv_pin { bool read, bad; uint32_t len; const void *data; } pin[6]; /* by argument; bad: it could not be read, and is not read again */
    uint64_t structure[16]; /* open_how, clone_args */
    struct msghdr header;
    union { struct sockaddr any; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un; struct sockaddr_storage room; } addr;
    uint32_t addrlen;
    bool has_addr, addr_bad, socket_held;
    int name_arg;          /* the register of the address */
    int path_of[6];        /* by argument: 1 + index into path, 0: not held */
    int npaths;
    struct held_path path[2];
    struct held_path socket; /* of an AF_UNIX address */
    long nr;                 /* the call, for decide_again() */
    uint64_t args[6];
    gva site;
};

struct decision { int action, err, rule, delegate; };

/* A call as the conditions see it: the guest's, or a test's. */
struct subject {
    int nr;
    const uint64_t *a;
    void *of;
    bool (*structure)(void *of, int arg, unsigned size, const void **data);
    const char *(*path)(void *of, int arg); /* resolved; NULL: cannot be */
    int (*addr)(void *of, int arg, const struct sockaddr **addr, uint32_t *len); /* 1: given, 0: none, -1: cannot be read */
    const char *(*socket)(void *of);        /* its resolved path */
};
struct decision pol_decide(const uint8_t *p, struct subject *s);
bool pol_matches(const char *pattern, const char *path);
int pol_check(const void *p, uint32_t size);
bool pol_asks(const uint8_t *p); /* is there an action "ask"? */
const char *pol_label(const uint8_t *p, int rule);

/* Is the last part of this path not followed, as the row and the flags say? */
static inline bool path_is_entry(const struct tv_argspec *s, const uint64_t a[6]) {
    uint64_t flags = s->ref < 6 ? a[s->ref] : 0;
    return s->size ? !(flags & 0x400 /* AT_SYMLINK_FOLLOW */) : !!(flags & 0x100 /* AT_SYMLINK_NOFOLLOW */);
}

/* path.c */
void path_hold(struct tv_vm *vm, int dir, const char *path, enum hold how, uint64_t beneath, struct held_path *h);
void path_hold_fd(struct tv_vm *vm, int fd, struct held_path *h);
void path_drop(struct held_path *p);
bool path_spelled(struct tv_vm *vm, int dir, const char *path, char name[PATH_MAX], size_t *tail);

/* decide.c */
extern const char pol_every[]; /* a name that every pattern matches */
int64_t decide_call(struct tv_vm *vm, const struct tv_call *c, uint64_t nr, uint64_t a[6], gva site, bool *go_on);
void decide_done(void);
int64_t decide_again(struct tv_vm *vm, bool *go_on);
int64_t decide_next(struct tv_vm *vm, uint64_t nr, gva at);
int decide_interpreter(struct tv_vm *vm, int nr, const char *how, const char *path, struct held_path *h);
struct held_path *held_path(int arg);
void note_audit(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site, const struct decision *d, const char *label);
int ask(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], struct decision *d);
int64_t delegate(struct tv_vm *vm, const struct tv_call *c, int nr, uint64_t a[6], int to, bool *go_on);
void note_interpreter(struct tv_vm *vm, int nr, const char *how, const char *path, const struct decision *d);
void note_decision(struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6], gva site, const struct decision *d);
#endif
