"""Looks over a task folder before anything in it is read or copied.

A folder from somebody else may hold a link to a file of ours, a pipe that never ends, a device, or more than the disk.
Only plain files and folders pass, and only so many, so deep and so large; nothing is opened to find out.

Not covered: a folder that changes while it is used. Copies follow no link either (`preparation`).
"""

import os
import stat
from pathlib import Path
from shlex import quote

from aira_bench import files
from aira_bench.errors import TaskError

IGNORED = ("__pycache__", ".git")
"""Neither copied nor hashed."""
MOST_FILES = 10_000
DEEPEST = 16
LARGEST_BYTES = 2 << 30
LARGEST_TEXT_BYTES = 256 << 10


def check_folder(folder: Path) -> None:
    """Refuse what a task folder must not hold.

    Raises:
        TaskError: naming the first such file, or the bound that is broken.
    """
    count, total = 0, 0
    waiting = [(folder, 1)]
    while waiting:
        here, depth = waiting.pop()
        if depth > DEEPEST:
            raise TaskError(f"{here} is nested deeper than {DEEPEST} folders in the task folder {folder}.")
        for entry in _entries(here):
            status = entry.stat(follow_symlinks=False)
            kind, count = stat.S_IFMT(status.st_mode), count + 1
            if kind == stat.S_IFDIR:
                waiting.append((Path(entry.path), depth + 1))
            elif kind != stat.S_IFREG:
                raise TaskError(
                    f"{entry.path} is {files.kind_of(kind)}; a task folder holds plain files and folders only.",
                    hint=f"find {quote(str(folder))} ! -type f ! -type d",
                )
            else:
                total += status.st_size
            if count > MOST_FILES:
                raise TaskError(f"The task folder {folder} holds more than {MOST_FILES} files and folders.")
            if total > LARGEST_BYTES:
                raise TaskError(f"The task folder {folder} holds more than {LARGEST_BYTES >> 30} GiB.")


def read_text(path: Path) -> str:
    """Return a small text file of a task folder.

    Raises:
        TaskError: it is absent, no plain file, too large, or no UTF-8.
    """
    try:
        return files.read_text(path, LARGEST_TEXT_BYTES, follow_links=False)
    except FileNotFoundError as error:
        raise TaskError(f"{path} is missing: a task folder needs it.") from error
    except (OSError, files.Unacceptable) as error:
        raise TaskError(f"{path} cannot be read: {files.reason(error)}.") from error


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            found: list[os.DirEntry[str]] = []
            for entry in entries:
                if entry.name not in IGNORED:
                    found.append(entry)
                if len(found) > MOST_FILES:
                    break
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise TaskError(f"The task folder {folder} cannot be read: {error.strerror}.") from error
