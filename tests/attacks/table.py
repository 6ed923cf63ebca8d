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
        policy: a policy file's text.
        prefix: a command in front of both, such as unshare(1).
        status: of the guest by torov.
        hole: it succeeds today, and why.
    """

    source: str
    name: str
    tries: str
    natively: bool = True
    root: bool = False
    reason: str = ""
    policy: str = ""
    prefix: tuple[str, ...] = ()
    status: int = 0
    hole: str = ""


NO_GETUID = '{"torov": 1, "default": "builtin", "rules": [{"calls": ["getuid"], "action": {"errno": "EACCES"}}]}'
GETUID = "denied getuid"

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
    Attack("descriptors", "by_name", "/proc/self/fd/N, fdinfo/N and their other names", hole="fdinfo"),
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
)
# fmt: on
