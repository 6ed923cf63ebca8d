/* The writer of a trace: takes records from the ring and writes them as strace(1) does, as JSON, or as trace events that
 * ui.perfetto.dev opens. A process of its own; it ends when no process of the guest holds the other end of its socket. */
#include "show.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OUT_MOST (256u << 10)
#define PROCESSES 1000 /* that are watched at once */
#define THREADS (1 << 17)
#define SOON_MS 5 /* how late a line may be while the guest is busy */

struct who { int tid, pid; bool in_call, listed, unfinished; int column; char *before; uint32_t nbefore, room; int16_t nr; uint64_t began; };
struct process { int pid, fd; };
struct out {
    struct trace_ring *r;
    struct trace_options o;
    int file, memory; /* memory: of the ring */
    struct who *who;
    int nwho, room;
    struct process process[PROCESSES];
    int nprocess;
    int open;       /* tid of the call whose line has begun; 0: none */
    size_t line;    /* where it begins in text, while all of it is still there */
    bool whole;
    int column;
    bool any, closed;
    uint64_t last;  /* for -r */
    int turn;       /* with a file for each thread: whose file is open; 0: none */
    char base[PATH_MAX - 16]; /* what the names of those begin with; empty: one file for all */
    size_t n;
    char text[OUT_MOST + 4 * SHOW_MOST];
};

static void flush(struct out *o) {
    for (size_t done = 0; done < o->n;) {
        ssize_t w = write(o->file, o->text + done, o->n - done);
        if (w > 0) { done += (size_t)w; continue; }
        if (w < 0 && errno == EINTR) continue;
        if (w < 0 && errno == EAGAIN) { poll(&(struct pollfd){o->file, POLLOUT, 0}, 1, 1000); continue; }
        if (!o->r->error) o->r->error = w < 0 ? (uint32_t)errno : EIO;
        break;
    }
    o->n = 0;
    o->whole = false;
}

static void say_n(struct out *o, const char *text, size_t n) {
    if (n > sizeof o->text - o->n) n = sizeof o->text - o->n;
    memcpy(o->text + o->n, text, n);
    o->n += n;
    o->column += (int)n;
}
static void say(struct out *o, const char *text) { say_n(o, text, strlen(text)); }
__attribute__((format(printf, 2, 3))) static void sayf(struct out *o, const char *form, ...) {
    char room[256];
    va_list list;
    va_start(list, form);
    int n = vsnprintf(room, sizeof room, form, list);
    va_end(list);
    say_n(o, room, n < (int)sizeof room ? (size_t)n : sizeof room - 1);
}

static struct who *who(struct out *o, const struct trace_record *h) {
    for (int i = 0; i < o->nwho; i++)
        if (o->who[i].tid == h->tid) return &o->who[i];
    if (o->nwho == o->room || o->nwho > THREADS) {
        if (o->nwho > THREADS) return &o->who[0];
        struct who *more = realloc(o->who, (size_t)(o->room = o->room * 2 + 64) * sizeof *more);
        if (!more) { o->room = o->nwho; return &o->who[0]; }
        o->who = more;
    }
    o->who[o->nwho] = (struct who){.tid = h->tid, .pid = h->pid, .nr = -1};
    return &o->who[o->nwho++];
}

static void leave(struct out *o) {
    flush(o);
    for (int i = 0; i < o->nwho; i++)
        if (o->who[i].tid == o->turn) o->who[i].unfinished = o->open, o->who[i].column = o->column;
    if (o->file >= 0) close(o->file);
    o->file = -1;
    o->open = o->turn = 0;
}

/* With a file for each thread, there is one open at a time: how many threads there are is for the guest to say. */
static void turn(struct out *o, struct who *w) {
    char path[PATH_MAX];
    if (!*o->base || o->turn == w->tid) return;
    leave(o);
    snprintf(path, sizeof path, "%s.%d", o->base, w->tid);
    /* the guest may be able to write there, and the writer is outside of its jail: no link is followed, no pipe waited for */
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK;
    o->file = open(path, flags | (w->listed || o->o.append ? O_APPEND : O_TRUNC), 0666);
    if (o->file < 0 && !o->r->error) o->r->error = (uint32_t)errno;
    w->listed = true;
    o->turn = w->tid, o->open = w->unfinished ? w->tid : 0, o->column = w->column;
}

