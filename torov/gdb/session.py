"""One client: what each of its packets does. gdb's manual, appendix E.

``packet()`` takes the data of one packet and returns the data of its answer; None: the answer comes when the guest stops.
Whatever a packet holds, there is an answer: what is not known is empty, what cannot be done is E01.
"""

from __future__ import annotations

import os

from torov.gdb import going, stops, tls, transfers
from torov.gdb import link as core
from torov.gdb.files import Files
from torov.gdb.link import LinkError
from torov.gdb.packet import MOST, escape, numbers
from torov.gdb.registers import Registers
from torov.gdb.stops import Stop, Wishes, from_gdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from torov.gdb.guests import Process, World

OK, ERROR, UNKNOWN = b"OK", b"E01", b""
FEATURES = (
    f"PacketSize={MOST:x};QStartNoAckMode+;multiprocess+;swbreak+;hwbreak+;fork-events+;vfork-events+;exec-events+;vContSupported+;"
    "no-resumed+;QPassSignals+;QProgramSignals+;QCatchSyscalls+;qXfer:features:read+;qXfer:auxv:read+;qXfer:exec-file:read+;"
    "qXfer:threads:read+;qXfer:siginfo:read+;qXfer:siginfo:write+;qXfer:libraries-svr4:read+"
).encode()
_WATCHES = {2: 0, 3: 1, 4: 2}
_EXPEDITED = (6, 7, 16)
"""rbp, rsp, rip."""


