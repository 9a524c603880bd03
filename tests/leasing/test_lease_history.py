"""That tests of clusters would see two attempts that have a seed at a time: a real run's leases, broken on purpose."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aira_bench.record.folder import RunFolder
from lease_history import lease_faults
from shared_runs import Site, finished

Entry = dict[str, object]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that two workers had, one after the other."""
    site = Site(tmp_path_factory.mktemp("site"), {"AIRA_PLAYED_STEP_S": "0.3"})
    folder = site.shared(seeds=(0,), steps=3)
    with site.worker(folder.path) as worker:
        worker.wait_for(lambda: finished(folder) >= 1)
        worker.signal(signal.SIGTERM)
        worker.end()
    with site.worker(folder.path) as worker:
        assert worker.end() == 0, worker.said
    return folder


@pytest.fixture
def turns(worked: RunFolder) -> Iterator[list[Path]]:
    """The files of all turns at its seed; what a test makes of them is undone."""
    paths = sorted(path for path in (worked.path / "leases" / "0").iterdir() if path.name.isdigit())
    before = {path: path.read_bytes() for path in paths}
    yield paths
    for path in (worked.path / "leases" / "0").iterdir():
        if path.name.isdigit():
            path.unlink()
    for path, data in before.items():
        path.write_bytes(data)


def test_two_workers_one_after_the_other_are_no_fault(worked: RunFolder, turns: list[Path]) -> None:
    assert lease_faults(worked, 0) == []
    assert [json.loads(path.read_bytes())["state"] for path in turns] == ["held", "released", "held", "over"]


def changed(turn: Path, **changes: object) -> None:
    turn.write_text(json.dumps(json.loads(turn.read_bytes()) | changes))


def added(turns: list[Path], like: int, **changes: object) -> None:
    path = turns[-1].with_name(f"{len(turns) + 1:08d}")
    path.write_bytes(turns[like].read_bytes())
    changed(path, **changes)


def removed(turns: list[Path]) -> None:
    for turn in turns:
        turn.unlink()


BREAKS: dict[str, tuple[Callable[[list[Path]], object], str]] = {
    "one attempt's number for two": (lambda turns: changed(turns[2], attempt=1), "each number once"),
    "another worker under a number": (lambda turns: changed(turns[2], worker="another"), "who never had it"),
    "given back by somebody else": (lambda turns: changed(turns[1], worker="another"), "who did not have it"),
    "taken when it was over": (lambda turns: added(turns, 2, attempt=3), "expected once and at last"),
    "over twice": (lambda turns: added(turns, 3), "expected once and at last"),
    "an attempt that nobody leased": (lambda turns: turns[0].unlink(), "none left out"),
    "no leases": (lambda turns: removed(turns), "nobody ever had it"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_what_is_broken_is_seen(worked: RunFolder, turns: list[Path], how: str) -> None:
    breaks, words = BREAKS[how]
    breaks(turns)
    assert any(words in fault for fault in lease_faults(worked, 0)), lease_faults(worked, 0)
