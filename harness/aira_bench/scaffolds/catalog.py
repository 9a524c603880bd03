"""Scaffolds by name, with their presets."""

from collections.abc import Callable, Mapping

from aira_bench.errors import UsageError
from aira_bench.scaffolds.evolutionary import Evolutionary
from aira_bench.scaffolds.greedy import Greedy
from aira_bench.scaffolds.mcts import MonteCarloTreeSearch
from aira_bench.scaffolds.one_shot import OneShot
from aira_bench.scaffolds.protocol import Policy
from aira_bench.scaffolds.regularized_evolution import RegularizedEvolution

Maker = Callable[[int, bool], Policy]

SCAFFOLDS: Mapping[str, Maker] = {
    "one-shot": lambda steps, lower: OneShot(),
    "greedy": lambda steps, lower: Greedy(lower_is_better=lower),
    "greedy:aide": lambda steps, lower: Greedy(5, 0.5, 3, lower_is_better=lower),
    "greedy-edit": lambda steps, lower: Greedy(lower_is_better=lower, edit=True),
    "mcts": lambda steps, lower: MonteCarloTreeSearch(lower_is_better=lower),
    "evolutionary": lambda steps, lower: Evolutionary(lower_is_better=lower),
    "regularized-evolution": lambda steps, lower: RegularizedEvolution.for_budget(steps, lower_is_better=lower),
}


def make_scaffold(name: str, *, steps: int, lower_is_better: bool) -> Policy:
    """The scaffold of that name for a budget of `steps`.

    Raises:
        UsageError: no scaffold has that name.
    """
    if name not in SCAFFOLDS:
        raise UsageError(f"Unknown scaffold {name!r}; there are: {', '.join(SCAFFOLDS)}.")
    return SCAFFOLDS[name](steps, lower_is_better)
