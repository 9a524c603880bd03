"""Tries an agent or a scaffold by what holds for every one of its kind (`aira_bench.testing`).

A scaffold acts on journals of random results; an agent answers the situations that its own scaffold leads to. Nothing
it proposes is run.

Not covered: whether it searches well, and providers and evaluators, which only their own servers and tasks can try.
"""

import contextlib
import inspect
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

from aira_bench.agents.catalog import AGENTS, AgentOptions
from aira_bench.authoring.findings import CheckFailed, Finding, Tell
from aira_bench.authoring.time_cap import CAP_S, at_most
from aira_bench.errors import AiraError
from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.extensions import find_extension, group_of, installed, is_reference
from aira_bench.files import read_text
from aira_bench.scaffolds.catalog import SCAFFOLDS
from aira_bench.testing import AGENT_CHECKS, POLICY_CHECKS, AgentOnTask, Check, Nonconforming, brief_of

CheckedKind = Literal["agent", "scaffold"]
KINDS: tuple[CheckedKind, ...] = get_args(CheckedKind)
_LARGEST_PROJECT_BYTES = 256 << 10
_STEPS = 30
Subject = TypeVar("Subject")


def kind_of(name: str) -> CheckedKind | None:
    """Whether a name leads to an agent or to a scaffold; None where it is neither a reference nor installed as one.

    A class or object is what it has the methods of; a function is what its result has the methods of.

    Raises:
        CheckFailed: a reference cannot be imported.
    """
    if not is_reference(name):
        return next((kind for kind in KINDS if any(each.name == name for each in installed(kind))), None)
    try:
        extension = find_extension("agent", name, ())
        assert extension is not None
        with at_most(CAP_S, f"importing {name}"):
            found = extension.load()
    except AiraError as error:
        raise CheckFailed(error.message, hint=error.hint) from error
    if inspect.isroutine(found):
        with contextlib.suppress(AiraError):
            SCAFFOLDS.make(name, steps=_STEPS, lower_is_better=False)
            return "scaffold"
        return "agent"
    if isinstance(found, str | Path):
        return None  # a task's folder
    return "scaffold" if hasattr(found, "next") else "agent"


def offered_by(folder: Path) -> list[tuple[CheckedKind, str]]:
    """The agents and scaffolds that the package in a folder would offer if it were installed, each as a reference.

    Empty where the folder is a task's, or no package that offers any.

    Raises:
        CheckFailed: its `pyproject.toml` cannot be read, or offers what is in no file of the folder.
    """
    project = folder / "pyproject.toml"
    if not project.is_file() or (folder / "metadata.yaml").exists():
        return []
    try:
        values = tomllib.loads(read_text(project, _LARGEST_PROJECT_BYTES))
        points = values.get("project", {}).get("entry-points", {})
        targets = [(kind, target) for kind in KINDS for target in points.get(group_of(kind), {}).values()]
        places = [(kind, *target.partition(":")[::2]) for kind, target in targets]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckFailed(f"{project} cannot be read: {' '.join(str(error).split())[:PROBLEM_CHARS]}.") from error
    found = []
    for kind, module, name in places:
        below = Path(*module.split("."))
        files = (
            root / part
            for root in (folder, folder / "src")
            for part in (below.with_suffix(".py"), below / "__init__.py")
        )
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise CheckFailed(f"{project} offers {module}:{name}, but {folder} has no {below.with_suffix('.py')}.")
        found.append((kind, f"{file}:{name}"))
    return found


def check_extension(name: str, kind: CheckedKind, task: str, tell: Tell, cap_s: float = CAP_S) -> None:
    """Make an agent or a scaffold as a run would, and try it.

    Args:
        name: `module:Class`, `FILE.py:Class`, or an installed one's name.
        kind: of it.
        task: of which an agent is told.
        tell: told of each sentence that holds.
        cap_s: for making it, and for each sentence.

    Raises:
        CheckFailed: it cannot be made, one of the sentences does not hold, or the time was not enough.
    """
    try:
        if kind == "agent":
            with at_most(cap_s, f"making {name}"):
                agent = AGENTS.make(name, options=AgentOptions())
            _try(name, AGENT_CHECKS, AgentOnTask(agent, brief_of(task)), f"on {task}", tell, cap_s)
            return
        for lower, better in ((False, "higher"), (True, "lower")):
            with at_most(cap_s, f"making {name}"):
                policy = SCAFFOLDS.make(name, steps=_STEPS, lower_is_better=lower)
            _try(name, POLICY_CHECKS, policy, f"where {better} is better", tell, cap_s)
    except CheckFailed:
        raise
    except AiraError as error:
        raise CheckFailed(error.message, hint=error.hint) from error


def _try(name: str, checks: Sequence[Check[Subject]], subject: Subject, where: str, tell: Tell, cap_s: float) -> None:
    failures = []
    for check in checks:
        try:
            with at_most(cap_s, f"{name}, asked whether {check.sentence},"):
                check(subject)
        except Nonconforming as error:
            failures.append(str(error))
        else:
            tell(Finding(where, check.sentence))
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise CheckFailed(f"{name}, {where}, does not hold to: {failures[0]}{more}.", hint="pydoc aira_bench.protocols")
