/* Public interface of the torov core. Also the cffi cdef: plain C declarations only. */

/* Why tv_run() came back. */
enum tv_stop_kind {
    TV_EXITED = 1,    /* the program ended: status = its exit status, 0..255 */
    TV_SIGNALLED = 2, /* a signal ended it: status = signal number, code = si_code, addr = si_addr */
    TV_KILLED = 3,    /* the policy ended it: nr = the syscall */
    TV_NOTICE = 4,    /* not an end: call tv_run() again; note says what happened, nr = the syscall */
    TV_FAILED = 5     /* the monitor cannot go on: err = positive errno, what = the operation */
};

/* What a TV_NOTICE reports, once per syscall number. */
enum tv_note {
    TV_NOTE_DENIED = 1,   /* the policy answered nr with an errno */
    TV_NOTE_UNSERVED = 2, /* torov does not serve nr */
    TV_NOTE_GADGET = 3,   /* a syscall instruction ran that is no instruction of the file: addr */
    TV_NOTE_LOGGED = 5,   /* the policy wants to hear of this call; it was made */
    TV_NOTE_TIME = 4      /* the host's vDSO cannot be used: time costs a hypercall; err says why */
};

struct tv_stop {
    int kind;
    int status;
    int code;
    int note;
    int nr;
    int err;       /* TV_NOTICE: the errno that was answered, or why (TV_NOTE_TIME) */
    uint64_t addr; /* fault address, or the place of the syscall */
    uint64_t rip;
    char what[64];
    char text[200];  /* TV_NOTE_DENIED, TV_NOTE_LOGGED, TV_KILLED: the call with its arguments; TV_SIGNALLED: the place, as main+0x1c */
    char label[120]; /* the rule that decided; empty: none did */
    char core[256];  /* TV_SIGNALLED, TV_KILLED: name of the core file; empty: there is none */
    uint64_t core_size; /* bytes, holes included */
    int core_err;    /* why there is none, though it was asked for */
};

struct tv_stats {
    uint64_t exits;       /* KVM_RUN returns */
    uint64_t hypercalls;  /* through patched sites */
    uint64_t trapped;     /* through the LSTAR net */
    uint64_t late;        /* sites patched at their first trap */
    uint64_t gadgets;     /* trapped at an EMBEDDED or DATA place */
    uint64_t lost;        /* int 0x80, sysenter, forged out: attempts that were not served */
    uint64_t faults;      /* page faults resolved by the monitor */
    uint64_t kicks;       /* KVM_RUN interrupted by a host signal */
    uint64_t denied;      /* calls answered or killed by the policy */
    uint64_t slots;       /* memslots in use */
    uint64_t tables;      /* page-table pages in use */
    uint64_t create_ns;   /* tv_create(): VM, memory, image, stack */
    uint64_t kvm_ns;      /* of that, KVM_CREATE_VM and KVM_CREATE_VCPU */
    uint64_t first_ns;    /* tv_run() to the first exit */
    uint64_t run_ns;      /* time in tv_run() */
    uint64_t calls[512];  /* by syscall number; 511 collects numbers out of range */
};

/* One line of --layout, in guest virtual addresses (= guest physical, but for vvar). */
struct tv_region {
    uint64_t start;
    uint64_t end;
    int prot;       /* PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4 */
    char name[44];
};

