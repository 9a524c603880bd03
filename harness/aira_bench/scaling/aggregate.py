"""From many scored architectures to one pattern (the paper's section 3 and appendix D.1).

Two steps. A selection weights architectures: the best of each dataset with weights that decay by rank, or the best
of k clusters. Then N_c votes layer by layer: layer i is the symbol with most weight among the voters whose layers i-c
to i-1 equal those already chosen.

What the paper leaves open, decided here:

- an architecture scored more than once on a dataset counts once, with its mean score;
- equal scores have one rank, one more than the number of better ones (competition rank), so that no name decides who
  stands first. Place r weighs decay^(r-1), and those who tie have the mean weight of their places, so that a tie moves
  no weight to or from others;
- a cut keeps or drops who ties as a whole: the top K are K, and whoever equals the last of them;
- datasets have equal weight: each dataset's weights add up to 1;
- clusters are made per dataset, since scores of different datasets do not compare. They are of scores, as in Composer,
  or of architectures, which the words of D.1 may mean; of those, the cluster with the best mean score votes;
- of symbols with equal votes, that of the best-ranked voter among them wins, then A before M before Mb;
- near the start the condition is the i - 1 layers that there are.

A condition is never empty: whoever voted for the symbol chosen last matched the layers before it, so has the c layers
that the next vote asks for.

Weights are exact fractions, so a tie is a tie on every machine. Not covered: where scores come from. Ranking by test
score selects on test data; hidden validation scores exist for that.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Literal

from aira_bench.errors import UsageError
from aira_bench.scaling.clusters import cluster_architectures, cluster_scores
from aira_bench.scaling.notation import SYMBOLS
from aira_contract.patterns import Pattern

DEFAULT_TOP = 20
DEFAULT_DECAY = Fraction(4, 5)
DEFAULT_CLUSTERS = 3
CONDITIONS = (0, 1, 2)
Clustered = Literal["scores", "architectures"]


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
    """1 is the best of its dataset; equal scores have the same."""
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
        top: how many of each dataset, and whoever ties with the last of them.
        decay: weight of a place over that of the place before, above 0 and at most 1.

    Raises:
        UsageError: nothing scored, lengths differ, or `decay` or `top` out of range.
    """
    if top < 1 or not 0 < decay <= 1:
        raise UsageError(f"A top of {top} with decay {float(decay):g} selects nothing.", hint="--top 20 --decay 0.8")
    datasets = _ranked(scored)
    voters: list[Voter] = []
    for ranked in datasets:
        chosen = [item for item in ranked if item.rank <= top]
        weights = _tied_weights(chosen, decay)
        total = sum(weights) * len(datasets)
        voters += [item.voter(weight / total) for item, weight in zip(chosen, weights, strict=True)]
    return tuple(voters)


def select_by_clusters(
    scored: Sequence[ScoredArchitecture], *, clusters: int = DEFAULT_CLUSTERS, of: Clustered = "scores"
) -> tuple[Voter, ...]:
    """Return the members of each dataset's best cluster, all of equal weight.

    Args:
        scored: evaluations of architectures of one length.
        clusters: how many clusters a dataset is split into.
        of: what is clustered. The best cluster is that of the best scores, or of the best mean score.

    Raises:
        UsageError: nothing scored, lengths differ, or a dataset has fewer different scores (or architectures) than
            clusters.
        PrerequisiteError: clusters of architectures need a library that is not there.
    """
    datasets = _ranked(scored)
    voters: list[Voter] = []
    for ranked in datasets:
        chosen = _best_of_scores(ranked, clusters) if of == "scores" else _best_of_architectures(ranked, clusters)
        weight = Fraction(1, len(chosen) * len(datasets))
        voters += [item.voter(weight) for item in chosen]
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


@dataclass(frozen=True)
class _Ranked:
    """An architecture of a dataset, with the mean of its scores."""

    dataset: str
    architecture: Pattern
    score: float
    goodness: float
    """The score, turned so that more is better."""
    rank: int

    def voter(self, weight: Fraction) -> Voter:
        return Voter(self.dataset, self.architecture, self.score, self.rank, weight)


def _ranked(scored: Sequence[ScoredArchitecture]) -> list[list[_Ranked]]:
    """Best first for each dataset, datasets by name."""
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


def _best_first(items: Sequence[ScoredArchitecture]) -> list[_Ranked]:
    """Ranks by score alone; who ties stands in the order of layers, which no weight depends on."""
    scores: dict[Pattern, list[float]] = defaultdict(list)
    for item in items:
        scores[item.architecture].append(item.score)
    sign = -1.0 if items[0].lower_is_better else 1.0
    means = sorted(
        ((statistics.fmean(values), key) for key, values in scores.items()), key=lambda mean: (-sign * mean[0], mean[1])
    )
    found: list[_Ranked] = []
    for place, (score, architecture) in enumerate(means, start=1):
        rank = found[-1].rank if found and found[-1].score == score else place
        found.append(_Ranked(items[0].dataset, architecture, score, sign * score, rank))
    return found


def _best_of_scores(ranked: Sequence[_Ranked], clusters: int) -> list[_Ranked]:
    labels = cluster_scores([item.goodness for item in ranked], clusters)
    return [item for item, label in zip(ranked, labels, strict=True) if label == labels[0]]


def _best_of_architectures(ranked: Sequence[_Ranked], clusters: int) -> list[_Ranked]:
    """Of clusters with equal means, that of the better best member, then of the larger number."""
    members: dict[int, list[_Ranked]] = defaultdict(list)
    for item, label in zip(
        ranked, cluster_architectures([each.architecture for each in ranked], clusters), strict=True
    ):
        members[label].append(item)
    return max(
        members.values(), key=lambda each: (statistics.fmean(item.goodness for item in each), -each[0].rank, len(each))
    )


def _tied_weights(ranked: Sequence[_Ranked], decay: Fraction) -> list[Fraction]:
    weights = [decay**place for place in range(len(ranked))]
    shared: list[Fraction] = []
    for _, group in groupby(ranked, key=lambda item: item.rank):
        count = len(list(group))
        mean = sum(weights[len(shared) : len(shared) + count], Fraction(0)) / count
        shared += [mean] * count
    return shared


def _common_length(architectures: Sequence[Pattern]) -> int:
    lengths = sorted({len(architecture) for architecture in architectures})
    if len(lengths) > 1:
        raise UsageError(f"Architectures of {' and '.join(map(str, lengths))} layers cannot be aggregated together.")
    return lengths[0]
