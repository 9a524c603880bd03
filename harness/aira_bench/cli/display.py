"""What a person sees while a run works: one line a stage, bars of downloads, then a live row for each seed.

Without a terminal every finished step is one plain line, so that logs of batch jobs stay readable. Everything goes to
stderr: stdout is for results.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.progress import TaskID as BarId

from aira_bench.cli.live_view import duration, run_lines
from aira_bench.errors import AiraError
from aira_bench.escaping import one_line
from aira_bench.looking.run_state import RunCaps, RunState, SeedState
from aira_bench.record.growing import Growing
from aira_bench.record.node import Node
from aira_bench.runs.session import Progress
from aira_bench.tasks.transfer import Transfer
from aira_bench.terminal import cleared_where_resized, is_ascii_only, line, progress_console

PLAIN_SHARE = 0.1
"""Without a terminal, a download is a line for each such share of it."""
PLAIN_WAIT_S = 10.0
"""Without a terminal, what a seed waits for is a line once in so many seconds."""


class RunDisplay:
    """Shows notes of the preparation and progress of the seeds."""

    def __init__(self, seeds: Sequence[int], steps: int, *, quiet: bool = False, caps: RunCaps | None = None) -> None:
        """Prepare an empty display; it shows its first line at `live` or at a note, and none at all if `quiet`.

        Args:
            seeds: of the run.
            steps: each seed may take.
            quiet: whether to show nothing.
            caps: all that a seed may take; None where only its steps are known.
        """
        self._console = progress_console(quiet=quiet)
        self._caps, self._lock = caps or RunCaps(steps), threading.Lock()
        self._states = {seed: SeedState(seed) for seed in seeds}
        self._nodes: dict[int, Growing[Node]] = {seed: Growing() for seed in seeds}
        self._phases_s: dict[int, float] = {}
        self._waits_told_s: dict[int, float] = {}
        self._is_live = self._is_stopping = False
        self._window: tuple[int, int] | None = None
        self.spent: dict[int, str] = {}
        """What was said of the budget, by the seeds that it ended."""
        self.halted: dict[int, AiraError] = {}
        """What seeds halted for."""
        self.confirming = False
        """Whether the search is over, and what it submitted is trained again."""
        self._started_s = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._transfers: dict[str, BarId] = {}
        self._told: dict[str, float] = {}

    def note(self, text: str) -> None:
        """One line about a stage before the search."""
        elapsed_s = time.monotonic() - self._started_s
        self._console.print(line(f"[{elapsed_s:6.1f} s] {text}"), soft_wrap=True)

    def watch(self, progress: Progress) -> None:
        """Take news of a seed; called from its thread."""
        with self._lock:
            state = self._states.get(progress.seed, SeedState(progress.seed))
            if (failure := progress.halted) is not None:
                self.halted[progress.seed] = failure
                progress = replace(progress, step=state.step, last=f"halted: {failure.message}")
            if progress.ended == "budget":
                self.spent[progress.seed] = progress.last
            self.confirming |= progress.confirming
            self._keep(state, progress)
            if progress.last:
                if not self._console.is_terminal:
                    self.note(f"seed {progress.seed} step {progress.step}/{self._caps.steps}: {progress.last}")
            elif progress.waits_for not in (None, "slot") and not self._console.is_terminal:
                self._tell_wait(progress)

    def _keep(self, state: SeedState, progress: Progress) -> None:
        """Take what a seed does now, and the steps that it has finished since."""
        known = self._nodes.setdefault(progress.seed, Growing())
        for node in () if progress.nodes is None else progress.nodes[len(known) :]:
            known.append(node)
        if (progress.phase, progress.step) != (state.phase, state.step):
            self._phases_s[progress.seed] = time.monotonic()
        over = progress.ended is not None or progress.halted is not None
        said = progress.last if over or progress.nodes is None else ""
        said = said or (state.said if over or progress.nodes is None else "")
        self._states[progress.seed] = SeedState(
            progress.seed, progress.step, progress.phase, waits_for=progress.waits_for, nodes=known.so_far(),
            is_over=over or (state.is_over and progress.confirming), said=said,
        )  # fmt: skip

    def _tell_wait(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if now_s - self._waits_told_s.get(progress.seed, -PLAIN_WAIT_S) >= PLAIN_WAIT_S:
            self._waits_told_s[progress.seed] = now_s
            self.note(f"seed {progress.seed} step {progress.step}/{self._caps.steps}: {progress.phase}")

    def show_stopping(self) -> bool:
        """Say below the rows that the run is being stopped; False where they are not on screen."""
        self._is_stopping = True
        return self._is_live

    def transfer(self, news: Transfer) -> None:
        """Take news of a download."""
        if not self._console.is_terminal:
            self._tell(news)
            return
        with self._lock:
            if news.name not in self._transfers:
                self._transfers[news.name] = self._bars.add_task(one_line(news.name), total=news.total_bytes)
            bar = self._transfers[news.name]
            self._bars.update(bar, completed=news.done_bytes, total=news.total_bytes)
            self._bars.update(bar, visible=news.done_bytes != news.total_bytes)

    def _tell(self, news: Transfer) -> None:
        share = news.done_bytes / news.total_bytes if news.total_bytes else 0.0
        told = self._told.get(news.name)
        if told is None or share - told >= PLAIN_SHARE or (share == 1.0 != told):
            self._told[news.name] = share
            total = f" of {news.total_bytes / 2**20:.1f}" if news.total_bytes else ""
            self.note(f"{news.name}: {news.done_bytes / 2**20:.1f}{total} MiB")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the rows on screen while the block runs."""
        if not self._console.is_terminal or self._console.is_dumb_terminal or self._console.quiet:
            yield
            return
        self._is_live = True
        try:
            with Live(self, console=self._console, refresh_per_second=4, transient=True):
                yield
        finally:
            self._is_live = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Bars and rows as they stand now, in a window that was emptied if its size has changed."""
        window = (console.width, console.height)
        if self._window not in (None, window):
            yield cleared_where_resized()
        self._window = window
        bars = [each for each in self._bars.tasks if each.visible]
        if bars:
            yield self._bars
        if not self._states:
            return
        most = (options.height or console.height) - len(bars) - 1
        with self._lock:
            shown = run_lines(self._state(), console.width, most, ascii_only=is_ascii_only(console))
        for each in shown:
            yield line(each)

    def _state(self) -> RunState:
        now_s = time.monotonic()
        seeds = []
        for state in self._states.values():
            since_s = self._phases_s.get(state.seed)
            known = since_s is not None and (not state.is_over or self.confirming)
            seeds.append(replace(state, phase_s=now_s - since_s if known and since_s is not None else None))
        way_out = "Ctrl-C stops and keeps what is done"
        if self._is_stopping:
            way_out = "stopping; Ctrl-C once more ends at once"
        return RunState("", self._caps, tuple(seeds), footer=f"{duration(now_s - self._started_s)}, {way_out}")
