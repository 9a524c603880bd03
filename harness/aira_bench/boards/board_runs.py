"""What lies behind the rows of boards: the steps and manifests of the runs that they were built from.

Not covered: reading runs (`aira_bench.record.run_record`), and what a row says of them (`aira_bench.boards.rows`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aira_bench.boards.board import Section, Table
from aira_bench.boards.replicates import SeedResult
from aira_bench.keys import SIGNED_HERE
from aira_bench.record.manifest import Manifest
from aira_bench.record.normalized import Anchors
from aira_bench.record.run_record import RunRecord
from aira_bench.record.seed_record import SeedRecord

PAPER = "paper"
"""The profile whose sizes and budgets are those of the published numbers."""


@dataclass(frozen=True)
class BoardRuns:
    """Runs by their ids."""

    runs: Mapping[str, RunRecord]

    @classmethod
    def of(cls, runs: Iterable[RunRecord]) -> "BoardRuns":
        """Hold runs that have been read."""
        return cls({run.manifest.run_id: run for run in runs})

    def seed(self, result: SeedResult) -> SeedRecord:
        """Return the record that a replicate is made from.

        Raises:
            KeyError: its run is not among these.
        """
        return self.runs[result.run_id].seed(result.seed)

    def manifest(self, table: Table) -> Manifest | None:
        """Return the manifest of one of a table's runs, which agree on everything that a table shares."""
        return next(
            (self.runs[each.run_id].manifest for row in table.rows for each in row.results if each.run_id in self.runs),
            None,
        )

    def anchors(self, table: Table) -> Anchors | None:
        """Return what normalized scores of a table are measured against; None where they mean nothing."""
        manifest = self.manifest(table)
        return None if manifest is None or not_comparable(table.section) else manifest.anchors


def not_comparable(section: Section) -> str:
    """Return why the scores of a section are no match for published ones, in words; empty if they are one."""
    if section.synthetic:
        return "synthetic data"
    return "" if section.profile == PAPER else f"profile {section.profile}"


def row_names(table: Table) -> tuple[str, ...]:
    """Return what each row of a table is called where it stands without its columns; no two are alike."""
    names: list[str] = []
    for row in table.rows:
        entry = row.entry
        parts = [entry.scaffold, row.differs_in, entry.changed and f"changed {entry.changed}"]
        if entry.record != SIGNED_HERE:
            parts.append(entry.record)
        claimed = "" if entry.fitness == "hidden" else " (claimed fitness)"
        name = f"{entry.agent}{claimed}, {', '.join(filter(None, parts))}"
        if name in names:
            name = f"{name}, isolation {entry.isolation}"
        names.append(name if name not in names else f"{name}, row {len(names) + 1}")
    return tuple(names)
