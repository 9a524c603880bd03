"""Agents by name: searchers, models on cards, files of the user's, and replays of recorded runs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Protocol

from aira_bench.agents.agent import Agent
from aira_bench.agents.answer_file import defines_answer, load_model
from aira_bench.agents.fixed_code import NoopAgent, SolutionFileAgent
from aira_bench.agents.llm.spending import Budgets
from aira_bench.agents.searchers.architectures import ArchitectureSpace
from aira_bench.agents.searchers.bayes import BayesAgent, IncrementalBayesAgent
from aira_bench.agents.searchers.modules import ModuleSpace
from aira_bench.agents.searchers.scripts import ScriptSpace
from aira_bench.agents.searchers.searcher import OpenSpace, Searcher, draw_at_random, evolve, submit_baseline
from aira_bench.cards.card import missing_to_use
from aira_bench.cards.card_files import card_names, find_card
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.extensions import Catalog, find_extension, installed
from aira_bench.paths import HostPaths, host_paths
from aira_bench.record.folder import find_run
from aira_bench.record.trust import require_plain

SPACES: Mapping[str, OpenSpace] = {
    "architecture": ArchitectureSpace.open, "module": ModuleSpace.open, "script": ScriptSpace,
}  # fmt: skip
"""What can be searched without a model, by the kind of a task's artifact."""


class BuiltIn(Agent, Protocol):
    """An agent that comes with the product and asks no model."""

    def describe(self) -> str:
        """One line for `aira-bench agents`."""
        ...

    def missing(self) -> tuple[str, ...]:
        """Commands that install what this machine lacks before the agent can propose anything."""
        ...


SEARCHERS: Mapping[str, BuiltIn] = {
    agent.name: agent
    for agent in (
        Searcher(
            "evolution", "Mutates what did best: layers, a module's mechanisms, or the hyperparameters of a script.",
            "regularized-evolution", evolve, SPACES,
        ),
        BayesAgent(),
        IncrementalBayesAgent(),
        Searcher(
            "random", "Draws architectures, modules, or a script's hyperparameters at random.", "greedy",
            draw_at_random, SPACES
        ),
        Searcher(
            "baseline",
            "Submits what everybody starts from: alternating layers, the reference module, or the task's script.",
            "one-shot", submit_baseline, SPACES,
        ),
        NoopAgent(),
    )
}  # fmt: skip
AGENTS: Catalog[Agent] = Catalog("agent", SEARCHERS, Agent)


@dataclass(frozen=True)
class AgentRow:
    """One line of `aira-bench agents`."""

    name: str
    kind: str
    description: str
    prices: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentOptions:
    """What a run may ask of its agent; offered to those of other distributions as `options`."""

    budgets: Budgets = field(default_factory=Budgets)
    memory: bool = True
    provider: str | None = None
    """In place of the one that an agent's card names."""


def find_agent(name: str, options: AgentOptions | None = None, paths: HostPaths | None = None) -> Agent:
    """Return the agent of that name.

    `script:FILE.py` is a solution file, or a function in place of a model if the file defines `answer(request)`;
    `replay:RUN` answers from a recorded run; anything else is a searcher, an agent card (by name or path), or an agent
    of another distribution (`aira_bench.extensions`).

    Raises:
        UsageError: nothing has that name, or the file cannot be used.
        PrerequisiteError: the card's key or URL is missing, the package a searcher needs, or a method of an agent.
    """
    options = options or AgentOptions()
    kind, _, rest = name.partition(":")
    is_card = kind not in ("script", "replay") and (name.endswith(".toml") or name in card_names(os.environ))
    if options.provider is not None and (name in SEARCHERS or not is_card):
        raise UsageError(f"Agent {name!r} is no card, so it has no provider.", hint="aira-bench agents")
    if kind == "script" and rest:
        return _from_file(Path(rest), options)
    if kind == "replay" and rest:
        return _replay(rest, options, paths or host_paths())
    if name in SEARCHERS:
        return _searcher(name)
    if is_card:
        return _from_card(name, options)
    extension = find_extension("agent", name, [*SEARCHERS, *card_names(os.environ)])
    assert extension is not None, "built-in ones have been found above"
    return AGENTS.made_by(extension, options=options)


