"""What a scaffold is: a pure function from what happened and a generator to what happens next."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from aira_bench.record.node import Journal


@dataclass(frozen=True)
class Draft:
    """Start a new solution from nothing."""

    operator: Literal["draft"] = "draft"
    parents: tuple[int, ...] = ()
    edit: ClassVar[bool] = False


@dataclass(frozen=True)
class Improve:
    """Make a valid solution better; `parents` holds its step. With `edit`, by named edits of its file."""

    parents: tuple[int]
    edit: bool = False
    operator: Literal["improve"] = "improve"


@dataclass(frozen=True)
class Debug:
    """Repair a failed solution; `parents` holds its step. With `edit`, by named edits of its file."""

    parents: tuple[int]
    edit: bool = False
    operator: Literal["debug"] = "debug"


@dataclass(frozen=True)
class Crossover:
    """Ask the agent to combine the solutions of two valid steps."""

    parents: tuple[int, int]
    operator: Literal["crossover"] = "crossover"
    edit: ClassVar[bool] = False


@dataclass(frozen=True)
class Stop:
    """The scaffold is done before its budget is."""


Proposing = Draft | Improve | Debug | Crossover
Action = Proposing | Stop
_PARENTS: Mapping[type, int] = {Draft: 0, Improve: 1, Debug: 1, Crossover: 2}


def fault_of_action(action: object, journal: Journal) -> str:
    """Why nothing can be done with what a policy gave, in words; empty for an action on steps of the journal."""
    if isinstance(action, Stop):
        return ""
    if type(action) not in _PARENTS or not isinstance(action, Draft | Improve | Debug | Crossover):
        return "it is no action"
    wanted = _PARENTS[type(action)]
    if not isinstance(action.parents, tuple) or len(action.parents) != wanted:
        return f"its parents are no tuple of {wanted} step{'s' * (wanted != 1)}"
    known = {node.step for node in journal}
    return "" if known.issuperset(action.parents) else f"its parents are not among the steps {sorted(known)}"


class Policy(Protocol):
    """A scaffold. It keeps no state: the same journal and generator give the same action."""

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Return what to do after the steps in `journal`."""
        ...
