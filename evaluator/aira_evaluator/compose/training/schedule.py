"""Which training takes its next step when.

On a CPU one training follows the other. On a GPU the six tasks of a candidate run beside each other, each on its own
stream, because the steps on short sequences are too small to fill the device: the host starts one epoch of every task
in turn and waits for none. Trainings share nothing, so the order between them changes no result; a test keeps that.

Not covered: what starting a step means (`TaskTraining.step`, `graphs.GraphedSteps`).
"""

from collections.abc import Callable, Sequence

from aira_evaluator.compose.training.steps import Epochs

StartStep = Callable[[int], None]
"""Start the step of a given batch size; it may return before the step is done."""


def run_epochs(start_step: StartStep, epochs: Epochs, count: int) -> None:
    """Start `count` epochs of one training."""
    for _ in range(count):
        for batch_size in epochs.batches():
            start_step(batch_size)


def run_interleaved(
    trainings: Sequence[tuple[StartStep, Epochs]],
    done: int = 0,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Start all epochs of all trainings but the first `done`, one epoch of each in turn.

    `after_epoch` is called with the number of an epoch, the first being 1, when all have started it.
    """
    longest = max((epochs.epochs for _, epochs in trainings), default=0)
    for epoch in range(done, longest):
        for start_step, epochs in trainings:
            if epoch < epochs.epochs:
                run_epochs(start_step, epochs, 1)
        after_epoch(epoch + 1)
