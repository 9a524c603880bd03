"""Boards: rows of agents, from the journals and trusted scores of run folders.

A board is split into sections that never mix: task, profile, data (real or a synthetic stand-in), evaluator image, seed
set and hardware class. A row is one agent with its scaffold, fitness source, budget, isolation, and whoever signed the
runs. A seed that was run more than once counts once, with the first run in which it ended; the row says how often it
was run.

Not covered: what a row says (`aira_bench.boards.rows`), and how it is shown (`columns` and `formats` beside it).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aira_bench.boards.rows import Entry, Row, SeedResult, row_of, seed_result
from aira_bench.keys import SIGNED_HERE, KeyRing
from aira_bench.record.conditions import Conditions, comparable_with
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.seen_chains import Witness


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


_Place = tuple[Section, Conditions]
"""Scores share a table if they may be compared, and if their manifests, which may be strangers', say the same of it."""


@dataclass(frozen=True)
class Table:
    """A section and its rows, best mean test score first."""

    section: Section
    rows: tuple[Row, ...]


def build_tables(runs: Sequence[RunFolder], ring: KeyRing | None = None) -> list[Table]:
    """Boards of all sections found in `runs`; `ring` holds the keys this machine knows.

    Raises:
        RunStateError: a run's files are damaged or disagree.
    """
    known = ring or KeyRing()
    return tables_of([read_run(run, known) for run in runs], known)


def tables_of(runs: Sequence[RunRecord], ring: KeyRing) -> list[Table]:
    """Boards of all sections found in runs that have been read."""
    found: dict[_Place, dict[Entry, dict[int, list[SeedResult]]]] = defaultdict(lambda: defaultdict(dict))
    unseen: Counter[tuple[_Place, Entry, int]] = Counter()
    for manifest, seeds in Witness(ring.seen).unseen({run.manifest.run_id for run in runs}):
        unseen.update((_place(manifest), _entry(manifest, SIGNED_HERE), seed) for seed in seeds)
    for run in runs:
        for seed in run.seeds:
            entry = _entry(run.manifest, ring.describe_all(seed.signers or (run.signer,)), changed_names(run))
            results = found[_place(run.manifest)][entry].setdefault(seed.seed, [])
            results.append(seed_result(seed, run.manifest))
    return [_table(place, entries, unseen) for place, entries in sorted(found.items(), key=lambda item: str(item[0]))]


def _place(manifest: Manifest) -> _Place:
    conditions = comparable_with(manifest)
    section = Section(
        task=manifest.task_title,
        metric=manifest.metric,
        lower_is_better=manifest.lower_is_better,
        profile=conditions.profile,
        hardware=conditions.hardware,
        evaluator=conditions.evaluator,
        data=f"{conditions.task_sha256[:12]}-{conditions.hidden_sha256[:12]}",
        seed_set=conditions.seed_set,
        synthetic=manifest.synthetic,
    )
    return section, conditions


def changed_names(run: RunRecord) -> str:
    """Return the names of what changed in the course of a run with its user's consent, sorted; empty if nothing did."""
    return ", ".join(sorted({each.what for accepted in run.accepted for each in accepted.differences}))


def _entry(manifest: Manifest, record: str, changed: str = "") -> Entry:
    plan = manifest.plan
    agent, scaffold = manifest.named("agent", plan.agent), manifest.named("scaffold", plan.scaffold)
    return Entry(agent, scaffold, plan.fitness, plan.steps, plan.hours, record, manifest.isolation_word, changed)


def _table(
    place: _Place,
    entries: dict[Entry, dict[int, list[SeedResult]]],
    unseen: Mapping[tuple[_Place, Entry, int], int],
) -> Table:
    rows = [
        row_of(entry, results, {seed: unseen.get((place, entry, seed), 0) for seed in results})
        for entry, results in entries.items()
    ]
    section = place[0]
    sign = 1.0 if section.lower_is_better else -1.0
    rows.sort(key=lambda row: (row.test is None, sign * row.test.mean if row.test else 0.0, str(row.entry)))
    return Table(section, tuple(rows))
