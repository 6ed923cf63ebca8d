/* Pointers of calls on files, time, signals, limits and System V objects. */
#include "guest.h"
#include "pointers.h"
#include <linux/capability.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

static int file, out, dir, pp[2], ep, ev, tf, in_fd, shm, msg, sem;
static char spare[16384];

/* ready pipe: 64 bytes to read, or empty */
static void empty(void) { while (read(pp[0], spare, sizeof spare) > 0) { } }
static void full(void) { empty();
    need(write(pp[1], "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde", 64) == 64, "pipe"); }
static long closed(long fd) { if (fd >= 0) close((int)fd); return some(fd); }

#define CALL(n, e) static long n(char *p) { return e; }
#define CALLX(n, ...) static long n(char *p) { __VA_ARGS__ }
#define FILL(n, ...) static void n(char *p) { __VA_ARGS__ }
#define SYS(x) SYS_##x

FILL(f_path, strcpy(p, "file");) FILL(f_none, strcpy(p, "no/such");) FILL(f_dir, strcpy(p, "dir");)
FILL(f_link, strcpy(p, "link");)
FILL(f_text, memset(p, 'x', 64);) FILL(f_ts, ((struct timespec *)p)->tv_nsec = 1;)
FILL(f_xname, strcpy(p, "user.torov");)
FILL(f_times, ((struct timespec *)p)[0].tv_sec = 1; ((struct timespec *)p)[1].tv_sec = 2;)
FILL(f_poll, *(struct pollfd *)p = (struct pollfd){.fd = ev, .events = POLLIN | POLLOUT};)
FILL(f_set, FD_SET(ev, (fd_set *)p);)
FILL(f_ev, ((struct epoll_event *)p)->events = EPOLLOUT;)
FILL(f_sigs, *(uint64_t *)p = 1ull << (SIGUSR1 - 1);)
FILL(f_act, ((uint64_t *)p)[0] = 1;)
FILL(f_alt, *(stack_t *)p = (stack_t){.ss_sp = spare, .ss_size = sizeof spare};)
FILL(f_how, ((struct open_how *)p)->flags = O_RDONLY;)
FILL(f_lim, ((struct rlimit *)p)->rlim_cur = 0; ((struct rlimit *)p)->rlim_max = RLIM_INFINITY;)
FILL(f_lock, ((struct flock *)p)->l_type = F_WRLCK;)
FILL(f_cpu, *(uint64_t *)p = ~0ull;)
FILL(f_cap, ((struct __user_cap_header_struct *)p)->version = _LINUX_CAPABILITY_VERSION_3;)
FILL(f_sem, *(struct sembuf *)p = (struct sembuf){.sem_op = 1};)
FILL(f_msg, *(long *)p = 1;)
FILL(f_off, *(uint64_t *)p = 3;)
FILL(f_its, ((struct itimerspec *)p)->it_value.tv_sec = 1000;)
FILL(f_itv, ((struct itimerval *)p)->it_value.tv_sec = 1000;)
FILL(f_one, *(int *)p = 1;)
FILL(f_sev, ((struct sigevent *)p)->sigev_notify = SIGEV_NONE;)
FILL(f_sched, *(uint32_t *)p = 48;)
FILL(f_iov, ((uint64_t *)p)[0] = (uint64_t)spare; ((uint64_t *)p)[1] = 20; ((uint64_t *)p)[2] = (uint64_t)spare + 100; ((uint64_t *)p)[3] = 30;)

