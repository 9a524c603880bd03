"""What a suite may take as a whole, before any of it begins: hours of seeds, tokens, dollars and disk.

A cell's figures come from steps of earlier runs of the same agent, task and profile where there are any
(`aira_bench.suites.past`), else from the agent's card, the task's profile and times measured on one H200
(`aira_bench.runs.expense`). A range is between what is likely and what budgets allow.

Not covered: images (`aira-bench run --dry-run` tells), and what solutions of models compute.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aira_bench.agents.catalog import SEARCHERS, find_agent
from aira_bench.agents.llm.llm_agent import LlmAgent
from aira_bench.cards.card import Card, missing_to_use
from aira_bench.cards.card_files import card_names, find_card
from aira_bench.errors import AiraError, PrerequisiteError
from aira_bench.evaluation.catalog import EVALUATORS
from aira_bench.hardware import Hardware
from aira_bench.paths import HostPaths
from aira_bench.record.manifest import RunPlan
from aira_bench.runs.expense import Expense, Range, confirm_hours, expect_with
from aira_bench.runs.resolve import hidden_key_for, plan_of
from aira_bench.scaffolds.catalog import SCAFFOLDS
from aira_bench.suites.past import Experiment, StepPace
from aira_bench.suites.suite_file import SuiteCell, SuitePlan
from aira_bench.tasks.data_source import choose_source, missing_files
from aira_bench.tasks.metadata import PublicFile
from aira_bench.tasks.task import Task
from aira_bench.world import SystemWorld
from aira_contract.settings import ON_GPUS

_CHARS_A_TOKEN = 4
_OUTPUT_BYTES = 256 << 10
"""The most that is kept of what a solution and its evaluation print."""
NOTHING = Range(0.0, 0.0)


@dataclass(frozen=True)
class AgentUse:
    """An agent of a suite, and whether it can be used here."""

    name: str
    card: Card | None
    """None where it asks no model, or nobody knows it."""
    obstacle: AiraError | None
    """What stands in the way, with what to do."""
    default_scaffold: str = LlmAgent.default_scaffold


@dataclass(frozen=True)
class CellCost:
    """What a cell may take that has not begun, or all of one that has."""

    cell: SuiteCell
    plan: RunPlan
    """Of its run, as far as it is decided before the run begins."""
    steps: int
    """Of a seed, at most."""
    seed_hours: Range
    """Summed over seeds, what confirms them included; GPU-hours where the profile uses GPUs."""
    confirming: Range
    """Of these, what confirms all seeds' submissions: at the measured pace, and what its time limits allow."""
    wall_hours: Range
    tokens: Range
    usd: Range | None
    """None where a price is unknown."""
    disk_mib: Range
    past_steps: int
    """How many steps of earlier runs stand behind it; 0 where none do."""


@dataclass(frozen=True)
class SuiteCost:
    """What all cells may take together, and what would keep them from beginning."""

    cells: tuple[CellCost, ...]
    agents: tuple[AgentUse, ...]
    downloads_mib: float
    """Of public data that is not here yet and whose size is known."""
    files: int
    """How many such files there are, those of unknown size included."""

    @property
    def obstacles(self) -> tuple[AgentUse, ...]:
        """The agents that cannot be used here."""
        return tuple(agent for agent in self.agents if agent.obstacle is not None)

    def total(self, figure: Callable[[CellCost], Range]) -> Range:
        """Return the sum of a figure over all cells."""
        found = [figure(cell) for cell in self.cells]
        return Range(sum(each.low for each in found), sum(each.high for each in found))

    @property
    def usd(self) -> Range:
        """Dollars of all cells whose prices are known."""
        return self.total(lambda cell: cell.usd or NOTHING)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Agents whose models' prices nobody stated."""
        return tuple(dict.fromkeys(cell.cell.request.agent for cell in self.cells if cell.usd is None))


def agent_use(name: str) -> AgentUse:
    """Return an agent by its name, with its card, and what is missing before it can be used."""
    try:
        if name in card_names(os.environ) or name.endswith(".toml"):
            card = find_card(name, os.environ)
            missing = missing_to_use(card, os.environ)
            return AgentUse(name, card, PrerequisiteError(f"{'; '.join(missing)}.") if missing else None)
        if name in SEARCHERS and (steps := SEARCHERS[name].missing()):
            lacking = PrerequisiteError("it needs a package that is not installed.", hint=steps[0])
            return AgentUse(name, None, lacking, SEARCHERS[name].default_scaffold)
        return AgentUse(name, None, None, find_agent(name).default_scaffold)
    except AiraError as error:
        return AgentUse(name, None, error)


