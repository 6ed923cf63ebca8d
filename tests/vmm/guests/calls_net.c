/* Sockets: each call's answer, and what arrives. */
#include "guest.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static struct sockaddr_in here(int fd) {
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    need(getsockname(fd, (void *)&a, &n) == 0, "getsockname");
    return a;
}
#define ERR(e) ({ long r_ = (e); r_ < 0 ? -errno : r_; })

static void tcp(void) {
    char b[100] = {0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    say(ERR(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, 4)), "reuse");
    say(ERR(bind(l, (void *)&a, sizeof a)), "bind"); say(ERR(listen(l, 5)), "listen"); a = here(l);
    say(ERR(accept4(c, NULL, NULL, 0)), "accept of none"); say(ERR(connect(c, (void *)&a, sizeof a)), "connect");
    struct sockaddr_in p; socklen_t n = sizeof p; int s = accept4(l, (void *)&p, &n, SOCK_CLOEXEC);
    need(s >= 0, "accept"); say(n, "length"); say(p.sin_port == here(c).sin_port, "port");
    struct pollfd f = {c, POLLOUT, 0}; say(poll(&f, 1, 1000), "poll"); n = 4;
    say(ERR(getsockopt(c, SOL_SOCKET, SO_ERROR, &one, &n)), "SO_ERROR"); say(one, "error"); one = 1;
    say(ERR(connect(c, (void *)&a, sizeof a)), "connect again"); n = sizeof p;
    say(ERR(getpeername(c, (void *)&p, &n)), "getpeername"); say(p.sin_port == a.sin_port, "port");
    say(ERR(send(c, "hello, world", 12, 0)), "send"); say(ERR(recv(s, b, 5, MSG_PEEK)), "peek");
    say(ERR(recv(s, b, 12, MSG_WAITALL)), "recv"); puts(b); say(ERR(ioctl(s, FIONREAD, &one)), "FIONREAD");
    say(one, "left"); say(ERR(recv(s, b, 1, MSG_DONTWAIT)), "nothing"); one = 1;
    say(ERR(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, 4)), "nodelay"); n = 4; one = 0;
    say(ERR(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, &n)), "nodelay"); printf("%d %u\n", one, n);
    struct linger lg = {1, 5}; say(ERR(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof lg)), "linger"); n = 100;
    say(ERR(getsockopt(s, SOL_SOCKET, SO_LINGER, b, &n)), "linger"); say(n, "length");
    n = 4; say(ERR(getsockopt(s, SOL_SOCKET, 9999, &one, &n)), "unknown option");
    say(ERR(setsockopt(s, 77, 1, &one, 4)), "unknown level");
    say(ERR(setsockopt(s, SOL_SOCKET, SO_RCVBUF, &one, 2)), "short option"); struct tcp_info info; n = sizeof info;
    say(ERR(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &n)), "TCP_INFO"); say(info.tcpi_state, "state");
    say(ERR(shutdown(c, SHUT_WR)), "shutdown"); say(ERR(recv(s, b, 10, 0)), "end");
    say(ERR(send(c, "x", 1, MSG_NOSIGNAL)), "send after shutdown"); say(ERR(shutdown(c, 9)), "shutdown 9");
    struct timeval tv = {0, 20000}; setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv); fcntl(c, F_SETFL, 0);
    say(ERR(recv(c, b, 1, 0)), "timeout"); close(s); close(c);
    c = socket(AF_INET, SOCK_STREAM, 0); close(l); say(ERR(connect(c, (void *)&a, sizeof a)), "refused");
    say(ERR(socket(999, 1, 0)), "family"); say(ERR(socket(AF_INET, 99, 0)), "type");
    say(ERR(socket(AF_INET, SOCK_STREAM, 9999)), "protocol"); say(ERR(bind(0, (void *)&a, sizeof a)), "bind of a file");
    say(ERR(bind(999, (void *)&a, sizeof a)), "bind of nothing"); close(c);
}

