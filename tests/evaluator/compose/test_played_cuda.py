"""The CUDA path on a played device: captured steps are the eager ones, and what a device would get wrong is an error."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from played_cuda import PlayedCudaError, played
from torch import Tensor

from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.mad.fitting import Candidate, Guesses, fit_concurrently, fit_in_turn
from aira_evaluator.compose.mad.profiles import CPU, MadProfile
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.cuda_graphs import GraphedSteps
from aira_evaluator.compose.training.steps import TaskTraining

FEW = replace(
    CPU,
    tasks={name: CPU.tasks[name] for name in ("in-context-recall", "compression")},
    train_examples=40,  # batches of 32 and 8
    batch_size=32,
    validation_examples=8,
    test_examples=8,
    epochs=3,
)
MIXED = ("mA", "Mb", "M")


def candidate(profile: MadProfile = FEW) -> Candidate:
    return Candidate(MIXED, profile, draw_corpus(profile, "train", 1), 3, torch.device("cpu"))


@pytest.mark.parametrize("profile", [FEW, replace(FEW, train_examples=32), replace(FEW, epochs=1)],
                         ids=["ragged", "even", "warm-up only"])  # fmt: skip
def test_graphs_and_streams_change_no_guess(profile: MadProfile) -> None:
    held_out = {"test": draw_corpus(profile, "test", 2)}

    def guesses(fit: Callable[..., object]) -> list[tuple[str, Guesses | None]]:
        return list(fit(candidate(profile), held_out, lambda name: None))  # type: ignore[call-overload, no-any-return]

    plain = guesses(fit_in_turn)
    with played() as device:
        graphed = guesses(fit_concurrently)
    steps = len(list(candidate(profile).begin("compression").epochs.batches()))
    assert device.replays == 2 * (profile.epochs - 1) * steps
    for (name, eager), (same_name, replayed) in zip(plain, graphed, strict=True):
        assert name == same_name
        assert eager is not None
        assert replayed is not None
        assert np.array_equal(eager["test"], replayed["test"]), name


def test_graphed_weights_are_the_eager_ones_to_the_last_bit() -> None:
    eager = candidate().begin("in-context-recall")
    with played() as device:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            steps = GraphedSteps(candidate().begin("in-context-recall"), stream)
        steps.warm_up()
        device.synchronize()
        steps.capture()
        for size in (32, 8, 32, 8):
            steps(size)
    for size in (32, 8) * 3:
        eager.step(size)
    for ours, plain in zip(steps.training.model.parameters(), eager.model.parameters(), strict=True):
        assert torch.equal(ours, plain)


def graph_of(work: Callable[[], object], *before: Callable[[], object]) -> "torch.cuda.CUDAGraph":
    """Capture what `work` does, as `GraphedSteps` would."""
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        for warm_up in before:
            warm_up()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=torch.cuda.graph_pool_handle())
        work()
        graph.capture_end()
    return graph


def test_a_step_that_keeps_its_state_in_new_tensors_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that `steps` is written to avoid: a cursor that is replaced and not advanced in place."""

    def step(self: TaskTraining, batch_size: int) -> None:
        self._inputs.index_select(0, self._order.index_select(0, self._cursor + self._ahead[:batch_size]))
        self._cursor = self._cursor + batch_size

    monkeypatch.setattr(TaskTraining, "step", step)
    with pytest.raises(PlayedCudaError, match="freed"), played():
        list(fit_concurrently(candidate(), {"test": draw_corpus(FEW, "test", 2)}, lambda name: None))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x: float(x.sum()), "reads the device"),
        (lambda x: torch.cuda.synchronize(), "synchronization inside a capture"),
        (lambda x: torch.cuda.empty_cache(), "emptying of the cache"),
        (lambda x: graph_of(lambda: x.add_(1)), "change of streams"),
    ],
)
def test_what_waits_for_the_device_is_refused_in_a_capture(step: Callable[[Tensor], object], message: str) -> None:
    x = torch.ones(3)
    with pytest.raises(PlayedCudaError, match=message), played():
        graph_of(lambda: step(x))


def test_a_capture_runs_nothing_and_each_replay_all_of_it() -> None:
    x, found = torch.ones(3), []
    with played():
        graph = graph_of(lambda: (x.add_(1), found.append(x * 10)))
        assert torch.equal(x, torch.ones(3))
        for _ in range(2):
            graph.replay()
    assert torch.equal(x, torch.full((3,), 3.0))
    assert torch.equal(found[0], torch.full((3,), 30.0))


def test_a_graph_that_reads_what_another_left_in_the_pool_computes_no_number() -> None:
    x, left = torch.ones(3), []
    with played():
        graph_of(lambda: left.append(x + 1))
        assert left
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            first, second, pool = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
            for graph, work in ((first, lambda: left.append(x + 1)), (second, lambda: x.copy_(left[-1]))):
                graph.capture_begin(pool=pool)
                work()
                graph.capture_end()
            first.replay()
            second.replay()
    assert x.isnan().all()


def test_two_streams_on_the_same_memory_are_noticed() -> None:
    x = torch.ones(3)
    one, other = (object() for _ in range(2))
    with played() as device:
        streams = [torch.cuda.Stream(place) for place in (one, other)]  # type: ignore[no-untyped-call]
        with torch.cuda.stream(streams[0]):
            x.add_(1)
        with pytest.raises(PlayedCudaError, match="two streams"), torch.cuda.stream(streams[1]):
            x.mul(2)
        device.synchronize()
        with torch.cuda.stream(streams[1]):
            assert torch.equal(x.mul(2), torch.full((3,), 4.0))


def test_graphs_and_streams_leave_the_curves_of_eager_steps() -> None:
    held_out = {"test": draw_corpus(FEW, "test", 2)}
    eager, graphed = dict[str, Sequence[TrainingPoint]](), dict[str, Sequence[TrainingPoint]]()
    list(fit_in_turn(candidate(), held_out, lambda name: None, eager.__setitem__))
    with played():
        list(fit_concurrently(candidate(), held_out, lambda name: None, graphed.__setitem__))
    assert list(eager) == list(graphed) == list(FEW.tasks)
    for name in eager:
        assert len(eager[name]) == FEW.epochs
        assert [point[:3] for point in eager[name]] == [point[:3] for point in graphed[name]], "to the last bit"


def test_a_diverged_task_is_noticed_after_its_graphs() -> None:
    diverging = replace(FEW, learning_rate=1e38)
    with played():
        found = list(fit_concurrently(candidate(diverging), {"test": draw_corpus(FEW, "test", 2)}, lambda name: None))
    assert [name for name, guesses in found if guesses is None] == list(FEW.tasks)
