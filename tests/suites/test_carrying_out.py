"""A suite carried out: every cell once, whatever stops or fails on the way, by the runs that a user begins."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aira_bench
from aira_bench.errors import EngineAway, MachineError, ModelError, PrerequisiteError, RunStateError, UsageError
from aira_bench.hidden_keys import make_hidden_key
from aira_bench.record.folder import RunFolder, list_runs
from aira_bench.record.new_run import making_run
from aira_bench.record.run_record import read_run
from aira_bench.runs.host import Host
from aira_bench.runs.session import Progress
from aira_bench.suites import progress as carrying
from aira_bench.suites.progress import SuiteCaps, capped, state_of
from aira_bench.suites.suite_file import SuiteCell
from played_host import played_host, played_sandbox
from suites.played_suites import TWO_BY_TWO, Watching, carried_out, cost_of, suite_host, written


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine on which a suite has ended."""
    folder = tmp_path_factory.mktemp("finished")
    assert {end.state for end in carried_out(suite_host(folder), written(folder))} == {"ended"}
    return folder


@pytest.fixture
def over(finished: Path, place: Path) -> Host:
    """The same in a place of the test's own."""
    shutil.copytree(finished, place, dirs_exist_ok=True)
    return suite_host(place)


def scores(folder: Path) -> dict[str, list[tuple[int, int, float | None]]]:
    """Of each run every step's fitness, by seed."""
    found = {}
    for run in list_runs(folder):
        record = read_run(run, aira_bench.api.KeyFolder(folder / "no-keys").ring())
        found[run.path.name] = [(seed.seed, node.step, node.fitness) for seed in record.seeds for node in seed.nodes]
    return found


