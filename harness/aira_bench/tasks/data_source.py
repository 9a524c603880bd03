"""Where a task's raw data comes from, and what preparation containers see of it under `/raw`.

    --source synthetic   a stand-in that the task's own scripts generate; everything made from it is marked synthetic
    --source DIR         files already on disk: the task's public files under their names, or, for a folder in the
                         upstream layout, datasets as <dataset id>/<config>
    (nothing)            the task's public files are downloaded; an upstream folder looks in `$AIRA_HOME/raw`

Not covered: making data from it (`preparation`), and one transfer (`download`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from aira_bench.errors import PrerequisiteError, TaskError, UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.paths import HostPaths
from aira_bench.sandbox.hardening import TRUSTED_UID
from aira_bench.sandbox.sandbox import Mount
from aira_bench.tasks.metadata import PublicFile
from aira_bench.tasks.raw_content import content_of
from aira_bench.tasks.store import hash_tree
from aira_bench.tasks.task import Task, typed_name
from aira_bench.tasks.transfer import Transfer
from aira_contract.containers import RAW
from aira_contract.settings import SOURCES, SourceKind

if TYPE_CHECKING:
    from aira_bench.tasks.download import StoredFile

PUBLIC, SYNTHETIC = SOURCES
_ASK_TIMEOUT_S = 20.0
_ASKED_AT_ONCE = 32


@dataclass(frozen=True)
class DataSource:
    """The user's choice of `--source`."""

    synthetic: bool = False
    folder: Path | None = None

    @property
    def kind(self) -> SourceKind:
        """The word that preparation containers find in `AIRA_DATA_SOURCE`."""
        return SYNTHETIC if self.synthetic else PUBLIC

    @property
    def argument(self) -> str | None:
        """What a plan records and `--source` reads back."""
        return SYNTHETIC if self.synthetic else str(self.folder) if self.folder else None


@dataclass(frozen=True)
class RawData:
    """What a preparation container mounts, and what the files were."""

    mounts: tuple[Mount, ...]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Size in bytes and SHA-256 of each public file."""


def choose_source(task: Task, chosen: str | None) -> DataSource:
    """Read the argument of `--source`: a folder, a stand-in, or the task's own way.

    Raises:
        UsageError: the task has no synthetic stand-in, or needs no data, or the folder is absent.
    """
    aira = task.metadata.aira
    if chosen is None:
        return DataSource()
    if aira.report and not aira.sources:
        raise UsageError(f"Task {task.title} makes its own data and takes no --source.")
    if chosen == SYNTHETIC:
        if not aira.synthetic:
            raise UsageError(f"Task {task.title} has no synthetic stand-in for its data.", hint="--source DIR")
        return DataSource(synthetic=True)
    folder = Path(chosen).absolute()
    if not folder.is_dir():
        raise UsageError(f"--source {chosen} is neither a folder nor '{SYNTHETIC}'.")
    return DataSource(folder=folder)


def provide_raw(
    task: Task,
    profile: str,
    source: DataSource,
    paths: HostPaths,
    *,
    empty: Path,
    note: Callable[[str], None],
    watch: Callable[[Transfer], None],
) -> RawData:
    """Bring the raw data to disk, downloading what is missing. `empty` is a folder to show where there is none.

    Raises:
        PrerequisiteError: a file is absent, unreadable for containers, not what it should be, or cannot be fetched.
    """
    folder = _raw_folder(task, source, paths)
    if _is_upstream(task):
        assert folder is not None, "an upstream folder has its data somewhere"
        dataset = _check_upstream(task, profile, folder)
        return RawData((Mount(folder / dataset, RAW / dataset),))
    wanted = _wanted(task, profile)
    if source.synthetic or not wanted:
        return RawData((Mount(empty, RAW),))
    if folder is not None:
        measured = _check_folder(task, wanted, folder)
        return RawData(tuple(Mount(folder / name, RAW / name) for name in measured), measured)
    stored = download_all(task.title, wanted, paths, note, watch)
    return RawData(
        tuple(Mount(file.path, RAW / file.name) for file in stored),
        {file.name: {"bytes": file.bytes, "sha256": file.sha256} for file in stored},
    )


def missing_files(task: Task, profile: str, source: DataSource, paths: HostPaths) -> list[PublicFile]:
    """Return the public files that `provide_raw` would download."""
    if _is_upstream(task) or source.synthetic or source.folder is not None:
        return []
    return [file for file in _wanted(task, profile) if not (download_folder(paths, file) / file.name).exists()]


def offered_sizes(files: Sequence[PublicFile], timeout_s: float = 5.0) -> list[int | None]:
    """Return the bytes of files as their servers state them, many asked at once; None where one does not in time."""
    from aira_bench.tasks.http_transfer import offered_bytes

    with ThreadPoolExecutor(min(max(1, len(files)), _ASKED_AT_ONCE), thread_name_prefix="sizes") as pool:
        return list(pool.map(lambda file: offered_bytes(file.url, timeout_s=timeout_s), files))


def raw_content(task: Task, profile: str, source: DataSource, paths: HostPaths) -> str | None:
    """Return what the raw data is that preparation would see, by content; None where the task names it by itself.

    Raises:
        TaskError: the task names a dataset outside of the folder of raw data.
    """
    folder = _raw_folder(task, source, paths)
    if folder is None:
        return source.argument
    names = [_dataset(task)] if _is_upstream(task) else _present(task, _wanted(task, profile), folder)
    return content_of(folder, names, paths.contents)


def _is_upstream(task: Task) -> bool:
    return not task.metadata.aira.report and not task.metadata.aira.sources


def _raw_folder(task: Task, source: DataSource, paths: HostPaths) -> Path | None:
    return source.folder or (paths.raw_data if _is_upstream(task) else None)


def _wanted(task: Task, profile: str) -> list[PublicFile]:
    return [file for file in task.metadata.aira.sources if profile in file.profiles]


def _present(task: Task, wanted: Sequence[PublicFile], folder: Path) -> list[str]:
    """Names of the files in a user's folder that stand for those that are wanted."""
    missing = any(not (folder / file.name).is_file() for file in wanted)
    unpacked = task.metadata.aira.unpacked
    if missing and unpacked and all((folder / name).exists() for name in unpacked):
        return list(unpacked)
    return [file.name for file in wanted]


