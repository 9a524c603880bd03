"""Scaffolds by name, with their presets; installed ones and references stand beside them (`aira_bench.extensions`)."""

from functools import partial

from aira_bench.extensions import Catalog
from aira_bench.scaffolds.evolutionary import Evolutionary
from aira_bench.scaffolds.greedy import Greedy
from aira_bench.scaffolds.mcts import MonteCarloTreeSearch
from aira_bench.scaffolds.one_shot import OneShot
from aira_bench.scaffolds.policy import Policy
from aira_bench.scaffolds.regularized_evolution import RegularizedEvolution

SCAFFOLDS: Catalog[Policy] = Catalog(
    "scaffold",
    {
        "one-shot": OneShot,
        "greedy": Greedy,
        "greedy:aide": partial(Greedy, 5, 0.5, 3),
        "greedy-edit": partial(Greedy, edit=True),
        "mcts": MonteCarloTreeSearch,
        "evolutionary": Evolutionary,
        "regularized-evolution": RegularizedEvolution.for_budget,
    },
    Policy,
)


def make_scaffold(name: str, *, steps: int, lower_is_better: bool) -> Policy:
    """Return the scaffold of that name for a budget of `steps`.

    Raises:
        UsageError: no scaffold has that name, or what a reference names is none.
        PrerequisiteError: what an installed distribution offers cannot be used.
    """
    return SCAFFOLDS.make(name, steps=steps, lower_is_better=lower_is_better)
