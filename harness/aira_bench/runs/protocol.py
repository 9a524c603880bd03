"""Protocols by name: what one word sets for a run, in whose place options given beside it stand.

`aira` is ours, the default. `paper` is what the paper says of its runs in sections 2 and 5, and what the public harness
does where they leave something open. docs/protocols.md compares the two line by line, with what no option sets.

Not covered: what the settings do (`aira_bench.runs.step`, `aira_bench.runs.outcomes`), and statistics of boards.
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from aira_bench.errors import UsageError
from aira_bench.record.manifest import RunPlan

ProtocolName = Literal["aira", "paper"]

_PAPERS_SCAFFOLDS = ("greedy", "one-shot")
_SEEDS = {"one-shot": 20}
_OTHER_SEEDS = 10
_LONG_TASKS = frozenset({"babistories-2p", "dclm-2p", "compose-aggregate", "compose-scale"})
"""The last two are ours, on BabiStories."""
_HOURS, _LONG_HOURS, _STEPS = 24.0, 60.0, 500


@dataclass(frozen=True)
class ProtocolSettings:
    """What a protocol sets; fields are those of a plan, and None is left to the task's profile."""

    fitness: Literal["hidden", "claimed"]
    """What steers the search."""
    bugs: Literal["judge", "analysis"]
    """Who says that a step is a bug."""
    seeds: tuple[int, ...]
    steps: int | None
    """Of a seed."""
    hours: float | None
    """Of a seed."""
    exclusive: bool
    """Whether a seed keeps its device until it ends."""


def settings_of(protocol: str, task_title: str, scaffold: str) -> ProtocolSettings:
    """Return what a protocol sets for a task and a scaffold.

    The paper (section 5): 20 seeds for one-shot agents and 10 for greedy ones, 24 hours or 500 steps, 60 hours for
    BabiStories and DCLM, one GPU an agent. A scaffold that it does not have counts as greedy, and another task as one
    of 24 hours.

    Raises:
        UsageError: no protocol has that name.
    """
    if protocol == "aira":
        return ProtocolSettings("hidden", "judge", (0,), None, None, exclusive=False)
    if protocol != "paper":
        known = ", ".join(get_args(ProtocolName))
        raise UsageError(f"There is no protocol {protocol!r}, only {known}.", hint="aira-bench run --help")
    seeds = tuple(range(_SEEDS.get(scaffold, _OTHER_SEEDS)))
    hours = _LONG_HOURS if task_title in _LONG_TASKS else _HOURS
    return ProtocolSettings("claimed", "analysis", seeds, _STEPS, hours, exclusive=True)


def protocol_lines(plan: RunPlan, task_title: str) -> list[str]:
    """Return what a plan's protocol set, and what the plan has in its place, for whoever begins the run."""
    set_by, title = settings_of(plan.protocol, task_title, plan.scaffold), plan.protocol
    by_profile = "" if set_by.steps else ", steps and hours of the profile"
    said = [f"{title} sets {' '.join(_flags(set_by))}{by_profile} (docs/protocols.md compares aira and paper)"]
    has = {name: plan.bugs_named_by if name == "bugs" else getattr(plan, name) for name in _names(set_by)}
    instead = [
        f"{_flag(name, value)} in place of {_flag(name, getattr(set_by, name))}"
        for name, value in has.items()
        if value != getattr(set_by, name)
    ]
    if instead:
        said.append(f"overridden: {', '.join(instead)}")
    if title == "paper" and plan.scaffold not in _PAPERS_SCAFFOLDS:
        said.append(f"the paper has no scaffold {plan.scaffold}; its seeds are those of greedy agents")
    return said


def _names(settings: ProtocolSettings) -> list[str]:
    """What the protocol has a say in. How many seeds a run of ours has is its user's choice."""
    own = {"seeds"} if settings.steps is None else set()
    return [each.name for each in fields(settings) if getattr(settings, each.name) is not None and each.name not in own]


def _flags(settings: ProtocolSettings) -> list[str]:
    return [_flag(name, getattr(settings, name)) for name in _names(settings)]


def _flag(name: str, value: object) -> str:
    """An option as one types it."""
    if name == "exclusive":
        return "--exclusive" if value else "--no-exclusive"
    if isinstance(value, tuple):
        in_turn = value == tuple(range(len(value)))
        return f"--seeds {len(value) if in_turn else ','.join(map(str, value)) + ',' * (len(value) == 1)}"
    return f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"
