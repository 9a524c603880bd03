"""How a step differs from the steps it was made of: layers of an architecture, lines of code.

Lines are compared in the process that reads agents' code, within seconds of processor time, since two texts can be made
so that comparing them takes hours. Not covered: what a difference did to the score (`aira_bench.analysis`).
"""

import json
from dataclasses import dataclass

from aira_bench.agent_code.reading import NotRead, read_once
from aira_bench.files import Unacceptable
from aira_bench.looking.artifact import changed_layers, layers_of
from aira_bench.looking.step_files import SOLUTION, StepFile, artifact_of, read_step_file, step_files
from aira_bench.record.journal import StepEnded
from aira_bench.record.salvage import SeedRemains

MOST_DIFF_BYTES = 2**20
"""Of one side."""
_DIFF_S = 10.0


@dataclass(frozen=True)
class ParentDifference:
    """What one step has that its parent had not, and the reverse."""

    parent: int
    file: str
    """Which file's lines are compared: the artifact where that is code, else the solution."""
    layers: tuple[tuple[int, str, str], ...] = ()
    """Of architectures of one length: number of the layer from 1, the parent's symbol, this step's."""
    lines: tuple[str, ...] = ()
    """A unified difference."""
    undone: str = ""
    """Why lines were not compared; empty where they were."""

    @property
    def added(self) -> int:
        """How many lines this step has that the parent had not."""
        return sum(line.startswith("+") for line in self.lines[2:])

    @property
    def removed(self) -> int:
        """How many lines of the parent's this step has not."""
        return sum(line.startswith("-") for line in self.lines[2:])


def parent_differences(seed: SeedRemains, step: StepEnded, artifact: StepFile | None) -> list[ParentDifference]:
    """Return how a step differs from each of its parents; a draft has none.

    Args:
        seed: whose step it is.
        step: the step.
        artifact: what it submitted, if there is something.
    """
    name = compared_file(artifact)
    return [_from(seed, step, parent, name) for parent in step.node.parents]


def _from(seed: SeedRemains, step: StepEnded, parent: int, name: str) -> ParentDifference:
    before = seed.step(parent)
    if before is None:
        return ParentDifference(parent, name, undone=f"step {parent} is not in the record")
    old, new = layers_of(before.node.canonical), layers_of(step.node.canonical)
    layers = tuple(changed_layers(old, new)) if old and len(old) == len(new) else ()
    try:
        texts = step_text(seed, before, name), step_text(seed, step, name)
    except Unacceptable as error:
        return ParentDifference(parent, name, layers, undone=str(error))
    lines, undone = changed_lines(*texts)
    return ParentDifference(parent, name, layers, lines, undone)


def compared_file(artifact: StepFile | None) -> str:
    """Return the name of the file whose lines tell a step from others: its artifact where that is code."""
    return artifact.name if artifact is not None and artifact.name.endswith(".py") else SOLUTION


def changed_lines(before: str, after: str) -> tuple[tuple[str, ...], str]:
    """Return a unified difference of two texts, and why there is none, which is empty where there is one."""
    found = read_once("diff", json.dumps([before, after]), deadline_s=_DIFF_S)
    return ((), found.why) if isinstance(found, NotRead) else (tuple(found["lines"]), "")


def step_text(seed: SeedRemains, step: StepEnded, name: str) -> str:
    """Return the step's file of that name, or of the artifact that stands in its place.

    Raises:
        Unacceptable: it has none, or it cannot be read, or it is too large to be compared.
    """
    files, _ = step_files(seed, step)
    wanted = next((each for each in files if each.path == f"nodes/{step.node.step:04d}/{name}"), None)
    if wanted is None and name != SOLUTION:
        wanted = artifact_of(seed, step, files)
    if wanted is None:
        raise Unacceptable(f"step {step.node.step} left no {name}")
    if (wanted.size_bytes or 0) > MOST_DIFF_BYTES:
        raise Unacceptable(f"{name} of step {step.node.step} has more than {MOST_DIFF_BYTES:,} bytes")
    try:
        return read_step_file(seed, wanted).decode("utf-8", "replace")
    except Unacceptable as error:
        raise Unacceptable(f"{name} of step {step.node.step}: {error}") from error
