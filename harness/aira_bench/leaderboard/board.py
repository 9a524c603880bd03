"""Boards: rows of agents, from the journals and trusted scores of run folders.

A board is split into sections that never mix: task, profile, data (real or a synthetic stand-in), evaluator image, seed
set and hardware class. A row is one agent with its scaffold, fitness source, budget, isolation, and whoever signed the
runs. A seed that was run more than once counts once, with the first run in which it ended; the row says how often it
was run.

Definitions. Valid submission rate: seeds that submitted a valid node over seeds that ended, those left out of whose
steps infrastructure let none run any code. Valid step rate: likewise, of steps. An infrastructure error after code
ran counts as a step without a result, so that none is worth causing. Retries: attempts beyond the first of a step's
phases, and steps begun again after a stop or a crash. Validation and test: of the submitted node. Claimed less
trusted: its own number less its trusted validation score; of scripts that score themselves, what they say too much.
Best test: the best test score of any step, what the search met but did not necessarily choose. Normalized: of the
test score, 0 for a seed without a valid node (`normalized`). Spread: sample standard deviation over seeds (n - 1).
Standard error: of the mean, from what each seed's score is estimated with; it holds nothing of the luck of training.

Unranked: a submission that was scored, but for which the judge or a confirmation found a reason not to rank it. It
counts as no valid submission, and its scores enter no mean and no best.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from aira_bench.evaluation.verdict import CONFIRM_FIRST
from aira_bench.keys import SIGNED_HERE, KeyRing
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import ModelUse
from aira_bench.record.normalized import CORRECTED, PUBLISHED, normalized
from aira_bench.record.run_record import RunRecord, SeedRecord, read_run
from aira_bench.record.scores import TrustedScore
from aira_bench.record.witness import Witness


@dataclass(frozen=True)
class Section:
    """What all rows of one table share."""

    task: str
    metric: str
    lower_is_better: bool
    profile: str
    hardware: str
    evaluator: str
    data: str
    seed_set: str
    synthetic: bool = False
    """The data is a generated stand-in; nothing here is a result on the real data."""


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


@dataclass(frozen=True)
class SeedResult:
    """One seed, ended or not."""

    seed: int
    created: str
    ended: bool
    steps: int
    valid_steps: int
    infra_errors: int
    lost_steps: int
    """Infrastructure errors before any of the step's code ran: left out of rates."""
    retries: int
    """What was tried again: phases after infrastructure failed, and steps after a stop or a crash."""
    wall_s: float
    submitted: int | None
    validation: float | None
    test: float | None
    best_test: float | None
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
    """Mean and sample standard deviation of what `count` seeds gave."""

    mean: float
    deviation: float | None
    count: int
    standard_error: float | None = None
    """Of the mean, where every value is an estimate that states its own."""


@dataclass(frozen=True)
class Row:
    """One line of a board."""

    entry: Entry
    seeds: int
    ended: int
    valid_submission_rate: float | None
    valid_step_rate: float | None
    validation: Spread | None
    test: Spread | None
    best_test: Spread | None
    confirmed: Spread | None
    claimed: Spread | None
    claimed_less_trusted: Spread | None
    flagged: int
    """Seeds whose submitted node is flagged."""
    unranked: int
    """Seeds whose submitted node is not ranked."""
    awaiting: int
    """Seeds whose submitted node is not ranked before it is confirmed."""
    normalized: Spread | None
    normalized_corrected: Spread | None
    steps: int
    wall_s: float
    infra_errors: int
    retries: int
    runs_by_seed: Mapping[int, int]
    """How many runs began each seed, those read and those that this machine recorded. One of them counts."""
    runs_not_shown: int
    """How many of them were recorded here, but not read: deleted, elsewhere, or not asked for."""
    model_use: ModelUse


@dataclass(frozen=True)
class Table:
    """A section and its rows, best mean test score first."""

    section: Section
    rows: tuple[Row, ...]


