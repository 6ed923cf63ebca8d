"""The attacks, one row each: data only.

*natively* is false where Linux or the CPU refuses without torov too, or where the attempt would harm the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """One way out.

    Args:
        source, name: the guest (guests/SOURCE.c) and its case.
        tries: what it is after.
        natively: run without torov, it must succeed.
        root: natively it does so for root only.
        reason: what stands on standard error of torov (a pattern).
        policy: a policy file's text; @W is the guest's directory, @PORT a port that it may use, @PATHS every call with a path.
        options: of torov exec.
        prefix: a command in front of the native run, such as unshare(1).
        status: by torov; 137 for a guest that its limits end.
    """

    source: str
    name: str
    tries: str
    natively: bool = True
    root: bool = False
    reason: str = ""
    policy: str = ""
    options: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    status: int = 0


CHROOT = '{"torov": 1, "default": "builtin", "rules": [{"calls": ["chroot"], "action": "allow"}]}'
NO_GETUID = '{"torov": 1, "default": "builtin", "rules": [{"calls": ["getuid"], "action": {"errno": "EACCES"}}]}'
GETUID = "denied getuid"
PATHS = """{"torov": 1, "default": "builtin", "rules": [
  {"calls": [@PATHS], "where": [{"path": ["@W/ok/**", "/proc/**"]}], "action": "allow"},
  {"calls": [@PATHS], "action": {"errno": "EACCES"}, "comment": "not in ok"},
  {"calls": ["connect", "bind", "sendto", "sendmsg", "sendmmsg"],
   "where": [{"address": {"family": "unix", "path": ["@W/secret/**"]}}], "action": {"errno": "EACCES"}}]}"""
FLAGS = """{"torov": 1, "default": "builtin", "rules": [
  {"calls": ["open", "openat", "openat2", "creat"],
   "where": [{"arg": "flags", "is": "O_RDONLY", "mask": "O_ACCMODE|O_CREAT|O_TRUNC"}], "action": "allow"},
  {"calls": ["open", "openat", "openat2", "creat"], "action": {"errno": "EACCES"}}]}"""
NET = """{"torov": 1, "default": "builtin", "rules": [
  {"calls": ["connect", "sendto", "sendmsg", "sendmmsg"],
   "where": [{"address": {"family": "inet", "port": @PORT, "network": "127.0.0.1/32"}}], "action": "allow"},
  {"calls": ["connect", "sendto", "sendmsg", "sendmmsg"], "action": {"errno": "EACCES"}},
  {"calls": ["socket"], "where": [{"arg": "domain", "is": ["AF_INET", "AF_INET6"]},
   {"arg": "type", "is": ["SOCK_STREAM", "SOCK_DGRAM"], "mask": "0xf"}], "action": "allow"},
  {"calls": ["socket"], "action": {"errno": "EACCES"}}]}"""
NOT_NET = """{"torov": 1, "default": "builtin", "rules": [
  {"calls": ["connect", "sendto", "sendmsg", "sendmmsg"],
   "where": [{"address": {"family": "inet", "port": [1024, 65535]}}], "action": {"errno": "EACCES"}}]}"""
CODE = """{"torov": 1, "default": "builtin", "rules": [
  {"calls": ["mmap", "mprotect"],
   "where": [{"arg": "prot", "is": "PROT_EXEC", "mask": "PROT_EXEC"}], "action": {"errno": "EACCES"}},
  {"calls": ["shmat"], "where": [{"arg": "shmflg", "is": "SHM_EXEC", "mask": "SHM_EXEC"}], "action": {"errno": "EACCES"}}]}"""


def limit(name: str, value: str) -> str:
    """A policy with one limit."""
    return f'{{"torov": 1, "default": "builtin", "rules": [], "limits": {{"{name}": {value}}}}}'


STRICT = '{"torov": 1, "default": "builtin", "strict": true, "rules": []}'
JAIL = ("--jail",)
ROOT = '{"torov": 1, "default": "builtin", "rules": [], "root": "@W/ok", "user": "nobody", "network": "none"}'

# fmt: off
ATTACKS = (
    # pointers into the monitor
    Attack("pointers_out", "write_from", "reads the monitor by write, sendto, setxattr"),
    Attack("pointers_out", "read_into", "writes the monitor by read, getrandom, readlink, getdents"),
    Attack("pointers_out", "structures", "writes the monitor by 25 calls that fill a structure"),
    Attack("pointers_out", "iovec_base", "bases of an iovec in the monitor, for all calls that take one"),
    Attack("pointers_out", "iovec_array", "the array of iovecs itself in the monitor"),
    Attack("pointers_out", "iovec_count", "a count whose low half is 1: the kernel sees no more of it"),
    Attack("pointers_out", "message", "name, data, control and header of a message in the monitor"),
    Attack("pointers_out", "futex_words", "a futex word in the monitor, to learn it and to set it"),
    Attack("pointers_out", "thread_ends", "clear_child_tid and the robust list in the monitor, when a thread ends"),
    Attack("pointers_out", "tid_words", "clone writes a thread id into the monitor"),
    Attack("pointers_out", "signal_frames", "an alternate stack, rsp and sigreturn's frame in the monitor"),
    Attack("pointers_out", "paths", "paths and struct open_how in the monitor"),
    Attack("pointers_out", "controls", "arguments of ioctl, fcntl, prctl and arch_prctl in the monitor"),
    Attack("pointers_out", "sockets", "addresses, lengths and options of sockets in the monitor"),
    Attack("pointers_out", "socket_options", "options that hold pointers themselves: MPTCP, SCTP, TCP, netfilter, XDP"),
    Attack("pointers_out", "waiting", "sets, masks and time-outs of poll, select, epoll and signals in the monitor"),
    Attack("pointers_out", "ipc", "System V objects and message queues with the monitor's memory"),
    Attack("pointers_out", "exec_words", "argv, envp and their words in the monitor"),
    Attack("pointers_out", "mapped_there", "mmap, mremap, mprotect, madvise, load, store and jump at the monitor's address"),
    Attack("pointers_out", "lengths", "lengths that run out of the guest's memory, and around", natively=False),
    # reserved descriptors
    Attack("descriptors", "transfer", "reads and writes the monitor's descriptors, 14 calls"),
    Attack("descriptors", "about", "fstat, fchmod, ftruncate and their kin of the monitor's descriptors"),
    Attack("descriptors", "directories", "the monitor's descriptors as directories and programs"),
    Attack("descriptors", "requests", "KVM's and other requests by ioctl"),
    Attack("descriptors", "own_kvm", "/dev/kvm of its own: opened as natively, and of no use", root=True),
    Attack("descriptors", "duplicates", "dup, dup2, dup3 and fcntl of the monitor's descriptors"),
    Attack("descriptors", "replaced", "puts a file of its own in their place"),
    Attack("descriptors", "closed", "close and close_range over them; the monitor still makes processes"),
    Attack("descriptors", "waited_for", "poll, select, epoll, timerfd, inotify, message queues"),
    Attack("descriptors", "socket_calls", "calls of sockets on the monitor's descriptors", natively=False),
    Attack("descriptors", "handed_over", "hands them over a Unix socket: first, second, in a second header, by sendmmsg"),
    Attack("descriptors", "control_length", "control data that claims to be longer than it is", natively=False),
    Attack("descriptors", "mapped", "maps a vCPU's struct kvm_run"),
    Attack("descriptors", "stolen", "pidfd_getfd and kcmp", reason="pidfd_getfd = EPERM"),
    Attack("descriptors", "by_name", "/proc/self/fd/N, fdinfo/N and their other names"),
    Attack("descriptors", "limit_raised", "raises RLIMIT_NOFILE over them"),
    Attack("descriptors", "after_exec", "looks after exec for what was handed to the next monitor"),
    Attack("descriptors", "table_shared", "shares the table with a process that has a VM of its own"),
    Attack("descriptors", "table_apart", "a thread with a table of its own takes up a vCPU", natively=False),
    # the CPU
    Attack("cpu", "jit_out", "hypercalls from memory that was written, in seven encodings"),
    Attack("cpu", "forged_text", "a hypercall in the program's text that no system call was", natively=False),
    Attack("cpu", "second_byte", "a jump to the second byte of a patched site", natively=False),
    Attack("cpu", "ports_out", "out to other ports", natively=False),
    Attack("cpu", "ports_in", "in from all kinds of ports", natively=False),
    Attack("cpu", "port_strings", "rep outs and ins", natively=False),
    Attack("cpu", "interrupts", "int 0 to int 255", natively=False),
    Attack("cpu", "int80", "int 0x80", natively=False),
    Attack("cpu", "sysenter", "sysenter", natively=False),
    Attack("cpu", "vsyscall", "the vsyscall page", natively=False),
    Attack("cpu", "privileged", "29 instructions of ring 0", natively=False),
    Attack("cpu", "virtual_machines", "instructions of hypervisors, and calls to the one below", natively=False),
    Attack("cpu", "far_jumps", "far jumps and calls to every selector", natively=False),
    Attack("cpu", "data_selectors", "every selector in ss and ds", natively=False),
    Attack("cpu", "iret_inwards", "iret to ring 0", natively=False),
    Attack("cpu", "flags", "popf of IOPL, cli, iret with NT", natively=False),
    Attack("cpu", "stubs", "reads, writes and jumps to GDT, IDT, page tables, stubs and ring 0's stack", natively=False),
    Attack("cpu", "lstar", "jumps to the stub of the trap net with rcx of its own", natively=False),
    Attack("cpu", "lstar_flags", "the same, to get flags that no program may have", natively=False),
    Attack("cpu", "compatible", "32-bit code, and its ways into a kernel", natively=False),
    Attack("cpu", "forged_frames", "sigreturn with rings, flags, addresses and FPU state of its own", natively=False),
    Attack("cpu", "odd_handlers", "handlers at addresses that are none, in the kernel, in a stub", natively=False),
    Attack("cpu", "thread_pointers", "FS and GS in the kernel's half", natively=False),
    Attack("cpu", "sent_faults", "sends itself the faults that only the CPU sends", natively=False),
    # memory
    Attack("memory_out", "rewritten_text", "new system calls written over text", reason=GETUID, policy=NO_GETUID),
    Attack("memory_out", "rewritten_site", "other instructions at a site that was patched", reason=GETUID, policy=NO_GETUID),
    Attack("memory_out", "second_mapping", "code written through a second mapping", reason=GETUID, policy=NO_GETUID),
    Attack("memory_out", "file_text", "code in a file of its own, cut off while it runs", reason=GETUID, policy=NO_GETUID),
    Attack("memory_out", "over_tables", "mmap, mremap, brk, shmat over page tables, stubs and what lies behind", natively=False),
    Attack("memory_out", "tables_as_buffers", "page tables as buffers, by the guest's and by the host's address", natively=False),
    Attack("memory_out", "fixed_pages", "writes the host's clock pages", natively=False),
    Attack("memory_out", "under_calls", "memory that goes while a call uses it", natively=False),
    Attack("memory_out", "recursion", "recursion without an end", natively=False),
    Attack("memory_out", "no_stack", "a signal for which there is no stack", natively=False),
    # calls that reach past the program
    Attack("calls_out", "ptrace_all", "traces another process, a child, the monitor"),
    Attack("calls_out", "process_memory", "process_vm_readv and writev of a child, of itself, of the secret"),
    Attack("calls_out", "bpf_programs", "bpf", root=True),
    Attack("calls_out", "faults_of_others", "userfaultfd", root=True, reason="userfaultfd = EPERM"),
    Attack("calls_out", "rings", "io_uring and aio"),
    Attack("calls_out", "performance", "perf_event_open", root=True),
    Attack("calls_out", "keys", "add_key, request_key, keyctl"),
    Attack("calls_out", "handles", "name_to_handle_at and open_by_handle_at", root=True),
    Attack("calls_out", "mounts", "mount and its ten kin", root=True, prefix=("unshare", "-m")),
    Attack("calls_out", "unshared", "unshare of every namespace", root=True),
    Attack("calls_out", "cloned", "clone and clone3 into new namespaces and another cgroup", root=True),
    Attack("calls_out", "joined", "setns to the namespaces of another process", root=True),
    Attack("calls_out", "change_root", "chroot", root=True, reason="denied chroot"),
    Attack("calls_out", "modules", "kernel modules and kexec", root=True),
    Attack("calls_out", "machine", "reboot, swap, quotas, ports, clocks and 12 more", natively=False, reason="iopl = EPERM"),
    Attack("calls_out", "host_name", "sethostname", root=True, prefix=("unshare", "-u"), reason="denied sethostname"),
    Attack("calls_out", "segments", "modify_ldt and set_thread_area"),
    Attack("calls_out", "filters", "filters and dispatchers for the monitor's own calls"),
    Attack("calls_out", "monitor_layout", "prctl, personality and rseq that change the monitor"),
    Attack("calls_out", "others_memory", "process_madvise, move_pages and others"),
    Attack("calls_out", "terminal", "TIOCSTI, TIOCLINUX, TIOCSETD"),
    Attack("calls_out", "numbers", "a call that the policy refuses, by other numbers", reason=GETUID, policy=NO_GETUID),
    Attack("calls_out", "started", "programs by five ways, to lose the policy", reason=GETUID, policy=NO_GETUID),
    Attack("calls_out", "setuid_root", "a setuid program of root's, run by nobody", root=True),
    # files that are more than files
    Attack("escapes", "mem_by_name", "/proc/self/mem by fourteen names"),
    Attack("escapes", "mem_by_directory", "the same by directories, openat2 and the working directory"),
    Attack("escapes", "mem_by_link", "the same by links"),
    Attack("escapes", "mem_by_reopening", "the same by O_PATH and /proc/self/fd"),
    Attack("escapes", "mem_of_thread", "the same by thread ids"),
    Attack("escapes", "mem_of_others", "the memory of a child, of the parent, of another process", root=True),
    Attack("escapes", "mem_maps", "addresses of the monitor in maps, smaps, map_files, pagemap", natively=False),
    Attack("escapes", "environment", "the monitor's words and environment"),
    Attack("escapes", "program_file", "the monitor's program by /proc/self/exe", natively=False),
    Attack("escapes", "runner_file", "the program of another monitor, to write it", options=JAIL),
    Attack("escapes", "helper_module", "modules of its own for the helper of exec"),
    Attack("escapes", "changed_root", "a changed root, and /proc by a descriptor from outside it", root=True, policy=CHROOT),
    Attack("escapes", "helper_root", "a changed root, and a python of its own in it", root=True, policy=CHROOT),
    Attack("escapes", "hidden_threads", "maps and others of the monitor's own threads", natively=False),
    Attack("escapes", "core_dump", "a core file, which would be the monitor's", natively=False),
    # rules
    Attack("policy_out", "path_names", "a file past a rule, by eighteen spellings", policy=PATHS, reason="denied open"),
    Attack("policy_out", "path_directories", "by directories, openat2, O_PATH, chdir", policy=PATHS, reason="denied open"),
    Attack("policy_out", "path_links", "by links of both kinds and rename", policy=PATHS, reason="denied rename"),
    Attack("policy_out", "path_calls", "by 24 other calls that take a path", policy=PATHS, reason="denied truncate"),
    Attack("policy_out", "path_programs", "programs past a rule, what a script names too", policy=PATHS, reason="denied execve"),
    Attack("policy_out", "open_flags", "writes where reading is allowed", policy=FLAGS, reason="denied creat"),
    Attack("policy_out", "net_addresses", "addresses and sockets that are not allowed", policy=NET, reason="denied connect"),
    Attack("policy_out", "net_lengths", "odd lengths of addresses past a refusal", policy=NOT_NET, reason="denied sendmsg"),
    Attack("policy_out", "new_code", "executable memory where it is refused", policy=CODE, reason="denied mprotect"),
    Attack("policy_out", "forged_lines", "forges lines of denials", natively=False, policy=PATHS, reason="denied open"),
    # programs
    Attack("programs_out", "lying_files", "24 ELF files whose headers lie, through the rewriter", natively=False),
    Attack("programs_out", "lying_files", "the same past it", natively=False, options=JAIL),
    Attack("programs_out", "strict_new_code", "strict: a call from new code", policy=STRICT, status=159, reason="strict"),
    Attack("programs_out", "strict_other_call", "strict: another call at a site", policy=STRICT, status=159, reason="strict"),
    # the jail
    Attack("jail_out", "root_paths", "a file outside of the root directory, by seventeen paths", policy=ROOT),
    Attack("jail_out", "root_links", "by symbolic and hard links", policy=ROOT),
    Attack("jail_out", "root_proc", "by what the jail's processes have open, and upwards from there", policy=ROOT),
    Attack("jail_out", "runner_link", "writes the monitor's program, by another process", natively=False, policy=ROOT),
    Attack("jail_out", "root_devices", "makes and opens devices: memory, disks, KVM", root=True, options=JAIL),
    Attack("jail_out", "machine_files", "writes what configures the machine", root=True, options=JAIL),
    Attack("jail_out", "network", "the host's ports, sockets, Internet, raw sockets, vsock", options=JAIL),
    Attack("jail_out", "processes", "signals, priorities and limits of processes outside; kill of everybody", options=JAIL),
    Attack("jail_out", "shared_objects", "System V objects of the host", options=JAIL),
    Attack("jail_out", "privileges", "root's identity, capabilities, securebits", root=True, options=JAIL),
    # too much of everything
    Attack("bombs", "processes", "forks without an end", policy=limit("processes", "8")),
    Attack("bombs", "grandchildren", "forks that leave their parents", policy=limit("processes", "8")),
    Attack("bombs", "threads", "threads without an end", policy=limit("threads", "8")),
    Attack("bombs", "memory", "memory of five kinds", policy=limit("memory", '"64M"')),
    Attack("bombs", "file_size", "sparse files, and all calls that make a file larger", policy=limit("file-size", '"1M"')),
    Attack("bombs", "other_limits", "limits that processes raise for each other", policy=limit("file-size", '"1M"')),
    Attack("bombs", "output", "output by many processes", natively=False, policy=limit("output", '"64K"'), status=137,
           reason="output limit"),
    Attack("bombs", "descriptors", "descriptors without an end", policy=limit("descriptors", "64")),
    Attack("bombs", "spin", "three processes that compute and ignore signals", policy=limit("cpu", '"1s"'), status=137,
           reason="CPU time limit"),
    Attack("bombs", "waits", "processes that wait for ever, and leave their parents", policy=limit("wall", '"1s"'), status=137,
           reason="wall time limit"),
    Attack("bombs", "mappings", "a hundred thousand mappings", natively=False),
    Attack("bombs", "signals", "a storm of signals", natively=False),
    Attack("bombs", "timers", "two thousand timers", natively=False),
)
# fmt: on

# fmt: off
RACES = (
    Attack("races", "iovec_base", "bases of an iovec"),
    Attack("races", "message_header", "the pointers of a message's header"),
    Attack("races", "control_data", "the descriptor, length and type in control data"),
    Attack("races", "path_string", "the string of a path: /dev/null and /proc/self/mem"),
    Attack("races", "path_link", "a symbolic link to them"),
    Attack("races", "open_numbers", "uses the number of an open that is going to be refused"),
    Attack("races", "vcpu_numbers", "uses the number of a vCPU that is being made", natively=False),
    Attack("races", "directory", "the directory behind a descriptor, and the parents of a directory"),
    Attack("races", "cut_text", "cuts a file short while its text is patched", natively=False),
    Attack("races", "page_rights", "rights of a page that is used", natively=False),
    Attack("races", "exec_spec", "what exec hands to the next monitor", natively=False, policy=NO_GETUID),
    Attack("races", "frames", "the frame that sigreturn reads", natively=False),
    Attack("races", "descriptor_sets", "sets of select and poll", natively=False),
    Attack("races", "directory_entries", "entries that getdents has written", natively=False),
    Attack("races", "exec_words", "argv and envp", natively=False),
    Attack("policy_out", "race_string", "a path past a rule", policy=PATHS),
    Attack("policy_out", "race_link", "a link past a rule", policy=PATHS),
    Attack("policy_out", "race_directory", "a directory past a rule", policy=PATHS),
    Attack("policy_out", "race_flags", "flags of openat2 past a rule", policy=FLAGS),
    Attack("policy_out", "race_address", "a socket address past a rule", policy=NET),
    Attack("policy_out", "race_hidden", "an address that cannot be read while a rule looks", policy=NOT_NET),
    Attack("policy_out", "race_processes", "a link and a directory, by another process", policy=PATHS),
)
# fmt: on
