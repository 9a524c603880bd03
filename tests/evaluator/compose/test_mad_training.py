"""Training and scoring: repeatable to the last digit, honest about divergence, at chance without mixing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aira_contract.reports import PUBLIC
from aira_evaluator.compose.mad.copying import Compression, Memorization
from aira_evaluator.compose.mad.fitting import guesses_of
from aira_evaluator.compose.mad.models import Prediction
from aira_evaluator.compose.mad.profiles import CPU, MadProfile
from aira_evaluator.compose.mad.recall import InContextRecall
from aira_evaluator.compose.mad.split_scores import SplitScore, train_and_score
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import IGNORED, Corpus
from aira_evaluator.compose.training.steps import Diverged

DEVICE = torch.device("cpu")
TINY = replace(
    CPU,
    name="tiny",
    tasks={
        "in-context-recall": InContextRecall(vocabulary=8, length=8),
        "compression": Compression(vocabulary=4, length=4),
        "memorization": Memorization(vocabulary=16, length=8),
    },
    train_examples=160,
    validation_examples=64,
    test_examples=64,
    epochs=2,
)


@pytest.fixture(autouse=True, scope="module")
def _deterministic() -> None:
    make_deterministic()


def _score(symbols: tuple[str, ...], profile: MadProfile, seed: int = 0, *, two_splits: bool = False) -> SplitScore:
    held_out: dict[str, Corpus] = {"test": draw_corpus(profile, "test", 2)}
    if two_splits:
        held_out["validation"] = draw_corpus(profile, "validation", 3)
    train = draw_corpus(profile, "train", 1)
    return train_and_score(symbols, profile, train, held_out, seed=seed, device=DEVICE)["test"]


def test_the_same_seed_gives_the_same_score_and_another_seed_another() -> None:
    symbols = ("mA", "Mb", "M")
    first = _score(symbols, TINY)
    torch.manual_seed(99)
    np.random.seed(99)
    assert _score(symbols, TINY) == first
    assert _score(symbols, TINY, seed=1) != first


def test_scoring_another_split_changes_nothing() -> None:
    assert _score(("Mb", "M"), TINY, two_splits=True) == _score(("Mb", "M"), TINY)


def test_public_rows_are_scored_as_an_agent_scores_them_and_move_no_hidden_score() -> None:
    """The claim is of another training (seed 0) on the same examples, so with the judge's seed it is the same number."""
    train, public = draw_corpus(TINY, "train", 1), draw_corpus(TINY, "validation", 9)
    hidden = {"validation": draw_corpus(TINY, "validation", 3), "test": draw_corpus(TINY, "test", 2)}
    symbols = ("mA", "M")
    alone = train_and_score(symbols, TINY, train, hidden, seed=7, device=DEVICE)
    beside = train_and_score(symbols, TINY, train, {PUBLIC: public, **hidden}, seed=7, device=DEVICE)
    assert {split: beside[split] for split in hidden} == alone
    assert beside[PUBLIC] == train_and_score(symbols, TINY, train, {"own": public}, seed=7, device=DEVICE)["own"]


@pytest.mark.parametrize("split", ["validation", "test", PUBLIC])
def test_a_logit_that_is_no_number_on_public_rows_alone_spoils_none_of_the_hidden_scores(split: str) -> None:
    def started(finite: bool) -> Prediction:
        return Prediction(torch.tensor([[1, 2]]), torch.tensor(finite))

    epochs = [
        {name: started(name != split or epoch == 0) for name in ("validation", "test", PUBLIC)} for epoch in (0, 1)
    ]
    if split == PUBLIC:
        found = guesses_of(epochs)
        assert found.keys() == {"validation", "test"}
        assert found["test"].tolist() == [[[1, 2]]] * 2
    else:
        with pytest.raises(Diverged):
            guesses_of(epochs)


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    _score(("mA",), replace(TINY, epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mixer", ["mA", "Mb"])
def test_a_mixer_learns_to_memorize(mixer: str) -> None:
    profile = replace(TINY, tasks={"memorization": TINY.tasks["memorization"]}, epochs=20)
    assert _score((mixer, "M"), profile).accuracy > 0.95


def test_without_a_mixer_no_task_beats_the_best_guess_from_the_present_token() -> None:
    profile = replace(TINY, epochs=20, test_examples=640)
    result = _score(("M",) * 4, profile)
    for name, examples in draw_corpus(profile, "test", 2).items():
        mask = examples.scored != IGNORED
        table = np.zeros((profile.tasks[name].vocabulary,) * 2)
        np.add.at(table, (examples.inputs[mask], examples.scored[mask]), 1)
        # The autoencoder reads the last token alone, but knows which position it decodes.
        ceiling = 0.25 + 0.75 / 3 if name == "compression" else table.max(axis=1).sum() / mask.sum()
        assert result.tasks[name].micro <= ceiling + 0.05, name


def test_a_score_is_the_mean_over_the_scored_epochs() -> None:
    profile = replace(TINY, epochs=3, scored_epochs=2)
    found = _score(("mA", "M"), profile)
    ends = [_score(("mA", "M"), replace(TINY, epochs=epochs, scored_epochs=1)) for epochs in (2, 3)]
    assert ends[0] != ends[1]
    for name, task in found.tasks.items():
        assert task.micro == pytest.approx(np.mean([end.tasks[name].micro for end in ends]))
        assert task.macro == pytest.approx(np.mean([end.tasks[name].macro for end in ends]))
        assert task.scored == ends[0].tasks[name].scored
    assert found.accuracy == pytest.approx(np.mean([end.accuracy for end in ends]))


def test_divergence_counts_as_zero_and_is_reported() -> None:
    result = _score(("M", "mA"), replace(TINY, learning_rate=1e38))
    assert result.accuracy == 0.0
    assert all(task.diverged and task.micro == task.macro == 0.0 for task in result.tasks.values())
    assert all(task.scored > 0 for task in result.tasks.values())


def test_the_details_carry_both_accuracies_of_every_task() -> None:
    result = _score(("M",), replace(TINY, epochs=1))
    details = result.details()
    assert details["micro"] == result.accuracy == pytest.approx(np.mean([t.micro for t in result.tasks.values()]))
    assert details["macro"] == pytest.approx(np.mean([t.macro for t in result.tasks.values()]))
    assert list(result.tasks) == list(TINY.tasks)