static void devices(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), n = 0; struct ifreq r = {.ifr_name = "lo"}; struct ifconf c = {.ifc_len = 0};
    static const int asks[] = {SIOCGIFINDEX, SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFTXQLEN, SIOCGIFMETRIC};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) { say(ERR(ioctl(fd, asks[i], &r)), "%x", asks[i]); printf("%x\n", r.ifr_ifindex); }
    r.ifr_ifindex = 1; say(ERR(ioctl(fd, SIOCGIFNAME, &r)), "name"); puts(r.ifr_name); r.ifr_ifindex = 9999; say(ERR(ioctl(fd, SIOCGIFNAME, &r)), "no name");
    say(ERR(ioctl(fd, SIOCGIFCONF, &c)), "how much"); n = c.ifc_len; static char b[4096]; c = (struct ifconf){sizeof b, {b}};
    say(ERR(ioctl(fd, SIOCGIFCONF, &c)), "list"); printf("%d %s\n", c.ifc_len == n, c.ifc_req->ifr_name); c.ifc_buf = (char *)8; c.ifc_len = 4096;
    say(ERR(ioctl(fd, SIOCGIFCONF, &c)), "nowhere"); say(ERR(ioctl(fd, SIOCGIFCONF, 8)), "fault"); close(fd);
    int p[2]; struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}; fd = socket(AF_INET, SOCK_STREAM, 0);
    need(!bind(fd, (void *)&a, sizeof a) && !listen(fd, 1), "listen"); a = here(fd); p[0] = socket(AF_INET, SOCK_STREAM, 0);
    need(!connect(p[0], (void *)&a, sizeof a), "connect"); p[1] = accept(fd, NULL, NULL); say(ERR(ioctl(p[1], SIOCATMARK, &n)), "mark"); say(n, "at it");
    send(p[0], "x", 1, MSG_OOB); struct pollfd f = {p[1], POLLPRI, 0}; poll(&f, 1, 1000); say(ERR(ioctl(p[1], SIOCATMARK, &n)), "mark"); say(n, "at it");
    n = getpid(); say(ERR(ioctl(p[1], SIOCSPGRP, &n)), "owner"); n = 0; say(ERR(ioctl(p[1], SIOCGPGRP, &n)), "owner"); say(n == getpid(), "is"); close(p[0]); close(p[1]); close(fd);
}

static void udp(void) {
    char b[3][64] = {{0}}, ctl[128];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, from;
    int u = socket(AF_INET, SOCK_DGRAM, 0), v = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    say(ERR(bind(u, (void *)&a, sizeof a)), "bind"); a = here(u); say(ERR(send(v, "x", 1, 0)), "no destination");
    say(ERR(sendto(v, "datagram", 8, 0, (void *)&a, sizeof a)), "sendto"); socklen_t n = sizeof from;
    say(ERR(recvfrom(u, b[0], 4, MSG_TRUNC, (void *)&from, &n)), "truncated");
    printf("%.4s %u %d\n", b[0], n, from.sin_port == here(v).sin_port);
    say(ERR(setsockopt(u, IPPROTO_IP, IP_PKTINFO, &one, 4)), "pktinfo"); struct iovec i[3] = {{b[0], 3}, {b[1], 3},
    {b[2], 60}}, o[2] = {{"scatter", 7}, {"gather", 6}};
    struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = o, .msg_iovlen = 2};
    say(ERR(sendmsg(v, &m, 0)), "sendmsg");
    m = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = i, .msg_iovlen = 3, .msg_control = ctl, .msg_controllen = sizeof ctl};
    say(ERR(recvmsg(u, &m, 0)), "recvmsg");
    printf("%.3s %.3s %.7s name %u control %zu flags %x\n", b[0], b[1], b[2], m.msg_namelen, m.msg_controllen, m.msg_flags);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m); printf("%d %d %zu\n", c->cmsg_level, c->cmsg_type, c->cmsg_len);
    m.msg_controllen = 4; sendto(v, "abcdefghij", 10, 0, (void *)&a, sizeof a); m.msg_iovlen = 2;
    say(ERR(recvmsg(u, &m, 0)), "both cut"); printf("flags %x control %zu\n", m.msg_flags, m.msg_controllen);
    say(ERR(connect(v, (void *)&a, sizeof a)), "connect"); struct mmsghdr mm[4];
    for (int k = 0; k < 4; k++) mm[k] = (struct mmsghdr){.msg_hdr = {.msg_iov = o, .msg_iovlen = (size_t)k % 3}};
    say(ERR(sendmmsg(v, mm, 4, 0)), "sendmmsg"); for (int k = 0; k < 4; k++) printf("%u ", mm[k].msg_len);
    for (int k = 0; k < 4; k++) mm[k] = (struct mmsghdr){.msg_hdr = {.msg_iov = i, .msg_iovlen = 1}};
    struct timespec t = {1, 0}; say(ERR(recvmmsg(u, mm, 3, MSG_DONTWAIT, &t)), "recvmmsg");
    for (int k = 0; k < 3; k++) printf("%u/%x ", mm[k].msg_len, mm[k].msg_hdr.msg_flags);
    printf("%ld\n", (long)t.tv_sec); say(ERR(recvmmsg(u, mm, 3, MSG_WAITFORONE, NULL)), "wait for one");
    say(ERR(recvmmsg(u, mm, 3, MSG_DONTWAIT, NULL)), "none"); t.tv_nsec = -1;
    say(ERR(recvmmsg(u, mm, 3, MSG_DONTWAIT, &t)), "bad time");
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1), BPF_STMT(BPF_RET | BPF_K, 0xffff), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog prog = {4, code};
    say(ERR(setsockopt(u, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog)), "filter");
    say(ERR(send(v, "no", 2, 0)), "send"); say(ERR(send(v, "yes", 3, 0)), "send");
    say(ERR(recv(u, b[0], 60, MSG_DONTWAIT)), "filtered"); say(ERR(recv(u, b[0], 60, MSG_DONTWAIT)), "rest");
    say(ERR(setsockopt(u, SOL_SOCKET, SO_DETACH_FILTER, &one, 4)), "detach"); prog.len = 0;
    say(ERR(setsockopt(u, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog)), "empty filter"); code[0].code = 0xffff;
    prog.len = 4; say(ERR(setsockopt(u, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog)), "bad filter");
    int six = socket(AF_INET6, SOCK_DGRAM, 0); say(six < 0 ? -errno : 0, "IPv6"); one = 1;
    if (six >= 0) { say(ERR(setsockopt(six, IPPROTO_IPV6, 66, &one, 4)), "IPV6_RECVTCLASS");
    say(ERR(setsockopt(six, IPPROTO_IPV6, 78, &one, 4)), "IPV6_FREEBIND"); }
}

