"""Policies as pure functions: properties over random journals, and the published traces."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.record.growing import Growing
from aira_bench.record.node import Node, best_node, known_to_search
from aira_bench.scaffolds.catalog import SCAFFOLDS, make_scaffold
from aira_bench.scaffolds.evolutionary import Evolutionary
from aira_bench.scaffolds.greedy import Greedy
from aira_bench.scaffolds.mcts import MonteCarloTreeSearch
from aira_bench.scaffolds.one_shot import OneShot
from aira_bench.scaffolds.policy import Draft, Stop
from aira_bench.scaffolds.regularized_evolution import RegularizedEvolution
from aira_bench.testing import BUG, LOST, Result, node_after, play_policy
from aira_bench.testing.policy_checks import generator


def valid(fitness: float | None) -> Result:
    return ("valid", fitness)


fitnesses = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
results = st.lists(
    st.one_of(
        st.tuples(st.just("valid"), fitnesses),
        st.tuples(st.sampled_from(["buggy", "timeout", "out_of_memory", "invalid_submission"]), st.none()),
        st.just(LOST),
    ),
    max_size=60,
)


def debug_depth(node: Node, by_step: dict[int, Node]) -> int:
    """How many debug steps in a row led to a node."""
    depth = 0
    while node.operator == "debug":
        depth, node = depth + 1, by_step[node.parents[0]]
    return depth


@pytest.mark.parametrize("name", sorted(SCAFFOLDS.built_in))
@given(results, st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_counted_along_a_journal_is_what_is_counted_anew(
    name: str, outcomes: list[Result], lower: bool
) -> None:
    policy, grown = make_scaffold(name, steps=60, lower_is_better=lower), Growing[Node]()
    for step, result in enumerate(outcomes, start=1):
        known = known_to_search(grown.so_far())
        action = policy.next(known, generator(0, step))
        assert action == policy.next(tuple(known), generator(0, step))
        if isinstance(action, Stop):
            break
        grown.append(node_after(action, step, result))


def test_published_trace_of_the_greedy_search() -> None:
    nodes = play_policy(
        Greedy(), [valid(0.1), valid(0.2), valid(0.2), BUG, valid(0.15), valid(0.1), valid(0.3), valid(0.1)]
    )
    assert [node.operator for node in nodes] == ["draft"] * 5 + ["debug", "improve", "improve"]
    assert nodes[5].parents == (4,)
    assert nodes[6].parents == (2,), "ties keep the earliest"
    assert nodes[7].parents == (7,)


def test_a_search_that_only_fails_debugs_each_chain_to_the_depth_limit_and_then_drafts() -> None:
    policy = Greedy(drafts=2, max_debug_depth=3)
    nodes = play_policy(policy, [BUG] * 12)
    by_step = {node.step: node for node in nodes}
    assert [node.operator for node in nodes] == ["draft"] * 2 + ["debug"] * 8 + ["draft", "debug"]
    assert max(debug_depth(node, by_step) for node in nodes) == 4, "a leaf at the limit may still be debugged"


@given(results, st.integers(1, 7), st.integers(0, 4), st.booleans())
@settings(max_examples=200, deadline=None)
def test_greedy_properties(outcomes: list[Result], drafts: int, depth: int, lower: bool) -> None:
    policy = Greedy(drafts=drafts, max_debug_depth=depth, lower_is_better=lower)
    nodes = play_policy(policy, outcomes)
    for index, node in enumerate(nodes):
        before = nodes[:index]
        by_step = {earlier.step: earlier for earlier in before}
        quota = sum(earlier.operator == "draft" for earlier in known_to_search(before))
        if node.operator == "improve":
            best = best_node(before, lower_is_better=lower)
            assert best is not None
            assert node.parents == (best.step,)
            assert quota >= drafts
        if node.operator == "debug":
            parent = by_step[node.parents[0]]
            assert parent.is_buggy
            assert debug_depth(parent, by_step) <= depth
            children = [child for child in known_to_search(before) if child.parents == node.parents]
            assert not children, "a failed node gets one debug child"
        if node.operator == "draft" and quota >= drafts:
            assert not any(earlier.is_valid for earlier in before)


@given(results, st.booleans())
def test_the_best_node_is_finite_and_the_earliest_of_its_fitness(outcomes: list[Result], lower: bool) -> None:
    nodes = [node_after(Draft(), step, result) for step, result in enumerate(outcomes, start=1)]
    best = best_node(nodes, lower_is_better=lower)
    finite = [node for node in nodes if node.is_valid and node.fitness is not None and math.isfinite(node.fitness)]
    if not finite:
        assert best == next((node for node in nodes if node.is_valid), None)
        return
    assert best in finite
    wanted = (min if lower else max)(node.fitness for node in finite if node.fitness is not None)
    assert best is not None
    assert best.fitness == wanted
    assert best.step == min(node.step for node in finite if node.fitness == wanted)


@given(results, st.integers(1, 5), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_tree_search_expands_in_rows_and_never_walks_into_the_dead(
    outcomes: list[Result], children: int, depth: int
) -> None:
    policy = MonteCarloTreeSearch(children=children, max_debug_depth=depth)
    nodes = play_policy(policy, outcomes)
    for index, node in enumerate(nodes):
        before = {earlier.step: earlier for earlier in nodes[:index]}
        kept = known_to_search(nodes[:index])
        if node.operator == "improve":
            parent = before[node.parents[0]]
            assert parent.is_valid
            assert parent.fitness is not None
            assert math.isfinite(parent.fitness)
            made = [other for other in kept if other.operator == "improve" and other.parents == node.parents]
            assert len(made) < children
        if node.operator == "debug":
            assert node.parents == (kept[-1].step,), "a failure is debugged at once"
            assert debug_depth(kept[-1], before) < depth


def test_tree_search_prefers_the_better_subtree() -> None:
    nodes = play_policy(
        MonteCarloTreeSearch(children=2, exploration=0.0), [valid(0.1), valid(0.9), valid(0.8), valid(0.7), valid(0.5)]
    )
    assert [node.parents for node in nodes] == [(), (), (2,), (2,), (3,)]


@given(results)
@settings(max_examples=100, deadline=None)
def test_crossovers_begin_with_the_second_generation_and_join_two_valid_solutions(outcomes: list[Result]) -> None:
    policy = Evolutionary(individuals=3, crossover_probability=1.0)
    nodes = play_policy(policy, outcomes)
    by_step = {node.step: node for node in nodes}
    bred = 0
    for node in nodes:
        if node.operator == "crossover":
            assert bred >= 6
            assert len(set(node.parents)) == 2
            assert all(by_step[step].is_valid for step in node.parents)
        bred += node.operator != "debug" and not node.is_lost


def test_one_shot_drafts_once_and_again_only_after_infrastructure() -> None:
    assert len(play_policy(OneShot(), [BUG, BUG])) == 1
    assert [node.step_class for node in play_policy(OneShot(), [LOST, valid(1.0), valid(2.0)])] == [
        "infra_error",
        "valid",
    ]


@given(results)
@settings(max_examples=100, deadline=None)
def test_regularized_evolution_only_breeds_from_the_youngest(outcomes: list[Result]) -> None:
    policy = RegularizedEvolution(population=4, tournament=2)
    nodes = play_policy(policy, outcomes)
    for index, node in enumerate(nodes):
        living = [earlier.step for earlier in nodes[:index] if earlier.is_valid][-4:]
        assert (node.operator == "improve") == (len(living) == 4)
        assert set(node.parents) <= set(living)


@given(st.integers(1, 1000))
def test_sizes_derived_from_a_budget_leave_room_to_evolve(steps: int) -> None:
    policy = RegularizedEvolution.for_budget(steps, lower_is_better=False)
    assert 2 <= policy.tournament <= policy.population
    assert policy.population < steps or steps <= 3
