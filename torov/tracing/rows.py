"""How a trace shows the arguments of each call, where the call table's own words do not say it as strace(1) does.

Words, one for each argument that is shown; a call that is not here is shown by its row (torov/callshape.py).

    int uint long ulong hex hex64 ptr oct fd dirfd path str sig uid dev key size clock     the value
    =SET ==SET          by names of constants, 32 bits, 64 bits
    in:T  out:T         what the address points to: a structure (structs.py) or one of the types there; out: after the call
    in:T[N] out:T[N]    an array of as many as argument N (from 0) says, or ``[ret]`` as the call returned, or ``[=2]``
    text[N]             as many bytes as argument N says, as a string
    data[N] data[ret]   the same, after the call; as many as it returned
    @NAME @@NAME        a function of the core's printer: before the call, after it
    -                   not shown
    +WORD               about the same argument as the word before
    -> hex|fd|oct|@NAME     what is returned

What stands behind a word that is shown after the call is shown after it, too.
"""

from __future__ import annotations

# fmt: off
ROWS: dict[str, str] = {
    "read": "fd data[ret] size", "write": "fd text[2] size", "pread64": "fd data[ret] size long",
    "pwrite64": "fd text[2] size long", "readv": "fd @@iovout ulong", "writev": "fd @iovin ulong",
    "preadv": "fd @@iovout ulong long", "pwritev": "fd @iovin ulong long",
    "preadv2": "fd @@iovout ulong long - =rwf", "pwritev2": "fd @iovin ulong long - =rwf",
    "open": "path =open @open_mode -> fd", "openat": "dirfd path =open @open_mode -> fd", "creat": "path oct -> fd",
    "openat2": "dirfd path in:open_how size -> fd", "dup": "fd -> fd", "dup2": "fd fd -> fd", "dup3": "fd fd =oflags -> fd",
    "poll": "@pollfds uint int -> @poll_left", "ppoll": "@pollfds uint in:timespec @sigset4 size -> @poll_left",
    "select": "int @fdset @fdset @fdset in:timeval -> @select_left",
    "pselect6": "int @fdset @fdset @fdset in:timespec @sigset_pair -> @select_left",
    "mmap": "ptr size =prot =map fd hex64 -> hex", "mprotect": "ptr size =prot", "munmap": "ptr size", "brk": "ptr -> hex",
    "mremap": "ptr size size =mremap @mremap_new -> hex", "msync": "ptr size =msync", "mincore": "ptr size @@mincore",
    "madvise": "ptr size =madvise", "mlock": "ptr size", "mlock2": "ptr size =mlock2", "munlock": "ptr size",
    "shmat": "int ptr =shm0 -> hex", "shmdt": "ptr", "shmget": "key size =shm", "shmctl": "int =shmctl @@shm_buf",
    "msgget": "key =msgget", "msgctl": "int =msgctl @@msg_buf", "semget": "key int =sem", "semctl": "int int =semctl @semarg",
    "msgsnd": "int @msgbuf size =msgflg", "msgrcv": "int @@msgbuf size long =msgflg", "semop": "int in:sembuf[2] uint",
    "semtimedop": "int in:sembuf[2] uint in:timespec",
    "rt_sigaction": "sig in:sigaction @@sigaction_old size",
    "rt_sigprocmask": "=sigmask @sigset @@sigset size", "rt_sigpending": "@@sigset size", "rt_sigsuspend": "@sigset size",
    "rt_sigtimedwait": "@sigset out:siginfo in:timespec size -> @sig_name", "rt_sigreturn": "@sigframe",
    "signalfd": "int @sigset size -> fd", "signalfd4": "int @sigset size =signalfd -> fd",
    "ioctl": "fd @ioctl_cmd @ioctl_in +@@ioctl_out", "fcntl": "fd =fcntl @fcntl_in +@@fcntl_out -> @fcntl_ret",
    "access": "path =access", "faccessat2": "dirfd path =access =at_faccess",
    "pipe": "out:i32/fd[=2]", "pipe2": "out:i32/fd[=2] =oflags", "lseek": "fd long =seek",
    "shutdown": "fd =shutdown", "socket": "=family =socktype @protocol -> fd",
    "socketpair": "=family =socktype @protocol out:i32/fd[=2]",
    "connect": "fd @sockaddr uint", "bind": "fd @sockaddr uint", "accept": "fd @@sockaddr_out @@socklen -> fd",
    "accept4": "fd @@sockaddr_out @@socklen =sock -> fd", "getsockname": "fd @@sockaddr_out @@socklen",
    "getpeername": "fd @@sockaddr_out @@socklen", "sendto": "fd text[2] size =msg @sockaddr uint",
    "recvfrom": "fd data[ret] size =msg @@sockaddr_out @@socklen", "sendmsg": "fd @msg_in =msg", "recvmsg": "fd @@msg_out =msg",
    "sendmmsg": "fd @@mmsg_sent uint =msg", "recvmmsg": "fd @@mmsg_got uint =msg @@mmsg_time",
    "setsockopt": "fd =sol @sockopt @sockopt_in int", "getsockopt": "fd =sol @sockopt @@sockopt_out @@socklen",
    "clone": "@clone +@@clone_rest -> int", "clone3": "in:clone_args +@@clone3_out size", "execve": "path @argv @envp",
    "unshare": "=clone3",
    "execveat": "dirfd path @argv @envp =at", "setns": "fd =clone3",
    "exit": "int", "exit_group": "int", "wait4": "int @@wait_status =wait @@rusage", "kill": "int sig",
    "waitid": "=idtype int @@waitid_info =wait @@rusage",
    "getcwd": "@@getcwd size", "readlink": "path data[ret] size", "readlinkat": "dirfd path data[ret] size",
    "getdents": "fd @@dents uint", "getdents64": "fd @@dents uint", "umask": "oct -> oct", "mknod": "path @mknod_mode @mknod_dev",
    "mknodat": "dirfd path @mknod_mode @mknod_dev", "rename": "path path",
    "gettimeofday": "out:timeval out:timezone", "settimeofday": "in:timeval in:timezone", "time": "out:i64/time -> @time",
    "getrlimit": "=rlimit out:rlimit", "setrlimit": "=rlimit in:rlimit", "prlimit64": "int =rlimit in:rlimit out:rlimit",
    "getgroups": "int @@groups", "setgroups": "int @groups", "getresuid": "out:u32/uid out:u32/uid out:u32/uid",
    "getresgid": "out:u32/uid out:u32/uid out:u32/uid", "chown": "path uid uid",
    "capget": "in:cap_header out:cap_data", "capset": "in:cap_header in:cap_data",
    "rt_sigqueueinfo": "int sig in:siginfo", "rt_tgsigqueueinfo": "int int sig in:siginfo",
    "sigaltstack": "in:stack out:stack", "personality": "@persona -> @personality", "ustat": "dev ptr",
    "sched_setparam": "int in:i32[=1]", "sched_getparam": "int out:i32[=1]", "sched_setscheduler": "int =sched in:i32[=1]",
    "sched_getscheduler": "int -> @sched", "sched_setaffinity": "int uint @cpuset", "sched_getaffinity": "int uint @@cpuset",
    "sched_setattr": "int in:sched_attr hex", "sched_getattr": "int out:sched_attr uint hex",
    "prctl": "=prctl @prctl_in +@@prctl_out -> @prctl_ret", "arch_prctl": "=arch_prctl @arch_in +@@arch_out",
    "adjtimex": "out:timex -> @adj", "clock_adjtime": "clock out:timex -> @adj",
    "mount": "path path str ==mount @mount_data", "umount2": "path =umount", "swapon": "path hex", "acct": "path",
    "reboot": "=magic1 =magic2 =reboot", "sethostname": "text[1] size", "setdomainname": "text[1] size",
    "setxattr": "path str text[3] size =xattr", "lsetxattr": "path str text[3] size =xattr",
    "fsetxattr": "fd str text[3] size =xattr", "getxattr": "path str @@xattr size", "lgetxattr": "path str @@xattr size",
    "fgetxattr": "fd str @@xattr size", "listxattr": "path @@xattr size", "llistxattr": "path @@xattr size",
    "flistxattr": "fd @@xattr size",
    "futex": "ptr =futex @futex", "set_tid_address": "ptr", "set_robust_list": "ptr size",
    "get_robust_list": "int out:u64/ptr[=1] out:u64[=1]",
    "timer_create": "clock in:sigevent out:i32[=1]", "timer_settime": "int =timer in:itimerspec out:itimerspec",
    "nanosleep": "in:timespec @@rem1", "clock_nanosleep": "clock =timer in:timespec @@rem3",
    "epoll_create": "int -> fd", "epoll_create1": "=epoll_create1 -> fd", "epoll_ctl": "fd =epoll_ctl fd @epoll_event",
    "epoll_wait": "fd out:epoll_event[ret] int int", "epoll_pwait": "fd out:epoll_event[ret] int int @sigset5 size",
    "epoll_pwait2": "fd out:epoll_event[ret] int in:timespec @sigset5 size",
    "eventfd": "uint -> fd", "eventfd2": "uint =eventfd -> fd", "timerfd_create": "clock =timerfd -> fd",
    "timerfd_settime": "fd =timerfd in:itimerspec out:itimerspec", "timerfd_gettime": "fd out:itimerspec",
    "inotify_init": "-> fd", "inotify_init1": "=inotify_init1 -> fd", "memfd_create": "str =memfd -> fd",
    "memfd_secret": "=oflags -> fd", "userfaultfd": "=oflags -> fd", "pidfd_open": "int =pidfd -> fd",
    "mq_open": "str =open @open_mode @mq_attr -> fd", "mq_unlink": "str",
    "mq_timedsend": "fd text[2] size uint in:timespec", "mq_timedreceive": "fd data[ret] size out:i32[=1] in:timespec",
    "mq_getsetattr": "fd in:mq_attr out:mq_attr", "mq_notify": "fd in:sigevent",
    "ioprio_get": "=ioprio_who int -> @ioprio", "ioprio_set": "=ioprio_who int @ioprio_value",
    "utime": "path in:utimbuf", "utimes": "path @utimes", "futimesat": "dirfd path @utimes",
    "utimensat": "dirfd path @utimens =at",
    "sendfile": "fd fd @@offset_moves size", "splice": "fd @offset fd @offset size =splice",
    "copy_file_range": "fd @offset fd @offset size hex", "tee": "fd fd size =splice", "vmsplice": "fd @iovin ulong =splice",
    "getcpu": "out:u32[=1] out:u32[=1] ptr", "getrandom": "@@random size =random",
    "statx": "dirfd path =at_statx =statx out:statx", "name_to_handle_at": "dirfd path ptr ptr =at",
    "membarrier": "=membarrier hex -> @membarrier", "rseq": "hex64 hex hex hex", "close_range": "uint uint =close_range",
    "syslog": "@syslog", "kcmp": "int int =kcmp ulong ulong", "seccomp": "=seccomp hex ptr", "ptrace": "=ptrace int @ptrace",
    "landlock_create_ruleset": "ptr size =ruleset", "modify_ldt": "int ptr ulong", "set_mempolicy": "=mempolicy ptr ulong",
    "quotactl": "@quota path int ptr", "add_key": "str str text[3] size =keyspec", "fsopen": "str hex -> fd",
    "bpf": "=bpf ptr uint", "io_setup": "uint ptr", "io_uring_setup": "uint ptr", "iopl": "uint",
    "perf_event_open": "ptr int int fd =perf -> fd", "process_vm_readv": "int ptr ulong ptr ulong hex64",
    "process_vm_writev": "int ptr ulong ptr ulong hex64", "pidfd_send_signal": "fd sig in:siginfo hex",
    "sched_rr_get_interval": "int out:timespec", "getpriority": "=priority int", "setpriority": "=priority int int",
    "restart_syscall": "", "getrusage": "=rusage out:rusage", "times": "out:tms", "inotify_rm_watch": "fd int",
    "delete_module": "str =oflags", "fallocate": "fd =fallocate long long",
    "cachestat": "fd in:cachestat_range out:cachestat hex",
}
# fmt: on
"""Name of a call to its words."""