CALLX(c_read, full(); return SC(SYS(read), pp[0], p, 64);)
CALL(c_pread, SC(SYS(pread64), file, p, 64, 2))
CALLX(c_write, long r = SC(SYS(write), pp[1], p, 64); empty(); return r;)
CALL(c_pwrite, SC(SYS(pwrite64), out, p, 64, 0))
CALLX(c_readv, full(); memset(spare, 0, 200); return SC(SYS(readv), pp[0], p, 2);)
CALLX(c_writev, memset(spare, 'w', 200); long r = SC(SYS(writev), pp[1], p, 2); empty(); return r;)
CALL(c_preadv, SC(SYS(preadv), file, p, 2, 1, 0)) CALL(c_pwritev2, SC(SYS(pwritev2), out, p, 2, 0, 0, 0))
CALLX(c_readv_base, uint64_t v[] = {(uint64_t)spare, 7, (uint64_t)p, 40}; full(); return SC(SYS(readv), pp[0], v, 2);)
CALLX(c_writev_base, uint64_t v[] = {(uint64_t)spare, 7, (uint64_t)p, 40}; long r = SC(SYS(writev), pp[1], v, 2); empty(); return r;)
CALL(c_open, closed(SC(SYS(open), p, O_RDONLY))) CALL(c_openat, closed(SC(SYS(openat), AT_FDCWD, p, O_RDONLY)))
CALL(c_openat2, closed(SC(SYS(openat2), AT_FDCWD, "file", p, sizeof(struct open_how))))
CALL(c_openat2_path, ({ struct open_how h = {0}; closed(SC(SYS(openat2), AT_FDCWD, p, &h, sizeof h)); }))
CALL(c_creat, closed(SC(SYS(creat), p, 0600))) CALL(c_stat_path, SC(SYS(stat), p, spare))
CALL(c_stat, SC(SYS(stat), "file", p))
CALL(c_fstat, SC(SYS(fstat), file, p)) CALL(c_lstat, SC(SYS(lstat), "link", p))
CALL(c_fstatat, SC(SYS(newfstatat), AT_FDCWD, p, spare, 0))
CALL(c_fstatat_buf, SC(SYS(newfstatat), dir, "", p, AT_EMPTY_PATH))
CALL(c_statx, SC(SYS(statx), AT_FDCWD, "file", 0, 0xfff, p))
CALL(c_statx_path, SC(SYS(statx), AT_FDCWD, p, 0, 0xfff, spare)) CALL(c_statfs, SC(SYS(statfs), ".", p))
CALL(c_fstatfs, SC(SYS(fstatfs), file, p))
CALL(c_access, SC(SYS(access), p, R_OK)) CALL(c_faccessat2, SC(SYS(faccessat2), AT_FDCWD, p, R_OK, 0))
CALL(c_mkdir, SC(SYS(mkdir), p, 0700))
CALL(c_rmdir, SC(SYS(rmdir), p)) CALL(c_unlink, SC(SYS(unlink), p)) CALL(c_unlinkat, SC(SYS(unlinkat), AT_FDCWD, p, 0))
CALL(c_rename, SC(SYS(rename), p, "new")) CALL(c_rename2, SC(SYS(renameat2), AT_FDCWD, "file", AT_FDCWD, p, 1))
CALL(c_link, SC(SYS(link), "file", p)) CALL(c_symlink, SC(SYS(symlink), p, "link"))
CALL(c_symlink2, SC(SYS(symlink), "x", p))
CALL(c_chdir, SC(SYS(chdir), p)) CALL(c_chmod, SC(SYS(chmod), p, 0600)) CALL(c_truncate, SC(SYS(truncate), p, 200))
CALL(c_readlink, SC(SYS(readlink), "link", p, 4)) CALL(c_readlink_path, SC(SYS(readlink), p, spare, 100))
CALL(c_exe, some(SC(SYS(readlink), "/proc/self/exe", p, 1)))
CALL(c_readlinkat, SC(SYS(readlinkat), AT_FDCWD, "link", p, 4))
CALL(c_getcwd, some(SC(SYS(getcwd), p, 4096)))
CALLX(c_dents, lseek(dir, 0, SEEK_SET); return some(SC(SYS(getdents64), dir, p, 1024));)
CALL(c_utimensat, SC(SYS(utimensat), AT_FDCWD, "file", p, 0))
CALL(c_utimensat_path, SC(SYS(utimensat), AT_FDCWD, p, 0, 0))
CALL(c_utimes, SC(SYS(utimes), "file", p)) CALL(c_utime, SC(SYS(utime), "file", p))
CALL(c_futimesat, SC(SYS(futimesat), AT_FDCWD, "file", p))
CALL(c_xset, SC(SYS(setxattr), "file", "user.torov", p, 10, 0))
CALL(c_xset_name, SC(SYS(setxattr), "file", p, "v", 1, 0))
CALL(c_xget, SC(SYS(fgetxattr), file, "user.torov", p, 10)) CALL(c_xget_name, SC(SYS(getxattr), "file", p, spare, 100))
CALL(c_xlist, SC(SYS(listxattr), "file", p, 64)) CALL(c_xremove, SC(SYS(removexattr), "file", p))
CALL(c_notify, ({ long r = SC(SYS(inotify_add_watch), in_fd, p, IN_OPEN); if (r >= 0) SC(SYS(inotify_rm_watch), in_fd, r); some(r); }))
CALL(c_memfd, closed(SC(SYS(memfd_create), p, 0)))
CALLX(c_pipe, long r = SC(SYS(pipe2), p, 0); if (r == 0) close(((int *)p)[0]), close(((int *)p)[1]); return r;)
CALL(c_copy, SC(SYS(copy_file_range), file, p, out, NULL, 5, 0)) CALL(c_sendfile, SC(SYS(sendfile), out, file, p, 5))
CALLX(c_splice, long r = SC(SYS(splice), file, p, pp[1], NULL, 5, 0); empty(); return r;)
CALL(c_getlk, SC(SYS(fcntl), file, F_GETLK, p)) CALL(c_setlk, SC(SYS(fcntl), out, F_SETLK, p))
CALL(c_ofd, SC(SYS(fcntl), file, F_OFD_GETLK, p))
CALL(c_owner, SC(SYS(fcntl), pp[0], F_GETOWN_EX, p)) CALL(c_hint, SC(SYS(fcntl), file, 1035, p))
CALLX(c_fionread, full(); return SC(SYS(ioctl), pp[0], 0x541b, p);) CALL(c_fionbio, SC(SYS(ioctl), pp[0], 0x5421, p))
CALL(c_tcgets, SC(SYS(ioctl), file, 0x5401, p)) CALL(c_poll, SC(SYS(poll), p, 1, 0))
CALL(c_ppoll_time, ({ struct pollfd f = {ev, POLLOUT, 0}; SC(SYS(ppoll), &f, 1, p, 0, 8); }))
CALL(c_ppoll_mask, ({ struct pollfd f = {ev, POLLOUT, 0}; SC(SYS(ppoll), &f, 1, 0, p, 8); }))
CALLX(c_select, uint64_t z[2] = {0}; return SC(SYS(select), ev + 1, p, 0, 0, z);)
CALLX(c_select_w, uint64_t z[2] = {0}; return SC(SYS(select), ev + 1, 0, p, 0, z);)
CALL(c_select_time, ({ fd_set w = {0}; FD_SET(ev, &w); SC(SYS(select), ev + 1, 0, &w, 0, p); }))
CALL(c_pselect, ({ fd_set w = {0}; FD_SET(ev, &w); SC(SYS(pselect6), ev + 1, 0, &w, 0, p, 0); }))
CALLX(c_pselect_mask, uint64_t z[2] = {0}; return SC(SYS(pselect6), 0, 0, 0, 0, z, p);)
CALLX(c_pselect_set, uint64_t z[2] = {0}; uint64_t m[2] = {(uint64_t)p, 8}; return SC(SYS(pselect6), 0, 0, 0, 0, z, m);)
CALLX(c_epoll_ctl, long r = SC(SYS(epoll_ctl), ep, EPOLL_CTL_MOD, pp[1], p);
    struct epoll_event e = {.events = EPOLLOUT}; SC(SYS(epoll_ctl), ep, EPOLL_CTL_MOD, pp[1], &e);
    return r;) CALL(c_epoll, SC(SYS(epoll_wait), ep, p, 4, 0))
