"""Clusters: of scores against every partition there is, of architectures against small ones and another library."""

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from aira_bench.errors import UsageError
from aira_bench.scaling.aggregate import ScoredArchitecture, select_by_clusters
from aira_bench.scaling.clusters import cluster_architectures, cluster_scores
from aira_bench.scaling.notation import SYMBOLS, read_pattern
from aira_contract.patterns import Pattern

SCORES = st.lists(st.one_of(st.integers(0, 9).map(float), st.floats(-1e9, 1e9)), min_size=1, max_size=9)


def cost(groups: Sequence[Sequence[float]]) -> Fraction:
    """Squared distances to the means, without any rounding."""
    exact = [[Fraction(score) for score in group] for group in groups]
    means = [sum(group, Fraction(0)) / len(group) for group in exact]
    return sum(((x - mean) * (x - mean) for group, mean in zip(exact, means, strict=True) for x in group), Fraction(0))


def groups_of(scores: Sequence[float], labels: Sequence[int]) -> list[list[float]]:
    return [[score for score, label in zip(scores, labels, strict=True) if label == k] for k in sorted(set(labels))]


def least_cost(scores: Sequence[float], clusters: int) -> Fraction:
    """Of all ways to cut the sorted scores into so many parts."""
    ordered = sorted(scores)
    cuts = ([0, *cut, len(ordered)] for cut in combinations(range(1, len(ordered)), clusters - 1))
    return min(cost([ordered[a:b] for a, b in pairwise(cut)]) for cut in cuts)


@given(SCORES, st.integers(1, 5))
def test_no_partition_of_scores_is_better(scores: list[float], clusters: int) -> None:
    clusters = min(clusters, len(set(scores)))
    labels = cluster_scores(scores, clusters)
    assert set(labels) == set(range(clusters))
    assert cost(groups_of(scores, labels)) == least_cost(scores, clusters)
    ordered = sorted(zip(scores, labels, strict=True))
    assert [label for _, label in ordered] == sorted(labels), "labels grow with the scores"
    assert all(a[1] == b[1] for a, b in pairwise(ordered) if a[0] == b[0]), "equal scores share a label"


@given(SCORES, st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_scores_plays_no_part(scores: list[float], clusters: int, rng: random.Random) -> None:
    clusters = min(clusters, len(set(scores)))
    label = dict(zip(scores, cluster_scores(scores, clusters), strict=True))
    rng.shuffle(scores)
    assert [label[score] for score in scores] == cluster_scores(scores, clusters)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        # Each of these a Lloyd's search from ten starts got wrong, and took other scores for the best cluster.
        ([1, 9, 10, 11, 14, 14, 19], [14, 14, 19]),  # 2 + 16 2/3 = 18 2/3; it ended with 19 alone, at 21.2
        ([4, 8, 11, 12, 18, 25], [18, 25]),  # 8 + 1/2 + 24 1/2 = 33; with 25 alone, 36 2/3
        ([3, 5, 8, 11, 16, 22, 29], [22, 29]),  # 12 2/3 + 12 1/2 + 24 1/2 = 49 2/3; with 29 alone, 54 3/4
    ],
)
def test_partitions_by_hand(scores: list[int], best: list[int]) -> None:
    labels = cluster_scores([float(score) for score in scores], 3)
    assert [score for score, label in zip(scores, labels, strict=True) if label == 2] == best


