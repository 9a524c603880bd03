"""What an evaluation may use, files that a submission wrote, and how work that cannot be counted is told."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aira_evaluator.lra.contract.refusal import RefusedError, read_file
from aira_evaluator.lra.graphs.cost import HIDDEN_SHARE, SUPERLINEAR_FROM, Kind, Work, superlinear_share
from aira_evaluator.lra.training.growth import Growth, ScaledModule
from aira_evaluator.lra.training.limits import EvaluationClock, JudgeLimits, NeighbourClock

KINDS = st.sampled_from([("dot", "2"), ("dot", "3", "batch 2"), ("add", "1"), ("sort", "2")])
COUNTED = st.dictionaries(KINDS, st.floats(0, 1e12), max_size=4)


def test_without_limits_everything_fits(capsys: pytest.CaptureFixture[str]) -> None:
    free = JudgeLimits()
    assert free.array_bytes == math.inf
    free.require_memory(1e30, "to be trained")
    EvaluationClock(free, time.monotonic() - 1e6).require(1e9)


def test_the_process_itself_takes_its_part_of_the_memory() -> None:
    assert JudgeLimits(memory_mib=768).array_bytes == 0
    assert JudgeLimits(memory_mib=100).array_bytes == 0, "never negative"
    assert JudgeLimits(memory_mib=769).array_bytes == 2**20
    limits = JudgeLimits(memory_mib=868)
    limits.require_memory(100 * 2**20, "to be trained")
    with pytest.raises(RefusedError) as refused:
        limits.require_memory(100 * 2**20 + 1, "to be trained")
    assert str(refused.value) == "the module needs 100 MiB to be trained, there are 100 MiB"


def test_laps_add_up_to_the_time_there_was() -> None:
    started_s = time.monotonic()
    clock = EvaluationClock(JudgeLimits(), started_s)
    laps = [clock.lap(name) for name in ("reading", "training", "reading")]
    ended_s = time.monotonic()
    assert set(clock.used_s) == {"reading", "training"}
    assert clock.used_s["reading"] == laps[0] + laps[2]
    assert 0 <= sum(laps) <= ended_s - started_s
    assert min(laps) >= 0


@pytest.mark.parametrize(("needed_s", "refused"), [(0, False), (22, False), (25.1, True), (1e9, True)])
def test_what_is_far_beyond_the_time_is_refused_before_it_is_begun(needed_s: float, refused: bool) -> None:
    now_s = time.monotonic()
    clock = EvaluationClock(JudgeLimits(timeout_s=20), now_s)
    if not refused:
        clock.require(needed_s)
        return
    with pytest.raises(RefusedError, match=r"would take about \d+ s, allowed are 20 s"):
        clock.require(needed_s)


def test_time_that_is_used_counts_as_well_as_time_that_is_needed() -> None:
    clock = EvaluationClock(JudgeLimits(timeout_s=20), time.monotonic() - 24)
    clock.lap("reading")
    clock.require(0.5)
    with pytest.raises(RefusedError):
        clock.require(2)


def test_public_rows_are_scored_only_in_time_that_is_there() -> None:
    clock = EvaluationClock(JudgeLimits(timeout_s=20), time.monotonic() - 12)
    clock.lap("training")
    assert clock.allows(7)
    assert not clock.allows(9)
    assert EvaluationClock(JudgeLimits(), time.monotonic() - 1e6).allows(1e9)


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_is_read_up_to_its_bound(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.py"
    path.write_bytes(bytes(size))
    assert read_file(path, 100) == bytes(size)


def test_what_is_no_plain_file_of_admitted_size_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(101))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    (tmp_path / "device").symlink_to(os.devnull)
    said = {}
    for name in ("large", "folder", "missing", "link", "device"):
        with pytest.raises(RefusedError) as refused:
            read_file(tmp_path / name, 100)
        said[name] = str(refused.value)
    assert said == {
        "large": "large is larger than 100 bytes",
        "folder": "folder cannot be read: Is a directory",
        "missing": "missing cannot be read: No such file or directory",
        "link": "link cannot be read: No such file or directory",
        "device": "device is not a regular file",
    }


def work(counted: dict[Kind, float]) -> Work:
    return Work(counted, 0)


@given(COUNTED, COUNTED, COUNTED)
def test_the_superlinear_share_is_a_share(
    short: dict[Kind, float], middle: dict[Kind, float], long: dict[Kind, float]
) -> None:
    assert 0 <= superlinear_share(work(short), work(middle), work(long)) <= 1 + 1e-9


@given(COUNTED, st.floats(1, 5.5))
def test_work_that_grows_less_than_the_bound_is_no_part_of_it(short: dict[Kind, float], growth: float) -> None:
    assume(all(amount > 1e-3 for amount in short.values()))
    middle, long = ({kind: factor * each for kind, each in short.items()} for factor in (growth**0.5, growth))
    assert superlinear_share(work(short), work(middle), work(long)) == 0


@given(COUNTED)
def test_work_that_grows_as_the_bound_does_is_all_of_it(short: dict[Kind, float]) -> None:
    middle, long = ({kind: factor * each for kind, each in short.items()} for factor in (3.0, SUPERLINEAR_FROM))
    assert superlinear_share(work(short), work(middle), work(long)) == (1.0 if sum(long.values()) else 0.0)


@given(st.floats(1, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_quadratic_part_is_found_beside_linear_work_of_its_kind(
    linear: float, fixed: float, quadratic: float
) -> None:
    """The kind as a whole may grow by less than the bound; what of it is quadratic is found all the same."""
    counted = [work({("dot",): fixed + linear * each + quadratic * each**2}) for each in (1, 2, 4)]
    part = 16 * quadratic / counted[-1].total
    assume(abs(part - HIDDEN_SHARE) > 1e-6)
    share = superlinear_share(*counted)
    assert (share > 0) == (part > HIDDEN_SHARE)
    assert share in (0.0, 1.0) or share == pytest.approx(part)


@pytest.mark.parametrize("length", [8, 16, 100, 1024, 4096])
def test_a_transform_is_no_quadratic_work(length: int) -> None:
    counted = [work({("fft",): each * math.log2(each)}) for each in (length, 2 * length, 4 * length)]
    assert superlinear_share(*counted) == 0


def test_a_kind_that_only_longer_inputs_have_counts_as_growing() -> None:
    none, one = work({}), work({("add",): 1.0})
    assert superlinear_share(none, none, work({("dot",): 3.0, ("add",): 1.0})) == 1.0
    assert superlinear_share(one, one, work({("dot",): 3.0, ("add",): 1.0})) == 0.75


def grown(first: float, last: float) -> Growth:
    def module(scale: int, amount: float) -> ScaledModule:
        return ScaledModule(scale, work({("dot",): amount, ("add",): 10.0 * scale}), ((), {}), None, None)

    return Growth([module(1, first), module(2, math.sqrt(first * last)), module(4, last)])


def test_work_beyond_all_numbers_is_quadratic_and_told_in_a_report_that_json_holds() -> None:
    """A branch that is never taken may hold loops in loops whose trips multiply beyond any float."""
    for first, last in ((1.0, math.inf), (math.inf, math.inf)):
        growth = grown(first, last)
        assert growth.quadratic
        told = json.loads(json.dumps(growth.details(), allow_nan=False))
        assert told["superlinear_share"] == 1.0
        assert told["x4"]["work"] == "beyond 1e300"


@pytest.mark.parametrize(("last", "quadratic"), [(40.0, False), (55.0, False), (80.0, True), (1600.0, True)])
def test_growth_by_work_alone_is_decided_at_the_bound(last: float, quadratic: bool) -> None:
    assert grown(10.0, last).quadratic == quadratic


def test_a_module_that_was_not_traced_at_every_length_is_called_nothing() -> None:
    part = Growth(grown(1.0, math.inf).modules[:2])
    assert not part.measured
    assert not part.quadratic
    assert part.details()["superlinear_share"] is None


def test_limits_are_read_as_the_host_writes_them() -> None:
    written = json.dumps({"timeout_s": 300.0, "memory_mib": 3072})
    assert asdict(JudgeLimits(**json.loads(written))) == {"timeout_s": 300.0, "memory_mib": 3072}
    with pytest.raises(TypeError):
        JudgeLimits(**json.loads('{"timeout": 300.0}'))


def test_what_neighbours_took_is_none_of_the_time_a_training_is_refused_for() -> None:
    """With twenty neighbours a module that passes alone was refused after 503 s: its training would take too long."""
    taken_s = [0.0]
    clock = EvaluationClock(JudgeLimits(timeout_s=20), time.monotonic() - 200, lambda: taken_s[0])
    taken_s[0] = 190.0
    assert clock.lap("training") == pytest.approx(10, abs=2)
    clock.require(12)
    with pytest.raises(RefusedError, match=r"would take about 4[0-4] s"):
        clock.require(30)


def test_a_process_that_works_alone_loses_little_and_one_beside_others_does() -> None:
    """Figures of a real machine: a neighbour on each core takes about half of them."""
    cores = sorted(os.sched_getaffinity(0))
    spin = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"
    clock, began_s = NeighbourClock(), time.monotonic()
    neighbours = [subprocess.Popen([sys.executable, "-c", spin, str(core)]) for core in cores]
    try:
        time.sleep(2)
        passed_s, taken_s = time.monotonic() - began_s, clock.taken_s()  # before they are waited for, as children are
    finally:
        for process in neighbours:
            process.kill()
            process.wait()
    assert 0.4 * passed_s < taken_s <= passed_s + 0.1  # idle time is told in hundredths
