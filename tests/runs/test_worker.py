"""Workers that share a run: each seed finishes once, whatever becomes of them, with the tree of a run in one process.

Workers are real processes with the real command line, on a played machine (tests/played_run.py).
"""

import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from aira_bench.cli.engine import halts
from aira_bench.cli.worker import said_at_end
from aira_bench.errors import AskedInVain, PrerequisiteError, RunStateError, SandboxError
from aira_bench.evaluation.verdict import Refused, Unexplained
from aira_bench.leasing.entries import MOST_HALTS
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import AttemptBegan
from aira_bench.runs.launch import start
from aira_bench.runs.opened_runs import WorkerWishes
from aira_bench.runs.resolve import resolve
from aira_bench.runs.worker import Worker, WorkerEnd
from aira_bench.view.index import RunIndex
from played_host import request
from shared_runs import Site, entry, finished, tree

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def attempts(folder: RunFolder, seed: int = 0) -> list[int]:
    """The attempts whose lines count."""
    return [event.attempt for event in folder.seed(seed).events if isinstance(event, AttemptBegan)]


def test_two_workers_bring_each_seed_to_its_end_once(site: Site) -> None:
    wishes = {"seeds": (0, 1, 2, 3, 4), "confirm": True}
    folder, expected = site.shared(**wishes), site.undisturbed(**wishes)
    with site.worker(folder.path, "--slots", "2") as one, site.worker(folder.path, "--slots", "1") as other:
        assert (one.end(), other.end()) == (0, 0), one.said + other.said
        said = one.said + other.said
    record = site.record(folder)
    assert tree(record) == expected
    assert record.closed
    assert [attempts(folder, seed) for seed in range(5)] == [[1]] * 5
    assert [entry(folder, seed).state for seed in range(5)] == ["over"] * 5
    assert said.count(": over") == 5
    assert not folder.is_live
    index = RunIndex(folder.path.parent, site.host.paths.home, site.host.keys)
    assert index.known_summary(folder) is not None, "whoever ended the last seed wrote the index of the run's pages"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_worker_leaves_another_goes_on_with(site: Site, number: signal.Signals) -> None:
    site.variables["AIRA_PLAYED_STEP_S"] = "0.15"
    folder, expected = site.shared(confirm=True), site.undisturbed(confirm=True)
    with site.worker(folder.path, "--slots", "1") as first:
        first.wait_for(lambda: finished(folder) >= 2)
        first.signal(number)
        assert first.end() == (-number if number == signal.SIGKILL else 130), first.said
    assert entry(folder, 0).state == ("held" if number == signal.SIGKILL else "released")
    with site.worker(folder.path, "--slots", "1") as second:
        assert second.end() == 0, second.said
    record = site.record(folder)
    assert tree(record) == expected
    assert attempts(folder) == [1, 2]
    assert entry(folder, 0).fork == 1, "whoever is dead for sure writes no more, so nothing was copied"


def test_a_paused_worker_that_wakes_late_changes_nothing(site: Site) -> None:
    """The other worker is on a machine of its own, which cannot tell whether the first one is dead."""
    site.variables["AIRA_PLAYED_STEP_S"] = "0.15"
    folder, expected = site.shared(confirm=True), site.undisturbed(confirm=True)
    with site.worker(folder.path, "--slots", "1") as first:
        first.wait_for(lambda: finished(folder) >= 2)
        first.signal(signal.SIGSTOP)
        with site.worker(folder.path, "--slots", "1", machine="another") as second:
            second.wait_for(lambda: "going on with a copy" in second.said and finished(folder) >= 3)
            first.signal(signal.SIGCONT)
            assert first.end() == 0, first.said
            assert second.end() == 0, second.said
        assert "another worker took it over" in first.said
        assert "brought 0 seeds to their end" in first.said
    record = site.record(folder)
    assert tree(record) == expected
    assert attempts(folder) == [1, 2]
    assert (entry(folder, 0).fork, folder.seed(0).path.name) == (2, "0.2")


