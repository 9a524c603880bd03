"""Trainings that are done several at a time: what one that fails leaves of the others.

Tried through confirmations of whole runs: `test_launch`.
"""

import threading
from typing import cast

import pytest

from aira_bench.evaluation.submission_evaluator import SubmissionEvaluator
from aira_bench.runs.retraining import Retrainer
from aira_bench.runs.slots import SlotPool
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.waiting import Stopped, Waits


def retrainer(most: int) -> Retrainer:
    stop, spec = threading.Event(), ArtifactSpec.model_validate({"name": "model.py", "kind": "module"})
    unused = cast(SlotPool[SubmissionEvaluator], None)  # what is done here takes no slot
    return Retrainer(unused, most, spec, 60.0, Waits(stop), stop, lambda: None, lambda text: None)


@pytest.mark.parametrize("most", [1, 2, 8])
def test_nothing_begins_once_one_has_failed(most: int) -> None:
    begun, gate = list[int](), threading.Barrier(most)

    def work(number: int) -> None:
        begun.append(number)
        gate.wait(60)
        if number == 0:
            raise ValueError("the first one failed")
        trainer.waits.pause(10, "engine", "")

    trainer = retrainer(most)
    with pytest.raises(ValueError, match="the first one failed"):
        trainer.do_all(work, range(1000))
    assert sorted(begun) == list(range(most))


def test_what_is_stopped_from_outside_says_so() -> None:
    trainer, begun = retrainer(2), threading.Barrier(3)

    def work(number: int) -> None:
        begun.wait(60)
        trainer.waits.pause(10, "engine", "")

    def end() -> None:
        begun.wait(60)
        trainer.end()

    other = threading.Thread(target=end)
    other.start()
    with pytest.raises(Stopped):
        trainer.do_all(work, range(1000))
    other.join(10)


def test_all_are_done_where_none_fails() -> None:
    done: list[int] = []
    retrainer(2).do_all(done.append, range(1000))
    assert sorted(done) == list(range(1000))