static void forget(struct out *o, int tid) {
    if (o->turn == tid) leave(o);
    for (int i = 0; i < o->nwho; i++)
        if (o->who[i].tid == tid) { free(o->who[i].before), o->who[i] = o->who[--o->nwho]; return; }
}

static const char *name_of(const struct trace_record *h) {
    static char room[32];
    if (h->nr >= 0 && h->nr < 511 && tv_calls[h->nr].serve) return call_name(h->nr);
    snprintf(room, sizeof room, "syscall_%#llx", (unsigned long long)h->number);
    return room;
}

/* The first part of a call's arguments, for formats that write it when it has returned. */
static void remember(struct who *w, const struct trace_record *h, const char *text) {
    if (h->text > w->room) {
        char *more = realloc(w->before, h->text);
        if (!more) return;
        w->before = more, w->room = h->text;
    }
    if (h->text) memcpy(w->before, text, h->text);
    w->nbefore = h->text;
    w->in_call = true;
}

/* Arguments with what stands between them; in JSON, the text is escaped and each is a string. */
static void args(struct out *o, const char *text, size_t n, const char *between, bool escaped) {
    for (size_t i = 0; i < n; i++) {
        if (text[i] == SHOW_SEP) say(o, between);
        else if (escaped && (text[i] == '"' || text[i] == '\\')) say_n(o, "\\", 1), say_n(o, text + i, 1);
        else say_n(o, text + i, 1);
    }
}
static size_t before_result(const char *text, size_t n) {
    const char *at = memrchr(text, SHOW_RESULT, n);
    return at ? (size_t)(at - text) : n;
}

static void leader(struct out *o, const struct trace_record *h) {
    o->line = o->n, o->whole = true;
    o->column = 0;
    if (o->o.pid_prefix) sayf(o, "%-5d ", h->tid);
    else if (o->o.follow && o->nwho > 1 && !*o->base) sayf(o, "[pid %5d] ", h->tid);
    uint64_t when = h->when;
    time_t sec = (time_t)(when / 1000000000);
    unsigned usec = (unsigned)(when / 1000 % 1000000);
    if (o->o.relative) {
        uint64_t diff = o->last && when > o->last ? when - o->last : 0;
        if (!o->o.times) sayf(o, "%6u.%06u ", (unsigned)(diff / 1000000000), (unsigned)(diff / 1000 % 1000000));
        o->last = when;
    }
    if (o->o.times == 3) {
        sayf(o, "%lld.%06u ", (long long)sec, usec);
    } else if (o->o.times) {
        long day = (long)((sec + o->o.utc_offset) % 86400);
        sayf(o, "%02ld:%02ld:%02ld", day / 3600, day / 60 % 60, day % 60);
        if (o->o.times > 1) sayf(o, ".%06u", usec);
        say(o, " ");
        if (o->o.relative) say(o, "(+     0.000000) ");
    }
}

static void interrupt_line(struct out *o) {
    if (!o->open) return;
    say(o, " <unfinished ...>\n");
    o->open = 0;
}

