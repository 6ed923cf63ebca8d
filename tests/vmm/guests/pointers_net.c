/* Pointers of sockets and messages: addresses with length pointers, headers, their inner arrays, control data. */
#include "guest.h"
#include "pointers.h"
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

static int udp, pair[2], tcp, lis, conn, pass;
static char spare[16384];
static struct iovec two[2] = {{spare, 10}, {spare + 100, 20}};

static void drain(int fd) { while (recv(fd, spare, sizeof spare, MSG_DONTWAIT) > 0) { } }
static void feed(void) { drain(pair[1]);
    need(send(pair[0], "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde", 64, 0) == 64, "send"); }
static struct sockaddr_in here(int fd) {
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    need(getsockname(fd, (struct sockaddr *)&a, &n) == 0, "getsockname");
    return a;
}
static long closed(long fd) { if (fd >= 0) close((int)fd); return some(fd); }

#define CALLX(n, ...) static long n(char *p) { __VA_ARGS__ }
#define CALL(n, e) static long n(char *p) { return e; }
#define FILL(n, ...) static void n(char *p) { __VA_ARGS__ }
FILL(f_in, *(struct sockaddr_in *)p = here(udp);)
FILL(f_any, ((struct sockaddr *)p)->sa_family = AF_INET;)
FILL(f_16, *(int *)p = 16;) FILL(f_4, *(int *)p = 4;) FILL(f_big, *(int *)p = 4096;) FILL(f_minus, *(int *)p = -1;)
FILL(f_short, *(int *)p = 2;)
FILL(f_text, memset(p, 'x', 64);)
FILL(f_tv, ((struct timeval *)p)->tv_sec = 1;)
FILL(f_prog, static struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffff); *(struct sock_fprog *)p = (struct sock_fprog){1, &all};)
FILL(f_code, *(struct sock_filter *)p = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0xffff);)
FILL(f_msg, *(struct msghdr *)p = (struct msghdr){.msg_iov = two, .msg_iovlen = 2};)
FILL(f_iov, memcpy(p, two, sizeof two);)
FILL(f_rights, *(struct cmsghdr *)p = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}; *(int *)CMSG_DATA((struct cmsghdr *)p) = pass;)
FILL(f_mmsg, ((struct mmsghdr *)p)[0].msg_hdr = ((struct mmsghdr *)p)[1].msg_hdr = (struct msghdr){.msg_iov = two, .msg_iovlen = 2};)
FILL(f_ts, ((struct timespec *)p)->tv_sec = 1;)

CALL(c_connect, SC(SYS_connect, udp, p, 16))
CALLX(c_bind, int s = socket(AF_INET, SOCK_DGRAM, 0); long r = SC(SYS_bind, s, p, 16); close(s); return r;)
CALLX(c_sendto, long r = SC(SYS_sendto, pair[0], p, 64, 0, 0, 0); drain(pair[1]); return r;)
CALLX(c_sendto_addr, long r = SC(SYS_sendto, udp, "x", 1, 0, p, 16); drain(udp); return r;)
CALLX(c_recv, feed(); return SC(SYS_recvfrom, pair[1], p, 64, MSG_DONTWAIT, 0, 0);)
static void to_self(void) { struct sockaddr_in a = here(udp); drain(udp);
    need(sendto(udp, "abc", 3, 0, (struct sockaddr *)&a, sizeof a) == 3, "sendto"); }
