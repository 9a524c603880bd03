"""Training on text: the loss is what it says, a layer that looks back pays, and nothing non-finite ever wins."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aira_contract.reports import PUBLIC
from aira_contract.training_series import MOST_POINTS, TrainingPoint, series_of
from aira_evaluator.compose.text import text_losses as scoring
from aira_evaluator.compose.text.language_model import mean_loss, train
from aira_evaluator.compose.text.profiles import PROFILES
from aira_evaluator.compose.text.text_losses import train_and_score
from aira_evaluator.compose.text.windows import Windows
from aira_evaluator.compose.training.steps import Diverged
from aira_kernels.backbone import LanguageModel
from aira_kernels.sizes import BlockSizes

CPU = torch.device("cpu")
VOCABULARY = 16
SMALL = replace(
    PROFILES["babistories"]["cpu"], sizes=BlockSizes(width=16, attention_head_dim=8, mamba_state=8, mamba_head_dim=16),
    vocabulary=VOCABULARY, length=12, train_windows=96, hidden_windows=24, batch_size=8,
)  # fmt: skip


def copied_halves(windows: int, seed: int) -> Windows:
    """Windows whose second half repeats the first: only a layer that looks back can know it."""
    half = np.random.default_rng(seed).integers(0, VOCABULARY, (windows, SMALL.length // 2))
    stream = np.concatenate([np.concatenate([half, half], axis=1).ravel(), [0]]).astype(np.uint16)
    return Windows(stream, SMALL.length, 0, windows)


class Constant(nn.Module):
    """Says the same logits at every position."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits.expand(*tokens.shape, VOCABULARY)


def test_the_loss_is_the_mean_over_every_predicted_token() -> None:
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(0))
    windows = copied_halves(7, 1)
    targets = windows.stream[1 : 7 * SMALL.length + 1].astype(int)
    expected = -np.mean(torch.log_softmax(logits.double(), 0).numpy()[targets])
    assert mean_loss(Constant(logits), windows, SMALL, device=CPU) == pytest.approx(expected, rel=1e-6)


def test_a_part_is_scored_on_its_own_tokens() -> None:
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(0))
    windows = copied_halves(6, 1)
    halves = [mean_loss(Constant(logits), windows.part(*cut), SMALL, device=CPU) for cut in ((0, 3), (3, 6))]
    assert np.mean(halves) == pytest.approx(mean_loss(Constant(logits), windows, SMALL, device=CPU), rel=1e-9)


def test_the_loss_is_the_models_on_whole_windows() -> None:
    """Batching must not let one window see another."""
    generator = torch.Generator().manual_seed(3)
    model = LanguageModel(["mA", "M"], VOCABULARY, SMALL.sizes, generator=generator)
    windows = copied_halves(5, 2)
    one_by_one = [mean_loss(model, windows.part(index, index + 1), SMALL, device=CPU) for index in range(5)]
    assert mean_loss(model, windows, SMALL, device=CPU) == pytest.approx(np.mean(one_by_one), rel=1e-6)


def test_a_stack_that_looks_back_beats_one_that_cannot() -> None:
    profile = replace(SMALL, epochs=25)
    held_out = {"test": copied_halves(48, 9)}
    losses = {
        name: train_and_score(stack, profile, copied_halves(96, 1), held_out, seed=0, device=CPU)["test"].loss
        for name, stack in (("mixers", ["mA", "mA", "M"]), ("none", ["M", "M", "M"]))
    }
    assert losses["none"] > math.log(VOCABULARY) - 0.2, "random tokens cannot be predicted from the one before"
    assert losses["mixers"] < losses["none"] - 0.2


