"""`aira-bench status --watch`: how runs get on, from another process than theirs, until Ctrl-C.

On a terminal the same rows as `aira-bench run` shows, for every run that goes on; the others are a line each. In a pipe
each finished step is a plain line, with its reason. Nothing is locked, so nobody waits for whoever looks.

Not covered: what is drawn of a run (`live_view`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aira_bench.cli.live_view import run_lines
from aira_bench.cli.stopping import current
from aira_bench.escaping import one_line
from aira_bench.looking.run_state import RunState, best_so_far, ended_words
from aira_bench.looking.sparkline import fit
from aira_bench.looking.watching import FolderWatch
from aira_bench.record.folder import RunFolder
from aira_bench.shown_numbers import figure
from aira_bench.terminal import cleared_where_resized, is_ascii_only, line, results_console, say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

PAUSE_S = 1.0
_LEAST_LINES = 4


class Screen:
    """What is on the terminal: the runs that go on, then the others."""

    def __init__(self) -> None:
        """Show that there are no runs yet."""
        self.states: Sequence[RunState] = ()
        self._window: tuple[int, int] | None = None

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Draw the runs within the window, which is emptied first if its size has changed."""
        window = (console.width, console.height)
        if self._window not in (None, window):
            yield cleared_where_resized()
        self._window = window
        for each in screen_lines(self.states, *window, ascii_only=is_ascii_only(console)):
            yield line(each)


def screen_lines(states: Sequence[RunState], width: int, height: int, *, ascii_only: bool = False) -> list[str]:
    """Return what stands on a terminal of that size: at most `height - 1` lines, none wider than it.

    Args:
        states: how the runs stand.
        width: columns.
        height: lines.
        ascii_only: for terminals whose encoding has nothing else.
    """
    going = [state for state in states if state.is_running]
    still = [state for state in states if not state.is_running]
    room, lines = max(height - 2, _LEAST_LINES), list[str]()
    for number, state in enumerate(going):
        share = max((room - len(lines)) // (len(going) - number) - 1, _LEAST_LINES)
        lines += [state.title, *run_lines(state, width, share, ascii_only=ascii_only)]
    for number, state in enumerate(still):
        if len(lines) >= room and number < len(still):
            lines.append(f"and {len(still) - number} more that do not go on")
            break
        lines.append(state.title)
    shown = lines or ["no runs yet"]
    return [*(fit(each, width, ascii_only=ascii_only) for each in _escaped(shown[:room])), fit("Ctrl-C ends", width)]


def follow(folders: Callable[[], Sequence[RunFolder]], now_s: Callable[[], float], pause: Callable[[], None]) -> int:
    """Show how runs get on until the user stops it; return the exit status.

    Args:
        folders: the runs that there are, asked each time.
        now_s: seconds of the epoch.
        pause: waits until it is time to look again.
    """
    current().shown = lambda: True  # Ctrl-C is how one ends looking
    console, watch = results_console(), FolderWatch()
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            _on_terminal(console, lambda: watch.states(folders(), now_s()), pause)
        else:
            _in_pipe(lambda: watch.states(folders(), now_s()), pause)
    except KeyboardInterrupt:
        pass
    return 0


def _on_terminal(console: "Console", states: Callable[[], Sequence[RunState]], pause: Callable[[], None]) -> None:
    from rich.live import Live

    screen = Screen()
    screen.states = states()
    with Live(screen, console=console, refresh_per_second=4, transient=False):
        while True:
            screen.states = states()
            pause()


def _in_pipe(states: Callable[[], Sequence[RunState]], pause: Callable[[], None]) -> None:
    """Say how the runs stand, then a line for each step that is finished from now on."""
    told: dict[tuple[str, int], int] = {}
    for state in states():
        say(state.title, flush=True)
        told |= {(state.name, seed.seed): len(seed.nodes) for seed in state.seeds}
    while True:
        pause()
        for state in states():
            for seed in state.seeds:
                best = best_so_far(seed.nodes, lower_is_better=state.caps.lower_is_better)
                for node in seed.nodes[told.get((state.name, seed.seed), 0) :]:
                    so_far = best[node.step - 1]
                    behind = "" if so_far is None else f"; best {figure(so_far)}"
                    where = f"{state.name} seed {seed.seed} step {node.step}/{state.caps.steps}"
                    say(f"{where}: {ended_words(node)}{behind}", flush=True)
                told[state.name, seed.seed] = len(seed.nodes)


def _escaped(lines: Sequence[str]) -> list[str]:
    return [one_line(each, 500) for each in lines]