CALL(c_epoll_mask, SC(SYS(epoll_pwait), ep, spare, 4, 0, p, 8))
CALL(c_epoll2, SC(SYS(epoll_pwait2), ep, spare, 4, p, 0, 8))
CALL(c_nanosleep, SC(SYS(nanosleep), p, 0)) CALL(c_clock_nanosleep, SC(SYS(clock_nanosleep), CLOCK_MONOTONIC, 0, p, 0))
CALL(c_gettime, SC(SYS(clock_gettime), CLOCK_REALTIME, p)) CALL(c_getres, SC(SYS(clock_getres), CLOCK_REALTIME, p))
CALL(c_time, some(SC(SYS(time), p)))
CALL(c_tod, SC(SYS(gettimeofday), p, 0)) CALL(c_tz, SC(SYS(gettimeofday), 0, p))
CALL(c_itimer, SC(SYS(setitimer), ITIMER_REAL, p, 0))
CALL(c_itimer_old, SC(SYS(setitimer), ITIMER_VIRTUAL, 0, p)) CALL(c_getitimer, SC(SYS(getitimer), ITIMER_VIRTUAL, p))
CALL(c_tfd, SC(SYS(timerfd_settime), tf, 0, p, 0))
CALL(c_tfd_old, ({ struct itimerspec z = {0}; SC(SYS(timerfd_settime), tf, 0, &z, p); }))
CALL(c_tfd_get, SC(SYS(timerfd_gettime), tf, p))
CALLX(c_timer, int id; long r = SC(SYS(timer_create), CLOCK_MONOTONIC, p, &id); if (!r) SC(SYS(timer_delete), id); return r;)
CALLX(c_timer_id, struct sigevent s = {.sigev_notify = SIGEV_NONE}; long r = SC(SYS(timer_create), CLOCK_MONOTONIC, &s, p); if (!r) SC(SYS(timer_delete), *(int *)p); return r;)
CALL(c_mask, SC(SYS(rt_sigprocmask), SIG_BLOCK, p, 0, 8)) CALL(c_mask_old, SC(SYS(rt_sigprocmask), SIG_BLOCK, 0, p, 8))
CALL(c_action, SC(SYS(rt_sigaction), SIGUSR2, p, 0, 8)) CALL(c_action_old, SC(SYS(rt_sigaction), SIGUSR2, 0, p, 8))
CALL(c_pending, SC(SYS(rt_sigpending), p, 8)) CALL(c_alt, SC(SYS(sigaltstack), p, 0))
CALL(c_alt_old, SC(SYS(sigaltstack), 0, p))
CALLX(c_wait_set, uint64_t z[2] = {0}; return SC(SYS(rt_sigtimedwait), p, 0, z, 8);)
CALLX(c_wait_time, uint64_t s = 1ull << (SIGUSR1 - 1), z[2] = {0}; kill(getpid(), SIGUSR1); long r = SC(SYS(rt_sigtimedwait), &s, 0, p, 8); SC(SYS(rt_sigtimedwait), &s, 0, z, 8); return r;)
CALLX(c_wait_info, uint64_t s = 1ull << (SIGUSR1 - 1); kill(getpid(), SIGUSR1); return SC(SYS(rt_sigtimedwait), &s, p, 0, 8);)
CALL(c_futex, SC(SYS(futex), p, 0, 5, 0)) CALLX(c_futex_time, int w = 0; return SC(SYS(futex), &w, 0, 1, p);)
CALL(c_futex_wake, SC(SYS(futex), p, 1, 1))
CALLX(c_futex_two, int w = 0; return SC(SYS(futex), &w, 4, 0, 0, p, 0);)
CALL(c_getrlimit, SC(SYS(getrlimit), RLIMIT_CORE, p)) CALL(c_setrlimit, SC(SYS(setrlimit), RLIMIT_CORE, p))
CALL(c_prlimit, SC(SYS(prlimit64), 0, RLIMIT_AS, 0, p)) CALL(c_rusage, SC(SYS(getrusage), 0, p))
CALL(c_times, some(SC(SYS(times), p)))
CALL(c_uname, SC(SYS(uname), p)) CALL(c_sysinfo, SC(SYS(sysinfo), p)) CALL(c_random, SC(SYS(getrandom), p, 100, 0))
CALL(c_groups, some(SC(SYS(getgroups), 64, p)))
CALL(c_resuid, SC(SYS(getresuid), p, spare, spare)) CALL(c_resgid, SC(SYS(getresgid), spare, p, spare))
CALL(c_cpu, SC(SYS(getcpu), p, 0, 0))
CALL(c_getaff, SC(SYS(sched_getaffinity), 0, 128, p)) CALL(c_setaff, SC(SYS(sched_setaffinity), 0, 8, p))
CALL(c_param, SC(SYS(sched_getparam), 0, p))
CALL(c_rr, SC(SYS(sched_rr_get_interval), 0, p)) CALL(c_getattr, SC(SYS(sched_getattr), 0, p, 48, 0))
CALL(c_setattr, SC(SYS(sched_setattr), 0, p, 0))
CALL(c_wait4, SC(SYS(wait4), -1, p, WNOHANG, 0)) CALL(c_waitid, SC(SYS(waitid), P_ALL, 0, p, WNOHANG | WEXITED, 0))
CALL(c_robust, SC(SYS(get_robust_list), 0, spare, p))
CALL(c_capget, SC(SYS(capget), p, spare))
CALLX(c_capdata, struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0}; return SC(SYS(capget), &h, p);)
CALL(c_name, SC(SYS(prctl), PR_SET_NAME, p))
CALLX(c_getname, prctl(PR_SET_NAME, "torov"); return SC(SYS(prctl), PR_GET_NAME, p);)
CALL(c_death, SC(SYS(prctl), PR_GET_PDEATHSIG, p)) CALL(c_subreaper, SC(SYS(prctl), PR_GET_CHILD_SUBREAPER, p))
CALL(c_fs, SC(SYS(arch_prctl), 0x1003, p))
CALLX(c_mincore, memset(spare, 1, sizeof spare); return SC(SYS(mincore), ((uintptr_t)spare + 4095) & ~4095, 8192, p);)
CALL(c_shmstat, SC(SYS(shmctl), shm, IPC_STAT, p))
CALL(c_msgstat, SC(SYS(msgctl), msg, IPC_STAT, p)) CALL(c_semstat, SC(SYS(semctl), sem, 0, IPC_STAT, p))
CALL(c_semall, SC(SYS(semctl), sem, 0, GETALL, p))
CALL(c_semop, SC(SYS(semop), sem, p, 1))
CALLX(c_msgsnd, long r = SC(SYS(msgsnd), msg, p, 32, IPC_NOWAIT); SC(SYS(msgrcv), msg, spare, 100, 0, IPC_NOWAIT); return r;)
CALLX(c_msgrcv, *(long *)spare = 1; SC(SYS(msgsnd), msg, spare, 32, IPC_NOWAIT); long r = SC(SYS(msgrcv), msg, p, 32, 0, IPC_NOWAIT); SC(SYS(msgrcv), msg, spare, 100, 0, IPC_NOWAIT); return r;)

