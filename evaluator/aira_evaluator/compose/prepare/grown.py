"""`prepare.py` and `evaluate_prepare.py` of the tasks of patterns: the text of BabiStories, and what the task is about.

Text, its splits and what is hidden of it are those of the text tasks (`prepare.text`), from seeds of the task's own.
Public beside them are `pattern_task.json` and the files of the task folder that the task names.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from aira_contract.files import ARCHITECTURE_FILE
from aira_evaluator.compose.grown.tasks import ABOUT, PATTERN_TASKS
from aira_evaluator.compose.prepare.corpora import BABISTORIES
from aira_evaluator.compose.prepare.text import TextPreparation
from aira_evaluator.task_scripts.hidden import HiddenSeeds, seeds_in_force
from aira_evaluator.task_scripts.preparing import evaluate_prepare_script, prepare_script

__all__ = ["HiddenSeeds", "evaluate_prepare", "prepare"]


def prepare(
    task: str, primitives: Sequence[str], files: Sequence[Path] = (), arguments: Sequence[str] | None = None
) -> int:
    """Write the public data.

    Args:
        task: which of `PATTERN_TASKS`.
        primitives: symbols that this task admits.
        files: of the task folder, which become public.
        arguments: the command line; None for the process's own.
    """

    def write(raw: Path, mount: Path) -> None:
        TextPreparation(BABISTORIES, primitives, raw).write_public(mount)
        _write_about(task, files, mount)

    return prepare_script("Write the public data.", write, arguments)


def evaluate_prepare(
    task: str,
    primitives: Sequence[str],
    hidden: Mapping[str, HiddenSeeds],
    files: Sequence[Path] = (),
    arguments: Sequence[str] | None = None,
) -> int:
    """Write the public data and the hidden splits of every seed set, and copy the submission beside them.

    Args:
        task: which of `PATTERN_TASKS`.
        primitives: symbols that this task admits.
        hidden: the seeds of each seed set.
        files: as of `prepare`.
        arguments: the command line; None for the process's own.
    """

    def write(raw: Path, mount: Path) -> None:
        preparation = TextPreparation(BABISTORIES, primitives, raw)
        tokenizer = preparation.write_public(mount)
        _write_about(task, files, mount)
        preparation.write_hidden(mount, tokenizer, seeds_in_force(hidden))

    return evaluate_prepare_script("Write the hidden splits.", ARCHITECTURE_FILE, write, arguments)


def _write_about(task: str, files: Sequence[Path], mount: Path) -> None:
    (mount / ABOUT).write_text(PATTERN_TASKS[task].about(), encoding="ascii")
    for path in files:
        shutil.copyfile(path, mount / path.name)