static void text_record(struct out *o, const struct trace_record *h, const char *text) {
    size_t part = h->text;
    turn(o, who(o, h));
    switch (h->kind) {
    case TRACE_BEFORE:
        interrupt_line(o);
        leader(o, h);
        say(o, name_of(h)), say(o, "(");
        args(o, text, h->text, ", ", false);
        o->open = h->tid;
        break;
    case TRACE_AFTER:
        part = before_result(text, h->text);
        if (h->marks & TRACE_DROP && o->open == h->tid && o->whole) { o->n = o->line, o->open = 0; break; }
        if (o->open != h->tid) {
            interrupt_line(o);
            leader(o, h);
            sayf(o, "<... %s resumed>", name_of(h));
        }
        args(o, text, part, ", ", false);
        say(o, ")");
        say(o, " ");
        while (o->column < o->o.column) say(o, " ");
        say(o, "= ");
        if (part < h->text) say_n(o, text + part + 1, h->text - part - 1);
        if (o->o.durations) sayf(o, " <%llu.%06llu>", (unsigned long long)h->took / 1000000000, (unsigned long long)h->took / 1000 % 1000000);
        say(o, "\n");
        o->open = 0;
        break;
    case TRACE_NEW:
        if (!o->o.pid_prefix && !*o->base && o->o.quiet < 1) interrupt_line(o), sayf(o, "torov: Process %d attached\n", h->tid);
        break;
    default:
        if (h->kind == TRACE_GONE && (o->o.quiet > 1)) { forget(o, h->tid); break; }
        interrupt_line(o);
        leader(o, h);
        say_n(o, text, h->text);
        say(o, "\n");
        if (h->kind == TRACE_GONE) forget(o, h->tid);
    }
}

static void json_quoted(struct out *o, const char *text, size_t n) {
    say(o, "\"");
    args(o, text, n, ", ", true);
    say(o, "\"");
}
static void json_record(struct out *o, const struct trace_record *h, const char *text) {
    struct who *w = who(o, h);
    size_t part;
    if (h->kind == TRACE_BEFORE) remember(w, h, text);
    if (h->kind == TRACE_NEW || h->kind == TRACE_BEFORE) return;
    if (h->marks & TRACE_DROP) { w->in_call = false; return; }
    if (!w->in_call) w->nbefore = 0;
    sayf(o, "{\"time\": %llu.%09llu, \"pid\": %d, \"tid\": %d", (unsigned long long)h->when / 1000000000, (unsigned long long)h->when % 1000000000, h->pid, h->tid);
    if (h->kind == TRACE_AFTER) {
        part = before_result(text, h->text);
        sayf(o, ", \"call\": \"%s\", \"args\": [", name_of(h));
        if (part || w->nbefore) say(o, "\""), args(o, w->before, w->nbefore, "\", \"", true), args(o, text, part, "\", \"", true), say(o, "\"");
        say(o, "], \"result\": "), json_quoted(o, text + part + (part < h->text), part < h->text ? h->text - part - 1 : 0);
        bool returned = part + 1 < h->text && text[part + 1] != '?';
        if (!returned) say(o, ", \"return\": null");
        else if (h->ret < 0 && h->ret >= -4095) sayf(o, ", \"return\": -1, \"errno\": \"%s\"", error_name((int)-h->ret));
        else sayf(o, ", \"return\": %lld", (long long)h->ret);
        sayf(o, ", \"duration\": %llu.%09llu", (unsigned long long)h->took / 1000000000, (unsigned long long)h->took % 1000000000);
        w->in_call = false;
    } else if (h->kind == TRACE_LINE) {
        const char *from = memchr(text, '{', h->text), *end = memrchr(text, '}', h->text);
        say(o, ", \"signal\": "), json_quoted(o, text + 4, from && from - text > 5 ? (size_t)(from - text) - 5 : 0);
        say(o, ", \"info\": "), json_quoted(o, from ? from : text, from && end > from ? (size_t)(end - from) + 1 : 0);
    } else if (h->ret < 0) {
        size_t head = sizeof "+++ killed by " - 1;
        say(o, ", \"killed\": "), json_quoted(o, text + head, h->text > head + 4 ? h->text - head - 4 : 0);
        forget(o, h->tid);
    } else {
        sayf(o, ", \"exit\": %lld", (long long)h->ret);
        forget(o, h->tid);
    }
    say(o, "}\n");
}