#define SAME true
#define VARY false
static const struct row rows[] = {
    {"read", 64, 0, c_read, SAME}, {"pread64", 64, 0, c_pread, SAME}, {"write", 64, f_text, c_write, SAME},
    {"pwrite64", 64, f_text, c_pwrite, SAME},
    {"readv iov", 32, f_iov, c_readv, VARY}, {"writev iov", 32, f_iov, c_writev, VARY},
    {"preadv iov", 32, f_iov, c_preadv, VARY}, {"pwritev2 iov", 32, f_iov, c_pwritev2, VARY},
    {"readv base", 40, 0, c_readv_base, SAME}, {"writev base", 40, f_text, c_writev_base, SAME},
    {"open", 5, f_path, c_open, SAME}, {"openat", 5, f_path, c_openat, SAME},
    {"openat2 how", 24, f_how, c_openat2, SAME}, {"openat2", 5, f_path, c_openat2_path, SAME},
    {"creat", 4, f_dir, c_creat, SAME}, {"stat path", 5, f_path, c_stat_path, SAME},
    {"stat", 144, 0, c_stat, VARY}, {"fstat", 144, 0, c_fstat, VARY}, {"lstat", 144, 0, c_lstat, VARY},
    {"newfstatat path", 5, f_path, c_fstatat, SAME},
    {"newfstatat", 144, 0, c_fstatat_buf, VARY}, {"statx", 256, 0, c_statx, VARY},
    {"statx path", 5, f_path, c_statx_path, SAME}, {"statfs", 120, 0, c_statfs, VARY},
    {"fstatfs", 120, 0, c_fstatfs, VARY}, {"access", 5, f_path, c_access, SAME},
    {"faccessat2", 5, f_path, c_faccessat2, SAME}, {"mkdir", 4, f_dir, c_mkdir, SAME},
    {"rmdir", 8, f_none, c_rmdir, SAME}, {"unlink", 8, f_none, c_unlink, SAME},
    {"unlinkat", 8, f_none, c_unlinkat, SAME}, {"rename", 8, f_none, c_rename, SAME},
    {"renameat2", 5, f_path, c_rename2, SAME}, {"link", 5, f_path, c_link, SAME},
    {"symlink", 8, f_none, c_symlink, SAME}, {"symlink 2", 5, f_link, c_symlink2, SAME},
    {"chdir", 8, f_none, c_chdir, SAME}, {"chmod", 5, f_path, c_chmod, SAME}, {"truncate", 5, f_path, c_truncate, SAME},
    {"readlink", 4, 0, c_readlink, SAME},
    {"readlink path", 5, f_link, c_readlink_path, SAME}, {"readlink exe", 1, 0, c_exe, SAME},
    {"readlinkat", 4, 0, c_readlinkat, SAME}, {"getcwd", 64, 0, c_getcwd, VARY},
    {"getdents64", 1024, 0, c_dents, VARY}, {"utimensat", 32, f_times, c_utimensat, SAME},
    {"utimensat path", 5, f_path, c_utimensat_path, SAME},
    {"utimes", 32, f_times, c_utimes, SAME}, {"utime", 16, f_times, c_utime, SAME},
    {"futimesat", 32, f_times, c_futimesat, SAME}, {"setxattr", 10, f_text, c_xset, SAME},
    {"setxattr name", 11, f_xname, c_xset_name, SAME}, {"fgetxattr", 10, 0, c_xget, SAME},
    {"getxattr name", 11, f_xname, c_xget_name, SAME}, {"listxattr", 64, 0, c_xlist, SAME},
    {"removexattr", 11, f_xname, c_xremove, SAME}, {"inotify_add_watch", 5, f_path, c_notify, SAME},
    {"memfd_create", 5, f_path, c_memfd, SAME}, {"pipe2", 8, 0, c_pipe, SAME},
    {"copy_file_range", 8, f_off, c_copy, SAME}, {"sendfile", 8, f_off, c_sendfile, SAME},
    {"splice", 8, f_off, c_splice, SAME}, {"F_GETLK", 32, f_lock, c_getlk, SAME},
    {"F_SETLK", 32, f_lock, c_setlk, SAME}, {"F_OFD_GETLK", 32, f_lock, c_ofd, SAME},
    {"F_GETOWN_EX", 8, 0, c_owner, SAME}, {"F_GET_RW_HINT", 8, 0, c_hint, SAME},
    {"FIONREAD", 4, 0, c_fionread, SAME}, {"FIONBIO", 4, f_one, c_fionbio, SAME}, {"TCGETS", 36, 0, c_tcgets, SAME},
    {"poll", 8, f_poll, c_poll, SAME},
    {"ppoll timeout", 16, 0, c_ppoll_time, SAME}, {"ppoll mask", 8, 0, c_ppoll_mask, SAME},
    {"select read", 8, f_set, c_select, SAME}, {"select write", 8, f_set, c_select_w, SAME},
    {"select timeout", 16, 0, c_select_time, SAME}, {"pselect6 timeout", 16, 0, c_pselect, SAME},
    {"pselect6 sigmask", 16, 0, c_pselect_mask, SAME},
    {"pselect6 set", 8, 0, c_pselect_set, SAME}, {"epoll_ctl", 12, f_ev, c_epoll_ctl, SAME},
    {"epoll_wait", 48, 0, c_epoll, SAME}, {"epoll_pwait mask", 8, 0, c_epoll_mask, SAME},
    {"epoll_pwait2 time", 16, 0, c_epoll2, SAME}, {"nanosleep", 16, f_ts, c_nanosleep, SAME},
    {"clock_nanosleep", 16, f_ts, c_clock_nanosleep, SAME},
    {"clock_gettime", 16, 0, c_gettime, VARY}, {"clock_getres", 16, 0, c_getres, SAME}, {"time", 8, 0, c_time, VARY},
    {"gettimeofday", 16, 0, c_tod, VARY}, {"gettimeofday tz", 8, 0, c_tz, SAME},
    {"setitimer", 32, f_itv, c_itimer, SAME}, {"setitimer old", 32, 0, c_itimer_old, SAME},
    {"getitimer", 32, 0, c_getitimer, SAME}, {"timerfd_settime", 32, f_its, c_tfd, SAME},
    {"timerfd_settime old", 32, 0, c_tfd_old, VARY}, {"timerfd_gettime", 32, 0, c_tfd_get, VARY},
    {"timer_create", 64, f_sev, c_timer, SAME}, {"timer_create id", 4, 0, c_timer_id, SAME},
    {"rt_sigprocmask", 8, f_sigs, c_mask, SAME}, {"rt_sigprocmask old", 8, 0, c_mask_old, SAME},
    {"rt_sigaction", 32, f_act, c_action, SAME}, {"rt_sigaction old", 32, 0, c_action_old, SAME},
    {"rt_sigpending", 8, 0, c_pending, SAME}, {"sigaltstack", 24, f_alt, c_alt, VARY},
    {"sigaltstack old", 24, 0, c_alt_old, VARY}, {"rt_sigtimedwait", 8, f_sigs, c_wait_set, SAME},
    {"rt_sigtimedwait time", 16, f_ts, c_wait_time, SAME}, {"rt_sigtimedwait info", 128, 0, c_wait_info, VARY},
    {"futex wait", 4, 0, c_futex, SAME}, {"futex time", 16, f_ts, c_futex_time, SAME},
    {"futex wake", 4, 0, c_futex_wake, SAME}, {"futex requeue", 4, 0, c_futex_two, SAME},
    {"getrlimit", 16, 0, c_getrlimit, SAME}, {"setrlimit", 16, f_lim, c_setrlimit, SAME},
    {"prlimit64 old", 16, 0, c_prlimit, SAME}, {"getrusage", 144, 0, c_rusage, VARY}, {"times", 32, 0, c_times, VARY},
    {"uname", 390, 0, c_uname, SAME}, {"sysinfo", 112, 0, c_sysinfo, VARY},
    {"getrandom", 100, 0, c_random, VARY}, {"getgroups", 4, 0, c_groups, VARY}, {"getresuid", 4, 0, c_resuid, SAME},
    {"getresgid", 4, 0, c_resgid, SAME}, {"getcpu", 4, 0, c_cpu, VARY},
    {"sched_getaffinity", 8, 0, c_getaff, SAME}, {"sched_setaffinity", 8, f_cpu, c_setaff, SAME},
    {"sched_getparam", 4, 0, c_param, SAME}, {"sched_rr_get_interval", 16, 0, c_rr, SAME},
    {"sched_getattr", 48, 0, c_getattr, VARY}, {"sched_setattr", 48, f_sched, c_setattr, SAME},
    {"wait4", 4, 0, c_wait4, SAME}, {"waitid", 128, 0, c_waitid, SAME}, {"get_robust_list", 8, 0, c_robust, VARY},
    {"capget", 8, f_cap, c_capget, SAME}, {"capget data", 24, 0, c_capdata, SAME},
    {"PR_SET_NAME", 5, f_path, c_name, SAME}, {"PR_GET_NAME", 16, 0, c_getname, SAME},
    {"PR_GET_PDEATHSIG", 4, 0, c_death, SAME}, {"PR_GET_CHILD_SUBREAPER", 4, 0, c_subreaper, SAME},
    {"ARCH_GET_FS", 8, 0, c_fs, VARY}, {"mincore", 2, 0, c_mincore, SAME},
    {"shmctl", 112, 0, c_shmstat, VARY}, {"msgctl", 120, 0, c_msgstat, VARY}, {"semctl", 104, 0, c_semstat, VARY},
    {"semctl GETALL", 4, 0, c_semall, VARY},
    {"semop", 6, f_sem, c_semop, SAME}, {"msgsnd", 40, f_msg, c_msgsnd, SAME}, {"msgrcv", 40, 0, c_msgrcv, SAME},
};

