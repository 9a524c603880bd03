"""Looks a task folder's files over without running any of them.

`load_task` has read metadata and description by then. What is left are faults that the schema cannot see: a direction
that the anchors contradict, scripts that no interpreter reads, paths that exist on the author's machine alone.

Not covered: what the scripts do, which only running them shows (`task_run`).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from aira_bench import files
from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES, UnreadableCode, parse_any
from aira_bench.authoring.findings import Finding, Tell
from aira_bench.errors import TaskError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.tasks.metadata import LoggingInfo, TaskMetadata
from aira_bench.tasks.task import DESCRIPTION, SCRIPTS, Task

_OWN_MACHINE = re.compile(r"(?:/(?:home|Users|root|scratch|checkpoint|private|Volumes)/|~/|[A-Za-z]:[\\/])\S*")
"""Beginnings of paths that no container has."""


def check_files(task: Task, tell: Tell) -> None:
    """Look over metadata, description and scripts.

    Args:
        task: a loaded task.
        tell: told of each file that is in order, and of remarks.

    Raises:
        TaskError: the metadata contradicts itself, or a script is no Python.
    """
    metadata = task.metadata
    _check_direction(task.folder / "metadata.yaml", metadata)
    better = "lower" if task.lower_is_better else "higher"
    artifact = metadata.aira.artifact
    tell(Finding("metadata.yaml", f"{task.metric}, {better} is better; artifact {artifact.name} ({artifact.kind})"))
    for remark in _unanchored(metadata.logging_info, lower_is_better=task.lower_is_better):
        tell(Finding("metadata.yaml", remark, is_remark=True))
    _check_description(task, tell)
    for name in SCRIPTS:
        _check_script(task.folder / name, tell)


def _check_direction(path: Path, metadata: TaskMetadata) -> None:
    """Worst score, best published score and optimum have to lie in the direction that is said to be better."""
    info, lower = metadata.logging_info, metadata.metric_lower_is_better
    worst, optimum = info.estimated_worst_score, info.optimal_score
    if worst is not None and optimum is not None and (worst == optimum or (optimum < worst) != lower):
        raise TaskError(
            f"{path}: metric_lower_is_better is {str(lower).lower()}, but logging_info.optimal_score {optimum:g} is "
            f"not {'below' if lower else 'above'} estimated_worst_score {worst:g}."
        )


def _unanchored(info: LoggingInfo, *, lower_is_better: bool) -> Iterator[str]:
    worst = info.estimated_worst_score
    if worst is None or not info.sota:
        what = "estimated_worst_score" if worst is None else "an entry of sota"
        yield f"without {what} boards show no normalized score"
        return
    for entry in info.sota:
        if entry.sota_score == worst or (entry.sota_score < worst) != lower_is_better:
            yield f"sota_score {entry.sota_score:g} is no better than estimated_worst_score {worst:g}"


def _check_description(task: Task, tell: Tell) -> None:
    text = task.description
    if not text.strip():
        raise TaskError(f"{task.folder / DESCRIPTION} is empty: it is all that agents are told of the task.")
    tell(Finding(DESCRIPTION, f"{len(text):,} characters"))
    for what, name in (("artifact", task.metadata.aira.artifact.name), ("metric", task.metric)):
        if name not in text:
            tell(Finding(DESCRIPTION, f"never names the {what}, {name}", is_remark=True))


def _check_script(path: Path, tell: Tell) -> None:
    try:
        source = files.read_text(path, LONGEST_CODE_BYTES, follow_links=False)
        tree = parse_any(source)
    except (OSError, files.Unacceptable) as error:
        raise TaskError(f"{path} cannot be read: {files.reason(error)}.") from error
    except UnreadableCode as error:
        raise TaskError(f"{path} is not Python: {error}.", hint=f"python3 {path}") from error
    tell(Finding(path.name, f"{len(source.splitlines())} lines"))
    for line, text in _texts(tree):
        if _OWN_MACHINE.fullmatch(text):
            tell(Finding(path.name, f"line {line}: no container has the path {text[:VALUE_CHARS]}", is_remark=True))


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The first lines and values of the text literals of a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
