"""The data store of one task in one profile.

    <AIRA_HOME>/tasks/<task name>/<profile>-<hash>[-public]/
        task/       a copy of the task folder as it was prepared; what containers mount
        public/     what agent containers see, read-only
        hidden/     labelled data; only judge containers ever mount it (host mode 0700 above it)
        ready.json  written last: hashes and sizes of both halves, what they were made from, whether it is synthetic

A folder whose name ends with `-public` has no hidden half: judges of its runs are elsewhere.

The hash covers the task folder, the image whose code prepares it, the content of the raw data, and the hash of
the hidden key. So neither an edited
task nor another version of us meets old data, nor do files that were exchanged in place, and a synthetic stand-in never
meets the real thing.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aira_bench.hidden_keys import HiddenKey
from aira_bench.paths import INDEX_FOLDER, HostPaths
from aira_bench.tasks.task import Task
from aira_bench.unfinished import sweep_staging, sweep_temporaries


@dataclass(frozen=True)
class TaskData:
    """Folders of one prepared (or yet unprepared) task."""

    folder: Path

    @property
    def task(self) -> Path:
        """The task folder as it was prepared, readable for the containers' user."""
        return self.folder / "task"

    @property
    def public(self) -> Path:
        """What agents see under `/workspace/data`."""
        return self.folder / "public"

    @property
    def hidden(self) -> Path:
        """What judges see under `/hidden`."""
        return self.folder / "hidden"

    @property
    def marker(self) -> Path:
        """Present once both halves are whole."""
        return self.folder / "ready.json"

    @property
    def ready(self) -> bool:
        """Whether preparation of this data finished, so that a run may use it."""
        return self.marker.is_file()

    @property
    def synthetic(self) -> bool:
        """Whether the data is a generated stand-in for the public files."""
        return bool(self.hashes().get("synthetic", False))

    def hashes(self) -> dict[str, Any]:
        """Return what preparation recorded about this data."""
        recorded = json.loads(self.marker.read_text(encoding="utf-8"))
        assert isinstance(recorded, dict)
        return recorded


def task_data(
    paths: HostPaths,
    task: Task,
    profile: str,
    *,
    raw: str | None,
    image: str,
    hidden_key: HiddenKey | None = None,
    public_only: bool = False,
) -> TaskData:
    """Return the store of `task` in `profile`, made of raw data of the content `raw`, prepared in `image`, its hidden
    half derived from a key if there is one, or without a hidden half.
    """
    derived = "" if hidden_key is None else f"\0{hidden_key.sha256}"
    key = hashlib.sha256(f"{task.sha256}\0{image}\0{raw}{derived}".encode()).hexdigest()[:12]
    return TaskData(paths.tasks / task.name / f"{profile}-{key}{'-public' if public_only else ''}")


def hidden_at(paths: HostPaths, task: Task, sha256: str) -> Path | None:
    """Return a folder of this machine that holds the hidden data of a task with that hash; None if there is none."""
    for marker in sorted((paths.tasks / task.name).glob("*/ready.json")):
        data = TaskData(marker.parent)
        if data.hidden.is_dir() and data.hashes().get("hidden", {}).get("sha256") == sha256:
            return data.folder
    return None


def sweep_dead(paths: HostPaths) -> int:
    """Remove what processes that died left unfinished in the machine's folders; return how many folders and files.

    Prepared data, whole downloads and the parts that a download goes on from are finished in this sense, and stay.
    """
    stores = sorted(paths.tasks.iterdir()) if paths.tasks.is_dir() else []
    staging = sum(map(sweep_staging, (*stores, paths.checks)))
    index = paths.runs / INDEX_FOLDER
    places = [
        paths.sources,
        paths.contents,
        paths.keys,
        paths.scores,
        paths.judged,
        *([] if index.is_symlink() else [index]),
    ]
    return staging + sum(map(sweep_temporaries, places))


def hash_tree(folder: Path) -> tuple[str, int]:
    """Hash over names and bytes of all files below `folder`, and their total size in bytes."""
    digest, total = hashlib.sha256(), 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total += path.stat().st_size
        digest.update(os.fsencode(path.relative_to(folder)) + f"\0{content}\n".encode())
    return digest.hexdigest(), total