CALLX(c_recv_addr, int n = 16; to_self(); long r = SC(SYS_recvfrom, udp, spare, 10, MSG_DONTWAIT, p, &n); return r < 0 ? r : r * 100 + n;)
CALLX(c_recv_len, to_self(); return SC(SYS_recvfrom, udp, spare, 10, MSG_DONTWAIT, spare + 100, p);)
CALLX(c_name, int n = 16; long r = SC(SYS_getsockname, udp, p, &n); return r < 0 ? r : n;)
CALL(c_name_len, SC(SYS_getsockname, udp, spare, p)) CALL(c_peer_len, SC(SYS_getpeername, conn, spare, p))
CALLX(c_peer, int n = 16; return SC(SYS_getpeername, conn, p, &n);)
static int dial(void) {
    struct sockaddr_in a = here(lis);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(s, (struct sockaddr *)&a, sizeof a) == 0, "connect");
    return s;
}
CALLX(c_accept, int n = 16, s = dial(); long r = closed(SC(SYS_accept4, lis, p, &n, SOCK_CLOEXEC)); close(s); return r;)
CALLX(c_accept_len, int s = dial(); long r = closed(SC(SYS_accept, lis, spare, p)); close(s); return r;)
CALL(c_pair, ({ long r = SC(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, p); if (r == 0) close(((int *)p)[0]), close(((int *)p)[1]); r; }))
CALLX(c_getopt, int n = 4; long r = SC(SYS_getsockopt, tcp, SOL_SOCKET, SO_TYPE, p, &n); return r < 0 ? r : n;)
CALL(c_getopt_len, SC(SYS_getsockopt, tcp, SOL_SOCKET, SO_TYPE, spare, p))
CALLX(c_info, int n = 104; return SC(SYS_getsockopt, tcp, IPPROTO_TCP, TCP_INFO, p, &n);)
CALL(c_setopt, SC(SYS_setsockopt, udp, SOL_SOCKET, SO_RCVBUF, p, 4))
CALL(c_settv, SC(SYS_setsockopt, udp, SOL_SOCKET, SO_SNDTIMEO, p, 16))
CALL(c_filter, SC(SYS_setsockopt, udp, SOL_SOCKET, SO_ATTACH_FILTER, p, sizeof(struct sock_fprog)))
CALLX(c_code, struct sock_fprog f = {1, (void *)p}; return SC(SYS_setsockopt, udp, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f);)
static long send_it(void *m) { long r = SC(SYS_sendmsg, pair[0], m, 0); drain(pair[1]); return r; }
static long take(struct msghdr *m) {
    feed();
    long r = SC(SYS_recvmsg, pair[1], m, MSG_DONTWAIT);
    return r < 0 ? r : r * 10000 + (long)m->msg_namelen * 100 + (long)m->msg_controllen + m->msg_flags;
}
CALL(c_sendmsg, send_it(p)) CALLX(c_recvmsg, feed(); return SC(SYS_recvmsg, pair[1], p, MSG_DONTWAIT);)
CALLX(c_send_name, struct msghdr m = {.msg_name = p, .msg_namelen = 16, .msg_iov = two, .msg_iovlen = 1}; long r = SC(SYS_sendmsg, udp, &m, 0); drain(udp); return r;)
CALLX(c_recv_name, struct msghdr m = {.msg_name = p, .msg_namelen = 16, .msg_iov = two, .msg_iovlen = 1}; to_self(); long r = SC(SYS_recvmsg, udp, &m, MSG_DONTWAIT); return r < 0 ? r : r * 100 + m.msg_namelen;)
CALLX(c_send_iov, struct msghdr m = {.msg_iov = (void *)p, .msg_iovlen = 2}; return send_it(&m);)
CALLX(c_recv_iov, struct msghdr m = {.msg_iov = (void *)p, .msg_iovlen = 2}; return take(&m);)
CALLX(c_send_base, struct iovec v[] = {{spare, 3}, {p, 40}}; struct msghdr m = {.msg_iov = v, .msg_iovlen = 2}; return send_it(&m);)
CALLX(c_recv_base, struct iovec v[] = {{spare, 3}, {p, 40}}; struct msghdr m = {.msg_iov = v, .msg_iovlen = 2}; return take(&m);)
CALLX(c_send_ctl, struct msghdr m = {.msg_iov = two, .msg_iovlen = 1, .msg_control = p, .msg_controllen = CMSG_SPACE(4)}; return send_it(&m);)
CALLX(c_recv_ctl, char b[CMSG_SPACE(4)]; struct msghdr m = {.msg_iov = two, .msg_iovlen = 1, .msg_control = b, .msg_controllen = CMSG_SPACE(4)};
    memset(b, 0, sizeof b); f_rights(b); drain(pair[1]); need(sendmsg(pair[0], &m, 0) == 10, "sendmsg");
    m.msg_control = p; long r = SC(SYS_recvmsg, pair[1], &m, MSG_DONTWAIT);
    long flags = m.msg_flags, n = (long)m.msg_controllen;
    for (int fd = pass + 1; fd < pass + 4; fd++) close(fd);
    return r < 0 ? r : r * 1000 + n + flags * 100;)
