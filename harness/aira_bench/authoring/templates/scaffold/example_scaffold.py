"""A scaffold: drafts for a third of its steps, then improves the best, repairing what failed once.

A scaffold decides what an agent does next and keeps no state: `next` reads everything off the journal, so that a run
that was stopped goes on as if it had not been, and a replay takes the same steps.
"""

import random
from dataclasses import dataclass

from aira_bench.protocols import Action, Debug, Draft, Improve, Journal, best_node


@dataclass(frozen=True)
class ExampleScaffold:
    """Made anew for each run, from the run's number of steps and the direction of its metric."""

    steps: int
    lower_is_better: bool

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """What to do after the steps in `journal`: Draft, Improve, Debug, Crossover, or Stop.

        A node's `fitness` is what steers the search; scores on the hidden test data are nowhere in the journal. Steps
        that the machine spoilt are not in it either, so a node's `step` is not its place.
        """
        if journal and journal[-1].is_buggy and journal[-1].operator != "debug":
            return Debug((journal[-1].step,))
        drafts = sum(node.operator == "draft" for node in journal)
        best = best_node(journal, lower_is_better=self.lower_is_better)
        if best is None or drafts < max(1, self.steps // 3):
            return Draft()
        return Improve((best.step,))
