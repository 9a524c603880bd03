"""What holds for every `Agent`, tried on a search played with its own scaffold and random results.

An agent that asks a model needs one whose answers do not vary, such as a `ScriptedModel`. Proposals are not run.

Not covered: whether its solutions are any good, or run at all.
"""

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aira_bench.agents.agent import (
    Agent,
    Brief,
    Proposal,
    Situation,
    StepReport,
    brief_for,
    fault_of_analysis,
    fault_of_proposal,
)
from aira_bench.protocol_check import lacks
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.scaffolds.policy import Draft, Stop
from aira_bench.tasks.task import find_task
from aira_bench.testing.checks import Check, require
from aira_bench.testing.policy_checks import Result, generator, node_after
from aira_contract.settings import ProfileName

_STEPS = 9
_RESULTS: tuple[Result, ...] = (("valid", 0.5), ("valid", 0.25), ("buggy", None), ("timeout", None))


@dataclass(frozen=True)
class AgentOnTask:
    """An agent and what it is told of a task."""

    agent: Agent
    brief: Brief


def brief_of(task: str, *, profile: ProfileName = "cpu", public: Path = Path("data")) -> Brief:
    """Return what agents are told of a task; `public` is the folder of its public data, for agents that read it.

    Raises:
        UsageError: there is no such task or profile.
    """
    return brief_for(find_task(task), profile, public)


def situation(calls: Path, *, seed: int = 0) -> Situation:
    """Return the first request of a search; `calls` is a folder for records of model calls."""
    return Situation(
        action=Draft(), journal=(), read_step=lambda step: StepFiles("", "", ""), rng=generator(seed, 1),
        steps_left=_STEPS, seconds_left=3600.0, seed=seed, step=1, calls=calls,
    )  # fmt: skip


def _played(subject: AgentOnTask, folder: Path) -> Iterator[tuple[Situation, Proposal]]:
    """The requests of one search with the agent's own scaffold, and the agent's answers."""
    agent, brief = subject.agent, subject.brief
    policy = make_scaffold(agent.default_scaffold, steps=_STEPS, lower_is_better=brief.lower_is_better)
    nodes: list[Node] = []
    codes: dict[int, str] = {}
    draw = random.Random(0)
    for step in range(1, _STEPS + 1):
        action = policy.next(tuple(nodes), generator(0, step))
        if isinstance(action, Stop):
            return
        asked = replace(
            situation(folder / str(step)), action=action, journal=tuple(nodes), rng=generator(1, step), step=step,
            read_step=lambda step: StepFiles(codes[step], "", ""), steps_left=_STEPS - step + 1,
        )  # fmt: skip
        proposal = agent.propose(brief, asked)
        yield asked, proposal
        codes[step] = proposal.code
        node = node_after(action, step, draw.choice(_RESULTS))
        nodes.append(replace(node, canonical=_canonical(brief, draw)) if node.is_valid else node)


def _canonical(brief: Brief, draw: random.Random) -> str | None:
    """What a judge might have read in a valid submission, where it names the normal form."""
    artifact = brief.artifact
    if artifact.kind != "architecture":
        return None
    return ",".join(draw.choice(artifact.primitives) for _ in range(artifact.layers))


def _has_every_method(subject: AgentOnTask) -> None:
    lacking = lacks(subject.agent, Agent)
    require(not lacking, "every method of the protocol", lacking)


def _has_a_name(subject: AgentOnTask) -> None:
    name = subject.agent.name
    require(isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100, "a short name", name)
    make_scaffold(subject.agent.default_scaffold, steps=_STEPS, lower_is_better=False)


def _proposes(subject: AgentOnTask) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for _, proposal in _played(subject, Path(folder)):
            fault = fault_of_proposal(proposal)
            require(not fault, f"a Proposal of which a step can be made, but {fault}", proposal)


def _is_repeatable(subject: AgentOnTask) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = [proposal for _, proposal in _played(subject, Path(folder) / "first")]
        again = [proposal for _, proposal in _played(subject, Path(folder) / "again")]
    codes = [(one.code, one.plan, one.changes, one.failure) for one in first]
    require(
        codes == [(one.code, one.plan, one.changes, one.failure) for one in again],
        "the same proposals for the same situations", "others",
    )  # fmt: skip


def _resumes(subject: AgentOnTask) -> None:
    """A resumed process asks for step n of the journal first; it has not seen the steps before."""
    with tempfile.TemporaryDirectory() as folder:
        whole = list(_played(subject, Path(folder) / "whole"))
        subject.agent.resume({0: Path(folder) / "no such seed"})
        asked, proposal = whole[-1]
        calls = Path(folder) / "resumed"
        again = subject.agent.propose(subject.brief, replace(asked, rng=generator(1, asked.step), calls=calls))
        require(again.code == proposal.code, "the proposal of an undisturbed run", again.code)


def _uses_its_generator(subject: AgentOnTask) -> None:
    random.seed(0)
    before = random.getstate()
    _proposes(subject)
    require(random.getstate() == before, "no draw from the global generator", "one")


def _analyzes(subject: AgentOnTask) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = StepReport("pass", "exit status 0", 1.0, "0.5\n", "")
        found = subject.agent.analyze(subject.brief, situation(Path(folder)), report)
        fault = fault_of_analysis(found)
        require(not fault, f"an Analysis, or None from agents that do not look, but {fault}", found)


AGENT_CHECKS: tuple[Check[AgentOnTask], ...] = (
    Check("it has every method of the protocol", _has_every_method),
    Check("it has a name that boards can show, and a scaffold that exists", _has_a_name),
    Check("it answers every situation its scaffold leads to with a proposal", _proposes),
    Check("it proposes the same for the same situation", _is_repeatable),
    Check("it goes on from a journal alone, as after a kill", _resumes),
    Check("it draws from the generator it is given alone", _uses_its_generator),
    Check("it analyzes a step, or does not look", _analyzes),
)
