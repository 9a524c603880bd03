"""What a judge asks of the public rows that a script claims a number on: the same rows, last, and with no say."""

import json
import os
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import served_models as served
import torch

from aira_evaluator.autoresearch.contract.hidden_rows import read_public
from aira_evaluator.autoresearch.contract.profiles import CPU
from aira_evaluator.autoresearch.judge.judging import Judgement
from aira_evaluator.split_manifest import DataError

HIDDEN = served.hidden_set()
EVERYTHING = served.public_questions(10**6)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def unasked(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    """The honest model, asked about hidden rows alone."""
    return served.score(served.Bigram(), tmp_path_factory.mktemp("unasked"), HIDDEN)


def test_the_judges_public_rows_are_those_that_a_script_sums_over(
    prepared: Path, imported: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "FOLDER", tmp_path)
    rows = read_public(prepared / "hidden/data", "cpu").rows
    batches = imported.make_dataloader(imported.Tokenizer.from_directory(), 8, CPU.sequence_length, "val")
    count = imported.EVAL_TOKENS // (8 * CPU.sequence_length)
    seen = [torch.cat([x, y[:, -1:]], dim=1).numpy() for x, y, _ in (next(batches) for _ in range(count))]
    assert np.array_equal(np.concatenate(seen), rows.tokens)
    assert rows.tokens.shape == (CPU.public_validation_tokens // CPU.sequence_length, CPU.sequence_length + 1)
    with pytest.raises(DataError, match=r"the judge's public rows is .*'profile': 'cpu'"):
        read_public(prepared / "hidden/data", "paper")


def test_asked_for_everything_the_honest_overclaim_is_zero_and_a_loss_of_ones_own_shows(
    unasked: Judgement, tmp_path: Path
) -> None:
    split = EVERYTHING.split.rows
    for model, less in ((served.Bigram(), 0.0), (served.FocalLoss(), 0.1), (served.HalvedLoss(), 0.5)):
        found = served.score(model, tmp_path / type(model).__name__, HIDDEN, public=EVERYTHING)
        assert found.public is not None
        assert found.public.bpb == pytest.approx(served.true_bpb(split), abs=1e-6)
        assert found.public.standard_error < 1e-9
        assert found.splits == unasked.splits, "hidden scores are what they are without public questions"
        overclaim = found.public.bpb - served.claim(model, split)
        assert overclaim == pytest.approx(0, abs=1e-5) if less == 0 else overclaim > less


def test_a_sample_of_the_public_rows_is_within_its_error(tmp_path: Path) -> None:
    public = served.public_questions()
    found = served.score(served.Bigram(), tmp_path / "m", HIDDEN, public=public).public
    assert found is not None
    assert found.questions == served.QUESTIONS
    assert 0 < found.standard_error < 0.05 * found.bpb
    assert found.bpb == pytest.approx(served.true_bpb(public.split.rows), abs=4 * found.standard_error)


PUBLIC_ROWS = {tuple(row[: served.TOKENS // 2]) for row in EVERYTHING.split.rows.tokens.tolist()}


class Balks(served.Bigram):
    """Knows the public rows, and does something else there than to answer."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > served.TOKENS // 2 and any(
            tuple(row[: served.TOKENS // 2]) in PUBLIC_ROWS for row in x.tolist()
        ):
            self.balk()
        return super().logits(x)

    def balk(self) -> None:
        raise NotImplementedError


class Raises(Balks):
    def balk(self) -> None:
        raise RuntimeError("I know these rows")


class Exits(Balks):
    def balk(self) -> None:
        os._exit(0)


class Hangs(Balks):
    def balk(self) -> None:
        time.sleep(600)


@pytest.mark.parametrize("model", [Raises, Exits, Hangs])
def test_who_does_not_answer_about_public_rows_has_no_public_number_and_the_same_score(
    model: type[Balks], unasked: Judgement, tmp_path: Path
) -> None:
    began_s = time.monotonic()
    found = served.score(model(), tmp_path / "m", HIDDEN, public=EVERYTHING, lifetime_s=12)
    assert found.public is None
    assert (found.splits, found.flags) == (unasked.splits, ())
    assert time.monotonic() - began_s < 12, (
        "the host ends a predictor that outlives its time, and takes that for a failure"
    )


class Counts(served.Bigram):
    """Takes its time at every call."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return super().logits(x)


def test_public_rows_are_not_asked_about_where_the_time_would_not_do(unasked: Judgement, tmp_path: Path) -> None:
    found = served.score(Counts(), tmp_path / "m", HIDDEN, public=EVERYTHING, lifetime_s=4.5)
    assert found.public is None
    assert found.splits == unasked.splits


class Recorder(served.Bigram):
    """Writes down the rows it is shown, with its process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        with self.path.open("a") as file:
            file.writelines(json.dumps([os.getpid(), row]) + "\n" for row in x.tolist())
        return super().logits(x)


def test_no_hidden_question_is_asked_after_a_public_one(tmp_path: Path) -> None:
    served.score(Recorder(tmp_path / "log"), tmp_path / "m", HIDDEN, public=EVERYTHING)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    half = served.TOKENS // 2
    is_public = [len(row) > half and tuple(row[:half]) in PUBLIC_ROWS for _, row in lines]
    hidden = {tuple(row[:half]) for split in HIDDEN.splits.values() for row in split.tokens.tolist()}
    is_hidden = [len(row) > half and tuple(row[:half]) in hidden for _, row in lines]
    assert any(is_public)
    assert not any(is_hidden[is_public.index(True) :])
    assert {process for process, _ in lines[is_public.index(True) :]} == {lines[-1][0]}, "of the last container alone"
