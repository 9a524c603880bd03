"""From many scored architectures to one pattern (the paper's section 3 and appendix D.1).

Two steps. A selection weights architectures: the best of each dataset with weights that decay by rank, or the best
of k clusters of scores. Then N_c votes layer by layer: layer i is the symbol with most weight among the voters whose
layers i-c to i-1 equal those already chosen.

What the paper leaves open, decided here and written into the result:

- an architecture scored more than once on a dataset counts once, with its mean score;
- weight of rank r is decay^(r-1); architectures with equal scores share the mean of their weights;
- datasets have equal weight: each dataset's weights add up to 1;
- clusters are made per dataset, since scores of different datasets do not compare;
- of symbols with equal votes, that of the best-ranked voter among them wins, then A before M before Mb;
- near the start the condition is the i - 1 layers that there are.

A condition is never empty: whoever voted for the symbol chosen last matched the layers before it, so has the c layers
that the next vote asks for.

Weights are exact fractions, so a tie is a tie on every machine. Not covered: where scores come from. Ranking by test
score selects on test data; hidden validation scores exist for that.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from aira_bench.errors import UsageError
from aira_bench.scaling.clusters import cluster_scores
from aira_bench.scaling.notation import SYMBOLS
from aira_contract.patterns import Pattern

DEFAULT_TOP = 20
DEFAULT_DECAY = Fraction(4, 5)
DEFAULT_CLUSTERS = 3
CONDITIONS = (0, 1, 2)


@dataclass(frozen=True)
class ScoredArchitecture:
    """One evaluation of an architecture: on which dataset, of which layers, with which score."""

    dataset: str
    architecture: Pattern
    score: float
    lower_is_better: bool


@dataclass(frozen=True)
class Voter:
    """An architecture's weight in the vote; all weights of a selection add up to 1."""

    dataset: str
    architecture: Pattern
    score: float
    rank: int
    """1 is the best of its dataset."""
    weight: Fraction


@dataclass(frozen=True)
class LayerVote:
    """How one layer was chosen."""

    chosen: str
    shares: dict[str, Fraction]
    """Share of the counted weight by symbol; adds up to 1."""
    voters: int
    """How many voters matched the condition."""
    condition_layers: int
    """Layers before this one that voters had to match: c, or fewer near the start."""


@dataclass(frozen=True)
class Aggregation:
    """A pattern and the votes behind it, one a layer."""

    pattern: Pattern
    condition_layers: int
    votes: tuple[LayerVote, ...]


def select_by_rank(
    scored: Sequence[ScoredArchitecture], *, top: int = DEFAULT_TOP, decay: Fraction = DEFAULT_DECAY
) -> tuple[Voter, ...]:
    """Return the best architectures of each dataset, weighted by rank.

    Args:
        scored: evaluations of architectures of one length.
        top: how many of each dataset; architectures tied with the last one are not added.
        decay: weight of a rank over that of the rank before, above 0 and at most 1.

    Raises:
        UsageError: nothing scored, lengths differ, or `decay` or `top` out of range.
    """
    if top < 1 or not 0 < decay <= 1:
        raise UsageError(f"A top of {top} with decay {float(decay):g} selects nothing.", hint="--top 20 --decay 0.8")
    datasets = _ranked(scored)
    voters: list[Voter] = []
    for ranked in datasets:
        chosen = ranked[:top]
        weights = _tied_weights(chosen, decay)
        total = sum(weights) * len(datasets)
        voters += [
            Voter(item.dataset, item.architecture, item.score, rank, weight / total)
            for rank, (item, weight) in enumerate(zip(chosen, weights, strict=True), start=1)
        ]
    return tuple(voters)


