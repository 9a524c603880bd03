"""What a run may take, before any of it is paid for: steps, GPU-hours, tokens and dollars.

Budgets bound steps and hours, and nothing but a cap bounds dollars. The rest is an estimate: from times measured on
one H200 (docs/performance.md), list prices on the agent's card, lengths of files, and four characters a token. Where
nothing was measured, there is no figure.

Not covered: data and images (`forecast`), taxes, and calls that are made again because an answer could not be used.
"""

import math
from dataclasses import dataclass, replace

from aira_bench.agents.agent import Agent
from aira_bench.cards.card import Card
from aira_bench.evaluation.traced_module import TRAININGS
from aira_bench.llm.model import Usage
from aira_bench.llm.pricing import call_cost_usd
from aira_bench.record.manifest import RunPlan
from aira_bench.runs.resolve import trainings_of
from aira_bench.tasks.task import DESCRIPTION, Task
from aira_contract.settings import ON_GPUS

CHARS_A_TOKEN = 4
"""Of English and code, roughly; tokenizers differ by a third."""
_UNSEEN_ARTIFACT_CHARS = 4_000
"""Of a submission whose baseline does not lie in the task's folder."""
_SCORING_S = {"autoresearch": 247, "autoresearch-lit": 247, "mad-2p": 46, "lra-listops": 344, "lra-listops-conf": 344}
"""Seconds of one H200 for what follows a submission, training budgets that the task names aside."""

_FINAL_TIMES = {"autoresearch": 5, "autoresearch-lit": 5}
"""How many times as much there is to score on the hidden data that confirms (docs/autoresearch.md: questions)."""

ONE_SHOT = "one-shot"
"""The scaffold that drafts once, whatever its budget."""
_PREPARATION_MIN = {"autoresearch": 26, "autoresearch-lit": 26}
"""Minutes of one GPU in which a task's hidden data is made (docs/autoresearch_data.md)."""

_BASELINE_MIB = {"autoresearch": 43_725, "autoresearch-lit": 43_725}
"""Most memory that a task's baseline held on one H200 (42.7 GiB, without flash-attn)."""


