/* Addresses, messages and options of sockets. */
#include "show.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>

#define ARG(s) ((s)->a[arg])
void put_iov(struct show *s, gva at, uint64_t n, uint64_t left); /* show_calls.c */

static void put_address(struct show *s, const void *data, uint32_t len) {
    union { struct sockaddr any; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un; struct sockaddr_nl nl;
            struct sockaddr_ll ll; struct sockaddr_vm vm; char room[128]; } u = {0};
    char text[INET6_ADDRSTRLEN];
    if (len > sizeof u) len = sizeof u;
    memcpy(&u, data, len);
    put(s, "{sa_family="), put_set(s, SET_family, u.any.sa_family);
    if (len <= 2) { put_c(s, '}'); return; }
    if (u.any.sa_family == AF_INET && len >= sizeof u.in) {
        put(s, ", sin_port=htons("), put_u(s, ntohs(u.in.sin_port)), put(s, "), sin_addr="), put_value(s, K_INET, 0, u.in.sin_addr.s_addr);
    } else if (u.any.sa_family == AF_INET6 && len >= 24) {
        put(s, ", sin6_port=htons("), put_u(s, ntohs(u.in6.sin6_port)), put(s, "), sin6_flowinfo=htonl("), put_u(s, ntohl(u.in6.sin6_flowinfo));
        inet_ntop(AF_INET6, &u.in6.sin6_addr, text, sizeof text);
        put(s, "), inet_pton(AF_INET6, "), put_string(s, text, strlen(text), false, false), put(s, ", &sin6_addr)");
        if (len > 24) put(s, ", sin6_scope_id="), put_u(s, u.in6.sin6_scope_id);
    } else if (u.any.sa_family == AF_UNIX) {
        bool hidden = !u.un.sun_path[0];
        size_t n = len - 2 > sizeof u.un.sun_path ? sizeof u.un.sun_path : len - 2;
        put(s, hidden ? ", sun_path=@" : ", sun_path=");
        if (hidden) put_string(s, u.un.sun_path + 1, n - 1, false, false);
        else put_string(s, u.un.sun_path, strnlen(u.un.sun_path, n), false, false);
    } else if (u.any.sa_family == AF_NETLINK && len >= sizeof u.nl) {
        put(s, ", nl_pid="), put_d(s, (int)u.nl.nl_pid), put(s, ", nl_groups=");
        put(s, u.nl.nl_groups ? "0x" : "00000000");
        if (u.nl.nl_groups) for (int shift = 20; shift >= 0; shift -= 4) put_c(s, "0123456789abcdef"[u.nl.nl_groups >> shift & 15]);
    } else if (u.any.sa_family == AF_VSOCK && len >= sizeof u.vm) {
        put(s, ", svm_cid="), put_x(s, u.vm.svm_cid), put(s, ", svm_port="), put_x(s, u.vm.svm_port);
    } else {
        put(s, ", sa_data="), put_string(s, u.any.sa_data, len - 2, false, false);
    }
    put_c(s, '}');
}
static void put_address_at(struct show *s, gva at, uint64_t len) {
    char room[128];
    if (!at || len < 2 || len > sizeof room || !get(s, room, at, len)) put_ptr(s, at);
    else put_address(s, room, (uint32_t)len);
}
bool show_sockaddr(struct show *s, int arg, const void *data) {
    put_address_at(s, ARG(s), (uint32_t)s->a[arg + 1]);
    return true;
}
bool show_sockaddr_out(struct show *s, int arg, const void *data) {
    uint32_t len;
    if (s->failed || !s->a[arg + 1] || !get(s, &len, s->a[arg + 1], 4)) { put_ptr(s, ARG(s)); return true; }
    put_address_at(s, ARG(s), len < s->kept ? len : s->kept);
    return true;
}
bool show_socklen(struct show *s, int arg, const void *data) {
    uint32_t len, before = (uint32_t)s->kept;
    if (!ARG(s) || !get(s, &len, ARG(s), 4)) { put_ptr(s, ARG(s)); return true; }
    put_c(s, '['), put_d(s, (int)before);
    if (!s->failed && len != before) put(s, " => "), put_d(s, (int)len);
    put_c(s, ']');
    return true;
}

