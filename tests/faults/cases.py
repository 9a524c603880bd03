"""Which faults are tried on which runs, and what must come of each: the undisturbed tree, by the lines that are printed.

A user does what the last line says. So does `try_case`: where it names `aira-bench resume`, that is called, and where a
process was killed without a word, resume is, or the same command again if there is no run yet.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from aira_bench.record.folder import RunFolder
from aira_bench.record.sealing import is_closed
from faults import quick_time
from faults.command import Ended, Place, Setting, call
from faults.engine_faults import Meeting
from faults.injector import LASTING, Kind, Point
from faults.provider_faults import ANSWERS, SILENCES, ProviderPoint, brain, failing_brain
from faults.trees import NAME, Difference, Tree, compare, tree_of

Family = Literal["file operation", "file operation of resume", "model call", "engine call"]
SEARCHER = ("run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--steps", "2", "--name", NAME,
            "--no-confirm")  # fmt: skip
CARDS = {"anthropic": "opus46", "google": "gemini3pro", "openai": "gpt5", "openai-compatible": "gpt-oss-20b"}
NO_RUN, STOPPED = 2, 130
MOST_COMMANDS = 4
_A_DAY_S = 86_400.0
_RESUME = re.compile(r"aira-bench resume (\S+)((?: --runs \S+| --trust-agent| --accept-changes| --from-last-good)*)")


def model_run(card: str) -> tuple[str, ...]:
    """A search by a model, of two steps, with hours to spare: ten silences of 15 minutes do not end it."""
    budget = ("--steps", "2", "--hours", "24")
    return ("run", "--agent", card, "--task", "mad-2p", "--profile", "cpu", *budget, "--name", NAME, "--no-confirm")


@dataclass(frozen=True)
class Scenario:
    """A run that goes well, and what it leaves."""

    name: str
    arguments: tuple[str, ...]
    well: Setting
    tree: Tree
    ended: Ended
    begun: Path | None = None
    """Folders of a run that was cut short, which the command goes on with."""


@dataclass(frozen=True)
class Case:
    """One fault of one run."""

    family: Family
    kind: str
    scenario: str
    where: str
    setting: Setting = field(repr=False)

    def __str__(self) -> str:
        return f"{self.scenario}: {self.kind}: {self.where}"


@dataclass(frozen=True)
class Finding:
    """What came of a case."""

    case: Case
    statuses: tuple[int | None, ...]
    difference: Difference
    problem: str = ""
    """Why it counts as failed, apart from the tree; empty where it does not."""

    @property
    def is_well(self) -> bool:
        return not self.problem and self.difference.none and not self.difference.left

    def describe(self) -> str:
        """One line about a case that failed."""
        left = f"left behind: {', '.join(self.difference.left[:3])}" if self.difference.left else ""
        reason = self.problem or self.difference.other or left
        return f"{self.case}: exit statuses {self.statuses}: {reason}"

    def to_json(self) -> list[object]:
        """What another process needs to have the finding, but for the case."""
        return [self.statuses, asdict(self.difference), self.problem]

    @classmethod
    def from_json(cls, case: Case, value: list[Any]) -> "Finding":
        """Read what `to_json` gave."""
        difference = Difference(**(value[1] | {"left": tuple(value[1]["left"])}))
        return cls(case, tuple(value[0]), difference, value[2])


def try_case(case: Case, scenario: Scenario, place: Place) -> Finding:
    """Do what a user would do, and compare."""
    if scenario.begun is not None:
        shutil.copytree(scenario.begun, place.root, symlinks=True)
    arguments: tuple[str, ...] = scenario.arguments
    setting, statuses, problem = case.setting, list[int | None](), ""
    for _ in range(MOST_COMMANDS):
        ended = call(arguments, place, setting)
        statuses.append(ended.status)
        problem = _problem_of(ended, first=len(statuses) == 1)
        if problem or ended.status == 0:
            break
        if ended.status == STOPPED and "aira-bench resume" not in ended.last_line and _is_over(place):
            break  # stopped while it showed what came of it
        arguments, problem = _next(ended, arguments, scenario, place)
        setting = scenario.well
        _let_time_pass(place)
        if problem:
            break
    else:
        problem = "it leads nowhere"
    if not problem and case.kind in LASTING and compare(place, scenario.tree).left:
        _let_time_pass(place)
        call(
            ("resume", NAME), place, scenario.well
        )  # nothing can be removed from such a disk: the next command does it
    difference = Difference() if problem else compare(place, scenario.tree)
    return Finding(case, tuple(statuses), difference, problem and f"{problem} (said: {ended.said[-2000:]!r})")


def _is_over(place: Place) -> bool:
    folder = RunFolder(place.runs / NAME)
    return (folder.path / "manifest.json").exists() and is_closed(folder)


def _let_time_pass(place: Place) -> None:
    """Nobody types so fast: files of a process that may still come to lock them are left alone for some seconds, and a
    provider that asked all of a machine to stay away for an hour is asked again after it.
    """
    quick_time.skip(_A_DAY_S)
    for path in place.root.rglob(".*"):
        os.utime(path, (0, 0), follow_symlinks=False)


def _problem_of(ended: Ended, *, first: bool) -> str:
    if ended.status is None:
        return "it hung"
    if ended.broke:
        return "it broke with a traceback"
    if ended.containers and ended.status != STOPPED:  # what a stop interrupts is swept by the next command
        return f"{ended.containers} containers were left"
    if first and not ended.struck:
        return "the fault never came to pass"
    if not first and ended.status not in (0, NO_RUN):
        return "what it said to type does not work"
    return ""


def _next(ended: Ended, arguments: tuple[str, ...], scenario: Scenario, place: Place) -> tuple[tuple[str, ...], str]:
    """What to type next, and what is wrong with what was said."""
    resume = ("resume", NAME)
    if ended.status is not None and ended.status < 0:  # without a word
        return resume, ""
    if arguments == resume:  # there is no run yet
        return scenario.arguments, ""
    named = _RESUME.search(ended.last_line)
    if named:
        return ("resume", named[1].rstrip("."), *named[2].split()), ""
    if (place.runs / NAME / "manifest.json").exists():
        return resume, "the last line does not say how to go on"
    return scenario.arguments, ""


def undisturbed(name: str, arguments: tuple[str, ...], place: Place, well: Setting) -> Scenario:
    """Run a scenario once, taking down every operation."""
    ended = call(arguments, place, replace(well, watched=True))
    if ended.status != 0:
        raise RuntimeError(f"{name} does not work undisturbed: {ended}")
    return Scenario(name, arguments, well, tree_of(place), ended)


def cut_short(scenario: Scenario, name: str, point: Point, place: Place, kept: Path) -> Scenario:
    """The resume of a run that was killed at a point, with what it does taken down."""
    ended = call(scenario.arguments, place, replace(scenario.well, point=point, kind="kill"))
    if ended.status is None or ended.status >= 0:
        raise RuntimeError(f"{scenario.name} was not killed at {point}: {ended}")
    shutil.copytree(place.root, kept, symlinks=True)
    again = call(("resume", NAME), place, replace(scenario.well, watched=True))
    if again.status != 0:
        raise RuntimeError(f"{scenario.name} killed at {point} does not resume: {again}")
    return Scenario(f"{scenario.name}, {name}", ("resume", NAME), scenario.well, scenario.tree, again, kept)


def file_cases(scenario: Scenario, family: Family, kinds: Iterable[Kind] | None = None) -> Iterator[Case]:
    """Every fault that can befall each file operation of a run.

    Of operations that only read, those of one path and one name follow each other without a change between: one of them
    stands for all.
    """
    read: set[tuple[str, str]] = set()
    for point in scenario.ended.points:
        if not (point.path.startswith(("home", "runs", "leases")) and "home/config" not in point.path):
            continue
        if point.only_reads:
            if (point.call, point.path) in read:
                continue
            read.add((point.call, point.path))
        for kind in point.kinds():
            if kinds is None or kind in kinds:
                yield Case(family, kind, scenario.name, str(point), replace(scenario.well, point=point, kind=kind))


def engine_cases(scenario: Scenario) -> Iterator[Case]:
    """Every fault that can befall each call of the engine."""
    for point in dict.fromkeys(scenario.ended.engine_calls):
        for kind in point.kinds():
            setting = replace(scenario.well, engine=Meeting(point, kind))
            yield Case("engine call", kind, scenario.name, str(point), setting)


def model_cases(scenario: Scenario) -> Iterator[Case]:
    """Every kind of answer that is none, and of silence, at each request to the provider, once and from then on."""
    for nth in range(scenario.ended.requests):
        for kind in (*ANSWERS, *SILENCES):
            for lasts in (False, True) if kind != "429" else (False,):  # no number of them ends a call, only an hour
                point = ProviderPoint(nth, kind, lasts)
                setting = replace(scenario.well, brain=failing_brain(point))
                yield Case("model call", kind, scenario.name, str(point), setting)


def model_well() -> Setting:
    """A provider that answers."""
    return Setting(brain=brain)
