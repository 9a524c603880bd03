"""The CUDA path: graphs change nothing, scores repeat, TF32 stays within the noise of seeds. Skipped without a GPU."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch

from aira_evaluator.compose.mad.fitting import Candidate, Guesses, fit_concurrently, fit_in_turn
from aira_evaluator.compose.mad.profiles import CPU, PAPER, MadProfile
from aira_evaluator.compose.mad.split_scores import SplitScore, train_and_score
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.steps import TaskTraining

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the graphed training was not run"),
]
SHORT = replace(PAPER, name="short", train_examples=300, validation_examples=64, test_examples=64, epochs=5)
FEW = replace(CPU, tasks={name: CPU.tasks[name] for name in ("in-context-recall", "compression")})
MIXED = ("mA", "Mb", "M") * 5 + ("M",)


@pytest.fixture(autouse=True, scope="module")
def _deterministic() -> Iterator[None]:
    """The settings of an entry point, for these tests alone: TF32 would change what other tests compare."""
    make_deterministic()
    yield
    torch.set_deterministic_debug_mode("default")
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = False


def fitted(profile: MadProfile, *, graphs: bool) -> list[tuple[str, Guesses | None]]:
    candidate = Candidate(MIXED, profile, draw_corpus(profile, "train", 1), 3, torch.device("cuda"))
    fit = fit_concurrently if graphs else fit_in_turn
    return list(fit(candidate, {"test": draw_corpus(profile, "test", 2)}, lambda name: None))


@pytest.mark.parametrize("profile", [SHORT, replace(SHORT, train_examples=256), replace(SHORT, epochs=1)],
                         ids=["ragged", "even", "warm-up only"])  # fmt: skip
def test_graphs_and_streams_change_no_guess(profile: MadProfile) -> None:
    for (name, plain), (same_name, graphed) in zip(
        fitted(profile, graphs=False), fitted(profile, graphs=True), strict=True
    ):
        assert name == same_name
        assert plain is not None
        assert graphed is not None
        assert (plain["test"] == graphed["test"]).all(), name


def test_the_same_inputs_give_the_same_guesses_again() -> None:
    for (_, first), (_, second) in zip(fitted(SHORT, graphs=True), fitted(SHORT, graphs=True), strict=True):
        assert first is not None
        assert second is not None
        assert (first["test"] == second["test"]).all()


def test_a_diverged_task_is_noticed_after_its_graphs() -> None:
    assert all(guesses is None for _, guesses in fitted(replace(SHORT, learning_rate=1e38), graphs=True))


def test_a_step_never_waits_for_the_device() -> None:
    candidate = Candidate(MIXED, SHORT, draw_corpus(SHORT, "train", 1), 3, torch.device("cuda"))
    training: TaskTraining = candidate.begin("selective-copying")
    training.step(128)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step(128)
        training.step(44)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_tf32_moves_scores_less_than_seeds_do() -> None:
    # At the cpu profile's sizes and on two of its tasks, where many seeds are affordable; 24 trainings.
    def scores(*, tf32: bool) -> list[float]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            return [_score(seed).accuracy for seed in range(12)]
        finally:
            torch.backends.cuda.matmul.allow_tf32 = True

    rounded, full = scores(tf32=True), scores(tf32=False)
    assert abs(fmean(rounded) - fmean(full)) < 2 * stdev(full) / len(full) ** 0.5


def _score(seed: int) -> SplitScore:
    train, test = draw_corpus(FEW, "train", 1), draw_corpus(FEW, "test", 2)
    return train_and_score(MIXED, FEW, train, {"test": test}, seed=seed, device=torch.device("cuda"))["test"]
