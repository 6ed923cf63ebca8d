/* Calls as strace(1) shows them: tables (shapes.h, from torov/tracing) and what tables do not say (show_*.c). */
#ifndef TV_SHOW_H
#define TV_SHOW_H
#include "text.h"
#include "sets.h"
#include "trace.h"

#define SHOW_MOST (40u << 10) /* bytes of one line */
#define SHOW_SEP '\x1f'       /* between arguments: the writer says what it looks like */
#define SHOW_RESULT '\x1e'    /* before what the call returned */

struct show {
    struct tv_vm *vm;
    const struct trace_options *o;
    const uint64_t *a;
    int64_t ret;
    int nr;
    bool after, failed; /* the call has been made; it returned an error, or nothing */
    bool early;         /* all arguments are shown before the call */
    bool open;          /* what is shown before the call ends with a separator */
    uint64_t kept;      /* a length or an offset as it was before the call */
    size_t n, room; /* room: what arguments may fill; the result comes behind them */
    char text[SHOW_MOST];
};

enum { K_D, K_U, K_X, K_PTR, K_OCT, K_MODE, K_FD, K_DIRFD, K_SIG, K_UID, K_DEV, K_KEY, K_TIME, K_RLIM, K_SIGSET, K_INET, K_HANDLER,
       K_SET, K_STRUCT, K_STR, K_BYTES, K_FN };
enum { H_VALUE, H_NONE, H_FN, H_PATH, H_STR, H_TEXT, H_DATA, H_IN, H_OUT, H_IN_MANY, H_OUT_MANY };
enum { R_DEC, R_HEX, R_FD, R_OCT };
enum { F_LONG = 1, F_NONZERO = 2 };
#define REF_RET 16
#define REF_FIXED 32

typedef bool (*show_fn)(struct show *s, int arg, const void *data); /* false: nothing is shown */
struct show_field { const char *name; uint16_t off; uint8_t size, sign, kind, marks; uint16_t of, count; show_fn fn; };
struct show_struct { uint16_t size, n; const struct show_field *field; };
struct show_arg { uint8_t how, after; uint16_t size; uint8_t sign, kind, ref, at; uint16_t of; show_fn fn; };
struct show_call { uint8_t n, ret; show_fn ret_fn; struct show_arg arg[7]; };
extern const struct show_struct show_structs[];
extern const struct show_call show_calls[512];

/* show.c */
void put(struct show *s, const char *text);
void put_c(struct show *s, char c);
void put_d(struct show *s, int64_t v);
void put_u(struct show *s, uint64_t v);
void put_x(struct show *s, uint64_t v);
void put_ptr(struct show *s, uint64_t v); /* NULL or hexadecimal */
void put_sep(struct show *s);             /* between arguments */
void put_set(struct show *s, int set, uint64_t v);
void put_set32(struct show *s, int set, uint64_t v);
void put_value(struct show *s, int kind, int of, uint64_t v);
void put_string(struct show *s, const void *data, size_t len, bool more, bool hex);
void put_data(struct show *s, gva at, uint64_t len);   /* as many bytes as -s allows */
void put_path(struct show *s, gva at, size_t most);    /* 0: all of it */
void put_fields(struct show *s, int id, const void *data);
void put_inner(struct show *s, int id, const void *data); /* without braces */
bool put_struct(struct show *s, int id, gva at);
void put_error(struct show *s, int e);
void put_sets(struct show *s, const uint64_t *set, int limit); /* numbers in a set, as [3 4] */
void put_pad(struct show *s, uint64_t v, int digits);
bool get(struct show *s, void *to, gva at, size_t n);  /* false: it cannot be read */
const char *sig_word(int sig);                         /* without SIG; NULL: none */
void put_sig(struct show *s, int sig);
void put_when(struct show *s, int64_t sec, int64_t part, int digits); /* a date */

bool clone3_tells(struct show *s); /* does it say something that is shown after the call? */

/* show.c: the whole call */
void show_before(struct show *s);
void show_after(struct show *s);
void show_result(struct show *s);
#endif
