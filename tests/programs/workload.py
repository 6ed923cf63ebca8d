"""A guest: what programs in Python do all day, each step with its outcome on a line, an error by its name.

python3 workload.py         in an empty directory; prints nothing that differs from run to run
"""

from __future__ import annotations

import array
import asyncio
import concurrent.futures
import contextlib
import errno
import fcntl
import mmap
import os
import queue
import resource
import select
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

STEPS: list[Callable[[], object]] = []


def step(function: Callable[[], object]) -> Callable[[], object]:
    STEPS.append(function)
    return function


@step
def os_files() -> object:
    os.makedirs("a/b/c")
    Path("a/x").write_text("hello")
    os.link("a/x", "a/y")
    os.symlink("x", "a/z")
    os.rename("a/y", "a/b/y")
    os.chmod("a/x", 0o640)
    os.truncate("a/x", 3)
    os.utime("a/x", (1, 2))
    found = os.stat("a/x")
    names = sorted(os.path.join(top, name) for top, dirs, files in os.walk("a") for name in dirs + files)
    return (names, found.st_nlink, stat.filemode(found.st_mode), found.st_size, found.st_mtime, os.readlink("a/z"),
            os.access("a/x", os.R_OK), os.path.realpath("a/z") == os.path.realpath("a/x"))  # fmt: skip


@step
def os_more_files() -> object:
    with open("big", "wb+", buffering=0) as file, open("copy", "wb+", buffering=0) as copy:
        file.write(b"0123456789" * 1000)
        done = [os.copy_file_range(file.fileno(), copy.fileno(), 5000, 0), os.sendfile(copy.fileno(), file.fileno(), 5000, 5000)]
        os.fsync(copy.fileno())
        os.posix_fallocate(copy.fileno(), 0, 20000)
        done += [os.pwrite(file.fileno(), b"xx", 7), os.lseek(file.fileno(), 0, os.SEEK_END), os.fstat(copy.fileno()).st_size]
    shutil.rmtree("a")
    return done, sorted(os.listdir("."))


@step
def os_processes() -> object:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"from the child")
        os._exit(7)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), os.read(reader, 100), os.getpid() > 1, os.nice(0)


@step
def os_descriptors() -> object:
    event = os.eventfd(3)
    memory = os.memfd_create("name")
    os.write(memory, b"abc")
    copy = os.dup2(memory, 50)
    os.set_inheritable(copy, False)
    os.closerange(60, 70)
    return os.eventfd_read(event), os.pread(copy, 10, 1), os.get_inheritable(copy), os.isatty(0)


@step
def os_attributes() -> object:
    Path("attr").write_text("")
    os.setxattr("attr", "user.name", b"value")
    return os.getxattr("attr", "user.name"), os.listxattr("attr")


@step
def os_identity() -> object:
    os.umask(0o27)
    Path("masked").write_text("")
    os.setgroups(os.getgroups())
    os.setresuid(-1, os.getuid(), -1)
    return oct(os.stat("masked").st_mode), os.getresuid() == os.getresuid(), os.sched_getscheduler(0), os.uname().sysname


@step
def os_schedule() -> object:
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    os.sched_yield()
    return os.getpriority(os.PRIO_PROCESS, 0), resource.getrlimit(resource.RLIMIT_CORE)[0] >= -1, len(os.getrandom(8))


@step
def refused_by_most() -> object:
    found = []
    for call in (lambda: os.chroot("/nonexistent"), lambda: os.mknod("node", stat.S_IFIFO | 0o600),
                 lambda: os.pidfd_open(os.getpid()), lambda: time.clock_settime(99, 0.0), lambda: os.setpriority(9, 0, 0),
                 lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)):  # fmt: skip
        try:
            call()
            found.append("ok")
        except OSError as error:
            found.append(errno.errorcode[error.errno or 0])
    return found


@step
def temporary_files() -> object:
    with tempfile.NamedTemporaryFile(dir=".") as named, tempfile.TemporaryFile(dir=".") as plain:
        named.write(b"x" * 10)
        named.flush()
        plain.write(b"y" * 20)
        plain.seek(0)
        found = [os.path.getsize(named.name), len(plain.read())]
    with tempfile.TemporaryDirectory(dir=".") as directory:
        Path(directory, "f").write_text("z")
        found.append(len(os.listdir(directory)))
    with tempfile.SpooledTemporaryFile(max_size=10, dir=".") as spooled:
        spooled.write(b"0" * 100)
        found.append(spooled.tell())
    return found, os.path.exists(directory)


@step
def memory_and_locks() -> object:
    with open("mapped", "wb+") as file:
        file.truncate(8192)
        with mmap.mmap(file.fileno(), 8192) as shared:
            shared[4096:4101] = b"there"
            shared.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.seek(4096)
        found = file.read(5)
    with mmap.mmap(-1, 1 << 20) as private:
        private.madvise(mmap.MADV_DONTNEED)
        return found, private[100], len(private)


@step
def signals() -> object:
    seen: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    info = signal.sigtimedwait({signal.SIGUSR1}, 5)
    return seen, info and info.si_signo, info and info.si_pid == os.getpid()


