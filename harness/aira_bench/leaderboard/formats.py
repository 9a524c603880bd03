"""Boards as flat records, CSV, JSON, Markdown and terminal tables.

CSV and JSON have every column. Tables for people leave out columns in which no row has anything, and explain those
that are left.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aira_bench.escaping import csv_cell, json_text, markdown, one_line
from aira_bench.files import write_atomically
from aira_bench.keys import SIGNED_HERE
from aira_bench.leaderboard.board import Row, Spread, Table
from aira_bench.record.node import ModelUse
from aira_bench.terminal import WIDE, cell, line, paragraph, results_console

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """One flat dictionary a row; unknown values are None, never 0."""
    return [_record(table, row) for table in tables for row in table.rows]


def _record(table: Table, row: Row) -> dict[str, Any]:
    record: dict[str, Any] = asdict(table.section) | asdict(row.entry)
    record |= {
        "seeds": row.seeds,
        "seeds_ended": row.ended,
        "valid_submission_rate": row.valid_submission_rate,
        "valid_step_rate": row.valid_step_rate,
        "steps_taken": row.steps,
        "infra_errors": row.infra_errors,
        "retries": row.retries,
        "runs_by_seed": " ".join(f"{seed}:{count}" for seed, count in sorted(row.runs_by_seed.items())),
        "seeds_flagged": row.flagged,
        "seeds_unranked": row.unranked,
        "runs_not_shown": row.runs_not_shown,
        "seeds_awaiting_confirm": row.awaiting,
        "seed_seconds": round(row.wall_s, 3),
        "model_calls": row.model_use.calls,
        "input_tokens": row.model_use.input_tokens,
        "output_tokens": row.model_use.output_tokens,
        "cost_usd": row.model_use.cost_usd,
    }
    for name in SPREADS:
        value: Spread | None = getattr(row, name)
        record |= {f"{name}_mean": value.mean if value else None, f"{name}_sd": value.deviation if value else None}
        if name in ESTIMATED:
            record[f"{name}_standard_error"] = value.standard_error if value else None
    return record


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
    """An array of records."""
    return json_text(records(tables)) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """A header and one line a row; unknown values are empty."""
    rows = records(tables)
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


SPREADS = (
    "validation",
    "test",
    "best_test",
    "confirmed",
    "claimed",
    "claimed_less_trusted",
    "normalized",
    "normalized_corrected",
)
ESTIMATED = ("validation", "test", "confirmed")
"""Spreads whose values may be estimates, with a standard error of their own."""
HEADERS = (
    "agent", "scaffold", "seeds", "run again", "record", "VSR", "validation", "test", "confirmed",
    "claimed - trusted", "flagged", "unranked", "awaits confirm",
    "NS", "best test met", "isolation", "steps", "valid steps", "time", "tokens", "cost",
)  # fmt: skip
_EXPLAINED = {
    "run again": "seeds begun more than once, and how often, runs recorded here that are not shown included; of those "
    "shown, the first in which the seed ended counts.",
    "record": "who signed the runs, where that is not this machine.",
    "VSR": "valid submission rate over seeds.",
    "validation": "of the submitted step, like test; mean and standard deviation over seeds; in brackets, where scores "
    "are estimates, the standard error of that mean, without the luck of training.",
    "confirmed": "test score of a fresh evaluation on hidden data and seeds that no search has seen.",
    "claimed - trusted": "the submission's own number less trusted validation.",
    "flagged": "seeds whose submission the judge's checks noticed something about.",
    "unranked": "seeds whose submission a control disqualifies (aira-bench status names it); in no mean, and no valid "
    "submission.",
    "awaits confirm": "seeds whose submission scored above the best published; in no mean before aira-bench "
    "confirm has run its controls.",
    "NS": "normalized test score, 0 for a seed without a valid submission, 1 at the published best (in brackets: "
    "against a corrected figure). Published figures are of the paper's sizes.",
    "best test met": "best of all steps, not chosen by it.",
    "isolation": "what kept containers of untrusted code from reading what others left in the kernel (SECURITY.md).",
    "steps": "taken; `infra` were lost to infrastructure, `retried` are attempts beyond the first of each.",
    "time": "summed over seeds.",
}


def heading(table: Table) -> str:
    """One line that says what the rows of a table have in common."""
    section = table.section
    direction = "lower is better" if section.lower_is_better else "higher is better"
    marked = " - SYNTHETIC DATA, no result on the real data" if section.synthetic else ""
    return f"{section.task} - {section.metric}, {direction} - profile {section.profile} - {section.hardware}{marked}"


def cells(row: Row) -> tuple[str, ...]:
    """A row as text under `HEADERS`."""
    entry = row.entry
    agent = entry.agent if entry.fitness == "hidden" else f"{entry.agent} (claimed fitness)"
    seeds = str(row.seeds) if row.ended == row.seeds else f"{row.ended} of {row.seeds}"
    errors = f", {row.infra_errors} infra" if row.infra_errors else ""
    errors += f", {row.retries} retried" if row.retries else ""
    return (
        agent, entry.scaffold, seeds, _run_again(row), "-" if entry.record == SIGNED_HERE else entry.record,
        _rate(row.valid_submission_rate), _spread(row.validation), _spread(row.test),
        _confirmed(row),
        _spread(row.claimed_less_trusted), str(row.flagged or "-"), str(row.unranked or "-"), str(row.awaiting or "-"),
        _normalized(row), _spread(row.best_test), entry.isolation,
        f"{row.steps}{errors}", _rate(row.valid_step_rate), duration(row.wall_s), tokens(row.model_use),
        cost(row.model_use),
    )  # fmt: skip


def to_markdown(tables: Sequence[Table]) -> str:
    """A heading and a pipe table for each section."""
    parts = []
    for table in tables:
        headers, *rows = _columns(table)
        lines = [_pipes(headers), _pipes(["---"] * len(headers)), *map(_pipes, rows)]
        parts.append(
            f"## {markdown(heading(table))}\n\nEvaluator {markdown(table.section.evaluator)}\n\n"
            + "\n".join(lines)
            + "\n"
        )
    return "\n".join([*parts, legend(tables) + "\n"])


def _pipes(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown, values)) + " |"


def to_terminal(table: Table) -> "RichTable":
    """A table for rich, without its heading."""
    from rich import box  # rich stays out of start-up
    from rich.table import Table as RichTable

    shown = RichTable(box=box.SIMPLE, pad_edge=False)
    headers, *rows = _columns(table)
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
        shown = to_terminal(table)
        natural = console.measure(shown, options=console.options.update(max_width=WIDE))
        if natural.maximum <= console.width:
            console.print(shown)
        else:
            console.print(paragraph(stacked(table, console.width)))
    if tables:
        console.print(paragraph(legend(tables)), soft_wrap=not console.is_terminal)


def stacked(table: Table, width: int) -> str:
    """The same rows as paragraphs of `column value`, for windows a table does not fit into."""
    headers, *rows = _columns(table)
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
    """What the columns mean that any of the tables shows."""
    shown = {header for table in tables for header in _columns(table)[0]}
    lines = (f"{name[0].upper()}{name[1:]}: {text}" for name, text in _EXPLAINED.items() if name in shown)
    return " ".join(lines)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _run_again(row: Row) -> str:
    again = [f"{seed} x{count}" for seed, count in sorted(row.runs_by_seed.items()) if count > 1]
    return ", ".join(again[:3]) + (f" and {len(again) - 3} more" if len(again) > 3 else "") or "-"


def _spread(value: Spread | None) -> str:
    if value is None:
        return "-"
    deviation = "" if value.deviation is None else f" +- {value.deviation:.4f}"
    return f"{value.mean:.4f}{deviation}" + ("" if value.standard_error is None else f" ({value.standard_error:.4f})")


def _columns(table: Table) -> list[tuple[str, ...]]:
    """Headers, then rows; without the columns in which no row has anything."""
    rows = [cells(row) for row in table.rows]
    kept = [index for index in range(len(HEADERS)) if any(row[index] != "-" for row in rows)]
    return [tuple(line[index] for index in kept) for line in (HEADERS, *rows)]


def _confirmed(row: Row) -> str:
    """The figure, and of how many seeds it is where that is not all of those with a test score."""
    known, all_seeds = row.confirmed.count if row.confirmed else 0, row.test.count if row.test else 0
    return _spread(row.confirmed) + (f" ({known} of {all_seeds})" if 0 < known < all_seeds else "")


def _normalized(row: Row) -> str:
    if row.normalized is None:
        return "-"
    corrected = f" ({row.normalized_corrected.mean:.3f})" if row.normalized_corrected else ""
    return f"{row.normalized.mean:.3f}{corrected}"


def tokens(use: ModelUse) -> str:
    """Prompt and answer tokens together; `-` without a model, `unknown` where a provider did not count."""
    if use.calls == 0:
        return "-"
    if use.input_tokens is None or use.output_tokens is None:
        return "unknown"
    return f"{use.input_tokens + use.output_tokens:,}"


def cost(use: ModelUse) -> str:
    """US dollars; `-` without a model, `unknown` where a price or a count is."""
    if use.calls == 0:
        return "-"
    return "unknown" if use.cost_usd is None else f"${use.cost_usd:.4f}"


def duration(seconds: float) -> str:
    """`43 s`, `5 min 3 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
