"""Carries a suite out: each cell by the very `run` or `resume` that a user calls, one after the other.

What a suite has done is its run folders and nothing else. A cell without a folder is begun, one that was stopped goes
on, one that has ended is left alone, and one that another process works on is left to that process. So the same command
again goes on, and two of them share the work.

A cell that fails does not keep the others from running. What fails them all does, a full disk or an engine that is
gone: then the suite stops, to be gone on with.

Not covered: what the whole may take (`estimate`), and how it is shown (`aira_bench.cli.suite`).
"""

import contextlib
import math
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from aira_bench import api
from aira_bench.errors import AiraError, EngineAway, MachineError, RunStateError, UsageError
from aira_bench.files import Unacceptable, write_atomically
from aira_bench.leasing.terms import Terms
from aira_bench.machine_failures import machine_failure
from aira_bench.record.folder import RunFolder, is_run
from aira_bench.record.manifest import Manifest
from aira_bench.record.new_run import BeingMade
from aira_bench.record.sealing import is_closed
from aira_bench.record.trust import read_resumable
from aira_bench.runs.host import Host
from aira_bench.runs.launch import open_for_workers
from aira_bench.runs.resolve import resolve
from aira_bench.runs.session import Progress
from aira_bench.runs.sharing import share_again
from aira_bench.runs.units import awaits_trainings
from aira_bench.suites.estimate import CellCost, SuiteCost
from aira_bench.suites.suite_file import SuiteCell, SuitePlan

CellState = Literal["absent", "begun", "live", "ended"]
_ALL_OVER = (MachineError, EngineAway)
"""What no other cell would fare better with."""


@dataclass(frozen=True)
class SuiteCaps:
    """The most that all cells together may take; None is no limit."""

    usd: float | None = None
    tokens: int | None = None
    hours: float | None = None
    """Of all seeds, summed, searches with what confirms them: GPU-hours where the profile uses GPUs."""


@dataclass(frozen=True)
class CellEnd:
    """What became of a cell in one call."""

    cell: SuiteCell
    state: CellState
    error: AiraError | None = None
    """What it failed with, or halted for."""


class SuiteWatch(Protocol):
    """Whoever watches a suite being carried out."""

    def cell(self, cell: CellCost, number: int, state: CellState) -> contextlib.AbstractContextManager[None]:
        """Show a cell while the block runs: which of how many, and whether it is begun or goes on."""
        ...

    def note(self, text: str) -> None:
        """Take a line about what happens before a search."""
        ...

    def watch(self, progress: Progress) -> None:
        """Take news of a seed, from its thread."""
        ...


def capped(plan: SuitePlan, cost: SuiteCost, caps: SuiteCaps) -> SuitePlan:
    """Return a suite whose seeds each have an equal share of what the whole may take.

    A pot that all draw from would favour whoever is first: the same agent would search under another budget at another
    place of the file. Shares are rounded down, so that their sum never exceeds the cap. Of a share of hours the time
    limits of what confirms a submission are set aside, and the rest is the search's.

    Args:
        plan: the suite.
        cost: of its cells: dollars are shared by seeds whose model has prices, tokens by those that ask a model.
        caps: of the whole.

    Raises:
        UsageError: a cap is too little to be shared.
    """
    cards = {agent.name: agent.card for agent in cost.agents}
    unpriced = set(cost.unpriced)
    plans = {each.cell.name: each.plan for each in cost.cells}
    set_aside = {each.cell.name: each.confirming.high / len(each.plan.seeds) for each in cost.cells}
    spending = {name for name, card in cards.items() if card is not None}
    priced = spending - unpriced
    usd, tokens, hours = (
        _share(cap, sum(len(plans[cell.name].seeds) for cell in plan.cells if cell.request.agent in sharing), parts)
        for cap, sharing, parts in ((caps.usd, priced, 1e6), (caps.tokens, spending, 1), (caps.hours, set(cards), 1e6))
    )
    cells = []
    for cell in plan.cells:
        changes: dict[str, float | int | None] = {}
        if hours is not None:
            changes["hours"] = _least(_search_hours(cell, hours, set_aside[cell.name]), plans[cell.name].hours)
        if usd is not None and cell.request.agent in priced:
            changes["seed_max_cost_usd"] = _least(usd, cell.request.seed_max_cost_usd)
        if tokens is not None and cell.request.agent in spending:
            changes["seed_max_tokens"] = int(_least(tokens, cell.request.seed_max_tokens))
        cells.append(replace(cell, request=replace(cell.request, **changes)))  # type: ignore[arg-type]
    return replace(plan, cells=tuple(cells))


def _search_hours(cell: SuiteCell, share: float, set_aside: float) -> float:
    """What a seed's search has of its share of hours, once what confirms it is set aside, rounded down.

    Raises:
        UsageError: nothing is left to search.
    """
    left = math.floor((share - set_aside) * 1e6) / 1e6
    if left <= 0:
        raise UsageError(
            f"{share:g} h are each seed's share, and what confirms one of {cell.name} may take {set_aside:g} h: "
            "nothing is left to search.",
            hint="a higher --max-hours, or confirm = false in the suite's file",
        )
    return left