def seed_result(record: SeedRecord, manifest: Manifest) -> SeedResult:
    """What a seed's record comes to."""
    nodes, scores, ended = {node.step: node for node in record.nodes}, record.scores, record.ended
    chosen = ended.submitted if ended else None
    score = scores.get(chosen) if chosen is not None else None
    confirmed = record.confirmed.get(chosen) if chosen is not None else None
    claimed = nodes[chosen].claimed if chosen is not None else None
    trusted = score.validation if score else None
    unranked = tuple(dict.fromkeys(name for found in (score, confirmed) if found for name in found.unranked))
    awaits = confirmed is None and score is not None and CONFIRM_FIRST in score.flags
    out = {chosen} if unranked else set()
    if confirmed is None:
        out |= {step for step, found in scores.items() if CONFIRM_FIRST in found.flags}
    ranked = {step: found for step, found in scores.items() if step not in out and not found.unranked}
    pick = min if manifest.lower_is_better else max
    return SeedResult(
        seed=record.seed,
        created=manifest.created,
        ended=ended is not None,
        steps=len(nodes),
        valid_steps=sum(node.is_valid for node in nodes.values()),
        infra_errors=sum(node.step_class == "infra_error" for node in nodes.values()),
        lost_steps=sum(node.is_lost for node in nodes.values()),
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


def build_tables(runs: Sequence[RunFolder], ring: KeyRing | None = None) -> list[Table]:
    """Boards of all sections found in `runs`; `ring` holds the keys this machine knows.

    Raises:
        RunStateError: a run's files are damaged or disagree.
    """
    known = ring or KeyRing()
    return tables_of([read_run(run, known) for run in runs], known)


def tables_of(runs: Sequence[RunRecord], ring: KeyRing) -> list[Table]:
    """Boards of all sections found in runs that have been read."""
    found: dict[Section, dict[Entry, dict[int, list[SeedResult]]]] = defaultdict(lambda: defaultdict(dict))
    unseen: Counter[tuple[Section, Entry, int]] = Counter()
    for manifest, seeds in Witness(ring.seen).unseen({run.manifest.run_id for run in runs}):
        unseen.update((_section(manifest), _entry(manifest, SIGNED_HERE), seed) for seed in seeds)
    for run in runs:
        for seed in run.seeds:
            entry = _entry(run.manifest, ring.describe_all(seed.signers or (run.signer,)))
            results = found[_section(run.manifest)][entry].setdefault(seed.seed, [])
            results.append(seed_result(seed, run.manifest))
    return [
        _table(section, entries, unseen) for section, entries in sorted(found.items(), key=lambda item: str(item[0]))
    ]


def _section(manifest: Manifest) -> Section:
    plan = manifest.plan
    return Section(
        task=manifest.task_title,
        metric=manifest.metric,
        lower_is_better=manifest.lower_is_better,
        profile=plan.profile,
        hardware=manifest.hardware_class,
        evaluator=manifest.images["evaluator"],
        data=f"{manifest.task_sha256[:12]}-{manifest.data['hidden']['sha256'][:12]}",
        seed_set=plan.seed_set,
        synthetic=manifest.synthetic,
    )


def _entry(manifest: Manifest, record: str) -> Entry:
    plan = manifest.plan
    return Entry(plan.agent, plan.scaffold, plan.fitness, plan.steps, plan.hours, record, manifest.isolation_word)


def _table(
    section: Section,
    entries: dict[Entry, dict[int, list[SeedResult]]],
    unseen: Mapping[tuple[Section, Entry, int], int],
) -> Table:
    rows = [
        _row(entry, results, {seed: unseen.get((section, entry, seed), 0) for seed in results})
        for entry, results in entries.items()
    ]
    sign = 1.0 if section.lower_is_better else -1.0
    rows.sort(key=lambda row: (row.test is None, sign * row.test.mean if row.test else 0.0, str(row.entry)))
    return Table(section, tuple(rows))


def _row(entry: Entry, runs: Mapping[int, list[SeedResult]], unseen: Mapping[int, int]) -> Row:
    results = [min(each, key=lambda result: (not result.ended, result.created)) for each in runs.values()]
    ended = [result for result in results if result.ended]
    ranked = [result for result in ended if not result.unranked and not result.awaits_confirm]
    judged = [result for result in ended if result.steps == 0 or result.steps > result.lost_steps]
    steps = sum(result.steps - result.lost_steps for result in results)
    return Row(
        entry=entry,
        seeds=len(results),
        ended=len(ended),
        valid_submission_rate=_share(
            sum(result.submitted is not None and not result.unranked for result in judged), len(judged)
        ),
        valid_step_rate=_share(sum(result.valid_steps for result in results), steps),
        validation=spread(
            (result.validation for result in ranked), (result.validation_standard_error for result in ranked)
        ),
        test=spread((result.test for result in ranked), (result.test_standard_error for result in ranked)),
        best_test=spread(result.best_test for result in ended),
        confirmed=spread(
            (result.confirmed for result in ranked), (result.confirmed_standard_error for result in ranked)
        ),
        claimed=spread(result.claimed for result in ended),
        claimed_less_trusted=spread(result.claimed_less_trusted for result in ended),
        flagged=sum(result.flagged for result in ended),
        unranked=sum(bool(result.unranked) for result in ended),
        awaiting=sum(result.awaits_confirm and not result.unranked for result in ended),
        normalized=spread(result.normalized for result in judged),
        normalized_corrected=spread(result.normalized_corrected for result in judged),
        steps=steps,
        wall_s=sum(result.wall_s for result in results),
        infra_errors=sum(result.infra_errors for result in results),
        retries=sum(result.retries for result in results),
        runs_by_seed={seed: len(each) + unseen[seed] for seed, each in runs.items()},
        runs_not_shown=sum(unseen.values()),
        model_use=sum((result.model_use for result in results), ModelUse()),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def spread(values: Iterable[float | None], standard_errors: Iterable[float | None] = ()) -> Spread | None:
    """Mean and sample standard deviation of the known values; None without any.

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