/* What to run. Pointers are read during tv_create() only. */
struct tv_spec {
    int image_fd;             /* image file (loader/image.py); stays the caller's */
    const char *exe;          /* absolute path of the original program, for /proc/self/exe */
    const char *execfn;       /* path as the user gave it: AT_EXECFN */
    const char *const *argv;  /* NULL-terminated */
    const char *const *envp;  /* NULL-terminated */
    const int16_t *actions;   /* 512 entries: 0 allow, n > 0 answer -n, -1 kill; NULL: built-in policy */
    const void *program;      /* rules with conditions (policy.h), for calls whose action is -2; or NULL */
    uint32_t program_size;
    int audit_fd;             /* socket of tv_audit_start(); 0: none. Taken over, as tty_fd */
    int tty_fd;               /* for the action "ask"; 0: none */
    int trace_fd;             /* socket of tv_trace_start(); 0: none. Taken over */
    uint64_t start;           /* link-time address to start at; 0: the program's entry */
    const void *strict;       /* strict mode: the table of torov/strict.py; or NULL */
    uint32_t strict_size;
    int delegate_fd[8];       /* sockets of the policy's delegates, in its order; 0: none. Taken over */
    uint64_t stack_size;      /* bytes; 0: RLIMIT_STACK */
    int loader_fd;            /* image file of the program interpreter (PT_INTERP); 0 or less: none */
    const char *cache;        /* for exec(2): directory of image files, or "" */
    const char *cache_version; /* version part of their index */
    const char *python;       /* interpreter that makes missing images with -m torov.prepare */
    const char *runner;       /* program that goes on after exec(2) */
    const char *const *helper_env; /* environment of these two, NULL-terminated */
    int kvm_fd;               /* an open /dev/kvm, for a process that may not open it any more; 0: none */
    int shared_fd;            /* of tv_shared_make(); 0: none. Taken over */
    uint64_t most_memory;     /* limits, 0: none. Bytes that can be filled, but for the stack */
    uint64_t file_size;       /* RLIMIT_FSIZE */
    uint32_t most_threads;    /* of each process */
    uint32_t descriptors;     /* RLIMIT_NOFILE */
    uint32_t cpu_seconds;     /* RLIMIT_CPU */
    int debug_fd;             /* of torov/gdb: who debugs the guest; 0: nobody. Taken over */
    int runner_fd;            /* O_PATH of the runner, where its path will not be there; 0: none. Taken over */
    int core_fd;              /* directory of core files (O_PATH), or the socket of tv_core_start(); 0: none. Taken over */
    int perf_fd;              /* socket for samples (perf.c); 0: none. Taken over */
    uint32_t perf_hz;
    const char *core_name;    /* the name in that directory, with %p for the process; NULL or empty: it is a socket */
    uint32_t flags;           /* TV_F_* */
};

enum tv_spec_flags {
    TV_F_IOPL = 1,      /* IOPL=3 in place of the TSS bitmap: QEMU TCG only */
    TV_F_NO_VDSO = 2,   /* do not use the host's vDSO */
    TV_F_NO_LATE = 4,   /* never patch at a trap */
    TV_F_QUIET = 8,     /* lines of forked and exec'ed guests are not wanted */
    TV_F_RUNNER = 16,   /* the caller has no dispositions of its own: everything ignored was inherited */
    TV_F_OWN = 32,      /* the process is the guest's alone: ps(1) shows the guest's arguments */
    TV_F_SEALED = 64,   /* no helper can make images: exec maps a program that has none as it is */
    TV_F_FILTERED = 512, /* the monitor's own calls are filtered */
    TV_F_WATCHED = 256, /* there is a supervisor, whose limits are not the guest's to set */
    TV_F_HUGE = 128     /* the host has transparent huge pages, whether or not /sys can be asked */
};

struct tv_host_info {
    int api;              /* KVM_GET_API_VERSION */
    int sync_regs;        /* KVM_CAP_SYNC_REGS has KVM_SYNC_X86_REGS */
    int immediate_exit;
    int readonly_mem;
    int nr_memslots;
    int maxphyaddr;
    int tsc_offset;       /* KVM_VCPU_TSC_OFFSET can be set to 0 */
    int rip_past;         /* 1: RIP at an out exit is past it, 0: on it, -1: not seen */
    int fsgsbase;
    uint64_t floor_ns;    /* one hypercall, smallest of a short loop */
    uint64_t create_ns;   /* KVM_CREATE_VM to the first exit */
};

struct tv_vm;

struct tv_vm *tv_create(const struct tv_spec *spec, struct tv_stop *why);
int tv_run(struct tv_vm *vm, struct tv_stop *stop);
const struct tv_stats *tv_stats(const struct tv_vm *vm);
int tv_layout(const struct tv_vm *vm, struct tv_region *out, int max);
void tv_destroy(struct tv_vm *vm);
/* What a trace shows, and how; the words are those of strace(1). */
enum tv_trace_format { TV_TRACE_TEXT = 0, TV_TRACE_JSON = 1, TV_TRACE_PERFETTO = 2 };
struct tv_trace {
    uint64_t calls[8];        /* bits: the calls that are shown; the last stands for numbers out of range */
    uint64_t signals;         /* bits: signal 1 first */
    uint32_t string_size;     /* -s: bytes of a string that are shown */
    int format;
    int verbose;              /* -v: whole structures */
    int hex_strings;          /* -x: 1, -xx: 2 */
    int paths;                /* -y: what descriptors stand for */
    int follow;               /* -f: threads and processes that it starts */
    int times;                /* -t: 1, -tt: 2, -ttt: 3 */
    int relative;             /* -r */
    int durations;            /* -T */
    int counts;               /* -c: 1, -C: 2 */
    int status;               /* -z: 1, -Z: 2 */
    int pid_prefix;           /* each line begins with the thread's id */
    int append;               /* -A, with a file for each thread */
    int ordered;              /* what the guest writes may go to the same place: wait for the writer before */
    int quiet;                /* -q: 1, -qq: 2 */
    int column;               /* -a */
    int utc_offset;           /* seconds, for times of day */
};
int tv_trace_start(const struct tv_trace *options, int file, const char *each); /* each: NULL, or what names of files begin with, one for each thread; file is -1 then */
int tv_trace_end(struct tv_vm *vm);
int tv_audit_start(int file);
int tv_audit_flush(struct tv_vm *vm, int *err); /* the file, or -1 */
int tv_core_start(int dir, const char *pattern); /* a process that writes core files, for those that may not: its socket */
int tv_policy_check(const void *program, uint32_t size);
int tv_policy_asks(const void *program);
int tv_policy_try(const void *program, uint32_t size, const int16_t *actions, int nr, const uint64_t *a, const void *structure,
                  uint32_t structure_size, const char *path0, const char *path1, const void *addr, uint32_t addrlen, int *rule);
