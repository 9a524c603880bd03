"""A task of patterns with a twentieth of its training, for tests of what happens around a training.

Only the settings of the training differ, in a copy of the folder; text, judge and grammar are those of the task.
"""

import shutil
from pathlib import Path

from aira_bench.tasks.task import find_task

_IMPORT = "from aira_evaluator.compose.judge.grown import "
_FEWER = """from dataclasses import replace

from aira_evaluator.compose.grown import tasks

tasks.PATTERN_TASKS = {
    name: replace(task, flop_budgets={"cpu": 2e10}) for name, task in tasks.PATTERN_TASKS.items()
}
"""


def small_pattern_task(alias: str, root: Path) -> Path:
    """A copy of the task's folder below `root`, whose judge trains for a few steps."""
    whole = find_task(alias).folder
    folder = root / whole.name
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("__pycache__"))
    script = (folder / "evaluate.py").read_text()
    assert script.count(_IMPORT) == 1
    (folder / "evaluate.py").write_text(script.replace(_IMPORT, _FEWER + _IMPORT))
    return folder
