"""The MAD task with two primitives, on a fifth of the cpu profile's train data.

Only what is prepared differs: judge, budgets and model are those of the task. For tests of what happens around a
training, not of what it is worth.
"""

import shutil
from pathlib import Path

_TASK = Path(__file__).resolve().parents[1] / "tasks" / "NeuralArchitectureSearchMAD2PrimitivesAccuracy"
_IMPORT = "from aira_evaluator.compose.prepare.mad import "
_FEWER = """from dataclasses import replace

from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.prepare import mad

mad.PROFILES = {"cpu": replace(CPU, train_examples=160)}
"""


def small_mad(root: Path) -> Path:
    """A copy of the task's folder below `root`, whose preparing scripts write fewer train examples."""
    folder = root / _TASK.name
    shutil.copytree(_TASK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prepare.py", "evaluate_prepare.py"):
        script = (folder / name).read_text()
        assert script.count(_IMPORT) == 1
        (folder / name).write_text(script.replace(_IMPORT, _FEWER + _IMPORT))
    return folder
