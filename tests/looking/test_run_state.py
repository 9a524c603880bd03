"""How a run stands: what is left, when it may end, what was waited for; by hand."""

import pytest

from aira_bench.looking.run_state import (
    RunCaps,
    RunState,
    SeedState,
    best_so_far,
    ends_in_s,
    hours_left,
    steps_left,
    troubles_of,
)
from aira_bench.record.growing import Growing
from aira_bench.record.node import Node, StepClass, Timings


def node(
    step: int, fitness: float | None = None, total_s: float = 60.0, waited: dict[str, float] | None = None, attempts: int = 1,
    step_class: StepClass | None = None,
) -> Node:  # fmt: skip
    found: StepClass = step_class or ("buggy" if fitness is None else "valid")
    times = Timings(total_s=total_s, waited_s=waited or {})
    return Node(step, "draft", (), found, "", fitness, None, "c" * 64, None, attempts=attempts, timings=times)


def test_the_best_so_far_is_of_valid_steps_in_the_task_s_direction() -> None:
    nodes = [node(1), node(2, 0.5), node(3, 0.4), node(4, 0.9), node(5)]
    assert best_so_far(nodes, lower_is_better=False) == [None, 0.5, 0.5, 0.9, 0.9]
    assert best_so_far(nodes, lower_is_better=True) == [None, 0.5, 0.4, 0.4, 0.4]


def test_it_counts_each_step_once_while_the_list_grows() -> None:
    growing = Growing([node(1, 0.5)])
    assert best_so_far(growing.so_far(), lower_is_better=False) == [0.5]
    growing.append(node(2, 0.7))
    assert best_so_far(growing.so_far(), lower_is_better=False) == [0.5, 0.7]


@pytest.mark.parametrize(
    ("steps", "hours", "expected"),
    [
        (10, None, 8 * 90.0),  # 2 steps of 60 s and 30 s of waiting; 8 are left
        (10, 1.0, 8 * 90.0),  # 58 minutes are left, in which 58 steps would fit
        (10, 1 / 12, 180 * 1.5),  # 3 of 5 minutes are left, and waiting makes them half as long again
        (2, 1.0, 0.0),
    ],
)
def test_a_seed_ends_by_its_steps_or_its_hours_whichever_is_first(
    steps: int, hours: float | None, expected: float
) -> None:
    state = SeedState(0, 3, nodes=[node(1, waited={"slot": 20.0}), node(2, waited={"provider": 40.0})])
    assert ends_in_s(state, RunCaps(steps, hours)) == pytest.approx(expected)


def test_nobody_knows_before_the_first_step_and_an_ended_seed_is_over() -> None:
    assert ends_in_s(SeedState(0), RunCaps(5, 1.0)) is None
    assert ends_in_s(SeedState(0, is_over=True), RunCaps(5, 1.0)) == 0.0


def test_what_is_left() -> None:
    state = SeedState(0, nodes=[node(1, total_s=1800.0)])
    assert (steps_left(state, RunCaps(3, 2.0)), hours_left(state, RunCaps(3, 2.0))) == (2, 1.5)
    assert hours_left(state, RunCaps(3)) is None
    assert hours_left(state, RunCaps(3, 0.1)) == 0.0


def test_waiting_is_told_by_cause_and_retries_are_counted() -> None:
    first = SeedState(0, waits_for="provider", phase="429, next in 30 s",
                      nodes=[node(1, waited={"slot": 5.0}, attempts=3), node(2, waited={"slot": 1.0, "provider": 9.0})])  # fmt: skip
    second = SeedState(1, waits_for="slot", phase="waiting for a slot", nodes=[node(1, step_class="infra_error")])
    found = troubles_of(RunState("r", RunCaps(5), (first, second)))
    assert [(each.cause, each.now, each.seconds, each.steps) for each in found.waits] == [
        ("slot", 1, 6.0, 2), ("provider", 1, 9.0, 1),
    ]  # fmt: skip
    assert (found.retries, found.lost, found.words) == (2, 1, ("429, next in 30 s",))
