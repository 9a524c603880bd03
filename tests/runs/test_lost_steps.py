"""What infrastructure took is counted and known to nobody who chooses: no scaffold, no agent, no memory."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.agent import Agent, Brief, Proposal, Situation
from aira_bench.agents.catalog import find_agent
from aira_bench.agents.llm.memory import remember_ancestors, remember_valid
from aira_bench.errors import SandboxError
from aira_bench.record.folder import SeedFolder
from aira_bench.record.node import Journal, Node, best_node, known_to_search
from aira_bench.runs.loop import run_seed
from aira_bench.sandbox.sandbox import ContainerSpec, StepLost
from aira_bench.scaffolds.catalog import SCAFFOLDS, make_scaffold
from aira_bench.scaffolds.policy import Action, Policy
from aira_bench.testing import BUG, LOST, Result, node_after
from runs.test_loop import engine, session

NAMES = sorted(SCAFFOLDS.built_in)
outcomes = st.lists(
    st.one_of(st.just(BUG), st.just(LOST), st.tuples(st.just("valid"), st.floats(-1, 1))), min_size=1, max_size=25
)


@dataclass(frozen=True)
class Watched:
    """A scaffold and an agent that show what they are told."""

    policy: Policy
    agent: Agent
    shown: Callable[[Journal], None]

    def next(self, journal: Journal, rng: random.Random) -> Action:
        self.shown(journal)
        return self.policy.next(journal, rng)

    def __getattr__(self, name: str) -> object:
        return getattr(self.agent, name)

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        self.shown(situation.journal)
        return self.agent.propose(brief, situation)


@pytest.mark.parametrize("scaffold", NAMES)
@given(broken=st.sets(st.integers(1, 40), max_size=12), ran=st.booleans())
@settings(max_examples=8)
def test_nobody_who_chooses_is_told_of_a_step_that_infrastructure_took(
    scaffold: str, broken: set[int], ran: bool
) -> None:
    """Each engine call in `broken` fails, and the two after it, so that the step there is lost."""
    calls = {call + again for call in broken for again in range(3)}
    failure = StepLost("gone") if ran else SandboxError("no start")
    with TemporaryDirectory() as root:

        def fails(call: int, spec: ContainerSpec) -> bool:
            return call in calls

        active = session(Path(root), engine(fails, failure=failure), scaffold=scaffold, steps=8)
        told: list[Journal] = []
        watched = Watched(active.policy, active.agent, told.append)
        folder = SeedFolder(Path(root) / "seed")
        try:
            ended = run_seed(replace(active, policy=watched, agent=watched), folder, 0)  # type: ignore[arg-type]
        except SandboxError:  # not even an empty step ran
            ended = None
        active.slots.close()
        nodes = folder.nodes
        lost = {node.step for node in nodes if node.step_class == "infra_error"}
        assert not any(node.step in lost for journal in told for node in journal)
        assert not any(lost.intersection(node.parents) for node in nodes)
        if ended is not None:
            best = best_node(nodes, lower_is_better=False)
            assert ended.submitted == (best.step if best else None)
            assert ended.submitted not in lost


@given(outcomes, st.integers(0, 25), st.sampled_from(NAMES))
@settings(max_examples=60)
def test_a_lost_step_changes_no_choice_after_it(results: list[Result], at: int, name: str) -> None:
    """The same journal with one more lost step anywhere in it: every scaffold and every memory answers the same."""
    policy = make_scaffold(name, steps=30, lower_is_better=False)
    nodes: list[Node] = []
    for step, result in enumerate(results, start=1):
        action = policy.next(known_to_search(nodes), random.Random(step))
        if not hasattr(action, "operator"):
            break
        nodes.append(node_after(action, step, result))
    more = list(nodes)
    more.insert(min(at, len(nodes)), Node(99, "draft", (), "infra_error", "", None, None, "0", None, code_ran=True))
    assert policy.next(known_to_search(more), random.Random(0)) == policy.next(known_to_search(nodes), random.Random(0))
    assert best_node(more, lower_is_better=True) == best_node(nodes, lower_is_better=True)
    assert remember_valid(more, lower_is_better=False) == remember_valid(nodes, lower_is_better=False)
    for node in nodes:
        assert remember_ancestors(more, node.step) == remember_ancestors(nodes, node.step)


def test_a_script_search_whose_baseline_was_lost_begins_with_the_baseline(tmp_path: Path) -> None:
    """Its second start is a script near the baseline: of a lost first step it must not know."""
    agent = find_agent("evolution")
    told: list[Journal] = []
    active = session(tmp_path, engine(lambda call, spec: call in {1, 2, 3}), steps=2)
    watched = Watched(active.policy, agent, told.append)
    run_seed(replace(active, policy=watched, agent=watched), SeedFolder(tmp_path / "seed"), 0)  # type: ignore[arg-type]
    active.slots.close()
    assert [len(journal) for journal in told] == [0, 0, 0, 0], "asked twice a step, and nothing is known"