@step
def clocks() -> object:
    before = time.monotonic()
    time.sleep(0.01)
    return time.monotonic() - before >= 0.01, time.process_time() > 0, time.clock_getres(time.CLOCK_MONOTONIC) <= 1


@step
def subprocess_run() -> object:
    done = subprocess.run(["tr", "a-z", "A-Z"], input=b"words\n", capture_output=True)
    shell = subprocess.run("echo $0 $VALUE; exit 3", shell=True, capture_output=True, env={"VALUE": "5"})
    return done.stdout, shell.stdout, shell.returncode


@step
def subprocess_pipes() -> object:
    first = subprocess.Popen(["seq", "1", "1000"], stdout=subprocess.PIPE)
    second = subprocess.Popen(["grep", "-c", "7"], stdin=first.stdout, stdout=subprocess.PIPE)
    assert first.stdout
    first.stdout.close()
    return second.communicate()[0], first.wait(), second.returncode


@step
def subprocess_ends() -> object:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    sleeper.terminate()
    status = sleeper.wait(20)
    try:
        subprocess.run(["sleep", "60"], timeout=0.05)
    except subprocess.TimeoutExpired:
        status -= 1000
    try:
        subprocess.run(["./nonexistent"])
    except FileNotFoundError as error:
        return status, error.errno
    return status


@step
def threads() -> object:
    total, lock, barrier = [0], threading.Lock(), threading.Barrier(6)
    work: queue.Queue[int] = queue.Queue()

    def body() -> None:
        barrier.wait(20)
        for _ in range(200):
            with lock:
                total[0] += 1
        work.put(threading.get_ident())

    made = [threading.Thread(target=body) for _ in range(6)]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    return total, len({work.get() for _ in made}), threading.active_count()


@step
def pool() -> object:
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        return list(executor.map(lambda n: n * n, range(20)))


@step
def sockets_in_pairs() -> object:
    left, right = socket.socketpair()
    reader, writer = os.pipe()
    left.sendmsg([b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]))])
    text, extra, _, _ = right.recvmsg(10, 100)
    os.write(array.array("i", extra[0][2])[0], b"through the copy")
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    peer = right.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    left.shutdown(socket.SHUT_WR)
    return text, os.read(reader, 100), len(peer), right.recv(10), left.type == socket.SOCK_STREAM


@step
def sockets_by_tcp() -> object:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        served, _ = server.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with served, client:
            served.sendall(b"a" * 50000)
            served.shutdown(socket.SHUT_WR)
            got = b"".join(iter(lambda: client.recv(65536), b""))
            same = client.getpeername() == server.getsockname()
    refused = socket.socket()
    refused.settimeout(5)
    return len(got), same, refused.connect_ex(("127.0.0.1", 1))


@step
def sockets_of_other_kinds() -> object:
    here, there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    there.sendto(b"datagram", here.getsockname())
    found: list[object] = [here.recvfrom(100)[0]]
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket")
        unix.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("socket")
            found.append(unix.accept()[1])
    for family, kind, protocol in ((socket.AF_INET6, socket.SOCK_STREAM, 0), (socket.AF_NETLINK, socket.SOCK_RAW, 0),
                                   (socket.AF_NETLINK, socket.SOCK_RAW, 9)):  # fmt: skip
        try:
            socket.socket(family, kind, protocol).close()
            found.append("ok")
        except OSError as error:
            found.append(errno.errorcode[error.errno or 0])
    return found


@step
def waiting() -> object:
    reader, writer = os.pipe()
    epoll, poll = select.epoll(), select.poll()
    epoll.register(reader, select.EPOLLIN)
    poll.register(reader, select.POLLIN)
    nothing = select.select([reader], [], [], 0), poll.poll(1), epoll.poll(0.001)
    os.write(writer, b"x")
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ, "data")
        chosen = [key.data for key, _ in selector.select(5)]
    return nothing, len(select.select([reader], [], [], 5)[0]), len(poll.poll(5000)), len(epoll.poll(5)), chosen


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


async def talk() -> object:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(text)
        answer = await reader.read()
        writer.close()
        return answer

    answers = await asyncio.gather(*(ask(b"client %d\n" % number) for number in range(10)))
    server.close()
    return answers


@step
def asyncio_streams() -> object:
    return asyncio.run(talk())


async def child() -> object:
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(b"through cat"), 20)
    return out, process.returncode


@step
def asyncio_processes() -> object:
    return asyncio.run(child())


async def others() -> object:
    thread = await asyncio.to_thread(threading.current_thread)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
    return thread is not threading.current_thread(), await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0, 2))


@step
def asyncio_threads_and_times() -> object:
    return asyncio.run(others())


def main() -> None:
    for function in STEPS:
        try:
            said = repr(function())
        except BaseException as error:
            name = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else str(error)
            said = f"{type(error).__name__} {name}"
        sys.stdout.write(f"{function.__name__}: {said}\n")
        sys.stdout.flush()


main()