/* The JSON array of the Trace Event Format; times in microseconds. */
static void event(struct out *o, const struct trace_record *h, const char *name, size_t n, const char *phase) {
    say(o, o->any ? ",\n" : "[\n");
    o->any = true;
    say(o, "{\"name\": "), json_quoted(o, name, n);
    sayf(o, ", \"cat\": \"%s\", \"ph\": \"%s\", \"ts\": %llu.%03llu, \"pid\": %d, \"tid\": %d", h->nr >= 0 ? "syscall" : "process", phase,
         (unsigned long long)h->when / 1000, (unsigned long long)h->when % 1000, h->pid, h->tid);
}
static void perfetto_record(struct out *o, const struct trace_record *h, const char *text) {
    struct who *w = who(o, h);
    size_t part = before_result(text, h->text);
    if (h->kind == TRACE_BEFORE) { remember(w, h, text); return; }
    if (h->marks & TRACE_DROP) { w->in_call = false; return; }
    if (!w->in_call) w->nbefore = 0;
    if (h->kind == TRACE_AFTER) {
        const char *name = name_of(h);
        event(o, h, name, strlen(name), "X");
        sayf(o, ", \"dur\": %llu.%03llu, \"args\": {\"args\": ", (unsigned long long)h->took / 1000, (unsigned long long)h->took % 1000);
        say(o, "\""), args(o, w->before, w->nbefore, ", ", true), args(o, text, part, ", ", true), say(o, "\"");
        say(o, ", \"result\": "), json_quoted(o, text + part + (part < h->text), part < h->text ? h->text - part - 1 : 0), say(o, "}}");
        w->in_call = false;
    } else if (h->kind == TRACE_NEW) {
        event(o, h, "begin", 5, "i"), say(o, ", \"s\": \"t\"}");
    } else {
        event(o, h, text + 4, h->text > 8 ? h->text - 8 : 0, "i"), say(o, ", \"s\": \"t\"}");
        if (h->kind == TRACE_GONE) forget(o, h->tid);
    }
}

static const struct trace_ring *sorted;
static int slower(const void *a, const void *b) {
    const unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    if (sorted->count[x].ns != sorted->count[y].ns) return sorted->count[x].ns < sorted->count[y].ns ? 1 : -1;
    return x < y ? -1 : x > y;
}
static void table(struct out *o) {
    static const char dashes[] = "-------------------------------------------------";
    char rule[128];
    unsigned order[512], n = 0;
    int wide = 16;
    uint64_t ns = 0, calls = 0, errors = 0;
    for (unsigned i = 0; i < 512; i++) {
        if (!o->r->count[i].calls) continue;
        order[n++] = i;
        if ((int)strlen(call_name((int)i)) + 1 > wide) wide = (int)strlen(call_name((int)i)) + 1;
        ns += o->r->count[i].ns, calls += o->r->count[i].calls, errors += o->r->count[i].errors;
    }
    snprintf(rule, sizeof rule, "------ ----------- ----------- --------- --------- %.*s\n", wide, dashes);
    sorted = o->r;
    qsort(order, n, sizeof *order, slower);
    say(o, "% time     seconds  usecs/call     calls    errors syscall\n"), say(o, rule);
    for (unsigned k = 0; k <= n; k++) {
        bool total = k == n;
        uint64_t t = total ? ns : o->r->count[order[k]].ns, c = total ? calls : o->r->count[order[k]].calls, e = total ? errors : o->r->count[order[k]].errors;
        uint64_t share = ns ? (t * 10000 + ns / 2) / ns : 0;
        char failed[24] = "";
        if (total) say(o, rule);
        if (e) snprintf(failed, sizeof failed, "%llu", (unsigned long long)e);
        sayf(o, "%3llu.%02llu %4llu.%06llu %11llu %9llu %9s %s\n", (unsigned long long)share / 100, (unsigned long long)share % 100, (unsigned long long)t / 1000000000,
             (unsigned long long)t / 1000 % 1000000, c ? (unsigned long long)(t / 1000 / c) : 0, (unsigned long long)c, failed, total ? "total" : call_name((int)order[k]));
    }
}