def test_the_same_seed_gives_the_same_loss_to_the_last_digit() -> None:
    scores = [
        train_and_score(["mA", "M"], SMALL, copied_halves(40, 1), {"v": copied_halves(8, 2)}, seed=seed, device=CPU)
        for seed in (5, 5, 6)
    ]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_model_is_the_worst_and_marked(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    broken = Constant(torch.full((VOCABULARY,), value))
    with pytest.raises(Diverged):
        mean_loss(broken, copied_halves(2, 0), SMALL, device=CPU)
    monkeypatch.setattr(scoring, "train", lambda *args, **kwargs: broken)
    held_out = {"validation": copied_halves(2, 0), "test": copied_halves(3, 0)}
    found = train_and_score(["M"], SMALL, copied_halves(2, 0), held_out, seed=0, device=CPU)
    assert {score.loss for score in found.values()} == {SMALL.worst_loss}
    assert all(score.diverged for score in found.values())
    assert found["test"].tokens == 3 * SMALL.length


def test_a_training_that_blows_up_is_the_worst_and_marked() -> None:
    profile = replace(SMALL, learning_rate=1e30)
    with pytest.raises(Diverged):
        train(["mA", "M"], copied_halves(40, 1), profile, seed=0, device=CPU)
    found = train_and_score(["mA", "M"], profile, copied_halves(40, 1), {"t": copied_halves(2, 0)}, seed=0, device=CPU)
    assert (found["t"].loss, found["t"].diverged) == (SMALL.worst_loss, True)


def test_a_finite_loss_never_ranks_behind_a_diverged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sure = torch.zeros(VOCABULARY)
    sure[0] = 1e4
    monkeypatch.setattr(scoring, "train", lambda *args, **kwargs: Constant(sure))
    found = train_and_score(["M"], SMALL, copied_halves(2, 0), {"t": copied_halves(4, 0)}, seed=0, device=CPU)
    assert (found["t"].loss, found["t"].diverged) == (SMALL.worst_loss, False)
    assert SMALL.worst_loss == 2 * math.log(VOCABULARY)


class Balks(nn.Module):
    """Says nothing finite where token 0 is shown."""

    def forward(self, tokens: Tensor) -> Tensor:
        said = torch.zeros(*tokens.shape, VOCABULARY)
        said[tokens == 0] = math.inf
        return said


def test_public_windows_are_scored_last_and_spoil_no_hidden_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "train", lambda *args, **kwargs: Balks())
    ones, zeros = (
        Windows(np.full(3 * SMALL.length + 1, token, dtype=np.uint16), SMALL.length, 0, 3) for token in (1, 0)
    )
    held_out: dict[str, Windows] = {PUBLIC: zeros, "validation": ones, "test": ones}
    found = train_and_score(["M"], SMALL, ones, held_out, seed=0, device=CPU)
    assert (found[PUBLIC].loss, found[PUBLIC].diverged) == (SMALL.worst_loss, True)
    assert found["validation"].loss == found["test"].loss == pytest.approx(math.log(VOCABULARY))
    spoilt = train_and_score(["M"], SMALL, ones, {**held_out, "test": zeros, PUBLIC: ones}, seed=0, device=CPU)
    assert all(score.diverged for score in spoilt.values()), "one training: what diverges on hidden rows diverged"


def test_a_curve_of_a_model_that_learns_nothing_is_its_loss_step_by_step() -> None:
    """At a rate of 0 each step's loss is that of the first weights on its own windows; together they are all windows."""
    windows, found = copied_halves(24, 1), list[TrainingPoint]()
    profile = replace(SMALL, learning_rate=0.0, epochs=2)
    model = train(["mA", "M"], windows, profile, seed=3, device=CPU, on_trained=found.extend)
    assert [(point.step, point.tokens) for point in found] == [(step, step * 8 * SMALL.length) for step in range(1, 7)]
    expected = mean_loss(model, windows, profile, device=CPU)
    for first in (0, 3):
        assert np.mean([point.loss for point in found[first : first + 3]]) == pytest.approx(expected, rel=1e-5)


def test_a_long_training_has_as_many_points_as_are_kept_and_each_step_counts_once() -> None:
    windows, found = copied_halves(500, 1), list[TrainingPoint]()
    train(["M"], windows, replace(SMALL, batch_size=1, epochs=1), seed=3, device=CPU, on_trained=found.extend)
    assert len(found) == MOST_POINTS
    assert [point.step for point in found[:4]] == [8, 16, 24, 32], "stretches of 7.8 steps"
    assert found[-1].step == 500
    assert series_of(found) == tuple(
        point._replace(loss=kept.loss, seconds=kept.seconds)
        for point, kept in zip(found, series_of(found), strict=True)
    )


def test_a_training_that_blows_up_leaves_the_curve_until_then() -> None:
    found: list[TrainingPoint] = []
    profile = replace(SMALL, learning_rate=1e38)
    losses = train_and_score(
        ["mA", "M"], profile, copied_halves(40, 1), {"test": copied_halves(8, 2)}, seed=0, device=CPU,
        on_trained=found.extend,
    )  # fmt: skip
    assert losses["test"].diverged
    kept = series_of(found)
    assert 1 <= len(kept) < len(found) == 5
    assert kept[0].loss == pytest.approx(math.log(VOCABULARY), rel=0.5), "the first step's, before any update"
