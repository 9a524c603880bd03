"""What figures and tables hold, before anybody draws them: each kind of chart knows its values as rows of a CSV file.

What is drawn is what the rows say: a drawer gets a chart and nothing else. Not covered: where values come from
(`comparisons`, `searches`, `scripts` and `lra_tables` beside this), and how charts look (`drawing`).
"""

from dataclasses import dataclass

from aira_bench.statistics.arrays import IntervalEstimate

Cell = str | int | float | None
Rows = list[tuple[Cell, ...]]
NONE = "--"
"""A cell of a table without a value; empty in its CSV file."""


@dataclass(frozen=True)
class Dot:
    """One value of one agent with its interval."""

    agent: str
    value: float
    low: float | None
    """Lower end of the interval; None where too little is known for one."""
    high: float | None
    count: int
    """How many seeds it rests on."""

    @classmethod
    def of(cls, agent: str, estimate: IntervalEstimate) -> "Dot":
        """Make the dot of an estimate."""
        return cls(agent, estimate.value, estimate.low, estimate.high, estimate.count)


@dataclass(frozen=True)
class Series:
    """The dots of one colour and shape."""

    name: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class DotPanel:
    """One scale of values, with a row for each agent."""

    title: str
    axis: str
    """What the scale measures, with its unit."""
    series: tuple[Series, ...]
    reference: tuple[str, float] | None = None
    """A line across all agents: what it is, and its value."""
    ends: tuple[float, float] | None = None
    """The whole scale, where it has ends that are always shown; None for as much of it as there are values."""


@dataclass(frozen=True)
class DotChart:
    """Panels side by side that share their agents."""

    agents: tuple[str, ...]
    """From the top down. One without a dot in a panel has none there."""
    panels: tuple[DotPanel, ...]
    joined: bool = False
    """Whether an agent's dots in one panel are joined by a line: their distance is what the figure is about."""

    columns = ("panel", "measure", "series", "agent", "value", "low", "high", "seeds")

    def rows(self) -> Rows:
        """Return all values that are drawn."""
        found: Rows = []
        for panel in self.panels:
            for series in panel.series:
                found += [
                    (panel.title, panel.axis, series.name, dot.agent, dot.value, dot.low, dot.high, dot.count)
                    for dot in series.dots
                ]
            if panel.reference is not None:
                name, value = panel.reference
                found.append((panel.title, panel.axis, name, None, value, None, None, None))
        return found


@dataclass(frozen=True)
class SeedValue:
    """What one seed of one run came to."""

    run: str
    seed: int
    value: float


@dataclass(frozen=True)
class StripChart:
    """For each agent the values of its seeds, their quartiles and their median."""

    axis: str
    agents: tuple[str, ...]
    values: tuple[tuple[SeedValue, ...], ...]
    """Of each agent, by value; at least one."""
    reference: tuple[str, float] | None = None

    columns = ("measure", "agent", "run", "seed", "value")

    def rows(self) -> Rows:
        """Return all values that are drawn; quartiles and medians follow from them."""
        found: Rows = [
            (self.axis, agent, each.run, each.seed, each.value)
            for agent, values in zip(self.agents, self.values, strict=True)
            for each in values
        ]
        if self.reference is not None:
            found.append((self.axis, self.reference[0], None, None, self.reference[1]))
        return found


@dataclass(frozen=True)
class Trajectory:
    """One seed's best value so far, where it changed, and how long the seed went on."""

    agent: str
    run: str
    seed: int
    steps: tuple[int, ...]
    values: tuple[float, ...]
    last_step: int


@dataclass(frozen=True)
class StepChart:
    """Best values so far over steps, a line a seed."""

    axis: str
    lines: tuple[Trajectory, ...]
    reference: tuple[str, float] | None = None

    columns = ("measure", "agent", "run", "seed", "step", "value")

    def rows(self) -> Rows:
        """Return the steps at which a line falls or rises, and where it ends."""
        found: Rows = []
        for line in self.lines:
            places = list(zip(line.steps, line.values, strict=True))
            if line.last_step > line.steps[-1]:
                places.append((line.last_step, line.values[-1]))
            found += [(self.axis, line.agent, line.run, line.seed, step, value) for step, value in places]
        if self.reference is not None:
            found.append((self.axis, self.reference[0], None, None, None, self.reference[1]))
        return found


@dataclass(frozen=True)
class SearchPanel:
    """One agent's search: every scored step, and the mean over seeds of what would have been submitted so far."""

    agent: str
    seeds: int
    scored: tuple[tuple[str, int, int, float], ...]
    """Run, seed, step and score of each step that has one."""
    curve: tuple[tuple[int, IntervalEstimate], ...]
    """Step and mean over seeds, from the first step on at which every seed had something to submit."""


@dataclass(frozen=True)
class SearchChart:
    """A panel for each agent, all on one scale."""

    axis: str
    panels: tuple[SearchPanel, ...]

    columns = ("measure", "agent", "kind", "run", "seed", "step", "value", "low", "high", "seeds")

    def rows(self) -> Rows:
        """Return every step and every point of the curves."""
        found: Rows = []
        for panel in self.panels:
            found += [
                (self.axis, panel.agent, "scored step", run, seed, step, value, None, None, None)
                for run, seed, step, value in panel.scored
            ]
            found += [
                (
                    self.axis,
                    panel.agent,
                    "mean submitted",
                    None,
                    None,
                    step,
                    each.value,
                    each.low,
                    each.high,
                    each.count,
                )
                for step, each in panel.curve
            ]
        return found


Chart = DotChart | StripChart | StepChart | SearchChart


@dataclass(frozen=True)
class PaperTable:
    """A table as text cells, a header and rows, for LaTeX; its values for CSV are the same cells."""

    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    wide: tuple[int, ...] = ()
    """Columns of running text, which wrap."""


@dataclass(frozen=True)
class Counterpart:
    """One figure or table that the runs can fill."""

    name: str
    """Of the files, without what tells their kinds apart."""
    number: str
    """What it is the counterpart of, such as `Figure 8` or `Table 4`."""
    caption: str
    content: Chart | PaperTable
    runs: tuple[str, ...]
    """Names of the runs behind it."""
    standing: str = ""
    """Whether the submissions behind it are confirmed, in words."""


@dataclass(frozen=True)
class NoCounterpart:
    """One figure or table that the runs cannot fill."""

    name: str
    number: str
    reason: str


Result = Counterpart | NoCounterpart
