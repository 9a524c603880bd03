"""Ctrl-C, SIGTERM and SIGHUP: said at once, over within seconds; a second one ends the process where it stands.

The first raises KeyboardInterrupt in the main thread, and whatever it waits for ends; a run tells its seeds, and every
wait of theirs listens (`aira_bench.waiting`). What does not listen, such as code of others or an engine that hangs, is
not waited for longer than `GRACE_S`: then the process ends as if a second signal had come. What it leaves, containers
and children, is swept by the next command; what a run had finished is on disk.

Signals are read from a pipe by a thread of its own, so that a main thread that is stuck, or an interrupt that got lost
in a destructor, changes nothing. A signal that was ignored when the process began, as `nohup` does, stays ignored.
Schedulers tell a whole tree of processes to end, in which a parent passes on what it was told: SIGTERM again within
`SAME_ORDER_S` is the same order, and no second one.

Not covered: SIGKILL, and signals of other names, which do what the system says.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import NoReturn

from aira_bench.escaping import one_line

STOPPED = 130
"""The exit status of a command that was stopped."""
GRACE_S = 4.5
"""From the first signal to the end of the process; with that it is over within 5 s."""
SAME_ORDER_S = 1.0
_HANDLER_S = 0.2
"""What the main thread has to say that it is stopping; it does so first, so that its last line is the last."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OVER = b"\0"
LINE_CHARS = 10_000


class Stopping:
    """What the signals of one command do, and what is said then."""

    def __init__(self) -> None:
        """Nothing is changed before `listening`."""
        self.grace_s = GRACE_S
        """From the first signal to the end of the process, whatever hangs."""
        self.is_begun = False
        """Whether a signal has come."""
        self.shown: Callable[[], bool] = lambda: False
        """Says that the command is stopping, where a line of ours on stderr would disturb; returns whether it did."""
        self.way_on: Callable[[], str | None] = lambda: None
        """The command that goes on; None where there is nothing to go on with."""
        self.at_once: Callable[[], None] = lambda: None
        """Ends what was started elsewhere, where this process ends without waiting."""
        self._saying = threading.Lock()

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stopping"]:
        """Handle the signals while the block runs, and be `current`; for the main thread."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        handled = [number for number in _SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        before = {number: signal.signal(number, self._interrupt) for number in handled}
        pipe_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(reading,), name="signals", daemon=True)
        watcher.start()
        token = _CURRENT.set(self)
        try:
            yield self
        finally:
            _CURRENT.reset(token)
            signal.set_wakeup_fd(pipe_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.write(writing, _OVER)
            watcher.join()
            os.close(reading)
            os.close(writing)

    def last_words(self) -> str:
        """Return the line that says that the command was stopped, and how to go on where that can be."""
        way_on = self.way_on()
        return "aira-bench: stopped." + (f" Go on with: {way_on}" if way_on else "")

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self.is_begun:  # what cleans up is not interrupted again
            self.is_begun = True
            self._say_once()
            raise KeyboardInterrupt

    def _watch(self, reading: int) -> None:
        first = _next(reading, None)
        if first == _OVER[0]:
            return
        began_s = time.monotonic()
        again_s = began_s + SAME_ORDER_S if first == signal.SIGTERM else began_s
        news = _next(reading, _HANDLER_S, again_s)
        if news is None:
            self._say_once()  # where the main thread is stuck, nobody has
            news = _next(reading, began_s + self.grace_s - time.monotonic(), again_s)
        if news != _OVER[0]:
            self._end()

    def _say_once(self) -> None:
        """Say that the command is stopping. The lock is never given back; nobody waits for it."""
        if self._saying.acquire(blocking=False) and not self.shown():
            _say("aira-bench: stopping; once more to end at once.")

    def _end(self) -> NoReturn:
        """End the process without waiting for any thread."""
        try:
            _say(self.last_words())
            self.at_once()
        finally:
            os._exit(STOPPED)


_CURRENT: ContextVar[Stopping | None] = ContextVar("stopping", default=None)


def current() -> Stopping:
    """Return what the signals of the command that runs now do; of none, something that no signal reaches."""
    return _CURRENT.get() or Stopping()


def _next(reading: int, within_s: float | None, again_s: float = 0.0) -> int | None:
    """Wait for one of the signals, and return its number; 0 at the end of the block, None after so many seconds.

    SIGTERM counts for nothing before the monotonic clock shows `again_s`.
    """
    ends_s = None if within_s is None else time.monotonic() + within_s
    while True:
        left_s = None if ends_s is None else max(ends_s - time.monotonic(), 0.0)
        if not select.select([reading], [], [], left_s)[0]:
            return None
        number = os.read(reading, 1)[0]
        if number == signal.SIGTERM and time.monotonic() < again_s:
            continue
        if number == _OVER[0] or number in _SIGNALS:  # others with handlers in Python write here too
            return number


def _say(line: str) -> None:
    """Write a line past the buffers, whose locks a thread that is stuck may hold."""
    with contextlib.suppress(OSError):  # a closed terminal sends SIGHUP
        os.write(2, f"{one_line(line, LINE_CHARS)}\n".encode("ascii", "backslashreplace"))
