"""Training steps as CUDA graphs: the whole step is one launch, so the host's time per operation no longer counts.

A step of 16 layers is several hundred small kernels, which the host needs 7 to 30 ms to start one by one and the GPU
about a millisecond to run. The first epoch runs step by step on the training's own stream; it is training like any
other and at the same time the warm-up that capturing needs (library handles, workspaces, kernels chosen). Then one
step of each batch size is captured without being run, and every later step is a replay. A replay runs the same kernels
on the same addresses in the same order, so results equal the uncaptured ones to the last bit; a GPU test keeps that.

All graphs of a training share one memory pool. That is sound because they run one after the other on one stream, and
nothing a step leaves in the pool is read by the next: parameters, moments, order, cursor and loss lie outside of it.

Not covered: devices other than CUDA; anything that would read the device inside a step.
"""

import torch

from aira_evaluator.compose.training.schedule import run_epochs
from aira_evaluator.compose.training.steps import TaskTraining

WARM_UP_EPOCHS = 1


class GraphedSteps:
    """The steps of one training on a stream of its own. Call it with a batch size to start that step."""

    def __init__(self, training: TaskTraining, stream: torch.cuda.Stream) -> None:
        """Take a training that was made on `stream` and has taken no step yet."""
        self.training = training
        self.stream = stream
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def warm_up(self) -> None:
        """Start the first epoch, step by step."""
        with torch.cuda.stream(self.stream):
            run_epochs(self.training.step, self.training.epochs, WARM_UP_EPOCHS)

    def capture(self) -> None:
        """Capture one step of each batch size; none is run. The device must be idle."""
        pool = torch.cuda.graph_pool_handle()
        with torch.cuda.stream(self.stream):
            for batch_size in self.training.epochs.sizes():
                graph = torch.cuda.CUDAGraph()
                # Not `torch.cuda.graph`, which collects garbage and empties the cache before each of twelve captures.
                graph.capture_begin(pool=pool)
                try:
                    self.training.step(batch_size)
                finally:
                    graph.capture_end()
                self._graphs[batch_size] = graph

    def __call__(self, batch_size: int) -> None:
        """Replay the step of this size on the next examples."""
        with torch.cuda.stream(self.stream):
            self._graphs[batch_size].replay()
