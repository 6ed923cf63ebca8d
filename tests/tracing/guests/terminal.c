#include "calls.h"
int main(void) {
    int m = S(open, "/dev/ptmx", O_RDWR | O_NOCTTY), n = 0;
    struct termios t;
    struct winsize w = {24, 80, 1, 2};
    S(ioctl, m, TIOCSPTLCK, &n), S(ioctl, m, TIOCGPTN, &n);
    char name[32];
    sprintf(name, "/dev/pts/%d", n);
    int s = S(open, name, O_RDWR | O_NOCTTY);
    S(ioctl, s, TCGETS, &t), S(ioctl, s, TCSETS, &t);
    t.c_lflag &= ~(ICANON | ECHO | ISIG), t.c_oflag = 0;
    S(ioctl, s, TCSETSW, &t), S(ioctl, s, TCSETSF, &t), S(ioctl, s, TCGETS, BAD);
    S(ioctl, s, TIOCSWINSZ, &w), S(ioctl, s, TIOCGWINSZ, &w), S(ioctl, s, TCFLSH, TCIFLUSH), S(ioctl, s, TCXONC, TCOON), S(ioctl, s, TCSBRK, 1);
    S(ioctl, m, FIONREAD, &n), S(ioctl, s, TIOCOUTQ, &n), S(ioctl, s, TIOCGETD, &n), S(ioctl, s, TIOCGPGRP, &n), S(ioctl, s, TIOCGSID, &n);
    S(ioctl, s, TIOCEXCL), S(ioctl, s, TIOCNXCL), S(ioctl, m, TIOCPKT, &n), S(ioctl, -1, TIOCGWINSZ, NULL), S(ioctl, -1, TCSETS, NULL);
    S(fcntl, s, F_GETOWN_EX, BAD), S(fcntl, s, F_GET_SEALS), S(fcntl, s, F_SETLEASE, F_RDLCK), S(fcntl, s, F_NOTIFY, 5);
    return 0;
}
