"""A bar on standard error for work that takes minutes: redrawn on a terminal, a line every tenth elsewhere."""

import sys
from typing import TextIO

_CELLS = 30


class ProgressBar:
    """Call it with the number done so far."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = stream or sys.stderr
        self._shown = -1

    def __call__(self, done: int) -> None:
        """Show progress where it has visibly moved since the last call."""
        terminal = self._stream.isatty()
        reached = done * (_CELLS if terminal else 10) // max(self._total, 1)
        if reached == self._shown:
            return
        self._shown = reached
        if terminal:
            bar = "#" * reached + "." * (_CELLS - reached)
            end = "\n" if done >= self._total else ""
            self._stream.write(f"\r{self._label} [{bar}] {done:,} of {self._total:,}{end}")
        else:
            self._stream.write(f"{self._label}: {done:,} of {self._total:,}\n")
        self._stream.flush()
