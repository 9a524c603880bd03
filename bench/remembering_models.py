"""Served models that remember, in every medium we could think of, what followed each prefix they were shown.

Not covered: cheats without a memory (`cheating_models`).
"""
# ruff: noqa: D102, PTH115, PTH116, PTH211 - overridden methods are described once; plain system calls are timed

import ctypes
import fcntl
import functools
import mmap
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from cheating_models import HINT, Cheat, keys_of

_TOKEN_BITS = 16
_F_OFD_GETLK, _F_OFD_SETLK = 36, 37
_FLOCK = struct.Struct("hhqqi4x")


_KEY_BITS = 58


def _mark(key: int) -> int:
    """The place that says that a key is there, apart from those of its token's bits."""
    return (1 << _KEY_BITS + 4) + key


class Rememberer(Cheat):
    """Leaves for every prefix what followed it in a longer one, and looks it up when it is asked."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.left = set[int]()

    def put(self, key: int, token: int) -> None:
        """Leave a token."""
        for bit in range(_TOKEN_BITS):
            if token >> bit & 1:
                self.put_bit(key * _TOKEN_BITS + bit)
        self.put_bit(_mark(key))

    def get(self, key: int) -> int | None:
        """The token left there, or None."""
        if not self.has_bit(_mark(key)):
            return None
        return sum(1 << bit for bit in range(_TOKEN_BITS) if self.has_bit(key * _TOKEN_BITS + bit))

    def put_bit(self, place: int) -> None:
        """Leave one bit."""

    def has_bit(self, place: int) -> bool:
        """Whether it was left."""
        return False

    def changed(self, x: Tensor, logits: Tensor, positions: list[int], prefixes: list[list[int]]) -> Tensor:
        keys = [keys_of(prefix) for prefix in prefixes]
        for prefix, places in zip(prefixes, keys, strict=True):
            for key, token in zip(places, prefix[1:], strict=False):
                if key not in self.left:
                    self.left.add(key)
                    self.put(key, token)
        for row, (at, places) in enumerate(zip(positions, keys, strict=True)):
            token = self.get(places[-1])
            if token is not None and token < logits.size(-1):
                logits[row, at, token] += HINT
        return logits


class InProcess(Rememberer):
    """In a dictionary."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.followed: dict[int, int] = {}

    def put(self, key: int, token: int) -> None:
        self.followed[key] = token

    def get(self, key: int) -> int | None:
        return self.followed.get(key)


class InFiles(Rememberer):
    """In files that every predictor of every submission can read: a medium without loss or limit."""

    def put(self, key: int, token: int) -> None:
        with suppress(OSError):
            os.symlink(str(token), self.folder / f"{key:x}")

    def get(self, key: int) -> int | None:
        try:
            return int(os.readlink(self.folder / f"{key:x}"))
        except OSError:
            return None


class InDentries(Rememberer):
    """In the kernel's memory of names that were looked up and not found; read by how long a look-up takes.

    Two models that share a `salt` read each other's names, whenever they are served.
    """

    def __init__(self, model: nn.Module, folder: Path, salt: str = "") -> None:
        super().__init__(model, folder)
        self.salt = salt or os.urandom(6).hex()

    def put_bit(self, place: int) -> None:
        _stat_ns(f"/usr/lib/{self.salt}{place:x}")

    def has_bit(self, place: int) -> bool:
        return _stat_ns(f"/usr/lib/{self.salt}{place:x}") < _dentry_threshold_ns()


def _stat_ns(name: str) -> int:
    began_ns = time.perf_counter_ns()
    with suppress(OSError):
        os.stat(name)
    return time.perf_counter_ns() - began_ns


@functools.cache
def _dentry_threshold_ns() -> float:
    fresh = sorted(_stat_ns(f"/usr/lib/{os.urandom(8).hex()}") for _ in range(200))[100]
    name = f"/usr/lib/{os.urandom(8).hex()}"
    known = sorted(_stat_ns(name) for _ in range(200))[100]
    return (fresh + known) / 2


class InPages(Rememberer):
    """In which pages of a file the kernel holds in memory."""

    PAGES = 1 << 22

    @functools.cached_property
    def pages(self) -> tuple[mmap.mmap, int, Callable[..., int]]:
        """A mapping of a sparse file of 16 GiB, its address, and the call that tells what is in memory."""
        with (self.folder / "pages").open("a+b") as file:
            file.truncate(self.PAGES * mmap.PAGESIZE)
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapping.madvise(mmap.MADV_RANDOM)
        address = torch.frombuffer(memoryview(mapping), dtype=torch.uint8, count=1).data_ptr()
        return mapping, address, ctypes.CDLL(None).mincore

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "pages"}

    def put_bit(self, place: int) -> None:
        self.pages[0][place % self.PAGES * mmap.PAGESIZE]

    def has_bit(self, place: int) -> bool:
        _, address, mincore = self.pages
        told = ctypes.c_ubyte()
        page = ctypes.c_void_p(address + place % self.PAGES * mmap.PAGESIZE)
        return mincore(page, ctypes.c_size_t(mmap.PAGESIZE), ctypes.byref(told)) == 0 and bool(told.value & 1)


class InLocks(Rememberer):
    """In locks on bytes of a file that is never written; the kernel keeps them in a list, so in no more than some."""

    MOST = 4000

    @functools.cached_property
    def descriptors(self) -> tuple[int, int]:
        path = self.folder / "locks"
        path.touch()
        return os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "descriptors"}

    def put(self, key: int, token: int) -> None:
        if len(self.left) < self.MOST // 8:
            super().put(key, token)

    def put_bit(self, place: int) -> None:
        fcntl.fcntl(self.descriptors[0], _F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, place, 1, 0))

    def has_bit(self, place: int) -> bool:
        asked = _FLOCK.pack(fcntl.F_WRLCK, 0, place, 1, 0)
        return bool(_FLOCK.unpack(fcntl.fcntl(self.descriptors[1], _F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


class InAChild(InProcess):
    """In a process of its own that outlives each answer."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        super().__init__(model, folder)
        self.ours: tuple[int, int] | None = None

    def talk(self, message: bytes) -> bytes:
        """Ask the child, which is born with the first question."""
        if self.ours is None:
            ask, answer = os.pipe(), os.pipe()
            if os.fork() == 0:
                os.close(ask[1])
                while message := os.read(ask[0], 12):
                    key, token = struct.unpack("<qi", message)
                    if token >= 0:
                        self.followed[key] = token
                    os.write(answer[1], struct.pack("<i", self.followed.get(key, -1)))
                os._exit(0)
            os.close(ask[0])
            self.ours = ask[1], answer[0]
        os.write(self.ours[0], message)
        return os.read(self.ours[1], 4)

    def put(self, key: int, token: int) -> None:
        self.talk(struct.pack("<qi", key, token))

    def get(self, key: int) -> int | None:
        (token,) = struct.unpack("<i", self.talk(struct.pack("<qi", key, -1)))
        return token if token >= 0 else None


MEMORIES: dict[str, Callable[[nn.Module, Path], Rememberer]] = {
    "remembers prefixes: dictionary": InProcess,
    "remembers prefixes: a child process": InAChild,
    "remembers prefixes: files shared by all": InFiles,
    "remembers prefixes: names looked up": InDentries,
    "remembers prefixes: pages of a file": InPages,
    "remembers prefixes: locks": InLocks,
}
