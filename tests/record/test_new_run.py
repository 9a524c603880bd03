"""A new run is there whole or not at all, and what a dead process left of one is swept, a live one's is not."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.record.folder import RunFolder, list_runs
from aira_bench.record.new_run import making_run
from generated_runs import manifest, write_run

DYING = """
import os, sys
from pathlib import Path
from aira_bench.record.new_run import making_run
with making_run(Path(sys.argv[1]), "mine") as made:
    (made.folder.path / "record.jsonl").write_text("half")
    print("made", flush=True)
    sys.stdin.read()
"""


def publish(runs: Path, name: str) -> RunFolder:
    with making_run(runs, name) as made:
        (made.folder.path / "manifest.json").touch()
        return made.publish()


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True))
def test_a_plain_name_makes_a_run_inside_the_folder_of_runs(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    runs = tmp_path_factory.mktemp("runs")
    assert publish(runs, name).path.parent == runs
    assert [path.name for path in runs.iterdir()] == [name]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-v", "a/b", "../a", "/tmp/a", "a b", "a\n", "é", "a\0b", "a" * 101, "~", "$HOME"],
)
def test_any_other_name_makes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        publish(tmp_path / "runs", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
def test_what_is_no_run_is_never_written_into(tmp_path: Path, taken: Callable[[Path], None], late: bool) -> None:
    def make() -> None:
        with making_run(tmp_path, "mine") as made:
            taken(tmp_path / "mine")
            made.publish()

    if not late:
        taken(tmp_path / "mine")
    with pytest.raises(UsageError, match=r"mine exists, and is no run\. Try: another --name"):
        make() if late else publish(tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_run_of_that_name_is_to_be_resumed(tmp_path: Path) -> None:
    publish(tmp_path, "mine")
    with pytest.raises(UsageError, match="A run named 'mine' exists") as caught:
        publish(tmp_path, "mine")
    assert caught.value.hint == f"aira-bench resume mine --runs {tmp_path}"


def test_a_run_is_locked_from_before_it_is_one(tmp_path: Path) -> None:
    with making_run(tmp_path, "mine") as made:
        assert made.folder.is_live
        assert list_runs(tmp_path) == []
        (made.folder.path / "manifest.json").touch()
        assert made.publish().is_live
        assert [run.path.name for run in list_runs(tmp_path)] == ["mine"]
    assert not RunFolder(tmp_path / "mine").is_live


def test_what_fails_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), making_run(tmp_path / "runs", "mine"):
        raise ZeroDivisionError
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_makes_is_not(tmp_path: Path) -> None:
    """Both commands find the way on: there is nothing to resume, and the name is free."""
    with subprocess.Popen(
        [sys.executable, "-c", DYING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "made\n"
        with pytest.raises(UsageError, match=r"is being made in .* by another process"):
            publish(tmp_path, "mine")
        publish(tmp_path, "another")
        assert sorted(path.name for path in tmp_path.iterdir()) == [".new-mine", "another"]
        other.send_signal(signal.SIGKILL)
    assert [run.path.name for run in list_runs(tmp_path)] == ["another"]
    assert publish(tmp_path, "mine").path.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "mine"]


def test_links_beside_runs_are_not_swept_through(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / ".new-a").symlink_to(tmp_path / "precious")
    publish(runs, "mine")
    assert (tmp_path / "precious" / "file").exists()


def test_an_unfinished_run_is_on_no_list(tmp_path: Path) -> None:
    write_run(tmp_path, manifest("a", seeds=(0,), steps=1)).path.rename(tmp_path / ".new-a")
    assert list_runs(tmp_path) == []
