"""Mirrors of runs on object storage show what lies there: what was removed, or made anew under its name, included."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.copies.layout import folder_copy
from aira_bench.copies.mirror import RunsMirror
from aira_bench.errors import UsageError
from aira_bench.shared_store.objects import ObjectAddress, ObjectStore, open_objects
from object_server import BUCKET, Storage, small_server

pytest.importorskip("s3fs")


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def store(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    import s3fs

    with small_server("s3", storage) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield open_objects(ObjectAddress("s3", f"{BUCKET}/runs"))


def make(mirror: RunsMirror, words: str) -> Path:
    """A run in a mirror, as far as a mirror knows runs."""
    run = mirror.root / "pilot"
    run.mkdir()
    (run / "manifest.json").write_text(words)
    return run


def search(store: ObjectStore, place: Path, *lines: str) -> None:
    """A seed on whose journal a worker wrote these lines."""
    copy = folder_copy(store.below("pilot"), place, "0")
    copy.take_over(1)
    for line in lines:
        with (copy.path / "journal.jsonl").open("a") as journal:
            journal.write(line + "\n")
        copy.push()


def held(mirror: RunsMirror) -> dict[str, str]:
    """The files of runs."""
    return {
        str(path.relative_to(mirror.root)): path.read_text()
        for path in sorted(mirror.root.rglob("*")) if path.is_file() and not path.name.startswith(".")
    }  # fmt: skip


def test_a_run_that_was_removed_and_one_of_its_name_are_shown_as_they_are(
    storage: Storage, store: ObjectStore, tmp_path: Path
) -> None:
    """The second has fewer commits than the first: by their count there is nothing new."""
    maker, reader = (RunsMirror(store, tmp_path / name) for name in ("maker", "reader"))
    for mirror in (maker, reader):
        mirror.refresh()
    run = make(maker, "first")
    (run / "ledger" / "pool").mkdir(parents=True)
    (run / "ledger" / "pool" / "00000001").write_text("what a trial cost")
    maker.publish(run)
    assert store.below("pilot", "ledger").get("pool/00000001") == b"what a trial cost"
    search(store, tmp_path / "worker", "one", "two", "three")
    for mirror in (maker, reader):
        mirror.refresh()
        assert held(mirror)["pilot/seeds/0/journal.jsonl"] == "one\ntwo\nthree\n"
    storage.objects.clear()
    reader.refresh()
    assert held(reader) == {}
    other = RunsMirror(store, tmp_path / "other")
    other.refresh()
    other.publish(make(other, "second"))
    search(store, tmp_path / "worker", "four")
    for mirror in (maker, reader, other):
        mirror.refresh()
        assert held(mirror) == {"pilot/manifest.json": "second", "pilot/seeds/0/journal.jsonl": "four\n"}


def test_of_two_that_make_a_run_of_one_name_the_second_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    """Its mirror was renewed between the making and the publication, and took the other's run for its own."""
    first, second = (RunsMirror(store, tmp_path / name) for name in ("first", "second"))
    for mirror in (first, second):
        mirror.refresh()
    mine = make(second, "mine")
    first.publish(make(first, "theirs"))
    second.refresh()
    assert held(second) == {"pilot/manifest.json": "mine"}
    with pytest.raises(UsageError, match="A run named 'pilot' exists"):
        second.publish(mine)


def test_a_mirror_that_lost_count_is_made_anew(store: ObjectStore, tmp_path: Path) -> None:
    mirror = RunsMirror(store, tmp_path / "mirror")
    mirror.refresh()
    mirror.publish(make(mirror, "first"))
    (mirror.root / ".mirror.json").unlink()
    (mirror.root / "pilot" / "manifest.json").write_text("of another time")
    shutil.copytree(mirror.root / "pilot", mirror.root / "gone")
    mirror.refresh()
    assert held(mirror) == {"pilot/manifest.json": "first"}
