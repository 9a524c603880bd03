"""Fills a run plan from what the user typed, the task's profile and the machine."""

import re
from collections.abc import Mapping
from shlex import quote
from typing import Any, Literal

from aira_bench.agents.catalog import AgentOptions
from aira_bench.agents.llm.model_sources import Budgets
from aira_bench.agents.llm.spending import Caps
from aira_bench.agents.protocol import Agent, FitnessSource
from aira_bench.errors import UsageError
from aira_bench.hardware import this_machine, usable_cores
from aira_bench.record.manifest import RunPlan
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.tasks.sources import DataSource
from aira_bench.tasks.task import Task
from aira_bench.world import World


def make_plan(
    *,
    agent: Agent,
    agent_argument: str,
    task: Task,
    task_argument: str,
    profile: Literal["paper", "cpu"],
    scaffold: str,
    fitness: FitnessSource,
    seeds: tuple[int, ...],
    steps: int | None,
    hours: float | None,
    step_timeout_s: float | None,
    concurrency: int,
    name: str,
    source: DataSource,
    score_cache: bool,
    memory: Literal["paper", "none"],
    caps: Mapping[str, Any],
) -> RunPlan:
    """The plan of a run, its gaps filled from the task's profile.

    Raises:
        UsageError: scaffold, fitness and task do not go together.
    """
    budget = task.profile(profile)
    plan = RunPlan(
        name=name,
        agent=agent_argument,
        task=task_argument,
        profile=profile,
        scaffold=scaffold,
        fitness=fitness,
        seeds=seeds,
        steps=steps or budget.steps,
        hours=hours or budget.hours,
        step_timeout_s=min(step_timeout_s or budget.step_timeout_s, (hours or budget.hours) * 3600),
        evaluation_timeout_s=budget.evaluation_timeout_s,
        concurrency=concurrency,
        score_cache=score_cache,
        source=source.argument,
        memory=memory,
        **caps,
    )
    check_plan(plan, task)
    return plan


def check_plan(plan: RunPlan, task: Task) -> None:
    """Whether scaffold, fitness and task go together.

    Raises:
        UsageError: they do not.
    """
    make_scaffold(plan.scaffold, steps=plan.steps, lower_is_better=task.lower_is_better)
    if plan.fitness == "hidden" and not task.metadata.aira.hidden_validation:
        raise UsageError(
            f"Task {task.title} has no hidden validation data, so nothing hidden can drive the search.",
            hint=f"aira-bench run --agent {quote(plan.agent)} --task {quote(plan.task)} --fitness claimed",
        )


def agent_options(plan_memory: str, caps: Mapping[str, Any]) -> AgentOptions:
    """What a plan asks of its agent; `caps` hold the plan's four budget fields."""
    run = Caps(caps["max_cost_usd"], caps["max_tokens"])
    seed = Caps(caps["seed_max_cost_usd"], caps["seed_max_tokens"])
    return AgentOptions(Budgets(run, seed), memory=plan_memory == "paper")


def default_concurrency(profile: str, seeds: int) -> int:
    """One step a GPU for the paper profile on a GPU machine, else one a core; never more than seeds."""
    gpus = len(this_machine().gpus) if profile == "paper" else 0
    return max(1, min(seeds, gpus or len(usable_cores())))


def default_name(agent: Agent, task: Task, profile: str, world: World) -> str:
    """Agent, task, profile and time, as one file name."""
    name = f"{agent.name}-{task.title}-{profile}-{world.now():%Y%m%d-%H%M%S}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]
