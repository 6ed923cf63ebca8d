"""Layouts of the structures that system calls read and write, as x86-64 has them (uapi headers), and how they are shown.

One line each: words ``name:type``, in the order of the C structure, which gives the offsets by natural alignment. A type is

    i8 u8 i16 u16 i32 u32 i64 u64   an integer; behind it ``=SET`` names a set of constants, ``/KIND`` another way to show it:
        x ptr oct mode fd dirfd sig uid dev key time rlim sigset port (network order)
    @STRUCT                         a structure inside of the structure
    str[N] bytes[N]                 text up to its NUL, N bytes
    TYPE[N]                         an array

``_`` as a name is a gap. Names that begin with ``-`` are shown with -v only, and ``...`` stands for them; those with ``?`` are
left out if they are zero; ``~`` is both. ``!NAME`` is a function of the core's printer (show_NAME of show_*.c); in place of all
words, with the size in bytes behind it.
``name>OFFSET:type`` places a field at an offset of its own: what strace shows in another order than memory has it.
"""

from __future__ import annotations

_TIMES = "st_atime:i64/time -st_atime_nsec:i64 -st_mtime:i64/time -st_mtime_nsec:i64 -st_ctime:i64/time -st_ctime_nsec:i64"

# fmt: off
STRUCTS: dict[str, str] = {
    "timespec": "tv_sec:i64 tv_nsec:i64",
    "timeval": "tv_sec:i64 tv_usec:i64",
    "timezone": "tz_minuteswest:i32 tz_dsttime:i32",
    "itimerval": "it_interval:@timeval it_value:@timeval",
    "itimerspec": "it_interval:@timespec it_value:@timespec",
    "utimbuf": "actime:i64/time modtime:i64/time",
    "tms": "tms_utime:u64 tms_stime:u64 tms_cutime:u64 tms_cstime:u64",
    "stat": "!stat 144",
    "stat_all": "st_dev>0:u64/dev st_ino>8:u64 st_mode>24:u32/mode st_nlink>16:u64 st_uid>28:u32 st_gid>32:u32 st_blksize>56:i64 "
                "st_blocks>64:i64",
    "stat_times": "st_atime>72:i64/time st_atime_nsec>80:i64 st_mtime>88:i64/time st_mtime_nsec>96:i64 st_ctime>104:i64/time "
                  "st_ctime_nsec>112:i64",
    "statx_timestamp": "tv_sec:i64 tv_nsec:u32 _:i32",
    "statx": "stx_mask:u32=statx -stx_blksize:u32 stx_attributes:u64=statx_attr -stx_nlink:u32 -stx_uid:u32 -stx_gid:u32 "
             "stx_mode:u16/mode _:u16 -stx_ino:u64 stx_size:u64 -stx_blocks:u64 -stx_attributes_mask:u64=statx_attr "
             "-stx_atime:@statx_timestamp ~stx_btime:@statx_timestamp -stx_ctime:@statx_timestamp -stx_mtime:@statx_timestamp "
             "-stx_rdev_major:u32 -stx_rdev_minor:u32 -stx_dev_major:u32 -stx_dev_minor:u32 -stx_mnt_id:u64/x _:u64[13]",
    "fsid": "val:u32/x[2]",
    "statfs": "f_type:u64=fsmagic f_bsize:u64 f_blocks:u64 f_bfree:u64 f_bavail:u64 f_files:u64 f_ffree:u64 f_fsid:@fsid "
              "f_namelen:u64 f_frsize:u64 f_flags:u64=statfs_flags",
    "rlimit": "rlim_cur:u64/rlim rlim_max:u64/rlim",
    "rusage": "ru_utime:@timeval ru_stime:@timeval -ru_maxrss:u64 -ru_ixrss:u64 -ru_idrss:u64 -ru_isrss:u64 -ru_minflt:u64 "
              "-ru_majflt:u64 -ru_nswap:u64 -ru_inblock:u64 -ru_oublock:u64 -ru_msgsnd:u64 -ru_msgrcv:u64 -ru_nsignals:u64 "
              "-ru_nvcsw:u64 -ru_nivcsw:u64",
    "new_utsname": "sysname:str[65] nodename:str[65] -release:str[65] -version:str[65] -machine:str[65] -domainname:str[65]",
    "sysinfo": "uptime:i64 loads:u64[3] totalram:u64 freeram:u64 sharedram:u64 bufferram:u64 totalswap:u64 freeswap:u64 "
            "procs:u16 "
               "_:u16 totalhigh:u64 freehigh:u64 mem_unit:u32",
    "pollfd": "!pollfd 8",
    "epoll_data": "u32>0:u32 u64>0:u64",
    "sigaction": "sa_handler:u64/handler sa_mask>24:u64/sigset sa_flags>8:u64=sa_flags !restorer",
    "stack": "ss_sp:u64/ptr ss_flags:u32=ss_flags ss_size:u64",
    "flock": "l_type:i16=lock l_whence:i16=seek l_start:i64 l_len:i64",
    "flock_got": "l_type:i16=lock l_whence:i16=seek l_start:i64 l_len:i64 l_pid:i32",
    "f_owner_ex": "type:i32=owner pid:i32",
    "winsize": "ws_row:u16 ws_col:u16 ws_xpixel:u16 ws_ypixel:u16",
    "sembuf": "sem_num:u16 sem_op:i16 sem_flg:i16=sembuf",
    "ipc_perm": "uid>4:u32 gid>8:u32 mode>20:u16/oct key>0:i32 cuid>12:u32 cgid>16:u32",
    "ipc_new": "uid>4:u32 gid>8:u32 mode>20:u16/oct",
    "shmid_ds": "shm_perm>0:@ipc_perm shm_segsz>48:u64 shm_cpid>80:i32 shm_lpid>84:i32 shm_nattch>88:u64 shm_atime>56:u64 "
                "shm_dtime>64:u64 shm_ctime>72:u64",
    "msqid_ds": "msg_perm>0:@ipc_perm msg_stime>48:u64 msg_rtime>56:u64 msg_ctime>64:u64 msg_qnum>80:u64 msg_qbytes>88:u64 "
                "msg_lspid>96:i32 msg_lrpid>100:i32",
    "mq_attr": "mq_flags:i64=oflags mq_maxmsg:i64 mq_msgsize:i64 mq_curmsgs:i64 _:i64[4]",
    "timex": "modes:u32=adj _:u32 offset:i64 freq:i64 maxerror:i64 esterror:i64 status:i32=sta _:i32 constant:i64 precision:i64 "
             "tolerance:i64 time:@timeval tick:i64 ppsfreq:i64 jitter:i64 shift:i32 stabil:i64 jitcnt:i64 calcnt:i64 errcnt:i64 "
             "stbcnt:i64 tai:i32 _:i32[11]",
    "cap_header": "version:u32=capversion pid:i32",
    "cap_data": "!caps 24",
    "open_how": "flags:u64=open !openmode resolve>16:u64=resolve",
    "clone_args": "!clone_args 88",
    "sched_attr": "size:u32 sched_policy:u32=sched sched_flags:u64=sched_flag sched_nice:i32 sched_priority:u32 "
            "sched_runtime:u64 "
                  "sched_deadline:u64 sched_period:u64",
    "sigevent": "!sigevent 64",
    "siginfo": "!siginfo 128",
    "epoll_event": "events>0:u32=epoll data>4:@epoll_data",
    "linger": "l_onoff:i32 l_linger:i32",
    "ucred": "pid:i32 uid:u32/uid gid:u32/uid",
    "in_addr": "s_addr:u32/inet",
    "ip_mreq": "imr_multiaddr:u32/inet imr_interface:u32/inet",
    "robust_list_head": "list:u64/ptr futex_offset:i64 list_op_pending:u64/ptr",
    "cachestat": "nr_cache:u64 nr_dirty:u64 nr_writeback:u64 nr_evicted:u64 nr_recently_evicted:u64",
    "cachestat_range": "off:u64 len:u64",
}
# fmt: on
"""Name to its fields. Where strace shows another order than memory has, the offsets are written down."""
