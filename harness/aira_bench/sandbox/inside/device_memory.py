"""Fills most of a GPU's memory with a pattern, or looks for one that a former container left there.

    python3 device_memory.py write PATTERN OUTPUT
    python3 device_memory.py look PATTERN OUTPUT

PATTERN is a number of 32 bits that nobody knows; OUTPUT is the file for what was done, as JSON. The driver is asked
through `libcuda.so.1` itself, so that the image need hold no library of CUDA's. What is written is left
to the driver to free when the process ends.

Not covered: parts of memory that no process can have, caches and registers.
"""

import ctypes
import json
import sys

CHUNK_BYTES, PAGE_BYTES = 256 << 20, 2 << 20
"""Of one allocation at first; and the driver's page in large ones, at whose beginning is looked."""
WINDOW_BYTES = 4096
SPARED_BYTES = 64 << 20
"""What is left free for the driver itself."""
OUT_OF_MEMORY = 2
Device = ctypes.c_uint64


class DriverRefused(Exception):
    """The driver refused a call."""


class Cuda:
    """The driver, with a context on the only device in sight."""

    def __init__(self) -> None:
        """Begin.

        Raises:
            DriverRefused: the driver does not begin, or there is no device.
        """
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise DriverRefused(f"no driver in the container: {error}") from None
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: object) -> None:
        """Call one function; raises DriverRefused with the driver's number unless it answers 0."""
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            raise DriverRefused(f"{name}: CUDA error {status}")

    def memory(self) -> tuple[int, int]:
        """Return bytes that are free, and all bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def take(self, size: int) -> "int | None":
        """Return where `size` bytes lie that are ours now, as they are; None where there are not so many."""
        place = Device()
        status = self._driver.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(size))
        if status == OUT_OF_MEMORY:
            return None
        if status != 0:
            raise DriverRefused(f"cuMemAlloc: CUDA error {status}")
        return place.value

    def take_most(self) -> "list[tuple[int, int]]":
        """Take most of what is free, in pieces: place and size of each."""
        pieces, size = [], CHUNK_BYTES
        left = self.memory()[0] - SPARED_BYTES
        while size >= PAGE_BYTES:
            place = self.take(size) if size <= left else None
            if place is None:
                size //= 2
                continue
            pieces.append((place, size))
            left -= size
        return pieces


def write(cuda: Cuda, pieces: "list[tuple[int, int]]", pattern: int) -> int:
    """Fill the pieces; return how many pages were filled."""
    for place, size in pieces:
        cuda.call("cuMemsetD32_v2", Device(place), ctypes.c_uint(pattern), ctypes.c_size_t(size // 4))
    cuda.call("cuCtxSynchronize")
    return sum(size // PAGE_BYTES for _, size in pieces)


def look(cuda: Cuda, pieces: "list[tuple[int, int]]", pattern: int) -> int:
    """Return how many pages begin with the pattern, many times over."""
    window = ctypes.create_string_buffer(WINDOW_BYTES)
    sought = pattern.to_bytes(4, "little") * 16  # 64 bytes: not there by chance
    found = 0
    for place, size in pieces:
        for offset in range(0, size, PAGE_BYTES):
            cuda.call("cuMemcpyDtoH_v2", window, Device(place + offset), ctypes.c_size_t(WINDOW_BYTES))
            found += sought in window.raw
    return found


def main(task: str, pattern: int) -> "dict[str, object]":
    """Do one of the two; return what came of it."""
    try:
        cuda = Cuda()
        total = cuda.memory()[1]
        pieces = cuda.take_most()
        pages = {"write": write, "look": look}[task](cuda, pieces, pattern)
    except DriverRefused as error:
        return {"error": str(error)}
    return {"total_mib": total >> 20, "taken_mib": sum(size for _, size in pieces) >> 20, "pages": pages}


if __name__ == "__main__":
    done = main(sys.argv[1], int(sys.argv[2]))
    with open(sys.argv[3], "w") as output:  # noqa: PTH123
        output.write(json.dumps(done))
