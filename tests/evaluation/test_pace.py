"""Trainings beside neighbours who never leave: what a script is told, and when it is scored."""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.evaluation.pace import Pace, was_fair
from aira_bench.evaluation.script_training import ATTEMPTS, BEGAN, training_in
from aira_bench.sandbox.core_time import CoreHistory, CoreRecorder, CoreTime
from aira_bench.sandbox.sandbox import Artifact, StepOutcome
from aira_bench.testing.memory_sandbox import captured
from aira_contract.files import HANDOVER_FILE

BUDGET_S = 25.0


@dataclass(frozen=True)
class Script:
    """A script on two cores: seconds that its parts take alone. It starts up on one thread and trains on two."""

    start_up_s: float
    afterwards_s: float
    """To claim a score for its model, when that has been handed over."""

    def beside(self, groups: int, told_s: float, began_s: float = 1000.0) -> StepOutcome:
        """Be trained beside so many busy groups on each core, each of which gets what all of the script's gets."""
        alone, crowded = 1 / (groups + 1), 1 / (2 * groups + 1)
        parts = [
            (self.start_up_s / alone, 1 - alone),
            (told_s, 1 - crowded),
            (self.afterwards_s / crowded, 1 - crowded),
        ]
        at_s = [began_s, *accumulate((wall_s for wall_s, _ in parts), initial=began_s)][1:]
        lost_s = [*accumulate((wall_s * lost for wall_s, lost in parts), initial=0.0)]
        taken_s = [*accumulate((wall_s * (1 - crowded) for wall_s, _ in parts), initial=0.0)]
        files = {
            name: Artifact(name, None, 1, "", changed_s)  # type: ignore[arg-type]
            for name, changed_s in ((BEGAN.name, at_s[1]), (HANDOVER_FILE, at_s[2]))
        }
        return StepOutcome(
            "exited", 0, at_s[-1] - began_s, captured(b""), captured(b""), files, None, lost_s=lost_s[-1],
            taken_s=taken_s[-1], began_s=began_s, history=CoreHistory(at_s, lost_s, taken_s),
        )  # fmt: skip


def attempts_until_fair(script: Script, groups: int, pace: Pace) -> int | None:
    """As `ScriptTraining` does it; None where no training is fair."""
    for attempt in range(1, ATTEMPTS + 1):
        stretch = pace.for_training
        outcome = script.beside(groups, stretch * BUDGET_S)
        training = training_in(outcome)
        pace.saw(outcome.core_time())
        pace.saw_training(training)
        if was_fair(training, stretch, BUDGET_S, gpu=False):
            return attempt
    return None


@given(st.integers(1, 14), st.floats(0.5, 30), st.floats(0, 30))
def test_beside_neighbours_who_stay_the_second_training_is_fair_whatever_is_around_it(
    groups: int, start_up_s: float, afterwards_s: float
) -> None:
    """What it was told followed all of its time, much of it on one thread: beside ten groups on each of two cores 15.7
    times its budget and then 18.6, where a training of two threads takes 21 times as long.
    """
    pace, script = Pace(), Script(start_up_s, afterwards_s)
    assert attempts_until_fair(script, groups, pace) == 2
    assert attempts_until_fair(script, groups, pace) == 1, "the next script of the slot is told at once"
    assert pace.for_training == pytest.approx(2 * groups + 1)


@given(
    st.lists(st.tuples(st.integers(0, 14), st.floats(1, 60)), min_size=1, max_size=12),
    st.floats(1, 30),
)
def test_a_script_whose_budget_follows_is_fair_at_once_however_neighbours_come_and_go(
    neighbours: list[tuple[int, float]], told: float
) -> None:
    """Groups a core, and for how many seconds they stay; the last ones for good. What it was told does not matter."""
    wall_s = lost_s = 0.0
    for groups, stay_s in [*neighbours[:-1], (neighbours[-1][0], math.inf)]:
        crowded = 1 / (2 * groups + 1)
        passed_s = min(stay_s, (BUDGET_S - (wall_s - lost_s)) / crowded)
        wall_s, lost_s = wall_s + passed_s, lost_s + passed_s * (1 - crowded)
    training = CoreTime(wall_s, lost_s, lost_s)
    assert was_fair(training, told, BUDGET_S, gpu=False)


def test_a_script_alone_is_told_nothing_and_trained_once() -> None:
    assert attempts_until_fair(Script(8, 6), 0, Pace()) == 1
    pace = Pace()
    assert attempts_until_fair(Script(8, 6), 10, pace) == 2
    assert attempts_until_fair(Script(8, 6), 0, pace) == 2, "once neighbours have left it had too much"
    assert pace.for_training == 1.0


def test_a_judge_that_saw_no_neighbours_has_the_next_script_told_nothing() -> None:
    pace = Pace()
    attempts_until_fair(Script(8, 6), 10, pace)
    pace.saw(Script(0, 100).beside(0, 0.0).core_time())
    assert pace.for_training == 1.0


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 1), st.floats(0, 1)), min_size=1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_parts_of_a_course_add_up_to_all_of_it(
    passed: list[tuple[float, float, float]], first: float, second: float
) -> None:
    recorder, now = CoreRecorder(), (5.0, 0.0, 0.0)
    recorder.take(*now)
    for wall_s, lost, taken in passed:
        now = now[0] + wall_s, now[1] + lost * wall_s, now[2] + taken * wall_s
        recorder.take(*now)
    history = recorder.history()
    length_s = now[0] - 5.0
    moments = [5.0, *sorted(5.0 + part * length_s for part in (first, second)), now[0]]
    parts = [history.between(*ends) for ends in pairwise(moments)]
    for each in ("wall_s", "lost_s", "taken_s"):
        added = sum(getattr(part, each) for part in parts)
        assert added == pytest.approx(getattr(history.between(5.0, now[0]), each), abs=1e-6)
    whole = history.between(5.0, now[0])
    assert whole is not None
    assert whole.lost_s == pytest.approx(now[1], abs=1e-6)
    assert whole.taken_s == pytest.approx(now[2], abs=1e-6)


def test_a_history_is_kept_in_bounded_memory_and_stays_true() -> None:
    recorder = CoreRecorder()
    for second in range(100_000):
        recorder.take(float(second), 0.5 * second, 0.75 * second)
        recorder.take(float(second), 0.0, 0.0)  # a look that came too soon
    history = recorder.history()
    assert len(history.at_s) <= 4096
    part = history.between(31_234.5, 97_000.25)
    assert part is not None
    assert part.lost_s == pytest.approx(0.5 * part.wall_s)
    assert part.taken_s == pytest.approx(0.75 * part.wall_s)


def test_of_a_part_that_is_not_known_all_of_the_time_is_looked_at() -> None:
    outcome = Script(8, 6).beside(3, 25.0)
    whole = outcome.core_time()
    assert (whole.wall_s, whole.lost_s) == (outcome.wall_s, outcome.lost_s)
    assert outcome.core_time(math.nan, 1010.0) == whole
    assert outcome.core_time(900.0, 1010.0) == whole, "before the first look at the cores"
    assert outcome.core_time(1020.0, 1010.0) == whole, "handed over before the first batch was drawn"
    assert CoreHistory().between(0.0, 1.0) is None
