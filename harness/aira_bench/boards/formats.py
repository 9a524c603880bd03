"""Boards as flat records, CSV, JSON, Markdown and terminal tables.

CSV and JSON have every column of `aira_bench.boards.columns`. Tables for people leave out columns in which no row
has anything, and explain those that are left.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.boards.board import Section, Table
from aira_bench.boards.columns import COLUMNS, Scalar, shown_columns
from aira_bench.boards.rows import Row
from aira_bench.escaping import csv_cell, json_text, markdown, one_line
from aira_bench.files import write_atomically
from aira_bench.parquet import Kind
from aira_bench.record.conditions import PUBLIC_SEEDS
from aira_bench.shown_numbers import figure
from aira_bench.tasks.measured_noise import RANKS_WELL, MeasuredRanking
from aira_bench.terminal import WIDE, cell, line, paragraph, results_console

if TYPE_CHECKING:
    from rich.table import Table as RichTable


_FIRST = ("task", "metric", "lower_is_better", "profile", "hardware", "evaluator", "data", "seed_set", "synthetic")
"""What records begin with, of their section."""
_THEN = "changed"
"""Behind this column stands what was added to sections later: who reads files by position must not be disturbed."""


def records(tables: Sequence[Table]) -> list[dict[str, Scalar]]:
    """Return one flat dictionary a row; unknown values are None, never 0."""
    return [_record(table, row) for table in tables for row in table.rows]


def _record(table: Table, row: Row) -> dict[str, Scalar]:
    section = asdict(replace(table.section, pair=None))
    del section["pair"]
    del section["ordered_by"]  # rows have it
    section["shares_hidden_data_with"] = None if table.section.pair is None else table.section.pair.task
    noise = table.noise
    section["noise_floor"] = None if noise is None else noise.deviation
    section["noise_measured"] = None if noise is None else f"{noise.measured}, {noise.hardware}"
    record: dict[str, Scalar] = {name: section.pop(name) for name in _FIRST}
    for column in COLUMNS:
        record |= column.cells(row)
        if column.name == _THEN:
            record |= section
    return record


def record_kinds() -> dict[str, Kind]:
    """Return what each key of a record holds, in the order of `records`, whichever values a board has."""
    section: dict[str, Kind] = {each.name: _kind_of_section(each.type) for each in fields(Section)}
    del section["pair"]
    del section["ordered_by"]
    section |= {"shares_hidden_data_with": "text", "noise_floor": "float", "noise_measured": "text"}
    kinds: dict[str, Kind] = {name: section.pop(name) for name in _FIRST}
    for column in COLUMNS:
        kinds |= column.kinds()
        if column.name == _THEN:
            kinds |= section
    return kinds


def _kind_of_section(named: object) -> Kind:
    return "bool" if named in (bool, "bool") else "text"


def write_board(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write `leaderboard.csv`, `.json` and `.md` into `folder`; return their paths."""
    texts = {"csv": to_csv(tables), "json": to_json(tables), "md": to_markdown(tables)}
    paths = []
    for suffix, text in texts.items():
        path = folder / f"leaderboard.{suffix}"
        write_atomically(path, text.encode())
        paths.append(path)
    return paths


def to_json(tables: Sequence[Table]) -> str:
    """Return boards as the text of a JSON array, a record a row."""
    return json_text(records(tables)) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """Return a header and one line a row; unknown values are empty."""
    rows = records(tables)
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def heading(table: Table) -> str:
    """One line that says what the rows of a table have in common."""
    section = table.section
    direction = "lower is better" if section.lower_is_better else "higher is better"
    marked = " - SYNTHETIC DATA, no result on the real data" if section.synthetic else ""
    said = [section.task, f"{section.metric}, {direction}", f"profile {section.profile}", section.hardware]
    if section.hidden_data:
        said.append(
            section.hidden_data if section.hidden_data == PUBLIC_SEEDS else f"hidden data of {section.hidden_data}"
        )
    if section.confirmed_under:
        said.append(f"confirmed on hidden data of {section.confirmed_under}")
    if section.ordered_by == "test":
        said.append("one set of hidden data, ordered by test")
    if section.pair is not None:
        said.append(f"hidden data shared with {section.pair.task}")
    return " - ".join(said) + marked


def noise_line(table: Table) -> str:
    """One line that says how far trainings of one artifact lie apart in this task, who measured it, and, where that was
    measured, what one training can rank.
    """
    noise = table.noise
    if noise is None:
        return "Noise of training: not measured for this task and profile"
    told = (
        f"Noise of training: standard deviation {figure(noise.deviation)} ({noise.trainings} trainings of "
        f"{noise.artifacts} artifacts, {noise.measured}, {noise.hardware})"
    )
    return told if noise.ranks is None else f"{told}. {_ranking(noise.ranks)}"