int main(void) {
    file = open("file", O_RDWR | O_CREAT, 0600);
    need(file >= 0 && ftruncate(file, 200) == 0 && pwrite(file, "Hello World", 11, 0) == 11, "file");
    out = open("out", O_RDWR | O_CREAT, 0600);
    need(mkdir("dir", 0700) == 0 && symlink("file", "link") == 0, "dir");
    dir = open(".", O_RDONLY | O_DIRECTORY);
    need(pipe2(pp, O_NONBLOCK) == 0, "pipe");
    ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLOUT};
    need(epoll_ctl(ep, EPOLL_CTL_ADD, pp[1], &e) == 0, "epoll");
    ev = eventfd(0, 0);
    tf = timerfd_create(CLOCK_MONOTONIC, 0);
    in_fd = inotify_init1(0);
    shm = shmget(IPC_PRIVATE, 4096, 0600);
    msg = msgget(IPC_PRIVATE, 0600);
    sem = semget(IPC_PRIVATE, 2, 0600);
    need(out >= 0 && dir >= 0 && ep >= 0 && ev >= 0 && tf >= 0 && in_fd >= 0 && shm >= 0 && msg >= 0 && sem >= 0, "setup");
    setxattr("file", "user.torov", "0123456789", 10, 0);
    uint64_t block = 1ull << (SIGUSR1 - 1);
    SC(SYS_rt_sigprocmask, SIG_BLOCK, &block, 0, 8);
    all(rows, sizeof rows / sizeof *rows);
    shmctl(shm, IPC_RMID, 0);
    msgctl(msg, IPC_RMID, 0);
    semctl(sem, 0, IPC_RMID);
    return 0;
}
