"""Boards: rows of agents, from the journals and trusted scores of run folders.

A board is split into sections that never mix: what scores must share to be compared (`aira_bench.record.conditions`),
and the key of the hidden data that submissions were confirmed on, where that is another. A row is one experiment
(`aira_bench.record.identity`), as whoever signed its runs recorded it: all seeds of all its runs, none in another's
place. Runs that a user leaves out are in no figure, and are named with the reason.

Not covered: what a row says (`aira_bench.boards.rows`), and how it is shown (`columns` and `formats` beside it).
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from aira_bench.boards.replicates import SeedResult, one_hidden_set, seed_result
from aira_bench.boards.rows import Entry, ExcludedRun, Row, RowStanding, paired_with, row_of, worst_score
from aira_bench.boards.telling import tell_apart
from aira_bench.keys import SIGNED_HERE, KeyRing
from aira_bench.record.conditions import PUBLIC_SEEDS, Comparable, comparable_with, conditions_of
from aira_bench.record.folder import RunFolder
from aira_bench.record.identity import OF_THE_TASK, Identity, identity_of, planned_identity
from aira_bench.record.manifest import Manifest
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.seen_chains import Witness
from aira_bench.tasks.measured_noise import MeasuredNoise
from aira_bench.tasks.metadata import PairedTask

_KEY_CHARS = 12


@dataclass(frozen=True)
class Section:
    """What a table says that all its rows share."""

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
    hidden_data: str = ""
    """`public seeds`, or the beginning of the hash of the key behind it; empty where the task knows no keys."""
    confirmed_under: str = ""
    """The same of the data that submissions were confirmed on, where that is another."""
    pair: PairedTask | None = None
    """The task that is scored on the same hidden data."""
    ordered_by: Literal["confirmed", "test"] = "confirmed"
    """Which scores rank: `test` alone where there is one set of hidden data. A manifest that says so of a task that has
    more keeps its runs, which nobody confirmed, out of the order of the others."""


_Place = tuple[Section, Comparable]
"""Scores share a table if they may be compared, and if their manifests, which may be strangers', say the same of it."""
_Unseen = Mapping[tuple[Comparable, Entry], Mapping[int, int]]
"""How often each seed of an experiment was begun in runs that were not read, by all that manifests say of it."""


@dataclass(frozen=True)
class Table:
    """A section and its rows: those that have a place in its order, then the others.

    The best mean comes first, in which a failure counts as the worst score of the table.
    """

    section: Section
    rows: tuple[Row, ...]
    noise: MeasuredNoise | None = None
    """The task's noise floor, as the newest of its runs recorded it that trusted keys signed, else of all;
    None where none did."""

    @property
    def ordered(self) -> tuple[Row, ...]:
        """The rows that have a place in the order."""
        return tuple(row for row in self.rows if row.standing is RowStanding.CONFIRMED)

    @property
    def apart(self) -> tuple[Row, ...]:
        """The rows that have none, or not yet."""
        return tuple(row for row in self.rows if row.standing is not RowStanding.CONFIRMED)


@dataclass
class _Found:
    """What was read of one entry."""

    results: dict[int, list[SeedResult]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, str] = field(default_factory=dict)
    """Why, by the run's name."""


def build_tables(
    runs: Sequence[RunFolder], ring: KeyRing | None = None, left_out: Mapping[str, str] | None = None
) -> list[Table]:
    """Boards of all sections found in `runs`; `ring` holds the keys this machine knows.

    Raises:
        RunStateError: a run's files are damaged or disagree.
    """
    known = ring or KeyRing()
    return tables_of([read_run(run, known) for run in runs], known, left_out)


def tables_of(runs: Sequence[RunRecord], ring: KeyRing, left_out: Mapping[str, str] | None = None) -> list[Table]:
    """Boards of all sections found in runs that have been read.

    Args:
        runs: what was read.
        ring: the keys this machine knows.
        left_out: why each run that is to be in no figure is left out, by its run id.
    """
    excluded = left_out or {}
    found: dict[_Place, dict[Entry, _Found]] = defaultdict(lambda: defaultdict(_Found))
    unseen: defaultdict[tuple[Comparable, Entry], Counter[int]] = defaultdict(Counter)
    noise: dict[_Place, tuple[tuple[bool, str], MeasuredNoise]] = {}
    for manifest, seeds in Witness(ring.seen).unseen({run.manifest.run_id for run in runs}):
        entry = _entry(manifest, SIGNED_HERE, planned_identity(manifest))
        unseen[comparable_with(manifest), entry].update(seeds)
    for run in runs:
        hidden_key = _confirming_key(run)
        place, identity, changed = _place(run.manifest, hidden_key), identity_of(run), changed_names(run)
        if (floor := run.manifest.noise) is not None:
            # A stranger's would order what it cannot, or forbid every order.
            weight = all(map(ring.trusts, run.signers)), run.manifest.created
            noise[place] = max(noise.get(place, (weight, floor)), (weight, floor), key=lambda each: each[0])
        for seed in run.seeds:
            record = ring.describe_all(seed.signers or (run.signer,))
            of_entry = found[place][_entry(run.manifest, record, identity, changed)]
            if (why := excluded.get(run.manifest.run_id)) is not None:
                of_entry.left_out[run.name] = why
            else:
                of_entry.results[seed.seed].append(
                    seed_result(seed, run.manifest, counting=seed.confirmations.hidden_key == hidden_key)
                )
    tables = [
        replace(_table(place, entries, unseen), noise=noise[place][1] if place in noise else None)
        for place, entries in sorted(found.items(), key=lambda item: str(item[0]))
    ]
    return [_beside_its_pair(table, tables) for table in tables]


