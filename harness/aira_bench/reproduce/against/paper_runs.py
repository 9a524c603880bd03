"""Which runs say something of the published tables, what they cost, and which commands would make more of them.

A run compares with the paper's where it is of profile `paper` on real data, of one of the paper's agents and scaffolds,
and had the paper's budget (section 5: 500 steps or 24 hours, 60 on the two larger data sets). All others are shown and
never compared.

A search that hidden validation steered is of another protocol (docs/protocols.md). It is compared, and named.

Not covered: what is measured (the modules beside this).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from aira_bench.boards.board_runs import PAPER
from aira_bench.boards.replicates import SeedResult, seed_result
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import ModelUse
from aira_bench.record.run_record import RunRecord
from aira_bench.record.seed_record import SeedRecord

AGENTS = {
    "cwm": "CWM", "devstral": "Devstral-Small 24B", "gemini3pro": "Gemini 3 Pro", "gemini31pro": "Gemini 3.1 Pro",
    "gpt-oss-120b": "gpt-oss-120b", "gpt-oss-20b": "gpt-oss-20b", "gpt4o": "GPT-4o", "gpt5": "GPT-5", "o3": "o3",
    "o3-mini": "o3-mini", "opus45": "Opus 4.5", "opus46": "Opus 4.6",
}  # fmt: skip
"""The paper's twelve models, by the names of their cards (section 6.2.1)."""
GREEDY_AGENTS = tuple(AGENTS)
ONE_SHOT_AGENTS = ("cwm", "devstral", "gpt-oss-120b", "gpt-oss-20b", "gpt4o", "gpt5", "o3", "o3-mini")
GREEDY, ONE_SHOT = "greedy", "one-shot"
SEEDS = {GREEDY: 10, ONE_SHOT: 20}
STEPS, HOURS, LONG_HOURS = 500, 24.0, 60.0
_FEWEST_STEPS = 499
"""The harness of the paper counts an empty root among its 500."""
_LONG = ("babistories-2p", "dclm-2p")
_TIMED = ("autoresearch", "autoresearch-lit")
"""Tasks whose training ends by the clock, so that another card trains more or less."""
_CARD = "H200"


@dataclass(frozen=True)
class SeedRun:
    """One seed of one run that came to its end."""

    run: RunRecord
    seed: SeedRecord
    result: SeedResult

    @property
    def agent(self) -> str:
        """The agent's name: a card's where it has one."""
        return agent_of(self.run.manifest)

    @property
    def scaffold(self) -> str:
        """The scaffold's name without its preset."""
        return self.run.manifest.plan.scaffold.partition(":")[0]

    @property
    def drawn_with(self) -> tuple[str, str, int]:
        """Agent, task and seed: runs of one seed are drawn together, as they share its data."""
        return self.agent, self.run.manifest.task_title, self.seed.seed


def agent_of(manifest: Manifest) -> str:
    """Return an agent's name: that of its card, wherever the card's file lies, else the plan's."""
    name = (manifest.card or {}).get("name")
    return name if isinstance(name, str) else manifest.plan.agent


