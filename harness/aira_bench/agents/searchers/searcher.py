"""Agents without a model: one name for a way to search, whatever a task wants submitted.

A searcher knows no artifact. What can be submitted, and how one submission becomes the next, its search space says; the
kind of the task's artifact says which space that is.

Not covered: the spaces (`architectures`, `modules`, `scripts`), and Bayesian optimization, which has one (`bayes`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Protocol, TypeVar

from aira_bench.agents.agent import Brief, Proposal, Situation, UnlookingAgent
from aira_bench.errors import UsageError
from aira_bench.scaffolds.policy import Proposing
from aira_bench.tasks.artifact_spec import ArtifactSpec

FRESH_TRIES = 64
"""Draws before a searcher submits something once more: then the space is all but exhausted."""
Drawn = TypeVar("Drawn")


class SearchSpace(Protocol):
    """What can be submitted at one step of one task; each answer is a whole solution."""

    def baseline(self) -> Proposal:
        """Return the submission that everybody starts from."""
        ...

    def random(self) -> Proposal:
        """Return a random submission of the space."""
        ...

    def start(self) -> Proposal:
        """Return a submission for an evolution to begin with, and to go on with where a step failed."""
        ...

    def child(self, parents: tuple[int, ...]) -> Proposal:
        """Return the submission of one earlier step with a small change, or of two of them mixed.

        Raises:
            RunStateError: an earlier step submitted nothing of this space.
        """
        ...


OpenSpace = Callable[[Brief, Situation, str], SearchSpace]
"""Makes the space of a step for the searcher of that name, or raises UsageError where the task has none."""


@dataclass(frozen=True)
class Searcher(UnlookingAgent):
    """A way to search that works in any space that a task's artifact has."""

    name: str
    summary: str
    """A line for `aira-bench agents`."""
    default_scaffold: str
    move: Callable[[SearchSpace, Proposing], Proposal]
    """What it submits, given the space and the action that is asked for."""
    spaces: Mapping[str, OpenSpace]
    """By the `kind` of the task's artifact."""

    def describe(self) -> str:
        """Return the line that `aira-bench agents` shows."""
        return self.summary

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """Return what the searcher submits next.

        Raises:
            UsageError: it knows no submissions of the task's kind, or the task offers nothing to search.
            RunStateError: an earlier step of the run was another agent's.
        """
        if fault := self.fault_of(brief.artifact):
            raise UsageError(fault, hint=f"aira-bench run --agent script:FILE.py --task {quote(brief.task)}")
        return self.move(self.spaces[brief.artifact.kind](brief, situation, self.name), situation.action)

    def fault_of(self, artifact: ArtifactSpec) -> str:
        """Say so where it knows no submissions of the artifact's kind."""
        if artifact.kind in self.spaces:
            return ""
        return (
            f"Agent {self.name} knows submissions of the kinds {', '.join(self.spaces)}; the task wants "
            f"{artifact.name} ({artifact.kind})."
        )


def submit_baseline(space: SearchSpace, action: Proposing) -> Proposal:
    """Return the baseline, whatever the action."""
    return space.baseline()


def draw_at_random(space: SearchSpace, action: Proposing) -> Proposal:
    """Return a random submission, whatever the action."""
    return space.random()


def evolve(space: SearchSpace, action: Proposing) -> Proposal:
    """Return a start to draft or debug; a mutated parent, or a cross of two, otherwise."""
    return space.start() if action.operator in {"draft", "debug"} else space.child(action.parents)


def untried(draw: Callable[[], Drawn], tried: Callable[[Drawn], bool]) -> Drawn:
    """Return the first of `FRESH_TRIES` draws that was not tried before, else the last."""
    for _ in range(FRESH_TRIES):
        drawn = draw()
        if not tried(drawn):
            break
    return drawn
