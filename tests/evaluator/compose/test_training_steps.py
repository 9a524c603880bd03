"""Steps on the device: the same examples in the same order and the same weights as a plain loop, and no waiting."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.mad.copying import Compression, Memorization
from aira_evaluator.compose.mad.fitting import Candidate, fit_in_turn
from aira_evaluator.compose.mad.models import build_model, start_prediction
from aira_evaluator.compose.mad.profiles import CPU, MadProfile
from aira_evaluator.compose.mad.recall import InContextRecall
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.mad.synthetic_task import SyntheticTask
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import IGNORED, Examples
from aira_evaluator.compose.training.loss_log import LossLog, together
from aira_evaluator.compose.training.optimizer import FusedAdamW
from aira_evaluator.compose.training.schedule import run_epochs, run_interleaved
from aira_evaluator.compose.training.steps import Diverged, Epochs, TaskTraining

DEVICE = torch.device("cpu")
SMALL = replace(
    CPU,
    name="small",
    tasks={
        "in-context-recall": InContextRecall(vocabulary=8, length=8),
        "compression": Compression(vocabulary=4, length=4),
        "memorization": Memorization(vocabulary=16, length=8),
    },
    train_examples=100,  # batches of 32, 32, 32 and 4
    batch_size=32,
    validation_examples=40,
    epochs=3,
)
MIXED = ("mA", "Mb", "M")


@pytest.fixture(autouse=True, scope="module")
def _deterministic() -> None:
    make_deterministic()


def plain_loop(
    architecture: Sequence[str],
    task: SyntheticTask,
    examples: Examples,
    profile: MadProfile,
    seed: int,
    losses: list[float] | None = None,
) -> nn.Module:
    """The training as anybody would write it down: the definition that the fast paths are held to."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(architecture, task, profile, generator=generator).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=profile.learning_rate, weight_decay=0.0, fused=True)
    inputs, targets = (torch.from_numpy(array.astype(np.int64)) for array in (examples.inputs, examples.targets))
    for _ in range(profile.epochs):
        order = torch.randperm(len(examples), generator=generator)
        for batch in torch.split(order, profile.batch_size):
            optimizer.zero_grad(set_to_none=True)
            logits = model(inputs[batch])
            loss = functional.cross_entropy(logits.flatten(0, 1), targets[batch].flatten(), ignore_index=IGNORED)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if losses is not None:
                losses.append(float(loss.detach()))
    return model


def candidate(architecture: Sequence[str] = MIXED, profile: MadProfile = SMALL) -> Candidate:
    return Candidate(architecture, profile, draw_corpus(profile, "train", 1), 5, DEVICE)


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(left, right) for left, right in zip(first, second, strict=True))


def finished(training: TaskTraining) -> TaskTraining:
    run_epochs(training.step, training.epochs, training.epochs.epochs)
    return training