def _dataset(task: Task) -> str:
    """The dataset's place in a folder of raw data, which the task may not leave."""
    dataset = task.metadata.logging_info.dataset
    parts = PurePosixPath(dataset).parts
    if not parts or ".." in parts or PurePosixPath(dataset).is_absolute():
        raise TaskError(
            f"{task.folder / 'metadata.yaml'}: logging_info.dataset is {dataset[:VALUE_CHARS]!r}, expected a name "
            "such as 'owner/name', which is a folder of raw data."
        )
    return dataset


def download_folder(paths: HostPaths, file: PublicFile) -> Path:
    """Return where a public file is kept; tasks that name the same address share it."""
    return paths.sources / hashlib.sha256(file.url.encode()).hexdigest()[:16]


def download_all(
    title: str,
    wanted: Sequence[PublicFile],
    paths: HostPaths,
    note: Callable[[str], None],
    watch: Callable[[Transfer], None],
) -> "list[StoredFile]":
    """Return public files, of which those that are missing are downloaded, or go on where they stopped.

    Args:
        title: what they are the data of, for people.
        wanted: the files.
        paths: where they are kept.
        note: told what is done.
        watch: told how far each is.

    Raises:
        PrerequisiteError: one cannot be had or is another than it was, or the disk is full.
    """
    from aira_bench.tasks.download import check_disk, fetch, stored_bytes

    missing = {file: stored_bytes(file, download_folder(paths, file)) for file in wanted}
    missing = {file: here for file, here in missing.items() if not (download_folder(paths, file) / file.name).exists()}
    if missing:
        asked = [file for file in missing if file.bytes is None]
        offered = dict(zip(asked, offered_sizes(asked, _ASK_TIMEOUT_S), strict=True))
        sizes = {file: file.bytes or offered[file] for file in missing}
        rest = sum(max((size or 0) - missing[file], 0) for file, size in sizes.items())
        unknown = sum(size is None for size in sizes.values())
        more = f", and {unknown} of unknown size" if unknown else ""
        note(f"downloading {len(missing)} files of {title}: {rest / 2**20:.1f} MiB{more}, into {paths.sources}")
        paths.sources.mkdir(parents=True, exist_ok=True)
        check_disk(paths.sources, rest, f"The public data of {title}")
    return [fetch(file, download_folder(paths, file), note=note, watch=watch) for file in wanted]


def _check_folder(task: Task, wanted: Sequence[PublicFile], folder: Path) -> dict[str, dict[str, Any]]:
    """Hashes of the files in a user's folder, checked where the task knows them."""
    unpacked, present = task.metadata.aira.unpacked, _present(task, wanted, folder)
    missing = [name for name in present if not (folder / name).exists()]
    if present == list(unpacked) and not missing:
        _check_readable([folder, *(path for name in unpacked for path in _below(folder / name))])
        return {name: _measure(folder / name) for name in unpacked}
    if missing:
        instead = f", or {', '.join(unpacked)} in their place" if unpacked else ""
        raise PrerequisiteError(
            f"{folder} lacks {', '.join(missing)} of the public data of {task.title}{instead}.",
            hint=f"aira-bench prepare {typed_name(task)}   (downloads it)",
        )
    _check_readable([folder, *(folder / file.name for file in wanted)])
    measured = {file.name: _measure(folder / file.name) for file in wanted}
    for file in wanted:
        for what, expected in (("bytes", file.bytes), ("sha256", file.sha256)):
            seen = measured[file.name][what]
            if expected not in (None, seen):
                raise PrerequisiteError(f"{folder / file.name} is another file: {what} {seen}, expected {expected}.")
    return measured


def _measure(path: Path) -> dict[str, Any]:
    if path.is_dir():
        sha256, size = hash_tree(path)
        return {"bytes": size, "sha256": sha256}
    with path.open("rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _below(path: Path) -> list[Path]:
    return [path, *path.rglob("*")] if path.is_dir() else [path]


def _check_upstream(task: Task, profile: str, raw: Path) -> str:
    """Name of the dataset, whose files are there and readable."""
    dataset = _dataset(task)
    folder = raw / dataset
    if not folder.is_dir():
        configs = ", ".join(map(str, (folder / each for each in task.metadata.logging_info.config)))
        raise PrerequisiteError(
            f"Raw data of task {task.title} is missing: expected {configs or folder}.",
            hint=f"aira-bench prepare {typed_name(task)} --profile {profile} --source DIR",
        )
    _check_readable((raw, folder, *folder.rglob("*")))
    return dataset


def _check_readable(paths: Iterable[Path]) -> None:
    """Containers run as the host's user, or as an unprivileged one where the host's is root."""
    for path in paths:
        if os.geteuid() != 0:
            readable = os.access(path, os.R_OK)
        else:
            wanted = 0o005 if path.is_dir() else 0o004
            readable = path.stat().st_mode & wanted == wanted
        if not readable:
            raise PrerequisiteError(
                f"Raw data {path} is not readable for containers, which run as user {TRUSTED_UID}.",
                hint=f"chmod -R a+rX {path.parent}",
            )
