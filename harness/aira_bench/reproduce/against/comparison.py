"""All measured values beside the published ones, with what the runs behind them cost.

Needs the extra `aira-bench[stats]`. Not covered: what follows from published numbers alone (`aira_bench.reproduce`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aira_bench.errors import UsageError
from aira_bench.keys import KeyRing
from aira_bench.record.run_record import RunRecord
from aira_bench.reproduce.against import autoresearch, compose, lra
from aira_bench.reproduce.against.agreement import Agreement, ComparedCell
from aira_bench.reproduce.against.paper_runs import Cost, SeedRun, cost_of

_Found = tuple[list[ComparedCell], list[SeedRun]]
_ALL = {**lra.CELLS, **autoresearch.CELLS, **compose.CELLS}
MEASURED: dict[str, Callable[[Sequence[RunRecord]], _Found]] = {
    name: _ALL[name] for name in ("4", "5", "13", "14", "19", "20", "21", compose.TABLE)
}
"""What makes each table that only runs can fill."""


@dataclass(frozen=True)
class AgainstRuns:
    """Published values beside measured ones."""

    cells: tuple[ComparedCell, ...]
    costs: dict[str, Cost]
    """By table, of the runs behind its cells."""
    unused: tuple[str, ...]
    """Runs that say nothing of any table asked for."""
    steered_otherwise: tuple[str, ...]
    """Runs behind cells whose search saw hidden validation scores, where the paper's agents judged themselves."""
    signed_by_others: tuple[str, ...]
    """Runs behind cells that no key of this machine's, or one it trusts, signed: their numbers are somebody's word."""

    def counts(self, table: str) -> dict[Agreement, int]:
        """Cells of a table by verdict."""
        found = Counter(cell.agreement for cell in self.cells if cell.table == table)
        return {each: found[each] for each in Agreement}


def against_runs(runs: Sequence[RunRecord], ring: KeyRing, tables: Sequence[str] = ()) -> AgainstRuns:
    """Put what runs measured beside the published tables.

    Args:
        runs: any number, also none.
        ring: the keys this machine knows.
        tables: names among `MEASURED`, by default all.

    Raises:
        UsageError: a table is none of them.
        PrerequisiteError: a published file is missing or damaged.
        RunStateError: a script of a valid step is missing, or is not the one that was scored.
    """
    if unknown := [name for name in tables if name not in MEASURED]:
        raise UsageError(
            f"Table {unknown[0]!r} is not one that runs can fill, expected one of {', '.join(MEASURED)}.",
            hint="aira-bench reproduce 4 14 --against RUN",
        )
    cells, costs, used = list[ComparedCell](), dict[str, Cost](), set[str]()
    for name in MEASURED:
        if not tables or name in tables:
            more, seeds = MEASURED[name](runs)
            cells += more
            costs[name] = cost_of(seeds)
            used |= {each.run.manifest.run_id for each in seeds}
    behind = [run for run in runs if run.manifest.run_id in used]
    others = (run.name for run in behind if not ring.trusts_all(run.signers))
    unused = (run.name for run in runs if run.manifest.run_id not in used)
    hidden = (run.name for run in behind if run.manifest.plan.fitness != "claimed")
    return AgainstRuns(tuple(cells), costs, tuple(unused), tuple(hidden), tuple(others))
