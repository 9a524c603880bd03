"""What a person sees while a run works: one line a stage, then a live row for each seed.

Without a terminal every finished step is one plain line, so that logs of batch jobs stay readable. Everything goes to
stderr: stdout is for results.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aira_bench.runs.session import Progress


class RunDisplay:
    """Shows notes of the preparation and progress of the seeds."""

    def __init__(self, seeds: Sequence[int], steps: int, *, quiet: bool = False) -> None:
        """Nothing is shown before `live` or a note; `quiet` shows nothing at all."""
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._steps, self._lock = steps, threading.Lock()
        self._rows: dict[int, Progress] = {seed: Progress(seed, 0, "waiting") for seed in seeds}
        self._best: dict[int, float] = {}
        self._last: dict[int, str] = {}
        self._started_s = time.monotonic()
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """One line about a stage before the search."""
        elapsed_s = time.monotonic() - self._started_s
        self._console.print(Text(f"[{elapsed_s:6.1f} s] {text}"), soft_wrap=True)

    def watch(self, progress: Progress) -> None:
        """Take news of a seed; called from its thread."""
        with self._lock:
            self._rows[progress.seed] = progress
            if progress.best is not None:
                self._best[progress.seed] = progress.best
            if progress.last:
                self._last[progress.seed] = progress.last
                if not self._console.is_terminal:
                    self.note(f"seed {progress.seed} step {progress.step}/{self._steps}: {progress.last}")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the rows on screen while the block runs."""
        if not self._console.is_terminal or self._console.quiet:
            yield
            return
        with Live(self, console=self._console, refresh_per_second=4, transient=True):
            yield

    def __rich__(self) -> Table:
        """The rows as they stand now."""
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
                table.add_row(str(seed), step, best, Text(self._last.get(seed, "-")), Text(row.phase))
        table.caption = f"{time.monotonic() - self._started_s:.0f} s, Ctrl-C stops and keeps what is done"
        return table
