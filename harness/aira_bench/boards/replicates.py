"""What one seed of one run comes to, and what several come to together: every replicate counts, each seed weighs once.

A *replicate* is one run of one seed. Of several of one seed none takes another's place: a mean is over seeds of the
mean over a seed's replicates, its deviation that of seeds. So running a seed again moves its own value towards its
expectation, and a lucky seed that is run a hundred times pulls no row towards it.

Not covered: which replicates enter which figure (`aira_bench.boards.rows`), and intervals.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest

from aira_bench.record.manifest import Manifest
from aira_bench.record.node import ModelUse
from aira_bench.record.normalized import CORRECTED, PUBLISHED, normalized
from aira_bench.record.scores import TrustedScore
from aira_bench.record.seed_record import SeedRecord
from aira_contract.flags import ABOVE_PUBLISHED_BEST
from aira_contract.settings import LEAST_TRAININGS, ProfileName

REFUSED_AGAIN = "refused_when_trained_again"
"""Why a submission is not ranked that the judge refused in one of the trainings that were to confirm it."""
_PUBLISHED_IN: ProfileName = "paper"
"""The profile whose sizes published figures are of."""


@dataclass(frozen=True)
class SeedResult:
    """One seed of one run, ended or not."""

    seed: int
    created: str
    ended: bool
    steps: int
    valid_steps: int
    infra_errors: int
    """Steps that infrastructure left without a result: in no rate, whether or not their code had run."""
    retries: int
    """What was tried again: phases after infrastructure failed, and steps after a stop or a crash."""
    wall_s: float
    submitted: int | None
    validation: float | None
    test: float | None
    best_test: float | None
    """The best test score of any step that may be ranked: what the search met, but did not necessarily choose."""
    trainings: tuple[float, ...]
    """Test scores of the submitted node on the seed set `final`, one a training, each from fresh seeds."""
    trainings_wanted: int
    """How many make a confirmed score; 0 where the task has one set of hidden data, so that there is none."""
    claimed: float | None
    claimed_less_trusted: float | None
    """Against the trusted validation score, which is of other data than the claim."""
    overclaim: float | None
    """How much better the claim is than the judge's number on the same public rows; below 0 where it is worse."""
    flagged: bool
    """The judge's checks noticed something about the submitted node."""
    unranked: tuple[str, ...]
    """Why the submitted node is not ranked, found by the search's judge or by a confirmation; empty if it is."""
    awaits_confirm: bool
    """The submitted node's score is better than was published, and no confirmation has run its controls yet."""
    validation_standard_error: float | None
    test_standard_error: float | None
    training_standard_errors: tuple[float | None, ...]
    """Of each of `trainings`."""
    normalized: float | None
    """Of the score that ranks; 0 for an ended seed without a submission that may be; None where `not_normalized`."""
    normalized_corrected: float | None
    not_normalized: str
    """In a word why there is no normalized score: no published figure is about such a score; empty where there is one,
    and where the task has no published figure at all."""
    model_use: ModelUse
    run_id: str = ""

    @property
    def confirmed(self) -> float | None:
        """Mean over the trainings that were to confirm the submission; None before all of them are done."""
        done = 0 < self.trainings_wanted <= len(self.trainings)
        return statistics.fmean(self.trainings) if done and not self.unranked else None

    @property
    def confirmed_standard_error(self) -> float | None:
        """Of `confirmed`, where its scores are estimates: the questions of each training are drawn independently."""
        errors = [error for error in self.training_standard_errors if error is not None]
        if self.confirmed is None or len(errors) < len(self.trainings):
            return None
        return math.hypot(*errors) / len(errors)

    @property
    def deciding(self) -> float | None:
        """The score that ranks: `confirmed`, or `test` where the task has one set of hidden data; None of a submission
        that may not be ranked, or not yet.
        """
        if self.unranked:
            return None
        return self.confirmed if self.trainings_wanted else self.test

    @property
    def failed(self) -> bool:
        """Whether it ended without a submission that may be ranked, by its own doing."""
        return self.ended and not self.lost and (self.submitted is None or bool(self.unranked))

    @property
    def lost(self) -> bool:
        """Whether infrastructure took all of its steps, so that it says nothing of its agent."""
        return 0 < self.steps == self.infra_errors


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of what `count` seeds gave."""

    mean: float
    deviation: float | None
    count: int
    standard_error: float | None = None
    """Of the mean, where every value is an estimate that states its own; it holds nothing of the luck of training."""


def seed_result(record: SeedRecord, manifest: Manifest, *, counting: bool = True) -> SeedResult:
    """Return what a seed's record comes to.

    Args:
        record: of the seed.
        manifest: of its run.
        counting: whether its trainings are in a mean. Those under another key than its run's are of other hidden data:
            what disqualifies in them does so all the same.
    """
    nodes, scores, ended = {node.step: node for node in record.nodes}, record.scores, record.ended
    chosen = ended.submitted if ended else None
    score = scores.get(chosen) if chosen is not None else None
    trainings = record.confirmations.scores.get(chosen, ()) if chosen is not None else ()
    counted = trainings if counting else ()
    claimed = nodes[chosen].claimed if chosen is not None else None
    trusted = score.validation if score else None
    named = [name for found in (score, *trainings) if found for name in found.unranked]
    refused = chosen is not None and bool(record.confirmations.refused.get(chosen))
    unranked = tuple(dict.fromkeys([*named, *([REFUSED_AGAIN] if refused else [])]))
    awaits = not trainings and score is not None and ABOVE_PUBLISHED_BEST in score.flags
    out = {chosen} if unranked else set()
    if not trainings:
        out |= {step for step, found in scores.items() if ABOVE_PUBLISHED_BEST in found.flags}
    ranked = {step: found for step, found in scores.items() if step not in out and not found.unranked}
    pick = min if manifest.lower_is_better else max
    found = SeedResult(
        seed=record.seed,
        created=manifest.created,
        ended=ended is not None,
        steps=len(nodes),
        valid_steps=sum(node.is_valid for node in nodes.values()),
        infra_errors=sum(node.is_lost for node in nodes.values()),
        retries=sum(node.attempts - 1 for node in nodes.values()) + record.restarts,
        wall_s=sum(node.timings.total_s for node in nodes.values()),
        submitted=chosen,
        validation=trusted,
        test=score.test if score else None,
        best_test=pick((found.test for found in ranked.values()), default=None),
        trainings=tuple(each.test for each in counted),
        trainings_wanted=0 if one_hidden_set(manifest) else max(LEAST_TRAININGS, manifest.trainings or 0),
        claimed=claimed,
        claimed_less_trusted=claimed - trusted if claimed is not None and trusted is not None else None,
        overclaim=overclaim(claimed, score, manifest),
        flagged=bool(score and score.flags),
        unranked=unranked,
        awaits_confirm=awaits,
        validation_standard_error=score.validation_standard_error if score else None,
        test_standard_error=score.test_standard_error if score else None,
        training_standard_errors=tuple(each.test_standard_error for each in counted),
        normalized=None,
        normalized_corrected=None,
        not_normalized="",
        model_use=sum((node.model_use for node in nodes.values()), ModelUse()),
        run_id=manifest.run_id,
    )
    return _with_normalized(found, manifest)


def one_hidden_set(manifest: Manifest) -> bool:
    """Whether a run's task has one set of hidden data, so that nothing can be confirmed and test scores order rows."""
    return manifest.trainings == 0