static void local(void) {
    char b[200] = {0}, ctl[256];
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"}, from;
    int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), s, p[2], pp[2], one = 1;
    say(ERR(bind(l, (void *)&a, sizeof a)), "bind"); say(ERR(bind(c, (void *)&a, sizeof a)), "bind taken");
    say(ERR(listen(l, 1)), "listen"); say(ERR(connect(c, (void *)&a, sizeof a)), "connect"); socklen_t n = sizeof from;
    s = accept(l, (void *)&from, &n); say(n, "accept"); n = sizeof from; memset(&from, 0, sizeof from);
    say(ERR(getpeername(c, (void *)&from, &n)), "getpeername"); printf("%s %u\n", from.sun_path, n); n = 4;
    say(ERR(getpeername(c, (void *)&from, &n)), "short"); say(n, "length");
    struct { int pid; unsigned uid, gid; } cred; n = sizeof cred;
    say(ERR(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &n)), "peercred");
    printf("%d %d\n", cred.pid == getpid(), cred.uid == getuid());
    need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0 && pipe(pp) == 0, "socketpair"); struct iovec v = {"msg", 3};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = CMSG_SPACE(8)};
    memset(ctl, 0, sizeof ctl); struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(8), SOL_SOCKET, SCM_RIGHTS}; memcpy(CMSG_DATA(h), pp, 8);
    say(ERR(sendmsg(p[0], &m, 0)), "rights"); v.iov_base = b; v.iov_len = 100; memset(ctl, 0, sizeof ctl);
    m.msg_controllen = sizeof ctl; say(ERR(recvmsg(p[1], &m, MSG_CMSG_CLOEXEC)), "rights"); int got[2];
    memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&m)), 8);
    printf("%zu %zu %x\n", m.msg_controllen, CMSG_FIRSTHDR(&m)->cmsg_len, m.msg_flags);
    say(ERR(write(got[1], "through", 7)), "write"); say(ERR(read(pp[0], b, 20)), "read");
    say(fcntl(got[0], F_GETFD), "cloexec");
    static const int bad[] = {999, -1, -100}; for (int k = 0; k < 3; k++) { v.iov_base = "m"; v.iov_len = 1;
    m.msg_controllen = CMSG_SPACE(4); h = CMSG_FIRSTHDR(&m); *h = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &bad[k], 4); say(ERR(sendmsg(p[0], &m, 0)), "rights of %d", bad[k]); }
    m.msg_controllen = 20; h->cmsg_len = 100; say(ERR(sendmsg(p[0], &m, 0)), "control too long"); h->cmsg_len = 3;
    say(ERR(sendmsg(p[0], &m, 0)), "control too short"); h->cmsg_level = 99; h->cmsg_len = 17;
    say(ERR(sendmsg(p[0], &m, 0)), "unknown level"); m.msg_controllen = 0; m.msg_control = NULL;
    say(ERR(setsockopt(p[1], SOL_SOCKET, SO_PASSCRED, &one, 4)), "passcred"); say(ERR(send(p[0], "c", 1, 0)), "send");
    m.msg_control = ctl; m.msg_controllen = sizeof ctl; v.iov_base = b; v.iov_len = 9;
    say(ERR(recvmsg(p[1], &m, 0)), "recvmsg"); h = CMSG_FIRSTHDR(&m);
    printf("%d %zu\n", h ? h->cmsg_type : -1, m.msg_controllen);
    int d[2]; need(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, d) == 0, "socketpair"); m = (struct msghdr){0};
    say(ERR(sendmsg(d[0], &m, 0)), "empty message"); say(ERR(recvmsg(d[1], &m, 0)), "empty message");
    say(ERR(recvmsg(d[1], &m, 0)), "none"); long sent = 0; while (send(d[0], b, 100, 0) == 100) sent++;
    printf("full after some %d: %s\n", sent > 0, answer(-errno)); close(d[1]);
    say(ERR(send(d[0], b, 1, 0)), "peer gone"); signal(SIGPIPE, SIG_IGN); close(s); say(ERR(send(c, b, 1, 0)), "EPIPE");
    close(pp[0]); close(got[0]); say(ERR(write(pp[1], b, 1)), "EPIPE of a pipe"); say(ERR(accept(c, 0, 0)), "accept");
}

int main(void) {
    tcp(); devices(); udp(); local();
    return 0;
}
