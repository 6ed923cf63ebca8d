"""Frames of the remote serial protocol: ``$data#checksum``, acknowledgements, the interrupt byte. gdb's manual, E.1.

What a client sends is not trusted: any bytes are read, in any pieces, and no frame is longer than MOST.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 0x8000
"""Bytes of one packet's data, as they are sent: qSupported's PacketSize."""

INTERRUPT, ACK, NAK, BAD = "interrupt", "ack", "nak", "bad"
"""What a reader finds besides packets; BAD: a wrong checksum, or too long."""


class Reader:
    """Makes packets of a stream of bytes.

    Fields:
        pending: bytes that are no whole frame yet; never more than a frame.
    """

    __slots__ = ("_long", "pending")

    def __init__(self) -> None:
        self.pending = bytearray()
        self._long = False

    def feed(self, data: bytes) -> list[bytes | str]:
        """Read on.

        Args:
            data: what came, however cut.

        Returns:
            In order: the unescaped data of each packet, or one of INTERRUPT, ACK, NAK and BAD.
        """
        found: list[bytes | str] = []
        self.pending += data
        at = 0
        while at < len(self.pending):
            byte = self.pending[at]
            if byte != 0x24 and not self._long:
                if byte in _ALONE:
                    found.append(_ALONE[byte])
                at += 1
                continue
            end = self.pending.find(b"#", at)
            if end < 0 or end + 3 > len(self.pending):
                if (len(self.pending) if end < 0 else end) - at > MOST:  # the rest of it is dropped as it comes
                    self._long = True
                    at = len(self.pending) if end < 0 else end
                break
            begin = self.pending.rfind(b"$", at, end)  # half a packet may stand before it
            body, given = bytes(self.pending[begin + 1 : end]), bytes(self.pending[end + 1 : end + 3])
            long = self._long or len(body) > MOST
            at, self._long = end + 3, False
            good = not long and checksum(body) == _hex(given)
            found.append(unescape(body) if good else BAD)
        del self.pending[:at]
        return found


_ALONE = {0x03: INTERRUPT, 0x2B: ACK, 0x2D: NAK}
_ESCAPED = frozenset(b"#$}*")


def _hex(text: bytes) -> int:
    try:
        return int(text, 16) if text.isalnum() else -1
    except ValueError:
        return -1


def checksum(body: bytes) -> int:
    """Of the bytes between ``$`` and ``#``, as they are sent."""
    return sum(body) & 0xFF


def unescape(body: bytes) -> bytes:
    """``}X`` is X with bit 5 turned over; a ``}`` at the end stands for nothing."""
    if b"}" not in body:
        return body
    out, escaped = bytearray(), False
    for byte in body:
        if escaped:
            out.append(byte ^ 0x20)
            escaped = False
        elif byte == 0x7D:
            escaped = True
        else:
            out.append(byte)
    return bytes(out)


def escape(data: bytes) -> bytes:
    """Binary data for a packet."""
    if not _ESCAPED.intersection(data):
        return data
    return b"".join(bytes((0x7D, byte ^ 0x20)) if byte in _ESCAPED else bytes((byte,)) for byte in data)


def frame(data: bytes) -> bytes:
    """A packet as it is sent; data is escaped already."""
    return b"$%b#%02x" % (data, checksum(data))


def numbers(text: bytes, separators: Iterable[str] = ",") -> list[int]:
    """Hexadecimal numbers between separators.

    Raises:
        ValueError: one of them is none, or beyond 64 bits.
    """
    for separator in separators:
        text = text.replace(separator.encode(), b",")
    found = []
    for word in text.split(b","):
        if not word or word.strip(b"0123456789abcdefABCDEF") or len(word) > 16:
            raise ValueError(word)
        found.append(int(word, 16))
    return found
