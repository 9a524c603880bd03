"""Where results are printed.

Not covered: progress of a run, which goes to stderr (`aira_bench.cli.display`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 240
"""Columns of a table at its widest."""


def results_console() -> "Console":
    """Stdout as wide as its window, or, where it goes to a file or a pipe, so wide that every row is one line."""
    from rich.console import Console  # rich stays out of start-up

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)