@dataclass(frozen=True)
class Range:
    """A low and a high figure."""

    low: float
    high: float

    def __mul__(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class Expense:
    """What all seeds together may take."""

    step_s: float | None
    """Seconds on a device of one step's evaluation; None where nothing was measured."""
    steps: int
    """How many steps of a seed fit into its hours at that pace; its budget of steps where nothing was measured."""
    search_gpu_hours: Range
    """At the measured pace, without what solutions compute themselves; and what all seeds' hours allow."""
    confirm_gpu_hours: Range
    """Of the trainings that confirm what all seeds submit, which are in no seed's hours: at the measured pace, and what
    their time limits allow.
    """
    wall_hours: Range
    """Between the measured pace on so many devices, for which no seed waits where its model thinks until its hours end,
    and seeds that never think.
    """
    calls_a_step: int
    """Of a model; 0 where none is asked."""
    prompt_tokens: int
    """Of one call."""
    answer_tokens: Range
    """Of one call: no longer than the baseline and without thinking; and the card's limit."""
    usd: Range | None
    """Of all steps that fit, at both lengths of answers, were there no cap; None where a price is unknown."""

    @property
    def gpu_hours(self) -> Range:
        """Of the searches and the confirmations together."""
        return self.search_gpu_hours + self.confirm_gpu_hours

    @property
    def tokens_a_step(self) -> Range:
        """Prompts and answers of one step."""
        return Range(self.prompt_tokens + self.answer_tokens.low, self.prompt_tokens + self.answer_tokens.high) * (
            self.calls_a_step
        )


def expect(plan: RunPlan, task: Task, agent: Agent, slots: int) -> Expense:
    """Return what a run may take.

    Args:
        plan: of the run.
        task: its task.
        agent: its agent, whose card has prices.
        slots: how many steps there are at a time.
    """
    # What belongs to models is not loaded for agents that ask none.
    return expect_with(plan, task, None if agent.provenance().card is None else _card_of(agent), slots)


def expect_with(plan: RunPlan, task: Task, card: Card | None, slots: int) -> Expense:
    """Return what a run may take whose agent is known by its card alone, such as one without a key on this machine.

    Args:
        plan: of the run.
        task: its task.
        card: of its agent; None where no model is asked.
        slots: how many steps there are at a time.
    """
    step_s, seeds, on_gpus, most = _step_s(task, plan), len(plan.seeds), plan.profile in ON_GPUS, most_steps(plan)
    hours = min(plan.hours, most * (plan.step_timeout_s + plan.evaluation_timeout_s) / 3600)
    paced = hours if step_s is None else min(hours, most * step_s / 3600)
    steps = most if step_s is None else max(1, min(most, int(plan.hours * 3600 / step_s)))
    turns = max(1.0, math.ceil(seeds / slots) if plan.exclusive else seeds / slots)
    # Only models that think leave devices to others, and where steps end a seed, thinking does not take from its steps.
    least_turns = turns if step_s is not None and (plan.exclusive or card is None or paced < hours) else 1.0
    calls, prompt_tokens = (0, 0) if card is None else _asked(plan, task)
    limit = 0 if card is None else card.max_output_tokens
    answer = Range(min(_artifact_chars(task) // CHARS_A_TOKEN, limit), limit)
    confirming = confirm_hours(plan, task)
    found = Expense(
        step_s, steps, Range(paced if step_s else 0, hours) * (seeds if on_gpus else 0), confirming * on_gpus,
        Range(paced * least_turns, hours * turns) + confirming * (1 / slots), calls, prompt_tokens, answer, Range(0, 0),
    )  # fmt: skip
    return found if card is None else replace(found, usd=_usd(card, found, seeds))


def most_steps(plan: RunPlan) -> int:
    """Return how many steps a seed can have: its budget, and one where its scaffold drafts once."""
    return 1 if plan.scaffold == ONE_SHOT else plan.steps


def confirm_hours(plan: RunPlan, task: Task) -> Range:
    """Return the hours of evaluations that confirm what all seeds submit: at the measured pace, 0 where nothing was
    measured; and what their time limits allow.
    """
    if not plan.confirm:
        return Range(0, 0)
    most_s = trainings_of(task, plan.profile) * plan.evaluation_timeout_s
    return Range(min(confirmation_s(task, plan) or 0.0, most_s), most_s) * (len(plan.seeds) / 3600)


def confirmation_s(task: Task, plan: RunPlan) -> float | None:
    """Return the seconds of a device that confirming one submission takes; None where nothing was measured."""
    step_s, trainings = _step_s(task, plan), trainings_of(task, plan.profile)
    if step_s is None:
        return None
    more_s = (_FINAL_TIMES.get(task.title, 1) - 1) * _SCORING_S[task.title]
    # A module's first training is one on control tasks, too.
    controls = TRAININGS["final"] - TRAININGS["search"] if task.metadata.aira.artifact.kind == "module" else 0
    return trainings * (step_s + more_s) + controls * step_s


def preparation_minutes(task: Task, plan: RunPlan) -> int:
    """Return how many minutes of a GPU preparing a task's data takes once; 0 where it needs none."""
    return _PREPARATION_MIN.get(task.title, 0) if plan.profile in ON_GPUS else 0


def baseline_mib(task: Task) -> int:
    """Return the most memory of a device that a task's baseline was seen to hold; 0 where nobody looked."""
    return _BASELINE_MIB.get(task.title, 0)


def _step_s(task: Task, plan: RunPlan) -> float | None:
    """Seconds on a device of one evaluation: what a script is given to train, and what was measured."""
    measured = _SCORING_S.get(task.title)
    if plan.profile not in ON_GPUS or measured is None:
        return None
    clock = task.profile(plan.profile).fit
    return measured + (0 if clock is None else clock.budget_s)


def _needs_no_analysis(plan: RunPlan, task: Task) -> bool:
    from aira_bench.agents.llm.llm_agent import DATA_ARTIFACTS

    return (
        plan.fitness == "hidden"
        and plan.bugs_named_by == "judge"
        and task.metadata.aira.artifact.kind in DATA_ARTIFACTS
    )


def _card_of(agent: Agent) -> Card | None:
    """The card of an agent's model; None where a function or a record answers in its place."""
    from aira_bench.agents.llm.llm_agent import LlmAgent
    from aira_bench.agents.llm.model_sources import ProviderSource

    return agent.source.card if isinstance(agent, LlmAgent) and isinstance(agent.source, ProviderSource) else None


def _asked(plan: RunPlan, task: Task) -> tuple[int, int]:
    """A model's calls a step, and the tokens of a prompt of a search under way: templates, description, the parent's
    code, and a memory that is full.
    """
    from aira_bench.agents.llm.memory import MEMORY_CHARS
    from aira_bench.agents.llm.prompting import prompt_chars

    chars = prompt_chars() + (task.folder / DESCRIPTION).stat().st_size + MEMORY_CHARS + _artifact_chars(task)
    return 1 if _needs_no_analysis(plan, task) else 2, chars // CHARS_A_TOKEN


def _artifact_chars(task: Task) -> int:
    """Of a submission: as long as the task's own baseline, where it has one."""
    file = task.folder / task.metadata.aira.artifact.name
    return file.stat().st_size if file.is_file() else _UNSEEN_ARTIFACT_CHARS


def _usd(card: Card, found: Expense, seeds: int) -> Range | None:
    """Dollars of all steps, were there no cap."""
    calls = found.calls_a_step * found.steps * seeds
    low, high = (
        call_cost_usd(card.prices, Usage(input_tokens=found.prompt_tokens, output_tokens=round(tokens)))
        for tokens in (found.answer_tokens.low, found.answer_tokens.high)
    )
    return None if low is None or high is None else Range(low, high) * calls


def cap_usd(plan: RunPlan) -> float | None:
    """Return the most that the plan lets the whole run cost; None without a cap."""
    of_seeds = None if plan.seed_max_cost_usd is None else plan.seed_max_cost_usd * len(plan.seeds)
    caps = [cap for cap in (plan.max_cost_usd, of_seeds) if cap is not None]
    return min(caps) if caps else None
