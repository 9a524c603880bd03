"""One gate for all processes of a user on one machine that call the same model of the same provider.

Each place is a file that is locked for the length of a call, so the kernel gives back what a killed process had; the
state of the rule is one small file. All of it lies on the machine's own disk (`aira_bench.runs.leases`), where locks
mean what they say, and times are of the machine's one monotonic clock.

Whoever finds others waiting waits too, and all who wait look again at random moments: so a process with many calls
leaves the places that it gives back to others as often as to itself.

Not covered: other machines, which come to their share by the rule alone; other users of this one; and a machine whose
processes read different clocks, as containers with a time of their own do.
"""

import fcntl
import hashlib
import json
import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from aira_bench.files import parse_json, read_file, write_atomically
from aira_bench.llm.gate import GateState, LimiterSettings
from aira_bench.machine_failures import machine_failures

HOST_SETTINGS = LimiterSettings(most=256, slow_start=True)
"""Of a machine: its processes together may have as many calls under way as several had before."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCK_S = 1.0
"""For how long the state is waited for; who has it needs a thousandth of that."""
_POLL_S = 0.005
_STATE_BYTES = 4096


class HostGate:
    """The gate as folder `folder`, which is made. Safe between threads and processes of this machine."""

    def __init__(self, folder: Path, settings: LimiterSettings = HOST_SETTINGS, *, rng: random.Random) -> None:
        """`rng` draws when to look again; no result depends on it.

        Raises:
            MachineError: the folder cannot be used.
        """
        self.folder, self._settings, self._rng = folder, settings, rng
        with machine_failures(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def change(self, change: Callable[[GateState], GateState]) -> GateState:
        """Replace the state; where another process keeps it for a second, this one change is left out."""
        with machine_failures(self.folder), self._locked() as is_ours:
            before = self._state()
            after = change(before)
            if is_ours and after != before:
                write_atomically(self.folder / "state", json.dumps(asdict(after)).encode(), mode=0o600, lasting=False)
            return after

    def enter(self, now_s: float, *, queued: bool = False) -> Callable[[], None] | None:
        """Take a place if the gate is open and one is free, and nobody has waited for one before."""
        with machine_failures(self.folder), self._locked() as is_ours:
            if not is_ours or (not queued and self._others_wait()):
                return None
            state = self._state()
            if now_s < state.open_at_s:
                return None
            free = [place for number in range(self._settings.most) if (place := self._place(number)) is not None]
            try:
                if self._settings.most - len(free) >= int(state.limit):
                    return None
                descriptor = free.pop()
            finally:
                for each in free:
                    os.close(each)
            return lambda: os.close(descriptor)

    @contextmanager
    def queue(self) -> Iterator[None]:
        """Be seen to wait, while the block runs."""
        with machine_failures(self.folder):
            descriptor = self._opened("queue")
        try:
            _lock(descriptor, fcntl.LOCK_SH)  # who looks whether anybody waits has it for a moment
            yield
        finally:
            os.close(descriptor)

    def wait(self, seconds: float) -> None:
        """Wait for a random part of that."""
        threading.Event().wait(self._rng.uniform(0.1, 1.0) * seconds)

    def in_flight(self) -> int:
        """Return the number of calls under way on this machine."""
        with machine_failures(self.folder), self._locked():
            free = [place for number in range(self._settings.most) if (place := self._place(number)) is not None]
            for each in free:
                os.close(each)
            return self._settings.most - len(free)

    def _others_wait(self) -> bool:
        descriptor = self._opened("queue")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _place(self, number: int) -> int | None:
        """A descriptor that holds a place; None if a call has it."""
        descriptor = self._opened(f"place-{number}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Have the state, within a second; False if another process keeps it."""
        descriptor = self._opened("lock")
        try:
            is_ours = _lock(descriptor, fcntl.LOCK_EX)
            yield is_ours
        finally:
            os.close(descriptor)

    def _state(self) -> GateState:
        """What is there, or the beginning where that is nothing that can be read: it is made again by what comes."""
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            found = GateState(**parse_json(read_file(self.folder, "state", _STATE_BYTES)))
            numbers = (found.limit, found.open_at_s, found.calm_at_s)
            if all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
                return GateState(min(max(1.0, found.limit), self._settings.most), *numbers[1:], found.refused is True)
        return GateState(float(self._settings.start))

    def _opened(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def gate_folder(machine: Path, *whom: str) -> Path:
    """Return where the gate to a provider lies on this machine, until it is started again.

    Args:
        machine: the machine's folder for leases.
        whom: what one limit of the provider is for: its address, and the model.
    """
    boot = _BOOT.read_text() if _BOOT.exists() else ""  # clocks begin anew with it
    digest = hashlib.sha256(json.dumps([boot, *whom]).encode()).hexdigest()[:16]
    return machine / f"provider-{os.geteuid()}-{digest}"


def _lock(descriptor: int, kind: int) -> bool:
    """Lock a file within a second; False if another process keeps it."""
    for _ in range(int(_LOCK_S / _POLL_S)):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        threading.Event().wait(_POLL_S)
    return False
