"""What each page says, gathered from the index of the runs, their files, and what goes on beside.

Not covered: where pages lie (`site`), and how they look (`rendering`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.looking.artifact import ArtifactView
from aira_bench.looking.opened import WHATS, Opened, open_step
from aira_bench.looking.pages import step_sections
from aira_bench.looking.step_view import StepView, step_view
from aira_bench.looking.watching import RunWatch
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import StepEnded
from aira_bench.record.salvage import RunRemains
from aira_bench.view.architecture_charts import primitives_by_layer, strips
from aira_bench.view.board_keeping import BoardKeeper
from aira_bench.view.calls import model_calls
from aira_bench.view.charts import Chart, present
from aira_bench.view.code import highlighted
from aira_bench.view.code_charts import code_length, features, growth, mechanisms
from aira_bench.view.comparing import ComparePage, compare_runs, compare_steps
from aira_bench.view.entries import NodeEntry, RunDetail, RunEntry
from aira_bench.view.flags import explained
from aira_bench.view.index import RunIndex, fingerprint
from aira_bench.view.pages import (
    NodePage,
    PairPage,
    RunPage,
    RunRow,
    StepRow,
    SuitePage,
    TextFile,
    run_folder,
    slug,
    step_file,
)
from aira_bench.view.reading import RunsReading
from aira_bench.view.run_charts import best_so_far, best_tests, search_tree
from aira_bench.view.suite_charts import classes_over_time, section_charts, spend
from aira_bench.view.training_charts import claims, training, trainings

_LANGUAGES: dict[str, str] = {"code": "python", "diff": "diff", "artifact": "python"}
_TITLES = {
    "code": "Code", "diff": "Difference to its parent", "output": "Output", "prompt": "Prompt", "answer": "Answer",
    "artifact": "Artifact",
}  # fmt: skip
_KEPT_RUNS = 4
"""Runs whose files are kept in memory for pages of steps."""


@dataclass(frozen=True)
class Pairs:
    """Which pages side by side a folder of pages has."""

    of_runs: tuple[PairPage, ...]
    of_steps: Mapping[str, tuple[PairPage, ...]]
    """Of what was submitted, by the run's folder of pages."""
    files: frozenset[str]
    """Those and all others, such as of a step and what it was made of."""


