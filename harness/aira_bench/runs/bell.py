"""Tells a process that waits when a file of a folder is closed: a lease came back, in whatever way its holder ended.

The kernel says so (inotify(7)), so nobody looks again and again. Where it cannot, a bell rings at every tick.

Not covered: what has changed; who hears the bell looks.
"""

import contextlib
import ctypes
import os
import select
import struct
import threading
import time
from pathlib import Path

_CLOSED_UNWRITTEN = 0x10
"""IN_CLOSE_NOWRITE of <sys/inotify.h>."""
_OF_FOLDER = 0x40000000
"""IN_ISDIR."""
_EVENT = struct.Struct("iIII")
"""inotify_event: watch, mask, cookie, bytes of the name that follows."""
_SETTLES_S = 0.01
"""The kernel tells of the closing of a dead process's file a moment before it takes the lock back."""
_TICK_S = 0.2
_FILE = "bell"


class Bell:
    """Rings when any file right in a folder is closed that was open for reading."""

    def __init__(self, folder: Path) -> None:
        """Listen from the first wait on, which ends at once, where the kernel has room for one more that listens."""
        self._folder = folder
        self._in_use = threading.Lock()
        self._events: int | None = None
        self._is_new = True

    def wait(self, seconds: float) -> bool:
        """Wait for at most so long; whether it rang. For one thread at a time."""
        with self._in_use:
            if self._is_new:
                self._is_new, self._events = False, _listen(self._folder)
                return True
            if self._events is None:
                time.sleep(min(seconds, _TICK_S))
                return True
            poll = select.poll()
            poll.register(self._events, select.POLLIN)
            if not poll.poll(1000 * seconds):
                return False
            time.sleep(_SETTLES_S)
            rang = False
            with contextlib.suppress(BlockingIOError):
                while events := os.read(self._events, 1 << 16):
                    rang = rang or _has_file(events)
            return rang

    def ring(self) -> None:
        """Let all hear it who listen to the folder."""
        with contextlib.suppress(OSError):  # they look by themselves after a while
            os.close(os.open(self._folder / _FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))

    def close(self) -> None:
        """Listen no more, once nobody waits. Safe to call twice."""
        with self._in_use:
            events, self._events = self._events, None
            if events is not None:
                os.close(events)


def _has_file(events: bytes) -> bool:
    """Whether one of the kernel's events is of a file: folders are closed by whoever has listed them."""
    at = 0
    while at < len(events):
        _, mask, _, name_bytes = _EVENT.unpack_from(events, at)
        if not mask & _OF_FOLDER:
            return True
        at += _EVENT.size + int(name_bytes)
    return False


def _listen(folder: Path) -> int | None:
    """A descriptor that can be read when something was closed; None where there is no such thing."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        events = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except AttributeError:
        return None
    if events < 0:
        return None
    if libc.inotify_add_watch(events, os.fsencode(folder), _CLOSED_UNWRITTEN) < 0:
        os.close(events)
        return None
    return events
