"""How much longer than alone work takes on a slot's cores, because others use them, and what is fair under that.

A `train.py` trains for seconds of its own wall clock. Where others take half of its cores, these seconds hold half of
the training, and its score says something about the neighbours. So a script is told as many times more seconds as work
takes longer, and its `TIME_BUDGET` follows what they take while it trains (`autoresearch/fit/live_budget` of the
evaluator). What was trained in the end must have had what the budget means, whatever it was told: on average, its cores
for as long as alone, by the host's own measure. A training that had less or more is done again with what was seen, and
never scored. Nothing in a container makes its cores busy with the work of others, so no script chooses what it is told;
and one that leaves cores to busy neighbours, where it was told of them, has not had more than its share, so none can
have itself done again by sleeping.

What counts is the training, from its first batch to the model's hand-over. A start-up on one thread and a training on
two lose different parts to the same neighbours (ten busy groups beside it leave a thread an eleventh of its core, and
two threads of one group a twenty-first each), and a start-up may take longer than the training. A script that draws
its window wrong gains nothing: all of its time ends at its deadline, which counts what it had of its cores.

On a GPU no script is told more: its device is its own, and what others take of the cores changes little or makes the
training unfair.

Not covered: how time that others took is measured (`aira_bench.sandbox.core_share`).
"""

from dataclasses import dataclass

from aira_bench.sandbox.core_share import MOST_TIMES
from aira_bench.sandbox.core_time import CoreTime

FAIR_SHARE, FAIR_SHARE_ON_GPU = 0.2, 0.1
"""Of the budget: by how much less or more than it a training may have had its cores."""
_NOTICED = 1.15
"""Work that takes less than so many times longer is told nothing; a machine at rest has some 1.02."""
_TELLING_S = 2.0
"""Wall seconds below which the neighbours of a container say little."""


@dataclass
class Pace:
    """What one slot's containers saw last."""

    stretch: float = 1.0
    """How many times longer than alone work takes; 1 where that is hardly more."""
    _of_training: float = 1.0

    @property
    def for_training(self) -> float:
        """How many times longer a training takes: as the last one did, if there are neighbours still."""
        return self._of_training if min(self.stretch, self._of_training) > 1 else self.stretch

    def saw(self, time: CoreTime) -> None:
        """Learn from a container, or from several that took turns."""
        self.stretch = _stretch(time) or self.stretch

    def saw_training(self, time: CoreTime) -> None:
        """Learn from the part of a container's time in which it trained."""
        self._of_training = _stretch(time) or self._of_training


def _stretch(time: CoreTime) -> float | None:
    """None where the time was too short to tell."""
    if time.wall_s < _TELLING_S:
        return None
    seen = min(time.wall_s / max(time.wall_s - time.lost_s, time.wall_s / MOST_TIMES), MOST_TIMES)
    return seen if seen > _NOTICED else 1.0


def missed_s(training: CoreTime, stretch: float) -> float:
    """Return the seconds of its cores that a training had less than it should; below 0, more.

    A script that was told `stretch` times its budget should lose all but one part in `stretch` of its time. What others
    used counts in its favour up to there, even if it did not want it itself.
    """
    due_s = training.wall_s * (1 - 1 / stretch)
    return max(training.lost_s, min(training.taken_s, due_s)) - due_s


def was_fair(training: CoreTime, stretch: float, budget_s: float, *, gpu: bool) -> bool:
    """Whether a training had its cores for about as long as its budget means.

    It lost what it was told of; or, without a GPU, had them for its budget, as a script has that follows `TIME_BUDGET`
    while neighbours come and go.
    """
    bound_s = (FAIR_SHARE_ON_GPU if gpu else FAIR_SHARE) * budget_s
    had_s = training.wall_s - training.lost_s
    return abs(missed_s(training, stretch)) <= bound_s or (not gpu and abs(had_s - budget_s) <= bound_s)