CALLX(c_sendmmsg, long r = SC(SYS_sendmmsg, pair[0], p, 2, 0); drain(pair[1]); return r;)
CALLX(c_recvmmsg, feed(); feed(); send(pair[0], "second", 6, 0); struct timespec t = {5, 0}; return SC(SYS_recvmmsg, pair[1], p, 2, MSG_DONTWAIT, &t);)
CALLX(c_recvmmsg_time, struct mmsghdr m = {.msg_hdr = {.msg_iov = two, .msg_iovlen = 1}}; feed(); return SC(SYS_recvmmsg, pair[1], &m, 1, 0, p);)

static const struct row rows[] = {
    {"connect", 16, f_in, c_connect, false}, {"bind", 16, f_any, c_bind, true}, {"sendto", 64, f_text, c_sendto, true},
    {"sendto addr", 16, f_in, c_sendto_addr, false},
    {"recvfrom", 64, 0, c_recv, true}, {"recvfrom addr", 16, 0, c_recv_addr, false},
    {"recvfrom addrlen", 4, f_16, c_recv_len, true}, {"recvfrom addrlen -1", 4, f_minus, c_recv_len, true},
    {"getsockname", 16, 0, c_name, false}, {"getsockname len", 4, f_16, c_name_len, true},
    {"getsockname len 4096", 4, f_big, c_name_len, true}, {"getsockname len -1", 4, f_minus, c_name_len, true},
    {"getpeername", 16, 0, c_peer, false}, {"getpeername len 2", 4, f_short, c_peer_len, true},
    {"accept4", 16, 0, c_accept, false}, {"accept len", 4, f_16, c_accept_len, true},
    {"socketpair", 8, 0, c_pair, true}, {"getsockopt", 4, 0, c_getopt, true},
    {"getsockopt len", 4, f_4, c_getopt_len, true}, {"getsockopt len -1", 4, f_minus, c_getopt_len, true},
    {"TCP_INFO", 104, 0, c_info, false}, {"setsockopt", 4, f_big, c_setopt, true},
    {"SO_SNDTIMEO", 16, f_tv, c_settv, true}, {"SO_ATTACH_FILTER", 16, f_prog, c_filter, false},
    {"SO_ATTACH_FILTER code", 8, f_code, c_code, true}, {"sendmsg", 56, f_msg, c_sendmsg, false},
    {"recvmsg", 56, f_msg, c_recvmsg, false}, {"sendmsg name", 16, f_in, c_send_name, false},
    {"recvmsg name", 16, 0, c_recv_name, false}, {"sendmsg iov", 32, f_iov, c_send_iov, false},
    {"recvmsg iov", 32, f_iov, c_recv_iov, false}, {"sendmsg base", 40, f_text, c_send_base, true},
    {"recvmsg base", 40, 0, c_recv_base, true}, {"sendmsg control", CMSG_SPACE(4), f_rights, c_send_ctl, true},
    {"recvmsg control", CMSG_SPACE(4), 0, c_recv_ctl, true},
    {"sendmmsg", 128, f_mmsg, c_sendmmsg, false}, {"recvmmsg", 128, f_mmsg, c_recvmmsg, false},
    {"recvmmsg timeout", 16, f_ts, c_recvmmsg_time, false},
};

int main(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    tcp = socket(AF_INET, SOCK_STREAM, 0);
    lis = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    need(bind(udp, (struct sockaddr *)&a, sizeof a) == 0 && bind(lis, (struct sockaddr *)&a, sizeof a) == 0 && listen(lis, 64) == 0, "bind");
    need(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0, "socketpair");
    conn = dial();
    close(accept(lis, NULL, NULL));
    pass = dup(1);
    all(rows, sizeof rows / sizeof *rows);
    return 0;
}