def _confirming_key(run: RunRecord) -> str | None:
    """The hash of the key of a run's confirmations, where it is another than the search's; of several that of most."""
    keys = Counter(key for seed in run.seeds if (key := seed.confirmations.hidden_key) is not None)
    return min(keys, key=lambda key: (-keys[key], key), default=None)


def shown_key(hidden_key: str) -> str:
    """Return what boards show of the hash of a hidden key, or of there being none."""
    return hidden_key if hidden_key in (PUBLIC_SEEDS, "") else f"key {hidden_key[:_KEY_CHARS]}"


def _place(manifest: Manifest, confirmed_under: str | None = None) -> _Place:
    conditions, exact = comparable_with(manifest), conditions_of(manifest)
    declared = manifest.compatibility is not None and manifest.compatibility.shipped
    section = Section(
        task=manifest.task_title,
        metric=manifest.metric,
        lower_is_better=manifest.lower_is_better,
        profile=conditions.profile,
        hardware=conditions.hardware,
        evaluator=conditions.evaluator,
        data=conditions.data if declared else f"{exact.task_sha256[:12]}-{exact.hidden_sha256[:12]}",
        seed_set=conditions.seed_set,
        synthetic=manifest.synthetic,
        hidden_data=shown_key(conditions.hidden_key),
        confirmed_under="" if confirmed_under is None else shown_key(confirmed_under),
        pair=manifest.pair,
        ordered_by="test" if one_hidden_set(manifest) else "confirmed",
    )
    return section, conditions


def changed_names(run: RunRecord) -> str:
    """Return the names of what changed in the course of a run with its user's consent, sorted; empty if nothing did."""
    return ", ".join(sorted({each.what for accepted in run.accepted for each in accepted.differences}))


def _entry(manifest: Manifest, record: str, identity: Identity, changed: str = "") -> Entry:
    plan = manifest.plan
    agent, scaffold = manifest.named("agent", plan.agent), manifest.named("scaffold", plan.scaffold)
    return Entry(
        agent, scaffold, plan.fitness, plan.steps, plan.hours, record, manifest.isolation_told, changed, identity
    )


def _by_manifest(entry: Entry) -> Entry:
    """An entry without what is only known of runs that were read."""
    return replace(entry, changed="", identity=Identity(entry.identity.planned))


def _table(place: _Place, entries: Mapping[Entry, _Found], unseen: _Unseen) -> Table:
    section, conditions = place
    rows = []
    for entry, found in entries.items():
        begun = unseen.get((conditions, _by_manifest(entry)), {})
        left_out = (ExcludedRun(run, why) for run, why in sorted(found.left_out.items()))
        rows.append(row_of(entry, found.results, begun, left_out))
    with_place = [row for row in rows if row.standing is RowStanding.CONFIRMED]
    worst = worst_score(with_place, lower_is_better=section.lower_is_better)
    rows.sort(key=lambda row: _order(row, worst, 1.0 if section.lower_is_better else -1.0))
    return Table(section, tuple(tell_apart(rows)))


def _order(row: Row, worst: float | None, sign: float) -> tuple[object, ...]:
    """Rows with a place first, by the scores that rank, failures included; the others by test scores, which say less.

    A row that failed in nine seeds of ten and was lucky in one does not stand above those that it ranks below.
    """
    if row.standing is not RowStanding.CONFIRMED:
        return True, row.test is None, sign * row.test.mean if row.test else 0.0, 0.0, str(row.entry)
    mean = 0.0 if worst is None else statistics.fmean(row.means_by_seed(worst).values())
    found = row.deciding  # of rows that are all failures, which are as bad as the worst score, none stands above it
    return False, worst is None, sign * mean, sign * found.mean if found else math.inf, str(row.entry)


def _beside_its_pair(table: Table, tables: Sequence[Table]) -> Table:
    """The table with what each row scored less the same experiment on the paired task, where its section names one."""
    pair = table.section.pair
    if pair is None or pair.difference is None:
        return table
    alike = _without_pair(table.section, pair.task)
    other = next((each for each in tables if _without_pair(each.section, each.section.task) == alike), None)
    by_entry = {} if other is None else {_without_task(row.entry): row for row in other.rows}
    rows = [
        replace(row, paired=paired_with(row, by_entry[_without_task(row.entry)], pair.difference))
        if _without_task(row.entry) in by_entry
        else row
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))


def _without_pair(section: Section, task: str) -> Section:
    return replace(section, task=task, pair=None)


def _without_task(entry: Entry) -> Entry:
    """An entry without what the task itself decides."""
    planned = tuple(fact for fact in entry.identity.planned if fact[0] not in OF_THE_TASK)
    return replace(entry, identity=Identity(planned, entry.identity.found))
