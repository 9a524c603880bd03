"""Agents by name."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aira_bench.agents.architectures import BaselineAgent, EvolutionAgent, RandomAgent
from aira_bench.agents.fixed_code import NoopAgent, SolutionFileAgent
from aira_bench.agents.protocol import Agent
from aira_bench.errors import UsageError

SEARCHERS: Mapping[str, Agent] = {
    agent.name: agent for agent in (EvolutionAgent(), RandomAgent(), BaselineAgent(), NoopAgent())
}


@dataclass(frozen=True)
class AgentRow:
    """One line of `aira-bench agents`."""

    name: str
    kind: str
    description: str
    missing: tuple[str, ...] = ()


def find_agent(name: str) -> Agent:
    """The agent of that name, or of the solution file in `script:FILE.py`.

    Raises:
        UsageError: nothing has that name, or the file cannot be read.
    """
    kind, _, rest = name.partition(":")
    if kind == "script" and rest:
        return SolutionFileAgent.load(Path(rest))
    if name in SEARCHERS:
        return SEARCHERS[name]
    close = difflib.get_close_matches(name, SEARCHERS, n=1, cutoff=0.4)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"Unknown agent {name!r}.{guess}", hint="aira-bench agents")


def agent_rows() -> list[AgentRow]:
    """Every agent that can be named."""
    rows = [
        AgentRow(agent.name, "searcher", (type(agent).__doc__ or "").splitlines()[0]) for agent in SEARCHERS.values()
    ]
    return [*rows, AgentRow("script:FILE.py", "file", "Submits a solution file of yours unchanged.")]
