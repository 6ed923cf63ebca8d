"""How one system call is written down: a row, its arguments, and how each of them crosses to the host.

A row's arguments are one string, one word ``name:type`` for each register, at most six:

    scalars     int uint long ulong size off mode pid uid gid sig clock flags dev key id
                cross unchanged; ``flags.open`` names the set of constants that a trace prints
    fd atfd     a descriptor; a directory descriptor or AT_FDCWD
    path str    a NUL-terminated path, another NUL-terminated string, in guest memory; ``path.entry`` is about
                the entry in its directory: a link there is not followed, unless ``flags.at`` says so
    look        a path whose file is looked at: /proc/self/exe is the guest's. A directory stands before it;
                ``flags.at`` may say that a link is not followed
    in[N] out[N] io[N]      a pointer to N bytes that the kernel reads, writes, or both
    fdset[N]    a pointer to a set of N bits in whole longs, read and written (select)
    iovin[N] iovout[N]      an array of N struct iovec whose buffers are read, written
    msgin msgout            a struct msghdr (sendmsg, recvmsg)
    mmsgin[N] mmsgout[N]    an array of N struct mmsghdr
    sigsetarg   pselect6's pointer to { const sigset_t *, size_t }
    addr        a guest address that the kernel does not read or write as a buffer
    opaque      a value with rules of its own (ioctl, fcntl, prctl, futex)

N is a number of bytes (``16``), a structure (``stat``), another argument (``count``: it holds the number
of bytes, or of entries for iov*, mmsg* and fdset), that argument times a number or structure
(``nfds*pollfd``), that argument plus a number (``msgsz+8``), or ``*addrlen``: the length is the unsigned
32-bit value in guest memory that ``addrlen`` points to. NULL crosses as NULL whatever the length.
``addr`` and ``opaque`` cannot be served by shape, so a row that has them is CORE or DENY.

Kept free of dataclasses, re and typing: it is imported on every start.
"""

from __future__ import annotations

HOST = "host"
"""Check and translate the arguments by their shapes, make the same call on the host, return its value."""
CORE = "core"
"""A function of the core serves it."""
DENY = "deny"
"""It is not served: answered with the row's errno."""

SCALARS = (
    "int", "uint", "long", "ulong", "size", "off", "mode", "pid", "uid", "gid", "sig", "clock", "flags",
    "dev", "key", "id",
)  # fmt: skip
POINTERS = ("in", "out", "io", "fdset", "iovin", "iovout", "mmsgin", "mmsgout")
"""Kinds that need a length in brackets."""
PLAIN = ("fd", "atfd", "path", "look", "str", "msgin", "msgout", "sigsetarg")
UNSHAPED = ("addr", "opaque")

STRUCTS = {
    "cachestat": 40,
    "cachestat_range": 16,
    "cap_data": 24,
    "cap_header": 8,
    "clone_args": 88,
    "epoll_event": 12,
    "int": 4,
    "itimerspec": 32,
    "itimerval": 32,
    "loff": 8,
    "mq_attr": 64,
    "msqid_ds": 120,
    "new_utsname": 390,
    "open_how": 24,
    "pollfd": 8,
    "rlimit": 16,
    "rusage": 144,
    "sembuf": 6,
    "shmid_ds": 112,
    "sigaction": 32,
    "sigevent": 64,
    "siginfo": 128,
    "sigset": 8,
    "stack": 24,
    "stat": 144,
    "statfs": 120,
    "statx": 256,
    "sysinfo": 112,
    "time": 8,
    "timespec": 16,
    "timeval": 16,
    "timex": 208,
    "timezone": 8,
    "tms": 32,
    "utimbuf": 16,
}
"""Bytes on x86-64 of each structure that a row names, as the kernel reads and writes it (uapi headers)."""


class Length:
    """The length of what a pointer points to: ``value(arg) * scale + plus``.

    Fields:
        arg: index 0-5 of the argument that holds the number, or None for a fixed size.
        scale: bytes per item; 1 if ``arg`` counts bytes or entries; 0 without ``arg``.
        plus: bytes to add; the whole size in bytes without ``arg``.
        deref: the number is the u32 in guest memory that argument ``arg`` points to.
        struct: name of the structure (a key of STRUCTS), or an empty string.
    """

    __slots__ = ("arg", "deref", "plus", "scale", "struct")

    def __init__(self, arg: int | None, scale: int, plus: int, deref: bool, struct: str) -> None:
        self.arg, self.scale, self.plus, self.deref, self.struct = arg, scale, plus, deref, struct


