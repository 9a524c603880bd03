"""How a run that goes on stands: what each seed does, what it has spent, what is left, and when it may end.

The same for the process that drives the run (`aira_bench.cli.display`) and for another that reads its folder
(`aira_bench.looking.watching`). What finished steps say is counted once a step.

Not covered: how it is shown (`aira_bench.cli.live_view`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aira_bench.record.growing import tallied
from aira_bench.record.manifest import RunPlan
from aira_bench.record.node import ModelUse, Node, best_node
from aira_bench.shown_numbers import figure

CAUSES = ("slot", "cores", "engine", "provider", "load")
"""What seeds wait for (`aira_bench.waiting.WaitReason`), in the order in which it is shown."""


RUNNING = "running"


@dataclass(frozen=True)
class RunCaps:
    """What a run and each of its seeds may take; None where nothing is said."""

    steps: int = 0
    hours: float | None = None
    run_usd: float | None = None
    seed_usd: float | None = None
    run_tokens: int | None = None
    seed_tokens: int | None = None
    lower_is_better: bool = False

    @classmethod
    def of(cls, plan: RunPlan, *, lower_is_better: bool) -> "RunCaps":
        """Return the caps of a run's plan."""
        return cls(
            plan.steps, plan.hours, plan.max_cost_usd, plan.seed_max_cost_usd, plan.max_tokens, plan.seed_max_tokens,
            lower_is_better,
        )  # fmt: skip


@dataclass(frozen=True)
class SeedState:
    """How one seed stands."""

    seed: int
    step: int = 0
    """The step that it is at, or the last where it is at none."""
    phase: str = "waiting"
    phase_s: float | None = None
    """How long it has been at that; None where nobody knows, and after its end."""
    waits_for: str | None = None
    """What it waits for, one of `CAUSES`, where that is nobody's fault."""
    nodes: Sequence[Node] = ()
    """Its finished steps."""
    is_over: bool = False
    """It has ended or halted."""
    said: str = ""
    """What is said of it instead of its last step: for what it halted, or which budget is used up."""

    @property
    def last(self) -> str:
        """How the last step ended, with its reason; `-` where none has."""
        if self.said or not self.nodes:
            return self.said or "-"
        return ended_words(self.nodes[-1])


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    name: str
    caps: RunCaps
    seeds: tuple[SeedState, ...]
    word: str = ""
    """How it stands in a word: running, finished or stopped."""
    footer: str = ""
    """A line below its seeds."""

    @property
    def title(self) -> str:
        """The run in a line."""
        over = sum(seed.is_over for seed in self.seeds)
        return f"{self.name}: {self.word}, {over} of {len(self.seeds)} seeds over"

    @property
    def is_running(self) -> bool:
        """Whether a process works on it."""
        return self.word == RUNNING


def ended_words(node: Node) -> str:
    """Return how a step ended: its class with its fitness, or with its reason."""
    if node.fitness is not None:
        slow = f" (GPU throttled, {node.throttled})" if node.throttled else ""
        return f"{node.step_class} {figure(node.fitness)}{slow}"
    return f"{node.step_class}: {node.reason}" if node.reason else node.step_class


def best_so_far(nodes: Sequence[Node], *, lower_is_better: bool) -> list[float | None]:
    """Return after each step the best fitness until then; None before the first valid one."""
    return tallied(nodes, _BestSoFar, lower_is_better).values


class _BestSoFar:
    def __init__(self, lower_is_better: bool) -> None:
        self.values: list[float | None] = []
        self._lower_is_better = lower_is_better
        self._best: Node | None = None

    def add(self, node: Node) -> None:
        self._best = best_node([*([self._best] if self._best else []), node], lower_is_better=self._lower_is_better)
        self.values.append(self._best.fitness if self._best else None)


class _Spent:
    def __init__(self) -> None:
        self.use, self.used_s, self.wall_s, self.retries = ModelUse(), 0.0, 0.0, 0
        self.waited_s: dict[str, float] = {}
        self.waits: dict[str, int] = {}

    def add(self, node: Node) -> None:
        self.use += node.model_use
        self.used_s += node.timings.total_s
        self.wall_s += node.timings.total_s + sum(node.timings.waited_s.values())
        self.retries += node.attempts - 1
        for cause, seconds in node.timings.waited_s.items():
            self.waited_s[cause] = self.waited_s.get(cause, 0.0) + seconds
            self.waits[cause] = self.waits.get(cause, 0) + 1


def model_use(nodes: Sequence[Node]) -> ModelUse:
    """Return what steps asked of models together."""
    return tallied(nodes, _Spent).use


def hours_left(state: SeedState, caps: RunCaps) -> float | None:
    """Return what finished steps leave of a seed's hours; None where it has no such limit."""
    return None if caps.hours is None else max(caps.hours - tallied(state.nodes, _Spent).used_s / 3600, 0.0)


def steps_left(state: SeedState, caps: RunCaps) -> int:
    """Return how many steps a seed may still finish."""
    return max(caps.steps - len(state.nodes), 0)


def ends_in_s(state: SeedState, caps: RunCaps) -> float | None:
    """Return in how many seconds a seed may end: as many steps as are left, each as long as those so far with all they
    waited for, or what is left of its hours, whichever is less. None before its first step is finished.
    """
    if state.is_over:
        return 0.0
    spent = tallied(state.nodes, _Spent)
    if not state.nodes:
        return None
    by_steps = spent.wall_s / len(state.nodes) * steps_left(state, caps)
    left = hours_left(state, caps)
    if left is None or spent.used_s <= 0:
        return by_steps
    return min(by_steps, left * 3600 * spent.wall_s / spent.used_s)


@dataclass(frozen=True)
class Waiting:
    """What the seeds of a run waited for, of one cause."""

    cause: str
    now: int
    """Seeds that wait for it now."""
    seconds: float
    """Waited by finished steps."""
    steps: int
    """Finished steps that waited for it."""


@dataclass(frozen=True)
class Troubles:
    """Waiting and retries of all seeds of a run."""

    waits: tuple[Waiting, ...]
    """By cause; those that never were are left out."""
    retries: int
    """Phases done again after infrastructure failed."""
    lost: int = 0
    """Steps that infrastructure took."""
    words: tuple[str, ...] = field(default=())
    """What seeds that wait now say of it, each once."""


def troubles_of(run: RunState) -> Troubles:
    """Return what a run's seeds waited for and what was done again."""
    spent = [tallied(seed.nodes, _Spent) for seed in run.seeds]
    waits = []
    for cause in CAUSES:
        now = sum(seed.waits_for == cause for seed in run.seeds)
        found = Waiting(
            cause, now, sum(each.waited_s.get(cause, 0.0) for each in spent),
            sum(each.waits.get(cause, 0) for each in spent),
        )  # fmt: skip
        waits += [found] if found.now or found.steps else []
    said = dict.fromkeys(seed.phase for seed in run.seeds if seed.waits_for not in (None, "slot"))
    lost = sum(tallied(seed.nodes, _Lost).count for seed in run.seeds)
    return Troubles(tuple(waits), sum(each.retries for each in spent), lost, tuple(said))


class _Lost:
    def __init__(self) -> None:
        self.count = 0

    def add(self, node: Node) -> None:
        self.count += node.is_lost
