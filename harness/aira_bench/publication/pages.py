"""A board as a static site: an index, and one page a task. Plain HTML and CSS in each file; nothing is loaded.

Every value that a template is given is escaped twice over: made a single line of shown characters, then HTML. The
templates hold no script, and each page's policy forbids any, and every request.

Not covered: viewing single runs and steps.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from aira_bench.boards.board import Table
from aira_bench.boards.formats import explanations, heading, left_out_lines, noise_line, parts, shown_cells
from aira_bench.escaping import one_line
from aira_bench.publication.document import run_evidence
from aira_bench.publication.drawing import MARGIN, ROW_HEIGHT, WIDTH, picture_of
from aira_bench.record.run_record import RunRecord

INDEX = "index.html"
_FOLDER = Path(__file__).parent / "templates"
_NAME_CHARS = 60


def site(tables: Sequence[Table], runs: Sequence[RunRecord], downloads: Sequence[str] = ()) -> dict[str, str]:
    """Return the pages of a board's site by the names of their files.

    Args:
        tables: of the board.
        runs: what it was made from.
        downloads: files beside the pages that the index links to.
    """
    by_task: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        by_task[table.section.task].append(table)
    names = _file_names(list(by_task))
    by_id = {run.manifest.run_id: run for run in runs}
    pages = {
        names[task]: _page("task.html.j2", task=task, sections=_sections(of_task, by_id),
                           legend=explanations(of_task))
        for task, of_task in by_task.items()
    }  # fmt: skip
    rows = [_index_row(task, of_task, names[task]) for task, of_task in by_task.items()]
    return {INDEX: _page("index.html.j2", tasks=rows, downloads=downloads, runs=len(runs))} | pages


def _index_row(task: str, tables: Sequence[Table], page: str) -> dict[str, object]:
    section = tables[0].section
    return {
        "task": task, "page": page, "metric": section.metric,
        "better": "lower" if section.lower_is_better else "higher",
        "profiles": ", ".join(dict.fromkeys(table.section.profile for table in tables)),
        "rows": sum(len(table.rows) for table in tables),
        "seeds": sum(len(row.results) for table in tables for row in table.rows),
    }  # fmt: skip


def _sections(tables: Sequence[Table], runs: Mapping[str, RunRecord]) -> list[dict[str, object]]:
    return [_section(part, runs, said) for table in tables for said, part in parts(table)]


def _section(table: Table, runs: Mapping[str, RunRecord], apart: str) -> dict[str, object]:
    headers, *rows = shown_cells(table)
    replicates = [
        {
            "agent": row.entry.agent, "scaffold": row.entry.scaffold, "seed": result.seed, "run": run.name,
            "run_id": result.run_id, "created": result.created, "models": ", ".join(result.model_use.models),
            "steps": result.steps, "submitted": result.submitted, "test": result.test, "confirmed": result.confirmed,
            "card": run_evidence(run)["card_sha256"],
        }
        for row in table.rows
        for result in row.results
        if (run := runs.get(result.run_id)) is not None
    ]  # fmt: skip
    return {
        "heading": heading(table), "evaluator": table.section.evaluator, "headers": headers, "rows": rows,
        "left_out": left_out_lines(table), "picture": picture_of(table), "replicates": replicates,
        "synthetic": table.section.synthetic, "noise": noise_line(table), "apart": apart,
    }  # fmt: skip


def _page(template: str, **values: object) -> str:
    frame = {"width": WIDTH, "margin": MARGIN, "row_height": ROW_HEIGHT}
    return _environment().get_template(template).render(**values, frame=frame) + "\n"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _shown(value: object) -> object:
    """What a template prints of a value: text of our own templates as it is, everything else on one line, escaped."""
    if value is None:
        return "-"
    return value if isinstance(value, Markup | int) else one_line(f"{value:.4f}" if isinstance(value, float) else value)


def _file_names(tasks: Sequence[str]) -> dict[str, str]:
    """A plain file name for each task, whatever its title; where two would be one, a hash tells them apart."""
    plain = {task: re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")[:_NAME_CHARS] for task in tasks}
    taken = [*plain.values(), "index", ""]
    return {
        task: f"{name}.html" if taken.count(name) == 1 else
        f"{name or 'task'}-{hashlib.sha256(task.encode(errors='surrogatepass')).hexdigest()[:12]}.html"
        for task, name in plain.items()
    }  # fmt: skip
