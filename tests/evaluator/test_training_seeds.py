"""Which training of a submission is asked for, and from which seed it begins."""

import pytest

from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import training_seed
from aira_evaluator.task_scripts.settings import training_in_force


def test_each_training_has_a_seed_of_its_own_and_the_first_is_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRA_TRAINING", raising=False)
    assert training_seed(7) == 7
    seeds = set()
    for number in range(50):
        monkeypatch.setenv("AIRA_TRAINING", str(number))
        assert training_in_force() == number
        assert training_seed(7) == training_seed(7) < 2**60
        seeds |= {training_seed(7), training_seed(8)}
    assert len(seeds) == 100


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1000", "one"])
def test_what_numbers_no_training_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRA_TRAINING", text)
    with pytest.raises(DataError, match="AIRA_TRAINING is"):
        training_seed(7)
