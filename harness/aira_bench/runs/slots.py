"""Slots: the places that a run may use, each with the next containers already started.

A slot's place, its cores and its GPU, is leased machine-wide while a step or an evaluation runs (`line`), and free
while an agent thinks; with `keeps` a seed has one for its life. Meanwhile the slot's next step container and the
containers of its next evaluation are created and started, so that a step never waits for the engine. They sit there
and have touched no device. Those of slots that no seed is left for are removed.

Not covered: which places there are (`places`), and whose turn it is (`line`).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from aira_bench.errors import SandboxError
from aira_bench.evaluation.submission_evaluator import SubmissionEvaluator
from aira_bench.runs.line import Line, Taken
from aira_bench.runs.places import Place
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Sandbox
from aira_bench.sandbox.warm import WarmContainer
from aira_bench.waiting import Stopped, Waits

OpenEvaluator = Callable[[Sandbox, Limits, ThreadPoolExecutor], SubmissionEvaluator]


@dataclass(frozen=True)
class Slot:
    """What stands ready at one place: an agent's next container, and an evaluator."""

    cpus: tuple[int, ...] | None
    agent: WarmContainer
    evaluator: SubmissionEvaluator

    def close(self) -> None:
        """Remove every container started ahead."""
        self.agent.close()
        self.evaluator.close()


class Closing(Protocol):
    """What stands ready in a slot."""

    def close(self) -> None:
        """Remove every container of it."""
        ...


Opened = TypeVar("Opened", bound=Closing)


class SlotPool(Generic[Opened]):
    """All slots of a run. As many are open as it has places at a time."""

    def __init__(
        self,
        sandbox: Sandbox,
        line: Line,
        open_at: Callable[[int, ThreadPoolExecutor], Opened],
        *,
        seeds: int | None = None,
        keeps: bool = False,
    ) -> None:
        """Open the first slots.

        Args:
            sandbox: what the containers are made by.
            line: for the places; whoever made it closes it, when no container is left.
            open_at: opens the slot at a place, by number; the pool starts its containers.
            seeds: so many will use slots, and each ends by `end_seed`; None where nobody tells of an end.
            keeps: a seed keeps the first slot it gets until it ends.
        """
        self._sandbox, self._line, self._open_at = sandbox, line, open_at
        self._pool = ThreadPoolExecutor(max_workers=max(2, line.most), thread_name_prefix="containers")
        self._keeps, self._kept = keeps, dict[int, int]()
        self._lock, self._is_closed = threading.Lock(), False
        self._open: dict[int, Opened] = {}
        self._in_use: set[int] = set()
        self._seeds_left = seeds
        line.prefer(self._open)
        for index in range(min(line.most, len(line.places), *([] if seeds is None else [seeds]))):
            self._open[index] = open_at(index, self._pool)

    @contextlib.contextmanager
    def slot(self, waits: Waits, seed: int = 0) -> Iterator[Opened]:
        """Wait for a slot and hold it: until the end of the block, or of its seed where seeds keep theirs.

        Raises:
            Stopped: the run was stopped before one was free.
            SandboxError: what a killed run of another user left there could not be removed.
        """
        index = self._kept.get(seed)
        if index is None:
            index = self._taken(waits)
            if self._keeps:
                self._kept[seed] = index
        try:
            yield self._slot_at(index)
        finally:
            if not self._keeps:
                self._give_back(index, waits)

    def end_seed(self, seed: int, waits: Waits) -> None:
        """Let others have the slot that a seed kept, if it did, and close idle ones that no seed is left for."""
        index = self._kept.pop(seed, None)
        if index is not None:
            self._give_back(index, waits)
        with contextlib.suppress(Stopped):  # then all are closed by `close`
            waits.check_stop()
            for slot in self._superfluous():
                slot.close()

    def close(self) -> None:
        """Remove every container started ahead."""
        with self._lock:
            self._is_closed = True
            left = list(self._open.values())
        for slot in left:
            slot.close()
        self._pool.shutdown()

    def _taken(self, waits: Waits) -> int:
        """The number of a place that is ours now, and on which nothing of a dead process runs any more."""
        taken = self._line.take(waits, keeps=self._keeps)
        try:
            self._clear(taken, waits)
        except BaseException:
            self._line.give_back(taken.index)
            raise
        return taken.index

    def _clear(self, taken: Taken, waits: Waits) -> None:
        if taken.left_by:
            with waits.waiting("cores", "removing what a killed run had left on its device"):
                _clear(self._sandbox, self._line, taken)

    def _give_back(self, index: int, waits: Waits) -> None:
        """Give a place back; not that of a run that is stopped, whose containers may take a while to die."""
        with contextlib.suppress(Stopped):
            waits.check_stop()
            with self._lock:
                self._in_use.discard(index)
            self._line.give_back(index)

    def _superfluous(self) -> list[Opened]:
        """Take the slots from the pool that are more than there are seeds, now that one has ended."""
        with self._lock:
            if self._seeds_left is None or self._is_closed:
                return []
            self._seeds_left -= 1
            idle = [each for each in self._open if each not in self._in_use]
            return [self._open.pop(each) for each in idle[: max(0, len(self._open) - self._seeds_left)]]

    def _slot_at(self, index: int) -> Opened:
        """The slot of a place that is ours; where it is not open, in the room of one that is idle."""
        idle = None
        with self._lock:
            self._in_use.add(index)
            if self._is_closed:
                raise SandboxError("The run is being stopped.")
            if index not in self._open:
                if len(self._open) >= self._line.most:
                    idle = self._open.pop(next(each for each in self._open if each not in self._in_use))
                self._open[index] = self._open_at(index, self._pool)
            slot = self._open[index]
        if idle is not None:
            idle.close()
        return slot


