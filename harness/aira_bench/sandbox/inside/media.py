"""The media through which two containers that share a kernel may leave or pass each other bits, and how each is used.

Three kinds. **Marks**: as many places as bits; the sender touches those of its ones, the receiver measures each place.
**Counters**: a number that only grows, whoever adds to it; the sender brings it to a residue, or adds to it in time
slots. **States**: something held or not, read while the sender lives, in time slots.

A medium that is closed raises OSError or ValueError on one side or the other, or carries nothing.

Not covered: coding and time (`channels`). Runs in containers, with the standard library only.
"""

import ctypes
import itertools
import mmap
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

PAGE_BYTES = 4096
MEMORY_BYTES = 160 << 20
SO_COOKIE = 57
FIRST_EVENT, EVENTS = 512, 512
"""Numbers of event counters that are used: smaller ones are the machine's own."""
MAPPED: list[mmap.mmap] = []
"""What is mapped stays so until the process ends."""
LIBRARY = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Marks:
    """Places that are touched or not. `read` gives one number a place, larger or smaller where it was touched."""

    touch: Callable[[Sequence[int]], None]
    read: Callable[[int], list[float]]


@dataclass(frozen=True)
class Counter:
    """A number all containers share. `add` makes it grow a little, and gives what it is now as this side sees it."""

    value: Callable[[], int]
    add: Callable[[], int]
    step: int = 1
    """What one bit's worth is: noise is smaller."""


@dataclass(frozen=True)
class State:
    """Something held while a bit is one. `read` gives a number that depends on what others hold."""

    hold: Callable[[], object]
    release: Callable[[], object]
    read: Callable[[], float]


Medium = Marks | Counter | State


def check(result: int) -> int:
    """Raise the C library's error for a result of -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def event_numbers() -> Marks:
    """Numbers of event counters, which are the machine's: the lowest that nobody holds is given next."""

    def taken() -> Iterator[tuple[int, int]]:
        number = 0
        while number < FIRST_EVENT + EVENTS:
            descriptor = os.eventfd(0)
            with open(f"/proc/self/fdinfo/{descriptor}") as file:  # noqa: PTH123
                number = int(file.read().partition("eventfd-id:")[2].split()[0])
            yield number, descriptor

    def touch(indices: Sequence[int]) -> None:
        for number, descriptor in list(taken()):
            if number - FIRST_EVENT not in indices:
                os.close(descriptor)

    def read(count: int) -> list[float]:
        free = dict(taken())
        for descriptor in free.values():
            os.close(descriptor)
        return [float(FIRST_EVENT + index not in free) for index in range(count)]

    return Marks(touch, read)


def ports(count: int) -> list[Counter]:
    """Return the source port of a connection over loopback, from a table of the machine with an entry a destination."""

    def counter(listener: socket.socket) -> Counter:
        def connect() -> int:
            with socket.socket() as own:
                own.connect(listener.getsockname())
                port = int(own.getsockname()[1])
            listener.accept()[0].close()
            return port // 2

        return Counter(connect, connect, step=8)

    made = []
    for number in range(count):
        listener = socket.create_server(("127.0.0.1", 1100 + number))
        made.append(counter(listener))
    return made


def locked_memory() -> Counter:
    """Return how many pages were ever taken off the kernel's lists to be locked."""
    size_bytes = PAGE_BYTES
    memory = mmap.mmap(-1, size_bytes)
    memory[:] = bytes(size_bytes)
    MAPPED.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def value() -> int:
        wanted = "unevictable_pgs_mlocked "
        return int(next(line for line in lines_of("/proc/vmstat") if line.startswith(wanted)).split()[1])

    def add() -> int:
        size = ctypes.c_size_t(size_bytes)
        for _ in range(16):
            check(LIBRARY.mlock(ctypes.c_void_p(address), size))
            check(LIBRARY.munlock(ctypes.c_void_p(address), size))
        return value()

    return Counter(value, add, step=64)


def inode_numbers() -> Counter:
    """Return the number of the next pipe, from one row for all file systems without a disk; cores take 1,024
    at a time.
    """

    def pipe() -> int:
        reading, writing = os.pipe()
        number = os.fstat(reading).st_ino
        os.close(reading)
        os.close(writing)
        return number

    def value() -> int:
        return max(pipe() for _ in range(1024 + 1))

    def add() -> int:
        return [pipe() for _ in range(256)][-1]

    return Counter(value, add, step=8192)


