"""Which rows of several tables are of one agent: those of one experiment, but for what tasks decide themselves.

Names that tell rows of one table apart say nothing of another table: the same agent would have two names where one of
them has a variant of it, and two variants one name where each ran on a task of its own.

Not covered: rows of one table (`aira_bench.boards.telling`).
"""

from collections.abc import Sequence
from dataclasses import replace

from aira_bench.boards.board import Table
from aira_bench.boards.board_runs import row_names
from aira_bench.boards.rows import Entry, Row
from aira_bench.boards.telling import tell_apart
from aira_bench.record.identity import OF_THE_TASK, Identity, is_budget


def player_names(tables: Sequence[Table]) -> list[tuple[str, ...]]:
    """Return of each table what its rows are called among the rows of all; two rows of one agent share a name.

    A budget, or the task's text, tells agents apart only where one table has rows with several: the hours of a task are
    no property of who ran it, and an agent that ran one task with ten steps and with twenty is two.

    Args:
        tables: that belong together.
    """
    by_task = {
        name for name in _names(tables) if (name in OF_THE_TASK or is_budget(name)) and _is_of_tables(name, tables)
    }
    agents: dict[Entry, Row] = {}
    for table in tables:
        for row in table.rows:
            agent = _agent(row.entry, by_task)
            agents.setdefault(agent, replace(row, entry=agent))
    told = tell_apart(list(agents.values()))
    names = dict(zip(agents, row_names(replace(tables[0], rows=tuple(told))), strict=True)) if told else {}
    return [tuple(names[_agent(row.entry, by_task)] for row in table.rows) for table in tables]


def _names(tables: Sequence[Table]) -> set[str]:
    return {name for table in tables for row in table.rows for name in row.entry.identity.facts}


def _is_of_tables(name: str, tables: Sequence[Table]) -> bool:
    """Whether no table has rows with two values of a fact."""
    return all(len({row.entry.identity.facts.get(name) for row in table.rows}) <= 1 for table in tables)


def _agent(entry: Entry, by_task: set[str]) -> Entry:
    """An entry without what tasks decide."""
    facts = tuple((name, value) for name, value in entry.identity.facts.items() if name not in by_task)
    steps = entry.steps if "steps" not in by_task else 0
    hours = entry.hours if "hours" not in by_task else 0.0
    return replace(entry, steps=steps, hours=hours, identity=Identity(facts))
