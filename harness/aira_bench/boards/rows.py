"""What seeds come to, and what a row of a board says of them.

A figure of a row is defined here once, as a property of `Row`; `aira_bench.boards.columns` says which figures
boards show. Three kinds of replicates (`aira_bench.boards.replicates`) enter figures. *Ended*: it came to its end.
*Judged*: ended, and infrastructure left at least one of its steps a result, so that its failure is its own. *Ranked*:
ended with a submission for which neither the judge nor a confirmation found a reason not to rank it, and which waits
for no confirmation.

A row has a place in a table's order once each of its replicates has ended, and each judged one has failed or is
confirmed (`RowStanding`). Until then its figures stand apart: who ends, or confirms, the lucky half of his seeds would
have a better mean.

Not covered: which runs share a row, and rows a table (`aira_bench.boards.board`).
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from aira_bench.boards.replicates import SeedResult, Spread, by_seed, over_seeds, published_submission_rate, spread
from aira_bench.record.identity import NO_IDENTITY, Identity
from aira_bench.record.node import ModelUse
from aira_bench.statistics.components import Components, components
from aira_bench.tasks.metadata import Difference


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
    identity: Identity = NO_IDENTITY
    """Everything else that may change the distribution of results (`aira_bench.record.identity`)."""


@dataclass(frozen=True)
class ExcludedRun:
    """A run that the board's user left out, and why."""

    run: str
    why: str


@dataclass(frozen=True)
class PairedDifference:
    """What a row's seeds scored less what the same seeds of the same experiment scored on the paired task."""

    name: Difference
    scores: Spread


class RowStanding(StrEnum):
    """Whether a row has a place in the order of its table."""

    CONFIRMED = "confirmed"
    """It has: each has ended, and each judged one is confirmed, or failed by its own doing. Also where a task has one
    set of hidden data, on which there is nothing to confirm: there the test scores of searches order rows."""
    PARTLY = "partly confirmed"
    UNCONFIRMED = "not confirmed"
    UNFINISHED = "not finished"
    """A replicate was begun and has not ended."""
    LOST = "lost"
    """All have ended, and infrastructure took all steps of each."""
    LEFT_OUT = "left out"
    """Its user left out all runs of it."""


