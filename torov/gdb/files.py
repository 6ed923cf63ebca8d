"""vFile packets: gdb reads the program and its libraries by itself. Read-only. gdb's manual, E.11 (Host I/O)."""

from __future__ import annotations

import errno
import os
import stat
import struct

from torov.gdb.packet import MOST, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN = 64
"""Files that a client may have open."""
_ERRORS = {1, 2, 4, 9, 13, 14, 16, 17, 19, 20, 21, 22, 23, 24, 27, 28, 29, 30}
"""Errors that the protocol knows, by Linux's number; ENAMETOOLONG is 91, others are 9999 there."""


class Files:
    """Those that one client has open.

    Args:
        path: the place of a file of the guest for this process.
        maps: /proc/PID/maps (or smaps) of a process of the guest; None: of no such one.
    """

    __slots__ = ("_maps", "_open", "_path")

    def __init__(self, path: Callable[[str], str], maps: Callable[[int, bool], bytes | None]) -> None:
        self._path, self._maps = path, maps
        self._open: dict[int, int] = {}

    def close(self) -> None:
        """All of them."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def packet(self, data: bytes) -> bytes:
        """Answer ``vFile:...``; what is not known has an empty answer."""
        name, _, rest = data.removeprefix(b"vFile:").partition(b":")
        handlers: dict[bytes, Callable[[list[bytes]], bytes]] = {
            b"open": self._do_open, b"pread": self._do_pread, b"close": self._do_close, b"fstat": self._do_fstat,
            b"readlink": self._do_readlink, b"setfs": lambda _: b"F0",
        }  # fmt: skip
        handler = handlers.get(name)
        if handler is None:
            return b"F-1,%x" % errno.EROFS if name in (b"pwrite", b"unlink") else b""
        try:
            return handler(rest.split(b","))
        except OSError as error:
            number = error.errno or 0
            return b"F-1,%x" % (91 if number == errno.ENAMETOOLONG else number if number in _ERRORS else 9999)
        except (ValueError, IndexError):
            return b"F-1,%x" % errno.EINVAL

    def _name(self, word: bytes) -> str:
        path = os.fsdecode(bytes.fromhex(word.decode("ascii")))
        parts = path.split("/")
        if "\0" in path or (parts[1:2] == ["proc"] and len(parts) > 3 and parts[3] not in ("exe", "root", "cwd")):
            raise FileNotFoundError(errno.ENOENT, path)  # of the monitor, and not the guest's
        return self._path(path)

    def _of_guest(self, word: bytes) -> int:
        """A file with /proc/PID[/task/TID]/maps of the guest; -1 for other paths."""
        parts = os.fsdecode(bytes.fromhex(word.decode("ascii"))).split("/")
        if (
            parts[:2] != ["", "proc"]
            or len(parts) not in (4, 6)
            or parts[-1] not in ("maps", "smaps")
            or not parts[2].isdecimal()
        ):
            return -1
        text = self._maps(int(parts[2]), parts[-1] == "smaps") if len(parts[2]) < 12 else None
        if text is None:
            return -1
        fd = os.memfd_create("maps", os.MFD_CLOEXEC)
        os.write(fd, text)
        return fd

    def _fd(self, word: bytes) -> int:
        try:
            return self._open[int(word, 16)]
        except KeyError:
            raise OSError(errno.EBADF, "") from None

    def _do_open(self, words: list[bytes]) -> bytes:
        if int(words[1], 16) & 3:
            raise OSError(errno.EROFS, "")
        number = next((n for n in range(_OPEN) if n not in self._open), None)
        if number is None:
            raise OSError(errno.EMFILE, "")
        fd = self._of_guest(words[0])
        if fd < 0:
            fd = os.open(self._name(words[0]), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EACCES, "")
        self._open[number] = fd
        return b"F%x" % number

    def _do_pread(self, words: list[bytes]) -> bytes:
        data = os.pread(self._fd(words[0]), min(int(words[1], 16), MOST), min(int(words[2], 16), 1 << 62))
        shown = escape(data)
        while len(shown) > MOST - 16:
            data = data[: len(data) * 3 // 4]
            shown = escape(data)
        return b"F%x;%b" % (len(data), shown)

    def _do_close(self, words: list[bytes]) -> bytes:
        os.close(self._fd(words[0]))
        del self._open[int(words[0], 16)]
        return b"F0"

    def _do_fstat(self, words: list[bytes]) -> bytes:
        st = os.fstat(self._fd(words[0]))
        low = 0xFFFFFFFF
        raw = struct.pack(
            ">IIIIIIIQQQIII", st.st_dev & low, st.st_ino & low, st.st_mode, st.st_nlink & low, st.st_uid, st.st_gid,
            st.st_rdev & low, st.st_size, st.st_blksize, st.st_blocks,
            int(st.st_atime) & low, int(st.st_mtime) & low, int(st.st_ctime) & low,
        )  # fmt: skip
        return b"F%x;%b" % (len(raw), escape(raw))

    def _do_readlink(self, words: list[bytes]) -> bytes:
        target = os.fsencode(os.readlink(self._name(words[0])))
        return b"F%x;%b" % (len(target), escape(target))
