"""A fault before, or in the middle of, one file operation of this process below a folder.

Every function of `os` and `io` that touches files is replaced, so whatever library asks is met; `test_injector` holds the
replaced ones against the interpreter's own audit events. A point is named by operation, path and how often that pair was
seen before, so that it is found again in a second run although threads interleave otherwise. For processes made by
`fork` alone: nothing is ever put back.

Not covered: reading through a file object (opening it is), memory maps, and files outside the folder.
"""

# ruff: noqa: ANN401 - it stands in for functions that take anything

import builtins
import contextlib
import errno
import fcntl
import glob
import io
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["kill", "half write", "ENOSPC", "EROFS", "EIO", "EMFILE", "signal"]
KINDS: tuple[Kind, ...] = ("kill", "half write", "ENOSPC", "EROFS", "EIO", "EMFILE", "signal")
LASTING = {"ENOSPC", "EROFS"}
"""A disk that is full, or read-only, stays so until the process ends; the others befall one operation."""
_RANDOM = re.compile(r"(?<![0-9a-f])[0-9a-f]{12,}(?![0-9a-f])")
_ENTRY = re.compile(r"((?:^|/)leases/line/)[^/]+")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Point:
    """One operation of a run. `call` has a class after it where one function does several things: `open:create`."""

    call: str
    path: str
    nth: int

    def kinds(self) -> tuple[Kind, ...]:
        """The faults that can befall this operation."""
        return tuple(kind for kind in KINDS if self.call in _BEFALLEN[kind])

    @property
    def only_reads(self) -> bool:
        """Whether nothing on disk is other after it."""
        return self.call in _READING

    def __str__(self) -> str:
        return f"{self.call} {self.path} #{self.nth}"


_GROWING = {"open:create", "write", "mkdir", "link", "symlink", "rename", "fsync"}
_CHANGING = _GROWING | {"open:write", "unlink", "rmdir", "truncate", "chmod", "chown", "utime"}
_READING = {"open:read", "read", "list", "stat", "lock"}
_BEFALLEN: dict[Kind, set[str]] = {
    "kill": _CHANGING | {"lock"},
    "half write": {"write"},
    "ENOSPC": _GROWING,
    "EROFS": _CHANGING - {"write", "fsync"},
    "EIO": _CHANGING | _READING,
    "EMFILE": {"open:create", "open:write", "open:read", "list"},
    "signal": _CHANGING,
}