@dataclass(frozen=True)
class ChosenRuns:
    """The runs behind one cell."""

    seeds: tuple[SeedRun, ...]
    why_not: tuple[str, ...]
    """Why they do not compare with the paper's; empty if they do."""

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of these runs, each once."""
        return tuple(dict.fromkeys(each.run.name for each in self.seeds))


def choose(
    runs: Sequence[RunRecord], tasks: Sequence[str], scaffolds: Sequence[str], agents: Sequence[str]
) -> ChosenRuns:
    """Return the runs on some tasks that compare with the paper's, or, if none does, all others with the reasons.

    Args:
        runs: all at hand.
        tasks: short names.
        scaffolds: the paper's for what is asked.
        agents: the same.
    """
    on_task = [run for run in runs if run.manifest.task_title in tasks]
    reasons = [why_not(run.manifest, scaffolds, agents) for run in on_task]
    comparable = [run for run, why in zip(on_task, reasons, strict=True) if not why]
    taken = comparable or on_task
    said = () if comparable else tuple(dict.fromkeys(each for why in reasons for each in why))
    return ChosenRuns(tuple(each for run in taken for each in _ended(run)), said)


def _ended(run: RunRecord) -> list[SeedRun]:
    made = (SeedRun(run, seed, seed_result(seed, run.manifest)) for seed in run.seeds)
    return [each for each in made if each.result.ended and (each.result.steps > each.result.infra_errors)]


def why_not(manifest: Manifest, scaffolds: Sequence[str], agents: Sequence[str]) -> tuple[str, ...]:
    """Return why a run does not compare with the paper's, most telling first; empty if it does.

    Args:
        manifest: the run's.
        scaffolds: the paper's for what is asked.
        agents: the same.
    """
    plan, agent, title = manifest.plan, agent_of(manifest), manifest.task_title
    scaffold = plan.scaffold.partition(":")[0]
    hours = LONG_HOURS if title in _LONG else HOURS
    shipped = manifest.compatibility is not None and manifest.compatibility.shipped
    found = [
        ("synthetic data", manifest.synthetic),
        ("not declared as a shipped task with its own evaluator", not shipped or "evaluator" in manifest.extensions),
        (f"profile {plan.profile}", plan.profile != PAPER),
        (f"seed set {plan.seed_set}", plan.seed_set != "search"),
        (f"{agent} is none of the paper's agents", agent not in AGENTS),
        (
            f"the paper did not run {agent} with {scaffold} here",
            agent in AGENTS and (agent not in agents or scaffold not in scaffolds),
        ),
        (
            f"{plan.steps} steps in {plan.hours:g} h of {STEPS} in {hours:g}",
            scaffold != ONE_SHOT and (not _FEWEST_STEPS <= plan.steps <= STEPS or plan.hours != hours),
        ),
        (f"not on an {_CARD}", title in _TIMED and _CARD not in manifest.hardware_class),
    ]
    return tuple(said for said, holds in found if holds)


def run_command(agent: str, task: str, scaffold: str, seeds: int | None = None) -> str:
    """Return the command of a run that would fill a cell; the protocol has the paper's seeds, steps and hours.

    Args:
        agent: its name.
        task: its short name.
        scaffold: its name.
        seeds: where section 6 has other numbers of seeds than section 5.
    """
    more = "" if seeds is None else f" --seeds {seeds}"
    return f"aira-bench run --agent {quote(agent)} --task {task} --protocol paper --scaffold {scaffold}{more}"


def command_for_more(chosen: ChosenRuns, agents: Sequence[str], task: str) -> str:
    """Return the command of the first agent that has not all of its greedy seeds; empty where each has.

    Running the same seeds again would tell nothing new of a cell.

    Args:
        chosen: the runs behind the cell.
        agents: the paper's, in the order in which they are asked for.
        task: its short name.
    """
    had = {(each.agent, each.seed.seed) for each in chosen.seeds if each.scaffold == GREEDY and not chosen.why_not}
    counts = Counter(agent for agent, _ in had)
    lacking = next((agent for agent in agents if counts[agent] < SEEDS[GREEDY]), None)
    return "" if lacking is None else run_command(lacking, task, GREEDY)


@dataclass(frozen=True)
class Cost:
    """What the runs behind a table took."""

    runs: int
    seeds: int
    use: ModelUse
    gpu_hours: float
    processor_hours: float
    """Of steps that had no GPU."""


def cost_of(seeds: Sequence[SeedRun]) -> Cost:
    """Return what seeds took, each once however many cells it is behind."""
    each_once = {(each.run.manifest.run_id, each.seed.seed): each for each in seeds}.values()
    nodes = [node for each in each_once for node in each.seed.nodes]
    hours = {True: 0.0, False: 0.0}
    for node in nodes:
        hours[bool(node.gpu_use)] += (node.timings.execute_s + node.timings.evaluate_s) / 3600
    return Cost(
        len({each.run.manifest.run_id for each in each_once}), len(each_once),
        sum((node.model_use for node in nodes), ModelUse()), hours[True], hours[False],
    )  # fmt: skip
