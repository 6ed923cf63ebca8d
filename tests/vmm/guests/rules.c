/* Path forms under a policy that allows DIR/in/... and answers EXFULL for the rest. argv[1]: DIR, the working directory.
 * First column: what is asked; second: what it answers. */
#include "guest.h"

#include <linux/openat2.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

static void tell(const char *what, long r) { printf("%s: %s\n", what, r < 0 ? r == -EXFULL ? "refused" : strerror((int)-r) : "done"); }
static long e(long r) { return r < 0 ? -errno : r; }

static long reads(int fd) { /* the file's text tells which one it is */
    char b[32] = "";
    if (fd < 0) return -errno;
    long n = read(fd, b, sizeof b - 1);
    close(fd);
    return n > 0 && !strncmp(b, "out", 3) ? -EBADMSG : n;
}

static long unix_name(int nr, const char *path) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(un.sun_path, path);
    long r = e(nr ? connect(fd, (void *)&un, sizeof un) : bind(fd, (void *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1)));
    if (!nr && !r) listen(fd, 4);
    if (nr) close(fd);
    return r;
}

static long inet(const char *ip4, int port, int message) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct msghdr m = {.msg_name = &in, .msg_namelen = sizeof in};
    unsigned a[4];
    if (sscanf(ip4, "%u.%u.%u.%u", a, a + 1, a + 2, a + 3) != 4) return -EINVAL;
    in.sin_addr.s_addr = htonl(a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3]);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    long r = e(message == 2 ? sendto(fd, "", 0, 0, (void *)&in, sizeof in) : message ? sendmsg(fd, &m, 0) : connect(fd, (void *)&in, sizeof in));
    close(fd);
    return r;
}

int main(int argc, char **argv) {
    char path[512], name[64];
    struct stat st;
    const char *dir = argv[1];
    if (argc < 2 || chdir(dir)) return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    static const char *const forms[] = {"in/a", "./in/../in/a", "in//a", "out/b", "in/../out/b", "in/link-out", "in/link-in", "out/link-in",
        "in/dir-out/b", "in/new", "in/none/x", "out/new", "out/none/x", "in/link-none", "in/link-loop", "in/hard", "/proc/self/cwd/in/a",
        "/proc/self/cwd/out/b", "/proc/self/root/etc/passwd", "in/a/", "in/", "in/.", "in/..", "/", "in/fifo-name/..", "/dev/null"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        printf("-- %s\n", forms[i]);
        tell("open", reads(open(forms[i], O_RDONLY)));
        tell("open nofollow", reads(open(forms[i], O_RDONLY | O_NOFOLLOW)));
        tell("open path", e(open(forms[i], O_PATH)));
        tell("open path nofollow", e(open(forms[i], O_PATH | O_NOFOLLOW)));
        tell("open path directory", e(open(forms[i], O_PATH | O_DIRECTORY)));
        tell("open create", e(open(forms[i], O_RDWR | O_CREAT, 0600)));
        tell("open exclusive", e(open(forms[i], O_RDWR | O_CREAT | O_EXCL, 0600)));
        tell("stat", e(stat(forms[i], &st)));
        tell("lstat", e(lstat(forms[i], &st)));
        tell("access", e(access(forms[i], R_OK)));
        tell("readlink", e(readlink(forms[i], path, sizeof path)));
        /* not on what is the machine's: as root it would be done */
        if (*forms[i] != '/' || !strncmp(forms[i], "/proc/self/cwd/", 15)) tell("chmod", e(chmod(forms[i], 0700)));
        tell("rename", e(rename(forms[i], "in/moved")));
        tell("rename back", e(rename("in/moved", forms[i])));
        tell("link", e(link(forms[i], "in/linked")));
        tell("unlink", e(unlink("in/linked")));
        tell("xattr", e(lgetxattr(forms[i], "user.x", path, sizeof path)));
        if (!stat("in/new", &st)) unlink("in/new");
        if (!lstat("in/link-none", &st) && !stat("in/target", &st)) unlink("in/target");
    }
    puts("-- others");
    int in = open("in", O_RDONLY | O_DIRECTORY), a = open("in/a", O_RDONLY), top = open(".", O_PATH);
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    tell("openat", reads(openat(in, "a", O_RDONLY)));
    tell("openat above", reads(openat(in, "../out/b", O_RDONLY)));
    tell("openat2 beneath", reads((int)syscall(SYS_openat2, in, "a", &how, sizeof how)));
    tell("openat2 not beneath", e(syscall(SYS_openat2, in, "../in/a", &how, sizeof how)));
    how.resolve = RESOLVE_IN_ROOT;
    tell("openat2 in root", reads((int)syscall(SYS_openat2, in, "/a", &how, sizeof how)));
    tell("fstatat empty", e(fstatat(a, "", &st, AT_EMPTY_PATH)));
    tell("top", e(top));
    snprintf(name, sizeof name, "/proc/self/fd/%d", a);
    tell("by descriptor", reads(open(name, O_RDONLY)));
    snprintf(name, sizeof name, "/proc/self/fd/%d/../out/b", in);
    tell("by descriptor, up", reads(open(name, O_RDONLY)));
    tell("bind", unix_name(0, "in/socket"));
    tell("bind outside", unix_name(0, "out/socket"));
    tell("connect", unix_name(1, "in/socket"));
    tell("connect by link", unix_name(1, "in/link-socket"));
    tell("connect outside", unix_name(1, "out/listening"));
    tell("rename out", e(rename("in/a", "out/stolen")));
    tell("rename in", e(rename("out/b", "in/stolen")));
    tell("mkdir", e(mkdir("in/made", 0700)));
    tell("mkdir slash", e(mkdir("in/made2/", 0700)));
    tell("rmdir", e(rmdir("in/made")) | e(rmdir("in/made2/")));
    tell("rmdir dots", e(rmdir("in/.")));
    tell("mkdir outside", e(mkdir("in/../out/made", 0700)));
    tell("symlink", e(symlink("../out/b", "in/made-link")));
    tell("through it", reads(open("in/made-link", O_RDONLY)));
    tell("symlink outside", e(symlink("x", "out/made-link")));
    tell("truncate", e(truncate("in/hard", 3)));
    tell("truncate by link", e(truncate("in/link-out", 3)));
    tell("tmpfile", e(open("in", O_TMPFILE | O_RDWR, 0600)));
    tell("tmpfile outside", e(open("out", O_TMPFILE | O_RDWR, 0600)));
    tell("exec", e(execl("out/b", "b", NULL)));
    tell("udp 7", inet("127.0.0.1", 7, 0));
    tell("udp 700", inet("127.0.0.1", 700, 0));
    tell("sendto 700", inet("127.0.0.1", 700, 2));
    tell("sendmsg 700", inet("127.0.0.1", 700, 1));
    tell("sendmsg elsewhere", inet("127.1.2.3", 7, 1));
    return 0;
}
