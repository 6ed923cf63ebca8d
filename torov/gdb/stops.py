"""What the client hears when the guest stops: stop replies (gdb's manual, E.3), and which events it does not want.

Signals have gdb's own numbers (include/gdb/signals.def), which are those of no system.
"""

from __future__ import annotations

from torov.gdb import link as core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.gdb.guests import World
    from torov.gdb.link import Event

_DIFFERENT = {7: 10, 10: 30, 12: 31, 16: 143, 17: 20, 18: 19, 19: 17, 20: 18, 23: 16, 29: 23, 30: 32, 31: 12, 32: 77, 64: 78}
_TO_GDB = {n: _DIFFERENT.get(n, n + 12 if 33 <= n <= 63 else n) for n in range(65)}
_FROM_GDB = {theirs: ours for ours, theirs in _TO_GDB.items()}
TRAP = 5
_WATCH = ("watch", "rwatch", "awatch")


def to_gdb(signal: int) -> int:
    """gdb's number of a signal of Linux."""
    return _TO_GDB.get(signal, 143)


def from_gdb(signal: int) -> int:
    """Linux's number of a signal of gdb's; 0 if there is none."""
    return _FROM_GDB.get(signal, 0)


class Wishes:
    """What the client can hear of.

    Fields:
        multi: thread ids carry the process's; fork, vfork, execs, swbreak, nothing: gdb's names end in -events; no-resumed.
    """

    __slots__ = ("execs", "fork", "multi", "nothing", "swbreak", "vfork")

    def __init__(self, supported: frozenset[bytes] = frozenset()) -> None:
        self.multi, self.swbreak = b"multiprocess+" in supported, b"swbreak+" in supported
        self.fork, self.vfork = b"fork-events+" in supported, b"vfork-events+" in supported
        self.execs, self.nothing = b"exec-events+" in supported, b"no-resumed+" in supported

    def thread(self, pid: int, tid: int) -> str:
        """A thread as packets name it."""
        return f"p{pid:x}.{tid:x}" if self.multi else f"{tid:x}"


class Stop:
    """One stop as it is told.

    Fields:
        text: of the reply, but for the registers; ``T`` replies get the thread behind it.
        pid, tid: who; tid is 0 at the end of a process.
        event: what happened, or None.
    """

    __slots__ = ("event", "pid", "text", "tid")

    def __init__(self, text: str, pid: int, tid: int, event: Event | None = None) -> None:
        self.text, self.pid, self.tid, self.event = text, pid, tid, event


def next_stop(world: World, wishes: Wishes) -> Stop | None:
    """The first event that the client is to hear of; those before it that it cannot are done without it.

    Returns:
        None: there is none, and what stood goes on.
    """
    for event in list(world.pending):
        if event.op == core.STOP and event.pid not in world.processes:
            world.pending.remove(event)
            continue
        if event.op == core.STOP and world.go_of(event.pid, event.tid) is None:
            continue  # it stood already when the others were told to go on
        if event.op == core.STOP and event.a == core.FORK and event.b not in world.births:
            if event.b in world.processes:
                world.pending.remove(event)
                world.again(event)
            continue  # its own word is on the way
        world.pending.remove(event)
        stop = _stop(world, wishes, event)
        if stop is not None:
            return stop
    return None


def _stop(world: World, wishes: Wishes, event: Event) -> Stop | None:
    if event.op == core.END:
        known = world.processes.pop(event.pid, None)
        letter, value = ("W", event.b) if event.a == core.EXITED else ("X", to_gdb(event.b))
        other = bool(world.processes) and not wishes.multi
        text = f"{letter}{value & 0xFF:02x}" + (f";process:{event.pid:x}" if wishes.multi else "")
        return None if known is None and other else Stop(text, event.pid, 0, event)
    if event.op == core.GONE:
        others = any(go.step != core.STAY and go.tid in (-1, *_tids(world, event)) for go in world.goes)
        return Stop("N" if wishes.nothing else f"T{TRAP:02x}", event.pid, 0, event) if not others else None
    if event.op == core.HELLO:
        path = world.processes[event.pid].exe
        return Stop(
            f"T{TRAP:02x}" + (f"exec:{path.encode(errors='surrogateescape').hex()};" if wishes.execs else ""),
            event.pid,
            event.tid,
            event,
        )
    if event.a in (core.FORK, core.VFORK, core.VFORK_DONE):
        return _birth(world, wishes, event)
    if event.a == core.SIGNAL:
        return Stop(f"T{to_gdb(event.b):02x}", event.pid, event.tid, event)
    why = ""
    if event.a == core.TRAP and wishes.swbreak:
        why = "swbreak:;"
    elif event.a == core.WATCHED:
        why = f"{_WATCH[event.b]}:{event.c:x};"
    elif event.a in (core.ENTRY, core.RETURN):
        why = f"syscall_{'entry' if event.a == core.ENTRY else 'return'}:{event.b:x};"
    return Stop(f"T{TRAP:02x}{why}", event.pid, event.tid, event)


def _tids(world: World, event: Event) -> list[int]:
    return [tid for process, tid in world.threads() if (process.pid, tid) != (event.pid, event.tid)]


def _birth(world: World, wishes: Wishes, event: Event) -> Stop | None:
    pid, parent = event.b, world.processes[event.pid]
    wanted = wishes.multi and (wishes.fork if event.a == core.FORK else wishes.vfork)
    if event.a == core.FORK:
        child = world.births.pop(pid)
        world.processes[pid] = child
    elif event.a == core.VFORK:
        child = world.adopt(pid, parent)
    else:
        if wanted:
            return Stop(f"T{TRAP:02x}vforkdone:;", event.pid, event.tid, event)
        world.again(event)
        return None
    if wanted:
        name = "fork" if event.a == core.FORK else "vfork"
        return Stop(f"T{TRAP:02x}{name}:{wishes.thread(pid, pid)};", event.pid, event.tid, event)
    world.detach(child)
    world.again(event)
    return None