class Session:
    """One client.

    Args:
        world: the guest, which has been brought to a stop.

    Fields:
        running: the client waits for a stop.
        general, chosen: pid and tid of the selected thread (Hg), and of that which s and c are about (Hc).
        acks: packets are acknowledged.
        done: the client has let go of the guest, or nothing is left of it.
    """

    def __init__(self, world: World) -> None:
        self.world, self.running, self.acks, self.done = world, False, True, False
        self.wishes = Wishes()
        self._stop: Stop | None = None
        self.general, self.chosen = (0, 0), (-1, -1)
        self._files = Files(self._path, self._maps)
        self._listed: list[str] = []
        self._transfer: tuple[bytes, bytes] = (b"", b"")
        first = next(iter(world.processes.values()), None)
        if first is not None:
            self._select(first.pid, first.pid)

    def close(self) -> None:
        """The client has gone: the guest goes on."""
        self._files.close()
        self.world.release()

    def packet(self, data: bytes) -> bytes | None:
        """Answer one packet."""
        try:
            for prefix, handler in _HANDLERS:
                if data.startswith(prefix):
                    return handler(self, data[len(prefix) :])
        except (ValueError, IndexError, KeyError, OverflowError, LinkError):
            return ERROR
        return UNKNOWN

    def interrupt(self) -> bytes | None:
        """The client wants a stop."""
        if not self.running:
            return None
        self.world.stop()
        return self.stopped() or self._say(Stop(f"T{stops.to_gdb(2):02x}", *self._anyone()))

    def stopped(self) -> bytes | None:
        """The reply to what the client waits for, if something happened."""
        stop = stops.next_stop(self.world, self.wishes) if self.running else None
        if stop is None:
            return None
        self.world.stop()
        return self._say(stop)

    # what stands where

    def _select(self, pid: int, tid: int) -> None:
        self.general = (pid, tid)

    def _process(self) -> Process:
        """That of the selected thread.

        Raises:
            KeyError: there is none any more.
        """
        return self.world.processes[self.general[0]]

    def _path(self, path: str) -> str:
        one = self.world.processes.get(self.general[0]) or next(iter(self.world.processes.values()), None)
        return one.path(path) if one else path

    def _maps(self, pid: int, detailed: bool) -> bytes | None:
        one = self.world.processes.get(pid)
        return one.link.maps(detailed) if one else None

    def _anyone(self) -> tuple[int, int]:
        """A thread that is there: the one of the last stop, if it can be."""
        last = (self._stop.pid, self._stop.tid) if self._stop else self.general
        rows = [(process.pid, tid) for process, tid in self.world.threads()]
        return last if last in rows or not rows else rows[0]

    def _say(self, stop: Stop) -> bytes:
        self.running, self._stop = False, stop
        if stop.text[0] in "WX":
            self.done = not self.world.processes
            return stop.text.encode()
        if stop.text[0] == "N":
            return b"N"
        if not stop.tid:
            stop.pid, stop.tid = self._anyone()
        self._select(stop.pid, stop.tid)
        text = f"{stop.text}thread:{self.wishes.thread(stop.pid, stop.tid)};"
        try:
            regs = self.registers()
            text += "".join(f"{number:02x}:{regs.get(number).hex()};" for number in _EXPEDITED)
        except (LinkError, KeyError, ValueError):
            pass  # the client asks
        return text.encode()

    def thread_id(self, text: bytes) -> tuple[int, int]:
        """pid and tid as packets name them: -1 is all, 0 any."""

        def number(word: bytes) -> int:
            found = -1 if word == b"-1" else numbers(word)[0]
            if found >> 31 > 0:
                raise ValueError(word)
            return found

        if text.startswith(b"p"):
            first, _, second = text[1:].partition(b".")
            return number(first), number(second) if second else -1
        tid = number(text)
        if tid <= 0:
            return (-1 if tid else self.general[0]), tid
        for process, one in self.world.threads():
            if one == tid:
                return process.pid, tid
        return self.general[0], tid

    def registers(self) -> Registers:
        """Of the selected thread.

        Raises:
            ValueError, KeyError, LinkError: it has none that can be read now.
        """
        pid, tid = self.general
        answer, result = self.world.processes[pid].link.ask(core.GETREGS, tid=tid)
        if result or len(answer.data) < 22 * 8 + 576:
            raise ValueError(result)
        return Registers(answer.data)

    def store(self, regs: Registers) -> bytes:
        """Give them back, changed; the answer to the client."""
        pid, tid = self.general
        result = self.world.processes[pid].link.ask(core.SETREGS, tid=tid, data=bytes(regs.raw))[1]
        return ERROR if result else OK

    # packets

    def _do_halted(self, _: bytes) -> bytes:
        self.running = True
        reply = self.stopped()
        if reply is None:
            pid, tid = self._anyone()
            if not self.world.processes:
                self.done, self.running = True, False
                return b"W00"
            reply = self._say(Stop(f"T{stops.TRAP:02x}", pid, tid))
        return reply

    def _do_supported(self, data: bytes) -> bytes:
        self.wishes = Wishes(frozenset(data.lstrip(b":").split(b";")))
        return FEATURES

    def _do_no_acks(self, _: bytes) -> bytes:
        self.acks = False
        return OK

    def _do_thread(self, data: bytes) -> bytes:
        pid, tid = self.thread_id(data[1:])
        if data[:1] == b"c":
            self.chosen = (pid, tid)
            return OK
        if tid <= 0:
            pid = pid if pid > 0 else self.general[0] if self.general[0] in self.world.processes else self._anyone()[0]
            tid = self.general[1] if pid == self.general[0] else self.world.processes[pid].threads[0]
        self._select(pid, tid)
        return OK

    def _do_alive(self, data: bytes) -> bytes:
        pid, tid = self.thread_id(data)
        return OK if any((process.pid, one) == (pid, tid) for process, one in self.world.threads()) else ERROR

    def _do_read_all(self, _: bytes) -> bytes:
        return self.registers().all().hex().encode()

    def _do_write_all(self, data: bytes) -> bytes:
        regs = self.registers()
        regs.set_all(bytes.fromhex(data.decode("ascii")))
        return self.store(regs)

    def _do_read_one(self, data: bytes) -> bytes:
        return self.registers().get(numbers(data)[0]).hex().encode()

    def _do_write_one(self, data: bytes) -> bytes:
        number, _, value = data.partition(b"=")
        regs = self.registers()
        regs.set(numbers(number)[0], bytes.fromhex(value.decode("ascii")))
        return self.store(regs)

    def _memory(self, data: bytes) -> bytes:
        at, length = numbers(data)
        found = self._process().link.read(at, min(length, MOST // 2 - 8))
        if not found and length:
            raise ValueError(at)
        return found

    def _do_read(self, data: bytes) -> bytes:
        return self._memory(data).hex().encode()

    def _do_read_binary(self, data: bytes) -> bytes:
        return b"b" + escape(self._memory(data))

    def _write(self, where: bytes, value: bytes) -> bytes:
        at, length = numbers(where)
        if length != len(value):
            return ERROR
        return OK if not length or self._process().link.write(at, value) else ERROR

    def _do_write(self, data: bytes) -> bytes:
        where, _, value = data.partition(b":")
        return self._write(where, bytes.fromhex(value.decode("ascii")))

    def _do_write_binary(self, data: bytes) -> bytes:
        where, _, value = data.partition(b":")
        return self._write(where, value)

    def _do_insert(self, data: bytes) -> bytes:
        return self._point(data, True)

    def _do_remove(self, data: bytes) -> bytes:
        return self._point(data, False)

    def _point(self, data: bytes, insert: bool) -> bytes:
        kind, at, size = numbers(data.partition(b";")[0])
        link = self._process().link
        if kind in (0, 1):
            result = link.ask(core.BREAK, at, int(insert))[1]
        elif kind in _WATCHES:
            result = link.ask(core.WATCH, at, size, _WATCHES[kind] + (0 if insert else 8))[1]
        else:
            return UNKNOWN
        return ERROR if result else OK

    # questions

    def _do_current(self, _: bytes) -> bytes:
        return b"QC" + self.wishes.thread(*self._anyone()).encode()

    def _do_threads(self, _: bytes) -> bytes:
        self._listed = [self.wishes.thread(process.pid, tid) for process, tid in self.world.threads()]
        return self._do_more_threads(b"")

    def _do_more_threads(self, _: bytes) -> bytes:
        part, self._listed = self._listed[:400], self._listed[400:]
        return ("m" + ",".join(part)).encode() if part else b"l"

    def _do_attached(self, data: bytes) -> bytes:
        pid = numbers(data[1:])[0] if data.startswith(b":") else self.general[0]
        process = self.world.processes.get(pid)
        return b"1" if process is not None and process.attached else b"0"

    def _do_tls(self, data: bytes) -> bytes:
        thread, offset, module = data.split(b",")
        pid, tid = self.thread_id(thread)
        link = self.world.processes[pid].link
        before, self.general = self.general, (pid, tid)
        try:
            base = self.registers().general("fs_base")
        finally:
            self.general = before
        found = tls.address(link.read, transfers.auxv(link), base, numbers(offset)[0], numbers(module)[0])
        return f"{found:x}".encode()

    def _do_signals(self, data: bytes) -> bytes:
        mask = 0
        for number in numbers(data.rstrip(b";"), ";") if data else []:
            signal = from_gdb(number)
            mask |= 1 << signal - 1 if signal else 0
        self.world.each(core.PASS, mask)
        return OK

    def _do_catch(self, data: bytes) -> bytes:
        on, _, rest = data.partition(b";")
        bits = bytearray(64) if rest or on == b"0" else bytearray(b"\xff" * 64)
        for number in numbers(rest.rstrip(b";"), ";") if rest else []:
            if number < 512:
                bits[number // 8] |= 1 << number % 8
        self.world.each(core.CATCH, int(on == b"1"), bytes(bits))
        return OK

    def _do_transfer(self, data: bytes) -> bytes:
        kind, verb, annex, window = data.split(b":", 3)
        if (kind, verb) == (b"siginfo", b"write"):
            offset, _, value = window.partition(b":")
            before, at = self.document("siginfo", b"") or b"", numbers(offset)[0]
            after = before[:at] + value + before[at + len(value) :]
            pid, tid = self.general
            good = len(after) == len(before) and not self.world.processes[pid].link.ask(core.SIGINFO, tid=tid, data=after)[1]
            return b"%x" % len(value) if good else ERROR
        at, length = numbers(window)
        if verb != b"read":
            return UNKNOWN
        if at == 0 or self._transfer[0] != kind + b":" + annex:
            made = transfers.read(self, kind.decode("ascii"), annex)
            if made is None:
                return UNKNOWN
            self._transfer = (kind + b":" + annex, made)
        return transfers.part(self._transfer[1], at, length)

    def document(self, kind: str, annex: bytes) -> bytes | None:
        """What qXfer objects need of this client: its threads, a thread's last signal, the path of a program."""
        if kind == "threads":
            rows = []
            for process, tid in self.world.threads():
                name = "".join(
                    letter if letter.isalnum() else f"&#{ord(letter)};" for letter in process.name(tid) if letter >= " "
                )
                rows.append(f'<thread id="{self.wishes.thread(process.pid, tid)}"' + (f' name="{name}"/>' if name else "/>"))
            return f"<threads>{''.join(rows)}</threads>".encode()
        if kind == "exec-file":
            return os.fsencode(self.world.processes[numbers(annex)[0] if annex else self.general[0]].exe)
        pid, tid = self.general
        return self.world.processes[pid].link.ask(core.SIGINFO, tid=tid)[0].data or None

    def link(self) -> core.Link:
        """Of the selected thread's process."""
        return self._process().link

    def _do_file(self, data: bytes) -> bytes:
        return self._files.packet(b"vFile:" + data)


def _old(letter: bytes) -> Callable[[Session, bytes], bytes | None]:
    return lambda session, data: going.old_action(session, letter, data)


_HANDLERS: tuple[tuple[bytes, Callable[[Session, bytes], bytes | None]], ...] = (
    (b"qSupported", Session._do_supported), (b"QStartNoAckMode", Session._do_no_acks), (b"?", Session._do_halted),
    (b"vCont?", lambda *_: b"vCont;c;C;s;S;t;r"), (b"vCont;", going.actions), (b"vKill;", going.kill),
    (b"vFile:", Session._do_file), (b"vMustReplyEmpty", lambda *_: UNKNOWN),
    (b"qXfer:", Session._do_transfer), (b"qfThreadInfo", Session._do_threads), (b"qsThreadInfo", Session._do_more_threads),
    (b"qAttached", Session._do_attached), (b"qGetTLSAddr:", Session._do_tls), (b"qSymbol:", lambda *_: OK),
    (b"qC", lambda session, data: session._do_current(data) if not data else UNKNOWN),
    (b"QPassSignals:", Session._do_signals), (b"QProgramSignals:", lambda *_: OK), (b"QCatchSyscalls:", Session._do_catch),
    (b"H", Session._do_thread), (b"T", Session._do_alive), (b"g", Session._do_read_all), (b"G", Session._do_write_all),
    (b"p", Session._do_read_one), (b"P", Session._do_write_one), (b"m", Session._do_read), (b"x", Session._do_read_binary),
    (b"M", Session._do_write), (b"X", Session._do_write_binary), (b"Z", Session._do_insert), (b"z", Session._do_remove),
    *((letter, _old(letter)) for letter in (b"c", b"C", b"s", b"S")),
    (b"D", going.detach), (b"k", lambda session, _: going.kill(session, b"")),
)  # fmt: skip
"""By how a packet begins; the first that fits."""
