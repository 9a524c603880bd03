"""What one folder of figures is drawn from: tables that belong together, and the runs behind them.

Runs of different profiles, machines, seed sets, kinds of data or keys share no figure, as they share no statistics
(`aira_bench.boards.over_tasks.tables_together`).

Not covered: reading runs, and which figure shows what.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from aira_bench.boards.board import Section, Table
from aira_bench.boards.board_runs import BoardRuns
from aira_bench.boards.over_tasks import Played, played, tables_together
from aira_bench.boards.published_rows import AUTORESEARCH, CONFIGURABLE, LRA, WITH_LITERATURE
from aira_bench.boards.rows import Row, RowStanding
from aira_bench.figures.charts import Chart, Counterpart, PaperTable
from aira_bench.keys import SIGNED_HERE
from aira_bench.record.run_record import RunRecord
from aira_bench.reproduce.against.paper_runs import GREEDY
from aira_bench.statistics.suite import StatisticsSettings

FIXED_SETUP, OWN_SETUP = "non-configurable", "configurable"
ARENA, SCRIPTS, OTHERS = "Long Range Arena", "training scripts", "other tasks"
SCRIPT_TASKS = (AUTORESEARCH, WITH_LITERATURE)
_UNITS = {"Accuracy": "share of examples", "Loss": "nats a token", "BPB": "bits per byte"}


@dataclass(frozen=True)
class FigureSource:
    """Some tables that belong together, with the seeds behind them."""

    part: str
    """Which of a group's tables: `ARENA`, `SCRIPTS` or `OTHERS`."""
    shared: tuple[str, ...]
    """What all of it shares, in words: profile, machine, seed set, kind of data, keys."""
    group: Played
    behind: BoardRuns
    how: StatisticsSettings

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents, greedy ones first, then by name."""
        names = {name for players in self.group.players.values() for name in players}
        return tuple(sorted(names, key=lambda name: (name not in self.group.greedy, name)))

    def rows(self, task: str) -> Iterator[tuple[str, Row]]:
        """Yield the agents of a task's table, each with its row; two rows may be of one agent."""
        yield from zip(self.group.players[task], self.group.tasks[task].rows, strict=True)

    @property
    def tasks(self) -> list[str]:
        """The names of its tables, those of the Long Range Arena in the paper's order."""
        title = {name: self.section(name).task for name in self.group.tasks}
        place = {
            each: index for index, each in enumerate(f"{lra}{suffix}" for lra in LRA for suffix in ("", CONFIGURABLE))
        }
        return sorted(title, key=lambda name: (place.get(title[name], len(place)), name))

    def tasks_on(self, titles: Sequence[str]) -> list[str]:
        """Return the names of the tables that are on tasks of these short names, in that order."""
        names = sorted(self.group.tasks)
        return [name for title in titles for name in names if self.section(name).task == title]

    def section(self, task: str) -> Section:
        """Return what the table of a task says that its rows share."""
        return self.group.tasks[task].section

    def runs_on(self, tasks: Iterable[str]) -> list[RunRecord]:
        """Return the runs behind the tables of some tasks, by name."""
        ids = {each.run_id for task in tasks for _, row in self.rows(task) for each in row.results}
        return sorted((self.behind.runs[each] for each in ids), key=lambda run: (run.name, run.manifest.run_id))

    def run_names(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the runs behind the tables of some tasks."""
        return tuple(run.name for run in self.runs_on(tasks))

    def drawn(
        self,
        name: str,
        number: str,
        caption: str,
        content: Chart | PaperTable,
        tasks: Collection[str],
        runs: tuple[str, ...] | None = None,
    ) -> Counterpart:
        """Return a figure or table with what is said of all of them.

        Args:
            name: of its files.
            number: what it is the counterpart of.
            caption: of it.
            content: what it holds.
            tasks: on whose tables it rests.
            runs: names of the runs behind it, by default all of those tables.
        """
        return Counterpart(
            name, number, caption, content, self.run_names(tasks) if runs is None else runs, self.standing(tasks)
        )

    def standing(self, tasks: Collection[str]) -> str:
        """Return whether the submissions behind some tables are confirmed, in words."""
        kinds = {row.standing: row for task in tasks for _, row in self.rows(task)}
        of_one_set = all(self.section(task).ordered_by == "test" for task in tasks)
        if set(kinds) <= {RowStanding.CONFIRMED}:
            return "One set of hidden data, so nothing to confirm." if of_one_set else "All submissions are confirmed."
        return f"NOT ALL CONFIRMED: rows are {', '.join(sorted(map(str, kinds)))}."


def materials_of(
    tables: Sequence[Table], runs: Sequence[RunRecord], how: StatisticsSettings
) -> dict[tuple[str, ...], list[FigureSource]]:
    """Return what figures are drawn from, by what tables that belong together share, in words.

    Each has three parts: the Long Range Arena, training scripts, and all other tasks. Agents are told apart within
    each, so that a budget that only some of the others have is in no name.

    Args:
        tables: of a board.
        runs: that it was built from.
        how: how statistics are computed.
    """
    behind = BoardRuns.of(runs)
    found = {}
    for words, group in sorted(tables_together(tables).items()):
        shared, parts = tuple(filter(None, words)), dict[str, list[Table]]()
        for table in group:
            parts.setdefault(_part(table.section.task), []).append(table)
        signed = {row.entry.record for table in group for row in table.rows}
        record = signed.pop() if len(signed) == 1 else SIGNED_HERE
        said = shared if record == SIGNED_HERE else (*shared, record)
        found[shared] = [
            FigureSource(part, said, _without(record, played(parts.get(part, []), behind, how)), behind, how)
            for part in (ARENA, SCRIPTS, OTHERS)
        ]
    return found


def _without(record: str, group: Played) -> Played:
    """The same with names that do not say whose records they are, where that is the same of all."""

    def short(name: str) -> str:
        return name.replace(f", {record}", "", 1)

    return replace(
        group,
        players={task: tuple(map(short, names)) for task, names in group.players.items()},
        runs=tuple(replace(run, agent=short(run.agent)) for run in group.runs),
        greedy=frozenset(map(short, group.greedy)),
    )


def _part(title: str) -> str:
    if title in SCRIPT_TASKS:
        return SCRIPTS
    return ARENA if setup_of(title) else OTHERS


def dataset_of(task: str) -> str:
    """Return what a task's data set is called in the paper's tables, or the task's name, both setups alike."""
    return LRA.get(task.removesuffix(CONFIGURABLE), task)


def setup_of(task: str) -> str:
    """Return whether a task of the Long Range Arena lets agents set its constants; empty of other tasks."""
    if task.removesuffix(CONFIGURABLE) not in LRA:
        return ""
    return OWN_SETUP if task.endswith(CONFIGURABLE) else FIXED_SETUP


def measured(section: Section, what: str) -> str:
    """Return what an axis says: the metric, what of it, its unit and which way is better."""
    unit, better = _UNITS.get(section.metric), "lower" if section.lower_is_better else "higher"
    return (
        f"{what} {section.metric} ({unit}, {better} is better)"
        if unit
        else f"{what} {section.metric} ({better} is better)"
    )


def is_greedy(row: Row) -> bool:
    """Whether a row's scaffold is the greedy one, with whatever preset."""
    return row.entry.scaffold.partition(":")[0] == GREEDY