def select_by_clusters(
    scored: Sequence[ScoredArchitecture], rng: random.Random, *, clusters: int = DEFAULT_CLUSTERS
) -> tuple[Voter, ...]:
    """Return the architectures of each dataset's best cluster of scores, all of equal weight.

    Args:
        scored: evaluations of architectures of one length.
        rng: seeds the k-means.
        clusters: how many clusters a dataset's scores are split into.

    Raises:
        UsageError: nothing scored, lengths differ, or a dataset has fewer different scores than clusters.
    """
    datasets = _ranked(scored)
    voters: list[Voter] = []
    for ranked in datasets:
        labels = cluster_scores([item.score for item in ranked], clusters, rng)
        chosen = [item for item, label in zip(ranked, labels, strict=True) if label == labels[0]]
        weight = Fraction(1, len(chosen) * len(datasets))
        voters += [
            Voter(item.dataset, item.architecture, item.score, rank, weight)
            for rank, item in enumerate(chosen, start=1)
        ]
    return tuple(voters)


def vote(voters: Sequence[Voter], condition_layers: int = 0) -> Aggregation:
    """Choose a pattern layer by layer: N_c with c = `condition_layers`.

    Raises:
        UsageError: no voters, lengths differ, or a negative condition.
    """
    if not voters or condition_layers < 0:
        raise UsageError(f"{len(voters)} architectures cannot vote with condition N{condition_layers}.")
    length = _common_length([voter.architecture for voter in voters])
    chosen: list[str] = []
    votes = []
    for layer in range(length):
        votes.append(_vote_layer(voters, layer, chosen, min(condition_layers, layer)))
        chosen.append(votes[-1].chosen)
    return Aggregation(tuple(chosen), condition_layers, tuple(votes))


def _vote_layer(voters: Sequence[Voter], layer: int, chosen: Sequence[str], condition: int) -> LayerVote:
    wanted = tuple(chosen[layer - condition : layer])
    matching = [voter for voter in voters if voter.architecture[layer - condition : layer] == wanted]
    votes: dict[str, Fraction] = defaultdict(Fraction)
    best_rank: dict[str, int] = {}
    for voter in matching:
        symbol = voter.architecture[layer]
        votes[symbol] += voter.weight
        best_rank[symbol] = min(best_rank.get(symbol, voter.rank), voter.rank)
    winner = min(votes, key=lambda symbol: (-votes[symbol], best_rank[symbol], SYMBOLS.index(symbol)))
    total = sum(votes.values())
    shares = {symbol: votes[symbol] / total for symbol in SYMBOLS if symbol in votes}
    return LayerVote(winner, shares, len(matching), condition)


def _ranked(scored: Sequence[ScoredArchitecture]) -> list[list[ScoredArchitecture]]:
    """Best first for each dataset, datasets by name; equal scores in the order of their layers."""
    if not scored:
        raise UsageError("There are no scored architectures to aggregate.", hint="aira-bench aggregate --help")
    _common_length([item.architecture for item in scored])
    ranked = []
    for dataset in sorted({item.dataset for item in scored}):
        items = [item for item in scored if item.dataset == dataset]
        if len({item.lower_is_better for item in items}) > 1:
            raise UsageError(f"Scores of {dataset!r} are marked both as lower is better and as higher is better.")
        ranked.append(_best_first(items))
    return ranked


def _best_first(items: Sequence[ScoredArchitecture]) -> list[ScoredArchitecture]:
    scores: dict[Pattern, list[float]] = defaultdict(list)
    for item in items:
        scores[item.architecture].append(item.score)
    dataset, lower = items[0].dataset, items[0].lower_is_better
    unique = [ScoredArchitecture(dataset, key, statistics.fmean(values), lower) for key, values in scores.items()]
    return sorted(unique, key=lambda item: (item.score if lower else -item.score, item.architecture))


def _tied_weights(ranked: Sequence[ScoredArchitecture], decay: Fraction) -> list[Fraction]:
    weights = [decay**rank for rank in range(len(ranked))]
    shared: list[Fraction] = []
    for _, group in groupby(ranked, key=lambda item: item.score):
        count = len(list(group))
        mean = sum(weights[len(shared) : len(shared) + count], Fraction(0)) / count
        shared += [mean] * count
    return shared


def _common_length(architectures: Sequence[Pattern]) -> int:
    lengths = sorted({len(architecture) for architecture in architectures})
    if len(lengths) > 1:
        raise UsageError(f"Architectures of {' and '.join(map(str, lengths))} layers cannot be aggregated together.")
    return lengths[0]