class Arg:
    """One argument of a call.

    Fields:
        name: its name in the kernel's prototype or manual page.
        kind: the type word without length and detail (``out``, ``fd``, ``flags``).
        detail: what follows the dot (``open`` in ``flags.open``, ``entry`` in ``path.entry``), or an empty string.
        length: for the kinds of POINTERS, else None.
    """

    __slots__ = ("detail", "kind", "length", "name")

    def __init__(self, name: str, kind: str, detail: str, length: Length | None) -> None:
        self.name, self.kind, self.detail, self.length = name, kind, detail, length


class Call:
    """One row of the table: a system call and how it is served.

    Args:
        nr: number on x86-64.
        name: name in asm/unistd_64.h.
        shape: the arguments in the grammar above.
        groups: names of the groups it is in, separated by blanks.
        serve: HOST, CORE or DENY.
        why: one clause; always there for DENY.
        errno: name of the error that a DENY row answers.
        default: "allow", or the name of the error that the built-in policy answers; of a DENY row its errno.
        core: name of the core's function; of a CORE row the call's own name unless given.
    """

    __slots__ = ("_args", "core", "default", "errno", "groups", "name", "nr", "serve", "shape", "why")

    def __init__(
        self,
        nr: int,
        name: str,
        shape: str,
        groups: str,
        serve: str = HOST,
        why: str = "",
        errno: str = "",
        *,
        default: str = "allow",
        core: str = "",
    ) -> None:
        self.nr, self.name, self.shape, self.serve, self.why = nr, name, shape, serve, why
        self.groups = tuple(groups.split())
        self.errno = errno
        self.default = errno if serve == DENY else default
        self.core = core or name if serve == CORE else ""
        self._args: tuple[Arg, ...] | None = None

    @property
    def args(self) -> tuple[Arg, ...]:
        """The arguments, in register order (rdi, rsi, rdx, r10, r8, r9); parsed at first use.

        Raises:
            ValueError: the row breaks the grammar; says which word and why.
        """
        if self._args is None:
            self._args = parse(self.shape)
        return self._args

    def __repr__(self) -> str:
        return f"Call({self.nr}, {self.name!r})"


def parse(shape: str) -> tuple[Arg, ...]:
    """Read the argument string of a row.

    Args:
        shape: words ``name:type`` separated by blanks, at most six; empty for a call without arguments.

    Returns:
        One Arg for each word.

    Raises:
        ValueError: a word breaks the grammar.
    """
    words = [word.partition(":") for word in shape.split()]
    names = [name for name, _, _ in words]
    if len(words) > 6 or len(set(names)) != len(names) or not all(names):
        raise ValueError(f"{shape!r}: at most six arguments, each with a name of its own")
    args = tuple(_arg(name, kind, names) for name, _, kind in words)
    for arg in args:
        holder = args[arg.length.arg] if arg.length and arg.length.arg is not None else None
        if holder is None or arg.length is None:
            continue
        if holder.kind not in (POINTERS if arg.length.deref else SCALARS):
            raise ValueError(f"{shape!r}: {holder.name} cannot hold the length of {arg.name}")
    return args


def _arg(name: str, word: str, names: list[str]) -> Arg:
    kind, bracket, inside = word.partition("[")
    if bracket:
        if kind not in POINTERS or not inside.endswith("]"):
            raise ValueError(f"{name}:{word}: only {' '.join(sorted(POINTERS))} take a length, as out[16]")
        return Arg(name, kind, "", _length(f"{name}:{word}", inside[:-1], names))
    kind, _, detail = word.partition(".")
    if kind not in SCALARS and ((detail and word != "path.entry") or kind not in PLAIN + UNSHAPED):
        raise ValueError(f"{name}:{word}: no such type")
    return Arg(name, kind, detail, None)


def _length(word: str, text: str, names: list[str]) -> Length:
    """Read what stands between the brackets; names are those of the row's arguments."""
    if text in STRUCTS:
        return Length(None, 0, STRUCTS[text], False, text)
    if text.isdecimal():
        return Length(None, 0, int(text), False, "")
    deref = text.startswith("*")
    holder, times, item = text.removeprefix("*").partition("*")
    holder, plus, more = holder.partition("+")
    if (
        holder not in names
        or (times and item not in STRUCTS and not item.isdecimal())
        or (plus and not more.isdecimal())
        or (deref and (times or plus))
    ):
        raise ValueError(f"{word}: the length is a number, a structure, an argument, arg*K, arg+K or *arg")
    struct = item if item in STRUCTS else ""
    scale = STRUCTS[item] if struct else int(item or 1)
    return Length(names.index(holder), scale, int(more or 0), deref, struct)