@contextlib.contextmanager
def lent_gpu(sandbox: Sandbox, gpus: Sequence[str], note: Callable[[str], None]) -> Iterator[str]:
    """Wait for a GPU and hold it, for work outside a search; its UUID.

    Raises:
        SandboxError: what a killed run left there could not be removed.
    """
    with _line_for(gpus) as line:
        taken = line.take(Waits(tell=lambda _, text: note(text)))
        _clear(sandbox, line, taken)
        yield gpus[taken.index]


@contextlib.contextmanager
def free_gpu(sandbox: Sandbox, gpus: Sequence[str]) -> Iterator[str | None]:
    """Hold a GPU that nobody has and nobody has a claim on, for work outside a search; its UUID, None if there is none.

    Raises:
        SandboxError: what a killed run left there could not be removed.
    """
    with _line_for(gpus) as line:
        turn = line.enter()
        try:
            taken = line.attempt(turn, 0.0)
        finally:
            line.leave(turn)
        if taken is not None:
            _clear(sandbox, line, taken)
        yield None if taken is None else gpus[taken.index]


@contextlib.contextmanager
def _line_for(gpus: Sequence[str]) -> Iterator[Line]:
    line = Line([Place(gpu=gpu) for gpu in gpus], most=1)
    try:
        yield line
    finally:
        line.close()


def _clear(sandbox: Sandbox, line: Line, taken: Taken) -> None:
    """Remove what dead processes left on a place that was taken."""
    for dead in taken.left_by:
        sandbox.sweep_owner(dead.owner)
        line.cleared(dead)


def open_slots(
    sandbox: Sandbox,
    agents: Sequence[ContainerSpec],
    open_evaluator: OpenEvaluator,
    line: Line,
    *,
    seeds: int | None = None,
    keeps: bool = False,
) -> SlotPool[Slot]:
    """Return the slots of a search.

    Args:
        sandbox: makes the containers.
        agents: the container of an agent's step, for each place of the line.
        open_evaluator: makes a slot's evaluator, which works under the same limits.
        line: as of `SlotPool`.
        seeds: as of `SlotPool`.
        keeps: as of `SlotPool`.
    """

    def open_at(index: int, ahead: ThreadPoolExecutor) -> Slot:
        spec = agents[index]
        evaluator = open_evaluator(sandbox, spec.limits, ahead)
        return Slot(spec.limits.cpus, WarmContainer(sandbox, spec, ahead), evaluator)

    return SlotPool(sandbox, line, open_at, seeds=seeds, keeps=keeps)
