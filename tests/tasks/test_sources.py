"""Where raw data comes from: the choice, a user's folder, downloads, and that synthetic data never passes for real."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
import yaml

from aira_bench.errors import PrerequisiteError, TaskError, UsageError
from aira_bench.paths import HostPaths
from aira_bench.sandbox.sandbox import Mount
from aira_bench.tasks import raw_content as raw_content_module
from aira_bench.tasks.data_source import (
    DataSource,
    RawData,
    choose_source,
    download_folder,
    provide_raw,
    raw_content,
)
from aira_bench.tasks.metadata import read_metadata
from aira_bench.tasks.raw_content import content_of
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
    assert [(mount.source, str(mount.target)) for mount in raw.mounts] == [(folder / "a.txt", "/raw/a.txt")]
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
        task_data(paths, task, "cpu", raw=raw, image=image).folder
        for raw in (None, "synthetic", "0" * 64)
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
    expected = rf"expected .*/raw/Example/parity/default\. Try: aira-bench prepare {PARITY} --profile cpu --source DIR"
    with pytest.raises(PrerequisiteError, match=expected):
        provide(task, choose_source(task, None), paths)
    (paths.raw_data / "Example" / "parity").mkdir(parents=True)
    for folder in (paths.raw_data, *paths.raw_data.rglob("*")):
        folder.chmod(0o755)
    raw, _ = provide(task, choose_source(task, None), paths)
    assert raw.mounts == (Mount(paths.raw_data / "Example" / "parity", PurePosixPath("/raw/Example/parity")),)


@pytest.mark.parametrize("dataset", ["../../etc", "/etc", "a/../..", "..", ""])
def test_a_dataset_is_a_folder_of_raw_data_and_no_other(tmp_path: Path, paths: HostPaths, dataset: str) -> None:
    folder = tmp_path / PARITY.name
    shutil.copytree(PARITY, folder)
    values = yaml.safe_load((folder / "metadata.yaml").read_text())
    values["logging_info"]["dataset"] = dataset
    (folder / "metadata.yaml").write_text(yaml.safe_dump(values))
    task = load_task(folder)
    for ask in (lambda: provide(task, DataSource(), paths), lambda: raw_content(task, "cpu", DataSource(), paths)):
        with pytest.raises(TaskError, match=r"logging_info\.dataset"):
            ask()


def test_data_is_known_by_the_content_of_its_source(tmp_path: Path, paths: HostPaths) -> None:
    """Files that were exchanged in place used to be reused under their folder's path."""
    task, folder = text_task(tmp_path / "task"), tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").write_bytes(CONTENT)
    (folder / "of others.txt").write_bytes(b"1")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def content(place: Path) -> str | None:
        return raw_content(task, "cpu", choose_source(task, str(place)), paths)

    first = content(folder)
    assert first == content(copy), "another path is the same data"
    (folder / "of others.txt").write_bytes(b"2")
    assert content(folder) == first, "what the task does not read does not count"
    status = (folder / "a.txt").stat()
    (folder / "a.txt").write_bytes(CONTENT.replace(b"public", b"PUBLIC"))
    os.utime(folder / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = content(folder)
    assert second != first, "of the same size and time"
    shutil.rmtree(folder)
    folder.mkdir()
    assert content(folder) == second, "what is gone is what it was: data that was made of it can still be used"
    assert raw_content(task, "cpu", DataSource(), paths) is None
    assert raw_content(task, "cpu", DataSource(synthetic=True), paths) == "synthetic"


def test_a_link_that_containers_get_followed_is_known_by_what_it_leads_to(tmp_path: Path, paths: HostPaths) -> None:
    task, folder = text_task(tmp_path / "task"), tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").symlink_to(tmp_path / "elsewhere.txt")
    seen = set()
    for text in ("a", "b"):
        (tmp_path / "elsewhere.txt").write_text(text)
        seen.add(raw_content(task, "cpu", choose_source(task, str(folder)), paths))
    assert len(seen) == 2


def test_datasets_are_known_by_content_too(tmp_path: Path, paths: HostPaths) -> None:
    task = load_task(PARITY)
    file = paths.raw_data / "Example" / "parity" / "default" / "train.csv"
    file.parent.mkdir(parents=True)
    seen = []
    for text in ("a", "b", "a"):
        file.write_text(text)
        seen.append(raw_content(task, "cpu", DataSource(), paths))
    assert seen[0] == seen[2] != seen[1]
    file.rename(file.with_name("test.csv"))
    assert raw_content(task, "cpu", DataSource(), paths) != seen[2], "names count"
    file.symlink_to("test.csv")
    linked = raw_content(task, "cpu", DataSource(), paths)
    file.unlink()
    file.symlink_to("other.csv")
    assert raw_content(task, "cpu", DataSource(), paths) != linked, "so do links"


def test_a_second_look_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, notes = tmp_path / "raw", tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_bytes(name.encode())
    monkeypatch.setattr(raw_content_module, "_SETTLED_NS", -1)
    first = content_of(folder, ["a", "deep", "none"], notes)
    monkeypatch.setattr(raw_content_module, "_sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert content_of(folder, ["deep", "none", "a"], notes) == first
    (notes / next(notes.iterdir()).name).write_text("{")
    monkeypatch.undo()
    assert content_of(folder, ["a", "deep", "none"], notes) == first, "damaged notes cost time alone"


def test_a_file_that_may_change_again_within_a_tick_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a").write_bytes(b"1")
    content_of(tmp_path / "raw", ["a"], tmp_path / "notes")
    (note,) = (tmp_path / "notes").iterdir()
    assert json.loads(note.read_text())["files"] == {}


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
