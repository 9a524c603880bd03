"""Deadlines: which of several limits comes first, and whose it is."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.deadline import Deadline, WorkClock

SECONDS = st.integers(0, 10_000).map(float)


@dataclass
class Clock:
    """Time that passes when it is told to."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_time_is_used_up_and_what_is_left_can_go_below_nothing() -> None:
    clock = Clock()
    deadline = Deadline.after(10, "hours", clock)
    clock.now_s += 4
    assert (deadline.used_s, deadline.left_s, deadline.has_passed) == (4, 6, False)
    clock.now_s += 6
    assert deadline.has_passed, "the moment itself is too late"
    clock.now_s += 1
    assert deadline.left_s == -1


@given(hours=SECONDS, used=SECONDS, cap=SECONDS)
def test_the_sooner_of_two_ends_the_work_and_says_whose_it_was(hours: float, used: float, cap: float) -> None:
    clock = Clock()
    whole = Deadline.after(hours, "hours", clock)
    clock.now_s += used
    inner = whole.within(cap, "step")
    assert inner.left_s == min(cap, hours - used)
    assert inner.owner == ("step" if cap <= hours - used else "hours")
    assert inner.used_s == 0, "it begins now"
    clock.now_s += cap
    assert inner.has_passed
    assert whole.has_passed or inner.owner == "step", "only its own cap ends work before its seed's hours do"


@given(hours=SECONDS, caps=st.lists(SECONDS, min_size=1, max_size=4), waits=st.lists(SECONDS, min_size=4, max_size=4))
def test_no_limit_inside_another_outlives_it(hours: float, caps: list[float], waits: list[float]) -> None:
    clock = Clock()
    deadline = whole = Deadline.after(hours, "hours", clock)
    for cap, wait in zip(caps, waits, strict=False):
        clock.now_s += wait
        deadline = deadline.within(cap, "evaluation")
        assert deadline.began_s + deadline.limit_s <= whole.began_s + whole.limit_s
    assert deadline.left_s <= whole.left_s


@given(limit=SECONDS, first=SECONDS, used=SECONDS)
def test_a_first_part_is_counted_from_where_the_whole_began(limit: float, first: float, used: float) -> None:
    clock = Clock()
    whole = Deadline.after(limit, "evaluation", clock)
    clock.now_s += used
    part = whole.first_part(first, "tracing")
    assert part.limit_s == min(limit, first), "waiting for a container does not change whose limit it is"
    assert part.owner == ("tracing" if first <= limit else "evaluation")
    assert part.used_s == whole.used_s


@given(limit=SECONDS, times=st.integers(1, 5), used=SECONDS)
def test_a_stretched_deadline_keeps_what_was_used(limit: float, times: int, used: float) -> None:
    clock = Clock()
    whole = Deadline.after(limit, "evaluation", clock)
    clock.now_s += used
    longer = whole.stretched(times)
    assert longer.left_s == times * limit - used
    assert (longer.owner, longer.used_s) == ("evaluation", used)


@given(limit=SECONDS, used=SECONDS, least=st.integers(0, 5).map(float))
def test_a_remainder_is_what_is_left_and_nobody_s_fault(limit: float, used: float, least: float) -> None:
    clock = Clock()
    whole = Deadline.after(limit, "evaluation", clock)
    clock.now_s += used
    rest = whole.remainder(least)
    assert (rest.limit_s, rest.owner) == (max(limit - used, least), "remainder")
    assert rest.used_s == 0


def test_two_clocks_do_not_make_deadlines_differ() -> None:
    assert Deadline("step", 5, 0, WorkClock(Clock())) == Deadline("step", 5, 0, WorkClock(Clock(7)))
    assert "clock" not in repr(Deadline.after(5, "step"))


@pytest.mark.parametrize("limit_s", [0.0, -3.0])
def test_work_that_gets_no_time_is_over_before_it_begins(limit_s: float) -> None:
    clock = Clock()
    spent = Deadline.after(limit_s, "hours", clock)
    assert spent.has_passed
    assert spent.within(60, "step").owner == "hours"
    assert spent.within(60, "step").limit_s <= 0
