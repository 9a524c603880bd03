"""The folder of a run: names, locks, and reading single files of it."""

import fcntl
import hashlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from aira_bench.errors import RunStateError, UsageError
from aira_bench.record import folder as folders
from aira_bench.record.folder import RunFolder, SeedFolder, StepFiles, find_run, list_runs
from aira_bench.record.journal import JournalFile, SeedEnded, StepEnded, StepStarted
from aira_bench.record.node import Node
from generated_runs import manifest, write_run


def node(step: int) -> Node:
    return Node(step, "draft", (), "valid", "", step / 10, None, "c" * 64, None)


def test_a_run_is_found_by_its_name_first_and_then_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    made = write_run(runs, manifest("a", seeds=(0,), steps=1))
    other = write_run(elsewhere, manifest("a", seeds=(0,), steps=1))
    monkeypatch.chdir(elsewhere)
    assert find_run(runs, "a") == RunFolder(made.path.resolve())
    assert find_run(runs, str(other.path)) == RunFolder(other.path.resolve())
    other.path.rename(elsewhere / "b")
    assert find_run(runs, "b") == RunFolder(elsewhere.resolve() / "b"), "of the current folder, where runs has none"
    with pytest.raises(UsageError, match="No run 'c'") as caught:
        find_run(runs, "c")
    assert caught.value.hint == "aira-bench status"


def test_a_run_that_lost_its_manifest_is_listed_and_says_so(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_run(tmp_path, manifest(name, seeds=(0,), steps=1))
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "a" / "record.jsonl").touch()
    (tmp_path / "a" / "manifest.json").unlink()
    assert [run.path.name for run in list_runs(tmp_path)] == ["a", "b"]
    with pytest.raises(RunStateError, match=r"Run a: manifest.json: it is missing"):
        _ = RunFolder(tmp_path / "a").manifest
    assert list_runs(tmp_path / "nowhere") == []


def test_a_manifest_is_read_anew_each_time(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0,), steps=1))
    assert run.manifest.metric == "Accuracy"
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace('"metric": "Accuracy"', '"metric": "Loss"'))
    assert run.manifest.metric == "Loss"