class Injector:
    """Watches operations below `root`; at `point` the fault happens. Without a point it only takes down what happens."""

    def __init__(self, root: Path, point: Point | None = None, kind: Kind | None = None) -> None:
        self.root, self.point, self.kind = os.path.realpath(root), point, kind
        self.seen: list[Point] = []
        self.struck = False
        self.paused = threading.local()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def before(self, call: str, place: object, folder: int | None = None) -> bool:
        """Called before an operation; true where a write is to stop half way.

        Raises:
            OSError: the fault.
        """
        path = self._path(place, folder)
        if path is None:
            return False
        with self._lock:
            name = generalized(os.path.relpath(path, self.root))
            nth = self._counts[call, name]
            self._counts[call, name] += 1
            here = Point(call, name, nth)
            self.seen.append(here)
            lasts = self.struck and self.kind in LASTING and call in _BEFALLEN[self.kind]
            if here != self.point:
                if lasts:
                    raise OSError(getattr(errno, str(self.kind)), os.strerror(getattr(errno, str(self.kind))), path)
                return False
            self.struck = True
        return self._strike(path, call)

    def _strike(self, path: str, call: str) -> bool:
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
            return False
        if self.kind == "half write" or (self.kind == "ENOSPC" and call == "write"):
            return True
        number = getattr(errno, str(self.kind))
        # What a descriptor's call raises names no file.
        raise OSError(number, os.strerror(number), *([] if call in ("write", "fsync", "read", "lock") else [path]))

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What this thread does inside is a container's doing, and passes unseen."""
        self.paused.now = True
        try:
            yield
        finally:
            self.paused.now = False

    def _path(self, place: object, folder: int | None) -> str | None:
        if getattr(self.paused, "now", False):
            return None
        if isinstance(place, int):
            with contextlib.suppress(OSError):
                return self._below(_REAL["readlink"](f"/proc/self/fd/{place}"))
            return None
        path = os.fsdecode(place)  # type: ignore[call-overload]
        if not path.startswith("/"):
            try:
                path = f"{_REAL['readlink'](f'/proc/self/fd/{folder}') if folder is not None else Path.cwd()}/{path}"
            except OSError:
                return None
        return self._below(os.path.normpath(path))

    def _below(self, path: str) -> str | None:
        return path if path.startswith(f"{self.root}/") else None

    def install(self) -> None:
        """Replace the functions of this process."""
        for name, call in _BY_PATH.items():
            setattr(os, name, self._by_path(getattr(os, name), call))
        os.open = self._open  # type: ignore[assignment]
        os.write = self._write  # type: ignore[assignment]
        os.sendfile = self._sendfile
        fcntl.flock = self._flock  # type: ignore[assignment]
        io.open = builtins.open = self._io_open  # type: ignore[assignment]
        for kind in vars(glob).values():  # from Python 3.13 on they keep the function they were made with
            if isinstance(kind, type) and "scandir" in vars(kind):
                kind.scandir = staticmethod(os.scandir)  # type: ignore[attr-defined]
        for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            known |= {getattr(os, name) for name in (*_BY_PATH, "open") if _REAL[name] in known}

    def _by_path(self, real: Callable[..., Any], call: str) -> Callable[..., Any]:
        def watched(place: Any = ".", *arguments: Any, **options: Any) -> Any:
            folder = options.get("dir_fd", options.get("src_dir_fd"))
            self.before(call, arguments[0] if call in ("link", "symlink") else place, folder)
            return real(place, *arguments, **options)

        return watched

    def _open(self, place: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        self.before(_opening(flags), place, dir_fd)
        return int(_REAL["open"](place, flags, mode, dir_fd=dir_fd))

    def _write(self, descriptor: int, data: bytes) -> int:
        if self.before("write", descriptor):
            return self._half(descriptor, data)
        return int(_REAL["write"](descriptor, data))

    def _sendfile(self, target: int, source: int, offset: int, count: int) -> int:
        if self.before("write", target):
            return self._half(target, os.pread(source, count, offset))
        return int(_REAL["sendfile"](target, source, offset, count))

    def _half(self, descriptor: int, data: bytes) -> int:
        written = int(_REAL["write"](descriptor, bytes(data)[: len(data) // 2]))
        if self.kind == "half write":
            os.kill(os.getpid(), signal.SIGKILL)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    def _flock(self, descriptor: int, how: int) -> None:
        self.before("lock", descriptor if isinstance(descriptor, int) else descriptor.fileno())
        _REAL["flock"](descriptor, how)

    def _io_open(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
        newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        writes = bool(set(mode) & set("wax+"))
        if self._path(file, None) is None or not writes:
            if not isinstance(file, int):
                self.before("open:read" if not writes else "open:create", file)
            return _REAL["io_open"](file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            self.before("open:write" if "r" in mode else "open:create", file)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.injector = self
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline)
        text.mode = mode  # type: ignore[misc]
        return text


class _Raw(io.FileIO):
    """The lowest layer of a file that is written to."""

    injector: Injector

    def write(self, data: Any, /) -> int:
        """Write, or half of it, or fail."""
        if self.injector.before("write", self.fileno()):
            return self.injector._half(self.fileno(), bytes(data))
        return super().write(data) or 0


def generalized(path: str) -> str:
    """A path with its random parts out, and those that name a process."""
    return _RANDOM.sub("*", _ENTRY.sub(r"\1*", path))


def _opening(flags: int) -> str:
    if flags & os.O_CREAT:
        return "open:create"
    return "open:write" if flags & _WRITING else "open:read"


_BY_PATH = {
    "mkdir": "mkdir", "rename": "rename", "replace": "rename", "unlink": "unlink", "remove": "unlink",
    "rmdir": "rmdir", "link": "link", "symlink": "symlink", "truncate": "truncate", "ftruncate": "truncate",
    "chmod": "chmod", "fchmod": "chmod", "chown": "chown", "fchown": "chown", "utime": "utime", "fsync": "fsync",
    "fdatasync": "fsync", "read": "read", "pread": "read", "scandir": "list", "listdir": "list", "stat": "stat",
    "lstat": "stat",
}  # fmt: skip
_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(os, name) for name in (*_BY_PATH, "open", "write", "sendfile", "readlink")
}
_REAL |= {"io_open": io.open, "flock": fcntl.flock}
