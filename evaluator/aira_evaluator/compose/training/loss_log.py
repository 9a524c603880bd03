"""The losses of one training, kept on its device until it has ended, so that writing them down makes nobody wait.

A step adds its loss to one tensor of fixed address, which a CUDA graph can capture. Between steps, and outside of
graphs, `mark` puts the sum aside. Times on a GPU are events of the stream, which the device notes as it gets there.

Not covered: how many points a report holds (`aira_contract.training_series`).
"""

import time
from collections.abc import Callable, Sequence
from statistics import fmean

import torch
from torch import Tensor

from aira_contract.training_series import TrainingPoint


class LossLog:
    """Sums of losses between marks. To be made, added to and marked on the training's own stream."""

    def __init__(self, device: torch.device) -> None:
        """Begin now, with no step done."""
        self._device = device
        self._running = torch.zeros((), device=device)
        self._total = torch.zeros((), device=device)
        self._sums: list[Tensor] = []
        self._marks: list[tuple[int, int, Callable[[], float]]] = []
        self._since = _stop_watch(device)

    def add(self, loss: Tensor) -> None:
        """Add the loss of one step, which stays on the device."""
        self._running += loss

    def mark(self, steps: int, tokens: int) -> None:
        """End a stretch of steps, without waiting for them.

        Args:
            steps: done since the beginning, more than at the mark before.
            tokens: trained on since the beginning.
        """
        self._sums.append(self._running.clone())
        self._total += self._running
        self._running.zero_()
        self._marks.append((steps, tokens, self._since()))

    def is_finite(self) -> bool:
        """Wait for the steps so far; whether every loss of theirs was finite."""
        return bool(torch.isfinite(self._total + self._running))

    def points(self) -> list[TrainingPoint]:
        """Wait for the training, and return a point a mark: the mean loss of the steps since the mark before."""
        if not self._sums:
            return []
        points, before = [], 0
        for (steps, tokens, seconds), loss in zip(self._marks, torch.stack(self._sums).tolist(), strict=True):
            points.append(TrainingPoint(steps, loss / (steps - before), tokens, seconds()))
            before = steps
        return points


def together(curves: Sequence[Sequence[TrainingPoint]], *, beside: bool) -> list[TrainingPoint]:
    """Return one curve for trainings that make up one score: the mean of their losses, and what they did in all.

    It ends where the first of them ends.

    Args:
        curves: a curve a training, their marks at the same places.
        beside: whether they trained beside each other, so that the longest time counts, or in turn.
    """
    return [
        TrainingPoint(
            sum(point.step for point in points),
            fmean(point.loss for point in points),
            sum(point.tokens or 0 for point in points),
            (max if beside else sum)(point.seconds or 0.0 for point in points),
        )
        for points in zip(*curves, strict=False)
    ]


def _stop_watch(device: torch.device) -> Callable[[], Callable[[], float]]:
    """What notes the present moment, and gives a function that tells the seconds until then once it has come."""
    if device.type != "cuda":
        begun = time.monotonic()

        def noted() -> Callable[[], float]:
            seconds = time.monotonic() - begun
            return lambda: seconds

        return noted
    start = _event()

    def on_stream() -> Callable[[], float]:
        end = _event()
        return lambda: start.elapsed_time(end) / 1000

    return on_stream


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