class PageSource:
    """What the pages of the runs of one folder say."""

    def __init__(self, index: RunIndex, now_s: Callable[[], float], *, follows: bool) -> None:
        """Know the runs; no page is made yet.

        Args:
            index: of the runs.
            now_s: seconds of the epoch.
            follows: whether pages ask for news, which only a server has.
        """
        self.index, self.follows, self._now_s = index, follows, now_s
        self.only: frozenset[str] | None = None
        """Names of the runs that there are pages of; None for all of the folder."""
        self.has_step: Callable[[RunEntry, NodeEntry], bool] = lambda run, node: True
        """Whether a step has a page."""
        self.pairs: Pairs | None = None
        """Which runs and steps there are pages of side by side; None for any two."""
        self._remains: dict[str, tuple[str, RunRemains]] = {}
        self._watches: dict[Path, RunWatch] = {}
        self._last_view: tuple[StepEnded, StepView] | None = None
        self._boards, self._reading = BoardKeeper(index), RunsReading(index)

    def folders(self) -> dict[str, RunFolder]:
        """Return the runs by the names of their folders of pages."""
        found = self.index.folders()
        return {slug(each.path.name): each for each in found if self.only is None or each.path.name in self.only}

    def facts(self, folders: Sequence[RunFolder], *, with_board: bool) -> object:
        """Return what changes when what is said of some runs does; no run is read for it.

        Args:
            folders: of the runs.
            with_board: whether the page is the one with their board.
        """
        facts = [[fingerprint(each), self._news(each)] for each in folders]
        beside = [self._boards.version(folders), self._reading.done] if with_board else self._reading.codes
        return [facts, beside]

    def suite_page(self) -> SuitePage:
        """Return the page of all runs; while they are read for the first time, of those that have been."""
        folders = list(self.folders().values())
        found, unread = self._reading.known(folders, wait=not self.follows)
        rows = [RunRow(run, state_of(run, folder), f"{run_folder(run)}index.html") for folder, run in found]
        kept = self._boards.board(folders, wait=not self.follows)
        sections = kept.board.sections if kept.board else ()
        charts = [(each, tuple(section_charts(number, each))) for number, each in enumerate(sections, start=1)]
        runs = [run for _, run in found]
        return SuitePage(
            self.index.runs.name,
            tuple(rows),
            kept,
            tuple(charts),
            present([classes_over_time(runs), spend(runs)]),
            unread,
            self.pairs.of_runs if self.pairs else (),
        )

    def run_page(self, folder: RunFolder) -> RunPage:
        """Return the page of a run."""
        run, detail = self._detail(folder)
        link = self._link(run)
        submitted = {(each.seed, each.submitted) for each in run.seeds}
        tops = best_tests(detail.nodes, lower_is_better=run.lower_is_better)
        steps = []
        for node in detail.nodes:
            place = (node.seed, node.step)
            marks = [*(["submitted"] if place in submitted else []), *(["best by test"] if place in tops else [])]
            steps.append(StepRow(node, link(node), tuple(marks)))
        best = next((each for each in run.winners if each.seed == run.best_seed and each.step is not None), None)
        winner = self.node_page(folder, best.seed, best.step) if best and best.step is not None else None
        live = self._watch(folder).state(self._now_s()) if folder.is_live else None
        signed = self.index.ring.describe_all(run.signers) if run.sound else "does not hold"
        return RunPage(
            run,
            state_of(run, folder),
            signed,
            live,
            run_charts(run, detail, link),
            tuple(steps),
            winner,
            detail.unread,
            self.pairs.of_steps.get(slug(run.name), ()) if self.pairs else (),
        )

    def node_page(self, folder: RunFolder, seed: int, step: int) -> NodePage | None:
        """Return the page of a step; None where the run has none of that number."""
        run = self._run_remains(folder)
        view = self._view(folder, seed, step)
        if view is None:
            return None
        entry, found = self.index.summary(folder), view.seed
        texts = [self._text(view, what) for what in WHATS]
        score = found.scores.get(step)
        return NodePage(
            entry, view, step_file(seed, step), tuple(step_sections(run, view)),
            tuple((flag, explained(flag)) for flag in view.scores.flags),
            tuple(each for each in texts if each is not None), model_calls(view),
            training(score.series, score.claimed_series) if score else (),
            step_file(seed, step - 1) if step > 1 else "",
            step_file(seed, step + 1) if step < len(found.steps) else "",
        )  # fmt: skip

    def compare_page(self, left: tuple[str, str], right: tuple[str, str]) -> ComparePage | None:
        """Return two runs or two steps side by side; None where there are no such two.

        Args:
            left: folder of pages of a run, and `run` or SEED-STEP.
            right: the same of the other.
        """
        known = self.folders()
        folders = [known.get(run) for run, _ in (left, right)]
        if folders[0] is None or folders[1] is None or (left[1] == "run") != (right[1] == "run"):
            return None
        if left[1] == "run":
            (one, ones), (other, others) = self._detail(folders[0]), self._detail(folders[1])
            places = tuple(f"{run_folder(run)}index.html" for run in (one, other))
            return compare_runs((one, other), (ones.nodes, others.nodes), (places[0], places[1]))
        pages = []
        for folder, (_, what) in zip(folders, (left, right), strict=True):
            seed, _, step = what.partition("-")
            assert folder is not None, "looked for above"
            pages.append(self.node_page(folder, int(seed), int(step)))
        if pages[0] is None or pages[1] is None:
            return None
        places = tuple(f"{run_folder(page.run)}{page.address}" for page in pages if page)
        return compare_steps(pages[0], pages[1], (places[0], places[1]))

    def charts(self, folder: RunFolder) -> tuple[Chart, ...]:
        """Return the charts of a run's page."""
        run, detail = self._detail(folder)
        return run_charts(run, detail, self._link(run))

    def text(self, folder: RunFolder, seed: int, step: int, what: Opened) -> str | None:
        """Return a text of a step in full; None where it has none."""
        view = self._view(folder, seed, step)
        try:
            return open_step(view, what).text if view else None
        except AiraError:
            return None

    def close(self) -> None:
        """End what is done beside."""
        self._boards.close()
        self._reading.close()

    def _text(self, view: StepView, what: Opened) -> TextFile | None:
        if what == "artifact" and not _is_code(view.artifact):
            return None
        try:
            opened = open_step(view, what)
        except AiraError:
            return None
        shown = highlighted(opened.text, _LANGUAGES.get(what, ""))
        address = step_file(view.seed.seed, view.node.step, f".{what}.txt")
        return TextFile(what, _TITLES[what], ", ".join(path.name for path in opened.paths), address, shown)

    def _link(self, run: RunEntry) -> Callable[[NodeEntry], str]:
        return lambda node: step_file(node.seed, node.step) if self.has_step(run, node) else ""

    def _detail(self, folder: RunFolder) -> tuple[RunEntry, RunDetail]:
        return self._reading.detail(folder, wait=not self.follows)

    def _run_remains(self, folder: RunFolder) -> RunRemains:
        """A run's files, read again where they have changed; the last few runs are kept."""
        seen, key = fingerprint(folder), str(folder.path)
        known = self._remains.pop(key, None)
        if known is None or known[0] != seen:
            known = seen, self.index.remains(folder)
        self._remains[key] = known
        while len(self._remains) > _KEPT_RUNS:
            self._remains.pop(next(iter(self._remains)), None)
        return known[1]

    def _view(self, folder: RunFolder, seed: int, step: int) -> StepView | None:
        """A step's view. For a report the last is kept: its files follow its page, and comparing code takes long."""
        run = self._run_remains(folder)
        found = run.seed(seed)
        ended = found.step(step) if found else None
        if found is None or ended is None:
            return None
        if self.follows or self._last_view is None or self._last_view[0] is not ended:
            self._last_view = ended, step_view(run, found, ended)
        return self._last_view[1]

    def _watch(self, folder: RunFolder) -> RunWatch:
        return self._watches.setdefault(folder.path, RunWatch(folder))

    def _news(self, folder: RunFolder) -> object:
        """What a running seed is at, as far as it changes pages."""
        if not folder.is_live:
            return None
        state = self._watch(folder).state(self._now_s())
        return [[each.step, each.phase] for each in state.seeds] if state else None


def run_charts(run: RunEntry, detail: RunDetail, link: Callable[[NodeEntry], str]) -> tuple[Chart, ...]:
    """Return all charts of a run."""
    if not detail.nodes:
        return ()
    nodes, codes = detail.nodes, detail.codes
    return present([
        best_so_far(run, nodes, link), search_tree(run, nodes, link), strips(run, nodes, link),
        primitives_by_layer(run, nodes), mechanisms(nodes, codes, link), code_length(nodes, codes, link),
        *growth(nodes, link), claims(run, nodes, link), features(nodes, codes, link), *trainings(nodes, link),
    ])  # fmt: skip


def state_of(run: RunEntry, folder: RunFolder) -> str:
    """Return in a word how a run stands."""
    if folder.is_live:
        return "running"
    if not run.sound:
        return "damaged"
    return "finished" if all(seed.ended for seed in run.seeds) else "stopped"


def _is_code(artifact: ArtifactView | None) -> bool:
    return artifact is not None and artifact.file is not None and artifact.file.name.endswith(".py")