def cookies() -> Counter:
    """Return the number of the next socket that is asked for one; cores take 4,096 at a time."""

    def number() -> int:
        left, right = socket.socketpair(socket.AF_UNIX)
        with left, right:
            return int.from_bytes(left.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")

    def value() -> int:
        return max(number() for _ in range(4096 + 1))

    def add() -> int:
        return [number() for _ in range(128)][-1]

    return Counter(value, add, step=8192)


def process_numbers() -> Counter:
    """Return the inode of a process descriptor, one row for all processes of the machine."""

    def value() -> int:
        descriptor = os.pidfd_open(os.getpid())
        number = os.fstat(descriptor).st_ino
        os.close(descriptor)
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return number

    return Counter(value, value, step=64)


def pending_signals(most: int = 64) -> State:
    """Signals that wait, limited for each user; a process may lower its own limit."""
    number = signal.SIGRTMIN + 1
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    _, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)

    def send() -> None:
        check(LIBRARY.sigqueue(os.getpid(), int(number), ctypes.c_void_p(0)))

    def drain() -> None:
        while signal.sigtimedwait({number}, 0) is not None:
            pass

    def hold() -> None:
        for _ in range(2 * most):
            send()

    def read() -> float:
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (most, hard))
        try:
            send()
        except BlockingIOError:
            return 1.0
        finally:
            drain()
        return 0.0

    return State(hold, drain, read)


def processes(most: int = 12) -> State:
    """Processes, limited for each user; a process may lower its own limit."""
    children: list[int] = []
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)

    def start() -> None:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)

    def release() -> None:
        while children:
            os.kill(children[-1], signal.SIGKILL)
            os.waitpid(children.pop(), 0)

    def hold() -> None:
        for _ in range(most + 2):
            start()

    def read() -> float:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))
        try:
            start()
        except BlockingIOError:
            return 1.0
        finally:
            release()
        return 0.0

    return State(hold, release, read)


def terminals() -> State:
    """Pseudo-terminals, counted for the machine."""
    held: list[int] = []

    def hold() -> None:
        for _ in range(8):
            held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))

    def release() -> None:
        while held:
            os.close(held.pop())

    def read() -> float:
        return float(_number("/proc/sys/kernel/pty/nr"))

    return State(hold, release, read)


def watches(most: int = 70) -> State:
    """Watchers of files, 128 for each user."""
    held: list[int] = []

    def start() -> None:
        held.append(check(LIBRARY.inotify_init()))

    def release() -> None:
        while held:
            os.close(held.pop())

    def hold() -> None:
        for _ in range(most):
            start()

    def read() -> float:
        try:
            hold()
        except OSError as error:
            if error.errno != 24:  # EMFILE
                raise
            return 1.0
        finally:
            release()
        return 0.0

    return State(hold, release, read)


def free_memory(read_free: Callable[[], float]) -> State:
    """Memory of the machine that nobody uses."""
    held: list[mmap.mmap] = []

    def hold() -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        held.append(mmap.mmap(-1, MEMORY_BYTES, flags=flags))

    def release() -> None:
        while held:
            held.pop().close()

    return State(hold, release, read_free)


def free_by_file() -> float:
    """Free memory in KiB as /proc/meminfo has it."""
    return float(next(line for line in lines_of("/proc/meminfo") if line.startswith("MemFree:")).split()[1])


def free_by_call() -> float:
    """Free memory in pages as the system call sysinfo has it."""
    buffer = (ctypes.c_ulong * 32)()
    check(LIBRARY.sysinfo(ctypes.byref(buffer)))
    return float(buffer[5])


def contention(slot_s: float, core: int) -> State:
    """Time on a core: work gets on more slowly where another works too."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})

    def work() -> float:
        end_s, done = time.monotonic() + slot_s, 0
        while time.monotonic() < end_s:
            done += 1
        return float(done)

    return State(work, lambda: None, work)


def lines_of(path: str) -> Iterator[str]:
    """Lines of a file of the kernel, at most 100,000."""
    with open(path) as file:  # noqa: PTH123
        yield from itertools.islice(file, 100_000)


def _number(path: str) -> int:
    return int(next(lines_of(path)))
