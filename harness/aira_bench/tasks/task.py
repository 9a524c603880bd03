"""A loaded task and where tasks are found.

A task is a folder. It is named by its folder name, by an alias, by a path, or by the name of an extension that gives
its path. Its hash covers every file in it, so scores of two versions of a task never meet.

Not covered: making data (`preparation`) and scoring (`aira_bench.evaluation`).
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote

from aira_bench.bundled import bundled_folder
from aira_bench.errors import TaskError, UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.extensions import absolute_reference, find_extension, is_reference
from aira_bench.tasks.folder_check import IGNORED, check_folder, read_text
from aira_bench.tasks.metadata import TaskMetadata, read_metadata
from aira_bench.tasks.profile import Profile
from aira_contract.files import EVALUATE_SCRIPT, HIDDEN_SCRIPT, PREPARE_SCRIPT

SCRIPTS = (PREPARE_SCRIPT, HIDDEN_SCRIPT, EVALUATE_SCRIPT)
DESCRIPTION = "project_description.md"


@dataclass(frozen=True)
class Task:
    """One task folder whose metadata and files were checked."""

    folder: Path
    metadata: TaskMetadata

    @property
    def name(self) -> str:
        """The folder's name, which is the task's name upstream."""
        return self.metadata.logging_info.name

    @property
    def title(self) -> str:
        """The shortest name a user may type."""
        return self.metadata.aira.aliases[0] if self.metadata.aira.aliases else self.name

    @property
    def metric(self) -> str:
        """Name of the score `evaluate.py` prints."""
        return self.metadata.logging_info.metric

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller score is a better one."""
        return self.metadata.metric_lower_is_better

    @property
    def description(self) -> str:
        """The text of `project_description.md`, which agents read."""
        return read_text(self.folder / DESCRIPTION)

    @cached_property
    def sha256(self) -> str:
        """Hash over names and bytes of every file of the folder, caches left out."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            if path.is_file() and not set(IGNORED) & set(relative.parts):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                digest.update(os.fsencode(relative) + f"\0{content}\n".encode())
        return digest.hexdigest()

    def profile(self, name: str) -> Profile:
        """Budgets and caps of a profile.

        Raises:
            UsageError: the task has no such profile.
        """
        for key, profile in self.metadata.aira.profiles.items():
            if key == name:
                return profile
        known = ", ".join(self.metadata.aira.profiles)
        raise UsageError(f"Task {self.title} has no profile {name!r}; it has: {known}.")


def load_task(folder: Path) -> Task:
    """Load and check a task folder.

    Raises:
        TaskError: a file is missing or no plain file, the metadata breaks the schema, or the description is no text.
    """
    folder = folder.resolve()
    check_folder(folder)
    metadata = read_metadata(folder / "metadata.yaml")
    missing = [name for name in (*SCRIPTS, DESCRIPTION) if not (folder / name).is_file()]
    if missing:
        raise TaskError(f"{folder} is not a whole task folder: {', '.join(missing)} missing.")
    if metadata.logging_info.name != folder.name:
        raise TaskError(
            f"{folder / 'metadata.yaml'}: logging_info.name is {metadata.logging_info.name!r}, "
            f"expected the folder's name {folder.name!r}."
        )
    read_text(folder / DESCRIPTION)
    return Task(folder, metadata)


def shipped_tasks() -> list[Task]:
    """Return every task folder that comes with this installation, by name."""
    root = bundled_folder("tasks")
    return [load_task(path.parent) for path in sorted(root.glob("*/metadata.yaml"))]


def names_folder(name: str) -> bool:
    """Whether `find_task` takes a name for that of a folder, whose scripts may be anybody's."""
    return not is_reference(name) and ("/" in name or Path(name).is_dir())


def find_task(name: str) -> Task:
    """Return the task of that alias, folder name or path, or the one that an extension gives the path of.

    Raises:
        UsageError: nothing has that name; the message offers the nearest. Or a reference gives no path.
        PrerequisiteError: an installed extension gives none.
        TaskError: the folder is there but broken.
    """
    if names_folder(name):
        path = Path(name)
        if not path.is_dir():
            raise UsageError(f"No task folder at {name}.", hint="aira-bench tasks")
        return load_task(path)
    tasks = shipped_tasks()
    names = {key: task for task in tasks for key in (task.name, *task.metadata.aira.aliases)}
    extension = find_extension("task", name, names)
    if extension is None:
        return names[name]
    given = extension.make(object, {})
    folder = Path(given) if isinstance(given, str | os.PathLike) else Path()
    extension.require(
        "" if folder.is_absolute() else f"it gives {str(given)[:VALUE_CHARS]!r}, which is no absolute path"
    )
    return load_task(folder)


def typed_name(task: Task) -> str:
    """Return what a user may type for a task in this shell: a shipped one's short name, else its folder's path."""
    return quote(task.title if task.folder.parent == bundled_folder("tasks").resolve() else str(task.folder))


def recorded_name(name: str, task: Task) -> str:
    """Return the name under which `find_task` finds a task again, wherever that is asked: for the plan of a run."""
    if names_folder(name):
        return str(task.folder)
    shipped = (
        name in (task.name, *task.metadata.aira.aliases) and task.folder.parent == bundled_folder("tasks").resolve()
    )
    return task.title if shipped else absolute_reference(name)