int tv_probe(struct tv_host_info *info, struct tv_stop *why, int loops);

/* A mount of a jail. Paths of the host (from) are as the caller sees them, those of the jail (to) absolute in its root. */
enum tv_mount_kind { TV_MOUNT_BIND = 1, TV_MOUNT_TMPFS = 2, TV_MOUNT_PROC = 3, TV_MOUNT_DEV = 4 };
enum { TV_MOUNTS = 64 }; /* at most */
struct tv_mount {
    int kind;
    int writable;
    const char *from;         /* TV_MOUNT_BIND */
    const char *to;
    uint64_t size;            /* TV_MOUNT_TMPFS: bytes */
};

/* Which limit ended the tree: note of tv_jail()'s end. */
enum tv_limit { TV_LIMIT_WALL = 1, TV_LIMIT_CPU = 2, TV_LIMIT_OUTPUT = 3 };

enum { TV_DELEGATES = 8 };

struct tv_jail {
    uint32_t namespaces;      /* CLONE_NEW*; 0: none, only the supervisor */
    int drop;                 /* no capabilities and no_new_privs, without namespaces too */
    const char *root;         /* directory that becomes /, or NULL */
    int root_writable;
    int fresh_root;           /* an empty tmpfs becomes / */
    int host_readonly;        /* neither of these: the host's tree, read-only */
    const struct tv_mount *mounts; /* in this order */
    int nmounts;
    int loopback;             /* the network namespace has its loopback interface up */
    const char *hostname;     /* or NULL */
    int uid, gid;             /* of the program; -1: as it is */
    int runner_fd;            /* the runner, for pid 1 of the pid namespace */
    const int *keep;          /* descriptors above 2 that stay open, ascending */
    int nkeep;                /* -1: all stay open */
    int whole;                /* the tree ends with its first process */
    uint64_t wall_ns, cpu_ns; /* limits of the whole tree; 0: none */
    int shared_fd;            /* of tv_shared_make(); 0: none */
};
void tv_jail_ahead(void);     /* begins with what tv_jail() will need, and comes back at once */
int tv_jail(const struct tv_jail *jail, struct tv_stop *end);
/* A ruleset of Landlock: what it handles, and who has which of it. */
struct tv_beneath { const char *path; uint64_t access; int fd, follow; }; /* path NULL: fd, which stays the caller's; follow: links, and it need not be there */
struct tv_port { uint64_t port; uint64_t access; };
struct tv_landlock {
    uint64_t fs;              /* LANDLOCK_ACCESS_FS_* */
    uint64_t net;             /* LANDLOCK_ACCESS_NET_* */
    uint64_t scoped;          /* LANDLOCK_SCOPE_* */
    const struct tv_beneath *paths;
    const struct tv_port *ports;
    int npaths;
    int nports;
};
int tv_landlock(const struct tv_landlock *rules);
int tv_landlock_abi(void);
void *tv_map_shared(int fd, uint64_t size); /* its memory, or NULL; the descriptor is not needed any more */
int tv_shared_make(uint64_t output, uint32_t processes); /* bytes, number; 0: not limited */
int tv_debug_ask(int pid, int tid); /* a guest's thread: who asks listens, see control.c */
int tv_seccomp(struct tv_vm *vm, const void *filter, uint32_t bytes); /* vm: about to run, or NULL */
