"""Media that are files: what two containers tell each other by names, pages, locks and waiters of a file both reach.

Not covered: media of the kernel that need no file, and what the kinds of media are (`media`).
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import random
import resource
import signal
import struct
import threading
import time
from collections.abc import Iterator, Sequence

from aira_bench.sandbox.inside.media import LIBRARY, MAPPED, PAGE_BYTES, Marks, check, lines_of

STRIDE_PAGES = 16
"""Pages from one bit to the next: the kernel maps as many around a fault."""
NAMES_A_BIT = 6
F_GETLK, F_OFD_SETLK = 5, 37
_LOCK = "hhqqi4x"
FUTEX, FUTEX_WAIT, FUTEX_WAKE = 202, 0, 1
_OPEN: list[int] = []
"""What is locked stays so until the process ends."""


def names(folder: str, key: str) -> Marks:
    """Names that are not there: looking one up leaves a note of that in the folder's file system."""
    generator = random.Random(key)
    token = f"{generator.getrandbits(48):012x}"

    def place(index: int) -> Iterator[str]:
        return (f"{folder}/{token}-{index}-{copy}" for copy in range(NAMES_A_BIT))

    def look_up(path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.stat(path)  # noqa: PTH116

    def touch(indices: Sequence[int]) -> None:
        os.stat(folder)  # noqa: PTH116
        for index in indices:
            for path in place(index):
                look_up(path)

    def read(count: int) -> list[float]:
        os.stat(folder)  # noqa: PTH116
        taken = []
        for index in range(count):
            each = []
            for path in place(index):
                start_ns = time.perf_counter_ns()
                look_up(path)
                each.append(time.perf_counter_ns() - start_ns)
            taken.append(float(sorted(each)[NAMES_A_BIT // 2]))
        return taken

    return Marks(touch, read)


def waiters(path: str) -> Marks:
    """Places of a file at which somebody waits; whoever maps it too may wake him, and is told how many woke."""
    memory = _mapped_at(path)

    def wait(address: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # other media send some
        value = ctypes.c_uint32.from_address(address).value
        LIBRARY.syscall(FUTEX, ctypes.c_void_p(address), FUTEX_WAIT, value, None, None, 0)

    def touch(indices: Sequence[int]) -> None:
        for index in indices:
            threading.Thread(target=wait, args=(memory + 4 * index,), daemon=True).start()

    def read(count: int) -> list[float]:
        places = (ctypes.c_void_p(memory + 4 * index) for index in range(count))
        return [float(check(LIBRARY.syscall(FUTEX, place, FUTEX_WAKE, 1, None, None, 0))) for place in places]

    return Marks(touch, read)


def _mapped_at(path: str) -> int:
    """The address of a file's first page, mapped to the process's end."""
    descriptor = os.open(path, os.O_RDONLY)
    LIBRARY.mmap.restype = ctypes.c_void_p
    arguments = (ctypes.c_size_t(PAGE_BYTES), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(0))
    address = LIBRARY.mmap(None, *arguments)
    os.close(descriptor)
    assert isinstance(address, int)
    return address


def pages(path: str) -> Marks:
    """Pages of a file that nobody has read: one that is in memory costs no major fault."""

    def mapped() -> tuple[int, mmap.mmap]:
        descriptor = os.open(path, os.O_RDONLY)
        size = os.fstat(descriptor).st_size
        memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        memory.madvise(mmap.MADV_RANDOM)
        return descriptor, memory

    def touch(indices: Sequence[int]) -> None:
        descriptor, memory = mapped()
        for index in indices:
            memory[index * STRIDE_PAGES * PAGE_BYTES]
        memory.close()
        os.close(descriptor)

    def read(count: int) -> list[float]:
        descriptor, memory = mapped()
        faults = []
        for index in range(count):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
            memory[index * STRIDE_PAGES * PAGE_BYTES]
            faults.append(float(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before))
        memory.close()
        os.close(descriptor)
        return faults

    return Marks(touch, read)


def directories(paths: Sequence[str]) -> Marks:
    """Files of folders whose blocks nobody has read since caches were dropped: the first look takes the disk's time."""

    def touch(indices: Sequence[int]) -> None:
        for index in indices:
            os.stat(paths[index])  # noqa: PTH116

    def read(count: int) -> list[float]:
        taken = []
        for index in range(count):
            start_ns = time.perf_counter_ns()
            os.stat(paths[index])  # noqa: PTH116
            taken.append(float(time.perf_counter_ns() - start_ns))
        return taken

    return Marks(touch, read)


def mapped_pages(path: str) -> Marks:
    """Pages of a file that another process maps: the kernel says of each page whether it is mapped once."""

    def mapped() -> mmap.mmap:
        descriptor = os.open(path, os.O_RDONLY)
        memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size, prot=mmap.PROT_READ)
        os.close(descriptor)
        return memory

    def touch(indices: Sequence[int]) -> None:
        memory = mapped()
        for index in indices:
            memory[index * STRIDE_PAGES * PAGE_BYTES]
        MAPPED.append(memory)  # until the process ends

    def read(count: int) -> list[float]:
        memory = mapped()
        for index in range(count):
            memory[index * STRIDE_PAGES * PAGE_BYTES]
        address = next(
            int(line.partition("-")[0], 16)
            for line in lines_of("/proc/self/maps")
            if line.rstrip().endswith(path) and " r--s " in line
        )
        with open("/proc/self/pagemap", "rb", buffering=0) as file:  # noqa: PTH123
            exclusive = []
            for index in range(count):
                file.seek(8 * (address // PAGE_BYTES + index * STRIDE_PAGES))
                (entry,) = struct.unpack("Q", file.read(8))
                exclusive.append(float(entry >> 56 & 1))
        memory.close()
        return exclusive

    return Marks(touch, read)


def flocks(folder: str) -> Marks:
    """Locks of whole files, one a bit, which a reader may take on files that it cannot write."""

    def touch(indices: Sequence[int]) -> None:
        for index in indices:
            _OPEN.append(os.open(f"{folder}/{index}", os.O_RDONLY))
            fcntl.flock(_OPEN[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)

    def read(count: int) -> list[float]:
        seen = []
        for index in range(count):
            own = os.open(f"{folder}/{index}", os.O_RDONLY)
            try:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
                seen.append(0.0)
            except BlockingIOError:
                seen.append(1.0)
            finally:
                os.close(own)
        return seen

    return Marks(touch, read)


def record_locks(path: str) -> Marks:
    """Locks of single bytes, one a bit, which a reader may take on a file that it cannot write, and ask for."""
    own = os.open(path, os.O_RDONLY)

    def touch(indices: Sequence[int]) -> None:
        _OPEN.append(own)
        for index in indices:
            fcntl.fcntl(own, F_OFD_SETLK, struct.pack(_LOCK, fcntl.F_RDLCK, os.SEEK_SET, index, 1, 0))

    def read(count: int) -> list[float]:
        seen = []
        for index in range(count):
            asked = fcntl.fcntl(own, F_GETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, index, 1, 0))
            seen.append(float(struct.unpack(_LOCK, asked)[0] != fcntl.F_UNLCK))
        return seen

    return Marks(touch, read)
