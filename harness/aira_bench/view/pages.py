"""What each page says, before it is HTML: frozen values, nothing escaped.

Not covered: how they look (`templates`), and where they lie (`site`).
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from os import fsencode

from aira_bench.looking.pages import Section
from aira_bench.looking.run_state import RunState
from aira_bench.looking.step_view import StepView
from aira_bench.view.board_keeping import KeptBoard
from aira_bench.view.boards import BoardSection
from aira_bench.view.charts import Chart
from aira_bench.view.code import Highlighted
from aira_bench.view.entries import NodeEntry, RunEntry

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Crumb:
    """One place on the way from the first page to this."""

    name: str
    address: str
    """From the page itself."""


@dataclass(frozen=True)
class RunRow:
    """A run in the list of the suite's page."""

    run: RunEntry
    state: str
    address: str

    @property
    def best(self) -> float | None:
        """The best search score among what its seeds submitted."""
        return next((each.search for each in self.run.winners if each.seed == self.run.best_seed), None)


Place = tuple[str, str]
"""A run's folder of pages, and `run` or SEED-STEP: one of what two pages are compared of."""


@dataclass(frozen=True)
class PairPage:
    """A page of two runs or two steps side by side."""

    left: str
    right: str
    address: str
    """From the first page."""


@dataclass(frozen=True)
class SuitePage:
    """All runs of a folder."""

    name: str
    runs: tuple[RunRow, ...]
    board: KeptBoard
    sections: tuple[tuple[BoardSection, tuple[Chart, ...]], ...]
    charts: tuple[Chart, ...]
    unread: int
    """Runs that are still to be read."""
    compared: tuple[PairPage, ...] = ()
    """Pages of two runs, where a folder has only some of them."""

    @property
    def all_charts(self) -> tuple[Chart, ...]:
        """The charts of all its parts."""
        return (*self.charts, *(chart for _, charts in self.sections for chart in charts))


@dataclass(frozen=True)
class StepRow:
    """A step in the list of a run's page."""

    node: NodeEntry
    address: str
    marks: tuple[str, ...]


@dataclass(frozen=True)
class RunPage:
    """What the page of one run says."""

    run: RunEntry
    state: str
    signed: str
    live: RunState | None
    charts: tuple[Chart, ...]
    steps: tuple[StepRow, ...]
    winner: "NodePage | None"
    """The step that is shown first: of the best search score among what was submitted."""
    unread: int = 0
    """Steps whose code is still to be read."""
    compared: tuple[PairPage, ...] = ()
    """Pages of two submitted steps, where a folder has only some of them."""


@dataclass(frozen=True)
class TextFile:
    """A text of a step: on its page, and as a file beside."""

    what: str
    title: str
    said: str
    address: str
    shown: Highlighted


@dataclass(frozen=True)
class PromptTurn:
    """One turn of what a model was asked."""

    role: str
    cached: str
    """Its beginning, as far as the provider had it cached."""
    text: str
    """The rest of it."""


@dataclass(frozen=True)
class ModelCall:
    """One question to a model and its answer."""

    name: str
    said: str
    """Model, tokens, seconds, money."""
    turns: tuple[PromptTurn, ...]
    answer: str


@dataclass(frozen=True)
class NodePage:
    """What the page of one step says."""

    run: RunEntry
    view: StepView
    address: str
    """Of its own page, from the page that it is shown on."""
    sections: tuple[Section, ...]
    flags: tuple[tuple[str, str], ...]
    """Each flag with what it means."""
    texts: tuple[TextFile, ...]
    calls: tuple[ModelCall, ...]
    charts: tuple[Chart, ...]
    before: str
    """The address of the step before; empty where there is none."""
    after: str

    @property
    def folder(self) -> str:
        """What the folder of its run's pages is called."""
        return slug(self.run.name)


def slug(name: str) -> str:
    """Return what a run's folder of pages is called: its name where that is plain, else a hash."""
    plain = _PLAIN.fullmatch(name) is not None
    return name if plain else f"run-{sha256(fsencode(name)).hexdigest()[:20]}"


def step_file(seed: int, step: int, suffix: str = ".html") -> str:
    """Return the file of a step's page, or of a text of it, in its run's folder of pages."""
    return f"{seed}-{step}{suffix}"


def run_folder(run: RunEntry) -> str:
    """Return the folder of a run's pages, from the first page."""
    return f"runs/{slug(run.name)}/"


def compare_file(left: Place, right: Place) -> str:
    """Return the file of the page of two runs or two steps, from the first page."""
    return f"compare/{left[0]}/{left[1]}/{right[0]}/{right[1]}.html"
