/* Calls in words: for denials, the audit log and questions. */
#ifndef TV_TEXT_H
#define TV_TEXT_H
#include "policy.h"

struct line { size_t n; char text[3072]; };
void add(struct line *l, const char *s);
void add_hex(struct line *l, uint64_t v);
void add_number(struct line *l, int64_t v);
void add_quoted(struct line *l, const char *s, size_t len, size_t most); /* for terminals and JSON: no byte of it is special */
struct tv_constant { uint64_t mask, value; const char *name; }; /* mask ~0: the value is one of them, rather than made of them */
const struct tv_constant *set_rows(int set); /* of sets.h; ends with a name of NULL */
const char *set_unknown(int set);            /* as O_??? */
bool set_octal(int set);                     /* what is left is shown as permissions are */
const char *call_name(int nr);
const char *call_why(int nr); /* of a call that is not served */
const char *error_name(int e);
void add_call(struct line *l, struct tv_vm *vm, const struct tv_call *c, int nr, const uint64_t a[6]); /* as strace(1) */
void add_address(struct line *l, const struct sockaddr *addr, uint32_t len, bool json);
#endif