def _searcher(name: str) -> Agent:
    agent = SEARCHERS[name]
    if missing := agent.missing():
        raise PrerequisiteError(f"Agent {name} needs a package that is not installed.", hint=missing[0])
    return agent


def _from_card(name: str, options: AgentOptions) -> Agent:
    from aira_bench.agents.llm.llm_agent import LlmAgent
    from aira_bench.agents.llm.model_sources import ProviderSource

    card = find_card(name, os.environ)
    if options.provider is not None:
        card = card.model_copy(update={"provider": options.provider})
    try:
        source = ProviderSource.open(card, os.environ, options.budgets)
    except PrerequisiteError as error:
        hint = f"{error.hint}   (without a key: --agent evolution, or --agent replay:RUN of a recorded run)"
        raise PrerequisiteError(error.message, hint=hint) from error
    return LlmAgent(card.name, source, memory=options.memory)


def _from_file(path: Path, options: AgentOptions) -> Agent:
    fixed = SolutionFileAgent.load(path)
    if not defines_answer(path, fixed.code):
        return fixed
    from aira_bench.agents.llm.llm_agent import LlmAgent
    from aira_bench.agents.llm.model_sources import FunctionSource

    return LlmAgent(fixed.name, FunctionSource(load_model(path, fixed.name)), memory=options.memory)


def told_of(agent: Agent) -> str:
    """What a user's file was taken for, in words; empty for other agents."""
    if isinstance(agent, SolutionFileAgent):
        return f"{agent.name} is a solution: it runs in a container at every step (it defines no answer(request))"
    if agent.name.startswith("script:"):
        return f"{agent.name} defines answer(request): it is asked in place of a model, in this process"
    return ""


def _replay(run: str, options: AgentOptions, paths: HostPaths) -> Agent:
    folder = find_run(paths.runs, run)
    require_plain(folder)
    manifest = folder.manifest
    plan = manifest.plan
    if (found := manifest.extensions.get("agent")) is not None:
        raise UsageError(
            f"The agent of run {run} is the extension {found.target}, whose calls are not recorded to be replayed.",
            hint=f"aira-bench run --agent {quote(plan.agent)} --task {quote(plan.task)}",
        )
    if plan.agent.startswith("script:") and not list(folder.path.glob("seeds/*/calls")):
        return SolutionFileAgent.load(folder.agent_file)  # never runs but in a container
    if plan.agent in SEARCHERS:
        return _searcher(plan.agent)
    from aira_bench.agents.llm.llm_agent import LlmAgent
    from aira_bench.agents.llm.model_sources import ReplaySource

    return LlmAgent(plan.agent, ReplaySource(folder), memory=plan.memory == "paper")


def agent_rows(faults: list[UsageError] | None = None) -> list[AgentRow]:
    """Return every agent that can be named, with what is missing to use it.

    Args:
        faults: takes what is wrong with each card that cannot be read, which then has no row.

    Raises:
        UsageError: a card cannot be read, and there is no list to name it in.
    """
    searchers = [
        AgentRow(agent.name, "searcher", agent.describe(), missing=agent.missing()) for agent in SEARCHERS.values()
    ]
    models = []
    for name in card_names(os.environ):
        try:
            card = find_card(name, os.environ)
        except UsageError as error:
            if faults is None:
                raise
            faults.append(error)
            continue
        price = "unknown"
        if card.prices and card.prices.usd_per_mtok_input is not None and card.prices.usd_per_mtok_output is not None:
            price = f"{card.prices.usd_per_mtok_input:g} / {card.prices.usd_per_mtok_output:g} ({card.prices.as_of})"
        description = f"{card.title} ({card.provider}: {card.model})"
        models.append(AgentRow(name, "model", description, price, tuple(missing_to_use(card, os.environ))))
    installed_ones = [
        AgentRow(each.name, "installed", f"Of {each.origin} ({each.target}).")
        for each in installed("agent")
        if each.name not in {*SEARCHERS, *card_names(os.environ)}
    ]
    others = [
        AgentRow("script:FILE.py", "file", "Your solution file, or your answer(request) in place of a model."),
        AgentRow("replay:RUN", "record", "The model calls of a recorded run, without key or network."),
        AgentRow("path/to/card.toml", "model", "An agent card of your own."),
        AgentRow("module:Class", "class", "An agent of your own: a class, function or object (docs/api.md)."),
    ]
    return [*searchers, *models, *installed_ones, *others]