def _share(cap: float | None, seeds: int, parts_of_one: float) -> float | None:
    """What each seed has of a cap, rounded down to a part of one.

    Raises:
        UsageError: it is too little to be shared.
    """
    if cap is None or not seeds:
        return None
    share = math.floor(cap / seeds * parts_of_one) / parts_of_one
    if share <= 0:
        raise UsageError(f"{cap:g} among {seeds} seeds leaves nothing for each.", hint="aira-bench suite --help")
    return share


def _least(share: float, *others: float | None) -> float:
    return min([share, *(other for other in others if other is not None)])


def state_of(runs: Path, cell: CellCost) -> CellState:
    """Return how far a cell's run is.

    Raises:
        UsageError: it was begun with another plan than the suite has now.
        RunStateError: its folder cannot be read.
    """
    folder = RunFolder(runs / cell.cell.name)
    if not is_run(folder.path):
        return "absent"
    manifest = folder.manifest
    if (found := manifest.plan.first_difference(cell.plan, _left_open(cell, manifest))) is not None:
        name, recorded, wanted = found
        raise UsageError(
            f"Run {cell.cell.name} was begun with {name} {recorded}, and the suite has {wanted} now.",
            hint="--name OTHER for a suite beside it, or the file and the options as they were",
        )
    if folder.is_live:
        return "live"
    try:
        is_over = is_closed(folder)
    except Unacceptable as error:
        raise RunStateError(f"Run {cell.cell.name}: {error}.", hint=folder.command("status")) from error
    trainings = manifest.trainings if manifest.plan.confirm else 0  # its end is recorded before it is confirmed
    if trainings and is_over:
        is_over = not any(awaits_trainings(folder, seed, trainings) for seed in manifest.plan.seeds)
    return "ended" if is_over else "begun"


def _left_open(cell: CellCost, manifest: Manifest) -> Set[str]:
    """What else of a plan the machine decides, or its judges."""
    asked, judges = cell.cell.request.concurrency is not None, manifest.judges is not None
    return (set() if asked else {"concurrency"}) | ({"hidden_key"} if judges else set())


def carry_out(
    host: Host, plan: SuitePlan, cost: SuiteCost, watch: SuiteWatch, terms: Terms | None = None
) -> Iterator[CellEnd]:
    """Run or resume every cell of a suite that has not ended; yields what became of each, in the suite's order.

    Args:
        host: the machine; its folder of runs is the suite's own.
        plan: the suite.
        cost: of its cells, under their caps.
        watch: shown each cell and what its run tells.
        terms: leaves each cell to workers who go by them, in place of carrying it out; None does all here.

    Raises:
        KeyboardInterrupt: it was stopped; what is finished is on disk.
        AiraError: the machine failed, or the engine is gone, so that no other cell would fare better.
    """
    write_atomically(host.paths.runs / "suite.toml", plan.text.encode())
    for number, cell in enumerate(cost.cells, start=1):
        try:
            state = state_of(host.paths.runs, cell)
            if state in ("absent", "begun"):
                with watch.cell(cell, number, state):
                    if terms is None:
                        _work(host, cell.cell, state, watch)
                    else:
                        _leave(host, cell.cell, state, watch, terms)
                state = state_of(host.paths.runs, cell)
            yield CellEnd(cell.cell, state)
        except _ALL_OVER:
            raise
        except BeingMade:  # by a process that came to the same cell a moment before
            yield CellEnd(cell.cell, "live")
        except AiraError as error:
            known = _known_state(host.paths.runs, cell)
            yield CellEnd(cell.cell, known, None if known == "live" else error)  # whoever has it now will say
        except (OSError, MemoryError, RuntimeError) as error:
            failure = machine_failure(error)
            if failure is None:
                raise
            raise failure from error


def _known_state(runs: Path, cell: CellCost) -> CellState:
    try:
        return state_of(runs, cell)
    except AiraError:
        return "begun"


def _work(host: Host, cell: SuiteCell, state: CellState, watch: SuiteWatch) -> None:
    if state == "absent":
        api.run(cell.request, host, note=watch.note, watch=watch.watch)
    else:
        api.resume(cell.name, host, note=watch.note, watch=watch.watch)


def _leave(host: Host, cell: SuiteCell, state: CellState, watch: SuiteWatch, terms: Terms) -> None:
    """Leave a cell's seeds to workers, begun or not."""
    if state == "absent":
        open_for_workers(host, resolve(cell.request, host.paths, host.world, host.hardware), terms, watch.note)
        return
    record = read_resumable(RunFolder(host.paths.runs / cell.name), host.keys.ring(), trust_agent=False)
    share_again(record, host.keys, host.world, terms, accept=False)