static void close_out(struct out *o) {
    for (int i = 0; *o->base && i < o->nwho; i++) {
        if (!o->who[i].unfinished || o->who[i].tid == o->turn) continue;
        turn(o, &o->who[i]);
        interrupt_line(o);
    }
    if (o->open) { say(o, " <unfinished ...>\n"); o->open = 0; }
    if (o->o.format == TV_TRACE_PERFETTO && !o->closed) say(o, o->any ? "\n]\n" : "[]\n");
    if (o->o.counts && !o->closed) table(o);
    o->closed = true;
    flush(o);
}

/* exec(2) has begun in the program before, perhaps in another thread than the one that goes on under the process's id: the others
 * are gone. */
static void executed(struct out *o, struct trace_record *h) {
    struct who caller = {.tid = 0};
    bool listed = false;
    if (*o->base) leave(o);
    for (int i = 0; i < o->nwho;) {
        struct who *w = &o->who[i];
        listed |= w->tid == h->tid && w->listed;
        if (w->pid != h->pid || (w->tid == h->tid && !(w->nr == 59 || w->nr == 322))) { i++; continue; }
        if (w->nr == 59 || w->nr == 322) {
            free(caller.before);
            caller = *w;
            w->before = NULL, w->room = w->nbefore = 0;
        }
        forget(o, w->tid);
    }
    struct who *w = who(o, h);
    w->listed = listed;
    if (!caller.tid) return;
    if (caller.tid == h->tid) w->unfinished = caller.unfinished, w->column = caller.column;
    free(w->before);
    w->before = caller.before, w->nbefore = caller.nbefore, w->room = caller.room, w->in_call = caller.in_call;
    h->nr = caller.nr;
    if (caller.began) h->took = h->when - caller.began, h->when = caller.began;
    if (caller.tid == h->tid || o->o.format != TV_TRACE_TEXT) return;
    turn(o, w);
    interrupt_line(o);
    leader(o, h);
    sayf(o, "+++ superseded by execve in pid %d +++\n", caller.tid);
}

static void record(struct out *o, struct trace_record *h, const char *text) {
    if (o->closed && o->o.format == TV_TRACE_PERFETTO) return; /* what the guest left behind: the array is closed */
    if (h->kind == TRACE_BEFORE) {
        struct who *w = who(o, h);
        w->nr = h->nr, w->began = h->when;
    }
    if (h->kind == TRACE_AFTER && h->nr == 59 && !h->ret && !(h->marks & TRACE_DROP)) executed(o, h);
    if (o->o.format == TV_TRACE_JSON) json_record(o, h, text);
    else if (o->o.format == TV_TRACE_PERFETTO) perfetto_record(o, h, text);
    else text_record(o, h, text);
}

/* A process that has ended without a word of its own: what it was at, and its threads. */
static void vanished(struct out *o, int pid) {
    static const char killed[] = "+++ killed by SIGKILL +++";
    for (int i = 0; i < o->nwho;) {
        if (o->who[i].pid != pid || o->o.counts == 1) { i++; continue; }
        struct trace_record h = {.kind = TRACE_GONE, .nr = -1, .pid = pid, .tid = o->who[i].tid, .ret = -SIGKILL, .text = sizeof killed - 1};
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        h.when = (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
        record(o, &h, killed); /* forgets it */
        if (i < o->nwho && o->who[i].tid == h.tid) i++;
    }
}

/* The ring is written by processes that a guest may have broken into: nothing in it is believed. */
static bool take(struct out *o) {
    static char text[SHOW_MOST + 8];
    struct trace_ring *r = o->r;
    uint64_t tail = r->tail, head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
    struct trace_record h;
    bool any = false;
    while (head - tail >= sizeof h && head - tail <= TRACE_RING) {
        for (size_t i = 0; i < sizeof h; i++) ((uint8_t *)&h)[i] = r->data[(tail + i) & (TRACE_RING - 1)];
        if (h.size < sizeof h + h.text || h.size % 8 || h.size > head - tail || h.text > SHOW_MOST) { tail = head; break; }
        size_t pos = (tail + sizeof h) & (TRACE_RING - 1), first = TRACE_RING - pos < h.text ? TRACE_RING - pos : h.text;
        memcpy(text, r->data + pos, first);
        memcpy(text + first, r->data, h.text - first);
        if (h.nr < -1 || h.nr > 511) h.nr = 511;
        record(o, &h, text);
        tail += h.size;
        any = true;
        if (o->n > OUT_MOST) {
            flush(o);
            __atomic_store_n(&r->tail, tail, __ATOMIC_RELEASE);
        }
    }
    flush(o);
    __atomic_store_n(&r->tail, tail, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&r->drained, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&r->waiting, __ATOMIC_SEQ_CST)) sys6(202, (uintptr_t)&r->drained, FUTEX_WAKE, 1 << 30, 0, 0, 0);
    return any;
}