bool show_protocol(struct show *s, int arg, const void *data) {
    int family = (int)s->a[0];
    if (family == AF_INET || family == AF_INET6) put_set32(s, SET_protocol, ARG(s));
    else if (family == AF_NETLINK) put_set32(s, SET_netlink, ARG(s));
    else put_u(s, (uint32_t)ARG(s));
    return true;
}

/* options */
static int option_set(int level) {
    switch (level) {
    case SOL_SOCKET: return SET_sockopt;
    case 0: return SET_sockopt_ip;
    case 6: return SET_sockopt_tcp;
    case 17: return SET_sockopt_udp;
    case 41: return SET_sockopt_ipv6;
    case 263: return SET_sockopt_packet;
    case 270: return SET_sockopt_netlink;
    default: return 0;
    }
}
bool show_sockopt(struct show *s, int arg, const void *data) {
    int level = (int)s->a[1], name = (int)ARG(s), set = option_set(level);
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) put(s, name == SO_RCVTIMEO ? "SO_RCVTIMEO_OLD" : "SO_SNDTIMEO_OLD");
    else if (set) put_set32(s, set, ARG(s));
    else put_d(s, name);
    return true;
}
enum { OPT_INT, OPT_BYTES, OPT_LINGER, OPT_CRED, OPT_MREQ, OPT_STRING };
static int option_how(int level, int name) {
    if (level == SOL_SOCKET && name == SO_LINGER) return OPT_LINGER;
    if (level == SOL_SOCKET && name == SO_PEERCRED) return OPT_CRED;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) return OPT_BYTES;
    if (level == SOL_SOCKET && name == SO_BINDTODEVICE) return OPT_BYTES;
    if (level == 0 && (name == 35 || name == 36)) return OPT_MREQ;
    if (level == 6 && (name == 13 || name == 31)) return OPT_BYTES; /* TCP_CONGESTION, TCP_ULP */
    return OPT_INT;
}
static void option_value(struct show *s, gva at, uint32_t len) {
    int how = option_how((int)s->a[1], (int)s->a[2]), number;
    if (!at) { put(s, "NULL"); return; }
    if (how == OPT_LINGER && len >= 8) { put_struct(s, ST_linger, at); return; }
    if (how == OPT_CRED && len >= 12) { put_struct(s, ST_ucred, at); return; }
    if (how == OPT_MREQ && len >= 8) { put_struct(s, ST_ip_mreq, at); return; }
    if (how == OPT_INT && len == 4 && option_set((int)s->a[1]) && get(s, &number, at, 4)) { put_c(s, '['), put_d(s, number), put_c(s, ']'); return; }
    put_data(s, at, len);
}
bool show_sockopt_in(struct show *s, int arg, const void *data) {
    option_value(s, ARG(s), (uint32_t)s->a[arg + 1]);
    return true;
}
bool show_sockopt_out(struct show *s, int arg, const void *data) {
    uint32_t len;
    if (s->failed || !get(s, &len, s->a[arg + 1], 4)) put_ptr(s, ARG(s));
    else option_value(s, ARG(s), len);
    return true;
}

