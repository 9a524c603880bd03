"""What a person reads of a suite: its estimate in lines, and each cell while it runs."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aira_bench.cli.display import RunDisplay
from aira_bench.cli.stopping import current
from aira_bench.errors import RunStateError
from aira_bench.looking.run_state import RunCaps
from aira_bench.paths import HostPaths
from aira_bench.runs.expense import Range
from aira_bench.runs.session import Progress
from aira_bench.suites.estimate import CellCost, SuiteCost, free_mib
from aira_bench.suites.progress import CellState, state_of
from aira_bench.suites.suite_file import SuitePlan
from aira_bench.tasks.task import find_task
from aira_contract.settings import ON_GPUS


def estimate_lines(plan: SuitePlan, cost: SuiteCost, paths: HostPaths, slots: int) -> list[tuple[str, str]]:
    """Return what a suite may take, a name and a sentence a line.

    Args:
        plan: the suite.
        cost: of its cells, under their caps.
        paths: of this machine, with the suite's own folder of runs.
        slots: how many steps there are at a time.
    """
    hours, wall = cost.total(lambda cell: cell.seed_hours), cost.total(lambda cell: cell.wall_hours)
    tokens, disk = cost.total(lambda cell: cell.tokens), cost.total(lambda cell: cell.disk_mib)
    on_gpus = any(cell.plan.profile in ON_GPUS for cell in cost.cells)
    known = sum(cell.past_steps for cell in cost.cells)
    asks = any(agent.card is not None for agent in cost.agents)
    basis = (
        f"{sum(cell.past_steps > 0 for cell in cost.cells)} of {len(cost.cells)} cells by {known:,} steps of earlier "
        "runs; the others by cards, profiles and times of one H200 (docs/performance.md)"
    )
    seeds = sum(len(cell.plan.seeds) for cell in cost.cells)
    lines = [
        ("suite", f"{plan.title}; {len(plan.cells)} cells, {seeds:,} seeds, in {paths.runs}"),
        ("cells", _begun(cost, paths)),
        ("basis", basis),
        ("GPU-hours" if on_gpus else "seed hours", _range(hours, "h")),
        ("a seed", _of_a_seed(cost)),
        ("wall clock", f"{_range(wall, 'h')}, {slots} steps at a time, waiting for providers not counted"),
        ("tokens", _range(tokens, "") if asks else "none, as no model is asked"),
        ("dollars", _dollars(cost) if asks else "none for models"),
        ("disk", f"{_range(disk * (1 / 1024), 'GiB', 2)} for runs, {free_mib(paths.runs) / 1024:.0f} GiB free there"),
    ]  # fmt: skip
    if cost.files:
        lines.append(
            ("downloads", f"{cost.files} files of public data, {cost.downloads_mib / 1024:.2f} GiB as far as known")
        )
    return [*lines, *obstacle_lines(cost), *_caps(cost)]


def _of_a_seed(cost: SuiteCost) -> str:
    """What bounds a seed's hours: its search's budget, and the time limits of what confirms it."""
    searches = [cell.plan.hours for cell in cost.cells]
    confirming = [cell.confirming.high / len(cell.plan.seeds) for cell in cost.cells]
    hours, after = (f"{low:g}" if low == high else f"{low:g} to {high:g}"
                    for low, high in ((min(each), max(each)) for each in (searches, confirming)))  # fmt: skip
    return f"searches for at most {hours} h" + (
        f", and is confirmed in at most {after} h more" if any(confirming) else ""
    )


def _begun(cost: SuiteCost, paths: HostPaths) -> str:
    """How far the suite is; where a cell was begun with another plan, that is raised before anything is done."""
    states: Counter[str] = Counter()
    for cell in cost.cells:
        try:
            states[state_of(paths.runs, cell)] += 1
        except RunStateError:
            states["unreadable"] += 1
    unreadable = f", {states['unreadable']} cannot be read" if states["unreadable"] else ""
    return f"{states['ended']} have ended, {states['begun'] + states['live']} are begun{unreadable}"


def obstacle_lines(cost: SuiteCost) -> list[tuple[str, str]]:
    """Return what is missing before each agent can be used that cannot be used here, a line each."""
    found = [(agent.name, agent.obstacle) for agent in cost.obstacles if agent.obstacle is not None]
    return [("agent", f"{name}: {each.message}" + (f" Try: {each.hint}" if each.hint else "")) for name, each in found]


def _range(found: Range, unit: str, decimals: int = 0) -> str:
    low, high = (f"{value:,.{decimals}f}" for value in (found.low, found.high))
    return f"{low} {unit}".strip() if low == high else f"{low} to {high} {unit}".strip()


def _dollars(cost: SuiteCost) -> str:
    unpriced = f"; without {', '.join(cost.unpriced)}, whose cards have no prices" if cost.unpriced else ""
    return f"{_range(cost.usd, '')}, by list prices{unpriced}"


def _caps(cost: SuiteCost) -> list[tuple[str, str]]:
    """What each seed may take, where the whole is capped."""
    usd = {cell.plan.seed_max_cost_usd for cell in cost.cells} - {None}
    tokens = {cell.plan.seed_max_tokens for cell in cost.cells} - {None}
    said = [f"{least:g} dollars" for least in sorted(each for each in usd if each)]
    said += [f"{least:,} tokens" for least in sorted(each for each in tokens if each)]
    return [("caps", f"of each seed with a model: {', '.join(said)}")] if said else []


def cell_record(cell: CellCost) -> dict[str, object]:
    """Return for JSON what a cell is and what it may take, ranges as pairs."""
    plan = cell.plan
    pairs = {"seed_hours": cell.seed_hours, "wall_hours": cell.wall_hours, "tokens": cell.tokens,
             "disk_mib": cell.disk_mib}  # fmt: skip
    return {
        "run": plan.name, "agent": plan.agent, "scaffold": plan.scaffold, "task": plan.task, "profile": plan.profile,
        "seeds": list(plan.seeds), "steps": plan.steps, "hours": plan.hours,
        "seed_max_cost_usd": plan.seed_max_cost_usd, "seed_max_tokens": plan.seed_max_tokens,
        "past_steps": cell.past_steps, "usd": None if cell.usd is None else [cell.usd.low, cell.usd.high],
    } | {name: [each.low, each.high] for name, each in pairs.items()}  # fmt: skip


class SuiteDisplay:
    """Shows a suite at work: a line for each cell, and within it what `aira-bench run` shows."""

    def __init__(self, cells: int, *, quiet: bool) -> None:
        """Show nothing yet, and nothing at all if `quiet`."""
        self._cells, self._quiet = cells, quiet
        self._display = RunDisplay((), 0, quiet=quiet)

    @contextmanager
    def cell(self, cell: CellCost, number: int, state: CellState) -> Iterator[None]:
        """Say which cell is begun or goes on, and show its seeds while the block runs."""
        word = "begins" if state == "absent" else "goes on"
        self.note(f"cell {number} of {self._cells}, {cell.plan.name}, {word}: {len(cell.plan.seeds)} seeds")
        caps = RunCaps.of(cell.plan, lower_is_better=find_task(cell.plan.task).lower_is_better)
        self._display = RunDisplay(cell.plan.seeds, cell.plan.steps, quiet=self._quiet, caps=caps)
        current().shown = self._display.show_stopping
        with self._display.live():
            yield

    def note(self, text: str) -> None:
        """Take a line about what happens before a search."""
        self._display.note(text)

    def watch(self, progress: Progress) -> None:
        """Take news of a seed, from its thread."""
        self._display.watch(progress)