def trainings(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """Of each run the scores that confirm what was submitted, by seed."""
    ring = aira_bench.api.KeyFolder(folder / "no-keys").ring()
    return {
        run.path.name: [
            tuple(score.test for score in seed.confirmations.scores[seed.submitted.step])
            for seed in read_run(run, ring).seeds
            if seed.submitted
        ]
        for run in list_runs(folder)
    }


def test_every_cell_is_a_run_as_a_user_begins_it(place: Path) -> None:
    host, plan = suite_host(place), written(place)
    ends = carried_out(host, plan)
    assert [(end.cell.name, end.state, end.error) for end in ends] == [
        (name, "ended", None)
        for name in ("random-mad-2p", "evolution-mad-2p", "random-mad-3p", "evolution-mad-3p")
    ]  # fmt: skip
    alone = played_host(place / "alone", played_sandbox())
    request = aira_bench.RunRequest("evolution", "mad-2p", "cpu", seeds=(0, 1), steps=3, name="evolution-mad-2p")
    aira_bench.run(request, alone)
    found = scores(host.paths.runs)
    assert found["evolution-mad-2p"] == scores(alone.paths.runs)["evolution-mad-2p"]
    assert (host.paths.runs / "suite.toml").read_text() == TWO_BY_TWO
    assert [len(steps) for steps in found.values()] == [6] * 4


def test_the_same_again_does_nothing(place: Path, over: Host) -> None:
    host, plan = over, written(place)
    before = {path: path.stat().st_mtime_ns for path in host.paths.runs.glob("*/record.jsonl")}
    watch = Watching()
    assert {end.state for end in carried_out(host, plan, watch)} == {"ended"}
    assert watch.cells == []
    assert {path: path.stat().st_mtime_ns for path in host.paths.runs.glob("*/record.jsonl")} == before


@pytest.mark.parametrize("stopped_in", ["random-mad-2p", "evolution-mad-3p"])
def test_a_suite_that_was_stopped_goes_on_to_the_same_end(place: Path, finished: Path, stopped_in: str) -> None:
    host, plan = suite_host(place), written(place)
    stopping = iter([True])

    def stop_once(cell: str, progress: Progress) -> None:
        if cell == stopped_in and progress.step >= 2 and next(stopping, False):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(host, plan, Watching(stop_once))
    watch = Watching()
    assert {end.state for end in carried_out(host, plan, watch)} == {"ended"}
    assert watch.cells[0] == (stopped_in, "begun")
    assert scores(host.paths.runs) == scores(suite_host(finished).paths.runs)


def test_a_cell_that_fails_keeps_no_other_from_running(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    text = TWO_BY_TWO.replace('["random", "evolution"]', '["gemini3pro", "random"]')
    ends = carried_out(suite_host(place), written(place, text))
    states = [(end.cell.name, end.state, None if end.error is None else type(end.error)) for end in ends]
    assert states == [
        ("gemini3pro-mad-2p", "absent", PrerequisiteError), ("random-mad-2p", "ended", None),
        ("gemini3pro-mad-3p", "absent", PrerequisiteError), ("random-mad-3p", "ended", None),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [MachineError("the disk is full"), EngineAway("nobody answers")])
def test_what_fails_all_cells_stops_the_suite(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: MachineError | EngineAway
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(carrying.api, "run", fail)
    with pytest.raises(type(error)):
        carried_out(suite_host(place), written(place))


def test_any_other_error_is_the_cells_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("the key is not taken")

    monkeypatch.setattr(carrying.api, "run", fail)
    ends = carried_out(suite_host(place), written(place))
    assert [(end.state, str(end.error)) for end in ends] == [("absent", "the key is not taken")] * 4


def test_a_cell_that_another_process_works_on_is_left_to_it(place: Path, over: Host) -> None:
    host, plan = over, written(place)
    lock = RunFolder(host.paths.runs / "random-mad-2p").lock()
    try:
        watch = Watching()
        ends = carried_out(host, plan, watch)
    finally:
        os.close(lock)
    assert [end.state for end in ends] == ["live", "ended", "ended", "ended"]
    assert watch.cells == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps = 3", "steps = 4"), "was begun with steps 3, and the suite has 4 now"),
        (("seeds = 2", "seeds = 3"), "was begun with seeds 0,1, and the suite has 0,1,2 now"),
        (("steps = 3", "steps = 3\nhours = 0.5"), "was begun with hours"),
        (("steps = 3", "steps = 3\nseed_max_tokens = 9"), "was begun with seed_max_tokens None"),
        (("steps = 3", 'steps = 3\nmemory = "none"'), "was begun with memory paper"),
        (("steps = 3", "steps = 3\nstep_timeout_s = 9"), "was begun with step_timeout_s"),
        (("steps = 3", "steps = 3\nscore_cache = false"), "was begun with score_cache True"),
        (("steps = 3", "steps = 3\nconfirm = false"), "was begun with confirm True"),
        (("steps = 3", "steps = 3\nconcurrency = 7"), "was begun with concurrency"),
    ],
)
def test_a_run_of_another_plan_is_no_cell_of_the_suite(
    place: Path, over: Host, change: tuple[str, str], said: str
) -> None:
    host = over
    plan = written(place, TWO_BY_TWO.replace(*change))
    (cell, *_) = cost_of(plan, host).cells
    with pytest.raises(UsageError, match=said):
        state_of(host.paths.runs, cell)
    assert {type(end.error) for end in carried_out(host, plan)} == {UsageError}


def test_hidden_data_of_another_key_is_another_plan_and_another_machine_is_none(place: Path, over: Host) -> None:
    host, plan = over, written(place)
    (cell, *_) = cost_of(plan, host).cells
    assert state_of(host.paths.runs, replace(cell, plan=cell.plan.model_copy(update={"concurrency": 9}))) == "ended"
    make_hidden_key(place / "other.key")
    other = [replace(each, request=replace(each.request, hidden_key=str(place / "other.key"))) for each in plan.cells]
    (cell, *_) = cost_of(replace(plan, cells=tuple(other)), host).cells
    with pytest.raises(UsageError, match="was begun with hidden_key None"):
        state_of(host.paths.runs, cell)


@pytest.mark.parametrize("trained", [0, 2, 5])
def test_a_cell_is_over_once_it_is_confirmed(place: Path, finished: Path, trained: int) -> None:
    """Its searches end, and are recorded to have, before what they submitted is trained again."""
    host, plan = suite_host(place), written(place)
    left = [trained]

    def stop(cell: str, progress: Progress) -> None:
        if progress.confirming and cell == "evolution-mad-2p":
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(host, plan, Watching(stop))
    cells = {cell.cell.name: cell for cell in cost_of(plan, host).cells}
    assert state_of(host.paths.runs, cells["random-mad-2p"]) == "ended"
    assert state_of(host.paths.runs, cells["evolution-mad-2p"]) == "begun"
    watch = Watching()
    assert {end.state for end in carried_out(host, plan, watch)} == {"ended"}
    assert watch.cells[0] == ("evolution-mad-2p", "begun")
    found, expected = (trainings(folder) for folder in (host.paths.runs, suite_host(finished).paths.runs))
    assert found == expected
    assert {len(each) for run in found.values() for each in run} == {3}


def test_whoever_comes_to_a_cell_a_moment_later_leaves_it_to_the_first(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw that it was absent, or stopped; one has made it, or has its lock, before the other comes that far."""
    host, plan = suite_host(place), written(place)
    run, locks = carrying.api.run, list[int]()

    def late(request: aira_bench.RunRequest, *rest: object, **more: object) -> object:
        if request.name == "random-mad-2p":
            with making_run(host.paths.runs, "random-mad-2p"):
                return run(request, *rest, **more)  # type: ignore[arg-type]
        if request.name == "random-mad-3p":
            run(request, *rest, **more)  # type: ignore[arg-type]
            locks.append(RunFolder(host.paths.runs / "random-mad-3p").lock())
        return run(request, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(carrying.api, "run", late)
    try:
        ends = carried_out(host, plan)
    finally:
        for lock in locks:
            os.close(lock)
    assert [(end.state, end.error) for end in ends] == [
        ("live", None), ("ended", None), ("live", None), ("ended", None)
    ]  # fmt: skip


def test_a_run_that_cannot_be_read_is_named_and_the_others_run(place: Path, over: Host) -> None:
    host, plan = over, written(place)
    (host.paths.runs / "random-mad-2p" / "manifest.json").write_text("{")
    shutil.rmtree(host.paths.runs / "evolution-mad-3p")
    ends = carried_out(host, plan)
    assert [end.state for end in ends] == ["begun", "ended", "ended", "ended"]
    assert isinstance(ends[0].error, RunStateError)


MIXED = TWO_BY_TWO.replace('["random", "evolution"]', '["random", "gpt5", "cwm"]')


def test_what_seeds_may_take_together_is_never_more_than_the_cap(place: Path) -> None:
    plan, host = written(place, MIXED), suite_host(place)
    cost = cost_of(plan, host)

    @given(
        usd=st.floats(0.01, 1e6),
        tokens=st.integers(1000, 10**9),
        hours=st.floats(0.26 * 6, 1e5),
        seeds=st.integers(1, 99),
    )
    def holds(usd: float, tokens: int, hours: float, seeds: int) -> None:
        costs = tuple(
            replace(
                each,
                plan=each.plan.model_copy(update={"seeds": tuple(range(seeds))}),
                confirming=each.confirming * (seeds / 2),
            )
            for each in cost.cells
        )
        if hours / (6 * seeds) < 0.26:
            with pytest.raises(UsageError, match="nothing is left to search"):
                capped(plan, replace(cost, cells=costs), SuiteCaps(hours=hours / 1.1))
            return
        found = capped(plan, replace(cost, cells=costs), SuiteCaps(usd, tokens, hours))
        requests = [cell.request for cell in found.cells]
        assert sum(seeds * (each.seed_max_cost_usd or 0) for each in requests) <= usd * (1 + 1e-12)
        assert sum(seeds * (each.seed_max_tokens or 0) for each in requests) <= tokens
        confirming = 3 * 300 / 3600
        assert sum(seeds * (each.hours or 1e9) + seeds * confirming for each in requests) <= hours * (1 + 1e-12)
        assert {each.seed_max_cost_usd is None for each in requests if each.agent != "gpt5"} == {True}, "no prices"
        assert {each.seed_max_tokens is None for each in requests if each.agent == "random"} == {True}, "no model"
        assert len({each.seed_max_tokens for each in requests if each.agent != "random"}) == 1, "all alike"

    holds()


def test_shares_by_hand(place: Path) -> None:
    """12 seeds, of which 4 have a priced model and 8 ask one."""
    plan, host = written(place, MIXED), suite_host(place)
    found = capped(plan, cost_of(plan, host), SuiteCaps(usd=10, tokens=1000, hours=6))
    by_agent = {cell.request.agent: cell.request for cell in found.cells}
    assert by_agent["gpt5"].seed_max_cost_usd == 2.5
    assert by_agent["cwm"].seed_max_tokens == by_agent["gpt5"].seed_max_tokens == 125
    assert by_agent["random"].hours == 0.25, "of half an hour the limits of three trainings are set aside, 300 s each"
    alone = written(place, MIXED.replace("steps = 3", "steps = 3\nconfirm = false"))
    assert {each.request.hours for each in capped(alone, cost_of(alone, host), SuiteCaps(hours=6)).cells} == {0.5}
    with pytest.raises(
        UsageError, match=r"0\.25 h are each seed's share, and what confirms one of .* may take 0\.25 h"
    ):
        capped(plan, cost_of(plan, host), SuiteCaps(hours=3))
    assert capped(plan, cost_of(plan, host), SuiteCaps()) == plan
    with pytest.raises(UsageError, match="3 among 8 seeds leaves nothing"):
        capped(plan, cost_of(plan, host), SuiteCaps(tokens=3))


def test_capping_ten_times_the_cells_takes_ten_times_as_long(place: Path) -> None:
    """Equality of cells compares whole tasks: a search through a list of them for each of them was quadratic."""
    plan, host = written(place, MIXED), suite_host(place)
    cost = cost_of(plan, host)

    def compared(times: int) -> int:
        asked = [0]

        class Counting(SuiteCell):
            def __eq__(self, other: object) -> bool:
                asked[0] += 1
                return self is other

            __hash__ = None  # type: ignore[assignment]

        cells = tuple(
            Counting(replace(each.request, name=f"{each.request.name}-{copy}"), each.task)
            for copy in range(times)
            for each in plan.cells
        )
        costs = tuple(replace(of, cell=cell) for cell, of in zip(cells, cost.cells * times, strict=True))
        capped(replace(plan, cells=cells), replace(cost, cells=costs), SuiteCaps(usd=1e6, tokens=10**9, hours=1e6))
        return asked[0]

    assert compared(20) <= 10 * max(1, compared(2))
