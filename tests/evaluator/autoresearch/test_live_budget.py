"""`TIME_BUDGET` of a script beside neighbours: what a loop that compares its own seconds with it has of its cores."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_evaluator.autoresearch.fit.live_budget import CoreUse, LiveBudget, core_use, slowdown

BUSY = "while True: pass"
LOOP = """
import os, time
os.sched_setaffinity(0, [{core}])
from aira_evaluator.autoresearch.fit.live_budget import LiveBudget
budget = LiveBudget({told}, 2)
time.sleep(0.3)
budget.begin()
began_s, before_s = time.perf_counter(), time.process_time()
while time.perf_counter() - began_s < {compared}:
    sum(range(2000))
print(time.perf_counter() - began_s, time.process_time() - before_s)
"""


@contextmanager
def neighbours(core: int, count: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Loops on one core, each in a session of its own, so that the kernel gives each as much as all of a script."""
    code = f"import os; os.sched_setaffinity(0, [{core}])\n{BUSY}"
    loops = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for _ in range(count)]
    try:
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def trained(core: int, told: float = 2.0, compared: str = "budget") -> "subprocess.Popen[str]":
    code = LOOP.format(core=core, told=told, compared=compared)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)


def seconds(script: "subprocess.Popen[str]") -> tuple[float, float]:
    """By the wall's clock, and those of them that it ran."""
    said, _ = script.communicate(timeout=110)
    wall_s, ran_s = map(float, said.split())
    return wall_s, ran_s


@pytest.fixture
def core() -> int:
    return max(os.sched_getaffinity(0))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("told", [2.0, 20.0], ids=["nothing", "ten times"])
def test_a_loop_beside_neighbours_has_its_core_for_its_budget_whatever_it_was_told(core: int, told: float) -> None:
    with neighbours(core, 4):
        wall_s, ran_s = seconds(trained(core, told))
    assert wall_s > 4, "others had most of the core"
    assert ran_s == pytest.approx(2.0, abs=0.4), "the bound that a training has to keep"


@pytest.mark.timeout(120)
def test_a_loop_that_reads_the_number_once_has_what_the_host_told(core: int) -> None:
    with neighbours(core, 4):
        wall_s, ran_s = seconds(trained(core, 3.0, "float.__add__(budget, 0.0)"))
    assert wall_s == pytest.approx(3.0, abs=0.5)
    assert ran_s < 1.6


@pytest.mark.timeout(120)
def test_neighbours_who_leave_in_the_middle_are_followed(core: int) -> None:
    with neighbours(core, 6) as loops:
        script = trained(core)
        time.sleep(4.0)
        for loop in loops:
            os.kill(loop.pid, signal.SIGSTOP)
        _, ran_s = seconds(script)
    assert ran_s == pytest.approx(2.0, abs=0.4)


shares = st.floats(0.01, 1)


@given(st.integers(1, 16), st.floats(0.1, 1e4), shares)
def test_on_cores_of_its_own_a_training_is_worth_its_budget_however_many_threads_it_has(
    cores: int, passed_s: float, share: float
) -> None:
    """Threads that crowd each other wait, but run as long as there are cores."""
    for threads in (1, cores, 3 * cores):
        run_s = min(threads, cores) * passed_s
        waited_s = threads * passed_s - run_s
        assert slowdown(CoreUse(5, 1, 1), CoreUse(5 + passed_s, 1 + run_s, 1 + waited_s), cores, 1.0, 0.5) == 1.0
    slept = CoreUse(5 + passed_s, 1 + share * passed_s, 1)
    assert slowdown(CoreUse(5, 1, 1), slept, cores, 1.0, 0.5) == 1.0, "what sleeps loses nothing"


@given(st.integers(1, 16), shares, st.floats(1, 30))
def test_threads_that_had_a_share_of_their_cores_take_as_many_times_longer(
    cores: int, share: float, told: float
) -> None:
    passed_s = 1000.0 / share
    now = CoreUse(passed_s, cores * 1000.0, cores * (passed_s - 1000.0))
    found = slowdown(CoreUse(0, 0, 0), now, cores, told, 0.5)
    assert found == pytest.approx(1 / share, rel=0.05 + 0.001 * told) or (found == 1.0 and share > 0.95)


def played(*uses: CoreUse | None, told: float = 25) -> LiveBudget:
    looks = iter(uses)
    return LiveBudget(told, 25, lambda: next(looks))


def test_alone_it_is_the_whole_number_that_it_was() -> None:
    budget = LiveBudget(25, 25, lambda: CoreUse(time.monotonic(), 1.0, 0.0))
    budget.begin()
    assert (f"{budget}", f"{budget:d}", f"{budget:.1f}", repr(budget)) == ("25", "25", "25.0", "25")
    assert (budget + 1, 1 - budget, budget / 2, 50 / budget, int(budget), len(range(budget))) == (
        26,
        -24,
        12.5,
        2,
        25,
        25,
    )  # type: ignore[call-overload]
    assert 24.9 < budget <= 25
    assert budget == 25.0
    assert isinstance(budget, float)
    assert type(pickle.loads(pickle.dumps(budget))) is float


def test_before_training_begins_and_where_the_kernel_does_not_tell_it_is_what_was_told() -> None:
    assert float(played(told=80)) == 80
    silent = played(None, told=80)
    silent.begin()
    assert float(silent) == 80
    begun = played(CoreUse(0, 0, 0), None, told=80)
    begun.begin()
    assert float(begun) == 80


def test_what_is_told_counts_until_something_is_seen() -> None:
    begun = CoreUse(0, 0, 0)
    worth = []
    for wall_s in (0, 4, 40, 400):  # a tenth of one core
        budget = played(begun, CoreUse(wall_s, wall_s / 10, wall_s * 9 / 10), told=50)
        budget.begin()
        worth.append(float(budget))
    assert worth[0] == 50
    assert all(one < other for one, other in pairwise(worth))
    assert worth[-1] == pytest.approx(250, rel=0.02)


def test_this_kernel_tells_what_a_process_waited() -> None:
    use = core_use()
    assert use is not None
    assert use.run_s > 0
