"""What a check scores: a baseline of the task's own, of its author's, or of ours.

In this order: what the command line names; `baseline_solution.py` in the task folder, which is run as an agent's
solution is; the agent `baseline`, for artifacts it knows. Beside that, or in its place, `gold_<artifact>` in the
folder (upstream: `gold_submission.csv`), which is scored as it is and has to be better than the baseline.

None of these files is ever shown to agents: of a task folder they see the description and the public data alone.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import NoReturn

from aira_bench import files
from aira_bench.agents.agent import Situation, brief_for
from aira_bench.agents.catalog import SEARCHERS
from aira_bench.errors import TaskError, UsageError
from aira_bench.scaffolds.policy import Draft
from aira_bench.tasks.task import Task
from aira_contract.settings import ProfileName

SOLUTION_FILE = "baseline_solution.py"
GOLD_PREFIX = "gold_"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Solution:
    """A program that leaves a submission."""

    name: str
    code: Callable[[Path], str]
    """Its text, given the public data."""


@dataclass(frozen=True)
class Gold:
    """A submission that answers everything right."""

    name: str
    content: bytes


Baseline = Solution | Gold


def find_baselines(task: Task, profile: ProfileName, named: Path | None) -> list[Baseline]:
    """Return what is to be scored; at least one.

    Args:
        task: a loaded task.
        profile: of the task.
        named: a solution file the user named, which goes before those of the folder.

    Raises:
        UsageError: there is nothing to score, or the named file cannot be read.
        TaskError: the folder's gold submission is larger than submissions may be.
    """
    found: list[Baseline] = []
    if named is not None:
        found.append(_of_file(named))
    elif (task.folder / SOLUTION_FILE).is_file():
        found.append(_of_file(task.folder / SOLUTION_FILE))
    elif task.metadata.aira.artifact.kind != "csv":
        found.append(Solution("the agent 'baseline'", lambda public: _proposed(task, profile, public)))
    artifact = task.metadata.aira.artifact
    gold = task.folder / f"{GOLD_PREFIX}{artifact.name}"
    if gold.is_file():
        found.append(_gold(gold, artifact.max_kib * 1024))
    if not found:
        raise UsageError(
            f"{task.folder} has nothing to score: neither {SOLUTION_FILE}, a program that leaves {artifact.name}, "
            f"nor {gold.name}.",
            hint=f"aira-bench check {quote(str(task.folder))} --solution FILE.py",
        )
    return found


def _gold(path: Path, most_bytes: int) -> Gold:
    try:
        return Gold(path.name, files.read_file(path.parent, path.name, most_bytes))
    except (OSError, files.Unacceptable) as error:
        raise TaskError(f"{path} cannot be scored: {files.reason(error)}.") from error


def _of_file(path: Path) -> Solution:
    try:
        text = files.read_text(path, _MOST_BYTES)
    except (OSError, files.Unacceptable) as error:
        raise UsageError(f"The solution file {path} cannot be read: {files.reason(error)}.") from error
    return Solution(path.name, lambda public: text)


def _proposed(task: Task, profile: ProfileName, public: Path) -> str:
    """The solution of our own baseline agent for what the task wants."""
    brief = brief_for(task, profile, public)
    first = Situation(Draft(), (), _no_earlier_step, random.Random(0), 1, task.profile(profile).hours * 3600, step=1)
    try:
        return SEARCHERS["baseline"].propose(brief, first).code
    except UsageError as error:
        raise TaskError(f"No baseline fits {task.title}: {error.message}") from error


def _no_earlier_step(step: int) -> NoReturn:
    raise KeyError(step)
