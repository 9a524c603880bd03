"""What a user asks for when a run is begun: names and defaults of `aira-bench run` and of `aira_bench.run`.

Its fields are the command line's options and its defaults are theirs; nobody else states them. What a name leads to is
found by `aira_bench.runs.resolve`. It imports nothing, so that `--help` stays quick.
"""

from dataclasses import dataclass
from typing import Literal

from aira_contract.settings import ProfileName


@dataclass(frozen=True)
class RunRequest:
    """What a user asks for. None leaves a choice to the protocol, the task's profile, the agent, or the machine.

    A replay (`agent="replay:RUN"`) is the recorded run under another name: it may be given `name`, `source`, `cores`,
    `gpus`, `allow_cpu`, `gpus_per_seed`, `exclusive` and `confirm`, and anything else is refused.
    """

    agent: str
    """A searcher's name, an agent card's or its path, `script:FILE.py`, `replay:RUN`, or an extension's name."""
    task: str | None = None
    """A task's name or the path of its folder; None only for replays."""
    profile: ProfileName = "paper"
    """`paper` has the paper's sizes and budgets, `cpu` the same code shrunk."""
    protocol: Literal["aira", "paper"] = "aira"
    """What is set where nothing else is said: `aira` is ours, `paper` the paper's (`aira_bench.runs.protocol`)."""
    seeds: tuple[int, ...] | None = None
    """Their numbers: `(0, 1)` for what `--seeds 2` asks for; None for the protocol's, ours having `(0,)`."""
    steps: int | None = None
    """Step budget of each seed."""
    hours: float | None = None
    """Time budget of each seed."""
    step_timeout_s: float | None = None
    """Cap on one solution."""
    scaffold: str | None = None
    """What decides the next step; None for the agent's own choice."""
    fitness: Literal["hidden", "claimed"] | None = None
    """What drives the search: the judge's hidden validation, or the agent's own number; None for the protocol's."""
    bugs: Literal["judge", "analysis"] | None = None
    """Who says that a step is a bug: the engine and the judge alone, or also the agent's own analysis; None for the
    protocol's."""
    concurrency: int | None = None
    """Steps at a time."""
    cores: int | tuple[int, ...] | None = None
    """How many cores the run leases of this machine, or which; None for all that it may use."""
    gpus: int | tuple[str, ...] | None = None
    """The same for GPUs, by number or UUID, where the profile uses them; `("all",)` is None's other name."""
    allow_cpu: bool = False
    """Whether profile `paper` may run on a processor where there is no GPU."""
    gpus_per_seed: int | None = None
    """How many GPUs a step has; 1, and only where the profile uses GPUs."""
    exclusive: bool | None = None
    """Whether a seed keeps its GPU, or its cores, until it ends, also while its model thinks; None for the
    protocol's."""
    name: str | None = None
    """Of the run and its folder."""
    source: str | None = None
    """Where raw data comes from: a folder, `synthetic`, or None for the task's own way."""
    score_cache: bool = True
    """Whether a submission that was scored under the same conditions before keeps its score."""
    memory: Literal["paper", "none"] = "paper"
    """What prompts tell of other steps."""
    evaluator: str | None = None
    """An extension that scores submissions; None for the evaluator that fits the task's artifact."""
    provider: str | None = None
    """An extension that serves the agent's card; None for the provider that the card names."""
    confirm: bool = True
    """Whether what was submitted is trained again at the end, from fresh seeds on hidden data that no search has seen:
    boards order by those scores."""
    hidden_key: str | None = None
    """The file of the key that hidden data is derived from; None for the machine's default, or published seeds."""
    max_cost_usd: float | None = None
    """Hard cap on the run's model calls."""
    max_tokens: int | None = None
    """Hard cap on the run's model tokens."""
    seed_max_cost_usd: float | None = None
    """The same for each seed."""
    seed_max_tokens: int | None = None
    """The same for each seed."""
