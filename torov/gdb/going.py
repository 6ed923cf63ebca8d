"""How a client lets the guest go on: vCont and the older packets, kill, detach. gdb's manual, E.2."""

from __future__ import annotations

import contextlib

from torov.gdb import link as core
from torov.gdb.link import Go, LinkError
from torov.gdb.packet import numbers
from torov.gdb.stops import from_gdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from torov.gdb.session import Session


def actions(session: Session, data: bytes) -> bytes | None:
    goes = []
    for word in data.split(b";"):
        action, _, thread = word.partition(b":")
        pid, tid = session.thread_id(thread) if thread else (-1, -1)
        goes.append(_action(action, pid, tid))
    return _go(session, goes)


def _action(action: bytes, pid: int, tid: int) -> Go:
    letter, rest = action[:1], action[1:]
    if letter not in b"cCsSrt" or not letter:
        raise ValueError(action)
    signal = from_gdb(numbers(rest)[0]) if letter in b"CS" else 0
    low, high = numbers(rest) if letter == b"r" else (0, 0)
    step = core.STAY if letter == b"t" else core.RUN if letter in b"cC" else core.STEP
    return Go(pid, tid, step, signal, low, high)


def old_action(session: Session, letter: bytes, data: bytes) -> bytes | None:
    """c, C, s, S: of the thread that Hc chose."""
    where = b""
    if letter in b"CS":
        data, _, where = data.partition(b";")
    else:
        where, data = data, b""
    pid, tid = session.general if letter in b"sS" and session.chosen[1] <= 0 else session.chosen
    if where:
        regs = session.registers()
        regs.set(16, numbers(where)[0].to_bytes(8, "little"))
        session.store(regs)
    goes = [_action(letter + data, pid if tid > 0 else -1, tid if tid > 0 else -1)]
    if letter in b"sS" and session.chosen[1] <= 0:
        goes.append(Go(-1, -1, core.RUN))
    return _go(session, goes)


def _go(session: Session, goes: list[Go]) -> bytes | None:
    session.world.goes = goes
    for event in list(session.world.pending):  # a thread that stood before a breakpoint runs into it again
        if event.op == core.STOP and event.a in (core.TRAP, core.STEPPED) and session.world.go_of(event.pid, event.tid):
            session.world.pending.remove(event)
    session.running = True
    if any(session.world.go_of(event.pid, event.tid) for event in session.world.pending):
        reply = session.stopped()
        if reply is not None:
            return reply
    session.world.resume(goes)
    return None


def kill(session: Session, data: bytes) -> bytes | None:
    """k, or vKill;PID."""
    pids = [numbers(data)[0]] if data else list(session.world.processes)
    for pid in pids:
        process = session.world.processes.pop(pid)
        with contextlib.suppress(LinkError):  # it may be gone before it has answered
            process.link.ask(core.KILL, pid=pid)
    session.done = not session.world.processes
    return b"OK" if data else None


def detach(session: Session, data: bytes) -> bytes:
    pid = numbers(data[1:])[0] if data.startswith(b";") else session.general[0]
    if len(session.world.processes) == 1 and pid in session.world.processes:
        session.done = True  # a client may come again: close() lets it go on
    else:
        session.world.detach(session.world.processes[pid])
    return b"OK"