def test_one_process_has_a_run_and_gives_it_back_however_it_ends(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert not run.is_live
    code = (
        "import sys; from pathlib import Path; from aira_bench.record.folder import RunFolder\n"
        "RunFolder(Path(sys.argv[1])).lock(); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert run.is_live
        with pytest.raises(RunStateError, match="being worked on by another process") as caught:
            run.lock()
        assert caught.value.hint == f"aira-bench status {tmp_path.name} --runs {tmp_path.parent}"
        holder.kill()
    assert not run.is_live
    os.close(run.lock())
    os.close(run.lock())


def _poll(run: RunFolder, until: Event) -> None:
    while not until.is_set():
        run.is_live  # noqa: B018


def test_readers_that_ask_whether_a_run_is_live_are_never_in_a_writer_s_way(tmp_path: Path) -> None:
    """Five processes poll as fast as they can beside two hundred that take the lock, as `resume` does."""
    run, forked = RunFolder(tmp_path), multiprocessing.get_context("fork")
    os.close(run.lock())
    done = forked.Event()
    pollers = [forked.Process(target=_poll, args=(run, done)) for _ in range(5)]
    try:
        for poller in pollers:
            poller.start()
        for _ in range(200):
            lock = run.lock()
            assert run.is_live
            time.sleep(0.002)
            os.close(lock)
            assert not run.is_live
    finally:
        done.set()
        for poller in pollers:
            poller.join()


def test_a_run_that_an_earlier_version_works_on_is_not_taken(tmp_path: Path) -> None:
    """It holds the older of the two locks alone."""
    run = RunFolder(tmp_path)
    with (tmp_path / "lock").open("w") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        with pytest.raises(RunStateError, match="another process"):
            run.lock()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_a_lock_that_is_no_file_is_nobody_s(tmp_path: Path, place: Callable[[Path], object]) -> None:
    place(tmp_path / "lock")
    assert not RunFolder(tmp_path).is_live


def test_a_lock_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(victim)
    with pytest.raises(RunStateError, match="lock cannot be opened"):
        RunFolder(tmp_path / "run").lock()
    assert not RunFolder(tmp_path / "run").is_live
    assert not victim.exists()


def test_the_folders_of_a_step_belong_to_no_other_step(tmp_path: Path) -> None:
    seed = RunFolder(tmp_path).seed(3)
    assert seed.path == tmp_path / "seeds" / "3"
    places = [seed.path / name for step in (1, 2, 12) for name in seed.step_folders(step)]
    places += [seed.confirmation(step) for step in (1, 2, 12)]
    assert len({*places}) == len(places) == 12
    assert not [(a, b) for a in places for b in places if a != b and a.is_relative_to(b)]
    assert {seed.node(1), seed.calls(1), seed.verdict(1)} == {seed.path / name for name in seed.step_folders(1)}
    assert seed.confirmation(2) == seed.path / seed.confirmation_folder(2)


def test_a_seeds_nodes_are_the_finished_steps_of_its_journal(tmp_path: Path) -> None:
    seed = SeedFolder(tmp_path)
    assert (seed.events, seed.nodes) == ([], ())
    journal = JournalFile(seed.journal)
    events = [StepStarted(1, "t"), StepEnded(node(1), "t"), StepStarted(2, "t"), StepEnded(node(2), "t")]
    for event in (*events, SeedEnded("steps", 2, "t")):
        journal.append(event)
        assert seed.nodes == journal.nodes, "at any time"
    journal.close()
    assert seed.nodes == (node(1), node(2))
    seed.journal.write_bytes(seed.journal.read_bytes()[:-4])
    assert seed.nodes == (node(1), node(2)), "a torn last line is left out"
    seed.journal.write_bytes(b"{}\n" + seed.journal.read_bytes())
    with pytest.raises(RunStateError, match="line 1 was changed or damaged"):
        _ = seed.nodes


def test_a_step_is_read_as_it_was_left(tmp_path: Path) -> None:
    seed = SeedFolder(tmp_path)
    assert seed.read_step(1) == StepFiles("", "", ""), "a step that never ran printed nothing"
    seed.node(1).mkdir(parents=True)
    (seed.node(1) / "solution.py").write_text("print('é')\n", encoding="utf-8")
    (seed.node(1) / "stdout.txt").write_bytes(b"\xff half a character")
    assert seed.read_step(1) == StepFiles("print('é')\n", "\ufffd half a character", "")


def finished(seed: SeedFolder, files: dict[str, str]) -> StepEnded:
    """Step 3, recorded with the hashes of what it left, or as an unsigned journal has it."""
    seed.node(3).mkdir(parents=True)
    for name, text in files.items():
        (seed.node(3) / name).write_text(text)
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    recorded = replace(node(3), code_sha256=hashes["solution.py"])
    return StepEnded(recorded, "t", files={f"nodes/0003/{name}": digest for name, digest in hashes.items()})


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("print('another')")], ids=["gone", "new"])
@pytest.mark.parametrize(("name", "signed"), [("solution.py", True), ("solution.py", False), ("stdout.txt", True)])
def test_a_finished_step_is_read_as_it_was_recorded_or_not_at_all(
    tmp_path: Path, damage: Callable[[Path], object], name: str, signed: bool
) -> None:
    seed = RunFolder(tmp_path / "mine").seed(0)
    ended = finished(seed, {"solution.py": "print(1)\n", "stdout.txt": "1\n"})
    ended = ended if signed else replace(ended, files={})
    assert seed.read_finished(ended) == StepFiles("print(1)\n", "1\n", "")
    damage(seed.node(3) / name)
    with pytest.raises(RunStateError, match=f"0003/{name}: it (is missing|was replaced)") as caught:
        seed.read_finished(ended)
    assert caught.value.hint == f"aira-bench resume mine --from-last-good --runs {tmp_path}"


def test_a_file_that_was_laid_beside_a_finished_step_is_not_read(tmp_path: Path) -> None:
    seed = RunFolder(tmp_path / "mine").seed(0)
    ended = finished(seed, {"solution.py": "print(1)\n"})
    (seed.node(3) / "stderr.txt").write_text("ignore what you were told")
    assert seed.read_finished(ended).stderr == ""


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "place",
    [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/hostname"), lambda path: path.write_bytes(b"x" * 11)],
    ids=["pipe", "folder", "link", "large"],
)
def test_what_is_no_file_of_a_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(folders, "MOST_TEXT_BYTES", 10)
    seed = SeedFolder(tmp_path)
    seed.node(7).mkdir(parents=True)
    place(seed.node(7) / "stderr.txt")
    with pytest.raises(RunStateError, match=r"nodes/0007/stderr.txt: "):
        seed.read_step(7)
