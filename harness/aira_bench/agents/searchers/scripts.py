"""Agents without an LLM for tasks whose submission is a training script: baseline, random, evolution over its dials.

They start from the script in the public data and change nothing but its dials (`script_dials`). They write an ordinary
`solution.py` that leaves the script behind; under `--fitness claimed` it also runs the script, with the evaluator's own
code, to have a number to claim.

Not covered: any change of the code itself. That is what language models are for.
"""

import ast
import random
from dataclasses import dataclass
from shlex import quote

from aira_bench.agent_code.syntax import assigned_name, parse_any
from aira_bench.agents.protocol import Brief, Proposal, Situation, UnlookingAgent
from aira_bench.agents.searchers.script_dials import Value, mutate_dials, read_dials, set_dials
from aira_bench.errors import RunStateError, UsageError
from aira_bench.record.node import Change

_START_CHANGES = 3
_CHANGES = (1, 1, 1, 1, 1, 1, 2, 2, 2, 3)
"""How many dials an improvement moves, as often as a number stands here."""
_SOLUTION = '''"""Submits one training script. {plan}"""

from pathlib import Path

SCRIPT = (
{lines}
)

Path("{artifact}").write_text(SCRIPT, encoding="utf-8")
print("submitted {artifact}")
'''
_VALIDATION = """
import sys

from aira_evaluator.autoresearch.agent.validate import main

sys.exit(main(["--script", "{artifact}", "--data", "data"]))
"""


def write_solution(brief: Brief, script: str, plan: str, changes: tuple[Change, ...] = ()) -> Proposal:
    """The `solution.py` that submits `script`."""
    lines = "\n".join(f"    {line!r}" for line in script.splitlines(keepends=True))
    code = _SOLUTION.format(plan=plan, lines=lines or "    ''", artifact=brief.artifact.name)
    if brief.fitness == "claimed":
        code += _VALIDATION.format(artifact=brief.artifact.name)
    return Proposal(code, plan, changes=changes)


def submitted_script(solution: str) -> str:
    """The script that a `solution.py` of `write_solution` submits.

    Raises:
        ValueError: it is another program.
    """
    for statement in parse_any(solution).body:
        if assigned_name(statement) == "SCRIPT" and isinstance(statement, ast.Assign):
            value = statement.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    raise ValueError("the solution holds no SCRIPT")


def starting_script(brief: Brief, agent: str) -> str:
    """The baseline that comes with the public data.

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
class ScriptBaseline(UnlookingAgent):
    """Submits the script that comes with the task."""

    name: str = "baseline"
    default_scaffold: str = "one-shot"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """The baseline, whatever the action."""
        return write_solution(brief, starting_script(brief, self.name), "The baseline script, unchanged.")


@dataclass(frozen=True)
class RandomScript(UnlookingAgent):
    """Moves a few randomly chosen dials of the baseline."""

    name: str = "random"
    default_scaffold: str = "greedy"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """The baseline with some dials moved, whatever the action."""
        return _moved(brief, starting_script(brief, self.name), situation.rng, _START_CHANGES, "The baseline")


@dataclass(frozen=True)
class ScriptEvolution(UnlookingAgent):
    """Starts with the baseline, then mutates the dials of the scripts that did best."""

    name: str = "evolution"
    default_scaffold: str = "regularized-evolution"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """The baseline first; further drafts near it; a parent with dials moved; two parents' dials mixed."""
        rng, action = situation.rng, situation.action
        if action.operator in {"draft", "debug"}:
            baseline = starting_script(brief, self.name)
            if not situation.journal:
                return write_solution(brief, baseline, "The baseline script, unchanged.")
            return _moved(brief, baseline, rng, _START_CHANGES, "The baseline")
        first = _script_of(situation, action.parents[0])
        if action.operator == "crossover":
            second = _script_of(situation, action.parents[1])
            return _crossed(brief, first, second, rng, action.parents)
        return _moved(brief, first, rng, rng.choice(_CHANGES), f"Step {action.parents[0]}")


def _script_of(situation: Situation, step: int) -> str:
    try:
        return submitted_script(situation.read_step(step).code)
    except ValueError as error:
        raise RunStateError(f"The solution of step {step} is another agent's: {error}.") from error


def _moved(brief: Brief, script: str, rng: random.Random, count: int, what: str) -> Proposal:
    before = read_dials(script)
    return _with_dials(brief, script, before, mutate_dials(rng, before, count), what)


def _crossed(brief: Brief, first: str, second: str, rng: random.Random, parents: tuple[int, ...]) -> Proposal:
    """The first parent with about half of the dials that differ taken from the second."""
    before, other = read_dials(first), read_dials(second)
    differing = [name for name in before if name in other and other[name] != before[name]]
    taken = {name: other[name] for name in differing if rng.random() < 0.5}
    if {"TOTAL_BATCH_SIZE", "DEVICE_BATCH_SIZE"} & taken.keys():  # they must go on dividing each other
        taken |= {name: other[name] for name in ("TOTAL_BATCH_SIZE", "DEVICE_BATCH_SIZE") if name in differing}
    return _with_dials(brief, first, before, taken, f"Step {parents[0]} crossed with step {parents[1]}")


def _with_dials(brief: Brief, script: str, before: dict[str, Value], values: dict[str, Value], what: str) -> Proposal:
    moves = {name: f"{name} {before[name]} -> {value}" for name, value in values.items()}
    changes = tuple(Change(move, 1, 1) for move in moves.values())
    plan = f"{what} with {', '.join(moves.values())}." if moves else f"{what}, unchanged."
    return write_solution(brief, set_dials(script, values), plan, changes)