def estimate(plan: SuitePlan, machine: Hardware, paces: Mapping[Experiment, StepPace], paths: HostPaths) -> SuiteCost:
    """Return what a suite may take.

    Args:
        plan: its cells.
        machine: this one.
        paces: what steps of earlier runs took.
        paths: of this machine.

    Raises:
        UsageError: a task, its source, a scaffold or an evaluator is unknown, or a task has no such profile, or takes
            no hidden key.
        PrerequisiteError: a hidden key cannot be used.
        TaskError: a task folder is broken.
    """
    agents = {name: agent_use(name) for name in plan.agents}
    costs = tuple(_cost(cell, agents[cell.request.agent], machine, paces, paths) for cell in plan.cells)
    files = {file.url: file for cost in costs for file in _missing(cost, paths)}
    known = sum(file.bytes or 0 for file in files.values())
    return SuiteCost(costs, tuple(agents.values()), known / 2**20, len(files))


def _missing(cost: CellCost, paths: HostPaths) -> list[PublicFile]:
    source = choose_source(cost.cell.task, cost.cell.request.source)
    return missing_files(cost.cell.task, cost.plan.profile, source, paths)


def _cost(
    cell: SuiteCell, agent: AgentUse, machine: Hardware, paces: Mapping[Experiment, StepPace], paths: HostPaths
) -> CellCost:
    task = cell.task
    source, key = choose_source(task, cell.request.source), hidden_key_for(task, cell.request.hidden_key, paths)
    plan = plan_of(cell.request, task, agent, source, SystemWorld(), machine, key)
    SCAFFOLDS.find(plan.scaffold)
    if plan.evaluator is not None:
        EVALUATORS.find(plan.evaluator)
    slots = len(machine.gpus) if plan.profile in ON_GPUS and machine.gpus else machine.cores
    found, confirming = expect_with(plan, task, agent.card, slots), confirm_hours(plan, task)
    pace = paces.get((plan.agent, task.title, plan.profile), StepPace())
    found = found if pace.step_s is None else _at_pace(found, plan, pace.step_s, slots, confirming)
    seeds, steps = len(plan.seeds), found.steps * len(plan.seeds)
    on_gpus = plan.profile in ON_GPUS
    hours = found.search_gpu_hours if on_gpus or pace.step_s is not None else Range(0.0, plan.hours * seeds)
    hours += confirming
    tokens, usd = found.tokens_a_step * steps, found.usd
    if agent.card is not None and pace.step_tokens is not None:
        tokens = Range(pace.step_tokens, pace.step_tokens) * steps
    if agent.card is not None and usd is not None and pace.step_usd is not None:
        usd = Range(pace.step_usd, pace.step_usd) * steps
    if plan.seed_max_cost_usd is not None and usd is not None:
        usd = Range(min(usd.low, plan.seed_max_cost_usd * seeds), min(usd.high, plan.seed_max_cost_usd * seeds))
    if plan.seed_max_tokens is not None:
        tokens = Range(min(tokens.low, plan.seed_max_tokens * seeds), min(tokens.high, plan.seed_max_tokens * seeds))
    disk = _disk_mib(task, found, pace) * steps
    return CellCost(cell, plan, found.steps, hours, confirming, found.wall_hours, tokens, usd, disk, pace.steps)


def _at_pace(found: Expense, plan: RunPlan, step_s: float, slots: int, confirming: Range) -> Expense:
    """An expense at the pace of earlier steps, whose seconds are all of a seed's hours."""
    steps = plan.steps if step_s <= 0 else max(1, min(plan.steps, int(plan.hours * 3600 / step_s)))
    seeds = len(plan.seeds)
    hours = min(plan.hours, steps * step_s / 3600)
    factor = steps / found.steps
    return replace(
        found, step_s=step_s, steps=steps, search_gpu_hours=Range(hours, plan.hours) * seeds,
        wall_hours=Range(hours, plan.hours) * max(1.0, seeds / slots) + confirming * (1 / slots),
        usd=None if found.usd is None else found.usd * factor,
    )  # fmt: skip


def _disk_mib(task: Task, found: Expense, pace: StepPace) -> Range:
    """MiB that a step leaves behind."""
    if pace.step_bytes is not None:
        return Range(pace.step_bytes, pace.step_bytes) * (1 / 2**20)
    spoken, artifact = found.tokens_a_step, task.metadata.aira.artifact.max_kib << 10
    low, high = (tokens * _CHARS_A_TOKEN for tokens in (spoken.low, spoken.high))
    return Range(low, high + artifact + _OUTPUT_BYTES) * (1 / 2**20)


def free_mib(folder: Path) -> float:
    """Return what is free where a folder is or will be, in MiB."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize / 2**20