@pytest.mark.parametrize("task", list(SMALL.tasks))
def test_the_weights_equal_a_plain_loops_to_the_last_bit(task: str) -> None:
    some = candidate()
    index = list(SMALL.tasks).index(task)
    seed = int(np.random.SeedSequence([some.seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    expected = plain_loop(MIXED, SMALL.tasks[task], some.train_corpus[task], SMALL, seed)
    assert equal(weights(finished(some.begin(task)).model), weights(expected))


def test_a_curve_has_the_mean_loss_of_a_plain_loops_steps_epoch_by_epoch() -> None:
    some, curves = candidate(), dict[str, Sequence[TrainingPoint]]()
    list(fit_in_turn(some, {"test": draw_corpus(SMALL, "validation", 2)}, lambda name: None, curves.__setitem__))
    for index, (name, task) in enumerate(SMALL.tasks.items()):
        seed = int(np.random.SeedSequence([some.seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        losses: list[float] = []
        plain_loop(MIXED, task, some.train_corpus[name], SMALL, seed, losses)
        assert len(losses) == 3 * 4, "batches of 32, 32, 32 and 4"
        length = some.train_corpus[name].inputs.shape[1]
        assert [point.step for point in curves[name]] == [4, 8, 12]
        assert [point.tokens for point in curves[name]] == [100 * length, 200 * length, 300 * length]
        expected = [np.mean(losses[first : first + 4]) for first in (0, 4, 8)]
        assert [point.loss for point in curves[name]] == pytest.approx(expected, rel=1e-6)
        times = [point.seconds or 0.0 for point in curves[name]]
        assert 0 < times[0] < times[1] < times[2]


def test_the_end_of_an_epoch_waits_for_no_device() -> None:
    training = candidate().begin("compression")
    training.step(32)
    training.end_epoch()
    seen = Operations()
    with seen:
        training.end_epoch()
    waiting = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "unique", "_to_copy")
    assert seen.names
    assert not [name for name in seen.names if name.split(".")[1] in waiting]


def test_losses_are_summed_between_marks_and_not_finite_ones_stay() -> None:
    log = LossLog(DEVICE)
    assert log.points() == []
    for loss in (1.0, 2.0, 6.0):
        log.add(torch.tensor(loss))
    log.mark(3, 30)
    log.add(torch.tensor(4.0))
    log.mark(4, 40)
    assert [(point.step, point.loss, point.tokens) for point in log.points()] == [(3, 3.0, 30), (4, 4.0, 40)]
    log.add(torch.tensor(math.inf))
    assert not log.is_finite(), "before its stretch has ended"
    log.mark(5, 50)
    log.add(torch.tensor(1.0))
    log.mark(6, 60)
    assert not log.is_finite(), "and ever after"
    assert [point.loss for point in log.points()] == [3.0, 4.0, math.inf, 1.0]


def test_trainings_of_one_score_have_one_curve_of_mean_losses() -> None:
    one = [TrainingPoint(2, 3.0, 20, 1.0), TrainingPoint(4, 1.0, 40, 2.0)]
    other = [TrainingPoint(2, 5.0, 60, 4.0), TrainingPoint(4, 2.0, 120, 8.0)]
    assert together([one, other], beside=False) == [(4, 4.0, 80, 5.0), (8, 1.5, 160, 10.0)]
    assert together([one, other], beside=True) == [(4, 4.0, 80, 4.0), (8, 1.5, 160, 8.0)]
    assert together([one, other[:1]], beside=True) == [(4, 4.0, 80, 4.0)], "one that diverged ends it"


def test_guesses_do_not_depend_on_when_a_split_is_predicted() -> None:
    some = candidate()
    held_out = {name: draw_corpus(SMALL, "validation", seed) for name, seed in (("first", 2), ("second", 3))}
    for name, guesses in fit_in_turn(some, held_out, lambda name: None):
        model = finished(some.begin(name)).model
        assert guesses is not None
        for split in ("second", "first"):
            again = start_prediction(model, held_out[split][name].inputs, device=DEVICE).result()
            assert (guesses[split][-1] == again).all()


def test_guesses_after_a_scored_epoch_are_those_of_a_training_that_ends_there() -> None:
    held_out = {"only": draw_corpus(SMALL, "validation", 2)}

    def guesses(profile: MadProfile) -> dict[str, NDArray[np.int64]]:
        fitted = fit_in_turn(candidate(profile=profile), held_out, lambda name: None)
        return {name: of_splits["only"] for name, of_splits in fitted if of_splits is not None}

    last_two = guesses(replace(SMALL, scored_epochs=2))
    for index, epochs in enumerate((2, 3)):
        for name, alone in guesses(replace(SMALL, epochs=epochs, scored_epochs=1)).items():
            assert len(alone) == 1
            assert len(last_two[name]) == 2
            assert (last_two[name][index] == alone[0]).all(), (name, epochs)


class Recording(nn.Module):
    """A one-layer model that keeps the ids it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(512, 3, _weight=torch.zeros(512, 3))
        self.seen: list[list[int]] = []

    def forward(self, tokens_BL: Tensor) -> Tensor:
        self.seen.append(tokens_BL[:, 0].tolist())
        logits: Tensor = self.table(tokens_BL)
        return logits


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 4), st.integers(0, 9))
def test_batches_are_those_of_a_shuffled_epoch(examples: int, batch_size: int, count: int, seed: int) -> None:
    ids = np.arange(examples, dtype=np.int16)[:, None]
    data = Examples(ids, np.zeros_like(ids), np.zeros_like(ids))
    epochs = Epochs(examples, batch_size, count)
    model = Recording()
    generator = torch.Generator().manual_seed(seed)
    finished(TaskTraining(model, data, epochs, learning_rate=0.1, generator=generator))
    again = torch.Generator().manual_seed(seed)
    expected = [
        batch.tolist()
        for _ in range(count)
        for batch in torch.split(torch.randperm(examples, generator=again), batch_size)
    ]
    assert model.seen == expected
    assert set(epochs.sizes()) == {len(batch) for batch in expected}


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_empty_epochs_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Epochs(*wrong)


def test_trainings_beside_each_other_learn_what_they_learn_alone() -> None:
    alone = [weights(finished(candidate().begin(name)).model) for name in SMALL.tasks]
    # Trainings of unlike length: one is done before the others.
    beside = [candidate().begin(name) for name in SMALL.tasks]
    short = candidate(profile=replace(SMALL, epochs=1)).begin("compression")
    runs = [(training.step, training.epochs) for training in (short, *beside)]
    run_interleaved(runs)
    assert all(equal(weights(training.model), there) for training, there in zip(beside, alone, strict=True))
    lone_short = finished(candidate(profile=replace(SMALL, epochs=1)).begin("compression"))
    assert equal(weights(short.model), weights(lone_short.model))


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4)), max_size=4),
    st.integers(0, 3),
)
def test_interleaving_starts_every_step_once_in_order(shapes: list[tuple[int, int, int]], done: int) -> None:
    trainings = [Epochs(*shape) for shape in shapes]
    started: list[tuple[int, int]] = []

    def start_steps_of(index: int) -> Callable[[int], None]:
        return lambda size: started.append((index, size))

    ended: list[tuple[int, int]] = []
    run_interleaved(
        [(start_steps_of(index), epochs) for index, epochs in enumerate(trainings)],
        done,
        lambda epoch: ended.append((epoch, len(started))),
    )
    for epoch, steps in ended:
        assert steps == sum(len(list(each.batches())) * max(min(each.epochs, epoch) - done, 0) for each in trainings)
    assert [epoch for epoch, _ in ended] == list(range(done + 1, max((e.epochs for e in trainings), default=0) + 1))
    for index, epochs in enumerate(trainings):
        expected = list(epochs.batches()) * max(epochs.epochs - done, 0)
        assert [size for which, size in started if which == index] == expected


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what a step asks of the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operations_of(training: TaskTraining, batch_size: int) -> list[str]:
    seen = Operations()
    with seen:
        training.step(batch_size)
    return seen.names


@pytest.mark.parametrize("architecture", [("M",) * 2, ("mA",) * 2, ("Mb",) * 2, MIXED])
def test_a_step_never_waits_for_the_device_and_is_always_the_same(architecture: tuple[str, ...]) -> None:
    training = candidate(architecture).begin("in-context-recall")
    training.step(32)
    places = [parameter.data_ptr() for parameter in training.model.parameters()]
    first, second = operations_of(training, 32), operations_of(training, 32)
    assert first == second, "a captured step would not be the step that is run"
    waiting = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "unique")
    assert not [name for name in first if name.split(".")[1] in waiting]
    assert [parameter.data_ptr() for parameter in training.model.parameters()] == places
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_the_optimizer_is_one_operation_whatever_the_number_of_layers() -> None:
    counts = {}
    for layers in (1, 4):
        names = operations_of(candidate(("M",) * layers).begin("compression"), 32)
        counts[layers] = sum("fused_adamw" in name for name in names)
    assert counts == {1: 1, 4: 1}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 2**31), st.floats(1e-5, 1.0))
def test_the_optimizer_equals_torchs(sizes: list[int], seed: int, rate: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ours = [nn.Parameter(torch.randn(size, generator=generator)) for size in sizes]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    mine = FusedAdamW(ours, learning_rate=rate)
    other = torch.optim.AdamW(theirs, lr=rate, weight_decay=0.0, fused=True)
    for _ in range(4):
        for left, right in zip(ours, theirs, strict=True):
            left.grad = torch.randn(left.shape, generator=generator)
            right.grad = left.grad.clone()
        mine.step()
        other.step()
        assert all(torch.equal(left, right) for left, right in zip(ours, theirs, strict=True))


def test_a_parameter_outside_the_loss_is_an_error() -> None:
    optimizer = FusedAdamW([nn.Parameter(torch.ones(2))], learning_rate=0.1)
    with pytest.raises(RuntimeError, match="took no part"):
        optimizer.step()


def test_one_non_finite_loss_is_never_forgotten() -> None:
    training = candidate(profile=replace(SMALL, learning_rate=1e38)).begin("memorization")
    training.check_finite()
    finished(training)
    with pytest.raises(Diverged):
        training.check_finite()


def test_a_fresh_evaluation_does_not_load_the_compiler() -> None:
    # Importing it costs more than a second of each fresh judge.
    program = """
import sys
from dataclasses import replace
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.split_scores import *
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
tiny = replace(CPU, train_examples=8, test_examples=4, epochs=1)
train, test = draw_corpus(tiny, "train", 1), draw_corpus(tiny, "test", 2)
make_deterministic()
train_and_score(("M", "mA", "Mb"), tiny, train, {"test": test}, seed=0, device=torch.device("cpu"))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=240, check=False).returncode == 0
