"""Bradley-Terry ratings on the Elo scale, with the published state of the art as a player.

As AIRS-Bench does it, on which the paper builds: on each task every run of one player meets every run of another; the
better score wins, a run without a valid submission loses to one with, and two such, like two scores within 1e-6, tie. A
win weighs 1 and a tie 1/2 to either side. P(a beats b) = 1 / (1 + 10 ** ((b - a) / 400)) (Bradley and Terry 1952). Two
things differ. Intervals draw runs anew, within each player and task, where AIRS-Bench draws battles, which share runs
and so make intervals too narrow. And a player that never won, or never lost, has no finite rating (Ford 1957): each
pair of players gets one more battle, tied, unless `prior_ties` says otherwise.

Ratings are relative: their mean over players is 1000.

Not covered: whether one player is better than another (`paired` tests that, on common seeds).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from aira_bench.statistics.arrays import LEVEL, Floats, Integers, IntervalEstimate, percentile_estimate

CENTRE = 1000.0
_POINTS = 400.0
TIED_WITHIN = 1e-6
_SAME = 1e-3
"""Points within which ratings are one: by so much those of one table differ with the order of its sums."""
_MOST_STEPS = 200
_LONGEST_STEP = 2.0
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Ratings:
    """One rating a player, in the order of the players."""

    players: tuple[str, ...]
    ratings: tuple[IntervalEstimate, ...]


def battles(scores: Sequence[Floats]) -> Floats:
    """Return how often each player won against each other on one task, ties as halves.

    Args:
        scores: one array of shape (runs,) for each player, higher is better; NaN for a run without a valid submission.

    Returns:
        shape (players, players); row beats column.
    """
    players, places = _places(scores)
    return np.asarray(_wins(_counted(players, places, len(scores), np.ones((1, players.size))))[0], np.float64)


def bradley_terry(wins: Floats, *, prior_ties: float = 1.0) -> Floats:
    """Return ratings of maximal likelihood on the Elo scale, with mean 1000.

    Args:
        wins: shape (..., players, players); row beat column so many times, a tie being half a time each.
        prior_ties: tied battles added to each pair of players; 0 for plain maximum likelihood.

    Raises:
        ValueError: `prior_ties` is 0 and players fall into groups of which one never won against another, so that no
            finite rating is the likeliest.
    """
    players = wins.shape[-1]
    flat = np.asarray(wins, np.float64).reshape(-1, players, players)
    flat = flat + prior_ties / 2 * (1 - np.eye(players))
    if prior_ties == 0:
        for each in flat:
            if connected_components(each > 0, directed=True, connection="strong")[0] > 1:
                raise ValueError("some players never won against some others, so no finite rating is the likeliest")
    strengths = _likeliest(flat)
    return np.asarray(CENTRE + _POINTS / np.log(10) * strengths, np.float64).reshape(*wins.shape[:-2], players)


def ratings(
    tasks: Sequence[Mapping[str, Floats]],
    generator: np.random.Generator,
    *,
    best_known: Sequence[float | None] = (),
    best_known_name: str = "published best",
    prior_ties: float = 1.0,
    resamples: int = 1000,
    level: float = LEVEL,
) -> Ratings:
    """Rate players over several tasks, with intervals from runs drawn anew; none where draws show no luck of a player.

    Who has one run of each task would have an interval of the others' luck alone; and where all draws rate alike, as
    those of two players of which one won all, it would have no width, as if nothing could be surer.

    Args:
        tasks: for each task the runs of each player, shape (runs,), higher is better; NaN for a run without a valid
            submission. A player may be missing from a task.
        generator: where the draws come from.
        best_known: of each task the published state of the art, in the same unit; it plays as often as the player with
            most runs there. None where there is none; empty for no such player.
        best_known_name: what that player is called.
        prior_ties: as in `bradley_terry`.
        resamples: how many resamples intervals are made of.
        level: nominal coverage.
    """
    names = list(dict.fromkeys(name for task in tasks for name in task))
    if any(score is not None for score in best_known):
        names.append(best_known_name)
    total = np.zeros((1 + resamples, len(names), len(names)))
    runs, drawn = np.zeros(len(names), np.int64), np.zeros(len(names), np.bool_)
    for index, task in enumerate(tasks):
        scores = [np.asarray(task.get(name, ()), np.float64) for name in names]
        sizes = np.array([each.size for each in scores])
        drawn |= sizes > 1
        if best_known and best_known[index] is not None:
            scores[-1] = np.full(sizes.max(), best_known[index], np.float64)
            drawn[-1] |= sizes.max() > 1
        runs += [each.size for each in scores]
        _add_battles(total, scores, generator)
    found = bradley_terry(total, prior_ties=prior_ties)
    drawn &= np.ptp(found, axis=0) > _SAME
    estimates = (
        percentile_estimate(float(found[0, place]), found[1:, place] if drawn[place] else np.array([]), count, level)
        for place, count in enumerate(runs.tolist())
    )
    return Ratings(tuple(names), tuple(estimates))


def _add_battles(total: Floats, scores: Sequence[Floats], generator: np.random.Generator) -> None:
    """Add one task's battles: of the runs as they are to the first table, of runs drawn anew to the others."""
    players, places = _places(scores)
    sizes = [each.size for each in scores]
    total[:1] += _wins(_counted(players, places, len(scores), np.ones((1, players.size))))
    chunk = max(1, _AT_ONCE // max(1, len(scores) * players.size))
    for done in range(1, len(total), chunk):
        count = min(chunk, len(total) - done)
        weights = np.concatenate(
            [generator.multinomial(size, np.full(size, 1 / size), count) for size in sizes if size], axis=1
        )
        total[done : done + count] += _wins(_counted(players, places, len(scores), weights))


def _places(scores: Sequence[Floats]) -> tuple[Integers, Integers]:
    """Return for each run its player, and its place among the different scores of the task, failures lowest.

    Scores are one where each lies within `TIED_WITHIN` of the next.
    """
    players = np.concatenate([np.full(len(each), player, np.int64) for player, each in enumerate(scores)])
    flat = np.concatenate([np.nan_to_num(np.asarray(each, np.float64), nan=-np.inf) for each in scores])
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    with np.errstate(invalid="ignore"):  # two failures: -inf less -inf, which is no step up
        steps = np.diff(ordered) > TIED_WITHIN
    places = np.empty(flat.size, np.int64)
    places[order] = np.concatenate([[0], np.cumsum(steps)]) if flat.size else 0
    return players, places


def _counted(players: Integers, places: Integers, count: int, weights: Floats | Integers) -> Floats:
    """How many runs each player has at each place: shape (resamples, players, places)."""
    levels = int(places.max()) + 1 if places.size else 1
    counts = np.zeros((weights.shape[0], count * levels))
    np.add.at(counts.T, players * levels + places, np.asarray(weights, np.float64).T)
    return counts.reshape(weights.shape[0], count, levels)


def _wins(counts: Floats) -> Floats:
    """A run beats all that stand below it and half of those beside it: linear in the number of places."""
    below = np.cumsum(counts, axis=-1) - counts / 2
    won = counts @ below.transpose(0, 2, 1)
    won[:, np.arange(won.shape[1]), np.arange(won.shape[1])] = 0
    return np.asarray(won, np.float64)


def _likeliest(wins: Floats) -> Floats:
    """Newton's method on the log-likelihood, which is concave; strengths sum to 0. Shape (tables, players)."""
    games = wins + wins.transpose(0, 2, 1)
    scale = np.maximum(games.sum(axis=(1, 2)), 1.0)
    strengths = np.zeros(wins.shape[:2])
    for _ in range(_MOST_STEPS):
        chance = 1 / (1 + np.exp(strengths[:, np.newaxis, :] - strengths[:, :, np.newaxis]))
        slope = (wins - games * chance).sum(axis=2)
        if np.abs(slope).max(initial=0.0) <= 1e-9 * float(scale.max()):
            return strengths
        curve = games * chance * (1 - chance)
        matrix = np.einsum("tij->ti", curve)[..., np.newaxis] * np.eye(wins.shape[1]) - curve
        matrix += 1 / wins.shape[1]  # only differences are determined: this fixes their sum at 0
        step = np.linalg.solve(matrix, slope[..., np.newaxis])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        strengths = strengths + step * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _LONGEST_STEP))
    raise ValueError(f"ratings did not settle in {_MOST_STEPS} steps")