static ssize_t hear(int sock, char word[8], int *fd) {
    char control[CMSG_SPACE(sizeof *fd)];
    struct iovec iov = {word, 8};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof *fd)) memcpy(fd, CMSG_DATA(c), sizeof *fd);
    return n;
}

static void writer(int sock, void *of) {
    struct out *o = of;
    char word[8] = "";
    for (int idle = 0, wait = SOON_MS;;) {
        bool any = take(o);
        idle = any ? 0 : idle + 1;
        wait = SOON_MS;
        if (idle > 20) {
            __atomic_store_n(&o->r->asleep, 1, __ATOMIC_SEQ_CST);
            wait = __atomic_load_n(&o->r->head, __ATOMIC_SEQ_CST) == o->r->tail ? -1 : 0;
        }
        static struct pollfd p[1 + PROCESSES];
        int np = o->nprocess, fd = -1, pid;
        p[0] = (struct pollfd){sock, POLLIN, 0};
        for (int i = 0; i < np; i++) p[1 + i] = (struct pollfd){o->process[i].fd, POLLIN, 0};
        if (poll(p, (nfds_t)np + 1, wait) <= 0) continue;
        for (int i = np; i-- > 0;) {
            if (!p[1 + i].revents) continue;
            pid = o->process[i].pid;
            close(o->process[i].fd);
            o->process[i] = o->process[--o->nprocess];
            take(o);
            vanished(o, pid);
            idle = 0;
        }
        if (!p[0].revents) continue;
        ssize_t n = hear(sock, word, &fd);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) break;
        __atomic_store_n(&o->r->asleep, 0, __ATOMIC_SEQ_CST);
        idle = 0;
        memcpy(&pid, word + 1, 4);
        if (*word == 'p' && fd >= 0 && o->nprocess < PROCESSES) o->process[o->nprocess++] = (struct process){pid, fd};
        else if (fd >= 0) close(fd);
        if (*word == 'm') side_answer(sock, 'm', o->memory);
        if (*word == 'e') take(o), close_out(o), side_answer(sock, (char)o->r->error, -1);
    }
    take(o);
    while (o->nprocess > 0) { /* its descriptors are closed before its end is told */
        struct process *last = &o->process[--o->nprocess];
        poll(&(struct pollfd){last->fd, POLLIN, 0}, 1, 1000);
        vanished(o, last->pid);
    }
    close_out(o);
    o->r->gone = 1;
}

int tv_trace_start(const struct tv_trace *options, int file, const char *each) {
    int keep[] = {memfd_create("torov-trace", MFD_CLOEXEC | MFD_ALLOW_SEALING), file}, memory = keep[0], r = 0;
    struct out *o = calloc(1, sizeof *o);
    if (memory < 0 || !o) { r = memory < 0 ? -errno : -ENOMEM; goto out; }
    if (ftruncate(memory, sizeof *o->r) || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) { r = -errno; goto out; }
    o->r = mmap(NULL, sizeof *o->r, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (o->r == MAP_FAILED) { r = -errno; goto out; }
    o->r->o = o->o = *options;
    o->file = file;
    o->memory = memory;
    if (each && snprintf(o->base, sizeof o->base, "%s", each) >= (int)sizeof o->base) r = -ENAMETOOLONG;
    if (!r) r = side_start("torov-trace", keep, 2, writer, o);
    munmap(o->r, sizeof *o->r);
out:
    if (memory >= 0) close(memory);
    free(o);
    return r;
}