def test_of_equally_good_partitions_the_largest_best_cluster() -> None:
    assert cluster_scores([1.0, 2.0, 3.0], 2) == [0, 1, 1]
    assert cluster_scores([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3) == [0, 0, 1, 1, 2, 2, 2]
    texts = {"AAM": 1.0, "AMA": 2.0, "MAA": 3.0}
    for lower in (False, True):
        scored = [ScoredArchitecture("mad", read_pattern(text), score, lower) for text, score in texts.items()]
        assert len(select_by_clusters(scored, clusters=2)) == 2, "whichever way the metric points"


def test_no_score_is_too_close_to_another_or_too_far_from_it() -> None:
    ulp = 2.0**-53
    assert cluster_scores([0.5, 0.5 + ulp, 0.5 + 3 * ulp, 0.5 + 4 * ulp], 2) == [0, 0, 1, 1]
    assert cluster_scores([5e-324, 1.0, 1e300, 1.1e300], 3) == [0, 0, 1, 2]
    with pytest.raises(UsageError, match="finite"):
        cluster_scores([0.1, float("nan")], 1)
    with pytest.raises(UsageError, match="1 different scores cannot form 2 clusters"):
        cluster_scores([0.1, 0.1], 2)


def test_as_many_scores_as_the_papers_search_take_seconds() -> None:
    rng = random.Random(0)
    scores = [rng.gauss(0.5, 0.1) for _ in range(2307)]
    labels = cluster_scores(scores, 3)
    found = KMeans(3, n_init=20, random_state=0).fit(np.array(scores)[:, None])
    assert float(cost(groups_of(scores, labels))) <= found.inertia_ * (1 + 1e-9)


def one_hot(architectures: Sequence[Pattern]) -> np.ndarray:
    return np.array(
        [[symbol == each for symbol in layers for each in SYMBOLS] for layers in architectures], dtype=float
    )


def inertia(architectures: Sequence[Pattern], labels: Sequence[int]) -> float:
    points, of = one_hot(architectures), np.array(labels)
    return float(sum(((points[of == k] - points[of == k].mean(axis=0)) ** 2).sum() for k in set(labels)))


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.lists(st.sampled_from(SYMBOLS), min_size=4, max_size=4).map(tuple), min_size=1, max_size=12), st.data()
)
def test_no_cluster_of_architectures_is_empty(architectures: set[Pattern], data: st.DataObject) -> None:
    clusters = data.draw(st.integers(1, len(architectures)))
    assert set(cluster_architectures(sorted(architectures), clusters)) == set(range(clusters))


def test_clusters_of_few_architectures_are_the_best_of_all_partitions() -> None:
    rng = random.Random(0)
    everything = list(product(SYMBOLS, repeat=4))
    for _ in range(8):
        architectures = rng.sample(everything, 7)
        least = min(
            inertia(architectures, labels) for labels in product(range(3), repeat=7) if set(labels) == {0, 1, 2}
        )
        assert inertia(architectures, cluster_architectures(architectures, 3)) == pytest.approx(least)


def test_clusters_of_many_architectures_are_no_worse_than_another_librarys() -> None:
    rng = random.Random(1)
    architectures = list({tuple(rng.choices(("mA", "M"), k=16)) for _ in range(300)})
    found = KMeans(3, n_init=20, random_state=0).fit(one_hot(architectures))
    labels = cluster_architectures(architectures, 3)
    assert inertia(architectures, labels) <= found.inertia_ * 1.002, "a search: neither is the best for certain"
    rng.shuffle(order := list(range(len(architectures))))
    again = cluster_architectures([architectures[at] for at in order], 3)
    assert [labels[at] for at in order] == again, "their order plays no part"


def test_the_cluster_of_architectures_with_the_best_mean_votes() -> None:
    """The best single architecture stands among bad ones: by score it votes, by architecture the other family does."""
    family, other = ("16A", "15A-M", "14A-M-A"), ("16M", "15M-A", "14M-A-M")
    scores = dict(zip((*family, *other), (0.80, 0.81, 0.82, 0.90, 0.1, 0.1), strict=True))
    scored = [ScoredArchitecture("mad", read_pattern(text), score, False) for text, score in scores.items()]
    voters = select_by_clusters(scored, clusters=2, of="architectures")
    assert {voter.architecture for voter in voters} == {read_pattern(text) for text in family}
    assert {voter.rank for voter in voters} == {2, 3, 4}
    assert read_pattern("16M") in {voter.architecture for voter in select_by_clusters(scored, clusters=2)}
    with pytest.raises(UsageError, match="6 different architectures cannot form 7"):
        select_by_clusters(scored, clusters=7, of="architectures")