/* messages */
static void put_control(struct show *s, gva at, uint64_t len) {
    union { char room[2048]; struct cmsghdr h; } u;
    if (!at) { put(s, "NULL"); return; }
    size_t n = len < sizeof u ? len : sizeof u;
    if (!get(s, &u, at, n)) { put_ptr(s, at); return; }
    put_c(s, '[');
    for (size_t pos = 0; pos + sizeof u.h <= n;) {
        struct cmsghdr h;
        memcpy(&h, u.room + pos, sizeof h);
        size_t most = n - pos, whole = h.cmsg_len > most ? most : h.cmsg_len, body = whole > sizeof h ? whole - sizeof h : 0;
        const char *d = u.room + pos + sizeof h;
        if (pos) put(s, ", ");
        put(s, "{cmsg_len="), put_u(s, h.cmsg_len), put(s, ", cmsg_level="), put_set32(s, SET_sol, (uint64_t)h.cmsg_level), put(s, ", cmsg_type=");
        if (h.cmsg_level == SOL_SOCKET) put_set32(s, SET_scm, (uint64_t)h.cmsg_type);
        else put_x(s, (uint32_t)h.cmsg_type);
        if (body) put(s, ", cmsg_data=");
        if (body && h.cmsg_level == SOL_SOCKET && h.cmsg_type == SCM_RIGHTS) {
            put_c(s, '[');
            for (size_t i = 0; i + 4 <= body; i += 4) {
                int fd;
                memcpy(&fd, d + i, 4);
                put(s, i ? ", " : ""), put_value(s, K_FD, 0, (uint64_t)fd);
            }
            put_c(s, ']');
        } else if (body >= 12 && h.cmsg_level == SOL_SOCKET && h.cmsg_type == SCM_CREDENTIALS) {
            put_fields(s, ST_ucred, d);
        } else if (body) {
            put_string(s, d, body < s->o->string_size ? body : s->o->string_size, body > s->o->string_size, false);
        }
        put_c(s, '}');
        if (h.cmsg_len < sizeof h || h.cmsg_len >= most) break;
        pos += (h.cmsg_len + 7) & ~7ull;
    }
    put_c(s, ']');
}
static void put_message(struct show *s, const struct msghdr *h, uint64_t left, bool out, uint32_t namelen) {
    put(s, "{msg_name=");
    uint32_t len = h->msg_namelen;
    if (h->msg_name && len >= 2) put_address_at(s, (uintptr_t)h->msg_name, len > 128 ? 128 : len);
    else put_ptr(s, (uintptr_t)h->msg_name);
    put(s, ", msg_namelen=");
    if (out && namelen != len) put_d(s, (int)namelen), put(s, " => ");
    put_d(s, (int)len);
    put(s, ", msg_iov="), put_iov(s, (uintptr_t)h->msg_iov, h->msg_iovlen, left);
    put(s, ", msg_iovlen="), put_u(s, h->msg_iovlen);
    if (h->msg_controllen) put(s, ", msg_control="), put_control(s, (uintptr_t)h->msg_control, h->msg_controllen);
    put(s, ", msg_controllen="), put_u(s, h->msg_controllen);
    put(s, ", msg_flags="), put_set32(s, SET_msg, (uint64_t)h->msg_flags), put_c(s, '}');
}
bool show_msg_in(struct show *s, int arg, const void *data) {
    struct msghdr h;
    if (!get(s, &h, ARG(s), sizeof h)) put_ptr(s, ARG(s));
    else put_message(s, &h, ~0ull, false, 0);
    return true;
}
bool show_msg_out(struct show *s, int arg, const void *data) {
    struct msghdr h;
    if (!get(s, &h, ARG(s), sizeof h)) put_ptr(s, ARG(s));
    else if (s->failed) put(s, "{msg_namelen="), put_d(s, (int)s->kept), put_c(s, '}');
    else put_message(s, &h, (uint64_t)s->ret, true, (uint32_t)s->kept);
    return true;
}
static void put_messages(struct show *s, gva at, int64_t n, bool out) {
    struct { struct msghdr h; uint32_t len, pad; } m;
    if (n < 0 || !at) { put_ptr(s, at); return; }
    put_c(s, '[');
    for (int64_t i = 0; i < n && get(s, &m, at + (uint64_t)i * sizeof m, sizeof m); i++) {
        if (i) put(s, ", ");
        if ((uint64_t)i >= s->o->string_size) { put(s, "..."); break; }
        put(s, "{msg_hdr="), put_message(s, &m.h, out ? m.len : ~0ull, false, 0), put(s, ", msg_len="), put_u(s, m.len), put_c(s, '}');
    }
    put_c(s, ']');
}
bool show_mmsg_sent(struct show *s, int arg, const void *data) {
    put_messages(s, ARG(s), s->failed ? (int64_t)(uint32_t)s->a[2] : s->ret, false);
    return true;
}
bool show_mmsg_got(struct show *s, int arg, const void *data) {
    put_messages(s, ARG(s), s->failed ? -1 : s->ret, true);
    return true;
}
bool show_mmsg_time(struct show *s, int arg, const void *data) {
    put_struct(s, ST_timespec, ARG(s));
    return true;
}
