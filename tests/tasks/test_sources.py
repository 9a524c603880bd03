"""Where raw data comes from: the choice, a user's folder, downloads, and that synthetic data never passes for real."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
import yaml

from aira_bench.errors import PrerequisiteError, TaskError, UsageError
from aira_bench.paths import HostPaths
from aira_bench.tasks.data_source import DataSource, RawData, choose_source, download_folder, provide_raw
from aira_bench.tasks.metadata import read_metadata
from aira_bench.tasks.store import task_data
from aira_bench.tasks.task import Task, find_task, load_task
from file_server import FileServer, serve

PARITY = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"
CONTENT = b"public text\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(CONTENT)) as state:
        yield state


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    return HostPaths(home=tmp_path / "home", runs=tmp_path / "runs")


def task_with(folder: Path, aira: dict[str, object]) -> Task:
    """A task folder with an `aira:` block; its scripts are never run here."""
    place = folder / PARITY.name
    place.mkdir(parents=True)
    for path in PARITY.iterdir():
        if path.is_file():
            (place / path.name).write_bytes(path.read_bytes())
    values = yaml.safe_load((PARITY / "metadata.yaml").read_text())
    (place / "metadata.yaml").write_text(yaml.safe_dump(values | {"aira": {"report": True} | aira}))
    return load_task(place)


def text_task(
    folder: Path, url: str = "http://127.0.0.1:1/x", *, sha256: str | None = None, size: int | None = None
) -> Task:
    files: list[dict[str, object]] = [
        {"name": "a.txt", "url": url, "sha256": sha256, "bytes": size},
        {"name": "big.txt", "url": url + "?big", "profiles": ["paper"]},
    ]
    return task_with(folder, {"sources": files, "unpacked": ["train.txt"], "synthetic": True})


def provide(task: Task, source: DataSource, paths: HostPaths, profile: str = "cpu") -> tuple[RawData, list[str]]:
    notes: list[str] = []
    raw = provide_raw(task, profile, source, paths, empty=paths.home, note=notes.append, watch=lambda news: None)
    return raw, notes


def test_files_are_downloaded_once_for_all_tasks_and_shown_by_name(
    server: FileServer, tmp_path: Path, paths: HostPaths
) -> None:
    task, other = text_task(tmp_path / "one", server.url), text_task(tmp_path / "two", server.url)
    raw, notes = provide(task, DataSource(), paths)
    (mount,) = raw.mounts
    assert mount.target == PurePosixPath("/raw/a.txt")
    assert mount.source.read_bytes() == CONTENT
    assert not mount.writable
    assert raw.files == {"a.txt": {"bytes": len(CONTENT), "sha256": SHA256}}
    assert f"{len(CONTENT) / 2**20:.1f} MiB" in notes[0], "the size is told beforehand"
    again, notes = provide(other, DataSource(), paths)
    assert (again, notes, len(server.requests)) == (raw, [], 1)


def test_a_profile_fetches_only_what_it_needs(server: FileServer, tmp_path: Path, paths: HostPaths) -> None:
    raw, _ = provide(text_task(tmp_path, server.url), DataSource(), paths, "paper")
    assert [mount.target.name for mount in raw.mounts] == ["a.txt", "big.txt"]


def test_a_download_that_cannot_fit_is_refused_before_it_starts(
    server: FileServer, tmp_path: Path, paths: HostPaths
) -> None:
    with pytest.raises(PrerequisiteError, match="are free"):
        provide(text_task(tmp_path, server.url, size=1 << 60), DataSource(), paths)
    assert not server.requests


def test_a_folder_stands_in_for_the_download(tmp_path: Path, paths: HostPaths) -> None:
    task, folder = text_task(tmp_path / "task"), tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(PrerequisiteError, match=r"lacks a\.txt.* or train\.txt in their place"):
        provide(task, choose_source(task, str(folder)), paths)
    (folder / "a.txt").write_bytes(CONTENT)
    raw, _ = provide(task, choose_source(task, str(folder)), paths)
    assert raw.mounts[0].source == folder
    assert raw.files["a.txt"]["sha256"] == SHA256


def test_unpacked_files_stand_in_for_archives(tmp_path: Path, paths: HostPaths) -> None:
    task, folder = text_task(tmp_path / "task"), tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "train.txt").write_bytes(CONTENT)
    raw, _ = provide(task, choose_source(task, str(folder)), paths)
    assert raw.files == {"train.txt": {"bytes": len(CONTENT), "sha256": SHA256}}


@pytest.mark.parametrize(("sha256", "size"), [("0" * 64, None), (None, 5)])
def test_another_file_under_the_right_name_is_refused(
    tmp_path: Path, paths: HostPaths, sha256: str | None, size: int | None
) -> None:
    task, folder = text_task(tmp_path / "task", sha256=sha256, size=size), tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "a.txt").write_bytes(CONTENT)
    with pytest.raises(PrerequisiteError, match="is another file"):
        provide(task, choose_source(task, str(folder)), paths)


@pytest.mark.skipif(os.geteuid() != 0, reason="only where the host's user is root do containers run as another")
def test_a_folder_closed_to_containers_is_named(tmp_path: Path, paths: HostPaths) -> None:
    task, folder = text_task(tmp_path / "task"), tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").write_bytes(CONTENT)
    (folder / "a.txt").chmod(0o600)
    with pytest.raises(PrerequisiteError, match=r"not readable for containers.*chmod"):
        provide(task, choose_source(task, str(folder)), paths)


def test_synthetic_data_needs_no_file(tmp_path: Path, paths: HostPaths) -> None:
    task = text_task(tmp_path)
    source = choose_source(task, "synthetic")
    raw, _ = provide(task, source, paths)
    assert (source.kind, source.argument) == ("synthetic", "synthetic")
    assert raw.files == {}


def test_the_store_keeps_sources_and_versions_apart(tmp_path: Path, paths: HostPaths) -> None:
    task = text_task(tmp_path)
    folders = {
        task_data(paths, task, "cpu", source=source, image=image).folder
        for source in (None, "synthetic", "/some/folder")
        for image in ("evaluator:1", "evaluator:2")
    }
    assert len(folders) == 6


def test_a_choice_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    plain = task_with(tmp_path / "plain", {"sources": [{"name": "a", "url": "http://x/a"}]})
    with pytest.raises(UsageError, match="no synthetic stand-in"):
        choose_source(plain, "synthetic")
    with pytest.raises(UsageError, match="neither a folder"):
        choose_source(plain, str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="makes its own data"):
        choose_source(find_task("mad-2p"), "synthetic")


def test_an_upstream_folder_still_finds_its_datasets(tmp_path: Path, paths: HostPaths) -> None:
    task = load_task(PARITY)
    with pytest.raises(PrerequisiteError, match="--source DIR"):
        provide(task, choose_source(task, None), paths)
    (paths.raw_data / "Example" / "parity").mkdir(parents=True)
    for folder in (paths.raw_data, *paths.raw_data.rglob("*")):
        folder.chmod(0o755)
    raw, _ = provide(task, choose_source(task, None), paths)
    assert raw.mounts[0].source == paths.raw_data


@pytest.mark.parametrize(
    ("aira", "message"),
    [
        ({"sources": [{"name": "../a", "url": "http://x"}]}, "name"),
        ({"sources": [{"name": "a", "url": "ftp://x"}]}, "url"),
        ({"sources": [{"name": "a", "url": "http://x", "sha256": "ABC"}]}, "sha256"),
        ({"sources": [{"name": "a", "url": "http://x"}] * 2}, "two files have one name"),
        ({"synthetic": True}, "there are none"),
        ({"unpacked": ["a"]}, "there are none"),
    ],
)
def test_broken_sources_are_one_line(tmp_path: Path, aira: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        task_with(tmp_path, aira)
    assert read_metadata(PARITY / "metadata.yaml").aira.sources == ()


def test_shipped_tasks_name_their_files_by_pinned_or_checked_addresses() -> None:
    for name in ("babistories-2p", "dclm-2p"):
        aira = find_task(name).metadata.aira
        assert aira.sources
        assert aira.synthetic
        assert all(source.url.startswith("https://") for source in aira.sources)


def test_downloads_of_one_address_share_a_place(tmp_path: Path, paths: HostPaths) -> None:
    file = text_task(tmp_path).metadata.aira.sources[0]
    renamed = file.model_copy(update={"name": "b.txt"})
    assert download_folder(paths, file) == download_folder(paths, renamed)
    assert json.loads(file.model_dump_json())["profiles"] == ["paper", "cpu"]