def _ranking(ranks: MeasuredRanking) -> str:
    found = f"Spearman {ranks.spearman:.2f} ({ranks.low:.2f} to {ranks.high:.2f})"
    if ranks.trainings == 1:
        return f"One training ranks random artifacts as another does: {found}"
    cost_s = ranks.trainings * ranks.training_s
    return (
        f"One training does not rank random artifacts as another does: {found}, where {RANKS_WELL:.2f} is due; the "
        f"mean of about {ranks.trainings} would ({cost_s:.0f} s of one core each)"
    )


APART = (
    "In no order, because not wholly finished and confirmed: these test scores owe something to the luck of the search."
)
"""Stands before the rows of a table that have no place in its order."""


def parts(table: Table) -> list[tuple[str, Table]]:
    """Return a table in the parts that people see, each with what stands before it: the order, then what is in none."""
    found = [("", replace(table, rows=table.ordered)), (APART, replace(table, rows=table.apart))]
    return [(said, part) for said, part in found if part.rows] or found[:1]


def left_out_lines(table: Table) -> list[str]:
    """One line for each run that the board's user left out, with the reason."""
    return [
        f"Left out: {each.run} ({row.entry.agent}, {row.entry.scaffold}): {each.why}"
        for row in table.rows
        for each in row.left_out
    ]


def to_markdown(tables: Sequence[Table]) -> str:
    """Return a heading and a pipe table for each section."""
    texts = []
    for table in tables:
        text = f"## {markdown(heading(table))}\n\nEvaluator {markdown(table.section.evaluator)}\n"
        text += f"\n{markdown(noise_line(table))}\n"
        for said, part in parts(table):
            headers, *rows = shown_cells(part)
            lines = [_pipes(headers), _pipes(["---"] * len(headers)), *map(_pipes, rows)]
            text += (f"\n{markdown(said)}\n" if said else "") + "\n" + "\n".join(lines) + "\n"
        texts.append(text + "".join(f"\n{markdown(said)}\n" for said in left_out_lines(table)))
    return "\n".join([*texts, legend(tables) + "\n"])


def _pipes(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown, values)) + " |"


def to_terminal(table: Table) -> "RichTable":
    """Return a table for rich, without its heading."""
    from rich import box  # rich stays out of start-up
    from rich.table import Table as RichTable

    shown = RichTable(box=box.SIMPLE, pad_edge=False)
    headers, *rows = shown_cells(table)
    for index, header in enumerate(headers):
        # Long headers stand on two lines, so that a board fits an ordinary window.
        shown.add_column("\n".join(header.rsplit(" ", 1)), justify="left" if index < 2 else "right", no_wrap=True)
    for row in rows:
        shown.add_row(*map(cell, row))
    return shown


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables and their legend; where nobody reads along, as wide as they need."""
    console = results_console()
    for table in tables:
        console.print(line(heading(table), "bold"), soft_wrap=not console.is_terminal)
        console.print(line(noise_line(table)), soft_wrap=not console.is_terminal)
        for said, part in parts(table):
            if said:
                console.print(line(said), soft_wrap=not console.is_terminal)
            shown = to_terminal(part)
            # One more than any width: a measure at the limit cannot be told from one that was cut to it.
            natural = console.measure(shown, options=console.options.update(max_width=max(WIDE, console.width) + 1))
            if natural.maximum <= console.width:
                console.print(shown)
            else:
                console.print(paragraph(stacked(part, console.width)))
        for said in left_out_lines(table):
            console.print(line(said), soft_wrap=not console.is_terminal)
    if tables:
        console.print(paragraph(legend(tables)), soft_wrap=not console.is_terminal)


def stacked(table: Table, width: int) -> str:
    """Return a table's rows as paragraphs of `column value`, for windows the table does not fit into."""
    headers, *rows = shown_cells(table)
    paragraphs = []
    for row in rows:
        lines = [""]
        for item in (one_line(f"{header} {value}") for header, value in zip(headers[2:], row[2:], strict=True)):
            if lines[-1] and len(lines[-1]) + len(item) + 3 > width:
                lines.append("")
            lines[-1] += ("   " if lines[-1] else "  ") + item
        paragraphs.append("\n".join([one_line(f"{row[0]}, {row[1]}"), *lines]))
    return "\n".join(["", *paragraphs, ""])


def legend(tables: Sequence[Table]) -> str:
    """Return what the columns mean that any of the tables shows."""
    return " ".join(f"{name[0].upper()}{name[1:]}: {text}" for name, text in explanations(tables))


def explanations(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """Return the columns that any of the tables shows and that a legend explains, from left to right."""
    shown = {header for table in tables for _, part in parts(table) for header in shown_cells(part)[0]}
    return [(each.heading, each.explained) for each in shown_columns() if each.explained and each.heading in shown]


def shown_cells(table: Table) -> list[tuple[str, ...]]:
    """Return what tables for people have: headers, then rows, without the columns in which no row has anything."""
    texts = {shown.heading: [shown.text(row) for row in table.rows] for shown in shown_columns()}
    kept = {heading: column for heading, column in texts.items() if set(column) - {"-"}}
    return [tuple(kept), *zip(*kept.values(), strict=True)]
