"""Time that passes only where everybody waits, and what machines think that it is."""

import heapq
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


class PlayedTime:
    """Threads that run one at a time, each until it waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.switches = 0
        self.failure: BaseException | None = None
        self._waiting: list[tuple[float, int, threading.Lock]] = []
        self._number = 0
        self._over = threading.Event()

    def start(self, work: Callable[[], None], at_s: float) -> None:
        """Have a thread begin at a moment."""
        lock = self._queued(at_s)

        def run() -> None:
            lock.acquire()
            try:
                work()
            except BaseException as error:
                self.failure = self.failure or error
            self._next()

        threading.Thread(target=run, daemon=True).start()

    def run(self) -> None:
        """Run until no thread waits any more."""
        self._next()
        self._over.wait()
        if self.failure is not None:
            raise self.failure

    def sleep(self, seconds: float) -> None:
        """Let the others run for so many seconds."""
        wakes_s = self.now_s + max(seconds, 0.0)
        if self._waiting and self._waiting[0][0] < wakes_s:
            lock = self._queued(wakes_s)
            self._next()
            lock.acquire()
        else:
            self.now_s = wakes_s

    def _queued(self, at_s: float) -> threading.Lock:
        lock = threading.Lock()
        lock.acquire()
        self._number += 1
        heapq.heappush(self._waiting, (at_s, self._number, lock))
        return lock

    def _next(self) -> None:
        if not self._waiting:
            self._over.set()
            return
        self.switches += 1
        self.now_s, _, lock = heapq.heappop(self._waiting)
        lock.release()


@dataclass(frozen=True)
class SkewedWorld:
    """A machine's clocks: the wall's hours off, the monotonic from anywhere and a little fast or slow."""

    time: PlayedTime
    rng: random.Random
    ahead_s: float
    rate: float

    def now(self) -> datetime:
        """Return the wall's time as this machine has it."""
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time.now_s + self.ahead_s)

    def monotonic_s(self) -> float:
        """Return seconds of this machine's own count."""
        return abs(self.ahead_s) + self.time.now_s * self.rate

    def new_id(self) -> str:
        """Return an identifier that is drawn."""
        return f"{self.rng.getrandbits(48):012x}"

    def host_name(self) -> str:
        """Return `played`."""
        return "played"
