"""What seeds come to, and what a row of a board says of them.

A figure of a row is defined here once, as a property of `Row`; `aira_bench.boards.columns` says which figures
boards show. Three kinds of seeds enter them. *Ended*: the seed came to its end. *Judged*: ended, and infrastructure
left at least one of its steps a result, so that its failure is its own. *Ranked*: ended with a submission for which
neither the judge nor a confirmation found a reason not to rank it, and which waits for no confirmation.

Not covered: which seeds share a row, and rows a table (`aira_bench.boards.board`).
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

from aira_bench.record.manifest import Manifest
from aira_bench.record.node import ModelUse
from aira_bench.record.normalized import CORRECTED, PUBLISHED, normalized
from aira_bench.record.run_record import SeedRecord
from aira_bench.record.scores import TrustedScore
from aira_contract.flags import ABOVE_PUBLISHED_BEST


@dataclass(frozen=True)
class Entry:
    """What tells one row of a section from another."""

    agent: str
    scaffold: str
    fitness: str
    steps: int
    hours: float
    record: str
    """Whose the records are: `signed here`, `signed by KEY (trusted)` or `(unknown key)`, or `unsigned`."""
    isolation: str
    """The least that separated its containers of untrusted code from others (`Manifest.isolation_word`)."""
    changed: str = ""
    """What the runs went on without that they had begun with, with their user's consent: names, sorted; empty if
    nothing."""


@dataclass(frozen=True)
class SeedResult:
    """One seed, ended or not."""

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
    confirmed: float | None
    """Test score of the submitted node on the seed set `final`, if the run was confirmed."""
    claimed: float | None
    claimed_less_trusted: float | None
    """Against the trusted validation score, which is of other data than the claim."""
    flagged: bool
    """The judge's checks noticed something about the submitted node."""
    unranked: tuple[str, ...]
    """Why the submitted node is not ranked, found by the search's judge or by a confirmation; empty if it is."""
    awaits_confirm: bool
    """The submitted node's score is better than was published, and no confirmation has run its controls yet."""
    validation_standard_error: float | None
    test_standard_error: float | None
    confirmed_standard_error: float | None
    normalized: float | None
    """Of the submitted node's test score; 0 for an ended seed without one; None where the task has no anchors, and on
    synthetic data, which no published figure is about."""
    normalized_corrected: float | None
    model_use: ModelUse


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of what `count` seeds gave."""

    mean: float
    deviation: float | None
    count: int
    standard_error: float | None = None
    """Of the mean, where every value is an estimate that states its own; it holds nothing of the luck of training."""


def seed_result(record: SeedRecord, manifest: Manifest) -> SeedResult:
    """Return what a seed's record comes to."""
    nodes, scores, ended = {node.step: node for node in record.nodes}, record.scores, record.ended
    chosen = ended.submitted if ended else None
    score = scores.get(chosen) if chosen is not None else None
    confirmed = record.confirmed.get(chosen) if chosen is not None else None
    claimed = nodes[chosen].claimed if chosen is not None else None
    trusted = score.validation if score else None
    unranked = tuple(dict.fromkeys(name for found in (score, confirmed) if found for name in found.unranked))
    awaits = confirmed is None and score is not None and ABOVE_PUBLISHED_BEST in score.flags
    out = {chosen} if unranked else set()
    if confirmed is None:
        out |= {step for step, found in scores.items() if ABOVE_PUBLISHED_BEST in found.flags}
    ranked = {step: found for step, found in scores.items() if step not in out and not found.unranked}
    pick = min if manifest.lower_is_better else max
    return SeedResult(
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
        confirmed=confirmed.test if confirmed else None,
        claimed=claimed,
        claimed_less_trusted=claimed - trusted if claimed is not None and trusted is not None else None,
        flagged=bool(score and score.flags),
        unranked=unranked,
        awaits_confirm=awaits,
        validation_standard_error=score.validation_standard_error if score else None,
        test_standard_error=score.test_standard_error if score else None,
        confirmed_standard_error=confirmed.test_standard_error if confirmed else None,
        normalized=None if awaits else _normalized(None if unranked else score, manifest, PUBLISHED),
        normalized_corrected=None if awaits else _normalized(None if unranked else score, manifest, CORRECTED),
        model_use=sum((node.model_use for node in nodes.values()), ModelUse()),
    )


def _normalized(score: TrustedScore | None, manifest: Manifest, label: str) -> float | None:
    if manifest.anchors is None or manifest.synthetic:
        return None
    return normalized(score.test if score else None, manifest.anchors, label)


