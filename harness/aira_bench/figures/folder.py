"""Makes the folder of figures: pictures, tables, the values of each as CSV, and a page that says what they are of.

Not covered: what figures show (the modules beside this).
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.boards.board import Table
from aira_bench.escaping import csv_cell, markdown
from aira_bench.figures.charts import NONE, Counterpart, NoCounterpart, PaperTable, Result, Rows
from aira_bench.figures.comparisons import best_against_submitted, best_test, normalized_scores, submission_rates
from aira_bench.figures.drawing import FORMATS, draw
from aira_bench.figures.latex_table import latex_table
from aira_bench.figures.lra_tables import best_modules, constants, mean_scores
from aira_bench.figures.material import FigureSource, materials_of
from aira_bench.figures.scripts import script_results
from aira_bench.figures.searches import searches
from aira_bench.files import write_atomically
from aira_bench.record.run_record import RunRecord
from aira_bench.statistics.suite import StatisticsSettings

README = "README.md"
_FIRST_LINE = "# Figures of aira-bench"
_COMPARISONS: tuple[Callable[[FigureSource], Result], ...] = (
    best_test, submission_rates, normalized_scores, best_against_submitted,
)  # fmt: skip
_TABLES: tuple[Callable[[FigureSource], Result], ...] = (mean_scores, constants, best_modules)
_MOST_NAMES = 10
"""Runs that are named behind one figure."""
_OURS = re.compile(r"(?:figure\d\d_|table\d\d_|search_)[a-z0-9_-]+\.(?:svg|pdf|tex|csv)")


@dataclass(frozen=True)
class Group:
    """The figures of runs that belong together."""

    place: str
    """The folder below the one that was asked for; empty for that folder itself."""
    shared: tuple[str, ...]
    """What the runs share, in words."""
    materials: tuple[FigureSource, ...]
    results: tuple[Result, ...]

    @property
    def drawn(self) -> tuple[Counterpart, ...]:
        """What the runs could fill."""
        return tuple(each for each in self.results if isinstance(each, Counterpart))

    @property
    def not_drawn(self) -> tuple[NoCounterpart, ...]:
        """What they could not."""
        return tuple(each for each in self.results if isinstance(each, NoCounterpart))


def groups_of(tables: Sequence[Table], runs: Sequence[RunRecord], how: StatisticsSettings) -> list[Group]:
    """Return what figures and tables show of runs, a group for those that belong together.

    Args:
        tables: of a board.
        runs: that it was built from.
        how: how statistics are computed.
    """
    found = materials_of(tables, runs, how)
    return [
        Group(place, parts[0].shared, tuple(parts), tuple(sorted(_results(*parts), key=lambda each: each.name)))
        for place, (shared, parts) in zip(_places(list(found)), found.items(), strict=True)
    ]


def _results(arena: FigureSource, scripts: FigureSource, others: FigureSource) -> list[Result]:
    more = [make(others) for make in _COMPARISONS] if others.tasks else []
    return [*(make(arena) for make in (*_COMPARISONS, *_TABLES)), *script_results(scripts), *searches(others), *more]


def _places(shared: Sequence[tuple[str, ...]]) -> list[str]:
    """A folder for each group; the one that was asked for where there is one group alone."""
    if len(shared) == 1:
        return [""]
    found: list[str] = []
    for words in shared:
        plain = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:60].strip("-")
        found.append(plain if plain not in found else f"{plain}-{len(found) + 1}")
    return found


def group_files(group: Group) -> dict[str, bytes]:
    """Return the content of every file of a group, by name: pictures, LaTeX, CSV, and the page that describes them."""
    files = {}
    for each in group.drawn:
        if isinstance(each.content, PaperTable):
            label = f"tab:{each.name.replace('_', '-')}"
            files[f"{each.name}.tex"] = latex_table(each.content, each.caption, label).encode()
            files[f"{each.name}.csv"] = _csv(each.content.header, list(each.content.body))
        else:
            pictures = draw(each.content, f"{each.number}: {each.name}")
            files |= {f"{each.name}.{kind}": pictures[kind] for kind in FORMATS}
            files[f"{each.name}.csv"] = _csv(each.content.columns, each.content.rows())
    files[README] = _page(group).encode()
    return files


def write_group(group: Group, folder: Path) -> list[Path]:
    """Write a group's files below a folder, in place of those that an earlier call left there; return their paths."""
    where, files = folder / group.place, group_files(group)
    for stale in _of_before(where):
        if stale.name not in files:
            stale.unlink()
    for name, content in files.items():
        write_atomically(where / name, content)
    return [where / name for name in files]


def _of_before(folder: Path) -> list[Path]:
    """Files named as ours are, in a folder whose page is ours."""
    page = folder / README
    if not page.is_file() or not page.read_text(errors="replace").startswith(_FIRST_LINE):
        return []
    return [path for path in folder.iterdir() if path.is_file() and _OURS.fullmatch(path.name)]


def _csv(columns: Sequence[str], rows: Rows | Sequence[tuple[str, ...]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow("" if cell in (None, NONE) else csv_cell(cell) for cell in row)
    return stream.getvalue().encode()


def _page(group: Group) -> str:
    tasks = [task for each in group.materials for task in each.tasks]
    runs = sorted(name for each in group.materials for name in each.run_names(each.tasks))
    lines = [
        _FIRST_LINE,
        "",
        "**Holds hidden test scores**, as published tables do: keep it from whoever still searches on these tasks.",
        "",
        f"Of {_counted(runs)} on {', '.join(map(markdown, tasks))}: {', '.join(map(markdown, group.shared))}.",
        "",
        "Each picture and table has its values beside it as CSV. n is the number of seeds. How each is computed "
        "stands in docs/figures.md of aira-bench.",
        "",
    ]
    for each in group.drawn:
        named = f" ({', '.join(map(markdown, each.runs))})" if len(each.runs) <= _MOST_NAMES else ""
        lines += [f"## {each.name} ({each.number})", "", each.caption, ""]
        lines += [f"From {_counted(each.runs)}{named}. {each.standing}", ""]
    if group.not_drawn:
        lines += ["## Not drawn", ""]
        lines += [f"- {each.name} ({each.number}): {markdown(each.reason)}" for each in group.not_drawn]
        lines.append("")
    return "\n".join([*lines, "## Runs", "", f"{', '.join(map(markdown, runs))}.", ""])


def _counted(runs: Sequence[str]) -> str:
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