def test_a_run_is_one_process_s_or_its_workers_and_never_both(site: Site) -> None:
    site.variables["AIRA_PLAYED_STEP_S"] = "0.3"
    folder = site.shared()
    with site.worker(folder.path, "--slots", "1") as worker:
        worker.wait_for(lambda: finished(folder) >= 1)
        assert folder.is_live
        assert folder.held_seeds() == {0}
        with pytest.raises(RunStateError, match="shared by workers, and seed 0 is that of one on"):
            folder.lock()
        worker.signal(signal.SIGKILL)
        worker.end()
    assert not folder.is_live
    lock = folder.lock()
    with contextlib.ExitStack() as stack, site.worker(folder.path) as worker:
        stack.callback(os.close, lock)
        assert worker.end() == 6
        assert "is being worked on by another process" in worker.said


def test_a_worker_takes_the_runs_below_a_folder_that_are_shared(site: Site) -> None:
    shared = [site.shared(name, steps=1) for name in ("one", "two")]
    run = resolve(request("alone", steps=1), site.host.paths, site.host.world)
    alone = start(site.host, run, lambda text: None, lambda progress: None)
    before = sorted(path.name for path in alone.path.iterdir())
    with site.worker(site.root / "runs") as worker:
        assert worker.end() == 0, worker.said
    assert [site.record(folder).closed for folder in shared] == [True, True]
    assert sorted(path.name for path in alone.path.iterdir()) == before


def test_machines_that_lack_something_leave_seeds_to_others(site: Site) -> None:
    """Three of them, each of which took every seed and halted it, kept all seeds from the machines that lack nothing."""
    folder = site.shared(seeds=(0, 1), steps=1)

    def images(flavour: str, declared: object) -> NoReturn:
        raise PrerequisiteError("There is no image here.", hint="aira-bench images build")

    for _ in range(MOST_HALTS):
        lacking = Worker(replace(site.host, build_images=images), folder.path, WorkerWishes(1), lambda text: None)
        (failed,) = lacking.work().failed
        assert (failed[0], type(failed[1])) == (folder.path.name, PrerequisiteError)
    assert (entry(folder, 0).halts, entry(folder, 0).why) == (0, "There is no image here.")
    (told,) = halts(folder).values()
    assert isinstance(told, PrerequisiteError)
    assert told.message == f"on {site.host.world.host_name()}: There is no image here.", "where nobody else comes"
    with site.worker(folder.path, "--slots", "1") as worker:
        assert worker.end() == 0, worker.said
    assert site.record(folder).closed


@pytest.mark.parametrize(
    "error",
    [
        AskedInVain("the engine failed", attempts=2, hint="aira-bench doctor"),
        Unexplained("a kill", Refused("it was killed")),
    ],
)
def test_whatever_a_seed_halted_for_is_told_at_the_end(error: SandboxError, capsys: pytest.CaptureFixture[str]) -> None:
    """The message was made by the error's own kind, of which some want more than a message: a traceback."""
    assert said_at_end(WorkerEnd(failed=[("mine seed 0", error)])) == 5
    assert f"aira-bench: error: mine seed 0: {error.message}" in capsys.readouterr().err


def test_a_folder_without_a_shared_run_is_named(site: Site) -> None:
    """It was told that nothing was left to take, where a search of one process was to be gone on with."""
    run = resolve(request("alone", steps=1), site.host.paths, site.host.world)
    start(site.host, run, lambda text: None, lambda progress: None)
    worker = Worker(site.host, site.root / "runs", WorkerWishes(1), lambda text: None)
    with pytest.raises(RunStateError, match=r"No run in .* is shared by workers") as refused:
        worker.work()
    assert refused.value.hint is not None
    assert "resume alone --engine local" in refused.value.hint


def test_once_takes_one_seed_a_slot(site: Site) -> None:
    folder = site.shared(seeds=(0, 1, 2), steps=1)
    with site.worker(folder.path, "--once", "--slots", "2") as worker:
        assert worker.end() == 0, worker.said
    assert sum(finished(folder, seed) for seed in range(3)) == 2


def test_a_run_with_caps_on_the_whole_of_it_may_be_shared(site: Site) -> None:
    """How workers keep them: tests/agents/llm/test_shared_budgets.py."""
    folder = site.shared(max_tokens=1000, steps=1)
    with site.worker(folder.path) as worker:
        assert worker.end() == 0, worker.said
    assert site.record(folder).closed
