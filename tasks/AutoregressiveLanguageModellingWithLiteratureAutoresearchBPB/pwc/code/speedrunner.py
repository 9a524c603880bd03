"""Keeping a speedrun honest (after Zhao et al., "The Automated LLM Speedrunning Benchmark", arXiv 2506.22419).

The benchmark asks agents to repeat the records of a community speedrun: train a small GPT to a given validation loss in
less and less time. What carries over to a fixed budget: change one thing at a time, compare at equal wall clock, and
demand that a gain exceeds the noise between repeats of the same script.

Use beside train.py: record `Trial`s of each edit and its parent, and let `is_gain` decide.

Left out: the agent, its hints, and the records themselves (see modded_nanogpt.py for their tricks).
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One run of a script."""

    name: str
    loss: float
    seconds: float


def time_to_target(
    losses: Iterator[float], target: float, clock: Callable[[], float], *, budget_s: float
) -> float | None:
    """Seconds until `losses` first falls to `target`, or None if the budget ends or the losses do."""
    start = clock()
    for loss in losses:
        elapsed = clock() - start
        if elapsed > budget_s:
            return None
        if loss <= target:
            return elapsed
    return None


def noise(repeats: Sequence[Trial]) -> float:
    """Sample standard deviation of the loss between repeats of one script.

    Raises:
        ValueError: fewer than two repeats tell nothing.
    """
    if len(repeats) < 2:
        raise ValueError(f"{len(repeats)} repeat of a script tells nothing of its noise; run it twice or more")
    return statistics.stdev(trial.loss for trial in repeats)


def is_gain(parent: Sequence[Trial], child: Sequence[Trial], *, noise_sd: float, sigmas: float = 2.0) -> bool:
    """Whether the child's mean loss is lower by more than `sigmas` standard errors of the difference."""
    difference = statistics.fmean(t.loss for t in parent) - statistics.fmean(t.loss for t in child)
    error = noise_sd * math.sqrt(1 / len(parent) + 1 / len(child))
    return difference > sigmas * error


def recovered(record: float, baseline: float, reached: float) -> float:
    """Share of a record's speed-up over the baseline that was reached: 1 is the whole, below 0 a slowdown.

    Raises:
        ValueError: the record is no faster than the baseline.
    """
    if record >= baseline:
        raise ValueError(f"the record's {record} s are no less than the baseline's {baseline} s")
    return (baseline - reached) / (baseline - record)
