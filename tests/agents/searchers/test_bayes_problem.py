"""What Bayesian optimization is asked: observations from journals, the rounds of incremental search, starting designs."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.agent import Brief, Situation
from aira_bench.agents.searchers.architectures import write_solution
from aira_bench.agents.searchers.bayes_problem import (
    Evaluation,
    ProposalRequest,
    Search,
    Space,
    block_layers,
    design_size,
    evaluations,
    hamming,
    incremental,
    objective,
    one_shot,
    space_filling,
)
from aira_bench.record.folder import StepFiles
from aira_bench.record.node import Node, StepClass
from aira_bench.scaffolds.policy import Draft
from aira_bench.tasks.artifact_spec import ArtifactSpec

SPEC = ArtifactSpec(kind="architecture", layers=3, primitives=("M", "mA", "Mb"))
LOSS = Brief("babistories-2p", "", SPEC, "Loss", True, "cpu", "hidden", 60.0, 1024)
BINARY = Space(2, 16)


def node(step: int, step_class: StepClass, fitness: float | None = None, canonical: str | None = None) -> Node:
    return Node(step, "draft", (), step_class, "", fitness, None, "0" * 64, None, canonical=canonical)


def read(journal: list[Node], codes: dict[int, str]) -> list[Evaluation]:
    situation = Situation(Draft(), journal, lambda step: StepFiles(codes[step], "", ""), random.Random(0), 5, 1e3)
    return evaluations(LOSS, situation)


def test_a_journal_becomes_observations_with_failures() -> None:
    failed = write_solution(LOSS, ("Mb", "mA", "M"), "a plan").code
    journal = [
        node(1, "valid", 2.5, "M,mA,Mb"),
        node(2, "timeout"),
        node(4, "valid", float("nan"), "M,M,M"),
        node(5, "buggy"),
    ]
    found = read(journal, {2: failed, 5: "print('not ours')"})
    assert found == [Evaluation("012", -2.5), Evaluation("210", None), Evaluation("000", None)]


def test_a_failure_counts_as_the_worst_and_a_diverged_loss_does_not_flatten_the_rest() -> None:
    losses = [-2.0, -2.1, -2.2, -2.3, -1e6]
    values = objective([*(Evaluation("0", value) for value in losses), Evaluation("1", None)])
    assert values[:4] == tuple(losses[:4])
    assert values[4] == values[5]
    assert -4.0 < values[5] < -2.3


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 3))
def test_the_objective_keeps_order_and_the_best(values: list[float], failures: int) -> None:
    history = [Evaluation("0", value) for value in values] + [Evaluation("1", None)] * failures
    fitted = objective(history)
    assert len(fitted) == len(history)
    assert max(fitted) == max(values)
    assert min(fitted) >= min(values)
    ranked = [fitted[index] for index in sorted(range(len(values)), key=values.__getitem__)]
    assert ranked == sorted(ranked)


@pytest.mark.parametrize(
    ("symbols", "steps", "block"), [(2, 8, 4), (2, 64, 4), (2, 65, 8), (2, 500, 8), (2, 513, 16), (3, 500, 8)]
)
def test_blocks_are_as_short_as_the_budget_allows(symbols: int, steps: int, block: int) -> None:
    assert block_layers(Space(symbols, 16), steps) == block


def test_a_round_searches_the_next_block_behind_the_best_prefix_stacked() -> None:
    first = incremental(BINARY, 64, [])
    assert first.candidates is not None
    assert len(first.candidates) == 16
    assert all(codes == codes[:4] * 4 for codes in first.candidates)
    history = [Evaluation(codes, hamming(codes, "0110" * 4)) for codes in first.candidates]
    second = incremental(BINARY, 64, history)
    assert second.candidates is not None
    assert {codes[:4] for codes in second.candidates} == {"1001"}
    assert all(codes == codes[:8] * 2 for codes in second.candidates)
    assert second.design == 0
    third = incremental(BINARY, 64, [*history, *(Evaluation(codes, 0.0) for codes in second.candidates)])
    assert third.candidates is not None
    assert all(codes == (codes[:12] * 2)[:16] and codes.startswith("10011001") for codes in third.candidates)


def test_a_round_lasts_until_something_is_valid_and_then_ends_on_time() -> None:
    failures = [Evaluation(f"{number:04b}" * 4, None) for number in range(5)]
    waiting = incremental(BINARY, 16, failures)
    assert waiting.candidates == incremental(BINARY, 16, []).candidates
    valid = incremental(BINARY, 16, [*failures, Evaluation("1111" * 4, 0.5)])
    assert valid.candidates is not None
    assert {codes[:4] for codes in valid.candidates} == {"1111"}


@settings(max_examples=40)
@given(st.integers(2, 3), st.integers(1, 9), st.integers(1, 40), st.randoms(use_true_random=False))
def test_an_incremental_search_never_runs_dry_before_the_space(
    symbols: int, layers: int, steps: int, rng: random.Random
) -> None:
    space = Space(symbols, layers)
    history: list[Evaluation] = []
    for _ in range(min(steps, space.size)):
        search = incremental(space, steps, history)
        assert search == incremental(space, steps, list(history))
        tried = {one.codes for one in history}
        assert search.candidates is None or not tried.issuperset(search.candidates)
        chosen = space_filling(rng, space, search.candidates, tried)
        assert chosen not in tried
        assert space.holds(chosen)
        history.append(Evaluation(chosen, rng.choice([None, rng.random()])))


@pytest.mark.parametrize(("steps", "size"), [(1, 2), (4, 2), (8, 4), (20, 5), (80, 16), (500, 32)])
def test_the_start_is_a_fifth_of_the_budget_within_bounds(steps: int, size: int) -> None:
    assert design_size(steps, 16) == size


def test_large_spaces_are_not_listed() -> None:
    assert one_shot(BINARY, 80) == Search("all layers at once", None, 16)
    small = one_shot(Space(2, 12), 80).candidates
    assert small is not None
    assert len(set(small)) == 4096


@given(st.integers())
def test_a_start_keeps_away_from_what_was_tried(seed: int) -> None:
    space = Space(2, 8)
    chosen = space_filling(random.Random(seed), space, tuple(space.all()), {"0" * 8})
    assert hamming(chosen, "0" * 8) >= 4
    assert chosen == space_filling(random.Random(seed), space, tuple(space.all()), {"0" * 8})


@given(
    st.lists(st.tuples(st.text("012", min_size=4, max_size=4), st.floats(allow_nan=False, allow_infinity=False))),
    st.none() | st.lists(st.text("012", min_size=4, max_size=4)),
)
def test_a_request_is_one_line_and_reads_back(observed: list[tuple[str, float]], candidates: list[str] | None) -> None:
    request = ProposalRequest(
        3, tuple(codes for codes, _ in observed), tuple(value for _, value in observed),
        None if candidates is None else tuple(candidates), 7,
    )  # fmt: skip
    line = request.to_json()
    assert "\n" not in line
    assert ProposalRequest.from_json(line) == request
