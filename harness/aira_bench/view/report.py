"""The pages of runs as a folder that opens from disk: nothing is loaded from anywhere else.

Not covered: which pages there are (`site`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.files import write_atomically
from aira_bench.view.entries import NodeEntry, RunEntry
from aira_bench.view.page_source import PageSource, Pairs, run_charts
from aira_bench.view.pages import PairPage, Place, compare_file, run_folder, slug, step_file
from aira_bench.view.rendering import STATIC
from aira_bench.view.site import Site

_FEW_RUNS = 8
"""Of a task: each is set beside each other one."""
_MOST_BESIDE = 50
"""What one thing is set beside."""


@dataclass(frozen=True)
class WrittenReport:
    """What a report came to."""

    first: Path
    pages: int
    files: int


def write_report(site: Site, out: Path, *, all_steps: bool, first: str = "index.html") -> WrittenReport:
    """Write the pages of a site into a folder.

    Args:
        site: of which runs.
        out: a folder that is empty or not there yet, or that has an earlier report.
        all_steps: whether every step has a page, or only those that were submitted.
        first: the page to open.

    Raises:
        UsageError: the folder has something else in it.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / "static" / "charts.js").is_file():
        raise UsageError(f"{out} has files in it that are no report.", hint="--out another folder")
    if not all_steps:
        site.source.has_step = _is_submitted
    site.source.pairs = _pairs(site.source)
    pages = files = 0
    for chart in site.source.suite_page().all_charts:
        write_atomically(out / chart.file, chart.csv.encode(), lasting=False)
        files += 1
    for path in _paths(site.source):
        content = site.content(path)
        if content is not None:
            write_atomically(out / path, content.body, lasting=False)
            files += 1
            pages += path.endswith(".html")
    return WrittenReport(out / first, pages, files)


def _pairs(source: PageSource) -> Pairs:
    """What is set side by side: each step with what it was made of, what seeds submitted with the run's winner, and
    each run with the others of its task; of more than a few with the first.
    """
    files: set[str] = set()
    of_steps: dict[str, tuple[PairPage, ...]] = {}
    tasks: dict[str, list[RunEntry]] = {}
    for folder in source.folders().values():
        run, detail = source.index.detail(folder)
        tasks.setdefault(run.task, []).append(run)
        at, there = slug(run.name), {(node.seed, node.step) for node in detail.nodes if source.has_step(run, node)}
        for node in detail.nodes:
            for parent in node.parents:
                if {(node.seed, node.step), (node.seed, parent)} <= there:
                    files.add(compare_file((at, f"{node.seed}-{parent}"), (at, f"{node.seed}-{node.step}")))
        own = sorted(
            (each.seed != run.best_seed, each.seed, each.step) for each in run.winners if each.step is not None
        )
        submitted = [(seed, step) for _, seed, step in own if (seed, step) in there][: _MOST_BESIDE + 1]
        of_steps[at] = tuple(
            _beside(f"seed {first[0]}, step {first[1]}", f"seed {seed}, step {step}",
                    (at, f"{first[0]}-{first[1]}"), (at, f"{seed}-{step}"))
            for first in submitted[:1] for seed, step in submitted[1:]
        )  # fmt: skip
    of_runs = []
    for runs in tasks.values():
        firsts = runs if len(runs) <= _FEW_RUNS else runs[:1]
        of_runs += [
            _beside(one.name, other.name, (slug(one.name), "run"), (slug(other.name), "run"))
            for place, one in enumerate(firsts) for other in runs[place + 1 : place + 1 + _MOST_BESIDE]
        ]  # fmt: skip
    files |= {each.address for each in (*of_runs, *(one for several in of_steps.values() for one in several))}
    return Pairs(tuple(of_runs), of_steps, frozenset(files))


def _beside(left: str, right: str, one: Place, other: Place) -> PairPage:
    return PairPage(left, right, compare_file(one, other))


def _is_submitted(run: RunEntry, node: NodeEntry) -> bool:
    return any((each.seed, each.step) == (node.seed, node.step) for each in run.winners)


def _paths(source: PageSource) -> Iterator[str]:
    """Every path of a site but of the suite's charts, a run after the other."""
    yield "index.html"
    yield from (f"static/{path.name}" for path in sorted(STATIC.iterdir()))
    yield "static/plotly.min.js"
    for folder in source.folders().values():
        run, detail = source.index.detail(folder)
        at = run_folder(run)
        yield f"{at}index.html"
        yield from (f"{at}{chart.file}" for chart in run_charts(run, detail, lambda node: ""))
        for node in detail.nodes:
            if source.has_step(run, node):
                page = source.node_page(folder, node.seed, node.step)
                yield f"{at}{step_file(node.seed, node.step)}"
                yield from (f"{at}{text.address}" for text in (page.texts if page else ()))
                yield from (
                    f"{at}{step_file(node.seed, node.step, '.')}{each.file}" for each in (page.charts if page else ())
                )
    for file in sorted(source.pairs.files if source.pairs else ()):
        yield file
        yield f"{file.removesuffix('.html')}.csv"