@dataclass(frozen=True)
class Row:
    """One line of a board: an entry, and all replicates of its seeds."""

    entry: Entry
    results: tuple[SeedResult, ...]
    """Sorted by seed, then by when their runs began."""
    runs_by_seed: Mapping[int, int]
    """How many runs began each seed, those read and those that this machine recorded: also of seeds that no run which
    was read has, so that nobody shows the lucky ones of many."""
    runs_not_shown: int
    """How many of them were recorded here, but not read: deleted, elsewhere, or not asked for."""
    left_out: tuple[ExcludedRun, ...] = ()
    """Runs of this experiment that are in no figure, by the user's wish."""
    differs_in: str = ""
    """What tells the row from those that look like it, in as few words as can be; empty where none does."""
    paired: PairedDifference | None = None
    """None where the task has no pair, or the pair no common seed."""
    rank: str = ""
    """Between which ranks of its table it lies, such as `2` or `1-3`; empty where nobody has compared rows
    (`aira_bench.boards.order`), and in rows without a place in the order."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were begun."""
        return tuple(dict.fromkeys(result.seed for result in self.results))

    @cached_property
    def ended(self) -> tuple[SeedResult, ...]:
        """Replicates that came to their end."""
        return tuple(result for result in self.results if result.ended)

    @cached_property
    def ranked(self) -> tuple[SeedResult, ...]:
        """Ended replicates whose scores enter means."""
        return tuple(result for result in self.ended if not result.unranked and not result.awaits_confirm)

    @cached_property
    def judged(self) -> tuple[SeedResult, ...]:
        """Ended replicates but those all of whose steps infrastructure took."""
        return tuple(result for result in self.ended if not result.lost)

    @cached_property
    def decided(self) -> tuple[SeedResult, ...]:
        """Judged replicates whose part in the order is known: they failed, or have a score that ranks."""
        return tuple(result for result in self.judged if result.failed or result.deciding is not None)

    @property
    def ordered_by(self) -> Literal["confirmed", "test"]:
        """Which of its scores rank: `test` alone where the task has one set of hidden data."""
        return "confirmed" if any(each.trainings_wanted for each in self.results) or not self.results else "test"

    @cached_property
    def scores_by_seed(self) -> Mapping[int, list[float | None]]:
        """By seed the scores that rank of its replicates, None of a failure; what is unknown is left out."""
        found: dict[int, list[float | None]] = {}
        for each in self.decided:
            found.setdefault(each.seed, []).append(None if each.failed else each.deciding)
        return found

    def means_by_seed(self, failure: float) -> dict[int, float]:
        """Return of each seed the mean of its scores that rank.

        Args:
            failure: the score of a replicate that failed.
        """
        return {
            seed: statistics.fmean(failure if score is None else score for score in scores)
            for seed, scores in self.scores_by_seed.items()
        }

    @property
    def standing(self) -> RowStanding:
        """Whether it has a place in the order of its table."""
        if not self.results:
            return RowStanding.LEFT_OUT
        if len(self.ended) < len(self.results):
            return RowStanding.UNFINISHED
        if not self.judged:
            return RowStanding.LOST
        if len(self.decided) == len(self.judged):
            return RowStanding.CONFIRMED
        return RowStanding.PARTLY if any(each.trainings for each in self.judged) else RowStanding.UNCONFIRMED

    @property
    def valid_submission_rate(self) -> float | None:
        """Judged replicates that submitted a valid node which may be ranked, over all judged ones, by seed."""
        found = over_seeds(self.judged, lambda each: float(each.submitted is not None and not each.unranked))
        return found.mean if found else None

    @property
    def published_submission_rate(self) -> float | None:
        """The paper's rate of valid submissions, which counts every run (`aira_bench.boards.replicates`)."""
        return published_submission_rate(self.results)

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
        return over_seeds(self.ranked, lambda each: each.validation, lambda each: each.validation_standard_error)

    @property
    def test(self) -> Spread | None:
        """Trusted test scores of the submitted nodes that are ranked."""
        return over_seeds(self.ranked, lambda each: each.test, lambda each: each.test_standard_error)

    @property
    def best_test(self) -> Spread | None:
        """The best test score of any step of an ended seed."""
        return over_seeds(self.ended, lambda each: each.best_test)

    @property
    def confirmed(self) -> Spread | None:
        """Mean test scores of the trainings that confirm the submitted nodes that are ranked."""
        return over_seeds(self.ranked, lambda each: each.confirmed, lambda each: each.confirmed_standard_error)

    @property
    def deciding(self) -> Spread | None:
        """The scores that rank (`SeedResult.deciding`)."""
        return over_seeds(self.ranked, lambda each: each.deciding)

    @property
    def spread(self) -> Components:
        """What of the spread of confirmed scores is between searches, and what between trainings of one submission.

        A seed that was run again, and came to the same trainings, is one search: no second one has drawn its luck.
        """
        searches = {(each.seed, each.trainings) for each in self.ranked if each.confirmed is not None}
        return components([trainings for _, trainings in sorted(searches)])

    @property
    def trainings(self) -> int:
        """How many trainings the confirmed scores are means of."""
        return sum(len(each.trainings) for each in self.ranked if each.confirmed is not None)

    @property
    def claimed(self) -> Spread | None:
        """What the submitted nodes say of themselves."""
        return over_seeds(self.ended, lambda each: each.claimed)

    @property
    def claimed_less_trusted(self) -> Spread | None:
        """What they say less their trusted validation score: of scripts that score themselves, what is too much."""
        return over_seeds(self.ended, lambda each: each.claimed_less_trusted)

    @property
    def overclaim(self) -> Spread | None:
        """How much better the claims are than the judge's number on the same public rows."""
        return over_seeds(self.ended, lambda each: each.overclaim)

    @property
    def flagged(self) -> int:
        """Replicates whose submitted node is flagged."""
        return sum(each.flagged for each in self.ended)

    @property
    def unranked(self) -> int:
        """Replicates whose submitted node is not ranked."""
        return sum(bool(each.unranked) for each in self.ended)

    @property
    def awaiting(self) -> int:
        """Replicates whose submitted node is not ranked before it is confirmed."""
        return sum(each.awaits_confirm and not each.unranked for each in self.ended)

    @property
    def normalized(self) -> Spread | None:
        """Normalized scores, 0 for a judged seed that failed; None before all are known (`record.normalized`)."""
        return None if self.not_normalized else over_seeds(self.judged, lambda each: each.normalized)

    @property
    def not_normalized(self) -> str:
        """Why there is no normalized score, in a word; empty where there is, or where the task has no published one."""
        return next((each.not_normalized for each in self.judged if each.not_normalized), "")

    @property
    def normalized_corrected(self) -> Spread | None:
        """The normalized score against a corrected published figure, where the published one is known to be wrong."""
        return None if self.not_normalized else over_seeds(self.judged, lambda each: each.normalized_corrected)


def row_of(
    entry: Entry,
    runs: Mapping[int, list[SeedResult]],
    unseen: Mapping[int, int],
    left_out: Iterable[ExcludedRun] = (),
) -> Row:
    """Make the row of an entry.

    Args:
        entry: whose row it is.
        runs: of each seed the results of all runs of it that were read.
        unseen: of each seed, those of no run that was read included, how many more runs this machine recorded.
        left_out: runs of it that its user keeps out of every figure.
    """
    replicates = (each for found in runs.values() for each in found)
    return Row(
        entry,
        tuple(sorted(replicates, key=lambda each: (each.seed, each.created, each.run_id))),
        {seed: len(runs.get(seed, ())) + unseen.get(seed, 0) for seed in sorted({*runs, *unseen})},
        sum(unseen.values()),
        tuple(left_out),
    )


def worst_score(rows: Iterable[Row], *, lower_is_better: bool) -> float | None:
    """Return the worst score that ranks of some rows, which a failure counts as; None where none has any.

    It is the paper's convention for normalized scores (section 5): what failed counts, as badly as anything did.
    """
    known = [score for row in rows for each in row.scores_by_seed.values() for score in each if score is not None]
    return (max if lower_is_better else min)(known, default=None)


def paired_with(row: Row, other: Row, name: Difference) -> PairedDifference | None:
    """Return the difference of two rows' scores that rank, over the seeds that both have; None without any."""
    ours, theirs = (by_seed(each.ranked, lambda result: result.deciding) for each in (row, other))
    found = spread(statistics.fmean(ours[seed]) - statistics.fmean(theirs[seed]) for seed in ours if seed in theirs)
    return None if found is None else PairedDifference(name, found)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