@dataclass(frozen=True)
class Row:
    """One line of a board: an entry, and one result for each seed."""

    entry: Entry
    results: tuple[SeedResult, ...]
    """Of a seed that was run more than once, the first run in which it ended."""
    runs_by_seed: Mapping[int, int]
    """How many runs began each seed, those read and those that this machine recorded. One of them counts."""
    runs_not_shown: int
    """How many of them were recorded here, but not read: deleted, elsewhere, or not asked for."""

    @cached_property
    def ended(self) -> tuple[SeedResult, ...]:
        """Seeds that came to their end."""
        return tuple(result for result in self.results if result.ended)

    @cached_property
    def ranked(self) -> tuple[SeedResult, ...]:
        """Ended seeds whose scores enter means."""
        return tuple(result for result in self.ended if not result.unranked and not result.awaits_confirm)

    @cached_property
    def judged(self) -> tuple[SeedResult, ...]:
        """Ended seeds but those all of whose steps infrastructure took."""
        return tuple(result for result in self.ended if result.steps == 0 or result.steps > result.infra_errors)

    @property
    def valid_submission_rate(self) -> float | None:
        """Judged seeds that submitted a valid node which may be ranked, over all judged seeds."""
        return _share(sum(each.submitted is not None and not each.unranked for each in self.judged), len(self.judged))

    @property
    def valid_step_rate(self) -> float | None:
        """Valid steps over steps that came to something."""
        return _share(sum(each.valid_steps for each in self.results), self.steps)

    @property
    def steps(self) -> int:
        """Steps that came to something: all but those that infrastructure took."""
        return sum(each.steps - each.infra_errors for each in self.results)

    @property
    def infra_errors(self) -> int:
        """Steps that infrastructure left without a result."""
        return sum(each.infra_errors for each in self.results)

    @property
    def retries(self) -> int:
        """Attempts beyond the first of a step's phases, and steps begun again after a stop or a crash."""
        return sum(each.retries for each in self.results)

    @property
    def wall_s(self) -> float:
        """Seconds that the steps took, summed over seeds."""
        return sum(each.wall_s for each in self.results)

    @property
    def model_use(self) -> ModelUse:
        """Calls, tokens and cost of the language models behind the agent, summed over seeds."""
        return sum((each.model_use for each in self.results), ModelUse())

    @property
    def validation(self) -> Spread | None:
        """Trusted validation scores of the submitted nodes that are ranked."""
        return spread(
            (each.validation for each in self.ranked), (each.validation_standard_error for each in self.ranked)
        )

    @property
    def test(self) -> Spread | None:
        """Trusted test scores of the submitted nodes that are ranked."""
        return spread((each.test for each in self.ranked), (each.test_standard_error for each in self.ranked))

    @property
    def best_test(self) -> Spread | None:
        """The best test score of any step of an ended seed."""
        return spread(each.best_test for each in self.ended)

    @property
    def confirmed(self) -> Spread | None:
        """Test scores of fresh evaluations of the submitted nodes that are ranked."""
        return spread((each.confirmed for each in self.ranked), (each.confirmed_standard_error for each in self.ranked))

    @property
    def claimed(self) -> Spread | None:
        """What the submitted nodes say of themselves."""
        return spread(each.claimed for each in self.ended)

    @property
    def claimed_less_trusted(self) -> Spread | None:
        """What they say less their trusted validation score: of scripts that score themselves, what is too much."""
        return spread(each.claimed_less_trusted for each in self.ended)

    @property
    def flagged(self) -> int:
        """Seeds whose submitted node is flagged."""
        return sum(each.flagged for each in self.ended)

    @property
    def unranked(self) -> int:
        """Seeds whose submitted node is not ranked."""
        return sum(bool(each.unranked) for each in self.ended)

    @property
    def awaiting(self) -> int:
        """Seeds whose submitted node is not ranked before it is confirmed."""
        return sum(each.awaits_confirm and not each.unranked for each in self.ended)

    @property
    def normalized(self) -> Spread | None:
        """Normalized test scores, 0 for a judged seed without a valid node (`aira_bench.record.normalized`)."""
        return spread(each.normalized for each in self.judged)

    @property
    def normalized_corrected(self) -> Spread | None:
        """The normalized score against a corrected published figure, where the published one is known to be wrong."""
        return spread(each.normalized_corrected for each in self.judged)


def row_of(entry: Entry, runs: Mapping[int, list[SeedResult]], unseen: Mapping[int, int]) -> Row:
    """Make the row of an entry.

    Args:
        entry: whose row it is.
        runs: of each seed the results of all runs of it that were read.
        unseen: of each seed how many more runs this machine recorded, but did not read.
    """
    return Row(
        entry,
        tuple(min(each, key=lambda result: (not result.ended, result.created)) for each in runs.values()),
        {seed: len(each) + unseen[seed] for seed, each in runs.items()},
        sum(unseen.values()),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


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