def overclaim(claimed: float | None, score: TrustedScore | None, manifest: Manifest) -> float | None:
    """Return how much better a claim is than the judge's number on the same public rows; None where one is unknown."""
    if claimed is None or score is None or score.public is None:
        return None
    return score.public - claimed if manifest.lower_is_better else claimed - score.public


def _with_normalized(found: SeedResult, manifest: Manifest) -> SeedResult:
    """Published figures are of the paper's sizes, of real data, and of nobody's best luck of several trainings."""
    if manifest.anchors is None:
        return found
    if manifest.plan.profile != _PUBLISHED_IN:
        return replace(found, not_normalized=f"profile {manifest.plan.profile}")
    if manifest.synthetic:
        return replace(found, not_normalized="synthetic data")
    if found.deciding is None and not found.failed:
        return replace(found, not_normalized="not confirmed")
    return replace(
        found,
        normalized=normalized(found.deciding, manifest.anchors, PUBLISHED),
        normalized_corrected=normalized(found.deciding, manifest.anchors, CORRECTED),
    )


def over_seeds(
    replicates: Iterable[SeedResult],
    value: Callable[[SeedResult], float | None],
    standard_error: Callable[[SeedResult], float | None] = lambda each: None,
) -> Spread | None:
    """Return mean and sample standard deviation over seeds of what their replicates come to on average.

    Args:
        replicates: those that count.
        value: of one of them; None where it has none.
        standard_error: of that value. The questions behind different scores are drawn independently, so the squares of
            a seed's errors add up like those of seeds.
    """
    found = list(replicates)
    values = by_seed(found, value)
    errors = by_seed([each for each in found if value(each) is not None], standard_error)
    return spread(
        (statistics.fmean(values[seed]) for seed in values),
        (
            math.hypot(*errors[seed]) / len(values[seed]) if len(errors.get(seed, ())) == len(values[seed]) else None
            for seed in values
        ),
    )


def published_submission_rate(replicates: Iterable[SeedResult]) -> float | None:
    """Return the valid submission rate as the paper defines it (section 5, equation 1): submitted runs over all runs.

    Every run that ended counts once, one that infrastructure took as a failure, and whatever it submitted counts, also
    where a control disqualified it later. None without ended runs.

    Args:
        replicates: of one experiment, ended or not.
    """
    ended = [each for each in replicates if each.ended]
    return sum(each.submitted is not None for each in ended) / len(ended) if ended else None


def by_seed(replicates: Iterable[SeedResult], value: Callable[[SeedResult], float | None]) -> dict[int, list[float]]:
    """The known values of each seed that has any."""
    found: dict[int, list[float]] = {}
    for each in replicates:
        if (known := value(each)) is not None:
            found.setdefault(each.seed, []).append(known)
    return found


def spread(values: Iterable[float | None], standard_errors: Iterable[float | None] = ()) -> Spread | None:
    """Return mean and sample standard deviation of the known values; None without any.

    `standard_errors` are the values' own, in the same order. The questions behind different seeds' scores are drawn
    independently, so their squares add up.
    """
    pairs = [(value, error) for value, error in zip_longest(values, standard_errors) if value is not None]
    if not pairs:
        return None
    known = [value for value, _ in pairs]
    errors = [error for _, error in pairs if error is not None]
    return Spread(
        statistics.fmean(known),
        statistics.stdev(known) if len(known) > 1 else None,
        len(known),
        math.hypot(*errors) / len(known) if len(errors) == len(known) else None,
    )
