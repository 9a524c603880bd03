"""The search space of tasks whose submission is a training script: the hyperparameters of the script they come with.

Everything starts from the script in the public data, and nothing but its hyperparameters changes
(`aira_bench.agents.searchers.script_hyperparameters`).

Not covered: any change of the code itself. That is what language models are for.
"""

from dataclasses import dataclass
from shlex import quote

from aira_bench.agents.agent import Brief, Proposal, Situation
from aira_bench.agents.searchers.script_hyperparameters import (
    Values,
    mutate_hyperparameters,
    read_hyperparameters,
    set_hyperparameters,
)
from aira_bench.agents.searchers.solution import SolutionForm
from aira_bench.errors import RunStateError, UsageError
from aira_bench.record.node import Change
from aira_contract.containers import DATA
from aira_contract.invocation import SCRIPT_OPTION, SCRIPT_VALIDATION

_START_CHANGES = 3
_CHANGES = (1, 1, 1, 1, 1, 1, 2, 2, 2, 3)
"""How many hyperparameters an improvement moves, as often as a number stands here."""
_FORM = SolutionForm(
    what="training script",
    name="SCRIPT",
    program="""from pathlib import Path

SCRIPT = (
{literal}
)

Path("{artifact}").write_text(SCRIPT, encoding="utf-8")
print("submitted {artifact}")
""",
    validation=f"""
import sys

from {SCRIPT_VALIDATION} import main

sys.exit(main(["{SCRIPT_OPTION}", "{{artifact}}", "--data", "{DATA}"]))
""",
)


def write_solution(brief: Brief, script: str, plan: str, changes: tuple[Change, ...] = ()) -> Proposal:
    """Return the `solution.py` that submits `script`."""
    lines = "\n".join(f"    {line!r}" for line in script.splitlines(keepends=True))
    return _FORM.write(brief, lines or "    ''", plan, changes)


def submitted_script(code: str) -> str | None:
    """Return the script that a `solution.py` of `write_solution` submits; None for any other code."""
    found = _FORM.read(code)
    return found if isinstance(found, str) else None


def starting_script(brief: Brief, agent: str) -> str:
    """Return the baseline that comes with the public data.

    Raises:
        UsageError: the task wants something else than a script, or offers none to start from.
    """
    path = brief.public / brief.artifact.name
    if brief.artifact.kind != "script" or not path.is_file():
        raise UsageError(
            f"Agent {agent} starts from a script in the public data, and task {brief.task} has none.",
            hint=f"aira-bench run --agent script:FILE.py --task {quote(brief.task)}",
        )
    return path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class ScriptSpace:
    """The scripts of a task at one step (`SearchSpace`)."""

    brief: Brief
    situation: Situation
    agent: str

    def baseline(self) -> Proposal:
        """Return the script that comes with the task."""
        return write_solution(self.brief, self._start(), "The baseline script, unchanged.")

    def random(self) -> Proposal:
        """Return the baseline with a few hyperparameters moved."""
        return self._moved(self._start(), _START_CHANGES, "The baseline")

    def start(self) -> Proposal:
        """Return the baseline first, then scripts near it."""
        return self.random() if self.situation.journal else self.baseline()

    def child(self, parents: tuple[int, ...]) -> Proposal:
        """Return a parent with hyperparameters moved, or with about half of those in which another differs."""
        first = self._script(parents[0])
        if len(parents) == 2:
            return self._crossed(first, self._script(parents[1]), f"Step {parents[0]} crossed with step {parents[1]}")
        return self._moved(first, self.situation.rng.choice(_CHANGES), f"Step {parents[0]}")

    def _start(self) -> str:
        return starting_script(self.brief, self.agent)

    def _script(self, step: int) -> str:
        script = submitted_script(self.situation.read_step(step).code)
        if script is None:
            raise RunStateError(f"The solution of step {step} holds no SCRIPT; another agent wrote it.")
        return script

    def _moved(self, script: str, count: int, what: str) -> Proposal:
        before = read_hyperparameters(script)
        moved = mutate_hyperparameters(self.situation.rng, before, count)
        return self._with_hyperparameters(script, before, moved, what)

    def _crossed(self, first: str, second: str, what: str) -> Proposal:
        before, other = read_hyperparameters(first), read_hyperparameters(second)
        differing = [name for name in before if name in other and other[name] != before[name]]
        taken = {name: other[name] for name in differing if self.situation.rng.random() < 0.5}
        if {"TOTAL_BATCH_SIZE", "DEVICE_BATCH_SIZE"} & taken.keys():  # they must go on dividing each other
            taken |= {name: other[name] for name in ("TOTAL_BATCH_SIZE", "DEVICE_BATCH_SIZE") if name in differing}
        return self._with_hyperparameters(first, before, taken, what)

    def _with_hyperparameters(self, script: str, before: Values, values: Values, what: str) -> Proposal:
        moves = {name: f"{name} {before[name]} -> {value}" for name, value in values.items()}
        changes = tuple(Change(move, 1, 1) for move in moves.values())
        plan = f"{what} with {', '.join(moves.values())}." if moves else f"{what}, unchanged."
        return write_solution(self.brief, set_hyperparameters(script, values), plan, changes)
