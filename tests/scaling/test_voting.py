"""The vote against a plain definition that tries everything, and what a selection takes."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.scaling.aggregate import ScoredArchitecture, Voter, select_by_clusters, select_by_rank, vote
from aira_bench.scaling.notation import SYMBOLS
from aira_contract.patterns import Pattern

PATTERNS = st.lists(st.sampled_from(SYMBOLS), min_size=4, max_size=4).map(tuple)
VOTERS = st.lists(st.tuples(PATTERNS, st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8).map(
    lambda drawn: [Voter("mad", pattern, 0.0, rank, Fraction(weight, 90)) for pattern, rank, weight in drawn]
)


def plainly(voters: Sequence[Voter], condition: int) -> Pattern:
    """N_c by its definition: of the voters that agree with the last c layers chosen, who weighs most."""
    chosen: list[str] = []
    for layer in range(4):
        first = max(0, layer - condition)
        agreeing = [voter for voter in voters if list(voter.architecture[first:layer]) == chosen[first:layer]]

        def standing(
            symbol: str, layer: int = layer, agreeing: Sequence[Voter] = agreeing
        ) -> tuple[Fraction, int, int]:
            of = [voter for voter in agreeing if voter.architecture[layer] == symbol]
            weight = sum((voter.weight for voter in of), Fraction(0))
            return weight, -min((voter.rank for voter in of), default=10**9), -SYMBOLS.index(symbol)

        chosen.append(max(SYMBOLS, key=standing))
    return tuple(chosen)


@given(VOTERS, st.integers(0, 4))
def test_the_vote_is_what_its_definition_says(voters: list[Voter], condition: int) -> None:
    aggregation = vote(voters, condition)
    assert aggregation.pattern == plainly(voters, condition)
    assert [layer.condition_layers for layer in aggregation.votes] == [min(condition, layer) for layer in range(4)]
    assert [layer.chosen for layer in aggregation.votes] == list(aggregation.pattern)
    assert aggregation.votes[0].voters == len(voters), "nothing stands before the first layer"


@given(VOTERS)
def test_without_a_condition_every_layer_is_voted_on_by_all(voters: list[Voter]) -> None:
    assert vote(voters) == vote(voters, 0)
    assert {layer.voters for layer in vote(voters).votes} == {len(voters)}


@given(VOTERS, st.integers(0, 4), st.integers(2, 5))
def test_only_the_ratio_of_weights_counts(voters: list[Voter], condition: int, factor: int) -> None:
    heavier = [Voter(v.dataset, v.architecture, v.score, v.rank, v.weight * factor) for v in voters]
    assert vote(heavier, condition).pattern == vote(voters, condition).pattern


def scored(text: str, score: float, lower: bool = False) -> ScoredArchitecture:
    letters = {"A": "mA", "M": "M", "S": "Mb"}
    return ScoredArchitecture("mad", tuple(letters[letter] for letter in text), score, lower)


@pytest.mark.parametrize("lower", [False, True])
def test_the_cluster_of_the_best_votes_whichever_way_the_metric_points(lower: bool) -> None:
    sign = -1.0 if lower else 1.0
    items = [scored(text, sign * score, lower) for text, score in
             (("AAAA", 0.90), ("AAAM", 0.89), ("MMMM", 0.50), ("MMMA", 0.49), ("SSSS", 0.10))]  # fmt: skip
    voters = select_by_clusters(items, clusters=3)
    assert [voter.architecture for voter in voters] == [("mA",) * 4, ("mA", "mA", "mA", "M")]
    assert [(voter.rank, voter.weight) for voter in voters] == [(1, Fraction(1, 2)), (2, Fraction(1, 2))]


def test_ranks_begin_at_one_for_each_dataset() -> None:
    items = [scored("AAAA", 0.9), scored("MMMM", 0.8), ScoredArchitecture("text", ("M",) * 4, 3.0, True)]
    assert [(voter.dataset, voter.rank) for voter in select_by_rank(items)] == [("mad", 1), ("mad", 2), ("text", 1)]


@pytest.mark.parametrize(
    ("top", "decay", "refused"),
    [(1, Fraction(1), False), (0, Fraction(1), True), (1, Fraction(0), True), (1, Fraction(-1, 2), True),
     (1, Fraction(3, 2), True), (1, Fraction(1, 1000), False)],
)  # fmt: skip
def test_limits_of_a_selection(top: int, decay: Fraction, refused: bool) -> None:
    items = [scored("AAAA", 0.9)]
    if refused:
        with pytest.raises(UsageError, match="selects nothing"):
            select_by_rank(items, top=top, decay=decay)
    else:
        assert select_by_rank(items, top=top, decay=decay)[0].weight == 1


def test_nobody_votes_for_nothing() -> None:
    with pytest.raises(UsageError, match="0 architectures"):
        vote([])
    with pytest.raises(UsageError, match="condition N-1"):
        vote([Voter("mad", ("M",), 0.0, 1, Fraction(1))], -1)
