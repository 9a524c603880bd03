"""Suites on a played machine: their files, and whoever watches them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from aira_bench.keys import KeyRing
from aira_bench.runs.host import Host
from aira_bench.runs.session import Progress
from aira_bench.suites.estimate import CellCost, SuiteCost, estimate
from aira_bench.suites.past import past_paces
from aira_bench.suites.progress import CellEnd, CellState, carry_out
from aira_bench.suites.suite_file import SuitePlan, read_suite
from played_host import played_host, played_sandbox

TWO_BY_TWO = """
title = "Two searchers on MAD"
profile = "cpu"

[[matrix]]
agents = ["random", "evolution"]
tasks = ["mad-2p", "mad-3p"]
seeds = 2
steps = 3
"""


class Watching:
    """Keeps what a suite tells, and does something at each news of a seed."""

    def __init__(self, at_news: Callable[[str, Progress], None] = lambda cell, progress: None) -> None:
        self.cells: list[tuple[str, CellState]] = []
        self.notes: list[str] = []
        self._at_news = at_news

    @contextlib.contextmanager
    def cell(self, cell: CellCost, number: int, state: CellState) -> Iterator[None]:
        self.cells.append((cell.plan.name, state))
        yield

    def note(self, text: str) -> None:
        self.notes.append(text)

    def watch(self, progress: Progress) -> None:
        self._at_news(self.cells[-1][0], progress)


def written(folder: Path, text: str = TWO_BY_TWO) -> SuitePlan:
    (folder / "mine.toml").write_text(text)
    return read_suite(str(folder / "mine.toml"))


def suite_host(folder: Path) -> Host:
    """A machine whose folder of runs is the suite's."""
    host = played_host(folder, played_sandbox())
    return replace(host, paths=replace(host.paths, runs=folder / "runs" / "mine"))


def cost_of(plan: SuitePlan, host: Host, past: Path | None = None) -> SuiteCost:
    paces = past_paces([] if past is None else [past], KeyRing(), host.hardware.label)
    return estimate(plan, host.hardware, paces, host.paths)


def carried_out(host: Host, plan: SuitePlan, watch: Watching | None = None) -> list[CellEnd]:
    return list(carry_out(host, plan, cost_of(plan, host), watch or Watching()))
