"""Agents without an LLM: what they write, and that seeds decide it."""

import random

from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agents.agent import Brief, Situation
from aira_bench.agents.catalog import SEARCHERS
from aira_bench.agents.searchers.architectures import mutate, random_architecture, written_architecture
from aira_bench.agents.searchers.bayes import BayesAgent
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node
from aira_bench.scaffolds.policy import Draft, Improve
from aira_bench.tasks.artifact_spec import ArtifactSpec

SPEC = ArtifactSpec(kind="architecture", layers=16, primitives=("M", "mA", "Mb"))
BRIEF = Brief("mad-3p", "text", SPEC, "Accuracy", False, "cpu", "hidden", 60.0, 1024)


def situation(action: Draft | Improve, journal: list[Node], seed: int) -> Situation:
    return Situation(action, journal, lambda step: StepFiles("", "", ""), random.Random(seed), 5, 100.0)


def valid_node(step: int, canonical: str) -> Node:
    return Node(step, "draft", (), "valid", "", 0.5, None, "0" * 64, "0" * 64, canonical=canonical)


@given(st.integers(), st.integers(1, 40))
def test_a_mutation_changes_one_layer_or_swaps_two(seed: int, layers: int) -> None:
    rng = random.Random(seed)
    parent = random_architecture(rng, SPEC.primitives, layers)
    child = mutate(rng, parent, SPEC.primitives)
    changed = [index for index in range(layers) if parent[index] != child[index]]
    assert len(child) == layers
    assert set(child) <= set(SPEC.primitives)
    assert len(changed) == 1 or (len(changed) == 2 and sorted(parent) == sorted(child))


def test_the_seed_decides_the_proposal() -> None:
    agent = SEARCHERS["evolution"]
    proposals = {agent.propose(BRIEF, situation(Draft(), [], seed)).code for seed in (1, 1, 2)}
    assert len(proposals) == 2


def test_evolution_mutates_the_parent_it_is_given_and_avoids_what_it_has_seen() -> None:
    space = ArtifactSpec(kind="architecture", layers=2, primitives=("M", "mA"))
    brief = Brief("t", "", space, "Accuracy", False, "cpu", "hidden", 60.0, 1024)
    journal = [valid_node(1, "M,M"), valid_node(2, "M,mA"), valid_node(3, "mA,M")]
    code = SEARCHERS["evolution"].propose(brief, situation(Improve((1,)), journal, 3)).code
    assert 'ARCHITECTURE = "mA,mA"' in code


def test_a_claiming_solution_validates_with_the_evaluators_code() -> None:
    claiming = Brief("mad-3p", "text", SPEC, "Accuracy", False, "cpu", "claimed", 60.0, 1024)
    assert "compose.validate" in SEARCHERS["random"].propose(claiming, situation(Draft(), [], 0)).code
    assert "compose.validate" not in SEARCHERS["random"].propose(BRIEF, situation(Draft(), [], 0)).code


@given(st.integers(), st.sampled_from(["random", "evolution"]))
def test_nothing_beyond_a_budget_is_drawn_or_bred(seed: int, agent: str) -> None:
    """Ten MLPs have 369,344 parameters at toy widths: nine of the ten layers may be MLPs at most."""
    space = ArtifactSpec(kind="architecture", layers=10, primitives=("M", "mA"), most_parameters=350_000)
    brief = Brief("t", "", space, "Loss", True, "cpu", "hidden", 60.0, 1024)
    parent = ",".join(["M"] * 9 + ["mA"])
    assert space.admits(parent.split(","))
    for action in (Draft(), Improve((1,))):
        code = SEARCHERS[agent].propose(brief, situation(action, [valid_node(1, parent)], seed)).code
        found = written_architecture(code)
        assert found is not None
        assert space.admits(found)


def test_bayes_says_that_it_knows_no_budget() -> None:
    budgeted = SPEC.model_copy(update={"most_parameters": 350_000})
    assert "knows no budget of parameters; the task has one of 350,000" in BayesAgent().fault_of(budgeted)
    assert not BayesAgent().fault_of(SPEC)
