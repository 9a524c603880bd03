"""What each seed of a run submitted, a line a seed.

Not covered: what a board says of several seeds together (`aira_bench.boards`), and why a step won (`aira-bench show`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from aira_bench.looking.artifact import ArtifactView, layers_of
from aira_bench.record.confirmations import mean_of
from aira_bench.record.node import Node, best_node
from aira_bench.record.salvage import RunRemains, SeedRemains
from aira_bench.record.seed_record import SeedRecord
from aira_bench.shown_numbers import figure

_PLAN_CHARS = 60


@dataclass(frozen=True)
class Winner:
    """The submission of a seed, or before the seed's end its best step so far."""

    seed: int
    step: int | None
    """None where no step is valid."""
    steps: int
    ended: bool
    search: float | None
    """The number that drove the search: hidden validation, or the agent's claim."""
    test: float | None
    confirmed: float | None
    """Mean over the trainings that are done, whether or not they are all that are wanted."""
    trainings: int
    canonical: str | None
    strip: str
    notation: str
    plan: str

    @property
    def line(self) -> str:
        """The winner in one line; escape it for where it is shown."""
        said = f"seed {self.seed}: "
        if self.step is None:
            return f"{said}no valid step in {self.steps}" + ("" if self.ended else " so far")
        word = "" if self.ended else ", best so far"
        scores = [("search", self.search), ("test", self.test), ("confirmed", self.confirmed)]
        shown = [f"{name} {figure(value)}" for name, value in scores if value is not None]
        if self.trainings:
            shown[-1] += f" ({self.trainings} training{'s' if self.trainings > 1 else ''})"
        what = f"{self.strip}, {self.notation}" if self.strip else _excerpt(self.plan) or (self.canonical or "")[:16]
        return f"{said}step {self.step} of {self.steps}{word}: {', '.join([*shown, *([what] if what else [])])}"


def chosen_node(seed: SeedRecord | SeedRemains, *, lower_is_better: bool) -> Node | None:
    """Return the submitted step of a seed, or before its end the best so far; None without a valid step."""
    if seed.ended is None:
        return best_node(seed.nodes, lower_is_better=lower_is_better)
    return next((node for node in seed.nodes if node.step == seed.ended.submitted), None)


def winners(seeds: Iterable[SeedRecord | SeedRemains], *, lower_is_better: bool) -> list[Winner]:
    """Return what each seed of a run submitted, in the order of the seeds."""
    return [_winner(seed, lower_is_better) for seed in seeds]


def best_seed(run: RunRemains) -> SeedRemains | None:
    """Return the seed whose submission, or best step so far, has the best search score; ties keep the earlier seed.

    Test scores have no say: of several seeds the luckiest would be shown. None where no step is valid.
    """
    lower = run.lower_is_better
    chosen = [(seed, node) for seed in run.seeds if (node := chosen_node(seed, lower_is_better=lower))]
    best = best_node([node for _, node in chosen], lower_is_better=lower)
    return next((seed for seed, node in chosen if node is best), None)


def _winner(seed: SeedRecord | SeedRemains, lower_is_better: bool) -> Winner:
    chosen = chosen_node(seed, lower_is_better=lower_is_better)
    number = chosen.step if chosen else None
    score = seed.scores.get(number) if number is not None else None
    trainings = seed.confirmations.scores.get(number, ()) if number is not None else ()
    canonical = chosen.canonical if chosen else None
    shape = ArtifactView("architecture", None, layers_of(canonical))
    return Winner(
        seed=seed.seed,
        step=number,
        steps=len(seed.nodes),
        ended=seed.ended is not None,
        search=chosen.fitness if chosen else None,
        test=score.test if score else None,
        confirmed=mean_of([each.test for each in trainings]),
        trainings=len(trainings),
        canonical=canonical,
        strip=shape.strip,
        notation=shape.notation,
        plan=chosen.plan if chosen else "",
    )


def _excerpt(plan: str) -> str:
    words = " ".join(plan.split())
    return words if len(words) <= _PLAN_CHARS else f"{words[: _PLAN_CHARS - 3]}..."
