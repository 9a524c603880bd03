"""What a person sees while a run works: one line a stage, bars of downloads, then a live row for each seed.

Without a terminal every finished step is one plain line, so that logs of batch jobs stay readable. Everything goes to
stderr: stdout is for results.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.progress import TaskID as BarId
from rich.table import Table

from aira_bench.errors import AiraError
from aira_bench.escaping import one_line
from aira_bench.runs.session import Progress
from aira_bench.tasks.transfer import Transfer
from aira_bench.terminal import cell, line, progress_console

PLAIN_SHARE = 0.1
"""Without a terminal, a download is a line for each such share of it."""
PLAIN_WAIT_S = 10.0
"""Without a terminal, what a seed waits for is a line once in so many seconds."""


class RunDisplay:
    """Shows notes of the preparation and progress of the seeds."""

    def __init__(self, seeds: Sequence[int], steps: int, *, quiet: bool = False) -> None:
        """Prepare an empty display; it shows its first line at `live` or at a note, and none at all if `quiet`."""
        self._console = progress_console(quiet=quiet)
        self._steps, self._lock = steps, threading.Lock()
        self._rows: dict[int, Progress] = {seed: Progress(seed, 0, "waiting") for seed in seeds}
        self._best: dict[int, float] = {}
        self._last: dict[int, str] = {}
        self._waits_told_s: dict[int, float] = {}
        self._is_live = self._is_stopping = False
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
            if (failure := progress.halted) is not None:
                self.halted[progress.seed] = failure
                step = self._rows[progress.seed].step
                progress = replace(progress, step=step, last=f"halted: {failure.message}")
            if progress.ended == "budget":
                self.spent[progress.seed] = progress.last
            self.confirming |= progress.confirming
            self._rows[progress.seed] = progress
            if progress.best is not None:
                self._best[progress.seed] = progress.best
            if progress.last:
                self._last[progress.seed] = progress.last
                if not self._console.is_terminal:
                    self.note(f"seed {progress.seed} step {progress.step}/{self._steps}: {progress.last}")
            elif progress.waits_for not in (None, "slot") and not self._console.is_terminal:
                self._tell_wait(progress)

    def _tell_wait(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if now_s - self._waits_told_s.get(progress.seed, -PLAIN_WAIT_S) >= PLAIN_WAIT_S:
            self._waits_told_s[progress.seed] = now_s
            self.note(f"seed {progress.seed} step {progress.step}/{self._steps}: {progress.phase}")

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
        if not self._console.is_terminal or self._console.quiet:
            yield
            return
        self._is_live = True
        try:
            with Live(self, console=self._console, refresh_per_second=4, transient=True):
                yield
        finally:
            self._is_live = False

    def __rich__(self) -> Group:
        """Bars and rows as they stand now."""
        return Group(self._bars, self._table()) if self._rows else Group(self._bars)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, expand=False)
        columns: list[tuple[str, Any]] = [
            ("seed", "right"), ("step", "right"), ("best fitness", "right"), ("last step", "left"), ("now", "left"),
        ]  # fmt: skip
        for name, justify in columns:
            table.add_column(name, justify=justify)
        with self._lock:
            for seed, row in self._rows.items():
                best = f"{self._best[seed]:.4f}" if seed in self._best else "-"
                step = f"{row.step}/{self._steps}"
                table.add_row(str(seed), step, best, cell(self._last.get(seed, "-")), cell(row.phase))
        way_out = "Ctrl-C stops and keeps what is done"
        if self._is_stopping:
            way_out = "stopping; Ctrl-C once more ends at once"
        table.caption = f"{time.monotonic() - self._started_s:.0f} s, {way_out}"
        return table
